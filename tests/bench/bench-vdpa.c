/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * svq-bench: a QEMU with a network card on a simulated vDPA device, see
 * bench-vdpa.h
 */

#include "qemu/osdep.h"
#include <sched.h>
#include "qapi/qmp/qdict.h"
#include "qapi/qmp/qlist.h"
#include "qemu/bitops.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_net.h"
#include "bench-vdpa.h"

/* Idle for so long, QEMU looks at no ring any more, nanoseconds */
#define ASLEEP_NS       (1000 * 1000)

/*
 * A buffer that does not come back within this is one of which nobody knows,
 * and a kick that is not counted is none; next time, twice as long, for the
 * machine may be busy.
 */
#define UNKNOWN_NS      (20ull * 1000 * 1000)
#define COUNTED_NS      (2ull * 1000 * 1000)
#define ATTEMPTS        4

/* A control queue that is silent for so long is stuck */
#define COMMAND_NS      (10ull * 1000 * 1000 * 1000)

/*
 * A device that polls gives up after this, nanoseconds.  The worker of a queue
 * whose IOThread waits for its turn on a CPU would only be in the way of the
 * others.
 */
#define DEVICE_POLL_NS  (200 * 1000)

/*
 * The features that matter here, and that the base's shadow virtqueue does not
 * refuse.
 */
static uint64_t device_features(const BenchVdpaOptions *opts)
{
    uint64_t f = BIT_ULL(VIRTIO_F_VERSION_1) |
                 BIT_ULL(VIRTIO_F_ACCESS_PLATFORM) |
                 BIT_ULL(VIRTIO_NET_F_MAC) | BIT_ULL(VIRTIO_NET_F_STATUS) |
                 BIT_ULL(VIRTIO_NET_F_MRG_RXBUF) |
                 BIT_ULL(VIRTIO_NET_F_CTRL_VQ) |
                 BIT_ULL(VIRTIO_NET_F_CTRL_MAC_ADDR);

    /* With an event index, a device that polls asks for no kicks meanwhile */
    if (opts->kicks != BENCH_DEVICE_WANTS) {
        f |= BIT_ULL(VIRTIO_RING_F_EVENT_IDX);
    }
    if (opts->pairs > 1) {
        f |= BIT_ULL(VIRTIO_NET_F_MQ);
    }
    if (opts->packed) {
        f |= BIT_ULL(VIRTIO_F_RING_PACKED);
    }
    if (opts->in_order) {
        f |= BIT_ULL(VIRTIO_F_IN_ORDER);
    }
    return f;
}

static void device_create(BenchVdpa *v, const BenchOptions *machine)
{
    const BenchVdpaOptions *opts = v->opts;
    VdpaSimConfig config;
    unsigned i;
    int fd;

    vdpa_sim_config_init(&config, opts->pairs);
    config.features = device_features(opts);
    config.vring_num_max = machine->ring;
    if (opts->doorbell && strcmp(opts->doorbell, "off")) {
        config.notify_pages = (2u << 2 * opts->pairs) - 1;
    }
    for (i = 0; i <= 2 * opts->pairs; i++) {
        config.cpu[i] = machine->cpus.driver;
    }
    fd = g_file_open_tmp("svq-bench-XXXXXX", &v->path, NULL);
    if (fd < 0) {
        bench_die("no file in %s: %s; name another folder with TMPDIR",
                  g_get_tmp_dir(), strerror(errno));
    }
    close(fd);
    v->sim = vdpa_sim_create(v->path, &config);
    if (!v->sim) {
        bench_die("%s: %s; make room there", v->path, strerror(errno));
    }
}

static char *qemu_args(const BenchVdpa *v, const char *more)
{
    const BenchVdpaOptions *opts = v->opts;
    GString *s = g_string_new("-name svq-bench,debug-threads=on ");
    unsigned i;

    for (i = 0; i < opts->iothreads; i++) {
        g_string_append_printf(s, "-object iothread,id=io%u ", i);
    }
    g_string_append_printf(s, "-netdev vhost-vdpa,id=n0,vhostdev=%s", v->path);
    if (opts->svq) {
        g_string_append(s, ",x-svq=on");
    }
    for (i = 0; i < opts->iothreads; i++) {
        g_string_append_printf(s, ",iothread-vq-mapping.%u.iothread=io%u", i,
                               i);
    }
    if (opts->doorbell) {
        g_string_append_printf(s, ",svq-doorbell=%s", opts->doorbell);
    }
    g_string_append_printf(s, " -device virtio-net-pci,id=dev0,netdev=n0,"
                           "addr=4,disable-legacy=on,iommu_platform=on,"
                           "mq=%s,vectors=%u,packed=%s,rx_queue_size=256,"
                           "tx_queue_size=256%s",
                           bench_switches[opts->pairs > 1],
                           2 * opts->pairs + 2,
                           bench_switches[v->mode.packed],
                           v->mode.in_order ? ",in_order=on" : "");
    g_string_append_printf(s, " %s", more);
    return g_string_free(s, false);
}

