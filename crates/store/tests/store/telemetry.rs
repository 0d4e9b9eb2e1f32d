//! Records and log lines.

use std::time::{Duration, Instant};

use model::waterfall::Waterfall;
use model::{Door, FaultCode, InstanceId, LogLevel, LogLine, Record, RecordOutcome, RequestId, Revision, Timestamp};
use store::sqlite::{EventLimits, QueueLimits, Retention, SqliteQueue};
use store::{Functions, LogPage, LogQuery, Options, RecordQuery, SqliteStore, StoreError, Telemetry};

use crate::{Home, name};

pub fn line(function: &str, message: &str) -> LogLine {
    LogLine {
        time: Timestamp::now(),
        function: name(function),
        instance: "00c0ffee00c0ffee".parse().unwrap(),
        request_id: None,
        level: None,
        message: message.to_owned(),
    }
}

pub fn record(function: &str) -> Record {
    Record {
        request_id: RequestId::random(),
        function: name(function),
        revision: Revision(3),
        version: model::Version::Number(7),
        instance: Some(InstanceId::random()),
        door: Door::Http,
        received: Timestamp::now(),
        cold: true,
        stem: false,
        isolation: None,
        outcome: RecordOutcome::Ok,
        error: None,
        queued_us: 1,
        sandbox_us: Some(2),
        runtime_us: Some(3),
        init_us: Some(4),
        handler_us: 5,
        memory_peak: Some(6),
        cpu_us: Some(7),
        request_bytes: 8,
        response_bytes: 9,
        qualifier: None,
        memory: None,
        billed_ms: 0,
        replay_of: None,
        payloads: model::Kept::No,
        stages: vec![],
        trace: None,
    }
}

#[tokio::test]
async fn what_two_servers_write_while_one_takes_over_is_all_there() {
    let home = Home::new();
    let old = home.store.clone();
    old.log(line("f", "before"));
    SqliteQueue::open(&home.data(), EventLimits::default()).unwrap().close();
    assert!(store::sqlite::is_current(&home.data()).is_ok());
    let taken = SqliteStore::open(Options::new(home.data()));
    assert!(taken.is_err(), "the data has an owner");
    old.hand_over().unwrap();
    let new = SqliteStore::open(Options::new(home.data())).unwrap();
    for round in 0..5 {
        for (store, who) in [(&old, "old"), (&new, "new")] {
            store.log(line("f", &format!("{who} {round}")));
            store.log(line(who, "own"));
            store.record(record("f"));
            assert!(!store.records(RecordQuery { limit: 100, ..RecordQuery::default() }).await.unwrap().is_empty());
        }
    }
    let count = |records: Vec<Record>| records.len();
    assert_eq!(count(new.records(RecordQuery { limit: 100, ..RecordQuery::default() }).await.unwrap()), 10);
    let query = LogQuery { function: Some(name("f")), limit: 100, ..LogQuery::default() };
    let page = new.logs(query).await.unwrap();
    let mut said: Vec<_> = page.lines.iter().map(|line| line.message.clone()).collect();
    said.sort();
    let mut expected: Vec<_> = (0..5).flat_map(|round| ["new", "old"].map(|who| format!("{who} {round}"))).collect();
    expected.push("before".into());
    expected.sort();
    assert_eq!(said, expected);
    assert!(matches!(old.delete(&name("f")).await, Err(StoreError::Closed)), "the old one changes nothing");
}

#[tokio::test]
async fn a_waterfall_is_kept_as_it_was() {
    let home = Home::new();
    let mut waterfall = Waterfall::default();
    waterfall.stage("door", 120);
    waterfall.stage_of("sandbox", 1_000, [("cgroup".into(), 200, 300), ("clone".into(), 300, 900)]);
    let (cold, warm) = (Record { stages: waterfall.into_stages(), ..record("f") }, record("f"));
    home.store.record(cold.clone());
    home.store.record(warm.clone());
    let home = home.reopen(|data| {
        let db = rusqlite::Connection::open(data.join("telemetry.db")).unwrap();
        let kept = "SELECT stages FROM records ORDER BY id";
        let mut kept = db.prepare(kept).unwrap();
        let kept: Vec<Option<String>> = kept.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let small = r#"[["door",120,[]],["sandbox",880,[["other",80],["cgroup",100],["clone",600],["other",100]]]]"#;
        assert_eq!(kept, [Some(small.to_owned()), None]);
    });
    let records = home.store.records(RecordQuery { limit: 9, ..RecordQuery::default() }).await.unwrap();
    assert_eq!(records, [warm, cold]);
}

