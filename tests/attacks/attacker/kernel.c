/* Asking the kernel for what is not a function's: mounts, namespaces, devices, the machine's own settings. */
#include "attacker.h"
#include <dirent.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>
#include <sys/timex.h>
#include <sys/uio.h>

#define SYS(name, ...) REFUSED(#name, syscall(SYS_##name, ##__VA_ARGS__))

static void mounts(void) {
    mkdir("/tmp/at", 0700);
    REFUSED("mount tmpfs", mount("none", "/tmp/at", "tmpfs", 0, ""));
    REFUSED("mount proc", mount("proc", "/tmp/at", "proc", 0, ""));
    REFUSED("bind /", mount("/", "/tmp/at", NULL, MS_BIND | MS_REC, NULL));
    REFUSED("remount / writable", mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL));
    REFUSED("remount code writable", mount(NULL, "/var/task", NULL, MS_REMOUNT | MS_BIND, NULL));
    REFUSED("umount2 /proc", umount2("/proc", MNT_DETACH));
    SYS(pivot_root, "/tmp", "/tmp");
    REFUSED("chroot", chroot("/tmp"));
    SYS(fsopen, "tmpfs", 0);
    SYS(fsconfig, -1, 0, NULL, NULL, 0);
    SYS(fsmount, -1, 0, 0);
    SYS(fspick, AT_FDCWD, "/", 0);
    SYS(open_tree, AT_FDCWD, "/", 1);
    SYS(move_mount, AT_FDCWD, "/tmp", AT_FDCWD, "/tmp/at", 0);
    SYS(mount_setattr, AT_FDCWD, "/", 0, NULL, 0);
}

static int child(void *unused) {
    (void)unused;
    return 0;
}

static void namespaces(void) {
    static const struct {
        int flag;
        const char *name;
    } kinds[] = {{CLONE_NEWUSER, "user"}, {CLONE_NEWNS, "mount"}, {CLONE_NEWPID, "pid"},
                 {CLONE_NEWNET, "net"},   {CLONE_NEWIPC, "ipc"},  {CLONE_NEWUTS, "uts"},
                 {CLONE_NEWCGROUP, "cgroup"}, {0x80, "time"}};
    static char stack[65536] __attribute__((aligned(16)));
    for (size_t at = 0; at < sizeof kinds / sizeof *kinds; at++) {
        char what[64], path[64];
        snprintf(what, sizeof what, "unshare %s", kinds[at].name);
        REFUSED(what, unshare(kinds[at].flag));
        if (kinds[at].flag != 0x80) { /* for clone, that bit is part of the exit signal */
            snprintf(what, sizeof what, "clone %s", kinds[at].name);
            REFUSED(what, clone(child, stack + sizeof stack, kinds[at].flag | SIGCHLD, NULL));
            snprintf(what, sizeof what, "clone %s with a user namespace", kinds[at].name);
            REFUSED(what, clone(child, stack + sizeof stack, kinds[at].flag | CLONE_NEWUSER | SIGCHLD, NULL));
        }
        snprintf(path, sizeof path, "/proc/1/ns/%s", kinds[at].flag == CLONE_NEWNS ? "mnt" : kinds[at].name);
        int other = open(path, O_RDONLY);
        snprintf(what, sizeof what, "setns %s", kinds[at].name);
        REFUSED(what, setns(other, 0));
        close(other);
    }
    errno = 0;
    long made = syscall(SYS_clone3, NULL, 0);
    tried("clone3, that C libraries fall back from", made != -1 || errno != ENOSYS, strerrorname_np(errno));
}

static void io_uring(void) {
    char parameters[256] = {0};
    long made = syscall(SYS_io_uring_setup, 8, parameters);
    tried("io_uring_setup, that libuv takes EPERM from", made != -1 || errno != EPERM, strerrorname_np(errno));
    SYS(io_uring_enter, -1, 1, 0, 0, NULL, 0);
    SYS(io_uring_register, -1, 0, NULL, 0);
}

