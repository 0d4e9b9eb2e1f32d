//! The management API at `/api/v1`: what the command line and the dashboard speak.
//!
//! It writes desired state into the store and reads what was kept; it never calls the engine. What it must know
//! of the running platform it asks through [`Platform`], which the composition root implements.
//!
//! A request passes, from the outside in: envelope (request id, error bodies, security headers) → host
//! allow-list → cross-site refusal → token → handler. One file per noun; the OpenAPI document is made from the
//! same declarations as the routes ([`openapi_json`]).

#![forbid(unsafe_code)]

mod asynchronous;
mod auth;
mod comparisons;
mod credentials;
mod doctor;
mod error;
mod extract;
mod figures;
mod functions;
mod hosts;
mod images;
mod instances;
mod invocations;
mod logs;
mod mounts;
mod nearest;
mod openapi;
mod packages;
mod platform;
mod prices;
mod program;
mod queue;
mod schedules;
mod secrets;
mod token;
mod write;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use store::{Comparisons, Functions, Packages, Queue, Schedules, Secrets, Telemetry};
use tokio::sync::{RwLock, Semaphore, watch};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use asynchronous::{AsyncView, AsyncWrite};
pub use auth::{cross_site, security_headers};
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
pub use functions::{CodeView, FunctionList, FunctionView, ScaleView};
pub use hosts::Hosts;
pub use images::{
    Archive, ImageCredentials, ImageList, ImagePull, ImageView, Images, PrunedImages, PullError, PullLine,
    PullProgress, Pulling,
};
pub use instances::{InstanceList, InstanceRow};
pub use invocations::{InvocationList, OutcomeStatus, OutcomeView, PartView, RecordView, StageView};
pub use logs::{LogLineView, LogPageView};
pub use nearest::{explain_unknown, nearest};
pub use openapi::openapi_json;
pub use packages::{MAX_PACKAGE_BYTES, PackageView};
pub use platform::{
    AwsCredentials, BoxFuture, FindingView, IsolationView, KeepingSpan, KeepingView, Machine, Platform, RuntimeView,
    Severity, StemView,
};
pub use prices::{CloudView, CloudWrite, HardwareView, HardwareWrite, PricesView, PricesWrite};
pub use queue::{EventChoice, EventList, EventStateView, EventView, EventsChanged, QueueCountsView, QueueView};
pub use schedules::{EventMade, ScheduleList, ScheduleView};
pub use secrets::{KeyRotationView, SecretList, SecretView};
pub use token::{InvalidToken, Token, TokenSet};
pub use write::{CodeRef, FunctionWrite, ScaleWrite};

/// Uploads at once. Each may hold a whole package in memory; later ones wait.
const UPLOADS: usize = 2;

/// Clients following logs at once, each a connection held open.
const FOLLOWERS: usize = 128;

/// Region and account in the events of schedules, as there is none.
pub(crate) const PLACE: (&str, &str) = ("us-east-1", "000000000000");

/// All that the API stands on.
#[derive(Clone)]
pub struct ControlState {
    pub functions: Arc<dyn Functions>,
    pub packages: Arc<dyn Packages>,
    pub telemetry: Arc<dyn Telemetry>,
    pub secrets: Arc<dyn Secrets>,
    pub comparisons: Arc<dyn Comparisons>,
    pub queue: Arc<dyn Queue>,
    pub schedules: Arc<dyn Schedules>,
    pub platform: Arc<dyn Platform>,
    pub images: Arc<dyn Images>,
    pub tokens: Arc<TokenSet>,
    pub hosts: Arc<Hosts>,
    /// Where callers reach the ingress, without a slash at the end: `http://127.0.0.1:8080`.
    pub ingress: Arc<str>,
    /// Becomes true when the server drains: clients that follow logs are then let go.
    pub closing: watch::Receiver<bool>,
}

/// The state and what the API adds to it; what handlers see.
struct Shared {
    state: ControlState,
    uploads: Semaphore,
    followers: Arc<Semaphore>,
    /// Functions that come to refer to images read, removals of images write: none goes while it is being referred to.
    image_use: RwLock<()>,
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
        image_use: RwLock::new(()),
    });
    let (routes, _document) = api_routes().split_for_parts();
    routes
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(from_fn_with_state(api.clone(), auth::require_token))
        // Below: reachable without a token, for probes.
        .route("/healthz", get(doctor::healthz))
        .route("/readyz", get(doctor::readyz))
        .layer(from_fn(auth::refuse_cross_site))
        .layer(from_fn_with_state(api.clone(), auth::require_known_host))
        .layer(from_fn(error::envelope))
        .with_state(api)
}

/// Every route of `/api/v1`, each with its place in the OpenAPI document.
fn api_routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(packages::put))
        .routes(routes!(packages::get, packages::head))
        .routes(routes!(functions::list))
        .routes(routes!(functions::get, functions::put, functions::patch, functions::delete))
        .routes(routes!(invocations::of_function))
        .routes(routes!(invocations::get))
        .routes(routes!(logs::of_function))
        .routes(routes!(instances::list))
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
        .routes(routes!(doctor::report))
        .routes(routes!(doctor::runtimes))
        .routes(routes!(credentials::aws))
        .routes(routes!(openapi::get))
}
