/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: shadow virtqueues, between a guest and a vDPA device of any layout and
 * order
 *
 * The shadow virtqueue is both a device and a driver: the guest's ring and the
 * device's have nothing in common but the buffers.  The tests are the guest's
 * driver, which is strict (libqos/virtio-ring.c); vdpa-sim is the device, which
 * is strict as well, and whose complaints end every case.
 *
 * This file has the list of all cases, and those about what the two sides
 * negotiate; for the others see virtio-svq-cases.h.
 */

#include "qemu/osdep.h"
#include "virtio-svq-cases.h"

/* For a case */
#define CASE_SECONDS    120

/* For each direction */
#define PACKETS         1500

const SvqShape svq_any_shape = {
    .len_min = 60, .len_max = 1514,
    .buf_min = 64, .buf_max = 2048,
    .pieces_min = 1, .pieces_max = 6,
    .indirect = 30,
};

static void run_case(const void *opaque)
{
    const SvqCase *c = opaque;

    if (svq_can_run()) {
        case_begin(CASE_SECONDS);
        c->func(&c->config);
        case_end();
    }
}

void svq_add(const char *path, void (*func)(const SvqConfig *c),
             const SvqConfig *config)
{
    SvqCase *c = g_new(SvqCase, 1);

    *c = (SvqCase) { func, *config };
    if (config->guest->in_order) {
        /* It is offered only if the device is in order as well */
        c->config.device.features |= BIT_ULL(VIRTIO_F_IN_ORDER);
    }
    qtest_add_data_func_full(path, c, run_case, g_free);
}

void svq_verify(SvqNic *nic)
{
    unsigned i;

    for (i = 0; i < nic->config.pairs; i++) {
        VdpaSimQueueCtl *ctl = &nic->sim->ctl[VDPA_SIM_TX(i)];

        ctl->flow.stream = i;
        qatomic_set(&ctl->verify, 1);
    }
    vdpa_sim_wake(nic->sim);
}

void svq_source(SvqNic *nic, unsigned pair, unsigned stream, uint64_t count,
                unsigned len_max)
{
    VdpaSimQueueCtl *ctl = &nic->sim->ctl[VDPA_SIM_RX(pair)];

    ctl->flow.stream = stream;
    ctl->source_len_min = 64;
    ctl->source_len_max = len_max;
    ctl->source_count = count;
    qatomic_set(&ctl->mode, VDPA_SIM_SOURCE);
    vdpa_sim_wake(nic->sim);
}

void svq_both_ways(SvqNic *nic, const SvqShape *shape, unsigned count,
                   const char *what)
{
    static SvqRx rx;
    unsigned i;
    SvqTx tx;

    svq_verify(nic);
    for (i = 0; i < nic->pairs; i++) {
        uint64_t *sourced = &nic->sim->stats[VDPA_SIM_RX(i)].sourced;
        uint64_t before = qatomic_read(sourced);

        svq_rx_init(&rx, nic, i, shape);
        rx.stream[SVQ_STREAM_SOURCE(0, i)].next = before;
        svq_source(nic, i, SVQ_STREAM_SOURCE(0, i), before + count,
                   shape->len_max);
        svq_tx_init(&tx, nic, i, shape);
        tx.seq = nic->sim->stats[VDPA_SIM_TX(i)].stream.next;
        svq_tx_run(&tx, count, what);
        svq_rx_wait(&rx, count, what);
        g_assert_cmpuint(qatomic_read(sourced), ==, before + count);
        svq_rx_untouched(&rx);
        svq_check(nic);
        svq_tx_cleanup(&tx);
        svq_rx_cleanup(&rx);
    }
}

/*
 * Packets through every pair of layouts.  If this fails, a buffer that one
 * side has in its ring is not the one that the other side has, or comes too
 * often, too late, with another length or not at all.
 */
static void test_traffic(const SvqConfig *c)
{
    SvqNic nic;

    svq_start(&nic, c);
    if (!c->passthrough) {
        g_assert_cmphex(nic.sim->state.acked & SVQ_RING_FEATURES, ==,
                        c->device.features);
    }
    nic.sim->ctl[VDPA_SIM_TX(0)].shuffle = 16;
    svq_both_ways(&nic, &svq_any_shape, PACKETS, "traffic");
    svq_stop(&nic);
}

/*
 * A device that fills receive buffers out of order.  If this fails, packets are
 * given to the guest in the order of its buffers, not in the order in which
 * they have come.
 */
static void test_shuffle(const SvqConfig *c)
{
    SvqShape shape = svq_any_shape;
    SvqNic nic;

    /* Each buffer holds any packet */
    shape.buf_min = 1600;
    svq_start(&nic, c);
    nic.sim->ctl[VDPA_SIM_RX(0)].shuffle = 16;
    svq_both_ways(&nic, &shape, PACKETS, "packets in any buffer");
    svq_stop(&nic);
}

