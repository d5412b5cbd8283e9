/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTest: devices that compute or serve what they are asked for: ciphers and
 * files
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "virtio-in-order-exchange.h"
#include "virtio-in-order-fleet.h"
#include "virtio-in-order-requests.h"
#include "virtio-in-order-traffic.h"
#include "standard-headers/linux/virtio_crypto.h"

/* Queues of the crypto device with one data queue (VIRTIO 1.2, 5.9.2) */
enum { CRYPTO_DATA, CRYPTO_CTRL };

#define AES_BLOCK       16

typedef struct Crypto {
    Dev *dev;
    QVirtQueue *data, *ctrl;
} Crypto;

/* A session with an AES key in CBC mode; returns its id */
static uint64_t session_create(Crypto *c, const uint8_t *key, bool encrypt)
{
    struct virtio_crypto_op_ctrl_req *req;
    struct virtio_crypto_cipher_session_para *para;
    struct virtio_crypto_session_input *in;
    Exchange x;

    exchange_init(&x, sizeof(*req) + AES_BLOCK, sizeof(*in));
    req = (void *)x.out;
    in = (void *)x.in;
    para = &req->u.sym_create_session.u.cipher.para;
    memset(x.out, 0, sizeof(*req));
    stl_le_p(&req->header.opcode, VIRTIO_CRYPTO_CIPHER_CREATE_SESSION);
    stl_le_p(&req->header.algo, VIRTIO_CRYPTO_CIPHER_AES_CBC);
    stl_le_p(&para->algo, VIRTIO_CRYPTO_CIPHER_AES_CBC);
    stl_le_p(&para->keylen, AES_BLOCK);
    stl_le_p(&para->op, encrypt ? VIRTIO_CRYPTO_OP_ENCRYPT :
             VIRTIO_CRYPTO_OP_DECRYPT);
    stl_le_p(&req->u.sym_create_session.op_type, VIRTIO_CRYPTO_SYM_OP_CIPHER);
    memcpy(x.out + sizeof(*req), key, AES_BLOCK);
    exchange_one(&x, c->ctrl, x.out_max, x.in_max, "new session");
    g_assert_cmpuint(x.len, ==, sizeof(*in));
    g_assert_cmpuint(ldl_le_p(&in->status), ==, VIRTIO_CRYPTO_OK);
    return ldq_le_p(&in->session_id);
}

static void session_destroy(Crypto *c, uint64_t id)
{
    struct virtio_crypto_op_ctrl_req *req;
    Exchange x;

    exchange_init(&x, sizeof(*req), 1);
    req = (void *)x.out;
    memset(x.out, 0, sizeof(*req));
    stl_le_p(&req->header.opcode, VIRTIO_CRYPTO_CIPHER_DESTROY_SESSION);
    stq_le_p(&req->u.destroy_session.session_id, id);
    exchange_one(&x, c->ctrl, x.out_max, 1, "end of session");
    g_assert_cmpuint(x.len, ==, 1);
    g_assert_cmpuint(x.in[0], ==, VIRTIO_CRYPTO_OK);
}

/* Adds a request whose result will be the first @len bytes of @x->in */
static void cipher_add(Crypto *c, Exchange *x, uint64_t session, bool encrypt,
                       const uint8_t *iv, const uint8_t *from, size_t len)
{
    struct virtio_crypto_op_data_req *req = (void *)x->out;
    struct virtio_crypto_cipher_para *para = &req->u.sym_req.u.cipher.para;

    memset(req, 0, sizeof(*req));
    stl_le_p(&req->header.opcode, encrypt ? VIRTIO_CRYPTO_CIPHER_ENCRYPT :
             VIRTIO_CRYPTO_CIPHER_DECRYPT);
    stq_le_p(&req->header.session_id, session);
    stl_le_p(&para->iv_len, AES_BLOCK);
    stl_le_p(&para->src_data_len, len);
    stl_le_p(&para->dst_data_len, len);
    stl_le_p(&req->u.sym_req.op_type, VIRTIO_CRYPTO_SYM_OP_CIPHER);
    memcpy(x->out + sizeof(*req), iv, AES_BLOCK);
    memcpy(x->out + sizeof(*req) + AES_BLOCK, from, len);
    exchange_add(x, c->data, sizeof(*req) + AES_BLOCK + len, len + 1);
}

