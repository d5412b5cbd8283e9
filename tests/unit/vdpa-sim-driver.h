/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A driver of the simulated vDPA device that writes whatever it is told to
 *
 * Sits directly on the vhost-vdpa interface, in the process of the test, into
 * which the device is linked.  It keeps no rule by itself, so that tests can
 * break them.  For a driver that keeps them all see libqos.
 *
 * Everything runs in the test's one thread, but the device has its own.
 */
#ifndef TESTS_UNIT_VDPA_SIM_DRIVER_H
#define TESTS_UNIT_VDPA_SIM_DRIVER_H

#include <glib.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include "../vdpa-sim/vdpa-sim.h"

#define DRIVER_PAIRS    2
#define DRIVER_CTRL     (2 * DRIVER_PAIRS)
#define DRIVER_QUEUES   (DRIVER_CTRL + 1)
#define DRIVER_RING     16              /* entries of each ring */
#define DRIVER_IOVA     0x100000        /* of the memory */
#define DRIVER_MEM      0x100000        /* bytes of it */
#define DRIVER_BUF      0x80000         /* offset of memory that is free */
#define DRIVER_HDR      12              /* virtio-net header */

/* Flags of a descriptor, the same in both layouts */
#define D_NEXT          1
#define D_WRITE         2
#define D_INDIRECT      4

/* What the tests use */
#define RESUME          _IO(VHOST_VIRTIO, 0x7E)
#define RX              VDPA_SIM_RX(0)
#define TX              VDPA_SIM_TX(0)
#define F(bit)          (1ull << (bit))
#define NOTIFY_DATA     F(38)

/* What a test leaves out that is not about it */
#define PLAIN           (F(VIRTIO_F_RING_PACKED) | F(VIRTIO_F_IN_ORDER) |   \
                         F(VIRTIO_RING_F_EVENT_IDX) | NOTIFY_DATA |         \
                         F(VIRTIO_NET_F_HASH_REPORT))
#define PLAIN_PACKED    (PLAIN & ~F(VIRTIO_F_RING_PACKED))

/* Bytes of a buffer with a short packet */
#define LEN             (DRIVER_HDR + 60)

typedef struct Driver {
    char *path;
    VdpaSim *sim;
    int fd;
    size_t page;                /* bytes */
    uint64_t features;          /* acknowledged */
    bool packed;
    uint8_t *mem;
    int kick[DRIVER_QUEUES];    /* eventfds */
    int call[DRIVER_QUEUES];
    int config_call;
    uint16_t pos[DRIVER_QUEUES];    /* packed: where the next one goes */
    bool wrap[DRIVER_QUEUES];
    uint16_t used[DRIVER_QUEUES];   /* used elements taken */
    bool used_wrap[DRIVER_QUEUES];
} Driver;

/* A used element */
typedef struct Used {
    uint32_t id;
    uint32_t len;
} Used;

/**
 * driver_config: the configuration of driver_new(), to be changed
 *
 * Everything is offered, with a notify page for each queue and two groups.
 */
void driver_config(VdpaSimConfig *config);

/**
 * driver_new: create a device and open it
 * @config: or NULL for driver_config()
 *
 * Returns: the driver, for driver_free(); the device has been opened and has
 * an owner and backend features, no more
 */
Driver *driver_new(const VdpaSimConfig *config);

/**
 * driver_free: close and remove the device
 * @clean: the device must have no complaint
 */
void driver_free(Driver *d, bool clean);

/**
 * driver_map: send an IOTLB message
 * @type: VHOST_IOTLB_*
 * @asid: address space
 * @iova: address
 * @offset: in the memory
 * @size: bytes
 * @perm: VHOST_ACCESS_*
 *
 * Returns: 0 or errno
 */
int driver_map(Driver *d, uint8_t type, uint32_t asid, uint64_t iova,
               size_t offset, uint64_t size, uint8_t perm);

/**
 * driver_features: set the features and FEATURES_OK
 * @without: what to leave out, a mask
 */
void driver_features(Driver *d, uint64_t without);

/**
 * driver_queue: set up and enable a queue
 * @q: its number
 *
 * Size, addresses, eventfds; not the position.
 */
void driver_queue(Driver *d, unsigned q);

/**
 * driver_start: all that it takes, with all queues
 * @without: see driver_features()
 */
void driver_start(Driver *d, uint64_t without);

/**
 * driver_reset: reset the device and clear the memory
 */
void driver_reset(Driver *d);

/**
 * driver_status: add bits to the device status
 */
void driver_status(Driver *d, uint8_t status);

/**
 * driver_ioctl: an ioctl() with the number of a queue and another number
 *
 * Returns: 0 or errno
 */
int driver_ioctl(Driver *d, unsigned long request, unsigned q, unsigned num);

/**
 * driver_base: where the device stands
 */
uint32_t driver_base(Driver *d, unsigned q);

/**
 * driver_desc: write a descriptor
 * @q: number of the queue
 * @i: which one; packed: the position comes from Driver.pos, and this is the
 *     buffer ID
 * @offset: of the buffer, in the memory; UINT64_MAX: at an address that is
 *          never mapped
 * @len: its bytes
 * @flags: D_*
 * @next: split: the next descriptor
 *
 * Packed: the descriptor is available at once.
 */
void driver_desc(Driver *d, unsigned q, uint16_t i, uint64_t offset,
                 uint32_t len, uint16_t flags, uint16_t next);

/**
 * driver_table: write an entry of an indirect table
 * @offset: of the table, in the memory
 */
void driver_table(Driver *d, uint64_t offset, unsigned i, uint64_t buffer,
                  uint32_t len, uint16_t flags, uint16_t next);

/**
 * driver_avail: split: put a head into the available ring and publish it
 */
void driver_avail(Driver *d, unsigned q, uint16_t head);

/**
 * driver_avail_idx: split: where the available index is
 */
uint16_t *driver_avail_idx(Driver *d, unsigned q);

/**
 * driver_used_idx: split: where the used index is
 */
uint16_t *driver_used_idx(Driver *d, unsigned q);

/**
 * driver_kick: write to a queue's kick eventfd
 */
void driver_kick(Driver *d, unsigned q);

/**
 * driver_put: a buffer of one descriptor, published and kicked
 * @i: descriptor or buffer ID
 */
void driver_put(Driver *d, unsigned q, uint16_t i, uint64_t offset,
                uint32_t len, uint16_t flags);

/**
 * driver_get: take a used element, if there is one
 * @used: set to it
 */
bool driver_get(Driver *d, unsigned q, Used *used);

/**
 * driver_wait: the same, but wait for it; the test stops after ten seconds
 */
Used driver_wait(Driver *d, unsigned q);

/**
 * driver_count: read an eventfd
 *
 * Returns: its counter, which is 0 then
 */
uint64_t driver_count(int fd);

/**
 * ask: an ioctl() on any descriptor
 *
 * Returns: 0 or errno
 */
int ask(int fd, unsigned long request, void *arg);

/**
 * driver_expect: wait until the device complains
 * @part: what the complaint has to contain; or the test stops
 */
void driver_expect(Driver *d, const char *part);

/* Waits until @cond holds; the test stops after ten seconds */
#define WAIT_FOR(cond)                                                       \
    do {                                                                     \
        gint64 end_ = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;          \
        while (!(cond)) {                                                    \
            g_assert_cmpint(g_get_monotonic_time(), <, end_);                \
            g_usleep(20);                                                    \
        }                                                                    \
    } while (0)

#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_ACQUIRE)
#define STORE(field, value) __atomic_store_n(&(field), value, __ATOMIC_RELEASE)

#endif
