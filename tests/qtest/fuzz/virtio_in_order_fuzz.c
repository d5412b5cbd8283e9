/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Fuzz virtio-net and virtio-blk with drivers that keep no rule, in both ring
 * layouts, with and without VIRTIO_F_IN_ORDER
 *
 * What an input means is in ../virtio-in-order-hostile.c.  QEMU is not
 * forked for each input: the reset between two of them is a part of what is
 * tested, and an input ends with a driver that keeps the rules.
 *
 * All runs in libFuzzer's thread, which is QEMU's main thread and holds the
 * Big QEMU Lock.
 */

#include "qemu/osdep.h"
#include "qapi/qapi-commands-net.h"
#include "sysemu/runstate.h"
#include "tests/qtest/libqtest.h"
#include "tests/qtest/libqos/pci-pc.h"
#include "../virtio-in-order-hostile.h"
#include "fuzz.h"

#define FUZZ_SLOT   4

typedef struct InOrderTarget {
    DevId id;
    const Mode *mode;
} InOrderTarget;

static Hostile hostile;
static const InOrderTarget *current;

static void fuzz_run(void)
{
    flush_events(rig->qts);
}

static void fuzz_set_link(bool up)
{
    qmp_set_link("dev0", up, &error_abort);
}

static void fuzz_set_running(bool on)
{
    if (on) {
        vm_start();
    } else {
        vm_stop(RUN_STATE_PAUSED);
    }
}

static const HostileHost fuzz_host = {
    .run = fuzz_run,
    .set_link = fuzz_set_link,
    .set_running = fuzz_set_running,
};

static GString *in_order_cmdline(FuzzTarget *t)
{
    g_autofree char *props = NULL;
    GString *cmd = g_string_new("");
    int ram_fd, net_fd;

    current = t->opaque;
    rig = g_new0(Rig, 1);
    rig->mode = current->mode;
    props = mode_props(rig->mode);
    ram_fd = shared_file("ram", RIG_RAM_SIZE);
    ram_init(&rig->ram, ram_fd);
    g_string_append_printf(cmd,
        "%s -nodefaults -display none -machine q35,accel=qtest,"
        "memory-backend=mem -m %" PRIu64 "M "
        "-object memory-backend-file,id=mem,share=on,size=%" PRIu64 "M,"
            "mem-path=/proc/self/fd/%d ",
        TARGET_NAME, RIG_RAM_SIZE / MiB, RIG_RAM_SIZE / MiB, ram_fd);
    if (current->id == DEV_DGRAM) {
        peer_init(&rig->dgram, SOCK_DGRAM, &net_fd);
        g_string_append_printf(cmd,
            "-netdev socket,id=dgram0,fd=%d "
            "-device virtio-net-pci,id=dev0,netdev=dgram0,x-txburst=7",
            net_fd);
    } else {
        /* Slow, so that requests are in flight; and one sector fails */
        g_string_append(cmd,
            "-blockdev driver=null-co,node-name=null,size=1048576,"
                "read-zeroes=on "
            "-blockdev driver=blkdebug,node-name=bad,image=null,"
                "inject-error.0.event=none,inject-error.0.errno=5,"
                "inject-error.0.sector=100 "
            "-object throttle-group,id=slow,x-iops-total=100 "
            "-blockdev driver=throttle,node-name=disk,file=bad,"
                "throttle-group=slow "
            "-device virtio-blk-pci,id=dev0,drive=disk,num-queues=1,"
                "rerror=stop,werror=stop");
    }
    g_string_append_printf(cmd, ",addr=%d,disable-legacy=on,%s", FUZZ_SLOT,
                           props);
    return cmd;
}

static void in_order_pre_fuzz(QTestState *s)
{
    QPCIAddress addr = { .devfn = QPCI_DEVFN(FUZZ_SLOT, 0) };
    Dev *dev = &rig->dev[current->id];
    sigset_t set;

    /* QEMU blocks the signal that libFuzzer's -timeout comes with */
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);

    rig->qts = s;
    alloc_init(&rig->alloc, 0, 1 * MiB, RIG_RAM_SIZE, 4096);
    rig->bus = qpci_new_pc(s, NULL);
    dev->id = current->id;
    dev->pci = virtio_pci_new(rig->bus, &addr);
    dev->vdev = &dev->pci->vdev;
    dev->vdev->ram = &rig->ram;
    dev->vdev->tracked = true;
    qvirtio_pci_device_enable(dev->pci);
    hostile_init(&hostile, current->id, &fuzz_host);
    hostile_recover(&hostile);
}

static void in_order_fuzz(QTestState *s, const unsigned char *data,
                          size_t size)
{
    hostile_input(&hostile, data, size);
}

static void register_in_order_targets(void)
{
    static const char *const names[][MODE_COUNT] = {
        { "virtio-in-order-net-split-off", "virtio-in-order-net-split-on",
          "virtio-in-order-net-packed-off", "virtio-in-order-net-packed-on" },
        { "virtio-in-order-blk-split-off", "virtio-in-order-blk-split-on",
          "virtio-in-order-blk-packed-off", "virtio-in-order-blk-packed-on" },
    };
    static InOrderTarget targets[ARRAY_SIZE(names)][MODE_COUNT];
    unsigned i, j;

    for (i = 0; i < ARRAY_SIZE(names); i++) {
        for (j = 0; j < MODE_COUNT; j++) {
            targets[i][j] = (InOrderTarget) {
                i ? DEV_SLOW : DEV_DGRAM, &modes[j],
            };
            fuzz_add_target(&(FuzzTarget) {
                .name = names[i][j],
                .description = "A virtio driver that keeps no rule",
                .get_init_cmdline = in_order_cmdline,
                .pre_fuzz = in_order_pre_fuzz,
                .fuzz = in_order_fuzz,
                .opaque = &targets[i][j],
            });
        }
    }
}

fuzz_target_init(register_in_order_targets);