static void cipher_run(Crypto *c, Exchange *x, unsigned n)
{
    unsigned i;

    exchange_go(&x[n - 1], c->data);
    exchange_finish(x, n, c->data, "ciphers");
    for (i = 0; i < n; i++) {
        g_assert_cmpuint(x[i].len, ==, x[i].in_len);
        g_assert_cmpuint(x[i].in[x[i].in_len - 1], ==, VIRTIO_CRYPTO_OK);
    }
    fleet_idle(c->dev, c->data);
}

/*
 * Sessions, and many requests for each kick.  If this fails, a result gets
 * into the buffer of another request, or is encrypted under another session.
 */
void test_crypto(const void *data)
{
    /* NIST SP 800-38A, F.2.1 */
    static const uint8_t key[] = {
        0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6,
        0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf, 0x4f, 0x3c,
    }, iv[] = {
        0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07,
        0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f,
    }, plain[] = {
        0x6b, 0xc1, 0xbe, 0xe2, 0x2e, 0x40, 0x9f, 0x96,
        0xe9, 0x3d, 0x7e, 0x11, 0x73, 0x93, 0x17, 0x2a,
        0xae, 0x2d, 0x8a, 0x57, 0x1e, 0x03, 0xac, 0x9c,
        0x9e, 0xb7, 0x6f, 0xac, 0x45, 0xaf, 0x8e, 0x51,
    }, secret[] = {
        0x76, 0x49, 0xab, 0xac, 0x81, 0x19, 0xb2, 0x46,
        0xce, 0xe9, 0x8e, 0x9b, 0x12, 0xe9, 0x19, 0x7d,
        0x50, 0x86, 0xcb, 0x9b, 0x50, 0x72, 0x19, 0xee,
        0x95, 0xdb, 0x11, 0x3a, 0x91, 0x76, 0x78, 0xb2,
    };
    enum { COUNT = 40, MAX = 512 };
    Exchange x[COUNT], y[COUNT];
    uint64_t enc, dec;
    unsigned round, i;
    Crypto c;

    if (!fleet_get(data)) {
        return;
    }
    c.dev = dev_start(FLEET_CRYPTO, NO_EVENT_IDX);
    c.data = queue_setup(c.dev, CRYPTO_DATA, 0);
    c.ctrl = queue_setup(c.dev, CRYPTO_CTRL, 0);
    qvirtio_set_driver_ok(c.dev->vdev);
    for (i = 0; i < COUNT; i++) {
        size_t head = sizeof(struct virtio_crypto_op_data_req) + AES_BLOCK;

        exchange_init(&x[i], head + MAX, MAX + 1);
        exchange_init(&y[i], head + MAX, MAX + 1);
    }
    for (round = 0; round < 5; round++) {
        enc = session_create(&c, key, true);
        dec = session_create(&c, key, false);

        cipher_add(&c, &x[0], enc, true, iv, plain, sizeof(plain));
        cipher_add(&c, &x[1], dec, false, iv, secret, sizeof(secret));
        cipher_run(&c, x, 2);
        g_assert_cmpmem(x[0].in, sizeof(secret), secret, sizeof(secret));
        g_assert_cmpmem(x[1].in, sizeof(plain), plain, sizeof(plain));

        /* There and back: both directions mixed the second time */
        for (i = 0; i < COUNT; i++) {
            uint8_t from[MAX];

            pattern_fill(from, MAX, i);
            cipher_add(&c, &x[i], enc, true, iv, from,
                       AES_BLOCK * between(1, MAX / AES_BLOCK));
        }
        cipher_run(&c, x, COUNT);
        for (i = 0; i < COUNT; i++) {
            cipher_add(&c, &y[i], i % 3 ? dec : enc, !(i % 3), iv, x[i].in,
                       x[i].in_len - 1);
        }
        cipher_run(&c, y, COUNT);
        for (i = 0; i < COUNT; i++) {
            uint8_t want[MAX];

            pattern_fill(want, MAX, i);
            g_assert_cmpint(!memcmp(y[i].in, want, y[i].in_len - 1), ==,
                            !!(i % 3));
        }
        session_destroy(&c, enc);
        session_destroy(&c, dec);
        fleet_idle(c.dev, c.ctrl);
    }
    qvirtio_reset(c.dev->vdev);
    queue_free(c.dev, c.data);
    queue_free(c.dev, c.ctrl);
}

