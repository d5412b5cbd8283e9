/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: virtqueues whose buffers are in memory that goes away, moves, or is
 * none, and behind an IOMMU; both layouts, with and without
 * VIRTIO_F_IN_ORDER
 *
 * A device has to keep the memory of the buffers that it has taken, whatever
 * the machine does with it, and has to let go of it with the last of them.
 * What it takes from then on is where the machine has it now.
 *
 * This file has the list of all cases, and those in which memory changes; for
 * the others see virtio-in-order-memory.h.
 *
 * With VIRTIO_IN_ORDER_TEST_BASE=1 in the environment the test accepts a QEMU
 * without the property in_order, see virtio-in-order-rig.h.
 */

#include "qemu/osdep.h"
#include "virtio-in-order-memory.h"
#include "qapi/qmp/qdict.h"
#include "hw/pci/pci_regs.h"
#include "standard-headers/linux/virtio_blk.h"

/* A card whose second BAR is RAM, in the slot behind */
#define BAR_SLOT        DEV_SLOT(MEM_COUNT)
#define BAR_NUM         2
#define BAR_SIZE        (1 * MiB)
#define BAR_MOVE        (64 * MiB)

/* Where memory is plugged in */
#define DIMM_ADDR       (4 * GiB)
#define DIMM_SIZE       (32 * MiB)

#define SLOW_COUNT      12              /* requests to a throttled disk */
#define SLOW_LEN        (4 * SECTOR)

/* Memory other than the rig's, which outlives QEMU's use of it */
static struct {
    uint8_t *dimm, *bar;
    int dimm_fd;                        /* in QEMU */
} mem;

static const char *const mem_names[] = { "disk0", "slow0", "slow1" };

static void mem_start(GString *cmd, const char *props)
{
    int disk_fd = rig_pass_fd(shared_file("disk", 4 * MiB));
    int bar_fd = rig_pass_fd(shared_file("bar", BAR_SIZE));

    mem.dimm_fd = rig_pass_fd(shared_file("dimm", DIMM_SIZE));
    mem.dimm = shared_map(mem.dimm_fd, DIMM_SIZE);
    mem.bar = shared_map(bar_fd, BAR_SIZE);
    g_string_append_printf(
        cmd,
        " -object iothread,id=thread0 "
        "-object memory-backend-file,id=bar0,share=on,size=%" PRIu64 ","
            "mem-path=/proc/self/fd/%d "
        "-drive if=none,id=file0,format=raw,file.locking=off,"
            "file=/proc/self/fd/%d "
        "-drive if=none,id=null0,driver=null-co,size=1048576,"
            "read-zeroes=on,throttling.iops-total=10 "
        "-drive if=none,id=null1,driver=null-co,size=1048576,"
            "read-zeroes=on,throttling.iops-total=10 "
        "-device virtio-blk-pci,id=disk0,drive=file0,addr=%d,num-queues=1,"
            "disable-legacy=on,%s "
        "-device virtio-blk-pci,id=slow0,drive=null0,addr=%d,num-queues=1,"
            "disable-legacy=on,%s "
        "-device virtio-blk-pci,id=slow1,drive=null1,addr=%d,num-queues=1,"
            "disable-legacy=on,iothread=thread0,%s "
        "-device ivshmem-plain,memdev=bar0,addr=%d",
        BAR_SIZE, bar_fd, disk_fd, DEV_SLOT(MEM_DISK), props,
        DEV_SLOT(MEM_SLOW), props, DEV_SLOT(MEM_SLOW_THREAD), props,
        BAR_SLOT);
}

static void mem_stop(void)
{
    munmap(mem.dimm, DIMM_SIZE);
    munmap(mem.bar, BAR_SIZE);
}

const RigKind mem_kind = {
    .names = mem_names,
    .count = MEM_COUNT,
    .memory = ",slots=2,maxmem=1G",
    .start = mem_start,
    .stop = mem_stop,
};

/* Requests to a throttled disk, some of which are in flight */
typedef struct Slow {
    Dev *dev;
    QVirtQueue *vq;
    Request reqs[SLOW_COUNT];
} Slow;

static void slow_start(Slow *s, unsigned id)
{
    unsigned i;

    memset(s, 0, sizeof(*s));
    s->dev = dev_start(id, NO_EVENT_IDX);
    s->vq = queue_setup(s->dev, 0, 64);
    qvirtio_set_driver_ok(s->dev->vdev);
    for (i = 0; i < SLOW_COUNT; i++) {
        request_init(&s->reqs[i], SECTOR);
    }
}

