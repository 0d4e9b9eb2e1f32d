//! `hearth dev`: deploys a folder at every save, and shows what the function writes and how its calls go.
//!
//! ```text
//! find a Hearth, or start one ─► deploy ─► ┬ a thread waits for saves ─► redeploy     (redeploy.rs)
//!                                          ├ a thread shows log and calls             (calls.rs)
//!                                          └ this one waits: Ctrl-C, SIGTERM, or a Hearth of its own that ended
//!                                                └─► remove the function (--rm), end its own Hearth
//! ```
//!
//! With --debug a thread more carries connections to a port here into the newest instance (debug.rs).
//!
//! What runs is what runs in production: each save is a deploy, made by the code of `hearth deploy`.

mod calls;
mod check;
mod debug;
mod own;
mod redeploy;
mod screen;
mod watch;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;

use anyhow::Context;
use clap::Args;
use control::{FunctionView, FunctionWrite};
use model::FunctionName;
use tokio::signal::unix::{SignalKind, signal};
use ureq::http::Method;

use super::Usage;
use super::client::Client;
use super::deploy::{Debugger, DeployArgs, Source};
use own::Own;
use redeploy::{Look, Redeploy};
use screen::Screen;
use watch::Watch;

#[derive(Debug, Args)]
pub struct DevArgs {
    #[command(flatten)]
    deploy: DeployArgs,
    /// Remove the function at the end, where it would stay on a Hearth that goes on running
    #[arg(long)]
    rm: bool,
    /// Deploy what cannot be parsed, too
    #[arg(long)]
    no_check: bool,
    /// Let a debugger attach: debugpy to Python, the inspector to Node, JDWP to Java [default ports: 5678, 9229, 5005]
    #[arg(long, value_name = "PORT", num_args = 0..=1, require_equals = true, default_missing_value = "0")]
    debug: Option<u16>,
}

/// How often it was asked to end.
type Asked = Arc<AtomicU32>;

/// Why it ends.
enum End {
    Asked,
    /// Its own Hearth is gone.
    NoHearth,
    Failed(anyhow::Error),
}

// === impl DevArgs ===

impl DevArgs {
    pub fn json(&self) -> bool {
        self.deploy.json
    }
}

pub fn run(args: DevArgs) -> anyhow::Result<ExitCode> {
    let DevArgs { mut deploy, rm, no_check, debug } = args;
    deploy.debugger = debug.map(|_| Debugger);
    if deploy.canary.wanted() {
        // The second save would find the first one's still running.
        return Err(
            Usage("--canary is for `hearth deploy`: under `hearth dev` every save gets all calls".into()).into()
        );
    }
    let screen = Screen::new(deploy.json);
    let source = Source::of(&deploy.path)?;
    // Before anything is started: what is wrong with the manifest at the start is wrong with the command line.
    let (name, wanted) = deploy.wanted(&source)?;
    let watch = match &source {
        Source::Folder(folder) => Watch::of_folder(folder)?,
        Source::Zip(path) | Source::Jar(path) | Source::File(path) | Source::Program(path) => Watch::of_file(path)?,
    };
    let (sender, ends) = mpsc::channel();
    let asked = listen(sender.clone())?;

    let (client, own) = hearth(&deploy, &sender, &asked)?;
    let client = Arc::new(client);
    let data_dir = own.as_ref().map(|own| own.data_dir.display().to_string());
    let folder = std::path::absolute(&deploy.path).unwrap_or_else(|_| deploy.path.clone());
    screen.ready(&folder.display().to_string(), client.endpoint(), data_dir.as_deref())?;

    let before = client.get_if_there::<FunctionView>(&format!("/api/v1/functions/{name}"))?;
    let start = calls::Start::now(&client, &name)?;
    let lasting = own.is_none() && !rm;
    let undo = debug.filter(|_| lasting).map(|_| Debugger.undo(&wanted, before.as_ref())).transpose()?;
    let (attach, of) = (client.clone(), name.clone());
    let deployed = debug.map(|port| {
        let (tell, deployed) = mpsc::channel();
        spawn(&sender, move || debug::serve(port, &attach, &of, &folder, screen, &deployed));
        tell
    });
    let mut save = Redeploy::new(Arc::new(deploy), client.clone(), name.clone(), screen, !no_check, before);
    save.tells = deployed;
    spawn(&sender, move || saves(save, &watch));
    let (shown, of) = (client.clone(), name.clone());
    spawn(&sender, move || start.show(&shown, &of, screen));

    let end = ends.recv().unwrap_or(End::Asked);
    finish(end, rm, &client, &name, own, undo, screen)
}

/// The Hearth that answers, or one of its own where none does.
fn hearth(deploy: &DeployArgs, sender: &Sender<End>, asked: &Asked) -> anyhow::Result<(Client, Option<Own>)> {
    let client = Client::new(&deploy.connect)?;
    let named = deploy.connect.endpoint.as_deref().is_some_and(|endpoint| !endpoint.is_empty());
    match client.answers() {
        Ok(()) => Ok((client, None)),
        // One that was named is not replaced by another.
        Err(error) if named || !error.unreachable() => Err(error.into()),
        Err(_) => {
            let sender = sender.clone();
            let ended = move || drop(sender.send(End::NoHearth));
            let (own, client) = Own::start(deploy.connect.data_dir.as_deref(), asked.clone(), ended)?;
            Ok((client, Some(own)))
        }
    }
}

fn saves(mut save: Redeploy, watch: &Watch) -> anyhow::Result<()> {
    let mut look = save.look(false)?;
    loop {
        let again = look == Look::Again;
        watch.changed(again)?;
        look = save.look(again)?;
    }
}

/// Runs a part whose end is everyone's end.
fn spawn(sender: &Sender<End>, part: impl FnOnce() -> anyhow::Result<()> + Send + 'static) {
    let sender = sender.clone();
    thread::spawn(move || drop(sender.send(part().map_or_else(End::Failed, |()| End::Asked))));
}

/// Hears Ctrl-C, SIGTERM and a terminal that goes, and counts them: after the second nothing is waited for.
fn listen(sender: Sender<End>) -> anyhow::Result<Asked> {
    let asked = Asked::default();
    let count = asked.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().context("hear signals")?;
    let enter = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    drop(enter);
    thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hang_up.recv() => {}
                }
                count.fetch_add(1, Ordering::Relaxed);
                let _ = sender.send(End::Asked);
            }
        });
    });
    Ok(asked)
}

fn finish(
    end: End,
    rm: bool,
    client: &Client,
    name: &FunctionName,
    own: Option<Own>,
    undo: Option<FunctionWrite>,
    screen: Screen,
) -> anyhow::Result<ExitCode> {
    match end {
        End::Failed(error) => return Err(error),
        End::NoHearth => anyhow::bail!("the Hearth that was started has ended; its message is above"),
        End::Asked => {}
    }
    match own {
        Some(own) => {
            screen.note("ending the Hearth of its own")?;
            drop(own);
        }
        None if rm => {
            client.delete(&format!("/api/v1/functions/{name}"))?;
            screen.note(&format!("removed {name}"))?;
        }
        None if undo.is_some() => {
            // Saves may be under way still; what a debugger needs is taken back in any case.
            let function: FunctionView = client.write(Method::PATCH, &format!("/api/v1/functions/{name}"), &undo)?;
            screen.note(&format!(
                "{name} stays, without its debugger, as revision {}; `hearth rm {name}` removes it",
                function.revision
            ))?;
        }
        None => screen.note(&format!("{name} stays as it was deployed last; `hearth rm {name}` removes it"))?,
    }
    Ok(ExitCode::SUCCESS)
}
