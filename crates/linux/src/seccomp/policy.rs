//! What a sandbox may ask of the kernel, by name and with the reason.
//!
//! Every call is in exactly one group. What is in none is answered `ENOSYS`, like a call newer than this table.
//! Where the kernel refuses a thing anyway for lack of a capability, the filter refuses it too: the code behind
//! it then is not there to be attacked.

use std::collections::{BTreeMap, HashMap};

use libc::{EAFNOSUPPORT, EINVAL, ENOMEM, ENOSYS, EOPNOTSUPP, EPERM, EPROTONOSUPPORT};

use super::bpf::{Action, Word};
use super::tree::{ALLOW, Node, errno};

/// A machine whose system calls are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arch {
    X86_64,
    Aarch64,
}

/// The decisions for one machine.
#[derive(Debug, Clone)]
pub struct Policy {
    root: Node,
    #[cfg(test)]
    pub(super) calls: BTreeMap<u32, Node>,
}

const NUMBERS: &str = include_str!("numbers.txt");

/// What every program does: files, memory, processes, sockets, time, signals. Nothing in it reaches beyond
/// the namespaces, the limits and the unique uid: `kill` sees its own pid namespace, System V's and POSIX's
/// queues its own ipc namespace, what `mlock` locks is counted against the memory limit, `set*id` finds no
/// capability.
const ALLOWED: &str = "
    read write open close stat fstat lstat poll lseek mprotect munmap brk rt_sigaction rt_sigprocmask
    rt_sigreturn pread64 pwrite64 readv writev access pipe select sched_yield mremap msync mincore madvise
    shmat shmctl dup dup2 pause nanosleep getitimer alarm setitimer getpid sendfile connect accept
    recvfrom recvmsg shutdown bind listen getsockname getpeername getsockopt fork vfork execve
    exit wait4 kill uname semget semop semctl shmdt msgget msgsnd msgrcv msgctl fcntl flock fsync fdatasync
    truncate ftruncate getdents getcwd chdir fchdir rename mkdir rmdir creat link unlink symlink readlink
    chmod fchmod chown fchown lchown umask gettimeofday getrlimit getrusage sysinfo times getuid getgid setuid
    setgid geteuid getegid setpgid getppid getpgrp setsid setreuid setregid getgroups setgroups setresuid
    getresuid setresgid getresgid getpgid setfsuid setfsgid getsid capget capset rt_sigpending
    rt_sigtimedwait rt_sigqueueinfo rt_sigsuspend sigaltstack utime statfs fstatfs getpriority
    setpriority sched_setparam sched_getparam sched_getscheduler sched_get_priority_max
    sched_get_priority_min sched_rr_get_interval sched_getattr mlock munlock munlockall mlock2 gettid
    readahead setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr
    removexattr lremovexattr fremovexattr setxattrat getxattrat listxattrat removexattrat tkill time futex
    futex_waitv futex_wake futex_wait futex_requeue sched_setaffinity sched_getaffinity epoll_create
    getdents64 set_tid_address restart_syscall semtimedop fadvise64 timer_create timer_settime timer_gettime
    timer_getoverrun timer_delete clock_gettime clock_getres clock_nanosleep exit_group epoll_wait epoll_ctl
    tgkill utimes mbind set_mempolicy get_mempolicy mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify
    mq_getsetattr waitid ioprio_set ioprio_get inotify_init inotify_add_watch inotify_rm_watch openat mkdirat
    fchownat futimesat newfstatat unlinkat renameat linkat symlinkat readlinkat fchmodat
    faccessat pselect6 ppoll set_robust_list get_robust_list splice tee sync_file_range utimensat epoll_pwait
    signalfd timerfd_create eventfd fallocate timerfd_settime timerfd_gettime accept4 signalfd4 eventfd2
    epoll_create1 dup3 pipe2 inotify_init1 preadv pwritev rt_tgsigqueueinfo recvmmsg getcpu renameat2
    getrandom execveat membarrier copy_file_range preadv2 pwritev2 pkey_mprotect pkey_alloc
    pkey_free statx rseq pidfd_send_signal pidfd_open close_range openat2 faccessat2 epoll_pwait2
    landlock_create_ruleset landlock_add_rule landlock_restrict_self fchmodat2 mseal map_shadow_stack";

