import { describe, expect, it } from "vitest";
import { line, type Metrics } from "../api/metrics";
import { query } from "../api/paths";
import { matches } from "../api/records";
import type { FunctionView, RecordView, ScheduleView } from "../api/schema";
import { ago, bytes, count, micros, parseSize, percent, span } from "./format";
import { HUES, hue } from "./hue";
import { readLine } from "./logline";
import { badName, dropped, entryOf, pack, runs, textOf, unpack } from "./package";
import { best } from "./palette";
import { FRESH, formOf, problemOf, writeOf } from "./schedule";
import { quote, snippets } from "./snippets";
import { badFunctionName, envProblem, envRows, envWrite, isolationText, newest } from "./spec";

const utf8 = (text: string) => new TextEncoder().encode(text);

describe("format", () => {
  it("tells times in the unit that fits", () => {
    expect([0, 840, 1234, 12_340, 123_400, 1_234_000, 200_000_000].map((us) => micros(us))).toEqual(["0 µs", "840 µs", "1.23 ms", "12.3 ms", "123 ms", "1.23 s", "3 min 20 s"]);
    expect(micros(null)).toBe("–");
    expect([8, 200, 7500, 360_000].map(span)).toEqual(["8 s", "3 min 20 s", "2 h 5 min", "4 d 4 h"]);
    expect(ago(1000, 1000)).toBe("just now");
    expect(ago(0, 300_000)).toBe("5 min ago");
    expect(ago(10_800_000, 0)).toBe("in 3 h");
  });
  it("tells sizes, counts and shares", () => {
    expect([0, 512, 1536, 25_165_824, 1024 ** 4 * 3].map((n) => bytes(n))).toEqual(["0 B", "512 B", "1.5 KiB", "24 MiB", "3 TiB"]);
    expect([7, 1234, 12_340, 4_500_000].map(count)).toEqual(["7", "1,234", "12.3 k", "4.5 M"]);
    expect([percent(0, 0), percent(1, 3), percent(1, 100_000), percent(1, 1)]).toEqual(["–", "33 %", "<0.1 %", "100 %"]);
    expect([parseSize("256MB"), parseSize("1.5 GB"), parseSize("x")]).toEqual([268_435_456, 1_610_612_736, undefined]);
  });
});

describe("package", () => {
  const files = new Map([
    ["app.py", utf8("print('ä')\n")],
    ["bin/tool", utf8("#!/bin/sh\n")],
  ]);
  it("comes back as it was, and is the same bytes each time", () => {
    const zip = pack(files);
    expect([...unpack(zip)].map(([name, content]) => [name, [...content]])).toEqual([...files].map(([name, content]) => [name, [...content]]));
    expect([...pack(new Map([...files].reverse()))]).toEqual([...zip]);
  });
  it("knows programs and texts", () => {
    expect([runs("bootstrap", utf8("")), runs("a", utf8("#!/bin/sh")), runs("a", new Uint8Array([0x7f, 0x45, 0x4c, 0x46])), runs("app.py", utf8("x"))]).toEqual([true, true, true, false]);
    expect(textOf(utf8("ä"))).toBe("ä");
    expect(textOf(new Uint8Array([0xff, 0xfe]))).toBeUndefined();
    expect(textOf(utf8("a\0b"))).toBeUndefined();
  });
  it("keeps names within the package", () => {
    expect(badName("lib/x.py", files)).toBeUndefined();
    for (const name of ["", "/etc/passwd", "../x", "a//b", "a/./b", "app.py", "bin", "app.py/x", "a\\b", "a\nb"]) expect(badName(name, files), name).toBeDefined();
  });
  it("finds the handler's file", () => {
    expect(entryOf("app.handler", files)).toBe("app.py");
    expect(entryOf("src/index.handler", new Map([["src/index.mjs", utf8("")]]))).toBe("src/index.mjs");
    expect(entryOf("x.y", new Map([["bootstrap", utf8("")]]))).toBe("bootstrap");
  });
  it("packs what was dropped", () => {
    const zip = pack(files);
    expect(dropped("f.zip", zip)).toEqual({ zip, kind: "zip" });
    expect([...unpack(dropped("f.jar", zip).zip).keys()]).toEqual(["bootstrap.jar"]);
    expect([...unpack(dropped("f", new Uint8Array([0x7f, 0x45, 0x4c, 0x46])).zip).keys()]).toEqual(["bootstrap"]);
    expect([...unpack(dropped("f.py", utf8("x")).zip).keys()]).toEqual(["f.py"]);
  });
});

