//! What a function is: the validated specification, and one deployed revision of it.

mod check;
mod mode;
mod protocol;
mod records;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::aws::AwsNotes;
use crate::egress::Egress;
use crate::event::AsyncRules;
use crate::id::{CodeHash, FunctionName, PinnedImage, Revision, SecretName};
use crate::isolation::{Isolation, IsolationChoice};
use crate::layer::Layers;
use crate::mount::Mount;
use crate::quantity::{Cpu, InvalidQuantity, Memory, parse_duration, show_duration};
use crate::route::HttpRoute;
use crate::runtime::{Language, Runtime};
use crate::schedule::Schedule;
use crate::secret::EnvValue;
use crate::source::Source;
use crate::time::Timestamp;
use crate::url::UrlRules;
use crate::version::Version;

pub use check::InvalidSpec;
pub use mode::InvokeMode;
pub use protocol::WebProtocol;
pub use records::{KeepPayloads, RecordRules};

/// All environment variables of a function together, names and values: AWS Lambda's 4 KB.
pub const MAX_ENV_BYTES: usize = 4 * 1024;

/// Names that the platform sets itself and refuses in a function's environment, as AWS Lambda does.
pub const RESERVED_ENV: &[&str] = &[
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_RUNTIME_API",
    "LAMBDA_TASK_ROOT",
    "LAMBDA_RUNTIME_DIR",
    "AWS_LAMBDA_HTTP_ENDPOINT",
    "HEARTH_INVOKE_STREAMS",
    "HEARTH_SNAPSHOT",
    "HEARTH_STEM",
];

/// Where AWS Lambda's Runtime API answers within a sandbox.
pub const RUNTIME_API_PORT: u16 = 9001;

/// Variables of a function that its interpreter, or the C library under it, reads at its own start.
const EARLY_ENV: &[&str] = &[
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "LANG",
    "LANGUAGE",
    "LOCPATH",
    "NODE_EXTRA_CA_CERTS",
    "NODE_ICU_DATA",
    "NODE_OPTIONS",
    "NODE_PATH",
    "OPENSSL_CONF",
    "OPENSSL_MODULES",
    // Read when `zoneinfo` is imported, as it is in a fork server.
    "PYTHONTZPATH",
    "TZ",
    "TZDIR",
    "_JAVA_OPTIONS",
];

/// The beginnings of more of them.
const EARLY_ENV_PREFIXES: &[&str] = &["LC_", "LD_", "MALLOC_", "UV_"];

/// Whether a variable is there when the interpreter starts, and so passes the spawner; all others come later.
pub fn is_early_env(name: &str) -> bool {
    EARLY_ENV.contains(&name) || EARLY_ENV_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// How long an instance without work is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// The platform decides.
    Auto,
    /// This long; zero: no instance outlives its call.
    For(Duration),
}

/// How a function scales.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scale {
    /// Instances kept ready although nothing calls (provisioned concurrency).
    pub min: u32,
    /// Instances at once at most (reserved concurrency).
    pub max: u32,
    /// Invocations at once in one instance. Event functions take one.
    pub concurrency: u32,
    /// How long an instance without work is kept.
    pub idle: Idle,
}

/// Invocations at once in one instance of a web function that does not say how many.
pub const WEB_CONCURRENCY: u32 = 64;

/// A function that is an HTTP server itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Web {
    /// Where it listens in its sandbox. It is told in `PORT`; a program that has a port of its own says which.
    #[serde(default = "default_port")]
    pub port: u16,
    /// A path that it answers with a status below 400 as soon as it takes requests. None: as soon as it listens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// What it speaks.
    #[serde(default, skip_serializing_if = "WebProtocol::is_default")]
    pub protocol: WebProtocol,
}

