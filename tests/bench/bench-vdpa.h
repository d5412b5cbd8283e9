/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * svq-bench: a QEMU with a network card on a simulated vDPA device
 *
 * The device is tests/vdpa-sim, loaded into QEMU.  What it has is chosen
 * here, as is whether QEMU shadows its queues, and where.  bench-machine.h does
 * the rest; this sets the number of queue pairs, and finds the eventfds by
 * which the guest's driver kicks.
 *
 * Everything here runs in one thread.
 */

#ifndef TESTS_BENCH_VDPA_H
#define TESTS_BENCH_VDPA_H

#include "vdpa-sim/vdpa-sim.h"
#include "bench-load.h"
#include "bench-machine.h"

/* When does the device want to hear of new buffers? */
typedef enum BenchDeviceKicks {
    BENCH_DEVICE_POLLS,     /* as good as never, it looks by itself */
    BENCH_DEVICE_SLEEPS,    /* when it has found nothing */
    BENCH_DEVICE_WANTS,     /* always, as hardware does */
    BENCH_DEVICE_KICKS
} BenchDeviceKicks;

typedef struct BenchVdpaOptions {
    const char *so;         /* vdpa-sim.so */
    unsigned pairs;         /* of queues */
    bool packed;            /* the device's rings */
    bool in_order;
    BenchDeviceKicks kicks;
    bool svq;               /* x-svq=on; otherwise the guest has the rings */
    unsigned iothreads;     /* that forward; 0: the main loop */
    const char *doorbell;   /* svq-doorbell=; NULL: not given */
} BenchVdpaOptions;

typedef struct BenchVdpa {
    const BenchVdpaOptions *opts;
    BenchOptions machine_opts;
    Mode mode;              /* of the guest's rings */
    char *path;             /* of the device */
    char *args;             /* of QEMU */
    VdpaSim *sim;
    BenchMachine m;
} BenchVdpa;

/**
 * bench_vdpa_start: make a device and start a QEMU on it
 * @v: to be ended with bench_vdpa_stop()
 * @opts: what to start; has to outlive @v
 * @machine: the program, CPUs, ring and whether to negotiate event indexes; the
 *           rest is ignored
 * @more: further options for QEMU's command line
 *
 * The driver is not ready yet: the caller prepares a load for each queue that
 * it wants to use, and calls bench_vdpa_ready().
 */
void bench_vdpa_start(BenchVdpa *v, const BenchVdpaOptions *opts,
                      const BenchOptions *machine, const char *more);

/**
 * bench_vdpa_ready: DRIVER_OK; use all pairs; find the host notifiers
 * @v: a QEMU that was started
 * @loads: the loads on queues of @v; nothing is in flight
 * @n: number of them
 * @loop: the device gives the packets of each pair's transmit queue back on its
 *        receive queue, and makes none by itself
 *
 * The loads may have moved some buffers then.
 */
void bench_vdpa_ready(BenchVdpa *v, BenchLoad **loads, unsigned n, bool loop);

/**
 * bench_vdpa_quiet: have the device do nothing any more
 * @v: a QEMU that is ready
 */
void bench_vdpa_quiet(BenchVdpa *v);

/**
 * bench_vdpa_check: end the program if QEMU has broken the device's rules
 * @v: a QEMU that is ready
 */
void bench_vdpa_check(BenchVdpa *v);

/**
 * bench_vdpa_stop: stop QEMU
 * @v: a QEMU that was started
 */
void bench_vdpa_stop(BenchVdpa *v);

#endif
