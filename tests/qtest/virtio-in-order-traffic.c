/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: packets through network cards, see virtio-in-order-traffic.h
 */

#include "qemu/osdep.h"
#include <sys/ioctl.h>
#include "qemu/bswap.h"
#include "virtio-in-order-traffic.h"

/* Where num_buffers is in struct virtio_net_hdr_v1 */
#define NET_HDR_NUM     10

#define PKT_MAX         (64 * KiB)
#define SLOT_SIZE       4096
#define TAIL_LEN        16

/* More packets than can be under way in rings and sockets */
#define RING            65536

/* Length of the packets that get stuck, so that they can be counted */
#define STUCK_LEN       1400

unsigned between(unsigned min, unsigned max)
{
    return min == max ? min : g_test_rand_int_range(min, max + 1);
}

void packet_fill(uint8_t *pkt, size_t len, uint32_t seq)
{
    uint32_t x = seq * 2654435761u + 12345;
    size_t i;

    memset(pkt, 0xff, 6);
    memcpy(pkt + 6, "\x52\x54\x00\x12\x34\xaa\x88\xb5", 8);
    for (i = 14; i < len; i++) {
        x = x * 1664525 + 1013904223;
        pkt[i] = x >> 24;
    }
    stl_le_p(pkt + 14, seq);
}

void packet_check(const uint8_t *pkt, size_t len, uint32_t seq,
                  size_t expected)
{
    g_autofree uint8_t *want = g_malloc(expected);

    g_assert_cmpuint(len, >=, 18);
    g_assert_cmpuint(ldl_le_p(pkt + 14), ==, seq);
    g_assert_cmpuint(len, ==, expected);
    packet_fill(want, expected, seq);
    g_assert_cmpmem(pkt, len, want, expected);
}

void flow_init(Flow *f, QVirtQueue *vq)
{
    f->vq = vq;
    f->slots = vq->size;
    f->mem = guest_alloc(&rig->alloc, (uint64_t)f->slots * SLOT_SIZE);
    f->ids = g_new0(uint32_t, f->slots);
    f->lens = g_new0(size_t, f->slots);
    f->tables = g_new0(QVRingIndirectDesc *, f->slots);
    f->added = f->taken = 0;
}

static void flow_free_table(Flow *f, unsigned slot)
{
    if (f->tables[slot]) {
        guest_free(&rig->alloc, f->tables[slot]->desc);
        g_free(f->tables[slot]);
        f->tables[slot] = NULL;
    }
}

void flow_cleanup(Flow *f)
{
    unsigned i;

    for (i = 0; i < f->slots; i++) {
        flow_free_table(f, i);
    }
    g_free(f->ids);
    g_free(f->lens);
    g_free(f->tables);
}

static uint8_t *flow_slot(Flow *f, uint32_t number)
{
    return guest(f->mem + (number % f->slots) * SLOT_SIZE, SLOT_SIZE);
}

/*
 * Add a buffer of @len bytes in @pieces descriptors; not yet published.
 * @tail: one more descriptor, which the device may write
 */
static void flow_add(Flow *f, size_t len, unsigned pieces, bool indirect,
                     bool write, bool tail)
{
    QTestState *qts = rig->qts;
    unsigned slot = f->added % f->slots;
    uint64_t addr = f->mem + slot * SLOT_SIZE;
    QVRingIndirectDesc *table = NULL;
    unsigned i;

    g_assert_cmpuint(len + (tail ? TAIL_LEN : 0), <=, SLOT_SIZE);
    g_assert_cmpuint(pieces, <=, len);
    g_assert_cmpuint(f->added - f->taken, <, f->slots);
    f->lens[slot] = len;
    flow_free_table(f, slot);
    if (indirect) {
        table = qvring_indirect_desc_setup(qts, f->vq->vdev, &rig->alloc,
                                           pieces + tail);
        f->tables[slot] = table;
    }

    for (i = 0; i < pieces; i++) {
        unsigned rest = pieces - i - 1;
        size_t part = rest ? between(1, MAX(1, 2 * (len - rest) / (rest + 1)))
                           : len;

        part = MIN(part, len - rest);
        if (table) {
            qvring_indirect_desc_add(f->vq->vdev, qts, table, addr, part,
                                     write);
        } else {
            f->ids[slot] = qvirtqueue_add(qts, f->vq, addr, part, write,
                                          rest || tail);
        }
        addr += part;
        len -= part;
    }
    if (tail && table) {
        qvring_indirect_desc_add(f->vq->vdev, qts, table, addr, TAIL_LEN,
                                 true);
    } else if (tail) {
        qvirtqueue_add(qts, f->vq, addr, TAIL_LEN, true, false);
    }
    if (table) {
        f->ids[slot] = qvirtqueue_add_indirect(qts, f->vq, table);
    }
    f->added++;
}

