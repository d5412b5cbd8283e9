/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Shadow virtqueues: what the queues of a vDPA device share, private to
 * hw/virtio/svq
 */

#ifndef HW_VIRTIO_SVQ_DEVICE_H
#define HW_VIRTIO_SVQ_DEVICE_H

#include "hw/virtio/svq/queue.h"
#include "qemu/queue.h"

#ifndef VIRTIO_F_NOTIFICATION_DATA
#define VIRTIO_F_NOTIFICATION_DATA 38   /* VIRTIO 1.2, section 6 */
#endif

struct SVQDevice {
    unsigned int refs;
    char *netdev;               /* id of the network back end */
    int fd;                     /* vhost-vdpa's, not ours */
    SVQOptions *options;
    unsigned int num_queues;    /* virtqueues, the control queue included */
    uint64_t features;          /* what the device offers */
    uint64_t negotiated;        /* what it was told last */
    bool suspend;               /* it knows VHOST_VDPA_SUSPEND */
    SVQIOVAMap *map;
    GHashTable *blocks;         /* see memory.c */
    bool memory_failed;         /* not all of the guest's memory is mapped */
    GPtrArray *queues;          /* in the order of svq_new() */
    EventNotifier config_call;  /* the device's configuration has changed */
    bool live;                  /* it may know of rings: reset it */
    VirtIODevice *vdev;         /* while it runs, or NULL */
    QTAILQ_ENTRY(SVQDevice) next;
};

/**
 * svq_device_wants_doorbell:
 *
 * Returns: whether a queue is to be notified by a store where that can be.
 */
bool svq_device_wants_doorbell(const SVQDevice *dev);

/**
 * svq_device_add_status:
 * @status: bits of the device status (VIRTIO 1.2, section 2.1)
 *
 * Returns: whether the device has them now.
 */
bool svq_device_add_status(SVQDevice *dev, uint8_t status);

#endif
