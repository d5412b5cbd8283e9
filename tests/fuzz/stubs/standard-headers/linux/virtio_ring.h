/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QEMU has a copy of the kernel's header; without QEMU, the system's is as good
 */

#include <linux/virtio_ring.h>
