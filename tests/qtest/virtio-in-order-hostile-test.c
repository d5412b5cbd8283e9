/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: virtio drivers that do not keep their side
 *
 * Each case runs in both ring layouts, with and without VIRTIO_F_IN_ORDER.
 * Nothing that such a driver does may bring QEMU down, make it hang, or touch
 * another device; after a reset the device has to work for a good driver.
 * With in-order, what the device relies on is watched: a driver that violates
 * it finds that the device needs a reset, and the log says why.
 *
 * The strings of bytes in tests/fuzz/corpus, found by
 * fuzz/virtio_in_order_fuzz.c, run here as well.  VIRTIO_IN_ORDER_CORPUS in
 * the environment names another folder for virtio-net/ and virtio-blk/.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/memfd.h"
#include "virtio-in-order-hostile.h"
#include "virtio-in-order-requests.h"
#include "standard-headers/linux/virtio_blk.h"
#include "standard-headers/linux/virtio_pci.h"

#define RING            16      /* entries of the rings that are abused */
#define RACE_US         (G_USEC_PER_SEC * 7 / 10)

/* A test of a table, in a mode */
typedef struct Case {
    const Mode *mode;
    const void *what;
} Case;

/* What QEMU writes to its standard error */
static int log_fd = -1;
static off_t log_seen;

static void link_up_down(bool up)
{
    set_link(dev_name(DEV_DGRAM), up);
}

static void vm_running(bool on)
{
    qtest_qmp_assert_success(rig->qts, "{'execute': %s}",
                             on ? "cont" : "stop");
}

/* A kick is seen by the next round of QEMU's main loop */
static void few_rounds(void)
{
    unsigned i;

    for (i = 0; i < 3; i++) {
        qtest_clock_step(rig->qts, 0);
    }
}

static const HostileHost socket_host = {
    .run = few_rounds,
    .set_link = link_up_down,
    .set_running = vm_running,
};

/* rig_get(), with what QEMU has to say in log_fd */
static void logged_rig(const Mode *mode)
{
    int err;

    if (log_fd < 0) {
        log_fd = shared_file("log", 0);
        g_assert_cmpint(fcntl(log_fd, F_SETFL, O_APPEND), ==, 0);
    }
    err = dup(STDERR_FILENO);
    g_assert_cmpint(err, >=, 0);
    g_assert_cmpint(dup2(log_fd, STDERR_FILENO), ==, STDERR_FILENO);
    rig_get(mode);
    dup2(err, STDERR_FILENO);
    close(err);
    log_seen = lseek(log_fd, 0, SEEK_END);
}

/* What was added to the log since the last call; to be freed with g_free() */
static char *new_log(void)
{
    off_t end = lseek(log_fd, 0, SEEK_END);
    size_t len = end - log_seen;
    char *text = g_malloc(len + 1);

    g_assert_cmpint(pread(log_fd, text, len, log_seen), ==, len);
    text[len] = 0;
    log_seen = end;
    return text;
}

static void check_log(DevId id, unsigned queue, const char *rule)
{
    g_autofree char *text = new_log();
    g_autofree char *want = g_strdup_printf("virtio-[a-z]+.*%s.*queue %u.*"
                                            "(%s)", dev_name(id), queue,
                                            rule);

    if (!g_regex_match_simple(want, text, G_REGEX_CASELESS, 0)) {
        g_error("no message like \"%s\"; QEMU said: \"%s\"", want, text);
    }
}

static bool needs_reset(Dev *dev)
{
    return dev->vdev->bus->get_status(dev->vdev) &
           VIRTIO_CONFIG_S_NEEDS_RESET;
}

static void recover(DevId id)
{
    Hostile h;

    hostile_init(&h, id, &socket_host);
    hostile_recover(&h);
    hostile_cleanup(&h);
}

/* Raw rings; the driver of libqos, which would object, sets them up only */

typedef struct Abused {
    const Mode *mode;
    Dev *dev;
    QVirtQueue *vq;         /* a ring of RING entries */
    QVirtQueue *other;      /* network cards have two */
    uint64_t mem;           /* guest memory, 64 KiB */
} Abused;

