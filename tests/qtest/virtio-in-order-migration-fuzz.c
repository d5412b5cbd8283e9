/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: fuzz the virtio part of migration streams
 *
 * Devices with buffers in flight are migrated to get streams, in which what
 * belongs to the device is damaged at random.  A QEMU reads each of them, and
 * has to do one of two things: end with status 1 and a message that names the
 * device, or go on, serve whatever the driver does, and migrate again.  An
 * assertion, a sanitizer's report, or a QEMU that does not answer stops the
 * test.
 *
 * By default there are some runs for each device and mode.  Options:
 *   --minutes=N    share so much time among the cases
 *   --runs=N       so many runs for each case
 *   --seed=N       what the runs follow from; it is printed
 *   --first=N      the number of the first run, to go on with that one
 *   --keep=FILE    write each stream there before QEMU reads it
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qapi/qmp/qdict.h"
#include "virtio-in-order-migration-blk.h"
#include "virtio-in-order-migration-cases.h"
#include "standard-headers/linux/virtio_pci.h"

#define RUNS            4
#define PATH            "/machine/peripheral-anon/device[0]/virtio-backend"
#define QUEUES          8       /* that are kicked */

typedef struct Device {
    const char *name;
    void (*seed)(const Mode *mode, MigSeed *seed);
    const char *plain;          /* for plain_seed(), or NULL */
} Device;

static const Device devices[] = {
    { "blk", blk_seed },
    { "scsi", scsi_seed },
    { "serial", serial_seed },
    { "balloon", balloon_seed },
    { "net", net_seed },
    { "rng", NULL, "virtio-rng-pci,rng=rng0" },
    { "input", NULL, "virtio-keyboard-pci" },
    { "gpu", NULL, "virtio-gpu-pci" },
    { "iommu", NULL, "virtio-iommu-pci" },
};

static unsigned opt_runs = RUNS;
static double opt_minutes;
static unsigned opt_first;
static uint64_t opt_seed;
static const char *opt_keep;

/*
 * Where to do damage.  Elements in flight are large and nearly empty, so most
 * of the places are near bytes that are not zero; some are in subsections.
 */
static size_t pick(GRand *r, const GByteArray *s, const GArray *parts)
{
    const MigPart *part = &g_array_index(parts, MigPart,
                                      g_rand_int_range(r, 0, parts->len));
    size_t at = part->at + g_rand_int_range(r, 0, part->len);
    unsigned kind = g_rand_int_range(r, 0, 10), i;

    if (kind < 7) {
        for (i = 0; i < part->len && !s->data[at]; i++) {
            at = at + 1 < part->at + part->len ? at + 1 : part->at;
        }
        at += g_rand_int_range(r, -2, 3);
    } else if (kind < 9) {
        for (i = 0; i < part->len && memcmp(s->data + at, "virtio/", 7); i++) {
            at = at + 1 < part->at + part->len ? at + 1 : part->at;
        }
        at += g_rand_int_range(r, 7, 120);
    }
    return MAX(part->at, MIN(at, part->at + part->len - 8));
}

static uint64_t value(GRand *r)
{
    static const uint64_t values[] = {
        0, 1, 2, 3, 0x1f, 0x20, 0x21, 0x3f, 0x40, 0x7f, 0x80, 0xff, 0x100,
        0x3ff, 0x400, 0x401, 0x7fff, 0x8000, 0xffff, 0x10000, INT32_MAX,
        0x80000000u, UINT32_MAX, INT64_MAX, UINT64_MAX,
    };

    if (g_rand_boolean(r)) {
        return values[g_rand_int_range(r, 0, ARRAY_SIZE(values))];
    }
    return g_rand_int(r);
}

