/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: a QEMU with one of every virtio device, see virtio-in-order-fleet.h
 */

#include "qemu/osdep.h"
#include <sys/socket.h>
#include <sys/un.h>
#include "virtio-in-order-fleet.h"

Fleet fleet;

static const char *const names[FLEET_COUNT] = {
    [FLEET_RNG] = "rng", [FLEET_CONSOLE] = "con", [FLEET_BALLOON] = "bal",
    [FLEET_9P] = "fs", [FLEET_CRYPTO] = "cry", [FLEET_KEYBOARD] = "kbd",
    [FLEET_MOUSE] = "mou", [FLEET_TABLET] = "tab", [FLEET_GPU] = "gpu",
    [FLEET_IOMMU] = "mmu", [FLEET_BEHIND_IOMMU] = "rng2",
    [FLEET_MEM] = "mem0", [FLEET_PMEM] = "pmem0", [FLEET_SCSI] = "scsi",
    [FLEET_SCSI_THREAD] = "scsit", [FLEET_BLK] = "blk",
    [FLEET_BLK_THREAD] = "blkt",
};

static const char *const drives[FLEET_DISKS] = {
    "drv0", "drv1", "drv2", "drv3", "drv4", "drv5",
};

const char *fleet_drive(unsigned disk)
{
    return drives[disk];
}

/* -device, in the slot of @id; what comes after it is the caller's */
static void add_device(GString *cmd, unsigned id, const char *driver,
                       const char *props)
{
    g_string_append_printf(cmd, " -device %s,id=%s,addr=0x%x,%s", driver,
                           names[id], DEV_SLOT(id), props);
}

static void add_disk(GString *cmd, unsigned disk)
{
    int fd = rig_pass_fd(shared_file("disk", FLEET_DISK_SIZE));

    fleet.disk[disk] = shared_map(fd, FLEET_DISK_SIZE);
    g_string_append_printf(cmd, " -drive if=none,id=%s,driver=raw,"
                           "file.driver=blkdebug,file.image.driver=file,"
                           "file.image.locking=off,"
                           "file.image.filename=/proc/self/fd/%d",
                           drives[disk], fd);
}

static void add_scsi(GString *cmd, unsigned id, unsigned disk,
                     const char *props, const char *more)
{
    unsigned i;

    add_device(cmd, id, "virtio-scsi-pci,disable-legacy=on,num_queues=2",
               props);
    g_string_append(cmd, more);
    for (i = 0; i < 2; i++) {
        add_disk(cmd, disk + i);
        g_string_append_printf(cmd, " -device scsi-hd,bus=%s.0,scsi-id=%u,"
                               "drive=%s", names[id], i, drives[disk + i]);
    }
}

/* In the abstract name space: nothing can stay behind */
static char *console_path(unsigned i)
{
    return g_strdup_printf("virtio-in-order-%d-%u", getpid(), i);
}

static void add_consoles(GString *cmd, const char *props)
{
    unsigned i;

    add_device(cmd, FLEET_CONSOLE, "virtio-serial-pci,disable-legacy=on,"
               "max_ports=8", props);
    for (i = 0; i < FLEET_CONSOLES; i++) {
        g_autofree char *path = console_path(i);

        g_string_append_printf(cmd, " -chardev socket,id=con%u,path=%s,"
                               "abstract=on,server=on,wait=off"
                               " -device %s,bus=con.0,nr=%u,chardev=con%u,"
                               "id=port%u,name=port%u", i, path,
                               i ? "virtserialport" : "virtconsole", i, i, i,
                               i);
    }
}

int fleet_console(unsigned i)
{
    g_autofree char *path = console_path(i);
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    socklen_t len = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_assert_cmpint(fd, >=, 0);
    /* QEMU binds the name with all of its zeroes */
    memcpy(addr.sun_path + 1, path, strlen(path));
    if (connect(fd, (struct sockaddr *)&addr, len) < 0) {
        g_assert_cmpint(connect(fd, (struct sockaddr *)&addr, sizeof(addr)),
                        ==, 0);
    }
    g_unix_set_fd_nonblocking(fd, true, NULL);
    return fd;
}

