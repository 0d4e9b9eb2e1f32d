"""The attacks from within a sandbox: what each tries, and what must come of it on each isolation.

    D  denied: whatever it tried failed, and it answers        K  killed: the call ends with the error that is named
    C  confined: it gets so much and no more

What an isolation is weaker at is said here, with the reason, and so gets into docs/attacks.md. An attack is never made
weaker for the sake of one.
"""

from dataclasses import dataclass, field

KERNEL, MEMORY, NETWORK = "Kernel and processes", "Memory", "Network and neighbours"
DRIVERS = ("namespace", "docker", "gvisor")

MIB = 1 << 20
TIMED_OUT = r"Task timed out"
OUT_OF_MEMORY = r"Runtime\.OutOfMemory"


@dataclass
class Attack:
    case: str
    group: str
    title: str
    means: str
    # The most of each thing that it may get; for C.
    bounds: dict = field(default_factory=dict)
    # What the call ends with; for K.
    error: str = ""
    memory: str = "128MB"
    timeout: str = "20s"
    # What goes through on a driver all the same, as the attacker names it; `differs` says why that is so.
    allows: list = field(default_factory=list)
    # What differs on a driver: fields, and `note`, which the table shows.
    differs: dict = field(default_factory=dict)
    # Whether CI runs it on every driver, and not on the namespace isolation only.
    everywhere: bool = False

    def on(self, driver):
        return Attack(**{**self.__dict__, **{k: v for k, v in self.differs.get(driver, {}).items() if k != "note"}})


# gVisor's kernel is the sandbox's own, and its memory the sandbox's memory.
ITS_OWN = "what it takes is its own kernel's, and counts as the sandbox's memory: there is no other limit, and the sandbox may be killed for it"
IMAGINED = "its own kernel takes the call and changes nothing but itself"
ONE_USER = "all containers are one user of the host's, and share what the kernel counts for each user, up to the limits of the host ([security.md](security.md))"
EARLIER = f"{OUT_OF_MEMORY}|{TIMED_OUT}"


def bomb(case, title, means="KC", **more):
    """A memory bomb in a sandbox of 64 MB. Where a quota of its own stops it, what it holds may be as much again: with
    control groups of version 1, the buffers of sockets are counted beside the limit and not in it."""
    return Attack(f"memory-{case}", MEMORY, title, means, {"held": 2 * 64 * MIB}, OUT_OF_MEMORY, memory="64MB", **more)


