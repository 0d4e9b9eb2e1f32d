//! What is known of functions' calls, learnt again from the records of those before the server began.
//!
//! Nothing of a [`Habit`] is stored: the records are, and say the same. They are read once, after calls are taken
//! already; who has learnt something new by then keeps that.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use model::{Door, FunctionName, Isolation, Record, Timestamp};
use store::RecordQuery;

use crate::decide::habit::Habit;
use crate::shared::Shared;

/// Calls that are looked at, the latest ones.
const CALLS: usize = 20_000;

/// How far back they are looked for.
const BACK: Duration = Duration::from_secs(24 * 3600);

pub async fn recall(shared: Weak<Shared>) {
    let Some(telemetry) = shared.upgrade().map(|shared| shared.telemetry.clone()) else { return };
    let query = RecordQuery {
        since: Some(Timestamp::now() - BACK),
        except: Some(Door::Compare),
        limit: CALLS,
        ..RecordQuery::default()
    };
    let records = match telemetry.records(query).await {
        Ok(records) => records,
        Err(error) => {
            tracing::warn!(%error, "the records of calls could not be read: idle times are learnt anew");
            return;
        }
    };
    let Some(shared) = shared.upgrade() else { return };
    for ((name, isolation), calls) in by_pool(&shared, records) {
        let pools = shared.catalogue.find(&name).map(|entry| entry.pools()).unwrap_or_default();
        for pool in pools.iter().filter(|pool| pool.isolation == isolation) {
            pool.recall(&learnt(&calls));
        }
    }
}

/// From when to when calls were there, microseconds since the epoch.
type Calls = Vec<(i64, i64)>;

fn by_pool(shared: &Arc<Shared>, records: Vec<Record>) -> HashMap<(FunctionName, Isolation), Calls> {
    let mut pools: HashMap<_, Calls> = HashMap::new();
    for record in records {
        let Some(entry) = shared.catalogue.find(&record.function) else { continue };
        // Of another function, which had this name before and was removed.
        let (now, then) = (entry.function.revision, record.revision);
        if then > now || then == now && record.received < entry.function.modified {
            continue;
        }
        let Some(isolation) = record.isolation else { continue };
        // None is over before it began, see below.
        let took = Duration::from_micros(record.queued_us.saturating_add(record.handler_us).max(1));
        let call = (record.received.micros(), (record.received + took).micros());
        pools.entry((record.function, isolation)).or_default().push(call);
    }
    pools
}

fn learnt(calls: &Calls) -> Habit {
    let mut changes: Vec<(i64, bool)> = calls.iter().flat_map(|(from, to)| [(*from, true), (*to, false)]).collect();
    // Ends first: a call that begins when another ends takes its instance.
    changes.sort_unstable();
    let mut habit = Habit::new(0);
    let first = changes.first().map_or(0, |(at, _)| *at);
    // Any moment will do: only what lies between them is learnt.
    let zero = std::time::Instant::now();
    let mut running = 0_usize;
    for (at, begins) in changes {
        running = if begins { running + 1 } else { running.saturating_sub(1) };
        habit.calls(running, zero + Duration::from_micros(u64::try_from(at - first).unwrap_or(0)));
    }
    habit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_say_what_idle_times_there_were() {
        let minute = 60_000_000;
        let calls: Calls = (0..40).map(|number| (number * 30 * minute, number * 30 * minute + 1_000)).collect();
        let mut habit = Habit::new(256 << 20);
        habit.inherit(&learnt(&calls));
        let decision = habit.decision();
        assert_eq!(decision.seen, 39);
        assert!(
            decision.kept.iter().any(|span| span.from > 0.0 && span.from < 1800.0 && 1800.0 < span.to),
            "{decision:?}"
        );
        assert!(learnt(&Vec::new()).decision().seen == 0);
    }
}
