//! One call after the other: reuse, failures in AWS's shapes, logs.

use std::time::Duration;

use model::{FaultCode, Invocation, KeepPayloads, Kept, LogLevel, Memory, RecordOutcome, Reply};

use crate::world::{World, invocation, said, until};

fn failed(kind: &str, id: model::RequestId, text: &str) -> String {
    format!(r#"{{"errorType":"{kind}","errorMessage":"RequestId: {id} Error: {text}"}}"#)
}

#[tokio::test]
async fn the_first_call_is_cold_and_the_next_is_warm_on_the_same_instance() {
    let world = World::new().await;
    world.deploy("f", |_| {}).await;
    let first = world.call("f", "who").await.unwrap();
    let second = world.call("f", "who").await.unwrap();
    assert_eq!(said(&first.reply), said(&second.reply));
    assert_eq!(world.driver.started(), 1);
    let (cold, warm) = (&first.record, &second.record);
    assert!(cold.cold && cold.sandbox_us.is_some() && cold.runtime_us.is_some() && cold.init_us.is_some());
    assert!(!warm.cold && warm.sandbox_us.is_none() && warm.init_us.is_none());
    assert_eq!(warm.outcome, RecordOutcome::Ok);
    assert!(warm.handler_us > 0 && warm.cpu_us == Some(500));
    assert_eq!((warm.request_bytes, warm.response_bytes), (3, 16));
    assert_eq!(world.told.record(second.record.request_id), second.record);
    let views = world.engine.instances();
    assert_eq!((views.len(), views[0].invocations), (1, 2));
}

#[tokio::test]
async fn event_and_answer_are_kept_of_the_calls_that_a_function_names() {
    let world = World::new().await;
    world.deploy("none", |_| {}).await;
    world.deploy("errors", |spec| spec.records.payloads = KeepPayloads::Errors).await;
    world.deploy("all", |spec| spec.records.payloads = KeepPayloads::All).await;
    let mut kept = Vec::new();
    for name in ["none", "errors", "all"] {
        for event in ["x", "error"] {
            let record = world.call(name, event).await.unwrap().record;
            let there = world.told.kept(record.request_id);
            assert_eq!(record.payloads == Kept::Yes, there.is_some());
            kept.extend(there.map(|(input, output)| (name, input, output.unwrap())));
        }
    }
    let error = r#"{"errorMessage":"no","errorType":"E"}"#;
    let echo = world.ask("none", "x").await;
    let expected = [("errors", "error", error), ("all", "x", &echo), ("all", "error", error)];
    assert_eq!(kept, expected.map(|(name, input, output)| (name, input.to_owned(), output.to_owned())));
}

#[tokio::test]
async fn a_record_says_what_the_call_would_be_billed_and_whose_event_it_was() {
    let world = World::new().await;
    world.deploy("f", |spec| spec.memory = Memory::mib(256)).await;
    let first = world.call("f", "x").await.unwrap().record;
    assert_eq!((first.memory, first.replay_of), (Some(Memory::mib(256)), None));
    assert!(first.billed_ms * 1000 >= first.handler_us && first.billed_ms * 1000 < first.handler_us + 1001);
    let again = Invocation { replay_of: Some(first.request_id), ..invocation("f", "x") };
    let again = world.engine.invoke(again).await.unwrap().record;
    assert_eq!(again.replay_of, Some(first.request_id));
}

#[tokio::test]
async fn the_bootstrap_is_told_all_about_its_function() {
    let world = World::new().await;
    world.deploy("f", |spec| drop(spec.env.insert("KEY".into(), "secret".into()))).await;
    world.ask("f", "x").await;
    let init = world.driver.seen.inits.lock().unwrap()[0].clone();
    assert_eq!((init.handler.as_str(), init.function.timeout_ms), ("app.handler", 3000));
    assert_eq!(init.env["KEY"], "secret");
    assert_eq!(init.env["AWS_EXECUTION_ENV"], "AWS_Lambda_python3.11");
    assert_eq!(init.function.arn, "arn:aws:lambda:us-east-1:000000000000:function:f");
    assert_eq!(init.function.log_stream.rsplit(']').next().unwrap().len(), 32);
    let spec = world.driver.specs.lock().unwrap()[0].clone();
    assert!(spec.env.iter().all(|(name, _)| name != "KEY"), "no secret passes the spawner");
}

#[tokio::test]
async fn an_unknown_function_is_not_found() {
    let world = World::new().await;
    assert_eq!(world.call("nobody", "x").await.unwrap_err().code, FaultCode::NotFound);
}

#[tokio::test]
async fn the_handlers_error_is_passed_on_byte_for_byte_and_the_instance_stays() {
    let world = World::new().await;
    world.deploy("f", |_| {}).await;
    let outcome = world.call("f", "error").await.unwrap();
    assert_eq!(said(&outcome.reply), r#"{"errorMessage":"no","errorType":"E"}"#);
    assert_eq!(outcome.record.outcome, RecordOutcome::Fault(FaultCode::HandlerError));
    world.ask("f", "x").await;
    assert_eq!(world.driver.started(), 1);
}

#[tokio::test]
async fn a_call_that_runs_into_its_timeout_is_killed_and_the_next_one_works() {
    let world = World::new().await;
    world.deploy("f", |spec| spec.timeout = Duration::from_millis(100)).await;
    let call = invocation("f", "print before;sleep 5000");
    let id = call.id;
    let outcome = world.engine.invoke(call).await.unwrap();
    assert_eq!(said(&outcome.reply), failed("Sandbox.Timedout", id, "Task timed out after 0.10 seconds"));
    assert_eq!(outcome.record.outcome, RecordOutcome::Fault(FaultCode::Timeout));
    let tail = String::from_utf8(outcome.tail.unwrap()).unwrap();
    assert!(tail.contains("before\n") && tail.contains("Task timed out"), "{tail}");
    assert_eq!(world.ask("f", "x").await, "x");
    until("the killed one is gone", || world.driver.live() == 1 && world.instances() == 1).await;
}

#[tokio::test]
async fn the_end_of_a_sandbox_is_told_in_awss_words() {
    let world = World::new().await;
    world.deploy("f", |_| {}).await;
    for (event, kind, text, code) in [
        ("exit 3", "Runtime.ExitError", "Runtime exited with error: exit status 3", FaultCode::Exited),
        ("exit 0", "Runtime.ExitError", "Runtime exited without providing a reason", FaultCode::Exited),
        ("signal 11", "Runtime.ExitError", "Runtime exited with error: signal: segmentation fault", FaultCode::Exited),
        ("oom", "Runtime.OutOfMemory", "Runtime exited with error: signal: killed", FaultCode::OutOfMemory),
    ] {
        let call = invocation("f", &format!("print last words;{event}"));
        let id = call.id;
        let outcome = world.engine.invoke(call).await.unwrap();
        assert_eq!(said(&outcome.reply), failed(kind, id, text));
        assert_eq!(outcome.record.outcome, RecordOutcome::Fault(code));
        assert!(String::from_utf8(outcome.tail.unwrap()).unwrap().contains("last words\n"));
        assert_eq!(world.ask("f", "x").await, "x");
    }
}

#[tokio::test]
async fn what_is_not_the_protocol_is_a_failure_and_kills() {
    let world = World::new().await;
    world.deploy("f", |_| {}).await;
    let outcome = world.call("f", "garbage").await.unwrap();
    assert_eq!(outcome.record.outcome, RecordOutcome::Fault(FaultCode::Protocol));
    assert_eq!(world.ask("f", "x").await, "x");
    assert_eq!(world.driver.started(), 2);
}

#[tokio::test]
async fn a_second_answer_is_never_the_next_callers() {
    let world = World::new().await;
    world.deploy("f", |_| {}).await;
    for number in 0..20 {
        assert_eq!(world.ask("f", &format!("twice;{number}")).await, format!("twice;{number}"));
    }
}

#[tokio::test]
async fn payloads_up_to_the_limit_pass_and_a_larger_answer_is_refused() {
    let world = World::new().await;
    world.deploy("f", |spec| spec.timeout = Duration::from_secs(20)).await;
    let limit = model::MAX_RESPONSE_BYTES;
    for kind in ["one", "parts"] {
        assert_eq!(world.ask("f", &format!("{kind} {limit}")).await.len(), limit, "{kind}");
        let outcome = world.call("f", &format!("{kind} {}", limit + 1)).await.unwrap();
        assert!(said(&outcome.reply).contains("Function.ResponseSizeTooLarge"), "{kind}");
        assert_eq!(outcome.record.outcome, RecordOutcome::Fault(FaultCode::ResponseTooLarge));
    }
    let event = "y".repeat(model::MAX_REQUEST_BYTES);
    assert_eq!(world.ask("f", &event).await.len(), event.len());
    assert_eq!(world.driver.started(), 1, "an instance that is in step stays");
    let fault = world.call("f", &(event + "y")).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::RequestTooLarge);
}

#[tokio::test]
async fn an_error_of_initialisation_is_its_callers_answer_each_time() {
    let world = World::new().await;
    world.driver.set(|script| {
        script.init_error = Some(r#"{"errorMessage":"No module","errorType":"Runtime.ImportModuleError"}"#);
        script.init_prints = "while loading\n";
    });
    world.deploy("f", |_| {}).await;
    for _ in 0..2 {
        let outcome = world.call("f", "x").await.unwrap();
        assert_eq!(said(&outcome.reply), r#"{"errorMessage":"No module","errorType":"Runtime.ImportModuleError"}"#);
        assert_eq!(outcome.record.outcome, RecordOutcome::Fault(FaultCode::InitFailed));
        assert!(outcome.record.cold);
        assert!(String::from_utf8(outcome.tail.unwrap()).unwrap().contains("while loading\n"));
    }
    assert_eq!(world.driver.started(), 2);
    until("nothing is left", || world.instances() == 0).await;
    world.driver.set(|script| script.init_error = None);
    assert_eq!(world.ask("f", "x").await, "x");
    assert_eq!(world.told.line("while loading").unwrap().request_id, None);
}

#[tokio::test]
async fn an_exit_or_a_hang_of_initialisation_is_told_in_awss_words() {
    let world = World::with(|options| options.limits.init = Duration::from_millis(100)).await;
    world.driver.set(|script| script.init_exit = Some(7));
    world.deploy("f", |spec| spec.timeout = Duration::from_millis(50)).await;
    let call = invocation("f", "x");
    let id = call.id;
    let outcome = world.engine.invoke(call).await.unwrap();
    assert_eq!(said(&outcome.reply), failed("Runtime.ExitError", id, "Runtime exited with error: exit status 7"));
    world.driver.set(|script| (script.init_exit, script.init) = (None, Duration::from_secs(9)));
    let call = invocation("f", "x");
    let id = call.id;
    let outcome = world.engine.invoke(call).await.unwrap();
    assert_eq!(said(&outcome.reply), failed("Sandbox.Timedout", id, "Task timed out after 0.10 seconds"));
    assert_eq!(outcome.record.outcome, RecordOutcome::Fault(FaultCode::InitTimeout));
    until("the hanging one is killed", || world.driver.live() == 0).await;
}

#[tokio::test]
async fn an_event_that_was_not_read_when_its_sandbox_ended_runs_on_another() {
    let world = World::new().await;
    world.deploy("f", |_| {}).await;
    for after in ["after exit 1", "after shut"] {
        assert_eq!(world.ask("f", after).await, after);
        assert_eq!(world.ask("f", "count").await, "1", "{after}");
    }
}

#[tokio::test]
async fn a_sandbox_that_cannot_be_made_is_the_platforms_fault() {
    let world = World::with(|options| options.limits.hello = Duration::from_millis(50)).await;
    world.deploy("f", |_| {}).await;
    world.driver.set(|script| script.refuse = Some(driver::StartError::System("secret path".into())));
    let fault = world.call("f", "x").await.unwrap_err();
    assert_eq!(fault.code, FaultCode::SandboxFailed);
    assert!(!fault.message.contains("secret") && fault.detail.unwrap().contains("secret"));
    world.driver.set(|script| (script.refuse, script.setup_fails) = (None, true));
    assert_eq!(world.call("f", "x").await.unwrap_err().code, FaultCode::SandboxFailed);
    world.driver.set(|script| (script.setup_fails, script.no_hello) = (false, true));
    assert_eq!(world.call("f", "x").await.unwrap_err().code, FaultCode::SandboxFailed);
    world.deploy("g", |spec| spec.runtime = model::Runtime::python("3.8")).await;
    assert_eq!(world.call("g", "x").await.unwrap_err().code, FaultCode::RuntimeUnavailable);
    assert_eq!(world.told.records().len(), 4, "what never ran is recorded too");
    until("nothing is left", || world.instances() == 0 && world.driver.live() == 0).await;
}

#[tokio::test]
async fn a_line_belongs_to_the_call_that_wrote_it() {
    let world = World::new().await;
    world.driver.set(|script| script.init_prints = "loading\n");
    world.deploy("f", |_| {}).await;
    let call = invocation("f", "print one;printed half;log warned;after print late");
    let (id, other) = (call.id, invocation("f", "print two"));
    let outcome = world.engine.invoke(call).await.unwrap();
    let other_id = other.id;
    tokio::time::sleep(Duration::from_millis(150)).await;
    world.engine.invoke(other).await.unwrap();
    let of = |text: &str| world.told.line(text).unwrap_or_else(|| panic!("no line {text}")).request_id;
    assert_eq!(of("loading"), None);
    assert_eq!(of("one"), Some(id));
    assert_eq!(of("half"), Some(id));
    assert_eq!(of("warned"), Some(id));
    assert_eq!(world.told.line("warned").unwrap().level, Some(LogLevel::Warn));
    assert_eq!(of("late"), None, "what is written between calls is nobody's");
    assert_eq!(of("two"), Some(other_id));
    let tail = String::from_utf8(outcome.tail.unwrap()).unwrap();
    let lines: Vec<_> = tail.lines().collect();
    assert_eq!(lines[0], format!("START RequestId: {id} Version: $LATEST"));
    assert_eq!(lines[1..lines.len() - 2].iter().filter(|line| ["one", "half", "warned"].contains(line)).count(), 3);
    assert_eq!(lines[lines.len() - 2], format!("END RequestId: {id}"));
    let report = lines[lines.len() - 1];
    assert!(report.starts_with(&format!("REPORT RequestId: {id}\tDuration: ")), "{report}");
    assert!(report.contains("\tMemory Size: 128 MB\tMax Memory Used: 0 MB\tInit Duration: "), "{report}");
}

#[tokio::test]
async fn a_function_cannot_write_lines_into_the_log_of_another_call() {
    let world = World::new().await;
    world.deploy("f", |_| {}).await;
    world.ask("f", &format!("forge {}", model::RequestId::random())).await;
    assert_eq!(world.told.line("forged").unwrap().request_id, None);
}

#[tokio::test]
async fn a_flood_of_output_does_not_hide_the_deadline() {
    let world = World::new().await;
    world.deploy("f", |spec| spec.timeout = Duration::from_millis(200)).await;
    let event = format!("{};sleep 3000", vec!["print x"; 3000].join(";"));
    let outcome = world.call("f", &event).await.unwrap();
    assert!(matches!(outcome.reply, Reply::Failure(error) if error.fault.code == FaultCode::Timeout));
    assert_eq!(world.told.lines().iter().filter(|line| line.message == "x").count(), 3000);
}

#[tokio::test]
async fn a_call_runs_to_its_end_when_its_caller_is_gone() {
    let world = World::new().await;
    world.deploy("f", |_| {}).await;
    for event in ["sleep 100;cold", "sleep 100;warm"] {
        let call = invocation("f", event);
        let id = call.id;
        let caller = tokio::time::timeout(Duration::from_millis(30), world.engine.invoke(call)).await;
        assert!(caller.is_err());
        until("it is recorded", || world.told.records().iter().any(|record| record.request_id == id)).await;
        assert_eq!(world.told.record(id).outcome, RecordOutcome::Ok);
    }
    assert_eq!(world.driver.started(), 1, "its instance is in order and serves on");
}

#[tokio::test]
async fn an_instance_that_ended_while_idle_costs_its_next_caller_nothing() {
    let world = World::new().await;
    world.deploy("f", |_| {}).await;
    for _ in 0..20 {
        // No pause: the engine may or may not have noticed.
        assert_eq!(world.ask("f", "after exit 1").await, "after exit 1");
    }
    let handled = world.driver.seen.handled.lock().unwrap().clone();
    let once: std::collections::HashSet<_> = handled.iter().collect();
    assert_eq!(once.len(), handled.len(), "none ran twice");
}
