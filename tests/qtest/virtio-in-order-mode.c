/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: the modes that virtqueues are tested in, and memory shared with QEMU,
 * see virtio-in-order-mode.h
 */

#include "qemu/osdep.h"
#include "qemu/bitops.h"
#include "qemu/memfd.h"
#include "virtio-in-order-mode.h"
#include "standard-headers/linux/virtio_config.h"

const Mode modes[MODE_COUNT] = {
    { "split/off", false, false },
    { "split/in-order", false, true },
    { "packed/off", true, false },
    { "packed/in-order", true, true },
};

void mode_negotiate(QVirtioDevice *vdev, const Mode *mode, uint64_t without)
{
    uint64_t features = qvirtio_get_features(vdev);

    g_assert_cmpint(!!(features & BIT_ULL(VIRTIO_F_IN_ORDER)), ==,
                    mode->in_order);
    g_assert_cmpint(!!(features & BIT_ULL(VIRTIO_F_RING_PACKED)), ==,
                    mode->packed);
    qvirtio_set_features(vdev, features & ~(without | QVIRTIO_F_BAD_FEATURE));
}

int shared_file(const char *name, size_t size)
{
    int fd = memfd_create(name, 0);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, size), ==, 0);
    return fd;
}

void *shared_map(int fd, size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    g_assert(p != MAP_FAILED);
    return p;
}
