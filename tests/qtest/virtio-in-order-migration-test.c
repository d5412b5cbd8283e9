/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: migrate virtio devices that have buffers in flight
 *
 * The test is the driver of one device.  It brings the device into a state in
 * which it holds buffers, migrates it to another QEMU, and goes on with the
 * same rings there: every buffer has to come back exactly once, with the right
 * contents, and in order where that was promised.  The driver's side of the
 * rings (libqos/virtio-ring.c) stops at the first used element that the
 * specification does not allow, so each case says only what it adds.
 *
 * Each QEMU has memory of its own, which the test maps.  A migration goes
 * through a file in memory, so a case can look at the stream, damage it, or
 * deliver it in pieces.
 */

#include "qemu/osdep.h"
#include <sys/ioctl.h>
#include "qemu/atomic.h"
#include "qemu/bitops.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "libqtest.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qmp/qlist.h"
#include "qapi/qmp/qnum.h"
#include "libqos/libqos.h"
#include "libqos/libqos-malloc.h"
#include "libqos/pci-pc.h"
#include "libqos/virtio-pci.h"
#include "libqos/virtio-ring.h"
#include "virtio-in-order-mode.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "standard-headers/linux/virtio_blk.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_pci.h"
#include "standard-headers/linux/virtio_ring.h"

#define RAM_SIZE        (8 * MiB)
#define DISK_SIZE       (4 * MiB)
#define SECTOR          512
#define DEV_SLOT        4

#define TIMEOUT_US      (20 * G_USEC_PER_SEC)
#define CASE_SECONDS    90

/* The subsection that has the order of the buffers in flight */
#define MARKER          "virtio/in_order"

/* The QEMU that runs the device now, and what the driver knows */
typedef struct Rig {
    const Mode *mode;
    QTestState *qts;
    QVirtioRam ram;
    QGuestAllocator alloc;
    QPCIBus *bus;
    QVirtioPCIDevice *pci;
    QVirtioDevice *vdev;
} Rig;

/* A test that waits in vain says so, and abort() ends its QEMU as well */
static void on_alarm(int sig)
{
    static const char msg[] = "Bail out! a case waits for QEMU in vain\n";
    ssize_t ret = write(STDERR_FILENO, msg, sizeof(msg) - 1);

    (void)ret;
    abort();
}

static void wait_a_little(gint64 *start, const char *what)
{
    if (!*start) {
        *start = g_get_monotonic_time();
    } else if (g_get_monotonic_time() - *start > TIMEOUT_US) {
        g_autofree char *msg = g_strdup_printf("%s: nothing happens", what);

        g_assertion_message(G_LOG_DOMAIN, __FILE__, __LINE__, G_STRFUNC, msg);
    }
    g_usleep(100);
}

/* A pair of sockets: one end for QEMU to inherit, one for the test alone */
static int socket_pair(int *qemu_fd)
{
    int sv[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), ==, 0);
    g_assert_cmpint(fcntl(sv[0], F_SETFD, FD_CLOEXEC), ==, 0);
    *qemu_fd = sv[1];
    return sv[0];
}

/* What the property of each virtio device has to be in a mode */
static char *mode_props(const Mode *mode)
{
    return g_strdup_printf("addr=%d,disable-legacy=on,packed=%s,in_order=%s",
                           DEV_SLOT, mode->packed ? "on" : "off",
                           mode->in_order ? "on" : "off");
}

/*
 * Start a QEMU for the device that @args describe; from now on the test's view
 * of guest memory is the one of this QEMU.
 */
static void rig_start(Rig *rig, const char *args)
{
    int fd = shared_file("ram", RAM_SIZE);

    if (rig->ram.host) {
        munmap(rig->ram.host, RAM_SIZE);
    }
    rig->ram = (QVirtioRam) { .host = shared_map(fd, RAM_SIZE),
                              .size = RAM_SIZE };
    rig->qts = qtest_initf("-nodefaults -machine q35,memory-backend=mem "
                           "-m %" PRIu64 "M -object memory-backend-file,id=mem,"
                           "share=on,size=%" PRIu64 "M,"
                           "mem-path=/proc/self/fd/%d %s",
                           RAM_SIZE / MiB, RAM_SIZE / MiB, fd, args);
    close(fd);
}

/* Find the device and negotiate */
static void rig_negotiate(Rig *rig)
{
    qvirtio_start_device(rig->vdev);
    mode_negotiate(rig->vdev, rig->mode, BIT_ULL(VIRTIO_RING_F_EVENT_IDX));
}

static void rig_init(Rig *rig, const Mode *mode, const char *args)
{
    QPCIAddress addr = { .devfn = QPCI_DEVFN(DEV_SLOT, 0) };

    memset(rig, 0, sizeof(*rig));
    rig->mode = mode;
    rig_start(rig, args);
    alloc_init(&rig->alloc, 0, 1 * MiB, RAM_SIZE, 4096);
    rig->bus = qpci_new_pc(rig->qts, NULL);
    rig->pci = virtio_pci_new(rig->bus, &addr);
    g_assert_nonnull(rig->pci);
    rig->vdev = &rig->pci->vdev;
    rig->vdev->tracked = true;
    rig->vdev->ram = &rig->ram;
    qvirtio_pci_device_enable(rig->pci);
    rig_negotiate(rig);
}

static void rig_cleanup(Rig *rig)
{
    g_free(rig->pci->pdev);
    g_free(rig->pci);
    qpci_free_pc(rig->bus);
    qtest_quit(rig->qts);
    alloc_destroy(&rig->alloc);
    munmap(rig->ram.host, RAM_SIZE);
}

static QVirtQueue *queue_setup(Rig *rig, uint16_t index, uint16_t size)
{
    QVirtQueue *vq;

    rig->vdev->bus->queue_select(rig->vdev, index);
    qpci_io_writew(rig->pci->pdev, rig->pci->bar,
                   rig->pci->common_cfg_offset + VIRTIO_PCI_COMMON_Q_SIZE,
                   size);
    vq = qvirtqueue_setup(rig->vdev, &rig->alloc, index);
    g_assert_cmpuint(vq->size, ==, size);
    qvring_poison_ids(vq);
    return vq;
}

static void queue_free(Rig *rig, QVirtQueue *vq)
{
    qvirtqueue_cleanup(rig->vdev->bus, vq, &rig->alloc);
}

static void *guest(Rig *rig, uint64_t addr, size_t len)
{
    return qvirtio_ram_ptr(&rig->ram, addr, len);
}

