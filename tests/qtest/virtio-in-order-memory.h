/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: what the files of virtio-in-order-memory-test share
 *
 * Everything here runs in the test's one thread.
 */

#ifndef TESTS_QTEST_VIRTIO_IN_ORDER_MEMORY_H
#define TESTS_QTEST_VIRTIO_IN_ORDER_MEMORY_H

#include "virtio-in-order-requests.h"

/* Devices, by number; the SLOW ones are throttled, so that buffers stay */
enum { MEM_DISK, MEM_SLOW, MEM_SLOW_THREAD, MEM_COUNT };

/* A QEMU with these, a card whose BAR is RAM, and a slot for a DIMM */
extern const RigKind mem_kind;

/* virtio-in-order-memory-places.c: buffers that are not just RAM */

/**
 * test_places: data in ROM, in a device, and over the edge of RAM
 * @data: a Mode, which has to outlive the rig
 */
void test_places(const void *data);

/**
 * test_no_place: data where nothing can be
 * @data: a Mode, which has to outlive the rig
 */
void test_no_place(const void *data);

/**
 * test_iommu: data and indirect tables behind an IOMMU
 * @data: a Mode; the case stops the rig and starts a QEMU of its own
 */
void test_iommu(const void *data);

#endif
