/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * vdpa-sim: packets that tell what became of them
 */

#include <netinet/in.h>
#include <string.h>
#include <linux/if_ether.h>

#include "bytes.h"
#include "packet.h"

#define MAGIC           0x5653

#define VLAN_HLEN       4
#define IPV4_HLEN       20
#define UDP_HLEN        8

/* From the beginning of the UDP payload */
#define MAGIC_OFFSET    0
#define STREAM_OFFSET   2
#define CHECK_OFFSET    4
#define SEQ_OFFSET      8
#define CONTENTS_OFFSET 16

#define IPV4_DF         0x4000
#define IPV4_TTL        64

#define GOLDEN          0x9e3779b97f4a7c15ULL   /* 2^64 over the golden ratio */

_Static_assert(ETH_HLEN + IPV4_HLEN + UDP_HLEN + CONTENTS_OFFSET ==
               VDPA_SIM_PACKET_MIN, "the shortest frame has no contents");

/* Both halves of the product depend on all bits of both factors */
static inline uint64_t multiply_fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/*
 * The check of what comes before the contents.  Here is the part of it that
 * packets of one flow and length have in common: of headers, magic and stream,
 * which end at @end, all but the last eight bytes.  The words overlap if there
 * is no VLAN tag; the products do not wait for each other.
 */
static inline uint64_t headers_sum(const uint8_t *buf, const uint8_t *end)
{
    return multiply_fold(load_le64(buf) ^ 0xa0761d6478bd642fULL,
                         load_le64(buf + 8) ^ 0xe7037ed1a0b428dbULL) ^
           multiply_fold(load_le64(buf + 16) ^ 0x8ebc6af09c88c6e3ULL,
                         load_le64(buf + 24) ^ 0x589965cc75374cc3ULL) ^
           multiply_fold(load_le64(buf + 32) ^ 0x1d8e4e27c47d124fULL,
                         load_le64(end - 16) ^ 0xeb44accab455d165ULL);
}

/* And here the rest: @last are these eight bytes, @len is the frame's */
static inline uint32_t packet_check(uint64_t sum, uint64_t last,
                                    uint64_t seq, size_t len)
{
    sum ^= multiply_fold(last ^ 0x9fb21c651e98df25ULL ^ len,
                         seq ^ 0xaaaaaaaaaaaaaaabULL);
    sum = multiply_fold(sum, GOLDEN);
    return sum ^ sum >> 32;
}

/*
 * The contents are words of an arithmetic progression.  No two packets begin
 * with the same word, as each step can be undone.
 */
static inline uint64_t contents_start(uint16_t stream, uint64_t seq)
{
    uint64_t start = (seq ^ (uint64_t)stream << 48) * GOLDEN;

    return start ^ start >> 32;
}

static void contents_make(uint8_t *p, size_t len, uint64_t word)
{
    for (; len >= 32; len -= 32, p += 32) {
        store_le64(p, word);
        store_le64(p + 8, word + GOLDEN);
        store_le64(p + 16, word + 2 * GOLDEN);
        store_le64(p + 24, word + 3 * GOLDEN);
        word += 4 * GOLDEN;
    }
    for (; len >= 8; len -= 8, p += 8) {
        store_le64(p, word);
        word += GOLDEN;
    }
    /* What is left of the last word; no call for a few bytes */
    if (len & 4) {
        store_le32(p, word);
        word >>= 32;
        p += 4;
    }
    if (len & 2) {
        store_le16(p, word);
        word >>= 16;
        p += 2;
    }
    if (len & 1) {
        *p = word;
    }
}

