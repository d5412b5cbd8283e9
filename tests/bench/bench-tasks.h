/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Benchmarks of virtio devices: what each thread of a QEMU does
 *
 * CPU time and sleeps are what the kernel counts anyway, in /proc.  System
 * calls are counted by the tracepoint raw_syscalls:sys_enter, which makes each
 * of them slower on the whole machine for as long as they are counted; so the
 * two do not belong into one measurement.
 *
 * Everything here runs in one thread.
 */

#ifndef TESTS_BENCH_TASKS_H
#define TESTS_BENCH_TASKS_H

typedef struct BenchTask {
    pid_t tid;
    char name[16];
    uint64_t cpu;           /* nanoseconds, up to the kernel's last tick */
    uint64_t sleeps;        /* times that it gave its CPU up by itself */
    uint64_t syscalls;      /* see bench_syscalls_stop() */
    int fd;                 /* counter of system calls, or -1 */
} BenchTask;

/**
 * bench_tasks_read: the threads of a process, now
 * @pid: the process
 *
 * Returns: an array of BenchTask for g_array_unref()
 */
GArray *bench_tasks_read(pid_t pid);

/**
 * bench_tasks_subtract: what the threads did since an earlier reading
 * @now: a reading; becomes the difference
 * @before: an earlier one of the same process; with it, system calls were
 *          counted if at all
 */
void bench_tasks_subtract(GArray *now, const GArray *before);

/**
 * bench_syscalls_start: begin to count system calls
 * @tasks: threads, of bench_tasks_read()
 *
 * Returns: false where that is not allowed or not there
 */
bool bench_syscalls_start(GArray *tasks);

/**
 * bench_syscalls_stop: end what bench_syscalls_start() has begun
 * @tasks: the same; gets its counts
 */
void bench_syscalls_stop(GArray *tasks);

#endif
