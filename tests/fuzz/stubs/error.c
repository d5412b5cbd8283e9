/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Errors to be built without QEMU; see qapi/error.h beside this file
 */

#include "qapi/error.h"

struct Error {
    char *message;
};

void error_setg(Error **errp, const char *fmt, ...)
{
    va_list ap;

    if (errp) {
        *errp = g_new(Error, 1);
        va_start(ap, fmt);
        (*errp)->message = g_strdup_vprintf(fmt, ap);
        va_end(ap);
    }
}

const char *error_get_pretty(const Error *err)
{
    return err->message;
}

void error_free(Error *err)
{
    g_free(err->message);
    g_free(err);
}
