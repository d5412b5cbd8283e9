/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vdpa-sim: the control queue (VIRTIO 1.2, 5.1.6.5)
 *
 * What the commands do is net.h's.  Here they come in, are answered, and go
 * wrong when the test wants it.  Runs in the worker of the control queue, with
 * its lock held.
 */
#include <string.h>
#include <linux/virtio_net.h>

#include "device.h"

/* Carries a command out, unless it is to fail */
static uint8_t carry_out(SimQueue *q, uint32_t what, const uint8_t *cmd,
                         size_t len)
{
    SimDevice *dev = q->dev;
    VdpaSim *sim = dev->sim;
    int64_t value;
    uint8_t ack;

    if (sim_fault(dev, VDPA_SIM_FAULT_CVQ_ERROR, q->index, what, &value)) {
        return VIRTIO_NET_ERR;
    }
    pthread_mutex_lock(&dev->net_lock);
    ack = vdpa_sim_net_ctrl(&dev->net, &sim->config.net, cmd, len);
    vdpa_sim_net_publish(&sim->net, &dev->net);
    pthread_mutex_unlock(&dev->net_lock);
    /* A receive queue may have been turned on that makes packets by itself */
    sim_device_wake(dev);
    return ack;
}

void sim_ctrl_batch(SimQueue *q)
{
    SimDevice *dev = q->dev;
    SimUsed *used = &q->used[0];
    uint32_t what = 0;
    int64_t value;
    SimBuffer buf;
    uint8_t *cmd = q->scratch;
    uint8_t ack;
    size_t len;

    if (!sim_ring_pop(&q->ring, &buf, q->iov, q->num_iov)) {
        return;
    }
    used[0] = (SimUsed) {
        .id = buf.id,
        .slots = buf.slots,
        .writable = buf.in_len > 0,
    };
    q->num_used = 1;
    if (buf.fault) {
        sim_buffer_fault(q, &buf);
        return;
    }
    if (!buf.in_num) {
        sim_violation(dev, q->index, "a command without room for the answer");
        return;
    }
    len = sim_buffer_read(&buf, 0, cmd, VDPA_SIM_NET_CMD_MAX + 1);
    if (len >= 2) {
        what = cmd[0] << 8 | cmd[1];
    }
    if (!q->late &&
        sim_fault(dev, VDPA_SIM_FAULT_CVQ_LATE, q->index, what, &value)) {
        /* As if the device had not come to it yet */
        sim_ring_unpop(&q->ring, &buf);
        q->num_used = 0;
        q->late = true;
        q->due = sim_now() + value;
        return;
    }
    q->late = false;
    ack = len > VDPA_SIM_NET_CMD_MAX ? VIRTIO_NET_ERR
                                     : carry_out(q, what, cmd, len);
    sim_count(&q->stats->packets, 1);
    sim_count(&q->stats->bytes, buf.out_len);
    sim_log(dev, VDPA_SIM_EV_COMMAND, q->index, what, ack);

    if (sim_fault(dev, VDPA_SIM_FAULT_CVQ_NEVER, q->index, what, &value)) {
        q->num_used = 0;
        return;
    }
    if (sim_fault(dev, VDPA_SIM_FAULT_CVQ_SHORT, q->index, what, &value)) {
        used[0].len = value;
        return;
    }
    *(uint8_t *)buf.iov[buf.out_num].iov_base = ack;
    used[0].len = sizeof(ack);
    if (sim_fault(dev, VDPA_SIM_FAULT_CVQ_TWICE, q->index, what, &value)) {
        used[0].alone = true;
        used[1] = used[0];
        q->num_used = 2;
    }
}
