/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Unit test of the device rings of the shadow virtqueue
 */

#include "qemu/osdep.h"
#include "svq-ring-cases.h"
#include "svq-ring-model.h"

/*
 * Buffers for each random run.  Indexes come round after 65536; one size of
 * ring goes on for so long.
 */
#define RANDOM_BUFFERS      10000
#define RANDOM_LONG_SIZE    64
#define RANDOM_LONG_BUFFERS 70000

typedef struct TestBuffer {
    unsigned int out_num;
    unsigned int in_num;
    unsigned int ndescs;        /* that it takes of the ring */
    uint64_t in_len;
    uint32_t used_len;          /* that the ring has to report */
    SVQModelBuffer *popped;
    SVQSeg *segs;
} TestBuffer;

/* A ring, its device, and where each buffer is */
typedef struct TestRing {
    SVQRingConfig config;
    SVQModel *model;
    SVQRing *ring;
    SVQSeg *segs;               /* scratch, as many as the ring has entries */
    unsigned int free_descs;
    unsigned int in_flight;
    GQueue added;               /* not published */
    GQueue available;           /* not popped by the device */
    GPtrArray *popped;          /* not used, in the order of popping */
    GQueue used;                /* not flushed */
    GQueue flushed;             /* not taken */
    bool calls;                 /* asked for, and nothing was used since */
    bool quiet;                 /* told not to */
    bool asked;                 /* asked for, when nothing was there to take */
    unsigned int since_asked;   /* descriptors used since then */
} TestRing;

static void test_buffer_free(TestBuffer *buffer)
{
    g_free(buffer->popped);
    g_free(buffer->segs);
    g_free(buffer);
}

static void test_ring_init(TestRing *t, const SVQRingConfig *config)
{
    *t = (TestRing) {
        .config = *config,
        .model = svq_model_new(config, true),
        .segs = g_new(SVQSeg, config->num + 1),
        .free_descs = config->num,
        .popped = g_ptr_array_new(),
    };
    t->ring = svq_model_ring(t->model);
    g_assert_cmpuint(svq_ring_in_flight(t->ring), ==, 0);
    g_assert_null(svq_ring_error(t->ring));
}

/* Check what is in flight by taking it from the ring */
static void test_ring_destroy(TestRing *t)
{
    unsigned int i, n = svq_ring_in_flight(t->ring);
    g_autoptr(GHashTable) left = g_hash_table_new(NULL, NULL);
    g_autofree SVQUsed *used = g_new0(SVQUsed, n + 1);
    GQueue *queues[] = { &t->added, &t->available, &t->used, &t->flushed };
    TestBuffer *buffer;

    g_assert_cmpuint(n, ==, t->in_flight);
    for (i = 0; i < G_N_ELEMENTS(queues); i++) {
        while ((buffer = g_queue_pop_head(queues[i]))) {
            g_hash_table_add(left, buffer);
        }
    }
    for (i = 0; i < t->popped->len; i++) {
        g_hash_table_add(left, g_ptr_array_index(t->popped, i));
    }

    svq_ring_drain(t->ring, used);
    g_assert_cmpuint(svq_ring_in_flight(t->ring), ==, 0);
    g_assert_null(used[n].token);
    for (i = 0; i < n; i++) {
        g_assert_true(g_hash_table_remove(left, used[i].token));
        g_assert_cmpuint(used[i].len, ==, 0);
        test_buffer_free(used[i].token);
    }
    g_assert_cmpuint(g_hash_table_size(left), ==, 0);
    g_ptr_array_free(t->popped, true);
    g_free(t->segs);
    svq_ring_free(t->ring);
    svq_model_free(t->model);
}

/* Add a buffer; it has to work exactly when there is room. */
static bool test_add(TestRing *t, unsigned int out_num, unsigned int in_num)
{
    unsigned int i, num = out_num + in_num;
    bool table = t->config.indirect && num > 1 &&
                 num <= MIN(16, t->config.num);
    TestBuffer *buffer = g_new0(TestBuffer, 1);
    bool fits;

    buffer->out_num = out_num;
    buffer->in_num = in_num;
    buffer->ndescs = table ? 1 : num;
    buffer->segs = g_new(SVQSeg, num);
    for (i = 0; i < num; i++) {
        t->segs[i].iova = (uint64_t)g_test_rand_int() << 32 | g_test_rand_int();
        t->segs[i].len = g_test_rand_int_range(1, 65536);
        buffer->segs[i] = t->segs[i];
        buffer->in_len += i < out_num ? 0 : t->segs[i].len;
    }

    fits = buffer->ndescs <= t->free_descs;
    g_assert(svq_ring_add(t->ring, t->segs, out_num, in_num, buffer) == fits);
    /* They were copied */
    memset(t->segs, 0xee, num * sizeof(*t->segs));
    if (!fits) {
        test_buffer_free(buffer);
        return false;
    }
    g_queue_push_tail(&t->added, buffer);
    t->free_descs -= buffer->ndescs;
    t->in_flight++;
    g_assert_cmpuint(svq_ring_in_flight(t->ring), ==, t->in_flight);
    g_assert_cmphex(svq_ring_notification_data(t->ring, 1), ==,
                    svq_model_notification_data(t->model, 1));
    return true;
}

