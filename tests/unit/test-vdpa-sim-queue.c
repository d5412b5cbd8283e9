/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Queues of the simulated vDPA device (tests/vdpa-sim): who tells whom, who
 * waits for what, and where packets go
 *
 * That packets go right through each kind of ring is for vdpa-sim-test, which
 * has a driver that keeps the rules.
 */
#include <errno.h>
#include <glib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include "vdpa-sim-driver.h"

/* Notifications */

static void test_doorbell(void)
{
    VdpaSimConfig config;
    VdpaSimQueueStats *s;
    uint16_t *page;
    size_t size;
    unsigned i;
    Driver *d;

    driver_config(&config);
    config.notify_pages = 1u << TX;
    d = driver_new(&config);
    size = d->page;
    s = &d->sim->stats[TX];
    driver_start(d, PLAIN);
    g_assert_true(mmap(NULL, size, PROT_WRITE, MAP_SHARED, d->fd, RX * size) ==
                  MAP_FAILED);
    g_assert_cmpint(errno, ==, EOPNOTSUPP);
    g_assert_true(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, d->fd,
                       TX * size) == MAP_FAILED);
    g_assert_cmpint(errno, ==, EINVAL);
    page = mmap(NULL, size, PROT_WRITE, MAP_SHARED, d->fd, TX * size);
    g_assert_true(page != MAP_FAILED);
    g_assert_cmpuint(LOAD(s->doorbell_mapped), ==, 1);

    /* Each time from sleep; a queue that begins later is watched as well */
    for (i = 0; i < 20; i++) {
        if (i == 10) {
            driver_reset(d);
            g_usleep(20000);
            driver_start(d, PLAIN);
        }
        g_usleep(1000);
        driver_desc(d, TX, i % 16, DRIVER_BUF, LEN, 0, 0);
        driver_avail(d, TX, i % 16);
        STORE(*page, TX);
        driver_wait(d, TX);
        WAIT_FOR(LOAD(s->kicks_doorbell) == i + 1);
    }
    g_assert_cmpuint(LOAD(s->kicks_eventfd), ==, 0);
    munmap(page, size);
    driver_free(d, true);
}

static void test_notify_data(void)
{
    Driver *d = driver_new(NULL);
    uint32_t *page;
    VdpaSimQueueStats *s = &d->sim->stats[TX];
    size_t size = d->page;

    driver_start(d, PLAIN & ~NOTIFY_DATA);
    page = mmap(NULL, size, PROT_WRITE, MAP_SHARED, d->fd, TX * size);
    g_assert_true(page != MAP_FAILED);
    driver_desc(d, TX, 0, DRIVER_BUF, LEN, 0, 0);
    driver_avail(d, TX, 0);
    STORE(*page, TX | 1 << 16);
    driver_wait(d, TX);
    WAIT_FOR(LOAD(s->kicks_doorbell) == 1);
    munmap(page, size);
    driver_free(d, true);
}

