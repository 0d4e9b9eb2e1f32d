//! Roles, the policies that are attached to them, and those that stand in them.

use std::collections::{BTreeMap, BTreeSet};

use aws::AwsError;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::policies::{Policy, name_of};
use super::{Paging, Tag, add_tags, arn, document, encoded, exists, id, no_such, now, page, shown_tags};
use crate::Api;
use crate::companions::kept::{self, Kept};
use crate::companions::tags::Tags;
use crate::companions::{Answer, Reply};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Role {
    name: String,
    path: String,
    id: String,
    created: String,
    trust: String,
    description: Option<String>,
    max_session: u64,
    tags: Tags,
    /// The ARN of a policy. Like all others it bounds nothing.
    #[serde(default)]
    boundary: Option<String>,
    /// ARNs.
    attached: BTreeSet<String>,
    /// Documents by their names.
    inline: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Create {
    role_name: String,
    assume_role_policy_document: String,
    path: Option<String>,
    description: Option<String>,
    max_session_duration: Option<u64>,
    permissions_boundary: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Describe {
    role_name: String,
    description: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Boundary {
    role_name: String,
    permissions_boundary: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Named {
    role_name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct List {
    path_prefix: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Update {
    role_name: String,
    description: Option<String>,
    max_session_duration: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Trust {
    role_name: String,
    policy_document: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Attach {
    role_name: String,
    policy_arn: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Put {
    role_name: String,
    policy_name: String,
    policy_document: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Inline {
    role_name: String,
    policy_name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tagged {
    role_name: String,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    tag_keys: Vec<String>,
}

impl Kept for Role {
    const KIND: &'static str = "iam-role";
}

// === impl Role ===

impl Role {
    /// Lists leave the tags out, as IAM does.
    fn view(&self, tags: bool) -> Value {
        let tags = (tags && !self.tags.is_empty()).then(|| shown_tags(&self.tags));
        let bounded =
            |arn| json!({"PermissionsBoundaryType": "PermissionsBoundaryPolicy", "PermissionsBoundaryArn": arn});
        json!({
            "Path": self.path, "RoleName": self.name, "RoleId": self.id, "Arn": arn("role", &self.path, &self.name),
            "CreateDate": self.created, "AssumeRolePolicyDocument": encoded(&self.trust),
            "Description": self.description, "MaxSessionDuration": self.max_session, "Tags": tags,
            "PermissionsBoundary": self.boundary.as_ref().map(bounded),
        })
    }

    pub fn has(&self, policy: &str) -> bool {
        self.attached.contains(policy)
    }

    pub fn is_bounded_by(&self, policy: &str) -> bool {
        self.boundary.as_deref() == Some(policy)
    }
}

pub(super) async fn create(api: &Api, input: Create) -> Answer {
    document(&input.assume_role_policy_document)?;
    if let Some(boundary) = &input.permissions_boundary {
        require_policy(api, boundary).await?;
    }
    let mut tags = Tags::new();
    add_tags(&mut tags, &input.tags)?;
    let role = Role {
        name: input.role_name.clone(),
        path: input.path.unwrap_or_else(|| "/".into()),
        id: id("AROA")?,
        created: now(),
        trust: input.assume_role_policy_document,
        description: input.description,
        max_session: input.max_session_duration.unwrap_or(3600),
        tags,
        boundary: input.permissions_boundary,
        attached: BTreeSet::new(),
        inline: BTreeMap::new(),
    };
    kept::change(api, &role.name, |old: Option<Role>| match old {
        Some(_) => Err(exists("Role", &input.role_name)),
        None => Ok(Some(role.clone())),
    })
    .await?;
    Ok(Reply::Value(json!({"Role": role.view(true)})))
}

pub(super) async fn get(api: &Api, input: Named) -> Answer {
    Ok(Reply::Value(json!({"Role": find(api, &input.role_name).await?.view(true)})))
}

pub(super) async fn list(api: &Api, input: List, paging: Paging) -> Answer {
    let prefix = input.path_prefix.unwrap_or_default();
    let all = kept::list::<Role>(api, "", "", usize::MAX).await?;
    let fits = all.into_iter().filter(|(_, role)| role.path.starts_with(&prefix));
    Ok(Reply::Value(page("Roles", fits.map(|(name, role)| (name, role.view(false))).collect(), &paging)))
}

pub(super) async fn update(api: &Api, input: Update) -> Answer {
    change(api, &input.role_name, |role| {
        role.description = input.description.clone().or(role.description.take());
        role.max_session = input.max_session_duration.unwrap_or(role.max_session);
        Ok(())
    })
    .await?;
    Ok(Reply::Value(json!({})))
}

/// The older way to say it.
pub(super) async fn update_description(api: &Api, input: Describe) -> Answer {
    change(api, &input.role_name, |role| {
        role.description = Some(input.description.clone());
        Ok(())
    })
    .await?;
    Ok(Reply::Value(json!({"Role": find(api, &input.role_name).await?.view(false)})))
}

pub(super) async fn put_boundary(api: &Api, input: Boundary) -> Answer {
    require_policy(api, &input.permissions_boundary).await?;
    change(api, &input.role_name, |role| {
        role.boundary = Some(input.permissions_boundary.clone());
        Ok(())
    })
    .await
}

pub(super) async fn delete_boundary(api: &Api, input: Named) -> Answer {
    change(api, &input.role_name, |role| match role.boundary.take() {
        Some(_) => Ok(()),
        None => Err(no_such(format!("Role {} does not have a permissions boundary.", input.role_name))),
    })
    .await
}

pub(super) async fn update_trust(api: &Api, input: Trust) -> Answer {
    document(&input.policy_document)?;
    change(api, &input.role_name, |role| {
        role.trust.clone_from(&input.policy_document);
        Ok(())
    })
    .await
}

pub(super) async fn delete(api: &Api, input: Named) -> Answer {
    let conflict = |what| {
        let message = format!("Cannot delete entity, must {what} first.");
        Err(AwsError::new(StatusCode::CONFLICT, "DeleteConflict", message))
    };
    kept::change(api, &input.role_name, |old: Option<Role>| match old {
        None => Err(missing(&input.role_name)),
        Some(role) if !role.attached.is_empty() => conflict("detach all policies"),
        Some(role) if !role.inline.is_empty() => conflict("delete policies"),
        Some(_) => Ok(None),
    })
    .await?;
    Ok(Reply::Nothing)
}

pub(super) async fn attach(api: &Api, input: Attach) -> Answer {
    require_policy(api, &input.policy_arn).await?;
    change(api, &input.role_name, |role| {
        role.attached.insert(input.policy_arn.clone());
        Ok(())
    })
    .await
}

pub(super) async fn detach(api: &Api, input: Attach) -> Answer {
    change(api, &input.role_name, |role| match role.attached.remove(&input.policy_arn) {
        true => Ok(()),
        false => Err(no_such(format!("Policy {} was not found.", input.policy_arn))),
    })
    .await
}

pub(super) async fn attached(api: &Api, input: Named, paging: Paging) -> Answer {
    let role = find(api, &input.role_name).await?;
    let view = |arn: String| {
        let value = json!({"PolicyName": name_of(&arn), "PolicyArn": arn});
        (arn, value)
    };
    Ok(Reply::Value(page("AttachedPolicies", role.attached.into_iter().map(view).collect(), &paging)))
}

pub(super) async fn put_policy(api: &Api, input: Put) -> Answer {
    document(&input.policy_document)?;
    change(api, &input.role_name, |role| {
        role.inline.insert(input.policy_name.clone(), input.policy_document.clone());
        Ok(())
    })
    .await
}

pub(super) async fn get_policy(api: &Api, input: Inline) -> Answer {
    let role = find(api, &input.role_name).await?;
    let text = role.inline.get(&input.policy_name).ok_or_else(|| no_inline(&input.policy_name))?;
    let document = encoded(text);
    Ok(Reply::Value(json!({"RoleName": role.name, "PolicyName": input.policy_name, "PolicyDocument": document})))
}

pub(super) async fn policies(api: &Api, input: Named, paging: Paging) -> Answer {
    let role = find(api, &input.role_name).await?;
    let names = role.inline.into_keys().map(|name| (name.clone(), Value::from(name)));
    Ok(Reply::Value(page("PolicyNames", names.collect(), &paging)))
}

pub(super) async fn delete_policy(api: &Api, input: Inline) -> Answer {
    change(api, &input.role_name, |role| match role.inline.remove(&input.policy_name) {
        Some(_) => Ok(()),
        None => Err(no_inline(&input.policy_name)),
    })
    .await
}

pub(super) async fn tag(api: &Api, input: Tagged) -> Answer {
    change(api, &input.role_name, |role| add_tags(&mut role.tags, &input.tags)).await
}

pub(super) async fn untag(api: &Api, input: Tagged) -> Answer {
    change(api, &input.role_name, |role| {
        role.tags.retain(|key, _| !input.tag_keys.contains(key));
        Ok(())
    })
    .await
}

pub(super) async fn tags(api: &Api, input: Named, paging: Paging) -> Answer {
    let role = find(api, &input.role_name).await?;
    let tags = role.tags.keys().cloned().zip(shown_tags(&role.tags));
    Ok(Reply::Value(page("Tags", tags.collect(), &paging)))
}

/// There are none: a tool that removes a role asks.
pub(super) async fn instance_profiles(api: &Api, input: Named) -> Answer {
    find(api, &input.role_name).await?;
    Ok(Reply::Value(json!({"InstanceProfiles": [], "IsTruncated": false})))
}

/// AWS's own policies are all there, as far as anybody can tell: none of them grants anything.
async fn require_policy(api: &Api, arn: &str) -> Result<(), AwsError> {
    let own = !arn.starts_with("arn:aws:iam::aws:policy/");
    if own && kept::get::<Policy>(api, name_of(arn)).await?.is_none() {
        return Err(no_such(format!("Policy {arn} does not exist or is not attachable.")));
    }
    Ok(())
}

async fn find(api: &Api, name: &str) -> Result<Role, AwsError> {
    kept::get(api, name).await?.ok_or_else(|| missing(name))
}

async fn change(api: &Api, name: &str, mut change: impl FnMut(&mut Role) -> Result<(), AwsError>) -> Answer {
    kept::change(api, name, |old: Option<Role>| {
        let mut role = old.ok_or_else(|| missing(name))?;
        change(&mut role)?;
        Ok(Some(role))
    })
    .await?;
    Ok(Reply::Nothing)
}

fn missing(name: &str) -> AwsError {
    no_such(format!("The role with name {name} cannot be found."))
}

fn no_inline(name: &str) -> AwsError {
    no_such(format!("The role policy with name {name} cannot be found."))
}
