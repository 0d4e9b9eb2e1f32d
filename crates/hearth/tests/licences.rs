//! `docs/licences.md` names everything of others that Hearth is built of, with its licence: what `cargo metadata` and the
//! dashboard's lock file say. `UPDATE=1 cargo test -p hearth --test licences` writes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const HEAD: &str = "# Licences\n\n\
Hearth is under the Apache License 2.0. What it is built of is others' work, under these licences; the texts are in each\n\
package's own archive on crates.io and npm. `make licences` writes this page, and a test holds it true; `make sbom` makes a list with\n\
versions and hashes.\n\n";

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace root")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Licences by crate, of all that goes into the program or makes it: not what only tests use.
fn crates() -> BTreeMap<String, BTreeSet<String>> {
    let args =
        ["metadata", "--offline", "--locked", "--format-version=1", "--filter-platform=x86_64-unknown-linux-gnu"];
    let run = Command::new(env!("CARGO")).args(args).current_dir(root()).output().expect("cargo runs");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let all: Value = serde_json::from_slice(&run.stdout).expect("metadata is JSON");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let packages: BTreeMap<String, Value> =
        list(&all["packages"]).into_iter().map(|one| (text(&one, "id").to_owned(), one)).collect();
    let nodes: BTreeMap<String, Value> =
        list(&all["resolve"]["nodes"]).into_iter().map(|one| (text(&one, "id").to_owned(), one)).collect();
    // The images of programs and libraries that Hearth brings along are built by build scripts: no edge leads to them.
    let brought = ["hearth", "agent", "fork-server", "snapshot"];
    let mut open: Vec<String> = packages
        .values()
        .filter(|package| package["source"].is_null() && brought.contains(&text(package, "name")))
        .map(|package| text(package, "id").to_owned())
        .collect();
    assert_eq!(open.len(), brought.len(), "a crate of Hearth's own has another name");
    let (mut seen, mut found) = (BTreeSet::new(), BTreeMap::<String, BTreeSet<String>>::new());
    while let Some(id) = open.pop() {
        if !seen.insert(id.clone()) {
            continue;
        }
        let package = &packages[&id];
        if !package["source"].is_null() {
            let licence =
                package["license"].as_str().unwrap_or("see its archive").replace(" / ", "/").replace('/', " OR ");
            found.entry(text(package, "name").to_owned()).or_default().insert(licence);
        }
        for dependency in list(&nodes[&id]["deps"]) {
            let kinds = list(&dependency["dep_kinds"]);
            if kinds.iter().any(|kind| kind["kind"] != "dev") {
                open.push(text(&dependency, "pkg").to_owned());
            }
        }
    }
    found
}

/// Of the dashboard's packages, those that are in what browsers get.
fn packages() -> BTreeMap<String, BTreeSet<String>> {
    let lock = std::fs::read(root().join("dashboard/package-lock.json")).expect("the dashboard's lock file");
    let lock: Value = serde_json::from_slice(&lock).expect("it is JSON");
    let all = lock["packages"].as_object().expect("it has packages");
    let shipped = all.iter().filter(|(path, package)| !path.is_empty() && package["dev"] != true);
    shipped
        .map(|(path, package)| {
            let name = path.rsplit("node_modules/").next().unwrap_or(path);
            (name.to_owned(), BTreeSet::from([text(package, "license").to_owned()]))
        })
        .collect()
}

#[test]
fn the_list_of_licences_is_true() {
    let mut page = HEAD.to_owned();
    for (title, all) in [("Crates", crates()), ("The dashboard", packages())] {
        let mut by_licence = BTreeMap::<String, Vec<String>>::new();
        for (name, licences) in all {
            let licences: Vec<_> = licences.into_iter().collect();
            by_licence.entry(licences.join(", ")).or_default().push(name);
        }
        assert!(!by_licence.contains_key(""), "without a licence: {by_licence:?}");
        let _ = write!(page, "## {title}\n\n| licence | packages |\n| --- | --- |\n");
        for (licence, names) in by_licence {
            let _ = writeln!(page, "| {licence} | {} |", names.join(", "));
        }
        page.push('\n');
    }
    let page = format!("{}\n", page.trim_end());
    let path = root().join("docs/licences.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &page).expect("docs can be written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(kept, page, "docs/licences.md is not what is built in: `make licences`, then read the difference");
}
