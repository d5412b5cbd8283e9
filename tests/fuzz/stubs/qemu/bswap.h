/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What modules need of QEMU's header of this name, to be built without QEMU
 */

#ifndef BSWAP_H
#define BSWAP_H

#include <glib.h>

#define cpu_to_le16(v)  GUINT16_TO_LE(v)
#define cpu_to_le32(v)  GUINT32_TO_LE(v)
#define cpu_to_le64(v)  GUINT64_TO_LE(v)
#define le16_to_cpu(v)  GUINT16_FROM_LE(v)
#define le32_to_cpu(v)  GUINT32_FROM_LE(v)
#define le64_to_cpu(v)  GUINT64_FROM_LE(v)

#endif