static void machinery(void) {
    char attributes[128] = {0};
    SYS(bpf, 0, attributes, sizeof attributes);
    SYS(perf_event_open, attributes, 0, -1, -1, 0);
    SYS(userfaultfd, 0);
    SYS(userfaultfd, 1); /* user mode only */
    SYS(keyctl, 0, -3, 0, 0, 0);
    SYS(add_key, "user", "x", "y", 1, -3);
    SYS(request_key, "user", "x", NULL, -3);
    SYS(kexec_load, 0, 0, NULL, 0);
    SYS(kexec_file_load, -1, -1, 0, NULL, 0);
    SYS(init_module, NULL, 0, "");
    SYS(finit_module, -1, "", 0);
    SYS(delete_module, "x", 0);
    SYS(open_by_handle_at, -1, NULL, 0);
    SYS(name_to_handle_at, AT_FDCWD, "/", NULL, NULL, 0);
    SYS(fanotify_init, 0, 0);
    SYS(fanotify_mark, -1, 0, 0, 0, "/");
    SYS(syslog, 10, NULL, 0);
    SYS(syslog, 3, attributes, sizeof attributes);
    SYS(memfd_secret, 0);
    SYS(io_setup, 1, attributes);
    SYS(vmsplice, -1, NULL, 0, 0);
    SYS(acct, NULL);
    SYS(swapon, "/tmp/x", 0);
    SYS(quotactl, 0, "", 0, NULL);
    SYS(reboot, 0, 0, 0, NULL);
    SYS(vhangup);
#ifdef SYS_iopl
    SYS(iopl, 3);
    SYS(ioperm, 0x80, 1, 1);
    SYS(modify_ldt, 1, attributes, 16);
#endif
    SYS(personality, 0x0040000);
    /* The same by the numbers of other machines: each has its own table in the kernel. The filter kills whoever calls
       by them, so a child does. */
    pid_t other = fork();
    if (other == 0) {
#if defined(__x86_64__)
        long pid;
        __asm__ volatile("int $0x80" : "=a"(pid) : "a"(20L) : "memory", "cc"); /* getpid, of 32 bits */
        _exit(pid == getpid() ? 1 : 2);
#else
        raise(SIGSYS);
#endif
    }
    int status = 0;
    waitpid(other, &status, 0);
    tried("a system call of 32 bits", WIFEXITED(status) && WEXITSTATUS(status) == 1, "was answered");
#if defined(__x86_64__)
    REFUSED("getpid by x32's number", syscall(0x40000000 + SYS_getpid));
#endif
}

static void sockets(void) {
    static const struct {
        int family, type, protocol;
        const char *name;
    } all[] = {{AF_PACKET, SOCK_RAW, 0x0300, "packet"},    {AF_PACKET, SOCK_DGRAM, 0, "packet, cooked"},
               {AF_ALG, SOCK_SEQPACKET, 0, "crypto (ALG)"}, {AF_VSOCK, SOCK_STREAM, 0, "vsock"},
               {AF_RXRPC, SOCK_DGRAM, AF_INET, "rxrpc"},    {21, SOCK_SEQPACKET, 0, "rds"},
               {AF_TIPC, SOCK_DGRAM, 0, "tipc"},            {AF_BLUETOOTH, SOCK_RAW, 1, "bluetooth"},
               {44, SOCK_RAW, 0, "xdp"},                    {43, SOCK_STREAM, 0, "smc"},
               {AF_CAN, SOCK_RAW, 1, "can"},                {AF_KEY, SOCK_RAW, 2, "key"},
               {AF_INET, SOCK_RAW, IPPROTO_ICMP, "raw icmp"}, {AF_INET, SOCK_RAW, IPPROTO_RAW, "raw"},
               {AF_INET6, SOCK_RAW, IPPROTO_ICMPV6, "raw icmp of IPv6"}, {AF_INET, SOCK_DGRAM, IPPROTO_ICMP, "ping"},
               {AF_INET, SOCK_STREAM, 262, "mptcp"},        {AF_INET, SOCK_STREAM, 132, "sctp"},
               {AF_INET, SOCK_DCCP, 33, "dccp"},            {AF_INET, SOCK_DGRAM, 136, "udp lite"},
               {AF_NETLINK, SOCK_RAW, 6, "netlink xfrm"},   {AF_NETLINK, SOCK_RAW, 12, "netlink netfilter"},
               {AF_NETLINK, SOCK_RAW, 9, "netlink audit"},  {AF_NETLINK, SOCK_RAW, 15, "netlink uevents"},
               {AF_NETLINK, SOCK_RAW, 16, "netlink generic"}, {AF_NETLINK, SOCK_RAW, 4, "netlink socket diagnosis"}};
    for (size_t at = 0; at < sizeof all / sizeof *all; at++) {
        int made = socket(all[at].family, all[at].type, all[at].protocol);
        refused(all[at].name, made);
        close(made);
    }
    int route = socket(AF_NETLINK, SOCK_RAW, 0), tcp = socket(AF_INET, SOCK_STREAM, 0);
    REFUSED("SO_ATTACH_FILTER", setsockopt(tcp, SOL_SOCKET, 26, "", 0));
    FAILS("TCP_ULP tls", setsockopt(tcp, IPPROTO_TCP, 31, "tls", 4));
    FAILS("SO_MARK", setsockopt(tcp, SOL_SOCKET, 36, &(int){1}, 4));
    FAILS("SO_SNDBUFFORCE", setsockopt(tcp, SOL_SOCKET, 32, &(int){1 << 30}, 4));
    FAILS("IP_TRANSPARENT", setsockopt(tcp, IPPROTO_IP, 19, &(int){1}, 4));
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0)
        FAILS("urgent data on a local socket", send(pair[0], "x", 1, MSG_OOB));
    close(route);
    close(tcp);
    close(pair[0]);
    close(pair[1]);
}

