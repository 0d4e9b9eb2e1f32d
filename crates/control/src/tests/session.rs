//! Login and logout, as a browser meets them.

use std::sync::Arc;

use axum::body::Body;
use axum::middleware::{Next, from_fn};
use http::{Method, Request, StatusCode};
use serde_json::json;

use super::fakes::World;
use crate::SESSION_HEADER;

impl World {
    /// With what carries sessions around the API, as the control listener has it.
    pub(super) fn with_sessions() -> Self {
        let mut world = Self::new();
        let sessions = Arc::clone(&world.sessions);
        let carry = move |request: Request<Body>, next: Next| crate::carry(sessions.clone(), request, next);
        world.router = world.router.layer(from_fn(carry));
        world
    }
}

fn browser(method: Method, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path).header("host", "localhost:7070").header("sec-fetch-site", "same-origin")
}

pub(super) fn login(body: serde_json::Value) -> Request<Body> {
    let request = browser(Method::POST, "/api/v1/session").header("content-type", "application/json");
    request.body(Body::from(body.to_string())).unwrap()
}

#[tokio::test]
async fn a_browser_logs_in_with_the_token_and_asks_with_cookie_and_key() {
    let world = World::with_sessions();
    let wrong = world.send(login(json!({"token": "hth_wrong"}))).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert_eq!(world.send(login(json!({}))).await.status, StatusCode::BAD_REQUEST);

    let made = world.send(login(json!({"token": world.token}))).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    let cookie = made.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("hearth_session_7070="), "{cookie}");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let key = made.body["key"].as_str().unwrap().to_owned();

    let asked = |method, path, with: &[&str]| {
        let mut request = browser(method, path);
        if with.contains(&"cookie") {
            request = request.header("cookie", &cookie);
        }
        if with.contains(&"key") {
            request = request.header(SESSION_HEADER, &key);
        }
        world.send(request.body(Body::empty()).unwrap())
    };
    assert_eq!(asked(Method::GET, "/api/v1/functions", &["cookie", "key"]).await.status, StatusCode::OK);
    assert_eq!(asked(Method::GET, "/api/v1/functions", &["cookie"]).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(asked(Method::GET, "/api/v1/functions", &["key"]).await.status, StatusCode::UNAUTHORIZED);
    let session = asked(Method::GET, "/api/v1/session", &["cookie", "key"]).await;
    assert!(session.body["ends_in"].as_u64().unwrap() > 3600, "{}", session.body);

    // Another site that somehow has both still may not write.
    let foreign = Request::delete("/api/v1/functions/f").header("host", "localhost:7070").header("cookie", &cookie);
    let foreign = foreign.header(SESSION_HEADER, &key).header("origin", "http://evil.example");
    assert_eq!(world.send(foreign.body(Body::empty()).unwrap()).await.status, StatusCode::FORBIDDEN);

    let out = asked(Method::DELETE, "/api/v1/session", &["cookie", "key"]).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    assert!(out.headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(asked(Method::GET, "/api/v1/functions", &["cookie", "key"]).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_link_logs_in_once_and_only_a_token_makes_one() {
    let world = World::with_sessions();
    let anyone = browser(Method::POST, "/api/v1/session/link").body(Body::empty()).unwrap();
    assert_eq!(world.send(anyone).await.status, StatusCode::UNAUTHORIZED);
    let asked = world.request(Method::POST, "/api/v1/session/link").body(Body::empty()).unwrap();
    let link = world.send(asked).await.body["link"].clone();
    assert_eq!(world.send(login(json!({"link": link}))).await.status, StatusCode::CREATED);
    assert_eq!(world.send(login(json!({"link": link}))).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn logins_that_fail_are_limited() {
    let world = World::with_sessions();
    let mut last = StatusCode::OK;
    for _ in 0..6 {
        let answer = world.send(login(json!({"token": "hth_wrong"}))).await;
        last = answer.status;
        if last == StatusCode::TOO_MANY_REQUESTS {
            assert!(answer.headers.contains_key("retry-after"));
        }
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
}
