//! Images that are there: in use, in the way, or left by a crash.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use images::{Image, ImageError, Images, Options, Request, Source};
use serde_json::json;

use crate::made::{Blob, Made, tar};
use crate::{nothing_is_left, open, pull, request};

const MEGABYTE: usize = 1 << 20;

fn with_budget(dir: &Path, budget: u64) -> Images {
    Images::open(Options { budget, ..Options::new(dir.join("images")) }).expect("a store")
}

fn layout(dir: &Path, name: &str, megabytes: usize) -> Source {
    let path = dir.join(name);
    let contents = name.repeat(megabytes * MEGABYTE / name.len());
    Made::new(vec![Blob::plain(&tar(&[("a", &contents)]))], json!({})).write_layout(&path, name);
    Source::Layout { path, name: None }
}

async fn kept(images: &Images, dir: &Path, name: &str, megabytes: usize) -> Image {
    pull(images, layout(dir, name, megabytes)).await.expect(name)
}

#[tokio::test]
async fn the_least_recently_used_image_makes_room() {
    let dir = tempfile::tempdir().expect("a folder");
    let images = with_budget(dir.path(), 10 << 20);
    let old = kept(&images, dir.path(), "old", 3).await;
    let used = kept(&images, dir.path(), "used", 3).await;
    let young = kept(&images, dir.path(), "young", 3).await;
    images.touch(&old.digest).await.expect("touched");
    // Neither the touched nor the one in use has to go, but the one that was used before the young one.
    let in_use = HashSet::from([used.digest.clone()]);
    let source = layout(dir.path(), "new", 3);
    let new = images.pull(Request { in_use: in_use.clone(), ..request(source) }).finish().await.expect("pulled");
    let there: HashSet<_> = images.list().into_iter().map(|image| image.digest).collect();
    assert_eq!(there, HashSet::from([old.digest.clone(), used.digest.clone(), new.digest.clone()]));
    assert!(!images.root(&young.digest).exists());
    assert!(images.usage().used <= 10 << 20);

    // One that cannot fit takes nothing away.
    let source = layout(dir.path(), "giant", 9);
    let error = images.pull(Request { in_use, ..request(source) }).finish().await.expect_err("no room");
    assert!(
        matches!(error, ImageError::NoRoom { budget, used, .. } if budget == 10 << 20 && used >= 3 << 20),
        "{error}"
    );
    assert!(images.get(&used.digest).is_some());
    nothing_is_left(&images, dir.path());
}

#[tokio::test]
async fn an_image_in_use_is_not_removed() {
    let dir = tempfile::tempdir().expect("a folder");
    let images = open(dir.path());
    let digest = kept(&images, dir.path(), "one", 1).await.digest;
    let in_use = HashSet::from([digest.clone()]);
    assert_eq!(images.remove(&digest, &in_use).await, Err(ImageError::InUse(digest.clone())));
    assert!(images.root(&digest).exists());
    assert_eq!(images.remove(&digest, &HashSet::new()).await.map(|image| image.digest), Ok(digest.clone()));
    assert!(!images.root(&digest).exists());
    let missing = ImageError::NoSuchImage(digest.to_string());
    assert_eq!(images.remove(&digest, &HashSet::new()).await, Err(missing.clone()));
    assert_eq!(images.touch(&digest).await, Err(missing));
    nothing_is_left(&images, dir.path());
}

#[tokio::test]
async fn a_budget_that_was_lowered_is_collected_down_to() {
    let dir = tempfile::tempdir().expect("a folder");
    let (one, two) = {
        let images = open(dir.path());
        (kept(&images, dir.path(), "one", 2).await.digest, kept(&images, dir.path(), "two", 2).await.digest)
    };
    let images = with_budget(dir.path(), 3 << 20);
    let collected = images.collect(&HashSet::from([one.clone(), two.clone()])).await.expect("collected");
    assert!(collected.images.is_empty());
    let collected = images.collect(&HashSet::new()).await.expect("collected");
    assert_eq!(collected.images.iter().map(|image| &image.digest).collect::<Vec<_>>(), [&one]);
    assert!(collected.bytes >= 2 << 20);
    assert_eq!(images.list().len(), 1);
    assert!(images.get(&two).is_some());
}

#[tokio::test]
async fn what_a_crash_leaves_is_cleaned_when_the_store_opens() {
    let dir = tempfile::tempdir().expect("a folder");
    let images = open(dir.path());
    let whole = kept(&images, dir.path(), "whole", 1).await;
    let rootless = kept(&images, dir.path(), "rootless", 1).await;
    let fileless = kept(&images, dir.path(), "fileless", 1).await;
    let damaged = kept(&images, dir.path(), "damaged", 1).await;
    drop(images);
    let folder = dir.path().join("images");
    let file = |image: &Image| folder.join(format!("roots/{}.json", image.digest.hex()));
    let root = |image: &Image| folder.join("roots").join(image.digest.hex());
    fs::remove_dir_all(root(&rootless)).expect("removed");
    fs::remove_file(file(&fileless)).expect("removed");
    fs::write(file(&damaged), "{").expect("written");
    fs::create_dir_all(folder.join("tmp/7/root/a")).expect("made");
    fs::write(folder.join("tmp/x.json"), "half").expect("written");

    let images = open(dir.path());
    assert_eq!(images.list(), std::slice::from_ref(&whole));
    assert!(root(&whole).join("a").exists());
    for gone in [&rootless, &fileless, &damaged] {
        assert!(!root(gone).exists() && !file(gone).exists());
    }
    nothing_is_left(&images, dir.path());
    assert!(pull(&images, Source::Layout { path: dir.path().join("damaged"), name: None }).await.is_ok());
}
