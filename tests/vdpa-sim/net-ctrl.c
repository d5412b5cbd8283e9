/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * vdpa-sim: the commands of the control virtqueue
 *
 * One table has them all.  A command looks at all of its data before it changes
 * anything, so one that is refused leaves the state as it was.  The sections
 * mentioned are VIRTIO 1.2's.
 */

#include <string.h>
#include <linux/if_ether.h>
#include <linux/virtio_net.h>

#include "bytes.h"
#include "net.h"

#define BIT_ULL(n) (1ULL << (n))

#define RSS_TABLE_OFFSET    8   /* of the table in virtio_net_rss_config */
#define HASH_KEY_OFFSET     12  /* of the key in virtio_net_hash_config */

typedef struct Command {
    uint8_t class;
    uint8_t cmd;
    uint8_t feature;            /* has to be negotiated */
    /* Returns false, and has done nothing, if the data is not as it must be */
    bool (*run)(VdpaSimNetState *state, const VdpaSimNetConfig *config,
                uint8_t cmd, const uint8_t *data, size_t len);
} Command;

/* 5.1.6.5.1 Packet Receive Filtering */
static bool ctrl_rx(VdpaSimNetState *state, const VdpaSimNetConfig *config,
                    uint8_t cmd, const uint8_t *data, size_t len)
{
    if (len != 1 || data[0] > 1) {
        return false;
    }
    if (data[0]) {
        state->rx_modes |= 1 << cmd;
    } else {
        state->rx_modes &= ~(1 << cmd);
    }
    return true;
}

/*
 * Measure one of the two tables of VIRTIO_NET_CTRL_MAC_TABLE_SET.  Returns its
 * bytes, or 0 if it is cut off or has an address that belongs into the other.
 */
static size_t mac_table_len(const uint8_t *data, size_t len, bool group)
{
    uint32_t num, i;

    if (len < sizeof(num)) {
        return 0;
    }
    num = load_le32(data);
    if (num > (len - sizeof(num)) / ETH_ALEN) {
        return 0;
    }
    for (i = 0; i < num; i++) {
        if ((data[sizeof(num) + i * ETH_ALEN] & 1) != group) {
            return 0;
        }
    }
    return sizeof(num) + num * ETH_ALEN;
}

static void mac_table_set(VdpaSimMacTable *table, const uint8_t *data,
                          uint16_t max)
{
    uint32_t num = load_le32(data);

    memset(table, 0, sizeof(*table));
    if (num > max) {
        table->overflow = 1;
        return;
    }
    table->num = num;
    memcpy(table->macs, data + sizeof(num), num * ETH_ALEN);
}

/* 5.1.6.5.2 Setting MAC Address Filtering */
static bool ctrl_mac_table(VdpaSimNetState *state,
                           const VdpaSimNetConfig *config,
                           uint8_t cmd, const uint8_t *data, size_t len)
{
    size_t uni, multi;

    uni = mac_table_len(data, len, false);
    if (!uni) {
        return false;
    }
    multi = mac_table_len(data + uni, len - uni, true);
    if (!multi || uni + multi != len) {
        return false;
    }
    mac_table_set(&state->uni, data, config->mac_table_max);
    mac_table_set(&state->multi, data + uni, config->mac_table_max);
    return true;
}

static bool ctrl_mac_addr(VdpaSimNetState *state,
                          const VdpaSimNetConfig *config,
                          uint8_t cmd, const uint8_t *data, size_t len)
{
    if (len != ETH_ALEN) {
        return false;
    }
    memcpy(state->mac, data, ETH_ALEN);
    return true;
}

/* 5.1.6.5.3 VLAN Filtering */
static bool ctrl_vlan(VdpaSimNetState *state, const VdpaSimNetConfig *config,
                      uint8_t cmd, const uint8_t *data, size_t len)
{
    uint16_t vlan;

    if (len != sizeof(vlan)) {
        return false;
    }
    vlan = load_le16(data);
    if (vlan >= VDPA_SIM_VLANS) {
        return false;
    }
    if (cmd == VIRTIO_NET_CTRL_VLAN_ADD) {
        state->vlans[vlan / 64] |= BIT_ULL(vlan % 64);
    } else {
        state->vlans[vlan / 64] &= ~BIT_ULL(vlan % 64);
    }
    return true;
}

