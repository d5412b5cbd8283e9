/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: what a virtio driver that keeps no rule does, see
 * virtio-in-order-hostile.h
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "virtio-in-order-hostile.h"
#include "standard-headers/linux/virtio_blk.h"
#include "standard-headers/linux/virtio_net.h"
#include "standard-headers/linux/virtio_pci.h"

/* Where it all is in guest memory */
#define RINGS           (2 * MiB)
#define RING_SPACE      (64 * KiB)          /* of one queue */
#define RING_AVAIL      (32 * KiB)          /* in it */
#define RING_USED       (48 * KiB)
#define BUFFERS         (4 * MiB)
#define SLOT_SIZE       (4 * KiB)
#define SLOTS           64                  /* of one queue */
#define SLOT_TABLE      (3 * KiB)           /* indirect table in a slot */
#define PARTS_MAX       32                  /* descriptors of one buffer */

/* One piece of a buffer */
typedef struct Part {
    uint64_t addr;
    uint32_t len;
    uint16_t flags;
} Part;

typedef enum Op {
    OP_ADD,             /* a buffer as it should be, more or less */
    OP_ADD_MORE,        /* the same, so that it is likely */
    OP_KICK,
    OP_RUN,
    OP_DESC,            /* write a descriptor, whatever its state */
    OP_AVAIL,           /* write an entry of the available ring */
    OP_AVAIL_IDX,
    OP_AGAIN,           /* make a buffer available again */
    OP_SCRIBBLE,        /* write anywhere in a ring */
    OP_CONTENT,         /* write into the memory of a buffer */
    OP_EVENT,           /* write an event index or suppression flags */
    OP_STATUS,
    OP_FEATURES,
    OP_RESTART,         /* reset, negotiate and set up again */
    OP_QUEUE_REG,
    OP_QUEUE_RESET,
    OP_QUEUE_SETUP,
    OP_CONFIG,          /* device configuration space */
    OP_COMMON_READ,
    OP_PCI,             /* PCI configuration space */
    OP_NOTIFY,          /* a queue number that need not exist */
    OP_CLOCK,
    OP_SEND,            /* the peer sends a packet */
    OP_DRAIN,           /* the peer reads what was sent */
    OP_LINK,
    OP_STOP,
    OP_COUNT,
} Op;

static uint8_t take8(Hostile *h)
{
    if (!h->size) {
        return 0;
    }
    h->size--;
    return *h->data++;
}

static uint16_t take16(Hostile *h)
{
    uint16_t low = take8(h);

    return low | take8(h) << 8;
}

static uint32_t take32(Hostile *h)
{
    uint32_t low = take16(h);

    return low | (uint32_t)take16(h) << 16;
}

static void common_write(Hostile *h, unsigned reg, unsigned size,
                         uint32_t val)
{
    QPCIDevice *pdev = h->dev->pci->pdev;
    QPCIBar bar = h->dev->pci->bar;
    uint64_t off = common_cfg(h->dev, reg);

    switch (size) {
    case 1:
        qpci_io_writeb(pdev, bar, off, val);
        break;
    case 2:
        qpci_io_writew(pdev, bar, off, val);
        break;
    default:
        qpci_io_writel(pdev, bar, off, val);
        break;
    }
}

static uint16_t common_readw(Hostile *h, unsigned reg)
{
    return qpci_io_readw(h->dev->pci->pdev, h->dev->pci->bar,
                         common_cfg(h->dev, reg));
}

static unsigned take_queue(Hostile *h)
{
    return take8(h) % hostile_queues(h);
}

static uint64_t slot_addr(unsigned q, unsigned slot)
{
    return BUFFERS + (uint64_t)(q * SLOTS + slot % SLOTS) * SLOT_SIZE;
}

