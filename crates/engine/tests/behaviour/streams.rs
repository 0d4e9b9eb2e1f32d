//! Answers that are passed on as they come.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use engine::{Streamed, Streaming};
use model::{FaultCode, Outcome, RecordOutcome, Reply};

use crate::world::{World, invocation, said, until};

async fn streaming(world: &World, event: &str) -> Streaming {
    match world.engine.stream(invocation("f", event)).await.unwrap() {
        Streamed::Stream(streaming) => streaming,
        Streamed::Whole(outcome) => panic!("it came whole: {outcome:?}"),
    }
}

async fn piece(streaming: &mut Streaming) -> Result<Bytes, Outcome> {
    let next = tokio::time::timeout(Duration::from_secs(5), poll_fn(|cx| streaming.poll_piece(cx))).await.unwrap();
    next.map_err(|over| over.unwrap())
}

/// What came, and how the call went.
async fn rest(streaming: &mut Streaming) -> (usize, Outcome) {
    let mut bytes = 0;
    loop {
        match piece(streaming).await {
            Ok(piece) => bytes += piece.len(),
            Err(outcome) => return (bytes, outcome),
        }
    }
}

#[tokio::test]
async fn pieces_come_as_the_function_writes_them() {
    let world = World::new().await;
    world.deploy("f", |_| {}).await;
    let mut answer = streaming(&world, "stream text/plain;write one;sleep 300;write two;sleep 100;over").await;
    assert_eq!(answer.content_type(), "text/plain");
    assert_eq!(piece(&mut answer).await.unwrap(), "one");
    assert!(world.told.records().is_empty(), "the function still writes");
    assert_eq!(piece(&mut answer).await.unwrap(), "two");
    let (more, outcome) = rest(&mut answer).await;
    assert_eq!((more, outcome.reply), (0, Reply::Success(Bytes::new())));
    let record = world.told.record(outcome.record.request_id);
    assert_eq!((record.outcome, record.response_bytes), (RecordOutcome::Ok, 6));
    assert!(record.handler_us >= 400_000);
    assert_eq!(world.ask("f", "x").await, "x");
    assert_eq!(world.driver.started(), 1, "the instance serves on");
}

#[tokio::test]
async fn who_does_not_ask_for_a_stream_gets_the_whole() {
    let world = World::new().await;
    world.deploy("f", |_| {}).await;
    assert_eq!(world.ask("f", "stream text/plain;write one;write two;over").await, "onetwo");
    let outcome = world.call("f", "stream ;bulk 7;over").await.unwrap();
    assert_eq!(outcome.record.outcome, RecordOutcome::Fault(FaultCode::ResponseTooLarge));
    assert_eq!(world.ask("f", "x").await, "x");
    assert_eq!(world.driver.started(), 1);
}

#[tokio::test]
async fn a_function_that_does_not_stream_answers_whole() {
    let world = World::new().await;
    world.deploy("f", |_| {}).await;
    for (event, answer) in [("x", "x"), ("error", r#"{"errorMessage":"no","errorType":"E"}"#)] {
        match world.engine.stream(invocation("f", event)).await.unwrap() {
            Streamed::Whole(outcome) => assert_eq!(said(&outcome.reply), answer),
            Streamed::Stream(_) => panic!("{event} came in pieces"),
        }
    }
    let unknown = world.engine.stream(invocation("nobody", "x")).await.err().unwrap();
    assert_eq!(unknown.code, FaultCode::NotFound);
}

#[tokio::test]
async fn an_error_may_come_after_the_beginning() {
    let world = World::new().await;
    world.deploy("f", |_| {}).await;
    for (event, code) in
        [("stream ;write one;error", FaultCode::HandlerError), ("stream ;write one;exit 3", FaultCode::Exited)]
    {
        let mut answer = streaming(&world, event).await;
        let (bytes, outcome) = rest(&mut answer).await;
        assert_eq!((bytes, outcome.record.outcome), (3, RecordOutcome::Fault(code)), "{event}");
    }
}

#[tokio::test]
async fn who_reads_slowly_holds_the_function_back_and_not_its_time_limit() {
    let world = World::new().await;
    world.deploy("f", |spec| spec.timeout = Duration::from_millis(400)).await;
    let mut answer = streaming(&world, "stream ;bulk 100;over").await;
    assert!(!piece(&mut answer).await.unwrap().is_empty());
    // Nobody asks for more.
    until("the time limit ends it", || !world.told.records().is_empty()).await;
    let (bytes, outcome) = rest(&mut answer).await;
    assert_eq!(outcome.record.outcome, RecordOutcome::Fault(FaultCode::Timeout));
    assert!(bytes < 8 << 20, "{bytes} bytes were kept for a reader that did not read");
    assert_eq!(world.ask("f", "x").await, "x");
}

#[tokio::test]
async fn a_reader_that_goes_ends_nothing() {
    let world = World::new().await;
    world.deploy("f", |_| {}).await;
    let answer = streaming(&world, "stream ;bulk 20;over").await;
    drop(answer);
    until("it ran to its end", || !world.told.records().is_empty()).await;
    let record = world.told.records()[0].clone();
    assert_eq!((record.outcome, record.response_bytes), (RecordOutcome::Ok, 20 << 20));
    assert_eq!(world.ask("f", "count").await, "2", "the same instance");
}

#[tokio::test]
async fn more_than_the_longest_answer_is_cut_off() {
    let world = World::new().await;
    world.deploy("f", |spec| spec.timeout = Duration::from_secs(60)).await;
    let mut answer = streaming(&world, "stream ;bulk 201;over").await;
    let (bytes, outcome) = rest(&mut answer).await;
    assert_eq!(bytes, 200 << 20);
    assert_eq!(outcome.record.outcome, RecordOutcome::Fault(FaultCode::ResponseTooLarge));
    assert!(said(&outcome.reply).contains("(209715200 bytes)"));
    assert_eq!(world.ask("f", "x").await, "x", "another instance serves on");
}