fn all() -> LogQuery {
    LogQuery { limit: 1_000_000, ..LogQuery::default() }
}

fn of(function: &str) -> LogQuery {
    LogQuery { function: Some(name(function)), ..all() }
}

fn messages(page: &LogPage) -> Vec<&str> {
    page.lines.iter().map(|line| line.message.as_str()).collect()
}

#[tokio::test]
async fn lines_of_calls_are_found_however_they_were_written() {
    let home = Home::new();
    let (one, other) = (RequestId::random(), RequestId::random());
    let start = Timestamp::now() - Duration::from_secs(60);
    let ids = [InstanceId::random(), InstanceId::random()];
    // Two calls at once, on two instances.
    for (second, text) in ["1 START", "2 START", "1 one", "2 two", "1 END", "2 END"].into_iter().enumerate() {
        let at = usize::from(text.starts_with('2'));
        let request_id = Some([one, other][at]);
        let time = start + Duration::from_secs(second as u64);
        let level = text.ends_with("one").then_some(LogLevel::Warn);
        let (instance, message) = (ids[at].clone(), text.to_owned());
        home.store.log(LogLine { time, function: name("f"), instance, request_id, level, message });
    }
    let ours = ["1 START", "1 one", "1 END"];
    let page = home.store.logs(LogQuery { request_id: Some(one), ..all() }).await.unwrap();
    assert_eq!(messages(&page), ours);
    assert_eq!(
        page.lines.iter().map(|line| line.time).collect::<Vec<_>>(),
        [0, 2, 4].map(|s| start + Duration::from_secs(s))
    );
    assert_eq!(page.lines[1].level, Some(LogLevel::Warn));
    assert!(page.lines.iter().all(|line| line.request_id == Some(one) && line.instance == ids[0]));
    let grep = LogQuery { grep: Some("T".into()), ..of("f") };
    assert_eq!(messages(&home.store.logs(grep).await.unwrap()), ["1 START", "2 START", "2 two"]);
    let newest = LogQuery { limit: 2, request_id: Some(one), ..all() };
    assert_eq!(messages(&home.store.logs(newest).await.unwrap()), ours[1..]);
    let since = LogQuery { since: Some(start + Duration::from_secs(2)), request_id: Some(one), ..all() };
    assert_eq!(messages(&home.store.logs(since).await.unwrap()), ours[1..]);
    // Who follows gets each of them once, also one at a time.
    let (mut seen, mut after) = (Vec::new(), 0);
    for _ in 0..6 {
        let page = home.store.logs(LogQuery { after: Some(after), limit: 1, ..of("f") }).await.unwrap();
        assert!(page.cursor > after);
        after = page.cursor;
        seen.extend(page.lines.into_iter().map(|line| line.message));
    }
    assert!(home.store.logs(LogQuery { after: Some(after), ..of("f") }).await.unwrap().lines.is_empty());
    assert_eq!(seen.iter().filter(|text| text.starts_with('1')).collect::<Vec<_>>(), ours);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 6);
}

#[tokio::test]
async fn records_are_read_from_a_moment_on_and_without_measurements() {
    let home = Home::new();
    let now = Timestamp::now();
    let of = |minutes: u64, door| Record {
        received: now - Duration::from_secs(60 * minutes),
        door,
        queued_us: minutes,
        ..record("f")
    };
    // The second was received before the first, and took longer.
    for record in [of(10, Door::Http), of(40, Door::Http), of(9, Door::Compare), of(5, Door::Invoke), of(1, Door::Http)]
    {
        home.store.record(record);
    }
    let minutes = |since: u64, except, limit| {
        let since = Some(now - Duration::from_secs(60 * since));
        let query = RecordQuery { function: Some(name("f")), since, except, limit, ..RecordQuery::default() };
        let records = home.store.records(query);
        async { records.await.unwrap().into_iter().map(|record| record.queued_us).collect::<Vec<_>>() }
    };
    assert_eq!(minutes(30, None, 10).await, [1, 5, 9, 10]);
    assert_eq!(minutes(30, Some(Door::Compare), 10).await, [1, 5, 10]);
    assert_eq!(minutes(60, Some(Door::Compare), 10).await, [1, 5, 40, 10]);
    assert_eq!(minutes(30, Some(Door::Compare), 2).await, [1, 5], "the newest of them");
}