/* The driver's wishes about interrupts are respected, and counted */
static void test_calls(void)
{
    Driver *d = driver_new(NULL);
    VdpaSimQueueStats *s = &d->sim->stats[TX];
    uint16_t *event = driver_avail_idx(d, TX) + 1 + DRIVER_RING;
    unsigned i;

    driver_start(d, PLAIN);
    driver_put(d, TX, 0, DRIVER_BUF, LEN, 0);
    driver_wait(d, TX);
    WAIT_FOR(LOAD(s->calls) == 1);
    g_assert_cmpuint(driver_count(d->call[TX]), ==, 1);
    STORE(driver_avail_idx(d, TX)[-1], 1);
    driver_put(d, TX, 1, DRIVER_BUF, LEN, 0);
    driver_wait(d, TX);
    WAIT_FOR(LOAD(s->calls_suppressed) == 1);
    g_assert_cmpuint(driver_count(d->call[TX]), ==, 0);

    driver_reset(d);
    driver_start(d, PLAIN & ~F(VIRTIO_RING_F_EVENT_IDX));
    STORE(*event, 2);
    for (i = 0; i < 4; i++) {
        driver_put(d, TX, i, DRIVER_BUF, LEN, 0);
        driver_wait(d, TX);
        WAIT_FOR(LOAD(s->calls) + LOAD(s->calls_suppressed) == 3 + i);
        g_assert_cmpuint(driver_count(d->call[TX]), ==, i == 2);
    }

    driver_reset(d);
    driver_start(d, PLAIN_PACKED & ~F(VIRTIO_RING_F_EVENT_IDX));
    event = (uint16_t *)(d->mem + TX * 0x8000 + 0x2000);
    STORE(event[0], 2 | 1 << 15);
    STORE(event[1], 2);
    for (i = 0; i < 2 * DRIVER_RING; i++) {
        if (i == 3) {
            /* The next one is in the next round */
            STORE(event[0], 8);
        }
        driver_put(d, TX, i, DRIVER_BUF, LEN, 0);
        driver_wait(d, TX);
        WAIT_FOR(LOAD(s->calls) + LOAD(s->calls_suppressed) == 7 + i);
        g_assert_cmpuint(driver_count(d->call[TX]), ==,
                         i == 2 || i == DRIVER_RING + 8);
    }
    driver_free(d, true);
}

/* Nanoseconds of CPU that a worker has used */
static uint64_t worker_cpu(VdpaSimQueueStats *s)
{
    g_autofree char *path = g_strdup_printf("/proc/self/task/%u/schedstat",
                                            LOAD(s->tid));
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return g_ascii_strtoull(text, NULL, 10);
}

/*
 * A packet waits for buffers, of which there are some.  The device asks for a
 * kick for the next one, which is not the next that it takes, and sleeps.
 */
static void test_starved(gconstpointer data)
{
    bool packed = GPOINTER_TO_INT(data);
    uint64_t without = packed ? PLAIN_PACKED : PLAIN;
    Driver *d = driver_new(NULL);
    VdpaSimQueueStats *s = &d->sim->stats[RX];
    uint16_t *event = driver_used_idx(d, RX) + 1 + 4 * DRIVER_RING;
    uint16_t *flags = (uint16_t *)(d->mem + RX * 0x8000 + 0x4000) + 1;
    const unsigned num = 5;     /* for each packet; the ring is no multiple */
    unsigned i;

    driver_start(d, without & ~F(VIRTIO_RING_F_EVENT_IDX));
    d->sim->ctl[RX].source_count = 8;
    d->sim->ctl[RX].source_len_min = num * 100 - DRIVER_HDR;
    STORE(d->sim->ctl[RX].mode, VDPA_SIM_SOURCE);
    vdpa_sim_wake(d->sim);
    WAIT_FOR(LOAD(s->tid));
    for (i = 0; i < 8 * num; i++) {
        unsigned tries = 5;
        uint64_t cpu;

        if (packed) {
            WAIT_FOR(LOAD(*flags) == (i % num ? 0 : 2));
        } else {
            WAIT_FOR(LOAD(*event) == i);
        }
        /* Other threads may delay it, but not each time */
        do {
            cpu = worker_cpu(s);
            g_usleep(5000);
            cpu = worker_cpu(s) - cpu;
        } while (cpu > 1000000 && --tries);
        g_assert_cmpuint(tries, >, 0);
        driver_put(d, RX, i % DRIVER_RING, DRIVER_BUF + 100 * i, 100, D_WRITE);
        if (i % num == num - 1) {
            unsigned j;

            for (j = 0; j < num; j++) {
                g_assert_cmpuint(driver_wait(d, RX).len, ==, 100);
            }
        }
    }
    driver_free(d, true);
}

/* Kicks a queue if the device asks for it */
static void kick_if_asked(Driver *d, unsigned q, uint16_t put)
{
    bool with_event = d->features & F(VIRTIO_RING_F_EVENT_IDX);
    uint16_t *used = driver_used_idx(d, q);
    bool kick;

    __sync_synchronize();
    if (d->packed) {
        uint16_t *event = (uint16_t *)(d->mem + q * 0x8000 + 0x4000);
        uint16_t flags = LOAD(event[1]);

        kick = flags == 0 ||
               (flags == 2 && LOAD(event[0]) ==
                (put % DRIVER_RING | !(put / DRIVER_RING % 2) << 15));
    } else if (with_event) {
        kick = LOAD(used[1 + 4 * DRIVER_RING]) == put;
    } else {
        kick = !LOAD(used[-1]);
    }
    if (kick) {
        driver_kick(d, q);
    }
}

