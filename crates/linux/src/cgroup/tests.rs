//! On this machine's own control groups, whichever version it has, with real processes; and on made-up machines
//! for what this one is not. The version 2 run happens in `tests/guest`.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use driver::{Limits, Severity};
use model::{Cpu, InstanceId, Memory};

use super::detect::Version;
use super::tree::Quota;
use super::*;

fn limits() -> Limits {
    Limits {
        memory: Memory::mib(64),
        cpu_cap: Cpu::millis(500),
        cpu_share: Cpu::millis(250),
        pids: 32,
        tmp: Memory::mib(16),
    }
}

// === the real machine ===

/// The machine's own control groups under a name of the test's own, removed at the end.
struct Real(Cgroups);

impl Real {
    fn new(test: &str) -> Option<Self> {
        let (groups, findings) = Cgroups::detect(&format!("hearth-test-{}-{test}", std::process::id()));
        let Enforced { memory, cpu, pids } = groups.enforced();
        if memory && cpu && pids {
            return Some(Self(groups));
        }
        eprintln!("SKIPPED {test}: {findings:#?}");
        None
    }

    fn folders(&self) -> Vec<PathBuf> {
        self.0.plan.sites.iter().map(|site| site.base.join(&self.0.name)).collect()
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        self.0.sweep().unwrap();
        self.0.close();
        let left: Vec<_> = self.folders().into_iter().filter(|folder| folder.exists()).collect();
        assert!(left.is_empty(), "left behind: {left:?}");
    }
}

/// What the test binary does when a test starts it anew as a child. It waits until it is in its group.
#[test]
fn child() {
    let Ok(task) = std::env::var("HEARTH_TEST_TASK") else { return };
    std::io::stdin().read_exact(&mut [0]).unwrap();
    match task.as_str() {
        "sleep" => std::thread::sleep(Duration::from_secs(60)),
        "spin" => {
            let start = Instant::now();
            while start.elapsed() < Duration::from_secs(60) {}
        }
        "eat" => {
            let mut eaten = Vec::new();
            for _ in 0..512 {
                eaten.push(vec![1_u8; 1 << 20]);
            }
            println!("survived with {}", eaten.len());
        }
        // The victim is another process than the one that waits.
        "feed" => {
            let mut eater = start("eat");
            eater.stdin.take().unwrap().write_all(b"x").unwrap();
            eater.wait().unwrap();
            std::thread::sleep(Duration::from_secs(60));
        }
        "fork" => {
            let mut children = Vec::new();
            while let Ok(child) = command("sleep").spawn() {
                children.push(child);
                assert!(children.len() < 100);
            }
            println!("started {}", children.len());
            std::io::stdout().flush().unwrap();
            std::thread::sleep(Duration::from_secs(60));
        }
        other => panic!("no task {other}"),
    }
}

/// This program anew, as [`child`] and nothing else.
fn command(task: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["--exact", "cgroup::tests::child", "--nocapture", "--test-threads=1"])
        .env("HEARTH_TEST_TASK", task)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

fn start(task: &str) -> Child {
    command(task).spawn().unwrap()
}

