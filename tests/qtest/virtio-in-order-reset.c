/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: what must not outlast a reset of a device or of a queue, buffers in
 * flight and the nonsense of a driver that breaks the rules
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/bswap.h"
#include "virtio-in-order-cases.h"
#include "virtio-in-order-requests.h"
#include "virtio-in-order-traffic.h"
#include "qapi/qmp/qdict.h"
#include "standard-headers/linux/virtio_blk.h"
#include "standard-headers/linux/virtio_pci.h"

/* What the device must not touch any more */
typedef struct Snapshot {
    uint64_t addr;
    uint64_t len;
    void *copy;
} Snapshot;

static void snapshot_take(Snapshot *s, uint64_t addr, uint64_t len)
{
    s->addr = addr;
    s->len = len;
    s->copy = g_memdup2(guest(addr, len), len);
}

static void snapshot_check(Snapshot *s, const char *what)
{
    const uint8_t *now = guest(s->addr, s->len), *then = s->copy;
    uint64_t i;

    for (i = 0; i < s->len; i++) {
        if (now[i] != then[i]) {
            g_autofree char *msg =
                g_strdup_printf("%s: the device wrote to offset 0x%" PRIx64
                                " of a ring that it has given up", what, i);

            g_assertion_message(G_LOG_DOMAIN, __FILE__, __LINE__, G_STRFUNC,
                                msg);
        }
    }
    g_free(s->copy);
}

static uint64_t queue_bytes(QVirtQueue *vq)
{
    return qvring_size(vq->size, vq->align);
}

/*
 * Device reset with everything in flight: receive buffers posted, packets
 * being sent.  If this fails, the device goes on writing to rings that it has
 * given up, or something of the time before the reset gets into the way of a
 * driver that starts anew (an entry for a buffer that it never made available,
 * an order that cannot be kept, a stall).
 */
void test_reset(const void *data)
{
    Traffic t = {
        .count = 1000, .chain_min = 1, .chain_max = 4,
        .len_min = PKT_MIN, .len_max = 300, .buf_min = 512, .buf_max = 512,
    };
    unsigned round, i;

    if (!can_run(data)) {
        return;
    }
    rig_get(data);
    for (round = 0; round < 3; round++) {
        QVirtQueue *rx, *tx;
        Snapshot rx_mem, tx_mem;
        Receiver r;
        Sender s;
        Dev *dev;

        net_start(DEV_DGRAM, NO_EVENT_IDX, 0, round == 1 ? 4 : 0, &dev, &rx,
                  &tx);
        sender_init(&s, dev, tx);
        receiver_init(&r, dev, rx);
        while (rx->num_free) {
            receiver_add(&r, 512, MIN(between(1, 3), rx->num_free), false);
        }
        flow_go(&r.flow);
        /* Some packets arrive; nobody looks at the used entries */
        receiver_send(&r, 100);
        receiver_send(&r, 1000);
        main_loop_rounds();
        r.received = r.sent;
        if (round < 2) {
            fill_until_stuck(&s);
        } else {
            /* Kicked, and reset before QEMU can do anything about it */
            while (tx->num_free) {
                sender_add(&s, 100, 1, false);
            }
            flow_go(&s.flow);
        }

        qvirtio_reset(dev->vdev);
        snapshot_take(&rx_mem, rx->desc, queue_bytes(rx));
        snapshot_take(&tx_mem, tx->desc, queue_bytes(tx));
        receiver_send(&r, 500);
        peer_flush(s.peer);
        snapshot_check(&rx_mem, "after reset");
        snapshot_check(&tx_mem, "after reset");
        queue_free(dev, rx);
        queue_free(dev, tx);
        sender_cleanup(&s);
        flow_cleanup(&r.flow);

        net_start(DEV_DGRAM, NO_EVENT_IDX, 0, 0, &dev, &rx, &tx);
        sender_init(&s, dev, tx);
        sender_run(&s, &t, "sending after reset");
        /* Packets that came while it was down may arrive, or may not */
        flow_init(&r.flow, rx);
        for (i = 0; i < 4; i++) {
            receiver_add(&r, 2048, 1, false);
        }
        flow_go(&r.flow);
        main_loop_rounds();
        while (flow_take(&r.flow, NULL)) {
            /* its number is not known */
        }
        r.received = r.sent;
        while (r.flow.taken < r.flow.added) {
            receiver_send(&r, 100);
            main_loop_rounds();
            g_assert_true(receiver_take(&r));
        }
        receiver_run(&r, &t, "receiving after reset");
        net_stop(dev, rx, tx);
        sender_cleanup(&s);
        receiver_cleanup(&r);
    }
}

