/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: virtqueues of both layouts, with and without VIRTIO_F_IN_ORDER
 *
 * The test is the driver.  Rings and buffers are in memory that it shares
 * with QEMU, so it can move enough of them to wrap every index; packets and
 * sectors are compared with what went in at the other end.  The driver
 * (libqos/virtio-ring.c) stops at the first used element that the
 * specification does not allow, so each case says only what it adds.
 *
 * This file has the list of all cases, and those of network cards; for the
 * others see virtio-in-order-cases.h.
 *
 * With VIRTIO_IN_ORDER_TEST_BASE=1 in the environment the test accepts a QEMU
 * without the property in_order: cases that need it, or a fix that such a
 * QEMU lacks, are skipped.
 */

#include "qemu/osdep.h"
#include "virtio-in-order-cases.h"
#include "virtio-in-order-traffic.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qmp/qlist.h"
#include "standard-headers/linux/virtio_net.h"

/* Sizes of rings: split ones are powers of two (2.7) */
static const unsigned small_sizes[] = { 1, 2, 4, 256 };
static const unsigned packed_sizes[] = { 3, 100 };
#define RX_ONLY_SIZE    641     /* QEMU limits the TX ring to 256 here */

typedef void (*SizeFn)(unsigned size, bool tx);

static void for_each_size(SizeFn fn)
{
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(small_sizes); i++) {
        fn(small_sizes[i], true);
    }
    if (rig->mode->packed) {
        for (i = 0; i < ARRAY_SIZE(packed_sizes); i++) {
            fn(packed_sizes[i], true);
        }
        fn(RX_ONLY_SIZE, false);
    }
}

/*
 * Ring sizes.  If this fails, a ring of that size stalls, loses buffers, or
 * goes astray at its end: QEMU counts with the wrong modulus, or takes a full
 * ring for an empty one.
 */
static void ring_size_one(unsigned size, bool tx)
{
    Traffic t = {
        .count = 5 * size + 50, .chain_min = 1, .chain_max = 1,
        .len_min = PKT_MIN, .len_max = 300,
        .buf_min = 512, .buf_max = 512,
    };
    g_autofree char *what = g_strdup_printf("ring of %u", size);

    if (tx) {
        tx_traffic(size, &t, NO_EVENT_IDX, what);
    }
    rx_traffic(size, &t, NO_EVENT_IDX, what);
}

static void test_ring_size(const void *data)
{
    if (can_run(data)) {
        rig_get(data);
        for_each_size(ring_size_one);
    }
}

/*
 * The whole ring in flight.  If this fails, QEMU does not get along with a
 * driver that fills every descriptor before it kicks, or with one that gives
 * all of them back at once.
 */
static void whole_ring_one(unsigned size, bool with_tx)
{
    g_autofree char *what = g_strdup_printf("all %u in flight", size);
    QVirtQueue *rx, *tx;
    Dev *dev;
    Sender s;
    Receiver r;
    unsigned round, i;

    net_start(DEV_NET, NO_EVENT_IDX, size, with_tx ? size : 0, &dev, &rx,
              &tx);
    sender_init(&s, dev, tx);
    receiver_init(&r, dev, rx);
    for (round = 0; round < 3; round++) {
        gint64 start = 0;

        for (i = 0; with_tx && i < size; i++) {
            sender_add(&s, 100 + i, 1, false);
        }
        if (with_tx) {
            g_assert_cmpuint(tx->num_free, ==, 0);
            flow_go(&s.flow);
            sender_finish(&s, what);
        }

        for (i = 0; i < size; i++) {
            receiver_add(&r, 512, 1, false);
        }
        g_assert_cmpuint(rx->num_free, ==, 0);
        flow_go(&r.flow);
        for (i = 0; i < size; i++) {
            while (!receiver_send(&r, 100 + i % 300)) {
                wait_a_little(&start, rx, what);
            }
        }
        while (qvring_in_flight(rx)) {
            if (!receiver_take(&r)) {
                wait_a_little(&start, rx, what);
            }
        }
        while (receiver_take(&r)) {
            /* those read from the ring already */
        }
        g_assert_cmpuint(r.received, ==, r.sent);
        qvring_check_idle(rig->qts, rx);
    }
    net_stop(dev, rx, tx);
    sender_cleanup(&s);
    receiver_cleanup(&r);
}

