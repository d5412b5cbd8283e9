/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Device ring: the driver's side of a virtqueue
 *
 * What does not depend on the layout, and the choice between the two.  For
 * threads, see ring.h.
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/memalign.h"
#include "ring-internal.h"

/* Parts of an area that different sides write share no line of a cache. */
#define SVQ_RING_ALIGN 64

static unsigned int svq_ring_table_len(const SVQRingConfig *config)
{
    /* A chain may not be longer than the ring even in a table of its own */
    return config->indirect ? MIN(SVQ_RING_TABLE_LEN, config->num) : 0;
}

/*
 * Find a place for each part, with areas that end where the last part does.
 *
 * Returns: the place of the indirect tables, behind all else in the driver's
 * area.
 */
static size_t svq_ring_place(const SVQRingConfig *config, SVQRingLayout *layout)
{
    size_t descs = ROUND_UP(config->num * sizeof(struct vring_desc),
                            SVQ_RING_ALIGN);
    size_t tables;

    if (config->packed) {
        tables = sizeof(struct vring_packed_desc_event);
        *layout = (SVQRingLayout) {
            .desc_in_device = true,
            .used = descs,
            .device_size = descs + sizeof(struct vring_packed_desc_event),
        };
    } else {
        tables = descs + sizeof(struct vring_avail) +
                 (config->num + 1) * sizeof(uint16_t);
        *layout = (SVQRingLayout) {
            .avail = descs,
            .device_size = sizeof(struct vring_used) +
                           config->num * sizeof(struct vring_used_elem) +
                           sizeof(uint16_t),
        };
    }
    tables = ROUND_UP(tables, SVQ_RING_ALIGN);
    layout->driver_size = tables + (size_t)config->num *
                          svq_ring_table_len(config) *
                          sizeof(struct vring_desc);
    return tables;
}

void svq_ring_layout(const SVQRingConfig *config, size_t page_size,
                     SVQRingLayout *layout)
{
    svq_ring_place(config, layout);
    layout->driver_size = ROUND_UP(layout->driver_size, page_size);
    layout->device_size = ROUND_UP(layout->device_size, page_size);
}

SVQRing *svq_ring_new(const SVQRingConfig *config, void *driver, void *device,
                      uint64_t driver_iova)
{
    size_t buffers = ROUND_UP(sizeof(SVQRing), SVQ_RING_ALIGN);
    size_t next = buffers + config->num * sizeof(SVQRingBuffer);
    size_t pending = next + config->num * sizeof(uint16_t);
    size_t size = pending + config->num * sizeof(uint16_t);
    SVQRingLayout layout;
    size_t tables = svq_ring_place(config, &layout);
    SVQRing *ring;
    unsigned int i;

    /* Whole lines, since rings of other threads may be next to it */
    size = ROUND_UP(size, SVQ_RING_ALIGN);
    ring = qemu_memalign(SVQ_RING_ALIGN, size);
    memset(ring, 0, size);
    ring->is_packed = config->packed;
    ring->in_order = config->in_order;
    ring->event_idx = config->event_idx;
    ring->num = config->num;
    ring->table_len = svq_ring_table_len(config);
    ring->tables = (char *)driver + tables;
    ring->tables_iova = driver_iova + tables;
    ring->buffers = (SVQRingBuffer *)((char *)ring + buffers);
    ring->next = (uint16_t *)((char *)ring + next);
    if (!config->in_order) {
        ring->pending = (uint16_t *)((char *)ring + pending);
    }
    for (i = 0; i < config->num; i++) {
        ring->next[i] = i + 1 < config->num ? i + 1 : 0;
    }
    ring->free_descs = config->num;
    /* Zeroed memory asks for notifications */
    ring->calls = true;

    if (config->packed) {
        svq_ring_packed_init(ring, &layout, driver, device);
    } else {
        svq_ring_split_init(ring, &layout, driver, device);
    }
    return ring;
}

