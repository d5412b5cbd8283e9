/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: the device's side of a virtqueue, for the back ends of
 * vhost-user-fake.h
 *
 * Buffers are taken and used in ring order, with and without in-order (a
 * device may do so); with it, buffers that the device does not write to share
 * a used entry.  Indirect descriptors and event indexes are not for this
 * device.
 *
 * Guest memory is the rig's of virtio-in-order-rig.h.  There is no lock here.
 */

#ifndef TESTS_QTEST_VHOST_USER_RING_H
#define TESTS_QTEST_VHOST_USER_RING_H

#include "virtio-in-order-rig.h"
#include "vhost-user-fake.h"

#define VHOST_USER_PIECES   8
#define VHOST_USER_RING_MAX 256

/* A buffer that was taken */
typedef struct VhostUserElem {
    uint16_t id;
    uint16_t ndesc;             /* descriptors in the ring */
    unsigned outs, ins;         /* number of pieces to read, to write */
    struct {
        uint64_t addr;
        uint32_t len;
    } out[VHOST_USER_PIECES], in[VHOST_USER_PIECES];
    uint32_t len;               /* bytes written, once it is done */
} VhostUserElem;

/* A place in a ring */
typedef struct VhostUserPos {
    uint16_t at;                /* split: an index that wraps at 65536 */
    bool wrap;                  /* packed: the wrap counter */
} VhostUserPos;

typedef struct VhostUserRing {
    bool packed, in_order;
    uint16_t size;
    uint64_t desc, avail, used;
    VhostUserPos taken, done;   /* what comes next */
    VhostUserElem elem[VHOST_USER_RING_MAX];
    unsigned first, count;      /* taken and not done, oldest first */
} VhostUserRing;

/**
 * vhost_user_ring_start: begin to process a queue
 * @r: filled in
 * @u: a back end; QEMU has set its features
 * @queue: number of the queue, which QEMU has described
 * @base: where to begin: split, an index; packed, the positions and wrap
 *        counters of the next buffer to take and to use, 16 bits each
 *
 * The test stops when it is not a ring, or not one to begin at.
 */
void vhost_user_ring_start(VhostUserRing *r, VhostUserFake *u, unsigned queue,
                           uint32_t base);

/**
 * vhost_user_ring_base: where another device would have to go on
 * @r: a ring
 *
 * Returns: the place of the oldest buffer that is not done, in the form of
 * vhost_user_ring_start()
 */
uint32_t vhost_user_ring_base(const VhostUserRing *r);

/**
 * vhost_user_ring_take: take a buffer, if there is one
 * @r: a ring
 *
 * The test stops when it is not well-formed.
 *
 * Returns: the buffer, part of @r, or NULL
 */
VhostUserElem *vhost_user_ring_take(VhostUserRing *r);

/**
 * vhost_user_ring_oldest: a buffer that is taken and not done
 * @r: a ring
 * @n: how many older ones there are; fewer than @r->count
 */
VhostUserElem *vhost_user_ring_oldest(VhostUserRing *r, unsigned n);

/**
 * vhost_user_ring_done: use buffers
 * @r: a ring
 * @n: how many of the oldest; their @len is set.  @r->count at most
 */
void vhost_user_ring_done(VhostUserRing *r, unsigned n);

#endif
