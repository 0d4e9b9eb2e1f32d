//! What calls run on.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::{FaultCode, InstanceState, Isolation, IsolationChoice, Probe, ProbeStart};

use crate::fake::FakeDriver;
use crate::world::{World, invocation, until};

async fn two(namespace: bool, gvisor: bool) -> (World, [Arc<FakeDriver>; 2]) {
    let one = Arc::new(FakeDriver::of(Isolation::Namespace, namespace));
    let other = Arc::new(FakeDriver::of(Isolation::Gvisor, gvisor));
    let drivers = [one.clone(), other.clone()];
    let world = World::with(|options| options.drivers = vec![one, other]).await;
    (world, drivers)
}

#[tokio::test]
async fn each_isolation_gets_its_share_of_the_calls() {
    let (world, drivers) = two(true, true).await;
    world.deploy("f", |spec| spec.isolation = "namespace=90,gvisor=10".parse().unwrap()).await;
    for _ in 0..100 {
        world.ask("f", "x").await;
    }
    assert_eq!(drivers.each_ref().map(|driver| driver.handled()), [90, 10]);
    let gvisor = world.told.records().into_iter().filter(|record| record.isolation == Some(Isolation::Gvisor));
    assert_eq!(gvisor.count(), 10, "records say where a call ran");
}

#[tokio::test]
async fn a_share_on_what_does_not_work_fails_and_runs_nowhere_else() {
    let (world, drivers) = two(true, false).await;
    world.deploy("f", |spec| spec.isolation = "namespace=50,gvisor=50".parse().unwrap()).await;
    let mut failed = 0;
    for _ in 0..100 {
        if let Err(fault) = world.call("f", "x").await {
            assert_eq!(fault.code, FaultCode::IsolationUnavailable);
            assert!(fault.message.contains("it is switched off"), "{fault}");
            failed += 1;
        }
    }
    assert_eq!((failed, drivers[0].handled()), (50, 50));
}

#[tokio::test]
async fn auto_takes_the_cheapest_that_is_strong_enough() {
    let (world, drivers) = two(true, true).await;
    world.deploy("f", |spec| spec.isolation = IsolationChoice::Auto).await;
    world.ask("f", "x").await;
    assert_eq!(drivers.each_ref().map(|driver| driver.handled()), [1, 0]);
    world.deploy("f", |spec| (spec.isolation, spec.at_least) = (IsolationChoice::Auto, Some(Isolation::Gvisor))).await;
    world.ask("f", "x").await;
    assert_eq!(drivers.each_ref().map(|driver| driver.handled()), [1, 1]);
}

#[tokio::test]
async fn auto_fails_rather_than_take_a_weaker_one() {
    let (world, drivers) = two(true, false).await;
    world.deploy("f", |spec| (spec.isolation, spec.at_least) = (IsolationChoice::Auto, Some(Isolation::Gvisor))).await;
    let fault = world.call("f", "x").await.unwrap_err();
    assert_eq!(fault.code, FaultCode::IsolationUnavailable);
    assert_eq!(drivers[0].handled(), 0);
}

#[tokio::test]
async fn a_measurement_runs_where_it_asks_to_and_leaves_nothing() {
    let (world, drivers) = two(true, true).await;
    world.deploy("f", |_| {}).await;
    for _ in 0..3 {
        let mut call = invocation("f", "x");
        call.probe = Some(Probe { isolation: Isolation::Gvisor, start: ProbeStart::Scratch });
        assert!(world.engine.invoke(call).await.unwrap().record.cold);
    }
    assert_eq!(drivers[1].started(), 3);
    until("they are gone", || drivers[1].live() == 0).await;
    let mut call = invocation("f", "x");
    call.probe = Some(Probe { isolation: Isolation::Gvisor, start: ProbeStart::Warm });
    assert!(world.engine.invoke(call.clone()).await.unwrap().record.cold);
    call.id = model::RequestId::random();
    assert!(!world.engine.invoke(call).await.unwrap().record.cold);
    assert_eq!(drivers[0].seen.started.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_idle_instance_is_frozen_and_thaws_for_its_call() {
    let world = World::new().await;
    world.deploy("f", |_| {}).await;
    for _ in 0..3 {
        // A frozen guest would not answer.
        world.ask("f", "x").await;
        until("it is frozen", || world.engine.instances().iter().all(|one| one.state == InstanceState::Frozen)).await;
    }
    assert_eq!(world.driver.started(), 1);
}
