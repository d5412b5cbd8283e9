/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: a vhost-user back end in the test program, see vhost-user-fake.h
 */

#include "qemu/osdep.h"
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <linux/vhost.h>
#include "qemu/memfd.h"
#include "vhost-user-fake.h"

#define WAIT_SECONDS 20         /* for one thing that QEMU is to do */

enum {
    VHOST_USER_GET_FEATURES = 1,
    VHOST_USER_SET_FEATURES = 2,
    VHOST_USER_SET_MEM_TABLE = 5,
    VHOST_USER_SET_VRING_NUM = 8,
    VHOST_USER_SET_VRING_ADDR = 9,
    VHOST_USER_SET_VRING_BASE = 10,
    VHOST_USER_GET_VRING_BASE = 11,
    VHOST_USER_SET_VRING_KICK = 12,
    VHOST_USER_GET_PROTOCOL_FEATURES = 15,
    VHOST_USER_GET_QUEUE_NUM = 17,
    VHOST_USER_SET_VRING_ENABLE = 18,
    VHOST_USER_GET_CONFIG = 24,
    VHOST_USER_GET_INFLIGHT_FD = 31,
    VHOST_USER_SET_INFLIGHT_FD = 32,
};

#define VHOST_USER_VERSION 1
#define VHOST_USER_REPLY (1 << 2)
#define VHOST_USER_CONFIG_HEADER 12
#define VHOST_USER_MAX_FDS 16
#define VHOST_USER_NO_FD 0x100  /* in the number of SET_VRING_KICK */

typedef struct VhostUserHeader {
    uint32_t request;
    uint32_t flags;
    uint32_t size;              /* of the payload, in bytes */
} VhostUserHeader;

typedef struct VhostUserMemory {
    uint32_t regions;
    uint32_t padding;
    struct {
        uint64_t guest, size, user, offset;
    } region[VHOST_USER_FAKE_REGIONS];
} VhostUserMemory;

typedef struct VhostUserInflight {
    uint64_t size;              /* bytes, of the buffer in the file */
    uint64_t offset;
    uint16_t queues;
    uint16_t queue_size;
} VhostUserInflight;

typedef union VhostUserPayload {
    uint64_t u64;
    struct vhost_vring_state state;
    struct vhost_vring_addr addr;
    VhostUserMemory memory;
    VhostUserInflight inflight;
    uint8_t bytes[4096];
} VhostUserPayload;

/*
 * Reads @size bytes, and keeps the descriptors that come with them: QEMU would
 * notice that some are closed.  Returns false at the end of the connection.
 */
static bool vhost_user_read(VhostUserFake *u, int fd, void *buf, size_t size)
{
    size_t done = 0;

    while (done < size) {
        char control[CMSG_SPACE(VHOST_USER_MAX_FDS * sizeof(int))];
        struct iovec iov = {
            .iov_base = (char *)buf + done,
            .iov_len = size - done,
        };
        struct msghdr msg = {
            .msg_iov = &iov,
            .msg_iovlen = 1,
            .msg_control = control,
            .msg_controllen = sizeof(control),
        };
        struct cmsghdr *cmsg;
        ssize_t len;

        len = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
        if (len < 0 && errno == EINTR) {
            continue;
        }
        if (len <= 0) {
            return false;
        }
        for (cmsg = CMSG_FIRSTHDR(&msg); cmsg; cmsg = CMSG_NXTHDR(&msg, cmsg)) {
            size_t i;

            if (cmsg->cmsg_level != SOL_SOCKET ||
                cmsg->cmsg_type != SCM_RIGHTS) {
                continue;
            }
            for (i = 0; CMSG_LEN((i + 1) * sizeof(int)) <= cmsg->cmsg_len;
                 i++) {
                int passed;

                memcpy(&passed, CMSG_DATA(cmsg) + i * sizeof(int),
                       sizeof(passed));
                g_array_append_val(u->fds, passed);
            }
        }
        done += len;
    }
    return true;
}

/* Answers, with descriptor @passed unless it is -1 */
static bool vhost_user_reply(int fd, VhostUserHeader *header,
                             const VhostUserPayload *payload, int passed)
{
    char control[CMSG_SPACE(sizeof(int))] = { 0 };
    struct iovec iov[] = {
        { .iov_base = header, .iov_len = sizeof(*header) },
        { .iov_base = (void *)payload, .iov_len = header->size },
    };
    struct msghdr msg = { .msg_iov = iov, .msg_iovlen = ARRAY_SIZE(iov) };

    if (passed >= 0) {
        struct cmsghdr *cmsg;

        msg.msg_control = control;
        msg.msg_controllen = sizeof(control);
        cmsg = CMSG_FIRSTHDR(&msg);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(cmsg), &passed, sizeof(int));
    }
    header->flags = VHOST_USER_VERSION | VHOST_USER_REPLY;
    /* A message is much smaller than the socket's buffer: it goes at once */
    return sendmsg(fd, &msg, MSG_NOSIGNAL) ==
           (ssize_t)(sizeof(*header) + header->size);
}

