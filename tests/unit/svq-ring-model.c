/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A virtio device that a device ring can be tested with
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include "qemu/atomic.h"
#include "qemu/bswap.h"
#include "standard-headers/linux/virtio_ring.h"
#include "svq-ring-model.h"

#define DESC_AVAIL      (1 << VRING_PACKED_DESC_F_AVAIL)
#define DESC_USED       (1 << VRING_PACKED_DESC_F_USED)
#define EVENT_WRAP      (1 << VRING_PACKED_EVENT_F_WRAP_CTR)
#define DRIVER_IOVA     UINT64_C(0x7654321000)

/* A place in a packed ring */
typedef struct ModelPlace {
    unsigned int pos;
    bool wrap;
} ModelPlace;

struct SVQModel {
    SVQRingConfig config;
    SVQRingLayout layout;
    bool protect;
    char *driver, *device;              /* as the device sees the areas */
    char *ring_driver, *ring_device;    /* as the ring does */

    struct vring_desc *desc;
    struct vring_avail *avail;
    struct vring_used *used;
    struct vring_packed_desc *packed;
    struct vring_packed_desc_event *driver_event, *device_event;

    SVQSeg *segs;           /* of the buffer that is read */
    bool *owned;            /* split: by descriptor, packed: by ID */
    unsigned int owned_descs;
    uint16_t avail_idx;     /* split: available entries taken */
    ModelPlace avail_place; /* packed: and the like */
    unsigned int in_order_pos;
    uint16_t used_idx;
    ModelPlace used_place;
    uint16_t flushed_idx;   /* what the driver was told */
    ModelPlace flushed_place;
    uint16_t kicked_idx;    /* what it was looked at for a notification */
    ModelPlace kicked_place;
};

static void place_step(SVQModel *model, ModelPlace *place)
{
    if (++place->pos == model->config.num) {
        place->pos = 0;
        place->wrap = !place->wrap;
    }
}

static uint16_t place_event(const ModelPlace *place)
{
    return place->pos | (place->wrap ? EVENT_WRAP : 0);
}

/* Map an area for both sides.  Each may write where that is asked for. */
static char *model_map(SVQModel *model, size_t size, bool device_writes,
                       bool ring_writes, char **ring)
{
    int fd = memfd_create("svq-ring-model", 0);
    int both = PROT_READ | PROT_WRITE;
    char *addr;

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, size), ==, 0);
    if (model->protect) {
        addr = mmap(NULL, size, device_writes ? both : PROT_READ, MAP_SHARED,
                    fd, 0);
        *ring = mmap(NULL, size, ring_writes ? both : PROT_READ, MAP_SHARED,
                     fd, 0);
    } else {
        addr = mmap(NULL, size, both, MAP_SHARED, fd, 0);
        *ring = addr;
    }
    g_assert(addr != MAP_FAILED && *ring != MAP_FAILED);
    close(fd);
    return addr;
}

SVQModel *svq_model_new(const SVQRingConfig *config, bool protect)
{
    SVQModel *model = g_new0(SVQModel, 1);
    SVQRingLayout *layout = &model->layout;

    model->config = *config;
    model->protect = protect;
    svq_ring_layout(config, qemu_real_host_page_size(), layout);
    g_assert_cmpuint(layout->driver_size % qemu_real_host_page_size(), ==, 0);
    g_assert_cmpuint(layout->device_size % qemu_real_host_page_size(), ==, 0);
    g_assert(layout->desc_in_device == config->packed);
    g_assert_cmpuint(layout->desc % 16, ==, 0);
    g_assert_cmpuint(layout->avail % 4, ==, 0);
    g_assert_cmpuint(layout->used % 4, ==, 0);

    model->driver = model_map(model, layout->driver_size, false, true,
                              &model->ring_driver);
    model->device = model_map(model, layout->device_size, true, config->packed,
                              &model->ring_device);
    if (config->packed) {
        model->packed = (void *)(model->device + layout->desc);
        model->driver_event = (void *)(model->driver + layout->avail);
        model->device_event = (void *)(model->device + layout->used);
        g_assert_cmpuint(layout->used, >=, config->num * 16);
        g_assert_cmpuint(layout->used + 4, <=, layout->device_size);
    } else {
        model->desc = (void *)(model->driver + layout->desc);
        model->avail = (void *)(model->driver + layout->avail);
        model->used = (void *)(model->device + layout->used);
        g_assert_cmpuint(layout->avail, >=, config->num * 16);
        g_assert_cmpuint(layout->avail + 6 + 2 * config->num, <=,
                         layout->driver_size);
        g_assert_cmpuint(layout->used + 6 + 8 * config->num, <=,
                         layout->device_size);
    }
    model->segs = g_new(SVQSeg, config->num);
    model->owned = g_new0(bool, config->num);
    model->avail_place.wrap = true;
    model->used_place.wrap = true;
    model->flushed_place.wrap = true;
    model->kicked_place.wrap = true;
    return model;
}

