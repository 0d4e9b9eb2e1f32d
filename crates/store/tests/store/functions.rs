//! Functions and tokens.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Cpu, FunctionSpec, Idle, Memory, Revision, Timestamp, TokenId};
use proptest::prelude::*;
use store::{Credentials, Functions, Packages, SqliteStore, StoreError, StoredToken};

use crate::{Home, name, package, spec};

#[tokio::test]
async fn what_is_put_is_there_also_after_a_restart() {
    let home = Home::new();
    let code = home.package("1").await;
    let mut wanted = spec("f");
    wanted.env.insert("KEY".into(), "Wert: äöü 'quoted' \"twice\"\n".into());
    let put = home.store.put(wanted.clone(), code.clone(), None).await.unwrap();
    assert_eq!((&put.spec, put.revision, &put.code), (&wanted, Revision(1), &code));
    assert_eq!(put.code_size, package("1").len() as u64);
    assert_eq!(home.store.get(&name("f")).await.unwrap(), put);
    let home = home.reopen(|_| {});
    assert_eq!(home.store.get(&name("f")).await.unwrap(), put);
    assert_eq!(home.store.list().await.unwrap(), [put]);
}

#[tokio::test]
async fn an_absent_function_is_named() {
    let home = Home::new();
    for error in [home.store.get(&name("none")).await.unwrap_err(), home.store.delete(&name("none")).await.unwrap_err()]
    {
        assert!(matches!(&error, StoreError::NoSuchFunction(n) if *n == name("none")), "{error}");
    }
    assert!(home.store.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_function_needs_its_package() {
    let home = Home::new();
    let code = "1".repeat(64).parse().unwrap();
    assert!(matches!(home.store.put(spec("f"), code, None).await, Err(StoreError::NoSuchPackage(_))));
    assert!(home.store.get(&name("f")).await.is_err());
}

#[tokio::test]
async fn functions_are_listed_by_name() {
    let home = Home::new();
    let code = home.package("1").await;
    for text in ["b", "a", "c", "B"] {
        home.store.put(spec(text), code.clone(), None).await.unwrap();
    }
    let names: Vec<_> = home.store.list().await.unwrap().into_iter().map(|f| f.spec.name.to_string()).collect();
    assert_eq!(names, ["B", "a", "b", "c"]);
}

#[tokio::test]
async fn a_name_used_again_does_not_repeat_a_revision() {
    let home = Home::new();
    let code = home.package("1").await;
    for wanted in 1..=3 {
        assert_eq!(home.store.put(spec("f"), code.clone(), None).await.unwrap().revision, Revision(wanted));
    }
    home.store.delete(&name("f")).await.unwrap();
    assert!(home.store.history(&name("f")).await.is_err());
    assert_eq!(home.store.put(spec("f"), code.clone(), Some(0)).await.unwrap().revision, Revision(4));
}

#[tokio::test]
async fn the_last_revisions_are_kept_beside_the_current_one() {
    let home = Home::with(|options| options.history = 10);
    let code = home.package("1").await;
    for _ in 0..15 {
        home.store.put(spec("f"), code.clone(), None).await.unwrap();
        home.store.put(spec("other"), code.clone(), None).await.unwrap();
    }
    for text in ["f", "other"] {
        let kept: Vec<_> = home.store.history(&name(text)).await.unwrap().into_iter().map(|f| f.revision.0).collect();
        assert_eq!(kept, (5..=15).rev().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_change_against_an_old_revision_is_a_conflict() {
    let home = Home::new();
    let code = home.package("1").await;
    let put = |expect| home.store.put(spec("f"), code.clone(), expect);
    assert!(matches!(put(Some(1)).await, Err(StoreError::Conflict { expected: 1, found: 0, .. })));
    put(Some(0)).await.unwrap();
    assert!(matches!(put(Some(0)).await, Err(StoreError::Conflict { expected: 0, found: 1, .. })));
    put(Some(1)).await.unwrap();
    let error = put(Some(1)).await.unwrap_err();
    assert_eq!(error.to_string(), "function f changed meanwhile: it is at revision 2, not 1");
    // What failed has used up no revision.
    assert_eq!(put(None).await.unwrap().revision, Revision(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_changes_at_once_exactly_one_wins_each_revision() {
    let home = Home::new();
    let code = home.package("1").await;
    home.store.put(spec("f"), code.clone(), None).await.unwrap();
    let changers = (0..16).map(|_| {
        let (store, code) = (home.store.clone(), code.clone());
        tokio::spawn(async move {
            let mut won = Vec::new();
            while won.len() < 10 {
                let at = store.get(&name("f")).await.unwrap().revision.0;
                match store.put(spec("f"), code.clone(), Some(at)).await {
                    Ok(function) => won.push((at, function.revision.0)),
                    Err(StoreError::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            won
        })
    });
    let mut won = Vec::new();
    for changer in changers.collect::<Vec<_>>() {
        won.extend(changer.await.unwrap());
    }
    won.sort();
    assert_eq!(won, (1..=160).map(|at| (at, at + 1)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_watcher_sees_every_kind_of_change_and_nothing_else() {
    let home = Home::new();
    let code = home.package("1").await;
    let mut changes = home.store.changes();
    let before = *changes.borrow_and_update();
    home.store.put(spec("f"), code.clone(), None).await.unwrap();
    assert!(changes.has_changed().unwrap());
    assert_eq!(*changes.borrow_and_update(), before + 1);
    home.store.delete(&name("f")).await.unwrap();
    assert_eq!(*changes.borrow_and_update(), before + 2);
    home.store.delete(&name("f")).await.unwrap_err();
    home.store.put(spec("f"), code, Some(7)).await.unwrap_err();
    home.store.add_token(token("t", 1)).await.unwrap();
    home.store.list().await.unwrap();
    assert!(!changes.has_changed().unwrap());
}

#[tokio::test]
async fn what_a_watcher_then_reads_is_the_change() {
    let home = Home::new();
    let code = home.package("1").await;
    let mut changes = home.store.changes();
    let (store, writer) = (home.store.clone(), home.store.clone());
    let put = tokio::spawn(async move { writer.put(spec("f"), code, None).await.unwrap() });
    changes.changed().await.unwrap();
    assert_eq!(store.get(&name("f")).await.unwrap(), put.await.unwrap());
}

fn token(name: &str, byte: u8) -> StoredToken {
    StoredToken {
        id: TokenId::of(&[byte; 32]),
        name: name.parse().unwrap(),
        sha256: [byte; 32],
        scopes: vec!["read".into(), "invoke:f-*".into()],
        created: Timestamp(7),
        expires: Some(Timestamp(9)),
        last_used: None,
        access_key_id: Some(format!("HKIA{byte}")),
        own: false,
    }
}

#[tokio::test]
async fn tokens_are_kept_by_name_until_they_are_revoked() {
    let home = Home::new();
    let own = |byte| StoredToken { own: true, ..token("admin", byte) };
    for one in [token("b", 2), token("a", 1), own(3)] {
        home.store.add_token(one).await.unwrap();
    }
    let taken = home.store.add_token(token("a", 4)).await.unwrap_err();
    assert!(matches!(taken, StoreError::TokenTaken(_)), "{taken}");
    home.store
        .tokens_used(vec![(TokenId::of(&[1; 32]), Timestamp(8)), (TokenId::of(&[9; 32]), Timestamp(8))])
        .await
        .unwrap();
    let home = home.reopen(|_| {});
    let used = StoredToken { last_used: Some(Timestamp(8)), ..token("a", 1) };
    assert_eq!(home.store.tokens().await.unwrap(), [used.clone(), own(3), token("b", 2)]);

    home.store.remove_token(&TokenId::of(&[2; 32])).await.unwrap();
    let gone = home.store.remove_token(&TokenId::of(&[2; 32])).await.unwrap_err();
    assert!(matches!(gone, StoreError::NoSuchToken(_)), "{gone}");
    let own_one = home.store.remove_token(&TokenId::of(&[3; 32])).await.unwrap_err();
    assert!(matches!(own_one, StoreError::OwnToken(_)), "{own_one}");
    home.store.add_token(own(5)).await.unwrap();
    assert_eq!(home.store.tokens().await.unwrap(), [used, own(5)], "another of its own takes its place");
}

#[tokio::test]
async fn one_process_at_a_time_has_the_data_directory() {
    let home = Home::new();
    let error = SqliteStore::open(store::Options::new(home.data())).err().unwrap().to_string();
    assert!(error.contains("another process") && error.contains("data"), "{error}");
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let home = Home::new();
    let code = home.package("1").await;
    home.store.close();
    home.store.close();
    assert!(matches!(home.store.put(spec("f"), code, None).await, Err(StoreError::Closed)));
    assert!(matches!(home.store.list().await, Err(StoreError::Closed)));
    assert!(matches!(home.store.add(package("2")).await, Err(StoreError::Closed)));
    assert!(matches!(store::Telemetry::logs(&*home.store, Default::default()).await, Err(StoreError::Closed)));
}

fn specs() -> impl Strategy<Value = FunctionSpec> {
    let env = prop::collection::btree_map("[A-Z][A-Z0-9_]{0,8}", "[^\0]{0,40}", 0..5);
    let scale = (0_u32..5, 5_u32..100, prop::option::of(0_u64..100_000));
    (
        "[A-Za-z0-9_-]{1,64}",
        "\\PC{0,60}",
        32_u32..10_240,
        1_u64..900_000,
        prop::option::of(10_u32..64_000),
        env,
        scale,
        any::<bool>(),
    )
        .prop_map(|(name, description, memory, timeout, cpu, env, (min, max, idle), url)| {
            let mut spec = spec(&name);
            spec.description = description;
            spec.memory = Memory::mib(memory);
            spec.timeout = Duration::from_millis(timeout);
            spec.cpu = cpu.map(Cpu::millis);
            spec.env = env.into_iter().map(|(name, value)| (name, value.into())).collect();
            spec.scale.min = min;
            spec.scale.max = max;
            spec.scale.idle = idle.map_or(Idle::Auto, |ms| Idle::For(Duration::from_millis(ms)));
            spec.url = url;
            spec
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_specification_comes_back_as_it_was(specs in prop::collection::vec(specs(), 1..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let home = Home::new();
        runtime.block_on(async {
            let code = home.package("1").await;
            let mut wanted = BTreeMap::new();
            for spec in specs {
                let put = home.store.put(spec.clone(), code.clone(), None).await.unwrap();
                assert_eq!(put.spec, spec);
                wanted.insert(spec.name.clone(), put);
            }
            let home = home.reopen(|_| {});
            for (name, function) in &wanted {
                assert_eq!(&home.store.get(name).await.unwrap(), function);
            }
            assert_eq!(home.store.list().await.unwrap(), wanted.into_values().collect::<Vec<_>>());
        });
    }
}
