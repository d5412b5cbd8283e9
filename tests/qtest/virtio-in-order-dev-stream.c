/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: devices that bytes come out of, or go into: the entropy device and
 * the console
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "virtio-in-order-exchange.h"
#include "virtio-in-order-fleet.h"
#include "virtio-in-order-requests.h"
#include "virtio-in-order-traffic.h"
#include "standard-headers/linux/virtio_console.h"

/* Bytes that are sent and expected, all different as far as bytes can be */
typedef struct Stream {
    uint8_t bytes[1 << 16];
    uint32_t written, read;     /* counters that do not wrap */
} Stream;

static Stream *stream_new(void)
{
    Stream *s = g_new0(Stream, 1);

    pattern_fill(s->bytes, sizeof(s->bytes), between(1, 1 << 30));
    return s;
}

/* The next bytes go into a descriptor; false when it takes none */
static bool stream_write(Stream *s, int fd, size_t len)
{
    size_t at = s->written % sizeof(s->bytes);
    ssize_t n = write(fd, s->bytes + at, MIN(len, sizeof(s->bytes) - at));

    if (n < 0) {
        g_assert_cmpint(errno, ==, EAGAIN);
        return false;
    }
    s->written += n;
    return true;
}

/* The next bytes, for a buffer */
static void stream_copy(Stream *s, uint8_t *to, size_t len)
{
    for (; len; len--, s->written++) {
        *to++ = s->bytes[s->written % sizeof(s->bytes)];
    }
}

/* These bytes have to be the next */
static void stream_check(Stream *s, const uint8_t *from, size_t len)
{
    g_assert_cmpuint(len, <=, s->written - s->read);
    for (; len; len--, s->read++) {
        g_assert_cmphex(*from++, ==, s->bytes[s->read % sizeof(s->bytes)]);
    }
}

/* Reads what there is to read and checks it; false when there is nothing */
static bool stream_recv(Stream *s, int fd)
{
    uint8_t buf[4096];
    ssize_t n = read(fd, buf, sizeof(buf));

    if (n < 0) {
        g_assert_cmpint(errno, ==, EAGAIN);
        return false;
    }
    g_assert_cmpint(n, >, 0);
    stream_check(s, buf, n);
    return true;
}

/*
 * Entropy out of a pipe.  If this fails, bytes are lost, doubled or in the
 * wrong buffer, or a buffer that is filled in part ends a batch that it must
 * not be in.
 */
void test_rng(const void *data)
{
    enum { COUNT = 40, ROUNDS = 12 };
    g_autofree Stream *s = NULL;
    Exchange x[COUNT];
    unsigned round, i;
    QVirtQueue *vq;
    Dev *dev;

    if (!fleet_get(data)) {
        return;
    }
    dev = dev_start(FLEET_RNG, NO_EVENT_IDX);
    vq = queue_setup(dev, 0, 0);
    g_assert_cmpuint(vq->size, <=, COUNT);
    qvirtio_set_driver_ok(dev->vdev);
    for (i = 0; i < COUNT; i++) {
        exchange_init(&x[i], 0, 300);
        x[i].plain = true;
    }
    s = stream_new();
    for (round = 0; round < ROUNDS; round++) {
        unsigned n = between(1, vq->size), left = n;
        gint64 start = 0;

        for (i = 0; i < n; i++) {
            exchange_add(&x[i], vq, 0, between(1, 300));
        }
        exchange_go(&x[n - 1], vq);
        while (left) {
            Exchange *done = exchange_take(x, COUNT, vq);

            if (done) {
                left--;
                start = 0;
                g_assert_cmpuint(done->len, >, 0);
                stream_check(s, done->in, done->len);
            } else {
                stream_write(s, fleet.entropy, between(1, 500));
                wait_a_little(&start, vq, "entropy");
            }
        }
        fleet_idle(dev, vq);
    }
    g_assert_cmpuint(s->read, >, 0);
    qvirtio_reset(dev->vdev);
    queue_free(dev, vq);
}

/* Queues of the console: in and out for each port, control after the first */
enum { CON_IN0, CON_OUT0, CON_CTRL_IN, CON_CTRL_OUT, CON_IN1, CON_OUT1,
       CON_QUEUES };

#define CON_MSG     64      /* bytes of a control message, at most */
#define CON_CTRL    10      /* control messages that there is room for */

typedef struct Console {
    Dev *dev;
    QVirtQueue *vq[CON_QUEUES];
    int fd[FLEET_CONSOLES];         /* -1: not plugged in */
    Exchange in[CON_CTRL], out;     /* of the control queues */
} Console;

static void console_tell(Console *c, uint32_t port, uint16_t event,
                         uint16_t value)
{
    stl_le_p(c->out.out, port);
    stw_le_p(c->out.out + 4, event);
    stw_le_p(c->out.out + 6, value);
    exchange_one(&c->out, c->vq[CON_CTRL_OUT], 8, 0, "control message out");
    g_assert_cmpuint(c->out.len, ==, 0);
}