/*
 * What is sent comes back.  If this fails, the two directions of a pair, or
 * two pairs, are in each other's way.
 */
static void test_loopback(const SvqConfig *c)
{
    static SvqLoad load;
    unsigned i;
    SvqNic nic;

    svq_start(&nic, c);
    if (c->pairs > 1) {
        svq_set_pairs(&nic, c->pairs);
    }
    svq_verify(&nic);
    for (i = 0; i < nic.pairs; i++) {
        VdpaSimQueueCtl *ctl = &nic.sim->ctl[VDPA_SIM_TX(i)];

        qatomic_set(&ctl->lossless, 1);
        qatomic_set(&ctl->mode, VDPA_SIM_LOOP_PAIR);
    }
    vdpa_sim_wake(nic.sim);
    svq_find_kicks(&nic);
    svq_load_init(&load, &nic, &svq_any_shape);
    svq_load_go(&load);
    g_usleep(300 * 1000);
    svq_load_pause(&load);
    svq_load_finish(&load, "the end of the loop");
    for (i = 0; i < nic.pairs; i++) {
        SvqRx *rx = &load.pair[i].rx;

        svq_rx_wait(rx, load.pair[i].tx.seq, "packets that come back");
        g_assert_cmpuint(rx->stream[i].next, ==, load.pair[i].tx.seq);
        g_test_message("pair %u: %" PRIu64 " packets", i, rx->packets);
    }
    svq_load_cleanup(&load);
    svq_stop(&nic);
}

/* Both layouts, with and without in-order, on the device's side */
static const SvqDeviceMode device_modes[] = {
    { "split", 0 },
    { "split/in-order", BIT_ULL(VIRTIO_F_IN_ORDER) },
    { "packed", BIT_ULL(VIRTIO_F_RING_PACKED) },
    { "packed/in-order",
      BIT_ULL(VIRTIO_F_RING_PACKED) | BIT_ULL(VIRTIO_F_IN_ORDER) },
};

/* The other features, of which a case has one line */
static const struct {
    const char *name;
    uint64_t features;
} extras[] = {
    { "plain", 0 },
    { "event-indirect", BIT_ULL(VIRTIO_RING_F_EVENT_IDX) |
                        BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) },
    { "event-data", BIT_ULL(VIRTIO_RING_F_EVENT_IDX) |
                    BIT_ULL(SVQ_F_NOTIFICATION_DATA) },
    { "indirect-data", BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) |
                       BIT_ULL(SVQ_F_NOTIFICATION_DATA) },
};

static void add_matrix(void)
{
    unsigned g, d;

    for (g = 0; g < MODE_COUNT; g++) {
        for (d = 0; d < ARRAY_SIZE(device_modes); d++) {
            unsigned e = (g + d) % ARRAY_SIZE(extras);
            SvqConfig c = {
                .guest = &modes[g],
                .device = {
                    device_modes[d].name,
                    device_modes[d].features | extras[e].features,
                },
                .iothreads = (g ^ d) & 1,
            };
            g_autofree char *path = NULL;

            if (c.guest->in_order &&
                !(c.device.features & BIT_ULL(VIRTIO_F_IN_ORDER))) {
                continue;
            }
            /* The data comes with the doorbell only */
            if (e >= 2 || (g ^ (d >> 1)) & 1) {
                c.pages = UINT32_MAX;
            }
            path = g_strdup_printf("virtio/svq/traffic/%s/%s/%s%s%s",
                                   c.guest->name, c.device.name,
                                   extras[e].name,
                                   c.iothreads ? "/iothread" : "",
                                   c.pages ? "/doorbell" : "");
            svq_add(path, test_traffic, &c);
        }
    }
}

/*
 * The device is not in order.  If this fails, the guest is told that it will
 * get buffers back in order, and packets are not where it looks for them.
 */
static void test_no_in_order(const SvqConfig *config)
{
    SvqConfig c = *config;
    QVirtioDevice *vdev;
    SvqNic nic;

    c.device.features &= ~BIT_ULL(VIRTIO_F_IN_ORDER);
    svq_boot(&nic, &c);
    vdev = nic.dev->vdev;
    qvirtio_start_device(vdev);
    g_assert_cmphex(qvirtio_get_features(vdev) & BIT_ULL(VIRTIO_F_IN_ORDER),
                    ==, 0);
    g_assert_cmpint(!!(qvirtio_get_features(vdev) &
                       BIT_ULL(VIRTIO_F_RING_PACKED)), ==, c.guest->packed);
    qvirtio_reset(vdev);
    svq_halt(&nic);
}

static void add_shuffles(void)
{
    unsigned i;

    /* Neither side is in order */
    for (i = 0; i < 4; i++) {
        SvqConfig c = {
            .guest = &modes[i & 2],
            .device = device_modes[i & 1 ? 2 : 0],
            .iothreads = i == 2,
        };
        g_autofree char *path =
            g_strdup_printf("virtio/svq/shuffle/%s/%s", c.guest->name,
                            c.device.name);

        svq_add(path, test_shuffle, &c);
    }
}

