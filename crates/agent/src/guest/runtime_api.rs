//! AWS Lambda's Runtime API, so that programs which are made for it run as they are.
//!
//! ```text
//! next ──► the connection's own thread waits for INVOKE ──► event ──► response │ error ──► RESPONSE │ STREAM … │ ERROR
//!   └ the first one is READY        └ the client went: no event is taken
//! init/error before the first next ──► INIT_ERROR
//! ```
//!
//! Who asks for the next event reads the invoke stream itself: between the host and the program there is one thread.
//! A response in mode `streaming` is passed on as it comes; its client is held back while the host does not read.
//! Where there are extensions, `next` and the end of an answer wait for them: see `extensions`.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use wire::{Init, Run};

use super::child;
use super::extensions::{self, Extensions};
use super::host::{Answers, Host, Invokes, error_json};
use super::http::{Body, Connection, Headers, Request};

const ADDRESS: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 9001);

/// What a result may be, 100 bytes over 6 MB; the host is told of one byte more, and refuses.
const MOST: usize = 6 * 1024 * 1024 + 100;

/// How long what a program sent before its end may take to be passed on.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// How long the end of a program is waited for whose response broke off: then it says more than that.
const BROKE_OFF: Duration = Duration::from_millis(100);

const STACK: usize = 256 * 1024;

/// What the function's own program is called among those running: no extension's name has a space.
pub(super) const PROGRAM: &str = "the function's program";

pub(super) struct Api {
    pub host: Arc<Host>,
    pub state: Mutex<State>,
    /// Something in the state has changed that somebody may wait for.
    pub changed: Condvar,
    /// Held by who waits for the next event.
    invokes: Mutex<Invokes>,
    /// Connections being served.
    open: AtomicUsize,
    /// The program has ended.
    ended: AtomicBool,
    pub init: Init,
}

pub(super) struct State {
    pub answers: Answers,
    pub ready: bool,
    /// The event that runs.
    pub current: Option<String>,
    /// How it ended, while extensions are not done with it.
    pub pending: Option<Last>,
    pub extensions: Extensions,
    /// Programs that have not ended: extensions, and the function's own.
    pub running: Vec<(u32, String)>,
    /// The agent is about to end.
    pub ending: bool,
}

/// The last of an answer.
pub(super) enum Last {
    Response(Bytes),
    /// Of a streamed one.
    End,
    Error(Bytes),
}

/// An answer to the program.
pub(super) type Answer = (&'static str, &'static str, String);

const ACCEPTED: &str = "202 Accepted";
const JSON: (&str, &str) = ("Content-Type", "application/json");

