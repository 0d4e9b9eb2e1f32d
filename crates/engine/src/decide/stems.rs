//! How many stems of which shape there shall be, and which one goes first when there are too many.
//!
//! A shape is all that must be known before a sandbox's runtime can run; functions of the same shape share stems. Each
//! shape that a function has is wanted once. Demand, a call that took a stem or found none, raises that for a while to
//! as many as were demanded together. Where there is room for some only, the shapes demanded last have it.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// For how long demand is remembered.
const MEMORY: Duration = Duration::from_secs(60);

/// How long a call that took a stem has the machine to itself before another stem is made: what making one costs is
/// about as much as such a call waits in all.
const REST: Duration = Duration::from_millis(10);

/// First pause after a stem could not be made; doubles with each failure.
const RETRY_FIRST: Duration = Duration::from_secs(1);

/// Longest such pause.
const RETRY_LONGEST: Duration = Duration::from_secs(300);

/// How many there may be.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Stems at once, of all shapes.
    pub most: usize,
    /// Stems at once of one shape.
    pub each: usize,
}

/// `S` names a shape.
#[derive(Debug)]
pub struct Nursery<S> {
    rules: Rules,
    shapes: BTreeMap<S, Shape>,
    /// There was no room for any: none is wanted until then.
    hold: Option<Instant>,
    /// A stem was taken: none is made until then. Another claim within this time does not move it, so that stems are
    /// made also where claims never cease.
    rest: Option<Instant>,
}

#[derive(Debug)]
struct Shape {
    /// Pools whose functions have this shape.
    users: u32,
    /// Somebody who is no user wants stems until then.
    guest: Option<Instant>,
    ready: usize,
    starting: usize,
    /// The latest calls that wanted a stem, at most as many as there may be stems.
    demand: VecDeque<Instant>,
    /// When a stem of this shape was last wanted, or it first was there to be wanted.
    fresh: Instant,
    failures: u32,
    retry: Option<Instant>,
}

// === impl Nursery ===

impl<S: Clone + Ord> Nursery<S> {
    pub fn new(rules: Rules) -> Self {
        Self { rules, shapes: BTreeMap::new(), hold: None, rest: None }
    }

    fn shape(&mut self, shape: &S, now: Instant) -> &mut Shape {
        self.shapes.entry(shape.clone()).or_insert_with(|| Shape {
            users: 0,
            guest: None,
            ready: 0,
            starting: 0,
            demand: VecDeque::new(),
            fresh: now,
            failures: 0,
            retry: None,
        })
    }

    /// A pool has this shape from now on.
    pub fn join(&mut self, shape: &S, now: Instant) {
        self.shape(shape, now).users += 1;
    }

    /// A pool that had joined is gone.
    pub fn leave(&mut self, shape: &S) {
        if let Some(known) = self.shapes.get_mut(shape) {
            known.users = known.users.saturating_sub(1);
        }
    }

    /// Stems of this shape are wanted until then, though no pool has joined.
    pub fn visit(&mut self, shape: &S, now: Instant, until: Instant) {
        self.shape(shape, now).guest = Some(until);
    }

    /// A call wants a stem. True if there is one, which it takes.
    pub fn claim(&mut self, shape: &S, now: Instant) -> bool {
        let each = self.rules.each;
        let known = self.shape(shape, now);
        known.fresh = now;
        known.demand.push_back(now);
        while known.demand.len() > each {
            known.demand.pop_front();
        }
        let taken = known.ready > 0;
        known.ready -= usize::from(taken);
        if taken && self.rest.is_none_or(|until| until <= now) {
            self.rest = Some(now + REST);
        }
        taken
    }

    /// The shape that a stem is to be made of now, memory allowing: [`Nursery::began`] if one is.
    pub fn wanted(&self, now: Instant) -> Option<S> {
        if self.hold.max(self.rest).is_some_and(|until| now < until) {
            return None;
        }
        let (most, all) = (self.rules.most, self.count());
        let lacking = self.shapes.iter().filter(|(_, shape)| {
            let waits = shape.retry.is_some_and(|retry| now < retry);
            !waits && shape.there() < shape.target(now, self.rules.each)
        });
        // A shape without any goes before a second one for another.
        let (shape, lacks) = lacking.max_by_key(|(_, shape)| (shape.there() == 0, shape.fresh))?;
        // At the limit one has to go for it first: see `surplus`.
        let fits = all < most || (lacks.there() == 0 && most > 0 && self.one_gives_way(lacks.fresh));
        fits.then(|| shape.clone())
    }

    pub fn began(&mut self, shape: &S) {
        if let Some(known) = self.shapes.get_mut(shape) {
            known.starting += 1;
        }
    }

    /// A stem is there.
    pub fn ready(&mut self, shape: &S) {
        if let Some(known) = self.shapes.get_mut(shape) {
            known.starting -= 1;
            known.ready += 1;
            (known.failures, known.retry) = (0, None);
        }
    }

