/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * vdpa-sim: what a network device does with commands and with addresses
 *
 * The control queue sets the state of the device; the state decides which
 * incoming packets the driver gets (the receive filter) and in which receive
 * queue (steering).  All of it is functions of plain data, from VIRTIO 1.2,
 * section 5.1: no ring, no thread, nothing of QEMU's.
 *
 * The device is strict where the specification binds the driver: a command that
 * "MUST NOT" be sent is refused, whatever other devices make of it.  A command
 * that is refused changes nothing but the count of refused commands.
 *
 * VdpaSimNetState holds no pointers, so that it can lie in memory that a test
 * shares with the device.  There it is a VdpaSimNetShared, which has room for
 * two: whoever changes it works on a copy and publishes that, one at a time
 * (the device has a mutex for it), in the place that is not the current one.
 * Readers, of this process or another, take a snapshot without any lock, and
 * find the last state that is whole even if a writer died half-way.  All other
 * functions work on a state that nobody else has access to, unless they say
 * otherwise.
 */

#ifndef TESTS_VDPA_SIM_NET_H
#define TESTS_VDPA_SIM_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VDPA_SIM_MAC_LEN            6
#define VDPA_SIM_MAC_TABLE_MAX      256     /* unicast, and as many multicast */
#define VDPA_SIM_VLANS              4096
#define VDPA_SIM_RSS_TABLE_MAX      512
#define VDPA_SIM_RSS_KEY_MAX        64
#define VDPA_SIM_NET_FLOWS          1024    /* a power of two */

/* Room for every command that the device can carry out */
#define VDPA_SIM_NET_CMD_MAX        8192

/* What the device is; written by the test before it is used */
typedef struct VdpaSimNetConfig {
    uint8_t mac[VDPA_SIM_MAC_LEN];
    uint8_t link_up;
    uint8_t duplex;                 /* 0 half, 1 full, 0xff unknown */
    uint32_t speed;                 /* Mbit/s, UINT32_MAX unknown */
    uint16_t mtu;
    uint16_t max_pairs;
    uint16_t mac_table_max;         /* addresses of each kind it can filter */
    uint16_t rss_max_table;         /* entries of the indirection table */
    uint32_t hash_types;            /* VIRTIO_NET_RSS_HASH_TYPE_* supported */
    uint8_t rss_max_key;            /* bytes */
    /*
     * VDPA_SIM_RX_* that are on after a reset.  The specification leaves it
     * open; QEMU's own device starts promiscuous.
     */
    uint8_t reset_rx_modes;
    uint8_t reserved[6];
} VdpaSimNetConfig;

/* Bits of the receive mode; bit N is set by command N of VIRTIO_NET_CTRL_RX */
enum {
    VDPA_SIM_RX_PROMISC  = 1 << 0,
    VDPA_SIM_RX_ALLMULTI = 1 << 1,
    VDPA_SIM_RX_ALLUNI   = 1 << 2,
    VDPA_SIM_RX_NOMULTI  = 1 << 3,
    VDPA_SIM_RX_NOUNI    = 1 << 4,
    VDPA_SIM_RX_NOBCAST  = 1 << 5,
};

/* How the device chooses a receive queue */
typedef enum VdpaSimSteering {
    VDPA_SIM_STEER_AUTO,            /* VIRTIO 1.2, section 5.1.6.5.6 */
    VDPA_SIM_STEER_RSS,             /* section 5.1.6.5.7 */
} VdpaSimSteering;

typedef struct VdpaSimMacTable {
    uint16_t num;
    uint16_t overflow;      /* given too many: num is 0, all are received */
    uint8_t macs[VDPA_SIM_MAC_TABLE_MAX][VDPA_SIM_MAC_LEN];
} VdpaSimMacTable;

typedef struct VdpaSimNetState {
    uint64_t features;              /* negotiated */
    uint64_t offloads;              /* VIRTIO_NET_F_GUEST_* as bits, enabled */
    uint64_t commands;              /* carried out, ever */
    uint64_t refused;               /* answered with an error, ever */

    uint8_t perm_mac[VDPA_SIM_MAC_LEN]; /* what a reset restores */
    uint8_t mac[VDPA_SIM_MAC_LEN];      /* what the filter accepts */
    uint16_t status;                /* VIRTIO_NET_S_* */
    uint8_t rx_modes;               /* VDPA_SIM_RX_* */
    uint8_t steering;               /* VdpaSimSteering */
    uint16_t pairs;                 /* queue pairs in use; RSS: max_tx_vq */

    uint16_t rss_mask;              /* entries of rss_table, less one */
    uint16_t rss_unclassified;      /* receive queue, 0-based */
    uint8_t hash_key_len;
    uint8_t reserved;
    uint32_t hash_types;            /* VIRTIO_NET_RSS_HASH_TYPE_* enabled */
    uint8_t hash_key[VDPA_SIM_RSS_KEY_MAX];
    uint16_t rss_table[VDPA_SIM_RSS_TABLE_MAX];

    VdpaSimMacTable uni;
    VdpaSimMacTable multi;
    uint64_t vlans[VDPA_SIM_VLANS / 64];
} VdpaSimNetState;

