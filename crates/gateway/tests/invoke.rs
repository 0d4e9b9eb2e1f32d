//! AWS's Invoke: who may, what it answers, what it refuses.

mod support;

use bytes::Bytes;
use http::Request;
use http::request::Builder;
use http_body_util::Full;
use model::{MAX_EVENT_BYTES, MAX_REQUEST_BYTES};
use serde_json::Value;
use support::{EARLIER, NARROW, TOKEN, body, gateway};

fn path(name: &str) -> String {
    format!("/2015-03-31/functions/{name}/invocations")
}

fn invoke(name: &str) -> Builder {
    Request::post(path(name)).header("host", "127.0.0.1:7070").header("authorization", format!("Bearer {TOKEN}"))
}

async fn send(request: Builder, payload: impl Into<Bytes>) -> gateway::Response {
    gateway().handle_invoke(request.body(Full::new(payload.into())).unwrap()).await
}

/// Status, exception and message of a refusal.
async fn refused(request: Builder, payload: impl Into<Bytes>) -> (u16, String, String) {
    let response = send(request, payload).await;
    let status = response.status().as_u16();
    let kind = response.headers()["x-amzn-errortype"].to_str().unwrap().to_owned();
    let value: Value = serde_json::from_slice(&body(response).await).unwrap();
    let message = value["Message"].as_str().or(value["message"].as_str()).unwrap();
    (status, kind, message.to_owned())
}

