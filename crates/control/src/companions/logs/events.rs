//! Log events: those of one stream by place, those of a group by pattern.
//!
//! Tokens are places: `f/000…123` goes on behind that line, `b/000…123` before it. They never end to be valid; at the end one
//! gets the token back that one came with, as with AWS.

use std::collections::HashSet;

use aws::AwsError;
use aws::log_filter::LogFilter;
use model::{InstanceId, LogLine};
use serde::Deserialize;
use serde_json::{Value, json};
use store::log_events::{EventsPage, EventsQuery};

use super::groups::{self, Found};
use super::{invalid, moment, named, streams};
use crate::Api;
use crate::companions::{Answer, Reply};
use crate::lambda;

const MOST: usize = 10_000;
/// Pages of the store that one answer looks at; a pattern that nothing fits would look at all there is.
const PAGES: usize = 20;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Get {
    log_group_name: Option<String>,
    log_group_identifier: Option<String>,
    log_stream_name: String,
    start_time: Option<i64>,
    end_time: Option<i64>,
    next_token: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    start_from_head: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Filter {
    log_group_name: Option<String>,
    log_group_identifier: Option<String>,
    log_stream_names: Option<Vec<String>>,
    log_stream_name_prefix: Option<String>,
    start_time: Option<i64>,
    end_time: Option<i64>,
    filter_pattern: Option<String>,
    next_token: Option<String>,
    limit: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    After(u64),
    Before(u64),
}

// === impl Place ===

impl Place {
    fn parse(token: &str) -> Result<Self, AwsError> {
        let read = |digits: &str| digits.parse::<u64>().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()));
        let found = match token.split_once('/') {
            Some(("f", place)) => read(place).map(Self::After),
            Some(("b", place)) => read(place).map(Self::Before),
            _ => None,
        };
        found.ok_or_else(|| invalid("The specified nextToken is invalid."))
    }

    fn token(self) -> String {
        match self {
            Self::After(place) => format!("f/{place:056}"),
            Self::Before(place) => format!("b/{place:056}"),
        }
    }
}

pub(super) async fn get(api: &Api, input: Get) -> Answer {
    let group = groups::find(api, &named(input.log_group_name, input.log_group_identifier)?).await?;
    let instance = streams::find(api, &group, &input.log_stream_name).await?;
    let place = match &input.next_token {
        Some(token) => Place::parse(token)?,
        None if input.start_from_head => Place::After(0),
        // Behind every line there can be.
        None => Place::Before(1 << 62),
    };
    let limit = input.limit.unwrap_or(MOST).clamp(1, MOST);
    let mut events = Vec::new();
    if let (Some(function), Some(instance)) = (&group.function, instance) {
        let (after, before) = match place {
            Place::After(place) => (Some(place), None),
            Place::Before(place) => (None, Some(place)),
        };
        let mut query = EventsQuery {
            function: function.clone(),
            instance: Some(instance),
            from: input.start_time.map(moment).max(group.since()),
            // Lines of that millisecond are left out already.
            until: input.end_time.map(|end| model::Timestamp(moment(end).0 - 1)),
            after,
            before,
            limit,
        };
        // A page of the store may have nothing, and yet not be the last.
        for _ in 0..PAGES {
            let EventsPage { events: some, next } = page(api, query.clone()).await?;
            events.extend(some);
            match next {
                Some(next) if events.is_empty() => match place {
                    Place::After(_) => query.after = Some(next),
                    Place::Before(_) => query.before = Some(next),
                },
                _ => break,
            }
        }
    }
    if matches!(place, Place::Before(_)) {
        events.reverse();
    }
    let ends = (events.first().map(|(id, _)| *id), events.last().map(|(id, _)| *id));
    let (back, forth) = match (ends, place) {
        ((Some(first), Some(last)), _) => (first, last),
        (_, Place::After(place)) => (place.saturating_add(1), place),
        // Nothing at all: whatever comes is behind it.
        (_, Place::Before(place)) if input.next_token.is_none() => (0, if place == 1 << 62 { 0 } else { place }),
        (_, Place::Before(place)) => (place, place.saturating_sub(1)),
    };
    let events: Vec<Value> = events.iter().map(|(_, line)| view(line)).collect();
    Ok(Reply::Value(json!({
        "events": events,
        "nextForwardToken": Place::After(forth).token(),
        "nextBackwardToken": Place::Before(back).token(),
    })))
}

