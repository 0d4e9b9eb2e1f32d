//! A message as SQS's clients write it, and as they are shown one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws::AwsError;
use aws::sqs_event::{arn, md5_of, md5_of_attributes};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::{MessageAttribute, MessageAttributes, QueueName, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use store::messages::{NewMessage, Received};

use super::messages::ranged;
use super::{error, unsupported};
use crate::PLACE;

const TRACE: &str = "AWSTraceHeader";
/// System attributes that a receive may ask for; those of FIFO queues no message has.
pub const SYSTEM: [&str; 10] = [
    "All",
    "SenderId",
    "SentTimestamp",
    "ApproximateReceiveCount",
    "ApproximateFirstReceiveTimestamp",
    "SequenceNumber",
    "MessageDeduplicationId",
    "MessageGroupId",
    TRACE,
    "DeadLetterQueueSourceArn",
];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Message {
    message_body: String,
    delay_seconds: Option<i64>,
    #[serde(default)]
    message_attributes: BTreeMap<String, Attribute>,
    #[serde(default)]
    message_system_attributes: BTreeMap<String, Attribute>,
    message_deduplication_id: Option<String>,
    message_group_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attribute {
    data_type: String,
    string_value: Option<String>,
    /// Base64.
    binary_value: Option<String>,
    #[serde(default)]
    string_list_values: Vec<String>,
    #[serde(default)]
    binary_list_values: Vec<String>,
}

/// What a message is answered with that was sent.
pub fn digests(message: &NewMessage) -> Value {
    let mut sent = json!({"MD5OfMessageBody": md5_of(message.body.as_bytes())});
    if !message.attributes.is_empty() {
        sent["MD5OfMessageAttributes"] = md5_of_attributes(&message.attributes).into();
    }
    if let Some(trace) = &message.trace {
        let trace =
            MessageAttribute { data_type: "String".into(), string_value: Some(trace.clone()), binary_value: None };
        sent["MD5OfMessageSystemAttributes"] = md5_of_attributes(&[(TRACE.to_owned(), trace)].into()).into();
    }
    sent
}

pub fn shown(message: Received, names: &BTreeSet<String>, wanted: &[String]) -> Value {
    let Received { id, receipt, body, attributes, sent, first_received, receives, origin, trace } = message;
    let mut shown = json!({
        "MessageId": id.to_string(),
        "ReceiptHandle": receipt.to_string(),
        "MD5OfBody": md5_of(body.as_bytes()),
        "Body": body,
    });
    let system = [
        ("SenderId", Some(PLACE.1.to_owned())),
        ("SentTimestamp", Some(sent.millis().to_string())),
        ("ApproximateReceiveCount", Some(receives.to_string())),
        ("ApproximateFirstReceiveTimestamp", Some(first_received.millis().to_string())),
        ("DeadLetterQueueSourceArn", origin.map(|queue: QueueName| arn(&queue, *PLACE))),
        (TRACE, trace),
    ];
    let system: Map<String, Value> = system
        .into_iter()
        .filter(|(name, _)| names.contains("All") || names.contains(*name))
        .filter_map(|(name, value)| Some((name.to_owned(), value?.into())))
        .collect();
    if !system.is_empty() {
        shown["Attributes"] = system.into();
    }
    let fits = |name: &str| {
        wanted.iter().any(|wanted| match wanted.strip_suffix(".*") {
            Some("") => true,
            Some(prefix) => name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.')),
            None => wanted == "All" || wanted == name,
        })
    };
    let attributes: MessageAttributes = attributes.into_iter().filter(|(name, _)| fits(name)).collect();
    if !attributes.is_empty() {
        shown["MD5OfMessageAttributes"] = md5_of_attributes(&attributes).into();
        let one = |(name, MessageAttribute { data_type, string_value, binary_value })| {
            let mut one = json!({"DataType": data_type});
            if let Some(text) = string_value {
                one["StringValue"] = Value::String(text);
            }
            if let Some(bytes) = binary_value {
                one["BinaryValue"] = Value::String(bytes);
            }
            (name, one)
        };
        shown["MessageAttributes"] = attributes.into_iter().map(one).collect::<Map<_, _>>().into();
    }
    shown
}

// === impl Message ===

impl Message {
    pub fn read(self, now: Timestamp) -> Result<NewMessage, AwsError> {
        for (name, value) in
            [("MessageDeduplicationId", &self.message_deduplication_id), ("MessageGroupId", &self.message_group_id)]
        {
            if value.is_some() {
                return Err(unsupported(format!(
                    "{name} goes with FIFO and fair queues, which are not supported here"
                )));
            }
        }
        // What XML can hold, by which SQS goes still.
        let letter = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{FFFD}' | '\u{10000}'..);
        if !self.message_body.chars().all(letter) {
            return Err(error(
                "InvalidMessageContents",
                "Invalid characters found. Valid unicode characters are \
                #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF",
            ));
        }
        let delay = ranged("DelaySeconds", self.delay_seconds, 0, 900)?;
        let mut attributes = MessageAttributes::new();
        for (name, attribute) in self.message_attributes {
            let read = attribute.read(&name)?;
            attributes.insert(name, read);
        }
        let mut trace = None;
        for (name, attribute) in self.message_system_attributes {
            let refuse = || {
                let message = format!("The only system attribute of a message is {TRACE}, a String; got {name}");
                AwsError::invalid_parameter(message)
            };
            let read = attribute.read(&name)?;
            trace = Some(read.string_value.filter(|_| name == TRACE && read.data_type == "String").ok_or_else(refuse)?);
        }
        let visible = delay.map(|delay| now + Duration::from_secs(delay));
        Ok(NewMessage { body: self.message_body, attributes, visible, trace })
    }
}

// === impl Attribute ===

impl Attribute {
    fn read(self, name: &str) -> Result<MessageAttribute, AwsError> {
        let refuse = |why: &str| {
            let shown: String = name.chars().take(80).collect();
            AwsError::invalid_parameter(format!("The message attribute '{shown}' is not valid: {why}"))
        };
        if !self.string_list_values.is_empty() || !self.binary_list_values.is_empty() {
            return Err(refuse("message attribute list values are not supported"));
        }
        let Self { data_type, string_value, binary_value, .. } = self;
        let base = data_type.split('.').next().unwrap_or_default();
        match (base, &string_value, &binary_value) {
            ("String" | "Number", Some(text), None) if text.is_empty() => Err(refuse("its value is empty")),
            ("Number", Some(text), None) if text.parse::<f64>().is_err() => {
                Err(refuse("can't cast the value of its DataType Number to a number"))
            }
            ("String" | "Number", Some(_), None) => Ok(MessageAttribute { data_type, string_value, binary_value }),
            ("Binary", None, Some(bytes)) => match STANDARD.decode(bytes) {
                Ok(bytes) if bytes.is_empty() => Err(refuse("its value is empty")),
                Ok(_) => Ok(MessageAttribute { data_type, string_value, binary_value }),
                Err(_) => Err(refuse("its BinaryValue is not base64")),
            },
            _ => Err(refuse("expected DataType String or Number with StringValue, or Binary with BinaryValue")),
        }
    }
}

#[cfg(test)]
mod tests {
    use model::RequestId;

    use super::*;

    #[test]
    fn attributes_are_asked_for_by_name_by_beginning_or_all() {
        let attribute =
            MessageAttribute { data_type: "String".into(), string_value: Some("v".into()), binary_value: None };
        let now = Timestamp::now();
        let message = Received {
            id: RequestId::random(),
            receipt: RequestId::random(),
            body: "b".into(),
            attributes: ["a.b", "a.c", "ab", "d"].map(|name| (name.to_owned(), attribute.clone())).into(),
            sent: now,
            first_received: now,
            receives: 1,
            origin: None,
            trace: None,
        };
        for (wanted, expected) in [
            (vec![], vec![]),
            (vec!["All"], vec!["a.b", "a.c", "ab", "d"]),
            (vec![".*"], vec!["a.b", "a.c", "ab", "d"]),
            (vec!["a.*"], vec!["a.b", "a.c"]),
            (vec!["d", "x"], vec!["d"]),
        ] {
            let wanted: Vec<String> = wanted.into_iter().map(str::to_owned).collect();
            let shown = shown(message.clone(), &BTreeSet::new(), &wanted);
            let names: Vec<_> =
                shown["MessageAttributes"].as_object().into_iter().flatten().map(|(name, _)| name).collect();
            assert_eq!(names, expected, "{wanted:?}");
            assert!(shown.get("Attributes").is_none());
        }
    }
}
