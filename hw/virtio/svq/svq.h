/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Shadow virtqueues
 *
 * A shadow virtqueue (SVQ) stands between a guest's driver and a vDPA device:
 * it is the device of a virtqueue in guest memory (virtio.c's half), and the
 * driver of a device ring in QEMU's memory (ring.h).  Every buffer passes it,
 * so QEMU knows what is in flight, which pages the device writes, and where
 * another device can go on after a migration.
 *
 * SVQDevice is what the shadow virtqueues of one vDPA device have in common.
 *
 * Threads.  Each queue has an AioContext, an IOThread's or the main loop's.
 * While it runs, that thread alone forwards buffers: it touches this queue,
 * its VirtQueue, the IOVA map and guest memory (both under RCU), and never
 * takes the BQL.  All the rest happens under the BQL, mostly while the queue is
 * stopped; what may be called while it runs says so.
 */

#ifndef HW_VIRTIO_SVQ_SVQ_H
#define HW_VIRTIO_SVQ_SVQ_H

#include "hw/virtio/svq/iova-map.h"
#include "hw/virtio/svq/options.h"
#include "hw/virtio/svq/ring.h"
#include "hw/virtio/virtio.h"

typedef struct SVQDevice SVQDevice;
typedef struct VhostShadowVirtqueue VhostShadowVirtqueue;

/**
 * VirtQueueAvailCallback:
 * @svq: the queue
 * @elem: a buffer that the guest made available
 * @opaque: of svq_new()
 *
 * Do something else with a buffer than to forward it as it is.  The callback
 * returns it with svq_push_elem(), and frees it with g_free().
 *
 * Context: BQL.
 */
typedef void (*VirtQueueAvailCallback)(VhostShadowVirtqueue *svq,
                                       VirtQueueElement *elem, void *opaque);

typedef struct VhostShadowVirtqueueOps {
    VirtQueueAvailCallback avail_handler;
} VhostShadowVirtqueueOps;

/* What a queue has done since it was created; counts only ever grow */
typedef struct SVQStats {
    uint64_t forwarded;         /* buffers made available to the device */
    uint64_t returned;          /* buffers given back to the guest */
    uint64_t batches;           /* publications in the device ring */
    uint64_t kicks_doorbell;
    uint64_t kicks_eventfd;
    uint64_t kicks_suppressed;  /* publications the device wanted no kick for */
    uint64_t interrupts;        /* of the guest */
    uint64_t interrupts_suppressed;
    uint64_t guest_kicks;       /* eventfd reads: from the guest */
    uint64_t device_calls;      /* eventfd reads: from the device */
    uint64_t poll_hits;         /* passes that found work without an eventfd */
    uint64_t full_waits;        /* a buffer had to wait for room in the ring */
    uint64_t split_translations; /* pieces that became more than one segment */
} SVQStats;

/* A snapshot of a queue, for QMP */
typedef struct SVQInfo {
    const char *netdev;         /* id, belongs to the SVQDevice */
    unsigned int queue;         /* number of the virtqueue */
    bool running;
    bool broken;
    SVQRingConfig ring;         /* the device ring; num is 0 before a start */
    bool notification_data;     /* VIRTIO_F_NOTIFICATION_DATA */
    bool doorbell;              /* notified by a store, not by an eventfd */
    const char *iothread;       /* id, or NULL: main loop */
    unsigned int in_flight;     /* buffers that the guest waits for */
    SVQStats stats;
} SVQInfo;

/* The device */

/**
 * svq_device_new:
 * @netdev: id of the network back end, for messages; copied
 * @fd: the vhost-vdpa character device; stays the caller's
 * @options: what the user asked for; taken over
 * @num_queues: virtqueues of the device, the control queue included
 * @errp: set on failure
 *
 * Context: BQL.
 *
 * Returns: what the queues share, with one reference for svq_device_unref();
 * NULL with @errp set if the device cannot be shadowed, or not as it was asked.
 */
SVQDevice *svq_device_new(const char *netdev, int fd, SVQOptions *options,
                          unsigned int num_queues, Error **errp);

/* Context: BQL. */
SVQDevice *svq_device_ref(SVQDevice *dev);

/* Context: BQL; @dev may be NULL. */
void svq_device_unref(SVQDevice *dev);

/**
 * svq_device_map:
 *
 * Returns: where the device finds QEMU's memory; belongs to @dev.
 */
SVQIOVAMap *svq_device_map(SVQDevice *dev);

/**
 * svq_device_offer:
 * @features: what the device offers
 *
 * Returns: what a guest can be offered: of the features of the rings, those of
 * QEMU's own virtqueues, because those are what it sees.
 */
uint64_t svq_device_offer(const SVQDevice *dev, uint64_t features);

/**
 * svq_device_negotiate:
 * @guest: what the guest has accepted
 *
 * Settle the features of the device rings: whatever the device offers and
 * svq.h knows how to use.
 *
 * Context: BQL, all queues are stopped.
 *
 * Returns: what the device is to be told.
 */
uint64_t svq_device_negotiate(SVQDevice *dev, uint64_t guest);

/**
 * svq_device_run:
 * @vdev: the guest's device
 *
 * Let all queues that were started forward buffers.  The device is DRIVER_OK
 * and its memory is mapped.
 *
 * Context: BQL.
 */
void svq_device_run(SVQDevice *dev, VirtIODevice *vdev);

/* Returns: whether svq_device_run() was called after the last halt. */
bool svq_device_is_running(const SVQDevice *dev);

/**
 * svq_device_halt:
 *
 * Stop forwarding, then have the device finish what it has begun, if it knows
 * VHOST_VDPA_SUSPEND, and reset it, so that it touches no memory any more.
 * Waits for at most one batch of each queue.  Nothing happens if the device
 * does not run.
 *
 * Context: BQL.
 */
void svq_device_halt(SVQDevice *dev);

/**
 * svq_for_each:
 * @fn: called for each shadow virtqueue there is
 *
 * Context: BQL; queues may run.
 */
void svq_for_each(void (*fn)(const SVQInfo *info, void *opaque), void *opaque);

/* A queue */

/**
 * svq_new:
 * @dev: what it shares with others; a reference is kept
 * @index: number of the virtqueue; that of the control queue depends on what
 *         the guest negotiates, and may be another when the queue is started
 * @ops: what is done with buffers instead of forwarding them, or NULL.  Such
 *       a queue always runs in the main loop.
 * @opaque: for @ops
 * @errp: set on failure
 *
 * Context: BQL.
 *
 * Returns: a queue that is stopped, for svq_free(), or NULL with @errp set.
 */
VhostShadowVirtqueue *svq_new(SVQDevice *dev, unsigned int index,
                              const VhostShadowVirtqueueOps *ops, void *opaque,
                              Error **errp);

/* Context: BQL; the queue is stopped. */
void svq_free(VhostShadowVirtqueue *svq);

/**
 * svq_set_guest_kick, svq_set_guest_call:
 * @fd: eventfd that the guest notifies by, or is notified by; stays the
 *      caller's, or negative for none
 *
 * Context: BQL.  The first not while the queue runs; the second at any time.
 */
void svq_set_guest_kick(VhostShadowVirtqueue *svq, int fd);
void svq_set_guest_call(VhostShadowVirtqueue *svq, int fd);

/**
 * svq_vdev:
 *
 * Returns: the guest's device while the queue is started, or NULL.
 */
VirtIODevice *svq_vdev(const VhostShadowVirtqueue *svq);

/**
 * svq_add:
 * @out, @in: memory that the IOVA map knows, for the device to read and write
 *
 * Make a buffer of QEMU's own available to the device of a queue that has
 * @ops, and notify it.
 *
 * Context: BQL, the queue is started.
 *
 * Returns: 0, -ENOSPC if the ring is full, -EINVAL if the memory is not mapped.
 */
int svq_add(VhostShadowVirtqueue *svq, const struct iovec *out,
            unsigned int out_num, const struct iovec *in, unsigned int in_num);

/**
 * svq_poll:
 *
 * Wait for the device to use a buffer of svq_add(), for ten seconds at most.
 *
 * Context: BQL, the queue is started.
 *
 * Returns: how many bytes the device wrote, 0 when the time is over or the
 * device broke a rule.
 */
size_t svq_poll(VhostShadowVirtqueue *svq);

/**
 * svq_push_elem:
 * @elem: a buffer that @ops got; stays the caller's
 * @len: bytes written to it
 *
 * Return a buffer to the guest.
 *
 * Context: BQL.
 */
void svq_push_elem(VhostShadowVirtqueue *svq, const VirtQueueElement *elem,
                   uint32_t len);

#endif
