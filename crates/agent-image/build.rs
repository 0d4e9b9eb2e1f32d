//! Builds the agent, linked statically, so that it can be carried in this crate: `cargo build` of Hearth stays one
//! command.
//!
//! A Cargo of its own, with a target folder of its own: linking statically is a flag for everything it builds, and
//! must not touch the rest of Hearth.

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

fn main() -> io::Result<()> {
    let var = |name: &str| env::var(name).map_err(|error| io::Error::other(format!("{name}: {error}")));
    let workspace = fs::canonicalize(PathBuf::from(var("CARGO_MANIFEST_DIR")?).join("../.."))?;
    for part in ["crates/agent", "crates/wire", "crates/model", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", workspace.join(part).display());
    }
    let (out, target) = (PathBuf::from(var("OUT_DIR")?), var("TARGET")?);
    let build = out.join("agent");
    let mut cargo = Command::new(var("CARGO")?);
    for name in OUTER {
        cargo.env_remove(name);
    }
    let status = cargo
        .current_dir(&workspace)
        .args(["build", "--quiet", "--locked", "--release", "--package", "agent", "--bin", "hearth-agent"])
        .arg("--target")
        .arg(&target)
        .arg("--target-dir")
        .arg(&build)
        .env("RUSTFLAGS", "-C target-feature=+crt-static -C relocation-model=static")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s")
        .env("CARGO_PROFILE_RELEASE_LTO", "true")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .status()?;
    if !status.success() {
        return Err(io::Error::other("the agent does not build: its messages are above"));
    }
    fs::copy(build.join(&target).join("release/hearth-agent"), out.join("hearth-agent"))?;
    Ok(())
}
