/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vdpa-sim: the IOTLB messages of <linux/vhost.h>
 *
 * Everything runs in the thread of QEMU that called, under SimDevice.lock.  How
 * the workers learn of another address space is in device.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <linux/vhost.h>

#include "device.h"

#define BACKEND(dev, bit) (!!((dev)->acked_backend & (1ull << (bit))))

/*
 * Puts a new address space into force.  No queue uses the old one, or anything
 * that is no longer mapped, when this returns.
 */
static void commit(SimDevice *dev, uint32_t asid)
{
    SimAddressSpace *as = &dev->as[asid];
    SimIotlb *old;
    uint64_t bytes = 0;
    unsigned i;

    if (!as->next) {
        return;
    }
    for (i = 0; i < as->next->num; i++) {
        bytes += as->next->map[i].last - as->next->map[i].first + 1;
    }
    sim_set(&dev->sim->state.mappings[asid], as->next->num);
    __atomic_store_n(&dev->sim->state.mapped[asid], bytes, __ATOMIC_RELEASE);

    old = __atomic_exchange_n(&as->tlb, as->next, __ATOMIC_ACQ_REL);
    as->next = NULL;
    for (i = 0; i < dev->num_queues; i++) {
        SimQueue *q = &dev->queue[i];

        if (q->running) {
            sim_queue_lock(q);
            sim_queue_unlock(q);
            sim_queue_wake(q);
        }
    }
    free(old);
}

static int iotlb_change(SimDevice *dev, uint32_t asid, SimIotlb *tlb)
{
    SimAddressSpace *as = &dev->as[asid];

    free(as->next);
    as->next = tlb;
    if (!dev->in_batch) {
        commit(dev, asid);
    }
    return 0;
}

static int iotlb_update(SimDevice *dev, uint32_t asid,
                        const struct vhost_iotlb_msg *msg)
{
    VdpaSimConfig *config = &dev->sim->config;
    SimAddressSpace *as = &dev->as[asid];
    SimMapping add = {
        .first = msg->iova,
        .last = msg->iova + (msg->size - 1),
        .uaddr = msg->uaddr,
        .perm = msg->perm,
    };
    uint64_t page = sim_page_size() - 1;
    SimIotlb *tlb;
    int error;

    /* Pages are what the kernel can map */
    if ((msg->iova | msg->size | msg->uaddr) & page ||
        !msg->size || add.last < add.first || add.first < config->iova_first ||
        add.last > config->iova_last || !msg->perm ||
        msg->perm & ~VHOST_ACCESS_RW) {
        return -EINVAL;
    }
    tlb = sim_iotlb_add(as->next ? as->next : as->tlb, &add, &error);
    sim_count(&dev->sim->state.iotlb_updates, 1);
    return tlb ? iotlb_change(dev, asid, tlb) : error;
}

static int iotlb_invalidate(SimDevice *dev, uint32_t asid,
                            const struct vhost_iotlb_msg *msg)
{
    SimAddressSpace *as = &dev->as[asid];
    SimIotlb *tlb;
    bool cut;

    if (!msg->size || msg->iova + (msg->size - 1) < msg->iova) {
        return -EINVAL;
    }
    tlb = sim_iotlb_del(as->next ? as->next : as->tlb, msg->iova,
                        msg->iova + (msg->size - 1), &cut);
    if (!tlb) {
        return -ENOMEM;
    }
    if (cut) {
        sim_violation(dev, VDPA_SIM_ANY, "unmapping 0x%llx bytes at 0x%llx "
                      "cuts a mapping", (unsigned long long)msg->size,
                      (unsigned long long)msg->iova);
    }
    sim_count(&dev->sim->state.iotlb_invalidates, 1);
    return iotlb_change(dev, asid, tlb);
}

static int iotlb_message(SimDevice *dev, uint32_t asid,
                         const struct vhost_iotlb_msg *msg)
{
    int64_t value;

    if (asid >= dev->num_as) {
        return -EINVAL;
    }
    if (sim_fault(dev, VDPA_SIM_FAULT_IOTLB, VDPA_SIM_ANY, msg->type, &value)) {
        return -value;
    }
    if (dev->in_batch && dev->batch_asid != asid) {
        return -EINVAL;
    }
    switch (msg->type) {
    case VHOST_IOTLB_UPDATE:
        return iotlb_update(dev, asid, msg);
    case VHOST_IOTLB_INVALIDATE:
        return iotlb_invalidate(dev, asid, msg);
    case VHOST_IOTLB_BATCH_BEGIN:
        if (!BACKEND(dev, VHOST_BACKEND_F_IOTLB_BATCH)) {
            return -EINVAL;
        }
        dev->in_batch = true;
        dev->batch_asid = asid;
        return 0;
    case VHOST_IOTLB_BATCH_END:
        if (!dev->in_batch) {
            return -EINVAL;
        }
        dev->in_batch = false;
        commit(dev, asid);
        sim_count(&dev->sim->state.iotlb_batches, 1);
        return 0;
    default:
        return -EINVAL;
    }
}

ssize_t sim_device_message(SimDevice *dev, const void *buf, size_t len)
{
    struct vhost_msg_v2 v2;
    struct vhost_msg v1;
    struct vhost_iotlb_msg msg;
    uint32_t asid = 0;
    int type, ret = -EINVAL;

    if (len < sizeof(type)) {
        return -EINVAL;
    }
    memcpy(&type, buf, sizeof(type));
    pthread_mutex_lock(&dev->lock);
    if (type == VHOST_IOTLB_MSG && len >= sizeof(v1)) {
        memcpy(&v1, buf, sizeof(v1));
        msg = v1.iotlb;
        ret = 0;
    } else if (type == VHOST_IOTLB_MSG_V2 && len >= sizeof(v2) &&
               BACKEND(dev, VHOST_BACKEND_F_IOTLB_MSG_V2)) {
        memcpy(&v2, buf, sizeof(v2));
        msg = v2.iotlb;
        if (BACKEND(dev, VHOST_BACKEND_F_IOTLB_ASID)) {
            asid = v2.asid;
        }
        ret = 0;
    }
    if (ret == 0) {
        ret = iotlb_message(dev, asid, &msg);
        sim_log(dev, VDPA_SIM_EV_IOTLB, VDPA_SIM_ANY, msg.type, (int64_t)ret);
        if (ret < 0) {
            sim_count(&dev->sim->state.iotlb_refused, 1);
            /* Whatever was wrong, the kernel's vhost says this */
            ret = -EFAULT;
        }
    }
    pthread_mutex_unlock(&dev->lock);
    return ret < 0 ? ret : (ssize_t)len;
}
