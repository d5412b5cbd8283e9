/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: requests to disks, see virtio-in-order-requests.h
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "virtio-in-order-requests.h"
#include "standard-headers/linux/virtio_blk.h"

/* Where the status is in the memory of a request, behind the header */
#define BLK_STATUS      32

void pattern_fill(uint8_t *buf, size_t len, uint32_t x)
{
    size_t i;

    for (i = 0; i < len; i++) {
        x = x * 1664525 + 1013904223;
        buf[i] = x >> 24;
    }
}

void request_init(Request *req, size_t len)
{
    req->mem = guest_alloc(&rig->alloc, 64);
    req->data = guest_alloc(&rig->alloc, len);
}

void request_add_pieces(Request *req, QVirtQueue *vq, uint32_t type,
                        uint64_t sector, const Piece *pieces, unsigned n,
                        bool indirect)
{
    QTestState *qts = rig->qts;
    QVirtioDevice *d = vq->vdev;
    bool in = type != VIRTIO_BLK_T_OUT;
    QVRingIndirectDesc *table = NULL;
    uint8_t *head = guest(req->mem, 64);
    unsigned i;

    req->type = type;
    req->sector = sector;
    req->len = 0;
    req->done = false;
    stl_le_p(head, type);
    stl_le_p(head + 4, 0);
    stq_le_p(head + 8, sector);
    head[BLK_STATUS] = 0xff;
    for (i = 0; i < n; i++) {
        req->len += pieces[i].len;
    }

    if (indirect) {
        table = qvring_indirect_desc_setup(qts, d, &rig->alloc, n + 2);
        qvring_indirect_desc_add(d, qts, table, req->mem, 16, false);
        for (i = 0; i < n; i++) {
            qvring_indirect_desc_add(d, qts, table, pieces[i].addr,
                                     pieces[i].len, in);
        }
        qvring_indirect_desc_add(d, qts, table, req->mem + BLK_STATUS, 1,
                                 true);
        req->id = qvirtqueue_add_indirect(qts, vq, table);
        g_free(table);
        return;
    }
    qvirtqueue_add(qts, vq, req->mem, 16, false, true);
    for (i = 0; i < n; i++) {
        qvirtqueue_add(qts, vq, pieces[i].addr, pieces[i].len, in, true);
    }
    req->id = qvirtqueue_add(qts, vq, req->mem + BLK_STATUS, 1, true, false);
}

void request_add(Request *req, QVirtQueue *vq, uint32_t type,
                 uint64_t sector, size_t len, unsigned pieces,
                 bool indirect)
{
    g_autofree Piece *parts = g_new(Piece, pieces);
    unsigned i;

    if (type != VIRTIO_BLK_T_OUT) {
        memset(guest(req->data, len), POISON, len);
    } else {
        pattern_fill(guest(req->data, len), len, req->pattern);
    }
    for (i = 0; i < pieces; i++) {
        parts[i].len = len / pieces;
        parts[i].addr = req->data + i * parts[i].len;
    }
    request_add_pieces(req, vq, type, sector, parts, pieces, indirect);
}

Request *request_take(Request *reqs, unsigned n, QVirtQueue *vq)
{
    uint32_t id, len;
    unsigned i;

    if (!qvring_get(rig->qts, vq, &id, &len)) {
        return NULL;
    }
    for (i = 0; i < n; i++) {
        Request *req = &reqs[i];
        uint8_t *head = guest(req->mem, 64);

        if (req->done || req->id != id) {
            continue;
        }
        req->done = true;
        g_assert_cmpuint(head[BLK_STATUS], ==, VIRTIO_BLK_S_OK);
        if (req->type == VIRTIO_BLK_T_OUT) {
            g_assert_cmpuint(len, ==, 1);
        } else {
            g_assert_cmpuint(len, ==, req->len + 1);
        }
        return req;
    }
    g_assert_not_reached();
}

void requests_finish(Request *reqs, unsigned n, QVirtQueue *vq,
                     const char *what)
{
    unsigned left = 0, i;
    gint64 start = 0;

    for (i = 0; i < n; i++) {
        left += !reqs[i].done;
    }
    while (left) {
        if (request_take(reqs, n, vq)) {
            left--;
        } else {
            /* Reads of the throttled disk wait for virtual time */
            qtest_clock_step(rig->qts, 50 * 1000 * 1000);
            wait_a_little(&start, vq, what);
        }
    }
    qvring_check_idle(rig->qts, vq);
}
