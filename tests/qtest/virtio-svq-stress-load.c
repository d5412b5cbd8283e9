/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: traffic on all queues of a card whose virtqueues are shadowed, see
 * virtio-svq-stress-load.h
 *
 * Locking: the thread touches a queue, that is its SvqTx or SvqRx, with
 * StressQueue.lock, and only if StressQueue.held is not set; the main thread
 * does so while it is.  The main thread alone changes the card, and what the
 * thread reads of it (SvqNic.kick, the queues) it changes while all queues that
 * this concerns are held.  Kicks that go through QEMU's socket take
 * StressLoad.wire; so does the main thread for what uses that socket while the
 * thread runs.
 */

#include "qemu/osdep.h"
#include "virtio-svq-stress-load.h"

/* Buffers for a step of the thread, at most */
#define STEP        64

/* One step in so many is followed by a nap, of so many microseconds at most */
#define NAP_EVERY   500
#define NAP_MAX_US  2000

/* The thread */

static bool step_tx(SvqTx *tx, StressQueue *q, unsigned max)
{
    bool any = false;
    unsigned i;

    for (i = 0; i < max && !q->off && svq_tx_add(tx); i++) {
        any = true;
    }
    svq_tx_go(tx);
    return svq_tx_reap(tx) || any;
}

static bool step_rx(SvqRx *rx, unsigned max)
{
    bool any = false;
    unsigned i;

    for (i = 0; i < max && svq_rx_take(rx); i++) {
        any = true;
    }
    if (any || rx->lane.added == rx->lane.taken) {
        svq_rx_refill(rx);
    }
    return any;
}

/* Returns: whether there was progress */
static bool step(StressLoad *l, unsigned n)
{
    StressQueue *q = &l->queue[n];
    int64_t now = g_get_monotonic_time();
    unsigned max;

    if (now < q->nap) {
        return false;
    }
    if (!g_rand_int_range(q->rand, 0, NAP_EVERY)) {
        q->nap = now + g_rand_int_range(q->rand, 0, NAP_MAX_US);
    }
    max = g_rand_int_range(q->rand, 1, STEP + 1);
    return n & 1 ? step_tx(&l->tx[n / 2], q, max)
                 : step_rx(&l->rx[n / 2], max);
}

static void *drive(void *opaque)
{
    StressLoad *l = opaque;
    unsigned i;

    while (!qatomic_read(&l->quit)) {
        bool any = false;

        for (i = 0; i < STRESS_QUEUES; i++) {
            StressQueue *q = &l->queue[i];

            if (!qatomic_read(&q->held)) {
                qemu_mutex_lock(&q->lock);
                any |= !qatomic_read(&q->held) && step(l, i);
                qemu_mutex_unlock(&q->lock);
            }
        }
        if (!any) {
            g_usleep(50);
        }
    }
    return NULL;
}

/* Kicks, of either thread */
static void kick(QVirtioDevice *d, QVirtQueue *vq)
{
    SvqNic *nic = container_of(d->bus, SvqNic, bus);
    StressLoad *l = container_of(nic, StressLoad, nic);
    uint64_t one = 1;

    if (nic->kick[vq->index] >= 0) {
        g_assert_cmpint(write(nic->kick[vq->index], &one, sizeof(one)), ==,
                        sizeof(one));
    } else {
        qemu_mutex_lock(&l->wire);
        nic->pci_bus->virtqueue_kick(d, vq);
        qemu_mutex_unlock(&l->wire);
    }
}

/* What may be lost */

/*
 * What a reset has lost is known by the packets that came after it.  From then
 * on nothing more may be.
 */
static void settle(StressLoad *l, unsigned n)
{
    StressQueue *q = &l->queue[n];

    if (n & 1) {
        VdpaSimStream *s = &l->nic.sim->stats[n].stream;
        SvqTx *tx = &l->tx[n / 2];
        uint64_t next = qatomic_load_acquire(&s->next);
        uint64_t missing = qatomic_read(&s->missing);

        g_assert_cmpuint(missing, <=, tx->lost_max);
        /* The device counts a gap and the packet behind it one by one */
        if (next > q->since + 1) {
            tx->lost_max = missing;
        }
    } else {
        SvqRx *rx = &l->rx[n / 2];

        if (rx->packets > q->since) {
            rx->lost_max = svq_rx_missing(rx);
        }
    }
}