fn start_in(group: &Group, task: &str) -> Child {
    let mut child = start(task);
    group.add(child.id() as i32).unwrap();
    child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    child
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn limits_are_written_and_everything_is_removed() {
    let Some(mut real) = Real::new("files") else { return };
    let id = InstanceId::random();
    let group = real.0.create(&id, &limits()).unwrap();
    let read = |file: &str| {
        let folders = real.folders();
        let found = folders.iter().map(|folder| folder.join(id.as_str()).join(file)).find(|path| path.exists());
        found.map(|path| fs::read_to_string(path).unwrap().trim().to_owned())
    };
    let expect = |v1: (&str, &str), v2: (&str, &str)| match read(v1.0) {
        Some(text) => assert_eq!(text, v1.1, "{}", v1.0),
        None => assert_eq!(read(v2.0).as_deref(), Some(v2.1), "{}", v2.0),
    };
    expect(("memory.limit_in_bytes", "67108864"), ("memory.max", "67108864"));
    expect(("cpu.cfs_quota_us", "10000"), ("cpu.max", "10000 20000"));
    expect(("cpu.shares", "3555"), ("cpu.weight", "347"));
    assert_eq!(read("pids.max").as_deref(), Some("32"));

    real.0.set_ceiling(Memory::mib(512)).unwrap();
    real.0.set_ceiling(Memory::mib(1024)).unwrap();

    assert!(group.usage_files().cpu.is_some());
    assert!(!group.oom_killed());
    assert!(group.remove().unwrap());
    assert!(group.remove().unwrap(), "removing again is no error");
}

#[test]
fn out_of_memory_is_noticed() {
    let Some(mut real) = Real::new("oom") else { return };
    let group = real.0.create(&InstanceId::random(), &limits()).unwrap();
    let event = group.oom_eventfd().transpose().unwrap();
    let mut child = start_in(&group, "eat");
    let status = child.wait().unwrap();
    assert!(!status.success(), "{status}");
    assert!(group.oom_killed());
    if let Some(event) = event {
        let mut count = [0; 8];
        assert_eq!(rustix::io::read(&event, &mut count), Ok(8));
    }
    if let Some(peak) = group.usage_files().memory_peak {
        let mut text = String::new();
        fs::File::from(peak).read_to_string(&mut text).unwrap();
        let peak: u64 = text.trim().parse().unwrap();
        assert!((60 << 20..=64 << 20).contains(&peak), "{peak}");
    }
    until("removed", || group.remove().unwrap());
}

#[test]
fn out_of_memory_ends_the_whole_sandbox() {
    let Some(mut real) = Real::new("oomall") else { return };
    let group = real.0.create(&InstanceId::random(), &limits()).unwrap();
    let event = group.oom_eventfd().transpose().unwrap();
    let mut child = start_in(&group, "feed");
    if let Some(event) = event {
        // Version 1: what the spawner does.
        until("event", || rustix::io::read(&event, &mut [0; 8]).is_ok());
        group.kill_all();
    }
    assert!(!child.wait().unwrap().success());
    until("removed", || group.remove().unwrap());
}

#[test]
fn processes_are_limited() {
    let Some(mut real) = Real::new("pids") else { return };
    let few = Limits { pids: 8, ..limits() };
    let group = real.0.create(&InstanceId::random(), &few).unwrap();
    let mut child = start_in(&group, "fork");
    let mut said = String::new();
    let mut stdout = child.stdout.take().unwrap();
    until("started", || {
        let mut part = [0; 256];
        let length = stdout.read(&mut part).unwrap();
        said.push_str(std::str::from_utf8(&part[..length]).unwrap());
        said.contains("started") || length == 0
    });
    let started: u32 =
        said.split("started ").nth(1).and_then(|n| n.split_whitespace().next()).unwrap().parse().unwrap();
    assert!((1..8).contains(&started), "{said}");

    assert!(!group.remove().unwrap(), "it is in use");
    group.kill_all();
    child.wait().unwrap();
    until("removed", || group.remove().unwrap());
}

#[test]
fn processor_time_is_capped_and_counted() {
    let Some(mut real) = Real::new("cpu") else { return };
    let tenth = Limits { cpu_cap: Cpu::millis(100), ..limits() };
    let group = real.0.create(&InstanceId::random(), &tenth).unwrap();
    let usage = group.usage_files();
    let mut child = start_in(&group, "spin");
    std::thread::sleep(Duration::from_millis(1500));
    group.kill_all();
    child.wait().unwrap();
    let mut text = [0; 256];
    let length = rustix::io::pread(usage.cpu.as_ref().unwrap(), &mut text, 0).unwrap();
    let text = std::str::from_utf8(&text[..length]).unwrap();
    let micros = match text.strip_prefix("usage_usec ") {
        Some(rest) => rest.lines().next().unwrap().parse::<u64>().unwrap(),
        None => text.trim().parse::<u64>().unwrap() / 1000,
    };
    assert!((50_000..=300_000).contains(&micros), "{micros} µs of 1500 ms");
    until("removed", || group.remove().unwrap());
}

#[test]
fn the_frozen_stand_still_and_can_be_killed() {
    let Some(mut real) = Real::new("freeze") else { return };
    let group = real.0.create(&InstanceId::random(), &limits()).unwrap();
    let mut child = start_in(&group, "spin");
    if !group.freeze(true).unwrap() {
        eprintln!("SKIPPED: nothing freezes here");
    }
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        stat.rsplit(')').next().unwrap().split_whitespace().nth(11).unwrap().parse::<u64>().unwrap()
    };
    std::thread::sleep(Duration::from_millis(100));
    let before = ticks();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(ticks(), before);
    group.kill_all();
    child.wait().unwrap();
    until("removed", || group.remove().unwrap());
}

