//! Routes and the keys of those who call them: no route of two functions, no key but its hash.

use model::{FunctionSpec, HttpRoute, SecretName, Timestamp};
use store::{ApiKey, ApiKeys, Functions, SecretValues, Secrets, StoreError};

use crate::{Home, name, spec};

fn with(function: &str, routes: &[&str]) -> FunctionSpec {
    let mut spec = spec(function);
    spec.routes = routes.iter().map(|text| text.parse::<HttpRoute>().unwrap()).collect();
    spec
}

fn key(name: &str, digit: u8) -> ApiKey {
    ApiKey {
        name: name.parse().unwrap(),
        sha256: [digit; 32],
        functions: vec!["bell".parse().unwrap()],
        routes: vec!["POST /ring/{who}".parse().unwrap()],
        created: Timestamp(1_700_000_000_000_000),
    }
}

#[tokio::test]
async fn a_route_belongs_to_one_function() {
    let home = Home::new();
    let code = home.package("1").await;
    let put = |spec| home.store.put(spec, code.clone(), None);
    // Another function, whose environment looks as if it had routes, is no obstacle.
    let mut odd = spec("odd");
    odd.env.insert("X".into(), "\"http\":[".to_owned().into());
    put(odd).await.unwrap();
    put(with("first", &["GET /a/{id}", "api.example.org/{proxy+}"])).await.unwrap();
    let refused = put(with("second", &["POST /b", "GET /a/{name}"])).await.unwrap_err();
    assert!(matches!(&refused, StoreError::RouteTaken { function, .. } if *function == name("first")), "{refused}");
    let said = refused.to_string();
    assert!(said.contains("GET /a/{name}") && said.contains("GET /a/{id}"), "{said}");
    assert!(home.store.get(&name("second")).await.is_err(), "nothing of it is written");
    // What only comes before or after is another route, and a function does not stand in its own way.
    put(with("second", &["POST /a/{id}", "/a/{id}", "GET /a/me", "GET /a/{rest+}", "/{proxy+}"])).await.unwrap();
    put(with("first", &["GET /a/{other}"])).await.unwrap();
    put(with("second", &["API.example.org/{all+}"])).await.unwrap();
    home.store.delete(&name("first")).await.unwrap();
    put(with("second", &["GET /a/{id}"])).await.unwrap();
}

#[tokio::test]
async fn of_two_deploys_at_once_with_one_route_one_is_refused() {
    let home = Home::new();
    let code = home.package("1").await;
    let put = |function| home.store.put(with(function, &["GET /a"]), code.clone(), None);
    let (one, other) = tokio::join!(put("one"), put("other"));
    assert_eq!([one.is_ok(), other.is_ok()].iter().filter(|ok| **ok).count(), 1);
    let refused = one.err().or(other.err()).unwrap();
    assert!(matches!(refused, StoreError::RouteTaken { .. }), "{refused}");
}

#[tokio::test]
async fn a_route_and_its_secret_hold_on_to_each_other() {
    let home = Home::new();
    let code = home.package("1").await;
    let secret: SecretName = "hook".parse().unwrap();
    let put = || home.store.put(with("f", &["POST /hook auth=github:hook"]), code.clone(), None);
    assert!(matches!(put().await, Err(StoreError::NoSuchSecret(_))));
    let value = model::SecretValue::new(b"value".to_vec()).unwrap();
    home.store.set_secret(secret.clone(), value).await.unwrap();
    put().await.unwrap();
    let refused = home.store.remove_secret(&secret, false).await.unwrap_err();
    assert!(matches!(&refused, StoreError::SecretUsed { functions, .. } if functions == &[name("f")]), "{refused}");
    let found = home.store.reveal([secret].into()).await.unwrap();
    assert_eq!(found["hook"].expose(), b"value");
}

#[tokio::test]
async fn a_key_is_kept_as_its_hash_under_one_name() {
    let home = Home::new();
    let changes = Functions::changes(&*home.store);
    let (bell, gate) = (key("doorbell", 1), key("gate", 2));
    for one in [&gate, &bell] {
        home.store.add_api_key(one.clone()).await.unwrap();
    }
    assert!(matches!(home.store.add_api_key(key("gate", 3)).await, Err(StoreError::ApiKeyTaken(_))));
    assert_eq!(*changes.borrow(), 2, "what is refused changes nothing");
    let home = home.reopen(|_| {});
    assert_eq!(home.store.api_keys().await.unwrap(), [bell.clone(), gate]);
    home.store.remove_api_key(&"gate".parse().unwrap()).await.unwrap();
    assert_eq!(home.store.api_keys().await.unwrap(), [bell]);
    let gone = home.store.remove_api_key(&"gate".parse().unwrap()).await;
    assert!(matches!(gone, Err(StoreError::NoSuchApiKey(_))));
}

#[test]
fn a_key_fits_where_it_says() {
    let fits = |key: &ApiKey, function, route: &str| key.fits(&name(function), &route.parse().unwrap());
    let limited = key("doorbell", 1);
    assert!(fits(&limited, "bell", "GET /any") && fits(&limited, "other", "POST /ring/{who}"));
    assert!(!fits(&limited, "other", "POST /ring"));
    let (functions, routes) = (vec![], vec![]);
    assert!(fits(&ApiKey { functions, routes, ..limited }, "other", "GET /any"));
}
