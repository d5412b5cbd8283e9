/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Guest RAM as the data path of a virtqueue sees it
 *
 * What may run in which thread, and why that is safe, is argued in
 * virtio-ram-map.h.
 */

#include "qemu/osdep.h"
#include "sysemu/xen.h"
#include "hw/virtio/virtio-ram-map.h"

typedef struct VirtIORamMapBuilder {
    GArray *ranges;         /* of VirtIORamRange, start and size alone */
} VirtIORamMapBuilder;

static bool virtio_ram_map_add(Int128 start, Int128 len, const MemoryRegion *mr,
                               hwaddr offset_in_region, void *opaque)
{
    VirtIORamMapBuilder *builder = opaque;
    VirtIORamRange range = {
        .start = int128_get64(start),
    };

    /*
     * What the device may only read, or has to go through a driver's mapping
     * for, is rare enough for the memory API.
     */
    if (memory_region_is_ram((MemoryRegion *)mr) &&
        !memory_region_is_ram_device((MemoryRegion *)mr) &&
        !mr->readonly && !mr->rom_device &&
        !int128_gethi(len)) {
        range.size = int128_get64(len);
        g_array_append_val(builder->ranges, range);
    }
    return false;
}

VirtIORamMap *virtio_ram_map_new(AddressSpace *as)
{
    g_autoptr(GArray) ranges = g_array_new(false, false,
                                           sizeof(VirtIORamRange));
    VirtIORamMapBuilder builder = { ranges };
    VirtIORamMap *map;
    unsigned int i;

    /* There RAM is mapped piece by piece, and unmapped when it is not used */
    if (xen_enabled()) {
        return NULL;
    }

    WITH_RCU_READ_LOCK_GUARD() {
        flatview_for_each_range(address_space_to_flatview(as),
                                virtio_ram_map_add, &builder);
    }
    map = g_malloc0(sizeof(*map) + ranges->len * sizeof(map->ranges[0]));

    for (i = 0; i < ranges->len; i++) {
        VirtIORamRange *range = &map->ranges[map->num];
        MemoryRegionCache cache;

        *range = g_array_index(ranges, VirtIORamRange, i);
        range->size = address_space_cache_init(&cache, as, range->start,
                                               range->size, true);
        if (cache.ptr && range->size) {
            /*
             * The view of all memory that comes with the cache would keep
             * more than this range.
             */
            memory_region_ref(cache.mrs.mr);
            range->map = map;
            range->host = cache.ptr;
            range->cache = cache;
            range->cache.fv = NULL;
            map->num++;
        }
        address_space_cache_destroy(&cache);
    }

    if (!map->num) {
        g_free(map);
        return NULL;
    }
    map->kept = map->num + 1;
    return map;
}

VirtIORamRange *virtio_ram_map_search(VirtIORamMap *map, hwaddr addr)
{
    unsigned int low = 0, high = map->num;

    while (low < high) {
        unsigned int middle = (low + high) / 2;
        VirtIORamRange *range = &map->ranges[middle];

        if (addr < range->start) {
            high = middle;
        } else if (addr - range->start >= range->size) {
            low = middle + 1;
        } else {
            map->last = middle;
            return range;
        }
    }
    return NULL;
}

static void virtio_ram_map_put(VirtIORamMap *map)
{
    if (qatomic_fetch_dec(&map->kept) == 1) {
        g_free_rcu(map, rcu);
    }
}

/* Called within call_rcu().  */
static void virtio_ram_range_unref(VirtIORamRange *range)
{
    memory_region_unref(range->cache.mrs.mr);
    virtio_ram_map_put(range->map);
}

void virtio_ram_range_give_up(VirtIORamRange *range)
{
    if (!qatomic_xchg(&range->given_up, true)) {
        call_rcu(range, virtio_ram_range_unref, rcu);
    }
}

/* Called within call_rcu().  */
static void virtio_ram_map_settle(VirtIORamMap *map)
{
    unsigned int i;

    for (i = 0; i < map->num; i++) {
        if (qatomic_read(&map->ranges[i].in_flight) == 0) {
            virtio_ram_range_give_up(&map->ranges[i]);
        }
    }
    virtio_ram_map_put(map);
}

void virtio_ram_map_retire(VirtIORamMap *map)
{
    if (map) {
        qatomic_set(&map->retired, true);
        call_rcu(map, virtio_ram_map_settle, rcu);
    }
}
