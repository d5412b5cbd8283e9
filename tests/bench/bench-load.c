/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * virtio-bench: what the device is given to do, see bench-load.h
 */

#include "qemu/osdep.h"
#include <sched.h>
#include <sys/ioctl.h>
#include <linux/sockios.h>
#include "qemu/bitops.h"
#include "qemu/processor.h"
#include "qemu/units.h"
#include "bench-load.h"
#include "standard-headers/linux/virtio_blk.h"
#include "standard-headers/linux/virtio_net.h"

/* Bytes of struct virtio_net_hdr_v1, which VIRTIO_F_VERSION_1 brings */
#define NET_HDR_LEN     sizeof(struct virtio_net_hdr_v1)

/* What a driver gives for a receive buffer where they can be merged, bytes */
#define RX_BUF_LEN      1536

/*
 * Bytes in one write to the socket, and how many such writes may be under way
 * while streaming.  QEMU reads up to 68 KiB at once; so it always finds much.
 */
#define FEED_BYTES      (32 * KiB)
#define FEED_AHEAD      3

/* A device that does nothing for so long is stuck, nanoseconds */
#define STUCK_NS        (10ull * 1000 * 1000 * 1000)

/* Looks at a ring without news between looks at the clock */
#define SPINS           4096

void bench_load_relax(const BenchLoad *l)
{
    uint32_t i;

    if (l->opts->yield) {
        sched_yield();
    }
    for (i = 0; i < l->relax; i++) {
        cpu_relax();
    }
}

/* How often to call cpu_relax() for the gap that is asked for */
static uint32_t relax_turns(uint32_t gap)
{
    const uint32_t n = 100000;
    uint64_t best = UINT64_MAX;
    unsigned i, j;

    for (j = 0; j < 3; j++) {
        uint64_t t = bench_now();

        for (i = 0; i < n; i++) {
            cpu_relax();
        }
        best = MIN(best, bench_now() - t);
    }
    return (uint64_t)gap * n / MAX(best, 1);
}

static void rx_done(void *opaque, uint32_t slot, uint32_t len)
{
    BenchLoad *l = opaque;
    const struct virtio_net_hdr_v1 *hdr = (void *)(l->mem + slot * l->stride);

    if (unlikely(len != NET_HDR_LEN + l->opts->size)) {
        bench_ring_bad(&l->ring, "a packet of the wrong length", len);
    }
    if (unlikely(le16_to_cpu(hdr->num_buffers) != 1)) {
        bench_ring_bad(&l->ring, "a wrong number of merged buffers",
                       le16_to_cpu(hdr->num_buffers));
    }
}

static void blk_done(void *opaque, uint32_t slot, uint32_t len)
{
    BenchLoad *l = opaque;
    uint8_t *status = l->mem + slot * l->stride + l->opts->size;

    if (unlikely(*status != VIRTIO_BLK_S_OK)) {
        bench_ring_bad(&l->ring, "a failure into a request's status", *status);
    }
    *status = 0xff;
}

/* The slots of a network card: a buffer each */
static void net_slots(BenchLoad *l, uint64_t mem)
{
    bool rx = l->opts->what != BENCH_NET_TX;
    uint32_t i;

    for (i = 0; i < l->ring.capacity; i++) {
        l->ring.parts[i] = (BenchPart) {
            .addr = mem + i * l->stride,
            .len = NET_HDR_LEN + (rx ? RX_BUF_LEN : l->opts->size),
            .flags = rx ? VRING_DESC_F_WRITE : 0,
        };
    }
}

