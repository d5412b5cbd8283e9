/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: every virtio device, with virtqueues of both layouts, with and
 * without VIRTIO_F_IN_ORDER
 *
 * Each device does what it is there for, and what it did is verified at its
 * other end: bytes on a socket, sectors on a disk, pixels on a screen.  The
 * driver (libqos/virtio-ring.c) stops at the first used element that the
 * specification does not allow, so each case says only what it adds.
 *
 * This file has the list of all cases.
 *
 * Random choices follow from --seed, which each run prints.
 */

#include "qemu/osdep.h"
#include "virtio-in-order-fleet.h"

static const struct {
    const char *name;
    void (*fn)(const void *mode);
} cases[] = {
    { "rng", test_rng },
    { "console", test_console },
    { "console/stuck", test_console_stuck },
    { "console/control", test_console_control },
    { "input/events", test_input_events },
    { "input/full", test_input_full },
    { "input/status", test_input_status },
    { "gpu", test_gpu },
    { "gpu/cursor", test_gpu_cursor },
    { "balloon", test_balloon },
    { "balloon/stats", test_balloon_stats },
    { "balloon/report", test_balloon_report },
    { "mem", test_mem },
    { "pmem", test_pmem },
    { "iommu", test_iommu },
    { "iommu/fault", test_iommu_fault },
    { "iommu/short-probe", test_iommu_short_probe },
    { "crypto", test_crypto },
    { "9p", test_9p },
    { "9p/reverse", test_9p_reverse },
    { "scsi", test_scsi },
    { "scsi/control", test_scsi_control },
    { "scsi/events", test_scsi_events },
    { "disk/reverse", test_disk_reverse },
    { "disk/random", test_disk_random },
    { "disk/dataplane", test_disk_dataplane },
    { "unplug", test_unplug },
};

int main(int argc, char **argv)
{
    unsigned i, j;
    int ret;

    g_test_init(&argc, &argv, NULL);

    for (i = 0; i < MODE_COUNT; i++) {
        for (j = 0; j < ARRAY_SIZE(cases); j++) {
            g_autofree char *path =
                g_strdup_printf("virtio-in-order/devices/%s/%s",
                                modes[i].name, cases[j].name);

            qtest_add_data_func(path, &modes[i], cases[j].fn);
        }
    }
    ret = g_test_run();
    rig_stop();
    return ret;
}
