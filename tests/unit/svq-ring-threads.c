/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Device rings while driver and device run at the same time
 *
 * Both sides see the memory by the same mapping, so that ThreadSanitizer knows
 * that it is the same.
 */

#include "qemu/osdep.h"
#include <semaphore.h>
#include "qemu/atomic.h"
#include "svq-ring-cases.h"
#include "svq-ring-model.h"

#define THREAD_BUFFERS  50000

/* The semaphores are the notifications: one too few, and the test hangs. */
typedef struct ThreadTest {
    const SVQRingConfig *config;
    SVQModel *model;
    sem_t kick;
    sem_t call;
} ThreadTest;

static SVQModelKick thread_wake(const SVQRingConfig *config)
{
    return config->event_idx ? SVQ_MODEL_KICK_EVENT : SVQ_MODEL_KICK_ALWAYS;
}

/* With the event index of a split ring: one that is past */
static SVQModelKick thread_quiet(const SVQRingConfig *config)
{
    return config->event_idx && !config->packed ? SVQ_MODEL_KICK_EVENT
                                                : SVQ_MODEL_KICK_NEVER;
}

static gpointer thread_device(gpointer opaque)
{
    ThreadTest *test = opaque;
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    unsigned int popped = 0, used = 0;
    SVQModelBuffer *run[16];

    while (used < THREAD_BUFFERS) {
        unsigned int i, n = 0, max = g_rand_int_range(rand, 1, 17);

        while (n < max &&
               (run[n] = svq_model_pop(test->model))) {
            g_assert_cmpuint(run[n]->segs[0].iova, ==, ++popped);
            n++;
        }
        if (!n) {
            if (!svq_model_set_kick(test->model, thread_wake(test->config),
                                    0)) {
                sem_wait(&test->kick);
            }
            svq_model_set_kick(test->model, thread_quiet(test->config), -1);
            continue;
        }
        if (test->config->in_order) {
            svq_model_use(test->model, run, n, n % 2);
        } else {
            for (i = n; i-- > 0;) {
                svq_model_use(test->model, &run[i], 1, 1);
            }
        }
        if (svq_model_flush(test->model)) {
            sem_post(&test->call);
        }
        used += n;
        for (i = 0; i < n; i++) {
            g_free(run[i]);
        }
    }
    return NULL;
}

/* Driver and device at the same time, each sleeping when there is nothing */
static void test_threads(gconstpointer opaque)
{
    ThreadTest test = {
        .config = opaque,
        .model = svq_model_new(opaque, false),
    };
    SVQRing *ring = svq_model_ring(test.model);
    g_autofree bool *seen = g_new0(bool, THREAD_BUFFERS + 1);
    g_autoptr(GRand) rand = g_rand_new_with_seed(2);
    uintptr_t added = 0, token, next = 1;
    unsigned int taken = 0;
    GThread *thread;

    sem_init(&test.kick, 0, 0);
    sem_init(&test.call, 0, 0);
    thread = g_thread_new("device", thread_device, &test);
    while (taken < THREAD_BUFFERS) {
        unsigned int i, n = 0, max = g_rand_int_range(rand, 1, 17);
        SVQUsed used[16];

        while (added < THREAD_BUFFERS && n < max) {
            SVQSeg segs[2] = { { added + 1, 1 }, { added + 1, 1 } };

            if (!svq_ring_add(ring, segs, added % 3 == 0, 1,
                              (void *)(added + 1))) {
                break;
            }
            added++;
            n++;
        }
        if (svq_ring_publish(ring)) {
            sem_post(&test.kick);
        }
        n = svq_ring_take(ring, used, G_N_ELEMENTS(used));
        g_assert_null(svq_ring_error(ring));
        for (i = 0; i < n; i++) {
            token = (uintptr_t)used[i].token;
            g_assert_cmpuint(token, <=, added);
            g_assert_false(seen[token]);
            seen[token] = true;
            if (test.config->in_order) {
                g_assert_cmpuint(token, ==, next);
            }
            next++;
        }
        taken += n;
        if (!n) {
            if (!svq_ring_set_calls(ring, true)) {
                sem_wait(&test.call);
            }
            svq_ring_set_calls(ring, false);
        }
    }
    g_thread_join(thread);
    g_assert_cmpuint(svq_ring_in_flight(ring), ==, 0);
    sem_destroy(&test.kick);
    sem_destroy(&test.call);
    svq_ring_free(ring);
    svq_model_free(test.model);
}

/* How long to try whether two threads miss each other: microseconds */
#define RACE_TIME   100000

typedef struct RaceTest {
    const SVQRingConfig *config;
    SVQModel *model;
    unsigned int arrived;       /* threads, since the beginning */
    bool stop;
    bool device_told;           /* by what it saw when it asked for kicks */
    bool call;                  /* the device would notify */
} RaceTest;

/* Both threads go on from here at the same moment */
static void race_meet(RaceTest *test, unsigned int *meeting)
{
    unsigned int spins = 0;

    __atomic_fetch_add(&test->arrived, 1, __ATOMIC_SEQ_CST);
    *meeting += 2;
    while (qatomic_load_acquire(&test->arrived) < *meeting) {
        if (++spins % 4096 == 0) {
            g_thread_yield();
        }
    }
}

static gpointer race_device(gpointer opaque)
{
    RaceTest *test = opaque;
    unsigned int meeting = 0;

    while (true) {
        SVQModelBuffer *buffer;

        svq_model_set_kick(test->model, thread_quiet(test->config), -1);
        race_meet(test, &meeting);
        if (test->stop) {
            return NULL;
        }
        test->device_told = svq_model_set_kick(test->model,
                                               thread_wake(test->config), 0);
        race_meet(test, &meeting);
        buffer = svq_model_pop(test->model);
        race_meet(test, &meeting);
        svq_model_use(test->model, &buffer, 1, 0);
        test->call = svq_model_flush(test->model);
        race_meet(test, &meeting);
        g_free(buffer);
    }
}

/*
 * One side asks for notifications while the other does what they are for: one
 * of the two has to notice.  It takes a full barrier on either side.
 */
static void test_race(gconstpointer opaque)
{
    RaceTest test = {
        .config = opaque,
        .model = svq_model_new(opaque, false),
    };
    SVQRing *ring = svq_model_ring(test.model);
    gint64 end = g_get_monotonic_time() + RACE_TIME;
    GThread *thread = g_thread_new("device", race_device, &test);
    const SVQSeg seg = { 0x1000, 1 };
    unsigned int rounds = 0, meeting = 0;
    bool kick, told;
    SVQUsed used;

    while (true) {
        svq_ring_set_calls(ring, false);
        g_assert_true(svq_ring_add(ring, &seg, 1, 0, &test));
        test.stop = g_get_monotonic_time() > end;
        race_meet(&test, &meeting);
        if (test.stop) {
            break;
        }
        kick = svq_ring_publish(ring);
        race_meet(&test, &meeting);
        g_assert_true(kick || test.device_told);
        race_meet(&test, &meeting);
        told = svq_ring_set_calls(ring, true);
        race_meet(&test, &meeting);
        g_assert_true(test.call || told);
        g_assert_cmpuint(svq_ring_take(ring, &used, 1), ==, 1);
        rounds++;
    }
    g_thread_join(thread);
    g_test_message("%u rounds", rounds);
    svq_ring_free(ring);
    svq_model_free(test.model);
}

void svq_ring_test_threads(void)
{
    static const unsigned int one[] = { 64, 0 };

    svq_ring_test_each("threads", test_threads, one);
    svq_ring_test_each("race", test_race, one);
}
