//! Places for calls in the instances of a web function: so many in each as its `concurrency` says.
//!
//! ```text
//! sit ──► an open instance has a free seat ──────────────────────────────► seat
//!  │ none: wait in line; for each `concurrency` that wait, one of them
//!  │       asks the pool for an instance ──► lease ──► open, tended ─────► seats for the line
//!  └ whichever comes first
//!
//! open ──last seat free, and LINGER later still──► lease given back: idle, as far as the pool knows
//!   └──ended, or one call ran out of time──► takes no more; lease dropped when the last is done: killed
//! ```
//!
//! To the pool an instance with any seat taken is one busy instance: how it scales, keeps, freezes and evicts is the
//! same for all functions.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use driver::Exit;
use model::{Fault, RequestId};
use tokio::sync::{Notify, oneshot, watch};

use crate::decide::roster::Take;
use crate::draining;
use crate::instance::Info;
use crate::log::Sink;
use crate::pool::{Grant, Lease, Pool};
use crate::shared::{Shared, lock};
use crate::start::Why;
use crate::web::connection::Sender;
use crate::web::flight::Flight;
use crate::web::h2c;
use crate::web::turn::Turn;

/// How long an instance stays open with no call in it: who calls again soon finds its connection, and a server whose client
/// left has the time to notice before its processes are stopped. Servers keep idle connections for seconds.
const LINGER: Duration = Duration::from_millis(500);

/// How often who waits in line looks whether somebody asks for an instance.
const AGAIN: Duration = Duration::from_millis(100);

/// How often an instance that had ended unnoticed is replaced by another for one call.
const STALE_LIMIT: u32 = 3;

/// Of one pool.
#[derive(Default)]
pub struct Seats(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Those that take calls.
    open: Vec<Arc<Open>>,
    /// Calls that ask the pool for an instance.
    leaders: usize,
    line: VecDeque<oneshot::Sender<Result<Seat, Fault>>>,
}

/// An instance with calls in it.
pub struct Open {
    pub info: Arc<Info>,
    stream: OwnedFd,
    exit: watch::Receiver<Option<Exit>>,
    seats: Arc<Mutex<State>>,
    limit: usize,
    places: Mutex<Places>,
    connections: Mutex<Vec<Sender>>,
    /// The one connection of a server that speaks HTTP/2.
    shared: Mutex<Option<h2c::Sender>>,
    /// Whose lines those that it prints are.
    turn: Turn,
    /// A seat came free, or it was retired.
    changed: Notify,
}

/// Changed only under the lock of [`Seats`].
#[derive(Default)]
struct Places {
    taken: usize,
    retired: bool,
}

/// A place in an instance; given back when dropped.
pub struct Seat(Option<Arc<Open>>);

/// Leads until dropped.
struct Leader<'a>(&'a Seats);

// === impl Seats ===

/// Finds a seat for the call. False: the function was deployed anew, and is to be looked up again.
pub async fn sit(shared: &Arc<Shared>, pool: &Arc<Pool>, flight: &mut Flight) -> Result<bool, Fault> {
    let seats = &pool.seats;
    let limit = pool.function.spec.scale.concurrency.max(1) as usize;
    let (mut receiver, leader) = {
        let mut state = lock(&seats.0);
        if let Some(seat) = state.free() {
            drop(state);
            flight.sits(seat);
            return Ok(true);
        }
        state.line.retain(|waiter| !waiter.is_closed());
        if state.line.len() >= shared.limits.queue {
            return Err(pool.too_many());
        }
        let leads = state.leaders * limit <= state.line.len();
        state.leaders += usize::from(leads);
        let (sender, receiver) = oneshot::channel();
        state.line.push_back(sender);
        (receiver, leads.then(|| Leader(seats)))
    };
    let given = match leader {
        None => {
            let until = flight.entered() + shared.limits.queue_wait;
            loop {
                match tokio::time::timeout(AGAIN, &mut receiver).await {
                    Ok(given) => break given.ok(),
                    // A start is under way, which is bounded.
                    Err(_) if lock(&seats.0).leaders > 0 => {}
                    Err(_) if tokio::time::Instant::now() >= until => return Err(pool.too_many()),
                    // Who asked has found a seat meanwhile: somebody else has to.
                    Err(_) => break None,
                }
            }
        }
        Some(leader) => {
            let leased = {
                let mut asking = pin!(lease(shared, pool, flight));
                tokio::select! {
                    biased;
                    given = &mut receiver => Err(given.ok()),
                    leased = &mut asking => Ok(leased),
                }
            };
            match leased {
                Err(given) => given,
                Ok(Ok(Some(lease))) => {
                    // Its own place in the line is not needed.
                    drop(receiver);
                    let seat = open(shared, pool, lease, limit);
                    drop(leader);
                    seat.map(Ok)
                }
                Ok(Ok(None)) => None,
                Ok(Err(fault)) => {
                    leader.tell_all(&fault);
                    Some(Err(fault))
                }
            }
        }
    };
    match given {
        Some(Ok(seat)) => {
            flight.sits(seat);
            Ok(true)
        }
        Some(Err(fault)) => Err(fault),
        None => Ok(false),
    }
}