/* An address that a driver may come up with */
static uint64_t take_addr(Hostile *h, unsigned q)
{
    uint8_t kind = take8(h);
    uint16_t off = take16(h);

    switch (kind % 16) {
    case 8:     /* a ring: the device writes what it reads */
        return RINGS + q * RING_SPACE + off;
    case 9:     /* over the end of memory */
        return RIG_RAM_SIZE - off % 64;
    case 10:
        return 0xffffffffffffffffull - off;
    case 11:    /* nothing is there */
        return RIG_RAM_SIZE + (uint64_t)off * MiB;
    case 12:    /* the device itself */
        return h->dev->pci->bar.addr + off % 0x4000;
    case 13:    /* no memory, or read only */
        return 0xa0000 + (off % 0x60) * 0x1000;
    case 14:
        return off;
    default:
        return slot_addr(q, kind / 16) + off % SLOT_SIZE;
    }
}

static uint32_t take_len(Hostile *h)
{
    static const uint32_t lens[] = {
        1, 2, 8, 11, 12, 13, 16, 17, 60, 72, 512, 513, 1024, 1526, 4096,
        0, 15, 32, 48, 4095, 65536, 0x7fffffff, 0xffffffff, 0xfffffff0,
    };
    uint8_t code = take8(h);

    return code < 128 ? lens[code % ARRAY_SIZE(lens)] : code - 128;
}

static unsigned take_num(Hostile *h)
{
    static const unsigned nums[] = {
        256, 1, 2, 3, 4, 8, 16, 64, 100, 255, 641, 1024, 128, 5, 7, 33,
    };

    return nums[take8(h) % ARRAY_SIZE(nums)];
}

static void all_dirty(Hostile *h)
{
    unsigned q;

    for (q = 0; q < HOSTILE_QUEUES; q++) {
        h->queue[q].clean = false;
    }
}

/* Rings */

static void queue_addresses(Hostile *h, uint64_t desc, uint64_t avail,
                            uint64_t used)
{
    common_write(h, VIRTIO_PCI_COMMON_Q_DESCLO, 4, desc);
    common_write(h, VIRTIO_PCI_COMMON_Q_DESCHI, 4, desc >> 32);
    common_write(h, VIRTIO_PCI_COMMON_Q_AVAILLO, 4, avail);
    common_write(h, VIRTIO_PCI_COMMON_Q_AVAILHI, 4, avail >> 32);
    common_write(h, VIRTIO_PCI_COMMON_Q_USEDLO, 4, used);
    common_write(h, VIRTIO_PCI_COMMON_Q_USEDHI, 4, used >> 32);
}

