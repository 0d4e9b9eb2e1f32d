//! The driver by itself, on this machine: what every driver must do, and what is this one's own.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use conformance::{Bed, Case, Folders, Run, check, spec, text};
use driver::{Host, RootFs, StartError, User};
use model::ImageDigest;
use namespace::{Namespace, Options};

fn make(folders: &Folders) -> std::io::Result<Box<dyn Host>> {
    let options = Options {
        name: folders.name.clone(),
        run_dir: folders.run.clone(),
        code_dir: folders.code.clone(),
        data_dir: folders.data.clone(),
        runtime_dir: folders.runtime.clone(),
        allowed_mounts: vec![],
        fork_servers: vec![],
    };
    Ok(Box::new(Namespace::new(&options, folders.rootless)?))
}

/// An image with a shell and little else, made of the host's files.
fn make_image(bed: &Bed, digit: &str) -> (ImageDigest, PathBuf) {
    let digest: ImageDigest = digit.repeat(64).parse().expect("a digest");
    let root = bed.folders.data.join("images/roots").join(digest.as_str());
    for program in ["/bin/sh", "/bin/ls", "/bin/cat", "/usr/bin/id"] {
        copy_program(program, &root).expect("a program in the image");
    }
    std::fs::create_dir_all(root.join("app")).expect("a folder");
    std::fs::write(root.join("app/name"), format!("image {digit}\n")).expect("a file");
    (digest, root)
}

/// Copies a program with the libraries that it needs, to the same paths.
fn copy_program(program: &str, root: &Path) -> std::io::Result<()> {
    let output = std::process::Command::new("ldd").arg(program).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let libraries = text.split_whitespace().filter(|word| word.starts_with('/'));
    for file in libraries.chain([program]) {
        let to = root.join(file.trim_start_matches('/'));
        std::fs::create_dir_all(to.parent().expect("a folder"))?;
        std::fs::copy(file, to)?;
    }
    Ok(())
}

fn run_in_image(bed: &mut Bed, image: &ImageDigest, user: User, script: &str) -> Run {
    let mut inside = spec(&["/bin/sh", "-c", script]);
    inside.root = RootFs::Image(image.clone());
    inside.work_dir = "/app".into();
    inside.user = user;
    bed.run_spec(&inside)
}

/// Nothing but a shell in an image.
fn of_image(image: &ImageDigest) -> driver::SandboxSpec {
    let mut inside = spec(&["/bin/sh"]);
    inside.root = RootFs::Image(image.clone());
    inside.work_dir = "/".into();
    inside.code = None;
    inside
}

