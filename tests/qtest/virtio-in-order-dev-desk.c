/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: what stands on a desk, that is keyboard, mouse, tablet and screen
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "virtio-in-order-exchange.h"
#include "virtio-in-order-fleet.h"
#include "virtio-in-order-requests.h"
#include "virtio-in-order-traffic.h"
#include "standard-headers/linux/input-event-codes.h"
#include "standard-headers/linux/virtio_gpu.h"

/* Queues of an input device (VIRTIO 1.2, 5.8.2) */
enum { INPUT_EVENTS, INPUT_STATUS };

#define EVENT_LEN   8       /* bytes of an event: type, code, value */

typedef struct Input {
    Dev *dev;
    QVirtQueue *events, *status;
    Exchange x[64];         /* of the event queue */
    unsigned next;          /* the one that is posted next */
} Input;

static void input_start(Input *in, unsigned id)
{
    unsigned i;

    in->dev = dev_start(id, NO_EVENT_IDX);
    in->events = queue_setup(in->dev, INPUT_EVENTS, 0);
    in->status = queue_setup(in->dev, INPUT_STATUS, 0);
    qvirtio_set_driver_ok(in->dev->vdev);
    in->next = 0;
    for (i = 0; i < ARRAY_SIZE(in->x); i++) {
        exchange_init(&in->x[i], 0, EVENT_LEN);
    }
}

static void input_stop(Input *in)
{
    qvirtio_reset(in->dev->vdev);
    queue_free(in->dev, in->events);
    queue_free(in->dev, in->status);
}

/* Gives the device room for @n more events */
static void input_post(Input *in, unsigned n)
{
    Exchange *last = NULL;

    for (; n; n--) {
        last = &in->x[in->next++ % ARRAY_SIZE(in->x)];
        exchange_add(last, in->events, 0, EVENT_LEN);
    }
    exchange_go(last, in->events);
}

/* The next event has to be this one */
static void input_expect(Input *in, uint16_t type, uint16_t code,
                         uint32_t value)
{
    gint64 start = 0;
    Exchange *x;

    while (!(x = exchange_take(in->x, ARRAY_SIZE(in->x), in->events))) {
        wait_a_little(&start, in->events, "input event");
    }
    g_assert_cmpuint(x->len, ==, EVENT_LEN);
    g_assert_cmpuint(lduw_le_p(x->in), ==, type);
    g_assert_cmpuint(lduw_le_p(x->in + 2), ==, code);
    g_assert_cmpuint(ldl_le_p(x->in + 4), ==, value);
}

/* Presses two keys, or lets go of them: two events and their end */
static void press(bool down)
{
    qtest_qmp_assert_success(
        rig->qts, "{'execute': 'input-send-event', 'arguments': {'events': ["
        "{'type': 'key', 'data': {'down': %i, "
            "'key': {'type': 'qcode', 'data': 'a'}}},"
        "{'type': 'key', 'data': {'down': %i, "
            "'key': {'type': 'qcode', 'data': 'b'}}}]}}", down, down);
}

/*
 * Events of all three devices.  If this fails, keys stick or the pointer
 * jumps, because an event is lost, doubled or in the wrong buffer.
 */
void test_input_events(const void *data)
{
    static const unsigned ids[] = {
        FLEET_KEYBOARD, FLEET_MOUSE, FLEET_TABLET,
    };
    unsigned i, round;
    Input in;

    if (!fleet_get(data)) {
        return;
    }
    for (i = 0; i < ARRAY_SIZE(ids); i++) {
        bool abs = ids[i] == FLEET_TABLET;

        input_start(&in, ids[i]);
        for (round = 0; round < 60; round++) {
            input_post(&in, 3);
            if (ids[i] == FLEET_KEYBOARD) {
                press(!(round & 1));
                input_expect(&in, EV_KEY, KEY_A, !(round & 1));
                input_expect(&in, EV_KEY, KEY_B, !(round & 1));
            } else {
                qtest_qmp_assert_success(
                    rig->qts, "{'execute': 'input-send-event', 'arguments': "
                    "{'events': ["
                    "{'type': %s, 'data': {'axis': 'x', 'value': %u}},"
                    "{'type': %s, 'data': {'axis': 'y', 'value': %u}}]}}",
                    abs ? "abs" : "rel", round + 1, abs ? "abs" : "rel",
                    1000 + round);
                input_expect(&in, abs ? EV_ABS : EV_REL, ABS_X, round + 1);
                input_expect(&in, abs ? EV_ABS : EV_REL, ABS_Y, 1000 + round);
            }
            input_expect(&in, EV_SYN, SYN_REPORT, 0);
            fleet_idle(in.dev, in.events);
        }
        input_stop(&in);
    }
}

