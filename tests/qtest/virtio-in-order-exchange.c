/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: buffers with a part that the device reads and a part that it writes,
 * see virtio-in-order-exchange.h
 */

#include "qemu/osdep.h"
#include "virtio-in-order-exchange.h"
#include "virtio-in-order-traffic.h"

/* Descriptors that a part is spread over at most */
#define PIECES_MAX      3

static uint64_t added;

void exchange_init(Exchange *x, size_t out_max, size_t in_max)
{
    memset(x, 0, sizeof(*x));
    x->out_max = out_max;
    x->in_max = in_max;
    if (out_max) {
        x->out_addr = guest_alloc(&rig->alloc, out_max);
        x->out = guest(x->out_addr, out_max);
    }
    if (in_max) {
        x->in_addr = guest_alloc(&rig->alloc, in_max);
        x->in = guest(x->in_addr, in_max);
    }
}

/* One descriptor more, in a table or in the ring; returns what is left */
static unsigned add_piece(Exchange *x, QVirtQueue *vq,
                          QVRingIndirectDesc *table, uint64_t addr,
                          size_t len, bool write, unsigned left)
{
    if (table) {
        qvring_indirect_desc_add(vq->vdev, rig->qts, table, addr, len, write);
    } else {
        x->id = qvirtqueue_add(rig->qts, vq, addr, len, write, left > 1);
    }
    return left - 1;
}

static unsigned add_part(Exchange *x, QVirtQueue *vq,
                         QVRingIndirectDesc *table, uint64_t addr, size_t len,
                         unsigned pieces, bool write, unsigned left)
{
    unsigned i;

    for (i = pieces; i; i--) {
        size_t part = i == 1 ? len : between(1, len - (i - 1));

        left = add_piece(x, vq, table, addr, part, write, left);
        addr += part;
        len -= part;
    }
    return left;
}

static unsigned pieces_of(const Exchange *x, size_t len)
{
    if (!len) {
        return 0;
    }
    return x->plain ? 1 : between(1, MIN(len, PIECES_MAX));
}

void exchange_add(Exchange *x, QVirtQueue *vq, size_t out_len, size_t in_len)
{
    unsigned outs = pieces_of(x, out_len);
    unsigned ins = pieces_of(x, in_len);
    unsigned left = outs + ins;
    QVRingIndirectDesc *table = NULL;

    g_assert_false(x->in_flight);
    g_assert_cmpuint(out_len, <=, x->out_max);
    g_assert_cmpuint(in_len, <=, x->in_max);
    x->out_len = out_len;
    x->in_len = in_len;
    x->in_flight = true;
    x->vq = vq;
    x->number = ++added;
    x->done = false;
    if (in_len) {
        memset(x->in, POISON, in_len);
    }
    if (vq->indirect && !x->plain &&
        (vq->num_free < left || !between(0, 3))) {
        table = qvring_indirect_desc_setup(rig->qts, vq->vdev, &rig->alloc,
                                           left);
    }
    left = add_part(x, vq, table, x->out_addr, out_len, outs, false, left);
    left = add_part(x, vq, table, x->in_addr, in_len, ins, true, left);
    g_assert_cmpuint(left, ==, 0);
    if (table) {
        x->id = qvirtqueue_add_indirect(rig->qts, vq, table);
        g_free(table);
    }
}

void exchange_go(Exchange *last, QVirtQueue *vq)
{
    qvring_publish(rig->qts, vq, last->id);
    qvring_notify(rig->qts, vq);
}

Exchange *exchange_take(Exchange *all, unsigned n, QVirtQueue *vq)
{
    uint32_t id, len;
    unsigned i;
    size_t j;

    if (!qvring_get(rig->qts, vq, &id, &len)) {
        return NULL;
    }
    for (i = 0; i < n; i++) {
        Exchange *x = &all[i];

        if (!x->in_flight || x->vq != vq || x->id != id) {
            continue;
        }
        x->in_flight = false;
        x->len = len;
        for (j = len; !x->loose && j < x->in_len; j++) {
            g_assert_cmphex(x->in[j], ==, POISON);
        }
        return x;
    }
    g_assert_not_reached();
}

unsigned exchange_completed(Exchange *all, unsigned n, Dev *dev,
                            QVirtQueue *vq, const char *what)
{
    uint64_t oldest = UINT64_MAX;
    unsigned due = 0, held = 0, i;
    gint64 start = 0;
    Exchange *x;

    for (i = 0; rig->mode->in_order && i < n; i++) {
        x = &all[i];
        if (x->in_flight && x->vq == vq && !x->done) {
            oldest = MIN(oldest, x->number);
        }
    }
    for (i = 0; i < n; i++) {
        x = &all[i];
        if (x->in_flight && x->vq == vq && x->done) {
            due += x->number < oldest;
            held += x->number > oldest;
        }
    }
    while (due) {
        x = exchange_take(all, n, vq);
        if (x) {
            g_assert_true(x->done);
            due--;
            start = 0;
        } else {
            wait_a_little(&start, vq, what);
        }
    }
    while (!base_qemu() &&
           queue_stat(dev_name(dev->id), vq->index, "held-back") != held) {
        wait_a_little(&start, vq, what);
    }
    return held;
}

void exchange_finish(Exchange *all, unsigned n, QVirtQueue *vq,
                     const char *what)
{
    unsigned left = 0, i;
    gint64 start = 0;

    for (i = 0; i < n; i++) {
        left += all[i].in_flight;
    }
    while (left) {
        if (exchange_take(all, n, vq)) {
            left--;
            start = 0;
        } else {
            wait_a_little(&start, vq, what);
        }
    }
    qvring_check_idle(rig->qts, vq);
}

void exchange_one(Exchange *x, QVirtQueue *vq, size_t out_len, size_t in_len,
                  const char *what)
{
    exchange_add(x, vq, out_len, in_len);
    exchange_go(x, vq);
    exchange_finish(x, 1, vq, what);
}
