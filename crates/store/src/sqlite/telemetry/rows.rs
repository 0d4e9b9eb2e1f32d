//! Records and log lines as rows, and the way there and back.

use std::collections::HashMap;

use model::trace::TraceId;
use model::{
    Door, FunctionName, InstanceId, Isolation, Kept, LogLevel, LogLine, Memory, Payloads, Record, RecordOutcome,
    RequestId, Revision, Stage, Timestamp, Version,
};
use rusqlite::{Connection, OptionalExtension, Row, Statement, params};

use super::super::database::Schema;
use super::bundle::{self, Bundle};
use super::retention::Sizes;
use crate::StoreError;

pub(in crate::sqlite) const SCHEMA: Schema = Schema {
    file: "telemetry.db",
    application_id: 0x4845_4154, // HEAT
    // The WAL is synced once a second, see `writer`; checkpoints are rarer than by default and cost less. Of the cache
    // (KiB) whatever is given is used in the end: the kernel keeps the file in memory too.
    settings: "PRAGMA synchronous = NORMAL; PRAGMA cache_size = -4096; PRAGMA wal_autocheckpoint = 4000;
        PRAGMA journal_size_limit = 67108864;",
    migrations: &[
        "
        -- Names once, not in each row and index entry.
        CREATE TABLE names (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE
        ) STRICT;

        -- Ids are given out by the writer and never again: they are the cursors of those who follow.
        CREATE TABLE lines (
            id INTEGER PRIMARY KEY,
            function INTEGER NOT NULL,
            time INTEGER NOT NULL,
            instance INTEGER NOT NULL,
            request BLOB,
            level INTEGER,
            message TEXT NOT NULL
        ) STRICT;
        CREATE INDEX lines_function ON lines (function);
        CREATE INDEX lines_request ON lines (request) WHERE request IS NOT NULL;

        CREATE TABLE records (
            id INTEGER PRIMARY KEY,
            function INTEGER NOT NULL,
            request BLOB NOT NULL,
            revision INTEGER NOT NULL,
            instance INTEGER,
            door TEXT NOT NULL,
            received INTEGER NOT NULL,
            cold INTEGER NOT NULL,
            fault TEXT,
            queued_us INTEGER NOT NULL,
            sandbox_us INTEGER,
            runtime_us INTEGER,
            init_us INTEGER,
            handler_us INTEGER NOT NULL,
            memory_peak INTEGER,
            cpu_us INTEGER,
            request_bytes INTEGER NOT NULL,
            response_bytes INTEGER NOT NULL
        ) STRICT;
        CREATE INDEX records_function ON records (function);
        CREATE INDEX records_request ON records (request);

        -- One row: the next ids, and the bytes of all messages.
        CREATE TABLE state (
            next_line INTEGER NOT NULL,
            next_record INTEGER NOT NULL,
            log_bytes INTEGER NOT NULL
        ) STRICT;
        INSERT INTO state VALUES (1, 1, 0);
    ",
        "
        ALTER TABLE records ADD COLUMN stem INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE records ADD COLUMN isolation TEXT;
    ",
        // Where set, the row is several lines, see `bundle`; `id` is the last one's then.
        "
        ALTER TABLE lines ADD COLUMN parts BLOB;
    ",
        "
        -- Cold calls only: where the time went, names and durations as JSON.
        ALTER TABLE records ADD COLUMN stages TEXT;
    ",
        VERSION,
        METRICS,
        PAYLOADS,
        "
        -- Where a trace is known to others: its 16 bytes.
        ALTER TABLE records ADD COLUMN trace BLOB;
    ",
    ],
};

/// None: of `$LATEST`.
const VERSION: &str = "ALTER TABLE records ADD COLUMN version INTEGER;";

/// Figures of many calls: `step` seconds from `at` on; `step` 0 is of all time. See `meter`.
const METRICS: &str = "
        CREATE TABLE metrics (
            step INTEGER NOT NULL,
            at INTEGER NOT NULL,
            function INTEGER NOT NULL,
            revision INTEGER NOT NULL,
            isolation TEXT NOT NULL,
            door TEXT NOT NULL,
            body BLOB NOT NULL,
            PRIMARY KEY (step, at, function, revision, isolation, door)
        ) STRICT, WITHOUT ROWID;

        -- One row: what begins before this moment is in the coarser steps too.
        CREATE TABLE metrics_state (rolled_to INTEGER NOT NULL) STRICT;
        INSERT INTO metrics_state VALUES (0);

        -- Bytes of the messages of each function's lines.
        CREATE TABLE log_sizes (
            function INTEGER PRIMARY KEY,
            bytes INTEGER NOT NULL
        ) STRICT;
        INSERT INTO log_sizes SELECT function, sum(octet_length(message)) FROM lines GROUP BY function;

        -- What a person is told of a fault.
        ALTER TABLE records ADD COLUMN error TEXT;
    ";

