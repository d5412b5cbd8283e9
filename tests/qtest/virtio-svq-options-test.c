/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Options of shadow virtqueues: -netdev vhost-vdpa's iothread-vq-mapping and
 * svq-doorbell
 *
 * What a user can write is written here, as JSON and as dotted keys, to QMP, to
 * HMP and on the command line, with a vdpa-sim as the device.  If a test fails,
 * a back end was refused or accepted that should not have been, the message was
 * not the one that helps, queues are not in the IOThreads that were asked for,
 * or something that the back end held was not given back.
 *
 * No driver runs here: what the queues do then is for other tests.
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include <sys/wait.h>
#include <sys/ioctl.h>
#include <linux/vhost.h>
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_net.h"
#include "libqtest.h"
#include "libqos/pci.h"
#include "qapi/error.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qmp/qjson.h"
#include "qapi/qmp/qlist.h"
#include "qemu/atomic.h"
#include "qemu/bitops.h"
#include "tests/vdpa-sim/vdpa-sim.h"

#define PAIRS 2
#define CVQ (2 * PAIRS)

#define IOTHREADS "-object iothread,id=io0 -object iothread,id=io1 " \
                  "-object iothread,id=io2 "

/* Of the ioctl that fails, see VDPA_SIM_FAULT_IOCTL */
#define NR(request) _IOC_NR(request)

static char *device;            /* path of the vdpa-sim */

/* The device */

static void config_init(VdpaSimConfig *config, unsigned int pairs)
{
    vdpa_sim_config_init(config, pairs);
    /* Only what any version of shadow virtqueues accepts */
    config->features = BIT_ULL(VIRTIO_F_VERSION_1) |
                       BIT_ULL(VIRTIO_F_ACCESS_PLATFORM) |
                       BIT_ULL(VIRTIO_NET_F_MAC) |
                       BIT_ULL(VIRTIO_NET_F_STATUS) |
                       BIT_ULL(VIRTIO_NET_F_CTRL_VQ);
    if (pairs > 1) {
        config->features |= BIT_ULL(VIRTIO_NET_F_MQ);
    }
}

static VdpaSim *sim_new(unsigned int pairs, uint32_t notify_pages)
{
    VdpaSimConfig config;
    VdpaSim *sim;

    config_init(&config, pairs);
    config.notify_pages = notify_pages;
    sim = vdpa_sim_create(device, &config);
    g_assert_nonnull(sim);
    return sim;
}

static void sim_end(VdpaSim *sim)
{
    char *complaint = vdpa_sim_complaint(sim);

    g_assert_cmpstr(complaint, ==, NULL);
    vdpa_sim_free(sim);
}

static void assert_closed(const VdpaSim *sim)
{
    g_assert_false(qatomic_read(&sim->state.opened));
}

/* QEMU */

static QTestState *start(const char *options)
{
    return qtest_initf("-M none %s", options);
}

/* A back end that has @members besides the usual; with " as -netdev wants it */
static char *netdev_json(const char *members)
{
    char *netdev =
        g_strdup_printf("{ 'type': 'vhost-vdpa', 'id': 'n0', 'vhostdev': '%s'"
                        "%s%s }", device, *members ? ", " : "", members);

    return g_strdelimit(netdev, "'", '"');
}

static char *netdev_keys(const char *keys)
{
    return g_strdup_printf("vhost-vdpa,id=n0,vhostdev=%s%s%s", device,
                           *keys ? "," : "", keys);
}

/* The answer to netdev_add */
static QDict *netdev_add(QTestState *qts, const char *members)
{
    g_autofree char *netdev = netdev_json(members);
    QObject *arguments = qobject_from_json(netdev, &error_abort);

    return qtest_qmp(qts, "{ 'execute': 'netdev_add', 'arguments': %p }",
                     arguments);
}

static void assert_ok(QDict *answer)
{
    QDict *error = qdict_get_qdict(answer, "error");

    g_assert_cmpstr(error ? qdict_get_str(error, "desc") : NULL, ==, NULL);
    qobject_unref(answer);
}