void bench_vdpa_start(BenchVdpa *v, const BenchVdpaOptions *opts,
                      const BenchOptions *machine, const char *more)
{
    memset(v, 0, sizeof(*v));
    v->opts = opts;
    /* A shadowed device's rings are QEMU's business, not the guest's */
    v->mode.packed = opts->packed && !opts->svq;
    v->mode.in_order = opts->in_order && !opts->svq;
    device_create(v, machine);
    v->args = qemu_args(v, more);
    v->machine_opts = (BenchOptions) {
        .qemu = machine->qemu,
        .device = BENCH_GIVEN,
        .mode = &v->mode,
        .ring = machine->ring,
        .args = v->args,
        .nvqs = 2 * opts->pairs,
        .control = true,
        .event_idx = machine->event_idx,
        .cpus = machine->cpus,
    };
    if (access(opts->so, R_OK)) {
        bench_die("%s: %s; name vdpa-sim.so with --sim", opts->so,
                  strerror(errno));
    }
    vdpa_sim_preload(opts->so);
    bench_machine_start(&v->m, &v->machine_opts);
    vdpa_sim_unpreload();
    /* Nothing is left behind then, however the program ends */
    unlink(v->path);
}

/* As many pairs as there are; with one, nobody has to be told */
static void pairs_set(BenchVdpa *v)
{
    BenchMachine *m = &v->m;
    QVirtQueue *vq = m->queues[2 * v->opts->pairs].vq;
    uint64_t addr = bench_machine_alloc(m, 8);
    uint8_t *p = bench_machine_ptr(m, addr, 8);
    uint64_t end;
    uint32_t head;

    if (v->opts->pairs == 1) {
        return;
    }
    p[0] = VIRTIO_NET_CTRL_MQ;
    p[1] = VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET;
    stw_le_p(p + 2, v->opts->pairs);
    p[4] = VIRTIO_NET_ERR;
    head = qvirtqueue_add(m->qts, vq, addr, 4, false, true);
    qvirtqueue_add(m->qts, vq, addr + 4, 1, true, false);
    qvirtqueue_kick(m->qts, m->vdev, vq, head);
    /* There is no interrupt to wait for */
    end = bench_now() + COMMAND_NS;
    while (!qvirtqueue_get_buf(m->qts, vq, NULL, NULL)) {
        if (bench_now() > end) {
            bench_die("the control queue does not answer for %llu s",
                      COMMAND_NS / 1000000000);
        }
    }
    if (p[4] != VIRTIO_NET_OK) {
        bench_die("the device does not use %u queue pairs", v->opts->pairs);
    }
}

static void signal_fd(int fd)
{
    uint64_t one = 1;

    if (write(fd, &one, sizeof(one)) != sizeof(one)) {
        bench_die("an eventfd of QEMU cannot be written: %s", strerror(errno));
    }
}

/* Does a buffer of @l come back when some of QEMU's eventfds are written? */
static bool kicked_by(BenchLoad *l, const GArray *fds, guint from, guint to,
                      uint64_t patience)
{
    uint64_t end;
    guint i;

    g_usleep(ASLEEP_NS / 1000);
    for (i = from; i < to; i++) {
        signal_fd(g_array_index(fds, int, i));
    }
    end = bench_now() + patience;
    while (!bench_ring_reap(&l->ring, NULL, NULL)) {
        if (bench_now() > end) {
            return false;
        }
        sched_yield();
    }
    return true;
}

/*
 * Which of QEMU's eventfds is the host notifier of the queue?  The one whose
 * write brings a buffer back that the device was not told of.  Half of those
 * that may be it are tried at once, until one is left, which then has to work
 * twice: what comes back late looks as if another one had brought it.  Those
 * that are none do not mind to be written, an event may always be spurious.
 * @patience: nanoseconds to wait for a buffer that may not come back
 *
 * Returns: a descriptor for it, or -1
 */
