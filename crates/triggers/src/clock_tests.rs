//! Schedules over a simulated time: servers that are killed, that are down, and clocks that are set.
//!
//! `HEARTH_RELIABILITY_SEEDS` says how many walks of a clock that is set again and again (3 by default, 30 in
//! `make reliability-17`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use model::{CodeHash, Function, FunctionName, FunctionSpec, Missed, Overlap, Revision, Runtime, Schedule, Timestamp};
use store::sqlite::{EventLimits, SqliteQueue};
use store::{Functions, Queue, StoreError};
use tokio::sync::watch;

use crate::TickerOptions;
use crate::ticker::{load, look};

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const YEAR: i64 = 365 * 24 * HOUR;
/// 2026-10-24T18:00:00Z: the night after it, Berlin's clocks go back.
const BEGIN: i64 = 1_792_864_800 * SECOND;
const ZONES: [&str; 4] = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"];

/// The same numbers for the same seed.
struct Dice(u64);

/// Functions `f0`, `f1`, … with schedules.
struct Deployed(Vec<Vec<Schedule>>, watch::Sender<u64>);

/// Which ticks became events, and how much later than its tick each came into the queue, microseconds.
type Seen = BTreeMap<(String, Timestamp), Vec<i64>>;

struct World {
    dir: tempfile::TempDir,
    queue: Arc<SqliteQueue>,
    deployed: Arc<Deployed>,
    clock: Arc<AtomicI64>,
    /// When the clock was set: it goes on by itself from there.
    set: Arc<Mutex<Instant>>,
}

// === impl Dice ===

impl Dice {
    fn roll(&mut self, below: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % below as u64) as i64
    }
}

#[async_trait::async_trait]
impl Functions for Deployed {
    async fn put(&self, _: FunctionSpec, _: CodeHash, _: Option<u64>) -> Result<Function, StoreError> {
        Err(StoreError::Closed)
    }
    async fn get(&self, name: &FunctionName) -> Result<Function, StoreError> {
        Err(StoreError::NoSuchFunction(name.clone()))
    }
    async fn list(&self) -> Result<Vec<Function>, StoreError> {
        let function = |(n, schedules): (usize, &Vec<Schedule>)| {
            let mut spec = FunctionSpec::new(format!("f{n}").parse().unwrap(), Runtime::python("3.11"), "app.handler");
            spec.schedules = schedules.clone();
            let code = CodeHash::from_digest(&[0; 32]);
            Function {
                spec,
                version: model::Version::Latest,
                revision: Revision(1),
                code,
                code_size: 1,
                modified: Timestamp(0),
            }
        };
        Ok(self.0.iter().enumerate().map(function).collect())
    }
    async fn delete(&self, _: &FunctionName) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }
    fn changes(&self) -> watch::Receiver<u64> {
        self.1.subscribe()
    }
}

// === impl World ===

impl World {
    fn new(functions: Vec<Vec<Schedule>>) -> Self {
        let shared = std::path::Path::new("/dev/shm");
        let dir = if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() }.unwrap();
        Self {
            queue: open(&dir),
            dir,
            deployed: Arc::new(Deployed(functions, watch::channel(0).0)),
            clock: Arc::new(AtomicI64::new(BEGIN)),
            set: Arc::new(Mutex::new(Instant::now())),
        }
    }

    fn options(&self) -> TickerOptions {
        let (clock, set) = (self.clock.clone(), self.set.clone());
        TickerOptions {
            functions: self.deployed.clone(),
            schedules: self.queue.clone(),
            clock: Arc::new(move || Timestamp(clock.load(Ordering::SeqCst)) + set.lock().unwrap().elapsed()),
            region: "us-east-1".into(),
            account: "000000000000".into(),
            ahead: None,
        }
    }

    fn now(&self) -> i64 {
        self.clock.load(Ordering::SeqCst)
    }

    fn set(&self, now: i64) {
        self.clock.store(now, Ordering::SeqCst);
        *self.set.lock().unwrap() = Instant::now();
    }

    /// As a server that has just started sees to its schedules.
    async fn start(&self) -> Duration {
        let options = self.options();
        let known = load(&options).await.unwrap();
        look(&options, &known).await.unwrap()
    }

    /// As after a `kill -9`: whatever was committed is there, and nothing else.
    fn reopen(&mut self) {
        self.queue.close();
        self.queue = open(&self.dir);
    }

    async fn seen(&self) -> Seen {
        let mut seen = Seen::new();
        let asks = (0..self.deployed.0.len()).map(|n| (format!("f{n}").parse().unwrap(), 1_000_000)).collect();
        for event in self.queue.lease(asks, Timestamp(i64::MAX), u64::MAX).await.unwrap() {
            let payload: serde_json::Value = serde_json::from_slice(&event.event.payload).unwrap();
            let rule = payload["resources"][0].as_str().unwrap().split_once("rule/").unwrap().1;
            let tick: Timestamp = moment(payload["time"].as_str().unwrap());
            seen.entry((rule.to_owned(), tick)).or_default().push(event.event.received.0 - tick.0);
        }
        seen
    }

    /// All ticks after one moment and not after another.
    fn ticks(&self, after: i64, until: i64) -> Vec<(String, Timestamp)> {
        let mut ticks = Vec::new();
        for (n, schedules) in self.deployed.0.iter().enumerate() {
            for schedule in schedules {
                let table = schedule.timetable().unwrap();
                let mut last = Timestamp(after);
                while let Some(tick) = table.next(last).filter(|tick| tick.0 <= until) {
                    ticks.push((format!("f{n}/{}", schedule.name), tick));
                    last = tick;
                }
            }
        }
        ticks
    }
}