pub fn serve(host: Arc<Host>, invokes: Invokes, init: &Init, run: &Run) -> io::Result<Infallible> {
    let listener = TcpListener::bind(ADDRESS)?;
    let mut command = match child::command(init, run) {
        Ok(command) => command,
        Err(error) => host.init_error(error),
    };
    let address = format!("{}:{}", ADDRESS.0, ADDRESS.1);
    command.env("AWS_LAMBDA_RUNTIME_API", &address);
    let state = State {
        answers: invokes.answers()?,
        ready: false,
        current: None,
        pending: None,
        extensions: Extensions::default(),
        running: Vec::new(),
        ending: false,
    };
    let api = Arc::new(Api {
        host: host.clone(),
        state: Mutex::new(state),
        changed: Condvar::new(),
        invokes: Mutex::new(invokes),
        open: AtomicUsize::new(0),
        ended: AtomicBool::new(false),
        init: init.clone(),
    });
    let following = api.clone();
    host.follow_until(move |ended| match ended {
        true => following.end("SPINDOWN", || super::end(0)),
        false => super::end(1),
    })?;
    let serving = api.clone();
    std::thread::Builder::new().stack_size(STACK).spawn(move || accept(&serving, &listener))?;
    if let Some(folder) = &run.extensions {
        api.start_extensions(Path::new(folder), &address)?;
    }
    let mut program = match command.spawn() {
        Ok(program) => program,
        Err(error) => host.init_error(child::not_started(&command, &error)),
    };
    let status = api.follow_program(&mut program, PROGRAM)?;
    api.ended.store(true, Ordering::Release);
    // It may have answered right before its end.
    let until = Instant::now() + LAST_WORDS;
    while api.open.load(Ordering::Acquire) > api.waiting() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    api.end("FAILURE", || child::end_like(status))
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
        if let Some(path) = request.path.strip_prefix("/2020-01-01/extension/") {
            return self.extension(connection, request, path);
        }
        let path = request.path.strip_prefix("/2018-06-01/runtime/").unwrap_or_default();
        let parts: Vec<&str> = path.split('/').collect();
        if (request.method.as_str(), &parts[..]) == ("GET", &["invocation", "next"]) {
            return self.next(connection);
        }
        if let ("POST", ["invocation", id, "response"]) = (request.method.as_str(), &parts[..])
            && request.header("lambda-runtime-function-response-mode").is_some_and(|mode| mode == "streaming")
        {
            let answer = self.stream(id, connection, request)?;
            return tell(connection, answer);
        }
        let body = connection.body(request, MOST + 1)?;
        let answer = match (request.method.as_str(), &parts[..]) {
            ("POST", ["init", "error"]) => self.init_error(request, body),
            ("POST", ["invocation", id, "response"]) => self.response(id, request, body)?,
            ("POST", ["invocation", id, "error"]) => self.error(id, request, body)?,
            _ => ("404 Not Found", "NotFound", "this Runtime API has no such path or method".into()),
        };
        tell(connection, answer)
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|broken| broken.into_inner())
    }

    /// Waits until the state has become so.
    pub fn wait_until(&self, mut is: impl FnMut(&mut State) -> bool) -> MutexGuard<'_, State> {
        let waited = self.changed.wait_while(self.lock(), |state| !is(state));
        waited.unwrap_or_else(|broken| broken.into_inner())
    }

    fn next(&self, connection: &mut Connection) -> io::Result<()> {
        let mut state = self.lock();
        if state.current.is_some() {
            drop(state);
            let body = error_json("InvalidStateTransition", "the event before has not been answered");
            return connection.answer("403 Forbidden", &[JSON], &body);
        }
        if !state.ready {
            // From here on none can register.
            state.ready = true;
            drop(state);
            drop(self.wait_until(|state| state.extensions.all_ready()));
            self.host.ready()?;
        } else {
            drop(state);
        }
        // What extensions still do for the event before.
        drop(self.wait_until(|state| state.pending.is_none()));
        let mut invokes = self.invokes.lock().unwrap_or_else(|broken| broken.into_inner());
        if !waits(&invokes, connection)? {
            return Ok(());
        }
        let invoke = invokes.next()?;
        drop(invokes);
        let mut state = self.lock();
        state.current = Some(invoke.request_id.clone());
        let arn = &self.init.function.arn;
        state.extensions.invoked(&invoke, arn);
        drop(state);
        self.changed.notify_all();
        let deadline = invoke.deadline_ms.to_string();
        let all = [
            ("Lambda-Runtime-Aws-Request-Id", invoke.request_id.as_str()),
            ("Lambda-Runtime-Deadline-Ms", &deadline),
            ("Lambda-Runtime-Trace-Id", &invoke.trace_id),
            (
                "Lambda-Runtime-Invoked-Function-Arn",
                if invoke.function_arn.is_empty() { arn } else { &invoke.function_arn },
            ),
            ("Lambda-Runtime-Client-Context", &invoke.client_context),
            ("Lambda-Runtime-Cognito-Identity", &invoke.cognito_identity),
            JSON,
        ];
        let headers: Vec<_> = all.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        connection.answer("200 OK", &headers, &invoke.payload)
    }

    /// The event that runs is answered: its last frame goes out when all extensions are done with it.
    fn close(&self, state: &mut State, last: Last) -> io::Result<()> {
        state.current = None;
        if state.extensions.all_idle() {
            return state.answers.last(last);
        }
        state.pending = Some(last);
        Ok(())
    }

    fn response(&self, id: &str, request: &Request, body: Body) -> io::Result<Answer> {
        let mut state = self.lock();
        if state.current.as_deref() != Some(id) {
            return Ok(unknown_id());
        }
        self.close(&mut state, Last::Response(body.bytes.into()))?;
        if body.cut || request_is_long(request) {
            let text = "Exceeded maximum allowed payload size (6291556 bytes).";
            return Ok(("413 Content Too Large", "RequestEntityTooLarge", text.into()));
        }
        Ok(accepted())
    }

    /// Passes a response on as it comes. What follows it may say that the function failed meanwhile.
    fn stream(&self, id: &str, connection: &mut Connection, request: &Request) -> io::Result<Answer> {
        {
            let mut state = self.lock();
            if state.current.as_deref() != Some(id) {
                drop(state);
                connection.pieces(request, |_| Ok(()))?;
                return Ok(unknown_id());
            }
            state.answers.begin(request.header("content-type").unwrap_or_default())?;
        }
        // The lock is not held while the host does not read: extensions go on.
        let mut answers = self.lock().answers.again()?;
        match connection.pieces(request, |piece| answers.data(piece)) {
            Ok(trailers) => {
                let failed = failure_in(&trailers);
                let last = failed.map_or(Last::End, Last::Error);
                self.close(&mut self.lock(), last)?;
                Ok(accepted())
            }
            Err(error) => {
                let until = Instant::now() + BROKE_OFF;
                while !self.ended.load(Ordering::Acquire) && Instant::now() < until {
                    std::thread::sleep(Duration::from_millis(1));
                }
                // Its end says why, if it ended.
                if !self.ended.load(Ordering::Acquire) {
                    let text = format!("the function's response broke off: {error}");
                    self.close(&mut self.lock(), Last::Error(error_json("Runtime.TruncatedResponse", &text)))?;
                }
                Err(error)
            }
        }
    }

    fn error(&self, id: &str, request: &Request, body: Body) -> io::Result<Answer> {
        let mut state = self.lock();
        if state.current.as_deref() != Some(id) {
            return Ok(unknown_id());
        }
        self.close(&mut state, Last::Error(error_of(request, body)))?;
        Ok(accepted())
    }

    fn init_error(&self, request: &Request, body: Body) -> Answer {
        if self.lock().ready {
            return ("403 Forbidden", "InvalidStateTransition", "the initialisation is over".into());
        }
        self.host.init_error(error_of(request, body))
    }

    /// Waits for the end of a program that is one of those running.
    pub fn follow_program(&self, program: &mut Child, name: &str) -> io::Result<std::process::ExitStatus> {
        let id = program.id();
        self.lock().running.push((id, name.to_owned()));
        let status = program.wait();
        self.lock().running.retain(|(one, _)| *one != id);
        self.changed.notify_all();
        status
    }

    fn start_extensions(self: &Arc<Self>, folder: &Path, address: &str) -> io::Result<()> {
        let programs = match extensions::programs(folder) {
            Ok(programs) => programs,
            Err(error) => self.host.init_error(error_json("Extension.LaunchError", &error.to_string())),
        };
        let mut state = self.lock();
        programs.iter().for_each(|program| state.extensions.expect(extensions::name_of(program)));
        drop(state);
        for program in &programs {
            let name = extensions::name_of(program);
            let mut child = match extensions::start(program, &self.init, address) {
                Ok(child) => child,
                Err(error) => {
                    let text = format!("the extension {name} cannot be started: {error}");
                    self.host.init_error(error_json("Extension.LaunchError", &text))
                }
            };
            let following = self.clone();
            std::thread::Builder::new().stack_size(STACK).spawn(move || {
                if let Ok(status) = following.follow_program(&mut child, &name) {
                    following.extension_ended(&name, &status.to_string());
                }
            })?;
        }
        // The function's own program comes after them, as on AWS Lambda. The host bounds how long that takes.
        drop(self.wait_until(|state| state.extensions.all_registered()));
        Ok(())
    }
}

