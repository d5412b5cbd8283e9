/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: migrate virtio-serial with buffers that its ports have half sent
 */

#include "qemu/osdep.h"
#include "virtio-in-order-migration-cases.h"

#define SER_PORTS       3
#define SER_QUEUE(p)    (5 + 2 * (p))   /* to send on port p + 1 */
#define SER_BUFFERS     (MIG_QUEUE_SIZE / 2)
#define SER_LEN         4096    /* bytes of a buffer, in two pieces */

/* A port, and a peer that does not always read */
typedef struct Port {
    QVirtQueue *vq;
    uint64_t mem;
    uint32_t ids[SER_BUFFERS];
    unsigned seed;              /* of the bytes that it sends */
    unsigned count;             /* buffers so far */
    unsigned returned;
    uint64_t received;          /* bytes that the peers got */
    int fd;                     /* the peer's socket */
    int qemu_fd;                /* the port's, until QEMU has it */
} Port;

typedef struct Ser {
    MigRig rig;
    unsigned ports;
    Port port[SER_PORTS];
} Ser;

static uint8_t ser_byte(const Port *p, uint64_t pos)
{
    return ((pos + p->seed) * 2654435761u) >> 16;
}

/* Ports with peers that have little room */
static char *ser_args(Ser *s, const Mode *mode)
{
    g_autofree char *props = mig_props(mode);
    GString *str = g_string_new(NULL);
    int room = 4096;
    unsigned i;

    g_string_printf(str, "-device virtio-serial-pci,id=ser0,max_ports=%u,%s",
                    s->ports + 1, props);
    for (i = 0; i < s->ports; i++) {
        Port *p = &s->port[i];

        p->fd = mig_socket_pair(SOCK_STREAM, &p->qemu_fd);
        g_unix_set_fd_nonblocking(p->fd, true, NULL);
        g_assert_cmpint(setsockopt(p->qemu_fd, SOL_SOCKET, SO_SNDBUF, &room,
                                   sizeof(room)), ==, 0);
        g_string_append_printf(str, " -chardev socket,id=peer%u,fd=%d -device "
                               "virtserialport,bus=ser0.0,nr=%u,chardev=peer%u",
                               i, p->qemu_fd, i + 1, i);
    }
    return g_string_free(str, false);
}

/* QEMU has inherited its ends */
static void ser_close_fds(Ser *s)
{
    unsigned i;

    for (i = 0; i < s->ports; i++) {
        close(s->port[i].qemu_fd);
    }
}

/* Make @n buffers available at once */
static void ser_send(Ser *s, Port *p, unsigned n)
{
    QTestState *qts = s->rig.qts;
    unsigned i, j;

    for (i = 0; i < n; i++) {
        unsigned slot = p->count % SER_BUFFERS;
        uint64_t addr = p->mem + slot * SER_LEN;
        uint8_t *mem = mig_guest(&s->rig, addr, SER_LEN);

        g_assert_cmpuint(p->count - p->returned, <, SER_BUFFERS);
        for (j = 0; j < SER_LEN; j++) {
            mem[j] = ser_byte(p, (uint64_t)p->count * SER_LEN + j);
        }
        p->ids[slot] = qvirtqueue_add(qts, p->vq, addr, 1000, false, true);
        qvirtqueue_add(qts, p->vq, addr + 1000, SER_LEN - 1000, false, false);
        qvring_publish(qts, p->vq, p->ids[slot]);
        p->count++;
    }
    qvring_notify(qts, p->vq);
}

/* One port sends one after the other, even without having promised it */
static void ser_reap(Ser *s, Port *p)
{
    uint32_t id, len;

    while (qvring_get(s->rig.qts, p->vq, &id, &len)) {
        g_assert_cmpuint(id, ==, p->ids[p->returned % SER_BUFFERS]);
        g_assert_cmpuint(len, ==, 0);
        p->returned++;
    }
}

/* Returns: false at the end of the file */
static bool ser_receive(Port *p)
{
    uint8_t buf[SER_LEN];
    ssize_t n, i;

    while ((n = read(p->fd, buf, sizeof(buf))) > 0) {
        for (i = 0; i < n; i++) {
            g_assert_cmphex(buf[i], ==, ser_byte(p, p->received++));
        }
    }
    return n < 0 && errno == EAGAIN;
}

