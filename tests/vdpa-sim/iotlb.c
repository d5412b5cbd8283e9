/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vdpa-sim: where an I/O virtual address is in memory, see iotlb.h
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <linux/vhost_types.h>

#include "iotlb.h"

/* The generation of the address space that was made last */
static uint64_t last_gen;

static SimIotlb *iotlb_alloc(uint32_t num)
{
    SimIotlb *tlb = malloc(sizeof(*tlb) + num * sizeof(tlb->map[0]));

    if (tlb) {
        tlb->gen = __atomic_add_fetch(&last_gen, 1, __ATOMIC_RELAXED);
        tlb->num = num;
    }
    return tlb;
}

SimIotlb *sim_iotlb_new(void)
{
    return iotlb_alloc(0);
}

/* Returns the number of the first mapping that does not end before @iova */
static uint32_t iotlb_find(const SimIotlb *tlb, uint64_t iova)
{
    uint32_t low = 0, high = tlb->num;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;

        if (tlb->map[mid].last < iova) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

SimIotlb *sim_iotlb_add(const SimIotlb *old, const SimMapping *add, int *error)
{
    uint32_t at = iotlb_find(old, add->first);
    SimIotlb *tlb;

    if (at < old->num && old->map[at].first <= add->last) {
        *error = -EEXIST;
        return NULL;
    }
    tlb = iotlb_alloc(old->num + 1);
    if (!tlb) {
        *error = -ENOMEM;
        return NULL;
    }
    memcpy(tlb->map, old->map, at * sizeof(tlb->map[0]));
    tlb->map[at] = *add;
    memcpy(&tlb->map[at + 1], &old->map[at],
           (old->num - at) * sizeof(tlb->map[0]));
    return tlb;
}

SimIotlb *sim_iotlb_del(const SimIotlb *old, uint64_t first, uint64_t last,
                        bool *cut)
{
    SimIotlb *tlb = iotlb_alloc(old->num);
    uint32_t i;

    *cut = false;
    if (!tlb) {
        return NULL;
    }
    tlb->num = 0;
    for (i = 0; i < old->num; i++) {
        const SimMapping *m = &old->map[i];

        if (m->last < first || m->first > last) {
            tlb->map[tlb->num++] = *m;
        } else if (m->first < first || m->last > last) {
            *cut = true;
        }
    }
    return tlb;
}

int sim_iotlb_translate(const SimIotlb *tlb, uint32_t *hint, uint64_t iova,
                        uint64_t len, bool write, struct iovec *iov, int max)
{
    uint8_t perm = write ? VHOST_ACCESS_WO : VHOST_ACCESS_RO;
    int n = 0;

    if (len && iova + (len - 1) < iova) {
        return -1;
    }
    while (len) {
        const SimMapping *m;
        uint64_t size;
        char *base;

        if (*hint >= tlb->num || iova < tlb->map[*hint].first ||
            iova > tlb->map[*hint].last) {
            *hint = iotlb_find(tlb, iova);
            if (*hint >= tlb->num || iova < tlb->map[*hint].first) {
                return -1;
            }
        }
        m = &tlb->map[*hint];
        if (!(m->perm & perm)) {
            return -1;
        }
        size = m->last - iova;
        size = size < len - 1 ? size + 1 : len;
        base = (char *)(uintptr_t)(m->uaddr + (iova - m->first));
        if (n && (char *)iov[n - 1].iov_base + iov[n - 1].iov_len == base) {
            iov[n - 1].iov_len += size;
        } else if (n == max) {
            return -1;
        } else {
            iov[n].iov_base = base;
            iov[n++].iov_len = size;
        }
        iova += size;
        len -= size;
    }
    return n;
}