#[tokio::test]
async fn an_invocation_answers_as_aws_does() {
    let response = send(invoke("echo").header("x-amz-invocation-type", "RequestResponse"), r#"{"a": 1}"#).await;
    assert_eq!(response.status(), 200);
    let headers = response.headers();
    assert_eq!(headers["x-amz-executed-version"], "$LATEST");
    assert_eq!(headers["content-type"], "application/json");
    assert!(headers.contains_key("x-amzn-requestid") && headers.contains_key("x-amzn-trace-id"));
    assert!(!headers.contains_key("x-amz-function-error") && !headers.contains_key("x-amz-log-result"));
    assert_eq!(body(response).await, r#"{"a": 1}"#);
}

#[tokio::test]
async fn no_payload_is_an_empty_object() {
    assert_eq!(body(send(invoke("echo"), "").await).await, "{}");
}

#[tokio::test]
async fn a_failed_function_is_a_200_that_says_so() {
    for (name, code) in [("boom", "HEARTH-F008"), ("timeout", "HEARTH-F001"), ("init", "HEARTH-F004")] {
        let response = send(invoke(name), "{}").await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["x-amz-function-error"], "Unhandled");
        assert_eq!(response.headers()["x-hearth-fault"], code);
        let payload: Value = serde_json::from_slice(&body(response).await).unwrap();
        assert!(payload["errorType"].is_string() && payload["errorMessage"].is_string(), "{payload}");
    }
}

#[tokio::test]
async fn the_tail_of_the_log_comes_on_demand() {
    use base64::Engine as _;
    let response = send(invoke("log").header("x-amz-log-type", "Tail"), "{}").await;
    let log = base64::engine::general_purpose::STANDARD.decode(&response.headers()["x-amz-log-result"]).unwrap();
    assert_eq!(log.len(), 4096);
    assert!(log.ends_with(b"xEND"));
}

#[tokio::test]
async fn every_form_of_a_name_is_understood() {
    for name in [
        "echo",
        "echo:$LATEST",
        "echo%3A%24LATEST",
        "000000000000:function:echo",
        "arn%3Aaws%3Alambda%3Aeu-west-1%3A123456789012%3Afunction%3Aecho",
        "arn:aws:lambda:us-east-1:000000000000:function:echo:$LATEST",
    ] {
        assert_eq!(send(invoke(name), "{}").await.status(), 200, "{name}");
    }
    let latest =
        Request::post(format!("{}?Qualifier=%24LATEST", path("echo"))).header("authorization", "bearer hth_good");
    assert_eq!(send(latest, "{}").await.status(), 200);
}

#[tokio::test]
async fn what_is_not_there_is_named_by_its_arn() {
    for (uri, shown) in [
        (path("nobody"), "nobody"),
        (path("echo:prod"), "echo:prod"),
        (path("echo:7"), "echo:7"),
        (path("echo") + "?Qualifier=blue", "echo:blue"),
    ] {
        let (status, kind, message) =
            refused(Request::post(uri).header("authorization", "Bearer hth_good"), "{}").await;
        assert_eq!((status, kind.as_str()), (404, "ResourceNotFoundException"));
        assert_eq!(message, format!("Function not found: arn:aws:lambda:us-east-1:000000000000:function:{shown}"));
    }
    let uri = path("echo:1") + "?Qualifier=2";
    let (status, kind, _) = refused(Request::post(uri).header("authorization", "Bearer hth_good"), "{}").await;
    assert_eq!((status, kind.as_str()), (400, "InvalidParameterValueException"));
    assert_eq!(refused(invoke("a%20b"), "{}").await.1, "ValidationException");
    assert_eq!(refused(invoke("a/b"), "{}").await.0, 404);
}

#[tokio::test]
async fn invocation_types_are_known_or_named() {
    let typed = |kind: &'static str| invoke("echo").header("x-amz-invocation-type", kind);
    let dry = send(typed("DryRun"), "{}").await;
    assert_eq!(dry.status(), 204);
    assert_eq!(body(dry).await, "");
    assert_eq!(refused(invoke("nobody").header("x-amz-invocation-type", "DryRun"), "").await.0, 404);
    let (status, exception, message) = refused(typed("Streaming"), "{}").await;
    assert_eq!((status, exception.as_str()), (400, "InvalidParameterValueException"));
    assert!(message.contains("Streaming"), "{message}");
    assert_eq!(refused(invoke("echo").header("x-amz-log-type", "All"), "{}").await.0, 400);
}

#[tokio::test]
async fn an_event_is_a_202_without_a_body() {
    let event = |name: &str| invoke(name).header("x-amz-invocation-type", "Event");
    let kept = send(event("echo"), r#"{"a": 1}"#).await;
    assert_eq!(kept.status(), 202);
    assert!(kept.headers().contains_key("x-amzn-requestid") && !kept.headers().contains_key("x-amz-executed-version"));
    assert_eq!(body(kept).await, "");
    assert_eq!(refused(event("nobody"), "{}").await.0, 404);
    assert_eq!(refused(event("echo"), "{").await.1, "InvalidRequestContentException");
    let (status, kind, message) = refused(event("echo"), format!("\"{}\"", "x".repeat(MAX_EVENT_BYTES))).await;
    assert_eq!((status, kind.as_str()), (413, "RequestTooLargeException"));
    assert!(message.contains("1048578 byte payload is too large for the Event invocation type"), "{message}");
    assert_eq!(refused(event("busy"), "{}").await.1, "TooManyRequestsException");
    assert_eq!(refused(event("broken"), "{}").await.0, 507);
}

#[tokio::test]
async fn a_key_known_is_answered_with_its_event() {
    let keyed = |kind: &'static str, key: &str| {
        invoke("echo").header("x-amz-invocation-type", kind).header("idempotency-key", key)
    };
    let known = send(keyed("Event", "order-17"), "{}").await;
    assert_eq!(known.status(), 202);
    assert_eq!(known.headers()["x-amzn-requestid"], EARLIER);
    assert_eq!(known.headers()["idempotency-replayed"], "true");
    assert_eq!(refused(keyed("Event", &"k".repeat(256)), "{}").await.0, 400);
    let (status, _, message) = refused(keyed("RequestResponse", "k"), "{}").await;
    assert_eq!(status, 400);
    assert!(message.contains("Idempotency-Key is for events"), "{message}");
}

#[tokio::test]
async fn a_client_context_is_small_and_json() {
    let with = |value: &str| invoke("echo").header("x-amz-client-context", value);
    assert_eq!(send(with("eyJhIjoxfQ=="), "{}").await.status(), 200);
    for bad in ["%%%", "bm90IGpzb24=", &"e".repeat(3584)] {
        assert_eq!(refused(with(bad), "{}").await.1, "InvalidRequestContentException");
    }
}

#[tokio::test]
async fn a_payload_that_is_not_json_is_refused() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    for bad in ["{", "{'a': 1}", "nope", "{} {}", &deep] {
        let (status, kind, message) = refused(invoke("echo"), bad.to_owned()).await;
        assert_eq!((status, kind.as_str()), (400, "InvalidRequestContentException"));
        assert!(message.starts_with("Could not parse request body into json: "), "{message}");
    }
    assert_eq!(refused(invoke("echo"), &b"\"\xff\""[..]).await.0, 400);
    let huge = format!("[{}, 1e99999]", "9".repeat(100_000));
    assert_eq!(send(invoke("echo"), huge).await.status(), 200);
}

