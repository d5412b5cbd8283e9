/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * svq-bench: what does a shadow virtqueue cost?
 *
 * This is the command line and the report of one measurement;
 * tests/bench/run-svq makes many of them and compares.  bench-vdpa.c starts
 * QEMU on a simulated vDPA device, bench-traffic.c keeps it busy.
 */

#include "qemu/osdep.h"
#include <getopt.h>
#include <math.h>
#include "qemu/host-utils.h"
#include "bench-tasks.h"
#include "bench-traffic.h"

static const char *const dir_names[BENCH_DIRS] = { "tx", "rx", "both", "loop" };
static const char *const kicks_names[BENCH_DEVICE_KICKS] = {
    "polls", "sleeps", "wants",
};
static const char *const doorbell_names[] = { "auto", "on", "off" };
/* By BenchVdpaOptions.packed + 2 * .in_order */
static const char *const rings_names[] = {
    "split", "packed", "split-in-order", "packed-in-order",
};

typedef struct Settings {
    BenchOptions machine;
    BenchVdpaOptions vdpa;
    BenchTrafficOptions traffic;
    double seconds, warmup;
    bool count, probe;
} Settings;

static const char usage[] =
"Usage: svq-bench --qemu PROGRAM --sim OBJECT [OPTION...]\n"
"\n"
"Measure what QEMU needs for each packet between a guest and a vDPA device.\n"
"The driver is this program, on memory that it shares with QEMU, the device is\n"
"vdpa-sim: no guest, no KVM, no hardware.  The result is one JSON object.\n"
"\n"
"  --qemu PROGRAM        qemu-system-x86_64 to measure\n"
"  --sim OBJECT          vdpa-sim.so\n"
"  --svq on|off          shadow virtqueues; off: the guest has the device's\n"
"                        rings [off]\n"
"  --iothreads N         that forward; 0: the main loop does [0]\n"
"  --doorbell MODE       svq-doorbell=auto, on or off [not given]\n"
"  --rings RINGS         of the device: split [default], packed,\n"
"                        split-in-order or packed-in-order\n"
"  --device KIND         when it wants to be kicked: polls: after 200 us without\n"
"                        work [default], sleeps: when it has found nothing,\n"
"                        wants: always\n"
"  --pairs N             of queues [1]\n"
"  --dir DIRECTION       tx [default], rx or both at full speed; loop: a packet\n"
"                        goes out and comes back, one at a time\n"
"  --seconds S           time to measure [1]\n"
"  --warmup S            time before that [0.05]\n"
"\n"
"  --size BYTES          of a packet [64]\n"
"  --ring N              entries of each ring [256]\n"
"  --batch N             buffers that the driver publishes at once [16]\n"
"  --event-idx on|off    negotiate VIRTIO_RING_F_EVENT_IDX [on]\n"
"  --cpus DRIVER,QEMU    CPUs of the driver with the device, and of what\n"
"                        forwards; or none [the first, the last allowed]\n"
"\n"
"  --probe               ask QEMU for its status every 10 ms, and measure when\n"
"                        it answers\n"
"  --count               count system calls, by a tracepoint; what is shown of\n"
"                        the time is wrong then\n"
"  --help                this\n"
"\n"
"To see where the time goes: perf record -g svq-bench ..., then\n"
"perf report --comm qemu-system-x86 (or 'IO io0' with --iothreads).\n";

static bool is_iothread(const BenchTask *t)
{
    return g_str_has_prefix(t->name, "IO io");
}

/* The device's threads run in QEMU's process, but are not its work */
static bool is_device(const BenchTask *t)
{
    return g_str_has_prefix(t->name, "vdpa-sim/");
}

/*
 * Everything that forwards has a CPU of its own: the main thread is there
 * already.  When it is IOThreads, the main thread may run anywhere.
 */
