//! Event sources: where a function's events come from beside calls and clocks, each with its rules, and how each fares.

mod queue;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::function::{InvalidSpec, duration_text};
use crate::id::{FunctionName, InvalidId, QueueName, SecretName};
use crate::mount::HostFolder;
use crate::quantity::show_duration;
use crate::secret::SecretRef;
use crate::time::Timestamp;

pub use queue::QueueSource;

/// Sources that one function may have.
pub const MAX_SOURCES: usize = 16;

/// Messages of one batch, at most.
pub const MAX_BATCH: u32 = 1000;

/// Where events come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Source {
    /// A message queue of Hearth's.
    Queue(QueueSource),
    /// Topics of an MQTT broker.
    Mqtt(MqttSource),
    /// A folder of the host's.
    Folder(FolderSource),
}

/// Messages of topics, each kept in Hearth's own queue before the broker is told that it was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttSource {
    pub name: String,
    /// `mqtt://HOST[:PORT]`, or `mqtts://…` for TLS.
    pub broker: String,
    /// Topic filters: `sensors/+/temperature`, `$share/GROUP/jobs/#`.
    pub topics: Vec<String>,
    /// 0 or 1.
    #[serde(default = "one_byte")]
    pub qos: u8,
    /// By which the broker knows the session; none: made of the function's name and the source's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretRef>,
    #[serde(default = "one")]
    pub batch: u32,
    #[serde(default, with = "duration_text")]
    pub window: Duration,
}

/// Files that come to a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FolderSource {
    pub name: String,
    pub path: HostFolder,
    /// Of the file's name: `*`, `?`, and all else as it is. None: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Whether folders in it are watched too.
    #[serde(default)]
    pub recursive: bool,
    /// How long a file must not have changed.
    #[serde(default = "two_seconds", with = "duration_text")]
    pub settle: Duration,
    /// What becomes of a file when its event is done.
    #[serde(default)]
    pub after: After,
    #[serde(default = "one")]
    pub batch: u32,
    #[serde(default, with = "duration_text")]
    pub window: Duration,
}

/// What becomes of a file when its event went well. Of one whose event was given up: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum After {
    #[default]
    Keep,
    Delete,
    /// It goes to this folder, under the same name; under another one if that is taken.
    #[serde(alias = "move-to")]
    MoveTo(HostFolder),
}

/// Who is told how an event ended: a function, or a message queue, written `queue:NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Target {
    Function(FunctionName),
    Queue(QueueName),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceState {
    /// It is not connected yet, or has not looked yet.
    Starting,
    Running,
    Paused,
    /// It does not work, and is tried again.
    Failing,
}

/// How a source fares since the server began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceStatus {
    pub function: FunctionName,
    pub name: String,
    pub kind: &'static str,
    pub state: SourceState,
    /// Messages that wait at the source, if that can be known.
    pub lag: Option<u64>,
    /// Messages that are in hand: taken from the source, and not settled.
    pub in_flight: u64,
    /// Messages that were delivered.
    pub delivered: u64,
    /// Messages whose delivery failed; each is delivered again, or set aside.
    pub failed: u64,
    pub last_delivered: Option<Timestamp>,
    /// What went wrong last, and when.
    pub last_error: Option<(Timestamp, String)>,
}

fn one() -> u32 {
    1
}
fn one_byte() -> u8 {
    1
}
fn two_seconds() -> Duration {
    Duration::from_secs(2)
}

// === impl Source ===

impl Source {
    /// Its name among its function's.
    pub fn name(&self) -> &str {
        match self {
            Self::Queue(one) => one.name.as_str(),
            Self::Mqtt(one) => &one.name,
            Self::Folder(one) => &one.name,
        }
    }

    pub fn kind(&self) -> &'static str {
        match self {
            Self::Queue(_) => "queue",
            Self::Mqtt(_) => "mqtt",
            Self::Folder(_) => "folder",
        }
    }

    /// Messages of one batch, and how long it may wait for more.
    pub fn batching(&self) -> (u32, Duration) {
        match self {
            Self::Queue(QueueSource { batch, window, .. })
            | Self::Mqtt(MqttSource { batch, window, .. })
            | Self::Folder(FolderSource { batch, window, .. }) => (*batch, *window),
        }
    }

    /// Whether it is to run, unless it is paused.
    pub fn enabled(&self) -> bool {
        !matches!(self, Self::Queue(QueueSource { enabled: false, .. }))
    }

    pub fn secret(&self) -> Option<&SecretName> {
        match self {
            Self::Mqtt(MqttSource { password: Some(password), .. }) => Some(&password.secret),
            _ => None,
        }
    }

    /// Folders of the host's that it reads, and whether it changes them.
    pub fn folders(&self) -> Vec<(&HostFolder, bool)> {
        let Self::Folder(FolderSource { path, after, .. }) = self else { return vec![] };
        match after {
            After::Keep => vec![(path, false)],
            After::Delete => vec![(path, true)],
            After::MoveTo(to) => vec![(path, true), (to, true)],
        }
    }

    fn validate(&self) -> Result<(), String> {
        let name = self.name();
        let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if !(1..=80).contains(&name.len()) || !name.bytes().all(letter) {
            return Err("the name is not valid: expected 1 to 80 of A-Z a-z 0-9 . _ -".into());
        }
        let (batch, window) = self.batching();
        if !(1..=MAX_BATCH).contains(&batch) {
            return Err(format!("batch = {batch} is out of range: expected 1 to {MAX_BATCH}"));
        }
        if window > Duration::from_secs(300) {
            return Err(format!("window = {} is out of range: expected 0s to 5m", show_duration(window)));
        }
        match self {
            Self::Queue(one) => one.validate(),
            Self::Mqtt(one) => one.validate(),
            Self::Folder(one) => one.validate(),
        }
    }
}

