//! What schedules and rules call: functions, by their ARNs, with an input that is JSON.

use aws::{AwsError, FunctionRef};
use model::{FunctionName, Qualifier, Timestamp};
use serde_json::Value;

/// The function of a target.
pub(super) fn function(arn: &str) -> Result<(FunctionName, Option<Qualifier>), AwsError> {
    if !arn.starts_with("arn:aws:lambda:") {
        let given: String = arn.chars().take(120).collect();
        return Err(AwsError::validation(format!(
            "Target {given}: expected the ARN of a function, others are not called here"
        )));
    }
    let FunctionRef { name, qualifier } = arn.parse().map_err(AwsError::from)?;
    let qualifier = qualifier.map(|text| text.parse()).transpose();
    Ok((name, qualifier.map_err(|error| AwsError::validation(format!("Target {arn}: {error}")))?))
}

/// Whether two ARNs mean the same function and version; regions and accounts are not compared.
pub(super) fn same(one: &str, other: &str) -> bool {
    matches!((function(one), function(other)), (Ok(one), Ok(other)) if one == other)
}

/// The event that a target is given.
pub(super) fn payload(input: Option<&str>) -> Result<Option<Value>, AwsError> {
    let Some(input) = input else { return Ok(None) };
    if input.contains("<aws.scheduler.") {
        return Err(AwsError::validation("Input: context attributes, <aws.scheduler.…>, are not supported here"));
    }
    let read = serde_json::from_str(input);
    read.map(Some)
        .map_err(|error| AwsError::validation(format!("Input: expected JSON, as functions are given: {error}")))
}

/// Seconds since 1970, as these protocols write a moment.
pub(super) fn seconds(moment: Timestamp) -> f64 {
    moment.millis() as f64 / 1000.0
}
