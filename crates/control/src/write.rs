//! What a client says a function shall be. One shape for both writes: `PUT` takes what is not said as the
//! default, `PATCH` leaves it as it is.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{
    AwsNotes, CodeHash, Cpu, Egress, EnvValue, FunctionName, FunctionSpec, HttpRoute, Idle, InvokeMode, Isolation,
    IsolationChoice, KeepPayloads, Layers, Memory, Mount, PinnedImage, Runtime, Scale, Schedule, SecretName, Source,
    UrlRules, WEB_CONCURRENCY, Web,
};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::asynchronous::AsyncWrite;
use crate::error::ApiError;

/// A function's configuration and code, as far as they are said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FunctionWrite {
    /// May be left out; where it is said it must be the name in the path.
    #[schema(value_type = Option<String>, example = "thumbnails")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<FunctionName>,
    /// At most 256 bytes, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// An AWS runtime identifier that `GET /api/v1/runtimes` lists. Needed to make a function.
    #[schema(value_type = Option<String>, example = "python3.11")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// The root file system of its sandboxes: an image that `GET /api/v1/images` lists, by any name of it; null: made of
    /// this machine's own `/usr`, the default. The function keeps the image that it is now, wherever its tag moves.
    #[schema(example = "python:3.11-slim")]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub image: Option<Option<String>>,
    /// `module.function`. Needed to make a function, unless its runtime is `image`.
    #[schema(example = "app.handler")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handler: Option<String>,
    /// It is an HTTP server, which listens on `port` (8080 unless said; told in `PORT`) and answers `health`, if that is
    /// said, once it takes requests; `protocol` is `http1` unless said, or `h2c`; null: it takes events, the default.
    #[schema(value_type = Option<serde_json::Value>, example = json!({"port": 8080, "health": "/healthz"}))]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub web: Option<Option<Web>>,
    /// Program and arguments: a web function's server, or what is run once for each event, with the event on standard
    /// input and the result on standard output; null: what the runtime usually runs, the default.
    #[schema(value_type = Option<Vec<String>>, example = json!(["perl", "report.pl"]))]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub command: Option<Option<Vec<String>>>,
    /// 32MB to 10GB; default 128MB.
    #[schema(value_type = Option<String>, example = "256MB")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// 1ms to 15m; default 3s.
    #[schema(value_type = Option<String>, example = "10s")]
    #[serde(skip_serializing_if = "Option::is_none", with = "time_text")]
    pub timeout: Option<Duration>,
    /// Cores, 0.01 to 64; null: in proportion to memory, the default.
    #[schema(value_type = Option<f64>, example = 0.5)]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub cpu: Option<Option<Cpu>>,
    /// Size of `/tmp`, 1MB to 10GB; default 512MB.
    #[schema(value_type = Option<String>, example = "512MB")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tmp: Option<Memory>,
    /// One that `GET /api/v1/doctor` shows as working, `auto` for the cheapest that meets `at_least`, or shares of the
    /// calls on several: `{"namespace": 90, "gvisor": 10}`, percent; default `namespace`.
    #[schema(value_type = Option<serde_json::Value>, example = "namespace")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolation: Option<IsolationChoice>,
    /// No sandbox is made with a weaker isolation than this one; null: any will do, the default.
    #[schema(value_type = Option<String>, example = "gvisor")]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub at_least: Option<Option<Isolation>>,
    /// Texts, or references to secrets: `{"secret": "photo-api-key"}`. `PATCH` merges them into what is there, and null
    /// removes one; `PUT` sets exactly these.
    #[schema(value_type = Option<BTreeMap<String, Option<serde_json::Value>>>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<BTreeMap<String, Option<EnvValue>>>,
    /// Files below `/run/secrets`, and the secret that each holds. `PATCH` merges them, and null removes one.
    #[schema(value_type = Option<BTreeMap<String, Option<String>>>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secrets: Option<BTreeMap<String, Option<SecretName>>>,
    /// Folders of the host's that the operator allows, each seen at `/mnt/NAME`: `{"host": "/srv/photos", "path":
    /// "/mnt/photos", "read_only": true}`, the last by default. Always all of them.
    #[schema(value_type = Option<Vec<serde_json::Value>>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mounts: Option<Vec<Mount>>,
    /// Packages that are seen at `/opt`, `NAME:VERSION` each, at most five: where two hold a file of one name, the later one's
    /// is seen. Always all of them.
    #[schema(example = json!(["deps:3"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<String>>,
    /// What those are: found before the write is applied.
    #[serde(skip)]
    #[schema(ignore)]
    pub found_layers: Option<Option<Layers>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<ScaleWrite>,
    /// What the function may reach over the network: `none`, the default; `internet`; `lan`, which is private addresses
    /// too; or exactly a list: `["192.168.1.10:5432", "10.0.0.0/8"]`.
    #[schema(value_type = Option<serde_json::Value>, example = "internet")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<Egress>,
    /// Whether instances go on from an image that is made after init, once for each revision; default false. For Python in
    /// the `namespace` isolation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapstart: Option<bool>,
    /// Whether the ingress answers at `/fn/NAME/…`; default true, but false where a route asks who calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<bool>,
    /// Whether the ingress gives answers whole, `buffered`, the default, or as the function writes them, `stream`.
    #[schema(value_type = Option<String>, example = "stream")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invoke_mode: Option<InvokeMode>,
    /// What holds at its own URL, replaced whole: `auth` is `none`, the default, or `aws-iam`: callers sign with an access key;
    /// `cors` as in routes.
    #[schema(value_type = Option<serde_json::Value>, example = json!({"auth": "aws-iam"}))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_rules: Option<UrlRules>,
    /// Routes on the ingress that it answers, these and no others: `{"route": "POST /thumbs/{name}", "auth": "api-key", "rate":
    /// "10/s"}`; docs/http.md has all keys.
    #[schema(value_type = Option<Vec<serde_json::Value>>)]
    #[serde(rename = "http", skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<HttpRoute>>,
    /// What becomes of events that nobody waits for.
    #[serde(rename = "async", skip_serializing_if = "Option::is_none")]
    pub asynchronous: Option<AsyncWrite>,
    /// What is kept of its calls beside their records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<RecordsWrite>,
    /// When it is called by the clock: these schedules and no others.
    #[schema(value_type = Option<Vec<serde_json::Value>>)]
    #[serde(rename = "schedule", skip_serializing_if = "Option::is_none")]
    pub schedules: Option<Vec<Schedule>>,
    /// Where else its events come from: these sources and no others. Each has a `kind`: `queue`, `mqtt` or `folder`.
    #[schema(value_type = Option<Vec<serde_json::Value>>, example = json!([{"kind": "queue", "name": "orders", "batch": 10}]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sources: Option<Vec<Source>>,
    /// The package, uploaded before. Needed to make a function.
    /// What AWS's tools keep of it: `role`, `tags`, `json_logs` and the like; replaced whole.
    #[schema(value_type = Option<serde_json::Value>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsNotes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<CodeRef>,
}

