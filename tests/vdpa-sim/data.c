/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vdpa-sim: packets, from transmit queues, to receive queues, and in between
 *
 * Everything but sim_receive() and the fifo runs in the worker of a queue, with
 * its lock held.  The fifo of a receive queue has a lock of its own, for its
 * packets come from the workers of other queues; only its own worker takes them
 * out, so the packet at its head stays where it is without the lock.
 */
#include <stdlib.h>
#include <string.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>

#include "device.h"

#define FIFO_SIZE       (1u << 20)      /* bytes */

/* Before each packet in a fifo */
typedef struct FifoEntry {
    uint32_t size;              /* bytes to the next one */
    uint32_t len;               /* bytes of frame; FIFO_WRAP: none to the end */
    SimNetHdr hdr;
    uint32_t pad;
} FifoEntry;

#define FIFO_WRAP       UINT32_MAX

#define FEATURE(q, bit) (!!((q)->ring.cfg.features & (1ull << (bit))))

const VdpaSimNetState *sim_queue_net(SimQueue *q)
{
    VdpaSimNetShared *shared = &q->dev->sim->net;

    if (!q->net_valid || vdpa_sim_net_changed(shared, q->net_seq)) {
        q->net_seq = vdpa_sim_net_snapshot(shared, &q->net);
        q->net_valid = true;
    }
    return &q->net;
}

void sim_buffer_fault(SimQueue *q, const SimBuffer *buf)
{
    sim_iova_fault(q->dev, q->index, buf->fault_iova, buf->fault_len);
}

static void use(SimQueue *q, const SimBuffer *buf, uint32_t len)
{
    q->used[q->num_used++] = (SimUsed) {
        .id = buf->id,
        .slots = buf->slots,
        .len = len,
        .writable = buf->in_len > 0,
    };
}

/* Copies to or from pieces of memory, from byte @skip on.  Returns how many. */
static size_t copy_iov(const struct iovec *iov, unsigned num, size_t skip,
                       void *data, size_t len, bool write)
{
    uint8_t *p = data;
    size_t done = 0;
    unsigned i;

    for (i = 0; i < num && done < len; i++) {
        size_t n = iov[i].iov_len;

        if (skip >= n) {
            skip -= n;
            continue;
        }
        n -= skip;
        n = n < len - done ? n : len - done;
        if (write) {
            memcpy((uint8_t *)iov[i].iov_base + skip, p + done, n);
        } else {
            memcpy(p + done, (uint8_t *)iov[i].iov_base + skip, n);
        }
        skip = 0;
        done += n;
    }
    return done;
}

size_t sim_buffer_read(const SimBuffer *buf, size_t from, void *data,
                       size_t max)
{
    return copy_iov(buf->iov, buf->out_num, from, data, max, false);
}

static size_t buffer_write(const SimBuffer *buf, size_t from, const void *data,
                           size_t len)
{
    return copy_iov(buf->iov + buf->out_num, buf->in_num, from, (void *)data,
                    len, true);
}

/* In between */

void sim_fifo_open(SimQueue *q, bool open)
{
    SimFifo *f = &q->fifo;

    pthread_mutex_lock(&f->lock);
    if (open && !f->data) {
        f->data = malloc(FIFO_SIZE);
        open = f->data;
    }
    if (!open) {
        f->head = f->tail = 0;
        sim_set(&f->count, 0);
    }
    __atomic_store_n(&f->open, open, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&f->lock);
}

/* Returns where @size bytes may be written, or NULL.  The fifo is locked. */
static FifoEntry *fifo_room(SimFifo *f, uint32_t size)
{
    /* One byte less than all, or a full one would look like an empty one */
    if (f->tail < f->head) {
        return f->head - f->tail > size ? (void *)(f->data + f->tail) : NULL;
    }
    if (FIFO_SIZE - f->tail > size) {
        return (void *)(f->data + f->tail);
    }
    if (f->head <= size) {
        return NULL;
    }
    if (FIFO_SIZE - f->tail >= sizeof(FifoEntry)) {
        ((FifoEntry *)(f->data + f->tail))->len = FIFO_WRAP;
    }
    f->tail = 0;
    return (void *)f->data;
}

