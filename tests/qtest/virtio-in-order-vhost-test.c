/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VIRTIO_F_IN_ORDER on devices with a vhost back end
 *
 * There it is the back end that uses the buffers, so the device may promise
 * their order only if the back end does, and the back end must learn whether
 * the driver relies on the promise (VIRTIO 1.2, sections 2.7.9 and 2.8.10).
 * For each device that can have a vhost back end, this starts one with each
 * combination of in_order= and of a back end that offers the feature or not,
 * drives it up to DRIVER_OK, and compares what the device offers and what
 * the back end is told.
 *
 * The back ends are in this program (vhost-user) or in vhost-fake.so
 * (vhost-kernel, vhost-vdpa, the tap device), so that neither devices of the
 * host nor privileges are needed.  They only do the control path.
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <linux/kvm.h>
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_ring.h"
#include "standard-headers/linux/virtio_net.h"
#include "standard-headers/linux/virtio_gpu.h"
#include "libqtest.h"
#include "libqos/libqos-pc.h"
#include "libqos/virtio.h"
#include "libqos/virtio-pci.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qmp/qlist.h"
#include "qapi/qmp/qstring.h"
#include "vhost-fake-load.h"
#include "vhost-user-fake.h"

#define IN_ORDER (1ull << VIRTIO_F_IN_ORDER)

#define WAIT_SECONDS 20         /* for one thing that QEMU is to do */
#define TEST_SECONDS 120        /* for a whole test, before it is given up */

#define FIRST_SLOT 8            /* of the devices; lower ones may be taken */
#define MAX_QUEUES 8

/* What the build has, for the parts that no device's name tells */
#ifdef CONFIG_VHOST_NET_USER
#define HAVE_NET_USER true
#else
#define HAVE_NET_USER false
#endif
#ifdef CONFIG_VHOST_NET_VDPA
#define HAVE_NET_VDPA true
#else
#define HAVE_NET_VDPA false
#endif
#if defined(CONFIG_VHOST_NET) && defined(CONFIG_VHOST_KERNEL)
#define HAVE_NET_KERNEL true
#else
#define HAVE_NET_KERNEL false
#endif
#ifdef CONFIG_VHOST_CRYPTO
#define HAVE_CRYPTO true
#else
#define HAVE_CRYPTO false
#endif

typedef enum BackEndType {
    USER,
    KERNEL,
    VDPA,
    BUILT_IN,                   /* no vhost at all, for comparison */
} BackEndType;

/*
 * A device with a vhost back end.  In its options, @n stands for the number of
 * the case, and @v and @t for the numbers of descriptors that look like a vhost
 * and a tap device.  A vhost-user back end is reached through chardev c@n.
 */
typedef struct Device {
    const char *name;           /* of the test */
    BackEndType type;
    const char *driver;
    const char *options;        /* of -device */
    const char *more;           /* QEMU's other options */
    bool left_out;              /* by configure */
    bool has_config;            /* vhost-user: the back end has the config */
    bool never;                 /* in-order is not offered at all */
    bool needs_kvm;             /* QEMU does not create it otherwise */
    bool svq;                   /* uses shadow virtqueues */
    bool runs_on;               /* is not stopped when the machine is */
    uint64_t features;          /* of the back end, besides the common ones */
} Device;