void svq_model_free(SVQModel *model)
{
    munmap(model->driver, model->layout.driver_size);
    munmap(model->device, model->layout.device_size);
    if (model->protect) {
        munmap(model->ring_driver, model->layout.driver_size);
        munmap(model->ring_device, model->layout.device_size);
    }
    g_free(model->segs);
    g_free(model->owned);
    g_free(model);
}

SVQRing *svq_model_ring(SVQModel *model)
{
    return svq_ring_new(&model->config, model->ring_driver, model->ring_device,
                        DRIVER_IOVA);
}

void *svq_model_device_area(SVQModel *model, size_t *size)
{
    *size = model->layout.device_size;
    return model->device;
}

static void model_own(SVQModel *model, unsigned int i)
{
    g_assert_cmpuint(i, <, model->config.num);
    g_assert_false(model->owned[i]);
    model->owned[i] = true;
}

/* One more piece of a buffer, in a descriptor of either kind */
static void model_add_seg(SVQModel *model, SVQModelBuffer *buffer,
                          uint64_t addr, uint32_t len, bool write)
{
    unsigned int n = buffer->out_num + buffer->in_num;

    g_assert_cmpuint(n, <, model->config.num);
    g_assert_cmpuint(len, >, 0);
    g_assert(write || !buffer->in_num);
    model->segs[n] = (SVQSeg) { .iova = addr, .len = len };
    if (write) {
        buffer->in_num++;
        buffer->in_len += len;
    } else {
        buffer->out_num++;
    }
}

/* The indirect table that a descriptor refers to */
static const void *model_table(SVQModel *model, uint64_t addr, uint32_t len)
{
    uint64_t offset = addr - DRIVER_IOVA;

    g_assert_true(model->config.indirect);
    g_assert_cmpuint(len, >, 0);
    g_assert_cmpuint(len % 16, ==, 0);
    g_assert_cmpuint(len / 16, <=, model->config.num);
    g_assert_cmpuint(addr % 16, ==, 0);
    g_assert_cmpuint(offset, <, model->layout.driver_size);
    g_assert_cmpuint(len, <=, model->layout.driver_size - offset);
    /* It is not on top of the ring */
    g_assert_cmpuint(offset, >=, model->config.packed
                                 ? model->layout.avail + 4
                                 : model->layout.avail + 6 +
                                   2 * model->config.num);
    return model->driver + offset;
}

static void model_read_split_table(SVQModel *model, SVQModelBuffer *buffer,
                                   uint64_t addr, uint32_t len)
{
    const struct vring_desc *table = model_table(model, addr, len);
    unsigned int i = 0, steps = 0;
    uint16_t flags;

    do {
        g_assert_cmpuint(i, <, len / 16);
        g_assert_cmpuint(steps++, <, len / 16);
        flags = le16_to_cpu(table[i].flags);
        g_assert_cmphex(flags & ~(VRING_DESC_F_NEXT | VRING_DESC_F_WRITE), ==,
                        0);
        model_add_seg(model, buffer, le64_to_cpu(table[i].addr),
                      le32_to_cpu(table[i].len), flags & VRING_DESC_F_WRITE);
        if (model->config.in_order && (flags & VRING_DESC_F_NEXT)) {
            g_assert_cmpuint(le16_to_cpu(table[i].next), ==, i + 1);
        }
        i = le16_to_cpu(table[i].next);
    } while (flags & VRING_DESC_F_NEXT);
    g_assert_cmpuint(steps, ==, len / 16);
}

