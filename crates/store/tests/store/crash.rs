//! Killed at any moment: what was answered is there, and nothing is there by half.
//!
//! The parent starts this test binary again with one test and a directory; that one works until it is killed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use model::{CodeHash, LogLine};
use store::{Functions, LogQuery, Options, Packages, SqliteStore, Telemetry};

use crate::archive::{Entry, Zip};
use crate::telemetry::line;
use crate::{name, spec};

const DIR: &str = "HEARTH_STORE_CRASH_DIR";

/// Runs `test` of this binary in `dir`, kills it after `life`, and gives what it had said. With `opened`, `life`
/// begins with its first word.
fn killed(test: &str, dir: &Path, opened: bool, life: Duration) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let (words, said) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let lines = out.split(b'\n').map_while(Result::ok).filter_map(|line| String::from_utf8(line).ok());
        // A line that was cut was not said.
        for line in lines.filter_map(|line| Some(line.strip_suffix(" said")?.to_owned())) {
            words.send(line).unwrap();
        }
    });
    let first = if opened { Some(said.recv().expect("it ended without a word")) } else { None };
    std::thread::sleep(life);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap();
    first.into_iter().chain(said).collect()
}

fn say(text: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{text} said").and_then(|()| out.flush()).unwrap();
}

/// Lives of different lengths, the same on each run; every third is killed about when it opens the store.
fn lives(count: u64) -> impl Iterator<Item = (bool, Duration)> {
    (0..count).map(|n| {
        if n % 3 == 2 {
            (false, Duration::from_millis(n * 3))
        } else {
            (true, Duration::from_millis(20 + n * 7919 % 400))
        }
    })
}

#[tokio::test]
async fn child_puts() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let store = SqliteStore::open(Options::new(dir)).unwrap();
    let code = store.add(Zip::new().file("app.py", b"1").build()).await.unwrap();
    let puts = (0..4).map(|n| {
        let (store, code) = (store.clone(), code.clone());
        tokio::spawn(async move {
            for turn in 0.. {
                let mut spec = spec(&format!("f{n}-{}", turn % 5));
                spec.description = turn.to_string();
                let put = store.put(spec, code.clone(), None).await.unwrap();
                say(format_args!("put {} {} {}", put.spec.name, put.revision, put.spec.description));
            }
        })
    });
    for put in puts.collect::<Vec<_>>() {
        put.await.unwrap();
    }
}

#[tokio::test]
async fn functions_that_were_answered_survive_kills() {
    let dir = tempfile::tempdir().unwrap();
    let mut wanted = BTreeMap::new();
    let mut answers = 0;
    for (opened, life) in lives(12) {
        for answer in killed("crash::child_puts", dir.path(), opened, life) {
            let mut words = answer.split(' ').skip(1);
            let (name, revision) = (words.next().unwrap().to_owned(), words.next().unwrap().parse::<u64>().unwrap());
            let newest = wanted.entry(name).or_insert((0, String::new()));
            assert!(revision > newest.0, "revision {revision} was answered before");
            *newest = (revision, words.next().unwrap().to_owned());
            answers += 1;
        }
        let store = SqliteStore::open(Options::new(dir.path())).unwrap();
        for (name_text, (revision, description)) in &mut wanted {
            let found = store.get(&name(name_text)).await.unwrap();
            assert!(found.revision.0 >= *revision, "{name_text} went back to {} from {revision}", found.revision);
            if found.revision.0 == *revision {
                assert_eq!(&found.spec.description, description);
            }
            assert!(store.has(&found.code).await.unwrap());
            // An unanswered one may have made it.
            *revision = found.revision.0;
            *description = found.spec.description;
        }
    }
    println!("{answers} answers");
    assert!(answers > 20, "only {answers} answers: nothing was tested");
}