/// An instance of the pool's. None: look the function up again.
async fn lease(shared: &Arc<Shared>, pool: &Arc<Pool>, flight: &mut Flight) -> Result<Option<Lease>, Fault> {
    for _ in 0..=STALE_LIMIT {
        let (mut lease, cold) = match pool.take() {
            Take::Idle(lease) => (lease, None),
            Take::Closed => return Ok(None),
            Take::None => {
                let until = flight.entered() + shared.limits.queue_wait;
                match pool.wait(shared, until.into_std()).await? {
                    Grant::Ready(lease, cold) => (lease, cold),
                    Grant::Moved if shared.is_stopped() => return Err(draining()),
                    Grant::Moved => return Ok(None),
                    Grant::Failed(failed) => {
                        let stopped = shared.is_stopped() && matches!(failed.why, Why::Exited(_));
                        let cold = failed.cold;
                        flight.was_cold(Some(Box::new(cold)));
                        let told = if stopped { Err(draining()) } else { failed.why.told(flight.id()) };
                        return Err(told.map_or_else(|fault| fault, |error| error.fault));
                    }
                }
            }
        };
        let Some(instance) = lease.instance() else { continue };
        let info = instance.info.clone();
        let mut sink = Sink::new(&*pool.telemetry, &pool.function.spec.name, &info.id);
        if instance.io.catch_up(&mut sink).is_ok() && instance.is_usable() {
            flight.was_cold(cold);
            return Ok(Some(lease));
        }
    }
    Err(pool.no_capacity())
}

/// Has an instance tended, with a seat in it for who asked and for who waits.
fn open(shared: &Arc<Shared>, pool: &Arc<Pool>, mut lease: Lease, limit: usize) -> Option<Seat> {
    let instance = lease.instance()?;
    let stream = instance.io.invoke_fd().try_clone_to_owned().ok()?;
    let open = Arc::new(Open {
        info: instance.info.clone(),
        stream,
        exit: instance.exit.clone(),
        seats: pool.seats.0.clone(),
        limit,
        places: Mutex::new(Places { taken: 1, retired: false }),
        connections: Mutex::default(),
        shared: Mutex::default(),
        turn: Turn::new(limit),
        changed: Notify::new(),
    });
    let mut state = lock(&pool.seats.0);
    state.open.push(open.clone());
    while let Some(waiter) = state.line.pop_front() {
        let Some(seat) = state.free() else {
            state.line.push_front(waiter);
            break;
        };
        if let Err(Ok(seat)) = waiter.send(Ok(seat)) {
            seat.undo();
        }
    }
    drop(state);
    shared.spawn(tend(pool.clone(), open.clone(), lease));
    Some(Seat(Some(open)))
}

/// Takes what the instance prints, as long as it is open, and gives it back.
async fn tend(pool: Arc<Pool>, open: Arc<Open>, mut lease: Lease) {
    let Some(instance) = lease.instance() else { return };
    let mut sink = Sink::new(&*pool.telemetry, &pool.function.spec.name, &open.info.id);
    let mut exit = instance.exit.clone();
    let mut gone = pin!(exit.wait_for(Option::is_some));
    let (mut ended, mut idle) = (false, None);
    loop {
        let mut changed = pin!(open.changed.notified());
        changed.as_mut().enable();
        let (taken, retired) = open.counts();
        if taken == 0 && retired {
            break;
        }
        let mut linger = pin!(tokio::time::sleep(LINGER));
        if taken > 0 {
            idle = None;
        }
        let since = *idle.get_or_insert_with(tokio::time::Instant::now);
        if taken == 0 {
            linger.as_mut().reset(since + LINGER);
        }
        let over = poll_fn(|cx| {
            instance.io.poll_log(cx, &mut sink);
            // Those of the call before have been read.
            open.turn.goes_on(&mut sink);
            if !ended {
                let broken = instance.io.poll_log_frames(cx, &mut sink).is_err() || !instance.io.is_open();
                if broken || gone.as_mut().poll(cx).is_ready() {
                    ended = true;
                    return Poll::Ready(false);
                }
            }
            if taken == 0 && linger.as_mut().poll(cx).is_ready() {
                return Poll::Ready(true);
            }
            changed.as_mut().poll(cx).map(|()| false)
        });
        let over = over.await;
        // Once: it tells of itself that something changed.
        if ended && !retired {
            open.retire();
        }
        if over {
            let _ = instance.io.drain(&mut sink);
            instance.usage_after(Instant::now(), Duration::MAX);
            // Held until it is given back: who finds it open no more must find it in the pool.
            let mut state = lock(&pool.seats.0);
            if open.counts() == (0, false) {
                state.open.retain(|one| !Arc::ptr_eq(one, &open));
                lock(&open.connections).clear();
                *lock(&open.shared) = None;
                lease.release();
                return;
            }
        }
    }
    let _ = instance.io.drain(&mut sink);
    instance.usage_after(Instant::now(), Duration::MAX);
}

