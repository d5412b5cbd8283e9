/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The simulated vDPA device (tests/vdpa-sim) as its driver sees it
 *
 * The device is linked into this program, with what stands between it and the C
 * library, so an ioctl() here is one as QEMU does it.  The device has to answer
 * as <linux/vhost.h> and the kernel have it.
 *
 * That it moves packets right is for vdpa-sim-test, which has a driver that
 * keeps the rules; that it sees who does not, for test-vdpa-sim-rules.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>

#include "vdpa-sim-driver.h"

/* The interface */

static void test_identity(void)
{
    struct vhost_vdpa_iova_range range;
    VdpaSimConfig config;
    uint64_t features;
    uint32_t number;
    uint16_t size;
    Driver *d;

    driver_config(&config);
    config.iova_first = 0x1000;
    config.iova_last = 0x7fffffffffff;
    d = driver_new(&config);
    g_assert_cmpint(ask(d->fd, VHOST_VDPA_GET_DEVICE_ID, &number), ==, 0);
    g_assert_cmpuint(number, ==, VIRTIO_ID_NET);
    g_assert_cmpint(ask(d->fd, VHOST_GET_FEATURES, &features), ==, 0);
    g_assert_cmphex(features, ==, config.features);
    g_assert_cmpint(ask(d->fd, VHOST_GET_BACKEND_FEATURES, &features), ==, 0);
    g_assert_cmphex(features, ==, config.backend_features);
    g_assert_cmpint(ask(d->fd, VHOST_VDPA_GET_VRING_NUM, &size), ==, 0);
    g_assert_cmpuint(size, ==, config.vring_num_max);
    g_assert_cmpint(ask(d->fd, VHOST_VDPA_GET_VQS_COUNT, &number), ==, 0);
    g_assert_cmpuint(number, ==, DRIVER_QUEUES);
    g_assert_cmpint(ask(d->fd, VHOST_VDPA_GET_GROUP_NUM, &number), ==, 0);
    g_assert_cmpuint(number, ==, 2);
    g_assert_cmpint(ask(d->fd, VHOST_VDPA_GET_AS_NUM, &number), ==, 0);
    g_assert_cmpuint(number, ==, 2);
    g_assert_cmpint(ask(d->fd, VHOST_VDPA_GET_CONFIG_SIZE, &number), ==, 0);
    g_assert_cmpuint(number, ==, vdpa_sim_net_config_size());
    g_assert_cmpint(ask(d->fd, VHOST_VDPA_GET_IOVA_RANGE, &range), ==, 0);
    g_assert_cmphex(range.first, ==, config.iova_first);
    g_assert_cmphex(range.last, ==, config.iova_last);
    driver_free(d, true);
}

