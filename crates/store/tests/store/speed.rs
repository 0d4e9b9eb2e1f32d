//! How fast it is. Bounds are wide, for debug builds on busy machines; the figures are printed.

use std::time::{Duration, Instant};

use store::sqlite::QueueLimits;
use store::{Functions, LogQuery, Options, Packages, RecordQuery, SqliteStore, StoreError, Telemetry};

use crate::archive::{Entry, Zip};
use crate::telemetry::{line, record};
use crate::{Home, spec};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_ten_thousand_functions_is_ready_within_a_second() {
    let home = Home::new();
    let code = home.package("1").await;
    let began = Instant::now();
    let putters = (0..50).map(|part| {
        let (store, code) = (home.store.clone(), code.clone());
        tokio::spawn(async move {
            for n in 0..200 {
                let mut spec = spec(&format!("function-{part}-{n}"));
                spec.env.insert("SOME_VALUE".into(), "x".repeat(500).into());
                store.put(spec, code.clone(), Some(0)).await.unwrap();
            }
        })
    });
    for putter in putters.collect::<Vec<_>>() {
        putter.await.unwrap();
    }
    println!("10,000 functions put, 50 at a time: {:?}", began.elapsed());
    let Home { dir, store } = home;
    drop(store);
    let began = Instant::now();
    let store = SqliteStore::open(Options::new(dir.path().join("data"))).unwrap();
    let opened = began.elapsed();
    assert_eq!(store.list().await.unwrap().len(), 10_000);
    println!("opened in {opened:?}, listed after {:?}", began.elapsed());
    assert!(opened < Duration::from_secs(1), "{opened:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_records_and_twenty_thousand_lines_a_second_are_kept() {
    let home = Home::with(|options| options.queue = QueueLimits::default());
    let (seconds, began) = (3, Instant::now());
    for tick in 0..seconds * 100 {
        for _ in 0..100 {
            let record = record("f");
            for _ in 0..2 {
                let mut line =
                    line("f", "INFO a line of common length, as a function prints one while it works ......");
                line.request_id = Some(record.request_id);
                home.store.log(line);
            }
            home.store.record(record);
        }
        let due = began + Duration::from_millis(10) * (tick + 1);
        tokio::time::sleep(due.saturating_duration_since(Instant::now())).await;
    }
    let page = home.store.logs(LogQuery { limit: usize::MAX, ..LogQuery::default() }).await.unwrap();
    println!("{} lines in {:?}, {} dropped", page.lines.len(), began.elapsed(), home.store.dropped());
    assert_eq!(home.store.dropped(), 0);
    assert_eq!(page.lines.len() as u32, seconds * 20_000);
}

/// `cargo test --release -p store -- --ignored --nocapture as_fast_as_it_goes`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn as_fast_as_it_goes() {
    for (what, log_bytes) in [("without trimming", 512 << 20), ("trimming", 20 << 20)] {
        let home = Home::with(|options| {
            options.retention.log_bytes = log_bytes;
            options.retention.records = log_bytes / 300;
        });
        let (began, cpu) = (Instant::now(), writer_cpu());
        let mut given = 0_u64;
        while given < 1_500_000 {
            let record = record("f");
            for _ in 0..2 {
                let mut line =
                    line("f", "INFO a line of common length, as a function prints one while it works ......");
                line.request_id = Some(record.request_id);
                home.store.log(line);
            }
            home.store.record(record);
            given += 3;
            if given.is_multiple_of(15_000) {
                home.store.records(RecordQuery { limit: 1, ..RecordQuery::default() }).await.unwrap();
            }
        }
        let (took, cpu) = (began.elapsed(), writer_cpu() - cpu);
        let rate = (given - home.store.dropped()) as f64 / took.as_secs_f64();
        println!("{what}: {rate:.0} rows/s, {cpu:?} of processor for {took:?}, {} dropped", home.store.dropped());
    }
}

/// Processor time of this process; the thread that feeds is a small part of it.
fn writer_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after = stat.rsplit(')').next().unwrap();
    let ticks: u64 = after.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

#[tokio::test]
async fn child_refuses_within_bounds() {
    if std::env::var_os("HEARTH_STORE_BOUNDS").is_none() {
        return;
    }
    let home = Home::new();
    let mut million = Zip { count: Some(1), ..Zip::default() };
    for n in 0..1_000_000 {
        million.entries.push(Entry::stored(format!("f{n}"), b""));
    }
    // As many and as long names as are let through to the tree, and then refused.
    let mut names = Zip::new();
    for n in 0..1_900 {
        names.entries.push(Entry::stored(format!("{n}/{}", vec!["n".repeat(200); 19].join("/")), b""));
    }
    // As much to write as is allowed, and only the last entry is bad.
    let mut late = Zip::new();
    for n in 0..19_900 {
        late.entries.push(Entry::stored(format!("{}/{n}", n % 90), &[b'x'; 100]));
    }
    late.entries.push(Entry::deflated("zero", &vec![0; 240 << 20]));
    late.entries.push(Entry { crc: 1, ..Entry::stored("zz", b"z") });
    let mut deep = Zip::new();
    for n in 0..190 {
        deep.entries.push(Entry::stored(format!("{n}/{}", vec!["d"; 98].join("/")), b""));
    }
    deep.entries.push(Entry { crc: 1, ..Entry::stored("zz", b"z") });
    let bomb = Zip::new().entry(Entry { size: 249 << 20, ..Entry::deflated("zero", &vec![0; 260 << 20]) });
    for (what, zip) in [("1M entries", million), ("long names", names), ("late", late), ("deep", deep), ("bomb", bomb)]
    {
        let zip = zip.build();
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        let (before, began) = (status("VmRSS"), Instant::now());
        let answer = home.store.add(zip).await;
        let (grown, took) = (status("VmHWM").saturating_sub(before), began.elapsed());
        println!("{what}: {grown} KiB, {took:?}, {answer:?}");
        assert!(matches!(answer, Err(StoreError::BadPackage(_))), "{what}");
        assert!(grown <= 64 * 1024, "{what}: {grown} KiB");
        assert!(took <= Duration::from_secs(5), "{what}: {took:?}");
    }
}

fn status(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn hostile_packages_are_refused_within_64_mib_and_5_seconds() {
    // In a process of its own, for its memory is measured.
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "speed::child_refuses_within_bounds", "--nocapture"])
        .env("HEARTH_STORE_BOUNDS", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    println!("{said}");
    assert!(child.status.success(), "{said}{}", String::from_utf8_lossy(&child.stderr));
    assert!(said.contains("bomb: "), "{said}");
}
