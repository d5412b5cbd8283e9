/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: a QEMU with virtqueues of a certain layout and order, see
 * virtio-in-order-rig.h
 */

#include "qemu/osdep.h"
#include <poll.h>
#include "qemu/bswap.h"
#include "virtio-in-order-rig.h"
#include "qapi/qmp/qdict.h"
#include "libqos/pci-pc.h"
#include "standard-headers/linux/virtio_pci.h"

/* Received bytes that a peer keeps, the largest packet and more */
#define PEER_BUF        (1 * MiB)

/* How a guest lets go of a DIMM: docs/specs/acpi_mem_hotplug.rst */
#define DIMM_PORT       0x0a00
#define DIMM_SELECT     (DIMM_PORT + 0)
#define DIMM_CONTROL    (DIMM_PORT + 0x14)
#define DIMM_EJECT      8

/* Intel's IOMMU: registers, and the tables of the VT-d specification */
#define VTD_BASE        0xfed90000
#define VTD_GCMD        0x18
#define VTD_GSTS        0x1c
#define VTD_RTADDR      0x20
#define VTD_SRTP        (1u << 30)
#define VTD_TE          (1u << 31)
#define VTD_PRESENT     1
#define VTD_RW          3
#define VTD_LARGE       (1u << 7)       /* 2 MiB */
#define VTD_39_BIT      1               /* three levels of tables */
#define VTD_DOMAIN      (7 << 8)
#define VTD_PAGE        4096
#define VTD_LARGE_PAGE  (2 * MiB)

Rig *rig;

bool base_qemu(void)
{
    const char *s = getenv("VIRTIO_IN_ORDER_TEST_BASE");

    return s && !strcmp(s, "1");
}

bool can_run(const Mode *mode)
{
    if (mode->in_order && base_qemu()) {
        g_test_skip("VIRTIO_IN_ORDER_TEST_BASE=1: no property in_order");
        return false;
    }
    return true;
}

bool base_lacks(const char *what)
{
    g_autofree char *msg = NULL;

    if (!base_qemu()) {
        return false;
    }
    msg = g_strdup_printf("VIRTIO_IN_ORDER_TEST_BASE=1: %s", what);
    g_test_skip(msg);
    return true;
}

void peer_init(Peer *p, int type, int *qemu_fd)
{
    int sv[2];

    g_assert_cmpint(socketpair(AF_UNIX, type, 0, sv), ==, 0);
    p->fd = sv[0];
    p->dgram = type == SOCK_DGRAM;
    p->hdr_len = 0;
    p->buf = g_malloc(PEER_BUF);
    p->start = p->end = 0;
    g_assert_cmpint(fcntl(p->fd, F_SETFD, FD_CLOEXEC), ==, 0);
    g_unix_set_fd_nonblocking(p->fd, true, NULL);
    *qemu_fd = sv[1];
}

void peer_cleanup(Peer *p)
{
    close(p->fd);
    g_free(p->buf);
}

const uint8_t *peer_recv(Peer *p, size_t *len)
{
    const uint8_t *pkt;
    ssize_t n;

    if (p->dgram) {
        n = recv(p->fd, p->buf, PEER_BUF, 0);
        if (n < 0) {
            g_assert_cmpint(errno, ==, EAGAIN);
            return NULL;
        }
        g_assert_cmpint(n, >=, p->hdr_len);
        *len = n - p->hdr_len;
        return p->buf + p->hdr_len;
    }

    for (;;) {
        size_t have = p->end - p->start;

        if (have >= 4) {
            *len = ldl_be_p(p->buf + p->start);
            g_assert_cmpuint(*len, <=, PEER_BUF - 4);
            if (have >= 4 + *len) {
                pkt = p->buf + p->start + 4;
                p->start += 4 + *len;
                return pkt;
            }
        }
        memmove(p->buf, p->buf + p->start, have);
        p->start = 0;
        p->end = have;
        n = recv(p->fd, p->buf + have, PEER_BUF - have, 0);
        if (n < 0) {
            g_assert_cmpint(errno, ==, EAGAIN);
            return NULL;
        }
        g_assert_cmpint(n, >, 0);
        p->end += n;
    }
}

