//! The root that every sandbox sees, built once: a read-only tmpfs with the host's `/usr`, what programs need of
//! `/etc`, five harmless devices and the bootstraps. Nothing else of the host is in it.
//!
//! A sandbox gets a recursive copy of this mount, one system call, and adds what is its own: `/proc`, `/tmp`,
//! `/dev/shm`, `/var/task`.

use std::ffi::{CString, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::image::Layout;
use crate::sys;

/// The uid and gid of function code, as seen inside: AWS Lambda's.
pub const SANDBOX_ID: u32 = driver::User::SANDBOX.uid;

/// Top-level folders that merged-/usr distributions have as links, and others as folders.
pub const USR_LINKS: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// Folders of `/etc` that programs read at run time, where they exist. None holds a secret readable by others.
const ETC_FOLDERS: [&str; 6] =
    ["alternatives", "ssl/certs", "pki/tls/certs", "ca-certificates", "fonts", "ImageMagick-6"];

/// Files of `/etc`, copied so that a replaced file on the host does not change a running sandbox.
pub const ETC_FILES: [&str; 5] = ["ld.so.cache", "mime.types", "protocols", "services", "os-release"];

const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// Mount points for what each sandbox adds.
///
/// `var/task/lib` is in sight in stems only, before their code covers it: the C library looks once which folders of
/// `LD_LIBRARY_PATH` there are, when the interpreter starts, and never in one that was not there.
const OWN: [&str; 9] =
    ["proc", "tmp", "dev/shm", "var/task/lib", "var/runtime", "var/lang", "opt/lib", "mnt", "run/secrets"];

/// Size of `/run/secrets`, which counts as memory: room for every secret that one function may have, in files of whole
/// pages.
pub const SECRETS_SIZE: u64 = 8 << 20;

/// The template, mounted.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    /// The mount itself, to be copied.
    mount: OwnedFd,
}

// === impl Root ===

impl Root {
    /// Builds the template at `path`, in the calling process's mount namespace, which must be private to it.
    pub fn build(path: &Path, runtimes: &Path) -> io::Result<Self> {
        Self::build_with(path, runtimes, &[])
    }

    /// [`Root::build`], with programs and other files of Hearth's own in it: path inside, content.
    pub fn build_with(path: &Path, runtimes: &Path, more: &[(&str, &[u8])]) -> io::Result<Self> {
        Self::build_by(path, runtimes, more, |path| {
            for folder in OWN {
                fs::create_dir_all(path.join(folder)).map_err(at("make", folder))?;
            }
            bind_usr(path)?;
            write_etc(path)
        })
    }

    /// A template of an image's files instead of the host's.
    pub fn of_image(path: &Path, runtimes: &Path, more: &[(&str, &[u8])], image: &Layout) -> io::Result<Self> {
        let built = Self::build_by(path, runtimes, more, |path| lay_out(path, image));
        if built.is_err() {
            take_away(path);
        }
        built
    }

    fn build_by(
        path: &Path,
        runtimes: &Path,
        more: &[(&str, &[u8])],
        fill: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        let options = c"size=8m,mode=755,nr_inodes=4096";
        let flags = libc::MS_NOSUID | libc::MS_NODEV;
        sys::mount(c"hearth", &c_path(path)?, c"tmpfs", flags, options).map_err(at("mount the root at", path))?;

        fill(path)?;
        bind_devices(path)?;
        for (name, content) in more {
            let file = path.join(name.trim_start_matches('/'));
            write(&file, content)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        }
        bind_read_only(runtimes, &path.join("var/runtime"))?;

        let mount = OwnedFd::from(fs::File::open(path)?);
        // Not recursive: the devices must stay devices, and /usr has been made read-only by itself.
        sys::mount_setattr(mount.as_fd(), c"", false, libc::MOUNT_ATTR_RDONLY).map_err(at("make read-only", path))?;
        Ok(Self { path: path.to_owned(), mount })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A detached copy, with all that is mounted in it.
    pub fn copy(&self) -> io::Result<OwnedFd> {
        sys::open_tree(self.mount.as_fd(), c"", true)
    }

    /// Unmounts the template.
    pub fn close(&self) {
        take_away(&self.path);
    }
}

fn take_away(path: &Path) {
    let _ = rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH);
    let _ = fs::remove_dir(path);
}

