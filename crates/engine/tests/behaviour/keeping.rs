//! Instances of functions that leave it to the platform how long they are kept: `idle = "auto"`. Time passes at once
//! here where nothing else happens.

use std::time::Duration;

use engine::decide::habit::Decision;
use model::{FunctionName, Isolation, Revision};
use store::Telemetry;

use crate::world::{MIB, World, idle};

const MINUTE: Duration = Duration::from_secs(60);

fn decision(world: &World) -> Decision {
    let name: FunctionName = "f".parse().unwrap();
    let [(Isolation::Namespace, decision)] = &world.engine.keeping(&name)[..] else { panic!("one isolation") };
    decision.clone()
}

#[tokio::test(start_paused = true)]
async fn what_is_called_every_hour_is_let_go_and_is_there_again_in_time() {
    // So big that it is not kept for an hour.
    let world = World::with(|options| options.limits.estimate = 512 * MIB).await;
    world.deploy("f", |spec| spec.memory = model::Memory::mib(512)).await;
    let mut cold = Vec::new();
    for _ in 0..12 {
        cold.push(world.call("f", "x").await.unwrap().record.cold);
        tokio::time::sleep(30 * MINUTE).await;
        assert_eq!(world.instances(), 0, "it is let go: {:?}", decision(&world));
        tokio::time::sleep(30 * MINUTE).await;
    }
    assert!(cold[0] && cold[8..].iter().all(|cold| !cold), "{cold:?}");
    assert_eq!(decision(&world).seen, 11);
    // It is called no more: nothing is made any more.
    let started = world.driver.started();
    tokio::time::sleep(24 * 60 * MINUTE).await;
    assert_eq!((world.instances(), world.driver.live()), (0, 0));
    assert!(world.driver.started() <= started + 3, "{} after {started}", world.driver.started());
}

#[tokio::test(start_paused = true)]
async fn a_new_revision_goes_on_with_what_was_learnt_and_a_removed_function_is_forgotten() {
    let world = World::new().await;
    world.deploy("f", |_| {}).await;
    for _ in 0..3 {
        world.ask("f", "x").await;
        tokio::time::sleep(2 * MINUTE).await;
    }
    assert_eq!(decision(&world).seen, 2);
    world.deploy("f", |spec| spec.description = "another".into()).await;
    assert_eq!(decision(&world).seen, 2);
    world.delete("f").await;
    world.deploy("f", |_| {}).await;
    assert_eq!(decision(&world).seen, 0);
    world.deploy("f", |spec| spec.scale.idle = idle(MINUTE)).await;
    assert!(world.engine.keeping(&"f".parse().unwrap()).is_empty(), "the function says itself");
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_the_records_say_what_was_learnt() {
    let before = World::new().await;
    before.deploy("f", |_| {}).await;
    let call = before.call("f", "x").await.unwrap().record;
    for number in 1..=20_u32 {
        let mut record = call.clone();
        record.received = record.received - number * 15 * MINUTE;
        record.revision = Revision(0);
        Telemetry::record(&*before.told, record);
    }
    let world = World::with(|options| {
        options.functions = before.store.clone();
        options.telemetry = before.told.clone();
    })
    .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(decision(&world).seen, 20);
    assert_eq!(world.instances(), 0, "nothing is made because of what was");
}

#[tokio::test(start_paused = true)]
async fn nobody_who_waits_for_memory_waits_for_what_is_made_ahead() {
    let world = World::with(|options| options.memory_budget = 40 * MIB).await;
    world.deploy("f", |spec| spec.scale.min = 0).await;
    world.deploy("g", |_| {}).await;
    for _ in 0..10 {
        world.ask("f", "x").await;
        tokio::time::sleep(20 * MINUTE).await;
        assert_eq!(world.ask("g", "x").await, "x");
        tokio::time::sleep(20 * MINUTE).await;
    }
    assert!(world.driver.most_live() <= 1);
}
