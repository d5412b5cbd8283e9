/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Shadow virtqueues of a vhost-vdpa device: start and stop
 */

#include "qemu/osdep.h"
#include <sys/ioctl.h>
#include <linux/vhost.h>
#include "exec/address-spaces.h"
#include "hw/virtio/svq/device.h"
#include "hw/virtio/svq/vdpa.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/memalign.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_ring.h"
#include "trace.h"

/*
 * A buffer of the guest may need more descriptors than it had, and a small
 * ring has no room for it: the device's is not made smaller than this.
 */
#define SVQ_RING_MIN 64

/* Where a packed ring begins, both wrap counters set: VIRTIO 1.2, 2.8.1 */
#define PACKED_BASE (BIT(15) | BIT(31))

/* Tells the mappings of QEMU's own memory from those of the guest's */
#define OWN_MEMORY 1

static bool svq_ioctl(SVQDevice *dev, unsigned long request, void *arg,
                      const char *what, Error **errp)
{
    if (ioctl(dev->fd, request, arg) < 0) {
        error_setg_errno(errp, errno, "the vDPA device refuses %s", what);
        return false;
    }
    return true;
}

/* Mappings */

bool vhost_vdpa_svq_map(struct vhost_vdpa *v, void *host, size_t size,
                        bool readonly, uint64_t *iova, Error **errp)
{
    SVQIOVAMap *map = v->svq->map;
    uint64_t where, ignored;

    if (!svq_iova_map_add(map, OWN_MEMORY, host, size, readonly, &where,
                          errp)) {
        return false;
    }
    if (vhost_vdpa_dma_map(v, where, size, host, readonly)) {
        svq_iova_map_remove(map, OWN_MEMORY, host, &where, &ignored);
        error_setg(errp, "%zu bytes of QEMU's memory cannot be mapped for the "
                   "vDPA device; is the limit of locked memory (ulimit -l) too "
                   "small?", size);
        return false;
    }
    svq_iova_map_publish(map);
    if (iova) {
        *iova = where;
    }
    return true;
}

void vhost_vdpa_svq_unmap(struct vhost_vdpa *v, void *host)
{
    uint64_t iova, size;

    if (svq_iova_map_remove(v->svq->map, OWN_MEMORY, host, &iova, &size)) {
        vhost_vdpa_dma_unmap(v, iova, size);
    }
}

static void svq_free_areas(struct vhost_vdpa *v, VhostShadowVirtqueue *svq)
{
    if (svq->device_area) {
        vhost_vdpa_svq_unmap(v, svq->device_area);
        qemu_vfree(svq->device_area);
        svq->device_area = NULL;
    }
    if (svq->driver_area) {
        vhost_vdpa_svq_unmap(v, svq->driver_area);
        qemu_vfree(svq->driver_area);
        svq->driver_area = NULL;
    }
}

static void *svq_new_area(struct vhost_vdpa *v, size_t size, bool readonly,
                          uint64_t *iova, Error **errp)
{
    void *area = qemu_memalign(qemu_real_host_page_size(), size);

    memset(area, 0, size);
    if (!vhost_vdpa_svq_map(v, area, size, readonly, iova, errp)) {
        qemu_vfree(area);
        return NULL;
    }
    return area;
}

static bool svq_new_areas(struct vhost_vdpa *v, VhostShadowVirtqueue *svq,
                          Error **errp)
{
    svq_ring_layout(&svq->config, qemu_real_host_page_size(), &svq->layout);
    svq->driver_area = svq_new_area(v, svq->layout.driver_size, true,
                                    &svq->driver_iova, errp);
    if (!svq->driver_area) {
        return false;
    }
    svq->device_area = svq_new_area(v, svq->layout.device_size, false,
                                    &svq->device_iova, errp);
    if (!svq->device_area) {
        svq_free_areas(v, svq);
        return false;
    }
    return true;
}

/* One queue */

static bool svq_choose_ring(SVQDevice *dev, unsigned int guest_num,
                            SVQRingConfig *config, Error **errp)
{
    uint64_t features = dev->negotiated;
    uint16_t max;

    if (!svq_ioctl(dev, VHOST_VDPA_GET_VRING_NUM, &max, "to tell how long a "
                   "ring may be", errp)) {
        return false;
    }
    *config = (SVQRingConfig) {
        .num = MIN(pow2ceil(MAX(guest_num, SVQ_RING_MIN)), max),
        .packed = features & BIT_ULL(VIRTIO_F_RING_PACKED),
        .in_order = features & BIT_ULL(VIRTIO_F_IN_ORDER),
        .indirect = features & BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC),
        .event_idx = features & BIT_ULL(VIRTIO_RING_F_EVENT_IDX),
    };
    if (!config->packed) {
        config->num = pow2floor(config->num);
    }
    if (!config->num) {
        error_setg(errp, "the vDPA device has rings of no entries");
        return false;
    }
    return true;
}

