/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: migrate virtio-net with a packet that its peer does not take, others
 * behind it, and buffers for packets that are still to come
 *
 * The card keeps the buffer of a packet that its peer does not take.  Stopping
 * the VM has to give it up, since it is in nobody's stream.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "virtio-in-order-migration-cases.h"
#include "standard-headers/linux/virtio_net.h"

#define NET_HDR_LEN     sizeof(struct virtio_net_hdr_mrg_rxbuf)
#define PKT_LEN         1400
#define TX_BUFFERS      (MIG_QUEUE_SIZE / 2)    /* of two descriptors */
#define RX_BUFFERS      MIG_QUEUE_SIZE
#define RX_LEN          2048
#define FRAME_LEN       (sizeof(uint32_t) + PKT_LEN)

enum { RX, TX, QUEUES };

typedef struct Net {
    MigRig rig;
    QVirtQueue *vq[QUEUES];
    uint64_t mem[QUEUES];
    uint32_t tx_ids[TX_BUFFERS];
    unsigned tx_count, tx_returned;     /* buffers so far */
    uint32_t rx_ids[RX_BUFFERS];
    unsigned rx_count, rx_returned;     /* buffers so far */
    unsigned rx_sent;                   /* packets that the peer sent */
    unsigned lost;                      /* packets that the peer may miss */
    unsigned received;                  /* number of the one it expects */
    int fd;                             /* the peer's socket */
    size_t have;
    uint8_t frame[FRAME_LEN];
} Net;

static uint8_t pkt_byte(uint32_t number, unsigned pos)
{
    return (number * 31 + pos) * 2654435761u >> 16;
}

static void pkt_fill(uint8_t *pkt, uint32_t number)
{
    unsigned i;

    memset(pkt, 0xff, 12);
    stl_be_p(pkt + 12, number);
    for (i = 16; i < PKT_LEN; i++) {
        pkt[i] = pkt_byte(number, i);
    }
}

/* Returns: the packet's number */
static uint32_t pkt_check(const uint8_t *pkt)
{
    uint8_t want[PKT_LEN];
    uint32_t number = ldl_be_p(pkt + 12);

    pkt_fill(want, number);
    g_assert_cmpmem(pkt, PKT_LEN, want, PKT_LEN);
    return number;
}

/* A card whose peer has little room */
static char *net_args(Net *n, const Mode *mode, int *qemu_fd)
{
    g_autofree char *props = mig_props(mode);
    int room = 4096;

    n->fd = mig_socket_pair(SOCK_STREAM, qemu_fd);
    n->have = 0;
    g_unix_set_fd_nonblocking(n->fd, true, NULL);
    g_assert_cmpint(setsockopt(*qemu_fd, SOL_SOCKET, SO_SNDBUF, &room,
                               sizeof(room)), ==, 0);
    return g_strdup_printf("-netdev socket,id=peer0,fd=%d -device "
                           "virtio-net-pci,netdev=peer0,rx_queue_size=%d,"
                           "tx_queue_size=%d,%s", *qemu_fd, 256, 256, props);
}

/* Make @count packets available, and the queue known to the card */
static void net_transmit(Net *n, unsigned count)
{
    QTestState *qts = n->rig.qts;
    QVirtQueue *vq = n->vq[TX];

    while (count--) {
        unsigned slot = n->tx_count % TX_BUFFERS;
        uint64_t addr = n->mem[TX] + slot * RX_LEN;
        uint8_t *mem = mig_guest(&n->rig, addr, RX_LEN);

        g_assert_cmpuint(n->tx_count - n->tx_returned, <, TX_BUFFERS);
        memset(mem, 0, NET_HDR_LEN);
        pkt_fill(mem + NET_HDR_LEN, n->tx_count++);
        n->tx_ids[slot] = qvirtqueue_add(qts, vq, addr, NET_HDR_LEN + 100,
                                         false, true);
        qvirtqueue_add(qts, vq, addr + NET_HDR_LEN + 100, PKT_LEN - 100, false,
                       false);
        qvring_publish(qts, vq, n->tx_ids[slot]);
    }
    qvring_notify(qts, vq);
}

