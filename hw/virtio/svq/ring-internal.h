/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Device ring: what its split and its packed half share
 *
 * Private to ring.c, ring-split.c and ring-packed.c.  For threads, see ring.h.
 */

#ifndef HW_VIRTIO_SVQ_RING_INTERNAL_H
#define HW_VIRTIO_SVQ_RING_INTERNAL_H

#include "hw/virtio/svq/ring.h"
#include "standard-headers/linux/virtio_ring.h"

/*
 * A packet and its header are rarely more pieces than this; a buffer that is
 * goes into the ring itself.
 */
#define SVQ_RING_TABLE_LEN 16

/*
 * What is remembered of a buffer, where the device cannot write.  It stands at
 * the ID that the device gives back: at the descriptor it begins with, or, in a
 * packed ring out of order, at its buffer ID.
 */
typedef struct SVQRingBuffer {
    void *token;                /* NULL: no buffer in flight has this ID */
    uint32_t in_len;            /* bytes that the device may write */
    uint16_t ndescs;            /* of the ring, 1 with an indirect table */
    union {
        uint16_t last;          /* split, out of order: its last descriptor */
        uint16_t seq;           /* in order: avail_idx when it was added */
    };
} SVQRingBuffer;

QEMU_BUILD_BUG_ON(sizeof(SVQRingBuffer) > 16);

struct SVQRing {
    /* What never changes */
    bool is_packed;
    bool in_order;
    bool event_idx;
    unsigned int num;
    unsigned int table_len;     /* of each indirect table; 0: none */
    char *tables;               /* an indirect table for each ID */
    uint64_t tables_iova;
    SVQRingBuffer *buffers;     /* by ID */
    /* Split: the descriptor behind each.  Packed, out of order: free IDs. */
    uint16_t *next;
    uint16_t *pending;          /* IDs not published yet; NULL in order */
    union {
        struct {
            struct vring_desc *desc;
            struct vring_avail *avail;
            struct vring_used *used;
            uint16_t *used_event;   /* written by the ring */
            uint16_t *avail_event;  /* written by the device */
        } split;
        struct {
            struct vring_packed_desc *desc;
            /*
             * Each a struct vring_packed_desc_event, read and written whole,
             * so that offset and flags always belong together
             */
            uint32_t *driver_event;
            uint32_t *device_event;
        } packed;
    };

    /* Making available */
    unsigned int free_descs;
    /* Split: descriptor to use next.  Packed, out of order: ID to use next. */
    uint16_t free_head;
    uint16_t avail_idx;         /* buffers added, modulo 65536 */
    unsigned int in_flight;     /* buffers added and not taken */
    unsigned int unpublished;   /* buffers of these that were not published */
    unsigned int avail_pos;     /* packed: descriptor to use next */
    uint16_t avail_flags;       /* packed: AVAIL and USED for it */
    /* Packed: flags kept back, of the first descriptor not published */
    uint16_t head_flags;
    unsigned int head_pos;      /* packed: where that descriptor stands */

    /* Taking back */
    uint16_t last_used;         /* split: used entries taken, modulo 65536 */
    uint16_t used_idx;          /* split: the device's index when last read */
    uint16_t used_flags;        /* packed: AVAIL and USED of what is used */
    bool calls;                 /* notifications are wanted */
    /* Packed: descriptor that the device uses next.  In order: the oldest. */
    unsigned int used_pos;
    /* In order: buffers still to return for an entry that was read... */
    unsigned int run_left;
    uint32_t run_len;           /* ...and bytes written to the last of them */
    uint32_t event;             /* what the device was told of @calls */
    char *error;
};

/*
 * The halves.  What each function does is said at its namesake in ring.h; the
 * init functions find the areas zeroed and the members that both have set up.
 */
void svq_ring_split_init(SVQRing *ring, const SVQRingLayout *layout,
                         char *driver, char *device);
bool svq_ring_split_add(SVQRing *ring, const SVQSeg *segs,
                        unsigned int out_num, unsigned int in_num,
                        void *token);
bool svq_ring_split_publish(SVQRing *ring);
bool svq_ring_split_has_used(SVQRing *ring);
unsigned int svq_ring_split_take(SVQRing *ring, SVQUsed *used,
                                 unsigned int max);
bool svq_ring_split_set_calls(SVQRing *ring, bool on);
void svq_ring_packed_init(SVQRing *ring, const SVQRingLayout *layout,
                          char *driver, char *device);
bool svq_ring_packed_add(SVQRing *ring, const SVQSeg *segs,
                         unsigned int out_num, unsigned int in_num,
                         void *token);
bool svq_ring_packed_publish(SVQRing *ring);
bool svq_ring_packed_has_used(SVQRing *ring);
unsigned int svq_ring_packed_take(SVQRing *ring, SVQUsed *used,
                                  unsigned int max);
bool svq_ring_packed_set_calls(SVQRing *ring, bool on);

/* The device broke a rule: remember which, and take nothing any more */
void G_GNUC_PRINTF(2, 3) svq_ring_fail(SVQRing *ring, const char *fmt, ...);

