/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: a virtio device that moves from one QEMU to another, see
 * virtio-in-order-migration-rig.h
 */

#include "qemu/osdep.h"
#include <sys/ioctl.h>
#include "qemu/bitops.h"
#include "libqos/libqos.h"
#include "libqos/pci-pc.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qmp/qlist.h"
#include "virtio-in-order-migration-rig.h"
#include "standard-headers/linux/virtio_pci.h"
#include "standard-headers/linux/virtio_ring.h"

#define DEV_SLOT        4
#define TIMEOUT_US      (20 * G_USEC_PER_SEC)
#define CASE_SECONDS    90

#define OUR_QEMU        "QTEST_QEMU_BINARY"
#define BASE_QEMU       "VIRTIO_IN_ORDER_TEST_BASE_QEMU"

/* What a section begins and ends with */
#define SECTION_FULL    0x04
#define SECTION_FOOTER  0x7e

typedef struct Test {
    void (*func)(const MigCase *c);
    MigCase c;
} Test;

static const char *path_prefix = "";

static void run(const void *opaque)
{
    const Test *t = opaque;

    case_begin(CASE_SECONDS);
    t->func(&t->c);
    case_end();
}

void mig_path(const char *path)
{
    path_prefix = path;
}

void mig_add(const Mode *mode, const char *name,
             void (*func)(const MigCase *c), const void *opaque)
{
    g_autofree char *path = g_strdup_printf("%s/%s/%s", path_prefix,
                                            mode->name, name);
    Test *t = g_new0(Test, 1);

    t->func = func;
    t->c = (MigCase) { mode, opaque };
    qtest_add_data_func_full(path, t, run, g_free);
}

void mig_wait(gint64 *start, const char *what)
{
    if (!*start) {
        *start = g_get_monotonic_time();
    } else if (g_get_monotonic_time() - *start > TIMEOUT_US) {
        g_autofree char *msg = g_strdup_printf("%s: nothing happens", what);

        g_assertion_message(G_LOG_DOMAIN, __FILE__, __LINE__, G_STRFUNC, msg);
    }
    g_usleep(100);
}

int mig_socket_pair(int type, int *qemu_fd)
{
    int sv[2];

    g_assert_cmpint(socketpair(AF_UNIX, type, 0, sv), ==, 0);
    g_assert_cmpint(fcntl(sv[0], F_SETFD, FD_CLOEXEC), ==, 0);
    *qemu_fd = sv[1];
    return sv[0];
}

char *mig_props(const Mode *mode)
{
    /* Without in_order=off, which mig_base_qemu() does not know */
    return g_strdup_printf("addr=%d,disable-legacy=on,packed=%s%s", DEV_SLOT,
                           mode->packed ? "on" : "off",
                           mode->in_order ? ",in_order=on" : "");
}

const char *mig_base_qemu(void)
{
    const char *path = getenv(BASE_QEMU);

    if (!path) {
        g_test_skip(BASE_QEMU " does not name a QEMU to compare with");
    }
    return path;
}

void mig_start(MigRig *rig, const char *args)
{
    g_autofree char *ours = g_strdup(getenv(OUR_QEMU));

    if (!rig->shared) {
        if (rig->ram.host) {
            munmap(rig->ram.host, MIG_RAM_SIZE);
            close(rig->ram_fd);
        }
        rig->ram.host = NULL;
    }
    if (!rig->ram.host) {
        rig->ram_fd = shared_file("ram", MIG_RAM_SIZE);
        rig->ram = (QVirtioRam) {
            .host = shared_map(rig->ram_fd, MIG_RAM_SIZE),
            .size = MIG_RAM_SIZE,
        };
    }
    qvring_scsi_counts_reads = rig->base;
    if (rig->base) {
        g_setenv(OUR_QEMU, mig_base_qemu(), true);
    }
    rig->qts = qtest_initf("-nodefaults -machine q35,memory-backend=mem "
                           "-m %" PRIu64 "M -object memory-backend-file,id=mem,"
                           "share=on,size=%" PRIu64 "M,"
                           "mem-path=/proc/self/fd/%d %s",
                           MIG_RAM_SIZE / MiB, MIG_RAM_SIZE / MiB, rig->ram_fd,
                           args);
    g_setenv(OUR_QEMU, ours, true);
    if (rig->shared) {
        mig_capability(rig->qts, "x-ignore-shared", true);
    }
}

