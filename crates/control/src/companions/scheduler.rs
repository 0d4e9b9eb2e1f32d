//! EventBridge Scheduler: schedules that call functions, kept in records that Hearth's ticker reads. There is the one group
//! `default`.

use aws::AwsError;
use aws::scheduled;
use http::StatusCode;
use model::{Overlap, Schedule, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::companions::{OwnSchedule, SCHEDULES};

use super::kept::{self, Kept};
use super::{Answer, Caller, Reply, read, target, unknown};
use crate::{Api, PLACE};

const GROUP: &str = "default";
/// Entries of one answer at most.
const PAGE: usize = 100;

/// A schedule as it was made, beside what the ticker reads of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kind {
    schedules: Vec<OwnSchedule>,
    given: Given,
    created: i64,
    modified: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Given {
    name: String,
    group_name: Option<String>,
    schedule_expression: String,
    schedule_expression_timezone: Option<String>,
    start_date: Option<f64>,
    end_date: Option<f64>,
    description: Option<String>,
    state: Option<String>,
    kms_key_arn: Option<String>,
    target: Target,
    flexible_time_window: Window,
    action_after_completion: Option<String>,
    client_token: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Target {
    arn: String,
    role_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_policy: Option<Value>,
    /// All others, which only other targets than functions have.
    #[serde(flatten)]
    others: serde_json::Map<String, Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Window {
    mode: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    maximum_window_in_minutes: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    name: String,
    group_name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct List {
    group_name: Option<String>,
    name_prefix: Option<String>,
    state: Option<String>,
    next_token: Option<String>,
    max_results: Option<usize>,
}

impl Kept for Kind {
    const KIND: &'static str = SCHEDULES;
}

pub(super) async fn run(api: &Api, operation: &str, input: Value, _: Caller) -> Answer {
    match operation {
        "CreateSchedule" => create(api, read(input)?).await,
        "UpdateSchedule" => update(api, read(input)?).await,
        "GetSchedule" => get(api, read(input)?).await,
        "DeleteSchedule" => delete(api, read(input)?).await,
        "ListSchedules" => list(api, read(input)?).await,
        "GetScheduleGroup" => group(&read::<Named>(input)?.name),
        "ListScheduleGroups" => Ok(Reply::Value(json!({"ScheduleGroups": [group_view()]}))),
        _ => Err(unknown(operation)),
    }
}

async fn create(api: &Api, given: Given) -> Answer {
    known_group(given.group_name.as_deref())?;
    let own = own(&given)?;
    let now = Timestamp::now().micros();
    kept::change(api, &key(&given.name), |old: Option<Kind>| match old {
        // The same request again, of a client that saw no answer.
        Some(old) if given.client_token.is_some() && old.given.client_token == given.client_token => Ok(Some(old)),
        Some(_) => {
            let message = format!("Schedule {} already exists.", given.name);
            Err(AwsError::new(StatusCode::CONFLICT, "ConflictException", message))
        }
        None => Ok(Some(Kind { schedules: vec![own.clone()], given: given.clone(), created: now, modified: now })),
    })
    .await?;
    Ok(Reply::Value(json!({"ScheduleArn": arn(&given.name)})))
}

/// All of it anew: what is not said has its default.
async fn update(api: &Api, given: Given) -> Answer {
    known_group(given.group_name.as_deref())?;
    let own = own(&given)?;
    let now = Timestamp::now().micros();
    kept::change(api, &key(&given.name), |old: Option<Kind>| {
        let old = old.ok_or_else(|| missing(&given.name))?;
        Ok(Some(Kind { schedules: vec![own.clone()], given: given.clone(), created: old.created, modified: now }))
    })
    .await?;
    Ok(Reply::Value(json!({"ScheduleArn": arn(&given.name)})))
}

async fn get(api: &Api, input: Named) -> Answer {
    known_group(input.group_name.as_deref())?;
    let found = kept::get::<Kind>(api, &key(&input.name)).await?.ok_or_else(|| missing(&input.name))?;
    let Kind { given, created, modified, .. } = found;
    let mut target = serde_json::to_value(&given.target).map_err(|error| AwsError::serialization(error.to_string()))?;
    if given.target.retry_policy.is_none() {
        target["RetryPolicy"] = retries();
    }
    Ok(Reply::Value(json!({
        "Arn": arn(&given.name), "Name": given.name, "GroupName": GROUP,
        "ScheduleExpression": given.schedule_expression,
        "ScheduleExpressionTimezone": given.schedule_expression_timezone.as_deref().unwrap_or("UTC"),
        "StartDate": given.start_date, "EndDate": given.end_date, "Description": given.description,
        "State": state(&given), "Target": target, "FlexibleTimeWindow": given.flexible_time_window,
        "ActionAfterCompletion": given.action_after_completion.as_deref().unwrap_or("NONE"),
        "CreationDate": target::seconds(Timestamp(created)), "LastModificationDate": target::seconds(Timestamp(modified)),
    })
    .without_nulls()))
}

async fn delete(api: &Api, input: Named) -> Answer {
    known_group(input.group_name.as_deref())?;
    kept::change(api, &key(&input.name), |old: Option<Kind>| match old {
        None => Err(missing(&input.name)),
        Some(_) => Ok(None),
    })
    .await?;
    Ok(Reply::Value(json!({})))
}

async fn list(api: &Api, input: List) -> Answer {
    known_group(input.group_name.as_deref())?;
    let most = input.max_results.unwrap_or(PAGE).clamp(1, PAGE);
    let prefix = key(input.name_prefix.as_deref().unwrap_or_default());
    let after = input.next_token.as_deref().map(key).unwrap_or_default();
    let all = kept::list::<Kind>(api, &prefix, &after, usize::MAX).await?;
    let fits = |kind: &Kind| input.state.as_deref().is_none_or(|wanted| wanted == state(&kind.given));
    let mut found: Vec<Kind> = all.into_iter().map(|(_, kind)| kind).filter(fits).collect();
    let more = found.len() > most;
    found.truncate(most);
    let next = if more { found.last().map(|kind| kind.given.name.clone()) } else { None };
    let view = |kind: &Kind| {
        json!({
            "Arn": arn(&kind.given.name), "Name": kind.given.name, "GroupName": GROUP, "State": state(&kind.given),
            "CreationDate": target::seconds(Timestamp(kind.created)),
            "LastModificationDate": target::seconds(Timestamp(kind.modified)), "Target": {"Arn": kind.given.target.arn},
        })
    };
    let schedules: Vec<Value> = found.iter().map(view).collect();
    Ok(Reply::Value(json!({"Schedules": schedules, "NextToken": next}).without_nulls()))
}

fn group(name: &str) -> Answer {
    known_group(Some(name))?;
    Ok(Reply::Value(group_view()))
}

fn group_view() -> Value {
    let arn = format!("arn:aws:scheduler:{}:{}:schedule-group/{GROUP}", PLACE.0, PLACE.1);
    json!({"Arn": arn, "Name": GROUP, "State": "ACTIVE"})
}

/// What the ticker goes by; what is asked for and not done here is refused.
fn own(given: &Given) -> Result<OwnSchedule, AwsError> {
    let refuse = |what: String| Err(AwsError::validation(what));
    let (function, qualifier) = target::function(&given.target.arn)?;
    if let Some(name) = given.target.others.keys().next() {
        return refuse(format!("Target.{name} is not supported here"));
    }
    if given.target.retry_policy.as_ref().is_some_and(|policy| *policy != retries()) {
        return refuse(
            "Target.RetryPolicy is not supported here: retries are the function's, PutFunctionEventInvokeConfig".into(),
        );
    }
    if given.action_after_completion.as_deref() == Some("DELETE") {
        return refuse("ActionAfterCompletion DELETE is not supported here: delete the schedule".into());
    }
    if given.kms_key_arn.is_some() {
        return refuse("KmsKeyArn is not supported here".into());
    }
    let expression = given.schedule_expression.trim();
    if !["cron(", "rate(", "at("].iter().any(|kind| expression.starts_with(kind)) {
        return refuse(format!("Invalid Schedule Expression {expression}."));
    }
    let mut schedule = Schedule::new(&format!("{}{}", scheduled::SCHEDULER, given.name), expression);
    schedule.timezone = given.schedule_expression_timezone.clone().unwrap_or_else(|| "UTC".into());
    // It calls whether or not the last call is done, as AWS's does.
    schedule.overlap = Overlap::Allow;
    schedule.start = given.start_date.map(moment);
    schedule.end = given.end_date.map(moment);
    schedule.qualifier = qualifier;
    schedule.payload = target::payload(given.target.input.as_deref())?;
    let window = &given.flexible_time_window;
    match (window.mode.as_str(), window.maximum_window_in_minutes) {
        ("FLEXIBLE", Some(minutes)) => schedule.jitter = std::time::Duration::from_secs(60 * minutes),
        ("FLEXIBLE", None) => return refuse("FlexibleTimeWindow FLEXIBLE needs MaximumWindowInMinutes".into()),
        (_, Some(_)) => return refuse("FlexibleTimeWindow OFF has no MaximumWindowInMinutes".into()),
        (_, None) => {}
    }
    schedule
        .timetable()
        .map_err(|error| AwsError::validation(format!("Invalid Schedule Expression {expression}. {error}")))?;
    Ok(OwnSchedule { function, schedule, enabled: state(given) == "ENABLED" })
}

fn state(given: &Given) -> &str {
    given.state.as_deref().unwrap_or("ENABLED")
}

/// AWS's defaults, which it answers with where nothing was said.
fn retries() -> Value {
    json!({"MaximumEventAgeInSeconds": 86_400, "MaximumRetryAttempts": 185})
}

fn moment(seconds: f64) -> String {
    Timestamp((seconds * 1e6) as i64).rfc3339()
}

fn known_group(name: Option<&str>) -> Result<(), AwsError> {
    match name {
        None | Some(GROUP) => Ok(()),
        Some(name) => Err(AwsError::new(
            StatusCode::NOT_FOUND,
            "ResourceNotFoundException",
            format!("Schedule group {name} does not exist: there is the group {GROUP} only."),
        )),
    }
}

fn missing(name: &str) -> AwsError {
    AwsError::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", format!("Schedule {name} does not exist."))
}

fn arn(name: &str) -> String {
    format!("arn:aws:scheduler:{}:{}:schedule/{GROUP}/{name}", PLACE.0, PLACE.1)
}

fn key(name: &str) -> String {
    format!("{}{name}", scheduled::SCHEDULER)
}

/// Answers leave out what there is none of.
trait WithoutNulls {
    fn without_nulls(self) -> Self;
}

impl WithoutNulls for Value {
    fn without_nulls(mut self) -> Self {
        if let Value::Object(members) = &mut self {
            members.retain(|_, value| !value.is_null());
        }
        self
    }
}