static void assert_refused(QDict *answer, const char *desc)
{
    QDict *error = qdict_get_qdict(answer, "error");

    g_assert_nonnull(error);
    g_assert_cmpstr(qdict_get_str(error, "desc"), ==, desc);
    qobject_unref(answer);
}

static void netdev_del(QTestState *qts)
{
    assert_ok(qtest_qmp(qts, "{ 'execute': 'netdev_del',"
                        "  'arguments': { 'id': 'n0' } }"));
}

static QDict *object_del(QTestState *qts, const char *id)
{
    return qtest_qmp(qts, "{ 'execute': 'object-del',"
                     "  'arguments': { 'id': %s } }", id);
}

static void assert_in_use(QTestState *qts, const char *id)
{
    g_autofree char *desc =
        g_strdup_printf("object '%s' is in use, can not be deleted", id);

    assert_refused(object_del(qts, id), desc);
}

/*
 * In which IOThreads the shadow virtqueues are: their IDs in the order of the
 * queues, "-" for the main loop.
 */
static char *threads_of(QTestState *qts)
{
    QDict *answer = qtest_qmp(qts, "{ 'execute': 'x-query-vhost-svq',"
                              "  'arguments': { 'netdev': 'n0' } }");
    GString *ids = g_string_new(NULL);
    const QListEntry *e;
    int queue = 0;

    g_assert_true(qdict_haskey(answer, "return"));
    QLIST_FOREACH_ENTRY(qdict_get_qlist(answer, "return"), e) {
        QDict *q = qobject_to(QDict, qlist_entry_obj(e));

        g_assert_cmpstr(qdict_get_str(q, "netdev"), ==, "n0");
        g_assert_cmpint(qdict_get_int(q, "queue"), ==, queue);
        g_assert_false(qdict_get_bool(q, "running"));
        g_string_append_printf(ids, "%s%s", queue ? " " : "",
                               qdict_get_try_str(q, "iothread") ?: "-");
        queue++;
    }
    qobject_unref(answer);
    return g_string_free(ids, false);
}

/* Options that are refused */

typedef struct Refused {
    const char *name;
    const char *json;
    const char *keys;           /* the same, dotted */
    const char *desc;
} Refused;

#define MAP "iothread-vq-mapping of netdev 'n0'"

