/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Shadow virtqueues: moving buffers between the guest and the device
 *
 * A pass returns what the device has used to the guest, then makes what the
 * guest has added available to the device, each in batches: one publication,
 * one decision about a notification for many buffers.
 *
 * Buffers return to the guest in the order in which the device uses them: of
 * received packets that is the order in which they came, and pieces of one
 * packet stand together.  When the device stops, what was not returned is taken
 * back as if it had never been popped, and another device, or the same one
 * after a reset, goes on there.  But the guest's available ring can only be
 * taken back from its end.  A device that is not in order may have used one
 * buffer, and not another before it; the latter returns empty.
 *
 * What makes a pass run is one of three things:
 *
 *   - the AioContext of an IOThread polls the guest's available ring and the
 *     device's used ring.  Neither side needs to notify then, and is told so;
 *   - an eventfd, when polling has found nothing for a while.  Before anybody
 *     sleeps, notifications are enabled and both rings looked at once more;
 *   - the bottom half, in a context that does not poll, as the main loop's: as
 *     long as passes find something, notifications stay off, and the next pass
 *     comes with the next turn of the loop, which takes more in one batch.
 *
 * Threads.  All of this runs in the queue's AioContext, but for svq_prepare()
 * and svq_finish(), before and after.  The owner of the BQL starts and stops it
 * by a bottom half in that context, and waits: a bottom half runs between two
 * passes, so it sees no pass half done, and none comes after it.  The wait is
 * short, for a pass is bounded and takes no lock but that of SVQNotify; that it
 * never takes the BQL is what makes it safe to wait with the BQL held.  The
 * handover of a queue's fields, from the main thread and back, is ordered by
 * the scheduling of the bottom half and by the event that ends it.
 *
 * Guest memory and the IOVA map change under the BQL while passes run; a pass
 * looks at them in RCU critical sections, and holds the RAM of each buffer from
 * its pop to its return (virtio-ram-map.h).  Where a mapping goes away while
 * the device still has buffers in it, the guest has unplugged memory that it
 * had given away; the device then refuses the access, and QEMU's own memory is
 * never behind an address that once was the guest's, because the rings are
 * mapped only while no buffer is in flight.
 *
 * The counters are written by the queue's thread only, and read by any.
 */

#include "qemu/osdep.h"
#include "hw/virtio/svq/queue.h"
#include "qemu/atomic.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "trace.h"

/* Buffers that a pass gives to the device, at most, so that it ends */
#define SVQ_PASS    256

/*
 * Buffers that go back and forth in one turn of a loop that does not poll,
 * about: a turn costs as much as many buffers do, but others wait for it
 */
#define SVQ_TURN    1024

static void svq_count(uint64_t *counter, uint64_t n)
{
    qatomic_set_u64(counter, *counter + n);
}

static void svq_detach(VhostShadowVirtqueue *svq)
{
    aio_set_event_notifier(svq->ctx, &svq->guest_kick, false, NULL, NULL, NULL);
    aio_set_event_notifier(svq->ctx, &svq->notify.call, false, NULL, NULL,
                           NULL);
    qemu_bh_cancel(svq->work_bh);
}

void svq_break(VhostShadowVirtqueue *svq, const char *fmt, ...)
{
    va_list ap;

    if (svq->broken) {
        return;
    }

    va_start(ap, fmt);
    g_free(svq->error);
    svq->error = g_strdup_vprintf(fmt, ap);
    va_end(ap);

    trace_svq_break(svq, svq->index, svq->error);
    qatomic_set(&svq->broken, true);
    svq_detach(svq);
    /* To tell the guest takes the BQL */
    qemu_bh_schedule(svq->error_bh);
}

void svq_report(VhostShadowVirtqueue *svq)
{
    g_autofree char *error = NULL;

    if (svq->vq && qatomic_read(&svq->broken)) {
        error = g_steal_pointer(&svq->error);
    }
    if (error) {
        virtqueue_error(svq->vq, "%s", error);
    }
}