/* The next control message has to be this one */
static void console_hear(Console *c, uint32_t port, uint16_t event,
                         uint16_t value, const char *text)
{
    size_t len = text ? strlen(text) : 0;
    gint64 start = 0;
    Exchange *x;

    while (!(x = exchange_take(c->in, CON_CTRL, c->vq[CON_CTRL_IN]))) {
        wait_a_little(&start, c->vq[CON_CTRL_IN], "control message in");
    }
    g_assert_cmpuint(ldl_le_p(x->in), ==, port);
    g_assert_cmpuint(lduw_le_p(x->in + 4), ==, event);
    g_assert_cmpuint(lduw_le_p(x->in + 6), ==, value);
    /* The name ends with a zero, or does not: section 5.3.6.2 leaves it open */
    g_assert_cmpuint(x->len, >=, 8 + len);
    g_assert_cmpuint(x->len, <=, 8 + len + !!text);
    g_assert_cmpmem(x->in + 8, len, text, len);
    exchange_add(x, c->vq[CON_CTRL_IN], 0, CON_MSG);
    exchange_go(x, c->vq[CON_CTRL_IN]);
}

static void console_plug(Console *c, unsigned port)
{
    c->fd[port] = fleet_console(port);
    if (port) {
        console_hear(c, port, VIRTIO_CONSOLE_PORT_OPEN, 1, NULL);
    }
    main_loop_rounds();
}

static void console_unplug(Console *c, unsigned port)
{
    close(c->fd[port]);
    c->fd[port] = -1;
    if (port) {
        console_hear(c, port, VIRTIO_CONSOLE_PORT_OPEN, 0, NULL);
    }
    main_loop_rounds();
}

