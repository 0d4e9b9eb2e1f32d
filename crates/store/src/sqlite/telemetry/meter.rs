//! Figures of many calls, at falling resolution.
//!
//! ```text
//! batch ──► 10 s ──when the ten seconds are over──► 1 min, 1 h, of all time
//!           a day                                   two weeks, a year, for ever
//! ```
//!
//! All of it happens in the transaction that writes the batch's records, so it is done once or not at all, whatever ends
//! the process. `rolled_to` is the moment up to which the coarser steps have everything; who reads adds the finest rows
//! behind it. A call counts where it is written, which is when it ended; a clock that goes back does not reopen what was
//! rolled up.
//!
//! At most [`MOST_SERIES`] kinds of calls are told apart in ten seconds; the rest are one, `function` 0.

use std::collections::{BTreeMap, HashMap};

use model::metric::Aggregate;
use model::{FunctionName, Isolation, Qualifier, Revision, Timestamp, Version};
use rusqlite::{Connection, OptionalExtension, Statement, params};

use super::queue::Item;
use super::rows::{self, Names};
use crate::StoreError;
use crate::observe::{FINEST, KEPT, MetricsBy, MetricsQuery, MetricsSeries, OTHER, Total, UNKNOWN};

/// Kinds of calls (function, revision, version, alias, isolation, door) that ten seconds tell apart; and all time, without
/// revisions, versions and aliases.
const MOST_SERIES: i64 = 1_000;

/// What rows of before there were versions have.
const UNKNOWN_VERSION: i64 = -1;

/// Rows of each step, at most.
const MOST_ROWS: i64 = 1_000_000;

/// A kind of calls, as a row has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Kind {
    function: i64,
    revision: i64,
    /// 0: `$LATEST`; [`UNKNOWN_VERSION`].
    version: i64,
    /// Empty where the call came through none.
    alias: String,
    isolation: String,
    door: String,
}

impl Kind {
    /// Instances serve calls of every door and alias.
    fn of_instances(function: i64, revision: Revision, version: Version, isolation: Isolation) -> Self {
        Self {
            function,
            revision: revision.0 as i64,
            version: version_number(version),
            alias: String::new(),
            isolation: isolation.as_str().to_owned(),
            door: String::new(),
        }
    }

    /// What would make ever more of them is left out.
    fn of_all_time(self) -> Self {
        Self { revision: 0, version: 0, alias: String::new(), ..self }
    }
}

fn version_number(version: Version) -> i64 {
    version.number().map_or(0, |number| number as i64)
}

fn version_text(number: i64) -> String {
    match number {
        0 => Version::Latest.to_string(),
        UNKNOWN_VERSION => UNKNOWN.to_owned(),
        number => number.to_string(),
    }
}

/// Counts a batch, and rolls up what is over.
pub(super) fn count(conn: &Connection, names: &mut Names, items: &[Item], now: Timestamp) -> rusqlite::Result<()> {
    let rolled_to = rolled_to(conn)?;
    let at = floor(now.micros().div_euclid(1_000_000), FINEST);
    // A store that nobody calls writes nothing.
    if at > rolled_to && (!items.is_empty() || is_behind(conn, rolled_to)?) {
        roll(conn, rolled_to, at)?;
        if floor(at, 3600) > rolled_to {
            trim(conn, at)?;
        }
    }
    let at = at.max(rolled_to);
    let kinds = of_batch(conn, names, items)?;
    if kinds.is_empty() {
        return Ok(());
    }
    let mut rows = Rows::new(conn)?;
    for (kind, figures) in kinds {
        rows.merge(FINEST, at, kind, &figures)?;
    }
    Ok(())
}

/// What a batch adds to each kind.
fn of_batch(conn: &Connection, names: &mut Names, items: &[Item]) -> rusqlite::Result<HashMap<Kind, Aggregate>> {
    let mut kinds: HashMap<Kind, Aggregate> = HashMap::new();
    // One call after the other of the same kind is what a batch mostly is.
    let mut last: Option<(&model::Record, Aggregate)> = None;
    let put = |names: &mut Names, kinds: &mut HashMap<Kind, Aggregate>, of: (&model::Record, Aggregate)| {
        let (record, figures) = of;
        let kind = Kind {
            function: names.id(conn, &record.function)?,
            revision: record.revision.0 as i64,
            version: version_number(record.version),
            alias: match &record.qualifier {
                Some(Qualifier::Alias(alias)) => alias.as_str().to_owned(),
                Some(Qualifier::Version(_)) | None => String::new(),
            },
            isolation: record.isolation.map_or("", Isolation::as_str).to_owned(),
            door: rows::door_text(record.door)?,
        };
        kinds.entry(kind).or_default().merge(&figures);
        Ok::<_, rusqlite::Error>(())
    };
    for item in items {
        match item {
            Item::Line(_) => {}
            Item::Record(record, _) => {
                let same = |one: &model::Record| {
                    one.function == record.function
                        && one.revision == record.revision
                        && one.version == record.version
                        && one.qualifier == record.qualifier
                        && one.isolation == record.isolation
                        && one.door == record.door
                };
                if let Some(other) = last.take_if(|(one, _)| !same(one)) {
                    put(names, &mut kinds, other)?;
                }
                last.get_or_insert_with(|| (record, Aggregate::default())).1.add(record);
            }
            Item::Instances(times) => {
                for time in times {
                    let function = names.id(conn, &time.function)?;
                    let kind = Kind::of_instances(function, time.revision, time.version, time.isolation);
                    kinds.entry(kind).or_default().add_instance(time.state, time.millis);
                }
            }
            Item::Traffic(traffic) => {
                for one in traffic {
                    let function = names.id(conn, &one.function)?;
                    let kind = Kind::of_instances(function, one.revision, one.version, one.isolation);
                    kinds.entry(kind).or_default().add_traffic(one.traffic);
                }
            }
        }
    }
    if let Some(other) = last {
        put(names, &mut kinds, other)?;
    }
    Ok(kinds)
}

