//! Secrets and mounts over the API: what goes in, what never comes out, and what is refused.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use axum::body::Body;
use http::{Method, StatusCode};
use model::{FunctionName, SecretName, SecretValue, Timestamp};
use serde_json::json;
use store::{KeyRotation, SecretInfo, Secrets, StoreError};

use super::{World, function};

/// Secrets in memory; that named `used` is used by the function `f`.
#[derive(Default)]
pub struct FakeSecrets(Mutex<BTreeMap<SecretName, SecretValue>>);

fn info(name: SecretName) -> SecretInfo {
    SecretInfo { name, created: Timestamp(0), modified: Timestamp(1_000_000) }
}

#[async_trait]
impl Secrets for FakeSecrets {
    async fn set_secret(&self, name: SecretName, value: SecretValue) -> Result<(SecretInfo, bool), StoreError> {
        let old = self.0.lock().unwrap().insert(name.clone(), value);
        Ok((info(name), old.is_none()))
    }

    async fn secrets(&self) -> Result<Vec<SecretInfo>, StoreError> {
        Ok(self.0.lock().unwrap().keys().cloned().map(info).collect())
    }

    async fn remove_secret(&self, name: &SecretName, even_used: bool) -> Result<(), StoreError> {
        if name.as_str() == "used" && !even_used {
            let functions = vec![FunctionName::try_from("f".to_owned()).unwrap()];
            return Err(StoreError::SecretUsed { name: name.clone(), functions });
        }
        let removed = self.0.lock().unwrap().remove(name);
        removed.map(drop).ok_or_else(|| StoreError::NoSuchSecret(name.clone()))
    }

    async fn rotate_key(&self) -> Result<KeyRotation, StoreError> {
        Ok(KeyRotation { key: "0a0b0c0d".into(), secrets: self.0.lock().unwrap().len() })
    }
}

impl World {
    async fn set(&self, name: &str, value: Vec<u8>) -> super::Answer {
        let request = self.request(Method::PUT, &format!("/api/v1/secrets/{name}"));
        self.send(request.header("content-type", "application/octet-stream").body(Body::from(value)).unwrap()).await
    }

    async fn remove(&self, path: &str) -> super::Answer {
        self.send(self.request(Method::DELETE, path).body(Body::empty()).unwrap()).await
    }
}

#[tokio::test]
async fn what_goes_in_never_comes_out() {
    let world = World::new();
    for status in [StatusCode::CREATED, StatusCode::OK] {
        let answer = world.set("api-key", b"hunter2".to_vec()).await;
        assert_eq!(answer.status, status);
        assert!(!answer.body.to_string().contains("hunter2"));
    }
    world.deploy().await;
    let env = json!({"env": {"KEY": {"secret": "api-key"}}, "secrets": {"tls/key": "api-key"}});
    let answer = world.json(Method::PATCH, "/api/v1/functions/f", env).await;
    assert_eq!(answer.body["env"], json!({"A": "1", "KEY": {"secret": "api-key"}}));
    assert_eq!(answer.body["secrets"], json!({"tls/key": "api-key"}));

    let answer = world.get("/api/v1/secrets").await;
    let expected = json!({"name": "api-key", "functions": ["f"],
        "created": "1970-01-01T00:00:00.000Z", "modified": "1970-01-01T00:00:01.000Z"});
    assert_eq!(answer.body, json!({"secrets": [expected]}));
    let answer = world.get("/api/v1/secrets/api-key").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "there is no reading one");
    let answer = world.json(Method::POST, "/api/v1/secrets-key", json!({})).await;
    assert_eq!(answer.body, json!({"key": "0a0b0c0d", "secrets": 1}));
}

#[tokio::test]
async fn a_refusal_tells_nothing_of_the_value() {
    let world = World::new();
    let long = "s3cret".repeat(20_000).into_bytes();
    for (name, value, status) in [
        ("a", vec![], StatusCode::BAD_REQUEST),
        ("a", long, StatusCode::PAYLOAD_TOO_LARGE),
        ("a%20b", b"s3cret".to_vec(), StatusCode::BAD_REQUEST),
    ] {
        let answer = world.set(name, value).await;
        assert_eq!(answer.status, status);
        assert!(!answer.body.to_string().contains("s3cret"), "{}", answer.body);
    }
    let answer = world.json(Method::PUT, "/api/v1/secrets/a", json!({"value": "s3cret"})).await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(!answer.body.to_string().contains("s3cret"));
}

#[tokio::test]
async fn one_that_is_used_is_removed_by_force_only() {
    let world = World::new();
    world.set("used", b"v".to_vec()).await;
    let answer = world.remove("/api/v1/secrets/used").await;
    assert_eq!((answer.status, &answer.body["code"]), (StatusCode::CONFLICT, &json!("HEARTH-C007")));
    assert!(answer.body["message"].as_str().unwrap().contains("used by f"));
    assert_eq!(world.remove("/api/v1/secrets/used?force=true").await.status, StatusCode::NO_CONTENT);
    assert_eq!(world.remove("/api/v1/secrets/used?force=true").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_mount_that_is_not_allowed_is_refused_with_what_to_do() {
    let world = World::new();
    let sha256 = world.deploy().await;
    let deploy = |mount: serde_json::Value, isolation: &'static str| {
        let mut body = function(&sha256);
        body["mounts"] = json!([mount]);
        body["isolation"] = json!(isolation);
        body
    };
    let put = |body| world.json(Method::PUT, "/api/v1/functions/f", body);
    let answer = put(deploy(json!({"host": "/srv/photos/2026", "path": "/mnt/a"}), "namespace")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.body["mounts"], json!([{"host": "/srv/photos/2026", "path": "/mnt/a", "read_only": true}]));
    for (mount, said) in [
        (json!({"host": "/etc", "path": "/mnt/a"}), "hearth up --allow-mount /etc:ro"),
        (json!({"host": "/srv/photos", "path": "/mnt/a", "read_only": false}), "read-only only"),
    ] {
        let answer = put(deploy(mount, "namespace")).await;
        assert_eq!((answer.status, &answer.body["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("HEARTH-C010")));
        assert!(answer.body["message"].as_str().unwrap().contains(said), "{}", answer.body);
    }
    world.platform.gvisor.store(true, std::sync::atomic::Ordering::SeqCst);
    let answer = put(deploy(json!({"host": "/srv/photos", "path": "/mnt/a"}), "gvisor")).await;
    assert!(answer.body["message"].as_str().unwrap().contains("not with this one"), "{}", answer.body);
}
