//! The management API at `/api/v1`: what the command line and the dashboard speak.
//!
//! It writes desired state into the store and reads what was kept; it never calls the engine. What it must know
//! of the running platform it asks through [`Platform`], which the composition root implements.
//!
//! A request passes, from the outside in: envelope (request id, error bodies, security headers) → host
//! allow-list → cross-site refusal → token and its scopes → handler. One file per noun; the OpenAPI document is made
//! from the same declarations as the routes ([`openapi_json`]).

#![forbid(unsafe_code)]

mod access;
mod actor;
mod aliases;
mod api_keys;
mod asynchronous;
mod attach;
mod attempts;
mod audit;
mod auth;
mod backup;
mod bucket;
mod canary;
mod companions;
mod comparisons;
mod credentials;
mod doctor;
mod error;
mod extract;
mod figures;
mod functions;
mod history;
mod holders;
mod hosts;
mod images;
mod instances;
mod invocations;
mod lambda;
mod layers;
mod logs;
mod message_queues;
mod metrics;
mod mounts;
mod nearest;
mod openapi;
mod packages;
mod payloads;
mod platform;
mod prices;
mod program;
mod prometheus;
mod queue;
mod routes;
mod schedules;
mod scope;
mod secrets;
mod session;
mod sessions;
mod sources;
mod token;
mod tokens;
mod versions;
mod write;

#[cfg(test)]
mod tests;

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use store::{
    ApiKeys, AuditLog, Companions, Comparisons, Credentials, Functions, Layers, LogEvents, Messages, Objects, Observe,
    Packages, Policies, Provisions, Queue, Schedules, Secrets, Telemetry, Versions,
};
use tokio::sync::{RwLock, Semaphore, watch};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use aliases::{AliasList, AliasView, AliasWrite};
pub use api_keys::{ApiKeyList, ApiKeyMade, ApiKeyView, ApiKeyWrite};
pub use asynchronous::{AsyncView, AsyncWrite};
pub use audit::{AuditCheckView, AuditList, AuditView};
pub use auth::{cross_site, security_headers};
pub use backup::Backups;
pub use bucket::Pace;
pub use canary::{CanaryDecision, CanaryEndWrite, CanaryView, CanaryWrite};
pub use comparisons::{
    Comparison, ComparisonError, ComparisonList, ComparisonOrder, ComparisonPlan, ComparisonProgress, ComparisonState,
    ComparisonWrite,
};
pub use doctor::{Doctor, RuntimeList};
pub use error::{ErrorBody, status_of};
pub use figures::{
    CallRate, CostParts, CostView, Figures, FiguresView, IsolationFigures, PriceKind, Sample, Setting, Spread,
    StartFigures,
};
pub use functions::{CodeView, FunctionList, FunctionView, RecordsView, ScaleView};
pub use history::{ChangeView, DiffView, HistoryList, HistoryRow, RollbackWrite};
pub use holders::{Holder, TokenSet};
pub use hosts::Hosts;
pub use images::{
    Archive, ImageCredentials, ImageList, ImagePull, ImageView, Images, PrunedImages, PullError, PullLine,
    PullProgress, Pulling,
};
pub use instances::{InstanceList, InstanceRow};
pub use invocations::{
    InvocationList, InvocationPage, KeptView, OutcomeStatus, OutcomeView, PartView, RecordView, StageView,
};
pub use lambda::AccessKeys;
pub use layers::{LayerList, LayerView, LayerWrite};
pub use logs::{LogLineView, LogPageView};
pub use message_queues::{
    DeletedView, MessageList, MessageQueueList, MessageQueueView, MessageView, MessageWrite, MessagesChanged,
    QueueWrite, ReceiptList, ReceiveWrite, SendWrite, SentList,
};
pub use metrics::{
    BlameView, DurationView, InstancesView, MetricsView, OverviewFunction, OverviewView, PointView, PriceView,
    SeriesView, StemCounts,
};
pub use nearest::{explain_unknown, nearest};
pub use openapi::openapi_json;
pub use packages::{MAX_PACKAGE_BYTES, PackageView};
pub use payloads::{PayloadView, PayloadsView, ReplayView};
pub use platform::{
    AwsCredentials, BoxFuture, Duplex, FindingView, IsolationView, KeepingSpan, KeepingView, Machine, MemoryView,
    Platform, ProcessView, RuntimeView, Severity, SpanCounts, StemView,
};
pub use prices::{CloudView, CloudWrite, HardwareView, HardwareWrite, PricesView, PricesWrite};
pub use queue::{EventChoice, EventList, EventStateView, EventView, EventsChanged, QueueCountsView, QueueView};
pub use routes::{RouteList, RouteView};
pub use schedules::{EventMade, ScheduleList, ScheduleView};
pub use scope::{InvalidScope, Names, Scope, Scopes};
pub use secrets::{KeyRotationView, SecretList, SecretView};
pub use session::{LinkView, Peer, SessionToken, SessionView};
pub use sessions::{SESSION_HEADER, Sessions, carry};
pub use sources::{SourceList, SourceView, SourcesState};
pub use token::{InvalidToken, Token};
pub use tokens::{AccessKeyView, TokenList, TokenMade, TokenView, TokenWrite};
pub use versions::{PublishWrite, VersionList, VersionView};
pub use write::{CodeRef, FunctionWrite, RecordsWrite, ScaleWrite};

