//! Power that goes while the disk writes: of what was not synced yet any 512 bytes may be there, or not.
//!
//! A history of one queue is walked step by step. Between the moment at which one step was answered and the next, the
//! disk may hold any mixture of both: such mixtures are made by seed, opened, and looked at. What was answered is there,
//! the database is whole, and nobody has to do anything for it.
//!
//! `HEARTH_RELIABILITY_SEEDS` says how many mixtures (150 by default, 1,000 in `make reliability-3`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use bytes::Bytes;
use model::{RequestId, Timestamp};
use rusqlite::Connection;
use store::Queue;
use store::queue::{NewEvent, Settlement};
use store::sqlite::{EventLimits, SqliteQueue};

use crate::name;

const SECTOR: usize = 512;
/// The part of a log's beginning that is synced before anything behind it is written.
const LOG_HEADER: usize = 32;
const STEPS: usize = 400;

/// The same numbers for the same seed.
struct Dice(u64);

/// What is on the disk.
#[derive(Clone, PartialEq)]
struct Disk {
    db: Vec<u8>,
    log: Vec<u8>,
}

/// What must be there: bytes of each event's payload.
type Events = BTreeMap<String, usize>;

// === impl Dice ===

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % below as u64) as usize
    }
}

// === impl Disk ===

impl Disk {
    fn read(dir: &Path) -> Self {
        Self { db: fs::read(dir.join("queue.db")).unwrap(), log: fs::read(dir.join("queue.db-wal")).unwrap() }
    }

    fn write(&self, dir: &Path) {
        fs::write(dir.join("queue.db"), &self.db).unwrap();
        fs::write(dir.join("queue.db-wal"), &self.log).unwrap();
    }

    /// What may be there when the power goes after `self` was answered and before `next` is.
    fn torn(&self, next: &Self, dice: &mut Dice) -> Self {
        if self.db != next.db {
            // A checkpoint: it begins when the log is synced.
            return Self { db: mix(&self.db, &next.db, 0, dice), log: next.log.clone() };
        }
        let begun_anew = self.log.get(..LOG_HEADER) != next.log.get(..LOG_HEADER);
        if begun_anew && dice.roll(4) == 0 {
            return self.clone();
        }
        let mut log = mix(&self.log, &next.log, if begun_anew { LOG_HEADER } else { 0 }, dice);
        if log.len() > self.log.len() && dice.roll(2) == 0 {
            // The file has not grown to its end yet.
            log.truncate(self.log.len() + dice.roll(log.len() - self.log.len() + 1));
        }
        Self { db: self.db.clone(), log }
    }
}

/// Sectors of one and of the other; the first `sure` bytes are the other's.
fn mix(old: &[u8], new: &[u8], sure: usize, dice: &mut Dice) -> Vec<u8> {
    let mut mixed = old.to_vec();
    mixed.resize(old.len().max(new.len()), 0);
    let chance = 1 + dice.roll(8);
    for at in (0..new.len()).step_by(SECTOR) {
        let end = (at + SECTOR).min(new.len());
        // Mostly written, half written, mostly not.
        if dice.roll(9) < chance {
            mixed[at..end].copy_from_slice(&new[at..end]);
        }
    }
    mixed[..sure].copy_from_slice(&new[..sure]);
    mixed
}

/// Opens what is there as Hearth does, and looks at all of it. `maybe`: events that may be there or not.
fn is_whole(disk: &Disk, sure: &Events, maybe: &BTreeSet<String>, what: &str) {
    let dir = tempfile::tempdir_in(memory()).unwrap();
    disk.write(dir.path());
    let queue = SqliteQueue::open(dir.path(), limits()).unwrap_or_else(|error| panic!("{what}: {error}"));
    queue.close();
    let db = Connection::open(dir.path().join("queue.db")).unwrap();
    let check: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok", "{what}");
    let mut rows = db.prepare("SELECT e.id, e.bytes, p.body FROM events e LEFT JOIN payloads p USING (seq)").unwrap();
    let rows = rows
        .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, Option<Vec<u8>>>(2)?)));
    let found: BTreeMap<_, _> =
        rows.unwrap().map(Result::unwrap).map(|(id, bytes, body)| (id, (bytes, body))).collect();
    for (id, bytes) in sure.iter().filter(|(id, _)| !maybe.contains(*id)) {
        let (_, body) = found.get(id).unwrap_or_else(|| panic!("{what}: event {id} was answered, and is lost"));
        let body = body.as_ref().unwrap_or_else(|| panic!("{what}: event {id} has no payload"));
        assert!(
            body.len() == *bytes && body.iter().all(|byte| *byte == b'7'),
            "{what}: the payload of {id} is another"
        );
    }
    let known = |id: &&String| sure.contains_key(*id) || maybe.contains(*id);
    assert!(found.keys().all(|id| known(&id)), "{what}: an event came back that was done");
    let counted: (i64, i64) = db
        .query_row("SELECT sum(waiting), sum(enqueued - done - failed - dead - purged) FROM counters", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(counted, (found.len() as i64, found.len() as i64), "{what}: the numbers are wrong");
}

