//! Routes and API keys over the API.

use std::sync::Mutex;

use async_trait::async_trait;
use http::{Method, StatusCode};
use model::SecretName;
use serde_json::json;
use store::{ApiKey, ApiKeys, StoreError};

use super::{World, function};

/// API keys in memory.
#[derive(Default)]
pub struct FakeApiKeys(Mutex<Vec<ApiKey>>);

#[async_trait]
impl ApiKeys for FakeApiKeys {
    async fn add_api_key(&self, key: ApiKey) -> Result<(), StoreError> {
        let mut keys = self.0.lock().unwrap();
        if keys.iter().any(|one| one.name == key.name) {
            return Err(StoreError::ApiKeyTaken(key.name));
        }
        keys.push(key);
        Ok(())
    }

    async fn api_keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        Ok(self.0.lock().unwrap().clone())
    }

    async fn remove_api_key(&self, name: &SecretName) -> Result<(), StoreError> {
        let mut keys = self.0.lock().unwrap();
        let place = keys.iter().position(|one| one.name == *name);
        place.map(|place| drop(keys.remove(place))).ok_or_else(|| StoreError::NoSuchApiKey(name.clone()))
    }
}

#[tokio::test]
async fn routes_are_set_with_the_function_and_listed() {
    let world = World::new();
    let sha256 = world.deploy().await;
    let mut write = function(&sha256);
    write["http"] = json!([{"route": "post /thumbs/{name}", "auth": "api-key", "rate": "10/s"}]);
    let answer = world.json(Method::PUT, "/api/v1/functions/f", write).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    // Its URL would let everybody in.
    assert_eq!((&answer.body["url"], &answer.body["http"][0]["route"]), (&json!(false), &json!("POST /thumbs/{name}")));
    let routes = world.get("/api/v1/routes").await.body;
    let expected = json!({"function": "f", "route": "POST /thumbs/{name}", "auth": "api-key", "rate": "10/s"});
    assert_eq!(routes["routes"], json!([expected]));

    let wrong = json!({"http": [{"route": "GET /a", "rat": "1/s"}]});
    let answer = world.json(Method::PATCH, "/api/v1/functions/f", wrong).await;
    assert!(
        answer.status == 400 && answer.body["message"].as_str().unwrap().contains("did you mean \"rate\""),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn a_url_that_lets_everybody_in_is_not_left_beside_a_route_that_does_not() {
    let world = World::new();
    world.deploy().await;
    let guarded = json!({"http": [{"route": "GET /a", "auth": "api-key"}]});
    let answer = world.json(Method::PATCH, "/api/v1/functions/f", guarded.clone()).await;
    assert!(
        answer.status == 400 && answer.body["message"].as_str().unwrap().contains("say url = false"),
        "{}",
        answer.body
    );
    for url in [true, false] {
        let mut said = guarded.clone();
        said["url"] = json!(url);
        assert_eq!(world.json(Method::PATCH, "/api/v1/functions/f", said).await.body["url"], url);
    }
}

#[tokio::test]
async fn a_key_is_shown_once() {
    let world = World::new();
    let made = world.json(Method::POST, "/api/v1/keys", json!({"name": "doorbell", "functions": ["f"]})).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    let key = made.body["key"].as_str().unwrap();
    assert!(key.starts_with("hak_") && key.len() == 53, "{key}");
    let listed = world.get("/api/v1/keys").await.body;
    assert_eq!((&listed["keys"][0]["name"], &listed["keys"][0]["functions"]), (&json!("doorbell"), &json!(["f"])));
    assert!(!listed.to_string().contains(key));
    let again = world.json(Method::POST, "/api/v1/keys", json!({"name": "doorbell"})).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    let gone = || world.request(Method::DELETE, "/api/v1/keys/doorbell").body(axum::body::Body::empty()).unwrap();
    assert_eq!(world.send(gone()).await.status, StatusCode::NO_CONTENT);
    assert_eq!(world.send(gone()).await.status, StatusCode::NOT_FOUND);
}
