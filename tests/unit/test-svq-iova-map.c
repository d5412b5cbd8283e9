/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Unit test of the IOVA map of the shadow virtqueue
 *
 * Nothing is behind the host addresses: the map never looks.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "hw/virtio/svq/iova-map.h"

#define LARGE_PAGE  (UINT64_C(2) << 20)

static uint64_t page;

static void *at(uint64_t host)
{
    return (void *)(uintptr_t)host;
}

static uint64_t must_add(SVQIOVAMap *map, uint64_t key, uint64_t host,
                         uint64_t size, bool readonly)
{
    Error *err = NULL;
    uint64_t iova = UINT64_MAX;

    g_assert_true(svq_iova_map_add(map, key, at(host), size, readonly, &iova,
                                   &err));
    g_assert_null(err);
    g_assert_cmpuint(iova % page, ==, 0);
    return iova;
}

static void must_not_add(SVQIOVAMap *map, uint64_t key, uint64_t host,
                         uint64_t size, const char *message)
{
    g_autofree char *pattern = g_strdup_printf("*%s*", message);
    Error *err = NULL;
    uint64_t iova;

    g_assert_false(svq_iova_map_add(map, key, at(host), size, false, &iova,
                                    &err));
    g_assert_nonnull(err);
    g_assert_true(g_pattern_match_simple(pattern, error_get_pretty(err)));
    error_free(err);
}

static void must_remove(SVQIOVAMap *map, uint64_t key, uint64_t host,
                        uint64_t iova, uint64_t size)
{
    uint64_t was_iova, was_size;

    g_assert_true(svq_iova_map_remove(map, key, at(host), &was_iova,
                                      &was_size));
    g_assert_cmphex(was_iova, ==, iova);
    g_assert_cmphex(was_size, ==, size);
    g_assert_false(svq_iova_map_remove(map, key, at(host), &was_iova,
                                       &was_size));
}

/* What a reader finds, with a hint that knows nothing */
static uint64_t find(SVQIOVAMap *map, uint64_t host, uint64_t len, bool write,
                     uint64_t *run)
{
    SVQIOVAHint hint = {};
    uint64_t iova;

    *run = 0;
    rcu_read_lock();
    iova = svq_iova_map_translate(map, &hint, at(host), len, write, run);
    rcu_read_unlock();
    return iova;
}

static void assert_found(SVQIOVAMap *map, uint64_t host, uint64_t len,
                         bool write, uint64_t iova, uint64_t run)
{
    uint64_t found;

    g_assert_cmphex(find(map, host, len, write, &found), ==, iova);
    g_assert_cmphex(found, ==, run);
}

static void assert_not_found(SVQIOVAMap *map, uint64_t host, bool write)
{
    uint64_t run;

    g_assert_cmphex(find(map, host, 1, write, &run), ==, UINT64_MAX);
}

/* From the first byte to the last, and from publishing to removing */
static void test_translate(void)
{
    SVQIOVAMap *map = svq_iova_map_new(0x100000, UINT64_MAX);
    uint64_t host = 1024 * page, size = 3 * page, iova;

    assert_not_found(map, host, false);
    iova = must_add(map, 1, host, size, false);
    g_assert_cmphex(iova, ==, 0x100000);
    assert_not_found(map, host, false);
    svq_iova_map_publish(map);
    assert_found(map, host, 1, true, iova, 1);
    assert_found(map, host, size, true, iova, size);
    assert_found(map, host, size + 1, true, iova, size);
    assert_found(map, host, UINT64_MAX, false, iova, size);
    assert_found(map, host + 5, page, false, iova + 5, page);
    assert_found(map, host + size - 1, 2, false, iova + size - 1, 1);
    assert_not_found(map, host - 1, false);
    assert_not_found(map, host + size, false);
    assert_not_found(map, 0, false);
    assert_not_found(map, UINT64_MAX, false);
    must_remove(map, 1, host, iova, size);
    assert_not_found(map, host, false);
    svq_iova_map_publish(map);
    assert_not_found(map, host, false);
    svq_iova_map_free(map);
    svq_iova_map_free(NULL);
}