static const Refused refused[] = {
    {
        .name = "without-svq",
        .json = "'iothread-vq-mapping': [ { 'iothread': 'io0' } ]",
        .keys = "iothread-vq-mapping.0.iothread=io0",
        .desc = MAP " is about shadow virtqueues, which are off; add x-svq=on",
    }, {
        .name = "doorbell-without-svq",
        .json = "'x-svq': false, 'svq-doorbell': 'auto'",
        .keys = "x-svq=off,svq-doorbell=auto",
        .desc = "svq-doorbell of netdev 'n0' is about shadow virtqueues, which "
                "are off; add x-svq=on",
    }, {
        .name = "empty",
        .json = "'x-svq': true, 'iothread-vq-mapping': []",
        .desc = MAP " is empty; name an IOThread, or leave the option out",
    }, {
        .name = "unknown",
        .json = "'x-svq': true, 'iothread-vq-mapping': ["
                "{ 'iothread': 'io0' }, { 'iothread': 'io9' } ]",
        .keys = "x-svq=on,iothread-vq-mapping.0.iothread=io0,"
                "iothread-vq-mapping.1.iothread=io9",
        .desc = MAP ": there is no IOThread 'io9'; create it first, with an "
                "object of type 'iothread'",
    }, {
        .name = "twice",
        .json = "'x-svq': true, 'iothread-vq-mapping': ["
                "{ 'iothread': 'io0', 'vqs': [ 0, 1 ] },"
                "{ 'iothread': 'io0', 'vqs': [ 2, 3 ] } ]",
        .keys = "x-svq=on,iothread-vq-mapping.0.iothread=io0,"
                "iothread-vq-mapping.1.iothread=io0",
        .desc = MAP " has two entries with IOThread 'io0'; make them one",
    }, {
        .name = "mixed",
        .json = "'x-svq': true, 'iothread-vq-mapping': ["
                "{ 'iothread': 'io0' },"
                "{ 'iothread': 'io1', 'vqs': [ 0, 1, 2, 3 ] } ]",
        .keys = "x-svq=on,iothread-vq-mapping.0.iothread=io0,"
                "iothread-vq-mapping.1.iothread=io1,"
                "iothread-vq-mapping.1.vqs.0=0",
        .desc = MAP " has 'vqs' for IOThread 'io1', but none for 'io0'; give "
                "them for each entry, or for no entry",
    }, {
        .name = "mixed-the-other-way",
        .json = "'x-svq': true, 'iothread-vq-mapping': ["
                "{ 'iothread': 'io0', 'vqs': [ 0, 1, 2, 3 ] },"
                "{ 'iothread': 'io1' } ]",
        .desc = MAP " has 'vqs' for IOThread 'io0', but none for 'io1'; give "
                "them for each entry, or for no entry",
    }, {
        .name = "no-vqs",
        .json = "'x-svq': true, 'iothread-vq-mapping': ["
                "{ 'iothread': 'io0', 'vqs': [ 0, 1, 2, 3 ] },"
                "{ 'iothread': 'io1', 'vqs': [] } ]",
        .desc = MAP " has an empty list 'vqs' for IOThread 'io1'; name a "
                "virtqueue, or leave the entry out",
    }, {
        .name = "control-queue",
        .json = "'x-svq': true, 'iothread-vq-mapping': ["
                "{ 'iothread': 'io0', 'vqs': [ 0, 1, 2, 3, 4 ] } ]",
        .desc = MAP ": virtqueue 4, for IOThread 'io0', is the device's "
                "control virtqueue, which the main loop serves; leave it out",
    }, {
        .name = "no-such-queue",
        .json = "'x-svq': true, 'iothread-vq-mapping': ["
                "{ 'iothread': 'io0', 'vqs': [ 0, 5 ] } ]",
        .keys = "x-svq=on,iothread-vq-mapping.0.iothread=io0,"
                "iothread-vq-mapping.0.vqs.0=5",
        .desc = MAP ": there is no virtqueue 5 for IOThread 'io0'; the device "
                "has 2 queue pairs, virtqueues 0 to 3",
    }, {
        .name = "highest-queue",
        .json = "'x-svq': true, 'iothread-vq-mapping': ["
                "{ 'iothread': 'io0', 'vqs': [ 65535 ] } ]",
        .desc = MAP ": there is no virtqueue 65535 for IOThread 'io0'; the "
                "device has 2 queue pairs, virtqueues 0 to 3",
    }, {
        .name = "queue-twice",
        .json = "'x-svq': true, 'iothread-vq-mapping': ["
                "{ 'iothread': 'io0', 'vqs': [ 0, 1, 2, 3 ] },"
                "{ 'iothread': 'io1', 'vqs': [ 2 ] } ]",
        .keys = "x-svq=on,iothread-vq-mapping.0.iothread=io0,"
                "iothread-vq-mapping.0.vqs.0=2,"
                "iothread-vq-mapping.1.iothread=io1,"
                "iothread-vq-mapping.1.vqs.0=2",
        .desc = MAP " names virtqueue 2 a second time, for IOThread 'io1'; "
                "name each once",
    }, {
        .name = "queue-left-out",
        .json = "'x-svq': true, 'iothread-vq-mapping': ["
                "{ 'iothread': 'io0', 'vqs': [ 0, 1 ] },"
                "{ 'iothread': 'io1', 'vqs': [ 3 ] } ]",
        .keys = "x-svq=on,iothread-vq-mapping.0.iothread=io0,"
                "iothread-vq-mapping.0.vqs.0=0,iothread-vq-mapping.0.vqs.1=1,"
                "iothread-vq-mapping.0.vqs.2=3",
        .desc = MAP " has no IOThread for virtqueue 2; the device has 2 queue "
                "pairs, name each of the virtqueues 0 to 3",
    }, {
        /* What no visitor may stumble over */
        .name = "no-list",
        .keys = "x-svq=on,iothread-vq-mapping=io0,vqs=0",
        .desc = "Invalid parameter type for 'iothread-vq-mapping', expected: "
                "array",
    }, {
        .name = "hole-in-list",
        .keys = "x-svq=on,iothread-vq-mapping.1.iothread=io0",
        .desc = "List indices are not contiguous, saw 1 elements but 1 largest "
                "index",
    }, {
        .name = "doorbell-value",
        .json = "'x-svq': true, 'svq-doorbell': 'maybe'",
        .keys = "x-svq=on,svq-doorbell=maybe",
        .desc = "Parameter 'svq-doorbell' does not accept value 'maybe'",
    },
};

