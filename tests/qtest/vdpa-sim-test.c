/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest: the simulated vDPA device (tests/vdpa-sim) itself
 *
 * Other tests take the device for granted: that it moves packets as the
 * specification says, and that it notices when QEMU does not.  Here QEMU passes
 * the queues through, so the device meets libqos's driver directly, in both
 * layouts, with and without in-order, indirect tables and event indexes.  Then
 * the driver breaks rules, and the device has to say which.
 *
 * Random choices follow from --seed, which each run prints.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "libqtest.h"
#include "tests/vdpa-sim/vdpa-sim.h"
#include "virtio-in-order-exchange.h"
#include "virtio-in-order-traffic.h"
#include "standard-headers/linux/virtio_net.h"

#define PAIRS       2
#define CTRL_QUEUE  (2 * PAIRS)
#define RING        256
#define BUFFERS     64          /* of each queue */
#define LEN_MAX     1500        /* bytes of frame */
#define BUF_MAX     2048

static const char *const sim_names[] = { "net0" };

/* The device, and where it is */
static VdpaSim *sim;
static char *sim_path;

/* What is left out of what the device offers */
static const struct {
    const char *name;
    uint64_t without;
} variants[] = {
    { "all", 0 },
    { "no-indirect", BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) },
    { "no-event-idx", NO_EVENT_IDX },
    { "no-mergeable", BIT_ULL(VIRTIO_NET_F_MRG_RXBUF) },
};

typedef struct Card {
    Dev *dev;
    QVirtQueue *rx[PAIRS], *tx[PAIRS], *ctrl;
    Exchange rx_buf[PAIRS][BUFFERS], tx_buf[PAIRS][BUFFERS];
    Exchange command;
    bool mergeable;
    uint64_t sent[PAIRS];           /* packets, by stream */
    uint64_t back[PAIRS];           /* of their buffers */
    VdpaSimStream streams[PAIRS];   /* received */
    uint64_t youngest;              /* transmit buffer that came back */
    unsigned disorder;              /* older ones that came back later */
} Card;

static void sim_kind_start(GString *cmd, const char *props)
{
    g_autofree char *so = g_test_build_filename(G_TEST_BUILT, "..", "vdpa-sim",
                                                "vdpa-sim.so", NULL);
    g_autofree char *path = realpath(so, NULL);
    VdpaSimConfig config;

    g_assert_nonnull(path);
    vdpa_sim_config_init(&config, PAIRS);
    config.features |= BIT_ULL(VIRTIO_F_RING_PACKED) |
                       BIT_ULL(VIRTIO_F_IN_ORDER);
    sim_path = g_strdup_printf("%s/vdpa-sim-test-%d", g_get_tmp_dir(),
                               getpid());
    sim = vdpa_sim_create(sim_path, &config);
    g_assert_nonnull(sim);
    vdpa_sim_preload(path);
    g_string_append_printf(cmd, " -netdev vhost-vdpa,id=vdpa0,vhostdev=%s"
                           " -device virtio-net-pci,id=net0,netdev=vdpa0,"
                           "mq=on,addr=%d,disable-legacy=on,%s",
                           sim_path, DEV_SLOT(0), props);
}

static void sim_kind_stop(void)
{
    vdpa_sim_free(sim);
    unlink(sim_path);
    g_clear_pointer(&sim_path, g_free);
}

static const RigKind sim_kind = {
    .names = sim_names,
    .count = ARRAY_SIZE(sim_names),
    .start = sim_kind_start,
    .stop = sim_kind_stop,
};

static void sim_get(const Mode *mode)
{
    bool new = !rig || rig->kind != &sim_kind || rig->mode != mode;

    rig_get_kind(&sim_kind, mode);
    if (new) {
        vdpa_sim_unpreload();
        g_assert_cmpuint(qatomic_read(&sim->state.opened), ==, 1);
    }
}

/* What the device says against the driver and QEMU */
static void check_no_complaint(void)
{
    char *text = vdpa_sim_complaint(sim);

    g_assert_cmpstr(text, ==, NULL);
}

