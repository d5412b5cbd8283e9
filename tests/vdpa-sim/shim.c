/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vdpa-sim: stands between QEMU and the C library
 *
 * A file that vdpa_sim_create() has made is an ordinary file to the kernel.
 * When QEMU, having opened it or been given a descriptor of it, uses it as a
 * vhost device for the first time, it becomes a device, and stays one until the
 * last descriptor of it is closed.  So it does not matter how QEMU comes by its
 * descriptor.  What concerns other descriptors goes to the C library.
 *
 * Any thread may call.  The table from descriptors to devices is read without a
 * lock; who opens, duplicates or closes has table_lock.  That a descriptor is
 * closed while another thread uses it is QEMU's mistake here as elsewhere.
 *
 * It is built without instrumentation of any sanitizer, whose runtime calls
 * mmap() and the like before it is ready to hear of it.
 *
 * A child of QEMU has no threads of ours and must not touch the device: it sees
 * plain files.
 */

/* Both mmap() and mmap64() are to be had under their own names */
#undef _FILE_OFFSET_BITS

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <linux/vhost.h>

#include "device.h"

#define MAX_DEVICES     64
#define MAX_FDS         65536

static SimDevice *devices[MAX_DEVICES];
static uint8_t table[MAX_FDS];  /* number of the device, plus 1; atomic */
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static pid_t owner;