/* Where QEMU's address is in guest memory; 0 if it is not */
static uint64_t vhost_user_translate(VhostUserFake *u, uint64_t user)
{
    unsigned i;

    for (i = 0; i < u->regions; i++) {
        uint64_t off = user - u->region[i].user;

        if (user >= u->region[i].user && off < u->region[i].size) {
            return u->region[i].guest + off;
        }
    }
    return 0;
}

static void vhost_user_unmap_inflight(VhostUserFake *u)
{
    if (u->inflight) {
        munmap(u->inflight, u->inflight_len);
        u->inflight = NULL;
    }
}

static void vhost_user_map_inflight(VhostUserFake *u, int fd)
{
    vhost_user_unmap_inflight(u);
    u->inflight = mmap(NULL, u->inflight_len, PROT_READ | PROT_WRITE,
                       MAP_SHARED, fd, 0);
    g_assert(u->inflight != MAP_FAILED);
}

/* A new buffer, which QEMU keeps for us while there is no connection */
static bool vhost_user_give_inflight(VhostUserFake *u, int fd,
                                     VhostUserHeader *header,
                                     VhostUserPayload *payload)
{
    int memfd = memfd_create("in-flight", MFD_CLOEXEC);
    bool ok;

    g_assert_cmpint(memfd, >=, 0);
    g_assert_cmpint(ftruncate(memfd, u->inflight_len), ==, 0);
    vhost_user_map_inflight(u, memfd);
    u->inflight_kept = false;
    payload->inflight.size = u->inflight_len;
    payload->inflight.offset = 0;
    ok = vhost_user_reply(fd, header, payload, memfd);
    close(memfd);
    return ok;
}

static void vhost_user_kick(VhostUserFake *u, VhostUserPayload *payload)
{
    unsigned i = payload->u64 & (VHOST_USER_FAKE_QUEUES - 1);
    VhostUserQueue *q = &u->queue[i];

    q->kick = payload->u64 & VHOST_USER_NO_FD ? -1 :
              g_array_index(u->fds, int, u->fds->len - 1);
    q->running = true;
    q->starts++;
    u->queues |= 1ull << i;
    if (u->start) {
        u->start(u, i);
    }
}

static bool vhost_user_get_base(VhostUserFake *u, int fd,
                                VhostUserHeader *header,
                                VhostUserPayload *payload)
{
    unsigned i = payload->state.index & (VHOST_USER_FAKE_QUEUES - 1);
    VhostUserQueue *q = &u->queue[i];

    u->queues &= ~(1ull << i);
    q->answered = u->stop ? u->stop(u, i) : 0;
    q->running = false;
    q->stops++;
    payload->state.num = q->answered;
    g_cond_broadcast(&u->changed);
    return vhost_user_reply(fd, header, payload, -1);
}

static void vhost_user_get_config(VhostUserFake *u, VhostUserHeader *header,
                                  VhostUserPayload *payload)
{
    size_t len;

    if (header->size > VHOST_USER_CONFIG_HEADER) {
        len = header->size - VHOST_USER_CONFIG_HEADER;
        memset(payload->bytes + VHOST_USER_CONFIG_HEADER, 0, len);
        if (u->config) {
            memcpy(payload->bytes + VHOST_USER_CONFIG_HEADER, u->config,
                   MIN(len, u->config_len));
        }
    }
}

/* Does what @header asks for.  Returns false if the connection broke */
static bool vhost_user_serve(VhostUserFake *u, int fd, VhostUserHeader *header,
                             VhostUserPayload *payload)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&u->lock);
    VhostUserQueue *q =
        &u->queue[payload->state.index & (VHOST_USER_FAKE_QUEUES - 1)];

    switch (header->request) {
    case VHOST_USER_GET_FEATURES:
        u->greeted = true;
        g_cond_broadcast(&u->changed);
        payload->u64 = u->features;
        header->size = sizeof(payload->u64);
        return vhost_user_reply(fd, header, payload, -1);
    case VHOST_USER_SET_FEATURES:
        u->acked = payload->u64;
        break;
    case VHOST_USER_SET_MEM_TABLE:
        u->regions = MIN(payload->memory.regions, VHOST_USER_FAKE_REGIONS);
        memcpy(u->region, payload->memory.region, sizeof(u->region));
        break;
    case VHOST_USER_SET_VRING_NUM:
        q->num = payload->state.num;
        break;
    case VHOST_USER_SET_VRING_ADDR:
        q->desc = vhost_user_translate(u, payload->addr.desc_user_addr);
        q->avail = vhost_user_translate(u, payload->addr.avail_user_addr);
        q->used = vhost_user_translate(u, payload->addr.used_user_addr);
        break;
    case VHOST_USER_SET_VRING_BASE:
        q->base = payload->state.num;
        break;
    case VHOST_USER_SET_VRING_ENABLE:
        q->enabled = payload->state.num;
        break;
    case VHOST_USER_GET_PROTOCOL_FEATURES:
        payload->u64 = u->protocol;
        header->size = sizeof(payload->u64);
        return vhost_user_reply(fd, header, payload, -1);
    case VHOST_USER_GET_QUEUE_NUM:
        payload->u64 = VHOST_USER_FAKE_QUEUES;
        header->size = sizeof(payload->u64);
        return vhost_user_reply(fd, header, payload, -1);
    case VHOST_USER_GET_CONFIG:
        vhost_user_get_config(u, header, payload);
        return vhost_user_reply(fd, header, payload, -1);
    case VHOST_USER_GET_INFLIGHT_FD:
        return vhost_user_give_inflight(u, fd, header, payload);
    case VHOST_USER_SET_INFLIGHT_FD:
        /* Right after it was made, or when there is a new connection */
        u->inflight_kept = !u->inflight;
        vhost_user_map_inflight(u, g_array_index(u->fds, int,
                                                 u->fds->len - 1));
        break;
    case VHOST_USER_SET_VRING_KICK:
        vhost_user_kick(u, payload);
        break;
    case VHOST_USER_GET_VRING_BASE:
        return vhost_user_get_base(u, fd, header, payload);
    default:
        /* No other request that QEMU makes here has an answer */
        return true;
    }
    g_cond_broadcast(&u->changed);
    return true;
}

