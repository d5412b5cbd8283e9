/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vdpa-sim: the requests of <linux/vhost.h>
 *
 * Errors are those that the kernel gives.  Everything runs in the thread of
 * QEMU that called, under SimDevice.lock.
 */
#include <errno.h>
#include <string.h>
#include <linux/vhost.h>
#include <linux/virtio_ids.h>

#include "device.h"

/* Not in every version of the kernel's headers */
#ifndef VHOST_VDPA_RESUME
#define VHOST_VDPA_RESUME       _IO(VHOST_VIRTIO, 0x7E)
#endif

/* Features */

static int set_features(SimDevice *dev, uint64_t features)
{
    uint64_t offered = dev->sim->config.features;
    uint64_t platform = 1ull << VIRTIO_F_ACCESS_PLATFORM;
    int ret = 0;

    if (sim_status(dev) & VIRTIO_CONFIG_S_FEATURES_OK) {
        ret = -EBUSY;
    } else if (features & ~offered || (offered & ~features & platform)) {
        ret = -EINVAL;
    } else {
        dev->acked = features;
        __atomic_store_n(&dev->sim->state.acked, features, __ATOMIC_RELEASE);
    }
    sim_log(dev, VDPA_SIM_EV_FEATURES, VDPA_SIM_ANY, features, ret);
    return ret;
}

static int set_backend_features(SimDevice *dev, uint64_t features)
{
    if (features & ~dev->sim->config.backend_features) {
        return -EOPNOTSUPP;
    }
    dev->acked_backend = features;
    __atomic_store_n(&dev->sim->state.acked_backend, features,
                     __ATOMIC_RELEASE);
    return 0;
}

/* Configuration space */

static int access_config(SimDevice *dev, struct vhost_vdpa_config *c, bool set)
{
    size_t size = vdpa_sim_net_config_size();
    int ret = 0;

    if (!c->len || c->off > size) {
        return -EINVAL;
    }
    if (c->len > size - c->off) {
        return -E2BIG;
    }
    pthread_mutex_lock(&dev->net_lock);
    if (!set) {
        vdpa_sim_net_get_config(&dev->net, &dev->sim->config.net, c->buf,
                                c->off, c->len);
    } else if (vdpa_sim_net_set_config(&dev->net, c->buf, c->off, c->len)) {
        vdpa_sim_net_publish(&dev->sim->net, &dev->net);
    } else {
        ret = -EINVAL;
    }
    pthread_mutex_unlock(&dev->net_lock);
    return ret;
}

/* Queues */

static int set_queue_fd(SimQueue *q, int *slot, int fd)
{
    int ret;

    sim_queue_lock(q);
    ret = sim_replace_fd(slot, fd);
    sim_queue_unlock(q);
    sim_queue_wake(q);
    return ret;
}

static int set_ring_size(SimDevice *dev, SimQueue *q, uint32_t num)
{
    if (q->running) {
        return -EBUSY;
    }
    if (!num || num > dev->sim->config.vring_num_max || (num & (num - 1))) {
        return -EINVAL;
    }
    q->num = num;
    return 0;
}

static int set_enabled(SimDevice *dev, SimQueue *q, bool on)
{
    bool was = q->enabled;

    q->enabled = on;
    sim_set(&q->stats->enabled, on);
    if (was != on) {
        sim_log(dev, VDPA_SIM_EV_ENABLE, q->index, on, 0);
    }
    sim_queue_update(q);
    if (was && !on && sim_status(dev) & VIRTIO_CONFIG_S_DRIVER_OK) {
        /* A queue reset (VIRTIO 1.2, 2.6.1) */
        sim_queue_forget(q);
    }
    return 0;
}

/* Is it a request about one queue, whose number @arg begins with? */
static bool is_vring_request(unsigned int nr)
{
    switch (nr) {
    case VHOST_SET_VRING_NUM:
    case VHOST_SET_VRING_ADDR:
    case VHOST_SET_VRING_BASE:
    case VHOST_GET_VRING_BASE:
    case VHOST_SET_VRING_KICK:
    case VHOST_SET_VRING_CALL:
    case VHOST_SET_VRING_ERR:
    case VHOST_VDPA_SET_VRING_ENABLE:
    case VHOST_VDPA_GET_VRING_GROUP:
        return true;
    default:
        return false;
    }
}

static int vring_request(SimDevice *dev, unsigned int request, void *arg)
{
    struct vhost_vring_state *state = arg;
    struct vhost_vring_addr *addr = arg;
    struct vhost_vring_file *file = arg;
    SimQueue *q;

    if (state->index >= dev->num_queues) {
        return -ENOBUFS;
    }
    q = &dev->queue[state->index];

    switch (request) {
    case VHOST_SET_VRING_NUM:
        return set_ring_size(dev, q, state->num);
    case VHOST_SET_VRING_ADDR:
        if (q->running) {
            return -EOPNOTSUPP;
        }
        q->desc = addr->desc_user_addr;
        q->driver = addr->avail_user_addr;
        q->device = addr->used_user_addr;
        q->addr_set = true;
        return 0;
    case VHOST_SET_VRING_BASE:
        if (q->running) {
            return -EOPNOTSUPP;
        }
        if (state->num > UINT16_MAX &&
            !sim_feature(dev, VIRTIO_F_RING_PACKED)) {
            return -EINVAL;
        }
        q->base = q->last_base = state->num;
        q->base_set = true;
        return 0;
    case VHOST_GET_VRING_BASE:
        /* While it runs, where it stands between two batches */
        if (q->running) {
            sim_queue_lock(q);
            q->last_base = sim_ring_base(&q->ring);
            sim_queue_unlock(q);
        }
        state->num = q->last_base;
        return 0;
    case VHOST_SET_VRING_KICK:
        return set_queue_fd(q, &q->kick_fd, file->fd);
    case VHOST_SET_VRING_CALL:
        return set_queue_fd(q, &q->call_fd, file->fd);
    case VHOST_SET_VRING_ERR:
        return 0;
    case VHOST_VDPA_SET_VRING_ENABLE:
        return set_enabled(dev, q, state->num);
    case VHOST_VDPA_GET_VRING_GROUP:
        state->num = dev->sim->config.group[q->index];
        return state->num < dev->num_groups ? 0 : -EIO;
    default:
        return -ENOTTY;
    }
}