/* Whether more than nothing can be read of it; files that Hearth covers can be opened and are empty. */
static void unreadable(const char *path) {
    char some[64];
    int one = open(path, O_RDONLY | O_NONBLOCK);
    ssize_t got = one < 0 ? -1 : read(one, some, sizeof some);
    tried(path, got > 0, "was read");
    close(one);
}

static void unwritable(const char *path, const char *text) {
    char what[300];
    snprintf(what, sizeof what, "write %s", path);
    int one = open(path, O_WRONLY | O_NONBLOCK);
    struct stat is;
    int covered = one >= 0 && fstat(one, &is) == 0 && S_ISCHR(is.st_mode) && is.st_rdev == makedev(1, 3);
    /* Where everybody may open, it is looked at who writes. */
    tried(what, one >= 0 && !covered && (!text || write(one, text, strlen(text)) >= 0), text ? "was written" : "was opened");
    close(one);
}

static void proc_files(void) {
    static const char *secret[] = {"/proc/kcore",  "/proc/keys",          "/proc/key-users/..", "/proc/kmsg",
                                   "/proc/timer_list", "/proc/sched_debug", "/proc/kpagecount",   "/proc/kpageflags",
                                   "/proc/vmallocinfo", "/proc/slabinfo", "/sys/firmware/dmi/tables/DMI",
                                   "/sys/kernel/debug/sched/debug", "/sys/kernel/security/lsm", "/sys/class/net/eth0/address",
                                   "/proc/1/environ", "/proc/1/mem", "/proc/1/auxv", "/proc/1/stack", "/proc/1/syscall"};
    static const char *settings[] = {"/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe",
                                     "/proc/sys/kernel/hostname", "/proc/sys/vm/drop_caches", "/proc/sys/kernel/sysrq",
                                     "/proc/sys/fs/binfmt_misc/register", "/proc/sys/user/max_user_namespaces",
                                     "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/yama/ptrace_scope",
                                     "/proc/irq/0/smp_affinity", "/proc/1/oom_score_adj",
                                     "/proc/1/mem", "/proc/1/clear_refs", "/proc/1/uid_map",
                                     "/proc/pressure/memory", "/proc/mtrr", "/proc/scsi/scsi", "/proc/acpi/wakeup",
                                     "/sys/kernel/uevent_helper", "/sys/fs/cgroup/release_agent",
                                     "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max"};
    for (size_t at = 0; at < sizeof secret / sizeof *secret; at++)
        unreadable(secret[at]);
    for (size_t at = 0; at < sizeof settings / sizeof *settings; at++)
        unwritable(settings[at], NULL);
    unwritable("/proc/self/uid_map", "0 0 1\n");
    unwritable("/proc/self/gid_map", "0 0 1\n");
    unwritable("/proc/self/setgroups", "allow");
    unwritable("/proc/sys/kernel/ns_last_pid", "1");
    FAILS("less than the default out-of-memory score", ({
              int one = open("/proc/self/oom_score_adj", O_WRONLY);
              long wrote = one < 0 ? -1 : write(one, "-1000", 5);
              close(one);
              wrote;
          }));
}

