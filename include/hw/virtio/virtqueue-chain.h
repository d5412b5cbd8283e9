/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Descriptor chains: what a driver has put into a virtqueue
 *
 * A chain is read out of guest memory once, checked, and from then on used from
 * the copy, because the driver may change its memory at any time.  Whatever it
 * writes there, reading ends, and stays inside the table.
 */

#ifndef HW_VIRTIO_VIRTQUEUE_CHAIN_H
#define HW_VIRTIO_VIRTQUEUE_CHAIN_H

#include "hw/virtio/virtio.h"
#include "hw/virtio/virtio-access.h"
#include "hw/virtio/virtio-ram-map.h"
#include "standard-headers/linux/virtio_ring.h"

/* Where chains are read from; lives no longer than an RCU critical section */
typedef struct VirtQueueTable {
    VirtQueue *vq;              /* for messages */
    VirtIODevice *vdev;
    MemoryRegionCache *desc;    /* descriptor table or ring, of @num entries */
    VirtIORamMap *ram;          /* may be NULL */
    unsigned int num;
    bool in_order;              /* VIRTIO_F_IN_ORDER is negotiated */
    bool quiet;                 /* leave a chain that breaks a rule for later */
} VirtQueueTable;

/* The device-readable buffers come first, as they do in the ring */
typedef struct VirtQueueChain {
    uint16_t id;                /* head (split), buffer ID (packed) */
    uint16_t ndescs;            /* as in VirtQueueElement */
    unsigned int out_num;
    unsigned int in_num;
    hwaddr addr[VIRTQUEUE_MAX_SIZE];
    uint32_t len[VIRTQUEUE_MAX_SIZE];
} VirtQueueChain;

/* A descriptor as the driver writes it; VIRTIO 1.2, section 2.7.5 */
typedef struct VirtQueueSplitDesc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags;
    uint16_t next;
} VirtQueueSplitDesc;

/* Copy descriptor @i of @cache; private */
static inline void virtqueue_split_desc_read(const VirtQueueTable *table,
                                             MemoryRegionCache *cache,
                                             unsigned int i,
                                             VirtQueueSplitDesc *desc)
{
    address_space_read_cached(cache, i * sizeof(*desc), desc, sizeof(*desc));
    barrier();
    virtio_tswap64s(table->vdev, &desc->addr);
    virtio_tswap32s(table->vdev, &desc->len);
    virtio_tswap16s(table->vdev, &desc->flags);
    virtio_tswap16s(table->vdev, &desc->next);
}

/* virtqueue_chain_read_split() for any chain */
bool virtqueue_chain_read_split_any(const VirtQueueTable *table, uint16_t head,
                                    VirtQueueChain *chain);

/**
 * virtqueue_chain_read_split:
 * @table: the descriptor table
 * @head: index of the first descriptor, less than @table->num
 * @chain: filled in on success
 *
 * Read a chain of a split ring (VIRTIO 1.2, section 2.7.5).
 *
 * Context: the queue's thread, in an RCU critical section.
 *
 * Returns: false if the driver broke a rule; the device is marked broken then,
 * with a message that tells the rule, unless @table->quiet.
 */
static inline bool virtqueue_chain_read_split(const VirtQueueTable *table,
                                              uint16_t head,
                                              VirtQueueChain *chain)
{
    VirtQueueSplitDesc desc;

    /* Most are one plain descriptor; whatever else it is, it is read again */
    virtqueue_split_desc_read(table, table->desc, head, &desc);
    if (desc.flags & (VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT) || !desc.len) {
        return virtqueue_chain_read_split_any(table, head, chain);
    }

    chain->id = head;
    chain->ndescs = 1;
    chain->in_num = !!(desc.flags & VRING_DESC_F_WRITE);
    chain->out_num = !chain->in_num;
    chain->addr[0] = desc.addr;
    chain->len[0] = desc.len;
    return true;
}

/* A descriptor as the driver writes it; VIRTIO 1.2, section 2.8 */
typedef struct VirtQueuePackedDesc {
    uint64_t addr;
    uint32_t len;
    uint16_t id;
    uint16_t flags;
} VirtQueuePackedDesc;

/* Copy descriptor @i of @cache; private */
static inline void virtqueue_packed_desc_read(const VirtQueueTable *table,
                                              MemoryRegionCache *cache,
                                              unsigned int i,
                                              VirtQueuePackedDesc *desc)
{
    address_space_read_cached(cache, i * sizeof(*desc), desc, sizeof(*desc));
    barrier();
    virtio_tswap64s(table->vdev, &desc->addr);
    virtio_tswap32s(table->vdev, &desc->len);
    virtio_tswap16s(table->vdev, &desc->id);
    virtio_tswap16s(table->vdev, &desc->flags);
}

/*
 * Copy the first descriptor of a chain; false if the driver has not made it
 * available.  Private.
 */
static inline bool virtqueue_packed_head_read(const VirtQueueTable *table,
                                              unsigned int i, bool wrap_counter,
                                              VirtQueuePackedDesc *desc)
{
    uint16_t flags = virtio_lduw_phys_cached(table->vdev, table->desc,
                                             i * sizeof(*desc) +
                                             offsetof(VirtQueuePackedDesc,
                                                      flags));
    bool avail = flags & BIT(VRING_PACKED_DESC_F_AVAIL);
    bool used = flags & BIT(VRING_PACKED_DESC_F_USED);

    if (avail == used || avail != wrap_counter) {
        return false;
    }
    /* The flags are written last, so what they vouch for is read after them */
    smp_rmb();
    virtqueue_packed_desc_read(table, table->desc, i, desc);
    desc->flags = flags;
    return true;
}

/* virtqueue_chain_read_packed() for any chain */
int virtqueue_chain_read_packed_any(const VirtQueueTable *table, uint16_t head,
                                    bool wrap_counter, VirtQueueChain *chain);

/**
 * virtqueue_chain_read_packed:
 * @table: the descriptor ring
 * @head: position of the first descriptor, less than @table->num
 * @wrap_counter: the device's wrap counter at that position
 * @chain: filled in on success
 *
 * Read a chain of a packed ring, if there is one (VIRTIO 1.2, section 2.8).
 *
 * Context: the queue's thread, in an RCU critical section.
 *
 * Returns: 1, or 0 if none is available at @head, or -1 if the driver broke a
 * rule; the device is marked broken then, with a message that tells the rule,
 * unless @table->quiet.
 */
static inline int virtqueue_chain_read_packed(const VirtQueueTable *table,
                                              uint16_t head, bool wrap_counter,
                                              VirtQueueChain *chain)
{
    VirtQueuePackedDesc desc;

    if (!virtqueue_packed_head_read(table, head, wrap_counter, &desc)) {
        return 0;
    }
    if (desc.flags & (VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT) || !desc.len) {
        return virtqueue_chain_read_packed_any(table, head, wrap_counter,
                                               chain);
    }

    chain->id = desc.id;
    chain->ndescs = 1;
    chain->in_num = !!(desc.flags & VRING_DESC_F_WRITE);
    chain->out_num = !chain->in_num;
    chain->addr[0] = desc.addr;
    chain->len[0] = desc.len;
    return 1;
}

#endif
