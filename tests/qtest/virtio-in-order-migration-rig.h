/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: a virtio device that moves from one QEMU to another
 *
 * The test is the driver of one device and goes on with the same rings in each
 * QEMU that the device comes to.  It maps guest memory itself.  A migration
 * goes through a file in memory, so a case can look at the stream, damage it,
 * or deliver it in pieces.
 *
 * Usually each QEMU has memory of its own, which the stream fills.  A driver
 * that goes on while the device migrates needs MigRig.shared: QEMU does not
 * see what the test writes to guest memory by itself, so that memory has to
 * stay where it is.
 *
 * Everything here runs in the test's one thread.
 */

#ifndef TESTS_QTEST_VIRTIO_IN_ORDER_MIGRATION_RIG_H
#define TESTS_QTEST_VIRTIO_IN_ORDER_MIGRATION_RIG_H

#include "qemu/units.h"
#include "libqtest.h"
#include "libqos/libqos-malloc.h"
#include "libqos/pci.h"
#include "libqos/virtio-pci.h"
#include "libqos/virtio-ring.h"
#include "virtio-in-order-mode.h"

/* Guest memory, bytes */
#define MIG_RAM_SIZE        (8 * MiB)

/* Entries of every ring, unless a case says otherwise */
#define MIG_QUEUE_SIZE      32

/* The subsection that has the order of the buffers in flight */
#define MIG_ORDER           "virtio/in_order"

/* The QEMU that runs the device now, and what the driver knows */
typedef struct MigRig {
    const Mode *mode;
    bool shared;            /* every QEMU works on the same guest memory */
    bool base;              /* the next QEMU is to be mig_base_qemu() */
    QTestState *qts;
    int ram_fd;
    QVirtioRam ram;
    QGuestAllocator alloc;
    QPCIBus *bus;
    QVirtioPCIDevice *pci;
    QVirtioDevice *vdev;
    int stream_fd;          /* of a migration that mig_begin() began, or -1 */
} MigRig;

/**
 * mig_add: add a case, which has its time and ends the test after that
 * @mode: goes to @func, and into the path
 * @name: the rest of the path
 * @func: the case; gets a MigCase
 * @opaque: for MigCase
 */
typedef struct MigCase {
    const Mode *mode;
    const void *opaque;
} MigCase;

void mig_add(const Mode *mode, const char *name,
             void (*func)(const MigCase *c), const void *opaque);

/**
 * mig_path: text that precedes the paths of the cases added from now on
 * @path: lasts as long as the test
 */
void mig_path(const char *path);

/**
 * mig_wait: give QEMU the CPU, in a loop that waits for it
 * @start: 0 before the loop
 * @what: what is waited for; the test stops with it after 20 s
 */
void mig_wait(gint64 *start, const char *what);

/**
 * mig_socket_pair: a pair of sockets
 * @type: SOCK_STREAM, SOCK_DGRAM
 * @qemu_fd: set to the end for QEMU to inherit; the caller closes it then
 *
 * Returns: the end that is the test's alone
 */
int mig_socket_pair(int type, int *qemu_fd);

/**
 * mig_props: the properties that the virtio device has to have
 * @mode: what it has to offer
 *
 * Returns: text for -device, which the caller frees with g_free()
 */
char *mig_props(const Mode *mode);

/**
 * mig_base_qemu: the QEMU that the series is for, without the series
 *
 * Its devices have no property in_order, and its packed rings cannot be loaded
 * with a buffer in flight.
 *
 * Returns: its path, from VIRTIO_IN_ORDER_TEST_BASE_QEMU in the environment, or
 * NULL; the case is marked as skipped then
 */
const char *mig_base_qemu(void);

/**
 * mig_start: start a QEMU that is not the rig's first
 * @rig: from now on its view of guest memory is the one of this QEMU
 * @args: its device
 */
void mig_start(MigRig *rig, const char *args);

/**
 * mig_init: start the first QEMU, and find and negotiate with the device
 * @rig: what @shared and @base say stays, everything else is set
 * @mode: what the device offers
 * @args: the device
 */
void mig_init(MigRig *rig, const Mode *mode, const char *args);

/**
 * mig_negotiate: reset the device and negotiate
 * @rig: a rig with a device
 */
void mig_negotiate(MigRig *rig);

/**
 * mig_cleanup: end the QEMU
 * @rig: its queues are freed already
 */
void mig_cleanup(MigRig *rig);

/**
 * mig_queue_setup: set a queue up
 * @rig: the device's
 * @index: number of the queue
 * @size: entries
 *
 * Returns: the queue, to be freed with mig_queue_free()
 */
QVirtQueue *mig_queue_setup(MigRig *rig, uint16_t index, uint16_t size);

/**
 * mig_queue_free: free a queue
 * @rig: the device's
 * @vq: the queue; buffers may be in flight
 */
void mig_queue_free(MigRig *rig, QVirtQueue *vq);

/**
 * mig_guest: the test's view of guest memory
 * @rig: whose
 * @addr: guest physical address
 * @len: bytes that will be accessed
 *
 * Returns: a pointer that is valid until the device migrates
 */
void *mig_guest(MigRig *rig, uint64_t addr, size_t len);

