/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * vdpa-sim: the state of the network device, and its receive filter
 *
 * The sections mentioned are VIRTIO 1.2's.
 */

#include <endian.h>
#include <string.h>
#include <linux/if_ether.h>
#include <linux/virtio_net.h>

#include "bytes.h"
#include "net.h"

#define BIT_ULL(n) (1ULL << (n))

/* All that this specification knows (section 5.1.6.5.8.1) */
#define OFFLOADS (BIT_ULL(VIRTIO_NET_F_GUEST_CSUM) |    \
                  BIT_ULL(VIRTIO_NET_F_GUEST_TSO4) |    \
                  BIT_ULL(VIRTIO_NET_F_GUEST_TSO6) |    \
                  BIT_ULL(VIRTIO_NET_F_GUEST_ECN) |     \
                  BIT_ULL(VIRTIO_NET_F_GUEST_UFO))

#define ALL_HASH_TYPES  0x1ff
#define ALL_RX_MODES    0x3f

#define VLAN_HLEN       4

_Static_assert(sizeof(VdpaSimNetState) % sizeof(uint64_t) == 0,
               "a state is copied by words");
_Static_assert(offsetof(VdpaSimNetShared, state) % sizeof(uint64_t) == 0,
               "a state is copied by words");

/* Configuration */

void vdpa_sim_net_config_init(VdpaSimNetConfig *config)
{
    *config = (VdpaSimNetConfig) {
        .mac = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 },
        .link_up = 1,
        .duplex = 1,
        .speed = 10000,
        .mtu = 1500,
        .max_pairs = 1,
        .mac_table_max = 64,
        .rss_max_table = 128,
        .hash_types = ALL_HASH_TYPES,
        .rss_max_key = 40,
        .reset_rx_modes = VDPA_SIM_RX_PROMISC,
    };
}

const char *vdpa_sim_net_config_check(const VdpaSimNetConfig *config)
{
    if (config->mac[0] & 1) {
        return "mac is a group address";
    }
    if (config->mtu < 68) {
        return "mtu is below 68";
    }
    if (config->max_pairs < VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MIN ||
        config->max_pairs > VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MAX) {
        return "max_pairs is not between 1 and 0x8000";
    }
    if (config->mac_table_max > VDPA_SIM_MAC_TABLE_MAX) {
        return "mac_table_max is too large";
    }
    if (config->rss_max_table < 128 ||
        config->rss_max_table > VDPA_SIM_RSS_TABLE_MAX) {
        return "rss_max_table is out of range";
    }
    if (config->rss_max_key < 40 ||
        config->rss_max_key > VDPA_SIM_RSS_KEY_MAX) {
        return "rss_max_key is out of range";
    }
    if (config->hash_types & ~ALL_HASH_TYPES) {
        return "hash_types has unknown bits";
    }
    if (config->reset_rx_modes & ~ALL_RX_MODES) {
        return "reset_rx_modes has unknown bits";
    }
    return NULL;
}

size_t vdpa_sim_net_config_size(void)
{
    return sizeof(struct virtio_net_config);
}

bool vdpa_sim_net_get_config(const VdpaSimNetState *state,
                             const VdpaSimNetConfig *config,
                             void *buf, size_t offset, size_t len)
{
    struct virtio_net_config space = {
        .status = htole16(state->status),
        .max_virtqueue_pairs = htole16(config->max_pairs),
        .mtu = htole16(config->mtu),
        .speed = htole32(config->speed),
        .duplex = config->duplex,
        .rss_max_key_size = config->rss_max_key,
        .rss_max_indirection_table_length = htole16(config->rss_max_table),
        .supported_hash_types = htole32(config->hash_types),
    };

    if (offset > sizeof(space) || len > sizeof(space) - offset) {
        return false;
    }
    /* What the driver sets shows only if it knows of the field (5.1.6.5.2) */
    memcpy(space.mac, state->features & BIT_ULL(VIRTIO_NET_F_MAC) ?
           state->mac : state->perm_mac, ETH_ALEN);
    memcpy(buf, (uint8_t *)&space + offset, len);
    return true;
}

