/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Unit test of vdpa-sim's configuration space and control commands
 *
 * What these are to do stands in VIRTIO 1.2, sections 5.1.4 and 5.1.6.5.
 */

#include <glib.h>
#include <linux/if_ether.h>
#include <linux/virtio_net.h>

#include "../vdpa-sim/bytes.h"
#include "../vdpa-sim/net.h"

#define F(name) (1ULL << VIRTIO_NET_F_##name)

#define OFFLOADS (F(GUEST_CSUM) | F(GUEST_TSO4) | F(GUEST_TSO6) |   \
                  F(GUEST_ECN) | F(GUEST_UFO))
#define ALL_FEATURES (OFFLOADS | F(MAC) | F(STATUS) | F(CTRL_VQ) |  \
                      F(CTRL_RX) | F(CTRL_RX_EXTRA) | F(CTRL_VLAN) | \
                      F(CTRL_MAC_ADDR) | F(GUEST_ANNOUNCE) | F(MQ) | \
                      F(RSS) | F(HASH_REPORT) | F(CTRL_GUEST_OFFLOADS))

static const uint8_t uni_a[] = { 0x02, 0, 0, 0, 0, 0x0a };
static const uint8_t uni_b[] = { 0x02, 0, 0, 0, 0, 0x0b };
static const uint8_t multi_a[] = { 0x01, 0, 0x5e, 0, 0, 0x0a };
static const uint8_t multi_b[] = { 0x33, 0x33, 0, 0, 0, 0x0b };
static const uint8_t broadcast[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

/* A device, without a place for others to look at it */
typedef struct Device {
    VdpaSimNetConfig config;
    VdpaSimNetState state;
} Device;

static void device_init(Device *dev, uint64_t features)
{
    vdpa_sim_net_config_init(&dev->config);
    dev->config.max_pairs = 4;
    dev->config.mac_table_max = 8;
    g_assert_null(vdpa_sim_net_config_check(&dev->config));
    /* Nothing of what was there before may shine through */
    memset(&dev->state, 0xa5, sizeof(dev->state));
    vdpa_sim_net_init(&dev->state, &dev->config);
    vdpa_sim_net_set_features(&dev->state, features);
}

/* Commands, as bytes that end where their memory ends */

static GByteArray *command(uint8_t class, uint8_t cmd)
{
    GByteArray *bytes = g_byte_array_new();

    g_byte_array_append(bytes, &class, 1);
    g_byte_array_append(bytes, &cmd, 1);
    return bytes;
}

static void put(GByteArray *bytes, uint64_t value, int len)
{
    value = GUINT64_TO_LE(value);
    g_byte_array_append(bytes, (uint8_t *)&value, len);
}

static void put_macs(GByteArray *bytes, const uint8_t *macs, uint32_t num)
{
    put(bytes, num, 4);
    g_byte_array_append(bytes, macs, num * ETH_ALEN);
}

static uint8_t send_bytes(Device *dev, const uint8_t *bytes, size_t len)
{
    uint8_t *copy = g_memdup2(bytes, len);
    uint8_t ack = vdpa_sim_net_ctrl(&dev->state, &dev->config, copy, len);

    g_free(copy);
    return ack;
}

/* Must be refused, and change nothing but the count */
static void send_refused(Device *dev, const uint8_t *bytes, size_t len)
{
    VdpaSimNetState before = dev->state;

    g_assert_cmpuint(send_bytes(dev, bytes, len), ==, VIRTIO_NET_ERR);
    before.refused++;
    g_assert_cmpmem(&dev->state, sizeof(dev->state), &before, sizeof(before));
}

static void send_ok(Device *dev, GByteArray *bytes)
{
    uint64_t before = dev->state.commands;

    g_assert_cmpuint(send_bytes(dev, bytes->data, bytes->len), ==,
                     VIRTIO_NET_OK);
    g_assert_cmpuint(dev->state.commands, ==, before + 1);
    g_byte_array_unref(bytes);
}

static void send_bad(Device *dev, GByteArray *bytes)
{
    send_refused(dev, bytes->data, bytes->len);
    g_byte_array_unref(bytes);
}

static GByteArray *cmd_rx(uint8_t cmd, uint8_t on)
{
    GByteArray *bytes = command(VIRTIO_NET_CTRL_RX, cmd);

    put(bytes, on, 1);
    return bytes;
}

static GByteArray *cmd_mac_table(const uint8_t *uni, uint32_t num_uni,
                                 const uint8_t *multi, uint32_t num_multi)
{
    GByteArray *bytes = command(VIRTIO_NET_CTRL_MAC,
                                VIRTIO_NET_CTRL_MAC_TABLE_SET);

    put_macs(bytes, uni, num_uni);
    put_macs(bytes, multi, num_multi);
    return bytes;
}

static GByteArray *cmd_mac_addr(const uint8_t *mac)
{
    GByteArray *bytes = command(VIRTIO_NET_CTRL_MAC,
                                VIRTIO_NET_CTRL_MAC_ADDR_SET);

    g_byte_array_append(bytes, mac, ETH_ALEN);
    return bytes;
}

static GByteArray *cmd_vlan(uint8_t cmd, uint16_t vlan)
{
    GByteArray *bytes = command(VIRTIO_NET_CTRL_VLAN, cmd);

    put(bytes, vlan, 2);
    return bytes;
}

static GByteArray *cmd_announce_ack(void)
{
    return command(VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK);
}

static GByteArray *cmd_pairs(uint16_t pairs)
{
    GByteArray *bytes = command(VIRTIO_NET_CTRL_MQ,
                                VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET);

    put(bytes, pairs, 2);
    return bytes;
}

static void put_key(GByteArray *bytes, const uint8_t *key, uint8_t len)
{
    put(bytes, len, 1);
    g_byte_array_append(bytes, key, len);
}

static GByteArray *cmd_rss(uint32_t types, const uint16_t *table,
                           uint32_t entries, uint16_t unclassified,
                           uint16_t max_tx, const uint8_t *key,
                           uint8_t key_len)
{
    GByteArray *bytes = command(VIRTIO_NET_CTRL_MQ,
                                VIRTIO_NET_CTRL_MQ_RSS_CONFIG);
    uint32_t i;

    put(bytes, types, 4);
    put(bytes, entries - 1, 2);
    put(bytes, unclassified, 2);
    for (i = 0; i < entries; i++) {
        put(bytes, table[i], 2);
    }
    put(bytes, max_tx, 2);
    put_key(bytes, key, key_len);
    return bytes;
}

static GByteArray *cmd_hash(uint32_t types, const uint8_t *key,
                            uint8_t key_len)
{
    GByteArray *bytes = command(VIRTIO_NET_CTRL_MQ,
                                VIRTIO_NET_CTRL_MQ_HASH_CONFIG);

    put(bytes, types, 4);
    put(bytes, 0, 8);
    put_key(bytes, key, key_len);
    return bytes;
}

static GByteArray *cmd_offloads(uint64_t offloads)
{
    GByteArray *bytes = command(VIRTIO_NET_CTRL_GUEST_OFFLOADS,
                                VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET);

    put(bytes, offloads, 8);
    return bytes;
}

/* Configuration */

static void test_config(void)
{
    VdpaSimNetConfig good, bad;
    struct virtio_net_config space;
    uint8_t byte = 0x77;
    Device dev;

    vdpa_sim_net_config_init(&good);
    g_assert_null(vdpa_sim_net_config_check(&good));
#define BAD(field, value) do {                              \
        bad = good;                                         \
        bad.field = value;                                  \
        g_assert_nonnull(vdpa_sim_net_config_check(&bad));  \
    } while (0)
    BAD(mac[0], 0x01);
    BAD(mtu, 67);
    BAD(max_pairs, 0);
    BAD(max_pairs, 0x8001);
    BAD(mac_table_max, VDPA_SIM_MAC_TABLE_MAX + 1);
    BAD(rss_max_table, 127);
    BAD(rss_max_table, VDPA_SIM_RSS_TABLE_MAX + 1);
    BAD(rss_max_key, 39);
    BAD(rss_max_key, VDPA_SIM_RSS_KEY_MAX + 1);
    BAD(hash_types, 0x200);
    BAD(reset_rx_modes, 0x40);
#undef BAD

    device_init(&dev, 0);
    g_assert_cmpuint(vdpa_sim_net_config_size(), ==, 24);
    g_assert_true(vdpa_sim_net_get_config(&dev.state, &dev.config, &space,
                                          0, sizeof(space)));
    g_assert_cmpmem(space.mac, ETH_ALEN, dev.config.mac, ETH_ALEN);
    g_assert_cmpuint(load_le16(&space.status), ==, VIRTIO_NET_S_LINK_UP);
    g_assert_cmpuint(load_le16(&space.max_virtqueue_pairs), ==, 4);
    g_assert_cmpuint(load_le16(&space.mtu), ==, 1500);
    g_assert_cmpuint(load_le32(&space.speed), ==, 10000);
    g_assert_cmpuint(space.duplex, ==, 1);
    g_assert_cmpuint(space.rss_max_key_size, ==, 40);
    g_assert_cmpuint(load_le16(&space.rss_max_indirection_table_length), ==,
                     128);
    g_assert_cmpuint(load_le32(&space.supported_hash_types), ==, 0x1ff);

    /* At the end, and beyond */
    g_assert_true(vdpa_sim_net_get_config(&dev.state, &dev.config, &byte,
                                          23, 1));
    g_assert_cmpuint(byte, ==, 0);
    g_assert_true(vdpa_sim_net_get_config(&dev.state, &dev.config, &byte,
                                          24, 0));
    g_assert_false(vdpa_sim_net_get_config(&dev.state, &dev.config, &byte,
                                           24, 1));
    g_assert_false(vdpa_sim_net_get_config(&dev.state, &dev.config, &byte,
                                           SIZE_MAX, 2));
    g_assert_false(vdpa_sim_net_get_config(&dev.state, &dev.config, &byte,
                                           1, SIZE_MAX));

    /* Only the MAC address can be written; it outlives a reset */
    g_assert_true(vdpa_sim_net_set_config(&dev.state, uni_a, 0, ETH_ALEN));
    g_assert_false(vdpa_sim_net_set_config(&dev.state, uni_b, 1, ETH_ALEN));
    g_assert_false(vdpa_sim_net_set_config(&dev.state, uni_b, ETH_ALEN, 1));
    g_assert_false(vdpa_sim_net_set_config(&dev.state, uni_b, SIZE_MAX, 2));
    g_assert_cmpmem(dev.state.mac, ETH_ALEN, uni_a, ETH_ALEN);
    vdpa_sim_net_reset(&dev.state, &dev.config);
    g_assert_cmpmem(dev.state.mac, ETH_ALEN, uni_a, ETH_ALEN);
    g_assert_true(vdpa_sim_net_set_config(&dev.state, uni_b + 5, 5, 1));
    g_assert_cmpmem(dev.state.mac, ETH_ALEN, uni_b, ETH_ALEN);
}