static void test_refused_qmp(const void *opaque)
{
    const Refused *r = opaque;
    VdpaSim *sim = sim_new(PAIRS, 0);
    QTestState *qts = start(IOTHREADS);

    assert_refused(netdev_add(qts, r->json), r->desc);
    assert_closed(sim);

    /* Nothing is left of it: neither the name nor what held the IOThreads */
    assert_ok(netdev_add(qts, "'x-svq': true"));
    assert_ok(object_del(qts, "io0"));
    assert_ok(object_del(qts, "io1"));
    qtest_quit(qts);
    sim_end(sim);
}

static void test_refused_hmp(const void *opaque)
{
    const Refused *r = opaque;
    VdpaSim *sim = sim_new(PAIRS, 0);
    QTestState *qts = start(IOTHREADS);
    g_autofree char *want = g_strdup_printf("Error: %s\r\n", r->desc);
    g_autofree char *netdev = netdev_keys(r->keys);
    g_autofree char *answer = qtest_hmp(qts, "netdev_add %s", netdev);

    g_assert_cmpstr(answer, ==, want);
    assert_closed(sim);
    assert_ok(netdev_add(qts, "'x-svq': true"));
    assert_ok(object_del(qts, "io0"));
    qtest_quit(qts);
    sim_end(sim);
}

/* QEMU with -netdev @netdev ends, with @desc in its last words */
static void run_refused(const char *netdev, const char *desc)
{
    g_autofree char *quoted = g_shell_quote(netdev);
    g_autofree char *command =
        g_strdup_printf("exec %s -M none -display none -accel qtest "
                        IOTHREADS "-netdev %s", getenv("QTEST_QEMU_BINARY"),
                        quoted);
    const char *argv[] = { "/bin/sh", "-c", command, NULL };
    g_autofree char *said = NULL;
    g_autoptr(GError) err = NULL;
    int status;

    g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_STDOUT_TO_DEV_NULL, NULL,
                 NULL, NULL, &said, &status, &err);
    g_assert_no_error(err);
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, 1);
    if (!strstr(said, desc)) {
        g_assert_cmpstr(said, ==, desc);
    }
}

static void test_refused_command_line(const void *opaque)
{
    const Refused *r = opaque;
    VdpaSim *sim = sim_new(PAIRS, 0);

    if (r->json) {
        g_autofree char *netdev = netdev_json(r->json);

        run_refused(netdev, r->desc);
    }
    if (r->keys) {
        g_autofree char *netdev = netdev_keys(r->keys);

        run_refused(netdev, r->desc);
    }
    sim_end(sim);
}

/* Options that are accepted */

typedef struct Accepted {
    const char *name;
    unsigned int pairs;
    const char *json;
    const char *keys;
    const char *threads;        /* see threads_of(); "" without shadow queues */
} Accepted;