describe("configuration", () => {
  const env = { A: "1", B: { secret: "b" }, C: "3" } as FunctionView["env"];
  it("writes only what differs of the environment, and null for what went", () => {
    const rows = envRows(env);
    expect(envWrite(env, rows)).toEqual({});
    const next = rows.filter((row) => row.name !== "C").map((row) => (row.name === "A" ? { ...row, value: "2" } : row));
    expect(envWrite(env, next)).toEqual({ A: "2", C: null });
  });
  it("names what cannot be kept", () => {
    expect(envProblem(envRows(env))).toBeUndefined();
    expect(envProblem([{ name: "1X", value: "", secret: false }])).toContain("1X");
    expect(envProblem([{ name: "A", value: "", secret: false }, { name: "A", value: "", secret: false }])).toContain("twice");
    expect(envProblem([{ name: "A", value: "", secret: true }])).toContain("secret");
    expect([badFunctionName("ok-1_x"), badFunctionName("a b"), badFunctionName("")].map(Boolean)).toEqual([false, true, true]);
  });
  it("shows isolations and finds runtimes", () => {
    expect(isolationText({ namespace: 90, gvisor: 10 })).toBe("namespace 90 %, gvisor 10 %");
    const runtime = (name: string, works = true) => ({ name, works, program: "" });
    expect(newest([runtime("python3.9"), runtime("python3.11"), runtime("python3.13", false)], "python")).toBe("python3.11");
  });
});

describe("schedules", () => {
  const view: ScheduleView = { name: "n", function: "f", cron: "0 3 * * *", timezone: "UTC", overlap: "skip", missed: "all", missed_most: 5, jitter: "0s", next: [], paused: false, enqueued: 0, skipped: 0, payload: { a: 1 } };
  it("are written as they were shown", () => {
    expect(writeOf(formOf(view))).toEqual({ name: "n", cron: "0 3 * * *", timezone: "UTC", overlap: "skip", missed: "all", missed_most: 5, payload: { a: 1 } });
  });
  it("say what is missing", () => {
    expect(problemOf({ ...FRESH, name: "a", cron: "x" }, [])).toBeUndefined();
    expect(problemOf({ ...FRESH, name: "a", cron: "x" }, ["a"])).toContain("already");
    expect(problemOf({ ...FRESH, name: "a", cron: "x", payload: "{" }, [])).toContain("JSON");
    expect(problemOf({ ...FRESH, name: "a" }, [])).toContain("When");
  });
});

describe("snippets", () => {
  it("hold nothing that a shell or a program would run", () => {
    expect(quote("it's $(rm)")).toBe(`'it'\\''s $(rm)'`);
    const all = snippets("f", null, `{"a": "'; rm -rf / #"}`, "http://127.0.0.1:7070");
    expect(all.find((one) => one.id === "cli")?.text).toBe(`hearth invoke f '{"a":"'\\''; rm -rf / #"}'`);
    expect(all.map((one) => one.id)).toEqual(["cli", "curl", "boto3", "fetch"]);
  });
});

describe("readings", () => {
  it("fill what is absent from a series", () => {
    const metrics: Metrics = { from: 115, to: 160, step: 10, price: null, series: [] };
    const point = { at: 130, calls: 7 } as never;
    expect(line(metrics, [point], (one) => one.calls, 0)).toEqual([[120, 130, 140, 150], [0, 7, 0, 0]]);
  });
  it("filter records, and build addresses", () => {
    const record = { outcome: { status: "fault", code: "HEARTH-F001" }, cold: true, isolation: "namespace", door: "http" } as RecordView;
    expect(matches(record, { status: "fault", cold: "true", text: "f001" })).toBe(true);
    expect(matches(record, { status: "ok" })).toBe(false);
    expect(query({ a: "x y", b: undefined, c: "", d: 0, e: false })).toBe("?a=x%20y&d=0&e=false");
  });
  it("show a JSON line as its message", () => {
    expect(readLine('{"level":"info","message":"hi","n":1,"who":"Ada"}')).toEqual({ message: "hi", fields: 'n=1 who=Ada' });
    expect(readLine('{"message":"<b>hi</b>"}')).toEqual({ message: "<b>hi</b>" });
    expect(readLine("{broken")).toEqual({ message: "{broken" });
    expect(readLine("[1]")).toEqual({ message: "[1]" });
  });
  it("give a name one colour, and find by letters", () => {
    expect(hue("a")).toBe(hue("a"));
    expect(hue("anything")).toBeLessThan(HUES);
    expect(best("ord", ["github orders", "orders", "overview"], (one) => one)[0]).toBe("orders");
    expect(best("xyz", ["orders"], (one) => one)).toEqual([]);
  });
});
