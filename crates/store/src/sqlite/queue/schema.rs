//! The queue's tables.

use super::super::database::Schema;

pub(super) const SCHEMA: Schema = Schema {
    file: "queue.db",
    application_id: 0x4845_5155, // HEQU
    settings: "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA journal_size_limit = 67108864;",
    migrations: &["
        -- Small rows, since each is written three times in its life; what is big is in payloads.
        CREATE TABLE events (
            seq INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            function TEXT NOT NULL,
            state INTEGER NOT NULL, -- 0 waits, 1 runs, 2 dead
            due INTEGER NOT NULL,
            received INTEGER NOT NULL,
            bytes INTEGER NOT NULL,
            trace_id TEXT NOT NULL,
            client_context TEXT NOT NULL,
            hops INTEGER NOT NULL,
            attempts INTEGER NOT NULL DEFAULT 0,
            failures INTEGER NOT NULL DEFAULT 0,
            throttles INTEGER NOT NULL DEFAULT 0,
            kills INTEGER NOT NULL DEFAULT 0,
            losses INTEGER NOT NULL DEFAULT 0,
            condition TEXT,
            error TEXT,
            lane TEXT, -- the schedule that it is of
            serial INTEGER NOT NULL DEFAULT 0 -- whether one of the lane runs at a time
        ) STRICT;
        CREATE INDEX events_lane ON events (lane) WHERE lane IS NOT NULL;
        CREATE INDEX events_due ON events (state, function, due);

        CREATE TABLE payloads (
            seq INTEGER PRIMARY KEY REFERENCES events (seq) ON DELETE CASCADE,
            body BLOB NOT NULL
        ) STRICT;

        CREATE TABLE counters (
            function TEXT NOT NULL PRIMARY KEY,
            enqueued INTEGER NOT NULL DEFAULT 0,
            waiting INTEGER NOT NULL DEFAULT 0,
            done INTEGER NOT NULL DEFAULT 0,
            failed INTEGER NOT NULL DEFAULT 0,
            dead INTEGER NOT NULL DEFAULT 0,
            purged INTEGER NOT NULL DEFAULT 0,
            bytes INTEGER NOT NULL DEFAULT 0
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE keys (
            function TEXT NOT NULL,
            key TEXT NOT NULL,
            id TEXT NOT NULL,
            sha256 BLOB NOT NULL,
            at INTEGER NOT NULL,
            PRIMARY KEY (function, key)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX keys_at ON keys (at);

        CREATE TABLE schedules (
            function TEXT NOT NULL,
            name TEXT NOT NULL,
            meaning TEXT NOT NULL,
            last INTEGER NOT NULL,
            paused INTEGER NOT NULL DEFAULT 0,
            enqueued INTEGER NOT NULL DEFAULT 0,
            skipped INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY (function, name)
        ) STRICT, WITHOUT ROWID;

        -- Ticks that became events, or were passed over: none does so twice.
        CREATE TABLE ticks (
            function TEXT NOT NULL,
            name TEXT NOT NULL,
            tick INTEGER NOT NULL,
            PRIMARY KEY (function, name, tick)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX ticks_tick ON ticks (tick);
    "],
};