static void test_whole_ring(const void *data)
{
    if (can_run(data)) {
        rig_get(data);
        for_each_size(whole_ring_one);
    }
}

/*
 * A chain as long as the ring, direct and as an indirect table.  If this
 * fails, the ring stalls for good with the first packet of many fragments.
 */
static void long_chain_one(unsigned size, bool with_tx)
{
    Traffic t = {
        .count = 5, .chain_min = size, .chain_max = size,
        .len_min = MAX(PKT_MIN, size), .len_max = MAX(PKT_MIN, size) + 400,
        .buf_min = 2048, .buf_max = 2048,
    };
    g_autofree char *what = g_strdup_printf("chain of %u of %u", size, size);

    if (with_tx) {
        tx_traffic(size, &t, NO_EVENT_IDX, what);
    }
    rx_traffic(size, &t, NO_EVENT_IDX, what);
    t.indirect = 100;
    t.count = MIN(2 * size, 20);
    if (with_tx) {
        tx_traffic(size, &t, NO_EVENT_IDX, what);
    }
    rx_traffic(size, &t, NO_EVENT_IDX, what);
}

static void test_long_chain(const void *data)
{
    if (can_run(data)) {
        rig_get(data);
        for_each_size(long_chain_one);
    }
}

/*
 * More than 65536 buffers, chains of different length, kicks of different
 * size, with the event indexes as real drivers have them.  If this fails, an
 * index of 16 bits or a wrap counter goes wrong somewhere in the long run, or
 * buffers and ids are mixed up when chains do not all have the same length.
 */
static void wrap_one(unsigned size, bool with_tx)
{
    Traffic t = {
        .count = 70000, .chain_min = 1, .chain_max = MIN(size, 5),
        .len_min = PKT_MIN, .len_max = 120,
        .buf_min = 100, .buf_max = 250,
    };
    g_autofree char *what = g_strdup_printf("long run, ring of %u", size);

    if (size < 100) {
        t.count = size == 3 || size == 4 ? 22000 : 2000;
    }
    if (with_tx) {
        tx_traffic(size, &t, 0, what);
    }
    if (size < 10) {
        /* One chain may take the whole ring, so a packet has to fit in it */
        t.buf_min = 150;
    }
    rx_traffic(size, &t, 0, what);
}

static void test_wrap(const void *data)
{
    if (can_run(data)) {
        rig_get(data);
        for_each_size(wrap_one);
    }
}

/*
 * Random mixtures, indirect tables among them, few buffers for each kick.
 * Some of the buffers to send have a piece that the device may write, which
 * the network card lets be: between the others, they end a batch.  If this
 * fails, a state that the orderly cases do not reach is wrong.
 */
static void test_mixed(const void *data)
{
    static const unsigned sizes[] = { 4, 16, 256 };
    unsigned i;

    if (!can_run(data)) {
        return;
    }
    rig_get(data);
    for (i = 0; i < ARRAY_SIZE(sizes); i++) {
        Traffic t = {
            .count = 3000, .chain_min = 1, .chain_max = MIN(sizes[i] - 1, 5),
            .indirect = 20, .tail = 20, .len_min = PKT_MIN, .len_max = 600,
            .buf_min = 300, .buf_max = 700, .burst = 1 + sizes[i] / 3,
        };

        tx_traffic(sizes[i], &t, NO_EVENT_IDX, "mixed");
        if (sizes[i] < 10) {
            t.buf_min = 650;
        }
        rx_traffic(sizes[i], &t, NO_EVENT_IDX, "mixed");
    }
}

/*
 * A packet over several mergeable buffers, up to all that the ring has.  If
 * this fails, num_buffers or the length of a buffer is wrong (a batch must
 * not swallow it), the packet becomes visible piece by piece, or a packet that
 * needs the whole ring never arrives.
 */
