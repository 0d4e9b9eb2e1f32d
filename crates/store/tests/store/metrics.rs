//! Figures of calls: that they agree with the records, over roll-ups and restarts, and stay within their bounds.

use std::collections::BTreeMap;
use std::time::Duration;

use model::metric::{Aggregate, Traffic};
use model::{
    Blame, Door, FaultCode, InstanceState, Isolation, Memory, Record, RecordOutcome, Revision, Timestamp, Version,
};
use store::observe::{InstanceTime, InstanceTraffic, MetricsBy, MetricsQuery, OTHER, RecordSearch};
use store::{LogQuery, Observe, StoreError, Telemetry};

use crate::telemetry::{line, record};
use crate::{Home, name};

fn all(by: MetricsBy) -> MetricsQuery {
    let now = Timestamp::now().micros() / 1_000_000;
    MetricsQuery { function: None, from: now - 3600, to: now + 3600, step: 10, by }
}

/// The sum of each series.
async fn sums(home: &Home, query: MetricsQuery) -> BTreeMap<String, Aggregate> {
    let series = home.store.metrics(query).await.unwrap();
    let sum = |points: &[(i64, Aggregate)]| {
        let mut sum = Aggregate::default();
        points.iter().for_each(|(_, point)| sum.merge(point));
        sum
    };
    series.into_iter().map(|one| (one.key, sum(&one.points))).collect()
}

/// Moves everything that was counted back in time, as if it had happened then.
fn age(data: &std::path::Path, seconds: i64) {
    let conn = rusqlite::Connection::open(data.join("telemetry.db")).unwrap();
    conn.execute("UPDATE metrics SET at = at - ?1 WHERE step > 0", [seconds]).unwrap();
    conn.execute("UPDATE metrics_state SET rolled_to = rolled_to - ?1", [seconds]).unwrap();
}

fn rows(data: &std::path::Path, step: i64) -> i64 {
    let conn = rusqlite::Connection::open(data.join("telemetry.db")).unwrap();
    conn.query_row("SELECT count(*) FROM metrics WHERE step = ?1", [step], |row| row.get(0)).unwrap()
}

fn failed(function: &str, code: FaultCode) -> Record {
    Record { outcome: RecordOutcome::Fault(code), error: Some("KeyError: 'x'".into()), cold: false, ..record(function) }
}

#[tokio::test]
async fn figures_are_those_of_the_records() {
    let home = Home::new();
    let records = [
        record("f"),
        Record { door: Door::Invoke, revision: Revision(2), isolation: Some(Isolation::Gvisor), ..record("f") },
        failed("g", FaultCode::TooManyRequests),
        failed("g", FaultCode::HandlerError),
        record("f"),
    ];
    let mut exact = Aggregate::default();
    for record in &records {
        exact.add(record);
        home.store.record(record.clone());
    }
    let busy = InstanceTime {
        function: name("f"),
        revision: Revision(1),
        version: Version::Latest,
        isolation: Isolation::Namespace,
        state: InstanceState::Busy,
        millis: 5000,
    };
    exact.add_instance(busy.state, busy.millis);
    home.store.instances(vec![busy]);
    let egress = |function: &str, sent, received| InstanceTraffic {
        function: name(function),
        revision: Revision(1),
        version: Version::Latest,
        isolation: Isolation::Namespace,
        traffic: Traffic { sent, received },
    };
    exact.add_traffic(Traffic { sent: 3_003, received: 30 });
    home.store.traffic(vec![egress("f", 1_000, 10), egress("f", 2_000, 20), egress("g", 3, 0)]);
    assert_eq!(sums(&home, all(MetricsBy::Nothing)).await, BTreeMap::from([(String::new(), exact.clone())]));
    let by = |by| sums(&home, all(by));
    let keys =
        |sums: BTreeMap<String, Aggregate>| sums.into_iter().map(|(key, sum)| (key, sum.calls)).collect::<Vec<_>>();
    let of = |keys: &[(&str, u64)]| keys.iter().map(|(key, calls)| ((*key).to_owned(), *calls)).collect::<Vec<_>>();
    assert_eq!(keys(by(MetricsBy::Function).await), of(&[("f", 3), ("g", 2)]));
    assert_eq!(keys(by(MetricsBy::Door).await), of(&[("http", 4), ("invoke", 1)]));
    assert_eq!(keys(by(MetricsBy::Isolation).await).iter().map(|(_, calls)| calls).sum::<u64>(), 5);
    let only = MetricsQuery { function: Some(name("g")), ..all(MetricsBy::Nothing) };
    let only = &sums(&home, only).await[""];
    assert_eq!((only.calls, only.errors(), only.throttles(), only.blamed(Blame::Function)), (2, 2, 1, 1));
    let unknown = MetricsQuery { function: Some(name("h")), ..all(MetricsBy::Nothing) };
    assert!(home.store.metrics(unknown).await.unwrap().is_empty());
    assert_eq!(only.traffic, Traffic { sent: 3, received: 0 });
    assert!(by(MetricsBy::Door).await.values().all(|sum| sum.traffic.is_none()), "an instance is of no door");
    let totals = home.store.totals().await.unwrap();
    let mut sum = Aggregate::default();
    totals.iter().for_each(|one| sum.merge(&one.figures));
    assert_eq!(sum, exact);
}

