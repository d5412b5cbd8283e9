/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: disks, virtio-blk and virtio-scsi, in the main loop and in an
 * IOThread
 *
 * To have requests complete in a certain order, each is stopped at a
 * breakpoint of blkdebug on its way to the file, and let go by its name.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "virtio-in-order-exchange.h"
#include "virtio-in-order-fleet.h"
#include "virtio-in-order-requests.h"
#include "virtio-in-order-traffic.h"
#include "standard-headers/linux/virtio_blk.h"
#include "standard-headers/linux/virtio_scsi.h"

/* Queues of a SCSI host (VIRTIO 1.2, 5.6.2) */
enum { SCSI_CTRL, SCSI_EVENTS, SCSI_REQUESTS };

/* Queues of requests that each device has here */
#define QUEUES          2

#define SCSI_CMD        51      /* bytes of a command, without its data */
#define SCSI_CDB        19      /* where its CDB is */
#define SCSI_STATUS     10      /* where its status is in the answer */
#define SCSI_RESPONSE   11
#define SCSI_ANSWER     108     /* bytes of its answer, without its data */

#define BLK_HEAD        16      /* bytes of a request, without its data */

#define IOS             24      /* requests that may be in flight */
#define IO_SECTORS      16      /* of each request, at most */

static const struct {
    unsigned id;                /* of the device */
    unsigned drive;             /* the first of its disks */
    unsigned targets;           /* number of its disks; 0: it is not SCSI */
} kinds[] = {
    { FLEET_BLK, 4, 0 },
    { FLEET_BLK_THREAD, 5, 0 },
    { FLEET_SCSI, 0, 2 },
    { FLEET_SCSI_THREAD, 2, 2 },
};

/* What is written and read again; each has sectors of its own on the disk */
typedef struct Io {
    bool write;
    unsigned drive, target;
    uint64_t sector;
    size_t len;                 /* bytes of data */
    uint32_t pattern;           /* what data follows from */
    unsigned tag;               /* of its breakpoint */
} Io;

typedef struct Disk {
    Dev *dev;
    unsigned drive, targets;
    QVirtQueue *ctrl, *events;  /* of SCSI */
    QVirtQueue *vq[QUEUES];
    Exchange x[IOS];            /* with io[] of the same number */
    Io io[IOS];
    unsigned tag;               /* the last one given out */
} Disk;

static size_t answer_len(const Disk *d)
{
    return d->targets ? SCSI_ANSWER : 1;
}

/* The head of a SCSI command; the CDB is the caller's */
static uint8_t *scsi_head(Exchange *x, unsigned target, uint64_t tag)
{
    memset(x->out, 0, SCSI_CMD);
    x->out[0] = 1;
    x->out[1] = target;
    x->out[2] = 0x40;
    stq_le_p(x->out + 8, tag);
    return x->out + SCSI_CDB;
}

static void scsi_good(const Exchange *x)
{
    g_assert_cmpuint(x->in[SCSI_RESPONSE], ==, VIRTIO_SCSI_S_OK);
    g_assert_cmpuint(x->in[SCSI_STATUS], ==, 0);
}

/* A disk reports its reset with the first command: take the news away */
static void scsi_wake(Disk *d, unsigned target)
{
    Exchange x;
    unsigned i;

    exchange_init(&x, SCSI_CMD, SCSI_ANSWER);
    for (i = 0; ; i++) {
        scsi_head(&x, target, 0);
        exchange_one(&x, d->vq[0], SCSI_CMD, SCSI_ANSWER, "is the disk there");
        g_assert_cmpuint(x.len, ==, SCSI_ANSWER);
        g_assert_cmpuint(x.in[SCSI_RESPONSE], ==, VIRTIO_SCSI_S_OK);
        if (!x.in[SCSI_STATUS]) {
            break;
        }
        g_assert_cmpuint(i, <, 4);
    }
}

