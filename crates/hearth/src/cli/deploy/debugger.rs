//! What is deployed otherwise for a debugger to attach, under `hearth dev --debug`.
//!
//! The sandbox stays what it is. The runtime is told to listen on the loopback in there, one instance is kept so that there
//! is something to attach to, and times are such that a breakpoint does not run into them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use control::{FunctionView, FunctionWrite, ScaleWrite};
use model::{EnvValue, Isolation, IsolationChoice, Language, Memory, Runtime};

use crate::cli::Usage;
use crate::cli::pack::Contents;

/// What Python's bootstrap reads; see runtimes/python.
const PYTHON: &str = "HEARTH_DEBUG_PORT";
/// What Node itself reads.
const NODE: &str = "NODE_OPTIONS";
/// What the Java virtual machine itself reads.
const JAVA: &str = "JAVA_TOOL_OPTIONS";

/// A breakpoint may be looked at for so long: the longest that a call may take.
const PATIENCE: Duration = Duration::from_secs(900);
/// debugpy and its adapter take some 60 MB beside the function.
const MEMORY: Memory = Memory::mib(512);

/// That a debugger shall be able to attach.
#[derive(Debug, Clone, Copy)]
pub struct Debugger;

impl Debugger {
    /// Where a runtime's debugger listens in the sandbox; none: there is none for it.
    pub fn port(runtime: &Runtime) -> Option<u16> {
        match runtime.language() {
            Language::Python => Some(5678),
            Language::Node => Some(9229),
            Language::Java => Some(5005),
            _ => None,
        }
    }