static bool model_pop_split(SVQModel *model, SVQModelBuffer *buffer)
{
    unsigned int num = model->config.num;
    uint16_t idx = le16_to_cpu(qatomic_load_acquire(&model->avail->idx));
    uint16_t i, flags;

    g_assert_cmpuint((uint16_t)(idx - model->avail_idx), <=,
                     num - model->owned_descs);
    if (idx == model->avail_idx) {
        return false;
    }
    i = le16_to_cpu(model->avail->ring[model->avail_idx & (num - 1)]);
    buffer->id = i;
    do {
        struct vring_desc *desc = &model->desc[i];

        model_own(model, i);
        model->owned_descs++;
        buffer->ndescs++;
        if (model->config.in_order) {
            g_assert_cmpuint(i, ==, model->in_order_pos);
            model->in_order_pos = (i + 1) % num;
        }
        flags = le16_to_cpu(desc->flags);
        if (flags & VRING_DESC_F_INDIRECT) {
            g_assert_cmphex(flags, ==, VRING_DESC_F_INDIRECT);
            model_read_split_table(model, buffer, le64_to_cpu(desc->addr),
                                   le32_to_cpu(desc->len));
        } else {
            g_assert_cmphex(flags & ~(VRING_DESC_F_NEXT | VRING_DESC_F_WRITE),
                            ==, 0);
            model_add_seg(model, buffer, le64_to_cpu(desc->addr),
                          le32_to_cpu(desc->len), flags & VRING_DESC_F_WRITE);
        }
        i = le16_to_cpu(desc->next);
    } while (flags & VRING_DESC_F_NEXT);
    model->avail_idx++;
    return true;
}

/* Whether the driver has made the descriptor at @place available */
static bool model_is_avail(SVQModel *model, const ModelPlace *place,
                           uint16_t *flags)
{
    *flags = le16_to_cpu(qatomic_load_acquire(
        &model->packed[place->pos].flags));
    return !!(*flags & DESC_AVAIL) == place->wrap &&
           !!(*flags & DESC_USED) != place->wrap;
}

static bool model_pop_packed(SVQModel *model, SVQModelBuffer *buffer)
{
    unsigned int i, num = model->config.num;
    const uint16_t own = DESC_AVAIL | DESC_USED;
    unsigned int first = model->avail_place.pos;
    const struct vring_packed_desc *desc;
    uint16_t flags;

    if (!model_is_avail(model, &model->avail_place, &flags)) {
        return false;
    }
    do {
        g_assert_true(model_is_avail(model, &model->avail_place, &flags));
        g_assert_cmpuint(model->owned_descs, <, num);
        model->owned_descs++;
        buffer->ndescs++;
        desc = &model->packed[model->avail_place.pos];
        if (flags & VRING_DESC_F_INDIRECT) {
            const struct vring_packed_desc *table;
            uint32_t len = le32_to_cpu(desc->len);

            g_assert_cmphex(flags & ~own, ==, VRING_DESC_F_INDIRECT);
            table = model_table(model, le64_to_cpu(desc->addr), len);
            for (i = 0; i < len / 16; i++) {
                /* Reserved ones are zero, though devices ignore them */
                g_assert_cmphex(le16_to_cpu(table[i].flags) &
                                ~VRING_DESC_F_WRITE, ==, 0);
                model_add_seg(model, buffer, le64_to_cpu(table[i].addr),
                              le32_to_cpu(table[i].len),
                              le16_to_cpu(table[i].flags) & VRING_DESC_F_WRITE);
            }
        } else {
            g_assert_cmphex(flags & ~own &
                            ~(VRING_DESC_F_NEXT | VRING_DESC_F_WRITE), ==, 0);
            model_add_seg(model, buffer, le64_to_cpu(desc->addr),
                          le32_to_cpu(desc->len), flags & VRING_DESC_F_WRITE);
        }
        place_step(model, &model->avail_place);
    } while (flags & VRING_DESC_F_NEXT);

    /* The last descriptor has the ID that counts */
    buffer->id = le16_to_cpu(desc->id);
    model_own(model, buffer->id);
    if (model->config.in_order) {
        g_assert_cmpuint(first, ==, model->in_order_pos);
        model->in_order_pos = model->avail_place.pos;
    }
    return true;
}