void svq_ring_free(SVQRing *ring)
{
    if (ring) {
        g_free(ring->error);
        qemu_vfree(ring);
    }
}

bool svq_ring_fits(const SVQRing *ring, unsigned int segs)
{
    return segs > 0 && segs <= ring->num;
}

bool svq_ring_add(SVQRing *ring, const SVQSeg *segs, unsigned int out_num,
                  unsigned int in_num, void *token)
{
    return ring->is_packed
           ? svq_ring_packed_add(ring, segs, out_num, in_num, token)
           : svq_ring_split_add(ring, segs, out_num, in_num, token);
}

bool svq_ring_publish(SVQRing *ring)
{
    return ring->is_packed ? svq_ring_packed_publish(ring)
                        : svq_ring_split_publish(ring);
}

uint32_t svq_ring_notification_data(const SVQRing *ring, uint16_t queue)
{
    uint32_t next;

    if (!ring->is_packed) {
        next = (uint16_t)(ring->avail_idx - ring->unpublished);
    } else {
        bool held = ring->unpublished;
        uint16_t flags = held ? ring->head_flags : ring->avail_flags;

        next = held ? ring->head_pos : ring->avail_pos;
        if (flags & 1 << VRING_PACKED_DESC_F_AVAIL) {
            next |= 1 << VRING_PACKED_EVENT_F_WRAP_CTR;
        }
    }
    return next << 16 | queue;
}

bool svq_ring_has_used(SVQRing *ring)
{
    return ring->is_packed ? svq_ring_packed_has_used(ring)
                        : svq_ring_split_has_used(ring);
}

unsigned int svq_ring_take(SVQRing *ring, SVQUsed *used, unsigned int max)
{
    return ring->is_packed ? svq_ring_packed_take(ring, used, max)
                        : svq_ring_split_take(ring, used, max);
}

const char *svq_ring_error(const SVQRing *ring)
{
    return ring->error;
}

bool svq_ring_set_calls(SVQRing *ring, bool on)
{
    return ring->is_packed ? svq_ring_packed_set_calls(ring, on)
                        : svq_ring_split_set_calls(ring, on);
}

unsigned int svq_ring_in_flight(const SVQRing *ring)
{
    return ring->in_flight;
}

void svq_ring_drain(SVQRing *ring, SVQUsed *used)
{
    unsigned int i;

    for (i = 0; i < ring->num; i++) {
        if (ring->buffers[i].token) {
            *used++ = (SVQUsed) { .token = ring->buffers[i].token };
            ring->buffers[i].token = NULL;
        }
    }
    ring->in_flight = 0;
}

void svq_ring_fail(SVQRing *ring, const char *fmt, ...)
{
    va_list ap;

    if (!ring->error) {
        va_start(ap, fmt);
        ring->error = g_strdup_vprintf(fmt, ap);
        va_end(ap);
    }
}

bool svq_ring_is_pending(const SVQRing *ring, uint32_t id)
{
    unsigned int i;

    for (i = 0; i < ring->unpublished; i++) {
        if (ring->pending[i] == id) {
            return true;
        }
    }
    return false;
}

SVQRingBuffer *svq_ring_fail_buffer(SVQRing *ring, uint32_t id, uint32_t len)
{
    if (id >= ring->num) {
        svq_ring_fail(ring, "a used entry has the ID %" PRIu32 " in a ring of "
                      "%u", id, ring->num);
    } else if (!ring->buffers[id].token) {
        svq_ring_fail(ring, "a used entry has the ID %" PRIu32 ", which is not "
                      "in flight", id);
    } else if (len > ring->buffers[id].in_len) {
        svq_ring_fail(ring, "a used entry says that %" PRIu32 " bytes were "
                      "written to the buffer with ID %" PRIu32 ", which has "
                      "room for %" PRIu32, len, id, ring->buffers[id].in_len);
    } else {
        svq_ring_fail(ring, "a used entry has the ID %" PRIu32 ", which was "
                      "not made available yet", id);
    }
    return NULL;
}
