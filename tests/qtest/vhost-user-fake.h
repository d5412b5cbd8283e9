/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: a vhost-user back end in the test program
 *
 * A thread of its own answers QEMU, which waits for the answers while the test
 * waits for QEMU.  It notes what QEMU says about each queue.  Queues are
 * processed, if at all, by the test itself: see vhost-user-ring.h.
 *
 * Everything else runs in the test's one thread.
 */

#ifndef TESTS_QTEST_VHOST_USER_FAKE_H
#define TESTS_QTEST_VHOST_USER_FAKE_H

#include <sys/un.h>

#define VHOST_USER_F_PROTOCOL_FEATURES          30
#define VHOST_USER_PROTOCOL_F_CONFIG            9
#define VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD    12

#define VHOST_USER_FAKE_QUEUES  8
#define VHOST_USER_FAKE_REGIONS 8

/* What QEMU says about a queue */
typedef struct VhostUserQueue {
    bool running;               /* QEMU gave the kick descriptor */
    bool enabled;               /* SET_VRING_ENABLE, if QEMU sends it */
    uint16_t num;               /* entries */
    uint64_t desc, avail, used; /* guest addresses */
    uint32_t base;              /* the last SET_VRING_BASE */
    uint32_t answered;          /* the last answer to GET_VRING_BASE */
    unsigned starts;            /* how often it was started */
    unsigned stops;             /* how often GET_VRING_BASE was answered */
    int kick;                   /* the descriptor, or -1 */
} VhostUserQueue;

typedef struct VhostUserFake VhostUserFake;
struct VhostUserFake {
    /* Constant from vhost_user_start() on */
    uint64_t features;          /* what it offers */
    uint64_t protocol;          /* protocol features, the same */
    const uint8_t *config;      /* of the device, for F_CONFIG; NULL: zeroes */
    size_t config_len;          /* bytes of @config; zeroes follow */
    size_t inflight_len;        /* bytes of the in-flight buffer */
    bool again;                 /* goes on listening after a connection */
    void (*start)(VhostUserFake *u, unsigned queue);    /* or NULL */
    uint32_t (*stop)(VhostUserFake *u, unsigned queue); /* or NULL: base is 0 */
    void *opaque;               /* for the two, which hold @lock */

    int listener;
    struct sockaddr_un addr;    /* where it listens */
    GThread *thread;
    GArray *fds;                /* all that came; the thread's own */

    GMutex lock;                /* of what follows */
    GCond changed;
    int connection;             /* or -1 */
    unsigned connections;       /* so far */
    bool greeted;               /* QEMU has said something on it */
    bool ending;
    uint64_t acked;             /* the last features set */
    uint64_t queues;            /* bit N: queue N is running */
    VhostUserQueue queue[VHOST_USER_FAKE_QUEUES];
    struct {
        uint64_t guest, size, user, offset;
    } region[VHOST_USER_FAKE_REGIONS];
    unsigned regions;
    uint8_t *inflight;          /* the buffer, or NULL */
    bool inflight_kept;         /* QEMU brought back the one it was given */
};

/**
 * vhost_user_start: start a back end
 * @u: zero but for its constant members
 *
 * It listens on an abstract address that the kernel chooses: nothing can stay
 * behind.  The test stops when there is none.
 */
void vhost_user_start(VhostUserFake *u);

/**
 * vhost_user_stop: end a back end
 * @u: a back end whose QEMU has ended
 */
void vhost_user_stop(VhostUserFake *u);

/**
 * vhost_user_disconnect: break the connection, as a back end that crashes
 * @u: a back end that is connected
 *
 * Nothing is said to QEMU before.  Returns when the back end has forgotten
 * everything but its in-flight buffer.
 */
void vhost_user_disconnect(VhostUserFake *u);

#endif