/* A driver that has been through the dialogue of section 5.3.5 */
static void console_start(Console *c)
{
    unsigned i;

    c->dev = dev_start(FLEET_CONSOLE, NO_EVENT_IDX);
    for (i = 0; i < CON_QUEUES; i++) {
        c->vq[i] = queue_setup(c->dev, i, 0);
    }
    qvirtio_set_driver_ok(c->dev->vdev);
    exchange_init(&c->out, CON_MSG, 0);
    for (i = 0; i < CON_CTRL; i++) {
        exchange_init(&c->in[i], 0, CON_MSG);
        exchange_add(&c->in[i], c->vq[CON_CTRL_IN], 0, CON_MSG);
    }
    exchange_go(&c->in[CON_CTRL - 1], c->vq[CON_CTRL_IN]);

    console_tell(c, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
    for (i = 0; i < FLEET_CONSOLES; i++) {
        console_hear(c, i, VIRTIO_CONSOLE_PORT_ADD, 1, NULL);
    }
    for (i = 0; i < FLEET_CONSOLES; i++) {
        g_autofree char *name = g_strdup_printf("port%u", i);

        c->fd[i] = -1;
        console_tell(c, i, VIRTIO_CONSOLE_PORT_READY, 1);
        if (!i) {
            console_hear(c, i, VIRTIO_CONSOLE_CONSOLE_PORT, 1, NULL);
        }
        console_hear(c, i, VIRTIO_CONSOLE_PORT_NAME, 1, name);
        if (!i) {
            /* What is a console is always open, plugged in or not */
            console_hear(c, i, VIRTIO_CONSOLE_PORT_OPEN, 1, NULL);
        }
        console_tell(c, i, VIRTIO_CONSOLE_PORT_OPEN, 1);
    }
}

static void console_stop(Console *c)
{
    unsigned i;

    qvirtio_reset(c->dev->vdev);
    for (i = 0; i < CON_QUEUES; i++) {
        queue_free(c->dev, c->vq[i]);
    }
    for (i = 0; i < FLEET_CONSOLES; i++) {
        if (c->fd[i] >= 0) {
            close(c->fd[i]);
        }
    }
    main_loop_rounds();
}

static unsigned port_queue(unsigned port, bool out)
{
    return (port ? CON_IN1 : CON_IN0) + out;
}

/*
 * Both ports, both directions at once.  If this fails, bytes are lost, doubled
 * or out of order in one of them.
 */
void test_console(const void *data)
{
    enum { COUNT = 24, BYTES = 30000, BUF = 400 };
    Console c;
    unsigned port, i;

    if (!fleet_get(data)) {
        return;
    }
    console_start(&c);
    for (port = 0; port < FLEET_CONSOLES; port++) {
        QVirtQueue *in_vq = c.vq[port_queue(port, false)];
        QVirtQueue *out_vq = c.vq[port_queue(port, true)];
        g_autofree Stream *in = stream_new(), *out = stream_new();
        Exchange rx[COUNT], tx[COUNT];
        gint64 start = 0;

        console_plug(&c, port);
        for (i = 0; i < COUNT; i++) {
            exchange_init(&rx[i], 0, BUF);
            exchange_init(&tx[i], BUF, 0);
        }
        while (in->read < BYTES || out->read < BYTES) {
            uint32_t before = in->read + out->read;
            Exchange *last = NULL, *x;

            for (i = 0; i < COUNT && out->written < BYTES; i++) {
                size_t len = between(1, BUF);

                if (!tx[i].in_flight && out_vq->num_free > 3) {
                    stream_copy(out, tx[i].out, len);
                    exchange_add(&tx[i], out_vq, len, 0);
                    last = &tx[i];
                }
            }
            if (last) {
                exchange_go(last, out_vq);
            }
            for (i = 0, last = NULL; i < COUNT; i++) {
                if (!rx[i].in_flight && in_vq->num_free > 3) {
                    exchange_add(&rx[i], in_vq, 0, between(1, BUF));
                    last = &rx[i];
                }
            }
            if (last) {
                exchange_go(last, in_vq);
            }
            if (in->written < BYTES) {
                stream_write(in, c.fd[port], between(1, 1000));
            }
            stream_recv(out, c.fd[port]);
            while ((x = exchange_take(rx, COUNT, in_vq))) {
                stream_check(in, x->in, x->len);
            }
            while ((x = exchange_take(tx, COUNT, out_vq))) {
                g_assert_cmpuint(x->len, ==, 0);
            }
            if (before != in->read + out->read) {
                start = 0;
            }
            wait_a_little(&start, in_vq, "console");
        }
        exchange_finish(tx, COUNT, out_vq, "console, last bytes");
        fleet_idle(c.dev, out_vq);
    }
    console_stop(&c);
}

/*
 * A host that does not read: QEMU has taken a buffer that it cannot get rid
 * of.  The host reads at last, or unplugs: then QEMU detaches the buffer that
 * it holds and drops the ones behind it.  If this fails, one of these ways out
 * leaves the order in which buffers have to come back in disarray: the port
 * stands still from then on.
 */
void test_console_stuck(const void *data)
{
    enum { COUNT = 60, BUF = 16384 };
    const Mode *mode = data;
    Exchange tx[COUNT];
    QVirtQueue *vq;
    unsigned round, i;
    Console c;

    if (!fleet_get(mode)) {
        return;
    }
    if (mode->packed && base_lacks("packed rings lose buffers when they are "
                                   "dropped")) {
        return;
    }
    console_start(&c);
    vq = c.vq[CON_OUT1];
    for (i = 0; i < COUNT; i++) {
        exchange_init(&tx[i], BUF, 0);
        tx[i].plain = true;
    }
    for (round = 0; round < 4; round++) {
        g_autofree Stream *s = stream_new();
        unsigned back = 0;

        console_plug(&c, 1);
        for (i = 0; i < COUNT; i++) {
            stream_copy(s, tx[i].out, BUF);
            exchange_add(&tx[i], vq, BUF, 0);
        }
        exchange_go(&tx[COUNT - 1], vq);
        for (i = 0; i < 10; i++) {
            main_loop_rounds();
            while (exchange_take(tx, COUNT, vq)) {
                back++;
            }
        }
        g_assert_cmpuint(back, <, COUNT);
        if (round & 1) {
            console_unplug(&c, 1);
        } else {
            gint64 start = 0;

            while (s->read < s->written) {
                if (stream_recv(s, c.fd[1])) {
                    start = 0;
                }
                wait_a_little(&start, vq, "console that was stuck");
            }
        }
        exchange_finish(tx, COUNT, vq, "console that was stuck");
        fleet_idle(c.dev, vq);
        if (!(round & 1)) {
            console_unplug(&c, 1);
        }
    }
    console_stop(&c);
}

/*
 * Ports that come and go, and a control queue that has no room for the news.
 * If this fails, control messages are lost or out of order.
 */
void test_console_control(const void *data)
{
    enum { PORTS = 3 };
    Console c;
    unsigned round, i;

    if (!fleet_get(data)) {
        return;
    }
    console_start(&c);
    for (round = 0; round < 3; round++) {
        for (i = 0; i < PORTS; i++) {
            g_autofree char *id = g_strdup_printf("hot%u", i);

            qtest_qmp_device_add(rig->qts, "virtserialport", id,
                                 "{'bus': 'con.0', 'nr': %u, 'name': %s}",
                                 2 + i, id);
        }
        for (i = 0; i < PORTS; i++) {
            console_hear(&c, 2 + i, VIRTIO_CONSOLE_PORT_ADD, 1, NULL);
        }
        for (i = 0; i < PORTS; i++) {
            g_autofree char *id = g_strdup_printf("hot%u", i);

            console_tell(&c, 2 + i, VIRTIO_CONSOLE_PORT_READY, 1);
            console_hear(&c, 2 + i, VIRTIO_CONSOLE_PORT_NAME, 1, id);
            qtest_qmp_assert_success(rig->qts, "{'execute': 'device_del', "
                                     "'arguments': {'id': %s}}", id);
            console_hear(&c, 2 + i, VIRTIO_CONSOLE_PORT_REMOVE, 1, NULL);
            qtest_qmp_eventwait(rig->qts, "DEVICE_DELETED");
        }
    }
    console_stop(&c);
}
