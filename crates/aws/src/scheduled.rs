//! The event that EventBridge sends for a schedule.

use bytes::Bytes;
use model::{FunctionName, RequestId, Schedule, Timestamp};

/// What the names of schedules begin with that EventBridge Scheduler's API made; its name follows.
pub const SCHEDULER: &str = "scheduler:";
/// The same of a rule's: its name, a colon and the target's id follow.
pub const RULE: &str = "rule:";

/// The payload of a schedule's tick: what it was given, or EventBridge's scheduled event.
pub fn payload(
    function: &FunctionName,
    schedule: &Schedule,
    tick: Timestamp,
    id: &RequestId,
    (region, account): (&str, &str),
) -> Bytes {
    if let Some(payload) = &schedule.payload {
        return payload.to_string().into();
    }
    let time = tick.rfc3339();
    let time = time.split('.').next().unwrap_or_default();
    let name = &schedule.name;
    if let Some(name) = name.strip_prefix(SCHEDULER) {
        return serde_json::json!({
            "version": "0",
            "id": id.to_string(),
            "detail-type": "Scheduled Event",
            "source": "aws.scheduler",
            "account": account,
            "time": format!("{time}Z"),
            "region": region,
            "resources": [format!("arn:aws:scheduler:{region}:{account}:schedule/default/{name}")],
            // A text, where the rules' event has an object.
            "detail": "{}",
        })
        .to_string()
        .into();
    }
    let rule = match name.strip_prefix(RULE).and_then(|name| name.split_once(':')) {
        Some((rule, _)) => rule.to_owned(),
        None => format!("{function}/{name}"),
    };
    serde_json::json!({
        "version": "0",
        "id": id.to_string(),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": account,
        "time": format!("{time}Z"),
        "region": region,
        "resources": [format!("arn:aws:events:{region}:{account}:rule/{rule}")],
        "detail": {},
    })
    .to_string()
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_eventbridges_event_or_what_was_given() {
        let (function, id) = ("f".parse().unwrap(), RequestId::random());
        let mut schedule = Schedule::new("nightly", "0 3 * * *");
        let read = |schedule: &Schedule| -> serde_json::Value {
            let time = Timestamp(1_763_805_600_123_000);
            serde_json::from_slice(&payload(&function, schedule, time, &id, ("us-east-1", "000000000000"))).unwrap()
        };
        let event = read(&schedule);
        assert_eq!(event["time"], "2025-11-22T10:00:00Z");
        assert_eq!(event["resources"][0], "arn:aws:events:us-east-1:000000000000:rule/f/nightly");
        schedule.name = format!("{RULE}hourly:1");
        assert_eq!(read(&schedule)["resources"][0], "arn:aws:events:us-east-1:000000000000:rule/hourly");
        schedule.name = format!("{SCHEDULER}daily");
        assert_eq!(read(&schedule)["resources"][0], "arn:aws:scheduler:us-east-1:000000000000:schedule/default/daily");
        schedule.payload = Some(serde_json::json!({"a": [1]}));
        assert_eq!(read(&schedule), serde_json::json!({"a": [1]}));
    }
}