/* Errors are those that the kernel gives */
static void test_errors(void)
{
    struct {
        struct vhost_vdpa_config c;
        uint8_t room[256];
    } conf = { 0 };
    struct vhost_vring_addr addr = { .index = TX };
    Driver *d = driver_new(NULL);
    uint64_t features;
    uint8_t status;
    int number = 0;

    g_assert_cmpint(ask(d->fd, VHOST_SET_OWNER, NULL), ==, EBUSY);
    g_assert_cmpint(ask(d->fd, _IO(VHOST_VIRTIO, 0xee), NULL), ==, ENOTTY);
    g_assert_cmpint(ask(d->fd, VHOST_SET_LOG_BASE, &features), ==, ENOTTY);
    g_assert_cmpint(driver_ioctl(d, VHOST_SET_VRING_NUM, DRIVER_QUEUES, 16),
                    ==, ENOBUFS);
    g_assert_cmpint(driver_ioctl(d, VHOST_SET_VRING_NUM, TX, 0), ==, EINVAL);
    g_assert_cmpint(driver_ioctl(d, VHOST_SET_VRING_NUM, TX, 100), ==, EINVAL);
    g_assert_cmpint(driver_ioctl(d, VHOST_SET_VRING_NUM, TX, 512), ==, EINVAL);
    g_assert_cmpint(driver_ioctl(d, VHOST_SET_VRING_BASE, TX, 0x10000), ==,
                    EINVAL);
    close(number = dup(d->fd));
    g_assert_cmpint(driver_ioctl(d, VHOST_SET_VRING_KICK, TX, number), ==,
                    EBADF);
    g_assert_cmpint(driver_ioctl(d, VHOST_VDPA_SET_GROUP_ASID, 2, 0), ==,
                    EINVAL);
    g_assert_cmpint(driver_ioctl(d, VHOST_VDPA_SET_GROUP_ASID, 0, 2), ==,
                    EINVAL);

    conf.c.off = vdpa_sim_net_config_size();
    conf.c.len = 1;
    g_assert_cmpint(ask(d->fd, VHOST_VDPA_GET_CONFIG, &conf), ==, E2BIG);
    conf.c.off++;
    g_assert_cmpint(ask(d->fd, VHOST_VDPA_GET_CONFIG, &conf), ==, EINVAL);
    conf.c.off = conf.c.len = 0;
    g_assert_cmpint(ask(d->fd, VHOST_VDPA_GET_CONFIG, &conf), ==, EINVAL);
    conf.c.len = 6;
    g_assert_cmpint(ask(d->fd, VHOST_VDPA_GET_CONFIG, &conf), ==, 0);
    g_assert_cmpmem(conf.c.buf, 6, d->sim->config.net.mac, 6);

    features = 1ull << 63;
    g_assert_cmpint(ask(d->fd, VHOST_SET_BACKEND_FEATURES, &features), ==,
                    EOPNOTSUPP);
    g_assert_cmpint(ask(d->fd, VHOST_SET_FEATURES, &features), ==, EINVAL);
    features = F(VIRTIO_F_VERSION_1);
    g_assert_cmpint(ask(d->fd, VHOST_SET_FEATURES, &features), ==, EINVAL);
    driver_start(d, PLAIN);
    g_assert_cmpint(ask(d->fd, VHOST_SET_FEATURES, &d->features), ==, EBUSY);
    status = VIRTIO_CONFIG_S_ACKNOWLEDGE;
    g_assert_cmpint(ask(d->fd, VHOST_VDPA_SET_STATUS, &status), ==, EINVAL);
    g_assert_cmpint(driver_ioctl(d, VHOST_SET_VRING_NUM, TX, 8), ==, EBUSY);
    g_assert_cmpint(driver_ioctl(d, VHOST_SET_VRING_BASE, TX, 8), ==,
                    EOPNOTSUPP);
    g_assert_cmpint(ask(d->fd, VHOST_SET_VRING_ADDR, &addr), ==, EOPNOTSUPP);
    driver_free(d, true);
}

/* It is a device as long as a descriptor of it is open, and one's at a time */
static void test_open(void)
{
    Driver *d = driver_new(NULL);
    int copy, other, plain;
    uint64_t features;

    driver_start(d, PLAIN);
    other = open(d->path, O_RDWR);
    g_assert_cmpint(ask(other, VHOST_GET_FEATURES, &features), ==, EBUSY);
    plain = open("/dev/null", O_RDWR);
    g_assert_cmpint(ask(plain, VHOST_GET_FEATURES, &features), ==, ENOTTY);

    copy = fcntl(d->fd, F_DUPFD_CLOEXEC, 0);
    close(d->fd);
    d->fd = dup(copy);
    g_assert_cmpint(dup2(plain, copy), ==, copy);
    g_assert_cmpint(ask(copy, VHOST_GET_FEATURES, &features), ==, ENOTTY);
    g_assert_cmpuint(LOAD(d->sim->state.opens), ==, 1);
    g_assert_cmpuint(LOAD(d->sim->state.opened), ==, 1);
    g_assert_cmpuint(LOAD(d->sim->state.mappings[0]), ==, 1);
    driver_put(d, TX, 0, DRIVER_BUF, DRIVER_HDR + 60, 0);
    driver_wait(d, TX);

    /* Over to the other one, for which it starts anew */
    close(d->fd);
    g_assert_cmpuint(LOAD(d->sim->state.opened), ==, 0);
    d->fd = other;
    g_assert_cmpint(ask(other, VHOST_SET_OWNER, &features), ==, 0);
    g_assert_cmpuint(LOAD(d->sim->state.opens), ==, 2);
    g_assert_cmpuint(LOAD(d->sim->state.status), ==, 0);
    g_assert_cmpuint(LOAD(d->sim->state.mappings[0]), ==, 0);
    close(copy);
    close(plain);
    driver_free(d, true);
}

