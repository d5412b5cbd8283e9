/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Shadow virtqueues: what the user asked for
 *
 * All of it runs in the main thread, under the BQL.
 */

#include "qemu/osdep.h"
#include "hw/virtio/svq/options.h"
#include "qapi/error.h"
#include "qapi/util.h"

/* The device as error messages speak of it */
typedef struct Target {
    const char *netdev;
    unsigned int queue_pairs;
    unsigned int num_queues;        /* for data */
    bool has_cvq;
} Target;

static const char *plural(const Target *t)
{
    return t->queue_pairs == 1 ? "" : "s";
}

static IOThread *find_iothread(const Target *t, const char *id, Error **errp)
{
    IOThread *iothread = iothread_by_id(id);

    if (!iothread) {
        error_setg(errp, "iothread-vq-mapping of netdev '%s': there is no "
                   "IOThread '%s'; create it first, with an object of type "
                   "'" TYPE_IOTHREAD "'", t->netdev, id);
    }
    return iothread;
}

/*
 * What concerns the list, not the queues: entries that name an IOThread each,
 * a different one, all of them with virtqueues or none.
 */
static bool check_list(const Target *t, const NetdevVhostVDPAIOThreadList *list,
                       Error **errp)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
    const NetdevVhostVDPAIOThreadList *l;

    if (!list) {
        error_setg(errp, "iothread-vq-mapping of netdev '%s' is empty; name an "
                   "IOThread, or leave the option out", t->netdev);
        return false;
    }
    for (l = list; l; l = l->next) {
        const char *id = l->value->iothread;
        IOThread *iothread = find_iothread(t, id, errp);

        if (!iothread) {
            return false;
        }
        if (!g_hash_table_add(seen, iothread)) {
            error_setg(errp, "iothread-vq-mapping of netdev '%s' has two "
                       "entries with IOThread '%s'; make them one",
                       t->netdev, id);
            return false;
        }
        if (l->value->has_vqs != list->value->has_vqs) {
            error_setg(errp, "iothread-vq-mapping of netdev '%s' has 'vqs' for "
                       "IOThread '%s', but none for '%s'; give them for each "
                       "entry, or for no entry", t->netdev,
                       l->value->has_vqs ? id : list->value->iothread,
                       l->value->has_vqs ? list->value->iothread : id);
            return false;
        }
        if (l->value->has_vqs && !l->value->vqs) {
            error_setg(errp, "iothread-vq-mapping of netdev '%s' has an empty "
                       "list 'vqs' for IOThread '%s'; name a virtqueue, or "
                       "leave the entry out", t->netdev, id);
            return false;
        }
    }
    return true;
}

/* Give @queue to @iothread, which the user wants */
static bool assign_queue(const Target *t, IOThread **map, unsigned int queue,
                         IOThread *iothread, const char *id, Error **errp)
{
    if (queue == t->num_queues && t->has_cvq) {
        error_setg(errp, "iothread-vq-mapping of netdev '%s': virtqueue %u, "
                   "for IOThread '%s', is the device's control virtqueue, "
                   "which the main loop serves; leave it out",
                   t->netdev, queue, id);
        return false;
    }
    if (queue >= t->num_queues) {
        error_setg(errp, "iothread-vq-mapping of netdev '%s': there is no "
                   "virtqueue %u for IOThread '%s'; the device has %u queue "
                   "pair%s, virtqueues 0 to %u", t->netdev, queue, id,
                   t->queue_pairs, plural(t), t->num_queues - 1);
        return false;
    }
    if (map[queue]) {
        error_setg(errp, "iothread-vq-mapping of netdev '%s' names virtqueue "
                   "%u a second time, for IOThread '%s'; name each once",
                   t->netdev, queue, id);
        return false;
    }
    map[queue] = iothread;
    return true;
}

static bool assign_named(const Target *t, IOThread **map,
                         const NetdevVhostVDPAIOThreadList *list, Error **errp)
{
    const NetdevVhostVDPAIOThreadList *l;
    const uint16List *vq;
    unsigned int i;

    for (l = list; l; l = l->next) {
        IOThread *iothread = iothread_by_id(l->value->iothread);

        for (vq = l->value->vqs; vq; vq = vq->next) {
            if (!assign_queue(t, map, vq->value, iothread, l->value->iothread,
                              errp)) {
                return false;
            }
        }
    }
    for (i = 0; i < t->num_queues; i++) {
        if (!map[i]) {
            error_setg(errp, "iothread-vq-mapping of netdev '%s' has no "
                       "IOThread for virtqueue %u; the device has %u queue "
                       "pair%s, name each of the virtqueues 0 to %u",
                       t->netdev, i, t->queue_pairs, plural(t),
                       t->num_queues - 1);
            return false;
        }
    }
    return true;
}

/*
 * Nobody said which queue goes where: the IOThreads take turns.  Dealing single
 * queues would put all receive queues into one of two IOThreads and all
 * transmit queues into the other, so that traffic in one direction had one
 * thread only.  So whole pairs are dealt, unless that left an IOThread idle.
 */
static void assign_in_turn(const Target *t, IOThread **map,
                           const NetdevVhostVDPAIOThreadList *list)
{
    const NetdevVhostVDPAIOThreadList *l;
    g_autoptr(GPtrArray) iothreads = g_ptr_array_new();
    unsigned int i;

    for (l = list; l; l = l->next) {
        g_ptr_array_add(iothreads, iothread_by_id(l->value->iothread));
    }
    for (i = 0; i < t->num_queues; i++) {
        unsigned int turn = t->queue_pairs < iothreads->len ? i : i / 2;

        map[i] = g_ptr_array_index(iothreads, turn % iothreads->len);
    }
}

SVQOptions *svq_options_new(const NetdevVhostVDPAOptions *opts,
                            const char *netdev, unsigned int queue_pairs,
                            bool has_cvq, Error **errp)
{
    const Target t = {
        .netdev = netdev,
        .queue_pairs = queue_pairs,
        .num_queues = queue_pairs * 2,
        .has_cvq = has_cvq,
    };
    const NetdevVhostVDPAIOThreadList *list = opts->iothread_vq_mapping;
    g_autofree IOThread **map = NULL;
    SVQOptions *options;
    unsigned int i;

    if ((opts->has_iothread_vq_mapping || opts->has_svq_doorbell) &&
        !opts->x_svq) {
        error_setg(errp, "%s of netdev '%s' is about shadow virtqueues, which "
                   "are off; add x-svq=on", opts->has_svq_doorbell ?
                   "svq-doorbell" : "iothread-vq-mapping", netdev);
        return NULL;
    }
    if (opts->has_iothread_vq_mapping) {
        if (!check_list(&t, list, errp)) {
            return NULL;
        }
        map = g_new0(IOThread *, t.num_queues);
        if (!list->value->has_vqs) {
            assign_in_turn(&t, map, list);
        } else if (!assign_named(&t, map, list, errp)) {
            return NULL;
        }
    }

    options = g_new0(SVQOptions, 1);
    options->doorbell = opts->has_svq_doorbell ? opts->svq_doorbell :
                        ON_OFF_AUTO_AUTO;
    options->num_iothreads = map ? t.num_queues : 0;
    options->iothreads = g_steal_pointer(&map);
    for (i = 0; i < options->num_iothreads; i++) {
        iothread_hold(options->iothreads[i]);
    }
    return options;
}

void svq_options_free(SVQOptions *options)
{
    unsigned int i;

    if (!options) {
        return;
    }
    for (i = 0; i < options->num_iothreads; i++) {
        iothread_release(options->iothreads[i]);
    }
    g_free(options->iothreads);
    g_free(options);
}
