//! Talking to a Hearth that runs: endpoint, token, calls, and what goes wrong in words that help.

use std::fmt::Display;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use control::{ErrorBody, FunctionList, Token};
use model::FunctionName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::{Method, Request, Response, StatusCode};
use ureq::tls::TlsConfig;
use ureq::{Agent, Body};

use super::trust;

const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:7070";
const CONNECT: Duration = Duration::from_secs(5);
/// A call of the management API: an upload is unpacked, a change is waited for.
const CALL: Duration = Duration::from_secs(180);
/// An endless answer that is silent for so long is broken: its heartbeat comes every few seconds.
const SILENCE: Duration = Duration::from_secs(30);
/// Longest answer that is read whole: a package.
const MOST: u64 = 128 * 1024 * 1024;

/// Which Hearth, and how to get in.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectArgs {
    /// Where the Hearth to talk to listens [default: http://127.0.0.1:7070]
    #[arg(long, env = "HEARTH_ENDPOINT", hide_env_values = true, value_name = "URL")]
    pub endpoint: Option<String>,
    /// The data directory that holds admin.token; HEARTH_TOKEN takes its place
    #[arg(long, env = "HEARTH_DATA_DIR", hide_env_values = true, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
    /// Certificates in PEM by which an https:// endpoint is known [default: those that this machine trusts]
    #[arg(long, env = "HEARTH_CA_FILE", hide_env_values = true, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

/// Why a call to Hearth failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no Hearth answers at {endpoint} ({cause}): start it with `hearth up`, or set HEARTH_ENDPOINT")]
    Unreachable { endpoint: String, cause: String },
    #[error("{0}")]
    Token(String),
    /// What Hearth itself said.
    #[error("{message}")]
    Refused { status: u16, code: Option<String>, message: String },
    #[error("the answer is longer than {}: ask for less, for example with --limit", super::text::memory(MOST))]
    TooLarge,
    #[error("{endpoint} answers, but not as Hearth does ({cause}): is HEARTH_ENDPOINT right?")]
    Stranger { endpoint: String, cause: String },
}

/// A Hearth to talk to.
pub struct Client {
    agent: Agent,
    endpoint: String,
    token: Result<String, String>,
}

/// Where `hearth up` keeps its data when it is not told.
pub fn default_data_dir() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some("/var/lib/hearth".into());
    }
    // The XDG specification: a relative path is to be ignored.
    let xdg = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    xdg.or_else(|| Some(home?.join(".local/share"))).map(|data| data.join("hearth"))
}

// === impl ConnectArgs ===

impl ConnectArgs {
    /// The endpoint without a slash at its end.
    pub fn endpoint(&self) -> String {
        let given = self.endpoint.as_deref().filter(|given| !given.is_empty()).unwrap_or(DEFAULT_ENDPOINT);
        let given = given.trim_end_matches('/');
        if given.contains("://") { given.to_owned() } else { format!("http://{given}") }
    }

    /// The file that holds the token.
    pub fn token_file(&self) -> Option<PathBuf> {
        self.data_dir.clone().or_else(default_data_dir).map(|folder| folder.join("admin.token"))
    }

    /// The token, or why there is none.
    pub fn token(&self) -> Result<String, String> {
        if let Some(token) = std::env::var("HEARTH_TOKEN").ok().filter(|token| !token.trim().is_empty()) {
            let token = token.trim().to_owned();
            return match token.parse::<Token>() {
                Ok(_) => Ok(token),
                Err(error) => Err(format!("HEARTH_TOKEN: {error}")),
            };
        }
        self.kept_token()
    }

