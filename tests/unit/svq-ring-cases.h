/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The parts of test-svq-ring
 */

#ifndef TESTS_UNIT_SVQ_RING_CASES_H
#define TESTS_UNIT_SVQ_RING_CASES_H

/**
 * svq_ring_test_each:
 * @name: of the test
 * @fn: the test; its argument is a const SVQRingConfig
 * @sizes: of rings, 0 is the end
 *
 * Have a test run for each combination of features, in rings of each size that
 * the layout can have.
 */
void svq_ring_test_each(const char *name, GTestDataFunc fn,
                        const unsigned int *sizes);

/* Add the tests of svq-ring-hostile.c and of svq-ring-threads.c */
void svq_ring_test_hostile(void);
void svq_ring_test_threads(void);

#endif
