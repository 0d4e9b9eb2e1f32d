//! `hearth docker-host`: the helper process that holds Docker's socket. config → drivers → serve the server → remove
//! what is left.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

/// `DOCKER_HOST` where it names a socket of this machine, as for Docker's own tools.
pub fn socket() -> PathBuf {
    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
    PathBuf::from(host.strip_prefix("unix://").unwrap_or(docker::SOCKET))
}

/// Runs until the server at the other end of `socket` is gone, or it is told to end.
pub fn run(options: docker::Options, socket: OwnedFd) -> anyhow::Result<ExitCode> {
    // One thread: it waits, for Docker mostly.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let docker = docker::Docker::open(options).await;
        let served = tokio::select! {
            served = spawner::serve(socket, docker.drivers()) => served,
            _ = terminate.recv() => Ok(()),
        };
        // Every handle went with what served, and every start is on its way to nobody: containers are being removed.
        docker.close().await;
        served.context("serve the server")?;
        Ok(ExitCode::SUCCESS)
    })
}
