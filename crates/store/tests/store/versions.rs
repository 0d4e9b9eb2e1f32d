//! Versions, aliases, canaries and history: what is kept, what is refused, what outlives what.

use std::time::Duration;

use model::{AliasName, CanaryEnd, CanaryRules, CodeHash, EnvValue, Function, Memory, Revision, Version, Weight};
use store::versions::{AliasChange, Deed, Deploy, How, Publish};
use store::{Functions, Packages, Secrets, StoreError, Telemetry, Versions};

use crate::{Home, name, spec};

const BY: &str = "a test";

fn alias(text: &str) -> AliasName {
    text.parse().unwrap()
}

async fn put(home: &Home, megabytes: u32, code: &CodeHash) -> Function {
    let mut spec = spec("f");
    spec.memory = Memory::mib(megabytes);
    home.store.put(spec, code.clone(), None).await.unwrap()
}

async fn publish(home: &Home) -> (u64, bool) {
    let (version, made) = home.store.publish(&name("f"), Publish::default(), BY).await.unwrap();
    (version.function.version.number().unwrap(), made)
}

async fn canary(home: &Home, megabytes: u32, code: &CodeHash) -> Result<Function, StoreError> {
    let mut spec = spec("f");
    spec.memory = Memory::mib(megabytes);
    let how = How::Canary(CanaryRules::new(Weight::try_from(0.1).unwrap()));
    home.store.deploy(Deploy { spec, code: code.clone(), expect: None, by: BY.into(), how }).await
}

#[tokio::test]
async fn a_version_is_made_when_something_changed_and_its_number_is_never_given_again() {
    let home = Home::new();
    let code = home.package("1").await;
    put(&home, 128, &code).await;
    assert_eq!((publish(&home).await, publish(&home).await), ((1, true), (1, false)));
    put(&home, 256, &code).await;
    assert_eq!(publish(&home).await, (2, true));
    home.store.remove_version(&name("f"), 2, BY).await.unwrap();
    assert_eq!(publish(&home).await, (3, true));
    home.store.remove(&name("f"), BY).await.unwrap();
    put(&home, 256, &code).await;
    assert_eq!(publish(&home).await, (4, true), "also not when the function was removed");
    let home = home.reopen(|_| {});
    let versions = home.store.versions(&name("f")).await.unwrap();
    assert_eq!(versions.len(), 1);
    assert_eq!(
        (versions[0].function.version, versions[0].function.spec.memory),
        (Version::Number(4), Memory::mib(256))
    );
}

#[tokio::test]
async fn publishing_may_ask_what_it_publishes() {
    let home = Home::new();
    let (code, other) = (home.package("1").await, home.package("2").await);
    put(&home, 128, &code).await;
    let of = |expect, code| Publish { description: None, expect, code };
    let error = home.store.publish(&name("f"), of(Some(9), None), BY).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { found: 1, .. }), "{error}");
    let error = home.store.publish(&name("f"), of(None, Some(other)), BY).await.unwrap_err();
    assert!(matches!(error, StoreError::OtherCode { .. }), "{error}");
    assert!(home.store.publish(&name("f"), of(Some(1), Some(code)), BY).await.unwrap().1);
}