static void put_desc(Abused *a, unsigned pos, uint64_t addr, uint32_t len,
                     uint16_t flags, uint16_t next)
{
    uint8_t *d = guest(a->vq->desc + 16 * pos, 16);

    stq_le_p(d, addr);
    stl_le_p(d + 8, len);
    if (a->mode->packed) {
        stw_le_p(d + 12, next);
        /* The rest of the descriptor before its flags */
        smp_wmb();
        stw_le_p(d + 14, flags | 1 << VRING_PACKED_DESC_F_AVAIL);
    } else {
        stw_le_p(d + 12, flags);
        stw_le_p(d + 14, next);
    }
}

/* @n heads of a split ring, from the available index on */
static void put_avail(Abused *a, const uint16_t *heads, unsigned n)
{
    uint16_t idx = lduw_le_p(guest(a->vq->avail + 2, 2));
    unsigned i;

    if (a->mode->packed) {
        return;
    }
    for (i = 0; i < n; i++) {
        stw_le_p(guest(a->vq->avail + 4 + 2 * ((idx + i) % RING), 2),
                 heads[i]);
    }
    /* The entries before the index */
    smp_wmb();
    stw_le_p(guest(a->vq->avail + 2, 2), idx + n);
}

static void kick(Abused *a, QVirtQueue *vq)
{
    a->dev->vdev->bus->virtqueue_kick(a->dev->vdev, vq);
    main_loop_rounds();
    /* Otherwise QEMU hangs or is gone */
    qtest_qmp_assert_success(rig->qts, "{'execute': 'query-status'}");
}

static void abuse_begin(Abused *a, const Mode *mode, DevId id, unsigned queue)
{
    *a = (Abused) { .mode = mode };
    if (id == DEV_DGRAM) {
        QVirtQueue *rx, *tx;

        net_start(id, NO_EVENT_IDX, RING, RING, &a->dev, &rx, &tx);
        a->vq = queue ? tx : rx;
        a->other = queue ? rx : tx;
    } else {
        a->dev = dev_start(id, NO_EVENT_IDX);
        a->vq = queue_setup(a->dev, 0, RING);
        qvirtio_set_driver_ok(a->dev->vdev);
    }
    a->mem = guest_alloc(&rig->alloc, 64 * KiB);
    memset(guest(a->mem, 64 * KiB), 0, 64 * KiB);
}

/* Our part of the queues, before all guest memory is free again */
static void abuse_free(Abused *a)
{
    queue_free(a->dev, a->vq);
    if (a->other) {
        queue_free(a->dev, a->other);
    }
}

static void abuse_end(Abused *a)
{
    DevId id = a->dev->id;

    qvirtio_reset(a->dev->vdev);
    abuse_free(a);
    recover(id);
}

/* Requests that the throttled disk does not finish soon */
static void slow_reads(Abused *a, Request *reqs, unsigned n)
{
    unsigned i;

    for (i = 0; i < n; i++) {
        request_init(&reqs[i], SECTOR);
        request_add(&reqs[i], a->vq, VIRTIO_BLK_T_IN, i * 100, SECTOR, 1,
                    false);
    }
    qvring_publish(rig->qts, a->vq, reqs[n - 1].id);
}

/* What the device relies on with VIRTIO_F_IN_ORDER */

typedef struct Violation {
    const char *name;
    DevId id;
    unsigned queue;
    bool split, packed;     /* layouts that it exists in */
    const char *rule;       /* what the message has to say about it */
    void (*act)(Abused *a);
} Violation;

/* VIRTIO 1.2, 2.7.5.2: from x to x + 1 */
static void act_chain(Abused *a)
{
    put_desc(a, 0, a->mem, 100, VRING_DESC_F_NEXT, 2);
    put_desc(a, 2, a->mem + 100, 100, 0, 0);
    put_avail(a, (uint16_t[]) { 0 }, 1);
    kick(a, a->vq);
}

/* The same at the table's end, from queue_size - 1 to 0 */
static void act_chain_end(Abused *a)
{
    put_desc(a, RING - 1, a->mem, 100, VRING_DESC_F_NEXT, 1);
    put_desc(a, 1, a->mem + 100, 100, 0, 0);
    put_avail(a, (uint16_t[]) { RING - 1 }, 1);
    kick(a, a->vq);
}