/* The queue has to have another packet for settle() to know */
static void unsettle(StressLoad *l, unsigned n)
{
    l->queue[n].since = n & 1 ? l->tx[n / 2].seq : l->rx[n / 2].packets;
}

static bool settled(StressLoad *l, unsigned n)
{
    StressQueue *q = &l->queue[n];

    return n & 1 ? qatomic_read(&l->nic.sim->stats[n].stream.next) >
                   q->since + 1
                 : l->rx[n / 2].packets > q->since;
}

void stress_restarted(StressLoad *l, unsigned n)
{
    if (n & 1) {
        svq_tx_restart(&l->tx[n / 2], l->nic.tx[n / 2]);
    } else {
        svq_rx_restart(&l->rx[n / 2], l->nic.rx[n / 2]);
    }
    unsettle(l, n);
}

void stress_lost(StressLoad *l, unsigned n, uint64_t count)
{
    l->tx[n / 2].lost_max += count;
    unsettle(l, n);
}

void stress_check_stopped(StressLoad *l)
{
    unsigned i;

    for (i = 0; i < STRESS_PAIRS; i++) {
        SvqRx *rx = &l->rx[i];
        VdpaSimStream *s = &rx->stream[SVQ_STREAM_SOURCE(l->device, i)];
        uint64_t made = l->nic.sim->stats[VDPA_SIM_RX(i)].sourced;

        while (svq_rx_take(rx)) {
            continue;
        }
        settle(l, VDPA_SIM_RX(i));
        g_assert_cmpuint(s->next, <=, made);
        g_assert_cmpuint(made - s->next, <=,
                         rx->lost_max - svq_rx_missing(rx));
    }
}

/* Queues, held and driven */

void stress_hold(StressLoad *l, unsigned n)
{
    StressQueue *q = &l->queue[n];

    g_assert_false(q->held);
    qatomic_set(&q->held, true);
    /* The thread may be at it */
    qemu_mutex_lock(&q->lock);
    qemu_mutex_unlock(&q->lock);
    settle(l, n);
}

void stress_release(StressLoad *l, unsigned n)
{
    StressQueue *q = &l->queue[n];

    g_assert_true(q->held);
    qemu_mutex_lock(&q->lock);
    qatomic_set(&q->held, false);
    qemu_mutex_unlock(&q->lock);
}

void stress_hold_all(StressLoad *l)
{
    unsigned i;

    for (i = 0; i < STRESS_QUEUES; i++) {
        stress_hold(l, i);
    }
}

void stress_release_all(StressLoad *l)
{
    SvqNic *nic = &l->nic;
    unsigned i;

    if (l->direct) {
        svq_find_kicks(nic);
    } else {
        svq_forget_kicks(nic);
        nic->bus = *nic->pci_bus;
    }
    nic->bus.virtqueue_kick = kick;
    nic->dev->vdev->bus = &nic->bus;
    for (i = 0; i < STRESS_QUEUES; i++) {
        stress_release(l, i);
    }
}

void stress_drain(StressLoad *l, unsigned n)
{
    SvqTx *tx = &l->tx[n / 2];
    gint64 start = 0;

    while (tx->lane.taken < tx->lane.added) {
        if (svq_tx_reap(tx)) {
            start = 0;
        } else {
            svq_wait(&l->nic, &start, tx->lane.vq, "what was sent");
        }
    }
}

/* Devices and memory */

void stress_new_device(StressLoad *l, VdpaSim *sim)
{
    unsigned device = l->device + (sim != l->nic.sim), i;

    g_assert_cmpuint(device, <, STRESS_DEVICES);
    for (i = 0; i < STRESS_PAIRS; i++) {
        VdpaSimQueueCtl *rx = &sim->ctl[VDPA_SIM_RX(i)];
        VdpaSimQueueCtl *tx = &sim->ctl[VDPA_SIM_TX(i)];

        tx->flow.stream = i;
        qatomic_set(&tx->verify, 1);
        rx->flow.stream = SVQ_STREAM_SOURCE(device, i);
        rx->source_len_min = 64;
        rx->source_len_max = 1514;
        rx->source_count = UINT64_MAX;
        qatomic_set(&rx->mode, VDPA_SIM_SOURCE);
    }
    vdpa_sim_wake(sim);
}

