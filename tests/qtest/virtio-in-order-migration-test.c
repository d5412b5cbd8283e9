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
 */

#include "qemu/osdep.h"
#include "virtio-in-order-migration-blk.h"
#include "virtio-in-order-migration-cases.h"

int main(int argc, char **argv)
{
    unsigned i;

    g_test_init(&argc, &argv, NULL);
    mig_path("virtio-in-order-migration");
    for (i = 0; i < MODE_COUNT; i++) {
        blk_add_tests(&modes[i]);
        scsi_add_tests(&modes[i]);
        serial_add_tests(&modes[i]);
        net_add_tests(&modes[i]);
        misc_add_tests(&modes[i]);
        traffic_add_tests(&modes[i]);
        stream_add_tests(&modes[i]);
    }
    return g_test_run();
}