static void mergeable_one(unsigned size, bool with_tx)
{
    g_autofree char *what = g_strdup_printf("mergeable, ring of %u", size);
    /* Numbers of buffers; the last is the whole ring, in 64 KiB at most */
    const unsigned uses[] = { 1, 2, 3, 5, 7, 60, size };
    const size_t bufs = size > 256 ? 64 : 128;
    QVirtQueue *rx, *tx;
    unsigned round, i;
    Receiver r;
    Dev *dev;

    net_start(DEV_NET, NO_EVENT_IDX, size, 0, &dev, &rx, &tx);
    receiver_init(&r, dev, rx);
    for (i = 0; i < ARRAY_SIZE(uses); i++) {
        size_t full = uses[i] * bufs - NET_HDR_LEN;

        for (round = 0; uses[i] <= size && round < 4; round++) {
            gint64 start = 0;

            while (rx->num_free) {
                receiver_add(&r, bufs, 1, false);
            }
            flow_go(&r.flow);
            /* Filled to the last byte, then one byte less */
            receiver_send(&r, full - (round & 1));
            while (!receiver_take(&r)) {
                wait_a_little(&start, rx, what);
            }
        }
    }
    net_stop(dev, rx, tx);
    receiver_cleanup(&r);
}

static void test_mergeable(const void *data)
{
    if (can_run(data)) {
        rig_get(data);
        for_each_size(mergeable_one);
    }
}

/*
 * Sending that has to wait: nobody reads the peer's socket until QEMU has
 * come to a halt.  If this fails, a packet is lost or doubled when the sending
 * goes on, buffers that came before the waiting one are kept back although
 * they are done, or the ones behind it come back too early.
 */
static void test_async(const void *data)
{
    static const DevId ids[] = { DEV_NET, DEV_DGRAM };
    static const unsigned sizes[] = { 4, 256 };
    unsigned i, j, round;

    if (!can_run(data)) {
        return;
    }
    rig_get(data);
    for (i = 0; i < 2 * ARRAY_SIZE(ids); i++) {
        DevId id = ids[i / 2];

        if (rig->mode->packed && base_qemu() && !(i & 1)) {
            g_test_message("packed with EVENT_IDX left out: such a QEMU "
                           "misses kicks");
            continue;
        }
        for (j = 0; j < ARRAY_SIZE(sizes); j++) {
            QVirtQueue *rx, *tx;
            Sender s;
            Dev *dev;

            net_start(id, i & 1 ? NO_EVENT_IDX : 0, 0, sizes[j], &dev,
                      &rx, &tx);
            sender_init(&s, dev, tx);
            for (round = 0; round < 3; round++) {
                fill_until_stuck(&s);
                if (id == DEV_NET) {
                    sender_check_stuck(&s);
                }
                if (!base_qemu()) {
                    g_assert_cmpuint(queue_stat(dev_name(id), 1,
                                                "held-back"), ==, 0);
                }
                sender_finish(&s, "async");
            }
            g_assert_cmpuint(s.received, ==, s.flow.added);
            net_stop(dev, rx, tx);
            sender_cleanup(&s);
        }
    }
}

/*
 * Link down and up.  If this fails, buffers that are queued when the link
 * goes down are never returned, and the driver waits for them for good; or
 * they overtake the one that is still being sent.
 */
