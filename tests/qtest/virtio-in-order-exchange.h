/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: buffers with a part that the device reads and a part that it writes
 *
 * Most virtio devices work that way: a request goes out, an answer comes in.
 * An Exchange is the guest memory of one such buffer; the driver puts it into
 * a queue as often as it likes.  It is spread over a random number of
 * descriptors, now and then in an indirect table: VIRTIO 1.2, 2.7.4, lets a
 * driver do so with any device.
 *
 * Everything here runs in the test's one thread, on the rig of
 * virtio-in-order-rig.h.
 */

#ifndef TESTS_QTEST_VIRTIO_IN_ORDER_EXCHANGE_H
#define TESTS_QTEST_VIRTIO_IN_ORDER_EXCHANGE_H

#include "virtio-in-order-rig.h"

typedef struct Exchange {
    uint64_t out_addr, in_addr;     /* guest memory of the two parts */
    size_t out_max, in_max;         /* its size, bytes */
    uint8_t *out, *in;              /* the test's view of it */
    size_t out_len, in_len;         /* what is used of it, bytes */
    uint32_t id;                    /* of the buffer */
    uint32_t len;                   /* bytes written, once it came back */
    bool in_flight;
    bool plain;                     /* one descriptor for each part */
    bool loose;                     /* bytes beyond @len may have changed */

    QVirtQueue *vq;                 /* where it is in flight */
    uint64_t number;                /* the later added, the higher */
    bool done;                      /* see exchange_completed() */
} Exchange;

/**
 * exchange_init: get the memory of an exchange
 * @x: filled in; its memory becomes free with the next dev_start()
 * @out_max: bytes for the device to read, 0: the buffer has no such part
 * @in_max: bytes for the device to write, 0: the same
 */
void exchange_init(Exchange *x, size_t out_max, size_t in_max);

/**
 * exchange_add: put an exchange into a ring
 * @x: not in flight; @x->out says what the device is to read
 * @vq: the queue
 * @out_len: bytes of it
 * @in_len: bytes that the device may write; they are POISON before
 *
 * Not visible to the device before exchange_go().  The test stops when the
 * ring has no room.
 */
void exchange_add(Exchange *x, QVirtQueue *vq, size_t out_len, size_t in_len);

/**
 * exchange_go: make what was added available and kick
 * @last: what was added last
 * @vq: its queue
 */
void exchange_go(Exchange *last, QVirtQueue *vq);

/**
 * exchange_take: take a used buffer, if there is one
 * @all: all exchanges that may be in flight
 * @n: number of them
 * @vq: the queue
 *
 * The test stops when it is none of them, or when the device has written
 * beyond the length that it says.  It may (VIRTIO 1.2, 2.7.8.2), but only a
 * device that was interrupted has a reason to: @loose says so.
 *
 * Returns: which one it was, or NULL
 */
Exchange *exchange_take(Exchange *all, unsigned n, QVirtQueue *vq);

/**
 * exchange_completed: wait until the driver has what it is to have
 * @all: all exchanges that may be in flight
 * @n: number of them
 * @dev: a device of which the test decides when it completes what; those that
 *       it has let complete have @done set
 * @vq: the queue
 * @what: what is going on, for the message
 *
 * Without in-order, everything that is done comes back; with it, what is older
 * than everything that is not, and QEMU says that it holds the rest back.  The
 * test stops when anything else comes back, or nothing for RIG_TIMEOUT_US.
 *
 * Returns: number of buffers that are held back
 */
unsigned exchange_completed(Exchange *all, unsigned n, Dev *dev,
                            QVirtQueue *vq, const char *what);

/**
 * exchange_finish: wait until nothing is in flight any more
 * @all: all exchanges that may be in flight
 * @n: number of them
 * @vq: the queue
 * @what: what is going on, for the message
 *
 * The test stops as in exchange_take(), when nothing comes back for
 * RIG_TIMEOUT_US, or as in qvring_check_idle().
 */
void exchange_finish(Exchange *all, unsigned n, QVirtQueue *vq,
                     const char *what);

/**
 * exchange_one: one exchange from beginning to end
 * @x: see exchange_add()
 * @vq: the queue
 * @out_len: see exchange_add()
 * @in_len: see exchange_add()
 * @what: what is going on, for the message
 *
 * The test stops as in exchange_finish().
 */
void exchange_one(Exchange *x, QVirtQueue *vq, size_t out_len, size_t in_len,
                  const char *what);

#endif
