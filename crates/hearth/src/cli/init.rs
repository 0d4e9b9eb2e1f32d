//! `hearth init`: a function folder that works, from the templates in the program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context;
use clap::{Args, ValueEnum};
use control::RuntimeList;
use model::{FunctionName, Language, Runtime};

use super::client::{Client, ConnectArgs};
use super::{Usage, out};

#[derive(Debug, Args)]
pub struct InitArgs {
    /// The folder to make; its name becomes the function's
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// What to write it in: python, node, or a runtime like python3.11
    #[arg(short, long, default_value = "python", value_parser = kind)]
    runtime: Kind,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// A language, its version wanted or left to this machine.
#[derive(Debug, Clone)]
struct Kind(Template, Option<Runtime>);

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Template {
    Python,
    Node,
}

macro_rules! template {
    ($folder:literal: $($file:literal),*) => {
        &[$(($file, include_str!(concat!("../../templates/", $folder, "/", $file)))),*]
    };
}

const PYTHON: &[(&str, &str)] = template!("python": "hearth.toml", "app.py", "event.json", "README.md");
const NODE: &[(&str, &str)] = template!("node": "hearth.toml", "index.mjs", "event.json", "README.md");

fn kind(text: &str) -> Result<Kind, String> {
    match text {
        "python" => return Ok(Kind(Template::Python, None)),
        "node" | "nodejs" => return Ok(Kind(Template::Node, None)),
        _ => {}
    }
    let runtime: Runtime = text.parse().map_err(|_| "expected python, node, or a runtime like python3.11")?;
    let template = match runtime.language() {
        Language::Python => Template::Python,
        Language::Node => Template::Node,
        Language::Image | Language::Native => return Err("expected python, node, or a runtime like python3.11".into()),
    };
    Ok(Kind(template, Some(runtime)))
}

pub fn run(args: InitArgs) -> anyhow::Result<ExitCode> {
    let folder = &args.folder;
    let name = function_name(folder)?;
    let Kind(template, wanted) = args.runtime;
    let runtime = wanted.unwrap_or_else(|| newest(template, &args.connect));
    if folder.exists() && fs::read_dir(folder).with_context(|| folder.display().to_string())?.next().is_some() {
        return Err(Usage(format!("{} is not empty: name a new folder", folder.display())).into());
    }
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let files = match template {
        Template::Python => PYTHON,
        Template::Node => NODE,
    };
    for (file, text) in files {
        let text = text.replace("{{name}}", name.as_str()).replace("{{runtime}}", &runtime.to_string());
        let path = folder.join(file);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    let shown = folder.display();
    out::line(&format!("made {shown} with {}", files.iter().map(|(file, _)| *file).collect::<Vec<_>>().join(", ")))?;
    let event = format!("@{}", folder.join("event.json").display());
    out::line(&format!("  deploy  hearth deploy {}", quoted(&shown.to_string())))?;
    out::line(&format!("  call    hearth invoke {name} {}", quoted(&event)))?;
    Ok(ExitCode::SUCCESS)
}

/// For a shell, which would take some texts apart.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "@%+=:,./-_".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// What the folder is called, as far as a function may be called so.
pub fn function_name(path: &Path) -> anyhow::Result<FunctionName> {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // `.` and `..` have a name only once they are resolved.
    let whole = fs::canonicalize(&whole).unwrap_or(whole);
    let last = whole.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let fitting: String =
        last.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).take(64).collect();
    let fitting = fitting.trim_matches('-');
    fitting.parse().map_err(|_| Usage(format!("{last:?} gives no function name: give one with --name")).into())
}

/// The newest of this language that Hearth has, or that is installed, or that is common.
fn newest(template: Template, connect: &ConnectArgs) -> Runtime {
    let language = match template {
        Template::Python => Language::Python,
        Template::Node => Language::Node,
    };
    let asked = Client::new(connect).and_then(|client| client.get::<RuntimeList>("/api/v1/runtimes"));
    let here = asked.into_iter().flat_map(|list| list.runtimes).filter(|one| one.works);
    let here = here.map(|one| one.name).filter(|one| one.language() == language);
    if let Some(runtime) = here.max_by_key(super::guess::version) {
        return runtime;
    }
    let output = |program: &str, argument: &str| {
        let ran = Command::new(program).arg(argument).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        String::from_utf8(ran.stdout).ok()
    };
    match language {
        Language::Python => {
            let text = output("python3", "--version").unwrap_or_default();
            let minor = text.trim().strip_prefix("Python 3.").and_then(|rest| rest.split('.').next());
            minor.and_then(|minor| format!("python3.{minor}").parse().ok()).unwrap_or_else(|| Runtime::python("3.11"))
        }
        Language::Node | Language::Image | Language::Native => {
            let text = output("node", "--version").unwrap_or_default();
            let major = text.trim().strip_prefix('v').and_then(|rest| rest.split('.').next());
            major.and_then(|major| format!("nodejs{major}.x").parse().ok()).unwrap_or_else(|| Runtime::node("20"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_a_manifest_that_can_be_deployed() {
        for (files, runtime) in [(PYTHON, "python3.11"), (NODE, "nodejs20.x")] {
            let toml = files[0].1.replace("{{name}}", "hello").replace("{{runtime}}", runtime);
            let manifest = crate::cli::manifest::parse(&toml).unwrap();
            assert_eq!(manifest.name.unwrap().as_str(), "hello");
            assert_eq!(manifest.runtime.unwrap().to_string(), runtime);
        }
    }

    #[test]
    fn a_path_that_a_shell_would_take_apart_is_quoted() {
        assert_eq!(quoted("a/hello.d"), "a/hello.d");
        assert_eq!(quoted("@bad name"), "'@bad name'");
        assert_eq!(quoted("it's $x"), r"'it'\''s $x'");
    }

    #[test]
    fn a_folder_s_name_is_made_fitting() {
        assert_eq!(function_name(Path::new("/x/my function.d")).unwrap().as_str(), "my-function-d");
        assert!(function_name(Path::new("/x/äöü")).is_err());
    }
}
