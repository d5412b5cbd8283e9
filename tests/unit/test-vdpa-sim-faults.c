/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The simulated vDPA device (tests/vdpa-sim) when it is to go wrong
 *
 * Each fault happens at the occasion that was asked for, not before and not
 * after, in just the way that was asked for, and the device does not take it
 * for the driver's mistake.
 */
#include <errno.h>
#include <glib.h>

#include "vdpa-sim-driver.h"

/* A device without a feature that every one has is not accepted */
static void test_features_ok(void)
{
    VdpaSimFault fault = { .kind = VDPA_SIM_FAULT_FEATURES_OK, .times = 1,
                           .queue = VDPA_SIM_ANY, .match = VDPA_SIM_ANY };
    Driver *d = driver_new(NULL);
    uint8_t status;

    driver_features(d, F(VIRTIO_F_VERSION_1));
    g_assert_cmpint(ask(d->fd, VHOST_VDPA_GET_STATUS, &status), ==, 0);
    g_assert_false(status & VIRTIO_CONFIG_S_FEATURES_OK);
    vdpa_sim_arm(d->sim, &fault);
    driver_features(d, 0);
    g_assert_cmpint(ask(d->fd, VHOST_VDPA_GET_STATUS, &status), ==, 0);
    g_assert_false(status & VIRTIO_CONFIG_S_FEATURES_OK);
    driver_features(d, 0);
    g_assert_cmpint(ask(d->fd, VHOST_VDPA_GET_STATUS, &status), ==, 0);
    g_assert_true(status & VIRTIO_CONFIG_S_FEATURES_OK);
    driver_free(d, true);
}

static Driver *fault_start(VdpaSimFaultKind kind, int64_t value,
                           uint64_t without)
{
    VdpaSimFault fault = {
        .kind = kind, .queue = TX, .match = VDPA_SIM_ANY, .value = value,
        .skip = 1, .times = 1,
    };
    Driver *d = driver_new(NULL);

    driver_start(d, without);
    g_assert_cmpint(vdpa_sim_arm(d->sim, &fault), ==, 0);
    driver_put(d, TX, 4, DRIVER_BUF, LEN, 0);
    g_assert_cmpuint(driver_wait(d, TX).id, ==, 4);
    driver_put(d, TX, 5, DRIVER_BUF, LEN, 0);
    return d;
}

static void fault_end(Driver *d)
{
    g_assert_cmpuint(d->sim->faults[0].seen, >=, 2);
    g_assert_cmpuint(vdpa_sim_disarm(d->sim, 0), ==, 1);
    driver_free(d, true);
}

static void test_fault_used(gconstpointer data)
{
    uint64_t without = GPOINTER_TO_INT(data) ? PLAIN_PACKED : PLAIN;
    Used used;
    Driver *d;

    d = fault_start(VDPA_SIM_FAULT_USED_ID, 999, without);
    g_assert_cmpuint(driver_wait(d, TX).id, ==, 999);
    fault_end(d);

    d = fault_start(VDPA_SIM_FAULT_USED_LEN, 5000, without);
    used = driver_wait(d, TX);
    g_assert_cmpuint(used.id, ==, 5);
    g_assert_cmpuint(used.len, ==, 5000);
    fault_end(d);

    d = fault_start(VDPA_SIM_FAULT_USED_REPEAT, 0, without);
    g_assert_cmpuint(driver_wait(d, TX).id, ==, 5);
    g_assert_cmpuint(driver_wait(d, TX).id, ==, 5);
    g_assert_false(driver_get(d, TX, &used));
    fault_end(d);

    d = fault_start(VDPA_SIM_FAULT_USED_JUMP, 3, without);
    g_assert_cmpuint(driver_wait(d, TX).id, ==, 5);
    driver_wait(d, TX);
    driver_wait(d, TX);
    driver_wait(d, TX);
    g_assert_false(driver_get(d, TX, &used));
    fault_end(d);
}