/* A removal shows nothing that was not published, and hides nothing else. */
static void test_publish(void)
{
    SVQIOVAMap *map = svq_iova_map_new(page, UINT64_MAX);
    uint64_t a, b, c;

    a = must_add(map, 1, 10 * page, page, false);
    b = must_add(map, 1, 20 * page, page, true);
    svq_iova_map_publish(map);
    c = must_add(map, 1, 30 * page, page, false);
    must_remove(map, 1, 10 * page, a, page);
    assert_not_found(map, 10 * page, false);
    assert_found(map, 20 * page, 1, false, b, 1);
    assert_not_found(map, 20 * page, true);
    assert_not_found(map, 30 * page, false);
    svq_iova_map_publish(map);
    assert_found(map, 30 * page, 1, true, c, 1);

    /* What comes and goes between two publications is never seen */
    a = must_add(map, 2, 40 * page, page, false);
    must_remove(map, 2, 40 * page, a, page);
    svq_iova_map_publish(map);
    assert_not_found(map, 40 * page, false);
    svq_iova_map_free(map);
}

/* The lowest hole that is large enough is used again. */
static void test_holes(void)
{
    SVQIOVAMap *map = svq_iova_map_new(0, UINT64_MAX);
    uint64_t a = must_add(map, 0, 100 * page, page, false);
    uint64_t b = must_add(map, 0, 200 * page, 3 * page, false);
    uint64_t c = must_add(map, 0, 300 * page, page, false);

    g_assert_cmphex(a, ==, page);
    g_assert_cmphex(b, ==, 2 * page);
    g_assert_cmphex(c, ==, 5 * page);
    must_remove(map, 0, 200 * page, b, 3 * page);
    must_remove(map, 0, 100 * page, a, page);
    g_assert_cmphex(must_add(map, 0, 400 * page, 5 * page, false), ==,
                    6 * page);
    g_assert_cmphex(must_add(map, 0, 500 * page, 2 * page, false), ==, page);
    g_assert_cmphex(must_add(map, 0, 600 * page, 2 * page, false), ==,
                    3 * page);
    g_assert_cmphex(must_add(map, 0, 700 * page, page, false), ==, 11 * page);
    svq_iova_map_free(map);
}

/* The range that the device can use, to its first and last page */
static void test_limits(void)
{
    SVQIOVAMap *map;
    uint64_t top = UINT64_MAX - page + 1;

    /* Address 0 only where nothing else is left, also as part of more */
    map = svq_iova_map_new(0, 3 * page - 1);
    g_assert_cmphex(must_add(map, 0, page, page, false), ==, page);
    g_assert_cmphex(must_add(map, 1, page, page, false), ==, 2 * page);
    g_assert_cmphex(must_add(map, 2, page, page, false), ==, 0);
    must_not_add(map, 3, page, page, "no room");
    must_remove(map, 1, page, 2 * page, page);
    g_assert_cmphex(must_add(map, 1, page, page, false), ==, 2 * page);
    svq_iova_map_publish(map);
    svq_iova_map_free(map);
    map = svq_iova_map_new(0, 3 * page - 1);
    must_not_add(map, 0, page, 4 * page, "no room");
    g_assert_cmphex(must_add(map, 0, page, 3 * page, false), ==, 0);
    must_not_add(map, 0, 10 * page, page, "no room");
    svq_iova_map_free(map);

    /* The last page but one: in the last there is an address that is none */
    map = svq_iova_map_new(top - 2 * page, UINT64_MAX);
    g_assert_cmphex(must_add(map, 0, page, page, false), ==, top - 2 * page);
    g_assert_cmphex(must_add(map, 0, 9 * page, page, false), ==, top - page);
    must_not_add(map, 2, page, page, "no room");
    must_remove(map, 0, page, top - 2 * page, page);
    must_not_add(map, 2, page, 2 * page, "no room");
    g_assert_cmphex(must_add(map, 2, page, page, false), ==, top - 2 * page);
    svq_iova_map_publish(map);
    assert_found(map, 10 * page - 1, 1, true, top - 1, 1);
    svq_iova_map_free(map);

    /* As large as an address space can be, and as memory can */
    map = svq_iova_map_new(0, UINT64_MAX);
    must_not_add(map, 0, page, top, "not whole pages");
    g_assert_cmphex(must_add(map, 0, page, top - page, false), ==, page);
    g_assert_cmphex(must_add(map, 1, page, page, false), ==, 0);
    must_not_add(map, 2, page, page, "no room");
    svq_iova_map_free(map);

    /* Ends in the middle of a page */
    map = svq_iova_map_new(page + 1, 4 * page - 2);
    g_assert_cmphex(must_add(map, 0, page, page, false), ==, 2 * page);
    must_not_add(map, 1, page, page, "no room");
    svq_iova_map_free(map);

    /* Ranges with no page in them */
    map = svq_iova_map_new(page + 1, 2 * page - 2);
    must_not_add(map, 0, page, page, "no room");
    svq_iova_map_free(map);
    map = svq_iova_map_new(0, page - 2);
    must_not_add(map, 0, page, page, "no room");
    svq_iova_map_free(map);
    map = svq_iova_map_new(UINT64_MAX - 1, UINT64_MAX);
    must_not_add(map, 0, page, page, "no room");
    svq_iova_map_free(map);
    map = svq_iova_map_new(5 * page, page);
    must_not_add(map, 0, page, page, "no room");
    svq_iova_map_free(map);
}