/*
 * Queue reset (VIRTIO_F_RING_RESET) with buffers in flight, one queue at a
 * time while the other works on.  If this fails, see test_reset().
 */
void test_queue_reset(const void *data)
{
    Traffic t = {
        .count = 1000, .chain_min = 1, .chain_max = 4,
        .len_min = PKT_MIN, .len_max = 300, .buf_min = 512, .buf_max = 512,
    };
    QVirtQueue *rx, *tx;
    Snapshot mem;
    Receiver r;
    Sender s;
    unsigned round, i;
    Dev *dev;

    if (!can_run(data) || base_lacks("queue reset aborts QEMU")) {
        return;
    }
    rig_get(data);
    net_start(DEV_DGRAM, NO_EVENT_IDX, 0, 0, &dev, &rx, &tx);
    g_assert_cmphex(dev->vdev->features & BIT_ULL(VIRTIO_F_RING_RESET), !=, 0);
    receiver_init(&r, dev, rx);

    for (round = 0; round < 4; round++) {
        sender_init(&s, dev, tx);
        if (round & 1) {
            fill_until_stuck(&s);
        } else {
            for (i = 0; i < 5; i++) {
                sender_add(&s, 100, 2, false);
            }
            flow_go(&s.flow);
        }
        queue_reset(dev, tx);
        snapshot_take(&mem, tx->desc, queue_bytes(tx));
        peer_flush(s.peer);
        snapshot_check(&mem, "after reset of the TX queue");
        sender_cleanup(&s);
        queue_free(dev, tx);

        receiver_run(&r, &t, "receiving without the TX queue");

        tx = queue_setup(dev, 1, round == 2 ? 4 : 0);
        sender_init(&s, dev, tx);
        sender_run(&s, &t, "sending after queue reset");

        while (rx->num_free) {
            receiver_add(&r, 600, 1, false);
        }
        flow_go(&r.flow);
        queue_reset(dev, rx);
        snapshot_take(&mem, rx->desc, queue_bytes(rx));
        receiver_send(&r, 100);
        receiver_send(&r, 1000);
        main_loop_rounds();
        snapshot_check(&mem, "after reset of the RX queue");
        flow_cleanup(&r.flow);
        queue_free(dev, rx);

        sender_run(&s, &t, "sending without the RX queue");
        sender_cleanup(&s);

        /* The packets that came while there was no queue come first */
        rx = queue_setup(dev, 0, round == 2 ? 16 : 0);
        flow_init(&r.flow, rx);
        receiver_run(&r, &t, "receiving after queue reset");
    }
    net_stop(dev, rx, tx);
    receiver_cleanup(&r);
}

static void assert_alive(QTestState *qts)
{
    QDict *rsp = qtest_qmp(qts, "{'execute': 'query-status'}");

    g_assert_true(qdict_haskey(rsp, "return"));
    qobject_unref(rsp);
}

typedef enum BadDriver {
    BAD_REPEAT,         /* the same head or id again and again */
    BAD_BACKWARDS,      /* against the order of the ring */
    BAD_BEYOND,         /* heads or ids that are larger than the ring */
    BAD_LOOP,           /* a chain without an end */
    BAD_JUMP,           /* any order, and an index beyond the ring */
    BAD_COUNT
} BadDriver;

#define BAD_SIZE        16

/*
 * Make all descriptors of a ring of BAD_SIZE available in a bad way; they are
 * filled in, but libqos, which would put it right, has not published them.
 */
static void bad_publish(const Mode *mode, QVirtQueue *vq, BadDriver bad)
{
    uint8_t *desc = guest(vq->desc, 16 * BAD_SIZE);
    uint8_t *avail = guest(vq->avail, 4);
    unsigned i;

    for (i = 0; i < BAD_SIZE; i++, desc += 16) {
        const uint16_t ids[BAD_COUNT] = {
            [BAD_REPEAT] = 7,
            [BAD_BACKWARDS] = BAD_SIZE - 1 - i,
            [BAD_BEYOND] = 100 + i,
            [BAD_LOOP] = i,
            [BAD_JUMP] = i * 5 % BAD_SIZE,
        };

        if (mode->packed) {
            stw_le_p(desc + 12, ids[bad]);
            stw_le_p(desc + 14, (bad == BAD_LOOP ? VRING_DESC_F_NEXT : 0) |
                     1u << VRING_PACKED_DESC_F_AVAIL);
            continue;
        }
        stw_le_p(guest(vq->avail + 4 + 2 * i, 2), ids[bad]);
        if (bad == BAD_LOOP) {
            stw_le_p(desc + 12, VRING_DESC_F_NEXT);
            stw_le_p(desc + 14, (i + 1) % BAD_SIZE);
        }
    }
    if (!mode->packed) {
        /* Entries before the index */
        smp_wmb();
        stw_le_p(avail + 2, bad == BAD_JUMP ? 300 : BAD_SIZE);
    }
}

