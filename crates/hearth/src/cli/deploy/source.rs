//! Where a function's code comes from: what a path on the command line is.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use control::FunctionWrite;
use model::FunctionName;

use crate::cli::{Usage, init, manifest, pack};

/// Where the code comes from.
pub enum Source {
    Folder(PathBuf),
    Zip(PathBuf),
    /// Of classes, which is a package as a zip is; of a server, which becomes the package's bootstrap.jar.
    Jar(PathBuf),
    File(PathBuf),
    /// An executable, which becomes the package's bootstrap.
    Program(PathBuf),
}

// === impl Source ===

impl Source {
    pub fn of(path: &Path) -> Result<Self, Usage> {
        let meta = fs::metadata(path).map_err(|error| Usage(format!("{}: {error}", path.display())))?;
        if meta.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        match path.extension().and_then(|end| end.to_str()) {
            Some("zip") => Ok(Self::Zip(path.to_owned())),
            Some("jar") => Ok(Self::Jar(path.to_owned())),
            Some("py" | "js" | "mjs" | "cjs") => Ok(Self::File(path.to_owned())),
            _ if path.file_name().is_some_and(|name| name == "hearth.toml") => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                Ok(Self::Folder(folder.unwrap_or(Path::new(".")).to_owned()))
            }
            _ if pack::is_program(path) => Ok(Self::Program(path.to_owned())),
            _ => Err(Usage(format!(
                "{}: expected a folder, a .zip, a .jar, a .py, .js, .mjs or .cjs file, or a program",
                path.display()
            ))),
        }
    }

    /// What `hearth.toml` says; only a folder has one.
    pub fn manifest(&self) -> anyhow::Result<FunctionWrite> {
        let Self::Folder(folder) = self else { return Ok(FunctionWrite::default()) };
        match fs::read_to_string(folder.join("hearth.toml")) {
            Ok(text) => Ok(manifest::parse(&text)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(FunctionWrite::default()),
            Err(error) => Err(error).with_context(|| format!("reading {}", folder.join("hearth.toml").display())),
        }
    }

    pub fn name(&self) -> anyhow::Result<FunctionName> {
        match self {
            Self::Folder(folder) => init::function_name(folder),
            Self::Zip(path) | Self::Jar(path) | Self::File(path) | Self::Program(path) => {
                init::function_name(&path.with_extension(""))
            }
        }
    }
}
