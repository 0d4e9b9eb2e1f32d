//! Which runtimes this machine has: interpreters below `/usr`, which is what a sandbox sees.

use std::path::Path;
use std::time::Duration;

use driver::InstalledRuntime;
use model::Runtime;

/// Where interpreters are looked for; the first that is found wins.
const FOLDERS: [&str; 2] = ["/usr/bin", "/usr/local/bin"];

/// Python minor versions that the bootstrap runs on.
const PYTHON_MINORS: std::ops::RangeInclusive<u32> = 9..=14;

/// Node majors that the bootstrap runs on.
const NODE_MAJORS: std::ops::RangeInclusive<u32> = 18..=25;

/// A `node --version` that takes longer is no working Node.
const VERSION_LIMIT: Duration = Duration::from_secs(5);

/// Looks for every Python, oldest first.
pub fn pythons() -> Vec<InstalledRuntime> {
    let found = PYTHON_MINORS.filter_map(|minor| {
        let version = format!("3.{minor}");
        let program = FOLDERS.iter().map(|folder| format!("{folder}/python{version}")).find(|p| Path::new(p).exists());
        program.map(|program| InstalledRuntime { runtime: Runtime::python(&version), program })
    });
    found.collect()
}

/// Looks for every runtime, oldest first within a language.
pub async fn installed() -> Vec<InstalledRuntime> {
    let mut found = pythons();
    for folder in FOLDERS {
        let program = format!("{folder}/node");
        if let Some(major) = node_major(&program).await.filter(|major| NODE_MAJORS.contains(major)) {
            found.push(InstalledRuntime { runtime: Runtime::node(&major.to_string()), program });
            break;
        }
    }
    found.extend(crate::java::installed());
    // Needs nothing but the agent, which Hearth brings along.
    found.push(InstalledRuntime { runtime: Runtime::provided(), program: engine::AGENT.to_owned() });
    found
}

async fn node_major(program: &str) -> Option<u32> {
    if !Path::new(program).exists() {
        return None;
    }
    let output = tokio::process::Command::new(program).arg("--version").kill_on_drop(true).output();
    let output = tokio::time::timeout(VERSION_LIMIT, output).await.ok()?.ok()?;
    major_of(std::str::from_utf8(&output.stdout).ok()?)
}

/// `v20.11.1` → 20
fn major_of(text: &str) -> Option<u32> {
    text.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_version_has_its_major() {
        assert_eq!(major_of("v20.20.2\n"), Some(20));
        assert_eq!(major_of("20.1"), None);
        assert_eq!(major_of(""), None);
    }
}
