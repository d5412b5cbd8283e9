/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: which devices offer VIRTIO_F_IN_ORDER, and what they call it; on
 * virtio-mmio, with traffic, since the other cases are all on PCI
 *
 * Each case starts a QEMU of its own.
 */

#include "qemu/osdep.h"
#include "virtio-in-order-cases.h"
#include "virtio-in-order-traffic.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qmp/qlist.h"
#include "qapi/qmp/qstring.h"
#include "libqos/pci-pc.h"
#include "libqos/virtio-mmio.h"
#include "standard-headers/linux/virtio_ids.h"

/* virtio-mmio */

typedef struct MmioRig {
    QTestState *qts;
    QVirtioRam ram;
    QGuestAllocator alloc;
    QVirtioMMIODevice dev;
    Peer peer;
} MmioRig;

#define MICROVM_MMIO    0xfeb00000
#define MICROVM_STEP    512
#define MICROVM_SLOTS   24

static MmioRig *mmio_start(const Mode *mode, bool legacy)
{
    g_autofree char *props = mode_props(mode);
    MmioRig *m = g_new0(MmioRig, 1);
    int ram_fd = shared_file("ram", RIG_RAM_SIZE), net_fd;
    unsigned i;

    rig_stop();
    ram_init(&m->ram, ram_fd);
    peer_init(&m->peer, SOCK_STREAM, &net_fd);
    m->qts = qtest_initf(
        "-machine microvm,memory-backend=mem -m %" PRIu64 "M "
        "-object memory-backend-file,id=mem,share=on,size=%" PRIu64 "M,"
            "mem-path=/proc/self/fd/%d "
        "-global virtio-mmio.force-legacy=%s "
        "-netdev socket,id=hs0,fd=%d "
        "-device virtio-net-device,id=net0,netdev=hs0,%s",
        RIG_RAM_SIZE / MiB, RIG_RAM_SIZE / MiB, ram_fd,
        legacy ? "true" : "false", net_fd, props);
    close(ram_fd);
    close(net_fd);
    alloc_init(&m->alloc, 0, 1 * MiB, RIG_RAM_SIZE, 4096);
    for (i = 0; i < MICROVM_SLOTS; i++) {
        uint64_t addr = MICROVM_MMIO + i * MICROVM_STEP;

        if (qtest_readl(m->qts, addr + QVIRTIO_MMIO_DEVICE_ID) ==
            VIRTIO_ID_NET) {
            qvirtio_mmio_init_device(&m->dev, m->qts, addr, 4096);
            break;
        }
    }
    g_assert_cmpuint(i, <, MICROVM_SLOTS);
    g_assert_cmpuint(m->dev.version, ==, legacy ? 1 : 2);
    qvirtio_start_device(&m->dev.vdev);
    return m;
}

static void mmio_stop(MmioRig *m)
{
    qtest_quit(m->qts);
    alloc_destroy(&m->alloc);
    munmap(m->ram.host, m->ram.size);
    peer_cleanup(&m->peer);
    g_free(m);
}

/*
 * The same over virtio-mmio, through the functions of libqos that other tests
 * use, and through the qtest protocol instead of shared memory.  If this
 * fails, virtio-mmio does not offer the feature or sets the rings up wrongly;
 * or a legacy device offers what a legacy driver cannot know.
 */
