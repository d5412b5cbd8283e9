/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * virtio-bench: a QEMU with one virtio device, ready to be measured
 *
 * libqtest starts it and libqos finds the device, negotiates and sets up the
 * queues.  From then on nothing goes through the qtest socket: guest memory is
 * mapped here, the queues' host notifiers are eventfds that are written
 * directly, as KVM's ioeventfd would, and the time that QEMU has used is read
 * from its CPU clock.
 *
 * Everything here runs in one thread.  What the user can mend ends the program
 * with bench_die().
 */

#ifndef TESTS_BENCH_MACHINE_H
#define TESTS_BENCH_MACHINE_H

#include "qtest/libqtest.h"
#include "qtest/libqos/libqos-malloc.h"
#include "qtest/libqos/virtio-pci.h"
#include "qtest/libqos/virtio-ring.h"
#include "qtest/virtio-in-order-mode.h"
#include "bench-host.h"
#include "bench-ring.h"

#define BENCH_MAX_QUEUES    17

typedef enum BenchDevice {
    BENCH_NET_SINK,     /* virtio-net, a hub takes and forgets all packets */
    BENCH_NET_SOCKET,   /* virtio-net on a stream socket */
    BENCH_BLK,          /* virtio-blk on a disk that does nothing */
    BENCH_GIVEN,        /* what the options say */
} BenchDevice;

typedef struct BenchOptions {
    const char *qemu;       /* program */
    BenchDevice device;
    const Mode *mode;       /* layout and order */
    uint32_t ring;          /* entries of the queues under test */
    const char *args;       /* GIVEN: QEMU's options, with a device at slot 4 */
    unsigned nvqs;          /* GIVEN: queues under test, the first ones */
    bool control;           /* GIVEN: set up the one after these as well */
    bool event_idx;         /* negotiate VIRTIO_RING_F_EVENT_IDX */
    bool indirect;          /* negotiate VIRTIO_RING_F_INDIRECT_DESC */
    bool link_down;         /* the network card has no link */
    bool kick_qtest;        /* kick through the qtest socket, if it must be */
    bool trace;             /* count notifications by trace events */
    BenchCpus cpus;         /* of the driver, and of QEMU's main thread */
} BenchOptions;

/* What the device says of the queue under test; -1: it does not say */
typedef struct BenchCounters {
    int64_t buffers;        /* published */
    int64_t entries;
    int64_t publications;
    int64_t notifications;
    int64_t traced;         /* notifications by trace events */
} BenchCounters;

typedef struct BenchQueue {
    QVirtQueue *vq;
    int kick_fd;            /* host notifier, or -1: the qtest socket is used */
    uint64_t kicks;
} BenchQueue;

typedef struct BenchMachine {
    const BenchOptions *opts;
    QTestState *qts;
    QPCIBus *bus;
    QVirtioPCIDevice *pci;
    QVirtioDevice *vdev;    /* part of @pci */
    QGuestAllocator alloc;
    QVirtioRam ram;
    BenchQueue queues[BENCH_MAX_QUEUES];    /* of the device, by number */
    unsigned nvqs;
    unsigned queue;         /* number of the queue under test */
    pid_t pid;
    clockid_t clock;        /* of all of QEMU's threads */
    int feed_fd;            /* our end of BENCH_NET_SOCKET's socket, or -1 */
    char *dir;              /* scratch folder */
} BenchMachine;

/**
 * bench_machine_start: start a QEMU, set its device up
 * @m: to be ended with bench_machine_stop()
 * @opts: what to start; has to outlive @m
 *
 * The driver is not ready yet: the caller writes the ring of
 * @m->queues[@m->queue] first, then calls bench_machine_ready().
 */
void bench_machine_start(BenchMachine *m, const BenchOptions *opts);

/**
 * bench_machine_ready: DRIVER_OK; find the host notifier
 * @m: a machine; of BENCH_GIVEN, the host notifiers are left to the caller
 */
void bench_machine_ready(BenchMachine *m);

/**
 * bench_machine_stop: stop QEMU
 * @m: a machine
 */
void bench_machine_stop(BenchMachine *m);

/**
 * bench_machine_alloc: take guest memory
 * @m: a machine
 * @size: bytes
 *
 * Returns: its guest address; it is all zero
 */
uint64_t bench_machine_alloc(BenchMachine *m, uint64_t size);

/**
 * bench_machine_ptr: our view of guest memory
 * @m: a machine
 * @addr: guest address
 * @size: bytes
 */
void *bench_machine_ptr(BenchMachine *m, uint64_t addr, uint64_t size);

/**
 * bench_machine_kick: tell the device to look at a queue
 * @m: a machine that is ready
 * @queue: its number
 */
void bench_machine_kick(BenchMachine *m, unsigned queue);

/**
 * bench_machine_kick_by: choose how a queue is kicked
 * @m: a machine
 * @queue: its number
 * @fd: its host notifier, becomes @m's; -1: kick through the qtest socket
 */
void bench_machine_kick_by(BenchMachine *m, unsigned queue, int fd);

/**
 * bench_machine_eventfds: QEMU's eventfds
 * @m: a machine
 *
 * Returns: their numbers in QEMU, an array of int in ascending order
 */
GArray *bench_machine_eventfds(const BenchMachine *m);

/**
 * bench_machine_steal_fd: a descriptor of QEMU's
 * @m: a machine
 * @fd: its number in QEMU
 *
 * Returns: a descriptor of ours for the same, or -1 where that is not allowed
 */
int bench_machine_steal_fd(const BenchMachine *m, int fd);

/**
 * bench_machine_cpu: CPU time that QEMU has used
 * @m: a machine
 *
 * Returns: nanoseconds, of all threads
 */
uint64_t bench_machine_cpu(const BenchMachine *m);

/**
 * bench_machine_counters: what the device says of the queue under test
 * @m: a machine that is ready
 * @c: filled in
 *
 * This goes through QMP: not while something is measured.
 */
void bench_machine_counters(BenchMachine *m, BenchCounters *c);

#endif
