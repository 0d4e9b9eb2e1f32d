//! A queue's attributes: texts, as SQS has them, and the rules that they are.

use std::collections::BTreeMap;
use std::time::Duration;

use aws::AwsError;
use aws::sqs_event::arn;
use model::{MAX_MESSAGE_BYTES, QueueName, QueueRules};
use serde::Deserialize;
use serde_json::{Value, json};
use store::messages::QueueInfo;

use super::{error, invalid, queue_of_arn};
use crate::PLACE;

/// What a redrive policy says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Redrive {
    dead_letter_target_arn: String,
    max_receive_count: Count,
}

/// AWS takes a number, and its text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Count {
    Number(u32),
    Text(String),
}

/// What a redrive-allow policy says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Allow {
    redrive_permission: String,
    #[serde(default)]
    source_queue_arns: Vec<String>,
}

/// Queues that a redrive-allow policy may name.
const MOST_SOURCES: usize = 10;

/// Changes the rules as the attributes say.
pub fn apply(rules: &mut QueueRules, attributes: &BTreeMap<String, String>) -> Result<(), AwsError> {
    for (name, value) in attributes {
        let seconds = |to: u64, from: u64| number(name, value, from, to).map(Duration::from_secs);
        match name.as_str() {
            "VisibilityTimeout" => rules.visibility = seconds(43_200, 0)?,
            "DelaySeconds" => rules.delay = seconds(900, 0)?,
            "MessageRetentionPeriod" => rules.retention = seconds(14 * 86_400, 60)?,
            "ReceiveMessageWaitTimeSeconds" => rules.sqs.wait = number(name, value, 0, 20)?,
            "MaximumMessageSize" => {
                let most = number(name, value, 1024, MAX_MESSAGE_BYTES as u64)? as usize;
                rules.sqs.max_bytes = (most < MAX_MESSAGE_BYTES).then_some(most);
            }
            "RedrivePolicy" => redrive(rules, value)?,
            "RedriveAllowPolicy" => {
                if !value.is_empty() {
                    allow(value)?;
                }
                rules.sqs.redrive_allow = Some(value.clone()).filter(|text| !text.is_empty());
            }
            "Policy" => {
                if !value.is_empty() && !serde_json::from_str::<Value>(value).is_ok_and(|policy| policy.is_object()) {
                    return Err(refused(name, "expected a JSON object"));
                }
                rules.sqs.policy = Some(value.clone()).filter(|text| !text.is_empty());
            }
            // AWS's default: kept as a policy is, and encrypts nothing.
            "SqsManagedSseEnabled" => {
                rules.sqs.sse = value.parse().map_err(|_| refused(name, "expected true or false"))?;
            }
            // What is the case anyway may be said.
            "FifoQueue" | "ContentBasedDeduplication" if value == "false" => {}
            "KmsMasterKeyId" if value.is_empty() => {}
            "FifoQueue" | "ContentBasedDeduplication" | "DeduplicationScope" | "FifoThroughputLimit" => {
                return Err(error("InvalidAttributeName", format!("{name}: FIFO queues are not supported here")));
            }
            "KmsMasterKeyId" | "KmsDataKeyReusePeriodSeconds" => {
                let message = format!("{name}: messages are not encrypted on disk here: expected none");
                return Err(error("InvalidAttributeValue", message));
            }
            _ => return Err(unknown(name)),
        }
    }
    Ok(())
}

/// Whether a queue lets another one have it as its dead-letter queue.
pub fn lets(dead_letter: &QueueRules, queue: &QueueName) -> bool {
    let Some(text) = &dead_letter.sqs.redrive_allow else { return true };
    match allow(text) {
        Ok(Allow { redrive_permission, source_queue_arns }) => match redrive_permission.as_str() {
            "allowAll" => true,
            "byQueue" => source_queue_arns.iter().any(|one| queue_of_arn(one).as_ref() == Some(queue)),
            _ => false,
        },
        Err(_) => false,
    }
}

pub fn unknown(name: &str) -> AwsError {
    let shown: String = name.chars().take(80).collect();
    error("InvalidAttributeName", format!("Unknown Attribute {shown}."))
}

