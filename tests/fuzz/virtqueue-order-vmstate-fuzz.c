/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Fuzz target: the order tracker in a migration stream that may be anything
 *
 * The first two bytes of the input give the ring's size, the rest is the
 * stream.  Whatever it says, the tracker has to be one that a ring of this size
 * can have, or empty after an error; and what it has loaded has to come out
 * again, into another stream and to the driver.
 */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fuzz.h"
#include "qapi/error.h"
#include "hw/virtio/virtqueue-order-vmstate.h"

#define MAX_NUM         1024
#define MAX_STREAM      (4 + 9 * MAX_NUM)
#define EIO             5

#define CHECK(cond) \
    do { \
        if (!(cond)) { \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond); \
            abort(); \
        } \
    } while (0)

static char message[512];

void error_setg(Error **errp, const char *fmt, ...)
{
    va_list ap;

    (void)errp;
    va_start(ap, fmt);
    vsnprintf(message, sizeof(message), fmt, ap);
    va_end(ap);
}

int qemu_file_get_error(QEMUFile *f)
{
    return f->error;
}

int qemu_get_byte(QEMUFile *f)
{
    if (f->pos >= f->size) {
        f->error = -EIO;
        return 0;
    }
    return f->data[f->pos++];
}

unsigned int qemu_get_be16(QEMUFile *f)
{
    unsigned int v = qemu_get_byte(f) << 8;

    return v | qemu_get_byte(f);
}

unsigned int qemu_get_be32(QEMUFile *f)
{
    unsigned int v = qemu_get_be16(f) << 16;

    return v | qemu_get_be16(f);
}

void qemu_put_byte(QEMUFile *f, int v)
{
    CHECK(f->pos < f->size);
    f->data[f->pos++] = v;
}

void qemu_put_be16(QEMUFile *f, unsigned int v)
{
    qemu_put_byte(f, v >> 8);
    qemu_put_byte(f, v);
}

void qemu_put_be32(QEMUFile *f, unsigned int v)
{
    qemu_put_be16(f, v >> 16);
    qemu_put_be16(f, v);
}

/* Load a stream.  Returns: whether it was taken */
static bool load(VirtQueueOrder *order, QEMUFile *f, uint32_t num)
{
    message[0] = 0;
    if (virtqueue_order_load(order, f, num, NULL)) {
        CHECK(!message[0] && !f->error);
        CHECK(virtqueue_order_in_flight(order) <= num);
        CHECK(virtqueue_order_ndescs(order) <= num);
        return true;
    }
    CHECK(message[0]);
    CHECK(!virtqueue_order_in_flight(order));
    CHECK(!virtqueue_order_held_back(order));
    return false;
}

/* Complete what is in flight, the youngest first, and count what comes out */
static void finish(VirtQueueOrder *order)
{
    uint32_t in_flight = virtqueue_order_in_flight(order);
    uint32_t ndescs = virtqueue_order_ndescs(order);
    uint32_t i, buffers = 0, out = 0;
    VirtQueueOrderRun run;

    for (i = in_flight; i--;) {
        const VirtQueueOrderBuffer *b = virtqueue_order_peek(order, i);

        CHECK(b);
        if (!b->done) {
            uint64_t seq = virtqueue_order_find(order, b->id);

            CHECK(seq != VIRTQUEUE_ORDER_NONE);
            CHECK(virtqueue_order_complete(order, seq, i));
        }
    }
    /* A buffer of the same ID as an older one was found in its stead */
    for (i = 0; i < in_flight; i++) {
        const VirtQueueOrderBuffer *b = virtqueue_order_peek(order, i);

        if (!b->done) {
            CHECK(virtqueue_order_complete(order,
                                           virtqueue_order_find(order, b->id),
                                           i));
        }
    }
    CHECK(virtqueue_order_held_back(order) == in_flight);
    while (virtqueue_order_next(order, &run)) {
        buffers += run.buffers;
        out += run.ndescs;
    }
    CHECK(buffers == in_flight && out == ndescs);
    CHECK(!virtqueue_order_in_flight(order));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t one[MAX_STREAM], two[MAX_STREAM];
    VirtQueueOrder order = { 0 }, other = { 0 };
    QEMUFile in, out, again;
    uint32_t num;

    if (size < 2) {
        return 0;
    }
    num = 1 + (data[0] << 8 | data[1]) % MAX_NUM;
    in = (QEMUFile) { .data = (uint8_t *)data + 2, .size = size - 2 };
    if (load(&order, &in, num)) {
        /* What was saved is loaded and saved the same */
        out = (QEMUFile) { .data = one, .size = sizeof(one) };
        virtqueue_order_save(&order, &out);
        out.size = out.pos;
        out.pos = 0;
        CHECK(out.size == in.pos);
        CHECK(load(&other, &out, num));
        CHECK(out.pos == out.size);
        again = (QEMUFile) { .data = two, .size = sizeof(two) };
        virtqueue_order_save(&other, &again);
        CHECK(again.pos == out.size && !memcmp(one, two, again.pos));
        CHECK(virtqueue_order_held_back(&order) ==
              virtqueue_order_held_back(&other));
        finish(&order);
        finish(&other);
    }
    virtqueue_order_destroy(&order);
    virtqueue_order_destroy(&other);
    return 0;
}