#[tokio::test]
async fn what_a_version_is_of_is_kept_with_its_code_and_secrets() {
    let home = Home::with(|options| options.history = 2);
    let (code, later) = (home.package("1").await, home.package("2").await);
    home.store.set_secret("key".parse().unwrap(), model::SecretValue::new(b"x".to_vec()).unwrap()).await.unwrap();
    let mut first = spec("f");
    first.env.insert("KEY".into(), model::EnvValue::from("key".parse::<model::SecretName>().unwrap()));
    let first = home.store.put(first, code.clone(), None).await.unwrap();
    assert_eq!(publish(&home).await, (1, true));
    for megabytes in 200..210 {
        put(&home, megabytes, &later).await;
    }
    let kept: Vec<u64> = home.store.history(&name("f")).await.unwrap().iter().map(|one| one.revision.0).collect();
    assert_eq!(kept, [11, 10, 9, 1]);
    assert_eq!(home.store.collect(Duration::ZERO).await.unwrap(), 0);
    assert!(home.store.has(&code).await.unwrap(), "a version's code stays");
    let error = home.store.remove_secret(&"key".parse().unwrap(), false).await.unwrap_err();
    assert!(matches!(&error, StoreError::SecretUsed { functions, .. } if functions.len() == 1), "{error}");
    assert_eq!(home.store.revision(&name("f"), Revision(1)).await.unwrap(), first);
    assert!(matches!(
        home.store.revision(&name("f"), Revision(5)).await.unwrap_err(),
        StoreError::NoSuchRevision { revision: Revision(5), .. }
    ));
    home.store.remove_version(&name("f"), 1, BY).await.unwrap();
    put(&home, 300, &later).await;
    assert_eq!(home.store.collect(Duration::ZERO).await.unwrap(), 1);
}

#[tokio::test]
async fn an_alias_leads_to_versions_that_are_there_and_keeps_them() {
    let home = Home::new();
    let code = home.package("1").await;
    for megabytes in [128, 256] {
        put(&home, megabytes, &code).await;
        publish(&home).await;
    }
    let (f, live) = (name("f"), alias("live"));
    let to = |version| AliasChange { version: Some(Version::Number(version)), ..AliasChange::default() };
    let set = |change| home.store.set_alias(&f, &live, change, BY);
    assert!(matches!(set(AliasChange::default()).await.unwrap_err(), StoreError::NoSuchAlias { .. }));
    assert!(matches!(set(to(3)).await.unwrap_err(), StoreError::NoSuchVersion { version: 3, .. }));
    let weight = Weight::try_from(0.1).unwrap();
    let both = |second| AliasChange { second: Some(Some((second, weight))), ..to(1) };
    assert!(matches!(set(both(1)).await.unwrap_err(), StoreError::BadRouting { .. }));
    let (made, created) = set(both(2)).await.unwrap();
    assert!(created && made.revision == 1 && made.second == Some((2, weight)));
    for used in [1, 2] {
        let error = home.store.remove_version(&f, used, BY).await.unwrap_err();
        assert!(error.to_string().contains("the alias live"), "{error}");
    }
    let old = AliasChange { expect: Some(7), ..to(2) };
    assert!(matches!(set(old).await.unwrap_err(), StoreError::AliasConflict { found: 1, .. }));
    let (moved, created) = set(to(2)).await.unwrap();
    assert!(!created && moved.revision == 2 && moved.second.is_none(), "the share went with the old target");
    home.store.remove_version(&f, 1, BY).await.unwrap();
    let home = home.reopen(|_| {});
    assert_eq!(home.store.aliases(&name("f")).await.unwrap(), [moved]);
    home.store.remove_alias(&name("f"), &live, BY).await.unwrap();
    assert!(home.store.published().await.unwrap().aliases.is_empty());
}