/// Checks all sources of a function.
pub(crate) fn validate(sources: &[Source]) -> Result<(), InvalidSpec> {
    let refuse = |name: &str, why: String| Err(InvalidSpec::Source { name: name.chars().take(80).collect(), why });
    if sources.len() > MAX_SOURCES {
        return refuse(sources[MAX_SOURCES].name(), format!("a function has {MAX_SOURCES} sources at most"));
    }
    let mut names = BTreeSet::new();
    for source in sources {
        source.validate().or_else(|why| refuse(source.name(), why))?;
        if !names.insert(source.name()) {
            return refuse(source.name(), "two sources of the function have this name".into());
        }
    }
    Ok(())
}

// === impl MqttSource ===

impl MqttSource {
    /// Host, port, and whether it is spoken to through TLS.
    pub fn address(&self) -> Result<(String, u16, bool), String> {
        let wrong =
            || format!("broker {:?} is not valid: expected mqtt://HOST[:PORT], or mqtts://… for TLS", self.broker);
        let (rest, tls) = match (self.broker.strip_prefix("mqtt://"), self.broker.strip_prefix("mqtts://")) {
            (Some(rest), _) => (rest, false),
            (_, Some(rest)) => (rest, true),
            _ => return Err(wrong()),
        };
        let usual = if tls { 8883 } else { 1883 };
        let (host, port) = match rest.rsplit_once(':') {
            // The colons of an IPv6 address are in brackets.
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
            _ => (rest, usual),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if host.is_empty() || host.len() > 253 || !host.chars().all(letter) || port == 0 {
            return Err(wrong());
        }
        Ok((host.to_owned(), port, tls))
    }

    fn validate(&self) -> Result<(), String> {
        self.address()?;
        if !(1..=64).contains(&self.topics.len()) {
            return Err(format!("{} topics: expected 1 to 64", self.topics.len()));
        }
        for topic in &self.topics {
            if !is_filter(topic) {
                let shown: String = topic.chars().take(80).collect();
                return Err(format!(
                    "topic filter {shown:?} is not valid: expected names between slashes, + for one of any name, # at \
                     the end for all below, or $share/GROUP/FILTER"
                ));
            }
        }
        if self.qos > 1 {
            return Err(format!(
                "qos = {} is not valid: expected 0, or 1: what is taken is kept before it is told",
                self.qos
            ));
        }
        let text = |text: &Option<String>| text.as_ref().is_none_or(|text| (1..=256).contains(&text.len()));
        if !text(&self.client_id) || !text(&self.user) {
            return Err("client_id and user are texts of 1 to 256 bytes".into());
        }
        if self.password.is_some() && self.user.is_none() {
            return Err("a password needs a user: say user = \"NAME\" beside it".into());
        }
        Ok(())
    }
}

fn is_filter(filter: &str) -> bool {
    if filter.len() > 65_535 || filter.contains('\0') {
        return false;
    }
    let filter = match filter.strip_prefix("$share/") {
        Some(rest) => match rest.split_once('/') {
            Some((group, filter)) if !group.is_empty() && !group.contains(['+', '#']) => filter,
            _ => return false,
        },
        None => filter,
    };
    let levels: Vec<_> = filter.split('/').collect();
    let last = levels.len() - 1;
    !filter.is_empty()
        && levels.iter().enumerate().all(|(n, level)| match *level {
            "+" => true,
            "#" => n == last,
            name => !name.contains(['+', '#']),
        })
}

// === impl FolderSource ===

impl FolderSource {
    fn validate(&self) -> Result<(), String> {
        if self.settle > Duration::from_secs(3600) || self.settle < Duration::from_millis(100) {
            return Err(format!("settle = {} is out of range: expected 100ms to 1h", show_duration(self.settle)));
        }
        if self
            .pattern
            .as_ref()
            .is_some_and(|pattern| pattern.is_empty() || pattern.len() > 256 || pattern.contains('/'))
        {
            return Err("the pattern is not valid: expected a file's name with * and ?, like *.jpg".into());
        }
        if let After::MoveTo(to) = &self.after
            && (to == &self.path || self.recursive && to.below(&self.path).is_some())
        {
            return Err(format!(
                "after: files moved to {to} would be watched there: name a folder outside of {}",
                self.path
            ));
        }
        Ok(())
    }

