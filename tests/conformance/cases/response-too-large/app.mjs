export const handler = async (event) => (event === "works" ? "works" : "x".repeat(7_000_000));
