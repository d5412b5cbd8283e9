/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vdpa-sim: what a test and the simulated vDPA network device share
 *
 * A device is a file.  The test creates it with vdpa_sim_create(), starts QEMU
 * with vdpa-sim.so in LD_PRELOAD and -netdev vhost-vdpa,vhostdev=PATH, and from
 * then on sets and reads the VdpaSim that the file holds.  See README.md.
 *
 * Who writes what:
 *
 *   - VdpaSim.config is the test's, and constant once QEMU has opened the file;
 *   - VdpaSim.ctl and .faults are the test's at any time, through the functions
 *     below or by atomic stores followed by vdpa_sim_wake();
 *   - everything else is the device's.  The test reads it with atomic loads
 *     (qatomic_read()) or through the functions below.
 *
 * No pointers lie in the file, so a device may be handed from one QEMU to the
 * next.  While one has it open, another one gets EBUSY.
 */
#ifndef TESTS_VDPA_SIM_H
#define TESTS_VDPA_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net.h"
#include "packet.h"

#define VDPA_SIM_MAGIC      0x6d69736170647631ull
#define VDPA_SIM_VERSION    1

enum {
    VDPA_SIM_MAX_PAIRS = 8,
    VDPA_SIM_MAX_QUEUES = 2 * VDPA_SIM_MAX_PAIRS + 1,
    VDPA_SIM_MAX_AS = VDPA_SIM_MAX_QUEUES,
    VDPA_SIM_MAX_RING = 32768,      /* entries (VIRTIO 1.2, 2.7 and 2.8) */
    VDPA_SIM_MAX_FAULTS = 16,
    VDPA_SIM_MAX_VIOLATIONS = 16,   /* of which the text is kept */
    VDPA_SIM_LOG_SIZE = 4096,       /* events; a power of 2 */
    VDPA_SIM_MAX_PACKET = 65536,    /* bytes, without virtio-net's header */
};

/* Matches every queue, or every request */
#define VDPA_SIM_ANY        UINT32_MAX

/* Numbers of the queues: receive and transmit queue of a pair */
#define VDPA_SIM_RX(pair)   (2 * (pair))
#define VDPA_SIM_TX(pair)   (2 * (pair) + 1)

/* What the device is */
typedef struct VdpaSimConfig {
    uint64_t features;          /* offered, a mask */
    uint64_t backend_features;  /* offered, a mask of VHOST_BACKEND_F_* bits */
    uint64_t iova_first;        /* the addresses that may be mapped */
    uint64_t iova_last;
    uint32_t vring_num_max;     /* largest ring */
    uint32_t num_groups;        /* of queues; 0 is taken as 1 */
    uint32_t num_as;            /* address spaces; 0 is taken as 1 */
    uint32_t notify_pages;      /* bit N: queue N has a page to be mapped */
    uint8_t group[VDPA_SIM_MAX_QUEUES];     /* of each queue */
    int16_t cpu[VDPA_SIM_MAX_QUEUES];       /* of its worker, -1: any */
    VdpaSimNetConfig net;       /* MAC, pairs, MTU, limits */
} VdpaSimConfig;

/* What a data queue does */
typedef enum VdpaSimMode {
    /*
     * A transmit queue forgets its packets; a receive queue gets those that
     * other queues loop back and those of vdpa_sim_inject()
     */
    VDPA_SIM_PLAIN,
    /* Transmit: packets are filtered, and go to the queue they steer to */
    VDPA_SIM_LOOP_STEER,
    /* Transmit: packets go to the receive queue of the same pair, unfiltered */
    VDPA_SIM_LOOP_PAIR,
    /* Receive: makes packets with vdpa_sim_packet_make() by itself as well */
    VDPA_SIM_SOURCE,
} VdpaSimMode;

/*
 * How a queue behaves; may change at any time.  Mode and verify count for each
 * buffer that is made available after the change.
 */