static void damage(GRand *r, GByteArray *s, const GArray *parts)
{
    size_t at = pick(r, s, parts), from = pick(r, s, parts);
    uint8_t *p = s->data + at;
    uint8_t some[4] = { g_rand_int(r), 0, g_rand_int(r) };

    switch (g_rand_int_range(r, 0, 12)) {
    case 0:
    case 1:
        *p ^= 1 << g_rand_int_range(r, 0, 8);
        break;
    case 2:
    case 3:
        *p = value(r);
        break;
    case 4:
    case 5:
        stw_be_p(p, value(r));
        break;
    case 6:
        stl_be_p(p, value(r));
        break;
    case 7:
        stl_be_p(p, ldl_be_p(p) + g_rand_int_range(r, -2, 3));
        break;
    case 8:
        stq_be_p(p, value(r));
        break;
    case 9:
        memmove(p, s->data + from, 1 + g_rand_int_range(r, 0, 8));
        break;
    case 10:
        if (g_rand_boolean(r)) {
            g_byte_array_remove_range(s, at, 1 + g_rand_int_range(r, 0, 4));
        } else {
            g_byte_array_append(s, some, sizeof(some));
            memmove(p + 4, p, s->len - at - sizeof(some));
            memcpy(s->data + at, some, sizeof(some));
        }
        break;
    default:
        if (g_rand_int_range(r, 0, 4) == 0) {
            g_byte_array_set_size(s, at);
        } else {
            *p = 0;
        }
        break;
    }
}

/* It was refused: the message has to tell which device it is about */
static void check_refusal(int fd)
{
    char msg[4096] = "";

    g_assert_cmpint(pread(fd, msg, sizeof(msg) - 1, 0), >, 0);
    if (!strstr(msg, "load of migration failed") ||
        (!strstr(msg, "virtio-") && !strstr(msg, MIG_DEVICE))) {
        g_test_message("%s", msg);
        g_assert_not_reached();
    }
}

/* It was taken: the driver goes on, and then it migrates again */
static void use_device(MigRig *rig, const MigSeed *seed)
{
    QTestState *qts = rig->qts;
    unsigned q;
    QDict *rsp;

    qobject_unref(qtest_qmp(qts, "{ 'execute': 'cont' }"));
    for (q = 0; q < QUEUES; q++) {
        qtest_writew(qts, seed->notify + q * seed->multiplier, q);
        rsp = qtest_qmp(qts, "{ 'execute': 'x-query-virtio-queue-status', "
                        "'arguments': { 'path': %s, 'queue': %u } }",
                        PATH, q);
        qobject_unref(rsp);
    }
    qtest_clock_step(qts, 10000000);
    qobject_unref(qtest_qmp(qts, "{ 'execute': 'query-status' }"));
    qobject_unref(qtest_qmp(qts, "{ 'execute': 'stop' }"));
    qobject_unref(qtest_qmp(qts, "{ 'execute': 'cont' }"));
    g_byte_array_unref(mig_save(rig));
    qobject_unref(qtest_qmp(qts, "{ 'execute': 'cont' }"));
    /* The driver gives up */
    qtest_writeb(qts, seed->common + VIRTIO_PCI_COMMON_STATUS, 0);
    qobject_unref(qtest_qmp(qts, "{ 'execute': 'query-status' }"));
}

/*
 * Have QEMU read the stream, over a socket that it closes when it is done with
 * it.  Returns: false if it has said then that it does not take it, or is dead
 */
static bool offer(QTestState *qts, const GByteArray *stream, int messages)
{
    int qemu_fd, fd = mig_socket_pair(SOCK_STREAM, &qemu_fd);
    char msg[4096] = "";
    gint64 start = 0;
    size_t done;
    ssize_t n = 0;

    mig_give_fd(qts, qemu_fd);
    close(qemu_fd);
    qtest_qmp_assert_success(qts, "{ 'execute': 'migrate-incoming', "
                             "'arguments': { 'uri': 'fd:stream' } }");
    for (done = 0; done < stream->len && n >= 0; done += n) {
        n = send(fd, stream->data + done, stream->len - done, MSG_NOSIGNAL);
    }
    shutdown(fd, SHUT_WR);
    do {
        n = recv(fd, msg, sizeof(msg), MSG_DONTWAIT);
        mig_wait(&start, "incoming migration");
    } while (n < 0 && errno == EAGAIN);
    close(fd);
    n = pread(messages, msg, sizeof(msg) - 1, 0);
    msg[MAX(n, 0)] = 0;
    return !strstr(msg, "load of migration failed") && qtest_probe_child(qts);
}

