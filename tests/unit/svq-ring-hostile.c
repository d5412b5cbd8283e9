/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Device rings whose device does what it must not
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "standard-headers/linux/virtio_ring.h"
#include "svq-ring-cases.h"
#include "svq-ring-model.h"

/* A used entry that a hostile device writes, wherever it likes */
typedef struct HostileEntry {
    bool present;
    uint16_t slot;              /* entry of the used ring, or descriptor */
    uint32_t id;
    uint32_t len;
} HostileEntry;

/*
 * In a ring of 8, buffer A takes the descriptor 0 and is read, B takes 1 and 2
 * and has room for 100 bytes, C takes 3 and is read, D takes 4 and is not
 * published.  The IDs are the first of these, but in a packed ring out of
 * order A to D have 0 to 3.
 */
typedef struct HostileCase {
    const char *name;
    bool packed;
    bool in_order;
    uint16_t used_idx;          /* split */
    unsigned int taken;         /* buffers taken all the same */
    const char *message;
    HostileEntry entries[4];
} HostileCase;

static const HostileCase hostile_cases[] = {
    {
        "split/id-beyond-ring", false, false, 1, 0,
        "a used entry has the ID 8 in a ring of 8",
        { { true, 0, 8, 0 } },
    }, {
        "split/id-huge", false, false, 1, 0,
        "a used entry has the ID 4294967295 in a ring of 8",
        { { true, 0, UINT32_MAX, 0 } },
    }, {
        "split/id-never-added", false, false, 1, 0,
        "a used entry has the ID 5, which is not in flight",
        { { true, 0, 5, 0 } },
    }, {
        "split/id-inside-chain", false, false, 1, 0,
        "a used entry has the ID 2, which is not in flight",
        { { true, 0, 2, 0 } },
    }, {
        "split/id-repeated", false, false, 3, 2,
        "a used entry has the ID 1, which is not in flight",
        { { true, 0, 1, 100 }, { true, 1, 0, 0 }, { true, 2, 1, 0 } },
    }, {
        "split/id-not-published", false, false, 1, 0,
        "a used entry has the ID 4, which was not made available yet",
        { { true, 0, 4, 0 } },
    }, {
        "split/length", false, false, 2, 1,
        "a used entry says that 101 bytes were written to the buffer with ID "
        "1, which has room for 100",
        { { true, 0, 0, 0 }, { true, 1, 1, 101 } },
    }, {
        "split/length-of-nothing", false, false, 1, 0,
        "a used entry says that 1 bytes were written to the buffer with ID 0, "
        "which has room for 0",
        { { true, 0, 0, 1 } },
    }, {
        "split/index-ahead", false, false, 4, 0,
        "the used index moved by 4 with 3 buffers available",
        { { true, 0, 0, 0 } },
    }, {
        "split/index-back", false, false, 65535, 0,
        "the used index moved by 65535 with 3 buffers available",
        { { true, 0, 0, 0 } },
    }, {
        "split-in-order/id-beyond-ring", false, true, 1, 0,
        "a used entry has the ID 8 in a ring of 8",
        { { true, 0, 8, 0 } },
    }, {
        "split-in-order/id-never-added", false, true, 3, 0,
        "a used entry has the ID 5, which is not in flight",
        { { true, 0, 5, 0 } },
    }, {
        "split-in-order/id-inside-chain", false, true, 3, 0,
        "a used entry has the ID 2, which is not in flight",
        { { true, 0, 2, 0 } },
    }, {
        "split-in-order/id-repeated", false, true, 2, 1,
        "a used entry has the ID 0, which is not in flight",
        { { true, 0, 0, 0 }, { true, 1, 0, 0 } },
    }, {
        "split-in-order/id-not-published", false, true, 3, 0,
        "a used entry has the ID 4, which was not made available yet",
        { { true, 0, 4, 0 } },
    }, {
        "split-in-order/run-beyond-index", false, true, 2, 0,
        "a used entry has the ID 3, which ends a run of 3, and the used index "
        "moved by 2",
        { { true, 0, 3, 0 } },
    }, {
        "split-in-order/second-run-beyond-index", false, true, 2, 1,
        "a used entry has the ID 3, which ends a run of 2, and the used index "
        "moved by 1",
        { { true, 0, 0, 0 }, { true, 1, 3, 0 } },
    }, {
        "split-in-order/length", false, true, 2, 0,
        "a used entry says that 101 bytes were written to the buffer with ID "
        "1, which has room for 100",
        { { true, 0, 1, 101 } },
    }, {
        "split-in-order/length-of-oldest", false, true, 1, 0,
        "a used entry says that 1 bytes were written to the buffer with ID 0, "
        "which has room for 0",
        { { true, 0, 0, 1 } },
    }, {
        "split-in-order/index-ahead", false, true, 4, 0,
        "the used index moved by 4 with 3 buffers available",
        { { true, 0, 3, 0 } },
    }, {
        "packed/id-beyond-ring", true, false, 0, 0,
        "a used entry has the ID 8 in a ring of 8",
        { { true, 0, 8, 0 } },
    }, {
        "packed/id-huge", true, false, 0, 0,
        "a used entry has the ID 65535 in a ring of 8",
        { { true, 0, UINT16_MAX, 0 } },
    }, {
        "packed/id-never-added", true, false, 0, 0,
        "a used entry has the ID 5, which is not in flight",
        { { true, 0, 5, 0 } },
    }, {
        "packed/id-repeated", true, false, 0, 2,
        "a used entry has the ID 1, which is not in flight",
        { { true, 0, 1, 100 }, { true, 2, 0, 0 }, { true, 3, 1, 0 } },
    }, {
        "packed/id-not-published", true, false, 0, 0,
        "a used entry has the ID 3, which was not made available yet",
        { { true, 0, 3, 0 } },
    }, {
        "packed/more-than-published", true, false, 0, 3,
        "a used entry has the ID 3, which was not made available yet",
        {
            { true, 0, 0, 0 }, { true, 1, 1, 1 }, { true, 3, 2, 0 },
            { true, 4, 3, 0 }
        },
    }, {
        "packed/length", true, false, 0, 1,
        "a used entry says that 101 bytes were written to the buffer with ID "
        "1, which has room for 100",
        { { true, 0, 0, 0 }, { true, 1, 1, 101 } },
    }, {
        "packed/length-of-nothing", true, false, 0, 0,
        "a used entry says that 1 bytes were written to the buffer with ID 0, "
        "which has room for 0",
        { { true, 0, 0, 1 } },
    }, {
        "packed-in-order/id-beyond-ring", true, true, 0, 0,
        "a used entry has the ID 8 in a ring of 8",
        { { true, 0, 8, 0 } },
    }, {
        "packed-in-order/id-inside-chain", true, true, 0, 1,
        "a used entry has the ID 2, which is not in flight",
        { { true, 0, 0, 0 }, { true, 1, 2, 0 } },
    }, {
        "packed-in-order/id-repeated", true, true, 0, 2,
        "a used entry has the ID 0, which is not in flight",
        { { true, 0, 1, 0 }, { true, 3, 0, 0 } },
    }, {
        "packed-in-order/id-not-published", true, true, 0, 0,
        "a used entry has the ID 4, which was not made available yet",
        { { true, 0, 4, 0 } },
    }, {
        "packed-in-order/more-than-published", true, true, 0, 3,
        "a used entry has the ID 4, which was not made available yet",
        { { true, 0, 3, 0 }, { true, 4, 4, 0 } },
    }, {
        "packed-in-order/length", true, true, 0, 0,
        "a used entry says that 101 bytes were written to the buffer with ID "
        "1, which has room for 100",
        { { true, 0, 1, 101 } },
    },
};

