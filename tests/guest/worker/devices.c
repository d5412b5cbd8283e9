/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The stress worker's smaller devices: a serial port whose other end echoes,
 * the random generator, and the kernel's packet generator
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "worker.h"

#define ECHO_WORDS 1024         /* the longest message: 8 KiB */
#define ECHO_PATIENCE 15000     /* ms */
#define ECHO_QUIET 500          /* ms without data: nothing old is under way */
#define RANDOM_BYTES 256

typedef struct Device {
    Item *item;
    int fd;
    char path[64];
} Device;

static Device *device_new(const char *name)
{
    Device *d = calloc(1, sizeof(*d));

    if (!d) {
        fail(name, "no memory");
    }
    d->item = item_new("%s", name);
    return d;
}

/* Returns false if nothing came for ECHO_PATIENCE. */
static bool echo_read(Device *d, char *buffer, size_t length)
{
    while (length) {
        struct pollfd p = { .fd = d->fd, .events = POLLIN };
        int ready = poll(&p, 1, ECHO_PATIENCE);
        ssize_t got;

        if (ready < 0 && errno == EINTR) {
            continue;
        }
        if (ready <= 0) {
            return false;
        }
        got = read(d->fd, buffer, length);
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) {
            continue;
        }
        if (got <= 0) {
            /* The host's side is between two connections */
            struct timespec pause = { .tv_nsec = 50000000 };

            nanosleep(&pause, NULL);
            if (stopping()) {
                return false;
            }
            continue;
        }
        buffer += got;
        length -= got;
    }
    return true;
}

static void echo_drain(Device *d)
{
    struct pollfd p = { .fd = d->fd, .events = POLLIN };
    char buffer[4096];

    while (poll(&p, 1, ECHO_QUIET) > 0 &&
           read(d->fd, buffer, sizeof(buffer)) > 0) {
        /* What is late belongs to a message that was given up */
    }
}

/*
 * A migration moves the port to another connection of the host, and what the
 * old one had under way is lost with it: the message is sent again, and
 * counted, so that the host can tell whether there was a reason.
 */
static void *echo(void *argument)
{
    Device *d = argument;
    static uint64_t out[ECHO_WORDS], in[ECHO_WORDS];
    uint64_t random = getpid() | 1;

    for (uint64_t number = 0; !stopping(); number++) {
        size_t words = 1 + random_below(&random, ECHO_WORDS);
        size_t length = words * sizeof(*out), wrong;

        pattern_fill(out, words, number);
        for (;;) {
            const char *data = (const char *)out;
            size_t left = length;

            while (left) {
                ssize_t sent = write(d->fd, data, left);

                if (sent < 0 && errno == EINTR) {
                    continue;
                }
                if (sent <= 0) {
                    fail(d->item->name, "writing: %s", strerror(errno));
                }
                data += sent;
                left -= sent;
            }
            if (echo_read(d, (char *)in, length)) {
                break;
            }
            if (stopping()) {
                item_done(d->item);
                return NULL;
            }
            item_repeat(d->item);
            echo_drain(d);
        }
        wrong = pattern_check(in, words, number);
        if (wrong < words) {
            fail(d->item->name, "message %llu of %zu bytes came back changed "
                 "at byte %zu", (unsigned long long)number, length,
                 wrong * sizeof(*in));
        }
        item_count(d->item, length, 1);
    }
    item_done(d->item);
    return NULL;
}

