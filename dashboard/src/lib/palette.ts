// How well a text fits what was typed: the letters in their order, better together and at the beginnings of words.

export function score(typed: string, text: string): number | undefined {
  const needle = typed.toLowerCase().replaceAll(" ", "");
  const hay = text.toLowerCase();
  if (needle === "") return 0;
  let at = 0;
  let sum = 0;
  let last = -2;
  for (const letter of needle) {
    const found = hay.indexOf(letter, at);
    if (found < 0) return undefined;
    sum += found === last + 1 ? 4 : 0;
    sum += found === 0 || /[\s\-_/.:]/.test(hay[found - 1] ?? "") ? 3 : 0;
    sum -= Math.min(3, found - at) * 0.2;
    last = found;
    at = found + 1;
  }
  return sum - hay.length * 0.01;
}

export function best<T>(typed: string, all: T[], text: (one: T) => string, most = 12): T[] {
  const scored = all.map((one) => ({ one, score: score(typed, text(one)) })).filter((each): each is { one: T; score: number } => each.score !== undefined);
  return scored.sort((a, b) => b.score - a.score).slice(0, most).map((each) => each.one);
}