static uint64_t stat_of(const uint64_t *counter)
{
    return qatomic_read__nocheck(counter);
}

static void card_start(Card *c, uint64_t without)
{
    unsigned i, j;

    memset(c, 0, sizeof(*c));
    c->mergeable = !(without & BIT_ULL(VIRTIO_NET_F_MRG_RXBUF));
    c->dev = dev_start(0, without);
    for (i = 0; i < PAIRS; i++) {
        memset(&sim->ctl[VDPA_SIM_RX(i)], 0, sizeof(sim->ctl[0]));
        memset(&sim->ctl[VDPA_SIM_TX(i)], 0, sizeof(sim->ctl[0]));
    }
    for (i = 0; i < PAIRS; i++) {
        c->rx[i] = queue_setup(c->dev, VDPA_SIM_RX(i), RING);
        c->tx[i] = queue_setup(c->dev, VDPA_SIM_TX(i), RING);
        for (j = 0; j < BUFFERS; j++) {
            exchange_init(&c->rx_buf[i][j], 0, BUF_MAX);
            exchange_init(&c->tx_buf[i][j], NET_HDR_LEN + LEN_MAX, 0);
        }
        c->sent[i] = 0;
    }
    c->ctrl = queue_setup(c->dev, CTRL_QUEUE, 0);
    exchange_init(&c->command, 64, 1);
    qvirtio_set_driver_ok(c->dev->vdev);
}

static void card_stop(Card *c)
{
    unsigned i;

    qvirtio_reset(c->dev->vdev);
    for (i = 0; i < PAIRS; i++) {
        queue_free(c->dev, c->rx[i]);
        queue_free(c->dev, c->tx[i]);
    }
    queue_free(c->dev, c->ctrl);
}

static uint8_t card_command(Card *c, uint8_t class, uint8_t cmd,
                            const void *data, size_t len)
{
    c->command.out[0] = class;
    c->command.out[1] = cmd;
    memcpy(c->command.out + 2, data, len);
    exchange_one(&c->command, c->ctrl, 2 + len, 1, "command");
    return c->command.in[0];
}

static void card_set_pairs(Card *c, uint16_t pairs)
{
    uint16_t data = cpu_to_le16(pairs);

    g_assert_cmpuint(card_command(c, VIRTIO_NET_CTRL_MQ,
                                  VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &data, 2),
                     ==, VIRTIO_NET_OK);
}

/* Puts receive buffers into the ring, as many as there is room for */
static bool card_refill(Card *c, unsigned pair)
{
    Exchange *last = NULL;
    unsigned i;

    for (i = 0; i < BUFFERS; i++) {
        Exchange *x = &c->rx_buf[pair][i];

        if (!x->in_flight && c->rx[pair]->num_free >= 3) {
            exchange_add(x, c->rx[pair], 0,
                         c->mergeable ? between(64, BUF_MAX) : BUF_MAX);
            last = x;
        }
    }
    if (last) {
        exchange_go(last, c->rx[pair]);
    }
    return last;
}

/* Sends up to @max packets of the pair's stream, if there is room for them */
static bool card_send(Card *c, unsigned pair, unsigned max)
{
    VdpaSimFlowConfig config = {
        .dst_mac = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 },
        .src_mac = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x57 },
        .src_ip = 0x0a000001, .dst_ip = 0x0a000002,
        .src_port = 1000 + pair, .dst_port = 2000,
        .stream = pair,
    };
    Exchange *last = NULL;
    VdpaSimFlow flow;
    unsigned i;

    vdpa_sim_flow_init(&flow, &config);
    for (i = 0; i < BUFFERS && max; i++) {
        Exchange *x = &c->tx_buf[pair][i];
        size_t len = between(64, LEN_MAX);

        if (x->in_flight || c->tx[pair]->num_free < 3) {
            continue;
        }
        memset(x->out, 0, NET_HDR_LEN);
        vdpa_sim_packet_make(&flow, x->out + NET_HDR_LEN, len, c->sent[pair]++);
        exchange_add(x, c->tx[pair], NET_HDR_LEN + len, 0);
        last = x;
        max--;
    }
    if (last) {
        exchange_go(last, c->tx[pair]);
    }
    return last;
}

