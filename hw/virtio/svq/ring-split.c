/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Device ring, split layout (VIRTIO 1.2, section 2.7)
 *
 * The descriptors that a chain takes follow each other by the links in
 * @next.  Out of order these are a list of the free descriptors, where the
 * last that came back are the first to go.  In order they are a circle that
 * never changes, so that chains take the positions of the table one after the
 * other.
 *
 * For threads, see ring.h.
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/bswap.h"
#include "ring-internal.h"

/*
 * With an event index there is no way to say "no notifications": an event as
 * far away as can be has to do, put off again before the device gets there.
 */
#define SPLIT_EVENT_FAR     0x8000
#define SPLIT_EVENT_NEAR    0x4000

void svq_ring_split_init(SVQRing *ring, const SVQRingLayout *layout,
                         char *driver, char *device)
{
    ring->split.desc = (struct vring_desc *)(driver + layout->desc);
    ring->split.avail = (struct vring_avail *)(driver + layout->avail);
    ring->split.used = (struct vring_used *)(device + layout->used);
    ring->split.used_event = &ring->split.avail->ring[ring->num];
    ring->split.avail_event = (uint16_t *)&ring->split.used->ring[ring->num];
}

static inline void split_write_desc(struct vring_desc *desc, const SVQSeg *seg,
                                    uint16_t flags, uint16_t next)
{
    desc->addr = cpu_to_le64(seg->iova);
    desc->len = cpu_to_le32(seg->len);
    desc->flags = cpu_to_le16(flags);
    desc->next = cpu_to_le16(next);
}

/* Have the descriptor @head refer to a table with the pieces */
static void split_write_table(SVQRing *ring, const SVQSeg *segs,
                              unsigned int out_num, unsigned int num,
                              uint16_t head)
{
    size_t offset = svq_ring_table_offset(ring, head);
    struct vring_desc *table = (struct vring_desc *)(ring->tables + offset);
    SVQSeg outer = {
        .iova = ring->tables_iova + offset,
        .len = num * sizeof(*table),
    };
    unsigned int i;

    for (i = 0; i < num; i++) {
        bool more = i + 1 < num;

        split_write_desc(&table[i], &segs[i],
                         (i < out_num ? 0 : VRING_DESC_F_WRITE) |
                         (more ? VRING_DESC_F_NEXT : 0), more ? i + 1 : 0);
    }
    split_write_desc(&ring->split.desc[head], &outer, VRING_DESC_F_INDIRECT, 0);
}

bool svq_ring_split_add(SVQRing *ring, const SVQSeg *segs,
                        unsigned int out_num, unsigned int in_num,
                        void *token)
{
    unsigned int i, num = out_num + in_num, ndescs = num;
    uint16_t slot = ring->avail_idx & (ring->num - 1);
    uint16_t head = ring->free_head, last = head;
    bool indirect = num > 1 && num <= ring->table_len;
    SVQRingBuffer *buffer;
    uint64_t in_len = 0;

    if (indirect) {
        ndescs = 1;
    }
    if (unlikely(ndescs > ring->free_descs || !num)) {
        return false;
    }
    for (i = out_num; i < num; i++) {
        in_len += segs[i].len;
    }

    if (indirect) {
        split_write_table(ring, segs, out_num, num, head);
    } else {
        for (i = 0; i < num; i++) {
            bool more = i + 1 < num;
            uint16_t next = ring->next[last];

            split_write_desc(&ring->split.desc[last], &segs[i],
                             (i < out_num ? 0 : VRING_DESC_F_WRITE) |
                             (more ? VRING_DESC_F_NEXT : 0), more ? next : 0);
            if (more) {
                last = next;
            }
        }
    }
    ring->free_head = ring->next[last];

    /* Where it is the same, the device may keep the line in its cache. */
    if (ring->split.avail->ring[slot] != cpu_to_le16(head)) {
        ring->split.avail->ring[slot] = cpu_to_le16(head);
    }
    buffer = svq_ring_added(ring, head, ndescs, in_len, token);
    if (!ring->in_order) {
        buffer->last = last;
    }
    return true;
}

bool svq_ring_split_publish(SVQRing *ring)
{
    uint16_t count = ring->unpublished;

    if (!count) {
        return false;
    }
    ring->unpublished = 0;
    qatomic_store_release(&ring->split.avail->idx,
                          cpu_to_le16(ring->avail_idx));

    /* The device has to see the index before it says what it wants. */
    smp_mb();
    if (ring->event_idx) {
        uint16_t event = le16_to_cpu(qatomic_read(ring->split.avail_event));

        return vring_need_event(event, ring->avail_idx,
                                ring->avail_idx - count);
    }
    return !(le16_to_cpu(qatomic_read(&ring->split.used->flags)) &
             VRING_USED_F_NO_NOTIFY);
}

