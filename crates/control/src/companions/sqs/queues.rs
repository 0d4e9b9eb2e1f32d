//! Queues: made, listed, changed, tagged, emptied, removed.

use std::collections::BTreeMap;

use aws::AwsError;
use model::{QueueName, QueueRules, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use store::StoreError;
use store::messages::QueueInfo;

use super::{attributes, error, invalid, queue_of, store, unsupported, url as url_of};
use crate::Api;
use crate::lambda::refused;
use crate::message_queues::require_unused;

/// Of one listing: SQS's.
const PAGE: usize = 1000;
/// Tags of one queue: SQS's.
const MOST_TAGS: usize = 50;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Create {
    queue_name: String,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    #[serde(default, rename = "tags")]
    tags: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ByName {
    queue_name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Of {
    queue_url: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct List {
    queue_name_prefix: Option<String>,
    next_token: Option<String>,
    max_results: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Sources {
    queue_url: String,
    next_token: Option<String>,
    max_results: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Get {
    queue_url: String,
    #[serde(default)]
    attribute_names: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Set {
    queue_url: String,
    attributes: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tag {
    queue_url: String,
    tags: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Untag {
    queue_url: String,
    tag_keys: Vec<String>,
}

pub async fn create(api: &Api, endpoint: &str, asked: Create) -> Result<Value, AwsError> {
    let name = named(&asked.queue_name)?;
    let _turn = api.sqs.turn.lock().await;
    let answer = json!({"QueueUrl": url_of(endpoint, &name)});
    match api.messages.message_queue(name.clone(), Timestamp::now()).await {
        Ok(there) if attributes::same(&there.rules, &asked.attributes)? => return Ok(answer),
        Ok(_) => {
            let message = format!(
                "A queue already exists with the same name and a different value for one of the attributes {}",
                asked.attributes.keys().cloned().collect::<Vec<_>>().join(", ")
            );
            return Err(error("QueueNameExists", message));
        }
        Err(StoreError::NoSuchQueue(_)) => {}
        Err(error) => return Err(store(error)),
    }
    let mut rules = QueueRules::default();
    attributes::apply(&mut rules, &asked.attributes)?;
    rules.sqs.tags = asked.tags;
    put(api, name, rules).await?;
    Ok(answer)
}

pub async fn url(api: &Api, endpoint: &str, asked: ByName) -> Result<Value, AwsError> {
    let name = asked.queue_name.parse::<QueueName>().map_err(|_| {
        let shown: String = asked.queue_name.chars().take(80).collect();
        error("QueueDoesNotExist", format!("The specified queue does not exist: {shown} is no queue's name."))
    })?;
    info(api, name.clone()).await?;
    Ok(json!({"QueueUrl": url_of(endpoint, &name)}))
}

pub async fn list(api: &Api, endpoint: &str, asked: List) -> Result<Value, AwsError> {
    let prefix = asked.queue_name_prefix.unwrap_or_default();
    let all = api.messages.message_queues(Timestamp::now()).await.map_err(store)?;
    let names = all.into_iter().map(|info| info.name).filter(|name| name.as_str().starts_with(&prefix));
    let (urls, next) = page(names, endpoint, asked.next_token, asked.max_results)?;
    let mut answer = json!({"QueueUrls": urls});
    if let Some(next) = next {
        answer["NextToken"] = next.into();
    }
    Ok(answer)
}

pub async fn dead_letter_sources(api: &Api, endpoint: &str, asked: Sources) -> Result<Value, AwsError> {
    let queue = queue_of(&asked.queue_url)?;
    info(api, queue.clone()).await?;
    let all = sources_of(api, &queue).await?.into_iter();
    let (urls, next) = page(all, endpoint, asked.next_token, asked.max_results)?;
    let mut answer = json!({"queueUrls": urls});
    if let Some(next) = next {
        answer["NextToken"] = next.into();
    }
    Ok(answer)
}

/// The queues that have this one as their dead-letter queue.
pub async fn sources_of(api: &Api, queue: &QueueName) -> Result<Vec<QueueName>, AwsError> {
    let all = api.messages.message_queues(Timestamp::now()).await.map_err(store)?;
    let gives_up = |info: &QueueInfo| info.rules.dead_letter.as_ref() == Some(queue);
    Ok(all.into_iter().filter(gives_up).map(|info| info.name).collect())
}

pub async fn delete(api: &Api, asked: Of) -> Result<(), AwsError> {
    let name = queue_of(&asked.queue_url)?;
    require_unused(api, &name).await.map_err(|error| unsupported(refused(error).message))?;
    api.messages.remove_queue(name).await.map_err(store)
}

pub async fn purge(api: &Api, asked: Of) -> Result<(), AwsError> {
    api.messages.purge_queue(queue_of(&asked.queue_url)?).await.map_err(store)?;
    Ok(())
}

pub async fn attributes(api: &Api, asked: Get) -> Result<Value, AwsError> {
    let info = info(api, queue_of(&asked.queue_url)?).await?;
    if asked.attribute_names.is_empty() {
        return Ok(json!({}));
    }
    let shown = attributes::shown(&info, &asked.attribute_names)?;
    Ok(if shown.as_object().is_some_and(|all| all.is_empty()) { json!({}) } else { json!({"Attributes": shown}) })
}

pub async fn set_attributes(api: &Api, asked: Set) -> Result<(), AwsError> {
    change(api, &asked.queue_url, |rules| attributes::apply(rules, &asked.attributes)).await
}

pub async fn tags(api: &Api, asked: Of) -> Result<Value, AwsError> {
    let tags = info(api, queue_of(&asked.queue_url)?).await?.rules.sqs.tags;
    Ok(if tags.is_empty() { json!({}) } else { json!({"Tags": tags}) })
}

pub async fn tag(api: &Api, asked: Tag) -> Result<(), AwsError> {
    change(api, &asked.queue_url, |rules| {
        rules.sqs.tags.extend(asked.tags);
        Ok(())
    })
    .await
}

pub async fn untag(api: &Api, asked: Untag) -> Result<(), AwsError> {
    change(api, &asked.queue_url, |rules| {
        rules.sqs.tags.retain(|name, _| !asked.tag_keys.contains(name));
        Ok(())
    })
    .await
}

async fn info(api: &Api, name: QueueName) -> Result<QueueInfo, AwsError> {
    api.messages.message_queue(name, Timestamp::now()).await.map_err(store)
}

async fn change(
    api: &Api,
    url: &str,
    what: impl FnOnce(&mut QueueRules) -> Result<(), AwsError>,
) -> Result<(), AwsError> {
    let name = queue_of(url)?;
    let _turn = api.sqs.turn.lock().await;
    let mut rules = info(api, name.clone()).await?.rules;
    what(&mut rules)?;
    put(api, name, rules).await
}

/// Writes a queue's rules, if they can be: its dead-letter queue is there, and lets it.
async fn put(api: &Api, name: QueueName, rules: QueueRules) -> Result<(), AwsError> {
    if rules.sqs.tags.len() > MOST_TAGS {
        let count = rules.sqs.tags.len().to_string();
        return Err(invalid("Tags", &count, &format!("A queue has at most {MOST_TAGS} tags.")));
    }
    if let Some(dead) = &rules.dead_letter {
        let refuse = |why: &str| invalid("RedrivePolicy", dead.as_str(), why);
        match api.messages.message_queue(dead.clone(), Timestamp::now()).await {
            Ok(there) if attributes::lets(&there.rules, &name) => {}
            Ok(_) => return Err(refuse("The dead-letter queue's RedriveAllowPolicy does not let this queue use it.")),
            Err(StoreError::NoSuchQueue(_)) => return Err(refuse("Dead letter target does not exist.")),
            Err(error) => return Err(store(error)),
        }
    }
    api.messages.put_queue(name, rules, Timestamp::now()).await.map_err(store)?;
    Ok(())
}

fn named(text: &str) -> Result<QueueName, AwsError> {
    if text.ends_with(".fifo") {
        return Err(invalid("QueueName", text, "FIFO queues are not supported here."));
    }
    text.parse().map_err(|_| {
        AwsError::invalid_parameter(
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
        )
    })
}

/// URLs of so many queues, by name, and the token of those that follow: the last one's name.
fn page(
    names: impl Iterator<Item = QueueName>,
    endpoint: &str,
    token: Option<String>,
    most: Option<usize>,
) -> Result<(Vec<String>, Option<String>), AwsError> {
    let count = most.unwrap_or(PAGE);
    if !(1..=PAGE).contains(&count) {
        return Err(invalid("MaxResults", &count.to_string(), "Must be between 1 and 1000, if provided."));
    }
    let token = token.unwrap_or_default();
    let mut names = names.filter(|name| name.as_str() > token.as_str()).peekable();
    let found: Vec<QueueName> = names.by_ref().take(count).collect();
    // Without a number asked for, SQS answers the first thousand and no token.
    let more = most.is_some() && names.peek().is_some();
    let next = found.last().filter(|_| more).map(|name| name.to_string());
    Ok((found.iter().map(|name| url_of(endpoint, name)).collect(), next))
}
