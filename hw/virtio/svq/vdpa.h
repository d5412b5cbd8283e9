/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Shadow virtqueues of a vhost-vdpa device: what hw/virtio/vhost-vdpa.c calls
 *
 * vhost knows a struct vhost_dev for each pair of data queues, and one for the
 * control queue.  They are started one after the other, the last one sets the
 * device going; and they are stopped one after the other, while the device must
 * stop with the first: nothing that it can still write to may be taken away.
 * SVQDevice keeps them together.
 *
 * Everything here runs under the BQL.
 */

#ifndef HW_VIRTIO_SVQ_VDPA_H
#define HW_VIRTIO_SVQ_VDPA_H

#include "hw/virtio/vhost.h"
#include "hw/virtio/vhost-vdpa.h"

/**
 * vhost_vdpa_svq_init:
 * @dev: a part of a device that is to be shadowed
 * @errp: set on failure
 *
 * Create its shadow virtqueues.
 *
 * Returns: false with @errp set on failure.
 */
bool vhost_vdpa_svq_init(struct vhost_dev *dev, Error **errp);

/* The end of vhost_vdpa_svq_init(); stops what is still started. */
void vhost_vdpa_svq_cleanup(struct vhost_dev *dev);

/**
 * vhost_vdpa_svq_dev_start:
 * @started: start it, or stop it
 *
 * Start: set up the device rings of those queues that the guest has set up,
 * and have the device use them.  With the last part the guest's memory is
 * mapped, the device set going, and buffers begin to move.
 *
 * Stop: with the first part the device is halted, with all its queues.  Each
 * part gives its queues back to the guest: what the device has not used is
 * available again.
 *
 * Returns: 0, or negative, with a message, if it cannot be started; nothing is
 * left of it then.
 */
int vhost_vdpa_svq_dev_start(struct vhost_dev *dev, bool started);

/**
 * vhost_vdpa_svq_queue_enable:
 * @n: the queue, counted from the first one of @dev
 * @on: start it, or stop it
 *
 * Stop one queue while the others go on, so that the device forgets it (VIRTIO
 * 1.2, section 2.6.1); or start one that was stopped, or that the guest had not
 * set up when the device was started.
 *
 * Returns: 0, or negative, with a message, if it cannot be started.
 */
int vhost_vdpa_svq_queue_enable(struct vhost_dev *dev, int n, bool on);

/**
 * vhost_vdpa_svq_map:
 * @host: memory of QEMU's own, aligned to a host page
 * @size: bytes, whole host pages
 * @readonly: the device may only read
 * @iova: set to where the device finds it; may be NULL
 * @errp: set on failure
 *
 * Let the device use a piece of memory, and svq_add() find it.
 *
 * Returns: false with @errp set on failure.
 */
bool vhost_vdpa_svq_map(struct vhost_vdpa *v, void *host, size_t size,
                        bool readonly, uint64_t *iova, Error **errp);

/**
 * vhost_vdpa_svq_unmap:
 * @host: as it was mapped
 *
 * The end of vhost_vdpa_svq_map().  The device has stopped.
 */
void vhost_vdpa_svq_unmap(struct vhost_vdpa *v, void *host);

/* Guest memory, see memory.c */

/**
 * vhost_vdpa_svq_region_add, vhost_vdpa_svq_region_del:
 * @section: what appears in the guest's memory, or disappears from it
 *
 * For the memory listener.  The device learns about it in
 * vhost_vdpa_svq_memory_commit().
 */
void vhost_vdpa_svq_region_add(struct vhost_vdpa *v,
                               MemoryRegionSection *section);
void vhost_vdpa_svq_region_del(struct vhost_vdpa *v,
                               MemoryRegionSection *section);

/**
 * vhost_vdpa_svq_memory_commit:
 *
 * Tell the device what has changed.  The listener ends the batch of messages,
 * if there is one, and calls vhost_vdpa_svq_memory_publish() then.
 */
void vhost_vdpa_svq_memory_commit(struct vhost_vdpa *v);

/* Let the queues use what the device knows. */
void vhost_vdpa_svq_memory_publish(struct vhost_vdpa *v);

#endif