/// What calls were given and answered; what they would cost; and versions among figures.
const PAYLOADS: &str = "
        -- What was asked for behind the name; none: nothing.
        ALTER TABLE records ADD COLUMN qualifier TEXT;
        -- Of the sandbox, in MB; none: not known.
        ALTER TABLE records ADD COLUMN memory INTEGER;
        ALTER TABLE records ADD COLUMN billed_ms INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE records ADD COLUMN replay_of BLOB;
        -- 0: not asked for, 1: kept, 2: dropped.
        ALTER TABLE records ADD COLUMN payloads INTEGER NOT NULL DEFAULT 0;

        -- By the record's id: it is trimmed with it, if not before.
        CREATE TABLE payloads (
            id INTEGER PRIMARY KEY,
            function INTEGER NOT NULL,
            input BLOB NOT NULL,
            output BLOB
        ) STRICT;
        CREATE INDEX payloads_function ON payloads (function);

        -- Bytes of each function's.
        CREATE TABLE payload_sizes (
            function INTEGER PRIMARY KEY,
            bytes INTEGER NOT NULL
        ) STRICT;
        ALTER TABLE state ADD COLUMN payload_bytes INTEGER NOT NULL DEFAULT 0;

        -- version 0: $LATEST, -1: not known; alias '': none.
        CREATE TABLE versioned (
            step INTEGER NOT NULL,
            at INTEGER NOT NULL,
            function INTEGER NOT NULL,
            revision INTEGER NOT NULL,
            version INTEGER NOT NULL,
            alias TEXT NOT NULL,
            isolation TEXT NOT NULL,
            door TEXT NOT NULL,
            body BLOB NOT NULL,
            PRIMARY KEY (step, at, function, revision, version, alias, isolation, door)
        ) STRICT, WITHOUT ROWID;
        INSERT INTO versioned
            SELECT step, at, function, revision, iif(step = 0 OR function = 0, 0, -1), '', isolation, door, body FROM metrics;
        DROP TABLE metrics;
        ALTER TABLE versioned RENAME TO metrics;
    ";

pub(super) const LINE: &str = "SELECT l.id, n.name, l.time, l.instance, l.request, l.level, l.message, l.parts
    FROM lines l CROSS JOIN names n ON n.id = l.function";

pub(super) const RECORD: &str = "SELECT n.name, r.request, r.revision, r.instance, r.door, r.received, r.cold, r.fault,
    r.queued_us, r.sandbox_us, r.runtime_us, r.init_us, r.handler_us, r.memory_peak, r.cpu_us, r.request_bytes,
    r.response_bytes, r.stem, r.isolation, r.stages, r.version,
    r.error, r.id, r.qualifier, r.memory, r.billed_ms, r.replay_of, r.payloads, r.trace
    FROM records r CROSS JOIN names n ON n.id = r.function";

const INSERT_LINE: &str = "INSERT INTO lines VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

const INSERT_RECORD: &str = "INSERT INTO records VALUES
    (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23,
    ?24, ?25, ?26, ?27, ?28, ?29)";

const INSERT_PAYLOADS: &str = "INSERT INTO payloads VALUES (?1, ?2, ?3, ?4)";

/// The single row of `state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    pub next_line: i64,
    pub next_record: i64,
    pub log_bytes: i64,
    pub payload_bytes: i64,
}

/// Inserts rows within one transaction.
pub(super) struct Inserter<'c> {
    conn: &'c Connection,
    line: Statement<'c>,
    record: Statement<'c>,
    payloads: Statement<'c>,
    pub sizes: Sizes,
    pub payload_sizes: Sizes,
}

// === impl State ===

impl State {
    pub fn load(conn: &Connection) -> rusqlite::Result<Self> {
        conn.query_row("SELECT next_line, next_record, log_bytes, payload_bytes FROM state", [], |row| {
            Ok(Self {
                next_line: row.get(0)?,
                next_record: row.get(1)?,
                log_bytes: row.get(2)?,
                payload_bytes: row.get(3)?,
            })
        })
    }

    pub fn save(&self, conn: &Connection) -> rusqlite::Result<()> {
        let row = params![self.next_line, self.next_record, self.log_bytes, self.payload_bytes];
        let sql = "UPDATE state SET next_line = ?1, next_record = ?2, log_bytes = ?3, payload_bytes = ?4";
        conn.execute(sql, row).map(drop)
    }
}

// === impl Inserter ===

