/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: traffic on all queues of a card whose virtqueues are shadowed, which
 * goes on while single queues, or all of them, are changed
 *
 * A thread drives the queues.  The main thread takes a queue from it with
 * stress_hold(), and the others go on.  What is lost is counted to the packet:
 * a reset may lose what was in flight, and nothing but that, and nothing of
 * what was sent after the first packet that has arrived since.
 */

#ifndef TESTS_QTEST_VIRTIO_SVQ_STRESS_LOAD_H
#define TESTS_QTEST_VIRTIO_SVQ_STRESS_LOAD_H

#include "virtio-svq-traffic.h"

#define STRESS_PAIRS    SVQ_PAIRS_MAX
#define STRESS_QUEUES   (2 * STRESS_PAIRS)

/* Devices one after the other, whose packets can be told apart */
#define STRESS_DEVICES  (SVQ_STREAMS / SVQ_PAIRS_MAX - 1)

typedef struct StressQueue {
    QemuMutex lock;             /* of the thread's hands on the queue */
    bool held;                  /* the main thread has it; atomic */
    bool off;                   /* transmit: nothing is sent; main thread */
    int64_t nap;                /* when the thread drives it again */
    GRand *rand;                /* of the thread */
    uint64_t since;             /* see stress_lost() */
    uint64_t home;              /* guest address of its slots in RAM */
    int dimm;                   /* in which the slots are, or -1 */
} StressQueue;

typedef struct StressLoad {
    SvqNic nic;
    bool direct;                /* kicks are writes to eventfds */
    SvqTx tx[STRESS_PAIRS];
    SvqRx rx[STRESS_PAIRS];
    StressQueue queue[STRESS_QUEUES];
    unsigned device;            /* number of the one that there is */
    QemuMutex wire;             /* of QEMU's socket for registers */
    QemuThread thread;
    bool quit;                  /* atomic */
} StressLoad;

/**
 * stress_begin: begin with traffic
 * @l: zero but for the card, which runs, and @l->direct; to be ended with
 *     stress_end()
 * @shape: of packets and buffers
 *
 * All queues are held.
 */
void stress_begin(StressLoad *l, const SvqShape *shape);

/**
 * stress_end: wait for all that was sent, and end the thread
 * @l: with all pairs on, and all queues held
 *
 * The test stops when a packet is missing that no reset has lost.
 */
void stress_end(StressLoad *l);

/**
 * stress_hold: take a queue from the thread
 * @l: a load
 * @queue: its number
 */
void stress_hold(StressLoad *l, unsigned queue);

/**
 * stress_release: let the thread drive a queue again
 * @l: a load
 * @queue: a queue that was held
 */
void stress_release(StressLoad *l, unsigned queue);

/* stress_hold_all: take all queues from the thread */
void stress_hold_all(StressLoad *l);

/**
 * stress_release_all: let the thread drive all queues again
 * @l: a load whose queues are all held
 *
 * Kicks find their way even if the device has been stopped and started.
 */
void stress_release_all(StressLoad *l);

/**
 * stress_restarted: a queue, or the card, was reset
 * @l: a load
 * @queue: a queue that is held, new and empty
 */
void stress_restarted(StressLoad *l, unsigned queue);

/**
 * stress_lost: packets in flight may have been lost
 * @l: a load
 * @queue: a transmit queue that is held
 * @count: how many at most
 */
void stress_lost(StressLoad *l, unsigned queue, uint64_t count);

/**
 * stress_drain: wait for all buffers of a transmit queue
 * @l: a load
 * @queue: a transmit queue that is held
 */
void stress_drain(StressLoad *l, unsigned queue);

/**
 * stress_check_stopped: check that a stopped device leaves nothing behind
 * @l: a load whose queues are all held
 *
 * All that the device says it has received is in the ring.
 */
void stress_check_stopped(StressLoad *l);

/**
 * stress_new_device: have a device make packets that can be told from those
 * of the one before
 * @l: a load; stress_moved() follows if the card gets this device
 * @sim: a device that was not started yet
 */
void stress_new_device(StressLoad *l, VdpaSim *sim);

/**
 * stress_moved: the card has another device
 * @l: a load whose queues are all held; stress_check_stopped() has been called
 *     for the old device
 */
void stress_moved(StressLoad *l);

/**
 * stress_place: change where the slots of a queue are
 * @l: a load
 * @queue: a queue that is held, with nothing in flight
 * @dimm: number of a DIMM, or -1 for RAM
 */
void stress_place(StressLoad *l, unsigned queue, int dimm);

/**
 * stress_lane: the ring of a queue
 * @l: a load
 * @queue: its number
 */
static inline SvqLane *stress_lane(StressLoad *l, unsigned queue)
{
    return queue & 1 ? &l->tx[queue / 2].lane : &l->rx[queue / 2].lane;
}

#endif