/* From the device to the guest */

static void svq_interrupt(VhostShadowVirtqueue *svq)
{
    if (virtio_queue_should_notify(svq->vdev, svq->vq)) {
        svq_count(&svq->stats.interrupts, 1);
        svq_notify_guest(&svq->notify);
    } else {
        svq_count(&svq->stats.interrupts_suppressed, 1);
    }
}

/* Within rcu_read_lock(); @idx of them were filled before */
static void svq_return(VhostShadowVirtqueue *svq, SVQElem *e, uint32_t len,
                       unsigned int idx)
{
    svq->returned = MAX(svq->returned, e->seq);
    virtqueue_fill(svq->vq, &e->elem, len, idx);
    virtqueue_free_element(svq->vq, e);
}

/* Within rcu_read_lock() */
static void svq_flush(VhostShadowVirtqueue *svq, unsigned int n)
{
    virtqueue_flush(svq->vq, n);
    qatomic_set(&svq->held, svq->held - n);
    svq_count(&svq->stats.returned, n);
}

/*
 * All that the device has published when it is looked at goes to the guest in
 * one publication: a received packet may be made of several buffers, and a
 * driver that finds the first expects to find the others (VIRTIO 1.2, section
 * 5.1.6.4.1).  That is never more than the ring holds.
 *
 * Returns: how many buffers the device has used.
 */
static unsigned int svq_take_used(VhostShadowVirtqueue *svq)
{
    unsigned int taken = 0, n, i;
    SVQUsed used[SVQ_BATCH];

    WITH_RCU_READ_LOCK_GUARD() {
        do {
            n = svq_ring_take(svq->ring, used, ARRAY_SIZE(used));
            for (i = 0; i < n && !svq->ops; i++) {
                svq_return(svq, used[i].token, used[i].len, taken + i);
            }
            taken += n;
        } while (n == ARRAY_SIZE(used));
        if (taken && !svq->ops) {
            svq_flush(svq, taken);
        }
    }

    if (taken && !svq->ops) {
        svq_interrupt(svq);
    }
    if (unlikely(svq_ring_error(svq->ring))) {
        svq_break(svq, "the vDPA device broke a rule: %s",
                  svq_ring_error(svq->ring));
    }
    return taken;
}

/* From the guest to the device */

/*
 * Find the pieces of @iov for the device, and append them to svq->segs, of
 * which @n are in use.  Within rcu_read_lock().
 *
 * Returns: how many are in use then, or 0 if there are too many, or if some
 * memory is not the device's to use.
 */
static unsigned int svq_translate(VhostShadowVirtqueue *svq,
                                  const struct iovec *iov, unsigned int num,
                                  bool write, unsigned int n)
{
    SVQIOVAMap *map = svq_device_map(svq->dev);
    unsigned int i;

    for (i = 0; i < num; i++) {
        const uint8_t *host = iov[i].iov_base;
        uint64_t len = iov[i].iov_len, run;

        while (len) {
            uint64_t iova = svq_iova_map_translate(map, &svq->hint, host, len,
                                                   write, &run);

            if (unlikely(iova == UINT64_MAX || n == svq->max_segs)) {
                return 0;
            }
            svq->segs[n].iova = iova;
            svq->segs[n++].len = run;
            if (unlikely(run != len)) {
                svq_count(&svq->stats.split_translations, 1);
            }
            host += run;
            len -= run;
        }
    }
    return n;
}

/*
 * Put a buffer into the device ring.  Within rcu_read_lock().
 *
 * Returns: 1 when it is there, 0 when it has to wait for room, -1 when it can
 * never be there.
 */
static int svq_add_sg(VhostShadowVirtqueue *svq, const struct iovec *out,
                      unsigned int out_num, const struct iovec *in,
                      unsigned int in_num, void *token)
{
    unsigned int readable = 0, total;

    if (out_num) {
        readable = svq_translate(svq, out, out_num, false, 0);
        if (unlikely(!readable)) {
            return -1;
        }
    }
    total = svq_translate(svq, in, in_num, true, readable);
    if (unlikely(!total || !svq_ring_fits(svq->ring, total))) {
        return -1;
    }
    return svq_ring_add(svq->ring, svq->segs, readable, total - readable,
                        token);
}

