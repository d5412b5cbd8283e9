/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: what stands in the migration stream of a virtio device, and what QEMU
 * makes of a stream that is damaged
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "virtio-in-order-migration-blk.h"
#include "virtio-in-order-migration-cases.h"

/* The subsection's layout: version, queues, and of the first queue the rest */
#define AT_VERSION      0
#define AT_QUEUES       4
#define AT_COUNT        6
#define AT_BUFFER(i)    (10 + 9 * (i))
#define AT_ID(i)        AT_BUFFER(i)
#define AT_NDESCS(i)    (AT_BUFFER(i) + 2)
#define AT_LEN(i)       (AT_BUFFER(i) + 4)
#define AT_FLAGS(i)     (AT_BUFFER(i) + 8)

#define KEPT            6       /* in flight of batch "third" */

typedef struct Damage {
    unsigned at;
    unsigned bytes;     /* to overwrite; 0: the stream ends here */
#define MOVE 3          /* two bytes become 0, and the next buffer gets them */
    uint32_t value;
    bool taken;         /* makes sense, if not the right one */
} Damage;

static const Damage damages[] = {
    { AT_VERSION, 4, 0 },
    { AT_VERSION, 4, 2 },
    { AT_VERSION, 4, UINT32_MAX },
    { AT_QUEUES, 2, 0 },
    { AT_QUEUES, 2, 2 },
    { AT_QUEUES, 2, 1025 },
    { AT_QUEUES, 2, UINT16_MAX },
    { AT_COUNT, 4, 0 },
    { AT_COUNT, 4, KEPT - 1 },
    { AT_COUNT, 4, KEPT + 1 },
    { AT_COUNT, 4, MIG_QUEUE_SIZE },
    { AT_COUNT, 4, MIG_QUEUE_SIZE + 1 },
    { AT_COUNT, 4, INT32_MAX },
    { AT_COUNT, 4, UINT32_MAX },
    { AT_NDESCS(0), 2, 0 },
    { AT_NDESCS(0), 2, 5 },
    { AT_NDESCS(0), 2, MIG_QUEUE_SIZE + 1 },
    { AT_NDESCS(0), 2, UINT16_MAX },
    { AT_NDESCS(KEPT - 1), 2, 0 },
    { AT_NDESCS(KEPT - 1), 2, UINT16_MAX },
    { AT_NDESCS(0), MOVE },
    { AT_FLAGS(0), 1, 0x04 },
    { AT_FLAGS(KEPT - 1), 1, 0x80 },
    { AT_FLAGS(KEPT - 1), 1, 0xff },
    { AT_VERSION, 0 },
    { AT_QUEUES + 1, 0 },
    { AT_COUNT + 2, 0 },
    { AT_ID(0), 0 },
    { AT_LEN(3), 0 },
    { AT_FLAGS(KEPT - 1), 0 },
    { AT_BUFFER(KEPT), 0 },
    /* From here on it is the device that has to live with it */
    { AT_ID(0), 2, UINT16_MAX, true },
    { AT_ID(1), 2, UINT16_MAX, true },
    { AT_LEN(0), 4, UINT32_MAX, true },
    { AT_LEN(1), 4, UINT32_MAX, true },
    { AT_FLAGS(0), 1, 0x01, true },
    { AT_FLAGS(0), 1, 0x02, true },
    { AT_FLAGS(1), 1, 0x00, true },
    { AT_FLAGS(1), 1, 0x03, true },
};

/*
 * A stream that QEMU has to refuse: it ends with a message that has @why in it,
 * and status 1.  Dead from a signal, or alive, it would fail here.
 */
static void expect_refusal(const char *args, const GByteArray *stream,
                           bool base, const char *what, const char *why)
{
    g_autofree char *all = NULL;
    char msg[4096] = "";
    int fd = shared_file("messages", 0);
    gint64 start = 0;
    MigRig rig = { .base = base };

    all = g_strdup_printf("-incoming defer %s 2>/proc/self/fd/%d", args, fd);
    mig_start(&rig, all);
    qtest_set_expected_status(rig.qts, EXIT_FAILURE);
    mig_offer(rig.qts, stream);
    while (qtest_probe_child(rig.qts)) {
        mig_wait(&start, what);
    }
    qtest_quit(rig.qts);
    g_assert_cmpint(pread(fd, msg, sizeof(msg) - 1, 0), >, 0);
    g_test_message("%s: %s", what, msg);
    g_assert_nonnull(strstr(msg, "load of migration failed"));
    g_assert_nonnull(strstr(msg, why));
    munmap(rig.ram.host, MIG_RAM_SIZE);
    close(rig.ram_fd);
    close(fd);
}