/*
 * The buffer that the device says it has used, or NULL, and the ring has
 * failed: no such buffer is in flight, or the device has written more than
 * there is room for.
 */
SVQRingBuffer *svq_ring_fail_buffer(SVQRing *ring, uint32_t id, uint32_t len);
bool svq_ring_is_pending(const SVQRing *ring, uint32_t id);

static inline SVQRingBuffer *svq_ring_used_buffer(SVQRing *ring, uint32_t id,
                                                  uint32_t len)
{
    SVQRingBuffer *buffer;

    if (unlikely(id >= ring->num)) {
        return svq_ring_fail_buffer(ring, id, len);
    }
    buffer = &ring->buffers[id];
    if (unlikely(!buffer->token || len > buffer->in_len)) {
        return svq_ring_fail_buffer(ring, id, len);
    }
    /* In order, the length of the run tells as much */
    if (unlikely(ring->unpublished && !ring->in_order &&
                 svq_ring_is_pending(ring, id))) {
        return svq_ring_fail_buffer(ring, id, len);
    }
    return buffer;
}

/* Where the table of an ID is; descriptors have 16 bytes in either layout */
static inline size_t svq_ring_table_offset(const SVQRing *ring, unsigned int id)
{
    return (size_t)id * ring->table_len * sizeof(struct vring_desc);
}

/* Remember a buffer that was put into the ring */
static inline SVQRingBuffer *svq_ring_added(SVQRing *ring, unsigned int id,
                                            unsigned int ndescs,
                                            uint64_t in_len, void *token)
{
    SVQRingBuffer *buffer = &ring->buffers[id];

    buffer->token = token;
    /* The device has no way to say that it wrote more */
    buffer->in_len = MIN(in_len, UINT32_MAX);
    buffer->ndescs = ndescs;
    if (ring->in_order) {
        buffer->seq = ring->avail_idx;
    } else {
        ring->pending[ring->unpublished] = id;
    }
    ring->avail_idx++;
    ring->unpublished++;
    ring->in_flight++;
    ring->free_descs -= ndescs;
    return buffer;
}

/* Go on to where the device uses the next descriptor */
static inline void svq_ring_skip_used(SVQRing *ring, unsigned int ndescs)
{
    ring->used_pos += ndescs;
    if (ring->used_pos >= ring->num) {
        ring->used_pos -= ring->num;
        ring->used_flags ^= 1 << VRING_PACKED_DESC_F_AVAIL |
                            1 << VRING_PACKED_DESC_F_USED;
    }
}

/*
 * In order: take the oldest buffer, if the entry is about it alone and right.
 * That is a run of one, without the search for its length.
 */
static inline bool svq_ring_take_oldest(SVQRing *ring, uint32_t id,
                                        uint32_t len, SVQUsed *used)
{
    SVQRingBuffer *buffer = &ring->buffers[ring->used_pos];

    if (id != ring->used_pos || len > buffer->in_len ||
        unlikely(ring->in_flight == ring->unpublished)) {
        return false;
    }
    used->token = buffer->token;
    used->len = len;
    buffer->token = NULL;
    ring->in_flight--;
    ring->free_descs += buffer->ndescs;
    svq_ring_skip_used(ring, buffer->ndescs);
    return true;
}

/*
 * In order: begin to take the run that ends with the buffer @id, of which the
 * device has written @len bytes.
 *
 * Returns: how many buffers that are, 0 if the ring has failed.
 */
static inline unsigned int svq_ring_begin_run(SVQRing *ring, uint32_t id,
                                              uint32_t len)
{
    SVQRingBuffer *buffer = svq_ring_used_buffer(ring, id, len);
    uint16_t oldest = ring->avail_idx - ring->in_flight;
    unsigned int count;

    if (unlikely(!buffer)) {
        return 0;
    }
    count = (uint16_t)(buffer->seq - oldest) + 1;
    if (unlikely(count > ring->in_flight - ring->unpublished)) {
        svq_ring_fail(ring, "a used entry has the ID %" PRIu32 ", which was "
                      "not made available yet", id);
        return 0;
    }
    ring->run_left = count;
    ring->run_len = len;
    return count;
}

/*
 * In order: take buffers of the run that was begun.
 *
 * Returns: how many, at most @max.
 */
static inline unsigned int svq_ring_take_run(SVQRing *ring, SVQUsed *used,
                                             unsigned int max)
{
    unsigned int i, count = MIN(ring->run_left, max);

    for (i = 0; i < count; i++) {
        SVQRingBuffer *buffer = &ring->buffers[ring->used_pos];

        used[i].token = buffer->token;
        used[i].len = buffer->in_len;
        buffer->token = NULL;
        ring->free_descs += buffer->ndescs;
        svq_ring_skip_used(ring, buffer->ndescs);
    }
    ring->run_left -= count;
    ring->in_flight -= count;
    if (count && !ring->run_left) {
        used[count - 1].len = ring->run_len;
    }
    return count;
}

#endif
