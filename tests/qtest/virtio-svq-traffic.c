/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: packets through a network card whose virtqueues are shadowed, see
 * virtio-svq-traffic.h
 *
 * The pieces of a buffer lie in a slot of memory, with some room between them.
 * A receive buffer's slot is POISON before, so whatever the device has written
 * that it should not have can be seen.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "virtio-svq-traffic.h"

/* Between the pieces of a buffer, bytes */
#define GAP             32

/* In a buffer, at most; also the entries of an indirect table */
#define PIECES          64

#define TABLE_SIZE      (PIECES * sizeof(struct vring_desc))

/* Where num_buffers is in struct virtio_net_hdr_v1 */
#define HDR_NUM         10
#define HDR_MAX         20

typedef struct SvqPiece {
    uint32_t off;               /* in the slot */
    uint32_t len;
} SvqPiece;

typedef struct SvqSlot {
    bool busy;
    uint64_t number;            /* of the buffer that is in it */
    unsigned pieces;
    uint32_t len;               /* of all */
    SvqPiece piece[PIECES];
} SvqSlot;

static size_t hdr_len(const SvqNic *nic)
{
    return nic->dev->vdev->features & BIT_ULL(VIRTIO_NET_F_HASH_REPORT) ?
           HDR_MAX : 12;
}

/* Slots */

static unsigned lane_between(SvqLane *l, unsigned min, unsigned max)
{
    return min >= max ? min : g_rand_int_range(l->rand, min, max + 1);
}

/* All slots are free */
static void lane_clear(SvqLane *l)
{
    unsigned i;

    for (i = 0; i < l->slots; i++) {
        l->slot[i].busy = false;
        l->free[i] = l->slots - 1 - i;
    }
    l->free_count = l->slots;
    l->pending = 0;
}

static void lane_init(SvqLane *l, SvqNic *nic, QVirtQueue *vq,
                      const SvqShape *shape, unsigned len_max)
{
    SvqShape *s = &l->shape;

    memset(l, 0, sizeof(*l));
    l->nic = nic;
    l->vq = vq;
    *s = *shape;
    s->pieces_min = MAX(s->pieces_min, 1);
    s->pieces_max = MAX(s->pieces_max, s->pieces_min);
    g_assert_cmpuint(s->pieces_max, <=, PIECES);
    l->pieces_max = MIN(s->pieces_max, vq->size);
    l->rand = g_rand_new_with_seed(g_test_rand_int());
    l->slots = vq->size;
    l->slot_size = QEMU_ALIGN_UP(HDR_MAX + len_max +
                                 GAP * (s->pieces_max + 2), 64);
    l->tables = guest_alloc(&rig->alloc, l->slots * TABLE_SIZE);
    l->mem = shape->mem ?: guest_alloc(&rig->alloc, l->slots * l->slot_size);
    l->slot = g_new0(SvqSlot, l->slots);
    l->free = g_new(uint16_t, l->slots);
    l->slot_of = g_new(uint16_t, l->slots);
    l->data = g_malloc(l->slot_size);
    lane_clear(l);
}

static void lane_cleanup(SvqLane *l)
{
    if (!l->shape.mem) {
        guest_free(&rig->alloc, l->mem);
    }
    guest_free(&rig->alloc, l->tables);
    g_rand_free(l->rand);
    g_free(l->slot);
    g_free(l->free);
    g_free(l->slot_of);
    g_free(l->data);
}

/* What was in flight is lost */
static void lane_restart(SvqLane *l, QVirtQueue *vq)
{
    g_assert_cmpuint(vq->size, ==, l->slots);
    l->vq = vq;
    l->taken = l->added;
    lane_clear(l);
}

static uint64_t slot_addr(const SvqLane *l, unsigned n)
{
    return l->mem + n * l->slot_size;
}

/*
 * Divides a buffer of @len bytes into pieces.
 *
 * Returns: false when the ring has no room for it now
 */
static bool slot_divide(SvqLane *l, SvqSlot *s, unsigned len, bool *indirect)
{
    const SvqShape *shape = &l->shape;
    unsigned pieces, max, i;
    uint32_t off = GAP;

    if (!l->free_count || !l->vq->num_free) {
        return false;
    }
    *indirect = l->vq->indirect && lane_between(l, 1, 100) <= shape->indirect;
    max = *indirect ? shape->pieces_max : l->pieces_max;
    pieces = MIN(lane_between(l, shape->pieces_min, max), len);
    if (!*indirect && pieces > l->vq->num_free) {
        return false;
    }
    s->pieces = pieces;
    s->len = len;
    for (i = 0; i < pieces; i++) {
        unsigned rest = pieces - i - 1;
        unsigned part = rest ? lane_between(l, 1, 2 * (len - rest) /
                                                  (rest + 1)) : len;

        part = MIN(part, len - rest);
        s->piece[i] = (SvqPiece) { off, part };
        len -= part;
        off += part + lane_between(l, 1, GAP);
    }
    return true;
}

