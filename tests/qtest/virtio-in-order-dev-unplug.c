/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: devices that are unplugged with buffers in flight, and plugged in
 * again
 */

#include "qemu/osdep.h"
#include <sys/socket.h>
#include "virtio-in-order-exchange.h"
#include "virtio-in-order-fleet.h"
#include "virtio-in-order-requests.h"
#include "virtio-in-order-traffic.h"
#include "qapi/qmp/qdict.h"
#include "standard-headers/linux/virtio_blk.h"
#include "standard-headers/linux/virtio_scsi.h"

/* What can be unplugged; dev_peer() knows the first by its number */
enum {
    PLUG_NET = DEV_NET,
    PLUG_BLK,           /* throttled to few requests a second */
    PLUG_BLK_THREAD,    /* on a file, in an IOThread */
    PLUG_SCSI,          /* throttled as well */
    PLUG_CONSOLE,
    PLUG_RNG,
    PLUG_BALLOON,
    PLUG_COUNT,
};

#define PLUG_QUEUES     6
#define PLUG_BUFFERS    12

/* Bytes that the console is sent; more than its socket takes */
#define PLUG_TEXT       65536

static const char *const names[PLUG_COUNT] = {
    "net", "blk", "blkt", "scsi", "con", "rng", "bal",
};

/* How each is plugged in, and what hangs on it */
static const struct {
    const char *device, *more;
    unsigned queues;
} plugs[PLUG_COUNT] = {
    [PLUG_NET] = { "virtio-net-pci,netdev=stream0", NULL, 2 },
    [PLUG_BLK] = { "virtio-blk-pci,drive=slow0,num-queues=1", NULL, 1 },
    [PLUG_BLK_THREAD] = { "virtio-blk-pci,drive=file0,num-queues=1,"
                          "iothread=thread0", NULL, 1 },
    [PLUG_SCSI] = { "virtio-scsi-pci,num_queues=1",
                    "scsi-hd,bus=scsi.0,drive=slow1", 3 },
    [PLUG_CONSOLE] = { "virtio-serial-pci,max_ports=2",
                       "virtconsole,bus=con.0,chardev=text0", 2 },
    [PLUG_RNG] = { "virtio-rng-pci,rng=entropy", NULL, 1 },
    [PLUG_BALLOON] = { "virtio-balloon-pci", NULL, 3 },
};

/* The host's ends */
static int entropy, text;

static void plug_start(GString *cmd, const char *props)
{
    int disk_fd = rig_pass_fd(shared_file("disk", 1 * MiB));
    int fd[2], net_fd;
    unsigned i;

    peer_init(&rig->net, SOCK_STREAM, &net_fd);
    g_assert_cmpint(pipe(fd), ==, 0);
    entropy = fd[1];
    g_assert_cmpint(fcntl(entropy, F_SETFD, FD_CLOEXEC), ==, 0);
    g_unix_set_fd_nonblocking(entropy, true, NULL);
    g_string_append_printf(cmd, " -netdev socket,id=stream0,fd=%d"
                           " -object rng-random,id=entropy,"
                           "filename=/proc/self/fd/%d",
                           rig_pass_fd(net_fd), rig_pass_fd(fd[0]));
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), ==, 0);
    text = fd[0];
    g_assert_cmpint(fcntl(text, F_SETFD, FD_CLOEXEC), ==, 0);
    g_unix_set_fd_nonblocking(text, true, NULL);
    g_string_append_printf(cmd, " -chardev socket,id=text0,fd=%d"
                           " -object iothread,id=thread0"
                           " -blockdev driver=file,node-name=file0,"
                           "locking=off,filename=/proc/self/fd/%d",
                           rig_pass_fd(fd[1]), disk_fd);
    for (i = 0; i < 2; i++) {
        g_string_append_printf(cmd, " -object throttle-group,id=group%u,"
                               "x-iops-total=10 -blockdev driver=null-co,"
                               "node-name=null%u,size=1048576,read-zeroes=on"
                               " -blockdev driver=throttle,node-name=slow%u,"
                               "throttle-group=group%u,file=null%u",
                               i, i, i, i, i);
    }
    for (i = 0; i < PLUG_COUNT; i++) {
        g_string_append_printf(cmd, " -device %s,id=%s,addr=0x%x,"
                               "disable-legacy=on,%s", plugs[i].device,
                               names[i], DEV_SLOT(i), props);
        if (plugs[i].more) {
            g_string_append_printf(cmd, " -device %s", plugs[i].more);
        }
    }
}

