//! The runner over a feed and a sink that do as they are told, on a clock that is passed in.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use model::{SourceState, Timestamp};
use proptest::prelude::*;
use store::sources::SourceName;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::runner::{Limits, Sink, run};
use super::{Feed, FeedError, Message, Report, Settled};
use crate::decide::batch;

/// What both ends have seen.
#[derive(Default)]
struct Seen {
    /// Waits at the feed, with when it came.
    waiting: VecDeque<usize>,
    /// Taken, and not settled.
    held: HashSet<usize>,
    most_held: usize,
    batches: Vec<(Instant, Vec<usize>)>,
    done: Vec<usize>,
    failures: usize,
}

#[derive(Clone, Default)]
struct World {
    seen: Arc<Mutex<Seen>>,
    came: Arc<Notify>,
}

struct FakeFeed {
    world: World,
    /// Fails with this message.
    fails_at: Option<usize>,
}

#[async_trait]
impl Feed for FakeFeed {
    async fn next(&mut self, most: usize) -> Result<Vec<Message>, FeedError> {
        loop {
            {
                let mut seen = self.world.seen.lock().unwrap();
                let count = most.min(seen.waiting.len());
                let taken: Vec<usize> = seen.waiting.drain(..count).collect();
                if self.fails_at.is_some_and(|at| taken.contains(&at)) {
                    return Err(FeedError("the broker is gone".into()));
                }
                seen.held.extend(&taken);
                seen.most_held = seen.most_held.max(seen.held.len());
                if !taken.is_empty() {
                    let message = |n: usize| Message {
                        token: n.to_string(),
                        record: Bytes::from_static(b"0123456789"),
                        id: n.to_string(),
                        mark: None,
                    };
                    return Ok(taken.into_iter().map(message).collect());
                }
            }
            self.world.came.notified().await;
        }
    }

    async fn settle(&mut self, settled: Vec<(String, Settled)>) -> Result<(), FeedError> {
        let mut seen = self.world.seen.lock().unwrap();
        for (token, settled) in settled {
            let n: usize = token.parse().unwrap();
            assert!(seen.held.remove(&n), "{n} was settled twice");
            match settled {
                Settled::Done => seen.done.push(n),
                _ => seen.waiting.push_back(n),
            }
        }
        drop(seen);
        self.world.came.notify_one();
        Ok(())
    }

    async fn lag(&mut self) -> Result<Option<u64>, FeedError> {
        Ok(Some(self.world.seen.lock().unwrap().waiting.len() as u64))
    }
}

/// Takes a while, and fails every so often.
struct FakeSink {
    world: World,
    takes: Duration,
    fails_each: Option<usize>,
    not_begun: bool,
}

#[async_trait]
impl Sink for FakeSink {
    async fn deliver(&self, batches: Vec<Vec<Message>>) -> Vec<(String, Settled)> {
        {
            let mut seen = self.world.seen.lock().unwrap();
            for batch in &batches {
                let numbers = batch.iter().map(|one| one.token.parse().unwrap()).collect();
                seen.batches.push((Instant::now(), numbers));
            }
        }
        tokio::time::sleep(self.takes).await;
        let mut seen = self.world.seen.lock().unwrap();
        let mut settle = |one: Message| {
            seen.failures += 1;
            let fails = self.fails_each.is_some_and(|each| seen.failures.is_multiple_of(each));
            let settled = match fails {
                false => Settled::Done,
                true if self.not_begun => Settled::NotBegun("no room".into()),
                true => Settled::Failed("no".into()),
            };
            (one.token, settled)
        };
        batches.into_iter().flatten().map(&mut settle).collect()
    }
}

fn report() -> Report {
    let name = SourceName { function: "f".parse().unwrap(), source: "s".into() };
    Report::new(&name, "fake", Arc::new(|| Timestamp(0)))
}

fn limits(size: usize, window_ms: u64, in_flight: usize, deliveries: usize, together: usize) -> Limits {
    let batch = batch::Rules { size, bytes: 1 << 20, window: Duration::from_millis(window_ms) };
    Limits { batch, in_flight, deliveries, together }
}

/// Runs until all `count` messages are done, or the feed fails.
async fn play(
    world: &World,
    sink: FakeSink,
    limits: Limits,
    count: usize,
    every: Duration,
    fails_at: Option<usize>,
) -> (Result<(), FeedError>, Report) {
    let (stop, stopped) = watch::channel(false);
    let report = report();
    let mut feed = FakeFeed { world: world.clone(), fails_at };
    let clients = async {
        for n in 0..count {
            world.seen.lock().unwrap().waiting.push_back(n);
            world.came.notify_one();
            tokio::time::sleep(every).await;
        }
        while world.seen.lock().unwrap().done.len() < count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.send_replace(true);
        std::future::pending::<()>().await;
    };
    let ran = tokio::select! {
        ran = run(&mut feed, Arc::new(sink), limits, &report, stopped) => ran,
        _ = clients => unreachable!("it waits for the runner"),
    };
    (ran, report)
}

