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

#define RESUME          _IO(VHOST_VIRTIO, 0x7E)

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

    /* A queue that is turned off begins anew */
    g_assert_cmpint(driver_ioctl(d, VHOST_VDPA_SET_VRING_ENABLE, TX, 0), ==, 0);
    g_assert_cmphex(driver_base(d, TX), ==, 8);
    *driver_avail_idx(d, TX) = 0;
    d->used[TX] = 0;
    memset(d->mem + TX * 0x8000, 0, 0x8000);
    driver_queue(d, TX);
    driver_put(d, TX, 1, DRIVER_BUF, LEN, 0);
    g_assert_cmpuint(driver_wait(d, TX).id, ==, 1);
    WAIT_FOR(driver_base(d, TX) == 1);
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

/* Notifications */

static void test_doorbell(void)
{
    VdpaSimConfig config;
    VdpaSimQueueStats *s;
    uint16_t *page;
    size_t size;
    unsigned i;
    Driver *d;

    driver_config(&config);
    config.notify_pages = 1u << TX;
    d = driver_new(&config);
    size = d->page;
    s = &d->sim->stats[TX];
    driver_start(d, PLAIN);
    g_assert_true(mmap(NULL, size, PROT_WRITE, MAP_SHARED, d->fd, RX * size) ==
                  MAP_FAILED);
    g_assert_cmpint(errno, ==, EOPNOTSUPP);
    g_assert_true(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, d->fd,
                       TX * size) == MAP_FAILED);
    g_assert_cmpint(errno, ==, EINVAL);
    page = mmap(NULL, size, PROT_WRITE, MAP_SHARED, d->fd, TX * size);
    g_assert_true(page != MAP_FAILED);
    g_assert_cmpuint(LOAD(s->doorbell_mapped), ==, 1);

    /* Each time from sleep; a queue that begins later is watched as well */
    for (i = 0; i < 20; i++) {
        if (i == 10) {
            driver_reset(d);
            g_usleep(20000);
            driver_start(d, PLAIN);
        }
        g_usleep(1000);
        driver_desc(d, TX, i % 16, DRIVER_BUF, LEN, 0, 0);
        driver_avail(d, TX, i % 16);
        STORE(*page, TX);
        driver_wait(d, TX);
        WAIT_FOR(LOAD(s->kicks_doorbell) == i + 1);
    }
    g_assert_cmpuint(LOAD(s->kicks_eventfd), ==, 0);
    munmap(page, size);
    driver_free(d, true);
}

static void test_notify_data(void)
{
    Driver *d = driver_new(NULL);
    uint32_t *page;
    VdpaSimQueueStats *s = &d->sim->stats[TX];
    size_t size = d->page;

    driver_start(d, PLAIN & ~NOTIFY_DATA);
    page = mmap(NULL, size, PROT_WRITE, MAP_SHARED, d->fd, TX * size);
    g_assert_true(page != MAP_FAILED);
    driver_desc(d, TX, 0, DRIVER_BUF, LEN, 0, 0);
    driver_avail(d, TX, 0);
    STORE(*page, TX | 1 << 16);
    driver_wait(d, TX);
    WAIT_FOR(LOAD(s->kicks_doorbell) == 1);
    munmap(page, size);
    driver_free(d, true);
}