void mig_negotiate(MigRig *rig)
{
    qvirtio_start_device(rig->vdev);
    mode_negotiate(rig->vdev, rig->mode, BIT_ULL(VIRTIO_RING_F_EVENT_IDX));
}

void mig_init(MigRig *rig, const Mode *mode, const char *args)
{
    QPCIAddress addr = { .devfn = QPCI_DEVFN(DEV_SLOT, 0) };

    *rig = (MigRig) { .shared = rig->shared, .base = rig->base, .mode = mode,
                      .stream_fd = -1 };
    mig_start(rig, args);
    alloc_init(&rig->alloc, 0, 1 * MiB, MIG_RAM_SIZE, 4096);
    rig->bus = qpci_new_pc(rig->qts, NULL);
    rig->pci = virtio_pci_new(rig->bus, &addr);
    g_assert_nonnull(rig->pci);
    rig->vdev = &rig->pci->vdev;
    rig->vdev->tracked = true;
    rig->vdev->ram = &rig->ram;
    qvirtio_pci_device_enable(rig->pci);
    mig_negotiate(rig);
}

void mig_cleanup(MigRig *rig)
{
    g_free(rig->pci->pdev);
    g_free(rig->pci);
    qpci_free_pc(rig->bus);
    qtest_quit(rig->qts);
    alloc_destroy(&rig->alloc);
    munmap(rig->ram.host, MIG_RAM_SIZE);
    close(rig->ram_fd);
}

QVirtQueue *mig_queue_setup(MigRig *rig, uint16_t index, uint16_t size)
{
    QVirtQueue *vq;

    rig->vdev->bus->queue_select(rig->vdev, index);
    qpci_io_writew(rig->pci->pdev, rig->pci->bar,
                   rig->pci->common_cfg_offset + VIRTIO_PCI_COMMON_Q_SIZE,
                   size);
    vq = qvirtqueue_setup(rig->vdev, &rig->alloc, index);
    g_assert_cmpuint(vq->size, ==, size);
    if (!rig->base) {
        qvring_poison_ids(vq);
    }
    return vq;
}

void mig_queue_free(MigRig *rig, QVirtQueue *vq)
{
    qvirtqueue_cleanup(rig->vdev->bus, vq, &rig->alloc);
}

void *mig_guest(MigRig *rig, uint64_t addr, size_t len)
{
    return qvirtio_ram_ptr(&rig->ram, addr, len);
}

void mig_cont(MigRig *rig)
{
    qtest_qmp_assert_success(rig->qts, "{ 'execute': 'cont' }");
}

bool mig_io_error(MigRig *rig)
{
    QDict *rsp = qtest_qmp(rig->qts, "{ 'execute': 'query-status' }");
    QDict *ret = qdict_get_qdict(rsp, "return");
    bool yes = !strcmp(qdict_get_str(ret, "status"), "io-error");

    qobject_unref(rsp);
    return yes;
}

/* The answer to the command comes after the last request is through */
void mig_wait_for_io_error(MigRig *rig)
{
    gint64 start = 0;

    while (!mig_io_error(rig)) {
        mig_wait(&start, "I/O error");
    }
}

void mig_capability(QTestState *qts, const char *name, bool on)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'migrate-set-capabilities', "
                             "'arguments': { 'capabilities': [ "
                             "{ 'capability': %s, 'state': %i } ] } }",
                             name, on);
}

static char *migration_status(QTestState *qts)
{
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'query-migrate' }");
    char *status = g_strdup(qdict_get_try_str(qdict_get_qdict(rsp, "return"),
                                              "status"));

    qobject_unref(rsp);
    return status;
}