static const Accepted accepted[] = {
    {
        .name = "off", .pairs = 2,
        .json = "'x-svq': false",
        .keys = "",
        .threads = "",
    }, {
        .name = "main-loop", .pairs = 2,
        .json = "'x-svq': true, 'svq-doorbell': 'off'",
        .keys = "x-svq=on,svq-doorbell=off",
        .threads = "- - - - -",
    }, {
        /* What was accepted before there were lists */
        .name = "as-before", .pairs = 2,
        .json = "'x-svq': true, 'queues': 2",
        .keys = "queues=0x2,x-svq=no,x-svq=yes",
        .threads = "- - - - -",
    }, {
        .name = "named", .pairs = 2,
        .json = "'x-svq': true, 'iothread-vq-mapping': ["
                "{ 'iothread': 'io1', 'vqs': [ 3, 0 ] },"
                "{ 'iothread': 'io0', 'vqs': [ 1, 2 ] } ]",
        .keys = "iothread-vq-mapping.0.iothread=io1,"
                "iothread-vq-mapping.0.vqs.0=3,iothread-vq-mapping.0.vqs.1=0,"
                "iothread-vq-mapping.1.iothread=io0,"
                "iothread-vq-mapping.1.vqs.0=1,iothread-vq-mapping.1.vqs.1=2,"
                "x-svq=on",
        .threads = "io1 io0 io0 io1 -",
    }, {
        .name = "one-for-all", .pairs = 2,
        .json = "'x-svq': true,"
                "'iothread-vq-mapping': [ { 'iothread': 'io2' } ]",
        .keys = "x-svq=on,iothread-vq-mapping.0.iothread=io2",
        .threads = "io2 io2 io2 io2 -",
    }, {
        .name = "one-for-each-pair", .pairs = 2,
        .json = "'x-svq': true, 'iothread-vq-mapping': ["
                "{ 'iothread': 'io0' }, { 'iothread': 'io1' } ]",
        .keys = "x-svq=on,iothread-vq-mapping.0.iothread=io0,"
                "iothread-vq-mapping.1.iothread=io1",
        .threads = "io0 io0 io1 io1 -",
    }, {
        .name = "more-pairs", .pairs = 3,
        .json = "'x-svq': true, 'iothread-vq-mapping': ["
                "{ 'iothread': 'io0' }, { 'iothread': 'io1' } ]",
        .keys = "x-svq=on,iothread-vq-mapping.0.iothread=io0,"
                "iothread-vq-mapping.1.iothread=io1",
        .threads = "io0 io0 io1 io1 io0 io0 -",
    }, {
        .name = "fewer-pairs", .pairs = 2,
        .json = "'x-svq': true, 'iothread-vq-mapping': ["
                "{ 'iothread': 'io0' }, { 'iothread': 'io1' },"
                "{ 'iothread': 'io2' } ]",
        .keys = "x-svq=on,iothread-vq-mapping.0.iothread=io0,"
                "iothread-vq-mapping.1.iothread=io1,"
                "iothread-vq-mapping.2.iothread=io2",
        .threads = "io0 io1 io2 io0 -",
    }, {
        .name = "one-pair", .pairs = 1,
        .json = "'x-svq': true, 'iothread-vq-mapping': ["
                "{ 'iothread': 'io0' }, { 'iothread': 'io1' } ]",
        .keys = "x-svq=on,iothread-vq-mapping.0.iothread=io0,"
                "iothread-vq-mapping.1.iothread=io1",
        .threads = "io0 io1 -",
    },
};

/* The back end is there as it was asked for, and gives all back when it goes */
static void check_accepted(QTestState *qts, VdpaSim *sim, const Accepted *a)
{
    static const char *const ids[] = { "io0", "io1", "io2" };
    g_autofree char *threads = threads_of(qts);
    unsigned int i;

    g_assert_cmpstr(threads, ==, a->threads);
    g_assert_true(qatomic_read(&sim->state.opened));
    for (i = 0; i < ARRAY_SIZE(ids); i++) {
        if (strstr(threads, ids[i])) {
            assert_in_use(qts, ids[i]);
        }
    }
    netdev_del(qts);
    assert_closed(sim);
    assert_refused(qtest_qmp(qts, "{ 'execute': 'x-query-vhost-svq',"
                             "  'arguments': { 'netdev': 'n0' } }"),
                   "Network back end 'n0' not found");
    for (i = 0; i < ARRAY_SIZE(ids); i++) {
        assert_ok(object_del(qts, ids[i]));
    }
}

