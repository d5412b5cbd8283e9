/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: a network card whose virtqueues are shadowed
 *
 * The guest's driver is the test; the card's back end is vhost-vdpa with
 * x-svq=on; the vDPA device is vdpa-sim, which is loaded into QEMU and shares
 * what it does and sees with the test.  So the test has both ends of the
 * shadow virtqueue in its hands, and chooses what each of them negotiates.
 *
 * The QEMU is the rig of virtio-in-order-rig.h, so what that offers works here
 * too: guest(), set_link() and so on.
 *
 * The test's main thread does everything, but for the data path: what the
 * functions of virtio-svq-traffic.h do to a queue once svq_find_kicks() has
 * been called needs no socket of QEMU's, and may be done by another thread
 * while the main thread leaves the device's registers alone.
 */

#ifndef TESTS_QTEST_VIRTIO_SVQ_RIG_H
#define TESTS_QTEST_VIRTIO_SVQ_RIG_H

#include "tests/vdpa-sim/vdpa-sim.h"
#include "virtio-in-order-exchange.h"
#include "virtio-in-order-rig.h"
#include "standard-headers/linux/virtio_net.h"

#define SVQ_PAIRS_MAX   4
#define SVQ_QUEUES_MAX  (2 * SVQ_PAIRS_MAX + 1)

/* A DIMM of its own for tests, next to each other */
#define SVQ_DIMMS       2
#define SVQ_DIMM_ADDR   (4 * GiB)
#define SVQ_DIMM_SIZE   (32 * MiB)

/* VIRTIO_F_NOTIFICATION_DATA, which QEMU's headers do not have */
#define SVQ_F_NOTIFICATION_DATA 38

/* What the device ring of vdpa-sim can be */
typedef struct SvqDeviceMode {
    const char *name;           /* in the path of a case */
    uint64_t features;          /* of SVQ_RING_FEATURES, that it offers */
} SvqDeviceMode;

/* The features that SvqDeviceMode is about */
#define SVQ_RING_FEATURES                                                   \
    (BIT_ULL(VIRTIO_F_RING_PACKED) | BIT_ULL(VIRTIO_F_IN_ORDER) |           \
     BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) |                                 \
     BIT_ULL(VIRTIO_RING_F_EVENT_IDX) | BIT_ULL(SVQ_F_NOTIFICATION_DATA))

/* A QEMU and its card; what is 0 is as usual */
typedef struct SvqConfig {
    const Mode *guest;          /* what the guest is offered */
    SvqDeviceMode device;
    unsigned pairs;             /* of queues */
    unsigned iothreads;         /* 0: the queues are in the main loop */
    unsigned size;              /* of the guest's data rings, 0: 256 */
    unsigned device_size;       /* most entries of the device's, 0: 1024 */
    const char *doorbell;       /* svq-doorbell */
    uint32_t pages;             /* bit N: queue N has a notify page */
    bool interrupts;            /* MSI-X; see svq_interrupted() */
    bool hotplug;               /* the card can be unplugged */
    const char *args;           /* more of QEMU's arguments, or NULL */
    const char *trace;          /* events that QEMU is to write down */
    bool reset;                 /* the device offers VIRTIO_F_RING_RESET */
    bool iommu;                 /* the card is behind an IOMMU */
    bool passthrough;           /* without x-svq */
    bool socket_ram;            /* guest memory through the qtest socket */
    uint64_t without;           /* features that the driver leaves out */
    unsigned poll_max_ns;       /* of the IOThreads; 0: theirs */
} SvqConfig;

typedef struct SvqNic {
    SvqConfig config;
    VdpaSim *sim;
    char *dir;                  /* with the files of the devices */
    char *path;                 /* of @sim */
    unsigned sims;              /* that there have been */
    unsigned pairs;             /* that the driver has turned on */

    Dev *dev;
    QVirtQueue *rx[SVQ_PAIRS_MAX], *tx[SVQ_PAIRS_MAX], *ctrl;
    Exchange command;
    QVirtioBus bus;             /* the card's, but for kicks */
    const QVirtioBus *pci_bus;
    int kick[SVQ_QUEUES_MAX];   /* the guest's host notifiers, or -1 */

    int dimm_fd[SVQ_DIMMS];     /* their memory */
    uint8_t *dimm_host;         /* the same, one after the other */
    uint8_t *window_host;       /* see svq_window() */
} SvqNic;

/**
 * svq_can_run: is the device there?
 *
 * Called first in each case.
 *
 * Returns: false when it cannot be loaded into QEMU; the case is marked as
 * skipped then
 */
bool svq_can_run(void);

