/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: shadow virtqueues, while what is around them changes
 *
 * A thread drives the queues as fast as it can.  Whatever happens to the card
 * meanwhile, the buffers that it had are given back once, in order, or, where
 * the guest has reset something, not at all.
 */

#include "qemu/osdep.h"
#include "qapi/qmp/qdict.h"
#include "virtio-in-order-traffic.h"
#include "virtio-svq-cases.h"

/* How long the queues run from one change to the next, microseconds */
#define RUN_US  20000

static SvqLoad load;

/* Traffic on all pairs, both ways; receivers get what the device makes */
static void start(SvqNic *nic, const SvqConfig *c)
{
    unsigned i;

    svq_start(nic, c);
    if (nic->config.pairs > 1) {
        svq_set_pairs(nic, nic->config.pairs);
    }
    svq_verify(nic);
    for (i = 0; i < nic->config.pairs; i++) {
        svq_source(nic, i, SVQ_STREAM_SOURCE(0, i), UINT64_MAX, 1514);
    }
    svq_load_init(&load, nic, &svq_any_shape);
    svq_find_kicks(nic);
    svq_load_go(&load);
    g_usleep(RUN_US);
}

/* All that was not lost by a reset has to be there */
static void stop(SvqNic *nic, const char *what)
{
    unsigned i;

    g_usleep(RUN_US);
    svq_load_pause(&load);
    svq_load_finish(&load, what);
    for (i = 0; i < nic->config.pairs; i++) {
        SvqRx *rx = &load.pair[i].rx;
        VdpaSimQueueStats *s = &nic->sim->stats[VDPA_SIM_RX(i)];

        svq_rx_drain(rx, what);
        g_assert_cmpuint(rx->packets + rx->lost_max, >=,
                         qatomic_read(&s->sourced));
        g_assert_cmpuint(rx->packets, <=, qatomic_read(&s->sourced));
        g_test_message("pair %u: %" PRIu64 " sent, %" PRIu64 " received", i,
                       load.pair[i].tx.seq, rx->packets);
    }
    svq_load_cleanup(&load);
    svq_stop(nic);
}

static void qmp(const char *command)
{
    qtest_qmp_assert_success(rig->qts, "{'execute': %s}", command);
}

/*
 * The VM pauses.  If this fails, buffers in flight are lost or come twice.
 */
static void test_pause(const SvqConfig *c)
{
    unsigned n;
    SvqNic nic;

    start(&nic, c);
    for (n = 0; n < 20; n++) {
        /* Now and then the driver is not told */
        if (n % 4) {
            svq_load_pause(&load);
        }
        qmp("stop");
        svq_load_pause(&load);
        qmp("cont");
        svq_find_kicks(&nic);
        svq_load_go(&load);
        g_usleep(between(0, RUN_US));
    }
    stop(&nic, "traffic after many pauses");
}

/*
 * The driver resets the card.  If this fails, the card still has buffers of the
 * driver's, or does not work afterwards.
 */
static void test_reset(const SvqConfig *c)
{
    unsigned n;
    SvqNic nic;

    start(&nic, c);
    for (n = 0; n < 20; n++) {
        svq_load_pause(&load);
        svq_driver_stop(&nic);
        svq_driver_start(&nic);
        if (nic.config.pairs > 1) {
            svq_set_pairs(&nic, nic.config.pairs);
        }
        svq_load_restart(&load);
        svq_find_kicks(&nic);
        svq_load_go(&load);
        g_usleep(between(0, RUN_US));
    }
    stop(&nic, "traffic after many resets");
}

/*
 * The driver resets one queue, while the others go on.  If this fails, it is
 * not empty afterwards, or others are disturbed.
 */
static void test_queue_reset(const SvqConfig *config)
{
    SvqConfig c = *config;
    unsigned n;
    SvqNic nic;

    c.reset = true;
    start(&nic, &c);
    g_assert_true(nic.dev->vdev->features & BIT_ULL(VIRTIO_F_RING_RESET));
    for (n = 0; n < 30; n++) {
        unsigned q = between(0, 2 * nic.config.pairs - 1);
        SvqPair *p = &load.pair[q / 2];

        svq_load_pause(&load);
        svq_forget_kicks(&nic);
        svq_queue_reset(&nic, q);
        if (q & 1) {
            svq_tx_restart(&p->tx, nic.tx[q / 2]);
        } else {
            svq_rx_restart(&p->rx, nic.rx[q / 2]);
        }
        svq_find_kicks(&nic);
        svq_load_go(&load);
        g_usleep(between(0, RUN_US));
    }
    stop(&nic, "traffic after many resets of queues");
}

/*
 * The cable is pulled and plugged.  If this fails, buffers do not come back
 * from a card without a link, or not from one that has it again.
 */
static void test_link(const SvqConfig *c)
{
    unsigned n, i;
    SvqNic nic;

    start(&nic, c);
    for (n = 0; n < 10; n++) {
        svq_load_pause(&load);
        set_link("nic0", false);
        g_usleep(between(0, 2000));
        /* QEMU drops what is sent without a link */
        for (i = 0; i < nic.config.pairs; i++) {
            load.pair[i].tx.lost_max += load.pair[i].tx.lane.added -
                                        load.pair[i].tx.lane.taken;
        }
        set_link("nic0", true);
        svq_find_kicks(&nic);
        svq_load_go(&load);
        g_usleep(between(0, RUN_US));
    }
    stop(&nic, "traffic after the link was down");
}