/*
 * Puts a packet into the fifo of @to.  Returns false when it is to wait, which
 * only a packet of a queue @from that is lossless has to.
 */
static bool fifo_put(SimQueue *to, SimQueue *from, const SimNetHdr *hdr,
                     const uint8_t *frame, uint32_t len)
{
    SimFifo *f = &to->fifo;
    uint32_t size = (sizeof(FifoEntry) + len + 7) & ~7u;
    bool lossless = from && sim_get(&from->ctl->lossless);
    FifoEntry *e = NULL;
    bool open, was_empty = false;

    pthread_mutex_lock(&f->lock);
    open = f->open;
    if (open) {
        e = fifo_room(f, size);
    }
    if (e) {
        e->size = size;
        e->len = len;
        e->hdr = *hdr;
        memcpy(e + 1, frame, len);
        f->tail += size;
        was_empty = f->count == 0;
        sim_set(&f->count, f->count + 1);
    } else if (open && lossless) {
        f->waiters |= 1u << from->index;
    }
    pthread_mutex_unlock(&f->lock);

    if (e) {
        if (was_empty) {
            __atomic_thread_fence(__ATOMIC_SEQ_CST);
            if (sim_get(&to->sleeping)) {
                sim_queue_wake(to);
            }
        }
        return true;
    }
    if (open && lossless) {
        return false;
    }
    __atomic_fetch_add(&to->stats->dropped, 1, __ATOMIC_RELAXED);
    return true;
}

/* Returns the packet at the head, or NULL */
static FifoEntry *fifo_peek(SimFifo *f)
{
    FifoEntry *e;

    if (!sim_get(&f->count)) {
        return NULL;
    }
    e = (void *)(f->data + f->head);
    if (FIFO_SIZE - f->head < sizeof(FifoEntry) || e->len == FIFO_WRAP) {
        pthread_mutex_lock(&f->lock);
        f->head = 0;
        pthread_mutex_unlock(&f->lock);
        e = (void *)f->data;
    }
    return e;
}

static void fifo_drop(SimQueue *q, FifoEntry *e)
{
    SimFifo *f = &q->fifo;
    uint32_t waiters, i;

    pthread_mutex_lock(&f->lock);
    f->head += e->size;
    sim_set(&f->count, f->count - 1);
    waiters = f->waiters;
    f->waiters = 0;
    pthread_mutex_unlock(&f->lock);
    for (i = 0; waiters; i++, waiters >>= 1) {
        if (waiters & 1) {
            sim_queue_wake(&q->dev->queue[i]);
        }
    }
}

/*
 * Hands a packet to the receive queue that is due to it.  Returns false when it
 * has to wait.
 */
static bool deliver(SimDevice *dev, const VdpaSimNetState *net, SimQueue *from,
                    SimNetHdr *hdr, const uint8_t *frame, uint32_t len)
{
    VdpaSimSteer steer;

    if (vdpa_sim_net_accept(net, &dev->sim->config.net, frame, len) !=
        VDPA_SIM_ACCEPT) {
        if (from) {
            sim_count(&from->stats->filtered, 1);
        }
        return true;
    }
    steer = vdpa_sim_net_steer(net, &dev->flows, frame, len);
    hdr->hash_value = steer.hash;
    hdr->hash_report = steer.hash_report;
    if (VDPA_SIM_RX(steer.queue) >= dev->num_queues) {
        return true;
    }
    return fifo_put(&dev->queue[VDPA_SIM_RX(steer.queue)], from, hdr, frame,
                    len);
}

