/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: a network card whose virtqueues are shadowed, under load, disturbed in
 * every way at once
 *
 * Four pairs of queues in four IOThreads send and receive as fast as they can.
 * Meanwhile, in random order: the VM pauses, memory comes and goes with the
 * queues' buffers in it, the driver resets the card or a queue, the link
 * flaps, the number of pairs changes, the device changes its pace, and the VM
 * moves to another QEMU and device, or begins to and does not.
 *
 * What must not happen: a packet that is damaged, doubled, late or lost, but
 * by a reset; a buffer that does not return; an access of the device to memory
 * that it was not given; a violation of the specification that it sees.
 *
 * A run is made of lives.  Each has a QEMU of its own, with layouts, features,
 * sizes and devices drawn anew.  By default it takes some 20 seconds, and goes
 * on until everything was met.  Options:
 *   --minutes=N    go on for so long
 *   --seed=N       what was drawn follows from it; it is printed
 */

#include "qemu/osdep.h"
#include "virtio-in-order-traffic.h"
#include "virtio-svq-stress-load.h"

#define DEFAULT_SECONDS     20

/* Actions of a life; there are more if the time is long */
#define LIFE_ACTIONS        24

/* An action that takes longer than this waits in vain */
#define ACTION_SECONDS      60

/* Between two actions, microseconds */
#define RUN_MAX_US          20000

/*
 * Memory that is not shared with the destination.  It has to be sent, so with
 * a slow stream a migration goes on for as long as it is wanted to.
 */
#define BALLAST                                                             \
    "-object memory-backend-ram,id=ballast,size=64M "                       \
    "-device pc-dimm,memdev=ballast,slot=3,addr=0x120000000"

typedef struct Life {
    StressLoad load;
} Life;

typedef struct Action {
    const char *name;
    void (*run)(Life *life);
    bool moving;                /* can be while the VM moves */
    unsigned done;              /* times */
} Action;

static double opt_minutes;
static uint32_t opt_seed;

static uint64_t packets_sent, packets_received;

static bool chance(unsigned percent)
{
    return between(1, 100) <= percent;
}

/* The VM and the driver */

static void qmp(const char *command)
{
    qtest_qmp_assert_success(rig->qts, "{'execute': %s}", command);
}

/* As many pairs of queues as there may be, or fewer */
static void set_pairs(StressLoad *l, unsigned pairs)
{
    unsigned i;

    for (i = 0; i < STRESS_PAIRS; i++) {
        l->queue[VDPA_SIM_TX(i)].off = i >= pairs;
    }
    svq_set_pairs(&l->nic, pairs);
}

static void act_pause(Life *life)
{
    StressLoad *l = &life->load;
    bool surprise = chance(50);

    /* The driver may go on, as far as it gets without a device */
    if (!surprise) {
        stress_hold_all(l);
    }
    qmp("stop");
    g_usleep(between(0, 2000));
    if (surprise) {
        stress_hold_all(l);
    }
    stress_check_stopped(l);
    qmp("cont");
    stress_release_all(l);
}

/* Features that a driver leaves out, in all combinations */
static uint64_t any_features(unsigned size)
{
    static const uint64_t masks[] = {
        BIT_ULL(VIRTIO_F_RING_PACKED), BIT_ULL(VIRTIO_F_IN_ORDER),
        BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC), NO_EVENT_IDX,
    };
    uint64_t without = 0;
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(masks); i++) {
        without |= chance(25) ? masks[i] : 0;
    }
    if (!is_power_of_2(size)) {
        /* No split ring has that size */
        without &= ~BIT_ULL(VIRTIO_F_RING_PACKED);
    }
    return without;
}

static void act_reset(Life *life)
{
    StressLoad *l = &life->load;
    SvqNic *nic = &l->nic;
    unsigned i;

    stress_hold_all(l);
    svq_driver_stop(nic);
    nic->config.without = any_features(nic->config.size);
    svq_driver_start(nic);
    for (i = 0; i < STRESS_QUEUES; i++) {
        stress_restarted(l, i);
    }
    set_pairs(l, between(1, STRESS_PAIRS));
    stress_release_all(l);
}

/* The queue is held before and after */
static void queue_renew(StressLoad *l, unsigned n)
{
    qemu_mutex_lock(&l->wire);
    svq_queue_reset(&l->nic, n);
    qemu_mutex_unlock(&l->wire);
    if (l->nic.kick[n] >= 0) {
        /* Nobody waits for it any more */
        close(l->nic.kick[n]);
        l->nic.kick[n] = -1;
    }
    stress_restarted(l, n);
}