static void test_link(const void *data)
{
    static const unsigned sizes[] = { 1, 4, 256 };
    const Mode *mode = data;
    Traffic t = {
        .count = 100, .chain_min = 1, .chain_max = 1,
        .len_min = PKT_MIN, .len_max = 300, .buf_min = 512, .buf_max = 512,
    };
    unsigned i;

    if (!can_run(mode) ||
        (mode->packed && base_lacks("packed rings lose buffers when the link "
                                    "goes down"))) {
        return;
    }
    rig_get(mode);
    for (i = 0; i < 2 * ARRAY_SIZE(sizes); i++) {
        unsigned size = sizes[i / 2];
        QVirtQueue *rx, *tx;
        Receiver r;
        Sender s;
        Dev *dev;

        net_start(DEV_NET, i & 1 ? NO_EVENT_IDX : 0, 0, size, &dev, &rx, &tx);
        sender_init(&s, dev, tx);

        /* Down before the kick: nothing is sent */
        set_link("net0", false);
        while (tx->num_free) {
            sender_add(&s, 200, MIN(between(1, 4), tx->num_free), false);
        }
        flow_go(&s.flow);
        sender_all_back(&s, "link is down");
        sender_skip(&s);
        set_link("net0", true);
        sender_run(&s, &t, "link is up again");

        /* Down while one is being sent and others queue up behind it */
        fill_until_stuck(&s);
        set_link("net0", false);
        settle(&s);
        while (sender_check(&s)) {
            settle(&s);
        }
        sender_all_back(&s, "link went down");
        set_link("net0", true);
        sender_skip(&s);
        sender_run(&s, &t, "link is up once more");

        /* Down with receive buffers in the ring: they stay usable */
        receiver_init(&r, dev, rx);
        set_link("net0", false);
        receiver_add(&r, 512, 1, false);
        flow_go(&r.flow);
        set_link("net0", true);
        receiver_run(&r, &t, "receive after link down");
        receiver_cleanup(&r);

        net_stop(dev, rx, tx);
        sender_cleanup(&s);
    }
}

static bool rx_filter_promisc(void)
{
    QDict *rsp = qtest_qmp(rig->qts, "{'execute': 'query-rx-filter', "
                           "'arguments': {'name': 'net0'}}");
    QDict *filter = qobject_to(QDict,
                               qlist_peek(qdict_get_qlist(rsp, "return")));
    bool on = qdict_get_bool(filter, "promiscuous");

    qobject_unref(rsp);
    return on;
}

/*
 * The control queue: buffers with a readable and a writable part, one command
 * or many at once.  If this fails, an acknowledgement is lost in a batch, or a
 * command is carried out twice or not at all.
 */
static void test_ctrl(const void *data)
{
    QVirtQueue *rx, *tx, *ctrl;
    unsigned bursts[] = { 1, 2, 21 };
    unsigned i, j, n = 0;
    uint64_t mem;
    Dev *dev;

    if (!can_run(data)) {
        return;
    }
    rig_get(data);
    /* Without MQ the control queue is the third */
    dev = dev_start(DEV_NET, NO_EVENT_IDX | BIT_ULL(VIRTIO_NET_F_MQ));
    g_assert_cmphex(dev->vdev->features & BIT_ULL(VIRTIO_NET_F_CTRL_RX), !=, 0);
    rx = queue_setup(dev, 0, 0);
    tx = queue_setup(dev, 1, 0);
    ctrl = queue_setup(dev, 2, 0);
    qvirtio_set_driver_ok(dev->vdev);
    mem = guest_alloc(&rig->alloc, 64 * 16);

    for (i = 0; i < 3 * ARRAY_SIZE(bursts); i++) {
        unsigned burst = bursts[i % ARRAY_SIZE(bursts)];
        uint32_t ids[21], id, len;
        gint64 start = 0;

        for (j = 0; j < burst; j++, n++) {
            uint8_t *cmd = guest(mem + j * 16, 16);

            cmd[0] = VIRTIO_NET_CTRL_RX;
            cmd[1] = VIRTIO_NET_CTRL_RX_PROMISC;
            cmd[2] = n & 1;
            cmd[8] = 0xff;
            ids[j] = qvirtqueue_add(rig->qts, ctrl, mem + j * 16, 2, false,
                                    true);
            qvirtqueue_add(rig->qts, ctrl, mem + j * 16 + 2, 1, false, true);
            qvirtqueue_add(rig->qts, ctrl, mem + j * 16 + 8, 1, true, false);
        }
        qvring_publish(rig->qts, ctrl, ids[burst - 1]);
        qvring_notify(rig->qts, ctrl);
        for (j = 0; j < burst; j++) {
            while (!qvring_get(rig->qts, ctrl, &id, &len)) {
                wait_a_little(&start, ctrl, "control queue");
            }
            g_assert_cmpuint(id, ==, ids[j]);
            g_assert_cmpuint(len, ==, 1);
            g_assert_cmpuint(*(uint8_t *)guest(mem + j * 16 + 8, 1), ==,
                             VIRTIO_NET_OK);
        }
        g_assert_cmpint(rx_filter_promisc(), ==, (n - 1) & 1);
        qvring_check_idle(rig->qts, ctrl);
    }
    net_stop(dev, rx, tx);
    queue_free(dev, ctrl);
}

