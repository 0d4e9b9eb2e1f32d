//! Images in the API, and functions that refer to them.

use axum::body::Body;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::World;

const DIGEST: &str = "abababababababababababababababababababababababababababababababab";

impl World {
    async fn make(&self, more: Value) -> super::Answer {
        let mut write = json!({"runtime": "python3.11", "handler": "app.handler", "image": "here:1"});
        let sha256 = self.upload(b"PK zip").await.body["sha256"].clone();
        write["code"] = json!({ "sha256": sha256 });
        for (key, value) in more.as_object().unwrap() {
            write[key] = value.clone();
        }
        self.json(Method::PUT, "/api/v1/functions/f", write).await
    }

    async fn lines(&self, reference: &str) -> Vec<Value> {
        let request = self.request(Method::POST, "/api/v1/images").header("content-type", "application/json");
        let body = json!({"reference": reference, "credentials": {"basic": {"user": "me", "password": "hidden"}}});
        let response = self.router.clone().oneshot(request.body(Body::from(body.to_string())).unwrap()).await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/x-ndjson");
        let text = response.into_body().collect().await.unwrap().to_bytes();
        let text = std::str::from_utf8(&text).unwrap().to_owned();
        assert!(!text.contains("hidden"), "{text}");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[tokio::test]
async fn a_function_keeps_the_image_that_was_there() {
    let world = World::new();
    let made = world.make(json!({})).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    assert_eq!(made.body["image"], format!("here:1@sha256:{DIGEST}"));
    // What the API says can be said to it again.
    let again = world.make(json!({ "image": made.body["image"] })).await;
    assert_eq!(again.body["image"], made.body["image"], "{}", again.body);
    let patched = world.json(Method::PATCH, "/api/v1/functions/f", json!({"memory": "256MB"})).await;
    assert_eq!(patched.body["image"], made.body["image"]);
    let removed = world.json(Method::PATCH, "/api/v1/functions/f", json!({"image": null})).await;
    assert_eq!((removed.status, removed.body.get("image")), (StatusCode::OK, None), "{}", removed.body);
}

#[tokio::test]
async fn an_image_that_is_not_there_or_does_not_fit_is_refused() {
    let world = World::new();
    let absent = world.make(json!({"image": "absent:1"})).await;
    assert_eq!((absent.status, &absent.body["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("HEARTH-C008")));
    assert!(absent.body["message"].as_str().unwrap().contains("hearth image pull absent:1"));
    let misfit = world.make(json!({"runtime": "nodejs20.x"})).await;
    assert_eq!(misfit.body["message"], "nodejs20.x is not in the image");
    let imageless = world.make(json!({"runtime": "image", "image": null})).await;
    assert_eq!(imageless.status, StatusCode::BAD_REQUEST);
    assert!(imageless.body["message"].as_str().unwrap().contains("say which with image"), "{}", imageless.body);
}

#[tokio::test]
async fn an_image_in_use_is_not_removed_and_says_by_whom() {
    let world = World::new();
    let made = world.make(json!({})).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    assert_eq!(world.get("/api/v1/images").await.body["images"][0]["functions"], json!(["f"]));
    let path = "/api/v1/images/here%3A1";
    let refused = world.json(Method::DELETE, path, json!({})).await;
    assert_eq!((refused.status, &refused.body["code"]), (StatusCode::CONFLICT, &json!("HEARTH-C007")));
    assert!(refused.body["message"].as_str().unwrap().contains("in use by f"));
    assert_eq!(world.json(Method::DELETE, "/api/v1/images", json!({})).await.body["images"], json!([]));
    world.json(Method::DELETE, "/api/v1/functions/f", json!({})).await;
    assert_eq!(world.json(Method::DELETE, "/api/v1/images", json!({})).await.body["bytes"], 7);
    assert_eq!(world.json(Method::DELETE, path, json!({})).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_pull_tells_its_steps_and_how_it_ended() {
    let world = World::new();
    let lines = world.lines("here:1").await;
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[0]["progress"]["phase"], "unpacking");
    assert_eq!(lines[2]["image"]["digest"], format!("sha256:{DIGEST}"));
    let lines = world.lines("absent:1").await;
    assert_eq!(lines.last().unwrap()["error"], json!({"code": "HEARTH-C003", "message": "no image absent:1"}));
}
