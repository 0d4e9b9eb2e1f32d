//! What a runtime is started with: command, process environment, and the INIT that makes it a function.
//!
//! The process environment passes through the spawner, so it holds only what an interpreter reads before it
//! can be told anything. All else of a function's environment, its secrets among it, comes with INIT.

use std::collections::BTreeMap;

use driver::{InstalledRuntime, Limits, SandboxSpec};
use model::{Fault, FaultCode, Function, FunctionSpec, InstanceId, Language, Timestamp};
use wire::{Init, InitFunction};

use crate::shared::Shared;

pub const PYTHON_BOOTSTRAP: &str = "/var/runtime/python/bootstrap.py";
pub const NODE_BOOTSTRAP: &str = "/var/runtime/node/bootstrap.cjs";

const TASK_ROOT: &str = "/var/task";
const RUNTIME_DIR: &str = "/var/runtime";
const VERSION: &str = "$LATEST";

/// Variables of a function that its interpreter, or the C library under it, reads at its own start.
const EARLY: &[&str] = &[
    "GLIBC_TUNABLES",
    "LANG",
    "LANGUAGE",
    "NODE_EXTRA_CA_CERTS",
    "NODE_ICU_DATA",
    "NODE_OPTIONS",
    "NODE_PATH",
    "OPENSSL_CONF",
    "TZ",
];

/// The beginnings of more of them.
const EARLY_PREFIXES: &[&str] = &["LC_", "LD_", "MALLOC_", "UV_"];

/// Those of them that may name files of the function, which a stem does not have when its interpreter starts.
const NAME_FILES: &[&str] = &["NODE_EXTRA_CA_CERTS", "NODE_ICU_DATA", "NODE_OPTIONS", "OPENSSL_CONF"];

/// Whether a sandbox whose runtime started before the function's code was there can become its instance.
pub fn takes_stems(spec: &FunctionSpec) -> bool {
    !spec.env.keys().any(|name| name.starts_with("LD_") || NAME_FILES.contains(&name.as_str()))
}

/// Program and arguments.
fn command(runtime: &InstalledRuntime, spec: &FunctionSpec) -> Vec<String> {
    let program = runtime.program.clone();
    match runtime.runtime.language() {
        // Isolated and without `site`: nothing of the host's packages, and 8 ms less.
        Language::Python => vec![program, "-I".into(), "-S".into(), PYTHON_BOOTSTRAP.into()],
        Language::Node => vec![
            program,
            "--max-http-header-size=81920".into(),
            // V8 cannot see the sandbox's limit, and would rather die of it than collect. As on AWS Lambda.
            format!("--max-old-space-size={}", spec.memory.as_mib() * 9 / 10),
            NODE_BOOTSTRAP.into(),
        ],
    }
}