#[test]
fn a_sweep_kills_and_removes_what_was_left() {
    let Some(mut real) = Real::new("sweep") else { return };
    let group = real.0.create(&InstanceId::random(), &limits()).unwrap();
    let child = start_in(&group, "sleep");
    // Reaped at once, as by init after the spawner's death; otherwise the dead would keep the group.
    let reaper = std::thread::spawn(move || { child }.wait().unwrap());
    drop(group);
    let (mut next, _) = Cgroups::detect(&real.0.name);
    next.sweep().unwrap();
    assert!(!reaper.join().unwrap().success());
    assert!(real.0.prepare().unwrap().iter().all(|tree| tree.groups().unwrap().is_empty()));
}

/// Not a test of anything: `cargo test -p linux --release speed -- --ignored --nocapture`.
#[test]
#[ignore = "prints how long things take"]
fn speed() {
    let Some(mut real) = Real::new("speed") else { return };
    real.0.sweep().unwrap();
    let mut times: [Vec<Duration>; 4] = Default::default();
    let mut timed = |index: usize, start: Instant| times[index].push(start.elapsed());
    for _ in 0..50 {
        let id = InstanceId::random();
        let start_time = Instant::now();
        let group = real.0.create(&id, &limits()).unwrap();
        timed(0, start_time);
        let start_time = Instant::now();
        let event = group.oom_eventfd().transpose().unwrap();
        let usage = group.usage_files();
        timed(1, start_time);
        let mut child = start("sleep");
        std::thread::sleep(Duration::from_millis(60));
        let start_time = Instant::now();
        group.add(child.id() as i32).unwrap();
        timed(2, start_time);
        child.kill().unwrap();
        child.wait().unwrap();
        let start_time = Instant::now();
        while !group.remove().unwrap() {}
        timed(3, start_time);
        drop((event, usage));
    }
    for (what, mut times) in ["create", "event and usage files", "add", "remove"].into_iter().zip(times) {
        times.sort();
        println!("{what}: median {:?}, 90% {:?}, worst {:?}", times[25], times[45], times[49]);
    }
}

// === made-up machines ===

struct Fake {
    dir: tempfile::TempDir,
    roots: Roots,
}

impl Fake {
    /// `mounts`: folder, flags, type and options of each. `own`: this process's groups.
    fn new(mounts: &[(&str, &str, &str, &str)], own: &str, root: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut table = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n".to_owned();
        for (folder, flags, kind, options) in mounts {
            let point = dir.path().join(folder);
            fs::create_dir_all(&point).unwrap();
            fs::write(point.join("cgroup.procs"), "").unwrap();
            let point = point.to_str().unwrap().replace(' ', "\\040");
            table += &format!("31 22 0:28 / {point} {flags} shared:9 - {kind} none {options}\n");
        }
        let roots =
            Roots { mountinfo: dir.path().join("mountinfo"), own_cgroup: dir.path().join("cgroup"), root, fake: true };
        fs::write(&roots.mountinfo, table).unwrap();
        fs::write(&roots.own_cgroup, own).unwrap();
        Self { dir, roots }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn has(&self, path: &str, text: &str) {
        let found = fs::read_to_string(self.path(path));
        assert_eq!(found.as_deref().unwrap_or("missing"), text, "{path}");
    }
}

#[test]
fn version_2_at_the_top() {
    let machine = Fake::new(&[("two", "rw", "cgroup2", "rw,nsdelegate")], "0::/system.slice/hearth.service\n", true);
    fs::write(machine.path("two/cgroup.controllers"), "cpuset cpu io memory hugetlb pids\n").unwrap();
    let (mut groups, findings) = Cgroups::detect_in("hearth-1a2b3c4d", &machine.roots);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].severity, Severity::Ok);
    groups.set_ceiling(Memory::mib(2048)).unwrap();

    let id: InstanceId = "0123456789abcdef".parse().unwrap();
    let group = groups.create(&id, &limits()).unwrap();
    assert!(group.dir_fd_for_clone().is_some());
    assert!(group.oom_eventfd().is_none());
    // A real subtree_control adds up; a plain file shows the last word.
    machine.has("two/cgroup.subtree_control", "+pids");
    machine.has("two/hearth-1a2b3c4d/cgroup.subtree_control", "+pids");
    machine.has("two/hearth-1a2b3c4d/memory.max", "2147483648");
    assert!(!machine.path("two/hearth-1a2b3c4d/memory.oom.group").exists(), "one sandbox must not end all");
    let at = |file: &str| format!("two/hearth-1a2b3c4d/0123456789abcdef/{file}");
    machine.has(&at("memory.max"), "67108864");
    machine.has(&at("memory.swap.max"), "0");
    machine.has(&at("memory.oom.group"), "1");
    machine.has(&at("cpu.max"), "10000 20000");
    machine.has(&at("cpu.weight"), "347");
    machine.has(&at("pids.max"), "32");
    group.add(4242).unwrap();
    machine.has(&at("cgroup.procs"), "4242");

    assert!(!group.oom_killed());
    fs::write(machine.path(&at("memory.events")), "low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\n").unwrap();
    assert!(group.oom_killed());
    assert_eq!(groups.create(&id, &limits()).unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
}

