/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: a virtio driver that keeps no rule, steered by a string of bytes
 *
 * The bytes are operations of a driver: rings of any size at any address,
 * descriptors with any content, buffers made available in any order or twice,
 * registers and rings changed while the device works, resets, and in between
 * what a driver should do, so that the device has something in flight when it
 * happens.  After each string, a driver that keeps all the rules has to get
 * its packet or its sector from the same device.
 *
 * A fuzzer that QEMU is linked into (fuzz/virtio_in_order_fuzz.c) and a test
 * that talks to QEMU through a socket (virtio-in-order-hostile-test.c) run
 * the same strings.
 *
 * Everything here runs in one thread, on the rig of virtio-in-order-rig.h.
 */

#ifndef TESTS_QTEST_VIRTIO_IN_ORDER_HOSTILE_H
#define TESTS_QTEST_VIRTIO_IN_ORDER_HOSTILE_H

#include "virtio-in-order-rig.h"

/* The most queues that the driver uses of a device */
#define HOSTILE_QUEUES  3

/* The longest string that is looked at, bytes */
#define HOSTILE_INPUT_MAX   4096

#define HOSTILE_RING_MAX    1024    /* entries */
#define HOSTILE_NET_HDR     12      /* bytes, VIRTIO 1.2, 5.1.6 */
#define HOSTILE_PKT         60      /* bytes of a packet */

/* What depends on how QEMU is reached */
typedef struct HostileHost {
    void (*run)(void);              /* let QEMU do what it can do by now */
    void (*set_link)(bool up);      /* plug the network cable; or NULL */
    void (*set_running)(bool on);   /* stop or go on with the VM; or NULL */
} HostileHost;

/* A buffer that was made available by the rules */
typedef struct HostileBuffer {
    uint16_t id;
    uint16_t ndescs;
} HostileBuffer;

typedef struct HostileQueue {
    uint64_t desc, avail, used;     /* guest physical addresses */
    unsigned num;                   /* entries */
    uint64_t notify;                /* offset in the BAR */
    unsigned next;                  /* position of the next descriptor */
    bool wrap;                      /* packed: the wrap counter there */
    uint16_t avail_idx;             /* split */
    unsigned slot;                  /* memory of the next buffer */
    /*
     * The account, as long as the driver has kept the rules on this queue;
     * used elements are checked until then.
     */
    bool clean;
    HostileBuffer *in_flight;       /* as many as the longest ring has */
    unsigned oldest, count;
    unsigned taken;                 /* descriptors of these buffers */
    unsigned used_pos;              /* packed; the next used descriptor */
    bool used_wrap;
    uint16_t used_idx;              /* split */
} HostileQueue;

typedef struct Hostile {
    const HostileHost *host;
    Dev *dev;
    bool net;                       /* virtio-net, or else virtio-blk */
    uint32_t config[16];            /* PCI header when all was well */
    uint16_t msix_control;
    uint8_t msix_cap;               /* 0: none */
    uint64_t features;              /* negotiated by the string */
    bool packed, in_order;
    bool link_down, stopped, pci_changed;
    HostileQueue queue[HOSTILE_QUEUES];
    const uint8_t *data;            /* what is left of the string */
    size_t size;
} Hostile;

/**
 * hostile_init: prepare a device of the rig
 * @h: filled in; to be freed with hostile_cleanup()
 * @id: DEV_DGRAM or a disk; enabled on the PCI bus
 * @host: how to reach QEMU; has to outlive @h
 */
void hostile_init(Hostile *h, DevId id, const HostileHost *host);

/**
 * hostile_cleanup: free what belongs to a device
 * @h: of hostile_init()
 */
void hostile_cleanup(Hostile *h);

/**
 * hostile_input: do what a string says, then check that the device is well
 * @h: of hostile_init()
 * @data: the string
 * @size: its length in bytes; only HOSTILE_INPUT_MAX are looked at
 *
 * The test stops when QEMU crashes, when a queue on which all rules were kept
 * so far has a used element that must not be, or as in hostile_recover().
 */
void hostile_input(Hostile *h, const uint8_t *data, size_t size);

/**
 * hostile_recover: reset the device and be a good driver
 * @h: of hostile_init()
 *
 * The test stops when a packet does not get through, or a sector cannot be
 * read, within RIG_TIMEOUT_US.
 */
void hostile_recover(Hostile *h);

/* Between the driver (virtio-in-order-hostile-ops.c) and what watches it */

/**
 * hostile_queues: how many queues the driver uses
 * @h: of hostile_init()
 */
static inline unsigned hostile_queues(const Hostile *h)
{
    return h->net ? HOSTILE_QUEUES : 1;
}

/**
 * hostile_begin: reset the device and set it up, as the string wants it
 * @h: with a string
 */
void hostile_begin(Hostile *h);

/**
 * hostile_step: do the string's next operation
 * @h: begun, with a string that is not at its end
 */
void hostile_step(Hostile *h);

/**
 * hostile_account: note a buffer that was made available by the rules
 * @hq: its queue
 * @id: its head descriptor (split) or buffer ID (packed)
 * @ndescs: positions that it takes in the ring of used elements
 *
 * A buffer that lies on others in flight is the end of the account.
 */
void hostile_account(HostileQueue *hq, uint16_t id, unsigned ndescs);

#endif
