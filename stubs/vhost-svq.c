/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Shadow virtqueues, where there are none
 */

#include "qemu/osdep.h"
#include "hw/virtio/svq/svq.h"

void svq_for_each(void (*fn)(const SVQInfo *info, void *opaque), void *opaque)
{
}
