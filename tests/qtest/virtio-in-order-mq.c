/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: a network card with several pairs of queues
 *
 * Its back end is a tap device with a queue for each pair.  vhost-fake.so
 * makes QEMU take datagram sockets for one, so no privilege is needed, and the
 * test sees each packet with the queue that it went through.
 *
 * The number of pairs is changed by VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET on the
 * control queue (VIRTIO 1.2, 5.1.6.5.6).  The driver puts nothing into the
 * transmit queue of a pair from the moment that it asks for fewer pairs, and
 * the device nothing into the receive queue of one once it has answered.
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include <sys/socket.h>
#include "qemu/bswap.h"
#include "vhost-fake-load.h"
#include "virtio-in-order-exchange.h"
#include "virtio-in-order-multi.h"
#include "virtio-in-order-traffic.h"
#include "standard-headers/linux/virtio_net.h"

#define PAIRS       4
#define CTRL_QUEUE  (2 * PAIRS)

/* Every packet fits one receive buffer */
#define LEN_MAX     1400
#define BUF_LEN     1526

static const char *const mq_names[] = { "mq0" };

/* The tap device, and what vhost-fake.so says about it */
static struct {
    Peer peer[PAIRS];
    VhostFake *fake;
    VhostFakeDev *tap[PAIRS];
    char *path;
    char *asan_options;
} mq;

/* A card that runs */
typedef struct Card {
    Dev *dev;
    QVirtQueue *rx[PAIRS], *tx[PAIRS], *ctrl;
    Sender s[PAIRS];
    Receiver r[PAIRS];
    Exchange command;
    unsigned pairs;             /* that are on */
    unsigned asked;             /* that the driver has asked for */
    bool deaf[PAIRS];           /* nobody reads what the pair sends */
} Card;

static void mq_kind_start(GString *cmd, const char *props)
{
    g_autoptr(GString) fds = g_string_new(NULL);
    int fake_fd;
    unsigned i;

    mq.fake = vhost_fake_new(&fake_fd);
    rig_pass_fd(fake_fd);
    for (i = 0; i < PAIRS; i++) {
        int fd;

        peer_init(&mq.peer[i], SOCK_DGRAM, &fd);
        mq.tap[i] = vhost_fake_add(mq.fake, rig_pass_fd(fd), VHOST_FAKE_TAP,
                                   0);
        g_string_append_printf(fds, "%s%d", i ? ":" : "", fd);
    }
    g_string_append_printf(cmd, " -netdev tap,id=tap0,fds=%s"
                           " -device virtio-net-pci,id=mq0,netdev=tap0,mq=on,"
                           "addr=%d,disable-legacy=on,%s", fds->str,
                           DEV_SLOT(0), props);
    mq.asan_options = g_strdup(getenv("ASAN_OPTIONS"));
    vhost_fake_arm(mq.path, fake_fd);
}

static void mq_kind_stop(void)
{
    unsigned i;

    for (i = 0; i < PAIRS; i++) {
        peer_cleanup(&mq.peer[i]);
    }
    munmap(mq.fake, sizeof(*mq.fake));
}

static const RigKind mq_kind = {
    .names = mq_names,
    .count = ARRAY_SIZE(mq_names),
    .start = mq_kind_start,
    .stop = mq_kind_stop,
};

/* A QEMU with such a card; false when the case cannot run */
static bool mq_get(const Mode *mode)
{
    if (!can_run(mode)) {
        return false;
    }
    if (!mq.path) {
        mq.path = vhost_fake_path();
    }
    if (!mq.path) {
        g_test_skip("vhost-fake.so is not next to the test program, or its"
                    " path has a space or a colon");
        return false;
    }
    rig_get_kind(&mq_kind, mode);
    if (mq.asan_options || getenv("LD_PRELOAD")) {
        vhost_fake_disarm(mq.asan_options);
        g_clear_pointer(&mq.asan_options, g_free);
    }
    g_assert_true(mq.fake->loaded);
    return true;
}

/* Receive buffers, as many as there is room for */
static bool card_refill(Card *c, unsigned i)
{
    bool any = false;

    while (c->rx[i]->num_free >= 2) {
        receiver_add(&c->r[i], BUF_LEN, between(1, 2), false);
        any = true;
    }
    if (any) {
        flow_go(&c->r[i].flow);
    }
    return any;
}

