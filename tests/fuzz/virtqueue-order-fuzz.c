/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Fuzz target: the order tracker against its model
 *
 * A difference between the two aborts, see tests/unit/virtqueue-order-model.c.
 */

#include "fuzz.h"
#include "virtqueue-order-model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    virtqueue_order_model_run(data, size);
    return 0;
}
