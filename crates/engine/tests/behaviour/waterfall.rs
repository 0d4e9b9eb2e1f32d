//! Where the time of a call went, as its record has it.

use std::time::Duration;

use engine::StemRules;
use model::waterfall::Stage;
use model::{FaultCode, Record, RecordOutcome};

use crate::world::{World, until};

fn names(stages: &[Stage]) -> Vec<&str> {
    stages.iter().map(|stage| &*stage.name).collect()
}

fn took(record: &Record, name: &str) -> u64 {
    record.stages.iter().find(|stage| stage.name == name).map_or(0, |stage| stage.took_us)
}

/// One after the other, from the receipt on, and the parts of each fill it.
fn check(record: &Record) {
    let mut end = 0;
    for stage in &record.stages {
        assert_eq!(stage.start_us, end, "{:?}", record.stages);
        let parts: u64 = stage.parts.iter().map(|part| part.took_us).sum();
        assert!(stage.parts.is_empty() || parts == stage.took_us, "{stage:?}");
        end = stage.end_us();
    }
    let known = record.queued_us + record.handler_us;
    assert!(end >= known && end < known + 50_000, "{end} µs in stages, {known} in the record's figures");
}

#[tokio::test]
async fn a_cold_call_knows_where_all_its_time_went() {
    let world = World::new().await;
    world.driver.set(|script| {
        script.traces = 1;
        script.init = Duration::from_millis(20);
    });
    world.deploy("f", |_| {}).await;
    let record = world.call("f", "sleep 30").await.unwrap().record;
    check(&record);
    let known = ["door", "place", "turn", "sandbox", "set-up", "runtime", "init", "handover", "handler", "answer"];
    let mut expected = known.iter();
    // Those that took less than a microsecond are not there.
    for name in names(&record.stages) {
        assert!(expected.any(|known| *known == name), "{name} is out of order: {:?}", record.stages);
    }
    assert!(took(&record, "init") >= 20_000 && took(&record, "handler") >= 30_000, "{:?}", record.stages);
    let set_up = record.stages.iter().find(|stage| stage.name == "set-up").unwrap();
    assert_eq!(set_up.parts.iter().map(|part| &*part.name).collect::<Vec<_>>(), ["user", "mounts"]);
    let init = record.stages.iter().find(|stage| stage.name == "init").unwrap();
    assert!(init.parts.iter().any(|part| part.name == "load" && part.took_us >= 20_000), "{init:?}");
}

#[tokio::test]
async fn a_warm_call_keeps_no_list_and_has_a_waterfall() {
    let world = World::new().await;
    world.deploy("f", |_| {}).await;
    world.call("f", "x").await.unwrap();
    let record = world.call("f", "sleep 5").await.unwrap().record;
    assert!(!record.cold && record.stages.is_empty());
    let stages = record.waterfall();
    assert_eq!(stages.last().unwrap().name, "handler");
    assert_eq!(stages.last().unwrap().end_us(), record.queued_us + record.handler_us);
}

#[tokio::test]
async fn a_call_on_a_stem_adopts_it() {
    let world = World::with(|options| options.limits.stems = StemRules { most: 4, each: 2 }).await;
    world.driver.set(|script| script.traces = 1);
    world.deploy("f", |_| {}).await;
    until("a stem is ready", || world.engine.stems().iter().any(|view| view.ready == 1)).await;
    let record = world.call("f", "x").await.unwrap().record;
    assert!(record.stem);
    check(&record);
    let names = names(&record.stages);
    assert!(names.contains(&"adopt") && names.contains(&"init"), "{names:?}");
    assert!(!names.contains(&"sandbox") && !names.contains(&"runtime"), "{names:?}");
}

#[tokio::test]
async fn a_start_that_failed_says_how_far_it_came() {
    let world = World::new().await;
    world.driver.set(|script| {
        script.init = Duration::from_millis(5);
        script.init_exit = Some(3);
    });
    world.deploy("f", |_| {}).await;
    let record = world.call("f", "x").await.unwrap().record;
    check(&record);
    let names = names(&record.stages);
    assert!(names.contains(&"init") && !names.contains(&"handler"), "{names:?}");
}

#[tokio::test]
async fn who_waits_for_anothers_start_is_told_its_own_time() {
    let world = World::new().await;
    world.driver.set(|script| script.init = Duration::from_millis(60));
    world.deploy("f", |spec| spec.scale.max = 1).await;
    let first = world.calling("f", "exit 1");
    tokio::time::sleep(Duration::from_millis(20)).await;
    let record = world.call("f", "x").await.unwrap().record;
    first.await.unwrap().unwrap();
    check(&record);
    assert!(took(&record, "place") >= 30_000, "it waited for the first one's end: {:?}", record.stages);
}

#[tokio::test]
async fn function_code_cannot_forge_a_trace() {
    let world = World::new().await;
    world.deploy("f", |_| {}).await;
    // Its own, after the sandbox's, and one in the middle of a call.
    for (traces, event) in [(2, "x"), (1, "trace;sleep 1000")] {
        world.driver.set(|script| script.traces = traces);
        let record = world.call("f", event).await.unwrap().record;
        assert_eq!(record.outcome, RecordOutcome::Fault(FaultCode::Protocol), "{event}");
        until("its instance is gone", || world.driver.live() == 0).await;
    }
}