    /// A stem could not be made: the next try waits.
    pub fn failed(&mut self, shape: &S, now: Instant) {
        if let Some(known) = self.shapes.get_mut(shape) {
            known.starting -= 1;
            let pause = RETRY_FIRST.saturating_mul(1 << known.failures.min(16)).min(RETRY_LONGEST);
            known.failures = known.failures.saturating_add(1);
            known.retry = Some(now + pause);
        }
    }

    /// There was no room for one, and so for none of any shape: looked at again a little later.
    pub fn postponed(&mut self, shape: &S, now: Instant) {
        if let Some(known) = self.shapes.get_mut(shape) {
            known.starting -= 1;
        }
        self.hold = Some(now + RETRY_FIRST);
    }

    /// A stem is gone that nobody had claimed.
    pub fn lost(&mut self, shape: &S) {
        if let Some(known) = self.shapes.get_mut(shape) {
            known.ready = known.ready.saturating_sub(1);
        }
    }

    /// A shape of which a stem is to go: more than wanted, or of all shapes together too many. Forgets the shapes
    /// that nobody has any more.
    pub fn surplus(&mut self, now: Instant) -> Option<S> {
        self.shapes.retain(|_, shape| shape.there() > 0 || shape.is_used(now));
        let each = self.rules.each;
        let over = self.shapes.iter().find(|(_, shape)| shape.ready > 0 && shape.there() > shape.target(now, each));
        if let Some((shape, _)) = over {
            return Some(shape.clone());
        }
        if self.count() <= self.rules.most {
            return None;
        }
        self.stalest_ready()
    }

    /// The shape whose stem is the least likely to be wanted soon: to be given up when memory is short.
    pub fn stalest_ready(&self) -> Option<S> {
        let ready = self.shapes.iter().filter(|(_, shape)| shape.ready > 0);
        // One of several first, then the shape that was wanted the longest ago.
        let (shape, _) = ready.min_by_key(|(_, shape)| (shape.there() == 1, shape.fresh))?;
        Some(shape.clone())
    }

    /// Whether a stem may go for a shape wanted at `fresh` that has none.
    fn one_gives_way(&self, fresh: Instant) -> bool {
        self.shapes.values().any(|shape| shape.ready > 0 && (shape.there() > 1 || shape.fresh < fresh))
    }

    /// When [`Nursery::wanted`] or [`Nursery::surplus`] will have something that they do not have now.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        let times = self.shapes.values().flat_map(|shape| {
            let fades = shape.demand.iter().map(|at| *at + MEMORY);
            fades.chain(shape.retry).chain(shape.guest)
        });
        times.chain(self.hold).chain(self.rest).filter(|time| *time > now).min()
    }

    fn count(&self) -> usize {
        self.shapes.values().map(Shape::there).sum()
    }

    /// Every shape with what there is of it: ready, being made.
    pub fn counts(&self) -> impl Iterator<Item = (&S, usize, usize)> {
        self.shapes.iter().map(|(shape, known)| (shape, known.ready, known.starting))
    }
}

// === impl Shape ===

impl Shape {
    fn there(&self) -> usize {
        self.ready + self.starting
    }

    fn is_used(&self, now: Instant) -> bool {
        self.users > 0 || self.guest.is_some_and(|until| now < until)
    }