/*
 * Events that there is no room for: the device takes as many buffers as there
 * are, finds that they are too few, and hands them back unused.  If this
 * fails, they are not taken again, or not in the order of the ring.
 */
void test_input_full(const void *data)
{
    unsigned round;
    Input in;

    if (!fleet_get(data)) {
        return;
    }
    input_start(&in, FLEET_KEYBOARD);
    for (round = 0; round < 60; round++) {
        unsigned few = between(0, 2);
        bool down = !(round & 1);

        if (few) {
            input_post(&in, few);
        }
        press(down);
        press(!down);
        main_loop_rounds();
        g_assert_null(exchange_take(in.x, ARRAY_SIZE(in.x), in.events));
        input_post(&in, 3 - few);
        press(down);
        input_expect(&in, EV_KEY, KEY_A, down);
        input_expect(&in, EV_KEY, KEY_B, down);
        input_expect(&in, EV_SYN, SYN_REPORT, 0);
        fleet_idle(in.dev, in.events);
    }
    input_stop(&in);
}

/*
 * The lamps of the keyboard.  If this fails, the device says that it has
 * written to a buffer that it may only read (VIRTIO 1.2, 2.7.8.2), or does not
 * give it back.
 */
void test_input_status(const void *data)
{
    enum { COUNT = 20 };
    Exchange x[COUNT];
    unsigned round, i;
    Input in;

    if (!fleet_get(data)) {
        return;
    }
    if (base_lacks("lengths of status buffers are wrong")) {
        return;
    }
    input_start(&in, FLEET_KEYBOARD);
    for (i = 0; i < COUNT; i++) {
        exchange_init(&x[i], EVENT_LEN, 0);
    }
    for (round = 0; round < 10; round++) {
        unsigned n = between(1, COUNT);

        for (i = 0; i < n; i++) {
            stw_le_p(x[i].out, EV_LED);
            stw_le_p(x[i].out + 2, i % 2 ? LED_NUML : LED_CAPSL);
            stl_le_p(x[i].out + 4, between(0, 1));
            exchange_add(&x[i], in.status, EVENT_LEN, 0);
        }
        exchange_go(&x[n - 1], in.status);
        exchange_finish(x, COUNT, in.status, "lamps");
        for (i = 0; i < n; i++) {
            g_assert_cmpuint(x[i].len, ==, 0);
        }
        fleet_idle(in.dev, in.status);
    }
    input_stop(&in);
}

/* Queues of the screen (VIRTIO 1.2, 5.7.2) */
enum { GPU_CTRL, GPU_CURSOR };

#define GPU_COMMANDS    16
#define GPU_MEM         512     /* bytes of a command and of an answer */
#define GPU_WIDTH       64
#define GPU_HEIGHT      40
#define GPU_SCREEN      1       /* resource */
#define GPU_POINTER     2       /* resource, 64 by 64 */
#define POINTER_SIZE    64

typedef struct Gpu {
    Dev *dev;
    QVirtQueue *ctrl, *cursor;
    Exchange x[GPU_COMMANDS];
    uint32_t want[GPU_COMMANDS];    /* type of the answer */
    unsigned n;                     /* commands in this burst */
    uint64_t fence;
} Gpu;

static void gpu_start(Gpu *g)
{
    unsigned i;

    g->dev = dev_start(FLEET_GPU, NO_EVENT_IDX);
    g->ctrl = queue_setup(g->dev, GPU_CTRL, 0);
    g->cursor = queue_setup(g->dev, GPU_CURSOR, 0);
    qvirtio_set_driver_ok(g->dev->vdev);
    g->n = 0;
    g->fence = 1000;
    for (i = 0; i < GPU_COMMANDS; i++) {
        exchange_init(&g->x[i], GPU_MEM, GPU_MEM);
    }
}