/* The driver sees the MAC that it set, if it knows of the field */
static void test_config_mac(void)
{
    uint8_t mac[ETH_ALEN];
    Device dev;

    device_init(&dev, ALL_FEATURES);
    send_ok(&dev, cmd_mac_addr(uni_a));
    vdpa_sim_net_get_config(&dev.state, &dev.config, mac, 0, ETH_ALEN);
    g_assert_cmpmem(mac, ETH_ALEN, uni_a, ETH_ALEN);
    vdpa_sim_net_reset(&dev.state, &dev.config);
    vdpa_sim_net_get_config(&dev.state, &dev.config, mac, 0, ETH_ALEN);
    g_assert_cmpmem(mac, ETH_ALEN, dev.config.mac, ETH_ALEN);

    device_init(&dev, ALL_FEATURES & ~F(MAC));
    send_ok(&dev, cmd_mac_addr(uni_a));
    vdpa_sim_net_get_config(&dev.state, &dev.config, mac, 0, ETH_ALEN);
    g_assert_cmpmem(mac, ETH_ALEN, dev.config.mac, ETH_ALEN);
    g_assert_cmpmem(dev.state.mac, ETH_ALEN, uni_a, ETH_ALEN);
}

static void test_features(void)
{
    Device dev;

    g_assert_cmpuint(vdpa_sim_net_hdr_len(ALL_FEATURES), ==, 20);
    g_assert_cmpuint(vdpa_sim_net_hdr_len(ALL_FEATURES & ~F(HASH_REPORT)), ==,
                     12);
    device_init(&dev, ALL_FEATURES & ~F(GUEST_TSO6));
    g_assert_cmphex(dev.state.offloads, ==, OFFLOADS & ~F(GUEST_TSO6));
    g_assert_cmphex(vdpa_sim_net_offloads(~0ULL), ==, OFFLOADS);
}

