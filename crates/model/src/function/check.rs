//! What a function may be: every limit, and what does not go together, each with its error.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{
    FunctionSpec, Idle, KeepPayloads, MAX_ENV_BYTES, RESERVED_ENV, RUNTIME_API_PORT, Scale, Web, WebProtocol,
    is_early_env,
};
use crate::id::InvalidId;
use crate::isolation::{Isolation, IsolationChoice};
use crate::layer::{Layers, MAX_LAYERS};
use crate::mount::MAX_MOUNTS;
use crate::quantity::{InvalidQuantity, show_duration};
use crate::route;
use crate::runtime::{Language, Runtime};
use crate::schedule;
use crate::secret::{self, EnvValue, MAX_SECRETS};
use crate::source;

/// A program that AWS Lambda starts in the runtime's place.
const EXEC_WRAPPER: &str = "AWS_LAMBDA_EXEC_WRAPPER";

/// What is wrong with a specification.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpec {
    #[error("{key} = {given} is out of range: expected {expected}")]
    OutOfRange { key: &'static str, given: String, expected: &'static str },
    #[error("handler {0:?} is not valid: expected MODULE.FUNCTION, like app.handler, at most 128 bytes and no spaces")]
    Handler(String),
    #[error(
        "command is not valid: expected a program and its arguments, at most 64 texts of 4096 bytes together, without NUL"
    )]
    Command,
    #[error(
        "health {0:?} is not valid: expected a path that begins with /, like /healthz, at most 512 bytes and no spaces"
    )]
    Health(String),
    #[error(
        "health is asked for in HTTP/1.1, which a server of protocol = \"h2c\" need not speak: leave health out, and it \
         takes requests as soon as it listens"
    )]
    HealthOfH2c,
    #[error("runtime = \"image\" runs the program of an image: say which with image = \"NAME:TAG\"")]
    NoImage,
    #[error("environment variable {0:?} is not a valid name: expected a letter, then letters, digits and _")]
    EnvName(String),
    #[error("environment variable {0} is set by the platform and cannot be given: remove it, or choose another name")]
    EnvReserved(String),
    #[error(
        "environment variable {EXEC_WRAPPER} is not honoured with the runtime {0}: no wrapper starts it here; remove it, or \
         deploy the program that it would run as provided.al2023 or with command"
    )]
    Wrapper(Runtime),
    #[error("environment variable {0} holds a NUL byte, which no process environment can hold")]
    EnvValue(String),
    #[error("environment variables take {0} bytes together: at most {MAX_ENV_BYTES} are allowed, as on AWS Lambda")]
    EnvSize(usize),
    #[error("environment variable {0} is read by the interpreter before it is told any secret: give its text itself")]
    EnvSecret(String),
    #[error("secret file {0:?} is not valid: {1}")]
    SecretPath(String, &'static str),
    #[error("secret file {0:?} is to be a folder too, of another one's: name one of them otherwise")]
    SecretFolder(String),
    #[error("the function refers to {0} secrets: at most {MAX_SECRETS} are allowed, variables and files together")]
    SecretCount(usize),
    #[error("two mounts are at {0}: give each a path of its own")]
    MountTwice(String),
    #[error("the function has {0} mounts: at most {MAX_MOUNTS} are allowed")]
    MountCount(usize),
    #[error("layers are seen at /opt, which in an image is the image's own: put what they hold into the image")]
    LayersInImage,
    #[error("the function has {0} layers: at most {MAX_LAYERS} are allowed")]
    LayerCount(usize),
    #[error("layer {0} is named twice: expected one version of each layer")]
    LayerTwice(String),
    #[error("isolation {isolation} is weaker than at_least = {floor}: name one that is as strong, or isolation = auto")]
    TooWeak { isolation: Isolation, floor: Isolation },
    #[error("snapstart = true is for Python functions without an image, and runtime is {0}: remove it, or the image")]
    SnapStartRuntime(Runtime),
    #[error("snapstart = true is for isolation = \"namespace\" alone, and isolation is {0}: remove it, or change that")]
    SnapStartIsolation(IsolationChoice),
    #[error("snapstart = true keeps what init read, and secrets and mounts may change: remove one or the other")]
    SnapStartAccess,
    #[error(
        "snapstart = true is for handlers of the Python runtime, and a command or a web function has none: remove it"
    )]
    SnapStartProgram,
    #[error("secrets as files are for handlers of the Python and Node runtimes: refer to the secret in env instead")]
    SecretFilesProgram,
    #[error("a web function takes requests, and neither schedules nor asynchronous events: remove its schedules")]
    WebSchedule,
    #[error("{0}")]
    Route(String),
    #[error("schedule {name:?}: {why}")]
    Schedule { name: String, why: String },
    #[error(
        "records.payloads = \"{0}\" is for functions that take events: what a web function takes and answers passes by as a \
         stream, and is not kept"
    )]
    WebPayloads(KeepPayloads),
    #[error("a web function takes requests, and no events: remove its event sources")]
    WebSource,
    #[error("source {name:?}: {why}")]
    Source { name: String, why: String },
    #[error(transparent)]
    Id(#[from] InvalidId),
    #[error(transparent)]
    Quantity(#[from] InvalidQuantity),
}

// === impl FunctionSpec ===

impl FunctionSpec {
    /// Checks every limit; what passes can be stored and run.
    pub fn validate(&self) -> Result<(), InvalidSpec> {
        let range = |key, ok, given: String, expected| {
            if ok { Ok(()) } else { Err(InvalidSpec::OutOfRange { key, given, expected }) }
        };
        let mib = self.memory.as_mib();
        range("memory", (32..=10_240).contains(&mib), self.memory.to_string(), "32MB to 10GB")?;
        let tmp = self.tmp.as_mib();
        range("tmp", (1..=10_240).contains(&tmp), self.tmp.to_string(), "1MB to 10GB")?;
        let longest = Duration::from_secs(900);
        let timeout = self.timeout;
        let given = show_duration(timeout);
        range("timeout", timeout >= Duration::from_millis(1) && timeout <= longest, given, "1ms to 15m")?;
        let Scale { min, max, concurrency, idle } = self.scale;
        range("scale.max", max <= 10_000, max.to_string(), "0, which lets no call through, to 10000")?;
        range("scale.min", min <= max, min.to_string(), "0 to scale.max")?;
        let (most, expected) = if self.web.is_some() { (1000, "1 to 1000") } else { (1, "1 for an event function") };
        range("scale.concurrency", (1..=most).contains(&concurrency), concurrency.to_string(), expected)?;
        if let Idle::For(time) = idle {
            let given = show_duration(time);
            range("scale.idle", time <= Duration::from_secs(7 * 86_400), given, "0s to 7d, or auto")?;
        }
        range("description", self.description.len() <= 256, "a longer text".into(), "at most 256 bytes")?;
        if let IsolationChoice::Shares(shares) = &self.isolation {
            let enough = max as usize >= shares.len();
            range(
                "scale.max",
                enough || max == 0,
                max.to_string(),
                "one or more for each isolation that shares the calls",
            )?;
        }
        if let Some(floor) = self.at_least
            && let Some((isolation, _)) = self.isolation.named().into_iter().find(|(one, _)| !one.meets(Some(floor)))
        {
            return Err(InvalidSpec::TooWeak { isolation, floor });
        }
        if self.runtime.language() == Language::Image && self.image.is_none() {
            return Err(InvalidSpec::NoImage);
        }
        if self.snapstart && (self.runtime.language() != Language::Python || self.image.is_some()) {
            return Err(InvalidSpec::SnapStartRuntime(self.runtime.clone()));
        }
        if self.snapstart && self.isolation != IsolationChoice::One(Isolation::Namespace) {
            return Err(InvalidSpec::SnapStartIsolation(self.isolation.clone()));
        }
        if self.snapstart && !(self.secret_names().is_empty() && self.mounts.is_empty()) {
            return Err(InvalidSpec::SnapStartAccess);
        }
        if self.snapstart && self.is_through_agent() {
            return Err(InvalidSpec::SnapStartProgram);
        }
        if self.is_through_agent() && !self.secrets.is_empty() {
            return Err(InvalidSpec::SecretFilesProgram);
        }
        if self.web.is_some() && !self.schedules.is_empty() {
            return Err(InvalidSpec::WebSchedule);
        }
        if self.web.is_some() && !self.sources.is_empty() {
            return Err(InvalidSpec::WebSource);
        }
        let payloads = self.records.payloads;
        if self.web.is_some() && payloads != KeepPayloads::None {
            return Err(InvalidSpec::WebPayloads(payloads));
        }
        self.validate_handler()?;
        self.validate_program()?;
        self.asynchronous.validate()?;
        schedule::validate(&self.schedules)?;
        route::validate(&self.routes).map_err(InvalidSpec::Route)?;
        self.url_rules.validate().map_err(InvalidSpec::Route)?;
        source::validate(&self.sources)?;
        self.validate_env()?;
        self.validate_secrets()?;
        self.validate_layers()?;
        self.validate_mounts()
    }

    fn validate_layers(&self) -> Result<(), InvalidSpec> {
        let Some(Layers { versions, tree: _ }) = &self.layers else { return Ok(()) };
        if self.image.is_some() {
            return Err(InvalidSpec::LayersInImage);
        }
        if versions.is_empty() || versions.len() > MAX_LAYERS {
            return Err(InvalidSpec::LayerCount(versions.len()));
        }
        let mut names = BTreeSet::new();
        match versions.iter().find(|one| !names.insert(&one.name)) {
            None => Ok(()),
            Some(twice) => Err(InvalidSpec::LayerTwice(twice.name.to_string())),
        }
    }

    fn validate_secrets(&self) -> Result<(), InvalidSpec> {
        if let Some(name) = self.env.iter().find(|(name, value)| value.secret().is_some() && is_early_env(name)) {
            return Err(InvalidSpec::EnvSecret(name.0.clone()));
        }
        for path in self.secrets.keys() {
            let shown = || path.chars().take(140).collect();
            secret::check_path(path).map_err(|expected| InvalidSpec::SecretPath(shown(), expected))?;
        }
        if let Some(path) = secret::file_and_folder(&self.secrets) {
            return Err(InvalidSpec::SecretFolder(path.to_owned()));
        }
        let count = self.secrets.len() + self.env.values().filter_map(EnvValue::secret).count();
        if count > MAX_SECRETS { Err(InvalidSpec::SecretCount(count)) } else { Ok(()) }
    }

    fn validate_mounts(&self) -> Result<(), InvalidSpec> {
        let mut paths = BTreeSet::new();
        if let Some(twice) = self.mounts.iter().find(|mount| !paths.insert(&mount.path)) {
            return Err(InvalidSpec::MountTwice(twice.path.to_string()));
        }
        let count = self.mounts.len();
        if count > MAX_MOUNTS { Err(InvalidSpec::MountCount(count)) } else { Ok(()) }
    }

    fn validate_program(&self) -> Result<(), InvalidSpec> {
        if let Some(command) = &self.command {
            let bytes: usize = command.iter().map(String::len).sum();
            let fits = (1..=64).contains(&command.len()) && bytes <= 4096;
            if !fits || command[0].is_empty() || command.iter().any(|text| text.contains('\0')) {
                return Err(InvalidSpec::Command);
            }
        }
        let Some(Web { port, health, protocol }) = &self.web else { return Ok(()) };
        if *port < 1024 || *port == RUNTIME_API_PORT {
            let (given, expected) = (port.to_string(), "1024 to 65535, and not 9001");
            return Err(InvalidSpec::OutOfRange { key: "port", given, expected });
        }
        if let Some(path) = health {
            if *protocol == WebProtocol::H2c {
                return Err(InvalidSpec::HealthOfH2c);
            }
            let fits = path.starts_with('/') && path.len() <= 512 && path.bytes().all(|byte| byte.is_ascii_graphic());
            return if fits { Ok(()) } else { Err(InvalidSpec::Health(path.chars().take(80).collect())) };
        }
        Ok(())
    }

    fn validate_handler(&self) -> Result<(), InvalidSpec> {
        let handler = &self.handler;
        // Not more than AWS checks: a handler without a dot is deployed there too, and fails when called.
        let fits = (1..=128).contains(&handler.len()) && !handler.chars().any(|c| c.is_whitespace() || c.is_control());
        if fits { Ok(()) } else { Err(InvalidSpec::Handler(handler.chars().take(128).collect())) }
    }

    fn validate_env(&self) -> Result<(), InvalidSpec> {
        let mut size = 0;
        for (name, value) in &self.env {
            let starts = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
            let fits = starts && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if RESERVED_ENV.contains(&name.as_str()) {
                return Err(InvalidSpec::EnvReserved(name.clone()));
            }
            if name == EXEC_WRAPPER && !self.is_through_agent() && self.runtime.language() != Language::Image {
                return Err(InvalidSpec::Wrapper(self.runtime.clone()));
            }
            if !fits {
                return Err(InvalidSpec::EnvName(name.chars().take(80).collect()));
            }
            let text = value.plain().unwrap_or_default();
            if text.contains('\0') {
                return Err(InvalidSpec::EnvValue(name.clone()));
            }
            size += name.len() + text.len();
        }
        if size > MAX_ENV_BYTES { Err(InvalidSpec::EnvSize(size)) } else { Ok(()) }
    }
}
