//! What a save causes: look, check, deploy, tell.
//!
//! ```text
//! changed ─► look ─(nothing is different)─► wait
//!              └──► check ─(cannot be parsed)─► told; the old revision goes on answering
//!                     └──► deploy ─(refused)──► told; the old revision goes on answering
//!                            └──► told; the next call is answered by the new one
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

use control::{FunctionView, FunctionWrite};
use model::{FunctionName, Language, Runtime};

use super::check::{Checker, Wrong};
use super::screen::Screen;
use crate::cli::client::{Client, ClientError};
use crate::cli::deploy::{DeployArgs, Source};
use crate::cli::pack::{Contents, Packer, Stamp, State};
use crate::cli::progress::Progress;
use crate::cli::text;

/// Not in the package, and yet what a deploy depends on.
const BESIDE: [&str; 3] = ["hearth.toml", ".hearthignore", ".npmrc"];

/// Deploys what changed.
pub struct Redeploy {
    pub args: Arc<DeployArgs>,
    pub client: Arc<Client>,
    pub name: FunctionName,
    pub screen: Screen,
    /// Whether files are parsed before they are deployed.
    pub checks: bool,
    /// Hears of each function that was deployed.
    pub tells: Option<Sender<FunctionView>>,
    packer: Packer,
    /// The files when they were last looked at; none before.
    files: Option<BTreeMap<String, State>>,
    /// What changed since the last deploy that succeeded.
    changed: BTreeSet<String>,
    /// The revision that answers.
    answering: Option<FunctionView>,
    told: BTreeSet<String>,
}

/// What came of a look.
#[derive(Debug, PartialEq, Eq)]
pub enum Look {
    /// All is deployed, or waits for the next save.
    Done,
    /// It may succeed without a change: Hearth is away, or the folder is.
    Again,
}

// === impl Redeploy ===

impl Redeploy {
    pub fn new(
        args: Arc<DeployArgs>,
        client: Arc<Client>,
        name: FunctionName,
        screen: Screen,
        checks: bool,
        answering: Option<FunctionView>,
    ) -> Self {
        let (packer, changed, told) = (Packer::default(), BTreeSet::new(), BTreeSet::new());
        Self { args, client, name, screen, checks, tells: None, packer, files: None, changed, answering, told }
    }

    /// Looks at the files and deploys them if they are others than before, or if the last try is to be repeated. An
    /// error comes back only where nobody can be told.
    pub fn look(&mut self, retry: bool) -> anyhow::Result<Look> {
        let started = Instant::now();
        let first = self.files.is_none();
        let files = match files(&self.args.path) {
            Ok(files) => files,
            Err(error) => {
                if !retry {
                    self.failed(&error)?;
                }
                return Ok(Look::Again);
            }
        };
        let before = self.files.replace(files);
        let files = self.files.get_or_insert_default();
        let different = different(&before.unwrap_or_default(), files);
        if different.is_empty() && !first && !retry {
            return Ok(Look::Done);
        }
        self.changed.extend(different);
        match self.deploy(first) {
            Ok(function) => {
                let what: Vec<String> = std::mem::take(&mut self.changed).into_iter().collect();
                let what = if first { Vec::new() } else { what };
                self.screen.deployed(self.name.as_str(), function.revision, &what, started.elapsed())?;
                if self.answering.as_ref().is_none_or(|before| first || before.invoke_url != function.invoke_url) {
                    self.screen.url(function.invoke_url.as_deref(), self.name.as_str())?;
                }
                // Who hears is there as long as this is.
                if let Some(tells) = &self.tells {
                    drop(tells.send(function.clone()));
                }
                self.answering = Some(function);
                Ok(Look::Done)
            }
            Err(error) => {
                let gone = |cause: &(dyn std::error::Error + 'static)| {
                    cause.downcast_ref::<ClientError>().is_some_and(ClientError::no_hearth)
                };
                let away = error.chain().any(gone);
                // What was told is not told each second anew.
                if !(retry && away) {
                    self.failed(&error)?;
                }
                Ok(if away { Look::Again } else { Look::Done })
            }
        }
    }

    fn failed(&self, error: &anyhow::Error) -> anyhow::Result<()> {
        let what: Vec<String> = self.changed.iter().cloned().collect();
        let answering = self.answering.as_ref().map(|function| function.revision);
        self.screen.failed(self.name.as_str(), &what, &text::block(&format!("{error:#}")), answering)
    }

