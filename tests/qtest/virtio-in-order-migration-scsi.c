/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: migrate virtio-scsi with requests in flight
 *
 * Two disks behind one queue or several; requests that fail stop the VM and
 * stay in flight.  They are in the stream of their disk, which comes after the
 * host adapter's, where the queues and their order are.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "virtio-in-order-migration-cases.h"
#include "standard-headers/linux/virtio_scsi.h"

#define DISK_SIZE       (1 * MiB)
#define SECTOR          512
#define LUNS            2
#define SLOTS           8
#define FIRST_QUEUE     2       /* of those for commands */
#define QUEUES          2       /* at most */
#define DATA_LEN        (4 * SECTOR)

#define TEST_UNIT_READY 0x00
#define READ_10         0x28
#define WRITE_10        0x2a

#define GOOD            0x00

typedef struct Request {
    bool busy;
    uint8_t op;
    unsigned queue;
    unsigned lun;
    uint32_t sector;
    uint32_t id;
    bool any_status;            /* is not to be checked */
} Request;

/* A piece of guest memory for each request */
typedef struct Slot {
    struct virtio_scsi_cmd_req req;
    struct virtio_scsi_cmd_resp resp;
    uint8_t data[DATA_LEN];
} Slot;

typedef struct Scsi {
    MigRig rig;
    unsigned queues;
    const char *extra;
    QVirtQueue *vq[QUEUES];
    uint64_t mem;
    Request req[SLOTS];
    unsigned count;
    int disk_fd[LUNS];
    uint8_t *disk[LUNS];
    uint8_t *model[LUNS];
} Scsi;

/* A bad sector of a disk */
typedef struct Bad {
    unsigned lun;
    uint32_t sector;            /* 0: there is none */
} Bad;

static char *scsi_args(const Scsi *s, const Mode *mode, const Bad *bad,
                       bool once)
{
    g_autofree char *props = mig_props(mode);
    GString *str = g_string_new(NULL);
    unsigned i, n, lun;

    g_string_printf(str, "-device virtio-scsi-pci,id=scsi0,num_queues=%u,"
                    "virtqueue_size=%d,%s", s->queues, MIG_QUEUE_SIZE, props);
    for (lun = 0; lun < LUNS; lun++) {
        g_string_append_printf(str, " -blockdev driver=file,node-name=file%u,"
                               "locking=off,filename=/proc/self/fd/%d "
                               "-blockdev driver=blkdebug,node-name=debug%u,"
                               "image=file%u", lun, s->disk_fd[lun], lun, lun);
        for (i = 0, n = 0; bad && bad[i].sector; i++) {
            if (bad[i].lun == lun) {
                g_string_append_printf(str, ",inject-error.%u.event=none,"
                                       "inject-error.%u.once=%s,"
                                       "inject-error.%u.sector=%" PRIu32, n,
                                       n, once ? "on" : "off", n,
                                       bad[i].sector);
                n++;
            }
        }
        g_string_append_printf(str, " -blockdev driver=raw,node-name=disk%u,"
                               "file=debug%u -device scsi-hd,bus=scsi0.0,"
                               "drive=disk%u,scsi-id=1,lun=%u,rerror=stop,"
                               "werror=stop", lun, lun, lun, lun);
    }
    if (s->extra) {
        g_string_append_printf(str, " %s", s->extra);
    }
    return g_string_free(str, false);
}