/* Puts the buffer that a free slot has become into the ring */
static void slot_add(SvqLane *l, unsigned n, bool indirect, bool write)
{
    QTestState *qts = rig->qts;
    SvqSlot *s = &l->slot[n];
    uint64_t addr = slot_addr(l, n);
    unsigned i;

    if (indirect) {
        QVRingIndirectDesc table = {
            .desc = l->tables + n * TABLE_SIZE,
            .elem = s->pieces,
        };

        for (i = 0; i < s->pieces; i++) {
            qvring_indirect_add(qts, l->vq->vdev, &table,
                                addr + s->piece[i].off, s->piece[i].len,
                                write);
        }
        l->last = qvring_add_indirect(qts, l->vq, &table);
    } else {
        for (i = 0; i < s->pieces; i++) {
            l->last = qvring_add(qts, l->vq, addr + s->piece[i].off,
                                 s->piece[i].len, write, i + 1 < s->pieces);
        }
    }
    l->free_count--;
    l->slot_of[l->last] = n;
    s->busy = true;
    s->number = l->added++;
    l->pending++;
}

static void lane_go(SvqLane *l)
{
    if (l->pending) {
        qvring_publish(rig->qts, l->vq, l->last);
        qvring_notify(rig->qts, l->vq);
        l->pending = 0;
    }
}

/* Returns: the slot of a buffer that came back, which is free now, or -1 */
static int lane_take(SvqLane *l, uint32_t *len)
{
    uint32_t id;
    unsigned n;

    if (!qvring_get(rig->qts, l->vq, &id, len)) {
        return -1;
    }
    n = l->slot_of[id];
    g_assert_true(l->slot[n].busy);
    l->slot[n].busy = false;
    l->free[l->free_count++] = n;
    l->taken++;
    return n;
}

static void check_poison(const SvqLane *l, const uint8_t *p, size_t len,
                         const SvqSlot *s)
{
    if (len && (p[0] != POISON || memcmp(p, p + 1, len - 1))) {
        g_autofree char *msg =
            g_strdup_printf("queue %u: something was written near buffer %"
                            PRIu64 " of %u bytes in %u pieces that is not "
                            "part of it", l->vq->index, s->number, s->len,
                            s->pieces);

        g_assertion_message(G_LOG_DOMAIN, __FILE__, __LINE__, G_STRFUNC, msg);
    }
}

/*
 * Puts the first @len bytes of a buffer together, to @to.  Everything else in
 * its slot has to be untouched.
 */
static void slot_collect(SvqLane *l, unsigned n, uint8_t *to, uint32_t len)
{
    size_t end = l->slot_size, pos = 0;
    SvqSlot *s = &l->slot[n];
    unsigned i;

    svq_read(l->nic, slot_addr(l, n), l->data, end);
    for (i = 0; i < s->pieces; i++) {
        SvqPiece *p = &s->piece[i];
        uint32_t part = MIN(p->len, len);

        check_poison(l, l->data + pos, p->off - pos, s);
        memcpy(to, l->data + p->off, part);
        to += part;
        len -= part;
        pos = p->off + part;
    }
    check_poison(l, l->data + pos, end - pos, s);
}

/* Transmit */

void svq_tx_init(SvqTx *tx, SvqNic *nic, unsigned pair, const SvqShape *shape)
{
    VdpaSimFlowConfig flow = {
        .src_ip = 0x0a000001,
        .dst_ip = 0x0a000002,
        .src_port = 1000 + pair,
        .dst_port = 2000,
        .stream = pair,
    };

    memset(tx, 0, sizeof(*tx));
    memcpy(flow.dst_mac, nic->sim->config.net.mac, sizeof(flow.dst_mac));
    memcpy(flow.src_mac, "\x52\x54\x00\x12\x34\x56", sizeof(flow.src_mac));
    vdpa_sim_flow_init(&tx->flow, &flow);
    lane_init(&tx->lane, nic, nic->tx[pair], shape,
              MAX(shape->len_max, VDPA_SIM_PACKET_MIN));
}