/// How a function scales, as far as it is said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScaleWrite {
    /// Instances kept ready although nothing calls; default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    /// Instances at once at most; default 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// Invocations at once in one instance; event functions take 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// How long an instance without work is kept: `auto`, or a time; `0s`: none outlives its call.
    #[schema(value_type = Option<String>, example = "auto")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Idle>,
}

/// What is kept of a function's calls beside their records, as far as it is said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RecordsWrite {
    /// Events and answers, which may hold anything that callers send: `none`, the default; of calls that fail, `errors`; or
    /// `all`. At most 256 KiB of each.
    #[schema(value_type = Option<String>, example = "errors")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payloads: Option<KeepPayloads>,
}

/// Names a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CodeRef {
    /// 64 lower-case hexadecimal digits.
    #[schema(value_type = String)]
    pub sha256: CodeHash,
}

// === impl FunctionWrite ===

impl FunctionWrite {
    /// A whole function out of this, with defaults for what is not said.
    pub(crate) fn create(
        self,
        name: FunctionName,
        image: Option<PinnedImage>,
    ) -> Result<(FunctionSpec, CodeHash), ApiError> {
        let missing = |key| ApiError::invalid(format!("{key} is missing: it has no default"));
        let runtime = self.runtime.clone().ok_or_else(|| missing("runtime"))?;
        let (web, command) = (self.web.clone().flatten().is_some(), self.command.clone().flatten().is_some());
        let usual = FunctionSpec::usual_handler(runtime.language(), web, command).map(str::to_owned);
        let handler = self.handler.clone().or(usual).ok_or_else(|| missing("handler"))?;
        let code = self.code.clone().ok_or_else(|| missing("code.sha256"))?.sha256;
        if let Some((name, _)) = self.env.iter().flatten().find(|(_, value)| value.is_none()) {
            return Err(ApiError::invalid(format!("env.{name} is null: only PATCH removes by null")));
        }
        if let Some((path, _)) = self.secrets.iter().flatten().find(|(_, secret)| secret.is_none()) {
            return Err(ApiError::invalid(format!("secrets.{path} is null: only PATCH removes by null")));
        }
        let mut spec = FunctionSpec::new(name, runtime, &handler);
        if web {
            spec.scale.concurrency = WEB_CONCURRENCY;
        }
        if self.isolation.is_none() && self.at_least.flatten().is_some() {
            // Who says how strong it shall be leaves it to us which.
            spec.isolation = IsolationChoice::Auto;
        }
        // Its URL would let everybody in.
        spec.url = !guarded(self.routes.as_deref());
        self.apply(&mut spec, image.map(Some))?;
        Ok((spec, code))
    }

