//! Builds the fork server's library, so that it can be carried in this crate: `cargo build` of Hearth stays one command.
//!
//! A Cargo of its own, with a target folder of its own: the library is small only when it is built for that, and must
//! not be built while the rest of Hearth is.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs, io};

/// What Cargo tells a build script about the build around it, and the inner one must not take for its own.
const OUTER: [&str; 6] = [
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_TARGET",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
];

/// What is in it.
const PARTS: [&str; 7] = [
    "crates/fork-server",
    "crates/drivers/namespace/src",
    "crates/driver/src",
    "crates/linux/src",
    "crates/model/src",
    "crates/wire/src",
    "Cargo.lock",
];

fn main() -> io::Result<()> {
    let var = |name: &str| env::var(name).map_err(|error| io::Error::other(format!("{name}: {error}")));
    let workspace = fs::canonicalize(PathBuf::from(var("CARGO_MANIFEST_DIR")?).join("../.."))?;
    for part in PARTS {
        println!("cargo::rerun-if-changed={}", workspace.join(part).display());
    }
    let (out, target) = (PathBuf::from(var("OUT_DIR")?), var("TARGET")?);
    let build = out.join("fork-server");
    let mut cargo = Command::new(var("CARGO")?);
    for name in OUTER {
        cargo.env_remove(name);
    }
    let status = cargo
        .current_dir(&workspace)
        .args(["build", "--quiet", "--locked", "--release", "--package", "fork-server"])
        .arg("--target")
        .arg(&target)
        .arg("--target-dir")
        .arg(&build)
        // It is loaded by a program, which brings the C library.
        .env("RUSTFLAGS", "-C target-feature=-crt-static")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_LTO", "true")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .status()?;
    if !status.success() {
        return Err(io::Error::other("the fork server's library does not build: its messages are above"));
    }
    fs::copy(build.join(&target).join("release/libhearth_fork.so"), out.join("hearth_fork.so"))?;
    Ok(())
}
