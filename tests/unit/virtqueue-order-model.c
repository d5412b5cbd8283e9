/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A naive model of the order tracker, to check the real one against
 *
 * The model keeps the buffers in flight in a plain array, oldest first,
 * searches it for each completion and closes the gap for each entry handed out.
 * It is slow and has no arithmetic that could go wrong in the same way.
 */

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hw/virtio/virtqueue-order.h"
#include "virtqueue-order-model.h"

#define MODEL_MAX 1024

#define MODEL_CHECK(cond, fmt, ...)                                         \
    do {                                                                    \
        if (!(cond)) {                                                      \
            fprintf(stderr, "virtqueue-order model: %s: " fmt "\n", #cond,  \
                    __VA_ARGS__);                                           \
            abort();                                                        \
        }                                                                   \
    } while (0)

typedef struct ModelBuffer {
    uint64_t seq;
    uint32_t len;
    uint16_t id;
    uint16_t ndescs;
    bool readonly;
    bool done;
} ModelBuffer;

typedef struct Model {
    ModelBuffer buffers[MODEL_MAX];     /* in flight, oldest first */
    uint32_t count;
    uint32_t room;
    uint64_t stale;                     /* a number void since a reset */
} Model;

/* The program being run; it reads as zeroes past its end */
typedef struct Program {
    const uint8_t *data;
    size_t size;
    size_t pos;
} Program;

static uint32_t program_next(Program *prog, int bytes)
{
    uint32_t value = 0;

    while (bytes--) {
        uint8_t byte = prog->pos < prog->size ? prog->data[prog->pos] : 0;

        value = value << 8 | byte;
        prog->pos++;
    }
    return value;
}

static void model_init(Model *model, VirtQueueOrder *order, uint32_t capacity)
{
    uint32_t size = 1;
    bool fits = model->count == 0 && capacity > 0;

    MODEL_CHECK(virtqueue_order_init(order, capacity) == fits,
                "capacity %" PRIu32 ", in flight %" PRIu32,
                capacity, model->count);
    if (fits) {
        while (size < capacity) {
            size *= 2;
        }
        model->room = size > model->room ? size : model->room;
    }
}

static void model_take(Model *model, VirtQueueOrder *order, uint16_t id,
                       uint16_t ndescs, bool readonly)
{
    uint64_t seq = virtqueue_order_take(order, id, ndescs, readonly);
    bool busy = false;
    uint32_t i;

    for (i = 0; i < model->count; i++) {
        busy |= model->buffers[i].id == id;
    }
    if (model->room) {
        MODEL_CHECK(virtqueue_order_busy(order, id) ==
                    (busy || seq != VIRTQUEUE_ORDER_NONE), "id %u", id);
    }
    if (model->count == model->room || busy) {
        MODEL_CHECK(seq == VIRTQUEUE_ORDER_NONE, "seq %" PRIu64, seq);
        return;
    }
    MODEL_CHECK(seq != VIRTQUEUE_ORDER_NONE, "in flight %" PRIu32,
                model->count);
    MODEL_CHECK(model->count == 0 ||
                seq == model->buffers[model->count - 1].seq + 1,
                "seq %" PRIu64, seq);
    MODEL_CHECK(seq >= model->stale, "seq %" PRIu64, seq);
    model->buffers[model->count++] = (ModelBuffer) {
        .seq = seq,
        .id = id,
        .ndescs = ndescs,
        .readonly = readonly,
    };
}

static void model_complete(Model *model, VirtQueueOrder *order, uint64_t seq,
                           uint32_t len)
{
    bool expected = false;
    uint32_t i;

    for (i = 0; i < model->count; i++) {
        if (model->buffers[i].seq == seq && !model->buffers[i].done) {
            model->buffers[i].done = true;
            model->buffers[i].len = len;
            expected = true;
        }
    }
    MODEL_CHECK(virtqueue_order_complete(order, seq, len) == expected,
                "seq %" PRIu64, seq);
}

static void model_untake(Model *model, VirtQueueOrder *order, uint32_t count)
{
    uint32_t i, ndescs = 0, got = 0;
    bool expected = count <= model->count;

    for (i = 0; expected && i < count; i++) {
        ModelBuffer *buffer = &model->buffers[model->count - 1 - i];

        expected = !buffer->done;
        ndescs += buffer->ndescs;
    }
    MODEL_CHECK(virtqueue_order_untake(order, count, &got) == expected,
                "count %" PRIu32, count);
    if (expected) {
        MODEL_CHECK(got == ndescs, "%" PRIu32 " != %" PRIu32, got, ndescs);
        model->count -= count;
    }
}

