/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Guest RAM as the data path of a virtqueue sees it
 *
 * A virtqueue looks an address up for each descriptor, and has to keep the RAM
 * behind it until the device is done with the buffer.  Going through the
 * memory API for that costs a search from the root of the address space, an
 * RCU critical section and two atomic operations on a counter that all queues
 * share.  A RAM map is the same knowledge in the form that the data path wants:
 * a sorted table of the ranges that are plain RAM, and for each a count of the
 * buffers in flight that only the queue's own thread touches.
 *
 * A map never changes.  When the guest's memory does, its queue gets another
 * one, as it gets other caches of its rings.
 *
 * Threads.  The one that runs the queue looks up, holds and releases.  The
 * holder of the BQL makes a map and, once no reader can find it any more,
 * retires it.  A range is given up by whoever is later, the retirement or the
 * release of the last buffer in flight:
 *
 *   - a lookup happens in the RCU critical section in which the map was found,
 *     and a retirement after a grace period, so no buffer starts to hold a
 *     range of a retired map, and the retirement sees all that hold one;
 *   - a release writes the count and then reads whether the map is retired, in
 *     an RCU critical section; the retirement writes that it is, and reads the
 *     count after another grace period.  A release that does not see the
 *     retirement is over by then, and its count is seen.  So at least one of
 *     them sees the other, without a barrier where the traffic is; where both
 *     do, an atomic exchange picks one;
 *   - the map is freed after yet another grace period, so that the loser still
 *     finds it.
 *
 * Without a buffer in flight a retired map keeps no RAM, so memory can be
 * unplugged under an idle queue; with one, it keeps just the ranges concerned.
 */

#ifndef HW_VIRTIO_VIRTIO_RAM_MAP_H
#define HW_VIRTIO_VIRTIO_RAM_MAP_H

#include "exec/memory.h"
#include "qemu/rcu.h"

typedef struct VirtIORamMap VirtIORamMap;

typedef struct VirtIORamRange {
    struct rcu_head rcu;
    VirtIORamMap *map;
    hwaddr start;               /* in the device's address space */
    hwaddr size;
    uint8_t *host;
    unsigned int in_flight;     /* descriptors held */
    bool given_up;
    MemoryRegionCache cache;    /* for marking pages dirty */
} VirtIORamRange;

/* The members are private to this header and virtio-ram-map.c. */
struct VirtIORamMap {
    struct rcu_head rcu;
    bool retired;
    unsigned int kept;          /* ranges not given up; 1 for the retirement */
    unsigned int last;          /* the range found last */
    unsigned int num;
    VirtIORamRange ranges[];    /* by address */
};

/**
 * virtio_ram_map_new:
 * @as: the device's address space
 *
 * Make a map of what is RAM in @as at this moment.
 *
 * Context: BQL.
 *
 * Returns: the map, for virtio_ram_map_retire(), or NULL if there is no RAM
 * that can be accessed directly, as behind an IOMMU or on Xen.
 */
VirtIORamMap *virtio_ram_map_new(AddressSpace *as);

/**
 * virtio_ram_map_retire:
 * @map: a map that no reader can find any more; may be NULL
 *
 * Give the map up.  It goes away with the last buffer that holds a part of it.
 *
 * Context: BQL, after a grace period; a callback of call_rcu() has both.
 */
void virtio_ram_map_retire(VirtIORamMap *map);

/**
 * virtio_ram_map_search:
 * @map: the map
 * @addr: address in the device's address space
 *
 * Context: the queue's thread, in an RCU critical section.
 *
 * Returns: the range that @addr is in, or NULL.
 */
VirtIORamRange *virtio_ram_map_search(VirtIORamMap *map, hwaddr addr);

/**
 * virtio_ram_map_find:
 * @map: the map
 * @addr: address in the device's address space
 * @len: bytes, may be 0
 *
 * Context: the queue's thread, in an RCU critical section.
 *
 * Returns: the range that all the bytes are in, or NULL if there is none.
 */
static inline VirtIORamRange *virtio_ram_map_find(VirtIORamMap *map,
                                                  hwaddr addr, hwaddr len)
{
    VirtIORamRange *range = &map->ranges[map->last];

    if (unlikely(addr - range->start >= range->size)) {
        range = virtio_ram_map_search(map, addr);
        if (!range) {
            return NULL;
        }
    }
    return len <= range->size - (addr - range->start) ? range : NULL;
}

/**
 * virtio_ram_range_host:
 * @range: a range
 * @addr: address in the device's address space, in @range
 *
 * Returns: where the byte is in QEMU's memory; valid in the RCU critical
 * section, and as long as the range is held.
 */
static inline void *virtio_ram_range_host(VirtIORamRange *range, hwaddr addr)
{
    return range->host + (addr - range->start);
}

/**
 * virtio_ram_range_hold:
 * @range: a range of a map that was found in this RCU critical section
 *
 * Keep the RAM of the range until virtio_ram_range_release().
 *
 * Context: the queue's thread, in an RCU critical section.
 */
static inline void virtio_ram_range_hold(VirtIORamRange *range)
{
    qatomic_set(&range->in_flight, range->in_flight + 1);
}

/**
 * virtio_ram_range_give_up:
 * @range: a range of a retired map that nobody holds
 *
 * Have the reference to the range's RAM dropped, unless it was given up before.
 * That happens in a callback of call_rcu(), which has the BQL: the last
 * reference of a memory region that was unplugged may not go away without it.
 *
 * Context: any thread, in an RCU critical section or in a callback of
 * call_rcu().
 */
void virtio_ram_range_give_up(VirtIORamRange *range);

/**
 * virtio_ram_range_release:
 * @map: the map of @range
 * @range: a range that was held
 *
 * The end of one virtio_ram_range_hold().
 *
 * Context: the queue's thread, in an RCU critical section.
 */
static inline void virtio_ram_range_release(VirtIORamMap *map,
                                            VirtIORamRange *range)
{
    unsigned int in_flight = range->in_flight - 1;

    qatomic_set(&range->in_flight, in_flight);
    if (in_flight == 0 && unlikely(qatomic_read(&map->retired))) {
        virtio_ram_range_give_up(range);
    }
}

/**
 * virtio_ram_range_dirty:
 * @range: a range that is held
 * @host: where bytes were written, as virtio_ram_range_host() gives it
 * @len: how many; what is beyond the range is left out
 *
 * Let migration, and whoever else watches the guest's memory, know.
 *
 * Context: the queue's thread, in an RCU critical section.
 */
static inline void virtio_ram_range_dirty(VirtIORamRange *range, void *host,
                                          hwaddr len)
{
    hwaddr offset = (uint8_t *)host - range->host;

    if (len && offset < range->size) {
        address_space_cache_invalidate(&range->cache, offset,
                                       MIN(len, range->size - offset));
    }
}

#endif
