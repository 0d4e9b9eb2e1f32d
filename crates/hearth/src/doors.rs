//! The two listeners: ingress, for functions only; control, for AWS's Invoke API and the management API.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::{Entry, HeaderValue, SET_COOKIE};
use axum::middleware::{Next, from_fn, map_response};
use axum::response::Response;
use axum::routing::post;
use control::{AccessKeys as _, Hosts, Peer, Sessions};
use engine::{Engine, ReplyBody, Streamed, WebCall};
use gateway::{Caller, Enqueued, Gateway, Invoker, KeyWorth, NewEvent, Passage, Right, Tls};
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::service::TowerToHyperService;
use model::{Fault, FaultCode, Function, FunctionName, Invocation, Outcome, Qualifier, RoutePattern, SecretName};
use store::{Queue, StoreError};
use tokio::net::TcpListener;

use crate::callers::Callers;
use crate::dashboard;
use crate::keys::Keys;
use crate::succession::Inside;

/// When it is worth asking again, where the queue is full.
const QUEUE_FULL_RETRY: Duration = Duration::from_secs(1);
/// The same where the disk is.
const DISK_FULL_RETRY: Duration = Duration::from_secs(10);

/// Both listeners' shared state.
#[derive(Clone)]
pub struct Doors {
    gateway: Gateway<Dispatch>,
    limits: gateway::Limits,
    tls: Secure,
}

/// Which listeners speak TLS.
#[derive(Clone, Default)]
pub struct Secure {
    pub control: Option<Tls>,
    pub ingress: Option<Tls>,
}

/// Engine and queue, as the doors see them.
#[derive(Clone)]
pub struct Dispatch {
    engine: Engine,
    queue: Arc<dyn Queue>,
    inside: Inside,
}

/// The installation's keys, as the doors see them.
struct DoorKeys {
    keys: Arc<Keys>,
    callers: Arc<Callers>,
}

// === impl Doors ===

impl Doors {
    pub fn new(
        engine: Engine,
        queue: Arc<dyn Queue>,
        keys: Arc<Keys>,
        callers: Arc<Callers>,
        trusted_proxies: Vec<gateway::Network>,
        tls: Secure,
        inside: Inside,
    ) -> Self {
        let https = tls.ingress.is_some();
        let (region, account_id) = (model::place().0.into(), model::place().1.into());
        let options = gateway::Options { region, account_id, trusted_proxies, https, ..gateway::Options::default() };
        let limits = options.limits.clone();
        Self {
            gateway: Gateway::new(Dispatch { engine, queue, inside }, DoorKeys { keys, callers }, options),
            limits,
            tls,
        }
    }

    /// How clients are told of the end, and who has no answer yet.
    pub fn parting(&self) -> &gateway::Parting {
        &self.limits.parting
    }

    /// From now on these functions' routes and no others.
    pub fn set_routes(&self, functions: &[Arc<Function>]) {
        self.gateway.set_routes(functions.iter().map(Arc::as_ref));
    }

    /// Serves functions until `shutdown`, then finishes what is open.
    pub async fn serve_ingress(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        gateway::serve_ingress(listener, self.tls.ingress, self.gateway, shutdown).await;
    }

    /// Serves the dashboard and the Invoke door, and `api` for everything else, until `shutdown`.
    pub async fn serve_control(
        self,
        listener: TcpListener,
        api: Router,
        (sessions, hosts): (Arc<Sessions>, Arc<Hosts>),
        shutdown: impl Future<Output = ()>,
    ) {
        let gateway = self.gateway;
        let invoke = post(move |request: Request| async move { invoke(&gateway, request).await });
        let router = Router::new()
            .route("/2021-11-15/functions/{name}/response-streaming-invocations", invoke.clone())
            .route("/2015-03-31/functions/{name}/invocations", invoke.clone())
            .route("/2014-11-13/functions/{name}/invoke-async", invoke.clone())
            .route("/2014-11-13/functions/{name}/invoke-async/", invoke);
        // Around both: the dashboard invokes as well.
        let carry = move |request: Request, next: Next| control::carry(sessions.clone(), request, next);
        let pages = move |request: Request, next: Next| dashboard::serve(hosts.clone(), request, next);
        let router = router.fallback_service(api.layer(from_fn(pass_upgrades)));
        let mut router = router.layer(from_fn(carry)).layer(from_fn(pages));
        if self.tls.control.is_some() {
            router = router.layer(map_response(only_over_tls));
        }
        let service = move |peer: SocketAddr| {
            let router = TowerToHyperService::new(router.clone());
            service_fn(move |mut request: axum::http::Request<Incoming>| {
                request.extensions_mut().insert(Peer(peer.ip()));
                router.call(request)
            })
        };
        gateway::serve(listener, self.tls.control, service, shutdown, self.limits).await;
    }
}