#[test]
fn version_2_in_a_container_moves_everyone_aside() {
    let machine = Fake::new(&[("two", "rw", "cgroup2", "rw")], "0::/\n", true);
    fs::write(machine.path("two/cgroup.controllers"), "cpu memory pids").unwrap();
    fs::write(machine.path("two/cgroup.type"), "domain\n").unwrap();
    let (mut groups, _) = Cgroups::detect_in("hearth-x", &machine.roots);
    groups.sweep().unwrap();
    assert!(machine.path("two/supervisor").is_dir());
}

#[test]
fn version_2_delegated_to_a_user() {
    let own = "/user.slice/user-1000.slice/user@1000.service/app.slice/run-7.scope";
    let machine = Fake::new(&[("two", "rw", "cgroup2", "rw")], &format!("0::{own}/supervisor\n"), false);
    // As root, everything is writable but what is not there.
    fs::remove_file(machine.path("two/cgroup.procs")).unwrap();
    let scope = format!("two{own}");
    fs::create_dir_all(machine.path(&scope).join("supervisor")).unwrap();
    fs::write(machine.path(&scope).join("cgroup.procs"), "").unwrap();
    fs::write(machine.path(&scope).join("cgroup.controllers"), "memory pids").unwrap();
    let (mut groups, findings) = Cgroups::detect_in("hearth-x", &machine.roots);
    assert_eq!(groups.enforced(), Enforced { memory: true, cpu: false, pids: true });
    assert_eq!((findings.len(), findings[0].subject.as_str()), (1, "cpu limit"));
    assert!(findings[0].advice.contains("Delegate=cpu"), "{}", findings[0].advice);
    let group = groups.create(&InstanceId::random(), &limits()).unwrap();
    drop(group);
    assert!(machine.path(&scope).join("hearth-x").is_dir());
}

#[test]
fn without_any_every_limit_is_reported() {
    for (mounts, root, advice) in [
        (&[("two", "ro", "cgroup2", "rw")][..], false, "systemd-run --user --scope -p Delegate=yes"),
        (&[("two", "ro", "cgroup2", "rw")], true, "container"),
        (&[("memory", "ro", "cgroup", "rw,memory")], false, "as root"),
        (&[], true, "mount -t cgroup2"),
    ] {
        let machine = Fake::new(mounts, "4:memory:/a\n0::/user.slice\n", root);
        let (mut groups, findings) = Cgroups::detect_in("hearth-x", &machine.roots);
        assert_eq!(groups.enforced(), Enforced::default());
        let subjects: Vec<_> = findings.iter().map(|finding| finding.subject.as_str()).collect();
        assert_eq!(subjects, ["memory limit", "cpu limit", "pids limit"]);
        assert!(findings.iter().all(|f| f.severity == Severity::Weaker && f.advice.contains(advice)), "{findings:#?}");
        // It works, without limits.
        let group = groups.create(&InstanceId::random(), &limits()).unwrap();
        group.add(1).unwrap();
        group.kill_all();
        assert!(!group.oom_killed() && group.remove().unwrap() && !group.freeze(true).unwrap());
        groups.sweep().unwrap();
        groups.close();
    }
}

