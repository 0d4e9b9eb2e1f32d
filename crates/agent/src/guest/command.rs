//! A program that is run once for each event: the event on its standard input, the result on its standard output, and
//! what it prints on standard error goes to the log.
//!
//! ```text
//! INVOKE ─► start ─► event written, output and errors read ─► exit 0: RESPONSE
//!                                                          └► else: ERROR, with the last line of its errors
//! ```
//!
//! Whatever it left running ends with it. The time limit is the host's: it kills the sandbox.

use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use wire::{Init, Invoke, Run};

use super::child;
use super::host::{Host, Invokes};

/// What is kept of the output: a byte more than a result may have, for the host to refuse.
const MOST: usize = 6 * 1024 * 1024 + 101;

/// Longest line of errors that a caller is told.
const LINE: usize = 1024;

const STACK: usize = 128 * 1024;

pub fn serve(host: Arc<Host>, mut invokes: Invokes, init: &Init, run: &Run) -> io::Result<Infallible> {
    host.follow()?;
    if let Err(error) = child::command(init, run) {
        host.init_error(error);
    }
    host.ready()?;
    let mut answers = invokes.answers()?;
    loop {
        let invoke = invokes.next()?;
        match once(init, run, invoke)? {
            Ok(result) => answers.response(result)?,
            Err(error) => answers.error(error)?,
        }
    }
}

/// The result, or the error JSON.
fn once(init: &Init, run: &Run, invoke: Invoke) -> io::Result<Result<Bytes, Bytes>> {
    let mut command = match child::command(init, run) {
        Ok(command) => command,
        Err(error) => return Ok(Err(error)),
    };
    command
        .env("AWS_LAMBDA_REQUEST_ID", &invoke.request_id)
        .env("AWS_LAMBDA_DEADLINE_MS", invoke.deadline_ms.to_string())
        .env("_X_AMZN_TRACE_ID", &invoke.trace_id)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own, so that what it leaves behind can be ended with it.
        .process_group(0);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Ok(Err(child::not_started(&command, &error))),
    };
    let writing = feed(&mut child, invoke.payload)?;
    let errors = follow_errors(&mut child)?;
    let group = child.id() as libc::pid_t;
    // The pipe ends when all who have it end: so the program's own end is waited for beside it.
    let output = child.stdout.take().map(|out| spawn(move || read_all(out))).transpose()?;
    let status = child.wait()?;
    // SAFETY: plain numbers. The group may be empty already: that is an error, ignored.
    unsafe { libc::kill(-group, libc::SIGKILL) };
    let output = output.map(|reading| reading.join().unwrap_or_default()).unwrap_or_default();
    drop(writing.join());
    let last = errors.join().unwrap_or_default();
    Ok(if status.success() { Ok(result(output)) } else { Err(failure(status, &last)) })
}

fn spawn<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>> {
    thread::Builder::new().stack_size(STACK).spawn(what)
}

/// A program need not read its event: then nobody minds.
fn feed(child: &mut Child, event: Bytes) -> io::Result<JoinHandle<()>> {
    let stdin = child.stdin.take();
    spawn(move || {
        if let Some(mut stdin) = stdin {
            let _ = stdin.write_all(&event);
        }
    })
}

fn read_all(mut from: impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    let _ = from.by_ref().take(MOST as u64).read_to_end(&mut all);
    // A writer that is not read would wait for ever.
    let _ = io::copy(&mut from, &mut io::sink());
    all
}

/// Passes on what it prints on standard error, and keeps the last line that is not empty.
fn follow_errors(child: &mut Child) -> io::Result<JoinHandle<String>> {
    let stderr = child.stderr.take();
    spawn(move || {
        let (mut line, mut last) = (Vec::new(), Vec::new());
        let mut buffer = [0; 16 * 1024];
        let Some(mut stderr) = stderr else { return String::new() };
        while let Ok(read @ 1..) = stderr.read(&mut buffer) {
            let _ = io::stderr().write_all(&buffer[..read]);
            for byte in &buffer[..read] {
                match byte {
                    b'\n' => keep(&mut line, &mut last),
                    byte if line.len() < LINE => line.push(*byte),
                    _ => {}
                }
            }
        }
        keep(&mut line, &mut last);
        String::from_utf8_lossy(&last).trim().to_owned()
    })
}

fn keep(line: &mut Vec<u8>, last: &mut Vec<u8>) {
    if !line.trim_ascii().is_empty() {
        std::mem::swap(line, last);
    }
    line.clear();
}

/// JSON as it is, and anything else as a JSON text: what a caller gets is always JSON.
fn result(output: Vec<u8>) -> Bytes {
    if output.len() >= MOST || serde_json::from_slice::<&serde_json::value::RawValue>(&output).is_ok() {
        return output.into();
    }
    let text = String::from_utf8_lossy(&output);
    let text = text.strip_suffix('\n').unwrap_or(&text);
    if text.is_empty() { Bytes::from_static(b"null") } else { serde_json::json!(text).to_string().into() }
}

fn failure(status: ExitStatus, last: &str) -> Bytes {
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no reason".to_owned(),
    };
    let message = if last.is_empty() { format!("the program ended with {how}") } else { last.to_owned() };
    let error = serde_json::json!({ "errorType": "Command.Failed", "errorMessage": message, "exit": how });
    error.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_json_whatever_was_printed() {
        let of = |text: &str| String::from_utf8(result(text.as_bytes().to_vec()).to_vec()).unwrap();
        assert_eq!(of("{\"a\": 1}\n"), "{\"a\": 1}\n");
        assert_eq!(of("hello\n"), "\"hello\"");
        assert_eq!(of("two\nlines\n"), "\"two\\nlines\"");
        assert_eq!(of(""), "null");
        assert_eq!(of("42"), "42");
    }

    #[test]
    fn the_last_line_that_says_something_is_the_message() {
        let (mut line, mut last) = (b"first".to_vec(), Vec::new());
        keep(&mut line, &mut last);
        line.extend_from_slice(b"  ");
        keep(&mut line, &mut last);
        assert_eq!(last, b"first");
        let said = failure(ExitStatus::from_raw(3 << 8), "no such file");
        assert_eq!(said, r#"{"errorMessage":"no such file","errorType":"Command.Failed","exit":"exit status 3"}"#);
    }
}
