/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: a QEMU with one of every virtio device that needs no vhost back end,
 * and the cases of virtio-in-order-devices-test.c that run on it
 *
 * What a failure of a case means is said where it is defined.  The cases are
 * in the files virtio-in-order-dev-*.c.  Each takes a Mode as its argument,
 * which has to outlive the rig.
 *
 * Everything here runs in the test's one thread.
 */

#ifndef TESTS_QTEST_VIRTIO_IN_ORDER_FLEET_H
#define TESTS_QTEST_VIRTIO_IN_ORDER_FLEET_H

#include "virtio-in-order-rig.h"

/* The devices of the fleet, in the order of their names in the .c file */
enum {
    FLEET_RNG,          /* its entropy comes out of fleet.entropy */
    FLEET_CONSOLE,      /* a console and a port, see fleet_console() */
    FLEET_BALLOON,
    FLEET_9P,           /* the synthetic file system that qtest gets */
    FLEET_CRYPTO,
    FLEET_KEYBOARD,
    FLEET_MOUSE,
    FLEET_TABLET,
    FLEET_GPU,
    FLEET_IOMMU,
    FLEET_BEHIND_IOMMU, /* another virtio-rng; its DMA is translated */
    FLEET_MEM,
    FLEET_PMEM,
    FLEET_SCSI,         /* targets 0 and 1 are disks on fleet.disk[0, 1] */
    FLEET_SCSI_THREAD,  /* the same in an IOThread, on fleet.disk[2, 3] */
    FLEET_BLK,          /* two queues, on fleet.disk[4] */
    FLEET_BLK_THREAD,   /* the same in an IOThread, on fleet.disk[5] */
    FLEET_COUNT,
};

#define FLEET_CONSOLES      2
#define FLEET_DISKS         6

/* Bytes of each disk, and of the memory of FLEET_MEM and FLEET_PMEM */
#define FLEET_DISK_SIZE     (4 * MiB)
#define FLEET_MEM_SIZE      (64 * MiB)
#define FLEET_PMEM_SIZE     (16 * MiB)

/* The far ends of the devices; descriptors of the test's */
typedef struct Fleet {
    int entropy;                    /* a pipe, not blocking */
    uint8_t *disk[FLEET_DISKS];     /* what is on the disks */
    uint8_t *pmem;
} Fleet;

/* Valid while the rig is of this kind */
extern Fleet fleet;

/**
 * fleet_get: a QEMU with the fleet in @mode, running already or started now
 * @mode: see rig_get()
 *
 * Returns: false when this QEMU cannot run a case in @mode, see can_run(); the
 * case is marked as skipped then
 */
bool fleet_get(const Mode *mode);

/**
 * fleet_drive: what the drive of a disk is called
 * @disk: number in fleet.disk
 *
 * The format driver above it is "raw", and blkdebug is below.
 *
 * Returns: its id, for the human monitor
 */
const char *fleet_drive(unsigned disk);

/**
 * fleet_console: plug in the host's end of a port of FLEET_CONSOLE
 * @i: number of the port; nobody has it plugged in
 *
 * Returns: a socket, not blocking, which the caller closes
 */
int fleet_console(unsigned i);

/**
 * fleet_idle: check a queue that everything has come back from
 * @dev: its device
 * @vq: the queue
 *
 * The test stops as in qvring_check_idle(), when QEMU says that it keeps
 * buffers back, or when the queue is not what the mode wants.
 */
void fleet_idle(Dev *dev, QVirtQueue *vq);

/**
 * fleet_await_config: wait for a configuration change interrupt
 * @dev: the device
 *
 * It may have been there before.  The test stops after RIG_TIMEOUT_US.
 */
void fleet_await_config(Dev *dev);

/* virtio-in-order-dev-stream.c: bytes that come and go */
void test_rng(const void *data);
void test_console(const void *data);
void test_console_stuck(const void *data);
void test_console_control(const void *data);

/* virtio-in-order-dev-desk.c: what stands on a desk */
void test_input_events(const void *data);
void test_input_full(const void *data);
void test_input_status(const void *data);
void test_gpu(const void *data);
void test_gpu_cursor(const void *data);

/* virtio-in-order-dev-memory.c: devices that are about memory */
void test_balloon(const void *data);
void test_balloon_stats(const void *data);
void test_balloon_report(const void *data);
void test_mem(const void *data);
void test_pmem(const void *data);

/* virtio-in-order-dev-iommu.c */
void test_iommu(const void *data);
void test_iommu_fault(const void *data);
void test_iommu_short_probe(const void *data);

/* virtio-in-order-dev-request.c: requests that are computed or served */
void test_crypto(const void *data);
void test_9p(const void *data);
void test_9p_reverse(const void *data);

/* virtio-in-order-dev-disk.c: disks, completing in an order that we choose */
void test_scsi(const void *data);
void test_scsi_control(const void *data);
void test_scsi_events(const void *data);
void test_disk_reverse(const void *data);
void test_disk_random(const void *data);
void test_disk_dataplane(const void *data);

/* virtio-in-order-dev-unplug.c: devices that go, on a machine of their own */
void test_unplug(const void *data);

#endif
