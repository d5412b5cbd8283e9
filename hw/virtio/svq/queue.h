/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Shadow virtqueues: a queue, private to hw/virtio/svq
 *
 * device.c creates and destroys queues, vdpa.c starts and stops them together
 * with the vDPA device, forward.c moves their buffers.
 */

#ifndef HW_VIRTIO_SVQ_QUEUE_H
#define HW_VIRTIO_SVQ_QUEUE_H

#include "block/aio.h"
#include "hw/virtio/svq/notify.h"
#include "hw/virtio/svq/svq.h"
#include "sysemu/iothread.h"

/* A buffer of the guest, from its pop to its return */
typedef struct SVQElem {
    VirtQueueElement elem;      /* first, as virtqueue_pop_batch() wants it */
    uint32_t len;               /* written by the device, once it is done */
    bool done;
} SVQElem;

struct VhostShadowVirtqueue {
    /* The same from svq_new() to svq_free() */
    SVQDevice *dev;
    const VhostShadowVirtqueueOps *ops;
    void *opaque;
    unsigned int index;         /* number of the virtqueue, see svq_new() */
    QEMUBH *error_bh;           /* in the main loop, tells of a broken ring */
    SVQNotify notify;

    /* The same from svq_start() to svq_stop() */
    VirtIODevice *vdev;
    VirtQueue *vq;              /* NULL while stopped */
    IOThread *iothread;         /* NULL: main loop */
    AioContext *ctx;
    QEMUBH *work_bh;            /* in @ctx */
    SVQRingConfig config;
    SVQRing *ring;
    void *driver_area;          /* of @ring; see vdpa.c for its mapping */
    void *device_area;
    SVQRingLayout layout;
    uint64_t driver_iova;
    uint64_t device_iova;
    VirtQueueElement **fifo;    /* of the queue's buffers, @fifo_mask + 1 */
    unsigned int fifo_mask;
    SVQSeg *segs;               /* scratch, @max_segs */
    unsigned int max_segs;
    EventNotifier guest_kick;   /* borrowed; see svq_set_guest_kick() */

    /*
     * The queue's thread's while it runs.  The fifo holds buffers in the order
     * of their pop: those of [head, next) are in the device ring or back from
     * it, those of [next, tail) wait for room in it.  Indexes run freely.
     */
    unsigned int head, next, tail;
    bool full;                  /* the one at @next did not fit */
    bool polled;                /* the AioContext polls; no events wanted */
    bool self_call;             /* we have signalled @notify.call ourselves */
    SVQIOVAHint hint;

    uintptr_t own;              /* counts the buffers of svq_add() */

    /* Written by the queue's thread, read by any */
    bool broken;
    char *error;                /* why, until svq_report() */
    SVQStats stats;

    /* BQL */
    bool running;
};

/**
 * svq_prepare:
 * @vq: the guest's queue
 * @index: its number
 *
 * Get a queue ready to forward from the place where @vq stands: the fifo, the
 * AioContext.  The device ring is there already.
 *
 * Context: BQL, the queue is stopped.
 */
void svq_prepare(VhostShadowVirtqueue *svq, VirtIODevice *vdev, VirtQueue *vq,
                 unsigned int index);

/**
 * svq_finish:
 *
 * The end of svq_prepare(): give the guest what the device has used, and take
 * the rest back as if it had never been popped.
 *
 * Context: BQL, the queue does not run, and the device does not know it any
 * more.
 */
void svq_finish(VhostShadowVirtqueue *svq);

/**
 * svq_run, svq_halt:
 *
 * Begin to forward; stop, waiting for at most one batch.
 *
 * Context: BQL; the queue is started.
 */
void svq_run(VhostShadowVirtqueue *svq);
void svq_halt(VhostShadowVirtqueue *svq);

/**
 * svq_break:
 * @fmt: what is wrong, without a line break
 *
 * Stop forwarding for good, until the guest resets the device, and tell it.
 *
 * Context: the queue's thread, or the BQL while it does not run.
 */
void svq_break(VhostShadowVirtqueue *svq, const char *fmt, ...)
    G_GNUC_PRINTF(2, 3);

/**
 * svq_report:
 *
 * Tell user and guest what svq_break() was called for, if they do not know yet.
 *
 * Context: BQL.
 */
void svq_report(VhostShadowVirtqueue *svq);

#endif
