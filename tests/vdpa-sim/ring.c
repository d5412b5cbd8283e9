/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vdpa-sim: the device's side of a virtqueue, split or packed, see ring.h
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "ring.h"

#define FEATURE(r, bit) (!!((r)->cfg.features & (1ull << (bit))))

/* The layouts (VIRTIO 1.2, 2.7 and 2.8) */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "vdpa-sim reads rings as they are");

typedef struct SplitDesc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags;
    uint16_t next;
} SplitDesc;

typedef struct SplitAvail {
    uint16_t flags;
    uint16_t idx;
    uint16_t ring[];            /* the used event follows */
} SplitAvail;

typedef struct SplitUsedElem {
    uint32_t id;
    uint32_t len;
} SplitUsedElem;

typedef struct SplitUsed {
    uint16_t flags;
    uint16_t idx;
    SplitUsedElem ring[];       /* the available event follows */
} SplitUsed;

typedef struct PackedDesc {
    uint64_t addr;
    uint32_t len;
    uint16_t id;
    uint16_t flags;
} PackedDesc;

typedef struct PackedEvent {
    uint16_t off_wrap;
    uint16_t flags;
} PackedEvent;

#define PACKED_AVAIL    (1u << VRING_PACKED_DESC_F_AVAIL)
#define PACKED_USED     (1u << VRING_PACKED_DESC_F_USED)