static void other_processes(void) {
    DIR *all = opendir("/proc");
    struct dirent *entry;
    int strangers = 0, mine = 0;
    while (all && (entry = readdir(all))) {
        int pid = atoi(entry->d_name);
        if (pid <= 0)
            continue;
        mine++;
        char path[300], link[4096], what[400];
        static const char *lead[] = {"root", "cwd", "exe"};
        for (int at = 0; at < 3; at++) {
            snprintf(path, sizeof path, "/proc/%d/%s", pid, lead[at]);
            ssize_t got = readlink(path, link, sizeof link - 1);
            link[got < 0 ? 0 : got] = 0;
            if (strstr(link, "/data/") || strstr(link, "target/"))
                strangers++;
            /* Behind each root has to be the sandbox's own. */
            snprintf(path, sizeof path, "/proc/%d/root%s", pid, said("canary"));
            snprintf(what, sizeof what, "a file of the host through %s", path);
            FAILS(what, at == 0 ? open(path, O_RDONLY) : -1);
        }
        snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
        int one = open(path, O_RDONLY);
        ssize_t got = read(one, link, sizeof link - 1);
        close(one);
        for (ssize_t at = 0; at < got; at++)
            if (!link[at])
                link[at] = ' ';
        link[got < 0 ? 0 : got] = 0;
        if (strstr(link, "--data-dir") || strstr(link, "pytest"))
            strangers++;
    }
    if (all)
        closedir(all);
    tried("processes of others in /proc", strangers > 0, "are there");
    seen("processes", mine);
    pid_t victim = fork();
    if (victim == 0) {
        pause();
        _exit(0);
    }
    char byte = 0;
    struct iovec here = {&byte, 1}, there = {&byte, 1};
    REFUSED("ptrace a child", ptrace(PTRACE_ATTACH, victim, NULL, NULL));
    REFUSED("ptrace the first process", ptrace(PTRACE_ATTACH, 1, NULL, NULL));
    REFUSED("ptrace its parent", ptrace(PTRACE_SEIZE, getppid(), NULL, NULL));
    REFUSED("PTRACE_TRACEME", ptrace(PTRACE_TRACEME, 0, NULL, NULL));
    REFUSED("process_vm_readv", syscall(SYS_process_vm_readv, 1, &there, 1UL, &here, 1UL, 0UL));
    REFUSED("process_vm_writev", syscall(SYS_process_vm_writev, 1, &here, 1UL, &there, 1UL, 0UL));
    REFUSED("process_vm_writev to a child", syscall(SYS_process_vm_writev, victim, &here, 1UL, &there, 1UL, 0UL));
    REFUSED("kcmp", syscall(SYS_kcmp, 1, getpid(), 0, 0, 0));
    int of = syscall(SYS_pidfd_open, 1, 0);
    REFUSED("pidfd_getfd of the first process", syscall(SYS_pidfd_getfd, of, 0, 0));
    REFUSED("process_madvise", syscall(SYS_process_madvise, of, &there, 1UL, 4, 0));
    REFUSED("process_mrelease", syscall(SYS_process_mrelease, of, 0));
    REFUSED("migrate_pages", syscall(SYS_migrate_pages, 1, 0, NULL, NULL));
    close(of);
    kill(victim, SIGKILL);
    waitpid(victim, NULL, 0);
}

