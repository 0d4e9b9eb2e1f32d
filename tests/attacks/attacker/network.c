/* Reaching others: addresses, sockets of the host's, and the Runtime API as a client that lies. */
#include "attacker.h"
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/un.h>

/* A connection within 300 ms. */
static int reaches(int family, struct sockaddr *to, socklen_t length) {
    int one = socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (one < 0)
        return -1;
    int result = connect(one, to, length);
    if (result < 0 && errno == EINPROGRESS) {
        struct pollfd wait_for = {one, POLLOUT, 0};
        int error = ETIMEDOUT;
        socklen_t size = sizeof error;
        if (poll(&wait_for, 1, 300) == 1)
            getsockopt(one, SOL_SOCKET, SO_ERROR, &error, &size);
        errno = error;
        result = error ? -1 : 0;
    }
    int how = errno;
    close(one);
    errno = how;
    return result;
}

static void addresses(void) {
    static const char *fixed[] = {"169.254.169.254:80", "169.254.170.2:80", "169.254.169.253:53", "fd00:ec2::254:80",
                                  "fe80::a9fe:a9fe:80", "::ffff:169.254.169.254:80", "64:ff9b::a9fe:a9fe:80", "2852039166:80",
                                  "0xa9fea9fe:80", "0251.0376.0251.0376:80", "169.16689662:80", "10.0.0.1:80",
                                  "172.17.0.1:80", "192.168.1.1:80", "100.100.100.200:80", "168.63.129.16:80",
                                  "224.0.0.1:80", "255.255.255.255:80", "1.1.1.1:53", "2606:4700:4700::1111:53",
                                  "10.201.0.1:53"};
    /* What the host listens on, by its own addresses and by those that mean "here". */
    static const char *here[] = {"127.0.0.1", "0.0.0.0", "::", "::1", "::ffff:127.0.0.1", "127.1", "2130706433"};
    char to[300];
    for (size_t at = 0; at < sizeof fixed / sizeof *fixed + 3 * sizeof here / sizeof *here + 3; at++) {
        size_t of = at - sizeof fixed / sizeof *fixed, hosts = sizeof here / sizeof *here;
        static const char *ports[] = {"control", "ingress", "listener"};
        if (at < sizeof fixed / sizeof *fixed)
            snprintf(to, sizeof to, "%s", fixed[at]);
        else if (of < 3 * hosts)
            snprintf(to, sizeof to, "%s:%s", here[of % hosts], said(ports[of / hosts]));
        else
            snprintf(to, sizeof to, "%s:%s", said("host"), said(ports[of - 3 * hosts]));
        char *colon = strrchr(to, ':');
        *colon = 0;
        struct addrinfo want = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV}, *found = NULL;
        if (getaddrinfo(to, colon + 1, &want, &found) != 0) {
            tried(to, 0, "");
            continue;
        }
        *colon = ':';
        FAILS(to, reaches(found->ai_family, found->ai_addr, found->ai_addrlen));
        /* A datagram that leaves is through as well: it may carry anything anywhere. */
        char what[320];
        snprintf(what, sizeof what, "a datagram to %s", to);
        int one = socket(found->ai_family, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        int away = strncmp(to, "127", 3) && strncmp(to, "0.0", 3) && strncmp(to, "::", 2) && strncmp(to, "213", 3);
        if (one >= 0 && away)
            FAILS(what, sendto(one, "x", 1, 0, found->ai_addr, found->ai_addrlen));
        close(one);
        freeaddrinfo(found);
    }
    tried("a name is resolved", gethostbyname("example.com") != NULL, "it was");
}

static void local_sockets(void) {
    const char *paths[] = {"/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock",
                           "/run/dbus/system_bus_socket", "/run/systemd/private", "/run/systemd/journal/socket",
                           "/run/udev/control", "/run/user/0/bus", "/tmp/.X11-unix/X0", "/dev/log", said("path")};
    for (size_t at = 0; at < sizeof paths / sizeof *paths; at++) {
        struct sockaddr_un to = {.sun_family = AF_UNIX};
        snprintf(to.sun_path, sizeof to.sun_path, "%s", paths[at]);
        FAILS(paths[at], reaches(AF_UNIX, (struct sockaddr *)&to, sizeof to));
    }
    const char *abstract[] = {said("abstract"), "/tmp/.X11-unix/X0", "/tmp/dbus-session", "/containerd-shim"};
    for (size_t at = 0; at < sizeof abstract / sizeof *abstract; at++) {
        struct sockaddr_un to = {.sun_family = AF_UNIX};
        size_t length = strlen(abstract[at]);
        memcpy(to.sun_path + 1, abstract[at], length);
        char what[300];
        snprintf(what, sizeof what, "@%s", abstract[at]);
        FAILS(what, reaches(AF_UNIX, (struct sockaddr *)&to, offsetof(struct sockaddr_un, sun_path) + 1 + length));
    }
}