/*
 * Read what a port has sent before its VM was stopped.  A port that sends more,
 * now that there is room, would send what is in the stream as well.  Returns
 * the bytes so far.
 */
static uint64_t ser_receive_stopped(Ser *s, Port *p)
{
    unsigned i;

    for (i = 0; i < 5; i++) {
        g_assert_true(ser_receive(p));
        qtest_qmp_assert_success(s->rig.qts, "{ 'execute': 'query-status' }");
    }
    return p->received;
}

/* Read until everything has come back and has arrived, and nothing more */
static void ser_finish(Ser *s)
{
    unsigned i;

    for (i = 0; i < s->ports; i++) {
        Port *p = &s->port[i];
        gint64 start = 0;

        while (p->returned < p->count ||
               p->received < (uint64_t)p->count * SER_LEN) {
            g_assert_true(ser_receive(p));
            ser_reap(s, p);
            mig_wait(&start, "virtio-serial");
        }
        qvring_check_idle(s->rig.qts, p->vq);
        g_assert_true(ser_receive(p));
        g_assert_cmpuint(p->received, ==, (uint64_t)p->count * SER_LEN);
    }
}

/* Send on all ports what their peers read */
static void ser_run(Ser *s, unsigned times, unsigned n)
{
    unsigned i;

    while (times--) {
        for (i = 0; i < s->ports; i++) {
            ser_send(s, &s->port[i], n);
        }
        ser_finish(s);
    }
}

static void ser_init(Ser *s, const Mode *mode, unsigned ports)
{
    g_autofree char *args = NULL;
    unsigned i;

    s->ports = ports;
    args = ser_args(s, mode);
    mig_init(&s->rig, mode, args);
    ser_close_fds(s);
    for (i = 0; i < ports; i++) {
        Port *p = &s->port[i];

        p->seed = 1000 * i;
        p->mem = guest_alloc(&s->rig.alloc, SER_BUFFERS * SER_LEN);
        p->vq = mig_queue_setup(&s->rig, SER_QUEUE(i), MIG_QUEUE_SIZE);
    }
    qvirtio_set_driver_ok(s->rig.vdev);
    ser_run(s, 3, 7);
}

static void ser_cleanup(Ser *s)
{
    unsigned i;

    for (i = 0; i < s->ports; i++) {
        mig_queue_free(&s->rig, s->port[i].vq);
        close(s->port[i].fd);
    }
    mig_cleanup(&s->rig);
}

static void ser_migrate(const Mode *mode, unsigned ports, bool slowly)
{
    g_autoptr(GByteArray) stream = NULL;
    g_autofree char *args = NULL;
    int fds[SER_PORTS];
    size_t pause = 0;
    Ser s = { 0 };
    unsigned i;

    ser_init(&s, mode, ports);
    /* The kick does all that can be done: one buffer is half sent */
    for (i = 0; i < ports; i++) {
        Port *p = &s.port[i];

        ser_send(&s, p, SER_BUFFERS - i);
        ser_reap(&s, p);
        g_assert_cmpuint(qvring_in_flight(p->vq), >, 2);
        fds[i] = p->fd;
    }
    stream = mig_save(&s.rig);
    g_assert_cmpint(!!mig_find(stream, MIG_ORDER), ==, mode->in_order);
    for (i = 0; i < ports; i++) {
        ser_receive_stopped(&s, &s.port[i]);
    }
    if (slowly) {
        pause = mig_find(stream, "virtio/started");
        g_assert_cmpuint(pause, >, 0);
    }

    args = ser_args(&s, mode);
    mig_load(&s.rig, args, stream, pause);
    ser_close_fds(&s);
    /* The port goes on in a timer, which runs when the VM does */
    qtest_clock_step(s.rig.qts, 1000);
    /* What the first QEMU sent, up to the end; the second has the rest */
    for (i = 0; i < ports; i++) {
        int fd = s.port[i].fd;

        s.port[i].fd = fds[i];
        g_assert_false(ser_receive(&s.port[i]));
        close(fds[i]);
        s.port[i].fd = fd;
    }
    ser_finish(&s);
    ser_run(&s, 10, SER_BUFFERS);
    ser_cleanup(&s);
}

