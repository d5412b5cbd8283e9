/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: a QEMU with network cards and disks whose virtqueues have a certain
 * layout and order, in memory that the test shares with it
 *
 * A test names the mode with rig_get(), which starts a QEMU or goes on with
 * the one that runs, resets the device that it wants with dev_start(), and
 * sets up queues.  The driver (libqos/virtio-ring.c) then stops it at the
 * first used element that the specification does not allow.
 *
 * With VIRTIO_IN_ORDER_TEST_BASE=1 in the environment a QEMU without the
 * property in_order is accepted: tests that need it, or a fix that such a
 * QEMU lacks, are skipped.
 *
 * Everything here runs in the test's one thread.
 */

#ifndef TESTS_QTEST_VIRTIO_IN_ORDER_RIG_H
#define TESTS_QTEST_VIRTIO_IN_ORDER_RIG_H

#include "qemu/bitops.h"
#include "qemu/units.h"
#include "libqtest.h"
#include "libqos/libqos-malloc.h"
#include "libqos/pci.h"
#include "libqos/virtio-pci.h"
#include "libqos/virtio-ring.h"
#include "virtio-in-order-mode.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_ring.h"

/* Guest memory, bytes */
#define RIG_RAM_SIZE    (64 * MiB)

/* How long QEMU may take for anything, microseconds */
#define RIG_TIMEOUT_US  (20 * G_USEC_PER_SEC)

/* What the memory that a device is to write is filled with before */
#define POISON          0xa5

/* A feature to leave out where event indexes are not what it is about */
#define NO_EVENT_IDX    BIT_ULL(VIRTIO_RING_F_EVENT_IDX)

/* What stands on the PCI bus of a QEMU of rig_get() */
typedef enum DevId {
    DEV_NET,            /* virtio-net, peer is a stream socket */
    DEV_DGRAM,          /* the same on a datagram socket; flushes 7 at once */
    DEV_BLK,            /* virtio-blk on a file */
    DEV_SLOW,           /* virtio-blk, throttled to few requests a second */
    DEV_COUNT,
} DevId;

/* Slot of a device on the PCI bus, for -device */
#define DEV_SLOT(id)    (4 + (id))
#define DEV_MAX         24

/* Slots for DIMMs, of a kind whose memory has some */
#define RIG_DIMMS       4

typedef struct Dev {
    QVirtioPCIDevice *pci;
    QVirtioDevice *vdev;    /* part of @pci */
    unsigned id;            /* its number in RigKind.names */
} Dev;

/* The far end of a network card */
typedef struct Peer {
    int fd;
    bool dgram;
    size_t hdr_len;         /* bytes of zeroes before each packet on the wire */
    uint8_t *buf;           /* received, not yet taken */
    size_t start, end;
} Peer;

/* A kind of QEMU: which devices it has */
typedef struct RigKind {
    const char *const *names;   /* ids of the devices, by their number */
    unsigned count;             /* of devices, DEV_MAX at most */
    const char *machine;        /* type of the machine; NULL: q35 */
    const char *memory;         /* the end of -m, after the size; or NULL */

    /*
     * Adds what creates the back ends and the devices, each in its DEV_SLOT()
     * and with @props, to QEMU's command line
     */
    void (*start)(GString *cmd, const char *props);
    void (*stop)(void);         /* QEMU has ended; may be NULL */
} RigKind;

typedef struct Rig {
    const RigKind *kind;
    const Mode *mode;
    QTestState *qts;
    QPCIBus *bus;
    int ram_fd;             /* the file of @ram */
    QVirtioRam ram;
    QGuestAllocator alloc;  /* of all guest memory but the first MiB */
    Dev dev[DEV_MAX];       /* by number */
    Peer net, dgram;        /* of DEV_NET and DEV_DGRAM, if it is that kind */
    GArray *fds;            /* QEMU's, closed here once it has been started */
    char *dimm[RIG_DIMMS];  /* id of the memory in a slot, or NULL */
    unsigned dimms;         /* that there have been */
} Rig;

