//! Events against AWS's documented example, and every rule by which a result becomes a response.

use aws::http_event::{BadReply, Forwarded, HttpReply, HttpRequest, event, reply};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use model::{RequestId, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

fn headers(list: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in list {
        headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn read(method: Method, path: &str, query: &str, headers: &HeaderMap, body: &[u8]) -> Value {
    let id: RequestId = "e1506fd5-9e7b-434f-bd42-4f8fa224b599".parse().unwrap();
    let bytes = event(&HttpRequest {
        method: &method,
        raw_path: path,
        raw_query: query,
        version: Version::HTTP_11,
        headers,
        body,
        source_ip: "123.123.123.123",
        forwarded: Forwarded { client: "123.123.123.123", proto: "http", port: "8080" },
        trace_id: "Root=1-62ecd163-5f302e550dcde3b12402207d",
        traceparent: None,
        tracestate: None,
        request_id: &id,
        domain_name: "hello.fn.localhost",
        account_id: "anonymous",
        api_id: "hello",
        received: Timestamp(1_659_687_279_885_123),
        routed: None,
    });
    serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&bytes)))
}

fn with_body(kind: &str, body: &[u8]) -> Value {
    read(Method::POST, "/", "", &headers(&[("content-type", kind)]), body)
}

#[test]
fn an_event_reads_as_aws_documents_it() {
    let headers = headers(&[
        ("Host", "hello.fn.localhost:8080"),
        ("Content-Type", "text/plain"),
        ("header1", "value1"),
        ("Header2", "value1"),
        ("HEADER2", "value2"),
        ("User-Agent", "agent"),
        ("Cookie", "cookie1=a; cookie2=b"),
        ("Cookie", "hearth_session=secret; cookie3"),
        ("X-Forwarded-For", "6.6.6.6"),
        ("Connection", "keep-alive"),
        ("Transfer-Encoding", "chunked"),
    ]);
    let query = "parameter1=value1&parameter1=value2&parameter2=value&a%20b=c+d%2B&flag";
    let read = read(Method::POST, "/my/pa%20th", query, &headers, b"Hello from client!");
    let expected = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/my/pa%20th",
        "rawQueryString": query,
        "cookies": ["cookie1=a", "cookie2=b", "cookie3"],
        "headers": {
            "x-amzn-trace-id": "Root=1-62ecd163-5f302e550dcde3b12402207d",
            "x-forwarded-for": "123.123.123.123",
            "x-forwarded-proto": "http",
            "x-forwarded-port": "8080",
            "host": "hello.fn.localhost:8080",
            "content-type": "text/plain",
            "header1": "value1",
            "header2": "value1,value2",
            "user-agent": "agent",
        },
        "queryStringParameters": {
            "parameter1": "value1,value2",
            "parameter2": "value",
            "a b": "c d+",
            "flag": "",
        },
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "hello",
            "domainName": "hello.fn.localhost",
            "domainPrefix": "hello",
            "http": {
                "method": "POST",
                "path": "/my/pa%20th",
                "protocol": "HTTP/1.1",
                "sourceIp": "123.123.123.123",
                "userAgent": "agent",
            },
            "requestId": "e1506fd5-9e7b-434f-bd42-4f8fa224b599",
            "routeKey": "$default",
            "stage": "$default",
            "time": "05/Aug/2022:08:14:39 +0000",
            "timeEpoch": 1_659_687_279_885_i64,
        },
        "body": "Hello from client!",
        "isBase64Encoded": false,
    });
    assert_eq!(read, expected);
}

#[test]
fn what_is_not_there_is_left_out() {
    let event = read(Method::GET, "/", "", &HeaderMap::new(), b"");
    for key in ["cookies", "queryStringParameters", "body", "pathParameters", "stageVariables"] {
        assert!(event.get(key).is_none(), "{key}");
    }
    assert_eq!(event["isBase64Encoded"], false);
    assert_eq!(event["rawQueryString"], "");
}

