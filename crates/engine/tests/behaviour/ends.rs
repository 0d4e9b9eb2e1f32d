//! Redeploys, deletions, and the end of it all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::{FaultCode, Reply, Revision};

use crate::world::{World, invocation, said, until};

#[tokio::test]
async fn a_redeploy_takes_effect_at_once_and_the_old_instances_go() {
    let world = World::new().await;
    world.deploy("f", |_| {}).await;
    let old = world.ask("f", "who").await;
    let running = world.calling("f", "sleep 100;who");
    until("it runs", || world.driver.handled() == 2).await;
    world.deploy("f", |spec| spec.description = "new".into()).await;
    let outcome = world.call("f", "who").await.unwrap();
    assert_ne!(said(&outcome.reply), old);
    assert_eq!(outcome.record.revision, Revision(2));
    assert_eq!(said(&running.await.unwrap().unwrap().reply), old, "what runs finishes on the old one");
    until("the old one is gone", || world.instances() == 1 && world.driver.live() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_the_function_is_deployed_again_and_again() {
    let world = Arc::new(World::new().await);
    world.deploy("f", |_| {}).await;
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (world, stop) = (world.clone(), stop.clone());
            tokio::spawn(async move {
                let mut calls = 0;
                while !stop.load(Ordering::Relaxed) {
                    let outcome = world.call("f", "sleep 1;hi").await.expect("no fault");
                    assert!(matches!(outcome.reply, Reply::Success(_)), "{:?}", outcome.reply);
                    calls += 1;
                }
                calls
            })
        })
        .collect();
    for number in 0..40 {
        world.deploy("f", |spec| spec.description = number.to_string()).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        assert!(caller.await.unwrap() > 10);
    }
    until("old revisions are gone", || world.engine.instances().iter().all(|view| view.revision == Revision(41))).await;
}

#[tokio::test]
async fn who_waits_at_the_old_revision_is_served_by_the_new_one() {
    let world = World::new().await;
    world.deploy("f", |spec| spec.scale.max = 1).await;
    let running = world.calling("f", "sleep 200");
    until("it runs", || world.driver.handled() == 1).await;
    let waiting = world.calling("f", "x");
    tokio::time::sleep(Duration::from_millis(20)).await;
    world.deploy("f", |spec| spec.scale.max = 2).await;
    assert_eq!(waiting.await.unwrap().unwrap().record.revision, Revision(2));
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_deleted_function_is_not_found_and_what_runs_finishes() {
    let world = World::new().await;
    world.deploy("f", |_| {}).await;
    let running = world.calling("f", "sleep 100;end");
    until("it runs", || world.driver.handled() == 1).await;
    world.delete("f").await;
    assert_eq!(world.call("f", "x").await.unwrap_err().code, FaultCode::NotFound);
    assert_eq!(said(&running.await.unwrap().unwrap().reply), "sleep 100;end");
    until("its instance is gone", || world.instances() == 0 && world.driver.live() == 0).await;
    assert!(world.engine.function(&"f".parse().unwrap()).is_none());
}

#[tokio::test]
async fn a_drain_refuses_new_calls_finishes_old_ones_and_leaves_nothing() {
    let world = World::new().await;
    world.deploy("f", |spec| spec.scale.max = 1).await;
    let running: Vec<_> = (0..3).map(|_| world.calling("f", "sleep 50;end")).collect();
    until("one runs", || world.driver.handled() == 1).await;
    let engine = world.engine.clone();
    let draining = tokio::spawn(async move { engine.drain(Duration::from_secs(5)).await });
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(world.call("f", "x").await.unwrap_err().code, FaultCode::Draining);
    for call in running {
        assert_eq!(said(&call.await.unwrap().unwrap().reply), "sleep 50;end", "those in the queue too");
    }
    draining.await.unwrap();
    assert_eq!((world.instances(), world.driver.live()), (0, 0));
}

#[tokio::test]
async fn a_drain_that_takes_too_long_ends_what_runs_waits_and_starts() {
    let world = World::new().await;
    world.deploy("f", |spec| (spec.scale.max, spec.timeout) = (1, Duration::from_secs(60))).await;
    let running = world.calling("f", "sleep 60000");
    until("it runs", || world.driver.handled() == 1).await;
    let waiting = world.calling("f", "x");
    world.deploy("g", |_| {}).await;
    world.driver.set(|script| script.init = Duration::from_secs(60));
    let starting = world.calling("g", "x");
    until("both run", || world.driver.live() == 2).await;
    let begun = std::time::Instant::now();
    world.engine.drain(Duration::from_millis(50)).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    for call in [running, waiting, starting] {
        assert_eq!(call.await.unwrap().unwrap_err().code, FaultCode::Draining);
    }
    assert_eq!((world.instances(), world.driver.live()), (0, 0));
    world.engine.drain(Duration::from_millis(50)).await;
}

#[tokio::test]
async fn a_dropped_engine_leaves_no_sandbox() {
    let World { engine, driver, store, .. } = World::new().await;
    let spec = model::FunctionSpec::new("f".parse().unwrap(), model::Runtime::python("3.11"), "a.b");
    let hash = model::CodeHash::from_digest(&[1; 32]);
    store::Functions::put(&*store, spec, hash, None).await.unwrap();
    engine.settled(1).await;
    engine.invoke(invocation("f", "x")).await.unwrap();
    assert_eq!(driver.live(), 1);
    drop(engine);
    until("it is gone", || driver.live() == 0).await;
}