static inline uint16_t get16(const uint16_t *p)
{
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static inline void set16(uint16_t *p, uint16_t value)
{
    __atomic_store_n(p, value, __ATOMIC_RELEASE);
}

/* Orders what was written before against what is read after */
static inline void full_barrier(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static bool __attribute__((format(printf, 2, 3)))
violation(SimRing *r, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(r->text, sizeof(r->text), fmt, ap);
    va_end(ap);
    r->broken = true;
    return false;
}

void sim_ring_init(SimRing *r, const SimRingConfig *cfg)
{
    memset(r, 0, sizeof(*r));
    r->cfg = *cfg;
    r->packed = FEATURE(r, VIRTIO_F_RING_PACKED);
    if (cfg->desc % 16 || cfg->driver % (r->packed ? 4 : 2) ||
        cfg->device % 4) {
        violation(r, "areas at 0x%llx, 0x%llx and 0x%llx are not aligned",
                  (unsigned long long)cfg->desc,
                  (unsigned long long)cfg->driver,
                  (unsigned long long)cfg->device);
    }
    r->in_order = FEATURE(r, VIRTIO_F_IN_ORDER);
    r->event_idx = FEATURE(r, VIRTIO_RING_F_EVENT_IDX);
    r->indirect = FEATURE(r, VIRTIO_RING_F_INDIRECT_DESC);
    if (r->packed) {
        r->avail = cfg->base & 0x7fff;
        r->avail_wrap = cfg->base >> 15 & 1;
        r->used = cfg->base >> 16 & 0x7fff;
        r->used_wrap = cfg->base >> 31;
        if (r->avail >= cfg->num || r->used >= cfg->num) {
            violation(r, "position 0x%08x lies beyond the ring of %u",
                      cfg->base, cfg->num);
        } else if (r->avail != r->used || r->avail_wrap != r->used_wrap) {
            /* Nothing can be in flight in a device that did not run before */
            violation(r, "position 0x%08x has buffers in flight", cfg->base);
        }
    } else {
        r->avail = r->used = r->avail_seen = cfg->base;
        /*
         * A driver that begins uses the descriptors from the first one on.
         * Where one is that goes on, the device is not told.
         */
        r->next_head = cfg->base ? cfg->num : 0;
    }
    r->kicks = true;
}

uint32_t sim_ring_start_base(uint64_t features)
{
    return features & (1ull << VIRTIO_F_RING_PACKED) ? 0x80008000u : 0;
}

uint32_t sim_ring_base(const SimRing *r)
{
    if (!r->packed) {
        return r->avail;
    }
    return (r->avail | (uint32_t)r->avail_wrap << 15) |
           (r->used | (uint32_t)r->used_wrap << 15) << 16;
}

static void *map_area(SimRing *r, uint64_t iova, uint64_t len, bool write)
{
    struct iovec iov;

    if (sim_iotlb_translate(r->tlb, &r->hint, iova, len, write, &iov, 1) == 1) {
        return iov.iov_base;
    }
    r->fault_iova = iova;
    r->fault_len = len;
    return NULL;
}

bool sim_ring_map(SimRing *r, const SimIotlb *tlb)
{
    uint64_t num = r->cfg.num;

    r->tlb = tlb;
    r->tlb_gen = tlb->gen;
    r->hint = 0;
    r->desc = map_area(r, r->cfg.desc, 16 * num, r->packed);
    if (r->packed) {
        r->driver = map_area(r, r->cfg.driver, sizeof(PackedEvent), false);
        r->device = map_area(r, r->cfg.device, sizeof(PackedEvent), true);
    } else {
        r->driver = map_area(r, r->cfg.driver,
                             sizeof(SplitAvail) + 2 * num + 2 * r->event_idx,
                             false);
        r->device = map_area(r, r->cfg.device, sizeof(SplitUsed) +
                             num * sizeof(SplitUsedElem) + 2 * r->event_idx,
                             true);
    }
    if (r->desc && r->driver && r->device) {
        return true;
    }
    r->desc = NULL;
    return false;
}

static inline bool id_busy(SimRing *r, uint16_t id)
{
    return r->ids[id / 64] >> (id % 64) & 1;
}

static inline void id_flip(SimRing *r, uint16_t id)
{
    r->ids[id / 64] ^= 1ull << (id % 64);
}

/* Adds a piece of memory to a buffer; a rule may be broken */
static bool add_piece(SimRing *r, SimBuffer *buf, unsigned max, uint64_t addr,
                      uint32_t len, bool write)
{
    unsigned at = buf->out_num + buf->in_num;
    int n;

    if (!write && buf->in_len) {
        return violation(r, "buffer %u: a readable descriptor follows a "
                         "writable one", buf->id);
    }
    if (write) {
        buf->in_len += len;
    } else {
        buf->out_len += len;
    }
    if (buf->in_len + buf->out_len > UINT32_MAX) {
        return violation(r, "buffer %u: longer than 2^32 bytes", buf->id);
    }
    if (buf->fault) {
        return true;
    }
    n = sim_iotlb_translate(r->tlb, &r->hint, addr, len, write, buf->iov + at,
                            max - at);
    if (n < 0) {
        buf->fault = true;
        buf->fault_iova = addr;
        buf->fault_len = len;
    } else if (write) {
        buf->in_num += n;
    } else {
        buf->out_num += n;
    }
    return true;
}

/* Takes the pieces of an indirect table (VIRTIO 1.2, 2.7.5.3 and 2.8.7) */
static bool add_table(SimRing *r, SimBuffer *buf, unsigned max, uint64_t addr,
                      uint32_t len)
{
    uint32_t num = len / 16, i, seen = 0;
    struct iovec iov;
    const SplitDesc *split;
    const PackedDesc *packed;
    int n;

    if (!r->indirect) {
        return violation(r, "buffer %u: an indirect table, which was not "
                         "negotiated", buf->id);
    }
    if (!len || len % 16) {
        return violation(r, "buffer %u: an indirect table of %u bytes",
                         buf->id, len);
    }
    if (!r->packed && num > r->cfg.num) {
        return violation(r, "buffer %u: an indirect table of %u entries for "
                         "a ring of %u", buf->id, num, r->cfg.num);
    }
    n = sim_iotlb_translate(r->tlb, &r->hint, addr, len, false, &iov, 1);
    if (n != 1) {
        buf->fault = true;
        buf->fault_iova = addr;
        buf->fault_len = len;
        return true;
    }

    if (r->packed) {
        packed = iov.iov_base;
        for (i = 0; i < num; i++) {
            if (!add_piece(r, buf, max, packed[i].addr, packed[i].len,
                           packed[i].flags & VRING_DESC_F_WRITE)) {
                return false;
            }
        }
        return true;
    }

    split = iov.iov_base;
    for (i = 0;; i = split[i].next) {
        uint16_t flags;

        if (i >= num) {
            return violation(r, "buffer %u: next entry %u in an indirect "
                             "table of %u", buf->id, i, num);
        }
        if (++seen > num) {
            return violation(r, "buffer %u: a loop in an indirect table",
                             buf->id);
        }
        flags = split[i].flags;
        if (flags & VRING_DESC_F_INDIRECT) {
            return violation(r, "buffer %u: an indirect table in an indirect "
                             "table", buf->id);
        }
        if (!add_piece(r, buf, max, split[i].addr, split[i].len,
                       flags & VRING_DESC_F_WRITE)) {
            return false;
        }
        if (!(flags & VRING_DESC_F_NEXT)) {
            return true;
        }
    }
}

static bool split_ready(SimRing *r)
{
    const SplitAvail *avail = r->driver;

    if (r->avail_seen == r->avail) {
        uint16_t flags = get16(&avail->flags);

        r->avail_seen = get16(&avail->idx);
        if (flags > (r->event_idx ? 0 : VRING_AVAIL_F_NO_INTERRUPT)) {
            return violation(r, "available ring has flags 0x%x", flags);
        }
        if ((uint16_t)(r->avail_seen - r->avail) + r->in_flight > r->cfg.num) {
            return violation(r, "available index %u after %u with %u of %u "
                             "entries in flight", r->avail_seen, r->avail,
                             r->in_flight, r->cfg.num);
        }
    }
    return r->avail_seen != r->avail;
}

static bool split_pop(SimRing *r, SimBuffer *buf, unsigned max)
{
    const SplitAvail *avail = r->driver;
    const SplitDesc *table = r->desc;
    uint32_t num = r->cfg.num;
    uint32_t i;

    if (!split_ready(r)) {
        return false;
    }
    buf->id = i = avail->ring[r->avail & (num - 1)];
    if (i >= num) {
        return violation(r, "available head %u in a ring of %u", i, num);
    }
    if (r->in_order && r->next_head != num && i != r->next_head) {
        return violation(r, "head %u after IN_ORDER, expected %u", i,
                         r->next_head);
    }
    if (id_busy(r, i)) {
        return violation(r, "head %u is in flight already", i);
    }

    buf->slots = 1;
    for (;;) {
        const SplitDesc *d = &table[i];
        uint16_t flags = d->flags;
        uint32_t next = d->next;

        if (++buf->descs > num) {
            return violation(r, "buffer %u: a loop", buf->id);
        }
        if (flags & VRING_DESC_F_INDIRECT) {
            if (flags & VRING_DESC_F_NEXT) {
                return violation(r, "buffer %u: an indirect table has a next "
                                 "descriptor", buf->id);
            }
            if (!add_table(r, buf, max, d->addr, d->len)) {
                return false;
            }
        } else if (!add_piece(r, buf, max, d->addr, d->len,
                              flags & VRING_DESC_F_WRITE)) {
            return false;
        }
        if (!(flags & VRING_DESC_F_NEXT)) {
            break;
        }
        if (next >= num) {
            return violation(r, "buffer %u: next descriptor %u in a ring of %u",
                             buf->id, next, num);
        }
        if (r->in_order && next != ((i + 1) & (num - 1))) {
            return violation(r, "buffer %u: descriptor %u follows %u in "
                             "spite of IN_ORDER", buf->id, next, i);
        }
        i = next;
    }

    if (r->in_order) {
        r->next_head = (i + 1) & (num - 1);
    }
    id_flip(r, buf->id);
    r->avail++;
    r->in_flight++;
    return true;
}

static bool packed_ready(SimRing *r)
{
    const PackedDesc *d = (const PackedDesc *)r->desc + r->avail;
    uint16_t flags;

    if (r->in_flight == r->cfg.num) {
        return false;
    }
    flags = get16(&d->flags);
    return !!(flags & PACKED_AVAIL) == r->avail_wrap &&
           !!(flags & PACKED_USED) != r->avail_wrap;
}

static bool packed_pop(SimRing *r, SimBuffer *buf, unsigned max)
{
    const PackedDesc *table = r->desc;
    uint32_t num = r->cfg.num;
    uint16_t at = r->avail;
    bool wrap = r->avail_wrap;

    if (!packed_ready(r)) {
        return false;
    }
    buf->id = table[at].id;     /* for messages; counts in the last one only */
    for (;;) {
        const PackedDesc *d = &table[at];
        uint16_t flags = get16(&d->flags);

        if (!!(flags & PACKED_AVAIL) != wrap ||
            !!(flags & PACKED_USED) == wrap) {
            return violation(r, "buffer %u: descriptor %u of the chain is not "
                             "available", buf->id, at);
        }
        if (++buf->descs + r->in_flight > num) {
            return violation(r, "buffer %u: more descriptors than the ring of "
                             "%u has", buf->id, num);
        }
        if (flags & VRING_DESC_F_INDIRECT) {
            if (flags & VRING_DESC_F_NEXT || buf->descs > 1) {
                return violation(r, "buffer %u: an indirect table in a chain",
                                 buf->id);
            }
            if (!add_table(r, buf, max, d->addr, d->len)) {
                return false;
            }
        } else if (!add_piece(r, buf, max, d->addr, d->len,
                              flags & VRING_DESC_F_WRITE)) {
            return false;
        }
        if (++at == num) {
            at = 0;
            wrap = !wrap;
        }
        if (!(flags & VRING_DESC_F_NEXT)) {
            buf->id = d->id;
            break;
        }
    }
    if (id_busy(r, buf->id)) {
        return violation(r, "buffer ID %u is in flight already", buf->id);
    }
    id_flip(r, buf->id);
    buf->slots = buf->descs;
    r->in_flight += buf->slots;
    r->avail = at;
    r->avail_wrap = wrap;
    return true;
}

bool sim_ring_pop(SimRing *r, SimBuffer *buf, struct iovec *iov, unsigned max)
{
    if (r->broken || !r->desc) {
        return false;
    }
    memset(buf, 0, sizeof(*buf));
    buf->iov = iov;
    return r->packed ? packed_pop(r, buf, max) : split_pop(r, buf, max);
}

void sim_ring_unpop(SimRing *r, const SimBuffer *buf)
{
    id_flip(r, buf->id);
    r->in_flight -= buf->slots;
    if (!r->packed) {
        r->avail--;
        if (r->in_order) {
            r->next_head = buf->id;
        }
    } else if (r->avail >= buf->slots) {
        r->avail -= buf->slots;
    } else {
        r->avail += r->cfg.num - buf->slots;
        r->avail_wrap = !r->avail_wrap;
    }
}

static unsigned split_push(SimRing *r, const SimUsed *used, unsigned num,
                           bool runs, unsigned jump)
{
    SplitUsed *area = r->device;
    uint16_t mask = r->cfg.num - 1;
    unsigned elems = 0, i, j;

    for (i = 0; i < num; i = j) {
        SplitUsedElem *e = &area->ring[(uint16_t)(r->used + i) & mask];

        for (j = i + 1; runs && j < num && !used[j - 1].writable &&
             !used[j].writable && !used[j - 1].alone && !used[j].alone; j++) {
            continue;
        }
        e->id = used[j - 1].id;
        e->len = used[j - 1].len;
        elems++;
    }
    r->used += num + jump;
    set16(&area->idx, r->used);
    return elems;
}

static unsigned packed_push(SimRing *r, const SimUsed *used, unsigned num,
                            bool runs, unsigned jump)
{
    PackedDesc *table = r->desc;
    PackedDesc *first = NULL;
    uint16_t first_flags = 0;
    unsigned elems = 0, slots, i, j;

    /* A jump is a descriptor more, of a buffer that was not available */
    for (i = 0; i < num + jump; i = j) {
        PackedDesc *d = &table[r->used];
        const SimUsed *u = &used[i < num ? i : num - 1];
        uint16_t flags = r->used_wrap ? PACKED_AVAIL | PACKED_USED : 0;

        slots = u->slots;
        for (j = i + 1; runs && j < num && !used[j - 1].writable &&
             !used[j].writable && !used[j - 1].alone && !used[j].alone; j++) {
            u = &used[j];
            slots += u->slots;
        }
        d->id = u->id;
        d->len = u->len;
        if (u->writable) {
            flags |= VRING_DESC_F_WRITE;
        }
        if (first) {
            set16(&d->flags, flags);
        } else {
            first = d;
            first_flags = flags;
        }
        elems++;
        r->used += slots;
        if (r->used >= r->cfg.num) {
            r->used -= r->cfg.num;
            r->used_wrap = !r->used_wrap;
        }
    }
    if (first) {
        set16(&first->flags, first_flags);
    }
    return elems;
}

unsigned sim_ring_push(SimRing *r, const SimUsed *used, unsigned num, bool runs,
                       unsigned jump)
{
    unsigned i;

    if (!r->desc) {
        return 0;
    }
    runs = runs && r->in_order;
    for (i = 0; i < num; i++) {
        /* A fault may have put in an id that is not in flight */
        if (id_busy(r, used[i].id)) {
            id_flip(r, used[i].id);
        }
        r->in_flight -= r->in_flight < used[i].slots ? r->in_flight
                                                     : used[i].slots;
    }
    return r->packed ? packed_push(r, used, num, runs, jump)
                     : split_push(r, used, num, runs, jump);
}

/* VIRTIO 1.2, 2.7.7.2 and 2.8.10: has the index gone past the event? */
static inline bool passed(uint16_t event, uint16_t new, uint16_t old)
{
    return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

bool sim_ring_wants_call(SimRing *r, uint32_t old)
{
    if (!r->desc) {
        return false;
    }
    full_barrier();
    if (!r->packed) {
        const SplitAvail *avail = r->driver;

        if (r->event_idx) {
            return passed(get16(&avail->ring[r->cfg.num]), r->used, old);
        }
        return !(get16(&avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
    } else {
        const PackedEvent *event = r->driver;
        uint16_t flags = get16(&event->flags);
        uint16_t off, at;

        if (flags != VRING_PACKED_EVENT_FLAG_DESC || !r->event_idx) {
            return flags != VRING_PACKED_EVENT_FLAG_DISABLE;
        }
        off = get16(&event->off_wrap);
        at = off & 0x7fff;
        if (off >> 15 != r->used_wrap) {
            at -= r->cfg.num;
        }
        off = old & 0x7fff;
        if (old >> 16 != r->used_wrap) {
            off -= r->cfg.num;
        }
        return passed(at, r->used, off);
    }
}

void sim_ring_kick_me(SimRing *r, bool on)
{
    if (r->broken || !r->desc) {
        return;
    }
    if (r->packed) {
        PackedEvent *event = r->device;

        if (!on) {
            set16(&event->flags, VRING_PACKED_EVENT_FLAG_DISABLE);
        } else if (r->event_idx && !packed_ready(r)) {
            set16(&event->off_wrap, r->avail | r->avail_wrap << 15);
            set16(&event->flags, VRING_PACKED_EVENT_FLAG_DESC);
        } else {
            /* Also where not all is taken, and who knows where the rest ends */
            set16(&event->flags, VRING_PACKED_EVENT_FLAG_ENABLE);
        }
    } else {
        SplitUsed *area = r->device;
        uint16_t *event = (uint16_t *)&area->ring[r->cfg.num];

        if (!r->event_idx) {
            set16(&area->flags, on ? 0 : VRING_USED_F_NO_NOTIFY);
        } else {
            /*
             * What comes next, even if not all is taken that is there.  And
             * for no kicks, what is as far away as can be.
             */
            set16(event, on ? r->avail_seen : r->avail - 1);
        }
    }
    r->kicks = on;
    if (on) {
        full_barrier();
    }
}

bool sim_ring_check_notify(SimRing *r, uint16_t data)
{
    if (r->broken || !r->desc) {
        return true;
    }
    if (r->packed) {
        return (data & 0x7fff) < r->cfg.num;
    }
    /* It was the available index, or still is; at most a ring ago */
    return (uint16_t)(get16(&((const SplitAvail *)r->driver)->idx) - data) <=
           r->cfg.num;
}