    /// Changes what is said, leaves what is not, and checks the whole.
    /// `image`: what was said of it, pinned.
    pub(crate) fn apply(self, spec: &mut FunctionSpec, image: Option<Option<PinnedImage>>) -> Result<(), ApiError> {
        // Taken apart, so that a key added to the type cannot be forgotten here.
        let Self {
            name,
            description,
            runtime,
            image: _,
            handler,
            web,
            command,
            memory,
            timeout,
            cpu,
            tmp,
            isolation,
            at_least,
            env,
            secrets,
            mounts,
            layers,
            found_layers,
            scale,
            egress,
            snapstart,
            url,
            invoke_mode,
            url_rules,
            routes,
            asynchronous,
            records,
            schedules,
            aws,
            sources,
            code: _,
        } = self;
        if name.is_some_and(|name| name != spec.name) {
            return Err(ApiError::invalid(format!(
                "name differs from the path's: a function keeps its name, {}",
                spec.name
            )));
        }
        set(&mut spec.description, description);
        set(&mut spec.runtime, runtime);
        set(&mut spec.image, image);
        set(&mut spec.handler, handler);
        if let Some(web) = web {
            // How many calls one instance takes at once goes with what it is.
            match (&spec.web, &web) {
                (None, Some(_)) => spec.scale.concurrency = WEB_CONCURRENCY,
                (Some(_), None) => spec.scale.concurrency = 1,
                _ => {}
            }
            spec.web = web;
        }
        set(&mut spec.command, command);
        set(&mut spec.memory, memory);
        set(&mut spec.timeout, timeout);
        set(&mut spec.cpu, cpu);
        set(&mut spec.tmp, tmp);
        set(&mut spec.isolation, isolation);
        set(&mut spec.at_least, at_least);
        set(&mut spec.mounts, mounts);
        if layers.is_some() && found_layers.is_none() {
            return Err(model::Fault::new(model::FaultCode::Internal, "layers were not looked up").into());
        }
        set(&mut spec.layers, found_layers);
        set(&mut spec.egress, egress);
        set(&mut spec.snapstart, snapstart);
        if url.is_none() && spec.url && guarded(routes.as_deref()) {
            return Err(ApiError::invalid(format!(
                "a route asks who calls, and the function's own URL /fn/{}/ asks nobody: say url = false, or url = true to \
                 keep both",
                spec.name
            )));
        }
        set(&mut spec.url, url);
        set(&mut spec.invoke_mode, invoke_mode);
        set(&mut spec.url_rules, url_rules);
        set(&mut spec.routes, routes);
        set(&mut spec.schedules, schedules);
        set(&mut spec.aws, aws);
        set(&mut spec.sources, sources);
        if let Some(rules) = asynchronous {
            rules.apply(&mut spec.asynchronous);
        }
        if let Some(RecordsWrite { payloads }) = records {
            set(&mut spec.records.payloads, payloads);
        }
        for (name, value) in env.into_iter().flatten() {
            match value {
                Some(value) => spec.env.insert(name, value),
                None => spec.env.remove(&name),
            };
        }
        for (path, secret) in secrets.into_iter().flatten() {
            match secret {
                Some(secret) => spec.secrets.insert(path, secret),
                None => spec.secrets.remove(&path),
            };
        }
        if let Some(ScaleWrite { min, max, concurrency, idle }) = scale {
            let Scale { min: to_min, max: to_max, concurrency: to_concurrency, idle: to_idle } = &mut spec.scale;
            set(to_min, min);
            set(to_max, max);
            set(to_concurrency, concurrency);
            set(to_idle, idle);
        }
        Ok(spec.validate()?)
    }
}

/// Whether some route asks who calls.
fn guarded(routes: Option<&[HttpRoute]>) -> bool {
    routes.is_some_and(|routes| routes.iter().any(|one| !one.auth.is_none()))
}

