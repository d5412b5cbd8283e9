/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The stress worker's TCP connections
 *
 * Each carries blocks both ways at once, sent and received by threads of their
 * own.  A block's contents depend on the connection, the direction and the
 * block's number, so that data which is lost, repeated, changed or of another
 * connection is noticed at the byte.  A side that stops marks its last block;
 * the other answers with its own last one, so the end is verified too.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "worker.h"

#define WORDS 2048              /* of a block: 16 KiB */
#define LAST (1ull << 63)       /* in a block's first word: the last one */

typedef struct Connection {
    Item *item;                 /* bytes: received; operations: blocks sent */
    int fd;
    uint64_t id;                /* of the connection, the same on both sides */
    bool caller;
    bool answered;              /* the other side's last block came */
    unsigned int users;         /* threads; the last one closes */
} Connection;

static uint64_t block_key(const Connection *c, bool sent, uint64_t number)
{
    return (c->id << 1 | (c->caller == sent)) * 0x100000001b3ull + number;
}

static void leave(Connection *c)
{
    if (!__atomic_sub_fetch(&c->users, 1, __ATOMIC_ACQ_REL)) {
        close(c->fd);
        item_done(c->item);
        free(c);
    }
}

/* Every other connection sends small pieces, each a packet of its own. */
static void *send_blocks(void *argument)
{
    Connection *c = argument;
    uint64_t *block = malloc(WORDS * sizeof(*block));
    uint64_t random = c->id | 1;
    bool last = false;

    if (!block) {
        fail(c->item->name, "no memory");
    }
    for (uint64_t number = 0; !last; number++) {
        const char *data = (const char *)block;
        size_t left = WORDS * sizeof(*block);

        last = (c->caller && stopping()) ||
               __atomic_load_n(&c->answered, __ATOMIC_ACQUIRE);
        block[0] = number | (last ? LAST : 0);
        pattern_fill(block + 1, WORDS - 1, block_key(c, true, number));
        while (left) {
            size_t piece = left;
            ssize_t sent;

            if (c->id & 1) {
                piece = 1 + random_below(&random, 2800);
                piece = piece < left ? piece : left;
            }
            sent = send(c->fd, data, piece, 0);
            if (sent < 0 && errno == EINTR) {
                continue;
            }
            if (sent <= 0) {
                fail(c->item->name, "sending block %llu: %s",
                     (unsigned long long)number, strerror(errno));
            }
            data += sent;
            left -= sent;
        }
        item_count(c->item, 0, 1);
    }
    free(block);
    leave(c);
    return NULL;
}

/* Say how much of a block is wrong, and whether it is an earlier one's. */
static void describe(Connection *c, const uint64_t *words, size_t wrong,
                     uint64_t number)
{
    static uint64_t expected[WORDS - 1];
    size_t count = 0, old = 0;

    pattern_fill(expected, WORDS - 1, block_key(c, false, number));
    for (size_t i = 0; i < WORDS - 1; i++) {
        count += words[i] != expected[i];
    }
    for (uint64_t back = 1; back <= 64 && back <= number && !old; back++) {
        pattern_fill(expected, WORDS - 1, block_key(c, false, number - back));
        old = words[wrong] == expected[wrong] ? back : 0;
    }
    fail(c->item->name, "received wrong data in block %llu: %zu words, the "
         "first at byte %zu, which %s %zu blocks before",
         (unsigned long long)number, count, (wrong + 1) * sizeof(*words),
         old ? "belongs" : "is none of", old ? old : 64);
}

static void *receive_blocks(void *argument)
{
    Connection *c = argument;
    uint64_t *block = malloc(WORDS * sizeof(*block));
    bool last = false;

    if (!block) {
        fail(c->item->name, "no memory");
    }
    for (uint64_t number = 0; !last; number++) {
        size_t have = 0, wrong;

        while (have < WORDS * sizeof(*block)) {
            ssize_t got = recv(c->fd, (char *)block + have,
                               WORDS * sizeof(*block) - have, 0);

            if (got < 0 && errno == EINTR) {
                continue;
            }
            if (got <= 0) {
                fail(c->item->name, "receiving block %llu: %s",
                     (unsigned long long)number,
                     got ? strerror(errno) : "closed before the last one");
            }
            have += got;
        }
        last = block[0] & LAST;
        if ((block[0] & ~LAST) != number) {
            fail(c->item->name, "received block %llu where %llu was due",
                 (unsigned long long)(block[0] & ~LAST),
                 (unsigned long long)number);
        }
        wrong = pattern_check(block + 1, WORDS - 1,
                              block_key(c, false, number));
        if (wrong < WORDS - 1) {
            describe(c, block + 1, wrong, number);
        }
        item_count(c->item, sizeof(*block) * WORDS, 0);
    }
    __atomic_store_n(&c->answered, true, __ATOMIC_RELEASE);
    free(block);
    leave(c);
    return NULL;
}

