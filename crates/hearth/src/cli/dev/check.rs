//! Whether files can be parsed, before they take the place of what works.
//!
//! The runtime's own interpreter on this machine compiles them and runs nothing. That is no proof that they can be
//! imported; it finds what a save in the middle of typing is usually wrong with. Where there is no such interpreter,
//! nothing is checked, and that is told.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use model::{Language, Runtime};
use serde::Deserialize;

/// A parser that does not end by then tells nothing.
const LIMIT: Duration = Duration::from_secs(10);
/// Each answer is one error; a thousand broken files need not all be named.
const LONGEST: u64 = 1024 * 1024;

const PYTHON: &str = include_str!("check.py");
const NODE: &str = include_str!("check.cjs");

/// What is wrong with a file.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct Wrong {
    pub path: String,
    /// 1-based, if the parser says where.
    pub line: Option<u32>,
    pub message: String,
}

/// An interpreter that parses.
#[derive(Debug)]
pub struct Checker {
    program: PathBuf,
    language: Language,
}

// === impl Checker ===

impl Checker {
    /// The interpreter of this runtime; none if it is not on this machine.
    pub fn of(runtime: &Runtime) -> Option<Self> {
        let language = runtime.language();
        let names = match language {
            Language::Python => vec![format!("python{}", runtime.version())],
            Language::Node => vec![format!("node{}", runtime.version().trim_end_matches(".x")), "node".to_owned()],
            _ => return None,
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = std::iter::once("/usr/bin".into()).chain(std::env::split_paths(&path)).collect();
        let program = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
        Some(Self { program: program.into_iter().find(|program| program.is_file())?, language })
    }

    /// Whether it can tell anything of such a file.
    pub fn reads(&self, path: &str) -> bool {
        let ends: &[&str] = match self.language {
            Language::Python => &[".py"],
            _ => &[".js", ".mjs", ".cjs"],
        };
        // What was installed was not typed here.
        ends.iter().any(|end| path.ends_with(end)) && !path.split('/').any(|part| part == "node_modules")
    }

    /// What is wrong with these files below the folder.
    pub fn check(&self, folder: &Path, paths: &[&str]) -> Result<Vec<Wrong>, String> {
        let mut command = Command::new(&self.program);
        match self.language {
            Language::Python => command.args(["-I", "-S", "-c", PYTHON]),
            _ => command.args(["--experimental-vm-modules", "--no-warnings", "-e", NODE]),
        };
        // Nothing that this shell tells interpreters to load.
        command.env_remove("NODE_OPTIONS").current_dir(folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let program = self.program.display();
        let mut child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
        let (mut stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let asked = serde_json::to_vec(paths).map_err(|error| error.to_string())?;
        let (sender, answer) = mpsc::channel();
        std::thread::spawn(move || {
            // Closed by the end of this, after which the parser begins.
            let written = stdin.take().map(|mut stdin| stdin.write_all(&asked));
            let mut text = Vec::new();
            let read = stdout.map(|stdout| stdout.take(LONGEST).read_to_end(&mut text));
            let _ = sender.send(matches!((written, read), (Some(Ok(())), Some(Ok(_)))).then_some(text));
        });
        let text = answer.recv_timeout(LIMIT).ok().flatten();
        if text.is_none() {
            let _ = child.kill();
        }
        let _ = child.wait();
        let text = text.ok_or_else(|| format!("{program} did not say within {} s", LIMIT.as_secs()))?;
        serde_json::from_slice(&text).map_err(|error| format!("{program} said something else than expected: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::pack::write;

    fn wrong(runtime: &Runtime, files: &[(&str, &str)]) -> Vec<Wrong> {
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|(path, text)| write(folder.path(), path, text));
        let checker = Checker::of(runtime).expect("the interpreter is needed for this test");
        let paths: Vec<&str> = files.iter().map(|(path, _)| *path).filter(|path| checker.reads(path)).collect();
        checker.check(folder.path(), &paths).unwrap()
    }

    #[test]
    fn python_that_cannot_be_parsed_is_named_with_its_line() {
        let files = [
            ("good.py", "import nothing_of_this_name\nprint(1)"),
            ("bad.py", "x = 1\ndef handler(:\n"),
            ("lib/null.py", "x = 1\n\0"),
        ];
        let found = wrong(&Runtime::python("3.11"), &files);
        assert_eq!(found.iter().map(|one| one.path.as_str()).collect::<Vec<_>>(), ["bad.py", "lib/null.py"]);
        assert_eq!(found[0].line, Some(2));
        assert!(found[0].message.contains("invalid syntax"), "{found:?}");
    }

    #[test]
    fn node_that_cannot_be_parsed_is_named_with_its_line() {
        let files = [
            ("good.mjs", "import x from 'nothing-of-this-name'; export const handler = async () => await x;"),
            ("good.cjs", "#!/usr/bin/env node\nif (1) return; exports.handler = () => {};"),
            ("module/package.json", r#"{"type": "module"}"#),
            ("module/good.js", "await 1; export default 1;"),
            ("module/bad.js", "export default 1;\nlet x = ;"),
            ("bad.js", "\nexports.handler = () => {;"),
            ("bad.mjs", "export const = 1;"),
        ];
        let found = wrong(&Runtime::node("20"), &files);
        let named: Vec<_> = found.iter().map(|one| (one.path.as_str(), one.line)).collect();
        assert_eq!(named, [("module/bad.js", Some(2)), ("bad.js", Some(2)), ("bad.mjs", Some(1))]);
        assert!(found[0].message.contains("Unexpected token"), "{found:?}");
    }
}