/// All that a function is told to be. Values of this type have passed [`FunctionSpec::validate`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionSpec {
    pub name: FunctionName,
    #[serde(default)]
    pub description: String,
    pub runtime: Runtime,
    /// The root file system of its sandboxes. None: made of the host's own `/usr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<PinnedImage>,
    /// `module.function`, as AWS Lambda names it.
    pub handler: String,
    /// It is an HTTP server. None: it takes events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web: Option<Web>,
    /// Program and arguments: a web function's server; or what is run once for each event, with the event on standard
    /// input and the result on standard output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// What the whole sandbox may hold, 32 MB to 10 GB.
    #[serde(default = "default_memory")]
    pub memory: Memory,
    /// Longest time of one invocation, 1 ms to 15 minutes.
    #[serde(default = "default_timeout", with = "duration_text")]
    pub timeout: Duration,
    /// Most processor time it may use, in cores. Unset: a weight in proportion to memory, and a cap of one
    /// core for each 1,769 MB, but no less than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// Size of `/tmp`.
    #[serde(default = "default_tmp")]
    pub tmp: Memory,
    /// What its sandboxes are made with.
    #[serde(default = "default_isolation")]
    pub isolation: IsolationChoice,
    /// No sandbox of it is made with a weaker isolation than this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<Isolation>,
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
    /// Files below `/run/secrets`, and the secret that each holds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretName>,
    /// Folders of the host's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Packages that it shares with others, seen at `/opt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Layers>,
    #[serde(default)]
    pub scale: Scale,
    /// What it may reach over the network.
    #[serde(default)]
    pub egress: Egress,
    /// Whether instances go on from an image that was made after init, once for each revision, instead of running init
    /// themselves: AWS's `SnapStart` with `ApplyOn` `PublishedVersions`, every revision being one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub snapstart: bool,
    /// Whether the ingress answers at `/fn/NAME/…`.
    #[serde(default = "default_url")]
    pub url: bool,
    /// Whether the ingress passes its answers on as it writes them.
    #[serde(default, skip_serializing_if = "InvokeMode::is_default")]
    pub invoke_mode: InvokeMode,
    /// Who may call it there, and what browsers are told.
    #[serde(default, skip_serializing_if = "UrlRules::is_default")]
    pub url_rules: UrlRules,
    /// Routes on the ingress that it answers.
    #[serde(rename = "http", default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<HttpRoute>,
    /// What becomes of events that nobody waits for.
    #[serde(rename = "async", default, skip_serializing_if = "AsyncRules::is_default")]
    pub asynchronous: AsyncRules,
    /// What is kept of its calls.
    #[serde(default, skip_serializing_if = "RecordRules::is_default")]
    pub records: RecordRules,
    /// When it is called by the clock.
    #[serde(rename = "schedule", default, skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<Schedule>,
    /// What AWS's tools said of it.
    #[serde(default, skip_serializing_if = "AwsNotes::is_empty")]
    pub aws: AwsNotes,
    /// Where else its events come from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Source>,
}

/// One deployed revision of a function: immutable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    pub spec: FunctionSpec,
    #[serde(default)]
    pub version: Version,
    pub revision: Revision,
    pub code: CodeHash,
    /// Bytes of the package as uploaded.
    pub code_size: u64,
    pub modified: Timestamp,
}

fn default_memory() -> Memory {
    Memory::mib(128)
}
fn default_timeout() -> Duration {
    Duration::from_secs(3)
}
fn default_tmp() -> Memory {
    Memory::mib(512)
}
fn default_isolation() -> IsolationChoice {
    IsolationChoice::One(Isolation::Namespace)
}
fn default_port() -> u16 {
    8080
}
fn default_url() -> bool {
    true
}

// === impl FunctionSpec ===

