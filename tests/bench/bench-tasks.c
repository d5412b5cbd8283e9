/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Benchmarks of virtio devices: what each thread of a QEMU does, see
 * bench-tasks.h
 */

#include "qemu/osdep.h"
#include <linux/perf_event.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "bench-tasks.h"

#define SYS_ENTER       "events/raw_syscalls/sys_enter/id"

static char *task_file(pid_t pid, const char *tid, const char *name)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/task/%s/%s", pid, tid,
                                            name);
    char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL) ? text : NULL;
}

GArray *bench_tasks_read(pid_t pid)
{
    GArray *tasks = g_array_new(false, true, sizeof(BenchTask));
    g_autofree char *path = g_strdup_printf("/proc/%d/task", pid);
    GDir *dir = g_dir_open(path, 0, NULL);
    const char *tid;

    while (dir && (tid = g_dir_read_name(dir))) {
        g_autofree char *comm = task_file(pid, tid, "comm");
        g_autofree char *stat = task_file(pid, tid, "schedstat");
        g_autofree char *status = task_file(pid, tid, "status");
        BenchTask t = { .tid = atoi(tid), .fd = -1 };
        const char *sleeps;

        /* Threads come and go */
        if (!comm || !stat || !status) {
            continue;
        }
        g_strlcpy(t.name, g_strchomp(comm), sizeof(t.name));
        t.cpu = g_ascii_strtoull(stat, NULL, 10);
        sleeps = strstr(status, "\nvoluntary_ctxt_switches:");
        if (sleeps) {
            t.sleeps = g_ascii_strtoull(strchr(sleeps, ':') + 1, NULL, 10);
        }
        g_array_append_val(tasks, t);
    }
    if (dir) {
        g_dir_close(dir);
    }
    return tasks;
}

void bench_tasks_subtract(GArray *now, const GArray *before)
{
    guint i, j;

    for (i = 0; i < now->len; i++) {
        BenchTask *t = &g_array_index(now, BenchTask, i);

        for (j = 0; j < before->len; j++) {
            const BenchTask *b = &g_array_index(before, BenchTask, j);

            if (b->tid == t->tid) {
                t->cpu -= b->cpu;
                t->sleeps -= b->sleeps;
                t->syscalls = b->syscalls;
            }
        }
    }
}

static int read_id(const char *dir)
{
    g_autofree char *path = g_strdup_printf("%s/%s", dir, SYS_ENTER);
    g_autofree char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL) ? atoi(text) : 0;
}

/* The number where nobody has mounted tracefs: mount it for a child alone */
static int read_id_private(void)
{
    g_autofree char *dir = g_dir_make_tmp("svq-bench-XXXXXX", NULL);
    int id = 0, fds[2];
    pid_t child;

    if (!dir || pipe(fds)) {
        return 0;
    }
    child = fork();
    if (child == 0) {
        if (!unshare(CLONE_NEWNS) &&
            !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
            !mount("tracefs", dir, "tracefs", MS_RDONLY, NULL)) {
            id = read_id(dir);
        }
        _exit(write(fds[1], &id, sizeof(id)) != sizeof(id));
    }
    if (child < 0 || read(fds[0], &id, sizeof(id)) != sizeof(id)) {
        id = 0;
    }
    if (child > 0) {
        waitpid(child, NULL, 0);
    }
    close(fds[0]);
    close(fds[1]);
    rmdir(dir);
    return id;
}

/* The kernel's number of the tracepoint; 0: not to be had */
static int tracepoint(void)
{
    static int id = -1;

    if (id < 0) {
        id = read_id("/sys/kernel/tracing") ?:
             read_id("/sys/kernel/debug/tracing") ?: read_id_private();
    }
    return id;
}

bool bench_syscalls_start(GArray *tasks)
{
    struct perf_event_attr attr = {
        .type = PERF_TYPE_TRACEPOINT,
        .size = sizeof(attr),
        .config = tracepoint(),
    };
    bool ok = attr.config != 0;
    guint i;

    for (i = 0; ok && i < tasks->len; i++) {
        BenchTask *t = &g_array_index(tasks, BenchTask, i);

        t->fd = syscall(SYS_perf_event_open, &attr, t->tid, -1, -1,
                        PERF_FLAG_FD_CLOEXEC);
        ok = t->fd >= 0 || errno == ESRCH;
    }
    if (!ok) {
        bench_syscalls_stop(tasks);
    }
    return ok;
}

void bench_syscalls_stop(GArray *tasks)
{
    guint i;

    for (i = 0; i < tasks->len; i++) {
        BenchTask *t = &g_array_index(tasks, BenchTask, i);

        if (t->fd >= 0) {
            if (read(t->fd, &t->syscalls, sizeof(t->syscalls)) < 0) {
                t->syscalls = 0;
            }
            close(t->fd);
            t->fd = -1;
        }
    }
}