void svq_tx_cleanup(SvqTx *tx)
{
    lane_cleanup(&tx->lane);
}

void svq_tx_restart(SvqTx *tx, QVirtQueue *vq)
{
    tx->lost_max += tx->lane.added - tx->lane.taken;
    lane_restart(&tx->lane, vq);
}

bool svq_tx_add(SvqTx *tx)
{
    SvqLane *l = &tx->lane;
    size_t hdr = hdr_len(l->nic);
    unsigned len = lane_between(l, MAX(l->shape.len_min, VDPA_SIM_PACKET_MIN),
                                l->shape.len_max), n, i;
    uint8_t *from = l->data;
    bool indirect;
    SvqSlot *s;

    if (!l->free_count) {
        return false;
    }
    n = l->free[l->free_count - 1];
    s = &l->slot[n];
    if (!slot_divide(l, s, hdr + len, &indirect)) {
        return false;
    }
    memset(from, 0, hdr);
    vdpa_sim_packet_make(&tx->flow, from + hdr, len, tx->seq++);
    for (i = 0; i < s->pieces; i++) {
        svq_write(l->nic, slot_addr(l, n) + s->piece[i].off, from,
                  s->piece[i].len);
        from += s->piece[i].len;
    }
    slot_add(l, n, indirect, false);
    return true;
}

void svq_tx_go(SvqTx *tx)
{
    lane_go(&tx->lane);
}

bool svq_tx_reap(SvqTx *tx)
{
    bool any = false;
    uint32_t len;

    while (lane_take(&tx->lane, &len) >= 0) {
        g_assert_cmpuint(len, ==, 0);
        any = true;
    }
    return any;
}

void svq_tx_run(SvqTx *tx, unsigned count, const char *what)
{
    uint64_t end = tx->seq + count;
    SvqLane *l = &tx->lane;
    gint64 start = 0;

    while (tx->seq < end) {
        unsigned n = 0;

        while (tx->seq < end && (!l->shape.burst || n < l->shape.burst) &&
               svq_tx_add(tx)) {
            n++;
        }
        svq_tx_go(tx);
        if (svq_tx_reap(tx) || n) {
            start = 0;
        } else {
            svq_wait(l->nic, &start, l->vq, what);
        }
    }
    svq_tx_finish(tx, what);
}

void svq_tx_finish(SvqTx *tx, const char *what)
{
    SvqLane *l = &tx->lane;
    VdpaSimStream *stream = &l->nic->sim->stats[l->vq->index].stream;
    gint64 start = 0;

    while (l->taken < l->added) {
        if (svq_tx_reap(tx)) {
            start = 0;
        } else {
            svq_wait(l->nic, &start, l->vq, what);
        }
    }
    qvring_check_idle(rig->qts, l->vq);
    if (l->nic->sim->ctl[l->vq->index].verify) {
        g_assert_cmpuint(qatomic_read(&stream->missing), <=, tx->lost_max);
        g_assert_cmpuint(qatomic_read(&stream->packets) +
                         qatomic_read(&stream->missing), ==,
                         qatomic_read(&stream->next));
        g_assert_cmpuint(tx->seq - qatomic_read(&stream->next), <=,
                         tx->lost_max);
        g_assert_cmpuint(tx->seq - qatomic_read(&stream->packets), <=,
                         tx->lost_max);
    }
}

/* Receive */

void svq_rx_init(SvqRx *rx, SvqNic *nic, unsigned pair, const SvqShape *shape)
{
    memset(rx, 0, sizeof(*rx));
    lane_init(&rx->lane, nic, nic->rx[pair], shape, shape->buf_max);
    rx->packet = g_malloc(VDPA_SIM_PACKET_MAX + HDR_MAX + rx->lane.slot_size);
}

void svq_rx_cleanup(SvqRx *rx)
{
    lane_cleanup(&rx->lane);
    g_free(rx->packet);
}

void svq_rx_restart(SvqRx *rx, QVirtQueue *vq)
{
    rx->lost_max += rx->lane.added - rx->lane.taken;
    lane_restart(&rx->lane, vq);
}

bool svq_rx_fill(SvqRx *rx)
{
    SvqLane *l = &rx->lane;
    unsigned n;
    bool indirect;

    if (!l->free_count) {
        return false;
    }
    n = l->free[l->free_count - 1];
    if (!slot_divide(l, &l->slot[n],
                     lane_between(l, l->shape.buf_min, l->shape.buf_max),
                     &indirect)) {
        return false;
    }
    memset(l->data, POISON, l->slot_size);
    svq_write(l->nic, slot_addr(l, n), l->data, l->slot_size);
    slot_add(l, n, indirect, true);
    return true;
}