static const Device devices[] = {
    {
        .name = "user/net", .type = USER, .driver = "virtio-net-pci",
        .options = "netdev=n@n",
        .more = "-netdev vhost-user,id=n@n,chardev=c@n",
        .left_out = !HAVE_NET_USER,
        .features = 1ull << VIRTIO_NET_F_MRG_RXBUF,
    }, {
        .name = "user/blk", .type = USER, .driver = "vhost-user-blk-pci",
        .options = "chardev=c@n", .has_config = true,
    }, {
        .name = "user/scsi", .type = USER, .driver = "vhost-user-scsi-pci",
        .options = "chardev=c@n",
    }, {
        .name = "user/fs", .type = USER, .driver = "vhost-user-fs-pci",
        .options = "chardev=c@n,tag=t@n",
    }, {
        .name = "user/rng", .type = USER, .driver = "vhost-user-rng-pci",
        .options = "chardev=c@n",
    }, {
        .name = "user/i2c", .type = USER, .driver = "vhost-user-i2c-pci",
        .options = "chardev=c@n",
        .features = 1ull << 0,  /* VIRTIO_I2C_F_ZERO_LENGTH_REQUEST */
    }, {
        .name = "user/gpio", .type = USER, .driver = "vhost-user-gpio-pci",
        .options = "chardev=c@n", .has_config = true,
    }, {
        .name = "user/vsock", .type = USER, .driver = "vhost-user-vsock-pci",
        .options = "chardev=c@n,disable-legacy=on", .has_config = true,
    }, {
        .name = "user/input", .type = USER, .driver = "vhost-user-input-pci",
        .options = "chardev=c@n", .has_config = true,
        .needs_kvm = true, .runs_on = true,
    }, {
        .name = "user/gpu", .type = USER, .driver = "vhost-user-gpu-pci",
        .options = "chardev=c@n", .has_config = true,
        .needs_kvm = true,
        .features = 1ull << VIRTIO_GPU_F_EDID,
    }, {
        .name = "user/vga", .type = USER, .driver = "vhost-user-vga",
        .options = "chardev=c@n", .has_config = true,
        .needs_kvm = true,
        .features = 1ull << VIRTIO_GPU_F_EDID,
    }, {
        /* Its back end is never told the features that were negotiated */
        .name = "user/crypto", .type = USER, .driver = "virtio-crypto-pci",
        .options = "cryptodev=o@n",
        .more = "-object cryptodev-vhost-user,id=o@n,chardev=c@n",
        .left_out = !HAVE_CRYPTO, .never = true,
    }, {
        .name = "built-in/crypto", .type = BUILT_IN,
        .driver = "virtio-crypto-pci", .options = "cryptodev=o@n",
        .more = "-object cryptodev-backend-builtin,id=o@n",
    }, {
        .name = "kernel/net", .type = KERNEL, .driver = "virtio-net-pci",
        .options = "netdev=n@n",
        .more = "-netdev tap,id=n@n,fd=@t,vhost=on,vhostfd=@v",
        .left_out = !HAVE_NET_KERNEL,
        .features = 1ull << VIRTIO_NET_F_MRG_RXBUF,
    }, {
        .name = "kernel/vsock", .type = KERNEL, .driver = "vhost-vsock-pci",
        .options = "vhostfd=@v,guest-cid=1@n,disable-legacy=on",
    }, {
        .name = "kernel/scsi", .type = KERNEL, .driver = "vhost-scsi-pci",
        .options = "vhostfd=@v,wwpn=naa.500000000000000@n",
    }, {
        .name = "vdpa/net", .type = VDPA, .driver = "virtio-net-pci",
        .options = "netdev=n@n",
        .more = "-netdev vhost-vdpa,id=n@n,vhostfd=@v",
        .left_out = !HAVE_NET_VDPA,
        .features = 1ull << VIRTIO_NET_F_MRG_RXBUF |
                    1ull << VIRTIO_NET_F_MAC |
                    1ull << VIRTIO_NET_F_STATUS,
    }, {
        .name = "vdpa/svq", .type = VDPA, .driver = "virtio-net-pci",
        .options = "netdev=n@n",
        .more = "-netdev vhost-vdpa,id=n@n,vhostfd=@v,x-svq=on",
        .left_out = !HAVE_NET_VDPA, .svq = true,
        .features = 1ull << VIRTIO_NET_F_MRG_RXBUF |
                    1ull << VIRTIO_NET_F_MAC |
                    1ull << VIRTIO_NET_F_STATUS,
    },
};

/* Each device comes in all of these in the same QEMU */
static const struct {
    bool offered;               /* by the back end */
    bool in_order;              /* the property */
} combinations[] = {
    { true, true }, { false, true }, { true, false }, { false, false },
};

#define NCASES ARRAY_SIZE(combinations)

/* One device in one combination */
typedef struct Case {
    const Device *device;
    int n;
    bool offered;
    bool in_order;
    bool want;                  /* the device is to offer in-order */
    VhostUserFake user;
    VhostFakeDev *fake;         /* of KERNEL and VDPA */
    int vhost_fd;
    int tap_fd[2];              /* QEMU's end and ours */
    QVirtioPCIDevice *pci;
    QVirtQueue *vqs[MAX_QUEUES];
    int nvqs;
} Case;