fn memory() -> std::path::PathBuf {
    let shared = Path::new("/dev/shm");
    if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() }
}

fn limits() -> EventLimits {
    EventLimits { reserve: 0, ..EventLimits::default() }
}

#[tokio::test]
async fn whatever_the_power_tears_what_was_answered_is_there() {
    let seeds: usize = std::env::var("HEARTH_RELIABILITY_SEEDS").map_or(150, |count| count.parse().unwrap());
    let seed: u64 = std::env::var("HEARTH_CRASH_SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut dice = Dice(seed);
    let dir = tempfile::tempdir_in(memory()).unwrap();
    let queue = SqliteQueue::open(dir.path(), limits()).unwrap();
    let (mut events, mut running) = (Events::new(), Vec::<RequestId>::new());
    let (mut made, mut checkpoints, mut restarts) = (0, 0, 0);
    queue.enqueue(event(10, &mut events)).await.unwrap();
    let mut before = Disk::read(dir.path());
    for step in 0..STEPS {
        let mut maybe = BTreeSet::new();
        let known = events.clone();
        match dice.roll(5) {
            0 => {
                let leased = queue.lease(vec![(name("f"), 3)], Timestamp(i64::MAX), 1 << 20).await.unwrap();
                running.extend(leased.iter().map(|one| one.event.id));
            }
            1 if !running.is_empty() => {
                let id = running.swap_remove(dice.roll(running.len()));
                queue.settle(id, Settlement::Done { then: None }).await.unwrap();
                events.remove(&id.to_string());
                maybe.insert(id.to_string());
            }
            _ => {
                let bytes = if dice.roll(8) == 0 { 60_000 } else { 1 + dice.roll(3000) };
                let event = event(bytes, &mut events);
                maybe.insert(event.id.to_string());
                queue.enqueue(event).await.unwrap();
            }
        }
        let after = Disk::read(dir.path());
        checkpoints += usize::from(before.db != after.db);
        restarts += usize::from(before.log[..LOG_HEADER] != after.log[..LOG_HEADER]);
        let mut sure = events.clone();
        sure.extend(known);
        // As many of each step, and the rest of the first ones; a checkpoint is rare, and looked at more often.
        let due = (step + 1) * seeds / STEPS - step * seeds / STEPS;
        let due =
            if before.db != after.db || before.log[..LOG_HEADER] != after.log[..LOG_HEADER] { due + 10 } else { due };
        for _ in 0..due {
            let torn = before.torn(&after, &mut dice);
            is_whole(&torn, &sure, &maybe, &format!("seed {seed}, step {step}, mixture {made}"));
            made += 1;
        }
        before = after;
    }
    queue.close();
    assert!(checkpoints > 0 && restarts > 0, "the log was never written to the database: nothing is shown of that");
    println!("{made} torn disks, {checkpoints} checkpoints and {restarts} logs begun anew among them: all whole");
}

fn event(bytes: usize, events: &mut Events) -> NewEvent {
    let id = RequestId::random();
    events.insert(id.to_string(), bytes);
    NewEvent {
        qualifier: None,
        id,
        function: name("f"),
        payload: Bytes::from(vec![b'7'; bytes]),
        received: Timestamp(1),
        trace_id: String::new(),
        client_context: String::new(),
        hops: 0,
        key: None,
    }
}