void sim_receive(SimDevice *dev, const uint8_t *frame, size_t len)
{
    VdpaSimNetState *net = malloc(sizeof(*net));
    SimNetHdr hdr = { 0 };

    if (net) {
        vdpa_sim_net_snapshot(&dev->sim->net, net);
        deliver(dev, net, NULL, &hdr, frame, len);
        free(net);
    }
}

/* TX */

/* Finds the frame in one piece */
static const uint8_t *whole_frame(SimQueue *q, const SimBuffer *buf,
                                  size_t hdr_len, size_t len)
{
    const struct iovec *iov = buf->iov;

    if (iov->iov_len >= hdr_len + len) {
        return (const uint8_t *)iov->iov_base + hdr_len;
    }
    if (iov->iov_len == hdr_len && iov[1].iov_len >= len) {
        return iov[1].iov_base;
    }
    sim_buffer_read(buf, hdr_len, q->scratch, len);
    return q->scratch;
}

static void verify(SimQueue *q, const uint8_t *frame, size_t len)
{
    VdpaSimQueueStats *s = q->stats;
    uint16_t stream;
    uint64_t seq;

    switch (vdpa_sim_packet_read(frame, len, &stream, &seq)) {
    case VDPA_SIM_PACKET_OK:
        if (stream == q->ctl->flow.stream) {
            vdpa_sim_stream_take(&s->stream, seq, len);
            return;
        }
        /* fall through */
    case VDPA_SIM_PACKET_FOREIGN:
        sim_count(&s->foreign, 1);
        return;
    default:
        sim_count(&s->damaged, 1);
        return;
    }
}

/*
 * The checksum that the driver left to the device (VIRTIO 1.2, 5.1.6.2), on the
 * way to a driver that does not want to do it either
 */
static bool complete_checksum(SimQueue *q, const SimNetHdr *hdr,
                              const uint8_t **frame, size_t len)
{
    uint32_t sum = 0;
    size_t at = (size_t)hdr->csum_start + hdr->csum_offset, i;
    uint8_t *p;

    if (hdr->csum_start > len || at + 2 > len) {
        return false;
    }
    if (*frame != q->scratch) {
        memcpy(q->scratch, *frame, len);
        *frame = q->scratch;
    }
    p = q->scratch;
    for (i = hdr->csum_start; i + 1 < len; i += 2) {
        sum += p[i] << 8 | p[i + 1];
    }
    if (i < len) {
        sum += p[i] << 8;
    }
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum = ~sum & 0xffff;
    p[at] = sum >> 8;
    p[at + 1] = sum;
    return true;
}

/* Returns false when the packet has to wait */
static bool loop(SimQueue *q, const SimBuffer *buf, uint32_t mode,
                 size_t hdr_len, const uint8_t *frame, size_t len)
{
    const VdpaSimNetState *net = sim_queue_net(q);
    SimNetHdr hdr = { 0 };

    sim_buffer_read(buf, 0, &hdr, hdr_len < 10 ? hdr_len : 10);
    if (hdr.gso_type != VIRTIO_NET_HDR_GSO_NONE) {
        uint64_t need = hdr.gso_type == VIRTIO_NET_HDR_GSO_TCPV4 ?
                        1ull << VIRTIO_NET_F_GUEST_TSO4 :
                        hdr.gso_type == VIRTIO_NET_HDR_GSO_TCPV6 ?
                        1ull << VIRTIO_NET_F_GUEST_TSO6 : 0;

        if (!(net->offloads & need)) {
            sim_count(&q->stats->dropped, 1);
            return true;
        }
    }
    if (hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM &&
        !(net->offloads & 1ull << VIRTIO_NET_F_GUEST_CSUM)) {
        if (!complete_checksum(q, &hdr, &frame, len)) {
            sim_violation(q->dev, q->index, "checksum at %u + %u of a packet "
                          "of %zu bytes", hdr.csum_start, hdr.csum_offset, len);
            return true;
        }
        hdr.flags = 0;
        hdr.csum_start = hdr.csum_offset = 0;
    }

    if (mode == VDPA_SIM_LOOP_PAIR) {
        return fifo_put(&q->dev->queue[q->index - 1], q, &hdr, frame, len);
    }
    vdpa_sim_net_learn(&q->dev->flows, q->index / 2, frame, len);
    return deliver(q->dev, net, q, &hdr, frame, len);
}

