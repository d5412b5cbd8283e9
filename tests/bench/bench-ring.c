/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * virtio-bench: a lean driver's side of a virtqueue, see bench-ring.h
 */

#include "qemu/osdep.h"
#include "bench-host.h"
#include "bench-ring.h"

/*
 * How many buffers a split ring may use before its used_event has to be moved
 * on, lest it comes to stand ahead of the used index (which wraps at 65536).
 */
#define QUIET_BUFFERS   16384

void bench_ring_init(BenchRing *r, const BenchRingLayout *l)
{
    uint32_t i;

    memset(r, 0, sizeof(*r));
    r->l = *l;
    r->capacity = l->size / l->ndescs;
    r->free = r->capacity;
    r->parts = g_new0(BenchPart, r->capacity * l->ndescs);
    r->fifo = g_new0(uint16_t, r->capacity);
    r->holds = g_new0(int32_t, l->size);
    for (i = 0; i < r->capacity; i++) {
        r->fifo[i] = i;
    }
    for (i = 0; i < l->size; i++) {
        r->holds[i] = -1;
    }
    r->avail_wrap = r->used_wrap = true;
    /*
     * In-order chains stand in the order of the table; when they do not end
     * where it ends, the next round has each at another place.
     */
    r->fixed = !l->packed && (!l->in_order || l->size % l->ndescs == 0);
}

void bench_ring_start(BenchRing *r, bool interrupts)
{
    struct vring_desc *desc = r->l.desc;
    uint32_t i;

    for (i = 0; r->fixed && i < r->capacity * r->l.ndescs; i++) {
        bool last = i % r->l.ndescs == r->l.ndescs - 1;

        desc[i].addr = cpu_to_le64(r->parts[i].addr);
        desc[i].len = cpu_to_le32(r->parts[i].len);
        desc[i].flags = cpu_to_le16(r->parts[i].flags |
                                    (last ? 0 : VRING_DESC_F_NEXT));
        desc[i].next = cpu_to_le16(last ? 0 : i + 1);
    }
    r->interrupts = interrupts;
    if (r->l.packed) {
        struct vring_packed_desc_event *e = r->l.driver;

        e->flags = cpu_to_le16(!interrupts ? VRING_PACKED_EVENT_FLAG_DISABLE :
                               r->l.event_idx ? VRING_PACKED_EVENT_FLAG_DESC :
                               VRING_PACKED_EVENT_FLAG_ENABLE);
    } else {
        struct vring_avail *avail = r->l.driver;

        avail->flags = cpu_to_le16(interrupts || r->l.event_idx ? 0 :
                                   VRING_AVAIL_F_NO_INTERRUPT);
    }
    r->quiet_idx = r->used_idx - QUIET_BUFFERS;
    bench_ring_events(r);
}

void bench_ring_events(BenchRing *r)
{
    if (!r->l.event_idx) {
        return;
    }
    if (r->l.packed) {
        struct vring_packed_desc_event *e = r->l.driver;

        if (r->interrupts) {
            qatomic_set(&e->off_wrap,
                        cpu_to_le16(r->used_pos | (uint16_t)r->used_wrap <<
                                    VRING_PACKED_EVENT_F_WRAP_CTR));
        }
    } else if (r->interrupts ||
               (uint16_t)(r->used_idx - r->quiet_idx) >= QUIET_BUFFERS) {
        struct vring_avail *avail = r->l.driver;

        /* The event is for the buffer of this number: the next, or the last */
        qatomic_set(&avail->ring[r->l.size],
                    cpu_to_le16(r->used_idx - !r->interrupts));
        r->quiet_idx = r->used_idx;
    }
}

void bench_ring_cleanup(BenchRing *r)
{
    g_free(r->parts);
    g_free(r->fifo);
    g_free(r->holds);
}

void bench_ring_bad(const BenchRing *r, const char *what, uint32_t value)
{
    bench_die("the device wrote %s (%" PRIu32 "), after %" PRIu64 " buffers, %"
              PRIu32 " in flight; 'make check' may tell more", what, value,
              r->reaped, r->capacity - r->free);
}