static int set_group_asid(SimDevice *dev, uint32_t group, uint32_t asid)
{
    unsigned i;

    if (group >= dev->num_groups || asid >= dev->num_as) {
        return -EINVAL;
    }
    sim_set(&dev->asid[group], asid);
    sim_set(&dev->sim->state.asid[group], asid);
    for (i = 0; i < dev->num_queues; i++) {
        sim_queue_wake(&dev->queue[i]);
    }
    return 0;
}

static int request(SimDevice *dev, unsigned int nr, void *arg)
{
    VdpaSimConfig *config = &dev->sim->config;
    struct vhost_vdpa_iova_range *range = arg;
    struct vhost_vring_state *state = arg;
    int ret;

    switch (nr) {
    case VHOST_SET_OWNER:
        if (dev->owned) {
            return -EBUSY;
        }
        dev->owned = true;
        return 0;
    case VHOST_GET_FEATURES:
        memcpy(arg, &config->features, sizeof(config->features));
        return 0;
    case VHOST_SET_FEATURES:
        return set_features(dev, *(uint64_t *)arg);
    case VHOST_GET_BACKEND_FEATURES:
        memcpy(arg, &config->backend_features,
               sizeof(config->backend_features));
        return 0;
    case VHOST_SET_BACKEND_FEATURES:
        return set_backend_features(dev, *(uint64_t *)arg);
    case VHOST_VDPA_GET_DEVICE_ID:
        *(uint32_t *)arg = VIRTIO_ID_NET;
        return 0;
    case VHOST_VDPA_GET_STATUS:
        *(uint8_t *)arg = sim_status(dev);
        return 0;
    case VHOST_VDPA_SET_STATUS:
        return sim_device_set_status(dev, *(uint8_t *)arg);
    case VHOST_VDPA_GET_CONFIG:
        return access_config(dev, arg, false);
    case VHOST_VDPA_SET_CONFIG:
        return access_config(dev, arg, true);
    case VHOST_VDPA_GET_CONFIG_SIZE:
        *(uint32_t *)arg = vdpa_sim_net_config_size();
        return 0;
    case VHOST_VDPA_GET_VRING_NUM:
        *(uint16_t *)arg = config->vring_num_max;
        return 0;
    case VHOST_VDPA_GET_VQS_COUNT:
        *(uint32_t *)arg = dev->num_queues;
        return 0;
    case VHOST_VDPA_GET_GROUP_NUM:
        *(uint32_t *)arg = dev->num_groups;
        return 0;
    case VHOST_VDPA_GET_AS_NUM:
        *(uint32_t *)arg = dev->num_as;
        return 0;
    case VHOST_VDPA_SET_GROUP_ASID:
        return set_group_asid(dev, state->index, state->num);
    case VHOST_VDPA_SET_CONFIG_CALL:
        pthread_mutex_lock(&dev->call_lock);
        ret = sim_replace_fd(&dev->config_call_fd, *(int *)arg);
        pthread_mutex_unlock(&dev->call_lock);
        return ret;
    case VHOST_VDPA_GET_IOVA_RANGE:
        range->first = config->iova_first;
        range->last = config->iova_last;
        return 0;
    case VHOST_VDPA_SUSPEND:
        return sim_device_suspend(dev, true);
    case VHOST_VDPA_RESUME:
        return sim_device_suspend(dev, false);
    default:
        if (is_vring_request(nr)) {
            return vring_request(dev, nr, arg);
        }
        /* Among them VHOST_SET_LOG_BASE and the like, as in the kernel */
        sim_count(&dev->sim->state.unknown_ioctls, 1);
        sim_set(&dev->sim->state.last_unknown_ioctl, nr);
        return -ENOTTY;
    }
}

int sim_device_ioctl(SimDevice *dev, unsigned int nr, void *arg)
{
    uint32_t queue = is_vring_request(nr) ? *(uint32_t *)arg : VDPA_SIM_ANY;
    int64_t value;
    int ret;

    pthread_mutex_lock(&dev->lock);
    if (sim_fault(dev, VDPA_SIM_FAULT_IOCTL, queue, _IOC_NR(nr), &value)) {
        ret = -value;
    } else {
        ret = request(dev, nr, arg);
    }
    pthread_mutex_unlock(&dev->lock);
    sim_log(dev, VDPA_SIM_EV_IOCTL, queue, _IOC_NR(nr), (int64_t)ret);
    return ret;
}