pub(super) async fn filter(api: &Api, input: Filter) -> Answer {
    let group = groups::find(api, &named(input.log_group_name, input.log_group_identifier)?).await?;
    if input.log_stream_names.is_some() && input.log_stream_name_prefix.is_some() {
        return Err(invalid("logStreamNames and logStreamNamePrefix are mutually exclusive"));
    }
    let pattern = LogFilter::parse(input.filter_pattern.as_deref().unwrap_or_default())?;
    let place = match input.next_token.as_deref().map(Place::parse).transpose()? {
        None => 0,
        Some(Place::After(place)) => place,
        Some(Place::Before(_)) => return Err(invalid("The specified nextToken is invalid.")),
    };
    let Some(function) = group.function.clone() else { return Ok(Reply::Value(json!({"events": []}))) };
    let wanted = wanted(api, &group, input.log_stream_names).await?;
    let limit = input.limit.unwrap_or(MOST).clamp(1, MOST);
    let mut query = EventsQuery {
        function: function.clone(),
        instance: None,
        from: input.start_time.map(moment).max(group.since()),
        // All of that millisecond.
        until: input.end_time.map(|end| model::Timestamp(moment(end).0.saturating_add(999))),
        after: Some(place),
        before: None,
        limit,
    };
    let mut found: Vec<(u64, LogLine, String)> = Vec::new();
    let mut next = None;
    for _ in 0..PAGES {
        let EventsPage { events, next: further } = page(api, query.clone()).await?;
        let names = streams::names(api, &function, &events).await?;
        for ((id, line), name) in events.into_iter().zip(names) {
            let fits = wanted.as_ref().is_none_or(|wanted| wanted.contains(&line.instance))
                && input.log_stream_name_prefix.as_ref().is_none_or(|prefix| name.starts_with(prefix.as_str()))
                && pattern.matches(&line.message);
            if fits {
                found.push((id, line, name));
            }
        }
        next = further;
        match next {
            Some(further) if found.len() < limit => query.after = Some(further),
            _ => break,
        }
        query.limit = limit - found.len();
    }
    // Within a page by time, as AWS has them; pages follow the order in which lines were written.
    found.sort_by_key(|(id, line, _)| (line.time, *id));
    let events = found.into_iter().map(|(id, line, name)| {
        let mut event = view(&line);
        event["logStreamName"] = name.into();
        event["eventId"] = format!("{id:056}").into();
        event
    });
    let events: Vec<Value> = events.collect();
    let token = next.map(|next| Place::After(next).token());
    Ok(Reply::Value(json!({"events": events, "searchedLogStreams": [], "nextToken": token})))
}

/// The instances of these streams.
pub(super) async fn wanted(
    api: &Api,
    group: &Found,
    names: Option<Vec<String>>,
) -> Result<Option<HashSet<InstanceId>>, AwsError> {
    let Some(names) = names else { return Ok(None) };
    let mut wanted = HashSet::new();
    for name in names {
        wanted.extend(streams::find(api, group, &name).await?);
    }
    Ok(Some(wanted))
}

async fn page(api: &Api, query: EventsQuery) -> Result<EventsPage, AwsError> {
    api.log_events.events(query).await.map_err(lambda::store)
}

pub(super) fn view(line: &LogLine) -> Value {
    let time = line.time.millis();
    json!({"timestamp": time, "message": line.message, "ingestionTime": time})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_as_they_are_written() {
        for place in [Place::After(0), Place::Before(1 << 62), Place::After(77)] {
            assert_eq!(Place::parse(&place.token()).unwrap(), place);
        }
        for bad in ["", "f/", "x/1", "f/-1", "f/+1", "f", "f/1/2"] {
            assert!(Place::parse(bad).is_err(), "{bad}");
        }
    }
}
