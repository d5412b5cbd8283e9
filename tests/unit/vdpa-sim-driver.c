/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A driver of the simulated vDPA device that writes whatever it is told to, see
 * vdpa-sim-driver.h
 */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/auxv.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "vdpa-sim-driver.h"

#define UNMAPPED        0x7000000000ull

/* Where the areas of a queue are in the memory */
#define AREAS(q)        ((q) * 0x8000)
#define DESC(q)         AREAS(q)
#define AVAIL(q)        (AREAS(q) + 0x2000)
#define USED(q)         (AREAS(q) + 0x4000)

#define PACKED_AVAIL    0x80
#define PACKED_USED     0x8000

typedef struct Desc {
    uint64_t addr;
    uint32_t len;
    uint16_t a, b;              /* split: flags, next; packed: id, flags */
} Desc;

void driver_config(VdpaSimConfig *config)
{
    unsigned i;

    vdpa_sim_config_init(config, DRIVER_PAIRS);
    config->features |= 1ull << VIRTIO_F_RING_PACKED |
                        1ull << VIRTIO_F_IN_ORDER |
                        1ull << VIRTIO_F_RING_RESET |
                        1ull << 38 /* VIRTIO_F_NOTIFICATION_DATA */;
    config->backend_features |= 1ull << VHOST_BACKEND_F_IOTLB_ASID |
                                1ull << 5 /* VHOST_BACKEND_F_RESUME */;
    config->notify_pages = (1u << DRIVER_QUEUES) - 1;
    config->num_groups = config->num_as = 2;
    for (i = 0; i < VDPA_SIM_MAX_QUEUES; i++) {
        config->group[i] = i == DRIVER_CTRL;
    }
}