/// Uploads at once. Each may hold a whole package in memory; later ones wait.
const UPLOADS: usize = 2;

/// Clients following logs at once, each a connection held open.
const FOLLOWERS: usize = 128;

/// Region and account in AWS's names.
pub(crate) static PLACE: LazyLock<(&str, &str)> = LazyLock::new(model::place);

/// All that the API stands on.
#[derive(Clone)]
pub struct ControlState {
    pub functions: Arc<dyn Functions>,
    pub versions: Arc<dyn Versions>,
    pub packages: Arc<dyn Packages>,
    pub telemetry: Arc<dyn Telemetry>,
    pub observe: Arc<dyn Observe>,
    pub secrets: Arc<dyn Secrets>,
    pub api_keys: Arc<dyn ApiKeys>,
    pub comparisons: Arc<dyn Comparisons>,
    pub layers: Arc<dyn Layers>,
    pub policies: Arc<dyn Policies>,
    pub companions: Arc<dyn Companions>,
    pub objects: Arc<dyn Objects>,
    pub provisions: Arc<dyn Provisions>,
    pub log_events: Arc<dyn LogEvents>,
    pub queue: Arc<dyn Queue>,
    pub schedules: Arc<dyn Schedules>,
    pub messages: Arc<dyn Messages>,
    pub sources: Arc<dyn SourcesState>,
    pub platform: Arc<dyn Platform>,
    pub images: Arc<dyn Images>,
    pub backups: Arc<dyn Backups>,
    pub tokens: Arc<TokenSet>,
    /// Where tokens are kept.
    pub credentials: Arc<dyn Credentials>,
    /// Who did what.
    pub audit: AuditLog,
    /// The secrets of AWS access keys.
    pub keys: Arc<dyn AccessKeys>,
    pub sessions: Arc<Sessions>,
    pub hosts: Arc<Hosts>,
    /// Where callers reach the ingress, without a slash at the end: `http://127.0.0.1:8080`.
    pub ingress: Arc<str>,
    /// Whether `/metrics` is for everybody who reaches the listener, and not only for those with a token.
    pub metrics_open: bool,
    /// What functions may reach that AWS's tools make.
    pub lambda_egress: model::Egress,
    /// Becomes true when the server drains: clients that follow logs are then let go.
    pub closing: watch::Receiver<bool>,
}

/// The state and what the API adds to it; what handlers see.
struct Shared {
    state: ControlState,
    uploads: Semaphore,
    followers: Arc<Semaphore>,
    attached: Arc<Semaphore>,
    replays: Semaphore,
    log_names: companions::logs::Names,
    /// Functions that come to refer to images read, removals of images write: none goes while it is being referred to.
    image_use: RwLock<()>,
    sqs: companions::Sqs,
}

type Api = Arc<Shared>;

impl std::ops::Deref for Shared {
    type Target = ControlState;
    fn deref(&self) -> &ControlState {
        &self.state
    }
}

