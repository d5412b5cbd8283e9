/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * vdpa-sim: which receive queue a packet goes to
 *
 * A frame is taken apart once; the hash of RSS and the number of a flow for
 * automatic steering are made of the same parts.  The sections mentioned are
 * VIRTIO 1.2's.
 */

#include <netinet/in.h>
#include <string.h>
#include <linux/if_ether.h>
#include <linux/virtio_net.h>

#include "bytes.h"
#include "net.h"

#define VLAN_HLEN           4
#define MAX_VLAN_TAGS       2

#define IPV4_HLEN           20
#define IPV4_ALEN           4
#define IPV4_MF_OR_OFFSET   0x3fff

#define IPV6_HLEN           40
#define IPV6_ALEN           16
#define IPV6_EXT_UNIT       8       /* bytes that a length counts */
#define IPV6_MF_OR_OFFSET   0xfff9
#define IPV6_OPT_HOME       0xc9    /* RFC 6275, section 6.3 */
#define IPV6_ROUTING_HOME   2       /* RFC 6275, section 6.4 */
#define PROTO_AH            51

#define TCP_HLEN            20
#define UDP_HLEN            8
#define PORTS_LEN           4

#define GOLDEN              0x9e3779b97f4a7c15ULL

/* What an IP packet consists of, as far as anybody here cares */
typedef struct Parts {
    const uint8_t *src;             /* addresses; NULL: no IP packet */
    const uint8_t *dst;
    const uint8_t *home;            /* source that an extension header tells */
    const uint8_t *routed;          /* destination, likewise */
    const uint8_t *ports;           /* source, destination; NULL: neither */
    uint8_t alen;                   /* bytes of an address */
    uint8_t proto;                  /* IPPROTO_TCP or _UDP, if ports are */
    bool extended;                  /* IPv6 with extension headers */
} Parts;

static void take_transport(Parts *parts, uint8_t proto,
                           const uint8_t *p, size_t len)
{
    if ((proto == IPPROTO_TCP && len >= TCP_HLEN) ||
        (proto == IPPROTO_UDP && len >= UDP_HLEN)) {
        parts->proto = proto;
        parts->ports = p;
    }
}

static void take_ipv4(Parts *parts, const uint8_t *p, size_t len)
{
    size_t hlen, total;

    if (len < IPV4_HLEN || p[0] >> 4 != 4) {
        return;
    }
    hlen = (p[0] & 0xf) * 4;
    total = load_be16(p + 2);
    if (hlen < IPV4_HLEN || total < hlen || total > len) {
        return;
    }
    parts->src = p + 12;
    parts->dst = p + 16;
    parts->alen = IPV4_ALEN;
    /* Only the first fragment has ports, and all are to go the same way */
    if (!(load_be16(p + 6) & IPV4_MF_OR_OFFSET)) {
        take_transport(parts, p[9], p + hlen, total - hlen);
    }
}

/* Look for the home address option in a destination options header */
static const uint8_t *find_home(const uint8_t *p, size_t len)
{
    size_t at = 2;

    while (at < len) {
        size_t opt_len;

        if (p[at] == 0) {           /* Pad1 has no length */
            at++;
            continue;
        }
        if (len - at < 2) {
            break;
        }
        opt_len = p[at + 1];
        if (opt_len > len - at - 2) {
            break;
        }
        if (p[at] == IPV6_OPT_HOME && opt_len == IPV6_ALEN) {
            return p + at + 2;
        }
        at += 2 + opt_len;
    }
    return NULL;
}