static void test_status(void)
{
    Device dev;

    device_init(&dev, ALL_FEATURES);
    g_assert_false(vdpa_sim_net_set_link(&dev.state, true));
    g_assert_true(vdpa_sim_net_announce(&dev.state));
    g_assert_false(vdpa_sim_net_announce(&dev.state));
    g_assert_true(vdpa_sim_net_set_link(&dev.state, false));
    g_assert_cmpuint(dev.state.status, ==, VIRTIO_NET_S_ANNOUNCE);
    send_ok(&dev, cmd_announce_ack());
    g_assert_cmpuint(dev.state.status, ==, 0);
    /* Too much of a good thing is no mistake */
    send_ok(&dev, cmd_announce_ack());

    /* A reset pulls no cable, and asks nothing of the driver */
    g_assert_true(vdpa_sim_net_announce(&dev.state));
    vdpa_sim_net_reset(&dev.state, &dev.config);
    g_assert_cmpuint(dev.state.status, ==, 0);
    g_assert_true(vdpa_sim_net_set_link(&dev.state, true));
    vdpa_sim_net_reset(&dev.state, &dev.config);
    g_assert_cmpuint(dev.state.status, ==, VIRTIO_NET_S_LINK_UP);

    device_init(&dev, ALL_FEATURES & ~F(GUEST_ANNOUNCE));
    g_assert_false(vdpa_sim_net_announce(&dev.state));
    g_assert_cmpuint(dev.state.status, ==, VIRTIO_NET_S_LINK_UP);
}

