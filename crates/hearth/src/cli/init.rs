//! `hearth init`: a function folder that works, from the templates in the program.

mod templates;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context;
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};
use control::RuntimeList;
use model::{FunctionName, Language, Runtime};

use super::client::{Client, ConnectArgs};
use super::{Usage, out};
use templates::{TEMPLATES, Template};

#[derive(Debug, Args)]
pub struct InitArgs {
    /// The folder to make; its name becomes the function's. Without one: list the templates
    #[arg(value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// What to begin with [default: python, or what fits --runtime]
    #[arg(short, long, value_parser = PossibleValuesParser::new(TEMPLATES.iter().map(possible)))]
    template: Option<String>,
    /// What it runs on: python, node, java, or a runtime like python3.11 [default: the newest here that fits]
    #[arg(short, long, value_parser = kind)]
    runtime: Option<Kind>,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// A language, its version wanted or left to this machine.
#[derive(Debug, Clone)]
struct Kind(Language, Option<Runtime>);

fn possible(template: &Template) -> PossibleValue {
    PossibleValue::new(template.name).help(template.about)
}

fn kind(text: &str) -> Result<Kind, String> {
    match text {
        "python" => return Ok(Kind(Language::Python, None)),
        "node" | "nodejs" => return Ok(Kind(Language::Node, None)),
        "java" => return Ok(Kind(Language::Java, None)),
        _ => {}
    }
    let expected = "expected python, node, java, or a runtime like python3.11";
    let runtime: Runtime = text.parse().map_err(|_| expected)?;
    match runtime.language() {
        language @ (Language::Python | Language::Node | Language::Java) => Ok(Kind(language, Some(runtime))),
        _ => Err(expected.into()),
    }
}

pub fn run(args: InitArgs) -> anyhow::Result<ExitCode> {
    let Some(folder) = &args.folder else { return list() };
    let name = function_name(folder)?;
    let language = args.runtime.as_ref().map(|kind| kind.0);
    let beginning = match language {
        Some(Language::Node) => "node",
        Some(Language::Java) => "java",
        _ => "python",
    };
    let template = args.template.as_deref().unwrap_or(beginning);
    let template = Template::named(template).context("a template that the command line took is there")?;
    if language.is_some_and(|language| language != template.language) {
        return Err(Usage(format!("the template {} is not for this runtime: {}", template.name, template.about)).into());
    }
    let wanted = args.runtime.and_then(|kind| kind.1);
    let runtime = wanted.unwrap_or_else(|| newest(template.language, &args.connect));
    if folder.exists() && fs::read_dir(folder).with_context(|| folder.display().to_string())?.next().is_some() {
        return Err(Usage(format!("{} is not empty: name a new folder", folder.display())).into());
    }
    for (file, bytes) in template.files {
        let path = folder.join(file);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
        let bytes = template.file(file, bytes, name.as_str(), &runtime.to_string());
        // Never over what somebody put there meanwhile.
        let made = File::options().write(true).create_new(true).open(&path);
        made.and_then(|mut made| made.write_all(&bytes)).with_context(|| format!("writing {}", path.display()))?;
    }
    let shown = folder.display();
    let files = template.files.iter().map(|(file, _)| *file).collect::<Vec<_>>().join(", ");
    out::line(&format!("made {shown} with {files}"))?;
    let event = match template.event.strip_prefix('@') {
        Some(file) => format!("@{}", folder.join(file).display()),
        None => template.event.to_owned(),
    };
    let folder = quoted(&shown.to_string());
    if let Some(build) = template.build() {
        out::line(&format!("  build   cd {folder} && {build}"))?;
    }
    out::line(&format!("  deploy  hearth deploy {folder}    (hearth dev {folder}: at every save)"))?;
    out::line(&format!("  call    hearth invoke {name} {}", quoted(&event)))?;
    Ok(ExitCode::SUCCESS)
}

fn list() -> anyhow::Result<ExitCode> {
    let rows = TEMPLATES.iter().map(|one| vec![one.name.to_owned(), one.about.to_owned()]).collect();
    out::table(&[("template", out::Column::Left), ("what it is", out::Column::Left)], rows)?;
    out::note("make one: hearth init FOLDER --template NAME");
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
fn newest(language: Language, connect: &ConnectArgs) -> Runtime {
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
        // What the machine has does not matter to a program of its own.
        Language::Native => Runtime::provided(),
        Language::Java => {
            // `javac 17.0.15`
            let text = output("javac", "-version").unwrap_or_default();
            let major = text.trim().strip_prefix("javac ").and_then(|rest| rest.split('.').next());
            major.and_then(|major| format!("java{major}").parse().ok()).unwrap_or_else(|| Runtime::java("17"))
        }
        _ => {
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
        for template in TEMPLATES {
            let runtime = match template.language {
                Language::Python => "python3.12",
                Language::Native => "provided.al2023",
                Language::Java => "java21",
                _ => "nodejs22.x",
            };
            let (_, toml) = template.files.iter().find(|(file, _)| *file == "hearth.toml").unwrap();
            let toml = String::from_utf8(template.file("hearth.toml", toml, "hello", runtime)).unwrap();
            let manifest = crate::cli::manifest::parse(&toml).unwrap();
            assert_eq!(manifest.name.unwrap().as_str(), "hello");
            assert_eq!(manifest.runtime.unwrap().to_string(), runtime);
            let (_, readme) = template.files.iter().find(|(file, _)| *file == "README.md").unwrap();
            let readme = String::from_utf8(template.file("README.md", readme, "hello", runtime)).unwrap();
            assert!(readme.starts_with("# hello\n") && !readme.contains("examples/"), "{readme}");
        }
    }

    #[test]
    fn a_template_has_all_that_its_example_has_but_its_cases() {
        for template in TEMPLATES.iter().filter(|template| template.example.is_some()) {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(template.name);
            let contents =
                crate::cli::pack::Contents::of_folder(&folder, &["cases", "node_modules", "target", "bootstrap"])
                    .unwrap();
            for path in contents.state().keys() {
                assert!(template.files.iter().any(|(file, _)| file == path), "{}: {path}", template.name);
            }
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
