/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: disks whose data is in ROM, in a device's memory, at the end of RAM,
 * nowhere, or behind an IOMMU
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "virtio-in-order-memory.h"
#include "standard-headers/linux/virtio_blk.h"

/* One request with its data at @pieces, to the end */
static void disk_run(Dev *dev, QVirtQueue *vq, Request *req, uint32_t type,
                     const Piece *pieces, unsigned n, bool indirect)
{
    request_add_pieces(req, vq, type, 0, pieces, n, indirect);
    qvring_publish(rig->qts, vq, req->id);
    qvring_notify(rig->qts, vq);
    requests_finish(req, 1, vq, "data anywhere");
    g_assert_false(dev->vdev->bus->get_status(dev->vdev) &
                   VIRTIO_CONFIG_S_NEEDS_RESET);
}

/* What the disk has in its first sectors, read into RAM */
static uint8_t *disk_content(Dev *dev, QVirtQueue *vq, Request *req,
                             size_t len)
{
    disk_run(dev, vq, req, VIRTIO_BLK_T_IN, &(Piece) { req->data, len }, 1,
             false);
    return guest(req->data, len);
}

static void disk_start(Dev **dev, QVirtQueue **vq, Request *req)
{
    *dev = dev_start(MEM_DISK, NO_EVENT_IDX);
    *vq = queue_setup(*dev, 0, 64);
    qvirtio_set_driver_ok((*dev)->vdev);
    *req = (Request) { .done = true };
    request_init(req, 2 * SECTOR);
}

#define ROM_ADDR    (4 * GiB - SECTOR)  /* the firmware's last bytes */
#define MMIO_ADDR   0xfed00000          /* HPET, which starts with its type */

/*
 * Data that is not in one piece of RAM.  If this fails, QEMU takes what is
 * none for RAM, loses the part that is, or does not survive it.
 */
void test_places(const void *data)
{
    uint64_t cap;
    uint8_t rom[SECTOR], *edge;
    bool indirect;
    Request req;
    QVirtQueue *vq;
    Dev *dev;

    if (!can_run(data)) {
        return;
    }
    rig_get_kind(&mem_kind, data);
    disk_start(&dev, &vq, &req);
    qtest_memread(rig->qts, ROM_ADDR, rom, SECTOR);
    cap = qtest_readq(rig->qts, MMIO_ADDR);
    g_assert_cmphex(cap, !=, 0);
    edge = guest(RIG_RAM_SIZE - SECTOR, SECTOR);

    for (indirect = false; ; indirect = true) {
        Piece from_rom = { ROM_ADDR, SECTOR };
        Piece from_mmio = { MMIO_ADDR, SECTOR };
        Piece over_edge = { RIG_RAM_SIZE - SECTOR, 2 * SECTOR };
        Piece mixed[] = { { req.data, SECTOR }, { ROM_ADDR, SECTOR } };

        disk_run(dev, vq, &req, VIRTIO_BLK_T_OUT, &from_rom, 1, indirect);
        g_assert_cmpmem(disk_content(dev, vq, &req, SECTOR), SECTOR, rom,
                        SECTOR);

        /* Into the ROM: nothing comes of it */
        disk_run(dev, vq, &req, VIRTIO_BLK_T_OUT, &from_mmio, 1, indirect);
        disk_run(dev, vq, &req, VIRTIO_BLK_T_IN, &from_rom, 1, indirect);
        qtest_memread(rig->qts, ROM_ADDR, guest(req.data, SECTOR), SECTOR);
        g_assert_cmpmem(guest(req.data, SECTOR), SECTOR, rom, SECTOR);
        g_assert_cmphex(ldq_le_p(disk_content(dev, vq, &req, SECTOR)), ==,
                        cap);

        /* RAM and ROM in one chain: the first is to be let go again */
        pattern_fill(guest(req.data, SECTOR), SECTOR, 1 + indirect);
        disk_run(dev, vq, &req, VIRTIO_BLK_T_OUT, mixed, 2, indirect);
        g_assert_cmpmem(disk_content(dev, vq, &req, 2 * SECTOR) + SECTOR,
                        SECTOR, rom, SECTOR);

        /* RAM to its end, and on into nothing */
        memset(edge, POISON, SECTOR);
        disk_run(dev, vq, &req, VIRTIO_BLK_T_IN, &over_edge, 1, indirect);
        g_assert_cmpmem(edge, SECTOR, disk_content(dev, vq, &req, SECTOR),
                        SECTOR);
        if (indirect) {
            break;
        }
    }
    qvirtio_reset(dev->vdev);
    queue_free(dev, vq);
}

/*
 * Data where nothing can be, behind a request that is right.  If this fails,
 * QEMU does not survive it, does not say that the device needs a reset, or
 * does not let go of what it had mapped of the chain: then the next request
 * to a device's memory finds no room.
 */