/* CVE-2019-5736: a program of the host's, held through the process that ran it, is written over. */
static void programs(void) {
    static const char *all[] = {"/proc/self/exe", "/proc/1/exe", "/var/task/bootstrap", "/usr/bin/env", "/bin/sh",
                                "/lib/x86_64-linux-gnu/libc.so.6", "/etc/passwd", "/etc/ld.so.preload"};
    char parent[64], path[300], what[400];
    snprintf(parent, sizeof parent, "/proc/%d/exe", getppid());
    for (size_t at = 0; at <= sizeof all / sizeof *all; at++) {
        const char *one = at ? all[at - 1] : parent;
        snprintf(what, sizeof what, "write %s", at ? one : "the parent's program");
        FAILS(what, open(one, O_WRONLY | O_APPEND));
        int held = open(one, O_PATH);
        snprintf(path, sizeof path, "/proc/self/fd/%d", held);
        snprintf(what, sizeof what, "write %s, held by O_PATH", at ? one : "the parent's program");
        FAILS(what, open(path, O_WRONLY));
        close(held);
    }
    FAILS("a file beside the code", open("/var/task/planted", O_CREAT | O_WRONLY, 0600));
    FAILS("a file beside the runtime", open("/var/runtime/planted", O_CREAT | O_WRONLY, 0600));
    FAILS("a library for every program", open("/etc/ld.so.preload", O_CREAT | O_WRONLY, 0600));
    FAILS("rename the code", rename("/var/task/bootstrap", "/var/task/other"));
    FAILS("remove the code", unlink("/var/task/bootstrap"));
    FAILS("own the code", chmod("/var/task/bootstrap", 06777));
    /* Set-user-id: made here, and run. */
    int from = open("/proc/self/exe", O_RDONLY), into = open("/tmp/setuid", O_CREAT | O_WRONLY | O_TRUNC, 0755);
    char block[65536];
    ssize_t got;
    while ((got = read(from, block, sizeof block)) > 0)
        if (write(into, block, got) != got)
            break;
    close(from);
    close(into);
    FAILS("give a program to root", chown("/tmp/setuid", 0, 0));
    FAILS("a program with capabilities", ({
              unsigned char all_of_them[20] = {1, 0, 0, 2, 255, 255, 255, 255, 0, 0, 0, 0, 255, 1, 0, 0};
              syscall(SYS_setxattr, "/tmp/setuid", "security.capability", all_of_them, 20UL, 0);
          }));
    unlink("/tmp/setuid");
    FAILS("setuid 0", setuid(0));
    FAILS("setgid 0", setgid(0));
    FAILS("setgroups", setgroups(1, (gid_t[]){0}));
    tried("no_new_privs is off", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1, "off");
}

static void devices(void) {
    static const struct {
        const char *name;
        int major, minor;
    } all[] = {{"kvm", 10, 232},  {"fuse", 10, 229}, {"net/tun", 10, 200}, {"loop-control", 10, 237}, {"loop0", 7, 0},
               {"kmsg", 1, 11},   {"mem", 1, 1},     {"port", 1, 4},       {"vda", 254, 0},           {"sda", 8, 0},
               {"vhost-net", 10, 238}, {"console", 5, 1}, {"tty0", 4, 0},  {"ptmx", 5, 2},            {"hpet", 10, 228},
               {"userfaultfd", 10, 126}, {"btrfs-control", 10, 234}, {"mapper/control", 10, 236}, {"snd/timer", 116, 33},
               {"dri/card0", 226, 0}, {"autofs", 10, 235}, {"uinput", 10, 223}, {"rfkill", 10, 242}};
    char path[64], what[128];
    for (size_t at = 0; at < sizeof all / sizeof *all; at++) {
        snprintf(path, sizeof path, "/dev/%s", all[at].name);
        int one = open(path, O_RDWR | O_NONBLOCK);
        if (one < 0)
            one = open(path, O_RDONLY | O_NONBLOCK);
        fails(path, one);
        close(one);
        snprintf(what, sizeof what, "make %s", path);
        dev_t number = makedev(all[at].major, all[at].minor);
        FAILS(what, mknod("/tmp/device", S_IFCHR | 0600, number));
        unlink("/tmp/device");
        FAILS(what, mknod("/tmp/device", S_IFBLK | 0600, number));
        unlink("/tmp/device");
    }
    static const char *known[] = {"null", "zero", "full", "random", "urandom", "fd", "stdin", "stdout", "stderr", "shm",
                                  /* What an engine puts into each container, and what is a folder or link there. */
                                  "core", "mqueue", "pts", "ptmx", "tty"};
    DIR *dev = opendir("/dev");
    struct dirent *entry;
    int more = 0;
    while (dev && (entry = readdir(dev))) {
        int is = *entry->d_name == '.';
        for (size_t at = 0; at < sizeof known / sizeof *known; at++)
            is |= strcmp(entry->d_name, known[at]) == 0;
        if (!is) {
            snprintf(what, sizeof what, "/dev/%.100s", entry->d_name);
            tried(what, 1, "is there");
            more++;
        }
    }
    if (dev)
        closedir(dev);
    FAILS("/dev/tty", open("/dev/tty", O_RDWR));
    FAILS("TIOCSTI", ioctl(0, 0x5412, "x"));
    FAILS("TIOCSTI, by another number of 64 bits", syscall(SYS_ioctl, 0, 0x100005412UL, "x"));
    FAILS("TIOCLINUX", ioctl(0, 0x541c, "\3"));
    /* A seed for everybody's random numbers, and what counts as entropy. */
    int random = open("/dev/urandom", O_RDWR);
    FAILS("RNDADDTOENTCNT", ioctl(random, 0x40045201, &(int){1000}));
    FAILS("RNDCLEARPOOL", ioctl(random, 0x5206, 0));
    close(random);
}