static void run(Connection *c)
{
    int on = c->id & 1;

    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    c->users = 2;
    start(send_blocks, c);
    start(receive_blocks, c);
}

static Connection *connection_new(Item *item, int fd, uint64_t id, bool caller)
{
    Connection *c = calloc(1, sizeof(*c));

    if (!c) {
        fail(item->name, "no memory");
    }
    c->item = item;
    c->fd = fd;
    c->id = id;
    c->caller = caller;
    return c;
}

typedef struct Listener {
    const char *name;
    int fd;
} Listener;

static void *accept_all(void *argument)
{
    Listener *l = argument;

    for (unsigned int i = 0; ; i++) {
        uint64_t id;
        int fd = accept(l->fd, NULL, NULL);

        if (fd < 0) {
            if (errno == EINTR || errno == ECONNABORTED) {
                i--;
                continue;
            }
            fail(l->name, "accept: %s", strerror(errno));
        }
        if (recv(fd, &id, sizeof(id), MSG_WAITALL) != sizeof(id)) {
            /* A caller that found no way back and tried again */
            close(fd);
            i--;
            continue;
        }
        run(connection_new(item_new("%s%u", l->name, i), fd, id, false));
    }
    return NULL;
}

void work_listen(char *spec)
{
    const char *name = strsep(&spec, ":"), *port = strsep(&spec, ":");
    struct sockaddr_in address = { .sin_family = AF_INET };
    Listener *l = calloc(1, sizeof(*l));
    int on = 1;

    if (!port || spec || !l) {
        fail("worker", "listen wants NAME:PORT");
    }
    address.sin_port = htons(atoi(port));
    l->name = name;
    l->fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(l->fd, (struct sockaddr *)&address, sizeof(address)) ||
        listen(l->fd, 64)) {
        fail(name, "cannot listen on port %s: %s", port, strerror(errno));
    }
    start(accept_all, l);
}

typedef struct Caller {
    Item *item;
    struct sockaddr_in address;
    uint64_t id;
} Caller;

/* The other side may still be booting. */
static void *call(void *argument)
{
    Caller *caller = argument;
    struct timespec pause = { .tv_nsec = 200000000 };

    for (int tries = 0; ; tries++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);

        if (!connect(fd, (struct sockaddr *)&caller->address,
                     sizeof(caller->address)) &&
            send(fd, &caller->id, sizeof(caller->id), 0) ==
            sizeof(caller->id)) {
            run(connection_new(caller->item, fd, caller->id, true));
            free(caller);
            return NULL;
        }
        close(fd);
        if (tries == 200) {
            fail(caller->item->name, "cannot connect: %s", strerror(errno));
        }
        nanosleep(&pause, NULL);
    }
}

void work_connect(char *spec)
{
    const char *name = strsep(&spec, ":"), *address = strsep(&spec, ":");
    const char *port = strsep(&spec, ":"), *count = strsep(&spec, ":");
    uint64_t first;

    if (!count || spec) {
        fail("worker", "connect wants NAME:ADDRESS:PORT:CONNECTIONS");
    }
    first = ((uint64_t)getpid() << 32 ^ (uint64_t)time(NULL) << 12) & ~1ull;
    for (int i = 0; i < atoi(count); i++) {
        Caller *caller = calloc(1, sizeof(*caller));

        if (!caller) {
            fail(name, "no memory");
        }
        caller->item = item_new("%s%d", name, i);
        caller->id = first + i;
        caller->address.sin_family = AF_INET;
        caller->address.sin_port = htons(atoi(port));
        if (!inet_aton(address, &caller->address.sin_addr)) {
            fail(name, "%s is no address", address);
        }
        start(call, caller);
    }
}
