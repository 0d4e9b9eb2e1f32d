//! Installs what a folder asks for, `requirements.txt`, `package.json` or Java sources, beside it and never into it.
//!
//! The result is kept in the user's cache under the hash of everything it depends on, so that a redeploy is
//! quick. It is made in a folder of its own and moved to its place whole: a broken install leaves nothing.

mod java;

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use model::{Language, Runtime};
use sha2::{Digest, Sha256};

use super::progress::{Progress, Step};
use super::{Usage, out};

/// Kept installs that nobody used for so long are removed.
const KEPT: Duration = Duration::from_secs(30 * 86_400);

/// What to install and how.
pub struct Install<'a> {
    pub folder: &'a Path,
    pub runtime: &'a Runtime,
    /// Let packages run their own install scripts.
    pub scripts: bool,
    /// A Python package beside those that are asked for.
    pub beside: Option<&'static str>,
    /// Do not use what is kept.
    pub afresh: bool,
    pub progress: &'a Progress,
}

/// What was installed.
pub struct Installed {
    /// Holds the packages; their place in the package is `inside`.
    pub folder: PathBuf,
    pub inside: &'static str,
    /// Told to the user.
    pub note: String,
    /// Holds a folder that is not kept.
    _temporary: Option<Temporary>,
}

/// A folder that goes when it is dropped.
struct Temporary(PathBuf);

// === impl Install ===

