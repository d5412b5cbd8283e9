/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vdpa-sim: a device that QEMU has open, and its queues
 *
 * Threads and locks.  QEMU's threads call in through vdpa-sim's ioctl(),
 * write() and so on; each queue has a worker, and the device a housekeeper,
 * which looks at what the test wants and at the doorbells of queues whose
 * workers sleep.
 *
 *   SimDevice.lock  what the driver sets up.  Held by QEMU's threads for a call
 *                   and by nobody else, except the housekeeper for short.
 *   SimQueue.lock   the ring and everything that a worker uses.  The worker has
 *                   it for one batch at a time and gives way to whoever has
 *                   raised SimQueue.want, so nobody waits longer than a batch:
 *                   sim_queue_lock().
 *   net_lock, call_lock, fault_lock, text_lock, SimFifo.lock
 *                   leaves: no other lock is taken with one of them held.
 *
 * They are taken in this order.  A worker never takes SimDevice.lock.
 *
 * An address space is replaced under SimDevice.lock, and what it was before is
 * freed after every queue's lock has been taken once: a worker finds the
 * address space anew in each batch.
 */
#ifndef TESTS_VDPA_SIM_DEVICE_H
#define TESTS_VDPA_SIM_DEVICE_H

#include <pthread.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/virtio_config.h>

#include "iotlb.h"
#include "ring.h"
#include "vdpa-sim.h"

/* Words of a notify page that hold no notification */
#define SIM_NO_DOORBELL     UINT32_MAX

/* A descriptor of this object's own; write() and close() are interposed */
#define sim_write(fd, buf, len) syscall(SYS_write, fd, buf, len)
#define sim_read(fd, buf, len)  syscall(SYS_read, fd, buf, len)
#define sim_close(fd)           syscall(SYS_close, fd)

static inline size_t sim_page_size(void)
{
    return getauxval(AT_PAGESZ);
}

typedef struct SimDevice SimDevice;

/* What a queue is for, which depends on whether there are several pairs */
typedef enum SimRole {
    SIM_RX,
    SIM_TX,
    SIM_CTRL,
} SimRole;

/* struct virtio_net_hdr_v1_hash, of which the features say how much counts */
typedef struct SimNetHdr {
    uint8_t flags;
    uint8_t gso_type;
    uint16_t hdr_len;
    uint16_t gso_size;
    uint16_t csum_start;
    uint16_t csum_offset;
    uint16_t num_buffers;
    uint32_t hash_value;
    uint16_t hash_report;
    uint16_t padding;
} SimNetHdr;

/* Packets on their way into a receive queue */
typedef struct SimFifo {
    pthread_mutex_t lock;
    uint8_t *data;
    uint32_t head, tail;        /* offsets in data */
    uint32_t count;             /* packets; atomic, for a look without lock */
    uint32_t waiters;           /* bits: queues that have a packet for it */
    bool open;                  /* atomic: the queue takes packets */
} SimFifo;

typedef struct SimQueue {
    SimDevice *dev;
    unsigned index;
    VdpaSimQueueStats *stats;
    VdpaSimQueueCtl *ctl;

    /* SimDevice.lock */
    uint32_t num;
    uint64_t desc, driver, device;
    bool addr_set, base_set, enabled, have_thread;
    uint32_t base;              /* where it starts, if base_set */
    uint32_t last_base;         /* where it stopped last */
    pthread_t thread;

    /* lock; written under SimDevice.lock as well */
    pthread_mutex_t lock __attribute__((aligned(64)));
    pthread_cond_t resume;      /* want is 0 */
    unsigned want;              /* threads that want lock; atomic */
    bool quit;
    bool running;
    SimRole role;               /* since it was started */
    int kick_fd;                /* our own duplicates, or -1 */
    int call_fd;

    /* lock; the worker's */
    bool first;                 /* no packet yet since the start */
    bool lost;                  /* the ring is not mapped, which was counted */
    bool blocked;               /* waits for room in another queue's fifo */
    bool late;                  /* control: a command has waited already */
    bool pending;               /* receive: a packet waits for a buffer */
    uint64_t due;               /* when to go on, with used[] if any; or 0 */
    SimUsed *used;
    unsigned num_used;          /* in used[] */
    unsigned max_used;
    unsigned jump;              /* for the next push, a fault */
    struct iovec *iov;
    unsigned num_iov;
    SimBuffer *bufs;            /* receive: of one packet */
    uint8_t *scratch;           /* one packet or command */
    uint64_t rand;
    uint64_t source_next;       /* when the next packet may be made */
    VdpaSimFlowConfig flow_config;
    VdpaSimFlow flow;
    bool flow_valid;
    uint32_t net_seq;
    bool net_valid;
    VdpaSimNetState net;
    SimRing ring;

    SimFifo fifo;               /* receive */
    int wake_fd;
    uint32_t sleeping;          /* the worker waits; atomic */
    uint32_t *doorbell;         /* our view of the notify page, or NULL */
} SimQueue;