const OWN: &[Case] = &[
    ("it can get no new privileges", |bed| {
        let run = bed.run("grep NoNewPrivs /proc/self/status");
        check(run.output == "NoNewPrivs:\t1\n", &run)
    }),
    ("its first process tells nothing of the spawner", |bed| {
        let run = bed.run("tr '\\0' ' ' < /proc/1/cmdline; cat /proc/1/environ /proc/1/maps 2>&1");
        check(run.output.trim_start().starts_with("init") && run.output.matches("denied").count() == 2, &run)
    }),
    ("nothing else of the host is in sight", |bed| {
        let run =
            bed.run("ls -a / /root /home /sys /var /etc/shadow /boot 2>&1; ls /dev; echo /run: $(ls -A /run /mnt)");
        let hidden = ["/root", "/home", "/sys", "/boot", "/etc/shadow"];
        let gone = hidden.iter().all(|path| run.output.contains(&format!("cannot access '{path}'")));
        let own = run.output.ends_with("/run: /mnt: /run: secrets\n");
        check(gone && own && !run.output.contains("sda") && !run.output.contains("kvm"), &run)
    }),
    ("inotify and pending signals, which the kernel counts for each user, are limited", |bed| {
        let run = bed.run("cat /proc/sys/user/max_inotify_instances; grep 'pending signals' /proc/self/limits");
        check(run.output.split_whitespace().eq("32 Max pending signals 4096 4096 signals".split(' ')), &run)
    }),
    ("an image is all that a sandbox of it sees", |bed| {
        let (image, root) = make_image(bed, "a");
        std::fs::create_dir_all(root.join("etc/conf.d")).map_err(text)?;
        std::fs::write(root.join("etc/conf.d/mine"), "mine\n").map_err(text)?;
        let script = "pwd; cat name /var/task/hello.txt /var/runtime/python/bootstrap.py /etc/conf.d/mine; id -u; id -g; \
                      echo /*; echo /usr/bin/*; echo x > /app/x; echo x > /x; echo x > /tmp/x && echo written";
        let run = run_in_image(bed, &image, User { uid: 1234, gid: 4321 }, script);
        let began = "/app\nimage a\nhello from the package\nprint('bootstrap')\nmine\n1234\n4321\n";
        let host = ["/usr/bin/python", "/usr/bin/env", "/home", "/root", "/sys", "/boot"];
        let hidden = host.iter().all(|path| !run.output.contains(path));
        let closed = run.output.matches("Read-only file system").count() == 2 && run.output.contains("written");
        check(run.output.starts_with(began) && hidden && closed, &run)
    }),
    ("links in an image lead nowhere but into it, and no mount follows one", |bed| {
        let (image, root) = make_image(bed, "b");
        let bait = bed.folders.data.join("bait");
        std::fs::create_dir_all(bait.join("task")).map_err(text)?;
        std::fs::write(bait.join("secret"), "secret of the host").map_err(text)?;
        let link = |target: &str, name: &str| {
            std::os::unix::fs::symlink(target, root.join(name)).map_err(|error| format!("{name}: {error}"))
        };
        let bait_path = bait.to_str().unwrap_or_default().to_owned();
        link("/etc", "etc")?;
        link("/", "var")?;
        link(&bait_path, "tmp")?;
        link(&bait_path, "dev")?;
        link(&bait_path, "hearth")?;
        link(&format!("../../../../../..{bait_path}"), "out")?;
        std::fs::write(root.join("proc"), "").map_err(text)?;
        let script = "cat /proc/self/status | while read a b; do [ $a = Pid: ] && echo proc; done; echo x > /tmp/x; \
                      cat /tmp/x /var/task/hello.txt; cat /etc/passwd; echo x > /dev/null && echo null; cat /out/secret; \
                      cat /tmp/secret; echo end";
        let run = run_in_image(bed, &image, User::SANDBOX, script);
        let told = ["proc\n", "x\nhello from the package\n", "sbx_user1051", "null\n", "end\n"];
        let works = told.iter().all(|text| run.output.contains(text));
        let untouched = std::fs::read_dir(&bait).map_err(text)?.count() == 2;
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let of_host = passwd.lines().any(|line| line.contains("/root:") && run.output.contains(line));
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mounted = table.lines().any(|line| line.contains(&bait_path));
        check(works && untouched && !of_host && !mounted && !run.output.contains("secret of"), &run)
    }),
    ("an image that went is named, and one that came again is another", |bed| {
        let (image, root) = make_image(bed, "c");
        let first = run_in_image(bed, &image, User::SANDBOX, "cat name");
        check(first.output == "image c\n", &first)?;
        std::fs::rename(&root, bed.folders.data.join("removed")).map_err(text)?;
        match bed.start(&of_image(&image)) {
            Err(StartError::NoImage(named)) if named == image => {}
            other => return Err(format!("{:?}", other.map(|_| "a sandbox"))),
        }
        make_image(bed, "c");
        std::fs::write(root.join("app/name"), "new\n").map_err(text)?;
        let again = run_in_image(bed, &image, User::SANDBOX, "cat name");
        check(again.output == "new\n", &again)
    }),
    ("an image's folder that is a link is refused", |bed| {
        let digest: ImageDigest = "d".repeat(64).parse().map_err(text)?;
        let root = bed.folders.data.join("images/roots").join(digest.as_str());
        std::fs::create_dir_all(root.parent().expect("a folder")).map_err(text)?;
        std::os::unix::fs::symlink("/", &root).map_err(text)?;
        match bed.start(&of_image(&digest)) {
            Err(StartError::System(_)) => Ok(()),
            other => Err(format!("{:?}", other.map(|_| "a sandbox"))),
        }
    }),
];

fn main() -> ExitCode {
    if let Err(error) = namespace::enter() {
        return conformance::skipped(format!("no sandbox can be made here: {error}"));
    }
    // It needs nothing but a kernel.
    conformance::run(make, OWN, |_| false)
}
