/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Device ring, packed layout (VIRTIO 1.2, section 2.8)
 *
 * A buffer takes the next descriptors, whatever its ID is.  In order, the ID is
 * the position of its first descriptor; out of order, one from a list of the
 * free IDs, where the last that came back is the first to go.
 *
 * The flags of the first descriptor of a batch are kept back: the device reads
 * the ring from one end to the other and sees nothing of the batch before
 * them (section 2.8.21).
 *
 * For threads, see ring.h.
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/bswap.h"
#include "ring-internal.h"

#define PACKED_AVAIL    (1 << VRING_PACKED_DESC_F_AVAIL)
#define PACKED_USED     (1 << VRING_PACKED_DESC_F_USED)

/* The offset and the flags of an event suppression structure as one word */
#define PACKED_EVENT_FLAGS_SHIFT    16

void svq_ring_packed_init(SVQRing *ring, const SVQRingLayout *layout,
                          char *driver, char *device)
{
    ring->packed.desc = (struct vring_packed_desc *)(device +
                                                          layout->desc);
    ring->packed.driver_event = (uint32_t *)(driver + layout->avail);
    ring->packed.device_event = (uint32_t *)(device + layout->used);
    /* Both wrap counters begin with 1 (section 2.8.1) */
    ring->avail_flags = PACKED_AVAIL;
    ring->used_flags = PACKED_AVAIL | PACKED_USED;
}

static inline void packed_write_desc(struct vring_packed_desc *desc,
                                     const SVQSeg *seg, uint16_t id)
{
    desc->addr = cpu_to_le64(seg->iova);
    desc->len = cpu_to_le32(seg->len);
    desc->id = cpu_to_le16(id);
}

/* Take the next descriptor of the ring */
static inline void packed_put(SVQRing *ring, const SVQSeg *seg, uint16_t id,
                              uint16_t flags, bool first)
{
    struct vring_packed_desc *desc = &ring->packed.desc[ring->avail_pos];

    packed_write_desc(desc, seg, id);
    flags |= ring->avail_flags;
    if (first) {
        ring->head_pos = ring->avail_pos;
        ring->head_flags = flags;
    } else {
        desc->flags = cpu_to_le16(flags);
    }
    if (++ring->avail_pos == ring->num) {
        ring->avail_pos = 0;
        ring->avail_flags ^= PACKED_AVAIL | PACKED_USED;
    }
}

/* Write a table with the pieces; @outer is set to where and how long it is */
static void packed_write_table(SVQRing *ring, const SVQSeg *segs,
                               unsigned int out_num, unsigned int num,
                               uint16_t id, SVQSeg *outer)
{
    size_t offset = svq_ring_table_offset(ring, id);
    struct vring_packed_desc *table =
        (struct vring_packed_desc *)(ring->tables + offset);
    unsigned int i;

    for (i = 0; i < num; i++) {
        /* ID and other flags are reserved in a table (section 2.8.7) */
        packed_write_desc(&table[i], &segs[i], 0);
        table[i].flags = cpu_to_le16(i < out_num ? 0 : VRING_DESC_F_WRITE);
    }
    outer->iova = ring->tables_iova + offset;
    outer->len = num * sizeof(*table);
}

bool svq_ring_packed_add(SVQRing *ring, const SVQSeg *segs,
                         unsigned int out_num, unsigned int in_num,
                         void *token)
{
    unsigned int i, num = out_num + in_num, ndescs = num;
    uint16_t id = ring->in_order ? ring->avail_pos : ring->free_head;
    bool indirect = num > 1 && num <= ring->table_len;
    bool first = !ring->unpublished;
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
        SVQSeg outer;

        packed_write_table(ring, segs, out_num, num, id, &outer);
        packed_put(ring, &outer, id, VRING_DESC_F_INDIRECT, first);
    } else {
        for (i = 0; i < num; i++) {
            packed_put(ring, &segs[i], id,
                       (i < out_num ? 0 : VRING_DESC_F_WRITE) |
                       (i + 1 < num ? VRING_DESC_F_NEXT : 0), first && i == 0);
        }
    }
    if (!ring->in_order) {
        ring->free_head = ring->next[id];
    }
    svq_ring_added(ring, id, ndescs, in_len, token);
    return true;
}

/*
 * Whether the device's event is among the descriptors that were published.
 * Positions count through two laps, of either wrap counter.
 */
static bool packed_need_event(SVQRing *ring, uint16_t event,
                              uint16_t head_pos, uint16_t head_flags)
{
    unsigned int laps = 2 * ring->num;
    unsigned int pos = event & ~(1 << VRING_PACKED_EVENT_F_WRAP_CTR);
    unsigned int start = head_pos, end = ring->avail_pos;

    if (unlikely(pos >= ring->num)) {
        return true;
    }
    pos += event & 1 << VRING_PACKED_EVENT_F_WRAP_CTR ? 0 : ring->num;
    start += head_flags & PACKED_AVAIL ? 0 : ring->num;
    end += ring->avail_flags & PACKED_AVAIL ? 0 : ring->num;
    return (pos + laps - start) % laps < (end + laps - start) % laps;
}

