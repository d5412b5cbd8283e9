/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: shadow virtqueues, who tells whom: interrupts, kicks, doorbells, and
 * that nobody looks all the time
 */

#include "qemu/osdep.h"
#include "virtio-in-order-traffic.h"
#include "virtio-svq-cases.h"

#define FEW     20      /* packets, less than what fits a ring at once */

static const SvqShape small = {
    .len_min = 60, .len_max = 200, .buf_min = 256, .buf_max = 256,
};

/* The counters of a queue that a case is about */
typedef struct Counts {
    uint64_t interrupts, interrupts_not;
    uint64_t doorbell, eventfd, kicks_not;
    uint64_t batches;
} Counts;

/* What they have become since the last call */
static Counts counts(SvqNic *nic, unsigned queue, Counts *last)
{
    Counts now = {
        .interrupts = svq_stat(nic, queue, "interrupts"),
        .interrupts_not = svq_stat(nic, queue, "interrupts-suppressed"),
        .doorbell = svq_stat(nic, queue, "kicks-doorbell"),
        .eventfd = svq_stat(nic, queue, "kicks-eventfd"),
        .kicks_not = svq_stat(nic, queue, "kicks-suppressed"),
        .batches = svq_stat(nic, queue, "batches"),
    };
    Counts delta = {
        .interrupts = now.interrupts - last->interrupts,
        .interrupts_not = now.interrupts_not - last->interrupts_not,
        .doorbell = now.doorbell - last->doorbell,
        .eventfd = now.eventfd - last->eventfd,
        .kicks_not = now.kicks_not - last->kicks_not,
        .batches = now.batches - last->batches,
    };

    *last = now;
    return delta;
}

/* How often QEMU has decided whether to interrupt the guest for a queue */
static uint64_t decisions(SvqNic *nic, unsigned queue)
{
    return svq_stat(nic, queue, "interrupts") +
           svq_stat(nic, queue, "interrupts-suppressed");
}

/* A packet after the other arrives; each is there before the next is made */
static void receive(SvqRx *rx, unsigned n, const char *what)
{
    SvqNic *nic = rx->lane.nic;
    unsigned queue = rx->lane.vq->index;
    VdpaSimQueueCtl *ctl = &nic->sim->ctl[queue];
    uint64_t decided = decisions(nic, queue) + n;
    gint64 start;

    while (n--) {
        uint64_t packets = rx->packets + 1;

        start = 0;
        qatomic_set(&ctl->source_count, ctl->source_count + 1);
        vdpa_sim_wake(nic->sim);
        while (rx->packets < packets) {
            if (!svq_rx_take(rx)) {
                svq_wait(nic, &start, rx->lane.vq, what);
            }
        }
    }
    start = 0;
    while (decisions(nic, queue) < decided) {
        svq_wait(nic, &start, rx->lane.vq, "interrupt or not");
    }
    /* An interrupt goes through the main loop */
    main_loop_rounds();
}

/*
 * The driver switches interrupts on and off.  If this fails, the guest is
 * interrupted for nothing, or is not when it waits.
 */
static void test_interrupts(const SvqConfig *config)
{
    SvqConfig c = *config;
    static SvqRx rx;
    Counts last = { 0 }, delta;
    SvqNic nic;
    unsigned i;

    c.interrupts = true;
    c.without |= NO_EVENT_IDX;
    svq_start(&nic, &c);
    svq_rx_init(&rx, &nic, 0, &small);
    svq_rx_refill(&rx);
    svq_source(&nic, 0, SVQ_STREAM_SOURCE(0, 0), 0, 200);

    for (i = 0; i < 3; i++) {
        qvring_set_interrupts(rig->qts, rx.lane.vq, true);
        counts(&nic, 0, &last);
        svq_interrupted(&nic, rx.lane.vq);
        receive(&rx, 1, "a packet with an interrupt");
        g_assert_true(svq_interrupted(&nic, rx.lane.vq));
        delta = counts(&nic, 0, &last);
        g_assert_cmpuint(delta.interrupts, ==, 1);

        qvring_set_interrupts(rig->qts, rx.lane.vq, false);
        receive(&rx, FEW, "packets without interrupts");
        g_assert_false(svq_interrupted(&nic, rx.lane.vq));
        delta = counts(&nic, 0, &last);
        g_assert_cmpuint(delta.interrupts, ==, 0);
        g_assert_cmpuint(delta.interrupts_not, ==, FEW);
        svq_rx_refill(&rx);
    }
    svq_rx_cleanup(&rx);
    svq_stop(&nic);
}

/*
 * The driver names the buffer that it wants an interrupt for.  If this fails,
 * the interrupt comes with another one.
 */
