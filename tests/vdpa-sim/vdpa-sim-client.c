/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vdpa-sim: the test's side, see vdpa-sim.h
 *
 * For one thread of the test at a time.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "vdpa-sim.h"

VdpaSim *vdpa_sim_create(const char *path, const VdpaSimConfig *config)
{
    VdpaSim *sim;
    int fd;

    if (vdpa_sim_config_check(config)) {
        errno = EINVAL;
        return NULL;
    }
    /* Never the file of a device that somebody has open */
    if (unlink(path) < 0 && errno != ENOENT) {
        return NULL;
    }
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return NULL;
    }
    sim = MAP_FAILED;
    if (ftruncate(fd, sizeof(*sim)) == 0) {
        sim = mmap(NULL, sizeof(*sim), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                   0);
    }
    close(fd);
    if (sim == MAP_FAILED) {
        unlink(path);
        return NULL;
    }
    sim->config = *config;
    sim->link_down = !config->net.link_up;
    sim->version = VDPA_SIM_VERSION;
    sim->size = sizeof(*sim);
    __atomic_store_n(&sim->magic, VDPA_SIM_MAGIC, __ATOMIC_RELEASE);
    return sim;
}

void vdpa_sim_free(VdpaSim *sim)
{
    if (sim) {
        munmap(sim, sizeof(*sim));
    }
}

/* What the environment was before vdpa_sim_preload(); NULL: not set */
static char *old_asan_options;
static char *old_preload;

static char *old_value(const char *name)
{
    const char *value = getenv(name);

    return value ? strdup(value) : NULL;
}

void vdpa_sim_preload(const char *so)
{
    char *asan, *preload;

    old_asan_options = old_value("ASAN_OPTIONS");
    old_preload = old_value("LD_PRELOAD");
    if (asprintf(&asan, "%s%sverify_asan_link_order=0",
                 old_asan_options ? old_asan_options : "",
                 old_asan_options ? ":" : "") < 0 ||
        asprintf(&preload, "%s%s%s", so, old_preload ? ":" : "",
                 old_preload ? old_preload : "") < 0) {
        abort();
    }
    setenv("ASAN_OPTIONS", asan, 1);
    setenv("LD_PRELOAD", preload, 1);
    free(asan);
    free(preload);
}

static void restore(const char *name, char *value)
{
    if (value) {
        setenv(name, value, 1);
        free(value);
    } else {
        unsetenv(name);
    }
}

void vdpa_sim_unpreload(void)
{
    restore("ASAN_OPTIONS", old_asan_options);
    restore("LD_PRELOAD", old_preload);
    old_asan_options = old_preload = NULL;
}

