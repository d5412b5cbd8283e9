/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Unit test of what vdpa-sim does with incoming packets: receive filter, RSS
 * and automatic steering; and of how the state that decides it is published
 *
 * The hash is checked with the vectors that Microsoft published for the
 * verification of RSS.
 */

#include <glib.h>
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/virtio_net.h>

#include "../vdpa-sim/bytes.h"
#include "../vdpa-sim/net.h"

#define F(name) (1ULL << VIRTIO_NET_F_##name)
#define TYPE(name) VIRTIO_NET_RSS_HASH_TYPE_##name
#define REPORT(name) VIRTIO_NET_HASH_REPORT_##name

static const uint8_t mac_own[] = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 };
static const uint8_t uni_known[] = { 0x02, 0, 0, 0, 0, 0x0a };
static const uint8_t uni_other[] = { 0x02, 0, 0, 0, 0, 0x0b };
static const uint8_t multi_known[] = { 0x01, 0, 0x5e, 0, 0, 0x0a };
static const uint8_t multi_other[] = { 0x33, 0x33, 0, 0, 0, 0x0b };
static const uint8_t broadcast[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

/* Receive filter */

static void filter_init(VdpaSimNetState *state, VdpaSimNetConfig *config,
                        uint64_t features)
{
    vdpa_sim_net_config_init(config);
    vdpa_sim_net_init(state, config);
    vdpa_sim_net_set_features(state, features);
    state->uni.num = 1;
    memcpy(state->uni.macs[0], uni_known, ETH_ALEN);
    state->multi.num = 1;
    memcpy(state->multi.macs[0], multi_known, ETH_ALEN);
    state->vlans[7 / 64] |= 1ULL << (7 % 64);
}

/* @tag: TCI, or -1 for an untagged frame */
static VdpaSimVerdict filter(const VdpaSimNetState *state,
                             const VdpaSimNetConfig *config,
                             const uint8_t *dst, int tag, size_t len)
{
    uint8_t *frame = g_malloc0(len);
    VdpaSimVerdict verdict;

    if (len >= ETH_ALEN) {
        memcpy(frame, dst, ETH_ALEN);
    }
    if (len >= ETH_HLEN) {
        store_be16(frame + 12, tag < 0 ? ETH_P_IP : ETH_P_8021Q);
    }
    if (len >= ETH_HLEN + 4 && tag >= 0) {
        store_be16(frame + 14, tag);
        store_be16(frame + 16, ETH_P_IP);
    }
    verdict = vdpa_sim_net_accept(state, config, frame, len);
    g_free(frame);
    return verdict;
}

/* Every mode with every kind of address and tag */
static void test_filter(void)
{
    static const int tags[] = { -1, 0, 0xe000, 7, 0xe007, 8, 4095 };
    VdpaSimNetConfig config;
    VdpaSimNetState state;
    int modes, i, vlans;

    for (modes = 0; modes < 64; modes++) {
        bool promisc = modes & VDPA_SIM_RX_PROMISC;
        bool allmulti = modes & VDPA_SIM_RX_ALLMULTI;
        bool alluni = modes & VDPA_SIM_RX_ALLUNI;
        bool nomulti = modes & VDPA_SIM_RX_NOMULTI;
        bool nouni = modes & VDPA_SIM_RX_NOUNI;
        bool nobcast = modes & VDPA_SIM_RX_NOBCAST;

        for (i = 0; i < G_N_ELEMENTS(tags) * 2; i++) {
            int tag = tags[i / 2];
            bool vlan_ok;

            vlans = i % 2;
            vlan_ok = !vlans || tag < 0 || (tag & 0xfff) == 0 ||
                      (tag & 0xfff) == 7;
            filter_init(&state, &config, vlans ? F(CTRL_VLAN) : 0);
            state.rx_modes = modes;
#define CHECK(mac, accepted, why) \
            g_assert_cmpint(filter(&state, &config, mac, tag, 60), ==,  \
                            promisc ? VDPA_SIM_ACCEPT :                 \
                            !vlan_ok ? VDPA_SIM_DROP_VLAN :             \
                            (accepted) ? VDPA_SIM_ACCEPT :              \
                                         VDPA_SIM_DROP_##why)
            CHECK(mac_own, !nouni, UNICAST);
            CHECK(uni_known, !nouni, UNICAST);
            CHECK(uni_other, alluni && !nouni, UNICAST);
            CHECK(multi_known, !nomulti, MULTICAST);
            CHECK(multi_other, allmulti && !nomulti, MULTICAST);
            CHECK(broadcast, !nobcast, BROADCAST);
            state.uni.overflow = 1;
            CHECK(uni_other, !nouni, UNICAST);
            CHECK(multi_other, allmulti && !nomulti, MULTICAST);
            state.multi.overflow = 1;
            CHECK(multi_other, !nomulti, MULTICAST);
#undef CHECK
        }
    }
}

static void test_filter_length(void)
{
    VdpaSimNetConfig config;
    VdpaSimNetState state;
    size_t len;

    filter_init(&state, &config, F(MTU));
    for (len = 0; len < ETH_HLEN; len++) {
        g_assert_cmpint(filter(&state, &config, mac_own, -1, len), ==,
                        VDPA_SIM_DROP_LENGTH);
    }
    g_assert_cmpint(filter(&state, &config, mac_own, -1, 14), ==,
                    VDPA_SIM_ACCEPT);
    g_assert_cmpint(filter(&state, &config, mac_own, -1, 1514), ==,
                    VDPA_SIM_ACCEPT);
    g_assert_cmpint(filter(&state, &config, mac_own, -1, 1515), ==,
                    VDPA_SIM_DROP_LENGTH);
    g_assert_cmpint(filter(&state, &config, mac_own, 7, 1518), ==,
                    VDPA_SIM_ACCEPT);
    g_assert_cmpint(filter(&state, &config, mac_own, 7, 1519), ==,
                    VDPA_SIM_DROP_LENGTH);
    vdpa_sim_net_set_features(&state, 0);
    g_assert_cmpint(filter(&state, &config, mac_own, -1, 9000), ==,
                    VDPA_SIM_ACCEPT);
    vdpa_sim_net_set_link(&state, false);
    g_assert_cmpint(filter(&state, &config, mac_own, -1, 60), ==,
                    VDPA_SIM_DROP_LINK);

    /* A tag that is cut off */
    filter_init(&state, &config, F(CTRL_VLAN));
    state.rx_modes = 0;
    for (len = 14; len < 18; len++) {
        g_assert_cmpint(filter(&state, &config, mac_own, 8, len), ==,
                        VDPA_SIM_ACCEPT);
    }
    g_assert_cmpint(filter(&state, &config, mac_own, 8, 18), ==,
                    VDPA_SIM_DROP_VLAN);
}

/* The hash */

static const uint8_t rss_key[] = {
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2,
    0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4,
    0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
};

typedef struct Vector {
    const char *dst;
    uint16_t dst_port;
    const char *src;
    uint16_t src_port;
    uint32_t ip;                /* hash of the addresses */
    uint32_t tcp;               /* hash of addresses and ports */
} Vector;

static const Vector vectors[] = {
    { "161.142.100.80", 1766, "66.9.149.187", 2794, 0x323e8fc2, 0x51ccc178 },
    { "65.69.140.83", 4739, "199.92.111.2", 14230, 0xd718262a, 0xc626b0ea },
    { "12.22.207.184", 38024, "24.19.198.95", 12898, 0xd2d0a5de, 0x5c2b394a },
    { "209.142.163.6", 2217, "38.27.205.30", 48228, 0x82989176, 0xafc7327f },
    { "202.188.127.2", 1303, "153.39.163.191", 44251, 0x5d1809c5, 0x10e828a2 },
    { "3ffe:2501:200:3::1", 1766, "3ffe:2501:200:1fff::7", 2794,
      0x2cc18cd5, 0x40207d3d },
    { "ff02::1", 4739, "3ffe:501:8::260:97ff:fe40:efab", 14230,
      0x0f0c461c, 0xdde51bbf },
    { "fe80::200:f8ff:fe21:67cf", 38024,
      "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251, 0x4b61e985, 0x02d1feef },
};

/* How to make a packet of a vector */
typedef struct Shape {
    int tags;
    uint8_t proto;
    /* IPv6: extension headers, by their numbers */
    uint8_t ext[4];
    /* Whether the addresses are in these, and others in the IPv6 header */
    bool home;
    bool routed;
    bool fragment;              /* of several; IPv4: as well */
} Shape;

static size_t make_ext(uint8_t *p, uint8_t type, uint8_t next,
                       const Shape *shape, const Vector *v)
{
    p[0] = next;
    switch (type) {
    case IPPROTO_DSTOPTS:
        if (!shape->home) {
            p[1] = 0;
            p[2] = 1;           /* PadN */
            p[3] = 4;
            return 8;
        }
        p[1] = 2;
        p[2] = 0;               /* Pad1 */
        p[3] = 1;               /* PadN */
        p[4] = 0;
        p[5] = 0xc9;
        p[6] = 16;
        inet_pton(AF_INET6, v->src, p + 7);
        return 24;
    case IPPROTO_ROUTING:
        p[1] = shape->routed ? 2 : 0;
        p[2] = shape->routed ? 2 : 253;
        if (shape->routed) {
            inet_pton(AF_INET6, v->dst, p + 8);
        }
        return shape->routed ? 24 : 8;
    case IPPROTO_FRAGMENT:
        store_be16(p + 2, shape->fragment ? 1 : 0);
        return 8;
    case IPPROTO_AH:
        p[1] = 4;
        return 24;
    default:
        p[1] = 1;
        p[2] = 1;               /* PadN */
        p[3] = 12;
        return 16;
    }
}

/* Returns the length */
static size_t make_packet(uint8_t *frame, const Vector *v, const Shape *shape)
{
    bool v6 = strchr(v->dst, ':');
    uint8_t *p = frame + 12;
    uint8_t *ip, *transport;
    int i;

    memset(frame, 0, 256);
    for (i = 0; i < shape->tags; i++) {
        store_be16(p, i ? ETH_P_8021Q : ETH_P_8021AD);
        p += 4;
    }
    store_be16(p, v6 ? ETH_P_IPV6 : ETH_P_IP);
    ip = p + 2;
    if (v6) {
        uint8_t *next = ip + 6;

        ip[0] = 0x60;
        memset(ip + 8, 0xee, 32);
        if (!shape->home) {
            inet_pton(AF_INET6, v->src, ip + 8);
        }
        if (!shape->routed) {
            inet_pton(AF_INET6, v->dst, ip + 24);
        }
        p = ip + 40;
        for (i = 0; i < G_N_ELEMENTS(shape->ext) && shape->ext[i]; i++) {
            uint8_t type = shape->ext[i] == 255 ? IPPROTO_HOPOPTS :
                           shape->ext[i];

            *next = type;
            next = p;
            p += make_ext(p, type, 0, shape, v);
        }
        *next = shape->proto;
    } else {
        ip[0] = 0x46;           /* with an option */
        store_be16(ip + 6, shape->fragment ? 0x2000 : 0x4000);
        ip[9] = shape->proto;
        inet_pton(AF_INET, v->src, ip + 12);
        inet_pton(AF_INET, v->dst, ip + 16);
        p = ip + 24;
    }
    transport = p;
    store_be16(transport, v->src_port);
    store_be16(transport + 2, v->dst_port);
    p += shape->proto == IPPROTO_TCP ? 20 : 8;
    store_be16(v6 ? ip + 4 : ip + 2, v6 ? p - ip - 40 : p - ip);
    return p - frame;
}

static void rss_init(VdpaSimNetState *state, uint32_t types)
{
    VdpaSimNetConfig config;

    vdpa_sim_net_config_init(&config);
    vdpa_sim_net_init(state, &config);
    vdpa_sim_net_set_features(state, F(RSS) | F(HASH_REPORT));
    state->steering = VDPA_SIM_STEER_RSS;
    state->hash_types = types;
    state->hash_key_len = sizeof(rss_key);
    memcpy(state->hash_key, rss_key, sizeof(rss_key));
}

static VdpaSimSteer hash_of(uint32_t types, const Vector *v,
                            const Shape *shape)
{
    VdpaSimNetState state;
    uint8_t frame[256];
    size_t len;

    rss_init(&state, types);
    len = make_packet(frame, v, shape);
    return vdpa_sim_net_steer(&state, NULL, frame, len);
}

static void assert_hash(uint32_t types, const Vector *v, const Shape *shape,
                        uint16_t report, uint32_t hash)
{
    VdpaSimSteer steer = hash_of(types, v, shape);

    g_assert_cmpuint(steer.hash_report, ==, report);
    g_assert_cmphex(steer.hash, ==, hash);
}

static void test_toeplitz(void)
{
    static const uint8_t data[] = { 0x80, 0, 0, 0, 0, 0, 0, 0, 1 };
    int i;

    for (i = 0; i < G_N_ELEMENTS(vectors); i++) {
        const Vector *v = &vectors[i];
        bool v6 = strchr(v->dst, ':');
        Shape tcp = { .proto = IPPROTO_TCP };
        Shape udp = { .proto = IPPROTO_UDP };

        g_test_message("%s", v->src);
        for (tcp.tags = 0; tcp.tags <= 2; tcp.tags++) {
            assert_hash(0x1ff, v, &tcp, v6 ? REPORT(TCPv6) : REPORT(TCPv4),
                        v->tcp);
        }
        tcp.tags = 0;
        assert_hash(0x1ff, v, &udp, v6 ? REPORT(UDPv6) : REPORT(UDPv4),
                    v->tcp);
        assert_hash(TYPE(IPv4) | TYPE(IPv6), v, &tcp,
                    v6 ? REPORT(IPv6) : REPORT(IPv4), v->ip);
    }

    /* The first bit selects the first 32 of the key, and so on to its end */
    g_assert_cmphex(vdpa_sim_toeplitz(rss_key, 40, data, 1), ==, 0x6d5a56da);
    g_assert_cmphex(vdpa_sim_toeplitz(rss_key, 2, data, 1), ==, 0x6d5a0000);
    g_assert_cmphex(vdpa_sim_toeplitz(rss_key, 40, data + 1, 8), ==,
                    0x20b3929e);
    g_assert_cmphex(vdpa_sim_toeplitz(rss_key, 0, data, 9), ==, 0);
}

/* A hash that a packet may get, the preferred one first */
typedef struct Preference {
    uint32_t type;
    uint16_t report;
    uint32_t hash;
} Preference;

/* @prefs: ended by one without a type */
static void check_preferences(const Vector *v, const Shape *shape,
                              const Preference *prefs)
{
    uint32_t types;

    for (types = 0; types <= 0x1ff; types++) {
        const Preference *pref = prefs;

        while (pref->type && !(types & pref->type)) {
            pref++;
        }
        assert_hash(types, v, shape, pref->report, pref->hash);
    }
}

static void test_ipv4_types(void)
{
    const Vector *v = &vectors[0];
    const Preference tcp[] = {
        { TYPE(TCPv4), REPORT(TCPv4), v->tcp },
        { TYPE(IPv4), REPORT(IPv4), v->ip }, {}
    };
    const Preference udp[] = {
        { TYPE(UDPv4), REPORT(UDPv4), v->tcp },
        { TYPE(IPv4), REPORT(IPv4), v->ip }, {}
    };

    check_preferences(v, &(Shape) { .proto = IPPROTO_TCP }, tcp);
    check_preferences(v, &(Shape) { .proto = IPPROTO_UDP }, udp);
    check_preferences(v, &(Shape) { .proto = IPPROTO_ICMP }, tcp + 1);
    check_preferences(v, &(Shape) { .proto = IPPROTO_TCP, .fragment = true },
                      tcp + 1);
}

static void test_ipv6_types(void)
{
    const Vector *v = &vectors[5];
    const Preference tcp[] = {
        { TYPE(TCPv6), REPORT(TCPv6), v->tcp },
        { TYPE(IPv6), REPORT(IPv6), v->ip }, {}
    };
    const Preference udp[] = {
        { TYPE(UDPv6), REPORT(UDPv6), v->tcp },
        { TYPE(IPv6), REPORT(IPv6), v->ip }, {}
    };
    const Preference tcp_ex[] = {
        { TYPE(TCP_EX), REPORT(TCPv6_EX), v->tcp },
        { TYPE(IP_EX), REPORT(IPv6_EX), v->ip }, tcp[0], tcp[1], {}
    };
    const Preference udp_ex[] = {
        { TYPE(UDP_EX), REPORT(UDPv6_EX), v->tcp },
        { TYPE(IP_EX), REPORT(IPv6_EX), v->ip }, udp[0], udp[1], {}
    };
    const Preference ip_ex[] = { tcp_ex[1], tcp[1], {} };

    check_preferences(v, &(Shape) { .proto = IPPROTO_TCP }, tcp);
    check_preferences(v, &(Shape) { .proto = IPPROTO_UDP }, udp);
    check_preferences(v, &(Shape) { .proto = IPPROTO_ICMPV6 }, tcp + 1);
    /* Headers that tell no address; 255 stands for hop-by-hop options */
    check_preferences(v, &(Shape) { .proto = IPPROTO_TCP,
                                    .ext = { 255, IPPROTO_DSTOPTS,
                                             IPPROTO_ROUTING, IPPROTO_AH } },
                      tcp_ex);
    check_preferences(v, &(Shape) { .proto = IPPROTO_UDP,
                                    .ext = { IPPROTO_FRAGMENT } }, udp_ex);
    check_preferences(v, &(Shape) { .proto = IPPROTO_ICMPV6,
                                    .ext = { IPPROTO_AH } }, ip_ex);
    check_preferences(v, &(Shape) { .proto = IPPROTO_TCP, .fragment = true,
                                    .ext = { 255, IPPROTO_FRAGMENT } }, ip_ex);
}

/* Mobile IPv6: the addresses that count are not those of the IPv6 header */
static void test_ipv6_mobile(void)
{
    const Vector *v = &vectors[5];
    int i;

    for (i = 0; i < 3; i++) {
        Shape shape = {
            .proto = IPPROTO_TCP,
            .ext = { IPPROTO_DSTOPTS, IPPROTO_ROUTING },
            .home = i != 1,
            .routed = i != 0,
        };
        uint8_t data[36];
        Preference prefs[] = {
            { TYPE(TCP_EX), REPORT(TCPv6_EX), v->tcp },
            { TYPE(IP_EX), REPORT(IPv6_EX), v->ip },
            { TYPE(TCPv6), REPORT(TCPv6) },
            { TYPE(IPv6), REPORT(IPv6) },
            {}
        };

        memset(data, 0xee, 32);
        if (!shape.home) {
            inet_pton(AF_INET6, v->src, data);
        }
        if (!shape.routed) {
            inet_pton(AF_INET6, v->dst, data + 16);
        }
        store_be16(data + 32, v->src_port);
        store_be16(data + 34, v->dst_port);
        prefs[2].hash = vdpa_sim_toeplitz(rss_key, sizeof(rss_key), data, 36);
        prefs[3].hash = vdpa_sim_toeplitz(rss_key, sizeof(rss_key), data, 32);
        check_preferences(v, &shape, prefs);
    }
}

/* Options and headers that look like those of Mobile IPv6, but are not */
static void test_ipv6_not_mobile(void)
{
    static const uint8_t options[][6] = {
        { 0xc9, 16, 0, 0, 0, 0 },       /* longer than the header */
        { 1, 2, 0, 0, 0xc9, 16 },       /* likewise, at the end */
        { 1, 3, 0, 0, 0, 0xc9 },        /* the length would come after it */
        { 0xc9, 4, 0, 0, 0, 0 },        /* too short for an address */
        { 1, 16, 0, 0, 0xc9, 16 },      /* in an option that is too long */
    };
    Vector v = vectors[5];
    const Shape option = { .proto = IPPROTO_TCP, .ext = { IPPROTO_DSTOPTS } };
    const Shape routing = { .proto = IPPROTO_TCP, .ext = { IPPROTO_ROUTING } };
    VdpaSimNetState state;
    uint8_t frame[256];
    size_t len;
    int i;

    /* What follows the options is the port: to be taken for a length of 16 */
    v.src_port = 0x1000;
    rss_init(&state, TYPE(IP_EX));
    for (i = 0; i < G_N_ELEMENTS(options); i++) {
        len = make_packet(frame, &v, &option);
        memcpy(frame + 14 + 40 + 2, options[i], sizeof(options[i]));
        g_assert_cmphex(vdpa_sim_net_steer(&state, NULL, frame, len).hash, ==,
                        v.ip);
    }
    len = make_packet(frame, &v, &routing);
    frame[14 + 40 + 2] = 2;
    g_assert_cmphex(vdpa_sim_net_steer(&state, NULL, frame, len).hash, ==,
                    v.ip);
}

static void test_indirection(void)
{
    uint8_t frame[256];
    VdpaSimNetState state;
    VdpaSimSteer steer;
    size_t len;
    int i, bits;

    rss_init(&state, 0x1ff);
    state.rss_unclassified = 511;
    for (i = 0; i < VDPA_SIM_RSS_TABLE_MAX; i++) {
        state.rss_table[i] = i;
    }
    for (i = 0; i < G_N_ELEMENTS(vectors); i++) {
        len = make_packet(frame, &vectors[i],
                          &(Shape) { .proto = IPPROTO_TCP });
        for (bits = 0; bits < 9; bits++) {
            state.rss_mask = (1 << bits) - 1;
            steer = vdpa_sim_net_steer(&state, NULL, frame, len);
            g_assert_cmpuint(steer.queue, ==, vectors[i].tcp & state.rss_mask);
        }
    }
    /* No hash, so no entry */
    store_be16(frame + 12, ETH_P_ARP);
    steer = vdpa_sim_net_steer(&state, NULL, frame, len);
    g_assert_cmpuint(steer.queue, ==, 511);
    g_assert_cmpuint(steer.hash_report, ==, REPORT(NONE));
}

/*
 * A packet that is cut off is unclassified, and nothing beyond its end is
 * looked at, for which the memory ends there as well.
 */
static void test_truncated(void)
{
    const Shape shapes[] = {
        { .proto = IPPROTO_TCP, .tags = 2 },
        { .proto = IPPROTO_UDP, .ext = { 255, IPPROTO_DSTOPTS, IPPROTO_ROUTING,
                                         IPPROTO_AH },
          .home = true, .routed = true },
        { .proto = IPPROTO_TCP, .ext = { IPPROTO_FRAGMENT } },
    };
    uint8_t frame[256];
    VdpaSimNetFlows flows = {};
    VdpaSimNetState state;
    VdpaSimSteer steer;
    size_t len, full;
    int i, j, k;

    rss_init(&state, 0x1ff);
    state.rss_unclassified = 3;
    for (i = 0; i < G_N_ELEMENTS(shapes); i++) {
        for (j = 0; j < G_N_ELEMENTS(vectors); j++) {
            full = make_packet(frame, &vectors[j], &shapes[i]);
            for (len = 0; len < full; len++) {
                uint8_t *copy = g_memdup2(frame, len);

                steer = vdpa_sim_net_steer(&state, NULL, copy, len);
                g_assert_cmpuint(steer.hash_report, ==, REPORT(NONE));
                g_assert_cmpuint(steer.queue, ==, 3);
                vdpa_sim_net_learn(&flows, 1, copy, len);
                g_free(copy);
            }
            /* Lengths inside the packet that are wrong */
            for (k = 0; k < 2000; k++) {
                uint8_t *copy = g_memdup2(frame, full);

                copy[g_test_rand_int_range(12, full)] =
                    g_test_rand_int_range(0, 256);
                copy[g_test_rand_int_range(12, full)] =
                    g_test_rand_int_range(0, 256);
                vdpa_sim_net_steer(&state, NULL, copy, full);
                g_free(copy);
            }
        }
    }
}

/* A packet in a frame that is long enough, but itself is not */
static void test_short(void)
{
    static const uint8_t protos[] = { IPPROTO_TCP, IPPROTO_UDP };
    const Vector *v = &vectors[0];
    VdpaSimNetState state;
    VdpaSimSteer steer;
    uint8_t frame[256];
    size_t len;
    int i;

    rss_init(&state, 0x1ff);
    for (i = 0; i < G_N_ELEMENTS(protos); i++) {
        len = make_packet(frame, v, &(Shape) { .proto = protos[i] });
        store_be16(frame + 16, load_be16(frame + 16) - 1);
        steer = vdpa_sim_net_steer(&state, NULL, frame, len);
        g_assert_cmpuint(steer.hash_report, ==, REPORT(IPv4));
        g_assert_cmphex(steer.hash, ==, v->ip);

        /* A header that is shorter than its fields */
        frame[14] = 0x44;
        steer = vdpa_sim_net_steer(&state, NULL, frame, len);
        g_assert_cmpuint(steer.hash_report, ==, REPORT(NONE));
    }
}

/* Automatic steering */

static void test_automatic(void)
{
    VdpaSimNetConfig config;
    VdpaSimNetState state;
    VdpaSimNetFlows flows = {};
    VdpaSimSteer steer;
    bool used[4] = {};
    uint8_t frame[256];
    size_t len;
    int i, j;

    vdpa_sim_net_config_init(&config);
    vdpa_sim_net_init(&state, &config);
    state.pairs = 4;
    for (i = 0; i < G_N_ELEMENTS(vectors); i++) {
        Vector there = vectors[i];
        Vector back = {
            .src = there.dst, .src_port = there.dst_port,
            .dst = there.src, .dst_port = there.src_port,
        };
        Shape shape = { .proto = i % 2 ? IPPROTO_TCP : IPPROTO_UDP };

        for (j = 0; j < 4; j++) {
            len = make_packet(frame, &there, &shape);
            vdpa_sim_net_learn(&flows, j, frame, len);
            len = make_packet(frame, &back, &shape);
            steer = vdpa_sim_net_steer(&state, &flows, frame, len);
            g_assert_cmpuint(steer.queue, ==, j);
        }
        /* A queue that is not in use any more */
        state.pairs = 2;
        steer = vdpa_sim_net_steer(&state, &flows, frame, len);
        g_assert_cmpuint(steer.queue, <, 2);
        state.pairs = 4;
    }

    /* Flows that are not known stay together, and spread */
    for (i = 0; i < 64; i++) {
        Vector v = vectors[0];
        uint16_t queue;

        v.src_port = i;
        len = make_packet(frame, &v, &(Shape) { .proto = IPPROTO_UDP });
        queue = vdpa_sim_net_steer(&state, NULL, frame, len).queue;
        g_assert_cmpuint(queue, <, 4);
        used[queue] = true;
        frame[len - 1] ^= 0xff;
        g_assert_cmpuint(vdpa_sim_net_steer(&state, NULL, frame, len).queue,
                         ==, queue);
    }
    for (i = 0; i < 4; i++) {
        g_assert_true(used[i]);
    }

    /* What is no IP is known by its MAC addresses */
    memset(frame, 0, sizeof(frame));
    for (i = 0; i < 4; i++) {
        frame[0] = 1;
        frame[6] = 2;
        vdpa_sim_net_learn(&flows, i, frame, 60);
        frame[0] = 2;
        frame[6] = 1;
        steer = vdpa_sim_net_steer(&state, &flows, frame, 60);
        g_assert_cmpuint(steer.queue, ==, i);
    }

    /* The hash goes into the header all the same */
    state.hash_types = TYPE(IPv4);
    state.hash_key_len = sizeof(rss_key);
    memcpy(state.hash_key, rss_key, sizeof(rss_key));
    for (i = 1; i <= 4; i *= 4) {
        state.pairs = i;
        len = make_packet(frame, &vectors[0],
                          &(Shape) { .proto = IPPROTO_UDP });
        steer = vdpa_sim_net_steer(&state, NULL, frame, len);
        g_assert_cmpuint(steer.hash_report, ==, REPORT(IPv4));
        g_assert_cmphex(steer.hash, ==, vectors[0].ip);
    }
}

/* Publication */

enum {
    STATES = 20000,
};

/* A state that shows when it is put together from two */
static void fill_state(VdpaSimNetState *state, uint64_t number)
{
    uint64_t *words = (uint64_t *)state;
    size_t i;

    for (i = 0; i < sizeof(*state) / sizeof(*words); i++) {
        words[i] = number;
    }
}

static void *publish_states(void *opaque)
{
    VdpaSimNetShared *shared = opaque;
    VdpaSimNetState state;
    int i;

    for (i = 1; i <= STATES; i++) {
        fill_state(&state, i);
        vdpa_sim_net_publish(shared, &state);
    }
    return NULL;
}

static void test_publish(void)
{
    VdpaSimNetShared *shared = g_new0(VdpaSimNetShared, 1);
    VdpaSimNetState state, expected;
    uint64_t last = 0;
    GThread *thread;
    uint32_t seq;

    seq = vdpa_sim_net_snapshot(shared, &state);
    fill_state(&expected, 0);
    g_assert_cmpmem(&state, sizeof(state), &expected, sizeof(expected));
    g_assert_false(vdpa_sim_net_changed(shared, seq));

    thread = g_thread_new("publish", publish_states, shared);
    while (last < STATES) {
        seq = vdpa_sim_net_snapshot(shared, &state);
        g_assert_cmpuint(state.features, >=, last);
        last = state.features;
        fill_state(&expected, last);
        g_assert_cmpmem(&state, sizeof(state), &expected, sizeof(expected));
    }
    g_thread_join(thread);
    g_assert_false(vdpa_sim_net_changed(shared, seq));
    vdpa_sim_net_publish(shared, &state);
    g_assert_true(vdpa_sim_net_changed(shared, seq));

    /* A writer that died half-way changed nothing */
    seq = vdpa_sim_net_snapshot(shared, &expected);
    memset(&shared->state[(seq + 1) % 2], 0xff, sizeof(state) / 2);
    g_assert_cmpuint(vdpa_sim_net_snapshot(shared, &state), ==, seq);
    g_assert_cmpmem(&state, sizeof(state), &expected, sizeof(expected));
    g_free(shared);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vdpa-sim/rx/filter", test_filter);
    g_test_add_func("/vdpa-sim/rx/filter-length", test_filter_length);
    g_test_add_func("/vdpa-sim/rx/toeplitz", test_toeplitz);
    g_test_add_func("/vdpa-sim/rx/ipv4-types", test_ipv4_types);
    g_test_add_func("/vdpa-sim/rx/ipv6-types", test_ipv6_types);
    g_test_add_func("/vdpa-sim/rx/ipv6-mobile", test_ipv6_mobile);
    g_test_add_func("/vdpa-sim/rx/ipv6-not-mobile", test_ipv6_not_mobile);
    g_test_add_func("/vdpa-sim/rx/indirection", test_indirection);
    g_test_add_func("/vdpa-sim/rx/truncated", test_truncated);
    g_test_add_func("/vdpa-sim/rx/short", test_short);
    g_test_add_func("/vdpa-sim/rx/automatic", test_automatic);
    g_test_add_func("/vdpa-sim/rx/publish", test_publish);
    return g_test_run();
}