/* 2.7.13: into free descriptors */
static void act_again(Abused *a)
{
    Request reqs[4] = { 0 };
    unsigned i;

    slow_reads(a, reqs, ARRAY_SIZE(reqs));
    if (a->mode->packed) {
        for (i = 0; i < ARRAY_SIZE(reqs); i++) {
            stw_le_p(guest(a->vq->desc + 16 * (3 * i + 2) + 12, 2), 5);
        }
    } else {
        uint16_t last = reqs[ARRAY_SIZE(reqs) - 1].id;

        put_avail(a, (uint16_t[]) { last, last }, 2);
    }
    kick(a, a->vq);
}

/* 2.7.13: the index is never more than the ring ahead */
static void act_ahead(Abused *a)
{
    put_desc(a, 0, a->mem, 100, 0, 0);
    stw_le_p(guest(a->vq->avail + 2, 2), 300);
    kick(a, a->vq);
}

/* 2.8.17: there has to be space for a whole chain */
static void act_overrun(Abused *a)
{
    Request reqs[5] = { 0 };
    unsigned i;

    slow_reads(a, reqs, ARRAY_SIZE(reqs));
    kick(a, a->vq);
    /* 15 descriptors are in flight; now a chain over the whole ring */
    for (i = 0; i < RING - 1; i++) {
        uint8_t *flags = guest(a->vq->desc + 16 * i + 14, 2);

        stw_le_p(flags, i + 2 < RING ? VRING_DESC_F_NEXT : 0);
    }
    put_desc(a, RING - 1, a->mem, 16, VRING_DESC_F_NEXT, 99);
    kick(a, a->vq);
}

static const Violation violations[] = {
    { "chain", DEV_DGRAM, 1, true, false,
      "IN_ORDER.*(follow|consecutive|next)", act_chain },
    { "chain-end", DEV_DGRAM, 1, true, false,
      "IN_ORDER.*(follow|consecutive|next)", act_chain_end },
    { "again", DEV_SLOW, 0, true, true,
      "IN_ORDER.*(again|in flight|twice)", act_again },
    { "ahead", DEV_DGRAM, 1, true, false,
      "index|ahead|further|more buffers", act_ahead },
    { "overrun", DEV_SLOW, 0, false, true,
      "more.*in flight|ring of", act_overrun },
};

/*
 * What the device relies on.  If this fails, a driver that violates the order
 * is served wrongly without a word, takes another device down, or is refused
 * although it negotiated no order.
 */
static void test_violation(const void *data)
{
    const Case *c = data;
    const Violation *v = c->what;
    const Mode *mode = c->mode;
    Abused a;

    if (!can_run(mode)) {
        return;
    }
    logged_rig(mode);
    abuse_begin(&a, mode, v->id, v->queue);
    g_free(new_log());
    v->act(&a);
    if (mode->in_order) {
        g_assert_true(needs_reset(a.dev));
        check_log(v->id, v->queue, v->rule);
        /* The others go on */
        abuse_free(&a);
        recover(v->id == DEV_SLOW ? DEV_DGRAM : DEV_SLOW);
        recover(v->id);
    } else {
        abuse_end(&a);
    }
}

/* What could bring QEMU down */

/* A buffer of one descriptor */
static void put_one(Abused *a, unsigned pos, uint32_t len, uint16_t flags)
{
    put_desc(a, pos, a->mem + 4096 * pos, len, flags, pos);
    put_avail(a, (uint16_t[]) { pos }, 1);
}

static void act_short_header(Abused *a)
{
    put_one(a, 0, 4, 0);
    kick(a, a->vq);
    g_assert_true(needs_reset(a->dev));
}

/* The header over two descriptors, and nothing behind it: no packet, no harm */
static void act_bare_header(Abused *a)
{
    if (a->mode->packed) {
        put_desc(a, 1, a->mem + 5, 7, 0, 0);
        put_desc(a, 0, a->mem, 5, VRING_DESC_F_NEXT, 0);
    } else {
        put_desc(a, 0, a->mem, 5, VRING_DESC_F_NEXT, 1);
        put_desc(a, 1, a->mem + 5, 7, 0, 0);
        put_avail(a, (uint16_t[]) { 0 }, 1);
    }
    kick(a, a->vq);
}

