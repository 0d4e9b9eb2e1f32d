/* Taking memory in every way that there is. A child takes it, so that it is seen whether the whole sandbox ends; what it
   has taken so far is counted where its parent sees it. */
#include "attacker.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>

#define MIB (1 << 20)
/* Enough to say that nobody stops it. */
#define ENOUGH (512LL * MIB)

static volatile long long *held;
static char block[MIB];

static void bomb(void (*take)(void)) {
    held = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    *held = 0;
    memset(block, 7, sizeof block);
    int over[2];
    if (pipe(over) < 0)
        return;
    pid_t child = fork();
    if (child == 0) {
        take();
        /* Holds it until it has been looked at. */
        if (write(over[1], "x", 1) == 1)
            pause();
        _exit(0);
    }
    close(over[1]);
    char end;
    tried("the sandbox lives after a process of it was killed for memory", read(over[0], &end, 1) != 1, "its parent answers");
    /* What is charged late has its time to be. */
    usleep(300000);
    seen("held", *held);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(over[0]);
}

static void take_anonymous(void) {
    while (*held < ENOUGH) {
        char *more = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (more == MAP_FAILED)
            return;
        memset(more, 7, MIB);
        *held += MIB;
    }
}

static void fill(int one) {
    while (*held < ENOUGH) {
        ssize_t wrote = write(one, block, sizeof block);
        if (wrote <= 0)
            return;
        *held += wrote;
    }
}

static void take_memfd(void) { fill((int)syscall(SYS_memfd_create, "x", 0)); }
static void take_tmp(void) { fill(open("/tmp/bomb", O_CREAT | O_WRONLY, 0600)); }
static void take_shm(void) { fill(open("/dev/shm/bomb", O_CREAT | O_WRONLY, 0600)); }

static void take_system_v(void) {
    while (*held < ENOUGH) {
        int id = shmget(IPC_PRIVATE, 16 * MIB, IPC_CREAT | 0600);
        char *more = id < 0 ? (void *)-1 : shmat(id, NULL, 0);
        if (more == (void *)-1)
            return;
        for (int at = 0; at < 16; at++) {
            memset(more + at * MIB, 7, MIB);
            *held += MIB;
        }
    }
}

static void take_messages(void) {
    struct {
        long kind;
        char text[8000];
    } message = {1, {0}};
    for (int id; *held < ENOUGH && (id = msgget(IPC_PRIVATE, IPC_CREAT | 0600)) >= 0;)
        while (msgsnd(id, &message, sizeof message.text, IPC_NOWAIT) == 0)
            *held += sizeof message.text;
}

static void take_semaphores(void) {
    static unsigned short all_of_them[32000];
    for (int id; *held < ENOUGH && (id = semget(IPC_PRIVATE, 32000, IPC_CREAT | 0600)) >= 0;) {
        /* Set, so that whoever makes them only once they are used has to. */
        for (size_t at = 0; at < 32000; at++)
            all_of_them[at] = at % 7;
        semctl(id, 0, SETALL, all_of_them);
        *held += 32000 * 64;
    }
}

static void take_pipes(void) {
    int ends[2];
    while (*held < ENOUGH && pipe2(ends, O_NONBLOCK) == 0) {
        fcntl(ends[1], F_SETPIPE_SZ, MIB);
        fill(ends[1]);
    }
}

static void take_local_sockets(void) {
    int pair[2];
    while (*held < ENOUGH && socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0) {
        setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &(int){64 * MIB}, sizeof(int));
        fill(pair[0]);
    }
}

/* From many processes, since each has only so many descriptors. */
static void many(void (*take)(void)) {
    for (int at = 0; at < 16; at++)
        if (fork() == 0) {
            take();
            pause();
            _exit(0);
        }
    for (int at = 0; at < 80 && *held < ENOUGH; at++)
        usleep(50000);
}

static int listening(struct sockaddr_in *at) {
    int one = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t length = sizeof *at;
    *at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(one, SOL_SOCKET, SO_RCVBUF, &(int){64 * MIB}, sizeof(int));
    bind(one, (struct sockaddr *)at, sizeof *at);
    listen(one, 512);
    getsockname(one, (struct sockaddr *)at, &length);
    return one;
}

