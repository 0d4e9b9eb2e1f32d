//! The queue's tables.

use super::super::database::Schema;

/// The version or alias that an event is for.
const QUALIFIER: &str = "ALTER TABLE events ADD COLUMN qualifier TEXT;";

pub(in crate::sqlite) const SCHEMA: Schema = Schema {
    file: "queue.db",
    application_id: 0x4845_5155, // HEQU
    settings: "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA journal_size_limit = 67108864;",
    migrations: &[
        "
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
    ",
        QUALIFIER,
        AGES,
        MESSAGES,
        SQS,
    ],
};

/// How old ticks and dead events are is counted in minutes that servers ran: the day's clock may be years ahead for a
/// moment, and what was forgotten then would come twice, or be lost.
const AGES: &str = "
    CREATE TABLE house (one INTEGER PRIMARY KEY CHECK (one = 1), minute INTEGER NOT NULL) STRICT;
    INSERT INTO house VALUES (1, 0);
    ALTER TABLE ticks ADD COLUMN minute INTEGER NOT NULL DEFAULT 0; -- when it was seen to
    DROP INDEX ticks_tick;
    CREATE INDEX ticks_minute ON ticks (minute);
    ALTER TABLE events ADD COLUMN minute INTEGER; -- when it died
    UPDATE events SET minute = 0 WHERE state = 2;
    CREATE INDEX events_dead ON events (minute) WHERE minute IS NOT NULL;
";

/// Message queues, and what is remembered of event sources.
const MESSAGES: &str = "
    CREATE TABLE message_queues (
        name TEXT NOT NULL PRIMARY KEY,
        rules TEXT NOT NULL, -- JSON
        created INTEGER NOT NULL,
        present INTEGER NOT NULL DEFAULT 0,
        bytes INTEGER NOT NULL DEFAULT 0,
        sent INTEGER NOT NULL DEFAULT 0,
        deleted INTEGER NOT NULL DEFAULT 0,
        dead INTEGER NOT NULL DEFAULT 0, -- went to another queue
        expired INTEGER NOT NULL DEFAULT 0,
        purged INTEGER NOT NULL DEFAULT 0
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE messages (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        queue TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        sent INTEGER NOT NULL,
        visible INTEGER NOT NULL, -- not received before
        first INTEGER,
        receives INTEGER NOT NULL DEFAULT 0,
        receipt TEXT, -- of the last time that it was received
        held INTEGER NOT NULL DEFAULT 0, -- by a source of this server's, which ends with it
        origin TEXT -- the queue that gave it up
    ) STRICT;
    CREATE INDEX messages_visible ON messages (queue, visible, seq);
    CREATE INDEX messages_sent ON messages (queue, sent);
    CREATE UNIQUE INDEX messages_receipt ON messages (receipt) WHERE receipt IS NOT NULL;
    CREATE INDEX messages_held ON messages (held) WHERE held = 1;

    CREATE TABLE message_bodies (
        seq INTEGER PRIMARY KEY REFERENCES messages (seq) ON DELETE CASCADE,
        body TEXT NOT NULL,
        attributes TEXT NOT NULL -- JSON
    ) STRICT;

    CREATE TABLE sources (
        function TEXT NOT NULL,
        name TEXT NOT NULL,
        paused INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (function, name)
    ) STRICT, WITHOUT ROWID;

    -- What a source has seen and kept as an event: it does not do so twice.
    CREATE TABLE marks (
        function TEXT NOT NULL,
        source TEXT NOT NULL,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        event TEXT NOT NULL,
        state INTEGER NOT NULL DEFAULT 0, -- 0 kept, 1 done, 2 given up
        PRIMARY KEY (function, source, key),
        FOREIGN KEY (function, source) REFERENCES sources (function, name) ON DELETE CASCADE
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX marks_event ON marks (event);
";

/// What clients of SQS's API ask for.
const SQS: &str = "
    ALTER TABLE message_queues ADD COLUMN changed INTEGER; -- not since it was made
    ALTER TABLE message_bodies ADD COLUMN trace TEXT;
";