static bool card_reap(Card *c, unsigned pair)
{
    bool any = false;
    Exchange *x;

    while ((x = exchange_take(c->tx_buf[pair], BUFFERS, c->tx[pair]))) {
        c->disorder += x->number < c->youngest;
        c->youngest = MAX(c->youngest, x->number);
        c->back[pair]++;
        any = true;
    }
    return any;
}

/* Takes one packet with all its buffers, and checks it */
static bool card_receive(Card *c, unsigned pair)
{
    uint8_t frame[VDPA_SIM_MAX_PACKET];
    Exchange *x = exchange_take(c->rx_buf[pair], BUFFERS, c->rx[pair]);
    VdpaSimPacketKind kind;
    size_t len = 0, skip = vdpa_sim_net_hdr_len(c->dev->vdev->features);
    unsigned num;

    if (!x) {
        return false;
    }
    g_assert_cmpuint(x->len, >=, skip);
    num = lduw_le_p(x->in + offsetof(struct virtio_net_hdr_v1, num_buffers));
    g_assert_cmpuint(num, >=, 1);
    g_assert_true(c->mergeable || num == 1);
    for (;;) {
        memcpy(frame + len, x->in + skip, x->len - skip);
        len += x->len - skip;
        if (!--num) {
            break;
        }
        g_assert_cmpuint(x->len, ==, x->in_len);
        skip = 0;
        x = exchange_take(c->rx_buf[pair], BUFFERS, c->rx[pair]);
        g_assert_nonnull(x);
    }
    kind = vdpa_sim_packet_check(c->streams, PAIRS, frame, len);
    g_assert_cmpint(kind, ==, VDPA_SIM_PACKET_OK);
    return true;
}

/* TX: what the driver sends arrives, in order, whole, and comes back */
static void tx_run(const Mode *mode, uint64_t without, unsigned count,
                   unsigned shuffled)
{
    VdpaSimQueueStats *s = &sim->stats[VDPA_SIM_TX(0)];
    VdpaSimQueueCtl *ctl = &sim->ctl[VDPA_SIM_TX(0)];
    uint64_t packets, elems, buffers, reordered;
    gint64 start = 0;
    Card c;

    card_start(&c, without);
    packets = stat_of(&s->packets);
    elems = stat_of(&s->used_elems);
    buffers = stat_of(&s->buffers);
    reordered = stat_of(&s->stream.reordered);
    c.sent[0] = stat_of(&s->stream.next);
    count += c.sent[0];
    ctl->verify = true;
    ctl->shuffle = shuffled;
    ctl->shuffle_seed = between(1, INT_MAX - 1);
    ctl->batch = between(2, 40);
    while (c.sent[0] < count || c.tx[0]->num_free < RING) {
        bool any = card_send(&c, 0, MIN(between(1, 40), count - c.sent[0]));

        if (card_reap(&c, 0) || any) {
            start = 0;
        } else {
            wait_a_little(&start, c.tx[0], "TX");
        }
    }
    qvring_check_idle(rig->qts, c.tx[0]);
    packets = stat_of(&s->packets) - packets;
    g_assert_cmpuint(packets, ==, c.back[0]);
    g_assert_cmpuint(stat_of(&s->stream.next), ==, count);
    g_assert_cmpuint(stat_of(&s->stream.missing), ==, 0);
    g_assert_cmpuint(stat_of(&s->stream.duplicates), ==, 0);
    g_assert_cmpuint(stat_of(&s->stream.reordered), ==, reordered);
    g_assert_cmpuint(stat_of(&s->damaged) + stat_of(&s->foreign), ==, 0);
    g_assert_cmpint(!!c.disorder, ==, !!shuffled);
    elems = stat_of(&s->used_elems) - elems;
    buffers = stat_of(&s->buffers) - buffers;
    if (mode->in_order) {
        g_assert_cmpuint(elems, <, buffers);
    } else {
        g_assert_cmpuint(elems, ==, buffers);
    }
    check_no_complaint();
    card_stop(&c);
}