static void pin_iothreads(const Settings *s, const BenchVdpa *v)
{
    g_autoptr(GArray) tasks = bench_tasks_read(v->m.pid);
    guint i;

    for (i = 0; i < tasks->len; i++) {
        const BenchTask *t = &g_array_index(tasks, BenchTask, i);

        if (is_iothread(t)) {
            bench_pin(t->tid, s->machine.cpus.qemu);
        }
    }
}

static int compare(const void *a, const void *b)
{
    return *(const uint64_t *)a < *(const uint64_t *)b ? -1 :
           *(const uint64_t *)a > *(const uint64_t *)b;
}

static void print_count(const char *name, uint64_t n)
{
    printf("\"%s\": %" PRIu64 ", ", name, n);
}

static void print_number(const char *name, double d, const char *more)
{
    if (isnan(d)) {
        printf("\"%s\": null%s", name, more);
    } else {
        printf("\"%s\": %.1f%s", name, d, more);
    }
}

static void print_list(const char *name, const uint64_t *list, unsigned n)
{
    unsigned i;

    printf("\"%s\": [", name);
    for (i = 0; i < n; i++) {
        printf("%s%" PRIu64, i ? ", " : "", list[i]);
    }
    printf("], ");
}

/* Percentiles of @samples, which become sorted; null where there are none */
static void print_percentiles(const char *name, GArray *samples)
{
    static const struct {
        const char *name;
        double part;
    } at[] = { { "p50", 0.5 }, { "p90", 0.9 }, { "p99", 0.99 }, { "max", 1 } };
    const uint64_t *list = (const uint64_t *)samples->data;
    unsigned i;

    if (!samples->len) {
        printf("\"%s\": null, ", name);
        return;
    }
    qsort(samples->data, samples->len, sizeof(uint64_t), compare);
    printf("\"%s\": {\"n\": %u", name, samples->len);
    for (i = 0; i < ARRAY_SIZE(at); i++) {
        printf(", \"%s\": %" PRIu64, at[i].name,
               list[(size_t)(at[i].part * (samples->len - 1))]);
    }
    printf("}, ");
}

/* QEMU's threads that did something, and what they did together */
static void print_tasks(const GArray *tasks, bool counted)
{
    uint64_t cpu = 0, device = 0, syscalls = 0;
    const char *comma = "";
    guint i;

    printf("\"threads\": [");
    for (i = 0; i < tasks->len; i++) {
        const BenchTask *t = &g_array_index(tasks, BenchTask, i);

        if (is_device(t)) {
            device += t->cpu;
            continue;
        }
        cpu += t->cpu;
        syscalls += t->syscalls;
        if (t->cpu) {
            printf("%s{\"name\": \"%s\", \"cpu_ns\": %" PRIu64
                   ", \"sleeps\": %" PRIu64 ", \"syscalls\": %" PRIu64 "}",
                   comma, t->name, t->cpu, t->sleeps, t->syscalls);
            comma = ", ";
        }
    }
    printf("], ");
    print_count("cpu_ns", cpu);
    print_count("device_ns", device);
    if (counted) {
        print_count("syscalls", syscalls);
    } else {
        printf("\"syscalls\": null, ");
    }
}

static void report(const Settings *s, const BenchTraffic *t,
                   const BenchProbe *probe, const BenchFlow *f, bool counted,
                   double before, double after)
{
    const BenchLoad *first = &t->loads[0];

    printf("{\"dir\": \"%s\", \"svq\": %s, \"iothreads\": %u, "
           "\"rings\": \"%s\", \"device\": \"%s\", \"pairs\": %u, "
           "\"size\": %u, \"ring\": %u, \"batch\": %u, \"kick\": \"%s\", ",
           dir_names[s->traffic.dir], s->vdpa.svq ? "true" : "false",
           s->vdpa.iothreads,
           rings_names[s->vdpa.packed + 2 * s->vdpa.in_order],
           kicks_names[s->vdpa.kicks], s->vdpa.pairs, s->traffic.size,
           s->machine.ring, s->traffic.batch,
           t->v->m.queues[first->queue].kick_fd < 0 ? "qtest" : "eventfd");
    print_count("packets", f->packets);
    print_list("pair_packets", f->pair, s->vdpa.pairs);
    print_count("wall_ns", f->wall);
    print_count("driver_ns", f->driver);
    print_count("kicks", f->kicks);
    print_count("longest_pause_ns", t->pause);
    print_tasks(f->tasks, counted);
    print_count("device_batches", f->device_batches);
    print_count("device_kicks_doorbell", f->device_kicks_doorbell);
    print_count("device_kicks_eventfd", f->device_kicks_eventfd);
    print_count("device_calls", f->device_calls);
    print_count("device_sleeps", f->device_sleeps);
    print_percentiles("trip_ns", t->trips);
    print_list("probe_ns", (const uint64_t *)probe->delays->data,
               probe->delays->len);
    print_number("ping_pong_before", before, ", ");
    print_number("ping_pong_after", after, "}\n");
}

