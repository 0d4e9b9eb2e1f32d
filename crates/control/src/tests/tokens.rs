//! Tokens with scopes, as their holders meet them.

use std::sync::Mutex;

use async_trait::async_trait;
use axum::body::Body;
use http::{Method, Request, StatusCode};
use model::{Timestamp, TokenId};
use serde_json::{Value, json};
use store::{Credentials, StoreError, StoredToken};
use tower::ServiceExt;

use super::fakes::World;
use super::{Answer, function};

/// Tokens in memory.
pub struct FakeCredentials(Mutex<Vec<StoredToken>>);

impl FakeCredentials {
    pub fn new(own: StoredToken) -> Self {
        Self(Mutex::new(vec![own]))
    }
}

#[async_trait]
impl Credentials for FakeCredentials {
    async fn add_token(&self, token: StoredToken) -> Result<(), StoreError> {
        let mut all = self.0.lock().unwrap();
        if all.iter().any(|one| one.name == token.name) {
            return Err(StoreError::TokenTaken(token.name));
        }
        all.push(token);
        Ok(())
    }

    async fn tokens(&self) -> Result<Vec<StoredToken>, StoreError> {
        Ok(self.0.lock().unwrap().clone())
    }

    async fn remove_token(&self, id: &TokenId) -> Result<(), StoreError> {
        let mut all = self.0.lock().unwrap();
        match all.iter().position(|one| one.id == *id) {
            None => Err(StoreError::NoSuchToken(id.clone())),
            Some(at) if all[at].own => Err(StoreError::OwnToken(id.clone())),
            Some(at) => {
                all.remove(at);
                Ok(())
            }
        }
    }

    async fn tokens_used(&self, _: Vec<(TokenId, Timestamp)>) -> Result<(), StoreError> {
        Ok(())
    }
}

impl World {
    async fn token(&self, name: &str, scopes: &[&str]) -> (String, String) {
        let made = self.json(Method::POST, "/api/v1/tokens", json!({"name": name, "scopes": scopes})).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&made.body["secret"]), text(&made.body["token"]["id"]))
    }

    async fn with(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
        let request = Request::builder().method(method).uri(path).header("host", "127.0.0.1:7070");
        let request =
            request.header("authorization", format!("Bearer {token}")).header("content-type", "application/json");
        self.send(request.body(body.map_or_else(Body::empty, |body| Body::from(body.to_string()))).unwrap()).await
    }
}