bool svq_ring_split_has_used(SVQRing *ring)
{
    if (unlikely(ring->error)) {
        return false;
    }
    return ring->run_left || ring->used_idx != ring->last_used ||
           le16_to_cpu(qatomic_read(&ring->split.used->idx)) !=
           ring->last_used;
}

/* Look for more used entries.  Returns false if there are none. */
static bool split_read_used_idx(SVQRing *ring)
{
    uint16_t idx = le16_to_cpu(qatomic_load_acquire(&ring->split.used->idx));
    uint16_t count = idx - ring->last_used;
    unsigned int available = ring->in_flight - ring->unpublished;

    if (unlikely(count > available)) {
        svq_ring_fail(ring, "the used index moved by %u with %u buffers "
                      "available", count, available);
        return false;
    }
    ring->used_idx = idx;
    return count;
}

/* Each entry is read once: the device can change it while we look. */
static inline uint32_t split_read_entry(SVQRing *ring, uint16_t idx,
                                        uint32_t *len)
{
    struct vring_used_elem *elem =
        &ring->split.used->ring[idx & (ring->num - 1)];

    *len = le32_to_cpu(qatomic_read(&elem->len));
    return le32_to_cpu(qatomic_read(&elem->id));
}

static unsigned int split_take_any_order(SVQRing *ring, SVQUsed *used,
                                         unsigned int max)
{
    uint16_t count = ring->used_idx - ring->last_used;
    unsigned int n, free_descs = 0;
    uint16_t free_head = ring->free_head;

    max = MIN(max, count);
    for (n = 0; n < max; n++) {
        uint32_t len, id = split_read_entry(ring, ring->last_used + n, &len);
        SVQRingBuffer *buffer = svq_ring_used_buffer(ring, id, len);

        if (unlikely(!buffer)) {
            break;
        }
        used[n].token = buffer->token;
        used[n].len = len;
        buffer->token = NULL;
        ring->next[buffer->last] = free_head;
        free_head = id;
        free_descs += buffer->ndescs;
    }
    ring->last_used += n;
    ring->free_head = free_head;
    ring->free_descs += free_descs;
    ring->in_flight -= n;
    return n;
}

/* Begin a run that is more than the oldest buffer, or a mistake. */
static bool split_begin_run(SVQRing *ring, uint32_t id, uint32_t len)
{
    uint16_t left = ring->used_idx - ring->last_used;
    unsigned int count = svq_ring_begin_run(ring, id, len);

    if (unlikely(count > left)) {
        svq_ring_fail(ring, "a used entry has the ID %" PRIu32 ", which ends "
                      "a run of %u, and the used index moved by %u",
                      id, count, left);
        return false;
    }
    ring->last_used += count;
    return count;
}

static unsigned int split_take_in_order(SVQRing *ring, SVQUsed *used,
                                        unsigned int max)
{
    unsigned int n = svq_ring_take_run(ring, used, max);

    while (n < max && ring->last_used != ring->used_idx) {
        uint32_t len, id = split_read_entry(ring, ring->last_used, &len);

        if (svq_ring_take_oldest(ring, id, len, &used[n])) {
            ring->last_used++;
            n++;
        } else if (split_begin_run(ring, id, len)) {
            n += svq_ring_take_run(ring, used + n, max - n);
        } else {
            break;
        }
    }
    return n;
}

/* Tell the device, if that is news, by which index it should notify */
static bool split_set_event(SVQRing *ring, uint16_t event)
{
    uint16_t *at;

    if (event == ring->event) {
        return false;
    }
    ring->event = event;
    at = ring->event_idx ? ring->split.used_event : &ring->split.avail->flags;
    qatomic_set(at, cpu_to_le16(event));
    return true;
}

unsigned int svq_ring_split_take(SVQRing *ring, SVQUsed *used,
                                 unsigned int max)
{
    unsigned int n;

    if (unlikely(ring->error)) {
        return 0;
    }
    if (!ring->run_left && ring->last_used == ring->used_idx &&
        !split_read_used_idx(ring)) {
        return 0;
    }
    n = ring->in_order ? split_take_in_order(ring, used, max)
                       : split_take_any_order(ring, used, max);

    if (unlikely(ring->event_idx && !ring->calls &&
                 (uint16_t)(ring->event - ring->last_used) <
                 SPLIT_EVENT_NEAR)) {
        split_set_event(ring, ring->last_used + SPLIT_EVENT_FAR);
    }
    return n;
}

bool svq_ring_split_set_calls(SVQRing *ring, bool on)
{
    bool changed = on != ring->calls;

    ring->calls = on;
    if (!on) {
        /* svq_ring_split_take() puts the event off later on */
        if (changed) {
            split_set_event(ring, ring->event_idx
                                  ? ring->last_used + SPLIT_EVENT_FAR
                                  : VRING_AVAIL_F_NO_INTERRUPT);
        }
        return false;
    }
    if (split_set_event(ring, ring->event_idx ? ring->last_used : 0)) {
        /* For what is used before the device sees it there is none */
        smp_mb();
    }
    return svq_ring_split_has_used(ring);
}
