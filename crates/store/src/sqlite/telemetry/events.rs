//! Lines by place and time, and the instances that wrote them.

use std::collections::HashMap;

use async_trait::async_trait;
use model::{FunctionName, Timestamp, Version};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params};

use super::super::SqliteStore;
use super::query::{DISORDER, Filter};
use super::rows;
use crate::StoreError;
use crate::log_events::{EventsPage, EventsQuery, LogEvents, LogStream};

/// Rows that a page looks at.
const LOOK: usize = 50_000;
/// A page ends with the line that takes it beyond this.
const PAGE_BYTES: usize = 1 << 20;

#[async_trait]
impl LogEvents for SqliteStore {
    async fn streams(&self, function: &FunctionName) -> Result<Vec<LogStream>, StoreError> {
        self.telemetry.queue.flush().await?;
        let function = function.clone();
        self.telemetry.readers.read(move |conn| streams(conn, &function)).await
    }

    async fn logged_functions(&self) -> Result<Vec<(FunctionName, u64)>, StoreError> {
        self.telemetry.queue.flush().await?;
        self.telemetry.readers.read(functions).await
    }

    async fn events(&self, query: EventsQuery) -> Result<EventsPage, StoreError> {
        self.telemetry.queue.flush().await?;
        self.telemetry.readers.search(move |conn| events(conn, &query)).await
    }
}

fn functions(conn: &Connection) -> Result<Vec<(FunctionName, u64)>, StoreError> {
    let sql = "SELECT n.name, s.bytes FROM log_sizes s JOIN names n ON n.id = s.function WHERE s.bytes > 0";
    let mut query = conn.prepare(sql)?;
    let mut rows = query.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((rows::name(row.get(0)?)?, row.get::<_, i64>(1)?.unsigned_abs()));
    }
    Ok(found)
}

fn streams(conn: &Connection, function: &FunctionName) -> Result<Vec<LogStream>, StoreError> {
    let snapshot = conn.unchecked_transaction()?;
    let Some(id) = rows::name_id(&snapshot, function)? else { return Ok(Vec::new()) };
    let mut versions = HashMap::<i64, Option<i64>>::new();
    let sql =
        "SELECT instance, max(version) FROM records WHERE function = ?1 AND instance IS NOT NULL GROUP BY instance";
    let mut query = snapshot.prepare(sql)?;
    let mut rows = query.query([id])?;
    while let Some(row) = rows.next()? {
        versions.insert(row.get(0)?, row.get(1)?);
    }
    let mut newest = HashMap::<i64, i64>::new();
    let mut query = snapshot.prepare("SELECT instance, max(time) FROM lines WHERE function = ?1 GROUP BY instance")?;
    let mut rows = query.query([id])?;
    while let Some(row) = rows.next()? {
        newest.insert(row.get(0)?, row.get(1)?);
    }
    // The other columns are those of the row with the least id. A row of several lines begins with the oldest one's time.
    let sql = "SELECT instance, min(id), time, substr(parts, 1, 8) FROM lines WHERE function = ?1 GROUP BY instance";
    let mut query = snapshot.prepare(sql)?;
    let mut rows = query.query([id])?;
    let mut streams = Vec::new();
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(0)?;
        let first =
            row.get::<_, Option<[u8; 8]>>(3)?.map_or_else(|| row.get(2), |bytes| Ok(i64::from_le_bytes(bytes)))?;
        let version = versions.get(&number).copied().flatten();
        streams.push(LogStream {
            instance: rows::instance(number)?,
            version: version.map_or(Version::Latest, |number| Version::Number(number.unsigned_abs())),
            first: Timestamp(first),
            last: Timestamp(newest.get(&number).copied().unwrap_or(first)),
        });
    }
    Ok(streams)
}

fn events(conn: &Connection, query: &EventsQuery) -> Result<EventsPage, StoreError> {
    let snapshot = conn.unchecked_transaction()?;
    let Some(function) = rows::name_id(&snapshot, &query.function)? else { return Ok(EventsPage::default()) };
    let forward = query.after.is_some();
    let mut filter = Filter::default();
    filter.add("l.function = ?", Value::Integer(function));
    let place = |place: u64| Value::Integer(i64::try_from(place).unwrap_or(i64::MAX));
    if let Some(after) = query.after {
        let from = match query.from {
            Some(from) => after.max(first_since(&snapshot, function, from)?),
            None => after,
        };
        filter.add("l.id > ?", place(from));
    }
    if let Some(before) = query.before {
        // A row's id is its last line's: one that ends behind may begin before.
        filter.add("l.id < ? + 200", place(before));
    }
    let order = if forward { "ASC" } else { "DESC" };
    let sql = format!("{} {} ORDER BY l.id {order}", rows::LINE, filter.sql());
    let mut statement = snapshot.prepare(&sql)?;
    let mut found = statement.query(rusqlite::params_from_iter(filter.values))?;
    let instance = query.instance.as_ref().map(rows::instance_number);
    let mut page = EventsPage::default();
    let (mut bytes, mut looked, mut passed) = (0, 0, 0);
    while let Some(row) = found.next()? {
        let (id, time): (i64, i64) = (row.get(0)?, row.get(2)?);
        if looked == LOOK {
            page.next = Some(if forward { passed } else { id as u64 + 1 });
            return Ok(page);
        }
        looked += 1;
        passed = id as u64;
        let over = if forward {
            query.until.is_some_and(|until| Timestamp(time) > until + DISORDER)
        } else {
            query.from.is_some_and(|from| Timestamp(time) < from - DISORDER)
        };
        if over {
            break;
        }
        if instance.is_some_and(|wanted| row.get(3) != Ok(wanted)) {
            continue;
        }
        let mut lines = rows::read_lines(row)?;
        if !forward {
            lines.reverse();
        }
        for (id, line) in lines {
            let id = id as u64;
            let fits = query.after.is_none_or(|after| id > after)
                && query.before.is_none_or(|before| id < before)
                && query.from.is_none_or(|from| line.time >= from)
                && query.until.is_none_or(|until| line.time <= until);
            if !fits {
                continue;
            }
            bytes += line.message.len();
            page.events.push((id, line));
            if page.events.len() >= query.limit || bytes > PAGE_BYTES {
                page.next = Some(id);
                return Ok(page);
            }
        }
    }
    Ok(page)
}

