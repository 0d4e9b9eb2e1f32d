//! Secrets: what they are to those who manage them, to those who run functions, and to those who read the disk.

use std::collections::BTreeSet;
use std::path::Path;

use model::{SecretName, SecretValue};
use store::{Functions, Options, SecretValues, Secrets, SqliteStore, StoreError};

use crate::{Home, name, spec};

const VALUE: &[u8] = b"correct horse battery staple";

fn secret(text: &str) -> SecretName {
    text.parse().unwrap()
}

fn value(bytes: &[u8]) -> SecretValue {
    SecretValue::new(bytes.to_vec()).unwrap()
}

async fn read(store: &SqliteStore, name: &str) -> Option<Vec<u8>> {
    let found = store.reveal(BTreeSet::from([secret(name)])).await.unwrap();
    found.get(name).map(|value| value.expose().to_vec())
}

fn holds(folder: &Path, needle: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, needle);
        }
        std::fs::read(&path).unwrap().windows(needle.len()).any(|part| part == needle)
    })
}

#[tokio::test]
async fn what_is_set_is_kept_and_is_in_no_file() {
    let home = Home::new();
    let (info, new) = home.store.set_secret(secret("db.password"), value(VALUE)).await.unwrap();
    assert!(new && info.name.as_str() == "db.password");
    assert!(!holds(&home.data(), VALUE));
    let home = home.reopen(|data| assert!(!holds(data, VALUE)));
    assert_eq!(read(&home.store, "db.password").await.unwrap(), VALUE);
    assert_eq!(read(&home.store, "other").await, None);
    assert_eq!(home.store.secrets().await.unwrap(), [info]);
}

#[tokio::test]
async fn every_change_of_a_value_is_seen() {
    let home = Home::new();
    let versions = || async { home.store.secret_versions().await.unwrap() };
    let changes = Functions::changes(&*home.store);
    let mut seen = BTreeSet::new();
    for bytes in [b"1", b"2"] {
        home.store.set_secret(secret("a"), value(bytes)).await.unwrap();
        assert!(seen.insert(versions().await["a"]));
    }
    home.store.remove_secret(&secret("a"), false).await.unwrap();
    assert!(versions().await.is_empty());
    // As it was first, and yet not what it was.
    let (_, new) = home.store.set_secret(secret("a"), value(b"1")).await.unwrap();
    assert!(new && seen.insert(versions().await["a"]));
    assert_eq!(*changes.borrow(), 4);
}

#[tokio::test]
async fn a_function_and_its_secrets_hold_on_to_each_other() {
    let home = Home::new();
    let code = home.package("1").await;
    let mut wanted = spec("f");
    wanted.env.insert("KEY".into(), secret("key").into());
    wanted.secrets.insert("tls/key".into(), secret("tls"));
    let put = |spec| home.store.put(spec, code.clone(), None);
    home.store.set_secret(secret("key"), value(VALUE)).await.unwrap();
    let refused = put(wanted.clone()).await.unwrap_err();
    assert!(refused.to_string().contains("hearth secret set tls"), "{refused}");
    home.store.set_secret(secret("tls"), value(VALUE)).await.unwrap();
    put(wanted.clone()).await.unwrap();

    let refused = home.store.remove_secret(&secret("tls"), false).await.unwrap_err();
    assert!(matches!(&refused, StoreError::SecretUsed { functions, .. } if functions == &[name("f")]), "{refused}");
    home.store.remove_secret(&secret("tls"), true).await.unwrap();
    assert!(matches!(put(wanted.clone()).await, Err(StoreError::NoSuchSecret(_))));
    // An old revision is nobody's to run.
    wanted.secrets.clear();
    wanted.env.clear();
    put(wanted).await.unwrap();
    home.store.remove_secret(&secret("key"), false).await.unwrap();
    assert!(matches!(home.store.remove_secret(&secret("key"), true).await, Err(StoreError::NoSuchSecret(_))));
}

#[tokio::test]
async fn a_new_key_opens_everything_and_the_old_one_nothing() {
    let home = Home::new();
    let file = home.data().join("secret.key");
    for name in ["a", "b"] {
        home.store.set_secret(secret(name), value(VALUE)).await.unwrap();
    }
    let (before, versions) = (std::fs::read(&file).unwrap(), home.store.secret_versions().await.unwrap());
    let rotation = home.store.rotate_key().await.unwrap();
    assert_eq!(rotation.secrets, 2);
    assert_eq!(home.store.secret_versions().await.unwrap(), versions, "no instance need be replaced");
    assert_eq!(read(&home.store, "a").await.unwrap(), VALUE);
    home.store.set_secret(secret("c"), value(VALUE)).await.unwrap();

    let home = home.reopen(|data| assert_ne!(std::fs::read(data.join("secret.key")).unwrap(), before));
    assert_eq!(read(&home.store, "c").await.unwrap(), VALUE);
    let home = home.reopen(|data| std::fs::write(data.join("secret.key"), &before).unwrap());
    let locked = home.store.reveal(BTreeSet::from([secret("a")])).await.unwrap_err();
    let said = locked.to_string();
    assert!(said.contains(&rotation.key) && said.contains("set the secret again"), "{said}");
}

#[tokio::test]
async fn the_operators_key_file_can_be_changed_under_way() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    let write = |lines: &[&str]| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(&keys, lines.iter().map(|digit| digit.repeat(64) + "\n").collect::<String>()).unwrap();
        std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    let open = || {
        let mut options = Options::new(dir.path().join("data"));
        options.secret_keys = Some(keys.clone());
        SqliteStore::open(options)
    };
    write(&["1"]);
    let store = open().unwrap();
    store.set_secret(secret("a"), value(VALUE)).await.unwrap();
    assert!(matches!(store.rotate_key().await, Err(StoreError::KeyFile(_))));
    // One that forgot the old key changes nothing.
    write(&["2"]);
    assert!(matches!(store.rotate_key().await, Err(StoreError::SecretLocked { .. })));
    assert_eq!(read(&store, "a").await.unwrap(), VALUE);
    write(&["2", "1"]);
    assert_eq!(store.rotate_key().await.unwrap().secrets, 1);
    store.close();
    drop(store);
    write(&["2"]);
    assert_eq!(read(&open().unwrap(), "a").await.unwrap(), VALUE);
    assert!(!dir.path().join("data/secret.key").exists());
}
