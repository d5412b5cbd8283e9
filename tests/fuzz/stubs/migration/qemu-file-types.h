/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What modules need of QEMU's header of this name, to be built without QEMU:
 * a stream in memory.  Reading beyond its end gives zeroes and an error that
 * stays, as in QEMU.
 */

#ifndef MIGRATION_QEMU_FILE_TYPES_H
#define MIGRATION_QEMU_FILE_TYPES_H

#include "qemu/osdep.h"

struct QEMUFile {
    uint8_t *data;
    size_t size;        /* that can be read, or written */
    size_t pos;
    int error;
};

int qemu_file_get_error(QEMUFile *f);
int qemu_get_byte(QEMUFile *f);
unsigned int qemu_get_be16(QEMUFile *f);
unsigned int qemu_get_be32(QEMUFile *f);
void qemu_put_byte(QEMUFile *f, int v);
void qemu_put_be16(QEMUFile *f, unsigned int v);
void qemu_put_be32(QEMUFile *f, unsigned int v);

#endif