void flow_go(Flow *f)
{
    qvring_publish(rig->qts, f->vq, f->ids[(f->added - 1) % f->slots]);
    qvring_notify(rig->qts, f->vq);
}

bool flow_take(Flow *f, uint32_t *len)
{
    uint32_t id;

    if (!qvring_get(rig->qts, f->vq, &id, len)) {
        return false;
    }
    g_assert_cmpuint(f->taken, <, f->added);
    g_assert_cmpuint(id, ==, f->ids[f->taken % f->slots]);
    f->taken++;
    return true;
}

static unsigned traffic_pieces(const Traffic *t, bool *indirect)
{
    *indirect = t->indirect && between(1, 100) <= t->indirect;
    return between(t->chain_min, t->chain_max);
}

/* TX */

void sender_init(Sender *s, Dev *dev, QVirtQueue *tx)
{
    memset(s, 0, sizeof(*s));
    flow_init(&s->flow, tx);
    s->peer = dev_peer(dev);
    s->len = g_new0(size_t, RING);
}

void sender_cleanup(Sender *s)
{
    flow_cleanup(&s->flow);
    g_free(s->len);
}

/* Put packet number flow.added into the ring */
static void sender_add_tail(Sender *s, size_t len, unsigned pieces,
                            bool indirect, bool tail)
{
    uint8_t *slot = flow_slot(&s->flow, s->flow.added);

    s->len[s->flow.added % RING] = len;
    memset(slot, 0, NET_HDR_LEN);
    packet_fill(slot + NET_HDR_LEN, len, s->flow.added);
    flow_add(&s->flow, NET_HDR_LEN + len, pieces, indirect, false, tail);
}

void sender_add(Sender *s, size_t len, unsigned pieces, bool indirect)
{
    sender_add_tail(s, len, pieces, indirect, false);
}

bool sender_reap(Sender *s)
{
    bool any = false;
    uint32_t len;

    while (flow_take(&s->flow, &len)) {
        g_assert_cmpuint(len, ==, 0);
        any = true;
    }
    return any;
}

bool sender_check(Sender *s)
{
    const uint8_t *pkt;
    bool any = false;
    size_t len;

    while ((pkt = peer_recv(s->peer, &len))) {
        packet_check(pkt, len, s->received, s->len[s->received % RING]);
        s->received++;
        any = true;
    }
    return any;
}

void sender_finish(Sender *s, const char *what)
{
    gint64 start = 0;

    while (s->received < s->flow.added || s->flow.taken < s->flow.added) {
        bool any = sender_reap(s);

        if (sender_check(s) || any) {
            start = 0;
        } else {
            wait_a_little(&start, s->flow.vq, what);
        }
    }
    qvring_check_idle(rig->qts, s->flow.vq);
}

void sender_run(Sender *s, const Traffic *t, const char *what)
{
    QVirtQueue *vq = s->flow.vq;
    uint32_t end = s->flow.added + t->count;
    unsigned pieces;
    bool indirect, tail;
    gint64 start = 0;

    pieces = traffic_pieces(t, &indirect);
    tail = between(1, 100) <= t->tail;
    while (s->flow.taken < end) {
        unsigned n = 0;
        bool any;

        while (s->flow.added < end && (!t->burst || n < t->burst) &&
               vq->num_free >= (indirect ? 1 : pieces + tail)) {
            sender_add_tail(s, between(t->len_min, t->len_max), pieces,
                            indirect, tail);
            pieces = traffic_pieces(t, &indirect);
            tail = between(1, 100) <= t->tail;
            n++;
        }
        if (n) {
            flow_go(&s->flow);
        }
        any = sender_reap(s);
        if (sender_check(s) || any || n) {
            start = 0;
        } else {
            wait_a_little(&start, vq, what);
        }
    }
    sender_finish(s, what);
}

void sender_all_back(Sender *s, const char *what)
{
    gint64 start = 0;

    while (s->flow.taken < s->flow.added) {
        if (!sender_reap(s)) {
            wait_a_little(&start, s->flow.vq, what);
        }
    }
    qvring_check_idle(rig->qts, s->flow.vq);
}

void sender_skip(Sender *s)
{
    sender_check(s);
    s->received = s->flow.added;
}

unsigned settle(Sender *s)
{
    unsigned idle = 0;

    while (idle < 8) {
        /* A round trip through QEMU's main loop */
        qtest_clock_step(rig->qts, 0);
        idle = sender_reap(s) ? 0 : idle + 1;
        g_usleep(100);
    }
    return qvring_in_flight(s->flow.vq);
}

void fill_until_stuck(Sender *s)
{
    do {
        while (s->flow.vq->num_free) {
            unsigned pieces = MIN(between(1, 3), s->flow.vq->num_free);

            sender_add(s, STUCK_LEN, pieces, false);
        }
        flow_go(&s->flow);
        settle(s);
    } while (s->flow.vq->num_free);
    g_assert_cmpuint(qvring_in_flight(s->flow.vq), >, 0);
}