void test_mmio(const void *data)
{
    const Mode *mode = data;
    QVirtioDevice *d;
    QVirtQueue *rx, *tx;
    uint64_t features, mem;
    uint32_t id, len;
    uint8_t pkt[NET_HDR_LEN + 200];
    const uint8_t *got;
    unsigned i;
    size_t n;
    MmioRig *m;

    if (!can_run(mode)) {
        return;
    }
    m = mmio_start(mode, true);
    d = &m->dev.vdev;
    features = qvirtio_get_features(d);
    g_assert_cmphex(features & (BIT_ULL(VIRTIO_F_IN_ORDER) |
                                BIT_ULL(VIRTIO_F_RING_PACKED)), ==, 0);
    /* The upper half, asked for in spite of the version */
    qtest_writel(m->qts, m->dev.addr + QVIRTIO_MMIO_HOST_FEATURES_SEL, 1);
    g_assert_cmphex(qtest_readl(m->qts, m->dev.addr +
                                QVIRTIO_MMIO_HOST_FEATURES), ==, 0);
    mmio_stop(m);

    m = mmio_start(mode, false);
    d = &m->dev.vdev;
    features = qvirtio_get_features(d);
    g_assert_cmpint(!!(features & BIT_ULL(VIRTIO_F_IN_ORDER)), ==,
                    mode->in_order);
    g_assert_cmpint(!!(features & BIT_ULL(VIRTIO_F_RING_PACKED)), ==,
                    mode->packed);
    d->tracked = true;
    qvirtio_set_features(d, features & ~(BIT_ULL(VIRTIO_RING_F_EVENT_IDX) |
                                         QVIRTIO_F_BAD_FEATURE));
    rx = qvirtqueue_setup(d, &m->alloc, 0);
    tx = qvirtqueue_setup(d, &m->alloc, 1);
    qvirtio_set_driver_ok(d);
    mem = guest_alloc(&m->alloc, 4096);

    for (i = 0; i < 50; i++) {
        size_t size = between(PKT_MIN, 200);
        gint64 start = g_get_monotonic_time();

        memset(pkt, 0, NET_HDR_LEN);
        packet_fill(pkt + NET_HDR_LEN, size, i);
        qtest_bufwrite(m->qts, mem, pkt, NET_HDR_LEN + size);
        id = qvirtqueue_add(m->qts, tx, mem, 20, false, true);
        qvirtqueue_add(m->qts, tx, mem + 20, NET_HDR_LEN + size - 20, false,
                       false);
        qvirtqueue_kick(m->qts, d, tx, id);
        qvirtio_wait_used_elem(m->qts, d, tx, id, &len, RIG_TIMEOUT_US);
        g_assert_cmpuint(len, ==, 0);
        while (!(got = peer_recv(&m->peer, &n))) {
            g_assert_cmpint(g_get_monotonic_time() - start, <, RIG_TIMEOUT_US);
            g_usleep(10);
        }
        packet_check(got, n, i, size);

        id = qvirtqueue_add(m->qts, rx, mem + 2048, 1024, true, false);
        qvirtqueue_kick(m->qts, d, rx, id);
        g_assert_true(peer_send(&m->peer, pkt + NET_HDR_LEN, size));
        qvirtio_wait_used_elem(m->qts, d, rx, id, &len, RIG_TIMEOUT_US);
        g_assert_cmpuint(len, ==, NET_HDR_LEN + size);
        qtest_bufread(m->qts, mem + 2048, pkt, len);
        packet_check(pkt + NET_HDR_LEN, size, i, size);
    }
    qvring_check_idle(m->qts, rx);
    qvring_check_idle(m->qts, tx);
    qvirtio_reset(d);
    qvirtqueue_cleanup(d->bus, rx, &m->alloc);
    qvirtqueue_cleanup(d->bus, tx, &m->alloc);
    mmio_stop(m);
}

/* Offering the feature */

static QVirtioPCIDevice *find_pci(QPCIBus *bus, int slot)
{
    QPCIAddress addr = { .devfn = QPCI_DEVFN(slot, 0) };
    QVirtioPCIDevice *pci = virtio_pci_new(bus, &addr);

    g_assert_nonnull(pci);
    qvirtio_pci_device_enable(pci);
    qvirtio_start_device(&pci->vdev);
    return pci;
}

static void free_pci(QVirtioPCIDevice *pci)
{
    qvirtio_pci_device_disable(pci);
    g_free(pci->pdev);
    g_free(pci);
}

/* Is VIRTIO_F_IN_ORDER among the features that QEMU lists under @key? */
static bool status_lists(QTestState *qts, const char *path, const char *key)
{
    QDict *rsp, *ret;
    const QListEntry *e;
    bool found = false;

    rsp = qtest_qmp(qts, "{'execute': 'x-query-virtio-status',"
                    " 'arguments': {'path': %s}}", path);
    ret = qdict_get_qdict(rsp, "return");
    g_assert_nonnull(ret);
    QLIST_FOREACH_ENTRY(qdict_get_qlist(qdict_get_qdict(ret, key),
                                        "transports"), e) {
        QString *s = qobject_to(QString, qlist_entry_obj(e));

        found |= g_str_has_prefix(qstring_get_str(s), "VIRTIO_F_IN_ORDER:");
    }
    qobject_unref(rsp);
    return found;
}

/*
 * Who does not ask for in_order does not get it.  If this fails, guests see a
 * feature that nobody configured, and migration to an older QEMU breaks.
 */
void test_feature_default(void)
{
    QTestState *qts;
    QPCIBus *bus;
    int slot;

    rig_stop();
    qts = qtest_init("-machine q35 -device virtio-rng-pci,addr=4 "
                     "-device virtio-net-pci,addr=5,packed=on "
                     "-device virtio-scsi-pci,addr=6,disable-legacy=on");
    bus = qpci_new_pc(qts, NULL);
    for (slot = 4; slot <= 6; slot++) {
        QVirtioPCIDevice *pci = find_pci(bus, slot);

        g_assert_cmphex(qvirtio_get_features(&pci->vdev) &
                        BIT_ULL(VIRTIO_F_IN_ORDER), ==, 0);
        free_pci(pci);
    }
    qpci_free_pc(bus);
    qtest_quit(qts);
}