#[test]
fn a_body_is_text_where_its_type_says_so() {
    for kind in ["text/html; charset=utf-8", "application/json", "Application/Problem+JSON", "image/svg+xml"] {
        let event = with_body(kind, "é\"\n".as_bytes());
        assert_eq!((&event["body"], &event["isBase64Encoded"]), (&json!("é\"\n"), &json!(false)), "{kind}");
    }
    for kind in ["application/x-www-form-urlencoded", "application/octet-stream", "image/png", "", "+json"] {
        let event = with_body(kind, b"a=b");
        assert_eq!((&event["body"], &event["isBase64Encoded"]), (&json!("YT1i"), &json!(true)), "{kind}");
    }
    let event = with_body("text/plain", b"\xff\xfe");
    assert_eq!((&event["body"], &event["isBase64Encoded"]), (&json!("//4="), &json!(true)));
}

fn answer(result: Value) -> Result<HttpReply, BadReply> {
    reply(&Bytes::from(result.to_string()))
}

#[test]
fn without_a_status_code_the_result_is_the_body() {
    let results = [
        json!("Hello, world!"),
        json!({"message": "Hello"}),
        json!(null),
        json!([1]),
        json!(3),
        json!({"statusCode": null}),
    ];
    for result in results {
        let answer = answer(result.clone()).unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["content-type"], "application/json");
        assert_eq!(answer.body, result.to_string());
    }
    for bad in [&b""[..], b"{", b"nope", b"\"\xff\"", b"{}x"] {
        assert_eq!(reply(&Bytes::copy_from_slice(bad)), Err(BadReply::NotJson));
    }
}

#[test]
fn with_a_status_code_the_result_describes_the_response() {
    let answer = answer(json!({
        "statusCode": 201,
        "headers": {"Content-Type": "text/html", "X-Number": 7, "X-True": true, "X-Null": null},
        "cookies": ["a=1; HttpOnly", "b=2", "hearth_session=stolen"],
        "multiValueHeaders": {"X-Old": ["1"]},
        "body": "<p>ü\n</p>",
        "isBase64Encoded": false,
        "more": {"deep": [[]]},
    }))
    .unwrap();
    assert_eq!(answer.status, 201);
    assert_eq!(answer.body, "<p>ü\n</p>");
    assert_eq!(answer.headers.get_all("set-cookie").iter().collect::<Vec<_>>(), ["a=1; HttpOnly", "b=2"]);
    assert_eq!(answer.headers["content-type"], "text/html");
    assert_eq!(
        (&answer.headers["x-number"], &answer.headers["x-true"]),
        (&"7".parse().unwrap(), &"true".parse().unwrap())
    );
    assert!(!answer.headers.contains_key("x-null") && !answer.headers.contains_key("x-old"));
}

