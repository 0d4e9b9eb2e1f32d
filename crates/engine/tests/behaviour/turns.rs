//! Starts take up processors, so they take turns.

use std::time::Duration;

use model::{FaultCode, Memory};

use crate::world::{World, until};

#[tokio::test]
async fn who_waits_comes_after_few_of_those_that_nobody_waits_for() {
    let world = World::with(|options| {
        (options.limits.starts, options.limits.ahead) = (1, 1);
        options.limits.hello = Duration::from_millis(60);
    })
    .await;
    // Each takes its time, and comes to nothing.
    world.driver.set(|script| script.no_hello = true);
    world.deploy("kept", |spec| (spec.memory, spec.scale.min) = (Memory::mib(64), 5)).await;
    world.deploy("called", |spec| spec.memory = Memory::mib(256)).await;
    until("the first is being made", || !world.driver.specs.lock().unwrap().is_empty()).await;
    assert!(world.call("called", "x").await.is_err());
    let specs = world.driver.specs.lock().unwrap();
    let order: Vec<_> = specs.iter().take(2).map(|spec| spec.limits.memory.as_mib()).collect();
    assert_eq!(order, [64, 256]);
}

#[tokio::test]
async fn a_start_whose_turn_does_not_come_is_given_up() {
    let world = World::with(|options| {
        options.limits.starts = 1;
        options.limits.turn = Duration::from_millis(50);
        options.limits.hello = Duration::from_millis(500);
    })
    .await;
    world.driver.set(|script| script.no_hello = true);
    world.deploy("a", |_| {}).await;
    world.deploy("b", |_| {}).await;
    let first = world.calling("a", "x");
    until("it is being made", || !world.driver.specs.lock().unwrap().is_empty()).await;
    let fault = world.call("b", "x").await.unwrap_err();
    assert_eq!(fault.code, FaultCode::NoCapacity);
    assert!(fault.message.contains("50ms") && fault.retry_after.is_some(), "{fault}");
    assert!(first.await.unwrap().is_err());
    assert!(world.engine.instances().iter().all(|one| one.function.to_string() != "b"), "nothing of it is left");
}
