/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: the cases of virtio-in-order-migration-test, by subject
 */

#ifndef TESTS_QTEST_VIRTIO_IN_ORDER_MIGRATION_CASES_H
#define TESTS_QTEST_VIRTIO_IN_ORDER_MIGRATION_CASES_H

#include "virtio-in-order-migration-rig.h"

/**
 * misc_add_tests: devices whose buffers are not in the stream
 * @mode: one for each
 */
void misc_add_tests(const Mode *mode);

/**
 * net_add_tests: virtio-net
 * @mode: one for each
 */
void net_add_tests(const Mode *mode);

/**
 * scsi_add_tests: virtio-scsi
 * @mode: one for each
 */
void scsi_add_tests(const Mode *mode);

/**
 * serial_add_tests: virtio-serial
 * @mode: one for each
 */
void serial_add_tests(const Mode *mode);

/**
 * stream_add_tests: what stands in the stream, and damaged streams
 * @mode: one for each
 */
void stream_add_tests(const Mode *mode);

/**
 * traffic_add_tests: a driver that goes on while the device migrates
 * @mode: one for each
 */
void traffic_add_tests(const Mode *mode);

/* What the fuzzer starts from, as blk_seed() */
void balloon_seed(const Mode *mode, MigSeed *seed);
void net_seed(const Mode *mode, MigSeed *seed);
void scsi_seed(const Mode *mode, MigSeed *seed);
void serial_seed(const Mode *mode, MigSeed *seed);

/**
 * plain_seed: the stream of a device that has been started, and no more
 * @mode: what the device offers
 * @device: its name and properties, for -device; rng0 is a source of entropy
 * @seed: filled in
 */
void plain_seed(const Mode *mode, const char *device, MigSeed *seed);

#endif