    /// What must be in the package, if it is not yet.
    pub fn package(runtime: &Runtime, contents: &Contents) -> Option<&'static str> {
        let python = runtime.language() == Language::Python;
        (python && !contents.has("debugpy/__init__.py")).then_some("debugpy")
    }

    /// Changes what is deployed.
    pub fn prepare(self, write: &mut FunctionWrite, before: Option<&FunctionView>) -> anyhow::Result<()> {
        let in_image = write.image.clone().unwrap_or_else(|| before.and_then(|one| one.image.clone())).is_some();
        let runtime =
            write.runtime.clone().or_else(|| before?.runtime.parse().ok()).context("the runtime is not known")?;
        let Some(port) = Self::port(&runtime).filter(|_| !in_image) else {
            return Err(Usage(format!(
                "--debug: expected a function in Python, Node or Java without an image, got {runtime}"
            ))
            .into());
        };
        let isolation = write.isolation.clone().or_else(|| Some(before?.isolation.clone()));
        let namespace = IsolationChoice::One(Isolation::Namespace);
        if isolation.is_some_and(|choice| choice != namespace && choice != IsolationChoice::Auto) {
            return Err(
                Usage("--debug works with the isolation namespace only: say --isolation namespace".into()).into()
            );
        }
        write.isolation = Some(namespace);
        let env = write.env.get_or_insert_default();
        // Their options stay, but for what would open another port.
        let (variable, ours, theirs) = match runtime.language() {
            Language::Node => (NODE, format!("--inspect=127.0.0.1:{port}"), "--inspect"),
            Language::Java => {
                let agent = "-agentlib:jdwp=";
                (JAVA, format!("{agent}transport=dt_socket,server=y,suspend=n,address=127.0.0.1:{port}"), agent)
            }
            _ => (PYTHON, port.to_string(), ""),
        };
        let given = env.get(variable).cloned().unwrap_or_else(|| before?.env.get(variable).cloned());
        let given = match given {
            Some(EnvValue::Plain(given)) if variable != PYTHON => given,
            _ => String::new(),
        };
        let kept = given.split_whitespace().filter(|option| !option.starts_with(theirs));
        let options: Vec<String> = kept.map(str::to_owned).chain([ours]).collect();
        env.insert(variable.to_owned(), Some(EnvValue::Plain(options.join(" "))));
        write.timeout = Some(PATIENCE);
        let memory = write.memory.or_else(|| before?.memory.parse().ok()).unwrap_or(MEMORY);
        write.memory = Some(memory.max(MEMORY));
        write.snapstart = Some(false);
        let scale = write.scale.get_or_insert_default();
        (scale.min, scale.max) = (Some(1), Some(1));
        Ok(())
    }

    /// What takes that back on a function that stays: `wanted` is what manifest and flags say.
    pub fn undo(self, wanted: &FunctionWrite, before: Option<&FunctionView>) -> anyhow::Result<FunctionWrite> {
        let old = |name: &str| before.and_then(|one| one.env.get(name).cloned());
        let said = |name: &str| wanted.env.as_ref().and_then(|env| env.get(name).cloned());
        let env = [PYTHON, NODE, JAVA].map(|name| (name.to_owned(), said(name).unwrap_or_else(|| old(name))));
        let usual = model::FunctionSpec::new("x".parse()?, Runtime::python("3"), "x.y");
        let scale = wanted.scale.clone().unwrap_or_default();
        let memory = before.and_then(|one| one.memory.parse().ok());
        Ok(FunctionWrite {
            env: Some(BTreeMap::from(env)),
            timeout: wanted
                .timeout
                .or(before.and_then(|one| crate::cli::manifest::timeout(&one.timeout).ok()))
                .or(Some(usual.timeout)),
            memory: wanted.memory.or(memory).or(Some(usual.memory)),
            isolation: wanted.isolation.clone().or_else(|| before.map(|one| one.isolation.clone())),
            snapstart: wanted.snapstart.or(before.map(|one| one.snapstart)),
            scale: Some(ScaleWrite {
                min: scale.min.or(before.map(|one| one.scale.min)).or(Some(usual.scale.min)),
                max: scale.max.or(before.map(|one| one.scale.max)).or(Some(usual.scale.max)),
                ..ScaleWrite::default()
            }),
            ..FunctionWrite::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(runtime: Runtime) -> FunctionWrite {
        FunctionWrite { runtime: Some(runtime), ..FunctionWrite::default() }
    }

    #[test]
    fn options_of_the_function_s_own_are_kept_for_node() {
        let mut node = write(Runtime::node("20"));
        let options = EnvValue::Plain("--inspect=0.0.0.0:1 --enable-source-maps".into());
        node.env = Some(BTreeMap::from([(NODE.to_owned(), Some(options))]));
        Debugger.prepare(&mut node, None).unwrap();
        let expected = EnvValue::Plain("--enable-source-maps --inspect=127.0.0.1:9229".into());
        assert_eq!(node.env.unwrap()[NODE], Some(expected));
        assert_eq!((node.timeout, node.memory), (Some(PATIENCE), Some(MEMORY)));
    }

    #[test]
    fn java_s_machine_is_told_beside_what_it_was_told_before() {
        let mut java = write(Runtime::java("17"));
        java.env = Some(BTreeMap::from([(JAVA.to_owned(), Some(EnvValue::Plain("-Xss1m -agentlib:jdwp=x".into())))]));
        Debugger.prepare(&mut java, None).unwrap();
        let expected = "-Xss1m -agentlib:jdwp=transport=dt_socket,server=y,suspend=n,address=127.0.0.1:5005";
        assert_eq!(java.env.unwrap()[JAVA], Some(EnvValue::Plain(expected.into())));
    }

    #[test]
    fn more_memory_than_it_takes_stays() {
        let mut python = FunctionWrite { memory: Some(Memory::mib(1024)), ..write(Runtime::python("3.11")) };
        Debugger.prepare(&mut python, None).unwrap();
        assert_eq!(python.memory, Some(Memory::mib(1024)));
        assert_eq!(python.env.unwrap()[PYTHON], Some(EnvValue::Plain("5678".into())));
    }

    #[test]
    fn what_has_no_debugger_is_refused() {
        let refused = |mut write: FunctionWrite| Debugger.prepare(&mut write, None).unwrap_err().to_string();
        assert!(refused(write(Runtime::provided())).contains("Python, Node or Java"));
        let docker = Some(IsolationChoice::One(Isolation::Docker));
        assert!(
            refused(FunctionWrite { isolation: docker, ..write(Runtime::node("20")) })
                .contains("--isolation namespace")
        );
    }

    #[test]
    fn all_of_it_is_taken_back() {
        let undone = Debugger.undo(&FunctionWrite::default(), None).unwrap();
        let env = undone.env.unwrap();
        assert_eq!((env[PYTHON].clone(), env[NODE].clone()), (None, None));
        assert_eq!((undone.timeout, undone.memory), (Some(Duration::from_secs(3)), Some(Memory::mib(128))));
        assert_eq!(undone.scale.map(|scale| (scale.min, scale.max)), Some((Some(0), Some(1000))));
    }
}