static void cont(Rig *rig)
{
    qtest_qmp_assert_success(rig->qts, "{ 'execute': 'cont' }");
}

/*
 * Wait until an I/O error has stopped the VM.  The event comes before the last
 * request is through; the answer to the command comes after it.
 */
static void wait_for_io_error(Rig *rig)
{
    QDict *rsp;

    qtest_qmp_eventwait(rig->qts, "STOP");
    rsp = qtest_qmp(rig->qts, "{ 'execute': 'query-status' }");
    g_assert_cmpstr(qdict_get_str(qdict_get_qdict(rsp, "return"), "status"),
                    ==, "io-error");
    qobject_unref(rsp);
}

/* Migration: the stream is what one QEMU writes and the other reads */

static void wait_for_migration(QTestState *qts)
{
    gint64 start = 0;

    for (;;) {
        QDict *rsp = qtest_qmp(qts, "{ 'execute': 'query-migrate' }");
        QDict *ret = qdict_get_qdict(rsp, "return");
        const char *status = qdict_get_try_str(ret, "status");
        bool done = !g_strcmp0(status, "completed");

        g_assert_cmpstr(status, !=, "failed");
        qobject_unref(rsp);
        if (done) {
            return;
        }
        wait_a_little(&start, "migration");
    }
}

static void give_fd(QTestState *qts, int fd)
{
    QDict *rsp = qtest_qmp_fds(qts, &fd, 1, "{ 'execute': 'getfd', "
                               "'arguments': { 'fdname': 'stream' } }");

    g_assert(qdict_haskey(rsp, "return"));
    qobject_unref(rsp);
}

/* Migrate away; returns the whole stream */
static GByteArray *rig_save(Rig *rig)
{
    GByteArray *stream = g_byte_array_new();
    int fd = shared_file("stream", 0);
    off_t size;

    give_fd(rig->qts, fd);
    qtest_qmp_assert_success(rig->qts, "{ 'execute': 'migrate', "
                             "'arguments': { 'uri': 'fd:stream' } }");
    wait_for_migration(rig->qts);
    size = lseek(fd, 0, SEEK_END);
    g_assert_cmpint(size, >, 0);
    g_byte_array_set_size(stream, size);
    g_assert_cmpint(pread(fd, stream->data, size, 0), ==, size);
    close(fd);
    return stream;
}

/* Where the bytes that follow the name of a subsection begin, or 0 */
static size_t stream_find(const GByteArray *stream, const char *name)
{
    size_t len = strlen(name);
    uint8_t *p = memmem(stream->data, stream->len, name, len);

    return p ? p + len - stream->data : 0;
}

/* Have a QEMU with -incoming defer read a stream; may be its end */
static void stream_offer(QTestState *qts, const GByteArray *stream)
{
    int fd = shared_file("stream", 0);

    g_assert_cmpint(pwrite(fd, stream->data, stream->len, 0), ==, stream->len);
    give_fd(qts, fd);
    close(fd);
    qtest_qmp_assert_success(qts, "{ 'execute': 'migrate-incoming', "
                             "'arguments': { 'uri': 'fd:stream' } }");
}

/*
 * The same over a socket, with a pause at @pos: QEMU has read everything
 * before it, and its main loop goes round.
 */
static void stream_offer_in_two(QTestState *qts, const GByteArray *stream,
                                size_t pos)
{
    int qemu_fd, fd = socket_pair(&qemu_fd), left = 1, i;
    gint64 start = 0;
    size_t done;
    ssize_t n;

    give_fd(qts, qemu_fd);
    close(qemu_fd);
    qtest_qmp_assert_success(qts, "{ 'execute': 'migrate-incoming', "
                             "'arguments': { 'uri': 'fd:stream' } }");
    for (done = 0; done < stream->len; done += n) {
        size_t end = done < pos ? pos : stream->len;

        n = write(fd, stream->data + done, end - done);
        g_assert_cmpint(n, >, 0);
        if (done + n != pos) {
            continue;
        }
        while (!ioctl(fd, TIOCOUTQ, &left) && left) {
            wait_a_little(&start, "incoming migration");
        }
        g_assert_cmpint(left, ==, 0);
        for (i = 0; i < 3; i++) {
            qtest_qmp_assert_success(qts, "{ 'execute': 'query-status' }");
        }
    }
    close(fd);
}

/*
 * rig_load: let a new QEMU take the device over
 * @rig: the old one has migrated; it is ended
 * @args: the device at the destination, as for rig_init()
 * @stream: what the old one wrote
 * @pause: 0, or where to take a break, see stream_offer_in_two()
 */
static void rig_load(Rig *rig, const char *args, const GByteArray *stream,
                     size_t pause)
{
    g_autofree char *all = g_strdup_printf("-incoming defer %s", args);

    qtest_quit(rig->qts);
    rig_start(rig, all);
    rig->bus->qts = rig->qts;
    if (pause) {
        stream_offer_in_two(rig->qts, stream, pause);
    } else {
        stream_offer(rig->qts, stream);
    }
    wait_for_migration(rig->qts);
}

/*
 * Migrate.  The order is in the stream exactly if there is one: without
 * VIRTIO_F_IN_ORDER, or without a buffer in flight, a QEMU that does not know
 * the subsection has to be able to read it.
 */
static void rig_move(Rig *rig, const char *args, bool in_flight)
{
    g_autoptr(GByteArray) stream = rig_save(rig);

    g_assert_cmpint(!!stream_find(stream, MARKER), ==,
                    rig->mode->in_order && in_flight);
    rig_load(rig, args, stream, 0);
}

/* virtio-blk: requests that fail stop the VM and stay in flight */

#define QUEUE_SIZE      32
#define SLOTS           8       /* requests of at most 4 descriptors */
#define SLOT_DATA       512
#define SLOT_STATUS     3072
#define SLOT_SIZE       4096
#define BATCH_SECTOR    4096    /* the first of those that may be bad */
#define MAX_SECTORS     4

typedef struct Request {
    bool busy;
    bool write;
    uint32_t id;
    uint64_t sector;
    unsigned sectors;
    QVRingIndirectDesc *table;
} Request;

typedef struct Blk {
    Rig rig;
    QVirtQueue *vq;
    uint64_t mem;
    Request req[SLOTS];
    unsigned count;             /* requests so far */
    int disk_fd;
    uint8_t *disk;              /* as QEMU sees it */
    uint8_t *model;             /* as it will be when all is written */
} Blk;

