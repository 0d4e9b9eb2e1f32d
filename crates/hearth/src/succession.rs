//! A server's end that is another one's beginning: what the old one lets go of, and in which order.
//!
//! ```text
//! Yield ─► no trigger begins, each answer ends its connection ─► events' runs end ─► no connection is accepted
//!       ─► all that came in is a call that runs, or answered ─► the data is closed: Yielded
//! Give  ─► idle instances go; calls go on, and each gives its instance ─► all ended: so does this process
//! ```

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use engine::Engine;
use gateway::Parting;
use spawner::{Client, Order};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Answers that end their connections are given for so long before no connection is taken any more: whoever calls now and
/// then within that time has no connection by then that could be closed just as they use it.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long events that run may take to end; they run again otherwise, as after any restart.
pub const EVENTS: Duration = Duration::from_secs(30);

/// What a client sent right after it had been accepted is here by then.
const ON_THE_WAY: Duration = Duration::from_millis(40);

/// How long what came in may take to be answered, or to become a call: a package that is being uploaded. It is cut off then.
const ANSWERS: Duration = Duration::from_secs(5);

/// How long calls that run may take, and connections that have changed their protocol: beyond the longest timeout of a
/// function, 15 minutes.
pub const CALLS: Duration = Duration::from_secs(16 * 60);

/// Calls of the doors that are in the engine.
#[derive(Clone, Default)]
pub struct Inside(Arc<AtomicUsize>);

/// One of them.
pub struct Entered(Inside);

/// Hears the spawner's orders, beside what comes for others.
pub struct Orders {
    orders: mpsc::UnboundedReceiver<Order>,
    docker: Option<Client>,
}

// === impl Inside ===

impl Inside {
    pub fn enter(&self) -> Entered {
        self.0.fetch_add(1, Ordering::SeqCst);
        Entered(self.clone())
    }

    /// Waits until every request is answered, or a call that runs by itself; at most so long.
    pub async fn settled(&self, parting: &Parting) {
        tokio::time::sleep(ON_THE_WAY).await;
        let until = Instant::now() + ANSWERS;
        // In this order: who goes in meanwhile is counted in both.
        while parting.unanswered() > self.0.load(Ordering::SeqCst) {
            if Instant::now() >= until {
                tracing::warn!("requests were not answered within {ANSWERS:?}: they are cut off");
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

// === impl Orders ===

impl Orders {
    pub fn new(orders: mpsc::UnboundedReceiver<Order>, docker: Option<Client>) -> Self {
        Self { orders, docker }
    }

    /// The next one that is the server's own to heed. Cancel-safe.
    pub async fn next(&mut self) -> Order {
        loop {
            match self.orders.recv().await {
                Some(Order::Introduce(socket)) => {
                    if let Some(docker) = self.docker.clone() {
                        // Bounded by the socket's life.
                        tokio::spawn(async move {
                            if let Err(error) = docker.introduce(socket).await {
                                tracing::warn!(%error, "the next server could not be introduced to docker-host");
                            }
                        });
                    }
                }
                Some(order) => return order,
                // The spawner is gone, which is noticed elsewhere.
                None => std::future::pending().await,
            }
        }
    }

    /// Takes instances over until all are here.
    pub async fn inherit(&mut self, engine: &Engine) {
        let (mut taken, mut of) = (0, 0);
        loop {
            match self.next().await {
                Order::Given(about, sandbox) => {
                    of += 1;
                    taken += usize::from(engine.adopt(&about, sandbox));
                }
                Order::GivenAll => break,
                _ => {}
            }
        }
        tracing::info!(taken, of, "took over the idle instances of the server before");
    }

    /// Takes over those that come later, with calls that end in the server before.
    pub fn follow(mut self, engine: Engine) -> mpsc::Receiver<Order> {
        let (sender, orders) = mpsc::channel(4);
        tokio::spawn(async move {
            loop {
                match self.next().await {
                    Order::Given(about, sandbox) => drop(engine.adopt(&about, sandbox)),
                    order => {
                        if sender.send(order).await.is_err() {
                            return;
                        }
                    }
                }
            }
        });
        orders
    }
}

/// Waits until WebSockets are over, which are no calls that an engine waits for.
pub async fn changed_are_over(parting: &Parting) {
    let until = Instant::now() + CALLS;
    while parting.changed() > 0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Bids clients farewell while everything still works, and waits for what may not run in two servers.
pub async fn part(parting: &Parting, runs: impl Future<Output = ()>) {
    parting.bid_farewell();
    parting.set_drain(CALLS);
    tokio::join!(tokio::time::sleep(FAREWELL), runs);
}