/* Publish, and notify exactly if the device wants it */
static void test_publish(TestRing *t)
{
    bool kick = svq_ring_publish(t->ring);
    TestBuffer *buffer;

    g_assert(kick == svq_model_kick_due(t->model));
    g_assert_cmphex(svq_ring_notification_data(t->ring, 0xabcd), ==,
                    svq_model_notification_data(t->model, 0xabcd));
    while ((buffer = g_queue_pop_head(&t->added))) {
        g_queue_push_tail(&t->available, buffer);
    }
}

/* The device takes a buffer, and finds what was published next */
static bool test_pop(TestRing *t)
{
    SVQModelBuffer *popped = svq_model_pop(t->model);
    TestBuffer *buffer = g_queue_pop_head(&t->available);
    unsigned int i;

    g_assert(!popped == !buffer);
    if (!popped) {
        return false;
    }
    g_assert_cmpuint(popped->out_num, ==, buffer->out_num);
    g_assert_cmpuint(popped->in_num, ==, buffer->in_num);
    g_assert_cmpuint(popped->in_len, ==, buffer->in_len);
    g_assert_cmpuint(popped->ndescs, ==, buffer->ndescs);
    for (i = 0; i < buffer->out_num + buffer->in_num; i++) {
        g_assert_cmphex(popped->segs[i].iova, ==, buffer->segs[i].iova);
        g_assert_cmpuint(popped->segs[i].len, ==, buffer->segs[i].len);
    }
    buffer->popped = popped;
    g_ptr_array_add(t->popped, buffer);
    return true;
}

/* The device uses @count buffers from @first on, by one entry */
static void test_use(TestRing *t, unsigned int first, unsigned int count)
{
    SVQModelBuffer *run[256];
    TestBuffer *buffer = NULL;
    unsigned int i;

    for (i = 0; i < count; i++) {
        buffer = g_ptr_array_index(t->popped, first + i);
        run[i] = buffer->popped;
        /* What has no entry of its own was written wholly */
        buffer->used_len = buffer->in_len;
        t->since_asked += buffer->ndescs;
        g_queue_push_tail(&t->used, buffer);
    }
    if (buffer->in_len && g_test_rand_int_range(0, 4)) {
        buffer->used_len = g_test_rand_int() % (buffer->in_len + 1);
    }
    svq_model_use(t->model, run, count, buffer->used_len);
    g_ptr_array_remove_range(t->popped, first, count);
}

/*
 * The driver sees what was used; it is notified exactly if it wants that.
 * Packed rings show it without more ado.
 */
static void test_flush(TestRing *t)
{
    bool any = !g_queue_is_empty(&t->used);
    bool call = svq_model_flush(t->model);
    TestBuffer *buffer;

    if (t->quiet) {
        g_assert_false(call);
    } else if (t->calls) {
        g_assert(call == any);
        t->calls = !any;
    } else if (t->config.event_idx && t->asked &&
               t->since_asked <= t->config.num) {
        /* One notification is all, until the positions come round again */
        g_assert_false(call);
    }
    while ((buffer = g_queue_pop_head(&t->used))) {
        g_queue_push_tail(&t->flushed, buffer);
    }
    g_assert(svq_ring_has_used(t->ring) == !g_queue_is_empty(&t->flushed));
}

/* Take up to @max buffers: those that were flushed, in the order of use */
static unsigned int test_take(TestRing *t, unsigned int max)
{
    SVQUsed used[300];
    unsigned int i, n;

    n = svq_ring_take(t->ring, used, max);
    g_assert_null(svq_ring_error(t->ring));
    g_assert_cmpuint(n, <=, max);
    for (i = 0; i < n; i++) {
        TestBuffer *buffer = g_queue_pop_head(&t->flushed);

        g_assert_nonnull(buffer);
        g_assert(used[i].token == buffer);
        g_assert_cmpuint(used[i].len, ==, buffer->used_len);
        t->free_descs += buffer->ndescs;
        t->in_flight--;
        test_buffer_free(buffer);
    }
    if (!n && max) {
        g_assert_true(g_queue_is_empty(&t->flushed));
    }
    g_assert_cmpuint(svq_ring_in_flight(t->ring), ==, t->in_flight);
    g_assert(svq_ring_has_used(t->ring) == !g_queue_is_empty(&t->flushed));
    return n;
}