bool svq_ring_packed_publish(SVQRing *ring)
{
    uint32_t event;

    if (!ring->unpublished) {
        return false;
    }
    ring->unpublished = 0;
    qatomic_store_release(&ring->packed.desc[ring->head_pos].flags,
                          cpu_to_le16(ring->head_flags));

    /* The device has to see the flags before it says what it wants. */
    smp_mb();
    event = le32_to_cpu(qatomic_read(ring->packed.device_event));
    switch (event >> PACKED_EVENT_FLAGS_SHIFT & 3) {
    case VRING_PACKED_EVENT_FLAG_DISABLE:
        return false;
    case VRING_PACKED_EVENT_FLAG_DESC:
        return !ring->event_idx ||
               packed_need_event(ring, event, ring->head_pos,
                                 ring->head_flags);
    default:
        /* Enabled, or reserved: better one too many */
        return true;
    }
}

/* Whether flags, of the descriptor at @used_pos, are the device's */
static inline bool packed_is_used(SVQRing *ring, uint16_t flags)
{
    return (flags & (PACKED_AVAIL | PACKED_USED)) == ring->used_flags;
}

bool svq_ring_packed_has_used(SVQRing *ring)
{
    if (unlikely(ring->error)) {
        return false;
    }
    return ring->run_left ||
           packed_is_used(ring, le16_to_cpu(qatomic_read(
               &ring->packed.desc[ring->used_pos].flags)));
}

/*
 * Read the used descriptor at @used_pos, each of its fields once: the device
 * can change it while we look.
 *
 * Returns: false if there is none.
 */
static inline bool packed_read_used(SVQRing *ring, uint16_t *id, uint32_t *len)
{
    struct vring_packed_desc *desc = &ring->packed.desc[ring->used_pos];
    uint16_t flags = le16_to_cpu(qatomic_load_acquire(&desc->flags));

    if (!packed_is_used(ring, flags)) {
        return false;
    }
    *id = le16_to_cpu(qatomic_read(&desc->id));
    /* Without the flag the length is reserved (section 2.8.4) */
    *len = flags & VRING_DESC_F_WRITE ? le32_to_cpu(qatomic_read(&desc->len))
                                      : 0;
    return true;
}

static unsigned int packed_take_any_order(SVQRing *ring, SVQUsed *used,
                                          unsigned int max)
{
    unsigned int n = 0, free_descs = 0;
    uint16_t free_head = ring->free_head;
    uint32_t len;
    uint16_t id;

    while (n < max && packed_read_used(ring, &id, &len)) {
        SVQRingBuffer *buffer = svq_ring_used_buffer(ring, id, len);

        if (unlikely(!buffer)) {
            break;
        }
        svq_ring_skip_used(ring, buffer->ndescs);
        used[n].token = buffer->token;
        used[n].len = len;
        buffer->token = NULL;
        ring->next[id] = free_head;
        free_head = id;
        free_descs += buffer->ndescs;
        n++;
    }
    ring->free_head = free_head;
    ring->free_descs += free_descs;
    ring->in_flight -= n;
    return n;
}

static unsigned int packed_take_in_order(SVQRing *ring, SVQUsed *used,
                                         unsigned int max)
{
    unsigned int n = svq_ring_take_run(ring, used, max);
    uint32_t len;
    uint16_t id;

    while (n < max && packed_read_used(ring, &id, &len)) {
        if (svq_ring_take_oldest(ring, id, len, &used[n])) {
            n++;
        } else if (svq_ring_begin_run(ring, id, len)) {
            n += svq_ring_take_run(ring, used + n, max - n);
        } else {
            break;
        }
    }
    return n;
}

unsigned int svq_ring_packed_take(SVQRing *ring, SVQUsed *used,
                                  unsigned int max)
{
    if (unlikely(ring->error)) {
        return 0;
    }
    return ring->in_order ? packed_take_in_order(ring, used, max)
                          : packed_take_any_order(ring, used, max);
}

bool svq_ring_packed_set_calls(SVQRing *ring, bool on)
{
    uint32_t flags = VRING_PACKED_EVENT_FLAG_DISABLE, event = 0;

    ring->calls = on;
    if (on && ring->event_idx) {
        flags = VRING_PACKED_EVENT_FLAG_DESC;
        event = ring->used_pos;
        if (ring->used_flags & PACKED_AVAIL) {
            event |= 1 << VRING_PACKED_EVENT_F_WRAP_CTR;
        }
    } else if (on) {
        flags = VRING_PACKED_EVENT_FLAG_ENABLE;
    }
    event |= flags << PACKED_EVENT_FLAGS_SHIFT;
    if (event != ring->event) {
        ring->event = event;
        qatomic_set(ring->packed.driver_event, cpu_to_le32(event));
        if (on) {
            /* For what is used before the device sees it there is none */
            smp_mb();
        }
    }
    return on && svq_ring_packed_has_used(ring);
}