// === impl Answers ===

impl Answers {
    pub(super) fn last(&mut self, last: Last) -> io::Result<()> {
        match last {
            Last::Response(payload) => self.response(payload),
            Last::End => self.finish(),
            Last::Error(json) => self.error(json),
        }
    }
}

pub(super) fn tell(connection: &mut Connection, (status, kind, message): Answer) -> io::Result<()> {
    let body = match status {
        ACCEPTED => Bytes::from_static(br#"{"status":"OK"}"#),
        _ => error_json(kind, &message),
    };
    connection.answer(status, &[JSON], &body)
}

pub(super) fn accepted() -> Answer {
    (ACCEPTED, "", String::new())
}

fn request_is_long(request: &Request) -> bool {
    let length = request.header("content-length").and_then(|text| text.trim().parse::<usize>().ok());
    length.is_some_and(|length| length > MOST)
}

fn unknown_id() -> Answer {
    ("400 Bad Request", "InvalidRequestID", "this is not the event that runs".into())
}

/// What the program said, if that is a JSON object; or what can be made of it.
pub(super) fn error_of(request: &Request, body: Body) -> Bytes {
    let kind = request.header("lambda-runtime-function-error-type");
    let kind = kind.or_else(|| request.header("lambda-extension-function-error-type"));
    object_or(body.bytes, kind)
}

fn object_or(bytes: Vec<u8>, kind: Option<&str>) -> Bytes {
    let object = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&bytes).is_ok();
    if object {
        return bytes.into();
    }
    error_json(kind.unwrap_or("Runtime.Unknown"), &String::from_utf8_lossy(&bytes))
}

/// The error JSON in what follows a streamed response, whose body is in base64.
fn failure_in(trailers: &Headers) -> Option<Bytes> {
    let (kind, body) =
        (trailers.get("lambda-runtime-function-error-type"), trailers.get("lambda-runtime-function-error-body"));
    if kind.is_none() && body.is_none() {
        return None;
    }
    let decoded = super::base64::decode(body.unwrap_or_default());
    Some(object_or(decoded.unwrap_or_default(), kind))
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
