/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * IOVA map: where a vDPA device finds QEMU's memory
 *
 * A device behind an IOMMU is given addresses of its own for guest RAM and for
 * the rings of the shadow virtqueues.  The map chooses them, in the range that
 * the device can use, and translates for the data path.
 *
 * The same host memory may be mapped more than once, because guest RAM can
 * appear at several guest addresses: each mapping has its own key and IOVA,
 * and a translation finds one that allows the access.
 *
 * Threads.  The holder of the BQL adds and removes.  Readers take no lock: they
 * look up in a table that never changes, in an RCU critical section; a change
 * makes a new table and leaves the old one to call_rcu().  The last hit is
 * remembered in a hint that belongs to the reader's thread.
 */

#ifndef HW_VIRTIO_SVQ_IOVA_MAP_H
#define HW_VIRTIO_SVQ_IOVA_MAP_H

#include "qemu/atomic.h"
#include "qemu/rcu.h"

/* Memory that lies together both for the host and for the device */
typedef struct SVQIOVARange {
    uint64_t host;
    uint64_t size;
    uint64_t iova;
    bool writable;
} SVQIOVARange;

/* What readers look up in; private to this header and iova-map.c. */
typedef struct SVQIOVATable {
    struct rcu_head rcu;
    unsigned int num;
    SVQIOVARange ranges[];      /* disjoint, by host address */
} SVQIOVATable;

/* Private to this header and iova-map.c, too */
typedef struct SVQIOVAMap {
    SVQIOVATable *table;        /* RCU; never NULL */
    uint64_t first;             /* addresses that the device can use */
    uint64_t last;
    GArray *mappings;           /* by IOVA; the writer's */
    bool unpublished;           /* some are not in the table yet */
} SVQIOVAMap;

/* A reader's memory of where it last found something; zeroed at first */
typedef struct SVQIOVAHint {
    unsigned int last;
} SVQIOVAHint;

/**
 * svq_iova_map_new:
 * @first: lowest address that the device can use
 * @last: highest
 *
 * Context: BQL.
 *
 * Returns: an empty map, for svq_iova_map_free().
 */
SVQIOVAMap *svq_iova_map_new(uint64_t first, uint64_t last);

/* Context: BQL; no reader is left.  @map may be NULL. */
void svq_iova_map_free(SVQIOVAMap *map);

/**
 * svq_iova_map_add:
 * @key: tells this mapping from others of the same memory
 * @host: start of the memory, aligned to a host page
 * @size: bytes, whole host pages
 * @readonly: the device may only read
 * @iova: set to where the device will find it
 * @errp: set when there is no room, when @key and @host are there already, or
 *        when @host or @size is not as it should be
 *
 * Choose an address for a piece of memory.  The device has to be told before
 * readers can use it; so readers find it only after svq_iova_map_publish().
 * Pieces of the size of a large page are put, where there is room, at an
 * address as well aligned as @host is, so that an IOMMU can use large pages.
 * Address 0, which some devices take for none, is given only to what has no
 * room anywhere else.
 *
 * Context: BQL.
 *
 * Returns: false with @errp set on failure.
 */
bool svq_iova_map_add(SVQIOVAMap *map, uint64_t key, void *host, uint64_t size,
                      bool readonly, uint64_t *iova, Error **errp);

/**
 * svq_iova_map_remove:
 * @key, @host: as they were added
 * @iova: set to the device's address
 * @size: set to the bytes
 *
 * Readers do not find the mapping any more, but for those in an RCU critical
 * section now.
 *
 * Context: BQL.
 *
 * Returns: false if it is not there.
 */
bool svq_iova_map_remove(SVQIOVAMap *map, uint64_t key, void *host,
                         uint64_t *iova, uint64_t *size);

/**
 * svq_iova_map_publish:
 *
 * Let readers find what was added since the last call.
 *
 * Context: BQL.
 */
void svq_iova_map_publish(SVQIOVAMap *map);

/* For svq_iova_map_translate() alone: the range that @host is in, or NULL */
const SVQIOVARange *svq_iova_table_search(const SVQIOVATable *table,
                                          SVQIOVAHint *hint, uint64_t host);

/**
 * svq_iova_map_translate:
 * @hint: the reader's
 * @host: address of the first byte
 * @len: bytes, not 0
 * @write: whether the device will write
 * @run: set to how many bytes from there on lie together, 1 to @len
 *
 * Context: RCU critical section.
 *
 * Returns: the address for the device, or UINT64_MAX if the first byte is
 * mapped nowhere, or not for writing.
 */
static inline uint64_t svq_iova_map_translate(SVQIOVAMap *map,
                                              SVQIOVAHint *hint,
                                              const void *host, uint64_t len,
                                              bool write, uint64_t *run)
{
    const SVQIOVATable *table = qatomic_rcu_read(&map->table);
    uint64_t addr = (uintptr_t)host;
    const SVQIOVARange *range;

    /* The hint may be of another table */
    if (likely(hint->last < table->num &&
               addr - table->ranges[hint->last].host <
               table->ranges[hint->last].size)) {
        range = &table->ranges[hint->last];
    } else {
        range = svq_iova_table_search(table, hint, addr);
    }
    if (unlikely(!range || (write && !range->writable))) {
        return UINT64_MAX;
    }
    *run = MIN(len, range->size - (addr - range->host));
    return range->iova + (addr - range->host);
}

#endif
