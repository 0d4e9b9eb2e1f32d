//! Hearth: one program. `hearth up` is the spawner, which starts the same program as the server and as the holder of
//! Docker's socket; everything else is a client of the server's API.

#![forbid(unsafe_code)]

mod backup;
mod bootstraps;
mod callers;
mod chosen_key;
mod cli;
mod compare;
mod confine;
mod dashboard;
mod docker_host;
mod doors;
mod events;
mod images;
mod java;
mod javac;
mod keys;
mod mounts;
mod platform;
mod process;
mod runtimes;
mod sampling;
mod server;
mod simulate;
mod succession;
mod up;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let result = match cli::Cli::parse().command {
        cli::Command::Up(args) => {
            log_to_stderr();
            up::run(*args)
        }
        cli::Command::Server(args) => {
            log_to_stderr();
            Ok(run_server(&args.config))
        }
        cli::Command::DockerHost(args) => {
            log_to_stderr();
            run_docker_host(&args.config)
        }
        cli::Command::Client(command) => cli::run(*command),
    };
    result.unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "hearth: {error:#}");
        ExitCode::FAILURE
    })
}

fn run_server(config: &str) -> ExitCode {
    let started = || {
        let config = serde_json::from_str(config).context("read the server's configuration")?;
        let socket = spawner::Client::inherited_socket(spawner::SPAWNER_FD)?;
        let docker = spawner::Client::inherited_socket(spawner::HELPER_FD)?;
        server::run(config, socket, docker)
    };
    started().unwrap_or_else(|error: anyhow::Error| {
        let _ = writeln!(std::io::stderr(), "hearth: {error:#}");
        ExitCode::from(spawner::CANNOT_START as u8)
    })
}

fn run_docker_host(config: &str) -> anyhow::Result<ExitCode> {
    let options = serde_json::from_str(config).context("read the Docker host's configuration")?;
    let socket = spawner::Client::inherited_socket(spawner::SPAWNER_FD)?;
    docker_host::run(options, socket)
}

/// Hearth's own log; `HEARTH_LOG` takes tracing's filters, like `debug` or `engine=trace`.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("HEARTH_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let ansi = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ansi)
        // A log that cannot be written must not end Hearth: telling so on stderr would panic.
        .log_internal_errors(false)
        .init();
}
