//! The two listeners: ingress, for functions only; control, for AWS's Invoke API and the management API.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aws::errors::AwsError;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{any, post};
use bytes::Bytes;
use engine::{Engine, ReplyBody, WebCall};
use gateway::{Enqueued, Gateway, Invoker, NewEvent};
use hyper_util::service::TowerToHyperService;
use model::{Fault, FaultCode, Function, FunctionName, Invocation, Outcome, RequestId};
use store::{Queue, StoreError};
use tokio::net::TcpListener;

use crate::keys::Keys;

/// What the paths of AWS Lambda's API begin with: the dates of its versions.
const AWS_API_VERSIONS: [&str; 13] = [
    "2014-11-13",
    "2015-03-31",
    "2016-08-19",
    "2017-03-31",
    "2017-10-31",
    "2018-10-31",
    "2019-09-25",
    "2019-09-30",
    "2020-04-22",
    "2020-06-30",
    "2021-07-20",
    "2021-10-31",
    "2021-11-15",
];

/// When it is worth asking again, where the queue is full.
const QUEUE_FULL_RETRY: Duration = Duration::from_secs(1);
/// The same where the disk is.
const DISK_FULL_RETRY: Duration = Duration::from_secs(10);

/// Both listeners' shared state.
#[derive(Clone)]
pub struct Doors {
    gateway: Gateway<Dispatch>,
    limits: gateway::Limits,
}

/// Engine and queue, as the doors see them.
#[derive(Clone)]
pub struct Dispatch {
    engine: Engine,
    queue: Arc<dyn Queue>,
}

/// The installation's keys, as the doors see them.
struct DoorKeys(Arc<Keys>);

// === impl Doors ===

impl Doors {
    pub fn new(engine: Engine, queue: Arc<dyn Queue>, keys: Arc<Keys>) -> Self {
        let options = gateway::Options::default();
        let limits = options.limits.clone();
        Self { gateway: Gateway::new(Dispatch { engine, queue }, DoorKeys(keys), options), limits }
    }

    /// Serves functions until `shutdown`, then finishes what is open.
    pub async fn serve_ingress(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        gateway::serve_ingress(listener, self.gateway, shutdown).await;
    }

    /// Serves the Invoke door, and `api` for everything else, until `shutdown`.
    pub async fn serve_control(self, listener: TcpListener, api: Router, shutdown: impl Future<Output = ()>) {
        let gateway = self.gateway;
        let invoke = post(move |request: Request| async move { invoke(&gateway, request).await });
        // Beside the API's layers, not within them: AWS clients authenticate by signature, and have no browser.
        let mut router = Router::new().route("/2015-03-31/functions/{name}/invocations", invoke);
        for date in AWS_API_VERSIONS {
            router = router.route(&format!("/{date}/{{*rest}}"), any(not_yet));
        }
        let router = router.fallback_service(api);
        let service = move |_peer| TowerToHyperService::new(router.clone());
        gateway::serve(listener, service, shutdown, self.limits).await;
    }
}

async fn invoke(gateway: &Gateway<Dispatch>, request: Request) -> Response {
    gateway.handle_invoke(request).await.map(Body::new)
}

/// The part of AWS Lambda's API that is not here yet says so, in AWS's way.
async fn not_yet(request: Request) -> Response {
    let text = format!(
        "{} {} of AWS Lambda's API is not in this version of Hearth, which has Invoke of it: functions are made with \
         `hearth deploy` or /api/v1",
        request.method(),
        request.uri().path()
    );
    let error = AwsError::new(StatusCode::NOT_IMPLEMENTED, "NotImplementedException", text);
    error.response::<Bytes>(&RequestId::random()).map(Body::from)
}

impl Invoker for Dispatch {
    fn function(&self, name: &FunctionName) -> Option<Arc<Function>> {
        self.engine.function(name)
    }

    async fn invoke(&self, invocation: Invocation) -> Result<Outcome, Fault> {
        self.engine.invoke(invocation).await
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
                StoreError::Closed => Fault::new(FaultCode::Draining, "the server is ending and takes no new work")
                    .with_retry_after(Duration::from_secs(1)),
                _ => Fault::new(FaultCode::Store, "the queue did not answer: the event is not kept").with_detail(text),
            }
        })
    }

    async fn web(&self, call: WebCall) -> Result<axum::http::Response<ReplyBody>, Fault> {
        self.engine.web(call).await
    }
}

impl gateway::Keys for DoorKeys {
    fn secret(&self, access_key_id: &str) -> Option<String> {
        self.0.secret(access_key_id)
    }

    fn token_ok(&self, token: &str) -> bool {
        self.0.tokens.contains(token)
    }
}
