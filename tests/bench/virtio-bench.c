/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * virtio-bench: how much CPU time does a virtio device of QEMU need for a
 * buffer?
 *
 * This is the command line and the report of one measurement; tests/bench/run
 * makes many of them and compares.  bench-machine.c starts QEMU, bench-load.c
 * drives the device over bench-ring.c.
 */

#include "qemu/osdep.h"
#include <getopt.h>
#include <math.h>
#include "qemu/host-utils.h"
#include "bench-load.h"

static const char *const case_names[BENCH_CASES] = {
    [BENCH_NET_TX] = "net-tx",
    [BENCH_NET_RX] = "net-rx",
    [BENCH_NET_FEED] = "net-feed",
    [BENCH_BLK_READ] = "blk-read",
    [BENCH_BLK_WRITE] = "blk-write",
};

static const char *const pace_names[BENCH_PACES] = {
    [BENCH_STREAMING] = "streaming",
    [BENCH_FILLED] = "filled",
};

static const char *const kick_names[] = { "eventfd", "qtest" };
static const char *const json_names[] = { "false", "true" };
static const char *const layout_names[] = { "split", "packed" };

typedef struct Settings {
    BenchOptions machine;
    BenchLoadOptions load;
    Mode mode;
    double seconds, warmup;
    bool count, json;
} Settings;

static const char usage[] =
"Usage: virtio-bench --qemu PROGRAM [OPTION...]\n"
"\n"
"Measure the CPU time that QEMU needs for each buffer of a virtqueue. The\n"
"driver is this program, on memory that it shares with QEMU: no guest, no KVM.\n"
"\n"
"  --qemu PROGRAM        qemu-system-x86_64 to measure\n"
"  --case CASE           net-tx: packets to a hub that forgets them [default]\n"
"                        net-rx: packets from a socket, mergeable buffers\n"
"                        net-feed: net-rx without link, only the socket's cost\n"
"                        blk-read, blk-write: requests to a null disk\n"
"  --layout LAYOUT       split [default] or packed\n"
"  --in-order on|off     VIRTIO_F_IN_ORDER [off]\n"
"  --mode MODE           streaming: the ring is kept topped up [default]\n"
"                        filled: filled at once, one kick, wait for all of it,\n"
"                        pause until the device sleeps\n"
"  --seconds S           time to measure [1]\n"
"  --warmup S            time before that [0.05]\n"
"\n"
"  --size BYTES          of a packet [60] or of a request's data [512]\n"
"  --ring N              entries of the ring [256]\n"
"  --batch N             buffers that the driver publishes at once [16]\n"
"  --gap NS              pause after a look at the ring without news [100]\n"
"  --pause NS            filled: without work between rings [20000]\n"
"  --event-idx on|off    negotiate VIRTIO_RING_F_EVENT_IDX [on]\n"
"  --indirect on|off     blk: requests in indirect tables [on]\n"
"  --interrupts on|off   on: the driver does not suppress them [off]\n"
"  --write-data on|off   net-tx: the driver writes each packet [off]\n"
"  --kick eventfd|qtest  how the device is kicked [eventfd]\n"
"  --cpus DRIVER,QEMU    CPUs to run on, or none [the first, the last allowed]\n"
"\n"
"  --count               count the interrupts that QEMU sends, by trace events;\n"
"                        what it shows of the time is wrong then\n"
"  --json                one JSON object instead of text\n"
"  --ping-pong           only show a cache line's round trip between the CPUs\n"
"  --help                this\n"
"\n"
"To see where the time goes: perf record -g virtio-bench ..., then\n"
"perf report --comm qemu-system-x86.\n";

static const char *kick_name(const BenchMachine *m)
{
    return kick_names[m->queues[m->queue].kick_fd < 0];
}

static void print_number(const char *name, double d, const char *more)
{
    if (isnan(d)) {
        printf("\"%s\": null%s", name, more);
    } else {
        printf("\"%s\": %.3f%s", name, d, more);
    }
}

