/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: vhost-user back ends that stop, crash and come back
 *
 * A queue then changes hands: the back end says with GET_VRING_BASE how far it
 * has got, and QEMU tells the next one with SET_VRING_BASE.  In between, QEMU
 * may have run the queue itself.  The back ends are in this program; they have
 * taken buffers that they have not used whenever that happens.
 *
 * A back end that crashes says nothing.  For a split ring QEMU goes on behind
 * what the used index in guest memory says.  For a packed ring there is no
 * such thing: only a back end with an in-flight buffer knows, and without one
 * (virtio-net) the driver has to reset the device.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "vhost-user-ring.h"
#include "virtio-in-order-exchange.h"
#include "virtio-in-order-multi.h"
#include "virtio-in-order-requests.h"
#include "virtio-in-order-traffic.h"
#include "standard-headers/linux/virtio_blk.h"
#include "standard-headers/linux/virtio_net.h"

#define RX          0
#define TX          1
#define NET_BUFS    64          /* of each queue */
#define TX_LEN      300
#define RX_LEN      200

#define BLK_REQS    48
#define BLK_SECTORS 4           /* of each request, its own */
#define BLK_SIZE    (BLK_REQS * BLK_SECTORS * SECTOR)

enum { VU_NET, VU_BLK, VU_COUNT };

static const char *const vu_names[VU_COUNT] = { "vunet", "vublk" };

/* What a back end keeps where it outlasts the back end, for each queue */
typedef struct Kept {
    uint32_t valid;
    uint32_t base;              /* see vhost_user_ring_base() */
} Kept;

static struct {
    VhostUserFake u[VU_COUNT];
    VhostUserRing ring[VU_COUNT][2];
    struct virtio_blk_config config;
    uint8_t disk[BLK_SIZE];
    uint32_t tx_seq;            /* the packet that has to come next */
    bool tx_gap;                /* or a later one: some may be dropped */
    uint32_t rx_seq;
} vu;

/* The two calls of the back end's thread; the lock is held */

static void vu_start(VhostUserFake *u, unsigned queue)
{
    VhostUserRing *r = &vu.ring[u - vu.u][queue];
    Kept *kept = (Kept *)u->inflight;
    uint32_t base = u->queue[queue].base;

    if (kept && u->inflight_kept && kept[queue].valid) {
        base = kept[queue].base;
    }
    vhost_user_ring_start(r, u, queue, base);
    if (kept) {
        kept[queue].base = base;
        kept[queue].valid = 1;
    }
}

static uint32_t vu_stop(VhostUserFake *u, unsigned queue)
{
    VhostUserRing *r = &vu.ring[u - vu.u][queue];
    uint32_t base;

    if (!u->queue[queue].running) {
        return u->queue[queue].answered;
    }
    base = vhost_user_ring_base(r);
    /* What was taken and not used is taken again by the next one */
    r->count = 0;
    return base;
}

static void vu_listen(unsigned id, const Mode *mode, GString *cmd)
{
    VhostUserFake *u = &vu.u[id];

    memset(u, 0, sizeof(*u));
    u->features = BIT_ULL(VIRTIO_F_VERSION_1) |
                  BIT_ULL(VHOST_USER_F_PROTOCOL_FEATURES) |
                  (mode->packed ? BIT_ULL(VIRTIO_F_RING_PACKED) : 0) |
                  (mode->in_order ? BIT_ULL(VIRTIO_F_IN_ORDER) : 0);
    u->again = true;
    u->start = vu_start;
    u->stop = vu_stop;
    if (id == VU_NET) {
        u->features |= BIT_ULL(VIRTIO_NET_F_MRG_RXBUF);
    } else {
        u->protocol = BIT_ULL(VHOST_USER_PROTOCOL_F_CONFIG) |
                      BIT_ULL(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD);
        u->config = (uint8_t *)&vu.config;
        u->config_len = sizeof(vu.config);
        u->inflight_len = 4096;
    }
    vhost_user_start(u);
    g_string_append_printf(cmd, " -chardev socket,id=c%u,path=%s,abstract=on,"
                           "reconnect=1", id, u->addr.sun_path + 1);
}

