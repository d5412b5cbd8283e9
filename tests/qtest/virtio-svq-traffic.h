/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: packets through a network card whose virtqueues are shadowed
 *
 * A SvqTx puts packets of a stream into a transmit queue; the device checks
 * them.  A SvqRx puts buffers into a receive queue, and checks what comes out
 * of it: each byte, the order, and that nothing is written beside the buffers.
 * A SvqLoad does both on all pairs of a card in a thread of its own.
 *
 * A queue belongs to one thread at a time.  Nothing here uses a socket of
 * QEMU's once svq_find_kicks() has been called, unless guest memory is behind
 * one (SvqConfig.socket_ram).
 */

#ifndef TESTS_QTEST_VIRTIO_SVQ_TRAFFIC_H
#define TESTS_QTEST_VIRTIO_SVQ_TRAFFIC_H

#include "qemu/thread.h"
#include "tests/vdpa-sim/packet.h"
#include "virtio-svq-rig.h"

/* Streams that a receive queue tells apart */
#define SVQ_STREAMS         128

/* What the device makes for a pair; @hop counts devices, from 0 on */
#define SVQ_STREAM_SOURCE(hop, pair) \
    (SVQ_PAIRS_MAX * (1 + (hop)) + (pair))

/* What packets and buffers are like; what is 0 is as small as can be */
typedef struct SvqShape {
    unsigned len_min, len_max;          /* bytes of frame */
    unsigned buf_min, buf_max;          /* bytes of a receive buffer */
    unsigned pieces_min, pieces_max;    /* descriptors of a buffer */
    unsigned indirect;                  /* percent of indirect buffers */
    unsigned burst;                     /* buffers for each kick, 0: all */
    uint64_t mem;       /* guest address of the buffers; 0: anywhere in RAM */
} SvqShape;

/* The buffers of a queue, one slot of memory for each */
typedef struct SvqLane {
    SvqNic *nic;
    QVirtQueue *vq;
    SvqShape shape;
    GRand *rand;
    uint64_t mem;               /* guest address of the slots */
    uint64_t tables;            /* and of their indirect tables */
    size_t slot_size;           /* bytes */
    unsigned slots;
    unsigned pieces_max;        /* of a direct buffer, that the ring holds */
    struct SvqSlot *slot;
    uint16_t *free;             /* numbers of free slots, a stack */
    unsigned free_count;
    uint16_t *slot_of;          /* by identity of the buffer */
    uint32_t last;              /* identity of what was added last */
    unsigned pending;           /* added, not yet published */
    uint64_t added;             /* buffers */
    uint64_t taken;
    uint8_t *data;              /* a slot's, in one piece */
} SvqLane;

typedef struct SvqTx {
    SvqLane lane;
    VdpaSimFlow flow;
    uint64_t seq;               /* of the next packet */
    uint64_t lost_max;          /* packets that a reset may have lost */
} SvqTx;

typedef struct SvqRx {
    SvqLane lane;
    VdpaSimStream stream[SVQ_STREAMS];
    uint8_t *packet;
    uint64_t packets;           /* received */
    uint64_t lost_max;          /* that a reset may have lost */
} SvqRx;

/* Transmit */

/**
 * svq_tx_init: begin to send
 * @tx: to be freed with svq_tx_cleanup()
 * @nic: a card that runs
 * @pair: the stream has its number, too
 * @shape: copied
 */
void svq_tx_init(SvqTx *tx, SvqNic *nic, unsigned pair, const SvqShape *shape);

/* The queue may be gone; the rig may not. */
void svq_tx_cleanup(SvqTx *tx);

/**
 * svq_tx_restart: go on after a reset
 * @tx: what was in flight is lost
 * @vq: the queue from now on, empty
 */
void svq_tx_restart(SvqTx *tx, QVirtQueue *vq);

/**
 * svq_tx_add: put the next packet into the ring
 * @tx: a sender
 *
 * Not visible to the device before svq_tx_go().
 *
 * Returns: false when the ring has no room
 */
bool svq_tx_add(SvqTx *tx);

/* svq_tx_go: publish what was added, and kick unless it is not wanted */
void svq_tx_go(SvqTx *tx);

/**
 * svq_tx_reap: take the buffers that came back
 * @tx: a sender
 *
 * Returns: whether there were any
 */
bool svq_tx_reap(SvqTx *tx);

