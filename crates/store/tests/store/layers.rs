//! Layers, policies and what is provisioned: what is kept, and what goes with what.

use std::time::Duration;

use model::{LayerName, LayerUse, Layers as FunctionLayers, Qualifier, Version};
use serde_json::json;
use store::policies::{Policy, Subject};
use store::versions::{AliasChange, Publish};
use store::{Functions, Layers, NewLayer, Packages, Policies, Provisions, StoreError, Versions};

use crate::{Home, name, package, spec};

fn layer(code: &model::CodeHash) -> NewLayer {
    let (description, license) = (String::new(), String::new());
    let (runtimes, architectures) = (vec!["python3.11".into()], vec![]);
    NewLayer { name: layer_name(), code: code.clone(), description, license, runtimes, architectures }
}

fn layer_name() -> LayerName {
    "deps".parse().unwrap()
}

#[tokio::test]
async fn a_layers_package_stays_as_long_as_a_layer_or_a_function_has_it() {
    let home = Home::new();
    let (one, two) = (home.package("1").await, home.package("2").await);
    let first = home.store.publish_layer(layer(&one)).await.unwrap();
    let second = home.store.publish_layer(layer(&two)).await.unwrap();
    assert_eq!((first.version, second.version), (1, 2));
    let tree = home.store.merge(vec![one.clone(), two.clone()]).await.unwrap();
    assert_eq!(
        home.store.merge(vec![one.clone(), two.clone()]).await.unwrap(),
        tree,
        "the same list is the same package"
    );
    assert_eq!(home.store.unpacked(&tree).await.unwrap(), 1, "the later file of the name");
    let code = home.package("code").await;
    let mut with = spec("f");
    let uses = [&first, &second].map(|one| LayerUse { name: layer_name(), version: one.version, size: one.size });
    with.layers = Some(FunctionLayers { versions: uses.to_vec(), tree: tree.clone() });
    home.store.put(with, code, None).await.unwrap();

    assert_eq!(home.store.collect(Duration::ZERO).await.unwrap(), 0);
    assert!(home.store.remove_layer_version(&layer_name(), 1).await.unwrap());
    assert!(!home.store.remove_layer_version(&layer_name(), 1).await.unwrap());
    assert_eq!(home.store.collect(Duration::ZERO).await.unwrap(), 1, "the first version's");
    let home = home.reopen(|_| {});
    assert!(home.store.has(&tree).await.unwrap() && home.store.has(&two).await.unwrap());
    let left = home.store.layer_versions(Some(&layer_name())).await.unwrap();
    assert_eq!(left, [second], "the newest first");
    home.store.delete(&name("f")).await.unwrap();
    assert_eq!(home.store.collect(Duration::ZERO).await.unwrap(), 2, "the function's code and its layers");
    assert!(home.store.remove_layer_version(&layer_name(), 2).await.unwrap());
    assert_eq!(home.store.publish_layer(layer(&two)).await.unwrap().version, 3, "no number is given twice");
}

#[tokio::test]
async fn what_is_not_there_is_no_layer() {
    let home = Home::new();
    let code = model::CodeHash::from_digest(&[7; 32]);
    assert!(matches!(home.store.publish_layer(layer(&code)).await, Err(StoreError::NoSuchPackage(_))));
    let mut with = spec("f");
    let uses = vec![LayerUse { name: layer_name(), version: 1, size: 1 }];
    with.layers = Some(FunctionLayers { versions: uses, tree: code });
    let there = home.store.add(package("1")).await.unwrap();
    assert!(matches!(home.store.put(with, there, None).await, Err(StoreError::NoSuchPackage(_))));
}

#[tokio::test]
async fn policies_and_provisions_go_with_what_they_are_of() {
    let home = Home::new();
    let code = home.package("1").await;
    home.store.put(spec("f"), code, None).await.unwrap();
    home.store.publish(&name("f"), Publish::default(), "a test").await.unwrap();
    let (live, one): (_, Qualifier) = ("live".parse().unwrap(), "1".parse().unwrap());
    let change = AliasChange { version: Some(Version::Number(1)), ..AliasChange::default() };
    home.store.set_alias(&name("f"), &live, change, "a test").await.unwrap();
    let of = |qualifier: Option<&str>| Subject::Function(name("f"), qualifier.map(str::to_owned));
    let policy = |revision: &str| Policy { statements: vec![json!({"Sid": "s"})], revision: revision.into() };
    for qualifier in [None, Some("1"), Some("live")] {
        assert!(home.store.replace_policy(&of(qualifier), None, Some(policy("r"))).await.unwrap());
    }
    assert!(!home.store.replace_policy(&of(None), None, Some(policy("x"))).await.unwrap(), "one is there");
    assert!(!home.store.replace_policy(&of(None), Some("x".into()), None).await.unwrap(), "another one is there");
    assert_eq!(home.store.policy(&of(None)).await.unwrap(), Some(policy("r")));

    home.store.provision(&name("f"), &Qualifier::Alias(live.clone()), Some(2)).await.unwrap();
    home.store.provision(&name("f"), &one, Some(3)).await.unwrap();
    let none = home.store.provision(&name("f"), &"7".parse().unwrap(), Some(1)).await;
    assert!(matches!(none, Err(StoreError::NoSuchVersion { version: 7, .. })));
    let counts: Vec<_> = home.store.published().await.unwrap().provisioned.iter().map(|one| one.count).collect();
    assert_eq!(counts, [3, 2]);

    home.store.remove_alias(&name("f"), &live, "a test").await.unwrap();
    assert_eq!(home.store.policy(&of(Some("live"))).await.unwrap(), None);
    assert_eq!(home.store.provisioned(&name("f")).await.unwrap().len(), 1);
    home.store.remove_version(&name("f"), 1, "a test").await.unwrap();
    assert_eq!(home.store.policy(&of(Some("1"))).await.unwrap(), None);
    assert_eq!(home.store.provisioned(&name("f")).await.unwrap(), []);
    home.store.delete(&name("f")).await.unwrap();
    assert_eq!(home.store.policy(&of(None)).await.unwrap(), None);
    assert!(home.store.replace_policy(&of(None), None, Some(policy("r"))).await.is_err(), "the function is gone");
}
