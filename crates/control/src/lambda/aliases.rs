//! Aliases, with the share of calls that a second version gets.

use std::collections::BTreeMap;

use aws::AwsError;
use model::{Alias, AliasName, FunctionName, Version, Weight};
use serde::Deserialize;
use serde_json::{Value, json};
use store::StoreError;
use store::versions::AliasChange;

use super::configuration::uuid;
use super::functions::precondition_failed;
use super::lookup::{self, absent, alias, arn, latest};
use super::{Answer, refused, store};
use crate::Api;
use crate::actor::Actor;
use crate::functions::settle;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Write {
    function_name: String,
    name: String,
    function_version: Option<String>,
    description: Option<String>,
    routing_config: Option<Routing>,
    revision_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Routing {
    additional_version_weights: Option<BTreeMap<String, f64>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Named {
    function_name: String,
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct List {
    function_name: String,
    function_version: Option<String>,
    marker: Option<String>,
    max_items: Option<usize>,
}

pub async fn create(api: &Api, asked: Write, actor: Actor) -> Answer {
    write(api, asked, actor, true).await
}

pub async fn update(api: &Api, asked: Write, actor: Actor) -> Answer {
    write(api, asked, actor, false).await
}

async fn write(api: &Api, asked: Write, actor: Actor, create: bool) -> Answer {
    let name = lookup::name(&asked.function_name)?;
    latest(api, &name).await?;
    let alias_name = parse(&asked.name)?;
    let expect = match (create, asked.revision_id.as_deref()) {
        (true, _) => Some(0),
        (false, given) => {
            let there = alias(api, &name, alias_name.as_str()).await?;
            match given {
                Some(given) if given != revision_id(&there) => return Err(precondition_failed()),
                Some(_) => Some(there.revision),
                None => None,
            }
        }
    };
    let version = asked
        .function_version
        .as_deref()
        .map(|text| text.parse::<Version>().map_err(|error| AwsError::invalid_parameter(error.to_string())));
    let version = version.transpose()?;
    let second = asked.routing_config.map(|routing| routing.read()).transpose()?;
    let change = AliasChange { version, description: asked.description, second, expect, ..AliasChange::default() };
    let set = api.versions.set_alias(&name, &alias_name, change, &actor.0).await;
    let (made, _) = set.map_err(|error| match error {
        StoreError::AliasConflict { .. } if create => {
            let message = format!("Alias already exists: {}:{alias_name}", arn(&name));
            AwsError::new(http::StatusCode::CONFLICT, "ResourceConflictException", message)
        }
        StoreError::AliasConflict { .. } => precondition_failed(),
        error => store(error),
    })?;
    settle(api, &name).await.map_err(refused)?;
    Ok(Some(shown(&made)))
}

pub async fn get(api: &Api, asked: Named) -> Answer {
    let name = lookup::name(&asked.function_name)?;
    latest(api, &name).await?;
    Ok(Some(shown(&alias(api, &name, &asked.name).await?)))
}

pub async fn list(api: &Api, asked: List) -> Answer {
    let name = lookup::name(&asked.function_name)?;
    latest(api, &name).await?;
    let all = api.versions.aliases(&name).await.map_err(store)?;
    let leads =
        |alias: &Alias| asked.function_version.as_ref().is_none_or(|wanted| alias.version.to_string() == *wanted);
    let all: Vec<Value> = all.iter().filter(|alias| leads(alias)).map(shown).collect();
    let (aliases, next) = lookup::page(all, asked.marker.as_deref(), asked.max_items)?;
    Ok(Some(json!({"Aliases": aliases, "NextMarker": next})))
}

pub async fn delete(api: &Api, asked: Named, actor: Actor) -> Answer {
    let name = lookup::name(&asked.function_name)?;
    if api.functions.get(&name).await.is_err() {
        return Err(absent(&name, None));
    }
    // As on AWS, one that is not there is as good as deleted.
    match api.versions.remove_alias(&name, &parse(&asked.name)?, &actor.0).await {
        Ok(()) => settle(api, &name).await.map_err(refused)?,
        Err(error) => {
            let error = store(error);
            if error.status != http::StatusCode::NOT_FOUND {
                return Err(error);
            }
        }
    }
    Ok(None)
}

fn parse(text: &str) -> Result<AliasName, AwsError> {
    text.parse().map_err(|error: model::InvalidId| AwsError::invalid_parameter(error.to_string()))
}

fn revision_id(alias: &Alias) -> String {
    uuid(&format!("{}\0{}\0{}\0{}", alias.function, alias.name, alias.revision, alias.modified.rfc3339()))
}

fn arn_of(function: &FunctionName, alias: &AliasName) -> String {
    format!("{}:{alias}", arn(function))
}

fn shown(alias: &Alias) -> Value {
    let mut shown = json!({
        "AliasArn": arn_of(&alias.function, &alias.name),
        "Name": alias.name.as_str(),
        "FunctionVersion": alias.version.to_string(),
        "Description": alias.description,
        "RevisionId": revision_id(alias),
    });
    if let Some((version, weight)) = alias.second {
        shown["RoutingConfig"] = json!({"AdditionalVersionWeights": {version.to_string(): weight.as_f64()}});
    }
    shown
}

// === impl Routing ===

impl Routing {
    fn read(self) -> Result<Option<(u64, Weight)>, AwsError> {
        let mut weights = self.additional_version_weights.unwrap_or_default().into_iter();
        let (first, more) = (weights.next(), weights.next());
        if more.is_some() {
            return Err(AwsError::invalid_parameter(
                "Only one additional version is allowed in AdditionalVersionWeights",
            ));
        }
        let Some((version, weight)) = first else { return Ok(None) };
        let number = version.parse::<Version>().ok().and_then(Version::number);
        let number =
            number.ok_or_else(|| AwsError::invalid_parameter(format!("{version} is not a published version")))?;
        let weight = Weight::try_from(weight).map_err(|error| AwsError::invalid_parameter(error.to_string()))?;
        Ok(Some((number, weight)))
    }
}