typedef struct SimAddressSpace {
    SimIotlb *tlb;              /* in force; atomic */
    SimIotlb *next;             /* with the batch so far, or NULL */
} SimAddressSpace;

struct SimDevice {
    VdpaSim *sim;
    size_t size;                /* of the mapping */
    uint64_t st_dev, st_ino;    /* of the file */
    unsigned fds;               /* descriptors; shim.c's */
    unsigned num_queues;
    unsigned num_groups;
    unsigned num_as;

    pthread_mutex_t lock;
    bool owned;                 /* VHOST_SET_OWNER */
    bool suspended;
    uint8_t status;             /* atomic: a worker may add NEEDS_RESET */
    uint64_t acked;
    uint64_t acked_backend;
    int config_call_fd;         /* call_lock */
    uint32_t asid[VDPA_SIM_MAX_QUEUES];     /* of each group; atomic */
    bool in_batch;
    uint32_t batch_asid;
    SimAddressSpace as[VDPA_SIM_MAX_AS];

    int doorbell_fd;
    void *doorbells;
    pthread_t housekeeper;
    bool quit;                  /* atomic */

    pthread_mutex_t net_lock;
    VdpaSimNetState net;
    VdpaSimNetFlows flows;
    pthread_mutex_t call_lock;
    pthread_mutex_t fault_lock;
    pthread_mutex_t text_lock;

    SimQueue queue[VDPA_SIM_MAX_QUEUES];
};

/*
 * A counter that has one writer at a time, and readers anywhere.  Who reads it
 * sees what was done before it was counted.
 */
static inline void sim_count(uint64_t *counter, uint64_t by)
{
    __atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + by,
                     __ATOMIC_RELEASE);
}

