//! What OpenTelemetry's environment variables ask for. What Hearth has not is refused or said, never passed over in silence.

use std::collections::BTreeMap;
use std::time::Duration;

use model::trace::{InvalidSampler, Sampler};
use percent_encoding::percent_decode_str;

/// Where traces go, and which. Its headers are secrets: it has no `Debug`.
#[derive(Clone, PartialEq)]
pub struct Config {
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub gzip: bool,
    /// Of one request.
    pub timeout: Duration,
    /// Attributes of what sends, `service.name` among them.
    pub resource: Vec<(String, String)>,
    pub sampler: Sampler,
    /// How long a span waits for others.
    pub delay: Duration,
    /// Most spans that wait.
    pub queue: usize,
    /// Most spans of one request, but for those of one call.
    pub batch: usize,
    /// Of a batch, with all attempts.
    pub patience: Duration,
    /// Variables that are set and mean nothing to Hearth.
    pub unused: Vec<String>,
}

/// Why that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("{name}: {value:?} is not supported: expected {expected}")]
    Unsupported { name: String, value: String, expected: &'static str },
    #[error("{name}: {value:?} is not valid: expected {expected}")]
    Invalid { name: String, value: String, expected: &'static str },
    #[error("{name} is not valid: expected NAME=VALUE, more of them after commas, and other characters as %2C")]
    Pairs { name: String },
    #[error("OTEL_TRACES_SAMPLER: {0}")]
    Sampler(#[from] InvalidSampler),
}

/// The flag's name in errors.
const FLAG: &str = "--otlp";
const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_";
const ALL: &str = "OTEL_EXPORTER_OTLP_";

struct Said {
    variables: BTreeMap<String, String>,
    used: Vec<String>,
}

// === impl Config ===

impl Config {
    /// Of this process's environment, and the flag if it was given.
    pub fn from_environment(flag: Option<&str>) -> Result<Option<Self>, ConfigError> {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| Some((name.into_string().ok()?, value));
        let ours = std::env::vars_os().filter_map(text).filter(|(name, _)| name.starts_with("OTEL_"));
        Self::read(flag, ours.map(|(name, value)| (name, value.to_string_lossy().into_owned())))
    }

    /// None: no traces are wanted.
    fn read(
        flag: Option<&str>,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Option<Self>, ConfigError> {
        // An empty value is as good as none.
        let variables = variables.map(|(name, value)| (name, value.trim().to_owned()));
        let mut said = Said { variables: variables.filter(|(_, value)| !value.is_empty()).collect(), used: Vec::new() };
        let own = said.take("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        let shared = said.take("OTEL_EXPORTER_OTLP_ENDPOINT");
        let url = match (flag, own, shared) {
            (Some(flag), _, _) => below(&endpoint(FLAG, flag)?),
            (None, Some(own), _) => endpoint("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &own)?,
            (None, None, Some(shared)) => below(&endpoint("OTEL_EXPORTER_OTLP_ENDPOINT", &shared)?),
            (None, None, None) => return Ok(None),
        };
        if said.take("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        match said.take("OTEL_TRACES_EXPORTER").as_deref() {
            Some("none") => return Ok(None),
            Some("otlp") | None => {}
            Some(other) => return Err(unsupported("OTEL_TRACES_EXPORTER", other, "otlp or none")),
        }
        if let Some((name, value)) = said.either("PROTOCOL").filter(|(_, value)| value != "http/protobuf") {
            let expected = "http/protobuf, which collectors take at port 4318";
            return Err(unsupported(&name, &value, expected));
        }
        let gzip = match said.either("COMPRESSION") {
            None => false,
            Some((name, value)) => match value.as_str() {
                "gzip" => true,
                "none" => false,
                _ => return Err(unsupported(&name, &value, "gzip or none")),
            },
        };
        for what in ["CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"] {
            if let Some((name, value)) = said.either(what) {
                let expected = "a collector whose certificate the machine's own store of authorities knows, and that asks for none";
                return Err(unsupported(&name, &value, expected));
            }
        }
        for name in ["OTEL_CONFIG_FILE", "OTEL_EXPERIMENTAL_CONFIG_FILE"] {
            if let Some(value) = said.take(name) {
                return Err(unsupported(name, &value, "variables of the environment"));
            }
        }
        let headers = said.either("HEADERS").map_or(Ok(Vec::new()), |(name, value)| pairs(&name, &value))?;
        for (name, value) in &headers {
            let fits = reqwest::header::HeaderName::try_from(name).is_ok()
                && reqwest::header::HeaderValue::try_from(value).is_ok();
            if !fits {
                return Err(ConfigError::Pairs { name: "OTEL_EXPORTER_OTLP_HEADERS".into() });
            }
        }
        let timeout = match said.either("TIMEOUT") {
            Some((name, value)) => millis(&name, &value)?,
            None => Duration::from_secs(10),
        };
        let mut resource = match said.take("OTEL_RESOURCE_ATTRIBUTES") {
            Some(value) => pairs("OTEL_RESOURCE_ATTRIBUTES", &value)?,
            None => Vec::new(),
        };
        if let Some(service) = said.take("OTEL_SERVICE_NAME") {
            resource.retain(|(name, _)| name != "service.name");
            resource.push(("service.name".into(), service));
        } else if !resource.iter().any(|(name, _)| name == "service.name") {
            resource.push(("service.name".into(), "hearth".into()));
        }
        let argument = said.take("OTEL_TRACES_SAMPLER_ARG");
        let sampler = match said.take("OTEL_TRACES_SAMPLER") {
            Some(name) => Sampler::new(&name, argument.as_deref())?,
            None => Sampler::default(),
        };
        let config = Self {
            url,
            headers,
            gzip,
            timeout,
            resource,
            sampler,
            delay: said.millis("OTEL_BSP_SCHEDULE_DELAY", 5_000)?,
            queue: said.number("OTEL_BSP_MAX_QUEUE_SIZE", 8_192, 1_000_000)?,
            batch: said.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512, 10_000)?,
            patience: said.millis("OTEL_BSP_EXPORT_TIMEOUT", 30_000)?,
            unused: Vec::new(),
        };
        Ok(Some(Self { unused: said.unused(), ..config }))
    }
}

// === impl Said ===

impl Said {
    fn take(&mut self, name: &str) -> Option<String> {
        self.used.push(name.to_owned());
        self.variables.get(name).cloned()
    }

    /// That of traces alone, else that of all signals.
    fn either(&mut self, what: &str) -> Option<(String, String)> {
        let own = [TRACES, what].concat();
        let shared = [ALL, what].concat();
        let found = (self.take(&own), self.take(&shared));
        found.0.map(|value| (own, value)).or(found.1.map(|value| (shared, value)))
    }

    fn millis(&mut self, name: &str, usual: u64) -> Result<Duration, ConfigError> {
        self.take(name).map_or(Ok(Duration::from_millis(usual)), |value| millis(name, &value))
    }

    fn number(&mut self, name: &str, usual: usize, most: usize) -> Result<usize, ConfigError> {
        let Some(value) = self.take(name) else { return Ok(usual) };
        let read = value.parse().ok().filter(|number| (1..=most).contains(number));
        read.ok_or_else(|| invalid(name, &value, "a number from 1 on, and not of millions"))
    }

    fn unused(&self) -> Vec<String> {
        self.variables.keys().filter(|name| !self.used.contains(name)).cloned().collect()
    }
}

fn unsupported(name: &str, value: &str, expected: &'static str) -> ConfigError {
    ConfigError::Unsupported { name: name.to_owned(), value: value.chars().take(80).collect(), expected }
}

fn invalid(name: &str, value: &str, expected: &'static str) -> ConfigError {
    ConfigError::Invalid { name: name.to_owned(), value: value.chars().take(80).collect(), expected }
}

fn endpoint(name: &str, value: &str) -> Result<String, ConfigError> {
    let expected = "a URL as http://localhost:4318";
    let url: reqwest::Url = value.parse().map_err(|_| invalid(name, value, expected))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(invalid(name, value, expected));
    }
    Ok(value.to_owned())
}

/// Where traces are at an endpoint for all signals.
fn below(endpoint: &str) -> String {
    format!("{}/v1/traces", endpoint.trim_end_matches('/'))
}

fn pairs(name: &str, text: &str) -> Result<Vec<(String, String)>, ConfigError> {
    let wrong = || ConfigError::Pairs { name: name.to_owned() };
    let decoded = |text: &str| percent_decode_str(text.trim()).decode_utf8().map(String::from).map_err(|_| wrong());
    let members = text.split(',').filter(|member| !member.trim().is_empty());
    let pair = |member: &str| {
        let (key, value) = member.split_once('=').ok_or_else(wrong)?;
        let (key, value) = (decoded(key)?, decoded(value)?);
        if key.is_empty() { Err(wrong()) } else { Ok((key, value)) }
    };
    members.map(pair).collect()
}

fn millis(name: &str, value: &str) -> Result<Duration, ConfigError> {
    let read = value.parse().ok().filter(|millis| (1..=3_600_000).contains(millis)).map(Duration::from_millis);
    read.ok_or_else(|| invalid(name, value, "milliseconds, 1 to 3600000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(flag: Option<&str>, given: &[(&str, &str)]) -> Result<Option<Config>, String> {
        let given = given.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        Config::read(flag, given).map_err(|error| error.to_string())
    }

    #[test]
    fn without_an_endpoint_there_is_none() {
        assert!(read(None, &[("OTEL_SERVICE_NAME", "x"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]) == Ok(None));
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
        for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert!(read(None, &[endpoint, off]) == Ok(None), "{off:?}");
        }
    }

    #[test]
    fn the_nearest_endpoint_wins() {
        let all =
            [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/x/"), ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t/y")];
        let url = |flag, given: &[(&str, &str)]| read(flag, given).unwrap().unwrap().url;
        assert_eq!(url(None, &all[..1]), "http://c:4318/x/v1/traces");
        assert_eq!(url(None, &all), "http://t/y");
        assert_eq!(url(Some("https://f"), &all), "https://f/v1/traces");
    }

    #[test]
    fn variables_mean_what_they_mean_elsewhere() {
        let config = read(
            Some("http://c"),
            &[
                ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20eA%3D%3D, x-scope = me"),
                ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
                ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"),
                ("OTEL_RESOURCE_ATTRIBUTES", "service.name=no,deployment.environment.name=test"),
                ("OTEL_SERVICE_NAME", "shop"),
                ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
                ("OTEL_TRACES_SAMPLER_ARG", "0.5"),
                ("OTEL_BSP_SCHEDULE_DELAY", "100"),
                ("OTEL_LOG_LEVEL", "debug"),
            ],
        );
        let config = config.unwrap().unwrap();
        let headers = [("authorization", "Basic eA=="), ("x-scope", "me")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(
            (config.headers, config.gzip, config.timeout),
            (headers.to_vec(), true, Duration::from_millis(1500))
        );
        let named = [("deployment.environment.name", "test"), ("service.name", "shop")];
        assert_eq!(config.resource, named.map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert_eq!((config.delay, config.unused), (Duration::from_millis(100), vec!["OTEL_LOG_LEVEL".to_owned()]));
        assert!(config.sampler == Sampler::new("parentbased_traceidratio", Some("0.5")).unwrap());
    }

    #[test]
    fn what_hearth_has_not_is_refused_by_name() {
        for (name, value, part) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "http/protobuf"),
            ("OTEL_TRACES_EXPORTER", "zipkin", "otlp or none"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "gzip"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem", "authorities"),
            ("OTEL_TRACES_SAMPLER", "xray", "parentbased_traceidratio"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "milliseconds"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x", "NAME=VALUE"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "a number"),
        ] {
            let error = read(Some("http://c"), &[(name, value)]).err().unwrap_or_default();
            assert!(error.contains(name) && error.contains(part), "{name}: {error}");
        }
        for bad in ["c:4318", "ftp://c", "http://"] {
            let error = read(Some(bad), &[]).err().unwrap_or_default();
            assert!(error.starts_with("--otlp"), "{bad}: {error}");
        }
    }
}
