/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * IOVA map: where a vDPA device finds QEMU's memory
 *
 * The writer keeps the mappings as they were added, sorted by IOVA, which is
 * what a search for room wants.  Of these it makes the readers' table: sorted
 * by host address, with one mapping chosen wherever several overlap.
 *
 * What may run in which thread, and why that is safe, is argued in iova-map.h.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "hw/virtio/svq/iova-map.h"

/* What IOMMUs call a large page: pieces that have one are aligned to it */
#define SVQ_IOVA_LARGE_PAGE     (UINT64_C(2) << 20)

typedef struct SVQIOVAMapping {
    uint64_t key;
    uint64_t host;
    uint64_t size;
    uint64_t iova;
    bool readonly;
    bool published;
} SVQIOVAMapping;

static SVQIOVAMapping *iova_mapping(SVQIOVAMap *map, unsigned int i)
{
    return &g_array_index(map->mappings, SVQIOVAMapping, i);
}

SVQIOVAMap *svq_iova_map_new(uint64_t first, uint64_t last)
{
    SVQIOVAMap *map = g_new0(SVQIOVAMap, 1);

    map->first = first;
    /* UINT64_MAX stands for no address, so its page is out of use */
    map->last = MIN(last, UINT64_MAX - qemu_real_host_page_size());
    map->mappings = g_array_new(false, false, sizeof(SVQIOVAMapping));
    map->table = g_new0(SVQIOVATable, 1);
    return map;
}

void svq_iova_map_free(SVQIOVAMap *map)
{
    if (map) {
        g_array_free(map->mappings, true);
        g_free(map->table);
        g_free(map);
    }
}

/*
 * Find room for @size bytes at an address that is @offset modulo @align, from
 * @first on.
 *
 * Returns: false if there is none.  @iova is set to the address, and @place to
 * its place among the mappings.
 */
static bool iova_map_find_room(SVQIOVAMap *map, uint64_t first, uint64_t size,
                               uint64_t align, uint64_t offset,
                               uint64_t *iova, unsigned int *place)
{
    uint64_t start = first;
    unsigned int i;

    for (i = 0; i <= map->mappings->len; i++) {
        SVQIOVAMapping *next = i < map->mappings->len ? iova_mapping(map, i)
                                                      : NULL;
        uint64_t aligned = start + ((offset - start) & (align - 1));
        uint64_t end = next ? next->iova - 1 : map->last;

        if ((!next || next->iova > start) && aligned >= start &&
            aligned <= end && end - aligned >= size - 1) {
            *iova = aligned;
            *place = i;
            return true;
        }
        if (!next) {
            break;
        }
        start = next->iova + next->size;
    }
    return false;
}

bool svq_iova_map_add(SVQIOVAMap *map, uint64_t key, void *host, uint64_t size,
                      bool readonly, uint64_t *iova, Error **errp)
{
    uint64_t page = qemu_real_host_page_size();
    SVQIOVAMapping mapping = {
        .key = key,
        .host = (uintptr_t)host,
        .size = size,
        .readonly = readonly,
    };
    uint64_t first = MAX(map->first, page);
    unsigned int i;

    if (!size || (mapping.host | size) & (page - 1) ||
        mapping.host > UINT64_MAX - size) {
        error_setg(errp, "memory at 0x%" PRIx64 " of 0x%" PRIx64 " bytes is "
                   "not whole pages", mapping.host, size);
        return false;
    }
    for (i = 0; i < map->mappings->len; i++) {
        SVQIOVAMapping *other = iova_mapping(map, i);

        if (other->key == key && other->host == mapping.host) {
            error_setg(errp, "memory at 0x%" PRIx64 " with key 0x%" PRIx64
                       " is mapped already", mapping.host, key);
            return false;
        }
    }

    if (!(size >= SVQ_IOVA_LARGE_PAGE &&
          iova_map_find_room(map, first, size, SVQ_IOVA_LARGE_PAGE,
                             mapping.host, &mapping.iova, &i)) &&
        !iova_map_find_room(map, first, size, page, 0, &mapping.iova, &i) &&
        !iova_map_find_room(map, map->first, size, page, 0, &mapping.iova,
                            &i)) {
        error_setg(errp, "no room for 0x%" PRIx64 " bytes among the addresses "
                   "0x%" PRIx64 " to 0x%" PRIx64 " that the device can use",
                   size, map->first, map->last);
        return false;
    }
    g_array_insert_val(map->mappings, i, mapping);
    map->unpublished = true;
    *iova = mapping.iova;
    return true;
}

static gint iova_compare_host(gconstpointer a, gconstpointer b)
{
    const SVQIOVAMapping *left = a, *right = b;

    return left->host < right->host ? -1 : left->host > right->host;
}

