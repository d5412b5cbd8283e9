/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Shadow virtqueues: what they do, for the monitor
 *
 * All of it runs in the main thread, under the BQL, while the queues may run in
 * their threads: svq_for_each() gives counts that are whole, but not all of the
 * same moment.
 */

#include "qemu/osdep.h"
#include "hw/virtio/svq/svq.h"
#include "monitor/hmp.h"
#include "monitor/monitor.h"
#include "net/net.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-virtio.h"
#include "qapi/qmp/qdict.h"

typedef struct Query {
    const char *netdev;                 /* NULL: all */
    VhostSvqInfoList **tail;
} Query;

static VhostSvqRing *ring_info(const SVQInfo *info)
{
    VhostSvqRing *ring = g_new0(VhostSvqRing, 1);
    VhostSvqFeatureList **tail = &ring->features;

    ring->layout = info->ring.packed ? VIRT_QUEUE_LAYOUT_PACKED :
                   VIRT_QUEUE_LAYOUT_SPLIT;
    ring->size = info->ring.num;
    if (info->ring.in_order) {
        QAPI_LIST_APPEND(tail, VHOST_SVQ_FEATURE_IN_ORDER);
    }
    if (info->ring.indirect) {
        QAPI_LIST_APPEND(tail, VHOST_SVQ_FEATURE_INDIRECT_DESC);
    }
    if (info->ring.event_idx) {
        QAPI_LIST_APPEND(tail, VHOST_SVQ_FEATURE_EVENT_IDX);
    }
    if (info->notification_data) {
        QAPI_LIST_APPEND(tail, VHOST_SVQ_FEATURE_NOTIFICATION_DATA);
    }
    return ring;
}

static VhostSvqStats *stats_info(const SVQStats *stats)
{
    VhostSvqStats *s = g_new0(VhostSvqStats, 1);

    s->forwarded = stats->forwarded;
    s->returned = stats->returned;
    s->batches = stats->batches;
    s->kicks_doorbell = stats->kicks_doorbell;
    s->kicks_eventfd = stats->kicks_eventfd;
    s->kicks_suppressed = stats->kicks_suppressed;
    s->interrupts = stats->interrupts;
    s->interrupts_suppressed = stats->interrupts_suppressed;
    s->guest_kicks = stats->guest_kicks;
    s->device_calls = stats->device_calls;
    s->poll_hits = stats->poll_hits;
    s->full_waits = stats->full_waits;
    s->split_translations = stats->split_translations;
    return s;
}

static void add_queue(const SVQInfo *info, void *opaque)
{
    Query *query = opaque;
    VhostSvqInfo *q;

    if (query->netdev && strcmp(query->netdev, info->netdev)) {
        return;
    }
    q = g_new0(VhostSvqInfo, 1);
    q->netdev = g_strdup(info->netdev);
    q->queue = info->queue;
    q->running = info->running;
    q->broken = info->broken;
    q->has_iothread = info->iothread;
    q->iothread = g_strdup(info->iothread);
    q->has_kick = info->running;
    q->kick = info->doorbell ? VHOST_SVQ_KICK_DOORBELL : VHOST_SVQ_KICK_EVENTFD;
    q->has_ring = info->ring.num;
    q->ring = q->has_ring ? ring_info(info) : NULL;
    q->in_flight = info->in_flight;
    q->stats = stats_info(&info->stats);
    QAPI_LIST_APPEND(query->tail, q);
}

VhostSvqInfoList *qmp_x_query_vhost_svq(bool has_netdev, const char *netdev,
                                        Error **errp)
{
    VhostSvqInfoList *list = NULL;
    Query query = {
        .netdev = has_netdev ? netdev : NULL,
        .tail = &list,
    };

    if (has_netdev && !qemu_find_netdev(netdev)) {
        error_set(errp, ERROR_CLASS_DEVICE_NOT_FOUND,
                  "Network back end '%s' not found", netdev);
        return NULL;
    }
    svq_for_each(add_queue, &query);
    return list;
}

static void print_ring(Monitor *mon, const VhostSvqRing *ring)
{
    const VhostSvqFeatureList *f;

    monitor_printf(mon, "  %-22s %s, %" PRIu32 " entries", "ring:",
                   VirtQueueLayout_str(ring->layout), ring->size);
    for (f = ring->features; f; f = f->next) {
        monitor_printf(mon, ", %s", VhostSvqFeature_str(f->value));
    }
    monitor_printf(mon, "\n");
}

static void print_count(Monitor *mon, const char *name, uint64_t count)
{
    monitor_printf(mon, "  %-22s %" PRIu64 "\n", name, count);
}

static void print_queue(Monitor *mon, const VhostSvqInfo *q)
{
    const VhostSvqStats *s = q->stats;

    monitor_printf(mon, "%s, virtqueue %u: %s\n", q->netdev, q->queue,
                   q->broken ? "broken" : q->running ? "running" : "stopped");
    monitor_printf(mon, "  %-22s %s\n", "iothread:",
                   q->has_iothread ? q->iothread : "(main loop)");
    if (q->has_ring) {
        print_ring(mon, q->ring);
    }
    if (q->has_kick) {
        monitor_printf(mon, "  %-22s %s\n", "kick:",
                       VhostSvqKick_str(q->kick));
    }
    print_count(mon, "in_flight:", q->in_flight);
    print_count(mon, "forwarded:", s->forwarded);
    print_count(mon, "returned:", s->returned);
    print_count(mon, "batches:", s->batches);
    print_count(mon, "kicks_doorbell:", s->kicks_doorbell);
    print_count(mon, "kicks_eventfd:", s->kicks_eventfd);
    print_count(mon, "kicks_suppressed:", s->kicks_suppressed);
    print_count(mon, "interrupts:", s->interrupts);
    print_count(mon, "interrupts_suppressed:", s->interrupts_suppressed);
    print_count(mon, "guest_kicks:", s->guest_kicks);
    print_count(mon, "device_calls:", s->device_calls);
    print_count(mon, "poll_hits:", s->poll_hits);
    print_count(mon, "full_waits:", s->full_waits);
    print_count(mon, "split_translations:", s->split_translations);
}

void hmp_info_vhost_svq(Monitor *mon, const QDict *qdict)
{
    const char *netdev = qdict_get_try_str(qdict, "netdev");
    Error *err = NULL;
    g_autoptr(VhostSvqInfoList) list = NULL;
    const VhostSvqInfoList *l;

    list = qmp_x_query_vhost_svq(netdev, netdev, &err);
    if (err) {
        hmp_handle_error(mon, err);
        return;
    }
    if (!list) {
        monitor_printf(mon, "No shadow virtqueues\n");
    }
    for (l = list; l; l = l->next) {
        print_queue(mon, l->value);
    }
}