/* @bad: sectors that fail, ends with 0, may be NULL; @once: only once each */
static char *blk_args(const Blk *b, const Mode *mode, const uint64_t *bad,
                      bool once)
{
    g_autofree char *props = mode_props(mode);
    GString *s = g_string_new(NULL);
    int i;

    g_string_printf(s, "-blockdev driver=file,node-name=file0,locking=off,"
                    "filename=/proc/self/fd/%d "
                    "-blockdev driver=blkdebug,node-name=debug0,image=file0",
                    b->disk_fd);
    for (i = 0; bad && bad[i]; i++) {
        g_string_append_printf(s, ",inject-error.%d.event=none,"
                               "inject-error.%d.once=%s,"
                               "inject-error.%d.sector=%" PRIu64, i, i,
                               once ? "on" : "off", i, bad[i]);
    }
    g_string_append_printf(s, " -blockdev driver=raw,node-name=disk0,"
                           "file=debug0 -device virtio-blk-pci,drive=disk0,"
                           "rerror=stop,werror=stop,num-queues=1,"
                           "queue-size=%d,%s", QUEUE_SIZE, props);
    return g_string_free(s, false);
}

static void blk_start(Blk *b)
{
    b->vq = queue_setup(&b->rig, 0, QUEUE_SIZE);
    qvirtio_set_driver_ok(b->rig.vdev);
}

/* @extra: more arguments for QEMU, or NULL */
static void blk_init(Blk *b, const Mode *mode, const uint64_t *bad, bool once,
                     const char *extra)
{
    g_autofree char *args = NULL;
    g_autofree char *all = NULL;
    unsigned i;

    memset(b, 0, sizeof(*b));
    b->disk_fd = shared_file("disk", DISK_SIZE);
    b->disk = shared_map(b->disk_fd, DISK_SIZE);
    b->model = g_malloc(DISK_SIZE);
    for (i = 0; i < DISK_SIZE; i += 4) {
        stl_le_p(b->model + i, i * 2654435761u);
    }
    memcpy(b->disk, b->model, DISK_SIZE);
    args = blk_args(b, mode, bad, once);
    all = g_strdup_printf("%s %s", args, extra ?: "");
    rig_init(&b->rig, mode, all);
    b->mem = guest_alloc(&b->rig.alloc, SLOTS * SLOT_SIZE);
    blk_start(b);
}

static void blk_cleanup(Blk *b)
{
    queue_free(&b->rig, b->vq);
    rig_cleanup(&b->rig);
    munmap(b->disk, DISK_SIZE);
    close(b->disk_fd);
    g_free(b->model);
}

/*
 * Add a request, not yet published.  Writes and reads take turns, and direct
 * and indirect buffers, with different periods.
 */
static void blk_add(Blk *b, uint64_t sector, unsigned sectors, bool write)
{
    QTestState *qts = b->rig.qts;
    uint8_t *want = b->model + sector * SECTOR;
    size_t len = sectors * SECTOR;
    struct virtio_blk_outhdr hdr = {
        .type = cpu_to_le32(write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN),
        .sector = cpu_to_le64(sector),
    };
    struct {
        uint64_t addr;
        uint32_t len;
        bool write;
    } part[4];
    unsigned slot, i, n = 0;
    uint64_t addr;
    uint8_t *mem;
    Request *r;

    g_assert_cmpuint(sectors, <=, MAX_SECTORS);
    for (slot = 0; slot < SLOTS && b->req[slot].busy; slot++) {
        /* find a free one */
    }
    g_assert_cmpuint(slot, <, SLOTS);
    r = &b->req[slot];
    *r = (Request) { .busy = true, .write = write, .sector = sector,
                     .sectors = sectors };
    addr = b->mem + slot * SLOT_SIZE;
    mem = guest(&b->rig, addr, SLOT_SIZE);
    memset(mem, 0xa5, SLOT_SIZE);
    memcpy(mem, &hdr, sizeof(hdr));
    mem[SLOT_STATUS] = 0xff;
    if (write) {
        for (i = 0; i < len; i++) {
            want[i] = want[i] * 5 + b->count + 1;
        }
        memcpy(mem + SLOT_DATA, want, len);
    }

    part[n++] = (typeof(part[0])) { addr, sizeof(hdr), false };
    if (sectors > 1) {
        part[n++] = (typeof(part[0])) { addr + SLOT_DATA, SECTOR, !write };
        part[n++] = (typeof(part[0])) { addr + SLOT_DATA + SECTOR,
                                        len - SECTOR, !write };
    } else {
        part[n++] = (typeof(part[0])) { addr + SLOT_DATA, len, !write };
    }
    part[n++] = (typeof(part[0])) { addr + SLOT_STATUS, 1, true };

    if (b->count % 5 == 4) {
        r->table = qvring_indirect_desc_setup(qts, b->rig.vdev, &b->rig.alloc,
                                              n);
    }
    for (i = 0; i < n; i++) {
        if (r->table) {
            qvring_indirect_desc_add(b->rig.vdev, qts, r->table, part[i].addr,
                                     part[i].len, part[i].write);
        } else {
            r->id = qvirtqueue_add(qts, b->vq, part[i].addr, part[i].len,
                                   part[i].write, i < n - 1);
        }
    }
    if (r->table) {
        r->id = qvirtqueue_add_indirect(qts, b->vq, r->table);
    }
    qvring_publish(qts, b->vq, r->id);
    b->count++;
}

static void blk_kick(Blk *b)
{
    g_assert_true(qvring_notify(b->rig.qts, b->vq));
}

static void request_free(Blk *b, Request *r)
{
    if (r->table) {
        guest_free(&b->rig.alloc, r->table->desc);
        g_free(r->table);
    }
    memset(r, 0, sizeof(*r));
}

/* Take requests that came back and check them; returns how many */
static unsigned blk_reap(Blk *b)
{
    unsigned n, slot;
    uint32_t id, len;

    for (n = 0; qvring_get(b->rig.qts, b->vq, &id, &len); n++) {
        const uint8_t *want, *mem;
        Request *r;

        for (slot = 0; slot < SLOTS; slot++) {
            if (b->req[slot].busy && b->req[slot].id == id) {
                break;
            }
        }
        g_assert_cmpuint(slot, <, SLOTS);
        r = &b->req[slot];
        want = b->model + r->sector * SECTOR;
        mem = guest(&b->rig, b->mem + slot * SLOT_SIZE, SLOT_SIZE);
        g_assert_cmpuint(mem[SLOT_STATUS], ==, VIRTIO_BLK_S_OK);
        g_assert_cmpuint(len, ==, 1 + (r->write ? 0 : r->sectors * SECTOR));
        g_assert_cmpmem(r->write ? b->disk + r->sector * SECTOR
                                 : mem + SLOT_DATA, r->sectors * SECTOR,
                        want, r->sectors * SECTOR);
        request_free(b, r);
    }
    return n;
}