static void vu_kind_start(GString *cmd, const char *props)
{
    vu.config.capacity = cpu_to_le64(BLK_SIZE / SECTOR);
    vu_listen(VU_NET, rig->mode, cmd);
    vu_listen(VU_BLK, rig->mode, cmd);
    g_string_append_printf(cmd, " -netdev vhost-user,id=n0,chardev=c0"
                           " -device virtio-net-pci,id=vunet,netdev=n0,"
                           "addr=%d,disable-legacy=on,%s"
                           " -device vhost-user-blk-pci,id=vublk,chardev=c1,"
                           "num-queues=1,addr=%d,disable-legacy=on,%s",
                           DEV_SLOT(VU_NET), props, DEV_SLOT(VU_BLK), props);
}

static void vu_kind_stop(void)
{
    vhost_user_stop(&vu.u[VU_NET]);
    vhost_user_stop(&vu.u[VU_BLK]);
}

static const RigKind vu_kind = {
    .names = vu_names,
    .count = VU_COUNT,
    .start = vu_kind_start,
    .stop = vu_kind_stop,
};

static bool vu_get(const Mode *mode)
{
    if (!can_run(mode)) {
        return false;
    }
    rig_get_kind(&vu_kind, mode);
    return true;
}

static bool vu_running(VhostUserFake *u, unsigned queues)
{
    unsigned i;

    for (i = 0; i < queues; i++) {
        if (!u->queue[i].running || !u->queue[i].enabled) {
            return false;
        }
    }
    return true;
}

/* Waits until the back end may process its queues, or until it may not */
static void vu_wait(unsigned id, unsigned queues, bool running)
{
    VhostUserFake *u = &vu.u[id];
    gint64 end = g_get_monotonic_time() + RIG_TIMEOUT_US;
    bool ok = true;

    g_mutex_lock(&u->lock);
    while (ok && (running ? !vu_running(u, queues) : u->queues)) {
        ok = g_cond_wait_until(&u->changed, &u->lock, end);
    }
    g_mutex_unlock(&u->lock);
    g_assert_true(ok);
}

/*
 * Waits for a new connection.  Once QEMU speaks on it, it goes through with
 * it, the cable of a network card included, before it obeys the test again.
 */
static void vu_await(unsigned id, unsigned connections)
{
    VhostUserFake *u = &vu.u[id];
    gint64 end = g_get_monotonic_time() + RIG_TIMEOUT_US;
    bool ok = true;

    g_mutex_lock(&u->lock);
    while (ok && (u->connections <= connections || !u->greeted)) {
        ok = g_cond_wait_until(&u->changed, &u->lock, end);
    }
    g_mutex_unlock(&u->lock);
    g_assert_true(ok);
}

/* Each queue has to go on where its back end said that it was */
static void vu_check_same(unsigned id, unsigned queues)
{
    unsigned i;

    for (i = 0; i < queues; i++) {
        g_assert_cmphex(vu.u[id].queue[i].base, ==,
                        vu.u[id].queue[i].answered);
    }
}

static void vm_stop(void)
{
    qtest_qmp_assert_success(rig->qts, "{ 'execute': 'stop' }");
}

static void vm_cont(void)
{
    qtest_qmp_assert_success(rig->qts, "{ 'execute': 'cont' }");
}

/* Where a queue is when everything has come back, see vhost_user_ring_base() */
static uint32_t base_after(QVirtQueue *vq, uint64_t buffers, uint64_t descs)
{
    uint32_t half = descs % vq->size | !((descs / vq->size) & 1) << 15;

    return rig->mode->packed ? half << 16 | half : buffers & 0xffff;
}

/* A network card: its driver */