/* Reads into the memory from @addr on, which the test sees at @host */
static void slow_read(Slow *s, uint64_t addr, uint8_t *host)
{
    unsigned i;

    memset(host, POISON, SLOW_COUNT * SLOW_LEN);
    for (i = 0; i < SLOW_COUNT; i++) {
        Piece piece = { addr + i * SLOW_LEN, SLOW_LEN };

        /* Far apart, or QEMU makes one request of them */
        request_add_pieces(&s->reqs[i], s->vq, VIRTIO_BLK_T_IN, i * 100,
                           &piece, 1, i & 1);
    }
    qvring_publish(rig->qts, s->vq, s->reqs[SLOW_COUNT - 1].id);
    qvring_notify(rig->qts, s->vq);
    main_loop_rounds();
    while (request_take(s->reqs, SLOW_COUNT, s->vq)) {
        continue;
    }
    g_assert_cmpuint(qvring_in_flight(s->vq), >, SLOW_COUNT / 2);
}

static void slow_finish(Slow *s, const char *what)
{
    requests_finish(s->reqs, SLOW_COUNT, s->vq, what);
}

static void slow_stop(Slow *s)
{
    qvirtio_reset(s->dev->vdev);
    queue_free(s->dev, s->vq);
}

static void check_bytes(const uint8_t *host, size_t len, uint8_t byte)
{
    size_t i;

    for (i = 0; i < len; i++) {
        g_assert_cmphex(host[i], ==, byte);
    }
}

/* Is the memory of a DIMM in QEMU?  It has no name once it is unplugged. */
static bool dimm_in_use(void)
{
    g_autofree char *blocks = qtest_hmp(rig->qts, "info ramblock");
    g_autofree char *size = g_strdup_printf("0x%016" PRIx64, DIMM_SIZE);

    return strstr(blocks, size);
}

static void dimm_plug(void)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", mem.dimm_fd);

    rig_dimm_plug(0, path, DIMM_ADDR, DIMM_SIZE);
    g_assert_true(dimm_in_use());
}

/* Waits until QEMU has freed the DIMM's memory */
static void dimm_wait_gone(QVirtQueue *vq, const char *what)
{
    gint64 start = 0;

    while (dimm_in_use()) {
        wait_a_little(&start, vq, what);
    }
}

/*
 * Memory is unplugged, first with nothing in flight.  If this fails, a queue
 * keeps memory that it does not use, and the host does not get it back as
 * long as the guest runs; or it does not keep what it uses, and the device
 * writes into memory that is something else by then.
 */
static void unplug_one(unsigned id, bool reset)
{
    Slow s;

    slow_start(&s, id);
    dimm_plug();
    slow_read(&s, DIMM_ADDR, mem.dimm);
    slow_finish(&s, "reads into a DIMM");
    check_bytes(mem.dimm, SLOW_COUNT * SLOW_LEN, 0);
    rig_dimm_unplug(0);
    dimm_wait_gone(s.vq, "unplug under an idle queue");

    dimm_plug();
    slow_read(&s, DIMM_ADDR, mem.dimm);
    rig_dimm_unplug(0);
    /* More than the grace periods that it would need to go away */
    main_loop_rounds();
    g_usleep(50 * 1000);
    g_assert_true(dimm_in_use());
    if (reset) {
        slow_stop(&s);
        dimm_wait_gone(s.vq, "unplug, then reset");
        return;
    }
    slow_finish(&s, "reads into a DIMM that was unplugged");
    dimm_wait_gone(s.vq, "unplug with buffers in flight");
    check_bytes(mem.dimm, SLOW_COUNT * SLOW_LEN, 0);
    slow_stop(&s);
}

static void test_unplug(const void *data)
{
    if (can_run(data)) {
        rig_get_kind(&mem_kind, data);
        unplug_one(MEM_SLOW, false);
        unplug_one(MEM_SLOW, true);
    }
}

/*
 * The same in a thread of its own, in which nothing may be freed that the
 * main thread's lock protects.
 */
static void test_unplug_thread(const void *data)
{
    if (can_run(data)) {
        rig_get_kind(&mem_kind, data);
        unplug_one(MEM_SLOW_THREAD, false);
        unplug_one(MEM_SLOW_THREAD, true);
    }
}

/* What is in a page of RAM that is a BAR moves with it */
static void bar_move(QPCIDevice *card, uint64_t addr)
{
    qpci_config_writel(card, PCI_BASE_ADDRESS_0 + 4 * BAR_NUM, addr);
    qpci_config_writel(card, PCI_BASE_ADDRESS_0 + 4 * (BAR_NUM + 1), 0);
}

/*
 * A BAR with buffers is moved.  If this fails, buffers in flight do not stay
 * where they were, or those that come later go to where memory was before.
 */
