/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: what becomes of a virtio device whose driver keeps no rule, see
 * virtio-in-order-hostile.h
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "virtio-in-order-hostile.h"
#include "virtio-in-order-requests.h"
#include "standard-headers/linux/pci_regs.h"
#include "standard-headers/linux/virtio_blk.h"

/* The account of a queue on which the rules were kept */

static HostileBuffer *in_flight(HostileQueue *hq, unsigned i)
{
    return &hq->in_flight[(hq->oldest + i) % HOSTILE_RING_MAX];
}

void hostile_account(HostileQueue *hq, uint16_t id, unsigned ndescs)
{
    if (hq->taken + ndescs > hq->num) {
        /* Over descriptors that the device owns */
        hq->clean = false;
        return;
    }
    *in_flight(hq, hq->count) = (HostileBuffer) { id, ndescs };
    hq->count++;
    hq->taken += ndescs;
}

/*
 * The buffer @id is used, and in a batch all before it.  Returns: descriptors
 * up to where the next used element is.
 */
static unsigned account_used(Hostile *h, HostileQueue *hq, uint16_t id,
                             unsigned *buffers)
{
    unsigned i, ndescs = 0;

    for (i = 0; i < hq->count; i++) {
        ndescs += in_flight(hq, i)->ndescs;
        if (in_flight(hq, i)->id == id) {
            break;
        }
    }
    /* Otherwise the device returns what it does not have */
    g_assert_cmpuint(i, <, hq->count);
    if (h->in_order) {
        *buffers = i + 1;
        hq->oldest = (hq->oldest + i + 1) % HOSTILE_RING_MAX;
        hq->count -= i + 1;
    } else {
        *buffers = 1;
        ndescs = in_flight(hq, i)->ndescs;
        for (; i + 1 < hq->count; i++) {
            *in_flight(hq, i) = *in_flight(hq, i + 1);
        }
        hq->count--;
    }
    hq->taken -= ndescs;
    return ndescs;
}

static void check_split(Hostile *h, HostileQueue *hq)
{
    uint16_t idx = lduw_le_p(guest(hq->used + 2, 2));

    /* Otherwise the device returns more than it has */
    g_assert_cmpuint((uint16_t)(idx - hq->used_idx), <=, hq->count);
    while (hq->used_idx != idx) {
        uint32_t id = ldl_le_p(guest(hq->used + 4 +
                                     8 * (hq->used_idx % hq->num), 8));
        unsigned buffers;

        account_used(h, hq, id, &buffers);
        /* Otherwise a batch reaches beyond the index */
        g_assert_cmpuint(buffers, <=, (uint16_t)(idx - hq->used_idx));
        hq->used_idx += buffers;
    }
}

static void check_packed(Hostile *h, HostileQueue *hq)
{
    while (hq->count) {
        const uint8_t *d = guest(hq->desc + 16 * hq->used_pos, 16);
        uint16_t flags = lduw_le_p(d + 14);
        bool avail = flags & (1 << VRING_PACKED_DESC_F_AVAIL);
        bool used = flags & (1 << VRING_PACKED_DESC_F_USED);
        unsigned buffers;

        if (avail != used || used != hq->used_wrap) {
            break;
        }
        hq->used_pos += account_used(h, hq, lduw_le_p(d + 12), &buffers);
        if (hq->used_pos >= hq->num) {
            hq->used_pos -= hq->num;
            hq->used_wrap = !hq->used_wrap;
        }
    }
}

static void check_queues(Hostile *h)
{
    unsigned q;

    for (q = 0; q < hostile_queues(h); q++) {
        HostileQueue *hq = &h->queue[q];

        if (hq->clean && h->packed) {
            check_packed(h, hq);
        } else if (hq->clean) {
            check_split(h, hq);
        }
    }
}

/* After all that, a good driver */

static void wait_more(Hostile *h, gint64 *start, const char *what)
{
    if (!*start) {
        *start = g_get_monotonic_time();
    } else if (g_get_monotonic_time() - *start > RIG_TIMEOUT_US) {
        g_error("%s: nothing happens", what);
    }
    h->host->run();
}

/* Packets from before may still be under way to the device, and come first */
static void recover_receive(Hostile *h, QVirtQueue *rx)
{
    enum { BUFS = 8, BUF_LEN = 2048 };
    uint64_t mem = guest_alloc(&rig->alloc, BUFS * BUF_LEN), at[16];
    uint8_t pkt[HOSTILE_PKT];
    bool sent = false;
    gint64 start = 0;
    uint32_t id, len;
    unsigned i;

    for (i = 0; i < BUFS; i++) {
        id = qvring_add(rig->qts, rx, mem + i * BUF_LEN, BUF_LEN, true, false);
        g_assert_cmpuint(id, <, ARRAY_SIZE(at));
        at[id] = mem + i * BUF_LEN;
    }
    qvring_publish(rig->qts, rx, id);
    qvring_notify(rig->qts, rx);
    pattern_fill(pkt, HOSTILE_PKT, 2);
    for (;;) {
        uint64_t buf;

        if (!sent) {
            sent = peer_send(dev_peer(h->dev), pkt, HOSTILE_PKT);
        }
        if (!qvring_get(rig->qts, rx, &id, &len)) {
            wait_more(h, &start, "a packet received after a hostile driver");
            continue;
        }
        buf = at[id];
        if (sent && len == HOSTILE_NET_HDR + HOSTILE_PKT &&
            !memcmp(guest(buf + HOSTILE_NET_HDR, HOSTILE_PKT), pkt,
                    HOSTILE_PKT)) {
            break;
        }
        id = qvring_add(rig->qts, rx, buf, BUF_LEN, true, false);
        at[id] = buf;
        qvring_publish(rig->qts, rx, id);
        qvring_notify(rig->qts, rx);
    }
}

