/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vdpa-sim: what a device can be, for both the test and the device
 */
#include <string.h>
#include <linux/vhost_types.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>

#include "vdpa-sim.h"

#define BIT(n) (1ull << (n))

void vdpa_sim_config_init(VdpaSimConfig *config, unsigned pairs)
{
    unsigned i;

    memset(config, 0, sizeof(*config));
    vdpa_sim_net_config_init(&config->net);
    config->net.max_pairs = pairs;
    config->features =
        BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_ACCESS_PLATFORM) |
        BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX) |
        BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_MTU) |
        BIT(VIRTIO_NET_F_STATUS) | BIT(VIRTIO_NET_F_MRG_RXBUF) |
        BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_GUEST_CSUM) |
        BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_RX) |
        BIT(VIRTIO_NET_F_CTRL_RX_EXTRA) | BIT(VIRTIO_NET_F_CTRL_VLAN) |
        BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) | BIT(VIRTIO_NET_F_GUEST_ANNOUNCE) |
        BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);
    if (pairs > 1) {
        config->features |= BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_RSS) |
                            BIT(VIRTIO_NET_F_HASH_REPORT);
    }
    config->backend_features = BIT(VHOST_BACKEND_F_IOTLB_MSG_V2) |
                               BIT(VHOST_BACKEND_F_IOTLB_BATCH) |
                               BIT(VHOST_BACKEND_F_SUSPEND);
    config->iova_last = UINT64_MAX;
    config->vring_num_max = 256;
    for (i = 0; i < VDPA_SIM_MAX_QUEUES; i++) {
        config->cpu[i] = -1;
    }
}

const char *vdpa_sim_config_check(const VdpaSimConfig *config)
{
    const char *net = vdpa_sim_net_config_check(&config->net);
    uint32_t num = config->vring_num_max;
    unsigned i;

    if (net) {
        return net;
    }
    if (config->net.max_pairs > VDPA_SIM_MAX_PAIRS) {
        return "too many queue pairs";
    }
    if (!num || num > VDPA_SIM_MAX_RING || (num & (num - 1))) {
        return "the size of rings is no power of 2, or too large";
    }
    if (config->num_groups > VDPA_SIM_MAX_QUEUES ||
        config->num_as > VDPA_SIM_MAX_AS) {
        return "too many groups or address spaces";
    }
    for (i = 0; i < VDPA_SIM_MAX_QUEUES; i++) {
        if (config->group[i] >= (config->num_groups ? config->num_groups : 1)) {
            return "a queue is in a group that does not exist";
        }
    }
    if (config->iova_last < config->iova_first) {
        return "there are no I/O virtual addresses";
    }
    return NULL;
}