static void fill_tcp(void) {
    struct sockaddr_in at;
    int listener = listening(&at);
    for (;;) {
        int one = socket(AF_INET, SOCK_STREAM, 0);
        if (one < 0 || *held >= ENOUGH)
            return;
        setsockopt(one, SOL_SOCKET, SO_SNDBUF, &(int){64 * MIB}, sizeof(int));
        if (connect(one, (struct sockaddr *)&at, sizeof at) < 0 || accept(listener, NULL, NULL) < 0)
            return;
        fcntl(one, F_SETFL, O_NONBLOCK);
        fill(one);
    }
}

static void fill_udp(void) {
    for (int one; *held < ENOUGH && (one = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0)) >= 0;) {
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t length = sizeof at;
        setsockopt(one, SOL_SOCKET, SO_RCVBUF, &(int){64 * MIB}, sizeof(int));
        bind(one, (struct sockaddr *)&at, sizeof at);
        getsockname(one, (struct sockaddr *)&at, &length);
        int room = 0;
        length = sizeof room;
        getsockopt(one, SOL_SOCKET, SO_RCVBUF, &room, &length);
        for (int sent = 0; sent < room / 2; sent += 16000)
            sendto(one, block, 16000, 0, (struct sockaddr *)&at, sizeof at);
        /* Sent is not received: what did not fit was dropped. The kernel says what the socket holds. */
        unsigned holds[16] = {0};
        length = sizeof holds;
        if (getsockopt(one, SOL_SOCKET, 55 /* SO_MEMINFO */, holds, &length) == 0)
            *held += holds[0];
    }
}

static void take_tcp(void) { many(fill_tcp); }
static void take_udp(void) { many(fill_udp); }

/* A page that holds nothing but zeros is everybody's; the table that leads to it is not. */
static void take_page_tables(void) {
    const size_t span = 8UL << 30;
    while (*held < ENOUGH) {
        volatile char *more = mmap(NULL, span, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (more == MAP_FAILED)
            return;
        madvise((void *)more, span, MADV_NOHUGEPAGE);
        for (size_t at = 0; at < span && *held < ENOUGH; at += 2 * MIB) {
            (void)more[at];
            *held += 4096;
        }
    }
}

static void take_locks(void) {
    for (int file = 0; file < 800; file++) {
        char path[64];
        snprintf(path, sizeof path, "/tmp/locked%d", file);
        int one = open(path, O_CREAT | O_RDWR, 0600);
        for (long at = 0; at < 800 && *held < ENOUGH; at++) {
            struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = at * 2, .l_len = 1};
            if (fcntl(one, F_SETLK, &lock) < 0)
                return;
            *held += 200;
        }
    }
}

#define BOMB(name) \
    static void name##_bomb(void) { bomb(take_##name); }
BOMB(anonymous)
BOMB(memfd)
BOMB(tmp)
BOMB(shm)
BOMB(system_v)
BOMB(messages)
BOMB(semaphores)
BOMB(pipes)
BOMB(local_sockets)
BOMB(tcp)
BOMB(udp)
BOMB(page_tables)
BOMB(locks)

const struct attack memory_attacks[] = {{"memory-anonymous", anonymous_bomb},
                                        {"memory-memfd", memfd_bomb},
                                        {"memory-tmp", tmp_bomb},
                                        {"memory-shm", shm_bomb},
                                        {"memory-system-v", system_v_bomb},
                                        {"memory-messages", messages_bomb},
                                        {"memory-semaphores", semaphores_bomb},
                                        {"memory-pipes", pipes_bomb},
                                        {"memory-local-sockets", local_sockets_bomb},
                                        {"memory-tcp", tcp_bomb},
                                        {"memory-udp", udp_bomb},
                                        {"memory-page-tables", page_tables_bomb},
                                        {"memory-locks", locks_bomb},
                                        {NULL, NULL}};