void sim_tx_batch(SimQueue *q, unsigned max)
{
    size_t hdr_len = vdpa_sim_net_hdr_len(q->ring.cfg.features);
    uint64_t packets = 0, bytes = 0;
    SimBuffer buf;

    q->blocked = false;
    while (q->num_used < max &&
           sim_ring_pop(&q->ring, &buf, q->iov, q->num_iov)) {
        /* Looked at after the buffer, for which it may have been changed */
        uint32_t mode = sim_get(&q->ctl->mode);
        bool check = sim_get(&q->ctl->verify);
        size_t len = buf.out_len - hdr_len;

        if (buf.fault) {
            sim_buffer_fault(q, &buf);
            use(q, &buf, 0);
            continue;
        }
        if (buf.out_len < hdr_len || len > VDPA_SIM_MAX_PACKET) {
            sim_violation(q->dev, q->index, "a packet of %llu bytes with its "
                          "header", (unsigned long long)buf.out_len);
            use(q, &buf, 0);
            continue;
        }
        if (len && (mode != VDPA_SIM_PLAIN || check)) {
            const uint8_t *frame = whole_frame(q, &buf, hdr_len, len);

            if (mode != VDPA_SIM_PLAIN &&
                !loop(q, &buf, mode, hdr_len, frame, len)) {
                sim_ring_unpop(&q->ring, &buf);
                q->blocked = true;
                break;
            }
            if (check) {
                verify(q, frame, len);
            }
        }
        packets++;
        bytes += len;
        use(q, &buf, 0);
    }
    sim_count(&q->stats->packets, packets);
    sim_count(&q->stats->bytes, bytes);
}

/* RX */

/*
 * Takes buffers for a packet of @total bytes into q->bufs.  Returns their
 * number, 0 if there are not enough, or -1 if the packet will never fit.
 */
static int take_buffers(SimQueue *q, size_t total)
{
    bool mergeable = FEATURE(q, VIRTIO_NET_F_MRG_RXBUF);
    unsigned iovs = 0, num = 0;
    size_t room = 0;

    while (room < total) {
        SimBuffer *buf = &q->bufs[num];

        if (num == q->ring.cfg.num ||
            !sim_ring_pop(&q->ring, buf, q->iov + iovs, q->num_iov - iovs)) {
            break;
        }
        num++;
        iovs += buf->out_num + buf->in_num;
        if (buf->fault || !buf->in_len) {
            /* It goes back alone; what was taken before, waits */
            while (num > 1) {
                sim_ring_unpop(&q->ring, &q->bufs[--num]);
                if (num == 1) {
                    sim_ring_unpop(&q->ring, &q->bufs[0]);
                    return 0;
                }
            }
            if (buf->fault) {
                sim_buffer_fault(q, buf);
            } else {
                sim_violation(q->dev, q->index, "buffer %u has no room",
                              buf->id);
            }
            use(q, buf, 0);
            return 0;
        }
        room += buf->in_len;
        if (!mergeable && room < total) {
            sim_ring_unpop(&q->ring, buf);
            return -1;
        }
    }
    if (room >= total) {
        return num;
    }
    while (num) {
        sim_ring_unpop(&q->ring, &q->bufs[--num]);
    }
    return 0;
}

/*
 * Writes a packet into the buffers that were taken for it.  Without @frame, the
 * frame is there already.
 */
