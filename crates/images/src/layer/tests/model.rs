//! Any sequence of layers against a second, simpler understanding of the same rules: a flat map of paths.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ::tar::EntryType;
use proptest::prelude::*;

use super::{Place, Tar};
use crate::layer::Limits;

#[derive(Debug, Clone)]
struct Given {
    path: String,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    File(u8),
    Folder,
    Link(String),
    Hard(String),
    Device,
}

type At = Vec<String>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    File(u8),
    Folder,
    Link(String),
}

#[derive(Default)]
struct Model {
    nodes: BTreeMap<At, (usize, Kind)>,
    layer: usize,
}

impl Model {
    fn walk(&self, from: &[String], target: &str, links: &mut usize) -> Option<At> {
        let mut at = if target.starts_with('/') { vec![] } else { from.to_vec() };
        for part in target.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(at.pop()),
                name => {
                    let child = [&at[..], &[name.to_owned()]].concat();
                    match self.nodes.get(&child) {
                        Some((_, Kind::Folder)) => at = child,
                        Some((_, Kind::Link(target))) => {
                            *links += 1;
                            if *links > 40 {
                                return None;
                            }
                            at = self.walk(&at, target, links)?;
                        }
                        _ => return None,
                    }
                }
            }
        }
        Some(at)
    }

    fn existing(&self, parts: &[&str]) -> Option<At> {
        self.walk(&[], &parts.join("/"), &mut 0)
    }

    fn clear(&mut self, at: &[String]) {
        self.nodes.retain(|path, _| !path.starts_with(at));
    }

    fn put(&mut self, at: At, kind: Kind) {
        if kind == Kind::Folder && matches!(self.nodes.get(&at), Some((_, Kind::Folder))) {
            self.nodes.insert(at, (self.layer, kind));
            return;
        }
        self.clear(&at);
        self.nodes.insert(at, (self.layer, kind));
    }

    fn parents(&mut self, parts: &[&str]) -> At {
        let mut at = vec![];
        for part in parts {
            if let Some(found) = self.walk(&at, part, &mut 0) {
                at = found;
            } else {
                at.push((*part).to_owned());
                self.put(at.clone(), Kind::Folder);
            }
        }
        at
    }

    fn hide(&mut self, below: &[String], itself: bool) {
        let layer = self.layer;
        let hidden = |path: &At| path.starts_with(below) && (itself || path.len() > below.len());
        let nodes = self.nodes.clone();
        let own = |path: &At| nodes.iter().any(|(other, (of, _))| other.starts_with(path) && *of == layer);
        self.nodes.retain(|path, _| !hidden(path) || own(path));
    }

    fn apply(&mut self, given: &Given) -> Result<(), ()> {
        let parts: Vec<&str> = given.path.split('/').filter(|part| !["", "."].contains(part)).collect();
        if parts.contains(&"..") {
            return Err(());
        }
        let Some((last, parts)) = parts.split_last() else {
            return if matches!(given.what, What::Folder) { Ok(()) } else { Err(()) };
        };
        let aufs = parts.iter().any(|part| part.starts_with(".wh..wh."));
        if !aufs && parts.iter().any(|part| part.starts_with(".wh.")) {
            return Err(());
        }
        if aufs || (last.starts_with(".wh..wh.") && *last != ".wh..wh..opq") {
            return Ok(());
        }
        if *last == ".wh..wh..opq" {
            if let Some(at) = self.existing(parts) {
                self.hide(&at, false);
            }
            return Ok(());
        }
        if let Some(name) = last.strip_prefix(".wh.") {
            if ["", ".", ".."].contains(&name) {
                return Err(());
            }
            if let Some(at) = self.existing(parts) {
                self.hide(&[&at[..], &[name.to_owned()]].concat(), true);
            }
            return Ok(());
        }
        if matches!(given.what, What::Device) {
            if let Some(at) = self.existing(parts) {
                self.clear(&[&at[..], &[(*last).to_owned()]].concat());
            }
            return Ok(());
        }
        let mut at = self.parents(parts);
        at.push((*last).to_owned());
        match &given.what {
            What::File(contents) => self.put(at, Kind::File(*contents)),
            What::Folder => self.put(at, Kind::Folder),
            What::Link(target) if target.is_empty() => return Err(()),
            What::Link(target) => self.put(at, Kind::Link(target.clone())),
            What::Hard(target) => self.hard(at, target)?,
            What::Device => {}
        }
        Ok(())
    }

    fn hard(&mut self, at: At, target: &str) -> Result<(), ()> {
        let target: Vec<&str> = target.split('/').filter(|part| !["", "."].contains(part)).collect();
        if target.contains(&"..") {
            return Err(());
        }
        let (last, parts) = target.split_last().ok_or(())?;
        let mut from = self.existing(parts).ok_or(())?;
        from.push((*last).to_owned());
        let (_, kind) = self.nodes.get(&from).cloned().ok_or(())?;
        match kind {
            Kind::Folder => Err(()),
            _ if from == at => Ok(()),
            // It would take the place of a folder that its target is in.
            _ if from.starts_with(&at) => Err(()),
            kind => {
                self.put(at, kind);
                Ok(())
            }
        }
    }
}

