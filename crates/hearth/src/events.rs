//! Asynchronous events on this machine: the dispatcher, with the engine as what runs them; the ticker of schedules; event
//! sources.

use std::sync::Arc;

use control::{BoxFuture, SourcesState};
use engine::Engine;
use model::{AllowedMount, Fault, Function, FunctionName, Invocation, Outcome, SourceStatus, Timestamp};
use store::sqlite::{SqliteQueue, SqliteStore};
use store::{Functions, Queue, Schedules, StoreError};
use triggers::{
    Ahead, Canaries, CanaryOptions, Dispatcher, EventSources, Limits, Options, Runner, SourceOptions, Ticker,
    TickerOptions,
};

/// The engine, as the dispatcher sees it.
#[derive(Clone)]
struct Direct(Engine);

impl Runner for Direct {
    fn function(&self, name: &FunctionName) -> Option<Arc<Function>> {
        self.0.function(name)
    }

    async fn invoke(&self, invocation: Invocation) -> Result<Outcome, Fault> {
        self.0.invoke(invocation).await
    }
}

/// Begins to run events, those first that an earlier server left.
pub async fn start(engine: Engine, queue: Arc<dyn Queue>) -> Result<Dispatcher, StoreError> {
    let options = Options {
        runner: Direct(engine),
        queue,
        clock: Arc::new(Timestamp::now),
        region: model::place().0.into(),
        account: model::place().1.into(),
        limits: Limits::default(),
    };
    Dispatcher::start(options).await
}

/// Begins to make events of schedules; those first that were missed.
pub fn tick(engine: Engine, functions: Arc<dyn Functions>, schedules: Arc<dyn Schedules>) -> Ticker {
    let (region, account) = (model::place().0.into(), model::place().1.into());
    let ahead: Ahead = Arc::new(move |function, soon| engine.expect(function, soon));
    let clock = Arc::new(Timestamp::now);
    Ticker::start(TickerOptions { functions, schedules, clock, region, account, ahead: Some(ahead) })
}

/// Begins to see to canaries; first to those that an earlier server began.
pub fn canaries(store: &Arc<SqliteStore>) -> Canaries {
    let changes = Functions::changes(store.as_ref());
    let (versions, telemetry) = (store.clone(), store.clone());
    Canaries::start(CanaryOptions { versions, telemetry, changes, clock: Arc::new(Timestamp::now) })
}

/// The sources that run, as the API sees them.
pub struct Sources(pub EventSources);

impl SourcesState for Sources {
    fn statuses(&self) -> Vec<SourceStatus> {
        self.0.statuses()
    }

    fn pause(&self, function: FunctionName, source: String, paused: bool) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.0.pause(function, source, paused))
    }
}

/// Begins with every event source that is deployed. `installation` tells this Hearth from others at one broker.
pub async fn sources(
    engine: Engine,
    store: Arc<SqliteStore>,
    queue: Arc<SqliteQueue>,
    allowed: Vec<AllowedMount>,
    installation: String,
) -> Result<EventSources, StoreError> {
    let options = SourceOptions {
        runner: Direct(engine),
        functions: store.clone(),
        sources: queue.clone(),
        messages: queue,
        secrets: store,
        allowed,
        installation,
        clock: Arc::new(Timestamp::now),
        region: model::place().0.into(),
        account: model::place().1.into(),
    };
    EventSources::start(options).await
}
