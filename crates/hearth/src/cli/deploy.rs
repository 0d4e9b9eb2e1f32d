//! `hearth deploy`: packages a folder, a zip or a single file, uploads it, and makes or changes the function.
//!
//! ```text
//! PATH ─► manifest + flags ─► guesses ─► install ─► zip ─► upload (if new) ─► PUT, or PATCH if it exists
//! ```
//!
//! What neither manifest nor flags say gets its default when the function is made, and stays as it is when the
//! function exists: a variable set by `hearth env` outlives a redeploy. What stayed is told; `--reset` goes back
//! to the defaults.

mod canary;
mod debugger;
mod once;
mod source;

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use control::{FunctionView, FunctionWrite, PackageView, RecordsWrite, RuntimeList, ScaleWrite};
use model::{
    CodeHash, Cpu, Egress, FaultCode, FunctionName, FunctionSpec, Idle, Isolation, IsolationChoice, KeepPayloads,
    Language, Memory, Runtime, WebProtocol,
};

use super::access::{self, AccessArgs};
use super::client::{Client, ClientError, ConnectArgs};
use super::guess::{self, RootFiles};
use super::install::Install;
use super::kept::kept;
use super::pack::{self, Contents, Packer};
use super::progress::Progress;
use super::triggered::TriggerArgs;
use super::{Usage, manifest, out, text};
use canary::CanaryFlags;
pub use debugger::Debugger;
pub use once::Deployed;
pub use source::Source;

#[derive(Debug, Args)]
pub struct DeployArgs {
    /// A folder, with or without a hearth.toml; a zip; a jar; a single .py, .js, .mjs or .cjs file; or a single program
    #[arg(default_value = ".")]
    pub path: PathBuf,
    /// The function's name [default: the folder's or file's]
    #[arg(short, long)]
    name: Option<FunctionName>,
    /// An AWS runtime identifier that `hearth runtimes` lists [default: the newest that fits the files]
    #[arg(short, long)]
    pub runtime: Option<Runtime>,
    /// The root file system of its sandboxes: an image, which is pulled if it is not there [default: this machine's
    /// own /usr]
    #[arg(long, value_name = "REFERENCE")]
    image: Option<String>,
    /// file.function [default: found in the files]; for Java package.Class or package.Class::method
    #[arg(long)]
    handler: Option<String>,
    /// It is an HTTP server, and listens on $PORT
    #[arg(long)]
    web: bool,
    /// It is an HTTP server, and listens on this port [default with --web: 8080]
    #[arg(long)]
    port: Option<u16>,
    /// It is an HTTP server, and answers at this path once it takes requests
    #[arg(long, value_name = "PATH")]
    health: Option<String>,
    /// It is an HTTP server, and speaks http1, or h2c: HTTP/2 in clear, as gRPC servers do [default with --web: http1]
    #[arg(long, value_name = "PROTOCOL")]
    protocol: Option<WebProtocol>,
    /// Program and arguments, separated by spaces: a web function's server, or what is run once for each event
    #[arg(long, value_name = "TEXT")]
    command: Option<String>,
    /// What the sandbox is made with; `hearth doctor` shows what works; auto: the cheapest that works;
    /// namespace=90,gvisor=10: several, with shares of the calls [default: namespace]
    #[arg(long)]
    isolation: Option<IsolationChoice>,
    /// With no isolation weaker than this one
    #[arg(long, value_name = "ISOLATION")]
    at_least: Option<Isolation>,
    /// Of the whole sandbox, 32MB to 10GB [default: 128MB]
    #[arg(long, value_name = "SIZE")]
    memory: Option<Memory>,
    /// Of one invocation, 1ms to 15m [default: 3s]
    #[arg(long, value_name = "TIME", value_parser = manifest::timeout)]
    timeout: Option<Duration>,
    /// Share of a core, 0.01 to 64 [default: in proportion to memory]
    #[arg(long, value_name = "CORES")]
    cpu: Option<Cpu>,
    /// Size of /tmp, 1MB to 10GB [default: 512MB]
    #[arg(long, value_name = "SIZE")]
    tmp: Option<Memory>,
    /// An environment variable; may be given many times
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = super::env::pair)]
    pub env: Vec<(String, String)>,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    triggers: TriggerArgs,
    /// What it may reach: none, internet, lan, or addresses: 192.168.1.10:5432,10.0.0.0/8 [default: none]
    #[arg(long, value_name = "EGRESS")]
    egress: Option<Egress>,
    /// How long an instance without work is kept: auto, or a time; 0s: none outlives its call [default: auto]
    #[arg(long, value_name = "TIME", value_parser = manifest::idle)]
    idle: Option<Idle>,
    /// Instances kept ready although nothing calls [default: 0]
    #[arg(long, value_name = "COUNT")]
    min: Option<u32>,
    /// Instances at once at most [default: 1000]
    #[arg(long, value_name = "COUNT")]
    max: Option<u32>,
    /// Invocations at once in one instance; event functions take 1 [default for web functions: 64]
    #[arg(long, value_name = "COUNT")]
    concurrency: Option<u32>,
    /// Keep events and answers of its calls: none, errors (of those that fail) or all; they may hold personal data
    /// [default: none]
    #[arg(long, value_name = "WHICH")]
    payloads: Option<KeepPayloads>,
    /// For people, at most 256 bytes
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Answer HTTP at /fn/NAME/ [the default]
    #[arg(long, conflicts_with = "no_url")]
    url: bool,
    /// Do not answer HTTP
    #[arg(long)]
    no_url: bool,
    #[command(flatten)]
    pub canary: CanaryFlags,
    /// What is not said goes back to its default, on a function that exists
    #[arg(long)]
    pub reset: bool,
    /// Do not install what requirements.txt or package.json name
    #[arg(long)]
    no_install: bool,
    /// Let npm packages run their install scripts
    #[arg(long)]
    install_scripts: bool,
    /// Install again although nothing changed
    #[arg(long)]
    reinstall: bool,
    /// Print JSON: the function as an object; under `hearth dev`, a line for each event
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// Under `hearth dev --debug`.
    #[arg(skip)]
    pub debugger: Option<Debugger>,
}

