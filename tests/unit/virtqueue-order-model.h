/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A naive model of the order tracker, to check the real one against
 *
 * The unit test feeds it random bytes, the fuzzer bytes of its own.
 */

#ifndef TESTS_UNIT_VIRTQUEUE_ORDER_MODEL_H
#define TESTS_UNIT_VIRTQUEUE_ORDER_MODEL_H

#include <stddef.h>
#include <stdint.h>

/**
 * virtqueue_order_model_run:
 * @data: a program: each operation is one byte and its operands
 * @size: bytes of @data
 *
 * Run the program on a fresh tracker and on the model, and compare them after
 * each operation.  A difference ends the process with a message.
 *
 * Returns: the number of operations run.
 */
size_t virtqueue_order_model_run(const uint8_t *data, size_t size);

#endif
