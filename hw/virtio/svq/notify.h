/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Notifications of a shadow virtqueue, to the device and to the guest
 *
 * The device is told about buffers by a store to the notify page of the
 * queue, where it offers one: that costs no system call.  Otherwise by an
 * eventfd, which the kernel reads.  The guest is told by the eventfd that its
 * interrupt hangs on.
 *
 * Threads.  The queue's thread notifies.  The main thread, under the BQL, maps
 * the doorbell and sets the device's side up while the queue is stopped; but it
 * replaces the guest's eventfd at any time, because the guest masks vectors at
 * any time.  What is signalled on the old one after that would be lost, so the
 * eventfd is read and written to under a lock of its own.  It is held for one
 * write() to an eventfd, and nobody else wants it while the guest leaves its
 * vectors alone.
 */

#ifndef HW_VIRTIO_SVQ_NOTIFY_H
#define HW_VIRTIO_SVQ_NOTIFY_H

#include "qemu/event_notifier.h"
#include "qemu/thread.h"

typedef struct SVQNotify {
    EventNotifier kick;         /* to the device; for VHOST_SET_VRING_KICK */
    EventNotifier call;         /* from the device; for VHOST_SET_VRING_CALL */
    void *doorbell;             /* the mapped notify page, or NULL */
    bool notification_data;     /* a notification carries what is available */
    uint16_t queue;             /* number of the virtqueue, what else it does */
    QemuMutex guest_lock;
    int guest_fd;               /* not ours; negative: nobody listens */
} SVQNotify;

/**
 * svq_notify_init:
 * @notify: filled in
 * @errp: set on failure
 *
 * Create the eventfds.  Nobody listens on the guest's side yet.
 *
 * Returns: false with @errp set when there are no more file descriptors.
 */
bool svq_notify_init(SVQNotify *notify, Error **errp);

/* The end of svq_notify_init(); the doorbell is unmapped. */
void svq_notify_cleanup(SVQNotify *notify);

/**
 * svq_notify_set_device:
 * @queue: number of the virtqueue
 * @notification_data: VIRTIO_F_NOTIFICATION_DATA is negotiated (VIRTIO 1.2,
 *                     section 2.9)
 *
 * What notifications of the device will carry.
 *
 * Context: BQL, the queue is stopped.
 */
void svq_notify_set_device(SVQNotify *notify, uint16_t queue,
                           bool notification_data);

/**
 * svq_notify_map_doorbell:
 * @device_fd: the vhost-vdpa character device
 * @queue: number of the virtqueue
 * @errp: set on failure
 *
 * Notify by stores from now on.
 *
 * Context: BQL, the queue is stopped.
 *
 * Returns: false with @errp set if the device offers no notify page for the
 * queue.  The eventfd serves then.
 */
bool svq_notify_map_doorbell(SVQNotify *notify, int device_fd, uint16_t queue,
                             Error **errp);

/* Notify by the eventfd from now on.  Context: BQL, the queue is stopped. */
void svq_notify_unmap_doorbell(SVQNotify *notify);

/**
 * svq_notify_device:
 * @data: what svq_ring_notification_data() says
 *
 * Tell the device that there are buffers.
 *
 * Context: the queue's thread.
 *
 * Returns: true if that was a store, false if a system call.
 */
bool svq_notify_device(SVQNotify *notify, uint32_t data);

/**
 * svq_notify_set_guest:
 * @fd: eventfd, stays the caller's, or negative for none
 *
 * Who hears of used buffers.  Nothing is signalled on the old descriptor any
 * more when this returns.
 *
 * Context: BQL; the queue may run.
 */
void svq_notify_set_guest(SVQNotify *notify, int fd);

/**
 * svq_notify_guest:
 *
 * Tell the guest, or whoever stands for it while the vector is masked, that
 * buffers were used.
 *
 * Context: the queue's thread.
 */
void svq_notify_guest(SVQNotify *notify);

#endif