/* 5.1.6.5.4 Gratuitous Packet Sending */
static bool ctrl_announce(VdpaSimNetState *state,
                          const VdpaSimNetConfig *config,
                          uint8_t cmd, const uint8_t *data, size_t len)
{
    if (len != 0) {
        return false;
    }
    state->status &= ~VIRTIO_NET_S_ANNOUNCE;
    return true;
}

/*
 * 5.1.6.5.6 Automatic receive steering.  What was set for the hash, which may
 * be reported all the same, stays.
 */
static bool ctrl_pairs(VdpaSimNetState *state, const VdpaSimNetConfig *config,
                       uint8_t cmd, const uint8_t *data, size_t len)
{
    uint16_t pairs;

    if (len != sizeof(pairs)) {
        return false;
    }
    pairs = load_le16(data);
    if (pairs < VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MIN || pairs > config->max_pairs) {
        return false;
    }
    state->pairs = pairs;
    state->steering = VDPA_SIM_STEER_AUTO;
    return true;
}

/*
 * What both commands that configure the hash have at the end: the length of the
 * key, and the key.
 */
static bool hash_valid(const VdpaSimNetConfig *config, uint32_t types,
                       const uint8_t *key, size_t len)
{
    return (types & ~config->hash_types) == 0 && len >= 1 &&
           key[0] <= config->rss_max_key && len == 1 + (size_t)key[0];
}

static void hash_set(VdpaSimNetState *state, uint32_t types,
                     const uint8_t *key)
{
    state->hash_types = types;
    state->hash_key_len = key[0];
    memset(state->hash_key, 0, sizeof(state->hash_key));
    memcpy(state->hash_key, key + 1, key[0]);
}

/* 5.1.6.5.7 Receive-side scaling; struct virtio_net_rss_config */
static bool ctrl_rss(VdpaSimNetState *state, const VdpaSimNetConfig *config,
                     uint8_t cmd, const uint8_t *data, size_t len)
{
    const uint8_t *table = data + RSS_TABLE_OFFSET;
    uint32_t types, entries, i;
    uint16_t unclassified, max_tx;
    const uint8_t *key;
    size_t key_offset;

    if (len < RSS_TABLE_OFFSET) {
        return false;
    }
    types = load_le32(data);
    entries = load_le16(data + 4) + 1;
    unclassified = load_le16(data + 6);
    if (entries & (entries - 1) || entries > config->rss_max_table ||
        unclassified >= config->max_pairs) {
        return false;
    }
    key_offset = RSS_TABLE_OFFSET + (entries + 1) * sizeof(uint16_t);
    if (len < key_offset) {
        return false;
    }
    for (i = 0; i < entries; i++) {
        if (load_le16(table + i * sizeof(uint16_t)) >= config->max_pairs) {
            return false;
        }
    }
    max_tx = load_le16(table + entries * sizeof(uint16_t));
    key = data + key_offset;
    if (max_tx < 1 || max_tx > config->max_pairs ||
        !hash_valid(config, types, key, len - key_offset)) {
        return false;
    }

    hash_set(state, types, key);
    state->pairs = max_tx;
    state->rss_mask = entries - 1;
    state->rss_unclassified = unclassified;
    memset(state->rss_table, 0, sizeof(state->rss_table));
    for (i = 0; i < entries; i++) {
        state->rss_table[i] = load_le16(table + i * sizeof(uint16_t));
    }
    state->steering = VDPA_SIM_STEER_RSS;
    return true;
}

/*
 * 5.1.6.5.6.4 Hash calculation; struct virtio_net_hash_config.  It belongs to
 * automatic steering, so as the last command of the class it selects that.
 */