/* As driver_wait(), but there at once, in the midst of what the worker does */
static Used spin(Driver *d, unsigned q)
{
    gint64 end = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;
    Used used;

    while (!driver_get(d, q, &used)) {
        if (g_get_monotonic_time() > end) {
            VdpaSimQueueStats *rx = &d->sim->stats[RX];
            VdpaSimQueueStats *tx = &d->sim->stats[TX];

            g_error("queue %u stands still; RX 0x%x, %" G_GUINT64_FORMAT
                    " packets, %" G_GUINT64_FORMAT " kicks; TX 0x%x, %"
                    G_GUINT64_FORMAT " packets, %" G_GUINT64_FORMAT " kicks",
                    q, LOAD(rx->pos), LOAD(rx->packets),
                    LOAD(rx->kicks_eventfd), LOAD(tx->pos), LOAD(tx->packets),
                    LOAD(tx->kicks_eventfd));
        }
    }
    return used;
}

/*
 * One packet at a time goes round, and each finds a queue about to sleep, the
 * one or the other.  No kick, and no packet, is lost on the way.
 */
static void test_round(gconstpointer data)
{
    static const uint64_t without[] = {
        PLAIN, PLAIN & ~F(VIRTIO_RING_F_EVENT_IDX),
        PLAIN_PACKED, PLAIN_PACKED & ~F(VIRTIO_RING_F_EVENT_IDX),
    };
    Driver *d = driver_new(NULL);
    unsigned i;

    driver_start(d, without[GPOINTER_TO_UINT(data)]);
    STORE(d->sim->ctl[TX].mode, VDPA_SIM_LOOP_PAIR);
    for (i = 0; i < 2000; i++) {
        Used used;

        if (i == 1000) {
            STORE(d->sim->ctl[TX].poll_ns, UINT32_MAX);
            vdpa_sim_wake(d->sim);
        }
        driver_desc(d, RX, i % DRIVER_RING, DRIVER_BUF + 1024, 1024, D_WRITE,
                    0);
        driver_desc(d, TX, i % DRIVER_RING, DRIVER_BUF, LEN, 0, 0);
        if (!d->packed) {
            driver_avail(d, RX, i % DRIVER_RING);
            driver_avail(d, TX, i % DRIVER_RING);
        }
        kick_if_asked(d, RX, i);
        kick_if_asked(d, TX, i);
        used = spin(d, RX);
        g_assert_cmpuint(used.id, ==, i % DRIVER_RING);
        g_assert_cmpuint(used.len, ==, LEN);
        spin(d, TX);
    }

    STORE(d->sim->ctl[TX].poll_ns, 0);
    STORE(d->sim->ctl[TX].mode, VDPA_SIM_PLAIN);
    vdpa_sim_wake(d->sim);
    for (; i < 6000; i++) {
        driver_desc(d, TX, i % DRIVER_RING, DRIVER_BUF, LEN, 0, 0);
        if (!d->packed) {
            driver_avail(d, TX, i % DRIVER_RING);
        }
        kick_if_asked(d, TX, i);
        spin(d, TX);
    }
    driver_free(d, true);
}

