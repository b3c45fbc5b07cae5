/* What subscriber.c needs of C, JSON and ZeroMQ: numbers, sockets with options and keys, whole messages. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zmq.h>
#ifdef ZSTD
#include <zstd.h>
#endif
typedef unsigned char Bytes;
static char key[3][41]; /* for CURVE: the relay's public key, our public one, our secret one */

static uint64_t u(const Bytes *at, int size) { uint64_t v = 0; memcpy(&v, at, size); return v; }
static uint64_t number(const char *json, const char *name) { /* of an object, which ends in {, the sum */
    uint64_t sum = 0;
    if (!json || !(json = strstr(json, name))) return 0;
    if (name[strlen(name) - 1] != '{') return strtoull(json + strlen(name), NULL, 10); /* null is 0 */
    for (json += strlen(name); *json && *json != '}'; json++)
        if (*json == ':') sum += strtoull(json + 1, NULL, 10);
    return sum;
}

static int sound(const Bytes *at, size_t size, unsigned count) { /* whether these are `count` readouts */
    for (size_t n; size >= 19 && !memcmp(at, "\xfe\xdc\xba", 3); at += n, size -= n, count--)
        if ((n = 19 + u(at + 15, 4)) > size || !count) return 0;
    return !size && !count;
}

static int is(zmq_msg_t *frame, const char *text) {
    return zmq_msg_size(frame) == strlen(text) && !memcmp(zmq_msg_data(frame), text, strlen(text));
}
static char *text_of(zmq_msg_t *frame) { /* until the next call; empty if it is no short text */
    static char text[1 << 16];
    size_t n = zmq_msg_size(frame);
    memset(text, 0, sizeof text), memcpy(text, zmq_msg_data(frame), n < sizeof text ? n : 0);
    return text;
}
static int unpack(zmq_msg_t *frame) { /* put the content of a frame of zstd in its place; whether that worked */
#ifdef ZSTD /* cc -DZSTD … -lzstd */
    enum { MAX_CONTENT = 1 << 17 };
    size_t n = zmq_msg_size(frame);
    unsigned long long size = ZSTD_getFrameContentSize(zmq_msg_data(frame), n); /* huge if it tells none */
    zmq_msg_t content;
    if (size > MAX_CONTENT || ZSTD_findFrameCompressedSize(zmq_msg_data(frame), n) != n) return 0;
    zmq_msg_init_size(&content, size);
    int whole = ZSTD_decompress(zmq_msg_data(&content), size, zmq_msg_data(frame), n) == size;
    if (whole) zmq_msg_move(frame, &content);
    zmq_msg_close(&content);
    return whole;
#else
    (void)frame;
    exit(fprintf(stderr, "built without zstd: cc -DZSTD ... -lzstd\n"));
#endif
}

/* Socket options are those that docs/protocol.md recommends. */
static void *open_socket(void *context, int type, const char *endpoint, const char *beat, const char *data) {
    static const int OPTION[][2] = {{ZMQ_LINGER, 0}, {ZMQ_RCVHWM, 1000}, {ZMQ_RECONNECT_IVL_MAX, 500},
                                    {ZMQ_TCP_KEEPALIVE, 1}, {ZMQ_TCP_KEEPALIVE_IDLE, 5}};
    const int ipv6 = strchr(endpoint, '[') != NULL;
    static const int CURVE[] = {ZMQ_CURVE_SERVERKEY, ZMQ_CURVE_PUBLICKEY, ZMQ_CURVE_SECRETKEY};
    void *socket = zmq_socket(context, type);
    for (int i = 0; i < 5; i++) zmq_setsockopt(socket, OPTION[i][0], &OPTION[i][1], sizeof(int));
    for (int i = 0; i < 3 && key[0][0]; i++) zmq_setsockopt(socket, CURVE[i], key[i], 41);
    zmq_setsockopt(socket, ZMQ_IPV6, &ipv6, sizeof ipv6);
    const char *topic[] = {"apx/hello", beat, data};
    for (int i = 0; i < 3 && beat; i++) zmq_setsockopt(socket, ZMQ_SUBSCRIBE, topic[i], strlen(topic[i]));
    if (!zmq_connect(socket, endpoint)) return socket;
    exit(fprintf(stderr, "%s: %s\n", endpoint, zmq_strerror(zmq_errno())));
}

static int receive(void *socket, void (*taker)(zmq_msg_t *, int)) { /* one message, if there is one */
    zmq_msg_t f[3];
    int n = 0, more = 1;
    for (int i = 0; i < 3; i++) zmq_msg_init(&f[i]);
    for (; more; more = zmq_msg_more(&f[n < 3 ? n : 2]), n++) /* no message has more than 3 frames */
        if (zmq_msg_recv(&f[n < 3 ? n : 2], socket, n ? 0 : ZMQ_DONTWAIT) < 0) return 0;
    if (n <= 3) taker(f, n);
    for (int i = 0; i < 3; i++) zmq_msg_close(&f[i]);
    return 1;
}

static void read_key(const char *path, const char *format, char *into) {
    char line[200];
    FILE *file = fopen(path, "r");
    while (file && !*into && fgets(line, sizeof line, file)) sscanf(line, format, into);
    if (!*into) exit(fprintf(stderr, "%s: no key\n", path));
    fclose(file);
}
static void read_keys(const char *relay, const char *ours) { /* files that `astropix-relay keygen` writes */
    read_key(relay, " public-key = \"%40[^\"]", key[0]);
    read_key(ours, " public-key = \"%40[^\"]", key[1]);
    read_key(ours, " secret-key = \"%40[^\"]", key[2]);
}
static double clock_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}
