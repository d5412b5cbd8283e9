/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: disks with virtqueues of both layouts, with and without
 * VIRTIO_F_IN_ORDER
 */

#include "qemu/osdep.h"
#include "virtio-in-order-cases.h"
#include "virtio-in-order-requests.h"
#include "standard-headers/linux/virtio_blk.h"

static void blk_one(unsigned size, bool indirect, unsigned pieces)
{
    g_autofree char *what = g_strdup_printf("%s requests, ring of %u",
                                            indirect ? "indirect" : "direct",
                                            size);
    unsigned n = indirect ? size : size / (pieces + 2);
    g_autofree Request *reqs = g_new0(Request, n);
    size_t len = pieces * SECTOR;
    g_autofree uint8_t *want = g_malloc(len);
    unsigned round, i;
    QVirtQueue *vq;
    Dev *dev;

    dev = dev_start(DEV_BLK, NO_EVENT_IDX);
    vq = queue_setup(dev, 0, size);
    qvirtio_set_driver_ok(dev->vdev);
    for (i = 0; i < n; i++) {
        request_init(&reqs[i], len);
    }
    for (round = 0; round < 4; round++) {
        bool out = !(round & 1);

        for (i = 0; i < n; i++) {
            reqs[i].pattern = i + (round / 2) * 1000;
            request_add(&reqs[i], vq, out ? VIRTIO_BLK_T_OUT :
                        VIRTIO_BLK_T_IN, (uint64_t)i * pieces, len, pieces,
                        indirect);
        }
        qvring_publish(rig->qts, vq, reqs[n - 1].id);
        qvring_notify(rig->qts, vq);
        requests_finish(reqs, n, vq, what);
        for (i = 0; !out && i < n; i++) {
            pattern_fill(want, len, reqs[i].pattern);
            g_assert_cmpmem(guest(reqs[i].data, len), len, want, len);
        }
    }
    qvirtio_reset(dev->vdev);
    queue_free(dev, vq);
}

/*
 * Disk requests: the whole ring in flight, each with its own length; chains as
 * long as the ring.  If this fails, requests whose completion the host's
 * kernel reorders come back in the wrong order, with the wrong length, or not
 * at all.
 */
void test_blk(const void *data)
{
    /* A request has three descriptors at least, and no more than the ring */
    static const unsigned split[] = { 4, 256 };
    static const unsigned packed[] = { 3, 100, 641 };
    const Mode *mode = data;
    unsigned i;

    if (!can_run(mode)) {
        return;
    }
    rig_get(mode);
    for (i = 0; i < ARRAY_SIZE(split) + ARRAY_SIZE(packed); i++) {
        bool odd = i >= ARRAY_SIZE(split);
        unsigned size = odd ? packed[i - ARRAY_SIZE(split)] : split[i];

        if (odd && !mode->packed) {
            break;
        }
        blk_one(size, true, 1);
        blk_one(size, false, 1);
        blk_one(size, false, size - 2);
    }
}

/*
 * Requests that overtake each other: reads of a throttled disk wait, the
 * questions for its serial number behind them do not.  If this fails, an
 * in-order device returns buffers out of order, or does not return those that
 * it had to keep back once it can; without in-order, it keeps them back for
 * no reason.
 */
void test_blk_overtake(const void *data)
{
    enum { READS = 3, IDS = 12, COUNT = READS + IDS };
    const Mode *mode = data;
    Request reqs[COUNT] = { 0 };
    unsigned done = 0, round, i;
    QVirtQueue *vq;
    Dev *dev;

    if (!can_run(mode)) {
        return;
    }
    rig_get(mode);
    dev = dev_start(DEV_SLOW, NO_EVENT_IDX);
    vq = queue_setup(dev, 0, 64);
    qvirtio_set_driver_ok(dev->vdev);
    for (i = 0; i < COUNT; i++) {
        request_init(&reqs[i], SECTOR);
    }

    for (round = 0; round < 3; round++) {
        unsigned fast = 0;

        for (i = 0; i < COUNT; i++) {
            bool read = i < READS;

            /* Far apart, or QEMU makes one request of them */
            request_add(&reqs[i], vq, read ? VIRTIO_BLK_T_IN :
                        VIRTIO_BLK_T_GET_ID, i * 100, read ? SECTOR :
                        VIRTIO_BLK_ID_BYTES, 1, false);
        }
        qvring_publish(rig->qts, vq, reqs[COUNT - 1].id);
        qvring_notify(rig->qts, vq);
        main_loop_rounds();

        /* Few reads get through before the throttle closes */
        for (done = 0; ; done++) {
            Request *req = request_take(reqs, COUNT, vq);

            if (!req) {
                break;
            }
            fast += req->type == VIRTIO_BLK_T_GET_ID;
        }
        g_assert_cmpuint(fast, ==, mode->in_order ? 0 : IDS);
        g_assert_cmpuint(done - fast, <, READS);
        if (!base_qemu()) {
            g_assert_cmpuint(queue_stat("blk1", 0, "held-back"), ==,
                             mode->in_order ? IDS : 0);
        }
        requests_finish(reqs, COUNT, vq, "requests that overtake");
        if (!base_qemu()) {
            g_assert_cmpuint(queue_stat("blk1", 0, "held-back"), ==, 0);
        }
    }

    /* Reset with some done and kept back: nothing of them must remain */
    for (i = 0; i < COUNT; i++) {
        request_add(&reqs[i], vq, i < READS ? VIRTIO_BLK_T_IN :
                    VIRTIO_BLK_T_GET_ID, i * 100, i < READS ? SECTOR :
                    VIRTIO_BLK_ID_BYTES, 1, false);
    }
    qvring_publish(rig->qts, vq, reqs[COUNT - 1].id);
    qvring_notify(rig->qts, vq);
    main_loop_rounds();
    qvirtio_reset(dev->vdev);
    queue_free(dev, vq);

    dev = dev_start(DEV_SLOW, NO_EVENT_IDX);
    vq = queue_setup(dev, 0, 64);
    qvirtio_set_driver_ok(dev->vdev);
    for (i = 0; i < COUNT; i++) {
        request_init(&reqs[i], SECTOR);
        request_add(&reqs[i], vq, i % 5 ? VIRTIO_BLK_T_GET_ID :
                    VIRTIO_BLK_T_IN, i * 100, i % 5 ? VIRTIO_BLK_ID_BYTES :
                    SECTOR, 1, true);
    }
    qvring_publish(rig->qts, vq, reqs[COUNT - 1].id);
    qvring_notify(rig->qts, vq);
    requests_finish(reqs, COUNT, vq, "requests after reset");
    if (!base_qemu()) {
        g_assert_cmpuint(queue_stat("blk1", 0, "held-back"), ==, 0);
    }
    qvirtio_reset(dev->vdev);
    queue_free(dev, vq);
}
