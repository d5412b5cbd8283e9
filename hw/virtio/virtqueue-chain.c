/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Descriptor chains: what a driver has put into a virtqueue
 *
 * Split and packed stand side by side, function for function.  Each descriptor
 * is copied before it is looked at, with a compiler barrier behind, so that a
 * check and what follows it never see two versions.
 *
 * Locking: the functions touch the table and the chain only.  They run in the
 * thread that runs the queue, in an RCU critical section, which is what keeps
 * the memory behind the table.
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "hw/virtio/virtio.h"
#include "hw/virtio/virtio-access.h"
#include "hw/virtio/virtqueue-chain.h"
#include "standard-headers/linux/virtio_ring.h"

QEMU_BUILD_BUG_ON(sizeof(VirtQueueSplitDesc) != sizeof(VirtQueuePackedDesc));

#define chain_error(table, ...)                         \
    do {                                                \
        if (!(table)->quiet) {                          \
            virtqueue_error((table)->vq, __VA_ARGS__);  \
        }                                               \
    } while (0)

/*
 * Make a descriptor's buffer the table to go on with.  @indirect is to be
 * destroyed with address_space_cache_destroy().
 */
static bool chain_open_indirect(const VirtQueueTable *table, hwaddr addr,
                                uint32_t len, MemoryRegionCache *indirect)
{
    VirtIORamRange *range;

    if (!len || len % sizeof(VirtQueueSplitDesc)) {
        chain_error(table, "an indirect table of %" PRIu32 " bytes is "
                    "no whole number of descriptors", len);
        return false;
    }

    range = table->ram ? virtio_ram_map_find(table->ram, addr, len) : NULL;
    if (range) {
        /* The map keeps it for this RCU critical section: no reference */
        *indirect = (MemoryRegionCache) {
            .ptr = virtio_ram_range_host(range, addr),
            .len = len,
        };
    } else if (address_space_cache_init(indirect, table->vdev->dma_as,
                                        addr, len, false) < len) {
        chain_error(table, "the indirect table of %" PRIu32 " bytes at "
                    "0x%" HWADDR_PRIx " is not all in one memory region",
                    len, addr);
        return false;
    }
    return true;
}

static inline bool chain_add(const VirtQueueTable *table, VirtQueueChain *chain,
                             hwaddr addr, uint32_t len, uint16_t flags)
{
    unsigned int n = chain->out_num + chain->in_num;

    if (unlikely(!len)) {
        chain_error(table, "a descriptor of length 0");
        return false;
    }
    if (unlikely(n == VIRTQUEUE_MAX_SIZE)) {
        chain_error(table, "a chain of more than %d descriptors",
                    VIRTQUEUE_MAX_SIZE);
        return false;
    }
    if (flags & VRING_DESC_F_WRITE) {
        chain->in_num++;
    } else if (likely(!chain->in_num)) {
        chain->out_num++;
    } else {
        chain_error(table, "a device-readable descriptor after a "
                    "device-writable one");
        return false;
    }
    chain->addr[n] = addr;
    chain->len[n] = len;
    return true;
}

bool virtqueue_chain_read_split_any(const VirtQueueTable *table, uint16_t head,
                                    VirtQueueChain *chain)
{
    MemoryRegionCache indirect = MEMORY_REGION_CACHE_INVALID;
    MemoryRegionCache *cache = table->desc;
    unsigned int i = head, num = table->num, n = 0;
    bool ok = false;
    VirtQueueSplitDesc desc;

    chain->id = head;
    chain->ndescs = 1;
    chain->out_num = chain->in_num = 0;

    for (;;) {
        virtqueue_split_desc_read(table, cache, i, &desc);
        if ((desc.flags & VRING_DESC_F_INDIRECT) && cache == table->desc) {
            /* It ends the chain, whatever else it says (section 2.7.5.3) */
            if (!chain_open_indirect(table, desc.addr, desc.len, &indirect)) {
                break;
            }
            cache = &indirect;
            num = desc.len / sizeof(desc);
            i = n = 0;
            continue;
        }

        if (!chain_add(table, chain, desc.addr, desc.len, desc.flags)) {
            break;
        }
        if (!(desc.flags & VRING_DESC_F_NEXT)) {
            ok = true;
            break;
        }
        if (unlikely(++n == num)) {
            chain_error(table, "the chain of descriptor %u is a loop",
                        head);
            break;
        }
        if (unlikely(desc.next >= num)) {
            chain_error(table, "descriptor %u leads to %u in a table "
                        "of %u", i, desc.next, num);
            break;
        }
        if (unlikely(table->in_order && cache == table->desc &&
                     desc.next != (i + 1 == num ? 0 : i + 1))) {
            chain_error(table, "VIRTIO_F_IN_ORDER was negotiated, but "
                        "descriptor %u leads to %u, not to the one that "
                        "follows it in the table", i, desc.next);
            break;
        }
        i = desc.next;
    }

    address_space_cache_destroy(&indirect);
    return ok;
}

int virtqueue_chain_read_packed_any(const VirtQueueTable *table, uint16_t head,
                                    bool wrap_counter, VirtQueueChain *chain)
{
    MemoryRegionCache indirect = MEMORY_REGION_CACHE_INVALID;
    unsigned int i = head, num = table->num, n = 0;
    int ret = -1;
    VirtQueuePackedDesc desc;

    if (!virtqueue_packed_head_read(table, i, wrap_counter, &desc)) {
        return 0;
    }

    chain->id = desc.id;
    chain->ndescs = 1;
    chain->out_num = chain->in_num = 0;

    if (desc.flags & VRING_DESC_F_INDIRECT) {
        /* All of the table is the chain: there is no NEXT in it (2.8.7) */
        if (!chain_open_indirect(table, desc.addr, desc.len, &indirect)) {
            goto out;
        }
        num = desc.len / sizeof(desc);
        for (n = 0; n < num; n++) {
            virtqueue_packed_desc_read(table, &indirect, n, &desc);
            if (!chain_add(table, chain, desc.addr, desc.len, desc.flags)) {
                goto out;
            }
        }
        ret = 1;
        goto out;
    }

    for (;;) {
        if (!chain_add(table, chain, desc.addr, desc.len, desc.flags)) {
            goto out;
        }
        n++;
        if (!(desc.flags & VRING_DESC_F_NEXT)) {
            break;
        }
        if (unlikely(n == num)) {
            chain_error(table, "the chain at descriptor %u is a loop",
                        head);
            goto out;
        }
        i = i + 1 == num ? 0 : i + 1;
        virtqueue_packed_desc_read(table, table->desc, i, &desc);
    }
    /* Only the last descriptor of a chain has to carry the buffer ID (2.8.6) */
    chain->id = desc.id;
    chain->ndescs = n;
    ret = 1;

out:
    address_space_cache_destroy(&indirect);
    return ret;
}
