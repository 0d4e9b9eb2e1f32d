//! The filter in the kernel: what really comes back, and that what must run does run.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::{Policy, Program};

/// A command that runs under the filter.
fn filtered(program: &str) -> Command {
    let filter = Program::compile(&Policy::native());
    let mut command = Command::new(program);
    let install = move || {
        // SAFETY: a plain system call without pointers.
        if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
        filter.install().map_err(|error| std::io::Error::from_raw_os_error(error.errno))
    };
    // SAFETY: between fork and exec it makes two system calls, and neither allocates nor locks.
    unsafe { command.pre_exec(install) };
    command
}

/// Calls made by [`child`], with arguments that would do no harm if they came through; and what must come back.
#[cfg(target_arch = "x86_64")]
const ATTEMPTS: &[(&str, libc::c_long, [i64; 5], i32)] = &[
    ("unshare", libc::SYS_unshare, [0x1000_0000, 0, 0, 0, 0], libc::EPERM),
    ("setns", libc::SYS_setns, [-1, 0, 0, 0, 0], libc::EPERM),
    ("clone new user", libc::SYS_clone, [0x1000_0011, 0, 0, 0, 0], libc::EPERM),
    ("clone3", libc::SYS_clone3, [0, 0, 0, 0, 0], libc::ENOSYS),
    ("mount", libc::SYS_mount, [0, 0, 0, 0, 0], libc::EPERM),
    ("fsopen", libc::SYS_fsopen, [0, 0, 0, 0, 0], libc::EPERM),
    ("chroot", libc::SYS_chroot, [0, 0, 0, 0, 0], libc::EPERM),
    ("io_uring_setup", libc::SYS_io_uring_setup, [1, 0, 0, 0, 0], libc::EPERM),
    ("bpf", libc::SYS_bpf, [0, 0, 0, 0, 0], libc::EPERM),
    ("perf_event_open", libc::SYS_perf_event_open, [0, 0, -1, -1, 0], libc::EPERM),
    ("userfaultfd", libc::SYS_userfaultfd, [0, 0, 0, 0, 0], libc::EPERM),
    ("keyctl", libc::SYS_keyctl, [0, 0, 0, 0, 0], libc::EPERM),
    ("ptrace", libc::SYS_ptrace, [0, 0, 0, 0, 0], libc::EPERM),
    ("memfd_secret", libc::SYS_memfd_secret, [0, 0, 0, 0, 0], libc::ENOSYS),
    ("syslog", libc::SYS_syslog, [10, 0, 0, 0, 0], libc::EPERM),
    ("mlockall", libc::SYS_mlockall, [0, 0, 0, 0, 0], libc::EPERM),
    ("personality", libc::SYS_personality, [0x4_0000, 0, 0, 0, 0], libc::EPERM),
    ("personality asked", libc::SYS_personality, [0xffff_ffff, 0, 0, 0, 0], 0),
    ("raw socket", libc::SYS_socket, [2, 3, 1, 0, 0], libc::EPERM),
    ("packet socket", libc::SYS_socket, [17, 3, 0, 0, 0], libc::EAFNOSUPPORT),
    ("vsock", libc::SYS_socket, [40, 1, 0, 0, 0], libc::EAFNOSUPPORT),
    ("mptcp", libc::SYS_socket, [2, 1, 262, 0, 0], libc::EPROTONOSUPPORT),
    ("xfrm", libc::SYS_socket, [16, 3, 6, 0, 0], libc::EPROTONOSUPPORT),
    ("tcp", libc::SYS_socket, [2, 0x80001, 6, 0, 0], 0),
    ("TIOCSTI", libc::SYS_ioctl, [0, 0x5412, 0, 0, 0], libc::EPERM),
    ("TIOCSTI with a high bit", libc::SYS_ioctl, [0, 0x1_0000_5412, 0, 0, 0], libc::EPERM),
    ("FIFO scheduling", libc::SYS_sched_setscheduler, [0, 1, 0, 0, 0], libc::EPERM),
    ("huge pages", libc::SYS_mmap, [0, 0x20_0000, 3, 0x4_0022, -1], libc::ENOMEM),
    ("seccomp listener", libc::SYS_seccomp, [1, 8, 0, 0, 0], libc::EINVAL),
    ("sync", libc::SYS_sync, [0, 0, 0, 0, 0], 0),
    ("core limit", libc::SYS_setrlimit, [4, 0, 0, 0, 0], 0),
    ("number 599", 599, [0, 0, 0, 0, 0], libc::ENOSYS),
    ("x32 getpid", 0x4000_0027, [0, 0, 0, 0, 0], libc::ENOSYS),
    ("a null path", libc::SYS_openat, [-1, 0, 0, 0, 0], libc::EFAULT),
];

