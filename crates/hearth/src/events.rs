//! Asynchronous events on this machine: the dispatcher, with the engine as what runs them; the ticker of schedules.

use std::sync::Arc;

use engine::Engine;
use model::{Fault, Function, FunctionName, Invocation, Outcome, Timestamp};
use store::{Functions, Queue, Schedules, StoreError};
use triggers::{Dispatcher, Limits, Options, Runner, Ticker, TickerOptions};

use crate::server::{ACCOUNT, REGION};

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
        region: REGION.into(),
        account: ACCOUNT.into(),
        limits: Limits::default(),
    };
    Dispatcher::start(options).await
}

/// Begins to make events of schedules; those first that were missed.
pub fn tick(functions: Arc<dyn Functions>, schedules: Arc<dyn Schedules>) -> Ticker {
    let (region, account) = (REGION.into(), ACCOUNT.into());
    Ticker::start(TickerOptions { functions, schedules, clock: Arc::new(Timestamp::now), region, account })
}
