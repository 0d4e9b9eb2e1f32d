//! Builds both halves of fork points, so that they can be carried in this crate: `cargo build` of Hearth stays one command.
//!
//! A Cargo of its own for each, with a target folder of its own: one is loaded by a program, which brings the C library, the
//! other is linked statically, and that is a flag for everything that is built.

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
    for part in ["crates/snapshot", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", workspace.join(part).display());
    }
    let (out, target) = (PathBuf::from(var("OUT_DIR")?), var("TARGET")?);
    let halves = [
        ("--lib", "libhearth_snapshot.so", "hearth_snapshot.so", "-C target-feature=-crt-static"),
        ("--bins", "hearth-restore", "hearth-restore", "-C target-feature=+crt-static -C relocation-model=static"),
    ];
    for (what, built, name, flags) in halves {
        let build = out.join(what.trim_start_matches('-'));
        let mut cargo = Command::new(var("CARGO")?);
        for name in OUTER {
            cargo.env_remove(name);
        }
        let status = cargo
            .current_dir(&workspace)
            .args(["build", "--quiet", "--locked", "--release", "--package", "snapshot", what])
            .arg("--target")
            .arg(&target)
            .arg("--target-dir")
            .arg(&build)
            .env("RUSTFLAGS", flags)
            .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
            .env("CARGO_PROFILE_RELEASE_LTO", "true")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s")
            .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
            .status()?;
        if !status.success() {
            return Err(io::Error::other("a half of fork points does not build: its messages are above"));
        }
        fs::copy(build.join(&target).join("release").join(built), out.join(name))?;
    }
    Ok(())
}