    /// The token in the data directory, whatever the environment says.
    pub fn kept_token(&self) -> Result<String, String> {
        let path = self.token_file().ok_or("no token: set HEARTH_TOKEN, or HEARTH_DATA_DIR")?;
        let token = std::fs::read_to_string(&path).map_err(|error| {
            let help = match error.kind() {
                io::ErrorKind::PermissionDenied => "it belongs to the user who started Hearth: set HEARTH_TOKEN",
                _ => "set HEARTH_TOKEN, or HEARTH_DATA_DIR to the folder that `hearth up` uses",
            };
            format!("no token: {}: {error}: {help}", path.display())
        })?;
        let token = token.trim().to_owned();
        match token.parse::<Token>() {
            Ok(_) => Ok(token),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }
}

// === impl Client ===

impl Client {
    pub fn new(connect: &ConnectArgs) -> Result<Self, ClientError> {
        Self::with_ca(connect.endpoint(), connect.token(), connect.ca_file.as_deref())
    }

    /// For a Hearth that is known, without a look at the environment.
    pub fn with(endpoint: String, token: Result<String, String>) -> Result<Self, ClientError> {
        Self::with_ca(endpoint, token, None)
    }

    fn with_ca(endpoint: String, token: Result<String, String>, ca: Option<&Path>) -> Result<Self, ClientError> {
        let tls = match endpoint.split_once("://") {
            Some(("http", _)) => TlsConfig::default(),
            Some(("https", _)) => {
                let unusable = |cause| ClientError::Unreachable { endpoint: endpoint.clone(), cause };
                trust::config(ca).map_err(unusable)?
            }
            _ => {
                let cause = "expected an http:// or https:// endpoint".to_owned();
                return Err(ClientError::Unreachable { endpoint, cause });
            }
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(CALL))
            .max_redirects(0)
            // The token is for Hearth alone.
            .proxy(None)
            .tls_config(tls)
            .user_agent(concat!("hearth/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self { agent: config.new_agent(), endpoint, token })
    }

    /// A connection into an instance, that carries the bytes of one to a port of its loopback.
    pub fn attach(&self, instance: &str, port: u16) -> Result<TcpStream, ClientError> {
        let token = self.token.as_ref().map_err(|why| ClientError::Token(why.clone()))?;
        if self.endpoint.starts_with("https://") {
            let cause = "a debugger's connection goes over http:// only: lead one here, for example with ssh -L";
            return Err(ClientError::Unreachable { endpoint: self.endpoint.clone(), cause: cause.to_owned() });
        }
        let authority = self.endpoint.trim_start_matches("http://").split('/').next().unwrap_or_default();
        let address = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
        let unreachable =
            |error: io::Error| ClientError::Unreachable { endpoint: self.endpoint.clone(), cause: error.to_string() };
        let mut stream = TcpStream::connect(address).map_err(unreachable)?;
        stream.set_read_timeout(Some(SILENCE)).map_err(unreachable)?;
        let head = format!(
            "GET /api/v1/instances/{instance}/ports/{port} HTTP/1.1\r\nhost: {authority}\r\nauthorization: Bearer {token}\r\n\
             connection: upgrade\r\nupgrade: tcp\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).map_err(unreachable)?;
        // Not a byte behind the head may be taken: it is the instance's.
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).map_err(unreachable)?;
            answer.push(byte[0]);
            if answer.len() > 16 * 1024 {
                return Err(self.stranger("its answer has no end"));
            }
        }
        let head = String::from_utf8_lossy(&answer);
        let status = head.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
        match status {
            Some(101) => {
                stream.set_read_timeout(None).map_err(unreachable)?;
                Ok(stream)
            }
            Some(status) => {
                let length = head
                    .lines()
                    .filter_map(|line| line.split_once(':'))
                    .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
                let length =
                    length.and_then(|(_, length)| length.trim().parse::<u64>().ok()).unwrap_or(0).min(64 * 1024);
                let mut body = Vec::new();
                stream.take(length).read_to_end(&mut body).map_err(unreachable)?;
                let error = serde_json::from_slice::<ErrorBody>(&body).ok();
                let code = error.as_ref().map(|error| error.code.as_str().to_owned());
                let message = error.map_or_else(|| format!("it answered {status}"), |error| error.message);
                Err(ClientError::Refused { status, code, message })
            }
            None => Err(self.stranger("its answer is not HTTP")),
        }
    }

    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.read(self.send(Method::GET, path, &[], None, Some(CALL))?)
    }

