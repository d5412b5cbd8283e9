/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * vdpa-sim: packets that tell what became of them
 *
 * A packet of a stream is an Ethernet frame with an IPv4/UDP packet in it,
 * which says where in its stream it belongs.  Whoever receives it, device or
 * driver, learns whether it is whole, and whether packets were lost, doubled or
 * overtaken on the way.
 *
 *     Ethernet 14 · 802.1Q 4, optional · IPv4 20 · UDP 8
 *     le16 magic · le16 stream · le32 check · le64 sequence number
 *     contents, up to the end of the frame
 *
 * The contents follow from stream and sequence number, and differ in every
 * eight bytes from those of any other packet that is likely to be about, so a
 * frame that is put together from two is found out.  The receiver compares each
 * byte with what it ought to be; the check is over all that comes before the
 * contents, and the length of the frame.
 *
 * Nothing here has state of its own or a lock.  A VdpaSimFlow belongs to the
 * thread that makes its packets, a VdpaSimStream to the one that receives them.
 * Neither has pointers, so either may lie in shared memory; the counts of a
 * stream may be looked at there.
 */

#ifndef TESTS_VDPA_SIM_PACKET_H
#define TESTS_VDPA_SIM_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the shortest frame, without and with a VLAN tag */
#define VDPA_SIM_PACKET_MIN         58
#define VDPA_SIM_PACKET_VLAN_MIN    (VDPA_SIM_PACKET_MIN + 4)
/* The longest: jumbo frames are 9000 bytes and their headers */
#define VDPA_SIM_PACKET_MAX         65535

/* As far back as a duplicate can be told from a packet that was overtaken */
#define VDPA_SIM_STREAM_WINDOW      4096

/* Where packets come from and go to */
typedef struct VdpaSimFlowConfig {
    uint8_t dst_mac[6];
    uint8_t src_mac[6];
    uint32_t src_ip;                /* host byte order, as are the others */
    uint32_t dst_ip;
    uint16_t src_port;
    uint16_t dst_port;
    uint16_t vlan;                  /* VLAN ID, or 0 for no tag */
    uint16_t stream;                /* of the packets */
} VdpaSimFlowConfig;

/*
 * The same, ready to be copied in front of the contents, for packets of the
 * length that was last asked for.  The members are private.
 */
typedef struct VdpaSimFlow {
    uint8_t header[50];             /* up to and including the stream */
    uint16_t stream;
    uint16_t payload;               /* offset of the UDP payload */
    size_t len;                     /* of a frame, 0 before the first */
    uint64_t sum;                   /* what the check takes from the header */
    uint64_t last;
} VdpaSimFlow;

/* What happened to a packet */
typedef enum VdpaSimPacketKind {
    VDPA_SIM_PACKET_OK,             /* the next one of its stream */
    VDPA_SIM_PACKET_GAP,            /* whole, but some are missing before it */
    VDPA_SIM_PACKET_REORDERED,      /* whole, but later ones came earlier */
    VDPA_SIM_PACKET_DUPLICATE,      /* whole, but it was here already */
    VDPA_SIM_PACKET_DAMAGED,
    VDPA_SIM_PACKET_FOREIGN,        /* of no stream that was asked for */
} VdpaSimPacketKind;

/* What was received of a stream.  All zeroes is one that begins with 0. */
typedef struct VdpaSimStream {
    uint64_t next;                  /* the sequence number expected */
    uint64_t packets;               /* whole ones, of any kind */
    uint64_t bytes;                 /* of these, whole frames */
    uint64_t gaps;                  /* times that packets were missing */
    uint64_t missing;               /* packets that are, less those that came */
    uint64_t reordered;
    uint64_t duplicates;
    uint64_t seen[VDPA_SIM_STREAM_WINDOW / 64]; /* private: the last ones */
} VdpaSimStream;

/**
 * vdpa_sim_flow_init:
 * @flow: to set up
 * @config: what the packets look like
 */
void vdpa_sim_flow_init(VdpaSimFlow *flow, const VdpaSimFlowConfig *config);

/**
 * vdpa_sim_flow_min:
 * @flow: the flow
 *
 * Returns: bytes of its shortest packet.
 */
size_t vdpa_sim_flow_min(const VdpaSimFlow *flow);

/**
 * vdpa_sim_packet_make:
 * @flow: the flow; packets of one length after another are the cheapest
 * @buf: for the frame, without virtio-net header
 * @len: bytes of the frame, vdpa_sim_flow_min() to VDPA_SIM_PACKET_MAX
 * @seq: sequence number in its stream
 *
 * Write a packet.
 */
void vdpa_sim_packet_make(VdpaSimFlow *flow, uint8_t *buf, size_t len,
                          uint64_t seq);

/**
 * vdpa_sim_packet_read:
 * @buf: a frame
 * @len: its bytes
 * @stream: for the stream it belongs to
 * @seq: for its sequence number
 *
 * Returns: VDPA_SIM_PACKET_OK for a packet that is whole, which alone sets
 * @stream and @seq; VDPA_SIM_PACKET_DAMAGED; or VDPA_SIM_PACKET_FOREIGN for a
 * frame that bears no resemblance to one.
 */
VdpaSimPacketKind vdpa_sim_packet_read(const uint8_t *buf, size_t len,
                                       uint16_t *stream, uint64_t *seq);

/**
 * vdpa_sim_stream_take:
 * @stream: the stream
 * @seq: sequence number of a packet that was received whole
 * @len: bytes of its frame
 *
 * Count the packet.
 *
 * Returns: VDPA_SIM_PACKET_OK, _GAP, _REORDERED or _DUPLICATE.  A packet that
 * is more than VDPA_SIM_STREAM_WINDOW behind is taken to be reordered.
 */
VdpaSimPacketKind vdpa_sim_stream_take(VdpaSimStream *stream, uint64_t seq,
                                       size_t len);

/**
 * vdpa_sim_packet_check:
 * @streams: the streams that may come in, by number
 * @num: how many these are
 * @buf: a frame
 * @len: its bytes
 *
 * vdpa_sim_packet_read() and vdpa_sim_stream_take() in one.
 *
 * Returns: what happened to the packet.  It is for the caller to count those
 * that are damaged or foreign.
 */
VdpaSimPacketKind vdpa_sim_packet_check(VdpaSimStream *streams, size_t num,
                                        const uint8_t *buf, size_t len);

#endif