bool vdpa_sim_net_set_config(VdpaSimNetState *state,
                             const void *buf, size_t offset, size_t len)
{
    if (offset > ETH_ALEN || len > ETH_ALEN - offset) {
        return false;
    }
    memcpy(state->perm_mac + offset, buf, len);
    memcpy(state->mac, state->perm_mac, ETH_ALEN);
    return true;
}

/* State */

void vdpa_sim_net_reset(VdpaSimNetState *state, const VdpaSimNetConfig *config)
{
    VdpaSimNetState old = *state;

    memset(state, 0, sizeof(*state));
    state->commands = old.commands;
    state->refused = old.refused;
    state->status = old.status & VIRTIO_NET_S_LINK_UP;
    state->rx_modes = config->reset_rx_modes;
    state->steering = VDPA_SIM_STEER_AUTO;
    state->pairs = 1;
    memcpy(state->perm_mac, old.perm_mac, ETH_ALEN);
    memcpy(state->mac, old.perm_mac, ETH_ALEN);
}

void vdpa_sim_net_init(VdpaSimNetState *state, const VdpaSimNetConfig *config)
{
    memset(state, 0, sizeof(*state));
    memcpy(state->perm_mac, config->mac, ETH_ALEN);
    state->status = config->link_up ? VIRTIO_NET_S_LINK_UP : 0;
    vdpa_sim_net_reset(state, config);
}

uint64_t vdpa_sim_net_offloads(uint64_t features)
{
    return features & OFFLOADS;
}

void vdpa_sim_net_set_features(VdpaSimNetState *state, uint64_t features)
{
    state->features = features;
    state->offloads = vdpa_sim_net_offloads(features);
}

size_t vdpa_sim_net_hdr_len(uint64_t features)
{
    return features & BIT_ULL(VIRTIO_NET_F_HASH_REPORT) ?
           sizeof(struct virtio_net_hdr_v1_hash) :
           sizeof(struct virtio_net_hdr_v1);
}

static bool set_status(VdpaSimNetState *state, uint16_t status)
{
    bool changed = state->status != status;

    state->status = status;
    return changed;
}

bool vdpa_sim_net_set_link(VdpaSimNetState *state, bool up)
{
    return set_status(state, up ? state->status | VIRTIO_NET_S_LINK_UP :
                                  state->status & ~VIRTIO_NET_S_LINK_UP);
}

bool vdpa_sim_net_announce(VdpaSimNetState *state)
{
    if (!(state->features & BIT_ULL(VIRTIO_NET_F_GUEST_ANNOUNCE))) {
        return false;
    }
    return set_status(state, state->status | VIRTIO_NET_S_ANNOUNCE);
}

/* Receive filter */

static bool table_has(const VdpaSimMacTable *table, const uint8_t *mac)
{
    int i;

    if (table->overflow) {
        return true;
    }
    for (i = 0; i < table->num; i++) {
        if (memcmp(table->macs[i], mac, ETH_ALEN) == 0) {
            return true;
        }
    }
    return false;
}

static VdpaSimVerdict accept_mac(const VdpaSimNetState *state,
                                 const uint8_t *mac)
{
    static const uint8_t broadcast[ETH_ALEN] = {
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff
    };

    if (memcmp(mac, broadcast, ETH_ALEN) == 0) {
        return state->rx_modes & VDPA_SIM_RX_NOBCAST ?
               VDPA_SIM_DROP_BROADCAST : VDPA_SIM_ACCEPT;
    }
    if (mac[0] & 1) {
        if (!(state->rx_modes & VDPA_SIM_RX_NOMULTI) &&
            (state->rx_modes & VDPA_SIM_RX_ALLMULTI ||
             table_has(&state->multi, mac))) {
            return VDPA_SIM_ACCEPT;
        }
        return VDPA_SIM_DROP_MULTICAST;
    }
    if (!(state->rx_modes & VDPA_SIM_RX_NOUNI) &&
        (state->rx_modes & VDPA_SIM_RX_ALLUNI ||
         memcmp(mac, state->mac, ETH_ALEN) == 0 ||
         table_has(&state->uni, mac))) {
        return VDPA_SIM_ACCEPT;
    }
    return VDPA_SIM_DROP_UNICAST;
}

