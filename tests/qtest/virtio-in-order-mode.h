/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: the modes that virtqueues are tested in, and memory shared with QEMU
 *
 * Everything here runs in the test's one thread.
 */

#ifndef TESTS_QTEST_VIRTIO_IN_ORDER_MODE_H
#define TESTS_QTEST_VIRTIO_IN_ORDER_MODE_H

#include "libqos/virtio.h"

/* What the devices of a QEMU offer */
typedef struct Mode {
    const char *name;       /* in the path of a case */
    bool packed;            /* the layout of the rings */
    bool in_order;
} Mode;

#define MODE_COUNT      4

/* Both layouts, with and without in-order */
extern const Mode modes[MODE_COUNT];

/**
 * mode_negotiate: accept what a device offers
 * @vdev: a device that has been reset and acknowledged
 * @mode: what it has to offer, no more and no less, or everything that
 *        follows would test something else: the test stops otherwise
 * @without: features to leave out
 */
void mode_negotiate(QVirtioDevice *vdev, const Mode *mode, uint64_t without);

/**
 * case_begin: have a case end the test if it takes too long
 * @seconds: the time that it has, until case_end()
 *
 * A test that waits in vain says so then, and takes its QEMU with it.
 */
void case_begin(unsigned seconds);

/**
 * case_end: the case is over
 */
void case_end(void);

/**
 * shared_file: a file in memory, for a disk or guest memory
 * @name: what the kernel shows as its name
 * @size: bytes, all zero
 *
 * QEMU opens it as /proc/self/fd/N.  The test stops when there is no memory.
 *
 * Returns: the descriptor, which the caller closes once QEMU has been started
 */
int shared_file(const char *name, size_t size);

/**
 * shared_map: map a file of shared_file()
 * @fd: the file; may be closed afterwards
 * @size: bytes
 *
 * The test stops when it cannot be mapped.
 *
 * Returns: the mapping, which the caller unmaps
 */
void *shared_map(int fd, size_t size);

#endif