static void recover_net(Hostile *h)
{
    QVirtQueue *rx, *tx;
    gint64 start = 0;
    uint64_t mem;
    const uint8_t *got;
    uint32_t id;
    size_t n;
    Dev *dev;

    net_start(h->dev->id, 0, 16, 16, &dev, &rx, &tx);
    mem = guest_alloc(&rig->alloc, 4096);
    memset(guest(mem, HOSTILE_NET_HDR), 0, HOSTILE_NET_HDR);
    pattern_fill(guest(mem + HOSTILE_NET_HDR, HOSTILE_PKT), HOSTILE_PKT, 1);
    id = qvring_add(rig->qts, tx, mem, HOSTILE_NET_HDR + HOSTILE_PKT, false,
                    false);
    qvring_publish(rig->qts, tx, id);
    qvring_notify(rig->qts, tx);
    while (!(got = peer_recv(dev_peer(dev), &n))) {
        wait_more(h, &start, "a packet sent after a hostile driver");
    }
    g_assert_cmpmem(got, n, guest(mem + HOSTILE_NET_HDR, HOSTILE_PKT),
                    HOSTILE_PKT);
    start = 0;
    while (!qvring_get(rig->qts, tx, NULL, NULL)) {
        wait_more(h, &start, "a sent buffer after a hostile driver");
    }
    qvring_check_idle(rig->qts, tx);
    recover_receive(h, rx);
    net_stop(dev, rx, tx);
}

static void recover_blk(Hostile *h)
{
    Request req = { 0 };
    gint64 start = 0;
    QVirtQueue *vq;
    Dev *dev;

    dev = dev_start(h->dev->id, 0);
    vq = queue_setup(dev, 0, 16);
    qvirtio_set_driver_ok(dev->vdev);
    request_init(&req, SECTOR);
    request_add(&req, vq, VIRTIO_BLK_T_IN, 0, SECTOR, 1, false);
    qvring_publish(rig->qts, vq, req.id);
    qvring_notify(rig->qts, vq);
    while (!request_take(&req, 1, vq)) {
        wait_more(h, &start, "a sector after a hostile driver");
        qtest_clock_step(rig->qts, 50 * 1000 * 1000);
    }
    qvring_check_idle(rig->qts, vq);
    qvirtio_reset(dev->vdev);
    queue_free(dev, vq);
}

void hostile_recover(Hostile *h)
{
    QPCIDevice *pdev = h->dev->pci->pdev;
    size_t len;
    unsigned i;

    if (h->stopped) {
        h->stopped = false;
        h->host->set_running(true);
    }
    if (h->link_down) {
        h->link_down = false;
        h->host->set_link(true);
    }
    if (h->pci_changed) {
        h->pci_changed = false;
        if (h->msix_cap) {
            qpci_config_writew(pdev, h->msix_cap + PCI_MSIX_FLAGS,
                               h->msix_control);
        }
        qpci_config_writew(pdev, PCI_COMMAND, 0);
        for (i = PCI_BASE_ADDRESS_0 / 4; i < ARRAY_SIZE(h->config); i++) {
            qpci_config_writel(pdev, 4 * i, h->config[i]);
        }
        qpci_config_writew(pdev, PCI_COMMAND, h->config[PCI_COMMAND / 4]);
    }

    qvirtio_reset(h->dev->vdev);
    for (i = 0; h->net && i < 2; i++) {
        h->host->run();
        while (peer_recv(dev_peer(h->dev), &len)) {
            continue;
        }
    }
    if (h->net) {
        recover_net(h);
    } else {
        recover_blk(h);
    }
}

void hostile_input(Hostile *h, const uint8_t *data, size_t size)
{
    h->data = data;
    h->size = MIN(size, HOSTILE_INPUT_MAX);
    hostile_begin(h);
    while (h->size) {
        hostile_step(h);
        check_queues(h);
    }
    h->host->run();
    check_queues(h);
    hostile_recover(h);
}

void hostile_init(Hostile *h, DevId id, const HostileHost *host)
{
    unsigned i;

    *h = (Hostile) {
        .host = host, .dev = &rig->dev[id], .net = id == DEV_DGRAM,
    };
    for (i = 0; i < ARRAY_SIZE(h->config); i++) {
        h->config[i] = qpci_config_readl(h->dev->pci->pdev, 4 * i);
    }
    h->msix_cap = qpci_find_capability(h->dev->pci->pdev, PCI_CAP_ID_MSIX, 0);
    if (h->msix_cap) {
        h->msix_control = qpci_config_readw(h->dev->pci->pdev,
                                            h->msix_cap + PCI_MSIX_FLAGS);
    }
    for (i = 0; i < HOSTILE_QUEUES; i++) {
        h->queue[i].in_flight = g_new0(HostileBuffer, HOSTILE_RING_MAX);
    }
}

void hostile_cleanup(Hostile *h)
{
    unsigned i;

    for (i = 0; i < HOSTILE_QUEUES; i++) {
        g_free(h->queue[i].in_flight);
    }
}
