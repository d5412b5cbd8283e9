/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: load vhost-fake.so into the QEMU under test, see vhost-fake-load.h
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include <sys/stat.h>
#include "libqtest.h"
#include "qemu/memfd.h"
#include "vhost-fake-load.h"

char *vhost_fake_path(void)
{
    g_autofree char *built = g_test_build_filename(G_TEST_BUILT,
                                                   "vhost-fake.so", NULL);
    char *path = realpath(built, NULL);

    /* LD_PRELOAD knows no quoting */
    if (path && strpbrk(path, " :")) {
        g_clear_pointer(&path, free);
    }
    return path;
}

VhostFake *vhost_fake_new(int *fd)
{
    VhostFake *fake;

    *fd = memfd_create("vhost-fake", 0);
    g_assert_cmpint(*fd, >=, 0);
    g_assert_cmpint(ftruncate(*fd, sizeof(*fake)), ==, 0);
    fake = mmap(NULL, sizeof(*fake), PROT_READ | PROT_WRITE, MAP_SHARED, *fd,
                0);
    g_assert(fake != MAP_FAILED);
    return fake;
}

VhostFakeDev *vhost_fake_add(VhostFake *fake, int fd, VhostFakeKind kind,
                             uint64_t features)
{
    VhostFakeDev *d;
    struct stat st;

    g_assert_cmpint(fake->ndevs, <, VHOST_FAKE_MAX_DEVS);
    g_assert_cmpint(fstat(fd, &st), ==, 0);
    d = &fake->devs[fake->ndevs++];
    d->fd = fd;
    d->kind = kind;
    d->st_dev = st.st_dev;
    d->st_ino = st.st_ino;
    d->features = features;
    return d;
}

void vhost_fake_arm(const char *path, int fd)
{
    g_autofree char *number = g_strdup_printf("%d", fd);
    const char *asan = getenv("ASAN_OPTIONS");
    g_autofree char *options =
        g_strconcat(asan ?: "", asan ? ":" : "", "verify_asan_link_order=0",
                    NULL);

    g_setenv(VHOST_FAKE_ENV, number, true);
    g_setenv("ASAN_OPTIONS", options, true);
    g_setenv("LD_PRELOAD", path, true);
}

void vhost_fake_disarm(const char *asan_options)
{
    g_unsetenv("LD_PRELOAD");
    g_unsetenv(VHOST_FAKE_ENV);
    if (asan_options) {
        g_setenv("ASAN_OPTIONS", asan_options, true);
    } else {
        g_unsetenv("ASAN_OPTIONS");
    }
}