/**
 * svq_tx_run: send packets, and wait for all of them
 * @tx: a sender
 * @count: how many
 * @what: what is going on, for the message
 *
 * The test stops as in svq_tx_finish().
 */
void svq_tx_run(SvqTx *tx, unsigned count, const char *what);

/**
 * svq_tx_finish: wait until nothing is in flight
 * @tx: a sender
 * @what: what is going on, for the message
 *
 * The test stops when a buffer does not come back, or when the device, if it
 * verifies, does not have all packets.
 */
void svq_tx_finish(SvqTx *tx, const char *what);

/* Receive */

/**
 * svq_rx_init: begin to receive
 * @rx: to be freed with svq_rx_cleanup()
 * @nic: a card that runs
 * @pair: the queue's
 * @shape: copied
 */
void svq_rx_init(SvqRx *rx, SvqNic *nic, unsigned pair, const SvqShape *shape);

/* The queue may be gone; the rig may not. */
void svq_rx_cleanup(SvqRx *rx);

/**
 * svq_rx_restart: go on after a reset
 * @rx: what was in flight is lost
 * @vq: the queue from now on, empty
 */
void svq_rx_restart(SvqRx *rx, QVirtQueue *vq);

/**
 * svq_rx_fill: put a buffer into the ring
 * @rx: a receiver
 *
 * Not visible to the device before svq_rx_go().
 *
 * Returns: false when the ring has no room
 */
bool svq_rx_fill(SvqRx *rx);

/* svq_rx_go: publish what was added, and kick unless it is not wanted */
void svq_rx_go(SvqRx *rx);

/* svq_rx_refill: as many buffers as there is room for */
void svq_rx_refill(SvqRx *rx);

/**
 * svq_rx_take: take the next packet, if there is one
 * @rx: a receiver
 *
 * All its buffers have to be there, as drivers rely on.  The test stops when
 * they are not, when the packet is damaged, is not the next of its stream, or
 * when something was written that is not part of it.
 *
 * Returns: whether there was one
 */
bool svq_rx_take(SvqRx *rx);

/**
 * svq_rx_wait: receive until there have been so many packets
 * @rx: a receiver, whose ring is kept full
 * @packets: SvqRx.packets to wait for
 * @what: what is going on, for the message
 */
void svq_rx_wait(SvqRx *rx, uint64_t packets, const char *what);

/**
 * svq_rx_drain: have the device fill all buffers that it has
 * @rx: a receiver, whose queue has a source
 * @what: what is going on, for the message
 *
 * The test stops when they do not come back, but for a rest that is too small
 * for a packet.  The source has ended then.
 */
void svq_rx_drain(SvqRx *rx, const char *what);

/**
 * svq_rx_untouched: check that nothing was written beside buffers in flight
 * @rx: a receiver
 */
void svq_rx_untouched(SvqRx *rx);

/* svq_rx_missing: packets of all streams that were not received */
uint64_t svq_rx_missing(const SvqRx *rx);

/* All pairs in a thread */

typedef struct SvqPair {
    SvqTx tx;
    SvqRx rx;
    bool off;                   /* nothing is sent */
} SvqPair;

typedef struct SvqLoad {
    SvqNic *nic;
    SvqPair pair[SVQ_PAIRS_MAX];
    QemuThread thread;
    QemuMutex lock;             /* of what follows */
    QemuCond cond;
    unsigned wish, state;       /* SvqLoadState */
} SvqLoad;

/**
 * svq_load_init: begin with traffic on all pairs of a card
 * @load: to be freed with svq_load_cleanup()
 * @nic: a card that runs
 * @shape: copied
 *
 * The thread is paused.
 */
void svq_load_init(SvqLoad *load, SvqNic *nic, const SvqShape *shape);

/* The thread is paused, and ends. */
void svq_load_cleanup(SvqLoad *load);

/* svq_load_go: let the thread drive the queues */
void svq_load_go(SvqLoad *load);

/* svq_load_pause: wait until the thread leaves the queues alone */
void svq_load_pause(SvqLoad *load);

/**
 * svq_load_restart: go on after a reset of the card
 * @load: paused, svq_driver_start() has been called again
 */
void svq_load_restart(SvqLoad *load);

/**
 * svq_load_finish: wait until all that was sent has arrived and is back
 * @load: paused
 * @what: what is going on, for the message
 */
void svq_load_finish(SvqLoad *load, const char *what);

#endif