    fn target(&self, now: Instant, each: usize) -> usize {
        if !self.is_used(now) {
            return 0;
        }
        self.demand.iter().filter(|at| now < **at + MEMORY).count().max(1).min(each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Op {
        Join(u8),
        Leave(u8),
        Claim(u8),
        Made { well: bool },
        Lost(u8),
        Tick(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            2 => (0u8..5).prop_map(Op::Join),
            1 => (0u8..5).prop_map(Op::Leave),
            6 => (0u8..5).prop_map(Op::Claim),
            6 => prop::bool::weighted(0.8).prop_map(|well| Op::Made { well }),
            1 => (0u8..5).prop_map(Op::Lost),
            2 => (0u64..90_000).prop_map(Op::Tick),
        ]
    }

    /// Does what the engine does: one at a time, and gives up what is too much.
    fn settle(nursery: &mut Nursery<u8>, making: &mut Vec<u8>, now: Instant) {
        while let Some(shape) = nursery.surplus(now) {
            nursery.lost(&shape);
        }
        if making.is_empty()
            && let Some(shape) = nursery.wanted(now)
        {
            nursery.began(&shape);
            making.push(shape);
            while let Some(shape) = nursery.surplus(now) {
                nursery.lost(&shape);
            }
        }
    }

    proptest! {
        #[test]
        fn never_too_many_and_none_that_nobody_wants(
            most in 0usize..6,
            each in 1usize..4,
            ops in prop::collection::vec(op(), 0..200),
        ) {
            let mut nursery = Nursery::new(Rules { most, each });
            let (mut now, mut making, mut users) = (Instant::now(), Vec::new(), [0u32; 5]);
            for op in ops {
                match op {
                    Op::Join(shape) => {
                        nursery.join(&shape, now);
                        users[usize::from(shape)] += 1;
                    }
                    Op::Leave(shape) if users[usize::from(shape)] > 0 => {
                        nursery.leave(&shape);
                        users[usize::from(shape)] -= 1;
                    }
                    Op::Claim(shape) if users[usize::from(shape)] > 0 => {
                        let had = nursery.counts().any(|(one, ready, _)| *one == shape && ready > 0);
                        prop_assert_eq!(nursery.claim(&shape, now), had);
                    }
                    Op::Made { well } => match making.pop() {
                        Some(shape) if well => nursery.ready(&shape),
                        Some(shape) => nursery.failed(&shape, now),
                        None => {}
                    },
                    Op::Lost(shape) => {
                        if nursery.counts().any(|(one, ready, _)| *one == shape && ready > 0) {
                            nursery.lost(&shape);
                        }
                    }
                    Op::Tick(millis) => now += Duration::from_millis(millis),
                    Op::Leave(_) | Op::Claim(_) => {}
                }
                settle(&mut nursery, &mut making, now);
                let counts: Vec<_> = nursery.counts().map(|(shape, ready, starting)| (*shape, ready, starting)).collect();
                let all: usize = counts.iter().map(|(_, ready, starting)| ready + starting).sum();
                prop_assert!(all <= most, "{} of {}", all, most);
                for (shape, ready, starting) in counts {
                    prop_assert!(ready + starting <= each);
                    prop_assert!(ready == 0 || users[usize::from(shape)] > 0, "a stem that nobody can claim");
                }
            }
        }
    }

    fn fill(nursery: &mut Nursery<u8>, now: Instant) {
        while let Some(shape) = nursery.wanted(now) {
            nursery.began(&shape);
            nursery.ready(&shape);
            while let Some(shape) = nursery.surplus(now) {
                nursery.lost(&shape);
            }
        }
    }

    fn ready(nursery: &Nursery<u8>) -> Vec<(u8, usize)> {
        nursery.counts().map(|(shape, ready, _)| (*shape, ready)).filter(|(_, ready)| *ready > 0).collect()
    }

    #[test]
    fn one_is_kept_for_each_shape_and_more_while_more_are_wanted() {
        let mut nursery = Nursery::new(Rules { most: 8, each: 4 });
        let now = Instant::now();
        nursery.join(&1, now);
        nursery.join(&2, now);
        fill(&mut nursery, now);
        assert_eq!(ready(&nursery), [(1, 1), (2, 1)]);
        let taken: Vec<_> = (0..3).map(|_| nursery.claim(&2, now)).collect();
        assert_eq!(taken, [true, false, false]);
        assert_eq!(nursery.wanted(now), None, "the call that took it comes first");
        assert_eq!(nursery.due(now), Some(now + REST));
        let now = now + REST;
        fill(&mut nursery, now);
        assert_eq!(ready(&nursery), [(1, 1), (2, 3)]);
        let later = now + MEMORY;
        while let Some(shape) = nursery.surplus(later) {
            nursery.lost(&shape);
        }
        assert_eq!(ready(&nursery), [(1, 1), (2, 1)]);
    }

    #[test]
    fn stems_are_made_also_while_others_are_taken() {
        let mut nursery = Nursery::new(Rules { most: 8, each: 4 });
        let (mut now, mut made) = (Instant::now(), 0);
        nursery.join(&1, now);
        fill(&mut nursery, now);
        for _ in 0..100 {
            now += REST / 5;
            nursery.claim(&1, now);
            if nursery.wanted(now).is_some() {
                nursery.began(&1);
                nursery.ready(&1);
                made += 1;
            }
        }
        assert!(made >= 100 / 10, "{made} in {:?}", REST * 20);
    }

    #[test]
    fn where_there_is_room_for_few_the_shapes_wanted_last_have_it() {
        let mut nursery = Nursery::new(Rules { most: 2, each: 4 });
        let mut now = Instant::now();
        for shape in 1..=3 {
            now += Duration::from_millis(1);
            nursery.join(&shape, now);
        }
        fill(&mut nursery, now);
        assert_eq!(ready(&nursery), [(2, 1), (3, 1)]);
        now += Duration::from_millis(1);
        assert!(!nursery.claim(&1, now));
        fill(&mut nursery, now);
        assert_eq!(ready(&nursery), [(1, 1), (3, 1)]);
    }

    #[test]
    fn a_shape_that_cannot_be_made_is_tried_less_and_less_often() {
        let mut nursery = Nursery::new(Rules { most: 2, each: 1 });
        let start = Instant::now();
        let (mut now, mut tries) = (start, 0);
        nursery.join(&1, now);
        while now < start + Duration::from_secs(3600) {
            while let Some(shape) = nursery.wanted(now) {
                nursery.began(&shape);
                nursery.failed(&shape, now);
                tries += 1;
            }
            now = nursery.due(now).expect("it will be tried again");
        }
        assert!((10..30).contains(&tries), "{tries} in an hour");
    }
}