static void test_fault_call(void)
{
    Driver *d = fault_start(VDPA_SIM_FAULT_LOST_CALL, 0, PLAIN);

    driver_wait(d, TX);
    WAIT_FOR(LOAD(d->sim->faults[0].done) == 1);
    g_assert_cmpuint(driver_count(d->call[TX]), ==, 1);
    fault_end(d);
}

static void test_fault_break(void)
{
    Driver *d = fault_start(VDPA_SIM_FAULT_NEEDS_RESET, 0, PLAIN);
    uint8_t status;
    Used used;

    WAIT_FOR(driver_count(d->config_call));
    g_assert_cmpint(ask(d->fd, VHOST_VDPA_GET_STATUS, &status), ==, 0);
    g_assert_true(status & VIRTIO_CONFIG_S_NEEDS_RESET);
    driver_wait(d, TX);
    driver_put(d, TX, 6, DRIVER_BUF, LEN, 0);
    g_usleep(20000);
    g_assert_false(driver_get(d, TX, &used));

    driver_reset(d);
    driver_start(d, PLAIN);
    driver_put(d, TX, 6, DRIVER_BUF, LEN, 0);
    g_assert_cmpuint(driver_wait(d, TX).id, ==, 6);
    fault_end(d);
}

static void test_fault_ioctl(void)
{
    VdpaSimFault fault = {
        .kind = VDPA_SIM_FAULT_IOCTL, .queue = VDPA_SIM_ANY,
        .match = _IOC_NR(VHOST_VDPA_GET_STATUS), .value = ENODEV,
        .skip = 1, .times = 2,
    };
    Driver *d = driver_new(NULL);
    uint8_t status;
    int n, i;

    n = vdpa_sim_arm(d->sim, &fault);
    for (i = 0; i < 4; i++) {
        g_assert_cmpint(ask(d->fd, VHOST_VDPA_GET_STATUS, &status), ==,
                        i == 1 || i == 2 ? ENODEV : 0);
    }
    g_assert_cmpuint(vdpa_sim_disarm(d->sim, n), ==, 2);
    fault = (VdpaSimFault) {
        .kind = VDPA_SIM_FAULT_IOTLB, .queue = VDPA_SIM_ANY,
        .match = VHOST_IOTLB_UPDATE, .value = ENOMEM, .times = 1,
    };
    n = vdpa_sim_arm(d->sim, &fault);
    g_assert_cmpint(driver_map(d, VHOST_IOTLB_INVALIDATE, 0, 0x10000, 0,
                               0x1000, 3), ==, 0);
    g_assert_cmpint(driver_map(d, VHOST_IOTLB_UPDATE, 0, 0x10000, 0, 0x1000,
                               3), ==, EFAULT);
    g_assert_cmpint(driver_map(d, VHOST_IOTLB_UPDATE, 0, 0x10000, 0, 0x1000,
                               3), ==, 0);
    g_assert_cmpuint(vdpa_sim_disarm(d->sim, n), ==, 1);
    driver_free(d, true);
}