/* Notify by stores if that can be, and is wanted */
static bool svq_choose_kick(SVQDevice *dev, VhostShadowVirtqueue *svq,
                            unsigned int index, Error **errp)
{
    bool data = dev->negotiated & BIT_ULL(VIRTIO_F_NOTIFICATION_DATA);
    bool needed = data || dev->options->doorbell == ON_OFF_AUTO_ON;
    Error *err = NULL;

    svq_notify_set_device(&svq->notify, index, data);
    if (!svq_device_wants_doorbell(dev)) {
        trace_svq_no_doorbell(svq, index, "svq-doorbell=off");
    } else if (!svq_notify_map_doorbell(&svq->notify, dev->fd, index, &err)) {
        if (needed) {
            error_propagate(errp, err);
            return false;
        }
        trace_svq_no_doorbell(svq, index, error_get_pretty(err));
        error_free(err);
    }
    return true;
}

/*
 * What a vIOMMU translates to can be anything, and to access it can take the
 * BQL; so a queue behind one stays in the main loop.
 */
static IOThread *svq_choose_iothread(SVQDevice *dev, VhostShadowVirtqueue *svq,
                                     VirtQueue *vq, unsigned int index)
{
    IOThread *iothread = svq->ops ? NULL : svq_options_iothread(dev->options,
                                                                index);

    if (iothread && !virtio_queue_is_direct(vq)) {
        trace_svq_no_iothread(svq, index);
        return NULL;
    }
    return iothread;
}

/* Tell the device about a ring */
static bool svq_set_ring(SVQDevice *dev, VhostShadowVirtqueue *svq,
                         unsigned int index, Error **errp)
{
    uint64_t desc_iova = svq->layout.desc_in_device ? svq->device_iova
                                                    : svq->driver_iova;
    struct vhost_vring_state num = {
        .index = index,
        .num = svq->config.num,
    };
    struct vhost_vring_state base = {
        .index = index,
        .num = svq->config.packed ? PACKED_BASE : 0,
    };
    struct vhost_vring_addr addr = {
        .index = index,
        .desc_user_addr = desc_iova + svq->layout.desc,
        .avail_user_addr = svq->driver_iova + svq->layout.avail,
        .used_user_addr = svq->device_iova + svq->layout.used,
    };
    struct vhost_vring_file kick = {
        .index = index,
        .fd = event_notifier_get_fd(&svq->notify.kick),
    };
    struct vhost_vring_file call = {
        .index = index,
        .fd = event_notifier_get_fd(&svq->notify.call),
    };

    return svq_ioctl(dev, VHOST_SET_VRING_NUM, &num, "the size of a ring",
                     errp) &&
           svq_ioctl(dev, VHOST_SET_VRING_BASE, &base, "the place to begin at "
                     "in a ring", errp) &&
           svq_ioctl(dev, VHOST_SET_VRING_KICK, &kick, "a kick eventfd",
                     errp) &&
           svq_ioctl(dev, VHOST_SET_VRING_CALL, &call, "a call eventfd",
                     errp) &&
           svq_ioctl(dev, VHOST_SET_VRING_ADDR, &addr, "the addresses of a "
                     "ring", errp);
}

static bool svq_enable(SVQDevice *dev, unsigned int index, bool on,
                       Error **errp)
{
    struct vhost_vring_state state = { .index = index, .num = on };

    return svq_ioctl(dev, VHOST_VDPA_SET_VRING_ENABLE, &state,
                     on ? "to enable a queue" : "to disable a queue", errp);
}

static void svq_stop(struct vhost_vdpa *v, VhostShadowVirtqueue *svq)
{
    if (!svq->vq) {
        return;
    }
    svq_halt(svq);
    svq_finish(svq);
    g_clear_pointer(&svq->ring, svq_ring_free);
    svq_free_areas(v, svq);
    svq_notify_unmap_doorbell(&svq->notify);
    trace_svq_stop(svq, svq->index);
}

static bool svq_start(struct vhost_vdpa *v, VhostShadowVirtqueue *svq,
                      VirtIODevice *vdev, unsigned int index, Error **errp)
{
    SVQDevice *dev = v->svq;

    ERRP_GUARD();
    if (!svq_choose_ring(dev, virtio_queue_get_num(vdev, index), &svq->config,
                         errp) ||
        !svq_choose_kick(dev, svq, index, errp) ||
        !svq_new_areas(v, svq, errp)) {
        goto fail;
    }

    svq->ring = svq_ring_new(&svq->config, svq->driver_area, svq->device_area,
                             svq->driver_iova);
    svq->iothread = svq_choose_iothread(dev, svq, virtio_get_queue(vdev, index),
                                        index);
    svq_prepare(svq, vdev, virtio_get_queue(vdev, index), index);
    dev->live = true;
    if (!svq_set_ring(dev, svq, index, errp) ||
        !svq_enable(dev, index, true, errp)) {
        svq_stop(v, svq);
        goto fail;
    }
    trace_svq_start(svq, index, svq->config.num, svq->config.packed,
                    svq->config.in_order, !!svq->notify.doorbell);
    return true;

fail:
    svq_notify_unmap_doorbell(&svq->notify);
    error_prepend(errp, "netdev '%s', queue %u: ", dev->netdev, index);
    return false;
}

