/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Shadow virtqueues: the device, and the life of its queues
 *
 * All of this runs under the BQL.
 */

#include "qemu/osdep.h"
#include <sys/ioctl.h>
#include <linux/vhost.h>
#include "hw/virtio/svq/device.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_ring.h"
#include "trace.h"

/* VIRTIO 1.2, section 6: not of a type of device, but of rings and transport */
#define RING_FEATURES (MAKE_64BIT_MASK(28, 13) | \
                       BIT_ULL(VIRTIO_F_NOTIFY_ON_EMPTY) | \
                       BIT_ULL(VIRTIO_F_ANY_LAYOUT))

/* What the guest's virtqueues are capable of, whatever the device's are */
#define GUEST_RING_FEATURES (BIT_ULL(VIRTIO_F_NOTIFY_ON_EMPTY) | \
                             BIT_ULL(VIRTIO_F_ANY_LAYOUT) | \
                             BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) | \
                             BIT_ULL(VIRTIO_RING_F_EVENT_IDX) | \
                             BIT_ULL(VIRTIO_F_RING_PACKED))

/*
 * Those that the guest can only use if the device does.  In-order is one of
 * them: the order in which a device uses buffers for received packets is the
 * order of the packets.
 */
#define SHARED_FEATURES (BIT_ULL(VIRTIO_F_VERSION_1) | \
                         BIT_ULL(VIRTIO_F_ACCESS_PLATFORM) | \
                         BIT_ULL(VIRTIO_F_IN_ORDER) | \
                         BIT_ULL(VIRTIO_F_RING_RESET))

/* What a device ring uses where the device offers it */
#define DEVICE_RING_FEATURES (BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) | \
                              BIT_ULL(VIRTIO_RING_F_EVENT_IDX) | \
                              BIT_ULL(VIRTIO_F_RING_PACKED) | \
                              BIT_ULL(VIRTIO_F_IN_ORDER) | \
                              BIT_ULL(VIRTIO_F_ORDER_PLATFORM))

static QTAILQ_HEAD(, SVQDevice) svq_devices =
    QTAILQ_HEAD_INITIALIZER(svq_devices);

/* The device */

bool svq_device_wants_doorbell(const SVQDevice *dev)
{
    return dev->options->doorbell != ON_OFF_AUTO_OFF;
}

/* Can every queue be notified by a store? */
static bool svq_device_has_doorbells(const SVQDevice *dev, Error **errp)
{
    SVQNotify probe = { };
    unsigned int i;

    for (i = 0; i < dev->num_queues; i++) {
        if (!svq_notify_map_doorbell(&probe, dev->fd, i, errp)) {
            return false;
        }
    }
    svq_notify_unmap_doorbell(&probe);
    return true;
}

static bool svq_device_check(SVQDevice *dev, Error **errp)
{
    static const struct {
        unsigned int bit;
        const char *name, *why;
    } needed[] = {
        { VIRTIO_F_VERSION_1, "VIRTIO_F_VERSION_1",
          "the byte order of its rings is not known" },
        { VIRTIO_F_ACCESS_PLATFORM, "VIRTIO_F_ACCESS_PLATFORM",
          "its accesses to memory are not translated" },
    };
    int i;

    for (i = 0; i < ARRAY_SIZE(needed); i++) {
        if (!(dev->features & BIT_ULL(needed[i].bit))) {
            error_setg(errp, "netdev '%s': x-svq=on cannot be had: the vDPA "
                       "device does not offer %s, so %s", dev->netdev,
                       needed[i].name, needed[i].why);
            return false;
        }
    }

    if (dev->options->doorbell == ON_OFF_AUTO_ON &&
        !svq_device_has_doorbells(dev, errp)) {
        error_prepend(errp, "netdev '%s': svq-doorbell=on cannot be had: ",
                      dev->netdev);
        error_append_hint(errp, "With svq-doorbell=auto such a queue is "
                          "notified by an eventfd.\n");
        return false;
    }
    return true;
}

SVQDevice *svq_device_new(const char *netdev, int fd, SVQOptions *options,
                          unsigned int num_queues, Error **errp)
{
    struct vhost_vdpa_iova_range range;
    uint64_t features, backend_features;
    SVQDevice *dev;

    ERRP_GUARD();
    if (ioctl(fd, VHOST_GET_FEATURES, &features) < 0) {
        error_setg_errno(errp, errno, "netdev '%s': the vDPA device does not "
                         "tell its features", netdev);
        svq_options_free(options);
        return NULL;
    }
    if (ioctl(fd, VHOST_VDPA_GET_IOVA_RANGE, &range) < 0) {
        range.first = 0;
        range.last = UINT64_MAX;
    }
    if (ioctl(fd, VHOST_GET_BACKEND_FEATURES, &backend_features) < 0) {
        backend_features = 0;
    }

    dev = g_new0(SVQDevice, 1);
    dev->refs = 1;
    dev->netdev = g_strdup(netdev);
    dev->fd = fd;
    dev->options = options;
    dev->num_queues = num_queues;
    dev->features = features;
    dev->suspend = backend_features & BIT_ULL(VHOST_BACKEND_F_SUSPEND);
    dev->map = svq_iova_map_new(range.first, range.last);
    dev->queues = g_ptr_array_new();
    event_notifier_init_fd(&dev->config_call, -1);
    QTAILQ_INSERT_TAIL(&svq_devices, dev, next);

    if (!svq_device_check(dev, errp)) {
        svq_device_unref(dev);
        return NULL;
    }
    return dev;
}

