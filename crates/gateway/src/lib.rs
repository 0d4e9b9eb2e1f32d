//! The HTTP doors: `ingress` for the functions' own URLs and the routes that they declare, `invoke` for AWS's Invoke API, and `serve`, which
//! carries them and the control listener over connections with limits.
//!
//! ```text
//! socket ─► guard (framing, slow heads) ─► hyper ─► ingress ─┐                    ┌─► reply of format 2.0
//!                                            └────► invoke ──┴─► Invocation ─► Invoker ─► Outcome | Fault
//! ```
//!
//! A door makes an [`model::Invocation`] and awaits one [`model::Outcome`]; it knows no instance and no
//! isolation. It buffers what the AWS contract demands, one payload of at most 6 MB, and counts that too.

#![forbid(unsafe_code)]

mod answer;
mod body;
mod client;
mod cors;
mod guard;
mod h2c;
mod ingress;
mod invoke;
mod json;
mod limits;
mod parting;
mod pieces;
mod rate;
mod respond;
mod routed;
mod serve;
mod signature;
mod streamed;
mod table;
mod timer;
mod tls;
mod trace;
mod url;
mod validity;
mod web;
mod web_event;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};

use engine::{ReplyBody, Streamed, WebCall};
use model::{Fault, Function, FunctionName, Invocation, Outcome, Qualifier, RoutePattern, SecretName};
use tokio::net::TcpListener;

pub use answer::Answer;
pub use client::{InvalidNetwork, Network};
pub use ingress::IngressService;
pub use limits::Limits;
pub use parting::Parting;
pub use serve::serve;
pub use store::queue::{Enqueued, NewEvent};
pub use table::RouteTable;
pub use tls::{Tls, TlsError, TlsFiles, TlsStatus};
pub use web::Passage;

/// Every answer of a door.
pub type Response = http::Response<Answer>;

/// What the doors need of the engine.
pub trait Invoker: Clone + Send + Sync + 'static {
    /// The function of that name as it is deployed now. Called once for each request: must not block.
    fn function(&self, name: &FunctionName) -> Option<Arc<Function>>;

    /// What a name and a version or alias mean at present; of an alias with two versions, the first. Must not block.
    fn resolve(&self, name: &FunctionName, qualifier: Option<&Qualifier>) -> Option<Arc<Function>>;

    /// Runs one invocation to its end, also if the future is dropped because the caller went away.
    fn invoke(&self, invocation: Invocation) -> impl Future<Output = Result<Outcome, Fault>> + Send;

    /// Runs one invocation, and gives its answer as soon as it begins. It runs to its end, also if nobody takes the answer.
    fn stream(&self, invocation: Invocation) -> impl Future<Output = Result<Streamed, Fault>> + Send;

    /// Keeps an event to be run; durable when it resolves. A fault of the store with a time to come back after: the disk
    /// has no room.
    fn enqueue(&self, event: NewEvent) -> impl Future<Output = Result<Enqueued, Fault>> + Send;

    /// Sends a request to a web function, until the answer is dropped.
    fn web(&self, call: WebCall) -> impl Future<Output = Result<http::Response<ReplyBody>, Fault>> + Send;
}

/// Who may use the Invoke door, and routes that ask. Called once for each request: must not block.
pub trait Keys: Send + Sync + 'static {
    /// The secret access key that belongs to an access key id, if that is known.
    fn secret(&self, access_key_id: &str) -> Option<String>;

    /// Whether a bearer token is valid. Its bytes must not be compared one by one.
    fn token_ok(&self, token: &str) -> bool;

    /// What whoever showed a valid credential may do with a function, whether there is one or not.
    fn may_invoke(&self, caller: &Caller, function: &FunctionName) -> Right;

    /// What a key that a caller shows is worth on this route. Must compare in constant time.
    fn api_key(&self, key: &str, function: &FunctionName, route: &RoutePattern) -> KeyWorth;

    /// Whether one of `codes` is the HMAC-SHA256 of the message's pieces, one after another, under a secret. Must compare in
    /// constant time; may read the store. The gateway itself is never given a secret.
    fn signed<'a>(
        &'a self,
        secret: &'a SecretName,
        message: &'a [&'a [u8]],
        codes: &'a [[u8; 32]],
    ) -> Pin<Box<dyn Future<Output = Result<bool, Fault>> + Send + 'a>>;
}