typedef struct Net {
    Dev *dev;
    QVirtQueue *vq[2];
    Exchange x[2][NET_BUFS];
    uint64_t buffers[2], descs[2];      /* put into the ring so far */
    uint32_t seq;                       /* of the next packet to send */
    uint32_t rx_seq;                    /* of the next one to receive */
    unsigned taken;                     /* buffers that came back */
} Net;

static void net_init(Net *n)
{
    unsigned i;

    memset(n, 0, sizeof(*n));
    n->dev = dev_start(VU_NET, 0);
    /* As small as can be, so that they wrap often */
    n->vq[RX] = queue_setup(n->dev, RX, rig->mode->packed ? 37 : 32);
    n->vq[TX] = queue_setup(n->dev, TX, rig->mode->packed ? 41 : 64);
    qvirtio_set_driver_ok(n->dev->vdev);
    for (i = 0; i < NET_BUFS; i++) {
        exchange_init(&n->x[RX][i], 0, RX_LEN);
        exchange_init(&n->x[TX][i], TX_LEN, 0);
    }
    vu.tx_seq = vu.rx_seq = 0;
    vu.tx_gap = false;
    vu_wait(VU_NET, 2, true);
    for (i = 0; i < 2; i++) {
        g_assert_cmphex(vu.u[VU_NET].queue[i].base, ==,
                        base_after(n->vq[i], 0, 0));
    }
}

static void net_end(Net *n)
{
    qvirtio_reset(n->dev->vdev);
    vu_wait(VU_NET, 2, false);
    queue_free(n->dev, n->vq[RX]);
    queue_free(n->dev, n->vq[TX]);
}

/* Some buffers into one of the queues, and a kick */
static void net_add(Net *n, unsigned queue, unsigned max)
{
    QVirtQueue *vq = n->vq[queue];
    Exchange *last = NULL;
    unsigned i;

    for (i = 0; i < NET_BUFS && max; i++) {
        Exchange *x = &n->x[queue][i];
        unsigned room = vq->num_free;

        if (x->in_flight || room < 3) {
            continue;
        }
        if (queue == TX) {
            memset(x->out, 0, NET_HDR_LEN);
            packet_fill(x->out + NET_HDR_LEN, TX_LEN - NET_HDR_LEN, n->seq++);
        }
        exchange_add(x, vq, queue == TX ? TX_LEN : 0,
                     queue == RX ? RX_LEN : 0);
        n->buffers[queue]++;
        n->descs[queue] += room - vq->num_free;
        last = x;
        max--;
    }
    if (last) {
        exchange_go(last, vq);
    }
}

/* Takes what came back */
static bool net_reap(Net *n)
{
    bool any = false;
    Exchange *x;

    while ((x = exchange_take(n->x[TX], NET_BUFS, n->vq[TX]))) {
        g_assert_cmpuint(x->len, ==, 0);
        n->taken++;
        any = true;
    }
    while ((x = exchange_take(n->x[RX], NET_BUFS, n->vq[RX]))) {
        packet_check(x->in + NET_HDR_LEN, x->len - NET_HDR_LEN, n->rx_seq,
                     x->len - NET_HDR_LEN);
        n->rx_seq++;
        n->taken++;
        any = true;
    }
    return any;
}

/* Its back end: takes some buffers and uses some of those that it has taken */

static void gather(const VhostUserElem *e, uint8_t *buf, size_t size)
{
    size_t at = 0;
    unsigned i;

    for (i = 0; i < e->outs; i++) {
        g_assert_cmpuint(at + e->out[i].len, <=, size);
        memcpy(buf + at, guest(e->out[i].addr, e->out[i].len), e->out[i].len);
        at += e->out[i].len;
    }
    g_assert_cmpuint(at, ==, size);
}

static void scatter(VhostUserElem *e, const uint8_t *buf, size_t size)
{
    unsigned i;

    e->len = size;
    for (i = 0; i < e->ins && size; i++) {
        size_t n = MIN(size, e->in[i].len);

        memcpy(guest(e->in[i].addr, n), buf, n);
        buf += n;
        size -= n;
    }
    g_assert_cmpuint(size, ==, 0);
}