#[tokio::test]
async fn a_token_is_made_listed_used_and_revoked() {
    let world = World::new();
    let write = json!({"name": "ci", "scopes": ["read", "invoke:a-*"], "expires_in": "3650d", "aws": true});
    let made = world.json(Method::POST, "/api/v1/tokens", write).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    let token = &made.body["token"];
    assert_eq!(
        (&token["scopes"], &token["last_used"], &token["own"]),
        (&json!(["read", "invoke:a-*"]), &Value::Null, &json!(false))
    );
    assert_eq!(made.body["aws"]["access_key_id"], token["access_key_id"]);
    assert!(
        made.body["aws"]["secret_access_key"].as_str().unwrap().ends_with(token["access_key_id"].as_str().unwrap())
    );
    let (secret, id) = (made.body["secret"].as_str().unwrap(), token["id"].as_str().unwrap());

    assert_eq!(world.with(secret, Method::GET, "/api/v1/queues", None).await.status, StatusCode::OK);
    let list = world.get("/api/v1/tokens").await;
    let names: Vec<_> = list.body["tokens"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, ["admin", "ci"]);
    assert!(list.body["tokens"][1]["last_used"].is_string() && !list.body.to_string().contains(secret));
    let own = list.body["tokens"][0]["id"].as_str().unwrap();
    let kept = world.json(Method::DELETE, &format!("/api/v1/tokens/{own}"), json!({})).await;
    assert_eq!(kept.status, StatusCode::CONFLICT, "{}", kept.body);

    let gone = world.json(Method::DELETE, &format!("/api/v1/tokens/{id}"), json!({})).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert_eq!(world.with(secret, Method::GET, "/api/v1/queues", None).await.status, StatusCode::UNAUTHORIZED);
    let again = world.json(Method::DELETE, &format!("/api/v1/tokens/{id}"), json!({})).await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_token_that_cannot_be_is_refused_in_words() {
    let world = World::new();
    let wrong = [
        (json!({"name": "a b", "scopes": ["read"]}), "128 of"),
        (json!({"name": "a", "scopes": []}), "1 to 50"),
        (json!({"name": "a", "scopes": ["write"]}), "expected admin, read"),
        (json!({"name": "a", "scopes": ["read"], "expires_in": "10s"}), "1m to 3650d"),
        (json!({"name": "a", "scopes": ["read"], "expires_in": "3651d"}), "1m to 3650d"),
        (json!({"name": "a", "scopes": ["read"], "expire": "1d"}), "expire"),
    ];
    for (write, said) in wrong {
        let answer = world.json(Method::POST, "/api/v1/tokens", write.clone()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{write}");
        assert!(answer.body["message"].as_str().unwrap().contains(said), "{write}: {}", answer.body);
    }
    world.token("a", &["read"]).await;
    let taken = world.json(Method::POST, "/api/v1/tokens", json!({"name": "a", "scopes": ["read"]})).await;
    assert_eq!(taken.status, StatusCode::CONFLICT);
    // A token where its id belongs is a slip that must not be told on.
    let slip = world.json(Method::DELETE, &format!("/api/v1/tokens/{}", world.token), json!({})).await;
    assert!(slip.status == StatusCode::BAD_REQUEST && !slip.body.to_string().contains(&world.token), "{}", slip.body);
}

#[tokio::test]
async fn scopes_say_what_may_be_done_and_what_is_out_of_reach_is_absent() {
    let world = World::new();
    let sha256 = world.deploy().await;
    let (deploy, _) = world.token("deploy", &["deploy:f", "logs:g"]).await;
    let (other, _) = world.token("other", &["deploy:other"]).await;
    let (reader, _) = world.token("reader", &["read"]).await;
    let get = |token, path| world.with(token, Method::GET, path, None);

    assert_eq!(get(&deploy, "/api/v1/functions/f").await.status, StatusCode::OK);
    let there = get(&other, "/api/v1/functions/f").await;
    let absent = get(&other, "/api/v1/functions/nil").await;
    assert_eq!((there.status, absent.status), (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND));
    let told = |answer: &Answer| answer.body["message"].as_str().unwrap().replace("nil", "f");
    assert_eq!(told(&there), told(&absent), "nobody learns what is there");
    // However the name is written.
    assert_eq!(get(&other, "/api/v1/functions/%66").await.status, StatusCode::NOT_FOUND);
    assert_eq!(get(&deploy, "/api/v1/functions/%66").await.status, StatusCode::OK);

    let logs = get(&deploy, "/api/v1/functions/f/logs").await;
    assert_eq!(logs.status, StatusCode::FORBIDDEN, "{}", logs.body);
    assert!(logs.body["message"].as_str().unwrap().contains("logs:f"), "{}", logs.body);
    assert_eq!(logs.body["code"], "HEARTH-C002");

    let names = |answer: Answer| answer.body["functions"].as_array().unwrap().len();
    assert_eq!(names(get(&deploy, "/api/v1/functions").await), 1);
    assert_eq!(names(get(&other, "/api/v1/functions").await), 0);
    assert_eq!(names(get(&reader, "/api/v1/functions").await), 1);

    for (token, name, expected) in [
        (&other, "f", StatusCode::FORBIDDEN),
        (&other, "nil", StatusCode::FORBIDDEN),
        (&reader, "f", StatusCode::FORBIDDEN),
        (&deploy, "f", StatusCode::OK),
        (&other, "other", StatusCode::CREATED),
    ] {
        let path = format!("/api/v1/functions/{name}");
        let put = world.with(token, Method::PUT, &path, Some(function(&sha256))).await;
        assert_eq!(put.status, expected, "{name}: {}", put.body);
    }
    for (token, path) in [
        (&reader, "/api/v1/tokens"),
        (&deploy, "/api/v1/tokens"),
        (&deploy, "/api/v1/metrics"),
        (&deploy, "/api/v1/secrets"),
        (&deploy, "/metrics"),
        (&reader, "/api/v1/logs"),
        (&reader, "/api/v1/functions/f/logs"),
    ] {
        let answer = get(token, path).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}: {}", answer.body);
    }
    // A HEAD is its GET.
    let head = world.with(&other, Method::HEAD, "/api/v1/metrics", None).await;
    assert_eq!(head.status, StatusCode::FORBIDDEN);
    assert_eq!(get(&other, "/api/v1/nothing").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn who_may_deploy_gives_a_function_no_secret() {
    let world = World::new();
    let sha256 = world.deploy().await;
    let secret = world.request(Method::PUT, "/api/v1/secrets/s").header("content-type", "application/octet-stream");
    let set = world.send(secret.body(Body::from("value")).unwrap()).await;
    assert!(set.status.is_success(), "{}", set.body);
    let (deploy, _) = world.token("deploy", &["deploy:*"]).await;
    let (both, _) = world.token("both", &["deploy:f", "secrets:write"]).await;
    let given = json!({"env": {"S": {"secret": "s"}}});
    let patch = |token, body| world.with(token, Method::PATCH, "/api/v1/functions/f", Some(body));
    let refused = patch(&deploy, given.clone()).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.body);
    assert!(refused.body["message"].as_str().unwrap().contains("secrets:write"));
    let mut whole = function(&sha256);
    whole["secrets"] = json!({"s": "s"});
    let put = world.with(&deploy, Method::PUT, "/api/v1/functions/f", Some(whole)).await;
    assert_eq!(put.status, StatusCode::FORBIDDEN, "{}", put.body);
    assert_eq!(patch(&both, given).await.status, StatusCode::OK);
    // What it has it keeps.
    assert_eq!(patch(&deploy, json!({"memory": "256MB"})).await.status, StatusCode::OK);
    let mount = json!({"mounts": [{"host": "/srv", "path": "/mnt/srv"}]});
    let mount = patch(&both, mount).await;
    assert_eq!(mount.status, StatusCode::FORBIDDEN, "{}", mount.body);
    assert!(mount.body["message"].as_str().unwrap().contains("admin"));
}

#[tokio::test]
async fn aws_operations_want_the_same_scopes() {
    let world = World::new();
    world.deploy().await;
    let (deploy, _) = world.token("deploy", &["deploy:f", "invoke:g"]).await;
    let lambda = |method, path: &'static str, body| world.with(&deploy, method, path, body);
    let get = lambda(Method::GET, "/2015-03-31/functions/f", None).await;
    assert_eq!(get.status, StatusCode::OK, "{}", get.body);
    let absent = lambda(Method::GET, "/2015-03-31/functions/nil", None).await;
    assert_eq!(absent.status, StatusCode::NOT_FOUND, "{}", absent.body);
    assert_eq!(absent.headers["x-amzn-errortype"], "ResourceNotFoundException");
    let denied = lambda(Method::DELETE, "/2015-03-31/functions/g", None).await;
    assert_eq!(denied.status, StatusCode::FORBIDDEN, "{}", denied.body);
    assert!(denied.body["message"].as_str().unwrap().contains("deploy:g"), "{}", denied.body);
    let list = lambda(Method::GET, "/2015-03-31/functions/", None).await;
    assert_eq!(list.headers["x-amzn-errortype"], "AccessDeniedException", "{}", list.body);
    // What another function's tags are is not read by naming one's own beside it.
    let tags = json!({"Tags": {"a": "b"}, "FunctionName": "f"});
    let arn = "/2017-03-31/tags/arn:aws:lambda:us-east-1:000000000000:function:nil";
    assert_eq!(lambda(Method::POST, arn, Some(tags)).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_session_and_a_link_have_the_scopes_of_their_token() {
    let world = World::with_sessions();
    let (reader, id) = world.token("reader", &["read"]).await;
    let login = json!({"token": reader});
    let made = world.send(super::session::login(login)).await;
    assert_eq!((made.status, &made.body["scopes"]), (StatusCode::CREATED, &json!(["read"])));
    assert_eq!(made.body["token"], json!({"id": id, "name": "reader"}));
    let cookie = made.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let key = made.body["key"].as_str().unwrap().to_owned();
    let asked = |method, path| {
        let request = Request::builder().method(method).uri(path).header("host", "localhost:7070");
        let request = request.header("cookie", &cookie).header(crate::SESSION_HEADER, &key);
        world.send(request.header("sec-fetch-site", "same-origin").body(Body::empty()).unwrap())
    };
    assert_eq!(asked(Method::GET, "/api/v1/metrics").await.status, StatusCode::OK);
    assert_eq!(asked(Method::GET, "/api/v1/tokens").await.status, StatusCode::FORBIDDEN);
    let link = asked(Method::POST, "/api/v1/session/link").await.body["link"].clone();
    let linked = world.send(super::session::login(json!({"link": link}))).await;
    assert_eq!(linked.body["scopes"], json!(["read"]), "{}", linked.body);

    let revoked = world.json(Method::DELETE, &format!("/api/v1/tokens/{id}"), json!({})).await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    assert_eq!(asked(Method::GET, "/api/v1/metrics").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_audit_log_has_what_was_changed_by_whom_and_no_secret() {
    let world = World::with_sessions();
    world.deploy().await;
    let (reader, id) = world.token("reader", &["read"]).await;
    let refused = world.with(&reader, Method::DELETE, "/api/v1/functions/f", None).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let secret = world.request(Method::PUT, "/api/v1/secrets/s").header("content-type", "application/octet-stream");
    world.send(secret.body(Body::from("canary-7531")).unwrap()).await;
    world.send(super::session::login(json!({"token": "hth_canary7531"}))).await;
    world.send(super::session::login(json!({"token": reader}))).await;
    world.json(Method::DELETE, &format!("/api/v1/tokens/{reader}"), json!({})).await;
    world.with(&world.token, Method::DELETE, "/2015-03-31/functions/f", None).await;

    let audit = world.get("/api/v1/audit").await;
    assert_eq!(audit.status, StatusCode::OK, "{}", audit.body);
    let mut records = audit.body["records"].as_array().unwrap().clone();
    records.reverse();
    let text = |record: &Value, key: &str| record[key].as_str().unwrap_or("-").to_owned();
    let shown: Vec<_> = records
        .iter()
        .map(|one| format!("{} {} {} {}", text(one, "by"), text(one, "action"), text(one, "object"), one["status"]))
        .collect();
    let expected = [
        "admin put_package packages 201".to_owned(),
        "admin put_function functions/f 201".to_owned(),
        format!("admin create_token tokens/{id} (reader) 201"),
        "reader delete_function functions/f 403".to_owned(),
        "admin put_secret secrets/s 201".to_owned(),
        "- login session 401".to_owned(),
        "reader login session 201".to_owned(),
        "admin revoke_token tokens/hth_… 400".to_owned(),
        "admin lambda:DeleteFunction functions/f 200".to_owned(),
    ];
    assert_eq!(shown, expected);
    assert_eq!((&records[3]["code"], &records[3]["token"]), (&json!("HEARTH-C002"), &json!(id)));
    let whole = audit.body.to_string();
    assert!(!whole.contains("canary") && !whole.contains(&reader) && !whole.contains(&world.token));

    let check = world.get("/api/v1/audit/check").await;
    assert_eq!((&check.body["whole"], &check.body["records"]), (&json!(true), &json!(9)), "{}", check.body);
    let noted = format!("/api/v1/audit/check?hash={}", records[0]["hash"].as_str().unwrap());
    assert_eq!(world.get(&noted).await.body["found"], 1);
    let page = world.get("/api/v1/audit?limit=1&before=4&token=zzz").await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    let page = world.get("/api/v1/audit?limit=1&before=4").await;
    assert_eq!(page.body["records"][0]["seq"], 3);
    assert_eq!(world.with(&reader, Method::GET, "/api/v1/audit", None).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_token_follows_an_eighth_of_what_all_may() {
    let world = World::new();
    world.deploy().await;
    let (reader, _) = world.token("reader", &["logs:*"]).await;
    let follow = async |token: &str| {
        let request = Request::builder().uri("/api/v1/functions/f/logs?follow=true").header("host", "127.0.0.1:7070");
        let request = request.header("authorization", format!("Bearer {token}")).body(Body::empty()).unwrap();
        world.router.clone().oneshot(request).await.unwrap()
    };
    let mut held = Vec::new();
    for _ in 0..crate::FOLLOWERS / 8 {
        held.push(follow(&reader).await);
    }
    assert!(held.iter().all(|answer| answer.status() == StatusCode::OK));
    let refused = follow(&reader).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key("retry-after"));
    let (other, _) = world.token("other", &["logs:*"]).await;
    assert_eq!(follow(&other).await.status(), StatusCode::OK, "it is nobody else's limit");
    held.pop();
    assert_eq!(follow(&reader).await.status(), StatusCode::OK, "one that left makes room");
}
