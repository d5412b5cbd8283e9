/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * svq-bench: how long does QEMU's main loop take to answer? See bench-probe.h
 */

#include "qemu/osdep.h"
#include "bench-host.h"
#include "bench-probe.h"

/* From one command to the next, nanoseconds */
#define PERIOD_NS       (10 * 1000 * 1000)

#define START_NS        (20ull * 1000 * 1000 * 1000)

char *bench_probe_init(BenchProbe *p)
{
    int sv[2];

    memset(p, 0, sizeof(*p));
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, sv) ||
        fcntl(sv[0], F_SETFD, FD_CLOEXEC)) {
        bench_die("no socket can be made: %s", strerror(errno));
    }
    p->fd = sv[0];
    p->peer = sv[1];
    p->delays = g_array_new(false, false, sizeof(uint64_t));
    return g_strdup_printf("-chardev socket,id=probe,fd=%d "
                           "-mon chardev=probe,mode=control", p->peer);
}

static void ask(BenchProbe *p, const char *command)
{
    if (send(p->fd, command, strlen(command), MSG_NOSIGNAL) < 0) {
        bench_die("QEMU's monitor is gone: %s", strerror(errno));
    }
}

/* Has something been said?  An answer is one line, and so is the greeting. */
static bool answered(BenchProbe *p)
{
    char buf[4096];
    ssize_t n = recv(p->fd, buf, sizeof(buf), MSG_DONTWAIT);

    if (n == 0 || (n < 0 && errno != EAGAIN)) {
        bench_die("QEMU's monitor is gone: %s", n ? strerror(errno) : "EOF");
    }
    return n > 0 && buf[n - 1] == '\n';
}

static void wait_answer(BenchProbe *p)
{
    uint64_t end = bench_now() + START_NS;

    while (!answered(p)) {
        if (bench_now() > end) {
            bench_die("QEMU's monitor does not answer for %llu s",
                      START_NS / 1000000000);
        }
        g_usleep(100);
    }
}

void bench_probe_start(BenchProbe *p)
{
    close(p->peer);
    p->peer = -1;
    wait_answer(p);
    ask(p, "{\"execute\": \"qmp_capabilities\"}\n");
    wait_answer(p);
}

void bench_probe_step(BenchProbe *p, uint64_t now)
{
    if (p->sent) {
        if (answered(p)) {
            uint64_t delay = bench_now() - p->sent;

            g_array_append_val(p->delays, delay);
            p->sent = 0;
        }
    } else if (now >= p->due) {
        p->due = now + PERIOD_NS;
        p->sent = bench_now();
        ask(p, "{\"execute\": \"query-status\"}\n");
    }
}

void bench_probe_cleanup(BenchProbe *p)
{
    close(p->fd);
    if (p->peer >= 0) {
        close(p->peer);
    }
    g_array_unref(p->delays);
}
