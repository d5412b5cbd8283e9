/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What modules need of QEMU's header of this name, to be built without QEMU
 */

#ifndef QEMU_MEMALIGN_H
#define QEMU_MEMALIGN_H

#include "qemu/osdep.h"

static inline void *qemu_memalign(size_t alignment, size_t size)
{
    void *ptr;

    if (posix_memalign(&ptr, alignment, size) != 0) {
        abort();
    }
    return ptr;
}

static inline void qemu_vfree(void *ptr)
{
    free(ptr);
}

#endif