/* Everything that a connection brought ends with it */
static void vhost_user_forget(VhostUserFake *u)
{
    unsigned i;

    g_mutex_lock(&u->lock);
    for (i = 0; i < VHOST_USER_FAKE_QUEUES; i++) {
        u->queue[i].running = u->queue[i].enabled = false;
        u->queue[i].kick = -1;
    }
    u->greeted = false;
    u->queues = 0;
    u->regions = 0;
    vhost_user_unmap_inflight(u);
    for (i = 0; i < u->fds->len; i++) {
        close(g_array_index(u->fds, int, i));
    }
    close(u->connection);
    u->connection = -1;
    g_cond_broadcast(&u->changed);
    g_mutex_unlock(&u->lock);
    g_array_free(u->fds, true);
}

static void vhost_user_connection(VhostUserFake *u, int fd)
{
    VhostUserHeader header;
    VhostUserPayload payload;

    u->fds = g_array_new(false, false, sizeof(int));
    g_mutex_lock(&u->lock);
    u->connection = fd;
    u->connections++;
    g_mutex_unlock(&u->lock);
    while (vhost_user_read(u, fd, &header, sizeof(header))) {
        memset(&payload, 0, sizeof(payload));
        if (header.size > sizeof(payload) ||
            !vhost_user_read(u, fd, &payload, header.size) ||
            !vhost_user_serve(u, fd, &header, &payload)) {
            break;
        }
    }
    vhost_user_forget(u);
}

static void *vhost_user_thread(void *opaque)
{
    VhostUserFake *u = opaque;
    struct pollfd pfd = { .fd = u->listener, .events = POLLIN };
    bool again;
    int fd;

    if (poll(&pfd, 1, WAIT_SECONDS * 1000) != 1) {
        return NULL;
    }
    do {
        fd = accept4(u->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) {
            return NULL;
        }
        vhost_user_connection(u, fd);
        g_mutex_lock(&u->lock);
        again = u->again && !u->ending;
        g_mutex_unlock(&u->lock);
    } while (again);
    return NULL;
}

void vhost_user_start(VhostUserFake *u)
{
    socklen_t len = sizeof(u->addr.sun_family);

    g_mutex_init(&u->lock);
    g_cond_init(&u->changed);
    u->connection = -1;
    u->addr.sun_family = AF_UNIX;
    u->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(u->listener, >=, 0);
    g_assert_cmpint(bind(u->listener, (struct sockaddr *)&u->addr, len), ==, 0);
    len = sizeof(u->addr);
    g_assert_cmpint(getsockname(u->listener, (struct sockaddr *)&u->addr, &len),
                    ==, 0);
    g_assert_cmpint(len, <, sizeof(u->addr));
    ((char *)&u->addr)[len] = 0;
    g_assert_cmpint(listen(u->listener, 1), ==, 0);
    u->thread = g_thread_new("vhost-user", vhost_user_thread, u);
}

void vhost_user_stop(VhostUserFake *u)
{
    g_mutex_lock(&u->lock);
    u->ending = true;
    g_mutex_unlock(&u->lock);
    if (u->again) {
        /* Ends accept4() */
        shutdown(u->listener, SHUT_RDWR);
    }
    g_thread_join(u->thread);
    close(u->listener);
    g_cond_clear(&u->changed);
    g_mutex_clear(&u->lock);
}

void vhost_user_disconnect(VhostUserFake *u)
{
    unsigned connections;

    g_mutex_lock(&u->lock);
    g_assert_cmpint(u->connection, >=, 0);
    connections = u->connections;
    shutdown(u->connection, SHUT_RDWR);
    while (u->connection >= 0 && u->connections == connections) {
        g_cond_wait(&u->changed, &u->lock);
    }
    g_mutex_unlock(&u->lock);
}
