/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * vdpa-sim-ctl: make, change and look at a simulated device from a shell
 *
 * What a test in C does through vdpa-sim.h, for scripts and for use by hand:
 *
 *     vdpa-sim-ctl create FILE [NAME=VALUE]...     before QEMU starts
 *     vdpa-sim-ctl set FILE NAME=VALUE...          at any time
 *     vdpa-sim-ctl show FILE                       at any time, as JSON
 *     vdpa-sim-ctl help                            the names
 *
 * A device is written to by one program at a time, as vdpa-sim.h has it: do not
 * set a device that a test has under its control.
 *
 * Single-threaded.  The device works meanwhile: all that is its to write is
 * read atomically, and each number of "show" for itself.
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include "qapi/error.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qmp/qjson.h"
#include "qapi/qmp/qlist.h"
#include "qapi/qmp/qnum.h"
#include "qemu/atomic.h"
#include "qemu/bitops.h"
#include "qemu/cutils.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_net.h"
#include "standard-headers/linux/virtio_ring.h"
#include "vdpa-sim.h"

/* Features that can be named; others go by their bits in "features" */
static const struct {
    const char *name;
    uint64_t bits;
} feature_names[] = {
    { "packed", BIT_ULL(VIRTIO_F_RING_PACKED) },
    { "in_order", BIT_ULL(VIRTIO_F_IN_ORDER) },
    { "indirect_desc", BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) },
    { "event_idx", BIT_ULL(VIRTIO_RING_F_EVENT_IDX) },
    { "ring_reset", BIT_ULL(VIRTIO_F_RING_RESET) },
    { "mrg_rxbuf", BIT_ULL(VIRTIO_NET_F_MRG_RXBUF) },
    { "ctrl_vq", BIT_ULL(VIRTIO_NET_F_CTRL_VQ) },
    { "ctrl_mac_addr", BIT_ULL(VIRTIO_NET_F_CTRL_MAC_ADDR) },
    { "ctrl_rx", BIT_ULL(VIRTIO_NET_F_CTRL_RX) |
                 BIT_ULL(VIRTIO_NET_F_CTRL_RX_EXTRA) },
    { "ctrl_vlan", BIT_ULL(VIRTIO_NET_F_CTRL_VLAN) },
    { "guest_announce", BIT_ULL(VIRTIO_NET_F_GUEST_ANNOUNCE) },
    { "guest_offloads", BIT_ULL(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) },
    { "mq", BIT_ULL(VIRTIO_NET_F_MQ) },
    { "rss", BIT_ULL(VIRTIO_NET_F_RSS) },
    { "hash_report", BIT_ULL(VIRTIO_NET_F_HASH_REPORT) },
};

static const char *const mode_names[] = {
    [VDPA_SIM_PLAIN] = "plain",
    [VDPA_SIM_LOOP_STEER] = "loop-steer",
    [VDPA_SIM_LOOP_PAIR] = "loop-pair",
    [VDPA_SIM_SOURCE] = "source",
};

/* A number somewhere in a structure */
typedef struct Field {
    const char *name;
    size_t offset;
    size_t size;
} Field;

#define FIELD(type, field, text) \
    { text, offsetof(type, field), sizeof_field(type, field) }

static const Field config_fields[] = {
#define CONFIG(field) FIELD(VdpaSimConfig, field, #field)
    CONFIG(features), CONFIG(backend_features), CONFIG(iova_first),
    CONFIG(iova_last), CONFIG(vring_num_max), CONFIG(num_groups),
    CONFIG(num_as), CONFIG(notify_pages),
#undef CONFIG
    FIELD(VdpaSimConfig, net.mtu, "mtu"),
    FIELD(VdpaSimConfig, net.speed, "speed"),
    FIELD(VdpaSimConfig, net.mac_table_max, "mac_table_max"),
    FIELD(VdpaSimConfig, net.reset_rx_modes, "reset_rx_modes"),
};