bool peer_send(Peer *p, const uint8_t *pkt, size_t len)
{
    uint8_t head[32] = { 0 };
    struct iovec iov[2] = {
        { head, p->dgram ? p->hdr_len : 4 }, { (void *)pkt, len }
    };
    ssize_t n;
    size_t done;

    g_assert_cmpuint(p->hdr_len, <=, sizeof(head));
    if (!p->dgram) {
        stl_be_p(head, len);
    }
    n = writev(p->fd, iov, 2);
    if (n < 0) {
        g_assert(errno == EAGAIN || errno == ENOBUFS);
        return false;
    }
    for (done = n; !p->dgram && done < len + 4; done += n) {
        struct pollfd pfd = { .fd = p->fd, .events = POLLOUT };

        g_assert_cmpint(done, >=, 4);
        g_assert_cmpint(poll(&pfd, 1, RIG_TIMEOUT_US / 1000), ==, 1);
        n = send(p->fd, pkt + done - 4, len + 4 - done, 0);
        if (n < 0) {
            g_assert_cmpint(errno, ==, EAGAIN);
            n = 0;
        }
    }
    return true;
}

void peer_flush(Peer *p)
{
    unsigned idle = 0;
    size_t len;

    while (idle < 10) {
        qtest_clock_step(rig->qts, 0);
        idle = peer_recv(p, &len) ? 0 : idle + 1;
        if (idle) {
            g_usleep(500);
        }
    }
}

Peer *dev_peer(Dev *dev)
{
    return dev->id == DEV_NET ? &rig->net : &rig->dgram;
}

void ram_init(QVirtioRam *ram, int fd)
{
    ram->base = 0;
    ram->size = RIG_RAM_SIZE;
    ram->host = shared_map(fd, RIG_RAM_SIZE);
}

char *mode_props(const Mode *mode)
{
    return g_strdup_printf("packed=%s%s", mode->packed ? "on" : "off",
                           mode->in_order ? ",in_order=on" :
                           base_qemu() ? "" : ",in_order=off");
}

/* The kind of rig_get() */
static const char *const net_names[] = { "net0", "net1", "blk0", "blk1" };

static void net_kind_start(GString *cmd, const char *props)
{
    int disk_fd = rig_pass_fd(shared_file("disk", 16 * MiB));
    int net_fd, dgram_fd;

    peer_init(&rig->net, SOCK_STREAM, &net_fd);
    peer_init(&rig->dgram, SOCK_DGRAM, &dgram_fd);
    g_string_append_printf(
        cmd,
        " -netdev socket,id=stream0,fd=%d -netdev socket,id=dgram0,fd=%d "
        "-drive if=none,id=file0,format=raw,file.locking=off,"
            "file=/proc/self/fd/%d "
        "-drive if=none,id=slow0,driver=null-co,size=1048576,"
            "read-zeroes=on,throttling.iops-total=10 "
        "-device virtio-net-pci,id=net0,netdev=stream0,addr=%d,"
            "disable-legacy=on,rx_queue_size=1024,%s "
        "-device virtio-net-pci,id=net1,netdev=dgram0,addr=%d,"
            "disable-legacy=on,x-txburst=7,%s "
        "-device virtio-blk-pci,id=blk0,drive=file0,addr=%d,num-queues=1,"
            "disable-legacy=on,queue-size=1024,seg-max-adjust=on,%s "
        "-device virtio-blk-pci,id=blk1,drive=slow0,addr=%d,num-queues=1,"
            "disable-legacy=on,%s",
        rig_pass_fd(net_fd), rig_pass_fd(dgram_fd), disk_fd,
        DEV_SLOT(DEV_NET), props, DEV_SLOT(DEV_DGRAM), props,
        DEV_SLOT(DEV_BLK), props, DEV_SLOT(DEV_SLOW), props);
}

static void net_kind_stop(void)
{
    peer_cleanup(&rig->net);
    peer_cleanup(&rig->dgram);
}

static const RigKind net_kind = {
    .names = net_names,
    .count = DEV_COUNT,
    .start = net_kind_start,
    .stop = net_kind_stop,
};

int rig_pass_fd(int fd)
{
    g_array_append_val(rig->fds, fd);
    return fd;
}