static void card_start(Card *c)
{
    unsigned i;

    memset(c, 0, sizeof(*c));
    c->dev = dev_start(0, 0);
    for (i = 0; i < PAIRS; i++) {
        c->rx[i] = queue_setup(c->dev, 2 * i, 0);
        c->tx[i] = queue_setup(c->dev, 2 * i + 1, 0);
    }
    c->ctrl = queue_setup(c->dev, CTRL_QUEUE, 0);
    qvirtio_set_driver_ok(c->dev->vdev);
    for (i = 0; i < PAIRS; i++) {
        /* What an earlier driver has sent, or has left to receive */
        peer_flush(&mq.peer[i]);
        mq.peer[i].hdr_len = mq.tap[i]->vnet_hdr_len;
        g_assert_cmpuint(mq.peer[i].hdr_len, ==, NET_HDR_LEN);
        g_assert_cmpuint(mq.tap[i]->detached, ==, i > 0);
        sender_init(&c->s[i], c->dev, c->tx[i]);
        c->s[i].peer = &mq.peer[i];
        receiver_init(&c->r[i], c->dev, c->rx[i]);
        c->r[i].peer = &mq.peer[i];
        card_refill(c, i);
    }
    exchange_init(&c->command, 4, 1);
    c->pairs = c->asked = 1;
}

static void card_stop(Card *c)
{
    unsigned i;

    qvirtio_reset(c->dev->vdev);
    for (i = 0; i < PAIRS; i++) {
        queue_free(c->dev, c->rx[i]);
        queue_free(c->dev, c->tx[i]);
        sender_cleanup(&c->s[i]);
        receiver_cleanup(&c->r[i]);
    }
    queue_free(c->dev, c->ctrl);
}

/* The command is on its way */
static void card_ask(Card *c, unsigned pairs)
{
    c->command.out[0] = VIRTIO_NET_CTRL_MQ;
    c->command.out[1] = VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET;
    stw_le_p(c->command.out + 2, pairs);
    exchange_add(&c->command, c->ctrl, 4, 1);
    exchange_go(&c->command, c->ctrl);
    c->asked = pairs;
}

/* Has the command come back?  The card did what it was to do, then. */
static bool card_answered(Card *c)
{
    unsigned i;

    if (!exchange_take(&c->command, 1, c->ctrl)) {
        return false;
    }
    g_assert_cmpuint(c->command.len, ==, 1);
    g_assert_cmpuint(c->command.in[0], ==, VIRTIO_NET_OK);
    c->pairs = c->asked;
    for (i = 0; i < PAIRS; i++) {
        g_assert_cmpuint(mq.tap[i]->detached, ==, i >= c->pairs);
    }
    return true;
}

/* Takes all packets that a pair has received */
static bool card_receive(Card *c, unsigned i)
{
    bool any = false;

    while (receiver_take(&c->r[i])) {
        any = true;
    }
    return any;
}

static void card_set_pairs(Card *c, unsigned pairs)
{
    gint64 start = 0;

    card_ask(c, pairs);
    while (!card_answered(c)) {
        wait_a_little(&start, c->ctrl, "number of pairs");
    }
}

/* Some packets for a pair from its tap device, as many as it has buffers for */
static bool card_feed(Card *c, unsigned i, unsigned max)
{
    Receiver *r = &c->r[i];
    bool any = false;

    for (; max && r->sent - r->received < r->flow.added - r->flow.taken;
         max--) {
        if (!receiver_send(r, between(PKT_MIN, LEN_MAX))) {
            break;
        }
        any = true;
    }
    return any;
}

/* Some packets into the transmit queue of a pair, as many as fit */
static bool card_send(Card *c, unsigned i, unsigned max)
{
    bool any = false;

    for (; max && c->tx[i]->num_free >= 3; max--) {
        sender_add(&c->s[i], between(PKT_MIN, LEN_MAX), between(1, 3), false);
        any = true;
    }
    if (any) {
        flow_go(&c->s[i].flow);
    }
    return any;
}

/*
 * Takes what comes back; nothing may be received by pairs that are off.  Those
 * that are being turned on may receive before the driver sees the answer.
 */