void svq_rx_go(SvqRx *rx)
{
    lane_go(&rx->lane);
}

void svq_rx_refill(SvqRx *rx)
{
    while (svq_rx_fill(rx)) {
        continue;
    }
    lane_go(&rx->lane);
}

bool svq_rx_take(SvqRx *rx)
{
    SvqLane *l = &rx->lane;
    size_t hdr = hdr_len(l->nic), got = 0;
    VdpaSimPacketKind kind;
    unsigned want = 1, i;

    for (i = 0; i < want; i++) {
        uint32_t len;
        int n = lane_take(l, &len);

        if (n < 0) {
            /* Or a driver would give up on the packet */
            g_assert_cmpuint(i, ==, 0);
            return false;
        }
        g_assert_cmpuint(got + len, <=, VDPA_SIM_PACKET_MAX + HDR_MAX);
        slot_collect(l, n, rx->packet + got, len);
        got += len;
        if (i == 0) {
            g_assert_cmpuint(len, >=, hdr);
            want = lduw_le_p(rx->packet + HDR_NUM);
            g_assert_cmpuint(want, >=, 1);
        }
        /* All but the last are full (VIRTIO 1.2, 5.1.6.4.1) */
        g_assert_true(len == l->slot[n].len || i + 1 == want);
    }
    kind = vdpa_sim_packet_check(rx->stream, SVQ_STREAMS, rx->packet + hdr,
                                 got - hdr);
    if (kind == VDPA_SIM_PACKET_GAP) {
        /* What the device had put into buffers that a reset took from it */
        g_assert_cmpuint(svq_rx_missing(rx), <=, rx->lost_max);
    } else {
        g_assert_cmpint(kind, ==, VDPA_SIM_PACKET_OK);
    }
    rx->packets++;
    return true;
}

void svq_rx_wait(SvqRx *rx, uint64_t packets, const char *what)
{
    gint64 start = 0;

    while (rx->packets < packets) {
        bool any = false;

        svq_rx_refill(rx);
        while (svq_rx_take(rx)) {
            any = true;
        }
        if (any) {
            start = 0;
        } else {
            svq_wait(rx->lane.nic, &start, rx->lane.vq, what);
        }
    }
}

/* Bytes of all buffers in flight */
static uint64_t lane_room(const SvqLane *l)
{
    uint64_t room = 0;
    unsigned i;

    for (i = 0; i < l->slots; i++) {
        room += l->slot[i].busy ? l->slot[i].len : 0;
    }
    return room;
}

void svq_rx_drain(SvqRx *rx, const char *what)
{
    SvqLane *l = &rx->lane;
    VdpaSimQueueCtl *ctl = &l->nic->sim->ctl[l->vq->index];
    gint64 start = 0;

    qatomic_set(&ctl->source_len_min, 64);
    qatomic_set(&ctl->source_len_max, 64);
    qatomic_set(&ctl->source_count, UINT64_MAX);
    vdpa_sim_wake(l->nic->sim);
    while (lane_room(l) >= hdr_len(l->nic) + 64) {
        if (svq_rx_take(rx)) {
            start = 0;
        } else {
            svq_wait(l->nic, &start, l->vq, what);
        }
    }
    qatomic_set(&ctl->source_count, 0);
    vdpa_sim_wake(l->nic->sim);
}

void svq_rx_untouched(SvqRx *rx)
{
    SvqLane *l = &rx->lane;
    size_t end = l->slot_size;
    unsigned n, i;

    for (n = 0; n < l->slots; n++) {
        SvqSlot *s = &l->slot[n];
        size_t pos = 0;

        if (!s->busy) {
            continue;
        }
        svq_read(l->nic, slot_addr(l, n), l->data, end);
        for (i = 0; i < s->pieces; i++) {
            check_poison(l, l->data + pos, s->piece[i].off - pos, s);
            pos = s->piece[i].off + s->piece[i].len;
        }
        check_poison(l, l->data + pos, end - pos, s);
    }
}

uint64_t svq_rx_missing(const SvqRx *rx)
{
    uint64_t sum = 0;
    unsigned i;

    for (i = 0; i < SVQ_STREAMS; i++) {
        sum += rx->stream[i].missing;
    }
    return sum;
}
