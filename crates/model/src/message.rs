//! Message queues: what one is told to do with its messages, and what a message is. AWS SQS's terms and limits.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::function::duration_text;
use crate::id::QueueName;
use crate::quantity::show_duration;

/// Body and attributes of one message together, bytes: SQS's 1 MB.
pub const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

/// Attributes of one message.
pub const MAX_ATTRIBUTES: usize = 10;

/// A queue's rules; the defaults are SQS's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueRules {
    /// How long a message that was received is hidden from others, 0s to 12h.
    #[serde(with = "duration_text")]
    pub visibility: Duration,
    /// How long a new message is hidden, 0s to 15m.
    #[serde(with = "duration_text")]
    pub delay: Duration,
    /// How long a message is kept, 1m to 14d.
    #[serde(with = "duration_text")]
    pub retention: Duration,
    /// A message that was received so often goes to the dead-letter queue instead of being received again, 1 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_receives: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<QueueName>,
    /// What SQS's clients said of it.
    #[serde(skip_serializing_if = "QueueNotes::is_empty")]
    pub sqs: QueueNotes,
}

/// What only clients of SQS's API say of a queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueNotes {
    /// Longest message; none: [`MAX_MESSAGE_BYTES`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<usize>,
    /// How long its clients wait for a message where they do not say, seconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub wait: u64,
    /// Who may use it, on AWS: kept and given back, JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Which queues may have it as their dead-letter queue, JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redrive_allow: Option<String>,
    /// What was said of encryption by SQS itself: given back, and nothing is encrypted by it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub sse: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// SQS's message attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageAttribute {
    /// `String`, `Number` or `Binary`, and what a dot may add.
    pub data_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub string_value: Option<String>,
    /// Base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary_value: Option<String>,
}

/// By name.
pub type MessageAttributes = BTreeMap<String, MessageAttribute>;

fn is_zero(number: &u64) -> bool {
    *number == 0
}

// === impl QueueNotes ===

impl QueueNotes {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

// === impl QueueRules ===

impl Default for QueueRules {
    fn default() -> Self {
        Self {
            visibility: Duration::from_secs(30),
            delay: Duration::ZERO,
            retention: Duration::from_secs(4 * 86_400),
            max_receives: None,
            dead_letter: None,
            sqs: QueueNotes::default(),
        }
    }
}

impl QueueRules {
    /// The longest message that the queue takes, bytes.
    pub fn max_bytes(&self) -> usize {
        self.sqs.max_bytes.unwrap_or(MAX_MESSAGE_BYTES)
    }

    /// Checks every limit. `name`: the queue's own.
    pub fn validate(&self, name: &QueueName) -> Result<(), String> {
        let range = |key: &str, time: Duration, from: u64, to: u64, expected: &str| {
            let fits = (Duration::from_secs(from)..=Duration::from_secs(to)).contains(&time);
            if fits {
                Ok(())
            } else {
                Err(format!("{key} = {} is out of range: expected {expected}", show_duration(time)))
            }
        };
        range("visibility", self.visibility, 0, 12 * 3600, "0s to 12h")?;
        range("delay", self.delay, 0, 900, "0s to 15m")?;
        range("retention", self.retention, 60, 14 * 86_400, "1m to 14d")?;
        if self.sqs.max_bytes.is_some_and(|most| !(1024..=MAX_MESSAGE_BYTES).contains(&most)) {
            return Err(format!("the longest message is out of range: expected 1024 to {MAX_MESSAGE_BYTES} bytes"));
        }
        match (&self.max_receives, &self.dead_letter) {
            (Some(most), Some(_)) if !(1..=1000).contains(most) => {
                Err(format!("max_receives = {most} is out of range: expected 1 to 1000"))
            }
            (Some(_), Some(queue)) if queue == name => Err("a queue cannot be its own dead-letter queue".into()),
            (Some(_), None) | (None, Some(_)) => {
                Err("max_receives and dead_letter go together: say how often, and to which queue then".into())
            }
            _ => Ok(()),
        }
    }
}

/// Checks a message as SQS does, and says how many bytes it counts for.
pub fn message_bytes(body: &str, attributes: &MessageAttributes) -> Result<usize, String> {
    if body.is_empty() {
        return Err("the body is empty: expected a text".into());
    }
    if attributes.len() > MAX_ATTRIBUTES {
        return Err(format!("{} attributes: at most {MAX_ATTRIBUTES} are allowed", attributes.len()));
    }
    let mut bytes = body.len();
    for (name, MessageAttribute { data_type, string_value, binary_value }) in attributes {
        let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let shown: String = name.chars().take(80).collect();
        if !(1..=256).contains(&name.len()) || !name.bytes().all(letter) {
            return Err(format!("attribute name {shown:?} is not valid: expected 1 to 256 of A-Z a-z 0-9 . _ -"));
        }
        let base = data_type.split('.').next().unwrap_or_default();
        let value = match (base, string_value, binary_value) {
            ("String" | "Number", Some(value), None) | ("Binary", None, Some(value)) => value,
            _ => {
                return Err(format!(
                    "attribute {shown}: expected data_type String or Number with string_value, or Binary with binary_value"
                ));
            }
        };
        bytes += name.len() + data_type.len() + value.len();
    }
    if bytes > MAX_MESSAGE_BYTES {
        return Err(format!("the message has {bytes} bytes: at most {MAX_MESSAGE_BYTES} are allowed"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_checked_with_the_key_named() {
        let name: QueueName = "q".parse().unwrap();
        assert_eq!(QueueRules::default().validate(&name), Ok(()));
        let said = |rules: QueueRules| rules.validate(&name).unwrap_err();
        let rules = QueueRules::default;
        assert!(said(QueueRules { visibility: Duration::from_secs(50_000), ..rules() }).contains("visibility"));
        assert!(said(QueueRules { retention: Duration::ZERO, ..rules() }).contains("1m to 14d"));
        assert!(said(QueueRules { max_receives: Some(3), ..rules() }).contains("go together"));
        let itself = QueueRules { max_receives: Some(3), dead_letter: Some(name.clone()), ..rules() };
        assert!(said(itself).contains("its own"));
    }

    #[test]
    fn a_message_is_checked_as_sqs_does() {
        let none = MessageAttributes::new();
        assert_eq!(message_bytes("abc", &none), Ok(3));
        assert!(message_bytes("", &none).is_err());
        assert!(message_bytes(&"x".repeat(MAX_MESSAGE_BYTES + 1), &none).unwrap_err().contains("1048576"));
        let one = |data_type: &str, string: Option<&str>| {
            let value = MessageAttribute {
                data_type: data_type.into(),
                string_value: string.map(Into::into),
                binary_value: None,
            };
            message_bytes("b", &[("n".to_owned(), value)].into())
        };
        assert_eq!(one("Number.int", Some("7")), Ok(13));
        assert!(one("Binary", Some("7")).is_err() && one("String", None).is_err());
    }
}
