/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vdpa-sim: what the device tells the test, and what the test has it do wrong
 *
 * Any thread of QEMU may call any function here; see device.h on the locks.
 */
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "device.h"

uint64_t sim_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

void sim_log(SimDevice *dev, uint32_t type, uint32_t queue, uint64_t a,
             uint64_t b)
{
    VdpaSim *sim = dev->sim;
    uint64_t n = __atomic_fetch_add(&sim->events, 1, __ATOMIC_RELAXED);
    VdpaSimEvent *e = &sim->log[n % VDPA_SIM_LOG_SIZE];

    /* A reader takes an event only if seq is the same before and after */
    __atomic_store_n(&e->seq, 0, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    e->ns = sim_now();
    e->type = type;
    e->queue = queue;
    e->a = a;
    e->b = b;
    __atomic_store_n(&e->seq, n + 1, __ATOMIC_RELEASE);
}

void sim_violation(SimDevice *dev, uint32_t queue, const char *fmt, ...)
{
    VdpaSim *sim = dev->sim;
    uint64_t n;
    va_list ap;

    pthread_mutex_lock(&dev->text_lock);
    n = sim->state.violations;
    if (n < VDPA_SIM_MAX_VIOLATIONS) {
        VdpaSimViolation *v = &sim->violation[n];

        v->ns = sim_now();
        v->queue = queue;
        va_start(ap, fmt);
        vsnprintf(v->text, sizeof(v->text), fmt, ap);
        va_end(ap);
    }
    if (queue != VDPA_SIM_ANY) {
        sim_count(&sim->stats[queue].violations, 1);
    }
    __atomic_store_n(&sim->state.violations, n + 1, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&dev->text_lock);
    sim_log(dev, VDPA_SIM_EV_VIOLATION, queue, n, 0);
}

void sim_iova_fault(SimDevice *dev, uint32_t queue, uint64_t iova,
                    uint64_t len)
{
    VdpaSimQueueStats *s = &dev->sim->stats[queue];

    __atomic_store_n(&s->fault_iova, iova, __ATOMIC_RELAXED);
    __atomic_fetch_add(&s->faults, 1, __ATOMIC_RELEASE);
    __atomic_fetch_add(&dev->sim->state.faults, 1, __ATOMIC_RELEASE);
    sim_log(dev, VDPA_SIM_EV_IOVA, queue, iova, len);
}

static bool applies(const VdpaSimFault *f, VdpaSimFaultKind kind,
                    uint32_t queue, uint32_t match)
{
    return __atomic_load_n(&f->kind, __ATOMIC_ACQUIRE) == kind &&
           (f->queue == VDPA_SIM_ANY || f->queue == queue) &&
           (f->match == VDPA_SIM_ANY || f->match == match);
}

bool sim_fault(SimDevice *dev, VdpaSimFaultKind kind, uint32_t queue,
               uint32_t match, int64_t *value)
{
    VdpaSim *sim = dev->sim;
    bool happens = false;
    unsigned i;

    /* The usual case, which is to cost nothing */
    if (!(sim_get(&sim->armed) & 1u << kind)) {
        return false;
    }
    pthread_mutex_lock(&dev->fault_lock);
    for (i = 0; i < VDPA_SIM_MAX_FAULTS && !happens; i++) {
        VdpaSimFault *f = &sim->faults[i];

        if (!applies(f, kind, queue, match)) {
            continue;
        }
        sim_count(&f->seen, 1);
        if (f->seen > f->skip && f->done < f->times) {
            *value = f->value;
            sim_count(&f->done, 1);
            happens = true;
        }
    }
    pthread_mutex_unlock(&dev->fault_lock);
    if (happens) {
        sim_log(dev, VDPA_SIM_EV_FAULT, queue, kind, *value);
    }
    return happens;
}