/// Writes rows within one transaction.
struct Rows<'c> {
    read: Statement<'c>,
    count: Statement<'c>,
    write: Statement<'c>,
}

impl<'c> Rows<'c> {
    fn new(conn: &'c Connection) -> rusqlite::Result<Self> {
        let read = "SELECT body FROM metrics WHERE step = ?1 AND at = ?2 AND function = ?3 AND revision = ?4
            AND version = ?5 AND alias = ?6 AND isolation = ?7 AND door = ?8";
        Ok(Self {
            read: conn.prepare(read)?,
            count: conn.prepare("SELECT count(*) FROM metrics WHERE step = ?1 AND at = ?2")?,
            write: conn.prepare("INSERT OR REPLACE INTO metrics VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?,
        })
    }

    fn body(&mut self, step: i64, at: i64, kind: &Kind) -> rusqlite::Result<Option<Vec<u8>>> {
        let Kind { function, revision, version, alias, isolation, door } = kind;
        let key = params![step, at, function, revision, version, alias, isolation, door];
        self.read.query_row(key, |row| row.get(0)).optional()
    }

    /// Adds to a row, or makes it; where there are too many of them, that of all the rest.
    fn merge(&mut self, step: i64, at: i64, mut kind: Kind, more: &Aggregate) -> rusqlite::Result<()> {
        let mut old = self.body(step, at, &kind)?;
        if old.is_none() && kind.function != 0 && (step == FINEST || step == 0) {
            let count: i64 = self.count.query_row([step, at], |row| row.get(0))?;
            if count >= MOST_SERIES {
                kind = Kind { door: kind.door, ..Kind::default() };
                old = self.body(step, at, &kind)?;
            }
        }
        // What cannot be read is given up, rather than everything that comes after it.
        let mut figures = old.and_then(|bytes| Aggregate::from_bytes(&bytes)).unwrap_or_default();
        figures.merge(more);
        let Kind { function, revision, version, alias, isolation, door } = kind;
        let body = figures.to_bytes();
        self.write.execute(params![step, at, function, revision, version, alias, isolation, door, body])?;
        Ok(())
    }
}

/// Adds what began before `to` and is not in the coarser steps yet to them.
fn roll(conn: &Connection, from: i64, to: i64) -> rusqlite::Result<()> {
    let mut sums: BTreeMap<(i64, i64, Kind), Aggregate> = BTreeMap::new();
    each_row(conn, FINEST, from, to, None, |at, kind, figures| {
        for step in KEPT.iter().map(|(step, _)| *step).filter(|step| *step > FINEST) {
            sums.entry((step, floor(at, step), kind.clone())).or_default().merge(figures);
        }
        sums.entry((0, 0, kind.of_all_time())).or_default().merge(figures);
    })?;
    let mut rows = Rows::new(conn)?;
    for ((step, at, kind), figures) in sums {
        rows.merge(step, at, kind, &figures)?;
    }
    conn.execute("UPDATE metrics_state SET rolled_to = ?1", [to])?;
    Ok(())
}

/// Takes away what is too old, and the oldest of what is too much.
fn trim(conn: &Connection, now: i64) -> rusqlite::Result<()> {
    for (step, kept) in KEPT {
        conn.execute("DELETE FROM metrics WHERE step = ?1 AND at < ?2", [step, now - kept])?;
        let newest = "SELECT at FROM metrics WHERE step = ?1 ORDER BY at DESC LIMIT 1 OFFSET ?2";
        let beyond = conn.query_row(newest, [step, MOST_ROWS], |row| row.get::<_, i64>(0)).optional()?;
        if let Some(at) = beyond {
            conn.execute("DELETE FROM metrics WHERE step = ?1 AND at <= ?2", [step, at])?;
        }
    }
    Ok(())
}

fn each_row(
    conn: &Connection,
    step: i64,
    from: i64,
    to: i64,
    function: Option<i64>,
    mut take: impl FnMut(i64, Kind, &Aggregate),
) -> rusqlite::Result<()> {
    let mut statement = conn.prepare(
        "SELECT at, function, revision, version, alias, isolation, door, body FROM metrics
         WHERE step = ?1 AND at >= ?2 AND at < ?3 AND (?4 IS NULL OR function = ?4)",
    )?;
    let mut found = statement.query(params![step, from, to, function])?;
    while let Some(row) = found.next()? {
        let body = row.get_ref(7)?.as_blob()?;
        let Some(figures) = Aggregate::from_bytes(body) else { continue };
        let kind = Kind {
            function: row.get(1)?,
            revision: row.get(2)?,
            version: row.get(3)?,
            alias: row.get(4)?,
            isolation: row.get(5)?,
            door: row.get(6)?,
        };
        take(row.get(0)?, kind, &figures);
    }
    Ok(())
}

fn rolled_to(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("SELECT rolled_to FROM metrics_state", [], |row| row.get(0))
}

/// Whether there is anything to roll up.
fn is_behind(conn: &Connection, rolled_to: i64) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM metrics WHERE step = ?1 AND at >= ?2)";
    conn.query_row(sql, [FINEST, rolled_to], |row| row.get(0))
}