/* The driver's wishes about interrupts are respected, and counted */
static void test_calls(void)
{
    Driver *d = driver_new(NULL);
    VdpaSimQueueStats *s = &d->sim->stats[TX];
    uint16_t *event = driver_avail_idx(d, TX) + 1 + DRIVER_RING;
    unsigned i;

    driver_start(d, PLAIN);
    driver_put(d, TX, 0, DRIVER_BUF, LEN, 0);
    driver_wait(d, TX);
    WAIT_FOR(LOAD(s->calls) == 1);
    g_assert_cmpuint(driver_count(d->call[TX]), ==, 1);
    STORE(driver_avail_idx(d, TX)[-1], 1);
    driver_put(d, TX, 1, DRIVER_BUF, LEN, 0);
    driver_wait(d, TX);
    WAIT_FOR(LOAD(s->calls_suppressed) == 1);
    g_assert_cmpuint(driver_count(d->call[TX]), ==, 0);

    driver_reset(d);
    driver_start(d, PLAIN & ~F(VIRTIO_RING_F_EVENT_IDX));
    STORE(*event, 2);
    for (i = 0; i < 4; i++) {
        driver_put(d, TX, i, DRIVER_BUF, LEN, 0);
        driver_wait(d, TX);
        WAIT_FOR(LOAD(s->calls) + LOAD(s->calls_suppressed) == 3 + i);
        g_assert_cmpuint(driver_count(d->call[TX]), ==, i == 2);
    }

    driver_reset(d);
    driver_start(d, PLAIN_PACKED & ~F(VIRTIO_RING_F_EVENT_IDX));
    event = (uint16_t *)(d->mem + TX * 0x8000 + 0x2000);
    STORE(event[0], 2 | 1 << 15);
    STORE(event[1], 2);
    for (i = 0; i < 4; i++) {
        driver_put(d, TX, i, DRIVER_BUF, LEN, 0);
        driver_wait(d, TX);
        WAIT_FOR(LOAD(s->calls) + LOAD(s->calls_suppressed) == 7 + i);
        g_assert_cmpuint(driver_count(d->call[TX]), ==, i == 2);
    }
    driver_free(d, true);
}

/* Nanoseconds of CPU that a worker has used */
static uint64_t worker_cpu(VdpaSimQueueStats *s)
{
    g_autofree char *path = g_strdup_printf("/proc/self/task/%u/schedstat",
                                            LOAD(s->tid));
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return g_ascii_strtoull(text, NULL, 10);
}

/*
 * A packet waits for buffers, of which there are some.  The device asks for a
 * kick for the next one, which is not the next that it takes, and sleeps.
 */
static void test_starved(gconstpointer data)
{
    bool packed = GPOINTER_TO_INT(data);
    uint64_t without = packed ? PLAIN_PACKED : PLAIN;
    Driver *d = driver_new(NULL);
    VdpaSimQueueStats *s = &d->sim->stats[RX];
    uint16_t *event = driver_used_idx(d, RX) + 1 + 4 * DRIVER_RING;
    uint16_t *flags = (uint16_t *)(d->mem + RX * 0x8000 + 0x4000) + 1;
    const unsigned num = 5;
    uint64_t cpu;
    unsigned i;

    driver_start(d, without & ~F(VIRTIO_RING_F_EVENT_IDX));
    d->sim->ctl[RX].source_count = 1;
    d->sim->ctl[RX].source_len_min = num * 100 - DRIVER_HDR;
    STORE(d->sim->ctl[RX].mode, VDPA_SIM_SOURCE);
    vdpa_sim_wake(d->sim);
    WAIT_FOR(LOAD(s->tid));
    for (i = 0; i < num; i++) {
        unsigned tries = 5;

        if (packed) {
            WAIT_FOR(LOAD(*flags) == (i ? 0 : 2));
        } else {
            WAIT_FOR(LOAD(*event) == i);
        }
        /* Other threads may delay it, but not each time */
        do {
            cpu = worker_cpu(s);
            g_usleep(10000);
            cpu = worker_cpu(s) - cpu;
        } while (cpu > 2000000 && --tries);
        g_assert_cmpuint(tries, >, 0);
        driver_put(d, RX, i, DRIVER_BUF + 100 * i, 100, D_WRITE);
    }
    for (i = 0; i < num; i++) {
        g_assert_cmpuint(driver_wait(d, RX).len, ==, 100);
    }
    driver_free(d, true);
}