static void test_set_calls(TestRing *t, bool on)
{
    bool used = svq_ring_set_calls(t->ring, on);

    g_assert(used == (on && !g_queue_is_empty(&t->flushed)));
    t->calls = on && !used;
    t->quiet = !on;
    t->asked = t->calls;
    t->since_asked = 0;
}

static void test_set_kick(TestRing *t)
{
    unsigned int num = t->config.num;
    SVQModelKick kick = g_test_rand_int_range(0, 3);

    if (!t->config.event_idx) {
        kick %= 2;
    } else if (!t->config.packed) {
        kick = SVQ_MODEL_KICK_EVENT;
    }
    svq_model_set_kick(t->model, kick, g_test_rand_int_range(0, num));
}

/* One buffer of a random form: small ones most of the time */
static bool test_add_random(TestRing *t)
{
    unsigned int num = 1, out_num;

    if (g_test_rand_int_range(0, 3) == 0) {
        num = g_test_rand_int_range(1, MIN(t->config.num, 5) + 1);
    }
    if (g_test_rand_int_range(0, 50) == 0) {
        num = g_test_rand_int_range(1, t->config.num + 1);
    }
    out_num = g_test_rand_int_range(0, num + 1);
    return test_add(t, out_num, num - out_num);
}

static void test_use_random(TestRing *t)
{
    unsigned int first = 0, count = 1;

    if (t->config.in_order) {
        count = g_test_rand_int_range(0, 2)
                ? 1 : g_test_rand_int_range(1, MIN(t->popped->len, 256) + 1);
    } else if (g_test_rand_int_range(0, 2)) {
        first = g_test_rand_int_range(0, t->popped->len);
    }
    test_use(t, first, count);
}

/* Driver and device do this and that; nothing is lost, repeated or changed. */
static void test_random(gconstpointer opaque)
{
    const SVQRingConfig *config = opaque;
    unsigned int taken = 0, limit, i, n;
    TestRing t;

    test_ring_init(&t, config);
    limit = config->num == RANDOM_LONG_SIZE ? RANDOM_LONG_BUFFERS
                                            : RANDOM_BUFFERS;
    limit *= g_test_slow() ? 10 : 1;
    while (taken < limit) {
        /* Now little, now so much that the ring is full */
        unsigned int much = g_test_rand_int_range(1, 2 * config->num + 2);

        switch (g_test_rand_int_range(0, 8)) {
        case 0:
        case 1:
            for (i = 0; i < much && test_add_random(&t); i++) {
                continue;
            }
            break;
        case 2:
            test_publish(&t);
            break;
        case 3:
            for (i = 0; i < much && test_pop(&t); i++) {
                continue;
            }
            break;
        case 4:
            for (i = 0; i < much && t.popped->len; i++) {
                test_use_random(&t);
            }
            test_flush(&t);
            break;
        case 5:
            test_set_kick(&t);
            break;
        case 6:
            test_set_calls(&t, g_test_rand_bit());
            break;
        case 7:
            do {
                n = test_take(&t, g_test_rand_int_range(0, 300));
                taken += n;
            } while (n && g_test_rand_int_range(0, 8));
            break;
        }
    }
    test_ring_destroy(&t);
}

/* Every length that fits, and no other, forward and back, in every position */
static void test_lengths(gconstpointer opaque)
{
    const SVQRingConfig *config = opaque;
    unsigned int num, lap;
    TestRing t;

    test_ring_init(&t, config);
    g_assert_false(svq_ring_fits(t.ring, 0));
    g_assert_true(svq_ring_fits(t.ring, config->num));
    g_assert_false(svq_ring_fits(t.ring, config->num + 1));
    g_assert_false(test_add(&t, config->num, 1));
    for (num = 1; num <= config->num; num++) {
        for (lap = 0; lap < 3; lap++) {
            unsigned int out_num = lap * num / 2;

            g_assert_true(svq_ring_fits(t.ring, num));
            g_assert_true(test_add(&t, out_num, num - out_num));
            test_publish(&t);
            g_assert_true(test_pop(&t));
            test_use(&t, 0, 1);
            test_flush(&t);
            g_assert_cmpuint(test_take(&t, 2), ==, 1);
        }
    }
    test_ring_destroy(&t);
}