Driver *driver_new(const VdpaSimConfig *config)
{
    Driver *d = g_new0(Driver, 1);
    VdpaSimConfig all;
    uint64_t backend;
    unsigned i;

    driver_config(&all);
    config = config ? config : &all;
    d->path = g_strdup_printf("%s/vdpa-sim-unit-%d", g_get_tmp_dir(),
                              getpid());
    d->sim = vdpa_sim_create(d->path, config);
    g_assert_nonnull(d->sim);
    d->mem = mmap(NULL, DRIVER_MEM, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    g_assert_true(d->mem != MAP_FAILED);
    d->page = getauxval(AT_PAGESZ);
    d->config_call = eventfd(0, EFD_NONBLOCK);
    for (i = 0; i < DRIVER_QUEUES; i++) {
        d->kick[i] = eventfd(0, EFD_NONBLOCK);
        d->call[i] = eventfd(0, EFD_NONBLOCK);
        d->wrap[i] = d->used_wrap[i] = true;
    }
    d->fd = open(d->path, O_RDWR);
    g_assert_cmpint(d->fd, >=, 0);
    g_assert_cmpint(ioctl(d->fd, VHOST_SET_OWNER, NULL), ==, 0);
    backend = config->backend_features;
    g_assert_cmpint(ioctl(d->fd, VHOST_SET_BACKEND_FEATURES, &backend), ==, 0);
    return d;
}

void driver_free(Driver *d, bool clean)
{
    unsigned i;

    close(d->fd);
    if (clean) {
        char *text = vdpa_sim_complaint(d->sim);

        g_assert_cmpstr(text, ==, NULL);
    }
    for (i = 0; i < DRIVER_QUEUES; i++) {
        close(d->kick[i]);
        close(d->call[i]);
    }
    close(d->config_call);
    munmap(d->mem, DRIVER_MEM);
    vdpa_sim_free(d->sim);
    g_unlink(d->path);
    g_free(d->path);
    g_free(d);
}

int driver_map(Driver *d, uint8_t type, uint32_t asid, uint64_t iova,
               size_t offset, uint64_t size, uint8_t perm)
{
    struct vhost_msg_v2 msg = {
        .type = VHOST_IOTLB_MSG_V2,
        .asid = asid,
        .iotlb = {
            .type = type,
            .iova = iova,
            .size = size,
            .uaddr = (uintptr_t)d->mem + offset,
            .perm = perm,
        },
    };

    return write(d->fd, &msg, sizeof(msg)) == sizeof(msg) ? 0 : errno;
}

int ask(int fd, unsigned long request, void *arg)
{
    return ioctl(fd, request, arg) < 0 ? errno : 0;
}

int driver_ioctl(Driver *d, unsigned long request, unsigned q, unsigned num)
{
    struct vhost_vring_state state = { q, num };

    return ioctl(d->fd, request, &state) ? errno : 0;
}

uint32_t driver_base(Driver *d, unsigned q)
{
    struct vhost_vring_state state = { q, 0 };

    g_assert_cmpint(ioctl(d->fd, VHOST_GET_VRING_BASE, &state), ==, 0);
    return state.num;
}

void driver_status(Driver *d, uint8_t status)
{
    uint8_t s;

    g_assert_cmpint(ioctl(d->fd, VHOST_VDPA_GET_STATUS, &s), ==, 0);
    s |= status;
    g_assert_cmpint(ioctl(d->fd, VHOST_VDPA_SET_STATUS, &s), ==, 0);
}

void driver_features(Driver *d, uint64_t without)
{
    driver_status(d, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    g_assert_cmpint(ioctl(d->fd, VHOST_GET_FEATURES, &d->features), ==, 0);
    d->features &= ~without;
    g_assert_cmpint(ioctl(d->fd, VHOST_SET_FEATURES, &d->features), ==, 0);
    driver_status(d, VIRTIO_CONFIG_S_FEATURES_OK);
    d->packed = d->features & 1ull << VIRTIO_F_RING_PACKED;
}

void driver_queue(Driver *d, unsigned q)
{
    struct vhost_vring_addr addr = {
        .index = q,
        .desc_user_addr = DRIVER_IOVA + DESC(q),
        .avail_user_addr = DRIVER_IOVA + AVAIL(q),
        .used_user_addr = DRIVER_IOVA + USED(q),
    };

    g_assert_cmpint(driver_ioctl(d, VHOST_SET_VRING_NUM, q, DRIVER_RING),
                    ==, 0);
    g_assert_cmpint(ioctl(d->fd, VHOST_SET_VRING_ADDR, &addr), ==, 0);
    g_assert_cmpint(driver_ioctl(d, VHOST_SET_VRING_KICK, q, d->kick[q]),
                    ==, 0);
    g_assert_cmpint(driver_ioctl(d, VHOST_SET_VRING_CALL, q, d->call[q]),
                    ==, 0);
    g_assert_cmpint(driver_ioctl(d, VHOST_VDPA_SET_VRING_ENABLE, q, 1), ==, 0);
}

void driver_start(Driver *d, uint64_t without)
{
    unsigned q;

    /* The driver's area of a packed ring says when to interrupt, so always */
    driver_features(d, without);
    driver_map(d, VHOST_IOTLB_INVALIDATE, 0, 0, 0, UINT64_MAX & ~0xfffull, 0);
    g_assert_cmpint(driver_map(d, VHOST_IOTLB_UPDATE, 0, DRIVER_IOVA, 0,
                               DRIVER_MEM, VHOST_ACCESS_RW), ==, 0);
    for (q = 0; q < DRIVER_QUEUES; q++) {
        driver_queue(d, q);
    }
    g_assert_cmpint(ioctl(d->fd, VHOST_VDPA_SET_CONFIG_CALL, &d->config_call),
                    ==, 0);
    driver_status(d, VIRTIO_CONFIG_S_DRIVER_OK);
}

void driver_reset(Driver *d)
{
    uint8_t status = 0;
    unsigned q;

    g_assert_cmpint(ioctl(d->fd, VHOST_VDPA_SET_STATUS, &status), ==, 0);
    memset(d->mem, 0, DRIVER_MEM);
    for (q = 0; q < DRIVER_QUEUES; q++) {
        d->pos[q] = d->used[q] = 0;
        d->wrap[q] = d->used_wrap[q] = true;
        driver_count(d->kick[q]);
        driver_count(d->call[q]);
    }
}

static uint64_t iova_of(uint64_t offset)
{
    return offset == UINT64_MAX ? UNMAPPED : DRIVER_IOVA + offset;
}

void driver_desc(Driver *d, unsigned q, uint16_t i, uint64_t offset,
                 uint32_t len, uint16_t flags, uint16_t next)
{
    Desc *ring = (Desc *)(d->mem + DESC(q));
    Desc *desc = &ring[d->packed ? d->pos[q] : i];

    desc->addr = iova_of(offset);
    desc->len = len;
    if (!d->packed) {
        desc->a = flags;
        desc->b = next;
        return;
    }
    desc->a = i;
    flags |= d->wrap[q] ? PACKED_AVAIL : PACKED_USED;
    if (++d->pos[q] == DRIVER_RING) {
        d->pos[q] = 0;
        d->wrap[q] = !d->wrap[q];
    }
    __atomic_store_n(&desc->b, flags, __ATOMIC_RELEASE);
}

void driver_table(Driver *d, uint64_t offset, unsigned i, uint64_t buffer,
                  uint32_t len, uint16_t flags, uint16_t next)
{
    Desc *desc = (Desc *)(d->mem + offset) + i;

    desc->addr = iova_of(buffer);
    desc->len = len;
    desc->a = d->packed ? 0 : flags;
    desc->b = d->packed ? flags : next;
}

uint16_t *driver_avail_idx(Driver *d, unsigned q)
{
    return (uint16_t *)(d->mem + AVAIL(q)) + 1;
}

uint16_t *driver_used_idx(Driver *d, unsigned q)
{
    return (uint16_t *)(d->mem + USED(q)) + 1;
}

void driver_avail(Driver *d, unsigned q, uint16_t head)
{
    uint16_t *idx = driver_avail_idx(d, q);

    idx[1 + *idx % DRIVER_RING] = head;
    __atomic_store_n(idx, *idx + 1, __ATOMIC_RELEASE);
}

void driver_kick(Driver *d, unsigned q)
{
    uint64_t one = 1;

    g_assert_cmpint(write(d->kick[q], &one, sizeof(one)), ==, sizeof(one));
}

void driver_put(Driver *d, unsigned q, uint16_t i, uint64_t offset,
                uint32_t len, uint16_t flags)
{
    driver_desc(d, q, i, offset, len, flags, 0);
    if (!d->packed) {
        driver_avail(d, q, i);
    }
    driver_kick(d, q);
}

bool driver_get(Driver *d, unsigned q, Used *used)
{
    if (d->packed) {
        Desc *desc = (Desc *)(d->mem + DESC(q)) + d->used[q];
        uint16_t flags = __atomic_load_n(&desc->b, __ATOMIC_ACQUIRE);

        if (!!(flags & PACKED_AVAIL) != d->used_wrap[q] ||
            !!(flags & PACKED_USED) != d->used_wrap[q]) {
            return false;
        }
        used->id = desc->a;
        used->len = desc->len;
        if (++d->used[q] == DRIVER_RING) {
            d->used[q] = 0;
            d->used_wrap[q] = !d->used_wrap[q];
        }
    } else {
        uint16_t *idx = driver_used_idx(d, q);
        Used *ring = (Used *)(idx + 1);

        if (__atomic_load_n(idx, __ATOMIC_ACQUIRE) == d->used[q]) {
            return false;
        }
        *used = ring[d->used[q]++ % DRIVER_RING];
    }
    return true;
}

Used driver_wait(Driver *d, unsigned q)
{
    Used used;

    WAIT_FOR(driver_get(d, q, &used));
    return used;
}

uint64_t driver_count(int fd)
{
    uint64_t value;

    return read(fd, &value, sizeof(value)) == sizeof(value) ? value : 0;
}

void driver_expect(Driver *d, const char *part)
{
    g_autofree char *text = NULL;

    WAIT_FOR((text = vdpa_sim_complaint(d->sim)) != NULL);
    if (!strstr(text, part)) {
        g_error("\"%s\" expected, but: %s", part, text);
    }
}