static void fill(SimQueue *q, const SimBuffer *bufs, unsigned num,
                 SimNetHdr *hdr, size_t hdr_len, const uint8_t *frame,
                 size_t len)
{
    size_t done = 0;
    unsigned i;

    hdr->num_buffers = num;
    for (i = 0; i < num; i++) {
        size_t head = 0, n;

        if (i == 0) {
            head = buffer_write(&bufs[i], 0, hdr, hdr_len);
        }
        n = frame ? buffer_write(&bufs[i], head, frame + done, len - done)
                  : len - done;
        use(q, &bufs[i], head + n);
        done += n;
    }
    sim_count(&q->stats->packets, 1);
    sim_count(&q->stats->bytes, len);
}

/* RX, VDPA_SIM_SOURCE */

/* What there is to make */
typedef struct Source {
    size_t hdr_len;
    uint64_t seq;               /* of the next packet */
    uint64_t end;               /* of all packets */
    uint64_t interval;          /* nanoseconds */
    uint64_t now;               /* the time, with an interval */
    uint32_t len_min;           /* of a frame */
    uint32_t len_max;
} Source;

static void source_init(SimQueue *q, Source *src, size_t hdr_len)
{
    const VdpaSimNetState *net = sim_queue_net(q);
    const VdpaSimQueueCtl *ctl = q->ctl;
    VdpaSimFlowConfig config = ctl->flow;
    uint32_t shortest;

    if (!memcmp(config.dst_mac, "\0\0\0\0\0", 6)) {
        memcpy(config.dst_mac, net->mac, 6);
    }
    if (!q->flow_valid || memcmp(&config, &q->flow_config, sizeof(config))) {
        q->flow_config = config;
        vdpa_sim_flow_init(&q->flow, &config);
        q->flow_valid = true;
    }

    src->hdr_len = hdr_len;
    src->seq = q->stats->sourced;
    src->end = __atomic_load_n(&ctl->source_count, __ATOMIC_RELAXED);
    if (q->index / 2 >= net->pairs) {
        src->end = 0;           /* the pair is off */
    }
    src->interval = __atomic_load_n(&ctl->source_interval_ns,
                                    __ATOMIC_RELAXED);
    src->now = src->interval ? sim_now() : 0;

    shortest = vdpa_sim_flow_min(&q->flow);
    src->len_min = sim_get(&ctl->source_len_min);
    src->len_min = src->len_min ? src->len_min : 64;
    src->len_min = src->len_min < shortest ? shortest : src->len_min;
    src->len_min = src->len_min < VDPA_SIM_PACKET_MAX ? src->len_min
                                                      : VDPA_SIM_PACKET_MAX;
    src->len_max = sim_get(&ctl->source_len_max);
    src->len_max = src->len_max < src->len_min ? src->len_min : src->len_max;
    src->len_max = src->len_max < VDPA_SIM_PACKET_MAX ? src->len_max
                                                      : VDPA_SIM_PACKET_MAX;
}

/* The length follows from the number, so that it is the same each time */
static size_t source_len(const Source *src)
{
    return src->len_min + (src->seq * 0x9e3779b97f4a7c15ull >> 32) %
                          (src->len_max - src->len_min + 1);
}

/* Makes the next packet in @num buffers, or loses it if that is -1 */
static void source_make(SimQueue *q, Source *src, const SimBuffer *bufs,
                        int num)
{
    size_t len = source_len(src);
    SimNetHdr hdr = { 0 };
    const struct iovec *room;

    if (num > 0) {
        room = bufs[0].iov + bufs[0].out_num;
        if (num == 1 && room->iov_len >= src->hdr_len + len) {
            vdpa_sim_packet_make(&q->flow,
                                 (uint8_t *)room->iov_base + src->hdr_len, len,
                                 src->seq);
            fill(q, bufs, num, &hdr, src->hdr_len, NULL, len);
        } else {
            vdpa_sim_packet_make(&q->flow, q->scratch, len, src->seq);
            fill(q, bufs, num, &hdr, src->hdr_len, q->scratch, len);
        }
    } else {
        __atomic_fetch_add(&q->stats->dropped, 1, __ATOMIC_RELAXED);
    }
    src->seq++;
    sim_count(&q->stats->sourced, 1);
    if (src->interval) {
        /* Do not try to make up for a long time without buffers */
        q->source_next += src->interval;
        if (q->source_next + 16 * src->interval < src->now) {
            q->source_next = src->now + src->interval;
        }
    }
}