    fn deploy(&mut self, first: bool) -> anyhow::Result<FunctionView> {
        let source = Source::of(&self.args.path)?;
        let (name, write) = self.args.wanted(&source)?;
        if name != self.name {
            anyhow::bail!("the function is named {name} now, and {} is watched: start hearth dev again", self.name);
        }
        if self.checks {
            self.check(&write, &source)?;
        }
        let told = std::cell::RefCell::new(std::mem::take(&mut self.told));
        let screen = self.screen;
        let tell = |_: &FunctionName, remark: &str| {
            // The same remarks hold at every save.
            if told.borrow_mut().insert(remark.to_owned()) {
                let _ = screen.note(remark);
            }
        };
        // Long work is told of by its own remarks; the terminal is the log's.
        let progress = Progress::new(!first || self.args.json);
        let done = self.args.once(&self.client, &progress, &mut self.packer, &tell);
        self.told = told.into_inner();
        Ok(done?.function)
    }

    /// Refuses files that cannot be parsed. Those of before are not parsed again: they are deployed.
    fn check(&mut self, write: &FunctionWrite, source: &Source) -> anyhow::Result<()> {
        let in_image = match &write.image {
            Some(image) => image.is_some(),
            None => self.answering.as_ref().is_some_and(|function| function.image.is_some()),
        };
        let runtime = write.runtime.clone().or_else(|| self.answering.as_ref()?.runtime.parse().ok());
        let folder = match source {
            _ if in_image => return self.unchecked("an image has an interpreter of its own"),
            Source::Zip(_) | Source::Jar(_) | Source::Program(_) => return Ok(()),
            Source::Folder(folder) => folder.clone(),
            Source::File(path) => parent(path),
        };
        let python = self.changed.iter().any(|path| path.ends_with(".py"));
        // Before it is known: what the files will be taken for.
        let runtime = runtime.unwrap_or_else(|| if python { Runtime::python("3") } else { Runtime::node("") });
        if !matches!(runtime.language(), Language::Python | Language::Node) {
            return Ok(());
        }
        let Some(checker) = Checker::of(&runtime) else {
            return self.unchecked(&format!("{runtime} is not on this machine"));
        };
        let there = |path: &&String| self.files.as_ref().is_some_and(|files| files.contains_key(*path));
        let paths: Vec<&str> = self.changed.iter().filter(there).map(String::as_str).collect();
        let paths: Vec<&str> = paths.into_iter().filter(|path| checker.reads(path)).collect();
        if paths.is_empty() {
            return Ok(());
        }
        match checker.check(&folder, &paths) {
            Ok(wrong) if wrong.is_empty() => Ok(()),
            Ok(wrong) => Err(anyhow::anyhow!("{}", wrong.iter().map(shown).collect::<Vec<_>>().join("\n"))),
            Err(why) => self.unchecked(&why),
        }
    }

    fn unchecked(&mut self, why: &str) -> anyhow::Result<()> {
        if self.told.insert(why.to_owned()) {
            self.screen.note(&format!("files are not checked before they are deployed: {why}"))?;
        }
        Ok(())
    }
}

fn shown(wrong: &Wrong) -> String {
    let at = wrong.line.map(|line| format!(":{line}")).unwrap_or_default();
    format!("{}{at}: {}", wrong.path, wrong.message)
}

fn parent(path: &Path) -> PathBuf {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

/// Everything that a deploy depends on, as it is now.
fn files(path: &Path) -> anyhow::Result<BTreeMap<String, State>> {
    let folder = match Source::of(path)? {
        Source::Folder(folder) => folder,
        Source::Zip(path) | Source::Jar(path) | Source::File(path) | Source::Program(path) => {
            return Ok(Contents::of_file(&path)?.state());
        }
    };
    let mut files = Contents::of_folder(&folder, &[])?.state();
    for name in BESIDE {
        if let Ok(meta) = fs::metadata(folder.join(name)) {
            files.insert(name.to_owned(), State::File(false, Stamp::of(&meta)));
        }
    }
    Ok(files)
}

/// Which files were changed, added or removed.
fn different(before: &BTreeMap<String, State>, now: &BTreeMap<String, State>) -> Vec<String> {
    let new = now.iter().filter(|(path, state)| before.get(*path) != Some(state)).map(|(path, _)| path);
    let gone = before.keys().filter(|path| !now.contains_key(*path));
    new.chain(gone).cloned().collect()
}
