//! CloudWatch Logs, over the same lines that `hearth logs` shows: a group for each function, a stream for each instance.
//!
//! Groups and streams may be made before there is anything in them, as tools do. Nothing but functions writes lines.

mod events;
mod groups;
mod streams;
mod tail;

use aws::AwsError;
use http::StatusCode;
use model::Timestamp;
use serde_json::Value;

use super::{Answer, Caller, read, unknown};
use crate::{Api, PLACE};

pub(crate) use streams::Names;

/// What a function's group is called, before its name.
const PREFIX: &str = "/aws/lambda/";

/// Groups or streams of one answer at most.
const PAGE: usize = 50;

pub(super) async fn run(api: &Api, operation: &str, input: Value, _: Caller) -> Answer {
    match operation {
        "CreateLogGroup" => groups::create(api, read(input)?).await,
        "DeleteLogGroup" => groups::delete(api, read(input)?).await,
        "DescribeLogGroups" => groups::describe(api, read(input)?).await,
        "PutRetentionPolicy" => groups::put_retention(api, read(input)?).await,
        "DeleteRetentionPolicy" => groups::delete_retention(api, read(input)?).await,
        "ListTagsForResource" => groups::tags(api, read(input)?).await,
        "TagResource" => groups::tag(api, read(input)?).await,
        "UntagResource" => groups::untag(api, read(input)?).await,
        "CreateLogStream" => streams::create(api, read(input)?).await,
        "DescribeLogStreams" => streams::describe(api, read(input)?).await,
        "GetLogEvents" => events::get(api, read(input)?).await,
        "FilterLogEvents" => events::filter(api, read(input)?).await,
        "StartLiveTail" => tail::start(api, read(input)?).await,
        _ => Err(unknown(operation)),
    }
}

fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::new(StatusCode::BAD_REQUEST, "InvalidParameterException", message)
}

fn missing(what: &str) -> AwsError {
    AwsError::new(
        StatusCode::BAD_REQUEST,
        "ResourceNotFoundException",
        format!("The specified log {what} does not exist."),
    )
}

fn exists(what: &str) -> AwsError {
    let message = format!("The specified log {what} already exists");
    AwsError::new(StatusCode::BAD_REQUEST, "ResourceAlreadyExistsException", message)
}

/// Exactly one of a group's name and its identifier, which may be an ARN.
fn named(name: Option<String>, identifier: Option<String>) -> Result<String, AwsError> {
    match (name, identifier) {
        (Some(name), None) => Ok(name),
        (None, Some(identifier)) => Ok(from_arn(&identifier)),
        _ => Err(invalid("Expected either logGroupName or logGroupIdentifier")),
    }
}

/// `arn:aws:logs:REGION:ACCOUNT:log-group:NAME:*`, or the name itself.
fn from_arn(text: &str) -> String {
    let name = if text.starts_with("arn:") { text.splitn(7, ':').nth(6).unwrap_or_default() } else { text };
    name.strip_suffix(":*").unwrap_or(name).to_owned()
}

fn arn(group: &str) -> String {
    format!("arn:aws:logs:{}:{}:log-group:{group}", PLACE.0, PLACE.1)
}

/// Milliseconds, as this service has them.
fn moment(millis: i64) -> Timestamp {
    Timestamp(millis.saturating_mul(1000))
}

/// A page of entries by their names, and the token of the next: the last name that was shown.
fn page(mut entries: Vec<(String, Value)>, token: Option<&str>, limit: Option<usize>) -> (Vec<Value>, Option<String>) {
    if let Some(token) = token {
        // By place, not by name: they may be in another order.
        let shown = entries.iter().position(|(name, _)| name == token).map_or(0, |place| place + 1);
        entries.drain(..shown);
    }
    let limit = limit.unwrap_or(PAGE).clamp(1, PAGE);
    let more = entries.len() > limit;
    entries.truncate(limit);
    let next = if more { entries.last().map(|(name, _)| name.clone()) } else { None };
    (entries.into_iter().map(|(_, value)| value).collect(), next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_named_by_its_arn_too() {
        for text in ["/aws/lambda/f", "arn:aws:logs:us-east-1:000000000000:log-group:/aws/lambda/f:*"] {
            assert_eq!(from_arn(text), "/aws/lambda/f");
        }
        assert!(named(None, None).is_err());
        assert!(named(Some("a".into()), Some("a".into())).is_err());
    }
}
