/* Many processes, signals, and what a process may hold of the kernel's. */
#include "attacker.h"
#include <dirent.h>
#include <mqueue.h>
#include <sys/inotify.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/un.h>

/* As many as there may be, which are then ended. */
static void forks(void) {
    int made = 0, go[2];
    if (pipe(go) < 0)
        return;
    for (; made < 20000; made++) {
        pid_t one = fork();
        if (one < 0)
            break;
        if (one == 0) {
            close(go[1]);
            char end;
            _exit(read(go[0], &end, 1) < 0);
        }
    }
    seen("processes", made);
    close(go[1]);
    while (wait(NULL) > 0)
        ;
    close(go[0]);
}

/* Never ends: all there may be, each of which makes more as soon as one ends, in sessions of their own. */
static void fork_bomb(void) {
    for (;;) {
        if (fork() == 0)
            setsid();
    }
}

static void ignore_all(void) {
    for (int signal_number = 1; signal_number < 65; signal_number++)
        signal(signal_number, SIG_IGN);
}

static void deaf(void) {
    ignore_all();
    for (;;)
        if (fork() == 0) {
            setsid();
            for (;;)
                pause();
        } else
            for (;;)
                pause();
}

static void stops_itself(void) {
    if (fork() == 0) {
        kill(getppid(), SIGSTOP);
        _exit(0);
    }
    raise(SIGSTOP);
    for (;;)
        kill(0, SIGSTOP);
}

static void kill_everyone(void) {
    kill(-1, SIGKILL);
    /* Oneself is left out. */
    raise(SIGKILL);
}

/* Every number that a process of the host's may have: only the sandbox's own may be there. */
static void kill_by_number(void) {
    int there = 0;
    for (int pid = 1; pid < 4194304; pid = pid < 40000 ? pid + 1 : pid + 997)
        if (pid != getpid() && kill(pid, 0) == 0)
            there++;
    seen("reached", there);
    /* The sandbox's first process cannot be killed from within; if it could, this call would end here. */
    kill(1, SIGKILL);
    kill(1, SIGSTOP);
    kill(1, SIGTERM);
    FAILS("SIGKILL to a process group of the host's", kill(-2, SIGKILL));
}

static long long counted(void) {
    long long count = 0;
    int one = open("/tmp/count", O_RDONLY);
    if (one >= 0 && read(one, &count, sizeof count) != sizeof count)
        count = 0;
    close(one);
    return count;
}

/* Leaves a process that counts milliseconds of its own running; later calls say how far it came. */
static void daemon_left(void) {
    if (*said("again")) {
        seen("count", counted());
        return;
    }
    if (fork() == 0) {
        setsid();
        if (fork() == 0) {
            ignore_all();
            for (int at = 0; at < 1024; at++)
                close(at);
            int one = open("/tmp/count", O_CREAT | O_RDWR | O_TRUNC, 0600);
            for (long long count = 0;; count++) {
                if (pwrite(one, &count, sizeof count, 0) < 0)
                    _exit(1);
                usleep(1000);
            }
        }
        _exit(0);
    }
    wait(NULL);
    seen("count", 0);
}

static int hand_over(int through, int what) {
    char control[CMSG_SPACE(sizeof(int) * 200)], byte = 0;
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(sizeof(int) * 200)};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int) * 200);
    for (int at = 0; at < 200; at++)
        ((int *)CMSG_DATA(head))[at] = what;
    return sendmsg(through, &message, MSG_DONTWAIT) == 1 ? 200 : -1;
}

/* Descriptors that are in no table, but in messages that nobody reads. */
static int pile_up(void) {
    int in_flight = 0, more, pair[2];
    for (int pairs = 0; pairs < 400 && socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0; pairs++)
        while ((more = hand_over(pair[0], 1)) > 0)
            in_flight += more;
    return in_flight;
}

static void descriptors(void) {
    int opened = 0, last = -1;
    for (; opened < 100000; opened++) {
        int one = dup(1);
        if (one < 0)
            break;
        last = one;
    }
    seen("descriptors", opened);
    for (int at = 3; at <= last; at++)
        if (fcntl(at, F_GETFD) >= 0)
            close(at);
    seen("descriptors in flight", pile_up());
    for (int at = 3; at < 1024; at++)
        close(at);
}