#[tokio::test]
async fn an_alias_keeps_variables_of_its_own_that_go_with_what_it_leads_to() {
    let home = Home::new();
    let code = home.package("1").await;
    put(&home, 128, &code).await;
    publish(&home).await;
    let (f, live) = (name("f"), alias("live"));
    let set = |change| home.store.set_alias(&f, &live, change, BY);
    let own = |pairs: &[(&str, Option<EnvValue>)]| AliasChange {
        env: pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        ..AliasChange::default()
    };
    let first =
        AliasChange { version: Some(Version::Number(1)), ..own(&[("A", Some("1".into())), ("B", Some("2".into()))]) };
    set(first).await.unwrap();
    // What is not said stays; what is said to be none goes.
    let (changed, _) = set(own(&[("A", Some("3".into())), ("B", None)])).await.unwrap();
    assert_eq!(
        changed.env.iter().map(|(name, value)| (name.as_str(), value.plain())).collect::<Vec<_>>(),
        [("A", Some("3"))]
    );
    let told = home.store.history_of(&f, 1).await.unwrap().pop().unwrap();
    let told: Vec<_> = told.changes.iter().map(|one| (one.key.as_str(), one.to.is_some())).collect();
    assert_eq!(told, [("env.A", true), ("env.B", false)]);
    for bad in ["AWS_REGION", "1A"] {
        let error = set(own(&[(bad, Some("x".into()))])).await.unwrap_err().to_string();
        assert!(error.contains("alias live of function f") && error.contains(bad), "{error}");
    }
    // A secret must be there, and stays as long as the alias refers to it.
    let key: model::SecretName = "key".parse().unwrap();
    let refers = || own(&[("KEY", Some(key.clone().into()))]);
    assert!(matches!(set(refers()).await.unwrap_err(), StoreError::NoSuchSecret(_)));
    store::Secrets::set_secret(&*home.store, key.clone(), model::SecretValue::new(b"v".to_vec()).unwrap())
        .await
        .unwrap();
    set(refers()).await.unwrap();
    let used = store::Secrets::remove_secret(&*home.store, &key, false).await.unwrap_err();
    assert!(matches!(used, StoreError::SecretUsed { ref functions, .. } if *functions == [name("f")]), "{used}");
    // Of $LATEST: a deploy that would not go with it is refused.
    let big = own(&[("BIG", Some("x".repeat(3000).as_str().into()))]);
    set(AliasChange { version: Some(Version::Latest), ..big }).await.unwrap();
    let mut spec = crate::spec("f");
    spec.env.insert("MORE".into(), "y".repeat(2000).as_str().into());
    let error = store::Functions::put(&*home.store, spec, code, None).await.unwrap_err();
    assert!(matches!(error, StoreError::BadAliasEnv { .. }) && error.to_string().contains("4096"), "{error}");
    let before = home.store.aliases(&f).await.unwrap();
    let home = home.reopen(|_| {});
    assert_eq!(home.store.aliases(&name("f")).await.unwrap(), before);
}

#[tokio::test]
async fn aliases_of_before_they_had_variables_are_read() {
    let home = Home::new();
    let code = home.package("1").await;
    put(&home, 128, &code).await;
    publish(&home).await;
    let to = AliasChange { version: Some(Version::Number(1)), ..AliasChange::default() };
    let (made, _) = home.store.set_alias(&name("f"), &alias("live"), to, BY).await.unwrap();
    let home = home.reopen(|data| {
        let db = rusqlite::Connection::open(data.join("catalogue.db")).unwrap();
        // Tokens were others too.
        db.execute_batch(
            "ALTER TABLE aliases DROP COLUMN env;
             DROP TABLE tokens;
             CREATE TABLE tokens (sha256 BLOB NOT NULL PRIMARY KEY, name TEXT NOT NULL, added INTEGER NOT NULL)
                STRICT, WITHOUT ROWID;
             PRAGMA user_version = 7",
        )
        .unwrap();
    });
    assert_eq!(home.store.aliases(&name("f")).await.unwrap(), [made]);
}