fn sink(world: &World, takes_ms: u64) -> FakeSink {
    FakeSink { world: world.clone(), takes: Duration::from_millis(takes_ms), fails_each: None, not_begun: false }
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_full_or_has_waited_its_window() {
    let world = World::default();
    let begun = Instant::now();
    let every = Duration::from_millis(10);
    let (ran, report) = play(&world, sink(&world, 0), limits(4, 200, 100, 1, 1), 10, every, None).await;
    ran.unwrap();
    let seen = world.seen.lock().unwrap();
    let sizes: Vec<usize> = seen.batches.iter().map(|(_, batch)| batch.len()).collect();
    assert_eq!(sizes, [4, 4, 2]);
    let last = seen.batches[2].0.duration_since(begun).as_millis();
    assert!((280..=290).contains(&last), "the ninth came at 80 ms, and the window is 200 ms: {last}");
    assert_eq!((report.get().delivered, report.get().failed, report.get().in_flight), (10, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_slow_sink_holds_its_feed_up() {
    let world = World::default();
    let (ran, report) = play(&world, sink(&world, 100), limits(2, 0, 6, 2, 1), 50, Duration::ZERO, None).await;
    ran.unwrap();
    let seen = world.seen.lock().unwrap();
    assert!(seen.most_held <= 6, "{} were held at once", seen.most_held);
    assert_eq!(seen.done.len(), 50);
    assert_eq!(report.get().state, SourceState::Running);
}

#[tokio::test(start_paused = true)]
async fn what_waits_together_is_delivered_together_and_in_order() {
    let world = World::default();
    world.seen.lock().unwrap().waiting.extend(0..100);
    let (stop, stopped) = watch::channel(false);
    let mut feed = FakeFeed { world: world.clone(), fails_at: None };
    let report = report();
    let ending = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        stop.send_replace(true);
    };
    let (ran, ()) =
        tokio::join!(run(&mut feed, Arc::new(sink(&world, 5)), limits(1, 0, 1000, 1, 1000), &report, stopped), ending);
    ran.unwrap();
    let seen = world.seen.lock().unwrap();
    assert_eq!(seen.done, (0..100).collect::<Vec<_>>());
    let moments: HashSet<Instant> = seen.batches.iter().map(|(at, _)| *at).collect();
    assert_eq!((seen.batches.len(), moments.len()), (100, 1), "a hundred events, and one delivery");
}

#[tokio::test(start_paused = true)]
async fn a_function_that_cannot_take_a_batch_is_given_time() {
    let world = World::default();
    let busy = FakeSink { fails_each: Some(1), not_begun: true, ..sink(&world, 0) };
    world.seen.lock().unwrap().waiting.push_back(0);
    let (stop, stopped) = watch::channel(false);
    let mut feed = FakeFeed { world: world.clone(), fails_at: None };
    let report = report();
    let ending = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        stop.send_replace(true);
    };
    let (ran, ()) = tokio::join!(run(&mut feed, Arc::new(busy), limits(1, 0, 10, 1, 1), &report, stopped), ending);
    ran.unwrap();
    // After 0.5, 1, 2, 4 … 30 seconds.
    assert_eq!(world.seen.lock().unwrap().batches.len(), 7);
    assert!(report.get().last_error.unwrap().1.contains("no room"));
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_fails_ends_the_run_and_nothing_that_was_not_delivered_is_settled() {
    let world = World::default();
    let every = Duration::from_millis(1);
    let (ran, _) = play(&world, sink(&world, 50), limits(1, 0, 10, 1, 1), 100, every, Some(30)).await;
    assert_eq!(ran, Err(FeedError("the broker is gone".into())));
    let seen = world.seen.lock().unwrap();
    let delivered: HashSet<usize> = seen.batches.iter().flat_map(|(_, batch)| batch.clone()).collect();
    assert!(seen.done.iter().all(|n| delivered.contains(n)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever the limits, and however often it fails: each message is done once, and no more are held than may be.
    #[test]
    fn every_message_is_done_once(
        count in 1usize..80,
        size in 1usize..12,
        window in 0u64..50,
        deliveries in 1usize..5,
        together in 1usize..4,
        more in 0usize..20,
        takes in 0u64..30,
        every in 0u64..8,
        fails in 2usize..9,
        not_begun in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let world = World::default();
            let sink = FakeSink { fails_each: Some(fails), not_begun, ..sink(&world, takes) };
            let limits = limits(size, window, size + more, deliveries, together);
            let (ran, report) = play(&world, sink, limits, count, Duration::from_millis(every), None).await;
            ran.unwrap();
            let seen = world.seen.lock().unwrap();
            let mut done = seen.done.clone();
            done.sort_unstable();
            assert_eq!(done, (0..count).collect::<Vec<_>>());
            assert!(seen.most_held <= size + more && seen.held.is_empty());
            assert!(seen.batches.iter().all(|(_, batch)| batch.len() <= size));
            assert_eq!(report.get().delivered as usize, count);
        });
    }
}
