/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a test and vhost-fake.so, loaded into the QEMU under test, share
 *
 * The test creates a VhostFake in a memfd, lists in it the descriptors that are
 * to look like vhost or tap devices, and starts QEMU with vhost-fake.so in
 * LD_PRELOAD and the number of the memfd in the variable VHOST_FAKE_ENV.
 *
 * There is no lock.  QEMU calls its vhost devices from the thread that also
 * answers the test, so whatever a call changed is there once QEMU has answered
 * the test's next command.
 */
#ifndef TESTS_QTEST_VHOST_FAKE_H
#define TESTS_QTEST_VHOST_FAKE_H

#include <stdint.h>

#define VHOST_FAKE_ENV "QTEST_VHOST_FAKE_FD"

enum {
    VHOST_FAKE_MAX_DEVS = 8,
    VHOST_FAKE_MAX_QUEUES = 8,
};

typedef enum VhostFakeKind {
    VHOST_FAKE_KERNEL,          /* /dev/vhost-net, -vsock or -scsi */
    VHOST_FAKE_VDPA,            /* /dev/vhost-vdpa-N, a network device */
    VHOST_FAKE_TAP,             /* /dev/net/tun, attached to an interface */
} VhostFakeKind;

typedef struct VhostFakeDev {
    /* Written by the test before QEMU starts */
    int32_t fd;                 /* the descriptor's number in QEMU */
    uint32_t kind;              /* a VhostFakeKind */
    uint64_t st_dev;            /* the file that it is, so that another one */
    uint64_t st_ino;            /* of this number is never mistaken for it */
    uint64_t features;          /* what the device offers */

    /* Written by vhost-fake.so */
    uint64_t acked;             /* the last features set; 0 after a reset */
    uint64_t backends;          /* bit N: vhost-net's queue N has a back end */
    uint32_t running;           /* vsock is running, scsi has its endpoint */
    uint32_t status;            /* vdpa: the device status */
    uint32_t unknown;           /* requests that were refused as unknown */
    uint32_t last_unknown;      /* the last of them */
    uint32_t vnet_hdr_len;      /* tap: size of the virtio-net header */
    uint32_t detached;          /* tap: this queue is off */
    uint32_t base[VHOST_FAKE_MAX_QUEUES];
} VhostFakeDev;

typedef struct VhostFake {
    uint32_t loaded;            /* vhost-fake.so has seen this */
    uint32_t ndevs;
    VhostFakeDev devs[VHOST_FAKE_MAX_DEVS];
} VhostFake;

#endif