// === impl State ===

impl State {
    /// A seat in an instance that is in use.
    fn free(&mut self) -> Option<Seat> {
        self.open.iter().find(|open| open.take()).map(|open| Seat(Some(open.clone())))
    }
}

// === impl Open ===

impl Open {
    pub fn stream(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    fn take(&self) -> bool {
        let mut places = lock(&self.places);
        let free = places.taken < self.limit && !places.retired;
        places.taken += usize::from(free);
        free
    }

    fn counts(&self) -> (usize, bool) {
        let places = lock(&self.places);
        (places.taken, places.retired)
    }

    /// It takes no further calls.
    pub fn retire(&self) {
        let mut state = lock(&self.seats);
        state.open.retain(|one| !std::ptr::eq(&**one, self));
        lock(&self.places).retired = true;
        drop(state);
        self.changed.notify_one();
    }

    /// A connection that waits for a request.
    pub fn idle(&self) -> Option<Sender> {
        let mut connections = lock(&self.connections);
        std::iter::from_fn(|| connections.pop()).find(|sender| !sender.is_closed())
    }

    pub fn give_back(&self, sender: Sender) {
        if !sender.is_closed() {
            lock(&self.connections).push(sender);
        }
    }

    /// The connection that all calls share.
    pub fn shared(&self) -> Option<h2c::Sender> {
        lock(&self.shared).as_ref().filter(|sender| !sender.is_closed()).cloned()
    }

    pub fn share(&self, sender: h2c::Sender) {
        *lock(&self.shared) = Some(sender);
    }

    /// What is printed from here on is the call's, if it is the only one. What was printed before it is not.
    pub async fn turns_to(&self, call: RequestId) {
        if self.turn.asks(call) {
            self.changed.notify_one();
            self.turn.turned().await;
        }
    }

    /// How its sandbox ended, if it does within that time.
    pub async fn ended(&self, within: Duration) -> Option<Exit> {
        let mut exit = self.exit.clone();
        let ended = tokio::time::timeout(within, exit.wait_for(Option::is_some)).await;
        ended.ok()?.ok()?.clone()
    }

    /// Writes a line of the platform into the function's log.
    pub fn say(&self, pool: &Pool, id: RequestId, text: String) {
        Sink::new(&*pool.telemetry, &pool.function.spec.name, &self.info.id).of(id, None).platform(text);
    }
}

// === impl Seat ===

impl Seat {
    pub fn open(&self) -> &Arc<Open> {
        self.0.as_ref().expect("a seat is in an instance")
    }

    /// Gives it back where the lock is held already, and nobody waits.
    fn undo(mut self) {
        if let Some(open) = self.0.take() {
            lock(&open.places).taken -= 1;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(open) = self.0.take() else { return };
        let mut state = lock(&open.seats);
        let mut places = lock(&open.places);
        if !places.retired {
            while let Some(waiter) = state.line.pop_front() {
                match waiter.send(Ok(Seat(Some(open.clone())))) {
                    Ok(()) => return,
                    // Its owner is gone.
                    Err(Ok(mut seat)) => drop(seat.0.take()),
                    Err(Err(_)) => {}
                }
            }
        }
        places.taken -= 1;
        let empty = places.taken == 0;
        drop((places, state));
        if empty {
            open.changed.notify_one();
        }
    }
}

// === impl Leader ===

impl Leader<'_> {
    /// Nobody who waits would fare better.
    fn tell_all(&self, fault: &Fault) {
        for waiter in lock(&self.0.0).line.drain(..) {
            let _ = waiter.send(Err(fault.clone()));
        }
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.0);
        state.leaders -= 1;
        if state.leaders == 0 && state.open.is_empty() {
            // Nobody asks for an instance any more: those who wait look again, and one of them does.
            state.line.clear();
        }
    }
}