fn floor(at: i64, step: i64) -> i64 {
    at.div_euclid(step) * step
}

pub(super) fn series(conn: &Connection, query: &MetricsQuery) -> Result<Vec<MetricsSeries>, StoreError> {
    // One moment for all that is read.
    let conn = conn.unchecked_transaction()?;
    let &MetricsQuery { from, to, step, by, .. } = query;
    let function = match &query.function {
        None => None,
        Some(name) => match rows::name_id(&conn, name)? {
            None => return Ok(Vec::new()),
            id => id,
        },
    };
    let names = function_names(&conn)?;
    let kept = KEPT.iter().rev().map(|(kept, _)| *kept).find(|kept| step % kept == 0).unwrap_or(FINEST);
    let mut all: BTreeMap<(i64, String), BTreeMap<i64, Aggregate>> = BTreeMap::new();
    let mut take = |at: i64, kind: Kind, figures: &Aggregate| {
        // Figures of instances have neither door nor alias.
        if matches!(by, MetricsBy::Door | MetricsBy::Alias) && kind.door.is_empty() {
            return;
        }
        let other = kind.function == 0;
        // Numbers in their order, and not as texts.
        let key = match by {
            MetricsBy::Nothing => (0, String::new()),
            MetricsBy::Door => (0, kind.door),
            _ if other => (i64::MAX, OTHER.to_owned()),
            MetricsBy::Function => (0, names.get(&kind.function).map_or(OTHER, FunctionName::as_str).to_owned()),
            MetricsBy::Revision => (kind.revision, kind.revision.to_string()),
            MetricsBy::Version => (kind.version, version_text(kind.version)),
            MetricsBy::Alias if kind.alias.is_empty() => (kind.version, version_text(kind.version)),
            MetricsBy::Alias => (kind.version, format!("{}:{}", kind.alias, version_text(kind.version))),
            MetricsBy::Isolation => (0, kind.isolation),
        };
        all.entry(key).or_default().entry(floor(at, step)).or_default().merge(figures);
    };
    let from = floor(from, step);
    let rolled_to = rolled_to(&conn)?;
    each_row(&conn, kept, from, to, function, &mut take)?;
    if kept != FINEST {
        each_row(&conn, FINEST, from.max(rolled_to), to, function, &mut take)?;
    }
    let series =
        |((_, key), points): (_, BTreeMap<i64, Aggregate>)| MetricsSeries { key, points: points.into_iter().collect() };
    Ok(all.into_iter().map(series).collect())
}

pub(super) fn totals(conn: &Connection) -> Result<Vec<Total>, StoreError> {
    let conn = conn.unchecked_transaction()?;
    let names = function_names(&conn)?;
    let mut all: BTreeMap<Kind, Aggregate> = BTreeMap::new();
    let mut take = |_, kind: Kind, figures: &Aggregate| {
        all.entry(kind.of_all_time()).or_default().merge(figures);
    };
    each_row(&conn, 0, 0, 1, None, &mut take)?;
    each_row(&conn, FINEST, rolled_to(&conn)?, i64::MAX, None, &mut take)?;
    let total = |(kind, figures): (Kind, Aggregate)| {
        Ok(Total {
            function: names.get(&kind.function).map_or(OTHER, FunctionName::as_str).to_owned(),
            // One that another Hearth knew is none.
            isolation: kind.isolation.parse().ok(),
            door: if kind.door.is_empty() { None } else { Some(rows::door(&kind.door)?) },
            figures,
        })
    };
    all.into_iter().map(total).collect()
}

fn function_names(conn: &Connection) -> Result<HashMap<i64, FunctionName>, StoreError> {
    let mut statement = conn.prepare("SELECT id, name FROM names")?;
    let mut found = statement.query([])?;
    let mut names = HashMap::new();
    while let Some(row) = found.next()? {
        names.insert(row.get(0)?, rows::name(row.get(1)?)?);
    }
    Ok(names)
}
