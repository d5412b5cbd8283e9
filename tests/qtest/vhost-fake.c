/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vhost-fake.so: vhost-kernel, vhost-vdpa and tap devices that are not there
 *
 * A test preloads this object into QEMU to learn what QEMU tells a vhost device
 * of the kernel, without such a device, its module, /dev/net/tun or any
 * privilege.  It takes the ioctl() calls on the descriptors that the test has
 * listed in VhostFake (see vhost-fake.h), answers them as the kernel would, and
 * notes the outcome for the test.  Everything else goes to the kernel.
 *
 * Control path only: no ring is ever read or written.  The IOTLB messages that
 * QEMU write()s need no attention if the descriptor is one of /dev/null, which
 * takes them; mmap() fails on it, as on a device without notification pages.
 *
 * This is not linked with QEMU's code and must not be: it lives in a process
 * that has its own copy of it.  Hence libc only, and no qemu/osdep.h.
 */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <net/if.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <linux/if_tun.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>

#include "vhost-fake.h"

#define VNET_HDR_LEN 10         /* without the number of buffers */
#define RING_SIZE 256

static VhostFake *fake;

static void __attribute__((constructor)) vhost_fake_load(void)
{
    const char *number = getenv(VHOST_FAKE_ENV);
    void *p;

    if (!number) {
        return;
    }
    p = mmap(NULL, sizeof(*fake), PROT_READ | PROT_WRITE, MAP_SHARED,
             atoi(number), 0);
    if (p != MAP_FAILED) {
        fake = p;
        fake->loaded = 1;
    }
}

/* Returns the device that @fd is to look like, or NULL if it is none */
static VhostFakeDev *vhost_fake_find(int fd)
{
    struct stat st;
    uint32_t i;

    for (i = 0; fake && i < fake->ndevs; i++) {
        VhostFakeDev *d = &fake->devs[i];

        if (d->fd == fd && fstat(fd, &st) == 0 &&
            d->st_dev == st.st_dev && d->st_ino == st.st_ino) {
            return d;
        }
    }
    return NULL;
}

static int unknown(VhostFakeDev *d, unsigned long request)
{
    d->unknown++;
    d->last_unknown = request;
    return -ENOTTY;
}

/* The requests that vhost-kernel and vhost-vdpa have in common */
static int vhost_request(VhostFakeDev *d, unsigned long request, void *arg)
{
    struct vhost_vring_state *ring = arg;
    uint64_t features;

    switch (request) {
    case VHOST_GET_FEATURES:
        memcpy(arg, &d->features, sizeof(d->features));
        return 0;
    case VHOST_SET_FEATURES:
        memcpy(&features, arg, sizeof(features));
        if (d->kind == VHOST_FAKE_VDPA &&
            (d->status & VIRTIO_CONFIG_S_FEATURES_OK)) {
            return -EBUSY;
        }
        /* Noted even if refused, for the test is to see what QEMU wanted */
        d->acked = features;
        return features & ~d->features ? -EOPNOTSUPP : 0;
    case VHOST_GET_BACKEND_FEATURES:
        features = 1ull << VHOST_BACKEND_F_IOTLB_MSG_V2;
        if (d->kind == VHOST_FAKE_VDPA) {
            features |= 1ull << VHOST_BACKEND_F_IOTLB_BATCH;
        }
        memcpy(arg, &features, sizeof(features));
        return 0;
    case VHOST_SET_VRING_BASE:
        if (ring->index >= VHOST_FAKE_MAX_QUEUES) {
            return -ENOBUFS;
        }
        d->base[ring->index] = ring->num;
        return 0;
    case VHOST_GET_VRING_BASE:
        if (ring->index >= VHOST_FAKE_MAX_QUEUES) {
            return -ENOBUFS;
        }
        ring->num = d->base[ring->index];
        return 0;
    case VHOST_SET_BACKEND_FEATURES:
    case VHOST_SET_OWNER:
    case VHOST_RESET_OWNER:
    case VHOST_SET_MEM_TABLE:
    case VHOST_SET_LOG_BASE:
    case VHOST_SET_LOG_FD:
    case VHOST_SET_VRING_NUM:
    case VHOST_SET_VRING_ADDR:
    case VHOST_SET_VRING_KICK:
    case VHOST_SET_VRING_CALL:
    case VHOST_SET_VRING_ERR:
    case VHOST_SET_VRING_BUSYLOOP_TIMEOUT:
        return 0;
    default:
        return unknown(d, request);
    }
}

