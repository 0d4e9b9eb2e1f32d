//! What a caller is told when a function fails, in AWS Lambda's words: tools and people search for these texts.

use std::time::Duration;

use bytes::Bytes;
use driver::ExitCause;
use model::{Fault, FaultCode, FunctionError, MAX_RESPONSE_BYTES, MAX_STREAM_BYTES, Record, RequestId};
use serde::{Deserialize, Serialize};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shape<'a> {
    error_type: &'a str,
    error_message: &'a str,
}

fn error(error_type: &str, error_message: &str, fault: Fault) -> FunctionError {
    let shape = Shape { error_type, error_message };
    FunctionError { payload: serde_json::to_vec(&shape).unwrap_or_default().into(), fault }
}

/// Error JSON of the runtime, passed on byte for byte.
pub fn reported(payload: Bytes, code: FaultCode) -> FunctionError {
    let message = match code {
        FaultCode::InitFailed => "the function's initialisation failed",
        _ => "the function's handler returned an error",
    };
    FunctionError { payload, fault: Fault::new(code, message) }
}

/// `code` is `Timeout`, or `InitTimeout`.
pub fn timed_out(id: RequestId, limit: Duration, code: FaultCode) -> FunctionError {
    let text = format!("Task timed out after {:.2} seconds", limit.as_secs_f64());
    error("Sandbox.Timedout", &format!("RequestId: {id} Error: {text}"), Fault::new(code, text))
}

/// The sandbox ended. `cause` is none if that could not be learnt in time.
pub fn exited(id: RequestId, cause: Option<&ExitCause>) -> FunctionError {
    let text = match cause {
        Some(ExitCause::Status(0)) | None => "Runtime exited without providing a reason".to_owned(),
        Some(ExitCause::Status(status)) => format!("Runtime exited with error: exit status {status}"),
        Some(ExitCause::Signal(number)) => format!("Runtime exited with error: signal: {}", signal(*number)),
        // AWS calls the killer's signal by its name too.
        Some(ExitCause::OutOfMemory | ExitCause::Killed) => "Runtime exited with error: signal: killed".to_owned(),
        Some(ExitCause::Setup(_)) => "Runtime exited without providing a reason".to_owned(),
    };
    let (kind, code) = match cause {
        Some(ExitCause::OutOfMemory) => ("Runtime.OutOfMemory", FaultCode::OutOfMemory),
        _ => ("Runtime.ExitError", FaultCode::Exited),
    };
    error(kind, &format!("RequestId: {id} Error: {text}"), Fault::new(code, text))
}

pub fn too_large() -> FunctionError {
    let text = format!("Response payload size exceeded maximum allowed payload size ({MAX_RESPONSE_BYTES} bytes).");
    error("Function.ResponseSizeTooLarge", &text, Fault::new(FaultCode::ResponseTooLarge, text.clone()))
}

/// Of an answer that was passed on as it came.
pub fn stream_too_large() -> FunctionError {
    let text = format!("Response payload size exceeded maximum allowed payload size ({MAX_STREAM_BYTES} bytes).");
    error("Function.ResponseSizeTooLarge", &text, Fault::new(FaultCode::ResponseTooLarge, text.clone()))
}

pub fn not_the_protocol(id: RequestId, what: &str) -> FunctionError {
    let text = "the runtime's answer is not the protocol";
    let fault = Fault::new(FaultCode::Protocol, text).with_detail(what);
    error("Runtime.ProtocolError", &format!("RequestId: {id} Error: {text}: {what}"), fault)
}

/// What the error JSON says in a line, for the record: `ZeroDivisionError: division by zero`.
pub fn summary(error: &FunctionError) -> String {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Said {
        error_type: Option<String>,
        error_message: Option<String>,
    }
    // A runtime may answer any JSON, with any types in it.
    let said = serde_json::from_slice::<Said>(&error.payload).ok();
    let text = said.and_then(|said| match (said.error_type.filter(|kind| !kind.is_empty()), said.error_message) {
        (Some(kind), Some(message)) => Some(format!("{kind}: {message}")),
        (None, Some(text)) | (Some(text), None) => Some(text),
        (None, None) => None,
    });
    cut(text.unwrap_or_else(|| error.fault.message.clone()))
}

/// As much of a text as a record keeps.
pub fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(Record::MOST_ERROR));
    text
}

/// The name of a signal as Go has it, in which AWS Lambda is written.
fn signal(number: i32) -> String {
    let name = match number {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        5 => "trace/breakpoint trap",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        9 => "killed",
        10 => "user defined signal 1",
        11 => "segmentation fault",
        12 => "user defined signal 2",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        31 => "bad system call",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_says_in_a_line_what_went_wrong() {
        let said =
            |payload: &str| summary(&reported(Bytes::copy_from_slice(payload.as_bytes()), FaultCode::HandlerError));
        assert_eq!(said(r#"{"errorType":"KeyError","errorMessage":"'x'","stackTrace":[]}"#), "KeyError: 'x'");
        assert_eq!(said(r#"{"errorMessage":"no"}"#), "no");
        assert_eq!(said(r#"{"errorMessage":5}"#), "the function's handler returned an error");
        let long = said(&format!(r#"{{"errorMessage":"x{}"}}"#, "ä".repeat(1000)));
        assert_eq!(long.len(), Record::MOST_ERROR - 1, "no character is cut");
    }

    #[test]
    fn failures_have_awss_shapes() {
        let id: RequestId = "2f0e4b5a-0000-4000-8000-000000000000".parse().unwrap();
        let shown = |error: FunctionError| String::from_utf8(error.payload.to_vec()).unwrap();
        let exit = |cause| shown(exited(id, Some(&cause)));
        let said = |kind: &str, text: &str| {
            format!(r#"{{"errorType":"{kind}","errorMessage":"RequestId: {id} Error: {text}"}}"#)
        };
        assert_eq!(
            shown(timed_out(id, Duration::from_secs(1), FaultCode::Timeout)),
            said("Sandbox.Timedout", "Task timed out after 1.00 seconds")
        );
        let kind = "Runtime.ExitError";
        assert_eq!(exit(ExitCause::Status(3)), said(kind, "Runtime exited with error: exit status 3"));
        assert_eq!(exit(ExitCause::Status(0)), said(kind, "Runtime exited without providing a reason"));
        assert_eq!(exit(ExitCause::Signal(11)), said(kind, "Runtime exited with error: signal: segmentation fault"));
        assert_eq!(
            exit(ExitCause::OutOfMemory),
            said("Runtime.OutOfMemory", "Runtime exited with error: signal: killed")
        );
        let text = "Response payload size exceeded maximum allowed payload size (6291556 bytes).";
        assert_eq!(
            shown(too_large()),
            format!(r#"{{"errorType":"Function.ResponseSizeTooLarge","errorMessage":"{text}"}}"#)
        );
    }
}