/* The ring is filled to the last entry, and all of it comes back. */
static void test_full(gconstpointer opaque)
{
    const SVQRingConfig *config = opaque;
    unsigned int lap, taken;
    TestRing t;

    test_ring_init(&t, config);
    for (lap = 0; lap < 3; lap++) {
        while (test_add(&t, 1, 0)) {
            continue;
        }
        g_assert_cmpuint(t.in_flight, ==, config->num);
        test_publish(&t);
        while (test_pop(&t)) {
            continue;
        }
        while (t.popped->len) {
            if (config->in_order) {
                test_use(&t, 0, MIN(t.popped->len, 256));
            } else {
                test_use(&t, t.popped->len - 1, 1);
            }
        }
        test_flush(&t);
        for (taken = 0; taken < config->num;) {
            unsigned int n = test_take(&t, 300);

            g_assert_cmpuint(n, >, 0);
            taken += n;
        }
        g_assert_cmpuint(t.in_flight, ==, 0);
    }
    test_ring_destroy(&t);
}

/*
 * A device that was asked not to notify does not, however much it uses; when
 * asked again it does, exactly once for what comes at once.
 */
static void test_quiet(gconstpointer opaque)
{
    const SVQRingConfig *config = opaque;
    unsigned int lap, i, count;
    TestRing t;

    test_ring_init(&t, config);
    test_set_calls(&t, false);
    for (lap = 0; lap < 4000; lap++) {
        if (lap == 2000) {
            test_set_calls(&t, true);
        }
        count = g_test_rand_int_range(1, config->num + 1);
        for (i = 0; i < count; i++) {
            g_assert_true(test_add(&t, 1, 0));
        }
        test_publish(&t);
        while (test_pop(&t)) {
            continue;
        }
        while (t.popped->len) {
            test_use(&t, 0, 1);
        }
        test_flush(&t);
        g_assert_cmpuint(test_take(&t, count), ==, count);
        test_set_calls(&t, false);
    }
    test_ring_destroy(&t);
}

/* The pieces of a buffer can be more than 4 GiB together */
static void test_huge_buffer(gconstpointer opaque)
{
    const SVQRingConfig *config = opaque;
    SVQSeg segs[] = { { 0x1000, UINT32_MAX }, { 0x2000, UINT32_MAX } };
    SVQModel *model = svq_model_new(config, true);
    SVQRing *ring = svq_model_ring(model);
    SVQModelBuffer *buffer;
    SVQUsed used;

    g_assert_true(svq_ring_add(ring, segs, 0, 2, &segs));
    svq_ring_publish(ring);
    buffer = svq_model_pop(model);
    svq_model_use(model, &buffer, 1, UINT32_MAX);
    svq_model_flush(model);
    g_assert_cmpuint(svq_ring_take(ring, &used, 1), ==, 1);
    g_assert_cmpuint(used.len, ==, UINT32_MAX);
    g_free(buffer);
    svq_ring_free(ring);
    svq_model_free(model);
}

void svq_ring_test_each(const char *name, GTestDataFunc fn,
                        const unsigned int *sizes)
{
    unsigned int i, k;

    for (i = 0; sizes[i]; i++) {
        for (k = 0; k < 16; k++) {
            SVQRingConfig *config = g_new(SVQRingConfig, 1);
            g_autofree char *path = NULL;

            *config = (SVQRingConfig) {
                .num = sizes[i],
                .packed = k & 1,
                .in_order = k & 2,
                .indirect = k & 4,
                .event_idx = k & 8,
            };
            if (!config->packed && (config->num & (config->num - 1))) {
                g_free(config);
                continue;
            }
            path = g_strdup_printf("/svq-ring/%s/%s%s%s%s/%u", name,
                                   config->packed ? "packed" : "split",
                                   config->in_order ? "-in-order" : "",
                                   config->indirect ? "-indirect" : "",
                                   config->event_idx ? "-event-idx" : "",
                                   config->num);
            g_test_add_data_func_full(path, config, fn, g_free);
        }
    }
}

int main(int argc, char **argv)
{
    static const unsigned int some[] = { 1, 2, 3, 8, 64, 100, 256, 0 };
    static const unsigned int few[] = { 2, 20, 32, 0 };
    static const unsigned int one[] = { 64, 0 };
    static const unsigned int largest[] = { 8, 32767, 32768, 0 };

    g_test_init(&argc, &argv, NULL);
    svq_ring_test_each("random", test_random, some);
    svq_ring_test_each("lengths", test_lengths, few);
    svq_ring_test_each("full", test_full, largest);
    svq_ring_test_each("quiet", test_quiet, one);
    svq_ring_test_each("huge-buffer", test_huge_buffer, few);
    svq_ring_test_hostile();
    svq_ring_test_threads();
    return g_test_run();
}