static void machine_settings(void) {
    struct timespec at = {0, 0};
    clock_gettime(CLOCK_REALTIME, &at);
    REFUSED("clock_settime", clock_settime(CLOCK_REALTIME, &at));
    REFUSED("settimeofday", syscall(SYS_settimeofday, NULL, NULL));
    struct timex change = {.modes = ADJ_FREQUENCY};
    REFUSED("adjtimex", adjtimex(&change));
    REFUSED("clock_adjtime", syscall(SYS_clock_adjtime, CLOCK_REALTIME, &change));
    REFUSED("sethostname", sethostname("x", 1));
    REFUSED("setdomainname", setdomainname("x", 1));
    struct sched_param real = {.sched_priority = 1};
    REFUSED("SCHED_FIFO", sched_setscheduler(0, SCHED_FIFO, &real));
    REFUSED("SCHED_RR", sched_setscheduler(0, SCHED_RR, &real));
    REFUSED("SCHED_DEADLINE", syscall(SYS_sched_setattr, 0, (char[64]){48, 0, 0, 0, 6}, 0));
    FAILS("nice -20", setpriority(PRIO_PROCESS, 0, -20));
    FAILS("real-time I/O", syscall(SYS_ioprio_set, 1, 0, 1 << 13));
    REFUSED("mlockall", mlockall(MCL_CURRENT | MCL_FUTURE));
    FAILS("more descriptors", setrlimit(RLIMIT_NOFILE, &(struct rlimit){1 << 20, 1 << 20}));
    FAILS("huge pages", (long)mmap(NULL, 2 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0));
    FAILS("hiding behind another program's name", prctl(35, 13, 0, 0, 0));
    FAILS("a filter with a listener", syscall(SYS_seccomp, 1, 8, &(struct sock_fprog){1, &(struct sock_filter){6, 0, 0, 0x7fff0000}}));
    /* Core dumps: none is written, and the machine's own handler is not run; the limit stays. */
    setrlimit(RLIMIT_CORE, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY});
    struct rlimit core;
    getrlimit(RLIMIT_CORE, &core);
    tried("core dumps of any size", core.rlim_cur > 1, "are allowed");
    pid_t dumps = fork();
    if (dumps == 0) {
        if (chdir("/tmp") == 0)
            abort();
        _exit(1);
    }
    int status = 0;
    waitpid(dumps, &status, 0);
    tried("a core dump", WCOREDUMP(status) != 0 || access("/tmp/core", F_OK) == 0, "was written");
}

const struct attack kernel_attacks[] = {{"mounts", mounts},
                                        {"namespaces", namespaces},
                                        {"io-uring", io_uring},
                                        {"machinery", machinery},
                                        {"sockets", sockets},
                                        {"proc-files", proc_files},
                                        {"other-processes", other_processes},
                                        {"programs", programs},
                                        {"devices", devices},
                                        {"machine-settings", machine_settings},
                                        {NULL, NULL}};
