//! Routes that functions declare: events, keys, signatures, limits, CORS.

mod support;

use bytes::Bytes;
use gateway::Gateway;
use http::Request;
use http_body_util::Full;
use model::{CodeHash, Function, FunctionSpec, Revision, Runtime, Timestamp};
use serde_json::Value;
use support::{Fake, body, code, gateway};

/// Functions by name, each with its routes.
fn routes(of: &[(&str, &[&str])]) -> Gateway<Fake> {
    let function = |(name, routes): &(&str, &[&str])| {
        let mut spec = FunctionSpec::new(name.parse().unwrap(), Runtime::python("3.11"), "app.handler");
        spec.routes = routes.iter().map(|text| text.parse().unwrap_or_else(|error| panic!("{error}"))).collect();
        let code = CodeHash::from_digest(&[0; 32]);
        Function {
            spec,
            revision: Revision(1),
            code,
            code_size: 1,
            modified: Timestamp(0),
            version: Default::default(),
        }
    };
    let functions: Vec<_> = of.iter().map(function).collect();
    let gateway = gateway();
    gateway.set_routes(&functions);
    gateway
}

async fn send(
    gateway: &Gateway<Fake>,
    request: &str,
    headers: &[(&str, &str)],
    payload: impl Into<Bytes>,
) -> gateway::Response {
    let (method, target) = request.split_once(' ').unwrap();
    let (host, path) = target.split_at(target.find('/').unwrap());
    let mut builder = Request::builder().method(method).uri(path).header("host", host);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    gateway.handle_ingress(builder.body(Full::new(payload.into())).unwrap(), "10.1.2.3:4567".parse().unwrap()).await
}

async fn json(response: gateway::Response) -> Value {
    serde_json::from_slice(&body(response).await).unwrap()
}

fn hex(code: [u8; 32]) -> String {
    code.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_function_gets_the_event_of_its_route() {
    let gateway = routes(&[("echo", &["POST /thumbs/{name}", "/files/{proxy+}"])]);
    let event = json(send(&gateway, "POST a.b:80/thumbs/x%20y?q=1", &[], "hi").await).await;
    assert_eq!(event["routeKey"], "POST /thumbs/{name}");
    assert_eq!(event["requestContext"]["routeKey"], "POST /thumbs/{name}");
    assert_eq!(event["rawPath"], "/thumbs/x%20y");
    assert_eq!(event["pathParameters"], serde_json::json!({"name": "x y"}));
    assert_eq!(event["requestContext"]["http"]["path"], "/thumbs/x%20y");
    assert_eq!(event["requestContext"]["accountId"], "000000000000");
    assert_eq!(event["queryStringParameters"]["q"], "1");
    let event = json(send(&gateway, "GET a.b/files/a/b", &[], "").await).await;
    assert_eq!((&event["routeKey"], &event["pathParameters"]["proxy"]), (&"ANY /files/{proxy+}".into(), &"a/b".into()));
    let refused = send(&gateway, "GET a.b/thumbs/x", &[], "").await;
    assert_eq!((refused.status(), refused.headers()["allow"].to_str().unwrap()), (405.try_into().unwrap(), "POST"));
    assert_eq!(send(&gateway, "GET a.b/none", &[], "").await.status(), 404);
    assert_eq!(send(&gateway, "GET a.b/files/../thumbs", &[], "").await.status(), 400);
}

#[tokio::test]
async fn functions_keep_their_own_urls_beside_routes() {
    let gateway = routes(&[("page", &["/{proxy+}", "own.example/{proxy+}"])]);
    assert_eq!(json(send(&gateway, "GET a.b/fn/echo/x", &[], "").await).await["rawPath"], "/x");
    assert_eq!(send(&gateway, "GET a.b/x", &[], "").await.status(), 201);
    assert_eq!(json(send(&gateway, "GET echo.fn.localhost/x", &[], "").await).await["routeKey"], "$default");
    // A host that is a route's own is wholly its own.
    assert_eq!(send(&gateway, "GET own.example/fn/echo/x", &[], "").await.status(), 201);
    assert_eq!(send(&gateway, "GET a.b/fn/none", &[], "").await.status(), 404);
}

#[tokio::test]
async fn routes_change_whole() {
    let gateway = routes(&[("page", &["/a"])]);
    assert_eq!(send(&gateway, "GET x/a", &[], "").await.status(), 201);
    gateway.set_routes(&[]);
    assert_eq!(send(&gateway, "GET x/a", &[], "").await.status(), 404);
}

#[tokio::test]
async fn a_route_with_keys_wants_one_that_is_valid_there() {
    let gateway = routes(&[("echo", &["/echo auth=api-key"]), ("page", &["/page auth=api-key"])]);
    let status = async |path: &str, headers: &[(&str, &str)]| send(&gateway, path, headers, "").await.status().as_u16();
    assert_eq!(status("GET x/echo", &[]).await, 401);
    assert_eq!(status("GET x/echo", &[("x-api-key", "bad")]).await, 401);
    assert_eq!(status("GET x/echo", &[("x-api-key", "good"), ("x-api-key", "good")]).await, 401);
    assert_eq!(status("GET x/echo", &[("x-api-key", "of-page")]).await, 403);
    assert_eq!(status("GET x/page", &[("x-api-key", "of-page")]).await, 201);
    let event = json(send(&gateway, "GET x/echo", &[("x-api-key", "good"), ("x-b", "c")], "").await).await;
    assert!(event["headers"]["x-b"] == "c" && event["headers"].get("x-api-key").is_none(), "{event}");
}

#[tokio::test]
async fn nobody_gets_around_a_routes_auth_by_another_path() {
    // The last takes all that the guarded ones leave, for the same function.
    let gateway = routes(&[(
        "page",
        &["/admin auth=api-key", "/admin/{proxy+} auth=api-key", "GET /a/{b}/c auth=github:key", "/{proxy+}", "/"],
    )]);
    for path in [
        "/admin",
        "/admin/",
        "/admin?x=/",
        "/%61dmin",
        "/%61%64%6D%69%6E/",
        "/admin/x",
        "/admin/x/",
        "/admin//",
        "//admin",
        "/./admin",
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/x/..%2fadmin",
        "/x%2f..%2fadmin",
        "/%2fadmin",
        "/admin%2f",
        "/admin%2Fx",
        "/admin;a=b",
        "/admin;/x",
        "/admin%3Ba",
        "/Admin",
        "/ADMIN/x",
        "/%41dmin",
        "/%5cadmin",
        "/admin%00",
        "/admin%0d%0a",
        "/admin%",
        "/A/b/c",
        "/a/b/C/",
        "/a/b%2fc",
    ] {
        for method in ["GET", "HEAD"] {
            let status = send(&gateway, &format!("{method} x{path}"), &[], "").await.status().as_u16();
            assert!([400, 401].contains(&status), "{method} {path}: {status}");
        }
    }
    // And those that nobody would take for them pass.
    for path in ["/", "/x", "/admins", "/x/admin", "/a/b", "/a/b/d", "/a/b/c/d"] {
        assert_eq!(send(&gateway, &format!("GET x{path}"), &[], "").await.status(), 201, "{path}");
    }
}

#[tokio::test]
async fn a_signed_route_wants_the_code_of_its_body() {
    let gateway = routes(&[
        ("page", &["/github auth=github:key max-body=16", "/stripe auth=stripe:key"]),
        ("echo", &["/gone auth=github:gone"]),
    ]);
    let good = format!("sha256={}", hex(code(b"body")));
    let github = async |signature: &str, payload: &'static str| {
        let headers = [("x-hub-signature-256", signature)];
        send(&gateway, "POST x/github", &headers, payload).await.status().as_u16()
    };
    assert_eq!(github(&good, "body").await, 201);
    assert_eq!(github(&good, "bodz").await, 401);
    assert_eq!(github("sha256=00", "body").await, 401);
    assert_eq!(github(&good, "a body that is longer than the route takes").await, 413);
    assert_eq!(send(&gateway, "POST x/github", &[], "body").await.status(), 401);

    let now = Timestamp::now().millis() / 1000;
    let stripe = async |time: i64, signed: i64| {
        let code = hex(code(format!("{signed}.body").as_bytes()));
        let header = format!("t={time},v1={},v1={code}", "0".repeat(64));
        send(&gateway, "POST x/stripe", &[("stripe-signature", &header)], "body").await.status().as_u16()
    };
    assert_eq!(stripe(now, now).await, 201);
    assert_eq!(stripe(now, now - 1).await, 401);
    assert_eq!(stripe(now - 400, now - 400).await, 401);

    let headers = [("x-hub-signature-256", good.as_str())];
    let refused = send(&gateway, "POST x/gone", &headers, "body").await;
    assert_eq!(
        (refused.status().as_u16(), refused.headers()["x-hearth-fault"].to_str().unwrap()),
        (503, "HEARTH-C009")
    );
}