impl<'c> Inserter<'c> {
    pub fn new(conn: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            conn,
            line: conn.prepare(INSERT_LINE)?,
            record: conn.prepare(INSERT_RECORD)?,
            payloads: conn.prepare(INSERT_PAYLOADS)?,
            sizes: Sizes::default(),
            payload_sizes: Sizes::default(),
        })
    }

    pub fn lines(&mut self, names: &mut Names, state: &mut State, bundle: &Bundle<'_>) -> rusqlite::Result<()> {
        let LogLine { function, instance, request_id, .. } = bundle.first;
        let function = names.id(self.conn, function)?;
        state.next_line += bundle.count;
        state.log_bytes += bundle.message.len() as i64;
        self.sizes.add(function, bundle.message.len() as i64);
        self.line.execute(params![
            state.next_line - 1,
            function,
            bundle.newest.micros(),
            instance_number(instance),
            request_id.map(|id| id.bytes()),
            bundle.first.level.map(LogLevel::as_u8),
            bundle.message,
            bundle.parts,
        ])?;
        Ok(())
    }

    pub fn record(
        &mut self,
        names: &mut Names,
        state: &mut State,
        record: &Record,
        payloads: Option<&Payloads>,
    ) -> rusqlite::Result<()> {
        let function = names.id(self.conn, &record.function)?;
        // Named one by one, so that a new field cannot be forgotten here.
        let Record {
            request_id,
            function: _,
            revision,
            version,
            qualifier,
            instance,
            door,
            received,
            cold,
            stem,
            isolation,
            outcome,
            error,
            queued_us,
            sandbox_us,
            runtime_us,
            init_us,
            handler_us,
            memory_peak,
            cpu_us,
            request_bytes: request_len,
            response_bytes,
            memory,
            billed_ms,
            replay_of,
            payloads: kept,
            stages,
            trace,
        } = record;
        let fault = match outcome {
            RecordOutcome::Ok => None,
            RecordOutcome::Fault(code) => Some(code.as_str()),
        };
        let long = |value: Option<u64>| value.map(|value| value as i64);
        self.record.execute(params![
            state.next_record,
            function,
            request_id.bytes(),
            revision.0 as i64,
            instance.as_ref().map(instance_number),
            door_text(*door)?,
            received.micros(),
            cold,
            fault,
            *queued_us as i64,
            long(*sandbox_us),
            long(*runtime_us),
            long(*init_us),
            *handler_us as i64,
            long(*memory_peak),
            long(*cpu_us),
            *request_len as i64,
            *response_bytes as i64,
            stem,
            isolation.map(Isolation::as_str),
            stages_text(stages)?,
            long(version.number()),
            error,
            qualifier.as_ref().map(ToString::to_string),
            memory.map(Memory::as_mib),
            *billed_ms as i64,
            replay_of.map(|id| id.bytes()),
            match kept {
                Kept::No => 0,
                Kept::Yes => 1,
                Kept::Dropped => 2,
            },
            trace.as_ref().map(TraceId::bytes),
        ])?;
        if let Some(Payloads { input, output }) = payloads {
            self.payloads.execute(params![state.next_record, function, &input[..], output.as_deref()])?;
            let bytes = payloads.map_or(0, Payloads::bytes) as i64;
            state.payload_bytes += bytes;
            self.payload_sizes.add(function, bytes);
        }
        state.next_record += 1;
        Ok(())
    }
}

/// Ids of function names, as far as they have been met.
#[derive(Default)]
pub(super) struct Names(HashMap<FunctionName, i64>);

// === impl Names ===

impl Names {
    pub fn id(&mut self, conn: &Connection, name: &FunctionName) -> rusqlite::Result<i64> {
        if let Some(&id) = self.0.get(name) {
            return Ok(id);
        }
        conn.execute("INSERT INTO names (name) VALUES (?1) ON CONFLICT DO NOTHING", [name.as_str()])?;
        let id = name_id(conn, name)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        self.0.insert(name.clone(), id);
        Ok(id)
    }

    /// After a transaction that was undone: what it had added is gone.
    pub fn forget(&mut self) {
        self.0.clear();
    }
}

pub(super) fn name_id(conn: &Connection, name: &FunctionName) -> rusqlite::Result<Option<i64>> {
    conn.query_row("SELECT id FROM names WHERE name = ?1", [name.as_str()], |row| row.get(0)).optional()
}