/* What does not fit the backlog of a receive queue is dropped, or waits */
static void test_backlog(gconstpointer data)
{
    bool lossless = GPOINTER_TO_INT(data);
    Driver *d = driver_new(NULL);
    VdpaSimQueueStats *rx = &d->sim->stats[RX];
    VdpaSimFlowConfig config = { .stream = 0 };
    VdpaSimStream stream = { 0 };
    const size_t len = 30000, num = 100;
    size_t sent = 0, back = 0, received = 0, room = 0;
    VdpaSimFlow flow;
    Used used;

    vdpa_sim_flow_init(&flow, &config);
    driver_start(d, PLAIN);
    d->sim->ctl[TX].lossless = lossless;
    STORE(d->sim->ctl[TX].mode, VDPA_SIM_LOOP_PAIR);
    memset(d->mem + DRIVER_BUF, 0, DRIVER_HDR);
    /* Receives nothing before it has to */
    while (received < num - LOAD(rx->dropped)) {
        back += driver_get(d, TX, &used);
        if (sent < num && back == sent) {
            vdpa_sim_packet_make(&flow, d->mem + DRIVER_BUF + DRIVER_HDR, len,
                                 sent);
            driver_put(d, TX, sent++ % DRIVER_RING, DRIVER_BUF,
                       DRIVER_HDR + len, 0);
            if (lossless && sent > 1048576 / len) {
                g_usleep(1000);         /* it waits, and the first time for */
            } else {                    /* room that nobody is to make soon */
                driver_wait(d, TX);
                back++;
            }
        } else if (room < 4 && (sent == num || lossless)) {
            driver_put(d, RX, (received + room) % DRIVER_RING,
                       DRIVER_BUF + 0x10000 * (1 + (received + room) % 4),
                       DRIVER_HDR + len, D_WRITE);
            room++;
        }
        if (driver_get(d, RX, &used)) {
            uint8_t *p = d->mem + DRIVER_BUF + 0x10000 * (1 + received % 4);
            VdpaSimPacketKind kind;

            g_assert_cmpuint(used.len, ==, DRIVER_HDR + len);
            kind = vdpa_sim_packet_check(&stream, 1, p + DRIVER_HDR, len);
            g_assert_cmpint(kind, ==, VDPA_SIM_PACKET_OK);
            received++;
            room--;
        }
    }
    if (lossless) {
        g_assert_cmpuint(LOAD(rx->dropped), ==, 0);
    } else {
        g_assert_cmpuint(LOAD(rx->dropped), >, num / 2);
    }
    driver_free(d, true);
}

/* What a packet has to be in order to be right */
static void test_verify(void)
{
    Driver *d = driver_new(NULL);
    VdpaSimQueueStats *s = &d->sim->stats[TX];
    VdpaSimFlowConfig config = { .stream = 7 };
    uint8_t *frame = d->mem + DRIVER_BUF + DRIVER_HDR;
    const uint8_t seqs[] = { 0, 1, 1, 4, 3 };
    VdpaSimFlow flow;
    unsigned i;

    driver_start(d, PLAIN);
    d->sim->ctl[TX].flow.stream = 7;
    STORE(d->sim->ctl[TX].verify, 1);
    vdpa_sim_flow_init(&flow, &config);
    for (i = 0; i < G_N_ELEMENTS(seqs); i++) {
        vdpa_sim_packet_make(&flow, frame, 60, seqs[i]);
        driver_put(d, TX, i, DRIVER_BUF, LEN, 0);
        driver_wait(d, TX);
    }
    frame[59] ^= 1;
    driver_put(d, TX, i, DRIVER_BUF, LEN, 0);
    driver_wait(d, TX);
    config.stream = 8;
    vdpa_sim_flow_init(&flow, &config);
    vdpa_sim_packet_make(&flow, frame, 60, 5);
    driver_put(d, TX, 0, DRIVER_BUF, LEN, 0);
    driver_wait(d, TX);
    memset(frame, 0, 60);
    driver_put(d, TX, 1, DRIVER_BUF, LEN, 0);
    driver_wait(d, TX);

    g_assert_cmpuint(LOAD(s->stream.packets), ==, 5);
    g_assert_cmpuint(LOAD(s->stream.duplicates), ==, 1);
    g_assert_cmpuint(LOAD(s->stream.reordered), ==, 1);
    g_assert_cmpuint(LOAD(s->stream.missing), ==, 1);
    g_assert_cmpuint(LOAD(s->damaged), ==, 1);
    g_assert_cmpuint(LOAD(s->foreign), ==, 2);
    driver_free(d, true);
}

