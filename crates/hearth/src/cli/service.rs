//! `hearth install` and `hearth uninstall`: Hearth as a service of systemd's, with walls around it.
//!
//! ```text
//! program ─► user ─► settings ─► unit ─► daemon-reload ─► enable, start      each only if it is not so already
//! ```
//!
//! What is to be done is a list of steps before anything is done, so that `--dry-run` prints what would happen and nothing
//! else. Settings that are there are never overwritten, data is removed by `--purge` alone.

mod unit;

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;

use super::{Usage, out, text};

/// Whom the server runs as.
const USER: &str = "hearth";
const UNIT: &str = "hearth.service";
/// Where systemd says that it runs this machine.
const RUNS: &str = "/run/systemd/system";

#[derive(Debug, Args)]
pub struct InstallArgs {
    /// Print what would be done, and the files, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Put everything in place, and do not start it
    #[arg(long)]
    no_start: bool,
    /// Where functions, logs and the token are kept
    #[arg(long, default_value = "/var/lib/hearth", value_name = "FOLDER")]
    data_dir: PathBuf,
    /// Where API and dashboard listen
    #[arg(long, default_value = "127.0.0.1:7070", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Where functions are called over HTTP
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    ingress: SocketAddr,
    #[command(flatten)]
    place: Place,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct UninstallArgs {
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Remove the data and the settings too: functions, secrets, logs. There is no way back
    #[arg(long)]
    purge: bool,
    /// With --purge: where the data is
    #[arg(long, default_value = "/var/lib/hearth", value_name = "FOLDER")]
    data_dir: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The machine.
#[derive(Debug, Args)]
struct Place {
    /// Write below this folder instead of /, and neither make users nor talk to systemd: for images of machines
    #[arg(long, value_name = "FOLDER")]
    root: Option<PathBuf>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
enum Step {
    /// The program that runs now.
    Copy {
        from: PathBuf,
        to: PathBuf,
    },
    Write {
        to: PathBuf,
        mode: u32,
        text: String,
    },
    Run {
        command: Vec<String>,
    },
    Remove {
        path: PathBuf,
    },
    /// Nothing, and why.
    Keep {
        what: String,
    },
}

pub fn install(args: InstallArgs) -> anyhow::Result<ExitCode> {
    let place = &args.place;
    let absolute = |path: &Path| {
        let plain = path.is_absolute() && path.to_str().is_some_and(|text| !text.contains(['\n', '"', '%', '\\', ' ']));
        if plain {
            Ok(())
        } else {
            Err(Usage(format!("{} cannot be in a unit: expected an absolute path", path.display())))
        }
    };
    absolute(&args.data_dir)?;
    if args.listen == args.ingress {
        bail!(Usage(format!("--listen and --ingress are both {}: they must differ", args.listen)));
    }
    if args.data_dir == Path::new("/") || args.data_dir.starts_with("/proc") || args.data_dir.starts_with("/usr") {
        bail!(Usage(format!("{} is no place for data", args.data_dir.display())));
    }
    let mut steps = Vec::new();
    let program = std::env::current_exe().context("find this program")?;
    let target = place.at("/usr/local/bin/hearth");
    if same(&program, &target) {
        steps.push(Step::Keep { what: format!("{} is this program", target.display()) });
    } else {
        steps.push(Step::Copy { from: program, to: target });
    }
    if place.is_here() && !has_user() {
        let command =
            ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell"];
        steps.push(run(command.into_iter().chain(["/usr/sbin/nologin", USER])));
    }
    let settings = place.at("/etc/hearth/hearth.env");
    if settings.exists() {
        steps.push(Step::Keep { what: format!("{} stays as it is", settings.display()) });
    } else {
        let text = unit::settings(&args.data_dir, args.listen, args.ingress);
        // It may come to name files with keys; it is for root and the service.
        steps.push(Step::Write { to: settings, mode: 0o600, text });
    }
    steps.push(Step::Write { to: place.at("/etc/systemd/system").join(UNIT), mode: 0o644, text: unit::unit() });
    if place.is_here() && Path::new(RUNS).exists() {
        steps.push(run(["systemctl", "daemon-reload"]));
        steps.push(run(["systemctl", "enable", UNIT]));
        if !args.no_start {
            steps.push(run(["systemctl", "restart", UNIT]));
        }
    } else {
        steps.push(Step::Keep { what: "systemd does not run here: nothing is started".into() });
    }
    carry_out(&steps, args.dry_run, args.json, place)?;
    if !args.dry_run && !args.json {
        out::note(&format!(
            "settings: /etc/hearth/hearth.env; the token: {}/admin.token; logs: journalctl -u hearth",
            args.data_dir.display()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

pub fn uninstall(args: UninstallArgs) -> anyhow::Result<ExitCode> {
    let place = &args.place;
    let mut steps = Vec::new();
    let systemd = place.is_here() && Path::new(RUNS).exists();
    let unit = place.at("/etc/systemd/system").join(UNIT);
    if systemd && unit.exists() {
        // What it runs ends first: calls are finished, sandboxes gone.
        steps.push(run(["systemctl", "disable", "--now", UNIT]));
    }
    let mut gone = vec![unit, place.at("/usr/local/bin/hearth")];
    if args.purge {
        if !args.data_dir.join("catalogue.db").exists() && place.at_path(&args.data_dir).exists() && place.is_here() {
            bail!(Usage(format!("{} does not look like Hearth's data: say --data-dir", args.data_dir.display())));
        }
        gone.extend([place.at("/etc/hearth"), place.at_path(&args.data_dir)]);
    }
    for path in gone {
        if fs::symlink_metadata(&path).is_ok() {
            steps.push(Step::Remove { path });
        }
    }
    if systemd {
        steps.push(run(["systemctl", "daemon-reload"]));
    }
    if args.purge && place.is_here() && has_user() {
        steps.push(run(["userdel", USER]));
    }
    if !args.purge {
        let what = format!("{} and /etc/hearth stay: --purge removes them", args.data_dir.display());
        steps.push(Step::Keep { what });
    }
    carry_out(&steps, args.dry_run, args.json, place)?;
    Ok(ExitCode::SUCCESS)
}

fn carry_out(steps: &[Step], dry: bool, json: bool, place: &Place) -> anyhow::Result<()> {
    if !dry && place.is_here() && !rustix::process::geteuid().is_root() {
        bail!("this changes the machine: run it as root, or see what it would do with --dry-run");
    }
    for step in steps {
        if !json {
            step.tell(dry)?;
        }
        if !dry {
            step.go().with_context(|| step.subject())?;
        }
    }
    if json {
        out::json(&serde_json::json!({"dry_run": dry, "steps": steps}))?;
    }
    Ok(())
}

fn run<T: Into<String>>(command: impl IntoIterator<Item = T>) -> Step {
    Step::Run { command: command.into_iter().map(Into::into).collect() }
}

fn has_user() -> bool {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    passwd.lines().any(|line| line.split(':').next() == Some(USER))
}

/// Whether both are one file.
fn same(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    id(one).is_some_and(|found| Some(found) == id(other))
}

// === impl Place ===

impl Place {
    fn is_here(&self) -> bool {
        self.root.is_none()
    }

    fn at(&self, path: &str) -> PathBuf {
        self.at_path(Path::new(path))
    }

    fn at_path(&self, path: &Path) -> PathBuf {
        match &self.root {
            Some(root) => root.join(path.strip_prefix("/").unwrap_or(path)),
            None => path.to_owned(),
        }
    }
}

// === impl Step ===

impl Step {
    fn subject(&self) -> String {
        match self {
            Self::Copy { from, to } => format!("copy {} to {}", from.display(), to.display()),
            Self::Write { to, .. } => format!("write {}", to.display()),
            Self::Run { command } => command.join(" "),
            Self::Remove { path } => format!("remove {}", path.display()),
            Self::Keep { what } => what.clone(),
        }
    }

    fn tell(&self, whole: bool) -> io::Result<()> {
        out::line(&text::one_line(&self.subject()))?;
        match self {
            Self::Write { text, .. } if whole => text.lines().try_for_each(|line| out::line(&format!("    {line}"))),
            _ => Ok(()),
        }
    }

    fn go(&self) -> anyhow::Result<()> {
        match self {
            Self::Keep { .. } => Ok(()),
            Self::Copy { from, to } => put(to, 0o755, &mut File::open(from)?),
            Self::Write { to, mode, text } => put(to, *mode, &mut text.as_bytes()),
            Self::Remove { path } if fs::symlink_metadata(path)?.is_dir() => Ok(fs::remove_dir_all(path)?),
            Self::Remove { path } => Ok(fs::remove_file(path)?),
            Self::Run { command } => {
                let ran = Command::new(&command[0]).args(&command[1..]).output()?;
                if !ran.status.success() {
                    bail!("{}: {}", ran.status, String::from_utf8_lossy(&ran.stderr).trim());
                }
                Ok(())
            }
        }
    }
}

/// Writes a file whole, or leaves what was there: also a program that runs.
fn put(to: &Path, mode: u32, content: &mut dyn io::Read) -> anyhow::Result<()> {
    let folder = to.parent().context("it has no folder")?;
    fs::create_dir_all(folder)?;
    let mut name = to.file_name().context("it has no name")?.to_owned();
    name.push(".new");
    let beside = to.with_file_name(name);
    let mut file = File::options().write(true).create(true).truncate(true).mode(mode).open(&beside)?;
    io::copy(content, &mut file)?;
    // The umask may have taken from it.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.flush()?;
    file.sync_all()?;
    fs::rename(&beside, to)?;
    Ok(File::open(folder)?.sync_all()?)
}