void dev_remake(unsigned id)
{
    QPCIAddress addr = { .devfn = QPCI_DEVFN(DEV_SLOT(id), 0) };
    Dev *dev = &rig->dev[id];

    if (dev->pci) {
        g_free(dev->pci->pdev);
        g_free(dev->pci);
    }
    dev->id = id;
    dev->pci = virtio_pci_new(rig->bus, &addr);
    g_assert_nonnull(dev->pci);
    dev->vdev = &dev->pci->vdev;
    dev->vdev->tracked = true;
    dev->vdev->ram = &rig->ram;
    qvirtio_pci_device_enable(dev->pci);
}

QTestState *rig_launch(const char *args, int ram_fd)
{
    g_autoptr(GString) cmd = g_string_new(args);
    g_autofree char *props = mode_props(rig->mode);
    const RigKind *kind = rig->kind;
    QTestState *qts;
    unsigned i;

    g_string_append_printf(cmd, " -nodefaults -machine %s,memory-backend=mem"
                           " -m %" PRIu64
                           "M%s -object memory-backend-file,id=mem,share=on,"
                           "size=%" PRIu64 "M,mem-path=/proc/self/fd/%d",
                           kind->machine ?: "q35", RIG_RAM_SIZE / MiB,
                           kind->memory ?: "", RIG_RAM_SIZE / MiB, ram_fd);
    kind->start(cmd, props);
    qts = qtest_init(cmd->str);
    for (i = 0; i < rig->fds->len; i++) {
        close(g_array_index(rig->fds, int, i));
    }
    g_array_set_size(rig->fds, 0);
    return qts;
}

void rig_replace(QTestState *qts, int ram_fd)
{
    qtest_quit(rig->qts);
    rig->qts = qts;
    rig->bus->qts = qts;
    if (ram_fd != rig->ram_fd) {
        munmap(rig->ram.host, rig->ram.size);
        close(rig->ram_fd);
        rig->ram_fd = ram_fd;
        ram_init(&rig->ram, ram_fd);
    }
}

void rig_get_kind(const RigKind *kind, const Mode *mode)
{
    unsigned i;

    if (rig && rig->mode == mode && rig->kind == kind) {
        return;
    }
    rig_stop();
    rig = g_new0(Rig, 1);
    rig->kind = kind;
    rig->mode = mode;
    rig->fds = g_array_new(false, false, sizeof(int));
    rig->ram_fd = shared_file("ram", RIG_RAM_SIZE);
    ram_init(&rig->ram, rig->ram_fd);
    rig->qts = rig_launch("", rig->ram_fd);

    alloc_init(&rig->alloc, 0, 1 * MiB, RIG_RAM_SIZE, 4096);
    rig->bus = qpci_new_pc(rig->qts, NULL);
    for (i = 0; i < kind->count; i++) {
        dev_remake(i);
    }
}

void rig_get(const Mode *mode)
{
    rig_get_kind(&net_kind, mode);
}

void rig_stop(void)
{
    unsigned i;

    if (!rig) {
        return;
    }
    for (i = 0; i < rig->kind->count; i++) {
        qvirtio_pci_device_disable(rig->dev[i].pci);
        g_free(rig->dev[i].pci->pdev);
        g_free(rig->dev[i].pci);
    }
    qpci_free_pc(rig->bus);
    qtest_quit(rig->qts);
    alloc_destroy(&rig->alloc);
    munmap(rig->ram.host, rig->ram.size);
    close(rig->ram_fd);
    if (rig->kind->stop) {
        rig->kind->stop();
    }
    for (i = 0; i < RIG_DIMMS; i++) {
        g_free(rig->dimm[i]);
    }
    g_array_free(rig->fds, true);
    g_free(rig);
    rig = NULL;
}

void *guest(uint64_t addr, size_t len)
{
    return qvirtio_ram_ptr(&rig->ram, addr, len);
}

uint64_t common_cfg(Dev *dev, unsigned reg)
{
    return dev->pci->common_cfg_offset + reg;
}

Dev *dev_start_too(unsigned id, uint64_t without)
{
    Dev *dev = &rig->dev[id];

    qvirtio_start_device(dev->vdev);
    mode_negotiate(dev->vdev, rig->mode, without);
    return dev;
}

Dev *dev_start(unsigned id, uint64_t without)
{
    alloc_destroy(&rig->alloc);
    alloc_init(&rig->alloc, 0, 1 * MiB, RIG_RAM_SIZE, 4096);
    return dev_start_too(id, without);
}

