/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: the files of virtio-svq-test, each of which adds its cases
 */

#ifndef TESTS_QTEST_VIRTIO_SVQ_CASES_H
#define TESTS_QTEST_VIRTIO_SVQ_CASES_H

#include "virtio-svq-rig.h"
#include "virtio-svq-traffic.h"

/* Packets and buffers of all sizes and forms */
extern const SvqShape svq_any_shape;

/* A case and the QEMU that it is for */
typedef struct SvqCase {
    void (*func)(const SvqConfig *c);
    SvqConfig config;
} SvqCase;

/**
 * svq_add: add a case
 * @path: its path
 * @func: what it does; is only called when there is a device
 * @config: copied; the device is in order if the guest is
 */
void svq_add(const char *path, void (*func)(const SvqConfig *c),
             const SvqConfig *config);

/**
 * svq_verify: have the device check what is sent
 * @nic: a card; of all its pairs
 */
void svq_verify(SvqNic *nic);

/**
 * svq_source: have the device send packets
 * @nic: a card
 * @pair: to which receive queue
 * @stream: what they belong to
 * @count: how many, in all of the device's life
 * @len_max: bytes of frame
 */
void svq_source(SvqNic *nic, unsigned pair, unsigned stream, uint64_t count,
                unsigned len_max);

/**
 * svq_both_ways: send and receive, from a first packet to the last
 * @nic: a card with empty queues
 * @shape: what packets and buffers are like
 * @count: packets for each direction and pair
 * @what: what is going on, for the message
 *
 * The test stops when anything is lost, doubled, late or damaged, or as in
 * svq_check().
 */
void svq_both_ways(SvqNic *nic, const SvqShape *shape, unsigned count,
                   const char *what);

/* Each adds the cases of its file */
void svq_add_change_cases(void);
void svq_add_memory_cases(void);
void svq_add_migration_cases(void);
void svq_add_notify_cases(void);

#endif