#[test]
fn bodies_are_decoded_and_left_alone_as_told() {
    let body = |result: Value| answer(result).map(|reply| reply.body);
    assert_eq!(body(json!({"statusCode": 200, "body": "AP8=", "isBase64Encoded": true})).unwrap(), &b"\0\xff"[..]);
    assert_eq!(body(json!({"statusCode": 200, "body": "AP8="})).unwrap(), "AP8=");
    assert_eq!(body(json!({"statusCode": 200})).unwrap(), "");
    assert_eq!(body(json!({"statusCode": 200, "body": {"a": 1}})).unwrap(), r#"{"a":1}"#);
    assert_eq!(body(json!({"statusCode": 204, "body": "ignored"})).unwrap(), "");
    assert_eq!(body(json!({"statusCode": 200, "body": "%", "isBase64Encoded": true})), Err(BadReply::Base64));
    assert_eq!(body(json!({"statusCode": 200, "isBase64Encoded": "yes"})), Err(BadReply::Base64Flag));
    assert_eq!(reply(&Bytes::from_static(br#"{"statusCode":200,"body":"\ud800"}"#)), Err(BadReply::Body));
}

#[test]
fn a_status_code_must_be_a_final_one() {
    for good in [json!(200), json!("404"), json!(599), json!(302.0)] {
        assert!(answer(json!({"statusCode": good.clone()})).is_ok(), "{good}");
    }
    for bad in
        [json!(0), json!(99), json!(101), json!(600), json!(200.5), json!("ok"), json!([]), json!(-200), json!("+20")]
    {
        let refused = answer(json!({"statusCode": bad.clone()}));
        assert!(matches!(refused, Err(BadReply::Status(_))), "{bad}: {refused:?}");
    }
}

#[test]
fn headers_that_would_split_the_response_are_refused() {
    for (name, value) in
        [("x", "a\r\nb: c"), ("x", "a\0"), ("x", "\n"), ("x\r\ny", "1"), ("", "1"), ("a b", "1"), ("a:b", "1")]
    {
        let refused = answer(json!({"statusCode": 200, "headers": {name: value}}));
        assert!(matches!(refused, Err(BadReply::HeaderName(_) | BadReply::HeaderValue(_))), "{name:?} {value:?}");
    }
    assert_eq!(answer(json!({"statusCode": 200, "headers": {"x": ["1"]}})), Err(BadReply::Headers));
    assert_eq!(answer(json!({"statusCode": 200, "headers": "x"})), Err(BadReply::Headers));
    assert_eq!(answer(json!({"statusCode": 200, "cookies": ["a\r\nb"]})), Err(BadReply::Cookies));
    assert_eq!(answer(json!({"statusCode": 200, "cookies": "a=b"})), Err(BadReply::Cookies));
}

#[test]
fn what_is_the_connections_or_ours_is_dropped() {
    let answer = answer(json!({"statusCode": 200, "headers": {
        "Connection": "close, X-Mine", "X-Mine": "1", "Transfer-Encoding": "chunked", "Content-Length": "999",
        "Keep-Alive": "timeout=5", "Upgrade": "h2c", "Trailer": "x", "X-Hearth-Fault": "none",
        "X-Amzn-RequestId": "forged", "Set-Cookie": "__Host-hearth=stolen", "X-Kept": "yes",
    }}))
    .unwrap();
    let kept: Vec<_> = answer.headers.keys().map(HeaderName::as_str).collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert_eq!(answer.headers["x-kept"], "yes");
}

#[test]
fn depth_overflows_nothing() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    for text in [deep.clone(), format!(r#"{{"a":{deep}}}"#), format!(r#"{{"statusCode":200,"body":{deep}}}"#)] {
        assert!(reply(&Bytes::from(text)).is_ok());
    }
    let text = format!(r#"{{"statusCode":200,"headers":{{"x":{deep}}}}}"#);
    assert_eq!(reply(&Bytes::from(text)), Err(BadReply::Headers));
}

proptest! {
    #[test]
    fn any_request_becomes_json(
        path in "/[ -~]{0,40}",
        query in "[ -~]{0,80}",
        names in prop::collection::vec(("[a-zA-Z0-9-]{1,12}", prop::collection::vec(any::<u8>(), 0..40)), 0..8),
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut headers = HeaderMap::new();
        for (name, value) in &names {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value)) {
                headers.append(name, value);
            }
        }
        let event = read(Method::POST, &path, &query, &headers, &body);
        prop_assert_eq!(event["rawQueryString"].as_str(), Some(query.as_str()));
        prop_assert_eq!(event["body"].is_string(), !body.is_empty());
    }

    #[test]
    fn any_result_is_answered_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100), text in "\\PC{0,40}") {
        let _ = reply(&Bytes::from(bytes));
        let described = json!({"statusCode": 200, "headers": {"x": text.clone()}, "cookies": [text.clone()], "body": text.clone()});
        if let Ok(answer) = reply(&Bytes::from(described.to_string())) {
            prop_assert_eq!(answer.body, text);
        }
    }
}

#[test]
fn a_streams_head_is_a_reply_without_a_body() {
    let head = |text: &str| aws::http_event::head(&Bytes::copy_from_slice(text.as_bytes()));
    let told =
        head(r#"{"statusCode": 201, "headers": {"X-A": "1", "connection": "close"}, "cookies": ["a=1"]}"#).unwrap();
    assert_eq!(told.status, 201);
    assert_eq!(
        (&told.headers["x-a"], &told.headers["set-cookie"]),
        (&HeaderValue::from_static("1"), &HeaderValue::from_static("a=1"))
    );
    assert_eq!(told.headers["content-type"], "application/octet-stream");
    assert!(!told.headers.contains_key("connection") && told.body.is_empty());
    assert_eq!(head("{}").unwrap().status, 200);
    assert_eq!(head(r#"{"statusCode": 99}"#), Err(BadReply::Status("99".into())));
    for wrong in ["", "[]", "7", "{"] {
        assert_eq!(head(wrong), Err(BadReply::NotJson), "{wrong}");
    }
}
