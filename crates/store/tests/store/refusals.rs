//! Every package that is refused, with what its uploader is told; and that nothing is left of it.

use bytes::Bytes;
use store::{Limits, Packages, StoreError};

use crate::Home;
use crate::archive::{Entry, Zip, deflate};

/// Uploads it and gives the error's text.
fn refusal(home: &Home, zip: Bytes) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    match runtime.block_on(home.store.add(zip)) {
        Err(StoreError::BadPackage(why)) => why,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

fn refuses(cases: Vec<(Bytes, &[&str])>) {
    let home = Home::new();
    for (zip, texts) in cases {
        let why = refusal(&home, zip);
        for text in texts {
            assert!(why.contains(text), "expected {text:?} in {why:?}");
        }
        assert!(why.len() < 500, "{} bytes of error", why.len());
    }
    leaves_nothing(&home);
}

fn leaves_nothing(home: &Home) {
    for folder in ["tmp", "code", "packages"] {
        let left: Vec<_> = std::fs::read_dir(home.data().join(folder)).unwrap().collect();
        assert!(left.is_empty(), "{folder}: {left:?}");
    }
}

fn one(entry: Entry) -> Bytes {
    // A good file before and after: one bad entry refuses all.
    Zip::new().file("first.py", b"1").entry(entry).file("last.py", b"2").build()
}

fn file(name: impl AsRef<[u8]>) -> Bytes {
    one(Entry::deflated(name, b"x"))
}

#[test]
fn refuses_what_is_not_a_zip() {
    let whole = Zip::new().file("a", &[7; 1000]).build();
    let tar = { [vec![0; 257], b"ustar".to_vec(), vec![0; 250]].concat() };
    refuses(vec![
        (Bytes::new(), &["not a zip", "empty"]),
        (b"#!/bin/sh\n".as_slice().into(), &["not a zip", "something else"]),
        (b"\x1f\x8b\x08rest".as_slice().into(), &["not a zip", "gzip"]),
        (b"7z\xbc\xaf\x27\x1c".as_slice().into(), &["7z"]),
        (tar.into(), &["tar"]),
        (whole.slice(..whole.len() - 1), &["not a zip", "cut short"]),
        (whole.slice(..100), &["cut short"]),
        (whole.slice(50..), &["outside the file"]),
        (Zip { after: vec![0; 10], ..Zip::new().file("a", b"") }.build(), &["not a zip"]),
        (Zip::new().build(), &["empty", "at least one file"]),
        (Zip { disk: 1, ..Zip::new().file("a", b"") }.build(), &["one part of several"]),
    ]);
}

#[test]
fn refuses_names_that_lead_elsewhere() {
    let long = "x".repeat(256);
    let longer = ["y".repeat(250).as_str(); 41].join("/");
    let deep = "d/".repeat(200) + "f";
    refuses(vec![
        (file("../evil"), &["\"../evil\"", "`..`"]),
        (file("a/../../evil"), &["`..`"]),
        (file("/etc/passwd"), &["\"/etc/passwd\"", "absolute"]),
        (file("a\\b"), &["backslash"]),
        (file("C:\\x"), &["backslash"]),
        (file("C:/x"), &["drive"]),
        (file("a\0b"), &["U+0000"]),
        (file("a\nb"), &["U+000A"]),
        (file("%2e%2e/x"), &["disguised"]),
        (file("x%00"), &["disguised"]),
        (file("．．/x"), &["disguised"]),
        (file("\u{202e}x"), &["U+202E"]),
        (file(b"caf\xe9"), &["not UTF-8"]),
        (file(""), &["no name"]),
        (file(&long), &["256 bytes", "at most 255"]),
        (file(&longer), &["expected at most 4096"]),
        (file("z".repeat(10_000)), &["10000 bytes"]),
        (file(&deep), &["folders inside one another"]),
    ]);
}

#[test]
fn refuses_entries_that_collide() {
    let two = |one: &str, other: &str| Zip::new().file(one, b"1").file(other, b"2").build();
    refuses(vec![
        (two("a.py", "a.py"), &["\"a.py\"", "twice"]),
        (two("a.py", "./a.py"), &["twice"]),
        (Zip::new().folder("d/").folder("d/").build(), &["twice"]),
        (Zip::new().link("l", "a").link("l", "b").build(), &["twice"]),
        (two("README", "readme"), &["\"readme\"", "\"README\"", "case"]),
        (two("Lib/a", "lib/b"), &["\"lib/b\"", "\"Lib\"", "case"]),
        (two("ÄPFEL", "äpfel"), &["case"]),
        (two("straße", "STRASSE"), &["case"]),
        (two("a", "a/b"), &["\"a/b\"", "is a file, expected a folder"]),
        (two("a/b", "a"), &["\"a\"", "also a folder"]),
        (Zip::new().file("a", b"").folder("a/").build(), &["also a file"]),
    ]);
}

#[test]
fn refuses_links_that_lead_out_and_paths_through_links() {
    let link = |name: &str, target: &str| Zip::new().file("a/b/c", b"").link(name, target);
    refuses(vec![
        (link("l", "/etc/passwd").build(), &["\"l\"", "\"/etc/passwd\"", "relative"]),
        (link("l", "/dev/null").build(), &["relative"]),
        (link("l", "..").build(), &["leads out"]),
        (link("a/l", "../../x").build(), &["\"a/l\"", "leads out"]),
        (link("l", "a/../../a").build(), &["leads out"]),
        (link("l", "missing/../../a").build(), &["leads out"]),
        // Each alone stays inside word by word; followed, the second leaves.
        (link("a/b/up", "../..").link("l", "a/b/up/../x").build(), &["\"l\"", "leads out"]),
        (link("a/b/up", "../..").link("m", "a/b/up").link("l", "m/m/../x").build(), &["\"l\"", "leads out"]),
        (link("l", "l").build(), &["circle"]),
        (link("l", "m").link("m", "l").build(), &["circle"]),
        (link("l", "").build(), &["0 bytes"]),
        (link("l", &"x".repeat(1_025)).build(), &["1025 bytes"]),
        (link("l", "a\nb").build(), &["control character"]),
        (link("l", "..\\..\\x").build(), &["backslash"]),
        (link("l", "a").file("l/f", b"").build(), &["\"l/f\"", "through the symbolic link \"l\""]),
        (link("l", "a").folder("l/").build(), &["also a symbolic link"]),
        (link("l", "a").file("l", b"").build(), &["also a symbolic link"]),
        (Zip::new().file("l/f", b"").link("l", "a").build(), &["also a folder"]),
        (Zip::new().file("l", b"").link("l", "a").build(), &["also a file"]),
        (one(Entry::stored("l/", b"a").mode(0o120_777)), &["type"]),
        (one(Entry { crc: 1, ..Entry::stored("l", b"a").mode(0o120_777) }), &["checksum"]),
        (one(Entry { size: 1, ..Entry::deflated("l", b"abc").mode(0o120_777) }), &["says 1 bytes, but holds more"]),
    ]);
}

#[test]
fn refuses_what_is_no_file_folder_or_link() {
    let of = |mode| one(Entry::stored("x", b"").mode(mode));
    let extra = |extra: &[u8]| one(Entry { extra: extra.to_vec(), ..Entry::stored("x", b"") });
    let unix = [&[0x0d, 0, 16, 0][..], &[0; 12], b"link"].concat();
    let asi = [&[0x6e, 0x75, 14, 0][..], &[0; 6], &[4, 0, 0, 0], &[0; 4]].concat();
    refuses(vec![
        (of(0o020_666), &["\"x\"", "device"]),
        (of(0o060_666), &["device"]),
        (of(0o010_666), &["named pipe"]),
        (of(0o140_666), &["socket"]),
        (of(0o150_666), &["type", "unknown"]),
        (one(Entry::stored("d/", b"contents").mode(0o040_755)), &["folder of 8 bytes"]),
        (extra(&unix), &["hard link"]),
        (extra(&asi), &["hard link"]),
        (extra(&[1, 0, 50, 0, 1]), &["extra fields are broken"]),
    ]);
}

#[test]
fn refuses_what_it_cannot_read_for_certain() {
    let good = || Entry::deflated("x", b"some contents");
    let with = |change: fn(&mut Entry)| {
        let mut entry = good();
        change(&mut entry);
        one(entry)
    };
    let mut garbage = good();
    garbage.data = vec![0xff; garbage.data.len()];
    let mut longer = good();
    longer.data.extend(b"hidden");
    longer.packed += 6;
    refuses(vec![
        (with(|e| e.flags = 1), &["\"x\"", "encrypted"]),
        (with(|e| e.flags = 1 << 6), &["encrypted"]),
        (with(|e| e.flags = 1 << 5), &["patch"]),
        (with(|e| e.method = 12), &["bzip2", "expected stored or deflate"]),
        (with(|e| e.method = 9), &["deflate64"]),
        (with(|e| e.method = 93), &["zstd"]),
        (with(|e| e.method = 77), &["method 77"]),
        (with(|e| e.crc ^= 1), &["checksum"]),
        (with(|e| e.size -= 1), &["says 12 bytes, but holds more"]),
        (with(|e| e.size += 1), &["says 14 bytes, but holds 13"]),
        (with(|e| e.packed -= 1), &["\"x\""]),
        (with(|e| e.local_name = Some(b"y".to_vec())), &["another name"]),
        (with(|e| e.local_method = Some(0)), &["another compression"]),
        (with(|e| e.shift = 1), &["no local header"]),
        (with(|e| e.shift = 1_000_000), &["outside"]),
        (with(|e| e.packed = 1_000_000), &["outside"]),
        (one(garbage), &["\"x\"", "decompressed"]),
        (one(longer), &["more data follows its end"]),
        (one(Entry { size: 5, ..Entry::stored("x", b"12345678") }), &["stored as it is in 8 bytes, but says 5"]),
        (Zip { count: Some(9), ..Zip::new().file("a", b"") }.build(), &["says 9 entries, but 1"]),
    ]);
}

#[test]
fn refuses_entries_that_overlap() {
    let inner = Entry::stored("inner", &[1; 100]);
    // The quine-like bomb: many names for the same data.
    let same = Entry { same_place: Some(0), ..inner.clone() };
    let bomb = Zip::new().entry(inner.clone()).entry(same);
    // Another name and the same data: the outer's data is the whole inner entry.
    let nested = {
        let inside = Zip::new().entry(inner.clone()).build();
        let outer = Entry::stored("outer", &inside[..135]);
        Zip::new().entry(outer).entry(Entry { same_place: Some(0), ..inner }).build()
    };
    refuses(vec![(bomb.build(), &["\"inner\"", "overlap"]), (nested, &["another name"])]);
}

#[test]
fn refuses_too_much_by_what_is_there_and_not_by_what_is_said() {
    let many = (0..20_001).fold(Zip::new(), |zip, n| zip.entry(Entry::stored(format!("f{n}"), b"")));
    let few = Zip { count: Some(1), ..many.clone() };
    // Few entries, but each with folders of its own.
    let wide = (0..1_000).fold(Zip::new(), |zip, n| {
        let path: Vec<String> = (0..40).map(|level| format!("{n}-{level}")).collect();
        zip.entry(Entry::stored(path.join("/"), b""))
    });
    let named = (0..3_000).fold(Zip::new(), |zip, n| {
        zip.entry(Entry::stored(format!("{n:0200}/{}", ["n".repeat(200).as_str(); 15].join("/")), b""))
    });
    let big = Zip::new().file("zero", &vec![0; 251 << 20]).build();
    assert!(big.len() < 3 << 20);
    let parts = (0..251).fold(Zip::new(), |zip, n| zip.entry(Entry { name: n.to_string().into(), ..mebibyte() }));
    let liar = Zip::new().entry(Entry { size: 1 << 20, ..Entry::deflated("zero", &vec![0; 100 << 20]) });
    let began = std::time::Instant::now();
    refuses(vec![
        (many.build(), &["more than 20000"]),
        (few.build(), &["more than 20000"]),
        (wide.build(), &["over 20000 files and folders"]),
        (named.build(), &["names take over"]),
        (big, &["\"zero\"", "over 250 MiB"]),
        (parts.build(), &["\"250\"", "over 250 MiB"]),
        (liar.build(), &["says 1048576 bytes, but holds more"]),
    ]);
    assert!(began.elapsed().as_secs() < 20, "{:?} for all of them", began.elapsed());
}

fn mebibyte() -> Entry {
    Entry::deflated("", &vec![0; 1 << 20])
}

#[test]
fn refuses_links_that_would_take_long_to_follow() {
    // Each doubles the work of the one before.
    let mut zip = Zip::new().folder("a/");
    for n in 0..5_000 {
        zip = zip.link(format!("l{n}"), &"a/../".repeat(200));
    }
    refuses(vec![(zip.build(), &["too long to follow"])]);
}

#[test]
fn refuses_a_zip_over_the_limit_before_reading_it() {
    let home = Home::with(|options| options.limits = Limits { packed: 1_000, ..Limits::default() });
    let why = refusal(&home, vec![0; 1_001].into());
    assert!(why.contains("1001 bytes"), "{why}");
}

#[test]
fn a_huge_refusal_stays_short_and_plain() {
    let home = Home::new();
    let why = refusal(&home, file(format!("{}/..", "\u{1b}]8;;x\u{7}".repeat(300))));
    assert!(why.len() < 500 && !why.contains('\u{1b}'), "{why}");
}

mod fuzz {
    use proptest::prelude::*;
    use store::unpack::{Limits, unpack};

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever is changed in a zip: no panic, and nothing appears beside the root.
        #[test]
        fn damage_is_survived(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
            let zip = Zip::new().file("a/b.py", b"print()").folder("d/").link("a/l", "b.py").file("../x", &deflate(b"y"));
            let good = Zip { entries: zip.entries[..3].to_vec(), ..zip.clone() };
            for zip in [zip, good] {
                let mut bytes = zip.build().to_vec();
                for (at, byte) in &changes {
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                }
                let dir = tempfile::tempdir().unwrap();
                std::fs::create_dir(dir.path().join("root")).unwrap();
                let root = std::fs::File::open(dir.path().join("root")).unwrap();
                let _ = unpack(&bytes, &Limits::default(), std::os::fd::AsFd::as_fd(&root));
                let beside: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
                prop_assert_eq!(beside.len(), 1);
            }
        }
    }
}