typedef struct VdpaSimQueueCtl {
    uint32_t mode;              /* a VdpaSimMode */
    uint32_t verify;            /* transmit: check packets of packet.h */
    uint32_t paused;            /* take and give nothing */
    /*
     * How long an idle worker looks at the ring before it waits for a kick:
     * nanoseconds, 0: not at all, UINT32_MAX: for ever.
     */
    uint32_t poll_ns;
    uint32_t always_kick;       /* never tell the driver not to kick */
    uint32_t batch;             /* buffers to publish at once, 0: 32 */
    uint32_t no_runs;           /* in-order: a used element for each buffer */
    /*
     * Without in-order: up to so many buffers are used in random order, which
     * shuffle_seed repeats; 0 or 1: in order.  Receive: for packets that the
     * device makes at full speed and that fit a buffer each.
     */
    uint32_t shuffle;
    uint64_t shuffle_seed;
    uint64_t delay_ns;          /* before each batch is published */
    /*
     * Transmit, looped: a packet that finds no room in the receive queue's
     * backlog waits in the ring instead of being dropped
     */
    uint32_t lossless;

    /* VDPA_SIM_SOURCE */
    uint32_t source_len_min;    /* bytes of frame; 0: 64 */
    uint32_t source_len_max;    /* 0: as the minimum */
    uint32_t reserved;
    uint64_t source_count;      /* packets to make in all, since the creation */
    uint64_t source_interval_ns;    /* from one to the next; 0: at full speed */

    /*
     * Source: what the packets look like; without a destination, they go to
     * the device's MAC address.  Verify: the stream that is expected.
     */
    VdpaSimFlowConfig flow;
} __attribute__((aligned(64))) VdpaSimQueueCtl;

/* What a queue has done since the creation of the file */
typedef struct VdpaSimQueueStats {
    uint64_t buffers;           /* used */
    uint64_t packets;           /* sent or received; commands */
    uint64_t bytes;             /* of their frames */
    uint64_t batches;           /* times that used elements were published */
    uint64_t used_elems;        /* fewer than buffers if runs were published */
    uint64_t kicks_doorbell;    /* stores seen; several in a row may be one */
    uint64_t kicks_eventfd;     /* reads of the kick eventfd */
    uint64_t kicks_wrong;       /* doorbells with a wrong value; violations */
    uint64_t calls;             /* interrupts sent */
    uint64_t calls_suppressed;  /* interrupts that the driver did not want */
    uint64_t sleeps;            /* times that the worker waited for a kick */
    uint64_t starved;           /* receive: a packet found no buffer */
    uint64_t dropped;           /* packets that found no room */
    uint64_t filtered;          /* transmit, looped: not accepted */
    uint64_t damaged;           /* transmit, verify: contents wrong */
    uint64_t foreign;           /* transmit, verify: of no or another stream */
    uint64_t sourced;           /* receive: packets made */

    uint32_t running;           /* takes buffers, now */
    uint32_t paused;            /* has seen VdpaSimQueueCtl.paused */
    uint32_t enabled;           /* SET_VRING_ENABLE */
    uint32_t doorbell_mapped;   /* its notify page is or was mapped by QEMU */
    uint32_t tid;               /* of its worker, in QEMU's process */
    uint32_t size;              /* of its ring */
    uint32_t in_flight;         /* buffers taken, not yet used */
    uint32_t pos;               /* as VHOST_GET_VRING_BASE gives it */
    uint64_t faults;            /* accesses outside the IOTLB, since creation */
    uint64_t fault_iova;        /* the last of them */
    uint64_t violations;        /* of the specification by the driver */
    VdpaSimStream stream;       /* transmit, verify: what else was found */
} __attribute__((aligned(64))) VdpaSimQueueStats;

/* What can go wrong on demand, and what @value means for it */
typedef enum VdpaSimFaultKind {
    VDPA_SIM_FAULT_NONE,

    /* Data queues; an occasion is a used element */
    VDPA_SIM_FAULT_USED_ID,     /* id becomes @value */
    VDPA_SIM_FAULT_USED_REPEAT, /* the element is written and counted twice */
    VDPA_SIM_FAULT_USED_LEN,    /* @value is added to the length */
    VDPA_SIM_FAULT_USED_JUMP,   /* @value more are announced than there are */
    VDPA_SIM_FAULT_NEEDS_RESET, /* the device breaks, with a config interrupt */
    VDPA_SIM_FAULT_LOST_CALL,   /* an occasion is an interrupt: is not sent */

    /* The ioctl of number @match (_IOC_NR) fails with errno @value */
    VDPA_SIM_FAULT_IOCTL,
    /* The IOTLB message of type @match fails with errno @value */
    VDPA_SIM_FAULT_IOTLB,
    /* The driver may not set FEATURES_OK */
    VDPA_SIM_FAULT_FEATURES_OK,

    /* Control queue; an occasion is a command, @match its class << 8 | cmd */
    VDPA_SIM_FAULT_CVQ_ERROR,   /* VIRTIO_NET_ERR, without carrying it out */
    VDPA_SIM_FAULT_CVQ_LATE,    /* the answer comes after @value nanoseconds */
    VDPA_SIM_FAULT_CVQ_SHORT,   /* used with length @value, nothing written */
    VDPA_SIM_FAULT_CVQ_NEVER,   /* carried out, never answered */
    VDPA_SIM_FAULT_CVQ_TWICE,   /* the used element is there twice */
} VdpaSimFaultKind;

