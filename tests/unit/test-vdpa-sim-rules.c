/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The simulated vDPA device (tests/vdpa-sim) and drivers that break rules
 *
 * Tests of QEMU rely on the device to see what QEMU's side of a virtqueue does
 * wrong.  Here a driver breaks one rule of VIRTIO 1.2, sections 2.7 to 2.9 and
 * 5.1.6, at a time, and the device has to say which, once.
 */
#include <glib.h>
#include <sys/mman.h>

#include "vdpa-sim-driver.h"

static void rule_jump(Driver *d)
{
    __atomic_store_n(driver_avail_idx(d, TX), DRIVER_RING + 1,
                     __ATOMIC_RELEASE);
    driver_kick(d, TX);
}

static void rule_head(Driver *d)
{
    driver_avail(d, TX, DRIVER_RING);
    driver_kick(d, TX);
}

static void rule_flags(Driver *d)
{
    STORE(driver_avail_idx(d, TX)[-1], 2);
    driver_put(d, TX, 0, DRIVER_BUF, LEN, 0);
}

static void rule_flags_event(Driver *d)
{
    STORE(driver_avail_idx(d, TX)[-1], 1);
    driver_put(d, TX, 0, DRIVER_BUF, LEN, 0);
}

static void rule_next(Driver *d)
{
    driver_desc(d, TX, 0, DRIVER_BUF, LEN, D_NEXT, DRIVER_RING);
    driver_avail(d, TX, 0);
    driver_kick(d, TX);
}

static void rule_loop(Driver *d)
{
    driver_desc(d, TX, 0, DRIVER_BUF, LEN, D_NEXT, 1);
    driver_desc(d, TX, 1, DRIVER_BUF, LEN, D_NEXT, 0);
    driver_avail(d, TX, 0);
    driver_kick(d, TX);
}

static void rule_direction(Driver *d)
{
    driver_desc(d, TX, 0, DRIVER_BUF, LEN, D_WRITE | D_NEXT, 1);
    driver_desc(d, TX, 1, DRIVER_BUF, LEN, 0, 0);
    if (!d->packed) {
        driver_avail(d, TX, 0);
    }
    driver_kick(d, TX);
}

static void rule_length(Driver *d)
{
    driver_desc(d, TX, 0, DRIVER_BUF, UINT32_MAX, D_NEXT, 1);
    driver_desc(d, TX, 1, DRIVER_BUF, LEN, 0, 0);
    if (!d->packed) {
        driver_avail(d, TX, 0);
    }
    driver_kick(d, TX);
}

static void rule_short(Driver *d)
{
    driver_put(d, TX, 0, DRIVER_BUF, DRIVER_HDR - 1, 0);
}

static void rule_no_room(Driver *d)
{
    d->sim->ctl[RX].source_count = 1;
    __atomic_store_n(&d->sim->ctl[RX].mode, VDPA_SIM_SOURCE, __ATOMIC_RELEASE);
    driver_put(d, RX, 0, DRIVER_BUF, LEN, 0);
    vdpa_sim_wake(d->sim);
}

static void rule_no_answer(Driver *d)
{
    driver_put(d, DRIVER_CTRL, 0, DRIVER_BUF, 3, 0);
}

static void rule_table_next(Driver *d)
{
    driver_table(d, DRIVER_BUF, 0, DRIVER_BUF, LEN, 0, 0);
    driver_desc(d, TX, 0, DRIVER_BUF, 16, D_INDIRECT | D_NEXT, 1);
    driver_desc(d, TX, 1, DRIVER_BUF, LEN, 0, 0);
    if (!d->packed) {
        driver_avail(d, TX, 0);
    }
    driver_kick(d, TX);
}

static void rule_table_nested(Driver *d)
{
    driver_table(d, DRIVER_BUF, 0, DRIVER_BUF, 16, D_INDIRECT, 0);
    driver_put(d, TX, 0, DRIVER_BUF, 16, D_INDIRECT);
}

static void rule_table_size(Driver *d)
{
    driver_put(d, TX, 0, DRIVER_BUF, 24, D_INDIRECT);
}

