//! Live tail: lines as they come, in an event stream that goes on until the client leaves, the server drains, or three hours
//! are over, as on AWS.

use std::collections::HashSet;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use aws::AwsError;
use aws::event_stream::event;
use aws::log_filter::LogFilter;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::unfold;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use model::{FunctionName, InstanceId, RequestId};
use serde::Deserialize;
use serde_json::{Value, json};
use store::log_events::EventsQuery;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::{events, groups, invalid, streams};
use crate::companions::{Answer, Reply};
use crate::lambda;
use crate::{Api, PLACE};

/// Lines of one update at most.
const MOST: usize = 500;
/// Between two updates: what comes meanwhile is in the next.
const PACE: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(3 * 3600);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Start {
    log_group_identifiers: Vec<String>,
    log_stream_names: Option<Vec<String>>,
    log_stream_name_prefixes: Option<Vec<String>>,
    log_event_filter_pattern: Option<String>,
}

struct Tail {
    api: Api,
    /// Group, function and the place up to which its lines were told.
    groups: Vec<(String, FunctionName, u64)>,
    wanted: Option<HashSet<InstanceId>>,
    prefixes: Option<Vec<String>>,
    pattern: LogFilter,
    begun: Option<Bytes>,
    logged: watch::Receiver<u64>,
    closing: watch::Receiver<bool>,
    until: Instant,
    /// Whether there was more than one update holds.
    behind: bool,
    _permit: OwnedSemaphorePermit,
}

pub(super) async fn start(api: &Api, input: Start) -> Answer {
    let names = input.log_stream_names.as_ref().map_or(0, Vec::len);
    if input.log_group_identifiers.len() != 1 && names > 0 {
        return Err(invalid("logStreamNames can be given with one log group only"));
    }
    let pattern = LogFilter::parse(input.log_event_filter_pattern.as_deref().unwrap_or_default())?;
    let permit = api.followers.clone().try_acquire_owned().map_err(|_| {
        let message = "too many clients follow logs already: end one first";
        AwsError::new(StatusCode::BAD_REQUEST, "LimitExceededException", message)
    })?;
    // Before the first look, so that nothing is written unseen between the two.
    let logged = api.telemetry.logged();
    let now = *logged.borrow();
    let mut groups = Vec::new();
    let mut wanted = None;
    for identifier in &input.log_group_identifiers {
        let group = groups::find(api, &super::from_arn(identifier)).await?;
        if names > 0 {
            wanted = events::wanted(api, &group, input.log_stream_names.clone()).await?;
        }
        groups.extend(group.function.clone().map(|function| (group.name.clone(), function, now)));
    }
    let begun = json!({
        "requestId": RequestId::random().to_string(), "sessionId": RequestId::random().to_string(),
        "logGroupIdentifiers": input.log_group_identifiers, "logStreamNames": input.log_stream_names.unwrap_or_default(),
        "logStreamNamePrefixes": input.log_stream_name_prefixes.clone().unwrap_or_default(),
        "logEventFilterPattern": input.log_event_filter_pattern.unwrap_or_default(),
    });
    let tail = Tail {
        api: api.clone(),
        groups,
        wanted,
        prefixes: input.log_stream_name_prefixes.filter(|prefixes| !prefixes.is_empty()),
        pattern,
        // This protocol's answers begin with what would be the body, were there no stream.
        begun: Some([event("initial-response", &json!({})), event("sessionStart", &begun)].concat().into()),
        logged,
        closing: api.closing.clone(),
        until: Instant::now() + LONGEST,
        behind: false,
        _permit: permit,
    };
    let updates = unfold(tail, |mut tail| async move {
        let piece = tail.next().await?;
        Some((Ok::<_, Infallible>(piece), tail))
    });
    let mut response = Response::new(Body::from_stream(updates));
    let kind = HeaderValue::from_static("application/vnd.amazon.eventstream");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(Reply::Whole(response))
}

// === impl Tail ===

impl Tail {
    /// An update each second, with lines or without. None at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(begun) = self.begun.take() {
            return Some(begun);
        }
        if Instant::now() >= self.until || *self.closing.borrow() {
            return None;
        }
        tokio::select! {
            () = tokio::time::sleep(PACE) => {}
            _ = self.closing.changed() => return None,
        }
        let changed = self.logged.has_changed().ok()?;
        self.logged.mark_unchanged();
        // The store is gone or failing: the client asks again, and is then told.
        let lines = if changed || self.behind { self.look().await.ok()? } else { Vec::new() };
        Some(event("sessionUpdate", &json!({"sessionMetadata": {"sampled": false}, "sessionResults": lines})))
    }

    /// What has come since the last look, so much of it as one update holds; the rest is in the next.
    async fn look(&mut self) -> Result<Vec<Value>, AwsError> {
        self.behind = false;
        let mut results = Vec::new();
        for (group, function, told) in &mut self.groups {
            let query = EventsQuery {
                function: function.clone(),
                instance: None,
                from: None,
                until: None,
                after: Some(*told),
                before: None,
                limit: MOST,
            };
            let page = self.api.log_events.events(query).await.map_err(lambda::store)?;
            self.behind |= page.next.is_some();
            *told = page.next.or(page.events.last().map(|(id, _)| *id)).unwrap_or(*told);
            let names = streams::names(&self.api, function, &page.events).await?;
            for ((_, line), name) in page.events.iter().zip(names) {
                let fits = self.wanted.as_ref().is_none_or(|wanted| wanted.contains(&line.instance))
                    && self
                        .prefixes
                        .as_ref()
                        .is_none_or(|all| all.iter().any(|prefix| name.starts_with(prefix.as_str())))
                    && self.pattern.matches(&line.message);
                if fits {
                    let mut event = events::view(line);
                    event["logStreamName"] = name.into();
                    event["logGroupIdentifier"] = format!("{}:{group}", PLACE.1).into();
                    results.push(event);
                }
            }
        }
        Ok(results)
    }
}
