/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * virtio-bench: a QEMU with one virtio device, see bench-machine.h
 */

#include "qemu/osdep.h"
#include <sys/syscall.h>
#include "qemu/units.h"
#include "qapi/qmp/qdict.h"
#include "qtest/libqos/pci-pc.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_pci.h"
#include "bench-machine.h"

/* Bytes; room for the largest rings with the largest buffers */
#define RAM_SIZE        (32 * MiB)

#define DEVFN           QPCI_DEVFN(4, 0)

/* Interrupt vector of the queue under test; the others have none */
#define VECTOR          1

#ifndef SYS_pidfd_open
#define SYS_pidfd_open  434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

/* The machine that runs, to be stopped when the program ends */
static BenchMachine *running;

static void stop_running(void)
{
    if (running) {
        bench_machine_stop(running);
    }
}

/* Does the program know the property in_order? */
static bool qemu_has_in_order(const char *qemu)
{
    g_autofree char *out = NULL;
    g_autoptr(GError) err = NULL;
    char *argv[] = { (char *)qemu, (char *)"-device",
                     (char *)"virtio-net-pci,help", NULL };

    if (!g_spawn_sync(NULL, argv, NULL, 0, NULL, NULL, &out, NULL, NULL,
                      &err)) {
        bench_die("%s does not run: %s; name a qemu-system-x86_64 with --qemu",
                  qemu, err->message);
    }
    return strstr(out, "in_order=") != NULL;
}

static char *device_args(const BenchOptions *opts, int feed_fd)
{
    const char *props = opts->mode->in_order ? ",in_order=on" : "";
    const char *packed = opts->mode->packed ? "on" : "off";

    switch (opts->device) {
    case BENCH_NET_SINK:
        /*
         * A hub with a single port takes no packet: the second one is what
         * they go to, and there they end.
         */
        return g_strdup_printf("-netdev hubport,id=n0,hubid=0 "
                               "-netdev hubport,id=n1,hubid=0 "
                               "-device virtio-net-pci,id=dev0,netdev=n0,"
                               "addr=4,disable-legacy=on,packed=%s,"
                               "tx_queue_size=256,rx_queue_size=1024%s",
                               packed, props);
    case BENCH_NET_SOCKET:
        return g_strdup_printf("-netdev socket,id=n0,fd=%d "
                               "-device virtio-net-pci,id=dev0,netdev=n0,"
                               "addr=4,disable-legacy=on,packed=%s,"
                               "rx_queue_size=1024%s", feed_fd, packed, props);
    case BENCH_BLK:
        return g_strdup_printf("-blockdev null-co,node-name=n0,size=1073741824,"
                               "read-zeroes=off "
                               "-device virtio-blk-pci,id=dev0,drive=n0,"
                               "addr=4,disable-legacy=on,packed=%s,"
                               "num-queues=1,queue-size=1024%s", packed,
                               props);
    case BENCH_GIVEN:
        return g_strdup(opts->args);
    default:
        g_assert_not_reached();
    }
}

/* Is it a queue that the caller writes the ring of? */
static bool tested(const BenchMachine *m, unsigned queue)
{
    return m->opts->device == BENCH_GIVEN ? queue < m->opts->nvqs :
                                            queue == m->queue;
}

static void queues_setup(BenchMachine *m)
{
    QVirtioPCIDevice *pci = m->pci;
    unsigned i;

    qpci_msix_enable(pci->pdev);
    qvirtio_pci_set_msix_configuration_vector(pci, &m->alloc, 0);
    for (i = 0; i < m->nvqs; i++) {
        QVirtQueue *vq;
        uint16_t max;

        m->vdev->bus->queue_select(m->vdev, i);
        max = m->vdev->bus->get_queue_size(m->vdev);
        if (tested(m, i)) {
            if (m->opts->ring > max) {
                bench_die("the queue has at most %u entries; choose fewer "
                          "with --ring", max);
            }
            qpci_io_writew(pci->pdev, pci->bar, pci->common_cfg_offset +
                           VIRTIO_PCI_COMMON_Q_SIZE, m->opts->ring);
        }
        vq = qvirtqueue_setup(m->vdev, &m->alloc, i);
        m->queues[i].vq = vq;
        if (tested(m, i)) {
            g_assert_cmpuint(vq->size, ==, m->opts->ring);
        }
        /* A vhost device needs none: it tells nobody that it uses a buffer */
        if (i == m->queue && m->opts->device != BENCH_GIVEN) {
            qvirtqueue_pci_msix_setup(pci,
                                      container_of(vq, QVirtQueuePCI, vq),
                                      &m->alloc, VECTOR);
        }
    }
}