/*
 * Makes up to @max packets with a buffer for each, not in the order in which
 * the buffers were made available.  All are used, or the position that the
 * device stops at would not say which were not.  Returns false if there is a
 * buffer that is too small for that.
 */
static bool source_shuffled(SimQueue *q, Source *src, unsigned max)
{
    unsigned num = 0, iovs = 0, i;
    bool fit = true;

    while (fit && num < max &&
           sim_ring_pop(&q->ring, &q->bufs[num], q->iov + iovs,
                        q->num_iov - iovs)) {
        SimBuffer *buf = &q->bufs[num++];

        iovs += buf->out_num + buf->in_num;
        fit = !buf->fault && buf->in_len >= src->hdr_len + src->len_max;
    }
    if (!fit) {
        while (num) {
            sim_ring_unpop(&q->ring, &q->bufs[--num]);
        }
        return false;
    }
    for (i = num; i > 1; i--) {
        unsigned j = sim_random(q) % i;
        SimBuffer swap = q->bufs[i - 1];

        q->bufs[i - 1] = q->bufs[j];
        q->bufs[j] = swap;
    }
    for (i = 0; i < num; i++) {
        source_make(q, src, &q->bufs[i], 1);
    }
    q->pending = num < max;
    return true;
}

/* Makes packets until @q->used has @max, or there is something to wait for */
static void source_batch(SimQueue *q, size_t hdr_len, unsigned max,
                         uint64_t *wait_ns)
{
    uint32_t window = sim_get(&q->ctl->shuffle);
    Source src;

    source_init(q, &src, hdr_len);
    while (q->num_used < max && src.seq < src.end && !q->pending) {
        unsigned room = max - q->num_used;
        int num;

        if (src.interval && src.now < q->source_next) {
            *wait_ns = q->source_next - src.now;
            break;
        }
        if (window > 1 && !q->ring.in_order && !src.interval) {
            room = room < window ? room : window;
            room = room < src.end - src.seq ? room : src.end - src.seq;
            if (source_shuffled(q, &src, room)) {
                continue;
            }
        }
        num = take_buffers(q, hdr_len + source_len(&src));
        if (num) {
            source_make(q, &src, q->bufs, num);
        } else {
            q->pending = true;
        }
    }
}

void sim_rx_batch(SimQueue *q, unsigned max, uint64_t *wait_ns)
{
    size_t hdr_len = vdpa_sim_net_hdr_len(q->ring.cfg.features);
    bool was_pending = q->pending;
    FifoEntry *e;

    q->pending = false;
    while (q->num_used < max && (e = fifo_peek(&q->fifo))) {
        int num = take_buffers(q, hdr_len + e->len);

        if (!num) {
            q->pending = true;
            break;
        }
        if (num > 0) {
            fill(q, q->bufs, num, &e->hdr, hdr_len, (const uint8_t *)(e + 1),
                 e->len);
        } else {
            __atomic_fetch_add(&q->stats->dropped, 1, __ATOMIC_RELAXED);
        }
        fifo_drop(q, e);
    }
    if (!q->pending && sim_get(&q->ctl->mode) == VDPA_SIM_SOURCE) {
        source_batch(q, hdr_len, max, wait_ns);
    }
    if (q->pending && !was_pending && !q->num_used) {
        sim_count(&q->stats->starved, 1);
    }
}