static bool contents_check(const uint8_t *p, size_t len, uint64_t word)
{
    uint64_t wrong = 0;

    for (; len >= 32; len -= 32, p += 32) {
        wrong |= (load_le64(p) ^ word) |
                 (load_le64(p + 8) ^ (word + GOLDEN)) |
                 (load_le64(p + 16) ^ (word + 2 * GOLDEN)) |
                 (load_le64(p + 24) ^ (word + 3 * GOLDEN));
        word += 4 * GOLDEN;
    }
    for (; len >= 8; len -= 8, p += 8) {
        wrong |= load_le64(p) ^ word;
        word += GOLDEN;
    }
    if (len & 4) {
        wrong |= load_le32(p) ^ (uint32_t)word;
        word >>= 32;
        p += 4;
    }
    if (len & 2) {
        wrong |= load_le16(p) ^ (uint16_t)word;
        word >>= 16;
        p += 2;
    }
    if (len & 1) {
        wrong |= *p ^ (uint8_t)word;
    }
    return !wrong;
}

static uint16_t ipv4_checksum(uint32_t sum)
{
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return ~sum;
}

void vdpa_sim_flow_init(VdpaSimFlow *flow, const VdpaSimFlowConfig *config)
{
    uint8_t *p = flow->header;
    uint8_t *ip, *udp;

    memset(flow, 0, sizeof(*flow));
    flow->stream = config->stream;

    memcpy(p, config->dst_mac, ETH_ALEN);
    memcpy(p + ETH_ALEN, config->src_mac, ETH_ALEN);
    p += 2 * ETH_ALEN;
    if (config->vlan) {
        store_be16(p, ETH_P_8021Q);
        store_be16(p + 2, config->vlan);
        p += VLAN_HLEN;
    }
    store_be16(p, ETH_P_IP);

    ip = p + 2;
    ip[0] = 4 << 4 | IPV4_HLEN / 4;
    store_be16(ip + 6, IPV4_DF);
    ip[8] = IPV4_TTL;
    ip[9] = IPPROTO_UDP;
    store_be32(ip + 12, config->src_ip);
    store_be32(ip + 16, config->dst_ip);

    /* No UDP checksum: over IPv4 none is needed */
    udp = ip + IPV4_HLEN;
    store_be16(udp, config->src_port);
    store_be16(udp + 2, config->dst_port);

    p = udp + UDP_HLEN;
    store_le16(p + MAGIC_OFFSET, MAGIC);
    store_le16(p + STREAM_OFFSET, config->stream);
    flow->payload = p - flow->header;
}

size_t vdpa_sim_flow_min(const VdpaSimFlow *flow)
{
    return flow->payload + CONTENTS_OFFSET;
}

/* What all packets of this length have in common, once for all of them */
static void set_len(VdpaSimFlow *flow, size_t len)
{
    uint8_t *udp = flow->header + flow->payload - UDP_HLEN;
    uint8_t *ip = udp - IPV4_HLEN;
    uint8_t *end = flow->header + flow->payload + CHECK_OFFSET;
    uint16_t ip_len = flow->header + len - ip;
    uint32_t sum = 0;
    int i;

    store_be16(udp + 4, ip_len - IPV4_HLEN);
    store_be16(ip + 2, ip_len);
    store_be16(ip + 10, 0);
    for (i = 0; i < IPV4_HLEN; i += 2) {
        sum += load_be16(ip + i);
    }
    store_be16(ip + 10, ipv4_checksum(sum));

    flow->len = len;
    flow->sum = headers_sum(flow->header, end);
    flow->last = load_le64(end - sizeof(flow->last));
}

void vdpa_sim_packet_make(VdpaSimFlow *flow, uint8_t *buf, size_t len,
                          uint64_t seq)
{
    uint8_t *payload = buf + flow->payload;

    if (len != flow->len) {
        set_len(flow, len);
    }
    /* Without a tag that is more than there is, but no more than the packet */
    memcpy(buf, flow->header, sizeof(flow->header));
    store_le32(payload + CHECK_OFFSET,
               packet_check(flow->sum, flow->last, seq, len));
    store_le64(payload + SEQ_OFFSET, seq);
    contents_make(payload + CONTENTS_OFFSET,
                  len - flow->payload - CONTENTS_OFFSET,
                  contents_start(flow->stream, seq));
}