/* The descriptors of a request in the table at @table */
static void blk_table(BenchLoad *l, uint64_t table, const BenchPart *p)
{
    struct vring_desc *d = bench_machine_ptr(l->m, table, 3 * sizeof(*d));
    bool packed = l->ring.l.packed;
    unsigned i;

    QEMU_BUILD_BUG_ON(sizeof(struct vring_packed_desc) !=
                      sizeof(struct vring_desc));
    for (i = 0; i < 3; i++) {
        if (packed) {
            ((struct vring_packed_desc *)d)[i] = (struct vring_packed_desc) {
                .addr = cpu_to_le64(p[i].addr),
                .len = cpu_to_le32(p[i].len),
                .flags = cpu_to_le16(p[i].flags),
            };
        } else {
            d[i] = (struct vring_desc) {
                .addr = cpu_to_le64(p[i].addr),
                .len = cpu_to_le32(p[i].len),
                .flags = cpu_to_le16(p[i].flags |
                                     (i < 2 ? VRING_DESC_F_NEXT : 0)),
                .next = cpu_to_le16(i < 2 ? i + 1 : 0),
            };
        }
    }
}

/*
 * The slots of a disk: data, status, header and table.  Sectors leave gaps, or
 * the device would merge requests.
 */
static void blk_slots(BenchLoad *l, uint64_t mem)
{
    bool write = l->opts->what == BENCH_BLK_WRITE;
    uint32_t size = l->opts->size, i;

    for (i = 0; i < l->ring.capacity; i++) {
        uint64_t data = mem + i * l->stride;
        uint64_t head = data + QEMU_ALIGN_UP(size + 1, 64);
        uint64_t table = head + 64;
        struct virtio_blk_outhdr *h;
        BenchPart p[3] = {
            { .addr = head, .len = sizeof(*h) },
            { .addr = data, .len = size,
              .flags = write ? 0 : VRING_DESC_F_WRITE },
            { .addr = data + size, .len = 1, .flags = VRING_DESC_F_WRITE },
        };

        h = bench_machine_ptr(l->m, head, sizeof(*h));
        h->type = cpu_to_le32(write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN);
        h->sector = cpu_to_le64((uint64_t)i * 2 * (size / 512));
        if (l->opts->indirect) {
            blk_table(l, table, p);
            l->ring.parts[i] = (BenchPart) {
                .addr = table, .len = 3 * sizeof(struct vring_desc),
                .flags = VRING_DESC_F_INDIRECT,
            };
        } else {
            memcpy(&l->ring.parts[i * 3], p, sizeof(p));
        }
        l->mem[i * l->stride + size] = 0xff;
    }
}

/* What goes over the socket: each packet with its length before it */
static void feed_init(BenchLoad *l)
{
    uint32_t size = l->opts->size, i;

    l->chunk = FEED_BYTES / (4 + size);
    l->packets = g_malloc0((size_t)l->chunk * (4 + size));
    for (i = 0; i < l->chunk; i++) {
        uint8_t *p = l->packets + (size_t)i * (4 + size);

        stl_be_p(p, size);
        /* To everybody, so that it passes the card's filter */
        memset(p + 4, 0xff, 6);
        p[4 + 6] = 0x02;
    }
}

/* Write up to @n packets to the socket, no more than it takes */
static void feed(BenchLoad *l, uint32_t n)
{
    size_t one = 4 + l->opts->size;
    ssize_t ret;

    ret = send(l->m->feed_fd, l->packets + l->partial,
               MIN(n, l->chunk) * one - l->partial, MSG_NOSIGNAL);
    if (ret < 0) {
        if (errno != EAGAIN && errno != ENOBUFS) {
            bench_die("QEMU does not read its socket: %s", strerror(errno));
        }
        return;
    }
    ret += l->partial;
    l->fed += ret / one;
    l->partial = ret % one;
}