static void plug_stop(void)
{
    peer_cleanup(&rig->net);
    close(entropy);
    close(text);
}

/* A machine whose PCI bus can be unplugged from */
static const RigKind plug_kind = {
    .names = names,
    .count = PLUG_COUNT,
    .machine = "pc",
    .start = plug_start,
    .stop = plug_stop,
};

/* A device with its queues and what is in them */
typedef struct Plug {
    Dev *dev;
    unsigned id;
    QVirtQueue *vq[PLUG_QUEUES], *busy;
    Exchange x[PLUG_BUFFERS];
    Sender sender;
} Plug;

static void plug_open(Plug *p, unsigned id)
{
    unsigned i;

    memset(p, 0, sizeof(*p));
    p->id = id;
    p->dev = dev_start(id, NO_EVENT_IDX);
    for (i = 0; i < plugs[id].queues; i++) {
        p->vq[i] = queue_setup(p->dev, i, id == PLUG_NET ? 64 : 0);
    }
    p->busy = p->vq[plugs[id].queues - 1];
    qvirtio_set_driver_ok(p->dev->vdev);
    if (id == PLUG_NET) {
        sender_init(&p->sender, p->dev, p->busy);
    }
}

static void plug_close(Plug *p)
{
    unsigned i;

    if (p->id == PLUG_NET) {
        sender_cleanup(&p->sender);
    }
    for (i = 0; i < plugs[p->id].queues; i++) {
        queue_free(p->dev, p->vq[i]);
    }
}

/* Adds buffer @i, of a kind that the device does not return at once */
static void plug_add(Plug *p, unsigned i)
{
    static const size_t outs[PLUG_COUNT] = {
        [PLUG_BLK] = 16, [PLUG_BLK_THREAD] = 16, [PLUG_SCSI] = 51,
        [PLUG_CONSOLE] = PLUG_TEXT, [PLUG_BALLOON] = 10,
    }, ins[PLUG_COUNT] = {
        [PLUG_BLK] = SECTOR + 1, [PLUG_BLK_THREAD] = SECTOR + 1,
        [PLUG_SCSI] = 108 + SECTOR, [PLUG_RNG] = 32,
    };
    Exchange *x = &p->x[i];

    if (!x->out && !x->in) {
        exchange_init(x, outs[p->id], ins[p->id]);
        x->plain = true;
        /* Reads may be carried out though they are cancelled */
        x->loose = p->id == PLUG_SCSI;
    }
    if (x->out) {
        memset(x->out, 0, x->out_max);
    }
    if (p->id == PLUG_BLK || p->id == PLUG_BLK_THREAD) {
        stl_le_p(x->out, VIRTIO_BLK_T_IN);
        stq_le_p(x->out + 8, i * 100);
    } else if (p->id == PLUG_SCSI) {
        x->out[0] = 1;
        x->out[2] = 0x40;
        stq_le_p(x->out + 8, i);
        x->out[19] = 0x28;                      /* READ(10) */
        stl_be_p(x->out + 21, i * 100);
        stw_be_p(x->out + 26, 1);
    }
    exchange_add(x, p->busy, x->out_max, x->in_max);
}

/* Puts buffers in flight, of which most stay there if that is possible */
static void plug_load(Plug *p)
{
    unsigned n = p->id == PLUG_BALLOON ? 1 : p->id == PLUG_RNG ? 4 :
                 PLUG_BUFFERS, i;

    if (p->id == PLUG_NET) {
        fill_until_stuck(&p->sender);
        return;
    }
    for (i = 0; i < n; i++) {
        plug_add(p, i);
    }
    exchange_go(&p->x[n - 1], p->busy);
    if (p->id != PLUG_BLK_THREAD) {
        main_loop_rounds();
    }
}