static void disk_start(Disk *d, unsigned kind)
{
    unsigned first = kinds[kind].targets ? SCSI_REQUESTS : 0, i;

    memset(d, 0, sizeof(*d));
    d->drive = kinds[kind].drive;
    d->targets = kinds[kind].targets;
    d->dev = dev_start(kinds[kind].id, NO_EVENT_IDX);
    if (d->targets) {
        d->ctrl = queue_setup(d->dev, SCSI_CTRL, 0);
        d->events = queue_setup(d->dev, SCSI_EVENTS, 0);
    }
    for (i = 0; i < QUEUES; i++) {
        d->vq[i] = queue_setup(d->dev, first + i, 0);
    }
    qvirtio_set_driver_ok(d->dev->vdev);
    for (i = 0; i < IOS; i++) {
        exchange_init(&d->x[i], SCSI_CMD + IO_SECTORS * SECTOR,
                      SCSI_ANSWER + IO_SECTORS * SECTOR);
        d->io[i].target = d->targets ? i % d->targets : 0;
        d->io[i].drive = d->drive + d->io[i].target;
        /* Far apart, or QEMU makes one request of them */
        d->io[i].sector = i * 4 * IO_SECTORS;
    }
    for (i = 0; i < d->targets; i++) {
        scsi_wake(d, i);
    }
}

static void disk_stop(Disk *d)
{
    unsigned i;

    qvirtio_reset(d->dev->vdev);
    for (i = 0; i < QUEUES; i++) {
        queue_free(d->dev, d->vq[i]);
    }
    if (d->targets) {
        queue_free(d->dev, d->ctrl);
        queue_free(d->dev, d->events);
    }
}

/* Adds request @i: writes something new, or reads what was written */
static void io_add(Disk *d, unsigned i, QVirtQueue *vq)
{
    Exchange *x = &d->x[i];
    Io *io = &d->io[i];
    size_t head = d->targets ? SCSI_CMD : BLK_HEAD;

    io->write = !io->write;
    if (io->write) {
        io->pattern++;
        io->len = SECTOR * between(1, IO_SECTORS);
        pattern_fill(x->out + head, io->len, io->pattern * IOS + i);
    }
    if (d->targets) {
        uint8_t *cdb = scsi_head(x, io->target, i);

        cdb[0] = io->write ? 0x2a : 0x28;       /* WRITE(10), READ(10) */
        stl_be_p(cdb + 2, io->sector);
        stw_be_p(cdb + 7, io->len / SECTOR);
    } else {
        stl_le_p(x->out, io->write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN);
        stl_le_p(x->out + 4, 0);
        stq_le_p(x->out + 8, io->sector);
    }
    exchange_add(x, vq, head + (io->write ? io->len : 0),
                 answer_len(d) + (io->write ? 0 : io->len));
}

/* Checks the answer to request @i, and what is on the disk */
static void io_check(Disk *d, unsigned i)
{
    const Exchange *x = &d->x[i];
    const Io *io = &d->io[i];
    g_autofree uint8_t *want = g_malloc(io->len);

    g_assert_cmpuint(x->len, ==, x->in_len);
    if (d->targets) {
        scsi_good(x);
        g_assert_cmpuint(ldl_le_p(x->in + 4), ==, 0);
    } else {
        g_assert_cmpuint(x->in[x->in_len - 1], ==, VIRTIO_BLK_S_OK);
    }
    pattern_fill(want, io->len, io->pattern * IOS + i);
    g_assert_cmpmem(fleet.disk[io->drive] + io->sector * SECTOR, io->len,
                    want, io->len);
    if (!io->write) {
        g_assert_cmpmem(x->in + (d->targets ? SCSI_ANSWER : 0), io->len,
                        want, io->len);
    }
}

/* Starts request @i and waits until it stands at its breakpoint */
static void io_start_held(Disk *d, unsigned i, QVirtQueue *vq)
{
    const char *dev = dev_name(d->dev->id);
    uint64_t before = queue_stat(dev, vq->index, "last-avail-idx");
    Io *io = &d->io[i];
    gint64 start = 0;

    io->tag = ++d->tag;
    io_add(d, i, vq);
    hmp("qemu-io %s \"break %s t%u\"", fleet_drive(io->drive),
        io->write ? "write_aio" : "read_aio", io->tag);
    exchange_go(&d->x[i], vq);
    /*
     * Who has taken it from the queue holds the lock of its AioContext until
     * it has got to the breakpoint; the monitor needs the lock, too.
     */
    while (queue_stat(dev, vq->index, "last-avail-idx") == before) {
        wait_a_little(&start, vq, "getting to the breakpoint");
    }
}