void bench_load_init(BenchLoad *l, BenchMachine *m, unsigned queue,
                     const BenchLoadOptions *opts)
{
    bool blk = opts->what == BENCH_BLK_READ || opts->what == BENCH_BLK_WRITE;
    QVirtQueue *vq = m->queues[queue].vq;
    uint32_t entries = vq->size;
    BenchRingLayout layout = {
        .packed = m->opts->mode->packed,
        .in_order = m->opts->mode->in_order,
        .event_idx = m->vdev->features & BIT_ULL(VIRTIO_RING_F_EVENT_IDX),
        .size = entries,
        .ndescs = blk && !opts->indirect ? 3 : 1,
        .desc = bench_machine_ptr(m, vq->desc, 16 * entries),
        .driver = bench_machine_ptr(m, vq->avail, 6 + 2 * entries),
        .device = bench_machine_ptr(m, vq->used, 6 + 8 * entries),
    };
    uint64_t mem;

    memset(l, 0, sizeof(*l));
    l->opts = opts;
    l->m = m;
    l->queue = queue;
    l->relax = relax_turns(opts->gap);
    bench_ring_init(&l->ring, &layout);
    if (opts->batch > l->ring.capacity) {
        bench_die("a batch of %u does not fit a ring of %u buffers; choose "
                  "less with --batch", opts->batch, l->ring.capacity);
    }
    /* Not a power of two, or all slots would share few sets of the caches */
    l->stride = blk ? QEMU_ALIGN_UP(opts->size + 1, 64) + 64 + 64 :
                opts->what == BENCH_NET_TX ?
                QEMU_ALIGN_UP(NET_HDR_LEN + opts->size, 64) :
                QEMU_ALIGN_UP(NET_HDR_LEN + RX_BUF_LEN, 64) + 64;
    mem = bench_machine_alloc(m, (uint64_t)l->stride * l->ring.capacity);
    l->mem = bench_machine_ptr(m, mem, (uint64_t)l->stride * l->ring.capacity);
    if (blk) {
        blk_slots(l, mem);
        l->done = blk_done;
    } else {
        net_slots(l, mem);
        l->done = opts->what == BENCH_NET_TX ? NULL : rx_done;
    }
    if (m->feed_fd >= 0) {
        feed_init(l);
    }
    bench_ring_start(&l->ring, opts->interrupts);
    l->progress = bench_now();
}

void bench_load_cleanup(BenchLoad *l)
{
    bench_ring_cleanup(&l->ring);
    g_free(l->packets);
}

void bench_load_add(BenchLoad *l, uint32_t n)
{
    if (l->opts->write_data) {
        uint32_t i, slot;

        for (i = 0; i < n; i++) {
            slot = l->ring.fifo[(l->ring.add_at + i) % l->ring.capacity];
            memset(l->mem + slot * l->stride + NET_HDR_LEN,
                   (uint8_t)l->ring.added, l->opts->size);
        }
    }
    bench_ring_add(&l->ring, n);
    if (bench_ring_wants_kick(&l->ring)) {
        bench_machine_kick(l->m, l->queue);
    }
}

void bench_load_check(BenchLoad *l, uint64_t now)
{
    if (l->seen != l->ring.reaped) {
        l->seen = l->ring.reaped;
        l->progress = now;
        return;
    }
    if (!l->seen && l->m->queues[l->queue].kick_fd >= 0 &&
        now - l->progress > STUCK_NS / 5) {
        fprintf(stderr, "%s: the eventfd does not kick the device; going on "
                "with kicks through the qtest socket\n", g_get_prgname());
        bench_machine_kick_by(l->m, l->queue, -1);
        bench_machine_kick(l->m, l->queue);
        l->progress = now;
    }
    if (now - l->progress > STUCK_NS) {
        bench_die("the device has stopped: %" PRIu64 " buffers came back, %u "
                  "are in flight on queue %u, and nothing happens for %llu s; "
                  "'make check' may tell more", l->ring.reaped,
                  l->ring.capacity - l->ring.free, l->queue,
                  STUCK_NS / 1000000000);
    }
}

/* Packets that were written to the socket and did not come back yet */
static inline uint64_t on_the_way(const BenchLoad *l)
{
    return l->fed - l->ring.reaped;
}

uint32_t bench_load_step(BenchLoad *l)
{
    uint32_t n = bench_ring_reap(&l->ring, l->done, l);

    while (l->ring.free >= l->opts->batch) {
        bench_load_add(l, l->opts->batch);
    }
    return n;
}

