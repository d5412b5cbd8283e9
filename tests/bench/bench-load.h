/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * virtio-bench: what the device is given to do, and how long it takes
 *
 * Everything here runs in one thread.
 */

#ifndef TESTS_BENCH_LOAD_H
#define TESTS_BENCH_LOAD_H

#include "bench-machine.h"

typedef enum BenchCase {
    BENCH_NET_TX,       /* packets to a hub that forgets them */
    BENCH_NET_RX,       /* received packets, mergeable buffers */
    BENCH_NET_FEED,     /* the same into a card without link: the socket */
    BENCH_BLK_READ,     /* requests to a disk that does nothing */
    BENCH_BLK_WRITE,
    BENCH_CASES
} BenchCase;

typedef enum BenchPace {
    BENCH_STREAMING,    /* the ring is kept topped up */
    BENCH_FILLED,       /* filled at once, one kick, wait for all, pause */
    BENCH_PACES
} BenchPace;

typedef struct BenchLoadOptions {
    BenchCase what;
    BenchPace pace;
    uint32_t size;      /* bytes of a packet, or of data of a request */
    uint32_t batch;     /* buffers for each publication while streaming */
    uint32_t gap;       /* nanoseconds between looks at a ring without news */
    uint32_t pause;     /* filled: nanoseconds without work between rings */
    bool indirect;      /* blk: in an indirect table */
    bool write_data;    /* net-tx: write each packet's bytes before sending */
    bool interrupts;    /* the driver does not suppress them */
    bool yield;         /* the device shares our CPU */
} BenchLoadOptions;

typedef struct BenchLoad {
    const BenchLoadOptions *opts;
    BenchMachine *m;
    unsigned queue;         /* number of its queue */
    BenchRing ring;
    BenchDone *done;        /* for each buffer that comes back */
    uint8_t *mem;           /* of the slots */
    uint32_t stride;        /* bytes of a slot */
    uint64_t seen;          /* buffers that had come back at the last look */
    uint64_t progress;      /* wall clock when that changed */
    uint64_t fed;           /* net-rx: packets written to the socket */
    uint8_t *packets;       /* net-rx: what is written to the socket */
    uint32_t chunk;         /* net-rx: number of packets there */
    size_t partial;         /* net-rx: bytes of a packet cut off */
    uint32_t relax;         /* turns of bench_relax() for one gap */
} BenchLoad;

/* What happened in a stretch of time */
typedef struct BenchSpan {
    uint64_t buffers;       /* that came back */
    uint64_t entries;       /* used entries that the device wrote */
    uint64_t kicks;
    uint64_t cpu;           /* of QEMU, nanoseconds */
    uint64_t wall;          /* nanoseconds */
    uint64_t driver;        /* CPU time of this program, nanoseconds */
} BenchSpan;

/**
 * bench_load_init: prepare a ring of a machine
 * @l: to be freed with bench_load_cleanup()
 * @m: a machine that is not ready yet; has to outlive @l
 * @queue: number of the queue
 * @opts: what to do; has to outlive @l
 */
void bench_load_init(BenchLoad *l, BenchMachine *m, unsigned queue,
                     const BenchLoadOptions *opts);

/**
 * bench_load_step: keep the ring topped up
 * @l: a load of a machine that is ready
 *
 * Take what came back, make it available again.
 *
 * Returns: number of buffers that came back
 */
uint32_t bench_load_step(BenchLoad *l);

/**
 * bench_load_add: make some buffers available, and kick if the device wants it
 * @l: a load of a machine that is ready
 * @n: number of them, no more than are free
 */
void bench_load_add(BenchLoad *l, uint32_t n);

/**
 * bench_load_relax: wait for the device without disturbing it
 * @l: a load without news
 */
void bench_load_relax(const BenchLoad *l);

/**
 * bench_load_check: end the program if the device is stuck
 * @l: a load that has buffers in flight; to be called now and then
 * @now: wall clock
 */
void bench_load_check(BenchLoad *l, uint64_t now);

/**
 * bench_load_run: keep the device busy for some time
 * @l: a load
 * @ns: nanoseconds
 * @span: what happened meanwhile; may be NULL
 *
 * With BENCH_STREAMING, buffers are in flight afterwards, and the next call
 * goes on.  The program ends as in bench_load_check().
 */
void bench_load_run(BenchLoad *l, uint64_t ns, BenchSpan *span);

/**
 * bench_load_drain: wait for everything that is in flight
 * @l: a load; receive buffers stay in the ring
 */
void bench_load_drain(BenchLoad *l);

/**
 * bench_load_cleanup: free what belongs to a load
 * @l: a load; its machine is still there
 */
void bench_load_cleanup(BenchLoad *l);

#endif