static int kernel_request(VhostFakeDev *d, unsigned long request, void *arg)
{
    const struct vhost_vring_file *file = arg;

    switch (request) {
    case VHOST_NET_SET_BACKEND:
        if (file->index >= VHOST_FAKE_MAX_QUEUES) {
            return -ENOBUFS;
        }
        if (file->fd < 0) {
            d->backends &= ~(1ull << file->index);
        } else {
            d->backends |= 1ull << file->index;
        }
        return 0;
    case VHOST_VSOCK_SET_GUEST_CID:
        return 0;
    case VHOST_VSOCK_SET_RUNNING:
        d->running = *(const int *)arg;
        return 0;
    case VHOST_SCSI_GET_ABI_VERSION:
        *(int *)arg = VHOST_SCSI_ABI_VERSION;
        return 0;
    case VHOST_SCSI_SET_ENDPOINT:
        d->running = 1;
        return 0;
    case VHOST_SCSI_CLEAR_ENDPOINT:
        d->running = 0;
        return 0;
    default:
        return vhost_request(d, request, arg);
    }
}

static int vdpa_request(VhostFakeDev *d, unsigned long request, void *arg)
{
    static const uint8_t mac[] = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 };
    struct vhost_vdpa_iova_range *range = arg;
    struct vhost_vdpa_config *config = arg;
    uint8_t status;
    uint32_t i;

    switch (request) {
    case VHOST_VDPA_GET_DEVICE_ID:
        *(uint32_t *)arg = VIRTIO_ID_NET;
        return 0;
    case VHOST_VDPA_GET_STATUS:
        *(uint8_t *)arg = d->status;
        return 0;
    case VHOST_VDPA_SET_STATUS:
        status = *(const uint8_t *)arg;
        if (!status) {
            d->acked = 0;
        }
        d->status = status;
        return 0;
    case VHOST_VDPA_GET_CONFIG:
        /* A virtio-net configuration: the MAC address, then zeroes */
        for (i = 0; i < config->len; i++) {
            uint64_t at = (uint64_t)config->off + i;

            config->buf[i] = at < sizeof(mac) ? mac[at] : 0;
        }
        return 0;
    case VHOST_VDPA_GET_VRING_NUM:
        *(uint16_t *)arg = RING_SIZE;
        return 0;
    case VHOST_VDPA_GET_IOVA_RANGE:
        range->first = 0;
        range->last = UINT64_MAX;
        return 0;
    case VHOST_VDPA_SET_CONFIG:
    case VHOST_VDPA_SET_VRING_ENABLE:
    case VHOST_VDPA_SET_CONFIG_CALL:
        return 0;
    default:
        return vhost_request(d, request, arg);
    }
}

static int tap_request(VhostFakeDev *d, unsigned long request, void *arg)
{
    struct ifreq *ifr = arg;

    switch (request) {
    case TUNGETIFF:
        memset(ifr, 0, sizeof(*ifr));
        strcpy(ifr->ifr_name, "fake0");
        ifr->ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
        return 0;
    case TUNGETVNETHDRSZ:
        *(int *)arg = d->vnet_hdr_len ? d->vnet_hdr_len : VNET_HDR_LEN;
        return 0;
    case TUNSETVNETHDRSZ:
        d->vnet_hdr_len = *(const int *)arg;
        return 0;
    case TUNSETQUEUE:
        d->detached = !!(ifr->ifr_flags & IFF_DETACH_QUEUE);
        return 0;
    case TUNSETSNDBUF:
    case TUNSETOFFLOAD:
    case TUNSETVNETLE:
    case TUNSETVNETBE:
    case TUNSETSTEERINGEBPF:
        return 0;
    default:
        return unknown(d, request);
    }
}

/*
 * In place of libc's ioctl().  Any thread may call it, and other descriptors
 * than the listed ones must not notice.
 *
 * <sys/ioctl.h> is left out, because C libraries differ in the type of
 * @request; its lower 32 bits count everywhere.
 */
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
int ioctl(int fd, unsigned long request, ...)
{
    int saved_errno = errno;
    VhostFakeDev *d;
    va_list ap;
    void *arg;
    int ret;

    va_start(ap, request);
    arg = va_arg(ap, void *);
    va_end(ap);

    d = vhost_fake_find(fd);
    errno = saved_errno;
    if (!d) {
        return syscall(SYS_ioctl, fd, request, arg);
    }

    switch (d->kind) {
    case VHOST_FAKE_KERNEL:
        ret = kernel_request(d, (unsigned int)request, arg);
        break;
    case VHOST_FAKE_VDPA:
        ret = vdpa_request(d, (unsigned int)request, arg);
        break;
    default:
        ret = tap_request(d, (unsigned int)request, arg);
        break;
    }
    if (ret < 0) {
        errno = -ret;
        return -1;
    }
    return ret;
}
