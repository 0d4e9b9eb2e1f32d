//! Packages that are taken: what comes out, and what becomes of half-made and unused ones.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use store::{Functions, Packages, StoreError};

use crate::archive::{Entry, Zip};
use crate::{Home, package, spec};

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode()
}

#[tokio::test]
async fn a_package_is_kept_as_it_came_and_unpacked() {
    let home = Home::new();
    let zip = package("print()");
    let hash = home.store.add(zip.clone()).await.unwrap();
    assert!(home.store.has(&hash).await.unwrap());
    assert_eq!(home.store.read(&hash).await.unwrap(), zip);
    assert_eq!(fs::read(home.store.code_folder(&hash).join("app.py")).unwrap(), b"print()");
    assert_eq!(home.store.add(zip).await.unwrap(), hash);

    let absent = "0".repeat(64).parse().unwrap();
    assert!(!home.store.has(&absent).await.unwrap());
    assert!(matches!(home.store.read(&absent).await, Err(StoreError::NoSuchPackage(_))));
}

#[tokio::test]
async fn every_user_may_read_the_code_and_nobody_gets_more() {
    let home = Home::new();
    let zip = Zip::new()
        .entry(Entry::deflated("private.py", b"1").mode(0o100_600))
        .entry(Entry::deflated("bootstrap", b"2").mode(0o100_700))
        .entry(Entry::deflated("setuid", b"3").mode(0o106_755))
        .entry(Entry::deflated("dos", b"4").mode(0))
        .entry(Entry::stored("closed/", b"").mode(0o041_700))
        .file("implicit/deep/file", b"5")
        .link("closed/link", "../bootstrap");
    let code = home.store.code_folder(&home.store.add(zip.build()).await.unwrap());
    for (path, wanted) in [
        (".", 0o040_755),
        ("private.py", 0o100_644),
        ("bootstrap", 0o100_755),
        ("setuid", 0o100_755),
        ("dos", 0o100_644),
        ("closed", 0o040_755),
        ("implicit", 0o040_755),
        ("implicit/deep", 0o040_755),
        ("implicit/deep/file", 0o100_644),
        ("closed/link", 0o120_777),
    ] {
        assert_eq!(mode(&code.join(path)), wanted, "{path}: {:o}", mode(&code.join(path)));
    }
    assert_eq!(fs::read(code.join("closed/link")).unwrap(), b"2");
    for (path, wanted) in [("code", 0o711), ("packages", 0o700), ("tmp", 0o700)] {
        assert_eq!(mode(&home.data().join(path)) & 0o7777, wanted, "{path}");
    }
    for file in ["catalogue.db", "catalogue.db-wal", "telemetry.db", "telemetry.db-wal"] {
        assert_eq!(mode(&home.data().join(file)) & 0o7777, 0o600, "{file}");
    }
}

#[tokio::test]
async fn takes_what_common_packers_write() {
    let home = Home::new();
    // bsdtar's root entry, folders without a trailing slash, something before the archive, a comment.
    let mut zip = Zip::new().folder("./").entry(Entry::stored("d", b"").mode(0o040_755)).file("./d/app.py", b"x");
    zip.before = b"#!/usr/bin/env python3\n".to_vec();
    zip.comment = b"made by hand".to_vec();
    let code = home.store.code_folder(&home.store.add(zip.build()).await.unwrap());
    assert_eq!(fs::read(code.join("d/app.py")).unwrap(), b"x");
    // npm's links, also to what was pruned.
    let zip = Zip::new()
        .file("node_modules/x/cli.js", b"1")
        .link("node_modules/.bin/x", "../x/cli.js")
        .link("node_modules/y", "x")
        .link("gone", "node_modules/z/../../nowhere");
    let code = home.store.code_folder(&home.store.add(zip.build()).await.unwrap());
    assert_eq!(fs::read(code.join("node_modules/.bin/x")).unwrap(), b"1");
    assert_eq!(fs::read(code.join("node_modules/y/cli.js")).unwrap(), b"1");
}

#[tokio::test]
async fn takes_what_the_zip_crate_writes_also_in_its_large_form() {
    let home = Home::new();
    for large in [false, true] {
        let options = zip::write::SimpleFileOptions::default().large_file(large).unix_permissions(0o755);
        let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        writer.add_directory("d", options).unwrap();
        writer.start_file("d/großer.py", options).unwrap();
        writer.write_all(b"contents").unwrap();
        writer.add_symlink("link", "d/großer.py", options).unwrap();
        let zip = writer.finish().unwrap().into_inner();
        let code = home.store.code_folder(&home.store.add(zip.into()).await.unwrap());
        assert_eq!(fs::read(code.join("link")).unwrap(), b"contents");
    }
}

#[tokio::test]
async fn the_same_package_added_at_once_is_one() {
    let home = Home::new();
    let zip = Zip::new().file("a", &vec![1; 1 << 20]).build();
    let adds = (0..8).map(|_| {
        let (store, zip) = (home.store.clone(), zip.clone());
        tokio::spawn(async move { store.add(zip).await.unwrap() })
    });
    let mut hashes = Vec::new();
    for add in adds.collect::<Vec<_>>() {
        hashes.push(add.await.unwrap());
    }
    hashes.dedup();
    assert_eq!(hashes.len(), 1);
    assert_eq!(fs::read_dir(home.data().join("tmp")).unwrap().count(), 0);
}