static void act_queue_reset(Life *life)
{
    unsigned n = between(0, STRESS_QUEUES - 1);
    StressLoad *l = &life->load;

    stress_hold(l, n);
    queue_renew(l, n);
    stress_release(l, n);
}

static void act_link(Life *life)
{
    StressLoad *l = &life->load;
    const char *end = chance(50) ? "nic0" : "vdpa0";
    uint64_t seq[STRESS_PAIRS];
    bool direct = l->direct;
    unsigned i;

    /* QEMU drops what is sent without a link, and has no queues to find */
    stress_hold_all(l);
    l->direct = false;
    for (i = 0; i < STRESS_PAIRS; i++) {
        SvqLane *lane = &l->tx[i].lane;

        seq[i] = l->tx[i].seq - (lane->added - lane->taken);
    }
    set_link(end, false);
    stress_check_stopped(l);
    stress_release_all(l);
    g_usleep(between(0, 2000));
    stress_hold_all(l);
    set_link(end, true);
    l->direct = direct;
    for (i = 0; i < STRESS_PAIRS; i++) {
        stress_lost(l, VDPA_SIM_TX(i), l->tx[i].seq - seq[i]);
    }
    stress_release_all(l);
}

static void act_device_link(Life *life)
{
    VdpaSim *sim = life->load.nic.sim;

    vdpa_sim_set_link(sim, false);
    g_usleep(between(0, 2000));
    vdpa_sim_set_link(sim, true);
}

static void act_pairs(Life *life)
{
    unsigned pairs = between(1, STRESS_PAIRS), i;
    StressLoad *l = &life->load;

    /* Nothing is to be in a queue that is turned off */
    for (i = pairs; i < STRESS_PAIRS; i++) {
        stress_hold(l, VDPA_SIM_TX(i));
        stress_drain(l, VDPA_SIM_TX(i));
        l->queue[VDPA_SIM_TX(i)].off = true;
        stress_release(l, VDPA_SIM_TX(i));
    }
    svq_set_pairs(&l->nic, pairs);
    for (i = 0; i < pairs; i++) {
        stress_hold(l, VDPA_SIM_TX(i));
        l->queue[VDPA_SIM_TX(i)].off = false;
        stress_release(l, VDPA_SIM_TX(i));
    }
}

static void act_query(Life *life)
{
    unsigned n = between(0, STRESS_QUEUES - 1);
    g_autofree char *text = qtest_hmp(rig->qts, "info vhost-svq");

    g_assert_nonnull(strstr(text, "vdpa0"));
    svq_stat(&life->load.nic, n, "forwarded");
}

/* The device gets slower or faster, more or less eager */
static void act_pace(Life *life)
{
    VdpaSim *sim = life->load.nic.sim;
    unsigned n;

    for (n = 0; n < STRESS_QUEUES; n++) {
        VdpaSimQueueCtl *ctl = &sim->ctl[n];

        qatomic_set(&ctl->batch, between(0, 64));
        qatomic_set(&ctl->poll_ns, chance(50) ? 0 : between(0, 200000));
        qatomic_set(&ctl->always_kick, chance(25));
        qatomic_set(&ctl->no_runs, chance(25));
        qatomic_set(&ctl->delay_ns, chance(75) ? 0 : between(0, 100000));
    }
    vdpa_sim_wake(sim);
}

/* Memory */

/* Puts the buffers of a queue elsewhere; for that it has to be empty */
static void place(StressLoad *l, unsigned n, int dimm)
{
    stress_hold(l, n);
    if (n & 1) {
        stress_drain(l, n);
    } else {
        queue_renew(l, n);
    }
    stress_place(l, n, dimm);
    stress_release(l, n);
}

static void act_memory(Life *life)
{
    StressLoad *l = &life->load;
    unsigned i = between(0, SVQ_DIMMS - 1), n;

    if (!rig->dimm[i]) {
        svq_dimm_plug(&l->nic, i);
        for (n = 0; n < STRESS_QUEUES; n++) {
            if (chance(50)) {
                place(l, n, i);
            }
        }
    } else {
        for (n = 0; n < STRESS_QUEUES; n++) {
            if (l->queue[n].dimm == i) {
                place(l, n, chance(50) && rig->dimm[!i] ? !i : -1);
            }
        }
        qemu_mutex_lock(&l->wire);
        svq_dimm_unplug(&l->nic, i);
        qemu_mutex_unlock(&l->wire);
    }
}

