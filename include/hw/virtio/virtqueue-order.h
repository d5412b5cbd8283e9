/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The order in which a virtqueue's buffers were taken
 *
 * A device that negotiated VIRTIO_F_IN_ORDER has to give buffers back in the
 * order in which the driver made them available (VIRTIO 1.2, sections 2.7.9
 * and 2.8.8), whatever order it finishes them in.  The order tracker remembers
 * the buffers that a device has taken, in the order taken; it is told, in any
 * order, that one is done; and it hands out what may be published next, one
 * used entry at a time.
 *
 * It holds plain data: it knows neither guest memory nor ring layout nor any
 * QEMU object, so that hw/virtio/virtio.c, libvhost-user, the unit test and the
 * fuzzer all build the same file.
 *
 * A buffer is known by its sequence number.  The head or buffer ID that the
 * driver chose would not do: the driver may use it again once the buffer is
 * handed out.  A reset does not start the numbers anew, so a number kept over a
 * reset names no buffer instead of somebody else's.
 *
 * The ID that a batch is announced with tells the driver which buffer is the
 * last of it, so no two buffers in flight may have the same one; the tracker
 * refuses the second.
 *
 * Every operation that traffic needs takes constant time; handing out an entry
 * takes it for each buffer, so each is looked at three times in its life.  The
 * two that are done for each buffer by itself are inline.
 */

#ifndef HW_VIRTIO_VIRTQUEUE_ORDER_H
#define HW_VIRTIO_VIRTQUEUE_ORDER_H

#include <stdbool.h>
#include <stdint.h>

/* The sequence number that no buffer has */
#define VIRTQUEUE_ORDER_NONE UINT64_MAX

typedef struct VirtQueueOrderBuffer {
    uint32_t len;       /* bytes written by the device, once done */
    uint16_t id;        /* head of the chain (split), buffer ID (packed) */
    uint16_t ndescs;    /* entries of the ring that the buffer stands on */
    bool readonly;      /* has no device-writable part */
    bool done;
} VirtQueueOrderBuffer;

/*
 * A tracker of zeroes is empty and has room for nothing.  The members are
 * private to this header and virtqueue-order.c.
 */
typedef struct VirtQueueOrder {
    VirtQueueOrderBuffer *buffers;  /* of size mask + 1 */
    uint32_t mask;
    uint64_t head;                  /* oldest buffer not yet handed out */
    uint64_t tail;                  /* number of the buffer taken next */
    uint32_t done;                  /* buffers in between that are done */
    uint64_t *busy;                 /* a bit for each ID in flight */
} VirtQueueOrder;

/* One used entry, for one buffer or for a batch of them */
typedef struct VirtQueueOrderRun {
    uint32_t len;       /* bytes written: the used element's length */
    uint16_t id;        /* ID of the last buffer: the used element's */
    uint32_t buffers;   /* how many the entry stands for */
    uint32_t ndescs;    /* entries of the ring they stand on together */
} VirtQueueOrderRun;

/* Where a buffer in flight stands; private */
static inline VirtQueueOrderBuffer *
virtqueue_order_at(const VirtQueueOrder *order, uint64_t seq)
{
    return &order->buffers[seq & order->mask];
}

/**
 * virtqueue_order_init:
 * @order: an empty tracker, of zeroes or used before
 * @capacity: buffers that can be in flight at once, 1 to 32768
 *
 * Make room.  Memory of an earlier call is kept if it suffices.
 *
 * Context: none of the tracker's functions takes a lock.  The one who runs the
 * virtqueue calls them: the queue's AioContext, or the BQL's holder where the
 * queue has none.
 *
 * Returns: false, and changes nothing, if a buffer is in flight, the capacity
 * is out of range or memory is short.
 */
bool virtqueue_order_init(VirtQueueOrder *order, uint32_t capacity);

/**
 * virtqueue_order_reset:
 * @order: the tracker
 *
 * Forget every buffer in flight.  Their sequence numbers are void from now on;
 * the room stays.
 */
void virtqueue_order_reset(VirtQueueOrder *order);

/**
 * virtqueue_order_destroy:
 * @order: the tracker
 *
 * Forget every buffer in flight and free the memory.  The tracker is then one
 * without room, and virtqueue_order_init() makes it usable again.
 */
void virtqueue_order_destroy(VirtQueueOrder *order);

/**
 * virtqueue_order_has_room:
 * @order: the tracker
 *
 * Returns: whether another buffer can be taken.
 */
static inline bool virtqueue_order_has_room(const VirtQueueOrder *order)
{
    return order->buffers && order->tail - order->head <= order->mask;
}

/**
 * virtqueue_order_busy:
 * @order: a tracker that has or had room
 * @id: as given to virtqueue_order_take()
 *
 * Returns: whether a buffer of this ID is in flight, done or not.
 */