fn numbered(n: usize) -> Bytes {
    let big: Vec<u8> = (0..40_000).map(|i| (i * n) as u8).collect();
    let zip = Zip::new().file("app.py", n.to_string().as_bytes()).folder("lib/").link("lib/l", "../app.py");
    (0..8).fold(zip, |zip, f| zip.entry(Entry::stored(format!("lib/{f}"), &big))).build()
}

#[tokio::test]
async fn child_adds() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let store = SqliteStore::open(Options::new(dir)).unwrap();
    let start = std::process::id() as usize;
    for n in start.. {
        let hash = store.add(numbered(n)).await.unwrap();
        say(format_args!("add {hash} {n}"));
        if n % 3 == 0 {
            // Said before: it may be gone from now on.
            say(format_args!("drop {hash}"));
            store.collect(Duration::from_millis(1)).await.unwrap();
            say("collected all");
        }
    }
}

#[tokio::test]
async fn packages_that_were_answered_survive_kills_and_none_is_half() {
    let dir = tempfile::tempdir().unwrap();
    let mut answers = 0;
    for (opened, life) in lives(12) {
        let mut wanted: Vec<(CodeHash, String)> = Vec::new();
        for answer in killed("crash::child_adds", dir.path(), opened, life) {
            let mut words = answer.split(' ');
            match words.next() {
                Some("add") => {
                    wanted.push((words.next().unwrap().parse().unwrap(), words.next().unwrap().to_owned()));
                    answers += 1;
                }
                // A collection removes all of them, and it has begun.
                Some("drop") => wanted.clear(),
                _ => {}
            }
        }
        let store = SqliteStore::open(Options::new(dir.path())).unwrap();
        for (hash, n) in &wanted {
            assert!(store.has(hash).await.unwrap(), "{hash}");
            let code = store.code_folder(hash);
            assert_eq!(&std::fs::read_to_string(code.join("lib/l")).unwrap(), n);
            assert_eq!(std::fs::read_dir(code.join("lib")).unwrap().count(), 9);
        }
        let names = |folder: &str| {
            let mut names: Vec<String> = std::fs::read_dir(dir.path().join(folder))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap().trim_end_matches(".zip").to_owned())
                .collect();
            names.sort();
            names
        };
        let sums = names("packages").into_iter().filter_map(|name| Some(name.strip_suffix(".tree")?.to_owned()));
        assert!(sums.eq(names("code")), "the sum of each folder, and no other");
        assert_eq!(
            names("packages").into_iter().filter(|name| !name.ends_with(".tree")).collect::<Vec<_>>(),
            names("code")
        );
        assert!(names("tmp").is_empty());
    }
    println!("{answers} answers");
    assert!(answers > 8, "only {answers} answers: nothing was tested");
}

#[tokio::test]
async fn child_logs() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let store = SqliteStore::open(Options::new(dir)).unwrap();
    let start = std::time::Instant::now();
    for n in 0.. {
        store.log(LogLine { ..line("f", &n.to_string()) });
        if n % 100 == 0 {
            say(format_args!("log {n} {}", start.elapsed().as_millis()));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test]
async fn a_kill_loses_at_most_the_last_second_of_log_lines() {
    let dir = tempfile::tempdir().unwrap();
    let said = killed("crash::child_logs", dir.path(), true, Duration::from_millis(2_500));
    let said: Vec<(u64, u64)> = said
        .iter()
        .map(|answer| {
            let mut words = answer.split(' ').skip(1).map(|word| word.parse().unwrap());
            (words.next().unwrap(), words.next().unwrap())
        })
        .collect();
    let end = said.last().unwrap().1;
    let safe = said.iter().rev().find(|(_, at)| at + 1_000 <= end).unwrap().0;
    let store = SqliteStore::open(Options::new(dir.path())).unwrap();
    let page = store.logs(LogQuery { limit: 1, ..LogQuery::default() }).await.unwrap();
    let newest: u64 = page.lines[0].message.parse().unwrap();
    assert!(newest >= safe, "{safe} was logged a second before the kill, but {newest} is the last one");
    assert_eq!(page.cursor, newest + 1, "lines are missing in between");
}