/*
 * Another driver takes over, with other features.  If this fails, the layout of
 * the first one stays.
 */
static void test_renegotiate(const SvqConfig *config)
{
    static const uint64_t without[] = {
        0,
        BIT_ULL(VIRTIO_F_RING_PACKED),
        BIT_ULL(VIRTIO_F_IN_ORDER) | BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC),
        NO_EVENT_IDX | BIT_ULL(VIRTIO_NET_F_MRG_RXBUF),
        BIT_ULL(VIRTIO_F_RING_PACKED) | BIT_ULL(VIRTIO_F_IN_ORDER) |
        NO_EVENT_IDX,
    };
    SvqShape shape = svq_any_shape;
    uint64_t received = 0;
    unsigned n;
    SvqNic nic;

    shape.buf_min = 1600;
    svq_boot(&nic, config);
    for (n = 0; n < 2 * ARRAY_SIZE(without); n++) {
        static SvqRx rx;
        SvqTx tx;

        nic.config.without = without[n % ARRAY_SIZE(without)];
        svq_driver_start(&nic);
        svq_tx_init(&tx, &nic, 0, &shape);
        svq_rx_init(&rx, &nic, 0, &shape);
        rx.stream[0].next = received;
        svq_tx_run(&tx, 1000, "a driver with other features");
        svq_source(&nic, 0, 0, received + 1000, 1500);
        svq_rx_wait(&rx, 1000, "a driver with other features");
        received += 1000;
        svq_driver_stop(&nic);
        svq_tx_cleanup(&tx);
        svq_rx_cleanup(&rx);
    }
    svq_halt(&nic);
}

/*
 * The card is unplugged with buffers in flight, and plugged in again, with its
 * back end.  If this fails, QEMU uses what it has freed, keeps the device, or
 * the card that comes next does not work.
 */
static void test_unplug(const SvqConfig *config)
{
    SvqConfig c = *config;
    unsigned n;
    SvqNic nic;

    c.hotplug = true;
    start(&nic, &c);
    for (n = 0; n < 4; n++) {
        svq_load_pause(&load);
        svq_unplug(&nic);
        svq_plug(&nic);
        svq_driver_start(&nic);
        svq_load_restart(&load);
        svq_find_kicks(&nic);
        svq_load_go(&load);
        g_usleep(RUN_US);
    }
    stop(&nic, "traffic through a card that was plugged in again");
}

/*
 * An IOThread cannot be deleted as long as it has queues.  If this fails, it
 * is, under the queues' feet, or never can be.
 */
static void test_iothread(const SvqConfig *config)
{
    SvqConfig c = *config;
    QDict *rsp;
    SvqNic nic;

    c.hotplug = true;
    start(&nic, &c);
    rsp = qtest_qmp(rig->qts, "{'execute': 'object-del',"
                    " 'arguments': {'id': 'io0'}}");
    g_assert_true(qdict_haskey(rsp, "error"));
    qobject_unref(rsp);
    g_usleep(RUN_US);

    svq_load_pause(&load);
    svq_unplug(&nic);
    qtest_qmp_assert_success(rig->qts, "{'execute': 'object-del',"
                             " 'arguments': {'id': 'io0'}}");
    hmp("object_add iothread,id=io0");
    svq_plug(&nic);
    svq_driver_start(&nic);
    svq_load_restart(&load);
    svq_find_kicks(&nic);
    svq_load_go(&load);
    stop(&nic, "traffic in a new IOThread");
}

void svq_add_change_cases(void)
{
    static const struct {
        const char *name;
        void (*func)(const SvqConfig *c);
        unsigned pairs;
    } cases[] = {
        { "pause", test_pause, 2 },
        { "reset", test_reset, 2 },
        { "queue-reset", test_queue_reset, 2 },
        { "link", test_link, 1 },
        { "renegotiate", test_renegotiate, 1 },
        { "unplug", test_unplug, 1 },
    };
    static const SvqDeviceMode devices[] = {
        { "split", BIT_ULL(VIRTIO_RING_F_EVENT_IDX) },
        { "packed-in-order", BIT_ULL(VIRTIO_F_RING_PACKED) |
                             BIT_ULL(VIRTIO_F_IN_ORDER) },
    };
    SvqConfig c;
    unsigned i, d;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        for (d = 0; d < ARRAY_SIZE(devices); d++) {
            g_autofree char *path = g_strdup_printf("virtio/svq/%s/%s",
                                                    cases[i].name,
                                                    devices[d].name);

            c = (SvqConfig) {
                .guest = &modes[3 * d],
                .device = devices[d],
                .pairs = cases[i].pairs,
                .iothreads = 2 * d,
            };
            if (d) {
                c.pages = UINT32_MAX;
            }
            svq_add(path, cases[i].func, &c);
        }
    }
    c.pairs = c.iothreads = 1;
    svq_add("virtio/svq/iothread", test_iothread, &c);
}