/*
 * Requests that are in flight under an id that others have, too: repeated in
 * the available ring (split), or all with the same id (packed).
 */
static void bad_disk_driver(const Mode *mode)
{
    enum { COUNT = 6, REPEATED = 3 };
    Request reqs[COUNT] = { 0 };
    bool bad;

    for (bad = true; ; bad = false) {
        QVirtQueue *vq;
        unsigned i;
        Dev *dev;

        dev = dev_start(DEV_SLOW, NO_EVENT_IDX);
        vq = queue_setup(dev, 0, 64);
        qvirtio_set_driver_ok(dev->vdev);
        for (i = 0; i < COUNT; i++) {
            request_init(&reqs[i], SECTOR);
            request_add(&reqs[i], vq, VIRTIO_BLK_T_IN, i * 100, SECTOR, 1,
                        false);
            if (bad && mode->packed) {
                stw_le_p(guest(vq->desc + 16 * (3 * i + 2) + 12, 2), 5);
            }
        }
        qvring_publish(rig->qts, vq, reqs[COUNT - 1].id);
        if (!bad) {
            qvring_notify(rig->qts, vq);
            requests_finish(reqs, COUNT, vq, "after a bad driver");
            qvirtio_reset(dev->vdev);
            queue_free(dev, vq);
            break;
        }

        if (!mode->packed) {
            for (i = 0; i < REPEATED; i++) {
                stw_le_p(guest(vq->avail + 4 + 2 * (COUNT + i), 2),
                         reqs[COUNT - 1 - i].id);
            }
            /* Entries before the index */
            smp_wmb();
            stw_le_p(guest(vq->avail + 2, 2), COUNT + REPEATED);
        }
        dev->vdev->bus->virtqueue_kick(dev->vdev, vq);
        main_loop_rounds();
        assert_alive(rig->qts);
        for (i = 0; i < 25; i++) {
            qtest_clock_step(rig->qts, 50 * 1000 * 1000);
        }
        assert_alive(rig->qts);
        qvirtio_reset(dev->vdev);
        queue_free(dev, vq);
    }
}

/*
 * A driver that breaks the rules.  It may get nonsense back, or a device that
 * needs a reset, but if this fails, a guest can bring QEMU down or make the
 * device unusable beyond a reset.
 */
void test_bad_driver(const void *data)
{
    Traffic t = {
        .count = 300, .chain_min = 1, .chain_max = 2,
        .len_min = PKT_MIN, .len_max = 300,
    };
    const Mode *mode = data;
    BadDriver bad;

    if (!can_run(mode)) {
        return;
    }
    rig_get(mode);
    for (bad = 0; bad < BAD_COUNT; bad++) {
        QVirtQueue *rx, *tx;
        unsigned i;
        Sender s;
        Dev *dev;

        net_start(DEV_DGRAM, NO_EVENT_IDX, 0, BAD_SIZE, &dev, &rx, &tx);
        sender_init(&s, dev, tx);
        for (i = 0; i < BAD_SIZE; i++) {
            sender_add(&s, 100, 1, false);
        }
        /* Ten packets fill the socket, so that some stay in flight */
        bad_publish(mode, tx, bad);
        dev->vdev->bus->virtqueue_kick(dev->vdev, tx);
        main_loop_rounds();
        assert_alive(rig->qts);
        peer_flush(s.peer);
        dev->vdev->bus->virtqueue_kick(dev->vdev, tx);
        main_loop_rounds();
        peer_flush(s.peer);
        assert_alive(rig->qts);

        net_stop(dev, rx, tx);
        sender_cleanup(&s);
        net_start(DEV_DGRAM, NO_EVENT_IDX, 0, 16, &dev, &rx, &tx);
        sender_init(&s, dev, tx);
        sender_run(&s, &t, "after a bad driver");
        net_stop(dev, rx, tx);
        sender_cleanup(&s);
    }
    bad_disk_driver(mode);
}