/// What the test binary does when started anew under the filter.
#[cfg(target_arch = "x86_64")]
#[test]
fn child() {
    match std::env::var("HEARTH_TEST_SECCOMP").as_deref() {
        Ok("attempts") => {
            for (name, number, [a, b, c, d, e], expected) in ATTEMPTS {
                // SAFETY: all pointers among these arguments are null, which the kernel refuses by itself.
                let result = unsafe { libc::syscall(*number, *a, *b, *c, *d, *e, 0) };
                let error = if result >= 0 { 0 } else { std::io::Error::last_os_error().raw_os_error().unwrap() };
                assert_eq!(error, *expected, "{name}");
            }
            println!("all attempts answered");
        }
        Ok("foreign") => {
            // SAFETY: int 0x80 is i386's getpid here: it takes no argument and changes nothing but rax (and r8 to
            // r11, on old kernels).
            unsafe {
                std::arch::asm!("int 0x80", inlateout("rax") 20 => _, out("r8") _, out("r9") _, out("r10") _, out("r11") _)
            };
            println!("still alive");
        }
        _ => {}
    }
}

#[cfg(target_arch = "x86_64")]
fn run_child(task: &str) -> std::process::Output {
    filtered("/proc/self/exe")
        .args(["--exact", "seccomp::live_tests::child", "--nocapture", "--test-threads=1"])
        .env("HEARTH_TEST_SECCOMP", task)
        .output()
        .unwrap()
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_kernel_answers_as_the_table_says() {
    let output = run_child("attempts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("all attempts answered"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_foreign_call_kills() {
    use std::os::unix::process::ExitStatusExt;
    let output = run_child("foreign");
    let said = String::from_utf8_lossy(&output.stdout);
    // A kernel without i386 support ends it too, by SIGSEGV.
    assert!(matches!(output.status.signal(), Some(libc::SIGSYS | libc::SIGSEGV)), "{} {said}", output.status);
}

/// Not a test of anything: `cargo test -p linux --release --lib loading -- --ignored --nocapture`.
#[test]
#[ignore = "prints how long loading takes"]
fn loading() {
    let mut times = Vec::new();
    for _ in 0..100 {
        let (mut read, write) = std::io::pipe().unwrap();
        let filter = Program::compile(&Policy::native());
        // SAFETY: the child makes plain system calls only, on memory that it has a copy of, and leaves.
        if unsafe { libc::fork() } == 0 {
            // SAFETY: as above.
            unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
            let start = std::time::Instant::now();
            let result = filter.install();
            let nanos = (start.elapsed().as_nanos() as u64).to_ne_bytes();
            // SAFETY: as above; the buffer is eight bytes long.
            unsafe {
                libc::write(std::os::fd::AsRawFd::as_raw_fd(&write), nanos.as_ptr().cast(), 8);
                libc::_exit(i32::from(result.is_err()));
            }
        }
        drop(write);
        let mut nanos = [0; 8];
        read.read_exact(&mut nanos).unwrap();
        times.push(u64::from_ne_bytes(nanos) / 1000);
        // SAFETY: no status is asked for.
        unsafe { libc::wait(std::ptr::null_mut()) };
    }
    times.sort();
    println!("loading the filter: median {} µs, 90 % {} µs, worst {} µs", times[50], times[90], times[99]);
}

fn runs(program: &str, args: &[&str], expected: &str) {
    let mut command = filtered(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("SKIPPED: there is no {program} here");
            return;
        }
        other => other.unwrap(),
    };
    let (mut said, mut complained) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut complained).unwrap();
    let status = child.wait().unwrap();
    assert!(status.success() && said.contains(expected), "{program}: {status}\n{said}{complained}");
}