/* A state that others read while it changes.  All zeroes is a valid start. */
typedef struct VdpaSimNetShared {
    uint32_t seq;                   /* state[seq % 2] is the current one */
    uint32_t reserved;
    VdpaSimNetState state[2];
} VdpaSimNetShared;

/*
 * Where automatic steering sends a flow: to the receive queue of the pair that
 * it was last sent on.  All zeroes is the table that knows no flow.
 */
typedef struct VdpaSimNetFlows {
    uint16_t pair[VDPA_SIM_NET_FLOWS];  /* 0-based, plus one */
} VdpaSimNetFlows;

/* What the receive filter says */
typedef enum VdpaSimVerdict {
    VDPA_SIM_ACCEPT,
    VDPA_SIM_DROP_LINK,             /* the link is down */
    VDPA_SIM_DROP_LENGTH,           /* no Ethernet frame, or beyond the MTU */
    VDPA_SIM_DROP_VLAN,
    VDPA_SIM_DROP_BROADCAST,
    VDPA_SIM_DROP_MULTICAST,
    VDPA_SIM_DROP_UNICAST,
    VDPA_SIM_VERDICTS
} VdpaSimVerdict;

typedef struct VdpaSimSteer {
    uint16_t queue;                 /* receive queue, 0-based */
    uint16_t hash_report;           /* VIRTIO_NET_HASH_REPORT_* */
    uint32_t hash;                  /* 0 for VIRTIO_NET_HASH_REPORT_NONE */
} VdpaSimSteer;

/**
 * vdpa_sim_net_config_init:
 * @config: to fill in
 *
 * The device that a test gets when it asks for nothing in particular: one queue
 * pair, 52:54:00:12:34:56, MTU 1500, link up, 64 addresses of each kind, RSS
 * with 128 entries, a key of 40 bytes and every type of hash, promiscuous after
 * a reset.
 */
void vdpa_sim_net_config_init(VdpaSimNetConfig *config);

/**
 * vdpa_sim_net_config_check:
 * @config: as the test wrote it
 *
 * Returns: NULL, or what is wrong with it.
 */
const char *vdpa_sim_net_config_check(const VdpaSimNetConfig *config);

/**
 * vdpa_sim_net_init:
 * @state: to fill in
 * @config: checked
 *
 * The state of a device that was just made.
 */
void vdpa_sim_net_init(VdpaSimNetState *state, const VdpaSimNetConfig *config);

/**
 * vdpa_sim_net_reset:
 * @state: the state
 * @config: checked
 *
 * A device reset.  The link stays as it is, and so do the counts; a pending
 * announcement is forgotten.
 */
void vdpa_sim_net_reset(VdpaSimNetState *state, const VdpaSimNetConfig *config);

/**
 * vdpa_sim_net_set_features:
 * @state: the state
 * @features: what was negotiated, as the device accepted it
 *
 * To be called once the driver's features are final (FEATURES_OK).  Enables the
 * offloads that are among them (VIRTIO 1.2, section 5.1.6.5.8.1).
 */
void vdpa_sim_net_set_features(VdpaSimNetState *state, uint64_t features);

/**
 * vdpa_sim_net_offloads:
 * @features: negotiated
 *
 * Returns: the offloads that the driver can turn on and off, as in
 * VdpaSimNetState.
 */
uint64_t vdpa_sim_net_offloads(uint64_t features);

/**
 * vdpa_sim_net_hdr_len:
 * @features: negotiated
 *
 * Returns: bytes of the header before each packet (VIRTIO 1.2, section 5.1.6).
 */
size_t vdpa_sim_net_hdr_len(uint64_t features);

/**
 * vdpa_sim_net_set_link:
 * @state: the state
 * @up: whether there is a link
 *
 * Returns: whether the configuration space changed, which the driver is to be
 * told.
 */
bool vdpa_sim_net_set_link(VdpaSimNetState *state, bool up);

/**
 * vdpa_sim_net_announce:
 * @state: the state
 *
 * Ask the driver to send gratuitous packets, if it negotiated that (VIRTIO 1.2,
 * section 5.1.6.5.4).
 *
 * Returns: whether the configuration space changed, which the driver is to be
 * told.
 */
bool vdpa_sim_net_announce(VdpaSimNetState *state);

/**
 * vdpa_sim_net_get_config:
 * @state: the state
 * @config: checked
 * @buf: for the bytes
 * @offset: of the first
 * @len: how many
 *
 * Read from the device's configuration space (VIRTIO 1.2, section 5.1.4), in
 * which all fields are present, whatever the features.
 *
 * Returns: whether the space has the bytes; if not, @buf is untouched.
 */
bool vdpa_sim_net_get_config(const VdpaSimNetState *state,
                             const VdpaSimNetConfig *config,
                             void *buf, size_t offset, size_t len);

/**
 * vdpa_sim_net_config_size:
 *
 * Returns: bytes of the configuration space.
 */
