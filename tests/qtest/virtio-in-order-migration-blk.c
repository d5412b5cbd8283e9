/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: migrate virtio-blk with requests in flight, the driver,
 * see virtio-in-order-migration-blk.h
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/bswap.h"
#include "virtio-in-order-migration-blk.h"
#include "standard-headers/linux/virtio_blk.h"

#define DISK_SIZE       (4 * MiB)
#define SECTOR          512
#define SLOT_DATA       512
#define SLOT_STATUS     3072
#define SLOT_SIZE       4096
#define BATCH_SECTOR    4096    /* the first of those that may be bad */
#define MAX_SECTORS     4

char *blk_args(const Blk *b, const Mode *mode, const uint64_t *bad,
                      bool once)
{
    g_autofree char *props = mig_props(mode);
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
    if (b->throttled) {
        g_string_append(s, " -object throttle-group,id=slow0,x-iops-total=5 "
                        "-blockdev driver=throttle,node-name=slowly0,"
                        "throttle-group=slow0,file=debug0");
    }
    g_string_append_printf(s, " -blockdev driver=raw,node-name=disk0,file=%s "
                           "-device virtio-blk-pci,drive=disk0,rerror=stop,"
                           "werror=stop,num-queues=%u,queue-size=%d,%s%s %s",
                           b->throttled ? "slowly0" : "debug0",
                           MAX(b->queues, 1), MIG_QUEUE_SIZE, props,
                           b->props ?: "", b->extra ?: "");
    return g_string_free(s, false);
}

static void blk_start(Blk *b)
{
    unsigned q;

    for (q = 0; q < b->queues; q++) {
        b->vq[q] = mig_queue_setup(&b->rig, q, MIG_QUEUE_SIZE);
    }
    qvirtio_set_driver_ok(b->rig.vdev);
}

void blk_init(Blk *b, const Mode *mode, const uint64_t *bad, bool once)
{
    g_autofree char *args = NULL;
    unsigned i;

    b->queues = MAX(b->queues, 1);
    g_assert_cmpuint(b->queues, <=, BLK_QUEUES);
    b->disk_fd = shared_file("disk", DISK_SIZE);
    b->disk = shared_map(b->disk_fd, DISK_SIZE);
    b->model = g_malloc(DISK_SIZE);
    for (i = 0; i < DISK_SIZE; i += 4) {
        stl_le_p(b->model + i, i * 2654435761u);
    }
    memcpy(b->disk, b->model, DISK_SIZE);
    args = blk_args(b, mode, bad, once);
    mig_init(&b->rig, mode, args);
    b->mem = guest_alloc(&b->rig.alloc, BLK_SLOTS * SLOT_SIZE);
    blk_start(b);
}

static void request_free(Blk *b, BlkRequest *r)
{
    if (r->table) {
        guest_free(&b->rig.alloc, r->table->desc);
        g_free(r->table);
    }
    memset(r, 0, sizeof(*r));
}

static void blk_forget(Blk *b)
{
    unsigned i;

    for (i = 0; i < b->queues; i++) {
        mig_queue_free(&b->rig, b->vq[i]);
    }
    for (i = 0; i < BLK_SLOTS; i++) {
        request_free(b, &b->req[i]);
    }
}

void blk_cleanup(Blk *b)
{
    blk_forget(b);
    mig_cleanup(&b->rig);
    munmap(b->disk, DISK_SIZE);
    close(b->disk_fd);
    g_free(b->model);
}

void blk_restart(Blk *b)
{
    qvirtio_reset(b->rig.vdev);
    blk_forget(b);
    mig_negotiate(&b->rig);
    blk_start(b);
    /* Whether a write took place is open */
    memcpy(b->model, b->disk, DISK_SIZE);
}

/*
 * Direct and indirect buffers take turns, with a period that is that of
 * nothing else.
 */
