/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Unit test of the packets by which vdpa-sim and its tests check traffic
 */

#include <glib.h>

#include "../vdpa-sim/bytes.h"
#include "../vdpa-sim/packet.h"

static const VdpaSimFlowConfig plain = {
    .dst_mac = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 },
    .src_mac = { 0x02, 0, 0, 0, 0, 1 },
    .src_ip = 0x0a000001,
    .dst_ip = 0x0a000002,
    .src_port = 1000,
    .dst_port = 2000,
    .stream = 5,
};

static void flow_init(VdpaSimFlow *flow, uint16_t vlan, uint16_t stream)
{
    VdpaSimFlowConfig config = plain;

    config.vlan = vlan;
    config.stream = stream;
    vdpa_sim_flow_init(flow, &config);
    g_assert_cmpuint(vdpa_sim_flow_min(flow), ==,
                     vlan ? VDPA_SIM_PACKET_VLAN_MIN : VDPA_SIM_PACKET_MIN);
}

static uint8_t *make(uint16_t vlan, uint16_t stream, size_t len, uint64_t seq)
{
    uint8_t *frame = g_malloc(len);
    VdpaSimFlow flow;

    flow_init(&flow, vlan, stream);
    vdpa_sim_packet_make(&flow, frame, len, seq);
    return frame;
}

static VdpaSimPacketKind read_kind(const uint8_t *frame, size_t len)
{
    uint16_t stream = 0x7777;
    uint64_t seq = 0x77;
    VdpaSimPacketKind kind = vdpa_sim_packet_read(frame, len, &stream, &seq);

    if (kind != VDPA_SIM_PACKET_OK) {
        g_assert_cmpuint(stream, ==, 0x7777);
        g_assert_cmpuint(seq, ==, 0x77);
    }
    return kind;
}

/* The one's complement sum of RFC 791 */
static uint16_t internet_sum(const uint8_t *p, size_t len)
{
    uint32_t sum = 0;
    size_t i;

    for (i = 0; i < len; i += 2) {
        sum += load_be16(p + i);
    }
    sum = (sum & 0xffff) + (sum >> 16);
    return (sum & 0xffff) + (sum >> 16);
}

/* What a network stack is to find in it */
static void test_headers(void)
{
    static const size_t lengths[] = { 62, 64, 1500, 9014, 65535, 64 };
    VdpaSimFlow flow;
    int i, vlan;

    for (vlan = 0; vlan <= 4095; vlan += 4095) {
        /* One after the other from the same flow */
        flow_init(&flow, vlan, 5);
        for (i = 0; i < G_N_ELEMENTS(lengths); i++) {
            size_t len = lengths[i];
            uint8_t *frame = g_malloc(len);
            uint8_t *ip = frame + (vlan ? 18 : 14);

            vdpa_sim_packet_make(&flow, frame, len, i);
            g_assert_cmpint(read_kind(frame, len), ==, VDPA_SIM_PACKET_OK);
            g_assert_cmpmem(frame, 6, plain.dst_mac, 6);
            g_assert_cmpmem(frame + 6, 6, plain.src_mac, 6);
            if (vlan) {
                g_assert_cmphex(load_be16(frame + 12), ==, 0x8100);
                g_assert_cmphex(load_be16(frame + 14), ==, vlan);
            }
            g_assert_cmphex(load_be16(ip - 2), ==, 0x0800);
            g_assert_cmphex(ip[0], ==, 0x45);
            g_assert_cmpuint(load_be16(ip + 2), ==, frame + len - ip);
            g_assert_cmpuint(ip[8], >, 0);
            g_assert_cmpuint(ip[9], ==, 17);
            g_assert_cmphex(internet_sum(ip, 20), ==, 0xffff);
            g_assert_cmphex(load_be16(ip + 12), ==, plain.src_ip >> 16);
            g_assert_cmphex(load_be16(ip + 14), ==, plain.src_ip & 0xffff);
            g_assert_cmphex(load_be16(ip + 16), ==, plain.dst_ip >> 16);
            g_assert_cmphex(load_be16(ip + 18), ==, plain.dst_ip & 0xffff);
            g_assert_cmpuint(load_be16(ip + 20), ==, plain.src_port);
            g_assert_cmpuint(load_be16(ip + 22), ==, plain.dst_port);
            g_assert_cmpuint(load_be16(ip + 24), ==, frame + len - ip - 20);
            g_free(frame);
        }
    }
}