static void test_tx(const void *data)
{
    unsigned i;

    sim_get(data);
    for (i = 0; i < ARRAY_SIZE(variants); i++) {
        g_test_message("%s", variants[i].name);
        tx_run(data, variants[i].without, 300, 0);
    }
}

static void test_tx_shuffled(const void *data)
{
    const Mode *mode = data;

    if (mode->in_order) {
        g_test_skip("buffers are used in order");
        return;
    }
    sim_get(mode);
    tx_run(mode, 0, 500, 16);
}

/* RX: packets of the device arrive, in order and whole, spread as allowed */
static void rx_run(uint64_t without, unsigned count)
{
    VdpaSimQueueStats *s = &sim->stats[VDPA_SIM_RX(0)];
    VdpaSimQueueCtl *ctl = &sim->ctl[VDPA_SIM_RX(0)];
    gint64 start = 0;
    Card c;

    card_start(&c, without);
    c.streams[1].next = stat_of(&s->sourced);
    ctl->flow = (VdpaSimFlowConfig) { .stream = 1 };
    ctl->source_len_min = 64;
    ctl->source_len_max = LEN_MAX;
    ctl->source_count = c.streams[1].next + count;
    ctl->batch = between(2, 40);
    qatomic_set(&ctl->mode, VDPA_SIM_SOURCE);
    vdpa_sim_wake(sim);
    while (c.streams[1].packets < count) {
        bool any = card_refill(&c, 0);

        while (card_receive(&c, 0)) {
            any = true;
        }
        if (any) {
            start = 0;
        } else {
            wait_a_little(&start, c.rx[0], "RX");
        }
    }
    g_assert_cmpuint(stat_of(&s->sourced), ==, ctl->source_count);
    check_no_complaint();
    card_stop(&c);
}

static void test_rx(const void *data)
{
    unsigned i;

    sim_get(data);
    for (i = 0; i < ARRAY_SIZE(variants); i++) {
        g_test_message("%s", variants[i].name);
        rx_run(variants[i].without, 300);
    }
}

/* Both pairs send and receive what they sent; automatic steering is stable */
static void test_loop(const void *data)
{
    const unsigned count = 500;
    gint64 start = 0;
    unsigned i;
    Card c;

    sim_get(data);
    card_start(&c, 0);
    card_set_pairs(&c, PAIRS);
    for (i = 0; i < PAIRS; i++) {
        sim->ctl[VDPA_SIM_TX(i)].lossless = true;
        qatomic_set(&sim->ctl[VDPA_SIM_TX(i)].mode,
                    i ? VDPA_SIM_LOOP_PAIR : VDPA_SIM_LOOP_STEER);
    }
    while (c.streams[0].packets < count || c.streams[1].packets < count) {
        bool any = false;

        for (i = 0; i < PAIRS; i++) {
            any |= card_refill(&c, i);
            any |= card_send(&c, i, MIN(between(1, 40), count - c.sent[i]));
            any |= card_reap(&c, i);
            while (card_receive(&c, i)) {
                any = true;
            }
        }
        if (any) {
            start = 0;
        } else {
            wait_a_little(&start, c.rx[0], "loop");
        }
    }
    check_no_complaint();
    card_stop(&c);
}

