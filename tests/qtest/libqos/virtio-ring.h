/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * libqos: the driver's side of a virtqueue, split or packed, with or without
 * VIRTIO_F_IN_ORDER, that keeps account of every buffer it hands out and
 * stops the test at the first used element that the specification does not
 * allow.
 *
 * The functions of virtio.h (qvirtqueue_add() and so on) work on a ring of
 * this kind whenever the packed layout or in-order was negotiated, so a test
 * need not know.  A test that wants the account, the recycling of descriptors
 * or the direct access to guest memory on a plain split ring as well sets
 * QVirtioDevice.tracked before it sets up its queues.
 *
 * Everything here runs in the test's one thread.
 */

#ifndef LIBQOS_VIRTIO_RING_H
#define LIBQOS_VIRTIO_RING_H

#include "virtio.h"
#include "standard-headers/linux/virtio_config.h"

/*
 * Guest memory that the test has mapped itself, for tests that move too many
 * buffers for the qtest protocol:
 *   -object memory-backend-file,id=mem,share=on,mem-path=/proc/self/fd/N,...
 * The mapping belongs to the test and has to outlive the queues.
 */
struct QVirtioRam {
    uint8_t *host;      /* where the test sees guest address @base */
    uint64_t base;      /* guest physical address, bytes */
    uint64_t size;      /* bytes */
};

/*
 * A test sets this while it talks to a virtio-scsi without our fixes, which
 * counts what it has read as if it had written it.
 */
extern bool qvring_scsi_counts_reads;

/**
 * qvirtio_ram_ptr: the test's own view of guest memory
 * @ram: the mapping
 * @addr: guest physical address
 * @len: bytes that will be accessed; the test stops when they are not all
 *       inside the mapping
 *
 * Returns: a pointer that is valid for @len bytes
 */
void *qvirtio_ram_ptr(const QVirtioRam *ram, uint64_t addr, uint64_t len);

/**
 * qvring_packed: was VIRTIO_F_RING_PACKED negotiated?
 * @d: a device whose features are set
 */
static inline bool qvring_packed(const QVirtioDevice *d)
{
    return d->features & (1ull << VIRTIO_F_RING_PACKED);
}

/**
 * qvring_wanted: does a queue of @d need the ring of this file?
 * @d: a device whose features are set
 *
 * Returns: true for packed rings, in-order rings, and when the test asked
 * for it with QVirtioDevice.tracked
 */
bool qvring_wanted(const QVirtioDevice *d);

/**
 * qvring_attach: put an empty ring into guest memory
 * @qts: the QEMU under test
 * @vq: a queue with vdev, index, size, align, indirect and event filled in;
 *      gets its desc, avail and used addresses and its ring state
 * @addr: guest address of qvring_size(size, align) bytes
 *
 * In the packed layout "avail" is the driver's event suppression structure
 * and "used" the device's (VIRTIO 1.2, 2.8.10 and 4.1.4.3): the transports
 * program the same three registers for both layouts.
 */
void qvring_attach(QTestState *qts, QVirtQueue *vq, uint64_t addr);

/**
 * qvring_detach: free the ring state of a queue
 * @vq: any queue; nothing happens without a ring state
 */
void qvring_detach(QVirtQueue *vq);

/**
 * qvring_poison_ids: from now on write a wrong buffer id where it must not
 * matter
 * @vq: a queue with a ring state
 *
 * A packed chain has its buffer id in the last descriptor (VIRTIO 1.2,
 * 2.8.6).  Drivers tend to write it into the others as well, and devices to
 * read it there.
 */
void qvring_poison_ids(QVirtQueue *vq);

/**
 * qvring_add: add one descriptor to the chain under construction
 * @qts: the QEMU under test
 * @vq: a queue with a ring state
 * @data: guest address of the piece of memory
 * @len: its length in bytes
 * @write: the device may write it
 * @next: the chain goes on with the next call
 *
 * Nothing is visible to the device before qvring_publish().  The test stops
 * when no descriptor is free or when a readable piece follows a writable one.
 *
 * Returns: the identity of the buffer: split, its head descriptor; packed,
 * its buffer id.  It is the same for all calls of one chain.
 */
uint32_t qvring_add(QTestState *qts, QVirtQueue *vq, uint64_t data,
                    uint32_t len, bool write, bool next);

/**
 * qvring_add_indirect: add a buffer of one indirect descriptor
 * @qts: the QEMU under test
 * @vq: a queue with a ring state
 * @indirect: a full table; stays the caller's
 *
 * Returns: the identity of the buffer
 */
