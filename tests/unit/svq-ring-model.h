/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A virtio device that a device ring can be tested with
 *
 * Written from VIRTIO 1.2 and nothing else, slow and strict: whatever a driver
 * must not do ends the process with a message.  It looks at every buffer but
 * not behind the addresses in it, and uses buffers as the test says.
 *
 * Each side has its own mapping of the shared memory, where the area that it
 * only reads is write-protected.
 */

#ifndef TESTS_UNIT_SVQ_RING_MODEL_H
#define TESTS_UNIT_SVQ_RING_MODEL_H

#include "hw/virtio/svq/ring.h"

typedef struct SVQModel SVQModel;

/* A buffer that the device has taken from the ring */
typedef struct SVQModelBuffer {
    uint16_t id;            /* to return it by */
    unsigned int ndescs;    /* of the ring */
    unsigned int out_num;
    unsigned int in_num;
    uint64_t in_len;
    SVQSeg segs[];          /* out_num, then in_num */
} SVQModelBuffer;

/**
 * svq_model_new:
 * @config: the ring
 * @protect: whether to map the memory once for each side; otherwise it is one
 *           mapping, and ThreadSanitizer sees what both do to it
 *
 * Returns: a device that knows of no buffer, for svq_model_free().
 */
SVQModel *svq_model_new(const SVQRingConfig *config, bool protect);
void svq_model_free(SVQModel *model);

/* A ring on the device's memory; free it first, by svq_ring_free(). */
SVQRing *svq_model_ring(SVQModel *model);

/* The device's memory as it sees it, for mistakes made on purpose */
void *svq_model_device_area(SVQModel *model, size_t *size);

/**
 * svq_model_pop:
 *
 * Returns: the next buffer that is available, to free with g_free() once it
 * was used, or NULL.
 */
SVQModelBuffer *svq_model_pop(SVQModel *model);

/**
 * svq_model_use:
 * @run: buffers, one of them unless the device works in order
 * @count: how many
 * @len: bytes written to the last
 *
 * Write one used entry for all.
 */
void svq_model_use(SVQModel *model, SVQModelBuffer *const *run,
                   unsigned int count, uint32_t len);

/**
 * svq_model_flush:
 *
 * Let the driver see what was used.
 *
 * Returns: whether the driver wants a notification for it.
 */
bool svq_model_flush(SVQModel *model);

/* When the device wants to be notified; an event needs the feature */
typedef enum SVQModelKick {
    SVQ_MODEL_KICK_ALWAYS,
    SVQ_MODEL_KICK_NEVER,
    SVQ_MODEL_KICK_EVENT,
} SVQModelKick;

/**
 * svq_model_set_kick:
 * @kick: when to notify
 * @ahead: with SVQ_MODEL_KICK_EVENT: of which one, counted from what the
 *         device takes next, split rings in buffers and packed ones in
 *         descriptors; less than the ring's size there
 *
 * Returns: after anything but SVQ_MODEL_KICK_NEVER, whether there is already
 * something to take.
 */
bool svq_model_set_kick(SVQModel *model, SVQModelKick kick, int ahead);

/**
 * svq_model_kick_due:
 *
 * Returns: whether the driver has to notify the device for what it has
 * published since the last call.
 */
bool svq_model_kick_due(SVQModel *model);

/* What VIRTIO_F_NOTIFICATION_DATA has to say after svq_model_kick_due() */
uint32_t svq_model_notification_data(const SVQModel *model, uint16_t queue);

#endif