static void is(const char *what, int status, int wanted) {
    char how[64];
    snprintf(how, sizeof how, "status %d instead of %d", status, wanted);
    tried(what, status != wanted, how);
}

static void runtime_api(void) {
    static char answer[1 << 16], path[256];
    const char *foreign = "invocation/8476a536-e9f4-11e8-9739-2dfe598c3fcd/response";
    is("an answer to another's request", ask("POST", foreign, "", "{}", 2, answer, sizeof answer), 400);
    is("an error of another's request", ask("POST", "invocation/00000000-0000-0000-0000-000000000000/error", "", "{}", 2, answer, sizeof answer), 400);
    is("an answer without a request", ask("POST", "invocation//response", "", "{}", 2, answer, sizeof answer), 400);
    is("a second event before an answer", ask("GET", "invocation/next", "", "", 0, answer, sizeof answer), 403);
    is("a second init", ask("POST", "init/error", "", "{}", 2, answer, sizeof answer), 403);
    is("a path of somebody else's", ask("GET", "../../etc/passwd", "", "", 0, answer, sizeof answer), 404);
    is("an unknown method", ask("DELETE", "invocation/next", "", "", 0, answer, sizeof answer), 404);
    char *long_header = malloc(2 << 20);
    memset(long_header, 'x', 2 << 20);
    memcpy(long_header, "X: ", 3);
    memcpy(long_header + (2 << 20) - 3, "\r\n", 3);
    int status = ask("POST", foreign, long_header, "", 0, answer, sizeof answer);
    tried("a header of 2 MiB", status == 200 || status == 202, "was taken");
    free(long_header);
    /* A child is the sandbox's own and may answer for it; not twice. */
    snprintf(path, sizeof path, "invocation/%s/response", request_id);
    pid_t child = fork();
    if (child == 0) {
        const char *verdict = "{\"case\":\"runtime-api\",\"by\":\"a child\"}";
        _exit(ask("POST", path, "", verdict, strlen(verdict), answer, sizeof answer) == 202 ? 0 : 1);
    }
    int ended = 0;
    waitpid(child, &ended, 0);
    int again = ask("POST", path, "", "\"twice\"", 7, answer, sizeof answer);
    /* The answer is given: what this found goes with the next one. */
    int file = open("/tmp/after", O_CREAT | O_WRONLY | O_TRUNC, 0600);
    dprintf(file, "%d %d", WEXITSTATUS(ended), again);
    close(file);
}

static void runtime_api_after(void) {
    int child = -1, again = -1;
    FILE *file = fopen("/tmp/after", "r");
    if (file && fscanf(file, "%d %d", &child, &again) != 2)
        again = -1;
    is("an answer by a child", child, 0);
    is("a second answer", again, 400);
}

/* Connections that say nothing, or less than they promise: for as many as there may be. */
static void runtime_api_flood(void) {
    int opened = 0;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9001), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (; opened < 900; opened++) {
        int one = socket(AF_INET, SOCK_STREAM, 0);
        if (one < 0 || connect(one, (struct sockaddr *)&to, sizeof to) < 0)
            break;
        const char *half = "POST /2018-06-01/runtime/invocation/x/response HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\nx";
        if (send(one, half, strlen(half), MSG_NOSIGNAL) < 0)
            break;
    }
    seen("connections", opened);
    for (int at = 3; at < 1024; at++)
        close(at);
}

const struct attack network_attacks[] = {{"addresses", addresses},
                                         {"local-sockets", local_sockets},
                                         {"runtime-api", runtime_api},
                                         {"runtime-api-after", runtime_api_after},
                                         {"runtime-api-flood", runtime_api_flood},
                                         {NULL, NULL}};