/* IOTLB */

static void test_iotlb(void)
{
    Driver *d = driver_new(NULL);
    uint32_t *num = d->sim->state.mappings;
    const uint8_t up = VHOST_IOTLB_UPDATE, down = VHOST_IOTLB_INVALIDATE;
    const uint8_t begin = VHOST_IOTLB_BATCH_BEGIN, end = VHOST_IOTLB_BATCH_END;

    g_assert_cmpint(driver_map(d, up, 0, 0x10000, 0, 0x2000, 3), ==, 0);
    g_assert_cmpint(driver_map(d, up, 0, 0x11000, 0, 0x2000, 3), ==, EFAULT);
    g_assert_cmpint(driver_map(d, up, 0, 0xf000, 0, 0x2000, 3), ==, EFAULT);
    g_assert_cmpint(driver_map(d, up, 0, 0x12000, 0, 0x1000, 1), ==, 0);
    g_assert_cmpint(driver_map(d, up, 1, 0x12000, 0, 0x1000, 1), ==, 0);
    g_assert_cmpint(driver_map(d, up, 2, 0x20000, 0, 0x1000, 1), ==, EFAULT);
    g_assert_cmpint(driver_map(d, up, 0, 0x20000, 0, 0, 3), ==, EFAULT);
    g_assert_cmpint(driver_map(d, up, 0, 0x20000, 0, 0x800, 3), ==, EFAULT);
    g_assert_cmpint(driver_map(d, up, 0, 0x20000, 0, 0x1000, 0), ==, EFAULT);
    g_assert_cmpint(driver_map(d, up, 0, -0x1000ull, 0, 0x2000, 3), ==, EFAULT);
    g_assert_cmpint(driver_map(d, 99, 0, 0x20000, 0, 0x1000, 3), ==, EFAULT);
    g_assert_cmpuint(LOAD(num[0]), ==, 2);
    g_assert_cmpuint(LOAD(num[1]), ==, 1);
    g_assert_cmphex(LOAD(d->sim->state.mapped[0]), ==, 0x3000);

    /* Nothing of a batch counts before its end */
    g_assert_cmpint(driver_map(d, end, 0, 0, 0, 0, 0), ==, EFAULT);
    g_assert_cmpint(driver_map(d, begin, 0, 0, 0, 0, 0), ==, 0);
    g_assert_cmpint(driver_map(d, down, 0, 0x12000, 0, 0x1000, 0), ==, 0);
    g_assert_cmpint(driver_map(d, up, 0, 0x12000, 0, 0x1000, 3), ==, 0);
    g_assert_cmpint(driver_map(d, up, 0, 0x20000, 0, 0x1000, 3), ==, 0);
    g_assert_cmpint(driver_map(d, up, 1, 0x20000, 0, 0x1000, 3), ==, EFAULT);
    g_assert_cmpuint(LOAD(num[0]), ==, 2);
    g_assert_cmpint(driver_map(d, end, 0, 0, 0, 0, 0), ==, 0);
    g_assert_cmpuint(LOAD(num[0]), ==, 3);

    g_assert_cmpint(driver_map(d, down, 0, 0, 0, -0x1000ull, 0), ==, 0);
    g_assert_cmpuint(LOAD(num[0]), ==, 0);
    g_assert_cmpuint(LOAD(num[1]), ==, 1);
    g_assert_null(vdpa_sim_complaint(d->sim));
    g_assert_cmpint(driver_map(d, up, 0, 0x10000, 0, 0x2000, 3), ==, 0);
    g_assert_cmpint(driver_map(d, down, 0, 0x10000, 0, 0x1000, 0), ==, 0);
    driver_expect(d, "device: unmapping 0x1000 bytes at 0x10000 cuts");
    driver_free(d, false);
}

