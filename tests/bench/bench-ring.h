/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * virtio-bench: the driver's side of a virtqueue, as lean as a fast driver's
 *
 * libqos has a driver that checks every byte; it is too slow to keep a device
 * busy that needs some tens of nanoseconds for a packet.  This one touches
 * what a driver has to touch and nothing else: it writes a descriptor or an
 * entry of the available ring only where its content changes, publishes many
 * buffers at once, and looks at the device's wishes (kick or no kick) once for
 * each publication.  It still reads every used entry that the device writes,
 * and stops the program at one that cannot be right.
 *
 * All buffers of a ring have the same number of descriptors, and belong to
 * slots: slot i has the same addresses for ever.
 *
 * Everything here runs in one thread; the device runs in another process, on
 * the same memory.  Split and packed layout, VIRTIO 1.2 sections 2.7 and 2.8.
 */

#ifndef TESTS_BENCH_RING_H
#define TESTS_BENCH_RING_H

#include "qemu/atomic.h"
#include "qemu/bswap.h"
#include "standard-headers/linux/virtio_ring.h"

/* One descriptor of a slot, as it is written to the ring */
typedef struct BenchPart {
    uint64_t addr;      /* guest physical address */
    uint32_t len;       /* bytes */
    uint16_t flags;     /* VRING_DESC_F_WRITE, _INDIRECT */
} BenchPart;

typedef struct BenchRingLayout {
    bool packed;
    bool in_order;      /* VIRTIO_F_IN_ORDER was negotiated */
    bool event_idx;     /* VIRTIO_RING_F_EVENT_IDX was negotiated */
    uint32_t size;      /* entries; a power of two if split */
    uint32_t ndescs;    /* descriptors of each buffer */
    void *desc;         /* descriptor table, or the packed ring */
    void *driver;       /* available ring, or the driver's event suppression */
    void *device;       /* used ring, or the device's event suppression */
} BenchRingLayout;

typedef struct BenchRing {
    BenchRingLayout l;
    uint32_t capacity;  /* buffers that fit */
    uint32_t free;      /* buffers that can be added now */
    BenchPart *parts;   /* capacity * ndescs, by slot */
    uint16_t *fifo;     /* slots in the order in which they are to be used */
    uint32_t add_at;    /* place in fifo of the next buffer to add */
    uint32_t reap_at;   /* place in fifo of the next buffer to come back */
    int32_t *holds;     /* packed: slot whose addresses stand at a position */
    bool fixed;         /* a descriptor's addresses never change */
    bool interrupts;    /* the device may send them */
    /* split */
    uint16_t avail_idx;
    uint16_t used_idx;
    uint16_t kicked_idx; /* avail_idx when it was last looked at */
    uint16_t quiet_idx; /* used_idx when used_event was last moved */
    uint32_t next;      /* both: next descriptor to write */
    /* packed */
    uint32_t used_pos;
    bool avail_wrap;
    bool used_wrap;
    uint32_t unkicked;  /* descriptors since it was last looked at */
    /* since bench_ring_init() */
    uint64_t added;     /* buffers */
    uint64_t reaped;    /* buffers */
    uint64_t entries;   /* used entries that the device wrote */
    uint64_t updates;   /* reaps that found something */
} BenchRing;

/**
 * bench_ring_init: an empty ring
 * @r: to be freed with bench_ring_cleanup(); the caller then fills in @r->parts
 *     and calls bench_ring_start()
 * @l: where and what it is; the memory is all zero
 */
void bench_ring_init(BenchRing *r, const BenchRingLayout *l);

/**
 * bench_ring_start: write what never changes
 * @r: a ring whose parts are filled in, before the device is started
 * @interrupts: let the device send interrupts; a driver that polls does not
 */
void bench_ring_start(BenchRing *r, bool interrupts);

/**
 * bench_ring_cleanup: free what belongs to a ring
 * @r: a ring; the device has been stopped
 */
