/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Unit test of the order tracker
 */

#include <glib.h>

#include "hw/virtio/virtqueue-order.h"
#include "virtqueue-order-model.h"

/*
 * Take @count buffers of 2 descriptors each.  The first of a tracker has the ID
 * 100, the next 101, and so on.
 */
static uint64_t take_some(VirtQueueOrder *order, int count, bool readonly)
{
    uint64_t first = order->tail;
    int i;

    for (i = 0; i < count; i++) {
        g_assert_cmpuint(virtqueue_order_take(order, 100 + first + i, 2,
                                              readonly), ==, first + i);
    }
    return first;
}

static void assert_next(VirtQueueOrder *order, uint16_t id, uint32_t len,
                        uint32_t buffers, uint32_t ndescs)
{
    VirtQueueOrderRun run;

    g_assert_true(virtqueue_order_next(order, &run));
    g_assert_cmpuint(run.id, ==, id);
    g_assert_cmpuint(run.len, ==, len);
    g_assert_cmpuint(run.buffers, ==, buffers);
    g_assert_cmpuint(run.ndescs, ==, ndescs);
}

static void assert_nothing(VirtQueueOrder *order)
{
    VirtQueueOrderRun run;

    g_assert_false(virtqueue_order_next(order, &run));
}

/* A run of buffers that were only read shares one entry: the last one's */
static void test_batch(void)
{
    VirtQueueOrder order = {};
    uint64_t seq;
    int i;

    g_assert_true(virtqueue_order_init(&order, 8));
    seq = take_some(&order, 8, true);
    for (i = 0; i < 5; i++) {
        g_assert_true(virtqueue_order_complete(&order, seq + i, 0));
    }
    assert_next(&order, 104, 0, 5, 10);
    assert_nothing(&order);
    virtqueue_order_destroy(&order);
}

/* A buffer that the device may write keeps its entry and its length */
static void test_lengths(void)
{
    VirtQueueOrder order = {};
    uint64_t seq;

    g_assert_true(virtqueue_order_init(&order, 8));
    seq = take_some(&order, 2, true);
    take_some(&order, 2, false);
    take_some(&order, 1, true);
    g_assert_true(virtqueue_order_complete(&order, seq, 0));
    g_assert_true(virtqueue_order_complete(&order, seq + 1, 0));
    g_assert_true(virtqueue_order_complete(&order, seq + 2, 60));
    g_assert_true(virtqueue_order_complete(&order, seq + 3, 1514));
    g_assert_true(virtqueue_order_complete(&order, seq + 4, 0));
    assert_next(&order, 101, 0, 2, 4);
    assert_next(&order, 102, 60, 1, 2);
    assert_next(&order, 103, 1514, 1, 2);
    assert_next(&order, 104, 0, 1, 2);
    assert_nothing(&order);
    virtqueue_order_destroy(&order);
}

/* What is done stays back until everything older is done */
static void test_reverse(void)
{
    VirtQueueOrder order = {};
    uint64_t seq;
    int i;

    g_assert_true(virtqueue_order_init(&order, 256));
    seq = take_some(&order, 256, true);
    for (i = 255; i > 0; i--) {
        g_assert_true(virtqueue_order_complete(&order, seq + i, 0));
        assert_nothing(&order);
    }
    g_assert_true(virtqueue_order_complete(&order, seq, 0));
    assert_next(&order, 355, 0, 256, 512);
    g_assert_cmpuint(virtqueue_order_in_flight(&order), ==, 0);
    virtqueue_order_destroy(&order);
}

/*
 * The same ID twice in flight, as a hostile driver would have it: a batch that
 * ends with it would have two meanings.  Each way out of flight frees the ID.
 */
