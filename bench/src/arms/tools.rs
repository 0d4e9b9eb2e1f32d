//! Goal 7: a cold call of Hearth's, to the answer, against other tools that start an interpreter in a sandbox to do
//! nothing, on the same root file system: the host's `/usr`, read-only. Each where it is installed and works.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::json;

use super::installed;
use crate::baseline::Baseline;
use crate::cold;
use crate::hearth::{Folder, PYTHON};
use crate::report::Outcome;
use crate::stats::Random;
use crate::suite::Suite;

/// What `/` has beside `/usr`.
const LINKS: [(&str, &str); 4] = [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")];

/// The name of the image that the docker arm makes and removes.
const IMAGE: &str = "hearth-bench:root";

pub fn bwrap(suite: &mut Suite) -> anyhow::Result<Outcome> {
    let Some(program) = installed("bwrap") else { return not_installed("bubblewrap") };
    let args = "--unshare-all --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 \
        /lib64 --proc /proc --dev /dev --tmpfs /tmp --clearenv --setenv PATH /usr/bin --setenv LANG C.UTF-8";
    let mut args: Vec<_> = args.split_ascii_whitespace().collect();
    args.extend(["/usr/bin/python3", "-c", "pass"]);
    measure(suite, "against-bwrap", &Baseline::tool("bwrap … python3", &program, &args))
}

pub fn crun(suite: &mut Suite) -> anyhow::Result<Outcome> {
    let Some(program) = installed("crun") else { return not_installed("crun") };
    let folder = Folder::make()?;
    let bundle = bundle(folder.path(), &program)?;
    let (bundle, state) = (bundle.display().to_string(), folder.path().join("state").display().to_string());
    let args = ["--root", &state, "run", "--bundle", &bundle, "hearth-bench"];
    measure(suite, "against-crun", &Baseline::tool("crun run", &program, &args))
}

pub fn docker(suite: &mut Suite) -> anyhow::Result<Outcome> {
    let Some(program) = installed("docker") else { return not_installed("docker.io") };
    let answer = Command::new(&program).args(["version", "--format", "{{.Server.Version}}"]).output()?;
    if !answer.status.success() {
        let why = String::from_utf8_lossy(&answer.stderr).trim().to_owned();
        return Ok(Outcome::Skipped(format!("no Docker Engine answers: {why}")));
    }
    let folder = Folder::make()?;
    let root = root(folder.path())?;
    let tar = folder.path().join("root.tar");
    let packed = Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg(".").status().context("run tar")?;
    ensure!(packed.success(), "packing the image ended with {packed}");
    let import = Command::new(&program).arg("import").arg(&tar).arg(IMAGE).stdout(Stdio::null()).status()?;
    ensure!(import.success(), "docker import ended with {import}");
    let args =
        ["run", "--rm", "--network", "none", "--volume", "/usr:/usr:ro", IMAGE, "/usr/bin/python3", "-c", "pass"];
    let outcome = measure(suite, "against-docker", &Baseline::tool("docker run", &program, &args));
    let _ = Command::new(&program).args(["image", "rm", IMAGE]).stdout(Stdio::null()).status();
    outcome
}

fn not_installed(package: &str) -> anyhow::Result<Outcome> {
    Ok(Outcome::Skipped(format!("not installed: apt-get install {package}")))
}

fn measure(suite: &mut Suite, name: &str, tool: &Baseline) -> anyhow::Result<Outcome> {
    if let Err(error) = tool.run() {
        return Ok(Outcome::Skipped(format!("installed, but does not work here: {error:#}: {}", tool.complaint())));
    }
    let plan = suite.pick(cold::Plan { pairs: 100, block: 100 }, cold::Plan { pairs: 5, block: 5 });
    let hearth = suite.plain()?;
    let mut arm =
        cold::measure(&hearth, (name, PYTHON), (&tool.label, &|| tool.run()), plan, &mut Random::from_clock())?;
    // A tool's daemon is nobody's child: its processor time is not known.
    arm.rows.retain(|row| row.label() != "CPU");
    Ok(Outcome::Measured(arm))
}

/// A root folder with what `/usr` alone does not have.
fn root(folder: &Path) -> anyhow::Result<PathBuf> {
    let root = folder.join("rootfs");
    for dir in ["usr", "proc", "dev", "sys", "tmp", "etc"] {
        fs::create_dir_all(root.join(dir))?;
    }
    for (name, target) in LINKS {
        symlink(target, root.join(name))?;
    }
    Ok(root)
}

/// An OCI bundle: the tool's own template, with our command, and `/usr` mounted from the host.
fn bundle(folder: &Path, crun: &Path) -> anyhow::Result<PathBuf> {
    root(folder)?;
    let made = Command::new(crun).arg("spec").current_dir(folder).status().context("run crun spec")?;
    ensure!(made.success(), "crun spec ended with {made}");
    let path = folder.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path)?).context("read crun's template")?;
    config["process"]["args"] = json!(["/usr/bin/python3", "-c", "pass"]);
    config["process"]["terminal"] = json!(false);
    config["process"]["env"] = json!(["PATH=/usr/bin:/bin", "LANG=C.UTF-8"]);
    config["root"] = json!({"path": "rootfs", "readonly": true});
    let usr = json!({"destination": "/usr", "source": "/usr", "type": "bind", "options": ["rbind", "ro"]});
    config["mounts"].as_array_mut().context("mounts in crun's template")?.push(usr);
    fs::write(&path, config.to_string())?;
    Ok(folder.to_owned())
}
