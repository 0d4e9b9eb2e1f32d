//! AWS's schedule, held.

use bytes::Bytes;
use model::{FunctionError, RequestId};
use store::queue::{EventState, NewEvent};

use super::*;

fn event(progress: Progress) -> QueuedEvent {
    QueuedEvent {
        event: NewEvent {
            id: RequestId::random(),
            function: "f".parse().unwrap(),
            qualifier: None,
            payload: Bytes::from_static(b"{}"),
            received: Timestamp(0),
            trace_id: String::new(),
            client_context: String::new(),
            hops: 0,
            key: None,
        },
        state: EventState::Running,
        bytes: 2,
        due: Timestamp(0),
        attempts: 1,
        progress,
        condition: None,
        error: None,
    }
}

/// A run that failed by `code`, as the engine tells it where no instance is known.
fn failed(code: FaultCode) -> Result<Outcome, Fault> {
    Err(Fault::new(code, "no"))
}

/// All pauses until the event is given up, in seconds, and why it was.
fn pauses(rules: &AsyncRules, code: FaultCode) -> (Vec<u64>, Condition) {
    let (mut now, mut progress, mut pauses) = (Timestamp(0), Progress::default(), Vec::new());
    loop {
        match judge(&event(progress), rules, &failed(code), now) {
            Verdict::Again { due, progress: next } => {
                pauses.push(due.since(now).as_secs());
                (now, progress) = (due, next);
            }
            Verdict::GiveUp { condition, .. } => return (pauses, condition),
            Verdict::Done => panic!("done"),
        }
    }
}

#[test]
fn a_function_that_fails_is_run_again_after_one_and_two_minutes() {
    let rules = AsyncRules::default();
    assert_eq!(pauses(&rules, FaultCode::HandlerError), (vec![60, 120], Condition::RetriesExhausted));
    assert_eq!(pauses(&rules, FaultCode::Timeout), (vec![60, 120], Condition::RetriesExhausted));
    let none = AsyncRules { retries: 0, ..rules };
    assert_eq!(pauses(&none, FaultCode::HandlerError), (vec![], Condition::RetriesExhausted));
}

#[test]
fn what_cannot_begin_is_tried_for_six_hours_ever_more_rarely() {
    let (pauses, condition) = pauses(&AsyncRules::default(), FaultCode::TooManyRequests);
    assert_eq!(condition, Condition::EventAgeExceeded);
    assert_eq!(pauses[..10], [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
    assert!(pauses[9..].iter().all(|pause| *pause == 300));
    let all: u64 = pauses.iter().sum();
    assert!((6 * 3600 - 300..=6 * 3600).contains(&all), "{all}");
}

#[test]
fn what_kills_is_set_aside_after_three_runs_however_many_retries_there_are() {
    let rules = AsyncRules { retries: 10, ..AsyncRules::default() };
    assert_eq!(pauses(&rules, FaultCode::OutOfMemory), (vec![60, 120], Condition::Poison));
    assert_eq!(pauses(&rules, FaultCode::HandlerError).0.len(), 10);
}

#[test]
fn the_end_of_the_server_counts_for_nothing() {
    let progress = Progress { failures: 2, throttles: 3, ..Progress::default() };
    let verdict = judge(&event(progress), &AsyncRules::default(), &failed(FaultCode::Draining), Timestamp(7));
    assert_eq!(verdict, Verdict::Again { due: Timestamp(7), progress });
}

#[test]
fn what_can_never_run_is_given_up_at_once() {
    let rules = AsyncRules::default();
    assert_eq!(pauses(&rules, FaultCode::NotFound), (vec![], Condition::FunctionNotFound));
    assert_eq!(pauses(&rules, FaultCode::RequestTooLarge), (vec![], Condition::Refused));
}

#[test]
fn every_fault_comes_to_an_end() {
    for code in FaultCode::ALL.iter().filter(|code| **code != FaultCode::Draining) {
        let (pauses, _) = pauses(&AsyncRules::default(), *code);
        assert!(pauses.iter().sum::<u64>() <= 6 * 3600, "{code}");
    }
}

#[test]
fn an_event_that_is_too_old_or_lost_too_often_is_not_tried() {
    let rules = AsyncRules { max_age: Duration::from_secs(10), ..AsyncRules::default() };
    assert_eq!(unfit(&event(Progress::default()), &rules, Timestamp(10_000_000)), None);
    assert_eq!(unfit(&event(Progress::default()), &rules, Timestamp(10_000_001)), Some(Condition::EventAgeExceeded));
    let lost = Progress { losses: MOST_LOSSES, ..Progress::default() };
    assert_eq!(unfit(&event(lost), &rules, Timestamp(0)), Some(Condition::Poison));
}

#[test]
fn a_success_is_done_and_a_failure_ends_a_row_of_throttles() {
    let error = FunctionError { payload: Bytes::new(), fault: Fault::new(FaultCode::HandlerError, "no") };
    let progress = Progress { throttles: 4, ..Progress::default() };
    let ran = Ok(outcome(Reply::Failure(error)));
    let verdict = judge(&event(progress), &AsyncRules::default(), &ran, Timestamp(0));
    let expected = Progress { failures: 1, ..Progress::default() };
    assert_eq!(verdict, Verdict::Again { due: Timestamp(60_000_000), progress: expected });
    let ran = Ok(outcome(Reply::Success(Bytes::new())));
    assert_eq!(judge(&event(progress), &AsyncRules::default(), &ran, Timestamp(0)), Verdict::Done);
}

fn outcome(reply: Reply) -> Outcome {
    crate::tests::outcome(&"f".parse().unwrap(), reply)
}
