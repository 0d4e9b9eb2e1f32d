/* A hostile function: a runtime of its own, without any library, whose events say what it is to try. Answers with what it
   tried, what of that went through, and the numbers that somebody outside has to judge. It only tries: whatever would
   work is undone or ends with it. */
#include "attacker.h"
#include <arpa/inet.h>
#include <stdarg.h>
#include <sys/time.h>

char request_id[128];
static char *event;
static char through_text[65536], seen_text[8192];
static int tries;

double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static void append(char *text, size_t room, const char *format, ...) {
    size_t length = strlen(text);
    va_list values;
    va_start(values, format);
    vsnprintf(text + length, room - length, format, values);
    va_end(values);
}

void tried(const char *what, int through, const char *how) {
    tries++;
    if (through)
        append(through_text, sizeof through_text, "%s\"%s: %s\"", *through_text ? "," : "", what, how);
}

void seen(const char *what, long long number) {
    append(seen_text, sizeof seen_text, "%s\"%s\":%lld", *seen_text ? "," : "", what, number);
}

static const char *outcome(long result) {
    return result == -1 ? strerrorname_np(errno) : "done";
}

void refused(const char *what, long result) {
    int how = errno;
    int no = how == EPERM || how == ENOSYS || how == EACCES || how == EAFNOSUPPORT || how == EPROTONOSUPPORT ||
             how == ESOCKTNOSUPPORT;
    tried(what, result != -1 || !no, outcome(result));
}

void fails(const char *what, long result) {
    tried(what, result != -1, outcome(result));
}

const char *said(const char *name) {
    static char values[8][256];
    static int at;
    char key[64];
    snprintf(key, sizeof key, "\"%s\":\"", name);
    char *found = event ? strstr(event, key) : NULL;
    if (!found)
        return "";
    found += strlen(key);
    char *into = values[at++ % 8];
    snprintf(into, sizeof values[0], "%.*s", (int)strcspn(found, "\""), found);
    return into;
}

static int connected(void) {
    char host[64];
    snprintf(host, sizeof host, "%s", getenv("AWS_LAMBDA_RUNTIME_API") ?: "127.0.0.1:9001");
    char *colon = strchr(host, ':');
    *colon = 0;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(colon + 1))};
    inet_pton(AF_INET, host, &to.sin_addr);
    int one = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (one >= 0 && connect(one, (struct sockaddr *)&to, sizeof to) == 0)
        return one;
    close(one);
    return -1;
}

static int send_all(int one, const char *from, size_t length) {
    while (length) {
        ssize_t sent = send(one, from, length, MSG_NOSIGNAL);
        if (sent <= 0)
            return -1;
        from += sent;
        length -= sent;
    }
    return 0;
}

int ask(const char *method, const char *path, const char *headers, const void *body, size_t length, char *answer, size_t room) {
    int one = connected();
    if (one < 0)
        return -1;
    char *head = malloc(strlen(headers) + strlen(path) + 512);
    sprintf(head, "%s /2018-06-01/runtime/%s HTTP/1.1\r\nHost: r\r\nConnection: close\r\n%sContent-Length: %zu\r\n\r\n", method,
            path, headers, length);
    /* What is refused early may be closed before it has all been taken: the answer counts all the same. */
    /* The next event may be long in coming; whoever attacks waits for nobody. */
    if (*request_id)
        setsockopt(one, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){3, 0}, sizeof(struct timeval));
    if (send_all(one, head, strlen(head)) == 0)
        send_all(one, body, length);
    free(head);
    size_t got = 0;
    ssize_t more;
    while (got < room - 1 && (more = recv(one, answer + got, room - 1 - got, 0)) > 0)
        got += more;
    answer[got] = 0;
    close(one);
    return got > 12 ? atoi(answer + 9) : -1;
}

static void run(const char *name) {
    const struct attack *all[] = {kernel_attacks, process_attacks, memory_attacks, network_attacks};
    for (size_t group = 0; group < sizeof all / sizeof *all; group++)
        for (const struct attack *one = all[group]; one->name; one++)
            if (strcmp(one->name, name) == 0) {
                one->run();
                return;
            }
    tried("an attack of that name", 1, "there is none");
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    static char answer[1 << 20], verdict[sizeof through_text + sizeof seen_text + 1024], path[256];
    for (;;) {
        if (ask("GET", "invocation/next", "", "", 0, answer, sizeof answer) != 200)
            return 1;
        char *id = strcasestr(answer, "lambda-runtime-aws-request-id: ");
        event = strstr(answer, "\r\n\r\n");
        if (!id || !event)
            return 2;
        id += strlen("lambda-runtime-aws-request-id: ");
        snprintf(request_id, sizeof request_id, "%.*s", (int)strcspn(id, "\r"), id);
        *through_text = *seen_text = 0;
        tries = 0;
        char name[64];
        snprintf(name, sizeof name, "%s", said("case"));
        run(name);
        snprintf(verdict, sizeof verdict, "{\"case\":\"%s\",\"tried\":%d,\"through\":[%s],\"seen\":{%s}}", name, tries,
                 through_text, seen_text);
        snprintf(path, sizeof path, "invocation/%s/response", request_id);
        static char ignored[4096];
        ask("POST", path, "", verdict, strlen(verdict), ignored, sizeof ignored);
        *request_id = 0;
    }
}