/*
 * Interrupts.  If this fails, the driver sleeps for good because the device
 * did not say that there is something (a batch has to be announced when it
 * contains the buffer that the driver asked about), or it is woken for
 * nothing.
 */
static void test_interrupts(const void *data)
{
    static const unsigned bursts[] = { 1, 2, 7, 40, 256 };
    const Mode *mode = data;
    unsigned event, i, j;
    Dev *dev;

    if (!can_run(mode)) {
        return;
    }
    rig_get(mode);
    qpci_msix_enable(rig->dev[DEV_NET].pci->pdev);
    for (event = 0; event < 2; event++) {
        QVirtioDevice *d;
        QVirtQueue *rx, *tx;
        Sender s;

        dev = dev_start(DEV_NET, event ? 0 : NO_EVENT_IDX);
        d = dev->vdev;
        rx = queue_setup(dev, 0, 0);
        tx = queue_setup(dev, 1, 0);
        qvirtqueue_pci_msix_setup(dev->pci,
                                  container_of(tx, QVirtQueuePCI, vq),
                                  &rig->alloc, 1);
        qvirtio_set_driver_ok(d);
        sender_init(&s, dev, tx);

        for (i = 0; i < 5 * ARRAY_SIZE(bursts); i++) {
            unsigned burst = bursts[i % ARRAY_SIZE(bursts)];
            /* Which buffer of the burst to be told about */
            unsigned which = between(0, burst - 1);
            uint32_t first = s.flow.added;
            bool told = false;
            gint64 start = 0;

            d->bus->get_queue_isr_status(d, tx);
            if (event) {
                qvirtqueue_set_used_event(rig->qts, tx, first + which);
            }
            for (j = 0; j < burst; j++) {
                sender_add(&s, 100, 1, false);
            }
            flow_go(&s.flow);

            /* A driver that looks into the ring only when it is told */
            while (s.flow.taken < (event ? first + which + 1 : s.flow.added)) {
                if (d->bus->get_queue_isr_status(d, tx)) {
                    sender_reap(&s);
                    told = true;
                } else {
                    sender_check(&s);
                    qtest_clock_step(rig->qts, 0);
                    wait_a_little(&start, tx, "waiting for an interrupt");
                }
            }
            g_assert_true(told);
            sender_finish(&s, "interrupts");

            /* Nothing asked for: nothing comes */
            qtest_clock_step(rig->qts, 0);
            d->bus->get_queue_isr_status(d, tx);
            if (event) {
                qvirtqueue_set_used_event(rig->qts, tx, s.flow.added + 10000);
            } else {
                qvring_set_interrupts(rig->qts, tx, false);
            }
            for (j = 0; j < burst; j++) {
                sender_add(&s, 100, 1, false);
            }
            flow_go(&s.flow);
            sender_finish(&s, "no interrupts");
            qtest_clock_step(rig->qts, 0);
            g_assert_false(d->bus->get_queue_isr_status(d, tx));
            if (!event) {
                qvring_set_interrupts(rig->qts, tx, true);
            }
        }
        net_stop(dev, rx, tx);
        sender_cleanup(&s);
    }
    qpci_msix_disable(rig->dev[DEV_NET].pci->pdev);
}

/*
 * Introspection.  If this fails, x-query-virtio-queue-status does not tell
 * what the queue does; or bursts are not published in batches, which is what
 * in-order is for.
 */