pub fn run(args: DeployArgs) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let client = Client::new(&args.connect)?;
    let tell = |name: &FunctionName, remark: &str| {
        if !args.json {
            out::note(&format!("{name}: {remark}"));
        }
    };
    let done = args.once(&client, &Progress::new(args.json), &mut Packer::default(), &tell)?;
    report(&args, &done, started.elapsed())?;
    Ok(ExitCode::SUCCESS)
}

pub fn upload(client: &Client, zip: &[u8], sha256: &CodeHash, progress: &Progress) -> anyhow::Result<()> {
    if client.has(&format!("/api/v1/packages/{sha256}"))? {
        return Ok(());
    }
    let length = zip.len() as u64;
    let step = progress.bytes(&format!("uploading {}", text::bytes(length)), length);
    let mut body = step.reading(Cursor::new(zip.to_vec()));
    client.upload::<PackageView>("/api/v1/packages", "application/zip", length, &mut body)?;
    Ok(())
}

fn gone(error: &ClientError) -> bool {
    error.is_absent()
        || matches!(error, ClientError::Refused { message, .. } if message.contains("no package with hash"))
}

fn report(args: &DeployArgs, done: &Deployed, took: Duration) -> anyhow::Result<()> {
    let Deployed { function, created, told, kept } = done;
    if args.json {
        let mut value = serde_json::to_value(function)?;
        value["created"] = (*created).into();
        value["remarks"] = told.clone().into();
        value["kept"] = kept.clone().into();
        return out::json(&value);
    }
    let (paint, name) = (out::Paint::stdout(), &function.name);
    let what = if *created { "made" } else { "deployed" };
    let done = paint.green(&format!("{what} {name}"));
    let size = text::bytes(function.code.size);
    let took = text::span(took);
    out::line(&format!("{done} revision {}, {}, {size}, in {took}", function.revision, function.runtime))?;
    match &function.invoke_url {
        Some(url) => {
            out::line(&format!("  url  {url}"))?;
            out::line(&format!("  try  {}", paint.bold(&format!("curl {url}"))))?;
        }
        None => out::line(&format!("  try  {}", paint.bold(&format!("hearth invoke {name} '{{}}'"))))?,
    }
    Ok(())
}

