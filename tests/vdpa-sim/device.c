/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vdpa-sim: a device as a whole, from open() to close(), see device.h
 *
 * Unless it says otherwise, everything runs in the thread of QEMU that called,
 * under SimDevice.lock.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <linux/futex.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>

#include "device.h"

/* Not in every version of the kernel's headers */
#ifndef VHOST_BACKEND_F_RESUME
#define VHOST_BACKEND_F_RESUME  0x5
#endif

void sim_device_wake(SimDevice *dev)
{
    __atomic_fetch_add(&dev->sim->wake, 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, &dev->sim->wake, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void sim_device_config_call(SimDevice *dev)
{
    uint64_t one = 1;

    pthread_mutex_lock(&dev->call_lock);
    if (dev->config_call_fd >= 0 &&
        sim_write(dev->config_call_fd, &one, sizeof(one)) == sizeof(one)) {
        sim_set(&dev->sim->state.config_calls,
                dev->sim->state.config_calls + 1);
    }
    pthread_mutex_unlock(&dev->call_lock);
    sim_log(dev, VDPA_SIM_EV_CONFIG, VDPA_SIM_ANY, 0, 0);
}

void sim_device_break(SimDevice *dev)
{
    uint8_t old = __atomic_fetch_or(&dev->status, VIRTIO_CONFIG_S_NEEDS_RESET,
                                    __ATOMIC_SEQ_CST);

    __atomic_fetch_or(&dev->sim->state.status, VIRTIO_CONFIG_S_NEEDS_RESET,
                      __ATOMIC_RELEASE);
    sim_log(dev, VDPA_SIM_EV_STATUS, VDPA_SIM_ANY,
            old | VIRTIO_CONFIG_S_NEEDS_RESET, old);
    if (old & VIRTIO_CONFIG_S_DRIVER_OK) {
        sim_device_config_call(dev);
    }
}

/* Queues */

static SimRole queue_role(SimDevice *dev, unsigned index)
{
    bool pairs = sim_feature(dev, VIRTIO_NET_F_MQ) ||
                 sim_feature(dev, VIRTIO_NET_F_RSS);

    if (sim_feature(dev, VIRTIO_NET_F_CTRL_VQ) &&
        index == (pairs ? 2u * dev->sim->config.net.max_pairs : 2u)) {
        return SIM_CTRL;
    }
    return index & 1 ? SIM_TX : SIM_RX;
}

void sim_queue_update(SimQueue *q)
{
    SimDevice *dev = q->dev;
    bool run = sim_status(dev) & VIRTIO_CONFIG_S_DRIVER_OK &&
               !sim_needs_reset(dev) && q->enabled && !dev->suspended;

    if (run && !q->running) {
        uint32_t base = q->base_set ? q->base : sim_ring_start_base(dev->acked);

        /* QEMU enables queues that the guest has not set up as well */
        if (!q->addr_set) {
            return;
        }
        sim_queue_start(q, queue_role(dev, q->index), base);
    } else if (!run && q->running) {
        sim_queue_stop(q, dev->suspended);
        /* Where it goes on if it is not told otherwise */
        q->base = q->last_base;
        q->base_set = true;
    }
}

static void update_queues(SimDevice *dev)
{
    unsigned i;

    for (i = 0; i < dev->num_queues; i++) {
        sim_queue_update(&dev->queue[i]);
    }
}

void sim_queue_forget(SimQueue *q)
{
    q->base_set = false;
    sim_fifo_open(q, false);
}

int sim_replace_fd(int *slot, int fd)
{
    int copy = -1, old;

    if (fd >= 0) {
        copy = syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 0);
        if (copy < 0) {
            return -EBADF;
        }
    }
    old = *slot;
    *slot = copy;
    if (old >= 0) {
        sim_close(old);
    }
    return 0;
}

/* Status */

static void reset(SimDevice *dev)
{
    VdpaSim *sim = dev->sim;
    unsigned i;

    __atomic_store_n(&dev->status, 0, __ATOMIC_SEQ_CST);
    sim_set(&sim->state.status, 0);
    dev->suspended = false;
    sim_set(&sim->state.suspended, 0);
    for (i = 0; i < dev->num_queues; i++) {
        SimQueue *q = &dev->queue[i];

        q->enabled = false;
        sim_set(&q->stats->enabled, 0);
        sim_queue_update(q);
        sim_queue_forget(q);
        q->addr_set = false;
    }
    dev->acked = 0;
    __atomic_store_n(&sim->state.acked, 0, __ATOMIC_RELEASE);

    pthread_mutex_lock(&dev->net_lock);
    vdpa_sim_net_reset(&dev->net, &sim->config.net);
    vdpa_sim_net_publish(&sim->net, &dev->net);
    memset(&dev->flows, 0, sizeof(dev->flows));
    pthread_mutex_unlock(&dev->net_lock);
    sim_set(&sim->state.resets, sim->state.resets + 1);
    sim_log(dev, VDPA_SIM_EV_RESET, VDPA_SIM_ANY, 0, 0);
}

int sim_device_set_status(SimDevice *dev, uint8_t status)
{
    uint8_t old = sim_status(dev);
    int64_t value;

    if (!status) {
        sim_log(dev, VDPA_SIM_EV_STATUS, VDPA_SIM_ANY, 0, old);
        reset(dev);
        return 0;
    }
    if (old & ~status) {
        return -EINVAL;
    }
    if (status & ~old & VIRTIO_CONFIG_S_FEATURES_OK) {
        if (!sim_feature(dev, VIRTIO_F_VERSION_1) ||
            sim_fault(dev, VDPA_SIM_FAULT_FEATURES_OK, VDPA_SIM_ANY, 0,
                      &value)) {
            status &= ~VIRTIO_CONFIG_S_FEATURES_OK;
        } else {
            pthread_mutex_lock(&dev->net_lock);
            vdpa_sim_net_set_features(&dev->net, dev->acked);
            vdpa_sim_net_publish(&dev->sim->net, &dev->net);
            pthread_mutex_unlock(&dev->net_lock);
        }
    }
    if (status & ~old & VIRTIO_CONFIG_S_DRIVER_OK &&
        !(status & VIRTIO_CONFIG_S_FEATURES_OK)) {
        sim_violation(dev, VDPA_SIM_ANY, "DRIVER_OK without FEATURES_OK");
    }
    old = __atomic_fetch_or(&dev->status, status, __ATOMIC_SEQ_CST);
    sim_set(&dev->sim->state.status, old | status);
    sim_log(dev, VDPA_SIM_EV_STATUS, VDPA_SIM_ANY, old | status, old);
    update_queues(dev);
    return 0;
}

int sim_device_suspend(SimDevice *dev, bool on)
{
    unsigned bit = on ? VHOST_BACKEND_F_SUSPEND : VHOST_BACKEND_F_RESUME;

    if (!(sim_status(dev) & VIRTIO_CONFIG_S_DRIVER_OK)) {
        return 0;
    }
    if (!(dev->sim->config.backend_features & (1ull << bit))) {
        return -EOPNOTSUPP;
    }
    dev->suspended = on;
    update_queues(dev);
    sim_set(&dev->sim->state.suspended, on);
    sim_log(dev, on ? VDPA_SIM_EV_SUSPEND : VDPA_SIM_EV_RESUME, VDPA_SIM_ANY,
            0, 0);
    return 0;
}

/* Notify pages */

int sim_device_notify_page(SimDevice *dev, uint64_t offset, size_t len,
                           int prot, int flags)
{
    size_t page = sim_page_size();
    uint64_t index = offset / page;
    int fd;

    if (len != page || offset % page || prot & PROT_READ ||
        !(flags & MAP_SHARED)) {
        return -EINVAL;
    }
    if (index >= dev->num_queues ||
        !(dev->sim->config.notify_pages >> index & 1)) {
        return -EOPNOTSUPP;
    }
    pthread_mutex_lock(&dev->lock);
    sim_set(&dev->queue[index].stats->doorbell_mapped, 1);
    fd = dev->doorbell_fd;
    pthread_mutex_unlock(&dev->lock);
    sim_device_wake(dev);
    return fd;
}

/* The device as a whole */

static bool init_doorbells(SimDevice *dev)
{
    size_t page = sim_page_size(), size = page * dev->num_queues;
    unsigned i;

    dev->doorbell_fd = memfd_create("vdpa-sim doorbells", MFD_CLOEXEC);
    if (dev->doorbell_fd < 0 || ftruncate(dev->doorbell_fd, size) < 0) {
        return false;
    }
    dev->doorbells = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
                          dev->doorbell_fd, 0);
    if (dev->doorbells == MAP_FAILED) {
        dev->doorbells = NULL;
        return false;
    }
    for (i = 0; i < dev->num_queues; i++) {
        if (dev->sim->config.notify_pages >> i & 1) {
            SimQueue *q = &dev->queue[i];

            q->doorbell = (uint32_t *)((uint8_t *)dev->doorbells + i * page);
            sim_set(q->doorbell, SIM_NO_DOORBELL);
        }
    }
    return true;
}

