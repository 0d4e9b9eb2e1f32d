import { cpus } from "node:os";

export const handler = async () => ({ count: cpus().length });