static bool ctrl_hash(VdpaSimNetState *state, const VdpaSimNetConfig *config,
                      uint8_t cmd, const uint8_t *data, size_t len)
{
    uint32_t types;
    int i;

    if (len < HASH_KEY_OFFSET) {
        return false;
    }
    types = load_le32(data);
    for (i = sizeof(types); i < HASH_KEY_OFFSET; i++) {
        if (data[i]) {
            return false;
        }
    }
    if (!hash_valid(config, types, data + HASH_KEY_OFFSET,
                    len - HASH_KEY_OFFSET)) {
        return false;
    }
    hash_set(state, types, data + HASH_KEY_OFFSET);
    state->steering = VDPA_SIM_STEER_AUTO;
    return true;
}

/* 5.1.6.5.8 Offloads State Configuration */
static bool ctrl_offloads(VdpaSimNetState *state,
                          const VdpaSimNetConfig *config,
                          uint8_t cmd, const uint8_t *data, size_t len)
{
    uint64_t offloads;

    if (len != sizeof(offloads)) {
        return false;
    }
    offloads = load_le64(data);
    if (offloads & ~vdpa_sim_net_offloads(state->features)) {
        return false;
    }
    state->offloads = offloads;
    return true;
}

static const Command commands[] = {
    { VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC,
      VIRTIO_NET_F_CTRL_RX, ctrl_rx },
    { VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLMULTI,
      VIRTIO_NET_F_CTRL_RX, ctrl_rx },
    { VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLUNI,
      VIRTIO_NET_F_CTRL_RX_EXTRA, ctrl_rx },
    { VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOMULTI,
      VIRTIO_NET_F_CTRL_RX_EXTRA, ctrl_rx },
    { VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOUNI,
      VIRTIO_NET_F_CTRL_RX_EXTRA, ctrl_rx },
    { VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOBCAST,
      VIRTIO_NET_F_CTRL_RX_EXTRA, ctrl_rx },
    { VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET,
      VIRTIO_NET_F_CTRL_RX, ctrl_mac_table },
    /*
     * The specification ties the whole class to VIRTIO_NET_F_CTRL_RX, and has
     * VIRTIO_NET_F_CTRL_MAC_ADDR for just this command.  Drivers go by the
     * latter alone.
     */
    { VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET,
      VIRTIO_NET_F_CTRL_MAC_ADDR, ctrl_mac_addr },
    { VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD,
      VIRTIO_NET_F_CTRL_VLAN, ctrl_vlan },
    { VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_DEL,
      VIRTIO_NET_F_CTRL_VLAN, ctrl_vlan },
    { VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK,
      VIRTIO_NET_F_GUEST_ANNOUNCE, ctrl_announce },
    { VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
      VIRTIO_NET_F_MQ, ctrl_pairs },
    { VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_RSS_CONFIG,
      VIRTIO_NET_F_RSS, ctrl_rss },
    { VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_HASH_CONFIG,
      VIRTIO_NET_F_HASH_REPORT, ctrl_hash },
    { VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET,
      VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, ctrl_offloads },
};

static const Command *find_command(uint8_t class, uint8_t cmd)
{
    size_t i;

    for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (commands[i].class == class && commands[i].cmd == cmd) {
            return &commands[i];
        }
    }
    return NULL;
}

uint8_t vdpa_sim_net_ctrl(VdpaSimNetState *state,
                          const VdpaSimNetConfig *config,
                          const uint8_t *cmd, size_t len)
{
    const size_t hdr = sizeof(struct virtio_net_ctrl_hdr);
    const Command *command = len < hdr ? NULL : find_command(cmd[0], cmd[1]);

    if (!command ||
        !(state->features & BIT_ULL(VIRTIO_NET_F_CTRL_VQ)) ||
        !(state->features & BIT_ULL(command->feature)) ||
        !command->run(state, config, command->cmd, cmd + hdr, len - hdr)) {
        state->refused++;
        return VIRTIO_NET_ERR;
    }
    state->commands++;
    return VIRTIO_NET_OK;
}