typedef struct VdpaSimFault {
    uint32_t kind;              /* a VdpaSimFaultKind */
    uint32_t queue;             /* or VDPA_SIM_ANY */
    uint32_t match;             /* see the kind; or VDPA_SIM_ANY */
    uint32_t reserved;
    int64_t value;              /* see the kind */
    uint64_t skip;              /* occasions to let pass first */
    uint64_t times;             /* occasions to spoil then; UINT64_MAX: all */
    uint64_t seen;              /* occasions so far; the device's */
    uint64_t done;              /* of which spoilt; the device's */
} VdpaSimFault;

typedef enum VdpaSimEventType {
    VDPA_SIM_EV_OPEN,           /* a: process */
    VDPA_SIM_EV_CLOSE,
    VDPA_SIM_EV_IOCTL,          /* a: number (_IOC_NR), b: result or -errno */
    VDPA_SIM_EV_STATUS,         /* a: new status, b: old */
    VDPA_SIM_EV_FEATURES,       /* a: acknowledged, b: result or -errno */
    VDPA_SIM_EV_IOTLB,          /* a: message type, b: result or -errno */
    VDPA_SIM_EV_ENABLE,         /* queue; a: 1 or 0 */
    VDPA_SIM_EV_START,          /* queue takes buffers; a: position */
    VDPA_SIM_EV_STOP,           /* queue takes no more; a: position */
    VDPA_SIM_EV_FIRST,          /* queue: first packet since its start */
    VDPA_SIM_EV_COMMAND,        /* a: class << 8 | cmd, b: the answer */
    VDPA_SIM_EV_SUSPEND,
    VDPA_SIM_EV_RESUME,
    VDPA_SIM_EV_RESET,
    VDPA_SIM_EV_FAULT,          /* queue; a: kind, b: value */
    VDPA_SIM_EV_IOVA,           /* queue: access outside; a: address, b: size */
    VDPA_SIM_EV_VIOLATION,      /* queue; a: number of the text */
    VDPA_SIM_EV_CONFIG,         /* config interrupt */
} VdpaSimEventType;

typedef struct VdpaSimEvent {
    uint64_t seq;               /* 1 for the first event */
    uint64_t ns;                /* CLOCK_MONOTONIC */
    uint32_t type;              /* a VdpaSimEventType */
    uint32_t queue;             /* or VDPA_SIM_ANY */
    uint64_t a, b;              /* see the type */
} VdpaSimEvent;

typedef struct VdpaSimViolation {
    uint64_t ns;
    uint32_t queue;
    char text[148];
} VdpaSimViolation;

/* What the driver has set up */
typedef struct VdpaSimState {
    uint64_t acked;             /* features */
    uint64_t acked_backend;
    uint32_t status;
    uint32_t suspended;
    uint32_t opens;             /* times that a QEMU has opened the device */
    uint32_t opened;            /* by one, now */
    uint32_t resets;
    uint32_t pid;               /* of that QEMU */
    uint32_t asid[VDPA_SIM_MAX_QUEUES];     /* of each group */
    uint32_t mappings[VDPA_SIM_MAX_AS];     /* in each address space */
    uint64_t mapped[VDPA_SIM_MAX_AS];       /* bytes */
    uint64_t iotlb_updates;     /* messages */
    uint64_t iotlb_invalidates;
    uint64_t iotlb_batches;
    uint64_t iotlb_refused;     /* messages that failed */
    uint64_t faults;            /* sum over the queues; bugs of QEMU */
    uint64_t violations;        /* sum over the queues and beyond; the same */
    uint64_t unknown_ioctls;
    uint32_t last_unknown_ioctl;
    uint32_t config_calls;      /* config interrupts sent */
} VdpaSimState;

/* The packet that vdpa_sim_inject() hands over */
typedef struct VdpaSimMailbox {
    uint32_t full;              /* 1: the device may take it */
    uint32_t len;
    uint8_t data[VDPA_SIM_MAX_PACKET];
} VdpaSimMailbox;

typedef struct VdpaSim {
    uint64_t magic;
    uint32_t version;
    uint32_t size;              /* of this struct */
    VdpaSimConfig config;

    VdpaSimQueueCtl ctl[VDPA_SIM_MAX_QUEUES];
    VdpaSimFault faults[VDPA_SIM_MAX_FAULTS];
    uint32_t armed __attribute__((aligned(64)));    /* bits: kinds of faults */
    uint32_t wake;              /* a futex */
    uint32_t link_down;         /* vdpa_sim_set_link() */
    uint32_t announce;          /* vdpa_sim_announce(): requests so far */
    VdpaSimMailbox mailbox;

    VdpaSimState state __attribute__((aligned(64)));
    VdpaSimQueueStats stats[VDPA_SIM_MAX_QUEUES];
    VdpaSimNetShared net __attribute__((aligned(64)));
    uint64_t events __attribute__((aligned(64)));   /* logged so far */
    VdpaSimEvent log[VDPA_SIM_LOG_SIZE];
    VdpaSimViolation violation[VDPA_SIM_MAX_VIOLATIONS];
} VdpaSim;

