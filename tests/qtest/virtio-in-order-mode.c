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

/* abort() ends the QEMU as well */
static void on_alarm(int sig)
{
    static const char msg[] = "Bail out! a case waits for QEMU in vain\n";
    ssize_t ret = write(STDERR_FILENO, msg, sizeof(msg) - 1);

    (void)ret;
    abort();
}

void case_begin(unsigned seconds)
{
    struct sigaction action = { .sa_handler = on_alarm };

    g_assert_cmpint(sigaction(SIGALRM, &action, NULL), ==, 0);
    alarm(seconds);
}

void case_end(void)
{
    alarm(0);
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