/* Fails the test, and ends QEMU */
static void G_GNUC_PRINTF(1, 2) fail_all(const char *fmt, ...)
{
    g_autofree char *msg = NULL;
    va_list ap;

    va_start(ap, fmt);
    msg = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_assertion_message(G_LOG_DOMAIN, __FILE__, __LINE__, G_STRFUNC, msg);
}

/* The same, and says in which combination */
static void G_GNUC_PRINTF(2, 3) fail(const Case *c, const char *fmt, ...)
{
    g_autofree char *what = NULL;
    va_list ap;

    va_start(ap, fmt);
    what = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    fail_all("%s, back end %s in-order, in_order=%s: %s", c->device->name,
             c->offered ? "offers" : "does not offer",
             c->in_order ? "on" : "off", what);
}

static void give_up(int sig)
{
    static const char msg[] = "Bail out! the test hangs; QEMU is killed\n";

    /* QEMU gets SIGKILL when this process ends */
    if (write(STDOUT_FILENO, msg, sizeof(msg) - 1) < 0) {
        _exit(2);
    }
    _exit(1);
}

/*
 * What the back end of a case sees
 */

/* Returns whether the device has been started, not waiting for it */
static bool back_end_running(Case *c)
{
    switch (c->device->type) {
    case USER:
        return c->user.queues;
    case KERNEL:
        return c->fake->running || c->fake->backends;
    case VDPA:
        return c->fake->status & VIRTIO_CONFIG_S_DRIVER_OK;
    default:
        g_assert_not_reached();
    }
}

/* Waits until the back end runs (@running) or has stopped */
static void wait_running(Case *c, bool running)
{
    gint64 end = g_get_monotonic_time() + WAIT_SECONDS * G_TIME_SPAN_SECOND;
    bool ok = true;

    switch (c->device->type) {
    case BUILT_IN:
        return;
    case USER:
        g_mutex_lock(&c->user.lock);
        while (ok && back_end_running(c) != running) {
            ok = g_cond_wait_until(&c->user.changed, &c->user.lock, end);
        }
        g_mutex_unlock(&c->user.lock);
        break;
    default:
        /* QEMU has called it by the time that it answers the test */
        ok = back_end_running(c) == running;
        break;
    }
    if (!ok) {
        fail(c, "the back end was not %s", running ? "started" : "stopped");
    }
}

/*
 * Checks the features that the running back end was given: @want if the driver
 * has in-order
 */
static void check_acked(Case *c, bool want)
{
    uint64_t acked;

    /* Its rings are not the driver's */
    if (c->device->svq) {
        want = c->offered;
    }

    switch (c->device->type) {
    case BUILT_IN:
        return;
    case USER:
        g_mutex_lock(&c->user.lock);
        acked = c->user.acked;
        g_mutex_unlock(&c->user.lock);
        break;
    default:
        acked = c->fake->acked;
        break;
    }
    if (!!(acked & IN_ORDER) != want) {
        fail(c, "the back end was given the features 0x%" PRIx64 ", %s"
             " in-order", acked, want ? "without" : "with");
    }
    /* The rest: nothing that it does not offer; it would refuse that */
    if (c->fake && acked & ~c->fake->features) {
        fail(c, "the back end was given the features 0x%" PRIx64 ", but offers"
             " 0x%" PRIx64, acked, c->fake->features);
    }
}

/*
 * What QEMU says about a case
 */

static bool names_in_order(QDict *features)
{
    QList *transports = qdict_get_qlist(features, "transports");
    QListEntry *e;

    g_assert_nonnull(transports);
    QLIST_FOREACH_ENTRY(transports, e) {
        const char *s = qstring_get_str(qobject_to(QString, e->value));

        if (g_str_has_prefix(s, "VIRTIO_F_IN_ORDER:")) {
            return true;
        }
    }
    return false;
}

static QDict *query_status(QTestState *qts, const Case *c)
{
    g_autofree char *path =
        g_strdup_printf("/machine/peripheral/d%d/virtio-backend", c->n);
    QDict *rsp, *status;

    rsp = qtest_qmp(qts, "{ 'execute': 'x-query-virtio-status',"
                    " 'arguments': { 'path': %s } }", path);
    if (!qdict_haskey(rsp, "return")) {
        fail(c, "x-query-virtio-status does not find the device");
    }
    status = qdict_get_qdict(rsp, "return");
    qobject_ref(status);
    qobject_unref(rsp);
    return status;
}

