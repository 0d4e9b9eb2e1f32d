const NAMES = ["PLAIN", "SPACES", "EQUALS", "QUOTES", "UNICODE", "EMPTY"];
const AT_IMPORT = Object.fromEntries(NAMES.map((name) => [name, process.env[name]]));

export const handler = async () => AT_IMPORT;