/* The control queue does what it says, and says what it did */
static void test_ctrl(const void *data)
{
    static const uint8_t mac[] = { 0x52, 0x54, 0x00, 0xaa, 0xbb, 0xcc };
    g_autofree VdpaSimNetState *net = g_new(VdpaSimNetState, 1);
    VdpaSimFault fault = {
        .kind = VDPA_SIM_FAULT_CVQ_ERROR, .queue = CTRL_QUEUE,
        .match = VIRTIO_NET_CTRL_MAC << 8 | VIRTIO_NET_CTRL_MAC_ADDR_SET,
        .times = 1,
    };
    uint64_t pos = 0;
    VdpaSimEvent e;
    bool logged = false;
    int n;
    Card c;

    sim_get(data);
    card_start(&c, 0);
    g_assert_cmpuint(card_command(&c, VIRTIO_NET_CTRL_MAC,
                                  VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, 6),
                     ==, VIRTIO_NET_OK);
    g_assert_cmpuint(card_command(&c, VIRTIO_NET_CTRL_MAC,
                                  VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, 5),
                     ==, VIRTIO_NET_ERR);
    card_set_pairs(&c, 2);
    vdpa_sim_net_snapshot(&sim->net, net);
    g_assert_cmpmem(net->mac, 6, mac, 6);
    g_assert_cmpuint(net->pairs, ==, 2);
    while (vdpa_sim_next_event(sim, &pos, &e)) {
        logged |= e.type == VDPA_SIM_EV_COMMAND && e.queue == CTRL_QUEUE &&
                  e.a == fault.match && e.b == VIRTIO_NET_OK;
    }
    g_assert_true(logged);

    n = vdpa_sim_arm(sim, &fault);
    g_assert_cmpint(n, >=, 0);
    g_assert_cmpuint(card_command(&c, VIRTIO_NET_CTRL_MAC,
                                  VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, 6),
                     ==, VIRTIO_NET_ERR);
    g_assert_cmpuint(card_command(&c, VIRTIO_NET_CTRL_MAC,
                                  VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, 6),
                     ==, VIRTIO_NET_OK);
    g_assert_cmpuint(vdpa_sim_disarm(sim, n), ==, 1);
    check_no_complaint();
    card_stop(&c);
}

/* The order of used receive buffers is not that of the ring if so wanted */
static void test_rx_shuffled(const void *data)
{
    const Mode *mode = data;
    VdpaSimQueueCtl *ctl;
    unsigned next = 0, disorder = 0;
    gint64 start = 0;
    Card c;

    if (mode->in_order) {
        g_test_skip("buffers are used in order");
        return;
    }
    sim_get(mode);
    card_start(&c, 0);
    c.mergeable = false;        /* one buffer for each packet */
    card_refill(&c, 0);
    ctl = &sim->ctl[VDPA_SIM_RX(0)];
    ctl->shuffle = 16;
    ctl->shuffle_seed = between(1, INT_MAX - 1);
    ctl->flow = (VdpaSimFlowConfig) { .stream = 1 };
    c.streams[1].next = stat_of(&sim->stats[VDPA_SIM_RX(0)].sourced);
    ctl->source_count = c.streams[1].next + BUFFERS;
    qatomic_set(&ctl->mode, VDPA_SIM_SOURCE);
    vdpa_sim_wake(sim);
    while (c.streams[1].packets < BUFFERS) {
        unsigned i;

        if (!card_receive(&c, 0)) {
            wait_a_little(&start, c.rx[0], "RX");
            continue;
        }
        for (i = 0; c.rx_buf[0][i].in_flight || c.rx_buf[0][i].done; i++) {
            continue;
        }
        c.rx_buf[0][i].done = true;
        disorder += i != next++;
    }
    g_assert_cmpuint(disorder, >, BUFFERS / 2);
    check_no_complaint();
    card_stop(&c);
}

