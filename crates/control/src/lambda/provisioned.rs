//! Provisioned concurrency: instances of a version, or of what an alias leads to, that are kept ready. How many there are
//! is counted from those that live.

use std::time::Duration;

use aws::AwsError;
use http::StatusCode;
use model::{FunctionName, InstanceState, Qualifier, Timestamp, Version};
use serde::Deserialize;
use serde_json::{Value, json};
use store::Provisioned;

use super::lookup::{Meant, arn, find, latest, name, page, reference};
use super::versions::List;
use super::{Answer, refused, store};
use crate::Api;
use crate::functions::settle;

/// After this time without as many instances as were asked for, it is said that they cannot be had.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Put {
    function_name: String,
    qualifier: Option<String>,
    provisioned_concurrent_executions: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Named {
    function_name: String,
    qualifier: Option<String>,
}

pub async fn put(api: &Api, asked: Put) -> Answer {
    let count = asked.provisioned_concurrent_executions;
    let (name, qualifier, meant) = named(api, &asked.function_name, asked.qualifier.as_deref()).await?;
    // The version's own bound and the function's present one.
    let reserved = latest(api, &name).await?.spec.scale.max.min(meant.function.spec.scale.max);
    if count > reserved {
        return Err(AwsError::invalid_parameter(format!(
            "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function: \
             {count}, and at most {reserved} instances may be"
        )));
    }
    if let Qualifier::Alias(alias) = &qualifier
        && api.versions.aliases(&name).await.map_err(store)?.iter().any(|one| one.name == *alias && !one.env.is_empty())
    {
        return Err(AwsError::invalid_parameter(format!(
            "The alias {alias} has variables of its own, and so instances of its own: as many are kept ready as scale.min says"
        )));
    }
    for other in api.provisions.provisioned(&name).await.map_err(store)? {
        if other.qualifier != qualifier && version(api, &other).await? == Some(meant.function.version) {
            return Err(AwsError::invalid_parameter(format!(
                "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version: {} has one \
                 for version {}",
                other.qualifier, meant.function.version
            )));
        }
    }
    api.provisions.provision(&name, &qualifier, Some(count)).await.map_err(store)?;
    settle(api, &name).await.map_err(refused)?;
    let one = config(api, &name, &qualifier).await?;
    Ok(Some(shown(api, &one).await?))
}

pub async fn get(api: &Api, asked: Named) -> Answer {
    let (name, qualifier, _) = named(api, &asked.function_name, asked.qualifier.as_deref()).await?;
    let one = config(api, &name, &qualifier).await?;
    Ok(Some(shown(api, &one).await?))
}

pub async fn list(api: &Api, asked: List) -> Answer {
    let name = name(&asked.function_name)?;
    latest(api, &name).await?;
    let mut all = Vec::new();
    for one in api.provisions.provisioned(&name).await.map_err(store)? {
        let mut shown = shown(api, &one).await?;
        shown["FunctionArn"] = format!("{}:{}", arn(&name), one.qualifier).into();
        all.push(shown);
    }
    let (configs, next) = page(all, asked.marker.as_deref(), asked.max_items)?;
    Ok(Some(json!({"ProvisionedConcurrencyConfigs": configs, "NextMarker": next})))
}

pub async fn delete(api: &Api, asked: Named) -> Answer {
    let (name, qualifier, _) = named(api, &asked.function_name, asked.qualifier.as_deref()).await?;
    // As on AWS, what is not there is as good as deleted.
    api.provisions.provision(&name, &qualifier, None).await.map_err(store)?;
    settle(api, &name).await.map_err(refused)?;
    Ok(None)
}

/// The version or alias that is meant, which is there.
async fn named(api: &Api, text: &str, beside: Option<&str>) -> Result<(FunctionName, Qualifier, Meant), AwsError> {
    let (name, qualifier) = reference(text, beside)?;
    let published = qualifier.filter(|one| *one != Qualifier::Version(Version::Latest)).ok_or_else(unpublished)?;
    let meant = find(api, text, beside).await?;
    if meant.function.version == Version::Latest {
        return Err(unpublished());
    }
    Ok((name, published, meant))
}

fn unpublished() -> AwsError {
    AwsError::invalid_parameter(
        "Provisioned Concurrency Configs cannot be applied to unpublished function versions: expected a version, or an alias \
         of one",
    )
}

async fn config(api: &Api, name: &FunctionName, qualifier: &Qualifier) -> Result<Provisioned, AwsError> {
    let all = api.provisions.provisioned(name).await.map_err(store)?;
    all.into_iter().find(|one| one.qualifier == *qualifier).ok_or_else(|| {
        AwsError::new(
            StatusCode::NOT_FOUND,
            "ProvisionedConcurrencyConfigNotFoundException",
            "No Provisioned Concurrency Config found for this function",
        )
    })
}

/// What it is for now; none if that is gone, or `$LATEST`.
async fn version(api: &Api, one: &Provisioned) -> Result<Option<Version>, AwsError> {
    Ok(match &one.qualifier {
        Qualifier::Version(version) => Some(*version),
        Qualifier::Alias(wanted) => {
            let aliases = api.versions.aliases(&one.function).await.map_err(store)?;
            aliases.into_iter().find(|alias| alias.name == *wanted).map(|alias| alias.version)
        }
    })
}

async fn shown(api: &Api, one: &Provisioned) -> Result<Value, AwsError> {
    let version = version(api, one).await?;
    let lives = api.platform.instances().into_iter().filter(|instance| {
        instance.function == one.function
            && Some(instance.version) == version
            && instance.state != InstanceState::Starting
    });
    let ready = u32::try_from(lives.count()).unwrap_or(u32::MAX).min(one.count);
    let age = Timestamp::now().micros().saturating_sub(one.modified.micros());
    let patient = age < PATIENCE.as_micros() as i64;
    let mut shown = json!({
        "RequestedProvisionedConcurrentExecutions": one.count,
        "AvailableProvisionedConcurrentExecutions": ready,
        "AllocatedProvisionedConcurrentExecutions": ready,
        "Status": if ready == one.count { "READY" } else if patient { "IN_PROGRESS" } else { "FAILED" },
        "LastModified": super::configuration::moment(one.modified),
    });
    if shown["Status"] == "FAILED" {
        shown["StatusReason"] = format!(
            "{ready} of {} instances are ready: the others could not be started, or there is no memory for them; `hearth logs` \
             and `hearth ps` tell more",
            one.count
        )
        .into();
    }
    Ok(shown)
}
