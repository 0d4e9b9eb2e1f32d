//! Tags of functions, and of event source mappings.

use std::collections::BTreeMap;

use aws::AwsError;
use model::{AwsNotes, Function};
use serde::Deserialize;
use serde_json::json;
use store::versions::How;

use super::functions::changed;
use super::lookup::{latest, reference};
use super::{Answer, mappings};
use crate::Api;
use crate::actor::Actor;
use crate::functions::change;
use crate::write::FunctionWrite;

/// As many as AWS allows.
const MOST: usize = 50;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Add {
    resource: String,
    tags: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Remove {
    resource: String,
    tag_keys: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Of {
    resource: String,
}

pub async fn add(api: &Api, asked: Add, actor: Actor) -> Answer {
    let extend = |tags: &mut BTreeMap<String, String>| tags.extend(asked.tags);
    match mappings::of_arn(&asked.resource) {
        Some(uuid) => mappings::tag(api, uuid, extend, actor).await,
        None => write(api, &asked.resource, actor, extend).await,
    }
}

pub async fn remove(api: &Api, asked: Remove, actor: Actor) -> Answer {
    let keep = |tags: &mut BTreeMap<String, String>| tags.retain(|name, _| !asked.tag_keys.contains(name));
    match mappings::of_arn(&asked.resource) {
        Some(uuid) => mappings::tag(api, uuid, keep, actor).await,
        None => write(api, &asked.resource, actor, keep).await,
    }
}

pub async fn list(api: &Api, asked: Of) -> Answer {
    if let Some(uuid) = mappings::of_arn(&asked.resource) {
        return mappings::tags(api, uuid).await;
    }
    Ok(Some(json!({"Tags": tagged(api, &asked.resource).await?.spec.aws.tags})))
}

async fn tagged(api: &Api, resource: &str) -> Result<Function, AwsError> {
    // Versions and aliases have none of their own, nor has anything else here.
    let (name, qualifier) = reference(resource, None)?;
    if qualifier.is_some() {
        return Err(AwsError::invalid_parameter(
            "Tags on function aliases and versions are not supported. Please specify either a \
             function ARN.",
        ));
    }
    latest(api, &name).await
}

async fn write(api: &Api, resource: &str, actor: Actor, what: impl FnOnce(&mut BTreeMap<String, String>)) -> Answer {
    let function = tagged(api, resource).await?;
    let mut aws: AwsNotes = function.spec.aws.clone();
    what(&mut aws.tags);
    if aws.tags.len() > MOST {
        return Err(AwsError::invalid_parameter(format!("a function has at most {MOST} tags, got {}", aws.tags.len())));
    }
    if aws != function.spec.aws {
        let write = FunctionWrite { aws: Some(aws), ..FunctionWrite::default() };
        change(api, &function.spec.name, Some(function.revision.0), write, How::Deploy, actor)
            .await
            .map_err(changed)?;
    }
    Ok(None)
}