static void act_short_receive(Abused *a)
{
    uint8_t pkt[60] = { 0 };

    put_one(a, 0, 1, VRING_DESC_F_WRITE);
    put_one(a, 1, 2000, VRING_DESC_F_WRITE);
    kick(a, a->vq);
    g_assert_true(peer_send(dev_peer(a->dev), pkt, sizeof(pkt)));
    main_loop_rounds();
    kick(a, a->vq);
    g_assert_true(needs_reset(a->dev));
}

static void act_empty_indirect(Abused *a)
{
    put_one(a, 0, 0, VRING_DESC_F_INDIRECT);
    kick(a, a->vq);
    g_assert_true(needs_reset(a->dev));
}

static void act_empty_indirect_receive(Abused *a)
{
    uint8_t pkt[60] = { 0 };

    put_one(a, 0, 0, VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE);
    kick(a, a->vq);
    g_assert_true(peer_send(dev_peer(a->dev), pkt, sizeof(pkt)));
    main_loop_rounds();
    kick(a, a->vq);
    g_assert_true(needs_reset(a->dev));
}

static void act_huge_indirect(Abused *a)
{
    put_one(a, 0, 0xfffffff0, VRING_DESC_F_INDIRECT);
    kick(a, a->vq);
    g_assert_true(needs_reset(a->dev));
}

static void queue_size(Abused *a, uint16_t num)
{
    a->dev->vdev->bus->queue_select(a->dev->vdev, a->vq->index);
    qpci_io_writew(a->dev->pci->pdev, a->dev->pci->bar,
                   common_cfg(a->dev, VIRTIO_PCI_COMMON_Q_SIZE), num);
}

static void queue_enable(Abused *a)
{
    qpci_io_writew(a->dev->pci->pdev, a->dev->pci->bar,
                   common_cfg(a->dev, VIRTIO_PCI_COMMON_Q_ENABLE), 1);
}

static void act_resize(Abused *a)
{
    unsigned i;

    for (i = 0; i < RING / 2; i++) {
        put_one(a, i, 100, 0);
    }
    kick(a, a->vq);
    /* Smaller than where the device is */
    queue_size(a, 2);
    kick(a, a->vq);
    queue_enable(a);
    for (; i < RING; i++) {
        put_one(a, i, 100, 0);
    }
    kick(a, a->vq);
    /* Larger than what it has mapped */
    queue_size(a, 1024);
    for (i = 0; i < RING; i++) {
        put_desc(a, i, a->mem, 100, 0, i);
        put_avail(a, (uint16_t[]) { i }, 1);
        kick(a, a->vq);
    }
    queue_enable(a);
    stw_le_p(guest(a->vq->avail + 2, 2), 900);
    kick(a, a->vq);
}

