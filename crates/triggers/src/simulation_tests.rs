//! Queue, schedules and deploys together, over the real store and the real deciders, with a clock and a fate of their own:
//! everything that happens comes of a seed, so that a seed is the same walk again.
//!
//! What has to hold is kept beside it, in a [`Model`]: every event that was answered and every tick is run, by no one twice at
//! once, never before it is due, never again once it ended, and the numbers of the queue say so.
//!
//! `HEARTH_RELIABILITY_SEEDS` says how many walks (20; 10,000 in `make reliability-13`), `SEED` takes one and tells it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use model::{
    CodeHash, Fault, FaultCode, Function, FunctionName, FunctionSpec, Invocation, Missed, Outcome, Overlap, Reply,
    RequestId, Revision, Runtime, Schedule, Timestamp,
};
use store::queue::{EventState, NewEvent, QueuedEvent};
use store::sqlite::{EventLimits, SqliteQueue};
use store::{Functions, Queue, StoreError};
use tokio::sync::watch;

use crate::decide::deal::{Hand, deal};
use crate::run::{Teller, run};
use crate::tests::outcome;
use crate::ticker::{Known, load, look};
use crate::{Clock, Runner, TickerOptions};

const SECOND: i64 = 1_000_000;
/// 2026-10-24T23:00:00Z: within the walk, Berlin's clocks go back.
const BEGIN: i64 = 1_792_882_800 * SECOND;
const STEPS: usize = 80;
const FUNCTIONS: usize = 3;
/// Events of one function that run at once, and of all.
const ROOM: (usize, usize) = (2, 4);
const CRONS: [&str; 3] = ["*/5 * * * *", "*/20 * * * *", "7 * * * *"];

/// The same numbers for the same seed.
struct Dice(u64);

/// What is deployed, as the catalogue tells it.
#[derive(Clone)]
struct Deployed(Arc<Mutex<BTreeMap<FunctionName, Function>>>, watch::Sender<u64>);

/// Answers as it was decided beforehand.
#[derive(Clone)]
struct Fate {
    deployed: Deployed,
    code: Option<FaultCode>,
    ran: Arc<Mutex<usize>>,
}

/// What has to be.
#[derive(Default)]
struct Model {
    /// By what its payload says: whose it is, and how it fares.
    events: BTreeMap<String, Expected>,
    /// Schedules that are deployed, and up to when their ticks were seen to.
    schedules: BTreeMap<FunctionName, (Schedule, i64)>,
    ids: HashMap<RequestId, String>,
}

struct Expected {
    function: FunctionName,
    runs: u32,
    running: bool,
    ended: bool,
}

struct World {
    dir: tempfile::TempDir,
    queue: Arc<SqliteQueue>,
    deployed: Deployed,
    clock: Arc<AtomicI64>,
    known: Vec<Known>,
    running: Vec<QueuedEvent>,
    last: Option<FunctionName>,
    model: Model,
    told: Vec<String>,
    next: usize,
}

// === impl Dice ===

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % below as u64) as usize
    }
}

// === impl Deployed ===

#[async_trait::async_trait]
impl Functions for Deployed {
    async fn put(&self, _: FunctionSpec, _: CodeHash, _: Option<u64>) -> Result<Function, StoreError> {
        Err(StoreError::Closed)
    }
    async fn get(&self, name: &FunctionName) -> Result<Function, StoreError> {
        Err(StoreError::NoSuchFunction(name.clone()))
    }
    async fn list(&self) -> Result<Vec<Function>, StoreError> {
        Ok(self.0.lock().unwrap().values().cloned().collect())
    }
    async fn delete(&self, _: &FunctionName) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }
    fn changes(&self) -> watch::Receiver<u64> {
        self.1.subscribe()
    }
}

// === impl Fate ===

impl Runner for Fate {
    fn function(&self, name: &FunctionName) -> Option<Arc<Function>> {
        self.deployed.0.lock().unwrap().get(name).cloned().map(Arc::new)
    }

    async fn invoke(&self, invocation: Invocation) -> Result<Outcome, Fault> {
        *self.ran.lock().unwrap() += 1;
        let name = invocation.function;
        if self.function(&name).is_none() {
            return Err(Fault::new(FaultCode::NotFound, "not there"));
        }
        match self.code {
            None => Ok(outcome(&name, Reply::Success(Bytes::from_static(b"1")))),
            Some(code) => Err(Fault::new(code, "as it was decided")),
        }
    }
}

// === impl World ===