static void fleet_start(GString *cmd, const char *props)
{
    int fd[2], pmem_fd;

    g_assert_cmpint(pipe(fd), ==, 0);
    fleet.entropy = fd[1];
    g_assert_cmpint(fcntl(fd[1], F_SETFD, FD_CLOEXEC), ==, 0);
    g_unix_set_fd_nonblocking(fd[1], true, NULL);
    g_string_append_printf(cmd, " -object rng-random,id=entropy,"
                           "filename=/proc/self/fd/%d", rig_pass_fd(fd[0]));
    add_device(cmd, FLEET_RNG, "virtio-rng-pci,disable-legacy=on,rng=entropy",
               props);
    add_consoles(cmd, props);
    add_device(cmd, FLEET_BALLOON, "virtio-balloon-pci,disable-legacy=on,"
               "free-page-reporting=on", props);
    g_string_append(cmd, " -fsdev synth,id=synth0");
    add_device(cmd, FLEET_9P, "virtio-9p-pci,disable-legacy=on,fsdev=synth0,"
               "mount_tag=order", props);
    g_string_append(cmd, " -object cryptodev-backend-builtin,id=crypto0");
    add_device(cmd, FLEET_CRYPTO, "virtio-crypto-pci,cryptodev=crypto0",
               props);
    add_device(cmd, FLEET_KEYBOARD, "virtio-keyboard-pci", props);
    add_device(cmd, FLEET_MOUSE, "virtio-mouse-pci", props);
    add_device(cmd, FLEET_TABLET, "virtio-tablet-pci", props);
    add_device(cmd, FLEET_GPU, "virtio-gpu-pci", props);
    add_device(cmd, FLEET_IOMMU, "virtio-iommu-pci", props);
    g_string_append(cmd, " -object rng-builtin,id=builtin");
    add_device(cmd, FLEET_BEHIND_IOMMU, "virtio-rng-pci,disable-legacy=on,"
               "iommu_platform=on,rng=builtin", props);
    g_string_append_printf(cmd, " -object memory-backend-ram,id=vmem,size=%"
                           PRIu64 "M", FLEET_MEM_SIZE / MiB);
    add_device(cmd, FLEET_MEM, "virtio-mem-pci,memdev=vmem,block-size=2M",
               props);
    pmem_fd = rig_pass_fd(shared_file("pmem", FLEET_PMEM_SIZE));
    fleet.pmem = shared_map(pmem_fd, FLEET_PMEM_SIZE);
    g_string_append_printf(cmd, " -object memory-backend-file,id=vpmem,"
                           "share=on,size=%" PRIu64 "M,"
                           "mem-path=/proc/self/fd/%d", FLEET_PMEM_SIZE / MiB,
                           pmem_fd);
    add_device(cmd, FLEET_PMEM, "virtio-pmem-pci,memdev=vpmem", props);
    g_string_append(cmd, " -object iothread,id=thread0");
    add_scsi(cmd, FLEET_SCSI, 0, props, "");
    add_scsi(cmd, FLEET_SCSI_THREAD, 2, props, ",iothread=thread0");
    add_disk(cmd, 4);
    add_device(cmd, FLEET_BLK, "virtio-blk-pci,disable-legacy=on,drive=drv4,"
               "num-queues=2", props);
    add_disk(cmd, 5);
    add_device(cmd, FLEET_BLK_THREAD, "virtio-blk-pci,disable-legacy=on,"
               "drive=drv5,num-queues=2,iothread=thread0", props);
}

static void fleet_stop(void)
{
    unsigned i;

    close(fleet.entropy);
    for (i = 0; i < FLEET_DISKS; i++) {
        munmap(fleet.disk[i], FLEET_DISK_SIZE);
    }
    munmap(fleet.pmem, FLEET_PMEM_SIZE);
}

static const RigKind fleet_kind = {
    .names = names,
    .count = FLEET_COUNT,
    .memory = ",slots=2,maxmem=1G",
    .start = fleet_start,
    .stop = fleet_stop,
};

bool fleet_get(const Mode *mode)
{
    if (!can_run(mode)) {
        return false;
    }
    rig_get_kind(&fleet_kind, mode);
    return true;
}

void fleet_idle(Dev *dev, QVirtQueue *vq)
{
    const char *name = dev_name(dev->id);

    qvring_check_idle(rig->qts, vq);
    if (base_qemu()) {
        return;
    }
    g_assert_cmpuint(queue_stat(name, vq->index, "held-back"), ==, 0);
    g_assert_cmpuint(queue_stat(name, vq->index, "layout"), ==,
                     rig->mode->packed);
    g_assert_cmpuint(queue_stat(name, vq->index, "in-order"), ==,
                     rig->mode->in_order);
}

void fleet_await_config(Dev *dev)
{
    dev->vdev->bus->wait_config_isr_status(dev->vdev, RIG_TIMEOUT_US);
}
