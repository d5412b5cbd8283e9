/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: shadow virtqueues that move from one device to another
 *
 * The guest's rings and buffers move with the VM; the device at the destination
 * is another one.  What the shadow virtqueue had in flight is what the new
 * device gets, and nothing else.
 */

#include "qemu/osdep.h"
#include "virtio-in-order-traffic.h"
#include "virtio-svq-cases.h"

/* How long the queues run between two migrations, microseconds */
#define RUN_US  20000

/* Has the devices of all hops make packets of a stream of its own */
static void source(SvqNic *nic, VdpaSim *sim, unsigned hop)
{
    unsigned i;

    for (i = 0; i < nic->config.pairs; i++) {
        VdpaSimQueueCtl *ctl = &sim->ctl[VDPA_SIM_RX(i)];

        ctl->flow.stream = SVQ_STREAM_SOURCE(hop, i);
        qatomic_set(&ctl->mode, VDPA_SIM_SOURCE);
    }
    vdpa_sim_wake(sim);
}

/*
 * A card moves on and on under load, and some migrations are given up.  If this
 * fails, what is in flight is lost or doubled, or the new device goes on in the
 * wrong place.
 */
static void test_load(const SvqConfig *c)
{
    static SvqLoad load;
    uint64_t sourced[SVQ_PAIRS_MAX] = { 0 };
    unsigned hop, i;
    SvqMove move;
    SvqNic nic;

    svq_start(&nic, c);
    if (nic.config.pairs > 1) {
        svq_set_pairs(&nic, nic.config.pairs);
    }
    svq_verify(&nic);
    for (i = 0; i < nic.config.pairs; i++) {
        svq_source(&nic, i, SVQ_STREAM_SOURCE(0, i), UINT64_MAX, 1514);
    }
    svq_load_init(&load, &nic, &svq_any_shape);
    svq_find_kicks(&nic);
    svq_load_go(&load);
    for (hop = 1; hop <= 4; hop++) {
        g_usleep(RUN_US);
        svq_move_begin(&nic, &move, true);
        g_usleep(between(0, RUN_US));
        svq_move_cancel(&nic, &move);

        svq_move_begin(&nic, &move, false);
        source(&nic, move.sim, hop);
        g_usleep(between(0, RUN_US));
        /* The driver does not hear of it: its kicks go nowhere meanwhile */
        svq_move_switch(&nic, &move);
        svq_load_pause(&load);
        for (i = 0; i < nic.config.pairs; i++) {
            sourced[i] += nic.sim->stats[VDPA_SIM_RX(i)].sourced;
        }
        svq_move_end(&nic, &move);
        svq_find_kicks(&nic);
        svq_load_go(&load);
    }
    g_usleep(RUN_US);
    svq_load_pause(&load);
    svq_load_finish(&load, "traffic that has moved");
    for (i = 0; i < nic.config.pairs; i++) {
        VdpaSimQueueStats *s = &nic.sim->stats[VDPA_SIM_RX(i)];

        svq_rx_drain(&load.pair[i].rx, "packets from all devices");
        g_assert_cmpuint(load.pair[i].rx.packets, ==,
                         sourced[i] + qatomic_read(&s->sourced));
        g_test_message("pair %u: %" PRIu64 " sent, %" PRIu64 " received", i,
                       load.pair[i].tx.seq, load.pair[i].rx.packets);
    }
    svq_load_cleanup(&load);
    svq_stop(&nic);
}

/*
 * Memory that moves in the stream.  If this fails, a page that the device, or
 * the shadow virtqueue, has written is not sent again, and at the destination
 * the guest finds what was there before.
 */
static void test_dirty(const SvqConfig *config)
{
    enum { STEP = 16 };
    SvqConfig c = *config;
    SvqShape shape = {
        .len_min = 60, .len_max = 300, .buf_min = 400, .buf_max = 500,
        .pieces_max = 2,
    };
    static SvqRx rx;
    unsigned n, passes;
    SvqMove move;
    SvqNic nic;
    SvqTx tx;

    c.socket_ram = true;
    c.size = 64;
    svq_start(&nic, &c);
    svq_verify(&nic);
    svq_tx_init(&tx, &nic, 0, &shape);
    svq_rx_init(&rx, &nic, 0, &shape);
    svq_source(&nic, 0, SVQ_STREAM_SOURCE(0, 0), STEP, 300);
    svq_rx_wait(&rx, STEP, "before the migration");

    svq_move_begin(&nic, &move, false);
    source(&nic, move.sim, 1);
    for (n = 2; svq_move_dirty(&nic, &move) < 2; n++) {
        svq_tx_run(&tx, STEP, "while memory is copied");
        svq_source(&nic, 0, SVQ_STREAM_SOURCE(0, 0), n * STEP, 300);
        svq_rx_wait(&rx, n * STEP, "while memory is copied");
    }
    /* The pages of empty buffers move before the packets come in */
    svq_rx_refill(&rx);
    passes = svq_move_dirty(&nic, &move);
    while (svq_move_dirty(&nic, &move) < passes + 2) {
        g_usleep(1000);
    }
    svq_source(&nic, 0, SVQ_STREAM_SOURCE(0, 0), n * STEP, 300);
    while (qatomic_read(&nic.sim->stats[0].sourced) < n * STEP) {
        g_usleep(100);
    }
    while (tx.lane.pending < STEP && svq_tx_add(&tx)) {
        continue;
    }
    svq_tx_go(&tx);
    svq_move_switch(&nic, &move);
    svq_move_end(&nic, &move);
    svq_rx_wait(&rx, n * STEP, "what came before the switch");
    svq_tx_finish(&tx, "what was sent before the switch");
    svq_source(&nic, 0, SVQ_STREAM_SOURCE(1, 0), 200, 300);
    svq_tx_run(&tx, 200, "after the migration");
    svq_rx_wait(&rx, n * STEP + 200, "after the migration");
    svq_tx_cleanup(&tx);
    svq_rx_cleanup(&rx);
    svq_stop(&nic);
}

void svq_add_migration_cases(void)
{
    static const SvqDeviceMode devices[MODE_COUNT] = {
        { "packed", BIT_ULL(VIRTIO_F_RING_PACKED) |
                    BIT_ULL(VIRTIO_RING_F_EVENT_IDX) },
        { "split", BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) },
        { "packed-in-order", BIT_ULL(VIRTIO_F_RING_PACKED) |
                             BIT_ULL(VIRTIO_F_IN_ORDER) },
        { "split-in-order", BIT_ULL(VIRTIO_F_IN_ORDER) },
    };
    unsigned i;

    for (i = 0; i < MODE_COUNT; i++) {
        g_autofree char *load =
            g_strdup_printf("virtio/svq/migration/%s/%s", modes[i].name,
                            devices[i].name);
        g_autofree char *dirty =
            g_strdup_printf("virtio/svq/migration-memory/%s/%s",
                            modes[i].name, devices[i].name);
        SvqConfig c = {
            .guest = &modes[i],
            .device = devices[i],
            .pairs = 2,
            .iothreads = i ? 2 : 0,
            .pages = i & 2 ? UINT32_MAX : 0,
        };

        svq_add(load, test_load, &c);
        if (i % 3 == 0) {
            c.pairs = 1;
            svq_add(dirty, test_dirty, &c);
        }
    }
}
