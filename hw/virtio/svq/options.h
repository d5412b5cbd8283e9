/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Shadow virtqueues: what the user asked for
 *
 * The members of NetdevVhostVDPAOptions (qapi/net.json) that are about shadow
 * virtqueues, checked against the device and in the form that the forwarder
 * wants them in.
 */

#ifndef HW_VIRTIO_SVQ_OPTIONS_H
#define HW_VIRTIO_SVQ_OPTIONS_H

#include "qapi/qapi-types-net.h"
#include "sysemu/iothread.h"

/* Written by svq_options_new() and not changed afterwards */
typedef struct SVQOptions {
    OnOffAuto doorbell;         /* svq-doorbell */
    IOThread **iothreads;       /* by virtqueue; NULL: all in the main loop */
    unsigned int num_iothreads; /* entries of @iothreads */
} SVQOptions;

/**
 * svq_options_new:
 * @opts: what the user gave
 * @netdev: ID of the network back end, for error messages
 * @queue_pairs: pairs of data virtqueues that the device has, at least 1
 * @has_cvq: whether it has a control virtqueue
 * @errp: set if the options cannot be had together, or with this device
 *
 * With an ``iothread-vq-mapping``, the result's iothreads has an entry for each
 * data virtqueue.  Those IOThreads are held (see iothread_hold()), so that
 * they run until svq_options_free().
 *
 * Context: BQL.
 *
 * Returns: the options, the caller's to free; or NULL, with @errp set.
 */
SVQOptions *svq_options_new(const NetdevVhostVDPAOptions *opts,
                            const char *netdev, unsigned int queue_pairs,
                            bool has_cvq, Error **errp);

/**
 * svq_options_free:
 * @options: from svq_options_new(), or NULL
 *
 * Release the IOThreads, none of which may still work for the caller.
 *
 * Context: BQL.
 */
void svq_options_free(SVQOptions *options);

/**
 * svq_options_iothread:
 * @options: from svq_options_new()
 * @queue: number of a virtqueue
 *
 * Returns: the IOThread that is to forward the virtqueue's buffers, or NULL if
 * the main loop is.
 */
static inline IOThread *svq_options_iothread(const SVQOptions *options,
                                             unsigned int queue)
{
    return queue < options->num_iothreads ? options->iothreads[queue] : NULL;
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(SVQOptions, svq_options_free)

#endif
