/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The order tracker in the migration stream
 */

#ifndef HW_VIRTIO_VIRTQUEUE_ORDER_VMSTATE_H
#define HW_VIRTIO_VIRTQUEUE_ORDER_VMSTATE_H

#include "hw/virtio/virtqueue-order.h"
#include "migration/qemu-file-types.h"

/**
 * virtqueue_order_save:
 * @order: the tracker
 * @f: the stream
 *
 * Write the buffers in flight, oldest first.  Sequence numbers are not written:
 * the destination gives out its own.
 *
 * Context: the queue is stopped.
 */
void virtqueue_order_save(const VirtQueueOrder *order, QEMUFile *f);

/**
 * virtqueue_order_load:
 * @order: a tracker; what it holds is forgotten
 * @f: the stream
 * @num: the ring's size
 * @errp: set on failure
 *
 * Read what virtqueue_order_save() wrote.  Nothing in the stream is taken on
 * trust: no more buffers are in flight afterwards than the ring holds, and they
 * stand on no more of its entries than it has.
 *
 * Context: the queue is stopped.
 *
 * Returns: false, with an empty tracker, if the stream is at fault.
 */
bool virtqueue_order_load(VirtQueueOrder *order, QEMUFile *f, uint32_t num,
                          Error **errp);

#endif