static void timers(void) {
    int made = 0;
    timer_t one;
    struct sigevent event = {.sigev_notify = SIGEV_NONE};
    while (made < 1000000 && timer_create(CLOCK_MONOTONIC, &event, &one) == 0)
        made++;
    seen("timers", made);
    for (int at = 0; at < made; at++)
        timer_delete((timer_t)(long)at);
    int pending = 0;
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    union sigval value = {0};
    while (pending < 1000000 && sigqueue(getpid(), SIGRTMIN + 1, value) == 0)
        pending++;
    seen("signals", pending);
    /* Both are gone with the process. */
}

static void watches(void) {
    int instances = 0, watched = 0, one = -1, last = -1;
    while (instances < 2000 && (one = inotify_init()) >= 0)
        instances++, last = one;
    seen("inotify instances", instances);
    for (int at = 0; last >= 0 && at < 20000; at++, watched++) {
        char path[64];
        snprintf(path, sizeof path, "/tmp/w%d", at);
        if (mkdir(path, 0700) < 0 || inotify_add_watch(last, path, IN_ALL_EVENTS) < 0)
            break;
    }
    seen("inotify watches", watched);
    for (int at = 3; at < 1024; at++)
        close(at);
    int made = system("rm -rf /tmp/w*");
    (void)made;
}

static void queues(void) {
    int made = 0;
    struct mq_attr attributes = {.mq_maxmsg = 10, .mq_msgsize = 8192};
    for (; made < 10000; made++) {
        char name[64];
        snprintf(name, sizeof name, "/q%d", made);
        mqd_t one = mq_open(name, O_CREAT | O_RDWR, 0600, &attributes);
        if (one == (mqd_t)-1)
            break;
        mq_close(one);
    }
    seen("POSIX queues", made);
    int all = 0;
    while (all < 100000 && msgget(IPC_PRIVATE, IPC_CREAT | 0600) >= 0)
        all++;
    seen("System V queues", all);
    /* Whatever others on this machine made with a well-known key is not here. */
    int strangers = 0;
    for (int id = 0; id < 32; id++) {
        struct shmid_ds is;
        strangers += shmctl(id, IPC_STAT, &is) == 0;
    }
    seen("shared memory of others", strangers);
    REFUSED("a file system for queues", syscall(SYS_mount, "none", "/tmp", "mqueue", 0, NULL));
}

/* What a neighbour of the same kind still has while another holds all it can. */
static void holds(void) {
    timer_t one;
    struct sigevent event = {.sigev_notify = SIGEV_NONE};
    for (int made = 0; made < 1000000 && timer_create(CLOCK_MONOTONIC, &event, &one) == 0; made++)
        ;
    pile_up();
    while (inotify_init() >= 0)
        ;
    sleep(atoi(said("seconds")));
    for (int at = 3; at < 1024; at++)
        close(at);
}

static void has_left(void) {
    timer_t one;
    struct sigevent event = {.sigev_notify = SIGEV_NONE};
    int failed = timer_create(CLOCK_MONOTONIC, &event, &one) != 0;
    tried("a timer", failed, strerrorname_np(errno));
    int pair[2] = {-1, -1};
    failed = socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) != 0 || hand_over(pair[0], 1) < 0;
    tried("handing over descriptors", failed, strerrorname_np(errno));
    int watch = inotify_init();
    tried("an inotify instance", watch < 0, strerrorname_np(errno));
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    tried("a process", child < 0, strerrorname_np(errno));
    if (child > 0)
        waitpid(child, NULL, 0);
    close(watch);
    close(pair[0]);
    close(pair[1]);
}

const struct attack process_attacks[] = {{"forks", forks},
                                         {"fork-bomb", fork_bomb},
                                         {"deaf", deaf},
                                         {"stops-itself", stops_itself},
                                         {"kill-everyone", kill_everyone},
                                         {"kill-by-number", kill_by_number},
                                         {"daemon", daemon_left},
                                         {"descriptors", descriptors},
                                         {"timers", timers},
                                         {"watches", watches},
                                         {"queues", queues},
                                         {"holds", holds},
                                         {"has-left", has_left},
                                         {NULL, NULL}};