#[tokio::test]
async fn versions_and_the_shares_of_an_alias_are_told_apart_and_what_they_would_cost() {
    let home = Home::new();
    let call = |version, qualifier: Option<&str>, billed_ms| Record {
        version,
        qualifier: qualifier.map(|text| text.parse().unwrap()),
        memory: Some(Memory::mib(512)),
        billed_ms,
        ..record("f")
    };
    let (two, three) = (Version::Number(2), Version::Number(3));
    for record in [
        call(two, Some("prod"), 1000),
        call(two, Some("prod"), 3000),
        call(three, Some("prod"), 2000),
        call(three, Some("3"), 500),
        call(Version::Latest, None, 1),
        // What it might have held is not known.
        Record { memory: None, ..call(Version::Latest, Some("$LATEST"), 9) },
    ] {
        home.store.record(record);
    }
    let told = |sums: BTreeMap<String, Aggregate>| {
        sums.into_iter().map(|(key, sum)| (key, sum.calls, sum.mib_ms)).collect::<Vec<_>>()
    };
    let of = |rows: &[(&str, u64, u64)]| {
        rows.iter().map(|(key, calls, ms)| ((*key).to_owned(), *calls, 512 * ms)).collect::<Vec<_>>()
    };
    let by_version = told(sums(&home, all(MetricsBy::Version)).await);
    assert_eq!(by_version, of(&[("$LATEST", 2, 1), ("2", 2, 4000), ("3", 2, 2500)]));
    let by_alias = told(sums(&home, all(MetricsBy::Alias)).await);
    assert_eq!(by_alias, of(&[("$LATEST", 2, 1), ("3", 1, 500), ("prod:2", 2, 4000), ("prod:3", 1, 2000)]));
    assert_eq!(told(sums(&home, all(MetricsBy::Revision)).await).len(), 1, "one revision");
    let total = &home.store.totals().await.unwrap();
    assert_eq!(total.iter().map(|one| one.figures.gb_seconds()).sum::<f64>(), 512.0 * 6501.0 / 1_024_000.0);
}

#[tokio::test]
async fn nothing_is_lost_or_counted_twice_by_rolling_up() {
    let mut home = Home::new();
    let mut exact = Aggregate::default();
    for round in 0..4 {
        let one = Record { handler_us: 1000 * round, ..record("f") };
        exact.add(&one);
        home.store.record(one);
        assert_eq!(sums(&home, all(MetricsBy::Nothing)).await[""], exact, "round {round}");
        // What was counted is a minute old now: the next batch rolls it up.
        home = home.reopen(|data| age(data, 60));
    }
    home.store.record(Record { function: name("g"), ..record("g") });
    for step in [10, 60, 3600] {
        let query = MetricsQuery { function: Some(name("f")), step, ..all(MetricsBy::Nothing) };
        let from = query.from - 3600;
        assert_eq!(sums(&home, MetricsQuery { from, ..query }).await[""], exact, "step {step}");
    }
    let total = |totals: Vec<store::observe::Total>| {
        totals.into_iter().find(|one| one.function == "f").map(|one| one.figures).unwrap()
    };
    assert_eq!(total(home.store.totals().await.unwrap()), exact);
    // Old ten seconds go; minutes and all time stay.
    home = home.reopen(|data| age(data, 2 * 86_400));
    home.store.record(record("g"));
    let query = all(MetricsBy::Nothing);
    let old = MetricsQuery { function: Some(name("f")), from: query.from - 3 * 86_400, ..query };
    assert!(sums(&home, old.clone()).await.is_empty());
    assert_eq!(sums(&home, MetricsQuery { step: 60, ..old }).await[""], exact);
    assert_eq!(total(home.store.totals().await.unwrap()), exact);
}