/* Wait for @n requests to come back, all that are in flight, and no more */
static void blk_finish(Blk *b, unsigned n)
{
    unsigned done = 0;
    gint64 start = 0;

    g_assert_cmpuint(qvring_in_flight(b->vq), ==, n);
    while ((done += blk_reap(b)) < n) {
        wait_a_little(&start, "virtio-blk");
    }
    qvring_check_idle(b->rig.qts, b->vq);
}

/* Traffic: @n requests that work, up to SLOTS at once */
static void blk_run(Blk *b, unsigned n)
{
    while (n) {
        unsigned i, burst = MIN(n, 1 + b->count % SLOTS);

        for (i = 0; i < burst; i++) {
            blk_add(b, 8 + 8 * (b->count % 256), 1 + b->count % MAX_SECTORS,
                    b->count % 3);
        }
        blk_kick(b);
        blk_finish(b, burst);
        n -= burst;
    }
}

/* Several laps of the ring, so that whatever is off by one meets something */
#define MANY            (8 * QUEUE_SIZE)

/* A batch of SLOTS requests and the one that is bad (or two that are) */
typedef struct Batch {
    const char *name;
    int bad[2];         /* requests, the second may be -1 */
    int merged;         /* the first of 3 that QEMU merges to one, or -1 */
    int first_kept;     /* the first request that stays in flight */
    int kept;           /* how many fail */
} Batch;

static const Batch batches[] = {
    { "first", { 0, -1 }, -1, 0, 1 },
    { "third", { 2, -1 }, -1, 2, 1 },
    { "last", { SLOTS - 1, -1 }, -1, SLOTS - 1, 1 },
    { "two", { 1, 6 }, -1, 1, 2 },
    { "merged", { 4, -1 }, 3, 3, 3 },
};

enum { FIRST, THIRD, LAST, TWO, MERGED };

/* Sectors are far from each other, but for those to be merged */
static uint64_t batch_sector(const Batch *batch, int i)
{
    if (batch->merged >= 0 && i > batch->merged && i < batch->merged + 3) {
        return BATCH_SECTOR + 16 * batch->merged + 2 * (i - batch->merged);
    }
    return BATCH_SECTOR + 16 * i;
}

static void batch_bad(const Batch *batch, uint64_t *bad)
{
    bad[0] = batch_sector(batch, batch->bad[0]) + 1;
    bad[1] = batch->bad[1] < 0 ? 0 : batch_sector(batch, batch->bad[1]) + 1;
    bad[2] = 0;
}

/* How many requests of a stopped batch come back at once */
static unsigned batch_returned(const Batch *batch, const Mode *mode)
{
    return mode->in_order ? batch->first_kept : SLOTS - batch->kept;
}

/* Submit a batch, and wait until it has stopped the VM */
static void blk_batch(Blk *b, const Batch *batch)
{
    unsigned i, returned = batch_returned(batch, b->rig.mode);

    for (i = 0; i < SLOTS; i++) {
        bool merge = batch->merged >= 0 && i >= batch->merged &&
                     i < batch->merged + 3;

        blk_add(b, batch_sector(batch, i), merge || i % 3 == 0 ? 2 : 4,
                !merge && i % 2);
    }
    blk_kick(b);
    wait_for_io_error(&b->rig);
    /* The others are done; in order, those behind are held back */
    g_assert_cmpuint(blk_reap(b), ==, returned);
}

/* Let the requests that the last QEMU left go on, and see that all come back */
static void blk_resume(Blk *b, const Batch *batch)
{
    unsigned rest = SLOTS - batch_returned(batch, b->rig.mode);

    /* Nothing happens in a VM that is stopped */
    g_assert_cmpuint(blk_reap(b), ==, 0);
    b->rig.vdev->bus->get_queue_isr_status(b->rig.vdev, b->vq);
    cont(&b->rig);
    blk_finish(b, rest);
    /* The driver would have slept: it has to be told */
    g_assert_true(b->rig.vdev->bus->get_queue_isr_status(b->rig.vdev, b->vq));
}

typedef struct BlkCase {
    const Mode *mode;
    const Batch *batch;
} BlkCase;

/*
 * A batch with a bad sector, to a QEMU where the sector is good.  Without the
 * order in the stream, requests that were done and held back never return;
 * with elements read wrongly, the failed ones go to wrong memory or nowhere.
 */
static void test_blk(const void *opaque)
{
    const BlkCase *c = opaque;
    const Mode *mode = c->mode;
    const Batch *batch = c->batch;
    g_autofree char *args = NULL;
    uint64_t bad[3];
    Blk b;

    batch_bad(batch, bad);
    blk_init(&b, mode, bad, false, NULL);
    blk_run(&b, g_test_rand_int_range(5, 2 * QUEUE_SIZE));
    blk_batch(&b, batch);
    args = blk_args(&b, mode, NULL, false);
    rig_move(&b.rig, args, true);
    blk_resume(&b, batch);
    blk_run(&b, MANY);
    blk_cleanup(&b);
}

/*
 * There and back again.  The sector is still bad at the first destination, so
 * that a request which came from a stream goes into the next one; the QEMU
 * after that has a batch of its own.  Whatever a destination forgets to set up
 * as if the request were its own shows at the hop after it.
 */
static void test_blk_hops(const void *opaque)
{
    const Mode *mode = opaque;
    const Batch *two = &batches[TWO], *third = &batches[THIRD];
    g_autofree char *args_two = NULL;
    g_autofree char *args_third = NULL;
    g_autofree char *args = NULL;
    uint64_t bad[3];
    Blk b;

    batch_bad(two, bad);
    blk_init(&b, mode, bad, false, NULL);
    args_two = blk_args(&b, mode, bad, false);
    batch_bad(third, bad);
    args_third = blk_args(&b, mode, bad, false);
    args = blk_args(&b, mode, NULL, false);

    blk_run(&b, g_test_rand_int_range(5, 2 * QUEUE_SIZE));
    blk_batch(&b, two);
    rig_move(&b.rig, args_two, true);
    cont(&b.rig);
    wait_for_io_error(&b.rig);
    g_assert_cmpuint(blk_reap(&b), ==, 0);

    rig_move(&b.rig, args_third, true);
    blk_resume(&b, two);
    blk_run(&b, 20);
    blk_batch(&b, third);

    rig_move(&b.rig, args, true);
    blk_resume(&b, third);
    blk_run(&b, MANY);
    blk_cleanup(&b);
}