#[test]
fn python_runs() {
    let code = r#"
import asyncio, ctypes, mmap, multiprocessing, os, resource, select, socket, subprocess, sys, tempfile, threading
from multiprocessing import shared_memory
assert subprocess.run(["/bin/sh", "-c", "echo one | cat"], capture_output=True, check=True).stdout == b"one\n"
results = []
threads = [threading.Thread(target=lambda: results.append(threading.get_native_id())) for _ in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
assert len(results) == 4
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
other, _ = server.accept()
client.sendall(b"hello"); assert other.recv(9) == b"hello"
assert socket.getaddrinfo("localhost", 80)
a, b = socket.socketpair(); a.send(b"x"); assert b.recv(1) == b"x"
socket.if_nameindex()
async def main():
    child = await asyncio.create_subprocess_exec("/bin/echo", "two", stdout=asyncio.subprocess.PIPE)
    out, _ = await child.communicate(); assert out == b"two\n"
    await asyncio.to_thread(lambda: None)
asyncio.run(main())
def double(x): return 2 * x
with multiprocessing.get_context("fork").Pool(2) as pool: assert pool.map(double, [1, 2]) == [2, 4]
memory = shared_memory.SharedMemory(create=True, size=4096); memory.close(); memory.unlink()
with tempfile.TemporaryFile() as f: f.write(b"z" * 9999); f.flush(); os.fsync(f.fileno()); mmap.mmap(f.fileno(), 0).close()
resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); resource.getrlimit(resource.RLIMIT_CORE)
os.sync(); os.nice(1); os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0)); os.sched_getaffinity(0)
os.mkfifo(p := tempfile.mktemp()); os.unlink(p)
os.memfd_create("m"); os.getrandom(8); os.eventfd(0) if sys.version_info >= (3, 10) else 0
print("python is fine")
"#;
    for python in ["python3", "/usr/bin/python3"] {
        runs(python, &["-c", code], "python is fine");
    }
}

#[test]
fn node_runs() {
    let code = r#"
const { Worker } = require('worker_threads'), { execFileSync, spawn } = require('child_process')
const http = require('http'), fs = require('fs'), os = require('os'), dns = require('dns'), crypto = require('crypto')
if (execFileSync('/bin/echo', ['one']).toString() !== 'one\n') throw 1
os.networkInterfaces(); os.cpus(); crypto.randomUUID(); fs.readdirSync('/'); fs.watch('/tmp').close()
const worker = new Promise((done) => new Worker('require("worker_threads").parentPort.postMessage(1)', { eval: true }).on('message', done))
const lookup = new Promise((done, fail) => dns.lookup('localhost', (e) => e ? fail(e) : done()))
const served = new Promise((done, fail) => {
  const server = http.createServer((_, r) => r.end('hello')).listen(0, '127.0.0.1', async () => {
    const answer = await (await fetch(`http://127.0.0.1:${server.address().port}/`)).text()
    server.close(); answer === 'hello' ? done() : fail(answer)
  })
})
Promise.all([worker, lookup, served, fs.promises.readFile('/proc/self/status')]).then(() => console.log('node is fine'))
"#;
    runs("node", &["-e", code], "node is fine");
}

#[test]
fn java_and_shells_run() {
    runs("java", &["-XX:+UseParallelGC", "-version"], "");
    runs("java", &["-XX:+UseG1GC", "-Xshare:auto", "-version"], "");
    runs(
        "bash",
        &["-c", "set -e; ulimit -c 0; x=$(echo a | tr a b); sleep 0.01 & wait; cat <(echo $x); echo bash is fine"],
        "fine",
    );
    runs("perl", &["-e", "fork or exit; wait; print 'perl is fine'"], "perl is fine");
}
