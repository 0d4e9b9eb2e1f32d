//! `hearth secret`: sets, lists and removes secrets, and changes the key that they are sealed with. A value goes in from a
//! file, from standard input or from the keyboard, and never comes out; never from the command line either, which every
//! user of the machine may read while it runs, and which shells keep.

use std::io::{self, BufRead, Cursor, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use control::{KeyRotationView, SecretList, SecretView};
use model::{MAX_SECRET_BYTES, SecretName};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use ureq::http::Method;

use super::client::{Client, ClientError, ConnectArgs};
use super::out::Column;
use super::{Usage, out};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  printf %s \"$KEY\" | hearth secret set photo-api-key
  hearth secret set tls-key --from-file key.pem

How functions get them: docs/secrets.md.")]
pub struct SecretArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Args)]
struct Shared {
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a secret, or give it another value: functions that use it see it in their next calls
    Set {
        name: SecretName,
        /// The file that holds the value, taken as it is [default: standard input, without the newline at its end]
        #[arg(long, value_name = "FILE")]
        from_file: Option<PathBuf>,
        #[command(flatten)]
        shared: Shared,
    },
    /// List secrets and the functions that use them; no value is shown
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        shared: Shared,
    },
    /// Remove a secret
    Rm {
        name: SecretName,
        /// Also if functions use it: their calls fail from then on
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        shared: Shared,
    },
    /// Seal every value with a new key, and forget the old one
    RotateKey {
        #[command(flatten)]
        shared: Shared,
    },
}

// === impl SecretArgs ===

impl SecretArgs {
    pub fn json(&self) -> bool {
        self.shared().json
    }

    fn shared(&self) -> &Shared {
        match &self.action {
            Action::Set { shared, .. }
            | Action::List { shared }
            | Action::Rm { shared, .. }
            | Action::RotateKey { shared } => shared,
        }
    }
}

pub fn run(args: SecretArgs) -> anyhow::Result<ExitCode> {
    let (client, json) = (Client::new(&args.shared().connect)?, args.json());
    match args.action {
        Action::Set { name, from_file, .. } => set(&client, &name, from_file, json),
        Action::List { .. } => list(&client, json),
        Action::Rm { name, force, .. } => remove(&client, &name, force, json),
        Action::RotateKey { .. } => {
            let rotation: KeyRotationView =
                client.write(Method::POST, "/api/v1/secrets-key", &serde_json::json!({}))?;
            if json {
                out::json(&rotation)?;
            } else {
                let KeyRotationView { key, secrets } = rotation;
                out::line(&format!(
                    "sealed {secrets} secrets with the new key {key}; the old one opens nothing any more"
                ))?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn set(client: &Client, name: &SecretName, from_file: Option<PathBuf>, json: bool) -> anyhow::Result<ExitCode> {
    let value = match &from_file {
        Some(path) => {
            let file = std::fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
            bounded(file).with_context(|| format!("read {}", path.display()))?
        }
        None if io::stdin().is_terminal() => typed(name)?.into_bytes(),
        None => {
            let mut value = bounded(io::stdin().lock()).context("read the value from standard input")?;
            // What `echo` and editors add is no part of it; who means it gives a file.
            if value.last() == Some(&b'\n') {
                value.pop();
                if value.last() == Some(&b'\r') {
                    value.pop();
                }
            }
            value
        }
    };
    if value.is_empty() {
        return Err(Usage(format!("the value of {name} is empty: expected 1 byte to 64 KiB")).into());
    }
    if value.len() > MAX_SECRET_BYTES {
        return Err(Usage(format!("the value of {name} is over 64 KiB, the most that a secret holds")).into());
    }
    let length = value.len() as u64;
    let path = format!("/api/v1/secrets/{name}");
    let view: SecretView = client.upload(&path, "application/octet-stream", length, &mut Cursor::new(value))?;
    if json {
        out::json(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    out::line(&format!("set {name}"))?;
    match view.functions.as_slice() {
        [] => {
            out::note(&format!("no function uses it yet: [env] KEY = {{ secret = \"{name}\" }} in a hearth.toml does"))
        }
        some => out::note(&format!("new calls of {} see it", some.join(", "))),
    }
    Ok(ExitCode::SUCCESS)
}

/// One byte more than a secret may have, so that it is seen to be too much.
fn bounded(from: impl Read) -> io::Result<Vec<u8>> {
    let mut value = Vec::new();
    from.take(MAX_SECRET_BYTES as u64 + 3).read_to_end(&mut value)?;
    Ok(value)
}

/// Asks on the terminal, which does not show what is typed.
fn typed(name: &SecretName) -> anyhow::Result<String> {
    struct Quiet(Termios);
    impl Drop for Quiet {
        fn drop(&mut self) {
            let _ = tcsetattr(io::stdin().as_fd(), OptionalActions::Flush, &self.0);
        }
    }
    let stdin = io::stdin();
    let before = tcgetattr(stdin.as_fd()).context("look at the terminal")?;
    let mut quiet = before.clone();
    quiet.local_modes.remove(LocalModes::ECHO);
    quiet.local_modes.insert(LocalModes::ECHONL);
    let back = Quiet(before);
    tcsetattr(stdin.as_fd(), OptionalActions::Flush, &quiet).context("keep the terminal from showing the value")?;
    let mut screen = io::stderr();
    write!(screen, "value of {name} (not shown): ")?;
    screen.flush()?;
    let mut line = String::new();
    stdin.lock().read_line(&mut line)?;
    drop(back);
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(line)
}

fn list(client: &Client, json: bool) -> anyhow::Result<ExitCode> {
    let list: SecretList = client.get("/api/v1/secrets")?;
    if json {
        out::json(&list.secrets)?;
        return Ok(ExitCode::SUCCESS);
    }
    if list.secrets.is_empty() {
        out::note("no secrets: `hearth secret set NAME` makes one");
        return Ok(ExitCode::SUCCESS);
    }
    let row = |one: SecretView| {
        let used = if one.functions.is_empty() { "-".to_owned() } else { one.functions.join(", ") };
        vec![one.name.to_string(), one.modified, used]
    };
    out::table(
        &[("NAME", Column::Left), ("SET", Column::Left), ("USED BY", Column::Left)],
        list.secrets.into_iter().map(row).collect(),
    )?;
    Ok(ExitCode::SUCCESS)
}

fn remove(client: &Client, name: &SecretName, force: bool, json: bool) -> anyhow::Result<ExitCode> {
    let path = format!("/api/v1/secrets/{name}{}", if force { "?force=true" } else { "" });
    client.delete(&path).map_err(|error| match error {
        ClientError::Refused { status: 409, code, message } => {
            ClientError::Refused { status: 409, code, message: message.replace("force it", "say --force") }
        }
        other => other,
    })?;
    if json {
        out::json(&serde_json::json!({ "removed": name }))?;
    } else {
        out::line(&format!("removed {name}"))?;
    }
    Ok(ExitCode::SUCCESS)
}