/* What comes from the test: packets, the cable, announcements */
static void test_outside(void)
{
    static const uint8_t frame[60] = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 };
    struct {
        struct vhost_vdpa_config c;
        uint8_t room[8];
    } conf = { .c.off = offsetof(struct virtio_net_config, status),
               .c.len = 2 };
    Driver *d = driver_new(NULL);
    Used used;

    driver_start(d, PLAIN);
    driver_put(d, RX, 0, DRIVER_BUF, 1000, D_WRITE);
    g_assert_true(vdpa_sim_inject(d->sim, frame, sizeof(frame)));
    used = driver_wait(d, RX);
    g_assert_cmpuint(used.len, >, sizeof(frame));
    g_assert_cmpmem(d->mem + DRIVER_BUF + used.len - sizeof(frame),
                    sizeof(frame), frame, sizeof(frame));

    g_assert_cmpint(ask(d->fd, VHOST_VDPA_GET_CONFIG, &conf), ==, 0);
    g_assert_cmphex(conf.c.buf[0], ==, VIRTIO_NET_S_LINK_UP);
    vdpa_sim_set_link(d->sim, false);
    WAIT_FOR(driver_count(d->config_call));
    g_assert_cmpint(ask(d->fd, VHOST_VDPA_GET_CONFIG, &conf), ==, 0);
    g_assert_cmphex(conf.c.buf[0], ==, 0);
    vdpa_sim_announce(d->sim);
    WAIT_FOR(driver_count(d->config_call));
    g_assert_cmpint(ask(d->fd, VHOST_VDPA_GET_CONFIG, &conf), ==, 0);
    g_assert_cmphex(conf.c.buf[0], ==, VIRTIO_NET_S_ANNOUNCE);
    driver_free(d, true);
}

/* Sends a command, waits for the answer, and returns it */
static uint8_t command(Driver *d, const void *cmd, size_t len)
{
    uint8_t *ack = d->mem + DRIVER_BUF + 0x1000;

    memcpy(d->mem + DRIVER_BUF, cmd, len);
    driver_desc(d, DRIVER_CTRL, 0, DRIVER_BUF, len, D_NEXT, 1);
    driver_desc(d, DRIVER_CTRL, 1, DRIVER_BUF + 0x1000, 1, D_WRITE, 0);
    driver_avail(d, DRIVER_CTRL, 0);
    driver_kick(d, DRIVER_CTRL);
    g_assert_cmpuint(driver_wait(d, DRIVER_CTRL).len, ==, 1);
    return *ack;
}

/* Steering is what the driver has set up, and the hash is in the header */
static void test_steer(void)
{
    static const struct {
        uint8_t class, cmd;
        uint32_t types;
        uint16_t mask, unclassified, table[2], max_tx;
        uint8_t key_len, key[40];
    } __attribute__((packed)) rss = {
        VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_RSS_CONFIG,
        VIRTIO_NET_RSS_HASH_TYPE_IPv4, 1, 0, { 1, 1 }, 2,
        40, { 0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2 },
    };
    VdpaSimFlowConfig config = {
        .dst_mac = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 },
        .src_ip = 0x0a000001, .dst_ip = 0x0a000002,
    };
    Driver *d = driver_new(NULL);
    struct virtio_net_hdr_v1_hash hdr;
    uint8_t frame[64], other[64] = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 };
    VdpaSimFlow flow;
    Used used;

    vdpa_sim_flow_init(&flow, &config);
    vdpa_sim_packet_make(&flow, frame, sizeof(frame), 0);
    driver_start(d, PLAIN & ~F(VIRTIO_NET_F_HASH_REPORT));
    g_assert_cmpuint(command(d, &rss, sizeof(rss)), ==, VIRTIO_NET_OK);
    driver_put(d, VDPA_SIM_RX(0), 0, DRIVER_BUF + 0x2000, 1000, D_WRITE);
    driver_put(d, VDPA_SIM_RX(1), 0, DRIVER_BUF + 0x3000, 1000, D_WRITE);
    g_assert_true(vdpa_sim_inject(d->sim, frame, sizeof(frame)));
    used = driver_wait(d, VDPA_SIM_RX(1));
    g_assert_cmpuint(used.len, ==, sizeof(hdr) + sizeof(frame));
    memcpy(&hdr, d->mem + DRIVER_BUF + 0x3000, sizeof(hdr));
    g_assert_cmpuint(hdr.hdr.num_buffers, ==, 1);
    g_assert_cmpuint(hdr.hash_report, ==, VIRTIO_NET_HASH_REPORT_IPv4);
    g_assert_cmphex(hdr.hash_value, ==,
                    vdpa_sim_toeplitz(rss.key, rss.key_len,
                                      (const uint8_t *)"\x0a\0\0\1\x0a\0\0\2",
                                      8));
    g_assert_cmpmem(d->mem + DRIVER_BUF + 0x3000 + sizeof(hdr), sizeof(frame),
                    frame, sizeof(frame));

    WAIT_FOR(vdpa_sim_inject(d->sim, other, sizeof(other)));
    used = driver_wait(d, VDPA_SIM_RX(0));
    memcpy(&hdr, d->mem + DRIVER_BUF + 0x2000, sizeof(hdr));
    g_assert_cmpuint(hdr.hash_report, ==, VIRTIO_NET_HASH_REPORT_NONE);
    driver_free(d, true);
}

