/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * svq-bench: traffic on the queues of a vDPA device, and what it takes, see
 * bench-traffic.h
 */

#include "qemu/osdep.h"
#include "bench-tasks.h"
#include "bench-traffic.h"

/* Rounds over all queues between looks at the clock */
#define ROUNDS          64

void bench_traffic_init(BenchTraffic *t, BenchVdpa *v,
                        const BenchTrafficOptions *opts)
{
    unsigned i;

    memset(t, 0, sizeof(*t));
    t->opts = opts;
    t->v = v;
    t->trips = g_array_new(false, false, sizeof(uint64_t));
    for (i = 0; i < 2; i++) {
        t->load_opts[i] = (BenchLoadOptions) {
            .what = i ? BENCH_NET_TX : BENCH_NET_RX,
            .size = opts->size,
            .batch = opts->batch,
            .yield = opts->yield,
        };
    }
    for (i = 0; i < 2 * v->opts->pairs; i++) {
        /* Transmit first, as run_loop() has it */
        unsigned queue = i ^ 1;
        bool tx = queue & 1;

        if (opts->dir != (tx ? BENCH_DIR_RX : BENCH_DIR_TX)) {
            t->by_load[t->n] = &t->loads[t->n];
            bench_load_init(&t->loads[t->n++], &v->m, queue,
                            &t->load_opts[tx]);
        }
    }
    bench_vdpa_ready(v, t->by_load, t->n, opts->dir == BENCH_DIR_LOOP);
}

static void run_all(BenchTraffic *t, uint64_t ns)
{
    uint64_t now = bench_now(), end = now + ns;
    unsigned i, k;

    while (now < end) {
        for (i = 0; i < ROUNDS; i++) {
            uint32_t n = 0;

            for (k = 0; k < t->n; k++) {
                n += bench_load_step(&t->loads[k]);
            }
            if (!n) {
                bench_load_relax(&t->loads[0]);
            }
            /* An answer must not wait for the next look at the clock */
            if (t->probe && t->probe->sent) {
                bench_probe_step(t->probe, now);
            }
        }
        now = bench_now();
        for (k = 0; k < t->n; k++) {
            bench_load_check(&t->loads[k], now);
            t->pause = MAX(t->pause, now - t->loads[k].progress);
        }
        if (t->probe) {
            bench_probe_step(t->probe, now);
        }
    }
}

static void wait_for(BenchLoad *l, uint64_t reaped)
{
    unsigned i = 0;

    while (l->ring.reaped < reaped) {
        if (!bench_ring_reap(&l->ring, l->done, l)) {
            bench_load_relax(l);
        }
        if (++i % 4096 == 0) {
            bench_load_check(l, bench_now());
        }
    }
}

/* One packet after the other: out on the first load, back on the second */
static void run_loop(BenchTraffic *t, uint64_t ns)
{
    BenchLoad *tx = &t->loads[0], *rx = &t->loads[1];
    uint64_t now = bench_now(), end = now + ns, trip;

    bench_load_step(rx);
    while (now < end) {
        bench_load_add(tx, 1);
        wait_for(rx, rx->ring.reaped + 1);
        trip = bench_now() - now;
        g_array_append_val(t->trips, trip);
        /* Each trip begins with the same rings */
        bench_load_step(rx);
        wait_for(tx, tx->ring.added);
        now = bench_now();
    }
}

void bench_traffic_run(BenchTraffic *t, uint64_t ns)
{
    if (t->opts->dir == BENCH_DIR_LOOP) {
        run_loop(t, ns);
    } else {
        run_all(t, ns);
    }
}

void bench_flow_read(BenchFlow *f, const BenchTraffic *t)
{
    const VdpaSim *sim = t->v->sim;
    unsigned i;

    memset(f, 0, sizeof(*f));
    for (i = 0; i < t->n; i++) {
        const BenchLoad *l = &t->loads[i];

        /* Of a round trip, the way back counts */
        if (t->opts->dir != BENCH_DIR_LOOP || i % 2) {
            f->packets += l->ring.reaped;
            f->pair[l->queue / 2] += l->ring.reaped;
        }
        f->kicks += t->v->m.queues[l->queue].kicks;
    }
    for (i = 0; i < 2 * t->v->opts->pairs; i++) {
        const VdpaSimQueueStats *s = &sim->stats[i];

        f->device_batches += qatomic_read(&s->batches);
        f->device_kicks_doorbell += qatomic_read(&s->kicks_doorbell);
        f->device_kicks_eventfd += qatomic_read(&s->kicks_eventfd);
        f->device_calls += qatomic_read(&s->calls);
        f->device_sleeps += qatomic_read(&s->sleeps);
    }
    f->tasks = bench_tasks_read(t->v->m.pid);
    f->driver = bench_clock(CLOCK_THREAD_CPUTIME_ID);
    f->wall = bench_now();
}

void bench_flow_since(BenchFlow *now, const BenchFlow *before)
{
    unsigned i;

    now->packets -= before->packets;
    for (i = 0; i < VDPA_SIM_MAX_PAIRS; i++) {
        now->pair[i] -= before->pair[i];
    }
    now->kicks -= before->kicks;
    now->wall -= before->wall;
    now->driver -= before->driver;
    bench_tasks_subtract(now->tasks, before->tasks);
    now->device_batches -= before->device_batches;
    now->device_kicks_doorbell -= before->device_kicks_doorbell;
    now->device_kicks_eventfd -= before->device_kicks_eventfd;
    now->device_calls -= before->device_calls;
    now->device_sleeps -= before->device_sleeps;
}

void bench_flow_cleanup(BenchFlow *f)
{
    g_array_unref(f->tasks);
}

void bench_traffic_cleanup(BenchTraffic *t)
{
    unsigned i;

    for (i = 0; i < t->n; i++) {
        bench_load_cleanup(&t->loads[i]);
    }
    g_array_unref(t->trips);
}
