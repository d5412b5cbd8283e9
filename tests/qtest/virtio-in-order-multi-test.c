/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: network cards with several pairs of queues, and devices whose vhost
 * back end stops, crashes and comes back, with virtqueues of both layouts,
 * with and without VIRTIO_F_IN_ORDER
 *
 * This file has the list of all cases.
 *
 * Random choices follow from --seed, which each run prints.
 */

#include "qemu/osdep.h"
#include "virtio-in-order-multi.h"
#include "virtio-in-order-rig.h"

static const struct {
    const char *name;
    void (*fn)(const void *mode);
} cases[] = {
    { "mq/traffic", test_mq_traffic },
    { "mq/change", test_mq_change },
    { "mq/burst", test_mq_burst },
    { "mq/reset", test_mq_reset },
    { "mq/refused", test_mq_refused },
    { "vhost-user-net/handover", test_net_handover },
    { "vhost-user-net/link", test_net_link },
    { "vhost-user-net/crash", test_net_crash },
    { "vhost-user-blk/handover", test_blk_handover },
    { "vhost-user-blk/crash", test_blk_crash },
};

int main(int argc, char **argv)
{
    unsigned i, j;
    int ret;

    g_test_init(&argc, &argv, NULL);

    for (i = 0; i < MODE_COUNT; i++) {
        for (j = 0; j < ARRAY_SIZE(cases); j++) {
            g_autofree char *path =
                g_strdup_printf("virtio-in-order/multi/%s/%s", modes[i].name,
                                cases[j].name);

            qtest_add_data_func(path, &modes[i], cases[j].fn);
        }
    }
    ret = g_test_run();
    rig_stop();
    return ret;
}