/* Checks that @list names in-order, or does not */
static void check_named(const Case *c, QDict *status, const char *list,
                        bool want)
{
    if (names_in_order(qdict_get_qdict(status, list)) != want) {
        fail(c, "x-query-virtio-status: %s %s in-order", list,
             want ? "lacks" : "has");
    }
}

/* Checks what QEMU tells of a device that was started with in-order or not */
static void check_status_running(QTestState *qts, Case *c, bool acked)
{
    g_autoptr(QDict) status = query_status(qts, c);
    QDict *vhost;

    check_named(c, status, "guest-features", acked);
    if (c->device->type == BUILT_IN) {
        return;
    }
    if (!qdict_get_bool(status, "vhost-started")) {
        fail(c, "x-query-virtio-status: vhost is not started");
    }
    vhost = qdict_get_qdict(status, "vhost-dev");
    check_named(c, vhost, "features", c->offered);
    check_named(c, vhost, "acked-features", acked);
}

/*
 * The driver
 */

static void driver_start(QOSState *qs, Case *c, uint64_t without)
{
    QVirtioDevice *vdev = &c->pci->vdev;
    uint64_t features = qvirtio_get_features(vdev);
    int i;

    qvirtio_set_acknowledge(vdev);
    qvirtio_set_driver(vdev);
    qvirtio_set_features(vdev, features & ~(QVIRTIO_F_BAD_FEATURE | without));

    c->nvqs = 0;
    for (i = 0; i < MAX_QUEUES; i++) {
        vdev->bus->queue_select(vdev, i);
        if (!vdev->bus->get_queue_size(vdev)) {
            break;
        }
        c->vqs[c->nvqs++] = qvirtqueue_setup(vdev, &qs->alloc, i);
    }
    g_assert_cmpint(c->nvqs, >, 0);
    qvirtio_set_driver_ok(vdev);
}

static void driver_stop(QOSState *qs, Case *c)
{
    int i;

    qvirtio_reset(&c->pci->vdev);
    for (i = 0; i < c->nvqs; i++) {
        qvirtqueue_cleanup(c->pci->vdev.bus, c->vqs[i], &qs->alloc);
    }
    c->nvqs = 0;
}

/*
 * The tests
 */

/* Returns @template with @n, @v and @t replaced for the case */
static char *substitute(const char *template, const Case *c)
{
    GString *s = g_string_new(NULL);

    for (; *template; template++) {
        if (*template != '@') {
            g_string_append_c(s, *template);
            continue;
        }
        template++;
        g_string_append_printf(s, "%d", *template == 'n' ? c->n :
                               *template == 'v' ? c->vhost_fd : c->tap_fd[0]);
    }
    return g_string_free(s, false);
}

/*
 * Returns whether KVM makes virtual machines here.  What they run does not
 * matter: their only processor halts.
 */
static bool kvm_usable(void)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    int vm;

    if (kvm < 0) {
        return false;
    }
    vm = ioctl(kvm, KVM_CREATE_VM, 0);
    if (vm >= 0) {
        close(vm);
    }
    close(kvm);
    return vm >= 0;
}

/* Returns the descriptor of a firmware that halts; QEMU inherits it */
static int halting_firmware(void)
{
    static const uint8_t code[] = {
        0xfa,                   /* cli */
        0xf4,                   /* hlt */
        0xeb, 0xfd,             /* jmp to the hlt */
    };
    const off_t size = 64 * KiB;
    const off_t reset_vector = size - 16;
    int fd = memfd_create("firmware", 0);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, size), ==, 0);
    g_assert_cmpint(pwrite(fd, code, sizeof(code), reset_vector), ==,
                    sizeof(code));
    return fd;
}

static int null_open(void)
{
    int fd = open("/dev/null", O_RDWR);

    g_assert_cmpint(fd, >=, 0);
    return fd;
}