/// Denied, with the error that its callers know how to take.
const DENIED: &[(i32, &str, &str)] = &[
    (
        EPERM,
        "another file tree: what is mounted is what the spawner mounted",
        "
        mount umount2 pivot_root chroot fsopen fsconfig fsmount fspick open_tree open_tree_attr move_mount
        mount_setattr",
    ),
    (EPERM, "other namespaces: a user namespace would bring all capabilities back", "unshare setns"),
    (ENOSYS, "its flags stand in memory, out of a filter's sight: C libraries fall back to clone", "clone3"),
    (
        EPERM,
        "calls that no filter sees; libuv probes it and takes EPERM for an answer",
        "
        io_uring_setup io_uring_enter io_uring_register",
    ),
    (
        EPERM,
        "large machinery in the kernel, for administrators and debuggers",
        "
        bpf perf_event_open userfaultfd lookup_dcookie",
    ),
    (EPERM, "key rings are not in a namespace of the sandbox's own", "add_key request_key keyctl"),
    (
        EPERM,
        "the kernel's own code and life",
        "
        kexec_load kexec_file_load init_module finit_module delete_module create_module reboot",
    ),
    (
        EPERM,
        "files by number instead of path, and watching whole mounts",
        "
        open_by_handle_at name_to_handle_at fanotify_init fanotify_mark",
    ),
    (
        EPERM,
        "into other processes",
        "
        ptrace process_vm_readv process_vm_writev kcmp pidfd_getfd migrate_pages move_pages",
    ),
    (
        EPERM,
        "the machine's log, accounting, swap, quotas, consoles",
        "
        syslog acct swapon swapoff quotactl quotactl_fd vhangup nfsservctl",
    ),
    (EPERM, "the machine's clock; reading has clock_gettime", "settimeofday clock_settime clock_adjtime adjtimex"),
    (EPERM, "the sandbox's names are the spawner's to give", "sethostname setdomainname"),
    (EPERM, "ports and segments of the processor", "iopl ioperm modify_ldt"),
    (EPERM, "scheduling classes stand in memory here, out of a filter's sight", "sched_setattr"),
    (EPERM, "memory that cannot be reclaimed, without end", "mlockall"),
    (EPERM, "gives the kernel pages that the writer still changes; its users fall back to write", "vmsplice"),
    // The rest are features that a kernel may well not have; their users ask and go on without.
    (
        ENOSYS,
        "one pool of contexts for the whole machine (fs.aio-max-nr), empty for all once one took it",
        "
        io_setup io_destroy io_getevents io_pgetevents io_submit io_cancel",
    ),
    (ENOSYS, "memory that nobody can account or inspect", "memfd_secret"),
    (
        ENOSYS,
        "side channels and views of the machine, for nobody in here",
        "
        cachestat statmount listmount listns lsm_get_self_attr lsm_set_self_attr lsm_list_modules",
    ),
    (ENOSYS, "advice about and reaping of other processes", "process_madvise process_mrelease"),
    (
        ENOSYS,
        "long out of use, or newer than their need",
        "
        uselib ustat sysfs _sysctl get_kernel_syms query_module getpmsg putpmsg afs_syscall tuxcall
        security set_thread_area get_thread_area epoll_ctl_old epoll_wait_old remap_file_pages vserver
        set_mempolicy_home_node file_getattr file_setattr",
    ),
];

/// Success without the deed. They write out every disk of the machine, for which the neighbours wait; all that
/// a sandbox can write to is memory, and has nowhere to be written out to.
const PRETENDED: &str = "sync syncfs";

/// The kernel itself plants these calls in a program, where the administrator traces it; refusing them would
/// crash the traced function. Called by anyone else they kill the caller.
const PLANTED: &str = "uretprobe uprobe";

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("no table of system calls for this machine: extend numbers.txt and Arch");

// === impl Policy ===

impl Policy {
    /// For a sandbox on the machine that this program was built for.
    pub fn native() -> Self {
        Self::sandbox(if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 })
    }

    pub fn sandbox(arch: Arch) -> Self {
        let numbers: HashMap<&str, u32> = arch.numbers().collect();
        let mut calls = BTreeMap::new();
        let mut answer = |names: &str, node: Node| {
            for name in names.split_whitespace() {
                // Some are missing on one machine; that none is missing on both, a test asserts.
                if let Some(&number) = numbers.get(name) {
                    let twice = calls.insert(number, node.clone());
                    assert!(twice.is_none(), "{name} is in two groups");
                }
            }
        };
        for (names, node) in groups() {
            answer(names, node);
        }
        let unknown = errno(ENOSYS);
        let by_number =
            Node::cases(Word::Number, u32::MAX, calls.iter().map(|(number, node)| (*number, node.clone())), unknown);
        let root = Node::cases(Word::Arch, u32::MAX, [(arch.audit(), by_number)], Node::Return(Action::KillProcess));
        Self {
            root,
            #[cfg(test)]
            calls,
        }
    }

    pub(super) fn root(&self) -> &Node {
        &self.root
    }
}

/// Every group of names, and what they are answered.
pub(super) fn groups() -> Vec<(&'static str, Node)> {
    let mut groups = vec![(ALLOWED, ALLOW), (PLANTED, ALLOW), (PRETENDED, errno(0))];
    groups.extend(DENIED.iter().map(|(error, _reason, names)| (*names, errno(*error))));
    groups.extend(conditional());
    groups
}