/*
 * With nothing in flight there is no order to migrate, but the positions in
 * the rings: if one of them were wrong, the first request after it would show.
 */
static void test_blk_idle(const void *opaque)
{
    const Mode *mode = opaque;
    g_autofree char *args = NULL;
    unsigned i;
    Blk b;

    blk_init(&b, mode, NULL, false, NULL);
    args = blk_args(&b, mode, NULL, false);
    for (i = 0; i < 2; i++) {
        blk_run(&b, g_test_rand_int_range(5, 2 * QUEUE_SIZE));
        rig_move(&b.rig, args, false);
    }
    blk_run(&b, MANY);
    blk_cleanup(&b);
}

static void run_job(QTestState *qts, const char *command)
{
    gint64 start = 0;
    bool done = false;

    qtest_qmp_assert_success(qts, "{ 'execute': %s, 'arguments': { "
                             "'job-id': 'job0', 'tag': 'tag0', "
                             "'vmstate': 'snap0', 'devices': [ 'snap0' ] } }",
                             command);
    while (!done) {
        QDict *rsp = qtest_qmp(qts, "{ 'execute': 'query-jobs' }");
        const QListEntry *e = qlist_first(qdict_get_qlist(rsp, "return"));
        QDict *job = qobject_to(QDict, qlist_entry_obj(e));

        g_assert_cmpstr(qdict_get_try_str(job, "error"), ==, NULL);
        done = !strcmp(qdict_get_str(job, "status"), "concluded");
        qobject_unref(rsp);
        wait_a_little(&start, command);
    }
    qtest_qmp_assert_success(qts, "{ 'execute': 'job-dismiss', "
                             "'arguments': { 'id': 'job0' } }");
}

/*
 * A snapshot with requests in flight, loaded into the same QEMU after they
 * were done: if what the device holds were added to what it held before, or
 * the old order survived, requests would return twice or not at all.
 */
static void test_blk_snapshot(const void *opaque)
{
    const Mode *mode = opaque;
    const Batch *batch = &batches[TWO];
    g_autofree char *extra = NULL;
    g_autofree char *path = NULL;
    uint64_t bad[3];
    gint64 start = 0;
    unsigned i;
    int fd;
    Blk b;

    if (!have_qemu_img()) {
        g_test_skip("QTEST_QEMU_IMG is not set to a qemu-img");
        return;
    }
    fd = shared_file("snapshot", 0);
    path = g_strdup_printf("/proc/%d/fd/%d", getpid(), fd);
    mkimg(path, "qcow2", 16);
    extra = g_strdup_printf("-blockdev driver=file,node-name=snapfile0,"
                            "locking=off,filename=/proc/self/fd/%d "
                            "-blockdev driver=qcow2,node-name=snap0,"
                            "file=snapfile0", fd);

    batch_bad(batch, bad);
    blk_init(&b, mode, bad, true, extra);
    blk_run(&b, g_test_rand_int_range(5, 2 * QUEUE_SIZE));
    blk_batch(&b, batch);
    run_job(b.rig.qts, "snapshot-save");

    /* They are done, but the driver does not look: it is to forget this */
    cont(&b.rig);
    for (i = 0; i < SLOTS; i++) {
        uint8_t *mem = guest(&b.rig, b.mem + i * SLOT_SIZE, SLOT_SIZE);

        while (b.req[i].busy && qatomic_read(&mem[SLOT_STATUS]) == 0xff) {
            wait_a_little(&start, "virtio-blk");
        }
    }
    qtest_qmp_assert_success(b.rig.qts, "{ 'execute': 'stop' }");
    run_job(b.rig.qts, "snapshot-load");
    blk_resume(&b, batch);
    blk_run(&b, MANY);
    blk_cleanup(&b);
    close(fd);
}

/* Damaged streams */

/* The subsection's layout: version, queues, and of the first queue the rest */
#define AT_VERSION      0
#define AT_QUEUES       4
#define AT_COUNT        6
#define AT_BUFFER(i)    (10 + 9 * (i))
#define AT_ID(i)        AT_BUFFER(i)
#define AT_NDESCS(i)    (AT_BUFFER(i) + 2)
#define AT_LEN(i)       (AT_BUFFER(i) + 4)
#define AT_FLAGS(i)     (AT_BUFFER(i) + 8)

#define KEPT            6       /* in flight of batch "third" */

typedef struct Damage {
    unsigned at;
    unsigned bytes;     /* to overwrite; 0: the stream ends here */
#define MOVE 3          /* two bytes become 0, and the next buffer gets them */
    uint32_t value;
    bool taken;         /* makes sense, if not the right one */
} Damage;

static const Damage damages[] = {
    { AT_VERSION, 4, 0 },
    { AT_VERSION, 4, 2 },
    { AT_VERSION, 4, UINT32_MAX },
    { AT_QUEUES, 2, 0 },
    { AT_QUEUES, 2, 2 },
    { AT_QUEUES, 2, 1025 },
    { AT_QUEUES, 2, UINT16_MAX },
    { AT_COUNT, 4, 0 },
    { AT_COUNT, 4, KEPT - 1 },
    { AT_COUNT, 4, KEPT + 1 },
    { AT_COUNT, 4, QUEUE_SIZE },
    { AT_COUNT, 4, QUEUE_SIZE + 1 },
    { AT_COUNT, 4, INT32_MAX },
    { AT_COUNT, 4, UINT32_MAX },
    { AT_NDESCS(0), 2, 0 },
    { AT_NDESCS(0), 2, 5 },
    { AT_NDESCS(0), 2, QUEUE_SIZE + 1 },
    { AT_NDESCS(0), 2, UINT16_MAX },
    { AT_NDESCS(KEPT - 1), 2, 0 },
    { AT_NDESCS(KEPT - 1), 2, UINT16_MAX },
    { AT_NDESCS(0), MOVE },
    { AT_FLAGS(0), 1, 0x04 },
    { AT_FLAGS(KEPT - 1), 1, 0x80 },
    { AT_FLAGS(KEPT - 1), 1, 0xff },
    { AT_VERSION, 0 },
    { AT_QUEUES + 1, 0 },
    { AT_COUNT + 2, 0 },
    { AT_ID(0), 0 },
    { AT_LEN(3), 0 },
    { AT_FLAGS(KEPT - 1), 0 },
    { AT_BUFFER(KEPT), 0 },
    /* From here on it is the device that has to live with it */
    { AT_ID(0), 2, UINT16_MAX, true },
    { AT_ID(1), 2, UINT16_MAX, true },
    { AT_LEN(0), 4, UINT32_MAX, true },
    { AT_LEN(1), 4, UINT32_MAX, true },
    { AT_FLAGS(0), 1, 0x01, true },
    { AT_FLAGS(0), 1, 0x02, true },
    { AT_FLAGS(1), 1, 0x00, true },
    { AT_FLAGS(1), 1, 0x03, true },
};

