/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: packets through the network cards of virtio-in-order-rig.h
 *
 * A Sender puts packets into a transmit queue and takes them from the card's
 * peer; a Receiver gives them to the peer and takes them from a receive
 * queue.  Each packet follows from its number, so that one which is lost,
 * doubled, late or damaged stops the test.
 *
 * Everything here runs in the test's one thread, on the rig of rig_get().
 */

#ifndef TESTS_QTEST_VIRTIO_IN_ORDER_TRAFFIC_H
#define TESTS_QTEST_VIRTIO_IN_ORDER_TRAFFIC_H

#include "virtio-in-order-rig.h"

/* struct virtio_net_hdr_v1, which VIRTIO_F_VERSION_1 brings; bytes */
#define NET_HDR_LEN     12

/* Shortest packet, bytes */
#define PKT_MIN         60

/* How much of what a run of packets consists of */
typedef struct Traffic {
    unsigned count;             /* packets */
    unsigned chain_min;         /* descriptors for each buffer */
    unsigned chain_max;
    unsigned indirect;          /* percent of indirect buffers */
    unsigned tail;              /* TX: percent with a writable tail */
    size_t len_min;             /* bytes of packet */
    size_t len_max;
    size_t buf_min;             /* RX: bytes of a buffer */
    size_t buf_max;
    unsigned burst;             /* buffers for each kick, 0: all that fit */
} Traffic;

/* A ring of traffic: what is in flight, oldest first */
typedef struct Flow {
    QVirtQueue *vq;
    uint64_t mem;               /* a slot for each descriptor */
    unsigned slots;
    uint32_t *ids;              /* by slot */
    size_t *lens;               /* by slot */
    QVRingIndirectDesc **tables; /* by slot */
    uint32_t added;             /* buffers put into the ring */
    uint32_t taken;             /* buffers that came back */
} Flow;

typedef struct Sender {
    Flow flow;
    Peer *peer;
    size_t *len;            /* of each packet under way */
    uint32_t received;      /* packets that the peer has got */
} Sender;

typedef struct Receiver {
    Flow flow;
    Peer *peer;
    uint8_t *pkt;           /* the packet to send, the one received */
    size_t *len;            /* of each packet under way */
    uint32_t sent;          /* packets given to the peer */
    uint32_t received;
    bool pending;           /* pkt holds one that did not fit the socket */
} Receiver;

/* Packets: everything follows from the number, so it can be checked */

/**
 * between: a random number, which --seed repeats
 * @min: the smallest
 * @max: the largest, not below @min
 */
unsigned between(unsigned min, unsigned max);

/**
 * packet_fill: make a packet
 * @pkt: where to, without the header of virtio-net
 * @len: bytes, 18 at least
 * @seq: its number
 */
void packet_fill(uint8_t *pkt, size_t len, uint32_t seq);

/**
 * packet_check: check a packet that came through
 * @pkt: the packet, without the header of virtio-net
 * @len: its length in bytes
 * @seq: the number that it has to have
 * @expected: bytes that packet_fill() has made
 *
 * The test stops at the first difference.
 */
void packet_check(const uint8_t *pkt, size_t len, uint32_t seq,
                  size_t expected);

/* A ring of traffic */

/**
 * flow_init: begin with an empty ring
 * @f: to be freed with flow_cleanup()
 * @vq: a queue of the rig with nothing in flight; stays the caller's
 *
 * Takes guest memory that becomes free with the next dev_start().
 */
void flow_init(Flow *f, QVirtQueue *vq);

/**
 * flow_cleanup: free what belongs to a flow
 * @f: a flow; buffers may be in flight if the device has given them up.  Its
 *     queue may be gone, the rig may not, and no device was started since.
 */
void flow_cleanup(Flow *f);

/**
 * flow_go: publish what was added, and kick unless the device does not want
 * it
 * @f: a flow; the test stops when nothing was added
 */
void flow_go(Flow *f);

/**
 * flow_take: take a buffer that came back
 * @f: a flow
 * @len: set to the bytes that the device wrote, may be NULL
 *
 * The network cards of QEMU use buffers in order even when they have not
 * promised it; the test stops when they do not.
 *
 * Returns: true when there was one
 */
bool flow_take(Flow *f, uint32_t *len);

/* TX */

/**
 * sender_init: begin to send
 * @s: to be freed with sender_cleanup()
 * @dev: a network card of the rig
 * @tx: its transmit queue, with nothing in flight; stays the caller's
 */
void sender_init(Sender *s, Dev *dev, QVirtQueue *tx);

/**
 * sender_cleanup: free what belongs to a sender
 * @s: a sender; see flow_cleanup()
 */
void sender_cleanup(Sender *s);

/**
 * sender_add: put the next packet into the ring
 * @s: a sender
 * @len: bytes of packet, PKT_MIN at least; a page at most with its header
 * @pieces: descriptors to spread it over
 * @indirect: in an indirect table
 *
 * Not visible to the device before flow_go().  The test stops when the ring
 * has no room or the buffer is too large.
 */
void sender_add(Sender *s, size_t len, unsigned pieces, bool indirect);

