//! Builds the fork server's library and its sandboxes' first process, so that they can be carried in this crate: `cargo build` of Hearth stays one command.
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
    let library = cargo
        .current_dir(&workspace)
        .args(["build", "--quiet", "--locked", "--release", "--package", "fork-server", "--lib"])
        .arg("--target")
        .arg(&target)
        .arg("--target-dir")
        .arg(&build)
        // It is loaded by a program, which brings the C library.
        .env("RUSTFLAGS", "-C target-feature=-crt-static")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_LTO", "true")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    run(library, "library")?;
    fs::copy(build.join(&target).join("release/libhearth_fork.so"), out.join("hearth_fork.so"))?;

    // One file that needs nothing, linked to the place where it runs: there is nobody to load or relocate it.
    let mut init = Command::new(var("RUSTC")?);
    init.arg(workspace.join("crates/fork-server/src/bin/hearth-init.rs"))
        .args(["--edition", "2024", "--crate-type", "bin", "--crate-name", "hearth_init", "--cfg", "hearth_init"])
        .args(["--target", &target])
        .args(["-O", "-C", "panic=abort", "-C", "strip=symbols", "-C", "relocation-model=static"])
        .args(["-C", "target-feature=+crt-static", "-C", "link-args=-nostdlib -Wl,--build-id=none,-z,noseparate-code"])
        .arg("-o")
        .arg(out.join("hearth_init"));
    run(&mut init, "first process")
}

fn run(command: &mut Command, what: &str) -> io::Result<()> {
    if command.status()?.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("the fork server's {what} does not build: its messages are above")))
}
