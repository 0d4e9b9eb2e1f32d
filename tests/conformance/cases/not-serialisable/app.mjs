export const handler = async (event) => (event === "works" ? "works" : { a: 1n });