/// A place that no line from then on comes before. Lines are nearly in order of time, so that it is found by halves.
fn first_since(conn: &Connection, function: i64, from: Timestamp) -> Result<u64, StoreError> {
    let bounds = "SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM lines WHERE function = ?1";
    let (mut low, mut high): (i64, i64) = conn.query_row(bounds, [function], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let before = (from - DISORDER).micros();
    let mut at = conn.prepare("SELECT id, time FROM lines WHERE function = ?1 AND id >= ?2 ORDER BY id LIMIT 1")?;
    let mut known = 0;
    while low <= high {
        let middle = low + (high - low) / 2;
        let row: Option<(i64, i64)> =
            at.query_row(params![function, middle], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        match row {
            Some((id, time)) if time < before => {
                known = id;
                low = id + 1;
            }
            _ => high = middle - 1,
        }
    }
    Ok(known.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, LazyLock};

    use model::{InstanceId, LogLine, RequestId};

    use super::super::super::Options;
    use super::*;
    use crate::Telemetry;

    fn at(seconds: i64) -> Timestamp {
        // Of late, or it would be trimmed.
        static BEGUN: LazyLock<i64> = LazyLock::new(|| Timestamp::now().micros() - 1_000_000_000);
        Timestamp(*BEGUN + seconds * 1_000_000)
    }

    fn name() -> FunctionName {
        "f".parse().unwrap()
    }

    /// Calls of two instances, by turns, 10 s apart, three lines each.
    fn store(dir: &tempfile::TempDir) -> (Arc<SqliteStore>, [InstanceId; 2]) {
        let store = SqliteStore::open(Options::new(dir.path())).unwrap();
        let instances = [InstanceId::random(), InstanceId::random()];
        for call in 0..10 {
            let request = RequestId::random();
            for line in 0..3 {
                store.log(LogLine {
                    time: at(call * 10 + line),
                    function: name(),
                    instance: instances[call as usize % 2].clone(),
                    request_id: Some(request),
                    level: None,
                    message: format!("{call}-{line}"),
                });
            }
        }
        (store, instances)
    }

    fn query(after: Option<u64>, before: Option<u64>, limit: usize) -> EventsQuery {
        EventsQuery { function: name(), instance: None, from: None, until: None, after, before, limit }
    }

    fn texts(page: &EventsPage) -> Vec<&str> {
        page.events.iter().map(|(_, line)| line.message.as_str()).collect()
    }

    #[tokio::test]
    async fn pages_lead_through_all_lines_in_both_directions() {
        let dir = tempfile::tempdir().unwrap();
        let (store, instances) = store(&dir);
        let (mut place, mut seen) = (Some(0), Vec::new());
        while let Some(after) = place {
            let page = store.events(query(Some(after), None, 4)).await.unwrap();
            seen.extend(texts(&page).into_iter().map(str::to_owned));
            place = page.next;
        }
        let expected: Vec<_> = (0..10).flat_map(|call| (0..3).map(move |line| format!("{call}-{line}"))).collect();
        assert_eq!(seen, expected);
        let (mut place, mut seen) = (Some(u64::MAX), Vec::new());
        while let Some(before) = place {
            let page = store.events(query(None, Some(before.min(1 << 40)), 7)).await.unwrap();
            seen.extend(texts(&page).into_iter().map(str::to_owned));
            place = page.next;
        }
        seen.reverse();
        assert_eq!(seen, expected);
        let one = EventsQuery { instance: Some(instances[1].clone()), ..query(Some(0), None, 100) };
        assert_eq!(store.events(one).await.unwrap().events.len(), 15);
    }

    #[tokio::test]
    async fn times_bound_what_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = store(&dir);
        let bounded = EventsQuery { from: Some(at(31)), until: Some(at(41)), ..query(Some(0), None, 100) };
        assert_eq!(texts(&store.events(bounded.clone()).await.unwrap()), ["3-1", "3-2", "4-0", "4-1"]);
        let back = EventsQuery { after: None, before: Some(1 << 40), ..bounded };
        assert_eq!(texts(&store.events(back).await.unwrap()), ["4-1", "4-0", "3-2", "3-1"]);
    }

    #[tokio::test]
    async fn streams_are_the_instances() {
        let dir = tempfile::tempdir().unwrap();
        let (store, instances) = store(&dir);
        let mut streams = store.streams(&name()).await.unwrap();
        streams.sort_by_key(|stream| stream.first);
        assert_eq!(streams.iter().map(|one| one.instance.clone()).collect::<Vec<_>>(), instances);
        assert_eq!((streams[0].first, streams[0].last), (at(0), at(82)));
        assert_eq!(store.logged_functions().await.unwrap(), [(name(), 90)]);
    }
}
