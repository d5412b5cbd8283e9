/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The stress worker's Ethernet frames, which come back from where they are sent
 *
 * For a device that loops what is transmitted back to the queue pair that it
 * was transmitted on.  Each flow sends the packets of tests/vdpa-sim/packet.h
 * from a CPU of its own, with which the driver's queues are chosen, and has
 * only so many under way that nothing on the way back has to drop one.  So
 * every packet comes back once, unchanged, in order; one that does not was lost
 * by the device or by what is below it, and is counted ("repeated").
 *
 * When a packet that came back is looked at immediately, its memory may never
 * be migrated.  So each interface has a second reader, which is seconds behind,
 * and meanwhile the packets are nowhere but where the device has put them.  It
 * checks their contents again; if it is too far behind, it misses some.
 *
 * SIGUSR1 says that flows are about to change queues and may overtake
 * themselves; SIGUSR2 that packets sent from now on may not.
 *
 * Threads: a flow has one that sends, and all flows of an interface have one
 * that receives.  What both use is under the flow's lock.
 */

#define _GNU_SOURCE             /* CPU affinity */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../../vdpa-sim/packet.h"
#include "worker.h"

#define WINDOW 64               /* packets of a flow under way */
#define PATIENCE 1              /* seconds until they are given up as lost */
#define FLOWS_MOST 16           /* of an interface */
#define FRAME_MOST 9100
#define NOW_BYTES (64 << 20)    /* of socket buffer, more than windows hold */
#define LATE_BYTES (12 << 20)
#define LATE_PAUSE 3            /* seconds that packets stay where they are */

typedef struct Nic Nic;

typedef struct Flow {
    Nic *nic;
    Item *item;                 /* of what was received; repeated: lost */
    unsigned int cpu;
    VdpaSimFlow flow;
    pthread_mutex_t lock;
    pthread_cond_t came;        /* there is room in the window, perhaps */
    uint64_t sent;              /* under the lock, as is what follows */
    uint64_t given_up;          /* packets before this one are not waited for */
    uint64_t ordered;           /* these and later ones may not be overtaken */
    VdpaSimStream stream;
} Flow;

struct Nic {
    const char *name;
    int index;
    size_t longest;             /* frame */
    int now, late;              /* sockets */
    Item *late_item;            /* operations: packets looked at twice */
    unsigned int num_flows;
    unsigned int sending;       /* flows not yet at their end; atomic */
    Flow flows[FLOWS_MOST];
    Nic *next;
};

static Nic *nics;               /* complete before the signals come */

/* An instant from now on, for timed waiting */
static struct timespec after(time_t seconds)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    ts.tv_sec += seconds;
    return ts;
}

/* Under the flow's lock */
static uint64_t under_way(const Flow *f)
{
    uint64_t from = f->stream.next > f->given_up ? f->stream.next
                                                 : f->given_up;

    return f->sent > from ? f->sent - from : 0;
}

/*
 * Waits until less than @limit packets are under way.  When nothing comes back
 * for a while, nothing of them will.
 */
static void wait_window(Flow *f, uint64_t limit)
{
    pthread_mutex_lock(&f->lock);
    while (under_way(f) >= limit) {
        struct timespec until = after(PATIENCE);
        uint64_t before = f->stream.packets;

        while (under_way(f) >= limit &&
               pthread_cond_timedwait(&f->came, &f->lock, &until) !=
               ETIMEDOUT) {
            /* Look again */
        }
        if (under_way(f) >= limit && f->stream.packets == before) {
            f->given_up = f->sent;
        }
    }
    pthread_mutex_unlock(&f->lock);
}

