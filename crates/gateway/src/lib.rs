//! The HTTP doors: `ingress` for the functions' own URLs, `invoke` for AWS's Invoke API, and `serve`, which
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
mod guard;
mod ingress;
mod invoke;
mod json;
mod limits;
mod respond;
mod serve;
mod timer;
mod trace;
mod web;
mod web_event;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use engine::{ReplyBody, WebCall};
use model::{Fault, Function, FunctionName, Invocation, Outcome};
use tokio::net::TcpListener;

pub use answer::Answer;
pub use ingress::IngressService;
pub use limits::Limits;
pub use serve::serve;
pub use store::queue::{Enqueued, NewEvent};

/// Every answer of a door.
pub type Response = http::Response<Answer>;

/// What the doors need of the engine.
pub trait Invoker: Clone + Send + Sync + 'static {
    /// The function of that name as it is deployed now. Called once for each request: must not block.
    fn function(&self, name: &FunctionName) -> Option<Arc<Function>>;

    /// Runs one invocation to its end, also if the future is dropped because the caller went away.
    fn invoke(&self, invocation: Invocation) -> impl Future<Output = Result<Outcome, Fault>> + Send;

    /// Keeps an event to be run; durable when it resolves. A fault of the store with a time to come back after: the disk
    /// has no room.
    fn enqueue(&self, event: NewEvent) -> impl Future<Output = Result<Enqueued, Fault>> + Send;

    /// Sends a request to a web function, until the answer is dropped.
    fn web(&self, call: WebCall) -> impl Future<Output = Result<http::Response<ReplyBody>, Fault>> + Send;
}

/// Who may use the Invoke door. Called once for each request: must not block.
pub trait Keys: Send + Sync + 'static {
    /// The secret access key that belongs to an access key id, if that is known.
    fn secret(&self, access_key_id: &str) -> Option<String>;

    /// Whether a bearer token may invoke. Must compare in constant time.
    fn token_ok(&self, token: &str) -> bool;
}

/// How the doors present themselves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Region and account in the ARNs of messages.
    pub region: String,
    pub account_id: String,
    /// Host names that end in this, after a function's name and a dot, go to that function.
    pub host_suffix: String,
    /// Whether `X-Forwarded-*` of requests is believed: only behind a proxy that sets them.
    pub trust_forwarded: bool,
    pub limits: Limits,
}

impl Default for Options {
    /// `fn.localhost`, `us-east-1`, account `000000000000`, no proxy in front.
    fn default() -> Self {
        Self {
            region: "us-east-1".into(),
            account_id: "000000000000".into(),
            host_suffix: "fn.localhost".into(),
            trust_forwarded: false,
            limits: Limits::default(),
        }
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
    /// Bytes of request bodies held at the moment.
    budget: body::Budget,
}

// === impl Gateway ===

impl<I: Invoker> Gateway<I> {
    pub fn new(invoker: I, keys: impl Keys, options: Options) -> Self {
        let budget = body::Budget::new(options.limits.buffered_bytes);
        Self { invoker, shared: Arc::new(Shared { keys: Box::new(keys), options, budget }) }
    }

    fn options(&self) -> &Options {
        &self.shared.options
    }
}

/// Serves functions, and nothing else, until `shutdown`; then lets open requests finish within
/// [`Limits::drain`].
pub async fn serve_ingress<I: Invoker>(listener: TcpListener, gateway: Gateway<I>, shutdown: impl Future<Output = ()>) {
    let limits = gateway.options().limits.clone();
    let service = move |peer: SocketAddr| IngressService::new(gateway.clone(), peer);
    serve(listener, service, shutdown, limits).await;
}
