/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The stress worker's disks
 *
 * The threads divide the disk among them, and each its part into slots, of
 * which each has at most one request under way: a write, or a read of what was
 * written, at a random place and of a random length.  Requests are submitted
 * many at a time and return in any order.  Each sector holds its number and
 * how often it was written, so that what a lost, misplaced or repeated write
 * leaves behind is told apart.  In the end all is read again.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "worker.h"

#define SECTOR 512
#define SECTOR_WORDS (SECTOR / 8)
#define FLUSH_EVERY 64          /* batches */

typedef struct Slot {
    uint64_t first;             /* sector of the disk */
    char *buffer;
    uint32_t *writes;           /* of each sector: how often, 0 is never */
    struct iocb request;
    uint32_t offset, count;     /* of the request, in sectors of the slot */
    bool busy;
} Slot;

typedef struct Disk {
    Item *item;
    int fd;
    uint64_t seed;
    uint32_t sectors;           /* of a slot */
    unsigned int depth;
    Slot *slots;
} Disk;

static uint64_t sector_key(const Disk *d, uint64_t sector, uint32_t writes)
{
    return (d->seed + sector) * 0x100000001b3ull + writes;
}

static void prepare(Disk *d, Slot *s, bool write)
{
    uint64_t *words = (uint64_t *)s->buffer;

    for (uint32_t i = 0; i < s->count && write; i++) {
        uint32_t n = ++s->writes[s->offset + i];
        uint64_t sector = s->first + s->offset + i;

        words[0] = sector;
        words[1] = n;
        pattern_fill(words + 2, SECTOR_WORDS - 2, sector_key(d, sector, n));
        words += SECTOR_WORDS;
    }
    memset(&s->request, 0, sizeof(s->request));
    s->request.aio_data = (uintptr_t)s;
    s->request.aio_lio_opcode = write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD;
    s->request.aio_fildes = d->fd;
    s->request.aio_buf = (uintptr_t)s->buffer;
    s->request.aio_nbytes = s->count * SECTOR;
    s->request.aio_offset = (s->first + s->offset) * SECTOR;
    s->busy = true;
}

static void check(Disk *d, Slot *s)
{
    const uint64_t *words = (const uint64_t *)s->buffer;

    for (uint32_t i = 0; i < s->count; i++) {
        uint64_t sector = s->first + s->offset + i;
        uint32_t n = s->writes[s->offset + i];

        if (n && (words[0] != sector || words[1] != n)) {
            fail(d->item->name, "sector %llu has write %llu of sector %llu, "
                 "its own was write %u", (unsigned long long)sector,
                 (unsigned long long)words[1], (unsigned long long)words[0], n);
        }
        if (n && pattern_check(words + 2, SECTOR_WORDS - 2,
                               sector_key(d, sector, n)) < SECTOR_WORDS - 2) {
            fail(d->item->name, "sector %llu has wrong data behind the right "
                 "mark of write %u", (unsigned long long)sector, n);
        }
        words += SECTOR_WORDS;
    }
}

static void finish(Disk *d, const struct io_event *event)
{
    Slot *s = (Slot *)(uintptr_t)event->data;
    bool write = s->request.aio_lio_opcode == IOCB_CMD_PWRITE;

    if (event->res != (int64_t)s->count * SECTOR) {
        fail(d->item->name, "%s of %u sectors at %llu returned %lld",
             write ? "writing" : "reading", s->count,
             (unsigned long long)(s->first + s->offset),
             (long long)event->res);
    }
    if (!write) {
        check(d, s);
    }
    s->busy = false;
    item_count(d->item, s->count * SECTOR, 1);
}

