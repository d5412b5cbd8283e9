/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: devices that are about memory: balloon, memory, persistent memory
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "virtio-in-order-exchange.h"
#include "virtio-in-order-fleet.h"
#include "virtio-in-order-requests.h"
#include "virtio-in-order-traffic.h"
#include "qapi/qmp/qdict.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "standard-headers/linux/virtio_mem.h"

#define PAGE        4096

/* Queues of the balloon (VIRTIO 1.2, 5.5.2), without free page hints */
enum { BALLOON_INFLATE, BALLOON_DEFLATE, BALLOON_STATS, BALLOON_REPORT,
       BALLOON_QUEUES };

typedef struct Balloon {
    Dev *dev;
    QVirtQueue *vq[BALLOON_QUEUES];
} Balloon;

static void balloon_start(Balloon *b)
{
    unsigned i;

    b->dev = dev_start(FLEET_BALLOON, NO_EVENT_IDX);
    for (i = 0; i < BALLOON_QUEUES; i++) {
        b->vq[i] = queue_setup(b->dev, i, 0);
    }
    qvirtio_set_driver_ok(b->dev->vdev);
}

static void balloon_stop(Balloon *b)
{
    unsigned i;

    qvirtio_reset(b->dev->vdev);
    for (i = 0; i < BALLOON_QUEUES; i++) {
        queue_free(b->dev, b->vq[i]);
    }
}

/* Every other page has to be gone, that is zero, and the rest untouched */
static void pages_check(uint64_t addr, unsigned n, uint32_t seed)
{
    g_autofree uint8_t *want = g_malloc(PAGE);
    unsigned i;

    for (i = 0; i < n; i++) {
        if (i & 1) {
            pattern_fill(want, PAGE, seed + i);
        } else {
            memset(want, 0, PAGE);
        }
        g_assert_cmpmem(guest(addr + i * PAGE, PAGE), PAGE, want, PAGE);
    }
}

static void pages_fill(uint64_t addr, unsigned n, uint32_t seed)
{
    unsigned i;

    for (i = 0; i < n; i++) {
        pattern_fill(guest(addr + i * PAGE, PAGE), PAGE, seed + i);
    }
}

/*
 * Pages go into the balloon and come out again; a new target interrupts.  If
 * this fails, a page that the guest still uses is taken away, or one stays
 * that it has given up, or the driver waits for an answer for good.
 */
void test_balloon(const void *data)
{
    enum { COUNT = 8, PER = 6 };
    Exchange x[COUNT];
    unsigned round, i, j;
    uint64_t pages;
    Balloon b;

    if (!fleet_get(data)) {
        return;
    }
    balloon_start(&b);
    pages = guest_alloc(&rig->alloc, 2 * COUNT * PER * PAGE);
    for (i = 0; i < COUNT; i++) {
        exchange_init(&x[i], 4 * PER, 0);
    }
    for (round = 0; round < 6; round++) {
        bool inflate = !(round & 1);
        QVirtQueue *vq = b.vq[inflate ? BALLOON_INFLATE : BALLOON_DEFLATE];

        if (inflate) {
            qtest_qmp_assert_success(rig->qts, "{'execute': 'balloon', "
                                     "'arguments': {'value': %u}}",
                                     (unsigned)(RIG_RAM_SIZE -
                                                (round + 1) * PAGE));
            fleet_await_config(b.dev);
            g_assert_cmpuint(qvirtio_config_readl(b.dev->vdev, 0), ==,
                             round + 1);
            pages_fill(pages, 2 * COUNT * PER, round);
        }
        for (i = 0; i < COUNT; i++) {
            for (j = 0; j < PER; j++) {
                stl_le_p(x[i].out + 4 * j,
                         pages / PAGE + 2 * (i * PER + j));
            }
            exchange_add(&x[i], vq, 4 * PER, 0);
        }
        exchange_go(&x[COUNT - 1], vq);
        exchange_finish(x, COUNT, vq, "balloon");
        for (i = 0; i < COUNT; i++) {
            g_assert_cmpuint(x[i].len, ==, 0);
        }
        if (inflate) {
            pages_check(pages, 2 * COUNT * PER, round);
        }
        fleet_idle(b.dev, vq);
    }
    balloon_stop(&b);
}

