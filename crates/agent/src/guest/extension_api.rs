//! AWS Lambda's Extensions API, beside the Runtime API; and the end of an instance that has extensions.
//!
//! ```text
//! the host closes the control stream ─► SPINDOWN ┐   ┌─► SIGTERM to the function's program, 300 ms
//! the function's program ends        ─► FAILURE  ┴───┴─► SHUTDOWN to extensions, which end ─► the agent ends; 2 s at most
//! ```

use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::extensions::Refused;
use super::host::error_json;
use super::http::{Connection, Request};
use super::runtime_api::{Api, Last, PROGRAM, accepted, error_of, tell};

/// What a registration or an error may be long.
const MOST: usize = 64 * 1024;

/// How long an end may take, as on AWS Lambda.
const SHUTDOWN: Duration = Duration::from_millis(2000);

/// How much of that is the function's own program's.
const TERM: Duration = Duration::from_millis(300);

const IDENTIFIER: &str = "Lambda-Extension-Identifier";

impl Api {
    pub fn extension(&self, connection: &mut Connection, request: &Request, path: &str) -> io::Result<()> {
        let id = request.header(IDENTIFIER);
        match (request.method.as_str(), path) {
            ("GET", "event/next") => self.next_event(connection, id),
            ("POST", "register") => {
                let body = connection.body(request, MOST)?;
                self.register(connection, request, &body.bytes)
            }
            ("POST", "init/error" | "exit/error") => {
                let body = connection.body(request, MOST)?;
                let named = self.lock().extensions.name(id);
                let name = match named {
                    Ok(name) => name,
                    Err(refused) => return tell(connection, refused),
                };
                tell(connection, accepted())?;
                self.failed(&name, error_of(request, body))
            }
            _ => {
                connection.body(request, MOST)?;
                let text = "this Extensions API has no such path or method".to_owned();
                tell(connection, ("404 Not Found", "NotFound", text))
            }
        }
    }

    fn register(&self, connection: &mut Connection, request: &Request, body: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        let late = state.ready;
        let registered = state.extensions.register(request.header("lambda-extension-name"), body, late);
        drop(state);
        let id = match registered {
            Ok(id) => id,
            Err(refused) => return tell(connection, refused),
        };
        self.changed.notify_all();
        let function = &self.init.function;
        let mut answer = serde_json::json!({
            "functionName": function.name, "functionVersion": function.version, "handler": self.init.handler,
        });
        if request.header("lambda-extension-accept-feature").is_some_and(|asked| asked.contains("accountId")) {
            answer["accountId"] = function.arn.split(':').nth(4).unwrap_or_default().into();
        }
        let headers = [("Content-Type", "application/json"), (IDENTIFIER, id.as_str())];
        connection.answer("200 OK", &headers, answer.to_string().as_bytes())
    }

    /// It is done with what it was told before, and waits.
    fn next_event(&self, connection: &mut Connection, id: Option<&str>) -> io::Result<()> {
        if let Err(refused) = self.rests(id)? {
            return tell(connection, refused);
        }
        let mut found = None;
        drop(self.wait_until(|state| {
            found = state.extensions.next(id).unwrap_or_default();
            found.is_some()
        }));
        let event = found.unwrap_or_default().to_string();
        let number = super::random_id();
        let headers = [("Content-Type", "application/json"), ("Lambda-Extension-Event-Identifier", number.as_str())];
        connection.answer("200 OK", &headers, event.as_bytes())
    }

    /// With the last of those that were told of an event its answer goes out.
    fn rests(&self, id: Option<&str>) -> io::Result<Result<(), Refused>> {
        let mut state = self.lock();
        if let Err(refused) = state.extensions.rests(id) {
            return Ok(Err(refused));
        }
        if state.extensions.all_idle()
            && let Some(last) = state.pending.take()
        {
            state.answers.last(last)?;
        }
        drop(state);
        self.changed.notify_all();
        Ok(Ok(()))
    }

    /// How many connections are those of extensions, which wait for events and are not waited for.
    pub fn waiting(&self) -> usize {
        self.lock().extensions.count()
    }

    /// An extension that ends before it is told to takes the instance with it, as on AWS Lambda.
    pub fn extension_ended(&self, name: &str, how: &str) {
        if self.lock().ending {
            return;
        }
        let text = format!("the extension {name} ended: {how}");
        self.failed(name, error_json("Extension.Crash", &text));
    }

    fn failed(&self, name: &str, error: Bytes) -> ! {
        let mut state = self.lock();
        let told = String::from_utf8_lossy(&error).into_owned();
        eprintln!("hearth: the extension {name} failed: {told}");
        if !state.ready {
            self.host.init_error(error);
        }
        // The host shall send no other event before it is told of this one.
        self.host.hang_up();
        if state.current.is_some() || state.pending.is_some() {
            let _ = state.answers.last(Last::Error(error));
        }
        super::end(1)
    }

    /// Lets extensions end, and then does what ends the agent.
    pub fn end(&self, reason: &str, then: impl FnOnce() -> std::convert::Infallible) -> ! {
        let until = Instant::now() + SHUTDOWN;
        let mut state = self.lock();
        let (first, any) = (!std::mem::replace(&mut state.ending, true), state.extensions.has_external());
        drop(state);
        if any && first {
            self.terminate_program();
            self.wait_for_programs(Instant::now() + TERM, true);
            let deadline = SystemTime::now() + until.saturating_duration_since(Instant::now());
            let deadline = deadline.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
            self.lock().extensions.ends(reason, deadline);
            self.changed.notify_all();
            self.wait_for_programs(until, false);
        } else if any {
            // Who began to end it, does.
            std::thread::sleep(SHUTDOWN);
        }
        match then() {}
    }

    fn terminate_program(&self) {
        for (id, name) in &self.lock().running {
            if name == PROGRAM {
                // SAFETY: plain numbers. It was not waited for yet, so the number is still its own.
                unsafe { libc::kill(*id as libc::pid_t, libc::SIGTERM) };
            }
        }
    }

    /// Until all have ended, or the function's own has.
    fn wait_for_programs(&self, until: Instant, only_own: bool) {
        let mut state = self.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let mut running = state.running.iter();
            let done = !running.any(|(_, name)| !only_own || name == PROGRAM);
            if done || left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(|broken| broken.into_inner()).0;
        }
    }
}