static void run_streaming(BenchLoad *l, uint64_t end)
{
    uint64_t now;
    uint32_t i, n;

    do {
        for (i = 0; i < SPINS; i += n ? 16 : 1) {
            n = bench_load_step(l);
            if (l->packets && on_the_way(l) < FEED_AHEAD * l->chunk) {
                feed(l, l->chunk);
            }
            if (!n) {
                bench_load_relax(l);
            }
        }
        now = bench_now();
        bench_load_check(l, now);
    } while (now < end);
}

/* Wait until @target buffers came back; @refill keeps others in the ring */
static void wait_for(BenchLoad *l, uint64_t target, bool refill)
{
    uint32_t i = 0;

    while (l->ring.reaped < target) {
        if (!bench_ring_reap(&l->ring, l->done, l)) {
            bench_load_relax(l);
        }
        if (refill && l->ring.free >= l->opts->batch) {
            bench_load_add(l, l->opts->batch);
        }
        if (++i % SPINS == 0) {
            bench_load_check(l, bench_now());
        }
    }
}

/*
 * Wait until the device has nothing to do any more, and sleeps: a driver that
 * comes back at once would find it still awake, and the ring would be one that
 * is kept topped up in large steps.
 */
static void wait_asleep(BenchLoad *l)
{
    uint64_t start = bench_now(), now = start;

    while (!l->packets && l->ring.added && !bench_ring_idle(&l->ring)) {
        bench_load_relax(l);
        now = bench_now();
        if (now - start > STUCK_NS) {
            bench_die("the device has used everything, and does not ask for "
                      "kicks for %llu s; 'make check' may tell more",
                      STUCK_NS / 1000000000);
        }
    }
    start = now;
    while (now - start < l->opts->pause) {
        bench_load_relax(l);
        now = bench_now();
    }
}

static void run_filled(BenchLoad *l, uint64_t end)
{
    do {
        wait_asleep(l);
        bench_load_add(l, l->ring.free);
        while (l->packets && on_the_way(l) < l->ring.capacity) {
            feed(l, l->ring.capacity - on_the_way(l));
        }
        wait_for(l, l->packets ? l->fed : l->ring.added, false);
    } while (bench_now() < end);
}

/* The socket alone: packets that a card without link drops */
static void run_feed(BenchLoad *l, uint64_t end)
{
    int left;

    do {
        feed(l, l->chunk);
        if (ioctl(l->m->feed_fd, SIOCOUTQ, &left)) {
            bench_die("SIOCOUTQ: %s", strerror(errno));
        }
        l->ring.reaped = l->fed;
        if (left) {
            bench_load_relax(l);
        }
    } while (bench_now() < end);
}

static void span_now(const BenchLoad *l, BenchSpan *s)
{
    s->driver = bench_clock(CLOCK_THREAD_CPUTIME_ID);
    s->wall = bench_now();
    s->cpu = bench_machine_cpu(l->m);
    s->buffers = l->ring.reaped;
    s->entries = l->ring.entries;
    s->kicks = l->m->queues[l->queue].kicks;
}

void bench_load_run(BenchLoad *l, uint64_t ns, BenchSpan *span)
{
    BenchSpan from, to;
    uint64_t end;

    span_now(l, &from);
    end = from.wall + ns;
    if (l->opts->what == BENCH_NET_FEED) {
        run_feed(l, end);
    } else if (l->opts->pace == BENCH_STREAMING) {
        run_streaming(l, end);
    } else {
        run_filled(l, end);
    }
    span_now(l, &to);
    if (span) {
        *span = (BenchSpan) {
            .buffers = to.buffers - from.buffers,
            .entries = to.entries - from.entries,
            .kicks = to.kicks - from.kicks,
            .cpu = to.cpu - from.cpu,
            .wall = to.wall - from.wall,
            .driver = to.driver - from.driver,
        };
    }
}

void bench_load_drain(BenchLoad *l)
{
    if (l->opts->what == BENCH_NET_FEED) {
        return;
    }
    wait_for(l, l->packets ? l->fed : l->ring.added, l->packets);
}