/* What comes from the test: packets, the cable, announcements */
static void test_outside(void)
{
    static const uint8_t frame[60] = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 };
    struct {
        struct vhost_vdpa_config c;
        uint8_t room[8];
    } conf = { .c.off = offsetof(struct virtio_net_config, status),
               .c.len = 2 };
    Driver *d = driver_new(NULL);
    Used used;

    driver_start(d, PLAIN);
    driver_put(d, RX, 0, DRIVER_BUF, 1000, D_WRITE);
    g_assert_true(vdpa_sim_inject(d->sim, frame, sizeof(frame)));
    used = driver_wait(d, RX);
    g_assert_cmpuint(used.len, >, sizeof(frame));
    g_assert_cmpmem(d->mem + DRIVER_BUF + used.len - sizeof(frame),
                    sizeof(frame), frame, sizeof(frame));

    g_assert_cmpint(ask(d->fd, VHOST_VDPA_GET_CONFIG, &conf), ==, 0);
    g_assert_cmphex(conf.c.buf[0], ==, VIRTIO_NET_S_LINK_UP);
    vdpa_sim_set_link(d->sim, false);
    WAIT_FOR(driver_count(d->config_call));
    g_assert_cmpint(ask(d->fd, VHOST_VDPA_GET_CONFIG, &conf), ==, 0);
    g_assert_cmphex(conf.c.buf[0], ==, 0);
    vdpa_sim_announce(d->sim);
    WAIT_FOR(driver_count(d->config_call));
    g_assert_cmpint(ask(d->fd, VHOST_VDPA_GET_CONFIG, &conf), ==, 0);
    g_assert_cmphex(conf.c.buf[0], ==, VIRTIO_NET_S_ANNOUNCE);
    driver_free(d, true);
}

/* Sends a command, waits for the answer, and returns it */
static uint8_t command(Driver *d, const void *cmd, size_t len)
{
    uint8_t *ack = d->mem + DRIVER_BUF + 0x1000;

    memcpy(d->mem + DRIVER_BUF, cmd, len);
    driver_desc(d, DRIVER_CTRL, 0, DRIVER_BUF, len, D_NEXT, 1);
    driver_desc(d, DRIVER_CTRL, 1, DRIVER_BUF + 0x1000, 1, D_WRITE, 0);
    driver_avail(d, DRIVER_CTRL, 0);
    driver_kick(d, DRIVER_CTRL);
    g_assert_cmpuint(driver_wait(d, DRIVER_CTRL).len, ==, 1);
    return *ack;
}

/* Steering is what the driver has set up, and the hash is in the header */
static void test_steer(void)
{
    static const struct {
        uint8_t class, cmd;
        uint32_t types;
        uint16_t mask, unclassified, table[2], max_tx;
        uint8_t key_len, key[40];
    } __attribute__((packed)) rss = {
        VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_RSS_CONFIG,
        VIRTIO_NET_RSS_HASH_TYPE_IPv4, 1, 0, { 1, 1 }, 2,
        40, { 0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2 },
    };
    VdpaSimFlowConfig config = {
        .dst_mac = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 },
        .src_ip = 0x0a000001, .dst_ip = 0x0a000002,
    };
    Driver *d = driver_new(NULL);
    struct virtio_net_hdr_v1_hash hdr;
    uint8_t frame[64], other[64] = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 };
    VdpaSimFlow flow;
    Used used;

    vdpa_sim_flow_init(&flow, &config);
    vdpa_sim_packet_make(&flow, frame, sizeof(frame), 0);
    driver_start(d, PLAIN & ~F(VIRTIO_NET_F_HASH_REPORT));
    g_assert_cmpuint(command(d, &rss, sizeof(rss)), ==, VIRTIO_NET_OK);
    driver_put(d, VDPA_SIM_RX(0), 0, DRIVER_BUF + 0x2000, 1000, D_WRITE);
    driver_put(d, VDPA_SIM_RX(1), 0, DRIVER_BUF + 0x3000, 1000, D_WRITE);
    g_assert_true(vdpa_sim_inject(d->sim, frame, sizeof(frame)));
    used = driver_wait(d, VDPA_SIM_RX(1));
    g_assert_cmpuint(used.len, ==, sizeof(hdr) + sizeof(frame));
    memcpy(&hdr, d->mem + DRIVER_BUF + 0x3000, sizeof(hdr));
    g_assert_cmpuint(hdr.hdr.num_buffers, ==, 1);
    g_assert_cmpuint(hdr.hash_report, ==, VIRTIO_NET_HASH_REPORT_IPv4);
    g_assert_cmphex(hdr.hash_value, ==,
                    vdpa_sim_toeplitz(rss.key, rss.key_len,
                                      (const uint8_t *)"\x0a\0\0\1\x0a\0\0\2",
                                      8));
    g_assert_cmpmem(d->mem + DRIVER_BUF + 0x3000 + sizeof(hdr), sizeof(frame),
                    frame, sizeof(frame));

    WAIT_FOR(vdpa_sim_inject(d->sim, other, sizeof(other)));
    used = driver_wait(d, VDPA_SIM_RX(0));
    memcpy(&hdr, d->mem + DRIVER_BUF + 0x2000, sizeof(hdr));
    g_assert_cmpuint(hdr.hash_report, ==, VIRTIO_NET_HASH_REPORT_NONE);
    driver_free(d, true);
}