fn open(dir: &tempfile::TempDir) -> Arc<SqliteQueue> {
    SqliteQueue::open(dir.path(), EventLimits { reserve: 0, ..EventLimits::default() }).unwrap()
}

fn moment(text: &str) -> Timestamp {
    // A schedule that ticks once, at that moment, is how this house reads moments.
    let table = Schedule::new("s", &format!("at({})", text.trim_end_matches('Z'))).timetable().unwrap();
    table.next(Timestamp(0)).unwrap()
}

fn schedule(name: String, cron: &str, zone: &str, missed: Missed, most: u32) -> Schedule {
    // Nobody runs the events here.
    let overlap = Overlap::Allow;
    Schedule { timezone: zone.into(), overlap, missed, missed_most: most, ..Schedule::new(&name, cron) }
}

#[tokio::test]
async fn two_hundred_schedules_over_a_day_with_fifty_kills_make_each_tick_once() {
    let crons = |n: usize| match n % 50 {
        0..2 => "*/5 * * * *".to_owned(),
        2..12 => format!("{}-59/10 * * * *", n % 2 * 5),
        12..30 => format!("{} * * * *", n % 12 * 5),
        _ => format!("{} {} * * *", n % 12 * 5, n % 24),
    };
    let all = (0..200).map(|n| schedule(format!("s{n}"), &crons(n), ZONES[n % 4], Missed::All, 1000));
    let mut world = World::new(all.collect::<Vec<_>>().chunks(50).map(<[_]>::to_vec).collect());
    let (end, mut dice) = (BEGIN + 24 * HOUR, Dice(15));
    let mut kills: Vec<i64> = (0..50).map(|_| BEGIN + dice.roll(24 * HOUR)).collect();
    kills.sort();
    let (mut kills, mut downs, mut slowest) = (kills.into_iter().peekable(), Vec::new(), Duration::ZERO);
    let mut options = world.options();
    let mut known = load(&options).await.unwrap();
    while world.now() < end {
        let killed = kills.next_if(|kill| *kill <= world.now()).is_some();
        let begun = Instant::now();
        let patience = if killed { Duration::from_micros(dice.roll(8000) as u64) } else { Duration::from_secs(60) };
        let looked = tokio::time::timeout(patience, look(&options, &known)).await;
        slowest = slowest.max(begun.elapsed());
        let sleep = match looked {
            Ok(sleep) => sleep.unwrap(),
            Err(_) => Duration::ZERO,
        };
        let mut now = world.now() + (sleep.as_micros() as i64).max(1);
        if killed {
            world.reopen();
            let down = dice.roll(4 * MINUTE);
            downs.push((world.now(), now + down));
            now += down;
        }
        world.set(now.min(end));
        if killed {
            options = world.options();
            known = load(&options).await.unwrap();
        }
    }
    world.start().await;
    let (seen, expected) = (world.seen().await, world.ticks(BEGIN, end));
    let missing = expected.iter().filter(|tick| !seen.contains_key(*tick)).count();
    let double = seen.values().filter(|times| times.len() > 1).count();
    assert_eq!((missing, double, seen.len()), (0, 0, expected.len()), "missing, double, and in all");
    assert_eq!(downs.len(), 50);
    let up = |tick: &Timestamp| !downs.iter().any(|(from, to)| (*from..=*to).contains(&tick.0));
    let mut late: Vec<i64> = seen.iter().filter(|((_, tick), _)| up(tick)).map(|(_, times)| times[0]).collect();
    late.sort();
    let p99 = late[late.len() * 99 / 100];
    println!(
        "{} ticks of 200 schedules, 50 kills: 0 missing, 0 double; p99 {:.1} ms late while a server ran, at most {:.1} ms \
         of work at once",
        seen.len(),
        p99 as f64 / 1e3,
        slowest.as_secs_f64() * 1e3
    );
    assert!((0..=SECOND).contains(&p99), "p99 is {p99} µs late");
}

