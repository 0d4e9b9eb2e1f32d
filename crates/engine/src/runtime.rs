//! What a runtime is started with: command, process environment, and the INIT that makes it a function.
//!
//! The process environment passes through the spawner, so it holds only what an interpreter reads before it
//! can be told anything. All else of a function's environment, its secrets among it, comes with INIT.

use std::collections::BTreeMap;

use driver::{InstalledRuntime, Limits, RootFs, SandboxSpec, User};
use model::{Fault, FaultCode, Function, FunctionSpec, InstanceId, Language, Memory, Runtime, Timestamp, is_early_env};
use wire::{Init, InitFunction, Mode, Run};

use crate::image::ImageRun;
use crate::java;
use crate::shared::Shared;

pub const PYTHON_BOOTSTRAP: &str = "/var/runtime/python/bootstrap.py";
pub const NODE_BOOTSTRAP: &str = "/var/runtime/node/bootstrap.cjs";
/// Speaks our protocol for programs that do not.
pub const AGENT: &str = "/var/runtime/hearth-agent";

/// What a native function's package has to hold, as on AWS Lambda.
const BOOTSTRAP: &str = "./bootstrap";

/// Where layers and images have extensions, as on AWS Lambda.
const EXTENSIONS: &str = "/opt/extensions";

/// How the agent says HELLO.
const AGENT_HELLO: &str = "provided";

/// Goes on from an image.
pub const RESTORE: &str = "/var/runtime/hearth-restore";

pub const TASK_ROOT: &str = "/var/task";
const RUNTIME_DIR: &str = "/var/runtime";

/// Of the variables that an interpreter reads at its own start, those that may name files of the function, which a stem does not have when its interpreter starts.
const NAME_FILES: &[&str] = &[
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "NODE_EXTRA_CA_CERTS",
    "NODE_ICU_DATA",
    "NODE_OPTIONS",
    "OPENSSL_CONF",
    "_JAVA_OPTIONS",
];

/// What a runtime is run with, whatever the function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    pub command: Vec<String>,
    pub env: Vec<(String, String)>,
}

/// Whether a sandbox whose runtime started before the function's code was there can become its instance.
pub fn takes_stems(spec: &FunctionSpec) -> bool {
    if !spec.mounts.is_empty() {
        // A folder of the host's is mounted before anything runs.
        return false;
    }
    if spec.is_through_agent() {
        // The agent is the same for all, and starts the program when it knows the function.
        return true;
    }
    // An instance of a fork point needs no runtime to start.
    !spec.snapstart
        && spec.runtime.language() != Language::Image
        // A virtual machine changes its folder by a library of ours, which not every image's C library loads.
        && (spec.runtime.language() != Language::Java || spec.image.is_none())
        && !spec.env.keys().any(|name| name.starts_with("LD_") || NAME_FILES.contains(&name.as_str()))
}

/// Program and arguments.
fn command(program: &str, spec: &FunctionSpec) -> Vec<String> {
    if spec.is_through_agent() {
        return vec![AGENT.into(), "guest".into()];
    }
    let program = program.to_owned();
    match spec.runtime.language() {
        // The packages that are installed in an image are what it is for.
        Language::Python if spec.image.is_some() => vec![program, "-s".into(), PYTHON_BOOTSTRAP.into()],
        // Isolated and without `site`: nothing of the host's packages, and 8 ms less.
        Language::Python => vec![program, "-I".into(), "-S".into(), PYTHON_BOOTSTRAP.into()],
        Language::Java => java::command(&program, spec, spec.image.is_some()),
        Language::Image | Language::Native => vec![program],
        Language::Node => vec![
            program,
            "--max-http-header-size=81920".into(),
            // V8 cannot see the sandbox's limit, and would rather die of it than collect. As on AWS Lambda.
            format!("--max-old-space-size={}", spec.memory.as_mib() * 9 / 10),
            NODE_BOOTSTRAP.into(),
        ],
    }
}

/// A function's variables that are no secrets.
fn plain(spec: &FunctionSpec) -> impl Iterator<Item = (String, String)> {
    let texts = spec.env.iter().filter_map(|(name, value)| value.plain().map(|text| (name, text)));
    texts.map(|(name, text)| (name.clone(), text.to_owned()))
}

