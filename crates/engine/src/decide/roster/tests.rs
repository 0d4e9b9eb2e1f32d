//! The roster's books against another's, whatever happens; bursts; instances that are made ahead of calls.

use super::*;
use proptest::prelude::*;

/// For ever: whom it is worth to wait is the line's to judge.
const PATIENCE: Duration = Duration::from_secs(1 << 32);

#[derive(Debug, Clone)]
enum Op {
    Call,
    Finish { well: bool },
    Started { well: bool },
    Late(prop::sample::Index),
    Evict,
    Gone(prop::sample::Index),
    Tick(u64),
    Close,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => Just(Op::Call),
        5 => any::<bool>().prop_map(|well| Op::Finish { well }),
        5 => prop::bool::weighted(0.8).prop_map(|well| Op::Started { well }),
        2 => any::<prop::sample::Index>().prop_map(Op::Late),
        1 => Just(Op::Evict),
        1 => any::<prop::sample::Index>().prop_map(Op::Gone),
        2 => prop_oneof![0u64..5000, 0u64..2_000_000].prop_map(Op::Tick),
        1 => prop::bool::weighted(0.1).prop_map(|close| if close { Op::Close } else { Op::Call }),
    ]
}

/// Does with a roster what the pool does, and keeps its own books.
struct Model {
    roster: Roster<u32, u32>,
    now: Instant,
    instances: u32,
    starting: u32,
    busy: Vec<u32>,
    idle: Vec<u32>,
    /// Of the idle: those that were given out to be frozen.
    frozen: Vec<u32>,
    calls: u32,
    waiting: Vec<(Ticket, u32)>,
}

impl Model {
    fn scale(&mut self) {
        while self.roster.wanted(self.now) > 0 {
            self.roster.began();
            self.starting += 1;
        }
    }

    fn place(&mut self, instance: u32) {
        if self.roster.is_closed() {
            self.roster.lost(self.now);
            return;
        }
        match self.roster.next_waiter(self.now) {
            Some(waiter) => {
                let (_, first) = self.waiting.remove(0);
                assert_eq!(waiter, first, "first come, first served");
                self.busy.push(instance);
            }
            None => {
                self.roster.park(instance, self.now);
                self.idle.push(instance);
            }
        }
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Call => match self.roster.take(self.now) {
                Take::Idle(instance) => {
                    assert_eq!(Some(instance), self.idle.pop(), "the one used last");
                    self.frozen.retain(|one| *one != instance);
                    self.busy.push(instance);
                }
                Take::None => {
                    assert!(self.idle.is_empty());
                    self.calls += 1;
                    if let Ok(ticket) = self.roster.wait(self.calls, self.now) {
                        self.waiting.push((ticket, self.calls));
                    }
                }
                Take::Closed => {}
            },
            Op::Finish { well } if !self.busy.is_empty() => {
                let instance = self.busy.remove(0);
                if well { self.place(instance) } else { self.roster.lost(self.now) }
            }
            Op::Started { well } if self.starting > 0 => {
                self.starting -= 1;
                if well {
                    self.instances += 1;
                    self.roster.ready(self.now);
                    self.place(self.instances);
                } else if let Some(told) = self.roster.start_failed(self.now) {
                    assert_eq!(told, self.waiting.remove(0).1);
                }
            }
            Op::Late(index) if !self.waiting.is_empty() => {
                let place = index.index(self.waiting.len());
                match self.roster.late(self.waiting[place].0, self.now) {
                    Late::Left => drop(self.waiting.remove(place)),
                    Late::Stay => assert!(place < self.starting as usize),
                    Late::Served => panic!("it still waits"),
                }
            }
            Op::Evict => {
                if let Some(instance) = self.roster.evict() {
                    assert_eq!(instance, self.idle.remove(0), "the longest idle");
                }
            }
            Op::Gone(index) if !self.idle.is_empty() => {
                let instance = self.idle.remove(index.index(self.idle.len()));
                assert_eq!(self.roster.remove(|one| *one == instance, self.now), Some(instance));
            }
            Op::Tick(millis) => {
                self.now += Duration::from_millis(millis);
                self.roster.review(self.now);
                for instance in self.roster.expire(self.now) {
                    assert_eq!(instance, self.idle.remove(0));
                }
                for instance in self.roster.freezable(self.now) {
                    assert!(self.idle.contains(instance) && !self.frozen.contains(instance), "once, while idle");
                    self.frozen.push(*instance);
                }
            }
            Op::Close => {
                let (idle, waiters) = self.roster.close();
                assert_eq!(idle, std::mem::take(&mut self.idle));
                let waiting: Vec<_> = std::mem::take(&mut self.waiting).into_iter().map(|(_, call)| call).collect();
                assert_eq!(waiters, waiting, "everyone is told");
            }
            Op::Finish { .. } | Op::Started { .. } | Op::Late(_) | Op::Gone(_) => {}
        }
        self.scale();
    }

    fn check(&self) {
        let rules = self.roster.rules();
        let frozen = self.idle.iter().filter(|one| self.frozen.contains(one)).count();
        assert_eq!(self.roster.frozen, frozen);
        assert!(self.idle[..frozen].iter().all(|one| self.frozen.contains(one)), "the longest idle first");
        if frozen < self.idle.len() {
            let freeze = self.roster.idle[frozen].0 + rules.freeze;
            assert!(self.roster.due().is_some_and(|due| due <= freeze), "what runs idle will be frozen");
        }
        let count = self.starting + self.busy.len() as u32 + self.idle.len() as u32;
        assert_eq!(self.roster.total(), count);
        assert!(count <= rules.max);
        assert_eq!(self.roster.waiting(), self.waiting.len());
        assert!(self.waiting.len() <= rules.queue);
        assert!(self.idle.is_empty() || self.waiting.is_empty(), "nobody waits beside an idle instance");
        // Nobody waits in vain: for each waiter a start is under way, or all instances there may be exist.
        assert!(self.waiting.len() as u32 <= self.starting || count == rules.max);
        if !self.roster.is_closed() && self.idle.len() as u32 > 0 && count > rules.min {
            assert!(self.roster.due().is_some(), "an idle instance will be reaped");
        }
    }
}