static const Field ctl_fields[] = {
#define CTL(field) FIELD(VdpaSimQueueCtl, field, #field)
    CTL(verify), CTL(paused), CTL(poll_ns), CTL(always_kick), CTL(batch),
    CTL(no_runs), CTL(shuffle), CTL(shuffle_seed), CTL(delay_ns),
    CTL(lossless), CTL(source_len_min), CTL(source_len_max),
    CTL(source_count), CTL(source_interval_ns),
#undef CTL
};

static const Field state_fields[] = {
#define STATE(field, text) FIELD(VdpaSimState, field, text)
    STATE(acked, "features"), STATE(acked_backend, "backend-features"),
    STATE(status, "status"), STATE(suspended, "suspended"),
    STATE(opens, "opens"), STATE(opened, "opened"), STATE(resets, "resets"),
    STATE(iotlb_updates, "iotlb-updates"),
    STATE(iotlb_invalidates, "iotlb-invalidates"),
    STATE(iotlb_refused, "iotlb-refused"), STATE(faults, "faults"),
    STATE(violations, "violations"),
    STATE(unknown_ioctls, "unknown-ioctls"),
    STATE(config_calls, "config-calls"),
#undef STATE
};

static const Field stats_fields[] = {
#define STATS(field, text) FIELD(VdpaSimQueueStats, field, text)
    STATS(running, "running"), STATS(enabled, "enabled"),
    STATS(size, "size"), STATS(in_flight, "in-flight"),
    STATS(buffers, "buffers"), STATS(packets, "packets"),
    STATS(bytes, "bytes"), STATS(batches, "batches"),
    STATS(used_elems, "used-elements"),
    STATS(kicks_doorbell, "kicks-doorbell"),
    STATS(kicks_eventfd, "kicks-eventfd"), STATS(kicks_wrong, "kicks-wrong"),
    STATS(calls, "calls"), STATS(calls_suppressed, "calls-suppressed"),
    STATS(sleeps, "sleeps"), STATS(starved, "starved"),
    STATS(dropped, "dropped"), STATS(filtered, "filtered"),
    STATS(damaged, "damaged"), STATS(foreign, "foreign"),
    STATS(sourced, "sourced"), STATS(faults, "faults"),
    STATS(violations, "violations"),
#undef STATS
};

static const Field *field_find(const Field *fields, size_t num,
                               const char *name)
{
    for (size_t i = 0; i < num; i++) {
        if (!strcmp(fields[i].name, name)) {
            return &fields[i];
        }
    }
    return NULL;
}

static uint64_t field_get(const Field *field, const void *base)
{
    const void *p = (const char *)base + field->offset;

    switch (field->size) {
    case 1:
        return qatomic_read((const uint8_t *)p);
    case 2:
        return qatomic_read((const uint16_t *)p);
    case 4:
        return qatomic_read((const uint32_t *)p);
    default:
        return qatomic_read__nocheck((const uint64_t *)p);
    }
}

static bool field_set(const Field *field, void *base, const char *value,
                      Error **errp)
{
    void *p = (char *)base + field->offset;
    uint64_t number;

    if (qemu_strtou64(value, NULL, 0, &number) ||
        (field->size < 8 && number >> (8 * field->size))) {
        error_setg(errp, "'%s' is no value for %s", value, field->name);
        return false;
    }
    switch (field->size) {
    case 1:
        qatomic_set((uint8_t *)p, number);
        break;
    case 2:
        qatomic_set((uint16_t *)p, number);
        break;
    case 4:
        qatomic_set((uint32_t *)p, number);
        break;
    default:
        qatomic_set__nocheck((uint64_t *)p, number);
        break;
    }
    return true;
}

static bool parse_on_off(const char *name, const char *value, bool *on,
                         Error **errp)
{
    *on = !strcmp(value, "on");
    if (!*on && strcmp(value, "off")) {
        error_setg(errp, "%s is on or off, not '%s'", name, value);
        return false;
    }
    return true;
}