impl FunctionSpec {
    /// A specification with AWS Lambda's defaults: 128 MB, 3 s, 512 MB of `/tmp`.
    pub fn new(name: FunctionName, runtime: Runtime, handler: &str) -> Self {
        Self {
            name,
            description: String::new(),
            runtime,
            image: None,
            handler: handler.to_owned(),
            web: None,
            command: None,
            memory: default_memory(),
            timeout: default_timeout(),
            cpu: None,
            tmp: default_tmp(),
            isolation: default_isolation(),
            at_least: None,
            env: BTreeMap::new(),
            secrets: BTreeMap::new(),
            mounts: Vec::new(),
            layers: None,
            scale: Scale::default(),
            egress: Egress::None,
            snapstart: false,
            url: default_url(),
            invoke_mode: InvokeMode::default(),
            url_rules: UrlRules::default(),
            routes: Vec::new(),
            asynchronous: AsyncRules::default(),
            records: RecordRules::default(),
            schedules: Vec::new(),
            aws: AwsNotes::default(),
            sources: Vec::new(),
        }
    }

    /// The secrets that its instances get, each once.
    pub fn secret_names(&self) -> BTreeSet<SecretName> {
        self.env.values().filter_map(EnvValue::secret).chain(self.secrets.values()).cloned().collect()
    }

    /// The secrets that it refers to, each once: also those of its event sources, and those that its callers are checked
    /// with, which no instance gets.
    pub fn all_secret_names(&self) -> BTreeSet<SecretName> {
        let sources = self.sources.iter().filter_map(Source::secret).cloned();
        let checked = self.routes.iter().filter_map(|one| one.auth.secret()).cloned();
        self.secret_names().into_iter().chain(sources).chain(checked).collect()
    }

    /// The handler of a function that needs not say one: its code is not chosen by a name, or has a usual one.
    pub fn usual_handler(language: Language, web: bool, command: bool) -> Option<&'static str> {
        match language {
            Language::Image => Some("image"),
            _ if command => Some("command"),
            Language::Native => Some("bootstrap"),
            // The server's file.
            Language::Python if web => Some("app.py"),
            Language::Node if web => Some("index.js"),
            Language::Java if web => Some("bootstrap.jar"),
            Language::Python | Language::Node | Language::Java => None,
        }
    }

    /// Whether a program that does not speak Hearth's own protocol is run for it, by the agent.
    pub fn is_through_agent(&self) -> bool {
        self.web.is_some() || self.command.is_some() || self.runtime.language() == Language::Native
    }

    /// The most processor time the sandbox may use, set or by default.
    pub fn cpu_cap(&self) -> Cpu {
        self.cpu.unwrap_or_else(|| Cpu::millis((self.memory.as_mib() * 1000 / 1769).max(1000)))
    }

    /// The sandbox's share when processors are short, in proportion to memory as on AWS Lambda:
    /// thousandths of a core, 1,769 MB to a core.
    pub fn cpu_share(&self) -> Cpu {
        self.cpu.unwrap_or_else(|| Cpu::millis((self.memory.as_mib() * 1000 / 1769).max(10)))
    }
}

// === impl Web ===

impl Default for Web {
    fn default() -> Self {
        Self { port: default_port(), health: None, protocol: WebProtocol::default() }
    }
}

// === impl Scale ===

impl Default for Scale {
    fn default() -> Self {
        Self { min: 0, max: 1000, concurrency: 1, idle: Idle::Auto }
    }
}

// === impl Idle ===

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Idle::Auto => f.write_str("auto"),
            Idle::For(time) => f.write_str(&show_duration(*time)),
        }
    }
}

impl FromStr for Idle {
    type Err = InvalidQuantity;
    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        match text.trim() {
            "auto" => Ok(Idle::Auto),
            time => parse_duration(time).map(Idle::For),
        }
    }
}

impl Serialize for Idle {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Idle {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        duration_text::text(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A duration as its text, or as a number of seconds.
pub(crate) mod duration_text {
    use super::*;

    pub fn serialize<S: serde::Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&show_duration(*duration))
    }