/* Messages of 9P2000.L; an answer has the next higher number */
enum {
    P9_LERROR = 7, P9_LOPEN = 12, P9_GETATTR = 24, P9_READDIR = 40,
    P9_VERSION = 100, P9_ATTACH = 104, P9_FLUSH = 108, P9_WALK = 110,
    P9_WRITE = 118, P9_CLUNK = 120,
};

#define P9_HEAD         7       /* bytes: size, type, tag */
#define P9_MSIZE        4096
#define P9_NOTAG        0xffff
#define P9_ROOT         0       /* fids */
#define P9_FILE         1
#define P9_DIR          2

/* Files that the synthetic file system has under qtest */
#define BLOCKING_FILE   "FLUSH"
#define DIRECTORY       "ReadDirDir"

/* Builds a message: "b", "w", "d" and "q" are numbers, "s" is a string */
static void p9_add(Exchange *x, QVirtQueue *vq, uint8_t type, uint16_t tag,
                   const char *fmt, ...)
{
    uint8_t *p = x->out + P9_HEAD;
    const char *s;
    va_list ap;

    va_start(ap, fmt);
    for (; *fmt; fmt++) {
        switch (*fmt) {
        case 'b':
            *p++ = va_arg(ap, int);
            break;
        case 'w':
            stw_le_p(p, va_arg(ap, int));
            p += 2;
            break;
        case 'd':
            stl_le_p(p, va_arg(ap, uint32_t));
            p += 4;
            break;
        case 'q':
            stq_le_p(p, va_arg(ap, uint64_t));
            p += 8;
            break;
        case 's':
            s = va_arg(ap, const char *);
            stw_le_p(p, strlen(s));
            memcpy(p + 2, s, strlen(s));
            p += 2 + strlen(s);
            break;
        default:
            g_assert_not_reached();
        }
    }
    va_end(ap);
    stl_le_p(x->out, p - x->out);
    x->out[4] = type;
    stw_le_p(x->out + 5, tag);
    exchange_add(x, vq, p - x->out, P9_MSIZE);
}

static void p9_check(Exchange *x, size_t len)
{
    g_assert_cmpuint(x->in[4], ==, x->out[4] + 1);
    g_assert_cmpuint(lduw_le_p(x->in + 5), ==, lduw_le_p(x->out + 5));
    g_assert_cmpuint(ldl_le_p(x->in), ==, x->len);
    if (len) {
        g_assert_cmpuint(x->len, ==, len);
    }
}

#define P9_CALL(x, vq, type, tag, len, ...) do {                            \
    p9_add(x, vq, type, tag, __VA_ARGS__);                                  \
    exchange_go(x, vq);                                                     \
    exchange_finish(x, 1, vq, "9p, set up");                                \
    p9_check(x, len);                                                       \
} while (0)

static Dev *p9_start(QVirtQueue **vq)
{
    Dev *dev = dev_start(FLEET_9P, NO_EVENT_IDX);
    Exchange x;

    *vq = queue_setup(dev, 0, 0);
    qvirtio_set_driver_ok(dev->vdev);
    exchange_init(&x, 256, P9_MSIZE);
    P9_CALL(&x, *vq, P9_VERSION, P9_NOTAG, 21, "ds", P9_MSIZE, "9P2000.L");
    P9_CALL(&x, *vq, P9_ATTACH, 0, 20, "ddssd", P9_ROOT, UINT32_MAX, "", "",
            getuid());
    P9_CALL(&x, *vq, P9_WALK, 0, 22, "ddws", P9_ROOT, P9_FILE, 1,
            BLOCKING_FILE);
    P9_CALL(&x, *vq, P9_LOPEN, 0, 24, "dd", P9_FILE, O_WRONLY);
    P9_CALL(&x, *vq, P9_WALK, 0, 22, "ddws", P9_ROOT, P9_DIR, 1, DIRECTORY);
    P9_CALL(&x, *vq, P9_LOPEN, 0, 24, "dd", P9_DIR, O_RDONLY | O_DIRECTORY);
    return dev;
}

/*
 * Many requests in flight, which QEMU's threads serve in any order.  If this
 * fails, an answer gets into the buffer of another request, or requests do not
 * come back in order.
 */