/// The API as a router. It also answers `/healthz` and `/readyz`, and everything unknown with a JSON error;
/// it wants no peer address and no other layer around it.
pub fn router(state: ControlState) -> Router {
    let api: Api = Arc::new(Shared {
        state,
        uploads: Semaphore::new(UPLOADS),
        followers: Arc::new(Semaphore::new(FOLLOWERS)),
        attached: Arc::new(Semaphore::new(attach::MOST)),
        replays: Semaphore::new(payloads::REPLAYS),
        image_use: RwLock::new(()),
        log_names: companions::logs::Names::default(),
        sqs: companions::Sqs::default(),
    });
    let (routes, _document) = api_routes().split_for_parts();
    let metrics = || Router::new().route("/metrics", get(prometheus::get));
    let (guarded, open) = if api.metrics_open { (Router::new(), metrics()) } else { (metrics(), Router::new()) };
    routes
        .merge(guarded)
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(from_fn_with_state(api.clone(), auth::require_token))
        // Below: reachable without a token, for probes.
        .route("/healthz", get(doctor::healthz))
        .route("/readyz", get(doctor::readyz))
        .merge(open)
        .layer(from_fn(auth::refuse_cross_site))
        .layer(from_fn_with_state(api.clone(), auth::require_known_host))
        .layer(from_fn(error::envelope))
        .with_state(api.clone())
        // Beside these layers, not within them: AWS's clients authenticate by signature, and have no browser.
        .merge(lambda::router(api.clone()))
        // Around all of it: what is signed for another service than Lambda has paths of its own.
        .layer(from_fn_with_state(api, companions::divert))
}

/// Every route of `/api/v1`, each with its place in the OpenAPI document.
fn api_routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(packages::put))
        .routes(routes!(packages::get, packages::head))
        .routes(routes!(functions::list))
        .routes(routes!(functions::get, functions::put, functions::patch, functions::delete))
        .routes(routes!(versions::list, versions::publish))
        .routes(routes!(versions::delete))
        .routes(routes!(aliases::list))
        .routes(routes!(aliases::get, aliases::put, aliases::delete))
        .routes(routes!(history::list))
        .routes(routes!(history::diff))
        .routes(routes!(history::roll_back))
        .routes(routes!(canary::get, canary::begin))
        .routes(routes!(canary::finish))
        .routes(routes!(invocations::of_function))
        .routes(routes!(invocations::get))
        .routes(routes!(payloads::get))
        .routes(routes!(payloads::replay))
        .routes(routes!(logs::of_function))
        .routes(routes!(invocations::search))
        .routes(routes!(logs::of_all))
        .routes(routes!(metrics::get))
        .routes(routes!(metrics::overview))
        .routes(routes!(instances::list))
        .routes(routes!(attach::port))
        .routes(routes!(figures::of_function))
        .routes(routes!(comparisons::list, comparisons::start))
        .routes(routes!(comparisons::get, comparisons::cancel))
        .routes(routes!(prices::get, prices::put))
        .routes(routes!(secrets::list))
        .routes(routes!(secrets::put, secrets::delete))
        .routes(routes!(secrets::rotate))
        .routes(routes!(images::list, images::pull, images::import, images::prune))
        .routes(routes!(images::get, images::delete))
        .routes(routes!(queue::counts))
        .routes(routes!(queue::list))
        .routes(routes!(queue::get))
        .routes(routes!(queue::redrive))
        .routes(routes!(queue::purge))
        .routes(routes!(schedules::list))
        .routes(routes!(schedules::pause))
        .routes(routes!(schedules::resume))
        .routes(routes!(schedules::run))
        .routes(routes!(routes::list))
        .routes(routes!(api_keys::list, api_keys::make))
        .routes(routes!(api_keys::delete))
        .routes(routes!(layers::list))
        .routes(routes!(layers::publish))
        .routes(routes!(layers::delete))
        .routes(routes!(message_queues::list))
        .routes(routes!(message_queues::get, message_queues::put, message_queues::delete))
        .routes(routes!(message_queues::send))
        .routes(routes!(message_queues::receive))
        .routes(routes!(message_queues::delete_messages))
        .routes(routes!(message_queues::hide))
        .routes(routes!(message_queues::purge))
        .routes(routes!(message_queues::redrive))
        .routes(routes!(sources::list))
        .routes(routes!(sources::pause))
        .routes(routes!(sources::resume))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(audit::list))
        .routes(routes!(audit::check))
        .routes(routes!(session::login, session::get, session::logout))
        .routes(routes!(session::link))
        .routes(routes!(doctor::report))
        .routes(routes!(doctor::runtimes))
        .routes(routes!(credentials::aws))
        .routes(routes!(backup::get))
        .routes(routes!(openapi::get))
}