#[tokio::test]
async fn figures_are_there_after_the_process_was_killed() {
    let home = Home::new();
    home.store.record(record("f"));
    let before = sums(&home, all(MetricsBy::Function)).await;
    // As a killed process leaves them: the files are as they are, nothing was closed.
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(home.data()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with("telemetry.db") {
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    let other = store::SqliteStore::open(store::Options::new(copy.path())).unwrap();
    let series = other.metrics(all(MetricsBy::Function)).await.unwrap();
    assert_eq!(series.len(), 1);
    assert_eq!(series[0].points[0].1, before["f"]);
}

#[tokio::test]
async fn too_many_kinds_are_one() {
    let home = Home::in_memory();
    for number in 0..1100 {
        home.store.record(record(&format!("f{number}")));
    }
    let sums = sums(&home, all(MetricsBy::Function)).await;
    let calls: u64 = sums.values().map(|sum| sum.calls).sum();
    assert_eq!(calls, 1100, "none is lost");
    // The ten seconds may have changed meanwhile.
    assert!(rows(&home.data(), 10) <= 2 * 1001);
    if rows(&home.data(), 10) == 1001 {
        assert_eq!((sums.len(), sums[OTHER].calls), (1001, 100));
    }
}

#[tokio::test]
async fn records_are_found_by_what_happened_and_page_by_page() {
    let home = Home::new();
    for number in 0..30u64 {
        let record = match number % 3 {
            0 => Record { handler_us: number * 1000, cold: false, ..record("f") },
            1 => Record { door: Door::Invoke, ..record("g") },
            _ => failed("f", FaultCode::HandlerError),
        };
        home.store.record(Record { request_bytes: number, ..record });
    }
    let found = |search: RecordSearch| {
        let search = home.store.search(RecordSearch { limit: 100, ..search });
        async { search.await.unwrap().records.into_iter().map(|one| one.request_bytes).collect::<Vec<_>>() }
    };
    let none = RecordSearch::default;
    assert_eq!(found(none()).await, (0..30).rev().collect::<Vec<_>>());
    let of = |rest: u64| (0..30).rev().filter(|number| number % 3 == rest).collect::<Vec<_>>();
    assert_eq!(found(RecordSearch { function: Some(name("g")), ..none() }).await, of(1));
    assert_eq!(found(RecordSearch { door: Some(Door::Invoke), ..none() }).await, of(1));
    assert_eq!(found(RecordSearch { ok: Some(false), ..none() }).await, of(2));
    assert_eq!(found(RecordSearch { code: Some(FaultCode::HandlerError), ..none() }).await, of(2));
    assert_eq!(found(RecordSearch { blame: Some(Blame::Function), ..none() }).await, of(2));
    assert_eq!(found(RecordSearch { text: Some("keyerror".into()), ..none() }).await, of(2));
    assert!(found(RecordSearch { blame: Some(Blame::Platform), ..none() }).await.is_empty());
    assert!(found(RecordSearch { since: Some(Timestamp::now() + Duration::from_secs(60)), ..none() }).await.is_empty());
    let slow = RecordSearch {
        function: Some(name("f")),
        ok: Some(true),
        min_duration: Some(Duration::from_millis(20)),
        ..none()
    };
    assert!(found(slow).await.iter().all(|number| *number >= 18));

    let (mut before, mut seen) = (None, Vec::new());
    loop {
        let search = RecordSearch { ok: Some(true), before, limit: 7, ..none() };
        let page = home.store.search(search).await.unwrap();
        seen.extend(page.records.iter().map(|one| one.request_bytes));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, (0..30).rev().filter(|number| number % 3 != 2).collect::<Vec<_>>());
    let error = home.store.search(RecordSearch { ok: Some(false), limit: 1, ..none() }).await.unwrap();
    assert_eq!(error.records[0].error.as_deref(), Some("KeyError: 'x'"));
}

#[tokio::test]
async fn lines_of_all_functions_are_found_by_level_instance_time_and_field() -> Result<(), StoreError> {
    let home = Home::new();
    let mut lines = [line("f", r#"{"user":{"id":42}}"#), line("g", "plain"), line("f", r#"{"user":{"id":43}}"#)];
    lines[0].level = Some(model::LogLevel::Error);
    lines[1].level = Some(model::LogLevel::Info);
    lines[2].level = None;
    lines[1].instance = "ffffffffffffffff".parse().unwrap();
    lines[2].time = lines[2].time + Duration::from_secs(100);
    lines.iter().for_each(|line| home.store.log(line.clone()));
    let every = || LogQuery { limit: 100, ..LogQuery::default() };
    let found = |query: LogQuery| {
        let page = home.store.logs(query);
        async { page.await.map(|page| page.lines) }
    };
    assert_eq!(found(LogQuery { level: Some(model::LogLevel::Warn), ..every() }).await?, lines[..1]);
    assert_eq!(found(LogQuery { level: Some(model::LogLevel::Trace), ..every() }).await?, lines[..2]);
    assert_eq!(found(LogQuery { instance: Some(lines[1].instance.clone()), ..every() }).await?, lines[1..2]);
    assert_eq!(found(LogQuery { until: Some(lines[1].time), ..every() }).await?.len(), 2);
    assert_eq!(found(LogQuery { field: Some(("user.id".into(), "43".into())), ..every() }).await?, lines[2..]);
    Ok(())
}

#[tokio::test]
async fn a_function_that_floods_its_log_shortens_its_own_only() {
    let home = Home::with(|options| options.retention.function_log_bytes = 10_000);
    home.store.log(line("quiet", "kept"));
    let mut number = 0;
    for _ in 0..10 {
        for _ in 0..50 {
            home.store.log(line("loud", &format!("{number:0100}")));
            number += 1;
        }
        home.store.logs(LogQuery { limit: 1, ..LogQuery::default() }).await.unwrap();
    }
    let of = |function: &str| {
        let page = home.store.logs(LogQuery { function: Some(name(function)), limit: 10_000, ..LogQuery::default() });
        async { page.await.unwrap().lines.into_iter().map(|line| line.message).collect::<Vec<_>>() }
    };
    assert_eq!(of("quiet").await, ["kept"]);
    let loud = of("loud").await;
    assert_eq!((loud.len(), loud.last().unwrap()), (100, &format!("{:0100}", 499)), "its newest");
}