static void svq_publish(VhostShadowVirtqueue *svq)
{
    if (!svq_ring_publish(svq->ring)) {
        svq_count(&svq->stats.kicks_suppressed, 1);
    } else if (svq_notify_device(&svq->notify,
                                 svq_ring_notification_data(svq->ring,
                                                            svq->index))) {
        svq_count(&svq->stats.kicks_doorbell, 1);
    } else {
        svq_count(&svq->stats.kicks_eventfd, 1);
    }
    svq_count(&svq->stats.batches, 1);
}

/* Buffers that are popped go to the device.  Within rcu_read_lock(). */
static unsigned int svq_add_waiting(VhostShadowVirtqueue *svq)
{
    unsigned int n = 0;

    for (; svq->num_waiting; svq->first_waiting++, svq->num_waiting--, n++) {
        SVQElem *e = (SVQElem *)svq->waiting[svq->first_waiting];
        int ret = svq_add_sg(svq, e->elem.out_sg, e->elem.out_num,
                             e->elem.in_sg, e->elem.in_num, e);

        if (unlikely(ret < 0)) {
            svq_break(svq, "buffer %u of %u + %u pieces cannot be given to the "
                      "vDPA device: it is not in RAM that the device can use, "
                      "or has more pieces than a ring of %u holds",
                      e->elem.index, e->elem.out_num, e->elem.in_num,
                      svq->config.num);
            return n;
        }
        if (unlikely(!ret)) {
            if (!svq->full) {
                svq->full = true;
                svq_count(&svq->stats.full_waits, 1);
                trace_svq_full(svq, svq->index);
            }
            return n;
        }
    }
    svq->full = false;
    return n;
}

/* Returns how many buffers are waiting then.  Within rcu_read_lock(). */
static unsigned int svq_pop(VhostShadowVirtqueue *svq)
{
    unsigned int i, n = virtqueue_pop_batch(svq->vq, sizeof(SVQElem),
                                            svq->waiting, SVQ_BATCH);

    for (i = 0; i < n; i++) {
        ((SVQElem *)svq->waiting[i])->seq = ++svq->popped;
    }
    svq->first_waiting = 0;
    svq->num_waiting = n;
    qatomic_set(&svq->held, svq->held + n);
    return n;
}

/* Buffers of a queue with @ops are not forwarded, but handed to it. */
static unsigned int svq_hand_over(VhostShadowVirtqueue *svq)
{
    unsigned int n;

    for (n = 0; n < SVQ_PASS; n++) {
        VirtQueueElement *elem = virtqueue_pop(svq->vq, sizeof(*elem));

        if (!elem) {
            break;
        }
        svq->ops->avail_handler(svq, elem, svq->opaque);
    }
    return n;
}

/* Returns how many buffers were given to the device. */
static unsigned int svq_take_avail(VhostShadowVirtqueue *svq)
{
    unsigned int moved = 0;

    if (svq->ops) {
        return svq_hand_over(svq);
    }

    RCU_READ_LOCK_GUARD();
    while (!svq->broken && moved < SVQ_PASS) {
        unsigned int n;

        if (!svq->num_waiting && !svq_pop(svq)) {
            break;
        }

        n = svq_add_waiting(svq);
        if (n) {
            svq_publish(svq);
            svq_count(&svq->stats.forwarded, n);
        }
        moved += n;
        if (svq->full) {
            break;
        }
    }
    return moved;
}

/* What makes it run */

static unsigned int svq_pass(VhostShadowVirtqueue *svq)
{
    unsigned int n = svq_take_used(svq);

    return n + (svq->broken ? 0 : svq_take_avail(svq));
}