/* Add a command, not yet known to the device; returns it */
static Request *scsi_add(Scsi *s, unsigned queue, unsigned lun, uint8_t op,
                         uint32_t sector)
{
    QTestState *qts = s->rig.qts;
    QVirtQueue *vq = s->vq[queue];
    bool write = op == WRITE_10, read = op == READ_10;
    unsigned slot, i;
    uint64_t addr;
    Request *r;
    Slot *mem;

    for (slot = 0; slot < SLOTS && s->req[slot].busy; slot++) {
        /* find a free one */
    }
    g_assert_cmpuint(slot, <, SLOTS);
    r = &s->req[slot];
    *r = (Request) { .busy = true, .op = op, .queue = queue, .lun = lun,
                     .sector = sector };
    addr = s->mem + slot * sizeof(Slot);
    mem = mig_guest(&s->rig, addr, sizeof(*mem));
    memset(mem, 0xa5, sizeof(*mem));
    mem->req = (struct virtio_scsi_cmd_req) {
        .lun = { 1, 1, 0x40, lun },
        .tag = cpu_to_le64(s->count),
        .cdb = { op, 0, sector >> 24, sector >> 16, sector >> 8, sector, 0, 0,
                 write || read ? DATA_LEN / SECTOR : 0 },
    };
    if (write) {
        uint8_t *want = s->model[lun] + sector * SECTOR;

        for (i = 0; i < DATA_LEN; i++) {
            want[i] = want[i] * 5 + s->count + 1;
        }
        memcpy(mem->data, want, DATA_LEN);
    }

    r->id = qvirtqueue_add(qts, vq, addr + offsetof(Slot, req),
                           sizeof(mem->req), false, true);
    if (write) {
        qvirtqueue_add(qts, vq, addr + offsetof(Slot, data), DATA_LEN, false,
                       true);
    }
    qvirtqueue_add(qts, vq, addr + offsetof(Slot, resp), sizeof(mem->resp),
                   true, read);
    if (read) {
        qvirtqueue_add(qts, vq, addr + offsetof(Slot, data), SECTOR, true,
                       true);
        qvirtqueue_add(qts, vq, addr + offsetof(Slot, data) + SECTOR,
                       DATA_LEN - SECTOR, true, false);
    }
    qvring_publish(qts, vq, r->id);
    s->count++;
    return r;
}

static void scsi_kick(Scsi *s)
{
    unsigned q;

    for (q = 0; q < s->queues; q++) {
        qvring_notify(s->rig.qts, s->vq[q]);
    }
}

/* A command came back */
static void scsi_check(Scsi *s, unsigned queue, uint32_t id, uint32_t len)
{
    unsigned slot;
    Request *r = NULL;
    Slot *mem;

    for (slot = 0; slot < SLOTS; slot++) {
        r = &s->req[slot];
        if (r->busy && r->queue == queue && r->id == id) {
            break;
        }
    }
    g_assert_cmpuint(slot, <, SLOTS);
    mem = mig_guest(&s->rig, s->mem + slot * sizeof(Slot), sizeof(Slot));
    g_assert_cmpuint(mem->resp.response, ==, VIRTIO_SCSI_S_OK);
    if (!r->any_status) {
        g_assert_cmphex(mem->resp.status, ==, GOOD);
    }
    /* The base counts what it has read as well */
    g_assert_cmpuint(len, ==, sizeof(mem->resp) +
                     (r->op == READ_10 || (r->op == WRITE_10 && s->rig.base)
                      ? DATA_LEN : 0));
    if (r->op == READ_10 || r->op == WRITE_10) {
        g_assert_cmpmem(r->op == READ_10 ? mem->data
                                         : s->disk[r->lun] + r->sector * SECTOR,
                        DATA_LEN, s->model[r->lun] + r->sector * SECTOR,
                        DATA_LEN);
    }
    r->busy = false;
}

static unsigned scsi_reap(Scsi *s)
{
    unsigned q, n = 0;
    uint32_t id, len;

    for (q = 0; q < s->queues; q++) {
        while (qvring_get(s->rig.qts, s->vq[q], &id, &len)) {
            scsi_check(s, q, id, len);
            n++;
        }
    }
    return n;
}

/* Wait for @n commands, all that are in flight */
static void scsi_finish(Scsi *s, unsigned n)
{
    unsigned q, done = 0;
    gint64 start = 0;

    while ((done += scsi_reap(s)) < n) {
        mig_wait(&start, "virtio-scsi");
    }
    for (q = 0; q < s->queues; q++) {
        qvring_check_idle(s->rig.qts, s->vq[q]);
    }
}