void stress_moved(StressLoad *l)
{
    unsigned i;

    l->device++;
    for (i = 0; i < STRESS_PAIRS; i++) {
        /* What the old device had is there; the new one starts at 0 */
        l->rx[i].lost_max = svq_rx_missing(&l->rx[i]);
    }
}

void stress_place(StressLoad *l, unsigned n, int dimm)
{
    SvqLane *lane = stress_lane(l, n);
    size_t part = SVQ_DIMM_SIZE / STRESS_QUEUES;

    g_assert_cmpuint(lane->taken, ==, lane->added);
    g_assert_cmpuint(lane->slots * lane->slot_size, <=, part);
    l->queue[n].dimm = dimm;
    lane->mem = dimm < 0 ? l->queue[n].home : svq_dimm_addr(dimm) + n * part;
}

/* From the first packet to the last */

void stress_begin(StressLoad *l, const SvqShape *shape)
{
    unsigned i;

    for (i = 0; i < STRESS_PAIRS; i++) {
        svq_tx_init(&l->tx[i], &l->nic, i, shape);
        svq_rx_init(&l->rx[i], &l->nic, i, shape);
    }
    for (i = 0; i < STRESS_QUEUES; i++) {
        StressQueue *q = &l->queue[i];

        qemu_mutex_init(&q->lock);
        q->held = true;
        q->rand = g_rand_new_with_seed(g_test_rand_int());
        q->home = stress_lane(l, i)->mem;
        q->dimm = -1;
    }
    qemu_mutex_init(&l->wire);
    stress_new_device(l, l->nic.sim);
    qemu_thread_create(&l->thread, "driver", drive, l, QEMU_THREAD_JOINABLE);
}

/* Each queue has to have had a packet since something may have been lost */
static void wait_settled(StressLoad *l)
{
    unsigned i;

    stress_release_all(l);
    for (i = 0; i < STRESS_QUEUES; i++) {
        gint64 start = 0;

        stress_hold(l, i);
        while (!settled(l, i)) {
            svq_wait(&l->nic, &start, stress_lane(l, i)->vq,
                     "a packet after all that");
            stress_release(l, i);
            g_usleep(1000);
            stress_hold(l, i);
        }
    }
}

void stress_end(StressLoad *l)
{
    SvqNic *nic = &l->nic;
    unsigned i;

    wait_settled(l);
    qatomic_set(&l->quit, true);
    qemu_thread_join(&l->thread);
    for (i = 0; i < STRESS_PAIRS; i++) {
        qatomic_set(&nic->sim->ctl[VDPA_SIM_RX(i)].source_count, 0);
        vdpa_sim_pause(nic->sim, VDPA_SIM_RX(i), true);
        vdpa_sim_pause(nic->sim, VDPA_SIM_RX(i), false);
    }
    for (i = 0; i < STRESS_PAIRS; i++) {
        SvqRx *rx = &l->rx[i];
        VdpaSimStream *s = &rx->stream[SVQ_STREAM_SOURCE(l->device, i)];
        gint64 start = 0;

        svq_tx_finish(&l->tx[i], "the last packets sent");
        while (s->next < nic->sim->stats[VDPA_SIM_RX(i)].sourced) {
            if (svq_rx_take(rx)) {
                start = 0;
            } else {
                svq_wait(nic, &start, rx->lane.vq, "the last packets");
            }
        }
        settle(l, VDPA_SIM_RX(i));
        svq_rx_untouched(rx);
    }
    svq_driver_stop(nic);
    for (i = 0; i < STRESS_QUEUES; i++) {
        /* It may be in a DIMM; cleaning up frees what is in RAM */
        stress_lane(l, i)->mem = l->queue[i].home;
        g_rand_free(l->queue[i].rand);
        qemu_mutex_destroy(&l->queue[i].lock);
    }
    for (i = 0; i < STRESS_PAIRS; i++) {
        svq_tx_cleanup(&l->tx[i]);
        svq_rx_cleanup(&l->rx[i]);
    }
    qemu_mutex_destroy(&l->wire);
    svq_halt(nic);
}