// === impl DeployArgs ===

impl DeployArgs {
    /// A flag outranks the manifest.
    fn override_in(&self, write: &mut FunctionWrite) {
        fn set<T: Clone>(to: &mut Option<T>, from: &Option<T>) {
            if from.is_some() {
                to.clone_from(from);
            }
        }
        set(&mut write.name, &self.name);
        set(&mut write.runtime, &self.runtime);
        set(&mut write.image, &self.image.clone().map(Some));
        set(&mut write.handler, &self.handler);
        if self.web || self.port.is_some() || self.health.is_some() || self.protocol.is_some() {
            let web = write.web.get_or_insert_default().get_or_insert_default();
            web.port = self.port.unwrap_or(web.port);
            set(&mut web.health, &self.health);
            web.protocol = self.protocol.unwrap_or(web.protocol);
        }
        if let Some(command) = &self.command {
            write.command = Some(Some(command.split_whitespace().map(str::to_owned).collect()));
        }
        set(&mut write.isolation, &self.isolation);
        set(&mut write.at_least, &self.at_least.map(Some));
        set(&mut write.memory, &self.memory);
        set(&mut write.timeout, &self.timeout);
        set(&mut write.cpu, &self.cpu.map(Some));
        set(&mut write.tmp, &self.tmp);
        if self.payloads.is_some() {
            write.records = Some(RecordsWrite { payloads: self.payloads });
        }
        set(&mut write.egress, &self.egress);
        set(&mut write.description, &self.description);
        if self.url || self.no_url {
            write.url = Some(self.url);
        }
        if !self.env.is_empty() {
            let env = write.env.get_or_insert_default();
            env.extend(self.env.iter().map(|(name, value)| (name.clone(), Some(value.as_str().into()))));
        }
        self.access.override_in(write);
        self.triggers.override_in(write);
        let mut scale = write.scale.take().unwrap_or_default();
        set(&mut scale.min, &self.min);
        set(&mut scale.max, &self.max);
        set(&mut scale.concurrency, &self.concurrency);
        set(&mut scale.idle, &self.idle);
        write.scale = (scale != ScaleWrite::default()).then_some(scale);
    }

