//! The invocation record that AWS Lambda sends to a destination of an asynchronous invocation.

use bytes::Bytes;
use model::{FunctionName, LATEST, MAX_REQUEST_BYTES, Qualifier, RequestId, Timestamp, Version};
use serde::Serialize;
use serde_json::value::RawValue;

/// What a record tells of an event and its last run.
#[derive(Debug, Clone)]
pub struct InvocationRecord<'a> {
    pub time: Timestamp,
    pub id: RequestId,
    pub function: &'a FunctionName,
    pub region: &'a str,
    pub account: &'a str,
    /// `Success`, `RetriesExhausted`, `EventAgeExceeded` and so on.
    pub condition: &'a str,
    pub attempts: u32,
    pub request: &'a [u8],
    /// The version or alias that was asked for.
    pub qualifier: Option<&'a Qualifier>,
    /// The version that ran last.
    pub executed: Version,
    /// What the function answered last and whether that was an error; none if it never ran.
    pub response: Option<(&'a [u8], bool)>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shape<'a> {
    version: &'static str,
    timestamp: String,
    request_context: RequestContext<'a>,
    request_payload: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_context: Option<ResponseContext>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_payload: Option<Box<RawValue>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext<'a> {
    request_id: RequestId,
    function_arn: String,
    condition: &'a str,
    approximate_invoke_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponseContext {
    status_code: u16,
    executed_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_error: Option<&'static str>,
    /// Hearth's own: the payload is left out, because the record would be longer than an event may be.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    payload_omitted: bool,
}

// === impl InvocationRecord ===

impl InvocationRecord<'_> {
    /// The record as JSON, at most as long as an event may be.
    pub fn to_json(&self) -> Bytes {
        let whole = self.json(false);
        if whole.len() <= MAX_REQUEST_BYTES { whole } else { self.json(true) }
    }

    fn json(&self, omit: bool) -> Bytes {
        let (region, account, function) = (self.region, self.account, self.function);
        let qualifier = self.qualifier.map_or_else(|| LATEST.to_owned(), ToString::to_string);
        let context = |failed: bool| ResponseContext {
            status_code: 200,
            executed_version: self.executed.to_string(),
            function_error: failed.then_some("Unhandled"),
            payload_omitted: omit,
        };
        let shape = Shape {
            version: "1.0",
            timestamp: self.time.rfc3339(),
            request_context: RequestContext {
                request_id: self.id,
                function_arn: format!("arn:aws:lambda:{region}:{account}:function:{function}:{qualifier}"),
                condition: self.condition,
                approximate_invoke_count: self.attempts,
            },
            // It was checked when it came in.
            request_payload: serde_json::from_slice(self.request).unwrap_or(RawValue::NULL),
            response_context: self.response.map(|(_, failed)| context(failed)),
            response_payload: self.response.filter(|_| !omit).map(|(payload, _)| raw(payload)),
        };
        serde_json::to_vec(&shape).unwrap_or_default().into()
    }
}

/// JSON as it is, and what a runtime wrote that is none as a text.
fn raw(payload: &[u8]) -> Box<RawValue> {
    let text = || serde_json::value::to_raw_value(&String::from_utf8_lossy(payload)).ok();
    serde_json::from_slice(payload).ok().or_else(text).unwrap_or_else(|| RawValue::NULL.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record<'a>(request: &'a [u8], response: Option<(&'a [u8], bool)>) -> serde_json::Value {
        let record = InvocationRecord {
            time: Timestamp(1_763_805_600_123_000),
            id: "2f0e4b5a-0000-4000-8000-000000000000".parse().unwrap(),
            function: &"f".parse().unwrap(),
            region: "us-east-1",
            account: "000000000000",
            condition: "RetriesExhausted",
            attempts: 3,
            request,
            qualifier: None,
            executed: Version::Latest,
            response,
        };
        serde_json::from_slice(&record.to_json()).unwrap()
    }

    #[test]
    fn it_has_awss_shape() {
        let expected = serde_json::json!({
            "version": "1.0",
            "timestamp": "2025-11-22T10:00:00.123Z",
            "requestContext": {
                "requestId": "2f0e4b5a-0000-4000-8000-000000000000",
                "functionArn": "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST",
                "condition": "RetriesExhausted",
                "approximateInvokeCount": 3,
            },
            "requestPayload": {"a": 1},
            "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
            "responsePayload": {"errorMessage": "x"},
        });
        assert_eq!(record(br#"{"a":1}"#, Some((br#"{"errorMessage":"x"}"#, true))), expected);
        let never = record(b"1", None);
        assert!(never.get("responseContext").is_none() && never.get("responsePayload").is_none());
    }

    #[test]
    fn what_would_be_too_long_is_left_out_and_said_to_be() {
        let long = format!("\"{}\"", "x".repeat(MAX_REQUEST_BYTES));
        let told = record(b"{}", Some((long.as_bytes(), false)));
        assert_eq!(told["responseContext"]["payloadOmitted"], true);
        assert!(told.get("responsePayload").is_none());
        assert_eq!(record(b"{}", Some((b"not json", false)))["responsePayload"], "not json");
    }
}