#[tokio::test]
async fn six_hours_without_a_server_are_none_one_or_at_most_so_many() {
    let one = |name: &str, missed, most| schedule(name.into(), "*/10 * * * *", "Europe/Berlin", missed, most);
    let policies = [("skip", Missed::Skip, 9, 0), ("once", Missed::Once, 9, 1), ("some", Missed::All, 7, 7)];
    let mut all: Vec<_> = policies.iter().map(|(name, missed, most, _)| one(name, *missed, *most)).collect();
    all.push(one("all", Missed::All, 1000));
    let mut world = World::new(vec![all]);
    world.set(BEGIN + 5 * MINUTE);
    world.start().await;
    world.reopen();
    world.set(BEGIN + 6 * HOUR + 5 * MINUTE);
    world.start().await;
    let seen = world.seen().await;
    let of = |name: &str| seen.keys().filter(|(rule, _)| rule == &format!("f0/{name}")).count();
    for (name, _, _, expected) in policies {
        assert_eq!(of(name), expected, "{name}");
    }
    assert_eq!(of("all"), 36);
    println!(
        "6 h down, every 10 min: skip {}, once {}, all up to 7 {}, all {}",
        of("skip"),
        of("once"),
        of("some"),
        of("all")
    );
}

#[tokio::test]
async fn however_the_clock_is_set_no_tick_comes_twice() {
    let seeds: u64 = std::env::var("HEARTH_RELIABILITY_SEEDS").map_or(3, |count| count.parse().unwrap());
    let first: u64 = std::env::var("HEARTH_CRASH_SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut ticks = 0;
    for seed in first..first + seeds {
        let mut dice = Dice(seed);
        let crons = ["*/10 * * * *", "30 2 * * *", "15 1 * * *", "rate(1 hour)"];
        let all = crons.iter().enumerate().flat_map(|(n, cron)| {
            ZONES.map(|zone| schedule(format!("s{n}-{}", zone.len()), cron, zone, Missed::All, 1000))
        });
        let mut world = World::new(vec![all.collect()]);
        world.start().await;
        let mut ahead = 0;
        for _ in 0..60 {
            let by = match dice.roll(8) {
                0 => HOUR,
                1 => -HOUR,
                2 => 5 * MINUTE,
                3 => -5 * MINUTE,
                4 if ahead == 0 => {
                    ahead = if dice.roll(2) == 0 { 10 * YEAR } else { 4 * 24 * HOUR };
                    ahead
                }
                5 if ahead > 0 => -std::mem::take(&mut ahead),
                _ => dice.roll(90 * MINUTE),
            };
            world.set(world.now() + by);
            // The house-keeping comes at the worst of moments.
            world.queue.expire(Timestamp(world.now()), 1).await.unwrap();
            if dice.roll(4) == 0 {
                world.reopen();
            }
            world.start().await;
        }
        let seen = world.seen().await;
        ticks += seen.len();
        let twice: Vec<_> = seen.iter().filter(|(_, times)| times.len() > 1).map(|(tick, _)| tick).collect();
        assert!(twice.is_empty(), "seed {seed}: twice: {twice:?}");
    }
    println!("{seeds} clocks, 60 times set or passed each, {ticks} ticks: none came twice");
}
