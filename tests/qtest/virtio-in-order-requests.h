/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: requests to the disks of virtio-in-order-rig.h
 *
 * The test has an array of requests, which it adds to a queue as often as it
 * likes.  They may come back in any order that the queue allows; each has to
 * succeed, with the length that its type and size make.
 *
 * Everything here runs in the test's one thread, on the rig of rig_get().
 */

#ifndef TESTS_QTEST_VIRTIO_IN_ORDER_REQUESTS_H
#define TESTS_QTEST_VIRTIO_IN_ORDER_REQUESTS_H

#include "virtio-in-order-rig.h"

/* What disks count in, bytes */
#define SECTOR          512

typedef struct Request {
    uint64_t mem;               /* guest address of header and status */
    uint64_t data;              /* guest address of the data */
    uint32_t id;                /* of its buffer */
    uint32_t type;
    uint64_t sector;
    size_t len;                 /* bytes of data */
    uint32_t pattern;           /* what data to write follows from */
    bool done;
} Request;

/* Where a part of the data is */
typedef struct Piece {
    uint64_t addr;              /* as the device sees memory */
    uint32_t len;               /* bytes */
} Piece;

/**
 * pattern_fill: make data that can be checked
 * @buf: where to
 * @len: bytes
 * @x: what they follow from
 */
void pattern_fill(uint8_t *buf, size_t len, uint32_t x);

/**
 * request_init: get the memory of a request
 * @req: set to guest memory that becomes free with the next dev_start()
 * @len: bytes of data that it may have at most
 */
void request_init(Request *req, size_t len);

/**
 * request_add: add a request to a ring
 * @req: a request with memory, not in flight; with a pattern, if data is to
 *       be written
 * @vq: a queue of a disk
 * @type: VIRTIO_BLK_T_IN, _OUT or _GET_ID
 * @sector: where on the disk
 * @len: bytes of data
 * @pieces: descriptors of the same length to spread the data over; a header
 *          and a status come on top
 * @indirect: in an indirect table
 *
 * Not visible to the device before qvring_publish() of @req->id.  The test
 * stops when the ring has no room.
 */
void request_add(Request *req, QVirtQueue *vq, uint32_t type,
                 uint64_t sector, size_t len, unsigned pieces,
                 bool indirect);

/**
 * request_add_pieces: the same with data that is anywhere
 * @req: a request, not in flight; its @data and @pattern are not used
 * @vq: a queue of a disk
 * @type: VIRTIO_BLK_T_IN, _OUT or _GET_ID
 * @sector: where on the disk
 * @pieces: the data, a descriptor each
 * @n: number of them
 * @indirect: in an indirect table
 *
 * The data is not touched.  The test stops when the ring has no room.
 */
void request_add_pieces(Request *req, QVirtQueue *vq, uint32_t type,
                        uint64_t sector, const Piece *pieces, unsigned n,
                        bool indirect);

/**
 * request_take: take a used buffer, if there is one, and check what it says
 * @reqs: all requests that were added to the ring
 * @n: number of them
 * @vq: the queue
 *
 * The test stops when it belongs to no request that is in flight, when the
 * request failed, or when its length is wrong.
 *
 * Returns: the request of @reqs that is done, or NULL
 */
Request *request_take(Request *reqs, unsigned n, QVirtQueue *vq);

/**
 * requests_finish: wait for all requests
 * @reqs: all requests that were added to the ring
 * @n: number of them
 * @vq: the queue
 * @what: what is going on, for the message
 *
 * Virtual time goes on meanwhile, which DEV_SLOW needs.  The test stops as in
 * request_take(), when they are not all done after RIG_TIMEOUT_US, or as in
 * qvring_check_idle().
 */
void requests_finish(Request *reqs, unsigned n, QVirtQueue *vq,
                     const char *what);

#endif