#[tokio::test]
async fn a_rate_counts_each_client_and_says_when_to_come_back() {
    let gateway = routes(&[("page", &["/a rate=2/h"])]);
    for _ in 0..2 {
        assert_eq!(send(&gateway, "GET x/a", &[], "").await.status(), 201);
    }
    // What a stranger says of whom it serves counts for nothing.
    let refused = send(&gateway, "GET x/a", &[("x-forwarded-for", "9.9.9.9")], "").await;
    assert_eq!(refused.status(), 429);
    let seconds: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1700..=1800).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn a_body_that_is_too_long_and_an_answer_that_is_too_late_are_refused() {
    let gateway = routes(&[("page", &["/short max-body=4"]), ("slow", &["/slow timeout=20ms"])]);
    assert_eq!(send(&gateway, "POST x/short", &[], "1234").await.status(), 201);
    let refused = json(send(&gateway, "POST x/short", &[], "12345").await).await;
    assert_eq!(
        (&refused["Code"], refused["Message"].as_str().unwrap().contains("over 4 bytes")),
        (&"HEARTH-C004".into(), true)
    );
    let late = send(&gateway, "GET x/slow", &[], "").await;
    assert_eq!((late.status().as_u16(), late.headers()["x-hearth-fault"].to_str().unwrap()), (504, "HEARTH-F001"));
}

#[tokio::test]
async fn a_browsers_question_starts_nothing() {
    let gateway = routes(&[("page", &["PUT /a auth=api-key cors=https://a.example", "/free"])]);
    let ask = |origin| [("origin", origin), ("access-control-request-method", "PUT")];
    let told = send(&gateway, "OPTIONS x/a", &ask("https://a.example"), "").await;
    assert_eq!(told.status(), 204);
    assert_eq!(told.headers()["access-control-allow-origin"], "https://a.example");
    assert_eq!(told.headers()["access-control-allow-methods"], "PUT");
    let told = send(&gateway, "OPTIONS x/a", &ask("https://b.example"), "").await;
    assert!(told.status() == 204 && !told.headers().contains_key("access-control-allow-origin"));
    // Refusals can be read by the page too.
    let refused = send(&gateway, "PUT x/a", &[("origin", "https://a.example")], "").await;
    assert_eq!(
        (refused.status(), &refused.headers()["access-control-allow-origin"]),
        (401.try_into().unwrap(), &"https://a.example".parse().unwrap())
    );
    // Where a route says nothing, the function answers for itself.
    assert_eq!(send(&gateway, "OPTIONS x/free", &ask("https://a.example"), "").await.status(), 201);
}