static void add_loopbacks(void)
{
    unsigned d;

    for (d = 0; d < ARRAY_SIZE(device_modes); d++) {
        SvqConfig c = {
            .guest = &modes[d],
            .device = {
                device_modes[d].name,
                device_modes[d].features | extras[1].features,
            },
            .pairs = SVQ_PAIRS_MAX,
            .iothreads = d == 0 ? 0 : d + 1,
            .pages = d & 1 ? UINT32_MAX : 0,
        };
        g_autofree char *path =
            g_strdup_printf("virtio/svq/loopback/%s/%u-iothreads",
                            device_modes[d].name, c.iothreads);

        svq_add(path, test_loopback, &c);
    }
}

/*
 * Rings of the guest from the smallest on, with a device whose rings are
 * smaller than some of them.  If this fails, the end of a ring is not handled,
 * or a buffer that does not fit the device's.
 */
static void test_sizes(const SvqConfig *c)
{
    static const unsigned split[] = { 2, 4, 64, 1024 };
    static const unsigned packed[] = { 1, 2, 3, 100, 641, 1024 };
    const unsigned *sizes = c->guest->packed ? packed : split;
    unsigned n = c->guest->packed ? ARRAY_SIZE(packed) : ARRAY_SIZE(split), i;
    SvqShape shape = svq_any_shape;
    SvqNic nic;

    /* Any packet fits into one buffer */
    shape.buf_min = 1600;

    svq_boot(&nic, c);
    for (i = 0; i < n; i++) {
        nic.config.size = sizes[i];
        svq_driver_start(&nic);
        svq_both_ways(&nic, &shape, 500 + 2 * sizes[i],
                      "a ring of another size");
        svq_driver_stop(&nic);
    }
    svq_halt(&nic);
}

/*
 * The device's ring is full, because the device takes its time.  If this fails,
 * buffers that wait for room are lost or forgotten.
 */
static void test_full(const SvqConfig *c)
{
    SvqShape shape = { .len_min = 60, .len_max = 100, .burst = 300 };
    SvqNic nic;
    SvqTx tx;

    svq_start(&nic, c);
    svq_verify(&nic);
    svq_tx_init(&tx, &nic, 0, &shape);
    vdpa_sim_pause(nic.sim, VDPA_SIM_TX(0), true);
    while (svq_tx_add(&tx)) {
        continue;
    }
    svq_tx_go(&tx);
    g_assert_cmpuint(tx.lane.added, >, c->device_size);
    while (!svq_stat(&nic, VDPA_SIM_TX(0), "full-waits")) {
        g_usleep(100);
    }
    g_assert_cmpuint(svq_in_flight(&nic, VDPA_SIM_TX(0)), >, 0);
    g_assert_false(svq_tx_reap(&tx));
    vdpa_sim_pause(nic.sim, VDPA_SIM_TX(0), false);
    svq_tx_run(&tx, 5000, "a device ring that was full");
    svq_tx_cleanup(&tx);
    svq_stop(&nic);
}

static void add_sizes(void)
{
    unsigned i;

    for (i = 0; i < MODE_COUNT; i++) {
        unsigned d = (i + 2) % MODE_COUNT;
        SvqConfig c = {
            .guest = &modes[i],
            .device = {
                device_modes[d].name,
                device_modes[d].features | extras[1].features,
            },
            .device_size = 128,
            .size = 1024,
            .iothreads = i & 1,
        };
        g_autofree char *sizes = g_strdup_printf("virtio/svq/sizes/%s/%s",
                                                 c.guest->name,
                                                 c.device.name);
        g_autofree char *full = g_strdup_printf("virtio/svq/full/%s/%s",
                                                c.guest->name, c.device.name);

        svq_add(sizes, test_sizes, &c);
        c.device.features &= ~BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC);
        svq_add(full, test_full, &c);
    }
}

int main(int argc, char **argv)
{
    SvqConfig c = {
        .guest = &modes[0],
        .device = device_modes[0],
        .passthrough = true,
    };
    int ret;

    g_test_init(&argc, &argv, NULL);
    svq_add("virtio/svq/passthrough", test_traffic, &c);
    add_matrix();
    c.passthrough = false;
    c.guest = &modes[1];
    svq_add("virtio/svq/no-in-order/split", test_no_in_order, &c);
    c.guest = &modes[3];
    svq_add("virtio/svq/no-in-order/packed", test_no_in_order, &c);
    add_shuffles();
    add_loopbacks();
    add_sizes();
    svq_add_change_cases();
    svq_add_memory_cases();
    svq_add_migration_cases();
    svq_add_notify_cases();
    ret = g_test_run();
    rig_stop();
    return ret;
}