/* Ports have names in sysfs only; there is nobody to make links of them. */
void work_serial(char *spec)
{
    const char *name = strsep(&spec, ":"), *port = strsep(&spec, ":");
    DIR *dir = opendir("/sys/class/virtio-ports");
    Device *d = device_new(name);
    struct dirent *entry;

    if (!port || spec) {
        fail("worker", "serial wants NAME:PORT");
    }
    d->fd = -1;
    while (d->fd < 0 && dir && (entry = readdir(dir))) {
        char path[320], found[64] = "";
        FILE *f;

        snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name",
                 entry->d_name);
        f = fopen(path, "r");
        if (!f) {
            continue;
        }
        if (fscanf(f, "%63s", found) == 1 && !strcmp(found, port)) {
            snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
            d->fd = open(path, O_RDWR);
        }
        fclose(f);
    }
    if (dir) {
        closedir(dir);
    }
    if (d->fd < 0) {
        fail(name, "there is no virtio port '%s'", port);
    }
    start(echo, d);
}

static void *read_random(void *argument)
{
    Device *d = argument;
    unsigned char now[RANDOM_BYTES], before[RANDOM_BYTES] = { 0 };

    while (!stopping()) {
        size_t have = 0;

        while (have < sizeof(now) && !stopping()) {
            ssize_t got = read(d->fd, now + have, sizeof(now) - have);

            if (got < 0 && errno == EINTR) {
                continue;
            }
            if (got <= 0) {
                fail(d->item->name, "reading: %s",
                     got ? strerror(errno) : "end of file");
            }
            have += got;
        }
        /* Eight bytes alike by chance: once in an age of the universe */
        for (size_t i = 0; i + 8 <= have; i += 8) {
            if (!memcmp(now + i, before + i, 8)) {
                fail(d->item->name, "the same eight bytes came twice, or "
                     "none did");
            }
        }
        memcpy(before, now, have);
        item_count(d->item, have, 1);
    }
    item_done(d->item);
    return NULL;
}

void work_random(char *spec)
{
    const char *name = strsep(&spec, ":"), *path = strsep(&spec, ":");
    Device *d = device_new(name);

    if (!path || spec) {
        fail("worker", "random wants NAME:DEVICE");
    }
    d->fd = open(path, O_RDONLY);
    if (d->fd < 0) {
        fail(name, "%s: %s", path, strerror(errno));
    }
    start(read_random, d);
}

/*
 * Returns how many packets the last round sent, or -1 while it is under way:
 * "start" may return before its threads have run.  What met a queue that was
 * just being reset counts as an error there, and is none here.
 */
static long pktgen_sent(Device *d)
{
    char text[4096];
    FILE *f = fopen(d->path, "r");
    size_t length = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
    const char *sent;

    if (f) {
        fclose(f);
    }
    text[length] = '\0';
    sent = strstr(text, "pkts-sofar: ");
    if (!sent) {
        fail(d->item->name, "%s cannot be read", d->path);
    }
    return strstr(text, "Result: OK") ? atol(strchr(sent, ':') + 1) : -1;
}

/*
 * The device is set up; each writing of "start" sends its packets, as fast as
 * the driver takes them.  The pause leaves the CPU to others.
 */
static void *generate(void *argument)
{
    static const struct timespec pause = { .tv_nsec = 200000000 };
    Device *d = argument;

    while (!stopping()) {
        long sent;

        if (write(d->fd, "start", 5) != 5) {
            if (errno == EINTR) {
                continue;
            }
            fail(d->item->name, "pktgen: %s", strerror(errno));
        }
        do {
            nanosleep(&pause, NULL);
            sent = pktgen_sent(d);
        } while (sent < 0);
        item_count(d->item, 0, sent);
    }
    item_done(d->item);
    return NULL;
}

void work_pktgen(char *spec)
{
    const char *name = strsep(&spec, ":"), *nic = strsep(&spec, ":");
    Device *d = device_new(name);

    if (!nic || spec) {
        fail("worker", "pktgen wants NAME:INTERFACE");
    }
    snprintf(d->path, sizeof(d->path), "/proc/net/pktgen/%s", nic);
    d->fd = open("/proc/net/pktgen/pgctrl", O_WRONLY);
    if (d->fd < 0) {
        fail(name, "pktgen: %s", strerror(errno));
    }
    start(generate, d);
}