/// The lines of a row, oldest first, each with its id.
pub(super) fn read_lines(row: &Row<'_>) -> Result<Vec<(i64, LogLine)>, StoreError> {
    let id: i64 = row.get(0)?;
    let line = |time, level, message| -> Result<LogLine, StoreError> {
        Ok(LogLine {
            function: name(row.get(1)?)?,
            time: Timestamp(time),
            instance: instance(row.get(3)?)?,
            request_id: row.get::<_, Option<[u8; 16]>>(4)?.map(RequestId::from_bytes),
            level: LogLevel::from_u8(level),
            message,
        })
    };
    let Some(parts) = row.get_ref(7)?.as_blob_or_null().map_err(|error| damaged(&error))? else {
        let level = row.get::<_, Option<u8>>(5)?.unwrap_or(0);
        return Ok(vec![(id, line(row.get(2)?, level, row.get(6)?)?)]);
    };
    let parts = bundle::unpack(parts, row.get_ref(6)?.as_str().map_err(|error| damaged(&error))?);
    let parts = parts.ok_or_else(|| damaged(&"a bundle of lines that does not add up"))?;
    let first = id + 1 - parts.len() as i64;
    let lines = parts.into_iter().zip(first..);
    lines.map(|(part, id)| Ok((id, line(part.time, part.level, part.message.to_owned())?))).collect()
}

pub(super) fn read_record(row: &Row<'_>) -> Result<Record, StoreError> {
    let long = |at| -> rusqlite::Result<u64> { Ok(row.get::<_, i64>(at)? as u64) };
    let maybe = |at| -> rusqlite::Result<Option<u64>> { Ok(row.get::<_, Option<i64>>(at)?.map(|value| value as u64)) };
    let outcome = match row.get::<_, Option<String>>(7)? {
        None => RecordOutcome::Ok,
        Some(code) => RecordOutcome::Fault(code.parse().map_err(|error| damaged(&error))?),
    };
    Ok(Record {
        function: name(row.get(0)?)?,
        request_id: RequestId::from_bytes(row.get(1)?),
        revision: Revision(long(2)?),
        version: maybe(20)?.map_or(Version::Latest, Version::Number),
        instance: row.get::<_, Option<i64>>(3)?.map(instance).transpose()?,
        door: door(&row.get::<_, String>(4)?)?,
        received: Timestamp(row.get(5)?),
        cold: row.get(6)?,
        stem: row.get(17)?,
        // One that another Hearth knew is none.
        isolation: row.get::<_, Option<String>>(18)?.and_then(|name| name.parse().ok()),
        outcome,
        error: row.get(21)?,
        queued_us: long(8)?,
        sandbox_us: maybe(9)?,
        runtime_us: maybe(10)?,
        init_us: maybe(11)?,
        handler_us: long(12)?,
        memory_peak: maybe(13)?,
        cpu_us: maybe(14)?,
        request_bytes: long(15)?,
        response_bytes: long(16)?,
        // One that another Hearth knew is none.
        qualifier: row.get::<_, Option<String>>(23)?.and_then(|text| text.parse().ok()),
        memory: row.get::<_, Option<u32>>(24)?.map(Memory::mib),
        billed_ms: long(25)?,
        replay_of: row.get::<_, Option<[u8; 16]>>(26)?.map(RequestId::from_bytes),
        payloads: match row.get::<_, i64>(27)? {
            1 => Kept::Yes,
            2 => Kept::Dropped,
            _ => Kept::No,
        },
        stages: row.get::<_, Option<String>>(19)?.map_or(Ok(vec![]), |text| stages(&text))?,
        trace: row.get::<_, Option<[u8; 16]>>(28)?.and_then(TraceId::new),
    })
}

pub(super) fn name(text: String) -> Result<FunctionName, StoreError> {
    text.try_into().map_err(|error| damaged(&error))
}

/// Its 16 digits are a number of 64 bits, kept as SQLite's signed one.
pub(super) fn instance_number(instance: &InstanceId) -> i64 {
    // Checked when it was made; 0 cannot come of it.
    u64::from_str_radix(instance.as_str(), 16).unwrap_or_default() as i64
}

pub(super) fn instance(number: i64) -> Result<InstanceId, StoreError> {
    format!("{:016x}", number as u64).try_into().map_err(|error| damaged(&error))
}

/// The text that the door's serialised form has, so that a new door needs no change here.
pub(super) fn door_text(door: Door) -> rusqlite::Result<String> {
    let text = serde_json::to_string(&door).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    Ok(text.trim_matches('"').to_owned())
}

pub(super) fn door(text: &str) -> Result<Door, StoreError> {
    serde_json::from_str(&format!("{text:?}")).map_err(|error| damaged(&error))
}

/// None where there are none, as of every warm call.
fn stages_text(stages: &[Stage]) -> rusqlite::Result<Option<String>> {
    let failed = |error: serde_json::Error| rusqlite::Error::ToSqlConversionFailure(error.into());
    Some(stages)
        .filter(|s| !s.is_empty())
        .map(|s| serde_json::to_string(&Stage::compact(s)).map_err(failed))
        .transpose()
}

fn stages(text: &str) -> Result<Vec<Stage>, StoreError> {
    serde_json::from_str(text).map(Stage::expand).map_err(|error| damaged(&error))
}

pub(super) fn damaged(error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Failed(format!("telemetry.db holds what cannot be read: {error}"))
}