static void hostile_write(const SVQRingConfig *config, SVQModel *model,
                          const HostileEntry *entry, uint16_t used_idx)
{
    SVQRingLayout layout;
    size_t size;
    char *area = svq_model_device_area(model, &size);

    svq_ring_layout(config, qemu_real_host_page_size(), &layout);
    if (config->packed) {
        struct vring_packed_desc *desc = (void *)(area + layout.desc);

        desc[entry->slot].id = cpu_to_le16(entry->id);
        desc[entry->slot].len = cpu_to_le32(entry->len);
        desc[entry->slot].flags =
            cpu_to_le16(1 << VRING_PACKED_DESC_F_AVAIL |
                        1 << VRING_PACKED_DESC_F_USED |
                        (entry->len ? VRING_DESC_F_WRITE : 0));
    } else {
        struct vring_used *used = (void *)(area + layout.used);

        used->ring[entry->slot].id = cpu_to_le32(entry->id);
        used->ring[entry->slot].len = cpu_to_le32(entry->len);
        used->idx = cpu_to_le16(used_idx);
    }
}

/* A device breaks a rule: the ring says which, and gives nothing any more */
static void test_hostile(gconstpointer opaque)
{
    const HostileCase *c = opaque;
    SVQRingConfig config = {
        .num = 8,
        .packed = c->packed,
        .in_order = c->in_order,
    };
    const SVQSeg segs[] = { { 0x1000, 60 }, { 0x2000, 40 } };
    SVQModel *model = svq_model_new(&config, true);
    SVQRing *ring = svq_model_ring(model);
    const uint16_t ids[] = { 0, 1, c->packed && !c->in_order ? 2 : 3, 0 };
    HostileEntry entry;
    SVQUsed used[8];
    unsigned int i;

    g_assert_true(svq_ring_add(ring, segs, 1, 0, &used[0]));
    g_assert_true(svq_ring_add(ring, segs, 0, 2, &used[1]));
    g_assert_true(svq_ring_add(ring, segs, 1, 0, &used[2]));
    svq_ring_publish(ring);
    g_assert_true(svq_ring_add(ring, segs, 0, 2, &used[3]));

    for (i = 0; i < G_N_ELEMENTS(c->entries) && c->entries[i].present; i++) {
        hostile_write(&config, model, &c->entries[i], c->used_idx);
    }

    g_assert_true(svq_ring_has_used(ring));
    g_assert_cmpuint(svq_ring_take(ring, used, 8), ==, c->taken);
    for (i = 0; i < c->taken; i++) {
        g_assert_cmpuint(used[i].len, <=, 100);
    }
    g_assert_cmpstr(svq_ring_error(ring), ==, c->message);

    /* It makes good for it, too late */
    for (i = 0; i < config.num; i++) {
        entry = (HostileEntry) { true, i, ids[c->taken], 0 };
        hostile_write(&config, model, &entry, c->taken + 1);
    }
    g_assert_false(svq_ring_has_used(ring));
    g_assert_false(svq_ring_set_calls(ring, true));
    g_assert_cmpuint(svq_ring_take(ring, used, 8), ==, 0);
    g_assert_cmpstr(svq_ring_error(ring), ==, c->message);

    /* What is left is known all the same */
    g_assert_cmpuint(svq_ring_in_flight(ring), ==, 4 - c->taken);
    svq_ring_drain(ring, used);
    svq_ring_free(ring);
    svq_model_free(model);
}