bool mig_status(QTestState *qts, const char *status)
{
    g_autofree char *now = migration_status(qts);

    return !g_strcmp0(now, status);
}

void mig_wait_for_status(QTestState *qts, const char *status)
{
    gint64 start = 0;

    for (;;) {
        g_autofree char *now = migration_status(qts);

        if (!g_strcmp0(now, status)) {
            return;
        }
        g_assert_cmpstr(now, !=, "failed");
        mig_wait(&start, "migration");
    }
}

void mig_give_fd(QTestState *qts, int fd)
{
    QDict *rsp = qtest_qmp_fds(qts, &fd, 1, "{ 'execute': 'getfd', "
                               "'arguments': { 'fdname': 'stream' } }");

    g_assert(qdict_haskey(rsp, "return"));
    qobject_unref(rsp);
}

void mig_begin(MigRig *rig)
{
    g_assert_cmpint(rig->stream_fd, ==, -1);
    rig->stream_fd = shared_file("stream", 0);
    mig_give_fd(rig->qts, rig->stream_fd);
    qtest_qmp_assert_success(rig->qts, "{ 'execute': 'migrate', "
                             "'arguments': { 'uri': 'fd:stream' } }");
}

GByteArray *mig_end(MigRig *rig)
{
    GByteArray *stream = g_byte_array_new();
    off_t size = lseek(rig->stream_fd, 0, SEEK_END);

    g_assert_cmpint(size, >, 0);
    g_byte_array_set_size(stream, size);
    g_assert_cmpint(pread(rig->stream_fd, stream->data, size, 0), ==, size);
    close(rig->stream_fd);
    rig->stream_fd = -1;
    return stream;
}

GByteArray *mig_save(MigRig *rig)
{
    mig_begin(rig);
    mig_wait_for_status(rig->qts, "completed");
    return mig_end(rig);
}

size_t mig_find(const GByteArray *stream, const char *name)
{
    size_t len = strlen(name);
    uint8_t *p = memmem(stream->data, stream->len, name, len);

    return p ? p + len - stream->data : 0;
}

static void migrate_incoming(QTestState *qts, int fd)
{
    mig_give_fd(qts, fd);
    close(fd);
    qtest_qmp_assert_success(qts, "{ 'execute': 'migrate-incoming', "
                             "'arguments': { 'uri': 'fd:stream' } }");
}

void mig_offer(QTestState *qts, const GByteArray *stream)
{
    int fd = shared_file("stream", 0);

    g_assert_cmpint(pwrite(fd, stream->data, stream->len, 0), ==, stream->len);
    migrate_incoming(qts, fd);
}

static void offer_in_two(QTestState *qts, const GByteArray *stream, size_t pos)
{
    int qemu_fd, left = 1, i;
    int fd = mig_socket_pair(SOCK_STREAM, &qemu_fd);
    gint64 start = 0;
    size_t done;
    ssize_t n;

    migrate_incoming(qts, qemu_fd);
    for (done = 0; done < stream->len; done += n) {
        size_t end = done < pos ? pos : stream->len;

        n = write(fd, stream->data + done, end - done);
        g_assert_cmpint(n, >, 0);
        if (done + n != pos) {
            continue;
        }
        while (!ioctl(fd, TIOCOUTQ, &left) && left) {
            mig_wait(&start, "incoming migration");
        }
        g_assert_cmpint(left, ==, 0);
        for (i = 0; i < 3; i++) {
            qtest_qmp_assert_success(qts, "{ 'execute': 'query-status' }");
        }
    }
    close(fd);
}

void mig_load(MigRig *rig, const char *args, const GByteArray *stream,
              size_t pause)
{
    g_autofree char *all = g_strdup_printf("-incoming defer %s", args);

    qtest_quit(rig->qts);
    mig_start(rig, all);
    rig->bus->qts = rig->qts;
    if (pause) {
        offer_in_two(rig->qts, stream, pause);
    } else {
        mig_offer(rig->qts, stream);
    }
    mig_wait_for_status(rig->qts, "completed");
}