size_t vdpa_sim_net_config_size(void);

/**
 * vdpa_sim_net_set_config:
 * @state: the state
 * @buf: the bytes
 * @offset: where to
 * @len: how many
 *
 * Write to the configuration space.  A driver of VIRTIO 1.x cannot; a VMM can,
 * through VHOST_VDPA_SET_CONFIG, and thereby gives the device another permanent
 * MAC address.  Nothing else can be written.
 *
 * Returns: whether all bytes lie in the MAC address; if not, nothing was done.
 */
bool vdpa_sim_net_set_config(VdpaSimNetState *state,
                             const void *buf, size_t offset, size_t len);

/**
 * vdpa_sim_net_ctrl:
 * @state: the state
 * @config: checked
 * @cmd: class, command and command-specific data, as the driver sent them
 * @len: bytes of @cmd, without the acknowledgement
 *
 * Carry a command out (VIRTIO 1.2, section 5.1.6.5).
 *
 * Returns: VIRTIO_NET_OK or VIRTIO_NET_ERR.
 */
uint8_t vdpa_sim_net_ctrl(VdpaSimNetState *state,
                          const VdpaSimNetConfig *config,
                          const uint8_t *cmd, size_t len);

/**
 * vdpa_sim_net_accept:
 * @state: the state
 * @config: checked
 * @frame: the Ethernet frame, without virtio-net header and FCS
 * @len: its bytes
 *
 * The receive filter.  In promiscuous mode it lets every frame pass, whatever
 * the other modes and the VLAN (VIRTIO 1.2, section 5.1.6.5.1).  If
 * VIRTIO_NET_F_CTRL_VLAN was negotiated, a frame with an 802.1Q tag needs its
 * VLAN in the table; one that is untagged, or has only a priority (VLAN 0),
 * does not.
 *
 * Returns: whether the driver gets the frame, or else why it does not.
 */
VdpaSimVerdict vdpa_sim_net_accept(const VdpaSimNetState *state,
                                   const VdpaSimNetConfig *config,
                                   const uint8_t *frame, size_t len);

/**
 * vdpa_sim_net_steer:
 * @state: the state
 * @flows: what vdpa_sim_net_learn() has learnt, or NULL
 * @frame: an Ethernet frame that the filter accepted
 * @len: its bytes
 *
 * Choose the receive queue, and calculate the hash that goes into the header if
 * VIRTIO_NET_F_HASH_REPORT was negotiated (VIRTIO 1.2, section 5.1.6.4.3).
 *
 * With RSS, the hash selects the entry of the indirection table.  Automatic
 * steering sends a flow to the queue pair that it was last sent on; one that is
 * not known goes to a queue that depends on nothing but the flow.
 *
 * Context: any thread, also while another one learns.
 *
 * Returns: the queue; below the number of pairs in use with automatic steering,
 * any of the device's with RSS.
 */
VdpaSimSteer vdpa_sim_net_steer(const VdpaSimNetState *state,
                                const VdpaSimNetFlows *flows,
                                const uint8_t *frame, size_t len);

/**
 * vdpa_sim_net_learn:
 * @flows: the table
 * @pair: queue pair, 0-based
 * @frame: an Ethernet frame that the driver sent on it
 * @len: its bytes
 *
 * Remember where answers to @frame are to go.  Flows may share an entry.
 *
 * Context: any thread; no lock.
 */
void vdpa_sim_net_learn(VdpaSimNetFlows *flows, uint16_t pair,
                        const uint8_t *frame, size_t len);

/**
 * vdpa_sim_toeplitz:
 * @key: the key
 * @key_len: its bytes; beyond them there are zeroes
 * @data: what to hash
 * @len: bytes of it
 *
 * Returns: the Toeplitz hash.
 */
uint32_t vdpa_sim_toeplitz(const uint8_t *key, size_t key_len,
                           const uint8_t *data, size_t len);

/**
 * vdpa_sim_net_publish:
 * @shared: where others look for the state
 * @state: the new state
 *
 * Context: one thread of one process at a time.
 */
void vdpa_sim_net_publish(VdpaSimNetShared *shared,
                          const VdpaSimNetState *state);

/**
 * vdpa_sim_net_snapshot:
 * @shared: where the state is published
 * @state: for the copy
 *
 * Context: any thread of any process; begins anew if the state is published
 * twice meanwhile.
 *
 * Returns: the number of the state, for vdpa_sim_net_changed().
 */
uint32_t vdpa_sim_net_snapshot(const VdpaSimNetShared *shared,
                               VdpaSimNetState *state);

/**
 * vdpa_sim_net_changed:
 * @shared: where the state is published
 * @seq: the number of the snapshot that the caller has
 *
 * Context: any; cheap enough for each packet.
 *
 * Returns: whether there is another state by now.
 */
static inline bool vdpa_sim_net_changed(const VdpaSimNetShared *shared,
                                        uint32_t seq)
{
    return __atomic_load_n(&shared->seq, __ATOMIC_ACQUIRE) != seq;
}

#endif