/* Buffers that are not in memory are seen, and do no harm */
static void test_unmapped(const void *data)
{
    uint64_t faults;
    uint32_t id, len;
    gint64 start = 0;
    Card c;

    sim_get(data);
    card_start(&c, 0);
    faults = stat_of(&sim->state.faults);
    id = qvirtqueue_add(rig->qts, c.tx[0], 4 * GiB, 100, false, false);
    qvring_publish(rig->qts, c.tx[0], id);
    qvring_notify(rig->qts, c.tx[0]);
    while (!qvring_get(rig->qts, c.tx[0], &id, &len)) {
        wait_a_little(&start, c.tx[0], "unmapped");
    }
    g_assert_cmpuint(stat_of(&sim->state.faults), ==, faults + 1);
    g_assert_cmphex(stat_of(&sim->stats[VDPA_SIM_TX(0)].fault_iova), ==,
                    4 * GiB);
    card_stop(&c);
    /* For the cases that follow */
    qatomic_set__nocheck(&sim->state.faults, faults);
    memset(&sim->stats[VDPA_SIM_TX(0)].faults, 0, sizeof(uint64_t));
}

/* The device breaks in mid-traffic; QEMU tells the driver, who resets it */
static void test_break(const void *data)
{
    VdpaSimFault fault = {
        .kind = VDPA_SIM_FAULT_NEEDS_RESET, .queue = VDPA_SIM_TX(0),
        .match = VDPA_SIM_ANY, .skip = 20, .times = 1,
    };
    gint64 start = 0;
    int n;
    Card c;

    sim_get(data);
    card_start(&c, 0);
    n = vdpa_sim_arm(sim, &fault);
    g_assert_cmpint(n, >=, 0);
    while (!(qatomic_read(&sim->state.status) & VIRTIO_CONFIG_S_NEEDS_RESET)) {
        card_send(&c, 0, 10);
        card_reap(&c, 0);
        wait_a_little(&start, c.tx[0], "break");
    }
    g_assert_cmpuint(vdpa_sim_disarm(sim, n), ==, 1);
    card_stop(&c);
    g_assert_cmpuint(qatomic_read(&sim->state.status) &
                     VIRTIO_CONFIG_S_NEEDS_RESET, ==, 0);
    check_no_complaint();
}

/* The VM stops and goes on: so does the traffic, and nothing is lost */
static void test_stop(const void *data)
{
    VdpaSimQueueStats *s;
    gint64 start = 0;
    unsigned i;
    Card c;

    sim_get(data);
    card_start(&c, 0);
    s = &sim->stats[VDPA_SIM_TX(0)];
    c.sent[0] = stat_of(&s->stream.next);
    sim->ctl[VDPA_SIM_TX(0)].verify = true;
    for (i = 0; i < 5; i++) {
        card_send(&c, 0, 30);
        qtest_qmp_assert_success(rig->qts, "{'execute': 'stop'}");
        g_assert_cmpuint(qatomic_read(&s->running), ==, 0);
        qtest_qmp_assert_success(rig->qts, "{'execute': 'cont'}");
        g_assert_cmpuint(qatomic_read(&s->running), ==, 1);
        while (stat_of(&s->stream.next) < c.sent[0]) {
            wait_a_little(&start, c.tx[0], "stop");
        }
        card_reap(&c, 0);
    }
    g_assert_cmpuint(stat_of(&s->stream.missing), ==, 0);
    g_assert_cmpuint(stat_of(&s->stream.duplicates), ==, 0);
    check_no_complaint();
    card_stop(&c);
}

static const struct {
    const char *name;
    void (*fn)(const void *mode);
} cases[] = {
    { "tx", test_tx },
    { "tx-shuffled", test_tx_shuffled },
    { "rx", test_rx },
    { "rx-shuffled", test_rx_shuffled },
    { "loop", test_loop },
    { "ctrl", test_ctrl },
    { "unmapped", test_unmapped },
    { "break", test_break },
    { "stop", test_stop },
};

int main(int argc, char **argv)
{
    unsigned i, j;
    int ret;

    g_test_init(&argc, &argv, NULL);

    for (i = 0; i < MODE_COUNT; i++) {
        for (j = 0; j < ARRAY_SIZE(cases); j++) {
            g_autofree char *path = g_strdup_printf("vdpa-sim/%s/%s",
                                                    modes[i].name,
                                                    cases[j].name);

            qtest_add_data_func(path, &modes[i], cases[j].fn);
        }
    }
    ret = g_test_run();
    rig_stop();
    return ret;
}
