//! Event source mappings: a function's queue sources, as AWS Lambda's API has them. There is one truth, the function's
//! configuration: what is made here stands there, and what `hearth deploy` writes there is shown here.
//!
//! Only Hearth's own queues are sources here; a source of another kind is refused, and so is what belongs to one.

use std::collections::BTreeMap;
use std::time::Duration;

use aws::AwsError;
use aws::sqs_event::arn as queue_arn;
use model::{
    EventPattern, Function, FunctionName, Qualifier, QueueName, QueueSource, Source, SourceState, SourceStatus,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use store::StoreError;
use store::versions::How;

use super::configuration::uuid;
use super::functions::changed;
use super::lookup::{self, arn, find, latest, page};
use super::settings::says_anything;
use super::{Answer, store};
use crate::actor::Actor;
use crate::functions::change;
use crate::write::FunctionWrite;
use crate::{Api, PLACE};

/// Writes of ours, where others write the same function.
const ATTEMPTS: u32 = 5;
/// How long a change may take until the source is as it says.
const SOON: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(20);
/// As many as AWS allows.
const MOST_TAGS: usize = 50;

/// What both Create and Update say.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Settings {
    enabled: Option<bool>,
    batch_size: Option<u32>,
    maximum_batching_window_in_seconds: Option<u64>,
    function_response_types: Option<Vec<String>>,
    filter_criteria: Option<Criteria>,
    scaling_config: Option<Scaling>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Criteria {
    filters: Option<Vec<Filter>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Filter {
    pattern: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Scaling {
    maximum_concurrency: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Create {
    function_name: String,
    event_source_arn: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(flatten)]
    settings: Settings,
    /// What sources of other kinds have.
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Update {
    #[serde(rename = "UUID")]
    uuid: String,
    function_name: Option<String>,
    #[serde(flatten)]
    settings: Settings,
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
pub struct Named {
    #[serde(rename = "UUID")]
    uuid: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct List {
    event_source_arn: Option<String>,
    function_name: Option<String>,
    marker: Option<String>,
    max_items: Option<usize>,
}

pub async fn create(api: &Api, asked: Create, actor: Actor) -> Answer {
    require_for_queues(&asked.others)?;
    let queue = queue_of(asked.event_source_arn.as_deref())?;
    // That function and alias are there is asked first, as on AWS.
    find(api, &asked.function_name, None).await?;
    let (name, qualifier) = lookup::reference(&asked.function_name, None)?;
    match api.messages.message_queue(queue.clone(), model::Timestamp::now()).await {
        Ok(_) => {}
        Err(StoreError::NoSuchQueue(_)) => {
            return Err(AwsError::invalid_parameter(
                "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. SQS Error \
                 Message: The specified queue does not exist.",
            ));
        }
        Err(error) => return Err(store(error)),
    }
    let mut wanted =
        QueueSource { qualifier: qualifier.filter(|one| one.to_string() != model::LATEST), ..QueueSource::new(queue) };
    wanted.partial = false;
    wanted.enabled = asked.settings.enabled.unwrap_or(true);
    require_tags(&asked.tags)?;
    wanted.tags = asked.tags;
    asked.settings.apply(&mut wanted)?;
    let add = |sources: &mut Vec<Source>| {
        if sources.iter().any(|one| matches!(one, Source::Queue(queue) if queue.name == wanted.name)) {
            let message = format!(
                "The event source arn (\" {} \") and function (\" {name} \") provided mapping already exists. Please update \
                 or delete the existing mapping with UUID {}",
                queue_arn(&wanted.name, *PLACE),
                id(&name, &wanted.name)
            );
            return Err(AwsError::new(http::StatusCode::CONFLICT, "ResourceConflictException", message));
        }
        sources.push(Source::Queue(wanted.clone()));
        Ok(())
    };
    let function = write(api, &name, add, &actor).await?;
    if wanted.enabled {
        // One of the name may have been here before, and paused; none is fine.
        api.sources.pause(name.clone(), wanted.name.to_string(), false).await.map_err(store)?;
    }
    soon(api, &name, &wanted.name, wanted.enabled).await;
    Ok(Some(shown(api, &function, &wanted)))
}

pub async fn get(api: &Api, asked: Named) -> Answer {
    let (function, source) = named(api, &asked.uuid).await?;
    Ok(Some(shown(api, &function, &source)))
}

pub async fn list(api: &Api, asked: List) -> Answer {
    let wanted = match &asked.function_name {
        None => None,
        Some(text) => {
            let (name, qualifier) = lookup::reference(text, None)?;
            latest(api, &name).await?;
            Some((name, qualifier.filter(|one| one.to_string() != model::LATEST)))
        }
    };
    let functions = api.functions.list().await.map_err(store)?;
    let mut all = Vec::new();
    for function in &functions {
        for source in queues(function) {
            let of_function = wanted.as_ref().is_none_or(|(name, qualifier)| {
                *name == function.spec.name && (qualifier.is_none() || *qualifier == source.qualifier)
            });
            let of_source = asked.event_source_arn.as_ref().is_none_or(|arn| *arn == queue_arn(&source.name, *PLACE));
            if of_function && of_source {
                all.push(shown(api, function, source));
            }
        }
    }
    let (mappings, next) = page(all, asked.marker.as_deref(), asked.max_items)?;
    Ok(Some(json!({"EventSourceMappings": mappings, "NextMarker": next})))
}

pub async fn update(api: &Api, asked: Update, actor: Actor) -> Answer {
    require_for_queues(&asked.others)?;
    let (function, before) = named(api, &asked.uuid).await?;
    let name = function.spec.name;
    let qualifier = match &asked.function_name {
        None => before.qualifier.clone(),
        Some(text) => {
            find(api, text, None).await?;
            let (other, qualifier) = lookup::reference(text, None)?;
            if other != name {
                return Err(AwsError::invalid_parameter(format!(
                    "The mapping is of function {name}, whose configuration it stands in, and cannot go to {other}: delete \
                     it and make another one"
                )));
            }
            qualifier.filter(|one| one.to_string() != model::LATEST)
        }
    };
    let enabled = asked.settings.enabled;
    let mut wanted = QueueSource { qualifier, ..before.clone() };
    asked.settings.apply(&mut wanted)?;
    // Switching off is a pause, which replaces no instance; but what the configuration switched off must be on in it.
    wanted.enabled |= enabled == Some(true);
    let function = match wanted == before {
        true => latest(api, &name).await?,
        false => write(api, &name, |sources| replace(sources, &asked.uuid, &name, &wanted), &actor).await?,
    };
    if let Some(enabled) = enabled {
        let until = tokio::time::Instant::now() + SOON;
        while !api.sources.pause(name.clone(), wanted.name.to_string(), !enabled).await.map_err(store)? {
            if tokio::time::Instant::now() >= until {
                let message = "The mapping is only just made, and cannot be switched yet: try again";
                return Err(AwsError::new(http::StatusCode::BAD_REQUEST, "ResourceInUseException", message));
            }
            tokio::time::sleep(LOOK).await;
        }
        soon(api, &name, &wanted.name, enabled).await;
    }
    Ok(Some(shown(api, &function, &wanted)))
}

pub async fn delete(api: &Api, asked: Named, actor: Actor) -> Answer {
    let (function, source) = named(api, &asked.uuid).await?;
    let name = &function.spec.name;
    let remove = |sources: &mut Vec<Source>| {
        sources.retain(|one| !matches!(one, Source::Queue(queue) if queue.name == source.name));
        Ok(())
    };
    let mut gone = shown(api, &function, &source);
    write(api, name, remove, &actor).await?;
    gone["State"] = "Deleting".into();
    Ok(Some(gone))
}

/// The mapping that an ARN names; none if it is the ARN of something else.
pub fn of_arn(resource: &str) -> Option<&str> {
    resource.split_once(":event-source-mapping:").map(|(_, uuid)| uuid)
}

pub async fn tags(api: &Api, uuid: &str) -> Answer {
    Ok(Some(json!({"Tags": named(api, uuid).await?.1.tags})))
}

pub async fn tag(api: &Api, uuid: &str, what: impl FnOnce(&mut BTreeMap<String, String>), actor: Actor) -> Answer {
    let (function, before) = named(api, uuid).await?;
    let mut wanted = before.clone();
    what(&mut wanted.tags);
    require_tags(&wanted.tags)?;
    if wanted != before {
        let name = &function.spec.name;
        write(api, name, |sources| replace(sources, uuid, name, &wanted), &actor).await?;
    }
    Ok(None)
}

/// Changes a function's sources, whatever else of it changes meanwhile.
async fn write(
    api: &Api,
    name: &FunctionName,
    edit: impl Fn(&mut Vec<Source>) -> Result<(), AwsError>,
    actor: &Actor,
) -> Result<Function, AwsError> {
    for attempt in 1.. {
        let function = latest(api, name).await?;
        let mut sources = function.spec.sources;
        edit(&mut sources)?;
        let write = FunctionWrite { sources: Some(sources), ..FunctionWrite::default() };
        let expect = Some(function.revision.0);
        match change(api, name, expect, write, How::Deploy, actor.clone()).await {
            Err(error) if error.status() == http::StatusCode::PRECONDITION_FAILED && attempt < ATTEMPTS => {}
            other => return other.map_err(changed),
        }
    }
    unreachable!("the loop returns at its last attempt")
}

fn replace(sources: &mut [Source], uuid: &str, name: &FunctionName, wanted: &QueueSource) -> Result<(), AwsError> {
    let mut queues = sources.iter_mut().filter_map(|source| match source {
        Source::Queue(queue) if queue.name == wanted.name => Some(queue),
        _ => None,
    });
    let place = queues.next().ok_or_else(|| absent(uuid, name))?;
    place.clone_from(wanted);
    Ok(())
}

fn queues(function: &Function) -> impl Iterator<Item = &QueueSource> {
    function.spec.sources.iter().filter_map(|source| match source {
        Source::Queue(queue) => Some(queue),
        _ => None,
    })
}

/// A function has one mapping of a queue, so both name it.
fn id(function: &FunctionName, queue: &QueueName) -> String {
    uuid(&format!("event source mapping\0{function}\0{queue}"))
}

async fn named(api: &Api, uuid: &str) -> Result<(Function, QueueSource), AwsError> {
    for function in api.functions.list().await.map_err(store)? {
        let found = queues(&function).find(|source| id(&function.spec.name, &source.name) == uuid).cloned();
        if let Some(source) = found {
            return Ok((function, source));
        }
    }
    Err(AwsError::not_found("The resource you requested does not exist."))
}

fn absent(uuid: &str, name: &FunctionName) -> AwsError {
    AwsError::not_found(format!("The event source mapping {uuid} of function {name} was removed meanwhile"))
}

/// The queue of an ARN.
fn queue_of(arn: Option<&str>) -> Result<QueueName, AwsError> {
    let Some(arn) = arn else {
        return Err(AwsError::invalid_parameter(
            "Unrecognized event source, must be a queue of Hearth's: EventSourceArn is missing",
        ));
    };
    let parts: Vec<&str> = arn.split(':').collect();
    match parts[..] {
        ["arn", _, "sqs", _, _, queue] => {
            queue.parse().map_err(|error: model::InvalidId| AwsError::invalid_parameter(error.to_string()))
        }
        _ => Err(AwsError::invalid_parameter(format!(
            "Unrecognized event source, must be a queue of Hearth's (arn:aws:sqs:{}:{}:NAME). Unsupported source arn {arn}",
            PLACE.0, PLACE.1
        ))),
    }
}

/// What sources of other kinds have is refused where it says anything.
fn require_for_queues(others: &Map<String, Value>) -> Result<(), AwsError> {
    match others.iter().find(|(_, value)| says_anything(value)) {
        None => Ok(()),
        Some((name, _)) if matches!(name.as_str(), "KMSKeyArn" | "MetricsConfig" | "LoggingConfig") => {
            Err(AwsError::invalid_parameter(format!("{name} is not supported here: expected none")))
        }
        Some((name, _)) => Err(AwsError::invalid_parameter(format!(
            "Unsupported {name} parameter for given event source mapping type."
        ))),
    }
}

fn require_tags(tags: &BTreeMap<String, String>) -> Result<(), AwsError> {
    if tags.len() <= MOST_TAGS {
        return Ok(());
    }
    Err(AwsError::invalid_parameter(format!("a mapping has at most {MOST_TAGS} tags, got {}", tags.len())))
}

/// Waits a moment for the source to run, or not to.
async fn soon(api: &Api, function: &FunctionName, queue: &QueueName, enabled: bool) {
    let until = tokio::time::Instant::now() + SOON;
    loop {
        let state = status(api, function, queue).map(|status| status.state);
        let settled = match state {
            None | Some(SourceState::Starting) => false,
            Some(SourceState::Paused) => !enabled,
            Some(SourceState::Running | SourceState::Failing) => enabled,
        };
        if settled || tokio::time::Instant::now() >= until {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn status(api: &Api, function: &FunctionName, queue: &QueueName) -> Option<SourceStatus> {
    api.sources.statuses().into_iter().find(|one| one.function == *function && one.name == queue.as_str())
}

fn shown(api: &Api, function: &Function, source: &QueueSource) -> Value {
    let (name, id) = (&function.spec.name, id(&function.spec.name, &source.name));
    let qualifier = source.qualifier.as_ref().map(|one: &Qualifier| format!(":{one}")).unwrap_or_default();
    let status = status(api, name, &source.name);
    let state = match status.as_ref().map(|status| status.state) {
        _ if !source.enabled => "Disabled",
        None | Some(SourceState::Starting) => "Enabling",
        Some(SourceState::Paused) => "Disabled",
        Some(SourceState::Running | SourceState::Failing) => "Enabled",
    };
    let result = match status {
        Some(SourceStatus { last_error: Some((at, why)), last_delivered, .. })
            if last_delivered.is_none_or(|last| last < at) =>
        {
            format!("PROBLEM: {why}")
        }
        Some(SourceStatus { last_delivered: Some(_), .. }) => "OK".to_owned(),
        _ => "No records processed".to_owned(),
    };
    let mut shown = json!({
        "UUID": id,
        "EventSourceMappingArn": format!("arn:aws:lambda:{}:{}:event-source-mapping:{id}", PLACE.0, PLACE.1),
        "EventSourceArn": queue_arn(&source.name, *PLACE),
        "FunctionArn": format!("{}{qualifier}", arn(name)),
        "BatchSize": source.batch,
        "MaximumBatchingWindowInSeconds": source.window.as_secs(),
        "FunctionResponseTypes": if source.partial { vec!["ReportBatchItemFailures"] } else { vec![] },
        "LastModified": function.modified.0 as f64 / 1e6,
        "LastProcessingResult": result,
        "State": state,
        "StateTransitionReason": "User action",
    });
    if !source.filters.is_empty() {
        let filters: Vec<_> = source.filters.iter().map(|one| json!({"Pattern": one.text()})).collect();
        shown["FilterCriteria"] = json!({"Filters": filters});
    }
    if let Some(most) = source.concurrency {
        shown["ScalingConfig"] = json!({"MaximumConcurrency": most});
    }
    shown
}

// === impl Settings ===

impl Settings {
    /// Changes what is said; whether it is enabled is its caller's.
    fn apply(self, source: &mut QueueSource) -> Result<(), AwsError> {
        if let Some(size) = self.batch_size {
            source.batch = size;
        }
        if let Some(window) = self.maximum_batching_window_in_seconds {
            source.window = Duration::from_secs(window);
        }
        if let Some(types) = self.function_response_types {
            source.partial = types.iter().any(|one| one == "ReportBatchItemFailures");
        }
        if let Some(scaling) = self.scaling_config {
            source.concurrency = scaling.maximum_concurrency;
        }
        if let Some(criteria) = self.filter_criteria {
            let patterns = criteria.filters.unwrap_or_default().into_iter().filter_map(|filter| filter.pattern);
            let read = |text: String| {
                EventPattern::parse(&text)
                    .map_err(|why| AwsError::invalid_parameter(format!("Invalid filter pattern definition. {why}")))
            };
            source.filters = patterns.map(read).collect::<Result<_, _>>()?;
        }
        Ok(())
    }
}
