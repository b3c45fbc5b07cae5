/* A subscriber in C, written from docs/protocol.md: gaps, restarts, heartbeats, silence, history, CURVE.
 *     cc -O2 -Wall -o subscriber subscriber.c -lzmq    (for slow lines, --zstd: -DZSTD … -lzmq -lzstd)
 *     ./subscriber [--zstd] ENDPOINT [STREAM [RELAY.key OURS.key_secret]]
 * Prints the account, a line of JSON, whenever something has changed. For little-endian machines. */
#include "plumbing.h"
enum { HEADER = 56, COMPRESSED = 2, READOUT = 19, SOURCE = 18, MAX_HELD = 1024, MAX_SOURCES = 64, TO_US = 3, KEPT = 1000 };
static const char *PLACE[] = {"before_socket", "relay_kernel", "relay_rejected", "relay_to_client"};
static const char *KEY[] = {"\"before_socket\":", "\"in_kernel\":", "\"rejected\":{"};
static struct { zmq_msg_t header, payload; } held[MAX_HELD]; /* data messages that wait behind a gap */
static struct { Bytes name[SOURCE]; uint32_t last; int restarted; } source[MAX_SOURCES];
static char beat[90], data[90], host[200], *stream = "astropix";
static void *context, *live, *history;
static uint64_t relay_id, expected, seen, missed, stride = 1, lost[4], base[3], latest[3], asked, ids, n_delivered;
static int slow, known, counted, gave_up, port, restarts, sources, n_held, changed = 1;
static uint32_t delivered[KEPT]; /* the latest readout_ids */
static double now, heard, asked_at, asked_first; /* s, without those in which we were stopped */
static void lose(uint64_t until) {
    for (; expected < until; expected = until, changed = 1) lost[TO_US] += until - expected, missed += until - expected;
}
static void count_step(const Bytes *name, uint32_t id) { /* of the first readout of a source after a restart */
    int i = 0;
    while (i < sources && memcmp(source[i].name, name, SOURCE)) i++;
    if (i == sources && i == MAX_SOURCES) memset(&source[--i], 0, sizeof *source); /* too many: forget one */
    else if (i == sources) sources++;
    uint32_t ahead = id - source[i].last;
    if (source[i].restarted && ahead && ahead <= stride << 20 && (ahead - 1) / stride > missed) /* else a new run */
        lost[0] += (ahead - 1) / stride - missed;
    source[i].last = id, source[i].restarted = 0, memcpy(source[i].name, name, SOURCE);
}
static void deliver(const Bytes *header, const Bytes *at) {
    uint64_t n = u(header + 16, 8), end = n + u(header + 6, 2);
    for (lose(n); n < end; n++, at += READOUT + u(at + 15, 4)) {
        if (n < expected) continue; /* known already */
        uint32_t id = u(at + 3, 4); /* the readout itself: READOUT + u(at + 15, 4) bytes at `at` */
        count_step(header + 32, id);
        delivered[n_delivered++ % KEPT] = id, expected = n + 1, missed = 0, changed = 1;
    }
}
static void drop_oldest(void) {
    zmq_msg_close(&held[0].header), zmq_msg_close(&held[0].payload), memmove(held, held + 1, --n_held * sizeof *held);
}
static uint64_t gap_end(void) { return n_held ? u((Bytes *)zmq_msg_data(&held[0].header) + 16, 8) : seen; }
static void settle(void) { /* deliver up to the next gap that history may fill */
    for (; gap_end() <= expected || !port || gave_up; drop_oldest()) {
        lose(gap_end());
        if (!n_held) { gave_up = 0; return; }
        deliver(zmq_msg_data(&held[0].header), zmq_msg_data(&held[0].payload));
    }
}
static void give_up(void) { gave_up = 1; settle(); }
static void follow(const Bytes *header) {
    if (!known) known = 1, expected = seen = u(header + 16, 8); /* what came before was never ours */
    else if (u(header + 8, 8) != relay_id) {
        give_up();
        for (int i = 0; i < 3; i++) lost[i] += latest[i] - base[i], latest[i] = base[i] = 0;
        for (int i = 0; i < sources; i++) source[i].restarted = 1;
        restarts++, expected = seen = 0, counted = 1, changed = 1; /* all that the new relay counts is ours */
    }
    relay_id = u(header + 8, 8);
}
static void take(zmq_msg_t *f, int frames) {
    Bytes *h = zmq_msg_data(&f[1]);
    if (frames == 3 && (zmq_msg_size(&f[1]) < HEADER || memcmp(h, "APXR\1", 5))) return;
    int is_data = frames == 3 && is(&f[0], data);
    if (is_data && slow && h[5] & COMPRESSED && !unpack(&f[2])) return;
    size_t last = zmq_msg_size(&f[frames - 1]);
    char name[80], *text = text_of(&f[frames - 1]);
    if (frames == 1 && last > 10 && !memcmp(text, "apx/hello", 10)) {
        snprintf(name, sizeof name, "\"%s\":{", stream);
        port = number(text + 10, "\"history_port\":"), gave_up = 0;
        stride = number(strstr(text + 10, name), "\"stride\":"), stride += !stride;
    }
    uint64_t end = frames == 3 ? u(h + 16, 8) + u(h + 6, 2) : 0;
    if (frames == 3 && is(&f[0], beat) && strstr(text, "\"totals\":{")) {
        if (slow && !known) return; /* what is compressed begins a moment after the heartbeats */
        follow(h);
        for (int i = 0; i < 3; i++) latest[i] = number(strstr(text, "\"totals\":{"), KEY[i]);
        if (!counted) memcpy(base, latest, sizeof base);
        counted = 1, changed = 1, stride = strstr(text, "\"stride\":") ? number(text, "\"stride\":") : stride;
    } else if (is_data && (slow || end > u(h + 16, 8)) && sound(zmq_msg_data(&f[2]), last, u(h + 6, 2))) {
        follow(h);
        if (n_held == MAX_HELD) drop_oldest(); /* history has it, too */
        zmq_msg_init(&held[n_held].header), zmq_msg_move(&held[n_held].header, &f[1]);
        zmq_msg_init(&held[n_held].payload), zmq_msg_move(&held[n_held++].payload, &f[2]);
    } else return;
    seen = end > seen ? end : seen;
    settle();
}
static void take_answer(zmq_msg_t *f, int frames) {
    Bytes *a = zmq_msg_data(&f[0]), *page = zmq_msg_data(&f[1]);
    if (frames != 2 || zmq_msg_size(&f[0]) < HEADER || memcmp(a, "APXA\1", 5) || !asked || u(a + 8, 8) != asked)
        return;
    uint64_t begin = u(a + 40, 8), end = u(a + 48, 8), stop = gap_end();
    asked = 0;
    if (stop > expected && a[5]) give_up();
    if (stop <= expected || a[5]) return;
    for (size_t at = 0, n, size = zmq_msg_size(&f[1]); at + 4 + HEADER <= size; at += 4 + HEADER + n) {
        Bytes *h = page + at + 4;
        if ((n = u(page + at, 4)) > size - at - 4 - HEADER || !sound(h + HEADER, n, u(h + 6, 2))) break;
        if (u(h + 16, 8) < stop) deliver(h, h + HEADER);
    }
    end = end > begin ? end : begin, lose(end < stop ? end : stop), settle();
}
static void ask(void) {
    Bytes request[104] = "APXQ\1\1";
    char endpoint[220];
    uint64_t end = gap_end(), again = asked;
    if (end <= expected) { asked = 0; return; }
    if (asked && now - asked_first > 5) { asked = 0; give_up(); return; }
    if (asked && now - asked_at < 2) return;
    if (asked) zmq_close(history), history = NULL; /* the answer may have been lost with its connection */
    snprintf(endpoint, sizeof endpoint, "%s:%d", host, port);
    if (!history) history = open_socket(context, ZMQ_DEALER, endpoint, NULL, NULL);
    asked = ++ids, asked_at = now, asked_first = again ? asked_first : now;
    memcpy(request + 8, (uint64_t[]){asked, relay_id, expected, end}, 32);
    memcpy(request + 40, stream, strlen(stream));
    zmq_send(history, request, 40 + strlen(stream), ZMQ_DONTWAIT);
}
static void print_account(void) {
    uint64_t first = n_delivered > KEPT ? n_delivered - KEPT : 0;
    printf("{\"count\": %llu, \"delivered\": [", (unsigned long long)n_delivered);
    for (uint64_t i = first; i < n_delivered; i++) printf("%s%u", i > first ? ", " : "", delivered[i % KEPT]);
    printf("], \"restarts\": %d, \"lost\": {", restarts);
    for (int i = 0; i < 4; i++) {
        unsigned long long count = lost[i] + (i < TO_US ? latest[i] - base[i] : 0);
        printf("%s\"%s\": %llu", i ? ", " : "", PLACE[i], count);
    }
    printf("}}\n"), fflush(stdout), changed = 0;
}
int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "--zstd")) slow = 1, argc--, argv++;
    if (argc < 2) return fprintf(stderr, "subscriber [--zstd] ENDPOINT [STREAM [RELAY.key OURS.key_secret]]\n"), 2;
    if (argc > 2) stream = argv[2];
    if (argc > 4) read_keys(argv[3], argv[4]);
    snprintf(beat, sizeof beat, "apx/%.64s/beat", stream);
    snprintf(data, sizeof data, "apx%s/%.64s/data", slow ? "z" : "", stream);
    snprintf(host, sizeof host, "%.*s", (int)(strrchr(argv[1], ':') - argv[1]), argv[1]);
    context = zmq_ctx_new(), live = open_socket(context, ZMQ_SUB, argv[1], beat, data);
    for (;;) {
        double before = clock_s(), turn;
        zmq_pollitem_t items[] = {{live, 0, ZMQ_POLLIN, 0}, {history, 0, ZMQ_POLLIN, 0}};
        zmq_poll(items, history ? 2 : 1, 100);
        now += (turn = clock_s() - before) < 0.2 ? turn : 0.2; /* more: we were stopped */
        while (receive(live, take)) heard = now;
        while (history && receive(history, take_answer)) {}
        ask();
        if (now - heard > 5) zmq_close(live), live = open_socket(context, ZMQ_SUB, argv[1], beat, data), heard = now;
        if (changed) print_account();
    }
}
