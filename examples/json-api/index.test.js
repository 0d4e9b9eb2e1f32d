// Run with `npm install && npm test`.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

const folder = mkdtempSync(join(tmpdir(), "notes-"));
after(() => rmSync(folder, { recursive: true }));
process.env.NOTES_FILE = join(folder, "notes.json");
const { handler } = await import("./index.js");
const { Notes } = await import("./notes.js");

async function call(method, url, { body, cookies, headers = {} } = {}) {
  const [rawPath, rawQueryString = ""] = url.split("?");
  const answer = await handler({
    rawPath,
    rawQueryString,
    headers: { "content-type": "application/json", ...headers },
    cookies,
    body: typeof body === "string" ? body : JSON.stringify(body),
    isBase64Encoded: false,
    requestContext: { http: { method } },
  });
  return { ...answer, body: answer.body && JSON.parse(answer.body) };
}

// A new visitor with these notes; the cookies to send back.
async function visitor(...notes) {
  let cookies;
  for (const body of notes) {
    const answer = await call("POST", "/notes", { body, cookies });
    assert.equal(answer.statusCode, 201);
    cookies ??= [answer.cookies[0].split(";")[0]];
  }
  return cookies;
}

test("a note can be made, read, listed and deleted", async () => {
  const made = await call("POST", "/notes", { body: { text: "Buy milk", tags: ["home"] } });
  const cookies = [made.cookies[0].split(";")[0]];
  const path = `/${made.headers.location}`;

  assert.deepEqual((await call("GET", path, { cookies })).body, made.body);
  assert.deepEqual((await call("GET", "/notes", { cookies })).body.notes, [made.body]);
  assert.equal((await call("DELETE", path, { cookies })).statusCode, 204);
  assert.equal((await call("GET", path, { cookies })).statusCode, 404);
});

test("the newest note comes first, and every tag asked for has to be there", async () => {
  const cookies = await visitor(
    { text: "one", tags: ["home", "garden"] },
    { text: "two", tags: ["home"] },
    { text: "three", tags: ["home", "garden", "spring"] },
  );
  const texts = async (query) => {
    const { body } = await call("GET", `/notes${query}`, { cookies });
    return body.notes.map((note) => note.text);
  };
  assert.deepEqual(await texts(""), ["three", "two", "one"]);
  assert.deepEqual(await texts("?tag=home&tag=garden"), ["three", "one"]);
  assert.deepEqual(await texts("?tag=garden%2Chome"), []);
});

test("nobody sees or deletes another visitor's note", async () => {
  const mine = await visitor({ text: "secret" });
  const theirs = await visitor({ text: "other" });
  const [{ id }] = (await call("GET", "/notes", { cookies: mine })).body.notes;
  for (const cookies of [theirs, undefined, ["visitor=undefined"]]) {
    assert.equal((await call("GET", `/notes/${id}`, { cookies })).statusCode, 404);
    assert.equal((await call("DELETE", `/notes/${id}`, { cookies })).statusCode, 404);
  }
  assert.equal((await call("GET", `/notes/${id}`, { cookies: mine })).statusCode, 200);
});

test("the cookie is given once, and only one of ours is believed", async () => {
  const cookies = await visitor({ text: "one" });
  const again = await call("POST", "/notes", { body: { text: "two" }, cookies });
  assert.deepEqual(again.cookies, []);
  const invented = await call("POST", "/notes", { body: { text: "x" }, cookies: ["visitor=admin"] });
  assert.match(invented.cookies[0], /^visitor=[0-9a-f-]{36}; Max-Age=31536000; HttpOnly; SameSite=Lax$/);
});

test("the cookie stays on https where the visitor is", async () => {
  const headers = { "x-forwarded-proto": "https" };
  const { cookies } = await call("POST", "/notes", { body: { text: "x" }, headers });
  assert.match(cookies[0], /; Secure/);
});

test("every fault of a note is named with its field", async () => {
  const body = { text: " ", tags: ["fine", "not fine", 3], colour: "red" };
  const answer = await call("POST", "/notes", { body });
  assert.equal(answer.statusCode, 400);
  const fields = answer.body.errors.map((error) => error.field);
  assert.deepEqual(fields, ["colour", "text", "tags[1]", "tags[2]"]);
});

test("bodies that are no note are refused", async () => {
  for (const body of ["", "{", "null", "[]", '"text"', "{}"]) {
    assert.equal((await call("POST", "/notes", { body })).statusCode, 400, body);
  }
  const headers = { "content-type": "text/plain" };
  assert.equal((await call("POST", "/notes", { body: "{}", headers })).statusCode, 415);
});

test("unknown paths and methods are told apart", async () => {
  assert.equal((await call("GET", "/elsewhere")).statusCode, 404);
  const answer = await call("PUT", "/notes/1");
  assert.deepEqual([answer.statusCode, answer.headers.allow], [405, "GET, DELETE"]);
});

test("the file brings the notes back to a new process", async () => {
  await visitor({ text: "still here" });
  const last = JSON.parse(readFileSync(process.env.NOTES_FILE)).at(-1);
  const [note] = new Notes(process.env.NOTES_FILE).of(last.owner);
  assert.equal(note.text, "still here");
});

test("the oldest notes go when there are too many", () => {
  const notes = new Notes(join(folder, "many.json"), 10);
  const first = notes.add("a", { text: "first", tags: [] });
  for (let i = 0; i < 10; i += 1) notes.add("b", { text: "x", tags: [] });
  assert.equal(notes.get("a", first.id), undefined);
  assert.equal(notes.of("b").length, 10);
});
