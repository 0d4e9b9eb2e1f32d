//! AWS Lambda's extensions: programs beside the function's own, which register and are told of its events.
//!
//! ```text
//! external: each executable in the folder ─► started ─► register ─► event/next ─► INVOKE ─► event/next ─► … ─► SHUTDOWN
//! internal: the function's own process    ─────────────► register ─► event/next ─► INVOKE ─► …    before its first next
//!                        │ gone, init/error, exit/error: the instance ends
//! ```
//!
//! Who waits for an event with an extension that has not asked for the next one is held back: an answer is given when all
//! that were told of its event have asked again, since the host stops the processes of an instance that is idle.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use serde::Deserialize;
use serde_json::{Value, json};
use wire::{Init, Invoke};

/// As on AWS Lambda.
const MOST: usize = 10;

/// What an extension may ask to be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Event {
    Invoke,
    Shutdown,
}

/// All that there are in this sandbox.
#[derive(Default)]
pub struct Extensions {
    /// Names of the programs that were started.
    external: Vec<String>,
    registered: Vec<Extension>,
}

struct Extension {
    id: String,
    name: String,
    external: bool,
    events: Vec<Event>,
    /// It waits for an event, or may not be told of any more before it is asked to.
    idle: bool,
    /// Asked for its first event.
    ready: bool,
    queue: VecDeque<Value>,
}

/// Why a request of an extension is refused: status, kind, message.
pub type Refused = (&'static str, &'static str, String);

#[derive(Deserialize)]
struct Registration {
    #[serde(default)]
    events: Vec<Event>,
}