#[tokio::test]
async fn what_a_crash_left_half_done_is_mended_when_opened() {
    let home = Home::new();
    let (whole, no_zip, no_code, damaged) =
        (home.package("1").await, home.package("2").await, home.package("3").await, home.package("4").await);
    let home = home.reopen(|data| {
        fs::create_dir_all(data.join("tmp/7/code/a/b")).unwrap();
        fs::write(data.join("tmp/7/zip"), b"half").unwrap();
        fs::write(data.join("tmp/stray"), b"").unwrap();
        std::os::unix::fs::symlink(data.join("packages"), data.join("tmp/link")).unwrap();
        fs::remove_file(data.join(format!("packages/{no_zip}.zip"))).unwrap();
        fs::remove_dir_all(data.join(format!("code/{no_code}"))).unwrap();
        fs::remove_dir_all(data.join(format!("code/{damaged}"))).unwrap();
        fs::write(data.join(format!("packages/{damaged}.zip")), b"PK").unwrap();
    });
    for (hash, there) in [(&whole, true), (&no_zip, false), (&no_code, true), (&damaged, false)] {
        assert_eq!(home.store.has(hash).await.unwrap(), there, "{hash}");
        assert_eq!(home.store.code_folder(hash).join("app.py").is_file(), there, "{hash}");
    }
    assert_eq!(fs::read_dir(home.data().join("tmp")).unwrap().count(), 0);
    for text in ["2", "4"] {
        assert!(home.store.has(&home.package(text).await).await.unwrap());
    }
}

#[tokio::test]
async fn packages_go_when_no_function_uses_them_any_more() {
    let home = Home::with(|options| options.history = 2);
    let mut codes = Vec::new();
    for n in 0..6 {
        codes.push(home.package(&n.to_string()).await);
    }
    // Of five revisions the current one and two more are kept; the last package was never used.
    for code in &codes[..5] {
        home.store.put(spec("f"), code.clone(), None).await.unwrap();
    }
    // Two that were used and are not any more go at once; the one that waits for its function goes when it is old.
    assert_eq!(home.store.collect(Duration::from_secs(3600)).await.unwrap(), 2);
    assert!(home.store.has(&codes[5]).await.unwrap());
    assert_eq!(home.store.collect(Duration::ZERO).await.unwrap(), 1);
    for (n, code) in codes.iter().enumerate() {
        let kept = (2..5).contains(&n);
        assert_eq!(home.store.has(code).await.unwrap(), kept, "package {n}");
        assert_eq!(home.store.code_folder(code).is_dir(), kept, "package {n}");
    }
    home.store.delete(&spec("f").name).await.unwrap();
    assert_eq!(home.store.collect(Duration::ZERO).await.unwrap(), 3);
    assert_eq!(fs::read_dir(home.data().join("tmp")).unwrap().count(), 0);
    assert!(matches!(home.store.put(spec("f"), codes[4].clone(), None).await, Err(StoreError::NoSuchPackage(_))));
}

#[tokio::test]
async fn a_package_that_is_added_again_is_young_again() {
    let home = Home::new();
    let hash = home.package("x").await;
    let zip = home.data().join(format!("packages/{hash}.zip"));
    let old = std::time::SystemTime::now() - Duration::from_secs(7200);
    fs::File::options().append(true).open(&zip).unwrap().set_modified(old).unwrap();
    home.package("x").await;
    assert_eq!(home.store.collect(Duration::from_secs(3600)).await.unwrap(), 0);
    fs::File::options().append(true).open(&zip).unwrap().set_modified(old).unwrap();
    assert_eq!(home.store.collect(Duration::from_secs(3600)).await.unwrap(), 1);
}

#[tokio::test]
async fn a_package_of_the_most_entries_takes_seconds_at_most() {
    let home = Home::in_memory();
    let zip = (0..19_900)
        .fold(Zip::new(), |zip, n| zip.entry(Entry::stored(format!("node_modules/m{}/f{n}.js", n % 50), &[b'x'; 500])));
    let began = std::time::Instant::now();
    let hash = home.store.add(zip.build()).await.unwrap();
    let took = began.elapsed();
    println!("19,900 files: {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(fs::read_dir(home.store.code_folder(&hash).join("node_modules/m7")).unwrap().count(), 398);
}

/// Files by path, with contents and whether they may be executed.
type Files = BTreeMap<String, (Vec<u8>, bool)>;

fn files() -> impl Strategy<Value = Files> {
    // Lower case and one depth of folder names apart from file names: no collisions.
    let path = prop::collection::vec("[a-z]{1,3}d", 0..4).prop_flat_map(|folders| {
        "[a-z]{1,4}\\.[pj][ys]".prop_map(move |file| [folders.as_slice(), &[file]].concat().join("/"))
    });
    prop::collection::btree_map(path, (prop::collection::vec(any::<u8>(), 0..3_000), any::<bool>()), 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_goes_in_comes_out(files in files(), stored in any::<bool>()) {
        let zip = files.iter().fold(Zip::new(), |zip, (path, (contents, executable))| {
            let entry = if stored { Entry::stored(path, contents) } else { Entry::deflated(path, contents) };
            zip.entry(entry.mode(if *executable { 0o100_755 } else { 0o100_644 }))
        });
        let dir = tempfile::tempdir().unwrap();
        let root = fs::File::open(dir.path()).unwrap();
        let limits = store::Limits::default();
        let unpacked = store::unpack::unpack(&zip.build(), &limits, std::os::fd::AsFd::as_fd(&root)).unwrap();
        prop_assert_eq!(unpacked.files, files.len());
        for (path, (contents, executable)) in &files {
            let path = dir.path().join(path);
            prop_assert_eq!(&fs::read(&path).unwrap(), contents);
            prop_assert_eq!(fs::metadata(&path).unwrap().mode() & 0o111 != 0, *executable);
        }
    }
}