proptest! {
    #[test]
    fn the_books_are_right_whatever_happens(
        max in 1u32..6,
        min in 0u32..3,
        keep in 0u64..4000,
        auto in any::<bool>(),
        freeze in 0u64..4000,
        ops in prop::collection::vec(op(), 0..300),
    ) {
        let (keep, freeze) = (Duration::from_millis(keep), Duration::from_millis(freeze));
        let keep = if auto { Keep::Auto } else { Keep::For(keep) };
        let rules = Rules { max, min: min.min(max), keep, freeze, queue: 5, patience: PATIENCE };
        let mut model = Model {
            roster: Roster::new(rules, 1 << 26),
            now: Instant::now(),
            instances: 0,
            starting: 0,
            busy: Vec::new(),
            idle: Vec::new(),
            frozen: Vec::new(),
            calls: 0,
            waiting: Vec::new(),
        };
        for op in ops {
            model.run(op);
            model.check();
        }
    }
}

proptest! {
    /// However many come at once, all their instances are asked for at once; what holds them back is the budget.
    #[test]
    fn a_burst_is_limited_by_nothing_but_the_maximum(callers in 1u32..3000, max in 1u32..3000, auto in any::<bool>()) {
        let keep = if auto { Keep::Auto } else { Keep::For(Duration::from_secs(600)) };
        let rules = Rules { max, min: 0, keep, freeze: Duration::ZERO, queue: 3000, patience: PATIENCE };
        let (mut roster, now) = (Roster::<(), u32>::new(rules, 1 << 26), Instant::now());
        for caller in 0..callers {
            prop_assert!(roster.wait(caller, now).is_ok());
        }
        prop_assert_eq!(roster.wanted(now), callers.min(max));
        (0..roster.wanted(now)).for_each(|_| roster.began());
        prop_assert_eq!(roster.wanted(now), 0);
    }
}