static void print_counter(const char *name, int64_t from, int64_t to,
                          const char *more)
{
    if (from < 0 || to < 0) {
        printf("\"%s\": null%s", name, more);
    } else {
        printf("\"%s\": %" PRId64 "%s", name, to - from, more);
    }
}

static void report_json(const Settings *s, const BenchMachine *m,
                        const BenchSpan *span, const BenchCounters *from,
                        const BenchCounters *to, double before, double after)
{
    printf("{\"case\": \"%s\", \"layout\": \"%s\", \"in_order\": %s, "
           "\"mode\": \"%s\", \"size\": %u, \"ring\": %u, \"batch\": %u, "
           "\"event_idx\": %s, \"interrupts\": %s, \"kick\": \"%s\", ",
           case_names[s->load.what], layout_names[s->mode.packed],
           json_names[s->mode.in_order], pace_names[s->load.pace],
           s->load.size, s->machine.ring, s->load.batch,
           json_names[s->machine.event_idx], json_names[s->load.interrupts],
           kick_name(m));
    printf("\"buffers\": %" PRIu64 ", \"entries\": %" PRIu64 ", \"kicks\": %"
           PRIu64 ", \"cpu_ns\": %" PRIu64 ", \"wall_ns\": %" PRIu64
           ", \"driver_ns\": %" PRIu64 ", ",
           span->buffers, span->entries, span->kicks, span->cpu, span->wall,
           span->driver);
    print_counter("device_buffers", from->buffers, to->buffers, ", ");
    print_counter("device_entries", from->entries, to->entries, ", ");
    print_counter("device_publications", from->publications,
                  to->publications, ", ");
    print_counter("device_notifications", from->notifications,
                  to->notifications, ", ");
    print_counter("traced_notifications", from->traced, to->traced, ", ");
    print_number("ping_pong_before", before, ", ");
    print_number("ping_pong_after", after, "}\n");
}

static void print_rate(const char *name, double n, double buffers)
{
    printf("%-28s %12.4f for each, %.0f\n", name, n / buffers, n);
}

static void report_text(const Settings *s, const BenchMachine *m,
                        const BenchSpan *span, const BenchCounters *from,
                        const BenchCounters *to, double before, double after)
{
    double n = span->buffers;

    printf("%s %s, in_order=%s, %s, ring %u, %u bytes\n",
           case_names[s->load.what], layout_names[s->mode.packed],
           bench_switches[s->mode.in_order], pace_names[s->load.pace],
           s->machine.ring, s->load.size);
    printf("%-28s %12.1f ns for each%s\n", "CPU time of QEMU", span->cpu / n,
           s->count ? ", disturbed by counting" : "");
    printf("%-28s %12.1f ns for each\n", "wall time", span->wall / n);
    printf("%-28s %12.0f\n", "buffers", n);
    print_rate("used entries", span->entries, n);
    print_rate("kicks", span->kicks, n);
    if (from->notifications >= 0) {
        print_rate("publications",
                   to->publications - from->publications, n);
        print_rate("interrupts", to->notifications - from->notifications, n);
    }
    if (from->traced >= 0) {
        print_rate("interrupts, traced", to->traced - from->traced, n);
    }
    printf("%-28s %12.2f QEMU, %.2f driver\n", "CPUs busy",
           span->cpu / (double)span->wall, span->driver / (double)span->wall);
    printf("%-28s %12.0f ns before, %.0f ns after\n",
           "cache line's round trip", before, after);
    printf("%-28s %12s\n", "kicks by", kick_name(m));
}

/*
 * Run for the time that was asked for, and longer where others use the CPU: the
 * device has to get half of that time, but has no more than four times of it.
 */