/// Calls that depend on their arguments. The kernel cuts an `int` out of the register's low half, so that half
/// alone is compared: a comparison of all 64 bits would be passed by setting one above (CVE-2019-10063).
fn conditional() -> Vec<(&'static str, Node)> {
    const ALL: u32 = u32::MAX;
    let eperm = || errno(EPERM);
    let any_bit = |index, mask: i64, yes: Node, no: Node| {
        let mask = u32::try_from(mask).expect("a low half");
        Node::AnyBit { word: Word::Low(index), mask, yes: Box::new(yes), no: Box::new(no) }
    };
    let only = |index, mask, values: &[u32], otherwise| {
        Node::cases(Word::Low(index), mask, values.iter().map(|value| (*value, ALLOW)), otherwise)
    };
    let but = |index, values: &[u32], error: i32| {
        Node::cases(Word::Low(index), ALL, values.iter().map(|value| (*value, errno(error))), ALLOW)
    };

    // Sockets: local, TCP, UDP, and asking for routes (getaddrinfo and getifaddrs do). A raw socket forges
    // packets; MPTCP steps around Landlock's rules for TCP; the other families are attack surface.
    const STREAM: u32 = libc::SOCK_STREAM as u32;
    const DATAGRAM: u32 = libc::SOCK_DGRAM as u32;
    let no_protocol = || errno(EPROTONOSUPPORT);
    let internet = Node::cases(
        Word::Low(1),
        0xf, // above it: SOCK_NONBLOCK and SOCK_CLOEXEC
        [
            (STREAM, only(2, ALL, &[0, libc::IPPROTO_TCP as u32], no_protocol())),
            (DATAGRAM, only(2, ALL, &[0, libc::IPPROTO_UDP as u32], no_protocol())),
        ],
        eperm(),
    );
    let socket = Node::cases(
        Word::Low(0),
        ALL,
        [
            (libc::AF_UNIX as u32, ALLOW),
            (libc::AF_INET as u32, internet.clone()),
            (libc::AF_INET6 as u32, internet),
            (libc::AF_NETLINK as u32, only(2, ALL, &[libc::NETLINK_ROUTE as u32], no_protocol())),
        ],
        errno(EAFNOSUPPORT),
    );
    // Kernel code behind an option: protocols stacked upon TCP (kTLS), and socket filters, whose compiled form
    // is a known way to plant code.
    let option = Node::cases(
        Word::Low(1),
        ALL,
        [
            (libc::IPPROTO_TCP as u32, but(2, &[libc::TCP_ULP as u32], libc::ENOENT)),
            (libc::SOL_SOCKET as u32, but(2, &[26, 50, 51, 52], EPERM)), // SO_ATTACH_*
        ],
        ALLOW,
    );
    // Urgent data: on UNIX sockets it was a way out of Chrome's sandbox (CVE-2025-38236).
    let no_urgent = |flags| any_bit(flags, i64::from(libc::MSG_OOB), errno(EOPNOTSUPP), ALLOW);

    // No terminal is in reach; still, none of what pushes input into one or rebinds it.
    let ioctl = but(1, &[0x5412, 0x541c, 0x541d, 0x5423], EPERM); // TIOCSTI, TIOCLINUX, TIOCCONS, TIOCSETD

    // Threads and processes, but no namespaces.
    let namespaces = libc::CLONE_NEWNS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET;
    let clone = any_bit(0, i64::from(namespaces), eperm(), ALLOW);

    // Huge pages come from a pool of the machine that memory limits do not count; "none left" is what a
    // machine without a pool says.
    let none_left = || errno(ENOMEM);

    // Files, pipes and sockets are no devices. The kernel takes 16 bits of the mode.
    let node = |mode| only(mode, libc::S_IFMT, &[0, libc::S_IFREG, libc::S_IFIFO, libc::S_IFSOCK], eperm());

    // Core dumps stay as the spawner set them: at 1 byte, which unlike 0 also keeps the machine's own handler
    // (a pipe in core_pattern) from running. Reading is free, setting pretends.
    const CORE: u32 = 4; // libc::RLIMIT_CORE, whose type depends on the C library
    let zero = |index, zero: Node, other: Node| {
        let low = Node::cases(Word::Low(index), ALL, [(0, zero)], other.clone());
        Node::cases(Word::High(index), ALL, [(0, low)], other)
    };
    let set_limit = Node::cases(Word::Low(0), ALL, [(CORE, errno(0))], ALLOW);
    let core = zero(2, ALLOW, zero(3, errno(0), eperm()));
    let set_or_get_limit = Node::cases(Word::Low(1), ALL, [(CORE, core)], ALLOW);

    vec![
        ("socket", socket),
        ("socketpair", only(0, ALL, &[libc::AF_UNIX as u32], errno(EAFNOSUPPORT))),
        ("setsockopt", option),
        ("sendto sendmmsg", no_urgent(3)),
        ("sendmsg", no_urgent(2)),
        ("ioctl", ioctl),
        ("clone", clone),
        ("mmap", any_bit(3, i64::from(libc::MAP_HUGETLB), none_left(), ALLOW)),
        ("memfd_create", any_bit(1, i64::from(libc::MFD_HUGETLB), none_left(), ALLOW)),
        ("shmget", any_bit(2, i64::from(libc::SHM_HUGETLB), eperm(), ALLOW)),
        ("mknod", node(1)),
        ("mknodat", node(2)),
        ("setrlimit", set_limit),
        ("prlimit64", set_or_get_limit),
        // Other personalities change what is mapped where; 0xffffffff asks which one it is.
        ("personality", only(0, ALL, &[0, ALL], eperm())),
        // Real time starves the neighbours. The high bit (reset on fork) may be set.
        ("sched_setscheduler", only(1, 0xbfff_ffff, &[0, 3, 5], eperm())), // OTHER, BATCH, IDLE
        ("seccomp", seccomp()),
        ("prctl", prctl()),
        ("arch_prctl", arch_prctl()),
    ]
}