/**
 * svq_start: start a QEMU with a card, and the card's driver
 * @nic: filled in; to be ended with svq_stop()
 * @config: copied
 *
 * The data queues are set up, one pair is on.  The test stops when anything
 * is not as it has to be.
 */
void svq_start(SvqNic *nic, const SvqConfig *config);

/**
 * svq_boot: the same without the driver
 * @nic: filled in; to be ended with svq_stop(), after svq_driver_start() and
 *       svq_driver_stop() if there was a driver
 * @config: copied
 */
void svq_boot(SvqNic *nic, const SvqConfig *config);

/**
 * svq_stop: end the driver, then QEMU
 * @nic: a card that was started; svq_check() is part of it
 */
void svq_stop(SvqNic *nic);

/**
 * svq_halt: end QEMU
 * @nic: a card without a driver
 */
void svq_halt(SvqNic *nic);

/**
 * svq_driver_start: reset the card, negotiate, set up all queues
 * @nic: a card without a driver
 *
 * One pair is on.
 */
void svq_driver_start(SvqNic *nic);

/**
 * svq_driver_stop: reset the card
 * @nic: a card; buffers may be in flight, and are lost
 */
void svq_driver_stop(SvqNic *nic);

/**
 * svq_set_pairs: have the card use so many pairs of queues
 * @nic: a card
 * @pairs: their number
 */
void svq_set_pairs(SvqNic *nic, unsigned pairs);

/**
 * svq_check: has QEMU kept the rules towards the device?
 * @nic: a card
 *
 * The test stops when the device has seen an access to memory that it was not
 * given, a violation of the specification, or a packet that was damaged.
 */
void svq_check(SvqNic *nic);

/**
 * svq_find_kicks: have kicks go directly to the eventfds that QEMU waits on
 * @nic: a card that runs, without traffic
 *
 * As with KVM, a kick is the write to an eventfd then.  They are found by
 * writing to all eventfds that QEMU has, and asking which queue has woken up,
 * so the counters of svq_stat() change, and now and then an interrupt comes
 * for nothing.  What stops the device ends this: svq_driver_stop(), "stop".
 */
void svq_find_kicks(SvqNic *nic);

/**
 * svq_forget_kicks: have kicks go through the socket
 * @nic: a card
 */
void svq_forget_kicks(SvqNic *nic);

/**
 * svq_ptr: the test's own view of guest memory, DIMMs included
 * @nic: a card without SvqConfig.socket_ram
 * @addr: guest physical address
 * @len: bytes that will be accessed; the test stops when they are not all
 *       in guest memory
 */
void *svq_ptr(SvqNic *nic, uint64_t addr, size_t len);

/**
 * svq_write: write guest memory, whichever way there is
 * @nic: a card
 * @addr: guest physical address
 * @data: what to write
 * @len: bytes
 */
void svq_write(SvqNic *nic, uint64_t addr, const void *data, size_t len);

/**
 * svq_read: read guest memory
 * @nic: a card
 * @addr: guest physical address
 * @data: where to
 * @len: bytes
 */
void svq_read(SvqNic *nic, uint64_t addr, void *data, size_t len);

/**
 * svq_info: what QEMU says about a shadow virtqueue
 * @nic: a card
 * @queue: number of the queue
 *
 * The test stops when there is no such queue.
 *
 * Returns: a member of the answer to x-query-vhost-svq, to be freed with
 * qobject_unref()
 */
QDict *svq_info(SvqNic *nic, unsigned queue);

/**
 * svq_stat: a counter of a shadow virtqueue
 * @nic: a card
 * @queue: number of the queue
 * @key: its name in the answer to x-query-vhost-svq
 */
uint64_t svq_stat(SvqNic *nic, unsigned queue, const char *key);

/**
 * svq_traced: what QEMU has written down
 * @nic: a card with SvqConfig.trace
 *
 * Returns: a line for each event, which the caller frees with g_free()
 */
char *svq_traced(SvqNic *nic);

/**
 * svq_in_flight: how many buffers of the guest the device has
 * @nic: a card
 * @queue: number of the queue
 */
unsigned svq_in_flight(SvqNic *nic, unsigned queue);

/**
 * svq_interrupted: has a queue interrupted the driver?
 * @nic: a card with SvqConfig.interrupts
 * @vq: the queue
 *
 * Returns: true once for each time, unless several come at once
 */
bool svq_interrupted(SvqNic *nic, QVirtQueue *vq);

/**
 * svq_queue_reset: reset a queue, and set it up again
 * @nic: a card with SvqConfig.reset
 * @queue: number of a data queue; buffers may be in flight, and are lost
 */
