/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: migrate virtio-blk with requests in flight, the cases
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "virtio-in-order-migration-blk.h"

/* Several laps of the ring, so that whatever is off by one meets something */
#define MANY            (8 * MIG_QUEUE_SIZE)

/* How the device runs its queues */
typedef struct Way {
    const char *name;
    unsigned queues;
    const char *props;
    const char *extra;
} Way;

static const Way ways[] = {
    { "", 1 },
    { "queues/", BLK_QUEUES },
    { "iothread/", 1, ",iothread=io0", "-object iothread,id=io0" },
    { "iothread-queues/", 3, ",iothread=io0", "-object iothread,id=io0" },
};

typedef struct BlkCase {
    const Way *way;
    const BlkBatch *batch;
} BlkCase;

/*
 * A batch with a bad sector, to a QEMU where the sector is good.  Without the
 * order in the stream, requests that were done and held back never return;
 * with elements read wrongly, the failed ones go to wrong memory or nowhere.
 */
static void test_blk(const MigCase *mc)
{
    const BlkCase *c = mc->opaque;
    const BlkBatch *batch = c->batch;
    g_autofree char *args = NULL;
    uint64_t bad[3];
    Blk b = {
        .queues = c->way->queues,
        .props = c->way->props,
        .extra = c->way->extra,
    };

    blk_bad(batch, bad);
    blk_init(&b, mc->mode, bad, false);
    blk_run(&b, g_test_rand_int_range(5, 2 * MIG_QUEUE_SIZE));
    blk_batch(&b, batch);
    args = blk_args(&b, mc->mode, NULL, false);
    mig_move(&b.rig, args, true);
    blk_resume(&b, batch);
    blk_run(&b, MANY);
    blk_cleanup(&b);
}

/*
 * There and back again.  The sector is still bad at the first destination, so
 * that a request which came from a stream goes into the next one; the QEMU
 * after that has a batch of its own.  Whatever a destination forgets to set up
 * as if the request were its own shows at the hop after it.
 */
static void test_blk_hops(const MigCase *c)
{
    const Mode *mode = c->mode;
    const BlkBatch *two = &blk_batches[BLK_TWO];
    const BlkBatch *third = &blk_batches[BLK_THIRD];
    g_autofree char *args_two = NULL;
    g_autofree char *args_third = NULL;
    g_autofree char *args = NULL;
    uint64_t bad[3];
    Blk b = { 0 };

    blk_bad(two, bad);
    blk_init(&b, mode, bad, false);
    args_two = blk_args(&b, mode, bad, false);
    blk_bad(third, bad);
    args_third = blk_args(&b, mode, bad, false);
    args = blk_args(&b, mode, NULL, false);

    blk_run(&b, g_test_rand_int_range(5, 2 * MIG_QUEUE_SIZE));
    blk_batch(&b, two);
    mig_move(&b.rig, args_two, true);
    mig_cont(&b.rig);
    mig_wait_for_io_error(&b.rig);
    g_assert_cmpuint(blk_reap(&b), ==, 0);

    mig_move(&b.rig, args_third, true);
    blk_resume(&b, two);
    blk_run(&b, 20);
    blk_batch(&b, third);

    mig_move(&b.rig, args, true);
    blk_resume(&b, third);
    blk_run(&b, MANY);
    blk_cleanup(&b);
}

/*
 * With nothing in flight there is no order to migrate, but the positions in
 * the rings: if one of them were wrong, the first request after it would show.
 */
static void test_blk_idle(const MigCase *c)
{
    const Mode *mode = c->mode;
    g_autofree char *args = NULL;
    unsigned i;
    Blk b = { 0 };

    blk_init(&b, mode, NULL, false);
    args = blk_args(&b, mode, NULL, false);
    for (i = 0; i < 2; i++) {
        blk_run(&b, g_test_rand_int_range(5, 2 * MIG_QUEUE_SIZE));
        mig_move(&b.rig, args, false);
    }
    blk_run(&b, MANY);
    blk_cleanup(&b);
}

/*
 * A snapshot with requests in flight, loaded into the same QEMU after they
 * were done: if what the device holds were added to what it held before, or
 * the old order survived, requests would return twice or not at all.
 */