/* The card returns what it has sent in order, even without having promised */
static void net_reap(Net *n)
{
    uint32_t id, len;

    while (qvring_get(n->rig.qts, n->vq[TX], &id, &len)) {
        g_assert_cmpuint(id, ==, n->tx_ids[n->tx_returned % TX_BUFFERS]);
        n->tx_returned++;
    }
}

/*
 * What the peer gets is in order and not twice; only as many packets as may
 * have been given up are missing.  A card that has moved announces itself, with
 * packets that are not the driver's.  Returns: false at the end of the file
 */
static bool net_receive(Net *n)
{
    ssize_t got;

    do {
        size_t want = sizeof(uint32_t);
        uint32_t number;

        if (n->have >= want) {
            want += ldl_be_p(n->frame);
            g_assert_cmpuint(want, <=, FRAME_LEN);
        }
        got = read(n->fd, n->frame + n->have, want - n->have);
        n->have += MAX(got, 0);
        if (n->have < want || want <= sizeof(uint32_t)) {
            continue;
        }
        n->have = 0;
        if (want != FRAME_LEN) {
            continue;
        }
        number = pkt_check(n->frame + sizeof(uint32_t));
        g_assert_cmpuint(number, >=, n->received);
        g_assert_cmpuint(number - n->received, <=, n->lost);
        n->lost -= number - n->received;
        n->received = number + 1;
    } while (got > 0);
    return got < 0 && errno == EAGAIN;
}

static void net_finish(Net *n)
{
    gint64 start = 0;

    while (n->tx_returned < n->tx_count || n->received < n->tx_count) {
        g_assert_true(net_receive(n));
        net_reap(n);
        mig_wait(&start, "virtio-net transmits");
    }
    qvring_check_idle(n->rig.qts, n->vq[TX]);
}

/* Give the card buffers for all packets that it can have */
static void net_fill(Net *n)
{
    QTestState *qts = n->rig.qts;

    while (n->rx_count - n->rx_returned < RX_BUFFERS) {
        unsigned slot = n->rx_count % RX_BUFFERS;
        uint64_t addr = n->mem[RX] + slot * RX_LEN;

        memset(mig_guest(&n->rig, addr, RX_LEN), 0xa5, RX_LEN);
        n->rx_ids[slot] = qvirtqueue_add(qts, n->vq[RX], addr, RX_LEN, true,
                                         false);
        qvring_publish(qts, n->vq[RX], n->rx_ids[slot]);
        n->rx_count++;
    }
    qvring_notify(qts, n->vq[RX]);
}

/* The peer sends @count packets; the driver gets them in this order */
static void net_deliver(Net *n, unsigned count)
{
    gint64 start = 0;
    unsigned end = n->rx_sent + count;
    uint8_t frame[FRAME_LEN];
    uint32_t id, len;

    while (n->rx_returned < end) {
        if (n->rx_sent < end) {
            stl_be_p(frame, PKT_LEN);
            pkt_fill(frame + sizeof(uint32_t), n->rx_sent);
            if (write(n->fd, frame, FRAME_LEN) == FRAME_LEN) {
                n->rx_sent++;
            }
        }
        while (qvring_get(n->rig.qts, n->vq[RX], &id, &len)) {
            unsigned slot = n->rx_returned % RX_BUFFERS;
            uint8_t *mem = mig_guest(&n->rig, n->mem[RX] + slot * RX_LEN,
                                     RX_LEN);

            g_assert_cmpuint(id, ==, n->rx_ids[slot]);
            g_assert_cmpuint(len, ==, NET_HDR_LEN + PKT_LEN);
            g_assert_cmpuint(pkt_check(mem + NET_HDR_LEN), ==, n->rx_returned);
            n->rx_returned++;
        }
        mig_wait(&start, "virtio-net receives");
    }
    net_fill(n);
}

