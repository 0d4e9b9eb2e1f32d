//! The doctor: what works on this machine, what does not, and why. And the probes.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Api;
use crate::platform::{FindingView, IsolationView, RuntimeView};

/// What works here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Doctor {
    /// Whether functions can run: some isolation and some runtime work.
    pub works: bool,
    /// The server's version.
    pub version: String,
    pub isolations: Vec<IsolationView>,
    pub runtimes: Vec<RuntimeView>,
    /// What of the machine weakens every isolation, or could.
    #[serde(default)]
    pub machine: Vec<FindingView>,
    /// Log lines and records that came faster than they could be kept, since the start.
    pub telemetry_dropped: u64,
}

/// Runtimes that functions can use here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuntimeList {
    pub runtimes: Vec<RuntimeView>,
}

/// What works on this machine, and what does not, and why
#[utoipa::path(get, path = "/api/v1/doctor", operation_id = "doctor", tag = "platform",
    responses((status = 200, body = Doctor)))]
pub(crate) async fn report(State(api): State<Api>) -> Json<Doctor> {
    let (isolations, runtimes) = (api.platform.isolations(), api.platform.runtimes());
    Json(Doctor {
        works: isolations.iter().any(|one| one.works) && runtimes.iter().any(|one| one.works),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        isolations,
        runtimes,
        machine: api.platform.machine(),
        telemetry_dropped: api.telemetry.dropped(),
    })
}

/// Runtimes that functions can use here
#[utoipa::path(get, path = "/api/v1/runtimes", operation_id = "list_runtimes", tag = "platform",
    responses((status = 200, body = RuntimeList)))]
pub(crate) async fn runtimes(State(api): State<Api>) -> Json<RuntimeList> {
    Json(RuntimeList { runtimes: api.platform.runtimes() })
}

/// The process is there and answers.
pub(crate) async fn healthz() -> Response {
    Json(serde_json::json!({"status": "ok"})).into_response()
}

/// New calls are taken.
pub(crate) async fn readyz(State(api): State<Api>) -> Response {
    let (status, word) = match api.platform.ready() {
        true => (StatusCode::OK, "ready"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    };
    (status, Json(serde_json::json!({"status": word}))).into_response()
}
