//! Looks every few seconds at which instances there are, for the figures of how many there were, and at what they sent and
//! received.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use engine::Engine;
use store::Observe;
use store::observe::InstanceTime;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// Twice in the finest step of what is kept.
const PERIOD: Duration = Duration::from_secs(5);

/// Runs until the server drains.
pub async fn sample(engine: Engine, observe: Arc<dyn Observe>, mut closing: watch::Receiver<bool>) {
    let mut ticks = interval_at(Instant::now() + PERIOD, PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = closing.wait_for(|closing| *closing) => return,
        }
        count_traffic(&engine, &*observe);
        let mut times = HashMap::new();
        for one in engine.instances() {
            // As if each were for the whole period what it is now.
            let millis = PERIOD.as_millis() as u64;
            let kind = (one.function, one.revision, one.version, one.isolation, one.state as u8);
            let sum = times.entry(kind).or_insert((one.state, 0u64));
            sum.1 += millis;
        }
        if times.is_empty() {
            continue;
        }
        let time = |((function, revision, version, isolation, _), (state, millis))| InstanceTime {
            function,
            revision,
            version,
            isolation,
            state,
            millis,
        };
        observe.instances(times.into_iter().map(time).collect());
    }
}

/// Has the figures told what networks carried since the last time. Also at a server's end: its last instances have not been
/// looked at since `closing`.
pub fn count_traffic(engine: &Engine, observe: &dyn Observe) {
    let traffic = engine.traffic();
    if !traffic.is_empty() {
        observe.traffic(traffic);
    }
}