/* Where the device's wish makes no sense, it is notified. */
static void test_hostile_event(void)
{
    static const struct {
        bool event_idx;
        uint16_t off_wrap;
        uint16_t flags;
    } events[] = {
        { true, 8, VRING_PACKED_EVENT_FLAG_DESC },
        { true, 0x8008, VRING_PACKED_EVENT_FLAG_DESC },
        { true, 0x7fff, VRING_PACKED_EVENT_FLAG_DESC },
        { true, 0xffff, VRING_PACKED_EVENT_FLAG_DESC },
        { true, 3, 3 },
        { false, 3, VRING_PACKED_EVENT_FLAG_DESC },
    };
    const SVQSeg seg = { 0x1000, 60 };
    unsigned int i;

    for (i = 0; i < G_N_ELEMENTS(events); i++) {
        SVQRingConfig config = {
            .num = 8,
            .packed = true,
            .event_idx = events[i].event_idx,
        };
        SVQModel *model = svq_model_new(&config, true);
        SVQRing *ring = svq_model_ring(model);
        struct vring_packed_desc_event *event;
        SVQRingLayout layout;
        size_t size;

        svq_ring_layout(&config, qemu_real_host_page_size(), &layout);
        event = (void *)((char *)svq_model_device_area(model, &size) +
                         layout.used);
        event->off_wrap = cpu_to_le16(events[i].off_wrap);
        event->flags = cpu_to_le16(events[i].flags);
        g_assert_false(svq_ring_publish(ring));
        g_assert_true(svq_ring_add(ring, &seg, 1, 0, ring));
        g_assert_true(svq_ring_publish(ring));
        svq_ring_free(ring);
        svq_model_free(model);
    }
}

