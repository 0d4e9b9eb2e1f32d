//! Sandboxes that are ready before anybody calls.

use std::sync::atomic::Ordering;
use std::time::Duration;

use engine::StemRules;
use model::{Isolation, Memory, Probe, ProbeStart};

use crate::world::{MIB, World, idle, invocation, until};

async fn world(most: usize) -> World {
    World::with(|options| options.limits.stems = StemRules { most, each: 2 }).await
}

fn ready(world: &World) -> usize {
    world.engine.stems().iter().map(|view| view.ready).sum()
}

fn adopted(world: &World) -> u32 {
    world.driver.seen.adopted.load(Ordering::SeqCst)
}

#[tokio::test]
async fn a_cold_call_becomes_of_a_stem_and_another_takes_its_place() {
    let world = world(4).await;
    world.deploy("f", |_| {}).await;
    until("a stem is ready", || ready(&world) == 1).await;
    assert_eq!(world.instances(), 0, "a stem is no instance");
    let record = world.call("f", "x").await.unwrap().record;
    assert!(record.cold && record.stem);
    assert_eq!(adopted(&world), 1);
    until("another is ready", || ready(&world) == 1 && world.driver.started() == 2).await;
    let record = world.call("f", "x").await.unwrap().record;
    assert!(!record.cold && !record.stem);
}

#[tokio::test]
async fn functions_of_the_same_shape_share_stems_and_instances_are_never_shared() {
    let world = world(4).await;
    world.deploy("f", |_| {}).await;
    world.deploy("g", |spec| spec.env = [("SECRET".into(), "g".into())].into()).await;
    until("one is ready for both", || ready(&world) == 1).await;
    assert_eq!(world.driver.started(), 1);
    let f = world.call("f", "x").await.unwrap();
    until("another is ready", || ready(&world) >= 1).await;
    let g = world.call("g", "x").await.unwrap();
    assert!(f.record.stem && g.record.stem);
    assert_ne!(f.instance, g.instance);
    let inits = world.driver.seen.inits.lock().unwrap();
    assert_eq!(inits.iter().map(|init| init.env.contains_key("SECRET")).collect::<Vec<_>>(), [false, true]);
}

#[tokio::test]
async fn another_shape_wants_a_stem_of_its_own() {
    let world = world(4).await;
    world.deploy("f", |_| {}).await;
    world.deploy("g", |spec| spec.memory = Memory::mib(512)).await;
    world.deploy("h", |spec| spec.env = [("TZ".into(), "Europe/Berlin".into())].into()).await;
    until("three are ready", || ready(&world) == 3).await;
    for name in ["f", "g", "h"] {
        assert!(world.call(name, "x").await.unwrap().record.stem, "{name}");
    }
}

#[tokio::test]
async fn a_stem_that_fails_as_it_is_claimed_is_nobodys_failure() {
    let world = world(1).await;
    world.driver.set(|script| script.no_adoption = true);
    world.deploy("f", |_| {}).await;
    until("a stem is ready", || ready(&world) == 1).await;
    let record = world.call("f", "x").await.unwrap().record;
    assert!(record.cold && !record.stem, "it started from nothing");
}

#[tokio::test]
async fn a_stem_that_ends_is_made_again() {
    let world = world(1).await;
    world.deploy("f", |_| {}).await;
    until("a stem is ready", || ready(&world) == 1).await;
    let id = world.driver.specs.lock().unwrap()[0].id.to_string();
    world.driver.end(&id);
    until("another took its place", || ready(&world) == 1 && world.driver.started() == 2).await;
    assert!(world.call("f", "x").await.unwrap().record.stem);
}

#[tokio::test]
async fn nothing_is_kept_for_a_function_that_is_gone() {
    let world = world(4).await;
    world.deploy("f", |_| {}).await;
    until("a stem is ready", || ready(&world) == 1).await;
    world.delete("f").await;
    until("it is gone", || ready(&world) == 0 && world.driver.live() == 0).await;
}

#[tokio::test]
async fn stems_are_the_first_to_go_when_memory_is_needed() {
    let world = World::with(|options| {
        options.limits.stems = StemRules { most: 2, each: 2 };
        options.limits.estimate = 100 * MIB;
        options.memory_budget = 200 * MIB;
        options.limits.stem_share = 100;
    })
    .await;
    world.deploy("f", |spec| spec.memory = Memory::mib(128)).await;
    until("a stem is ready", || ready(&world) == 1).await;
    world.deploy("g", |spec| (spec.memory, spec.scale.max) = (Memory::mib(256), 2)).await;
    let calls: Vec<_> = (0..2).map(|_| world.calling("g", "sleep 20")).collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(world.told.records().len(), 2);
}

#[tokio::test]
async fn with_none_kept_every_cold_call_starts_from_nothing() {
    let world = world(0).await;
    world.deploy("f", |spec| spec.scale.idle = idle(Duration::ZERO)).await;
    for _ in 0..3 {
        let record = world.call("f", "x").await.unwrap().record;
        assert!(record.cold && !record.stem);
    }
    assert_eq!((world.driver.started(), adopted(&world)), (3, 0));
}

#[tokio::test]
async fn a_measurement_says_whether_it_wants_a_stem() {
    let world = world(2).await;
    world.deploy("f", |_| {}).await;
    until("a stem is ready", || ready(&world) == 1).await;
    let mut call = invocation("f", "x");
    call.probe = Some(Probe { isolation: Isolation::Namespace, start: ProbeStart::Scratch });
    assert!(!world.engine.invoke(call).await.unwrap().record.stem);
    let mut call = invocation("f", "x");
    call.probe = Some(Probe { isolation: Isolation::Namespace, start: ProbeStart::Stem });
    assert!(world.engine.invoke(call).await.unwrap().record.stem);
}

#[tokio::test]
async fn the_end_of_the_engine_is_the_end_of_its_stems() {
    let world = world(4).await;
    world.deploy("f", |_| {}).await;
    until("a stem is ready", || ready(&world) == 1).await;
    world.engine.drain(Duration::from_secs(1)).await;
    until("it is gone", || world.driver.live() == 0).await;
}