/* Makes available what is free, takes what is used; it has to be in order */
static void churn_traffic(Driver *d, uint16_t *added, unsigned rounds)
{
    Used used;

    while (rounds--) {
        while ((uint16_t)(*added - d->used[TX]) < DRIVER_RING) {
            driver_desc(d, TX, *added % DRIVER_RING, DRIVER_BUF, LEN, 0, 0);
            driver_avail(d, TX, *added % DRIVER_RING);
            ++*added;
        }
        while (driver_get(d, TX, &used)) {
            g_assert_cmpuint(used.id, ==, (d->used[TX] - 1) % DRIVER_RING);
        }
    }
}

/*
 * A driver that does everything at once, while the device is busy.  Nothing is
 * lost but by a reset, and the device sees nothing wrong.
 */
static void test_churn(void)
{
    Driver *d = driver_new(NULL);
    uint64_t other = DRIVER_IOVA + 2 * DRIVER_MEM;
    gint64 longest = 0, start;
    uint16_t added = 0;
    unsigned i;

    STORE(d->sim->ctl[TX].poll_ns, UINT32_MAX);
    driver_start(d, PLAIN);
    for (i = 0; i < 2000; i++) {
        unsigned what = g_test_rand_int_range(0, 20);

        churn_traffic(d, &added, g_test_rand_int_range(0, 50));
        start = g_get_monotonic_time();
        switch (what) {
        case 0:
            driver_reset(d);
            added = 0;
            driver_start(d, PLAIN);
            break;
        case 1:
            g_assert_cmpint(ask(d->fd, VHOST_VDPA_SUSPEND, NULL), ==,
                            0);
            g_assert_cmpuint(driver_base(d, TX), ==, *driver_used_idx(d, TX));
            g_assert_cmpint(ask(d->fd, RESUME, NULL), ==, 0);
            break;
        case 2:
            vdpa_sim_pause(d->sim, TX, true);
            vdpa_sim_pause(d->sim, TX, false);
            break;
        case 3:
            STORE(d->sim->ctl[TX].poll_ns, i % 2 ? UINT32_MAX : 1000);
            vdpa_sim_wake(d->sim);
            driver_kick(d, TX);
            break;
        default:
            g_assert_cmpint(driver_map(d, VHOST_IOTLB_UPDATE, 0, other, 0,
                                       DRIVER_MEM, VHOST_ACCESS_RW), ==, 0);
            g_assert_cmpint(driver_map(d, VHOST_IOTLB_INVALIDATE, 0, other, 0,
                                       DRIVER_MEM, 0), ==, 0);
            break;
        }
        longest = MAX(longest, g_get_monotonic_time() - start);
        driver_kick(d, TX);
    }
    g_test_message("%" G_GUINT64_FORMAT " buffers, at most %" G_GINT64_FORMAT
                   " us for a change", LOAD(d->sim->stats[TX].buffers),
                   longest);
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
    g_test_add_func("/vdpa-sim/device/doorbell", test_doorbell);
    g_test_add_func("/vdpa-sim/device/notify-data", test_notify_data);
    g_test_add_func("/vdpa-sim/device/calls", test_calls);
    g_test_add_func("/vdpa-sim/device/outside", test_outside);
    g_test_add_data_func("/vdpa-sim/device/starved/split", NULL, test_starved);
    g_test_add_data_func("/vdpa-sim/device/starved/packed", GINT_TO_POINTER(1),
                         test_starved);
    g_test_add_func("/vdpa-sim/device/steer", test_steer);
    g_test_add_func("/vdpa-sim/device/churn", test_churn);
    return g_test_run();
}