/* Splits NAME=VALUE.  Returns the name, to be freed, or NULL. */
static char *split(const char *setting, const char **value, Error **errp)
{
    const char *sign = strchr(setting, '=');

    if (!sign) {
        error_setg(errp, "'%s' is no NAME=VALUE", setting);
        return NULL;
    }
    *value = sign + 1;
    return g_strndup(setting, sign - setting);
}

/* create */

static bool config_set(VdpaSimConfig *config, const char *name,
                       const char *value, Error **errp)
{
    const Field *field = field_find(config_fields, ARRAY_SIZE(config_fields),
                                    name);

    if (field) {
        return field_set(field, config, value, errp);
    }
    if (!strcmp(name, "mac")) {
        uint8_t *mac = config->net.mac;
        int end = 0;

        if (sscanf(value, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0],
                   &mac[1], &mac[2], &mac[3], &mac[4], &mac[5], &end) != 6 ||
            value[end]) {
            error_setg(errp, "'%s' is no MAC address", value);
            return false;
        }
        return true;
    }
    for (size_t i = 0; i < ARRAY_SIZE(feature_names); i++) {
        bool on;

        if (!strcmp(name, feature_names[i].name)) {
            if (!parse_on_off(name, value, &on, errp)) {
                return false;
            }
            config->features &= ~feature_names[i].bits;
            config->features |= on ? feature_names[i].bits : 0;
            return true;
        }
    }
    error_setg(errp, "there is no '%s' to create a device with", name);
    return false;
}

static bool do_create(const char *path, char **settings, Error **errp)
{
    g_autofree VdpaSimConfig *config = g_new(VdpaSimConfig, 1);
    const char *wrong;
    unsigned int pairs = 1;
    VdpaSim *sim;

    /* The other defaults follow from the number of pairs */
    if (*settings && g_str_has_prefix(*settings, "pairs=")) {
        if (qemu_strtoui(*settings + 6, NULL, 0, &pairs) || pairs < 1 ||
            pairs > VDPA_SIM_MAX_PAIRS) {
            error_setg(errp, "pairs is 1 to %d", VDPA_SIM_MAX_PAIRS);
            return false;
        }
        settings++;
    }
    vdpa_sim_config_init(config, pairs);
    for (; *settings; settings++) {
        g_autofree char *name = NULL;
        const char *value;

        name = split(*settings, &value, errp);
        if (!name || !config_set(config, name, value, errp)) {
            return false;
        }
    }
    wrong = vdpa_sim_config_check(config);
    if (wrong) {
        error_setg(errp, "%s", wrong);
        return false;
    }
    sim = vdpa_sim_create(path, config);
    if (!sim) {
        error_setg_errno(errp, errno, "cannot create '%s'", path);
        return false;
    }
    vdpa_sim_free(sim);
    return true;
}

/* set and show */

static VdpaSim *attach(const char *path, Error **errp)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct stat st;
    VdpaSim *sim;

    if (fd < 0) {
        error_setg_errno(errp, errno, "cannot open '%s'", path);
        return NULL;
    }
    if (fstat(fd, &st) < 0 || st.st_size != sizeof(*sim)) {
        error_setg(errp, "'%s' is no device of this vdpa-sim", path);
        close(fd);
        return NULL;
    }
    sim = mmap(NULL, sizeof(*sim), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (sim == MAP_FAILED) {
        error_setg_errno(errp, errno, "cannot map '%s'", path);
        return NULL;
    }
    if (qatomic_load_acquire(&sim->magic) != VDPA_SIM_MAGIC ||
        sim->version != VDPA_SIM_VERSION || sim->size != sizeof(*sim)) {
        error_setg(errp, "'%s' is no device of this vdpa-sim", path);
        vdpa_sim_free(sim);
        return NULL;
    }
    return sim;
}

