//! Instances: what runs now.

use axum::Json;
use axum::extract::State;
use model::{FunctionName, InstanceView};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::Api;
use crate::error::ApiError;
use crate::extract::Params;
use crate::platform::StemView;

/// An instance that lives now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstanceRow {
    pub instance: String,
    pub function: String,
    pub revision: u64,
    /// `$LATEST`, or the number of a published one.
    #[schema(example = "$LATEST")]
    pub version: String,
    /// `starting`, `idle`, `frozen` or `busy`.
    #[schema(value_type = String, example = "idle")]
    pub state: model::InstanceState,
    #[schema(example = "namespace")]
    pub isolation: String,
    /// RFC 3339.
    #[schema(format = DateTime)]
    pub started: String,
    /// Calls that it has answered.
    pub invocations: u64,
    /// Highest memory use so far, bytes; none where it cannot be measured.
    pub memory_peak: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstanceList {
    pub instances: Vec<InstanceRow>,
    /// Sandboxes that are ready to become instances. They are nobody's: left out where one function's are asked for.
    #[serde(default)]
    pub stems: Vec<StemView>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// Only this function's.
    #[param(value_type = Option<String>)]
    function: Option<FunctionName>,
}

/// All instances that live now, by function, oldest first
#[utoipa::path(get, path = "/api/v1/instances", operation_id = "list_instances", tag = "instances",
    params(Which),
    responses((status = 200, body = InstanceList)))]
pub(crate) async fn list(State(api): State<Api>, Params(which): Params<Which>) -> Result<Json<InstanceList>, ApiError> {
    let mut found = api.platform.instances();
    found.retain(|one| which.function.as_ref().is_none_or(|name| *name == one.function));
    found.sort_by(|a, b| a.function.cmp(&b.function).then(a.started.0.cmp(&b.started.0)));
    let stems = if which.function.is_none() { api.platform.stems() } else { vec![] };
    Ok(Json(InstanceList { instances: found.into_iter().map(InstanceRow::from).collect(), stems }))
}

impl From<InstanceView> for InstanceRow {
    fn from(view: InstanceView) -> Self {
        let InstanceView { instance, function, revision, version, state, isolation, started, invocations, memory_peak } =
            view;
        Self {
            instance: instance.into(),
            function: function.into(),
            revision: revision.0,
            version: version.to_string(),
            state,
            isolation: isolation.to_string(),
            started: started.rfc3339(),
            invocations,
            memory_peak,
        }
    }
}
