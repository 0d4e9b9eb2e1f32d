//! Images from layouts and archives on this machine.

use std::fs;

use images::{Digest, ImageError, Source};
use serde_json::json;

use crate::made::{Blob, Made, architecture, tar};
use crate::{nothing_is_left, open, pull};

/// What it is called, and what it does to a blob.
type Damage = (&'static str, fn(&mut Vec<u8>));

fn small(text: &str) -> Made {
    Made::new(vec![Blob::gzip(&tar(&[("a", text)]))], json!({}))
}

#[tokio::test]
async fn of_a_layout_with_several_images_one_is_chosen_by_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let (images, path) = (open(dir.path()), dir.path().join("layout"));
    let (one, two) = (small("one"), small("two"));
    one.write_layout(&path, "one");
    two.write_layout(&path, "example.org/two:v2");
    let named = |name: Option<&str>| Source::Layout { path: path.clone(), name: name.map(Into::into) };
    assert_eq!(pull(&images, named(Some("one"))).await.expect("one").references, Vec::<String>::new());
    assert_eq!(pull(&images, named(Some("example.org/two:v2"))).await.expect("two").references, ["example.org/two:v2"]);
    let by_digest = pull(&images, named(Some(&one.digest().to_string()))).await.expect("one");
    assert_eq!(by_digest.digest, one.digest());
    let error = pull(&images, named(None)).await.expect_err("two of them").to_string();
    assert!(error.ends_with("name one of: one, example.org/two:v2"), "{error}");
    let error = pull(&images, named(Some("three"))).await.expect_err("no such").to_string();
    assert!(error.contains("no image named three; there is: one, example.org/two:v2"), "{error}");
}

#[tokio::test]
async fn a_damaged_layout_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let images = open(dir.path());
    let damage: [Damage; 3] = [
        ("cut", |bytes| bytes.truncate(bytes.len() / 2)),
        ("longer", |bytes| bytes.push(0)),
        ("other", |bytes| bytes[12] ^= 1),
    ];
    for (name, damage) in damage {
        for blob in 0..3 {
            let path = dir.path().join(format!("{name}-{blob}"));
            let made = small("x");
            made.write_layout(&path, "it");
            let bytes = [&made.layers[0].bytes, &made.config, &made.manifest][blob];
            let file = path.join("blobs/sha256").join(Digest::of(bytes).hex());
            let mut bytes = bytes.clone();
            damage(&mut bytes);
            fs::write(file, bytes).expect("written");
            let error = pull(&images, Source::Layout { path, name: None }).await.expect_err("damaged");
            assert!(!matches!(error, ImageError::Failed(_)), "{name} {blob}: {error}");
            nothing_is_left(&images, dir.path());
        }
    }
    assert!(images.list().is_empty());
}

#[tokio::test]
async fn an_old_docker_save_with_linked_layers_is_understood() {
    let dir = tempfile::tempdir().expect("a folder");
    let images = open(dir.path());
    let layer = tar(&[("a", "x")]);
    let diff_id = Digest::of(&layer);
    let config =
        json!({"architecture": architecture(), "os": "linux", "rootfs": {"diff_ids": [diff_id, diff_id]}}).to_string();
    let name = format!("{}.json", Digest::of(config.as_bytes()).hex());
    let manifest =
        json!([{"Config": name, "RepoTags": ["old:v1"], "Layers": ["1/layer.tar", "2/layer.tar"]}]).to_string();
    let write = |name: &str, config: &str| {
        let mut builder = ::tar::Builder::new(Vec::new());
        let mut add = |path: &str, bytes: &[u8]| {
            let mut header = ::tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, path, bytes).expect("added");
        };
        add("1/layer.tar", &layer);
        add(name, config.as_bytes());
        add("manifest.json", manifest.as_bytes());
        let mut header = ::tar::Header::new_gnu();
        header.set_entry_type(::tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, "2/layer.tar", "../1/layer.tar").expect("added");
        builder.into_inner().expect("a tar")
    };
    let path = dir.path().join("saved.tar");
    fs::write(&path, write(&name, &config)).expect("written");
    let source = Source::Archive { path: path.clone(), name: Some("old:v1".into()) };
    let image = pull(&images, source).await.expect("pulled");
    assert_eq!(image.references, ["docker.io/library/old:v1"]);
    assert_eq!(fs::read_to_string(images.root(&image.digest).join("a")).expect("a"), "x");

    fs::write(&path, write(&name, &config.replace("linux", "linus"))).expect("written");
    let error = pull(&images, Source::Archive { path: path.clone(), name: None }).await.expect_err("changed");
    assert!(matches!(error, ImageError::DigestMismatch { .. }), "{error}");
    fs::write(&path, [0x1f, 0x8b, 8, 0]).expect("written");
    let error = pull(&images, Source::Archive { path, name: None }).await.expect_err("packed").to_string();
    assert!(error.contains("gunzip"), "{error}");
    nothing_is_left(&images, dir.path());
}