/// The programs in that folder, by name. None where there is no folder.
pub fn programs(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", folder.display()))),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let meta = std::fs::metadata(&path)?;
        // What belongs to an extension beside its program is in folders.
        if meta.is_file() && meta.permissions().mode() & 0o111 != 0 {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Starts one with the function's environment, in the task root.
pub fn start(program: &Path, init: &Init, api: &str) -> io::Result<Child> {
    let mut command = Command::new(program);
    command.envs(&init.env).env("AWS_LAMBDA_RUNTIME_API", api);
    command.env_remove("HEARTH_STEM").env_remove("HEARTH_INVOKE_STREAMS").env_remove("_HANDLER");
    command.spawn()
}

pub fn name_of(program: &Path) -> String {
    program.file_name().unwrap_or(OsStr::new("?")).to_string_lossy().into_owned()
}

// === impl Extensions ===

impl Extensions {
    /// A program of that name is about to be started.
    pub fn expect(&mut self, name: String) {
        self.external.push(name);
    }

    pub fn count(&self) -> usize {
        self.registered.len()
    }

    pub fn has_external(&self) -> bool {
        !self.external.is_empty()
    }

    /// Whether all that were started have registered.
    pub fn all_registered(&self) -> bool {
        self.external.iter().all(|name| self.registered.iter().any(|one| one.external && one.name == *name))
    }

    /// Whether all have asked for their first event.
    pub fn all_ready(&self) -> bool {
        self.all_registered() && self.registered.iter().all(|one| one.ready)
    }

    /// Whether all that were told of an event have asked for the next one.
    pub fn all_idle(&self) -> bool {
        self.registered.iter().all(|one| one.idle)
    }

    /// Its new identifier. `late`: the function has asked for its first event.
    pub fn register(&mut self, name: Option<&str>, body: &[u8], late: bool) -> Result<String, Refused> {
        let refuse = |status, kind, message: String| Err((status, kind, message));
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            let text = "expected the extension's name in the header Lambda-Extension-Name";
            return refuse("403 Forbidden", "Extension.InvalidExtensionName", text.into());
        };
        let external = self.external.iter().any(|one| one == name);
        let asked: Registration = match serde_json::from_slice(body) {
            Ok(asked) => asked,
            Err(error) => {
                let text = format!(
                    "the body is no registration: {error}: expected {{\"events\": [\"INVOKE\", \"SHUTDOWN\"]}}"
                );
                return refuse("400 Bad Request", "InvalidRequestFormat", text);
            }
        };
        if self.registered.iter().any(|one| one.name == name) {
            let text = format!("an extension {name} is registered already");
            return refuse("403 Forbidden", "Extension.AlreadyRegistered", text);
        }
        if late {
            let text =
                format!("{name} comes too late: extensions register before the function asks for its first event");
            return refuse("403 Forbidden", "Extension.RegistrationClosed", text);
        }
        if !external && asked.events.contains(&Event::Shutdown) {
            let text = "SHUTDOWN is for programs in the extensions folder: expected INVOKE at most";
            return refuse("403 Forbidden", "ShutdownEventNotSupportedForInternalExtension", text.into());
        }
        if self.registered.len() >= MOST {
            let text = format!("a function has at most {MOST} extensions");
            return refuse("403 Forbidden", "Extension.TooManyExtensions", text);
        }
        let id = super::random_id();
        self.registered.push(Extension {
            id: id.clone(),
            name: name.to_owned(),
            external,
            events: asked.events,
            // Nobody is told of anything before all are ready.
            idle: true,
            ready: false,
            queue: VecDeque::new(),
        });
        Ok(id)
    }

    fn find(&mut self, id: Option<&str>) -> Result<&mut Extension, Refused> {
        let found = self.registered.iter_mut().find(|one| Some(one.id.as_str()) == id);
        found.ok_or_else(|| {
            let text = "expected the identifier of a registered extension in the header Lambda-Extension-Identifier";
            ("403 Forbidden", "Extension.UnknownExtensionIdentifier", text.to_owned())
        })
    }

    pub fn name(&mut self, id: Option<&str>) -> Result<String, Refused> {
        self.find(id).map(|one| one.name.clone())
    }

    /// It is done with what it was told.
    pub fn rests(&mut self, id: Option<&str>) -> Result<(), Refused> {
        let one = self.find(id)?;
        (one.idle, one.ready) = (one.queue.is_empty(), true);
        Ok(())
    }

    /// What it is to be told next, if there is anything.
    pub fn next(&mut self, id: Option<&str>) -> Result<Option<Value>, Refused> {
        self.find(id).map(|one| one.queue.pop_front())
    }

    /// Tells those that want to know of an event.
    pub fn invoked(&mut self, invoke: &Invoke, arn: &str) {
        let arn = if invoke.function_arn.is_empty() { arn } else { &invoke.function_arn };
        let event = json!({
            "eventType": "INVOKE",
            "deadlineMs": invoke.deadline_ms,
            "requestId": invoke.request_id,
            "invokedFunctionArn": arn,
            "tracing": { "type": "X-Amzn-Trace-Id", "value": invoke.trace_id },
        });
        self.tell(Event::Invoke, &event);
    }

    /// Tells those that want to know of the end.
    pub fn ends(&mut self, reason: &str, deadline_ms: u64) {
        self.tell(
            Event::Shutdown,
            &json!({ "eventType": "SHUTDOWN", "shutdownReason": reason, "deadlineMs": deadline_ms }),
        );
    }

    fn tell(&mut self, what: Event, event: &Value) {
        for one in self.registered.iter_mut().filter(|one| one.events.contains(&what)) {
            one.queue.push_back(event.clone());
            one.idle = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &[u8] = br#"{"events": ["INVOKE", "SHUTDOWN"]}"#;

    fn refused<T>(result: Result<T, Refused>) -> &'static str {
        result.err().unwrap().1
    }

    #[test]
    fn who_may_register_and_for_what() {
        let mut all = Extensions::default();
        all.expect("agent".into());
        assert!(!all.all_registered());
        assert_eq!(refused(all.register(None, BOTH, false)), "Extension.InvalidExtensionName");
        assert_eq!(refused(all.register(Some("agent"), b"{", false)), "InvalidRequestFormat");
        assert_eq!(refused(all.register(Some("agent"), br#"{"events": ["X"]}"#, false)), "InvalidRequestFormat");
        let id = all.register(Some("agent"), BOTH, false).unwrap();
        assert_eq!(refused(all.register(Some("agent"), BOTH, false)), "Extension.AlreadyRegistered");
        let internal = all.register(Some("inside"), BOTH, false);
        assert_eq!(refused(internal), "ShutdownEventNotSupportedForInternalExtension");
        all.register(Some("inside"), br#"{"events": ["INVOKE"]}"#, false).unwrap();
        assert_eq!(refused(all.register(Some("late"), b"{}", true)), "Extension.RegistrationClosed");
        for number in 0..8 {
            all.register(Some(&format!("more-{number}")), b"{}", false).unwrap();
        }
        assert_eq!(refused(all.register(Some("eleventh"), b"{}", false)), "Extension.TooManyExtensions");
        assert_eq!(all.name(Some(&id)).unwrap(), "agent");
        assert_eq!(refused(all.name(Some("other"))), "Extension.UnknownExtensionIdentifier");
        assert_eq!(refused(all.next(None)), "Extension.UnknownExtensionIdentifier");
    }

    #[test]
    fn one_that_was_told_is_busy_until_it_asks_again() {
        let mut all = Extensions::default();
        all.expect("agent".into());
        let id = all.register(Some("agent"), BOTH, false).unwrap();
        let only_end = all.register(Some("end"), b"{}", false).unwrap();
        let (id, only_end) = (Some(id.as_str()), Some(only_end.as_str()));
        assert!(all.all_registered() && !all.all_ready());
        all.rests(id).unwrap();
        all.rests(only_end).unwrap();
        assert!(all.all_ready() && all.all_idle() && all.next(id).unwrap().is_none());
        let invoke = Invoke {
            deadline_ms: 7,
            request_id: "r".into(),
            trace_id: "t".into(),
            function_arn: String::new(),
            client_context: String::new(),
            cognito_identity: String::new(),
            last: true,
            payload: bytes::Bytes::new(),
        };
        all.invoked(&invoke, "arn");
        assert!(!all.all_idle());
        let told = all.next(id).unwrap().unwrap();
        assert_eq!((told["requestId"].as_str(), told["invokedFunctionArn"].as_str()), (Some("r"), Some("arn")));
        assert!(!all.all_idle() && all.next(only_end).unwrap().is_none());
        all.rests(id).unwrap();
        assert!(all.all_idle());
        all.ends("SPINDOWN", 9);
        assert_eq!(all.next(id).unwrap().unwrap()["shutdownReason"], "SPINDOWN");
    }
}