/// Further filters only restrict. No listener (a second authority over calls) and no logging (of the machine).
fn seccomp() -> Node {
    const FLAGS: u32 = 1 | 4 | 16; // TSYNC, SPEC_ALLOW, TSYNC_ESRCH
    let filter = Node::AnyBit { word: Word::Low(1), mask: !FLAGS, yes: Box::new(errno(EINVAL)), no: Box::new(ALLOW) };
    // SET_MODE_STRICT, SET_MODE_FILTER, GET_ACTION_AVAIL
    Node::cases(Word::Low(0), u32::MAX, [(0, ALLOW), (1, filter), (2, ALLOW)], errno(EINVAL))
}

/// `prctl` is a hundred calls in one. Not: changing what `/proc` says of the process (35), catching its own
/// calls (59), idling a hyperthread for its own kind alone (62), merging memory across processes (67), and
/// what is newer; those are answered as an older kernel would.
fn prctl() -> Node {
    let (yes, no) = (|| ALLOW, || errno(EINVAL));
    Node::ranges(
        Word::Low(0),
        u32::MAX,
        vec![
            (0, no()),
            (1, yes()), // death signal, dumpable
            (5, no()),
            (7, yes()), // keep capabilities
            (9, no()),
            (13, yes()), // timing, name
            (17, no()),
            (21, yes()), // seccomp, capability bounds, TSC, secure bits, timer slack
            (31, no()),
            (33, yes()), // machine checks
            (35, no()),
            (36, yes()), // subreaper, no_new_privs, huge pages off
            (43, no()),
            (45, yes()), // floating point mode, ambient capabilities
            (48, no()),
            (50, yes()), // vectors, speculation, pointer authentication, tagged addresses
            (57, no()),
            (60, yes()), // pointer authentication
            (62, no()),
            (63, yes()), // matrices, memory never both writable and executable
            (67, no()),
            (0x5356_4d41, yes()), // names for mappings
            (0x5356_4d42, no()),
            (0x5961_6d61, yes()), // Yama's permission to be traced
            (0x5961_6d62, no()),
        ],
    )
}

/// Thread pointers, CPUID faults, processor features (AMX), shadow stacks. Not: address tagging, x32's vDSO.
fn arch_prctl() -> Node {
    let (yes, no) = (|| ALLOW, || errno(EINVAL));
    Node::ranges(
        Word::Low(0),
        u32::MAX,
        vec![
            (0, no()),
            (0x1001, yes()),
            (0x1005, no()),
            (0x1011, yes()),
            (0x1013, no()),
            (0x1021, yes()),
            (0x1026, no()),
            (0x5001, yes()),
            (0x5006, no()),
        ],
    )
}

impl Default for Policy {
    fn default() -> Self {
        Self::native()
    }
}

// === impl Arch ===

impl Arch {
    /// `AUDIT_ARCH_*`: machine, 64-bit, little-endian.
    pub(super) const fn audit(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::Aarch64 => 0xc000_00b7,
        }
    }

    /// Every call with its number here.
    pub(super) fn numbers(self) -> impl Iterator<Item = (&'static str, u32)> {
        NUMBERS.lines().filter(|line| !line.starts_with('#')).filter_map(move |line| {
            let mut fields = line.split(' ');
            let (name, x86_64, aarch64) = (fields.next()?, fields.next()?, fields.next()?);
            let number = match self {
                Self::X86_64 => x86_64,
                Self::Aarch64 => aarch64,
            };
            Some((name, number.parse().ok()?))
        })
    }
}