/* Sets up the back end of @c and adds the options for it and the device */
static void case_init(Case *c, const Device *device, int n, VhostFake *fake,
                      GString *cmd)
{
    uint64_t features = 1ull << VIRTIO_F_VERSION_1 |
                        1ull << VIRTIO_RING_F_EVENT_IDX | device->features;
    g_autofree char *options = NULL;

    c->device = device;
    c->n = n;
    c->offered = combinations[n].offered;
    c->in_order = combinations[n].in_order;
    c->want = c->in_order && !device->never &&
              (c->offered || device->type == BUILT_IN);
    c->vhost_fd = -1;
    c->tap_fd[0] = -1;

    if (c->offered) {
        features |= IN_ORDER;
    }
    features |= 1ull << VIRTIO_RING_F_INDIRECT_DESC |
                1ull << VIRTIO_F_RING_RESET;
    switch (device->type) {
    case USER:
        c->user.features = features | 1ull << VHOST_USER_F_PROTOCOL_FEATURES;
        c->user.protocol = device->has_config ?
                           1ull << VHOST_USER_PROTOCOL_F_CONFIG : 0;
        vhost_user_start(&c->user);
        g_string_append_printf(cmd, " -chardev socket,id=c%d,path=%s,"
                               "abstract=on", n, c->user.addr.sun_path + 1);
        break;
    case KERNEL:
        c->vhost_fd = null_open();
        c->fake = vhost_fake_add(fake, c->vhost_fd, VHOST_FAKE_KERNEL,
                                 features);
        if (device->more && strstr(device->more, "@t")) {
            g_assert_cmpint(socketpair(AF_UNIX, SOCK_DGRAM, 0, c->tap_fd), ==,
                            0);
            qemu_set_cloexec(c->tap_fd[1]);
            vhost_fake_add(fake, c->tap_fd[0], VHOST_FAKE_TAP, 0);
        }
        break;
    case VDPA:
        /* The feature that says that addresses go through an IOMMU is due */
        features |= 1ull << VIRTIO_F_ACCESS_PLATFORM;
        c->vhost_fd = null_open();
        c->fake = vhost_fake_add(fake, c->vhost_fd, VHOST_FAKE_VDPA, features);
        break;
    case BUILT_IN:
        break;
    }

    if (device->more) {
        g_autofree char *more = substitute(device->more, c);

        g_string_append_printf(cmd, " %s", more);
    }
    options = substitute(device->options, c);
    g_string_append_printf(cmd, " -device %s,id=d%d,addr=0x%x,in_order=%s,%s",
                           device->driver, n, FIRST_SLOT + n,
                           c->in_order ? "on" : "off", options);
}

/* Frees what case_init() set up.  QEMU has ended */
static void case_clean(Case *c)
{
    if (c->device->type == USER) {
        vhost_user_stop(&c->user);
    }
    if (c->fake && c->fake->unknown) {
        g_test_message("%s: %u unknown requests refused, the last one 0x%x",
                       c->device->name, c->fake->unknown,
                       c->fake->last_unknown);
    }
    if (c->vhost_fd >= 0) {
        close(c->vhost_fd);
    }
    if (c->tap_fd[0] >= 0) {
        close(c->tap_fd[0]);
        close(c->tap_fd[1]);
    }
}

/* Checks what the device offers, through QMP and as its driver */
static void check_offered(QOSState *qs, Case *c)
{
    QPCIAddress addr = { .devfn = QPCI_DEVFN(FIRST_SLOT + c->n, 0) };
    g_autoptr(QDict) status = query_status(qs->qts, c);
    uint64_t features;

    check_named(c, status, "host-features", c->want);
    check_named(c, status, "guest-features", false);

    c->pci = virtio_pci_new(qs->pcibus, &addr);
    g_assert_nonnull(c->pci);
    qvirtio_pci_device_enable(c->pci);
    qvirtio_reset(&c->pci->vdev);
    features = qvirtio_get_features(&c->pci->vdev);
    if (!!(features & IN_ORDER) != c->want) {
        fail(c, "the driver is offered 0x%" PRIx64 ", %s in-order", features,
             c->want ? "without" : "with");
    }
}