/* Lets request @i go, and waits for what that brings back */
static unsigned io_let_go(Disk *d, unsigned i, const char *what)
{
    Io *io = &d->io[i];

    hmp("qemu-io %s \"resume t%u\"", fleet_drive(io->drive), io->tag);
    d->x[i].done = true;
    return exchange_completed(d->x, IOS, d->dev, d->x[i].vq, what);
}

/*
 * Requests complete in the exact reverse of the order in which they were made.
 * If this fails, what has to be kept back is not, or is not returned once what
 * it waits for is done; without in-order, it is kept back for no reason.
 */
void test_disk_reverse(const void *data)
{
    const Mode *mode = data;
    unsigned kind, round, i;

    if (!fleet_get(mode) || (base_lacks("used lengths of virtio-scsi"))) {
        return;
    }
    for (kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
        Disk d;

        disk_start(&d, kind);
        for (round = 0; round < 2 * QUEUES; round++) {
            QVirtQueue *vq = d.vq[round % QUEUES];

            for (i = 0; i < IOS / 2; i++) {
                io_start_held(&d, i, vq);
            }
            while (i--) {
                unsigned held = io_let_go(&d, i, "reverse order");

                g_assert_cmpuint(held, ==, mode->in_order && i ?
                                 IOS / 2 - i : 0);
                g_assert_cmpint(d.x[i].in_flight, ==, mode->in_order && i);
            }
            for (i = 0; i < IOS / 2; i++) {
                io_check(&d, i);
            }
            fleet_idle(d.dev, vq);
        }
        disk_stop(&d);
    }
}

/*
 * A long run of requests over two queues that complete in random order.  If
 * this fails, there is an order in which the device stalls.
 */
void test_disk_random(const void *data)
{
    enum { COUNT = 100 };
    const Mode *mode = data;
    unsigned kind, i;

    if (!fleet_get(mode) || (base_lacks("used lengths of virtio-scsi"))) {
        return;
    }
    for (kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
        unsigned started = 0, waiting = 0, most = 0;
        bool fresh[IOS] = { };
        Disk d;

        disk_start(&d, kind);
        while (started < COUNT || waiting) {
            i = between(0, IOS - 1);
            if (d.x[i].in_flight) {
                if (!d.x[i].done && (started == COUNT || between(0, 1))) {
                    most = MAX(most, io_let_go(&d, i, "random order"));
                    waiting--;
                }
                continue;
            }
            if (fresh[i]) {
                io_check(&d, i);
                fresh[i] = false;
            }
            if (started < COUNT) {
                io_start_held(&d, i, d.vq[between(0, QUEUES - 1)]);
                fresh[i] = true;
                started++;
                waiting++;
            }
        }
        for (i = 0; i < IOS; i++) {
            g_assert_false(d.x[i].in_flight);
            if (fresh[i]) {
                io_check(&d, i);
            }
        }
        g_assert_cmpint(most > 0, ==, mode->in_order);
        g_test_message("%s, %s: %u requests, up to %u held back", mode->name,
                       dev_name(d.dev->id), COUNT, most);
        for (i = 0; i < QUEUES; i++) {
            fleet_idle(d.dev, d.vq[i]);
        }
        disk_stop(&d);
    }
}

/* Fills both queues with requests, and kicks */
static void disk_load(Disk *d)
{
    unsigned i;

    for (i = 0; i < IOS; i++) {
        g_assert_false(d->x[i].in_flight);
        io_add(d, i, d->vq[i * QUEUES / IOS]);
        if (i % 3 == 2) {
            exchange_go(&d->x[i], d->x[i].vq);
        }
    }
}

static void disk_finish(Disk *d, const char *what)
{
    unsigned i;

    for (i = 0; i < QUEUES; i++) {
        Exchange *first = &d->x[i * IOS / QUEUES];

        exchange_finish(first, IOS / QUEUES, d->vq[i], what);
        fleet_idle(d->dev, d->vq[i]);
    }
    for (i = 0; i < IOS; i++) {
        io_check(d, i);
    }
}

/*
 * The machine is stopped, the device is reset, with requests in flight, again
 * and again: the IOThread hands the queues to the main loop and back.  If this
 * fails, requests are lost or doubled on the way, or the IOThread goes on
 * with queues that it has given up.
 */
