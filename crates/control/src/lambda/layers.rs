//! Layers: versions published, shown, listed, deleted.

use std::collections::BTreeMap;

use aws::{AwsError, LayerRef};
use model::{Function, LayerName};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{LayerVersion, NewLayer};

use super::configuration::{location, moment, sha256};
use super::functions::Code;
use super::lookup::page;
use super::{Answer, store};
use crate::Api;
use crate::actor::Actor;
use crate::layers::arn;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Publish {
    layer_name: String,
    content: Code,
    #[serde(default)]
    description: String,
    #[serde(default)]
    license_info: String,
    #[serde(default)]
    compatible_runtimes: Vec<String>,
    #[serde(default)]
    compatible_architectures: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Named {
    layer_name: String,
    version_number: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ByArn {
    arn: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct List {
    layer_name: Option<String>,
    compatible_runtime: Option<String>,
    compatible_architecture: Option<String>,
    marker: Option<String>,
    max_items: Option<usize>,
}

pub async fn publish(api: &Api, asked: Publish, actor: Actor) -> Answer {
    let Publish { layer_name, content, description, license_info, compatible_runtimes, compatible_architectures } =
        asked;
    let name = name(&layer_name)?;
    let layer = NewLayer {
        name,
        code: content.kept(api, &actor).await?,
        description,
        license: license_info,
        runtimes: compatible_runtimes,
        architectures: compatible_architectures,
    };
    let made = api.layers.publish_layer(layer).await.map_err(store)?;
    Ok(Some(whole(api, &made)))
}

pub async fn get(api: &Api, asked: Named) -> Answer {
    let name = name(&asked.layer_name)?;
    Ok(Some(whole(api, &find(api, &name, asked.version_number).await?)))
}

pub async fn get_by_arn(api: &Api, asked: ByArn) -> Answer {
    let LayerRef { name, version } = read(&asked.arn)?;
    let version = version.ok_or_else(|| {
        AwsError::invalid_parameter(format!("{} is the ARN of a layer: expected one of a version of it", asked.arn))
    })?;
    Ok(Some(whole(api, &find(api, &name, version).await?)))
}

pub async fn versions(api: &Api, asked: List) -> Answer {
    let name = name(asked.layer_name.as_deref().unwrap_or_default())?;
    let all = api.layers.layer_versions(Some(&name)).await.map_err(store)?;
    let all: Vec<Value> = all.iter().filter(|one| asked.fits(one)).map(short).collect();
    let (versions, next) = page(all, asked.marker.as_deref(), asked.max_items)?;
    Ok(Some(json!({"LayerVersions": versions, "NextMarker": next})))
}

pub async fn list(api: &Api, asked: List) -> Answer {
    let mut newest: BTreeMap<LayerName, LayerVersion> = BTreeMap::new();
    for one in api.layers.layer_versions(None).await.map_err(store)? {
        if asked.fits(&one) {
            // The newest comes first.
            newest.entry(one.layer.name.clone()).or_insert(one);
        }
    }
    let one = |(name, newest): (LayerName, LayerVersion)| json!({"LayerName": name, "LayerArn": arn(&name, None), "LatestMatchingVersion": short(&newest)});
    let (layers, next) = page(newest.into_iter().map(one).collect(), asked.marker.as_deref(), asked.max_items)?;
    Ok(Some(json!({"Layers": layers, "NextMarker": next})))
}

/// As on AWS, what is not there is as good as deleted, and functions that have it go on.
pub async fn delete(api: &Api, asked: Named) -> Answer {
    let name = name(&asked.layer_name)?;
    api.layers.remove_layer_version(&name, asked.version_number).await.map_err(store)?;
    Ok(None)
}

/// `Layers` of a function's configuration; none if it has none.
pub fn of(function: &Function) -> Option<Value> {
    let layers = function.spec.layers.as_ref()?;
    let one = |one: &model::LayerUse| json!({"Arn": arn(&one.name, Some(one.version)), "CodeSize": one.size});
    Some(layers.versions.iter().map(one).collect())
}

pub fn read(text: &str) -> Result<LayerRef, AwsError> {
    text.parse().map_err(|error: aws::InvalidLayerRef| AwsError::invalid_parameter(error.to_string()))
}

/// The layer alone.
pub fn name(text: &str) -> Result<LayerName, AwsError> {
    match read(text)? {
        LayerRef { name, version: None } => Ok(name),
        LayerRef { .. } => Err(AwsError::invalid_parameter(format!(
            "The layer name {text} has a version, which this operation does not take"
        ))),
    }
}

pub async fn find(api: &Api, name: &LayerName, version: u64) -> Result<LayerVersion, AwsError> {
    let found = api.layers.layer_version(name, version).await.map_err(store)?;
    found.ok_or_else(|| AwsError::not_found(format!("Layer version {} does not exist.", arn(name, Some(version)))))
}

fn short(one: &LayerVersion) -> Value {
    let NewLayer { name, description, license, runtimes, architectures, .. } = &one.layer;
    let mut shown = json!({
        "LayerVersionArn": arn(name, Some(one.version)),
        "Version": one.version,
        "Description": description,
        "CreatedDate": moment(one.created),
        "CompatibleRuntimes": runtimes,
    });
    if !architectures.is_empty() {
        shown["CompatibleArchitectures"] = json!(architectures);
    }
    if !license.is_empty() {
        shown["LicenseInfo"] = json!(license);
    }
    shown
}

fn whole(api: &Api, one: &LayerVersion) -> Value {
    let mut shown = short(one);
    let code = &one.layer.code;
    shown["LayerArn"] = arn(&one.layer.name, None).into();
    shown["Content"] = json!({
        "Location": location(&api.platform.aws_credentials().endpoint, code),
        "CodeSha256": sha256(code),
        "CodeSize": one.size,
    });
    shown
}

// === impl List ===

impl List {
    fn fits(&self, one: &LayerVersion) -> bool {
        let has = |wanted: &Option<String>, all: &[String]| wanted.as_ref().is_none_or(|wanted| all.contains(wanted));
        has(&self.compatible_runtime, &one.layer.runtimes)
            && has(&self.compatible_architecture, &one.layer.architectures)
    }
}