static void rule_table_empty(Driver *d)
{
    driver_put(d, TX, 0, DRIVER_BUF, 0, D_INDIRECT);
}

static void rule_table_long(Driver *d)
{
    driver_put(d, TX, 0, DRIVER_BUF, 16 * (DRIVER_RING + 1), D_INDIRECT);
}

static void rule_table_beyond(Driver *d)
{
    driver_table(d, DRIVER_BUF, 0, DRIVER_BUF, LEN, D_NEXT, 2);
    driver_put(d, TX, 0, DRIVER_BUF, 32, D_INDIRECT);
}

static void rule_table_loop(Driver *d)
{
    driver_table(d, DRIVER_BUF, 0, DRIVER_BUF, LEN, D_NEXT, 0);
    driver_put(d, TX, 0, DRIVER_BUF, 16, D_INDIRECT);
}

static void rule_table(Driver *d)
{
    driver_table(d, DRIVER_BUF, 0, DRIVER_BUF, LEN, 0, 0);
    driver_put(d, TX, 0, DRIVER_BUF, 16, D_INDIRECT);
}

static void rule_twice(Driver *d)
{
    /* Both are taken before either is used */
    vdpa_sim_pause(d->sim, TX, true);
    driver_put(d, TX, 3, DRIVER_BUF, LEN, 0);
    driver_put(d, TX, 3, DRIVER_BUF, LEN, 0);
    vdpa_sim_pause(d->sim, TX, false);
}

static void rule_order_first(Driver *d)
{
    driver_put(d, TX, 1, DRIVER_BUF, LEN, 0);
}

static void rule_order_next(Driver *d)
{
    driver_put(d, TX, 0, DRIVER_BUF, LEN, 0);
    driver_wait(d, TX);
    driver_put(d, TX, 2, DRIVER_BUF, LEN, 0);
}

static void rule_order_chain(Driver *d)
{
    driver_desc(d, TX, 0, DRIVER_BUF, LEN, D_NEXT, 2);
    driver_desc(d, TX, 2, DRIVER_BUF, LEN, 0, 0);
    driver_avail(d, TX, 0);
    driver_kick(d, TX);
}

static void rule_torn(Driver *d)
{
    driver_put(d, TX, 0, DRIVER_BUF, LEN, D_NEXT);
}

static void rule_too_many(Driver *d)
{
    unsigned i;

    vdpa_sim_pause(d->sim, TX, true);
    for (i = 0; i < DRIVER_RING; i++) {
        driver_desc(d, TX, 0, DRIVER_BUF, LEN, D_NEXT, 0);
    }
    driver_kick(d, TX);
    vdpa_sim_pause(d->sim, TX, false);
}

static void rule_doorbell(Driver *d)
{
    uint32_t *page = mmap(NULL, d->page, PROT_WRITE, MAP_SHARED, d->fd,
                          TX * d->page);

    g_assert_true(page != MAP_FAILED);
    STORE(*(uint16_t *)page, RX);
    munmap(page, d->page);
}

static void rule_notify_data(Driver *d)
{
    uint32_t *page = mmap(NULL, d->page, PROT_WRITE, MAP_SHARED, d->fd,
                          TX * d->page);

    g_assert_true(page != MAP_FAILED);
    STORE(*page, TX | 1 << 16);
    munmap(page, d->page);
}