/* Buffers that lie, in part, where there is nothing, or nothing to write */
static void test_translate(void)
{
    const unsigned len = DRIVER_HDR + 100;
    VdpaSimQueueStats *tx, *rx;
    VdpaSimQueueCtl *ctl;
    Driver *d = driver_new(NULL);
    Used used;

    tx = &d->sim->stats[TX];
    rx = &d->sim->stats[RX];
    ctl = &d->sim->ctl[RX];
    driver_start(d, PLAIN);
    driver_put(d, TX, 0, UINT64_MAX, len, 0);
    driver_wait(d, TX);
    g_assert_cmpuint(LOAD(tx->faults), ==, 1);
    g_assert_cmphex(LOAD(tx->fault_iova), ==, 0x7000000000);
    g_assert_cmpuint(LOAD(tx->packets), ==, 0);
    driver_put(d, TX, 1, DRIVER_MEM - 50, len, 0);
    driver_wait(d, TX);
    g_assert_cmpuint(LOAD(tx->faults), ==, 2);

    /* A neighbour continues it */
    g_assert_cmpint(driver_map(d, VHOST_IOTLB_UPDATE, 0,
                               DRIVER_IOVA + DRIVER_MEM, DRIVER_BUF, 0x1000,
                               VHOST_ACCESS_RO), ==, 0);
    driver_put(d, TX, 1, DRIVER_MEM - 50, len, 0);
    driver_wait(d, TX);
    g_assert_cmpuint(LOAD(tx->faults), ==, 2);
    g_assert_cmpuint(LOAD(tx->packets), ==, 1);

    /* Which is not to be written, not even to its first byte */
    memset(d->mem + DRIVER_BUF, 0xa5, 0x1000);
    memset(d->mem + DRIVER_MEM - 50, 0xa5, 50);
    ctl->source_count = 1;
    __atomic_store_n(&ctl->mode, VDPA_SIM_SOURCE, __ATOMIC_RELEASE);
    driver_put(d, RX, 0, DRIVER_MEM - 50, len, D_WRITE);
    vdpa_sim_wake(d->sim);
    used = driver_wait(d, RX);
    g_assert_cmpuint(used.len, ==, 0);
    g_assert_cmpuint(LOAD(rx->faults), ==, 1);
    g_assert_cmphex(d->mem[DRIVER_BUF], ==, 0xa5);
    g_assert_cmphex(d->mem[DRIVER_MEM - 1], ==, 0xa5);
    g_assert_cmphex(d->mem[DRIVER_MEM - 50], ==, 0xa5);
    g_assert_cmpuint(LOAD(d->sim->state.faults), ==, 3);
    driver_expect(d, "queue 1: 2 accesses outside the IOTLB");

    /* Mappings that go on in each other's memory are as one */
    g_assert_cmpint(driver_map(d, VHOST_IOTLB_INVALIDATE, 0, DRIVER_IOVA, 0,
                               2 * DRIVER_MEM, 0), ==, 0);
    g_assert_cmpint(driver_map(d, VHOST_IOTLB_UPDATE, 0, DRIVER_IOVA, 0,
                               DRIVER_BUF, VHOST_ACCESS_RW), ==, 0);
    g_assert_cmpint(driver_map(d, VHOST_IOTLB_UPDATE, 0,
                               DRIVER_IOVA + DRIVER_BUF, DRIVER_BUF,
                               DRIVER_MEM - DRIVER_BUF, VHOST_ACCESS_RW),
                    ==, 0);
    driver_table(d, DRIVER_BUF - 16, 0, DRIVER_BUF, len, D_NEXT, 1);
    driver_table(d, DRIVER_BUF - 16, 1, DRIVER_BUF, len, 0, 0);
    driver_put(d, TX, 2, DRIVER_BUF - 16, 32, D_INDIRECT);
    driver_wait(d, TX);
    g_assert_cmpuint(LOAD(tx->packets), ==, 2);

    /* The packet goes into the next buffer */
    driver_put(d, RX, 1, DRIVER_BUF + 0x2000, len, D_WRITE);
    used = driver_wait(d, RX);
    g_assert_cmpuint(used.len, ==, DRIVER_HDR + 64);
    driver_free(d, false);
}

