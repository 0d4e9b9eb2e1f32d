//! The API as its callers see it: requests in, answers out, over a store in memory.

mod backup;
mod comparisons;
mod fake_images;
mod fake_layers;
mod fake_versions;
pub mod fakes;
mod images;
mod metrics;
mod queue;
mod routes;
mod secrets;
mod session;
mod tokens;

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use store::Telemetry;
use tower::ServiceExt;

use fakes::{World, line, record};

struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Value,
}

impl World {
    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status: parts.status, headers: parts.headers, body }
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        let request = Request::builder().method(method).uri(path).header("host", "127.0.0.1:7070");
        request.header("authorization", format!("Bearer {}", self.token))
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path).body(Body::empty()).unwrap()).await
    }

    async fn json(&self, method: Method, path: &str, body: Value) -> Answer {
        let request = self.request(method, path).header("content-type", "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    async fn upload(&self, bytes: &'static [u8]) -> Answer {
        let request = self.request(Method::PUT, "/api/v1/packages").header("content-type", "application/zip");
        self.send(request.body(Body::from(bytes)).unwrap()).await
    }

    /// Deploys `f` and returns its package's hash.
    async fn deploy(&self) -> String {
        let sha256 = self.upload(b"PK zip").await.body["sha256"].as_str().unwrap().to_owned();
        let answer = self.json(Method::PUT, "/api/v1/functions/f", function(&sha256)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        sha256
    }
}

fn function(sha256: &str) -> Value {
    json!({"runtime": "python3.11", "handler": "app.handler", "env": {"A": "1"}, "code": {"sha256": sha256}})
}

#[tokio::test]
async fn everything_but_the_probes_wants_a_token() {
    let world = World::new();
    let paths = ["/api/v1/functions", "/api/v1/openapi.json", "/api/v1/doctor", "/api/v1/nothing", "/"];
    for path in paths {
        let request = Request::get(path).header("host", "localhost:7070").body(Body::empty()).unwrap();
        let answer = world.send(request).await;
        assert_eq!((answer.status, &answer.body["code"]), (StatusCode::UNAUTHORIZED, &json!("HEARTH-C002")), "{path}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
    let wrong = Request::get("/api/v1/functions").header("host", "localhost").header("authorization", "Bearer hth_x");
    assert_eq!(world.send(wrong.body(Body::empty()).unwrap()).await.status, StatusCode::UNAUTHORIZED);
    for path in ["/healthz", "/readyz"] {
        // Probes come by address, and without credentials.
        let request = Request::get(path).header("host", "10.1.2.3").body(Body::empty()).unwrap();
        assert_eq!(world.send(request).await.status, StatusCode::OK, "{path}");
    }
    world.platform.ready.store(false, Ordering::SeqCst);
    assert_eq!(world.get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_foreign_host_or_site_is_refused_even_with_a_token() {
    let world = World::new();
    let of = |host: &str| {
        let request = Request::get("/api/v1/functions").header("authorization", format!("Bearer {}", world.token));
        request.header("host", host).body(Body::empty()).unwrap()
    };
    assert_eq!(world.send(of("evil.example")).await.status, StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(world.send(of("localhost:7070")).await.status, StatusCode::OK);
    let absent = Request::get("/api/v1/functions").body(Body::empty()).unwrap();
    assert_eq!(world.send(absent).await.status, StatusCode::MISDIRECTED_REQUEST);

    let request = world.request(Method::DELETE, "/api/v1/functions/f").header("sec-fetch-site", "cross-site");
    let answer = world.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.body["message"].as_str().unwrap().contains("another web site"));
}

#[tokio::test]
async fn every_answer_names_its_request_and_carries_security_headers() {
    let world = World::new();
    for path in ["/api/v1/functions", "/api/v1/functions/none", "/healthz", "/nothing"] {
        let answer = world.get(path).await;
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{path}");
        assert!(answer.headers["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
        let id = answer.headers["x-request-id"].to_str().unwrap();
        if !answer.status.is_success() {
            assert_eq!(answer.body["request_id"], id);
        }
    }
}

#[tokio::test]
async fn an_error_has_code_blame_retry_and_words() {
    let world = World::new();
    let Answer { status, body, .. } = world.get("/api/v1/functions/none").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(body["code"], "HEARTH-C003");
    assert_eq!(body["blame"], "caller");
    assert_eq!(body["retry"], false);
    assert!(body["message"].as_str().unwrap().contains("none"));

    assert_eq!(world.get("/api/v1/functions/a%00b").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(world.get("/api/v1/functions/..%2f..").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(world.json(Method::POST, "/api/v1/doctor", json!({})).await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_function_is_made_read_replaced_listed_and_removed() {
    let world = World::new();
    let sha256 = world.deploy().await;
    let answer = world.get("/api/v1/functions/f").await;
    assert_eq!(answer.headers["etag"], "\"1\"");
    let expected = json!({
        "name": "f", "description": "", "runtime": "python3.11", "handler": "app.handler", "memory": "128MB",
        "timeout": "3s", "cpu": null, "tmp": "512MB", "isolation": "namespace", "env": {"A": "1"},
        "scale": {"min": 0, "max": 1000, "concurrency": 1, "idle": "auto"}, "egress": "none", "url": true, "invoke_mode": "buffered",
        "snapstart": false, "records": {"payloads": "none"},
        "async": {"retries": 2, "retry_delay": "1m", "max_age": "6h", "on_success": null, "on_failure": null,
            "dead_letter": true},
        "keeping": [{"isolation": "namespace", "spans": [{"from": 0.0, "to": 600.0}], "seen": 0,
            "text": "kept 10 min after a call (auto: no idle times seen yet)"}],
        "invoke_url": "http://127.0.0.1:8080/fn/f/", "revision": 1,
        "code": {"sha256": sha256, "size": 6}, "modified": "2025-11-22T10:00:00.000Z",
    });
    assert_eq!(answer.body, expected);

    let mut other = function(&sha256);
    other["memory"] = json!("1GB");
    other["env"] = json!({});
    let answer = world.json(Method::PUT, "/api/v1/functions/f", other).await;
    assert_eq!((answer.status, &answer.body["revision"]), (StatusCode::OK, &json!(2)));
    assert_eq!((&answer.body["memory"], &answer.body["env"]), (&json!("1GB"), &json!({})));

    assert_eq!(world.get("/api/v1/functions").await.body["functions"].as_array().unwrap().len(), 1);
    let delete = || world.request(Method::DELETE, "/api/v1/functions/f").body(Body::empty()).unwrap();
    assert_eq!(world.send(delete()).await.status, StatusCode::NO_CONTENT);
    assert_eq!(world.send(delete()).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_patch_merges_and_goes_on_when_others_write_in_between() {
    let world = World::new();
    world.deploy().await;
    world.store.overtaken.store(2, Ordering::SeqCst);
    let change = json!({"env": {"B": "2", "A": null}, "timeout": "10s"});
    let answer = world.json(Method::PATCH, "/api/v1/functions/f", change).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.body["env"], json!({"B": "2", "OTHERS": "change"}));
    assert_eq!((&answer.body["timeout"], &answer.body["memory"]), (&json!("10s"), &json!("128MB")));
    assert_eq!(world.json(Method::PATCH, "/api/v1/functions/none", json!({})).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_condition_that_does_not_hold_changes_nothing() {
    let world = World::new();
    let sha256 = world.deploy().await;
    let write = async |method: Method, name: &'static str, value: &'static str| {
        let request = world.request(method, "/api/v1/functions/f").header("content-type", "application/json");
        let request = request.header(name, value).body(Body::from(function(&sha256).to_string())).unwrap();
        world.send(request).await.status
    };
    assert_eq!(write(Method::PUT, "if-match", "\"7\"").await, StatusCode::PRECONDITION_FAILED);
    assert_eq!(write(Method::PATCH, "if-match", "\"7\"").await, StatusCode::PRECONDITION_FAILED);
    assert_eq!(write(Method::PUT, "if-none-match", "*").await, StatusCode::PRECONDITION_FAILED);
    assert_eq!(write(Method::PUT, "if-match", "soon").await, StatusCode::BAD_REQUEST);
    assert_eq!(write(Method::PUT, "if-match", "0").await, StatusCode::BAD_REQUEST);
    assert_eq!(world.get("/api/v1/functions/f").await.body["revision"], 1);
    assert_eq!(write(Method::PATCH, "if-match", "\"1\"").await, StatusCode::OK);
}

#[tokio::test]
async fn what_is_wrong_with_a_body_is_said_with_its_key() {
    let world = World::new();
    let sha256 = world.deploy().await;
    let cases = [
        (json!({"memroy": "1GB"}), r#"unknown key "memroy": did you mean "memory"?"#),
        (json!({"scale": {"maxx": 1}}), r#"scale: unknown key "maxx": did you mean "max"?"#),
        (json!({"scale": {"max": "many"}}), "scale.max"),
        (json!({"memory": "lots"}), "memory: \"lots\" is not an amount of memory"),
        (json!({"memory": "1MB"}), "memory = 1MB is out of range: expected 32MB to 10GB"),
        (json!({"timeout": "1h"}), "timeout"),
        (json!({"env": {"AWS_REGION": "x"}}), "AWS_REGION"),
        (json!({"env": {"A": 1}}), "env.A: expected a text, or {\"secret\": \"NAME\"}"),
        (json!({"env": {"A": {"secret": "a b"}}}), "env.A"),
        (json!({"name": "other"}), "name"),
        (json!({"code": {"sha256": "short"}}), "code.sha256"),
        (json!([]), "the body"),
    ];
    for (body, expected) in cases {
        let answer = world.json(Method::PATCH, "/api/v1/functions/f", body.clone()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        let message = answer.body["message"].as_str().unwrap();
        assert!(message.contains(expected), "{body}: {message}");
    }
    let answer = world.json(Method::PUT, "/api/v1/functions/g", json!({"code": {"sha256": sha256}})).await;
    assert!(answer.body["message"].as_str().unwrap().contains("runtime is missing"));
    let deep = world.request(Method::PATCH, "/api/v1/functions/f").header("content-type", "application/json");
    let deep = deep.body(Body::from("[".repeat(100_000))).unwrap();
    assert_eq!(world.send(deep).await.status, StatusCode::BAD_REQUEST);
    let form = world.request(Method::PATCH, "/api/v1/functions/f").header("content-type", "text/plain");
    assert_eq!(world.send(form.body(Body::from("{}")).unwrap()).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let long = world.request(Method::PATCH, "/api/v1/functions/f").header("content-type", "application/json");
    let long = long.body(Body::from(vec![b' '; 300 * 1024])).unwrap();
    assert_eq!(world.send(long).await.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn what_does_not_work_here_is_refused_in_the_doctor_s_words() {
    let world = World::new();
    let sha256 = world.deploy().await;
    let mut body = function(&sha256);
    body["runtime"] = json!("python3.13");
    let answer = world.json(Method::PUT, "/api/v1/functions/f", body).await;
    assert_eq!((answer.status, &answer.body["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("HEARTH-P003")));
    assert!(answer.body["message"].as_str().unwrap().contains("here are: python3.11"));

    world.platform.isolation_works.store(false, Ordering::SeqCst);
    let answer = world.json(Method::PUT, "/api/v1/functions/f", function(&sha256)).await;
    assert_eq!(answer.body["code"], "HEARTH-P002");
    assert!(answer.body["message"].as_str().unwrap().contains("user namespaces: forbidden by sysctl"));
    assert_eq!(world.get("/api/v1/doctor").await.body["works"], false);
    let answer = world.json(Method::PATCH, "/api/v1/functions/f", json!({"env": {"A": "2"}})).await;
    assert_eq!(answer.status, StatusCode::OK, "other changes stay possible");
}

#[tokio::test(start_paused = true)]
async fn a_write_is_answered_when_calls_see_it() {
    let world = World::new();
    world.deploy().await;
    world.platform.settled.send_replace(1);
    let patch = world.json(Method::PATCH, "/api/v1/functions/f", json!({"memory": "1GB"}));
    tokio::pin!(patch);
    assert!(tokio::time::timeout(Duration::from_secs(5), &mut patch).await.is_err(), "answered too early");
    world.platform.settled.send_replace(2);
    assert_eq!(patch.await.status, StatusCode::OK);

    let answer = world.json(Method::PATCH, "/api/v1/functions/f", json!({"memory": "2GB"})).await;
    assert_eq!((answer.status, &answer.body["code"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!("HEARTH-P007")));
    assert!(answer.body["message"].as_str().unwrap().contains("is kept"));
}

#[tokio::test]
async fn packages_are_kept_found_and_refused() {
    let world = World::new();
    let answer = world.upload(b"PK zip").await;
    assert_eq!((answer.status, &answer.body["size"]), (StatusCode::CREATED, &json!(6)));
    let path = format!("/api/v1/packages/{}", answer.body["sha256"].as_str().unwrap());
    let head = |path: &str| world.send(world.request(Method::HEAD, path).body(Body::empty()).unwrap());
    assert_eq!(head(&path).await.status, StatusCode::NO_CONTENT);
    assert_eq!(head(&path.replace(|c: char| c.is_ascii_digit(), "f")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(world.get(&path).await.headers["content-type"], "application/zip");

    assert_eq!(world.upload(b"no zip").await.body["code"], "HEARTH-C005");
    assert_eq!(world.upload(b"").await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let announced = world.request(Method::PUT, "/api/v1/packages").header("content-type", "application/zip");
    let announced = announced.header("content-length", "104857601").body(Body::empty()).unwrap();
    assert_eq!(world.send(announced).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let answer = world.json(Method::PUT, "/api/v1/functions/f", function(&"0".repeat(64))).await;
    assert_eq!(answer.body["code"], "HEARTH-C005");
}

#[tokio::test]
async fn records_instances_runtimes_and_keys_are_told() {
    let world = World::new();
    world.deploy().await;
    let one = record("f");
    let id = one.request_id;
    world.store.record(one);
    let answer = world.get("/api/v1/functions/f/invocations?limit=5").await;
    let found = &answer.body["invocations"][0];
    assert_eq!(found["request_id"], id.to_string());
    assert_eq!(found["outcome"], json!({"status": "fault", "code": "HEARTH-F001"}));
    assert_eq!(&world.get(&format!("/api/v1/invocations/{id}")).await.body, found);
    let other = model::RequestId::random();
    assert_eq!(world.get(&format!("/api/v1/invocations/{other}")).await.status, StatusCode::NOT_FOUND);
    for bad in ["limit=0", "limit=100000", "limit=x", "limits=1"] {
        let answer = world.get(&format!("/api/v1/functions/f/invocations?{bad}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{bad}");
        assert!(answer.body["message"].as_str().unwrap().contains("limit"), "{}", answer.body);
    }

    let instances = world.get("/api/v1/instances").await.body;
    let names: Vec<_> = instances["instances"].as_array().unwrap().iter().map(|one| one["function"].clone()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(world.get("/api/v1/instances?function=b").await.body["instances"].as_array().unwrap().len(), 1);
    assert_eq!(world.get("/api/v1/runtimes").await.body["runtimes"][0]["name"], "python3.11");
    let keys = world.json(Method::POST, "/api/v1/aws-credentials", json!({})).await.body;
    assert_eq!((&keys["region"], &keys["secret_access_key"]), (&json!("us-east-1"), &json!("a secret")));
}

#[tokio::test]
async fn logs_are_read_by_page_and_by_text() {
    let world = World::new();
    world.deploy().await;
    for message in ["one", "Two", "three\u{1b}[2J"] {
        world.store.log(line("f", message));
    }
    let page = world.get("/api/v1/functions/f/logs?limit=2").await.body;
    let messages = |page: &Value| -> Vec<String> {
        page["lines"].as_array().unwrap().iter().map(|one| one["message"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(messages(&page), ["Two", "three\u{1b}[2J"]);
    let behind = world.get("/api/v1/functions/f/logs?after=1&limit=1").await.body;
    assert_eq!((messages(&behind), &behind["cursor"]), (vec!["Two".to_owned()], &json!(2)));
    assert_eq!(messages(&world.get("/api/v1/functions/f/logs?grep=tWo&since=1m").await.body), ["Two"]);
    assert_eq!(messages(&world.get("/api/v1/functions/f/logs?since=2100-01-01T00:00:00Z").await.body).len(), 0);
    assert_eq!(world.get("/api/v1/functions/f/logs?since=soon").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(world.get("/api/v1/functions/none/logs").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn a_follower_gets_what_is_there_what_comes_and_an_end() {
    let world = World::new();
    world.deploy().await;
    world.store.log(line("f", "before"));
    let request = world.request(Method::GET, "/api/v1/functions/f/logs?follow=true").body(Body::empty()).unwrap();
    let mut body = world.router.clone().oneshot(request).await.unwrap().into_body();
    let mut piece = async || {
        let data = body.frame().await?.unwrap().into_data().unwrap();
        Some(String::from_utf8(data.to_vec()).unwrap())
    };
    let first: Value = serde_json::from_str(&piece().await.unwrap()).unwrap();
    assert_eq!((&first["message"], &first["cursor"]), (&json!("before"), &json!(1)));
    assert_eq!(piece().await.unwrap(), "\n", "a heartbeat");
    world.store.log(line("other", "not ours"));
    world.store.log(line("f", "after 1"));
    world.store.log(line("f", "after 2"));
    let next = piece().await.unwrap();
    let lines: Vec<Value> = next.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|line| line["message"].clone()).collect::<Vec<_>>(), ["after 1", "after 2"]);
    assert_eq!((&lines[0]["cursor"], &lines[1]["cursor"]), (&Value::Null, &json!(4)));
    world.closing.send_replace(true);
    assert_eq!(piece().await, None);
}

#[tokio::test]
async fn followers_are_bounded() {
    let world = World::new();
    world.deploy().await;
    let follow = || {
        let request = world.request(Method::GET, "/api/v1/functions/f/logs?follow=true").body(Body::empty());
        world.router.clone().oneshot(request.unwrap())
    };
    let mut held = Vec::new();
    for _ in 0..crate::FOLLOWERS {
        held.push(follow().await.unwrap());
    }
    let refused = follow().await.unwrap();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key("retry-after"));
    held.pop();
    assert_eq!(follow().await.unwrap().status(), StatusCode::OK, "one that left makes room");
}

#[test]
fn the_openapi_document_describes_every_response_and_names_every_operation() {
    let document: Value = serde_json::from_str(crate::openapi_json()).unwrap();
    let mut names = std::collections::BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(names.insert(operation["operationId"].as_str().unwrap()), "{method} {path}: a name twice");
            for (status, response) in operation["responses"].as_object().unwrap() {
                let description = response["description"].as_str().unwrap_or_default();
                assert!(!description.is_empty(), "{method} {path} {status}");
            }
        }
    }
}

#[test]
fn the_openapi_document_is_the_one_that_is_kept() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, crate::openapi_json()).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == crate::openapi_json(), "the API changed: UPDATE=1 keeps the new document");
}
