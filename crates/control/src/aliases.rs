//! Aliases: names that lead to versions.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use http::{HeaderMap, StatusCode};
use model::{Alias, AliasName, EnvValue, FunctionName, Version, Weight};
use serde::{Deserialize, Deserializer, Serialize};
use store::StoreError;
use store::versions::AliasChange;
use utoipa::ToSchema;

use crate::Api;
use crate::actor::Actor;
use crate::error::{ApiError, ErrorBody};
use crate::extract::{Input, Segment};
use crate::functions::{precondition, settle};
use crate::versions::check_description;

/// A name that leads to a version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AliasView {
    pub function: String,
    #[schema(example = "live")]
    pub name: String,
    pub description: String,
    /// `$LATEST`, or the number of a published one.
    #[schema(example = "7")]
    pub version: String,
    /// Another published version, and the share of the calls that it gets, 0 to 1.
    #[schema(example = json!({"8": 0.1}))]
    pub weights: BTreeMap<String, f64>,
    /// Variables that its calls see over those of the version. With any, it has instances of its own.
    #[schema(value_type = BTreeMap<String, serde_json::Value>, example = json!({"STAGE": "live"}))]
    pub env: BTreeMap<String, EnvValue>,
    /// Goes up with every change.
    pub revision: u64,
    /// RFC 3339.
    #[schema(format = DateTime)]
    pub modified: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AliasList {
    /// By name.
    pub aliases: Vec<AliasView>,
}

/// What an alias shall be; what is not said stays.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AliasWrite {
    /// `$LATEST`, or a number. Needed to make one.
    #[schema(value_type = Option<String>, example = "7")]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "version")]
    pub version: Option<Version>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// At most one other published version, with its share of the calls; empty: none. Where `version` is said and this
    /// is not, none.
    #[schema(example = json!({"8": 0.1}))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<BTreeMap<String, f64>>,
    /// Variables that its calls see over those of the version: a text, `{"secret": "NAME"}`, or null to remove one. Those
    /// that are not said stay.
    #[schema(value_type = Option<BTreeMap<String, Option<serde_json::Value>>>, example = json!({"STAGE": "live"}))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<BTreeMap<String, Option<EnvValue>>>,
}

/// A function's aliases, by name
#[utoipa::path(get, path = "/api/v1/functions/{name}/aliases", operation_id = "list_aliases", tag = "versions",
    params(("name" = String, Path)),
    responses((status = 200, body = AliasList), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    State(api): State<Api>,
    Segment(name): Segment<FunctionName>,
) -> Result<Json<AliasList>, ApiError> {
    let aliases = api.versions.aliases(&name).await?;
    Ok(Json(AliasList { aliases: aliases.into_iter().map(AliasView::from).collect() }))
}

/// One alias
#[utoipa::path(get, path = "/api/v1/functions/{name}/aliases/{alias}", operation_id = "get_alias", tag = "versions",
    params(("name" = String, Path), ("alias" = String, Path)),
    responses((status = 200, body = AliasView), (status = 404, body = ErrorBody)))]
pub(crate) async fn get(
    State(api): State<Api>,
    Path((name, alias)): Path<(String, String)>,
) -> Result<Json<AliasView>, ApiError> {
    let (name, alias): (FunctionName, AliasName) = (name.parse()?, alias.parse()?);
    let found = api.versions.aliases(&name).await?.into_iter().find(|one| one.name == alias);
    let found = found.ok_or(StoreError::NoSuchAlias { name, alias })?;
    Ok(Json(found.into()))
}

/// Make an alias, or point it elsewhere
///
/// The switch drops nothing: calls that run are answered by the version that they came to, calls from the answer on go
/// to the new one. With `If-Match: "REVISION"` only if the alias is still at that revision of its own, with
/// `If-None-Match: *` only if it does not exist.
#[utoipa::path(put, path = "/api/v1/functions/{name}/aliases/{alias}", operation_id = "put_alias", tag = "versions",
    params(("name" = String, Path), ("alias" = String, Path), ("If-Match" = Option<String>, Header),
        ("If-None-Match" = Option<String>, Header)),
    request_body = AliasWrite,
    responses((status = 200, description = "changed", body = AliasView),
        (status = 201, description = "made", body = AliasView),
        (status = 400, body = ErrorBody),
        (status = 404, description = "no such function or version", body = ErrorBody),
        (status = 412, description = "it changed meanwhile", body = ErrorBody)))]