void bench_ring_cleanup(BenchRing *r);

/**
 * bench_ring_bad: end the program, the device wrote what cannot be
 * @r: the ring, whose state is shown
 * @what: what is wrong
 * @value: what the device wrote
 */
void bench_ring_bad(const BenchRing *r, const char *what, uint32_t value)
    G_GNUC_NORETURN;

/**
 * bench_ring_events: tell the device when to interrupt, after a reap
 * @r: the ring
 *
 * Interrupts allowed: with the next used buffer.  Otherwise: never; the event
 * index of a split ring has to be moved on now and then for that (2.7.10).
 */
void bench_ring_events(BenchRing *r);

/* The 8 bytes of a packed descriptor that change with each use, as one word */
static inline uint64_t bench_packed_word(uint32_t len, uint16_t id,
                                         uint16_t flags)
{
    return cpu_to_le64(len | (uint64_t)id << 32 | (uint64_t)flags << 48);
}

static inline void bench_ring_add_split(BenchRing *r, uint32_t n)
{
    struct vring_desc *desc = r->l.desc;
    struct vring_avail *avail = r->l.driver;
    uint32_t mask = r->l.size - 1, i, d;

    for (i = 0; i < n; i++) {
        uint32_t slot = r->fifo[r->add_at];
        uint32_t head = slot * r->l.ndescs;
        uint16_t *entry = &avail->ring[(uint16_t)(r->avail_idx + i) & mask];

        if (!r->fixed) {
            const BenchPart *p = &r->parts[slot * r->l.ndescs];

            /* In-order: descriptors in the order of the table (2.7.9) */
            head = r->next;
            for (d = 0; d < r->l.ndescs; d++, p++) {
                uint32_t pos = (head + d) & mask;
                bool last = d == r->l.ndescs - 1;

                desc[pos].addr = cpu_to_le64(p->addr);
                desc[pos].len = cpu_to_le32(p->len);
                desc[pos].flags = cpu_to_le16(p->flags |
                                              (last ? 0 : VRING_DESC_F_NEXT));
                desc[pos].next = cpu_to_le16((pos + 1) & mask);
            }
            r->next = (head + d) & mask;
        }
        if (*entry != cpu_to_le16(head)) {
            *entry = cpu_to_le16(head);
        }
        r->add_at = r->add_at + 1 == r->capacity ? 0 : r->add_at + 1;
    }
    r->avail_idx += n;
    qatomic_store_release(&avail->idx, cpu_to_le16(r->avail_idx));
}

static inline void bench_ring_add_packed(BenchRing *r, uint32_t n)
{
    struct vring_packed_desc *ring = r->l.desc;
    uint64_t *first = NULL, first_word = 0;
    uint32_t i, d;

    for (i = 0; i < n; i++) {
        uint32_t slot = r->fifo[r->add_at];
        const BenchPart *p = &r->parts[slot * r->l.ndescs];

        for (d = 0; d < r->l.ndescs; d++, p++) {
            struct vring_packed_desc *desc = &ring[r->next];
            uint64_t *at = (uint64_t *)&desc->len;
            uint64_t word = bench_packed_word(p->len, slot, p->flags |
                (d == r->l.ndescs - 1 ? 0 : VRING_DESC_F_NEXT) |
                (r->avail_wrap ? 1 << VRING_PACKED_DESC_F_AVAIL :
                                 1 << VRING_PACKED_DESC_F_USED));
            int32_t part = slot * r->l.ndescs + d;

            if (r->holds[r->next] != part) {
                r->holds[r->next] = part;
                desc->addr = cpu_to_le64(p->addr);
            }
            if (first) {
                qatomic_set(at, word);
            } else {
                first = at;
                first_word = word;
            }
            if (++r->next == r->l.size) {
                r->next = 0;
                r->avail_wrap = !r->avail_wrap;
            }
        }
        r->add_at = r->add_at + 1 == r->capacity ? 0 : r->add_at + 1;
    }
    r->unkicked += n * r->l.ndescs;
    /* The first descriptor's flags make all of them available */
    qatomic_store_release(first, first_word);
}