/* Has each pair that is used got some packets through? */
static bool all_moved(const Settings *s, const BenchFlow *now,
                      const BenchFlow *before)
{
    unsigned i, n = s->traffic.dir == BENCH_DIR_LOOP ? 1 : s->vdpa.pairs;

    for (i = 0; i < n; i++) {
        if (now->pair[i] == before->pair[i]) {
            return false;
        }
    }
    return true;
}

static void measure(const Settings *s)
{
    g_autofree char *more = NULL;
    BenchProbe probe;
    BenchVdpa v;
    BenchTraffic t;
    BenchFlow from, flow;
    double before, after;
    bool counted = false;

    more = bench_probe_init(&probe);
    bench_vdpa_start(&v, &s->vdpa, &s->machine, more);
    bench_probe_start(&probe);
    pin_iothreads(s, &v);
    before = bench_ping_pong(&s->machine.cpus);
    bench_traffic_init(&t, &v, &s->traffic);
    bench_traffic_run(&t, s->warmup * 1e9);
    g_array_set_size(t.trips, 0);
    t.pause = 0;
    t.probe = s->probe ? &probe : NULL;
    bench_flow_read(&from, &t);
    if (s->count) {
        counted = bench_syscalls_start(from.tasks);
    }
    bench_traffic_run(&t, s->seconds * 1e9);
    bench_flow_read(&flow, &t);
    while (!all_moved(s, &flow, &from)) {
        /* Which ends the program if it does not get better */
        bench_flow_cleanup(&flow);
        bench_traffic_run(&t, s->seconds * 1e9);
        bench_flow_read(&flow, &t);
    }
    if (counted) {
        bench_syscalls_stop(from.tasks);
    }
    bench_flow_since(&flow, &from);
    bench_vdpa_quiet(&v);
    after = bench_ping_pong(&s->machine.cpus);
    bench_vdpa_check(&v);
    report(s, &t, &probe, &flow, counted, before, after);
    bench_flow_cleanup(&from);
    bench_flow_cleanup(&flow);
    bench_traffic_cleanup(&t);
    bench_vdpa_stop(&v);
    bench_probe_cleanup(&probe);
}

/* What follows from the options, and whether they go together */
static void complete(Settings *s, const char *cpus)
{
    if (!s->machine.qemu || !s->vdpa.so) {
        bench_die("--qemu names the program to measure, --sim the device");
    }
    if (!is_power_of_2(s->machine.ring) || s->traffic.batch > s->machine.ring) {
        bench_die("a ring has 2^n entries, a batch no more; not %u and %u",
                  s->machine.ring, s->traffic.batch);
    }
    if (!s->vdpa.svq && (s->vdpa.iothreads || s->vdpa.doorbell)) {
        bench_die("--iothreads and --doorbell need --svq on");
    }
    bench_cpus_choose(&s->machine.cpus, cpus);
    s->traffic.yield = true;
}