/* Traffic on good sectors, in bursts of various sizes */
static void scsi_run(Scsi *s, unsigned n)
{
    while (n) {
        unsigned i, burst = MIN(n, 1 + s->count % SLOTS);

        for (i = 0; i < burst; i++) {
            scsi_add(s, s->count % s->queues, s->count % 3 % LUNS,
                     s->count % 5 < 2 ? WRITE_10 : READ_10,
                     8 + 8 * (s->count % 64));
        }
        scsi_kick(s);
        scsi_finish(s, burst);
        n -= burst;
    }
}

static void scsi_init(Scsi *s, const Mode *mode, const Bad *bad, bool once)
{
    g_autofree char *args = NULL;
    unsigned i, lun, q;

    for (lun = 0; lun < LUNS; lun++) {
        s->disk_fd[lun] = shared_file("disk", DISK_SIZE);
        s->disk[lun] = shared_map(s->disk_fd[lun], DISK_SIZE);
        for (i = 0; i < DISK_SIZE; i += 4) {
            stl_le_p(s->disk[lun] + i, (i + lun) * 2654435761u);
        }
        s->model[lun] = g_memdup2(s->disk[lun], DISK_SIZE);
    }
    args = scsi_args(s, mode, bad, once);
    mig_init(&s->rig, mode, args);
    s->mem = guest_alloc(&s->rig.alloc, SLOTS * sizeof(Slot));
    for (q = 0; q < s->queues; q++) {
        s->vq[q] = mig_queue_setup(&s->rig, FIRST_QUEUE + q, MIG_QUEUE_SIZE);
    }
    qvirtio_set_driver_ok(s->rig.vdev);
    /* Each disk tells once that it was reset */
    for (lun = 0; lun < LUNS; lun++) {
        scsi_add(s, 0, lun, TEST_UNIT_READY, 0)->any_status = true;
        scsi_kick(s);
        scsi_finish(s, 1);
    }
}

static void scsi_cleanup(Scsi *s)
{
    unsigned lun, q;

    for (q = 0; q < s->queues; q++) {
        mig_queue_free(&s->rig, s->vq[q]);
    }
    mig_cleanup(&s->rig);
    for (lun = 0; lun < LUNS; lun++) {
        munmap(s->disk[lun], DISK_SIZE);
        close(s->disk_fd[lun]);
        g_free(s->model[lun]);
    }
}

#define BATCH_SECTOR    1024
#define MANY            (6 * MIG_QUEUE_SIZE)

/* The batch: requests take turns between disks, reads and writes */
static uint32_t batch_sector(unsigned i)
{
    return BATCH_SECTOR + 16 * i;
}

static unsigned batch_lun(unsigned i)
{
    return i % 4 / 2;
}

/* A read and a write fail, on different disks, and are done again */
static const Bad batch_bad[] = {
    { 0, BATCH_SECTOR + 16 * 1 + 1 },
    { 1, BATCH_SECTOR + 16 * 6 + 3 },
    { 0 }
};

static bool is_kept(unsigned i)
{
    return i == 1 || i == 6;
}

/* How many of the batch come back before the VM stops */
static unsigned batch_returned(const Scsi *s)
{
    bool stuck[QUEUES] = { false };
    unsigned i, n = 0;

    for (i = 0; i < SLOTS; i++) {
        unsigned q = i % s->queues;

        if (is_kept(i)) {
            stuck[q] = s->rig.mode->in_order;
        } else if (!stuck[q]) {
            n++;
        }
    }
    return n;
}

static void scsi_batch(Scsi *s)
{
    unsigned i;

    for (i = 0; i < SLOTS; i++) {
        scsi_add(s, i % s->queues, batch_lun(i), i % 2 ? WRITE_10 : READ_10,
                 batch_sector(i));
    }
    if (s->queues == 1) {
        scsi_kick(s);
    } else {
        /* An error in one queue would stop the VM before the next is kicked */
        qtest_qmp_assert_success(s->rig.qts, "{ 'execute': 'stop' }");
        qtest_qmp_eventwait(s->rig.qts, "STOP");
        mig_cont(&s->rig);
    }
    mig_wait_for_io_error(&s->rig);
    g_assert_cmpuint(scsi_reap(s), ==, batch_returned(s));
}

