/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The order in which a virtqueue's buffers were taken
 *
 * The buffers in flight stand in a ring of their own, each at its sequence
 * number modulo the ring's size, from @head (the oldest) to @tail.  Completion
 * sets a mark where the buffer stands; handing out moves @head over the marks.
 * That makes a search unnecessary in whatever order buffers are completed.
 *
 * Locking: none.  One thread at a time uses a tracker, see
 * virtqueue_order_init().
 *
 * The file includes only the C library, not qemu/osdep.h, because it is also
 * built outside of QEMU.
 */

#include <stddef.h>
#include <stdlib.h>

#include "hw/virtio/virtqueue-order.h"

/* The largest ring that VIRTIO has */
#define VIRTQUEUE_ORDER_MAX 32768

/* A bit for each ID that there can be */
#define VIRTQUEUE_ORDER_BUSY_WORDS (65536 / 64)

static void virtqueue_order_clear_busy(VirtQueueOrder *order, uint16_t id)
{
    order->busy[id / 64] &= ~(UINT64_C(1) << id % 64);
}

bool virtqueue_order_init(VirtQueueOrder *order, uint32_t capacity)
{
    VirtQueueOrderBuffer *buffers;
    uint32_t size = 1;

    if (order->head != order->tail ||
        capacity == 0 || capacity > VIRTQUEUE_ORDER_MAX) {
        return false;
    }
    while (size < capacity) {
        size *= 2;
    }
    if (order->buffers && order->mask >= size - 1) {
        return true;
    }

    if (!order->busy) {
        order->busy = calloc(VIRTQUEUE_ORDER_BUSY_WORDS, sizeof(*order->busy));
    }
    buffers = calloc(size, sizeof(*buffers));
    if (!buffers || !order->busy) {
        free(buffers);
        return false;
    }
    free(order->buffers);
    order->buffers = buffers;
    order->mask = size - 1;
    return true;
}

void virtqueue_order_reset(VirtQueueOrder *order)
{
    while (order->head != order->tail) {
        virtqueue_order_clear_busy(order,
                                   virtqueue_order_at(order, order->head)->id);
        order->head++;
    }
    order->done = 0;
}

void virtqueue_order_destroy(VirtQueueOrder *order)
{
    virtqueue_order_reset(order);
    free(order->buffers);
    order->buffers = NULL;
    order->mask = 0;
    free(order->busy);
    order->busy = NULL;
}

bool virtqueue_order_untake(VirtQueueOrder *order, uint32_t count,
                            uint32_t *ndescs)
{
    uint32_t i, sum = 0;

    if (count > virtqueue_order_in_flight(order)) {
        return false;
    }
    for (i = 1; i <= count; i++) {
        VirtQueueOrderBuffer *buffer = virtqueue_order_at(order,
                                                          order->tail - i);

        if (buffer->done) {
            return false;
        }
        sum += buffer->ndescs;
    }

    /*
     * The numbers of these buffers are handed out again: their holders gave
     * them up just now, so none is left to mistake one for another.
     */
    for (i = 0; i < count; i++) {
        order->tail--;
        virtqueue_order_clear_busy(order,
                                   virtqueue_order_at(order, order->tail)->id);
    }
    if (ndescs) {
        *ndescs = sum;
    }
    return true;
}

const VirtQueueOrderBuffer *virtqueue_order_peek(const VirtQueueOrder *order,
                                                 uint32_t i)
{
    if (i >= virtqueue_order_in_flight(order)) {
        return NULL;
    }
    return virtqueue_order_at(order, order->head + i);
}

uint32_t virtqueue_order_ndescs(const VirtQueueOrder *order)
{
    uint32_t ndescs = 0;
    uint64_t seq;

    for (seq = order->head; seq != order->tail; seq++) {
        ndescs += virtqueue_order_at(order, seq)->ndescs;
    }
    return ndescs;
}

uint64_t virtqueue_order_find(const VirtQueueOrder *order, uint16_t id)
{
    uint64_t seq;

    for (seq = order->head; seq != order->tail; seq++) {
        const VirtQueueOrderBuffer *buffer = virtqueue_order_at(order, seq);

        if (buffer->id == id && !buffer->done) {
            return seq;
        }
    }
    return VIRTQUEUE_ORDER_NONE;
}

bool virtqueue_order_next(VirtQueueOrder *order, VirtQueueOrderRun *run)
{
    VirtQueueOrderBuffer *buffer;

    if (order->head == order->tail) {
        return false;
    }
    buffer = virtqueue_order_at(order, order->head);
    if (!buffer->done) {
        return false;
    }

    *run = (VirtQueueOrderRun) {
        .len = buffer->len,
        .id = buffer->id,
        .buffers = 1,
        .ndescs = buffer->ndescs,
    };
    virtqueue_order_clear_busy(order, buffer->id);
    order->head++;
    while (buffer->readonly && order->head != order->tail) {
        buffer = virtqueue_order_at(order, order->head);
        if (!buffer->done || !buffer->readonly) {
            break;
        }
        run->len = buffer->len;
        run->id = buffer->id;
        run->buffers++;
        run->ndescs += buffer->ndescs;
        virtqueue_order_clear_busy(order, buffer->id);
        order->head++;
    }
    order->done -= run->buffers;
    return true;
}
