/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: migrate virtio devices whose buffers in flight are not in the stream:
 * the destination takes them from the ring again
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qapi/qmp/qdict.h"
#include "virtio-in-order-migration-cases.h"
#include "standard-headers/linux/virtio_balloon.h"

/* virtio-balloon: the device always keeps the buffer with the statistics */

enum { BALLOON_INFLATE, BALLOON_DEFLATE, BALLOON_STATS, BALLOON_QUEUES };

typedef struct Balloon {
    MigRig rig;
    QVirtQueue *vq[BALLOON_QUEUES];
    uint64_t mem;
    uint64_t pages;
} Balloon;

#define BALLOON_TIMER   2000000000     /* nanoseconds, the interval and more */
#define BALLOON_STAT    10      /* bytes of a statistics entry */
#define BALLOON_PAGES   16

/*
 * Put a report into the statistics queue: two pieces, except where the device
 * takes a packed buffer back by the number of buffers.
 */
static void balloon_report(Balloon *b, uint64_t value)
{
    const Mode *mode = b->rig.mode;
    QTestState *qts = b->rig.qts;
    QVirtQueue *vq = b->vq[BALLOON_STATS];
    bool two = mode->in_order || !mode->packed;
    uint8_t *p = mig_guest(&b->rig, b->mem, 2 * BALLOON_STAT);
    uint32_t id;

    stw_le_p(p, VIRTIO_BALLOON_S_MEMFREE);
    stq_le_p(p + 2, value);
    stw_le_p(p + BALLOON_STAT, VIRTIO_BALLOON_S_MEMTOT);
    stq_le_p(p + BALLOON_STAT + 2, value + 1);
    if (two) {
        id = qvirtqueue_add(qts, vq, b->mem, BALLOON_STAT, false, true);
        qvirtqueue_add(qts, vq, b->mem + BALLOON_STAT, BALLOON_STAT, false,
                       false);
    } else {
        id = qvirtqueue_add(qts, vq, b->mem, 2 * BALLOON_STAT, false, false);
    }
    qvring_publish(qts, vq, id);
    g_assert_true(qvring_notify(qts, vq));
    g_assert_false(qvring_get(qts, vq, NULL, NULL));
}

/* The device has read a report */
static void balloon_expect(Balloon *b, uint64_t value)
{
    QDict *rsp, *stats;

    rsp = qtest_qmp(b->rig.qts, "{ 'execute': 'qom-get', 'arguments': { "
                    "'path': '/machine/peripheral/balloon0', "
                    "'property': 'guest-stats' } }");
    stats = qdict_get_qdict(qdict_get_qdict(rsp, "return"), "stats");
    g_assert_cmpint(qdict_get_int(stats, "stat-free-memory"), ==, value);
    g_assert_cmpint(qdict_get_int(stats, "stat-total-memory"), ==, value + 1);
    qobject_unref(rsp);
}

/* Ask for reports: the timer returns the buffer that the device keeps */
static void balloon_poll(Balloon *b, uint64_t value)
{
    QVirtQueue *vq = b->vq[BALLOON_STATS];
    QTestState *qts = b->rig.qts;
    uint32_t len;
    unsigned i;

    qtest_qmp_assert_success(qts, "{ 'execute': 'qom-set', 'arguments': { "
                             "'path': '/machine/peripheral/balloon0', "
                             "'property': 'guest-stats-polling-interval', "
                             "'value': 1 } }");
    /* More than the ring has, so that it wraps */
    for (i = 0; i < 2 * MIG_QUEUE_SIZE; i++) {
        qtest_clock_step(qts, BALLOON_TIMER);
        g_assert_true(qvring_get(qts, vq, NULL, &len));
        g_assert_cmpuint(len, ==, 0);
        qvring_check_idle(qts, vq);
        balloon_report(b, value + i);
    }
    balloon_expect(b, value + i - 1);
}

/* Inflate or deflate: these buffers return at once */
static void balloon_pages(Balloon *b, int queue)
{
    QVirtQueue *vq = b->vq[queue];
    uint64_t addr = b->mem + 1024;
    uint8_t *p = mig_guest(&b->rig, addr, 4 * BALLOON_PAGES);
    unsigned i, n;

    for (n = 0; n < MIG_QUEUE_SIZE; n++) {
        for (i = 0; i < BALLOON_PAGES; i++) {
            stl_le_p(p + 4 * i, (b->pages >> 12) + i);
        }
        qvring_publish(b->rig.qts, vq,
                       qvirtqueue_add(b->rig.qts, vq, addr, 4 * BALLOON_PAGES,
                                      false, false));
        g_assert_true(qvring_notify(b->rig.qts, vq));
        g_assert_true(qvring_get(b->rig.qts, vq, NULL, NULL));
        qvring_check_idle(b->rig.qts, vq);
    }
}

/* Start the device, with a report in the statistics queue */
static void balloon_init(Balloon *b, const Mode *mode, const char *args)
{
    unsigned i;

    mig_init(&b->rig, mode, args);
    b->mem = guest_alloc(&b->rig.alloc, 4096);
    b->pages = guest_alloc(&b->rig.alloc, BALLOON_PAGES * 4096);
    for (i = 0; i < BALLOON_QUEUES; i++) {
        b->vq[i] = mig_queue_setup(&b->rig, i, MIG_QUEUE_SIZE);
    }
    qvirtio_set_driver_ok(b->rig.vdev);
    balloon_pages(b, BALLOON_INFLATE);
    balloon_report(b, 1000);
    balloon_expect(b, 1000);
}

