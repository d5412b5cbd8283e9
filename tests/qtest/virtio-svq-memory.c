/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: shadow virtqueues, and the memory that buffers are in: over the edge
 * of a region, in memory that comes and goes, behind an IOMMU
 *
 * The device refuses an access to what it was not given (svq_check()), so
 * what is mapped late or unmapped early ends a case, wherever it happens.
 */

#include "qemu/osdep.h"
#include "virtio-in-order-traffic.h"
#include "virtio-svq-cases.h"

static const SvqShape plain = {
    .len_min = 600, .len_max = 1514, .buf_min = 1600, .buf_max = 2048,
    .pieces_max = 3, .indirect = 50,
};

/*
 * Buffers over the edge of two DIMMs, which lie together for the guest and
 * nowhere else.  If this fails, the part behind the edge is taken from, or
 * goes, to what lies behind the first in QEMU or for the device.
 */
static void test_edge(const SvqConfig *config)
{
    SvqConfig c = *config;
    SvqShape shape = plain;
    static SvqRx rx;
    SvqNic nic;
    SvqTx tx;

    c.size = 32;
    svq_start(&nic, &c);
    svq_dimm_plug(&nic, 0);
    svq_dimm_plug(&nic, 1);
    svq_verify(&nic);

    shape.pieces_max = 1;
    /* Some bytes of the first piece are before the edge */
    shape.mem = svq_dimm_addr(1) - 100;
    svq_tx_init(&tx, &nic, 0, &shape);
    svq_tx_run(&tx, 500, "packets over the edge of a DIMM");
    svq_tx_cleanup(&tx);

    /* And some slots of receive buffers, but not those that were just used */
    shape.mem = svq_dimm_addr(1) - 16 * KiB - 1000;
    svq_rx_init(&rx, &nic, 0, &shape);
    svq_source(&nic, 0, SVQ_STREAM_SOURCE(0, 0), 500, 1514);
    svq_rx_wait(&rx, 500, "buffers over the edge of a DIMM");
    svq_rx_untouched(&rx);

    svq_driver_stop(&nic);
    svq_rx_cleanup(&rx);
    svq_dimm_unplug(&nic, 1);
    svq_dimm_unplug(&nic, 0);
    svq_halt(&nic);
}

/* Bytes of memory that the device has been given */
static uint64_t mapped(SvqNic *nic)
{
    return qatomic_read(&nic->sim->state.mapped[0]);
}

/* Waits until the memory of DIMMs is, or is no longer, the device's */
static void wait_mapped(SvqNic *nic, uint64_t bytes)
{
    gint64 start = 0;

    while (mapped(nic) != bytes) {
        svq_wait(nic, &start, nic->tx[0], "memory for the device");
    }
}

/*
 * DIMMs come and go, some with buffers in between, while other buffers are
 * under way all the time.  If this fails, the device is given memory too late
 * or is left with what is gone, or the traffic through other memory suffers.
 */
static void test_dimms(const SvqConfig *c)
{
    static SvqLoad load;
    SvqShape shape = plain;
    uint64_t before;
    unsigned n;
    SvqNic nic;

    svq_start(&nic, c);
    svq_set_pairs(&nic, 2);
    svq_verify(&nic);
    svq_source(&nic, 0, SVQ_STREAM_SOURCE(0, 0), UINT64_MAX, 1514);
    svq_source(&nic, 1, SVQ_STREAM_SOURCE(0, 1), UINT64_MAX, 1514);
    svq_load_init(&load, &nic, &plain);
    svq_find_kicks(&nic);
    /* The second pair is the main thread's */
    nic.pairs = 1;
    svq_load_go(&load);
    before = mapped(&nic);
    for (n = 0; n < 10; n++) {
        SvqTx tx;

        svq_dimm_plug(&nic, 0);
        wait_mapped(&nic, before + SVQ_DIMM_SIZE);
        shape.mem = svq_dimm_addr(0);
        svq_tx_init(&tx, &nic, 1, &shape);
        tx.seq = nic.sim->stats[VDPA_SIM_TX(1)].stream.next;
        svq_tx_run(&tx, 300, "packets in a DIMM");
        svq_tx_cleanup(&tx);
        svq_dimm_unplug(&nic, 0);
        wait_mapped(&nic, before);
        g_usleep(between(0, 2000));
    }
    svq_load_pause(&load);
    svq_load_finish(&load, "traffic while DIMMs come and go");
    svq_load_cleanup(&load);
    svq_stop(&nic);
}

/*
 * A card behind an IOMMU, with buffers in pages that lie together for the card
 * alone.  If this fails, the card's addresses are taken for those of RAM, or
 * two pages for one piece of it.
 */
static void test_iommu(const SvqConfig *config)
{
    SvqConfig c = *config;
    SvqShape shape = plain;
    static SvqRx rx;
    uint64_t pages, split;
    SvqNic nic;
    SvqTx tx;

    c.iommu = true;
    c.size = 8;
    svq_boot(&nic, &c);
    pages = rig_vtd_enable(0);
    svq_window(&nic, pages);
    svq_driver_start(&nic);
    svq_verify(&nic);

    svq_tx_init(&tx, &nic, 0, &shape);
    svq_tx_run(&tx, 500, "packets that the IOMMU leaves where they are");
    svq_tx_cleanup(&tx);

    /* Slots are not as large as pages, so buffers lie in two */
    shape.mem = RIG_VTD_WINDOW;
    svq_tx_init(&tx, &nic, 0, &shape);
    tx.seq = 500;
    svq_tx_run(&tx, 500, "packets behind an IOMMU");
    svq_tx_cleanup(&tx);
    split = svq_stat(&nic, VDPA_SIM_TX(0), "split-translations");
    g_test_message("%" PRIu64 " pieces were split", split);

    svq_rx_init(&rx, &nic, 0, &shape);
    svq_source(&nic, 0, SVQ_STREAM_SOURCE(0, 0), 500, 1514);
    svq_rx_wait(&rx, 500, "buffers behind an IOMMU");
    svq_rx_untouched(&rx);
    svq_driver_stop(&nic);
    svq_rx_cleanup(&rx);
    rig_vtd_disable();
    svq_driver_start(&nic);
    shape.mem = 0;
    svq_tx_init(&tx, &nic, 0, &shape);
    tx.seq = 1000;
    svq_tx_run(&tx, 500, "packets without the IOMMU");
    svq_tx_cleanup(&tx);
    svq_stop(&nic);
}

void svq_add_memory_cases(void)
{
    static const struct {
        const char *name;
        void (*func)(const SvqConfig *c);
    } cases[] = {
        { "edge", test_edge },
        { "dimms", test_dimms },
        { "iommu", test_iommu },
    };
    static const SvqDeviceMode devices[] = {
        { "split-indirect", BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) },
        { "packed", BIT_ULL(VIRTIO_F_RING_PACKED) },
    };
    unsigned i, d;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        for (d = 0; d < ARRAY_SIZE(devices); d++) {
            g_autofree char *path = g_strdup_printf("virtio/svq/%s/%s",
                                                    cases[i].name,
                                                    devices[d].name);
            SvqConfig c = {
                .guest = &modes[(i + 2 * d) % MODE_COUNT],
                .device = devices[d],
                .pairs = 2,
                .iothreads = 2 * d,
            };

            svq_add(path, cases[i].func, &c);
        }
    }
}
