/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: a network card whose virtqueues are shadowed, which moves to another
 * QEMU and device; see virtio-svq-rig.h
 */

#include "qemu/osdep.h"
#include <sys/socket.h>
#include "qapi/qmp/qdict.h"
#include "virtio-svq-rig.h"

/* Guest memory that changes while it migrates, bytes */
#define BALLAST         (8 * MiB)

static void qmp_ok(QTestState *qts, const char *command)
{
    qtest_qmp_assert_success(qts, "{'execute': %s}", command);
}

static void migration_give_fd(QTestState *qts, int fd)
{
    QDict *rsp = qtest_qmp_fds(qts, &fd, 1, "{'execute': 'getfd',"
                               " 'arguments': {'fdname': 'stream'}}");

    g_assert_true(qdict_haskey(rsp, "return"));
    qobject_unref(rsp);
    close(fd);
}

static void migration_capability(QTestState *qts, const char *name)
{
    qtest_qmp_assert_success(qts, "{'execute': 'migrate-set-capabilities',"
                             " 'arguments': {'capabilities': [{'capability':"
                             " %s, 'state': true}]}}", name);
}

static void migration_wait(QTestState *qts, const char *status)
{
    gint64 start = g_get_monotonic_time();
    bool done = false;

    while (!done) {
        QDict *rsp = qtest_qmp(qts, "{'execute': 'query-migrate'}");
        const char *now = qdict_get_try_str(qdict_get_qdict(rsp, "return"),
                                            "status");

        done = !g_strcmp0(now, status);
        if (!done) {
            g_assert_cmpstr(now, !=, "failed");
            g_assert_cmpint(g_get_monotonic_time() - start, <, RIG_TIMEOUT_US);
            g_usleep(1000);
        }
        qobject_unref(rsp);
    }
}

/*
 * How much the source may send in a second, and how much may be left, as the
 * time that it takes, when it stops
 */
static void migration_limits(int64_t bandwidth, unsigned downtime_ms)
{
    qtest_qmp_assert_success(rig->qts, "{'execute': 'migrate-set-parameters',"
                             " 'arguments': {'max-bandwidth': %" PRId64
                             ", 'downtime-limit': %u}}", bandwidth,
                             downtime_ms);
}

unsigned svq_move_dirty(SvqNic *nic, SvqMove *move)
{
    QDict *rsp = qtest_qmp(rig->qts, "{'execute': 'query-migrate'}");
    QDict *ram = qdict_get_qdict(qdict_get_qdict(rsp, "return"), "ram");
    unsigned passes = ram ? qdict_get_int(ram, "dirty-sync-count") : 0;

    qobject_unref(rsp);
    qtest_memset(rig->qts, move->ballast, ++move->byte, BALLAST);
    return passes;
}

void svq_move_begin(SvqNic *nic, SvqMove *move, bool never)
{
    bool own_ram = nic->config.socket_ram;
    char *path = nic->path;
    int sv[2];

    *move = (SvqMove) { .stream = -1, .ram_fd = rig->ram_fd };
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), ==, 0);
    if (never) {
        move->stream = sv[1];
    } else {
        move->sim = svq_sim_new(nic);
        memcpy(move->sim->ctl, nic->sim->ctl, sizeof(nic->sim->ctl));
        if (own_ram) {
            move->ram_fd = shared_file("ram", RIG_RAM_SIZE);
        }
        vdpa_sim_preload(svq_shim_path());
        move->to = rig_launch("-S -incoming defer", move->ram_fd);
        vdpa_sim_unpreload();
        move->path = nic->path;
        nic->path = path;
        if (own_ram) {
            move->ballast = guest_alloc(&rig->alloc, BALLAST);
            svq_move_dirty(nic, move);
        } else {
            migration_capability(move->to, "x-ignore-shared");
        }
        migration_give_fd(move->to, sv[1]);
        qtest_qmp_assert_success(move->to, "{'execute': 'migrate-incoming',"
                                 " 'arguments': {'uri': 'fd:stream'}}");
    }
    if (!own_ram) {
        migration_capability(rig->qts, "x-ignore-shared");
    }
    migration_capability(rig->qts, "pause-before-switchover");
    if (own_ram) {
        /* The ballast alone keeps it busy for half a second */
        migration_limits(2 * BALLAST, 1);
    }
    migration_give_fd(rig->qts, sv[0]);
    qtest_qmp_assert_success(rig->qts, "{'execute': 'migrate',"
                             " 'arguments': {'uri': 'fd:stream'}}");
}

void svq_move_switch(SvqNic *nic, SvqMove *move)
{
    migration_limits(1 * GiB, RIG_TIMEOUT_US / 1000);
    migration_wait(rig->qts, "pre-switchover");
    qtest_qmp_assert_success(rig->qts, "{'execute': 'migrate-continue',"
                             " 'arguments': {'state': 'pre-switchover'}}");
    migration_wait(rig->qts, "completed");
    migration_wait(move->to, "completed");
    if (move->ballast) {
        guest_free(&rig->alloc, move->ballast);
    }
}

void svq_move_end(SvqNic *nic, SvqMove *move)
{
    unsigned i;

    svq_check(nic);
    svq_forget_kicks(nic);
    rig_replace(move->to, move->ram_fd);
    /* The new device goes on where the old one has stopped */
    for (i = 0; i < nic->config.pairs; i++) {
        move->sim->stats[VDPA_SIM_TX(i)].stream =
            nic->sim->stats[VDPA_SIM_TX(i)].stream;
    }
    svq_sim_free(nic->sim, nic->path);
    nic->sim = move->sim;
    nic->path = move->path;
    qmp_ok(rig->qts, "cont");
}

void svq_move_cancel(SvqNic *nic, SvqMove *move)
{
    qmp_ok(rig->qts, "migrate_cancel");
    if (move->stream >= 0) {
        close(move->stream);
    }
    migration_wait(rig->qts, "cancelled");
    if (move->to) {
        /* It gives up when the stream ends */
        qtest_set_expected_status(move->to, EXIT_FAILURE);
        while (qtest_probe_child(move->to)) {
            g_usleep(1000);
        }
        qtest_quit(move->to);
        if (move->ram_fd != rig->ram_fd) {
            close(move->ram_fd);
        }
        svq_sim_free(move->sim, move->path);
    }
}