QVirtQueue *queue_setup(Dev *dev, uint16_t index, uint16_t size)
{
    QVirtQueue *vq;

    if (size) {
        dev->vdev->bus->queue_select(dev->vdev, index);
        qpci_io_writew(dev->pci->pdev, dev->pci->bar,
                       common_cfg(dev, VIRTIO_PCI_COMMON_Q_SIZE), size);
    }
    vq = qvirtqueue_setup(dev->vdev, &rig->alloc, index);
    if (size) {
        g_assert_cmpuint(vq->size, ==, size);
    }
    if (!base_qemu()) {
        qvring_poison_ids(vq);
    }
    return vq;
}

void queue_reset(Dev *dev, QVirtQueue *vq)
{
    QPCIDevice *pdev = dev->pci->pdev;
    QPCIBar bar = dev->pci->bar;

    dev->vdev->bus->queue_select(dev->vdev, vq->index);
    qpci_io_writew(pdev, bar, common_cfg(dev, VIRTIO_PCI_COMMON_Q_RESET), 1);
    while (qpci_io_readw(pdev, bar,
                         common_cfg(dev, VIRTIO_PCI_COMMON_Q_RESET))) {
        g_usleep(10);
    }
    g_assert_cmpuint(qpci_io_readw(pdev, bar,
                                   common_cfg(dev,
                                              VIRTIO_PCI_COMMON_Q_ENABLE)),
                     ==, 0);
}

void queue_free(Dev *dev, QVirtQueue *vq)
{
    qvirtqueue_cleanup(dev->vdev->bus, vq, &rig->alloc);
}

void net_start(unsigned id, uint64_t without, uint16_t rx_size,
               uint16_t tx_size, Dev **dev, QVirtQueue **rx,
               QVirtQueue **tx)
{
    *dev = dev_start(id, without);
    *rx = queue_setup(*dev, 0, rx_size);
    *tx = queue_setup(*dev, 1, tx_size);
    qvirtio_set_driver_ok((*dev)->vdev);
}

void net_stop(Dev *dev, QVirtQueue *rx, QVirtQueue *tx)
{
    qvirtio_reset(dev->vdev);
    queue_free(dev, rx);
    queue_free(dev, tx);
}

const char *dev_name(unsigned id)
{
    return rig->kind->names[id];
}

uint64_t queue_stat(const char *dev, unsigned queue, const char *key)
{
    g_autofree char *path = g_strdup_printf("/machine/peripheral/%s/"
                                            "virtio-backend", dev);
    QDict *rsp, *ret;
    uint64_t val;

    rsp = qtest_qmp(rig->qts, "{'execute': 'x-query-virtio-queue-status',"
                    " 'arguments': {'path': %s, 'queue': %u}}", path, queue);
    ret = qdict_get_qdict(rsp, "return");
    g_assert_nonnull(ret);
    g_assert_true(qdict_haskey(ret, key));
    if (!strcmp(key, "in-order")) {
        val = qdict_get_bool(ret, key);
    } else if (!strcmp(key, "layout")) {
        val = !strcmp(qdict_get_str(ret, key), "packed");
    } else {
        val = qdict_get_int(ret, key);
    }
    qobject_unref(rsp);
    return val;
}

void set_link(const char *id, bool up)
{
    qtest_qmp_assert_success(rig->qts, "{'execute': 'set_link', 'arguments':"
                             " {'name': %s, 'up': %i}}", id, up);
}

void hmp(const char *fmt, ...)
{
    g_autofree char *answer = NULL;
    va_list ap;

    va_start(ap, fmt);
    answer = qtest_vhmp(rig->qts, fmt, ap);
    va_end(ap);
    g_assert_cmpstr(answer, ==, "");
}

void rig_dimm_plug(unsigned slot, const char *path, uint64_t addr,
                   uint64_t size)
{
    g_autofree char *id = g_strdup_printf("dimm%u", slot);
    char *memdev = g_strdup_printf("mem%u", ++rig->dimms);

    g_assert_null(rig->dimm[slot]);
    qtest_qmp_assert_success(rig->qts, "{'execute': 'object-add',"
                             " 'arguments': {'qom-type':"
                             " 'memory-backend-file', 'id': %s, 'size': %"
                             PRIu64 ", 'share': true, 'mem-path': %s}}",
                             memdev, size, path);
    qtest_qmp_device_add(rig->qts, "pc-dimm", id, "{'memdev': %s,"
                         " 'addr': %" PRIu64 ", 'slot': %u}", memdev, addr,
                         slot);
    rig->dimm[slot] = memdev;
}

