/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The stress worker's start, counters, reports and end; see worker.h
 */

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "worker.h"

#define STACK_SIZE (128 * 1024)

static bool stop_wanted;       /* set by the signal handler */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Item *items;             /* grows at its head, under the lock */
static unsigned int running;    /* items not done; under the lock */

bool stopping(void)
{
    return __atomic_load_n(&stop_wanted, __ATOMIC_RELAXED);
}

/* One write for each line: several programs share the channel. */
static void say(const char *text)
{
    size_t length = strlen(text);

    if (write(STDOUT_FILENO, text, length) != (ssize_t)length) {
        _exit(2);
    }
}

Item *item_new(const char *format, ...)
{
    Item *item = calloc(1, sizeof(*item));
    va_list list;

    if (!item) {
        fail("worker", "no memory");
    }
    va_start(list, format);
    vsnprintf(item->name, sizeof(item->name), format, list);
    va_end(list);

    pthread_mutex_lock(&lock);
    item->next = items;
    __atomic_store_n(&items, item, __ATOMIC_RELEASE);
    running++;
    pthread_mutex_unlock(&lock);
    return item;
}

void item_count(Item *item, uint64_t bytes, uint64_t operations)
{
    __atomic_fetch_add(&item->bytes, bytes, __ATOMIC_RELAXED);
    __atomic_fetch_add(&item->operations, operations, __ATOMIC_RELAXED);
}

void item_repeat(Item *item)
{
    __atomic_fetch_add(&item->repeated, 1, __ATOMIC_RELAXED);
}

void item_done(Item *item)
{
    char line[64];

    snprintf(line, sizeof(line), "work end %s\n", item->name);
    say(line);
    pthread_mutex_lock(&lock);
    running--;
    pthread_mutex_unlock(&lock);
}

void fail(const char *name, const char *format, ...)
{
    char text[400], line[480];
    va_list list;

    va_start(list, format);
    vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    snprintf(line, sizeof(line), "work fail %s %s\n", name, text);
    say(line);
    _exit(1);
}

void start(void *(*function)(void *argument), void *argument)
{
    pthread_attr_t attr;
    pthread_t thread;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attr, function, argument)) {
        fail("worker", "cannot create a thread");
    }
    pthread_attr_destroy(&attr);
}

uint64_t random_below(uint64_t *state, uint64_t limit)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state % limit;
}

/*
 * An addition for each word: the guest may well be emulated, and the test is
 * about the virtqueues.
 */
#define PATTERN_STEP 0x9e3779b97f4a7c15ull

static uint64_t pattern_first(uint64_t key)
{
    key = (key ^ (key >> 31)) * 0xbf58476d1ce4e5b9ull;
    return key ^ (key >> 29);
}

void pattern_fill(uint64_t *words, size_t count, uint64_t key)
{
    uint64_t word = pattern_first(key);

    for (size_t i = 0; i < count; i++) {
        words[i] = word;
        word += PATTERN_STEP;
    }
}

size_t pattern_check(const uint64_t *words, size_t count, uint64_t key)
{
    uint64_t word = pattern_first(key);

    for (size_t i = 0; i < count; i++) {
        if (words[i] != word) {
            return i;
        }
        word += PATTERN_STEP;
    }
    return count;
}

static void on_signal(int signal)
{
    __atomic_store_n(&stop_wanted, true, __ATOMIC_RELAXED);
}

static void report(void)
{
    char line[160];

    for (Item *item = __atomic_load_n(&items, __ATOMIC_ACQUIRE); item;
         item = item->next) {
        snprintf(line, sizeof(line), "work count %s %llu %llu %llu ;\n",
                 item->name,
                 (unsigned long long)__atomic_load_n(&item->bytes,
                                                     __ATOMIC_RELAXED),
                 (unsigned long long)__atomic_load_n(&item->operations,
                                                     __ATOMIC_RELAXED),
                 (unsigned long long)__atomic_load_n(&item->repeated,
                                                     __ATOMIC_RELAXED));
        say(line);
    }
}

static const struct {
    const char *kind;
    void (*work)(char *spec);
} kinds[] = {
    { "listen", work_listen },
    { "connect", work_connect },
    { "disk", work_disk },
    { "serial", work_serial },
    { "random", work_random },
    { "pktgen", work_pktgen },
    { "frames", work_frames },
};

int main(int argc, char **argv)
{
    struct sigaction action = { .sa_handler = on_signal };
    unsigned int left;

    /* Without SA_RESTART what waits for a client wakes up, too. */
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);

    for (int i = 1; i < argc; i++) {
        char *spec = strchr(argv[i], ':');
        size_t k;

        if (!spec) {
            fail("worker", "argument %s is no KIND:...", argv[i]);
        }
        *spec++ = '\0';
        for (k = 0; k < sizeof(kinds) / sizeof(*kinds); k++) {
            if (!strcmp(kinds[k].kind, argv[i])) {
                kinds[k].work(spec);
                break;
            }
        }
        if (k == sizeof(kinds) / sizeof(*kinds)) {
            fail("worker", "there is no work '%s'", argv[i]);
        }
    }

    do {
        static const struct timespec second = { .tv_sec = 1 };
        static const struct timespec moment = { .tv_nsec = 200000000 };

        nanosleep(stopping() ? &moment : &second, NULL);
        report();
        pthread_mutex_lock(&lock);
        left = running;
        pthread_mutex_unlock(&lock);
    } while (!stopping() || left);

    report();
    say("work done\n");
    return 0;
}
