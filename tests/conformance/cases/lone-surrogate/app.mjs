export const handler = async (event) => (event === "works" ? "works" : { half: "\ud83d" });