/* The control queue has its own address space */
static void test_asid(void)
{
    Driver *d = driver_new(NULL);
    uint8_t *cmd = d->mem + DRIVER_BUF;

    driver_start(d, PLAIN);
    g_assert_cmpint(driver_ioctl(d, VHOST_VDPA_SET_GROUP_ASID, 1, 1), ==, 0);
    driver_kick(d, DRIVER_CTRL);
    driver_expect(d, "queue 4: 1 accesses outside the IOTLB");
    g_assert_cmpint(driver_map(d, VHOST_IOTLB_UPDATE, 1, DRIVER_IOVA, 0,
                               DRIVER_MEM, VHOST_ACCESS_RW), ==, 0);
    cmd[0] = VIRTIO_NET_CTRL_RX;
    cmd[1] = VIRTIO_NET_CTRL_RX_ALLMULTI;
    cmd[2] = 1;
    driver_desc(d, DRIVER_CTRL, 0, DRIVER_BUF, 3, D_NEXT, 1);
    driver_desc(d, DRIVER_CTRL, 1, DRIVER_BUF + 100, 1, D_WRITE, 0);
    driver_avail(d, DRIVER_CTRL, 0);
    driver_kick(d, DRIVER_CTRL);
    g_assert_cmpuint(driver_wait(d, DRIVER_CTRL).len, ==, 1);
    g_assert_cmpuint(d->mem[DRIVER_BUF + 100], ==, VIRTIO_NET_OK);
    g_assert_cmpuint(LOAD(d->sim->state.faults), ==, 1);
    driver_free(d, false);
}

/* Where the device stands */

static void test_base(void)
{
    Driver *d = driver_new(NULL);
    unsigned q;

    /* Not told otherwise, a ring starts at its beginning */
    driver_start(d, PLAIN_PACKED);
    g_assert_cmphex(driver_base(d, TX), ==, 0x80008000);
    driver_put(d, TX, 0, DRIVER_BUF, LEN, 0);
    driver_wait(d, TX);
    WAIT_FOR(driver_base(d, TX) == 0x80018001);
    driver_reset(d);
    /* QEMU asks after a reset, too */
    g_assert_cmphex(driver_base(d, TX), ==, 0x80018001);

    driver_features(d, PLAIN);
    for (q = 0; q < DRIVER_QUEUES; q++) {
        driver_queue(d, q);
    }
    g_assert_cmpint(driver_ioctl(d, VHOST_SET_VRING_BASE, TX, 7), ==, 0);
    *driver_avail_idx(d, TX) = 7;
    *driver_used_idx(d, TX) = d->used[TX] = 7;
    driver_status(d, VIRTIO_CONFIG_S_DRIVER_OK);
    g_assert_cmphex(driver_base(d, RX), ==, 0);
    g_assert_cmphex(driver_base(d, TX), ==, 7);
    driver_put(d, TX, 5, DRIVER_BUF, LEN, 0);
    g_assert_cmpuint(driver_wait(d, TX).id, ==, 5);

    /* A queue that is turned off begins anew, but is where it was */
    g_assert_cmpint(driver_ioctl(d, VHOST_VDPA_SET_VRING_ENABLE, TX, 0), ==, 0);
    g_assert_cmphex(driver_base(d, TX), ==, 8);
    *driver_avail_idx(d, TX) = 0;
    d->used[TX] = 0;
    memset(d->mem + TX * 0x8000, 0, 0x8000);
    g_assert_cmpint(driver_ioctl(d, VHOST_VDPA_SET_VRING_ENABLE, TX, 1), ==, 0);
    driver_put(d, TX, 1, DRIVER_BUF, LEN, 0);
    g_assert_cmpuint(driver_wait(d, TX).id, ==, 1);
    WAIT_FOR(driver_base(d, TX) == 1);

    /* After a reset it is nowhere */
    driver_reset(d);
    driver_features(d, PLAIN);
    g_assert_cmpint(driver_ioctl(d, VHOST_VDPA_SET_VRING_ENABLE, TX, 1), ==, 0);
    driver_status(d, VIRTIO_CONFIG_S_DRIVER_OK);
    g_assert_cmpuint(LOAD(d->sim->stats[TX].running), ==, 0);
    driver_free(d, true);
}