/// Makes what is listed, links last: nothing that is made or mounted lies behind one.
fn lay_out(root: &Path, image: &Layout) -> io::Result<()> {
    for folder in &image.folders {
        fs::create_dir_all(root.join(folder)).map_err(at("make", folder))?;
    }
    for file in &image.files {
        let path = root.join(&file.path);
        write(&path, &file.content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))?;
    }
    for bound in &image.binds {
        let path = root.join(&bound.path);
        match bound.folder {
            true => fs::create_dir_all(&path).map_err(at("make", &path))?,
            false => write(&path, b"")?,
        }
        bind_open(&bound.what, &path).map_err(at("bind", &path))?;
    }
    for (path, target) in &image.links {
        symlink(target, root.join(path)).map_err(at("link", path))?;
    }
    Ok(())
}

fn bind_usr(root: &Path) -> io::Result<()> {
    bind_read_only(Path::new("/usr"), &root.join("usr"))?;
    for name in USR_LINKS {
        let host = Path::new("/").join(name);
        match fs::read_link(&host) {
            Ok(target) => symlink(target, root.join(name))?,
            Err(_) if host.is_dir() => bind_read_only(&host, &root.join(name))?,
            Err(_) => {}
        }
    }
    Ok(())
}

/// The files of `/etc` that are Hearth's own, by name.
pub fn etc_texts() -> [(&'static str, String); 5] {
    let id = SANDBOX_ID;
    let passwd = format!("sbx_user1051:x:{id}:{id}::/tmp:/sbin/nologin\nnobody:x:65534:65534::/:/sbin/nologin\n");
    [
        ("passwd", passwd),
        ("group", format!("sbx_user1051:x:{id}:\nnogroup:x:65534:\n")),
        ("hosts", "127.0.0.1 localhost\n::1 localhost\n".into()),
        ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n".into()),
        // Where there is no network, nobody is there either.
        ("resolv.conf", format!("nameserver {}\n", crate::net::GATEWAY)),
    ]
}

/// The folders of the host's `/etc` that sandboxes see, by name; only those that are there.
pub fn etc_folders() -> Vec<OsString> {
    let java = fs::read_dir("/etc").into_iter().flatten().flatten().map(|entry| entry.file_name());
    let java = java.filter(|name| name.as_bytes().starts_with(b"java-"));
    let known = ETC_FOLDERS.iter().map(OsString::from);
    known.chain(java).filter(|name| Path::new("/etc").join(name).is_dir()).collect()
}

fn write_etc(root: &Path) -> io::Result<()> {
    let etc = root.join("etc");
    for (name, text) in etc_texts() {
        write(&etc.join(name), text.as_bytes())?;
    }
    for name in ETC_FILES {
        if let Ok(content) = fs::read(Path::new("/etc").join(name)) {
            write(&etc.join(name), &content)?;
        }
    }
    for name in etc_folders() {
        bind_read_only(&Path::new("/etc").join(&name), &etc.join(&name))?;
    }
    Ok(())
}

fn bind_devices(root: &Path) -> io::Result<()> {
    let dev = root.join("dev");
    for name in DEVICES {
        let target = dev.join(name);
        write(&target, b"")?;
        let host = Path::new("/dev").join(name);
        sys::mount(&c_path(&host)?, &c_path(&target)?, c"", libc::MS_BIND, c"").map_err(at("bind", &host))?;
    }
    for (name, target) in [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")] {
        symlink(format!("/proc/self/fd{target}"), dev.join(name))?;
    }
    Ok(())
}

/// Binds a folder of the host with all that is mounted in it, read-only, without devices and set-id programs.
fn bind_read_only(host: &Path, target: &Path) -> io::Result<()> {
    fs::create_dir_all(target).map_err(at("make", target))?;
    // A copy of the tree is changed before anybody can see it; a bind mount would be writable for a moment.
    let host_dir = OwnedFd::from(fs::File::open(host).map_err(at("open", host))?);
    bind_open(&host_dir, target).map_err(at("bind", host))
}

fn bind_open(what: &OwnedFd, target: &Path) -> io::Result<()> {
    let tree = sys::open_tree(what.as_fd(), c"", true)?;
    let attributes = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    sys::mount_setattr(tree.as_fd(), c"", true, attributes)?;
    sys::move_mount(tree.as_fd(), &c_path(target)?)
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(at("make", folder))?;
    }
    fs::write(path, content).map_err(at("write", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

pub fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Names the step and its subject in an error.
pub fn at(step: &str, subject: impl AsRef<Path>) -> impl FnOnce(io::Error) -> io::Error {
    let what = format!("{step} {}", subject.as_ref().display());
    move |error| io::Error::new(error.kind(), format!("{what}: {error}"))
}