static bool init_queue(SimDevice *dev, unsigned index)
{
    SimQueue *q = &dev->queue[index];
    unsigned num = dev->sim->config.vring_num_max;

    q->dev = dev;
    q->index = index;
    q->stats = &dev->sim->stats[index];
    q->ctl = &dev->sim->ctl[index];
    q->num = num;
    pthread_mutex_init(&q->lock, NULL);
    pthread_mutex_init(&q->fifo.lock, NULL);
    pthread_cond_init(&q->resume, NULL);
    q->kick_fd = q->call_fd = -1;
    q->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    /* A batch, and a packet that takes the whole ring; faults may double it */
    q->max_used = 4 * num;
    q->used = calloc(q->max_used, sizeof(*q->used));
    q->num_iov = 4 * num + 64;
    q->iov = calloc(q->num_iov, sizeof(*q->iov));
    q->bufs = calloc(num, sizeof(*q->bufs));
    q->scratch = malloc(VDPA_SIM_MAX_PACKET);
    sim_set(&q->stats->tid, 0);
    sim_set(&q->stats->running, 0);
    sim_set(&q->stats->enabled, 0);
    sim_set(&q->stats->doorbell_mapped, 0);
    return q->wake_fd >= 0 && q->used && q->iov && q->bufs && q->scratch;
}