/// What may be asked for; of some of them no queue has a value.
const NAMES: [&str; 22] = [
    "All",
    "Policy",
    "VisibilityTimeout",
    "MaximumMessageSize",
    "MessageRetentionPeriod",
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
    "QueueArn",
    "DelaySeconds",
    "ReceiveMessageWaitTimeSeconds",
    "RedrivePolicy",
    "RedriveAllowPolicy",
    "FifoQueue",
    "ContentBasedDeduplication",
    "DeduplicationScope",
    "FifoThroughputLimit",
    "KmsMasterKeyId",
    "KmsDataKeyReusePeriodSeconds",
    "SqsManagedSseEnabled",
];

/// Those attributes of a queue that are asked for, by name.
pub fn shown(info: &QueueInfo, names: &[String]) -> Result<Value, AwsError> {
    if let Some(name) = names.iter().find(|name| !NAMES.contains(&name.as_str())) {
        return Err(unknown(name));
    }
    let QueueInfo { name, rules, created, changed, visible, in_flight, delayed, .. } = info;
    let QueueRules { visibility, delay, retention, max_receives, dead_letter, sqs } = rules;
    let second = |time: &model::Timestamp| (time.millis() / 1000).to_string();
    let mut all: BTreeMap<&str, String> = [
        ("QueueArn", arn(name, *PLACE)),
        ("ApproximateNumberOfMessages", visible.to_string()),
        ("ApproximateNumberOfMessagesNotVisible", in_flight.to_string()),
        ("ApproximateNumberOfMessagesDelayed", delayed.to_string()),
        ("CreatedTimestamp", second(created)),
        ("LastModifiedTimestamp", second(changed)),
        ("VisibilityTimeout", visibility.as_secs().to_string()),
        ("DelaySeconds", delay.as_secs().to_string()),
        ("MessageRetentionPeriod", retention.as_secs().to_string()),
        ("MaximumMessageSize", rules.max_bytes().to_string()),
        ("ReceiveMessageWaitTimeSeconds", sqs.wait.to_string()),
        ("SqsManagedSseEnabled", sqs.sse.to_string()),
    ]
    .into();
    if let (Some(most), Some(dead)) = (max_receives, dead_letter) {
        let policy = json!({"deadLetterTargetArn": arn(dead, *PLACE), "maxReceiveCount": most});
        all.insert("RedrivePolicy", policy.to_string());
    }
    if let Some(policy) = &sqs.policy {
        all.insert("Policy", policy.clone());
    }
    if let Some(policy) = &sqs.redrive_allow {
        all.insert("RedriveAllowPolicy", policy.clone());
    }
    let wanted = |name: &str| names.iter().any(|one| one == "All" || one == name);
    all.retain(|name, _| wanted(name));
    Ok(json!(all))
}

/// Whether those attributes that are said are what a queue has: AWS's question where one is made that is there.
pub fn same(there: &QueueRules, attributes: &BTreeMap<String, String>) -> Result<bool, AwsError> {
    let mut asked = there.clone();
    apply(&mut asked, attributes)?;
    Ok(asked == *there)
}

fn redrive(rules: &mut QueueRules, text: &str) -> Result<(), AwsError> {
    if text.is_empty() {
        (rules.max_receives, rules.dead_letter) = (None, None);
        return Ok(());
    }
    let refuse = |why: &str| invalid("RedrivePolicy", text, why);
    let policy: Redrive = serde_json::from_str(text).map_err(|error| refuse(&format!("{error}.")))?;
    let most = match policy.max_receive_count {
        Count::Number(most) => Some(most),
        Count::Text(text) => text.parse().ok(),
    };
    let most = most.filter(|most| (1..=1000).contains(most));
    let most = most.ok_or_else(|| refuse("Invalid value for maxReceiveCount: expected 1 to 1000."))?;
    let dead = queue_of_arn(&policy.dead_letter_target_arn);
    let dead = dead.ok_or_else(|| refuse("Invalid value for deadLetterTargetArn."))?;
    (rules.max_receives, rules.dead_letter) = (Some(most), Some(dead));
    Ok(())
}