ATTACKS = [
    Attack("forks", KERNEL, "as many processes as there may be", "C", {"processes": 256}, everywhere=True,
           differs={"gvisor": {"means": "KC", "error": OUT_OF_MEMORY, "note": ITS_OWN}}),
    Attack("fork-bomb", KERNEL, "a fork bomb that never ends", "K", error=TIMED_OUT, timeout="2s", everywhere=True,
           differs={"gvisor": {"error": EARLIER}}),
    Attack("deaf", KERNEL,
           "many processes in sessions of their own that ignore every signal",
           "K", error=TIMED_OUT, timeout="2s",
           differs={"gvisor": {"error": EARLIER}}),
    Attack("stops-itself", KERNEL, "stops itself and its parent", "K", error=TIMED_OUT, timeout="2s"),
    Attack("kill-everyone", KERNEL,
           "`kill(-1, SIGKILL)`",
           "K", error=r"Runtime exited|signal: killed|Runtime\.ExitError", everywhere=True),
    Attack("kill-by-number", KERNEL, "signals to guessed processes, and to its own first one", "C",
           # Its own processes, and the threads of the agent beside it.
           {"reached": 16},
           differs={"gvisor": {"means": "KC", "error": r"Runtime\.ExitError",
                               "note": "its first process can be killed from within, with which the sandbox ends"}}),
    Attack("descriptors", KERNEL, "descriptors without end, and piled up in messages that nobody reads", "C",
           {"descriptors": 1024, "descriptors in flight": 2048},
           differs={"gvisor": {"means": "KC", "error": OUT_OF_MEMORY, "note": ITS_OWN}}),
    Attack("timers", KERNEL, "timers and queued signals without end", "C", {"timers": 4096, "signals": 4096},
           differs={"docker": {"bounds": {"timers": 200_000, "signals": 200_000}, "note": ONE_USER},
                    "gvisor": {"means": "KC", "error": OUT_OF_MEMORY, "note": ITS_OWN}}),
    Attack("watches", KERNEL,
           "inotify instances and watches without end",
           "C", {"inotify instances": 32, "inotify watches": 8192},
           differs={"docker": {"bounds": {"inotify instances": 1024, "inotify watches": 20_000}, "note": ONE_USER},
                    "gvisor": {"means": "KC", "bounds": {"inotify instances": 1024, "inotify watches": 20_000}, "error": OUT_OF_MEMORY,
                             "note": ITS_OWN}}),
    Attack("queues", KERNEL, "message queues of both kinds; shared memory of others", "C",
           {"POSIX queues": 256, "System V queues": 32000, "shared memory of others": 0},
           differs={"gvisor": {"bounds": {"POSIX queues": 10_000, "System V queues": 32_000, "shared memory of others": 0},
                               "note": ITS_OWN}}),
    Attack("other-processes", KERNEL,
           "`ptrace`, `process_vm_writev`, `pidfd_getfd`; other processes and their roots in `/proc`",
           "D", everywhere=True),
    Attack("programs", KERNEL,
           "writing over programs, through `/proc/PID/exe` too (CVE-2019-5736); set-id and capabilities on files",
           "D", everywhere=True),
    Attack("proc-files", KERNEL,
           "reading and writing what `/proc` and `/sys` have of the machine's",
           "D", everywhere=True,
           differs={"gvisor": {"allows": ["/proc/1/environ: was read", "/proc/1/auxv: was read", "less than the default out-of-memory score: done"],

                                        "note": "its first process is the agent, which has nothing that the function has not; its out-of-memory score is a number that nobody reads"}}),
    Attack("mounts", KERNEL,
           "mounts by every system call that makes, moves or changes one; `chroot`, `pivot_root`",
           "D", everywhere=True),
    Attack("namespaces", KERNEL,
           "new namespaces of each kind by `unshare`, `clone`, `clone3`; others' by `setns`",
           "D", everywhere=True),
    Attack("io-uring", KERNEL, "`io_uring`: EPERM, never a signal", "D"),
    Attack("machinery", KERNEL,
           "`bpf`, `perf`, `userfaultfd`, key rings, modules, `kexec`, files by handle, `fanotify`, the kernel's log; system calls of 32 bits",
           "D", everywhere=True),
    Attack("sockets", KERNEL,
           "ALG, VSOCK, PACKET, RXRPC, RDS, TIPC, raw, MPTCP, netlink; options with kernel code behind them",
           "D", everywhere=True,
           differs={"gvisor": {"allows": ["SO_MARK: done", "SO_SNDBUFFORCE: done", "IP_TRANSPARENT: done"],
                               "note": IMAGINED}}),
    Attack("devices", KERNEL, "opening and making devices; TIOCSTI; what is in `/dev`", "D", everywhere=True,
           differs={"gvisor": {"allows": ["/dev/fuse: done", "/dev/fuse: is there", "/dev/ptmx: done", "/dev/net: is there"],

                                        "note": "its own kernel has `/dev/fuse`, `/dev/ptmx` and an empty `/dev/net`; none is the host's, and nothing can be mounted with them"}}),
    Attack("machine-settings", KERNEL,
           "clock, host name, real-time scheduling, locked and huge memory, core dumps",
           "D", everywhere=True,
           differs={"gvisor": {"allows": ["nice -20: done"], "note": IMAGINED}}),
    bomb("anonymous", "anonymous memory", "K", everywhere=True),
    bomb("memfd", "memory files", "K"),
    bomb("tmp", "files in `/tmp`", "K"),
    bomb("shm", "files in `/dev/shm`"),
    bomb("system-v", "System V shared memory", "K"),
    bomb("messages", "System V messages", "K"),
    bomb("semaphores", "System V semaphores"),
    bomb("pipes", "pipe buffers", "K"),
    bomb("local-sockets", "buffers of local sockets", "K"),
    bomb("tcp", "buffers of TCP sockets, of sixteen processes", everywhere=True),
    bomb("udp", "buffers of UDP sockets, of sixteen processes", everywhere=True),
    bomb("page-tables", "page tables of memory that nothing was written to"),
    bomb("locks", "file locks"),
    Attack("addresses", NETWORK,
           "metadata services, this machine's doors, private and public addresses, each in several spellings; names",
           "D", everywhere=True),
    Attack("local-sockets", NETWORK,
           "Docker's, D-Bus's and other sockets of the host's, with a path and abstract",
           "D", everywhere=True),
    Attack("runtime-api-flood", NETWORK, "hundreds of half requests to the Runtime API", "C", {"connections": 900}),
]
