//! `hearth backup`: all that a Hearth keeps, in one file, while it works.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;
use ureq::http::Method;

use super::client::{Client, ConnectArgs};
use super::{Usage, out, text};
use crate::backup::digest;

/// The longest that a backup may take.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

#[derive(Debug, Args)]
pub struct BackupArgs {
    /// Where to write it: a tar, which must not be there
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Leave out logs and records of calls
    #[arg(long)]
    without_logs: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub fn run(args: BackupArgs) -> anyhow::Result<ExitCode> {
    let file = &args.file;
    if file.exists() {
        bail!(Usage(format!("{} is there already: choose another name", file.display())));
    }
    // Those who call functions come first; where it is refused, it is a backup all the same.
    let _ = store::aside::give_way();
    let client = Client::new(&args.connect)?;
    let path = format!("/api/v1/backup?logs={}", !args.without_logs);
    let mut response = client.checked(client.send(Method::GET, &path, &[], None, Some(LONGEST))?)?;
    // Whole under its name, or not there.
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = file.with_file_name(name);
    let subject = || format!("write {}", part.display());
    let mut to =
        File::options().write(true).create(true).truncate(true).mode(0o600).open(&part).with_context(subject)?;
    let written = digest(&mut response.body_mut().as_reader(), &mut to).and_then(|written| {
        to.sync_all()?;
        whole(&part)?;
        fs::rename(&part, file)?;
        if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder)?.sync_all()?;
        }
        Ok(written)
    });
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    let (bytes, sha256) = written.with_context(|| format!("the backup did not come whole into {}", file.display()))?;
    if args.json {
        out::json(&json!({"file": file, "bytes": bytes, "sha256": sha256}))?;
    } else {
        out::line(&format!("{}: {}", text::one_line(&file.display().to_string()), text::memory(bytes)))?;
        out::note(
            "the keys are not in it: keep secret.key, master.key and admin.token of the data directory somewhere else, \
             or nobody can open the secrets again (docs/backup.md)",
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Looks whether the tar has its end: a connection that broke may look like one that ended.
fn whole(part: &Path) -> io::Result<()> {
    let mut tar = tar::Archive::new(File::open(part)?);
    let mut entries = 0;
    for entry in tar.entries()? {
        entry?;
        entries += 1;
    }
    // Two blocks of zeros.
    let file = File::open(part)?;
    let (length, mut end) = (file.metadata()?.len(), [1; 1024]);
    let at = length.checked_sub(1024).ok_or(io::ErrorKind::UnexpectedEof)?;
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut end, at)?;
    if entries == 0 || end.iter().any(|byte| *byte != 0) {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it was cut off"));
    }
    Ok(())
}