static void run(const Settings *s, BenchLoad *l, BenchSpan *span)
{
    uint64_t ns = s->seconds * 1e9;
    BenchSpan more;

    bench_load_run(l, ns, span);
    while (!span->buffers || (span->cpu < ns / 2 && span->wall < 4 * ns)) {
        bench_load_run(l, ns, &more);
        span->buffers += more.buffers;
        span->entries += more.entries;
        span->kicks += more.kicks;
        span->cpu += more.cpu;
        span->wall += more.wall;
        span->driver += more.driver;
    }
}

/* Run, and count what happens until nothing is in flight any more */
static void run_and_count(const Settings *s, BenchMachine *m, BenchLoad *l,
                          BenchSpan *span, BenchCounters *from,
                          BenchCounters *to)
{
    uint64_t buffers, entries, kicks;

    bench_load_drain(l);
    bench_machine_counters(m, from);
    buffers = l->ring.reaped;
    entries = l->ring.entries;
    kicks = m->queues[m->queue].kicks;
    bench_load_run(l, s->seconds * 1e9, span);
    bench_load_drain(l);
    bench_machine_counters(m, to);
    span->buffers = l->ring.reaped - buffers;
    span->entries = l->ring.entries - entries;
    span->kicks = m->queues[m->queue].kicks - kicks;
}

/* What follows from the options, and whether they go together */
static void complete(Settings *s)
{
    bool blk = s->load.what == BENCH_BLK_READ ||
               s->load.what == BENCH_BLK_WRITE;
    uint32_t max = blk ? 16384 : s->load.what == BENCH_NET_TX ? 4096 : 1500;

    if (!s->machine.qemu) {
        bench_die("no program to measure; name one with --qemu");
    }
    s->machine.device = blk ? BENCH_BLK :
                        s->load.what == BENCH_NET_TX ? BENCH_NET_SINK :
                        BENCH_NET_SOCKET;
    s->machine.mode = &s->mode;
    s->machine.indirect = !blk || s->load.indirect;
    s->machine.link_down = s->load.what == BENCH_NET_FEED;
    s->machine.trace = s->count;
    if (!s->load.size) {
        s->load.size = blk ? 512 : 60;
    }
    if (s->load.size > max || (blk && s->load.size % 512)) {
        bench_die("%u bytes are no size for %s; choose at most %u with --size,"
                  " for disks a multiple of 512", s->load.size,
                  case_names[s->load.what], max);
    }
    if (!s->mode.packed && !is_power_of_2(s->machine.ring)) {
        bench_die("a split ring has 2^n entries, not %u; choose others with "
                  "--ring", s->machine.ring);
    }
}

static void measure(const Settings *s)
{
    BenchCounters from = { -1, -1, -1, -1, -1 }, to = from;
    BenchMachine m;
    BenchLoad l;
    BenchSpan span;
    double before, after;

    bench_machine_start(&m, &s->machine);
    bench_load_init(&l, &m, m.queue, &s->load);
    bench_machine_ready(&m);
    before = bench_ping_pong(&s->machine.cpus);
    bench_load_run(&l, s->warmup * 1e9, NULL);
    if (s->count) {
        run_and_count(s, &m, &l, &span, &from, &to);
    } else {
        run(s, &l, &span);
        bench_load_drain(&l);
    }
    after = bench_ping_pong(&s->machine.cpus);
    (s->json ? report_json : report_text)(s, &m, &span, &from, &to, before,
                                          after);
    bench_load_cleanup(&l);
    bench_machine_stop(&m);
}