/* Add a piece of a mapping to the table, or to what is there last */
static void iova_table_append(GArray *ranges, const SVQIOVAMapping *mapping,
                              uint64_t start, uint64_t end)
{
    SVQIOVARange range = {
        .host = start,
        .size = end - start,
        .iova = mapping->iova + (start - mapping->host),
        .writable = !mapping->readonly,
    };

    if (ranges->len) {
        SVQIOVARange *last = &g_array_index(ranges, SVQIOVARange,
                                            ranges->len - 1);

        if (last->host + last->size == range.host &&
            last->iova + last->size == range.iova &&
            last->writable == range.writable) {
            last->size += range.size;
            return;
        }
    }
    g_array_append_val(ranges, range);
}

/*
 * Choose one of the mappings that overlap: one that the device may write.  Of
 * several the first, which goes on being that, so as not to cut memory in two.
 */
static const SVQIOVAMapping *iova_choose(GPtrArray *active)
{
    unsigned int i;

    for (i = 0; i < active->len; i++) {
        const SVQIOVAMapping *mapping = g_ptr_array_index(active, i);

        if (!mapping->readonly) {
            return mapping;
        }
    }
    return g_ptr_array_index(active, 0);
}

/* Make ranges of @sorted that are disjoint, going up in host addresses */
static void iova_flatten(GArray *sorted, GArray *ranges)
{
    g_autoptr(GPtrArray) active = g_ptr_array_new();
    uint64_t pos = 0;
    unsigned int i = 0, k;

    while (i < sorted->len || active->len) {
        uint64_t end = UINT64_MAX;

        if (!active->len) {
            pos = g_array_index(sorted, SVQIOVAMapping, i).host;
        }
        while (i < sorted->len &&
               g_array_index(sorted, SVQIOVAMapping, i).host == pos) {
            g_ptr_array_add(active, &g_array_index(sorted, SVQIOVAMapping,
                                                   i++));
        }
        if (i < sorted->len) {
            end = g_array_index(sorted, SVQIOVAMapping, i).host;
        }
        for (k = 0; k < active->len; k++) {
            const SVQIOVAMapping *mapping = g_ptr_array_index(active, k);

            end = MIN(end, mapping->host + mapping->size);
        }

        iova_table_append(ranges, iova_choose(active), pos, end);
        pos = end;
        for (k = active->len; k-- > 0;) {
            const SVQIOVAMapping *mapping = g_ptr_array_index(active, k);

            if (mapping->host + mapping->size == end) {
                g_ptr_array_remove_index(active, k);
            }
        }
    }
}

/* Give readers a table of what is published */
static void iova_map_update(SVQIOVAMap *map)
{
    g_autoptr(GArray) sorted = g_array_new(false, false,
                                           sizeof(SVQIOVAMapping));
    g_autoptr(GArray) ranges = g_array_new(false, false, sizeof(SVQIOVARange));
    SVQIOVATable *table, *old = map->table;
    unsigned int i;

    for (i = 0; i < map->mappings->len; i++) {
        if (iova_mapping(map, i)->published) {
            g_array_append_val(sorted, *iova_mapping(map, i));
        }
    }
    g_array_sort(sorted, iova_compare_host);
    iova_flatten(sorted, ranges);

    table = g_malloc0(sizeof(*table) + ranges->len * sizeof(SVQIOVARange));
    table->num = ranges->len;
    if (ranges->len) {
        memcpy(table->ranges, ranges->data,
               ranges->len * sizeof(SVQIOVARange));
    }
    qatomic_rcu_set(&map->table, table);
    g_free_rcu(old, rcu);
}

bool svq_iova_map_remove(SVQIOVAMap *map, uint64_t key, void *host,
                         uint64_t *iova, uint64_t *size)
{
    unsigned int i;

    for (i = 0; i < map->mappings->len; i++) {
        SVQIOVAMapping *mapping = iova_mapping(map, i);

        if (mapping->key == key && mapping->host == (uintptr_t)host) {
            bool published = mapping->published;

            *iova = mapping->iova;
            *size = mapping->size;
            g_array_remove_index(map->mappings, i);
            if (published) {
                iova_map_update(map);
            }
            return true;
        }
    }
    return false;
}

void svq_iova_map_publish(SVQIOVAMap *map)
{
    unsigned int i;

    if (!map->unpublished) {
        return;
    }
    for (i = 0; i < map->mappings->len; i++) {
        iova_mapping(map, i)->published = true;
    }
    map->unpublished = false;
    iova_map_update(map);
}

const SVQIOVARange *svq_iova_table_search(const SVQIOVATable *table,
                                          SVQIOVAHint *hint, uint64_t host)
{
    unsigned int low = 0, high = table->num;

    while (low < high) {
        unsigned int middle = low + (high - low) / 2;
        const SVQIOVARange *range = &table->ranges[middle];

        if (host < range->host) {
            high = middle;
        } else if (host - range->host >= range->size) {
            low = middle + 1;
        } else {
            hint->last = middle;
            return range;
        }
    }
    return NULL;
}