void svq_queue_reset(SvqNic *nic, unsigned queue);

/**
 * svq_unplug: unplug the card
 * @nic: with SvqConfig.hotplug; the driver stops without a reset
 *
 * The device is given up as well.
 */
void svq_unplug(SvqNic *nic);

/**
 * svq_plug: plug the card in again
 * @nic: without a driver
 */
void svq_plug(SvqNic *nic);

/**
 * svq_wait: give QEMU the CPU, in a loop that waits for it
 * @nic: a card
 * @start: 0 before the loop, and whenever there was progress
 * @vq: the queue that is waited for
 * @what: what is waited for
 *
 * As wait_a_little(), with what QEMU and the device say about it.
 */
void svq_wait(SvqNic *nic, gint64 *start, QVirtQueue *vq, const char *what);

/**
 * svq_cpu: CPU time that QEMU has used, without the device
 * @nic: a card
 *
 * Returns: nanoseconds
 */
uint64_t svq_cpu(SvqNic *nic);

/**
 * svq_dimm_plug: plug a DIMM
 * @nic: a card
 * @i: which one
 */
void svq_dimm_plug(SvqNic *nic, unsigned i);

/**
 * svq_dimm_unplug: have the guest let go of a DIMM, and the user of its memory
 * @nic: a card
 * @i: which one
 */
void svq_dimm_unplug(SvqNic *nic, unsigned i);

/**
 * svq_dimm_addr: where a DIMM is
 * @i: which one
 */
static inline uint64_t svq_dimm_addr(unsigned i)
{
    return SVQ_DIMM_ADDR + i * SVQ_DIMM_SIZE;
}

/**
 * svq_window: look at the window of an IOMMU as the card does
 * @nic: a card behind one
 * @pages: what rig_vtd_enable() has returned
 *
 * From now on the window is memory for svq_ptr().
 */
void svq_window(SvqNic *nic, uint64_t pages);

/* The device, for those who start a QEMU with another one */

/**
 * svq_shim_path: where vdpa-sim.so is
 *
 * Returns: its path, or NULL when it cannot be loaded
 */
const char *svq_shim_path(void);

/**
 * svq_sim_new: create a device for a card
 * @nic: a card; its path becomes the device's
 *
 * Returns: the device, to be freed with svq_sim_free()
 */
VdpaSim *svq_sim_new(SvqNic *nic);

/**
 * svq_sim_free: give a device up
 * @sim: the device
 * @path: of its file, which is removed; freed
 */
void svq_sim_free(VdpaSim *sim, char *path);

/* The VM moves to another QEMU, whose card has a device of its own */

typedef struct SvqMove {
    QTestState *to;
    VdpaSim *sim;
    char *path;
    int ram_fd;                 /* memory of the destination */
    int stream;                 /* our end of what nobody reads, or -1 */
    uint64_t ballast;           /* guest memory, to keep the source busy */
    uint8_t byte;               /* what it is filled with */
} SvqMove;

/**
 * svq_move_begin: begin a migration, while the card goes on
 * @nic: a card
 * @move: filled in; to be ended with svq_move_end() or svq_move_cancel()
 * @never: it cannot complete, because nobody reads the stream
 *
 * Both QEMUs work on the same memory.  With SvqConfig.socket_ram, memory moves
 * as well, and svq_move_dirty() keeps the source from stopping.
 */
void svq_move_begin(SvqNic *nic, SvqMove *move, bool never);

/**
 * svq_move_dirty: write to memory while it moves
 * @nic: a card with SvqConfig.socket_ram
 * @move: a migration under way.  For half a second after this call, there is
 *        something left to be sent, and the source does not stop.
 *
 * Returns: how often QEMU has looked which memory is dirty.  What was dirty at
 * one time has been sent at the next.
 */
unsigned svq_move_dirty(SvqNic *nic, SvqMove *move);

/**
 * svq_move_switch: have the source stop and hand over
 * @nic: a card that nobody drives
 * @move: a migration under way, which can complete
 */
void svq_move_switch(SvqNic *nic, SvqMove *move);

/**
 * svq_move_end: go on at the destination
 * @nic: from now on there
 * @move: a migration that was completed by svq_move_switch()
 *
 * What the new device is to do (VdpaSim.ctl) is as at the old one, and it goes
 * on to expect what that was sent last.
 */
void svq_move_end(SvqNic *nic, SvqMove *move);

/**
 * svq_move_cancel: give a migration up
 * @nic: a card
 * @move: a migration under way
 */
void svq_move_cancel(SvqNic *nic, SvqMove *move);

#endif