VdpaSimVerdict vdpa_sim_net_accept(const VdpaSimNetState *state,
                                   const VdpaSimNetConfig *config,
                                   const uint8_t *frame, size_t len)
{
    bool tagged;

    if (!(state->status & VIRTIO_NET_S_LINK_UP)) {
        return VDPA_SIM_DROP_LINK;
    }
    if (len < ETH_HLEN) {
        return VDPA_SIM_DROP_LENGTH;
    }
    tagged = len >= ETH_HLEN + VLAN_HLEN &&
             load_be16(frame + 2 * ETH_ALEN) == ETH_P_8021Q;
    /* A limit of what may be passed to the driver, not a filter (5.1.4.1) */
    if (state->features & BIT_ULL(VIRTIO_NET_F_MTU) &&
        len > config->mtu + ETH_HLEN + (tagged ? VLAN_HLEN : 0)) {
        return VDPA_SIM_DROP_LENGTH;
    }
    if (state->rx_modes & VDPA_SIM_RX_PROMISC) {
        return VDPA_SIM_ACCEPT;
    }
    if (tagged && state->features & BIT_ULL(VIRTIO_NET_F_CTRL_VLAN)) {
        uint16_t vlan = load_be16(frame + ETH_HLEN) % VDPA_SIM_VLANS;

        if (vlan && !(state->vlans[vlan / 64] & BIT_ULL(vlan % 64))) {
            return VDPA_SIM_DROP_VLAN;
        }
    }
    return accept_mac(state, frame);
}

/*
 * Publication
 *
 * The current state stays as it is until after the next one has been published.
 * A reader that finds the number unchanged after it has copied the state has
 * therefore copied one state.  The order that this takes is in the access to
 * each word, which costs nothing on x86, rather than in fences, which
 * ThreadSanitizer does not understand.
 */

void vdpa_sim_net_publish(VdpaSimNetShared *shared,
                          const VdpaSimNetState *state)
{
    uint32_t seq = __atomic_load_n(&shared->seq, __ATOMIC_RELAXED) + 1;
    uint64_t *to = (uint64_t *)&shared->state[seq % 2];
    const uint8_t *from = (const uint8_t *)state;
    size_t i;

    for (i = 0; i < sizeof(*state) / sizeof(*to); i++) {
        uint64_t word;

        memcpy(&word, from + i * sizeof(word), sizeof(word));
        /* Not before the number by which a reader knows that it came late */
        __atomic_store_n(&to[i], word, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&shared->seq, seq, __ATOMIC_RELEASE);
}

uint32_t vdpa_sim_net_snapshot(const VdpaSimNetShared *shared,
                               VdpaSimNetState *state)
{
    uint8_t *to = (uint8_t *)state;
    uint32_t seq;

    do {
        const uint64_t *from;
        size_t i;

        seq = __atomic_load_n(&shared->seq, __ATOMIC_ACQUIRE);
        from = (const uint64_t *)&shared->state[seq % 2];
        for (i = 0; i < sizeof(*state) / sizeof(*from); i++) {
            /* Not after the look at the number that follows */
            uint64_t word = __atomic_load_n(&from[i], __ATOMIC_ACQUIRE);

            memcpy(to + i * sizeof(word), &word, sizeof(word));
        }
    } while (vdpa_sim_net_changed(shared, seq));
    return seq;
}