void mig_move(MigRig *rig, const char *args, bool in_flight)
{
    g_autoptr(GByteArray) stream = mig_save(rig);

    g_assert_cmpint(!!mig_find(stream, MIG_ORDER), ==,
                    rig->mode->in_order && in_flight);
    mig_load(rig, args, stream, 0);
}

GArray *mig_parts(const GByteArray *stream)
{
    GArray *parts = g_array_new(false, false, sizeof(MigPart));
    size_t len = strlen(MIG_DEVICE), pos;
    const uint8_t *s = stream->data;

    for (pos = 6; pos + len < stream->len; pos++) {
        uint8_t footer[5] = { SECTION_FOOTER };
        const uint8_t *end;
        MigPart part;

        if (s[pos - 6] != SECTION_FULL || s[pos - 1] < len ||
            memcmp(s + pos, MIG_DEVICE, len)) {
            continue;
        }
        /* After the section's number and name come instance and version */
        memcpy(footer + 1, s + pos - 5, 4);
        pos += s[pos - 1] + 8;
        end = memmem(s + pos, stream->len - pos, footer, sizeof(footer));
        g_assert_nonnull(end);
        part = (MigPart) { pos, end - (s + pos) };
        g_array_append_val(parts, part);
        pos = end - s;
    }
    g_assert_cmpuint(parts->len, >, 0);
    return parts;
}

void mig_seed_free(MigSeed *seed)
{
    g_byte_array_unref(seed->stream);
    g_free(seed->args);
}

void mig_seed(MigRig *rig, MigSeed *seed)
{
    QVirtioPCIDevice *pci = rig->pci;

    /* Whether the driver was interrupted depends on timing */
    rig->vdev->bus->get_queue_isr_status(rig->vdev, NULL);
    seed->stream = mig_save(rig);
    seed->common = pci->bar.addr + pci->common_cfg_offset;
    seed->notify = pci->bar.addr + pci->notify_cfg_offset;
    seed->multiplier = pci->notify_off_multiplier;
}

bool mig_snapshot_init(MigSnapshot *snap)
{
    g_autofree char *path = NULL;

    if (!have_qemu_img()) {
        g_test_skip("QTEST_QEMU_IMG is not set to a qemu-img");
        return false;
    }
    snap->fd = shared_file("snapshot", 0);
    path = g_strdup_printf("/proc/%d/fd/%d", getpid(), snap->fd);
    mkimg(path, "qcow2", 16);
    snap->args = g_strdup_printf("-blockdev driver=file,node-name=snapfile0,"
                                 "locking=off,filename=/proc/self/fd/%d "
                                 "-blockdev driver=qcow2,node-name=snap0,"
                                 "file=snapfile0", snap->fd);
    return true;
}

void mig_snapshot_cleanup(MigSnapshot *snap)
{
    close(snap->fd);
    g_free(snap->args);
}

void mig_snapshot_job(MigRig *rig, const char *command)
{
    gint64 start = 0;
    bool done = false;

    qtest_qmp_assert_success(rig->qts, "{ 'execute': %s, 'arguments': { "
                             "'job-id': 'job0', 'tag': 'tag0', "
                             "'vmstate': 'snap0', 'devices': [ 'snap0' ] } }",
                             command);
    while (!done) {
        QDict *rsp = qtest_qmp(rig->qts, "{ 'execute': 'query-jobs' }");
        const QListEntry *e = qlist_first(qdict_get_qlist(rsp, "return"));
        QDict *job = qobject_to(QDict, qlist_entry_obj(e));

        g_assert_cmpstr(qdict_get_try_str(job, "error"), ==, NULL);
        done = !strcmp(qdict_get_str(job, "status"), "concluded");
        qobject_unref(rsp);
        mig_wait(&start, command);
    }
    qtest_qmp_assert_success(rig->qts, "{ 'execute': 'job-dismiss', "
                             "'arguments': { 'id': 'job0' } }");
}