    #[expect(clippy::too_many_arguments, reason = "one step of `once`, which has them all")]
    /// Makes the zip, and says in `write` what it is where nobody has said it.
    fn package(
        &self,
        source: &Source,
        client: &Client,
        before: Option<&FunctionView>,
        write: &mut FunctionWrite,
        progress: &Progress,
        packer: &mut Packer,
        told: &mut Vec<String>,
    ) -> anyhow::Result<Vec<u8>> {
        if write.runtime.as_ref().is_some_and(|runtime| runtime.language() == Language::Image) {
            write.handler.get_or_insert_with(|| "image".to_owned());
            // A folder that nobody named is no package, unless it says that it is.
            if matches!(source, Source::Folder(folder) if self.path == Path::new(".") && !folder.join("hearth.toml").exists())
            {
                return Ok(Vec::new());
            }
        }
        let folder = match source {
            Source::Jar(path)
                if write.web.clone().unwrap_or_else(|| before.and_then(|one| one.web.clone())).is_some() =>
            {
                let contents = Contents::of_program(path, guess::BOOTSTRAP_JAR)?;
                self.identify(&contents.telling(), &|_| false, client, before, write, told)?;
                return packer.pack(&contents);
            }
            Source::Zip(path) | Source::Jar(path) => {
                let (bytes, files) = pack::open_zip(path)?;
                let has = |module: &str| has_module(module, |file| files.contains_key(file));
                self.identify(&files, &has, client, before, write, told)?;
                return Ok(bytes);
            }
            Source::File(path) => {
                let contents = Contents::of_file(path)?;
                let has = |module: &str| has_module(module, |file| contents.has(file));
                self.identify(&contents.telling(), &has, client, before, write, told)?;
                return packer.pack(&contents);
            }
            Source::Program(path) => {
                let contents = Contents::of_program(path, guess::BOOTSTRAP)?;
                write.runtime.get_or_insert_with(Runtime::provided);
                self.identify(&contents.telling(), &|_| false, client, before, write, told)?;
                return packer.pack(&contents);
            }
            Source::Folder(folder) => folder,
        };
        let mut contents = Contents::of_folder(folder, &[])?;
        let has = |module: &str| has_module(module, |file| contents.has(file));
        let runtime = self.identify(&contents.telling(), &has, client, before, write, told)?;
        if !self.no_install {
            let beside = self.debugger.and_then(|_| Debugger::package(&runtime, &contents));
            let install = Install {
                folder,
                runtime: &runtime,
                scripts: self.install_scripts,
                beside,
                afresh: self.reinstall,
                progress,
            };
            if let Some(installed) = install.run()? {
                if !installed.inside.is_empty() {
                    // What was installed for developing gives way to what was installed for running.
                    contents = Contents::of_folder(folder, &[installed.inside])?;
                }
                contents.add_folder(&installed.folder, installed.inside)?;
                told.push(installed.note.clone());
                let _step = progress.step(&format!("packing {} files", contents.len()));
                return match packer.pack(&contents) {
                    // As a package without it would be: it is a gift, and no reason for a refusal.
                    Err(_) if contents.leave_out_compiled() => packer.pack(&contents),
                    packed => packed,
                };
            }
        }
        if contents.len() == 0 {
            return Err(Usage(format!("{} has no files to deploy", folder.display())).into());
        }
        packer.pack(&contents)
    }
    /// Says runtime and handler where neither manifest nor flags do, and tells what it guessed. What can be seen
    /// to be wrong is refused here, before anything is installed or packed.
    fn identify(
        &self,
        files: &RootFiles,
        has_module: &dyn Fn(&str) -> bool,
        client: &Client,
        before: Option<&FunctionView>,
        write: &mut FunctionWrite,
        told: &mut Vec<String>,
    ) -> anyhow::Result<Runtime> {
        let in_image = write.image.clone().unwrap_or_else(|| before.and_then(|one| one.image.clone())).is_some();
        let RuntimeList { runtimes } = client.get("/api/v1/runtimes")?;
        let here: Vec<&Runtime> = runtimes.iter().filter(|one| one.works).map(|one| &one.name).collect();
        let command = said_or(&write.command, before.and_then(|one| one.command.as_ref()));
        let web = said_or(&write.web, before.and_then(|one| one.web.as_ref()));
        let runtime = match write.runtime.clone() {
            Some(runtime) => runtime,
            // Its interpreter, if it has one, is part of the command.
            None if command => match before.and_then(|one| one.runtime.parse().ok()) {
                Some(runtime) => runtime,
                None => Runtime::provided(),
            },
            None => {
                let language = guess::language(files).ok_or_else(|| {
                    let message = "no .py or .js file, no package.json, no requirements.txt and no bootstrap";
                    Usage(format!("{message}: say --runtime and --handler"))
                })?;
                let same =
                    before.and_then(|one| one.runtime.parse::<Runtime>().ok()).filter(|one| one.language() == language);
                match same {
                    Some(runtime) => runtime,
                    None => {
                        let newest = guess::runtime(language, here.iter().copied());
                        let newest =
                            newest.context("this Hearth has no runtime for these files: see `hearth runtimes`")?;
                        told.push(format!("runtime {newest}, by its files"));
                        newest.clone()
                    }
                }
            }
        };
        // An image has its own.
        if !in_image && !here.contains(&&runtime) {
            return Err(no_runtime(&runtime, &here).into());
        }
        let usual = FunctionSpec::usual_handler(runtime.language(), web, command);
        if let Some(handler) = write
            .handler
            .as_ref()
            .filter(|one| !one.contains('.') && usual.is_none() && runtime.language() != Language::Java)
        {
            // As on AWS it is deployed all the same, and fails when it is called.
            told.push(format!("handler {handler} has no dot: expected MODULE.FUNCTION"));
        }
        let handler = match write.handler.clone() {
            Some(handler) => handler,
            None if usual.is_some() => usual.unwrap_or_default().to_owned(),
            None => {
                let module = |handler: &str| handler.rsplit_once('.').map_or("", |(module, _)| module).to_owned();
                let java = runtime.language() == Language::Java;
                let same = before.map(|one| one.handler.clone()).filter(|handler| java || has_module(&module(handler)));
                match same {
                    Some(handler) => handler,
                    None => guessed_handler(files, &runtime, told)?,
                }
            }
        };
        check(write, &runtime, &handler, before.filter(|_| !self.reset))?;
        write.handler = Some(handler);
        write.runtime = Some(runtime.clone());
        Ok(runtime)
    }
}