/* All there is to set, set; then a reset leaves nothing of it */
static void test_reset(void)
{
    uint16_t table[] = { 3, 2, 1, 0 };
    Device dev, fresh;
    uint8_t cmd;

    device_init(&fresh, 0);
    device_init(&dev, ALL_FEATURES);
    for (cmd = 0; cmd <= VIRTIO_NET_CTRL_RX_NOBCAST; cmd++) {
        send_ok(&dev, cmd_rx(cmd, 1));
    }
    send_ok(&dev, cmd_mac_table(uni_a, 1, multi_a, 1));
    send_ok(&dev, cmd_mac_addr(uni_b));
    send_ok(&dev, cmd_vlan(VIRTIO_NET_CTRL_VLAN_ADD, 4095));
    send_ok(&dev, cmd_rss(1, table, 4, 2, 3, uni_a, ETH_ALEN));
    send_ok(&dev, cmd_offloads(0));
    vdpa_sim_net_reset(&dev.state, &dev.config);
    fresh.state.commands = dev.state.commands;
    g_assert_cmpuint(dev.state.commands, ==, 11);
    g_assert_cmpmem(&dev.state, sizeof(dev.state),
                    &fresh.state, sizeof(fresh.state));
    g_assert_cmpuint(dev.state.pairs, ==, 1);
    g_assert_cmpuint(dev.state.rx_modes, ==, VDPA_SIM_RX_PROMISC);
}

/* Commands */

typedef struct CommandCase {
    const char *name;
    uint64_t feature;
    GByteArray *bytes;
} CommandCase;

/* One of each, ended by a NULL */
static CommandCase *command_cases(void)
{
    uint8_t key[40] = { 0x6d, 0x5a };
    uint16_t table[] = { 3, 2, 1, 0 };
    CommandCase cases[] = {
        { "promisc", F(CTRL_RX), cmd_rx(VIRTIO_NET_CTRL_RX_PROMISC, 0) },
        { "allmulti", F(CTRL_RX), cmd_rx(VIRTIO_NET_CTRL_RX_ALLMULTI, 1) },
        { "alluni", F(CTRL_RX_EXTRA), cmd_rx(VIRTIO_NET_CTRL_RX_ALLUNI, 1) },
        { "nomulti", F(CTRL_RX_EXTRA), cmd_rx(VIRTIO_NET_CTRL_RX_NOMULTI, 1) },
        { "nouni", F(CTRL_RX_EXTRA), cmd_rx(VIRTIO_NET_CTRL_RX_NOUNI, 1) },
        { "nobcast", F(CTRL_RX_EXTRA), cmd_rx(VIRTIO_NET_CTRL_RX_NOBCAST, 1) },
        { "mac-table", F(CTRL_RX), cmd_mac_table(uni_a, 1, multi_a, 1) },
        { "mac-table-empty", F(CTRL_RX), cmd_mac_table(NULL, 0, NULL, 0) },
        { "mac-addr", F(CTRL_MAC_ADDR), cmd_mac_addr(uni_a) },
        { "vlan-add", F(CTRL_VLAN), cmd_vlan(VIRTIO_NET_CTRL_VLAN_ADD, 7) },
        { "vlan-del", F(CTRL_VLAN), cmd_vlan(VIRTIO_NET_CTRL_VLAN_DEL, 7) },
        { "announce-ack", F(GUEST_ANNOUNCE), cmd_announce_ack() },
        { "pairs", F(MQ), cmd_pairs(4) },
        { "rss", F(RSS), cmd_rss(0x1ff, table, 4, 1, 4, key, sizeof(key)) },
        { "hash", F(HASH_REPORT), cmd_hash(0x1ff, key, sizeof(key)) },
        { "offloads", F(CTRL_GUEST_OFFLOADS), cmd_offloads(F(GUEST_CSUM)) },
        { NULL }
    };

    return g_memdup2(cases, sizeof(cases));
}

static void command_cases_free(CommandCase *cases)
{
    CommandCase *c;

    for (c = cases; c->name; c++) {
        g_byte_array_unref(c->bytes);
    }
    g_free(cases);
}

/* A command needs its feature and the control queue, and nothing else */
static void test_needs_feature(void)
{
    CommandCase *cases = command_cases();
    CommandCase *c;
    Device dev;

    for (c = cases; c->name; c++) {
        g_test_message("%s", c->name);
        device_init(&dev, ALL_FEATURES & ~c->feature);
        send_refused(&dev, c->bytes->data, c->bytes->len);
        device_init(&dev, c->feature);
        send_refused(&dev, c->bytes->data, c->bytes->len);
        device_init(&dev, c->feature | F(CTRL_VQ) |
                    (c->feature == F(CTRL_GUEST_OFFLOADS) ? OFFLOADS : 0));
        send_ok(&dev, g_byte_array_ref(c->bytes));
    }
    command_cases_free(cases);
}

