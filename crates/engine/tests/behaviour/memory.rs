//! One budget for all.

use std::time::Duration;

use model::{FaultCode, Memory};

use crate::world::{MIB, World, until};

#[tokio::test]
async fn the_least_recently_used_idle_instance_makes_room() {
    let world = World::with(|options| options.memory_budget = 50 * MIB).await;
    for name in ["a", "b", "c"] {
        world.deploy(name, |_| {}).await;
    }
    let a = world.ask("a", "who").await;
    world.ask("b", "who").await;
    assert_eq!(world.ask("a", "who").await, a);
    // 24 MiB each: the third does not fit, and `b` was used before `a`.
    world.ask("c", "who").await;
    let left: Vec<_> = world.engine.instances().iter().map(|view| view.function.to_string()).collect();
    assert_eq!(left, ["a", "c"]);
    assert_eq!(world.ask("a", "who").await, a);
}

#[tokio::test]
async fn busy_instances_are_never_evicted_and_who_waits_gets_what_comes_free() {
    let world = World::with(|options| options.memory_budget = 30 * MIB).await;
    world.deploy("a", |_| {}).await;
    world.deploy("b", |_| {}).await;
    let busy = world.calling("a", "sleep 150;done");
    until("it is busy", || world.driver.handled() == 1).await;
    assert_eq!(world.ask("b", "x").await, "x");
    assert_eq!(crate::world::said(&busy.await.unwrap().unwrap().reply), "sleep 150;done");
    assert!(world.driver.most_live() <= 1);
}

#[tokio::test]
async fn without_memory_there_is_no_capacity() {
    let world = World::with(|options| {
        options.memory_budget = 30 * MIB;
        options.limits.queue_wait = Duration::from_millis(60);
    })
    .await;
    world.deploy("a", |_| {}).await;
    world.deploy("b", |_| {}).await;
    let busy = world.calling("a", "sleep 300");
    until("it is busy", || world.driver.handled() == 1).await;
    let fault = world.call("b", "x").await.unwrap_err();
    assert_eq!(fault.code, FaultCode::NoCapacity);
    busy.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_fits_into_no_machine_is_refused_at_once() {
    let world = World::with(|options| options.memory_budget = 10 * MIB).await;
    world.deploy("a", |_| {}).await;
    let begun = std::time::Instant::now();
    assert_eq!(world.call("a", "x").await.unwrap_err().code, FaultCode::NoCapacity);
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn what_was_measured_is_charged_the_next_time() {
    let world = World::with(|options| options.memory_budget = 250 * MIB).await;
    world.driver.set(|script| script.peak = Some(100 * MIB));
    world.deploy("a", |spec| spec.memory = Memory::mib(128)).await;
    world.ask("a", "x").await;
    assert_eq!(world.engine.instances()[0].memory_peak, Some(100 * MIB));
    let calls: Vec<_> = (0..4).map(|_| world.calling("a", "sleep 50")).collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert!(world.driver.most_live() <= 2, "{}", world.driver.most_live());
}

#[tokio::test]
async fn many_functions_share_little_memory_and_none_starves() {
    let world = World::with(|options| options.memory_budget = 75 * MIB).await;
    for number in 0..12 {
        world.deploy(&format!("f{number}"), |_| {}).await;
    }
    let calls: Vec<_> = (0..120).map(|number| world.calling(&format!("f{}", number % 12), "sleep 2")).collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert!(world.driver.most_live() <= 3, "{}", world.driver.most_live());
}

#[tokio::test]
async fn what_an_isolation_takes_itself_is_charged_too() {
    let mut driver = crate::fake::FakeDriver::of(model::Isolation::Gvisor, true);
    driver.overhead = 100 * MIB;
    let driver = std::sync::Arc::new(driver);
    let world = World::with(|options| {
        options.drivers = vec![driver.clone()];
        options.limits.estimate = 50 * MIB;
        options.limits.queue_wait = Duration::from_millis(50);
        options.memory_budget = 350 * MIB;
    })
    .await;
    world.deploy("f", |spec| spec.isolation = model::Isolation::Gvisor.into()).await;
    let calls: Vec<_> = (0..3).map(|_| world.calling("f", "sleep 300")).collect();
    let mut answered = 0;
    for call in calls {
        answered += u32::from(call.await.unwrap().is_ok());
    }
    assert_eq!((answered, driver.most_live()), (2, 2), "150 MiB each");
}

#[tokio::test]
async fn those_that_prove_small_are_charged_what_they_need() {
    let world = World::with(|options| {
        options.memory_budget = 60 * MIB;
        options.limits.queue_wait = Duration::from_millis(60);
    })
    .await;
    world.driver.set(|script| script.peak = Some(3 * MIB));
    world.deploy("a", |_| {}).await;
    world.ask("a", "x").await;
    let calls: Vec<_> = (0..12).map(|_| world.calling("a", "sleep 200")).collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(world.driver.most_live(), 12, "4 MiB each, not 24");
}

#[tokio::test]
async fn where_there_are_no_places_left_an_idle_instance_goes_and_who_gets_none_is_told_why() {
    let world = World::with(|options| {
        options.limits.instances = 2;
        options.limits.queue_wait = Duration::from_millis(60);
    })
    .await;
    for name in ["a", "b", "c"] {
        world.deploy(name, |_| {}).await;
        world.ask(name, "x").await;
    }
    assert_eq!(world.driver.most_live(), 2);
    let busy = [world.calling("b", "sleep 300"), world.calling("c", "sleep 300")];
    until("both are busy", || world.driver.handled() == 5).await;
    let fault = world.call("a", "x").await.unwrap_err();
    assert_eq!(fault.code, FaultCode::NoCapacity);
    assert!(fault.message.contains("descriptors for 2"), "{fault}");
    for call in busy {
        call.await.unwrap().unwrap();
    }
}
