/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: a network card whose virtqueues are shadowed, see virtio-svq-rig.h
 */

#include "qemu/osdep.h"
#include <sys/syscall.h>
#include "qapi/qmp/qdict.h"
#include "qapi/qmp/qlist.h"
#include "virtio-svq-rig.h"

#define RING_SIZE       256
#define DEVICE_RING     1024

/* What the control queue can do beyond MQ and MAC; nothing here needs it */
#define CTRL_FEATURES                                                       \
    (BIT_ULL(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) |                            \
     BIT_ULL(VIRTIO_NET_F_CTRL_RX) | BIT_ULL(VIRTIO_NET_F_CTRL_VLAN) |      \
     BIT_ULL(VIRTIO_NET_F_CTRL_RX_EXTRA) |                                  \
     BIT_ULL(VIRTIO_NET_F_GUEST_ANNOUNCE) |                                 \
     BIT_ULL(VIRTIO_NET_F_HASH_REPORT) | BIT_ULL(VIRTIO_NET_F_RSS))

#define SHIM            "vdpa-sim.so"

/* The card of the rig; NULL when there is none */
static SvqNic *current;

const char *svq_shim_path(void)
{
    static char *path;

    if (!path) {
        g_autofree char *built = g_test_build_filename(G_TEST_BUILT, "..",
                                                       "vdpa-sim", SHIM,
                                                       NULL);

        path = realpath(built, NULL);
    }
    /* LD_PRELOAD knows no quoting */
    return path && !strpbrk(path, " :") ? path : NULL;
}

bool svq_can_run(void)
{
    if (!svq_shim_path()) {
        g_test_skip(SHIM " is not where it was built, or its path has a"
                    " space or a colon");
        return false;
    }
    return true;
}

/* QEMU and its card */

/* The back end as -netdev and netdev_add have it; the caller frees it */
static char *netdev_args(const SvqNic *nic)
{
    const SvqConfig *c = &nic->config;
    g_autoptr(GString) args = g_string_new(NULL);
    unsigned i;

    g_string_append_printf(args, "vhost-vdpa,id=vdpa0,vhostdev=%s,x-svq=%s",
                           nic->path, c->passthrough ? "off" : "on");
    for (i = 0; i < c->iothreads; i++) {
        g_string_append_printf(args, ",iothread-vq-mapping.%u.iothread=io%u",
                               i, i);
    }
    if (c->doorbell) {
        g_string_append_printf(args, ",svq-doorbell=%s", c->doorbell);
    }
    return g_string_free(g_steal_pointer(&args), false);
}

/* The card as -device and device_add have it; the caller frees it */
static char *device_args(const SvqNic *nic, const char *props)
{
    const SvqConfig *c = &nic->config;

    return g_strdup_printf("virtio-net-pci,id=nic0,netdev=vdpa0,addr=0x%x,"
                           "disable-legacy=on,mq=%s,vectors=%u,"
                           "rx_queue_size=1024,tx_queue_size=1024%s,%s",
                           DEV_SLOT(0), c->pairs > 1 ? "on" : "off",
                           2 * c->pairs + 2,
                           c->iommu ? ",iommu_platform=on" : "", props);
}

static char *dimm_path(const SvqNic *nic, unsigned i)
{
    return g_strdup_printf("/proc/%d/fd/%d", getpid(), nic->dimm_fd[i]);
}

static void svq_kind_start(GString *cmd, const char *props)
{
    const SvqConfig *c = &current->config;
    g_autofree char *netdev = NULL, *device = NULL;
    unsigned i;

    for (i = 0; i < SVQ_DIMMS; i++) {
        g_autofree char *path = dimm_path(current, i);

        if (rig->dimm[i]) {
            g_string_append_printf(cmd, " -object memory-backend-file,id=%s,"
                                   "share=on,size=%" PRIu64 ",mem-path=%s"
                                   " -device pc-dimm,id=dimm%u,memdev=%s,"
                                   "addr=%" PRIu64 ",slot=%u", rig->dimm[i],
                                   (uint64_t)SVQ_DIMM_SIZE, path, i,
                                   rig->dimm[i], svq_dimm_addr(i), i);
        }
    }
    if (c->iommu) {
        g_string_append(cmd, " -device intel-iommu");
    }
    for (i = 0; i < c->iothreads; i++) {
        g_string_append_printf(cmd, " -object iothread,id=io%u", i);
        if (c->poll_max_ns) {
            g_string_append_printf(cmd, ",poll-max-ns=%u", c->poll_max_ns);
        }
    }
    netdev = netdev_args(current);
    device = device_args(current, props);
    g_string_append_printf(cmd, " -netdev %s -device %s %s", netdev, device,
                           c->args ?: "");
    if (c->trace) {
        g_string_append_printf(cmd, " -trace %s -D %s/trace", c->trace,
                               current->dir);
    }
}