static int find_notifier(BenchVdpa *v, BenchLoad *l, const GArray *fds,
                         uint64_t patience)
{
    guint from = 0, to = fds->len, worked = 0;
    bool pending = false;

    while (from < to && worked < 2) {
        bool last = to - from == 1;
        guint half = last ? to : from + (to - from) / 2;

        if (!pending) {
            bench_ring_add(&l->ring, 1);
        }
        pending = !kicked_by(l, fds, from, half, patience);
        if (last) {
            if (pending) {
                break;
            }
            worked++;
        } else if (pending) {
            from = half;
        } else {
            to = half;
        }
    }
    if (worked == 2) {
        return dup(g_array_index(fds, int, from));
    }
    /* The buffer that is left over comes back, too */
    if (pending) {
        bench_machine_kick(&v->m, l->queue);
        bench_load_drain(l);
    }
    return -1;
}

/* The kernel's number of what descriptor @fd of QEMU stands for */
static uint64_t eventfd_id(const BenchVdpa *v, int fd)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/fdinfo/%d", v->m.pid,
                                            fd);
    g_autofree char *text = NULL;
    const char *id = NULL;

    if (g_file_get_contents(path, &text, NULL, NULL)) {
        id = strstr(text, "eventfd-id:");
    }
    return id ? g_ascii_strtoull(id + strlen("eventfd-id:"), NULL, 10) : 0;
}

/*
 * Descriptors of ours for the eventfds that may be host notifiers: those that
 * were not there @before.  vdpa-sim duplicates all that the device has to do
 * with, so with a shadow virtqueue between, a duplicate is none.
 */
static GArray *candidates(BenchVdpa *v, const GArray *before)
{
    g_autoptr(GArray) after = bench_machine_eventfds(&v->m);
    g_autofree uint64_t *id = g_new0(uint64_t, after->len);
    GArray *fds = g_array_new(false, false, sizeof(int));
    guint i, j, same;
    int fd;

    for (i = 0; i < after->len; i++) {
        id[i] = eventfd_id(v, g_array_index(after, int, i));
    }
    for (i = j = 0; i < after->len; i++) {
        guint k;

        fd = g_array_index(after, int, i);
        if (j < before->len && g_array_index(before, int, j) == fd) {
            j++;
            continue;
        }
        for (k = same = 0; k < after->len; k++) {
            same += id[k] && id[k] == id[i];
        }
        if (same > 1 && v->opts->svq) {
            continue;
        }
        fd = bench_machine_steal_fd(&v->m, fd);
        if (fd >= 0) {
            g_array_append_val(fds, fd);
        }
    }
    return fds;
}

/* A receive queue has a packet for each buffer, or it would keep them */
static void source_start(BenchVdpa *v, const BenchLoad *l)
{
    VdpaSimQueueCtl *ctl = &v->sim->ctl[l->queue];

    ctl->mode = VDPA_SIM_SOURCE;
    ctl->source_len_min = l->opts->size;
    ctl->source_count = UINT64_MAX;
    vdpa_sim_wake(v->sim);
}

/*
 * The device behaves as is asked for; up to now it has slept when it could.
 * Queues that nobody uses go on sleeping: their threads would only be in the
 * way of the others.
 */
static void behave(BenchVdpa *v, BenchLoad **loads, unsigned n, bool loop)
{
    unsigned i;

    for (i = 0; i < n; i++) {
        VdpaSimQueueCtl *ctl = &v->sim->ctl[loads[i]->queue];

        if (loop) {
            ctl->mode = loads[i]->opts->what == BENCH_NET_TX ?
                        VDPA_SIM_LOOP_PAIR : VDPA_SIM_PLAIN;
        }
        /* Nobody sees a doorbell while the worker sleeps */
        if (v->opts->kicks != BENCH_DEVICE_SLEEPS) {
            ctl->poll_ns = v->opts->kicks == BENCH_DEVICE_POLLS ?
                           DEVICE_POLL_NS : UINT32_MAX;
        }
        ctl->always_kick = v->opts->kicks == BENCH_DEVICE_WANTS;
    }
    vdpa_sim_wake(v->sim);
}

/*
 * How often the guest has kicked each queue, as QEMU's shadow virtqueues count
 * it.  Returns false if they do not.
 */
