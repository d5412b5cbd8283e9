/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * svq-bench: how long does QEMU's main loop take to answer?
 *
 * A QMP monitor beside libqtest's, on a socket that is never waited for: the
 * caller sends a command and looks for the answer between packets.  So what is
 * measured is QEMU, and no wake-up of the one who asks.
 *
 * Everything here runs in one thread.
 */

#ifndef TESTS_BENCH_PROBE_H
#define TESTS_BENCH_PROBE_H

typedef struct BenchProbe {
    int fd;
    int peer;           /* QEMU's end, until it has been started */
    uint64_t sent;      /* wall clock of the command under way; 0: none */
    uint64_t due;       /* when the next one is */
    GArray *delays;     /* nanoseconds, uint64_t */
} BenchProbe;

/**
 * bench_probe_init: make a socket
 * @p: to be freed with bench_probe_cleanup()
 *
 * Returns: options for QEMU's command line, for g_free()
 */
char *bench_probe_init(BenchProbe *p);

/**
 * bench_probe_start: wait until QEMU answers
 * @p: a probe whose QEMU has been started
 */
void bench_probe_start(BenchProbe *p);

/**
 * bench_probe_step: ask when it is time, take the answer when there is one
 * @p: a probe that was started
 * @now: wall clock; may be some microseconds old
 *
 * Its delay goes to @p->delays.
 */
void bench_probe_step(BenchProbe *p, uint64_t now);

/**
 * bench_probe_cleanup: free what belongs to a probe
 * @p: a probe
 */
void bench_probe_cleanup(BenchProbe *p);

#endif
