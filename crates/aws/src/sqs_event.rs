//! The record of one message in the event that AWS sends a function for a queue, and what the function may answer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use model::{MessageAttribute, MessageAttributes, QueueName, RequestId, Timestamp};
use serde_json::{Value, json};

/// A message, as it is told to a function.
pub struct Message<'a> {
    pub queue: &'a QueueName,
    pub id: RequestId,
    pub receipt: RequestId,
    pub body: &'a str,
    pub attributes: &'a MessageAttributes,
    pub sent: Timestamp,
    pub first_received: Timestamp,
    pub receives: u32,
    /// The queue that gave it up.
    pub origin: Option<&'a QueueName>,
    /// The trace of whoever sent it.
    pub trace: Option<&'a str>,
}

/// A queue's ARN.
pub fn arn(queue: &QueueName, (region, account): (&str, &str)) -> String {
    format!("arn:aws:sqs:{region}:{account}:{queue}")
}

/// MD5 of a body in lower-case hexadecimal digits, as SQS's clients compare it.
pub fn md5_of(body: &[u8]) -> String {
    Md5::digest(body).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// MD5 of attributes, as SQS's clients compare it: each name, type and value by name, with their lengths before them.
pub fn md5_of_attributes(attributes: &MessageAttributes) -> String {
    let mut bytes = Vec::new();
    let mut put = |kind: Option<u8>, part: &[u8]| {
        bytes.extend(kind);
        bytes.extend((part.len() as u32).to_be_bytes());
        bytes.extend(part);
    };
    for (name, MessageAttribute { data_type, string_value, binary_value }) in attributes {
        put(None, name.as_bytes());
        put(None, data_type.as_bytes());
        match (string_value, binary_value) {
            (Some(text), _) => put(Some(1), text.as_bytes()),
            // That it is base64 was seen to when it was sent.
            (None, binary) => {
                put(Some(2), &STANDARD.decode(binary.as_deref().unwrap_or_default()).unwrap_or_default());
            }
        }
    }
    md5_of(&bytes)
}

// === impl Message ===

impl Message<'_> {
    /// An element of `Records`.
    pub fn to_json(&self, place: (&str, &str)) -> Value {
        let attribute = |(name, one): (&String, &model::MessageAttribute)| {
            let mut value = json!({"stringListValues": [], "binaryListValues": [], "dataType": one.data_type});
            if let Some(text) = &one.string_value {
                value["stringValue"] = text.as_str().into();
            }
            if let Some(bytes) = &one.binary_value {
                // As it was sent, in the one form that all decoders take.
                let decoded = STANDARD.decode(bytes).map(|bytes| STANDARD.encode(bytes));
                value["binaryValue"] = decoded.unwrap_or_else(|_| bytes.clone()).into();
            }
            (name.clone(), value)
        };
        let mut attributes = json!({
            "ApproximateReceiveCount": self.receives.to_string(),
            "SentTimestamp": self.sent.millis().to_string(),
            "SenderId": place.1,
            "ApproximateFirstReceiveTimestamp": self.first_received.millis().to_string(),
        });
        if let Some(origin) = self.origin {
            attributes["DeadLetterQueueSourceArn"] = arn(origin, place).into();
        }
        if let Some(trace) = self.trace {
            attributes["AWSTraceHeader"] = trace.into();
        }
        json!({
            "messageId": self.id.to_string(),
            "receiptHandle": self.receipt.to_string(),
            "body": self.body,
            "attributes": attributes,
            "messageAttributes": self.attributes.iter().map(attribute).collect::<serde_json::Map<_, _>>(),
            "md5OfBody": md5_of(self.body.as_bytes()),
            "eventSource": "aws:sqs",
            "eventSourceARN": arn(self.queue, place),
            "awsRegion": place.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_what_aws_sends() {
        let queue = "orders".parse().unwrap();
        let attribute =
            model::MessageAttribute { data_type: "String".into(), string_value: Some("v".into()), binary_value: None };
        let attributes = [("n".to_owned(), attribute)].into();
        let (id, receipt) = (RequestId::random(), RequestId::random());
        let message = Message {
            queue: &queue,
            id,
            receipt,
            body: "hello",
            attributes: &attributes,
            sent: Timestamp(1_000_000),
            first_received: Timestamp(2_000_000),
            receives: 3,
            origin: None,
            trace: Some("Root=1-5759e988-bd862e3fe1be46a994272793"),
        };
        let record = message.to_json(("us-east-1", "000000000000"));
        assert_eq!(record["md5OfBody"], "5d41402abc4b2a76b9719d911017c592");
        assert_eq!(record["eventSourceARN"], "arn:aws:sqs:us-east-1:000000000000:orders");
        assert_eq!(record["attributes"]["ApproximateReceiveCount"], "3");
        assert_eq!(record["attributes"]["SentTimestamp"], "1000");
        assert_eq!(record["attributes"]["AWSTraceHeader"], "Root=1-5759e988-bd862e3fe1be46a994272793");
        assert_eq!(record["messageAttributes"]["n"]["stringValue"], "v");
        assert_eq!(record["messageId"], id.to_string());
    }
}
