//! What becomes of asynchronous events: retries, age, destinations.

use std::time::Duration;

use aws::AwsError;
use model::{AsyncRules, AwsNotes, Function, Target};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Answer;
use super::functions::{Named, change_latest};
use super::lookup::{self, arn, latest, page, reference};
use super::versions::List;
use crate::actor::Actor;
use crate::asynchronous::AsyncWrite;
use crate::write::FunctionWrite;
use crate::{Api, PLACE};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Write {
    function_name: String,
    qualifier: Option<String>,
    maximum_retry_attempts: Option<u32>,
    maximum_event_age_in_seconds: Option<u64>,
    destination_config: Option<Destinations>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Destinations {
    on_success: Option<Destination>,
    on_failure: Option<Destination>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Destination {
    destination: Option<String>,
}

/// What is not said goes back to its default.
pub async fn put(api: &Api, asked: Write, actor: Actor) -> Answer {
    write(api, asked, usual(), true, actor).await
}

pub async fn update(api: &Api, asked: Write, actor: Actor) -> Answer {
    let function = named(api, &asked.function_name, asked.qualifier.as_deref()).await?;
    require_configured(&function)?;
    write(api, asked, AsyncWrite::default(), true, actor).await
}

pub async fn get(api: &Api, asked: Named) -> Answer {
    let function = named(api, &asked.function_name, asked.qualifier.as_deref()).await?;
    require_configured(&function)?;
    Ok(Some(shown(&function)))
}

pub async fn list(api: &Api, asked: List) -> Answer {
    let function = latest(api, &lookup::name(&asked.function_name)?).await?;
    let all = if is_configured(&function) { vec![shown(&function)] } else { vec![] };
    let (configs, next) = page(all, asked.marker.as_deref(), asked.max_items)?;
    Ok(Some(json!({"FunctionEventInvokeConfigs": configs, "NextMarker": next})))
}

pub async fn delete(api: &Api, asked: Named, actor: Actor) -> Answer {
    let function = named(api, &asked.function_name, asked.qualifier.as_deref()).await?;
    require_configured(&function)?;
    let nothing = Write {
        function_name: asked.function_name,
        qualifier: None,
        maximum_retry_attempts: None,
        maximum_event_age_in_seconds: None,
        destination_config: None,
    };
    write(api, nothing, usual(), false, actor).await?;
    Ok(None)
}

/// What holds where nothing is said, of all that can be said here.
fn usual() -> AsyncWrite {
    let usual = AsyncRules::default();
    AsyncWrite {
        retries: Some(usual.retries),
        max_age: Some(usual.max_age),
        on_success: Some(None),
        on_failure: Some(None),
        ..AsyncWrite::default()
    }
}

/// `configured`: whether there is a configuration afterwards.
async fn write(api: &Api, asked: Write, base: AsyncWrite, configured: bool, actor: Actor) -> Answer {
    let function = named(api, &asked.function_name, asked.qualifier.as_deref()).await?;
    let mut rules = base;
    if let Some(retries) = asked.maximum_retry_attempts {
        rules.retries = Some(retries);
    }
    if let Some(age) = asked.maximum_event_age_in_seconds {
        rules.max_age = Some(Duration::from_secs(age));
    }
    if let Some(Destinations { on_success, on_failure }) = asked.destination_config {
        for (to, said) in [(&mut rules.on_success, on_success), (&mut rules.on_failure, on_failure)] {
            if let Some(said) = said {
                *to = Some(said.read()?);
            }
        }
    }
    let write = |function: &Function| {
        let aws = AwsNotes { events_configured: configured, ..function.spec.aws.clone() };
        FunctionWrite { asynchronous: Some(rules.clone()), aws: Some(aws), ..FunctionWrite::default() }
    };
    let function = change_latest(api, &function.spec.name, write, actor).await?;
    Ok(Some(shown(&function)))
}

/// The rules are the function's, not a version's: that is said where one is named.
async fn named(api: &Api, text: &str, qualifier: Option<&str>) -> Result<Function, AwsError> {
    let (name, qualifier) = reference(text, qualifier)?;
    match qualifier {
        Some(other) if other.to_string() != model::LATEST => Err(AwsError::invalid_parameter(format!(
            "The rules for asynchronous events are the function's own here: expected no qualifier, got {other}"
        ))),
        _ => latest(api, &name).await,
    }
}

fn is_configured(function: &Function) -> bool {
    function.spec.aws.events_configured || function.spec.asynchronous != AsyncRules::default()
}

fn require_configured(function: &Function) -> Result<(), AwsError> {
    if is_configured(function) {
        return Ok(());
    }
    let message = format!("The function {}:$LATEST doesn't have an EventInvokeConfig", arn(&function.spec.name));
    Err(AwsError::not_found(message))
}

fn shown(function: &Function) -> Value {
    let AsyncRules { retries, max_age, on_success, on_failure, .. } = &function.spec.asynchronous;
    let to = |target: &Option<Target>| match target {
        None => json!({}),
        Some(Target::Function(name)) => json!({"Destination": arn(name)}),
        Some(Target::Queue(queue)) => {
            json!({"Destination": format!("arn:aws:sqs:{}:{}:{queue}", PLACE.0, PLACE.1)})
        }
    };
    json!({
        "LastModified": function.modified.0 as f64 / 1e6,
        "FunctionArn": format!("{}:$LATEST", arn(&function.spec.name)),
        "MaximumRetryAttempts": retries,
        "MaximumEventAgeInSeconds": max_age.as_secs(),
        "DestinationConfig": {"OnSuccess": to(on_success), "OnFailure": to(on_failure)},
    })
}

// === impl Destination ===

impl Destination {
    fn read(self) -> Result<Option<Target>, AwsError> {
        let Some(arn) = self.destination.filter(|arn| !arn.is_empty()) else { return Ok(None) };
        let parts: Vec<&str> = arn.split(':').collect();
        match parts[..] {
            ["arn", _, "sqs", _, _, queue] => {
                let queue = queue.parse();
                Ok(Some(Target::Queue(
                    queue.map_err(|error: model::InvalidId| AwsError::invalid_parameter(error.to_string()))?,
                )))
            }
            ["arn", _, service, ..] if service != "lambda" => Err(AwsError::invalid_parameter(format!(
                "The destination ARN {arn} is not supported: expected a function's, or a queue's (sqs)"
            ))),
            _ => Ok(Some(Target::Function(lookup::name(&arn)?))),
        }
    }
}
