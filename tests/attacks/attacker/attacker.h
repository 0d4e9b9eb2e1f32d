/* What every case of the attacker has: a verdict to write into, and the event that says how. */
#ifndef ATTACKER_H
#define ATTACKER_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct attack {
    const char *name;
    void (*run)(void);
};

extern const struct attack kernel_attacks[], process_attacks[], memory_attacks[], network_attacks[];

/* Notes one try. `through`: it did what no sandbox may let it do; `how` says what came of it. */
void tried(const char *what, int through, const char *how);

/* A number that the oracle outside judges. */
void seen(const char *what, long long number);

/* Notes one call that has to fail as something not allowed. A call that fails for its arguments has been looked at by the
   kernel: that is through, too. */
void refused(const char *what, long result);
#define REFUSED(what, call) (errno = 0, refused(what, (long)(call)))

/* Notes one call that has to fail, however it does. */
void fails(const char *what, long result);
#define FAILS(what, call) (errno = 0, fails(what, (long)(call)))

/* A member of the event that is a text; empty when it is not there. */
const char *said(const char *name);

/* One request to the Runtime API, on a connection of its own; the status, or -1. */
int ask(const char *method, const char *path, const char *headers, const void *body, size_t length, char *answer, size_t room);
/* The request that is being served. */
extern char request_id[128];

double now(void);

#endif