    pub fn text<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Number(f64),
            Text(String),
        }
        Ok(match Raw::deserialize(from)? {
            Raw::Number(seconds) => seconds.to_string(),
            Raw::Text(text) => text,
        })
    }

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        parse_duration(&text(from)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> FunctionSpec {
        FunctionSpec::new("f".parse().unwrap(), Runtime::python("3.11"), "app.handler")
    }

    fn name(text: &str) -> SecretName {
        text.parse().unwrap()
    }

    fn mount() -> Mount {
        Mount { host: "/srv/a".parse().unwrap(), path: "/mnt/a".parse().unwrap(), read_only: true }
    }

    #[test]
    fn reads_what_it_writes() {
        let mut spec = spec();
        spec.env.insert("API_KEY".into(), name("photo-api-key").into());
        spec.secrets.insert("db/password".into(), name("db.password"));
        spec.mounts.push(mount());
        assert_eq!(spec.secret_names().len(), 2);
        spec.env.insert("K".into(), "v".into());
        spec.scale.idle = Idle::For(Duration::from_secs(30));
        spec.cpu = Some(Cpu::millis(500));
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<FunctionSpec>(&text).unwrap(), spec);
    }

    #[test]
    fn what_was_stored_before_there_were_images_still_reads() {
        let text = r#"{"name":"f","runtime":"python3.11","handler":"a.b"}"#;
        let mut spec = serde_json::from_str::<FunctionSpec>(text).unwrap();
        assert_eq!(spec.image, None);
        assert!(!serde_json::to_string(&spec).unwrap().contains("image"));
        spec.image = Some(format!("python:3.11@sha256:{}", "0f".repeat(32)).parse().unwrap());
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<FunctionSpec>(&text).unwrap(), spec);
    }

    #[test]
    fn an_unknown_key_is_named() {
        let text = r#"{"name":"f","runtime":"python3.11","handler":"a.b","memroy":"1GB"}"#;
        let error = serde_json::from_str::<FunctionSpec>(text).unwrap_err();
        assert!(error.to_string().contains("memroy"), "{error}");
    }

    #[test]
    fn limits_are_enforced_with_the_key_named() {
        type Change = fn(&mut FunctionSpec);
        let cases: &[(Change, &str)] = &[
            (|s| s.memory = Memory::mib(16), "memory"),
            (|s| s.timeout = Duration::from_secs(901), "timeout"),
            (|s| s.scale.max = 10_001, "scale.max"),
            (|s| s.scale.min = 1001, "scale.min"),
            (|s| s.handler = "a b".into(), "handler"),
            (|s| drop(s.env.insert("AWS_REGION".into(), "x".into())), "AWS_REGION"),
            (|s| s.runtime = Runtime::image(), "say which with image"),
            (|s| s.at_least = Some(Isolation::Gvisor), "weaker than at_least = gvisor"),
            (|s| drop(s.env.insert("AWS_LAMBDA_EXEC_WRAPPER".into(), "/opt/w".into())), "the runtime python3.11"),
            (|s| drop(s.env.insert("LD_PRELOAD".into(), name("k").into())), "LD_PRELOAD"),
            (|s| drop(s.secrets.insert("../x".into(), name("k"))), "below /run/secrets"),
            (|s| s.secrets = [("a".into(), name("k")), ("a/b".into(), name("k"))].into(), "to be a folder too"),
            (|s| s.secrets = (0..65).map(|i| (format!("f{i}"), name("k"))).collect(), "65 secrets"),
            (|s| s.mounts = vec![mount(); 2], "two mounts are at /mnt/a"),
            (|s| drop(s.env.insert("1A".into(), "x".into())), "1A"),
            (|s| drop(s.env.insert("A".into(), "x".repeat(5000).into())), "4096"),
        ];
        assert_eq!(spec().validate(), Ok(()));
        for (change, named) in cases {
            let mut spec = spec();
            change(&mut spec);
            let error = spec.validate().unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