static void test_blk_snapshot(const MigCase *c)
{
    const BlkBatch *batch = &blk_batches[BLK_TWO];
    MigSnapshot snap;
    uint64_t bad[3];
    gint64 start = 0;
    Blk b = { 0 };
    unsigned i;

    if (!mig_snapshot_init(&snap)) {
        return;
    }
    b.extra = snap.args;
    blk_bad(batch, bad);
    blk_init(&b, c->mode, bad, true);
    blk_run(&b, g_test_rand_int_range(5, 2 * MIG_QUEUE_SIZE));
    blk_batch(&b, batch);
    mig_snapshot_job(&b.rig, "snapshot-save");

    /* They are done, but the driver does not look: it is to forget this */
    mig_cont(&b.rig);
    for (i = 0; i < BLK_SLOTS; i++) {
        while (b.req[i].busy && qatomic_read(blk_status(&b, i)) == 0xff) {
            mig_wait(&start, "virtio-blk");
        }
    }
    qtest_qmp_assert_success(b.rig.qts, "{ 'execute': 'stop' }");
    mig_snapshot_job(&b.rig, "snapshot-load");
    blk_resume(&b, batch);
    blk_run(&b, MANY);
    blk_cleanup(&b);
    mig_snapshot_cleanup(&snap);
}

/*
 * Requests that a throttle holds.  Stopping the VM lets them through, after the
 * driver has looked for the last time: one that were neither in the ring nor in
 * the stream would be lost, one in both would come twice.
 */
static void test_blk_throttled(const MigCase *c)
{
    g_autofree char *args = NULL;
    Blk b = { .throttled = true };
    unsigned i, n;

    blk_init(&b, c->mode, NULL, false);
    for (i = 0; i < BLK_SLOTS; i++) {
        blk_add_any(&b, 0);
    }
    blk_kick(&b);
    n = blk_reap(&b);
    g_assert_cmpuint(n, <, BLK_SLOTS);
    b.throttled = false;
    args = blk_args(&b, c->mode, NULL, false);
    mig_move(&b.rig, args, false);
    blk_finish(&b, BLK_SLOTS - n);
    blk_run(&b, MANY);
    blk_cleanup(&b);
}

/*
 * The migration is complete, but it is the source that goes on.  If saving had
 * taken a request from the device or its order, it would not come back.
 */
static void test_blk_source(const MigCase *c)
{
    const BlkBatch *batch = &blk_batches[BLK_TWO];
    g_autoptr(GByteArray) stream = NULL;
    uint64_t bad[3];
    Blk b = { 0 };

    blk_bad(batch, bad);
    blk_init(&b, c->mode, bad, true);
    blk_run(&b, g_test_rand_int_range(5, 2 * MIG_QUEUE_SIZE));
    blk_batch(&b, batch);
    stream = mig_save(&b.rig);
    g_assert_cmpint(!!mig_find(stream, MIG_ORDER), ==, c->mode->in_order);
    blk_resume(&b, batch);
    blk_run(&b, MANY);
    blk_cleanup(&b);
}

void blk_add_tests(const Mode *mode)
{
    static BlkCase cases[ARRAY_SIZE(ways)][BLK_BATCHES];
    unsigned i, j;

    for (i = 0; i < ARRAY_SIZE(ways); i++) {
        for (j = 0; j < BLK_BATCHES; j++) {
            const BlkBatch *batch = &blk_batches[j];
            g_autofree char *name = g_strdup_printf("blk/%s%s", ways[i].name,
                                                    batch->name);

            /* Requests of different queues are not merged */
            if (batch->merged >= 0 && ways[i].queues > 1) {
                continue;
            }
            cases[i][j] = (BlkCase) { &ways[i], batch };
            mig_add(mode, name, test_blk, &cases[i][j]);
        }
    }
    mig_add(mode, "blk/hops", test_blk_hops, NULL);
    mig_add(mode, "blk/idle", test_blk_idle, NULL);
    mig_add(mode, "blk/snapshot", test_blk_snapshot, NULL);
    mig_add(mode, "blk/throttled", test_blk_throttled, NULL);
    mig_add(mode, "blk/source", test_blk_source, NULL);
}
