export const WORD = "from beside";
