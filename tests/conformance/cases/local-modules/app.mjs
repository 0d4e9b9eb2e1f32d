import { WORD } from "./lib/beside.mjs";

export const handler = async () => WORD;