#[test]
fn version_1_trees_and_the_hybrid() {
    let mounts = [
        ("cpu,cpuacct", "rw", "cgroup", "rw,cpu,cpuacct"),
        ("mem ory", "rw", "cgroup", "rw,memory"),
        ("pids", "rw", "cgroup", "rw,pids"),
        ("systemd", "rw", "cgroup", "rw,name=systemd"),
    ];
    let machine = Fake::new(&mounts, "3:cpu,cpuacct:/\n0::/\n", true);
    let (mut groups, findings) = Cgroups::detect_in("hearth-x", &machine.roots);
    assert!(findings.iter().any(|finding| finding.subject == "cold starts"), "{findings:#?}");
    assert_eq!(groups.plan.sites.len(), 3);
    assert!(groups.plan.sites.iter().all(|site| site.version == Version::V1));
    fs::create_dir_all(machine.path("mem ory/hearth-x")).unwrap();
    fs::write(machine.path("mem ory/hearth-x/memory.memsw.limit_in_bytes"), "").unwrap();
    let id: InstanceId = "0123456789abcdef".parse().unwrap();
    let group = groups.create(&id, &limits()).unwrap();
    assert!(group.dir_fd_for_clone().is_none());
    let at = |folder: &str, file: &str| format!("{folder}/hearth-x/0123456789abcdef/{file}");
    machine.has(&at("mem ory", "memory.limit_in_bytes"), "67108864");
    machine.has(&at("mem ory", "memory.memsw.limit_in_bytes"), "67108864");
    machine.has(&at("cpu,cpuacct", "cpu.cfs_period_us"), "20000");
    machine.has(&at("cpu,cpuacct", "cpu.cfs_quota_us"), "10000");
    machine.has(&at("cpu,cpuacct", "cpu.shares"), "3555");
    machine.has(&at("pids", "pids.max"), "32");
    assert!(!machine.path("systemd/hearth-x").exists());

    // With version 2 beside, that one counts, freezes and kills.
    let machine = Fake::new(&[&mounts[..], &[("two", "rw", "cgroup2", "rw")]].concat(), "0::/\n", true);
    fs::write(machine.path("two/cgroup.controllers"), "hugetlb\n").unwrap();
    let (groups, findings) = Cgroups::detect_in("hearth-x", &machine.roots);
    assert_eq!((findings.len(), findings[0].severity), (1, Severity::Ok));
    let two = &groups.plan.sites[0];
    assert!(two.version == Version::V2 && two.duties.kill && two.duties.usage && !two.duties.memory);
    assert_eq!(groups.plan.sites.iter().filter(|site| site.duties.usage).count(), 1);
}

#[test]
fn a_failed_creation_leaves_nothing() {
    let machine = Fake::new(&[("memory", "rw", "cgroup", "rw,memory"), ("pids", "rw", "cgroup", "rw,pids")], "", true);
    let (mut groups, _) = Cgroups::detect_in("hearth-x", &machine.roots);
    groups.sweep().unwrap();
    let id = InstanceId::random();
    fs::create_dir(machine.path("pids/hearth-x").join(id.as_str())).unwrap();
    assert!(groups.create(&id, &limits()).is_err());
    // Plain files are not removed with their folder as control files are; the other tree's was not even made.
    assert!(!machine.path("pids/hearth-x").join(id.as_str()).exists());
}

#[test]
fn a_quota_is_one_the_kernel_takes() {
    for millicores in [1, 10, 49, 50, 72, 500, 1000, 64_000] {
        let Quota { quota, period } = Quota::of(millicores);
        assert!(quota >= 1_000 && (20_000..=1_000_000).contains(&period), "{millicores}: {quota}/{period}");
        let given = quota as f64 / period as f64 * 1000.0;
        assert!((given / f64::from(millicores) - 1.0).abs() < 0.02, "{millicores}: {given}");
    }
    assert_eq!(Quota::of(500), Quota { quota: 10_000, period: 20_000 });
}

#[test]
fn paths_stay_below_their_mount() {
    let under = |root, path| super::mounts::under(Path::new("/m"), root, path);
    assert_eq!(under("/", "/"), Some("/m".into()));
    assert_eq!(under("/", "/a/b"), Some("/m/a/b".into()));
    assert_eq!(under("/docker/1", "/docker/1/x"), Some("/m/x".into()));
    assert_eq!(under("/docker/1", "/docker/12/x"), None);
    assert_eq!(under("/", "/../other"), None);
}