/* Makes available what is free, takes what is used; it has to be in order */
static void churn_traffic(Driver *d, uint16_t *added, unsigned rounds)
{
    Used used;

    while (rounds--) {
        while ((uint16_t)(*added - d->used[TX]) < DRIVER_RING) {
            driver_desc(d, TX, *added % DRIVER_RING, DRIVER_BUF, LEN, 0, 0);
            driver_avail(d, TX, *added % DRIVER_RING);
            ++*added;
        }
        while (driver_get(d, TX, &used)) {
            g_assert_cmpuint(used.id, ==, (d->used[TX] - 1) % DRIVER_RING);
        }
    }
}

/* What is no longer mapped is not touched, however busy the device is */
static void test_unmap(void)
{
    Driver *d = driver_new(NULL);
    uint64_t other = DRIVER_IOVA + 2 * DRIVER_MEM;
    size_t size = 16 * d->page;
    struct vhost_msg_v2 msg = {
        .type = VHOST_IOTLB_MSG_V2,
        .iotlb = { .iova = other, .size = size, .perm = VHOST_ACCESS_RO },
    };
    unsigned i, j;
    uint8_t *mem;

    mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
               -1, 0);
    g_assert_true(mem != MAP_FAILED);
    msg.iotlb.uaddr = (uintptr_t)mem;
    STORE(d->sim->ctl[TX].poll_ns, UINT32_MAX);
    STORE(d->sim->ctl[TX].verify, 1);
    STORE(d->sim->ctl[TX].batch, 1);
    driver_start(d, PLAIN);
    for (i = 0; i < 500; i++) {
        msg.iotlb.type = VHOST_IOTLB_UPDATE;
        g_assert_cmpint(write(d->fd, &msg, sizeof(msg)), ==, sizeof(msg));
        /* In two pieces, so that the device has something to copy */
        for (j = 0; j < DRIVER_RING; j += 2) {
            driver_desc(d, TX, j, 2 * DRIVER_MEM, 100, D_NEXT, j + 1);
            driver_desc(d, TX, j + 1, 2 * DRIVER_MEM, size - 100, 0, 0);
            driver_avail(d, TX, j);
        }
        spin(d, TX);            /* it is at the next one, then */
        msg.iotlb.type = VHOST_IOTLB_INVALIDATE;
        g_assert_cmpint(write(d->fd, &msg, sizeof(msg)), ==, sizeof(msg));
        g_assert_cmpint(mprotect(mem, size, PROT_NONE), ==, 0);
        for (j = 2; j < DRIVER_RING; j += 2) {
            driver_wait(d, TX);
        }
        g_assert_cmpint(mprotect(mem, size, PROT_READ | PROT_WRITE), ==, 0);
    }
    g_assert_cmpuint(LOAD(d->sim->state.violations), ==, 0);
    g_assert_cmpuint(LOAD(d->sim->stats[TX].packets) +
                     LOAD(d->sim->stats[TX].faults), ==,
                     500 * DRIVER_RING / 2);
    munmap(mem, size);
    driver_free(d, false);
}