static void test_device(const void *opaque)
{
    const Device *device = opaque;
    g_autofree char *path = vhost_fake_path();
    g_autofree char *asan_options = g_strdup(getenv("ASAN_OPTIONS"));
    g_autoptr(GString) cmd = NULL;
    Case cases[NCASES] = { };
    VhostFake *fake = NULL;
    int fake_fd = -1;
    int firmware_fd = -1;
    QOSState *qs;
    int i;

    if (device->left_out || !qtest_has_device(device->driver)) {
        g_autofree char *why = g_strdup_printf("%s with this back end is not"
                                               " in the build", device->driver);

        g_test_skip(why);
        return;
    }
    if ((device->type == KERNEL || device->type == VDPA) && !path) {
        g_test_skip("vhost-fake.so is not next to the test program, or the"
                    " path of it has a space or a colon");
        return;
    }
    if (device->needs_kvm && !kvm_usable()) {
        g_test_skip("QEMU has this device with KVM only, and there is none");
        return;
    }

    alarm(TEST_SECONDS);
    /* vhost-user needs memory that can be shared */
    cmd = g_string_new("-nodefaults -machine pc,memory-backend=m -object"
                       " memory-backend-memfd,id=m,size=64M,share=on -m 64M");
    if (device->needs_kvm) {
        firmware_fd = halting_firmware();
        g_string_append_printf(cmd, " -accel kvm -cpu 486"
                               " -bios /proc/self/fd/%d",
                               firmware_fd);
    }
    if (device->type == KERNEL || device->type == VDPA) {
        fake = vhost_fake_new(&fake_fd);
    }
    for (i = 0; i < NCASES; i++) {
        case_init(&cases[i], device, i, fake, cmd);
    }
    if (fake) {
        vhost_fake_arm(path, fake_fd);
    }
    qs = qtest_pc_boot("%s", cmd->str);
    if (fake) {
        vhost_fake_disarm(asan_options);
        g_assert_true(fake->loaded);
    }

    for (i = 0; i < NCASES; i++) {
        check_offered(qs, &cases[i]);
    }

    /* A driver that takes whatever is offered */
    for (i = 0; i < NCASES; i++) {
        driver_start(qs, &cases[i], 0);
    }
    for (i = 0; i < NCASES; i++) {
        wait_running(&cases[i], true);
        check_acked(&cases[i], cases[i].want);
        check_status_running(qs->qts, &cases[i], cases[i].want);
    }

    /* The back end is told anew when the machine has been stopped */
    qtest_qmp_assert_success(qs->qts, "{ 'execute': 'stop' }");
    for (i = 0; i < NCASES && !device->runs_on; i++) {
        wait_running(&cases[i], false);
    }
    qtest_qmp_assert_success(qs->qts, "{ 'execute': 'cont' }");
    for (i = 0; i < NCASES; i++) {
        wait_running(&cases[i], true);
        check_acked(&cases[i], cases[i].want);
    }

    /* A driver that does not know in-order */
    for (i = 0; i < NCASES; i++) {
        driver_stop(qs, &cases[i]);
        wait_running(&cases[i], false);
        driver_start(qs, &cases[i], IN_ORDER);
    }
    for (i = 0; i < NCASES; i++) {
        wait_running(&cases[i], true);
        check_acked(&cases[i], false);
        check_status_running(qs->qts, &cases[i], false);
        driver_stop(qs, &cases[i]);
        wait_running(&cases[i], false);
    }

    for (i = 0; i < NCASES; i++) {
        qvirtio_pci_device_disable(cases[i].pci);
        g_free(cases[i].pci->pdev);
        g_free(cases[i].pci);
    }
    qtest_shutdown(qs);
    for (i = 0; i < NCASES; i++) {
        case_clean(&cases[i]);
    }
    if (fake) {
        munmap(fake, sizeof(*fake));
        close(fake_fd);
    }
    if (device->needs_kvm) {
        close(firmware_fd);
    }
    alarm(0);
}

/*
 * A shadow virtqueue chooses the device's addresses: x-svq=on refuses a device
 * whose accesses are not translated.  QEMU is to say so and end.
 */
