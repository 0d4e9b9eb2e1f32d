//! IAM: roles and policies, as records. They grant nothing and refuse nothing: functions get no AWS credentials, and whoever
//! has a key of Hearth's may do what that key may do. They are here because tools make a role before they make a function.

mod policies;
mod roles;

use aws::AwsError;
use http::StatusCode;
use model::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::tags::{self, Tags};
use super::{Answer, Caller, read, unknown};
use crate::{Api, PLACE};

/// Entries of one answer at most.
const PAGE: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    value: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Paging {
    marker: Option<String>,
    max_items: Option<usize>,
}

pub(super) async fn run(api: &Api, operation: &str, input: Value, _: Caller) -> Answer {
    match operation {
        "CreateRole" => roles::create(api, read(input)?).await,
        "GetRole" => roles::get(api, read(input)?).await,
        "ListRoles" => roles::list(api, read(input.clone())?, read(input)?).await,
        "UpdateRole" => roles::update(api, read(input)?).await,
        "UpdateRoleDescription" => roles::update_description(api, read(input)?).await,
        "PutRolePermissionsBoundary" => roles::put_boundary(api, read(input)?).await,
        "DeleteRolePermissionsBoundary" => roles::delete_boundary(api, read(input)?).await,
        "UpdateAssumeRolePolicy" => roles::update_trust(api, read(input)?).await,
        "DeleteRole" => roles::delete(api, read(input)?).await,
        "AttachRolePolicy" => roles::attach(api, read(input)?).await,
        "DetachRolePolicy" => roles::detach(api, read(input)?).await,
        "ListAttachedRolePolicies" => roles::attached(api, read(input.clone())?, read(input)?).await,
        "PutRolePolicy" => roles::put_policy(api, read(input)?).await,
        "GetRolePolicy" => roles::get_policy(api, read(input)?).await,
        "ListRolePolicies" => roles::policies(api, read(input.clone())?, read(input)?).await,
        "DeleteRolePolicy" => roles::delete_policy(api, read(input)?).await,
        "TagRole" => roles::tag(api, read(input)?).await,
        "UntagRole" => roles::untag(api, read(input)?).await,
        "ListRoleTags" => roles::tags(api, read(input.clone())?, read(input)?).await,
        "ListInstanceProfilesForRole" => roles::instance_profiles(api, read(input)?).await,
        "CreatePolicy" => policies::create(api, read(input)?).await,
        "GetPolicy" => policies::get(api, read(input)?).await,
        "CreatePolicyVersion" => policies::create_version(api, read(input)?).await,
        "SetDefaultPolicyVersion" => policies::set_default(api, read(input)?).await,
        "DeletePolicyVersion" => policies::delete_version(api, read(input)?).await,
        "TagPolicy" => policies::tag(api, read(input)?).await,
        "UntagPolicy" => policies::untag(api, read(input)?).await,
        "ListPolicyTags" => policies::tags(api, read(input.clone())?, read(input)?).await,
        "GetPolicyVersion" => policies::version(api, read(input)?).await,
        "ListPolicyVersions" => policies::versions(api, read(input.clone())?, read(input)?).await,
        "ListPolicies" => policies::list(api, read(input.clone())?, read(input)?).await,
        "DeletePolicy" => policies::delete(api, read(input)?).await,
        _ => Err(unknown(operation)),
    }
}

/// Tags beside those that are there, or in their place.
fn add_tags(to: &mut Tags, new: &[Tag]) -> Result<(), AwsError> {
    let pairs = new.iter().map(|tag| (tag.key.clone(), tag.value.clone()));
    tags::add(to, pairs, tags::MOST, "LimitExceeded")
}

fn shown_tags(tags: &Tags) -> Vec<Value> {
    tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect()
}

fn no_such(message: String) -> AwsError {
    AwsError::new(StatusCode::NOT_FOUND, "NoSuchEntity", message)
}

fn exists(what: &str, name: &str) -> AwsError {
    let message = format!("{what} with name {name} already exists.");
    AwsError::new(StatusCode::CONFLICT, "EntityAlreadyExists", message)
}

/// A policy has to be JSON at least; nobody reads it.
fn document(text: &str) -> Result<(), AwsError> {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(_)) => Ok(()),
        Ok(_) => Err(malformed("expected a JSON object".into())),
        Err(error) => Err(malformed(error.to_string())),
    }
}

fn malformed(why: String) -> AwsError {
    AwsError::new(StatusCode::BAD_REQUEST, "MalformedPolicyDocument", format!("Syntax errors in policy: {why}"))
}

/// IAM gives documents percent-encoded.
fn encoded(text: &str) -> String {
    aws::percent_encoded(text)
}

/// `AROA…`: IAM's ids are never used again, also if a name is.
fn id(prefix: &str) -> Result<String, AwsError> {
    let mut random = [0; 10];
    getrandom::fill(&mut random).map_err(|error| {
        AwsError::new(StatusCode::INTERNAL_SERVER_ERROR, "ServiceFailure", format!("draw random bits: {error}"))
    })?;
    let id = aws::credentials::access_key_id(random);
    Ok(format!("{prefix}{}", &id[aws::credentials::PREFIX.len()..]))
}

fn arn(kind: &str, path: &str, name: &str) -> String {
    format!("arn:aws:iam::{}:{kind}{path}{name}", PLACE.1)
}

fn now() -> String {
    // To the second, as IAM's are.
    let text = Timestamp::now().rfc3339();
    text.get(..19).map_or(text.clone(), |seconds| format!("{seconds}Z"))
}

/// Puts a page of named entries beside `IsTruncated` and `Marker`, which is the last name that was shown.
fn page(member: &str, mut entries: Vec<(String, Value)>, paging: &Paging) -> Value {
    let most = paging.max_items.unwrap_or(PAGE).clamp(1, 1000);
    if let Some(marker) = &paging.marker {
        entries.retain(|(name, _)| name > marker);
    }
    let more = entries.len() > most;
    entries.truncate(most);
    let marker = if more { entries.last().map(|(name, _)| name.clone()) } else { None };
    let values: Vec<Value> = entries.into_iter().map(|(_, value)| value).collect();
    json!({member: values, "IsTruncated": more, "Marker": marker})
}
