/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: load vhost-fake.so into the QEMU under test, see vhost-fake.h
 *
 * Everything here runs in the test's one thread.
 */

#ifndef TESTS_QTEST_VHOST_FAKE_LOAD_H
#define TESTS_QTEST_VHOST_FAKE_LOAD_H

#include "vhost-fake.h"

/**
 * vhost_fake_path: where vhost-fake.so is
 *
 * Returns: its path, which the caller frees with free(), or NULL if it cannot
 * be preloaded: it is not next to the test program, or the path has a space
 * or a colon
 */
char *vhost_fake_path(void);

/**
 * vhost_fake_new: get what the test and vhost-fake.so share
 * @fd: set to its descriptor, for QEMU; the caller closes it
 *
 * The test stops when there is no memory.
 *
 * Returns: the VhostFake, without devices, which the caller unmaps
 */
VhostFake *vhost_fake_new(int *fd);

/**
 * vhost_fake_add: have a descriptor look like a device
 * @fake: QEMU has not been started with it
 * @fd: the descriptor, which QEMU inherits; stays the caller's
 * @kind: what it is to look like
 * @features: what the device offers, a mask
 *
 * The test stops when there are too many.
 *
 * Returns: the device, as vhost-fake.so sees it; part of @fake
 */
VhostFakeDev *vhost_fake_add(VhostFake *fake, int fd, VhostFakeKind kind,
                             uint64_t features);

/**
 * vhost_fake_arm: make each QEMU load vhost-fake.so until vhost_fake_disarm()
 * @path: of vhost_fake_path()
 * @fd: of vhost_fake_new()
 */
void vhost_fake_arm(const char *path, int fd);

/**
 * vhost_fake_disarm: undo vhost_fake_arm()
 * @asan_options: what the variable ASAN_OPTIONS was before, or NULL
 */
void vhost_fake_disarm(const char *asan_options);

#endif
