//! Layers: published, listed, removed, and what those of a function come to.
//!
//! A function keeps one package that is all of its layers in one, so that an instance mounts one folder and nothing of
//! it changes when a version is removed.

use aws::LayerRef;
use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use model::{CodeHash, Fault, FaultCode, FunctionSpec, LayerName, LayerUse, Layers, MAX_LAYERS, MAX_UNPACKED};
use serde::{Deserialize, Serialize};
use store::{LayerVersion, NewLayer, StoreError};
use utoipa::ToSchema;

use crate::error::{ApiError, ErrorBody};
use crate::extract::{Input, Segment};
use crate::versions::check_description;
use crate::{Api, Shared};

/// A version of a layer that shall be made.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LayerWrite {
    /// The package, uploaded before: 64 lower-case hexadecimal digits.
    #[schema(value_type = String)]
    pub sha256: CodeHash,
    /// At most 256 bytes, for people.
    #[serde(default)]
    pub description: String,
}

/// A version of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LayerView {
    #[schema(value_type = String, example = "deps")]
    pub name: LayerName,
    pub version: u64,
    pub description: String,
    pub sha256: String,
    /// Bytes, as uploaded.
    pub size: u64,
    /// RFC 3339.
    #[schema(format = DateTime)]
    pub created: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LayerList {
    pub layers: Vec<LayerView>,
}

/// All versions of all layers, by name, the newest first
#[utoipa::path(get, path = "/api/v1/layers", operation_id = "list_layers", tag = "layers",
    responses((status = 200, body = LayerList)))]
pub(crate) async fn list(State(api): State<Api>) -> Result<Json<LayerList>, ApiError> {
    let all = api.layers.layer_versions(None).await?;
    Ok(Json(LayerList { layers: all.into_iter().map(view).collect() }))
}

/// Publish a version of a layer
///
/// Functions that name it see the package at `/opt`. Versions never change, and no number is given twice.
#[utoipa::path(post, path = "/api/v1/layers/{name}", operation_id = "publish_layer", tag = "layers",
    params(("name" = String, Path)), request_body = LayerWrite,
    responses((status = 201, body = LayerView), (status = 400, body = ErrorBody),
        (status = 422, description = "the package is not here", body = ErrorBody)))]
pub(crate) async fn publish(
    State(api): State<Api>,
    Segment(name): Segment<LayerName>,
    Input(LayerWrite { sha256, description }): Input<LayerWrite>,
) -> Result<(StatusCode, Json<LayerView>), ApiError> {
    check_description(Some(&description))?;
    let layer = NewLayer {
        name,
        code: sha256,
        description,
        license: String::new(),
        runtimes: Vec::new(),
        architectures: Vec::new(),
    };
    Ok((StatusCode::CREATED, Json(view(api.layers.publish_layer(layer).await?))))
}

/// Remove a version of a layer
///
/// Functions that have it go on; no other can have it any more.
#[utoipa::path(delete, path = "/api/v1/layers/{name}/{version}", operation_id = "delete_layer", tag = "layers",
    params(("name" = String, Path), ("version" = u64, Path)),
    responses((status = 204), (status = 404, body = ErrorBody)))]
pub(crate) async fn delete(
    State(api): State<Api>,
    Path((name, version)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let name: LayerName = name.parse()?;
    let number = version.parse::<u64>();
    let number = number.map_err(|_| ApiError::invalid(format!("version {version:?}: expected a number")))?;
    match api.layers.remove_layer_version(&name, number).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => {
            Err(ApiError::not_found(format!("no layer {name}:{number}: `hearth layer ls` shows those that are there")))
        }
    }
}

/// What is written as a function's layers. `before`: those that it has, which it may keep though they were removed.
pub(crate) async fn found(
    api: &Shared,
    wanted: &[String],
    before: Option<&Layers>,
) -> Result<Option<Layers>, ApiError> {
    if wanted.len() > MAX_LAYERS {
        return Err(ApiError::invalid(format!(
            "Cannot reference more than {MAX_LAYERS} layers: {} are named",
            wanted.len()
        )));
    }
    let mut named = Vec::new();
    for text in wanted {
        let LayerRef { name, version } =
            text.parse().map_err(|error: aws::InvalidLayerRef| ApiError::invalid(error.to_string()))?;
        let version = version.ok_or_else(|| {
            ApiError::invalid(format!("layer {name} is named without a version: expected {name}:VERSION"))
        })?;
        named.push((name, version));
    }
    if named.is_empty() {
        return Ok(None);
    }
    let same = |before: &&Layers| {
        before
            .versions
            .iter()
            .map(|one| (&one.name, one.version))
            .eq(named.iter().map(|(name, version)| (name, *version)))
    };
    if let Some(before) = before.filter(same) {
        return Ok(Some(before.clone()));
    }
    let (mut versions, mut packages) = (Vec::new(), Vec::new());
    for (name, version) in named {
        let found = api.layers.layer_version(&name, version).await?.ok_or_else(|| {
            ApiError::invalid(format!(
                "Layer version {} does not exist: `hearth layer ls` shows those that are there",
                arn(&name, Some(version))
            ))
        })?;
        packages.push(found.layer.code);
        versions.push(LayerUse { name, version, size: found.size });
    }
    let tree = api.packages.merge(packages).await.map_err(|error| match error {
        StoreError::BadPackage(why) => ApiError::invalid(format!("the layers cannot be had together: {why}")),
        error => error.into(),
    })?;
    Ok(Some(Layers { versions, tree }))
}

/// Code and layers may take so much together.
pub(crate) async fn require_fit(api: &Shared, spec: &FunctionSpec, code: &CodeHash) -> Result<(), ApiError> {
    let Some(layers) = &spec.layers else { return Ok(()) };
    let size = api.packages.unpacked(code).await? + api.packages.unpacked(&layers.tree).await?;
    if size <= MAX_UNPACKED {
        return Ok(());
    }
    let message = format!(
        "Function code combined with layers exceeds the maximum allowed size of {MAX_UNPACKED} bytes. The actual size is \
         {size} bytes."
    );
    Err(Fault::new(FaultCode::InvalidPackage, message).into())
}

pub(crate) fn arn(name: &LayerName, version: Option<u64>) -> String {
    let (region, account) = *crate::PLACE;
    let version = version.map(|number| format!(":{number}")).unwrap_or_default();
    format!("arn:aws:lambda:{region}:{account}:layer:{name}{version}")
}

fn view(LayerVersion { layer, version, size, created }: LayerVersion) -> LayerView {
    LayerView {
        name: layer.name,
        version,
        description: layer.description,
        sha256: layer.code.into(),
        size,
        created: created.rfc3339(),
    }
}
