/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: the driver of a virtio-blk device that migrates
 *
 * Requests that fail stop the VM and stay in flight.
 */

#ifndef TESTS_QTEST_VIRTIO_IN_ORDER_MIGRATION_BLK_H
#define TESTS_QTEST_VIRTIO_IN_ORDER_MIGRATION_BLK_H

#include "virtio-in-order-migration-rig.h"

#define BLK_SLOTS       8       /* requests, of at most 4 descriptors */
#define BLK_QUEUES      4       /* at most */

typedef struct BlkRequest {
    bool busy;
    bool write;
    unsigned queue;
    uint32_t id;
    uint64_t sector;
    unsigned sectors;
    QVRingIndirectDesc *table;
} BlkRequest;

typedef struct Blk {
    MigRig rig;
    /* To be set before blk_init() */
    unsigned queues;            /* 0 is 1 */
    const char *props;          /* of the device, from a comma on, or NULL */
    const char *extra;          /* arguments for each QEMU, or NULL */
    bool throttled;             /* to 5 requests a second of virtual time */
    /* The rest is blk_init()'s */
    QVirtQueue *vq[BLK_QUEUES];
    uint64_t mem;
    BlkRequest req[BLK_SLOTS];
    unsigned count;             /* requests so far */
    int disk_fd;
    uint8_t *disk;              /* as QEMU sees it */
    uint8_t *model;             /* as it will be when all is written */
} Blk;

/* A batch of BLK_SLOTS requests and the one that is bad (or two that are) */
typedef struct BlkBatch {
    const char *name;
    int bad[2];         /* requests, the second may be -1 */
    int merged;         /* the first of 3 that QEMU merges to one, or -1 */
} BlkBatch;

enum { BLK_FIRST, BLK_THIRD, BLK_LAST, BLK_TWO, BLK_MERGED, BLK_BATCHES };

extern const BlkBatch blk_batches[BLK_BATCHES];

/**
 * blk_args: what a QEMU needs for the device
 * @b: the device, at least its disk
 * @mode: what it offers
 * @bad: sectors that fail, ends with 0, may be NULL
 * @once: only once each
 *
 * Returns: text that the caller frees with g_free()
 */
char *blk_args(const Blk *b, const Mode *mode, const uint64_t *bad,
               bool once);

/**
 * blk_init: start a QEMU with the device, and the device
 * @b: what has to be set before says so, the rest is zero
 * @mode: what the device offers
 * @bad: see blk_args()
 * @once: see blk_args()
 */
void blk_init(Blk *b, const Mode *mode, const uint64_t *bad, bool once);

/**
 * blk_cleanup: end all that
 * @b: the device
 */
void blk_cleanup(Blk *b);

/**
 * blk_restart: reset the device, forget what is in flight, and start it
 * @b: the device
 */
void blk_restart(Blk *b);

/**
 * blk_add: add a request, not to be known to the device before blk_kick()
 * @b: the device
 * @queue: which queue of the device
 * @sector: the first sector
 * @sectors: how many
 * @write: write them
 */
void blk_add(Blk *b, unsigned queue, uint64_t sector, unsigned sectors,
             bool write);

/**
 * blk_add_any: add one of a series of various requests to good sectors
 * @b: the device
 * @queue: which queue
 */
void blk_add_any(Blk *b, unsigned queue);

/**
 * blk_kick: kick all queues that have something new
 * @b: the device
 */
void blk_kick(Blk *b);

/**
 * blk_reap: take requests that came back and check them
 * @b: the device
 *
 * Returns: how many
 */
unsigned blk_reap(Blk *b);

/**
 * blk_busy: count the requests in flight
 * @b: the device
 */
unsigned blk_busy(const Blk *b);

/**
 * blk_finish: wait for requests to come back
 * @b: the device
 * @n: how many, all that are in flight
 */
void blk_finish(Blk *b, unsigned n);

/**
 * blk_run: traffic, on all queues, up to BLK_SLOTS requests at once
 * @b: the device
 * @n: requests
 */
void blk_run(Blk *b, unsigned n);

/**
 * blk_bad: the sectors that are bad in a batch
 * @batch: the batch
 * @bad: set, ends with 0
 */
void blk_bad(const BlkBatch *batch, uint64_t bad[3]);

/**
 * blk_batch: submit a batch, and wait until it has stopped the VM
 * @b: the device
 * @batch: the batch
 */
void blk_batch(Blk *b, const BlkBatch *batch);

/**
 * blk_resume: let what a batch has left go on, and see that all come back
 * @b: the device, in a VM that is stopped
 * @batch: the batch
 */
void blk_resume(Blk *b, const BlkBatch *batch);

/**
 * blk_status: where the device writes a request's status
 * @b: the device
 * @slot: the request's place in Blk.req
 *
 * Returns: a byte that is 0xff before that
 */
uint8_t *blk_status(Blk *b, unsigned slot);

/**
 * blk_seed: a stream with requests in flight on two queues
 * @mode: what the device offers
 * @seed: filled in
 */
void blk_seed(const Mode *mode, MigSeed *seed);

/**
 * blk_add_tests: the cases of this device
 * @mode: one for each
 */
void blk_add_tests(const Mode *mode);

#endif