impl Install<'_> {
    /// Installs, if the folder asks for anything.
    pub fn run(&self) -> anyhow::Result<Option<Installed>> {
        match self.runtime.language() {
            Language::Python => self.pip(),
            Language::Node => self.npm(),
            Language::Java => java::compile(self),
            Language::Image | Language::Native => Ok(None),
        }
    }

    fn pip(&self) -> anyhow::Result<Option<Installed>> {
        let list = self.folder.join("requirements.txt");
        let text = read_if_there(&list)?.unwrap_or_default();
        let wanted = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let wanted: Vec<&str> = wanted.collect();
        if wanted.is_empty() && self.beside.is_none() {
            return Ok(None);
        }
        // A line that refers to other files depends on more than its own text.
        let refers = |line: &&str| {
            line.starts_with(['-', '.', '/']) || line.contains("file:") || line.contains("git+") || line.contains("./")
        };
        let keep = !wanted.iter().any(refers);
        let python = Python::find(self.runtime)?;
        let mut key = [
            b"pip, compiled".as_slice(),
            self.runtime.to_string().as_bytes(),
            python.tag().as_bytes(),
            text.as_bytes(),
        ]
        .map(<[u8]>::to_vec)
        .to_vec();
        key.extend(self.beside.map(|beside| beside.as_bytes().to_vec()));
        let mut count = match (wanted.len(), self.beside) {
            (0, Some(beside)) => beside.to_owned(),
            (lines, _) => format!("{} of requirements.txt", plural(lines, "line")),
        };
        if let Some(beside) = self.beside.filter(|_| !wanted.is_empty()) {
            count = format!("{beside} and {count}");
        }
        self.kept(&key, keep, "", &count, |target, step| {
            let install = |binaries_only: bool| {
                let mut command = python.pip();
                command.arg("install").arg("--target").arg(target).args(["--no-compile", "--no-input"]);
                command.args(["--disable-pip-version-check", "--progress-bar", "off"]);
                if binaries_only {
                    command.args(["--only-binary", ":all:"]);
                }
                command.args(python.platform());
                if !wanted.is_empty() {
                    command.args(["-r", "requirements.txt"]);
                }
                command.args(self.beside).current_dir(self.folder);
                command.env("PIP_ROOT_USER_ACTION", "ignore");
                watch("pip", &mut command, step)
            };
            let (status, said) = install(true)?;
            // Wheels run nothing of the package's; building from source does, so only where there is no other way.
            let fallback = !status.success() && python.exact && no_wheel(&said);
            let (status, said) = if fallback {
                out::note("not all requirements come as wheels: building from source, which runs their own setup code");
                fs::remove_dir_all(target).ok();
                fs::create_dir_all(target)?;
                install(false)?
            } else {
                (status, said)
            };
            if !status.success() {
                bail!("pip could not install {count}:\n{said}");
            }
            // Launchers with this machine's interpreter in their first line: of no use in a function.
            fs::remove_dir_all(target.join("bin")).ok();
            if python.exact { python.compile(target, step) } else { Ok(()) }
        })
    }

    fn npm(&self) -> anyhow::Result<Option<Installed>> {
        let Some(package) = read_if_there(&self.folder.join("package.json"))? else { return Ok(None) };
        let parsed: serde_json::Value =
            serde_json::from_str(&package).map_err(|error| Usage(format!("package.json: {error}")))?;
        let of = |key: &str| parsed.get(key).and_then(|value| value.as_object()).into_iter().flatten();
        let wanted: Vec<_> = of("dependencies").chain(of("optionalDependencies")).collect();
        if wanted.is_empty() {
            return Ok(None);
        }
        let local = |value: &serde_json::Value| {
            let value = value.as_str().unwrap_or_default();
            ["file:", "link:", "workspace:", "./", "../", "/"].iter().any(|start| value.starts_with(start))
        };
        if let Some((name, _)) = wanted.iter().find(|(_, value)| local(value)) {
            let message = format!(
                "package.json: {name} is a local folder: run `npm install` yourself and deploy with --no-install"
            );
            return Err(Usage(message).into());
        }
        let lists = ["package.json", "package-lock.json", "npm-shrinkwrap.json", ".npmrc"];
        let mut key = vec![b"npm".to_vec(), self.runtime.to_string().into(), vec![u8::from(self.scripts)]];
        let mut copies = Vec::new();
        for list in lists {
            if let Some(text) = read_if_there(&self.folder.join(list))? {
                key.push(format!("{list}\0{text}").into());
                copies.push((list, text));
            }
        }
        let locked = copies.iter().any(|(list, _)| list.ends_with("lock.json") || list.ends_with("shrinkwrap.json"));
        let count = format!("{} of package.json", plural(wanted.len(), "dependency"));
        self.kept(&key, true, "node_modules", &count, |target, step| {
            for (list, text) in &copies {
                fs::write(target.join(list), text)?;
            }
            let mut command = Command::new("npm");
            command.arg(if locked { "ci" } else { "install" });
            command.args(["--omit=dev", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]);
            if !self.scripts {
                // A package's install script is anybody's code with the developer's rights.
                command.arg("--ignore-scripts");
            }
            let (status, said) = watch("npm", command.current_dir(target), step)
                .context("npm is needed for package.json: install it, or deploy with --no-install")?;
            if !status.success() {
                bail!("npm could not install package.json's dependencies:\n{said}");
            }
            for (list, _) in &copies {
                fs::remove_file(target.join(list)).ok();
            }
            fs::remove_file(target.join("package-lock.json")).ok();
            fs::remove_file(target.join("node_modules/.package-lock.json")).ok();
            // npm makes none where everything was optional and nothing fits.
            fs::create_dir_all(target.join("node_modules"))?;
            Ok(())
        })
        .map(|installed| {
            installed.map(|mut installed| {
                installed.folder.push("node_modules");
                if !self.scripts {
                    installed.note.push_str(", without their install scripts (--install-scripts runs them)");
                }
                installed
            })
        })
    }

    /// Takes what is kept under `key`, or makes it.
    fn kept(
        &self,
        key: &[Vec<u8>],
        keep: bool,
        inside: &'static str,
        what: &str,
        make: impl FnOnce(&Path, &Step) -> anyhow::Result<()>,
    ) -> anyhow::Result<Option<Installed>> {
        let mut hash = Sha256::new();
        for part in key {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let digest: [u8; 32] = hash.finalize().into();
        let shelf = cache_folder();
        fs::create_dir_all(&shelf).with_context(|| format!("making {}", shelf.display()))?;
        let place = shelf.join(model::CodeHash::from_digest(&digest).as_str());
        if keep && !self.afresh && place.is_dir() {
            // Used again: the sweep counts from now.
            let _ = File::open(&place).and_then(|folder| folder.set_modified(SystemTime::now()));
            let note = format!("{what} installed before (--reinstall does it again)");
            return Ok(Some(Installed { folder: place, inside, note, _temporary: None }));
        }
        sweep(&shelf);
        let temporary = Temporary(shelf.join(format!(".making-{}-{}", std::process::id(), &place_name(&place)[..12])));
        fs::create_dir_all(&temporary.0)?;
        let step = self.progress.step(&format!("installing {what}"));
        make(&temporary.0, &step)?;
        drop(step);
        let note = format!("{what} installed");
        if !keep {
            let folder = temporary.0.clone();
            return Ok(Some(Installed { folder, inside, note, _temporary: Some(temporary) }));
        }
        fs::remove_dir_all(&place).ok();
        // Another deploy may have been first; its install is as good as ours.
        if let Err(error) = fs::rename(&temporary.0, &place)
            && !place.is_dir()
        {
            return Err(error).with_context(|| format!("keeping {}", place.display()));
        }
        Ok(Some(Installed { folder: place, inside, note, _temporary: None }))
    }
}

/// An interpreter that has pip.
struct Python {
    program: PathBuf,
    version: String,
    /// Whether it is the runtime's own version; otherwise pip is told to install for that.
    exact: bool,
}

// === impl Python ===

