//! What `hearth init` can make: two beginnings with a word on everything, and the examples that the tests call, of
//! which this is the one copy.

use model::Language;

/// A function folder in the program.
pub struct Template {
    pub name: &'static str,
    pub about: &'static str,
    pub language: Language,
    /// A call that it answers well: the argument of `hearth invoke`.
    pub event: &'static str,
    pub files: &'static [(&'static str, &'static [u8])],
    /// Where it lies in the repository, as its own texts name it; none for those that are made for this.
    pub example: Option<&'static str>,
}

macro_rules! files {
    ($folder:literal: $($file:literal),* $(,)?) => {
        &[$(($file, include_bytes!(concat!("../../../../../", $folder, "/", $file)))),*]
    };
}

pub const TEMPLATES: &[Template] = &[
    Template {
        name: "python",
        about: "an event and an HTTP request, in Python",
        language: Language::Python,
        event: "@event.json",
        files: files!("crates/hearth/templates/python": "hearth.toml", "app.py", "event.json", "README.md"),
        example: None,
    },
    Template {
        name: "node",
        about: "an event and an HTTP request, in JavaScript",
        language: Language::Node,
        event: "@event.json",
        files: files!("crates/hearth/templates/node": "hearth.toml", "index.mjs", "event.json", "README.md"),
        example: None,
    },
    Template {
        name: "java",
        about: "an event and an HTTP request, in Java",
        language: Language::Java,
        event: "@event.json",
        files: files!("crates/hearth/templates/java":
            "hearth.toml", "src/main/java/app/Handler.java", "event.json", "README.md"),
        example: None,
    },
    Template {
        name: "json-api",
        about: "a small JSON API with an npm package, in JavaScript",
        language: Language::Node,
        event: r#"{"rawPath": "/notes", "rawQueryString": "", "headers": {}, "requestContext": {"http": {"method": "GET"}}}"#,
        files: files!("examples/json-api":
            "hearth.toml", "index.js", "notes.js", "validate.js", "index.test.js", "package.json", "package-lock.json",
            "README.md"),
        example: Some("json-api"),
    },
    Template {
        name: "webhook",
        about: "GitHub's webhooks, believing only signed ones, in JavaScript",
        language: Language::Node,
        event: r#"{"headers": {"x-github-event": "ping"}, "body": "{}", "isBase64Encoded": false}"#,
        files: files!("examples/webhook": "hearth.toml", "index.mjs", "index.test.mjs", "README.md"),
        example: Some("webhook"),
    },
    Template {
        name: "thumbnailer",
        about: "thumbnails of posted pictures with Pillow, in Python",
        language: Language::Python,
        event: r#"{"body": "no picture", "isBase64Encoded": false}"#,
        files: files!("examples/thumbnailer":
            "hearth.toml", "app.py", "requirements.txt", "test_thumbnailer.py", "README.md", "cases/sample.jpg"),
        example: Some("thumbnailer"),
    },
    Template {
        name: "backup",
        about: "packs a folder and keeps the newest few, for a schedule, in Python",
        language: Language::Python,
        event: r#"{"now": "2024-01-31T03:00:00Z"}"#,
        files: files!("examples/backup":
            "hearth.toml", "app.py", "test_backup.py", "README.md", "sample/contacts.csv", "sample/notes.md",
            "sample/photos/list.txt"),
        example: Some("backup"),
    },
    Template {
        name: "report",
        about: "a weekly report of a table, for a schedule, in Python",
        language: Language::Python,
        event: "@event.json",
        files: files!("examples/report":
            "hearth.toml", "app.py", "readings.csv", "event.json", "test_report.py", "README.md"),
        example: Some("report"),
    },
    Template {
        name: "go-api",
        about: "a small JSON API, a web function in Go",
        language: Language::Native,
        event: r#"{"version": "2.0", "rawPath": "/hello/Ada", "requestContext": {"http": {"method": "GET"}}}"#,
        files: files!("examples/go-api": "hearth.toml", "main.go", "go.mod", ".hearthignore", "README.md"),
        example: Some("go-api"),
    },
    Template {
        name: "rust-event",
        about: "totals an event, with AWS's runtime for Rust",
        language: Language::Native,
        event: r#"{"items": [{"name": "milk", "cents": 129, "count": 2}]}"#,
        files: files!("examples/rust-event":
            "hearth.toml", "src/main.rs", "Cargo.toml", "Cargo.lock", ".hearthignore", "README.md"),
        example: Some("rust-event"),
    },
];

// === impl Template ===

impl Template {
    pub fn named(name: &str) -> Option<&'static Self> {
        TEMPLATES.iter().find(|template| template.name == name)
    }

    /// What makes a program of it, in its folder.
    pub fn build(&self) -> Option<&'static str> {
        let has = |name: &str| self.files.iter().any(|(file, _)| *file == name);
        match self.language {
            Language::Native if has("go.mod") => Some("CGO_ENABLED=0 go build -o bootstrap ."),
            Language::Native if has("Cargo.toml") => {
                Some("cargo build --release && cp target/release/rust-event bootstrap")
            }
            _ => None,
        }
    }

    /// A file's bytes for a function of this name and runtime.
    pub fn file(&self, path: &str, bytes: &[u8], name: &str, runtime: &str) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(bytes) else { return bytes.to_vec() };
        let Some(own) = self.example else {
            return text.replace("{{name}}", name).replace("{{runtime}}", runtime).into();
        };
        match path {
            "hearth.toml" => {
                let line = |line: &str| match line.split(" = ").next() {
                    Some("name") => format!("name = \"{name}\"\n"),
                    Some("runtime") => format!("runtime = \"{runtime}\"\n"),
                    _ => format!("{line}\n"),
                };
                text.lines().map(line).collect::<String>().into()
            }
            // The example's place becomes the folder that one is in, its name the function's.
            "README.md" => text
                .replace(&format!("examples/{own}/"), "./")
                .replace(&format!("examples/{own}"), ".")
                .replace(&format!("# {own}\n"), &format!("# {name}\n"))
                .replace(&format!("/fn/{own}"), &format!("/fn/{name}"))
                .replace(&format!("/functions/{own}/"), &format!("/functions/{name}/"))
                .replace(&format!("hearth invoke {own}"), &format!("hearth invoke {name}"))
                .replace(&format!("hearth logs {own}"), &format!("hearth logs {name}"))
                .into(),
            _ => bytes.to_vec(),
        }
    }
}