/* No command does with less than all of its data, nor with more */
static void test_lengths(void)
{
    CommandCase *cases = command_cases();
    CommandCase *c;
    Device dev;
    size_t len;

    for (c = cases; c->name; c++) {
        g_test_message("%s", c->name);
        device_init(&dev, ALL_FEATURES);
        for (len = 0; len < c->bytes->len; len++) {
            send_refused(&dev, c->bytes->data, len);
        }
        g_byte_array_append(c->bytes, (uint8_t *)"", 1);
        send_refused(&dev, c->bytes->data, c->bytes->len);
    }
    command_cases_free(cases);
}

static void test_unknown(void)
{
    static const uint8_t known[] = { 6, 2, 2, 1, 3, 1 };
    uint8_t bytes[] = { 0, 0, 0, 0 };
    int class, cmd;
    size_t len;
    Device dev;

    device_init(&dev, ~0ULL);
    for (class = 0; class <= UINT8_MAX; class++) {
        for (cmd = 0; cmd <= UINT8_MAX; cmd++) {
            if (class < G_N_ELEMENTS(known) && cmd < known[class]) {
                continue;
            }
            bytes[0] = class;
            bytes[1] = cmd;
            for (len = 2; len <= sizeof(bytes); len++) {
                send_refused(&dev, bytes, len);
            }
        }
    }
}

static void test_rx_modes(void)
{
    uint8_t cmd;
    Device dev;

    device_init(&dev, ALL_FEATURES);
    for (cmd = 0; cmd <= VIRTIO_NET_CTRL_RX_NOBCAST; cmd++) {
        send_ok(&dev, cmd_rx(cmd, 1));
        g_assert_cmphex(dev.state.rx_modes, ==, (2u << cmd) - 1);
        send_bad(&dev, cmd_rx(cmd, 2));
        send_bad(&dev, cmd_rx(cmd, 0xff));
    }
    for (cmd = 0; cmd <= VIRTIO_NET_CTRL_RX_NOBCAST; cmd++) {
        send_ok(&dev, cmd_rx(cmd, 0));
        g_assert_cmphex(dev.state.rx_modes, ==, 0x3e << cmd & 0x3f);
    }
}

static void test_mac_table(void)
{
    uint8_t macs[9][ETH_ALEN] = {};
    GByteArray *bytes;
    Device dev;
    int i;

    device_init(&dev, ALL_FEATURES);
    for (i = 0; i < G_N_ELEMENTS(macs); i++) {
        macs[i][0] = 0x02;
        macs[i][5] = i;
    }
    /* A table replaces the one before; as many as there is room for, or all */
    send_ok(&dev, cmd_mac_table(macs[0], 8, multi_a, 1));
    g_assert_cmpuint(dev.state.uni.num, ==, 8);
    g_assert_false(dev.state.uni.overflow);
    g_assert_cmpmem(dev.state.uni.macs, 8 * ETH_ALEN, macs, 8 * ETH_ALEN);
    send_ok(&dev, cmd_mac_table(macs[0], 9, NULL, 0));
    g_assert_cmpuint(dev.state.uni.num, ==, 0);
    g_assert_true(dev.state.uni.overflow);
    g_assert_cmpuint(dev.state.multi.num, ==, 0);
    send_ok(&dev, cmd_mac_table(uni_b, 1, multi_b, 1));
    g_assert_cmpuint(dev.state.uni.num, ==, 1);
    g_assert_false(dev.state.uni.overflow);
    g_assert_cmpmem(dev.state.multi.macs[0], ETH_ALEN, multi_b, ETH_ALEN);

    /* An address in the wrong table, first and last */
    send_bad(&dev, cmd_mac_table(multi_a, 1, NULL, 0));
    send_bad(&dev, cmd_mac_table(NULL, 0, uni_a, 1));
    memcpy(macs[7], multi_a, ETH_ALEN);
    send_bad(&dev, cmd_mac_table(macs[0], 8, NULL, 0));
    /* Also beyond what there is room for */
    memcpy(macs[8], multi_a, ETH_ALEN);
    send_bad(&dev, cmd_mac_table(macs[0], 9, NULL, 0));

    /* Counts that are larger than the data, or whose product is too large */
    bytes = cmd_mac_table(uni_a, 1, NULL, 0);
    bytes->data[2] = 2;
    send_refused(&dev, bytes->data, bytes->len);
    store_le32(bytes->data + 2, 0x2aaaaaab);    /* 6 times that is 2 */
    send_refused(&dev, bytes->data, bytes->len);
    store_le32(bytes->data + 2, UINT32_MAX);
    send_refused(&dev, bytes->data, bytes->len);
    send_ok(&dev, cmd_mac_table(NULL, 0, NULL, 0));
    store_le32(bytes->data + 2, 1);
    store_le32(bytes->data + bytes->len - 4, UINT32_MAX);
    send_bad(&dev, bytes);
}