static const char *const svq_names[] = { "nic0" };

static const RigKind svq_kind = {
    .names = svq_names,
    .count = 1,
    .memory = ",slots=4,maxmem=1G",
    .start = svq_kind_start,
};

/* Its PCI bus can be unplugged from; it has neither DIMMs nor an IOMMU */
static const RigKind plug_kind = {
    .names = svq_names,
    .count = 1,
    .machine = "pc",
    .start = svq_kind_start,
};

VdpaSim *svq_sim_new(SvqNic *nic)
{
    const SvqConfig *c = &nic->config;
    VdpaSimConfig config;
    VdpaSim *sim;

    vdpa_sim_config_init(&config, c->pairs);
    config.features &= ~(SVQ_RING_FEATURES | CTRL_FEATURES);
    config.features |= c->device.features;
    if (c->reset) {
        config.features |= BIT_ULL(VIRTIO_F_RING_RESET);
    }
    config.vring_num_max = c->device_size;
    config.notify_pages = c->pages;
    nic->path = g_strdup_printf("%s/sim%u", nic->dir, nic->sims++);
    sim = vdpa_sim_create(nic->path, &config);
    g_assert_nonnull(sim);
    return sim;
}

void svq_sim_free(VdpaSim *sim, char *path)
{
    unlink(path);
    g_free(path);
    vdpa_sim_free(sim);
}

static char *trace_path(const SvqNic *nic)
{
    return g_strdup_printf("%s/trace", nic->dir);
}

/* Also when a test fails, which leaves nothing behind then */
static void remove_files(void *opaque)
{
    SvqNic *nic = opaque;
    g_autofree char *trace = trace_path(nic);

    unlink(trace);
    unlink(nic->path);
    rmdir(nic->dir);
}