static void net_transmitted(VhostUserElem *e)
{
    uint8_t buf[TX_LEN];
    uint32_t seq;

    g_assert_cmpuint(e->ins, ==, 0);
    gather(e, buf, sizeof(buf));
    seq = ldl_le_p(buf + NET_HDR_LEN + 14);
    g_assert_cmpuint(seq, >=, vu.tx_seq);
    if (!vu.tx_gap) {
        g_assert_cmpuint(seq, ==, vu.tx_seq);
    }
    packet_check(buf + NET_HDR_LEN, TX_LEN - NET_HDR_LEN, seq,
                 TX_LEN - NET_HDR_LEN);
    vu.tx_seq = seq + 1;
    e->len = 0;
}

static void net_receive(VhostUserElem *e)
{
    uint8_t buf[RX_LEN] = { 0 };
    size_t len = between(PKT_MIN, RX_LEN - NET_HDR_LEN);

    g_assert_cmpuint(e->outs, ==, 0);
    buf[10] = 1;                /* num_buffers */
    packet_fill(buf + NET_HDR_LEN, len, vu.rx_seq++);
    scatter(e, buf, NET_HDR_LEN + len);
}

/* At most @take buffers more, and @done of the oldest used; 0 to all */
static bool vu_serve(unsigned id, unsigned queue, unsigned take, unsigned done,
                     void (*fn)(VhostUserElem *e))
{
    VhostUserFake *u = &vu.u[id];
    VhostUserRing *r = &vu.ring[id][queue];
    bool any = false;
    unsigned i;

    g_mutex_lock(&u->lock);
    if (u->queue[queue].running && u->queue[queue].enabled) {
        while (take && vhost_user_ring_take(r)) {
            take--;
            any = true;
        }
        done = MIN(done, r->count);
        for (i = 0; i < done; i++) {
            fn(vhost_user_ring_oldest(r, i));
        }
        vhost_user_ring_done(r, done);
        if (u->inflight) {
            ((Kept *)u->inflight)[queue].base = vhost_user_ring_base(r);
        }
        any |= done > 0;
    }
    g_mutex_unlock(&u->lock);
    return any;
}

static bool net_serve(unsigned take, unsigned done)
{
    bool any = vu_serve(VU_NET, TX, take, done, net_transmitted);

    return vu_serve(VU_NET, RX, take, done, net_receive) || any;
}

static void net_pump(Net *n, unsigned rounds)
{
    while (rounds--) {
        net_add(n, TX, between(0, 20));
        net_add(n, RX, between(0, 20));
        net_serve(between(0, 20), between(0, 15));
        net_reap(n);
    }
}

static bool net_idle(Net *n)
{
    return !qvring_in_flight(n->vq[RX]) && !qvring_in_flight(n->vq[TX]);
}

/* Everything comes back */
static void net_finish(Net *n, const char *what)
{
    gint64 start = 0;

    while (!net_idle(n)) {
        net_serve(UINT_MAX, UINT_MAX);
        if (net_reap(n)) {
            start = 0;
        } else {
            wait_a_little(&start, n->vq[TX], what);
        }
    }
    qvring_check_idle(rig->qts, n->vq[RX]);
    qvring_check_idle(rig->qts, n->vq[TX]);
    g_assert_cmpuint(n->taken, ==, n->buffers[RX] + n->buffers[TX]);
    g_assert_cmpuint(vu.rx_seq, ==, n->rx_seq);
}

/*
 * The machine stops and goes on, with buffers waiting and taken.  If this
 * fails, QEMU hands on another place than it was told, so that packets are
 * lost or repeated, or the kick of what waits gets lost.
 */