static void act_features(Abused *a)
{
    QPCIDevice *pdev = a->dev->pci->pdev;
    QPCIBar bar = a->dev->pci->bar;
    uint32_t high = a->dev->vdev->features >> 32;
    unsigned i;

    put_one(a, 0, 100, 0);
    kick(a, a->vq);
    /* Take FEATURES_OK back, then turn the layout and the order around */
    qpci_io_writeb(pdev, bar, common_cfg(a->dev, VIRTIO_PCI_COMMON_STATUS),
                   VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    qpci_io_writel(pdev, bar, common_cfg(a->dev, VIRTIO_PCI_COMMON_GFSELECT),
                   1);
    for (i = 0; i < 2; i++) {
        high ^= BIT(i ? VIRTIO_F_IN_ORDER - 32 : VIRTIO_F_RING_PACKED - 32);
        qpci_io_writel(pdev, bar, common_cfg(a->dev, VIRTIO_PCI_COMMON_GF),
                       high);
        qpci_io_writeb(pdev, bar,
                       common_cfg(a->dev, VIRTIO_PCI_COMMON_STATUS),
                       VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
                       VIRTIO_CONFIG_S_FEATURES_OK |
                       VIRTIO_CONFIG_S_DRIVER_OK);
        put_one(a, 1 + i, 100, 0);
        kick(a, a->vq);
        qpci_io_writeb(pdev, bar,
                       common_cfg(a->dev, VIRTIO_PCI_COMMON_STATUS),
                       VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    }
}

static void act_behind_error(Abused *a)
{
    unsigned i;

    /* Requests without a status to write */
    for (i = 0; i < 4; i++) {
        put_one(a, i, 16, 0);
    }
    kick(a, a->vq);
    g_assert_true(needs_reset(a->dev));
}

/* Disk requests that a device without bus mastering gets */
static void act_no_master(Abused *a)
{
    QPCIDevice *pdev = a->dev->pci->pdev;

    qpci_config_writew(pdev, 4, 2);
    put_one(a, 0, 16, 0);
    kick(a, a->vq);
    qpci_config_writew(pdev, 4, 6);
    kick(a, a->vq);
}

typedef struct Abuse {
    const char *name;
    DevId id;
    unsigned queue;
    void (*act)(Abused *a);
} Abuse;

static const Abuse abuses[] = {
    { "short-header", DEV_DGRAM, 1, act_short_header },
    { "bare-header", DEV_DGRAM, 1, act_bare_header },
    { "short-receive", DEV_DGRAM, 0, act_short_receive },
    { "indirect", DEV_DGRAM, 1, act_empty_indirect },
    { "indirect-receive", DEV_DGRAM, 0, act_empty_indirect_receive },
    { "indirect-huge", DEV_DGRAM, 1, act_huge_indirect },
    { "indirect-blk", DEV_SLOW, 0, act_empty_indirect },
    { "resize", DEV_DGRAM, 1, act_resize },
    { "features", DEV_DGRAM, 1, act_features },
    { "behind-error", DEV_SLOW, 0, act_behind_error },
    { "no-master", DEV_SLOW, 0, act_no_master },
};

/*
 * What could bring QEMU down.  If this fails, a guest can abort QEMU or keep
 * it busy for good, or leave the device unusable beyond a reset.
 */
static void test_abuse(const void *data)
{
    const Case *c = data;
    const Abuse *abuse = c->what;
    Abused a;

    if (!can_run(c->mode) ||
        base_lacks("the fixes for drivers that abort QEMU")) {
        return;
    }
    logged_rig(c->mode);
    abuse_begin(&a, c->mode, abuse->id, abuse->queue);
    abuse->act(&a);
    abuse_end(&a);
}

/* What the fuzzer has come across */

static void corpus(const Mode *mode, DevId id, const char *name)
{
    const char *env = getenv("VIRTIO_IN_ORDER_CORPUS");
    g_autofree char *dir = env ? g_build_filename(env, name, NULL) :
                           g_test_build_filename(G_TEST_DIST, "..", "fuzz",
                                                 "corpus", name, NULL);
    g_autofree char *msg = NULL;
    const char *file;
    unsigned n = 0;
    Hostile h;
    GDir *d;

    if (!can_run(mode) ||
        base_lacks("the fixes for drivers that abort QEMU")) {
        return;
    }
    d = g_dir_open(dir, 0, NULL);
    if (!d) {
        msg = g_strdup_printf("no folder %s", dir);
        g_test_skip(msg);
        return;
    }
    logged_rig(mode);
    hostile_init(&h, id, &socket_host);
    while ((file = g_dir_read_name(d))) {
        g_autofree char *path = g_build_filename(dir, file, NULL);
        g_autofree char *data = NULL;
        size_t len;

        if (!g_file_get_contents(path, &data, &len, NULL)) {
            continue;
        }
        g_test_message("%s", path);
        hostile_input(&h, (uint8_t *)data, len);
        n++;
    }
    g_dir_close(d);
    hostile_cleanup(&h);
    g_assert_cmpuint(n, >, 0);
}

/*
 * The fuzzer's strings.  If this fails, QEMU crashes or hangs on one of them,
 * returns a buffer that it does not have, or the device does not work after
 * a reset.  The last message names the string.
 */
static void test_corpus_net(const void *data)
{
    const Case *c = data;

    corpus(c->mode, DEV_DGRAM, "virtio-net");
}

static void test_corpus_blk(const void *data)
{
    const Case *c = data;

    corpus(c->mode, DEV_SLOW, "virtio-blk");
}

/* Races */

typedef struct Racer {
    uint8_t *ring;          /* the test's own view of it */
    size_t len;
    bool stop;
} Racer;

/* Another CPU of the guest that writes where the device reads */
static void *race_thread(void *opaque)
{
    Racer *r = opaque;
    uint32_t x = 1;

    while (!qatomic_read(&r->stop)) {
        size_t off;

        x = x * 1664525 + 1013904223;
        /* Mostly flags, next and id; what is there is turned around */
        off = (x >> 8) % (r->len / 16) * 16 + (x & 7 ? 8 + (x >> 4) % 8 : 0);
        qatomic_set(&r->ring[off], r->ring[off] ^ (1 << (x >> 29)));
    }
    return NULL;
}

static void race(const Mode *mode, DevId id, unsigned queue)
{
    gint64 end = g_get_monotonic_time() + RACE_US;

    if (!can_run(mode) ||
        base_lacks("the fixes for drivers that abort QEMU")) {
        return;
    }
    logged_rig(mode);
    while (g_get_monotonic_time() < end) {
        Racer racer = { 0 };
        pthread_t thread;
        unsigned i, j;
        Abused a;

        abuse_begin(&a, mode, id, queue);
        racer.ring = guest(a.vq->desc, 16 * RING);
        racer.len = 16 * RING;
        g_assert_cmpint(pthread_create(&thread, NULL, race_thread, &racer),
                        ==, 0);
        for (i = 0; i < 20 && !needs_reset(a.dev); i++) {
            for (j = 0; j < RING; j++) {
                bool wrap = !(i & 1);
                uint8_t *d = guest(a.vq->desc + 16 * j, 16);

                put_desc(&a, j, a.mem + 4096 * (j % 8), 100, 0, (j + 1) % RING);
                if (mode->packed && !wrap) {
                    stw_le_p(d + 14, 1 << VRING_PACKED_DESC_F_USED);
                }
                put_avail(&a, (uint16_t[]) { j }, 1);
            }
            a.dev->vdev->bus->virtqueue_kick(a.dev->vdev, a.vq);
            few_rounds();
        }
        qatomic_set(&racer.stop, true);
        pthread_join(thread, NULL);
        abuse_end(&a);
    }
}

/*
 * Descriptors that change while the device reads them.  If this fails, QEMU
 * checks one version of a descriptor and uses another.
 */
static void test_race_net(const void *data)
{
    const Case *c = data;

    race(c->mode, DEV_DGRAM, 1);
}

static void test_race_blk(const void *data)
{
    const Case *c = data;

    race(c->mode, DEV_SLOW, 0);
}

static void add(const Mode *mode, const char *kind, const char *name,
                const void *what, void (*fn)(const void *data))
{
    g_autofree char *path = g_strdup_printf("virtio-in-order/hostile/%s/%s%s",
                                            mode->name, kind, name);
    Case *c = g_new(Case, 1);

    *c = (Case) { mode, what };
    qtest_add_data_func_full(path, c, fn, g_free);
}

int main(int argc, char **argv)
{
    unsigned i, j;
    int ret;

    g_test_init(&argc, &argv, NULL);
    for (i = 0; i < MODE_COUNT; i++) {
        const Mode *mode = &modes[i];

        for (j = 0; j < ARRAY_SIZE(violations); j++) {
            const Violation *v = &violations[j];

            if (mode->packed ? v->packed : v->split) {
                add(mode, "violation-", v->name, v, test_violation);
            }
        }
        for (j = 0; j < ARRAY_SIZE(abuses); j++) {
            add(mode, "abuse-", abuses[j].name, &abuses[j], test_abuse);
        }
        add(mode, "corpus-", "net", NULL, test_corpus_net);
        add(mode, "corpus-", "blk", NULL, test_corpus_blk);
        add(mode, "race-", "net", NULL, test_race_net);
        add(mode, "race-", "blk", NULL, test_race_blk);
    }
    ret = g_test_run();
    rig_stop();
    return ret;
}