/* The C library's, or that of whoever else stands in between */
#define NEXT(name)                                                           \
    ({                                                                       \
        static __typeof__(name) *next;                                       \
        __typeof__(name) *fn = __atomic_load_n(&next, __ATOMIC_RELAXED);     \
        if (!fn) {                                                           \
            fn = (__typeof__(name) *)dlsym(RTLD_NEXT, #name);                \
            __atomic_store_n(&next, fn, __ATOMIC_RELAXED);                   \
        }                                                                    \
        fn;                                                                  \
    })

static SimDevice *lookup(int fd)
{
    uint8_t n;

    if (fd < 0 || fd >= MAX_FDS) {
        return NULL;
    }
    n = __atomic_load_n(&table[fd], __ATOMIC_ACQUIRE);
    if (!n || getpid() != owner) {
        return NULL;
    }
    return __atomic_load_n(&devices[n - 1], __ATOMIC_ACQUIRE);
}

/* Notes that @fd is a descriptor of device @n.  The table is locked. */
static void add_fd(int fd, unsigned n)
{
    devices[n]->fds++;
    __atomic_store_n(&table[fd], n + 1, __ATOMIC_RELEASE);
}

/* Returns whether the file is one of ours */
static VdpaSim *map_file(int fd, const struct stat *st)
{
    VdpaSim *sim;

    if (!S_ISREG(st->st_mode) || st->st_size < (off_t)sizeof(*sim)) {
        return NULL;
    }
    sim = NEXT(mmap)(NULL, sizeof(*sim), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                     0);
    if (sim == MAP_FAILED) {
        return NULL;
    }
    if (__atomic_load_n(&sim->magic, __ATOMIC_ACQUIRE) != VDPA_SIM_MAGIC ||
        sim->version != VDPA_SIM_VERSION || sim->size != sizeof(*sim)) {
        munmap(sim, sizeof(*sim));
        return NULL;
    }
    return sim;
}

/*
 * Finds the device that a descriptor belongs to which is used as a vhost
 * device.  Returns NULL if it is none, with errno set if it ought to be one.
 */
static SimDevice *attach(int fd)
{
    /* Of the open file: falls away with its last descriptor, come what may */
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    SimDevice *dev = NULL;
    struct stat st;
    VdpaSim *sim;
    unsigned i, slot = MAX_DEVICES;

    if (fd < 0 || fd >= MAX_FDS || fstat(fd, &st) < 0) {
        return NULL;
    }
    pthread_mutex_lock(&table_lock);
    for (i = 0; i < MAX_DEVICES; i++) {
        dev = devices[i];
        if (!dev) {
            slot = i < slot ? i : slot;
        } else if (dev->st_dev == st.st_dev && dev->st_ino == st.st_ino) {
            break;
        }
    }
    if (i == MAX_DEVICES) {
        dev = NULL;
        sim = slot < MAX_DEVICES ? map_file(fd, &st) : NULL;
        if (sim && syscall(SYS_fcntl, fd, F_OFD_SETLK, &lock) < 0) {
            munmap(sim, sizeof(*sim));
            errno = EBUSY;
            sim = NULL;
        }
        if (sim) {
            owner = getpid();
            dev = sim_device_new(sim, sizeof(*sim));
            if (!dev) {
                munmap(sim, sizeof(*sim));
            }
        }
        i = slot;
        if (dev) {
            dev->st_dev = st.st_dev;
            dev->st_ino = st.st_ino;
            __atomic_store_n(&devices[i], dev, __ATOMIC_RELEASE);
        }
    } else if (syscall(SYS_fcntl, fd, F_OFD_SETLK, &lock) < 0) {
        /* Opened a second time, rather than duplicated */
        errno = EBUSY;
        dev = NULL;
    }
    if (dev) {
        add_fd(fd, i);
    }
    pthread_mutex_unlock(&table_lock);
    return dev;
}

/* Before @fd is closed or becomes something else */
static void forget_fd(int fd)
{
    SimDevice *gone = NULL;
    unsigned n;

    if (!lookup(fd)) {
        return;
    }
    pthread_mutex_lock(&table_lock);
    n = __atomic_exchange_n(&table[fd], 0, __ATOMIC_ACQ_REL);
    if (n && --devices[n - 1]->fds == 0) {
        gone = devices[n - 1];
        __atomic_store_n(&devices[n - 1], NULL, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&table_lock);
    if (gone) {
        sim_device_free(gone);
    }
}

/* After @old was duplicated as @new.  Returns @new. */
static int remember_dup(int old, int new)
{
    unsigned n;

    if (new >= 0 && new < MAX_FDS && new != old && lookup(old)) {
        pthread_mutex_lock(&table_lock);
        n = __atomic_load_n(&table[old], __ATOMIC_ACQUIRE);
        if (n) {
            add_fd(new, n - 1);
        }
        pthread_mutex_unlock(&table_lock);
    }
    return new;
}

static int result(int ret)
{
    if (ret < 0) {
        errno = -ret;
        return -1;
    }
    return ret;
}

/* In place of the C library's functions */
#define EXPORT __attribute__((visibility("default")))
#pragma GCC diagnostic ignored "-Wmissing-prototypes"

/*
 * <sys/ioctl.h> is left out, because C libraries differ in the type of
 * @request; its lower 32 bits count everywhere.
 */
EXPORT int ioctl(int fd, unsigned long request, ...)
{
    unsigned int nr = request;
    SimDevice *dev = NULL;
    va_list ap;
    void *arg;

    va_start(ap, request);
    arg = va_arg(ap, void *);
    va_end(ap);

    if (_IOC_TYPE(nr) == VHOST_VIRTIO) {
        int saved = errno;

        errno = 0;
        dev = lookup(fd);
        dev = dev ? dev : attach(fd);
        if (!dev && errno == EBUSY) {
            return -1;
        }
        errno = saved;
    }
    return dev ? result(sim_device_ioctl(dev, nr, arg))
               : NEXT(ioctl)(fd, request, arg);
}

EXPORT ssize_t write(int fd, const void *buf, size_t len)
{
    SimDevice *dev = lookup(fd);
    ssize_t ret;

    if (!dev) {
        return NEXT(write)(fd, buf, len);
    }
    ret = sim_device_message(dev, buf, len);
    if (ret < 0) {
        errno = -ret;
        return -1;
    }
    return ret;
}

EXPORT ssize_t writev(int fd, const struct iovec *iov, int num)
{
    uint8_t buf[256];
    size_t len = 0;
    int i;

    if (!lookup(fd)) {
        return NEXT(writev)(fd, iov, num);
    }
    for (i = 0; i < num; i++) {
        if (iov[i].iov_len > sizeof(buf) - len) {
            errno = EINVAL;
            return -1;
        }
        memcpy(buf + len, iov[i].iov_base, iov[i].iov_len);
        len += iov[i].iov_len;
    }
    return write(fd, buf, len);
}

typedef void *MapFn(void *, size_t, int, int, int, off_t);

static void *map(MapFn *next, void *addr, size_t len, int prot, int flags,
                 int fd, off_t offset)
{
    SimDevice *dev = flags & MAP_ANONYMOUS ? NULL : lookup(fd);

    if (dev) {
        fd = sim_device_notify_page(dev, offset, len, prot, flags);
        if (fd < 0) {
            errno = -fd;
            return MAP_FAILED;
        }
    }
    return next(addr, len, prot, flags, fd, offset);
}

EXPORT void *mmap(void *addr, size_t len, int prot, int flags, int fd,
                  off_t offset)
{
    return map(NEXT(mmap), addr, len, prot, flags, fd, offset);
}

EXPORT void *mmap64(void *addr, size_t len, int prot, int flags, int fd,
                    off64_t offset)
{
    return map(NEXT(mmap64), addr, len, prot, flags, fd, offset);
}

EXPORT int close(int fd)
{
    forget_fd(fd);
    return NEXT(close)(fd);
}

EXPORT int dup(int fd)
{
    return remember_dup(fd, NEXT(dup)(fd));
}

EXPORT int dup2(int old, int new)
{
    if (old != new) {
        forget_fd(new);
    }
    return remember_dup(old, NEXT(dup2)(old, new));
}

EXPORT int dup3(int old, int new, int flags)
{
    if (old != new) {
        forget_fd(new);
    }
    return remember_dup(old, NEXT(dup3)(old, new, flags));
}

static int control(int (*next)(int, int, ...), int fd, int cmd, void *arg)
{
    int ret = next(fd, cmd, arg);

    return cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC ? remember_dup(fd, ret)
                                                    : ret;
}

EXPORT int fcntl(int fd, int cmd, ...)
{
    va_list ap;
    void *arg;

    va_start(ap, cmd);
    arg = va_arg(ap, void *);
    va_end(ap);
    return control(NEXT(fcntl), fd, cmd, arg);
}

EXPORT int fcntl64(int fd, int cmd, ...)
{
    va_list ap;
    void *arg;

    va_start(ap, cmd);
    arg = va_arg(ap, void *);
    va_end(ap);
    return control(NEXT(fcntl64), fd, cmd, arg);
}
