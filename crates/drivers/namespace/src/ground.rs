//! What the spawner stands on: a mount namespace of its own, and folders bound in it.

use std::io;

use linux::root::{self, at};
use linux::sys;

use crate::probe;

/// Gives the calling process a mount namespace of its own and, for an ordinary user, a user namespace in which it
/// may mount. Called once, first thing in the spawner.
///
/// # Errors
/// With the reason and what to set, when this machine does not let an ordinary user have user namespaces.
pub fn enter() -> io::Result<()> {
    use rustix::thread::UnshareFlags;
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let flags = if uid == 0 { UnshareFlags::NEWNS } else { UnshareFlags::NEWNS | UnshareFlags::NEWUSER };
    // SAFETY: none of the flags shares or unshares memory or descriptors.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(|error| {
        let advice = if uid == 0 { "" } else { probe::USER_NAMESPACE_ADVICE };
        io::Error::new(io::Error::from(error).kind(), format!("make a namespace: {error}{advice}"))
    })?;
    if uid != 0 {
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
        std::fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    }
    // What the host unmounts later goes here too; what is mounted here stays here.
    let flags = rustix::mount::MountPropagationFlags::DOWNSTREAM | rustix::mount::MountPropagationFlags::REC;
    rustix::mount::mount_change("/", flags)?;
    Ok(())
}

/// Binds a folder to another place in this process's mount namespace. The server reaches its data this way, also
/// where it may not search the folders above.
pub fn bind(from: &std::path::Path, to: &std::path::Path) -> io::Result<()> {
    std::fs::create_dir_all(to).map_err(at("make", to))?;
    sys::mount(&root::c_path(from)?, &root::c_path(to)?, c"", libc::MS_BIND, c"").map_err(at("bind", from))
}

/// Takes back what [`bind`] did.
pub fn unbind(at: &std::path::Path) -> io::Result<()> {
    rustix::mount::unmount(at, rustix::mount::UnmountFlags::DETACH)?;
    std::fs::remove_dir(at)
}