void test_disk_dataplane(const void *data)
{
    const Mode *mode = data;
    unsigned kind, round, i;

    if (!fleet_get(mode) || (base_lacks("used lengths of virtio-scsi"))) {
        return;
    }
    for (kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
        g_autofree uint8_t *before = NULL;
        QVirtQueue *vq;
        size_t len;
        Disk d;

        disk_start(&d, kind);
        for (round = 0; round < 8; round++) {
            disk_load(&d);
            if (round & 1) {
                main_loop_rounds();
            }
            qtest_qmp_assert_success(rig->qts, "{'execute': 'stop'}");
            if (round & 2) {
                main_loop_rounds();
            }
            qtest_qmp_assert_success(rig->qts, "{'execute': 'cont'}");
            disk_finish(&d, "stopped and continued");
        }
        for (round = 0; round < 8; round++) {
            unsigned targets = d.targets;

            disk_load(&d);
            if (round & 1) {
                g_usleep(between(0, 2000));
            }
            /* After the reset, the device must not touch its queues */
            qvirtio_reset(d.dev->vdev);
            vq = d.vq[round / 2 % QUEUES];
            len = qvring_size(vq->size, vq->align);
            g_free(before);
            before = g_memdup2(guest(vq->desc, len), len);
            main_loop_rounds();
            g_assert_cmpmem(guest(vq->desc, len), len, before, len);

            for (i = 0; i < QUEUES; i++) {
                queue_free(d.dev, d.vq[i]);
            }
            if (targets) {
                queue_free(d.dev, d.ctrl);
                queue_free(d.dev, d.events);
            }
            disk_start(&d, kind);
            disk_load(&d);
            disk_finish(&d, "after a reset");
        }
        disk_stop(&d);
    }
}

/*
 * Commands with answers of different length, to two disks.  If this fails, the
 * used length of a command is not what the device wrote (VIRTIO 1.2,
 * 2.7.8.2): data that it was given counts, or the room that it did not need.
 */
void test_scsi(const void *data)
{
    enum { COUNT = 12, INQUIRY_LEN = 255 };
    unsigned kind, round, i;

    if (!fleet_get(data) || (base_lacks("used lengths of virtio-scsi"))) {
        return;
    }
    for (kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
        Exchange x[COUNT];
        Disk d;

        if (!kinds[kind].targets) {
            continue;
        }
        disk_start(&d, kind);
        for (i = 0; i < COUNT; i++) {
            exchange_init(&x[i], SCSI_CMD, SCSI_ANSWER + INQUIRY_LEN);
        }
        for (round = 0; round < 5; round++) {
            for (i = 0; i < COUNT; i++) {
                uint8_t *cdb = scsi_head(&x[i], i % 3, i);
                size_t room = 0;

                switch (i / 3) {
                case 0:                         /* TEST UNIT READY */
                    break;
                case 1:                         /* INQUIRY */
                    cdb[0] = 0x12;
                    cdb[4] = room = INQUIRY_LEN;
                    break;
                case 2:                         /* READ CAPACITY(10) */
                    cdb[0] = 0x25;
                    room = 8;
                    break;
                default:                        /* not a command */
                    cdb[0] = 0xff;
                    break;
                }
                exchange_add(&x[i], d.vq[0], SCSI_CMD, SCSI_ANSWER + room);
            }
            exchange_go(&x[COUNT - 1], d.vq[0]);
            exchange_finish(x, COUNT, d.vq[0], "commands");
            for (i = 0; i < COUNT; i++) {
                uint32_t resid = ldl_le_p(x[i].in + 4);

                if (i % 3 == 2) {               /* no such target */
                    g_assert_cmpuint(x[i].in[SCSI_RESPONSE], ==,
                                     VIRTIO_SCSI_S_BAD_TARGET);
                    g_assert_cmpuint(x[i].len, ==, SCSI_ANSWER);
                    continue;
                }
                g_assert_cmpuint(x[i].len, ==, x[i].in_len - resid);
                switch (i / 3) {
                case 1:
                    scsi_good(&x[i]);
                    g_assert_cmpuint(resid, ==, INQUIRY_LEN -
                                     (x[i].in[SCSI_ANSWER + 4] + 5));
                    break;
                case 2:
                    scsi_good(&x[i]);
                    g_assert_cmpuint(ldl_be_p(x[i].in + SCSI_ANSWER), ==,
                                     FLEET_DISK_SIZE / SECTOR - 1);
                    break;
                case 3:                         /* CHECK CONDITION, sense */
                    g_assert_cmpuint(x[i].in[SCSI_STATUS], ==, 2);
                    g_assert_cmpuint(ldl_le_p(x[i].in), >, 0);
                    break;
                default:
                    scsi_good(&x[i]);
                    break;
                }
            }
            fleet_idle(d.dev, d.vq[0]);
        }
        disk_stop(&d);
    }
}