/// The base is the host's, or the image's, whose variables win over ours: it knows where its libraries are.
fn process_env(spec: &FunctionSpec, image: Option<&ImageRun>) -> Vec<(String, String)> {
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let mut env: BTreeMap<String, String> = [("LANG", "C.UTF-8"), ("TZ", ":UTC"), ("HOME", "/tmp")].map(owned).into();
    if image.is_none() {
        env.extend(
            [
                ("PATH", "/var/lang/bin:/usr/local/bin:/usr/bin:/bin:/opt/bin"),
                ("LD_LIBRARY_PATH", "/var/task:/var/task/lib:/opt/lib"),
            ]
            .map(owned),
        );
    }
    if spec.runtime.language() == Language::Node {
        let major = spec.runtime.version();
        let path = format!("/opt/nodejs/node{major}/node_modules:/opt/nodejs/node_modules:/var/runtime/node_modules");
        env.insert("NODE_PATH".into(), path);
    }
    env.extend(image.iter().flat_map(|image| image.env.iter().cloned()));
    env.extend([("LAMBDA_TASK_ROOT", TASK_ROOT), ("LAMBDA_RUNTIME_DIR", RUNTIME_DIR)].map(owned));
    env.extend(plain(spec).filter(|(name, _)| is_early_env(name)));
    env.into_iter().collect()
}

/// Program, arguments and environment of every function of a runtime that tells its interpreter nothing itself: what a
/// fork server of it starts with. `None`: its sandboxes are not forked.
pub fn base(installed: &InstalledRuntime) -> Option<Base> {
    if installed.runtime.language() != Language::Python {
        return None;
    }
    let name = "any".parse().ok()?;
    let spec = FunctionSpec::new(name, installed.runtime.clone(), "");
    Some(Base { command: command(&installed.program, &spec), env: process_env(&spec, None) })
}

/// The sandbox for a new instance.
pub fn sandbox(shared: &Shared, function: &Function, id: &InstanceId) -> Result<SandboxSpec, Fault> {
    let spec = &function.spec;
    let unavailable = |text: String| Fault::new(FaultCode::RuntimeUnavailable, text);
    let image = spec.image.as_ref().map(|image| shared.images.find(&image.digest, &spec.runtime)).transpose();
    let image = image.map_err(|why| unavailable(format!("function {}: {why}", spec.name)))?;
    let (command, work_dir) = match &image {
        _ if spec.is_through_agent() => {
            // What it will run is looked for now, while there is somebody to tell.
            run(shared, spec)?;
            (command("", spec), TASK_ROOT.to_owned())
        }
        Some(image) if spec.runtime.language() == Language::Image => (image.command.clone(), image.work_dir.clone()),
        Some(image) => (command(image.command.first().map_or("", String::as_str), spec), TASK_ROOT.to_owned()),
        None => (command(interpreter(shared, spec)?, spec), TASK_ROOT.to_owned()),
    };
    Ok(SandboxSpec {
        id: id.clone(),
        root: spec.image.as_ref().map_or(RootFs::Host, |image| RootFs::Image(image.digest.clone())),
        command,
        env: process_env(spec, image.as_deref()),
        work_dir,
        user: image.as_ref().map_or(User::SANDBOX, |image| image.user),
        code: Some(function.code.clone()),
        layers: spec.layers.as_ref().map(|layers| layers.tree.clone()),
        limits: Limits {
            memory: spec.memory,
            cpu_cap: spec.cpu_cap(),
            cpu_share: spec.cpu_share(),
            pids: shared.limits.pids,
            tmp: spec.tmp,
        },
        secret_files: !spec.secrets.is_empty(),
        mounts: spec.mounts.clone(),
        invoke_streams: 1,
        egress: spec.egress.clone(),
    })
}

/// The sandbox in which a function's fork point is made. It holds the image beside what it is of, and so twice as much.
pub fn fork_point(shared: &Shared, function: &Function, id: &InstanceId) -> Result<SandboxSpec, Fault> {
    let mut sandbox = sandbox(shared, function, id)?;
    sandbox.env.push(("HEARTH_SNAPSHOT".into(), "1".into()));
    sandbox.limits.memory = Memory::mib(sandbox.limits.memory.as_mib() * 2 + 32);
    Ok(sandbox)
}

/// The sandbox of an instance that goes on from it. Its program is gone before the function is there.
pub fn restored(shared: &Shared, function: &Function, id: &InstanceId) -> Result<SandboxSpec, Fault> {
    // The C library would have the kernel write into memory that is about to go.
    let env = vec![("GLIBC_TUNABLES".to_owned(), "glibc.pthread.rseq=0".to_owned())];
    Ok(SandboxSpec { command: vec![RESTORE.into()], env, ..sandbox(shared, function, id)? })
}

/// The runtime's own program on this machine.
fn interpreter<'a>(shared: &'a Shared, spec: &FunctionSpec) -> Result<&'a str, Fault> {
    let found = shared.runtimes.iter().find(|installed| installed.runtime == spec.runtime);
    found.map(|installed| installed.program.as_str()).ok_or_else(|| {
        let (runtime, name) = (&spec.runtime, &spec.name);
        let text = format!("runtime {runtime} of function {name} is not on this machine: see `hearth doctor`");
        Fault::new(FaultCode::RuntimeUnavailable, text)
    })
}

