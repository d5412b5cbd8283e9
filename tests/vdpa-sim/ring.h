/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vdpa-sim: the device's side of a virtqueue, split or packed
 *
 * It is strict: what the specification asks of the driver is checked as far as
 * a device can see it, and a ring that breaks a rule is not looked at again.
 * sim_ring_init() starts anew.
 *
 * Rings and buffers are reached through the IOTLB only.  A ring remembers where
 * its three areas are until it is given another address space.
 *
 * A ring belongs to whoever holds the lock of its queue; nothing in it is
 * accessed without.  What lies in guest memory is shared with the driver, which
 * is another thread or the guest: the words that order the rest (indexes and
 * flags) are accessed atomically, with acquire and release semantics.
 */
#ifndef TESTS_VDPA_SIM_RING_H
#define TESTS_VDPA_SIM_RING_H

#include "iotlb.h"

/* Not in every version of the kernel's headers */
#ifndef VIRTIO_F_NOTIFICATION_DATA
#define VIRTIO_F_NOTIFICATION_DATA 38
#endif

typedef struct SimRingConfig {
    uint64_t features;
    uint32_t num;               /* entries */
    uint64_t desc;              /* addresses of the areas */
    uint64_t driver;
    uint64_t device;
    uint32_t base;              /* as in VHOST_SET_VRING_BASE */
} SimRingConfig;

typedef struct SimRing {
    SimRingConfig cfg;
    bool packed, in_order, event_idx, indirect;

    /* What cfg's addresses are in memory, in address space @tlb_gen */
    const SimIotlb *tlb;
    uint64_t tlb_gen;
    uint32_t hint;
    void *desc;
    void *driver;
    void *device;

    uint16_t avail;             /* split: index; packed: position */
    uint16_t used;
    bool avail_wrap, used_wrap; /* packed */
    uint16_t avail_seen;        /* split: the driver's index when last read */
    uint16_t in_flight;         /* entries taken and not yet used */
    uint32_t next_head;         /* split, in order: the next; num: any */
    bool kicks;                 /* the driver was asked to kick */
    bool broken;                /* the driver broke a rule */
    bool told;                  /* for the caller: @text is known */
    char text[148];             /* which rule */
    uint64_t fault_iova;        /* the area that is not mapped */
    uint64_t fault_len;
    uint64_t ids[65536 / 64];   /* bits: heads or buffer ids in flight */
} SimRing;

/* A buffer that was taken */
typedef struct SimBuffer {
    uint16_t id;                /* split: the head */
    uint16_t slots;             /* split: 1; packed: descriptors in the ring */
    uint16_t descs;             /* of the ring, not of an indirect table */
    bool fault;                 /* some of it is not mapped: there is no iov */
    uint64_t fault_iova;        /* where */
    uint64_t fault_len;
    uint32_t out_num;           /* pieces to read */
    uint32_t in_num;            /* pieces to write, after those */
    uint64_t out_len;           /* bytes */
    uint64_t in_len;
    struct iovec *iov;
} SimBuffer;

/* A buffer to be used */
typedef struct SimUsed {
    uint16_t id;
    uint16_t slots;
    uint32_t len;               /* bytes written */
    bool writable;              /* has a device-writable part */
    bool alone;                 /* may not be part of a run */
} SimUsed;

/**
 * sim_ring_init: begin
 * @r: the ring; nothing of what it was before counts
 * @cfg: copied
 */
void sim_ring_init(SimRing *r, const SimRingConfig *cfg);

/**
 * sim_ring_map: find the ring in memory
 * @r: a ring
 * @tlb: the address space, valid until another one is given
 *
 * Returns: false if an area of the ring is not all mapped in one piece, which
 * counts as a fault
 */
bool sim_ring_map(SimRing *r, const SimIotlb *tlb);

/**
 * sim_ring_pop: take a buffer
 * @r: a mapped ring
 * @buf: set to the buffer
 * @iov: for its pieces
 * @max: room in @iov
 *
 * Returns: false when there is none, or the ring is broken
 */
bool sim_ring_pop(SimRing *r, SimBuffer *buf, struct iovec *iov, unsigned max);

/**
 * sim_ring_unpop: give a buffer back
 * @r: a ring
 * @buf: the buffer that was taken last and neither used nor given back
 */
void sim_ring_unpop(SimRing *r, const SimBuffer *buf);

/**
 * sim_ring_push: use buffers
 * @r: a ring
 * @used: the buffers, in the order in which they are used
 * @num: how many
 * @runs: buffers without a writable part that follow each other are used
 *        through one element, which is only allowed in order
 * @jump: entries more to announce, a fault
 *
 * All become visible to the driver at once.
 *
 * Returns: used elements that were written
 */
unsigned sim_ring_push(SimRing *r, const SimUsed *used, unsigned num, bool runs,
                       unsigned jump);

/**
 * sim_ring_wants_call: does the driver want an interrupt?
 * @r: a ring
 * @old: sim_ring_used() before the last sim_ring_push()
 */
bool sim_ring_wants_call(SimRing *r, uint32_t old);

/* Where the device writes next; for sim_ring_wants_call() */
static inline uint32_t sim_ring_used(const SimRing *r)
{
    return r->used | (uint32_t)r->used_wrap << 16;
}

/**
 * sim_ring_kick_me: ask the driver for kicks, or tell it not to
 * @r: a mapped ring
 * @on: ask
 *
 * When @on, the driver need not kick for what it made available before, so the
 * caller has to look again before it waits.
 */
void sim_ring_kick_me(SimRing *r, bool on);

/**
 * sim_ring_check_notify: check notification data (VIRTIO 1.2, 2.9)
 * @r: a ring
 * @data: upper half of the word that the driver wrote
 *
 * Returns: whether the driver may have written it
 */
bool sim_ring_check_notify(SimRing *r, uint16_t data);

/**
 * sim_ring_base: where the device stands, as in VHOST_GET_VRING_BASE
 * @r: a ring with nothing in flight
 */
uint32_t sim_ring_base(const SimRing *r);

/**
 * sim_ring_start_base: where a ring starts without VHOST_SET_VRING_BASE
 * @features: negotiated
 */
uint32_t sim_ring_start_base(uint64_t features);

#endif