static bool ctl_set(VdpaSimQueueCtl *ctl, const char *name, const char *value,
                    Error **errp)
{
    const Field *field = field_find(ctl_fields, ARRAY_SIZE(ctl_fields), name);

    if (field) {
        return field_set(field, ctl, value, errp);
    }
    if (strcmp(name, "mode")) {
        error_setg(errp, "a queue has no '%s'", name);
        return false;
    }
    for (size_t i = 0; i < ARRAY_SIZE(mode_names); i++) {
        if (!strcmp(mode_names[i], value)) {
            qatomic_set(&ctl->mode, i);
            return true;
        }
    }
    error_setg(errp, "'%s' is no mode", value);
    return false;
}

/* @name: "QUEUE.NAME", where QUEUE is a number, "rx" or "tx" */
static bool queues_set(VdpaSim *sim, const char *name, const char *value,
                       Error **errp)
{
    const char *dot = strchr(name, '.');
    g_autofree char *which = dot ? g_strndup(name, dot - name) : NULL;
    unsigned int first, step = 2;

    if (!which) {
        error_setg(errp, "there is no '%s' to set", name);
        return false;
    }
    if (!strcmp(which, "rx")) {
        first = VDPA_SIM_RX(0);
    } else if (!strcmp(which, "tx")) {
        first = VDPA_SIM_TX(0);
    } else if (!qemu_strtoui(which, NULL, 10, &first) &&
               first < VDPA_SIM_MAX_QUEUES) {
        step = VDPA_SIM_MAX_QUEUES;
    } else {
        error_setg(errp, "'%s' is no queue", which);
        return false;
    }
    for (unsigned int q = first; q < VDPA_SIM_MAX_QUEUES; q += step) {
        if (!ctl_set(&sim->ctl[q], dot + 1, value, errp)) {
            return false;
        }
    }
    return true;
}

static bool do_set(const char *path, char **settings, Error **errp)
{
    VdpaSim *sim = attach(path, errp);
    bool ok = sim;

    for (; ok && *settings; settings++) {
        g_autofree char *name = NULL;
        const char *value;
        bool on;

        name = split(*settings, &value, errp);
        if (!name) {
            ok = false;
        } else if (!strcmp(name, "link")) {
            ok = parse_on_off(name, value, &on, errp);
            if (ok) {
                vdpa_sim_set_link(sim, on);
            }
        } else if (!strcmp(name, "announce")) {
            ok = parse_on_off(name, value, &on, errp);
            if (ok && on) {
                vdpa_sim_announce(sim);
            }
        } else {
            ok = queues_set(sim, name, value, errp);
        }
    }
    if (sim) {
        vdpa_sim_wake(sim);
        vdpa_sim_free(sim);
    }
    return ok;
}

static QDict *show_fields(const Field *fields, size_t num, const void *base)
{
    QDict *dict = qdict_new();

    for (size_t i = 0; i < num; i++) {
        qdict_put(dict, fields[i].name,
                  qnum_from_uint(field_get(&fields[i], base)));
    }
    return dict;
}

static QDict *show_net(VdpaSim *sim)
{
    g_autofree VdpaSimNetState *net = g_new(VdpaSimNetState, 1);
    QDict *dict = qdict_new();
    g_autofree char *mac = NULL;

    vdpa_sim_net_snapshot(&sim->net, net);
    mac = g_strdup_printf("%02x:%02x:%02x:%02x:%02x:%02x", net->mac[0],
                          net->mac[1], net->mac[2], net->mac[3], net->mac[4],
                          net->mac[5]);
    qdict_put_str(dict, "mac", mac);
    qdict_put_int(dict, "status", net->status);
    qdict_put_int(dict, "pairs", net->pairs);
    qdict_put_bool(dict, "rss", net->steering == VDPA_SIM_STEER_RSS);
    qdict_put_int(dict, "rx-modes", net->rx_modes);
    qdict_put(dict, "offloads", qnum_from_uint(net->offloads));
    qdict_put(dict, "commands", qnum_from_uint(net->commands));
    qdict_put(dict, "refused", qnum_from_uint(net->refused));
    return dict;
}