pub(crate) fn set<T>(to: &mut T, from: Option<T>) {
    if let Some(from) = from {
        *to = from;
    }
}

/// Tells a key that is null from one that is not there.
pub(crate) fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// A time as its text, or as a number of seconds.
pub(crate) mod time_text {
    use super::*;
    use model::{parse_duration, show_duration};

    pub fn serialize<S: serde::Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => to.collect_str(&show_duration(*time)),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Number(f64),
            Text(String),
        }
        let text = match Option::<Raw>::deserialize(from)? {
            None => return Ok(None),
            Some(Raw::Number(seconds)) => seconds.to_string(),
            Some(Raw::Text(text)) => text,
        };
        parse_duration(&text).map(Some).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> FunctionWrite {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_is_written_can_be_every_key_of_a_function() {
        let mut spec = FunctionSpec::new("f".parse().unwrap(), Runtime::python("3.11"), "app.handler");
        spec.cpu = Some(Cpu::millis(500));
        spec.isolation = "namespace=90,gvisor=10".parse().unwrap();
        spec.web = Some(Web { port: 3000, health: Some("/up".into()), ..Web::default() });
        spec.command = Some(vec!["node".into(), "server.js".into()]);
        spec.at_least = Some(Isolation::Docker);
        spec.env.insert("API_KEY".into(), "key".parse::<SecretName>().unwrap().into());
        spec.secrets.insert("tls/key".into(), "tls".parse().unwrap());
        spec.mounts = vec![Mount { host: "/srv".parse().unwrap(), path: "/mnt/a".parse().unwrap(), read_only: false }];
        spec.image = Some(format!("python:3.11@sha256:{}", "0f".repeat(32)).parse().unwrap());
        spec.asynchronous = model::AsyncRules {
            retries: 1,
            on_success: Some("g".parse().unwrap()),
            on_failure: Some("h".parse().unwrap()),
            ..model::AsyncRules::default()
        };
        spec.routes = vec!["POST /a/{b} auth=github:key rate=1/s max-body=1KB timeout=1s cors=*".parse().unwrap()];
        spec.schedules = vec![Schedule::new("nightly", "0 3 * * *")];
        spec.aws.role = "arn:aws:iam::000000000000:role/lambda".into();
        let stored = serde_json::to_value(&spec).unwrap();
        let mut back: FunctionWrite = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(serde_json::to_value(&back).unwrap(), stored, "every key of the model is a key of the API");
        // A program of its own has neither secret files nor, where it is a server, schedules.
        (back.web, back.command, spec.web, spec.command) = (None, None, None, None);
        back.code = Some(CodeRef { sha256: CodeHash::from_digest(&[1; 32]) });
        assert_eq!(back.create("f".parse().unwrap(), spec.image.clone()).unwrap().0, spec);
    }

    #[test]
    fn what_becomes_a_web_function_takes_many_calls_at_once() {
        let mut spec = FunctionSpec::new("f".parse().unwrap(), Runtime::provided(), "bootstrap");
        read(r#"{"web":{}}"#).apply(&mut spec, None).unwrap();
        assert_eq!((spec.scale.concurrency, spec.web.as_ref().map(|web| web.port)), (WEB_CONCURRENCY, Some(8080)));
        read(r#"{"web":{"port":3000},"scale":{"concurrency":2}}"#).apply(&mut spec, None).unwrap();
        assert_eq!((spec.scale.concurrency, spec.web.as_ref().map(|web| web.port)), (2, Some(3000)));
        read(r#"{"web":null}"#).apply(&mut spec, None).unwrap();
        assert_eq!((spec.scale.concurrency, spec.web), (1, None));
    }

    #[test]
    fn a_patch_changes_only_what_it_says() {
        let mut spec = FunctionSpec::new("f".parse().unwrap(), Runtime::python("3.11"), "app.handler");
        spec.env = [("A".into(), "1".into()), ("B".into(), "2".into())].into();
        spec.cpu = Some(Cpu::millis(500));
        let before = spec.clone();
        read(r#"{}"#).apply(&mut spec, None).unwrap();
        assert_eq!(spec, before);
        read(r#"{"env":{"A":null,"C":"3"},"cpu":null,"scale":{"max":5},"timeout":90}"#).apply(&mut spec, None).unwrap();
        assert_eq!(spec.env.into_iter().collect::<Vec<_>>(), [("B".into(), "2".into()), ("C".into(), "3".into())]);
        assert_eq!((spec.cpu, spec.scale.max, spec.scale.min), (None, 5, 0));
        assert_eq!(spec.timeout, Duration::from_secs(90));
    }
}