static void test_svq_refuses(void)
{
    g_autofree char *path = vhost_fake_path();
    g_autofree char *asan_options = g_strdup(getenv("ASAN_OPTIONS"));
    g_autofree char *cmd = NULL;
    g_autoptr(GString) output = g_string_new(NULL);
    g_autoptr(GError) err = NULL;
    gint64 end = g_get_monotonic_time() + WAIT_SECONDS * G_TIME_SPAN_SECOND;
    char *argv[] = { (char *)"/bin/sh", (char *)"-c", NULL, NULL };
    char buf[512];
    VhostFake *fake;
    int fake_fd, fd, out, status;
    ssize_t len;
    GPid pid;

    if (!HAVE_NET_VDPA || !path) {
        g_test_skip("vhost-vdpa is not in the build, or vhost-fake.so not"
                    " usable");
        return;
    }

    alarm(TEST_SECONDS);
    fake = vhost_fake_new(&fake_fd);
    fd = null_open();
    vhost_fake_add(fake, fd, VHOST_FAKE_VDPA,
                   1ull << VIRTIO_F_VERSION_1 | IN_ORDER);
    cmd = g_strdup_printf("exec %s -M none -nodefaults -display"
                          " none -accel qtest -netdev vhost-vdpa,id=n,"
                          "vhostfd=%d,x-svq=on", getenv("QTEST_QEMU_BINARY"),
                          fd);
    argv[2] = cmd;

    vhost_fake_arm(path, fake_fd);
    g_spawn_async_with_pipes(NULL, argv, NULL,
                             G_SPAWN_LEAVE_DESCRIPTORS_OPEN |
                             G_SPAWN_DO_NOT_REAP_CHILD |
                             G_SPAWN_STDOUT_TO_DEV_NULL,
                             NULL, NULL, &pid, NULL, NULL, &out, &err);
    vhost_fake_disarm(asan_options);
    g_assert_no_error(err);

    for (;;) {
        struct pollfd pfd = { .fd = out, .events = POLLIN };
        gint64 left = (end - g_get_monotonic_time()) / 1000;

        if (left <= 0 || poll(&pfd, 1, left) == 0) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            fail_all("QEMU goes on with x-svq=on and a device without"
                     " VIRTIO_F_ACCESS_PLATFORM. It said: %s", output->str);
        }
        len = read(out, buf, sizeof(buf));
        if (len > 0) {
            g_string_append_len(output, buf, len);
        } else if (len == 0 || errno != EINTR) {
            break;
        }
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_spawn_close_pid(pid);
    close(out);
    close(fd);
    g_assert_true(fake->loaded);
    munmap(fake, sizeof(*fake));
    close(fake_fd);
    alarm(0);

    if (!strstr(output->str, "x-svq=on") ||
        !strstr(output->str, "VIRTIO_F_ACCESS_PLATFORM")) {
        fail_all("QEMU does not say why it refuses the device. It said: %s",
                 output->str);
    }
    if (!WIFEXITED(status)) {
        fail_all("QEMU refuses the device, but then crashes cleaning up: wait"
                 " status 0x%x", status);
    }
    g_assert_cmpint(WEXITSTATUS(status), ==, 1);
}

/* A new device that can have a vhost back end wants a row in the table above */
static void test_complete(void)
{
    static const char *const suffixes[] = {
        "-non-transitional", "-transitional",
    };
    QTestState *qts = qtest_init("-machine none");
    QDict *rsp;
    QListEntry *e;

    rsp = qtest_qmp(qts, "{ 'execute': 'qom-list-types', 'arguments':"
                    " { 'implements': 'virtio-pci', 'abstract': false } }");
    g_assert_true(qdict_haskey(rsp, "return"));
    QLIST_FOREACH_ENTRY(qdict_get_qlist(rsp, "return"), e) {
        QDict *type = qobject_to(QDict, e->value);
        g_autofree char *name = g_strdup(qdict_get_str(type, "name"));
        bool found = false;
        int i;

        if (!g_str_has_prefix(name, "vhost-")) {
            continue;
        }
        for (i = 0; i < ARRAY_SIZE(suffixes); i++) {
            if (g_str_has_suffix(name, suffixes[i])) {
                name[strlen(name) - strlen(suffixes[i])] = 0;
            }
        }
        for (i = 0; i < ARRAY_SIZE(devices); i++) {
            found |= g_str_equal(devices[i].driver, name);
        }
        if (!found) {
            fail_all("no test for %s: add it to the table of devices", name);
        }
    }
    qobject_unref(rsp);
    qtest_quit(qts);
}

int main(int argc, char **argv)
{
    struct sigaction sa = { .sa_handler = give_up };
    int i;

    g_test_init(&argc, &argv, NULL);
    sigaction(SIGALRM, &sa, NULL);

    for (i = 0; i < ARRAY_SIZE(devices); i++) {
        g_autofree char *path = g_strdup_printf("/virtio-in-order/vhost/%s",
                                                devices[i].name);

        qtest_add_data_func(path, &devices[i], test_device);
    }
    qtest_add_func("/virtio-in-order/vhost/vdpa/svq-refuses", test_svq_refuses);
    qtest_add_func("/virtio-in-order/vhost/complete", test_complete);

    return g_test_run();
}