void test_net_handover(const void *data)
{
    unsigned i;
    Net n;

    if (!vu_get(data)) {
        return;
    }
    net_init(&n);
    for (i = 0; i < 150; i++) {
        net_pump(&n, between(1, 8));
        vm_stop();
        vu_wait(VU_NET, 2, false);
        net_reap(&n);
        vm_cont();
        vu_wait(VU_NET, 2, true);
        vu_check_same(VU_NET, 2);
    }
    net_finish(&n, "traffic after handing over");
    /* All without a gap */
    g_assert_cmpuint(vu.tx_seq, ==, n.seq);
    vm_stop();
    vu_wait(VU_NET, 2, false);
    for (i = 0; i < 2; i++) {
        g_assert_cmphex(vu.u[VU_NET].queue[i].answered, ==,
                        base_after(n.vq[i], n.buffers[i], n.descs[i]));
    }
    vm_cont();
    vu_wait(VU_NET, 2, true);
    net_end(&n);
}

/*
 * The cable is pulled: QEMU has the queues then, and drops what is to be sent;
 * it is plugged, and the back end goes on behind that.  If this fails, QEMU
 * begins at another place than the back end has ended, loses or doubles
 * buffers, or tells the back end a wrong place.
 */
void test_net_link(const void *data)
{
    unsigned i;
    Net n;

    if (!vu_get(data)) {
        return;
    }
    net_init(&n);
    for (i = 0; i < 100; i++) {
        gint64 start = 0;
        unsigned j;

        net_pump(&n, between(1, 8));
        set_link("vunet", false);
        vu_wait(VU_NET, 2, false);
        for (j = between(1, 3); j; j--) {
            net_add(&n, RX, between(0, 10));
            do {
                /* Until there was room for one more, and so for a kick */
                net_reap(&n);
                wait_a_little(&start, n.vq[TX], "room in the ring");
            } while (n.vq[TX]->num_free < 3);
            net_add(&n, TX, between(1, 20));
            start = 0;
            while (qvring_in_flight(n.vq[TX])) {
                net_reap(&n);
                wait_a_little(&start, n.vq[TX], "packets without a cable");
            }
            qvring_check_idle(rig->qts, n.vq[TX]);
            if (between(0, 1)) {
                vm_stop();
                vm_cont();
            }
        }
        vu.tx_seq = n.seq;
        set_link("vunet", true);
        vu_wait(VU_NET, 2, true);
        g_assert_cmphex(vu.u[VU_NET].queue[TX].base, ==,
                        base_after(n.vq[TX], n.buffers[TX], n.descs[TX]));
        g_assert_cmphex(vu.u[VU_NET].queue[RX].base, ==,
                        vu.u[VU_NET].queue[RX].answered);
    }
    net_finish(&n, "traffic after plugging the cable");
    net_end(&n);
}

/*
 * The back end crashes with buffers waiting and taken, while the machine runs
 * and while it stands still, and comes back.  If this fails, buffers are lost
 * or used twice, packets are sent twice or in another order, or the back end
 * does not get the queues again.
 */
void test_net_crash(const void *data)
{
    const Mode *mode = data;
    unsigned i, connections;
    Net n;

    if (!vu_get(mode)) {
        return;
    }
    net_init(&n);
    for (i = 0; i < 4; i++) {
        net_pump(&n, between(3, 30));
        connections = vu.u[VU_NET].connections;
        if (i % 2) {
            vm_stop();
            vu_wait(VU_NET, 2, false);
            net_reap(&n);
            vhost_user_disconnect(&vu.u[VU_NET]);
            vu_await(VU_NET, connections);
            vm_cont();
            vu_wait(VU_NET, 2, true);
            vu_check_same(VU_NET, 2);
            continue;
        }

        /* What is sent without a cable is dropped */
        vu.tx_gap = true;
        vhost_user_disconnect(&vu.u[VU_NET]);
        if (mode->packed) {
            /* Nobody knows any more where the rings are */
            qvirtio_reset(n.dev->vdev);
            queue_free(n.dev, n.vq[RX]);
            queue_free(n.dev, n.vq[TX]);
            vu_await(VU_NET, connections);
            net_init(&n);
            continue;
        }
        net_reap(&n);
        net_add(&n, TX, 5);
        net_add(&n, RX, 5);
        vu_wait(VU_NET, 2, true);
        net_pump(&n, 10);
        net_finish(&n, "traffic after a crash");
        vu.tx_gap = false;
        vu.tx_seq = n.seq;
    }
    net_pump(&n, 20);
    net_finish(&n, "traffic after all crashes");
    net_end(&n);
}