/*
 * A legacy driver cannot know of in-order.  If this fails, the device returns
 * its buffers in batches all the same, and that driver loses most of them.
 */
void test_feature_legacy(void)
{
    enum { COUNT = 20 };
    QGuestAllocator alloc;
    QVirtioPCIDevice *pci;
    QVirtQueue *rx, *tx;
    QTestState *qts;
    QPCIBus *bus;
    uint64_t mem;
    uint32_t id;
    int fd, i;
    Peer peer;

    if (base_lacks("no property in_order")) {
        return;
    }
    rig_stop();
    peer_init(&peer, SOCK_STREAM, &fd);
    qts = qtest_initf("-machine q35 -netdev socket,id=hs0,fd=%d "
                      "-device virtio-net-pci,id=net0,netdev=hs0,addr=4,"
                      "disable-legacy=off,disable-modern=on,in_order=on", fd);
    close(fd);
    alloc_init(&alloc, 0, 1 * MiB, 64 * MiB, 4096);
    bus = qpci_new_pc(qts, NULL);
    pci = find_pci(bus, 4);
    qvirtio_set_features(&pci->vdev, qvirtio_get_features(&pci->vdev) &
                         ~(QVIRTIO_F_BAD_FEATURE | NO_EVENT_IDX));
    rx = qvirtqueue_setup(&pci->vdev, &alloc, 0);
    tx = qvirtqueue_setup(&pci->vdev, &alloc, 1);
    g_assert_null(tx->ring);
    qvirtio_set_driver_ok(&pci->vdev);

    mem = guest_alloc(&alloc, 4096);
    for (i = 0; i < COUNT; i++) {
        g_assert_cmpuint(qvirtqueue_add(qts, tx, mem, 100, false, false), ==,
                         i);
        qtest_writew(qts, tx->avail + 4 + 2 * i, i);
    }
    qtest_writew(qts, tx->avail + 2, COUNT);
    pci->vdev.bus->virtqueue_kick(&pci->vdev, tx);
    for (i = 0; i < COUNT; i++) {
        gint64 start = g_get_monotonic_time();

        while (!qvirtqueue_get_buf(qts, tx, &id, NULL)) {
            g_assert_cmpint(g_get_monotonic_time() - start, <, RIG_TIMEOUT_US);
            g_usleep(100);
        }
        g_assert_cmpuint(id, ==, i);
    }
    g_assert_false(status_lists(qts, "/machine/peripheral/net0/"
                                "virtio-backend", "guest-features"));

    qvirtio_reset(&pci->vdev);
    qvirtqueue_cleanup(pci->vdev.bus, rx, &alloc);
    qvirtqueue_cleanup(pci->vdev.bus, tx, &alloc);
    free_pci(pci);
    qpci_free_pc(bus);
    alloc_destroy(&alloc);
    qtest_quit(qts);
    peer_cleanup(&peer);
}

/*
 * The feature has a name.  If this fails, x-query-virtio-status shows it as a
 * number among the unknown ones, or shows what was offered as negotiated.
 */
void test_feature_status(void)
{
    const char *path = "/machine/peripheral/rng0/virtio-backend";
    QVirtioPCIDevice *pci;
    uint64_t features;
    QTestState *qts;
    QPCIBus *bus;

    if (base_lacks("no property in_order")) {
        return;
    }
    rig_stop();
    qts = qtest_init("-machine q35 "
                     "-device virtio-rng-pci,id=rng0,addr=4,in_order=on");
    bus = qpci_new_pc(qts, NULL);
    pci = find_pci(bus, 4);
    features = qvirtio_get_features(&pci->vdev) & ~QVIRTIO_F_BAD_FEATURE;
    g_assert_cmphex(features & BIT_ULL(VIRTIO_F_IN_ORDER), !=, 0);
    g_assert_true(status_lists(qts, path, "host-features"));
    g_assert_false(status_lists(qts, path, "guest-features"));

    qvirtio_set_features(&pci->vdev, features & ~BIT_ULL(VIRTIO_F_IN_ORDER));
    g_assert_false(status_lists(qts, path, "guest-features"));
    qvirtio_start_device(&pci->vdev);
    qvirtio_set_features(&pci->vdev, features);
    g_assert_true(status_lists(qts, path, "guest-features"));

    free_pci(pci);
    qpci_free_pc(bus);
    qtest_quit(qts);
}

/*
 * Every virtio device has the property, and those that stand alone offer the
 * feature.  If this fails, a device type was forgotten, or takes the feature
 * out of what it offers.
 */
