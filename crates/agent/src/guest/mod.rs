//! `hearth-agent guest`: what a sandbox runs where the function is a program that speaks no `wire`. It speaks `wire`
//! outwards, on the descriptors of `docs/wire.md`, and to the program what that understands.
//!
//! ```text
//! HELLO ─► INIT ─► mode  runtime: the program asks for events on 127.0.0.1:9001   READY at its first question
//!                        web:     sockets of the host's are joined with its own    READY when it listens
//!                        command: it is run for each event                         READY at once
//!
//! extensions of a `runtime` are its own programs beside it: see `extensions`
//! ```
//!
//! When the program ends, the agent ends as it did, so that the host sees the program's own end. When the host closes
//! the control stream, it exits.

mod base64;
mod child;
mod command;
mod connect;
mod extension_api;
mod extensions;
mod host;
mod http;
mod ready;
mod runtime_api;
mod tunnel;
mod web;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use host::Host;
use wire::Mode;

pub fn main() -> ExitCode {
    match run() {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("hearth: the agent failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Ends the agent, whichever thread finds that it is to end.
#[allow(clippy::disallowed_methods, reason = "no destructor here holds more than this process does")]
fn end(code: i32) -> ! {
    std::process::exit(code)
}

/// A random UUID.
fn random_id() -> String {
    let mut bytes = [0u8; 16];
    // SAFETY: writes as many bytes as there are. The kernel has them from the start of the sandbox on.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    assert_eq!(got, 16, "the kernel gives random bytes");
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Nothing comes back but what went wrong between agent and host.
fn run() -> io::Result<std::convert::Infallible> {
    let (host, invokes) = Host::inherit()?;
    let host = Arc::new(host);
    host.hello("provided")?;
    let init = host.init()?;
    if let Err(error) = std::env::set_current_dir(&init.task_root) {
        return Err(io::Error::new(error.kind(), format!("entering {}: {error}", init.task_root)));
    }
    let run = init.run.clone();
    let run = run.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "INIT does not say what to run"))?;
    match run.mode {
        Mode::Runtime => runtime_api::serve(host, invokes, &init, &run),
        Mode::Web => web::serve(host, invokes, &init, &run),
        Mode::Command => command::serve(host, invokes, &init, &run),
    }
}