void vdpa_sim_wake(VdpaSim *sim)
{
    __atomic_fetch_add(&sim->wake, 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, &sim->wake, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static uint32_t get32(const uint32_t *p)
{
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

void vdpa_sim_pause(VdpaSim *sim, unsigned queue, bool pause)
{
    struct timespec ts = { .tv_nsec = 100000 };

    __atomic_store_n(&sim->ctl[queue].paused, pause, __ATOMIC_RELEASE);
    vdpa_sim_wake(sim);
    while (pause && get32(&sim->state.opened) &&
           get32(&sim->stats[queue].running) &&
           !get32(&sim->stats[queue].paused)) {
        nanosleep(&ts, NULL);
    }
}

int vdpa_sim_arm(VdpaSim *sim, const VdpaSimFault *fault)
{
    int i;

    for (i = 0; i < VDPA_SIM_MAX_FAULTS; i++) {
        VdpaSimFault *f = &sim->faults[i];

        if (f->kind == VDPA_SIM_FAULT_NONE) {
            f->queue = fault->queue;
            f->match = fault->match;
            f->value = fault->value;
            f->skip = fault->skip;
            f->times = fault->times;
            f->seen = f->done = 0;
            __atomic_store_n(&f->kind, fault->kind, __ATOMIC_RELEASE);
            __atomic_fetch_or(&sim->armed, 1u << fault->kind,
                              __ATOMIC_RELEASE);
            return i;
        }
    }
    return -1;
}

uint64_t vdpa_sim_disarm(VdpaSim *sim, int fault)
{
    uint32_t armed = 0;
    int i;

    __atomic_store_n(&sim->faults[fault].kind, VDPA_SIM_FAULT_NONE,
                     __ATOMIC_RELEASE);
    for (i = 0; i < VDPA_SIM_MAX_FAULTS; i++) {
        armed |= 1u << sim->faults[i].kind;
    }
    __atomic_store_n(&sim->armed, armed & ~1u, __ATOMIC_RELEASE);
    return __atomic_load_n(&sim->faults[fault].done, __ATOMIC_ACQUIRE);
}

bool vdpa_sim_inject(VdpaSim *sim, const void *packet, size_t len)
{
    if (get32(&sim->mailbox.full) || len > VDPA_SIM_MAX_PACKET) {
        return false;
    }
    memcpy(sim->mailbox.data, packet, len);
    sim->mailbox.len = len;
    __atomic_store_n(&sim->mailbox.full, 1, __ATOMIC_RELEASE);
    vdpa_sim_wake(sim);
    return true;
}

void vdpa_sim_set_link(VdpaSim *sim, bool up)
{
    __atomic_store_n(&sim->link_down, !up, __ATOMIC_RELEASE);
    vdpa_sim_wake(sim);
}

void vdpa_sim_announce(VdpaSim *sim)
{
    __atomic_fetch_add(&sim->announce, 1, __ATOMIC_RELEASE);
    vdpa_sim_wake(sim);
}

bool vdpa_sim_next_event(VdpaSim *sim, uint64_t *pos, VdpaSimEvent *event)
{
    for (;;) {
        uint64_t end = __atomic_load_n(&sim->events, __ATOMIC_ACQUIRE);
        VdpaSimEvent *e = &sim->log[*pos % VDPA_SIM_LOG_SIZE];
        uint64_t seq;

        if (*pos >= end) {
            return false;
        }
        if (end - *pos > VDPA_SIM_LOG_SIZE) {
            *pos = end - VDPA_SIM_LOG_SIZE;
            continue;
        }
        seq = __atomic_load_n(&e->seq, __ATOMIC_ACQUIRE);
        if (seq < *pos + 1) {
            return false;       /* being written */
        }
        *event = *e;
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (seq == *pos + 1 &&
            __atomic_load_n(&e->seq, __ATOMIC_RELAXED) == seq) {
            ++*pos;
            return true;
        }
        ++*pos;                 /* overwritten */
    }
}

char *vdpa_sim_complaint(VdpaSim *sim)
{
    uint64_t violations = __atomic_load_n(&sim->state.violations,
                                          __ATOMIC_ACQUIRE);
    char *text = NULL;
    size_t size, i;
    FILE *f;

    if (!violations &&
        !__atomic_load_n(&sim->state.faults, __ATOMIC_ACQUIRE)) {
        return NULL;
    }
    f = open_memstream(&text, &size);
    if (!f) {
        return strdup("out of memory");
    }
    for (i = 0; i < VDPA_SIM_MAX_QUEUES; i++) {
        VdpaSimQueueStats *s = &sim->stats[i];
        uint64_t faults = __atomic_load_n(&s->faults, __ATOMIC_ACQUIRE);

        if (faults) {
            fprintf(f, "queue %zu: %llu accesses outside the IOTLB, the last "
                    "at 0x%llx\n", i, (unsigned long long)faults,
                    (unsigned long long)s->fault_iova);
        }
    }
    for (i = 0; i < violations && i < VDPA_SIM_MAX_VIOLATIONS; i++) {
        if (sim->violation[i].queue == VDPA_SIM_ANY) {
            fprintf(f, "device: %s\n", sim->violation[i].text);
        } else {
            fprintf(f, "queue %u: %s\n", sim->violation[i].queue,
                    sim->violation[i].text);
        }
    }
    if (violations > i) {
        fprintf(f, "and %llu more violations\n",
                (unsigned long long)violations - i);
    }
    fclose(f);
    return text;
}