/* One QEMU serves all cases of a mode; NULL when there is none */
extern Rig *rig;

/* Which QEMU it is */

/**
 * base_qemu: does the test have to accept a QEMU without in_order?
 *
 * Returns: true with VIRTIO_IN_ORDER_TEST_BASE=1 in the environment
 */
bool base_qemu(void);

/**
 * can_run: can this QEMU run a case in @mode?
 * @mode: what the case needs
 *
 * Called first in each case.  Only the environment variable makes it say no,
 * so nothing is skipped by accident; the case is marked as skipped then.
 */
bool can_run(const Mode *mode);

/**
 * base_lacks: skip a case that a QEMU without in_order cannot pass
 * @what: what such a QEMU lacks, for the message
 *
 * Returns: true for base_qemu(); the case is marked as skipped then
 */
bool base_lacks(const char *what);

/* The far end of a network card */

/**
 * peer_init: open the two ends of a cable
 * @p: our end, to be closed with peer_cleanup()
 * @type: SOCK_STREAM or SOCK_DGRAM
 * @qemu_fd: set to QEMU's end; the caller closes it once QEMU has been started
 *
 * Packets have no header; for a datagram socket, @p->hdr_len may be changed.
 *
 * The test stops when there are no sockets.
 */
void peer_init(Peer *p, int type, int *qemu_fd);

/**
 * peer_cleanup: close our end
 * @p: a peer; what it has received is lost
 */
void peer_cleanup(Peer *p);

/**
 * peer_recv: take the next packet that QEMU has sent, if there is one
 * @p: who receives it
 * @len: set to its length in bytes
 *
 * Never waits.  The test stops when QEMU has closed its end or sends
 * something that is too large for a packet.
 *
 * Returns: the packet, valid until the next call, or NULL
 */
const uint8_t *peer_recv(Peer *p, size_t *len);

/**
 * peer_send: give QEMU a packet
 * @p: who sends it
 * @pkt: the packet; stays the caller's
 * @len: its length in bytes
 *
 * A packet that fits the socket only in part is sent to its end.  The test
 * stops when QEMU does not read for RIG_TIMEOUT_US then, or has closed its
 * end.
 *
 * Returns: false when the socket is full, and nothing was sent
 */
bool peer_send(Peer *p, const uint8_t *pkt, size_t len);

/**
 * peer_flush: let the peer read whatever is still under way, of whatever
 * origin
 * @p: a peer of the rig; what it reads is lost
 */
void peer_flush(Peer *p);

/**
 * dev_peer: the far end of one of the rig's network cards
 * @dev: DEV_NET or DEV_DGRAM
 */
Peer *dev_peer(Dev *dev);

/* Parts of a QEMU, for tests that start one of another kind */

/**
 * ram_init: map guest memory
 * @ram: filled in; the caller unmaps @ram->host
 * @fd: a file of RIG_RAM_SIZE bytes; may be closed afterwards
 *
 * The test stops when it cannot be mapped.
 */
void ram_init(QVirtioRam *ram, int fd);

/**
 * mode_props: the properties that bring a virtio device into a mode
 * @mode: what it has to offer
 *
 * Returns: text for the end of -device, which the caller frees with g_free()
 */
char *mode_props(const Mode *mode);

/* The QEMU under test */

/**
 * rig_get: a QEMU in @mode, running already or started now
 * @mode: what its devices offer; has to outlive the rig, which is known by
 *        its address
 *
 * Sets @rig.  A QEMU in another mode is stopped.  The test stops when QEMU
 * does not start or a device is missing.
 */
void rig_get(const Mode *mode);

/**
 * rig_get_kind: the same with other devices
 * @kind: which ones; has to outlive the rig, which is known by its address
 * @mode: see rig_get()
 *
 * Sets @rig.  A QEMU of another kind, or in another mode, is stopped.  The
 * test stops when QEMU does not start or a device is missing.
 */
