/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: the device's side of a virtqueue, see vhost-user-ring.h
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/bswap.h"
#include "vhost-user-ring.h"

#define DESC_SIZE       16
#define PACKED_AVAIL    (1u << VRING_PACKED_DESC_F_AVAIL)
#define PACKED_USED     (1u << VRING_PACKED_DESC_F_USED)

static uint8_t *ring_desc(const VhostUserRing *r, unsigned i)
{
    return guest(r->desc + (uint64_t)i * DESC_SIZE, DESC_SIZE);
}

static uint16_t load16(uint64_t addr)
{
    uint16_t *p = guest(addr, sizeof(*p));

    return le16_to_cpu(qatomic_load_acquire(p));
}

static void store16(uint64_t addr, uint16_t val)
{
    uint16_t *p = guest(addr, sizeof(*p));

    qatomic_store_release(p, cpu_to_le16(val));
}

/* @n buffers (split) or descriptors (packed) further */
static void pos_advance(const VhostUserRing *r, VhostUserPos *pos, unsigned n)
{
    if (!r->packed) {
        pos->at += n;
        return;
    }
    pos->at += n;
    if (pos->at >= r->size) {
        pos->at -= r->size;
        pos->wrap = !pos->wrap;
    }
}

static unsigned elem_step(const VhostUserRing *r, const VhostUserElem *e)
{
    return r->packed ? e->ndesc : 1;
}

void vhost_user_ring_start(VhostUserRing *r, VhostUserFake *u, unsigned queue,
                           uint32_t base)
{
    const VhostUserQueue *q = &u->queue[queue];

    memset(r, 0, sizeof(*r));
    r->packed = u->acked & BIT_ULL(VIRTIO_F_RING_PACKED);
    r->in_order = u->acked & BIT_ULL(VIRTIO_F_IN_ORDER);
    r->size = q->num;
    r->desc = q->desc;
    r->avail = q->avail;
    r->used = q->used;
    g_assert_cmpuint(r->size, >, 0);
    g_assert_cmpuint(r->size, <=, VHOST_USER_RING_MAX);
    g_assert(r->desc && r->avail && r->used);
    if (r->packed) {
        r->done.at = (base >> 16) & 0x7fff;
        r->done.wrap = base >> 31;
        g_assert_cmpuint(r->done.at, <, r->size);
        /* Nothing is in flight when this device begins */
        g_assert_cmphex(base >> 16, ==, base & 0xffff);
    } else {
        g_assert_cmphex(base, <=, 0xffff);
        g_assert_cmpuint(base, ==, load16(r->used + 2));
        r->done.at = base;
    }
    r->taken = r->done;
}

uint32_t vhost_user_ring_base(const VhostUserRing *r)
{
    uint32_t half = r->done.at | (uint32_t)r->done.wrap << 15;

    return r->packed ? half << 16 | half : half;
}

static void elem_add(VhostUserElem *e, const uint8_t *desc, bool write)
{
    unsigned n = write ? e->ins++ : e->outs++;

    g_assert_cmpuint(n, <, VHOST_USER_PIECES);
    if (write) {
        e->in[n].addr = ldq_le_p(desc);
        e->in[n].len = ldl_le_p(desc + 8);
    } else {
        g_assert_cmpuint(e->ins, ==, 0);
        e->out[n].addr = ldq_le_p(desc);
        e->out[n].len = ldl_le_p(desc + 8);
    }
}

static bool split_take(VhostUserRing *r, VhostUserElem *e)
{
    uint16_t i, flags;

    if (load16(r->avail + 2) == r->taken.at) {
        return false;
    }
    i = load16(r->avail + 4 + 2 * (r->taken.at % r->size));
    e->id = i;
    do {
        const uint8_t *desc = ring_desc(r, i);

        g_assert_cmpuint(i, <, r->size);
        g_assert_cmpuint(e->ndesc, <, r->size);
        flags = lduw_le_p(desc + 12);
        elem_add(e, desc, flags & VRING_DESC_F_WRITE);
        e->ndesc++;
        i = lduw_le_p(desc + 14);
    } while (flags & VRING_DESC_F_NEXT);
    return true;
}

static bool packed_take(VhostUserRing *r, VhostUserElem *e)
{
    VhostUserPos pos = r->taken;
    uint16_t flags = load16(r->desc + pos.at * DESC_SIZE + 14);

    if (!!(flags & PACKED_AVAIL) != pos.wrap ||
        !!(flags & PACKED_USED) == pos.wrap) {
        return false;
    }
    do {
        const uint8_t *desc = ring_desc(r, pos.at);

        g_assert_cmpuint(e->ndesc, <, r->size);
        flags = lduw_le_p(desc + 14);
        elem_add(e, desc, flags & VRING_DESC_F_WRITE);
        e->ndesc++;
        e->id = lduw_le_p(desc + 12);
        pos_advance(r, &pos, 1);
    } while (flags & VRING_DESC_F_NEXT);
    return true;
}

VhostUserElem *vhost_user_ring_oldest(VhostUserRing *r, unsigned n)
{
    g_assert_cmpuint(n, <, r->count);
    return &r->elem[(r->first + n) % VHOST_USER_RING_MAX];
}

VhostUserElem *vhost_user_ring_take(VhostUserRing *r)
{
    VhostUserElem *e = &r->elem[(r->first + r->count) % VHOST_USER_RING_MAX];

    if (r->count == r->size) {
        /* There can be no more, and there is no place for one either */
        return NULL;
    }
    memset(e, 0, sizeof(*e));
    if (!(r->packed ? packed_take(r, e) : split_take(r, e))) {
        return NULL;
    }
    r->count++;
    pos_advance(r, &r->taken, elem_step(r, e));
    return e;
}

/* One used entry, at the place @pos; not yet published in a split ring */
static void ring_put(VhostUserRing *r, VhostUserPos pos, uint16_t id,
                     uint32_t len)
{
    if (r->packed) {
        uint8_t *desc = ring_desc(r, pos.at);

        stl_le_p(desc + 8, len);
        stw_le_p(desc + 12, id);
        store16(r->desc + pos.at * DESC_SIZE + 14,
                pos.wrap ? PACKED_AVAIL | PACKED_USED : 0);
    } else {
        uint8_t *entry = guest(r->used + 4 + 8 * (pos.at % r->size), 8);

        stl_le_p(entry, id);
        stl_le_p(entry + 4, len);
    }
}

void vhost_user_ring_done(VhostUserRing *r, unsigned n)
{
    VhostUserPos start = r->done;
    unsigned i;

    for (i = 0; i < n; i++) {
        VhostUserElem *e = vhost_user_ring_oldest(r, 0);
        bool more = r->in_order && !e->ins && i + 1 < n &&
                    !vhost_user_ring_oldest(r, 1)->ins;

        pos_advance(r, &r->done, elem_step(r, e));
        if (!more) {
            ring_put(r, start, e->id, e->len);
            start = r->done;
        }
        r->first = (r->first + 1) % VHOST_USER_RING_MAX;
        r->count--;
    }
    if (!r->packed && n) {
        store16(r->used + 2, r->done.at);
    }
}