static void test_accepted_monitor(const void *opaque)
{
    const Accepted *a = opaque;
    VdpaSim *sim = sim_new(a->pairs, 0);
    QTestState *qts = start(IOTHREADS);
    g_autofree char *keys = netdev_keys(a->keys);
    g_autofree char *answer = NULL;

    assert_ok(netdev_add(qts, a->json));
    check_accepted(qts, sim, a);

    answer = qtest_hmp(qts, "object_add iothread,id=io0");
    g_assert_cmpstr(answer, ==, "");
    assert_ok(qtest_qmp(qts, "{ 'execute': 'object-add', 'arguments':"
                        "  { 'qom-type': 'iothread', 'id': 'io1' } }"));
    assert_ok(qtest_qmp(qts, "{ 'execute': 'object-add', 'arguments':"
                        "  { 'qom-type': 'iothread', 'id': 'io2' } }"));
    g_free(answer);
    answer = qtest_hmp(qts, "netdev_add %s", keys);
    g_assert_cmpstr(answer, ==, "");
    check_accepted(qts, sim, a);

    qtest_quit(qts);
    sim_end(sim);
}

static void test_accepted_command_line(const void *opaque)
{
    const Accepted *a = opaque;
    VdpaSim *sim = sim_new(a->pairs, 0);
    char *netdev[] = { netdev_json(a->json), netdev_keys(a->keys) };
    unsigned int i;

    for (i = 0; i < ARRAY_SIZE(netdev); i++) {
        g_autofree char *quoted = g_shell_quote(netdev[i]);
        /* The objects come last: the order on the command line is no matter */
        g_autofree char *options =
            g_strdup_printf("-netdev %s " IOTHREADS, quoted);
        QTestState *qts = start(options);

        check_accepted(qts, sim, a);
        qtest_quit(qts);
        g_free(netdev[i]);
    }
    sim_end(sim);
}

/* -net gives the back end an ID, unlike -netdev, and has but one queue pair */
static void test_net(void)
{
    VdpaSimConfig config;
    VdpaSim *sim;
    QTestState *qts;
    g_autofree char *options =
        g_strdup_printf(IOTHREADS "-net vhost-vdpa,vhostdev=%s,x-svq=on,"
                        "iothread-vq-mapping.0.iothread=io0", device);

    config_init(&config, 1);
    config.features &= ~BIT_ULL(VIRTIO_NET_F_CTRL_VQ);
    sim = vdpa_sim_create(device, &config);
    g_assert_nonnull(sim);
    qts = start(options);
    g_assert_true(qatomic_read(&sim->state.opened));
    assert_in_use(qts, "io0");
    qtest_quit(qts);
    sim_end(sim);
}

/* What goes first */

/*
 * A back end that is deleted while a NIC is plugged in goes with the NIC.
 * Until then its IOThreads stay.
 */
static void test_netdev_before_nic(void)
{
    VdpaSim *sim = sim_new(PAIRS, 0);
    QTestState *qts = qtest_init("-M pc -nodefaults " IOTHREADS);
    int i;

    for (i = 0; i < 2; i++) {
        assert_ok(netdev_add(qts, "'x-svq': true, 'iothread-vq-mapping':"
                             "[ { 'iothread': 'io0' } ]"));
        qtest_qmp_device_add(qts, "virtio-net-pci", "nic0",
                             "{ 'netdev': 'n0', 'mq': true, 'addr': '8' }");
        netdev_del(qts);
        assert_in_use(qts, "io0");
        g_assert_true(qatomic_read(&sim->state.opened));
        qpci_unplug_acpi_device_test(qts, "nic0", 8);
        assert_closed(sim);
    }
    assert_ok(object_del(qts, "io0"));
    qtest_quit(qts);
    sim_end(sim);
}

/* QEMU ends with the back end in use, with a NIC and without */
static void test_quit(void)
{
    VdpaSim *sim = sim_new(PAIRS, 0);
    QTestState *qts;

    qts = start(IOTHREADS);
    assert_ok(netdev_add(qts, "'x-svq': true, 'iothread-vq-mapping':"
                         "[ { 'iothread': 'io0' } ]"));
    qtest_quit(qts);

    qts = qtest_init("-M pc -nodefaults " IOTHREADS);
    assert_ok(netdev_add(qts, "'x-svq': true, 'iothread-vq-mapping':"
                         "[ { 'iothread': 'io0' } ]"));
    qtest_qmp_device_add(qts, "virtio-net-pci", "nic0", "{ 'netdev': 'n0' }");
    qtest_quit(qts);
    sim_end(sim);
}