/*
 * A driver that does everything at once, while the device is busy.  Nothing is
 * lost but by a reset, and the device sees nothing wrong.
 */
static void test_churn(void)
{
    Driver *d = driver_new(NULL);
    uint64_t other = DRIVER_IOVA + 2 * DRIVER_MEM;
    gint64 longest = 0, start;
    uint16_t added = 0;
    unsigned i;

    STORE(d->sim->ctl[TX].poll_ns, UINT32_MAX);
    driver_start(d, PLAIN);
    for (i = 0; i < 2000; i++) {
        unsigned what = g_test_rand_int_range(0, 20);

        churn_traffic(d, &added, g_test_rand_int_range(0, 50));
        start = g_get_monotonic_time();
        switch (what) {
        case 0:
            driver_reset(d);
            added = 0;
            driver_start(d, PLAIN);
            break;
        case 1:
            g_assert_cmpint(ask(d->fd, VHOST_VDPA_SUSPEND, NULL), ==,
                            0);
            g_assert_cmpuint(driver_base(d, TX), ==, *driver_used_idx(d, TX));
            g_assert_cmpint(ask(d->fd, RESUME, NULL), ==, 0);
            break;
        case 2:
            vdpa_sim_pause(d->sim, TX, true);
            vdpa_sim_pause(d->sim, TX, false);
            break;
        case 3:
            STORE(d->sim->ctl[TX].poll_ns, i % 2 ? UINT32_MAX : 1000);
            vdpa_sim_wake(d->sim);
            driver_kick(d, TX);
            break;
        default:
            g_assert_cmpint(driver_map(d, VHOST_IOTLB_UPDATE, 0, other, 0,
                                       DRIVER_MEM, VHOST_ACCESS_RW), ==, 0);
            g_assert_cmpint(driver_map(d, VHOST_IOTLB_INVALIDATE, 0, other, 0,
                                       DRIVER_MEM, 0), ==, 0);
            break;
        }
        longest = MAX(longest, g_get_monotonic_time() - start);
        driver_kick(d, TX);
    }
    g_test_message("%" G_GUINT64_FORMAT " buffers, at most %" G_GINT64_FORMAT
                   " us for a change", LOAD(d->sim->stats[TX].buffers),
                   longest);
    driver_free(d, true);
}

int main(int argc, char **argv)
{
    static const char *const rounds[] = {
        "/vdpa-sim/queue/round/split",
        "/vdpa-sim/queue/round/split-event",
        "/vdpa-sim/queue/round/packed",
        "/vdpa-sim/queue/round/packed-event",
    };
    unsigned i;

    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vdpa-sim/queue/doorbell", test_doorbell);
    g_test_add_func("/vdpa-sim/queue/notify-data", test_notify_data);
    g_test_add_func("/vdpa-sim/queue/calls", test_calls);
    g_test_add_data_func("/vdpa-sim/queue/starved/split", NULL, test_starved);
    g_test_add_data_func("/vdpa-sim/queue/starved/packed", GINT_TO_POINTER(1),
                         test_starved);
    for (i = 0; i < G_N_ELEMENTS(rounds); i++) {
        g_test_add_data_func(rounds[i], GUINT_TO_POINTER(i), test_round);
    }
    g_test_add_func("/vdpa-sim/queue/outside", test_outside);
    g_test_add_data_func("/vdpa-sim/queue/backlog/lossy", NULL, test_backlog);
    g_test_add_data_func("/vdpa-sim/queue/backlog/lossless",
                         GINT_TO_POINTER(1), test_backlog);
    g_test_add_func("/vdpa-sim/queue/verify", test_verify);
    g_test_add_func("/vdpa-sim/queue/steer", test_steer);
    g_test_add_func("/vdpa-sim/queue/unmap", test_unmap);
    g_test_add_func("/vdpa-sim/queue/churn", test_churn);
    return g_test_run();
}
