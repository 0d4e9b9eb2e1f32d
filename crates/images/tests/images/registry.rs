//! Pulls from a real registry.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use images::{Credentials, ImageError, Images, Options, Phase, Request, Source};
use serde_json::json;

use crate::front::{Front, Registry, Rules};
use crate::made::{Blob, Made, OCI_INDEX, architecture, push_manifest, tar};
use crate::{has, nothing_is_left, open, pull, request, skipped};

/// The tag that it is pushed under, and what it does to the manifest.
type Lie = (&'static str, fn(&mut serde_json::Value));

fn from(host: &str, rest: &str) -> Source {
    Source::Registry(format!("{host}/{rest}").parse().expect("a reference"))
}

/// Bytes that do not pack, so that layers are large.
fn noise(bytes: usize) -> String {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b' ' + u8::try_from(state >> 58).expect("six bits"))
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

fn three_layers() -> Made {
    let below =
        tar(&[("etc/passwd", "root:x:0:0::/root:\napp:x:1000:1001::/home/app:\n"), ("etc/gone", "x"), ("a", "below")]);
    let middle = tar(&[("etc/.wh.gone", ""), ("a", &noise(100_000))]);
    let above = tar(&[("b", "above")]);
    let config = json!({"Entrypoint": ["/b"], "Cmd": ["x"], "User": "app", "Env": ["A=1"], "WorkingDir": "/w"});
    Made::new(vec![Blob::plain(&below), Blob::gzip(&middle), Blob::zstd(&above)], config)
}

macro_rules! registry_or_skip {
    ($test:literal) => {
        match Registry::start() {
            Some(registry) => registry,
            None => return skipped($test, "docker-registry"),
        }
    };
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pulled_verified_unpacked_and_kept() {
    let registry = registry_or_skip!("an_image_is_pulled_verified_unpacked_and_kept");
    let dir = tempfile::tempdir().expect("a folder");
    let (images, made) = (open(dir.path()), three_layers());
    made.push(&registry.host, "some/image", "v1").await;

    let mut pulling = images.pull(request(from(&registry.host, "some/image:v1")));
    while let Some(progress) = pulling.next().await {
        assert!(progress.bytes_done <= progress.bytes && progress.layers_done <= progress.layers, "{progress:?}");
    }
    // Steps in between may have been missed; the last one says all.
    let last = pulling.progress();
    assert_eq!((last.phase, last.layers_done, last.layers), (Phase::Done, 3, 3));
    assert_eq!(last.bytes_done, last.bytes);
    let image = pulling.finish().await.expect("pulled");
    assert_eq!(image.digest, made.digest());
    assert_eq!(image.references, [format!("{}/some/image:v1", registry.host)]);
    assert_eq!((&image.config.entrypoint[..], &image.config.work_dir[..]), (&["/b".to_owned()][..], "/w"));

    let root = images.root(&image.digest);
    assert_eq!(fs::read_to_string(root.join("b")).expect("b"), "above");
    assert_eq!(fs::read_to_string(root.join("a")).expect("a").len(), 100_000);
    assert!(root.join("etc/passwd").exists() && !root.join("etc/gone").exists());
    assert_eq!(fs::metadata(&root).expect("a root").permissions().mode() & 0o7777, 0o755);
    assert_eq!(images.user(&image.digest).await.map(|user| (user.uid, user.gid)), Ok((1000, 1001)));
    assert!(image.bytes >= 100_000 && images.usage().used == image.bytes);
    nothing_is_left(&images, dir.path());

    // It is there for the next one who opens the store, and by another name without a download.
    drop(images);
    let images = open(dir.path());
    assert_eq!(images.list(), std::slice::from_ref(&image));
    let pinned = from(&registry.host, &format!("some/image@{}", image.digest));
    let again = pull(&images, pinned).await.expect("known");
    assert_eq!(again.references.len(), 2);
    assert_eq!(images.find(&image.digest.hex()[..12]).map(|one| one.digest), Ok(image.digest.clone()));
    assert_eq!(images.find(&format!("{}/some/image:v1", registry.host)).map(|one| one.digest), Ok(image.digest));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_moves_leaves_the_old_image_without_it() {
    let registry = registry_or_skip!("a_tag_that_moves_leaves_the_old_image_without_it");
    let dir = tempfile::tempdir().expect("a folder");
    let images = open(dir.path());
    let mut pulled = vec![];
    for text in ["one", "two"] {
        let made = Made::new(vec![Blob::gzip(&tar(&[("a", text)]))], json!({}));
        made.push(&registry.host, "moving", "latest").await;
        pulled.push(pull(&images, from(&registry.host, "moving")).await.expect("pulled").digest);
    }
    assert_ne!(pulled[0], pulled[1]);
    assert_eq!(images.get(&pulled[0]).expect("still there").references, Vec::<String>::new());
    assert_eq!(images.find(&format!("{}/moving", registry.host)).map(|image| image.digest), Ok(pulled[1].clone()));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_index_this_machines_image_is_taken() {
    let registry = registry_or_skip!("of_an_index_this_machines_image_is_taken");
    let dir = tempfile::tempdir().expect("a folder");
    let images = open(dir.path());
    let own = Made::new(vec![Blob::gzip(&tar(&[("a", "mine")]))], json!({}));
    let other = Made::for_architecture("s390x", vec![Blob::gzip(&tar(&[("a", "theirs")]))], json!({}));
    own.push(&registry.host, "multi", "own").await;
    other.push(&registry.host, "multi", "other").await;
    let index =
        |entries| json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).to_string().into_bytes();
    let both = index(vec![other.entry("s390x"), own.entry(architecture())]);
    push_manifest(&registry.host, "multi", "both", OCI_INDEX, both).await;
    push_manifest(&registry.host, "multi", "none", OCI_INDEX, index(vec![other.entry("s390x")])).await;

    let image = pull(&images, from(&registry.host, "multi:both")).await.expect("pulled");
    assert_eq!(image.digest, own.digest());
    for tag in ["none", "other"] {
        let error =
            pull(&images, from(&registry.host, &format!("multi:{tag}"))).await.expect_err("not for this machine");
        assert!(matches!(&error, ImageError::Platform { there, .. } if there == "linux/s390x"), "{error}");
    }
    nothing_is_left(&images, dir.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_asked_for_checked_and_enough() {
    let registry = registry_or_skip!("credentials_are_asked_for_checked_and_enough");
    let dir = tempfile::tempdir().expect("a folder");
    let images = open(dir.path());
    three_layers().push(&registry.host, "private", "latest").await;
    // me:secret
    let rules = Rules { basic: Some("Basic bWU6c2VjcmV0".into()), ..Rules::default() };
    let front = Front::start(&registry, rules);
    let with = |credentials| Request { credentials, ..request(from(&front.host, "private")) };
    let basic = |password: &str| Credentials::Basic { user: "me".into(), password: password.into() };

    for wrong in [Credentials::Anonymous, basic("guess"), Credentials::Bearer("guess".into())] {
        let error = images.pull(with(wrong)).finish().await.expect_err("refused");
        assert!(matches!(&error, ImageError::Unauthorized { status, .. } if status == "401"), "{error}");
        assert!(!error.to_string().contains("guess"), "{error}");
    }
    assert!(images.pull(with(basic("secret"))).finish().await.is_ok());
    nothing_is_left(&images, dir.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_token_is_exchanged() {
    let registry = registry_or_skip!("an_identity_token_is_exchanged");
    let dir = tempfile::tempdir().expect("a folder");
    let images = open(dir.path());
    three_layers().push(&registry.host, "private", "latest").await;
    let front = Front::start(&registry, Rules { identity: Some("long".into()), ..Rules::default() });
    let with = |token: &str| {
        let credentials = Credentials::Identity(token.into());
        images.pull(Request { credentials, ..request(from(&front.host, "private")) }).finish()
    };
    assert!(matches!(with("wrong").await, Err(ImageError::Unauthorized { .. })));
    assert!(with("long").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said_with_its_name() {
    let registry = registry_or_skip!("what_is_not_there_is_said_with_its_name");
    let dir = tempfile::tempdir().expect("a folder");
    let images = open(dir.path());
    three_layers().push(&registry.host, "some", "v1").await;
    for missing in ["some:v2", "none:v1"] {
        let error = pull(&images, from(&registry.host, missing)).await.expect_err("missing");
        assert_eq!(error.to_string(), format!("{0} has no {0}/{missing}: check name, tag and spelling", registry.host));
    }
    let host = registry.host.clone();
    drop(registry);
    let error = pull(&images, from(&host, "some:v1")).await.expect_err("gone").to_string();
    assert!(error.starts_with(&format!("{host} cannot be reached: ")) && error.contains("refused"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_is_resumed_where_it_broke() {
    let registry = registry_or_skip!("a_broken_connection_is_resumed_where_it_broke");
    let dir = tempfile::tempdir().expect("a folder");
    let images = open(dir.path());
    three_layers().push(&registry.host, "some", "v1").await;
    let front = Front::start(&registry, Rules { cut: Mutex::new(Some(3_000)), ..Rules::default() });
    pull(&images, from(&front.host, "some:v1")).await.expect("pulled");
    assert_eq!(*front.rules.ranges.lock().expect("a lock"), ["bytes=3000-"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_was_changed_on_the_way_is_refused_and_nothing_is_left() {
    let registry = registry_or_skip!("a_layer_that_was_changed_on_the_way_is_refused_and_nothing_is_left");
    let dir = tempfile::tempdir().expect("a folder");
    let images = open(dir.path());
    three_layers().push(&registry.host, "some", "v1").await;
    let front = Front::start(&registry, Rules { tamper: true, ..Rules::default() });
    let error = pull(&images, from(&front.host, "some:v1")).await.expect_err("changed");
    assert!(matches!(error, ImageError::DigestMismatch { .. }), "{error}");
    assert!(images.list().is_empty());
    nothing_is_left(&images, dir.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_lies_is_refused() {
    let registry = registry_or_skip!("a_manifest_that_lies_is_refused");
    let dir = tempfile::tempdir().expect("a folder");
    let images = open(dir.path());
    let lies: [Lie; 3] = [
        ("smaller", |manifest| manifest["layers"][1]["size"] = json!(1_000)),
        ("larger", |manifest| manifest["layers"][1]["size"] = json!(1_000_000)),
        ("config", |manifest| manifest["config"]["size"] = json!(10)),
    ];
    for (tag, lie) in lies {
        let mut made = three_layers();
        made.lie(lie);
        made.push(&registry.host, "lies", tag).await;
        let error = pull(&images, from(&registry.host, &format!("lies:{tag}"))).await.expect_err("a lie");
        assert!(matches!(error, ImageError::SizeMismatch { .. }), "{tag}: {error}");
    }
    // What is said of the layers unpacked is in the configuration.
    let mut made = three_layers();
    let digest = images::Digest::of(b"else").to_string();
    let text = String::from_utf8(made.config.clone()).expect("text");
    made.config = text.replace(&made.layers[1].diff_id.to_string(), &digest).into_bytes();
    made.write_manifest();
    made.push(&registry.host, "lies", "diff").await;
    let error = pull(&images, from(&registry.host, "lies:diff")).await.expect_err("a lie").to_string();
    assert!(error.starts_with("layer 2, unpacked, is not what it says"), "{error}");
    nothing_is_left(&images, dir.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_falls_silent_is_not_waited_for() {
    let registry = registry_or_skip!("a_registry_that_falls_silent_is_not_waited_for");
    let dir = tempfile::tempdir().expect("a folder");
    let idle_timeout = Duration::from_millis(200);
    let options = Options { idle_timeout, ..Options::new(dir.path().join("images")) };
    let images = Images::open(options).expect("a store");
    three_layers().push(&registry.host, "some", "v1").await;
    let front = Front::start(&registry, Rules { stall: true, ..Rules::default() });
    let error = pull(&images, from(&front.host, "some:v1")).await.expect_err("silent");
    assert!(matches!(error, ImageError::Unreachable { .. }), "{error}");
    nothing_is_left(&images, dir.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_of_the_same_share_one_and_the_last_to_leave_ends_it() {
    let registry = registry_or_skip!("pulls_of_the_same_share_one_and_the_last_to_leave_ends_it");
    let dir = tempfile::tempdir().expect("a folder");
    let images = open(dir.path());
    three_layers().push(&registry.host, "some", "v1").await;
    let front = Front::start(&registry, Rules::default());
    let all: Vec<_> = (0..5).map(|_| images.pull(request(from(&front.host, "some:v1")))).collect();
    let mut digests = HashSet::new();
    for (at, one) in all.into_iter().enumerate() {
        // One who leaves does not end it for the others.
        if at > 0 {
            digests.insert(one.finish().await.expect("pulled").digest);
        }
    }
    assert_eq!(digests.len(), 1);
    // Three layers and the configuration, once.
    assert_eq!(front.rules.blobs.load(Ordering::SeqCst), 4);

    let silent = Front::start(&registry, Rules { stall: true, ..Rules::default() });
    let mut made = three_layers();
    made.layers.pop();
    let again = Made::new(made.layers, json!({}));
    again.push(&registry.host, "some", "v2").await;
    let left = images.pull(request(from(&silent.host, "some:v2")));
    drop(left);
    nothing_is_left(&images, dir.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_skopeo_pushes_and_saves_is_the_same_image() {
    let test = "what_skopeo_pushes_and_saves_is_the_same_image";
    let registry = registry_or_skip!("what_skopeo_pushes_and_saves_is_the_same_image");
    if !has("skopeo") {
        return skipped(test, "skopeo");
    }
    let dir = tempfile::tempdir().expect("a folder");
    let images = open(dir.path());
    let layout = dir.path().join("layout");
    // Names long enough for both of tar's ways to write them.
    let deep = format!("{}/file", "folder-of-some-length/".repeat(8));
    let made = Made::new(
        vec![Blob::gzip(&tar(&[("a", "x"), (&deep, "y")])), Blob::gzip(&tar(&[("b", "z")]))],
        json!({"Cmd": ["/b"]}),
    );
    made.write_layout(&layout, "made");
    let (oci, saved) = (dir.path().join("oci.tar"), dir.path().join("saved.tar"));
    let skopeo = |arguments: &[&str]| {
        let mut command = Command::new("skopeo");
        command
            .args(["copy", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false"])
            .args(arguments);
        let out = command.output().expect("skopeo");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    };
    let from_layout = format!("oci:{}:made", layout.display());
    let remote = |tag: &str| format!("docker://{}/made:{tag}", registry.host);
    skopeo(&[&from_layout, &remote("gzip")]);
    skopeo(&["--format", "v2s2", &from_layout, &remote("docker")]);
    skopeo(&[&from_layout, &format!("oci-archive:{}:made", oci.display())]);
    skopeo(&[&from_layout, &format!("docker-archive:{}:example.org/made:v1", saved.display())]);

    let sources = [
        from(&registry.host, "made:gzip"),
        from(&registry.host, "made:docker"),
        Source::Layout { path: layout, name: None },
        Source::Archive { path: oci, name: Some("made".into()) },
        Source::Archive { path: saved, name: None },
    ];
    for source in sources {
        let name = source.to_string();
        let image = pull(&images, source).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let root = images.root(&image.digest);
        let read = |file: &str| fs::read_to_string(root.join(file)).expect("a file");
        assert_eq!((&*read("a"), &*read(&deep), &*read("b")), ("x", "y", "z"), "{name}");
        assert_eq!(image.config.cmd, ["/b"], "{name}");
    }
    let saved = images.find("example.org/made:v1").expect("by its name in the archive");
    assert_eq!(saved.references, ["example.org/made:v1"]);
    nothing_is_left(&images, dir.path());
}
