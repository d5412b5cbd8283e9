/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: a driver that goes on while its device migrates, at random points, and
 * migrations that are given up
 *
 * What is random follows from GLib's test seed, which is printed.
 */

#include "qemu/osdep.h"
#include "virtio-in-order-migration-blk.h"
#include "virtio-in-order-migration-cases.h"

#define HOPS            8
#define STEPS           20

static int rnd(int end)
{
    return g_test_rand_int_range(0, end);
}

/* Some requests, as many as there is room for */
static void add_some(Blk *b)
{
    int n = 1 + rnd(4);

    while (n-- && blk_busy(b) < BLK_SLOTS) {
        blk_add_any(b, rnd(b->queues));
    }
}

/* Up to two sectors that are bad, of those that the next requests use */
static void some_bad(const Blk *b, uint64_t bad[3])
{
    int i, n = rnd(3);

    for (i = 0; i < n; i++) {
        bad[i] = 8 + 8 * ((b->count + rnd(24)) % 256);
    }
    bad[n] = 0;
}

/*
 * The device moves on and on, most of the time while requests are under way,
 * some of them to sectors that are bad where it is.  The rings check that each
 * comes back once and in order, wherever it is done.  The driver publishes new
 * ones until the migration is through: a destination that took the index from
 * the wrong moment would miss them.
 */
static void test_traffic(const MigCase *c)
{
    Blk b = { .queues = 2, .rig.shared = true };
    unsigned hop, step, orders = 0;
    bool enough = false;
    uint64_t bad[3];

    some_bad(&b, bad);
    blk_init(&b, c->mode, bad, false);
    for (hop = 1; !enough; hop++) {
        g_autoptr(GByteArray) stream = NULL;
        g_autofree char *args = NULL;
        unsigned steps = rnd(STEPS);

        for (step = 0; step < steps && !mig_io_error(&b.rig); step++) {
            add_some(&b);
            blk_kick(&b);
            g_usleep(rnd(200));
            blk_reap(&b);
        }
        mig_begin(&b.rig);
        do {
            /* A kick after the VM has stopped is one that no driver gives */
            add_some(&b);
            blk_reap(&b);
        } while (!mig_status(b.rig.qts, "completed"));
        stream = mig_end(&b.rig);
        orders += mig_find(stream, MIG_ORDER) > 0;

        /* Until it was what it is about, now and then */
        g_assert_cmpuint(hop, <, 10 * HOPS);
        enough = hop >= HOPS && orders >= (c->mode->in_order ? 2 : 0);
        some_bad(&b, bad);
        args = blk_args(&b, c->mode, enough ? NULL : bad, false);
        mig_load(&b.rig, args, stream, 0);
        mig_cont(&b.rig);
        blk_kick(&b);
    }
    blk_finish(&b, blk_busy(&b));
    blk_run(&b, 8 * MIG_QUEUE_SIZE);
    blk_cleanup(&b);
    g_test_message("%u of %u streams have an order", orders, hop - 1);
    g_assert_true(c->mode->in_order || !orders);
}

/* Begin a migration that stands still, because nobody reads the stream */
static int begin_stalled(Blk *b)
{
    int qemu_fd, room = 4096;
    int fd = mig_socket_pair(SOCK_STREAM, &qemu_fd);

    g_assert_cmpint(setsockopt(qemu_fd, SOL_SOCKET, SO_SNDBUF, &room,
                               sizeof(room)), ==, 0);
    mig_give_fd(b->rig.qts, qemu_fd);
    close(qemu_fd);
    qtest_qmp_assert_success(b->rig.qts, "{ 'execute': 'migrate', "
                             "'arguments': { 'uri': 'fd:stream' } }");
    return fd;
}

/* How a migration is given up */
enum { CANCEL_ACTIVE, CANCEL_PAUSED, BREAK, WAYS };

static void give_up(Blk *b, unsigned way)
{
    char buf[4096];
    size_t left;
    ssize_t n;
    int fd;

    mig_capability(b->rig.qts, "pause-before-switchover",
                   way == CANCEL_PAUSED);
    if (way == CANCEL_PAUSED) {
        /* The VM is stopped, and to run again */
        mig_begin(&b->rig);
        mig_wait_for_status(b->rig.qts, "pre-switchover");
        qtest_qmp_assert_success(b->rig.qts, "{ 'execute': 'migrate_cancel' }");
        mig_wait_for_status(b->rig.qts, "cancelled");
        close(b->rig.stream_fd);
        b->rig.stream_fd = -1;
        return;
    }
    fd = begin_stalled(b);
    if (way == CANCEL_ACTIVE) {
        add_some(b);
        qtest_qmp_assert_success(b->rig.qts, "{ 'execute': 'migrate_cancel' }");
        mig_wait_for_status(b->rig.qts, "cancelled");
    } else {
        /* Somewhere in the state of the devices, which is nearly all */
        for (left = rnd(60000); left; left -= n) {
            n = read(fd, buf, MIN(left, sizeof(buf)));
            g_assert_cmpint(n, >, 0);
        }
    }
    close(fd);
    if (way == BREAK) {
        mig_wait_for_status(b->rig.qts, "failed");
    }
}

/*
 * Migrations that are cancelled, or break off: the source goes on, with its
 * requests, and can migrate after all.  If saving the device, or stopping it,
 * had changed it, requests would be lost or come twice.
 */
static void test_cancel(const MigCase *c)
{
    Blk b = { .queues = 2, .rig.shared = true };
    g_autofree char *args = NULL;
    unsigned i;

    blk_init(&b, c->mode, NULL, false);
    args = blk_args(&b, c->mode, NULL, false);
    for (i = 0; i < 3 * WAYS; i++) {
        add_some(&b);
        blk_kick(&b);
        give_up(&b, i % WAYS);
        mig_cont(&b.rig);
        blk_kick(&b);
        blk_finish(&b, blk_busy(&b));
        blk_run(&b, 10);
    }
    mig_capability(b.rig.qts, "pause-before-switchover", false);
    add_some(&b);
    blk_kick(&b);
    mig_move(&b.rig, args, false);
    blk_finish(&b, blk_busy(&b));
    blk_run(&b, 8 * MIG_QUEUE_SIZE);
    blk_cleanup(&b);
}

void traffic_add_tests(const Mode *mode)
{
    mig_add(mode, "traffic", test_traffic, NULL);
    mig_add(mode, "cancel", test_cancel, NULL);
}
