/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Benchmarks of virtio devices: the host's CPUs and clocks, and the command
 * line, see bench-host.h
 */

#include "qemu/osdep.h"
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include "qemu/atomic.h"
#include "qemu/processor.h"
#include "bench-host.h"

/* A cache line's way between two CPUs and back */
typedef struct PingPong {
    uint32_t ball;
    uint32_t alone[31];     /* nothing else in the ball's cache line */
    int cpu;
} PingPong;

/* The ball that ends the game; those before it are counted from 1 */
#define LAST_BALL       UINT32_MAX

const char *const bench_switches[2] = { "off", "on" };

void bench_die(const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "%s: ", g_get_prgname() ?: "bench");
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

static void print_nothing(const char *text)
{
}

void bench_program(const char *name)
{
    g_set_prgname(name);
    g_set_print_handler(print_nothing);
}

int bench_choice(const char *option, const char *text,
                 const char *const *names, int n)
{
    int i;

    for (i = 0; i < n; i++) {
        if (!strcmp(text, names[i])) {
            return i;
        }
    }
    bench_die("--%s cannot be %s; see --help", option, text);
}

double bench_number(const char *option, const char *text, double min,
                    double max)
{
    char *end;
    double d = g_ascii_strtod(text, &end);

    if (end == text || *end || !(d >= min && d <= max)) {
        bench_die("--%s needs a number from %g to %g, not %s; see --help",
                  option, min, max, text);
    }
    return d;
}

void bench_cpus_choose(BenchCpus *cpus, const char *text)
{
    cpu_set_t set;
    int i, first = -1, last = -1;
    char end;

    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof(set), &set);
    for (i = 0; i < CPU_SETSIZE; i++) {
        if (CPU_ISSET(i, &set)) {
            first = first < 0 ? i : first;
            last = i;
        }
    }
    cpus->driver = cpus->qemu = -1;
    if (!text && first != last) {
        cpus->driver = first;
        cpus->qemu = last;
    } else if (text && strcmp(text, "none") &&
               (sscanf(text, "%d,%d%c", &cpus->driver, &cpus->qemu,
                       &end) != 2 || cpus->driver < 0 || cpus->qemu < 0)) {
        bench_die("--cpus needs two numbers like 0,1, or none");
    }
    cpus->shared = cpus->driver >= 0 ? cpus->driver == cpus->qemu :
                                       first == last;
}

void bench_pin(pid_t tid, int cpu)
{
    cpu_set_t set;

    if (cpu < 0) {
        return;
    }
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(tid, sizeof(set), &set)) {
        bench_die("CPU %d cannot be used: %s; choose others with --cpus", cpu,
                  strerror(errno));
    }
}

static void *pong(void *opaque)
{
    PingPong *p = opaque;
    uint32_t ball, mine = 0;

    bench_pin(0, p->cpu);
    while ((ball = qatomic_load_acquire(&p->ball)) != LAST_BALL) {
        if (ball == mine) {
            cpu_relax();
        } else {
            mine = ball + 1;
            qatomic_store_release(&p->ball, mine);
        }
    }
    return NULL;
}

static int compare(const void *a, const void *b)
{
    return *(const uint64_t *)a < *(const uint64_t *)b ? -1 :
           *(const uint64_t *)a > *(const uint64_t *)b;
}

double bench_ping_pong(const BenchCpus *cpus)
{
    const uint32_t rounds = 500;
    const uint64_t limit = 20 * 1000 * 1000;
    PingPong p QEMU_ALIGNED(128) = { .cpu = cpus->qemu };
    uint64_t took[21], first = bench_now(), start;
    uint32_t ball = 0, i, n = 0;
    pthread_t thread;

    if (cpus->shared || p.cpu < 0) {
        return NAN;
    }
    bench_pin(0, cpus->driver);
    if (pthread_create(&thread, NULL, pong, &p)) {
        bench_die("no thread can be started; free some memory");
    }
    do {
        start = bench_now();
        for (i = 0; i < rounds; i++) {
            qatomic_store_release(&p.ball, ++ball);
            ball++;
            while (qatomic_load_acquire(&p.ball) != ball) {
                cpu_relax();
            }
        }
        took[n++] = bench_now() - start;
    } while (n < ARRAY_SIZE(took) && start + took[n - 1] - first < limit);
    qatomic_store_release(&p.ball, LAST_BALL);
    pthread_join(thread, NULL);
    qsort(took, n, sizeof(took[0]), compare);
    return took[n / 2] / (double)rounds;
}

uint64_t bench_clock(clockid_t clock)
{
    struct timespec ts;

    if (clock_gettime(clock, &ts)) {
        bench_die("QEMU is gone; run it by hand to see why");
    }
    return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}