static void move_one(QPCIDevice *card, uint64_t addr, unsigned id)
{
    Slow s;

    slow_start(&s, id);
    bar_move(card, addr);
    slow_read(&s, addr, mem.bar);
    bar_move(card, addr + BAR_MOVE);
    slow_finish(&s, "reads into a BAR that was moved");
    check_bytes(mem.bar, SLOW_COUNT * SLOW_LEN, 0);

    slow_read(&s, addr + BAR_MOVE, mem.bar);
    slow_finish(&s, "reads into a BAR at its new place");
    check_bytes(mem.bar, SLOW_COUNT * SLOW_LEN, 0);

    /* There is nothing at the old place; what is written there is lost */
    memset(mem.bar, POISON, BAR_SIZE);
    request_add_pieces(&s.reqs[0], s.vq, VIRTIO_BLK_T_IN, 0,
                       &(Piece) { addr, SECTOR }, 1, false);
    qvring_publish(rig->qts, s.vq, s.reqs[0].id);
    qvring_notify(rig->qts, s.vq);
    slow_finish(&s, "a read to where a BAR was");
    check_bytes(mem.bar, BAR_SIZE, POISON);
    slow_stop(&s);
}

static void test_move(const void *data)
{
    QPCIDevice *card;
    QPCIBar bar;

    if (!can_run(data)) {
        return;
    }
    rig_get_kind(&mem_kind, data);
    card = qpci_device_find(rig->bus, QPCI_DEVFN(BAR_SLOT, 0));
    g_assert_nonnull(card);
    qpci_device_enable(card);
    bar = qpci_iomap(card, BAR_NUM, NULL);
    move_one(card, bar.addr, MEM_SLOW);
    move_one(card, bar.addr, MEM_SLOW_THREAD);
    bar_move(card, bar.addr);
    g_free(card);
}

/*
 * A device that may not access memory any more, with buffers in flight.  If
 * this fails, it writes to the ring all the same, QEMU does not survive it,
 * or the device does not work afterwards.
 */
static void bus_master_one(unsigned id)
{
    QPCIDevice *pdev = rig->dev[id].pci->pdev;
    uint16_t command;
    uint64_t data;
    unsigned i;
    Slow s;

    slow_start(&s, id);
    data = guest_alloc(&rig->alloc, SLOW_COUNT * SLOW_LEN);
    slow_read(&s, data, guest(data, SLOW_COUNT * SLOW_LEN));
    command = qpci_config_readw(pdev, PCI_COMMAND);
    qpci_config_writew(pdev, PCI_COMMAND, command & ~PCI_COMMAND_MASTER);
    for (i = 0; i < 3 * SLOW_COUNT; i++) {
        qtest_clock_step(rig->qts, 100 * 1000 * 1000);
        g_assert_false(qvring_get(rig->qts, s.vq, NULL, NULL));
    }
    main_loop_rounds();
    g_assert_false(qvring_get(rig->qts, s.vq, NULL, NULL));
    qpci_config_writew(pdev, PCI_COMMAND, command);
    slow_stop(&s);

    slow_start(&s, id);
    data = guest_alloc(&rig->alloc, SLOW_COUNT * SLOW_LEN);
    slow_read(&s, data, guest(data, SLOW_COUNT * SLOW_LEN));
    slow_finish(&s, "reads after the bus master was off");
    check_bytes(guest(data, SLOW_COUNT * SLOW_LEN), SLOW_COUNT * SLOW_LEN, 0);
    slow_stop(&s);
}

static void test_bus_master(const void *data)
{
    if (can_run(data)) {
        rig_get_kind(&mem_kind, data);
        bus_master_one(MEM_SLOW);
        bus_master_one(MEM_SLOW_THREAD);
    }
}

typedef void (*CaseFn)(const void *mode);

static const struct {
    const char *name;
    CaseFn fn;
} cases[] = {
    { "unplug", test_unplug },
    { "unplug-thread", test_unplug_thread },
    { "move", test_move },
    { "bus-master", test_bus_master },
    { "places", test_places },
    { "no-place", test_no_place },
    { "iommu", test_iommu },
};

int main(int argc, char **argv)
{
    unsigned i, j;
    int ret;

    g_test_init(&argc, &argv, NULL);

    for (i = 0; i < MODE_COUNT; i++) {
        for (j = 0; j < ARRAY_SIZE(cases); j++) {
            g_autofree char *path = g_strdup_printf("virtio-in-order-memory/"
                                                    "%s/%s", modes[i].name,
                                                    cases[j].name);

            qtest_add_data_func(path, &modes[i], cases[j].fn);
        }
    }

    ret = g_test_run();
    rig_stop();
    return ret;
}