static void test_refusals(void)
{
    SVQIOVAMap *map = svq_iova_map_new(0, UINT64_MAX);
    uint64_t iova, size, a;

    must_not_add(map, 0, page, 0, "not whole pages");
    must_not_add(map, 0, page + 1, page, "not whole pages");
    must_not_add(map, 0, page, page + 1, "not whole pages");
    must_not_add(map, 0, UINT64_MAX - page + 1, 2 * page, "not whole pages");
    a = must_add(map, 7, page, page, false);
    must_not_add(map, 7, page, page, "mapped already");
    must_not_add(map, 7, page, 2 * page, "mapped already");
    g_assert_false(svq_iova_map_remove(map, 6, at(page), &iova, &size));
    g_assert_false(svq_iova_map_remove(map, 7, at(2 * page), &iova, &size));
    must_remove(map, 7, page, a, page);
    svq_iova_map_free(map);
}

/* Where there is room for it, large pages stay what they are. */
static void test_large_pages(void)
{
    SVQIOVAMap *map = svq_iova_map_new(page, 8 * LARGE_PAGE - 1);
    uint64_t iova;

    iova = must_add(map, 0, 100 * LARGE_PAGE, LARGE_PAGE, false);
    g_assert_cmphex(iova, ==, LARGE_PAGE);
    iova = must_add(map, 0, 201 * LARGE_PAGE - 3 * page, 2 * LARGE_PAGE, false);
    g_assert_cmphex(iova, ==, 3 * LARGE_PAGE - 3 * page);
    /* Small ones go where large ones have left something */
    g_assert_cmphex(must_add(map, 0, 300 * LARGE_PAGE, 2 * page, false), ==,
                    page);
    /* Only an unaligned place is left for so much */
    iova = must_add(map, 0, 400 * LARGE_PAGE, 3 * LARGE_PAGE + page, false);
    g_assert_cmphex(iova, ==, 5 * LARGE_PAGE - 3 * page);
    svq_iova_map_free(map);
}