static void test_suspend(void)
{
    Driver *d = driver_new(NULL);
    VdpaSimQueueStats *s = &d->sim->stats[TX];
    VdpaSimQueueCtl *ctl = &d->sim->ctl[TX];
    Used used;

    /* Two are under way, and will be for an hour */
    driver_start(d, PLAIN);
    ctl->delay_ns = 3600 * 1000000000ull;
    vdpa_sim_pause(d->sim, TX, true);
    driver_put(d, TX, 0, DRIVER_BUF, LEN, 0);
    driver_put(d, TX, 1, DRIVER_BUF, LEN, 0);
    vdpa_sim_pause(d->sim, TX, false);
    WAIT_FOR(LOAD(s->in_flight) == 2);
    g_assert_false(driver_get(d, TX, &used));

    g_assert_cmpint(ask(d->fd, VHOST_VDPA_SUSPEND, NULL), ==, 0);
    g_assert_cmphex(driver_base(d, TX), ==, 2);
    g_assert_true(driver_get(d, TX, &used));
    g_assert_true(driver_get(d, TX, &used));
    g_assert_cmpuint(used.id, ==, 1);
    driver_put(d, TX, 2, DRIVER_BUF, LEN, 0);
    g_usleep(20000);
    g_assert_false(driver_get(d, TX, &used));
    g_assert_cmphex(driver_base(d, TX), ==, 2);

    ctl->delay_ns = 0;
    g_assert_cmpint(ask(d->fd, RESUME, NULL), ==, 0);
    g_assert_cmpuint(driver_wait(d, TX).id, ==, 2);
    driver_free(d, true);
}

/* Without the backend feature there is no such thing */
static void test_no_suspend(void)
{
    VdpaSimConfig config;
    Driver *d;

    driver_config(&config);
    config.backend_features &= ~F(VHOST_BACKEND_F_SUSPEND);
    d = driver_new(&config);
    driver_start(d, PLAIN);
    g_assert_cmpint(ask(d->fd, VHOST_VDPA_SUSPEND, NULL), ==, EOPNOTSUPP);
    driver_free(d, true);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vdpa-sim/device/identity", test_identity);
    g_test_add_func("/vdpa-sim/device/errors", test_errors);
    g_test_add_func("/vdpa-sim/device/open", test_open);
    g_test_add_func("/vdpa-sim/device/iotlb", test_iotlb);
    g_test_add_func("/vdpa-sim/device/translate", test_translate);
    g_test_add_func("/vdpa-sim/device/asid", test_asid);
    g_test_add_func("/vdpa-sim/device/base", test_base);
    g_test_add_func("/vdpa-sim/device/suspend", test_suspend);
    g_test_add_func("/vdpa-sim/device/no-suspend", test_no_suspend);
    return g_test_run();
}