int main(int argc, char **argv)
{
    enum {
        QEMU = 1, SIM, SVQ, IOTHREADS, DOORBELL, RINGS, DEVICE, PAIRS, DIR,
        SECONDS, WARMUP, SIZE, RING, BATCH, EVENT_IDX, CPUS, PROBE, COUNT, HELP,
    };
    static const struct option options[] = {
        { "qemu", required_argument, NULL, QEMU },
        { "sim", required_argument, NULL, SIM },
        { "svq", required_argument, NULL, SVQ },
        { "iothreads", required_argument, NULL, IOTHREADS },
        { "doorbell", required_argument, NULL, DOORBELL },
        { "rings", required_argument, NULL, RINGS },
        { "device", required_argument, NULL, DEVICE },
        { "pairs", required_argument, NULL, PAIRS },
        { "dir", required_argument, NULL, DIR },
        { "seconds", required_argument, NULL, SECONDS },
        { "warmup", required_argument, NULL, WARMUP },
        { "size", required_argument, NULL, SIZE },
        { "ring", required_argument, NULL, RING },
        { "batch", required_argument, NULL, BATCH },
        { "event-idx", required_argument, NULL, EVENT_IDX },
        { "cpus", required_argument, NULL, CPUS },
        { "probe", no_argument, NULL, PROBE },
        { "count", no_argument, NULL, COUNT },
        { "help", no_argument, NULL, HELP },
        { NULL }
    };
    Settings s = {
        .machine = { .ring = 256, .event_idx = true },
        .vdpa = { .pairs = 1 },
        .traffic = { .size = 64, .batch = 16 },
        .seconds = 1, .warmup = 0.05,
    };
    const char *cpus = NULL;
    int c, i;

    bench_program("svq-bench");
    while ((c = getopt_long(argc, argv, "", options, &i)) != -1) {
        const char *name = options[i].name;

        switch (c) {
        case QEMU:
            s.machine.qemu = optarg;
            break;
        case SIM:
            s.vdpa.so = optarg;
            break;
        case SVQ:
            s.vdpa.svq = bench_choice(name, optarg, bench_switches, 2);
            break;
        case IOTHREADS:
            s.vdpa.iothreads = bench_number(name, optarg, 0,
                                            2 * VDPA_SIM_MAX_PAIRS);
            break;
        case DOORBELL:
            bench_choice(name, optarg, doorbell_names,
                         ARRAY_SIZE(doorbell_names));
            s.vdpa.doorbell = optarg;
            break;
        case RINGS:
            c = bench_choice(name, optarg, rings_names,
                             ARRAY_SIZE(rings_names));
            s.vdpa.packed = c & 1;
            s.vdpa.in_order = c & 2;
            break;
        case DEVICE:
            s.vdpa.kicks = bench_choice(name, optarg, kicks_names,
                                        BENCH_DEVICE_KICKS);
            break;
        case PAIRS:
            s.vdpa.pairs = bench_number(name, optarg, 1, VDPA_SIM_MAX_PAIRS);
            break;
        case DIR:
            s.traffic.dir = bench_choice(name, optarg, dir_names, BENCH_DIRS);
            break;
        case SECONDS:
            s.seconds = bench_number(name, optarg, 0.001, 86400);
            break;
        case WARMUP:
            s.warmup = bench_number(name, optarg, 0, 86400);
            break;
        case SIZE:
            s.traffic.size = bench_number(name, optarg, 64, 1500);
            break;
        case RING:
            s.machine.ring = bench_number(name, optarg, 4, 256);
            break;
        case BATCH:
            s.traffic.batch = bench_number(name, optarg, 1, 256);
            break;
        case EVENT_IDX:
            s.machine.event_idx = bench_choice(name, optarg, bench_switches,
                                               2);
            break;
        case CPUS:
            cpus = optarg;
            break;
        case PROBE:
            s.probe = true;
            break;
        case COUNT:
            s.count = true;
            break;
        case HELP:
            fputs(usage, stdout);
            return 0;
        default:
            return 1;
        }
    }
    if (optind < argc) {
        bench_die("%s is too much; see --help", argv[optind]);
    }
    complete(&s, cpus);
    measure(&s);
    return 0;
}
