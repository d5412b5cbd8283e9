/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The order tracker in the migration stream
 *
 * A count, and for each buffer its ID, its entries of the ring, the length
 * written and two flags, all big-endian.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "virtqueue-order-vmstate.h"

#define ORDER_STREAM_READONLY   0x1
#define ORDER_STREAM_DONE       0x2

void virtqueue_order_save(const VirtQueueOrder *order, QEMUFile *f)
{
    uint32_t i, count = virtqueue_order_in_flight(order);

    qemu_put_be32(f, count);
    for (i = 0; i < count; i++) {
        const VirtQueueOrderBuffer *buffer = virtqueue_order_peek(order, i);

        qemu_put_be16(f, buffer->id);
        qemu_put_be16(f, buffer->ndescs);
        qemu_put_be32(f, buffer->len);
        qemu_put_byte(f, (buffer->readonly ? ORDER_STREAM_READONLY : 0) |
                         (buffer->done ? ORDER_STREAM_DONE : 0));
    }
}

bool virtqueue_order_load(VirtQueueOrder *order, QEMUFile *f, uint32_t num,
                          Error **errp)
{
    uint32_t i, ndescs_sum = 0, count = qemu_get_be32(f);

    virtqueue_order_reset(order);
    if (qemu_file_get_error(f)) {
        error_setg(errp, "the stream ends before the buffers in flight");
        return false;
    }
    if (count == 0) {
        return true;
    }
    if (count > num) {
        error_setg(errp, "%" PRIu32 " buffers in flight on a ring of %" PRIu32,
                   count, num);
        return false;
    }
    if (!virtqueue_order_init(order, num)) {
        error_setg(errp, "no memory for %" PRIu32 " buffers", num);
        return false;
    }

    for (i = 0; i < count; i++) {
        uint16_t id = qemu_get_be16(f);
        uint16_t ndescs = qemu_get_be16(f);
        uint32_t len = qemu_get_be32(f);
        uint8_t flags = qemu_get_byte(f);
        uint64_t seq;

        if (qemu_file_get_error(f)) {
            error_setg(errp, "the stream ends with buffer %" PRIu32 " of %"
                       PRIu32 " in flight", i, count);
            virtqueue_order_reset(order);
            return false;
        }
        ndescs_sum += ndescs;
        if (ndescs == 0 || ndescs_sum > num ||
            flags & ~(ORDER_STREAM_READONLY | ORDER_STREAM_DONE)) {
            error_setg(errp, "buffer %" PRIu32 " of %" PRIu32 " in flight (ID "
                       "%" PRIu16 ") has %" PRIu16 " descriptors and flags "
                       "0x%" PRIx8 " on a ring of %" PRIu32, i, count, id,
                       ndescs, flags, num);
            virtqueue_order_reset(order);
            return false;
        }
        seq = virtqueue_order_take(order, id, ndescs,
                                   flags & ORDER_STREAM_READONLY);
        if (seq == VIRTQUEUE_ORDER_NONE) {
            error_setg(errp, "ID %" PRIu16 " is in flight twice", id);
            virtqueue_order_reset(order);
            return false;
        }
        if (flags & ORDER_STREAM_DONE) {
            virtqueue_order_complete(order, seq, len);
        }
    }
    return true;
}