static inline void sim_set(uint32_t *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static inline uint32_t sim_get(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline uint8_t sim_status(SimDevice *dev)
{
    return __atomic_load_n(&dev->status, __ATOMIC_ACQUIRE);
}

static inline bool sim_needs_reset(SimDevice *dev)
{
    return sim_status(dev) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

/* Was the feature negotiated?  SimDevice.lock. */
static inline bool sim_feature(SimDevice *dev, unsigned bit)
{
    return dev->acked & (1ull << bit);
}

/* A generator that need only be repeatable (xorshift64) */
static inline uint64_t sim_random(SimQueue *q)
{
    q->rand ^= q->rand << 13;
    q->rand ^= q->rand >> 7;
    q->rand ^= q->rand << 17;
    return q->rand;
}

/* device.c: set-up, under SimDevice.lock */

/**
 * sim_device_new: open a device
 * @sim: its file, mapped
 * @size: bytes of the mapping, which becomes the device's
 *
 * Returns: the device, or NULL with errno set
 */
SimDevice *sim_device_new(VdpaSim *sim, size_t size);

/**
 * sim_device_free: close a device; its threads end
 */
void sim_device_free(SimDevice *dev);

/**
 * sim_device_set_status: set the device status
 * @status: 0 for a reset
 *
 * Context: SimDevice.lock.
 *
 * Returns: 0 or a negative errno
 */
int sim_device_set_status(SimDevice *dev, uint8_t status);

/**
 * sim_device_suspend: suspend the device, or resume it
 *
 * Context: SimDevice.lock.
 *
 * Returns: 0 or a negative errno
 */
int sim_device_suspend(SimDevice *dev, bool on);

/**
 * sim_queue_update: start or stop a queue
 * @q: a queue, of which something has changed that it depends on
 *
 * Context: SimDevice.lock.
 */
void sim_queue_update(SimQueue *q);

/**
 * sim_queue_forget: forget the position of a queue, and packets for it
 *
 * Context: SimDevice.lock.
 */
void sim_queue_forget(SimQueue *q);

/**
 * sim_replace_fd: keep a duplicate of a descriptor
 * @slot: what was kept before, or -1; it is closed
 * @fd: of which to keep one, or -1
 *
 * Context: whoever uses @slot is locked out.
 *
 * Returns: 0 or a negative errno
 */
int sim_replace_fd(int *slot, int fd);

/**
 * sim_device_notify_page: an mmap() of the device
 * @offset: bytes
 * @len: bytes
 * @prot: as mmap() has it
 * @flags: see @prot
 *
 * Returns: the file of which @offset is to be mapped instead, or a negative
 * errno
 */
int sim_device_notify_page(SimDevice *dev, uint64_t offset, size_t len,
                           int prot, int flags);

/**
 * sim_device_wake: have the housekeeper, and all workers, look again
 *
 * Context: any thread.
 */
void sim_device_wake(SimDevice *dev);

/**
 * sim_device_config_call: send a config interrupt
 *
 * Context: any thread.
 */
void sim_device_config_call(SimDevice *dev);

/**
 * sim_device_break: the device needs a reset from now on
 *
 * Context: any thread.
 */
void sim_device_break(SimDevice *dev);

/* request.c and message.c; they take SimDevice.lock */

/**
 * sim_device_ioctl: an ioctl() on the device
 *
 * Returns: a result, or a negative errno
 */
int sim_device_ioctl(SimDevice *dev, unsigned int request, void *arg);

/**
 * sim_device_message: a write() to the device, of an IOTLB message
 *
 * Returns: @len, or a negative errno
 */
ssize_t sim_device_message(SimDevice *dev, const void *buf, size_t len);

/* worker.c */

/**
 * sim_queue_lock: take the lock of a queue, from which its worker retires
 */
void sim_queue_lock(SimQueue *q);

/**
 * sim_queue_unlock: undo sim_queue_lock()
 */
void sim_queue_unlock(SimQueue *q);

/**
 * sim_queue_start: begin to take buffers
 * @q: a queue that does not run
 * @role: what it is for
 * @base: where
 *
 * Context: SimDevice.lock.
 */
void sim_queue_start(SimQueue *q, SimRole role, uint32_t base);

/**
 * sim_queue_stop: take no more buffers
 * @q: any queue
 * @finish: publish what was taken
 *
 * Context: SimDevice.lock.
 */
void sim_queue_stop(SimQueue *q, bool finish);

/**
 * sim_queue_wake: have the worker look again
 *
 * Context: any thread.
 */
void sim_queue_wake(SimQueue *q);

/**
 * sim_queue_end: end the worker
 *
 * Context: no lock.
 */
void sim_queue_end(SimQueue *q);

/**
 * sim_housekeeper: body of the device's own thread
 * @opaque: the SimDevice
 */
void *sim_housekeeper(void *opaque);

/**
 * sim_thread_start: start a thread that no signal goes to
 *
 * Returns: 0 or an errno
 */
int sim_thread_start(pthread_t *thread, void *(*body)(void *), void *opaque);

/* data.c and ctrl.c: take buffers and add them to q->used; SimQueue.lock */

/**
 * sim_tx_batch: send packets
 * @q: a transmit queue
 * @max: to add to q->used, up to so many
 */
void sim_tx_batch(SimQueue *q, unsigned max);

/**
 * sim_rx_batch: receive packets
 * @q: a receive queue
 * @max: when q->used has so many, no other packet is begun
 * @wait_ns: set to the time until there may be another packet, if none is
 *           there now; 0 if there is no such time
 */
void sim_rx_batch(SimQueue *q, unsigned max, uint64_t *wait_ns);

/**
 * sim_ctrl_batch: carry one command out
 * @q: the control queue
 */
void sim_ctrl_batch(SimQueue *q);

/**
 * sim_fifo_open: let packets come for a receive queue, or no longer
 * @open: whether they may; when not, those that are there are dropped
 *
 * Context: any lock but that of another fifo.
 */
void sim_fifo_open(SimQueue *q, bool open);

/**
 * sim_receive: a packet from outside
 * @frame: the Ethernet frame
 * @len: its bytes
 *
 * Context: the housekeeper.
 */
void sim_receive(SimDevice *dev, const uint8_t *frame, size_t len);

/**
 * sim_buffer_read: copy the readable part of a buffer
 * @from: bytes to leave out at its beginning
 * @max: bytes to copy at most
 *
 * Returns: how many were copied
 */
size_t sim_buffer_read(const SimBuffer *buf, size_t from, void *data,
                       size_t max);

/**
 * sim_buffer_fault: report an access to a buffer that is not mapped
 */
void sim_buffer_fault(SimQueue *q, const SimBuffer *buf);

/**
 * sim_queue_net: the state of the network device, for a worker
 *
 * Returns: a copy that is the queue's and up to date
 */
const VdpaSimNetState *sim_queue_net(SimQueue *q);

/* report.c: what the test learns; any thread */

/**
 * sim_now: the time in nanoseconds
 */
uint64_t sim_now(void);

/**
 * sim_log: note an event
 */
void sim_log(SimDevice *dev, uint32_t type, uint32_t queue, uint64_t a,
             uint64_t b);

/**
 * sim_violation: note that the driver has broken a rule
 * @queue: number of the queue, or VDPA_SIM_ANY
 */
void sim_violation(SimDevice *dev, uint32_t queue, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/**
 * sim_iova_fault: note an access outside the IOTLB
 */
void sim_iova_fault(SimDevice *dev, uint32_t queue, uint64_t iova,
                    uint64_t len);

/**
 * sim_fault: is something to go wrong now?
 * @kind: of what there is an occasion
 * @queue: number of the queue, or VDPA_SIM_ANY
 * @match: as in VdpaSimFault
 * @value: set to that of the fault
 */
bool sim_fault(SimDevice *dev, VdpaSimFaultKind kind, uint32_t queue,
               uint32_t match, int64_t *value);

#endif
