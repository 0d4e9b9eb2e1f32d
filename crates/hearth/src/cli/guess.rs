//! What a function most likely is, read from its files: language, handler. Pure; every guess is told.

use std::collections::BTreeMap;

use model::{Language, Runtime};

/// Names in the root of a package with the text of those that are code or a package list.
pub type RootFiles = BTreeMap<String, String>;

/// File stems that handlers live in, the likeliest first.
const PYTHON_STEMS: &[&str] = &["app", "lambda_function", "main", "index", "handler", "function"];
const NODE_STEMS: &[&str] = &["index", "app", "main", "handler", "function", "server"];

/// What AWS Lambda starts where the runtime is the package's own.
pub const BOOTSTRAP: &str = "bootstrap";

/// A Java program that is a server, or asks for events itself.
pub const BOOTSTRAP_JAR: &str = "bootstrap.jar";

/// Names of handlers, the likeliest first.
const HANDLERS: &[&str] = &["handler", "lambda_handler"];

/// Whether a file's text helps to guess.
pub fn telling(name: &str) -> bool {
    let code = [".py", ".js", ".mjs", ".cjs"].iter().any(|end| name.ends_with(end));
    code || ["package.json", "requirements.txt", BOOTSTRAP, BOOTSTRAP_JAR].contains(&name)
}

/// Whether a file anywhere in a package says that it is Java's, or is to be compiled.
pub fn telling_java(path: &str) -> bool {
    path.ends_with(".class") || path.ends_with(".java") || path.starts_with("lib/") && path.ends_with(".jar")
}

/// What it is written in: a program of its own decides, then a package list, then code.
pub fn language(files: &RootFiles) -> Option<Language> {
    let has = |ends: &[&str]| files.keys().any(|name| ends.iter().any(|end| name.ends_with(end)));
    if files.contains_key(BOOTSTRAP) {
        return Some(Language::Native);
    }
    if files.contains_key(BOOTSTRAP_JAR) {
        return Some(Language::Java);
    }
    if files.contains_key("requirements.txt") {
        return Some(Language::Python);
    }
    if files.contains_key("package.json") {
        return Some(Language::Node);
    }
    match (has(&[".py"]), has(&[".js", ".mjs", ".cjs"])) {
        (true, _) => Some(Language::Python),
        (false, true) => Some(Language::Node),
        // Packages of other languages may hold some of Java's files somewhere.
        (false, false) => files.keys().any(|name| telling_java(name)).then_some(Language::Java),
    }
}

/// The newest runtime of a language.
pub fn runtime<'a>(language: Language, here: impl IntoIterator<Item = &'a Runtime>) -> Option<&'a Runtime> {
    here.into_iter().filter(|one| one.language() == language).max_by_key(|one| version(one))
}