static inline bool virtqueue_order_busy(const VirtQueueOrder *order,
                                        uint16_t id)
{
    return order->busy[id / 64] >> id % 64 & 1;
}

/**
 * virtqueue_order_in_flight:
 * @order: the tracker
 *
 * Returns: how many buffers are taken and not handed out, done or not.
 */
static inline uint32_t virtqueue_order_in_flight(const VirtQueueOrder *order)
{
    return order->tail - order->head;
}

/**
 * virtqueue_order_held_back:
 * @order: the tracker
 *
 * Returns: how many buffers are done and not handed out.  Once
 * virtqueue_order_next() has returned false, all of them wait for an older one.
 */
static inline uint32_t virtqueue_order_held_back(const VirtQueueOrder *order)
{
    return order->done;
}

/**
 * virtqueue_order_take:
 * @order: the tracker
 * @id: head of the descriptor chain (split ring) or buffer ID (packed ring)
 * @ndescs: entries that the buffer takes of the ring in which completions are
 *          counted: 1 on a split ring, its descriptors on a packed one
 * @readonly: whether the buffer has no device-writable part; such a one may
 *            share a used entry, because its driver learns no length
 *
 * The device has taken the next buffer that the driver made available.
 *
 * Returns: its sequence number, or VIRTQUEUE_ORDER_NONE if there is no room or
 * a buffer of this ID is in flight.
 */
static inline uint64_t virtqueue_order_take(VirtQueueOrder *order, uint16_t id,
                                            uint16_t ndescs, bool readonly)
{
    if (!virtqueue_order_has_room(order) || virtqueue_order_busy(order, id)) {
        return VIRTQUEUE_ORDER_NONE;
    }

    order->busy[id / 64] |= UINT64_C(1) << id % 64;
    *virtqueue_order_at(order, order->tail) = (VirtQueueOrderBuffer) {
        .id = id,
        .ndescs = ndescs,
        .readonly = readonly,
    };
    return order->tail++;
}

/**
 * virtqueue_order_untake:
 * @order: the tracker
 * @count: how many buffers, counted from the one taken last
 * @ndescs: set to the entries of the ring that they take together; may be NULL
 *
 * The device hands buffers back unused, to take them again later.
 *
 * Returns: false, and changes nothing, if fewer are in flight or one of them is
 * done already.
 */
bool virtqueue_order_untake(VirtQueueOrder *order, uint32_t count,
                            uint32_t *ndescs);

/**
 * virtqueue_order_complete:
 * @order: the tracker
 * @seq: the buffer's sequence number
 * @len: bytes that the device wrote into it
 *
 * The device is done with a buffer.
 *
 * Returns: false, and changes nothing, if no buffer of this number is in flight
 * or it is done already.
 */
static inline bool virtqueue_order_complete(VirtQueueOrder *order,
                                            uint64_t seq, uint32_t len)
{
    VirtQueueOrderBuffer *buffer;

    if (seq < order->head || seq >= order->tail) {
        return false;
    }
    buffer = virtqueue_order_at(order, seq);
    if (buffer->done) {
        return false;
    }
    buffer->len = len;
    buffer->done = true;
    order->done++;
    return true;
}

/**
 * virtqueue_order_peek:
 * @order: the tracker
 * @i: which buffer in flight, counted from the oldest, 0
 *
 * Returns: the buffer, valid until the tracker changes, or NULL if there are no
 * more than @i.
 */
const VirtQueueOrderBuffer *virtqueue_order_peek(const VirtQueueOrder *order,
                                                 uint32_t i);

/**
 * virtqueue_order_ndescs:
 * @order: the tracker
 *
 * Returns: the entries of the ring that all buffers in flight stand on.  This
 * adds them up.
 */
uint32_t virtqueue_order_ndescs(const VirtQueueOrder *order);

/**
 * virtqueue_order_find:
 * @order: the tracker
 * @id: as given to virtqueue_order_take()
 *
 * Look a buffer up whose holder does not know its sequence number, because it
 * came from another QEMU.  This searches, as no other function does.
 *
 * Returns: the number of the buffer of this ID if it is not done, or
 * VIRTQUEUE_ORDER_NONE.
 */
uint64_t virtqueue_order_find(const VirtQueueOrder *order, uint16_t id);

/**
 * virtqueue_order_next:
 * @order: the tracker
 * @run: filled in on success
 *
 * Hand out the next used entry to publish.  A buffer with a device-writable
 * part always has an entry of its own: a skipped buffer counts as filled to its
 * end (section 2.7.9), and drivers exist that read the length of each.  Buffers
 * without one are handed out together, as many of them as are done in a row.
 *
 * Returns: false if nothing is done in order.
 */
bool virtqueue_order_next(VirtQueueOrder *order, VirtQueueOrderRun *run);

#endif