void rig_get_kind(const RigKind *kind, const Mode *mode);

/**
 * rig_launch: start another QEMU of the same kind and mode beside the rig's
 * @args: what its command line begins with
 * @ram_fd: a file for its memory; may be the rig's.  Stays the caller's.
 *
 * Returns: the QEMU, for rig_replace() or qtest_quit()
 */
QTestState *rig_launch(const char *args, int ram_fd);

/**
 * rig_replace: go on with another QEMU, which has the state of the rig's
 * @qts: from rig_launch(); the rig's is ended
 * @ram_fd: what that was given; becomes the rig's
 */
void rig_replace(QTestState *qts, int ram_fd);

/**
 * rig_pass_fd: leave a descriptor to the QEMU that is being started
 * @fd: without FD_CLOEXEC; closed here once QEMU has been started
 *
 * Only from RigKind.start.
 *
 * Returns: @fd
 */
int rig_pass_fd(int fd);

/**
 * rig_stop: stop the QEMU under test and free @rig
 *
 * Nothing happens when there is none.  Cases that start a QEMU of their own
 * call this first; the last one does not, so the test has to do it at its
 * end.
 */
void rig_stop(void);

/**
 * guest: the test's own view of guest memory
 * @addr: guest physical address
 * @len: bytes that will be accessed; the test stops when they are not all in
 *       guest memory
 *
 * Returns: a pointer that is valid for @len bytes as long as the rig is
 */
void *guest(uint64_t addr, size_t len);

/**
 * common_cfg: where a register of the common configuration is (VIRTIO 1.2,
 * 4.1.4.3)
 * @dev: a device of the rig
 * @reg: offset of the register, VIRTIO_PCI_COMMON_*
 *
 * Returns: its offset in @dev->pci->bar, bytes
 */
uint64_t common_cfg(Dev *dev, unsigned reg);

/**
 * dev_start: reset a device and negotiate
 * @id: which one
 * @without: features to leave out, a mask
 *
 * All of guest memory is free again.  The features of the mode have to be
 * there, or everything that follows would test something else: the test stops
 * when they are not, or when there are others.  The driver is not yet ready;
 * queues come first, then qvirtio_set_driver_ok().
 *
 * Returns: the device, which belongs to the rig
 */
Dev *dev_start(unsigned id, uint64_t without);

/**
 * dev_start_too: reset a device and negotiate, while others go on
 * @id: which one
 * @without: features to leave out, a mask
 *
 * As dev_start(), but memory that is in use stays in use.
 *
 * Returns: the device, which belongs to the rig
 */
Dev *dev_start_too(unsigned id, uint64_t without);

/**
 * dev_remake: find a device anew that has been plugged in again
 * @id: which one; it is in its slot
 */
void dev_remake(unsigned id);

/**
 * queue_setup: set up a queue of a device that was started
 * @dev: a device of the rig
 * @index: number of the queue
 * @size: entries of its ring, 0: as many as the device offers
 *
 * The driver writes wrong buffer ids where they must not matter, see
 * qvring_poison_ids().  The test stops when the device does not take the
 * size.
 *
 * Returns: the queue, to be freed with queue_free()
 */
QVirtQueue *queue_setup(Dev *dev, uint16_t index, uint16_t size);

/**
 * queue_reset: reset a queue (VIRTIO_F_RING_RESET), and wait until it is
 * @dev: its device
 * @vq: the queue; buffers may be in flight, and are lost.  To be freed with
 *      queue_free().
 */
void queue_reset(Dev *dev, QVirtQueue *vq);

/**
 * queue_free: free a queue
 * @dev: its device, which has been reset, or its queue has
 * @vq: the queue; buffers may be in flight
 */
void queue_free(Dev *dev, QVirtQueue *vq);