/* Of mappings of the same memory, one is found that allows the access. */
static void test_overlap(void)
{
    SVQIOVAMap *map = svq_iova_map_new(page, UINT64_MAX);
    uint64_t rom, ram, more;

    /* Pages 10 to 19 read-only, 12 to 15 for writing, 14 to 29 again */
    rom = must_add(map, 1, 10 * page, 10 * page, true);
    ram = must_add(map, 2, 12 * page, 4 * page, false);
    svq_iova_map_publish(map);
    assert_found(map, 10 * page, 10 * page, false, rom, 2 * page);
    assert_not_found(map, 10 * page, true);
    assert_found(map, 12 * page, 10 * page, true, ram, 4 * page);
    assert_found(map, 12 * page, 10 * page, false, ram, 4 * page);
    assert_found(map, 16 * page, 10 * page, false, rom + 6 * page, 4 * page);
    assert_not_found(map, 16 * page, true);

    more = must_add(map, 3, 14 * page, 16 * page, false);
    svq_iova_map_publish(map);
    assert_found(map, 12 * page, 20 * page, true, ram, 4 * page);
    assert_found(map, 16 * page, 20 * page, true, more + 2 * page, 14 * page);
    must_remove(map, 2, 12 * page, ram, 4 * page);
    assert_found(map, 12 * page, 20 * page, false, rom + 2 * page, 2 * page);
    assert_found(map, 14 * page, 20 * page, true, more, 16 * page);
    must_remove(map, 3, 14 * page, more, 16 * page);
    assert_found(map, 10 * page, 20 * page, false, rom, 10 * page);
    must_remove(map, 1, 10 * page, rom, 10 * page);

    /* Where one ends that came first, the next goes on whole */
    rom = must_add(map, 1, 10 * page, 4 * page, true);
    ram = must_add(map, 2, 11 * page, 8 * page, false);
    more = must_add(map, 3, 12 * page, 20 * page, false);
    svq_iova_map_publish(map);
    assert_found(map, 11 * page, 30 * page, false, ram, 8 * page);
    assert_found(map, 19 * page, 30 * page, false, more + 7 * page, 13 * page);
    must_remove(map, 1, 10 * page, rom, 4 * page);
    must_remove(map, 2, 11 * page, ram, 8 * page);
    must_remove(map, 3, 12 * page, more, 20 * page);

    /* The same memory twice: it is there until the last one goes */
    rom = must_add(map, 1, 10 * page, page, false);
    ram = must_add(map, 2, 10 * page, page, false);
    svq_iova_map_publish(map);
    must_remove(map, 1, 10 * page, rom, page);
    assert_found(map, 10 * page, page, true, ram, page);
    must_remove(map, 2, 10 * page, ram, page);
    assert_not_found(map, 10 * page, false);
    svq_iova_map_free(map);
}

/* What lies together on both sides is one run, if it allows the same. */
static void test_neighbours(void)
{
    SVQIOVAMap *map = svq_iova_map_new(page, UINT64_MAX);
    uint64_t a = must_add(map, 0, 10 * page, page, false);
    uint64_t b = must_add(map, 0, 11 * page, page, false);
    uint64_t c = must_add(map, 0, 12 * page, page, true);
    uint64_t d = must_add(map, 0, 20 * page, page, false);
    uint64_t e = must_add(map, 0, 13 * page, page, true);
    SVQIOVAHint hint = {};
    uint64_t run;

    svq_iova_map_publish(map);
    assert_found(map, 10 * page + 1, 9 * page, true, a + 1, 2 * page - 1);
    assert_found(map, 12 * page, 9 * page, false, c, page);
    assert_found(map, 20 * page, 9 * page, false, d, page);
    assert_found(map, 13 * page, 9 * page, false, e, page);
    rcu_read_lock();
    g_assert_cmphex(svq_iova_map_translate(map, &hint, at(20 * page), 1, true,
                                           &run), ==, d);
    rcu_read_unlock();
    g_assert_cmpuint(hint.last, ==, 3);
    must_remove(map, 0, 10 * page, a, page);
    assert_not_found(map, 10 * page, false);
    assert_found(map, 11 * page, 9 * page, true, b, page);
    svq_iova_map_free(map);
}

/* A hint of an older table leads nowhere wrong. */
static void test_hint(void)
{
    SVQIOVAMap *map = svq_iova_map_new(page, UINT64_MAX);
    SVQIOVAHint hint = {};
    uint64_t iova[64], run;
    unsigned int i, k;

    for (i = 0; i < 64; i++) {
        iova[i] = must_add(map, 0, (10 + 2 * i) * page, page, false);
    }
    svq_iova_map_publish(map);
    rcu_read_lock();
    for (i = 0; i < 64; i++) {
        for (k = 0; k < 64; k++) {
            hint.last = k;
            g_assert_cmphex(svq_iova_map_translate(map, &hint,
                                                   at((10 + 2 * i) * page), 1,
                                                   true, &run), ==, iova[i]);
            g_assert_cmpuint(hint.last, ==, i);
        }
    }
    rcu_read_unlock();
    for (i = 0; i < 63; i++) {
        must_remove(map, 0, (10 + 2 * i) * page, iova[i], page);
    }
    hint.last = 63;
    rcu_read_lock();
    g_assert_cmphex(svq_iova_map_translate(map, &hint, at(136 * page), 1, true,
                                           &run), ==, iova[63]);
    rcu_read_unlock();
    must_remove(map, 0, 136 * page, iova[63], page);
    rcu_read_lock();
    g_assert_cmphex(svq_iova_map_translate(map, &hint, at(136 * page), 1, true,
                                           &run), ==, UINT64_MAX);
    rcu_read_unlock();
    svq_iova_map_free(map);
}