/*
 * A stream that QEMU has to refuse: it ends with a message and status 1.  Dead
 * from a signal, or alive, it would fail here.
 */
static void expect_refusal(const char *args, const GByteArray *stream,
                           const char *what)
{
    g_autofree char *all = NULL;
    char msg[4096] = "";
    int fd = shared_file("messages", 0);
    gint64 start = 0;
    Rig rig = { 0 };

    all = g_strdup_printf("-incoming defer %s 2>/proc/self/fd/%d", args, fd);
    rig_start(&rig, all);
    qtest_set_expected_status(rig.qts, EXIT_FAILURE);
    stream_offer(rig.qts, stream);
    while (qtest_probe_child(rig.qts)) {
        wait_a_little(&start, what);
    }
    qtest_quit(rig.qts);
    g_assert_cmpint(pread(fd, msg, sizeof(msg) - 1, 0), >, 0);
    g_test_message("%s: %s", what, msg);
    g_assert_nonnull(strstr(msg, "load of migration failed"));
    munmap(rig.ram.host, RAM_SIZE);
    close(fd);
}

/*
 * A stream that is well formed but wrong: QEMU lives, and the driver can reset
 * the device and go on.
 */
static void expect_survival(Blk *b, const char *args, const GByteArray *stream)
{
    unsigned i;

    rig_load(&b->rig, args, stream, 0);
    cont(&b->rig);
    qtest_qmp_assert_success(b->rig.qts, "{ 'execute': 'query-status' }");
    qvirtio_reset(b->rig.vdev);
    queue_free(&b->rig, b->vq);
    for (i = 0; i < SLOTS; i++) {
        request_free(b, &b->req[i]);
    }
    rig_negotiate(&b->rig);
    blk_start(b);
    /* Whether a write took place is open */
    memcpy(b->model, b->disk, DISK_SIZE);
    blk_run(b, QUEUE_SIZE);
}

/*
 * What the stream says is not taken on trust.  First see that it says what it
 * has to, then let it lie.
 */
static void test_damage(const void *opaque)
{
    const Mode *mode = opaque;
    const Mode off = { "off", mode->packed, false };
    const Batch *batch = &batches[THIRD];
    g_autoptr(GByteArray) stream = NULL;
    g_autoptr(GByteArray) copy = g_byte_array_new();
    g_autofree char *args_off = NULL;
    g_autofree char *args = NULL;
    uint32_t ids[SLOTS];
    uint64_t bad[3];
    uint8_t *p;
    size_t at, i;
    Blk b;

    batch_bad(batch, bad);
    blk_init(&b, mode, bad, false, NULL);
    args = blk_args(&b, mode, NULL, false);
    args_off = blk_args(&b, &off, NULL, false);
    blk_run(&b, 7);
    blk_batch(&b, batch);
    for (i = 0; i < SLOTS; i++) {
        ids[i] = b.req[i].id;
    }
    stream = rig_save(&b.rig);

    at = stream_find(stream, MARKER);
    g_assert_cmpuint(at, >, 0);
    p = stream->data + at;
    g_assert_cmpuint(ldl_be_p(p + AT_VERSION), ==, 1);
    g_assert_cmpuint(lduw_be_p(p + AT_QUEUES), ==, 1);
    g_assert_cmpuint(ldl_be_p(p + AT_COUNT), ==, KEPT);
    for (i = 0; i < KEPT; i++) {
        g_assert_cmpuint(lduw_be_p(p + AT_ID(i)), ==,
                         ids[i + batch->first_kept]);
        g_assert_cmphex(p[AT_FLAGS(i)], ==, i ? 0x02 : 0);
    }

    expect_refusal(args_off, stream, "to a device without in_order");
    for (i = 0; i < ARRAY_SIZE(damages); i++) {
        const Damage *d = &damages[i];
        g_autofree char *what = g_strdup_printf("%u bytes at %u: 0x%x",
                                                d->bytes, d->at, d->value);

        g_test_message("%s", what);
        g_byte_array_set_size(copy, 0);
        g_byte_array_append(copy, stream->data, stream->len);
        p = copy->data + at + d->at;
        switch (d->bytes) {
        case 0:
            g_byte_array_set_size(copy, at + d->at);
            break;
        case 1:
            stb_p(p, d->value);
            break;
        case 2:
            stw_be_p(p, d->value);
            break;
        case MOVE:
            stw_be_p(p + 9, lduw_be_p(p + 9) + lduw_be_p(p));
            stw_be_p(p, 0);
            break;
        default:
            stl_be_p(p, d->value);
            break;
        }
        if (d->taken) {
            expect_survival(&b, args, copy);
        } else {
            expect_refusal(args, copy, what);
        }
    }
    blk_cleanup(&b);
}

/* virtio-serial: a peer that does not read keeps a buffer half sent */

#define SER_QUEUE       5       /* transmit queue of port 1 */
#define SER_BUFFERS     (QUEUE_SIZE / 2)
#define SER_LEN         4096    /* bytes of a buffer, in two pieces */

typedef struct Ser {
    Rig rig;
    QVirtQueue *vq;
    uint64_t mem;
    uint32_t ids[SER_BUFFERS];
    unsigned count;             /* buffers so far */
    unsigned returned;
    uint64_t received;          /* bytes that the peers got */
    int fd;                     /* the peer's socket */
} Ser;

static uint8_t ser_byte(uint64_t pos)
{
    return (pos * 2654435761u) >> 16;
}

/* A port with a peer that has little room; *@fd becomes the peer's end */
static char *ser_args(const Mode *mode, int *fd, int *qemu_fd)
{
    g_autofree char *props = mode_props(mode);
    int room = 4096;

    *fd = socket_pair(qemu_fd);
    g_unix_set_fd_nonblocking(*fd, true, NULL);
    g_assert_cmpint(setsockopt(*qemu_fd, SOL_SOCKET, SO_SNDBUF, &room,
                               sizeof(room)), ==, 0);
    return g_strdup_printf("-chardev socket,id=peer0,fd=%d "
                           "-device virtio-serial-pci,id=ser0,max_ports=2,%s "
                           "-device virtserialport,bus=ser0.0,nr=1,"
                           "chardev=peer0", *qemu_fd, props);
}