static uint64_t balloon_stat(const char *name)
{
    QDict *rsp, *stats;
    uint64_t val;

    rsp = qtest_qmp(rig->qts, "{'execute': 'qom-get', 'arguments': {'path': "
                    "'/machine/peripheral/bal', 'property': 'guest-stats'}}");
    stats = qdict_get_qdict(qdict_get_qdict(rsp, "return"), "stats");
    val = qdict_get_int(stats, name);
    qobject_unref(rsp);
    return val;
}

static void balloon_poll(unsigned seconds)
{
    qtest_qmp_assert_success(rig->qts, "{'execute': 'qom-set', 'arguments': "
                             "{'path': '/machine/peripheral/bal', 'property':"
                             " 'guest-stats-polling-interval', 'value': %u}}",
                             seconds);
}

/*
 * The statistics buffer, which the device keeps until it wants news.  If this
 * fails, it does not come back when its time has come, or the news are not
 * read.
 */
void test_balloon_stats(const void *data)
{
    Balloon b;
    Exchange x;
    unsigned round;

    if (!fleet_get(data)) {
        return;
    }
    balloon_start(&b);
    exchange_init(&x, 2 * sizeof(struct virtio_balloon_stat), 0);
    for (round = 1; round < 10; round++) {
        gint64 start = 0;

        stw_le_p(x.out, VIRTIO_BALLOON_S_MEMFREE);
        stq_le_p(x.out + 2, round * 1000);
        stw_le_p(x.out + 10, VIRTIO_BALLOON_S_SWAP_IN);
        stq_le_p(x.out + 12, round);
        exchange_add(&x, b.vq[BALLOON_STATS], x.out_max, 0);
        exchange_go(&x, b.vq[BALLOON_STATS]);
        main_loop_rounds();
        g_assert_null(exchange_take(&x, 1, b.vq[BALLOON_STATS]));
        g_assert_cmpuint(balloon_stat("stat-free-memory"), ==, round * 1000);
        g_assert_cmpuint(balloon_stat("stat-swap-in"), ==, round);

        balloon_poll(1);
        while (!exchange_take(&x, 1, b.vq[BALLOON_STATS])) {
            qtest_clock_step(rig->qts, 100 * 1000 * 1000);
            wait_a_little(&start, b.vq[BALLOON_STATS], "statistics");
        }
        g_assert_cmpuint(x.len, ==, 0);
        fleet_idle(b.dev, b.vq[BALLOON_STATS]);
        balloon_poll(0);
    }
    balloon_stop(&b);
}

/*
 * Free pages that the driver reports, in buffers that are the pages
 * themselves.  If this fails, a buffer with a writable part that nothing was
 * written to is taken for a part of a batch.
 */
void test_balloon_report(const void *data)
{
    enum { COUNT = 20 };
    Exchange x[COUNT];
    unsigned round, i;
    Balloon b;

    if (!fleet_get(data)) {
        return;
    }
    balloon_start(&b);
    for (i = 0; i < COUNT; i++) {
        exchange_init(&x[i], 0, 2 * PAGE);
        x[i].plain = true;
    }
    for (round = 0; round < 5; round++) {
        for (i = 0; i < COUNT; i++) {
            pattern_fill(x[i].in + PAGE, PAGE, i);
            exchange_add(&x[i], b.vq[BALLOON_REPORT], 0, PAGE);
            /* The poison goes away with the page */
            x[i].in_len = 0;
        }
        exchange_go(&x[COUNT - 1], b.vq[BALLOON_REPORT]);
        exchange_finish(x, COUNT, b.vq[BALLOON_REPORT], "free pages");
        for (i = 0; i < COUNT; i++) {
            g_autofree uint8_t *want = g_malloc0(2 * PAGE);

            g_assert_cmpuint(x[i].len, ==, 0);
            pattern_fill(want + PAGE, PAGE, i);
            g_assert_cmpmem(x[i].in, 2 * PAGE, want, 2 * PAGE);
        }
        fleet_idle(b.dev, b.vq[BALLOON_REPORT]);
    }
    balloon_stop(&b);
}