static void device_setup(BenchMachine *m)
{
    QPCIAddress addr = { .devfn = DEVFN };
    uint64_t without = 0;

    m->bus = qpci_new_pc(m->qts, NULL);
    m->pci = virtio_pci_new(m->bus, &addr);
    g_assert_nonnull(m->pci);
    m->vdev = &m->pci->vdev;
    /* The ring belongs to this program; libqos only has to put it somewhere */
    m->vdev->tracked = true;
    m->vdev->ram = &m->ram;
    qvirtio_pci_device_enable(m->pci);
    qvirtio_start_device(m->vdev);
    if (!m->opts->event_idx) {
        without |= 1ull << VIRTIO_RING_F_EVENT_IDX;
    }
    if (!m->opts->indirect) {
        without |= 1ull << VIRTIO_RING_F_INDIRECT_DESC;
    }
    mode_negotiate(m->vdev, m->opts->mode, without);
    m->nvqs = m->opts->device == BENCH_GIVEN ?
              m->opts->nvqs + m->opts->control :
              m->opts->device == BENCH_BLK ? 1 : 2;
    m->queue = m->opts->device == BENCH_NET_SINK ? 1 : 0;
    queues_setup(m);
}

static pid_t read_pid(const char *file)
{
    g_autofree char *text = NULL;

    if (!g_file_get_contents(file, &text, NULL, NULL)) {
        bench_die("QEMU did not write %s; make room there", file);
    }
    return atoi(text);
}

void bench_machine_start(BenchMachine *m, const BenchOptions *opts)
{
    g_autofree char *dev = NULL;
    g_autofree char *trace = NULL;
    g_autofree char *pidfile = NULL;
    int ram_fd, sv[2] = { -1, -1 };
    unsigned i;

    memset(m, 0, sizeof(*m));
    m->opts = opts;
    m->feed_fd = -1;
    for (i = 0; i < BENCH_MAX_QUEUES; i++) {
        m->queues[i].kick_fd = -1;
    }
    if (access(opts->qemu, X_OK)) {
        bench_die("%s: %s; name a qemu-system-x86_64 with --qemu", opts->qemu,
                  strerror(errno));
    }
    if (opts->mode->in_order && !qemu_has_in_order(opts->qemu)) {
        bench_die("%s does not know in_order; use --in-order off with it",
                  opts->qemu);
    }
    m->dir = g_dir_make_tmp("virtio-bench-XXXXXX", NULL);
    if (!m->dir) {
        bench_die("no folder in %s: %s; name another one with TMPDIR",
                  g_get_tmp_dir(), strerror(errno));
    }
    if (opts->device == BENCH_NET_SOCKET) {
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), ==, 0);
        g_assert_cmpint(fcntl(sv[0], F_SETFD, FD_CLOEXEC), ==, 0);
        m->feed_fd = sv[0];
    }
    ram_fd = shared_file("ram", RAM_SIZE);
    m->ram.base = 0;
    m->ram.size = RAM_SIZE;
    m->ram.host = shared_map(ram_fd, RAM_SIZE);

    dev = device_args(opts, sv[1]);
    pidfile = g_strdup_printf("%s/pid", m->dir);
    trace = opts->trace ?
            g_strdup_printf("-trace 'virtio_notify*' -D %s/trace ", m->dir) :
            g_strdup("");
    setenv("QTEST_QEMU_BINARY", opts->qemu, 1);
    m->qts = qtest_initf("-nodefaults -machine q35,memory-backend=mem -m %"
                         PRIu64 "M -object memory-backend-file,id=mem,"
                         "share=on,prealloc=on,size=%" PRIu64 "M,"
                         "mem-path=/proc/self/fd/%d -pidfile %s %s%s",
                         RAM_SIZE / MiB, RAM_SIZE / MiB, ram_fd, pidfile,
                         trace, dev);
    if (!running) {
        atexit(stop_running);
    }
    running = m;
    if (opts->link_down) {
        qtest_qmp_assert_success(m->qts, "{'execute': 'set_link',"
                                 " 'arguments': {'name': 'dev0',"
                                 " 'up': false}}");
    }
    close(ram_fd);
    if (sv[1] >= 0) {
        close(sv[1]);
        g_unix_set_fd_nonblocking(m->feed_fd, true, NULL);
    }
    m->pid = read_pid(pidfile);
    /* Nothing is left behind then, however the program ends */
    unlink(pidfile);
    if (!opts->trace) {
        rmdir(m->dir);
    }
    if (clock_getcpuclockid(m->pid, &m->clock)) {
        bench_die("QEMU's CPU clock cannot be read; this kernel lacks it");
    }
    bench_pin(0, opts->cpus.driver);
    bench_pin(m->pid, opts->cpus.qemu);

    alloc_init(&m->alloc, 0, 1 * MiB, RAM_SIZE, 4096);
    device_setup(m);
}

GArray *bench_machine_eventfds(const BenchMachine *m)
{
    g_autofree char *dir = g_strdup_printf("/proc/%d/fd", m->pid);
    GArray *fds = g_array_new(false, false, sizeof(int));
    GDir *d = g_dir_open(dir, 0, NULL);
    const char *name;
    int fd;
    guint i;

    while (d && (name = g_dir_read_name(d))) {
        g_autofree char *path = g_strdup_printf("%s/%s", dir, name);
        g_autofree char *what = g_file_read_link(path, NULL);

        if (what && !strcmp(what, "anon_inode:[eventfd]")) {
            fd = atoi(name);
            for (i = 0; i < fds->len && g_array_index(fds, int, i) < fd; i++) {
                ;
            }
            g_array_insert_val(fds, i, fd);
        }
    }
    if (d) {
        g_dir_close(d);
    }
    return fds;
}