static void *send_frames(void *argument)
{
    Flow *f = argument;
    Nic *nic = f->nic;
    uint8_t frame[FRAME_MOST];
    uint64_t random = f->item->name[0] * 1000003ull + f->cpu + 1;
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET, .sll_ifindex = nic->index,
    };
    cpu_set_t cpus;
    int fd = socket(AF_PACKET, SOCK_RAW, 0);

    CPU_ZERO(&cpus);
    CPU_SET(f->cpu, &cpus);
    if (fd < 0 || sched_setaffinity(0, sizeof(cpus), &cpus)) {
        fail(f->item->name, "cannot send from CPU %u: %s", f->cpu,
             strerror(errno));
    }
    while (!stopping()) {
        /* Every other packet is a small one */
        size_t shortest = vdpa_sim_flow_min(&f->flow);
        size_t most = random_below(&random, 2) ? nic->longest : 256;
        size_t len = shortest + random_below(&random, most - shortest + 1);

        wait_window(f, WINDOW);
        vdpa_sim_packet_make(&f->flow, frame, len, f->sent);
        if (sendto(fd, frame, len, 0, (struct sockaddr *)&address,
                   sizeof(address)) == (ssize_t)len) {
            pthread_mutex_lock(&f->lock);
            f->sent++;
            pthread_mutex_unlock(&f->lock);
        } else if (errno == ENOBUFS || errno == ENETDOWN) {
            /* The link is down.  The same packet is tried again. */
            struct timespec pause = { .tv_nsec = 10000000 };

            nanosleep(&pause, NULL);
        } else if (errno != EINTR) {
            fail(f->item->name, "sending packet %llu: %s",
                 (unsigned long long)f->sent, strerror(errno));
        }
    }
    wait_window(f, 1);
    close(fd);
    __atomic_sub_fetch(&nic->sending, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void take(Nic *nic, const uint8_t *frame, size_t len)
{
    uint64_t seq, missing;
    uint16_t stream;
    VdpaSimPacketKind kind = vdpa_sim_packet_read(frame, len, &stream, &seq);
    bool excused;
    Flow *f;

    if (kind == VDPA_SIM_PACKET_OK && stream >= nic->num_flows) {
        kind = VDPA_SIM_PACKET_FOREIGN;
    }
    if (kind != VDPA_SIM_PACKET_OK) {
        fail(nic->name, "received a %s packet of %zu bytes",
             kind == VDPA_SIM_PACKET_DAMAGED ? "damaged" : "foreign", len);
    }
    f = &nic->flows[stream];

    pthread_mutex_lock(&f->lock);
    missing = f->stream.missing;
    kind = vdpa_sim_stream_take(&f->stream, seq, len);
    excused = seq < f->ordered;
    missing = f->stream.missing - missing;
    pthread_cond_signal(&f->came);
    pthread_mutex_unlock(&f->lock);

    if (kind == VDPA_SIM_PACKET_DUPLICATE) {
        fail(f->item->name, "received packet %llu twice",
             (unsigned long long)seq);
    }
    if (kind == VDPA_SIM_PACKET_REORDERED && !excused) {
        fail(f->item->name, "received packet %llu after packet %llu",
             (unsigned long long)seq,
             (unsigned long long)f->stream.next - 1);
    }
    item_count(f->item, len, 1);
    /* A packet that was missing and comes after all takes one away */
    __atomic_fetch_add(&f->item->repeated, missing, __ATOMIC_RELAXED);
}

static size_t receive(Nic *nic, int fd, uint8_t *frame, int flags)
{
    ssize_t len = recv(fd, frame, VDPA_SIM_PACKET_MAX, flags);

    if (len >= 0) {
        return len;
    }
    if (errno != EAGAIN && errno != EINTR && errno != ENETDOWN) {
        fail(nic->name, "receiving: %s", strerror(errno));
    }
    return 0;
}

/* The socket itself must not be what loses packets */
static void check_drops(Nic *nic)
{
    struct tpacket_stats stats = { 0 };
    socklen_t len = sizeof(stats);

    if (getsockopt(nic->now, SOL_PACKET, PACKET_STATISTICS, &stats, &len) ||
        stats.tp_drops) {
        fail(nic->name, "the socket dropped %u packets", stats.tp_drops);
    }
}

static void *receive_frames(void *argument)
{
    Nic *nic = argument;
    uint8_t *frame = malloc(VDPA_SIM_PACKET_MAX);

    if (!frame) {
        fail(nic->name, "no memory");
    }
    while (__atomic_load_n(&nic->sending, __ATOMIC_ACQUIRE)) {
        size_t len = receive(nic, nic->now, frame, 0);

        if (len) {
            take(nic, frame, len);
        }
    }
    check_drops(nic);
    for (unsigned int i = 0; i < nic->num_flows; i++) {
        Flow *f = &nic->flows[i];

        /* Those after the last that came */
        __atomic_fetch_add(&f->item->repeated, f->sent - f->stream.next,
                           __ATOMIC_RELAXED);
        item_done(f->item);
    }
    free(frame);
    return NULL;
}

static void *receive_late(void *argument)
{
    static const struct timespec pause = { .tv_sec = LATE_PAUSE };
    Nic *nic = argument;
    uint8_t *frame = malloc(VDPA_SIM_PACKET_MAX);

    if (!frame) {
        fail(nic->name, "no memory");
    }
    while (!stopping()) {
        size_t len;

        nanosleep(&pause, NULL);
        /* Not for ever: others arrive meanwhile */
        for (int i = 0; i < 20000 &&
             (len = receive(nic, nic->late, frame, MSG_DONTWAIT)); i++) {
            uint16_t stream;
            uint64_t seq;

            if (vdpa_sim_packet_read(frame, len, &stream, &seq) !=
                VDPA_SIM_PACKET_OK) {
                fail(nic->late_item->name, "a packet of %zu bytes was "
                     "damaged while it lay in memory", len);
            }
            item_count(nic->late_item, len, 1);
        }
    }
    item_done(nic->late_item);
    free(frame);
    return NULL;
}

static int open_socket(Nic *nic, int bytes)
{
    struct timeval patience = { .tv_usec = 200000 };
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET, .sll_ifindex = nic->index,
        .sll_protocol = htons(ETH_P_IP),
    };
    int fd = socket(AF_PACKET, SOCK_RAW, 0);

    /* Of one protocol: then those that leave are not seen */
    if (fd < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience,
                   sizeof(patience)) ||
        bind(fd, (struct sockaddr *)&address, sizeof(address))) {
        fail(nic->name, "cannot receive: %s", strerror(errno));
    }
    return fd;
}

