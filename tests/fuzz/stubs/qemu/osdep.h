/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What modules need of QEMU's header of this name, to be built without QEMU
 */

#ifndef QEMU_OSDEP_H
#define QEMU_OSDEP_H

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <glib.h>

typedef struct Error Error;
typedef struct QEMUFile QEMUFile;

#define likely(x)               __builtin_expect(!!(x), 1)
#define unlikely(x)             __builtin_expect(!!(x), 0)
#define QEMU_BUILD_BUG_ON(x)    _Static_assert(!(x), "not expecting: " #x)

/* Powers of two only */
#define ROUND_UP(n, d)          (((n) + (d) - 1) & -(0 ? (n) : (d)))
#define QEMU_ALIGN_DOWN(n, m)   ((n) / (m) * (m))
#define QEMU_ALIGN_UP(n, m)     QEMU_ALIGN_DOWN((n) + (m) - 1, (m))
#define QEMU_IS_ALIGNED(n, m)   (((n) % (m)) == 0)

static inline uintptr_t qemu_real_host_page_size(void)
{
    return getpagesize();
}

#endif