impl Python {
    fn find(runtime: &Runtime) -> anyhow::Result<Self> {
        let version = runtime.version();
        let own = [format!("/usr/bin/python{version}"), format!("python{version}")];
        let candidates = own.iter().map(|program| (program.as_str(), true)).chain([("python3", false)]);
        for (program, exact) in candidates {
            let ran = Command::new(program)
                .args(["-m", "pip", "--version"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            if ran.is_ok_and(|status| status.success()) {
                return Ok(Self { program: program.into(), version: version.to_owned(), exact });
            }
        }
        bail!(
            "requirements.txt asks for packages, and no pip was found: install it (Debian: apt install python3-pip), \
             or install them yourself with `pip install --target FOLDER` and deploy with --no-install"
        )
    }

    fn pip(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["-m", "pip"]);
        command
    }

    /// Compiles all there is, so that no cold start has to: an instance can keep nothing of what it compiles. A source that
    /// changes is compiled anew, for what comes of it bears its hash (PEP 552), and where the same is installed twice, the
    /// same comes of it.
    fn compile(&self, folder: &Path, step: &Step) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        command.args(["-m", "compileall", "-q", "-f", "-j", "0", "--invalidation-mode", "checked-hash"]);
        command.arg("-s").arg(folder).args(["-p", engine::TASK_ROOT]).arg(folder).env("PYTHONHASHSEED", "0");
        // It fails when one file is not of this version of the language, of which there are some in large packages: they
        // fail when they are imported, as ever.
        watch("compileall", &mut command, step)?;
        Ok(())
    }

    /// For another version than its own, only wheels can be had.
    fn platform(&self) -> Vec<&str> {
        if self.exact { vec![] } else { vec!["--python-version", &self.version, "--implementation", "cp"] }
    }

    fn tag(&self) -> String {
        format!("{} {}", std::env::consts::ARCH, if self.exact { "own" } else { "other" })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn no_wheel(said: &str) -> bool {
    said.contains("No matching distribution") || said.contains("Could not find a version")
}

/// Runs a tool and shows its last line; returns its last lines for an error.
fn watch(name: &str, command: &mut Command, step: &Step) -> anyhow::Result<(ExitStatus, String)> {
    let (reader, writer) = std::io::pipe()?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()
        .with_context(|| format!("starting {name}"))?;
    // The command holds the pipe's other end; without this the reading would never end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut last = VecDeque::new();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.by_ref().take(64 * 1024).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        step.now(&format!("{name}: {text}"));
        last.push_back(text);
        if last.len() > 30 {
            last.pop_front();
        }
    }
    Ok((child.wait()?, last.make_contiguous().join("\n")))
}

fn read_if_there(path: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

/// By the XDG specification; without a home, in the folder for temporary files.
fn cache_folder() -> PathBuf {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    let user = rustix::process::geteuid().as_raw();
    match cache {
        Some(cache) => cache.join("hearth/installed"),
        None => std::env::temp_dir().join(format!("hearth-{user}/installed")),
    }
}

/// Removes what was not used for long, and what a broken-off deploy left.
fn sweep(shelf: &Path) {
    for entry in fs::read_dir(shelf).into_iter().flatten().flatten() {
        let age = entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|time| time.elapsed().ok());
        let making = entry.file_name().to_string_lossy().starts_with(".making-");
        let limit = if making { Duration::from_secs(86_400) } else { KEPT };
        if age.is_some_and(|age| age > limit) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn place_name(place: &Path) -> String {
    place.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn plural(count: usize, of: &str) -> String {
    match (count, of.strip_suffix('y')) {
        (1, _) => format!("1 {of}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        _ => format!("{count} {of}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(files: &[(&str, &str)], runtime: &str) -> anyhow::Result<Option<Installed>> {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            super::super::pack::write(folder.path(), path, text);
        }
        let runtime = runtime.parse().unwrap();
        let progress = Progress::new(true);
        Install {
            folder: folder.path(),
            runtime: &runtime,
            scripts: false,
            beside: None,
            afresh: false,
            progress: &progress,
        }
        .run()
    }

    #[test]
    fn a_folder_that_asks_for_nothing_gets_nothing() {
        assert!(install(&[("app.py", "")], "python3.11").unwrap().is_none());
        assert!(install(&[("requirements.txt", "# none\n\n")], "python3.11").unwrap().is_none());
        assert!(install(&[("package.json", r#"{"devDependencies":{"x":"1"}}"#)], "nodejs20.x").unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_installed_apart_is_refused_with_a_way_out() {
        let refused = |text| install(&[("package.json", text)], "nodejs20.x").err().unwrap().to_string();
        assert!(refused(r#"{"dependencies":{"mine":"file:../mine"}}"#).contains("--no-install"));
        assert!(refused("{").contains("package.json"));
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(plural(1, "dependency"), "1 dependency");
        assert_eq!(plural(2, "dependency"), "2 dependencies");
        assert_eq!(plural(3, "line"), "3 lines");
    }
}