/* A command that the device goes wrong with */
static Driver *ctrl_start(VdpaSimFaultKind kind, int64_t value)
{
    VdpaSimFault fault = {
        .kind = kind, .queue = DRIVER_CTRL, .value = value,
        .times = UINT64_MAX,
        .match = VIRTIO_NET_CTRL_RX << 8 | VIRTIO_NET_CTRL_RX_ALLMULTI,
    };
    Driver *d = driver_new(NULL);
    unsigned i;

    driver_start(d, PLAIN);
    vdpa_sim_arm(d->sim, &fault);
    /* First another one, which goes well */
    for (i = 0; i < 2; i++) {
        uint8_t *cmd = d->mem + DRIVER_BUF + 256 * i;

        cmd[0] = VIRTIO_NET_CTRL_RX;
        cmd[1] = i ? VIRTIO_NET_CTRL_RX_ALLMULTI : VIRTIO_NET_CTRL_RX_PROMISC;
        cmd[2] = i;
        cmd[100] = 0xa5;
        driver_desc(d, DRIVER_CTRL, 2 * i, DRIVER_BUF + 256 * i, 3, D_NEXT,
                    2 * i + 1);
        driver_desc(d, DRIVER_CTRL, 2 * i + 1, DRIVER_BUF + 256 * i + 100, 1,
                    D_WRITE, 0);
        driver_avail(d, DRIVER_CTRL, 2 * i);
        driver_kick(d, DRIVER_CTRL);
        if (!i) {
            g_assert_cmpuint(driver_wait(d, DRIVER_CTRL).id, ==, 0);
            g_assert_cmpuint(cmd[100], ==, VIRTIO_NET_OK);
        }
    }
    return d;
}

static bool allmulti(Driver *d)
{
    g_autofree VdpaSimNetState *net = g_new(VdpaSimNetState, 1);

    vdpa_sim_net_snapshot(&d->sim->net, net);
    return net->rx_modes & VDPA_SIM_RX_ALLMULTI;
}

static void test_fault_ctrl(void)
{
    gint64 start;
    uint8_t *ack;
    Used used;
    Driver *d;

    d = ctrl_start(VDPA_SIM_FAULT_CVQ_ERROR, 0);
    ack = d->mem + DRIVER_BUF + 356;
    used = driver_wait(d, DRIVER_CTRL);
    g_assert_cmpuint(used.len, ==, 1);
    g_assert_cmpuint(*ack, ==, VIRTIO_NET_ERR);
    g_assert_false(allmulti(d));
    driver_free(d, true);

    start = g_get_monotonic_time();
    d = ctrl_start(VDPA_SIM_FAULT_CVQ_LATE, 50 * 1000000);
    ack = d->mem + DRIVER_BUF + 356;
    g_assert_false(allmulti(d));
    used = driver_wait(d, DRIVER_CTRL);
    g_assert_cmpint(g_get_monotonic_time() - start, >=, 50000);
    g_assert_cmpuint(*ack, ==, VIRTIO_NET_OK);
    g_assert_true(allmulti(d));
    driver_free(d, true);

    d = ctrl_start(VDPA_SIM_FAULT_CVQ_SHORT, 0);
    ack = d->mem + DRIVER_BUF + 356;
    used = driver_wait(d, DRIVER_CTRL);
    g_assert_cmpuint(used.len, ==, 0);
    g_assert_cmpuint(*ack, ==, 0xa5);
    driver_free(d, true);

    d = ctrl_start(VDPA_SIM_FAULT_CVQ_NEVER, 0);
    WAIT_FOR(allmulti(d));
    g_usleep(20000);
    g_assert_false(driver_get(d, DRIVER_CTRL, &used));
    driver_free(d, true);

    d = ctrl_start(VDPA_SIM_FAULT_CVQ_TWICE, 0);
    g_assert_cmpuint(driver_wait(d, DRIVER_CTRL).id, ==, 2);
    g_assert_cmpuint(driver_wait(d, DRIVER_CTRL).id, ==, 2);
    driver_free(d, true);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vdpa-sim/fault/features-ok", test_features_ok);
    g_test_add_data_func("/vdpa-sim/fault/used/split", NULL, test_fault_used);
    g_test_add_data_func("/vdpa-sim/fault/used/packed", GINT_TO_POINTER(1),
                         test_fault_used);
    g_test_add_func("/vdpa-sim/fault/call", test_fault_call);
    g_test_add_func("/vdpa-sim/fault/break", test_fault_break);
    g_test_add_func("/vdpa-sim/fault/ioctl", test_fault_ioctl);
    g_test_add_func("/vdpa-sim/fault/ctrl", test_fault_ctrl);
    return g_test_run();
}