static void test_event(const SvqConfig *config)
{
    SvqConfig c = *config;
    static SvqRx rx;
    SvqNic nic;
    unsigned i;

    c.interrupts = true;
    svq_start(&nic, &c);
    g_assert_true(nic.rx[0]->event);
    svq_rx_init(&rx, &nic, 0, &small);
    svq_rx_refill(&rx);
    svq_source(&nic, 0, SVQ_STREAM_SOURCE(0, 0), 0, 200);
    /* The first buffer may come with an interrupt in any case */
    receive(&rx, 1, "the first packet");
    for (i = 0; i < 8; i++) {
        unsigned after = between(0, FEW);

        svq_rx_refill(&rx);
        qvring_set_used_event(rig->qts, rx.lane.vq, rx.lane.taken + after);
        svq_interrupted(&nic, rx.lane.vq);
        receive(&rx, after, "packets before the event");
        g_assert_false(svq_interrupted(&nic, rx.lane.vq));
        receive(&rx, 1, "the packet of the event");
        g_assert_true(svq_interrupted(&nic, rx.lane.vq));
        receive(&rx, between(0, FEW), "packets after the event");
        g_assert_false(svq_interrupted(&nic, rx.lane.vq));
    }
    svq_rx_cleanup(&rx);
    svq_stop(&nic);
}

/*
 * A device that polls wants no kicks, one that says so wants each.  If this
 * fails, kicks are given that nobody wants, or are missing.
 */
static void test_kicks(const SvqConfig *c)
{
    SvqShape shape = small;
    Counts last = { 0 }, delta;
    VdpaSimQueueCtl *ctl;
    unsigned q = VDPA_SIM_TX(0);
    SvqNic nic;
    SvqTx tx;

    shape.burst = 8;
    svq_start(&nic, c);
    svq_verify(&nic);
    svq_tx_init(&tx, &nic, 0, &shape);
    ctl = &nic.sim->ctl[q];

    qatomic_set(&ctl->always_kick, 1);
    vdpa_sim_wake(nic.sim);
    svq_tx_run(&tx, 10, "before every kick");
    counts(&nic, q, &last);
    svq_tx_run(&tx, 1000, "every kick");
    delta = counts(&nic, q, &last);
    if (!(c->device.features & BIT_ULL(VIRTIO_RING_F_EVENT_IDX))) {
        g_assert_cmpuint(delta.doorbell + delta.eventfd, ==, delta.batches);
    }
    g_assert_cmpuint(delta.doorbell + delta.eventfd, >, 0);
    g_assert_cmpuint(c->pages ? delta.eventfd : delta.doorbell, ==, 0);

    qatomic_set(&ctl->always_kick, 0);
    qatomic_set(&ctl->poll_ns, UINT32_MAX);
    vdpa_sim_wake(nic.sim);
    svq_tx_run(&tx, 100, "before no kick");
    counts(&nic, q, &last);
    svq_tx_run(&tx, 5000, "no kick");
    delta = counts(&nic, q, &last);
    g_assert_cmpuint(delta.doorbell + delta.eventfd, ==, 0);
    g_assert_cmpuint(delta.kicks_not, ==, delta.batches);

    qatomic_set(&ctl->poll_ns, 0);
    vdpa_sim_wake(nic.sim);
    svq_tx_run(&tx, 1000, "a device that sleeps");
    svq_tx_cleanup(&tx);
    svq_stop(&nic);
}

/*
 * With nothing to do, QEMU sleeps; a kick wakes it, from the guest as from the
 * device.  If this fails, QEMU looks at the rings for ever, or sleeps through
 * work.
 */
static void test_idle(const SvqConfig *c)
{
    enum { WINDOW_US = 100 * 1000, WINDOWS = 50 };
    uint64_t before, cpu = UINT64_MAX, kicks, calls;
    static SvqRx rx;
    unsigned i;
    SvqNic nic;
    SvqTx tx;

    svq_start(&nic, c);
    svq_verify(&nic);
    svq_tx_init(&tx, &nic, 0, &small);
    svq_rx_init(&rx, &nic, 0, &small);
    svq_rx_refill(&rx);
    svq_source(&nic, 0, SVQ_STREAM_SOURCE(0, 0), 0, 200);
    svq_tx_run(&tx, 1000, "before it is idle");

    /* Whoever looks all the time does so in every window */
    for (i = 0; i < WINDOWS && cpu > WINDOW_US * 1000ull / 20; i++) {
        before = svq_cpu(&nic);
        g_usleep(WINDOW_US);
        cpu = svq_cpu(&nic) - before;
    }
    g_test_message("%" PRIu64 " us of CPU in %u us", cpu / 1000, WINDOW_US);
    g_assert_cmpuint(cpu, <=, WINDOW_US * 1000ull / 20);

    kicks = svq_stat(&nic, VDPA_SIM_TX(0), "guest-kicks");
    svq_tx_run(&tx, 1, "a packet for a QEMU that sleeps");
    g_assert_cmpuint(svq_stat(&nic, VDPA_SIM_TX(0), "guest-kicks"), >, kicks);
    g_usleep(20 * 1000);
    calls = svq_stat(&nic, 0, "device-calls");
    receive(&rx, 1, "a packet from the device, to a QEMU that sleeps");
    g_assert_cmpuint(svq_stat(&nic, 0, "device-calls"), >, calls);
    for (i = 0; i < 50; i++) {
        g_usleep(between(0, 1000));
        svq_tx_run(&tx, between(1, 3), "now and then a packet");
        receive(&rx, between(1, 3), "now and then a packet");
        svq_rx_refill(&rx);
    }
    svq_tx_cleanup(&tx);
    svq_rx_cleanup(&rx);
    svq_stop(&nic);
}

