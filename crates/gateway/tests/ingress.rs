//! The functions' own URLs: routing, events, responses, failures.

mod support;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use model::MAX_REQUEST_BYTES;
use serde_json::Value;
use support::{body, gateway};

async fn send(request: http::request::Builder, payload: impl Into<Bytes>) -> gateway::Response {
    let request = request.body(Full::new(payload.into())).unwrap();
    gateway().handle_ingress(request, "10.1.2.3:4567".parse().unwrap()).await
}

async fn get(uri: &str) -> gateway::Response {
    send(Request::get(uri).header("host", "127.0.0.1:8080"), "").await
}

async fn json(response: gateway::Response) -> Value {
    serde_json::from_slice(&body(response).await).unwrap()
}

#[tokio::test]
async fn a_function_gets_the_event_of_its_url() {
    let event = json(get("/fn/echo/a%20b/c?x=1&x=2").await).await;
    assert_eq!(event["rawPath"], "/a%20b/c");
    assert_eq!(event["queryStringParameters"]["x"], "1,2");
    assert_eq!(event["requestContext"]["http"]["sourceIp"], "10.1.2.3");
    assert_eq!(event["requestContext"]["domainName"], "127.0.0.1");
    assert_eq!(event["requestContext"]["apiId"], "echo");
    assert_eq!(event["headers"]["x-forwarded-port"], "8080");
    let by_host = send(Request::get("/x").header("host", "echo.fn.localhost:8080"), "").await;
    let event = json(by_host).await;
    assert_eq!((&event["rawPath"], &event["requestContext"]["domainPrefix"]), (&"/x".into(), &"echo".into()));
}

#[tokio::test]
async fn the_answer_names_the_request() {
    let response = get("/fn/echo").await;
    let (id, trace) = (response.headers()["x-amzn-requestid"].clone(), response.headers()["x-amzn-trace-id"].clone());
    let event = json(response).await;
    assert_eq!(event["requestContext"]["requestId"], id.to_str().unwrap());
    assert_eq!(event["headers"]["x-amzn-trace-id"], trace.to_str().unwrap());
    assert!(trace.to_str().unwrap().starts_with("Root=1-"));
}

#[tokio::test]
async fn a_forged_forwarded_header_is_replaced() {
    let request = Request::get("/fn/echo").header("host", "a").header("x-forwarded-for", "6.6.6.6");
    let event = json(send(request.header("x-forwarded-proto", "https"), "").await).await;
    assert_eq!(event["headers"]["x-forwarded-for"], "10.1.2.3");
    assert_eq!(event["headers"]["x-forwarded-proto"], "http");
}

#[tokio::test]
async fn the_function_decides_the_response() {
    let response = get("/fn/page").await;
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["content-type"], "text/html");
    assert_eq!(response.headers().get_all("set-cookie").iter().count(), 1);
    assert!(!response.headers().contains_key("connection"));
    assert_eq!(body(response).await, "<p>");
}

#[tokio::test]
async fn what_failed_is_a_502_with_awss_bytes_and_our_code() {
    for (name, code) in [
        ("boom", "HEARTH-F008"),
        ("timeout", "HEARTH-F001"),
        ("init", "HEARTH-F004"),
        ("split", "HEARTH-F008"),
        ("nonsense", "HEARTH-F008"),
    ] {
        let response = get(&format!("/fn/{name}")).await;
        assert_eq!(response.status(), 502, "{name}");
        assert_eq!(response.headers()["x-hearth-fault"], code, "{name}");
        assert!(response.headers().contains_key("x-hearth-request-id"), "{name}");
        assert!(!response.headers().contains_key("set-cookie"), "{name}");
        assert_eq!(body(response).await, "Internal Server Error", "{name}");
    }
    assert_eq!(get("/fn/split").await.headers()["x-hearth-reason"], "header x has a value that HTTP cannot carry");
}

#[tokio::test]
async fn a_busy_function_says_when_to_come_back() {
    let response = get("/fn/busy").await;
    assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (429, &"2".parse().unwrap()));
}

#[tokio::test]
async fn our_own_defects_are_not_explained_to_the_public() {
    let response = get("/fn/broken").await;
    assert_eq!(response.status(), 503);
    let text = body(response).await;
    assert!(!text.windows(6).any(|w| w == b"defect" || w == b"secret"), "{text:?}");
}

#[tokio::test]
async fn absent_and_without_a_url_look_the_same() {
    for uri in
        ["/fn/nobody", "/fn/hidden", "/fn/a.b", "/fn/echo:prod", "/fn/..%2fecho", "/", "/fn/", "/2015-03-31/functions"]
    {
        let response = get(uri).await;
        assert_eq!(response.status(), 404, "{uri}");
        assert_eq!(response.headers()["x-hearth-fault"], "HEARTH-C003");
        assert!(json(response).await["Message"].is_string());
    }
    let text = |uri| async move { String::from_utf8(body(get(uri).await).await.to_vec()).unwrap() };
    assert_eq!(text("/fn/nobody").await.replace("nobody", "hidden"), text("/fn/hidden").await);
}

#[tokio::test]
async fn a_body_must_fit_with_its_base64() {
    let post = |kind: &'static str, size: usize| {
        let request = Request::post("/fn/echo").header("host", "a").header("content-type", kind);
        send(request, vec![b'x'; size])
    };
    assert_eq!(post("text/plain", MAX_REQUEST_BYTES - 2000).await.status(), 200);
    assert_eq!(post("text/plain", MAX_REQUEST_BYTES).await.status(), 413);
    assert_eq!(post("image/png", MAX_REQUEST_BYTES / 4 * 3 - 2000).await.status(), 200);
    assert_eq!(post("image/png", MAX_REQUEST_BYTES / 4 * 3).await.status(), 413);
    let over = post("text/plain", MAX_REQUEST_BYTES + 1).await;
    assert_eq!((over.status().as_u16(), &over.headers()["connection"]), (413, &"close".parse().unwrap()));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn no_path_host_or_header_makes_it_panic(
        path in "/(fn/)?[!-~]{0,40}",
        host in "[ -~]{0,30}",
        value in proptest::collection::vec(0x20u8..=0xff, 0..60),
    ) {
        let request = Request::post(path).header("host", host).header("content-type", &value[..]).header("cookie", &value[..]);
        if let Ok(request) = request.header("x-amzn-trace-id", &value[..]).body(Full::new(Bytes::from(value.clone()))) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let response = runtime.block_on(gateway().handle_ingress(request, "[::1]:1".parse().unwrap()));
            proptest::prop_assert!(response.status().as_u16() >= 200);
        }
    }
}
