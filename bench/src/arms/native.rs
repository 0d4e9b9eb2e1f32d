//! Goal 5: a native function, cold, against posix_spawn of the same static binary, which ends at once where there is no
//! Runtime API to ask. It is built here, by the compiler that built this program; where there is none, the arm says so.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::baseline::Baseline;
use crate::cold;
use crate::hearth::Code;
use crate::report::Outcome;
use crate::stats::Random;
use crate::suite::Suite;

const SOURCE: &str = include_str!("../../functions/native/main.rs");
const NATIVE: Code = Code { folder: "native-built", runtime: "provided.al2023", handler: "bootstrap" };

/// As one would build it for a small package: static, without symbols.
const FLAGS: [&str; 12] = [
    "--edition=2024",
    "-O",
    "-C",
    "target-feature=+crt-static",
    "-C",
    "relocation-model=static",
    "-C",
    "panic=abort",
    "-C",
    "strip=symbols",
    "--crate-name",
    "bootstrap",
];

pub fn run(suite: &mut Suite) -> anyhow::Result<Outcome> {
    let hearth = suite.plain()?;
    let folder = hearth.folder().join(NATIVE.folder);
    if let Some(why) = build(&folder)? {
        return Ok(Outcome::Skipped(why));
    }
    let baseline = Baseline::tool("itself, bare", &folder.join(NATIVE.handler), &[]);
    let other = (baseline.label.as_str(), &|| baseline.run() as anyhow::Result<_>);
    let plan = suite.cold_plan();
    let arm = cold::measure(&hearth, ("cold-native", NATIVE), (other.0, other.1), plan, &mut Random::from_clock())?;
    Ok(Outcome::Measured(arm))
}

/// Some: why it cannot be built here.
fn build(folder: &Path) -> anyhow::Result<Option<String>> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let source = folder.with_extension("rs");
    fs::write(&source, SOURCE).with_context(|| format!("write {}", source.display()))?;
    let built = Command::new("rustc")
        .args(FLAGS)
        .arg(&source)
        .arg("-o")
        .arg(folder.join(NATIVE.handler))
        .stdin(Stdio::null())
        .output();
    let built = match built {
        Ok(built) => built,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Some("no rustc here to build the program with".to_owned()));
        }
        Err(error) => return Err(error).context("start rustc"),
    };
    ensure!(built.status.success(), "the program does not build: {}", String::from_utf8_lossy(&built.stderr));
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_its_own_yardstick() {
        let folder = std::env::temp_dir().join(format!("bench-native-{}", std::process::id()));
        let missing = build(&folder).unwrap();
        if missing.is_none() {
            let program = folder.join(NATIVE.handler);
            let baseline = Baseline::tool("it", &program, &[]);
            assert!(baseline.run().unwrap().wall.as_millis() < 1000);
        }
        fs::remove_dir_all(&folder).unwrap();
        fs::remove_file(folder.with_extension("rs")).unwrap();
    }
}