/* A pass, but the second half only if it has waited for the first */
static unsigned int svq_make_room(VhostShadowVirtqueue *svq)
{
    unsigned int n = svq_take_used(svq);

    return n + (svq->full && !svq->broken ? svq_take_avail(svq) : 0);
}

static bool svq_guest_has_more(VhostShadowVirtqueue *svq)
{
    /* While the device ring is full, it is the device's turn */
    return !svq->full && !virtio_queue_empty(svq->vq);
}

/*
 * Ask both sides for notifications, or not to bother.
 *
 * Returns: after true, whether there was more meanwhile.
 */
static bool svq_set_events(VhostShadowVirtqueue *svq, bool on)
{
    bool more;

    virtio_queue_set_notification(svq->vq, on && !svq->full);
    more = svq_ring_set_calls(svq->ring, on);
    return on && (more || svq_guest_has_more(svq));
}

/* A pass that an eventfd or the bottom half asked for */
static void svq_work(VhostShadowVirtqueue *svq)
{
    bool polling = svq->ctx->poll_max_ns;
    unsigned int n, total = 0;

    if (svq->polled) {
        svq_pass(svq);
        return;
    }

    svq_set_events(svq, false);
    do {
        n = svq_pass(svq);
        total += n;
    } while (n >= SVQ_BATCH && total < SVQ_TURN && !svq->broken);
    if (svq->broken) {
        return;
    }
    if (total && !polling) {
        qemu_bh_schedule(svq->work_bh);
        return;
    }
    if (!svq_set_events(svq, true)) {
        return;
    }
    if (polling) {
        /* A bottom half would keep the AioContext from beginning to poll */
        svq->self_call = true;
        event_notifier_set(&svq->notify.call);
    } else {
        svq_set_events(svq, false);
        qemu_bh_schedule(svq->work_bh);
    }
}

static void svq_work_bh(void *opaque)
{
    svq_work(opaque);
}

/* The AioContext has polled, and found something for @fn to do */
static void svq_poll_ready(VhostShadowVirtqueue *svq,
                           unsigned int (*fn)(VhostShadowVirtqueue *svq))
{
    svq_count(&svq->stats.poll_hits, 1);
    if (svq->polled) {
        fn(svq);
    } else {
        /* That was the last time: whatever is left needs a notification */
        svq_work(svq);
    }
}

static void svq_guest_kick_read(EventNotifier *n)
{
    VhostShadowVirtqueue *svq = container_of(n, VhostShadowVirtqueue,
                                             guest_kick);

    if (event_notifier_test_and_clear(n)) {
        svq_count(&svq->stats.guest_kicks, 1);
        svq_work(svq);
    }
}

static bool svq_guest_kick_poll(void *opaque)
{
    VhostShadowVirtqueue *svq = container_of(opaque, VhostShadowVirtqueue,
                                             guest_kick);

    return svq_guest_has_more(svq);
}

static void svq_guest_kick_poll_ready(EventNotifier *n)
{
    VhostShadowVirtqueue *svq = container_of(n, VhostShadowVirtqueue,
                                             guest_kick);

    svq_poll_ready(svq, svq_take_avail);
}

static void svq_guest_kick_poll_begin(EventNotifier *n)
{
    VhostShadowVirtqueue *svq = container_of(n, VhostShadowVirtqueue,
                                             guest_kick);

    svq->polled = true;
    virtio_queue_set_notification(svq->vq, false);
}

static void svq_guest_kick_poll_end(EventNotifier *n)
{
    VhostShadowVirtqueue *svq = container_of(n, VhostShadowVirtqueue,
                                             guest_kick);

    /* The AioContext polls once more after this */
    svq->polled = false;
    virtio_queue_set_notification(svq->vq, !svq->full);
}

static void svq_device_call_read(EventNotifier *n)
{
    VhostShadowVirtqueue *svq = container_of(n, VhostShadowVirtqueue,
                                             notify.call);

    if (event_notifier_test_and_clear(n)) {
        if (!svq->self_call) {
            svq_count(&svq->stats.device_calls, 1);
        }
        svq->self_call = false;
        svq_work(svq);
    }
}