/* Lets the world outside do what the device has been waiting for */
static void plug_outside(void)
{
    uint8_t buf[4096] = { 0 };

    /* Nobody may want it: the pipe may be full */
    g_assert_true(write(entropy, buf, 512) > 0 || errno == EAGAIN);
    while (read(text, buf, sizeof(buf)) > 0) {
        /* go on */
    }
    qtest_clock_step(rig->qts, 1000000000LL);
    main_loop_rounds();
    peer_flush(&rig->net);
}

/* The device has to work from beginning to end */
static void plug_work(Plug *p)
{
    Traffic t = {
        .count = 100, .chain_min = 1, .chain_max = 3,
        .len_min = PKT_MIN, .len_max = 300,
    };
    gint64 start = 0;
    unsigned n, i;

    if (p->id == PLUG_NET) {
        sender_run(&p->sender, &t, "plugged in again");
        return;
    }
    if (p->id == PLUG_BALLOON) {
        exchange_init(&p->x[0], 4, 0);
        stl_le_p(p->x[0].out, 0x2000);
        exchange_one(&p->x[0], p->vq[0], 4, 0, "plugged in again");
        return;
    }
    n = p->id == PLUG_RNG ? 4 : PLUG_BUFFERS;
    for (i = 0; i < n; i++) {
        plug_add(p, i);
    }
    exchange_go(&p->x[n - 1], p->busy);
    while (qvring_in_flight(p->busy)) {
        plug_outside();
        while (exchange_take(p->x, n, p->busy)) {
            /* go on */
        }
        wait_a_little(&start, p->busy, "plugged in again");
    }
    /* The first SCSI command hears that the disk is new */
    for (i = p->id == PLUG_SCSI; i < n; i++) {
        g_assert_cmpuint(p->x[i].len, ==, p->x[i].in_len);
    }
    fleet_idle(p->dev, p->busy);
}

/* The parts of a device are deleted before it, and have no name */
static void unplug(unsigned id)
{
    bool deleted = false;

    qpci_unplug_acpi_device_test(rig->qts, names[id], DEV_SLOT(id));
    while (!deleted) {
        QDict *rsp = qtest_qmp_eventwait_ref(rig->qts, "DEVICE_DELETED");
        const char *name = qdict_get_try_str(qdict_get_qdict(rsp, "data"),
                                             "device");

        deleted = !g_strcmp0(name, names[id]);
        qobject_unref(rsp);
    }
}

/*
 * Devices are unplugged with buffers in flight, and plugged in again.  If this
 * fails, what completes on the way out comes back out of order, what completes
 * later is written into memory that the device has given up, QEMU uses what
 * it has freed, or the device that comes next does not work.
 */
void test_unplug(const void *data)
{
    g_autofree char *props = mode_props(data);
    unsigned id, round;

    if (!can_run(data) || base_lacks("fails in various ways")) {
        return;
    }
    rig_get_kind(&plug_kind, data);
    for (id = 0; id < PLUG_COUNT; id++) {
        for (round = 0; round < 2; round++) {
            g_autofree void *before = NULL;
            size_t len;
            Plug p;

            plug_open(&p, id);
            plug_load(&p);
            unplug(id);
            /* Whatever came back on the way out has to be in order */
            while (p.id == PLUG_NET ? sender_reap(&p.sender) :
                   !!exchange_take(p.x, PLUG_BUFFERS, p.busy)) {
                /* go on */
            }
            len = qvring_size(p.busy->size, p.busy->align);
            before = g_memdup2(guest(p.busy->desc, len), len);
            plug_outside();
            g_assert_cmpmem(guest(p.busy->desc, len), len, before, len);
            if (p.id == PLUG_NET) {
                sender_cleanup(&p.sender);
            }

            hmp("device_add %s,id=%s,addr=0x%x,disable-legacy=on,%s",
                plugs[id].device, names[id], DEV_SLOT(id), props);
            if (plugs[id].more) {
                hmp("device_add %s", plugs[id].more);
            }
            dev_remake(id);
            plug_open(&p, id);
            plug_work(&p);
            qvirtio_reset(p.dev->vdev);
            plug_close(&p);
        }
    }
}