static void dimms_init(SvqNic *nic)
{
    unsigned i;

    /* The test sees them as the guest does: one after the other */
    nic->dimm_host = mmap(NULL, SVQ_DIMMS * SVQ_DIMM_SIZE, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    g_assert(nic->dimm_host != MAP_FAILED);
    for (i = 0; i < SVQ_DIMMS; i++) {
        nic->dimm_fd[i] = shared_file("dimm", SVQ_DIMM_SIZE);
        g_assert(mmap(nic->dimm_host + i * SVQ_DIMM_SIZE, SVQ_DIMM_SIZE,
                      PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
                      nic->dimm_fd[i], 0) != MAP_FAILED);
    }
}

static void dimms_cleanup(SvqNic *nic)
{
    unsigned i;

    munmap(nic->dimm_host, SVQ_DIMMS * SVQ_DIMM_SIZE);
    if (nic->window_host) {
        munmap(nic->window_host, RIG_VTD_PAGES * 4096);
    }
    for (i = 0; i < SVQ_DIMMS; i++) {
        close(nic->dimm_fd[i]);
    }
}

static void card_found(SvqNic *nic)
{
    nic->dev = &rig->dev[0];
    nic->pci_bus = nic->dev->vdev->bus;
    nic->bus = *nic->pci_bus;
    if (nic->config.socket_ram) {
        nic->dev->vdev->ram = NULL;
    }
}

void svq_boot(SvqNic *nic, const SvqConfig *config)
{
    unsigned i;

    g_assert_null(current);
    memset(nic, 0, sizeof(*nic));
    nic->config = *config;
    nic->config.pairs = config->pairs ?: 1;
    nic->config.size = config->size ?: RING_SIZE;
    nic->config.device_size = config->device_size ?: DEVICE_RING;
    for (i = 0; i < SVQ_QUEUES_MAX; i++) {
        nic->kick[i] = -1;
    }
    nic->dir = g_dir_make_tmp("virtio-svq-XXXXXX", NULL);
    g_assert_nonnull(nic->dir);
    nic->sim = svq_sim_new(nic);
    dimms_init(nic);
    current = nic;
    qtest_add_abrt_handler(remove_files, nic);

    rig_stop();
    vdpa_sim_preload(svq_shim_path());
    rig_get_kind(config->hotplug ? &plug_kind : &svq_kind, config->guest);
    vdpa_sim_unpreload();
    g_assert_true(qatomic_read(&nic->sim->state.opened));
    card_found(nic);
}

void svq_halt(SvqNic *nic)
{
    svq_forget_kicks(nic);
    rig_stop();
    svq_check(nic);
    qtest_remove_abrt_handler(nic);
    remove_files(nic);
    svq_sim_free(nic->sim, nic->path);
    g_free(nic->dir);
    dimms_cleanup(nic);
    current = NULL;
}

void svq_start(SvqNic *nic, const SvqConfig *config)
{
    svq_boot(nic, config);
    svq_driver_start(nic);
}

void svq_stop(SvqNic *nic)
{
    svq_driver_stop(nic);
    svq_halt(nic);
}

/* The driver */

static QVirtQueue *vq_setup(SvqNic *nic, unsigned queue)
{
    QVirtioPCIDevice *pci = nic->dev->pci;
    QVirtQueue *vq = queue_setup(nic->dev, queue, nic->config.size);

    if (nic->config.interrupts) {
        QVirtQueuePCI *vqpci = container_of(vq, QVirtQueuePCI, vq);

        qvirtqueue_pci_msix_setup(pci, vqpci, &rig->alloc, queue + 1);
        svq_write(nic, vqpci->msix_addr, &(uint32_t) { 0 }, 4);
    }
    return vq;
}

bool svq_interrupted(SvqNic *nic, QVirtQueue *vq)
{
    QVirtQueuePCI *vqpci = container_of(vq, QVirtQueuePCI, vq);
    uint32_t *word = svq_ptr(nic, vqpci->msix_addr, sizeof(*word));

    return qatomic_xchg(word, 0);
}

void svq_queue_reset(SvqNic *nic, unsigned queue)
{
    QVirtQueue **vq = queue & 1 ? &nic->tx[queue / 2] : &nic->rx[queue / 2];

    queue_reset(nic->dev, *vq);
    queue_free(nic->dev, *vq);
    *vq = vq_setup(nic, queue);
}

static void free_queues(SvqNic *nic)
{
    unsigned i;

    for (i = 0; i < nic->config.pairs; i++) {
        queue_free(nic->dev, nic->rx[i]);
        queue_free(nic->dev, nic->tx[i]);
    }
    if (nic->ctrl) {
        queue_free(nic->dev, nic->ctrl);
        nic->ctrl = NULL;
    }
}

void svq_driver_start(SvqNic *nic)
{
    const SvqConfig *c = &nic->config;
    unsigned i;

    if (c->interrupts && !nic->dev->pci->pdev->msix_enabled) {
        qpci_msix_enable(nic->dev->pci->pdev);
    }
    dev_start_too(0, c->without);
    nic->pairs = 1;
    for (i = 0; i < c->pairs; i++) {
        nic->rx[i] = vq_setup(nic, VDPA_SIM_RX(i));
        nic->tx[i] = vq_setup(nic, VDPA_SIM_TX(i));
    }
    if (nic->dev->vdev->features & BIT_ULL(VIRTIO_NET_F_CTRL_VQ)) {
        nic->ctrl = queue_setup(nic->dev, 2 * c->pairs, 0);
        exchange_init(&nic->command, 64, 1);
    }
    qvirtio_set_driver_ok(nic->dev->vdev);
}

void svq_driver_stop(SvqNic *nic)
{
    svq_forget_kicks(nic);
    qvirtio_reset(nic->dev->vdev);
    free_queues(nic);
}

void svq_unplug(SvqNic *nic)
{
    svq_forget_kicks(nic);
    qpci_unplug_acpi_device_test(rig->qts, "nic0", DEV_SLOT(0));
    qtest_qmp_eventwait(rig->qts, "DEVICE_DELETED");
    hmp("netdev_del vdpa0");
    free_queues(nic);
    g_assert_false(qatomic_read(&nic->sim->state.opened));
}

void svq_plug(SvqNic *nic)
{
    g_autofree char *props = mode_props(nic->config.guest);
    g_autofree char *netdev = netdev_args(nic);
    g_autofree char *device = device_args(nic, props);

    hmp("netdev_add %s", netdev);
    hmp("device_add %s", device);
    dev_remake(0);
    card_found(nic);
}

void svq_set_pairs(SvqNic *nic, unsigned pairs)
{
    Exchange *x = &nic->command;

    x->out[0] = VIRTIO_NET_CTRL_MQ;
    x->out[1] = VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET;
    stw_le_p(x->out + 2, pairs);
    exchange_one(x, nic->ctrl, 4, 1, "number of pairs");
    g_assert_cmpuint(x->in[0], ==, VIRTIO_NET_OK);
    nic->pairs = pairs;
}

void svq_check(SvqNic *nic)
{
    char *complaint = vdpa_sim_complaint(nic->sim);
    unsigned i;

    if (complaint) {
        g_autofree char *msg = g_strdup_printf("the device has seen: %s",
                                               complaint);

        g_assertion_message(G_LOG_DOMAIN, __FILE__, __LINE__, G_STRFUNC, msg);
    }
    for (i = 0; i < nic->config.pairs; i++) {
        VdpaSimQueueStats *s = &nic->sim->stats[VDPA_SIM_TX(i)];

        g_assert_cmpuint(qatomic_read(&s->damaged), ==, 0);
        g_assert_cmpuint(qatomic_read(&s->foreign), ==, 0);
        g_assert_cmpuint(qatomic_read(&s->stream.duplicates), ==, 0);
        g_assert_cmpuint(qatomic_read(&s->stream.reordered), ==, 0);
    }
}

/* Guest memory */

void svq_window(SvqNic *nic, uint64_t pages)
{
    enum { PAGE = 4096 };
    unsigned i;

    nic->window_host = mmap(NULL, RIG_VTD_PAGES * PAGE, PROT_NONE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    g_assert(nic->window_host != MAP_FAILED);
    for (i = 0; i < RIG_VTD_PAGES; i++) {
        g_assert(mmap(nic->window_host + (RIG_VTD_PAGES - 1 - i) * PAGE, PAGE,
                      PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
                      rig->ram_fd, pages + i * PAGE) != MAP_FAILED);
    }
}

void *svq_ptr(SvqNic *nic, uint64_t addr, size_t len)
{
    QVirtioRam dimms = {
        .host = nic->dimm_host,
        .base = SVQ_DIMM_ADDR,
        .size = SVQ_DIMMS * SVQ_DIMM_SIZE,
    };
    QVirtioRam window = {
        .host = nic->window_host,
        .base = RIG_VTD_WINDOW,
        .size = RIG_VTD_PAGES * 4096,
    };

    g_assert_false(nic->config.socket_ram);
    return qvirtio_ram_ptr(addr >= SVQ_DIMM_ADDR ? &dimms :
                           addr >= RIG_VTD_WINDOW && nic->window_host ?
                           &window : &rig->ram, addr, len);
}

void svq_write(SvqNic *nic, uint64_t addr, const void *data, size_t len)
{
    if (nic->config.socket_ram) {
        qtest_bufwrite(rig->qts, addr, data, len);
    } else {
        memcpy(svq_ptr(nic, addr, len), data, len);
    }
}

void svq_read(SvqNic *nic, uint64_t addr, void *data, size_t len)
{
    if (nic->config.socket_ram) {
        qtest_bufread(rig->qts, addr, data, len);
    } else {
        memcpy(data, svq_ptr(nic, addr, len), len);
    }
}

void svq_dimm_plug(SvqNic *nic, unsigned i)
{
    g_autofree char *path = dimm_path(nic, i);

    rig_dimm_plug(i, path, svq_dimm_addr(i), SVQ_DIMM_SIZE);
}

void svq_dimm_unplug(SvqNic *nic, unsigned i)
{
    rig_dimm_unplug(i);
}

/* What QEMU does */

/* Calls @fn for all queues, each as the answer to x-query-vhost-svq has it */
static void for_each_queue(void (*fn)(QDict *queue, void *opaque),
                           void *opaque)
{
    QDict *rsp = qtest_qmp(rig->qts, "{'execute': 'x-query-vhost-svq'}");
    QList *list = qdict_get_qlist(rsp, "return");
    QListEntry *e;

    g_assert_nonnull(list);
    QLIST_FOREACH_ENTRY(list, e) {
        fn(qobject_to(QDict, qlist_entry_obj(e)), opaque);
    }
    qobject_unref(rsp);
}

typedef struct Wanted {
    unsigned queue;
    QDict *info;
} Wanted;

static void take_wanted(QDict *queue, void *opaque)
{
    Wanted *w = opaque;

    if (qdict_get_int(queue, "queue") == w->queue) {
        w->info = qobject_ref(queue);
    }
}

QDict *svq_info(SvqNic *nic, unsigned queue)
{
    Wanted w = { .queue = queue };

    for_each_queue(take_wanted, &w);
    g_assert_nonnull(w.info);
    return w.info;
}

uint64_t svq_stat(SvqNic *nic, unsigned queue, const char *key)
{
    QDict *info = svq_info(nic, queue);
    QDict *stats = qdict_get_qdict(info, "stats");
    uint64_t n;

    g_assert_true(qdict_haskey(stats, key));
    n = qdict_get_int(stats, key);
    qobject_unref(info);
    return n;
}

char *svq_traced(SvqNic *nic)
{
    g_autofree char *path = trace_path(nic);
    char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return text;
}

unsigned svq_in_flight(SvqNic *nic, unsigned queue)
{
    QDict *info = svq_info(nic, queue);
    unsigned n = qdict_get_int(info, "in-flight");

    qobject_unref(info);
    return n;
}

uint64_t svq_cpu(SvqNic *nic)
{
    g_autofree char *dir = g_strdup_printf("/proc/%u/task",
                                           nic->sim->state.pid);
    GDir *d = g_dir_open(dir, 0, NULL);
    uint64_t sum = 0;
    const char *tid;

    g_assert_nonnull(d);
    while ((tid = g_dir_read_name(d))) {
        g_autofree char *comm = g_strdup_printf("%s/%s/comm", dir, tid);
        g_autofree char *stat = g_strdup_printf("%s/%s/schedstat", dir, tid);
        g_autofree char *name = NULL, *text = NULL;

        if (g_file_get_contents(comm, &name, NULL, NULL) &&
            !g_str_has_prefix(name, "vdpa-sim") &&
            g_file_get_contents(stat, &text, NULL, NULL)) {
            sum += g_ascii_strtoull(text, NULL, 10);
        }
    }
    g_dir_close(d);
    return sum;
}

void svq_wait(SvqNic *nic, gint64 *start, QVirtQueue *vq, const char *what)
{
    unsigned i;

    if (*start && g_get_monotonic_time() - *start > RIG_TIMEOUT_US) {
        g_autofree char *info = qtest_hmp(rig->qts, "info vhost-svq");
        char *complaint = vdpa_sim_complaint(nic->sim);

        g_test_message("%s", info);
        for (i = 0; i < 2 * nic->config.pairs; i++) {
            VdpaSimQueueStats *s = &nic->sim->stats[i];

            g_test_message("device queue %u: running %u, enabled %u, size %u, "
                           "pos 0x%x, in flight %u, buffers %" PRIu64
                           ", packets %" PRIu64 ", kicks %" PRIu64 " + %"
                           PRIu64 ", calls %" PRIu64 ", not %" PRIu64
                           ", starved %" PRIu64 ", dropped %" PRIu64, i,
                           s->running, s->enabled, s->size, s->pos,
                           s->in_flight, s->buffers, s->packets,
                           s->kicks_doorbell, s->kicks_eventfd, s->calls,
                           s->calls_suppressed, s->starved, s->dropped);
        }
        g_test_message("%s", complaint ?: "no complaint of the device");
        free(complaint);
    }
    wait_a_little(start, vq, what);
}

/* Kicks */

static void kick_eventfd(QVirtioDevice *d, QVirtQueue *vq)
{
    uint64_t one = 1;

    if (current->kick[vq->index] < 0) {
        current->pci_bus->virtqueue_kick(d, vq);
    } else {
        g_assert_cmpint(write(current->kick[vq->index], &one, sizeof(one)), ==,
                        sizeof(one));
    }
}

void svq_forget_kicks(SvqNic *nic)
{
    unsigned i;

    for (i = 0; i < SVQ_QUEUES_MAX; i++) {
        if (nic->kick[i] >= 0) {
            close(nic->kick[i]);
            nic->kick[i] = -1;
        }
    }
    if (nic->dev) {
        nic->dev->vdev->bus = nic->pci_bus;
    }
}

/* Our own descriptors of all of QEMU's eventfds */
static GArray *eventfds(pid_t pid)
{
    g_autofree char *dir = g_strdup_printf("/proc/%d/fd", pid);
    GArray *fds = g_array_new(false, false, sizeof(int));
    int pidfd = syscall(SYS_pidfd_open, pid, 0);
    GDir *d = g_dir_open(dir, 0, NULL);
    const char *name;

    g_assert_nonnull(d);
    g_assert_cmpint(pidfd, >=, 0);
    while ((name = g_dir_read_name(d))) {
        g_autofree char *path = g_strdup_printf("%s/%s", dir, name);
        g_autofree char *what = g_file_read_link(path, NULL);

        if (!g_strcmp0(what, "anon_inode:[eventfd]")) {
            int fd = syscall(SYS_pidfd_getfd, pidfd, atoi(name), 0);

            if (fd >= 0) {
                g_array_append_val(fds, fd);
            }
        }
    }
    g_dir_close(d);
    close(pidfd);
    return fds;
}

static void write_one(int fd)
{
    uint64_t one = 1;

    g_assert_cmpint(write(fd, &one, sizeof(one)), ==, sizeof(one));
}

static void take_guest_kicks(QDict *queue, void *opaque)
{
    uint64_t *n = opaque;

    n[qdict_get_int(queue, "queue")] =
        qdict_get_int(qdict_get_qdict(queue, "stats"), "guest-kicks");
}

/* How often each queue was woken, once QEMU has had the time for it */
static void guest_kicks(uint64_t *n)
{
    main_loop_rounds();
    for_each_queue(take_guest_kicks, n);
}

/*
 * Finds out bit by bit which number in @fds it is that wakes a queue.
 *
 * Returns: false when QEMU was too slow for the answer to be right
 */
static bool probe_kicks(SvqNic *nic, GArray *fds)
{
    unsigned queues = 2 * nic->pairs, bit, q, p, i;
    uint64_t before[SVQ_QUEUES_MAX], after[SVQ_QUEUES_MAX];
    unsigned found[SVQ_QUEUES_MAX] = { 0 };

    for (bit = 0; (1u << bit) <= fds->len; bit++) {
        guest_kicks(before);
        for (i = 0; i < fds->len; i++) {
            if ((i + 1) & (1u << bit)) {
                write_one(g_array_index(fds, int, i));
            }
        }
        guest_kicks(after);
        for (q = 0; q < queues; q++) {
            found[q] |= (after[q] != before[q]) << bit;
        }
    }
    for (q = 0; q < queues; q++) {
        if (!found[q] || found[q] > fds->len) {
            return false;
        }
        /* To be sure: it wakes this queue, and no other one */
        guest_kicks(before);
        write_one(g_array_index(fds, int, found[q] - 1));
        guest_kicks(after);
        for (p = 0; p < queues; p++) {
            if ((after[p] != before[p]) != (p == q)) {
                return false;
            }
        }
    }
    for (q = 0; q < queues; q++) {
        nic->kick[q] = dup(g_array_index(fds, int, found[q] - 1));
        g_assert_cmpint(nic->kick[q], >=, 0);
    }
    return true;
}

void svq_find_kicks(SvqNic *nic)
{
    g_autoptr(GArray) fds = eventfds(nic->sim->state.pid);
    gint64 start = g_get_monotonic_time();
    unsigned i;

    svq_forget_kicks(nic);
    while (!probe_kicks(nic, fds)) {
        g_assert_cmpint(g_get_monotonic_time() - start, <, RIG_TIMEOUT_US);
    }
    for (i = 0; i < fds->len; i++) {
        close(g_array_index(fds, int, i));
    }
    nic->bus.virtqueue_kick = kick_eventfd;
    nic->dev->vdev->bus = &nic->bus;
}
