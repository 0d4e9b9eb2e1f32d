//! AWS Lambda's Runtime API, so that programs which are made for it run as they are.
//!
//! ```text
//! next ──► the connection's own thread waits for INVOKE ──► event ──► response │ error ──► RESPONSE │ ERROR
//!   └ the first one is READY        └ the client went: no event is taken
//! init/error before the first next ──► INIT_ERROR
//! ```
//!
//! Who asks for the next event reads the invoke stream itself: between the host and the program there is one thread.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use wire::{Init, Run};

use super::child;
use super::host::{Host, Invokes, error_json};
use super::http::{Body, Connection, Request};

const ADDRESS: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 9001);

/// What a result may be, 100 bytes over 6 MB; the host is told of one byte more, and refuses.
const MOST: usize = 6 * 1024 * 1024 + 100;

/// How long what a program sent before its end may take to be passed on.
const LAST_WORDS: Duration = Duration::from_millis(200);

const STACK: usize = 256 * 1024;

struct Api {
    host: Arc<Host>,
    state: Mutex<State>,
    /// Connections being served.
    open: AtomicUsize,
    arn: String,
}

struct State {
    invokes: Invokes,
    ready: bool,
    /// The event that runs.
    current: Option<String>,
}

/// An answer to the program.
type Answer = (&'static str, &'static str, &'static str);

const ACCEPTED: &str = "202 Accepted";

pub fn serve(host: Arc<Host>, invokes: Invokes, init: &Init, run: &Run) -> io::Result<Infallible> {
    let listener = TcpListener::bind(ADDRESS)?;
    host.follow()?;
    let mut command = match child::command(init, run) {
        Ok(command) => command,
        Err(error) => host.init_error(error),
    };
    command.env("AWS_LAMBDA_RUNTIME_API", format!("{}:{}", ADDRESS.0, ADDRESS.1));
    let state = Mutex::new(State { invokes, ready: false, current: None });
    let arn = init.function.arn.clone();
    let api = Arc::new(Api { host: host.clone(), state, open: AtomicUsize::new(0), arn });
    let serving = api.clone();
    std::thread::Builder::new().stack_size(STACK).spawn(move || accept(&serving, &listener))?;
    let mut program = match command.spawn() {
        Ok(program) => program,
        Err(error) => host.init_error(child::not_started(&command, &error)),
    };
    let status = program.wait()?;
    // It may have answered right before its end.
    let until = Instant::now() + LAST_WORDS;
    while api.open.load(Ordering::Acquire) > 0 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    child::end_like(status)
}

fn accept(api: &Arc<Api>, listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        api.open.fetch_add(1, Ordering::AcqRel);
        let serving = api.clone();
        let thread = std::thread::Builder::new().stack_size(STACK).spawn(move || {
            if let Err(error) = serving.connection(stream) {
                eprintln!("hearth: Runtime API: {error}");
            }
            serving.open.fetch_sub(1, Ordering::AcqRel);
        });
        if thread.is_err() {
            // No thread to be had: the program sees its connection closed.
            api.open.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

// === impl Api ===

impl Api {
    fn connection(&self, stream: TcpStream) -> io::Result<()> {
        let mut connection = Connection::new(stream);
        loop {
            let request = match connection.request() {
                Ok(Some(request)) => request,
                Ok(None) => return Ok(()),
                // A program that ends closes its connections as it likes.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                Err(error) => return Err(error),
            };
            self.answer(&mut connection, &request)?;
            if request.closes() {
                return Ok(());
            }
        }
    }

    fn answer(&self, connection: &mut Connection, request: &Request) -> io::Result<()> {
        let path = request.path.strip_prefix("/2018-06-01/runtime/").unwrap_or_default();
        let parts: Vec<&str> = path.split('/').collect();
        if (request.method.as_str(), &parts[..]) == ("GET", &["invocation", "next"]) {
            return self.next(connection);
        }
        let body = connection.body(request, MOST + 1)?;
        let (status, kind, message) = match (request.method.as_str(), &parts[..]) {
            ("POST", ["init", "error"]) => self.init_error(request, body),
            ("POST", ["invocation", id, "response"]) => self.response(id, request, body)?,
            ("POST", ["invocation", id, "error"]) => self.error(id, request, body)?,
            _ => ("404 Not Found", "NotFound", "this Runtime API has no such path or method"),
        };
        let body = match status {
            ACCEPTED => Bytes::from_static(br#"{"status":"OK"}"#),
            _ => error_json(kind, message),
        };
        connection.answer(status, &[("Content-Type", "application/json")], &body)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|broken| broken.into_inner())
    }

    fn next(&self, connection: &mut Connection) -> io::Result<()> {
        let mut state = self.lock();
        if state.current.is_some() {
            drop(state);
            let body = error_json("InvalidStateTransition", "the event before has not been answered");
            return connection.answer("403 Forbidden", &[("Content-Type", "application/json")], &body);
        }
        if !state.ready {
            state.ready = true;
            self.host.ready()?;
        }
        if !waits(&state.invokes, connection)? {
            return Ok(());
        }
        let invoke = state.invokes.next()?;
        state.current = Some(invoke.request_id.clone());
        drop(state);
        let deadline = invoke.deadline_ms.to_string();
        let all = [
            ("Lambda-Runtime-Aws-Request-Id", invoke.request_id.as_str()),
            ("Lambda-Runtime-Deadline-Ms", &deadline),
            ("Lambda-Runtime-Trace-Id", &invoke.trace_id),
            (
                "Lambda-Runtime-Invoked-Function-Arn",
                if invoke.function_arn.is_empty() { &self.arn } else { &invoke.function_arn },
            ),
            ("Lambda-Runtime-Client-Context", &invoke.client_context),
            ("Lambda-Runtime-Cognito-Identity", &invoke.cognito_identity),
            ("Content-Type", "application/json"),
        ];
        let headers: Vec<_> = all.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        connection.answer("200 OK", &headers, &invoke.payload)
    }

    fn response(&self, id: &str, request: &Request, body: Body) -> io::Result<Answer> {
        let mut state = self.lock();
        if state.current.as_deref() != Some(id) {
            return Ok(unknown_id());
        }
        state.current = None;
        if request.header("lambda-runtime-function-response-mode").is_some_and(|mode| mode == "streaming") {
            let text = "streamed responses of event functions are not supported yet: a web function streams";
            state.invokes.error(error_json("Runtime.StreamingNotSupported", text))?;
            return Ok(("400 Bad Request", "StreamingNotSupported", text));
        }
        state.invokes.response(body.bytes.into())?;
        if body.cut || request_is_long(request) {
            let text = "Exceeded maximum allowed payload size (6291556 bytes).";
            return Ok(("413 Content Too Large", "RequestEntityTooLarge", text));
        }
        Ok((ACCEPTED, "", ""))
    }

    fn error(&self, id: &str, request: &Request, body: Body) -> io::Result<Answer> {
        let mut state = self.lock();
        if state.current.as_deref() != Some(id) {
            return Ok(unknown_id());
        }
        state.current = None;
        state.invokes.error(error_of(request, body))?;
        Ok((ACCEPTED, "", ""))
    }

    fn init_error(&self, request: &Request, body: Body) -> Answer {
        if self.lock().ready {
            return ("403 Forbidden", "InvalidStateTransition", "the initialisation is over");
        }
        self.host.init_error(error_of(request, body))
    }
}

fn request_is_long(request: &Request) -> bool {
    let length = request.header("content-length").and_then(|text| text.trim().parse::<usize>().ok());
    length.is_some_and(|length| length > MOST)
}

fn unknown_id() -> Answer {
    ("400 Bad Request", "InvalidRequestID", "this is not the event that runs")
}

/// What the program said, if that is a JSON object; or what can be made of it.
fn error_of(request: &Request, body: Body) -> Bytes {
    let object = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&body.bytes).is_ok();
    if object {
        return body.bytes.into();
    }
    let kind = request.header("lambda-runtime-function-error-type").unwrap_or("Runtime.Unknown");
    error_json(kind, &String::from_utf8_lossy(&body.bytes))
}

/// Until there is an event; false if the client goes first, with which the event would be lost.
fn waits(invokes: &Invokes, connection: &Connection) -> io::Result<bool> {
    loop {
        let client = if connection.is_empty() { connection.stream.as_raw_fd() } else { -1 };
        let mut both = [
            libc::pollfd { fd: invokes.fd(), events: libc::POLLIN, revents: 0 },
            libc::pollfd { fd: client, events: libc::POLLRDHUP, revents: 0 },
        ];
        // SAFETY: `both` is an array of that many, which outlives the call.
        if unsafe { libc::poll(both.as_mut_ptr(), 2, -1) } < 0 {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        }
        if both[1].revents != 0 {
            return Ok(false);
        }
        if both[0].revents != 0 {
            return Ok(true);
        }
    }
}