/* Values that a field of the ring may have, or nearly */
static uint16_t hostile_word(const SVQRingConfig *config)
{
    static const uint16_t flags[] = {
        1 << VRING_PACKED_DESC_F_AVAIL | 1 << VRING_PACKED_DESC_F_USED,
        1 << VRING_PACKED_DESC_F_AVAIL | 1 << VRING_PACKED_DESC_F_USED |
        VRING_DESC_F_WRITE,
        VRING_DESC_F_WRITE,
    };

    switch (g_test_rand_int_range(0, 4)) {
    case 0:
        return g_test_rand_int();
    case 1:
        return cpu_to_le16(flags[g_test_rand_int_range(0, 3)]);
    default:
        return cpu_to_le16(g_test_rand_int_range(0, config->num + 1));
    }
}

typedef struct HostileBuffer {
    unsigned int in_num;
    bool returned;
} HostileBuffer;

/*
 * The device's area says anything at all: each buffer still comes back once at
 * most, after it was published, with no more bytes than it has room for.
 */
static void test_hostile_random(gconstpointer opaque)
{
    const SVQRingConfig *config = opaque;
    SVQSeg segs[4] = {
        { 0x1000, 1 }, { 0x2000, 2 }, { 0x3000, 3 }, { 0x4000, 4 }
    };
    unsigned int i, k, lap, n, errors = 0;

    for (lap = 0; lap < 1000; lap++) {
        SVQModel *model = svq_model_new(config, true);
        SVQRing *ring = svq_model_ring(model);
        g_autofree HostileBuffer *buffers = g_new0(HostileBuffer, 100);
        unsigned int added = 0, published = 0, in_flight = 0;
        SVQUsed used[32];
        size_t size;
        uint16_t *area = svq_model_device_area(model, &size);

        /* What is used of the area; the rest of the page is not looked at */
        size = MIN(size / 2, config->num * 8 + 4);
        for (i = 0; i < 100 && !svq_ring_error(ring); i++) {
            switch (g_test_rand_int_range(0, 4)) {
            case 0:
                n = g_test_rand_int_range(1, 5);
                k = g_test_rand_int_range(0, n + 1);
                buffers[added].in_num = n - k;
                if (svq_ring_fits(ring, n) &&
                    svq_ring_add(ring, segs, k, n - k, &buffers[added])) {
                    added++;
                    in_flight++;
                }
                break;
            case 1:
                svq_ring_publish(ring);
                svq_ring_notification_data(ring, 0);
                published = added;
                break;
            case 2:
                area[g_test_rand_int_range(0, size)] = hostile_word(config);
                /* What makes the ring look: the used index, or a flag */
                k = config->packed ? 8 * g_test_rand_int_range(0, 2) + 7 : 1;
                area[k] = config->packed
                          ? cpu_to_le16(1 << VRING_PACKED_DESC_F_AVAIL |
                                        1 << VRING_PACKED_DESC_F_USED)
                          : cpu_to_le16(g_test_rand_int_range(0, 4));
                break;
            case 3:
                svq_ring_set_calls(ring, g_test_rand_bit());
                n = svq_ring_take(ring, used, g_test_rand_int_range(0, 33));
                for (k = 0; k < n; k++) {
                    HostileBuffer *buffer = used[k].token;

                    g_assert(buffer >= buffers &&
                             buffer < buffers + published);
                    g_assert_false(buffer->returned);
                    g_assert_cmpuint(used[k].len, <=, 4 * buffer->in_num);
                    buffer->returned = true;
                    in_flight--;
                }
                break;
            }
            g_assert_cmpuint(svq_ring_in_flight(ring), ==, in_flight);
        }
        errors += !!svq_ring_error(ring);
        svq_ring_free(ring);
        svq_model_free(model);
    }
    /* It was hostile enough, but not only */
    g_assert_cmpuint(errors, >, 100);
}

void svq_ring_test_hostile(void)
{
    static const unsigned int eight[] = { 8, 0 };
    unsigned int i;

    for (i = 0; i < G_N_ELEMENTS(hostile_cases); i++) {
        g_autofree char *path = g_strdup_printf("/svq-ring/hostile/%s",
                                                hostile_cases[i].name);

        g_test_add_data_func(path, &hostile_cases[i], test_hostile);
    }
    g_test_add_func("/svq-ring/hostile/packed/event", test_hostile_event);
    svq_ring_test_each("hostile-random", test_hostile_random, eight);
}