#[tokio::test]
async fn a_payload_over_6_mb_is_refused() {
    let text = |size: usize| format!("\"{}\"", "x".repeat(size - 2));
    assert_eq!(send(invoke("echo"), text(MAX_REQUEST_BYTES)).await.status(), 200);
    let (status, kind, message) = refused(invoke("echo"), text(MAX_REQUEST_BYTES + 1)).await;
    assert_eq!((status, kind.as_str()), (413, "RequestTooLargeException"));
    assert_eq!(message, "Request must be smaller than 6291456 bytes for the InvokeFunction operation");
}

#[tokio::test]
async fn a_busy_function_is_a_throttled_one() {
    let response = send(invoke("busy"), "{}").await;
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "2");
    let value: Value = serde_json::from_slice(&body(response).await).unwrap();
    assert_eq!(value["Reason"], "ReservedFunctionConcurrentInvocationLimitExceeded");
}

#[tokio::test]
async fn a_stranger_is_turned_away_before_the_function_is_looked_for() {
    for name in ["echo", "nobody"] {
        let request = Request::post(path(name)).header("host", "a");
        assert_eq!(refused(request, "{}").await.1, "MissingAuthenticationTokenException");
        for wrong in ["Bearer", "Bearer ", "Bearer wrong", "Bearer hth_goo", "Basic aHRoX2dvb2Q="] {
            let request = Request::post(path(name)).header("host", "a").header("authorization", wrong);
            assert_eq!(refused(request, "{}").await.0, 403, "{wrong}");
        }
        let signed = "AWS4-HMAC-SHA256 Credential=AKIANOBODY/20260102/us-east-1/lambda/aws4_request, \
                      SignedHeaders=host;x-amz-date, Signature=00";
        let request = Request::post(path(name)).header("host", "a").header("authorization", signed);
        let (status, kind, message) = refused(request.header("x-amz-date", "20260102T030405Z"), "{}").await;
        assert_eq!((status, kind.as_str()), (403, "InvalidSignatureException"), "{message}");
    }
}

#[tokio::test]
async fn what_is_streamed_is_messages_and_says_at_the_end_how_it_went() {
    let streaming = |name: &str| {
        Request::post(format!("/2021-11-15/functions/{name}/response-streaming-invocations"))
            .header("host", "127.0.0.1:7070")
            .header("authorization", format!("Bearer {TOKEN}"))
    };
    let contains = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|some| some == text.as_bytes());
    let response = send(streaming("echo"), r#"{"a": 1}"#).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/vnd.amazon.eventstream");
    assert_eq!(response.headers()["x-amz-executed-version"], "$LATEST");
    let messages = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    assert!(contains(&messages, r#"PayloadChunk"#) && contains(&messages, r#"{"a": 1}"#));
    assert!(contains(&messages, "InvokeComplete") && !contains(&messages, "ErrorCode"));
    for failing in ["boom", "init"] {
        let response = send(streaming(failing), "{}").await;
        assert_eq!(response.status(), 200, "it ran, and failed");
        let messages = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        assert!(contains(&messages, r#""ErrorCode":"Unhandled""#) && !contains(&messages, "PayloadChunk"), "{failing}");
    }
    assert_eq!(refused(streaming("busy"), "{}").await.0, 429);
    assert_eq!(refused(streaming("nobody"), "{}").await.1, "ResourceNotFoundException");
    let (status, kind, _) = refused(streaming("echo").header("x-amz-invocation-type", "Event"), "{}").await;
    assert_eq!((status, kind.as_str()), (400, "InvalidParameterValueException"));
    assert_eq!(send(streaming("echo").header("x-amz-invocation-type", "DryRun"), "{}").await.status(), 204);
}

#[tokio::test]
async fn a_function_out_of_reach_is_answered_as_an_absent_one() {
    let call = |name: &str| {
        let request = Request::post(path(name)).header("host", "127.0.0.1:7070");
        request.header("authorization", format!("Bearer {NARROW}")).body(Full::new(Bytes::from_static(b"{}"))).unwrap()
    };
    let gateway = gateway();
    let status = async |name: &str| gateway.handle_invoke(call(name)).await.status().as_u16();
    assert_eq!(
        [status("echo").await, status("page").await, status("boom").await, status("none").await],
        [200, 403, 404, 404]
    );
}