static void test_round_trip(void)
{
    static const uint64_t seqs[] = { 0, 1, UINT32_MAX, UINT64_MAX };
    static const uint16_t streams[] = { 0, 5, UINT16_MAX };
    uint16_t stream, vlan;
    uint64_t seq;
    size_t len;
    int i;

    for (len = VDPA_SIM_PACKET_MIN; len < 9100; len += len < 200 ? 1 : 61) {
        for (i = 0; i < 24; i++) {
            uint8_t *frame;

            vlan = i % 2 && len >= VDPA_SIM_PACKET_VLAN_MIN ? 9 : 0;
            frame = make(vlan, streams[i / 2 % 3], len, seqs[i / 6]);
            g_assert_cmpint(vdpa_sim_packet_read(frame, len, &stream, &seq),
                            ==, VDPA_SIM_PACKET_OK);
            g_assert_cmpuint(stream, ==, streams[i / 2 % 3]);
            g_assert_cmpuint(seq, ==, seqs[i / 6]);
            g_free(frame);
        }
    }
}

/* Wherever a bit is turned over, and whatever is missing or too much */
static void test_damage(void)
{
    static const size_t lengths[] = { 62, 63, 64, 71, 1514 };
    uint64_t foreign;
    size_t len, bit, cut;
    int i, vlan;

    for (i = 0; i < G_N_ELEMENTS(lengths); i++) {
        len = lengths[i];
        for (vlan = 0; vlan <= 100; vlan += 100) {
            uint8_t *frame = make(vlan, 5, len, 1234567);
            uint8_t *copy;

            foreign = 0;
            for (bit = 0; bit < len * 8; bit++) {
                VdpaSimPacketKind kind;

                frame[bit / 8] ^= 1 << bit % 8;
                kind = read_kind(frame, len);
                foreign += kind == VDPA_SIM_PACKET_FOREIGN;
                if (kind != VDPA_SIM_PACKET_FOREIGN) {
                    g_assert_cmpint(kind, ==, VDPA_SIM_PACKET_DAMAGED);
                }
                frame[bit / 8] ^= 1 << bit % 8;
            }
            /* The magic, and the type by which it is found */
            g_assert_cmpuint(foreign, <=, 32);

            for (cut = 0; cut < len; cut++) {
                copy = g_memdup2(frame, cut);
                g_assert_cmpint(read_kind(copy, cut), !=, VDPA_SIM_PACKET_OK);
                g_free(copy);
            }
            copy = g_malloc0(len + 1);
            memcpy(copy, frame, len);
            g_assert_cmpint(read_kind(copy, len + 1), ==,
                            VDPA_SIM_PACKET_DAMAGED);
            g_free(copy);
            g_free(frame);
        }
    }
}

/* A frame that begins as one packet and ends as another */
static void test_torn(void)
{
    const size_t len = 256;
    static const struct {
        uint16_t stream;
        uint64_t seq;
    } others[] = {
        { 5, 1001 }, { 5, 999 }, { 5, 1256 }, { 6, 1000 }, { 5, 0 },
    };
    int i;
    size_t cut;

    for (i = 0; i < G_N_ELEMENTS(others); i++) {
        uint8_t *one = make(0, 5, len, 1000);
        uint8_t *other = make(0, others[i].stream, len, others[i].seq);
        uint8_t torn[256];

        for (cut = 1; cut < len; cut++) {
            memcpy(torn, one, cut);
            memcpy(torn + cut, other + cut, len - cut);
            if (memcmp(torn, one, len) && memcmp(torn, other, len)) {
                g_assert_cmpint(read_kind(torn, len), ==,
                                VDPA_SIM_PACKET_DAMAGED);
            }
        }
        /* Eight bytes of contents, wherever they are */
        for (cut = VDPA_SIM_PACKET_MIN; cut <= len - 8; cut++) {
            memcpy(torn, one, len);
            memcpy(torn + cut, other + cut, 8);
            g_assert_cmpint(read_kind(torn, len), ==, VDPA_SIM_PACKET_DAMAGED);
        }
        g_free(one);
        g_free(other);
    }
}

static void test_foreign(void)
{
    VdpaSimStream streams[5] = {};
    uint8_t *frame = make(0, 5, 64, 0);
    uint8_t zeroes[64] = {};
    size_t len;

    for (len = 0; len <= sizeof(zeroes); len++) {
        g_assert_cmpint(read_kind(zeroes, len), ==, VDPA_SIM_PACKET_FOREIGN);
    }
    g_assert_cmpint(vdpa_sim_packet_check(streams, 5, frame, 64), ==,
                    VDPA_SIM_PACKET_FOREIGN);
    g_free(frame);
    frame = make(0, 4, 64, 0);
    g_assert_cmpint(vdpa_sim_packet_check(streams, 5, frame, 64), ==,
                    VDPA_SIM_PACKET_OK);
    g_assert_cmpuint(streams[4].packets, ==, 1);
    g_assert_cmpuint(streams[4].bytes, ==, 64);
    frame[60] ^= 1;
    g_assert_cmpint(vdpa_sim_packet_check(streams, 5, frame, 64), ==,
                    VDPA_SIM_PACKET_DAMAGED);
    g_assert_cmpuint(streams[4].packets, ==, 1);
    g_free(frame);
}