SVQDevice *svq_device_ref(SVQDevice *dev)
{
    dev->refs++;
    return dev;
}

void svq_device_unref(SVQDevice *dev)
{
    if (!dev || --dev->refs) {
        return;
    }
    QTAILQ_REMOVE(&svq_devices, dev, next);
    if (dev->blocks) {
        g_hash_table_unref(dev->blocks);
    }
    svq_iova_map_free(dev->map);
    g_ptr_array_free(dev->queues, true);
    svq_options_free(dev->options);
    g_free(dev->netdev);
    g_free(dev);
}

SVQIOVAMap *svq_device_map(SVQDevice *dev)
{
    return dev->map;
}

uint64_t svq_device_offer(const SVQDevice *dev, uint64_t features)
{
    return (features & ~RING_FEATURES) | (features & SHARED_FEATURES) |
           GUEST_RING_FEATURES;
}

static void svq_device_reset(SVQDevice *dev)
{
    uint8_t status = 0;

    if (ioctl(dev->fd, VHOST_VDPA_SET_STATUS, &status) < 0) {
        error_report("netdev '%s': the vDPA device cannot be reset: %s",
                     dev->netdev, strerror(errno));
    }
    /* Where vhost goes on with the features */
    svq_device_add_status(dev, VIRTIO_CONFIG_S_ACKNOWLEDGE |
                               VIRTIO_CONFIG_S_DRIVER);
}

uint64_t svq_device_negotiate(SVQDevice *dev, uint64_t guest)
{
    uint64_t features = guest & (~RING_FEATURES | SHARED_FEATURES);
    uint8_t status;

    /* A start that failed, or a reset that did, left it in the middle */
    if (ioctl(dev->fd, VHOST_VDPA_GET_STATUS, &status) < 0 ||
        status & ~(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER)) {
        svq_device_reset(dev);
    }

    /* A device that is not told VERSION_1 has no more than a plain ring */
    if (guest & BIT_ULL(VIRTIO_F_VERSION_1)) {
        features |= dev->features & DEVICE_RING_FEATURES;

        /* An eventfd has no room for the data */
        if (dev->features & BIT_ULL(VIRTIO_F_NOTIFICATION_DATA) &&
            svq_device_wants_doorbell(dev) &&
            svq_device_has_doorbells(dev, NULL)) {
            features |= BIT_ULL(VIRTIO_F_NOTIFICATION_DATA);
        }
    }

    trace_svq_negotiate(dev, guest, features);
    dev->negotiated = features;
    return features;
}

/* The device says that it has changed, maybe for the worse */
static void svq_device_config_read(EventNotifier *n)
{
    SVQDevice *dev = container_of(n, SVQDevice, config_call);
    uint8_t status = 0;
    int i;

    if (!event_notifier_test_and_clear(n) || !dev->vdev) {
        return;
    }

    if (ioctl(dev->fd, VHOST_VDPA_GET_STATUS, &status) == 0 &&
        status & VIRTIO_CONFIG_S_NEEDS_RESET) {
        for (i = 0; i < dev->queues->len; i++) {
            VhostShadowVirtqueue *svq = g_ptr_array_index(dev->queues, i);

            svq_halt(svq);
            if (svq->vq) {
                qatomic_set(&svq->broken, true);
            }
        }
        trace_svq_needs_reset(dev);
        virtio_error(dev->vdev, "%s: the vDPA device of netdev '%s' needs a "
                     "reset", dev->vdev->name, dev->netdev);
        return;
    }
    virtio_notify_config(dev->vdev);
}

static void svq_device_listen(SVQDevice *dev)
{
    int fd;

    if (event_notifier_init(&dev->config_call, 0) < 0) {
        return;
    }
    fd = event_notifier_get_fd(&dev->config_call);
    if (ioctl(dev->fd, VHOST_VDPA_SET_CONFIG_CALL, &fd) < 0) {
        /* A device without: it has nothing to say then */
        event_notifier_cleanup(&dev->config_call);
        event_notifier_init_fd(&dev->config_call, -1);
        return;
    }
    event_notifier_set_handler(&dev->config_call, svq_device_config_read);
}

static void svq_device_unlisten(SVQDevice *dev)
{
    int none = -1;

    if (event_notifier_get_fd(&dev->config_call) < 0) {
        return;
    }
    event_notifier_set_handler(&dev->config_call, NULL);
    ioctl(dev->fd, VHOST_VDPA_SET_CONFIG_CALL, &none);
    event_notifier_cleanup(&dev->config_call);
    event_notifier_init_fd(&dev->config_call, -1);
}