fn allow(text: &str) -> Result<Allow, AwsError> {
    let refuse = |why: &str| invalid("RedriveAllowPolicy", text, why);
    let policy: Allow = serde_json::from_str(text).map_err(|error| refuse(&format!("{error}.")))?;
    let queues = policy.source_queue_arns.len();
    match policy.redrive_permission.as_str() {
        "allowAll" | "denyAll" if queues == 0 => Ok(policy),
        "byQueue" if (1..=MOST_SOURCES).contains(&queues) => Ok(policy),
        "allowAll" | "denyAll" | "byQueue" => {
            Err(refuse("sourceQueueArns goes with byQueue, and has one to ten ARNs there."))
        }
        _ => Err(refuse("Expected redrivePermission allowAll, denyAll or byQueue.")),
    }
}

fn number(name: &str, value: &str, from: u64, to: u64) -> Result<u64, AwsError> {
    let number = value.parse().ok().filter(|number| (from..=to).contains(number));
    number.ok_or_else(|| refused(name, &format!("expected {from} to {to}")))
}

fn refused(name: &str, why: &str) -> AwsError {
    error("InvalidAttributeValue", format!("Invalid value for the parameter {name}: {why}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(attributes: &[(&str, &str)]) -> Result<QueueRules, AwsError> {
        let mut rules = QueueRules::default();
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        apply(&mut rules, &attributes).map(|()| rules)
    }

    #[test]
    fn attributes_are_the_queues_rules() {
        let redrive = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dead","maxReceiveCount":"3"}"#;
        let rules = applied(&[
            ("VisibilityTimeout", "60"),
            ("DelaySeconds", "5"),
            ("MessageRetentionPeriod", "120"),
            ("MaximumMessageSize", "2048"),
            ("ReceiveMessageWaitTimeSeconds", "20"),
            ("RedrivePolicy", redrive),
            ("SqsManagedSseEnabled", "true"),
        ])
        .unwrap();
        assert!(rules.sqs.sse);
        assert_eq!((rules.visibility.as_secs(), rules.delay.as_secs(), rules.retention.as_secs()), (60, 5, 120));
        assert_eq!((rules.max_bytes(), rules.sqs.wait), (2048, 20));
        assert_eq!((rules.max_receives, rules.dead_letter.as_ref().unwrap().as_str()), (Some(3), "dead"));
        let mut again = rules.clone();
        apply(&mut again, &[("RedrivePolicy".into(), String::new())].into()).unwrap();
        assert_eq!((again.max_receives, again.dead_letter), (None, None));
        assert!(same(&rules, &[("DelaySeconds".into(), "5".into())].into()).unwrap());
        assert!(!same(&rules, &[("DelaySeconds".into(), "6".into())].into()).unwrap());
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_name() {
        for (name, value, kind) in [
            ("VisibilityTimeout", "43201", "InvalidAttributeValue"),
            ("DelaySeconds", "soon", "InvalidAttributeValue"),
            ("MessageRetentionPeriod", "59", "InvalidAttributeValue"),
            ("MaximumMessageSize", "2000000", "InvalidAttributeValue"),
            ("KmsMasterKeyId", "alias/aws/sqs", "InvalidAttributeValue"),
            ("SqsManagedSseEnabled", "maybe", "InvalidAttributeValue"),
            ("FifoQueue", "true", "InvalidAttributeName"),
            ("Colour", "red", "InvalidAttributeName"),
            ("Policy", "{", "InvalidAttributeValue"),
            ("RedrivePolicy", "{}", "InvalidParameterValueException"),
            ("RedriveAllowPolicy", r#"{"redrivePermission":"byQueue"}"#, "InvalidParameterValueException"),
        ] {
            assert_eq!(applied(&[(name, value)]).unwrap_err().kind, kind, "{name}");
        }
    }

    #[test]
    fn a_dead_letter_queue_says_whose_it_is() {
        let arn = "arn:aws:sqs:us-east-1:000000000000:a";
        let by_queue = format!(r#"{{"redrivePermission":"byQueue","sourceQueueArns":["{arn}"]}}"#);
        for (policy, a, b) in [
            ("", true, true),
            (r#"{"redrivePermission":"allowAll"}"#, true, true),
            (r#"{"redrivePermission":"denyAll"}"#, false, false),
            (&by_queue, true, false),
        ] {
            let rules = applied(&[("RedriveAllowPolicy", policy)]).unwrap();
            assert_eq!((lets(&rules, &"a".parse().unwrap()), lets(&rules, &"b".parse().unwrap())), (a, b), "{policy}");
        }
    }
}