fn on_disk(folder: &Path, at: &mut At, found: &mut BTreeMap<At, Kind>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        at.push(entry.file_name().into_string().expect("a name"));
        let path = entry.path();
        let kind = entry.file_type().expect("a type");
        if kind.is_dir() {
            found.insert(at.clone(), Kind::Folder);
            on_disk(&path, at, found);
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).expect("a link").to_string_lossy().into_owned();
            found.insert(at.clone(), Kind::Link(target));
        } else {
            found.insert(at.clone(), Kind::File(fs::read(&path).expect("a file")[0]));
        }
        at.pop();
    }
}

fn part() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        30 => prop::sample::select(vec!["a", "b", "c"]),
        1 => prop::sample::select(vec!["outside", "root", ".", "", "proc"]),
    ]
}

fn path() -> impl Strategy<Value = String> {
    let last = prop_oneof![
        40 => prop::sample::select(vec!["a", "b", "c"]),
        8 => prop::sample::select(vec![".wh.a", ".wh.b", ".wh.c", ".wh..wh..opq"]),
        1 => prop::sample::select(vec!["..", ".", "", ".wh.", ".wh..", ".wh..wh.plnk", "outside"]),
    ];
    let before = prop_oneof![30 => Just(""), 2 => Just("./"), 2 => Just("/"), 1 => Just("../"), 1 => Just(".wh.a/")];
    (before, prop::collection::vec(part(), 0..4), last).prop_map(|(before, parts, last)| {
        let folder: String = parts.iter().map(|part| format!("{part}/")).collect();
        format!("{before}{folder}{last}")
    })
}

fn target() -> impl Strategy<Value = String> {
    let climbing = prop::collection::vec(prop_oneof![4 => part(), 2 => Just("..")], 0..5);
    let before = prop_oneof![6 => Just(""), 2 => Just("/"), 1 => Just("../../"), 1 => Just("/proc/self/cwd/")];
    (before, climbing).prop_map(|(before, parts)| format!("{before}{}", parts.join("/")))
}

fn given() -> impl Strategy<Value = Given> {
    let what = prop_oneof![
        5 => any::<u8>().prop_map(What::File),
        4 => Just(What::Folder),
        4 => target().prop_map(What::Link),
        2 => path().prop_map(What::Hard),
        1 => target().prop_map(What::Hard),
        1 => Just(What::Device),
    ];
    (path(), what).prop_map(|(path, what)| Given { path, what })
}

fn tar(entries: &[Given]) -> Vec<u8> {
    let add = |tar: Tar, given: &Given| match &given.what {
        What::File(contents) => tar.entry(EntryType::Regular, &given.path, "", 0o600, &[*contents]),
        What::Folder => tar.folder(&given.path),
        What::Link(target) => tar.link(&given.path, target),
        What::Hard(target) => tar.hard(&given.path, target),
        What::Device => tar.entry(EntryType::Char, &given.path, "", 0o666, b""),
    };
    entries.iter().fold(Tar::default(), add).end()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn layers_do_what_the_model_says_and_nothing_outside(layers in prop::collection::vec(prop::collection::vec(given(), 1..8), 1..5)) {
        let mut place = Place::new(Limits::default());
        let mut model = Model::default();
        let mut fine = true;
        for layer in &layers {
            model.layer += 1;
            let expected = layer.iter().try_for_each(|given| model.apply(given));
            let got = place.apply(&tar(layer));
            prop_assert_eq!(got.is_ok(), expected.is_ok(), "{:?}", got);
            fine = got.is_ok();
            if !fine {
                break;
            }
        }
        place.untouched();
        if fine {
            let mut found = BTreeMap::new();
            on_disk(&place.root(), &mut vec![], &mut found);
            let expected: BTreeMap<At, Kind> = model.nodes.into_iter().map(|(at, (_, kind))| (at, kind)).collect();
            prop_assert_eq!(found, expected);
        }
        // Whatever came, its owner can remove it.
        place.folder.close().expect("removed");
    }
}