static void take_ipv6(Parts *parts, const uint8_t *p, size_t len)
{
    uint8_t next;
    size_t left;

    if (len < IPV6_HLEN || p[0] >> 4 != 6) {
        return;
    }
    left = load_be16(p + 4);
    if (left > len - IPV6_HLEN) {
        return;
    }
    parts->src = p + 8;
    parts->dst = p + 24;
    parts->home = parts->src;
    parts->routed = parts->dst;
    parts->alen = IPV6_ALEN;
    next = p[6];
    p += IPV6_HLEN;

    while (next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING ||
           next == IPPROTO_FRAGMENT || next == IPPROTO_DSTOPTS ||
           next == PROTO_AH) {
        const uint8_t *home;
        size_t hlen;

        if (left < IPV6_EXT_UNIT) {
            return;
        }
        switch (next) {
        case IPPROTO_FRAGMENT:
            hlen = IPV6_EXT_UNIT;
            break;
        case PROTO_AH:
            hlen = (p[1] + 2) * 4;
            break;
        default:
            hlen = (p[1] + 1) * IPV6_EXT_UNIT;
            break;
        }
        if (hlen > left) {
            return;
        }
        parts->extended = true;
        if (next == IPPROTO_DSTOPTS) {
            home = find_home(p, hlen);
            if (home) {
                parts->home = home;
            }
        } else if (next == IPPROTO_ROUTING && p[2] == IPV6_ROUTING_HOME &&
                   hlen == IPV6_EXT_UNIT + IPV6_ALEN) {
            parts->routed = p + IPV6_EXT_UNIT;
        } else if (next == IPPROTO_FRAGMENT &&
                   load_be16(p + 2) & IPV6_MF_OR_OFFSET) {
            return;
        }
        next = p[0];
        p += hlen;
        left -= hlen;
    }
    take_transport(parts, next, p, left);
}

static Parts take_apart(const uint8_t *frame, size_t len)
{
    Parts parts = { .src = NULL };
    size_t l3 = ETH_HLEN;
    uint16_t type;
    int tags = 0;

    if (len < l3) {
        return parts;
    }
    type = load_be16(frame + l3 - 2);
    while ((type == ETH_P_8021Q || type == ETH_P_8021AD) &&
           tags++ < MAX_VLAN_TAGS && len >= l3 + VLAN_HLEN) {
        l3 += VLAN_HLEN;
        type = load_be16(frame + l3 - 2);
    }
    if (type == ETH_P_IP) {
        take_ipv4(&parts, frame + l3, len - l3);
    } else if (type == ETH_P_IPV6) {
        take_ipv6(&parts, frame + l3, len - l3);
    }
    return parts;
}

/* The hash of RSS */

uint32_t vdpa_sim_toeplitz(const uint8_t *key, size_t key_len,
                           const uint8_t *data, size_t len)
{
    uint32_t hash = 0;
    uint64_t window = 0;
    size_t i;
    int bit;

    /* Of the window, the upper half is what the next bit of data selects */
    for (i = 0; i < sizeof(window); i++) {
        window = window << 8 | (i < key_len ? key[i] : 0);
    }
    for (i = 0; i < len; i++) {
        size_t next = i + sizeof(window);

        for (bit = 7; bit >= 0; bit--) {
            hash ^= -(uint32_t)(data[i] >> bit & 1) & (uint32_t)(window >> 32);
            window <<= 1;
        }
        window |= next < key_len ? key[next] : 0;
    }
    return hash;
}

/*
 * Choose what to hash, among the types of hash that are enabled (5.1.6.4.3):
 * @report[0] if there is a TCP header, @report[1] if there is one of UDP,
 * @report[2] otherwise and if that is not enabled.  Returns the
 * VIRTIO_NET_HASH_REPORT_* chosen, or _NONE.
 */
static uint16_t choose(uint32_t types, const Parts *parts,
                       const uint16_t report[3])
{
    int first = !parts->ports ? 2 : parts->proto == IPPROTO_TCP ? 0 : 1;

    if (types & 1U << (report[first] - 1)) {
        return report[first];
    }
    if (types & 1U << (report[2] - 1)) {
        return report[2];
    }
    return VIRTIO_NET_HASH_REPORT_NONE;
}