void blk_add(Blk *b, unsigned queue, uint64_t sector, unsigned sectors,
             bool write)
{
    QTestState *qts = b->rig.qts;
    QVirtQueue *vq = b->vq[queue];
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
    BlkRequest *r;

    g_assert_cmpuint(sectors, <=, MAX_SECTORS);
    for (slot = 0; slot < BLK_SLOTS && b->req[slot].busy; slot++) {
        /* find a free one */
    }
    g_assert_cmpuint(slot, <, BLK_SLOTS);
    r = &b->req[slot];
    *r = (BlkRequest) { .busy = true, .write = write, .queue = queue,
                         .sector = sector, .sectors = sectors };
    addr = b->mem + slot * SLOT_SIZE;
    mem = mig_guest(&b->rig, addr, SLOT_SIZE);
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
            r->id = qvirtqueue_add(qts, vq, part[i].addr, part[i].len,
                                   part[i].write, i < n - 1);
        }
    }
    if (r->table) {
        r->id = qvirtqueue_add_indirect(qts, vq, r->table);
    }
    qvring_publish(qts, vq, r->id);
    b->count++;
}

void blk_add_any(Blk *b, unsigned queue)
{
    blk_add(b, queue, 8 + 8 * (b->count % 256), 1 + b->count % MAX_SECTORS,
            b->count % 3);
}

void blk_kick(Blk *b)
{
    unsigned q;

    for (q = 0; q < b->queues; q++) {
        if (qvring_in_flight(b->vq[q])) {
            bool kicked = qvring_notify(b->rig.qts, b->vq[q]);

            /* An IOThread may be at it, and not want to be disturbed */
            g_assert_true(kicked || b->props);
        }
    }
}

/* A request came back */
static void request_check(Blk *b, unsigned queue, uint32_t id, uint32_t len)
{
    const uint8_t *want, *mem;
    BlkRequest *r = NULL;
    unsigned slot;

    for (slot = 0; slot < BLK_SLOTS; slot++) {
        r = &b->req[slot];
        if (r->busy && r->queue == queue && r->id == id) {
            break;
        }
    }
    g_assert_cmpuint(slot, <, BLK_SLOTS);
    want = b->model + r->sector * SECTOR;
    mem = mig_guest(&b->rig, b->mem + slot * SLOT_SIZE, SLOT_SIZE);
    g_assert_cmpuint(mem[SLOT_STATUS], ==, VIRTIO_BLK_S_OK);
    g_assert_cmpuint(len, ==, 1 + (r->write ? 0 : r->sectors * SECTOR));
    g_assert_cmpmem(r->write ? b->disk + r->sector * SECTOR : mem + SLOT_DATA,
                    r->sectors * SECTOR, want, r->sectors * SECTOR);
    request_free(b, r);
}

unsigned blk_reap(Blk *b)
{
    unsigned n = 0, q;
    uint32_t id, len;

    for (q = 0; q < b->queues; q++) {
        while (qvring_get(b->rig.qts, b->vq[q], &id, &len)) {
            request_check(b, q, id, len);
            n++;
        }
    }
    return n;
}

unsigned blk_busy(const Blk *b)
{
    unsigned q, n = 0;

    for (q = 0; q < b->queues; q++) {
        n += qvring_in_flight(b->vq[q]);
    }
    return n;
}

void blk_finish(Blk *b, unsigned n)
{
    unsigned q, done = 0;
    gint64 start = 0;

    g_assert_cmpuint(blk_busy(b), ==, n);
    while ((done += blk_reap(b)) < n) {
        mig_wait(&start, "virtio-blk");
    }
    for (q = 0; q < b->queues; q++) {
        qvring_check_idle(b->rig.qts, b->vq[q]);
    }
}

void blk_run(Blk *b, unsigned n)
{
    while (n) {
        unsigned i, burst = MIN(n, 1 + b->count % BLK_SLOTS);

        for (i = 0; i < burst; i++) {
            blk_add_any(b, b->count % b->queues);
        }
        blk_kick(b);
        blk_finish(b, burst);
        n -= burst;
    }
}

const BlkBatch blk_batches[BLK_BATCHES] = {
    { "first", { 0, -1 }, -1 },
    { "third", { 2, -1 }, -1 },
    { "last", { BLK_SLOTS - 1, -1 }, -1 },
    { "two", { 1, 6 }, -1 },
    { "merged", { 4, -1 }, 3 },
};