fn process_env(spec: &FunctionSpec) -> Vec<(String, String)> {
    let mut env: BTreeMap<String, String> = [
        ("PATH", "/var/lang/bin:/usr/local/bin:/usr/bin:/bin:/opt/bin"),
        ("LANG", "C.UTF-8"),
        ("TZ", ":UTC"),
        ("HOME", "/tmp"),
        ("LD_LIBRARY_PATH", "/var/task:/var/task/lib:/opt/lib"),
        ("LAMBDA_TASK_ROOT", TASK_ROOT),
        ("LAMBDA_RUNTIME_DIR", RUNTIME_DIR),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    if spec.runtime.language() == Language::Node {
        let major = spec.runtime.version();
        let path = format!("/opt/nodejs/node{major}/node_modules:/opt/nodejs/node_modules:/var/runtime/node_modules");
        env.insert("NODE_PATH".into(), path);
    }
    let early = |name: &str| EARLY.contains(&name) || EARLY_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    env.extend(spec.env.iter().filter(|(name, _)| early(name)).map(|(name, value)| (name.clone(), value.clone())));
    env.into_iter().collect()
}

/// The sandbox for a new instance.
pub fn sandbox(shared: &Shared, function: &Function, id: &InstanceId) -> Result<SandboxSpec, Fault> {
    let spec = &function.spec;
    let Some(runtime) = shared.runtimes.iter().find(|installed| installed.runtime == spec.runtime) else {
        let text =
            format!("runtime {} of function {} is not on this machine: see `hearth doctor`", spec.runtime, spec.name);
        return Err(Fault::new(FaultCode::RuntimeUnavailable, text));
    };
    Ok(SandboxSpec {
        id: id.clone(),
        command: command(runtime, spec),
        env: process_env(spec),
        code: Some(function.code.clone()),
        limits: Limits {
            memory: spec.memory,
            cpu_cap: spec.cpu_cap(),
            cpu_share: spec.cpu_share(),
            pids: shared.limits.pids,
            tmp: spec.tmp,
        },
        invoke_streams: 1,
    })
}

/// The function's name for the world.
pub fn arn(shared: &Shared, function: &Function) -> String {
    format!("arn:aws:lambda:{}:{}:function:{}", shared.region, shared.account, function.spec.name)
}

/// All that the bootstrap is told about its function.
pub fn init(shared: &Shared, function: &Function, id: &InstanceId, now: Timestamp) -> Init {
    let spec = &function.spec;
    let log_group = format!("/aws/lambda/{}", spec.name);
    // Begins with the instance's id, so that the one leads to the other.
    let log_stream = format!("{}/[{VERSION}]{id}{}", now.rfc3339()[..10].replace('-', "/"), InstanceId::random());
    let mut env = spec.env.clone();
    for (name, value) in [
        ("AWS_REGION", shared.region.as_str()),
        ("AWS_DEFAULT_REGION", &shared.region),
        ("AWS_EXECUTION_ENV", &format!("AWS_Lambda_{}", spec.runtime)),
        ("AWS_LAMBDA_FUNCTION_NAME", spec.name.as_str()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &spec.memory.as_mib().to_string()),
        ("AWS_LAMBDA_FUNCTION_VERSION", VERSION),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", &log_group),
        ("AWS_LAMBDA_LOG_STREAM_NAME", &log_stream),
        ("_HANDLER", &spec.handler),
    ] {
        env.insert(name.to_owned(), value.to_owned());
    }
    // A function may say otherwise, as on AWS Lambda.
    env.entry("AWS_XRAY_CONTEXT_MISSING".into()).or_insert_with(|| "LOG_ERROR".into());
    env.entry("TZ".into()).or_insert_with(|| ":UTC".into());
    Init {
        handler: spec.handler.clone(),
        task_root: TASK_ROOT.into(),
        env,
        function: InitFunction {
            name: spec.name.as_str().into(),
            version: VERSION.into(),
            arn: arn(shared, function),
            memory_mb: spec.memory.as_mib(),
            timeout_ms: spec.timeout.as_millis() as u64,
            log_group,
            log_stream,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Runtime;

    #[test]
    fn only_what_an_interpreter_reads_itself_passes_the_spawner() {
        let mut spec = FunctionSpec::new("f".parse().unwrap(), Runtime::node("20"), "app.handler");
        for (name, value) in [("API_KEY", "secret"), ("NODE_OPTIONS", "--no-warnings"), ("LD_PRELOAD", "/opt/x.so")] {
            spec.env.insert(name.into(), value.into());
        }
        let env: BTreeMap<_, _> = process_env(&spec).into_iter().collect();
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
    fn commands_name_the_bootstraps() {
        let python = InstalledRuntime { runtime: Runtime::python("3.11"), program: "/usr/bin/python3.11".into() };
        let spec = FunctionSpec::new("f".parse().unwrap(), Runtime::python("3.11"), "app.handler");
        assert_eq!(command(&python, &spec), ["/usr/bin/python3.11", "-I", "-S", PYTHON_BOOTSTRAP]);
        let node = InstalledRuntime { runtime: Runtime::node("20"), program: "/usr/bin/node".into() };
        assert!(command(&node, &spec).contains(&"--max-old-space-size=115".to_owned()));
    }
}