static bool guest_kicks(BenchVdpa *v, uint64_t *kicks)
{
    QDict *rsp = qtest_qmp(v->m.qts, "{'execute': 'x-query-vhost-svq'}");
    QList *list = qdict_get_qlist(rsp, "return");
    bool found = list && !qlist_empty(list);
    const QListEntry *e;

    for (e = found ? qlist_first(list) : NULL; e; e = qlist_next(e)) {
        QDict *q = qobject_to(QDict, qlist_entry_obj(e));
        uint64_t queue = qdict_get_int(q, "queue");

        if (queue < BENCH_MAX_QUEUES) {
            kicks[queue] = qdict_get_int(qdict_get_qdict(q, "stats"),
                                         "guest-kicks");
        }
    }
    qobject_unref(rsp);
    return found;
}

/* Which queue has been kicked since @kicks, which is brought up to date? */
static int kicked_queue(BenchVdpa *v, uint64_t *kicks, uint64_t ns)
{
    uint64_t now[BENCH_MAX_QUEUES] = { 0 }, end = bench_now() + ns;
    unsigned i;

    do {
        guest_kicks(v, now);
        for (i = 0; i < v->m.nvqs; i++) {
            if (now[i] > kicks[i]) {
                kicks[i] = now[i];
                return i;
            }
        }
    } while (bench_now() < end);
    return -1;
}

/*
 * The same search where QEMU counts kicks: the eventfd whose write is counted
 * for a queue is its host notifier.  It has to happen twice, because what is
 * counted may also be an earlier write, late.
 */
static bool count_notifiers(BenchVdpa *v, BenchLoad **loads, unsigned n,
                            const GArray *fds)
{
    uint64_t kicks[BENCH_MAX_QUEUES] = { 0 };
    unsigned found = 0, attempt, k;
    guint i;

    if (!guest_kicks(v, kicks)) {
        return false;
    }
    for (attempt = 0; attempt < ATTEMPTS && found < n; attempt++) {
        for (i = 0; i < fds->len; i++) {
            int fd = g_array_index(fds, int, i), queue[2] = { -1, -1 };

            for (k = 0; k < 2 && (k == 0 || queue[0] >= 0); k++) {
                signal_fd(fd);
                queue[k] = kicked_queue(v, kicks, COUNTED_NS << attempt);
            }
            if (queue[1] >= 0 && queue[0] == queue[1]) {
                bench_machine_kick_by(&v->m, queue[0], dup(fd));
            }
        }
        for (k = found = 0; k < n; k++) {
            found += v->m.queues[loads[k]->queue].kick_fd >= 0;
        }
    }
    return true;
}

void bench_vdpa_ready(BenchVdpa *v, BenchLoad **loads, unsigned n, bool loop)
{
    BenchMachine *m = &v->m;
    g_autoptr(GArray) before = bench_machine_eventfds(m);
    g_autoptr(GArray) fds = NULL;
    bool counted;
    guint i, j;

    bench_machine_ready(m);
    pairs_set(v);
    fds = candidates(v, before);
    counted = count_notifiers(v, loads, n, fds);
    for (i = 0; i < n; i++) {
        if (loads[i]->opts->what == BENCH_NET_RX) {
            source_start(v, loads[i]);
        }
        for (j = 0; !counted && j < ATTEMPTS &&
                    m->queues[loads[i]->queue].kick_fd < 0; j++) {
            bench_machine_kick_by(m, loads[i]->queue,
                                  find_notifier(v, loads[i], fds,
                                                UNKNOWN_NS << j));
        }
    }
    for (i = 0; i < fds->len; i++) {
        close(g_array_index(fds, int, i));
    }
    behave(v, loads, n, loop);
}

void bench_vdpa_quiet(BenchVdpa *v)
{
    unsigned i;

    for (i = 0; i < 2 * v->opts->pairs; i++) {
        vdpa_sim_pause(v->sim, i, true);
    }
}

void bench_vdpa_check(BenchVdpa *v)
{
    char *complaint = vdpa_sim_complaint(v->sim);

    if (complaint) {
        bench_die("the device complains: %s", g_strchomp(complaint));
    }
}

void bench_vdpa_stop(BenchVdpa *v)
{
    bench_machine_stop(&v->m);
    vdpa_sim_free(v->sim);
    g_free(v->path);
    g_free(v->args);
}