async fn invoke(gateway: &Gateway<Dispatch>, request: Request) -> Response {
    gateway.handle_invoke(request).await.map(Body::new)
}

/// A browser that got a cookie over TLS sends it over nothing else.
async fn only_over_tls(mut response: Response) -> Response {
    if let Entry::Occupied(mut cookies) = response.headers_mut().entry(SET_COOKIE) {
        for cookie in cookies.iter_mut() {
            let secure = [cookie.as_bytes(), b"; Secure"].concat();
            if let Ok(mut secure) = HeaderValue::from_bytes(&secure) {
                secure.set_sensitive(true);
                *cookie = secure;
            }
        }
    }
    response
}

/// What stands before the parser lets a connection go that the API has made one to an instance.
async fn pass_upgrades(mut request: Request, next: Next) -> Response {
    let passage = request.extensions_mut().remove::<Passage>();
    let response = next.run(request).await;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        passage.as_ref().map(Passage::open);
    }
    response
}

impl Invoker for Dispatch {
    fn function(&self, name: &FunctionName) -> Option<Arc<Function>> {
        self.engine.function(name)
    }

    fn resolve(&self, name: &FunctionName, qualifier: Option<&Qualifier>) -> Option<Arc<Function>> {
        self.engine.resolve(name, qualifier)
    }

    async fn invoke(&self, invocation: Invocation) -> Result<Outcome, Fault> {
        let _inside = self.inside.enter();
        self.engine.invoke(invocation).await
    }

    async fn stream(&self, invocation: Invocation) -> Result<Streamed, Fault> {
        let _inside = self.inside.enter();
        self.engine.stream(invocation).await
    }

    async fn enqueue(&self, event: NewEvent) -> Result<Enqueued, Fault> {
        self.queue.enqueue(event).await.map_err(|error| {
            let text = error.to_string();
            match error {
                StoreError::QueueFull { .. } => {
                    Fault::new(FaultCode::TooManyRequests, text).with_retry_after(QUEUE_FULL_RETRY)
                }
                StoreError::KeyReused(_) => Fault::new(FaultCode::Conflict, text),
                StoreError::DiskFull => {
                    let message = "the disk that holds the data directory has no room for events: nothing was kept";
                    Fault::new(FaultCode::Store, message).with_retry_after(DISK_FULL_RETRY)
                }
                StoreError::Disk(_) => {
                    let message = "the disk that holds the data directory failed: no event is kept any more until \
                                   Hearth starts again; its log says more";
                    Fault::new(FaultCode::Store, message).with_detail(text)
                }
                StoreError::Closed => Fault::new(FaultCode::Draining, "the server is ending and takes no new work")
                    .with_retry_after(Duration::from_secs(1)),
                _ => Fault::new(FaultCode::Store, "the queue did not answer: the event is not kept").with_detail(text),
            }
        })
    }

    async fn web(&self, call: WebCall) -> Result<axum::http::Response<ReplyBody>, Fault> {
        let _inside = self.inside.enter();
        self.engine.web(call).await
    }
}

impl gateway::Keys for DoorKeys {
    fn secret(&self, access_key_id: &str) -> Option<String> {
        self.keys.tokens.of_access_key(access_key_id)?;
        self.keys.secret_of(access_key_id)
    }

    fn token_ok(&self, token: &str) -> bool {
        self.keys.tokens.of_token(token).is_some()
    }

    fn may_invoke(&self, caller: &Caller, function: &FunctionName) -> Right {
        let holder = match caller {
            Caller::Token(token) => self.keys.tokens.of_token(token),
            Caller::AccessKey(id) => self.keys.tokens.of_access_key(id),
        };
        match holder.as_deref().map(|holder| &holder.scopes) {
            Some(scopes) if scopes.may_invoke(function.as_str()) => Right::Invoke,
            Some(scopes) if scopes.reach(function.as_str()) => Right::Know,
            // Also one that was revoked a moment ago.
            _ => Right::Nothing,
        }
    }

    fn api_key(&self, key: &str, function: &FunctionName, route: &RoutePattern) -> KeyWorth {
        self.callers.worth(key, function, route)
    }

    fn signed<'a>(
        &'a self,
        secret: &'a SecretName,
        message: &'a [&'a [u8]],
        codes: &'a [[u8; 32]],
    ) -> Pin<Box<dyn Future<Output = Result<bool, Fault>> + Send + 'a>> {
        Box::pin(self.callers.signed(secret, message, codes))
    }
}
