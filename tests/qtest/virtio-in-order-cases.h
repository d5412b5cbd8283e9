/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: the cases of virtio-in-order-test.c that have files of their own
 *
 * They are entered, under their names, in virtio-in-order-test.c.  What a
 * failure means is said where they are defined.
 */

#ifndef TESTS_QTEST_VIRTIO_IN_ORDER_CASES_H
#define TESTS_QTEST_VIRTIO_IN_ORDER_CASES_H

/* virtio-in-order-reset.c: what must not outlast a reset */

/**
 * test_reset: device reset with everything in flight
 * @data: a Mode, which has to outlive the rig
 */
void test_reset(const void *data);

/**
 * test_queue_reset: reset of one queue at a time
 * @data: a Mode, which has to outlive the rig
 */
void test_queue_reset(const void *data);

/**
 * test_bad_driver: drivers that break the rules, and one after them that
 * does not
 * @data: a Mode, which has to outlive the rig
 */
void test_bad_driver(const void *data);

/* virtio-in-order-blk.c: disks */

/**
 * test_blk: rings full of requests, and requests as long as the ring
 * @data: a Mode, which has to outlive the rig
 */
void test_blk(const void *data);

/**
 * test_blk_overtake: requests that overtake each other
 * @data: a Mode, which has to outlive the rig
 */
void test_blk_overtake(const void *data);

/*
 * virtio-in-order-feature.c: who offers the feature; each case stops the rig
 * and starts a QEMU of its own
 */

/**
 * test_mmio: a network card on virtio-mmio
 * @data: a Mode
 */
void test_mmio(const void *data);

/**
 * test_feature_default: devices that were not asked for the feature
 */
void test_feature_default(void);

/**
 * test_feature_legacy: a legacy device that was asked for it
 */
void test_feature_legacy(void);

/**
 * test_feature_status: the name of the feature in x-query-virtio-status
 */
void test_feature_status(void);

/**
 * test_feature_devices: every type of device that there is
 */
void test_feature_devices(void);

#endif