void sender_check_stuck(Sender *s)
{
    gint64 start = 0;
    int bytes;

    for (;;) {
        sender_reap(s);
        g_assert_cmpint(ioctl(s->peer->fd, FIONREAD, &bytes), ==, 0);
        if (s->flow.taken - s->received == bytes / (4 + STUCK_LEN)) {
            return;
        }
        wait_a_little(&start, s->flow.vq, "what was sent has to come back");
    }
}

void tx_traffic(unsigned size, const Traffic *t, uint64_t without,
                const char *what)
{
    QVirtQueue *rx, *tx;
    Sender s;
    Dev *dev;

    net_start(DEV_NET, without, 0, size, &dev, &rx, &tx);
    sender_init(&s, dev, tx);
    sender_run(&s, t, what);
    net_stop(dev, rx, tx);
    sender_cleanup(&s);
}

/* RX */

void receiver_init(Receiver *r, Dev *dev, QVirtQueue *rx)
{
    memset(r, 0, sizeof(*r));
    flow_init(&r->flow, rx);
    r->peer = dev_peer(dev);
    r->pkt = g_malloc(2 * PKT_MAX);
    r->len = g_new0(size_t, RING);
}

void receiver_cleanup(Receiver *r)
{
    flow_cleanup(&r->flow);
    g_free(r->pkt);
    g_free(r->len);
}

void receiver_add(Receiver *r, size_t len, unsigned pieces,
                  bool indirect)
{
    memset(flow_slot(&r->flow, r->flow.added), POISON, SLOT_SIZE);
    flow_add(&r->flow, len, pieces, indirect, true, false);
}

bool receiver_send(Receiver *r, size_t len)
{
    if (!r->pending) {
        r->len[r->sent % RING] = len;
        packet_fill(r->pkt, len, r->sent);
    }
    r->pending = !peer_send(r->peer, r->pkt, r->len[r->sent % RING]);
    r->sent += !r->pending;
    return !r->pending;
}

bool receiver_take(Receiver *r)
{
    size_t left = NET_HDR_LEN + r->len[r->received % RING];
    uint8_t *pkt = r->pkt + PKT_MAX;
    size_t got = 0;
    unsigned want = 0, i;
    uint32_t n, len;

    if (r->received == r->sent) {
        g_assert_false(qvring_get(rig->qts, r->flow.vq, NULL, NULL));
        return false;
    }
    for (n = r->flow.taken; left > got; n++, want++) {
        got += r->flow.lens[n % r->flow.slots];
    }

    for (i = 0; i < want; i++) {
        uint32_t number = r->flow.taken;
        uint8_t *slot = flow_slot(&r->flow, number);
        size_t room = r->flow.lens[number % r->flow.slots];

        if (!flow_take(&r->flow, &len)) {
            g_assert_cmpuint(i, ==, 0);
            return false;
        }
        if (i == 0) {
            g_assert_cmpuint(lduw_le_p(slot + NET_HDR_NUM), ==, want);
            got = 0;
        }
        g_assert_cmpuint(len, ==, MIN(room, left));
        memcpy(pkt + got, slot, len);
        got += len;
        left -= len;
        g_assert_cmpint(slot[len % SLOT_SIZE] == POISON || len == SLOT_SIZE,
                        ==, true);
    }
    packet_check(pkt + NET_HDR_LEN, got - NET_HDR_LEN, r->received,
                 r->len[r->received % RING]);
    r->received++;
    return true;
}

void receiver_run(Receiver *r, const Traffic *t, const char *what)
{
    QVirtQueue *vq = r->flow.vq;
    uint32_t end = r->sent + t->count;
    unsigned pieces;
    bool indirect;
    gint64 start = 0;

    pieces = traffic_pieces(t, &indirect);
    while (r->received < end) {
        unsigned n = 0;
        bool any = false;

        while ((!t->burst || n < t->burst) &&
               vq->num_free >= (indirect ? 1 : pieces)) {
            receiver_add(r, between(t->buf_min, t->buf_max), pieces,
                         indirect);
            pieces = traffic_pieces(t, &indirect);
            n++;
        }
        if (n) {
            flow_go(&r->flow);
        }
        while (r->sent < end && r->sent - r->received < vq->size &&
               receiver_send(r, between(t->len_min, t->len_max))) {
            any = true;
        }
        while (receiver_take(r)) {
            any = true;
        }
        if (any || n) {
            start = 0;
        } else {
            wait_a_little(&start, vq, what);
        }
    }
}

void rx_traffic(unsigned size, const Traffic *t, uint64_t without,
                const char *what)
{
    QVirtQueue *rx, *tx;
    Receiver r;
    Dev *dev;

    net_start(DEV_NET, without, size, 0, &dev, &rx, &tx);
    receiver_init(&r, dev, rx);
    receiver_run(&r, t, what);
    net_stop(dev, rx, tx);
    receiver_cleanup(&r);
}