static void net_run(Net *n, unsigned times)
{
    unsigned i;

    for (i = 0; i < times; i++) {
        net_transmit(n, 1 + i % TX_BUFFERS);
        net_finish(n);
        net_deliver(n, 1 + i % (TX_BUFFERS / 2));
    }
}

static void net_init(Net *n, const Mode *mode)
{
    g_autofree char *args = NULL;
    int qemu_fd;

    args = net_args(n, mode, &qemu_fd);
    mig_init(&n->rig, mode, args);
    close(qemu_fd);
    n->mem[RX] = guest_alloc(&n->rig.alloc, RX_BUFFERS * RX_LEN);
    n->mem[TX] = guest_alloc(&n->rig.alloc, TX_BUFFERS * RX_LEN);
    n->vq[RX] = mig_queue_setup(&n->rig, RX, MIG_QUEUE_SIZE);
    n->vq[TX] = mig_queue_setup(&n->rig, TX, MIG_QUEUE_SIZE);
    qvirtio_set_driver_ok(n->rig.vdev);
    net_fill(n);
    net_run(n, 7);
}

static void net_cleanup(Net *n)
{
    mig_queue_free(&n->rig, n->vq[RX]);
    mig_queue_free(&n->rig, n->vq[TX]);
    mig_cleanup(&n->rig);
    close(n->fd);
}

/* Send until a packet is stuck, and the card has others that it cannot take */
static void net_stall(Net *n)
{
    unsigned i;

    for (i = 0; i < 20 && n->tx_count - n->tx_returned < TX_BUFFERS; i++) {
        net_transmit(n, TX_BUFFERS - (n->tx_count - n->tx_returned));
        qtest_qmp_assert_success(n->rig.qts, "{ 'execute': 'query-status' }");
        net_reap(n);
    }
    g_assert_cmpuint(n->tx_count - n->tx_returned, >, 2);
}

/*
 * One packet is stuck, others wait behind it.  Each buffer has to come back,
 * from the source or from the destination; one that were in flight when the
 * VM stops would come from neither.  Packets are not doubled: the source sends
 * no more when it has stopped, even if its peer has room again.
 */
static void test_net(const MigCase *c)
{
    g_autofree char *args = NULL;
    Net n = { 0 };
    int fd, qemu_fd;
    unsigned hop;

    net_init(&n, c->mode);
    for (hop = 0; hop < 2; hop++) {
        g_autoptr(GByteArray) stream = NULL;

        net_stall(&n);
        stream = mig_save(&n.rig);
        g_assert_cmpuint(mig_find(stream, MIG_ORDER), ==, 0);
        /* The one that was stuck may be half sent or given up */
        n.lost = 1;
        g_assert_true(net_receive(&n));
        qtest_qmp_assert_success(n.rig.qts, "{ 'execute': 'query-status' }");
        net_reap(&n);

        fd = n.fd;
        g_free(args);
        args = net_args(&n, c->mode, &qemu_fd);
        mig_load(&n.rig, args, stream, 0);
        close(qemu_fd);
        close(fd);
        net_finish(&n);
        net_deliver(&n, 3);
        net_run(&n, 20);
    }
    net_cleanup(&n);
}

void net_seed(const Mode *mode, MigSeed *seed)
{
    g_autofree char *props = mig_props(mode);
    Net n = { .rig.base = seed->base };

    net_init(&n, mode);
    if (!seed->quiet) {
        net_stall(&n);
    }
    mig_seed(&n.rig, seed);
    seed->args = g_strdup_printf("-netdev hubport,id=peer0,hubid=0 -device "
                                 "virtio-net-pci,netdev=peer0,"
                                 "rx_queue_size=256,tx_queue_size=256,%s",
                                 props);
    net_cleanup(&n);
}

void net_add_tests(const Mode *mode)
{
    mig_add(mode, "net", test_net, NULL);
}
