/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What modules need of QEMU's header of this name, to be built without QEMU
 */

#ifndef QAPI_ERROR_H
#define QAPI_ERROR_H

#include "qemu/osdep.h"

/**
 * error_setg:
 * @errp: where to put the error
 * @fmt: the message, as for printf()
 *
 * error.c beside this file does as QEMU does; a fuzz target that wants no more
 * than the message has a function of its own.
 */
void error_setg(Error **errp, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
const char *error_get_pretty(const Error *err);
void error_free(Error *err);

#endif