#[test]
fn what_a_timer_will_want_is_made_ahead_of_it_and_let_go_if_it_does_not_come() {
    let rules = Rules { max: 9, min: 0, keep: Keep::Auto, freeze: Duration::MAX / 4, queue: 9, patience: PATIENCE };
    let (mut roster, mut now) = (Roster::<u32, ()>::new(rules, 1 << 28), Instant::now());
    let house = |roster: &mut Roster<u32, ()>, now: Instant| {
        roster.review(now);
        (roster.expire(now).len(), roster.wanted(now))
    };
    for _ in 0..12 {
        roster.wait((), now).unwrap();
        if roster.wanted(now) > 0 {
            roster.began();
            roster.ready(now);
        }
        roster.next_waiter(now).unwrap();
        roster.park(0, now);
        now += Duration::from_secs(3600);
        house(&mut roster, now - Duration::from_secs(1800));
    }
    let called = now - Duration::from_secs(3600);
    assert_eq!(house(&mut roster, called + Duration::from_secs(1800)), (0, 0), "it went long ago");
    let at = called + Duration::from_secs(3590);
    assert_eq!(house(&mut roster, at), (0, 1));
    roster.began();
    assert!(roster.wanted(at) == 0 && roster.total() == 1);
    roster.ready(at);
    roster.park(1, at);
    assert!(matches!(house(&mut roster, at), (0, 0)));
    let mut reviews = 0;
    while roster.total() > 0 {
        let due = roster.due().expect("it is looked at again");
        assert!(due < called + Duration::from_secs(7200));
        house(&mut roster, due);
        reviews += 1;
        assert!(reviews < 50);
    }
}

#[test]
fn a_broken_function_is_kept_warm_less_and_less_often() {
    let rules =
        Rules { max: 5, min: 2, keep: Keep::For(Duration::ZERO), freeze: Duration::ZERO, queue: 5, patience: PATIENCE };
    let (mut roster, mut now) = (Roster::<(), ()>::new(rules, 1 << 26), Instant::now());
    assert_eq!(roster.wanted(now), 2);
    let mut starts = 0;
    let end = now + Duration::from_secs(3600);
    while now < end {
        for _ in 0..roster.wanted(now) {
            roster.began();
            starts += 1;
            roster.start_failed(now);
        }
        now = roster.due().unwrap();
    }
    assert!((50..80).contains(&starts), "{starts} in an hour");
    roster.began();
    roster.ready(now);
    assert_eq!(roster.wanted(now), 1, "a success ends the waiting");
}

#[test]
fn where_one_more_fits_now_and_then_not_all_are_tried_each_time() {
    let rules = Rules {
        max: 100,
        min: 100,
        keep: Keep::For(Duration::ZERO),
        freeze: Duration::ZERO,
        queue: 5,
        patience: PATIENCE,
    };
    let (mut roster, now) = (Roster::<u32, ()>::new(rules, 1 << 26), Instant::now());
    let begin = |roster: &mut Roster<u32, ()>| {
        let wanted = roster.wanted(now);
        (0..wanted).for_each(|_| roster.began());
        wanted
    };
    assert_eq!(begin(&mut roster), 100);
    for _ in 0..20 {
        roster.start_failed(now);
    }
    let mut tried = 0;
    for instance in 0..80 {
        roster.ready(now);
        roster.park(instance, now);
        tried += begin(&mut roster);
    }
    assert_eq!(tried, 20, "not before as many succeeded as had failed");
}

/// What the pool's timer does: asks the habit, then starts what is wanted. How many that were.
fn tick(roster: &mut Roster<u32, u32>, now: Instant) -> u32 {
    roster.review(now);
    let mut begun = 0;
    while roster.wanted(now) > 0 {
        roster.began();
        begun += 1;
    }
    begun
}

#[test]
fn what_ends_by_itself_is_not_made_again_before_the_next_call() {
    let rules =
        Rules { max: 4, min: 0, queue: 10, freeze: Duration::from_millis(100), keep: Keep::Auto, patience: PATIENCE };
    let (mut roster, mut now) = (Roster::new(rules, 24 << 20), Instant::now());
    roster.wait(1, now).unwrap();
    assert_eq!(tick(&mut roster, now), 1);
    roster.ready(now);
    roster.next_waiter(now);
    roster.park(7, now);
    now += Duration::from_millis(50);
    assert_eq!(roster.remove(|_| true, now), Some(7));
    let mut made = 0;
    for _ in 0..1200 {
        now += Duration::from_millis(500);
        for _ in 0..tick(&mut roster, now) {
            made += 1;
            roster.ready(now);
            roster.park(7, now);
            roster.remove(|_| true, now);
        }
    }
    assert_eq!(made, 0, "starts that nobody asked for");
    roster.wait(2, now).unwrap();
    assert_eq!(tick(&mut roster, now), 1, "a call is served all the same");
}