static void test_repeated_id(void)
{
    VirtQueueOrder order = {};
    uint64_t seq;

    g_assert_true(virtqueue_order_init(&order, 4));
    g_assert_false(virtqueue_order_busy(&order, 65535));
    seq = virtqueue_order_take(&order, 65535, 1, false);
    g_assert_cmpuint(seq, !=, VIRTQUEUE_ORDER_NONE);
    g_assert_true(virtqueue_order_busy(&order, 65535));
    g_assert_cmpuint(virtqueue_order_take(&order, 65535, 1, false), ==,
                     VIRTQUEUE_ORDER_NONE);
    g_assert_cmpuint(virtqueue_order_in_flight(&order), ==, 1);

    /* Done is not enough: the driver does not know it yet */
    g_assert_true(virtqueue_order_complete(&order, seq, 1));
    g_assert_cmpuint(virtqueue_order_take(&order, 65535, 1, false), ==,
                     VIRTQUEUE_ORDER_NONE);
    assert_next(&order, 65535, 1, 1, 1);
    g_assert_cmpuint(virtqueue_order_take(&order, 65535, 1, false), !=,
                     VIRTQUEUE_ORDER_NONE);
    g_assert_true(virtqueue_order_untake(&order, 1, NULL));
    g_assert_cmpuint(virtqueue_order_take(&order, 65535, 1, false), !=,
                     VIRTQUEUE_ORDER_NONE);
    virtqueue_order_reset(&order);
    g_assert_false(virtqueue_order_busy(&order, 65535));
    virtqueue_order_destroy(&order);
}

/* Nothing is completed twice, after a reset, or before it is taken */
static void test_refusals(void)
{
    VirtQueueOrder order = {};
    uint64_t seq;

    g_assert_cmpuint(virtqueue_order_take(&order, 0, 1, true), ==,
                     VIRTQUEUE_ORDER_NONE);
    g_assert_false(virtqueue_order_complete(&order, 0, 0));
    g_assert_false(virtqueue_order_init(&order, 0));
    g_assert_false(virtqueue_order_init(&order, 32769));
    g_assert_true(virtqueue_order_init(&order, 1));

    seq = take_some(&order, 1, true);
    g_assert_cmpuint(virtqueue_order_take(&order, 0, 1, true), ==,
                     VIRTQUEUE_ORDER_NONE);
    g_assert_false(virtqueue_order_init(&order, 2));
    g_assert_false(virtqueue_order_complete(&order, seq + 1, 0));
    g_assert_false(virtqueue_order_complete(&order, VIRTQUEUE_ORDER_NONE, 0));
    g_assert_true(virtqueue_order_complete(&order, seq, 0));
    g_assert_false(virtqueue_order_complete(&order, seq, 0));
    g_assert_false(virtqueue_order_untake(&order, 1, NULL));
    assert_next(&order, 100, 0, 1, 2);
    g_assert_false(virtqueue_order_complete(&order, seq, 0));

    seq = take_some(&order, 1, true);
    virtqueue_order_reset(&order);
    take_some(&order, 1, true);
    g_assert_false(virtqueue_order_complete(&order, seq, 0));
    virtqueue_order_destroy(&order);
    g_assert_false(virtqueue_order_complete(&order, seq + 1, 0));
}

/* The ring of 32768 that the specification allows, all of it in flight */
static void test_largest(void)
{
    VirtQueueOrder order = {};
    uint32_t i;

    g_assert_true(virtqueue_order_init(&order, 32768));
    for (i = 0; i < 32768; i++) {
        g_assert_cmpuint(virtqueue_order_take(&order, i, 1, true), ==, i);
    }
    g_assert_false(virtqueue_order_has_room(&order));
    for (i = 0; i < 32768; i++) {
        g_assert_true(virtqueue_order_complete(&order, i, 0));
    }
    assert_next(&order, 32767, 0, 32768, 32768);
    virtqueue_order_destroy(&order);
}

/* A million operations and more, in programs of all lengths, against a model */
static void test_random(void)
{
    g_autofree uint8_t *program = g_malloc(65536);
    size_t ops = 0;
    int i;

    while (ops < 2000000) {
        size_t size = g_test_rand_int_range(1, 65536);

        for (i = 0; i < size; i++) {
            program[i] = g_test_rand_int();
        }
        ops += virtqueue_order_model_run(program, size);
    }
    g_test_message("%zu operations", ops);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtqueue-order/batch", test_batch);
    g_test_add_func("/virtqueue-order/lengths", test_lengths);
    g_test_add_func("/virtqueue-order/reverse", test_reverse);
    g_test_add_func("/virtqueue-order/repeated-id", test_repeated_id);
    g_test_add_func("/virtqueue-order/refusals", test_refusals);
    g_test_add_func("/virtqueue-order/largest", test_largest);
    g_test_add_func("/virtqueue-order/random", test_random);
    return g_test_run();
}