/**
 * mig_cont: let the VM run
 * @rig: one that is stopped
 */
void mig_cont(MigRig *rig);

/**
 * mig_wait_for_io_error: wait until an I/O error has stopped the VM
 * @rig: one that runs
 */
void mig_wait_for_io_error(MigRig *rig);

/**
 * mig_io_error: has an I/O error stopped the VM?
 * @rig: the VM
 */
bool mig_io_error(MigRig *rig);

/* Migration: the stream is what one QEMU writes and the other reads */

/**
 * mig_capability: switch a migration capability
 * @qts: QEMU
 * @name: the capability
 * @on: switch it on
 */
void mig_capability(QTestState *qts, const char *name, bool on);

/**
 * mig_status: how far a migration is
 * @qts: either QEMU
 * @status: a state of query-migrate
 *
 * Returns: whether it is in this state
 */
bool mig_status(QTestState *qts, const char *status);

/**
 * mig_wait_for_status: wait until a migration is in some state
 * @qts: either QEMU
 * @status: a state of query-migrate; the test stops on "failed", unless that
 *          is what it waits for
 */
void mig_wait_for_status(QTestState *qts, const char *status);

/**
 * mig_give_fd: have QEMU know a file descriptor as "stream"
 * @qts: either QEMU
 * @fd: stays the caller's
 */
void mig_give_fd(QTestState *qts, int fd);

/**
 * mig_begin: begin to migrate away, and go on
 * @rig: ends with mig_end() once mig_status() is "completed"
 */
void mig_begin(MigRig *rig);

/**
 * mig_end: the stream of a migration that is completed
 * @rig: its source
 *
 * Returns: the whole stream
 */
GByteArray *mig_end(MigRig *rig);

/**
 * mig_save: migrate away
 * @rig: the source
 *
 * Returns: the whole stream
 */
GByteArray *mig_save(MigRig *rig);

/**
 * mig_find: find a name in a stream
 * @stream: the stream
 * @name: of a subsection
 *
 * Returns: where the bytes after it begin, or 0
 */
size_t mig_find(const GByteArray *stream, const char *name);

/**
 * mig_offer: have a QEMU with -incoming defer begin to read a stream
 * @qts: the QEMU
 * @stream: may be its end
 */
void mig_offer(QTestState *qts, const GByteArray *stream);

/**
 * mig_load: let a new QEMU take the device over
 * @rig: the old one has migrated; it is ended
 * @args: the device at the destination, as for mig_init()
 * @stream: what the old one wrote
 * @pause: 0, or where the stream pauses, until QEMU has read everything before
 *         it and its main loop goes round
 */
void mig_load(MigRig *rig, const char *args, const GByteArray *stream,
              size_t pause);

/**
 * mig_move: migrate
 * @rig: the source, then the destination
 * @args: the device at the destination
 * @in_flight: the device has buffers
 *
 * The order has to be in the stream exactly if there is one: without
 * VIRTIO_F_IN_ORDER, or without a buffer in flight, a QEMU that does not know
 * the subsection has to be able to read it.
 */
void mig_move(MigRig *rig, const char *args, bool in_flight);

/* What belongs to the device in a stream */
typedef struct MigPart {
    size_t at, len;
} MigPart;

/**
 * mig_parts: find the sections of the device, and of what is behind it
 * @stream: the stream
 *
 * The test stops when there is none.
 *
 * Returns: an array of MigPart, to be freed with g_array_unref()
 */
GArray *mig_parts(const GByteArray *stream);

/* What a section of the device has in its name */
#define MIG_DEVICE      "0000:00:04.0/"

/* For the fuzzer: the stream of a device that has buffers in flight */

typedef struct MigSeed {
    bool base;              /* comes from mig_base_qemu(), if set before */
    bool quiet;             /* leaves out what depends on timing; dito */
    GByteArray *stream;
    char *args;             /* of a QEMU that can read it, without files */
    uint64_t common;        /* guest address of the common configuration */
    uint64_t notify;        /* of the first queue's register */
    uint32_t multiplier;    /* bytes from one queue's to the next one's */
} MigSeed;

/**
 * mig_seed_free: free what belongs to a seed
 * @seed: the seed
 */
void mig_seed_free(MigSeed *seed);

/**
 * mig_seed: migrate away and keep what the fuzzer needs
 * @rig: the source
 * @seed: filled in, but for the arguments
 */
void mig_seed(MigRig *rig, MigSeed *seed);

/* Snapshots */

typedef struct MigSnapshot {
    int fd;
    char *args;             /* for QEMU */
} MigSnapshot;

/**
 * mig_snapshot_init: get a qcow2 image that snapshots can go to
 * @snap: set; to be freed with mig_snapshot_cleanup()
 *
 * Returns: false, and marks the case as skipped, without qemu-img
 */
bool mig_snapshot_init(MigSnapshot *snap);

/**
 * mig_snapshot_cleanup: free the image
 * @snap: what mig_snapshot_init() set
 */
void mig_snapshot_cleanup(MigSnapshot *snap);

/**
 * mig_snapshot_job: save or load a snapshot
 * @rig: a QEMU with the image
 * @command: snapshot-save or snapshot-load
 */
void mig_snapshot_job(MigRig *rig, const char *command);

#endif
