/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: the cases of virtio-in-order-multi-test.c
 *
 * What a failure means is said where they are defined.  Each takes a Mode as
 * its argument, which has to outlive the rig.
 */

#ifndef TESTS_QTEST_VIRTIO_IN_ORDER_MULTI_H
#define TESTS_QTEST_VIRTIO_IN_ORDER_MULTI_H

/* virtio-in-order-mq.c: a network card with several pairs of queues */
void test_mq_traffic(const void *data);
void test_mq_change(const void *data);
void test_mq_burst(const void *data);
void test_mq_reset(const void *data);
void test_mq_refused(const void *data);

/* virtio-in-order-reconnect.c: back ends that stop, crash and come back */
void test_net_handover(const void *data);
void test_net_link(const void *data);
void test_net_crash(const void *data);
void test_blk_handover(const void *data);
void test_blk_crash(const void *data);

#endif
