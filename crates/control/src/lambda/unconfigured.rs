//! What is answered as AWS does where nothing was configured, and what is refused.

use aws::AwsError;
use http::StatusCode;
use model::LATEST;
use serde_json::{Value, json};

use super::Answer;
use super::lookup::{arn, find};
use crate::Api;

/// Operations that are answered so.
pub const UNCONFIGURED: &[&str] = &[
    "GetFunctionCodeSigningConfig",
    "GetFunctionRecursionConfig",
    "GetRuntimeManagementConfig",
    "ListCapacityProviders",
    "ListCodeSigningConfigs",
    "ListFunctionsByCodeSigningConfig",
];

pub async fn answer(api: &Api, operation: &str, input: &Value) -> Answer {
    if !UNCONFIGURED.contains(&operation) {
        let message =
            format!("{operation} is not in this version of Hearth: docs/lambda-api.md has the operations that are");
        return Err(AwsError::new(StatusCode::NOT_IMPLEMENTED, "NotImplementedException", message));
    }
    let text = |member: &str| input.get(member).and_then(Value::as_str);
    // That the function is there is asked first, as on AWS.
    let meant = match text("FunctionName") {
        Some(name) => Some(find(api, name, text("Qualifier")).await?),
        None => None,
    };
    let named = meant.as_ref().map(|meant| (meant.function.spec.name.clone(), meant.function.spec.name.to_string()));
    let (name, shown) = named.map_or((None, String::new()), |(name, shown)| (Some(name), shown));
    Ok(Some(match operation {
        "GetFunctionCodeSigningConfig" => json!({"CodeSigningConfigArn": "", "FunctionName": shown}),
        "GetFunctionRecursionConfig" => json!({"RecursiveLoop": "Terminate"}),
        "GetRuntimeManagementConfig" => {
            let arn = name.map(|name| format!("{}:{}", arn(&name), text("Qualifier").unwrap_or(LATEST)));
            json!({"UpdateRuntimeOn": "Auto", "FunctionArn": arn})
        }
        "ListCapacityProviders" => json!({"CapacityProviders": []}),
        "ListCodeSigningConfigs" => json!({"CodeSigningConfigs": []}),
        _ => json!({"FunctionArns": []}),
    }))
}