/// What the agent runs; none for a function whose runtime speaks our protocol itself.
fn run(shared: &Shared, spec: &FunctionSpec) -> Result<Option<Run>, Fault> {
    if !spec.is_through_agent() {
        return Ok(None);
    }
    let mode = match (&spec.web, &spec.command) {
        (Some(_), _) => Mode::Web,
        (None, Some(_)) => Mode::Command,
        (None, None) => Mode::Runtime,
    };
    let in_image = || match &spec.image {
        Some(image) => {
            let found = shared.images.find(&image.digest, &spec.runtime);
            found
                .map(|found| found.command.clone())
                .map_err(|why| Fault::new(FaultCode::RuntimeUnavailable, format!("function {}: {why}", spec.name)))
        }
        None => Ok(vec![interpreter(shared, spec)?.to_owned()]),
    };
    let command = match (&spec.command, spec.runtime.language()) {
        (Some(command), _) => command.clone(),
        (None, Language::Native) => vec![BOOTSTRAP.to_owned()],
        (None, Language::Image) => in_image()?,
        // The handler is the server's file.
        (None, Language::Python | Language::Node) => [in_image()?, vec![spec.handler.clone()]].concat(),
        (None, Language::Java) => java::jar(in_image()?.first().map_or("", String::as_str), spec, &spec.handler),
    };
    let web = spec.web.as_ref();
    let extensions = (mode == Mode::Runtime).then(|| EXTENSIONS.to_owned());
    let (port, health) = (web.map(|web| web.port), web.and_then(|web| web.health.clone()));
    Ok(Some(Run { mode, command, port, health, extensions }))
}