/* Make @n buffers available at once */
static void ser_send(Ser *s, unsigned n)
{
    QTestState *qts = s->rig.qts;
    unsigned i, j;

    for (i = 0; i < n; i++) {
        unsigned slot = s->count % SER_BUFFERS;
        uint64_t addr = s->mem + slot * SER_LEN;
        uint8_t *mem = guest(&s->rig, addr, SER_LEN);

        g_assert_cmpuint(s->count - s->returned, <, SER_BUFFERS);
        for (j = 0; j < SER_LEN; j++) {
            mem[j] = ser_byte((uint64_t)s->count * SER_LEN + j);
        }
        s->ids[slot] = qvirtqueue_add(qts, s->vq, addr, 1000, false, true);
        qvirtqueue_add(qts, s->vq, addr + 1000, SER_LEN - 1000, false, false);
        qvring_publish(qts, s->vq, s->ids[slot]);
        s->count++;
    }
    qvring_notify(qts, s->vq);
}

/* One port sends one after the other, even without having promised it */
static void ser_reap(Ser *s)
{
    uint32_t id, len;

    while (qvring_get(s->rig.qts, s->vq, &id, &len)) {
        g_assert_cmpuint(id, ==, s->ids[s->returned % SER_BUFFERS]);
        g_assert_cmpuint(len, ==, 0);
        s->returned++;
    }
}

/* Returns: false at the end of the file */
static bool ser_receive(Ser *s)
{
    uint8_t buf[SER_LEN];
    ssize_t n, i;

    while ((n = read(s->fd, buf, sizeof(buf))) > 0) {
        for (i = 0; i < n; i++) {
            g_assert_cmphex(buf[i], ==, ser_byte(s->received++));
        }
    }
    return n < 0 && errno == EAGAIN;
}

/* Read until everything has come back and has arrived, and nothing more */
static void ser_finish(Ser *s)
{
    gint64 start = 0;

    while (s->returned < s->count ||
           s->received < (uint64_t)s->count * SER_LEN) {
        g_assert_true(ser_receive(s));
        ser_reap(s);
        wait_a_little(&start, "virtio-serial");
    }
    qvring_check_idle(s->rig.qts, s->vq);
    g_assert_true(ser_receive(s));
    g_assert_cmpuint(s->received, ==, (uint64_t)s->count * SER_LEN);
}

static void ser_migrate(const Mode *mode, bool slowly)
{
    g_autoptr(GByteArray) stream = NULL;
    g_autofree char *args = NULL;
    g_autofree char *args2 = NULL;
    int fd2, qemu_fd;
    size_t pause = 0;
    Ser s = { 0 };
    unsigned i;

    args = ser_args(mode, &s.fd, &qemu_fd);
    rig_init(&s.rig, mode, args);
    close(qemu_fd);
    s.mem = guest_alloc(&s.rig.alloc, SER_BUFFERS * SER_LEN);
    s.vq = queue_setup(&s.rig, SER_QUEUE, QUEUE_SIZE);
    qvirtio_set_driver_ok(s.rig.vdev);
    for (i = 0; i < 3; i++) {
        ser_send(&s, 7);
        ser_finish(&s);
    }

    /* The kick has done all that could be done: one buffer is half sent */
    ser_send(&s, SER_BUFFERS);
    ser_reap(&s);
    g_assert_cmpuint(qvring_in_flight(s.vq), >, 2);
    stream = rig_save(&s.rig);
    g_assert_cmpint(!!stream_find(stream, MARKER), ==, mode->in_order);
    if (slowly) {
        pause = stream_find(stream, "virtio/started");
        g_assert_cmpuint(pause, >, 0);
    }

    args2 = ser_args(mode, &fd2, &qemu_fd);
    rig_load(&s.rig, args2, stream, pause);
    close(qemu_fd);
    /* The port goes on in a timer, which runs when the VM does */
    qtest_clock_step(s.rig.qts, 1000);
    /* What the first QEMU sent, up to the end; the second has the rest */
    g_assert_false(ser_receive(&s));
    close(s.fd);
    s.fd = fd2;
    ser_finish(&s);
    for (i = 0; i < 10; i++) {
        ser_send(&s, SER_BUFFERS);
        ser_finish(&s);
    }
    queue_free(&s.rig, s.vq);
    rig_cleanup(&s.rig);
    close(s.fd);
}

/*
 * A buffer half sent and others behind it, not yet taken: bytes would be lost
 * or doubled if the position in the buffer were, and in order the port would
 * stop if the buffer did not find its place.
 */
static void test_serial(const void *opaque)
{
    ser_migrate(opaque, false);
}

/*
 * The same with a stream that pauses between the port's buffer and the state
 * of the queues.  A port that starts to send before it has that would return
 * the buffer to a queue that knows neither its features nor its order.
 */
static void test_serial_slow(const void *opaque)
{
    ser_migrate(opaque, true);
}

/* virtio-balloon: the device always keeps the buffer with the statistics */

enum { BALLOON_INFLATE, BALLOON_DEFLATE, BALLOON_STATS, BALLOON_QUEUES };

typedef struct Balloon {
    Rig rig;
    QVirtQueue *vq[BALLOON_QUEUES];
    uint64_t mem;
    uint64_t pages;
} Balloon;

#define BALLOON_TIMER   2000000000     /* nanoseconds, the interval and more */
#define BALLOON_STAT    10      /* bytes of a statistics entry */
#define BALLOON_PAGES   16

/*
 * Put a report into the statistics queue: two pieces, except where the device
 * takes a packed buffer back by the number of buffers.
 */
static void balloon_report(Balloon *b, uint64_t value)
{
    const Mode *mode = b->rig.mode;
    QTestState *qts = b->rig.qts;
    QVirtQueue *vq = b->vq[BALLOON_STATS];
    bool two = mode->in_order || !mode->packed;
    uint8_t *p = guest(&b->rig, b->mem, 2 * BALLOON_STAT);
    uint32_t id;

    stw_le_p(p, VIRTIO_BALLOON_S_MEMFREE);
    stq_le_p(p + 2, value);
    stw_le_p(p + BALLOON_STAT, VIRTIO_BALLOON_S_MEMTOT);
    stq_le_p(p + BALLOON_STAT + 2, value + 1);
    if (two) {
        id = qvirtqueue_add(qts, vq, b->mem, BALLOON_STAT, false, true);
        qvirtqueue_add(qts, vq, b->mem + BALLOON_STAT, BALLOON_STAT, false,
                       false);
    } else {
        id = qvirtqueue_add(qts, vq, b->mem, 2 * BALLOON_STAT, false, false);
    }
    qvring_publish(qts, vq, id);
    g_assert_true(qvring_notify(qts, vq));
    g_assert_false(qvring_get(qts, vq, NULL, NULL));
}

