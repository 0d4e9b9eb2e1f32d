// Nothing: an ES module for a stem to load (stem.cjs).
import 'node:path';
export const handler = async (event) => ({ event });