/* In the random test host memory has so many pages, and the device so many */
#define HOST_PAGES  40
#define HOST_START  100
#define IOVA_PAGES  60
#define IOVA_START  7

typedef struct TestMapping {
    uint64_t key;
    uint64_t host;              /* page */
    uint64_t pages;
    uint64_t iova;              /* page */
    bool readonly;
    bool published;
} TestMapping;

static bool random_maps(const TestMapping *m, uint64_t host, uint64_t iova,
                        bool write)
{
    return m->published && host - m->host < m->pages &&
           iova - m->iova == host - m->host && !(write && m->readonly);
}

/* Whether an access to a page is possible, at @iova unless that is 0 */
static bool random_allows(GArray *model, uint64_t host, uint64_t iova,
                          bool write)
{
    unsigned int i;

    for (i = 0; i < model->len; i++) {
        const TestMapping *m = &g_array_index(model, TestMapping, i);

        if (random_maps(m, host, iova ? iova : m->iova + (host - m->host),
                        write)) {
            return true;
        }
    }
    return false;
}

/* The largest hole, in pages */
static uint64_t random_room(GArray *model)
{
    uint64_t p, room = 0, best = 0;
    unsigned int i;

    for (p = IOVA_START; p < IOVA_START + IOVA_PAGES; p++) {
        room++;
        for (i = 0; i < model->len; i++) {
            const TestMapping *m = &g_array_index(model, TestMapping, i);

            if (p - m->iova < m->pages) {
                room = 0;
            }
        }
        best = MAX(best, room);
    }
    return best;
}

static void random_check(SVQIOVAMap *map, GArray *model, SVQIOVAHint *hint)
{
    uint64_t host, iova, run, k;
    int write;

    for (host = HOST_START - 1; host <= HOST_START + HOST_PAGES; host++) {
        for (write = 0; write < 2; write++) {
            uint64_t offset = g_test_rand_int_range(0, page);
            uint64_t len = 1 + g_test_rand_int_range(0, 9 * page);

            run = 0;
            rcu_read_lock();
            iova = svq_iova_map_translate(map, hint, at(host * page + offset),
                                          len, write, &run);
            rcu_read_unlock();
            if (iova == UINT64_MAX) {
                g_assert_false(random_allows(model, host, 0, write));
                continue;
            }
            g_assert_cmpuint(iova % page, ==, offset);
            g_assert_cmpuint(run, >=, MIN(len, page - offset));
            g_assert_cmpuint(run, <=, len);
            for (k = 0; k <= (offset + run - 1) / page; k++) {
                g_assert_true(random_allows(model, host + k, iova / page + k,
                                            write));
            }
        }
    }
}

/* Mappings of any place and size come and go; each page is as in a list. */
static void test_random(void)
{
    unsigned int lap, i, k, added = 0, refused = 0;
    SVQIOVAMap *map = svq_iova_map_new(IOVA_START * page,
                                       (IOVA_START + IOVA_PAGES) * page - 1);
    g_autoptr(GArray) model = g_array_new(false, true, sizeof(TestMapping));
    SVQIOVAHint hint = {};

    for (lap = 0; lap < 20000; lap++) {
        TestMapping m = {
            .key = g_test_rand_int_range(0, 4),
            .host = HOST_START + g_test_rand_int_range(0, HOST_PAGES),
            .readonly = g_test_rand_int_range(0, 3) == 0,
        };
        bool there = false;
        uint64_t iova;

        m.pages = g_test_rand_int_range(0, HOST_START + HOST_PAGES - m.host);
        m.pages = 1 + (g_test_rand_bit() ? m.pages : m.pages % 6);
        for (i = 0; i < model->len; i++) {
            const TestMapping *other = &g_array_index(model, TestMapping, i);

            there |= other->key == m.key && other->host == m.host;
        }

        switch (g_test_rand_int_range(0, 4)) {
        case 0:
        case 1:
            if (!svq_iova_map_add(map, m.key, at(m.host * page),
                                  m.pages * page, m.readonly, &iova, NULL)) {
                g_assert_true(there || random_room(model) < m.pages);
                refused++;
                break;
            }
            added++;
            g_assert_false(there);
            m.iova = iova / page;
            g_assert_cmpuint(m.iova, >=, IOVA_START);
            g_assert_cmpuint(m.iova + m.pages, <=, IOVA_START + IOVA_PAGES);
            for (i = 0; i < model->len; i++) {
                const TestMapping *o = &g_array_index(model, TestMapping, i);

                g_assert_true(m.iova + m.pages <= o->iova ||
                              o->iova + o->pages <= m.iova);
            }
            g_array_append_val(model, m);
            break;
        case 2:
            if (model->len) {
                k = g_test_rand_int_range(0, model->len);
                m = g_array_index(model, TestMapping, k);
                must_remove(map, m.key, m.host * page, m.iova * page,
                            m.pages * page);
                g_array_remove_index(model, k);
            }
            break;
        case 3:
            svq_iova_map_publish(map);
            for (i = 0; i < model->len; i++) {
                g_array_index(model, TestMapping, i).published = true;
            }
            break;
        }
        random_check(map, model, &hint);
    }
    g_assert_cmpuint(added, >, 1000);
    g_assert_cmpuint(refused, >, 100);
    svq_iova_map_free(map);
}