static void test_introspection(const void *data)
{
    const Mode *mode = data;
    uint64_t buffers, entries, publications, notifications, rx_buffers;
    QVirtQueue *rx, *tx;
    unsigned i;
    Sender s;
    Dev *dev;

    if (!can_run(mode) || base_lacks("queue statistics are missing")) {
        return;
    }
    rig_get(mode);
    net_start(DEV_NET, NO_EVENT_IDX, 0, 256, &dev, &rx, &tx);
    sender_init(&s, dev, tx);
    g_assert_cmpuint(queue_stat("net0", 1, "layout"), ==, mode->packed);
    g_assert_cmpuint(queue_stat("net0", 1, "in-order"), ==, mode->in_order);
    g_assert_cmpuint(queue_stat("net0", 1, "held-back"), ==, 0);
    rx_buffers = queue_stat("net0", 0, "published-buffers");
    buffers = queue_stat("net0", 1, "published-buffers");
    entries = queue_stat("net0", 1, "published-entries");
    publications = queue_stat("net0", 1, "publications");
    notifications = queue_stat("net0", 1, "notifications");

    for (i = 0; i < 256; i++) {
        sender_add(&s, 100, 1, false);
    }
    flow_go(&s.flow);
    sender_finish(&s, "burst");

    buffers = queue_stat("net0", 1, "published-buffers") - buffers;
    entries = queue_stat("net0", 1, "published-entries") - entries;
    publications = queue_stat("net0", 1, "publications") - publications;
    notifications = queue_stat("net0", 1, "notifications") - notifications;
    g_test_message("%s: %" PRIu64 " buffers, %" PRIu64 " used entries, %"
                   PRIu64 " publications, %" PRIu64 " notifications",
                   mode->name, buffers, entries, publications, notifications);
    g_assert_cmpuint(buffers, ==, 256);
    g_assert_cmpuint(publications, >, 0);
    g_assert_cmpuint(publications, <, 256);
    if (mode->in_order) {
        g_assert_cmpuint(entries, <, buffers / 2);
    } else {
        g_assert_cmpuint(entries, ==, buffers);
    }
    g_assert_cmpuint(notifications, >, 0);
    g_assert_cmpuint(notifications, <=, publications);
    g_assert_cmpuint(queue_stat("net0", 1, "held-back"), ==, 0);
    g_assert_cmpuint(queue_stat("net0", 0, "published-buffers"), ==,
                     rx_buffers);
    net_stop(dev, rx, tx);
    sender_cleanup(&s);
}

typedef void (*CaseFn)(const void *mode);

static const struct {
    const char *name;
    CaseFn fn;
} cases[] = {
    { "ring-size", test_ring_size },
    { "whole-ring", test_whole_ring },
    { "long-chain", test_long_chain },
    { "wrap", test_wrap },
    { "mixed", test_mixed },
    { "mergeable", test_mergeable },
    { "async", test_async },
    { "link", test_link },
    { "reset", test_reset },
    { "queue-reset", test_queue_reset },
    { "blk", test_blk },
    { "blk-overtake", test_blk_overtake },
    { "ctrl", test_ctrl },
    { "interrupts", test_interrupts },
    { "introspection", test_introspection },
    { "bad-driver", test_bad_driver },
};

int main(int argc, char **argv)
{
    unsigned i, j;
    int ret;

    g_test_init(&argc, &argv, NULL);

    for (i = 0; i < MODE_COUNT; i++) {
        for (j = 0; j < ARRAY_SIZE(cases); j++) {
            g_autofree char *path = g_strdup_printf("virtio-in-order/%s/%s",
                                                    modes[i].name,
                                                    cases[j].name);

            qtest_add_data_func(path, &modes[i], cases[j].fn);
        }
    }
    /* The rest starts a QEMU of its own for each case */
    for (i = 0; i < MODE_COUNT; i++) {
        g_autofree char *path = g_strdup_printf("virtio-in-order/%s/mmio",
                                                modes[i].name);

        qtest_add_data_func(path, &modes[i], test_mmio);
    }
    qtest_add_func("virtio-in-order/feature/default", test_feature_default);
    qtest_add_func("virtio-in-order/feature/legacy", test_feature_legacy);
    qtest_add_func("virtio-in-order/feature/status", test_feature_status);
    qtest_add_func("virtio-in-order/feature/devices", test_feature_devices);

    ret = g_test_run();
    rig_stop();
    return ret;
}