static void test_vlan(void)
{
    int vlan, i;
    Device dev;

    device_init(&dev, ALL_FEATURES);
    for (vlan = 0; vlan < VDPA_SIM_VLANS; vlan += 63) {
        send_ok(&dev, cmd_vlan(VIRTIO_NET_CTRL_VLAN_ADD, vlan));
        for (i = 0; i < VDPA_SIM_VLANS; i++) {
            g_assert_cmpuint(dev.state.vlans[i / 64] >> (i % 64) & 1, ==,
                             i == vlan);
        }
        send_ok(&dev, cmd_vlan(VIRTIO_NET_CTRL_VLAN_DEL, vlan));
    }
    send_bad(&dev, cmd_vlan(VIRTIO_NET_CTRL_VLAN_ADD, VDPA_SIM_VLANS));
    send_bad(&dev, cmd_vlan(VIRTIO_NET_CTRL_VLAN_DEL, 0xffff));
}

static void test_pairs(void)
{
    Device dev;

    device_init(&dev, ALL_FEATURES);
    send_ok(&dev, cmd_pairs(4));
    g_assert_cmpuint(dev.state.pairs, ==, 4);
    send_bad(&dev, cmd_pairs(0));
    send_bad(&dev, cmd_pairs(5));
    send_ok(&dev, cmd_pairs(1));
    g_assert_cmpuint(dev.state.pairs, ==, 1);
}

static void test_rss(void)
{
    uint16_t table[256] = { 3, 2, 1, 0 };
    uint8_t key[41];
    Device dev;
    int i;

    for (i = 0; i < sizeof(key); i++) {
        key[i] = i + 1;
    }
    device_init(&dev, ALL_FEATURES);
    dev.config.hash_types = 0x3f;
    send_ok(&dev, cmd_rss(0x3f, table, 4, 2, 3, key, 40));
    g_assert_cmpuint(dev.state.steering, ==, VDPA_SIM_STEER_RSS);
    g_assert_cmphex(dev.state.hash_types, ==, 0x3f);
    g_assert_cmpuint(dev.state.rss_mask, ==, 3);
    g_assert_cmpuint(dev.state.rss_unclassified, ==, 2);
    g_assert_cmpuint(dev.state.pairs, ==, 3);
    g_assert_cmpuint(dev.state.hash_key_len, ==, 40);
    g_assert_cmpmem(dev.state.hash_key, 40, key, 40);
    for (i = 0; i < 4; i++) {
        g_assert_cmpuint(dev.state.rss_table[i], ==, 3 - i);
    }

    send_bad(&dev, cmd_rss(0x40, table, 4, 2, 3, key, 40));
    send_bad(&dev, cmd_rss(0x3f, table, 3, 2, 3, key, 40));
    send_bad(&dev, cmd_rss(0x3f, table, 256, 2, 3, key, 40));
    send_bad(&dev, cmd_rss(0x3f, table, 4, 4, 3, key, 40));
    send_bad(&dev, cmd_rss(0x3f, table, 4, 2, 0, key, 40));
    send_bad(&dev, cmd_rss(0x3f, table, 4, 2, 5, key, 40));
    send_bad(&dev, cmd_rss(0x3f, table, 4, 2, 3, key, 41));
    table[127] = 4;
    send_bad(&dev, cmd_rss(0x3f, table, 128, 2, 3, key, 40));
    table[127] = 3;
    send_ok(&dev, cmd_rss(0, table, 128, 0, 1, key, 0));
    g_assert_cmpuint(dev.state.rss_table[127], ==, 3);
    /* Nothing is left of the longer key and table */
    send_ok(&dev, cmd_rss(0, table, 1, 0, 1, key, 1));
    g_assert_cmpuint(dev.state.rss_table[1], ==, 0);
    g_assert_cmpuint(dev.state.hash_key[1], ==, 0);

    /* The last command of the class decides */
    send_ok(&dev, cmd_pairs(2));
    g_assert_cmpuint(dev.state.steering, ==, VDPA_SIM_STEER_AUTO);
    g_assert_cmpuint(dev.state.pairs, ==, 2);
    send_ok(&dev, cmd_hash(5, key, 40));
    g_assert_cmpuint(dev.state.steering, ==, VDPA_SIM_STEER_AUTO);
    g_assert_cmpuint(dev.state.pairs, ==, 2);
    g_assert_cmphex(dev.state.hash_types, ==, 5);
    send_ok(&dev, cmd_rss(1, table, 1, 0, 4, key, 40));
    g_assert_cmpuint(dev.state.steering, ==, VDPA_SIM_STEER_RSS);
    send_ok(&dev, cmd_hash(5, key, 40));
    g_assert_cmpuint(dev.state.steering, ==, VDPA_SIM_STEER_AUTO);
    send_ok(&dev, cmd_pairs(1));
    g_assert_cmphex(dev.state.hash_types, ==, 5);
}