SVQModelBuffer *svq_model_pop(SVQModel *model)
{
    SVQModelBuffer buffer = {}, *copy;
    size_t size;

    if (model->config.packed ? !model_pop_packed(model, &buffer)
                             : !model_pop_split(model, &buffer)) {
        return NULL;
    }
    size = (buffer.out_num + buffer.in_num) * sizeof(SVQSeg);
    copy = g_malloc(sizeof(buffer) + size);
    *copy = buffer;
    memcpy(copy->segs, model->segs, size);
    return copy;
}

static void model_disown(SVQModel *model, const SVQModelBuffer *buffer)
{
    unsigned int i = buffer->id, n = model->config.packed ? 1 : buffer->ndescs;

    while (n--) {
        g_assert_true(model->owned[i]);
        model->owned[i] = false;
        if (n) {
            i = le16_to_cpu(model->desc[i].next);
        }
    }
    model->owned_descs -= buffer->ndescs;
}

void svq_model_use(SVQModel *model, SVQModelBuffer *const *run,
                   unsigned int count, uint32_t len)
{
    const SVQModelBuffer *last = run[count - 1];
    ModelPlace start = model->used_place;
    unsigned int i, k;

    g_assert(count == 1 || model->config.in_order);
    for (i = 0; i < count; i++) {
        model_disown(model, run[i]);
        for (k = 0; k < run[i]->ndescs; k++) {
            place_step(model, &model->used_place);
        }
    }
    if (model->config.packed) {
        struct vring_packed_desc *desc = &model->packed[start.pos];
        uint16_t flags = start.wrap ? DESC_AVAIL | DESC_USED : 0;

        desc->id = cpu_to_le16(last->id);
        /* Without this flag a length means nothing */
        desc->len = cpu_to_le32(last->in_num ? len : UINT32_MAX);
        if (last->in_num) {
            flags |= VRING_DESC_F_WRITE;
        }
        qatomic_store_release(&desc->flags, cpu_to_le16(flags));
    } else {
        struct vring_used_elem *elem =
            &model->used->ring[model->used_idx & (model->config.num - 1)];

        elem->id = cpu_to_le32(last->id);
        elem->len = cpu_to_le32(len);
        model->used_idx += count;
    }
}

static bool model_flush_split(SVQModel *model)
{
    uint16_t flags, event, i;
    bool due = false;

    qatomic_store_release(&model->used->idx, cpu_to_le16(model->used_idx));
    smp_mb(); /* the driver's wish is from after that */
    flags = le16_to_cpu(qatomic_read(&model->avail->flags));
    event = le16_to_cpu(qatomic_read(&model->avail->ring[model->config.num]));
    if (model->config.event_idx) {
        g_assert_cmphex(flags, ==, 0);
        for (i = model->flushed_idx; i != model->used_idx; i++) {
            due |= i == event;
        }
    } else {
        g_assert_cmphex(flags & ~VRING_AVAIL_F_NO_INTERRUPT, ==, 0);
        due = model->flushed_idx != model->used_idx && !flags;
    }
    model->flushed_idx = model->used_idx;
    return due;
}