/* Migration */

static void act_move(Life *life);
static void act_cancel(Life *life);

static Action actions[] = {
    { "pause", act_pause, true },
    { "reset", act_reset, true },
    { "queue reset", act_queue_reset, true },
    { "link", act_link, true },
    { "device link", act_device_link, true },
    { "pairs", act_pairs, true },
    { "query", act_query, true },
    { "pace", act_pace, true },
    { "memory", act_memory },
    { "migration", act_move },
    { "migration cancelled", act_cancel },
};

static void act(Life *life, Action *a)
{
    g_test_message("%s", a->name);
    case_begin(ACTION_SECONDS);
    a->run(life);
    a->done++;
    g_usleep(between(0, RUN_MAX_US));
}

/* What happens while the VM moves */
static void meanwhile(Life *life)
{
    unsigned n = between(0, 4);

    g_usleep(between(0, RUN_MAX_US));
    while (n) {
        Action *a = &actions[between(0, ARRAY_SIZE(actions) - 1)];

        if (a->moving) {
            act(life, a);
            n--;
        }
    }
}

/* It is slow enough not to end by itself */
static void begin(Life *life, SvqMove *move, bool never)
{
    qtest_qmp_assert_success(rig->qts, "{'execute': 'migrate-set-parameters',"
                             " 'arguments': {'max-bandwidth': 16384,"
                             " 'downtime-limit': 1}}");
    svq_move_begin(&life->load.nic, move, never);
}

static void act_cancel(Life *life)
{
    SvqMove move;

    begin(life, &move, chance(50));
    meanwhile(life);
    svq_move_cancel(&life->load.nic, &move);
}

static void act_move(Life *life)
{
    StressLoad *l = &life->load;
    SvqMove move;

    if (l->device + 1 == STRESS_DEVICES) {
        act_cancel(life);
        return;
    }
    begin(life, &move, false);
    meanwhile(life);
    stress_new_device(l, move.sim);
    svq_move_switch(&l->nic, &move);
    /* The driver hears of it late */
    stress_hold_all(l);
    stress_check_stopped(l);
    svq_move_end(&l->nic, &move);
    stress_moved(l);
    stress_release_all(l);
}

/* Lives */

/* An order of @n numbers, drawn anew */
static void shuffle(unsigned *order, unsigned n)
{
    unsigned i;

    for (i = 0; i < n; i++) {
        unsigned k = between(0, i);

        order[i] = order[k];
        order[k] = i;
    }
}

static void draw(SvqConfig *c, unsigned life)
{
    static const unsigned sizes[] = { 64, 256, 1024 };
    static const unsigned packed_sizes[] = { 67, 256, 641 };
    static unsigned guests[MODE_COUNT], devices[MODE_COUNT];
    uint64_t features = 0;
    const Mode *device;
    unsigned i;

    if (life % MODE_COUNT == 0) {
        shuffle(guests, MODE_COUNT);
        shuffle(devices, MODE_COUNT);
    }
    *c = (SvqConfig) {
        .guest = &modes[guests[life % MODE_COUNT]],
        .pairs = STRESS_PAIRS,
        .iothreads = STRESS_PAIRS,
        .device_size = 64 << between(0, 4),
        .pages = chance(33) ? 0 : between(0, (1 << STRESS_QUEUES) - 1),
        .reset = true,
        .poll_max_ns = chance(50) ? 0 : between(1, 100000),
        .args = BALLAST,
    };
    i = between(0, ARRAY_SIZE(sizes) - 1);
    c->size = c->guest->packed ? packed_sizes[i] : sizes[i];

    device = &modes[devices[life % MODE_COUNT]];
    features |= device->packed ? BIT_ULL(VIRTIO_F_RING_PACKED) : 0;
    /* A guest can be promised no order that the device does not keep */
    features |= device->in_order || c->guest->in_order ?
                BIT_ULL(VIRTIO_F_IN_ORDER) : 0;
    features |= chance(50) ? BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) : 0;
    features |= chance(50) ? BIT_ULL(VIRTIO_RING_F_EVENT_IDX) : 0;
    features |= chance(25) ? BIT_ULL(SVQ_F_NOTIFICATION_DATA) : 0;
    c->device = (SvqDeviceMode) { device->name, features };
}

