//! `hearth restore`: makes a data directory of a backup. Everything is looked at before the directory has its name.
//!
//! ```text
//! FILE ─► .NAME.restoring: each file as long and with the hash that backup.json says ─► databases whole
//!              ─► keys ─► opened as Hearth does, code unpacked ─► every function's code is there ─► NAME
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;
use store::sqlite::{EventLimits, SqliteQueue, SqliteStore, check_database};
use store::{Functions, Packages, Secrets};

use super::client::default_data_dir;
use super::{Usage, out, text};
use crate::backup::{CONTENTS, Contents, Entry, FORMAT, digest};

/// The longest list of contents that is read.
const MOST: u64 = 64 * 1024 * 1024;

/// What is kept beside a backup.
const KEYS: [&str; 3] = ["secret.key", "master.key", "admin.token"];

#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// What `hearth backup` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The data directory to make; must be empty, or not there [default: where `hearth up` keeps its data]
    #[arg(long, env = "HEARTH_DATA_DIR", hide_env_values = true, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// A folder with the secret.key, master.key and admin.token of the Hearth that it is of, or some of them
    #[arg(long, value_name = "FOLDER")]
    keys: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Restored {
    data_dir: PathBuf,
    /// When the backup was made, and by which version.
    made: String,
    hearth: String,
    functions: usize,
    versions: usize,
    secrets: usize,
    /// Of them, those that no key here opens.
    locked_secrets: u64,
    /// The keys that were put there.
    keys: Vec<&'static str>,
    /// Images that functions run in, which are not in a backup.
    images: Vec<String>,
}

/// A folder that is not finished; removed when dropped.
struct Unfinished(PathBuf);

pub fn run(args: RestoreArgs) -> anyhow::Result<ExitCode> {
    let target = match args.data_dir {
        Some(dir) => std::path::absolute(dir)?,
        None => default_data_dir().context("find a data directory: say --data-dir")?,
    };
    require_empty(&target)?;
    let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
        bail!(Usage(format!("{} is no folder that could be made", target.display())));
    };
    fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
    let unfinished = parent.join(format!(".{}.restoring-{}", name.to_string_lossy(), std::process::id()));
    fs::DirBuilder::new().mode(0o700).create(&unfinished).with_context(|| format!("make {}", unfinished.display()))?;
    let unfinished = Unfinished(unfinished);
    let contents = unpack(&args.file, &unfinished.0).with_context(|| format!("{}", args.file.display()))?;
    for entry in contents.files.iter().filter(|entry| entry.path.ends_with(".db")) {
        check_database(&unfinished.0.join(&entry.path))?;
    }
    let keys = args.keys.map(|folder| put_keys(&folder, &unfinished.0)).transpose()?.unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let restored = runtime.block_on(open(&unfinished.0, contents, &target, keys))?;
    // Onto a folder that is empty, if it is there.
    fs::rename(&unfinished.0, &target).with_context(|| format!("move the data to {}", target.display()))?;
    File::open(parent).and_then(|parent| parent.sync_all())?;
    if args.json {
        out::json(&restored)?;
        return Ok(ExitCode::SUCCESS);
    }
    tell(&restored)?;
    Ok(ExitCode::SUCCESS)
}

fn require_empty(target: &Path) -> anyhow::Result<()> {
    let taken = match fs::read_dir(target) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error).with_context(|| format!("look into {}", target.display())),
    };
    if taken {
        bail!(Usage(format!(
            "{} is not empty: a backup is restored into an empty folder; move it away, or choose another --data-dir",
            target.display()
        )));
    }
    Ok(())
}

/// Unpacks what the backup says that is in it, and nothing else.
fn unpack(file: &Path, into: &Path) -> anyhow::Result<Contents> {
    let mut tar = tar::Archive::new(File::open(file)?);
    let mut entries = tar.entries()?;
    let not_one = "this is no backup of Hearth's: it does not begin with backup.json";
    let first = entries.next().context(not_one)?.context(not_one)?;
    if *first.path_bytes() != *CONTENTS.as_bytes() {
        bail!("{not_one}");
    }
    let mut text = Vec::new();
    first.take(MOST).read_to_end(&mut text)?;
    let form = serde_json::from_slice::<serde_json::Value>(&text).context(not_one)?["format"].clone();
    if form != FORMAT {
        bail!("its form is {form}, and this Hearth reads {FORMAT}: restore it with the Hearth that made it");
    }
    let contents: Contents = serde_json::from_slice(&text).context("read backup.json")?;
    for folder in ["packages", "objects"] {
        fs::DirBuilder::new().mode(0o700).create(into.join(folder))?;
    }
    let mut awaited: BTreeMap<&str, &Entry> = BTreeMap::new();
    for entry in &contents.files {
        if !is_ours(&entry.path) || awaited.insert(&entry.path, entry).is_some() {
            bail!("backup.json names {:?}, which is no file of a backup, or names it twice", entry.path);
        }
    }
    for entry in entries {
        let mut entry = entry?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let plain = entry.header().entry_type().is_file();
        let Some(said) = awaited.remove(path.as_str()).filter(|_| plain) else {
            bail!("it holds {path:?}, of which backup.json says nothing");
        };
        let mut to = File::options().write(true).create_new(true).mode(0o600).open(into.join(&path))?;
        let (bytes, sha256) = digest(&mut entry, &mut to).with_context(|| format!("read {path}"))?;
        to.sync_all()?;
        if (bytes, &sha256) != (said.bytes, &said.sha256) {
            bail!(
                "{path} is damaged: it has {bytes} bytes with the hash {sha256}, and had {} with {}",
                said.bytes,
                said.sha256
            );
        }
    }
    if let Some(missing) = awaited.keys().next() {
        bail!("it was cut off: {missing} and {} other files are missing", awaited.len() - 1);
    }
    if !contents.files.iter().any(|entry| entry.path == "catalogue.db") {
        bail!("it holds no catalogue.db");
    }
    Ok(contents)
}

