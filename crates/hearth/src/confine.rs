//! The server's own walls: whoever takes it over by what it reads finds little of the kernel, and little on the disk.
//!
//! ```text
//! spawner, between fork and exec    its user, no capability, no_new_privs
//! here, before a second thread      Landlock: the folders of `reach`, then the functions' system-call filter
//! ```

use std::path::{Path, PathBuf};

use linux::reach::{Held, Reach};
use linux::seccomp::{Policy, Program};

use crate::server::ServerConfig;

/// Programs and their libraries, settings, and what the kernel tells: what any program of this machine may read.
const SYSTEM: [&str; 9] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/proc", "/sys"];

/// Where the resolver's and the authorities' files lie that `/etc` only links to.
const BEHIND_ETC: [&str; 4] =
    ["/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager", "/var/lib/ca-certificates"];

/// Devices. A program that is started gets the first one as its input.
const DEVICES: [&str; 2] = ["/dev/null", "/dev/urandom"];

/// Puts this process, and what it asks for its version, behind both.
pub fn confine(config: &ServerConfig) {
    // First: the filter has no business with the calls that this takes.
    match reach(config).restrict() {
        Ok(Held::Whole | Held::Part) => {}
        Ok(Held::Nothing) => {
            tracing::warn!("this kernel has no Landlock: {}", one_wall_less("the server may open what its user may"));
        }
        Err(error) => tracing::warn!(%error, "{}", one_wall_less("the server may open what its user may")),
    }
    if let Err(error) = Program::compile(&Policy::native()).install() {
        tracing::warn!(%error, "{}", one_wall_less("the server runs without a system-call filter"));
    }
}

fn one_wall_less(what: &str) -> String {
    format!("{what}, which is one wall less: see docs/security.md")
}

/// All that the server opens by its name while it runs.
fn reach(config: &ServerConfig) -> Reach {
    let mut read: Vec<PathBuf> = SYSTEM.iter().chain(&BEHIND_ETC).map(PathBuf::from).collect();
    let mut write: Vec<PathBuf> = DEVICES.iter().map(PathBuf::from).collect();
    write.push(config.store_dir.clone());
    // Files of the operator's are replaced by others of their name, so their folders count; and where links lead.
    let tls = config.tls.iter().flat_map(|(files, _)| [&files.cert, &files.key]);
    for file in tls.chain(&config.secret_keys) {
        let real = file.canonicalize().ok();
        read.extend([file.parent(), real.as_deref().and_then(Path::parent)].into_iter().flatten().map(Path::to_owned));
    }
    // Folders that are watched. A disk that is mounted on one later is beneath the folder around it, not in the folder
    // that is there now.
    for mount in &config.allowed_mounts {
        let around = Path::new(mount.host.as_str());
        let around = around.parent().filter(|parent| parent.parent().is_some()).unwrap_or(around);
        if mount.writable { &mut write } else { &mut read }.push(around.to_owned());
    }
    Reach { read, write }
}