static void hash_parts(const VdpaSimNetState *state, const Parts *parts,
                       VdpaSimSteer *steer)
{
    static const uint16_t ipv4[] = {
        VIRTIO_NET_HASH_REPORT_TCPv4, VIRTIO_NET_HASH_REPORT_UDPv4,
        VIRTIO_NET_HASH_REPORT_IPv4,
    };
    static const uint16_t ipv6[] = {
        VIRTIO_NET_HASH_REPORT_TCPv6, VIRTIO_NET_HASH_REPORT_UDPv6,
        VIRTIO_NET_HASH_REPORT_IPv6,
    };
    static const uint16_t ipv6_ex[] = {
        VIRTIO_NET_HASH_REPORT_TCPv6_EX, VIRTIO_NET_HASH_REPORT_UDPv6_EX,
        VIRTIO_NET_HASH_REPORT_IPv6_EX,
    };
    uint8_t data[2 * IPV6_ALEN + PORTS_LEN];
    const uint16_t *reports = parts->alen == IPV4_ALEN ? ipv4 : ipv6;
    uint16_t report = VIRTIO_NET_HASH_REPORT_NONE;
    const uint8_t *src = parts->src;
    const uint8_t *dst = parts->dst;
    size_t len;

    if (parts->extended) {
        report = choose(state->hash_types, parts, ipv6_ex);
        if (report) {
            reports = ipv6_ex;
            src = parts->home;
            dst = parts->routed;
        }
    }
    if (!report) {
        report = choose(state->hash_types, parts, reports);
    }
    if (!report) {
        return;
    }

    len = parts->alen;
    memcpy(data, src, len);
    memcpy(data + len, dst, len);
    len *= 2;
    if (report != reports[2]) {
        memcpy(data + len, parts->ports, PORTS_LEN);
        len += PORTS_LEN;
    }
    steer->hash_report = report;
    steer->hash = vdpa_sim_toeplitz(state->hash_key, state->hash_key_len,
                                    data, len);
}

/* Automatic steering */

static uint64_t mix(uint64_t sum, const uint8_t *p, size_t len)
{
    size_t i;

    for (i = 0; i < len; i += 2) {
        sum = (sum ^ load_be16(p + i)) * GOLDEN;
        sum ^= sum >> 29;
    }
    return sum;
}

/* The same number for both directions */
static uint64_t flow_number(const Parts *parts, const uint8_t *frame,
                            size_t len)
{
    uint64_t from = 0, to = 0;

    if (parts->src) {
        from = mix(from, parts->src, parts->alen);
        to = mix(to, parts->dst, parts->alen);
        if (parts->ports) {
            from = mix(from + parts->proto, parts->ports, PORTS_LEN / 2);
            to = mix(to + parts->proto, parts->ports + PORTS_LEN / 2,
                     PORTS_LEN / 2);
        }
    } else if (len >= ETH_HLEN) {
        to = mix(to, frame, ETH_ALEN);
        from = mix(from, frame + ETH_ALEN, ETH_ALEN);
    }
    return (from + to) * GOLDEN >> 32;
}

void vdpa_sim_net_learn(VdpaSimNetFlows *flows, uint16_t pair,
                        const uint8_t *frame, size_t len)
{
    Parts parts = take_apart(frame, len);
    uint16_t *entry = &flows->pair[flow_number(&parts, frame, len) %
                                   VDPA_SIM_NET_FLOWS];

    /* Mostly it is there already, and the line stays shared */
    if (__atomic_load_n(entry, __ATOMIC_RELAXED) != pair + 1) {
        __atomic_store_n(entry, pair + 1, __ATOMIC_RELAXED);
    }
}

VdpaSimSteer vdpa_sim_net_steer(const VdpaSimNetState *state,
                                const VdpaSimNetFlows *flows,
                                const uint8_t *frame, size_t len)
{
    VdpaSimSteer steer = { .hash_report = VIRTIO_NET_HASH_REPORT_NONE };
    uint16_t learnt = 0;
    uint64_t flow;
    Parts parts;

    if (state->steering == VDPA_SIM_STEER_AUTO && state->pairs == 1 &&
        !state->hash_types) {
        return steer;
    }
    parts = take_apart(frame, len);
    if (parts.src) {
        hash_parts(state, &parts, &steer);
    }
    if (state->steering == VDPA_SIM_STEER_RSS) {
        steer.queue = steer.hash_report ?
                      state->rss_table[steer.hash & state->rss_mask] :
                      state->rss_unclassified;
        return steer;
    }
    flow = flow_number(&parts, frame, len);
    if (flows) {
        learnt = __atomic_load_n(&flows->pair[flow % VDPA_SIM_NET_FLOWS],
                                 __ATOMIC_RELAXED);
    }
    if (learnt && learnt <= state->pairs) {
        steer.queue = learnt - 1;
    } else {
        steer.queue = flow / VDPA_SIM_NET_FLOWS % state->pairs;
    }
    return steer;
}
