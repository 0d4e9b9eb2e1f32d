//! Routes: which function answers what on the ingress. They are set with the function.

use axum::Json;
use axum::extract::State;
use model::HttpRoute;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Api;
use crate::error::ApiError;

/// A route, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RouteView {
    pub function: String,
    /// As in the function's `http`: the route, and what stands before the function on it. Secrets are named, never shown.
    #[schema(value_type = serde_json::Value, example = json!({"route": "POST /thumbs/{name}", "auth": "api-key"}))]
    #[serde(flatten)]
    pub route: HttpRoute,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RouteList {
    pub routes: Vec<RouteView>,
}

/// All routes, by function
#[utoipa::path(get, path = "/api/v1/routes", operation_id = "list_routes", tag = "routes",
    responses((status = 200, body = RouteList)))]
pub(crate) async fn list(State(api): State<Api>) -> Result<Json<RouteList>, ApiError> {
    let mut routes = Vec::new();
    for function in api.functions.list().await? {
        let name = function.spec.name.to_string();
        routes.extend(function.spec.routes.into_iter().map(|route| RouteView { function: name.clone(), route }));
    }
    Ok(Json(RouteList { routes }))
}
