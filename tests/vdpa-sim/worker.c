/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vdpa-sim: the thread of a queue, and the one of the device
 *
 * A worker takes a batch of buffers, publishes them, and does so again.  When
 * there are none it looks at the ring for a while (VdpaSimQueueCtl.poll_ns),
 * then asks the driver for kicks, looks once more, and sleeps.
 *
 * For the locks see device.h.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <linux/futex.h>
#include <linux/virtio_config.h>

#include "device.h"

#define DEFAULT_BATCH   32

/* How often the doorbell of a queue is looked at whose worker sleeps */
#define DOORBELL_MIN_NS 20000
#define DOORBELL_MAX_NS 1000000

/* What a worker does next */
typedef enum SimNext {
    SIM_AGAIN,                  /* there may be more to do now */
    SIM_IDLE,                   /* nothing to do, look again or wait */
    SIM_HALT,                   /* nothing to do until woken */
    SIM_QUIT,
} SimNext;

int sim_thread_start(pthread_t *thread, void *(*body)(void *), void *opaque)
{
    sigset_t all, old;
    int ret;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    ret = pthread_create(thread, NULL, body, opaque);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return ret;
}

void sim_queue_lock(SimQueue *q)
{
    __atomic_fetch_add(&q->want, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_lock(&q->lock);
}

void sim_queue_unlock(SimQueue *q)
{
    if (__atomic_sub_fetch(&q->want, 1, __ATOMIC_SEQ_CST) == 0) {
        pthread_cond_signal(&q->resume);
    }
    pthread_mutex_unlock(&q->lock);
}

/* The worker's way to take its lock, behind everyone else */
static void worker_lock(SimQueue *q)
{
    pthread_mutex_lock(&q->lock);
    while (__atomic_load_n(&q->want, __ATOMIC_SEQ_CST)) {
        pthread_cond_wait(&q->resume, &q->lock);
    }
}

void sim_queue_wake(SimQueue *q)
{
    uint64_t one = 1;

    if (sim_write(q->wake_fd, &one, sizeof(one)) < 0) {
        /* It is awake already if the counter is full */
    }
}

/*
 * Finds the ring in the address space that is in force.  Returns false if it is
 * not there, which is counted once until it is found again: a device that runs
 * may look at its ring at any time.
 */
static bool find_ring(SimQueue *q)
{
    SimDevice *dev = q->dev;
    unsigned group = dev->sim->config.group[q->index];
    uint32_t asid = sim_get(&dev->asid[group]);
    const SimIotlb *tlb = __atomic_load_n(&dev->as[asid].tlb,
                                          __ATOMIC_ACQUIRE);

    if (q->ring.tlb_gen != tlb->gen) {
        if (sim_ring_map(&q->ring, tlb)) {
            q->lost = false;
        } else if (!q->lost) {
            q->lost = true;
            sim_iova_fault(dev, q->index, q->ring.fault_iova,
                           q->ring.fault_len);
        }
    }
    return q->ring.desc;
}

static void send_call(SimQueue *q)
{
    uint64_t one = 1;
    int64_t value;

    if (q->call_fd < 0) {
        return;
    }
    if (sim_fault(q->dev, VDPA_SIM_FAULT_LOST_CALL, q->index, 0, &value)) {
        return;
    }
    if (sim_write(q->call_fd, &one, sizeof(one)) == sizeof(one)) {
        sim_count(&q->stats->calls, 1);
    }
}

/*
 * Spoils the used elements that the test wants spoilt.  Returns true if the
 * device breaks.
 */
static bool spoil(SimQueue *q)
{
    SimDevice *dev = q->dev;
    bool broken = false;
    int64_t value;
    unsigned i;

    for (i = 0; i < q->num_used; i++) {
        SimUsed *u = &q->used[i];

        if (sim_fault(dev, VDPA_SIM_FAULT_USED_ID, q->index, 0, &value)) {
            u->id = value;
            u->alone = true;
        }
        if (sim_fault(dev, VDPA_SIM_FAULT_USED_LEN, q->index, 0, &value)) {
            u->len += value;
            u->alone = true;
        }
        if (sim_fault(dev, VDPA_SIM_FAULT_USED_JUMP, q->index, 0, &value)) {
            q->jump += value;
        }
        if (sim_fault(dev, VDPA_SIM_FAULT_NEEDS_RESET, q->index, 0, &value)) {
            broken = true;
        }
        if (q->num_used < q->max_used &&
            sim_fault(dev, VDPA_SIM_FAULT_USED_REPEAT, q->index, 0, &value)) {
            u->alone = true;
            memmove(u + 1, u, (q->num_used - i) * sizeof(*u));
            q->num_used++;
            i++;
        }
    }
    return broken;
}

static void shuffle(SimQueue *q, unsigned window)
{
    unsigned start, i;

    for (start = 0; start < q->num_used; start += window) {
        unsigned n = q->num_used - start;

        n = n < window ? n : window;
        for (i = n - 1; i > 0; i--) {
            unsigned j = sim_random(q) % (i + 1);
            SimUsed swap = q->used[start + i];

            q->used[start + i] = q->used[start + j];
            q->used[start + j] = swap;
        }
    }
}

/* Publishes what is in q->used.  The ring has been found. */
static void publish(SimQueue *q)
{
    VdpaSimQueueStats *s = q->stats;
    uint32_t window = sim_get(&q->ctl->shuffle);
    unsigned taken = q->num_used;
    uint32_t old = sim_ring_used(&q->ring);
    bool broken = false;

    if (!taken) {
        return;
    }
    /* The packets of a receive queue are in their order already */
    if (window > 1 && !q->ring.in_order && q->role == SIM_TX) {
        shuffle(q, window);
    }
    if (sim_get(&q->dev->sim->armed)) {
        broken = spoil(q);
    }
    sim_count(&s->used_elems,
              sim_ring_push(&q->ring, q->used, q->num_used,
                            !sim_get(&q->ctl->no_runs), q->jump));
    q->num_used = 0;
    q->jump = 0;
    q->due = 0;
    sim_count(&s->buffers, taken);
    sim_count(&s->batches, 1);
    sim_set(&s->in_flight, q->ring.in_flight);
    sim_set(&s->pos, sim_ring_base(&q->ring));

    if (broken) {
        sim_device_break(q->dev);
    } else if (sim_ring_wants_call(&q->ring, old)) {
        send_call(q);
    } else {
        sim_count(&s->calls_suppressed, 1);
    }
}

/* Looks at the doorbell.  Returns whether it rang. */
static bool take_doorbell(SimQueue *q)
{
    uint32_t word;

    if (!q->doorbell || sim_get(q->doorbell) == SIM_NO_DOORBELL) {
        return false;
    }
    word = __atomic_exchange_n(q->doorbell, SIM_NO_DOORBELL, __ATOMIC_ACQ_REL);
    sim_count(&q->stats->kicks_doorbell, 1);
    if ((word & 0xffff) != q->index) {
        sim_count(&q->stats->kicks_wrong, 1);
        sim_violation(q->dev, q->index, "doorbell 0x%08x names queue %u", word,
                      word & 0xffff);
    } else if (q->running &&
               q->ring.cfg.features & 1ull << VIRTIO_F_NOTIFICATION_DATA &&
               !sim_ring_check_notify(&q->ring, word >> 16)) {
        sim_count(&q->stats->kicks_wrong, 1);
        sim_violation(q->dev, q->index, "notification data 0x%04x",
                      word >> 16);
    }
    return true;
}

static void check_ring(SimQueue *q)
{
    if (q->ring.broken && !q->ring.told) {
        q->ring.told = true;
        sim_violation(q->dev, q->index, "%s", q->ring.text);
    }
}

/* One round, with the lock held.  Sets @until to when there is more to do. */
static SimNext work(SimQueue *q, uint64_t *until)
{
    VdpaSimQueueCtl *ctl = q->ctl;
    unsigned batch = sim_get(&ctl->batch);
    uint64_t delay = __atomic_load_n(&ctl->delay_ns, __ATOMIC_RELAXED);
    uint64_t wait = 0;
    bool ready, paused;

    *until = 0;
    if (q->quit) {
        return SIM_QUIT;
    }
    ready = q->running && find_ring(q);
    take_doorbell(q);
    paused = sim_get(&ctl->paused);
    sim_set(&q->stats->paused, paused);
    if (!ready || paused || sim_needs_reset(q->dev)) {
        return SIM_HALT;
    }
    if (q->due) {
        if (sim_now() < q->due) {
            *until = q->due;
            return SIM_HALT;
        }
        q->due = 0;
        publish(q);
    }

    batch = batch ? batch : DEFAULT_BATCH;
    batch = batch < q->ring.cfg.num ? batch : q->ring.cfg.num;
    switch (q->role) {
    case SIM_RX:
        sim_rx_batch(q, batch, &wait);
        break;
    case SIM_TX:
        sim_tx_batch(q, batch);
        break;
    case SIM_CTRL:
        sim_ctrl_batch(q);
        break;
    }
    check_ring(q);
    if (!q->num_used) {
        if (q->due) {
            *until = q->due;
            return SIM_HALT;
        }
        if (wait) {
            *until = sim_now() + wait;
        }
        return SIM_IDLE;
    }

    if (q->first) {
        q->first = false;
        sim_log(q->dev, VDPA_SIM_EV_FIRST, q->index, 0, 0);
    }
    if (delay) {
        q->due = sim_now() + delay;
        sim_set(&q->stats->in_flight, q->ring.in_flight);
        *until = q->due;
        return SIM_HALT;
    }
    publish(q);
    /* Tell the driver not to kick as long as we look anyway */
    if (sim_get(&ctl->always_kick)) {
        sim_ring_kick_me(&q->ring, true);
    } else if (q->ring.kicks) {
        sim_ring_kick_me(&q->ring, false);
    }
    return SIM_AGAIN;
}

/* Asks the driver for kicks if they would help */
static void ask_for_kicks(SimQueue *q)
{
    bool wanted;

    worker_lock(q);
    wanted = q->role == SIM_RX ? q->pending : !q->blocked;
    if (q->running && find_ring(q) &&
        (wanted || sim_get(&q->ctl->always_kick))) {
        sim_ring_kick_me(&q->ring, true);
    }
    pthread_mutex_unlock(&q->lock);
}

/* Waits for a kick, for sim_queue_wake(), or until @until if it is not 0 */
static void wait_for_kick(SimQueue *q, bool kicks, uint64_t until)
{
    struct timespec ts, *timeout = NULL;
    struct pollfd fds[2] = {
        { .fd = q->wake_fd, .events = POLLIN },
        { .fd = -1, .events = POLLIN },
    };
    bool hungry = false;        /* for packets that there may be by now */
    uint64_t value;

    if (until) {
        uint64_t now = sim_now(), ns = until > now ? until - now : 0;

        ts.tv_sec = ns / 1000000000;
        ts.tv_nsec = ns % 1000000000;
        timeout = &ts;
    }
    if (kicks) {
        worker_lock(q);
        fds[1].fd = q->kick_fd;
        hungry = !q->pending;
        pthread_mutex_unlock(&q->lock);
    }
    sim_set(&q->sleeping, 1);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    /* Those who see that we sleep wake us; what came before, we see */
    if ((!q->doorbell || sim_get(q->doorbell) == SIM_NO_DOORBELL) &&
        !(hungry && sim_get(&q->fifo.count))) {
        ppoll(fds, 2, timeout, NULL);
    }
    sim_set(&q->sleeping, 0);
    sim_count(&q->stats->sleeps, 1);
    if (fds[0].revents && sim_read(q->wake_fd, &value, sizeof(value)) < 0) {
        /* Nobody else reads it; it is not blocking */
    }
    if (fds[1].revents) {
        worker_lock(q);
        if (fds[1].fd == q->kick_fd &&
            sim_read(q->kick_fd, &value, sizeof(value)) == sizeof(value)) {
            sim_count(&q->stats->kicks_eventfd, value);
        }
        pthread_mutex_unlock(&q->lock);
    }
}

static void *worker(void *opaque)
{
    SimQueue *q = opaque;
    uint64_t idle_since = 0, until;
    bool asked = false;
    char name[16];
    SimNext next;
    int16_t cpu = q->dev->sim->config.cpu[q->index];

    snprintf(name, sizeof(name), "vdpa-sim/%u", q->index);
    pthread_setname_np(pthread_self(), name);
    if (cpu >= 0) {
        cpu_set_t set;

        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
    }
    sim_set(&q->stats->tid, syscall(SYS_gettid));

    for (;;) {
        worker_lock(q);
        next = work(q, &until);
        pthread_mutex_unlock(&q->lock);

        if (next == SIM_QUIT) {
            return NULL;
        } else if (next == SIM_AGAIN) {
            idle_since = 0;
            asked = false;
            continue;
        } else if (next == SIM_IDLE) {
            uint32_t poll_ns = sim_get(&q->ctl->poll_ns);

            if (poll_ns == UINT32_MAX) {
                sched_yield();
                continue;
            } else if (poll_ns) {
                uint64_t now = sim_now();

                idle_since = idle_since ? idle_since : now;
                if (now - idle_since < poll_ns) {
                    sched_yield();
                    continue;
                }
            }
            if (!asked) {
                /* What came in the meantime is not kicked for */
                ask_for_kicks(q);
                asked = true;
                continue;
            }
        }
        wait_for_kick(q, next == SIM_IDLE, until);
        asked = false;
    }
}

void sim_queue_start(SimQueue *q, SimRole role, uint32_t base)
{
    SimRingConfig cfg = {
        .features = q->dev->acked,
        .num = q->num,
        .desc = q->desc,
        .driver = q->driver,
        .device = q->device,
        .base = base,
    };

    sim_queue_lock(q);
    sim_ring_init(&q->ring, &cfg);
    q->due = 0;
    q->jump = 0;
    q->num_used = 0;
    q->blocked = q->pending = q->late = false;
    q->first = true;
    q->lost = false;
    q->rand = __atomic_load_n(&q->ctl->shuffle_seed, __ATOMIC_RELAXED);
    q->rand = q->rand ? q->rand : 1;
    if (q->doorbell) {
        sim_set(q->doorbell, SIM_NO_DOORBELL);
    }
    q->role = role;
    q->running = true;
    sim_fifo_open(q, role == SIM_RX);
    sim_set(&q->stats->size, q->num);
    sim_set(&q->stats->pos, base);
    sim_set(&q->stats->running, 1);
    sim_log(q->dev, VDPA_SIM_EV_START, q->index, base, 0);
    sim_queue_unlock(q);

    if (!q->have_thread) {
        q->have_thread = sim_thread_start(&q->thread, worker, q) == 0;
    }
    sim_queue_wake(q);
    if (sim_get(&q->stats->doorbell_mapped)) {
        /* Which may not be watched yet */
        sim_device_wake(q->dev);
    }
}

void sim_queue_stop(SimQueue *q, bool finish)
{
    sim_queue_lock(q);
    if (q->running) {
        if (finish && q->num_used && find_ring(q)) {
            publish(q);
        }
        q->num_used = 0;
        q->due = 0;
        q->running = false;
        q->last_base = sim_ring_base(&q->ring);
        take_doorbell(q);
        sim_set(&q->stats->running, 0);
        sim_set(&q->stats->in_flight, 0);
        sim_log(q->dev, VDPA_SIM_EV_STOP, q->index, q->last_base, 0);
    }
    sim_queue_unlock(q);
}

void sim_queue_end(SimQueue *q)
{
    if (q->have_thread) {
        sim_queue_lock(q);
        q->quit = true;
        sim_queue_unlock(q);
        sim_queue_wake(q);
        pthread_join(q->thread, NULL);
        q->have_thread = false;
    }
}

/* What the test wants of the device, as opposed to a queue */
static void serve_test(SimDevice *dev, uint32_t *announced)
{
    VdpaSim *sim = dev->sim;
    uint32_t announce = sim_get(&sim->announce);
    bool changed;

    pthread_mutex_lock(&dev->net_lock);
    changed = vdpa_sim_net_set_link(&dev->net, !sim_get(&sim->link_down));
    if (announce != *announced) {
        *announced = announce;
        changed |= vdpa_sim_net_announce(&dev->net);
    }
    if (changed) {
        vdpa_sim_net_publish(&sim->net, &dev->net);
    }
    pthread_mutex_unlock(&dev->net_lock);
    if (changed) {
        sim_device_config_call(dev);
    }

    if (sim_get(&sim->mailbox.full)) {
        uint32_t len = sim_get(&sim->mailbox.len);

        if (len <= VDPA_SIM_MAX_PACKET) {
            sim_receive(dev, sim->mailbox.data, len);
        }
        sim_set(&sim->mailbox.full, 0);
    }
}

void *sim_housekeeper(void *opaque)
{
    SimDevice *dev = opaque;
    VdpaSim *sim = dev->sim;
    uint64_t period = DOORBELL_MIN_NS;
    uint32_t wake = sim_get(&sim->wake) - 1;
    uint32_t announced = sim_get(&sim->announce);
    unsigned i;

    pthread_setname_np(pthread_self(), "vdpa-sim/dev");
    while (!__atomic_load_n(&dev->quit, __ATOMIC_ACQUIRE)) {
        struct timespec ts = { .tv_nsec = period };
        uint32_t now = sim_get(&sim->wake);
        bool watch = false;

        if (now != wake) {
            wake = now;
            period = DOORBELL_MIN_NS;
            serve_test(dev, &announced);
            for (i = 0; i < dev->num_queues; i++) {
                sim_queue_wake(&dev->queue[i]);
            }
        }
        for (i = 0; i < dev->num_queues; i++) {
            SimQueue *q = &dev->queue[i];

            if (sim_get(&q->stats->doorbell_mapped) &&
                sim_get(&q->stats->running)) {
                watch = true;
                if (sim_get(&q->sleeping) &&
                    sim_get(q->doorbell) != SIM_NO_DOORBELL) {
                    sim_queue_wake(q);
                    period = DOORBELL_MIN_NS;
                }
            }
        }
        syscall(SYS_futex, &sim->wake, FUTEX_WAIT, wake, watch ? &ts : NULL,
                NULL, 0);
        period = period * 5 / 4;
        period = period < DOORBELL_MAX_NS ? period : DOORBELL_MAX_NS;
    }
    return NULL;
}