int bench_machine_steal_fd(const BenchMachine *m, int fd)
{
    int pidfd = syscall(SYS_pidfd_open, m->pid, 0);
    int ret = -1;

    if (pidfd >= 0) {
        ret = syscall(SYS_pidfd_getfd, pidfd, fd, 0);
        close(pidfd);
    }
    return ret;
}

/*
 * With DRIVER_OK the device opens its eventfds, the host notifiers last, one
 * for each of its queues in their order.  So the one for the queue under test
 * is known by its place among those that are new.  Whether it is the right one
 * shows with the first kick.
 */
void bench_machine_ready(BenchMachine *m)
{
    /* A network card has a control queue, too */
    unsigned queues = m->opts->device == BENCH_BLK ? 1 : 3;
    g_autoptr(GArray) before = bench_machine_eventfds(m);
    g_autoptr(GArray) after = NULL;
    unsigned i, j, fresh;

    qvirtio_set_driver_ok(m->vdev);
    if (m->opts->kick_qtest || m->opts->device == BENCH_GIVEN) {
        return;
    }
    after = bench_machine_eventfds(m);
    fresh = after->len - before->len;
    if (fresh < queues) {
        return;
    }
    for (i = j = 0; i < after->len; i++) {
        int fd = g_array_index(after, int, i);

        if (j < before->len && g_array_index(before, int, j) == fd) {
            j++;
        } else if (i - j == fresh - queues + m->queue) {
            bench_machine_kick_by(m, m->queue, bench_machine_steal_fd(m, fd));
        }
    }
}

void bench_machine_stop(BenchMachine *m)
{
    g_autofree char *trace = g_strdup_printf("%s/trace", m->dir);
    unsigned i;

    running = NULL;
    if (m->pci) {
        qvirtio_pci_device_disable(m->pci);
        g_free(m->pci->pdev);
        g_free(m->pci);
        qpci_free_pc(m->bus);
    }
    qtest_quit(m->qts);
    munmap(m->ram.host, m->ram.size);
    for (i = 0; i < m->nvqs; i++) {
        bench_machine_kick_by(m, i, -1);
    }
    if (m->feed_fd >= 0) {
        close(m->feed_fd);
    }
    unlink(trace);
    rmdir(m->dir);
    g_free(m->dir);
}

uint64_t bench_machine_alloc(BenchMachine *m, uint64_t size)
{
    return guest_alloc(&m->alloc, size);
}

void *bench_machine_ptr(BenchMachine *m, uint64_t addr, uint64_t size)
{
    return qvirtio_ram_ptr(&m->ram, addr, size);
}

void bench_machine_kick(BenchMachine *m, unsigned queue)
{
    BenchQueue *q = &m->queues[queue];
    uint64_t one = 1;

    q->kicks++;
    if (q->kick_fd < 0) {
        m->vdev->bus->virtqueue_kick(m->vdev, q->vq);
    } else if (write(q->kick_fd, &one, sizeof(one)) != sizeof(one)) {
        bench_die("a kick failed: %s", strerror(errno));
    }
}

void bench_machine_kick_by(BenchMachine *m, unsigned queue, int fd)
{
    BenchQueue *q = &m->queues[queue];

    if (q->kick_fd >= 0) {
        close(q->kick_fd);
    }
    q->kick_fd = fd;
}

uint64_t bench_machine_cpu(const BenchMachine *m)
{
    return bench_clock(m->clock);
}

static int64_t lines_of(const char *file)
{
    g_autofree char *text = NULL;
    size_t i, len;
    int64_t n = 0;

    if (!g_file_get_contents(file, &text, &len, NULL)) {
        return 0;
    }
    for (i = 0; i < len; i++) {
        n += text[i] == '\n';
    }
    return n;
}

void bench_machine_counters(BenchMachine *m, BenchCounters *c)
{
    QDict *rsp, *ret;

    rsp = qtest_qmp(m->qts, "{'execute': 'x-query-virtio-queue-status',"
                    " 'arguments': {'path': '/machine/peripheral/dev0/"
                    "virtio-backend', 'queue': %u}}", m->queue);
    ret = qdict_get_qdict(rsp, "return");
    g_assert_nonnull(ret);
    c->buffers = qdict_get_try_int(ret, "published-buffers", -1);
    c->entries = qdict_get_try_int(ret, "published-entries", -1);
    c->publications = qdict_get_try_int(ret, "publications", -1);
    c->notifications = qdict_get_try_int(ret, "notifications", -1);
    qobject_unref(rsp);
    c->traced = -1;
    if (m->opts->trace) {
        g_autofree char *file = g_strdup_printf("%s/trace", m->dir);

        c->traced = lines_of(file);
    }
}