/* Devices that do not answer */

/*
 * Each request that QEMU makes of the device while it creates the back end is
 * refused once.  That may be an error, and must leave nothing behind.
 */
static void test_device_fails(void)
{
    VdpaSim *sim = sim_new(PAIRS, 0);
    QTestState *qts = start(IOTHREADS);
    unsigned int n, errors = 0;
    uint64_t failed;

    for (n = 0, failed = 1; failed; n++) {
        const VdpaSimFault fault = {
            .kind = VDPA_SIM_FAULT_IOCTL, .queue = VDPA_SIM_ANY,
            .match = VDPA_SIM_ANY, .value = EIO, .skip = n, .times = 1,
        };
        int id = vdpa_sim_arm(sim, &fault);
        QDict *answer = netdev_add(qts, "'x-svq': true, 'iothread-vq-mapping':"
                                   "[ { 'iothread': 'io0' } ]");

        failed = vdpa_sim_disarm(sim, id);
        if (qdict_haskey(answer, "error")) {
            g_assert_cmpint(failed, ==, 1);
            errors++;
        } else {
            netdev_del(qts);
        }
        qobject_unref(answer);
        assert_closed(sim);
    }
    /* At least: features, config space, ID of each part of the device */
    g_assert_cmpint(errors, >=, 2 + PAIRS + 1);

    assert_ok(object_del(qts, "io0"));
    qtest_quit(qts);
    sim_end(sim);
}

static void test_device_config(void)
{
    const VdpaSimFault fault = {
        .kind = VDPA_SIM_FAULT_IOCTL, .queue = VDPA_SIM_ANY,
        .match = NR(VHOST_VDPA_GET_CONFIG), .value = EIO, .times = 1,
    };
    VdpaSim *sim = sim_new(PAIRS, 0);
    QTestState *qts = start(IOTHREADS);
    int id = vdpa_sim_arm(sim, &fault);

    assert_refused(netdev_add(qts, ""), "Fail to get config from vhost-vDPA "
                   "device: Input/output error");
    g_assert_cmpint(vdpa_sim_disarm(sim, id), ==, 1);
    assert_ok(netdev_add(qts, ""));
    qtest_quit(qts);
    sim_end(sim);
}

/* svq-doorbell */

static void test_doorbell(void)
{
    static const struct {
        uint32_t pages;
        const char *value;
        const char *desc;       /* NULL: accepted */
    } cases[] = {
        { 0, "auto" },
        { 0, "off" },
        { 0, "on", "netdev 'n0': svq-doorbell=on cannot be had: the device "
          "offers no notify page for queue 0: Operation not supported" },
        { BIT(CVQ) - 1, "on", "netdev 'n0': svq-doorbell=on cannot be had: the "
          "device offers no notify page for queue 4: Operation not supported" },
        { BIT(CVQ) - 1, "auto" },
        { BIT(CVQ + 1) - 1, "on" },
        { BIT(CVQ + 1) - 1, "auto" },
        { BIT(CVQ + 1) - 1, "off" },
    };
    QTestState *qts = start(IOTHREADS);
    unsigned int i;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *json =
            g_strdup_printf("'x-svq': true, 'svq-doorbell': '%s'",
                            cases[i].value);
        VdpaSim *sim = sim_new(PAIRS, cases[i].pages);
        QDict *answer = netdev_add(qts, json);

        g_test_message("notify pages 0x%x, svq-doorbell=%s", cases[i].pages,
                       cases[i].value);
        if (cases[i].desc) {
            assert_refused(answer, cases[i].desc);
        } else {
            assert_ok(answer);
            netdev_del(qts);
        }
        assert_closed(sim);
        sim_end(sim);
    }
    qtest_quit(qts);
}

/* The monitor */