uint32_t qvring_add_indirect(QTestState *qts, QVirtQueue *vq,
                             const QVRingIndirectDesc *indirect);

/**
 * qvring_indirect_add: fill the next entry of an indirect table
 * @qts: the QEMU under test
 * @d: a device for which qvring_wanted()
 * @indirect: the table; its index moves on
 * @data: guest address
 * @len: bytes
 * @write: the device may write it
 *
 * Split entries are linked (VIRTIO 1.2, 2.7.5.3); packed ones just follow each
 * other, and WRITE is the only flag that they may have (2.8.7).
 */
void qvring_indirect_add(QTestState *qts, const QVirtioDevice *d,
                         QVRingIndirectDesc *indirect, uint64_t data,
                         uint32_t len, bool write);

/**
 * qvring_publish: make buffers available, without telling the device
 * @qts: the QEMU under test
 * @vq: a queue with a ring state
 * @id: the last buffer to publish; the ones built before it and not yet
 *      published go with it, all at once.  The test stops when there is none.
 */
void qvring_publish(QTestState *qts, QVirtQueue *vq, uint32_t id);

/**
 * qvring_notify: kick the device, unless it does not want to be kicked
 * @qts: the QEMU under test
 * @vq: a queue with a ring state
 *
 * Honours VRING_USED_F_NO_NOTIFY, the available event index, and the device
 * event suppression structure (VIRTIO 1.2, 2.7.7 and 2.8.10).
 *
 * Returns: true when the device was kicked
 */
bool qvring_notify(QTestState *qts, QVirtQueue *vq);

/**
 * qvring_get: take the next used buffer
 * @qts: the QEMU under test
 * @vq: a queue with a ring state
 * @id: set to the identity of the buffer, may be NULL
 * @len: set to the bytes that the device wrote, may be NULL.  A buffer that
 *       in-order batching skipped has no writable part, so its length is 0.
 *
 * Reads everything that the device has published, checks it (VIRTIO 1.2,
 * 2.7.8, 2.7.9, 2.8.5 to 2.8.9), and hands out one buffer for each call.
 * Its descriptors are free from then on.  The test stops on a used element
 * that must not be: an id not in flight, out of order, or at the wrong
 * position, an index beyond what is in flight, a batch that skips a buffer
 * with a writable part or that reaches beyond the index, a length larger
 * than the buffer, wrong wrap flags, or a descriptor that the device has no
 * business to write.
 *
 * Returns: true when there was one
 */
bool qvring_get(QTestState *qts, QVirtQueue *vq, uint32_t *id, uint32_t *len);

/**
 * qvring_pending: are there used buffers that qvring_get() has read from the
 * ring already?
 * @vq: any queue
 *
 * One interrupt announces everything published before it, so who waits for an
 * interrupt has to ask here first.
 */
bool qvring_pending(const QVirtQueue *vq);

/**
 * qvring_in_flight: number of buffers that the device owns
 * @vq: a queue with a ring state
 */
unsigned qvring_in_flight(const QVirtQueue *vq);

/**
 * qvring_set_used_event: ask for an interrupt for one certain buffer
 * @qts: the QEMU under test
 * @vq: a queue with a ring state and VIRTIO_F_EVENT_IDX
 * @idx: the low 16 bits of the buffer's number, counted from 0 in the order
 *       in which buffers are used
 *
 * In the packed layout the device wants the position of the descriptor; it
 * is written as soon as it is known, that is when the buffer is published
 * (where completions may overtake each other, as if they did not).  Until
 * then interrupts are off.
 */
void qvring_set_used_event(QTestState *qts, QVirtQueue *vq, uint16_t idx);

/**
 * qvring_set_interrupts: allow or forbid interrupts altogether
 * @qts: the QEMU under test
 * @vq: a queue with a ring state; a split one without VIRTIO_F_EVENT_IDX,
 *      which has no such switch then
 * @on: allow them
 */
void qvring_set_interrupts(QTestState *qts, QVirtQueue *vq, bool on);

/**
 * qvring_check_idle: check a queue that has nothing in flight
 * @qts: the QEMU under test
 * @vq: a queue with a ring state
 *
 * The test stops when a buffer is still in flight, when there is a used
 * element that nobody waits for, or when the device has written to a
 * descriptor or to an entry of the used ring that it did not publish.
 */
void qvring_check_idle(QTestState *qts, QVirtQueue *vq);

/**
 * qvring_describe: one line about the state of a queue, for messages
 * @qts: the QEMU under test
 * @vq: a queue with a ring state
 *
 * Returns: a string that the caller frees with g_free()
 */
char *qvring_describe(QTestState *qts, const QVirtQueue *vq);

#endif
