// A small JSON API of notes, each visitor seeing only their own. Who is who is told by a random cookie,
// given with the first note.
//
//   GET    /notes[?tag=a&tag=b]   the visitor's notes that carry all of these tags, newest first
//   POST   /notes                 {"text": "…", "tags": ["…"]}
//   GET    /notes/{id}
//   DELETE /notes/{id}

import { parseCookie, stringifySetCookie } from "cookie";

import { Notes, newId } from "./notes.js";
import { validNote } from "./validate.js";

const COOKIE = "visitor";
const YEAR = 365 * 24 * 60 * 60;

const notes = new Notes(process.env.NOTES_FILE ?? "/tmp/notes.json");

const ROUTES = [
  { path: /^\/notes\/?$/, methods: { GET: list, POST: create } },
  { path: /^\/notes\/(?<id>[^/]+)$/, methods: { GET: read, DELETE: remove } },
];

export const handler = async (event) => {
  const { method } = event.requestContext.http;
  for (const { path, methods } of ROUTES) {
    const found = path.exec(event.rawPath);
    if (!found) continue;
    const action = methods[method];
    if (action) return action({ event, visitor: visitorOf(event), ...found.groups });
    return problem(405, `${method} is not possible here`, { allow: Object.keys(methods).join(", ") });
  }
  return problem(404, `there is nothing at ${event.rawPath}`);
};

// === Routes ===

function list({ event, visitor }) {
  // queryStringParameters joins ?tag=a&tag=b into "a,b", which a tag of that name would give as well.
  const tags = new URLSearchParams(event.rawQueryString).getAll("tag");
  return json(200, { tags, notes: visitor ? notes.of(visitor, tags) : [] });
}

function create({ event, visitor }) {
  if (!/^application\/json\b/i.test(event.headers["content-type"] ?? "")) {
    return problem(415, "send the note as application/json");
  }
  let body;
  try {
    body = JSON.parse(bodyOf(event));
  } catch {
    return problem(400, "the body is not JSON");
  }
  const { note, errors } = validNote(body);
  if (errors.length) return json(400, { error: "the note is not valid", errors });

  const owner = visitor ?? newId();
  const added = notes.add(owner, note);
  return {
    // Relative, because the function does not know the path it is mounted at: rawPath is without it.
    ...json(201, added, { location: `notes/${added.id}` }),
    // Payload format 2.0 has a field of its own for cookies: a header can be given only once.
    cookies: visitor ? [] : [visitorCookie(owner, event)],
  };
}

function read({ visitor, id }) {
  const note = notes.get(visitor, id);
  return note ? json(200, note) : noSuchNote();
}

function remove({ visitor, id }) {
  return notes.remove(visitor, id) ? { statusCode: 204 } : noSuchNote();
}

// === Requests and answers ===

function visitorOf(event) {
  const id = parseCookie((event.cookies ?? []).join("; "))[COOKIE];
  // Only what could be ours: an invented id must not become a place that others can guess.
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id ?? "") ? id : undefined;
}

function visitorCookie(id, event) {
  return stringifySetCookie({
    name: COOKIE,
    value: id,
    httpOnly: true,
    sameSite: "lax",
    secure: event.headers["x-forwarded-proto"] === "https",
    maxAge: YEAR,
    // No path: the browser then takes the folder of this URL, and other functions never see the cookie.
  });
}

function bodyOf(event) {
  const body = event.body ?? "";
  return event.isBase64Encoded ? Buffer.from(body, "base64").toString() : body;
}

function json(statusCode, body, headers = {}) {
  return {
    statusCode,
    headers: { "content-type": "application/json", "cache-control": "no-store", ...headers },
    body: JSON.stringify(body),
  };
}

const problem = (statusCode, error, headers) => json(statusCode, { error }, headers);

// The same whether a note never was or is another visitor's.
const noSuchNote = () => problem(404, "there is no such note");
