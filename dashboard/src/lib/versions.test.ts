import { describe, expect, it } from "vitest";
import { type DiffLine, diffFiles, diffLines, hunks } from "./diff";
import { aliasProblem, aliasWrite, CANARY, canaryProblem, canaryVerdict, canaryWrite, choicesOf, leadsTo, packagesOf, parseShare, settingText, shareText } from "./versions";

const text = (lines: DiffLine[], kinds: Array<DiffLine["kind"]>) => lines.filter((one) => kinds.includes(one.kind)).map((one) => one.text);
const shown = (lines: DiffLine[]) => lines.map((one) => `${one.kind === "same" ? " " : one.kind === "new" ? "+" : "-"}${one.text}`);

describe("differences of texts", () => {
  it("tell what is gone and what is new, where it is", () => {
    expect(shown(diffLines("a\nb\nc\nd\n", "a\nx\nc\nd\ne\n"))).toEqual([" a", "-b", "+x", " c", " d", "+e"]);
    expect(diffLines("", "a\nb").map((one) => [one.kind, one.at])).toEqual([["new", 1], ["new", 2]]);
    expect(shown(diffLines("a\n", ""))).toEqual(["-a"]);
    expect(shown(diffLines("same\n", "same\n"))).toEqual([" same"]);
  });
  it("make the newer of the older, whatever the texts are, by as few lines as can be", () => {
    let seed = 7;
    const random = (below: number) => (seed = (seed * 1103515245 + 12345) % 2147483648) % below;
    for (let round = 0; round < 300; round++) {
      const make = () => Array.from({ length: random(14) }, () => "abcd"[random(4)] as string);
      const [a, b] = [make(), make()];
      const lines = diffLines(a.join("\n"), b.join("\n"));
      expect(text(lines, ["same", "gone"])).toEqual(a);
      expect(text(lines, ["same", "new"])).toEqual(b);
      for (const line of lines) expect((line.kind === "gone" ? a : b)[line.at - 1]).toBe(line.text);
      expect(lines.filter((one) => one.kind === "same").length).toBe(common(a, b));
    }
  });
  it("hold for texts that have nothing in common, and are long", () => {
    const many = (word: string) => Array.from({ length: 3000 }, (_, n) => `${word} ${n}`).join("\n");
    const lines = diffLines(many("a"), many("b"));
    expect([lines.length, lines.filter((one) => one.kind === "gone").length]).toEqual([6000, 3000]);
  });
  it("are shown with three lines around, and how many are left out", () => {
    const before = Array.from({ length: 40 }, (_, n) => `line ${n}`);
    const after = before.map((line, n) => (n === 10 || n === 30 ? "changed" : line));
    const parts = hunks(diffLines(before.join("\n"), after.join("\n")));
    expect(parts.map((part) => [part.skipped, part.lines.length])).toEqual([[7, 8], [13, 8]]);
  });
  it("of packages name the files", () => {
    const utf8 = (content: string) => new TextEncoder().encode(content);
    const before = new Map([["a.py", utf8("1\n")], ["same", utf8("x")], ["old", utf8("")], ["b.bin", new Uint8Array([0, 1])]]);
    const after = new Map([["a.py", utf8("2\n")], ["same", utf8("x")], ["new", utf8("n\n")], ["b.bin", new Uint8Array([0, 2])]]);
    expect(diffFiles(before, after).map((one) => [one.name, one.kind, one.lines?.length])).toEqual([["a.py", "changed", 2], ["b.bin", "changed", undefined], ["new", "new", 1], ["old", "gone", 0]]);
  });
});

/** The longest row of lines that both have, by the book. */
function common(a: string[], b: string[]): number {
  const table = Array.from({ length: a.length + 1 }, () => new Array<number>(b.length + 1).fill(0));
  const of = (x: number, y: number) => table[x]?.[y] ?? 0;
  for (let x = 1; x <= a.length; x++) for (let y = 1; y <= b.length; y++) (table[x] as number[])[y] = a[x - 1] === b[y - 1] ? of(x - 1, y - 1) + 1 : Math.max(of(x - 1, y), of(x, y - 1));
  return of(a.length, b.length);
}

describe("versions", () => {
  it("are named where a revision is one", () => {
    expect(choicesOf({ revision: 5 }, [{ version: 2, revision: 4 }, { version: 1, revision: 1 }], [5, 4, 3])).toEqual([
      { revision: 5, label: "revision 5, now" },
      { revision: 4, label: "version 2 (revision 4)" },
      { revision: 3, label: "revision 3" },
      { revision: 1, label: "version 1 (revision 1)" },
    ]);
  });
  it("have shares of calls", () => {
    expect([parseShare("10"), parseShare(" 2.5 % "), parseShare("101"), parseShare("x"), parseShare("")]).toEqual([0.1, 0.025, undefined, undefined, undefined]);
    expect([shareText(0.1), shareText(0.025), shareText(1 / 3)]).toEqual(["10 %", "2.5 %", "33.333 %"]);
    expect(leadsTo("7", { "8": 0.1 })).toEqual([{ version: "7", share: 0.9 }, { version: "8", share: 0.1 }]);
  });
  it("have aliases that can be kept, or it is said why not", () => {
    const form = { name: "live", version: "7", second: "8", share: "10 %", description: "" };
    expect(aliasProblem(form, [])).toBeUndefined();
    expect(aliasWrite(form)).toEqual({ version: "7", description: "", weights: { "8": 0.1 } });
    expect(aliasWrite({ ...form, second: "" }).weights).toEqual({});
    for (const [wrong, why] of [[{ name: "a b" }, "letters"], [{ name: "7" }, "numbers"], [{ version: "$LATEST" }, "published"], [{ second: "7" }, "is the first"], [{ share: "100" }, "less than"], [{ share: "0" }, "more than"]] as const)
      expect(aliasProblem({ ...form, ...wrong }, [])).toContain(why);
    expect(aliasProblem(form, ["live"])).toContain("already");
  });
  it("are tried by canaries, which are judged as the server does", () => {
    expect(canaryProblem(CANARY)).toBeUndefined();
    expect(canaryWrite(CANARY, { memory: "1GB" })).toEqual({ weight: 0.1, for: "5m", max_error_rate: 0.05, min_calls: 20, change: { memory: "1GB" } });
    expect([{ share: "0" }, { share: "100" }, { lasts: "5" }, { errors: "200" }, { calls: "0" }].map((wrong) => canaryProblem({ ...CANARY, ...wrong }) !== undefined)).toEqual([true, true, true, true, true]);
    const view = { function: "f", revision: 2, version: 1, stable: 1, weight: 0.1, for: "5m", max_error_rate: 0.05, min_calls: 20, since: "", until: "", calls: 19, errors: 19 };
    expect([view, { ...view, calls: 20, errors: 1 }, { ...view, calls: 20, errors: 2 }].map((one) => canaryVerdict(one).tone)).toEqual(["calm", "good", "bad"]);
  });
  it("differ in settings that are told in a line", () => {
    expect([settingText(undefined), settingText(""), settingText("128MB"), settingText({ a: 1 })]).toEqual(["–", "empty", "128MB", `{"a":1}`]);
    expect(packagesOf([{ key: "memory", from: "1", to: "2" }])).toBeUndefined();
    expect(packagesOf([{ key: "code.sha256", from: "a", to: "b" }])).toEqual({ from: "a", to: "b" });
  });
});
