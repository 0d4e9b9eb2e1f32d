//! Log streams: one for each instance that wrote lines, and those that were made by name, which stay empty.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use aws::AwsError;
use model::{FunctionName, InstanceId, LogLine, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::log_events::LogStream;

use super::groups::{self, Found};
use super::{arn, exists, invalid, missing, named, page};
use crate::Api;
use crate::companions::kept::{self, Kept};
use crate::companions::{Answer, Reply};
use crate::lambda;

/// Names that are remembered at most; then they are looked up anew.
const NAMES: usize = 20_000;

/// The names of instances' streams. To make one takes a look at all lines of the function.
#[derive(Default)]
pub(crate) struct Names(Mutex<HashMap<InstanceId, String>>);

/// A stream that was made by name.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Made {
    /// Milliseconds.
    created: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Create {
    log_group_name: String,
    log_stream_name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Describe {
    log_group_name: Option<String>,
    log_group_identifier: Option<String>,
    log_stream_name_prefix: Option<String>,
    order_by: Option<String>,
    #[serde(default)]
    descending: bool,
    next_token: Option<String>,
    limit: Option<usize>,
}

impl Kept for Made {
    const KIND: &'static str = "log-stream";
}

// === impl Names ===

impl Names {
    fn get(&self, instance: &InstanceId) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(instance).cloned()
    }

    fn keep(&self, streams: &[LogStream]) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() + streams.len() > NAMES {
            names.clear();
        }
        names.extend(streams.iter().take(NAMES).map(|stream| (stream.instance.clone(), name(stream))));
    }
}

/// As the function is told it in `context.log_stream_name`.
pub(super) fn name(stream: &LogStream) -> String {
    stream.instance.log_stream(stream.first, &stream.version.to_string())
}

/// The instance whose stream has that name; only the end of it matters.
pub(super) fn instance(name: &str) -> Option<InstanceId> {
    let id = name.rsplit_once(']').map(|(_, id)| id)?;
    let instance: InstanceId = id.get(..16)?.parse().ok()?;
    let mirrored: String = instance.as_str().chars().rev().collect();
    (id[16..] == mirrored).then_some(instance)
}

/// Whose streams lines belong to: a name for each.
pub(super) async fn names(
    api: &Api,
    function: &FunctionName,
    lines: &[(u64, LogLine)],
) -> Result<Vec<String>, AwsError> {
    let unknown = |one: &(u64, LogLine)| api.log_names.get(&one.1.instance).is_none();
    if lines.iter().any(unknown) {
        let streams = api.log_events.streams(function).await.map_err(lambda::store)?;
        api.log_names.keep(&streams);
    }
    let name = |(_, line): &(u64, LogLine)| {
        // Retention was quicker than we: the line's own day is the best that is known.
        api.log_names.get(&line.instance).unwrap_or_else(|| line.instance.log_stream(line.time, "$LATEST"))
    };
    Ok(lines.iter().map(name).collect())
}

pub(super) async fn create(api: &Api, input: Create) -> Answer {
    let group = groups::find(api, &input.log_group_name).await?;
    let now = Timestamp::now().millis();
    kept::change(api, &key(&group.name, &input.log_stream_name), |old: Option<Made>| match old {
        Some(_) => Err(exists("stream")),
        None => Ok(Some(Made { created: now })),
    })
    .await?;
    Ok(Reply::Nothing)
}

pub(super) async fn describe(api: &Api, input: Describe) -> Answer {
    let group = groups::find(api, &named(input.log_group_name, input.log_group_identifier)?).await?;
    let by_time = input.order_by.as_deref() == Some("LastEventTime");
    if by_time && input.log_stream_name_prefix.is_some() {
        return Err(invalid("Cannot order by LastEventTime with a logStreamNamePrefix."));
    }
    let mut streams = all(api, &group).await?;
    if let Some(prefix) = &input.log_stream_name_prefix {
        streams.retain(|(name, ..)| name.starts_with(prefix.as_str()));
    }
    match by_time {
        true => streams.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0))),
        false => streams.sort_by(|a, b| a.0.cmp(&b.0)),
    }
    if input.descending {
        streams.reverse();
    }
    let entries = streams.into_iter().map(|(name, _, view)| (name, view)).collect();
    let (streams, next) = page(entries, input.next_token.as_deref(), input.limit);
    Ok(Reply::Value(json!({"logStreams": streams, "nextToken": next})))
}

/// Name, time of the last line, and what is told of each.
async fn all(api: &Api, group: &Found) -> Result<Vec<(String, i64, Value)>, AwsError> {
    let mut found = Vec::new();
    let view = |name: &str, created: i64, times: Option<(i64, i64)>| {
        json!({
            "logStreamName": name, "creationTime": created, "storedBytes": 0,
            "firstEventTimestamp": times.map(|(first, _)| first), "lastEventTimestamp": times.map(|(_, last)| last),
            "lastIngestionTime": times.map(|(_, last)| last),
            "arn": format!("{}:log-stream:{name}", arn(&group.name)),
        })
    };
    if let Some(function) = &group.function {
        let streams = api.log_events.streams(function).await.map_err(lambda::store)?;
        api.log_names.keep(&streams);
        let since = group.since();
        for stream in streams.iter().filter(|stream| since.is_none_or(|since| stream.last >= since)) {
            let (first, last) = (stream.first.millis(), stream.last.millis());
            let name = name(stream);
            found.push((name.clone(), last, view(&name, first, Some((first, last)))));
        }
    }
    let prefix = key(&group.name, "");
    for (name, made) in kept::list::<Made>(api, &prefix, "", usize::MAX).await? {
        let name = name[prefix.len()..].to_owned();
        found.push((name.clone(), 0, view(&name, made.created, None)));
    }
    Ok(found)
}

/// The stream of that name: its instance, or none if it was made by name and stays empty.
pub(super) async fn find(api: &Api, group: &Found, name: &str) -> Result<Option<InstanceId>, AwsError> {
    if group.function.is_some()
        && let Some(instance) = instance(name)
    {
        return Ok(Some(instance));
    }
    match kept::get::<Made>(api, &key(&group.name, name)).await? {
        Some(_) => Ok(None),
        None => Err(missing("stream")),
    }
}

/// Removes those that were made by name with their group.
pub(super) async fn forget(api: &Api, group: &str) -> Result<(), AwsError> {
    for (name, _) in kept::list::<Made>(api, &key(group, ""), "", usize::MAX).await? {
        kept::change(api, &name, |_: Option<Made>| Ok(None)).await?;
    }
    Ok(())
}

/// No name of a group or stream has a colon.
fn key(group: &str, stream: &str) -> String {
    format!("{group}:{stream}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_streams_name_leads_to_its_instance() {
        let id = InstanceId::random();
        let name = id.log_stream(Timestamp(1_700_000_000_000_000), "$LATEST");
        assert!(name.starts_with("2023/11/14/[$LATEST]"), "{name}");
        assert_eq!(name.len(), "2023/11/14/[$LATEST]".len() + 32);
        assert_eq!(instance(&name), Some(id));
        for bad in ["", "x]", "2023/11/14/[1]0123456789abcdef", "[1]0123456789abcdef0123456789abcdef"] {
            assert_eq!(instance(bad), None, "{bad}");
        }
    }
}