static void scsi_resume(Scsi *s)
{
    g_assert_cmpuint(scsi_reap(s), ==, 0);
    mig_cont(&s->rig);
    scsi_finish(s, SLOTS - batch_returned(s));
}

/*
 * A read of one disk and a write to the other have failed; the rest is done,
 * held back or not.  Twice, so that a request which came from a stream goes
 * into one.  A request that lost its place in the order, or a held back one
 * that was forgotten, would not come back; one whose memory was mapped wrongly
 * would have wrong data.
 */
static void scsi_migrate(const Mode *mode, unsigned queues)
{
    Scsi s = { .queues = queues };
    g_autofree char *args_bad = NULL;
    g_autofree char *args = NULL;

    scsi_init(&s, mode, batch_bad, false);
    args_bad = scsi_args(&s, mode, batch_bad, false);
    args = scsi_args(&s, mode, NULL, false);
    scsi_run(&s, g_test_rand_int_range(5, 2 * MIG_QUEUE_SIZE));
    scsi_batch(&s);

    mig_move(&s.rig, args_bad, true);
    mig_cont(&s.rig);
    mig_wait_for_io_error(&s.rig);
    g_assert_cmpuint(scsi_reap(&s), ==, 0);

    mig_move(&s.rig, args, true);
    scsi_resume(&s);
    scsi_run(&s, MANY);
    scsi_cleanup(&s);
}

static void test_scsi(const MigCase *c)
{
    scsi_migrate(c->mode, 1);
}

static void test_scsi_queues(const MigCase *c)
{
    scsi_migrate(c->mode, QUEUES);
}

/* A snapshot of the same, loaded after the requests were done */
static void test_scsi_snapshot(const MigCase *c)
{
    Scsi s = { .queues = 1 };
    MigSnapshot snap;

    if (!mig_snapshot_init(&snap)) {
        return;
    }
    s.extra = snap.args;
    scsi_init(&s, c->mode, batch_bad, true);
    scsi_run(&s, g_test_rand_int_range(5, 2 * MIG_QUEUE_SIZE));
    scsi_batch(&s);
    mig_snapshot_job(&s.rig, "snapshot-save");
    /* They go on; the driver does not look, and is to forget it */
    mig_cont(&s.rig);
    qtest_qmp_assert_success(s.rig.qts, "{ 'execute': 'stop' }");
    mig_snapshot_job(&s.rig, "snapshot-load");
    scsi_resume(&s);
    scsi_run(&s, MANY);
    scsi_cleanup(&s);
    mig_snapshot_cleanup(&snap);
}

void scsi_seed(const Mode *mode, MigSeed *seed)
{
    g_autofree char *props = mig_props(mode);
    Scsi s = { .rig.base = seed->base, .queues = seed->quiet ? 1 : QUEUES };
    GString *str = g_string_new(NULL);
    unsigned lun;

    scsi_init(&s, mode, batch_bad, false);
    scsi_run(&s, seed->quiet ? 0 : 50);
    scsi_batch(&s);
    mig_seed(&s.rig, seed);
    g_string_printf(str, "-device virtio-scsi-pci,id=scsi0,num_queues=%u,"
                    "virtqueue_size=%d,%s", s.queues, MIG_QUEUE_SIZE, props);
    for (lun = 0; lun < LUNS; lun++) {
        g_string_append_printf(str, " -blockdev driver=null-co,read-zeroes=on,"
                               "node-name=disk%u,size=%" PRIu64 " -device "
                               "scsi-hd,bus=scsi0.0,drive=disk%u,scsi-id=1,"
                               "lun=%u", lun, DISK_SIZE, lun, lun);
    }
    seed->args = g_string_free(str, false);
    scsi_cleanup(&s);
}

void scsi_add_tests(const Mode *mode)
{
    mig_add(mode, "scsi", test_scsi, NULL);
    mig_add(mode, "scsi-queues", test_scsi_queues, NULL);
    mig_add(mode, "scsi-snapshot", test_scsi_snapshot, NULL);
}
