//! `hearth upgrade`: has the Hearth that runs here go on with another program, while calls run.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;
use spawner::{Answer, Ask};

use super::client::default_data_dir;
use super::{out, text};

#[derive(Debug, Args)]
pub struct UpgradeArgs {
    /// The program to go on with [default: what lies now where `hearth up` was started from]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// The data directory of the Hearth that is meant [default: where `hearth up` keeps its data]
    #[arg(long, env = "HEARTH_DATA_DIR", hide_env_values = true, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Serialize)]
struct Upgraded {
    /// Versions of the server before, of the one now, and of the spawner, which goes on.
    from: String,
    to: String,
    spawner: String,
    /// For how long nobody took connections, which waited meanwhile.
    paused_ms: u64,
}

pub fn run(args: UpgradeArgs) -> anyhow::Result<ExitCode> {
    let data_dir = match args.data_dir {
        Some(dir) => dir,
        None => default_data_dir().context("find a data directory: say --data-dir")?,
    };
    let named = text::one_line(&data_dir.display().to_string());
    let data_dir = std::fs::canonicalize(&data_dir).with_context(|| format!("find the data directory {named}"))?;
    let binary = args.binary.map(|path| std::fs::canonicalize(&path).with_context(|| path.display().to_string()));
    let door = crate::up::door(&data_dir);
    let answer = spawner::ask(&door, &Ask::Upgrade { binary: binary.transpose()? }).map_err(|error| {
        let why = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => format!(
                "no Hearth of this user's runs on {named} (looked for {}): run this as the user that `hearth up` runs as, \
                 root for a service",
                door.display()
            ),
            io::ErrorKind::PermissionDenied => {
                format!("only the user that `hearth up` runs as may do that: {}: {error}", door.display())
            }
            io::ErrorKind::UnexpectedEof => "the Hearth that runs hung up: its log says why".to_owned(),
            _ => format!("ask the Hearth that runs: {error}"),
        };
        anyhow::anyhow!(why)
    })?;
    let (from, to, spawner, paused_ms) = match answer {
        Answer::Upgraded { from, to, spawner, paused_ms } => (from, to, spawner, paused_ms),
        Answer::Refused { why } => bail!("not upgraded: {}", text::one_line(&why)),
    };
    let upgraded = Upgraded { from, to, spawner, paused_ms };
    if args.json {
        out::json(&upgraded)?;
        return Ok(ExitCode::SUCCESS);
    }
    let Upgraded { from, to, spawner, paused_ms } = &upgraded;
    out::line(&format!("server {from} -> {to}; connections waited for {paused_ms} ms"))?;
    out::note(&format!("the spawner goes on with version {spawner} until the next restart"));
    Ok(ExitCode::SUCCESS)
}