#[tokio::test]
async fn a_canary_keeps_what_served_before_until_it_ends() {
    let home = Home::with(|options| options.history = 0);
    let (old, new) = (home.package("1").await, home.package("2").await);
    assert!(matches!(canary(&home, 128, &old).await.unwrap_err(), StoreError::NoSuchFunction(_)));
    let stable = put(&home, 128, &old).await;
    let tried = canary(&home, 256, &new).await.unwrap();
    let home = home.reopen(|_| {});
    let running = home.store.canaries().await.unwrap().pop().unwrap();
    assert_eq!((&running.stable, running.revision, running.version), (&stable, tried.revision, 1));
    assert_eq!(home.store.collect(Duration::ZERO).await.unwrap(), 0);
    assert!(matches!(canary(&home, 512, &new).await.unwrap_err(), StoreError::CanaryRuns(_)));
    let error = home.store.put(spec("f"), new.clone(), None).await.unwrap_err();
    assert!(matches!(error, StoreError::CanaryRuns(_)), "{error}");
    let error = home.store.remove_version(&name("f"), 1, BY).await.unwrap_err();
    assert!(error.to_string().contains("canary"), "{error}");
    let end = |revision, end| {
        let store = home.store.clone();
        async move { store.end_canary(&name("f"), revision, end, "why", BY).await }
    };
    assert!(matches!(end(Revision(9), CanaryEnd::Promoted).await.unwrap_err(), StoreError::NoCanary(_)));
    let back = end(tried.revision, CanaryEnd::RolledBack).await.unwrap();
    assert_eq!((back.revision, &back.spec, &back.code), (Revision(3), &stable.spec, &stable.code));
    assert_eq!(home.store.get(&name("f")).await.unwrap(), back);
    assert!(home.store.canaries().await.unwrap().is_empty());
    let again = canary(&home, 256, &new).await.unwrap();
    let promoted = end(again.revision, CanaryEnd::Promoted).await.unwrap();
    assert_eq!(promoted, again);
}

#[tokio::test]
async fn history_tells_who_did_what() {
    let home = Home::new();
    let (code, other) = (home.package("1").await, home.package("2").await);
    put(&home, 128, &code).await;
    put(&home, 256, &code).await;
    put(&home, 256, &other).await;
    publish(&home).await;
    let told = home.store.history_of(&name("f"), 100).await.unwrap();
    let deeds: Vec<Deed> = told.iter().map(|one| one.deed).collect();
    assert_eq!(deeds, [Deed::Published, Deed::Deployed, Deed::Configured, Deed::Deployed]);
    assert_eq!((told[0].by.as_str(), told[0].text.as_str()), (BY, "version 1"));
    assert_eq!(told[2].changes.iter().map(|one| one.key.as_str()).collect::<Vec<_>>(), ["memory"]);
    home.store.remove(&name("f"), "somebody").await.unwrap();
    let told = home.store.history_of(&name("f"), 1).await.unwrap();
    assert_eq!((told[0].deed, told[0].by.as_str()), (Deed::Removed, "somebody"));
    assert!(matches!(home.store.history_of(&name("g"), 1).await.unwrap_err(), StoreError::NoSuchFunction(_)));
}

#[tokio::test]
async fn history_is_bounded() {
    let home = Home::in_memory();
    let code = home.package("1").await;
    for turn in 0..320 {
        put(&home, 128 + turn % 2, &code).await;
    }
    assert_eq!(home.store.history_of(&name("f"), 1000).await.unwrap().len(), 300);
    assert_eq!(home.store.history(&name("f")).await.unwrap().len(), 100, "of revisions the last hundred");
}

#[tokio::test]
async fn calls_of_a_revision_are_counted_on_from_where_one_was() {
    use model::{FaultCode, Record, RecordOutcome};
    let home = Home::new();
    let record = |revision, outcome| Record { revision: Revision(revision), outcome, ..crate::telemetry::record("f") };
    let tally = |after| {
        let store = home.store.clone();
        async move { store.tally(&name("f"), Revision(2), after).await.unwrap() }
    };
    home.store.record(record(1, RecordOutcome::Fault(FaultCode::HandlerError)));
    home.store.record(record(2, RecordOutcome::Ok));
    home.store.record(record(2, RecordOutcome::Fault(FaultCode::Timeout)));
    home.store.record(record(2, RecordOutcome::Fault(FaultCode::TooManyRequests)));
    let (seen, cursor) = tally(0).await;
    assert_eq!((seen.calls, seen.errors), (2, 1), "what never ran says nothing of the code");
    assert_eq!(tally(cursor).await.0.calls, 0);
    home.store.record(record(2, RecordOutcome::Ok));
    assert_eq!(tally(cursor).await.0, model::Tally { calls: 1, errors: 0 });
}
