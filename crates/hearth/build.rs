//! Lists the bootstraps in `runtimes/` so that they are embedded: what a runtime needs is what its folder holds.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../../runtimes");
    let root = fs::canonicalize(root)?;
    let mut files = Vec::new();
    for runtime in ["python", "node"] {
        collect(&root.join(runtime), &mut files)?;
    }
    files.sort();
    let mut code = String::from("&[\n");
    for file in &files {
        let inside = file.strip_prefix(&root).map_err(io::Error::other)?;
        let _ = writeln!(code, "    ({inside:?}, include_str!({file:?})),");
    }
    code.push_str("]\n");
    fs::write(PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("runtime_files.rs"), code)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let hidden =
            name.starts_with('.') || name.starts_with("test") || name == "__pycache__" || name == "node_modules";
        let code = path.extension().is_some_and(|kind| ["py", "js", "cjs", "mjs"].iter().any(|known| kind == *known));
        if path.is_dir() && !hidden {
            collect(&path, files)?;
        } else if code && !hidden {
            files.push(path);
        }
    }
    Ok(())
}