/* A disk: its driver */

typedef struct Blk {
    Dev *dev;
    QVirtQueue *vq;
    Request req[BLK_REQS];
    uint32_t written[BLK_REQS];         /* pattern of what is on the disk */
    uint64_t buffers, descs;
    uint64_t taken;
} Blk;

static void blk_init(Blk *b)
{
    unsigned i;

    memset(b, 0, sizeof(*b));
    b->dev = dev_start(VU_BLK, 0);
    b->vq = queue_setup(b->dev, 0, rig->mode->packed ? 67 : 64);
    qvirtio_set_driver_ok(b->dev->vdev);
    for (i = 0; i < BLK_REQS; i++) {
        request_init(&b->req[i], BLK_SECTORS * SECTOR);
        b->req[i].done = true;
        b->written[i] = i + 1;
        pattern_fill(vu.disk + i * BLK_SECTORS * SECTOR, BLK_SECTORS * SECTOR,
                     i + 1);
    }
    vu_wait(VU_BLK, 1, true);
    g_assert_cmphex(vu.u[VU_BLK].queue[0].base, ==, base_after(b->vq, 0, 0));
}

static void blk_end(Blk *b)
{
    qvirtio_reset(b->dev->vdev);
    vu_wait(VU_BLK, 1, false);
    queue_free(b->dev, b->vq);
}

static void blk_add(Blk *b, unsigned max)
{
    Request *last = NULL;
    unsigned i;

    for (i = 0; i < BLK_REQS && max; i++) {
        Request *req = &b->req[i];
        unsigned room = b->vq->num_free;
        unsigned pieces = 1 << between(0, 2);
        bool out = between(0, 1);

        if (!req->done || room < pieces + 2) {
            continue;
        }
        if (out) {
            req->pattern = b->written[i] = between(1, 1 << 30);
        }
        request_add(req, b->vq, out ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN,
                    i * BLK_SECTORS, BLK_SECTORS * SECTOR, pieces, false);
        b->buffers++;
        b->descs += room - b->vq->num_free;
        last = req;
        max--;
    }
    if (last) {
        qvring_publish(rig->qts, b->vq, last->id);
        qvring_notify(rig->qts, b->vq);
    }
}

static bool blk_reap(Blk *b)
{
    uint8_t want[BLK_SECTORS * SECTOR];
    bool any = false;
    Request *req;

    while ((req = request_take(b->req, BLK_REQS, b->vq))) {
        pattern_fill(want, sizeof(want), b->written[req - b->req]);
        if (req->type == VIRTIO_BLK_T_IN) {
            g_assert_cmpmem(guest(req->data, sizeof(want)), sizeof(want), want,
                            sizeof(want));
        }
        g_assert_cmpmem(vu.disk + req->sector * SECTOR, sizeof(want), want,
                        sizeof(want));
        b->taken++;
        any = true;
    }
    return any;
}

/* Its back end does one request */
static void blk_execute(VhostUserElem *e)
{
    uint8_t buf[16 + BLK_SECTORS * SECTOR];
    uint8_t answer[BLK_SECTORS * SECTOR + 1];
    size_t len = BLK_SECTORS * SECTOR;
    uint64_t at;
    uint32_t type;

    g_assert_cmpuint(e->outs, >, 0);
    g_assert_cmpuint(e->out[0].len, ==, 16);
    type = ldl_le_p(guest(e->out[0].addr, 16));
    gather(e, buf, type == VIRTIO_BLK_T_OUT ? sizeof(buf) : 16);
    at = ldq_le_p(buf + 8) * SECTOR;
    g_assert_cmpuint(at, <=, BLK_SIZE - len);
    if (type == VIRTIO_BLK_T_OUT) {
        memcpy(vu.disk + at, buf + 16, len);
        answer[0] = VIRTIO_BLK_S_OK;
        scatter(e, answer, 1);
    } else {
        memcpy(answer, vu.disk + at, len);
        answer[len] = VIRTIO_BLK_S_OK;
        scatter(e, answer, len + 1);
    }
}

