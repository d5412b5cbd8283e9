/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: traffic through all queues of a network card at once, see
 * virtio-svq-traffic.h
 *
 * The queues are the thread's as long as it goes, and the main thread's while
 * it is paused.  Only what they tell each other about that has a lock.
 */

#include "qemu/osdep.h"
#include "virtio-svq-traffic.h"

/* Buffers for a step of the thread */
#define STEP            64

typedef enum SvqLoadState {
    LOAD_PAUSE,
    LOAD_GO,
    LOAD_END,
} SvqLoadState;

/* Returns: whether there was progress */
static bool load_step(SvqPair *p)
{
    bool any = false;
    unsigned i;

    for (i = 0; i < STEP && !p->off && svq_tx_add(&p->tx); i++) {
        any = true;
    }
    svq_tx_go(&p->tx);
    any |= svq_tx_reap(&p->tx);
    for (i = 0; i < STEP && svq_rx_take(&p->rx); i++) {
        any = true;
    }
    if (any || p->rx.lane.added == p->rx.lane.taken) {
        svq_rx_refill(&p->rx);
    }
    return any;
}

static void *load_thread(void *opaque)
{
    SvqLoad *load = opaque;
    unsigned i;

    qemu_mutex_lock(&load->lock);
    while (load->wish != LOAD_END) {
        bool any = false;

        if (load->state != load->wish) {
            load->state = load->wish;
            qemu_cond_broadcast(&load->cond);
        }
        if (load->state == LOAD_PAUSE) {
            qemu_cond_wait(&load->cond, &load->lock);
            continue;
        }
        qemu_mutex_unlock(&load->lock);
        for (i = 0; i < load->nic->pairs; i++) {
            any |= load_step(&load->pair[i]);
        }
        if (!any) {
            g_usleep(50);
        }
        qemu_mutex_lock(&load->lock);
    }
    qemu_mutex_unlock(&load->lock);
    return NULL;
}

static void load_set(SvqLoad *load, SvqLoadState wish)
{
    qemu_mutex_lock(&load->lock);
    load->wish = wish;
    qemu_cond_broadcast(&load->cond);
    while (load->state != wish && wish != LOAD_END) {
        qemu_cond_wait(&load->cond, &load->lock);
    }
    qemu_mutex_unlock(&load->lock);
}

void svq_load_init(SvqLoad *load, SvqNic *nic, const SvqShape *shape)
{
    unsigned i;

    memset(load, 0, sizeof(*load));
    load->nic = nic;
    for (i = 0; i < nic->config.pairs; i++) {
        svq_tx_init(&load->pair[i].tx, nic, i, shape);
        svq_rx_init(&load->pair[i].rx, nic, i, shape);
    }
    qemu_mutex_init(&load->lock);
    qemu_cond_init(&load->cond);
    qemu_thread_create(&load->thread, "driver", load_thread, load,
                       QEMU_THREAD_JOINABLE);
}

void svq_load_cleanup(SvqLoad *load)
{
    unsigned i;

    load_set(load, LOAD_END);
    qemu_thread_join(&load->thread);
    qemu_cond_destroy(&load->cond);
    qemu_mutex_destroy(&load->lock);
    for (i = 0; i < load->nic->config.pairs; i++) {
        svq_tx_cleanup(&load->pair[i].tx);
        svq_rx_cleanup(&load->pair[i].rx);
    }
}

void svq_load_go(SvqLoad *load)
{
    load_set(load, LOAD_GO);
}

void svq_load_pause(SvqLoad *load)
{
    load_set(load, LOAD_PAUSE);
}

void svq_load_restart(SvqLoad *load)
{
    SvqNic *nic = load->nic;
    unsigned i;

    for (i = 0; i < nic->config.pairs; i++) {
        svq_tx_restart(&load->pair[i].tx, nic->tx[i]);
        svq_rx_restart(&load->pair[i].rx, nic->rx[i]);
    }
}

void svq_load_finish(SvqLoad *load, const char *what)
{
    unsigned i, busy;
    gint64 start = 0;

    /* What is sent may have to be received before it is back */
    do {
        busy = 0;
        for (i = 0; i < load->nic->pairs; i++) {
            SvqPair *p = &load->pair[i];
            bool any = svq_tx_reap(&p->tx);

            while (svq_rx_take(&p->rx)) {
                any = true;
            }
            svq_rx_refill(&p->rx);
            busy += p->tx.lane.taken < p->tx.lane.added;
            if (any) {
                start = 0;
            } else if (p->tx.lane.taken < p->tx.lane.added) {
                svq_wait(load->nic, &start, p->tx.lane.vq, what);
            }
        }
    } while (busy);
    for (i = 0; i < load->nic->pairs; i++) {
        svq_tx_finish(&load->pair[i].tx, what);
    }
}
