//! What `--allow-mount` may say. Functions are other people's code, so what would be a way out of every sandbox is refused
//! even to an operator who asks for it.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use model::AllowedMount;

/// Nobody's data: devices, the kernel's switches, the sockets of the host's services, Docker's among them.
const NEVER: [&str; 4] = ["/dev", "/proc", "/run", "/sys"];

/// The list as it was given, once every folder of it was looked at.
pub fn allowed(given: Vec<AllowedMount>, data_dir: &Path) -> anyhow::Result<Vec<AllowedMount>> {
    for one in &given {
        let subject = || format!("--allow-mount {one}");
        let path = fs::canonicalize(one.host.as_str()).with_context(subject)?;
        if path != Path::new(one.host.as_str()) {
            // No link is followed when it is mounted.
            bail!("{}: a link leads to {}: name that folder, here and in the function", subject(), path.display());
        }
        if !path.is_dir() {
            bail!("{}: expected a folder", subject());
        }
        refuse(&path, data_dir).with_context(subject)?;
    }
    Ok(given)
}

fn refuse(path: &Path, data_dir: &Path) -> anyhow::Result<()> {
    if path.starts_with(data_dir) || data_dir.starts_with(path) {
        bail!("Hearth's own data are in {}: a function could read every secret", data_dir.display());
    }
    if let Some(never) = NEVER.iter().find(|never| path.starts_with(never)) {
        bail!("{never} and what is below it cannot be mounted: it is the system's, and a way out of the sandbox");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn what_leads_out_of_every_sandbox_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        for folder in ["data/code", "photos"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        fs::write(dir.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink("photos", dir.path().join("link")).unwrap();
        let said = |path: PathBuf| {
            let given: AllowedMount = path.to_str().unwrap().parse().unwrap();
            allowed(vec![given], &data).map_err(|error| format!("{error:#}"))
        };
        assert!(said(dir.path().join("photos")).is_ok());
        for (path, expected) in [
            (dir.path().to_owned(), "own data"),
            (dir.path().join("data/code"), "own data"),
            (dir.path().join("link"), "name that folder"),
            (dir.path().join("file"), "expected a folder"),
            (dir.path().join("none"), "No such file"),
            ("/proc/self".into(), "name that folder"),
            ("/dev/shm".into(), "way out of the sandbox"),
        ] {
            let error = said(path).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