/* One task management function (VIRTIO 1.2, 5.6.6.2), without its answer */
static void scsi_manage(Disk *d, Exchange *x, uint32_t function,
                        unsigned target, uint64_t tag)
{
    memset(x->out, 0, 24);
    stl_le_p(x->out, VIRTIO_SCSI_T_TMF);
    stl_le_p(x->out + 4, function);
    x->out[8] = 1;
    x->out[9] = target;
    x->out[10] = 0x40;
    stq_le_p(x->out + 16, tag);
    exchange_add(x, d->ctrl, 24, 1);
    exchange_go(x, d->ctrl);
}

/*
 * Commands are asked about and aborted while they are in flight.  The abort
 * completes when the command does, so requests of the control queue overtake
 * each other as well.  If this fails, one of them stalls.
 */
void test_scsi_control(const void *data)
{
    enum { HELD = 4, ABORTED = 2 };
    unsigned kind, round, i;

    if (!fleet_get(data) || (base_lacks("used lengths of virtio-scsi"))) {
        return;
    }
    for (kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
        Exchange x[HELD + 1];
        Disk d;

        if (!kinds[kind].targets) {
            continue;
        }
        disk_start(&d, kind);
        for (i = 0; i <= HELD; i++) {
            exchange_init(&x[i], 24, 8);
        }
        for (round = 0; round < 3; round++) {
            for (i = 0; i < HELD; i++) {
                io_start_held(&d, i, d.vq[0]);
            }
            scsi_manage(&d, &x[HELD], VIRTIO_SCSI_T_TMF_ABORT_TASK,
                        d.io[ABORTED].target, ABORTED);
            for (i = 0; i < HELD; i++) {
                scsi_manage(&d, &x[i], VIRTIO_SCSI_T_TMF_QUERY_TASK,
                            d.io[i].target, i % 2 ? i : i + 100);
                x[i].done = true;
            }
            exchange_completed(x, HELD + 1, d.dev, d.ctrl, "queries");

            for (i = HELD; i--; ) {
                if (i == ABORTED) {
                    x[HELD].done = true;
                }
                io_let_go(&d, i, "abort");
            }
            exchange_finish(x, HELD + 1, d.ctrl, "control queue");
            for (i = 0; i <= HELD; i++) {
                g_assert_cmpuint(x[i].len, ==, 1);
                g_assert_cmpuint(x[i].in[0], ==, i < HELD && i % 2 ?
                                 VIRTIO_SCSI_S_FUNCTION_SUCCEEDED :
                                 VIRTIO_SCSI_S_OK);
            }
            for (i = 0; i < HELD; i++) {
                if (i != ABORTED) {
                    io_check(&d, i);
                    continue;
                }
                g_assert_cmpuint(d.x[i].in[SCSI_RESPONSE], ==,
                                 VIRTIO_SCSI_S_ABORTED);
                g_assert_cmpuint(d.x[i].len, ==, SCSI_ANSWER);
            }
            fleet_idle(d.dev, d.ctrl);
            fleet_idle(d.dev, d.vq[0]);

            /* A reset of the disk, and the news about it */
            scsi_manage(&d, &x[0], VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET, 0, 0);
            exchange_finish(x, 1, d.ctrl, "disk reset");
            g_assert_cmpuint(x[0].in[0], ==, VIRTIO_SCSI_S_OK);
            scsi_wake(&d, 0);

            memset(x[0].out, 0, 16);
            stl_le_p(x[0].out, VIRTIO_SCSI_T_AN_QUERY);
            x[0].out[4] = 1;
            exchange_one(&x[0], d.ctrl, 16, 5, "asynchronous notification");
            g_assert_cmpuint(x[0].len, ==, 5);
            g_assert_cmpuint(x[0].in[4], ==, VIRTIO_SCSI_S_OK);

            /* What was aborted may or may not have been written */
            d.io[ABORTED].write = false;
        }
        disk_stop(&d);
    }
}