fn guessed_handler(files: &RootFiles, runtime: &Runtime, told: &mut Vec<String>) -> Result<String, Usage> {
    let found = guess::handlers(files, runtime.language());
    if runtime.language() == Language::Java {
        let message = "a Java function is called by its class: say --handler package.Class, or package.Class::method; or \
                       --web for a jar that is an HTTP server";
        return Err(Usage(message.into()));
    }
    let (first, others) = found.split_first().ok_or_else(|| {
        Usage("no handler found: expected a function named handler, or say --handler FILE.FUNCTION".into())
    })?;
    told.push(match others {
        [] => format!("handler {first}, by its files"),
        _ => format!("handler {first}, by its files; --handler chooses another: {}", others.join(", ")),
    });
    Ok(first.clone())
}

/// What the server would say, without its having to be given the package.
fn no_runtime(runtime: &Runtime, here: &[&Runtime]) -> ClientError {
    let here = here.iter().map(|one| one.to_string()).collect::<Vec<_>>().join(", ");
    let here = if here.is_empty() { "none" } else { &here };
    ClientError::Refused {
        status: 422,
        code: Some(FaultCode::RuntimeUnavailable.as_str().to_owned()),
        message: format!("the runtime {runtime} is not on this machine; here are: {here}"),
    }
}

/// Whether the function may be so. Only what was said can be wrong, beside what an existing function keeps.
fn check(write: &FunctionWrite, runtime: &Runtime, handler: &str, before: Option<&FunctionView>) -> Result<(), Usage> {
    let Some(name) = write.name.clone() else { return Ok(()) };
    let mut spec = FunctionSpec::new(name, runtime.clone(), handler);
    if runtime.language() == Language::Image {
        // That it has an image, the server sees to.
        spec.runtime = Runtime::python("3.11");
    }
    if let Some(before) = before {
        spec.scale.min = before.scale.min;
        spec.scale.max = before.scale.max;
        spec.env.clone_from(&before.env);
    }
    if let Some(web) = write.web.clone().or_else(|| Some(before?.web.clone())) {
        spec.scale.concurrency = if web.is_some() { model::WEB_CONCURRENCY } else { 1 };
        spec.web = web;
    }
    spec.command = write.command.clone().flatten();
    let said = write.scale.clone().unwrap_or_default();
    spec.memory = write.memory.unwrap_or(spec.memory);
    spec.timeout = write.timeout.unwrap_or(spec.timeout);
    spec.tmp = write.tmp.unwrap_or(spec.tmp);
    spec.description = write.description.clone().unwrap_or_default();
    spec.scale.min = said.min.unwrap_or(spec.scale.min);
    spec.scale.max = said.max.unwrap_or(spec.scale.max);
    spec.scale.concurrency = said.concurrency.unwrap_or(spec.scale.concurrency);
    spec.scale.idle = said.idle.unwrap_or(spec.scale.idle);
    let env = write.env.iter().flatten().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
    spec.env.extend(env);
    access::complete(&mut spec, write);
    spec.sources = write.sources.clone().unwrap_or_default();
    spec.validate().map_err(|error| Usage(error.to_string()))
}