void test_feature_devices(void)
{
    static const struct {
        const char *type;       /* of the device behind the proxy */
        const char *options;    /* what creates it; NULL: wants a back end */
    } devices[] = {
        { "vhost-scsi", NULL },
        { "vhost-user-blk", NULL },
        { "vhost-user-fs-device", NULL },
        { "vhost-user-gpio-device", NULL },
        { "vhost-user-gpu", NULL },
        { "vhost-user-i2c-device", NULL },
        { "vhost-user-input", NULL },
        { "vhost-user-rng", NULL },
        { "vhost-user-scsi", NULL },
        { "vhost-user-vsock-device", NULL },
        { "vhost-vsock-device", NULL },
        { "virtio-input-host-device", NULL },
        { "virtio-9p-device", "-fsdev synth,id=fs0 "
          "-device virtio-9p-pci,fsdev=fs0,mount_tag=x" },
        { "virtio-balloon-device", "-device virtio-balloon-pci" },
        { "virtio-blk-device", "-blockdev null-co,node-name=n0 "
          "-device virtio-blk-pci,drive=n0" },
        { "virtio-crypto-device", "-object cryptodev-backend-builtin,id=c0 "
          "-device virtio-crypto-pci,cryptodev=c0" },
        { "virtio-gpu-device", "-device virtio-gpu-pci" },
        { "virtio-iommu-device", "-device virtio-iommu-pci,addr=18" },
        { "virtio-keyboard-device", "-device virtio-keyboard-pci" },
        { "virtio-mem", "-object memory-backend-ram,id=m0,size=128M "
          "-device virtio-mem-pci,memdev=m0" },
        { "virtio-mouse-device", "-device virtio-mouse-pci" },
        { "virtio-net-device", "-device virtio-net-pci" },
        { "virtio-pmem", "-object memory-backend-ram,id=m1,size=128M "
          "-device virtio-pmem-pci,memdev=m1" },
        { "virtio-rng-device", "-device virtio-rng-pci" },
        { "virtio-scsi-device", "-device virtio-scsi-pci" },
        { "virtio-serial-device", "-device virtio-serial-pci" },
        { "virtio-tablet-device", "-device virtio-tablet-pci" },
    };
    g_autoptr(GString) cmd = g_string_new("-machine q35 -m 128,slots=2,"
                                          "maxmem=1G -nodefaults");
    unsigned created = 0, i;
    const QListEntry *e, *p;
    QTestState *qts;
    QDict *types, *rsp;

    if (base_lacks("no property in_order")) {
        return;
    }
    rig_stop();
    qts = qtest_init("-machine none");
    types = qtest_qmp(qts, "{'execute': 'qom-list-types', 'arguments':"
                      " {'implements': 'virtio-device', 'abstract': false}}");
    QLIST_FOREACH_ENTRY(qdict_get_qlist(types, "return"), e) {
        const char *type = qdict_get_str(qobject_to(QDict,
                                                    qlist_entry_obj(e)),
                                         "name");
        bool found = false;

        rsp = qtest_qmp(qts, "{'execute': 'device-list-properties',"
                        " 'arguments': {'typename': %s}}", type);
        QLIST_FOREACH_ENTRY(qdict_get_qlist(rsp, "return"), p) {
            QDict *prop = qobject_to(QDict, qlist_entry_obj(p));

            found |= !strcmp(qdict_get_str(prop, "name"), "in_order");
        }
        qobject_unref(rsp);
        if (!found) {
            g_test_message("%s has no property in_order", type);
        }
        g_assert_true(found);

        for (i = 0; i < ARRAY_SIZE(devices); i++) {
            if (!strcmp(devices[i].type, type)) {
                break;
            }
        }
        if (i == ARRAY_SIZE(devices)) {
            g_test_message("%s is new: say in the table how to create it",
                           type);
        }
        g_assert_cmpuint(i, <, ARRAY_SIZE(devices));
        if (devices[i].options) {
            g_string_append_printf(cmd, " %s,in_order=on",
                                   devices[i].options);
            created++;
        }
    }
    qobject_unref(types);
    qtest_quit(qts);
    g_assert_cmpuint(created, >=, 5);

    qts = qtest_init(cmd->str);
    rsp = qtest_qmp(qts, "{'execute': 'x-query-virtio'}");
    i = 0;
    QLIST_FOREACH_ENTRY(qdict_get_qlist(rsp, "return"), e) {
        QDict *dev = qobject_to(QDict, qlist_entry_obj(e));
        const char *path = qdict_get_str(dev, "path");
        bool listed = status_lists(qts, path, "host-features");

        if (!listed) {
            g_test_message("%s does not offer it", qdict_get_str(dev, "name"));
        }
        g_assert_true(listed);
        i++;
    }
    g_assert_cmpuint(i, ==, created);
    qobject_unref(rsp);
    qtest_quit(qts);
}