static bool do_show(const char *path, char **settings, Error **errp)
{
    VdpaSim *sim = attach(path, errp);
    g_autoptr(GString) text = NULL;
    char *complaint;
    QDict *dict;
    QList *queues;

    if (!sim) {
        return false;
    }
    dict = show_fields(state_fields, ARRAY_SIZE(state_fields), &sim->state);
    qdict_put(dict, "net", show_net(sim));
    queues = qlist_new();
    for (unsigned int q = 0; q <= 2 * sim->config.net.max_pairs; q++) {
        qlist_append(queues, show_fields(stats_fields,
                                         ARRAY_SIZE(stats_fields),
                                         &sim->stats[q]));
    }
    qdict_put(dict, "queues", queues);
    complaint = vdpa_sim_complaint(sim);
    qdict_put_str(dict, "complaint", complaint ? complaint : "");
    free(complaint);
    vdpa_sim_free(sim);

    text = qobject_to_json_pretty(QOBJECT(dict), true);
    qobject_unref(dict);
    printf("%s\n", text->str);
    return true;
}

/* The command line */

static void print_names(const Field *fields, size_t num)
{
    for (size_t i = 0; i < num; i++) {
        printf(" %s", fields[i].name);
    }
    printf("\n");
}

static bool do_help(const char *path, char **settings, Error **errp)
{
    printf("vdpa-sim-ctl create FILE [pairs=N] [NAME=VALUE]...\n"
           "  makes a device; then\n"
           "  LD_PRELOAD=.../vdpa-sim.so qemu-system-x86_64 "
           "-netdev vhost-vdpa,id=n0,vhostdev=FILE ...\n"
           "  numbers: mac=XX:XX:XX:XX:XX:XX");
    print_names(config_fields, ARRAY_SIZE(config_fields));
    printf("  features, on or off:");
    for (size_t i = 0; i < ARRAY_SIZE(feature_names); i++) {
        printf(" %s", feature_names[i].name);
    }
    printf("\nvdpa-sim-ctl set FILE NAME=VALUE...\n"
           "  changes how it behaves: link=on|off, announce=on, and QUEUE.NAME "
           "where\n  QUEUE is a number, rx or tx, and NAME is mode (plain, "
           "loop-steer, loop-pair,\n  source) or one of");
    print_names(ctl_fields, ARRAY_SIZE(ctl_fields));
    printf("vdpa-sim-ctl show FILE\n"
           "  prints state and counters as JSON; \"faults\" (accesses outside "
           "what was\n  mapped) and \"violations\" (of the specification) are "
           "QEMU's, and \"complaint\"\n  is the text\n");
    return true;
}

static const struct {
    const char *name;
    bool (*function)(const char *path, char **settings, Error **errp);
    int min_args;               /* FILE among them */
    int max_args;
} commands[] = {
    { "create", do_create, 1, INT_MAX },
    { "set", do_set, 2, INT_MAX },
    { "show", do_show, 1, 1 },
    { "help", do_help, 0, 0 },
};

int main(int argc, char **argv)
{
    Error *err = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (argc < 2 || strcmp(argv[1], commands[i].name) ||
            argc - 2 < commands[i].min_args ||
            argc - 2 > commands[i].max_args) {
            continue;
        }
        if (!commands[i].function(argc > 2 ? argv[2] : NULL,
                                  argc > 2 ? argv + 3 : NULL, &err)) {
            fprintf(stderr, "vdpa-sim-ctl: %s\n", error_get_pretty(err));
            error_free(err);
            return EXIT_FAILURE;
        }
        return EXIT_SUCCESS;
    }
    fprintf(stderr, "vdpa-sim-ctl: create FILE ..., set FILE ..., show FILE or "
            "help\n");
    return 2;
}
