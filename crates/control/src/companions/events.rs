//! EventBridge's rules: those with a schedule, whose targets are functions. There are no event patterns, as there are no
//! events of others, and the one bus is `default`.

use std::collections::BTreeMap;

use aws::AwsError;
use aws::scheduled;
use http::StatusCode;
use model::{Overlap, Schedule};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::companions::{OwnSchedule, SCHEDULES};

use super::kept::{self, Kept};
use super::tags::{self, Tags};
use super::{Answer, Caller, Reply, read, target, unknown};
use crate::{Api, PLACE};

const BUS: &str = "default";
/// Targets of one rule at most.
const TARGETS: usize = 5;
/// What too many of something are called.
const TOO_MANY: &str = "LimitExceededException";
/// Entries of one answer at most.
const PAGE: usize = 100;

/// A rule, and what the ticker reads of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Rule {
    schedules: Vec<OwnSchedule>,
    given: PutRule,
    /// By their ids.
    targets: BTreeMap<String, Target>,
    #[serde(default)]
    tags: Tags,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRule {
    name: String,
    schedule_expression: Option<String>,
    event_pattern: Option<String>,
    state: Option<String>,
    description: Option<String>,
    role_arn: Option<String>,
    event_bus_name: Option<String>,
    /// Taken out of what is kept: the rule has them.
    #[serde(default, skip_serializing)]
    tags: Vec<Tag>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    value: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tagged {
    #[serde(rename = "ResourceARN")]
    resource_arn: String,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    tag_keys: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Target {
    id: String,
    arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    role_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<String>,
    /// All others, which are not supported here.
    #[serde(flatten)]
    others: serde_json::Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    name: String,
    event_bus_name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OfRule {
    rule: String,
    event_bus_name: Option<String>,
    #[serde(default)]
    targets: Vec<Target>,
    #[serde(default)]
    ids: Vec<String>,
    next_token: Option<String>,
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct List {
    name_prefix: Option<String>,
    target_arn: Option<String>,
    event_bus_name: Option<String>,
    next_token: Option<String>,
    limit: Option<usize>,
}

impl Kept for Rule {
    const KIND: &'static str = SCHEDULES;
}

pub(super) async fn run(api: &Api, operation: &str, input: Value, _: Caller) -> Answer {
    match operation {
        "PutRule" => put(api, read(input)?).await,
        "DescribeRule" => describe(api, read(input)?).await,
        "ListRules" => list(api, read(input)?).await,
        "DeleteRule" => delete(api, read(input)?).await,
        "EnableRule" => set_state(api, read(input)?, "ENABLED").await,
        "DisableRule" => set_state(api, read(input)?, "DISABLED").await,
        "PutTargets" => put_targets(api, read(input)?).await,
        "ListTargetsByRule" => targets(api, read(input)?).await,
        "RemoveTargets" => remove_targets(api, read(input)?).await,
        "ListRuleNamesByTarget" => by_target(api, read(input)?).await,
        "ListTagsForResource" => list_tags(api, read(input)?).await,
        "TagResource" => tag(api, read(input)?).await,
        "UntagResource" => untag(api, read(input)?).await,
        _ => Err(unknown(operation)),
    }
}

// === impl Rule ===

impl Rule {
    /// Says anew what the ticker goes by.
    fn plan(mut self) -> Result<Self, AwsError> {
        let mut schedules = Vec::new();
        for target in self.targets.values() {
            let (function, qualifier) = target::function(&target.arn)?;
            let name = format!("{}{}:{}", scheduled::RULE, self.given.name, target.id);
            let mut schedule = Schedule::new(&name, self.given.schedule_expression.as_deref().unwrap_or_default());
            // It calls whether or not the last call is done, as AWS's does.
            schedule.overlap = Overlap::Allow;
            schedule.qualifier = qualifier;
            schedule.payload = target::payload(target.input.as_deref())?;
            schedules.push(OwnSchedule { function, schedule, enabled: self.given.state() == "ENABLED" });
        }
        self.schedules = schedules;
        Ok(self)
    }

    fn view(&self) -> Value {
        let given = &self.given;
        let mut view = json!({
            "Name": given.name, "Arn": arn(&given.name), "ScheduleExpression": given.schedule_expression,
            "State": given.state(), "EventBusName": BUS,
        });
        for (name, value) in [("Description", &given.description), ("RoleArn", &given.role_arn)] {
            if let Some(value) = value {
                view[name] = value.as_str().into();
            }
        }
        view
    }
}

impl PutRule {
    fn state(&self) -> &str {
        self.state.as_deref().unwrap_or("ENABLED")
    }
}

async fn put(api: &Api, mut given: PutRule) -> Answer {
    known_bus(given.event_bus_name.as_deref())?;
    if given.event_pattern.as_deref().is_some_and(|pattern| !pattern.is_empty()) {
        return Err(AwsError::validation("EventPattern is not supported here: expected a ScheduleExpression"));
    }
    let Some(expression) = given.schedule_expression.as_deref().filter(|text| !text.is_empty()) else {
        return Err(AwsError::validation("Parameter(s) ScheduleExpression must be specified."));
    };
    let parsed = Schedule::new("x", expression).timetable();
    if parsed.is_err() || !["cron(", "rate("].iter().any(|kind| expression.starts_with(kind)) {
        let why = parsed.err().map(|error| format!(" {error}")).unwrap_or_default();
        return Err(AwsError::validation(format!("Parameter ScheduleExpression is not valid.{why}")));
    }
    if !matches!(given.state(), "ENABLED" | "DISABLED") {
        return Err(AwsError::validation(format!("State {}: expected ENABLED or DISABLED", given.state())));
    }
    let mut said = Tags::new();
    tags::add(&mut said, pairs(std::mem::take(&mut given.tags)), tags::MOST, TOO_MANY)?;
    kept::change(api, &key(&given.name), |old: Option<Rule>| {
        // Of a rule that is there, tags are changed by TagResource alone, as on AWS.
        let (targets, tags) = old.map_or_else(|| (BTreeMap::new(), said.clone()), |old| (old.targets, old.tags));
        Rule { schedules: vec![], given: given.clone(), targets, tags }.plan().map(Some)
    })
    .await?;
    Ok(Reply::Value(json!({"RuleArn": arn(&given.name)})))
}

async fn describe(api: &Api, input: Named) -> Answer {
    known_bus(input.event_bus_name.as_deref())?;
    let mut view = find(api, &input.name).await?.view();
    view["CreatedBy"] = PLACE.1.into();
    Ok(Reply::Value(view))
}

async fn list(api: &Api, input: List) -> Answer {
    known_bus(input.event_bus_name.as_deref())?;
    let rules = all(api, input.name_prefix.as_deref().unwrap_or_default()).await?;
    let entries = rules.into_iter().map(|rule| (rule.given.name.clone(), rule.view()));
    Ok(page("Rules", entries.collect(), input.next_token.as_deref(), input.limit))
}

async fn by_target(api: &Api, input: List) -> Answer {
    known_bus(input.event_bus_name.as_deref())?;
    let wanted = input.target_arn.unwrap_or_default();
    let rules = all(api, "").await?;
    let calls = |rule: &Rule| rule.targets.values().any(|target| target::same(&target.arn, &wanted));
    let names = rules.into_iter().filter(calls).map(|rule| (rule.given.name.clone(), Value::from(rule.given.name)));
    Ok(page("RuleNames", names.collect(), input.next_token.as_deref(), input.limit))
}

async fn delete(api: &Api, input: Named) -> Answer {
    known_bus(input.event_bus_name.as_deref())?;
    kept::change(api, &key(&input.name), |old: Option<Rule>| match old {
        Some(rule) if !rule.targets.is_empty() => {
            Err(AwsError::validation("Rule can't be deleted since it has targets."))
        }
        // One that is not there is as good as removed, as on AWS.
        _ => Ok(None),
    })
    .await?;
    Ok(Reply::Nothing)
}

async fn set_state(api: &Api, input: Named, state: &str) -> Answer {
    known_bus(input.event_bus_name.as_deref())?;
    change(api, &input.name, |rule| {
        rule.given.state = Some(state.to_owned());
        Ok(())
    })
    .await?;
    Ok(Reply::Nothing)
}

async fn put_targets(api: &Api, input: OfRule) -> Answer {
    known_bus(input.event_bus_name.as_deref())?;
    for target in &input.targets {
        target::function(&target.arn)?;
        target::payload(target.input.as_deref())?;
        if let Some(name) = target.others.keys().next() {
            return Err(AwsError::validation(format!("Targets.{name} is not supported here")));
        }
    }
    kept::change(api, &key(&input.rule), |old: Option<Rule>| {
        let mut rule = old.ok_or_else(|| missing(&input.rule))?;
        rule.targets.extend(input.targets.iter().map(|target| (target.id.clone(), target.clone())));
        if rule.targets.len() > TARGETS {
            let message = "The requested resource exceeds the maximum number allowed.";
            return Err(AwsError::new(StatusCode::BAD_REQUEST, TOO_MANY, message));
        }
        rule.plan().map(Some)
    })
    .await?;
    Ok(Reply::Value(json!({"FailedEntryCount": 0, "FailedEntries": []})))
}

async fn targets(api: &Api, input: OfRule) -> Answer {
    known_bus(input.event_bus_name.as_deref())?;
    let rule = find(api, &input.rule).await?;
    let mut entries = Vec::new();
    for (id, target) in rule.targets {
        let view = serde_json::to_value(target).map_err(|error| AwsError::serialization(error.to_string()))?;
        entries.push((id, view));
    }
    Ok(page("Targets", entries, input.next_token.as_deref(), input.limit))
}

async fn remove_targets(api: &Api, input: OfRule) -> Answer {
    known_bus(input.event_bus_name.as_deref())?;
    change(api, &input.rule, |rule| {
        rule.targets.retain(|id, _| !input.ids.contains(id));
        Ok(())
    })
    .await?;
    Ok(Reply::Value(json!({"FailedEntryCount": 0, "FailedEntries": []})))
}

async fn list_tags(api: &Api, input: Tagged) -> Answer {
    let rule = find(api, of_arn(&input.resource_arn)?).await?;
    let tags: Vec<Value> = rule.tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect();
    Ok(Reply::Value(json!({"Tags": tags})))
}

async fn tag(api: &Api, input: Tagged) -> Answer {
    let new = pairs(input.tags);
    let name = of_arn(&input.resource_arn)?;
    change(api, name, |rule| tags::add(&mut rule.tags, new.clone(), tags::MOST, TOO_MANY)).await?;
    Ok(Reply::Nothing)
}

async fn untag(api: &Api, input: Tagged) -> Answer {
    change(api, of_arn(&input.resource_arn)?, |rule| {
        rule.tags.retain(|key, _| !input.tag_keys.contains(key));
        Ok(())
    })
    .await?;
    Ok(Reply::Nothing)
}

fn pairs(tags: Vec<Tag>) -> Vec<(String, String)> {
    tags.into_iter().map(|tag| (tag.key, tag.value)).collect()
}

async fn change(
    api: &Api,
    name: &str,
    mut change: impl FnMut(&mut Rule) -> Result<(), AwsError>,
) -> Result<(), AwsError> {
    kept::change(api, &key(name), |old: Option<Rule>| {
        let mut rule = old.ok_or_else(|| missing(name))?;
        change(&mut rule)?;
        rule.plan().map(Some)
    })
    .await?;
    Ok(())
}

async fn find(api: &Api, name: &str) -> Result<Rule, AwsError> {
    kept::get(api, &key(name)).await?.ok_or_else(|| missing(name))
}

async fn all(api: &Api, prefix: &str) -> Result<Vec<Rule>, AwsError> {
    Ok(kept::list(api, &key(prefix), "", usize::MAX).await?.into_iter().map(|(_, rule)| rule).collect())
}

/// Some of the entries, which are in the order of their names, and the name of the last where there are more.
fn page(member: &str, mut entries: Vec<(String, Value)>, token: Option<&str>, limit: Option<usize>) -> Reply {
    if let Some(token) = token {
        entries.retain(|(name, _)| name.as_str() > token);
    }
    let limit = limit.unwrap_or(PAGE).clamp(1, PAGE);
    let more = entries.len() > limit;
    entries.truncate(limit);
    let next = if more { entries.last().map(|(name, _)| name.clone()) } else { None };
    let values: Vec<Value> = entries.into_iter().map(|(_, value)| value).collect();
    let mut answer = json!({member: values});
    if let Some(next) = next {
        answer["NextToken"] = next.into();
    }
    Reply::Value(answer)
}

/// By its name or its ARN.
fn known_bus(name: Option<&str>) -> Result<(), AwsError> {
    match name {
        None => Ok(()),
        Some(name) if name.rsplit('/').next() == Some(BUS) => Ok(()),
        Some(name) => {
            let message = format!("Event bus {name} does not exist: there is {BUS} only.");
            Err(AwsError::new(StatusCode::BAD_REQUEST, "ResourceNotFoundException", message))
        }
    }
}

fn missing(name: &str) -> AwsError {
    let message = format!("Rule {name} does not exist on EventBus {BUS}.");
    AwsError::new(StatusCode::BAD_REQUEST, "ResourceNotFoundException", message)
}

fn arn(name: &str) -> String {
    format!("arn:aws:events:{}:{}:rule/{name}", PLACE.0, PLACE.1)
}

/// The rule that an ARN names, on the bus or without it. Nothing else has tags here.
fn of_arn(arn: &str) -> Result<&str, AwsError> {
    let resource = arn.splitn(6, ':').nth(5).unwrap_or_default();
    let rule = resource.strip_prefix("rule/").ok_or_else(|| {
        let message = format!("{arn} is no rule's ARN: only rules have tags here");
        AwsError::new(StatusCode::BAD_REQUEST, "ResourceNotFoundException", message)
    })?;
    Ok(rule.strip_prefix(BUS).and_then(|rest| rest.strip_prefix('/')).unwrap_or(rule))
}

fn key(name: &str) -> String {
    format!("{}{name}", scheduled::RULE)
}
