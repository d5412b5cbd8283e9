/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Benchmarks of virtio devices: the host's CPUs and clocks, and the command
 * line
 *
 * What the user can mend ends the program with bench_die().
 */

#ifndef TESTS_BENCH_HOST_H
#define TESTS_BENCH_HOST_H

/* Where things run */
typedef struct BenchCpus {
    int driver;         /* CPU of the program; -1: any */
    int qemu;           /* CPU of what is measured; -1: any */
    bool shared;        /* it is one and the same, and has to be given up */
} BenchCpus;

/* "off" and "on", for bench_choice() */
extern const char *const bench_switches[2];

/**
 * bench_program: the program begins
 * @name: how it calls itself in messages
 *
 * What libqtest prints with g_test_message(), QEMU's command line, is not
 * shown.
 */
void bench_program(const char *name);

/**
 * bench_die: end the program with a message
 * @fmt: what happened; what to do
 *
 * QEMU is stopped, as whenever the program ends by exit().
 */
void bench_die(const char *fmt, ...) G_GNUC_PRINTF(1, 2) G_GNUC_NORETURN;

/**
 * bench_choice: an option whose argument is one of some words
 * @option: its name, for the message if it is none of them
 * @text: its argument
 * @names: the words
 * @n: number of them
 *
 * Returns: the number of the word
 */
int bench_choice(const char *option, const char *text,
                 const char *const *names, int n);

/**
 * bench_number: an option whose argument is a number
 * @option: its name, for the message if it is out of range
 * @text: its argument
 * @min: smallest value
 * @max: largest value
 */
double bench_number(const char *option, const char *text, double min,
                    double max);

/**
 * bench_cpus_choose: where to run
 * @cpus: filled in
 * @text: DRIVER,QEMU or "none", as --cpus has it; or NULL for the first and
 *        the last CPU that this program may use
 */
void bench_cpus_choose(BenchCpus *cpus, const char *text);

/**
 * bench_pin: make a thread run on one CPU
 * @tid: the thread, 0 for the caller
 * @cpu: its number, -1 leaves things as they are
 */
void bench_pin(pid_t tid, int cpu);

/**
 * bench_ping_pong: how long does a cache line take between the CPUs?
 * @cpus: the two; the calling thread is pinned to the first
 *
 * Returns: nanoseconds of a round trip, the median of several stretches, since
 * others may use the CPUs; NAN where there is only one to run on
 */
double bench_ping_pong(const BenchCpus *cpus);

/**
 * bench_clock: read a clock
 * @clock: a clock of clock_gettime(), which has to be there
 *
 * Returns: nanoseconds
 */
uint64_t bench_clock(clockid_t clock);

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
