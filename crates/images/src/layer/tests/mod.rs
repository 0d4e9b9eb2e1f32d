//! Layers applied to real folders: what must be kept, what must be refused, and that nothing is ever written outside.

mod model;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use ::tar::{EntryType, Header};

use super::{Applier, Context, Layer, Limits, Skipped, make_root};
use crate::manifest::Packing;
use crate::{Digest, ImageError};

/// A tar stream, entry by entry, with names as they are given.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn entry(mut self, kind: EntryType, name: &str, link: &str, mode: u32, contents: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        assert!(name.len() <= 100 && link.len() <= 100, "a short name");
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(contents.len() as u64);
        header.set_mtime(1_700_000_000);
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self.0.extend(contents);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, contents: &str) -> Self {
        self.entry(EntryType::Regular, name, "", 0o644, contents.as_bytes())
    }

    fn folder(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name, "", 0o755, b"")
    }

    fn link(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name, target, 0o777, b"")
    }

    fn hard(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Link, name, target, 0o644, b"")
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// A folder with a root in it, and a file beside the root that nothing may touch.
struct Place {
    folder: tempfile::TempDir,
    applier: Applier,
    layers: usize,
}

impl Place {
    fn new(limits: Limits) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("outside")).expect("a folder");
        fs::write(folder.path().join("outside/a"), "untouched").expect("a file");
        let applier = Applier::new(make_root(&folder.path().join("root")).expect("a root"), limits);
        Self { folder, applier, layers: 0 }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn apply(&mut self, tar: &[u8]) -> Result<(), ImageError> {
        let digest = Digest::of(tar);
        self.apply_as(tar, Packing::Tar, tar.len() as u64, &digest, &digest)
    }

    fn apply_as(
        &mut self,
        blob: &[u8],
        packing: Packing,
        size: u64,
        digest: &Digest,
        diff_id: &Digest,
    ) -> Result<(), ImageError> {
        self.layers += 1;
        let layer = Layer { number: self.layers, digest, size, diff_id, packing };
        let cancelled = AtomicBool::new(false);
        let context = Context { take: &mut |_| Ok(()), read: &|_| {}, cancelled: &cancelled };
        self.applier.layer(&layer, blob, context)
    }

    fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root().join(path)).ok()
    }

    fn untouched(&self) {
        let beside: Vec<_> =
            fs::read_dir(self.folder.path()).expect("it").map(|one| one.expect("it").file_name()).collect();
        assert_eq!(beside.len(), 2, "{beside:?}");
        let outside = fs::read_dir(self.folder.path().join("outside")).expect("it").count();
        assert_eq!(outside, 1);
        let inside = fs::read_to_string(self.folder.path().join("outside/a")).expect("it");
        assert_eq!(inside, "untouched");
        let meta = fs::metadata(self.folder.path().join("outside/a")).expect("it");
        assert_eq!(meta.nlink(), 1);
    }
}

fn applied(layers: &[Vec<u8>]) -> Place {
    let mut place = Place::new(Limits::default());
    for layer in layers {
        place.apply(layer).expect("applied");
    }
    place.untouched();
    place
}

fn refusal(limits: Limits, layers: &[Vec<u8>]) -> String {
    let mut place = Place::new(limits);
    let failed = layers.iter().find_map(|layer| place.apply(layer).err());
    place.untouched();
    failed.expect("refused").to_string()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("written");
    encoder.finish().expect("finished")
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("it is there").permissions().mode() & 0o7777
}

#[test]
fn permission_bits_stay_set_id_bits_and_owners_do_not() {
    let tar = Tar::default()
        .entry(EntryType::Directory, "./", "", 0o700, b"")
        .entry(EntryType::Regular, "su", "", 0o6755, b"x")
        .entry(EntryType::Regular, "none", "", 0o000, b"x")
        .entry(EntryType::Directory, "closed/", "", 0o2055, b"")
        .entry(EntryType::Directory, "tmp/", "", 0o1777, b"")
        .file("made/up/file", "x")
        .end();
    let place = applied(&[tar]);
    let root = place.root();
    assert_eq!(mode(&root), 0o755);
    assert_eq!(mode(&root.join("su")), 0o755);
    assert_eq!(mode(&root.join("none")), 0o400);
    assert_eq!(mode(&root.join("closed")), 0o755);
    assert_eq!(mode(&root.join("tmp")), 0o1777);
    assert_eq!(mode(&root.join("made/up")), 0o755);
    assert_eq!(fs::metadata(root.join("su")).expect("it").mtime(), 1_700_000_000);
    assert_eq!(place.applier.skipped(), Skipped { special: 0, set_id: 1 });
}