/**
 * bench_ring_add: make the next buffers available, all at once
 * @r: the ring
 * @n: how many, 1 to @r->free
 */
static inline void bench_ring_add(BenchRing *r, uint32_t n)
{
    if (r->l.packed) {
        bench_ring_add_packed(r, n);
    } else {
        bench_ring_add_split(r, n);
    }
    r->free -= n;
    r->added += n;
}

/**
 * bench_ring_wants_kick: does the device want to hear of what was added?
 * @r: the ring; what was added since the last call counts
 *
 * Sections 2.7.7, 2.7.10 and 2.8.10.
 */
static inline bool bench_ring_wants_kick(BenchRing *r)
{
    /* What was made available has to be visible before the answer is read */
    smp_mb();
    if (r->l.packed) {
        const struct vring_packed_desc_event *e = r->l.device;
        uint16_t flags = le16_to_cpu(qatomic_read(&e->flags));
        uint16_t off_wrap = le16_to_cpu(qatomic_read(&e->off_wrap));
        uint32_t off = off_wrap & ~(1 << VRING_PACKED_EVENT_F_WRAP_CTR);
        uint32_t old, n = r->unkicked;

        r->unkicked = 0;
        if (flags != VRING_PACKED_EVENT_FLAG_DESC) {
            return flags == VRING_PACKED_EVENT_FLAG_ENABLE;
        }
        if (off_wrap >> VRING_PACKED_EVENT_F_WRAP_CTR != r->avail_wrap) {
            off -= r->l.size;
        }
        old = r->next - n;
        return (uint16_t)(r->next - off - 1) < (uint16_t)(r->next - old);
    } else {
        const struct vring_used *used = r->l.device;
        uint16_t old = r->kicked_idx;
        const uint16_t *avail_event = (const void *)&used->ring[r->l.size];

        r->kicked_idx = r->avail_idx;
        if (!r->l.event_idx) {
            return !(le16_to_cpu(qatomic_read(&used->flags)) &
                     VRING_USED_F_NO_NOTIFY);
        }
        return vring_need_event(le16_to_cpu(qatomic_read(avail_event)),
                                r->avail_idx, old);
    }
}

/**
 * bench_ring_idle: does the device wait for a kick?
 * @r: a ring with nothing in flight, whose device has seen all that was added
 */
static inline bool bench_ring_idle(const BenchRing *r)
{
    if (r->l.packed) {
        const struct vring_packed_desc_event *e = r->l.device;
        uint16_t flags = le16_to_cpu(qatomic_read(&e->flags));

        return flags == VRING_PACKED_EVENT_FLAG_ENABLE ||
               (flags == VRING_PACKED_EVENT_FLAG_DESC &&
                le16_to_cpu(qatomic_read(&e->off_wrap)) ==
                (r->next | r->avail_wrap << VRING_PACKED_EVENT_F_WRAP_CTR));
    } else {
        const struct vring_used *used = r->l.device;
        const uint16_t *avail_event = (const void *)&used->ring[r->l.size];

        return r->l.event_idx ?
               le16_to_cpu(qatomic_read(avail_event)) == r->avail_idx :
               !(le16_to_cpu(qatomic_read(&used->flags)) &
                 VRING_USED_F_NO_NOTIFY);
    }
}

/*
 * What is done with a buffer that came back: @slot, and @len, the bytes that
 * the device wrote.  NULL where the driver need not know.
 */
typedef void BenchDone(void *opaque, uint32_t slot, uint32_t len);

/*
 * A used entry names @slot: which buffers is it about?  In-order: all from the
 * oldest to this one (2.7.9, 2.8.8).
 */