int main(int argc, char **argv)
{
    enum {
        QEMU = 1, CASE, LAYOUT, IN_ORDER, MODE, SECONDS, WARMUP, SIZE, RING,
        BATCH, GAP, PAUSE, EVENT_IDX, INDIRECT, INTERRUPTS, WRITE_DATA, KICK,
        CPUS, COUNT, JSON, PING_PONG, HELP,
    };
    static const struct option options[] = {
        { "qemu", required_argument, NULL, QEMU },
        { "case", required_argument, NULL, CASE },
        { "layout", required_argument, NULL, LAYOUT },
        { "in-order", required_argument, NULL, IN_ORDER },
        { "mode", required_argument, NULL, MODE },
        { "seconds", required_argument, NULL, SECONDS },
        { "warmup", required_argument, NULL, WARMUP },
        { "size", required_argument, NULL, SIZE },
        { "ring", required_argument, NULL, RING },
        { "batch", required_argument, NULL, BATCH },
        { "gap", required_argument, NULL, GAP },
        { "pause", required_argument, NULL, PAUSE },
        { "event-idx", required_argument, NULL, EVENT_IDX },
        { "indirect", required_argument, NULL, INDIRECT },
        { "interrupts", required_argument, NULL, INTERRUPTS },
        { "write-data", required_argument, NULL, WRITE_DATA },
        { "kick", required_argument, NULL, KICK },
        { "cpus", required_argument, NULL, CPUS },
        { "count", no_argument, NULL, COUNT },
        { "json", no_argument, NULL, JSON },
        { "ping-pong", no_argument, NULL, PING_PONG },
        { "help", no_argument, NULL, HELP },
        { NULL }
    };
    Settings s = {
        .machine = { .ring = 256, .event_idx = true },
        .load = { .batch = 16, .gap = 100, .pause = 20000, .indirect = true },
        .seconds = 1, .warmup = 0.05,
    };
    bool only_ping_pong = false;
    const char *cpus = NULL;
    int c, i;

    bench_program("virtio-bench");
    while ((c = getopt_long(argc, argv, "", options, &i)) != -1) {
        const char *name = options[i].name;

#define SWITCH()    bench_choice(name, optarg, bench_switches, 2)
        switch (c) {
        case QEMU:
            s.machine.qemu = optarg;
            break;
        case CASE:
            s.load.what = bench_choice(name, optarg, case_names, BENCH_CASES);
            break;
        case LAYOUT:
            s.mode.packed = bench_choice(name, optarg, layout_names, 2);
            break;
        case IN_ORDER:
            s.mode.in_order = SWITCH();
            break;
        case MODE:
            s.load.pace = bench_choice(name, optarg, pace_names, BENCH_PACES);
            break;
        case SECONDS:
            s.seconds = bench_number(name, optarg, 0.001, 86400);
            break;
        case WARMUP:
            s.warmup = bench_number(name, optarg, 0, 86400);
            break;
        case SIZE:
            s.load.size = bench_number(name, optarg, 14, 1 << 16);
            break;
        case RING:
            s.machine.ring = bench_number(name, optarg, 4, 1024);
            break;
        case BATCH:
            s.load.batch = bench_number(name, optarg, 1, 1024);
            break;
        case GAP:
            s.load.gap = bench_number(name, optarg, 0, 1000000);
            break;
        case PAUSE:
            s.load.pause = bench_number(name, optarg, 0, 1000000000);
            break;
        case EVENT_IDX:
            s.machine.event_idx = SWITCH();
            break;
        case INDIRECT:
            s.load.indirect = SWITCH();
            break;
        case INTERRUPTS:
            s.load.interrupts = SWITCH();
            break;
        case WRITE_DATA:
            s.load.write_data = SWITCH();
            break;
        case KICK:
            s.machine.kick_qtest = bench_choice(name, optarg, kick_names, 2);
            break;
        case CPUS:
            cpus = optarg;
            break;
        case COUNT:
            s.count = true;
            break;
        case JSON:
            s.json = true;
            break;
        case PING_PONG:
            only_ping_pong = true;
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
    bench_cpus_choose(&s.machine.cpus, cpus);
    s.load.yield = s.machine.cpus.shared;
    if (only_ping_pong) {
        printf("%.1f\n", bench_ping_pong(&s.machine.cpus));
        return 0;
    }
    complete(&s);
    measure(&s);
    return 0;
}