/* The next event has to be this one */
static void event_expect(Disk *d, Exchange *x, unsigned n, uint32_t event,
                         unsigned target, uint32_t reason)
{
    gint64 start = 0;
    Exchange *got;

    while (!(got = exchange_take(x, n, d->events))) {
        wait_a_little(&start, d->events, "event");
    }
    g_assert_cmpuint(got->len, ==, 16);
    g_assert_cmphex((uint32_t)ldl_le_p(got->in), ==, event);
    if (event != VIRTIO_SCSI_T_EVENTS_MISSED) {
        g_assert_cmpuint(got->in[4], ==, 1);
        g_assert_cmpuint(got->in[5], ==, target);
    }
    g_assert_cmphex(ldl_le_p(got->in + 12), ==, reason);
    exchange_add(got, d->events, 0, 16);
    exchange_go(got, d->events);
}

static void disk_resize(unsigned drive, size_t size)
{
    qtest_qmp_assert_success(rig->qts, "{'execute': 'block_resize', "
                             "'arguments': {'device': %s, 'size': %u}}",
                             fleet_drive(drive), (unsigned)size);
}

/*
 * Disks come, go and change their size.  If this fails, the driver does not
 * hear of it, or only when something else happens.
 */
void test_scsi_events(const void *data)
{
    enum { COUNT = 3, TARGET = 5 };
    /* Sense of a changed capacity: code and qualifier */
    const uint32_t resized = 0x2a | 0x09 << 8;
    unsigned kind, round, i;

    if (!fleet_get(data) || (base_lacks("used lengths of virtio-scsi"))) {
        return;
    }
    for (kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
        const char *dev = rig->kind->names[kinds[kind].id];
        g_autofree char *bus = g_strdup_printf("%s.0", dev);
        Exchange x[COUNT];
        Disk d;

        if (!kinds[kind].targets) {
            continue;
        }
        disk_start(&d, kind);
        for (i = 0; i < COUNT; i++) {
            exchange_init(&x[i], 0, 16);
        }
        /* Nobody listens: the first buffer hears that something was missed */
        disk_resize(d.drive, FLEET_DISK_SIZE / 2);
        disk_resize(d.drive, FLEET_DISK_SIZE);
        for (i = 0; i < COUNT; i++) {
            exchange_add(&x[i], d.events, 0, 16);
        }
        exchange_go(&x[COUNT - 1], d.events);
        event_expect(&d, x, COUNT, VIRTIO_SCSI_T_EVENTS_MISSED, 0, 0);

        for (round = 0; round < 4; round++) {
            qtest_qmp_assert_success(rig->qts, "{'execute': 'blockdev-add', "
                                     "'arguments': {'driver': 'null-co', "
                                     "'node-name': 'hot', 'size': 65536, "
                                     "'read-zeroes': true}}");
            qtest_qmp_device_add(rig->qts, "scsi-hd", "hotdisk",
                                 "{'bus': %s, 'scsi-id': %u, 'drive': 'hot'}",
                                 bus, TARGET);
            event_expect(&d, x, COUNT, VIRTIO_SCSI_T_TRANSPORT_RESET, TARGET,
                         VIRTIO_SCSI_EVT_RESET_RESCAN);
            scsi_wake(&d, TARGET);
            disk_resize(d.drive + 1, FLEET_DISK_SIZE / 2);
            event_expect(&d, x, COUNT, VIRTIO_SCSI_T_PARAM_CHANGE, 1,
                         resized);
            disk_resize(d.drive + 1, FLEET_DISK_SIZE);
            event_expect(&d, x, COUNT, VIRTIO_SCSI_T_PARAM_CHANGE, 1,
                         resized);
            qtest_qmp_assert_success(rig->qts, "{'execute': 'device_del', "
                                     "'arguments': {'id': 'hotdisk'}}");
            event_expect(&d, x, COUNT, VIRTIO_SCSI_T_TRANSPORT_RESET, TARGET,
                         VIRTIO_SCSI_EVT_RESET_REMOVED);
            qtest_qmp_eventwait(rig->qts, "DEVICE_DELETED");
            qtest_qmp_assert_success(rig->qts, "{'execute': 'blockdev-del', "
                                     "'arguments': {'node-name': 'hot'}}");
        }
        disk_stop(&d);
    }
}
