/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vdpa-sim: where an I/O virtual address is in memory
 *
 * A SimIotlb is an address space as the driver has mapped it.  It never
 * changes: a change makes another one, which takes its place between two
 * batches of each queue.  So those who look up need no lock.
 */
#ifndef TESTS_VDPA_SIM_IOTLB_H
#define TESTS_VDPA_SIM_IOTLB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

typedef struct SimMapping {
    uint64_t first;             /* I/O virtual addresses, both inclusive */
    uint64_t last;
    uint64_t uaddr;             /* of the first one, in this process */
    uint8_t perm;               /* VHOST_ACCESS_* */
} SimMapping;

typedef struct SimIotlb {
    uint64_t gen;               /* no two have the same, in all devices */
    uint32_t num;
    SimMapping map[];           /* by address; they do not overlap */
} SimIotlb;

/**
 * sim_iotlb_new: an address space with nothing in it
 *
 * Returns: it, for free(), or NULL without memory
 */
SimIotlb *sim_iotlb_new(void);

/**
 * sim_iotlb_add: an address space with one mapping more
 * @old: the address space before; stays the caller's
 * @add: with @add->last not below @add->first
 * @error: set to -EEXIST if @add overlaps another, -ENOMEM
 *
 * Returns: it, for free(), or NULL
 */
SimIotlb *sim_iotlb_add(const SimIotlb *old, const SimMapping *add,
                        int *error);

/**
 * sim_iotlb_del: an address space with fewer mappings
 * @old: the address space before; stays the caller's
 * @first: the range to unmap, both inclusive
 * @last: see @first
 * @cut: set to whether a mapping reaches beyond the range.  It is removed
 *       wholly, as the kernel does.
 *
 * Returns: it, for free(), or NULL without memory
 */
SimIotlb *sim_iotlb_del(const SimIotlb *old, uint64_t first, uint64_t last,
                        bool *cut);

/**
 * sim_iotlb_translate: find what a piece of an address space is in memory
 * @tlb: the address space
 * @hint: a mapping's number, to be tried first; set to the last one used
 * @iova: address of the piece
 * @len: its bytes
 * @write: whether it is to be written, or else read
 * @iov: set to the pieces of memory; adjacent ones are one
 * @max: room in @iov
 *
 * Returns: how many pieces there are, 0 if @len is; or -1 if not all of it may
 * be accessed so, or if @max is too small
 */
int sim_iotlb_translate(const SimIotlb *tlb, uint32_t *hint, uint64_t iova,
                        uint64_t len, bool write, struct iovec *iov, int max);

#endif