/**
 * net_start: start a network card with one pair of queues
 * @id: DEV_NET or DEV_DGRAM
 * @without: features to leave out, a mask
 * @rx_size: entries of the receive queue, 0: as many as the card offers
 * @tx_size: the same for the transmit queue
 * @dev: set to the card
 * @rx: set to the receive queue
 * @tx: set to the transmit queue
 *
 * To be ended with net_stop().  The test stops as in dev_start() and
 * queue_setup().
 */
void net_start(unsigned id, uint64_t without, uint16_t rx_size,
               uint16_t tx_size, Dev **dev, QVirtQueue **rx,
               QVirtQueue **tx);

/**
 * net_stop: reset a network card and free its queues
 * @dev: the card
 * @rx: its receive queue
 * @tx: its transmit queue
 */
void net_stop(Dev *dev, QVirtQueue *rx, QVirtQueue *tx);

/**
 * dev_name: what a device is called on QEMU's command line
 * @id: which one
 */
const char *dev_name(unsigned id);

/**
 * queue_stat: how far QEMU has got, from its own introspection
 * @dev: see dev_name()
 * @queue: number of the queue
 * @key: a member of the answer to x-query-virtio-queue-status
 *
 * The test stops when there is no such queue or member.
 *
 * Returns: the number; 0 or 1 for "in-order"; 1 for the "layout" packed, 0
 * for others
 */
uint64_t queue_stat(const char *dev, unsigned queue, const char *key);

/**
 * set_link: pull or plug the cable of a network card
 * @id: see dev_name()
 * @up: plug it
 *
 * The test stops when QEMU refuses.
 */
void set_link(const char *id, bool up);

/**
 * hmp: let QEMU's human monitor do something that has no answer
 * @fmt: the command, as for printf()
 *
 * The test stops when there is one, since that is an error message then.
 */
void hmp(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/* Waiting for it */

/**
 * wait_a_little: give QEMU the CPU, in a loop that waits for it
 * @start: when the loop began to wait (microseconds), set by the first call;
 *         0 before that, and whenever there was progress
 * @vq: the queue that is waited for
 * @what: what is waited for, for the message
 *
 * The test stops, with the state of the queue, after RIG_TIMEOUT_US.
 */
void wait_a_little(gint64 *start, QVirtQueue *vq, const char *what);

/**
 * rig_dimm_plug: plug memory
 * @slot: a free slot for it, see RigKind.memory
 * @path: of its file, as QEMU opens it
 * @addr: guest physical address
 * @size: bytes
 *
 * The test stops when QEMU refuses.
 */
void rig_dimm_plug(unsigned slot, const char *path, uint64_t addr,
                   uint64_t size);

/**
 * rig_dimm_unplug: have the guest let go of memory, and the user of its file
 * @slot: where it is
 *
 * The test stops when QEMU refuses.
 */
void rig_dimm_unplug(unsigned slot);

/* Where a device behind an IOMMU sees a window of pages */
#define RIG_VTD_WINDOW  (1 * GiB)
#define RIG_VTD_PAGES   8

/**
 * rig_vtd_enable: put a device behind Intel's IOMMU, which QEMU has
 * @id: which one; it is with iommu_platform=on, and not in use
 *
 * The device sees RAM as it is, and the window.  The tables are where the next
 * dev_start() lets others write, so the device is started by dev_start_too()
 * after this.
 *
 * Returns: RIG_VTD_PAGES pages of RAM, which are in the window in the reverse
 * order
 */
uint64_t rig_vtd_enable(unsigned id);

/**
 * rig_vtd_disable: have devices see all memory as it is
 */
void rig_vtd_disable(void);

/**
 * main_loop_rounds: give QEMU the time to do what it has to do
 *
 * For what leaves no trace to wait for: QEMU's main loop goes round ten times
 * and has 5 ms.
 */
void main_loop_rounds(void);

#endif