/* struct virtio_mem_resp, as it is on the wire: no padding at its end */
#define MEM_RESP        10

static void mem_request(Exchange *x, QVirtQueue *vq, uint16_t type,
                        uint64_t addr, uint16_t blocks)
{
    memset(x->out, 0, x->out_max);
    stw_le_p(x->out, type);
    stq_le_p(x->out + 8, addr);
    stw_le_p(x->out + 16, blocks);
    exchange_add(x, vq, sizeof(struct virtio_mem_req), MEM_RESP);
}

/* The size that the host wants, or the one that there is, bytes */
static uint64_t mem_size(const char *property, uint64_t set)
{
    uint64_t val = set;
    QDict *rsp;

    if (set != UINT64_MAX) {
        qtest_qmp_assert_success(rig->qts, "{'execute': 'qom-set', "
                                 "'arguments': {'path': '/machine/peripheral/"
                                 "mem0', 'property': %s, 'value': %" PRIu64
                                 "}}", property, set);
        return val;
    }
    rsp = qtest_qmp(rig->qts, "{'execute': 'qom-get', 'arguments': {'path': "
                    "'/machine/peripheral/mem0', 'property': %s}}", property);
    val = qdict_get_int(rsp, "return");
    qobject_unref(rsp);
    return val;
}

/*
 * Memory is plugged, asked about, and unplugged, by requests in one burst.
 * If this fails, a request overtakes another, or the answer of one gets into
 * the buffer of another; the driver uses memory that is not there.
 */