/*
 * For the test (vdpa-sim-client.c)
 */

/**
 * vdpa_sim_config_init: fill in a configuration
 * @config: to be changed before vdpa_sim_create() as wanted
 * @pairs: of data queues
 *
 * The device offers what a plain modern virtio-net device does: split rings,
 * no in-order, mergeable buffers, a control queue with every command, several
 * pairs if @pairs is above 1; IOTLB v2 messages in batches and suspend; one
 * group and address space; no notify pages.  Rings have up to 256 entries.
 */
void vdpa_sim_config_init(VdpaSimConfig *config, unsigned pairs);

/**
 * vdpa_sim_config_check: check a configuration
 *
 * Returns: NULL, or what is wrong with it
 */
const char *vdpa_sim_config_check(const VdpaSimConfig *config);

/**
 * vdpa_sim_create: create a device
 * @path: of the file, which is replaced if it exists
 * @config: copied
 *
 * All queues are VDPA_SIM_PLAIN, sleep when they are idle, and publish 32
 * buffers at once.
 *
 * Returns: the device, for vdpa_sim_free(), or NULL with errno set; EINVAL for
 * a configuration that cannot be
 */
VdpaSim *vdpa_sim_create(const char *path, const VdpaSimConfig *config);

/**
 * vdpa_sim_free: give a device up
 * @sim: or NULL.  A QEMU that has it open goes on; its file stays, and may
 *       have been removed at any time since QEMU opened it.
 */
void vdpa_sim_free(VdpaSim *sim);

/**
 * vdpa_sim_preload: have each QEMU that is started from now on load the device
 * @so: path of vdpa-sim.so, without spaces and colons
 *
 * Changes LD_PRELOAD, and ASAN_OPTIONS, for which the object comes too early.
 */
void vdpa_sim_preload(const char *so);

/**
 * vdpa_sim_unpreload: undo vdpa_sim_preload()
 */
void vdpa_sim_unpreload(void);

/**
 * vdpa_sim_wake: have the device look at what was changed in VdpaSim.ctl
 */
void vdpa_sim_wake(VdpaSim *sim);

/**
 * vdpa_sim_pause: stop or continue the worker of a queue
 * @queue: its number
 * @pause: when true, does not return before the worker has stopped, or QEMU
 *         has closed the device
 */
void vdpa_sim_pause(VdpaSim *sim, unsigned queue, bool pause);

/**
 * vdpa_sim_arm: prepare a fault
 * @fault: copied; several may be armed at once, of which the first that
 *         matches an occasion applies
 *
 * Returns: its number, or -1 when there are VDPA_SIM_MAX_FAULTS
 */
int vdpa_sim_arm(VdpaSim *sim, const VdpaSimFault *fault);

/**
 * vdpa_sim_disarm: give a fault up
 * @fault: its number
 *
 * Returns: how many times it has happened
 */
uint64_t vdpa_sim_disarm(VdpaSim *sim, int fault);

/**
 * vdpa_sim_inject: have a packet arrive from outside
 * @packet: an Ethernet frame, without virtio-net's header; is filtered and
 *          steered as the driver has set it up
 * @len: bytes, VDPA_SIM_MAX_PACKET at most
 *
 * Returns: false when the device has not yet taken the one before
 */
bool vdpa_sim_inject(VdpaSim *sim, const void *packet, size_t len);

/**
 * vdpa_sim_set_link: pull or plug the cable
 */
void vdpa_sim_set_link(VdpaSim *sim, bool up);

/**
 * vdpa_sim_announce: ask the driver to announce itself
 */
void vdpa_sim_announce(VdpaSim *sim);

/**
 * vdpa_sim_next_event: read the log
 * @pos: position of the reader, 0 at first; moves on
 * @event: set to the event at @pos; events that were overwritten are skipped
 *
 * Returns: false when there are no more
 */
bool vdpa_sim_next_event(VdpaSim *sim, uint64_t *pos, VdpaSimEvent *event);

/**
 * vdpa_sim_complaint: what QEMU did wrong
 *
 * Returns: a string with one line for each kind of access outside the IOTLB
 * and each violation, for free(); or NULL if there is none
 */
char *vdpa_sim_complaint(VdpaSim *sim);

#endif