void test_9p(const void *data)
{
    enum { COUNT = 20 };
    Exchange x[COUNT];
    unsigned round, i;
    QVirtQueue *vq;
    Dev *dev;

    if (!fleet_get(data)) {
        return;
    }
    dev = p9_start(&vq);
    for (i = 0; i < COUNT; i++) {
        exchange_init(&x[i], 256, P9_MSIZE);
    }
    for (round = 0; round < 10; round++) {
        for (i = 0; i < COUNT; i++) {
            switch (between(0, 3)) {
            case 0:
                p9_add(&x[i], vq, P9_GETATTR, i, "dq", P9_ROOT,
                       UINT64_MAX);
                break;
            case 1:
                p9_add(&x[i], vq, P9_READDIR, i, "dqd", P9_DIR, (uint64_t)0,
                       1024);
                break;
            case 2:
                /* Nothing to write does not block */
                p9_add(&x[i], vq, P9_WRITE, i, "dqdb", P9_FILE, (uint64_t)0,
                       1, 0);
                break;
            default:
                p9_add(&x[i], vq, P9_WALK, i, "ddws", P9_ROOT, 100 + i, 1,
                       DIRECTORY);
                break;
            }
        }
        exchange_go(&x[COUNT - 1], vq);
        exchange_finish(x, COUNT, vq, "9p, many");
        for (i = 0; i < COUNT; i++) {
            size_t len = 0;

            switch (x[i].out[4]) {
            case P9_GETATTR:
                len = 160;
                break;
            case P9_WRITE:
                len = 11;
                g_assert_cmpuint(ldl_le_p(x[i].in + P9_HEAD), ==, 1);
                break;
            case P9_WALK:
                len = 22;
                break;
            default:
                g_assert_cmpuint(x[i].len, >, 200);
                break;
            }
            p9_check(&x[i], len);
        }
        for (i = 0; i < COUNT; i++) {
            if (x[i].out[4] == P9_WALK) {
                P9_CALL(&x[i], vq, P9_CLUNK, i, P9_HEAD, "d", 100 + i);
            }
        }
        fleet_idle(dev, vq);
    }
    qvirtio_reset(dev->vdev);
    queue_free(dev, vq);
}

/*
 * Requests that complete in an order that the test chooses: writes block until
 * they are flushed.  If this fails, what has to be kept back is not, or is not
 * returned once what it waits for is done; without in-order, it is kept back
 * for no reason.
 */
void test_9p_reverse(const void *data)
{
    enum { COUNT = 5 };
    const Mode *mode = data;
    Exchange x[2 * COUNT];
    unsigned round, i;
    QVirtQueue *vq;
    Dev *dev;

    if (!fleet_get(mode)) {
        return;
    }
    dev = p9_start(&vq);
    for (i = 0; i < 2 * COUNT; i++) {
        exchange_init(&x[i], 256, P9_MSIZE);
    }
    for (round = 0; round < 8; round++) {
        unsigned order[COUNT], held = 0;

        for (i = 0; i < COUNT; i++) {
            p9_add(&x[i], vq, P9_WRITE, i, "dqdb", P9_FILE, (uint64_t)0, 1,
                   1);
            order[i] = COUNT - 1 - i;
        }
        exchange_go(&x[COUNT - 1], vq);
        main_loop_rounds();
        for (i = COUNT; round && i > 1; i--) {
            unsigned j = between(0, i - 1), last = order[i - 1];

            order[i - 1] = order[j];
            order[j] = last;
        }
        for (i = 0; i < COUNT; i++) {
            Exchange *flush = &x[COUNT + i];

            p9_add(flush, vq, P9_FLUSH, 100 + i, "w", order[i]);
            exchange_go(flush, vq);
            flush->done = x[order[i]].done = true;
            held = MAX(held, exchange_completed(x, 2 * COUNT, dev, vq,
                                                "9p, flushed"));
        }
        /* The first flush at least had to wait for the other writes */
        g_assert_cmpuint(held, >=, mode->in_order);
        exchange_finish(x, 2 * COUNT, vq, "9p, all flushed");
        for (i = 0; i < COUNT; i++) {
            /* A write that was cancelled has no answer */
            g_assert_cmpuint(x[i].len, ==, 0);
            p9_check(&x[COUNT + i], P9_HEAD);
        }
        fleet_idle(dev, vq);
    }
    qvirtio_reset(dev->vdev);
    queue_free(dev, vq);
}