static void test_hmp(void)
{
    VdpaSim *sim = sim_new(1, 0);
    QTestState *qts = start(IOTHREADS);
    g_autofree char *none = qtest_hmp(qts, "info vhost-svq");
    g_autofree char *unknown = qtest_hmp(qts, "info vhost-svq n1");
    g_autofree char *all = NULL, *one = NULL;

    g_assert_cmpstr(none, ==, "No shadow virtqueues\r\n");
    g_assert_cmpstr(unknown, ==, "Error: Network back end 'n1' not found\r\n");

    assert_ok(netdev_add(qts, "'x-svq': true, 'iothread-vq-mapping': ["
                         "{ 'iothread': 'io0', 'vqs': [ 0, 1 ] } ]"));
    all = qtest_hmp(qts, "info vhost-svq");
    one = qtest_hmp(qts, "info vhost-svq n0");
    g_assert_cmpstr(all, ==, one);
    g_assert_nonnull(strstr(all, "n0, virtqueue 0: stopped\r\n"
                            "  iothread:              io0\r\n"));
    g_assert_nonnull(strstr(all, "n0, virtqueue 2: stopped\r\n"
                            "  iothread:              (main loop)\r\n"));
    g_assert_nonnull(strstr(all, "  split_translations:    0\r\n"));
    qtest_quit(qts);
    sim_end(sim);
}

static void add_cases(void)
{
    unsigned int i;

    for (i = 0; i < ARRAY_SIZE(refused); i++) {
        const Refused *r = &refused[i];
        g_autofree char *qmp =
            g_strdup_printf("svq-options/refused/%s/qmp", r->name);
        g_autofree char *hmp =
            g_strdup_printf("svq-options/refused/%s/hmp", r->name);
        g_autofree char *command_line =
            g_strdup_printf("svq-options/refused/%s/command-line", r->name);

        if (r->json) {
            qtest_add_data_func(qmp, r, test_refused_qmp);
        }
        if (r->keys) {
            qtest_add_data_func(hmp, r, test_refused_hmp);
        }
        qtest_add_data_func(command_line, r, test_refused_command_line);
    }
    for (i = 0; i < ARRAY_SIZE(accepted); i++) {
        const Accepted *a = &accepted[i];
        g_autofree char *monitor =
            g_strdup_printf("svq-options/accepted/%s/monitor", a->name);
        g_autofree char *command_line =
            g_strdup_printf("svq-options/accepted/%s/command-line", a->name);

        qtest_add_data_func(monitor, a, test_accepted_monitor);
        qtest_add_data_func(command_line, a, test_accepted_command_line);
    }
    qtest_add_func("svq-options/net", test_net);
    qtest_add_func("svq-options/netdev-before-nic", test_netdev_before_nic);
    qtest_add_func("svq-options/quit", test_quit);
    qtest_add_func("svq-options/device-fails", test_device_fails);
    qtest_add_func("svq-options/device-config", test_device_config);
    qtest_add_func("svq-options/doorbell", test_doorbell);
    qtest_add_func("svq-options/hmp", test_hmp);
}

int main(int argc, char **argv)
{
    g_autofree char *so = NULL, *dir = NULL;
    char *path;
    int ret;

    g_test_init(&argc, &argv, NULL);

    so = g_test_build_filename(G_TEST_BUILT, "..", "vdpa-sim", "vdpa-sim.so",
                               NULL);
    path = realpath(so, NULL);
    if (!path || strpbrk(path, " :")) {
        /* LD_PRELOAD knows no quoting */
        g_print("1..0 # SKIP vdpa-sim.so is not where the build has it, or "
                "there is a space or a colon in its path\n");
        return 0;
    }
    dir = g_dir_make_tmp("svq-options-XXXXXX", NULL);
    g_assert_nonnull(dir);
    device = g_build_filename(dir, "vdpa", NULL);

    add_cases();
    vdpa_sim_preload(path);
    ret = g_test_run();
    vdpa_sim_unpreload();

    g_unlink(device);
    g_rmdir(dir);
    g_free(device);
    free(path);
    return ret;
}