#[tokio::test]
async fn records_come_back_as_they_were_newest_first() {
    let home = Home::new();
    let first = record("f");
    let failed = Record {
        outcome: RecordOutcome::Fault(FaultCode::Timeout),
        instance: None,
        door: Door::Invoke,
        cold: false,
        sandbox_us: None,
        runtime_us: None,
        init_us: None,
        memory_peak: None,
        cpu_us: None,
        ..record("f")
    };
    let other = record("g");
    for record in [&first, &failed, &other] {
        home.store.record(record.clone());
    }
    let query = |function: Option<&str>, request_id, limit| {
        home.store.records(RecordQuery { function: function.map(name), request_id, limit, ..RecordQuery::default() })
    };
    assert_eq!(query(None, None, 10).await.unwrap(), [other.clone(), failed.clone(), first.clone()]);
    assert_eq!(query(None, None, 1).await.unwrap(), std::slice::from_ref(&other));
    assert_eq!(query(Some("f"), None, 10).await.unwrap(), [failed.clone(), first.clone()]);
    assert_eq!(query(None, Some(first.request_id), 10).await.unwrap(), std::slice::from_ref(&first));
    assert_eq!(query(Some("f"), Some(first.request_id), 10).await.unwrap(), std::slice::from_ref(&first));
    assert!(query(Some("g"), Some(first.request_id), 10).await.unwrap().is_empty());
    assert!(query(Some("h"), None, 10).await.unwrap().is_empty());
    let home = home.reopen(|_| {});
    assert_eq!(
        home.store.records(RecordQuery { limit: 3, ..RecordQuery::default() }).await.unwrap(),
        [other, failed, first]
    );
}

#[tokio::test]
async fn lines_come_back_as_they_were_oldest_first() {
    let home = Home::new();
    let mut lines = vec![line("f", "one"), line("g", "a\0b\u{1b}[31m ' \" % _ 🦀"), line("f", ""), line("f", "two")];
    lines[1].level = Some(LogLevel::Fatal);
    lines[2].request_id = Some(RequestId::random());
    lines[3].instance = "ffffffffffffffff".parse().unwrap();
    for line in &lines {
        home.store.log(line.clone());
    }
    let page = home.store.logs(all()).await.unwrap();
    assert_eq!(page.lines, lines);
    assert_eq!(home.store.logs(LogQuery { limit: 2, ..all() }).await.unwrap().lines, lines[2..]);
    assert_eq!(messages(&home.store.logs(of("f")).await.unwrap()), ["one", "", "two"]);
    let by_request = LogQuery { request_id: lines[2].request_id, ..all() };
    assert_eq!(home.store.logs(by_request.clone()).await.unwrap().lines, lines[2..3]);
    assert!(home.store.logs(LogQuery { function: Some(name("g")), ..by_request }).await.unwrap().lines.is_empty());
    assert!(home.store.logs(of("h")).await.unwrap().lines.is_empty());
    assert!(home.store.logs(LogQuery { limit: 0, ..all() }).await.unwrap().lines.is_empty());
}

#[tokio::test]
async fn lines_are_found_by_text_in_any_case_and_by_time() {
    let home = Home::new();
    let now = Timestamp::now();
    for (age, text) in
        [(900, "old Error"), (500, "ERROR 100%"), (60, "fine"), (30, "errors: 1000"), (5, "an_error ÄRGER")]
    {
        home.store.log(LogLine { time: now - Duration::from_secs(age), ..line("f", text) });
    }
    let grep = |text: &str| LogQuery { grep: Some(text.into()), ..of("f") };
    for (text, found) in [
        ("error", &["old Error", "ERROR 100%", "errors: 1000", "an_error ÄRGER"][..]),
        ("100%", &["ERROR 100%"]),
        ("n_e", &["an_error ÄRGER"]),
        ("ärger", &["an_error ÄRGER"]),
        ("'; DROP TABLE lines; --", &[]),
    ] {
        assert_eq!(messages(&home.store.logs(grep(text)).await.unwrap()), found, "{text}");
    }
    let newest = home.store.logs(LogQuery { limit: 2, ..grep("error") }).await.unwrap();
    assert_eq!(messages(&newest), ["errors: 1000", "an_error ÄRGER"]);
    let since = |age| LogQuery { since: Some(now - Duration::from_secs(age)), ..all() };
    for (age, count) in [(1000, 5), (600, 4), (60, 3), (59, 2), (1, 0)] {
        assert_eq!(home.store.logs(since(age)).await.unwrap().lines.len(), count, "{age} s");
    }
}