    /// None where there is no such thing.
    pub fn get_if_there<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, ClientError> {
        match self.get(path) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub fn write<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.stranger(error))?;
        let headers = [("content-type", "application/json")];
        self.read(self.send(method, path, &headers, Some(body), Some(CALL))?)
    }

    pub fn delete(&self, path: &str) -> Result<(), ClientError> {
        self.checked(self.send(Method::DELETE, path, &[], None, Some(CALL))?).map(drop)
    }

    /// Removes, and says what.
    pub fn remove<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.read(self.send(Method::DELETE, path, &[], None, Some(CALL))?)
    }

    /// A body that is read while it is sent, however long it takes; and an answer that the caller reads.
    pub fn stream(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: &mut dyn Read,
    ) -> Result<Response<Body>, ClientError> {
        let request = self.request(method, path, &[("content-type", content_type)])?;
        let request = request.body(ureq::SendBody::from_reader(body)).map_err(|error| self.stranger(error))?;
        let request = self.agent.configure_request(request);
        let sent = self.agent.run(request.timeout_global(None).timeout_per_read(Some(CALL)).build());
        sent.map_err(|error| self.failed(error))
    }

    /// Whether something is there.
    pub fn has(&self, path: &str) -> Result<bool, ClientError> {
        let response = self.send(Method::HEAD, path, &[], None, Some(CALL))?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(false),
            _ => self.checked(response).map(|_| true),
        }
    }

    /// A body that is read while it is sent.
    pub fn upload<T: DeserializeOwned>(
        &self,
        path: &str,
        content_type: &str,
        length: u64,
        body: &mut dyn Read,
    ) -> Result<T, ClientError> {
        let headers = [("content-type", content_type), ("content-length", &length.to_string())];
        let request = self.request(Method::PUT, path, &headers)?;
        let request = request.body(ureq::SendBody::from_reader(body)).map_err(|error| self.stranger(error))?;
        let response = self.agent.run(request).map_err(|error| self.failed(error))?;
        self.read(response)
    }

    /// A call whose answer the caller reads; `patience` is for all of it, none for an answer without end.
    pub fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
        patience: Option<Duration>,
    ) -> Result<Response<Body>, ClientError> {
        let request = self.request(method, path, headers)?;
        let silence = patience.is_none().then_some(SILENCE);
        macro_rules! run {
            ($body:expr) => {{
                let request = request.body($body).map_err(|error| self.stranger(error))?;
                let request = self.agent.configure_request(request);
                self.agent.run(request.timeout_global(patience).timeout_per_read(silence).build())
            }};
        }
        // Two types of request, one with a body and one without.
        let result = match body {
            Some(body) => run!(body),
            None => run!(()),
        };
        result.map_err(|error| self.failed(error))
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<ureq::http::request::Builder, ClientError> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.endpoint));
        if let Ok(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Ok(request)
    }

    /// The answer's JSON; an error answer becomes an error.
    fn read<T: DeserializeOwned>(&self, response: Response<Body>) -> Result<T, ClientError> {
        let mut response = self.checked(response)?;
        let bytes = self.body(&mut response)?;
        serde_json::from_slice(&bytes).map_err(|error| self.stranger(error))
    }

    /// Whether a Hearth is there and lets us in.
    pub fn answers(&self) -> Result<(), ClientError> {
        self.get::<control::RuntimeList>("/api/v1/runtimes").map(drop)
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// All bytes of an answer.
    pub fn body(&self, response: &mut Response<Body>) -> Result<Vec<u8>, ClientError> {
        self.body_within(response, MOST)
    }

    fn body_within(&self, response: &mut Response<Body>, most: u64) -> Result<Vec<u8>, ClientError> {
        response.body_mut().with_config().limit(most).read_to_vec().map_err(|error| self.failed(error))
    }

    /// Turns an error answer into an error, in Hearth's own shape or in AWS's.
    pub fn checked(&self, mut response: Response<Body>) -> Result<Response<Body>, ClientError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if let (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Err(why)) = (status, &self.token) {
            return Err(ClientError::Token(why.clone()));
        }
        let bytes = self.body(&mut response).unwrap_or_default();
        let body: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let text = |key: &str| body.get(key).and_then(|value| value.as_str()).map(str::to_owned);
        let Some(message) = text("message").or_else(|| text("Message")) else {
            return Err(self.stranger(format_args!("HTTP status {}", status.as_u16())));
        };
        let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_owned);
        // AWS's door has a code of AWS's in its body, and Hearth's own in a header.
        let code = header("x-hearth-fault").or_else(|| text("code")).or_else(|| text("Code"));
        let code = code.or_else(|| header("x-amzn-errortype"));
        Err(ClientError::Refused { status: status.as_u16(), code, message })
    }

    /// Says that it is the function that is missing, and which one may have been meant.
    pub fn explain_absent(&self, name: &FunctionName, error: ClientError) -> ClientError {
        match error {
            ClientError::Refused { status: 404, code, .. } if code.as_deref() == Some("HEARTH-C003") => {
                let list = self.get::<FunctionList>("/api/v1/functions").map(|list| list.functions).unwrap_or_default();
                let near = control::nearest(name.as_str(), list.iter().map(|one| one.name.as_str()));
                let near = near.map(|near| format!(": did you mean {near}?")).unwrap_or_default();
                ClientError::Refused { status: 404, code, message: format!("no function named {name}{near}") }
            }
            error => error,
        }
    }

    fn failed(&self, error: ureq::Error) -> ClientError {
        use ureq::Error::*;
        let endpoint = self.endpoint.clone();
        match error {
            Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                ClientError::Unreachable { endpoint, cause: "connection refused".into() }
            }
            error @ (Io(_) | HostNotFound | ConnectionFailed | Timeout(_) | BadUri(_)) => {
                ClientError::Unreachable { endpoint, cause: error.to_string() }
            }
            BodyExceedsLimit(_) => ClientError::TooLarge,
            error => ClientError::Stranger { endpoint, cause: error.to_string() },
        }
    }

    fn stranger(&self, cause: impl Display) -> ClientError {
        ClientError::Stranger { endpoint: self.endpoint.clone(), cause: cause.to_string() }
    }
}

