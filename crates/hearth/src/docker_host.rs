//! `hearth docker-host`: the helper process that holds Docker's socket. config → driver → serve the server → remove
//! what is left.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

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
        let driver = Arc::new(docker::Docker::open(options).await);
        tokio::select! {
            served = spawner::serve(socket, driver.clone()) => served.context("serve the server")?,
            _ = terminate.recv() => {}
        }
        // Every handle went with what served: its containers are being removed.
        if let Some(driver) = Arc::into_inner(driver) {
            driver.close().await;
        }
        Ok(ExitCode::SUCCESS)
    })
}