/* Hand out one entry; returns whether there was one */
static bool model_next(Model *model, VirtQueueOrder *order)
{
    VirtQueueOrderRun run;
    uint32_t batch = 0, ndescs = 0;
    ModelBuffer last;
    bool got = virtqueue_order_next(order, &run);

    while (batch < model->count && model->buffers[batch].done &&
           (batch == 0 || (model->buffers[batch].readonly &&
                           model->buffers[batch - 1].readonly))) {
        ndescs += model->buffers[batch++].ndescs;
    }
    MODEL_CHECK(got == (batch > 0), "batch %" PRIu32, batch);
    if (!got) {
        return false;
    }

    last = model->buffers[batch - 1];
    MODEL_CHECK(run.buffers == batch, "%" PRIu32 " != %" PRIu32,
                run.buffers, batch);
    MODEL_CHECK(run.ndescs == ndescs, "%" PRIu32 " != %" PRIu32,
                run.ndescs, ndescs);
    MODEL_CHECK(run.id == last.id, "%u != %u", run.id, last.id);
    MODEL_CHECK(run.len == last.len, "%" PRIu32 " != %" PRIu32,
                run.len, last.len);
    model->count -= batch;
    memmove(model->buffers, model->buffers + batch,
            model->count * sizeof(model->buffers[0]));
    return true;
}

/* What is in flight, looked up by place and by ID */
static void model_look(Model *model, VirtQueueOrder *order, uint32_t i)
{
    const VirtQueueOrderBuffer *got = virtqueue_order_peek(order, i);
    ModelBuffer *want = &model->buffers[i];
    uint64_t seq = VIRTQUEUE_ORDER_NONE;
    uint32_t n, ndescs = 0;

    if (i >= model->count) {
        MODEL_CHECK(!got, "%" PRIu32, i);
        return;
    }
    MODEL_CHECK(got && got->id == want->id && got->ndescs == want->ndescs &&
                got->readonly == want->readonly && got->done == want->done &&
                (!got->done || got->len == want->len), "%" PRIu32, i);

    for (n = model->count; n-- > 0; ) {
        if (model->buffers[n].id == want->id && !model->buffers[n].done) {
            seq = model->buffers[n].seq;
        }
    }
    MODEL_CHECK(virtqueue_order_find(order, want->id) == seq, "%u", want->id);
    for (n = 0; n < model->count; n++) {
        ndescs += model->buffers[n].ndescs;
    }
    MODEL_CHECK(virtqueue_order_ndescs(order) == ndescs, "%" PRIu32, ndescs);
}

static uint32_t model_done(Model *model)
{
    uint32_t i, done = 0;

    for (i = 0; i < model->count; i++) {
        done += model->buffers[i].done;
    }
    return done;
}

size_t virtqueue_order_model_run(const uint8_t *data, size_t size)
{
    static Model model;
    VirtQueueOrder order = {};
    Program prog = { data, size, 0 };
    size_t ops = 0;

    memset(&model, 0, sizeof(model));
    /* The first operand: how big the ring is */
    model_init(&model, &order, program_next(&prog, 2) % MODEL_MAX);

    while (prog.pos < prog.size) {
        uint32_t op = program_next(&prog, 1);
        uint32_t arg = program_next(&prog, 2);
        uint64_t any = order.head - 2 + arg % (model.count + 4);

        /*
         * Takes and completions outweigh the rest, so that random programs fill
         * the ring as well as drain it.
         */
        switch (op % 16) {
        case 0 ... 5:
            /* Some programs reuse few IDs, others run through all */
            model_take(&model, &order, op & 0x20 ? arg % 64 : arg,
                       arg % 5 + 1, op & 0x40);
            break;
        case 6 ... 8:
            model_complete(&model, &order, any, arg);
            break;
        case 9 ... 10:
            model_complete(&model, &order, order.head, arg);
            break;
        case 11:
            model_next(&model, &order);
            model_look(&model, &order, arg % (model.count + 1));
            break;
        case 12:
            while (model_next(&model, &order)) {
                ops++;
            }
            break;
        case 13:
            model_untake(&model, &order, arg % 4);
            break;
        case 14:
            /* All in flight, from the newest: the worst order there is */
            for (arg = model.count; op & 0x80 && arg > 0; arg--) {
                model_complete(&model, &order, order.head + arg - 1, arg);
                ops++;
            }
            break;
        case 15:
            if (op & 0x80) {
                model_complete(&model, &order, model.stale - 1, 0);
            } else if ((arg & 0xff) == 0) {
                virtqueue_order_reset(&order);
                model.count = 0;
                model.stale = order.tail;
            } else {
                model_init(&model, &order, arg % MODEL_MAX);
            }
            break;
        }
        ops++;

        MODEL_CHECK(virtqueue_order_in_flight(&order) == model.count,
                    "%" PRIu32 " != %" PRIu32,
                    virtqueue_order_in_flight(&order), model.count);
        MODEL_CHECK(virtqueue_order_has_room(&order) ==
                    (model.count < model.room), "in flight %" PRIu32,
                    model.count);
        MODEL_CHECK(virtqueue_order_held_back(&order) == model_done(&model),
                    "%" PRIu32 " != %" PRIu32,
                    virtqueue_order_held_back(&order), model_done(&model));
    }

    virtqueue_order_destroy(&order);
    return ops;
}
