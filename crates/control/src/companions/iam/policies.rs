//! Policies that stand for themselves, and their versions.

use std::collections::BTreeMap;

use aws::AwsError;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::roles::Role;
use super::{Paging, Tag, add_tags, arn, document, encoded, exists, id, no_such, now, page, shown_tags};
use crate::Api;
use crate::companions::kept::{self, Kept};
use crate::companions::tags::Tags;
use crate::companions::{Answer, Reply};

/// Of one policy, at most.
const VERSIONS: usize = 5;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Policy {
    name: String,
    path: String,
    id: String,
    created: String,
    /// The first version, where there are no others: so it was kept when there were none.
    document: String,
    /// By their numbers; empty while there is none but the first.
    #[serde(default)]
    versions: BTreeMap<u64, Version>,
    /// The version in use.
    #[serde(default = "first")]
    default: u64,
    /// The last number that a version got: none is given twice.
    #[serde(default = "first")]
    last: u64,
    description: Option<String>,
    tags: Vec<Tag>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Version {
    document: String,
    created: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Create {
    policy_name: String,
    policy_document: String,
    path: Option<String>,
    description: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Named {
    policy_arn: String,
    version_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateVersion {
    policy_arn: String,
    policy_document: String,
    #[serde(default)]
    set_as_default: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tagged {
    policy_arn: String,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    tag_keys: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct List {
    path_prefix: Option<String>,
    scope: Option<String>,
}

impl Kept for Policy {
    const KIND: &'static str = "iam-policy";
}

// === impl Policy ===

impl Policy {
    fn tags(&self) -> Tags {
        self.tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect()
    }

    fn arn(&self) -> String {
        arn("policy", &self.path, &self.name)
    }

    /// All versions, by their numbers.
    fn versions(&self) -> BTreeMap<u64, Version> {
        match self.versions.is_empty() {
            true => [(1, Version { document: self.document.clone(), created: self.created.clone() })].into(),
            false => self.versions.clone(),
        }
    }

    /// `attached`: to how many roles; none in lists, which leave the tags out, too.
    fn view(&self, attached: Option<usize>) -> Value {
        let updated = self.versions.values().map(|version| &version.created).max().unwrap_or(&self.created);
        let tags = (attached.is_some() && !self.tags.is_empty()).then_some(&self.tags);
        json!({
            "PolicyName": self.name, "PolicyId": self.id, "Arn": self.arn(), "Path": self.path,
            "DefaultVersionId": format!("v{}", self.default), "AttachmentCount": attached, "IsAttachable": true,
            "Description": self.description, "CreateDate": self.created, "UpdateDate": updated, "Tags": tags,
        })
    }

    fn version(&self, number: u64, version: &Version, document: bool) -> Value {
        let document = document.then(|| encoded(&version.document));
        json!({
            "VersionId": format!("v{number}"), "IsDefaultVersion": number == self.default,
            "CreateDate": version.created, "Document": document,
        })
    }
}

fn first() -> u64 {
    1
}

/// What follows the last slash of an ARN. Names are unique, whatever their paths.
pub(super) fn name_of(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

pub(super) async fn create(api: &Api, input: Create) -> Answer {
    document(&input.policy_document)?;
    let mut tags = Tags::new();
    add_tags(&mut tags, &input.tags)?;
    let policy = Policy {
        name: input.policy_name.clone(),
        path: input.path.unwrap_or_else(|| "/".into()),
        id: id("ANPA")?,
        created: now(),
        document: input.policy_document,
        versions: BTreeMap::new(),
        default: 1,
        last: 1,
        description: input.description,
        tags: listed(tags),
    };
    kept::change(api, &policy.name, |old: Option<Policy>| match old {
        Some(_) => Err(exists("A policy", &input.policy_name)),
        None => Ok(Some(policy.clone())),
    })
    .await?;
    Ok(Reply::Value(json!({"Policy": policy.view(Some(0))})))
}

pub(super) async fn get(api: &Api, input: Named) -> Answer {
    let policy = find(api, &input.policy_arn).await?;
    let count = users(api, &input.policy_arn).await?;
    Ok(Reply::Value(json!({"Policy": policy.view(Some(count))})))
}

pub(super) async fn version(api: &Api, input: Named) -> Answer {
    let policy = find(api, &input.policy_arn).await?;
    let wanted = input.version_id.as_deref().map_or(Some(policy.default), number);
    let versions = policy.versions();
    let found = wanted.and_then(|number| Some((number, versions.get(&number)?)));
    let (number, version) = found.ok_or_else(|| no_version(&input))?;
    Ok(Reply::Value(json!({"PolicyVersion": policy.version(number, version, true)})))
}

pub(super) async fn versions(api: &Api, input: Named, paging: Paging) -> Answer {
    let policy = find(api, &input.policy_arn).await?;
    let all = policy.versions();
    // In the order of their numbers: pages go by their names.
    let entries = all.iter().map(|(number, one)| (format!("v{number:020}"), policy.version(*number, one, false)));
    Ok(Reply::Value(page("Versions", entries.collect(), &paging)))
}

pub(super) async fn create_version(api: &Api, input: CreateVersion) -> Answer {
    document(&input.policy_document)?;
    let mut made = Value::Null;
    change(api, &input.policy_arn, |policy| {
        let mut versions = policy.versions();
        if versions.len() >= VERSIONS {
            let message = format!(
                "A managed policy can have up to {VERSIONS} versions. Before you create a new version, you must delete an \
                 existing version."
            );
            return Err(AwsError::new(StatusCode::CONFLICT, "LimitExceeded", message));
        }
        policy.last += 1;
        let version = Version { document: input.policy_document.clone(), created: now() };
        if input.set_as_default {
            policy.default = policy.last;
        }
        made = policy.version(policy.last, &version, false);
        versions.insert(policy.last, version);
        policy.versions = versions;
        Ok(())
    })
    .await?;
    Ok(Reply::Value(json!({"PolicyVersion": made})))
}

pub(super) async fn set_default(api: &Api, input: Named) -> Answer {
    change(api, &input.policy_arn, |policy| {
        let found = input.version_id.as_deref().and_then(number);
        let known = found.filter(|number| policy.versions().contains_key(number));
        policy.default = known.ok_or_else(|| no_version(&input))?;
        Ok(())
    })
    .await
}

pub(super) async fn delete_version(api: &Api, input: Named) -> Answer {
    change(api, &input.policy_arn, |policy| {
        let found = input.version_id.as_deref().and_then(number);
        let mut versions = policy.versions();
        let number = found.filter(|number| versions.contains_key(number)).ok_or_else(|| no_version(&input))?;
        if number == policy.default {
            let message = "Cannot delete the default version of a policy.";
            return Err(AwsError::new(StatusCode::CONFLICT, "DeleteConflict", message));
        }
        versions.remove(&number);
        policy.versions = versions;
        Ok(())
    })
    .await
}

pub(super) async fn tag(api: &Api, input: Tagged) -> Answer {
    change(api, &input.policy_arn, |policy| {
        let mut tags = policy.tags();
        add_tags(&mut tags, &input.tags)?;
        policy.tags = listed(tags);
        Ok(())
    })
    .await
}

pub(super) async fn untag(api: &Api, input: Tagged) -> Answer {
    change(api, &input.policy_arn, |policy| {
        policy.tags.retain(|tag| !input.tag_keys.contains(&tag.key));
        Ok(())
    })
    .await
}

pub(super) async fn tags(api: &Api, input: Named, paging: Paging) -> Answer {
    let tags = find(api, &input.policy_arn).await?.tags();
    let entries = tags.keys().cloned().zip(shown_tags(&tags));
    Ok(Reply::Value(page("Tags", entries.collect(), &paging)))
}

pub(super) async fn list(api: &Api, input: List, paging: Paging) -> Answer {
    let prefix = input.path_prefix.unwrap_or_default();
    let all = match input.scope.as_deref() {
        // None of AWS's own is kept here.
        Some("AWS") => Vec::new(),
        _ => kept::list::<Policy>(api, "", "", usize::MAX).await?,
    };
    let fits = all.into_iter().filter(|(_, policy)| policy.path.starts_with(&prefix));
    Ok(Reply::Value(page("Policies", fits.map(|(name, policy)| (name, policy.view(None))).collect(), &paging)))
}

pub(super) async fn delete(api: &Api, input: Named) -> Answer {
    if find(api, &input.policy_arn).await?.versions().len() > 1 {
        let message = "This policy has more than one version. Before you delete a policy, you must delete the policy's \
                       versions. The default version is deleted with the policy.";
        return Err(AwsError::new(StatusCode::CONFLICT, "DeleteConflict", message));
    }
    let arn = &input.policy_arn;
    let roles = kept::list::<Role>(api, "", "", usize::MAX).await?;
    if roles.iter().any(|(_, role)| role.has(arn) || role.is_bounded_by(arn)) {
        let message = "Cannot delete a policy attached to entities.";
        return Err(AwsError::new(StatusCode::CONFLICT, "DeleteConflict", message));
    }
    kept::change(api, name_of(&input.policy_arn), |old: Option<Policy>| match old {
        None => Err(missing(&input.policy_arn)),
        Some(_) => Ok(None),
    })
    .await?;
    Ok(Reply::Nothing)
}

async fn find(api: &Api, arn: &str) -> Result<Policy, AwsError> {
    let found = kept::get::<Policy>(api, name_of(arn)).await?;
    found.filter(|policy| policy.arn() == arn).ok_or_else(|| missing(arn))
}

async fn change(api: &Api, arn: &str, mut change: impl FnMut(&mut Policy) -> Result<(), AwsError>) -> Answer {
    kept::change(api, name_of(arn), |old: Option<Policy>| {
        let mut policy = old.filter(|policy| policy.arn() == arn).ok_or_else(|| missing(arn))?;
        change(&mut policy)?;
        Ok(Some(policy))
    })
    .await?;
    Ok(Reply::Nothing)
}

/// Of `v12`.
fn number(version: &str) -> Option<u64> {
    version.strip_prefix('v')?.parse().ok()
}

fn listed(tags: Tags) -> Vec<Tag> {
    tags.into_iter().map(|(key, value)| Tag { key, value }).collect()
}

/// Roles that it is attached to.
async fn users(api: &Api, arn: &str) -> Result<usize, AwsError> {
    let roles = kept::list::<Role>(api, "", "", usize::MAX).await?;
    Ok(roles.iter().filter(|(_, role)| role.has(arn)).count())
}

fn no_version(input: &Named) -> AwsError {
    let version = input.version_id.as_deref().unwrap_or_default();
    no_such(format!("Policy {} version {version} does not exist or is not attachable.", input.policy_arn))
}

fn missing(arn: &str) -> AwsError {
    no_such(format!("Policy {arn} does not exist or is not attachable."))
}