#[tokio::test]
async fn a_follower_sees_each_line_once_and_in_order() {
    let home = Home::new();
    home.store.log(line("f", "before"));
    let mut logged = home.store.logged();
    let mut cursor = home.store.logs(of("f")).await.unwrap().cursor;
    logged.borrow_and_update();
    let (writer, mut wanted) = (home.store.clone(), Vec::new());
    for n in 0..500 {
        wanted.push(n.to_string());
    }
    let given = wanted.clone();
    let feeder = tokio::spawn(async move {
        for message in given {
            writer.log(line("f", &message));
            writer.log(line("noise", &message));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let mut seen = Vec::new();
    while seen.len() < wanted.len() {
        logged.changed().await.unwrap();
        loop {
            let page = home.store.logs(LogQuery { after: Some(cursor), limit: 7, ..of("f") }).await.unwrap();
            assert!(page.cursor >= cursor);
            cursor = page.cursor;
            if page.lines.is_empty() {
                break;
            }
            seen.extend(page.lines.into_iter().map(|line| line.message));
        }
    }
    assert_eq!(seen, wanted);
    feeder.await.unwrap();
}

#[tokio::test]
async fn a_page_ends_when_it_is_long_enough_and_goes_on_behind_its_cursor() {
    let home = Home::new();
    // Of 3 MiB each: the sixth takes a page beyond 16 MiB.
    let text = |n: u32| format!("{n} {}", "x".repeat(3 << 20));
    for n in 0..14 {
        home.store.log(line("f", &text(n)));
        home.store.logs(LogQuery { limit: 1, ..all() }).await.unwrap();
    }
    let numbers = |page: &LogPage| -> Vec<u32> {
        page.lines.iter().map(|line| line.message.split(' ').next().unwrap().parse().unwrap()).collect()
    };
    let newest = home.store.logs(of("f")).await.unwrap();
    assert_eq!((numbers(&newest), newest.cursor), ((8..14).collect(), 14));
    let (mut cursor, mut seen) = (0, Vec::new());
    for cursors in [6, 12, 14, 14] {
        let page = home.store.logs(LogQuery { after: Some(cursor), ..of("f") }).await.unwrap();
        cursor = page.cursor;
        assert_eq!(cursor, cursors);
        seen.extend(numbers(&page));
    }
    assert_eq!(seen, (0..14).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_cursor_outlives_a_restart_and_the_lines_before_it() {
    let home = Home::with(|options| options.retention.age = Duration::ZERO);
    home.store.log(line("f", "short-lived"));
    let cursor = home.store.logs(all()).await.unwrap().cursor;
    assert_eq!(cursor, 1);
    let home = home.reopen(|_| {});
    home.store.log(line("f", "next"));
    let page = home.store.logs(LogQuery { after: Some(cursor), ..all() }).await.unwrap();
    assert_eq!((messages(&page), page.cursor), (vec!["next"], 2));
    // Beyond the end: nothing, and the cursor does not go back.
    let page = home.store.logs(LogQuery { after: Some(99), ..all() }).await.unwrap();
    assert_eq!((messages(&page).len(), page.cursor), (0, 99));
}

#[tokio::test]
async fn a_query_sees_what_was_given_just_before_and_a_quiet_line_does_not_wait_long() {
    let home = Home::new();
    for n in 0..200 {
        home.store.log(line("f", &n.to_string()));
        home.store.record(record("f"));
        let newest = home.store.logs(LogQuery { limit: 1, ..all() }).await.unwrap();
        assert_eq!(messages(&newest), [n.to_string()]);
        let records = home.store.records(RecordQuery { limit: 1_000, ..RecordQuery::default() }).await.unwrap();
        assert_eq!(records.len(), n + 1);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut logged = home.store.logged();
    let began = Instant::now();
    home.store.log(line("f", "quiet"));
    logged.changed().await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_flood_is_cut_and_counted_and_costs_no_records() {
    let home = Home::with(|options| options.queue = QueueLimits { items: 4_000, bytes: 1 << 20 });
    let flood = 300_000;
    let began = Instant::now();
    for n in 0..flood {
        home.store.log(line("f", "a line of the flood"));
        if n % 1_000 == 0 {
            home.store.record(record("f"));
        }
    }
    let each = began.elapsed() / flood;
    assert!(each < Duration::from_micros(50), "{each:?} for a line");
    let kept = home.store.logs(all()).await.unwrap().lines.len() as u64;
    let records = home.store.records(RecordQuery { limit: 1_000, ..RecordQuery::default() }).await.unwrap();
    assert_eq!(records.len(), 300);
    assert!(home.store.dropped() > 0);
    assert_eq!(kept + home.store.dropped(), u64::from(flood));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_functions_flood_costs_no_other_functions_lines() {
    let home = Home::with(|options| options.queue = QueueLimits { items: 4_000, bytes: 1 << 20 });
    let (flooder, stop) = (home.store.clone(), std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let stopped = stop.clone();
    let flood = std::thread::spawn(move || {
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            flooder.log(line("noisy", "again and again"));
        }
    });
    for n in 0..300 {
        home.store.log(line("quiet", &n.to_string()));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    flood.join().unwrap();
    assert!(home.store.dropped() > 0);
    assert_eq!(home.store.logs(of("quiet")).await.unwrap().lines.len(), 300);
}

#[tokio::test]
async fn a_full_disk_drops_and_counts_and_the_store_lives_on() {
    let home = Home::new();
    home.store.log(line("f", "before"));
    let before = home.store.logs(all()).await.unwrap().lines.len();
    let Home { dir, store } = home;
    drop(store);
    let data = dir.path().join("data");
    // A trigger stands in for the disk: the batch fails as a whole.
    let db = rusqlite::Connection::open(data.join("telemetry.db")).unwrap();
    db.execute_batch(
        "CREATE TRIGGER full BEFORE INSERT ON lines WHEN new.message = 'x' BEGIN SELECT RAISE(ROLLBACK, 'full'); END",
    )
    .unwrap();
    drop(db);
    let store = store::SqliteStore::open(store::Options::new(&data)).unwrap();
    store.log(line("new-name", "y"));
    store.log(line("f", "x"));
    assert_eq!(store.logs(all()).await.unwrap().lines.len(), before);
    assert_eq!(store.dropped(), 2);
    store.log(line("new-name", "after"));
    let page = store.logs(LogQuery { after: Some(1), ..of("new-name") }).await.unwrap();
    assert_eq!((messages(&page), page.cursor), (vec!["after"], 2));
}

#[tokio::test]
async fn a_line_larger_than_the_queue_is_dropped_and_counted() {
    let home = Home::new();
    home.store.log(line("f", &"x".repeat(64 << 20)));
    assert_eq!(home.store.dropped(), 1);
    home.store.log(line("f", "small"));
    assert_eq!(messages(&home.store.logs(all()).await.unwrap()), ["small"]);
}

#[tokio::test]
async fn what_is_given_before_closing_is_kept_and_after_it_is_counted() {
    let home = Home::new();
    for n in 0..1_000 {
        home.store.log(line("f", &n.to_string()));
    }
    home.store.close();
    home.store.log(line("f", "late"));
    assert_eq!(home.store.dropped(), 1);
    let home = home.reopen(|_| {});
    assert_eq!(home.store.logs(all()).await.unwrap().lines.len(), 1_000);
}

#[tokio::test]
async fn the_oldest_go_by_age() {
    let home = Home::with(|options| options.retention.age = Duration::from_secs(3_600));
    let old = Timestamp::now() - Duration::from_secs(3_601);
    for n in 0..2_500 {
        home.store.log(LogLine { time: old, ..line("f", &n.to_string()) });
        home.store.record(Record { received: old, ..record("f") });
    }
    home.store.log(line("f", "young"));
    home.store.record(record("f"));
    let records = || home.store.records(RecordQuery { limit: 10_000, ..RecordQuery::default() });
    eventually(|| async {
        home.store.logs(all()).await.unwrap().lines.len() == 1 && records().await.unwrap().len() == 1
    })
    .await;
}

#[tokio::test]
async fn the_oldest_go_by_size_and_count() {
    let most = Retention { log_bytes: 100_000, records: 500, ..Retention::default() };
    let home = Home::with(|options| options.retention = most);
    for n in 0..3_000 {
        home.store.log(line("f", &format!("{n:0100}")));
        home.store.record(record("f"));
    }
    let records = || home.store.records(RecordQuery { limit: 10_000, ..RecordQuery::default() });
    eventually(|| async { home.store.logs(all()).await.unwrap().lines.len() == 1_000 }).await;
    eventually(|| async { records().await.unwrap().len() == 500 }).await;
    let page = home.store.logs(all()).await.unwrap();
    assert_eq!(page.lines[999].message, format!("{:0100}", 2_999));
    // The sum is kept over a restart, and stays right.
    let home = home.reopen(|data| {
        let db = rusqlite::Connection::open(data.join("telemetry.db")).unwrap();
        let sum = "SELECT log_bytes, (SELECT sum(octet_length(message)) FROM lines) FROM state";
        let (kept, real): (i64, i64) = db.query_row(sum, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!(kept, real);
    });
    assert_eq!(home.store.logs(all()).await.unwrap().lines.len(), 1_000);
}

pub async fn eventually<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    let until = Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(Instant::now() < until, "it never held");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
