/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Notifications of a shadow virtqueue, to the device and to the guest
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include "hw/virtio/svq/notify.h"
#include "qapi/error.h"
#include "qemu/atomic.h"
#include "qemu/bswap.h"

bool svq_notify_init(SVQNotify *notify, Error **errp)
{
    int ret;

    memset(notify, 0, sizeof(*notify));
    notify->guest_fd = -1;

    ret = event_notifier_init(&notify->kick, 0);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "cannot create an eventfd to notify the "
                         "device by");
        return false;
    }
    ret = event_notifier_init(&notify->call, 0);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "cannot create an eventfd to be notified "
                         "by the device");
        event_notifier_cleanup(&notify->kick);
        return false;
    }
    qemu_mutex_init(&notify->guest_lock);
    return true;
}

void svq_notify_cleanup(SVQNotify *notify)
{
    svq_notify_unmap_doorbell(notify);
    qemu_mutex_destroy(&notify->guest_lock);
    event_notifier_cleanup(&notify->call);
    event_notifier_cleanup(&notify->kick);
}

void svq_notify_set_device(SVQNotify *notify, uint16_t queue,
                           bool notification_data)
{
    notify->queue = queue;
    notify->notification_data = notification_data;
}

bool svq_notify_map_doorbell(SVQNotify *notify, int device_fd, uint16_t queue,
                             Error **errp)
{
    size_t size = qemu_real_host_page_size();
    void *page;

    svq_notify_unmap_doorbell(notify);

    /* The queue's number is the page's, for every vhost-vdpa device */
    page = mmap(NULL, size, PROT_WRITE, MAP_SHARED, device_fd, queue * size);
    if (page == MAP_FAILED) {
        error_setg_errno(errp, errno, "the device offers no notify page for "
                         "queue %u", queue);
        return false;
    }
    notify->doorbell = page;
    return true;
}

void svq_notify_unmap_doorbell(SVQNotify *notify)
{
    if (notify->doorbell) {
        munmap(notify->doorbell, qemu_real_host_page_size());
        notify->doorbell = NULL;
    }
}

bool svq_notify_device(SVQNotify *notify, uint32_t data)
{
    void *doorbell = notify->doorbell;

    if (!doorbell) {
        event_notifier_set(&notify->kick);
        return false;
    }

    /* As wide as the specification wants it, in one store */
    if (notify->notification_data) {
        qatomic_set((uint32_t *)doorbell, cpu_to_le32(data));
    } else {
        qatomic_set((uint16_t *)doorbell, cpu_to_le16(notify->queue));
    }
    return true;
}

void svq_notify_set_guest(SVQNotify *notify, int fd)
{
    qemu_mutex_lock(&notify->guest_lock);
    notify->guest_fd = fd;
    qemu_mutex_unlock(&notify->guest_lock);
}

void svq_notify_guest(SVQNotify *notify)
{
    static const uint64_t one = 1;
    ssize_t ret;

    qemu_mutex_lock(&notify->guest_lock);
    if (notify->guest_fd >= 0) {
        do {
            ret = write(notify->guest_fd, &one, sizeof(one));
        } while (ret < 0 && errno == EINTR);
        /* EAGAIN: as many notifications wait as it can count */
    }
    qemu_mutex_unlock(&notify->guest_lock);
}