/* The queues of a vhost_dev */

static void vhost_vdpa_svq_stop(struct vhost_dev *dev)
{
    struct vhost_vdpa *v = dev->opaque;
    int i;

    svq_device_halt(v->svq);
    for (i = 0; i < v->shadow_vqs->len; i++) {
        svq_stop(v, g_ptr_array_index(v->shadow_vqs, i));
    }
}

static bool vhost_vdpa_svq_start(struct vhost_dev *dev, Error **errp)
{
    struct vhost_vdpa *v = dev->opaque;
    int i;

    for (i = 0; i < dev->nvqs; i++) {
        /* One that the guest has not set up can be started later */
        if (virtio_queue_get_desc_addr(dev->vdev, dev->vq_index + i) &&
            !svq_start(v, g_ptr_array_index(v->shadow_vqs, i), dev->vdev,
                       dev->vq_index + i, errp)) {
            return false;
        }
    }
    return true;
}

static bool vhost_vdpa_svq_go(struct vhost_dev *dev, Error **errp)
{
    struct vhost_vdpa *v = dev->opaque;

    memory_listener_register(&v->listener, &address_space_memory);
    if (v->svq->memory_failed) {
        error_setg(errp, "netdev '%s': the vDPA device cannot be used without "
                   "all of the guest's memory", v->svq->netdev);
        return false;
    }
    if (!svq_device_add_status(v->svq, VIRTIO_CONFIG_S_DRIVER_OK)) {
        error_setg(errp, "netdev '%s': the vDPA device does not start: it "
                   "refuses DRIVER_OK", v->svq->netdev);
        return false;
    }
    svq_device_run(v->svq, dev->vdev);
    return true;
}

int vhost_vdpa_svq_dev_start(struct vhost_dev *dev, bool started)
{
    struct vhost_vdpa *v = dev->opaque;
    bool last = dev->vq_index + dev->nvqs == dev->vq_index_end;
    Error *err = NULL;

    if (started && vhost_vdpa_svq_start(dev, &err) &&
        (!last || vhost_vdpa_svq_go(dev, &err))) {
        return 0;
    }
    vhost_vdpa_svq_stop(dev);
    if (last) {
        memory_listener_unregister(&v->listener);
    }
    if (err) {
        error_report_err(err);
        return -EIO;
    }
    return 0;
}

bool vhost_vdpa_svq_init(struct vhost_dev *dev, Error **errp)
{
    struct vhost_vdpa *v = dev->opaque;
    int i;

    /* Each part but the last has the same number of queues: two */
    v->shadow_vqs = g_ptr_array_new_with_free_func((GDestroyNotify)svq_free);
    for (i = 0; i < dev->nvqs; i++) {
        VhostShadowVirtqueue *svq = svq_new(v->svq, v->index * 2 + i,
                                            v->shadow_vq_ops,
                                            v->shadow_vq_ops_opaque, errp);

        if (!svq) {
            g_clear_pointer(&v->shadow_vqs, g_ptr_array_unref);
            return false;
        }
        g_ptr_array_add(v->shadow_vqs, svq);
    }
    return true;
}

void vhost_vdpa_svq_cleanup(struct vhost_dev *dev)
{
    struct vhost_vdpa *v = dev->opaque;

    if (v->shadow_vqs) {
        vhost_vdpa_svq_stop(dev);
        g_clear_pointer(&v->shadow_vqs, g_ptr_array_unref);
    }
}

static void svq_queue_disable(struct vhost_dev *dev, VhostShadowVirtqueue *svq)
{
    struct vhost_vdpa *v = dev->opaque;
    Error *err = NULL;

    if (!svq->vq) {
        return;
    }
    svq_halt(svq);
    if (!svq_enable(v->svq, svq->index, false, &err)) {
        /* It may go on writing to the guest's buffers: nothing is safe now */
        virtio_error(dev->vdev, "%s: netdev '%s', queue %u: %s",
                     dev->vdev->name, v->svq->netdev, svq->index,
                     error_get_pretty(err));
        error_free(err);
        svq_device_halt(v->svq);
    }
    svq_stop(v, svq);
}

int vhost_vdpa_svq_queue_enable(struct vhost_dev *dev, int n, bool on)
{
    struct vhost_vdpa *v = dev->opaque;
    VhostShadowVirtqueue *svq = g_ptr_array_index(v->shadow_vqs, n);
    Error *err = NULL;

    if (!on) {
        svq_queue_disable(dev, svq);
        return 0;
    }
    /* A device that was halted starts all its queues when it starts again */
    if (!v->svq->vdev || svq->vq) {
        return 0;
    }
    if (!svq_start(v, svq, dev->vdev, dev->vq_index + n, &err)) {
        error_report_err(err);
        return -EIO;
    }
    svq_run(svq);
    return 0;
}
