/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Device ring: the driver's side of a virtqueue
 *
 * The shadow virtqueue is the device of the guest's driver and the driver of
 * a vDPA device.  This is the second half: it makes buffers available to a
 * device, split or packed, and takes back what the device has used.  The
 * layout and the features are the device's, whatever the guest negotiated.
 *
 * A device ring is plain data.  It knows addresses that the device
 * understands (IOVAs), and never looks at what is behind them; it knows
 * neither QEMU objects nor guest memory, signals nobody and never waits.
 * That makes a unit test of it complete.
 *
 * Nothing that the device writes is trusted: it is read once, checked, and
 * what the ring remembers about a buffer is kept where the device cannot
 * write.  A device that breaks a rule breaks the ring, with a message; from
 * then on nothing more is taken.
 *
 * Threads.  A ring belongs to one thread at a time; there is no lock.  The
 * device runs beside it, and the barriers are those of VIRTIO 1.2, sections
 * 2.7.13, 2.7.14, 2.8.21 and 2.8.22: what the ring makes available or takes
 * goes by a store-release or a load-acquire of one index or one flags word,
 * and a full barrier stands only before a look at the device's wish for
 * notifications, and after a change of the ring's own.
 */

#ifndef HW_VIRTIO_SVQ_RING_H
#define HW_VIRTIO_SVQ_RING_H

/* What a ring is to be; the device has to have offered each feature set here */
typedef struct SVQRingConfig {
    unsigned int num;       /* entries; split: a power of two, 32768 at most */
    bool packed;            /* VIRTIO_F_RING_PACKED */
    bool in_order;          /* VIRTIO_F_IN_ORDER */
    bool indirect;          /* VIRTIO_RING_F_INDIRECT_DESC */
    bool event_idx;         /* VIRTIO_RING_F_EVENT_IDX */
} SVQRingConfig;

/*
 * The memory that ring and device share: two areas, so that what the device
 * has no business to write can be mapped read-only for it.  Offsets are
 * those that VHOST_SET_VRING_ADDR wants: for a packed ring "avail" is the
 * driver's event suppression structure, "used" the device's.
 */
typedef struct SVQRingLayout {
    size_t driver_size;     /* read by the device; bytes, whole host pages */
    size_t device_size;     /* written by the device; bytes, whole host pages */
    bool desc_in_device;    /* the descriptors are in the device's area */
    size_t desc, avail, used; /* offsets in their areas */
} SVQRingLayout;

/* A piece of a buffer, as the device sees it */
typedef struct SVQSeg {
    uint64_t iova;
    uint32_t len;           /* bytes, not 0 */
} SVQSeg;

/* A buffer that came back */
typedef struct SVQUsed {
    void *token;            /* of svq_ring_add() */
    uint32_t len;           /* bytes written by the device */
} SVQUsed;

typedef struct SVQRing SVQRing;

/**
 * svq_ring_layout:
 * @config: the ring
 * @page_size: the host's, bytes
 * @layout: filled in
 *
 * Context: any.
 */
void svq_ring_layout(const SVQRingConfig *config, size_t page_size,
                     SVQRingLayout *layout);

/**
 * svq_ring_new:
 * @config: the ring
 * @driver: memory of @driver_size bytes, aligned to a host page and zeroed;
 *          stays the caller's, until svq_ring_free()
 * @device: the same, of @device_size
 * @driver_iova: where the device finds @driver
 *
 * Returns: an empty ring; free with svq_ring_free().
 */
SVQRing *svq_ring_new(const SVQRingConfig *config, void *driver, void *device,
                      uint64_t driver_iova);

/* Buffers in flight are forgotten; svq_ring_drain() tells which they are. */
void svq_ring_free(SVQRing *ring);

/**
 * svq_ring_fits:
 * @segs: number of pieces
 *
 * Returns: whether a buffer of so many pieces can be added to @ring when
 * it is empty.
 */
bool svq_ring_fits(const SVQRing *ring, unsigned int segs);

/**
 * svq_ring_add:
 * @segs: @out_num pieces for the device to read, then @in_num to write;
 *        copied.  At least one, and together as many as svq_ring_fits()
 *        accepts
 * @token: not NULL, comes back with the buffer
 *
 * Put a buffer into the ring.  The device does not see it before
 * svq_ring_publish().
 *
 * Returns: false, and nothing is changed, if there is no room now.
 */
bool svq_ring_add(SVQRing *ring, const SVQSeg *segs, unsigned int out_num,
                  unsigned int in_num, void *token);

/**
 * svq_ring_publish:
 *
 * Make all buffers added since the last call available, with one store.
 *
 * Returns: whether the device wants a notification for them (VIRTIO 1.2,
 * sections 2.7.10 and 2.8.21.2).  False if there were none.
 */
bool svq_ring_publish(SVQRing *ring);

/**
 * svq_ring_notification_data:
 * @queue: number of the virtqueue
 *
 * Returns: what a notification of what was published so far carries with
 * VIRTIO_F_NOTIFICATION_DATA, in the host's byte order (VIRTIO 1.2, section
 * 2.9).
 */
uint32_t svq_ring_notification_data(const SVQRing *ring, uint16_t queue);

/**
 * svq_ring_has_used:
 *
 * Returns: whether svq_ring_take() would find something, be it a mistake of the
 * device; never after that.  Cheap, for polling.
 */
bool svq_ring_has_used(SVQRing *ring);

/**
 * svq_ring_take:
 * @used: filled in
 * @max: room in @used
 *
 * Take buffers that the device has used.  In order, one used entry can return
 * a run; of buffers in a run that have no entry of their own, all bytes for
 * the device to write count as written (VIRTIO 1.2, sections 2.7.9, 2.8.8).
 *
 * Less than @max does not mean that there are no more: the device's index is
 * read again only by a call that finds nothing left of what the last one read.
 *
 * Returns: how many.  When the device has broken a rule those before it are
 * returned, and from then on none; see svq_ring_error().
 */
unsigned int svq_ring_take(SVQRing *ring, SVQUsed *used, unsigned int max);

/**
 * svq_ring_error:
 *
 * Returns: which rule the device broke, as a message without a line break that
 * belongs to @ring, or NULL.
 */
const char *svq_ring_error(const SVQRing *ring);

/**
 * svq_ring_set_calls:
 * @on: whether the device should notify when it has used buffers
 *
 * Ask the device for notifications, or not to send any; a hint in the case
 * of false.  With an event index, one notification is all that comes of asking:
 * so ask again after each svq_ring_take() before waiting.  It costs nothing
 * where the device has been told already.
 *
 * Returns: after true, whether something was used meanwhile, so that no
 * notification may come for it; as svq_ring_has_used().
 */
bool svq_ring_set_calls(SVQRing *ring, bool on);

/**
 * svq_ring_in_flight:
 *
 * Returns: number of buffers that were added and not taken back.
 */
unsigned int svq_ring_in_flight(const SVQRing *ring);

/**
 * svq_ring_drain:
 * @used: room for svq_ring_in_flight() entries; lengths are 0
 *
 * Take back all buffers in flight, in no particular order, whatever the
 * device makes of it: it has to be reset.  The ring can only be freed then.
 */
void svq_ring_drain(SVQRing *ring, SVQUsed *used);

#endif