impl World {
    async fn new() -> Self {
        let shared = std::path::Path::new("/dev/shm");
        let dir = if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() }.unwrap();
        let mut world = Self {
            queue: open(&dir),
            dir,
            deployed: Deployed(Arc::default(), watch::channel(0).0),
            clock: Arc::new(AtomicI64::new(BEGIN)),
            known: Vec::new(),
            running: Vec::new(),
            last: None,
            model: Model::default(),
            told: Vec::new(),
            next: 0,
        };
        for n in 0..FUNCTIONS {
            world.deploy(n, n + 1).await;
        }
        world
    }

    fn now(&self) -> i64 {
        self.clock.load(Ordering::SeqCst)
    }

    fn clock(&self) -> Clock {
        let clock = self.clock.clone();
        Arc::new(move || Timestamp(clock.load(Ordering::SeqCst)))
    }

    fn tell(&mut self, what: String) {
        let at = (self.now() - BEGIN) / 1000;
        self.told.push(format!("{at} {what}"));
    }

    fn ticker(&self) -> TickerOptions {
        TickerOptions {
            functions: Arc::new(self.deployed.clone()),
            schedules: self.queue.clone(),
            clock: self.clock(),
            region: "us-east-1".into(),
            account: "000000000000".into(),
            ahead: None,
        }
    }

    /// A new revision with one of the schedules, or none; as the engine, the ticker is told at once.
    async fn deploy(&mut self, n: usize, schedule: usize) {
        let name = function(n);
        let mut spec = FunctionSpec::new(name.clone(), Runtime::python("3.11"), "app.handler");
        if let Some(cron) = CRONS.get(schedule) {
            let zone = ["UTC", "Europe/Berlin"][n % 2];
            let one = Schedule {
                timezone: zone.into(),
                overlap: Overlap::Allow,
                missed: Missed::All,
                missed_most: 1000,
                ..Schedule::new("s", cron)
            };
            spec.schedules = vec![one];
        }
        let (now, code) = (self.now(), CodeHash::from_digest(&[0; 32]));
        let one = spec.schedules.first().cloned();
        {
            let mut all = self.deployed.0.lock().unwrap();
            let revision = Revision(all.get(&name).map_or(0, |one| one.revision.0) + 1);
            all.insert(
                name.clone(),
                Function { spec, version: Default::default(), revision, code, code_size: 1, modified: Timestamp(now) },
            );
        }
        self.tell(format!("deploy {name} {}", one.as_ref().map_or("no schedule", |one| &one.cron)));
        match one {
            // What says the same goes on where it was, anything else begins now.
            Some(one) if self.model.schedules.get(&name).is_some_and(|(old, _)| *old == one) => {}
            Some(one) => drop(self.model.schedules.insert(name, (one, now))),
            None => drop(self.model.schedules.remove(&name)),
        }
        self.load().await;
    }

    async fn remove(&mut self, n: usize) {
        let name = function(n);
        self.deployed.0.lock().unwrap().remove(&name);
        self.model.schedules.remove(&name);
        self.tell(format!("remove {name}"));
        self.load().await;
    }

    async fn load(&mut self) {
        self.known = load(&self.ticker()).await.unwrap();
    }

    async fn look(&mut self) {
        look(&self.ticker(), &self.known).await.unwrap();
        let now = self.now();
        let mut ticked = Vec::new();
        for (name, (schedule, last)) in &mut self.model.schedules {
            let table = schedule.timetable().unwrap();
            let mut seen = Timestamp(*last);
            while let Some(tick) = table.next(seen).filter(|tick| tick.0 <= now) {
                ticked.push((name.clone(), tick));
                seen = tick;
            }
            *last = now;
        }
        for (name, tick) in ticked {
            let key = format!("{name} {}", tick.0 / SECOND);
            self.tell(format!("tick {key}"));
            self.expect(key, name);
        }
    }

    fn expect(&mut self, key: String, function: FunctionName) {
        let new = Expected { function, runs: 0, running: false, ended: false };
        assert!(self.model.events.insert(key.clone(), new).is_none(), "{key} twice");
    }

    /// Somebody calls, and is answered.
    async fn enqueue(&mut self, n: usize) {
        let name = function(n);
        if !self.deployed.0.lock().unwrap().contains_key(&name) {
            return;
        }
        self.next += 1;
        let key = format!("call {}", self.next);
        let event = NewEvent {
            id: RequestId::random(),
            function: name.clone(),
            qualifier: None,
            payload: Bytes::from(format!("{{\"key\":\"{key}\"}}")),
            received: Timestamp(self.now()),
            trace_id: String::new(),
            client_context: String::new(),
            hops: 0,
            key: None,
        };
        self.queue.enqueue(event).await.unwrap();
        self.tell(format!("{key} of {name}"));
        self.expect(key, name);
    }

    /// As the dispatcher's pass: what is due is dealt out and leased. What it runs, runs on.
    async fn lease(&mut self) {
        let now = Timestamp(self.now());
        let ready = self.queue.ready().await.unwrap();
        let mut due: Vec<_> = ready.into_iter().filter(|one| one.due <= now).map(|one| one.function).collect();
        due.sort();
        let hands: Vec<_> = due
            .into_iter()
            .map(|function| {
                let running = self.running.iter().filter(|event| event.event.function == function).count();
                Hand { function, room: ROOM.0.saturating_sub(running) }
            })
            .collect();
        let asks = deal(&hands, ROOM.1.saturating_sub(self.running.len()), self.last.as_ref());
        if asks.is_empty() {
            return;
        }
        for event in self.queue.lease(asks, now, 1 << 20).await.unwrap() {
            let key = self.key(&event);
            self.tell(format!("run {key}, attempt {}", event.attempts));
            self.last = Some(event.event.function.clone());
            let expected = self.model.events.get_mut(&key).unwrap_or_else(|| panic!("{key} was never answered"));
            assert!(!expected.ended, "{key} runs, and had ended");
            assert!(!expected.running, "{key} runs twice at once");
            assert!(event.due <= now, "{key} runs before it is due");
            expected.runs += 1;
            expected.running = true;
            assert_eq!((event.attempts, &expected.function), (expected.runs, &event.event.function), "{key}");
            self.running.push(event);
        }
    }

    /// What an event is, whatever its id; and that no two are the same.
    fn key(&mut self, event: &QueuedEvent) -> String {
        let payload: serde_json::Value = serde_json::from_slice(&event.event.payload).unwrap();
        let key = match payload["key"].as_str() {
            Some(key) => key.to_owned(),
            None => format!("{} {}", event.event.function, seconds(payload["time"].as_str().unwrap())),
        };
        let before = self.model.ids.insert(event.event.id, key.clone());
        assert!(before.is_none_or(|before| before == key));
        let same = self.model.ids.values().filter(|one| **one == key).count();
        assert_eq!(same, 1, "{key} is in the queue as two events");
        key
    }

    /// One of those that run comes to its end.
    async fn finish(&mut self, which: usize, code: Option<FaultCode>) {
        let event = self.running.remove(which);
        let (id, key) = (event.event.id, self.model.ids[&event.event.id].clone());
        let fate = Fate { deployed: self.deployed.clone(), code, ran: Arc::default() };
        let teller = Teller { region: "us-east-1".into(), account: "000000000000".into() };
        run(fate, self.queue.clone(), self.clock(), teller, event).await;
        let left = self.queue.event(id).await.unwrap();
        let waits = left.as_ref().is_some_and(|event| event.state == EventState::Waiting);
        assert!(left.as_ref().is_none_or(|event| event.state != EventState::Running), "{key} still runs");
        let after = match &left {
            None => "done".to_owned(),
            Some(event) if waits => format!("again at {}", (event.due.0 - BEGIN) / 1000),
            Some(event) => event.condition.clone().unwrap_or_default(),
        };
        self.tell(format!("{key}: {after}"));
        let expected = self.model.events.get_mut(&key).unwrap();
        (expected.running, expected.ended) = (false, !waits);
    }

    /// `kill -9`: what was committed is there, and nothing else. The next server begins as servers do.
    async fn crash(&mut self) {
        self.tell(format!("crash with {} running", self.running.len()));
        self.queue.close();
        self.queue = open(&self.dir);
        let recovered = self.queue.recover().await.unwrap();
        assert_eq!(recovered as usize, self.running.len(), "those that ran wait again");
        for event in self.running.drain(..) {
            let key = &self.model.ids[&event.event.id];
            self.model.events.get_mut(key).unwrap().running = false;
        }
        self.last = None;
        self.load().await;
    }

    async fn step(&mut self, dice: &mut Dice) {
        const FATES: [Option<FaultCode>; 8] = [
            None,
            None,
            None,
            Some(FaultCode::HandlerError),
            Some(FaultCode::Exited),
            Some(FaultCode::NoCapacity),
            Some(FaultCode::Draining),
            Some(FaultCode::Timeout),
        ];
        match dice.roll(16) {
            0..4 => self.enqueue(dice.roll(FUNCTIONS)).await,
            4..7 => {
                let by = [1, 30, 200, 1500][dice.roll(4)] * SECOND + dice.roll(1_000_000) as i64;
                self.clock.fetch_add(by, Ordering::SeqCst);
                // The ticker may be late, and so may be all else.
                if dice.roll(4) > 0 {
                    self.look().await;
                }
            }
            7..10 => self.lease().await,
            10..13 if !self.running.is_empty() => {
                let (which, fate) = (dice.roll(self.running.len()), FATES[dice.roll(FATES.len())]);
                self.finish(which, fate).await;
            }
            13 => self.deploy(dice.roll(FUNCTIONS), dice.roll(CRONS.len() + 1)).await,
            14 if dice.roll(3) == 0 => self.remove(dice.roll(FUNCTIONS)).await,
            15 => self.crash().await,
            _ => {}
        }
    }

    /// Everything that waits comes to its end, and the numbers are those of what happened.
    async fn end(&mut self) {
        self.look().await;
        for _ in 0..500 {
            self.lease().await;
            while !self.running.is_empty() {
                self.finish(0, None).await;
            }
            let next = self.queue.ready().await.unwrap().into_iter().map(|one| one.due.0).min();
            let Some(next) = next else { break };
            // Without a look: no tick is added any more.
            self.clock.fetch_max(next, Ordering::SeqCst);
        }
        let left: Vec<_> = self.model.events.iter().filter(|(_, one)| !one.ended).map(|(key, _)| key).collect();
        assert!(left.is_empty(), "never came to an end: {left:?}");
        let mut expected = BTreeMap::<_, u64>::new();
        for one in self.model.events.values() {
            *expected.entry(one.function.clone()).or_default() += 1;
        }
        let counts = self.queue.counts().await.unwrap();
        let found: BTreeMap<_, _> =
            counts.iter().filter(|one| one.enqueued > 0).map(|one| (one.function.clone(), one.enqueued)).collect();
        assert_eq!(found, expected, "events that came into the queue");
        for one in counts {
            assert_eq!(
                (one.waiting, one.enqueued),
                (0, one.done + one.failed + one.dead + one.purged),
                "{}",
                one.function
            );
        }
    }
}