/// Whether a backup may hold a file of that path.
fn is_ours(path: &str) -> bool {
    let package = path.strip_prefix("packages/").and_then(|name| name.strip_suffix(".zip"));
    matches!(path, "catalogue.db" | "queue.db" | "telemetry.db")
        || package.is_some_and(|hash| hash.parse::<model::CodeHash>().is_ok())
        || path.strip_prefix("objects/").is_some_and(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Puts those keys there that the folder has.
fn put_keys(from: &Path, into: &Path) -> anyhow::Result<Vec<&'static str>> {
    let mut put = Vec::new();
    for name in KEYS {
        let key = match fs::read(from.join(name)) {
            Ok(key) => key,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("read {}", from.join(name).display())),
        };
        let mut to = File::options().write(true).create_new(true).mode(0o600).open(into.join(name))?;
        io::Write::write_all(&mut to, &key)?;
        to.sync_all()?;
        put.push(name);
    }
    if put.is_empty() {
        bail!(Usage(format!("{} holds none of {}", from.display(), KEYS.join(", "))));
    }
    Ok(put)
}

/// Opens it as Hearth would, which unpacks the code, and looks whether everything is there.
async fn open(dir: &Path, contents: Contents, target: &Path, keys: Vec<&'static str>) -> anyhow::Result<Restored> {
    let store = SqliteStore::open(store::sqlite::Options::new(dir)).context("open what was restored")?;
    let queue = SqliteQueue::open(dir, EventLimits::default()).context("open the queue that was restored")?;
    let missing = store.missing_objects().await?;
    if missing > 0 {
        bail!("{missing} objects of buckets are not in it");
    }
    let functions = store.list().await?;
    let published = store.published().await?;
    let versions = published.versions.iter().map(|one| &one.function);
    let mut images = Vec::new();
    for function in functions.iter().chain(versions) {
        if !store.has(&function.code).await? {
            bail!("the code of {} at revision {} is not in it", function.spec.name, function.revision);
        }
        images.extend(function.spec.image.as_ref().map(|image| image.name.to_string()));
    }
    images.sort();
    images.dedup();
    let secrets = store.secrets().await?.len();
    let locked_secrets = store.locked_secrets().await?.iter().map(|(_, count)| count).sum();
    let versions = published.versions.len();
    queue.close();
    store.close();
    let (data_dir, functions) = (target.to_owned(), functions.len());
    let Contents { made, hearth, .. } = contents;
    Ok(Restored { data_dir, made, hearth, functions, versions, secrets, locked_secrets, keys, images })
}

fn tell(restored: &Restored) -> io::Result<()> {
    let Restored { data_dir, made, hearth, functions, versions, secrets, locked_secrets, keys, images } = restored;
    let dir = text::one_line(&data_dir.display().to_string());
    let made = text::one_line(&format!("a backup of {made} by Hearth {hearth}"));
    out::line(&format!("{dir}: {functions} functions, {versions} versions, {secrets} secrets, of {made}"))?;
    if *locked_secrets > 0 {
        let advice = "restore with --keys and the secret.key of then, or set them again";
        out::note(&format!("{locked_secrets} secrets cannot be opened here: {advice}"));
    }
    if !keys.contains(&"master.key") {
        out::note(
            "its AWS access keys will be new ones: `hearth aws-env` shows them (--keys with master.key keeps the old)",
        );
    }
    if !images.is_empty() {
        out::note(&format!("pull the images again that functions run in: {}", text::one_line(&images.join(", "))));
    }
    out::note(&format!("start it: hearth up --data-dir {dir}"));
    Ok(())
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It has its own name by now if all went well.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_a_backup_are_made() {
        let package = format!("packages/{}.zip", "0f".repeat(32));
        for ours in ["catalogue.db", "queue.db", "telemetry.db", &package] {
            assert!(is_ours(ours), "{ours}");
        }
        for other in ["admin.token", "../x.db", "packages/../x.zip", "packages/x.zip", "/etc/passwd", "packages/", ""] {
            assert!(!is_ours(other), "{other}");
        }
    }
}