static void live(unsigned number, int64_t end)
{
    static const SvqShape shape = {
        .len_min = 60, .len_max = 1514, .buf_min = 64, .buf_max = 2048,
        .pieces_min = 1, .pieces_max = 6, .indirect = 30,
    };
    unsigned order[ARRAY_SIZE(actions)], n, i;
    unsigned count = opt_minutes ? between(1, 4) * LIFE_ACTIONS : LIFE_ACTIONS;
    Life *life = g_new0(Life, 1);
    StressLoad *l = &life->load;
    SvqConfig c;

    draw(&c, number);
    l->direct = chance(33);
    printf("# life %u: guest %s, rings of %u; device %s%s%s%s, of %u%s\n",
           number, c.guest->name, c.size,
           c.device.features & BIT_ULL(VIRTIO_F_RING_PACKED) ? "packed" :
           "split",
           c.device.features & BIT_ULL(VIRTIO_F_IN_ORDER) ? "/in-order" : "",
           c.device.features & BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) ?
           ", indirect" : "",
           c.device.features & BIT_ULL(VIRTIO_RING_F_EVENT_IDX) ?
           ", event index" : "", c.device_size,
           l->direct ? "; kicks by eventfd" : "");
    fflush(stdout);
    svq_start(&l->nic, &c);
    stress_begin(l, &shape);
    for (i = 0; i < STRESS_QUEUES; i++) {
        /* Received packets have their order from the buffers */
        if (i & 1 || !c.guest->in_order) {
            l->nic.sim->ctl[i].shuffle = between(0, 16);
        }
    }
    set_pairs(l, STRESS_PAIRS);
    stress_release_all(l);
    g_usleep(RUN_MAX_US);
    for (n = 0; n < count && (n < LIFE_ACTIONS ||
                              g_get_monotonic_time() < end); n++) {
        if (n % ARRAY_SIZE(actions) == 0) {
            shuffle(order, ARRAY_SIZE(actions));
        }
        act(life, &actions[order[n % ARRAY_SIZE(actions)]]);
    }

    case_begin(ACTION_SECONDS);
    stress_hold_all(l);
    set_pairs(l, STRESS_PAIRS);
    stress_end(l);
    for (i = 0; i < STRESS_PAIRS; i++) {
        packets_sent += l->tx[i].seq;
        packets_received += l->rx[i].packets;
    }
    case_end();
    g_free(life);
}

static bool all_met(unsigned lives)
{
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(actions); i++) {
        if (!actions[i].done) {
            return false;
        }
    }
    return lives >= MODE_COUNT;
}

static void test_stress(void)
{
    int64_t end = g_get_monotonic_time() + G_USEC_PER_SEC *
                  (opt_minutes ? opt_minutes * 60 : DEFAULT_SECONDS);
    unsigned lives = 0, i;

    if (!svq_can_run()) {
        return;
    }
    while (g_get_monotonic_time() < end || !all_met(lives)) {
        live(lives++, end);
    }
    printf("# %u lives, %" PRIu64 " packets sent, %" PRIu64 " received",
           lives, packets_sent, packets_received);
    for (i = 0; i < ARRAY_SIZE(actions); i++) {
        printf("; %s: %u", actions[i].name, actions[i].done);
    }
    printf("\n");
}

/* Take our options out of the arguments, and have GLib draw by our seed */
static char **options(int *argc, char **argv)
{
    g_autoptr(GPtrArray) args = g_ptr_array_new();
    int i;

    opt_seed = g_random_int();
    for (i = 0; i < *argc; i++) {
        if (g_str_has_prefix(argv[i], "--minutes=")) {
            opt_minutes = g_ascii_strtod(argv[i] + 10, NULL);
        } else if (g_str_has_prefix(argv[i], "--seed=")) {
            opt_seed = g_ascii_strtoull(argv[i] + 7, NULL, 0);
        } else {
            g_ptr_array_add(args, argv[i]);
        }
    }
    g_ptr_array_add(args, g_strdup_printf("--seed=R02S%08x%08x%08x%08x",
                                          opt_seed, 0, 0, 0));
    *argc = args->len;
    g_ptr_array_add(args, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&args), false);
}

int main(int argc, char **argv)
{
    int ret;

    argv = options(&argc, argv);
    g_test_init(&argc, &argv, NULL);
    printf("# stress: seed %u\n", opt_seed);
    qtest_add_func("virtio/svq/stress", test_stress);
    ret = g_test_run();
    rig_stop();
    return ret;
}