static bool svq_device_call_poll(void *opaque)
{
    VhostShadowVirtqueue *svq = container_of(opaque, VhostShadowVirtqueue,
                                             notify.call);

    return svq_ring_has_used(svq->ring);
}

static void svq_device_call_poll_ready(EventNotifier *n)
{
    VhostShadowVirtqueue *svq = container_of(n, VhostShadowVirtqueue,
                                             notify.call);

    svq_poll_ready(svq, svq_make_room);
}

static void svq_device_call_poll_begin(EventNotifier *n)
{
    VhostShadowVirtqueue *svq = container_of(n, VhostShadowVirtqueue,
                                             notify.call);

    svq_ring_set_calls(svq->ring, false);
}

static void svq_device_call_poll_end(EventNotifier *n)
{
    VhostShadowVirtqueue *svq = container_of(n, VhostShadowVirtqueue,
                                             notify.call);

    svq_ring_set_calls(svq->ring, true);
}

/* Starting and stopping */

static void svq_attach(VhostShadowVirtqueue *svq)
{
    aio_set_event_notifier(svq->ctx, &svq->guest_kick, false,
                           svq_guest_kick_read, svq_guest_kick_poll,
                           svq_guest_kick_poll_ready);
    aio_set_event_notifier_poll(svq->ctx, &svq->guest_kick,
                                svq_guest_kick_poll_begin,
                                svq_guest_kick_poll_end);
    aio_set_event_notifier(svq->ctx, &svq->notify.call, false,
                           svq_device_call_read, svq_device_call_poll,
                           svq_device_call_poll_ready);
    aio_set_event_notifier_poll(svq->ctx, &svq->notify.call,
                                svq_device_call_poll_begin,
                                svq_device_call_poll_end);
    qemu_bh_schedule(svq->work_bh);
}

typedef struct SVQCall {
    VhostShadowVirtqueue *svq;
    void (*fn)(VhostShadowVirtqueue *svq);
    QemuEvent done;
} SVQCall;

static void svq_call_bh(void *opaque)
{
    SVQCall *call = opaque;

    call->fn(call->svq);
    qemu_event_set(&call->done);
}

/* Call @fn in the queue's thread, and wait for its end */
static void svq_call(VhostShadowVirtqueue *svq,
                     void (*fn)(VhostShadowVirtqueue *svq))
{
    SVQCall call = { .svq = svq, .fn = fn };

    if (!svq->iothread) {
        /* Handlers of the main loop run under the BQL, which is ours now */
        fn(svq);
        return;
    }
    qemu_event_init(&call.done, false);
    aio_bh_schedule_oneshot(svq->ctx, svq_call_bh, &call);
    qemu_event_wait(&call.done);
    qemu_event_destroy(&call.done);
}

void svq_run(VhostShadowVirtqueue *svq)
{
    trace_svq_run(svq, svq->index);
    svq->running = true;
    svq_call(svq, svq_attach);
}

void svq_halt(VhostShadowVirtqueue *svq)
{
    if (!svq->running) {
        return;
    }
    svq->running = false;
    svq_call(svq, svq_detach);
    trace_svq_halt(svq, svq->index);
}

void svq_prepare(VhostShadowVirtqueue *svq, VirtIODevice *vdev, VirtQueue *vq,
                 unsigned int index)
{
    svq->vdev = vdev;
    svq->vq = vq;
    svq->index = index;
    svq->ctx = svq->iothread ? iothread_get_aio_context(svq->iothread)
                             : iohandler_get_aio_context();
    svq->work_bh = aio_bh_new(svq->ctx, svq_work_bh, svq);
    virtio_queue_set_ram_only(vq, svq->iothread);
    svq->first_waiting = svq->num_waiting = 0;
    svq->popped = svq->returned = 0;
    qatomic_set(&svq->held, 0);
    svq->max_segs = VIRTQUEUE_MAX_SIZE;
    svq->segs = g_new(SVQSeg, svq->max_segs);
    svq->full = svq->polled = svq->self_call = false;
    qatomic_set(&svq->broken, false);
}

