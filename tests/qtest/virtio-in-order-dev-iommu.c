/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: the IOMMU, with a device behind it
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "virtio-in-order-exchange.h"
#include "virtio-in-order-fleet.h"
#include "standard-headers/linux/virtio_iommu.h"

/* Queues of the IOMMU (VIRTIO 1.2, 5.13.2) */
enum { IOMMU_REQUESTS, IOMMU_EVENTS };

#define IOMMU_DOMAIN    7
#define IOMMU_TAIL      4               /* bytes of each answer's end */
#define IOMMU_WINDOW    (4 * GiB)       /* where buffers are for the device */

/* The device behind the IOMMU, as the IOMMU knows it */
#define ENDPOINT        (DEV_SLOT(FLEET_BEHIND_IOMMU) << 3)

typedef struct Iommu {
    Dev *dev, *user;
    QVirtQueue *requests, *events, *user_vq;
    Exchange x[6], fault[4];
    unsigned n;                         /* requests in this burst */
} Iommu;

static void iommu_request(Iommu *m, const void *req, size_t len)
{
    Exchange *x = &m->x[m->n++];

    memcpy(x->out, req, len);
    exchange_add(x, m->requests, len, IOMMU_TAIL);
}

/* Lets the requests run, all with one kick; each has to succeed */
static void iommu_run(Iommu *m)
{
    unsigned i;

    exchange_go(&m->x[m->n - 1], m->requests);
    exchange_finish(m->x, m->n, m->requests, "IOMMU requests");
    for (i = 0; i < m->n; i++) {
        g_assert_cmpuint(m->x[i].len, ==, IOMMU_TAIL);
        g_assert_cmpuint(m->x[i].in[0], ==, VIRTIO_IOMMU_S_OK);
    }
    fleet_idle(m->dev, m->requests);
    m->n = 0;
}

static void iommu_attach(Iommu *m, bool attach)
{
    struct virtio_iommu_req_attach req = {
        .head.type = attach ? VIRTIO_IOMMU_T_ATTACH : VIRTIO_IOMMU_T_DETACH,
        .domain = cpu_to_le32(IOMMU_DOMAIN),
        .endpoint = cpu_to_le32(ENDPOINT),
    };

    iommu_request(m, &req, offsetof(struct virtio_iommu_req_attach, tail));
}

static void iommu_map(Iommu *m, uint64_t virt, uint64_t phys, uint64_t size)
{
    struct virtio_iommu_req_map req = {
        .head.type = VIRTIO_IOMMU_T_MAP,
        .domain = cpu_to_le32(IOMMU_DOMAIN),
        .virt_start = cpu_to_le64(virt),
        .virt_end = cpu_to_le64(virt + size - 1),
        .phys_start = cpu_to_le64(phys),
        .flags = cpu_to_le32(VIRTIO_IOMMU_MAP_F_READ |
                             VIRTIO_IOMMU_MAP_F_WRITE),
    };

    iommu_request(m, &req, offsetof(struct virtio_iommu_req_map, tail));
}

static void iommu_unmap(Iommu *m, uint64_t virt, uint64_t size)
{
    struct virtio_iommu_req_unmap req = {
        .head.type = VIRTIO_IOMMU_T_UNMAP,
        .domain = cpu_to_le32(IOMMU_DOMAIN),
        .virt_start = cpu_to_le64(virt),
        .virt_end = cpu_to_le64(virt + size - 1),
    };

    iommu_request(m, &req, offsetof(struct virtio_iommu_req_unmap, tail));
}

static void user_start(Iommu *m)
{
    m->user = dev_start_too(FLEET_BEHIND_IOMMU, NO_EVENT_IDX);
    m->user_vq = queue_setup(m->user, 0, 0);
    qvirtio_set_driver_ok(m->user->vdev);
}

static void user_stop(Iommu *m)
{
    qvirtio_reset(m->user->vdev);
    queue_free(m->user, m->user_vq);
}

/* The IOMMU with its domain; what is behind it sees memory as it is */
static void iommu_start(Iommu *m)
{
    unsigned i;

    memset(m, 0, sizeof(*m));
    m->dev = dev_start(FLEET_IOMMU, NO_EVENT_IDX);
    m->requests = queue_setup(m->dev, IOMMU_REQUESTS, 0);
    m->events = queue_setup(m->dev, IOMMU_EVENTS, 0);
    qvirtio_set_driver_ok(m->dev->vdev);
    for (i = 0; i < ARRAY_SIZE(m->x); i++) {
        exchange_init(&m->x[i], 128, 1024);
    }
    for (i = 0; i < ARRAY_SIZE(m->fault); i++) {
        exchange_init(&m->fault[i], 0, sizeof(struct virtio_iommu_fault));
    }
    iommu_attach(m, true);
    iommu_map(m, 0, 0, RIG_RAM_SIZE);
    iommu_run(m);
    user_start(m);
}

/* The end of an IOMMU that does not work any more */
static void iommu_abandon(Iommu *m)
{
    user_stop(m);
    qvirtio_reset(m->dev->vdev);
    queue_free(m->dev, m->requests);
    queue_free(m->dev, m->events);
}

static void iommu_stop(Iommu *m)
{
    iommu_unmap(m, 0, RIG_RAM_SIZE);
    iommu_attach(m, false);
    iommu_run(m);
    iommu_abandon(m);
}

/* A buffer that the device behind the IOMMU sees in the window */
static void window_buffer(Exchange *x, size_t len)
{
    exchange_init(x, 0, len);
    x->in_addr += IOMMU_WINDOW;
    /* The queue of virtio-rng is short */
    x->plain = true;
}