static void gpu_stop(Gpu *g)
{
    qvirtio_reset(g->dev->vdev);
    queue_free(g->dev, g->ctrl);
    queue_free(g->dev, g->cursor);
}

/* One more command; all but every third are fenced */
static void gpu_command(Gpu *g, uint32_t type, const void *body, size_t len,
                        uint32_t want, size_t answer)
{
    Exchange *x = &g->x[g->n];
    bool fenced = g->n % 3;

    g_assert_cmpuint(g->n, <, GPU_COMMANDS);
    memset(x->out, 0, sizeof(struct virtio_gpu_ctrl_hdr));
    stl_le_p(x->out, type);
    stl_le_p(x->out + 4, fenced ? VIRTIO_GPU_FLAG_FENCE : 0);
    stq_le_p(x->out + 8, fenced ? g->fence + g->n : 0);
    memcpy(x->out + sizeof(struct virtio_gpu_ctrl_hdr), body, len);
    g->want[g->n++] = want;
    exchange_add(x, g->ctrl, sizeof(struct virtio_gpu_ctrl_hdr) + len,
                 answer);
}

#define GPU_COMMAND(g, type, ...) do {                                      \
    const uint32_t body_[] = { __VA_ARGS__ };                               \
    gpu_command(g, type, body_, sizeof(body_), VIRTIO_GPU_RESP_OK_NODATA,   \
                sizeof(struct virtio_gpu_ctrl_hdr));                        \
} while (0)

/* Lets the commands run, all with one kick, and checks the answers */
static void gpu_run(Gpu *g)
{
    unsigned i;

    exchange_go(&g->x[g->n - 1], g->ctrl);
    exchange_finish(g->x, g->n, g->ctrl, "screen commands");
    for (i = 0; i < g->n; i++) {
        Exchange *x = &g->x[i];

        g_assert_cmpuint(x->len, ==, x->in_len);
        g_assert_cmphex(ldl_le_p(x->in), ==, g->want[i]);
        g_assert_cmphex(ldl_le_p(x->in + 4), ==, ldl_le_p(x->out + 4));
        g_assert_cmphex(ldq_le_p(x->in + 8), ==, ldq_le_p(x->out + 8));
    }
    fleet_idle(g->dev, g->ctrl);
    g->n = 0;
    g->fence += GPU_COMMANDS;
}