void svq_device_run(SVQDevice *dev, VirtIODevice *vdev)
{
    int i;

    dev->vdev = vdev;
    svq_device_listen(dev);
    for (i = 0; i < dev->queues->len; i++) {
        VhostShadowVirtqueue *svq = g_ptr_array_index(dev->queues, i);

        if (svq->vq) {
            svq_run(svq);
        }
    }
}

bool svq_device_is_running(const SVQDevice *dev)
{
    return dev->vdev;
}

bool svq_device_add_status(SVQDevice *dev, uint8_t status)
{
    uint8_t now;

    if (ioctl(dev->fd, VHOST_VDPA_GET_STATUS, &now) < 0) {
        return false;
    }
    now |= status;
    return ioctl(dev->fd, VHOST_VDPA_SET_STATUS, &now) == 0 &&
           ioctl(dev->fd, VHOST_VDPA_GET_STATUS, &now) == 0 &&
           (now & status) == status;
}

void svq_device_halt(SVQDevice *dev)
{
    bool ran = dev->vdev;
    int i;

    if (!dev->live) {
        return;
    }
    dev->live = false;
    svq_device_unlisten(dev);
    dev->vdev = NULL;
    for (i = 0; i < dev->queues->len; i++) {
        VhostShadowVirtqueue *svq = g_ptr_array_index(dev->queues, i);

        svq_halt(svq);
    }

    /*
     * What it has begun is finished or, where it cannot do that, forgotten:
     * begun again after the next start.
     */
    if (ran && dev->suspend && ioctl(dev->fd, VHOST_VDPA_SUSPEND) < 0) {
        warn_report("netdev '%s': the vDPA device does not suspend: %s; "
                    "packets in flight may be sent twice", dev->netdev,
                    strerror(errno));
    }
    svq_device_reset(dev);
    trace_svq_device_halt(dev);
}

void svq_for_each(void (*fn)(const SVQInfo *info, void *opaque), void *opaque)
{
    SVQDevice *dev;
    int i;

    QTAILQ_FOREACH(dev, &svq_devices, next) {
        for (i = 0; i < dev->queues->len; i++) {
            VhostShadowVirtqueue *svq = g_ptr_array_index(dev->queues, i);
            uint64_t *from = (uint64_t *)&svq->stats, *to;
            IOThread *iothread;
            SVQInfo info = {
                .netdev = dev->netdev,
                .queue = svq->index,
                .running = svq->running,
                .broken = qatomic_read(&svq->broken),
                .ring = svq->config,
                .notification_data = svq->notify.notification_data,
                .doorbell = svq->notify.doorbell,
                .in_flight = svq->vq ? qatomic_read(&svq->held) : 0,
            };

            QEMU_BUILD_BUG_ON(sizeof(SVQStats) % sizeof(uint64_t));
            for (to = (uint64_t *)&info.stats; to < (uint64_t *)&info.stats +
                 sizeof(SVQStats) / sizeof(uint64_t); to++) {
                *to = qatomic_read_u64(from++);
            }
            iothread = svq->vq ? svq->iothread : svq->ops ? NULL :
                       svq_options_iothread(dev->options, svq->index);
            if (iothread) {
                info.iothread =
                    object_get_canonical_path_component(OBJECT(iothread));
            }
            fn(&info, opaque);
        }
    }
}

/* A queue */

static void svq_error_bh(void *opaque)
{
    svq_report(opaque);
}

VhostShadowVirtqueue *svq_new(SVQDevice *dev, unsigned int index,
                              const VhostShadowVirtqueueOps *ops, void *opaque,
                              Error **errp)
{
    VhostShadowVirtqueue *svq = g_new0(VhostShadowVirtqueue, 1);

    if (!svq_notify_init(&svq->notify, errp)) {
        error_prepend(errp, "netdev '%s': ", dev->netdev);
        g_free(svq);
        return NULL;
    }
    svq->dev = svq_device_ref(dev);
    svq->index = index;
    svq->ops = ops;
    svq->opaque = opaque;
    svq->error_bh = qemu_bh_new(svq_error_bh, svq);
    event_notifier_init_fd(&svq->guest_kick, -1);
    g_ptr_array_add(dev->queues, svq);
    return svq;
}

void svq_free(VhostShadowVirtqueue *svq)
{
    assert(!svq->vq);
    g_ptr_array_remove(svq->dev->queues, svq);
    qemu_bh_delete(svq->error_bh);
    svq_notify_cleanup(&svq->notify);
    svq_device_unref(svq->dev);
    g_free(svq->error);
    g_free(svq);
}

void svq_set_guest_kick(VhostShadowVirtqueue *svq, int fd)
{
    event_notifier_init_fd(&svq->guest_kick, fd);
}

void svq_set_guest_call(VhostShadowVirtqueue *svq, int fd)
{
    svq_notify_set_guest(&svq->notify, fd);
}

VirtIODevice *svq_vdev(const VhostShadowVirtqueue *svq)
{
    return svq->vq ? svq->vdev : NULL;
}