static void svq_unpop(VhostShadowVirtqueue *svq, VirtQueueElement *elem)
{
    virtqueue_unpop(svq->vq, elem, 0);
    virtqueue_free_element(svq->vq, elem);
}

static int svq_compare_seq(const void *a, const void *b)
{
    const SVQElem *left = ((const SVQUsed *)a)->token;
    const SVQElem *right = ((const SVQUsed *)b)->token;

    return left->seq < right->seq ? -1 : left->seq > right->seq;
}

/* Take everything back from the device ring, and from those that wait for it */
static void svq_take_back(VhostShadowVirtqueue *svq)
{
    unsigned int i, num = svq_ring_in_flight(svq->ring);
    g_autofree SVQUsed *rest = g_new(SVQUsed, num);

    svq_ring_drain(svq->ring, rest);
    if (svq->ops) {
        return;
    }

    while (svq->num_waiting) {
        svq->num_waiting--;
        svq_unpop(svq, svq->waiting[svq->first_waiting + svq->num_waiting]);
    }
    qsort(rest, num, sizeof(*rest), svq_compare_seq);
    while (num && ((SVQElem *)rest[num - 1].token)->seq > svq->returned) {
        svq_unpop(svq, rest[--num].token);
    }

    /* One behind these was returned, so the guest will not offer them again */
    if (num) {
        trace_svq_return_empty(svq, svq->index, num);
        WITH_RCU_READ_LOCK_GUARD() {
            for (i = 0; i < num; i++) {
                svq_return(svq, rest[i].token, 0, i);
            }
            svq_flush(svq, num);
        }
        svq_interrupt(svq);
    }
}

void svq_finish(VhostShadowVirtqueue *svq)
{
    /* The device has stopped, so this comes to an end */
    while (!svq->broken && svq_take_used(svq)) {
        continue;
    }
    svq_take_back(svq);

    virtio_queue_set_ram_only(svq->vq, false);
    svq_report(svq);
    qemu_bh_delete(svq->work_bh);
    svq->work_bh = NULL;
    g_clear_pointer(&svq->segs, g_free);
    svq->ctx = NULL;
    svq->vq = NULL;
}

/* Buffers of QEMU's own */

int svq_add(VhostShadowVirtqueue *svq, const struct iovec *out,
            unsigned int out_num, const struct iovec *in, unsigned int in_num)
{
    int ret;

    if (!svq->vq) {
        return -EINVAL;
    }

    RCU_READ_LOCK_GUARD();
    svq->own++;
    ret = svq_add_sg(svq, out, out_num, in, in_num,
                     (void *)(uintptr_t)svq->own);
    if (ret <= 0) {
        return ret ? -EINVAL : -ENOSPC;
    }
    svq_publish(svq);
    svq_count(&svq->stats.forwarded, 1);
    return 0;
}

size_t svq_poll(VhostShadowVirtqueue *svq)
{
    int64_t end = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;
    SVQUsed used;

    do {
        /* An answer to an earlier command, too late, is nobody's any more */
        while (svq_ring_take(svq->ring, &used, 1)) {
            svq_count(&svq->stats.returned, 1);
            if (used.token == (void *)(uintptr_t)svq->own) {
                return used.len;
            }
        }
    } while (!svq_ring_error(svq->ring) && g_get_monotonic_time() < end);

    if (svq_ring_error(svq->ring)) {
        svq_break(svq, "the vDPA device broke a rule: %s",
                  svq_ring_error(svq->ring));
    }
    return 0;
}

void svq_push_elem(VhostShadowVirtqueue *svq, const VirtQueueElement *elem,
                   uint32_t len)
{
    virtqueue_push(svq->vq, elem, len);
    svq_interrupt(svq);
}
