//! What instances send and receive is counted once, whoever looks and whenever it is.

use std::sync::{Arc, Mutex};

use model::Revision;
use model::metric::Traffic;

use crate::world::{World, until};

/// What has been told since: of how many kinds, and the sum.
fn told(world: &World) -> (usize, u64, u64) {
    let all = world.engine.traffic();
    let mut sum = Traffic::default();
    all.iter().for_each(|one| sum += one.traffic);
    (all.len(), sum.sent, sum.received)
}

fn networked(world: &World) -> Arc<Mutex<Traffic>> {
    let traffic = Arc::<Mutex<Traffic>>::default();
    world.driver.set(|script| script.traffic = Some(traffic.clone()));
    traffic
}

#[tokio::test]
async fn what_is_sent_during_calls_between_them_and_last_is_told_once() {
    let world = World::new().await;
    let traffic = networked(&world);
    world.deploy("f", |_| {}).await;
    world.ask("f", "hi").await;
    assert_eq!(told(&world), (0, 0, 0), "nothing was sent");
    *traffic.lock().unwrap() = Traffic { sent: 1000, received: 50 };
    let one = world.engine.traffic().remove(0);
    assert_eq!((one.function.to_string(), one.revision), ("f".into(), Revision(1)));
    assert_eq!(one.traffic, Traffic { sent: 1000, received: 50 });
    assert_eq!(told(&world), (0, 0, 0), "it was told");
    traffic.lock().unwrap().sent += 7;
    assert_eq!(told(&world), (1, 7, 0));
    traffic.lock().unwrap().received += 3;
    world.driver.end(&world.ask("f", "who").await);
    until("it is gone", || world.instances() == 0).await;
    assert_eq!(told(&world), (1, 0, 3), "what came last");
    assert_eq!(told(&world), (0, 0, 0));
}

#[tokio::test]
async fn what_has_no_network_has_no_figures() {
    let world = World::new().await;
    world.deploy("f", |_| {}).await;
    world.driver.end(&world.ask("f", "who").await);
    until("it is gone", || world.instances() == 0).await;
    assert_eq!(told(&world), (0, 0, 0));
}

#[tokio::test]
async fn what_was_sent_until_the_end_of_all_is_there_to_be_told() {
    let world = World::new().await;
    let traffic = networked(&world);
    world.deploy("f", |_| {}).await;
    world.ask("f", "hi").await;
    traffic.lock().unwrap().sent = 9;
    world.engine.drain(std::time::Duration::from_secs(1)).await;
    assert_eq!(told(&world), (1, 9, 0));
}

#[tokio::test]
async fn a_successor_goes_on_where_the_server_before_ended() {
    let world = World::new().await;
    let traffic = networked(&world);
    world.deploy("f", |_| {}).await;
    world.ask("f", "hi").await;
    traffic.lock().unwrap().sent = 100;
    world.engine.hand_over().await;
    let (about, sandbox) = world.driver.seen.given.lock().unwrap().pop().expect("it was given");
    let functions = world.store.clone();
    let next = World::with(|options| options.functions = functions).await;
    traffic.lock().unwrap().sent += 20;
    assert_eq!(told(&world), (1, 100, 0), "up to when it was given");
    assert!(next.engine.adopt(&about, sandbox));
    assert_eq!(told(&next), (1, 20, 0));
    traffic.lock().unwrap().sent += 1;
    assert_eq!((told(&world), told(&next)), ((0, 0, 0), (1, 1, 0)));
}
