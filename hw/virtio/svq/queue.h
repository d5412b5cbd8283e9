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

/* Buffers that are popped, and given to the device, together, at most */
#define SVQ_BATCH   64

/* A buffer of the guest, from its pop to its return */
typedef struct SVQElem {
    VirtQueueElement elem;      /* first, as virtqueue_pop_batch() wants it */
    uint64_t seq;               /* counts pops; from 1 */
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
    SVQSeg *segs;               /* scratch, @max_segs */
    unsigned int max_segs;
    EventNotifier guest_kick;   /* borrowed; see svq_set_guest_kick() */

    /*
     * The queue's thread's while it runs.  Buffers that are popped are in the
     * device ring, but for those of @waiting from @first_waiting on.
     */
    VirtQueueElement *waiting[SVQ_BATCH];
    unsigned int first_waiting, num_waiting;
    bool full;                  /* the first of them did not fit */
    uint64_t popped;            /* SVQElem.seq of the last one popped */
    uint64_t returned;          /* the greatest one of those returned */
    bool polled;                /* the AioContext polls; no events wanted */
    bool self_call;             /* we have signalled @notify.call ourselves */
    SVQIOVAHint hint;

    uintptr_t own;              /* counts the buffers of svq_add() */

    /* Written by the queue's thread, read by any */
    unsigned int held;          /* buffers popped and not returned */
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
 * Get a queue ready to forward from the place where @vq stands: scratch space,
 * the AioContext.  The device ring is there already.
 *
 * Context: BQL, the queue is stopped.
 */
void svq_prepare(VhostShadowVirtqueue *svq, VirtIODevice *vdev, VirtQueue *vq,
                 unsigned int index);

/**
 * svq_finish:
 *
 * The end of svq_prepare(): give the guest what the device has used, and take
 * the rest back as if it had never been popped, where that can be.
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
