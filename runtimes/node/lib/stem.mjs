// The handler that a stem rehearses with. An ES module: their loader comes up with the first one.
import 'node:path';

export const handler = async (event) => ({ event });