fn open(dir: &tempfile::TempDir) -> Arc<SqliteQueue> {
    SqliteQueue::open(dir.path(), EventLimits { reserve: 0, ..EventLimits::default() }).unwrap()
}

fn function(n: usize) -> FunctionName {
    format!("f{n}").parse().unwrap()
}

/// Since 1970, of a moment as EventBridge writes it.
fn seconds(text: &str) -> i64 {
    // A schedule that ticks once, at that moment, is how this house reads moments.
    let table = Schedule::new("s", &format!("at({})", text.trim_end_matches('Z'))).timetable().unwrap();
    table.next(Timestamp(0)).unwrap().0 / SECOND
}

async fn walk(seed: u64) -> (Vec<String>, usize) {
    let (mut world, mut dice) = (World::new().await, Dice(seed));
    for _ in 0..STEPS {
        world.step(&mut dice).await;
    }
    world.end().await;
    world.queue.close();
    (world.told, world.model.events.len())
}

#[tokio::test]
async fn whatever_happens_to_queue_schedules_and_deploys_every_event_has_its_end() {
    let single: Option<u64> = std::env::var("SEED").ok().map(|seed| seed.parse().expect("SEED is a number"));
    let count: u64 = std::env::var("HEARTH_RELIABILITY_SEEDS").map_or(20, |count| count.parse().unwrap());
    let seeds = single.map_or(1..=count, |seed| seed..=seed);
    let (mut events, mut walks, mut kinds) = (0, 0, BTreeSet::new());
    for seed in seeds {
        let walked = tokio::spawn(walk(seed)).await;
        let (told, ended) = walked.unwrap_or_else(|error| panic!("seed {seed}: {error}; SEED={seed} repeats it"));
        if single.is_some() {
            println!("{}", told.join("\n"));
        }
        // The same again, event by event.
        if walks < 5 {
            assert_eq!(told, walk(seed).await.0, "seed {seed} is not the same walk twice");
        }
        kinds.extend(told.iter().filter_map(|line| Some(line.split(' ').nth(1)?.trim_end_matches(':').to_owned())));
        walks += 1;
        events += ended;
    }
    if single.is_none() {
        for kind in ["crash", "deploy", "remove", "run", "tick", "call"] {
            assert!(kinds.contains(kind), "no walk had a {kind}");
        }
    }
    println!("row 13: {walks} seeds, {events} events: 0 violations; the first ones walked twice, alike");
}