// === impl ClientError ===

impl ClientError {
    /// Whether we never got in.
    pub fn no_hearth(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Token(_) | Self::Stranger { .. } => true,
            Self::Refused { status, .. } => *status == 401,
            Self::TooLarge => false,
        }
    }

    /// Whether nobody is there at all.
    pub fn unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// Hearth's own stable code, if it said one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code: Some(code), .. } if code.starts_with("HEARTH-") => Some(code),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        let agent = Agent::new_with_defaults();
        Client { agent, endpoint: "http://127.0.0.1:7070".into(), token: Err("none".into()) }
    }

    fn answer(status: u16, fault: &str, body: &str) -> Response<Body> {
        let response = Response::builder().status(status).header("x-hearth-fault", fault);
        response.body(Body::builder().data(body)).unwrap()
    }

    #[test]
    fn an_answer_that_is_too_long_is_no_stranger_s() {
        let mut long = answer(200, "", &"x".repeat(11));
        let error = client().body_within(&mut long, 10).unwrap_err();
        assert!(matches!(error, ClientError::TooLarge), "{error}");
        assert!(!error.no_hearth());
    }

    #[test]
    fn hearth_s_own_code_outranks_aws_s() {
        let body = r#"{"Type":"User","Message":"Function not found: f"}"#;
        let error = client().checked(answer(404, "HEARTH-C003", body)).unwrap_err();
        assert_eq!((error.code(), error.is_absent()), (Some("HEARTH-C003"), true));
    }
}