/// Whether this is how that runtime says HELLO.
pub fn is_that(runtime: &Runtime, hello: &str) -> bool {
    let version = runtime.version();
    let begins = match runtime.language() {
        Language::Python => format!("python{version}"),
        Language::Node => format!("nodejs{version}"),
        Language::Java => format!("java{version}"),
        Language::Image => return true,
        Language::Native => AGENT_HELLO.to_owned(),
    };
    hello.strip_prefix(&begins).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Whether what said HELLO is what the function asked for. Only an image's can be another: nobody has run it before.
pub fn check_hello(spec: &FunctionSpec, hello: &str) -> Result<(), Fault> {
    let Some(image) = spec.image.as_ref().filter(|_| !is_that(&says(spec), hello)) else { return Ok(()) };
    let hello: String = hello.chars().filter(|c| !c.is_control()).take(40).collect();
    let text = format!("function {} asks for {}, and image {} has {hello}", spec.name, spec.runtime, image.name);
    Err(Fault::new(FaultCode::RuntimeUnavailable, text))
}

/// The runtime that says HELLO for a function: its own, or the agent.
pub fn says(spec: &FunctionSpec) -> Runtime {
    if spec.is_through_agent() { Runtime::provided() } else { spec.runtime.clone() }
}

/// The function's name for the world.
pub fn arn(shared: &Shared, function: &Function) -> String {
    format!("arn:aws:lambda:{}:{}:function:{}", shared.region, shared.account, function.spec.name)
}

/// All that the bootstrap is told about its function, but for its secrets.
///
/// `copied`: it becomes a fork point, or goes on from one.
pub fn init(
    shared: &Shared,
    function: &Function,
    id: &InstanceId,
    now: Timestamp,
    copied: bool,
) -> Result<Init, Fault> {
    let spec = &function.spec;
    let run = run(shared, spec)?;
    let log_group = format!("/aws/lambda/{}", spec.name);
    let version = function.version.to_string();
    let log_stream = id.log_stream(now, &version);
    let mut env: BTreeMap<String, String> = plain(spec).collect();
    for (name, value) in [
        ("AWS_REGION", shared.region.as_str()),
        ("AWS_DEFAULT_REGION", &shared.region),
        ("AWS_EXECUTION_ENV", &format!("AWS_Lambda_{}", spec.runtime)),
        ("AWS_LAMBDA_FUNCTION_NAME", spec.name.as_str()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &spec.memory.as_mib().to_string()),
        ("AWS_LAMBDA_FUNCTION_VERSION", &version),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", if copied { "snap-start" } else { "on-demand" }),
        ("AWS_LAMBDA_LOG_GROUP_NAME", &log_group),
        ("AWS_LAMBDA_LOG_STREAM_NAME", &log_stream),
        ("_HANDLER", &spec.handler),
    ] {
        env.insert(name.to_owned(), value.to_owned());
    }
    if let Some(level) = &spec.aws.json_logs {
        env.insert("AWS_LAMBDA_LOG_FORMAT".into(), "JSON".into());
        env.insert("AWS_LAMBDA_LOG_LEVEL".into(), level.clone());
    }
    // A function may say otherwise, as on AWS Lambda.
    env.entry("AWS_XRAY_CONTEXT_MISSING".into()).or_insert_with(|| "LOG_ERROR".into());
    env.entry("TZ".into()).or_insert_with(|| ":UTC".into());
    Ok(Init {
        handler: spec.handler.clone(),
        task_root: TASK_ROOT.into(),
        env,
        files: Vec::new(),
        function: InitFunction {
            name: spec.name.as_str().into(),
            version,
            arn: arn(shared, function),
            memory_mb: spec.memory.as_mib(),
            timeout_ms: spec.timeout.as_millis() as u64,
            log_group,
            log_stream,
        },
        run,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_an_interpreter_reads_itself_passes_the_spawner() {
        let mut spec = FunctionSpec::new("f".parse().unwrap(), Runtime::node("20"), "app.handler");
        for (name, value) in [("API_KEY", "secret"), ("NODE_OPTIONS", "--no-warnings"), ("LD_PRELOAD", "/opt/x.so")] {
            spec.env.insert(name.into(), value.into());
        }
        let env: BTreeMap<_, _> = process_env(&spec, None).into_iter().collect();
        assert!(!env.contains_key("API_KEY"));
        assert_eq!(env["NODE_OPTIONS"], "--no-warnings");
        assert_eq!(env["LD_PRELOAD"], "/opt/x.so");
        assert!(env["NODE_PATH"].starts_with("/opt/nodejs/node20/"));
    }

    #[test]
    fn what_an_interpreter_reads_from_the_package_rules_stems_out() {
        let mut spec = FunctionSpec::new("f".parse().unwrap(), Runtime::node("20"), "app.handler");
        spec.env = [("TZ".into(), "Europe/Berlin".into()), ("KEY".into(), "v".into())].into();
        assert!(takes_stems(&spec));
        for name in ["LD_PRELOAD", "NODE_OPTIONS"] {
            spec.env = [(name.into(), "/var/task/x".into())].into();
            assert!(!takes_stems(&spec), "{name}");
        }
    }

    #[test]
    fn an_images_environment_is_the_base_and_the_functions_is_on_top() {
        let mut spec = FunctionSpec::new("f".parse().unwrap(), Runtime::python("3.11"), "app.handler");
        spec.env.insert("LD_PRELOAD".into(), "/opt/x.so".into());
        let text = |text: &str| text.to_owned();
        let image = ImageRun {
            command: vec![text("/opt/py/bin/python3")],
            env: vec![(text("PATH"), text("/opt/py/bin")), (text("LANG"), text("de_DE.UTF-8"))],
            work_dir: text("/srv"),
            user: User { uid: 1000, gid: 1000 },
        };
        let env: BTreeMap<_, _> = process_env(&spec, Some(&image)).into_iter().collect();
        assert_eq!((env["PATH"].as_str(), env["LANG"].as_str()), ("/opt/py/bin", "de_DE.UTF-8"));
        assert_eq!((env["LD_PRELOAD"].as_str(), env["LAMBDA_TASK_ROOT"].as_str()), ("/opt/x.so", "/var/task"));
        assert!(!env.contains_key("LD_LIBRARY_PATH"), "the host's folders say nothing in an image");
    }

    #[test]
    fn another_interpreter_than_the_function_asks_for_is_no_surprise_later() {
        let mut spec = FunctionSpec::new("f".parse().unwrap(), Runtime::node("20"), "app.handler");
        assert!(check_hello(&spec, "anything").is_ok(), "the host's was looked at");
        spec.image = Some(format!("node:22@sha256:{}", "0".repeat(64)).parse().unwrap());
        assert!(check_hello(&spec, "nodejs20.11.1").is_ok());
        for other in ["nodejs22.1.0", "nodejs201.0", "python3.11"] {
            let fault = check_hello(&spec, other).unwrap_err();
            assert!(fault.message.contains("asks for nodejs20.x, and image node:22 has"), "{fault}");
        }
    }

    #[test]
    fn commands_name_the_bootstraps() {
        let spec = FunctionSpec::new("f".parse().unwrap(), Runtime::python("3.11"), "app.handler");
        assert_eq!(command("/usr/bin/python3.11", &spec), ["/usr/bin/python3.11", "-I", "-S", PYTHON_BOOTSTRAP]);
        let spec = FunctionSpec::new("f".parse().unwrap(), Runtime::node("20"), "app.handler");
        assert!(command("/usr/bin/node", &spec).contains(&"--max-old-space-size=115".to_owned()));
    }
}
