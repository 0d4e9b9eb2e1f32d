//! How many instances there are, and who waits for them.

use std::time::Duration;

use model::{FaultCode, InstanceState};

use crate::world::{World, idle, until};

#[tokio::test]
async fn as_many_instances_start_as_calls_wait() {
    let world = World::new().await;
    world.deploy("f", |_| {}).await;
    let calls: Vec<_> = (0..8).map(|_| world.calling("f", "sleep 100;who")).collect();
    let mut instances = std::collections::HashSet::new();
    for call in calls {
        instances.insert(call.await.unwrap().unwrap().instance);
    }
    assert_eq!(instances.len(), 8);
    assert_eq!(world.driver.started(), 8);
}

#[tokio::test]
async fn never_more_than_the_maximum_and_the_rest_is_served_in_turn() {
    let world = World::new().await;
    world.deploy("f", |spec| spec.scale.max = 3).await;
    let calls: Vec<_> = (0..30).map(|_| world.calling("f", "sleep 5")).collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert!(world.driver.most_live() <= 3);
}

#[tokio::test]
async fn who_waits_too_long_or_finds_the_queue_full_is_told_to_come_back() {
    let world = World::with(|options| {
        options.limits.queue = 2;
        options.limits.queue_wait = Duration::from_millis(50);
    })
    .await;
    world.deploy("f", |spec| spec.scale.max = 1).await;
    let busy = world.calling("f", "sleep 400");
    until("it is busy", || {
        world.engine.instances().iter().any(|view| view.state == InstanceState::Busy) && world.driver.started() == 1
    })
    .await;
    let waiting: Vec<_> = (0..2).map(|_| world.calling("f", "x")).collect();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let full = world.call("f", "x").await.unwrap_err();
    assert_eq!(full.code, FaultCode::TooManyRequests);
    assert!(full.retry_after.is_some());
    for call in waiting {
        assert_eq!(call.await.unwrap().unwrap_err().code, FaultCode::TooManyRequests);
    }
    busy.await.unwrap().unwrap();
    assert_eq!(world.ask("f", "x").await, "x");
    assert_eq!(world.told.records().len(), 5, "one record for each");
}

#[tokio::test]
async fn who_waits_for_a_start_that_is_under_way_is_not_sent_away() {
    let world = World::with(|options| options.limits.queue_wait = Duration::from_millis(20)).await;
    world.driver.set(|script| script.init = Duration::from_millis(200));
    world.deploy("f", |_| {}).await;
    assert_eq!(world.ask("f", "x").await, "x");
}

#[tokio::test]
async fn an_idle_instance_is_reaped_after_its_time() {
    let world = World::new().await;
    world.deploy("f", |spec| spec.scale.idle = idle(Duration::from_millis(60))).await;
    world.ask("f", "x").await;
    assert_eq!(world.instances(), 1);
    until("it is reaped", || world.instances() == 0 && world.driver.live() == 0).await;
    assert_eq!(world.ask("f", "x").await, "x");
}

#[tokio::test]
async fn with_no_idle_time_no_instance_outlives_its_call() {
    let world = World::new().await;
    world.deploy("f", |spec| (spec.scale.idle, spec.scale.max) = (idle(Duration::ZERO), 2)).await;
    let calls: Vec<_> = (0..6).map(|_| world.calling("f", "count")).collect();
    for call in calls {
        let outcome = call.await.unwrap().unwrap();
        assert_eq!(crate::world::said(&outcome.reply), "1");
    }
    until("none is left", || world.instances() == 0 && world.driver.live() == 0).await;
    assert_eq!(world.driver.started(), 6);
}

#[tokio::test]
async fn the_minimum_is_kept_warm_and_made_again_when_it_dies() {
    let world = World::new().await;
    world.deploy("f", |spec| (spec.scale.min, spec.scale.idle) = (2, idle(Duration::from_millis(30)))).await;
    let at_rest = |state| matches!(state, InstanceState::Idle | InstanceState::Frozen);
    let warm = || world.engine.instances().iter().filter(|view| at_rest(view.state)).count();
    until("two are warm", || warm() == 2).await;
    assert!(!world.call("f", "x").await.unwrap().record.cold);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.driver.started(), 2, "they are not reaped");
    let id = world.engine.instances()[0].instance.to_string();
    world.driver.end(&id);
    until("another took its place", || world.driver.started() == 3 && warm() == 2).await;
}

#[tokio::test]
async fn keeping_warm_what_cannot_initialise_is_not_tried_without_end() {
    let world = World::new().await;
    world.driver.set(|script| script.init_exit = Some(1));
    world.deploy("f", |spec| spec.scale.min = 3).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let started = world.driver.started();
    assert!((1..=6).contains(&started), "{started} starts");
}

#[tokio::test]
async fn an_idle_instance_that_ends_by_itself_leaves_the_pool() {
    let world = World::new().await;
    world.deploy("f", |_| {}).await;
    let id = world.ask("f", "who").await;
    world.driver.end(&id);
    until("it is gone", || world.instances() == 0).await;
    assert_ne!(world.ask("f", "who").await, id);
}

#[tokio::test]
async fn one_slow_function_does_not_hold_up_the_starts_of_another() {
    let world = World::with(|options| options.limits.starts = 1).await;
    world.driver.set(|script| script.init = Duration::from_millis(400));
    world.deploy("slow", |_| {}).await;
    let slow = world.calling("slow", "x");
    until("it has begun", || world.driver.seen.inits.lock().unwrap().len() == 1).await;
    world.driver.set(|script| script.init = Duration::ZERO);
    world.deploy("fast", |_| {}).await;
    let begun = std::time::Instant::now();
    world.ask("fast", "x").await;
    assert!(begun.elapsed() < Duration::from_millis(300));
    slow.await.unwrap().unwrap();
}