#[test]
fn devices_are_left_out_and_hide_what_is_below() {
    let below = Tar::default().file("dev/null", "no").file("dev/fifo", "no").end();
    let above = Tar::default()
        .entry(EntryType::Char, "dev/null", "", 0o666, b"")
        .entry(EntryType::Fifo, "dev/fifo", "", 0o666, b"")
        .entry(EntryType::Block, "new/sda", "", 0o666, b"")
        .end();
    let place = applied(&[below, above]);
    assert_eq!(place.text("dev/null"), None);
    assert!(!place.root().join("dev/fifo").exists());
    assert_eq!(place.applier.skipped().special, 3);
}

#[test]
fn later_layers_replace_files_folders_and_links_by_one_another() {
    let below = Tar::default().file("a", "file").file("b/c/d", "deep").link("l", "b").link("dangling", "nowhere").end();
    let above = Tar::default().file("a/inside", "1").file("b", "2").folder("l/").file("dangling/x", "3").end();
    let place = applied(&[below, above]);
    assert_eq!(place.text("a/inside").as_deref(), Some("1"));
    assert_eq!(place.text("b").as_deref(), Some("2"));
    assert!(place.root().join("l").symlink_metadata().expect("l").is_dir());
    assert_eq!(place.text("dangling/x").as_deref(), Some("3"));
}

#[test]
fn a_linked_folder_is_followed_inside_the_root_as_usr_merged_images_need_it() {
    let below = Tar::default()
        .folder("usr/lib/")
        .link("lib", "usr/lib")
        .link("abs", "/usr/lib")
        .link("up", "../../../usr")
        .end();
    let above = Tar::default().file("lib/one", "1").file("abs/two", "2").file("up/three", "3").end();
    let place = applied(&[below, above]);
    assert_eq!(place.text("usr/lib/one").as_deref(), Some("1"));
    assert_eq!(place.text("usr/lib/two").as_deref(), Some("2"));
    assert_eq!(place.text("usr/three").as_deref(), Some("3"));
    assert!(place.root().join("lib").is_symlink());
}

#[test]
fn whiteouts_hide_what_is_below_and_nothing_of_their_own_layer() {
    let below = Tar::default()
        .file("a/old", "x")
        .file("b/old", "x")
        .file("b/sub/old", "x")
        .file("c", "x")
        .file("d/old", "x")
        .end();
    let above = Tar::default()
        .file("a/new", "1")
        .file(".wh.a", "")
        .file("b/sub/new", "2")
        .file("b/.wh..wh..opq", "")
        .file(".wh.c", "")
        .file(".wh.missing", "")
        .file("nowhere/.wh.x", "")
        .file(".wh.d", "")
        .file("d", "3")
        .end();
    let place = applied(&[below, above]);
    assert_eq!((place.text("a/old"), place.text("a/new")), (None, Some("1".into())));
    assert_eq!((place.text("b/old"), place.text("b/sub/old"), place.text("b/sub/new")), (None, None, Some("2".into())));
    assert_eq!((place.text("c"), place.text("d")), (None, Some("3".into())));
    assert!(!place.root().join("nowhere").exists());
}

#[test]
fn hard_links_are_kept_inside_the_tree() {
    let tar = Tar::default()
        .file("a/x", "one")
        .hard("b", "a/x")
        .hard("c", "/a/x")
        .hard("b", "b")
        .link("s", "a")
        .hard("d", "s/x")
        .end();
    let place = applied(&[tar]);
    assert_eq!(fs::metadata(place.root().join("b")).expect("b").nlink(), 4);
    assert_eq!(place.text("d").as_deref(), Some("one"));
}

#[test]
fn nothing_leads_out_of_the_root() {
    let one = |tar: Tar| refusal(Limits::default(), &[tar.end()]);
    assert!(one(Tar::default().file("../outside/a", "evil")).contains("`..`"));
    assert!(one(Tar::default().file("x/../../outside/a", "evil")).contains("`..`"));
    assert!(one(Tar::default().hard("x", "../outside/a")).contains("`..`"));
    assert!(one(Tar::default().link("o", "../outside").hard("x", "o/a")).contains("not in the image"));
    assert!(one(Tar::default().hard("x", "/etc/passwd")).contains("not in the image"));
    assert!(one(Tar::default().folder("d/").hard("x", "d")).contains("hard link to a folder"));
    assert!(one(Tar::default().link("./", "../outside")).contains("root folder"));

    // These are harmless: they stay inside.
    let tar =
        Tar::default().link("o", "../outside").file("o/a", "inside").link("p", "/proc/self/cwd").file("p/b", "inside");
    let place = applied(&[tar.file("/etc/c", "inside").end()]);
    assert_eq!(place.text("o/a").as_deref(), Some("inside"));
    assert_eq!(place.text("p/b").as_deref(), Some("inside"));
    assert_eq!(place.text("etc/c").as_deref(), Some("inside"));
}