/**
 * sender_reap: take all buffers that came back
 * @s: a sender
 *
 * The test stops when the device claims to have written to one.
 *
 * Returns: whether there were any
 */
bool sender_reap(Sender *s);

/**
 * sender_check: take and check all packets that arrived
 * @s: a sender
 *
 * The test stops when one is not the next, or damaged.
 *
 * Returns: whether there were any
 */
bool sender_check(Sender *s);

/**
 * sender_finish: wait for the rest
 * @s: a sender
 * @what: what is going on, for the message
 *
 * Everything that was sent has to arrive, once and in order, and come back;
 * the test stops when it does not for RIG_TIMEOUT_US, or as in
 * qvring_check_idle().
 */
void sender_finish(Sender *s, const char *what);

/**
 * sender_run: send packets, wait for all of them
 * @s: a sender
 * @t: how many of which kind
 * @what: what is going on, for the message
 *
 * The test stops as in sender_finish().
 */
void sender_run(Sender *s, const Traffic *t, const char *what);

/**
 * sender_all_back: wait for all buffers, whether or not packets arrive
 * @s: a sender
 * @what: what is going on, for the message
 *
 * The test stops when nothing happens for RIG_TIMEOUT_US, or as in
 * qvring_check_idle().
 */
void sender_all_back(Sender *s, const char *what);

/**
 * sender_skip: forget about packets that were dropped on the way
 * @s: a sender
 *
 * What has arrived is checked first, as in sender_check().
 */
void sender_skip(Sender *s);

/**
 * settle: wait until QEMU makes no more progress by itself
 * @s: a sender; takes the buffers that come back, not the packets
 *
 * Returns: the number of buffers that are stuck
 */
unsigned settle(Sender *s);

/**
 * fill_until_stuck: fill the ring until the peer's socket is full and QEMU
 * has to wait
 * @s: a sender
 *
 * Leaves the packets to the caller, for example to sender_finish().  Does not
 * return as long as the device gives back every buffer.
 */
void fill_until_stuck(Sender *s);

/**
 * sender_check_stuck: check what a device that is stuck has given back
 * @s: a sender of DEV_NET after fill_until_stuck()
 *
 * What the socket has taken comes back, whatever the size of the batches: the
 * driver may need it to go on.  The packet that waits does not.  The test
 * stops when it is otherwise for RIG_TIMEOUT_US.
 */
void sender_check_stuck(Sender *s);

/**
 * tx_traffic: start DEV_NET, send packets through it, stop it
 * @size: entries of the transmit queue
 * @t: how many of which kind
 * @without: features to leave out, a mask
 * @what: what is going on, for the message
 *
 * The test stops as in sender_run().
 */
void tx_traffic(unsigned size, const Traffic *t, uint64_t without,
                const char *what);

/* RX */

/**
 * receiver_init: begin to receive
 * @r: to be freed with receiver_cleanup()
 * @dev: a network card of the rig
 * @rx: its receive queue, with nothing in flight; stays the caller's
 */
void receiver_init(Receiver *r, Dev *dev, QVirtQueue *rx);

/**
 * receiver_cleanup: free what belongs to a receiver
 * @r: a receiver; see flow_cleanup()
 */
void receiver_cleanup(Receiver *r);

/**
 * receiver_add: put a buffer into the ring
 * @r: a receiver
 * @len: bytes, a page at most
 * @pieces: descriptors to spread it over
 * @indirect: in an indirect table
 *
 * Not visible to the device before flow_go().  The test stops when the ring
 * has no room or the buffer is too large.
 */
void receiver_add(Receiver *r, size_t len, unsigned pieces, bool indirect);

/**
 * receiver_send: give the peer the next packet
 * @r: a receiver
 * @len: bytes of packet, 64 KiB at most; after a failure the packet that
 *       failed is tried again, whatever @len is
 *
 * Returns: false when the peer's socket is full
 */
bool receiver_send(Receiver *r, size_t len);

/**
 * receiver_take: take the next packet, if it is there
 * @r: a receiver
 *
 * It has to be there with all its buffers: the specification has them marked
 * used together (VIRTIO 1.2, 2.7.8.1, 2.8.9).  The test stops when they are
 * not; when num_buffers is wrong; when a buffer but the last is not full or
 * any has another length than its own; when something is written beyond that;
 * when the packet is not the next, or damaged; and when there is a used
 * buffer without a packet.
 *
 * Returns: true when there was one
 */
bool receiver_take(Receiver *r);

/**
 * receiver_run: receive packets, wait for all of them
 * @r: a receiver; buffers may stay in the ring
 * @t: how many of which kind
 * @what: what is going on, for the message
 *
 * The test stops when nothing happens for RIG_TIMEOUT_US, or as in
 * receiver_take().
 */
void receiver_run(Receiver *r, const Traffic *t, const char *what);

/**
 * rx_traffic: start DEV_NET, receive packets from it, stop it
 * @size: entries of the receive queue
 * @t: how many of which kind
 * @without: features to leave out, a mask
 * @what: what is going on, for the message
 *
 * The test stops as in receiver_run().
 */
void rx_traffic(unsigned size, const Traffic *t, uint64_t without,
                const char *what);

#endif