static void hostile_queue_setup(Hostile *h, unsigned q, unsigned num)
{
    HostileQueue *hq = &h->queue[q];
    HostileBuffer *buffers = hq->in_flight;

    memset(guest(RINGS + q * RING_SPACE, RING_SPACE), 0, RING_SPACE);
    *hq = (HostileQueue) {
        .desc = RINGS + q * RING_SPACE,
        .avail = RINGS + q * RING_SPACE + RING_AVAIL,
        .used = RINGS + q * RING_SPACE + RING_USED,
        .notify = h->dev->pci->notify_cfg_offset,
        .wrap = true, .used_wrap = true, .clean = true,
        .in_flight = buffers,
    };
    common_write(h, VIRTIO_PCI_COMMON_Q_SELECT, 2, q);
    common_write(h, VIRTIO_PCI_COMMON_Q_SIZE, 2, num);
    hq->num = common_readw(h, VIRTIO_PCI_COMMON_Q_SIZE);
    if (hq->num == 0 || hq->num > HOSTILE_RING_MAX) {
        hq->num = 1;
        hq->clean = false;
    }
    hq->notify += h->dev->pci->notify_off_multiplier *
                  common_readw(h, VIRTIO_PCI_COMMON_Q_NOFF);
    queue_addresses(h, hq->desc, hq->avail, hq->used);
    common_write(h, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
}

static void write_features(Hostile *h, uint64_t features)
{
    unsigned i;

    for (i = 0; i < 2; i++) {
        common_write(h, VIRTIO_PCI_COMMON_GFSELECT, 4, i);
        common_write(h, VIRTIO_PCI_COMMON_GF, 4, features >> (32 * i));
    }
}

static uint64_t read_features(Hostile *h)
{
    uint64_t features = 0;
    unsigned i;

    for (i = 0; i < 2; i++) {
        common_write(h, VIRTIO_PCI_COMMON_DFSELECT, 4, i);
        features |= (uint64_t)qpci_io_readl(h->dev->pci->pdev,
                                            h->dev->pci->bar,
                                            common_cfg(h->dev,
                                                       VIRTIO_PCI_COMMON_DF))
                    << (32 * i);
    }
    return features & ~QVIRTIO_F_BAD_FEATURE;
}

/* Nothing here may rely on the device: it may not even be mapped */
static void hostile_restart(Hostile *h)
{
    static const uint64_t droppable[] = {
        BIT_ULL(VIRTIO_RING_F_EVENT_IDX),
        BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC),
        BIT_ULL(VIRTIO_F_RING_PACKED),
        BIT_ULL(VIRTIO_F_IN_ORDER),
        BIT_ULL(VIRTIO_F_RING_RESET),
        BIT_ULL(VIRTIO_NET_F_MRG_RXBUF),
        BIT_ULL(VIRTIO_F_VERSION_1),
        BIT_ULL(VIRTIO_NET_F_CTRL_VQ),
    };
    enum {
        BEFORE = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER,
        AFTER = BEFORE | VIRTIO_CONFIG_S_FEATURES_OK,
    };
    uint8_t drop = take8(h);
    unsigned num = take_num(h), q;
    uint64_t features;

    common_write(h, VIRTIO_PCI_COMMON_STATUS, 1, 0);
    common_write(h, VIRTIO_PCI_COMMON_STATUS, 1, BEFORE);
    features = read_features(h);
    for (q = 0; q < ARRAY_SIZE(droppable); q++) {
        /* The mode is what is tested: leave it only if more is said */
        if (drop & BIT(q) && (q != 2 && q != 3 && q != 6 ? true :
                              take8(h) == 1)) {
            features &= ~droppable[q];
        }
    }
    write_features(h, features);
    common_write(h, VIRTIO_PCI_COMMON_STATUS, 1, AFTER);
    h->features = features;
    h->packed = features & BIT_ULL(VIRTIO_F_RING_PACKED);
    h->in_order = features & BIT_ULL(VIRTIO_F_IN_ORDER);
    for (q = 0; q < hostile_queues(h); q++) {
        hostile_queue_setup(h, q, num);
    }
    common_write(h, VIRTIO_PCI_COMMON_STATUS, 1,
                 AFTER | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void split_desc(void *p, const Part *part, uint16_t flags,
                       uint16_t next)
{
    uint8_t *d = p;

    stq_le_p(d, part->addr);
    stl_le_p(d + 8, part->len);
    stw_le_p(d + 12, part->flags | flags);
    stw_le_p(d + 14, next);
}

static void packed_desc(void *p, const Part *part, uint16_t id,
                        uint16_t flags)
{
    uint8_t *d = p;

    stq_le_p(d, part->addr);
    stl_le_p(d + 8, part->len);
    stw_le_p(d + 12, id);
    /* The rest of the descriptor before its flags */
    smp_wmb();
    stw_le_p(d + 14, part->flags | flags);
}

/* Put a buffer into the ring by the rules of the layout, and in its order */
static void put_buffer(Hostile *h, unsigned q, const Part *parts, unsigned n,
                       bool indirect)
{
    HostileQueue *hq = &h->queue[q];
    unsigned head = hq->next, i;
    Part table;

    if (indirect && h->features & BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC)) {
        table.addr = slot_addr(q, hq->slot) + SLOT_TABLE;
        table.len = 16 * n;
        table.flags = VRING_DESC_F_INDIRECT;
        for (i = 0; i < n; i++) {
            void *d = guest(table.addr + 16 * i, 16);

            if (h->packed) {
                packed_desc(d, &parts[i], 0, 0);
            } else {
                split_desc(d, &parts[i], i + 1 < n ? VRING_DESC_F_NEXT : 0,
                           i + 1);
            }
        }
        parts = &table;
        n = 1;
    }
    n = MIN(n, hq->num);
    hostile_account(hq, head, h->packed ? n : 1);

    if (!h->packed) {
        for (i = 0; i < n; i++) {
            unsigned next = (hq->next + 1) % hq->num;

            split_desc(guest(hq->desc + 16 * hq->next, 16), &parts[i],
                       i + 1 < n ? VRING_DESC_F_NEXT : 0, next);
            hq->next = next;
        }
        stw_le_p(guest(hq->avail + 4 + 2 * (hq->avail_idx % hq->num), 2),
                 head);
        hq->avail_idx++;
        /* The entry before the index */
        smp_wmb();
        stw_le_p(guest(hq->avail + 2, 2), hq->avail_idx);
        return;
    }
    /* From the last to the first, which makes them available */
    for (i = n; i-- > 0; ) {
        unsigned pos = hq->next + i;
        bool wrap = hq->wrap ^ (pos >= hq->num);

        packed_desc(guest(hq->desc + 16 * (pos % hq->num), 16), &parts[i],
                    head, (wrap ? 1 << VRING_PACKED_DESC_F_AVAIL :
                           1 << VRING_PACKED_DESC_F_USED) |
                    (i + 1 < n ? VRING_DESC_F_NEXT : 0));
    }
    hq->next += n;
    if (hq->next >= hq->num) {
        hq->next -= hq->num;
        hq->wrap = !hq->wrap;
    }
}

/* What the buffers say */

static unsigned net_parts(Hostile *h, unsigned q, uint64_t addr, Part *parts)
{
    uint8_t *p = guest(addr, SLOT_TABLE);
    uint8_t shape = take8(h);
    unsigned i, n;

    if (q == 0) {
        /* Receive buffers of several pieces */
        n = 1 + shape % 4;
        for (i = 0; i < n; i++) {
            parts[i] = (Part) {
                addr + 700 * i, shape & 64 ? take_len(h) : 600,
                VRING_DESC_F_WRITE,
            };
        }
        return n;
    }
    if (q == 2) {
        unsigned len = shape % 24;

        /* Class, command and what goes with them; then the answer */
        p[0] = take8(h);
        p[1] = take8(h);
        for (i = 0; i < len; i++) {
            p[2 + i] = take8(h);
        }
        parts[0] = (Part) { addr, 2, 0 };
        parts[1] = (Part) { addr + 2, MAX(len, 1), 0 };
        parts[2] = (Part) { addr + 64, shape & 128 ? 0 : 1,
                            VRING_DESC_F_WRITE };
        return 3;
    }
    memset(p, 0, HOSTILE_NET_HDR);
    if (shape & 64) {
        for (i = 0; i < HOSTILE_NET_HDR; i++) {
            p[i] = take8(h);
        }
    }
    n = 1 + shape % 8;
    for (i = 0; i < n; i++) {
        parts[i] = (Part) {
            addr + i * 100, HOSTILE_PKT + (i ? 0 : HOSTILE_NET_HDR), 0,
        };
    }
    if (shape & 32) {
        parts[n - 1].len = take_len(h);
    }
    if (shape & 16) {
        /* A header of its own */
        parts[0].len = HOSTILE_NET_HDR;
    }
    if (shape & 128) {
        /* For a device that does not like them */
        parts[n - 1].flags = VRING_DESC_F_WRITE;
    }
    return n;
}

static unsigned blk_parts(Hostile *h, uint64_t addr, Part *parts)
{
    static const uint32_t types[] = {
        VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_FLUSH,
        VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_DISCARD,
        VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_T_SCSI_CMD, 0x1234,
        VIRTIO_BLK_T_OUT | VIRTIO_BLK_T_BARRIER, 14 /* secure erase */,
    };
    uint8_t *p = guest(addr, SLOT_TABLE);
    uint8_t shape = take8(h), what = take8(h);
    uint32_t type = types[what % ARRAY_SIZE(types)];
    bool in = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
    uint64_t sector = take8(h);
    unsigned i, n = 0, pieces = shape % 8;

    if (what & 128) {
        /* Around the end of the disk, and of the numbers */
        sector = sector & 128 ? 0xffffffffffffffffull - sector :
                                2040 + sector % 16;
    }
    stl_le_p(p, type);
    stl_le_p(p + 4, 0);
    stq_le_p(p + 8, sector);
    parts[n++] = (Part) { addr, shape & 64 ? take_len(h) : 16, 0 };
    if (type == VIRTIO_BLK_T_DISCARD || type == VIRTIO_BLK_T_WRITE_ZEROES) {
        /* struct virtio_blk_discard_write_zeroes */
        for (i = 0; i < pieces; i++) {
            stq_le_p(p + 512 + 16 * i, take8(h));
            stl_le_p(p + 512 + 16 * i + 8, take8(h));
            stl_le_p(p + 512 + 16 * i + 12, take8(h));
        }
        parts[n++] = (Part) { addr + 512, 16 * MAX(pieces, 1), 0 };
    } else if (type != VIRTIO_BLK_T_FLUSH) {
        for (i = 0; i < pieces; i++) {
            parts[n++] = (Part) {
                addr + 512 + 256 * i,
                shape & 32 ? take_len(h) : pieces == 1 ? 512 : 256,
                in ? VRING_DESC_F_WRITE : 0,
            };
        }
    }
    if (!(shape & 128)) {
        parts[n++] = (Part) { addr + 32, 1, VRING_DESC_F_WRITE };
    }
    return n;
}

static void op_add(Hostile *h)
{
    unsigned q = take_queue(h), n;
    HostileQueue *hq = &h->queue[q];
    uint64_t addr = slot_addr(q, hq->slot);
    uint8_t how = take8(h);
    Part parts[PARTS_MAX];

    memset(guest(addr, SLOT_SIZE), 0, SLOT_SIZE);
    n = h->net ? net_parts(h, q, addr, parts) : blk_parts(h, addr, parts);
    put_buffer(h, q, parts, n, how & 1);
    hq->slot++;
    if (how & 2) {
        qpci_io_writew(h->dev->pci->pdev, h->dev->pci->bar, hq->notify, q);
    }
    if (how & 4) {
        h->host->run();
    }
}

/* What breaks the rules */

static void op_desc(Hostile *h)
{
    unsigned q = take_queue(h);
    HostileQueue *hq = &h->queue[q];
    unsigned pos = (hq->next + (int8_t)take8(h) + hq->num) % hq->num;
    uint8_t how = take8(h);
    Part part = { .addr = take_addr(h, q), .len = take_len(h) };
    uint16_t flags = how & (VRING_DESC_F_NEXT | VRING_DESC_F_WRITE |
                            VRING_DESC_F_INDIRECT);
    uint16_t id = how & 128 ? take16(h) : (pos + 1) % hq->num;
    void *d = guest(hq->desc + 16 * pos, 16);

    if (how & 64) {
        /* In the indirect table of the buffer before */
        d = guest(slot_addr(q, hq->slot - 1) + SLOT_TABLE +
                  16 * (pos % 16), 16);
    }
    if (!h->packed) {
        split_desc(d, &part, flags, id);
        if (how & 8) {
            /* Make a buffer of it */
            stw_le_p(guest(hq->avail + 4 + 2 * (hq->avail_idx % hq->num), 2),
                     pos);
            hq->avail_idx++;
            /* The entry before the index */
            smp_wmb();
            stw_le_p(guest(hq->avail + 2, 2), hq->avail_idx);
        }
    } else {
        bool wrap = hq->wrap ^ !!(how & 16);

        packed_desc(d, &part, id,
                    flags | (how & 32 ? 0 : wrap ?
                             1 << VRING_PACKED_DESC_F_AVAIL :
                             1 << VRING_PACKED_DESC_F_USED));
        if (how & 8) {
            hq->next++;
            if (hq->next >= hq->num) {
                hq->next = 0;
                hq->wrap = !hq->wrap;
            }
        }
    }
    hq->clean = false;
}

static void op_avail(Hostile *h)
{
    HostileQueue *hq = &h->queue[take_queue(h)];
    uint16_t pos = hq->avail_idx + (int8_t)take8(h);
    uint8_t val = take8(h);

    stw_le_p(guest(hq->avail + 4 + 2 * (pos % hq->num), 2),
             val < 200 ? val % hq->num : hq->num + val - 200);
    hq->clean = false;
}

static void op_avail_idx(Hostile *h)
{
    HostileQueue *hq = &h->queue[take_queue(h)];
    uint8_t how = take8(h);

    hq->avail_idx += how < 192 ? (int8_t)take8(h) : take16(h);
    stw_le_p(guest(hq->avail + 2, 2), hq->avail_idx);
    if (how & 1) {
        hq->wrap = !hq->wrap;
    }
    hq->clean = false;
}

static void op_again(Hostile *h)
{
    HostileQueue *hq = &h->queue[take_queue(h)];
    unsigned back = 1 + take8(h) % 8;

    if (h->packed) {
        /* Its ID in the next descriptor, or its flags once more */
        unsigned pos = (hq->next + hq->num - back % hq->num) % hq->num;
        uint8_t *d = guest(hq->desc + 16 * pos, 16);

        stw_le_p(d + 12, lduw_le_p(d + 12) - 1);
        stw_le_p(d + 14, lduw_le_p(d + 14) ^
                 (1 << VRING_PACKED_DESC_F_AVAIL) ^
                 (1 << VRING_PACKED_DESC_F_USED));
    } else {
        uint16_t pos = hq->avail_idx - back;
        uint16_t head = lduw_le_p(guest(hq->avail + 4 +
                                        2 * (pos % hq->num), 2));

        stw_le_p(guest(hq->avail + 4 + 2 * (hq->avail_idx % hq->num), 2),
                 head);
        hq->avail_idx++;
        /* The entry before the index */
        smp_wmb();
        stw_le_p(guest(hq->avail + 2, 2), hq->avail_idx);
    }
    hq->clean = false;
}

static void op_scribble(Hostile *h)
{
    unsigned q = take_queue(h);
    uint8_t what = take8(h);
    uint16_t off = take16(h);
    uint64_t base = what % 3 == 0 ? h->queue[q].desc :
                    what % 3 == 1 ? h->queue[q].avail : h->queue[q].used;

    off %= what & 128 ? 16 * KiB - 4 : 64;
    if (what & 64) {
        stl_le_p(guest(base + off, 4), take32(h));
    } else {
        stw_le_p(guest(base + off, 2), take16(h));
    }
    h->queue[q].clean = false;
}

/* The memory of buffers in flight belongs to the device, but holds no rule */
static void op_content(Hostile *h)
{
    unsigned q = take_queue(h);
    uint64_t addr = slot_addr(q, h->queue[q].slot - 1 - take8(h) % 4);
    uint8_t off = take8(h);

    if (off & 128) {
        addr += SLOT_TABLE;
    }
    stl_le_p(guest(addr + (off & 127), 4), take32(h));
    h->queue[q].clean = false;
}

static void op_event(Hostile *h)
{
    HostileQueue *hq = &h->queue[take_queue(h)];
    uint8_t how = take8(h);
    uint16_t val = take16(h);

    if (h->packed) {
        stw_le_p(guest(hq->avail + (how & 1 ? 2 : 0), 2), val);
    } else if (how & 1) {
        stw_le_p(guest(hq->avail, 2), val);
    } else {
        stw_le_p(guest(hq->avail + 4 + 2 * hq->num, 2), val);
    }
}

static void op_queue_reg(Hostile *h)
{
    static const struct { uint8_t reg, size; } regs[] = {
        { VIRTIO_PCI_COMMON_Q_SIZE, 2 },
        { VIRTIO_PCI_COMMON_Q_ENABLE, 2 },
        { VIRTIO_PCI_COMMON_Q_MSIX, 2 },
        { VIRTIO_PCI_COMMON_Q_SELECT, 2 },
        { VIRTIO_PCI_COMMON_MSIX, 2 },
        { VIRTIO_PCI_COMMON_DFSELECT, 4 },
        { VIRTIO_PCI_COMMON_Q_RESET, 2 },
    };
    unsigned q = take_queue(h);
    uint8_t which = take8(h);
    unsigned i = which % (ARRAY_SIZE(regs) + 1);
    uint64_t a[3];

    common_write(h, VIRTIO_PCI_COMMON_Q_SELECT, 2, q);
    if (i == ARRAY_SIZE(regs)) {
        /* Wherever a ring should not be */
        for (i = 0; i < ARRAY_SIZE(a); i++) {
            a[i] = take_addr(h, q);
        }
        queue_addresses(h, a[0], a[1], a[2]);
        if (which & 128) {
            common_write(h, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
        }
    } else if (which & 64) {
        common_write(h, regs[i].reg, regs[i].size, take_num(h));
    } else {
        common_write(h, regs[i].reg, regs[i].size, take16(h));
    }
    all_dirty(h);
}

static void op_config(Hostile *h)
{
    QPCIDevice *pdev = h->dev->pci->pdev;
    QPCIBar bar = h->dev->pci->bar;
    uint8_t off = take8(h), how = take8(h);
    uint64_t addr = h->dev->pci->device_cfg_offset + off;

    if (how & 1) {
        qpci_io_writeb(pdev, bar, addr, take8(h));
    } else if (how & 2) {
        qpci_io_writel(pdev, bar, addr & ~3ull, take32(h));
    } else {
        qpci_io_readl(pdev, bar, addr & ~3ull);
        qpci_io_readb(pdev, bar, addr);
    }
}

static void op_common_read(Hostile *h)
{
    QPCIDevice *pdev = h->dev->pci->pdev;
    QPCIBar bar = h->dev->pci->bar;
    uint8_t off = take8(h);

    qpci_io_readl(pdev, bar, common_cfg(h->dev, off & 0x7c));
    qpci_io_readw(pdev, bar, common_cfg(h->dev, off & 0x7e));
    qpci_io_readb(pdev, bar, h->dev->pci->isr_cfg_offset);
}

static void op_pci(Hostile *h)
{
    QPCIDevice *pdev = h->dev->pci->pdev;
    uint8_t off = take8(h), how = take8(h);

    if (how & 1) {
        qpci_config_readl(pdev, off & ~3);
        return;
    }
    h->pci_changed = true;
    all_dirty(h);
    if (how & 2) {
        qpci_config_writeb(pdev, off, take8(h));
    } else {
        qpci_config_writel(pdev, off & ~3, take32(h));
    }
}

static void op_send(Hostile *h)
{
    static const uint16_t lens[] = { 60, 14, 1, 1514, 590, 4000, 64, 1000 };
    uint8_t pkt[4000];
    uint8_t code = take8(h);
    unsigned len = lens[code % ARRAY_SIZE(lens)];

    if (!h->net) {
        return;
    }
    memset(pkt, code, sizeof(pkt));
    if (code & 64) {
        /* Broadcast, VLAN or multicast */
        memset(pkt, 0xff, 6);
        stw_be_p(pkt + 12, code & 128 ? 0x8100 : 0x0800);
    }
    peer_send(dev_peer(h->dev), pkt, len);
}

static void op_drain(Hostile *h)
{
    size_t len;

    while (h->net && peer_recv(dev_peer(h->dev), &len)) {
        continue;
    }
}

void hostile_step(Hostile *h)
{
    Op op = take8(h) % OP_COUNT;
    unsigned q;

    switch (op) {
    case OP_ADD:
    case OP_ADD_MORE:
        op_add(h);
        break;
    case OP_KICK:
        q = take_queue(h);
        qpci_io_writew(h->dev->pci->pdev, h->dev->pci->bar,
                       h->queue[q].notify, q);
        break;
    case OP_RUN:
        h->host->run();
        break;
    case OP_DESC:
        op_desc(h);
        break;
    case OP_AVAIL:
        op_avail(h);
        break;
    case OP_AVAIL_IDX:
        op_avail_idx(h);
        break;
    case OP_AGAIN:
        op_again(h);
        break;
    case OP_SCRIBBLE:
        op_scribble(h);
        break;
    case OP_CONTENT:
        op_content(h);
        break;
    case OP_EVENT:
        op_event(h);
        break;
    case OP_STATUS:
        all_dirty(h);
        common_write(h, VIRTIO_PCI_COMMON_STATUS, 1, take8(h));
        break;
    case OP_FEATURES:
        all_dirty(h);
        common_write(h, VIRTIO_PCI_COMMON_GFSELECT, 4, take8(h) % 3);
        common_write(h, VIRTIO_PCI_COMMON_GF, 4, take32(h));
        break;
    case OP_RESTART:
        hostile_restart(h);
        break;
    case OP_QUEUE_REG:
        op_queue_reg(h);
        break;
    case OP_QUEUE_RESET:
        q = take_queue(h);
        h->queue[q].clean = false;
        common_write(h, VIRTIO_PCI_COMMON_Q_SELECT, 2, q);
        common_write(h, VIRTIO_PCI_COMMON_Q_RESET, 2, 1);
        break;
    case OP_QUEUE_SETUP:
        q = take_queue(h);
        hostile_queue_setup(h, q, take_num(h));
        /* It may have been enabled */
        h->queue[q].clean = false;
        break;
    case OP_CONFIG:
        op_config(h);
        break;
    case OP_COMMON_READ:
        op_common_read(h);
        break;
    case OP_PCI:
        op_pci(h);
        break;
    case OP_NOTIFY:
        qpci_io_writew(h->dev->pci->pdev, h->dev->pci->bar,
                       h->dev->pci->notify_cfg_offset +
                       4 * (take16(h) % 1024), take8(h));
        break;
    case OP_CLOCK:
        qtest_clock_step(rig->qts, (int64_t)take8(h) * 1000 * 1000);
        break;
    case OP_SEND:
        op_send(h);
        break;
    case OP_DRAIN:
        op_drain(h);
        break;
    case OP_LINK:
        if (h->net && h->host->set_link) {
            h->link_down = !h->link_down;
            h->host->set_link(!h->link_down);
        }
        break;
    case OP_STOP:
        if (h->host->set_running) {
            h->stopped = !h->stopped;
            h->host->set_running(!h->stopped);
        }
        break;
    case OP_COUNT:
        g_assert_not_reached();
    }
}

void hostile_begin(Hostile *h)
{
    unsigned q;

    /* What take_addr() can name; op_add() clears what it takes */
    for (q = 0; q < hostile_queues(h); q++) {
        memset(guest(slot_addr(q, 0), 16 * SLOT_SIZE), 0, 16 * SLOT_SIZE);
    }
    hostile_restart(h);
}
