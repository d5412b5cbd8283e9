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
#include "hw/virtio/virtio-ram-map.h"

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
bool virtqueue_chain_read_split(const VirtQueueTable *table, uint16_t head,
                                VirtQueueChain *chain);

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
int virtqueue_chain_read_packed(const VirtQueueTable *table, uint16_t head,
                                bool wrap_counter, VirtQueueChain *chain);

#endif