void test_mem(const void *data)
{
    enum { BLOCKS = 8, COUNT = BLOCKS + 2 };
    Exchange x[COUNT];
    uint64_t block, addr;
    unsigned round, i;
    QVirtQueue *vq;
    Dev *dev;

    if (!fleet_get(data)) {
        return;
    }
    dev = dev_start(FLEET_MEM, NO_EVENT_IDX);
    vq = queue_setup(dev, 0, 0);
    qvirtio_set_driver_ok(dev->vdev);
    for (i = 0; i < COUNT; i++) {
        exchange_init(&x[i], sizeof(struct virtio_mem_req), MEM_RESP);
    }
    block = qvirtio_config_readq(dev->vdev,
                                 offsetof(struct virtio_mem_config,
                                          block_size));
    addr = qvirtio_config_readq(dev->vdev,
                                offsetof(struct virtio_mem_config, addr));
    for (round = 0; round < 3; round++) {
        mem_size("requested-size", BLOCKS * block);
        fleet_await_config(dev);
        g_assert_cmpuint(qvirtio_config_readq(dev->vdev, offsetof(
                             struct virtio_mem_config, requested_size)), ==,
                         BLOCKS * block);
        for (i = 0; i < BLOCKS; i++) {
            mem_request(&x[i], vq, VIRTIO_MEM_REQ_PLUG, addr + i * block, 1);
        }
        mem_request(&x[i], vq, VIRTIO_MEM_REQ_STATE, addr, BLOCKS);
        mem_request(&x[i + 1], vq, VIRTIO_MEM_REQ_PLUG, addr, 1);
        exchange_go(&x[i + 1], vq);
        exchange_finish(x, COUNT, vq, "plugging memory");
        for (i = 0; i < COUNT; i++) {
            g_assert_cmpuint(x[i].len, ==, MEM_RESP);
            g_assert_cmpuint(lduw_le_p(x[i].in), ==, i < COUNT - 1 ?
                             VIRTIO_MEM_RESP_ACK : VIRTIO_MEM_RESP_NACK);
        }
        g_assert_cmpuint(lduw_le_p(x[BLOCKS].in + 8), ==,
                         VIRTIO_MEM_STATE_PLUGGED);
        g_assert_cmpuint(mem_size("size", UINT64_MAX), ==, BLOCKS * block);
        for (i = 0; i < BLOCKS; i++) {
            g_assert_cmphex(qtest_readq(rig->qts, addr + i * block), ==, 0);
            qtest_writeq(rig->qts, addr + i * block, 0x1234567 + i);
            g_assert_cmphex(qtest_readq(rig->qts, addr + i * block), ==,
                            0x1234567 + i);
        }

        mem_size("requested-size", 0);
        fleet_await_config(dev);
        for (i = 0; i < BLOCKS / 2; i++) {
            mem_request(&x[i], vq, VIRTIO_MEM_REQ_UNPLUG,
                        addr + 2 * i * block, 1);
        }
        mem_request(&x[i], vq, VIRTIO_MEM_REQ_STATE, addr, BLOCKS);
        mem_request(&x[i + 1], vq, VIRTIO_MEM_REQ_UNPLUG_ALL, 0, 0);
        mem_request(&x[i + 2], vq, VIRTIO_MEM_REQ_STATE, addr, BLOCKS);
        exchange_go(&x[i + 2], vq);
        exchange_finish(x, COUNT, vq, "unplugging memory");
        for (i = 0; i < BLOCKS / 2 + 2; i++) {
            g_assert_cmpuint(lduw_le_p(x[i].in), ==, VIRTIO_MEM_RESP_ACK);
        }
        g_assert_cmpuint(lduw_le_p(x[BLOCKS / 2].in + 8), ==,
                         VIRTIO_MEM_STATE_MIXED);
        g_assert_cmpuint(mem_size("size", UINT64_MAX), ==, 0);
        fleet_idle(dev, vq);
    }
    qvirtio_reset(dev->vdev);
    queue_free(dev, vq);
}

/*
 * Flushes of persistent memory, many for each kick; threads of QEMU complete
 * them in any order.  If this fails, a request waits for the next kick, or
 * comes back out of order.
 */
void test_pmem(const void *data)
{
    enum { COUNT = 20 };
    Exchange x[COUNT];
    unsigned round, i;
    uint64_t addr;
    QVirtQueue *vq;
    Dev *dev;

    if (!fleet_get(data) || base_lacks("takes one request for each kick")) {
        return;
    }
    dev = dev_start(FLEET_PMEM, NO_EVENT_IDX);
    vq = queue_setup(dev, 0, 0);
    qvirtio_set_driver_ok(dev->vdev);
    addr = qvirtio_config_readq(dev->vdev, 0);
    g_assert_cmpuint(qvirtio_config_readq(dev->vdev, 8), ==, FLEET_PMEM_SIZE);
    for (i = 0; i < COUNT; i++) {
        exchange_init(&x[i], 4, 4);
    }
    for (round = 0; round < 10; round++) {
        for (i = 0; i < COUNT; i++) {
            qtest_writel(rig->qts, addr + i * PAGE, round * 1000 + i);
            memset(x[i].out, 0, 4);
            exchange_add(&x[i], vq, 4, 4);
        }
        exchange_go(&x[COUNT - 1], vq);
        exchange_finish(x, COUNT, vq, "flushing memory");
        for (i = 0; i < COUNT; i++) {
            g_assert_cmpuint(x[i].len, ==, 4);
            g_assert_cmpuint(ldl_le_p(x[i].in), ==, 0);
            g_assert_cmpuint(ldl_le_p(fleet.pmem + i * PAGE), ==,
                             round * 1000 + i);
        }
        fleet_idle(dev, vq);
    }
    qvirtio_reset(dev->vdev);
    queue_free(dev, vq);
}