#define READERS 3

/* Memory that stays, between memory that comes and goes */
typedef struct ThreadTest {
    SVQIOVAMap *map;
    uint64_t iova;
    bool stop;
    unsigned int came;          /* readers that found memory that goes */
} ThreadTest;

static gpointer thread_reader(gpointer opaque)
{
    ThreadTest *test = opaque;
    SVQIOVAHint hint = {};
    bool found = false;

    rcu_register_thread();
    while (!qatomic_read(&test->stop)) {
        uint64_t p, iova, run;

        rcu_read_lock();
        for (p = 0; p < 40; p++) {
            iova = svq_iova_map_translate(test->map, &hint,
                                          at((100 + p) * page), page,
                                          true, &run);
            if (p == 20) {
                g_assert_cmphex(iova, ==, test->iova);
            } else if (iova != UINT64_MAX) {
                g_assert_cmpuint(iova % page, ==, 0);
                g_assert_cmpuint(run, ==, page);
                if (!found) {
                    found = true;
                    qatomic_set(&test->came, qatomic_read(&test->came) + 1);
                }
            }
        }
        rcu_read_unlock();
    }
    rcu_unregister_thread();
    return NULL;
}

/* Readers always find what stays, in tables that nobody has freed. */
static void test_threads(void)
{
    ThreadTest test = { .map = svq_iova_map_new(page, UINT64_MAX) };
    GThread *readers[READERS];
    uint64_t iova[40];
    unsigned int lap, i;

    test.iova = must_add(test.map, 0, 120 * page, page, false);
    svq_iova_map_publish(test.map);
    for (i = 0; i < READERS; i++) {
        readers[i] = g_thread_new("reader", thread_reader, &test);
    }
    for (lap = 0; lap < 300 || !qatomic_read(&test.came); lap++) {
        for (i = 0; i < 40; i++) {
            if (i != 20) {
                iova[i] = must_add(test.map, lap, (100 + i) * page, page,
                                   i % 7 == 0);
            }
            if (i % 3 == 0) {
                svq_iova_map_publish(test.map);
            }
        }
        for (i = 0; i < 40; i++) {
            if (i != 20) {
                must_remove(test.map, lap, (100 + i) * page, iova[i], page);
            }
        }
    }
    qatomic_set(&test.stop, true);
    for (i = 0; i < READERS; i++) {
        g_thread_join(readers[i]);
    }
    svq_iova_map_free(test.map);
}

int main(int argc, char **argv)
{
    page = qemu_real_host_page_size();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/svq-iova-map/translate", test_translate);
    g_test_add_func("/svq-iova-map/publish", test_publish);
    g_test_add_func("/svq-iova-map/holes", test_holes);
    g_test_add_func("/svq-iova-map/limits", test_limits);
    g_test_add_func("/svq-iova-map/refusals", test_refusals);
    g_test_add_func("/svq-iova-map/large-pages", test_large_pages);
    g_test_add_func("/svq-iova-map/overlap", test_overlap);
    g_test_add_func("/svq-iova-map/neighbours", test_neighbours);
    g_test_add_func("/svq-iova-map/hint", test_hint);
    g_test_add_func("/svq-iova-map/random", test_random);
    g_test_add_func("/svq-iova-map/threads", test_threads);
    return g_test_run();
}
