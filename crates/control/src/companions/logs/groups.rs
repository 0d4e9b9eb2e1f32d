//! Log groups: one for each function that is there or has lines, and those that were made by name.

use std::collections::BTreeMap;

use aws::AwsError;
use model::{FunctionName, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::StoreError;

use super::{PREFIX, arn, exists, from_arn, invalid, missing, moment, page};
use crate::Api;
use crate::companions::kept::{self, Kept};
use crate::companions::tags::{self, Tags};
use crate::companions::{Answer, Reply};
use crate::lambda;

const DAY: i64 = 86_400_000;

/// What was said of a group. Times are milliseconds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Group {
    /// When it was made by name; none after it was removed.
    created: Option<i64>,
    /// Days.
    retention: Option<i64>,
    /// When it was removed: earlier lines are not shown here any more.
    removed: Option<i64>,
    #[serde(default)]
    tags: Tags,
    /// None: `STANDARD`. Kept and given back: all lines are kept the same way.
    #[serde(default)]
    class: Option<String>,
}

/// A group that is there.
pub(super) struct Found {
    pub name: String,
    /// None for a group that no function writes to.
    pub function: Option<FunctionName>,
    group: Group,
    created: Option<i64>,
    bytes: u64,
    /// Whether there are lines in it that are shown.
    written: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Create {
    log_group_name: String,
    kms_key_id: Option<String>,
    #[serde(default)]
    tags: Tags,
    log_group_class: Option<String>,
    #[serde(default)]
    deletion_protection_enabled: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Named {
    log_group_name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Retention {
    log_group_name: String,
    retention_in_days: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Describe {
    log_group_name_prefix: Option<String>,
    log_group_name_pattern: Option<String>,
    log_group_identifiers: Option<Vec<String>>,
    log_group_class: Option<String>,
    next_token: Option<String>,
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tagged {
    resource_arn: String,
    #[serde(default)]
    tags: Tags,
    #[serde(default)]
    tag_keys: Vec<String>,
}

impl Kept for Group {
    const KIND: &'static str = "log-group";
}

// === impl Found ===

impl Found {
    /// Lines before are not shown: the group was removed, or keeps them no longer.
    pub fn since(&self) -> Option<Timestamp> {
        let kept = self.group.retention.map(|days| Timestamp::now().millis() - days * DAY);
        kept.max(self.group.removed).map(moment)
    }

    fn view(&self) -> Value {
        json!({
            "logGroupName": self.name, "creationTime": self.created, "retentionInDays": self.group.retention,
            "metricFilterCount": 0, "arn": format!("{}:*", arn(&self.name)), "logGroupArn": arn(&self.name),
            "storedBytes": self.bytes, "logGroupClass": self.class(),
        })
    }

    fn class(&self) -> &str {
        self.group.class.as_deref().unwrap_or("STANDARD")
    }
}

/// Of a function's group, too, as long as nothing is written in it: tools make it after the function as well as before.
pub(super) async fn create(api: &Api, input: Create) -> Answer {
    if input.kms_key_id.is_some() {
        return Err(invalid("kmsKeyId cannot be had here: there is no KMS, and lines are not encrypted"));
    }
    if input.deletion_protection_enabled {
        return Err(invalid("deletionProtectionEnabled cannot be had here: whoever may remove a group, removes it"));
    }
    let mut given = Tags::new();
    tags::add(&mut given, input.tags, tags::MOST, "TooManyTagsException")?;
    if look(api, &input.log_group_name).await?.is_some_and(|found| found.written) {
        return Err(exists("group"));
    }
    let now = Timestamp::now().millis();
    kept::change(api, &input.log_group_name, |old: Option<Group>| match old {
        Some(Group { created: Some(_), .. }) => Err(exists("group")),
        old => {
            let old = old.unwrap_or_default();
            let class = input.log_group_class.clone();
            Ok(Some(Group { created: Some(now), tags: given.clone(), class, ..old }))
        }
    })
    .await?;
    Ok(Reply::Nothing)
}

pub(super) async fn delete(api: &Api, input: Named) -> Answer {
    let found = find(api, &input.log_group_name).await?;
    let now = Timestamp::now().millis();
    kept::change(api, &found.name, |_: Option<Group>| {
        // A function's lines stay, for `hearth logs`: here they are gone.
        Ok(found.function.is_some().then(|| Group { removed: Some(now), ..Group::default() }))
    })
    .await?;
    super::streams::forget(api, &found.name).await?;
    Ok(Reply::Nothing)
}

pub(super) async fn put_retention(api: &Api, input: Retention) -> Answer {
    const DAYS: [i64; 22] =
        [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];
    if !DAYS.contains(&input.retention_in_days) {
        let days: Vec<_> = DAYS.iter().map(i64::to_string).collect();
        return Err(invalid(format!(
            "retentionInDays: expected one of {}, got {}",
            days.join(", "),
            input.retention_in_days
        )));
    }
    set_retention(api, &input.log_group_name, Some(input.retention_in_days)).await
}

pub(super) async fn delete_retention(api: &Api, input: Named) -> Answer {
    set_retention(api, &input.log_group_name, None).await
}

async fn set_retention(api: &Api, name: &str, days: Option<i64>) -> Answer {
    let set = |group: &mut Group| {
        group.retention = days;
        Ok(())
    };
    change(api, name, set).await
}

pub(super) async fn tags(api: &Api, input: Tagged) -> Answer {
    let found = find(api, &from_arn(&input.resource_arn)).await?;
    Ok(Reply::Value(json!({"tags": found.group.tags})))
}

pub(super) async fn tag(api: &Api, input: Tagged) -> Answer {
    let add = |group: &mut Group| tags::add(&mut group.tags, input.tags.clone(), tags::MOST, "TooManyTagsException");
    change(api, &from_arn(&input.resource_arn), add).await
}

pub(super) async fn untag(api: &Api, input: Tagged) -> Answer {
    let remove = |group: &mut Group| {
        group.tags.retain(|key, _| !input.tag_keys.contains(key));
        Ok(())
    };
    change(api, &from_arn(&input.resource_arn), remove).await
}

/// Says something more of a group that is there.
async fn change(api: &Api, name: &str, mut change: impl FnMut(&mut Group) -> Result<(), AwsError>) -> Answer {
    find(api, name).await?;
    kept::change(api, name, |old: Option<Group>| {
        let mut group = old.unwrap_or_default();
        change(&mut group)?;
        Ok(Some(group))
    })
    .await?;
    Ok(Reply::Nothing)
}

pub(super) async fn describe(api: &Api, input: Describe) -> Answer {
    if input.log_group_name_prefix.is_some() && input.log_group_name_pattern.is_some() {
        return Err(invalid("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters."));
    }
    let wanted: Option<Vec<String>> =
        input.log_group_identifiers.map(|all| all.iter().map(|one| from_arn(one)).collect());
    let pattern = input.log_group_name_pattern.map(|pattern| pattern.to_lowercase());
    let fits = |name: &str| {
        input.log_group_name_prefix.as_ref().is_none_or(|prefix| name.starts_with(prefix.as_str()))
            && pattern.as_ref().is_none_or(|pattern| name.to_lowercase().contains(pattern.as_str()))
            && wanted.as_ref().is_none_or(|wanted| wanted.iter().any(|one| one == name))
    };
    let mut entries = Vec::new();
    let of_class = |found: &Found| input.log_group_class.as_deref().is_none_or(|class| class == found.class());
    for found in all(api).await?.into_values().filter(|found| fits(&found.name) && of_class(found)) {
        entries.push((found.name.clone(), found.view()));
    }
    let (groups, next) = page(entries, input.next_token.as_deref(), input.limit);
    Ok(Reply::Value(json!({"logGroups": groups, "nextToken": next})))
}

/// The group of that name.
pub(super) async fn find(api: &Api, name: &str) -> Result<Found, AwsError> {
    look(api, name).await?.ok_or_else(|| missing("group"))
}

/// The group of that name, if there is one.
async fn look(api: &Api, name: &str) -> Result<Option<Found>, AwsError> {
    let group = kept::get::<Group>(api, name).await?;
    let function = name.strip_prefix(PREFIX).and_then(|name| name.parse::<FunctionName>().ok());
    let mut made = None;
    let mut bytes = 0;
    if let Some(function) = &function {
        match api.functions.get(function).await {
            Ok(function) => made = Some(function.modified.millis()),
            Err(StoreError::NoSuchFunction(_)) => {}
            Err(error) => return Err(lambda::store(error)),
        }
        let logged = api.log_events.logged_functions().await.map_err(lambda::store)?;
        bytes = logged.into_iter().find(|(name, _)| name == function).map_or(0, |(_, bytes)| bytes);
    }
    put_together(api, name.to_owned(), function, group, made, bytes).await
}

/// All groups by name.
async fn all(api: &Api) -> Result<BTreeMap<String, Found>, AwsError> {
    let mut groups: BTreeMap<_, _> = kept::list::<Group>(api, "", "", usize::MAX).await?.into_iter().collect();
    let mut sizes: BTreeMap<FunctionName, (Option<i64>, u64)> = BTreeMap::new();
    for (name, bytes) in api.log_events.logged_functions().await.map_err(lambda::store)? {
        sizes.entry(name).or_default().1 = bytes;
    }
    for function in api.functions.list().await.map_err(lambda::store)? {
        sizes.entry(function.spec.name).or_default().0 = Some(function.modified.millis());
    }
    let mut found = BTreeMap::new();
    for (function, (made, bytes)) in sizes {
        let name = format!("{PREFIX}{function}");
        let group = groups.remove(&name);
        if let Some(one) = put_together(api, name.clone(), Some(function), group, made, bytes).await? {
            found.insert(name, one);
        }
    }
    for (name, group) in groups {
        let function = name.strip_prefix(PREFIX).and_then(|name| name.parse().ok());
        if let Some(one) = put_together(api, name.clone(), function, Some(group), None, 0).await? {
            found.insert(name, one);
        }
    }
    Ok(found)
}

/// None if there is no such group. `made`: when the function was, if it is there.
async fn put_together(
    api: &Api,
    name: String,
    function: Option<FunctionName>,
    group: Option<Group>,
    made: Option<i64>,
    bytes: u64,
) -> Result<Option<Found>, AwsError> {
    let group = group.unwrap_or_default();
    let written = match (&function, group.removed) {
        _ if bytes == 0 => false,
        (None, _) => false,
        (Some(_), None) => true,
        // Removed; a line that was written since has made it anew.
        (Some(function), Some(removed)) => {
            let query = store::log_events::EventsQuery {
                function: function.clone(),
                instance: None,
                from: Some(moment(removed)),
                until: None,
                after: Some(0),
                before: None,
                limit: 1,
            };
            !api.log_events.events(query).await.map_err(lambda::store)?.events.is_empty()
        }
    };
    // A function's is there from the function on, until it is removed.
    let there = written || group.created.is_some() || (made.is_some() && group.removed.is_none());
    let created = group.created.or(group.removed).or(made);
    Ok(there.then_some(Found { name, function, group, created, bytes, written }))
}