static void test_hash(void)
{
    uint8_t key[41] = { 1, 2, 3 };
    GByteArray *bytes;
    Device dev;
    int i;

    device_init(&dev, ALL_FEATURES);
    dev.config.hash_types = 0x3f;
    send_ok(&dev, cmd_hash(0x21, key, 40));
    g_assert_cmphex(dev.state.hash_types, ==, 0x21);
    g_assert_cmpmem(dev.state.hash_key, 40, key, 40);
    send_bad(&dev, cmd_hash(0x40, key, 40));
    send_bad(&dev, cmd_hash(0x3f, key, 41));
    for (i = 0; i < 8; i++) {
        bytes = cmd_hash(0x21, key, 40);
        bytes->data[6 + i] = 1;
        send_bad(&dev, bytes);
    }
}

static void test_offloads(void)
{
    Device dev;

    device_init(&dev, (ALL_FEATURES & ~F(GUEST_UFO)) | F(MRG_RXBUF));
    send_ok(&dev, cmd_offloads(0));
    g_assert_cmphex(dev.state.offloads, ==, 0);
    send_bad(&dev, cmd_offloads(F(GUEST_UFO)));
    /* Negotiated, but no offload */
    send_bad(&dev, cmd_offloads(F(MRG_RXBUF)));
    send_bad(&dev, cmd_offloads(1ULL << 63));
    send_ok(&dev, cmd_offloads(OFFLOADS & ~F(GUEST_UFO)));
    g_assert_cmphex(dev.state.offloads, ==, OFFLOADS & ~F(GUEST_UFO));
}

/*
 * Random commands, valid or spoilt in a way that is known to matter, against a
 * model that knows what they were made from and never reads one.
 */

typedef struct Model {
    bool modes[6];
    GHashTable *macs;           /* both tables, as strings */
    bool all[2];                /* too many unicast, multicast addresses */
    GHashTable *vlans;
    char *mac;
    int pairs;
    bool rss;
    uint64_t offloads;
} Model;