VdpaSimPacketKind vdpa_sim_packet_read(const uint8_t *buf, size_t len,
                                       uint16_t *stream, uint64_t *seq)
{
    size_t payload = ETH_HLEN + IPV4_HLEN + UDP_HLEN;
    uint16_t found_stream;
    uint64_t found_seq;
    const uint8_t *end;

    if (len >= ETH_HLEN && load_be16(buf + 2 * ETH_ALEN) == ETH_P_8021Q) {
        payload += VLAN_HLEN;
    }
    if (len < payload + CONTENTS_OFFSET ||
        load_le16(buf + payload + MAGIC_OFFSET) != MAGIC) {
        return VDPA_SIM_PACKET_FOREIGN;
    }
    found_stream = load_le16(buf + payload + STREAM_OFFSET);
    found_seq = load_le64(buf + payload + SEQ_OFFSET);
    end = buf + payload + CHECK_OFFSET;
    if (load_le32(end) !=
        packet_check(headers_sum(buf, end), load_le64(end - 8), found_seq,
                     len) ||
        !contents_check(buf + payload + CONTENTS_OFFSET,
                        len - payload - CONTENTS_OFFSET,
                        contents_start(found_stream, found_seq))) {
        return VDPA_SIM_PACKET_DAMAGED;
    }
    *stream = found_stream;
    *seq = found_seq;
    return VDPA_SIM_PACKET_OK;
}

/* Streams */

static inline uint64_t *seen_word(VdpaSimStream *stream, uint64_t seq)
{
    return &stream->seen[seq / 64 % (VDPA_SIM_STREAM_WINDOW / 64)];
}

static inline uint64_t seen_bit(uint64_t seq)
{
    return 1ULL << (seq % 64);
}

VdpaSimPacketKind vdpa_sim_stream_take(VdpaSimStream *stream, uint64_t seq,
                                       size_t len)
{
    uint64_t *word = seen_word(stream, seq);
    uint64_t bit = seen_bit(seq);

    stream->packets++;
    stream->bytes += len;
    if (seq == stream->next) {
        *word |= bit;
        stream->next++;
        return VDPA_SIM_PACKET_OK;
    }

    if (seq > stream->next) {
        uint64_t missing = seq - stream->next;
        uint64_t clear = missing < VDPA_SIM_STREAM_WINDOW ?
                         missing : VDPA_SIM_STREAM_WINDOW;

        stream->gaps++;
        stream->missing += missing;
        for (; clear > 0; clear--) {
            *seen_word(stream, seq - clear) &= ~seen_bit(seq - clear);
        }
        *word |= bit;
        stream->next = seq + 1;
        return VDPA_SIM_PACKET_GAP;
    }

    if (stream->next - seq <= VDPA_SIM_STREAM_WINDOW) {
        if (*word & bit) {
            stream->duplicates++;
            return VDPA_SIM_PACKET_DUPLICATE;
        }
        *word |= bit;
    }
    stream->reordered++;
    /* Not so if the receiver came to a stream that had begun */
    if (stream->missing > 0) {
        stream->missing--;
    }
    return VDPA_SIM_PACKET_REORDERED;
}

VdpaSimPacketKind vdpa_sim_packet_check(VdpaSimStream *streams, size_t num,
                                        const uint8_t *buf, size_t len)
{
    VdpaSimPacketKind kind;
    uint16_t stream;
    uint64_t seq;

    kind = vdpa_sim_packet_read(buf, len, &stream, &seq);
    if (kind != VDPA_SIM_PACKET_OK) {
        return kind;
    }
    if (stream >= num) {
        return VDPA_SIM_PACKET_FOREIGN;
    }
    return vdpa_sim_stream_take(&streams[stream], seq, len);
}