static bool card_reap(Card *c)
{
    unsigned on = MAX(c->pairs, c->asked);
    bool any = false;
    unsigned i;

    for (i = 0; i < PAIRS; i++) {
        any |= sender_reap(&c->s[i]);
        if (!c->deaf[i]) {
            any |= sender_check(&c->s[i]);
        }
        if (i < on) {
            any |= card_receive(c, i);
        } else {
            g_assert_false(qvring_get(rig->qts, c->rx[i], NULL, NULL));
        }
    }
    return any;
}

/* Traffic in both directions on all pairs that the driver may use */
static void card_pump(Card *c, unsigned rounds)
{
    unsigned usable = MIN(c->pairs, c->asked);
    unsigned i;

    while (rounds--) {
        for (i = 0; i < usable; i++) {
            card_send(c, i, between(0, 40));
            card_refill(c, i);
        }
        /* The network does not know which pairs are on */
        for (i = 0; i < PAIRS; i++) {
            card_feed(c, i, between(0, 20));
        }
        card_reap(c);
        g_usleep(between(0, 100));
    }
}

/* All pairs are on: everything that is under way has to come through */
static void card_finish(Card *c, const char *what)
{
    gint64 start = 0;
    unsigned i;
    bool all;

    g_assert_cmpuint(c->pairs, ==, PAIRS);
    do {
        if (card_reap(c)) {
            start = 0;
        }
        all = true;
        for (i = 0; i < PAIRS; i++) {
            Sender *s = &c->s[i];
            Receiver *r = &c->r[i];
            bool done;

            c->deaf[i] = false;
            /* A packet that did not fit the socket fits it later */
            if (r->pending && receiver_send(r, 0)) {
                start = 0;
            }
            done = !r->pending && r->received == r->sent &&
                   s->received == s->flow.added &&
                   s->flow.taken == s->flow.added;
            if (all && !done) {
                all = false;
                wait_a_little(&start, r->received == r->sent ? c->tx[i] :
                              c->rx[i], what);
            }
        }
    } while (!all);
    for (i = 0; i < PAIRS; i++) {
        qvring_check_idle(rig->qts, c->tx[i]);
    }
    qvring_check_idle(rig->qts, c->ctrl);
}

/*
 * Traffic on all pairs at once.  If this fails, packets of one pair are lost,
 * doubled or damaged, take another pair's way, or stop when another pair has
 * nowhere to send.
 */
void test_mq_traffic(const void *data)
{
    enum { COUNT = 2000 };
    gint64 start;
    unsigned i;
    Card c;

    if (!mq_get(data)) {
        return;
    }
    card_start(&c);
    card_set_pairs(&c, PAIRS);
    for (i = 0; i < PAIRS; i++) {
        start = 0;
        while (c.s[i].flow.added < COUNT || c.r[i].sent < COUNT) {
            c.deaf[between(0, PAIRS - 1)] = between(0, 1);
            card_pump(&c, 1);
            wait_a_little(&start, c.tx[i], "traffic on all pairs");
        }
    }
    card_finish(&c, "the end of traffic on all pairs");
    for (i = 0; i < PAIRS; i++) {
        if (!base_qemu()) {
            g_test_message("pair %u: %u sent, %u received; since the start "
                           "%" PRIu64 " publications of %" PRIu64 " buffers",
                           i, c.s[i].received, c.r[i].received,
                           queue_stat("mq0", 2 * i, "publications"),
                           queue_stat("mq0", 2 * i, "published-buffers"));
        }
    }
    card_stop(&c);
}

/*
 * The number of pairs changes at random while packets are in flight on all of
 * them, some stuck in front of a tap device that takes nothing.  If this
 * fails, a pair that was off has lost or repeated what was in its queues, or
 * goes on from another place; or it receives while it is off; or a pair that
 * stays on stops.
 */