static bool is_merged(const BlkBatch *batch, int i)
{
    return batch->merged >= 0 && i >= batch->merged && i < batch->merged + 3;
}

/* One that fails takes those with it that it was merged with */
static bool is_kept(const BlkBatch *batch, int i)
{
    return i == batch->bad[0] || i == batch->bad[1] || is_merged(batch, i);
}

/* Sectors are far from each other, but for those to be merged */
static uint64_t batch_sector(const BlkBatch *batch, int i)
{
    if (is_merged(batch, i)) {
        return BATCH_SECTOR + 16 * batch->merged + 2 * (i - batch->merged);
    }
    return BATCH_SECTOR + 16 * i;
}

void blk_bad(const BlkBatch *batch, uint64_t bad[3])
{
    bad[0] = batch_sector(batch, batch->bad[0]) + 1;
    bad[1] = batch->bad[1] < 0 ? 0 : batch_sector(batch, batch->bad[1]) + 1;
    bad[2] = 0;
}

/* How many requests of a stopped batch come back at once */
static unsigned batch_returned(const Blk *b, const BlkBatch *batch)
{
    bool stuck[BLK_QUEUES] = { false };
    unsigned i, n = 0;

    for (i = 0; i < BLK_SLOTS; i++) {
        unsigned q = i % b->queues;

        if (is_kept(batch, i)) {
            stuck[q] = b->rig.mode->in_order;
        } else if (!stuck[q]) {
            n++;
        }
    }
    return n;
}

void blk_batch(Blk *b, const BlkBatch *batch)
{
    unsigned i;

    for (i = 0; i < BLK_SLOTS; i++) {
        bool merge = is_merged(batch, i);

        blk_add(b, i % b->queues, batch_sector(batch, i),
                merge || i % 3 == 0 ? 2 : 4, !merge && i % 2);
    }
    if (b->queues == 1) {
        blk_kick(b);
    } else {
        /* An error in one queue would stop the VM before the next is kicked */
        qtest_qmp_assert_success(b->rig.qts, "{ 'execute': 'stop' }");
        qtest_qmp_eventwait(b->rig.qts, "STOP");
        mig_cont(&b->rig);
    }
    mig_wait_for_io_error(&b->rig);
    /* The others are done; in order, those behind are held back */
    g_assert_cmpuint(blk_reap(b), ==, batch_returned(b, batch));
}

uint8_t *blk_status(Blk *b, unsigned slot)
{
    return mig_guest(&b->rig, b->mem + slot * SLOT_SIZE + SLOT_STATUS, 1);
}

static bool told(Blk *b)
{
    return b->rig.vdev->bus->get_queue_isr_status(b->rig.vdev, b->vq[0]);
}

void blk_resume(Blk *b, const BlkBatch *batch)
{
    unsigned rest = BLK_SLOTS - batch_returned(b, batch);
    gint64 start = 0;

    /* Nothing happens in a VM that is stopped */
    g_assert_cmpuint(blk_reap(b), ==, 0);
    told(b);
    mig_cont(&b->rig);
    blk_finish(b, rest);
    /* The driver would have slept: it has to be told */
    while (!told(b)) {
        mig_wait(&start, "virtio-blk's interrupt");
    }
}

void blk_seed(const Mode *mode, MigSeed *seed)
{
    const BlkBatch *batch = &blk_batches[BLK_TWO];
    g_autofree char *props = mig_props(mode);
    Blk b = { .rig.base = seed->base, .queues = seed->quiet ? 1 : 2 };
    uint64_t bad[3];

    blk_bad(batch, bad);
    blk_init(&b, mode, bad, false);
    blk_run(&b, seed->quiet ? 0 : 50);
    blk_batch(&b, batch);
    mig_seed(&b.rig, seed);
    seed->args = g_strdup_printf("-blockdev driver=null-co,node-name=disk0,"
                                 "read-zeroes=on,size=%" PRIu64 " "
                                 "-device virtio-blk-pci,drive=disk0,"
                                 "rerror=stop,werror=stop,num-queues=%u,"
                                 "queue-size=%d,%s", DISK_SIZE, b.queues,
                                 MIG_QUEUE_SIZE, props);
    blk_cleanup(&b);
}