/* Returns: whether QEMU took the stream */
static bool run_one(const MigSeed *seed, const GByteArray *stream)
{
    g_autofree char *args = NULL;
    int fd = shared_file("messages", 0);
    MigRig rig = { .stream_fd = -1 };
    bool taken;
    gint64 start = 0;

    if (opt_keep) {
        g_assert_true(g_file_set_contents(opt_keep, (char *)stream->data,
                                          stream->len, NULL));
    }
    args = g_strdup_printf("-incoming defer %s 2>/proc/self/fd/%d", seed->args,
                           fd);
    mig_start(&rig, args);
    taken = offer(rig.qts, stream, fd);
    if (taken) {
        mig_wait_for_status(rig.qts, "completed");
        use_device(&rig, seed);
    } else {
        qtest_set_expected_status(rig.qts, EXIT_FAILURE);
        while (qtest_probe_child(rig.qts)) {
            mig_wait(&start, "incoming migration");
        }
    }
    qtest_quit(rig.qts);
    if (!taken) {
        check_refusal(fd);
    }
    munmap(rig.ram.host, MIG_RAM_SIZE);
    close(rig.ram_fd);
    close(fd);
    return taken;
}

static void test_device(const MigCase *c)
{
    const Device *dev = c->opaque;
    unsigned cases = ARRAY_SIZE(devices) * MODE_COUNT;
    gint64 end = g_get_monotonic_time() +
                 opt_minutes * 60 * G_USEC_PER_SEC / cases;
    g_autoptr(GArray) parts = NULL;
    unsigned i, k, n, taken = 0;
    MigSeed seed = { 0 };

    /* The time is limited for each run, not for the case */
    if (dev->plain) {
        plain_seed(c->mode, dev->plain, &seed);
    } else {
        dev->seed(c->mode, &seed);
    }
    parts = mig_parts(seed.stream);
    g_assert_true(run_one(&seed, seed.stream));
    for (i = opt_first; opt_minutes ? g_get_monotonic_time() < end
                                    : i - opt_first < opt_runs; i++) {
        g_autoptr(GByteArray) stream = g_byte_array_new();
        g_autoptr(GRand) r = g_rand_new_with_seed(opt_seed * 1000003 + i);

        alarm(90);
        g_test_message("%s %s: run %u", c->mode->name, dev->name, i);
        g_byte_array_append(stream, seed.stream->data, seed.stream->len);
        n = 1 + g_rand_int_range(r, 0, 4) * g_rand_int_range(r, 0, 2);
        for (k = 0; k < n && stream->len >= seed.stream->len; k++) {
            damage(r, stream, parts);
        }
        taken += run_one(&seed, stream);
    }
    printf("# %s %s: %u runs, %u streams taken\n", c->mode->name, dev->name,
           i - opt_first, taken);
    mig_seed_free(&seed);
}

/* Take our options out of the arguments */
static void options(int *argc, char **argv)
{
    int i, n = 1;

    for (i = 1; i < *argc; i++) {
        if (g_str_has_prefix(argv[i], "--minutes=")) {
            opt_minutes = g_ascii_strtod(argv[i] + 10, NULL);
        } else if (g_str_has_prefix(argv[i], "--runs=")) {
            opt_runs = atoi(argv[i] + 7);
        } else if (g_str_has_prefix(argv[i], "--first=")) {
            opt_first = atoi(argv[i] + 8);
        } else if (g_str_has_prefix(argv[i], "--seed=")) {
            opt_seed = g_ascii_strtoull(argv[i] + 7, NULL, 0);
        } else if (g_str_has_prefix(argv[i], "--keep=")) {
            opt_keep = argv[i] + 7;
        } else {
            argv[n++] = argv[i];
        }
    }
    argv[n] = NULL;
    *argc = n;
}

int main(int argc, char **argv)
{
    unsigned i, j;

    options(&argc, argv);
    g_test_init(&argc, &argv, NULL);
    printf("# migration-fuzz: seed %" PRIu64 "\n", opt_seed);
    mig_path("virtio-in-order-migration-fuzz");
    for (i = 0; i < MODE_COUNT; i++) {
        for (j = 0; j < ARRAY_SIZE(devices); j++) {
            mig_add(&modes[i], devices[j].name, test_device, &devices[j]);
        }
    }
    return g_test_run();
}