static void balloon_cleanup(Balloon *b)
{
    unsigned i;

    for (i = 0; i < BALLOON_QUEUES; i++) {
        mig_queue_free(&b->rig, b->vq[i]);
    }
    mig_cleanup(&b->rig);
}

/*
 * The statistics buffer is in flight, but not in the stream: the destination
 * takes it from the ring again.  In order it has to take it out of the order
 * as well, or the ring would have two where the driver put one, and the queue
 * would stop.  Twice, for a buffer that the destination took itself.
 */
static void test_balloon(const MigCase *c)
{
    const Mode *mode = c->mode;
    g_autofree char *props = mig_props(mode);
    g_autofree char *args = g_strdup_printf("-device virtio-balloon-pci,"
                                            "id=balloon0,%s", props);
    Balloon b = { 0 };
    unsigned i;

    balloon_init(&b, mode, args);
    balloon_poll(&b, 2000);
    for (i = 0; i < 2; i++) {
        mig_move(&b.rig, args, true);
        balloon_expect(&b, i ? 4000 + 2 * MIG_QUEUE_SIZE - 1
                             : 2000 + 2 * MIG_QUEUE_SIZE - 1);
        balloon_pages(&b, BALLOON_DEFLATE);
        balloon_pages(&b, BALLOON_INFLATE);
        balloon_poll(&b, 4000);
    }
    balloon_cleanup(&b);
}

void balloon_seed(const Mode *mode, MigSeed *seed)
{
    g_autofree char *props = mig_props(mode);
    Balloon b = { .rig.base = seed->base };

    seed->args = g_strdup_printf("-device virtio-balloon-pci,id=balloon0,%s",
                                 props);
    balloon_init(&b, mode, seed->args);
    mig_seed(&b.rig, seed);
    balloon_cleanup(&b);
}

/* virtio-rng: a source of entropy that has none for now */

#define RNG_BUFFERS     8
#define RNG_LEN         64

/*
 * The device asks its source and leaves the buffers in the ring meanwhile.
 * The source's answer is not in the stream: if the destination did not ask its
 * own, nothing would come back.
 */
static void test_rng(const MigCase *c)
{
    g_autofree char *props = mig_props(c->mode);
    g_autofree char *args = NULL;
    char entropy[UINT8_MAX];
    unsigned i, hop, n;
    MigRig rig = { 0 };
    QVirtQueue *vq = NULL;
    int fd[2], qemu_fd;
    uint64_t mem = 0;

    for (hop = 0; hop < 3; hop++) {
        gint64 start = 0;

        fd[hop % 2] = mig_socket_pair(SOCK_STREAM, &qemu_fd);
        g_free(args);
        args = g_strdup_printf("-chardev socket,id=source0,fd=%d "
                               "-object rng-egd,id=rng0,chardev=source0 "
                               "-device virtio-rng-pci,rng=rng0,%s", qemu_fd,
                               props);
        if (hop) {
            mig_move(&rig, args, false);
            close(fd[(hop - 1) % 2]);
        } else {
            mig_init(&rig, c->mode, args);
            mem = guest_alloc(&rig.alloc, RNG_BUFFERS * RNG_LEN);
            vq = mig_queue_setup(&rig, 0, MIG_QUEUE_SIZE);
            qvirtio_set_driver_ok(rig.vdev);
            for (i = 0; i < RNG_BUFFERS; i++) {
                qvring_publish(rig.qts, vq,
                               qvirtqueue_add(rig.qts, vq, mem + i * RNG_LEN,
                                              RNG_LEN, true, false));
            }
            g_assert_true(qvring_notify(rig.qts, vq));
        }
        close(qemu_fd);
        g_assert_false(qvring_get(rig.qts, vq, NULL, NULL));
        if (hop < 2) {
            continue;
        }
        memset(entropy, 0x5a, sizeof(entropy));
        for (n = 0; n < RNG_BUFFERS;) {
            uint8_t request[2];
            uint32_t len;

            /* The protocol: 2, bytes that are wanted */
            if (recv(fd[hop % 2], request, 2, MSG_DONTWAIT) == 2) {
                g_assert_cmpuint(request[0], ==, 2);
                g_assert_cmpint(write(fd[hop % 2], entropy, request[1]), ==,
                                request[1]);
            }
            while (qvring_get(rig.qts, vq, NULL, &len)) {
                g_assert_cmpuint(len, ==, RNG_LEN);
                n++;
            }
            mig_wait(&start, "virtio-rng");
        }
        qvring_check_idle(rig.qts, vq);
    }
    close(fd[0]);
    mig_queue_free(&rig, vq);
    mig_cleanup(&rig);
}

void plain_seed(const Mode *mode, const char *device, MigSeed *seed)
{
    g_autofree char *props = mig_props(mode);
    MigRig rig = { 0 };
    QVirtQueue *vq;

    seed->args = g_strdup_printf("-object rng-builtin,id=rng0 -device %s,%s",
                                 device, props);
    mig_init(&rig, mode, seed->args);
    vq = mig_queue_setup(&rig, 0, MIG_QUEUE_SIZE);
    qvirtio_set_driver_ok(rig.vdev);
    mig_seed(&rig, seed);
    mig_queue_free(&rig, vq);
    mig_cleanup(&rig);
}

void misc_add_tests(const Mode *mode)
{
    mig_add(mode, "balloon", test_balloon, NULL);
    mig_add(mode, "rng", test_rng, NULL);
}