/*
 * A stream that is well formed but wrong: QEMU lives, and the driver can reset
 * the device and go on.
 */
static void expect_survival(Blk *b, const char *args, const GByteArray *stream)
{
    mig_load(&b->rig, args, stream, 0);
    mig_cont(&b->rig);
    qtest_qmp_assert_success(b->rig.qts, "{ 'execute': 'query-status' }");
    blk_restart(b);
    blk_run(b, MIG_QUEUE_SIZE);
}

/*
 * What the stream says is not taken on trust.  First see that it says what it
 * has to, then let it lie.
 */
static void test_damage(const MigCase *c)
{
    const Mode *mode = c->mode;
    const Mode off = { "off", mode->packed, false };
    const BlkBatch *batch = &blk_batches[BLK_THIRD];
    g_autoptr(GByteArray) stream = NULL;
    g_autoptr(GByteArray) copy = g_byte_array_new();
    g_autofree char *args_off = NULL;
    g_autofree char *args = NULL;
    uint32_t ids[BLK_SLOTS];
    uint64_t bad[3];
    uint8_t *p;
    size_t at, i;
    Blk b = { 0 };

    blk_bad(batch, bad);
    blk_init(&b, mode, bad, false);
    args = blk_args(&b, mode, NULL, false);
    args_off = blk_args(&b, &off, NULL, false);
    blk_run(&b, 7);
    blk_batch(&b, batch);
    for (i = 0; i < BLK_SLOTS; i++) {
        ids[i] = b.req[i].id;
    }
    stream = mig_save(&b.rig);

    at = mig_find(stream, MIG_ORDER);
    g_assert_cmpuint(at, >, 0);
    p = stream->data + at;
    g_assert_cmpuint(ldl_be_p(p + AT_VERSION), ==, 1);
    g_assert_cmpuint(lduw_be_p(p + AT_QUEUES), ==, 1);
    g_assert_cmpuint(ldl_be_p(p + AT_COUNT), ==, KEPT);
    for (i = 0; i < KEPT; i++) {
        g_assert_cmpuint(lduw_be_p(p + AT_ID(i)), ==,
                         ids[i + batch->bad[0]]);
        g_assert_cmphex(p[AT_FLAGS(i)], ==, i ? 0x02 : 0);
    }

    expect_refusal(args_off, stream, false, "to a device without in_order",
                   "VIRTIO_F_IN_ORDER");
    for (i = 0; i < ARRAY_SIZE(damages); i++) {
        const Damage *d = &damages[i];
        g_autofree char *what = g_strdup_printf("%u bytes at %u: 0x%x",
                                                d->bytes, d->at, d->value);

        g_test_message("%s", what);
        g_byte_array_set_size(copy, 0);
        g_byte_array_append(copy, stream->data, stream->len);
        p = copy->data + at + d->at;
        switch (d->bytes) {
        case 0:
            g_byte_array_set_size(copy, at + d->at);
            break;
        case 1:
            stb_p(p, d->value);
            break;
        case 2:
            stw_be_p(p, d->value);
            break;
        case MOVE:
            stw_be_p(p + 9, lduw_be_p(p + 9) + lduw_be_p(p));
            stw_be_p(p, 0);
            break;
        default:
            stl_be_p(p, d->value);
            break;
        }
        if (d->taken) {
            expect_survival(&b, args, copy);
        } else {
            /* What there is too much of is not seen before the device's end */
            bool other = d->at < AT_COUNT || d->at == AT_BUFFER(KEPT) ||
                         (d->at == AT_COUNT && d->value == 0);

            expect_refusal(args, copy, false, what,
                           other ? "virtio-blk" : "virtio-blk: queue 0: ");
        }
    }
    blk_cleanup(&b);
}

/* What a device can be brought to, the same in each QEMU */
typedef struct Device {
    const char *name;
    void (*seed)(const Mode *mode, MigSeed *seed);
} Device;

static const Device devices[] = {
    { "blk", blk_seed },
    { "scsi", scsi_seed },
    { "serial", serial_seed },
    { "balloon", balloon_seed },
    { "net", net_seed },
};