/// For comparing: `3.9` comes before `3.11`.
pub fn version(runtime: &Runtime) -> Vec<u32> {
    runtime.version().split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

/// `file.function` of all files that have such a function, the likeliest first; failing that, of the only file.
pub fn handlers(files: &RootFiles, language: Language) -> Vec<String> {
    let ends: &[&str] = match language {
        Language::Python => &[".py"],
        Language::Node => &[".mjs", ".js", ".cjs"],
        // A class is chosen by its whole name, and nearly all could be meant.
        Language::Java | Language::Image | Language::Native => return Vec::new(),
    };
    let stem = |name: &String| ends.iter().find_map(|end| name.strip_suffix(end)).map(str::to_owned);
    let mut stems: Vec<(String, &str)> =
        files.iter().filter_map(|(name, text)| Some((stem(name)?, text.as_str()))).collect();
    let main = files.get("package.json").and_then(|text| main_of(text));
    let likely = match language {
        Language::Python => PYTHON_STEMS,
        Language::Node | Language::Java | Language::Image | Language::Native => NODE_STEMS,
    };
    stems.sort_by_key(|(stem, _)| {
        let named = main.as_ref() == Some(stem);
        let rank = likely.iter().position(|known| known == stem).unwrap_or(likely.len());
        (!named, rank, stem.clone())
    });
    let defined = stems.iter().filter_map(|(stem, text)| {
        let name = HANDLERS.iter().find(|name| defines(text, name, language))?;
        Some(format!("{stem}.{name}"))
    });
    let defined: Vec<_> = defined.collect();
    match stems.as_slice() {
        // A file that gets its handler by other ways; only where there is no choice.
        [(stem, _)] if defined.is_empty() => vec![format!("{stem}.handler")],
        _ => defined,
    }
}

/// The stem of package.json's `main`, where that is a file in the root.
fn main_of(package: &str) -> Option<String> {
    let package: serde_json::Value = serde_json::from_str(package).ok()?;
    let main = package.get("main")?.as_str()?;
    let main = main.strip_prefix("./").unwrap_or(main);
    let stem = main.rsplit_once('.').map_or(main, |(stem, _)| stem);
    (!stem.contains('/')).then(|| stem.to_owned())
}

fn defines(text: &str, name: &str, language: Language) -> bool {
    text.lines().any(|line| match language {
        Language::Python => {
            let line = line.strip_prefix("async ").unwrap_or(line);
            let rest = line.strip_prefix("def ").and_then(|rest| rest.trim_start().strip_prefix(name));
            let called = rest.is_some_and(|rest| rest.trim_start().starts_with('('));
            let assigned = line.strip_prefix(name).map(str::trim_start);
            called || assigned.is_some_and(|rest| rest.starts_with('=') && !rest.starts_with("=="))
        }
        Language::Java | Language::Image | Language::Native => false,
        Language::Node => (line.contains("export") || line.contains("exports")) && words(line).any(|word| word == name),
    })
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '$')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(of: &[(&str, &str)]) -> RootFiles {
        of.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect()
    }

    #[test]
    fn the_language_is_in_the_files() {
        assert_eq!(language(&files(&[("app.py", "")])), Some(Language::Python));
        assert_eq!(language(&files(&[("index.mjs", "")])), Some(Language::Node));
        assert_eq!(language(&files(&[("package.json", "{}"), ("tool.py", "")])), Some(Language::Node));
        assert_eq!(language(&files(&[("requirements.txt", ""), ("x.js", "")])), Some(Language::Python));
        assert_eq!(language(&files(&[("bootstrap", "\x7fELF"), ("main.py", "")])), Some(Language::Native));
        assert_eq!(language(&files(&[("com/x/Handler.class", "")])), Some(Language::Java));
        assert_eq!(language(&files(&[("lib/x.jar", "")])), Some(Language::Java));
        assert_eq!(language(&files(&[("package.json", ""), ("node_modules/x/X.java", "")])), Some(Language::Node));
        assert_eq!(language(&files(&[("bootstrap.jar", "")])), Some(Language::Java));
        assert_eq!(language(&files(&[])), None);
    }

    #[test]
    fn the_newest_runtime_is_the_one_with_the_greatest_number() {
        let here: Vec<Runtime> = ["python3.9", "python3.11", "nodejs20.x"].iter().map(|t| t.parse().unwrap()).collect();
        assert_eq!(runtime(Language::Python, &here).unwrap().to_string(), "python3.11");
        assert_eq!(runtime(Language::Node, &here).unwrap().to_string(), "nodejs20.x");
    }

    #[test]
    fn a_handler_is_where_it_is_defined() {
        let handler = |of: &[(&str, &str)], language| handlers(&files(of), language).into_iter().next();
        let python = |of: &[(&str, &str)]| handler(of, Language::Python);
        assert_eq!(python(&[("app.py", "def handler(event, context):")]).unwrap(), "app.handler");
        assert_eq!(
            python(&[("lambda_function.py", "def lambda_handler(e, c):")]).unwrap(),
            "lambda_function.lambda_handler"
        );
        assert_eq!(python(&[("app.py", "x = 1"), ("b.py", "async def handler (e, c):")]).unwrap(), "b.handler");
        assert_eq!(python(&[("app.py", "handler = Mangum(app)")]).unwrap(), "app.handler");
        assert_eq!(python(&[("odd.py", "")]).unwrap(), "odd.handler");
        assert_eq!(python(&[("a.py", ""), ("b.py", "handlers = 1")]), None);

        let node = |of: &[(&str, &str)]| handler(of, Language::Node);
        assert_eq!(node(&[("index.mjs", "export const handler = async () => {}")]).unwrap(), "index.handler");
        assert_eq!(node(&[("app.js", "exports.handler = f"), ("index.js", "")]).unwrap(), "app.handler");
        assert_eq!(node(&[("a.js", "module.exports = { handler };"), ("b.js", "")]).unwrap(), "a.handler");
        let main =
            [("package.json", r#"{"main":"./b.js"}"#), ("a.js", "exports.handler=1"), ("b.js", "exports.handler=1")];
        assert_eq!(node(&main).unwrap(), "b.handler");
    }
}
