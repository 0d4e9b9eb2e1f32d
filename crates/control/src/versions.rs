//! Versions: published, listed and removed.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use model::{CodeHash, FunctionName, PublishedVersion, Version};
use serde::{Deserialize, Serialize};
use store::versions::Publish;
use utoipa::ToSchema;

use crate::Api;
use crate::actor::Actor;
use crate::error::{ApiError, ErrorBody};
use crate::extract::{Input, Segment};
use crate::functions::{CodeView, settle};

/// A published version: a function as it was, for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VersionView {
    pub function: String,
    /// From 1; never given twice.
    pub version: u64,
    pub description: String,
    /// The revision that it is.
    pub revision: u64,
    #[schema(example = "python3.11")]
    pub runtime: String,
    pub handler: String,
    #[schema(example = "256MB")]
    pub memory: String,
    #[schema(example = "10s")]
    pub timeout: String,
    pub code: CodeView,
    /// Aliases that lead to it.
    pub aliases: Vec<String>,
    /// RFC 3339.
    #[schema(format = DateTime)]
    pub published: String,
    /// False where publishing found that nothing had changed since this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VersionList {
    /// Oldest first.
    pub versions: Vec<VersionView>,
}

/// What is to be published.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PublishWrite {
    /// Of this version, at most 256 bytes; default: the function's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Only if the function is at this revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Only if that is its code.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<CodeHash>,
}

/// Publish a version
///
/// What `$LATEST` is now, code and configuration, for good. Where nothing changed since the newest version, that one is
/// answered.
#[utoipa::path(post, path = "/api/v1/functions/{name}/versions", operation_id = "publish_version", tag = "versions",
    params(("name" = String, Path)), request_body = PublishWrite,
    responses((status = 201, description = "published", body = VersionView),
        (status = 200, description = "nothing changed since this one", body = VersionView),
        (status = 404, body = ErrorBody),
        (status = 409, description = "it changed meanwhile, or has other code", body = ErrorBody)))]
pub(crate) async fn publish(
    State(api): State<Api>,
    Segment(name): Segment<FunctionName>,
    actor: Actor,
    Input(write): Input<PublishWrite>,
) -> Result<(StatusCode, Json<VersionView>), ApiError> {
    let PublishWrite { description, revision, sha256 } = write;
    check_description(description.as_deref())?;
    let publish = Publish { description, expect: revision, code: sha256 };
    let (version, created) = api.versions.publish(&name, publish, &actor.0).await?;
    settle(&api, &name).await?;
    let mut view = view(version, Vec::new());
    view.aliases = leading(&api, &name, view.version).await?;
    view.created = Some(created);
    Ok((if created { StatusCode::CREATED } else { StatusCode::OK }, Json(view)))
}

/// A function's versions
#[utoipa::path(get, path = "/api/v1/functions/{name}/versions", operation_id = "list_versions", tag = "versions",
    params(("name" = String, Path)),
    responses((status = 200, body = VersionList), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    State(api): State<Api>,
    Segment(name): Segment<FunctionName>,
) -> Result<Json<VersionList>, ApiError> {
    let versions = api.versions.versions(&name).await?;
    let aliases = api.versions.aliases(&name).await?;
    let leads = |number: u64| {
        let one = aliases.iter().filter(|alias| {
            alias.version == Version::Number(number) || alias.second.is_some_and(|(second, _)| second == number)
        });
        one.map(|alias| alias.name.to_string()).collect()
    };
    let versions = versions.into_iter().map(|version| {
        let number = version.function.version.number().unwrap_or_default();
        view(version, leads(number))
    });
    Ok(Json(VersionList { versions: versions.collect() }))
}

/// Remove a version
///
/// Refused while an alias leads to it. Calls of it that run are answered.
#[utoipa::path(delete, path = "/api/v1/functions/{name}/versions/{version}", operation_id = "delete_version",
    tag = "versions", params(("name" = String, Path), ("version" = u64, Path)),
    responses((status = 204), (status = 404, body = ErrorBody),
        (status = 409, description = "an alias leads to it", body = ErrorBody)))]
pub(crate) async fn delete(
    State(api): State<Api>,
    Path((name, version)): Path<(String, String)>,
    actor: Actor,
) -> Result<StatusCode, ApiError> {
    let name: FunctionName = name.parse()?;
    let version: Version = version.parse()?;
    let Some(number) = version.number() else {
        return Err(ApiError::invalid(format!("{version} cannot be removed: remove the function, or deploy it anew")));
    };
    api.versions.remove_version(&name, number, &actor.0).await?;
    settle(&api, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) fn check_description(text: Option<&str>) -> Result<(), ApiError> {
    match text.filter(|text| text.len() > 256) {
        Some(text) => Err(ApiError::invalid(format!("description has {} bytes: at most 256 are allowed", text.len()))),
        None => Ok(()),
    }
}

async fn leading(api: &Api, name: &FunctionName, number: u64) -> Result<Vec<String>, ApiError> {
    let aliases = api.versions.aliases(name).await?;
    let leads = aliases.into_iter().filter(|alias| alias.version == Version::Number(number));
    Ok(leads.map(|alias| alias.name.to_string()).collect())
}

fn view(version: PublishedVersion, aliases: Vec<String>) -> VersionView {
    let PublishedVersion { function, description, published } = version;
    VersionView {
        function: function.spec.name.to_string(),
        version: function.version.number().unwrap_or_default(),
        description,
        revision: function.revision.0,
        runtime: function.spec.runtime.to_string(),
        handler: function.spec.handler,
        memory: function.spec.memory.to_string(),
        timeout: model::show_duration(function.spec.timeout),
        code: CodeView { sha256: function.code.into(), size: function.code_size },
        aliases,
        published: published.rfc3339(),
        created: None,
    }
}
