/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * libqos: the driver's side of a virtqueue, see virtio-ring.h.
 *
 * One implementation serves both layouts and both ways to guest memory (the
 * qtest protocol and a mapping of the test's own); only the functions named
 * split_* and packed_* know about a layout, only ring_read() and its
 * neighbours about the way.
 *
 * Positions in a packed ring are kept as counters that never wrap: counter
 * modulo ring size is the position, the parity of counter divided by ring
 * size is the wrap counter.  That works for any ring size.
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/bswap.h"
#include "../libqtest.h"
#include "virtio-ring.h"
#include "standard-headers/linux/virtio_ids.h"
#include "standard-headers/linux/virtio_ring.h"

#define DESC_SIZE       16

/* Offsets in a descriptor of either layout */
#define DESC_LEN        8
#define SPLIT_FLAGS     12
#define SPLIT_NEXT      14
#define PACKED_ID       12
#define PACKED_FLAGS    14

#define PACKED_AVAIL    (1u << VRING_PACKED_DESC_F_AVAIL)
#define PACKED_USED     (1u << VRING_PACKED_DESC_F_USED)

typedef enum BufState {
    BUF_FREE,
    BUF_BUILT,          /* in the ring, not yet visible to the device */
    BUF_IN_FLIGHT,      /* the device owns it */
    BUF_USED,           /* read from the ring, not yet handed to the test */
} BufState;

typedef struct Buf {
    BufState state;
    uint16_t ndesc;         /* descriptors it takes in the ring */
    uint16_t head_flags;    /* packed: flags that publish it */
    uint16_t last_desc;     /* split: end of the chain, to link to */
    bool readable_only;     /* no writable piece so far */
    uint32_t in_len;        /* bytes that the device may write */
    uint64_t first;         /* counter of the first descriptor */
    uint64_t number;        /* how many buffers were published before */
} Buf;

struct QVRing {
    QVirtQueue *vq;
    const QVirtioRam *ram;  /* NULL: use the qtest protocol */
    bool packed;
    bool in_order;
    bool poison;            /* packed: see qvring_poison_ids() */

    Buf *bufs;              /* by identity */
    uint16_t *split_next;   /* split: links of the chains in use */

    /*
     * Free identities, oldest first: descriptor numbers of a split ring
     * (unless in-order, where descriptors are used round), ids of a packed
     * one.
     */
    uint16_t *free;
    unsigned free_first;
    unsigned free_count;

    int building;           /* identity of the chain being built, or -1 */
    uint64_t desc_next;     /* counter of the next descriptor to be filled */
    uint64_t desc_used;     /* packed: counter of the next used descriptor */

    /*
     * Identities in the order they were built.  Counters of buffers:
     * returned <= published <= built.
     */
    uint16_t *order;
    uint64_t returned;      /* in order: the oldest one in flight */
    uint64_t published;
    uint64_t built;
    unsigned in_flight;

    uint16_t used_idx;      /* split: where the test has read to */
    uint64_t notified;      /* published (split) or desc counter (packed) */
    uint64_t desc_published;

    bool event_deferred;    /* packed: the position is not known yet */
    uint64_t event_number;

    struct {
        uint16_t id;
        uint32_t len;
    } *ready;               /* used buffers that the test has not taken */
    unsigned ready_first;
    unsigned ready_count;

    /* What the rings contain if the device writes only what it may */
    uint8_t (*desc_shadow)[DESC_SIZE];
    struct vring_used_elem *used_shadow;
};

bool qvring_scsi_counts_reads;

/*
 * Every violation ends here: the message names the queue, its mode and where
 * it stands, so that a log alone tells what went wrong.
 */
static void G_GNUC_PRINTF(2, 3) G_GNUC_NORETURN
ring_fail(const QVRing *r, const char *fmt, ...)
{
    g_autofree char *what = NULL;
    g_autofree char *msg = NULL;
    va_list ap;

    va_start(ap, fmt);
    what = g_strdup_vprintf(fmt, ap);
    va_end(ap);

    msg = g_strdup_printf("virtqueue %u (%s, in_order %s, size %u, %u in "
                          "flight, %" PRIu64 " published): %s",
                          r->vq->index, r->packed ? "packed" : "split",
                          r->in_order ? "on" : "off", r->vq->size,
                          r->in_flight, r->published, what);
    g_assertion_message(G_LOG_DOMAIN, __FILE__, __LINE__, G_STRFUNC, msg);
    abort();
}

void *qvirtio_ram_ptr(const QVirtioRam *ram, uint64_t addr, uint64_t len)
{
    g_assert_cmphex(addr, >=, ram->base);
    g_assert_cmphex(len, <=, ram->size);
    g_assert_cmphex(addr - ram->base, <=, ram->size - len);
    return ram->host + (addr - ram->base);
}

static void ring_read(const QVRing *r, QTestState *qts, uint64_t addr,
                      void *buf, size_t len)
{
    if (r->ram) {
        memcpy(buf, qvirtio_ram_ptr(r->ram, addr, len), len);
    } else {
        qtest_bufread(qts, addr, buf, len);
    }
}

static void guest_write(const QVirtioRam *ram, QTestState *qts, uint64_t addr,
                        const void *buf, size_t len)
{
    if (ram) {
        memcpy(qvirtio_ram_ptr(ram, addr, len), buf, len);
    } else {
        qtest_bufwrite(qts, addr, buf, len);
    }
}

static void ring_write(const QVRing *r, QTestState *qts, uint64_t addr,
                       const void *buf, size_t len)
{
    guest_write(r->ram, qts, addr, buf, len);
}

/* Whatever the device wrote before it wrote this is visible afterwards */
static uint16_t ring_load_acquire(const QVRing *r, QTestState *qts,
                                  uint64_t addr)
{
    uint16_t val;

    if (r->ram) {
        uint16_t *p = qvirtio_ram_ptr(r->ram, addr, sizeof(val));

        val = qatomic_load_acquire(p);
    } else {
        qtest_bufread(qts, addr, &val, sizeof(val));
    }
    return le16_to_cpu(val);
}

/* Whatever was written before is visible to a device that sees this */
static void ring_store_release(const QVRing *r, QTestState *qts,
                               uint64_t addr, uint16_t val)
{
    val = cpu_to_le16(val);
    if (r->ram) {
        uint16_t *p = qvirtio_ram_ptr(r->ram, addr, sizeof(val));

        qatomic_store_release(p, val);
    } else {
        qtest_bufwrite(qts, addr, &val, sizeof(val));
    }
}

static void desc_fill(uint8_t *desc, uint64_t addr, uint32_t len)
{
    stq_le_p(desc, addr);
    stl_le_p(desc + DESC_LEN, len);
}

static uint64_t desc_addr(const QVRing *r, unsigned i)
{
    return r->vq->desc + (uint64_t)i * DESC_SIZE;
}

static unsigned ring_pos(const QVRing *r, uint64_t counter)
{
    return counter % r->vq->size;
}

static bool ring_wrap(const QVRing *r, uint64_t counter)
{
    return !((counter / r->vq->size) & 1);
}

static uint64_t used_elem_addr(const QVRing *r, unsigned i)
{
    return r->vq->used + offsetof(struct vring_used, ring) +
           (uint64_t)i * sizeof(struct vring_used_elem);
}

bool qvring_wanted(const QVirtioDevice *d)
{
    return d->tracked || qvring_packed(d) ||
           (d->features & (1ull << VIRTIO_F_IN_ORDER));
}

void qvring_attach(QTestState *qts, QVirtQueue *vq, uint64_t addr)
{
    QVirtioDevice *d = vq->vdev;
    QVRing *r = g_new0(QVRing, 1);
    uint64_t bytes = qvring_size(vq->size, vq->align);
    g_autofree void *zero = g_malloc0(bytes);
    unsigned i;

    /* Legacy devices know neither layout nor byte order of this file */
    g_assert_true(d->features & (1ull << VIRTIO_F_VERSION_1));
    g_assert_cmpuint(vq->size, >, 0);
    g_assert_cmpuint(vq->size, <=, 32768);

    r->vq = vq;
    r->ram = d->ram;
    r->packed = qvring_packed(d);
    r->in_order = d->features & (1ull << VIRTIO_F_IN_ORDER);
    r->bufs = g_new0(Buf, vq->size);
    r->split_next = g_new0(uint16_t, vq->size);
    r->free = g_new0(uint16_t, vq->size);
    r->order = g_new0(uint16_t, vq->size);
    r->ready = g_malloc0_n(vq->size, sizeof(*r->ready));
    r->desc_shadow = g_malloc0_n(vq->size, DESC_SIZE);
    r->used_shadow = g_new0(struct vring_used_elem, vq->size);
    r->building = -1;
    for (i = 0; i < vq->size; i++) {
        /* Ids that are not positions tell apart who confuses the two */
        r->free[i] = r->packed ? vq->size - 1 - i : i;
    }
    r->free_count = vq->size;

    vq->desc = addr;
    vq->avail = vq->desc + (uint64_t)vq->size * DESC_SIZE;
    vq->used = QEMU_ALIGN_UP(vq->avail + sizeof(uint16_t) * (3 + vq->size),
                             (uint64_t)vq->align);
    vq->free_head = 0;
    vq->num_free = vq->size;
    vq->last_used_idx = 0;
    ring_write(r, qts, addr, zero, bytes);

    qvring_detach(vq);
    vq->ring = r;
}

void qvring_detach(QVirtQueue *vq)
{
    QVRing *r = vq->ring;

    if (!r) {
        return;
    }
    g_free(r->bufs);
    g_free(r->split_next);
    g_free(r->free);
    g_free(r->order);
    g_free(r->ready);
    g_free(r->desc_shadow);
    g_free(r->used_shadow);
    g_free(r);
    vq->ring = NULL;
}

void qvring_poison_ids(QVirtQueue *vq)
{
    vq->ring->poison = true;
}

static uint16_t ring_take_free(QVRing *r)
{
    uint16_t id = r->free[r->free_first];

    g_assert_cmpuint(r->free_count, >, 0);
    r->free_first = (r->free_first + 1) % r->vq->size;
    r->free_count--;
    return id;
}

static void ring_give_free(QVRing *r, uint16_t id)
{
    g_assert_cmpuint(r->free_count, <, r->vq->size);
    r->free[(r->free_first + r->free_count) % r->vq->size] = id;
    r->free_count++;
}

/* Account for one more descriptor; returns the buffer it belongs to */
static Buf *ring_begin_desc(QVRing *r, uint16_t id, uint32_t in_len)
{
    Buf *b = &r->bufs[id];

    if (r->building < 0) {
        g_assert_cmpint(b->state, ==, BUF_FREE);
        b->state = BUF_BUILT;
        b->ndesc = 0;
        b->in_len = 0;
        b->readable_only = true;
        b->first = r->desc_next;
        r->building = id;
    }
    b->ndesc++;
    b->in_len += in_len;
    r->desc_next++;
    r->vq->num_free--;
    return b;
}

static void ring_end_chain(QVRing *r)
{
    r->order[r->built++ % r->vq->size] = r->building;
    r->building = -1;
}

static uint32_t split_add(QVRing *r, QTestState *qts, uint64_t data,
                          uint32_t len, uint16_t flags, uint32_t in_len)
{
    bool first = r->building < 0;
    uint16_t i, id;
    uint8_t *desc;
    Buf *b;

    i = r->in_order ? ring_pos(r, r->desc_next) : ring_take_free(r);
    id = first ? i : r->building;
    b = ring_begin_desc(r, id, in_len);

    if (!first) {
        uint16_t prev = b->last_desc;

        r->split_next[prev] = i;
        stw_le_p(r->desc_shadow[prev] + SPLIT_NEXT, i);
        ring_write(r, qts, desc_addr(r, prev) + SPLIT_NEXT,
                   r->desc_shadow[prev] + SPLIT_NEXT, 2);
    }
    b->last_desc = i;

    desc = r->desc_shadow[i];
    desc_fill(desc, data, len);
    stw_le_p(desc + SPLIT_FLAGS, flags);
    /* In-order chains go on with the next one and wrap (2.7.9) */
    stw_le_p(desc + SPLIT_NEXT, r->in_order && (flags & VRING_DESC_F_NEXT) ?
                                ring_pos(r, r->desc_next) : 0);
    ring_write(r, qts, desc_addr(r, i), desc, DESC_SIZE);
    return id;
}

static uint32_t packed_add(QVRing *r, QTestState *qts, uint64_t data,
                           uint32_t len, uint16_t flags, uint32_t in_len)
{
    bool first = r->building < 0;
    uint16_t pos = ring_pos(r, r->desc_next);
    uint16_t id = first ? ring_take_free(r) : r->building;
    uint8_t *desc = r->desc_shadow[pos];
    Buf *b;

    flags |= ring_wrap(r, r->desc_next) ? PACKED_AVAIL : PACKED_USED;
    b = ring_begin_desc(r, id, in_len);
    desc_fill(desc, data, len);
    /* Only the last descriptor's id counts (2.8.6); others must not matter */
    stw_le_p(desc + PACKED_ID, (flags & VRING_DESC_F_NEXT) && r->poison ?
                               (uint16_t)~id : id);
    stw_le_p(desc + PACKED_FLAGS, flags);
    /* The flags of the first one make the chain available: not yet */
    ring_write(r, qts, desc_addr(r, pos), desc,
               first ? PACKED_FLAGS : DESC_SIZE);
    if (first) {
        b->head_flags = flags;
    }
    return id;
}

static uint32_t ring_add(QVRing *r, QTestState *qts, uint64_t data,
                         uint32_t len, uint16_t flags, uint32_t in_len)
{
    uint32_t id;

    if (!r->vq->num_free) {
        ring_fail(r, "the test adds a descriptor to a full ring");
    }
    id = r->packed ? packed_add(r, qts, data, len, flags, in_len)
                   : split_add(r, qts, data, len, flags, in_len);
    if (flags & VRING_DESC_F_WRITE) {
        r->bufs[id].readable_only = false;
    } else if (!r->bufs[id].readable_only) {
        ring_fail(r, "the test puts a readable piece behind a writable one");
    }
    if (!(flags & VRING_DESC_F_NEXT)) {
        ring_end_chain(r);
    }
    return id;
}

uint32_t qvring_add(QTestState *qts, QVirtQueue *vq, uint64_t data,
                    uint32_t len, bool write, bool next)
{
    uint16_t flags = (write ? VRING_DESC_F_WRITE : 0) |
                     (next ? VRING_DESC_F_NEXT : 0);

    return ring_add(vq->ring, qts, data, len, flags, write ? len : 0);
}

uint32_t qvring_add_indirect(QTestState *qts, QVirtQueue *vq,
                             const QVRingIndirectDesc *indirect)
{
    g_assert(vq->indirect);
    g_assert_cmpint(indirect->index, ==, indirect->elem);
    g_assert_cmpint(vq->ring->building, ==, -1);

    return ring_add(vq->ring, qts, indirect->desc,
                    DESC_SIZE * indirect->elem, VRING_DESC_F_INDIRECT,
                    indirect->in_len);
}

void qvring_indirect_add(QTestState *qts, const QVirtioDevice *d,
                         QVRingIndirectDesc *indirect, uint64_t data,
                         uint32_t len, bool write)
{
    uint16_t flags = write ? VRING_DESC_F_WRITE : 0;
    uint8_t desc[DESC_SIZE] = { 0 };

    g_assert_cmpint(indirect->index, <, indirect->elem);
    desc_fill(desc, data, len);
    if (qvring_packed(d)) {
        stw_le_p(desc + PACKED_FLAGS, flags);
    } else if (indirect->index + 1 < indirect->elem) {
        stw_le_p(desc + SPLIT_FLAGS, flags | VRING_DESC_F_NEXT);
        stw_le_p(desc + SPLIT_NEXT, indirect->index + 1);
    } else {
        stw_le_p(desc + SPLIT_FLAGS, flags);
    }
    guest_write(d->ram, qts, indirect->desc + DESC_SIZE * indirect->index,
                desc, DESC_SIZE);
    indirect->index++;
    indirect->in_len += write ? len : 0;
}

static void packed_write_event(QVRing *r, QTestState *qts, uint64_t counter)
{
    uint16_t off_wrap = ring_pos(r, counter) |
                        ring_wrap(r, counter) << VRING_PACKED_EVENT_F_WRAP_CTR;

    ring_store_release(r, qts, r->vq->avail, off_wrap);
    ring_store_release(r, qts, r->vq->avail + 2,
                       VRING_PACKED_EVENT_FLAG_DESC);
}

static void split_publish(QVRing *r, QTestState *qts, uint64_t end)
{
    uint64_t ring = r->vq->avail + offsetof(struct vring_avail, ring);
    uint64_t n;

    for (n = r->published; n < end; n++) {
        uint16_t head = cpu_to_le16(r->order[n % r->vq->size]);
        uint16_t slot = (uint16_t)n % r->vq->size;

        ring_write(r, qts, ring + sizeof(head) * slot, &head, sizeof(head));
    }
    ring_store_release(r, qts, r->vq->avail + 2, end);
}

static void packed_publish(QVRing *r, QTestState *qts, uint64_t end)
{
    uint64_t n = end;

    if (r->event_deferred && r->event_number < end) {
        uint16_t id = r->order[r->event_number % r->vq->size];

        packed_write_event(r, qts, r->bufs[id].first);
        r->event_deferred = false;
    }
    /* The device sees nothing of it before the first head, so that goes last */
    while (n-- > r->published) {
        Buf *b = &r->bufs[r->order[n % r->vq->size]];

        ring_store_release(r, qts,
                           desc_addr(r, ring_pos(r, b->first)) + PACKED_FLAGS,
                           b->head_flags);
    }
}

void qvring_publish(QTestState *qts, QVirtQueue *vq, uint32_t id)
{
    QVRing *r = vq->ring;
    uint64_t n, end;

    for (end = r->published; end < r->built; end++) {
        if (r->order[end % vq->size] == id) {
            break;
        }
    }
    if (end == r->built) {
        ring_fail(r, "the test publishes buffer %u, which is not built", id);
    }
    end++;

    /* The account first: the device may be as fast as it likes */
    for (n = r->published; n < end; n++) {
        Buf *b = &r->bufs[r->order[n % vq->size]];

        b->state = BUF_IN_FLIGHT;
        b->number = n;
        r->in_flight++;
        r->desc_published = b->first + b->ndesc;
    }
    if (r->packed) {
        packed_publish(r, qts, end);
    } else {
        split_publish(r, qts, end);
    }
    r->published = end;
}

static bool split_wants_kick(QVRing *r, QTestState *qts)
{
    QVirtQueue *vq = r->vq;
    uint64_t old = r->notified;

    r->notified = r->published;
    if (vq->event) {
        uint16_t event = ring_load_acquire(r, qts,
                                           used_elem_addr(r, vq->size));

        return r->published - old > UINT16_MAX ||
               vring_need_event(event, r->published, old);
    }
    return !(ring_load_acquire(r, qts, vq->used) & VRING_USED_F_NO_NOTIFY);
}

static bool packed_wants_kick(QVRing *r, QTestState *qts)
{
    QVirtQueue *vq = r->vq;
    uint16_t flags = ring_load_acquire(r, qts, vq->used + 2);
    uint16_t off_wrap = ring_load_acquire(r, qts, vq->used);
    uint64_t lap2 = 2 * (uint64_t)vq->size;
    uint64_t old = r->notified;
    uint64_t event;

    r->notified = r->desc_published;
    switch (flags) {
    case VRING_PACKED_EVENT_FLAG_ENABLE:
        return true;
    case VRING_PACKED_EVENT_FLAG_DISABLE:
        return false;
    case VRING_PACKED_EVENT_FLAG_DESC:
        break;
    default:
        ring_fail(r, "device event flags are 0x%x, which is reserved", flags);
    }
    if (!vq->event) {
        ring_fail(r, "the device asks for an event at a descriptor without "
                  "VIRTIO_F_EVENT_IDX");
    }

    event = off_wrap & ~(1u << VRING_PACKED_EVENT_F_WRAP_CTR);
    if (event >= vq->size) {
        ring_fail(r, "device event offset is %" PRIu64 ", beyond the ring",
                  event);
    }
    if (!(off_wrap >> VRING_PACKED_EVENT_F_WRAP_CTR)) {
        event += vq->size;
    }
    /* The first counter from the last notification on with that position */
    event += (old / lap2) * lap2;
    if (event < old) {
        event += lap2;
    }
    return event < r->desc_published;
}

bool qvring_notify(QTestState *qts, QVirtQueue *vq)
{
    QVRing *r = vq->ring;

    /* Buffers first, then the question whether the device is asleep */
    smp_mb();
    if (r->packed ? packed_wants_kick(r, qts) : split_wants_kick(r, qts)) {
        vq->vdev->bus->virtqueue_kick(vq->vdev, vq);
        return true;
    }
    return false;
}

/* Stop unless the descriptors at @counter are as the driver wrote them */
static void ring_check_descs(QVRing *r, QTestState *qts, uint64_t counter,
                             unsigned n, const char *why)
{
    for (; n; n--, counter++) {
        unsigned pos = ring_pos(r, counter);
        uint8_t desc[DESC_SIZE];

        ring_read(r, qts, desc_addr(r, pos), desc, DESC_SIZE);
        if (memcmp(desc, r->desc_shadow[pos], DESC_SIZE)) {
            ring_fail(r, "the device wrote to descriptor %u, %s: id %u, len "
                      "%u, flags 0x%x", pos, why, lduw_le_p(desc + PACKED_ID),
                      ldl_le_p(desc + DESC_LEN),
                      lduw_le_p(desc + PACKED_FLAGS));
        }
    }
}

static void ring_make_ready(QVRing *r, uint16_t id, uint32_t len)
{
    unsigned i = (r->ready_first + r->ready_count) % r->vq->size;

    g_assert_cmpuint(r->ready_count, <, r->vq->size);
    r->bufs[id].state = BUF_USED;
    r->ready[i].id = id;
    r->ready[i].len = len;
    r->ready_count++;
    r->in_flight--;
    r->vq->last_used_idx++;
}

/*
 * A used element with @id and @len stands at the right place of the ring, and
 * at most @limit buffers may be returned.  Check it and make everything ready
 * that it stands for.
 */
static void ring_take_used(QVRing *r, unsigned pos, uint32_t id, uint32_t len,
                           unsigned limit)
{
    Buf *b;

    if (id >= r->vq->size || r->bufs[id].state != BUF_IN_FLIGHT) {
        if (r->in_order && r->in_flight) {
            ring_fail(r, "used element at %u: got id %u, which is not in "
                      "flight; expected id %u (number %" PRIu64 ") or a later "
                      "one", pos, id, r->order[r->returned % r->vq->size],
                      r->returned);
        }
        ring_fail(r, "used element at %u: got id %u, which is not in flight",
                  pos, id);
    }
    b = &r->bufs[id];

    /* A device must have written at least len bytes (2.7.8.2) */
    if (len > b->in_len &&
        !(qvring_scsi_counts_reads &&
          r->vq->vdev->device_type == VIRTIO_ID_SCSI)) {
        ring_fail(r, "used element at %u: id %u: got len %u, but only %u "
                  "bytes are writable", pos, id, len, b->in_len);
    }

    if (r->in_order) {
        uint64_t n = b->number - r->returned + 1;

        if (n > limit) {
            ring_fail(r, "used element at %u: got id %u, which ends a batch "
                      "of %" PRIu64 " buffers, but the index grew only by %u",
                      pos, id, n, limit);
        }
        while (r->returned < b->number) {
            uint16_t skipped = r->order[r->returned++ % r->vq->size];

            if (r->bufs[skipped].in_len) {
                ring_fail(r, "used element at %u: got id %u, expected id %u: "
                          "the batch skips that one, so the length of its "
                          "writable part (%u bytes) is lost", pos, id,
                          skipped, r->bufs[skipped].in_len);
            }
            ring_make_ready(r, skipped, 0);
        }
        r->returned++;
    }
    ring_make_ready(r, id, len);
}

static void split_harvest(QVRing *r, QTestState *qts)
{
    uint16_t idx = ring_load_acquire(r, qts, r->vq->used + 2);
    uint16_t left = idx - r->used_idx;

    if (left > r->in_flight) {
        ring_fail(r, "used index went from %u to %u, beyond the buffers in "
                  "flight", r->used_idx, idx);
    }
    while (left) {
        unsigned pos = r->used_idx % r->vq->size;
        unsigned before = r->ready_count;
        struct vring_used_elem e;

        ring_read(r, qts, used_elem_addr(r, pos), &e, sizeof(e));
        r->used_shadow[pos] = e;
        ring_take_used(r, pos, le32_to_cpu(e.id), le32_to_cpu(e.len), left);
        left -= r->ready_count - before;
        r->used_idx += r->ready_count - before;
    }
}

/* Returns: false when there is no used descriptor at the next place */
static bool packed_harvest_one(QVRing *r, QTestState *qts)
{
    unsigned pos = ring_pos(r, r->desc_used);
    bool wrap = ring_wrap(r, r->desc_used);
    uint16_t flags = ring_load_acquire(r, qts,
                                       desc_addr(r, pos) + PACKED_FLAGS);
    bool avail = flags & PACKED_AVAIL;
    bool used = flags & PACKED_USED;
    unsigned before = r->ready_count, n;
    uint8_t desc[DESC_SIZE];

    if (!r->in_flight) {
        if (avail == wrap && used == wrap) {
            ring_fail(r, "used descriptor at %u (flags 0x%x), but nothing is "
                      "in flight", pos, flags);
        }
        return false;
    }
    if (avail != wrap) {
        ring_fail(r, "descriptor %u: got flags 0x%x, expected avail %u: the "
                  "wrap counter is wrong", pos, flags, wrap);
    }
    if (used != wrap) {
        return false;
    }

    ring_read(r, qts, desc_addr(r, pos), desc, DESC_SIZE);
    ring_take_used(r, pos, lduw_le_p(desc + PACKED_ID),
                   ldl_le_p(desc + DESC_LEN), r->in_flight);
    memcpy(r->desc_shadow[pos], desc, DESC_SIZE);

    /* One used descriptor stands for all descriptors of the batch */
    for (n = 0; before + n < r->ready_count; n++) {
        unsigned i = (r->ready_first + before + n) % r->vq->size;
        Buf *b = &r->bufs[r->ready[i].id];

        if (r->in_order && b->first != r->desc_used) {
            ring_fail(r, "buffer %u stands at %u, but the next place is %u",
                      r->ready[i].id, ring_pos(r, b->first),
                      ring_pos(r, r->desc_used));
        }
        if (r->ram) {
            ring_check_descs(r, qts, r->desc_used + !n, b->ndesc - !n,
                             "which it should have skipped");
        }
        r->desc_used += b->ndesc;
    }
    return true;
}

/* Read everything that the device has published since the last time */
static void ring_harvest(QVRing *r, QTestState *qts)
{
    if (r->packed) {
        while (packed_harvest_one(r, qts)) {
            /* go on */
        }
    } else {
        split_harvest(r, qts);
    }
}

bool qvring_get(QTestState *qts, QVirtQueue *vq, uint32_t *id, uint32_t *len)
{
    QVRing *r = vq->ring;
    uint16_t got;
    Buf *b;

    if (!r->ready_count) {
        ring_harvest(r, qts);
    }
    if (!r->ready_count) {
        return false;
    }

    got = r->ready[r->ready_first].id;
    b = &r->bufs[got];
    if (id) {
        *id = got;
    }
    if (len) {
        *len = r->ready[r->ready_first].len;
    }
    r->ready_first = (r->ready_first + 1) % vq->size;
    r->ready_count--;

    b->state = BUF_FREE;
    vq->num_free += b->ndesc;
    if (r->packed) {
        ring_give_free(r, got);
    } else if (!r->in_order) {
        uint16_t i = got;
        unsigned n;

        for (n = 0; n < b->ndesc; n++) {
            ring_give_free(r, i);
            i = r->split_next[i];
        }
    }
    return true;
}

bool qvring_pending(const QVirtQueue *vq)
{
    return vq->ring && vq->ring->ready_count;
}

unsigned qvring_in_flight(const QVirtQueue *vq)
{
    return vq->ring->in_flight;
}

void qvring_set_used_event(QTestState *qts, QVirtQueue *vq, uint16_t idx)
{
    QVRing *r = vq->ring;
    uint64_t done = r->published - r->in_flight;
    uint64_t counter = r->desc_used;
    uint64_t n;

    g_assert(vq->event);
    if (!r->packed) {
        ring_store_release(r, qts, vq->avail + offsetof(struct vring_avail,
                                                        ring[vq->size]), idx);
        /* The caller looks for used buffers that came before this */
        smp_mb();
        return;
    }

    r->event_number = done + (uint16_t)(idx - (uint16_t)done);
    r->event_deferred = r->event_number >= r->published;
    if (r->event_deferred) {
        ring_store_release(r, qts, vq->avail + 2,
                           VRING_PACKED_EVENT_FLAG_DISABLE);
    } else if (r->in_order) {
        n = r->event_number;
        packed_write_event(r, qts, r->bufs[r->order[n % vq->size]].first);
    } else {
        /*
         * Which buffers will be used before that one is not known, so take
         * those of the ring in flight that were published first.
         */
        for (n = r->published - MIN(r->published, vq->size);
             n < r->published && done < r->event_number; n++) {
            Buf *b = &r->bufs[r->order[n % vq->size]];

            if (b->state == BUF_IN_FLIGHT && b->number == n) {
                counter += b->ndesc;
                done++;
            }
        }
        packed_write_event(r, qts, counter);
    }
    /* The caller looks for used buffers that came before this */
    smp_mb();
}

void qvring_set_interrupts(QTestState *qts, QVirtQueue *vq, bool on)
{
    QVRing *r = vq->ring;

    if (r->packed) {
        r->event_deferred = false;
        ring_store_release(r, qts, vq->avail + 2,
                           on ? VRING_PACKED_EVENT_FLAG_ENABLE
                              : VRING_PACKED_EVENT_FLAG_DISABLE);
    } else {
        g_assert(!vq->event);
        ring_store_release(r, qts, vq->avail,
                           on ? 0 : VRING_AVAIL_F_NO_INTERRUPT);
    }
    /* The caller looks for used buffers that came before this */
    smp_mb();
}

void qvring_check_idle(QTestState *qts, QVirtQueue *vq)
{
    QVRing *r = vq->ring;
    unsigned i;

    ring_harvest(r, qts);
    if (r->in_flight || r->ready_count) {
        ring_fail(r, "not idle: %u buffers are in flight, %u wait for the "
                  "test", r->in_flight, r->ready_count);
    }
    ring_check_descs(r, qts, 0, vq->size, "which it does not own");
    if (r->packed) {
        return;
    }
    for (i = 0; i < vq->size; i++) {
        struct vring_used_elem e;

        ring_read(r, qts, used_elem_addr(r, i), &e, sizeof(e));
        if (memcmp(&e, &r->used_shadow[i], sizeof(e))) {
            ring_fail(r, "used element at %u, id %u, len %u, was written but "
                      "never published", i, le32_to_cpu(e.id),
                      le32_to_cpu(e.len));
        }
    }
}

char *qvring_describe(QTestState *qts, const QVirtQueue *vq)
{
    const QVRing *r = vq->ring;
    g_autofree char *where = NULL;

    if (r->packed) {
        unsigned pos = ring_pos(r, r->desc_used);
        uint8_t desc[DESC_SIZE];

        ring_read(r, qts, desc_addr(r, pos), desc, DESC_SIZE);
        where = g_strdup_printf("next used descriptor %u, wrap %u, holds id "
                                "%u len %u flags 0x%x; device event 0x%x at "
                                "0x%x, next descriptor %" PRIu64, pos,
                                ring_wrap(r, r->desc_used),
                                lduw_le_p(desc + PACKED_ID),
                                ldl_le_p(desc + DESC_LEN),
                                lduw_le_p(desc + PACKED_FLAGS),
                                ring_load_acquire(r, qts, vq->used + 2),
                                ring_load_acquire(r, qts, vq->used),
                                r->desc_published);
    } else {
        where = g_strdup_printf("used index %u, read to %u; device flags 0x%x, "
                                "available event %u",
                                ring_load_acquire(r, qts, vq->used + 2),
                                r->used_idx,
                                ring_load_acquire(r, qts, vq->used),
                                ring_load_acquire(r, qts,
                                                  used_elem_addr(r,
                                                                 vq->size)));
    }
    return g_strdup_printf("virtqueue %u (%s, in_order %s, size %u): %" PRIu64
                           " published, %u in flight, oldest %d; %s",
                           vq->index, r->packed ? "packed" : "split",
                           r->in_order ? "on" : "off", vq->size, r->published,
                           r->in_flight,
                           r->in_order && r->in_flight ?
                           r->order[r->returned % vq->size] : -1, where);
}
