/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What a fuzz target has to define, for libFuzzer and for replay.c alike
 */

#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/**
 * LLVMFuzzerTestOneInput:
 * @data: the input
 * @size: bytes of @data
 *
 * Run the target on one input; a failure ends the process.
 *
 * Returns: 0
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
