/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The worker of the guest's stress test
 *
 * One static program that runs in the guest and, as the other end of some of
 * its connections, on the host.  Each of its arguments starts one kind of work;
 * each piece of it that can stand still on its own (a connection, a disk's
 * thread) is an item with counters.  Once a second the counters go to standard
 * output, one line for each item:
 *
 *     work count NAME BYTES OPERATIONS REPEATED ;
 *
 * BYTES are those that were verified.  What is wrong is said in "work fail NAME
 * TEXT", and the program ends.  After SIGTERM, all items finish what they have
 * begun and verify it; each says "work end NAME", and "work done" is the last
 * line.
 *
 * Threads: an item is written by the thread that works on it; the reporter
 * reads the counters, which is why they are atomic.
 */

#ifndef GUEST_WORKER_H
#define GUEST_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Item {
    char name[24];
    uint64_t bytes;         /* verified */
    uint64_t operations;
    uint64_t repeated;      /* operations that were tried more than once */
    struct Item *next;
} Item;

/**
 * stopping:
 *
 * Returns: whether SIGTERM came: finish.
 */
bool stopping(void);

/**
 * item_new:
 * @format: printf format of the name, which must have no space in it
 *
 * Announce a piece of work.  It lives as long as the program, which ends only
 * when item_done() was called for each.  Any thread may call this.
 */
Item *item_new(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

/**
 * item_count:
 * @item: the piece of work, of the calling thread
 * @bytes: how many more were verified
 * @operations: how many more were done
 */
void item_count(Item *item, uint64_t bytes, uint64_t operations);

/**
 * item_repeat:
 * @item: the piece of work, of the calling thread
 *
 * An operation had no result and is tried again.
 */
void item_repeat(Item *item);

/**
 * item_done:
 * @item: the piece of work, which has come to its proper end
 */
void item_done(Item *item);

/**
 * fail:
 * @name: of the item
 * @format: printf format: what is wrong
 *
 * Say so and end the program.
 */
void fail(const char *name, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));

/**
 * start:
 * @function: of the new thread, which owns @argument
 */
void start(void *(*function)(void *argument), void *argument);

/**
 * random_below:
 * @state: of the generator; any value but 0 to begin with
 * @limit: at least 1
 *
 * Returns: a number from 0 to @limit - 1.
 */
uint64_t random_below(uint64_t *state, uint64_t limit);

/**
 * pattern_fill:
 * @words: where to
 * @count: how many words
 * @key: what the contents depend on
 */
void pattern_fill(uint64_t *words, size_t count, uint64_t key);

/**
 * pattern_check:
 * @words: what came
 * @count: how many words
 * @key: as for pattern_fill()
 *
 * Returns: the index of the first word that is not as pattern_fill() left it,
 * or @count.
 */
size_t pattern_check(const uint64_t *words, size_t count, uint64_t key);

/* The kinds of work; @spec is the argument's part behind "KIND:". */
void work_listen(char *spec);   /* NAME:PORT */
void work_connect(char *spec);  /* NAME:ADDRESS:PORT:CONNECTIONS */
void work_disk(char *spec);     /* NAME:DEVICE:THREADS:DEPTH */
void work_serial(char *spec);   /* NAME:PORT'S NAME */
void work_random(char *spec);   /* NAME:DEVICE */
void work_pktgen(char *spec);   /* NAME:INTERFACE */
void work_frames(char *spec);   /* NAME:INTERFACE:FLOWS */

#endif