/* The device has read a report */
static void balloon_expect(Balloon *b, uint64_t value)
{
    QDict *rsp, *stats;

    rsp = qtest_qmp(b->rig.qts, "{ 'execute': 'qom-get', 'arguments': { "
                    "'path': '/machine/peripheral/balloon0', "
                    "'property': 'guest-stats' } }");
    stats = qdict_get_qdict(qdict_get_qdict(rsp, "return"), "stats");
    g_assert_cmpint(qdict_get_int(stats, "stat-free-memory"), ==, value);
    g_assert_cmpint(qdict_get_int(stats, "stat-total-memory"), ==, value + 1);
    qobject_unref(rsp);
}

/* Ask for reports: the timer returns the buffer that the device keeps */
static void balloon_poll(Balloon *b, uint64_t value)
{
    QVirtQueue *vq = b->vq[BALLOON_STATS];
    QTestState *qts = b->rig.qts;
    uint32_t len;
    unsigned i;

    qtest_qmp_assert_success(qts, "{ 'execute': 'qom-set', 'arguments': { "
                             "'path': '/machine/peripheral/balloon0', "
                             "'property': 'guest-stats-polling-interval', "
                             "'value': 1 } }");
    /* More than the ring has, so that it wraps */
    for (i = 0; i < 2 * QUEUE_SIZE; i++) {
        qtest_clock_step(qts, BALLOON_TIMER);
        g_assert_true(qvring_get(qts, vq, NULL, &len));
        g_assert_cmpuint(len, ==, 0);
        qvring_check_idle(qts, vq);
        balloon_report(b, value + i);
    }
    balloon_expect(b, value + i - 1);
}

/* Inflate or deflate: these buffers return at once */
static void balloon_pages(Balloon *b, int queue)
{
    QVirtQueue *vq = b->vq[queue];
    uint64_t addr = b->mem + 1024;
    uint8_t *p = guest(&b->rig, addr, 4 * BALLOON_PAGES);
    unsigned i, n;

    for (n = 0; n < QUEUE_SIZE; n++) {
        for (i = 0; i < BALLOON_PAGES; i++) {
            stl_le_p(p + 4 * i, (b->pages >> 12) + i);
        }
        qvring_publish(b->rig.qts, vq,
                       qvirtqueue_add(b->rig.qts, vq, addr, 4 * BALLOON_PAGES,
                                      false, false));
        g_assert_true(qvring_notify(b->rig.qts, vq));
        g_assert_true(qvring_get(b->rig.qts, vq, NULL, NULL));
        qvring_check_idle(b->rig.qts, vq);
    }
}

/*
 * The statistics buffer is in flight, but not in the stream: the destination
 * takes it from the ring again.  In order it has to take it out of the order
 * as well, or the ring would have two where the driver put one, and the queue
 * would stop.  Twice, for a buffer that the destination took itself.
 */
static void test_balloon(const void *opaque)
{
    const Mode *mode = opaque;
    g_autofree char *props = mode_props(mode);
    g_autofree char *args = g_strdup_printf("-device virtio-balloon-pci,"
                                            "id=balloon0,%s", props);
    Balloon b = { 0 };
    unsigned i;

    rig_init(&b.rig, mode, args);
    b.mem = guest_alloc(&b.rig.alloc, 4096);
    b.pages = guest_alloc(&b.rig.alloc, BALLOON_PAGES * 4096);
    for (i = 0; i < BALLOON_QUEUES; i++) {
        b.vq[i] = queue_setup(&b.rig, i, QUEUE_SIZE);
    }
    qvirtio_set_driver_ok(b.rig.vdev);

    balloon_pages(&b, BALLOON_INFLATE);
    balloon_report(&b, 1000);
    balloon_expect(&b, 1000);
    balloon_poll(&b, 2000);
    for (i = 0; i < 2; i++) {
        rig_move(&b.rig, args, true);
        balloon_expect(&b, i ? 4000 + 2 * QUEUE_SIZE - 1
                             : 2000 + 2 * QUEUE_SIZE - 1);
        balloon_pages(&b, BALLOON_DEFLATE);
        balloon_pages(&b, BALLOON_INFLATE);
        balloon_poll(&b, 4000);
    }
    for (i = 0; i < BALLOON_QUEUES; i++) {
        queue_free(&b.rig, b.vq[i]);
    }
    rig_cleanup(&b.rig);
}

/* Each case has its time */

typedef struct Test {
    void (*func)(const void *opaque);
    BlkCase blk;
    const void *opaque;
} Test;

static void run(const void *opaque)
{
    const Test *t = opaque;

    alarm(CASE_SECONDS);
    t->func(t->opaque);
    alarm(0);
}

static void add(const Mode *mode, const char *name, const Batch *batch,
                void (*func)(const void *opaque))
{
    g_autofree char *path = g_strdup_printf("virtio-in-order-migration/%s/%s%s",
                                            mode->name, name,
                                            batch ? batch->name : "");
    Test *t = g_new0(Test, 1);

    t->func = func;
    t->blk = (BlkCase) { mode, batch };
    t->opaque = batch ? (const void *)&t->blk : mode;
    qtest_add_data_func_full(path, t, run, g_free);
}

int main(int argc, char **argv)
{
    struct sigaction action = { .sa_handler = on_alarm };
    unsigned i, j;

    g_test_init(&argc, &argv, NULL);
    g_assert_cmpint(sigaction(SIGALRM, &action, NULL), ==, 0);

    for (i = 0; i < MODE_COUNT; i++) {
        const Mode *mode = &modes[i];

        for (j = 0; j < ARRAY_SIZE(batches); j++) {
            add(mode, "blk/", &batches[j], test_blk);
        }
        add(mode, "blk/hops", NULL, test_blk_hops);
        add(mode, "blk/idle", NULL, test_blk_idle);
        add(mode, "blk/snapshot", NULL, test_blk_snapshot);
        if (mode->in_order) {
            add(mode, "damage", NULL, test_damage);
        }
        add(mode, "serial", NULL, test_serial);
        add(mode, "serial-slow", NULL, test_serial_slow);
        add(mode, "balloon", NULL, test_balloon);
    }
    return g_test_run();
}