/*
 * Which queue is notified how.  If this fails, a queue that has a page is
 * kicked by a system call, one that has none is not kicked at all, or what the
 * user asked for is ignored.
 */
static void test_doorbell(const SvqConfig *config)
{
    bool off = !g_strcmp0(config->doorbell, "off");
    g_autofree char *traced = NULL;
    SvqConfig c = *config;
    static SvqRx rx;
    unsigned q;
    SvqNic nic;
    SvqTx tx;

    c.trace = "svq_no_doorbell";
    svq_start(&nic, &c);
    svq_verify(&nic);
    svq_source(&nic, 0, SVQ_STREAM_SOURCE(0, 0), 2000, 200);
    svq_tx_init(&tx, &nic, 0, &small);
    svq_rx_init(&rx, &nic, 0, &small);
    svq_tx_run(&tx, 2000, "doorbells");
    svq_rx_wait(&rx, 2000, "doorbells");
    traced = svq_traced(&nic);
    for (q = 0; q < 2; q++) {
        bool doorbell = !off && c.pages & (1u << q);
        g_autofree char *reason =
            g_strdup_printf("queue %u: notified by eventfd: ", q);
        VdpaSimQueueStats *s = &nic.sim->stats[q];
        Counts last = { 0 };

        counts(&nic, q, &last);
        g_assert_cmpint(last.doorbell > 0, ==, doorbell);
        g_assert_cmpint(last.eventfd > 0, ==, !doorbell);
        g_assert_cmpint(qatomic_read(&s->kicks_doorbell) > 0, ==, doorbell);
        g_assert_cmpint(qatomic_read(&s->kicks_eventfd) > 0, ==, !doorbell);
        g_assert_cmpuint(qatomic_read(&s->kicks_wrong), ==, 0);
        g_assert_cmpint(!!strstr(traced, reason), ==, !doorbell);
    }
    svq_tx_cleanup(&tx);
    svq_rx_cleanup(&rx);
    svq_stop(&nic);
}

/* Layouts that differ in how they notify */
static const SvqDeviceMode devices[] = {
    { "split", 0 },
    { "split-event", BIT_ULL(VIRTIO_RING_F_EVENT_IDX) },
    { "packed", BIT_ULL(VIRTIO_F_RING_PACKED) },
    { "packed-event", BIT_ULL(VIRTIO_F_RING_PACKED) |
                      BIT_ULL(VIRTIO_RING_F_EVENT_IDX) },
};

void svq_add_notify_cases(void)
{
    SvqConfig c;
    unsigned i;

    for (i = 0; i < MODE_COUNT; i++) {
        g_autofree char *interrupts =
            g_strdup_printf("virtio/svq/interrupts/%s", modes[i].name);
        g_autofree char *event =
            g_strdup_printf("virtio/svq/event-index/%s", modes[i].name);

        c = (SvqConfig) {
            .guest = &modes[i],
            .device = devices[(i + 1) % ARRAY_SIZE(devices)],
            .iothreads = i & 1,
        };
        svq_add(interrupts, test_interrupts, &c);
        c.iothreads = !c.iothreads;
        svq_add(event, test_event, &c);
    }
    for (i = 0; i < ARRAY_SIZE(devices); i++) {
        g_autofree char *kicks = g_strdup_printf("virtio/svq/kicks/%s",
                                                 devices[i].name);
        g_autofree char *idle = g_strdup_printf("virtio/svq/idle/%s",
                                                devices[i].name);

        c = (SvqConfig) {
            .guest = &modes[3 - i],
            .device = devices[i],
            .iothreads = i & 1,
            .pages = i & 2 ? UINT32_MAX : 0,
        };
        svq_add(kicks, test_kicks, &c);
        c.iothreads = i > 0;
        svq_add(idle, test_idle, &c);
    }
    c = (SvqConfig) {
        .guest = &modes[0], .device = devices[0], .iothreads = 1,
        .pages = UINT32_MAX,
    };
    svq_add("virtio/svq/doorbell/all", test_doorbell, &c);
    c.doorbell = "on";
    svq_add("virtio/svq/doorbell/on", test_doorbell, &c);
    c.doorbell = "off";
    svq_add("virtio/svq/doorbell/off", test_doorbell, &c);
    c.doorbell = "auto";
    c.pages = 1u << VDPA_SIM_TX(0);
    svq_add("virtio/svq/doorbell/transmit", test_doorbell, &c);
    c.pages = 0;
    svq_add("virtio/svq/doorbell/none", test_doorbell, &c);
}