/// Whether the function has that, as it was said, or as it is.
fn said_or<T>(said: &Option<Option<T>>, is: Option<&T>) -> bool {
    said.as_ref().map_or(is.is_some(), Option::is_some)
}

/// Whether a handler's module is among the files, in any language.
fn has_module(module: &str, has: impl Fn(&str) -> bool) -> bool {
    [".py", ".mjs", ".js", ".cjs"].iter().any(|end| has(&format!("{module}{end}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        deploy: DeployArgs,
    }

    fn flags(line: &[&str]) -> DeployArgs {
        Line::try_parse_from([&["hearth"], line].concat()).unwrap_or_else(|error| panic!("{error}")).deploy
    }

    #[test]
    fn a_flag_outranks_the_manifest_and_variables_are_added() {
        let mut write =
            manifest::parse("memory = \"1GB\"\ntimeout = \"5s\"\n[env]\nA = \"1\"\nB = \"1\"\n[scale]\nmax = 3")
                .unwrap();
        let args = flags(&["x", "--memory", "256MB", "--env", "B=2", "--env", "C=a=b", "--idle", "0s", "--no-url"]);
        args.override_in(&mut write);
        let expected = serde_json::json!({
            "memory": "256MB", "timeout": "5s", "url": false,
            "env": {"A": "1", "B": "2", "C": "a=b"}, "scale": {"max": 3, "idle": "0s"},
        });
        assert_eq!(serde_json::to_value(&write).unwrap(), expected);
    }

    #[test]
    fn url_and_no_url_exclude_each_other() {
        let said = |line: &[&str]| {
            let mut write = FunctionWrite::default();
            flags(line).override_in(&mut write);
            write.url
        };
        assert_eq!(said(&["x"]), None);
        assert_eq!(said(&["x", "--url"]), Some(true));
        assert_eq!(said(&["x", "--no-url"]), Some(false));
        assert!(Line::try_parse_from(["hearth", "x", "--url", "--no-url"]).is_err());
    }

    #[test]
    fn what_cannot_be_is_refused_before_anything_is_made() {
        let said = |line: &[&str]| {
            let mut write = FunctionWrite { name: Some("f".parse().unwrap()), ..FunctionWrite::default() };
            flags(line).override_in(&mut write);
            check(&write, &Runtime::python("3.11"), "app.handler", None).err().map(|usage| usage.0)
        };
        assert_eq!(said(&["x", "--memory", "256MB", "--env", "A=1", "--min", "1", "--max", "1"]), None);
        for (line, key) in [
            (["x", "--memory", "1MB"], "memory = 1MB"),
            (["x", "--timeout", "16m"], "timeout = 16m"),
            (["x", "--max", "10001"], "scale.max = 10001"),
            (["x", "--min", "1001"], "scale.min = 1001"),
            (["x", "--idle", "8d"], "scale.idle = 8d"),
            (["x", "--env", "AWS_REGION=x"], "AWS_REGION"),
        ] {
            assert!(said(&line).unwrap().contains(key), "{line:?}: {:?}", said(&line));
        }
    }

    #[test]
    fn of_two_handlers_the_other_is_told_too() {
        let files = [("app.py", "def handler(e, c): pass"), ("main.py", "handler = f")];
        let files = files.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
        let mut told = Vec::new();
        assert_eq!(guessed_handler(&files, &Runtime::python("3.11"), &mut told).unwrap(), "app.handler");
        assert_eq!(told, ["handler app.handler, by its files; --handler chooses another: main.handler"]);
    }

    #[test]
    fn a_file_that_is_no_function_is_refused_in_words() {
        let folder = tempfile::tempdir().unwrap();
        pack::write(folder.path(), "a.txt", "");
        assert!(Source::of(&folder.path().join("a.txt")).err().unwrap().0.contains("expected a folder"));
        assert!(Source::of(&folder.path().join("none")).is_err());
        pack::write(folder.path(), "my-job.py", "");
        assert_eq!(Source::of(&folder.path().join("my-job.py")).unwrap().name().unwrap().as_str(), "my-job");
    }
}