void test_mq_change(const void *data)
{
    enum { CHANGES = 250 };
    unsigned n, i, stuck = 0;
    gint64 start;
    Card c;

    if (!mq_get(data)) {
        return;
    }
    card_start(&c);
    for (n = 0; n < CHANGES; n++) {
        for (i = 0; i < PAIRS; i++) {
            c.deaf[i] = between(0, 1);
        }
        card_pump(&c, between(1, 12));
        card_ask(&c, between(1, PAIRS));
        start = 0;
        while (!card_answered(&c)) {
            card_pump(&c, 1);
            wait_a_little(&start, c.ctrl, "number of pairs under traffic");
        }
        for (i = c.pairs; i < PAIRS; i++) {
            /* What came before the answer */
            card_receive(&c, i);
            stuck += qvring_in_flight(c.tx[i]) > 0;
        }
        card_pump(&c, between(1, 12));
    }
    /* Or this was about nothing */
    g_assert_cmpuint(stuck, >, 0);
    card_set_pairs(&c, PAIRS);
    card_finish(&c, "all pairs on again");
    card_pump(&c, 20);
    card_finish(&c, "traffic after all changes");
    card_stop(&c);
}

/*
 * Bursts that are longer than what the card publishes at once, waiting in
 * front of all pairs until the machine goes on.  If this fails, the end of a
 * burst is not published or is dropped.
 */
void test_mq_burst(const void *data)
{
    enum { BURSTS = 40 };
    unsigned n, i;
    Card c;

    if (!mq_get(data)) {
        return;
    }
    card_start(&c);
    card_set_pairs(&c, PAIRS);
    for (n = 0; n < BURSTS; n++) {
        qtest_qmp_assert_success(rig->qts, "{ 'execute': 'stop' }");
        for (i = 0; i < PAIRS; i++) {
            card_feed(&c, i, between(1, 80));
        }
        qtest_qmp_assert_success(rig->qts, "{ 'execute': 'cont' }");
        card_finish(&c, "bursts");
        for (i = 0; i < PAIRS; i++) {
            card_refill(&c, i);
        }
    }
    card_stop(&c);
}

/*
 * Reset with pairs off, and buffers in flight on all.  If this fails, a driver
 * finds what its predecessor left behind.
 */
void test_mq_reset(const void *data)
{
    unsigned n, i;
    Card c;

    if (!mq_get(data)) {
        return;
    }
    for (n = 0; n < 3; n++) {
        card_start(&c);
        card_set_pairs(&c, PAIRS);
        /* Nobody reads: all pairs get stuck */
        for (i = 0; i < PAIRS; i++) {
            c.deaf[i] = true;
        }
        for (i = 0; i < 40; i++) {
            unsigned j;

            for (j = 0; j < PAIRS; j++) {
                card_send(&c, j, 40);
            }
            card_reap(&c);
            main_loop_rounds();
        }
        for (i = 0; i < PAIRS; i++) {
            g_assert_cmpuint(qvring_in_flight(c.tx[i]), >, 0);
        }
        card_set_pairs(&c, between(1, PAIRS - 1));
        card_stop(&c);
        for (i = 0; i < PAIRS; i++) {
            peer_flush(&mq.peer[i]);
        }

        card_start(&c);
        card_set_pairs(&c, PAIRS);
        card_pump(&c, 20);
        card_finish(&c, "traffic after a reset");
        card_stop(&c);
    }
}

/*
 * Numbers of pairs that there cannot be.  If this fails, the card takes one,
 * or has changed something although it said no.
 */
void test_mq_refused(const void *data)
{
    static const uint16_t bad[] = { 0, PAIRS + 1, 0x8000, 0x8001, 0xffff };
    unsigned i, j;
    Card c;

    if (!mq_get(data)) {
        return;
    }
    card_start(&c);
    card_set_pairs(&c, 2);
    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        c.command.out[0] = VIRTIO_NET_CTRL_MQ;
        c.command.out[1] = VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET;
        stw_le_p(c.command.out + 2, bad[i]);
        exchange_one(&c.command, c.ctrl, 4, 1, "bad number of pairs");
        g_assert_cmpuint(c.command.in[0], ==, VIRTIO_NET_ERR);
        for (j = 0; j < PAIRS; j++) {
            g_assert_cmpuint(mq.tap[j]->detached, ==, j >= 2);
        }
        card_pump(&c, 3);
    }
    card_set_pairs(&c, PAIRS);
    card_finish(&c, "traffic after bad numbers");
    card_stop(&c);
}