SimDevice *sim_device_new(VdpaSim *sim, size_t size)
{
    VdpaSimConfig *c = &sim->config;
    const char *wrong = vdpa_sim_config_check(c);
    bool ok = true;
    SimDevice *dev;
    unsigned i;

    if (wrong) {
        fprintf(stderr, "vdpa-sim: %s\n", wrong);
        errno = EINVAL;
        return NULL;
    }
    if (posix_memalign((void **)&dev, 64, sizeof(*dev))) {
        errno = ENOMEM;
        return NULL;
    }
    memset(dev, 0, sizeof(*dev));
    dev->sim = sim;
    dev->size = size;
    dev->num_queues = 2 * c->net.max_pairs +
                      !!(c->features & (1ull << VIRTIO_NET_F_CTRL_VQ));
    dev->num_groups = c->num_groups ? c->num_groups : 1;
    dev->num_as = c->num_as ? c->num_as : 1;
    dev->config_call_fd = dev->doorbell_fd = -1;
    pthread_mutex_init(&dev->lock, NULL);
    pthread_mutex_init(&dev->net_lock, NULL);
    pthread_mutex_init(&dev->call_lock, NULL);
    pthread_mutex_init(&dev->fault_lock, NULL);
    pthread_mutex_init(&dev->text_lock, NULL);
    for (i = 0; i < dev->num_as; i++) {
        dev->as[i].tlb = sim_iotlb_new();
        ok = ok && dev->as[i].tlb;
        sim_set(&sim->state.mappings[i], 0);
        __atomic_store_n(&sim->state.mapped[i], 0, __ATOMIC_RELEASE);
    }
    for (i = 0; i < dev->num_queues; i++) {
        ok = init_queue(dev, i) && ok;
    }
    for (i = 0; i < VDPA_SIM_MAX_QUEUES; i++) {
        sim_set(&sim->state.asid[i], 0);
    }
    ok = ok && init_doorbells(dev);
    vdpa_sim_net_init(&dev->net, &c->net);
    vdpa_sim_net_publish(&sim->net, &dev->net);
    sim_set(&sim->state.status, 0);
    sim_set(&sim->state.suspended, 0);
    if (!ok || sim_thread_start(&dev->housekeeper, sim_housekeeper, dev)) {
        dev->quit = true;
        sim_device_free(dev);
        errno = ENOMEM;
        return NULL;
    }
    sim_set(&sim->state.pid, getpid());
    sim_set(&sim->state.opens, sim->state.opens + 1);
    sim_set(&sim->state.opened, 1);
    sim_log(dev, VDPA_SIM_EV_OPEN, VDPA_SIM_ANY, getpid(), 0);
    return dev;
}

void sim_device_free(SimDevice *dev)
{
    bool opened = !dev->quit;
    unsigned i;

    pthread_mutex_lock(&dev->lock);
    if (opened) {
        reset(dev);
    }
    pthread_mutex_unlock(&dev->lock);
    for (i = 0; i < dev->num_queues; i++) {
        sim_queue_end(&dev->queue[i]);
    }
    if (opened) {
        __atomic_store_n(&dev->quit, true, __ATOMIC_RELEASE);
        sim_device_wake(dev);
        pthread_join(dev->housekeeper, NULL);
        sim_set(&dev->sim->state.opened, 0);
        sim_log(dev, VDPA_SIM_EV_CLOSE, VDPA_SIM_ANY, 0, 0);
    }
    for (i = 0; i < dev->num_queues; i++) {
        SimQueue *q = &dev->queue[i];

        sim_replace_fd(&q->kick_fd, -1);
        sim_replace_fd(&q->call_fd, -1);
        if (q->wake_fd >= 0) {
            sim_close(q->wake_fd);
        }
        free(q->used);
        free(q->iov);
        free(q->bufs);
        free(q->scratch);
        free(q->fifo.data);
    }
    for (i = 0; i < dev->num_as; i++) {
        free(dev->as[i].tlb);
        free(dev->as[i].next);
    }
    sim_replace_fd(&dev->config_call_fd, -1);
    if (dev->doorbells) {
        munmap(dev->doorbells, sim_page_size() * dev->num_queues);
    }
    if (dev->doorbell_fd >= 0) {
        sim_close(dev->doorbell_fd);
    }
    munmap(dev->sim, dev->size);
    free(dev);
}