static char *mac_name(const uint8_t *mac)
{
    return g_strdup_printf("%02x:%02x:%02x:%02x:%02x:%02x",
                           mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

/* One of few, so that they meet again */
static void random_mac(uint8_t *mac, bool group)
{
    memset(mac, 0, ETH_ALEN);
    mac[0] = group ? 0x03 : 0x02;
    mac[g_test_rand_int_range(1, ETH_ALEN)] = g_test_rand_int_range(0, 4);
}

static GByteArray *random_mac_table(Device *dev, Model *model)
{
    uint8_t macs[2][10][ETH_ALEN];
    int num[2];
    int kind, i;

    g_hash_table_remove_all(model->macs);
    for (kind = 0; kind < 2; kind++) {
        num[kind] = g_test_rand_int_range(0, 11);
        model->all[kind] = num[kind] > dev->config.mac_table_max;
        for (i = 0; i < num[kind]; i++) {
            random_mac(macs[kind][i], kind);
            g_hash_table_add(model->macs, mac_name(macs[kind][i]));
        }
    }
    return cmd_mac_table(macs[0][0], num[0], macs[1][0], num[1]);
}

static GByteArray *random_command(Device *dev, Model *model)
{
    static const uint64_t offloads[] = {
        F(GUEST_CSUM), F(GUEST_TSO4), F(GUEST_TSO6), F(GUEST_ECN), F(GUEST_UFO)
    };
    uint16_t table[] = { g_test_rand_int_range(0, 4), 0 };
    uint8_t mac[ETH_ALEN];
    int arg;

    switch (g_test_rand_int_range(0, 9)) {
    case 0:
    case 1:
        arg = g_test_rand_int_range(0, 6);
        model->modes[arg] = g_test_rand_bit();
        return cmd_rx(arg, model->modes[arg]);
    case 2:
        return random_mac_table(dev, model);
    case 3:
        random_mac(mac, false);
        g_free(model->mac);
        model->mac = mac_name(mac);
        return cmd_mac_addr(mac);
    case 4:
        arg = g_test_rand_int_range(1, 8) * 500;
        g_hash_table_add(model->vlans, GINT_TO_POINTER(arg));
        return cmd_vlan(VIRTIO_NET_CTRL_VLAN_ADD, arg);
    case 5:
        arg = g_test_rand_int_range(1, 8) * 500;
        g_hash_table_remove(model->vlans, GINT_TO_POINTER(arg));
        return cmd_vlan(VIRTIO_NET_CTRL_VLAN_DEL, arg);
    case 6:
        model->pairs = g_test_rand_int_range(1, 5);
        model->rss = false;
        return cmd_pairs(model->pairs);
    case 7:
        model->pairs = g_test_rand_int_range(1, 5);
        model->rss = true;
        return cmd_rss(g_test_rand_int_range(0, 0x200), table, 2, 1,
                       model->pairs, mac, 0);
    default:
        model->offloads = 0;
        for (arg = 0; arg < G_N_ELEMENTS(offloads); arg++) {
            model->offloads |= g_test_rand_bit() ? offloads[arg] : 0;
        }
        return cmd_offloads(model->offloads);
    }
}

static bool model_accepts(Model *model, const uint8_t *dst, int vlan)
{
    char *name;
    bool known;

    if (model->modes[VIRTIO_NET_CTRL_RX_PROMISC]) {
        return true;
    }
    if (vlan > 0 &&
        !g_hash_table_contains(model->vlans, GINT_TO_POINTER(vlan))) {
        return false;
    }
    if (memcmp(dst, broadcast, ETH_ALEN) == 0) {
        return !model->modes[VIRTIO_NET_CTRL_RX_NOBCAST];
    }
    name = mac_name(dst);
    known = g_hash_table_contains(model->macs, name) ||
            strcmp(model->mac, name) == 0;
    g_free(name);
    if (dst[0] & 1) {
        known |= model->all[1] || model->modes[VIRTIO_NET_CTRL_RX_ALLMULTI];
        return known && !model->modes[VIRTIO_NET_CTRL_RX_NOMULTI];
    }
    known |= model->all[0] || model->modes[VIRTIO_NET_CTRL_RX_ALLUNI];
    return known && !model->modes[VIRTIO_NET_CTRL_RX_NOUNI];
}

static void check_against_model(Device *dev, Model *model)
{
    uint8_t frame[60] = {};
    VdpaSimVerdict verdict;
    int vlan = 0;
    int i;

    g_assert_cmpuint(dev->state.pairs, ==, model->pairs);
    g_assert_cmpuint(dev->state.steering == VDPA_SIM_STEER_RSS, ==, model->rss);
    g_assert_cmphex(dev->state.offloads, ==, model->offloads);
    for (i = 0; i < 8; i++) {
        if (g_test_rand_int_range(0, 10) == 0) {
            memcpy(frame, broadcast, ETH_ALEN);
        } else {
            random_mac(frame, g_test_rand_bit());
        }
        store_be16(frame + 12, ETH_P_IP);
        if (g_test_rand_bit()) {
            vlan = g_test_rand_int_range(0, 8) * 500;
            store_be16(frame + 12, ETH_P_8021Q);
            store_be16(frame + 14, vlan);
        }
        verdict = vdpa_sim_net_accept(&dev->state, &dev->config, frame,
                                      sizeof(frame));
        g_assert_cmpuint(verdict == VDPA_SIM_ACCEPT, ==,
                         model_accepts(model, frame, vlan));
        vlan = 0;
    }
}

static void test_random(void)
{
    Model model = {
        .modes = { true },
        .macs = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
        .vlans = g_hash_table_new(NULL, NULL),
        .pairs = 1,
        .offloads = OFFLOADS,
    };
    Device dev;
    int i;

    device_init(&dev, ALL_FEATURES);
    model.mac = mac_name(dev.config.mac);
    for (i = 0; i < 20000; i++) {
        if (g_test_rand_bit()) {
            send_ok(&dev, random_command(&dev, &model));
        } else {
            /* What it does to the model, it would not do to the device */
            Model scrap = {
                .macs = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                              NULL),
                .vlans = g_hash_table_new(NULL, NULL),
            };
            GByteArray *bytes = random_command(&dev, &scrap);

            if (g_test_rand_bit()) {
                g_byte_array_set_size(bytes,
                                      g_test_rand_int_range(0, bytes->len));
            } else {
                put(bytes, 0, g_test_rand_int_range(1, 9));
            }
            send_bad(&dev, bytes);
            g_hash_table_unref(scrap.macs);
            g_hash_table_unref(scrap.vlans);
            g_free(scrap.mac);
        }
        check_against_model(&dev, &model);
    }
    g_hash_table_unref(model.macs);
    g_hash_table_unref(model.vlans);
    g_free(model.mac);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vdpa-sim/net/config", test_config);
    g_test_add_func("/vdpa-sim/net/config-mac", test_config_mac);
    g_test_add_func("/vdpa-sim/net/features", test_features);
    g_test_add_func("/vdpa-sim/net/status", test_status);
    g_test_add_func("/vdpa-sim/net/reset", test_reset);
    g_test_add_func("/vdpa-sim/net/needs-feature", test_needs_feature);
    g_test_add_func("/vdpa-sim/net/lengths", test_lengths);
    g_test_add_func("/vdpa-sim/net/unknown", test_unknown);
    g_test_add_func("/vdpa-sim/net/rx-modes", test_rx_modes);
    g_test_add_func("/vdpa-sim/net/mac-table", test_mac_table);
    g_test_add_func("/vdpa-sim/net/vlan", test_vlan);
    g_test_add_func("/vdpa-sim/net/pairs", test_pairs);
    g_test_add_func("/vdpa-sim/net/rss", test_rss);
    g_test_add_func("/vdpa-sim/net/hash", test_hash);
    g_test_add_func("/vdpa-sim/net/offloads", test_offloads);
    g_test_add_func("/vdpa-sim/net/random", test_random);
    return g_test_run();
}