    /// Whether a file of this name is wanted.
    pub fn wants(&self, name: &str) -> bool {
        self.pattern.as_ref().is_none_or(|pattern| fits(pattern.as_bytes(), name.as_bytes()))
    }
}

/// `*` is any text, `?` any byte. Takes time in proportion to both lengths at most.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, t) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

// === impl Target ===

impl FromStr for Target {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text.strip_prefix("queue:") {
            Some(name) => name.parse().map(Self::Queue),
            None => text.parse().map(Self::Function),
        }
    }
}

impl TryFrom<String> for Target {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Target> for String {
    fn from(target: Target) -> String {
        target.to_string()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Function(name) => f.write_str(name.as_str()),
            Self::Queue(name) => write!(f, "queue:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Source, String> {
        let source: Source = serde_json::from_str(text).map_err(|error| error.to_string())?;
        source.validate()?;
        Ok(source)
    }

    #[test]
    fn reads_what_it_writes_and_names_what_it_does_not_know() {
        for text in [
            r#"{"kind":"queue","name":"orders"}"#,
            r#"{"kind":"queue","name":"orders","concurrency":5,"enabled":false,"partial":false,"qualifier":"live","filters":[{"body":{"a":[1]}}]}"#,
            r#"{"kind":"mqtt","name":"m","broker":"mqtts://h:1","topics":["a/+/#"],"user":"u","password":{"secret":"p"}}"#,
            r#"{"kind":"folder","name":"in","path":"/srv/in","after":{"move-to":"/srv/done"},"batch":3,"window":"1s"}"#,
        ] {
            let source = read(text).unwrap();
            let again = serde_json::to_string(&source).unwrap();
            assert_eq!(read(&again).unwrap(), source, "{again}");
        }
        let said = read(r#"{"kind":"queue","name":"orders","bacth":3}"#).unwrap_err();
        assert!(said.contains("bacth"), "{said}");
    }

    #[test]
    fn what_cannot_be_is_refused_in_words() {
        for (text, expected) in [
            (r#"{"kind":"queue","name":"orders","batch":0}"#, "batch = 0"),
            (r#"{"kind":"queue","name":"orders","window":"6m"}"#, "window = 6m"),
            (r#"{"kind":"queue","name":"orders","concurrency":0}"#, "concurrency = 0"),
            (r#"{"kind":"queue","name":"orders","filters":[{"data":[1]}]}"#, "a record has no \"data\""),
            (r#"{"kind":"queue","name":"orders","filters":[{"body":1}]}"#, "body: expected a list"),
            (r#"{"kind":"mqtt","name":"m","broker":"tcp://h","topics":["a"]}"#, "expected mqtt://"),
            (r#"{"kind":"mqtt","name":"m","broker":"mqtt://h:x","topics":["a"]}"#, "expected mqtt://"),
            (r#"{"kind":"mqtt","name":"m","broker":"mqtt://h","topics":[]}"#, "0 topics"),
            (r#"{"kind":"mqtt","name":"m","broker":"mqtt://h","topics":["a/#/b"]}"#, "topic filter"),
            (r#"{"kind":"mqtt","name":"m","broker":"mqtt://h","topics":["$share/g"]}"#, "topic filter"),
            (r#"{"kind":"mqtt","name":"m","broker":"mqtt://h","topics":["a"],"qos":2}"#, "qos = 2"),
            (r#"{"kind":"mqtt","name":"m","broker":"mqtt://h","topics":["a"],"password":{"secret":"p"}}"#, "user"),
            (r#"{"kind":"folder","name":"a b","path":"/in"}"#, "name"),
            (r#"{"kind":"folder","name":"f","path":"/in","settle":"1ms"}"#, "settle = 1ms"),
            (r#"{"kind":"folder","name":"f","path":"/in","pattern":"a/b"}"#, "pattern"),
            (
                r#"{"kind":"folder","name":"f","path":"/in","recursive":true,"after":{"move_to":"/in/done"}}"#,
                "watched there",
            ),
        ] {
            let said = read(text).unwrap_err();
            assert!(said.contains(expected), "{text}: {said}");
        }
        let twice = read(r#"{"kind":"queue","name":"orders"}"#).unwrap();
        assert!(validate(&[twice.clone(), twice]).unwrap_err().to_string().contains("two sources"));
    }

    #[test]
    fn a_pattern_is_of_the_whole_name() {
        for (pattern, name, wanted) in [
            ("*.jpg", "a.jpg", true),
            ("*.jpg", "a.jpg.part", false),
            ("a?c*", "abcd", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*", "", true),
            ("a", "", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), wanted, "{pattern} {name}");
        }
    }

    #[test]
    fn an_address_has_its_port_or_the_usual_one() {
        let address = |broker: &str| {
            let text = format!(r#"{{"kind":"mqtt","name":"m","broker":"{broker}","topics":["a"]}}"#);
            let Source::Mqtt(mqtt) = read(&text).unwrap() else { unreachable!() };
            mqtt.address().unwrap()
        };
        assert_eq!(address("mqtt://10.0.0.1"), ("10.0.0.1".into(), 1883, false));
        assert_eq!(address("mqtts://[::1]:9"), ("::1".into(), 9, true));
        assert_eq!(address("mqtts://[::1]"), ("::1".into(), 8883, true));
    }
}
