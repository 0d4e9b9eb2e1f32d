//! Lists the bootstraps in `runtimes/` so that they are embedded: what a runtime needs is what its folder holds. And
//! says what to do where the dashboard, which is embedded too, is not built yet: nothing here runs npm.

#[path = "src/javac.rs"]
mod javac;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let dashboard = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../../dashboard/dist");
    println!("cargo::rerun-if-changed={}", dashboard.display());
    if !dashboard.join("index.html").exists() {
        println!("cargo::error=dashboard/dist is missing: `make dashboard` builds it (Node 20 and npm are needed)");
        return Ok(());
    }
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../../runtimes");
    let root = fs::canonicalize(root)?;
    let mut files = Vec::new();
    for runtime in ["python", "node", "java"] {
        collect(&root.join(runtime), &mut files)?;
    }
    files.sort();
    let mut code = String::from("&[\n");
    for file in &files {
        let inside = file.strip_prefix(&root).map_err(io::Error::other)?;
        let _ = writeln!(code, "    ({inside:?}, include_str!({file:?})),");
    }
    code.push_str("]\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    native(&root.join("java/native.rs"), &out.join("hearth_java.so"))?;
    fs::write(out.join("runtime_files.rs"), code)?;
    java(&root.join("java"), &out)
}

/// The Java bootstrap's library, of one file that needs nothing but the C library of whoever loads it.
fn native(source: &Path, library: &Path) -> io::Result<()> {
    let var = |name: &str| env::var(name).map_err(|error| io::Error::other(format!("{name}: {error}")));
    let mut rustc = Command::new(var("RUSTC")?);
    rustc.arg(source).args(["--edition", "2024", "--crate-type", "cdylib", "--crate-name", "hearth_java"]);
    rustc.args(["-O", "-C", "panic=abort", "-C", "strip=symbols", "-C", "target-feature=-crt-static"]);
    rustc.arg("--target").arg(var("TARGET")?).arg("-o").arg(library);
    println!("cargo::rerun-if-changed={}", source.display());
    if rustc.status()?.success() {
        return Ok(());
    }
    Err(io::Error::other("the Java bootstrap's library does not build: its messages are above"))
}

/// The Java bootstrap, compiled where this machine can do that: then machines without a compiler have Java functions too.
fn java(sources: &Path, out: &Path) -> io::Result<()> {
    println!("cargo::rerun-if-env-changed=JAVA_HOME");
    let jar = out.join("bootstrap.jar");
    let _ = fs::remove_file(&jar);
    let code = match javac::find() {
        Some(tools) => {
            javac::compile(&tools, sources, &jar)?;
            format!("Some(include_bytes!({jar:?}))")
        }
        None => "None".to_owned(),
    };
    fs::write(out.join("java_bootstrap.rs"), code)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let hidden =
            name.starts_with('.') || name.starts_with("test") || name == "__pycache__" || name == "node_modules";
        let code = path
            .extension()
            .is_some_and(|kind| ["py", "js", "cjs", "mjs", "java", "txt"].iter().any(|known| kind == *known));
        if path.is_dir() && !hidden {
            collect(&path, files)?;
        } else if code && !hidden {
            files.push(path);
        }
    }
    Ok(())
}