/* The picture that QEMU shows has to be this one, 0x00RRGGBB for each pixel */
static void screen_check(const uint8_t *pixels)
{
    g_autofree char *name = NULL, *ppm = NULL;
    g_autofree char *head = g_strdup_printf("P6\n%d %d\n255\n", GPU_WIDTH,
                                            GPU_HEIGHT);
    size_t len, at = strlen(head), i;
    int fd = g_file_open_tmp("screen-XXXXXX", &name, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    qtest_qmp_assert_success(rig->qts, "{'execute': 'screendump', "
                             "'arguments': {'filename': %s, 'device': 'gpu'}}",
                             name);
    g_assert_true(g_file_get_contents(name, &ppm, &len, NULL));
    unlink(name);
    g_assert_cmpuint(len, ==, at + 3 * GPU_WIDTH * GPU_HEIGHT);
    g_assert_cmpmem(ppm, at, head, at);
    for (i = 0; i < GPU_WIDTH * GPU_HEIGHT; i++) {
        g_assert_cmphex((uint8_t)ppm[at++], ==, pixels[4 * i + 2]);
        g_assert_cmphex((uint8_t)ppm[at++], ==, pixels[4 * i + 1]);
        g_assert_cmphex((uint8_t)ppm[at++], ==, pixels[4 * i]);
    }
}

/*
 * A picture gets to the screen, by commands of which some are fenced, all in
 * one burst.  If this fails, a command overtakes another or is lost, or the
 * answer of one gets into the buffer of another.
 */
void test_gpu(const void *data)
{
    const size_t size = 4 * GPU_WIDTH * GPU_HEIGHT;
    uint64_t pixels;
    unsigned round;
    Gpu g;

    if (!fleet_get(data)) {
        return;
    }
    gpu_start(&g);
    pixels = guest_alloc(&rig->alloc, size);
    for (round = 0; round < 4; round++) {
        uint64_t half = 4096 * between(1, 2);

        pattern_fill(guest(pixels, size), size, between(1, 1 << 30));
        gpu_command(&g, VIRTIO_GPU_CMD_GET_DISPLAY_INFO, "", 0,
                    VIRTIO_GPU_RESP_OK_DISPLAY_INFO,
                    sizeof(struct virtio_gpu_resp_display_info));
        GPU_COMMAND(&g, VIRTIO_GPU_CMD_RESOURCE_CREATE_2D, GPU_SCREEN,
                    VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM, GPU_WIDTH, GPU_HEIGHT);
        GPU_COMMAND(&g, VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING, GPU_SCREEN, 2,
                    pixels, 0, half, 0,
                    pixels + half, 0, size - half, 0);
        GPU_COMMAND(&g, VIRTIO_GPU_CMD_SET_SCANOUT, 0, 0, GPU_WIDTH,
                    GPU_HEIGHT, 0, GPU_SCREEN);
        GPU_COMMAND(&g, VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D, 0, 0, GPU_WIDTH,
                    GPU_HEIGHT, 0, 0, GPU_SCREEN, 0);
        GPU_COMMAND(&g, VIRTIO_GPU_CMD_RESOURCE_FLUSH, 0, 0, GPU_WIDTH,
                    GPU_HEIGHT, GPU_SCREEN, 0);
        gpu_run(&g);
        screen_check(guest(pixels, size));

        GPU_COMMAND(&g, VIRTIO_GPU_CMD_SET_SCANOUT, 0, 0, 0, 0, 0, 0);
        GPU_COMMAND(&g, VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING, GPU_SCREEN,
                    0);
        GPU_COMMAND(&g, VIRTIO_GPU_CMD_RESOURCE_UNREF, GPU_SCREEN, 0);
        gpu_command(&g, VIRTIO_GPU_CMD_RESOURCE_UNREF, "\x63\0\0\0\0\0\0\0", 8,
                    VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID,
                    sizeof(struct virtio_gpu_ctrl_hdr));
        gpu_run(&g);
    }
    gpu_stop(&g);
}

/*
 * The cursor queue, whose commands have no answer, between commands of the
 * control queue.  If this fails, such buffers do not come back.
 */
void test_gpu_cursor(const void *data)
{
    const size_t size = 4 * POINTER_SIZE * POINTER_SIZE;
    uint64_t pixels;
    unsigned round, i;
    Gpu g;

    if (!fleet_get(data)) {
        return;
    }
    gpu_start(&g);
    pixels = guest_alloc(&rig->alloc, size);
    GPU_COMMAND(&g, VIRTIO_GPU_CMD_RESOURCE_CREATE_2D, GPU_POINTER,
                VIRTIO_GPU_FORMAT_B8G8R8A8_UNORM, POINTER_SIZE, POINTER_SIZE);
    GPU_COMMAND(&g, VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING, GPU_POINTER, 1,
                pixels, 0, size, 0);
    GPU_COMMAND(&g, VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D, 0, 0, POINTER_SIZE,
                POINTER_SIZE, 0, 0, GPU_POINTER, 0);
    gpu_run(&g);
    for (round = 0; round < 10; round++) {
        Exchange x[15];
        unsigned n = between(1, MIN(ARRAY_SIZE(x), g.cursor->size));

        for (i = 0; i < n; i++) {
            struct virtio_gpu_update_cursor *c;

            exchange_init(&x[i], sizeof(*c), 0);
            x[i].plain = true;
            c = (void *)x[i].out;
            memset(c, 0, sizeof(*c));
            stl_le_p(&c->hdr.type, i % 3 ? VIRTIO_GPU_CMD_MOVE_CURSOR :
                     VIRTIO_GPU_CMD_UPDATE_CURSOR);
            stl_le_p(&c->pos.x, i);
            stl_le_p(&c->resource_id, GPU_POINTER);
            exchange_add(&x[i], g.cursor, sizeof(*c), 0);
        }
        exchange_go(&x[n - 1], g.cursor);
        exchange_finish(x, n, g.cursor, "pointer");
        for (i = 0; i < n; i++) {
            g_assert_cmpuint(x[i].len, ==, 0);
        }
        fleet_idle(g.dev, g.cursor);
    }
    gpu_stop(&g);
}
