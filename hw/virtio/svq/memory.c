/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Shadow virtqueues of a vhost-vdpa device: the guest's memory
 *
 * Without shadow virtqueues a device sees what the guest sees, section by
 * section.  With them it uses addresses that QEMU chooses, so it does not
 * matter where in the guest's address space some RAM is, or how often: each RAM
 * region is mapped once and whole, from the moment when a first part of it is
 * in the guest's memory until the last one is gone.  When firmware shuffles
 * sections of the same RAM, nothing changes for the device, and buffers in
 * flight stay where they are.
 *
 * Which access a guest's buffer allows is decided when it is popped, from the
 * guest's view; the mapping adds that no device writes to what is ROM
 * everywhere.
 *
 * Everything here runs under the BQL, called by the memory listener.
 */

#include "qemu/osdep.h"
#include "exec/memory.h"
#include "hw/virtio/svq/device.h"
#include "hw/virtio/svq/vdpa.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "trace.h"

typedef struct SVQBlock {
    MemoryRegion *mr;           /* held while it is in the table */
    unsigned int sections;      /* parts of it that the guest sees */
    uint8_t *host;              /* what is mapped */
    uint64_t size;
    uint64_t iova;
    bool mapped;
} SVQBlock;

static void svq_block_free(void *opaque)
{
    SVQBlock *block = opaque;

    memory_region_unref(block->mr);
    g_free(block);
}

static SVQBlock *svq_block_find(SVQDevice *dev, MemoryRegion *mr)
{
    return dev->blocks ? g_hash_table_lookup(dev->blocks, mr) : NULL;
}

/* Is it memory that a driver has buffers in, and that may be mapped? */
static bool svq_is_ram(MemoryRegionSection *section)
{
    return memory_region_is_ram(section->mr) &&
           !memory_region_is_protected(section->mr) &&
           !memory_region_is_ram_device(section->mr);
}

void vhost_vdpa_svq_region_add(struct vhost_vdpa *v,
                               MemoryRegionSection *section)
{
    SVQDevice *dev = v->svq;
    SVQBlock *block = svq_block_find(dev, section->mr);

    if (!svq_is_ram(section)) {
        return;
    }
    if (!dev->blocks) {
        dev->blocks = g_hash_table_new_full(NULL, NULL, NULL, svq_block_free);
    }
    if (!block) {
        block = g_new0(SVQBlock, 1);
        block->mr = section->mr;
        memory_region_ref(block->mr);
        g_hash_table_insert(dev->blocks, block->mr, block);
    }
    block->sections++;
}

void vhost_vdpa_svq_region_del(struct vhost_vdpa *v,
                               MemoryRegionSection *section)
{
    SVQBlock *block = svq_block_find(v->svq, section->mr);

    if (block && svq_is_ram(section)) {
        block->sections--;
    }
}

static bool svq_block_readonly(const SVQBlock *block)
{
    return block->mr->readonly || block->mr->rom_device;
}

static void svq_block_unmap(struct vhost_vdpa *v, SVQBlock *block)
{
    uint64_t iova, size;

    if (!block->mapped) {
        return;
    }
    block->mapped = false;
    trace_svq_memory_unmap(v->svq, memory_region_name(block->mr), block->iova,
                           block->size);
    if (svq_iova_map_remove(v->svq->map, 0, block->host, &iova, &size)) {
        vhost_vdpa_iotlb_batch_begin_once(v);
        vhost_vdpa_dma_unmap(v, iova, size);
    }
}

/* Returns whether it is mapped now */
static bool svq_block_map(struct vhost_vdpa *v, SVQBlock *block, Error **errp)
{
    SVQDevice *dev = v->svq;
    uint64_t iova, size;
    int ret;

    if (!svq_iova_map_add(dev->map, 0, block->host, block->size,
                          svq_block_readonly(block), &block->iova, errp)) {
        return false;
    }
    vhost_vdpa_iotlb_batch_begin_once(v);
    ret = vhost_vdpa_dma_map(v, block->iova, block->size, block->host,
                             svq_block_readonly(block));
    if (ret) {
        svq_iova_map_remove(dev->map, 0, block->host, &iova, &size);
        error_setg(errp, "the device does not accept it");
        error_append_hint(errp, "The limit of memory that the QEMU process may "
                          "lock (ulimit -l) has to be greater than the guest's "
                          "memory.\n");
        return false;
    }
    trace_svq_memory_map(dev, memory_region_name(block->mr), block->iova,
                         block->size);
    block->mapped = true;
    return true;
}

void vhost_vdpa_svq_memory_commit(struct vhost_vdpa *v)
{
    SVQDevice *dev = v->svq;
    size_t page = qemu_real_host_page_size();
    GHashTableIter iter;
    void *value;

    if (!dev->blocks) {
        return;
    }

    /* What goes makes room for what comes */
    g_hash_table_iter_init(&iter, dev->blocks);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        SVQBlock *block = value;
        uint64_t size = block->sections ?
            ROUND_UP(memory_region_size(block->mr), page) : 0;

        if (block->mapped && block->size != size) {
            svq_block_unmap(v, block);
        }
        if (!block->sections) {
            g_hash_table_iter_remove(&iter);
        }
    }

    dev->memory_failed = false;
    g_hash_table_iter_init(&iter, dev->blocks);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        SVQBlock *block = value;
        Error *err = NULL;

        if (block->mapped) {
            continue;
        }
        block->host = memory_region_get_ram_ptr(block->mr);
        block->size = ROUND_UP(memory_region_size(block->mr), page);
        if (!QEMU_PTR_IS_ALIGNED(block->host, page)) {
            /* Not RAM that QEMU has allocated, so no memory of buffers */
            trace_svq_memory_skip(dev, memory_region_name(block->mr));
            continue;
        }
        if (!svq_block_map(v, block, &err)) {
            dev->memory_failed = true;
            error_reportf_err(err, "netdev '%s': %" PRIu64 " bytes of guest "
                              "memory '%s' cannot be mapped for the vDPA "
                              "device: ", dev->netdev, block->size,
                              memory_region_name(block->mr));
        }
    }
}

void vhost_vdpa_svq_memory_publish(struct vhost_vdpa *v)
{
    svq_iova_map_publish(v->svq->map);
}