static inline uint32_t bench_ring_entry(BenchRing *r, uint32_t slot,
                                        uint32_t len, BenchDone *done,
                                        void *opaque)
{
    uint32_t n = 1, at = r->reap_at, i;

    if (r->l.in_order) {
        n += slot >= at ? slot - at : slot + r->capacity - at;
    } else {
        r->fifo[at] = slot;
    }
    if (unlikely(slot >= r->capacity || n > r->capacity - r->free)) {
        bench_ring_bad(r, "a used entry for a buffer that is not in flight",
                       slot);
    }
    if (done) {
        for (i = 0; i < n; i++) {
            done(opaque, r->l.in_order ? (at + i) % r->capacity : slot,
                 i == n - 1 ? len : 0);
        }
    }
    at += n;
    r->reap_at = at >= r->capacity ? at - r->capacity : at;
    r->free += n;
    r->entries++;
    return n;
}

static inline uint32_t bench_ring_reap_split(BenchRing *r, BenchDone *done,
                                             void *opaque)
{
    struct vring_used *used = r->l.device;
    uint16_t idx = le16_to_cpu(qatomic_load_acquire(&used->idx));
    uint16_t pending = idx - r->used_idx;
    uint32_t mask = r->l.size - 1, total = pending, left = pending;

    if (unlikely(pending > r->capacity - r->free)) {
        bench_ring_bad(r, "a used index beyond what is in flight", idx);
    }
    while (left) {
        const struct vring_used_elem *e = &used->ring[r->used_idx & mask];
        uint32_t id = le32_to_cpu(e->id), slot, n;

        if (r->fixed) {
            slot = r->l.ndescs == 1 ? id : id / r->l.ndescs;
        } else {
            /* Heads go round the table: count from the oldest buffer's */
            uint32_t oldest = (r->next - (r->capacity - r->free) *
                               r->l.ndescs) & mask;

            slot = (r->reap_at + ((id - oldest) & mask) / r->l.ndescs) %
                   r->capacity;
        }
        n = bench_ring_entry(r, slot, le32_to_cpu(e->len), done, opaque);
        if (unlikely(n > left)) {
            bench_ring_bad(r, "a batch beyond the used index", id);
        }
        left -= n;
        r->used_idx += n;
    }
    return total;
}

static inline uint32_t bench_ring_reap_packed(BenchRing *r, BenchDone *done,
                                              void *opaque)
{
    const struct vring_packed_desc *ring = r->l.desc;
    uint16_t both = 1 << VRING_PACKED_DESC_F_AVAIL |
                    1 << VRING_PACKED_DESC_F_USED;
    uint32_t total = 0;

    while (r->free < r->capacity) {
        const struct vring_packed_desc *d = &ring[r->used_pos];
        uint16_t flags = le16_to_cpu(qatomic_load_acquire(&d->flags));
        uint32_t n;

        if ((flags & both) != (r->used_wrap ? both : 0)) {
            break;
        }
        n = bench_ring_entry(r, le16_to_cpu(d->id), le32_to_cpu(d->len), done,
                             opaque);
        total += n;
        r->used_pos += n * r->l.ndescs;
        if (r->used_pos >= r->l.size) {
            r->used_pos -= r->l.size;
            r->used_wrap = !r->used_wrap;
        }
    }
    return total;
}

/**
 * bench_ring_reap: take all buffers that came back
 * @r: the ring
 * @done: called for each of them, or NULL
 * @opaque: for @done
 *
 * Returns: how many
 */
static inline uint32_t bench_ring_reap(BenchRing *r, BenchDone *done,
                                       void *opaque)
{
    uint32_t n = r->l.packed ? bench_ring_reap_packed(r, done, opaque) :
                               bench_ring_reap_split(r, done, opaque);

    if (n) {
        r->reaped += n;
        r->updates++;
        bench_ring_events(r);
    }
    return n;
}

#endif