/// What the Invoke door was shown, and took for valid.
#[derive(Clone, PartialEq, Eq)]
pub enum Caller {
    Token(String),
    /// The id of the access key that signed.
    AccessKey(String),
}

/// What a caller may do with a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    Invoke,
    /// To know of it.
    Know,
    /// Nothing, not even to learn whether there is one.
    Nothing,
}

/// What an API key is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyWorth {
    Unknown,
    /// It is valid, but not here.
    Elsewhere,
    Valid,
}

/// How the doors present themselves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Region and account in the ARNs of messages.
    pub region: String,
    pub account_id: String,
    /// Host names that end in this, after a function's name and a dot, go to that function.
    pub host_suffix: String,
    /// Proxies whose `X-Forwarded-*` is believed.
    pub trusted_proxies: Vec<Network>,
    /// Whether the ingress is reached over TLS, by what it is itself.
    pub https: bool,
    pub limits: Limits,
}

impl Default for Options {
    /// `fn.localhost`, `us-east-1`, account `000000000000`, no proxy in front.
    fn default() -> Self {
        Self {
            region: "us-east-1".into(),
            account_id: "000000000000".into(),
            host_suffix: "fn.localhost".into(),
            trusted_proxies: Vec::new(),
            https: false,
            limits: Limits::default(),
        }
    }
}

// === impl Options ===

impl Options {
    /// What was spoken, and the port of it where none was said.
    fn scheme(&self) -> (&'static str, u16) {
        if self.https { ("https", 443) } else { ("http", 80) }
    }
}

/// The doors' shared state; cloning is cheap.
#[derive(Clone)]
pub struct Gateway<I> {
    invoker: I,
    shared: Arc<Shared>,
}

struct Shared {
    keys: Box<dyn Keys>,
    options: Options,
    /// What functions answer beside their own URLs.
    routes: RwLock<Arc<RouteTable>>,
    /// Bytes of request bodies held at the moment.
    budget: body::Budget,
}

// === impl Gateway ===

impl<I: Invoker> Gateway<I> {
    pub fn new(invoker: I, keys: impl Keys, options: Options) -> Self {
        let budget = body::Budget::new(options.limits.buffered_bytes);
        let routes = RwLock::default();
        Self { invoker, shared: Arc::new(Shared { keys: Box::new(keys), options, routes, budget }) }
    }

    /// From now on these functions' routes and no others. Requests that have begun go on by those of before.
    pub fn set_routes<'a>(&self, functions: impl IntoIterator<Item = &'a Function>) {
        let table = Arc::new(RouteTable::new(functions, Some(&self.routes())));
        *self.shared.routes.write().unwrap_or_else(PoisonError::into_inner) = table;
    }

    fn routes(&self) -> Arc<RouteTable> {
        self.shared.routes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn options(&self) -> &Options {
        &self.shared.options
    }
}

/// Serves functions, and nothing else, until `shutdown`; then lets open requests finish within
/// [`Limits::drain`].
pub async fn serve_ingress<I: Invoker>(
    listener: TcpListener,
    tls: Option<Tls>,
    gateway: Gateway<I>,
    shutdown: impl Future<Output = ()>,
) {
    let limits = Limits { http2: true, ..gateway.options().limits.clone() };
    let service = move |peer: SocketAddr| IngressService::new(gateway.clone(), peer);
    serve(listener, tls, service, shutdown, limits).await;
}