static bool model_flush_packed(SVQModel *model)
{
    const uint32_t *shared = (const uint32_t *)model->driver_event;
    uint16_t flags, event;
    bool any = false, hit = false;
    uint32_t word;

    smp_mb(); /* the driver's wish is from after what was used */
    word = le32_to_cpu(qatomic_read(shared));
    flags = word >> 16;
    event = word;
    while (model->flushed_place.pos != model->used_place.pos ||
           model->flushed_place.wrap != model->used_place.wrap) {
        any = true;
        hit |= event == place_event(&model->flushed_place);
        place_step(model, &model->flushed_place);
    }
    switch (flags) {
    case VRING_PACKED_EVENT_FLAG_ENABLE:
        return any;
    case VRING_PACKED_EVENT_FLAG_DISABLE:
        return false;
    case VRING_PACKED_EVENT_FLAG_DESC:
        g_assert_true(model->config.event_idx);
        g_assert_cmpuint(event & ~EVENT_WRAP, <, model->config.num);
        return hit;
    default:
        g_assert_not_reached();
    }
}

bool svq_model_flush(SVQModel *model)
{
    return model->config.packed ? model_flush_packed(model)
                                : model_flush_split(model);
}

bool svq_model_set_kick(SVQModel *model, SVQModelKick kick, int ahead)
{
    bool event = kick == SVQ_MODEL_KICK_EVENT;
    uint16_t flags;

    g_assert(!event || model->config.event_idx);
    if (model->config.packed) {
        uint32_t *shared = (uint32_t *)model->device_event;
        ModelPlace place = model->avail_place;

        while (event && ahead-- > 0) {
            place_step(model, &place);
        }
        flags = event ? VRING_PACKED_EVENT_FLAG_DESC
                : kick == SVQ_MODEL_KICK_NEVER
                ? VRING_PACKED_EVENT_FLAG_DISABLE
                : VRING_PACKED_EVENT_FLAG_ENABLE;
        qatomic_set(shared, cpu_to_le32(flags << 16 | place_event(&place)));
    } else if (model->config.event_idx) {
        uint16_t *avail_event =
            (uint16_t *)&model->used->ring[model->config.num];

        g_assert(event);
        qatomic_set(avail_event, cpu_to_le16(model->avail_idx + ahead));
        /* A driver that knows the event does not look at this one */
        model->used->flags = cpu_to_le16(VRING_USED_F_NO_NOTIFY);
    } else {
        flags = kick == SVQ_MODEL_KICK_NEVER ? VRING_USED_F_NO_NOTIFY : 0;
        qatomic_set(&model->used->flags, cpu_to_le16(flags));
    }
    smp_mb(); /* look for what the driver published before it saw that */
    return model->config.packed
           ? model_is_avail(model, &model->avail_place, &flags)
           : le16_to_cpu(qatomic_load_acquire(&model->avail->idx)) !=
             model->avail_idx;
}

bool svq_model_kick_due(SVQModel *model)
{
    bool any = false, hit = false;
    uint16_t flags;

    if (model->config.packed) {
        uint16_t event = le16_to_cpu(model->device_event->off_wrap);

        while (model_is_avail(model, &model->kicked_place, &flags)) {
            any = true;
            hit |= event == place_event(&model->kicked_place);
            place_step(model, &model->kicked_place);
        }
        flags = le16_to_cpu(model->device_event->flags);
        return flags == VRING_PACKED_EVENT_FLAG_DESC ? hit
               : flags == VRING_PACKED_EVENT_FLAG_ENABLE ? any : false;
    } else {
        uint16_t event = le16_to_cpu(*(uint16_t *)
                                     &model->used->ring[model->config.num]);

        while (model->kicked_idx != le16_to_cpu(model->avail->idx)) {
            any = true;
            hit |= event == model->kicked_idx++;
        }
        return model->config.event_idx ? hit
               : any && !(le16_to_cpu(model->used->flags) &
                          VRING_USED_F_NO_NOTIFY);
    }
}

uint32_t svq_model_notification_data(const SVQModel *model, uint16_t queue)
{
    uint16_t next = model->config.packed ? place_event(&model->kicked_place)
                                         : model->kicked_idx;

    return (uint32_t)next << 16 | queue;
}