static bool blk_serve(unsigned take, unsigned done)
{
    return vu_serve(VU_BLK, 0, take, done, blk_execute);
}

static void blk_pump(Blk *b, unsigned rounds)
{
    while (rounds--) {
        blk_add(b, between(0, 12));
        blk_serve(between(0, 12), between(0, 10));
        blk_reap(b);
    }
}

static void blk_finish(Blk *b, const char *what)
{
    gint64 start = 0;

    while (qvring_in_flight(b->vq)) {
        blk_serve(UINT_MAX, UINT_MAX);
        if (blk_reap(b)) {
            start = 0;
        } else {
            wait_a_little(&start, b->vq, what);
        }
    }
    qvring_check_idle(rig->qts, b->vq);
    g_assert_cmpuint(b->taken, ==, b->buffers);
}

/*
 * The machine stops and goes on, with requests waiting and taken.  If this
 * fails, QEMU hands on another place than it was told, so that requests are
 * lost, or done and answered twice.
 */
void test_blk_handover(const void *data)
{
    unsigned i;
    Blk b;

    if (!vu_get(data)) {
        return;
    }
    blk_init(&b);
    for (i = 0; i < 150; i++) {
        blk_pump(&b, between(1, 8));
        vm_stop();
        vu_wait(VU_BLK, 1, false);
        blk_reap(&b);
        vm_cont();
        vu_wait(VU_BLK, 1, true);
        vu_check_same(VU_BLK, 1);
    }
    blk_finish(&b, "requests after handing over");
    vm_stop();
    vu_wait(VU_BLK, 1, false);
    g_assert_cmphex(vu.u[VU_BLK].queue[0].answered, ==,
                    base_after(b.vq, b.buffers, b.descs));
    vm_cont();
    vu_wait(VU_BLK, 1, true);
    blk_end(&b);
}

/*
 * The back end crashes with requests waiting and taken, while the machine runs
 * and while it stands still, and comes back with what its in-flight buffer
 * says.  If this fails, QEMU has lost that buffer or hands over another one,
 * does not start the new back end, or (split ring, or a back end that was
 * stopped before it crashed) tells it another place.
 */
void test_blk_crash(const void *data)
{
    const Mode *mode = data;
    VhostUserFake *u = &vu.u[VU_BLK];
    unsigned i, connections;
    Blk b;

    if (!vu_get(mode)) {
        return;
    }
    blk_init(&b);
    for (i = 0; i < 4; i++) {
        uint32_t base;

        blk_pump(&b, between(3, 40));
        blk_serve(UINT_MAX, 0);
        base = vhost_user_ring_base(&vu.ring[VU_BLK][0]);
        connections = u->connections;
        if (i % 2) {
            vm_stop();
            vu_wait(VU_BLK, 1, false);
        }
        vhost_user_disconnect(u);
        blk_reap(&b);
        vu_await(VU_BLK, connections);
        if (i % 2) {
            vm_cont();
        } else {
            blk_add(&b, 5);
        }
        vu_wait(VU_BLK, 1, true);
        g_assert_true(u->inflight_kept);
        if (i % 2 || !mode->packed) {
            g_assert_cmphex(u->queue[0].base, ==, base);
        }
        g_assert_cmphex(vhost_user_ring_base(&vu.ring[VU_BLK][0]), ==, base);
        blk_pump(&b, 10);
    }
    blk_finish(&b, "requests after all crashes");
    blk_end(&b);
}
