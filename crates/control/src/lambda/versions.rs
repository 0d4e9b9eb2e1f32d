//! Versions: published and listed. Deleted with `DeleteFunction` and a qualifier.

use aws::AwsError;
use model::{CodeHash, FunctionName, PublishedVersion};
use serde::Deserialize;
use serde_json::{Value, json};
use store::versions::Publish;

use super::configuration::{of, sha256};
use super::functions::expected;
use super::lookup::{self, arn, latest};
use super::settings::{NO_PUBLISH_TO, require_nothing_of};
use super::{Answer, refused, store};
use crate::Api;
use crate::actor::Actor;
use crate::functions::settle;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PublishAsked {
    function_name: String,
    code_sha256: Option<String>,
    description: Option<String>,
    revision_id: Option<String>,
    publish_to: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct List {
    pub function_name: String,
    pub marker: Option<String>,
    pub max_items: Option<usize>,
}

pub async fn publish(api: &Api, asked: PublishAsked, actor: Actor) -> Answer {
    require_nothing_of(&[(&asked.publish_to, "PublishTo", NO_PUBLISH_TO)])?;
    let name = lookup::name(&asked.function_name)?;
    let function = latest(api, &name).await?;
    let expect = expected(&function, asked.revision_id.as_deref())?;
    let same = |code: &CodeHash, given: &str| sha256(code) == given;
    if let Some(given) = asked.code_sha256.as_deref().filter(|given| !given.is_empty() && !same(&function.code, given))
    {
        return Err(AwsError::invalid_parameter(format!(
            "CodeSHA256 ({given}) is different from current CodeSHA256 in $LATEST ({}). Please try again with the CodeSHA256 in \
             $LATEST.",
            sha256(&function.code)
        )));
    }
    let publish = Publish { description: asked.description.filter(|text| !text.is_empty()), expect, code: None };
    let (version, _) = api.versions.publish(&name, publish, &actor.0).await.map_err(store)?;
    settle(api, &name).await.map_err(refused)?;
    Ok(Some(shown(&name, version)))
}

pub async fn list(api: &Api, asked: List) -> Answer {
    let name = lookup::name(&asked.function_name)?;
    let function = latest(api, &name).await?;
    let mut all = vec![of(&function, &format!("{}:$LATEST", arn(&name)))];
    all.extend(api.versions.versions(&name).await.map_err(store)?.into_iter().map(|version| shown(&name, version)));
    let (versions, next) = lookup::page(all, asked.marker.as_deref(), asked.max_items)?;
    Ok(Some(json!({"Versions": versions, "NextMarker": next})))
}

pub fn shown(name: &FunctionName, version: PublishedVersion) -> Value {
    let PublishedVersion { mut function, description, published: _ } = version;
    function.spec.description = description;
    of(&function, &format!("{}:{}", arn(name), function.version))
}