static void flow_init(Nic *nic, unsigned int number, const uint8_t *mac)
{
    Flow *f = &nic->flows[number];
    VdpaSimFlowConfig config = {
        .src_ip = 0x0a000001, .dst_ip = 0x0a000002,
        .src_port = 1024 + number, .dst_port = 9, .stream = number,
    };

    memcpy(config.dst_mac, mac, ETH_ALEN);
    memcpy(config.src_mac, mac, ETH_ALEN);
    vdpa_sim_flow_init(&f->flow, &config);
    f->nic = nic;
    f->item = item_new("%s%u", nic->name, number);
    f->cpu = number % sysconf(_SC_NPROCESSORS_ONLN);
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->came, NULL);
}

/* Waits for the signals, on behalf of all; they are blocked everywhere */
static void *order(void *argument)
{
    sigset_t *signals = argument;

    for (;;) {
        int number = 0;

        sigwait(signals, &number);
        for (Nic *nic = nics; nic; nic = nic->next) {
            for (unsigned int i = 0; i < nic->num_flows; i++) {
                Flow *f = &nic->flows[i];

                pthread_mutex_lock(&f->lock);
                /* The next packet may already be on its way */
                f->ordered = number == SIGUSR1 ? UINT64_MAX : f->sent + 1;
                pthread_mutex_unlock(&f->lock);
            }
        }
    }
    return NULL;
}

void work_frames(char *spec)
{
    static sigset_t signals;
    const char *name = strsep(&spec, ":"), *interface = strsep(&spec, ":");
    const char *flows = strsep(&spec, ":");
    Nic *nic = calloc(1, sizeof(*nic));
    struct ifreq request = { 0 };
    int fd = socket(AF_PACKET, SOCK_RAW, 0);
    uint8_t mac[ETH_ALEN];

    if (!flows || spec || !nic || atoi(flows) < 1 ||
        atoi(flows) > FLOWS_MOST) {
        fail("worker", "frames wants NAME:INTERFACE:FLOWS");
    }
    nic->name = name;
    nic->index = if_nametoindex(interface);
    snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", interface);
    if (fd < 0 || !nic->index || ioctl(fd, SIOCGIFHWADDR, &request)) {
        fail(name, "no interface %s: %s", interface, strerror(errno));
    }
    memcpy(mac, request.ifr_hwaddr.sa_data, sizeof(mac));
    if (ioctl(fd, SIOCGIFMTU, &request)) {
        fail(name, "no MTU: %s", strerror(errno));
    }
    close(fd);
    nic->longest = ETH_HLEN + request.ifr_mtu;
    nic->longest = nic->longest < FRAME_MOST ? nic->longest : FRAME_MOST;
    nic->now = open_socket(nic, NOW_BYTES);
    nic->late = open_socket(nic, LATE_BYTES);
    nic->late_item = item_new("%s-late", name);
    nic->num_flows = nic->sending = atoi(flows);
    for (unsigned int i = 0; i < nic->num_flows; i++) {
        flow_init(nic, i, mac);
    }

    if (!nics) {
        sigemptyset(&signals);
        sigaddset(&signals, SIGUSR1);
        sigaddset(&signals, SIGUSR2);
        pthread_sigmask(SIG_BLOCK, &signals, NULL);
        start(order, &signals);
    }
    nic->next = nics;
    __atomic_store_n(&nics, nic, __ATOMIC_RELEASE);

    start(receive_frames, nic);
    start(receive_late, nic);
    for (unsigned int i = 0; i < nic->num_flows; i++) {
        start(send_frames, &nic->flows[i]);
    }
}