/*
 * Probe, attach, map, use, unmap, detach.  If this fails, a request overtakes
 * another, and the device behind the IOMMU writes where it must not.
 */
void test_iommu(const void *data)
{
    static const uint8_t poison[64] = { [0 ... 63] = POISON };
    enum { COUNT = 6 };
    struct virtio_iommu_req_probe probe = {
        .head.type = VIRTIO_IOMMU_T_PROBE,
        .endpoint = cpu_to_le32(ENDPOINT),
    };
    Exchange x[COUNT];
    unsigned round, i;
    size_t props;
    Iommu m;

    if (!fleet_get(data)) {
        return;
    }
    iommu_start(&m);
    props = qvirtio_config_readl(m.dev->vdev,
                                 offsetof(struct virtio_iommu_config,
                                          probe_size));
    memcpy(m.x[0].out, &probe, sizeof(probe));
    exchange_one(&m.x[0], m.requests, sizeof(probe), props + IOMMU_TAIL,
                 "probe");
    g_assert_cmpuint(m.x[0].len, ==, props + IOMMU_TAIL);
    g_assert_cmpuint(m.x[0].in[props], ==, VIRTIO_IOMMU_S_OK);

    for (i = 0; i < COUNT; i++) {
        window_buffer(&x[i], sizeof(poison));
    }
    for (round = 0; round < 4; round++) {
        iommu_map(&m, IOMMU_WINDOW, 0, RIG_RAM_SIZE);
        iommu_run(&m);
        for (i = 0; i < COUNT; i++) {
            exchange_add(&x[i], m.user_vq, 0, sizeof(poison));
        }
        exchange_go(&x[COUNT - 1], m.user_vq);
        exchange_finish(x, COUNT, m.user_vq, "entropy behind the IOMMU");
        for (i = 0; i < COUNT; i++) {
            g_assert_cmpuint(x[i].len, >, 0);
            g_assert_true(memcmp(x[i].in, poison, x[i].len));
        }
        fleet_idle(m.user, m.user_vq);
        iommu_unmap(&m, IOMMU_WINDOW, RIG_RAM_SIZE);
        iommu_run(&m);
    }
    iommu_stop(&m);
}

/*
 * A buffer that is not mapped: the IOMMU reports the fault in its event queue,
 * as often as there is room for it, and nothing is written.  If this fails,
 * the event is lost, or in the way of the next.
 */
void test_iommu_fault(const void *data)
{
    enum { COUNT = 2 };
    unsigned round, i;
    Iommu m;

    if (!fleet_get(data)) {
        return;
    }
    iommu_start(&m);
    for (round = 0; round < 4; round++) {
        Exchange good, bad, *f = m.fault;

        exchange_init(&good, 0, 64);
        window_buffer(&bad, 64);
        exchange_one(&good, m.user_vq, 0, 64, "before the fault");
        for (i = 0; i < COUNT; i++) {
            exchange_add(&f[i], m.events, 0, f[i].in_max);
        }
        exchange_go(&f[COUNT - 1], m.events);
        for (i = 0; i < COUNT; i++) {
            exchange_add(&bad, m.user_vq, 0, 64);
            exchange_go(&bad, m.user_vq);
            while (bad.in_flight) {
                gint64 start = 0;

                exchange_take(&bad, 1, m.user_vq);
                wait_a_little(&start, m.user_vq, "buffer that is not mapped");
            }
        }
        exchange_finish(f, COUNT, m.events, "faults");
        for (i = 0; i < COUNT; i++) {
            struct virtio_iommu_fault *fault = (void *)f[i].in;

            g_assert_cmpuint(f[i].len, ==, sizeof(*fault));
            g_assert_cmpuint(fault->reason, ==,
                             VIRTIO_IOMMU_FAULT_R_MAPPING);
            g_assert_cmpuint(le32_to_cpu(fault->endpoint), ==, ENDPOINT);
            g_assert_cmphex(le64_to_cpu(fault->address), ==, bad.in_addr);
        }
        fleet_idle(m.dev, m.events);
        exchange_one(&good, m.user_vq, 0, 64, "after the fault");
        fleet_idle(m.user, m.user_vq);
    }
    iommu_stop(&m);
}

/*
 * A probe that has no room for its answer: the device wants a reset, and works
 * after it.  If this fails, a guest can abort QEMU, or make the device
 * unusable beyond a reset.
 */
void test_iommu_short_probe(const void *data)
{
    struct virtio_iommu_req_probe probe = {
        .head.type = VIRTIO_IOMMU_T_PROBE,
        .endpoint = cpu_to_le32(ENDPOINT),
    };
    unsigned round;
    Iommu m;

    if (!fleet_get(data) || base_lacks("a short probe aborts QEMU")) {
        return;
    }
    for (round = 0; round < 3; round++) {
        gint64 start = 0;

        iommu_start(&m);
        memcpy(m.x[0].out, &probe, sizeof(probe));
        exchange_add(&m.x[0], m.requests, sizeof(probe), IOMMU_TAIL);
        exchange_go(&m.x[0], m.requests);
        while (!(m.dev->vdev->bus->get_status(m.dev->vdev) &
                 VIRTIO_CONFIG_S_NEEDS_RESET)) {
            wait_a_little(&start, m.requests, "short probe");
        }
        g_assert_null(exchange_take(m.x, ARRAY_SIZE(m.x), m.requests));
        iommu_abandon(&m);
        /* The reset has taken the domain away, too */
        iommu_start(&m);
        iommu_stop(&m);
    }
}
