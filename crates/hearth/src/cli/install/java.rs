//! A folder of Java sources: compiled with the developer's own compiler, with the jars that `lib/` holds or `pom.xml` names.
//!
//! What a build of its own makes, a jar or a folder of classes, is deployed as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::{Install, Installed, plural, read_if_there, watch};
use crate::{bootstraps, javac};

/// Where Maven and Gradle have a program's sources; else they are anywhere.
const USUAL: &str = "src/main/java";

/// Folders that hold no sources of the function.
const OTHERS: [&str; 6] = ["target", "build", "out", "lib", "test", "node_modules"];

/// Compiles, if there is anything to compile.
pub fn compile(install: &Install<'_>) -> anyhow::Result<Option<Installed>> {
    let usual = install.folder.join(USUAL);
    let root = if usual.is_dir() { usual } else { install.folder.to_owned() };
    let mut found = Found::default();
    found.collect(&root).with_context(|| format!("reading {}", root.display()))?;
    // With classes beside them, sources were compiled already.
    if found.sources.is_empty() || found.classes {
        return Ok(None);
    }
    found.sources.sort();
    let Some(tools) = javac::find() else {
        bail!(
            "the folder has Java sources, and no compiler was found: install one (Debian: apt install \
             openjdk-17-jdk-headless), or deploy a jar or a folder of classes"
        )
    };
    let jars = maven(install)?;
    let release = install.runtime.version().parse().unwrap_or(tools.major).min(tools.major).to_string();
    let mut key = vec![b"javac".to_vec(), release.clone().into(), tools.major.to_le_bytes().to_vec()];
    for source in &found.sources {
        key.push(source.to_string_lossy().into_owned().into());
        key.push(fs::read(source).with_context(|| source.display().to_string())?);
    }
    if let Some(jars) = &jars {
        key.push(jars.folder.to_string_lossy().into_owned().into());
    }
    let lib = install.folder.join("lib");
    // Whose bytes may change without the sources'.
    let keep = !lib.is_dir();
    let count = plural(found.sources.len(), "source");
    install.kept(&key, keep, "", &count, |target, step| {
        let interfaces = tempdir(target, ".interfaces", bootstraps::java_sources())?;
        let folders = jars.iter().map(|jars| jars.folder.clone()).chain([lib.clone()]);
        let path: Vec<String> = folders.map(|folder| format!("{}/*", folder.display())).collect();
        let mut command = Command::new(&tools.javac);
        command.args(["--release", &release, "-encoding", "UTF-8", "-implicit:none", "-parameters", "-g"]);
        // AWS's interfaces, which the runtime brings along.
        command.arg("-sourcepath").arg(&interfaces).arg("-classpath").arg(path.join(":"));
        command.arg("-d").arg(target).args(&found.sources);
        let (status, said) = watch("javac", &mut command, step)?;
        if !status.success() {
            bail!("the Java sources do not compile:\n{said}");
        }
        fs::remove_dir_all(&interfaces)?;
        for jar in jars.iter().flat_map(|jars| fs::read_dir(&jars.folder).into_iter().flatten().flatten()) {
            let inside = target.join("lib");
            fs::create_dir_all(&inside)?;
            fs::copy(jar.path(), inside.join(jar.file_name()))?;
        }
        Ok(())
    })
}

/// The jars that a `pom.xml` asks for at run time.
fn maven(install: &Install<'_>) -> anyhow::Result<Option<Installed>> {
    let Some(text) = read_if_there(&install.folder.join("pom.xml"))? else { return Ok(None) };
    // What a parent or a local repository says is not in it.
    let keep = !text.contains("<parent>") && !text.contains("SNAPSHOT");
    let key = [b"maven".to_vec(), text.into_bytes()];
    install.kept(&key, keep, "lib", "the dependencies of pom.xml", |target, step| {
        let mut command = Command::new("mvn");
        command.args(["-B", "-q", "dependency:copy-dependencies", "-DincludeScope=runtime"]);
        command.arg(format!("-DoutputDirectory={}", target.display())).current_dir(install.folder);
        let (status, said) = watch("Maven", &mut command, step)
            .context("Maven is needed for pom.xml: install it, or deploy a jar or a folder of classes")?;
        if !status.success() {
            bail!("Maven could not get the dependencies of pom.xml:\n{said}");
        }
        Ok(())
    })
}

/// A folder within `target`, gone before the rest is packed.
fn tempdir<'a>(target: &Path, name: &str, files: impl Iterator<Item = (&'a str, &'a str)>) -> anyhow::Result<PathBuf> {
    let folder = target.join(name);
    for (path, text) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&folder))?;
        fs::write(path, text)?;
    }
    Ok(folder)
}

/// What a folder holds of Java.
#[derive(Default)]
struct Found {
    sources: Vec<PathBuf>,
    classes: bool,
}

// === impl Found ===

impl Found {
    fn collect(&mut self, folder: &Path) -> std::io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if entry.file_type()?.is_dir() {
                if !name.starts_with('.') && !OTHERS.contains(&name.as_str()) {
                    self.collect(&path)?;
                }
            } else if name.ends_with(".java") && name != "module-info.java" {
                self.sources.push(path);
            } else if name.ends_with(".class") {
                self.classes = true;
            }
        }
        Ok(())
    }
}
