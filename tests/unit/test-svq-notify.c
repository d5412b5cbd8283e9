/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Unit test of a shadow virtqueue's notifications
 *
 * A file stands for the device: its pages are the notify pages.  What is wrong
 * when a case fails: the device is told something else than the specification
 * says, or on the wrong page, or not at all; or the guest's notifications go
 * where nobody listens any more.
 */

#include "qemu/osdep.h"
#include "hw/virtio/svq/notify.h"
#include "qapi/error.h"
#include "qemu/atomic.h"
#include "qemu/bswap.h"
#include "qemu/memfd.h"

#define PAGES 4

static uint64_t read_eventfd(int fd)
{
    uint64_t value = 0;

    return read(fd, &value, sizeof(value)) == sizeof(value) ? value : 0;
}

/* A device of PAGES notify pages, filled with ones */
static int device_new(uint8_t **pages)
{
    size_t size = PAGES * qemu_real_host_page_size();
    int fd = qemu_memfd_create("notify pages", size, false, 0, 0,
                               &error_abort);

    *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    g_assert_true(*pages != MAP_FAILED);
    memset(*pages, 0xff, size);
    return fd;
}

static void device_free(int fd, uint8_t *pages)
{
    munmap(pages, PAGES * qemu_real_host_page_size());
    close(fd);
}

/* Stores: the number of the queue, 16 bits, on its page and on no other */
static void test_doorbell(void)
{
    size_t page = qemu_real_host_page_size();
    SVQNotify notify;
    uint8_t *pages;
    int fd = device_new(&pages);
    unsigned int q;

    g_assert_true(svq_notify_init(&notify, &error_abort));
    for (q = 0; q < PAGES; q++) {
        svq_notify_set_device(&notify, q, false);
        g_assert_true(svq_notify_map_doorbell(&notify, fd, q, &error_abort));
        g_assert_true(svq_notify_device(&notify, 0xabcd0000 | q));
        g_assert_cmphex(lduw_le_p(pages + q * page), ==, q);
        g_assert_cmphex(lduw_le_p(pages + q * page + 2), ==, 0xffff);
    }
    g_assert_cmpint(read_eventfd(event_notifier_get_fd(&notify.kick)), ==, 0);
    svq_notify_cleanup(&notify);
    device_free(fd, pages);
}

/* With VIRTIO_F_NOTIFICATION_DATA: 32 bits, as they are given */
static void test_notification_data(void)
{
    size_t page = qemu_real_host_page_size();
    SVQNotify notify;
    uint8_t *pages;
    int fd = device_new(&pages);

    g_assert_true(svq_notify_init(&notify, &error_abort));
    svq_notify_set_device(&notify, 2, true);
    g_assert_true(svq_notify_map_doorbell(&notify, fd, 2, &error_abort));
    g_assert_true(svq_notify_device(&notify, 0x92340002));
    g_assert_cmphex((uint32_t)ldl_le_p(pages + 2 * page), ==, 0x92340002);
    g_assert_cmphex((uint32_t)ldl_le_p(pages + 2 * page + 4), ==,
                    0xffffffff);
    svq_notify_cleanup(&notify);
    device_free(fd, pages);
}

/* No notify page, or not any more: the eventfd */
static void test_eventfd(void)
{
    SVQNotify notify;
    Error *err = NULL;
    uint8_t *pages;
    int fd = device_new(&pages), null = open("/dev/null", O_RDWR), kick;

    g_assert_true(svq_notify_init(&notify, &error_abort));
    kick = event_notifier_get_fd(&notify.kick);
    svq_notify_set_device(&notify, 1, false);

    g_assert_false(svq_notify_map_doorbell(&notify, null, 1, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "notify page for queue 1"));
    error_free(err);
    g_assert_false(svq_notify_device(&notify, 1));
    g_assert_false(svq_notify_device(&notify, 1));
    g_assert_cmpint(read_eventfd(kick), ==, 2);

    g_assert_true(svq_notify_map_doorbell(&notify, fd, 1, &error_abort));
    g_assert_true(svq_notify_device(&notify, 1));
    g_assert_cmpint(read_eventfd(kick), ==, 0);

    svq_notify_unmap_doorbell(&notify);
    g_assert_false(svq_notify_device(&notify, 1));
    g_assert_cmpint(read_eventfd(kick), ==, 1);

    svq_notify_cleanup(&notify);
    close(null);
    device_free(fd, pages);
}

/* Who is listening hears it; who is not any more does not */
static void test_guest(void)
{
    EventNotifier a, b;
    SVQNotify notify;

    g_assert_cmpint(event_notifier_init(&a, 0), ==, 0);
    g_assert_cmpint(event_notifier_init(&b, 0), ==, 0);
    g_assert_true(svq_notify_init(&notify, &error_abort));

    svq_notify_guest(&notify);          /* nobody */
    svq_notify_set_guest(&notify, event_notifier_get_fd(&a));
    svq_notify_guest(&notify);
    svq_notify_set_guest(&notify, event_notifier_get_fd(&b));
    svq_notify_guest(&notify);
    svq_notify_guest(&notify);
    svq_notify_set_guest(&notify, -1);
    svq_notify_guest(&notify);

    g_assert_cmpint(read_eventfd(event_notifier_get_fd(&a)), ==, 1);
    g_assert_cmpint(read_eventfd(event_notifier_get_fd(&b)), ==, 2);
    svq_notify_cleanup(&notify);
    event_notifier_cleanup(&a);
    event_notifier_cleanup(&b);
}

#define ROUNDS 20000

static void *notify_thread(void *opaque)
{
    SVQNotify *notify = opaque;
    int i;

    for (i = 0; i < ROUNDS; i++) {
        svq_notify_guest(notify);
    }
    return NULL;
}

/*
 * The guest masks and unmasks its vector while the queue notifies: each
 * notification is on the one side or on the other, and on no side that was left
 * when svq_notify_set_guest() returned.
 */
static void test_mask_race(void)
{
    EventNotifier sides[2];
    uint64_t heard = 0;
    SVQNotify notify;
    QemuThread thread;
    int i, fd[2];

    for (i = 0; i < 2; i++) {
        g_assert_cmpint(event_notifier_init(&sides[i], 0), ==, 0);
        fd[i] = event_notifier_get_fd(&sides[i]);
    }
    g_assert_true(svq_notify_init(&notify, &error_abort));
    svq_notify_set_guest(&notify, fd[0]);
    qemu_thread_create(&thread, "notify", notify_thread, &notify,
                       QEMU_THREAD_JOINABLE);
    for (i = 1; i < ROUNDS / 4; i++) {
        svq_notify_set_guest(&notify, fd[i & 1]);
        heard += read_eventfd(fd[!(i & 1)]);
        g_assert_cmpint(read_eventfd(fd[!(i & 1)]), ==, 0);
    }
    qemu_thread_join(&thread);
    heard += read_eventfd(fd[0]) + read_eventfd(fd[1]);
    g_assert_cmpint(heard, ==, ROUNDS);

    svq_notify_cleanup(&notify);
    event_notifier_cleanup(&sides[0]);
    event_notifier_cleanup(&sides[1]);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/svq-notify/doorbell", test_doorbell);
    g_test_add_func("/svq-notify/notification-data", test_notification_data);
    g_test_add_func("/svq-notify/eventfd", test_eventfd);
    g_test_add_func("/svq-notify/guest", test_guest);
    g_test_add_func("/svq-notify/mask-race", test_mask_race);
    return g_test_run();
}