void rig_dimm_unplug(unsigned slot)
{
    g_autofree char *memdev = g_steal_pointer(&rig->dimm[slot]);
    g_autofree char *id = g_strdup_printf("dimm%u", slot);

    g_assert_nonnull(memdev);
    qtest_qmp_assert_success(rig->qts, "{'execute': 'device_del',"
                             " 'arguments': {'id': %s}}", id);
    qtest_outl(rig->qts, DIMM_SELECT, slot);
    qtest_outb(rig->qts, DIMM_CONTROL, DIMM_EJECT);
    qtest_qmp_eventwait(rig->qts, "DEVICE_DELETED");
    qtest_qmp_assert_success(rig->qts, "{'execute': 'object-del',"
                             " 'arguments': {'id': %s}}", memdev);
}

static uint64_t *vtd_table(uint64_t *addr)
{
    *addr = guest_alloc(&rig->alloc, VTD_PAGE);
    return memset(guest(*addr, VTD_PAGE), 0, VTD_PAGE);
}

static void vtd_command(uint32_t command, uint32_t status, bool on)
{
    gint64 start = g_get_monotonic_time();

    qtest_writel(rig->qts, VTD_BASE + VTD_GCMD, command);
    while (!(qtest_readl(rig->qts, VTD_BASE + VTD_GSTS) & status) == on) {
        g_assert_cmpint(g_get_monotonic_time() - start, <, RIG_TIMEOUT_US);
    }
}

uint64_t rig_vtd_enable(unsigned id)
{
    uint64_t root_addr, context_addr, top_addr, ram_addr, win_addr, page_addr;
    uint64_t *root = vtd_table(&root_addr);
    uint64_t *context = vtd_table(&context_addr);
    uint64_t *top = vtd_table(&top_addr);
    uint64_t *ram = vtd_table(&ram_addr);
    uint64_t *win = vtd_table(&win_addr);
    uint64_t *page = vtd_table(&page_addr);
    uint64_t pages = guest_alloc(&rig->alloc, RIG_VTD_PAGES * VTD_PAGE);
    unsigned devfn = QPCI_DEVFN(DEV_SLOT(id), 0), i;

    root[0] = cpu_to_le64(context_addr | VTD_PRESENT);
    context[2 * devfn] = cpu_to_le64(top_addr | VTD_PRESENT);
    context[2 * devfn + 1] = cpu_to_le64(VTD_DOMAIN | VTD_39_BIT);
    top[0] = cpu_to_le64(ram_addr | VTD_RW);
    top[RIG_VTD_WINDOW / GiB] = cpu_to_le64(win_addr | VTD_RW);
    for (i = 0; i < RIG_RAM_SIZE / VTD_LARGE_PAGE; i++) {
        ram[i] = cpu_to_le64(i * VTD_LARGE_PAGE | VTD_LARGE | VTD_RW);
    }
    win[0] = cpu_to_le64(page_addr | VTD_RW);
    for (i = 0; i < RIG_VTD_PAGES; i++) {
        page[RIG_VTD_PAGES - 1 - i] =
            cpu_to_le64((pages + i * VTD_PAGE) | VTD_RW);
    }
    qtest_writeq(rig->qts, VTD_BASE + VTD_RTADDR, root_addr);
    vtd_command(VTD_SRTP, VTD_SRTP, true);
    vtd_command(VTD_TE, VTD_TE, true);
    return pages;
}

void rig_vtd_disable(void)
{
    vtd_command(0, VTD_TE, false);
}

void wait_a_little(gint64 *start, QVirtQueue *vq, const char *what)
{
    if (!*start) {
        *start = g_get_monotonic_time();
    } else if (g_get_monotonic_time() - *start > RIG_TIMEOUT_US) {
        g_autofree char *state = qvring_describe(rig->qts, vq);
        g_autofree char *msg = g_strdup_printf("%s: nothing happens; %s",
                                               what, state);

        g_assertion_message(G_LOG_DOMAIN, __FILE__, __LINE__, G_STRFUNC, msg);
    }
    g_usleep(10);
}

void main_loop_rounds(void)
{
    unsigned i;

    for (i = 0; i < 10; i++) {
        qtest_clock_step(rig->qts, 0);
        g_usleep(500);
    }
}
