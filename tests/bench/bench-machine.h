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
#include "bench-ring.h"

typedef enum BenchDevice {
    BENCH_NET_SINK,     /* virtio-net, a hub takes and forgets all packets */
    BENCH_NET_SOCKET,   /* virtio-net on a stream socket */
    BENCH_BLK,          /* virtio-blk on a disk that does nothing */
} BenchDevice;

typedef struct BenchOptions {
    const char *qemu;       /* program */
    BenchDevice device;
    const Mode *mode;       /* layout and order */
    uint32_t ring;          /* entries of the queue under test */
    bool event_idx;         /* negotiate VIRTIO_RING_F_EVENT_IDX */
    bool indirect;          /* negotiate VIRTIO_RING_F_INDIRECT_DESC */
    bool link_down;         /* the network card has no link */
    bool kick_qtest;        /* kick through the qtest socket, if it must be */
    bool trace;             /* count notifications by trace events */
    int cpu_driver;         /* to run on; -1: anywhere */
    int cpu_qemu;
} BenchOptions;

/* What the device says of the queue under test; -1: it does not say */
typedef struct BenchCounters {
    int64_t buffers;        /* published */
    int64_t entries;
    int64_t publications;
    int64_t notifications;
    int64_t traced;         /* notifications by trace events */
} BenchCounters;

typedef struct BenchMachine {
    const BenchOptions *opts;
    QTestState *qts;
    QPCIBus *bus;
    QVirtioPCIDevice *pci;
    QVirtioDevice *vdev;    /* part of @pci */
    QGuestAllocator alloc;
    QVirtioRam ram;
    QVirtQueue *vqs[3];     /* of the device, by number */
    unsigned nvqs;
    unsigned queue;         /* number of the queue under test */
    pid_t pid;
    clockid_t clock;        /* of all of QEMU's threads */
    int kick_fd;            /* host notifier of the queue under test, or -1 */
    int feed_fd;            /* our end of BENCH_NET_SOCKET's socket, or -1 */
    uint64_t kicks;
    char *dir;              /* scratch folder */
} BenchMachine;

/**
 * bench_die: end the program with a message
 * @fmt: what happened; what to do
 *
 * QEMU is stopped, as whenever the program ends by exit().
 */
void bench_die(const char *fmt, ...) G_GNUC_PRINTF(1, 2) G_GNUC_NORETURN;

/**
 * bench_pin: make a thread run on one CPU
 * @tid: the thread, 0 for the caller
 * @cpu: its number, -1 leaves things as they are
 */
void bench_pin(pid_t tid, int cpu);

/**
 * bench_machine_start: start a QEMU, set its device up
 * @m: to be ended with bench_machine_stop()
 * @opts: what to start; has to outlive @m
 *
 * The driver is not ready yet: the caller writes the ring of
 * @m->vqs[@m->queue] first, then calls bench_machine_ready().
 */
void bench_machine_start(BenchMachine *m, const BenchOptions *opts);

/**
 * bench_machine_ready: DRIVER_OK; find the host notifier
 * @m: a machine
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
 * bench_machine_kick: tell the device to look at the queue under test
 * @m: a machine that is ready
 */
void bench_machine_kick(BenchMachine *m);

/**
 * bench_machine_kick_qtest: give up the eventfd
 * @m: a machine; from now on kicks go through the qtest socket
 */
void bench_machine_kick_qtest(BenchMachine *m);

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

/**
 * bench_now: wall clock
 *
 * Returns: nanoseconds since some time
 */
static inline uint64_t bench_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

#endif