static void test_stream(void)
{
    VdpaSimStream s = {};

#define TAKE(seq, kind) g_assert_cmpint(vdpa_sim_stream_take(&s, seq, 60), \
                                        ==, VDPA_SIM_PACKET_##kind)
    TAKE(0, OK);
    TAKE(1, OK);
    TAKE(1, DUPLICATE);
    TAKE(4, GAP);
    g_assert_cmpuint(s.missing, ==, 2);
    TAKE(2, REORDERED);
    g_assert_cmpuint(s.missing, ==, 1);
    TAKE(2, DUPLICATE);
    TAKE(0, DUPLICATE);
    TAKE(5, OK);
    g_assert_cmpuint(s.next, ==, 6);
    g_assert_cmpuint(s.packets, ==, 8);
    g_assert_cmpuint(s.bytes, ==, 480);
    g_assert_cmpuint(s.gaps, ==, 1);
    g_assert_cmpuint(s.reordered, ==, 1);
    g_assert_cmpuint(s.duplicates, ==, 3);

    /* As far back as can be told, and one further */
    TAKE(VDPA_SIM_STREAM_WINDOW + 2, GAP);
    TAKE(3, REORDERED);
    TAKE(3, DUPLICATE);
    TAKE(2, REORDERED);
    /* A gap as wide as all that is remembered, and wider */
    TAKE(2 * VDPA_SIM_STREAM_WINDOW + 3, GAP);
    TAKE(VDPA_SIM_STREAM_WINDOW + 4, REORDERED);
    TAKE(1ULL << 40, GAP);
    TAKE((1ULL << 40) - 1, REORDERED);
    TAKE((1ULL << 40) - VDPA_SIM_STREAM_WINDOW + 1, REORDERED);

    /* 12 came, and one that was too far back to tell that it had come before */
    g_assert_cmpuint(s.missing, ==, s.next - 13);

    /* One that begins where another receiver has left off */
    s = (VdpaSimStream) { .next = 100 };
    TAKE(100, OK);
    TAKE(99, REORDERED);
    g_assert_cmpuint(s.missing, ==, 0);
#undef TAKE
}

/* Lost, doubled and overtaken at random, against a record of all that came */
static void test_stream_random(void)
{
    GHashTable *seen = g_hash_table_new_full(g_int64_hash, g_int64_equal,
                                             g_free, NULL);
    uint64_t duplicates = 0, reordered = 0, gaps = 0, next = 0;
    VdpaSimStream s = {};
    int i;

    for (i = 0; i < 200000; i++) {
        uint64_t back = g_test_rand_int_range(1, VDPA_SIM_STREAM_WINDOW + 1);
        VdpaSimPacketKind expected;
        uint64_t seq = next;

        switch (g_test_rand_int_range(0, 10)) {
        case 0:
            seq += g_test_rand_int_range(1, 100);
            break;
        case 1:
        case 2:
            seq -= MIN(seq, back);
            break;
        }
        if (seq == next) {
            expected = VDPA_SIM_PACKET_OK;
        } else if (seq > next) {
            expected = VDPA_SIM_PACKET_GAP;
            gaps++;
        } else if (g_hash_table_contains(seen, &seq)) {
            expected = VDPA_SIM_PACKET_DUPLICATE;
            duplicates++;
        } else {
            expected = VDPA_SIM_PACKET_REORDERED;
            reordered++;
        }
        g_assert_cmpint(vdpa_sim_stream_take(&s, seq, 1), ==, expected);
        g_hash_table_add(seen, g_memdup2(&seq, sizeof(seq)));
        next = MAX(next, seq + 1);
    }
    g_assert_cmpuint(s.next, ==, next);
    g_assert_cmpuint(s.packets, ==, 200000);
    g_assert_cmpuint(s.gaps, ==, gaps);
    g_assert_cmpuint(s.duplicates, ==, duplicates);
    g_assert_cmpuint(s.reordered, ==, reordered);
    g_assert_cmpuint(s.missing, ==, next - g_hash_table_size(seen));
    g_hash_table_unref(seen);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vdpa-sim/packet/headers", test_headers);
    g_test_add_func("/vdpa-sim/packet/round-trip", test_round_trip);
    g_test_add_func("/vdpa-sim/packet/damage", test_damage);
    g_test_add_func("/vdpa-sim/packet/torn", test_torn);
    g_test_add_func("/vdpa-sim/packet/foreign", test_foreign);
    g_test_add_func("/vdpa-sim/packet/stream", test_stream);
    g_test_add_func("/vdpa-sim/packet/stream-random", test_stream_random);
    return g_test_run();
}
