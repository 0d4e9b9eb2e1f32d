// The notes: in memory, with a copy in a file.
//
// Both belong to this one instance. The file outlives a crash of the process, not the instance, and another
// instance has its own: data that matters belongs into a database.

import { randomUUID } from "node:crypto";
import { readFileSync, renameSync, writeFileSync } from "node:fs";

// Without the cache of random bytes that Node keeps: an instance may be forked from another one, and both
// would then hand out the same ids.
export const newId = () => randomUUID({ disableEntropyCache: true });

export class Notes {
  #file;
  #most;
  #notes; // id → note with its owner, oldest first

  // Beyond `most` the oldest go: strangers must not be able to fill the memory.
  constructor(file, most = 1000) {
    this.#file = file;
    this.#most = most;
    this.#notes = new Map(load(file).map((note) => [note.id, note]));
  }

  of(owner, tags = []) {
    return [...this.#notes.values()]
      .filter((note) => note.owner === owner && tags.every((tag) => note.tags.includes(tag)))
      .reverse()
      .map(shown);
  }

  get(owner, id) {
    const note = this.#notes.get(id);
    return note && note.owner === owner ? shown(note) : undefined;
  }

  add(owner, { text, tags }) {
    const note = { id: newId(), owner, text, tags, created: new Date().toISOString() };
    this.#notes.set(note.id, note);
    if (this.#notes.size > this.#most) this.#notes.delete(this.#notes.keys().next().value);
    this.#save();
    return shown(note);
  }

  remove(owner, id) {
    if (!this.get(owner, id)) return false;
    this.#notes.delete(id);
    this.#save();
    return true;
  }

  #save() {
    // Written beside and renamed: a crash half way leaves the old copy whole.
    writeFileSync(`${this.#file}.new`, JSON.stringify([...this.#notes.values()]));
    renameSync(`${this.#file}.new`, this.#file);
  }
}

function load(file) {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    if (error.code === "ENOENT") return [];
    throw error;
  }
}

function shown({ owner, ...note }) {
  return note;
}