#[test]
fn a_layer_that_lies_is_refused() {
    let tar = Tar::default().file("a", "contents").end();
    let (packed, right, wrong) = (gzip(&tar), Digest::of(&tar), Digest::of(b"else"));
    let (digest, size) = (Digest::of(&packed), packed.len() as u64);
    let apply = |blob: &[u8], size, digest: &Digest, diff_id: &Digest| {
        let mut place = Place::new(Limits::default());
        place.apply_as(blob, Packing::Gzip, size, digest, diff_id).map_err(|error| error.to_string())
    };
    assert_eq!(apply(&packed, size, &digest, &right), Ok(()));
    assert!(
        apply(&packed, size, &wrong, &right)
            .expect_err("digest")
            .starts_with("layer 1 is not what it says: expected digest")
    );
    assert!(
        apply(&packed, size, &digest, &wrong)
            .expect_err("diff_id")
            .starts_with("layer 1, unpacked, is not what it says")
    );
    assert!(
        apply(&packed, size + 1, &digest, &right)
            .expect_err("too short")
            .contains(&format!("expected {} bytes, got {size}", size + 1))
    );
    assert!(apply(&packed, size - 1, &digest, &right).expect_err("too long").contains("got more"));
    assert!(apply(&packed[..packed.len() / 2], size, &digest, &right).is_err());
    let mut garbage = packed.clone();
    garbage.extend(b"garbage");
    assert!(apply(&garbage, size + 7, &Digest::of(&garbage), &right).is_err());
}

#[test]
fn a_cut_archive_is_refused_wherever_it_is_cut() {
    let tar = Tar::default().folder("d/").file("d/a", &"x".repeat(700)).file("b", "y").end();
    for cut in (1..tar.len()).step_by(97).filter(|cut| cut % 512 != 0) {
        let mut place = Place::new(Limits::default());
        // As if the blob were whole: only the archive's own structure can tell.
        let error = place.apply(&tar[..cut]);
        // The end of the archive may lack its second block of zeros, as some tools leave it.
        assert!(error.is_err() || cut > tar.len() - 512, "cut at {cut}");
        let mut place = Place::new(Limits::default());
        assert!(
            place.apply_as(&tar[..cut], Packing::Tar, tar.len() as u64, &Digest::of(&tar), &Digest::of(&tar)).is_err()
        );
    }
}

#[test]
fn each_limit_is_named_when_it_is_reached() {
    let limits = Limits { entries: 3, ..Limits::default() };
    assert_eq!(
        refusal(limits, &[Tar::default().file("a/b", "").file("c", "").file("d", "").end()]),
        "the image is refused: it has more than 3 entries"
    );
    let limits = Limits { unpacked: 5_000, ..Limits::default() };
    let big = Tar::default().file("a", &"x".repeat(4_000)).end();
    let bigger = Tar::default().file("b", &"x".repeat(4_000)).end();
    assert!(refusal(limits, &[big, bigger]).contains("more than 5000 bytes of files"));
    let limits = Limits { depth: 3, ..Limits::default() };
    assert!(refusal(limits.clone(), &[Tar::default().file("a/b/c/d", "").end()]).contains("more than 3 folders"));
    // Links must not make it deeper than names can.
    let tar = Tar::default().folder("a/b/").link("l", "a/b").folder("l/c/").file("l/c/d", "").end();
    assert!(refusal(limits, &[tar]).contains("more than 3 folders"));
    let limits = Limits { path_bytes: 20, ..Limits::default() };
    assert!(refusal(limits, &[Tar::default().file(&"abcd/".repeat(5), "").end()]).contains("expected at most 20"));
    let limits = Limits { names_bytes: 50, ..Limits::default() };
    assert!(refusal(limits, &[Tar::default().link("a", &"x".repeat(60)).end()]).contains("50 bytes of names"));
}

#[test]
fn a_bomb_is_stopped_long_before_it_has_unpacked() {
    let zeros = vec![0; 80 << 20];
    let tar = Tar::default().entry(EntryType::Regular, "zeros", "", 0o644, &zeros).end();
    let packed = gzip(&tar);
    assert!(packed.len() < tar.len() / 200, "a bomb");
    let mut place = Place::new(Limits::default());
    let error = place.apply_as(&packed, Packing::Gzip, packed.len() as u64, &Digest::of(&packed), &Digest::of(&tar));
    assert!(error.expect_err("refused").to_string().contains("200 times"));
}

#[test]
fn links_to_links_do_not_take_for_ever() {
    let mut tar = Tar::default().folder("d/");
    for at in 0..30 {
        // Each leads twice through the one before.
        let before = if at == 0 { "d".into() } else { format!("l{}", at - 1) };
        tar = tar.link(&format!("l{at}"), &format!("{before}/../{before}"));
    }
    let place = applied(&[tar.file("l29/x", "1").link("self", "self").file("self/y", "2").end()]);
    // Too many links lead nowhere, so a folder took the link's place.
    assert_eq!(place.text("l29/x").as_deref(), Some("1"));
    assert_eq!(place.text("self/y").as_deref(), Some("2"));
}