pub(crate) async fn put(
    State(api): State<Api>,
    Path((name, alias)): Path<(String, String)>,
    actor: Actor,
    headers: HeaderMap,
    Input(write): Input<AliasWrite>,
) -> Result<(StatusCode, Json<AliasView>), ApiError> {
    let (name, alias): (FunctionName, AliasName) = (name.parse()?, alias.parse()?);
    let AliasWrite { version, description, weights, env } = write;
    check_description(description.as_deref())?;
    let second = weights.map(second).transpose()?;
    let env = env.unwrap_or_default();
    let change = AliasChange { version, description, second, env, expect: precondition(&headers)? };
    if version.is_none() && change.expect == Some(0) {
        return Err(ApiError::invalid("version is missing: a new alias has no default"));
    }
    if env_has_secret(&change) {
        let function = api.functions.get(&name).await?;
        let before = api.versions.aliases(&name).await?.into_iter().find(|one| one.name == alias);
        actor.require_may_give_alias(&change.env, &function.spec, before.as_ref())?;
    }
    let (made, created) =
        api.versions.set_alias(&name, &alias, change, &actor.0).await.map_err(|error| match error {
            error @ StoreError::AliasConflict { .. } => {
                ApiError::from(error).with_status(StatusCode::PRECONDITION_FAILED)
            }
            error => error.into(),
        })?;
    settle(&api, &name).await?;
    Ok((if created { StatusCode::CREATED } else { StatusCode::OK }, Json(made.into())))
}

/// Remove an alias
///
/// Calls that name it find nothing from then on; events that wait for it fail.
#[utoipa::path(delete, path = "/api/v1/functions/{name}/aliases/{alias}", operation_id = "delete_alias",
    tag = "versions", params(("name" = String, Path), ("alias" = String, Path)),
    responses((status = 204), (status = 404, body = ErrorBody)))]
pub(crate) async fn delete(
    State(api): State<Api>,
    Path((name, alias)): Path<(String, String)>,
    actor: Actor,
) -> Result<StatusCode, ApiError> {
    let (name, alias): (FunctionName, AliasName) = (name.parse()?, alias.parse()?);
    api.versions.remove_alias(&name, &alias, &actor.0).await?;
    settle(&api, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn env_has_secret(change: &AliasChange) -> bool {
    change.env.values().flatten().any(|value| value.secret().is_some())
}

/// The version beside the first, if any.
fn second(weights: BTreeMap<String, f64>) -> Result<Option<(u64, Weight)>, ApiError> {
    let count = weights.len();
    if count > 1 {
        return Err(ApiError::invalid(format!(
            "weights names {count} versions: expected at most one beside `version`"
        )));
    }
    let Some((version, weight)) = weights.into_iter().next() else { return Ok(None) };
    let version: Version = version.parse()?;
    let weight = Weight::try_from(weight).map_err(|error| ApiError::invalid(format!("weights: {error}")))?;
    let number = version.number();
    let number = number.ok_or_else(|| ApiError::invalid("weights: expected a published version, not $LATEST"))?;
    Ok(Some((number, weight)))
}

/// A version as a text or as a number.
fn version<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Version>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Raw {
        Number(u64),
        Text(String),
    }
    let text = match Raw::deserialize(from)? {
        Raw::Number(number) => number.to_string(),
        Raw::Text(text) => text,
    };
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

impl From<Alias> for AliasView {
    fn from(alias: Alias) -> Self {
        let Alias { function, name, description, version, second, env, revision, modified } = alias;
        Self {
            function: function.into(),
            name: name.into(),
            description,
            version: version.into(),
            weights: second.into_iter().map(|(number, weight)| (number.to_string(), weight.as_f64())).collect(),
            env,
            revision,
            modified: modified.rfc3339(),
        }
    }
}