static const struct {
    const char *name;
    void (*fn)(Driver *d);
    uint64_t without;
    const char *complaint;
} rules[] = {
    { "split/jump", rule_jump, PLAIN,
      "queue 1: available index 17 after 0 with 0 of 16" },
    { "split/head", rule_head, PLAIN, "available head 16 in a ring of 16" },
    { "split/flags", rule_flags, PLAIN, "available ring has flags 0x2" },
    { "split/flags-event", rule_flags_event,
      PLAIN & ~F(VIRTIO_RING_F_EVENT_IDX), "available ring has flags 0x1" },
    { "split/next", rule_next, PLAIN, "next descriptor 16 in a ring of 16" },
    { "split/loop", rule_loop, PLAIN, "buffer 0: a loop" },
    { "split/direction", rule_direction, PLAIN, "readable descriptor follows" },
    { "split/length", rule_length, PLAIN, "longer than 2^32 bytes" },
    { "split/short", rule_short, PLAIN, "a packet of 11 bytes" },
    { "split/no-room", rule_no_room, PLAIN, "queue 0: buffer 0 has no room" },
    { "split/no-answer", rule_no_answer, PLAIN,
      "queue 4: a command without room for the answer" },
    { "split/twice", rule_twice, PLAIN, "head 3 is in flight already" },
    { "split/table", rule_table, PLAIN | F(VIRTIO_RING_F_INDIRECT_DESC),
      "which was not negotiated" },
    { "split/table-next", rule_table_next, PLAIN, "has a next descriptor" },
    { "split/table-nested", rule_table_nested, PLAIN,
      "indirect table in an indirect table" },
    { "split/table-size", rule_table_size, PLAIN, "table of 24 bytes" },
    { "split/table-empty", rule_table_empty, PLAIN, "table of 0 bytes" },
    { "split/table-long", rule_table_long, PLAIN, "17 entries for a ring of" },
    { "split/table-beyond", rule_table_beyond, PLAIN, "next entry 2 in an" },
    { "split/table-loop", rule_table_loop, PLAIN, "a loop in an indirect" },
    { "split/order-first", rule_order_first, PLAIN & ~F(VIRTIO_F_IN_ORDER),
      "head 1 after IN_ORDER, expected 0" },
    { "split/order-next", rule_order_next, PLAIN & ~F(VIRTIO_F_IN_ORDER),
      "head 2 after IN_ORDER, expected 1" },
    { "split/order-chain", rule_order_chain, PLAIN & ~F(VIRTIO_F_IN_ORDER),
      "descriptor 2 follows 0 in spite of IN_ORDER" },
    { "split/doorbell", rule_doorbell, PLAIN, "names queue 0" },
    { "split/notify-data", rule_notify_data, PLAIN & ~NOTIFY_DATA,
      "notification data 0x0001" },
    { "packed/direction", rule_direction, PLAIN_PACKED,
      "readable descriptor follows" },
    { "packed/length", rule_length, PLAIN_PACKED, "longer than 2^32 bytes" },
    { "packed/torn", rule_torn, PLAIN_PACKED,
      "descriptor 1 of the chain is not available" },
    { "packed/too-many", rule_too_many, PLAIN_PACKED,
      "descriptor 0 of the chain is not available" },
    { "packed/twice", rule_twice, PLAIN_PACKED,
      "buffer ID 3 is in flight already" },
    { "packed/table", rule_table,
      PLAIN_PACKED | F(VIRTIO_RING_F_INDIRECT_DESC),
      "which was not negotiated" },
    { "packed/table-next", rule_table_next, PLAIN_PACKED,
      "an indirect table in a chain" },
    { "packed/table-size", rule_table_size, PLAIN_PACKED, "table of 24 bytes" },
};

static void test_rule(gconstpointer data)
{
    unsigned i = GPOINTER_TO_UINT(data);
    Driver *d = driver_new(NULL);

    driver_start(d, rules[i].without);
    g_assert_null(vdpa_sim_complaint(d->sim));
    rules[i].fn(d);
    driver_expect(d, rules[i].complaint);
    g_assert_cmpuint(LOAD(d->sim->state.violations), ==, 1);
    g_assert_cmpuint(LOAD(d->sim->state.faults), ==, 0);
    driver_free(d, false);
}

int main(int argc, char **argv)
{
    unsigned i;

    g_test_init(&argc, &argv, NULL);
    for (i = 0; i < G_N_ELEMENTS(rules); i++) {
        g_autofree char *path = g_strdup_printf("/vdpa-sim/rule/%s",
                                                rules[i].name);

        g_test_add_data_func(path, GUINT_TO_POINTER(i), test_rule);
    }
    return g_test_run();
}
