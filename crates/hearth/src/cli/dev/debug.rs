//! Carries connections to a port of this machine to the debugger in the function's newest instance.

use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use control::{FunctionView, InstanceList};
use model::{FunctionName, Language, Runtime};

use super::screen::Screen;
use crate::cli::client::{Client, ClientError};
use crate::cli::deploy::Debugger;

/// How long a connection waits for an instance that listens: one is being made after each save.
const WITHIN: Duration = Duration::from_secs(20);
const AGAIN: Duration = Duration::from_millis(100);
/// Connections at once; a debugger has one, an inspector a few.
const MOST: usize = 16;

/// Waits for the first deploy, then serves for as long as this program runs. `port` 0: the runtime's usual one.
pub fn serve(
    port: u16,
    client: &Arc<Client>,
    name: &FunctionName,
    folder: &Path,
    screen: Screen,
    deployed: &Receiver<FunctionView>,
) -> anyhow::Result<()> {
    let Ok(function) = deployed.recv() else { return Ok(()) };
    let runtime: Runtime = function.runtime.parse()?;
    let inside = Debugger::port(&runtime).with_context(|| format!("there is no debugger for {runtime}"))?;
    let port = if port == 0 { inside } else { port };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("port {port} of this machine is not free: choose another with --debug=PORT"))?;
    screen.debugger(name.as_str(), port, &how(&runtime, port, folder))?;
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let (stream, _) = listener.accept().context("take a debugger's connection")?;
        if open.load(Ordering::Relaxed) >= MOST {
            continue;
        }
        open.fetch_add(1, Ordering::Relaxed);
        let (client, name, open) = (client.clone(), name.clone(), open.clone());
        // Ends when either side closes, or with this program.
        thread::spawn(move || {
            let carried = reach(&client, &name, inside).map(|inside| carry(stream, inside));
            if let Err(error) = carried {
                let _ = screen.note(&format!("a debugger could not be connected: {error}"));
            }
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// What to tell an editor.
fn how(runtime: &Runtime, port: u16, folder: &Path) -> String {
    let folder = serde_json::Value::from(folder.display().to_string());
    match runtime.language() {
        Language::Python => format!(
            "attach with debugpy; in VS Code's launch.json:\n{{ \"type\": \"debugpy\", \"request\": \"attach\", \"name\": \"hearth\", \
             \"connect\": {{ \"host\": \"127.0.0.1\", \"port\": {port} }}, \
             \"pathMappings\": [{{ \"localRoot\": {folder}, \"remoteRoot\": \"/var/task\" }}] }}"
        ),
        Language::Java => format!(
            "attach with jdb -attach 127.0.0.1:{port}; in VS Code's launch.json:\n{{ \"type\": \"java\", \"request\": \"attach\", \
             \"name\": \"hearth\", \"hostName\": \"127.0.0.1\", \"port\": {port} }}"
        ),
        _ => format!(
            "attach with chrome://inspect; in VS Code's launch.json:\n{{ \"type\": \"node\", \"request\": \"attach\", \"name\": \
             \"hearth\", \"port\": {port}, \"restart\": true, \"localRoot\": {folder}, \"remoteRoot\": \"/var/task\" }}"
        ),
    }
}

/// A connection to the debugger in the newest instance, once there is one that listens.
fn reach(client: &Client, name: &FunctionName, port: u16) -> Result<TcpStream, ClientError> {
    let until = Instant::now() + WITHIN;
    loop {
        let InstanceList { instances, .. } = client.get(&format!("/api/v1/instances?function={name}"))?;
        let newest = instances.iter().max_by(|a, b| (a.revision, &a.started).cmp(&(b.revision, &b.started)));
        let tried = newest.map(|one| client.attach(&one.instance, port));
        match tried {
            Some(Ok(stream)) => return Ok(stream),
            // It is on its way, or on its way out.
            Some(Err(ClientError::Refused { status: 404 | 409, .. })) | None if Instant::now() < until => {}
            Some(Err(error)) => return Err(error),
            None => {
                let message = format!("there is no instance of {name}, after {} s", WITHIN.as_secs());
                return Err(ClientError::Refused { status: 404, code: None, message });
            }
        }
        thread::sleep(AGAIN);
    }
}

fn carry(outside: TcpStream, inside: TcpStream) {
    let one_way = |mut from: TcpStream, mut to: TcpStream| {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
        let _ = from.shutdown(Shutdown::Read);
    };
    let (Ok(back_from), Ok(back_to)) = (inside.try_clone(), outside.try_clone()) else { return };
    let back = thread::spawn(move || one_way(back_from, back_to));
    one_way(outside, inside);
    let _ = back.join();
}