void test_no_place(const void *data)
{
    static const struct {
        Piece pieces[2];
        unsigned n;
    } bad[] = {
        /* Two that are no RAM: QEMU copies one at a time */
        { { { MMIO_ADDR, SECTOR }, { MMIO_ADDR, SECTOR } }, 2 },
        /* Longer than what is copied */
        { { { RIG_RAM_SIZE - SECTOR, 0x80000000 } }, 1 },
        { { { 1 * MiB, UINT32_MAX } }, 1 },
        { { { UINT64_MAX - 8191, 16384 } }, 1 },
    };
    Piece mmio = { MMIO_ADDR, SECTOR };
    Request req[2];
    QVirtQueue *vq;
    gint64 start;
    bool indirect;
    unsigned i;
    Dev *dev;

    if (!can_run(data) || base_lacks("an error is the end of a request")) {
        return;
    }
    rig_get_kind(&mem_kind, data);
    for (i = 0; i < 2 * ARRAY_SIZE(bad); i++) {
        indirect = i & 1;
        disk_start(&dev, &vq, &req[0]);
        req[1] = (Request) { .done = true };
        request_init(&req[1], SECTOR);
        request_add(&req[0], vq, VIRTIO_BLK_T_IN, 0, SECTOR, 1, indirect);
        request_add_pieces(&req[1], vq, VIRTIO_BLK_T_OUT, 0,
                           bad[i / 2].pieces, bad[i / 2].n, indirect);
        qvring_publish(rig->qts, vq, req[1].id);
        qvring_notify(rig->qts, vq);
        start = 0;
        while (!(dev->vdev->bus->get_status(dev->vdev) &
                 VIRTIO_CONFIG_S_NEEDS_RESET)) {
            wait_a_little(&start, vq, "data where nothing can be");
        }
        qvirtio_reset(dev->vdev);
        queue_free(dev, vq);

        disk_start(&dev, &vq, &req[0]);
        disk_run(dev, vq, &req[0], VIRTIO_BLK_T_OUT, &mmio, 1, indirect);
        qvirtio_reset(dev->vdev);
        queue_free(dev, vq);
    }
}

#define WINDOW          RIG_VTD_WINDOW
#define WINDOW_PAGES    RIG_VTD_PAGES
#define PAGE            4096

static const char *const iommu_names[] = { "disk0" };

static void iommu_start(GString *cmd, const char *props)
{
    int disk_fd = rig_pass_fd(shared_file("disk", 4 * MiB));

    g_string_append_printf(
        cmd,
        " -device intel-iommu "
        "-drive if=none,id=file0,format=raw,file.locking=off,"
            "file=/proc/self/fd/%d "
        "-device virtio-blk-pci,id=disk0,drive=file0,addr=%d,num-queues=1,"
            "disable-legacy=on,iommu_platform=on,%s",
        disk_fd, DEV_SLOT(0), props);
}

static const RigKind iommu_kind = {
    .names = iommu_names,
    .count = 1,
    .start = iommu_start,
};

/*
 * A disk behind an IOMMU, with data, and indirect tables, in pages that are
 * next to each other for the device alone.  If this fails, the device takes
 * its addresses for those of RAM, or takes two pages for one piece of it.
 */
void test_iommu(const void *data)
{
    enum { SIZE = WINDOW_PAGES * PAGE, SECTORS = SIZE / SECTOR };
    g_autofree uint8_t *want = g_malloc(SIZE);
    Piece all = { WINDOW, SIZE };
    QVRingIndirectDesc *table;
    uint64_t pages;
    bool indirect;
    QVirtQueue *vq;
    Request req;
    unsigned i;
    Dev *dev;

    if (!can_run(data)) {
        return;
    }
    rig_stop();
    rig_get_kind(&iommu_kind, data);
    dev_start(0, NO_EVENT_IDX);
    pages = rig_vtd_enable(0);
    dev = dev_start_too(0, NO_EVENT_IDX);
    vq = queue_setup(dev, 0, 64);
    qvirtio_set_driver_ok(dev->vdev);
    req = (Request) { .done = true };
    request_init(&req, SECTOR);

    for (indirect = false; ; indirect = true) {
        pattern_fill(want, SIZE, 42 + indirect);
        for (i = 0; i < WINDOW_PAGES; i++) {
            memcpy(guest(pages + (WINDOW_PAGES - 1 - i) * PAGE, PAGE),
                   want + i * PAGE, PAGE);
        }
        disk_run(dev, vq, &req, VIRTIO_BLK_T_OUT, &all, 1, indirect);
        memset(guest(pages, SIZE), POISON, SIZE);
        disk_run(dev, vq, &req, VIRTIO_BLK_T_IN, &all, 1, indirect);
        for (i = 0; i < WINDOW_PAGES; i++) {
            g_assert_cmpmem(guest(pages + (WINDOW_PAGES - 1 - i) * PAGE, PAGE),
                            PAGE, want + i * PAGE, PAGE);
        }
        if (indirect) {
            break;
        }
    }

    /* The table of a read, which the device sees in the window only */
    table = qvring_indirect_desc_setup(rig->qts, dev->vdev, &rig->alloc, 3);
    qvring_indirect_desc_add(dev->vdev, rig->qts, table, req.mem, 16, false);
    qvring_indirect_desc_add(dev->vdev, rig->qts, table, WINDOW, SECTOR, true);
    qvring_indirect_desc_add(dev->vdev, rig->qts, table, req.mem + 32, 1,
                             true);
    memcpy(guest(pages, 48), guest(table->desc, 48), 48);
    memset(guest(table->desc, 48), 0, 48);
    table->desc = WINDOW + (WINDOW_PAGES - 1) * PAGE;
    memset(guest(pages + (WINDOW_PAGES - 1) * PAGE, SECTOR), POISON, SECTOR);
    req.id = qvirtqueue_add_indirect(rig->qts, vq, table);
    req.len = SECTOR;
    req.done = false;
    qvring_publish(rig->qts, vq, req.id);
    qvring_notify(rig->qts, vq);
    requests_finish(&req, 1, vq, "an indirect table behind the IOMMU");
    g_assert_cmpmem(guest(pages + (WINDOW_PAGES - 1) * PAGE, SECTOR), SECTOR,
                    want, SECTOR);
    g_free(table);
    qvirtio_reset(dev->vdev);
    queue_free(dev, vq);
    rig_stop();
}
