//! Reserved concurrency: the most instances that a function has at once. 0 lets no call through.

use model::{AwsNotes, Function};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Answer;
use super::functions::change_latest;
use super::lookup::{latest, name};
use crate::Api;
use crate::actor::Actor;
use crate::write::{FunctionWrite, ScaleWrite};

/// What a function has of which nobody said anything.
const USUAL: u32 = 1000;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Put {
    function_name: String,
    reserved_concurrent_executions: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Named {
    function_name: String,
}

pub async fn put(api: &Api, asked: Put, actor: Actor) -> Answer {
    set(api, &asked.function_name, Some(asked.reserved_concurrent_executions), actor).await?;
    Ok(Some(json!({"ReservedConcurrentExecutions": asked.reserved_concurrent_executions})))
}

pub async fn get(api: &Api, asked: Named) -> Answer {
    let function = latest(api, &name(&asked.function_name)?).await?;
    Ok(Some(reserved(&function).map_or_else(|| json!({}), |limit| json!({"ReservedConcurrentExecutions": limit}))))
}

pub async fn delete(api: &Api, asked: Named, actor: Actor) -> Answer {
    set(api, &asked.function_name, None, actor).await
}

pub fn reserved(function: &Function) -> Option<Value> {
    (function.spec.aws.concurrency_reserved || function.spec.scale.max != USUAL).then(|| function.spec.scale.max.into())
}

async fn set(api: &Api, text: &str, reserved: Option<u32>, actor: Actor) -> Answer {
    let max = reserved.unwrap_or(USUAL);
    let write = |function: &Function| {
        let min = function.spec.scale.min.min(max);
        let scale = ScaleWrite { max: Some(max), min: Some(min), ..ScaleWrite::default() };
        let aws = AwsNotes { concurrency_reserved: reserved.is_some(), ..function.spec.aws.clone() };
        FunctionWrite { scale: Some(scale), aws: Some(aws), ..FunctionWrite::default() }
    };
    change_latest(api, &name(text)?, write, actor).await?;
    Ok(None)
}
