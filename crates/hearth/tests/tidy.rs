//! The house rules that a compiler does not check: who may import whom, what every file opens with, where
//! `unsafe` may be, that no file becomes an attic, that every promise names a test that exists.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms and what each may import, as in ARCHITECTURE.md.
const TABLE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("wire", &["model"]),
    ("aws", &["model"]),
    ("store", &["model"]),
    ("images", &["model"]),
    ("otlp", &["model"]),
    ("driver", &["model"]),
    ("agent", &["model", "wire"]),
    // What several drivers are built from: none of them imports another.
    ("linux", &["model", "driver"]),
    ("namespace", &["model", "driver", "wire", "linux"]),
    // What the spawner's drivers are tried with; in no program.
    ("conformance", &["model", "driver"]),
    ("agent-image", &[]),
    ("docker", &["model", "driver", "agent", "agent-image", "linux"]),
    ("gvisor", &["model", "driver", "agent", "agent-image", "linux"]),
    // What makes a Python a fork server: the driver's own code, as a library.
    ("fork-server", &["namespace"]),
    ("fork-image", &[]),
    // Fork points: a library for interpreters and a program, in no room of the host's.
    ("snapshot", &[]),
    ("snapshot-image", &[]),
    ("spawner", &["model", "driver", "wire"]),
    ("engine", &["model", "wire", "store", "driver"]),
    ("triggers", &["model", "aws", "store"]),
    ("gateway", &["model", "aws", "store", "engine"]),
    ("control", &["model", "aws", "store"]),
    (
        "hearth",
        &[
            "model",
            "wire",
            "aws",
            "store",
            "driver",
            "images",
            "otlp",
            "linux",
            "namespace",
            "docker",
            "gvisor",
            "agent-image",
            "fork-image",
            "snapshot-image",
            "spawner",
            "engine",
            "triggers",
            "gateway",
            "control",
        ],
    ),
    ("bench", &["wire"]),
];

/// Rooms in which `unsafe` may be: they make system calls that no safe crate wraps.
const MAY_BE_UNSAFE: &[&str] =
    &["agent", "linux", "namespace", "docker", "gvisor", "fork-server", "snapshot", "spawner", "bench"];

/// Past this a file explains itself in [`LONG`], or splits.
const MAX_LINES: usize = 600;

/// Files that are longer, and why that is right.
const LONG: &[(&str, &str)] = &[];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace root")
}

fn crates() -> BTreeMap<String, PathBuf> {
    let root = root();
    let folders = [root.join("crates"), root.join("crates/drivers")];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).expect("a folder of crates"));
    let mut found: BTreeMap<String, PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.join("Cargo.toml").exists())
        .map(|path| (path.file_name().expect("a name").to_string_lossy().into_owned(), path))
        .collect();
    if root.join("bench/Cargo.toml").exists() {
        found.insert("bench".into(), root.join("bench"));
    }
    found
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
    found
}

fn sources() -> impl Iterator<Item = (String, PathBuf, String)> {
    crates().into_iter().flat_map(|(name, folder)| {
        let mut files = rust_files(&folder.join("src"));
        if folder.join("tests").is_dir() {
            files.extend(rust_files(&folder.join("tests")));
        }
        files.into_iter().map(move |file| {
            let text = fs::read_to_string(&file).expect("a source file");
            (name.clone(), file, text)
        })
    })
}

#[test]
fn every_room_imports_only_what_the_table_allows() {
    let found = crates();
    for name in found.keys() {
        assert!(TABLE.iter().any(|(room, _)| room == name), "crate {name} is not in the table of rooms");
    }
    for (room, allowed) in TABLE {
        let Some(folder) = found.get(*room) else { panic!("room {room} of the table does not exist") };
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
        let manifest: toml::Table = manifest.parse().expect("a manifest in TOML");
        assert_eq!(manifest["package"]["name"].as_str(), Some(*room), "folder name = crate name");
        let Some(dependencies) = manifest.get("dependencies").and_then(|d| d.as_table()) else { continue };
        for dependency in dependencies.keys().filter(|name| found.contains_key(*name)) {
            assert!(allowed.contains(&dependency.as_str()), "{room} may not import {dependency}");
        }
    }
}

#[test]
fn every_file_says_what_it_is() {
    for (_, file, text) in sources() {
        assert!(text.starts_with("//!"), "{} does not open with a //! header", file.display());
    }
}

#[test]
fn no_file_is_an_attic() {
    for (_, file, text) in sources() {
        let long = LONG.iter().any(|(name, _)| file.ends_with(name));
        let lines = text.lines().count();
        assert!(lines <= MAX_LINES || long, "{} has {lines} lines: split it, or say why not", file.display());
    }
}

#[test]
fn unsafe_is_only_where_it_may_be() {
    for (room, folder) in crates() {
        if MAY_BE_UNSAFE.contains(&room.as_str()) {
            continue;
        }
        let entry = ["src/lib.rs", "src/main.rs"].iter().map(|file| folder.join(file)).find(|file| file.exists());
        let entry = entry.expect("a crate root");
        let text = fs::read_to_string(&entry).expect("a crate root");
        assert!(text.contains("#![forbid(unsafe_code)]"), "{} does not forbid unsafe code", entry.display());
    }
}

#[test]
fn every_fault_has_its_page() {
    let faults = root().join("docs/faults");
    for code in model::FaultCode::ALL {
        let page = faults.join(format!("{code}.md"));
        let text = fs::read_to_string(&page).unwrap_or_else(|_| panic!("{} is missing", page.display()));
        assert!(text.starts_with(&format!("# {code}")), "{} does not open with its code", page.display());
    }
}

#[test]
fn every_promise_names_a_test_that_exists() {
    let root = root();
    let specification = fs::read_to_string(root.join("SPECIFICATION.md")).expect("SPECIFICATION.md");
    let rows = specification.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| promise"));
    let mut checked = 0;
    for row in rows.filter(|row| !row.starts_with("| ---")) {
        let last = row.trim_end_matches('|').rsplit('|').next().expect("a cell").trim().trim_matches('`');
        let (file, test) = last.split_once("::").unwrap_or_else(|| panic!("no FILE::TEST in: {row}"));
        let text = fs::read_to_string(root.join(file)).unwrap_or_else(|_| panic!("{file} does not exist: {row}"));
        // A conformance case is a folder: its file is its test.
        assert!(test == "case" || text.contains(test), "{file} has no {test}: {row}");
        checked += 1;
    }
    assert!(checked >= 10, "only {checked} promises found: has the table changed its form?");
}