/*
 * Without in-order a device writes what it has written without the series, or
 * one of the two would not be able to read it.
 */
static void test_same(const MigCase *c)
{
    const Device *dev = c->opaque;
    g_autoptr(GArray) parts = NULL;
    g_autoptr(GArray) parts_base = NULL;
    /*
     * Quiet, because it depends on timing which descriptors the driver has free
     * and which of two queues fails first, and because the base's card keeps a
     * packet in flight, which is a bug.
     */
    MigSeed base = { .base = true, .quiet = true };
    MigSeed seed = { .quiet = true };
    unsigned i;
    size_t k;

    if (!mig_base_qemu()) {
        return;
    }
    dev->seed(c->mode, &seed);
    dev->seed(c->mode, &base);
    parts = mig_parts(seed.stream);
    parts_base = mig_parts(base.stream);
    g_assert_cmpuint(parts->len, ==, parts_base->len);
    for (i = 0; i < parts->len; i++) {
        const MigPart *p = &g_array_index(parts, MigPart, i);
        const MigPart *q = &g_array_index(parts_base, MigPart, i);

        g_assert_cmpuint(p->len, ==, q->len);
        for (k = 0; k < p->len; k++) {
            if (seed.stream->data[p->at + k] != base.stream->data[q->at + k]) {
                g_test_message("section %u differs at byte %zu: 0x%02x here, "
                               "0x%02x in the base", i, k,
                               seed.stream->data[p->at + k],
                               base.stream->data[q->at + k]);
            }
        }
        g_assert_cmpmem(seed.stream->data + p->at, p->len,
                        base.stream->data + q->at, q->len);
    }
    mig_seed_free(&seed);
    mig_seed_free(&base);
}

/*
 * From the base to ours, back, and to ours again.  Requests are in flight
 * whenever the destination is able to load them.
 */
static void test_base(const MigCase *c)
{
    const BlkBatch *batch[] = { &blk_batches[BLK_TWO],
                                &blk_batches[BLK_THIRD] };
    Blk b = { .rig.base = true };
    uint64_t bad[3];
    unsigned i;

    if (!mig_base_qemu()) {
        return;
    }
    blk_bad(batch[0], bad);
    blk_init(&b, c->mode, bad, false);
    for (i = 0; i < 3; i++) {
        bool to_base = !b.rig.base;
        bool in_flight = !to_base || !c->mode->packed;
        g_autofree char *args = NULL;

        blk_run(&b, g_test_rand_int_range(5, 2 * MIG_QUEUE_SIZE));
        if (in_flight) {
            blk_batch(&b, batch[i % 2]);
        }
        b.rig.base = to_base;
        blk_bad(batch[(i + 1) % 2], bad);
        args = blk_args(&b, c->mode, bad, false);
        mig_move(&b.rig, args, in_flight);
        if (in_flight) {
            blk_resume(&b, batch[i % 2]);
        }
    }
    blk_run(&b, 8 * MIG_QUEUE_SIZE);
    blk_cleanup(&b);
}

/* A QEMU without the property refuses a driver that has accepted the feature */
static void test_base_refuses(const MigCase *c)
{
    const Mode off = { "off", c->mode->packed, false };
    g_autoptr(GByteArray) stream = NULL;
    g_autofree char *args = NULL;
    Blk b = { 0 };

    if (!mig_base_qemu()) {
        return;
    }
    blk_init(&b, c->mode, NULL, false);
    args = blk_args(&b, &off, NULL, false);
    blk_run(&b, 10);
    stream = mig_save(&b.rig);
    g_assert_cmpuint(mig_find(stream, MIG_ORDER), ==, 0);
    expect_refusal(args, stream, true, "to the base", "unsupported");
    blk_cleanup(&b);
}

void stream_add_tests(const Mode *mode)
{
    unsigned i;

    if (mode->in_order) {
        mig_add(mode, "stream/damage", test_damage, NULL);
        mig_add(mode, "stream/base-refuses", test_base_refuses, NULL);
        return;
    }
    mig_add(mode, "stream/base", test_base, NULL);
    for (i = 0; i < ARRAY_SIZE(devices); i++) {
        g_autofree char *name = g_strdup_printf("stream/same/%s",
                                                devices[i].name);

        mig_add(mode, name, test_same, &devices[i]);
    }
}