#[test]
fn what_is_expected_is_made_once_and_goes_if_it_does_not_come() {
    for keep in [Keep::Auto, Keep::For(Duration::from_secs(1))] {
        let rules = Rules { max: 9, min: 0, keep, freeze: Duration::from_millis(100), queue: 9, patience: PATIENCE };
        let (mut roster, begun) = (Roster::<u32, ()>::new(rules, 1 << 28), Instant::now());
        assert_eq!(roster.wanted(begun), 0);
        roster.expect(begun + Duration::from_secs(5));
        assert_eq!((roster.wanted(begun), roster.is_ahead(), roster.is_awaited()), (1, true, false), "{keep:?}");
        roster.began();
        assert_eq!(roster.wanted(begun), 0);
        roster.ready(begun);
        roster.park(1, begun);
        // It is looked at when it is frozen, too.
        let frozen = begun + Duration::from_millis(100);
        roster.review(frozen);
        assert_eq!((roster.expire(frozen).len(), roster.wanted(frozen)), (0, 0), "{keep:?}");
        // Longer than others are kept.
        let later = begun + Duration::from_secs(4);
        roster.review(later);
        assert_eq!(roster.expire(later).len(), 0, "{keep:?}");
        assert!(roster.due().is_some_and(|due| due > later || due == begun + Duration::from_millis(100)), "{keep:?}");
        // The call does not come.
        let much_later = begun + Duration::from_secs(3600);
        roster.review(much_later);
        assert_eq!((roster.expire(much_later), roster.wanted(much_later)), (vec![1], 0), "{keep:?}");
        // Where one is idle already, it is enough.
        roster.wait((), much_later).unwrap();
        roster.began();
        roster.ready(much_later);
        roster.next_waiter(much_later).unwrap();
        roster.park(2, much_later);
        roster.expect(much_later + Duration::from_secs(5));
        assert_eq!(roster.wanted(much_later), 0, "{keep:?}");
        assert!(matches!(roster.take(much_later), Take::Idle(2)), "{keep:?}");
        assert_eq!(roster.wanted(much_later), 0, "{keep:?}");
    }
    let rules =
        Rules { max: 9, min: 0, keep: Keep::For(Duration::ZERO), freeze: Duration::ZERO, queue: 9, patience: PATIENCE };
    let mut roster = Roster::<u32, ()>::new(rules, 1 << 28);
    roster.expect(Instant::now() + Duration::from_secs(5));
    assert_eq!(roster.wanted(Instant::now()), 0, "none is used twice, and so none is made for nobody");
}

#[test]
fn where_there_is_no_memory_to_make_one_ahead_the_timer_rests() {
    let rules =
        Rules { max: 4, min: 0, queue: 10, freeze: Duration::from_millis(100), keep: Keep::Auto, patience: PATIENCE };
    let (mut roster, mut now) = (Roster::new(rules, 24 << 20), Instant::now());
    roster.wait(1, now).unwrap();
    assert_eq!(tick(&mut roster, now), 1);
    roster.ready(now);
    roster.next_waiter(now);
    roster.park(7, now);
    roster.wait(2, now).unwrap();
    roster.began();
    assert_eq!(roster.start_failed(now), Some(2), "the last start failed");
    assert_eq!(roster.evict(), Some(7));
    let mut at_once = 0;
    for _ in 0..10 {
        now += Duration::from_secs(2);
        // As the pool does: the timer is set before it is tried what is wanted, and found that there is no memory.
        roster.review(now);
        at_once += u32::from(roster.due().is_some_and(|due| due <= now));
        if roster.wanted(now) > 0 {
            roster.forgo();
        }
    }
    assert!(at_once <= 1, "{at_once} of 10 times it would be asked again at once");
}
