/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * svq-bench: traffic on the queues of a vDPA device, and what it takes
 *
 * One thread is the driver of all queues, and asks QEMU for its status now and
 * then.  It never sleeps, but gives up its CPU whenever it has nothing to do:
 * the simulated device runs there, too, so that what forwards between the two
 * has the other CPU for itself.
 */

#ifndef TESTS_BENCH_TRAFFIC_H
#define TESTS_BENCH_TRAFFIC_H

#include "bench-load.h"
#include "bench-probe.h"
#include "bench-vdpa.h"

typedef enum BenchDirection {
    BENCH_DIR_TX,
    BENCH_DIR_RX,
    BENCH_DIR_BOTH,
    BENCH_DIR_LOOP,     /* a packet goes out and comes back, one at a time */
    BENCH_DIRS
} BenchDirection;

typedef struct BenchTrafficOptions {
    BenchDirection dir;
    uint32_t size;      /* bytes of a packet */
    uint32_t batch;     /* buffers that are published at once */
    bool yield;         /* others have to run on our CPU */
} BenchTrafficOptions;

typedef struct BenchTraffic {
    const BenchTrafficOptions *opts;
    BenchVdpa *v;
    BenchLoadOptions load_opts[2];          /* receive, transmit */
    BenchLoad loads[2 * VDPA_SIM_MAX_PAIRS];
    BenchLoad *by_load[2 * VDPA_SIM_MAX_PAIRS];
    unsigned n;                             /* of @loads */
    BenchProbe *probe;                      /* or NULL */
    GArray *trips;                          /* nanoseconds, uint64_t */
    uint64_t pause;     /* longest time without a packet on a load, ns */
} BenchTraffic;

/* What has happened, or happened in a stretch of time */
typedef struct BenchFlow {
    uint64_t packets;                       /* of all pairs */
    uint64_t pair[VDPA_SIM_MAX_PAIRS];
    uint64_t kicks;                         /* of the driver */
    uint64_t wall;                          /* nanoseconds */
    uint64_t driver;                        /* CPU time of this thread */
    GArray *tasks;                          /* QEMU's, of bench-tasks.h */
    /* Of the device, all its data queues together */
    uint64_t device_batches;
    uint64_t device_kicks_doorbell;
    uint64_t device_kicks_eventfd;
    uint64_t device_calls;
    uint64_t device_sleeps;
} BenchFlow;

/**
 * bench_traffic_init: prepare the queues, start the device
 * @t: to be freed with bench_traffic_cleanup()
 * @v: a QEMU that was started; has to outlive @t, and gets ready
 * @opts: what to do; has to outlive @t
 */
void bench_traffic_init(BenchTraffic *t, BenchVdpa *v,
                        const BenchTrafficOptions *opts);

/**
 * bench_traffic_run: keep all queues busy for some time
 * @t: traffic
 * @ns: nanoseconds
 *
 * Packets are in flight afterwards, except with BENCH_DIR_LOOP, which appends
 * the time of each round trip to @t->trips.  The program ends when a queue
 * makes no progress.
 */
void bench_traffic_run(BenchTraffic *t, uint64_t ns);

/**
 * bench_flow_read: what has happened so far
 * @f: to be freed with bench_flow_cleanup()
 * @t: traffic
 */
void bench_flow_read(BenchFlow *f, const BenchTraffic *t);

/**
 * bench_flow_since: what happened since an earlier reading
 * @now: a reading; becomes the difference
 * @before: an earlier one
 */
void bench_flow_since(BenchFlow *now, const BenchFlow *before);

/**
 * bench_flow_cleanup: free what belongs to a reading
 * @f: a reading
 */
void bench_flow_cleanup(BenchFlow *f);

/**
 * bench_traffic_cleanup: free what belongs to traffic
 * @t: traffic; its device is still there
 */
void bench_traffic_cleanup(BenchTraffic *t);

#endif