/*
 * A buffer half sent and others behind it, not yet taken: bytes would be lost
 * or doubled if the position in the buffer were, and in order the port would
 * stop if the buffer did not find its place.
 */
static void test_serial(const MigCase *c)
{
    ser_migrate(c->mode, 1, false);
}

/*
 * The same with a stream that pauses between the port's buffer and the state
 * of the queues.  A port that starts to send before it has that would return
 * the buffer to a queue that knows neither its features nor its order.
 */
static void test_serial_slow(const MigCase *c)
{
    ser_migrate(c->mode, 1, true);
}

/* Several ports at once: a buffer that went to another's queue would show */
static void test_serial_ports(const MigCase *c)
{
    ser_migrate(c->mode, SER_PORTS, false);
}

/*
 * A snapshot with a buffer half sent, loaded after the port went on.  What the
 * peer got in between it gets again, from where the snapshot stands: with the
 * buffer or its position from after the snapshot, other bytes would come.
 */
static void test_serial_snapshot(const MigCase *c)
{
    MigSnapshot snap;
    g_autofree char *args = NULL;
    g_autofree char *all = NULL;
    gint64 start = 0;
    Ser s = { .ports = 1 };
    Port *p = &s.port[0];
    uint64_t got;

    if (!mig_snapshot_init(&snap)) {
        return;
    }
    args = ser_args(&s, c->mode);
    all = g_strdup_printf("%s %s", args, snap.args);
    mig_init(&s.rig, c->mode, all);
    ser_close_fds(&s);
    p->mem = guest_alloc(&s.rig.alloc, SER_BUFFERS * SER_LEN);
    p->vq = mig_queue_setup(&s.rig, SER_QUEUE(0), MIG_QUEUE_SIZE);
    qvirtio_set_driver_ok(s.rig.vdev);
    ser_run(&s, 3, 7);
    ser_send(&s, p, SER_BUFFERS);
    ser_reap(&s, p);
    qtest_qmp_assert_success(s.rig.qts, "{ 'execute': 'stop' }");
    mig_snapshot_job(&s.rig, "snapshot-save");

    /* All that the port had sent by then, and some more */
    got = ser_receive_stopped(&s, p);
    mig_cont(&s.rig);
    while (p->received < got + 3 * SER_LEN) {
        mig_wait(&start, "virtio-serial");
        g_assert_true(ser_receive(p));
    }
    qtest_qmp_assert_success(s.rig.qts, "{ 'execute': 'stop' }");
    ser_receive_stopped(&s, p);
    mig_snapshot_job(&s.rig, "snapshot-load");
    p->received = got;
    mig_cont(&s.rig);
    qtest_clock_step(s.rig.qts, 1000);
    ser_finish(&s);
    ser_run(&s, 10, SER_BUFFERS);
    ser_cleanup(&s);
    mig_snapshot_cleanup(&snap);
}

void serial_seed(const Mode *mode, MigSeed *seed)
{
    g_autofree char *props = mig_props(mode);
    Ser s = { .rig.base = seed->base };

    ser_init(&s, mode, 1);
    ser_send(&s, &s.port[0], SER_BUFFERS);
    mig_seed(&s.rig, seed);
    seed->args = g_strdup_printf("-device virtio-serial-pci,id=ser0,"
                                 "max_ports=2,%s -chardev null,id=peer0 "
                                 "-device virtserialport,bus=ser0.0,nr=1,"
                                 "chardev=peer0", props);
    ser_cleanup(&s);
}

void serial_add_tests(const Mode *mode)
{
    mig_add(mode, "serial", test_serial, NULL);
    mig_add(mode, "serial-slow", test_serial_slow, NULL);
    mig_add(mode, "serial-ports", test_serial_ports, NULL);
    mig_add(mode, "serial-snapshot", test_serial_snapshot, NULL);
}
