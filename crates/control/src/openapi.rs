//! The OpenAPI document, made from the handlers' own declarations. `crates/control/openapi.json` holds it for
//! readers and for clients made from it; a test compares.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::header;
use utoipa::openapi::RefOr;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let (_, mut document) = crate::api_routes().split_for_parts();
    describe_responses(&mut document);
    // Plain data: it cannot fail to serialise.
    let mut text = document.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
});

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Hearth",
        description = "Functions, their code, their instances, invocations and logs.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
        contact()
    ),
    components(schemas(crate::error::ErrorBody)),
    modifiers(&Bearer),
    security(("token" = []))
)]
struct Base;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("hth_…").build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// The document without any route.
pub(crate) fn base() -> utoipa::openapi::OpenApi {
    Base::openapi()
}

/// The whole document.
pub fn openapi_json() -> &'static str {
    &DOCUMENT
}

/// OpenAPI wants a description of every response; where none was written, the status's own name is one.
fn describe_responses(document: &mut utoipa::openapi::OpenApi) {
    for item in document.paths.paths.values_mut() {
        let operations =
            [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete, &mut item.head];
        let responses = operations.into_iter().flatten().flat_map(|operation| &mut operation.responses.responses);
        for (status, response) in responses {
            let RefOr::T(response) = response else { continue };
            let status: Option<http::StatusCode> = status.parse().ok();
            let reason = status.and_then(|status| status.canonical_reason()).unwrap_or("an answer");
            if response.description.is_empty() {
                response.description = reason.to_lowercase();
            }
        }
    }
}

/// This document
#[utoipa::path(get, path = "/api/v1/openapi.json", operation_id = "openapi", tag = "platform",
    responses((status = 200, content_type = "application/json")))]
pub(crate) async fn get() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], openapi_json()).into_response()
}