/* Fill what slots are free, up to a random number of them. */
static unsigned int pick(Disk *d, uint64_t *random, struct iocb **batch)
{
    unsigned int want = 1 + random_below(random, d->depth), count = 0;

    for (unsigned int i = 0; i < d->depth && count < want; i++) {
        Slot *s = &d->slots[i];
        uint32_t most = 1u << random_below(random, 9);

        if (s->busy) {
            continue;
        }
        most = most < d->sectors ? most : d->sectors;
        s->count = 1 + random_below(random, most);
        s->offset = random_below(random, d->sectors - s->count + 1);
        prepare(d, s, random_below(random, 2));
        batch[count++] = &s->request;
    }
    return count;
}

static void *work(void *argument)
{
    Disk *d = argument;
    struct iocb **batch = calloc(d->depth, sizeof(*batch));
    struct io_event *events = calloc(d->depth, sizeof(*events));
    unsigned int busy = 0, batches = 0;
    uint64_t random = d->seed | 1;
    aio_context_t context = 0;

    if (!batch || !events || syscall(SYS_io_setup, d->depth, &context)) {
        fail(d->item->name, "io_setup: %s", strerror(errno));
    }
    while (busy || !stopping()) {
        unsigned int count = stopping() ? 0 : pick(d, &random, batch);
        unsigned int done = 0;
        long got;

        while (done < count) {
            got = syscall(SYS_io_submit, context, count - done, batch + done);
            if (got <= 0) {
                fail(d->item->name, "io_submit: %s", strerror(errno));
            }
            done += got;
        }
        busy += count;
        got = syscall(SYS_io_getevents, context, 1, d->depth, events, NULL);
        if (got < 0 && errno != EINTR) {
            fail(d->item->name, "io_getevents: %s", strerror(errno));
        }
        for (long i = 0; i < got; i++) {
            finish(d, &events[i]);
            busy--;
        }
        if (++batches % FLUSH_EVERY == 0 && fdatasync(d->fd)) {
            fail(d->item->name, "flushing: %s", strerror(errno));
        }
    }

    for (unsigned int i = 0; i < d->depth; i++) {
        Slot *s = &d->slots[i];

        s->offset = 0;
        s->count = d->sectors;
        if (pread(d->fd, s->buffer, d->sectors * SECTOR, s->first * SECTOR) !=
            (ssize_t)d->sectors * SECTOR) {
            fail(d->item->name, "reading all again: %s", strerror(errno));
        }
        check(d, s);
        item_count(d->item, d->sectors * SECTOR, 1);
    }
    item_done(d->item);
    return NULL;
}

void work_disk(char *spec)
{
    const char *name = strsep(&spec, ":"), *device = strsep(&spec, ":");
    const char *threads = strsep(&spec, ":"), *depth = strsep(&spec, ":");
    unsigned int all, slots;
    off_t size;
    int fd;

    if (!depth || spec || atoi(threads) < 1 || atoi(depth) < 1) {
        fail("worker", "disk wants NAME:DEVICE:THREADS:DEPTH");
    }
    fd = open(device, O_RDWR | O_DIRECT);
    size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    slots = atoi(threads) * atoi(depth);
    if (size < (off_t)slots * SECTOR) {
        fail(name, "%s: %s", device, fd < 0 ? strerror(errno) : "too small");
    }
    all = size / SECTOR;
    for (int t = 0; t < atoi(threads); t++) {
        Disk *d = calloc(1, sizeof(*d));

        if (!d) {
            fail(name, "no memory");
        }
        d->item = item_new("%s%d", name, t);
        d->fd = fd;
        d->seed = ((uint64_t)getpid() << 20) + t * 7919 + 1;
        d->depth = atoi(depth);
        d->sectors = all / slots;
        d->slots = calloc(d->depth, sizeof(*d->slots));
        for (unsigned int i = 0; d->slots && i < d->depth; i++) {
            Slot *s = &d->slots[i];

            s->first = (uint64_t)(t * d->depth + i) * d->sectors;
            s->writes = calloc(d->sectors, sizeof(*s->writes));
            if (!s->writes || posix_memalign((void **)&s->buffer, 4096,
                                             d->sectors * SECTOR)) {
                fail(name, "no memory");
            }
        }
        start(work, d);
    }
}
