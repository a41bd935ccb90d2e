/* A closed-loop HTTP load: every connection repeats the same request as soon as its reply is complete.
 *
 * Usage: load PORT CONNECTIONS WARM_SECONDS SECONDS REQUEST_FILE PID...
 *
 * The connections open one after another over the first half of the warm-up. Only replies that end within the window
 * after it count, and of streams all events that arrive within it. The processor time of the processes PID (user + system,
 * all threads) is read at the window's two ends. Prints one line of JSON. A stream is complete when its last chunk
 * has arrived, and valid if "[DONE]" came before it. Its first token is the first
 * content that arrives: the event with the role, before it, has none.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_EVENTS = 256, HEAD_BYTES = 8192, READ_BYTES = 65536, TAIL_BYTES = 32 };
/* Latencies in steps of 10 us up to 10 s. */
enum { STEP_US = 10, STEPS = 1000000 };

struct conn {
    int fd;
    int64_t began;
    size_t sent;
    char head[HEAD_BYTES + 1];
    size_t head_used;
    int in_body, status, chunked;
    long left;      /* bytes of the body, or of this chunk, still to come */
    int chunk_size; /* 1 = a size line is being read, 2 = the line end after a chunk, 3 = after the last chunk */
    char line[64];
    size_t line_used;
    char tail[TAIL_BYTES]; /* the body's last bytes */
    size_t tail_used;
    int64_t first; /* when the stream's first content arrived, 0 = not yet */
};

static const char *request;
static size_t request_len;
static int poller, port;
static int64_t window_start, window_end;
static unsigned *histogram, *first_histogram;
static int in_window;
static long count, firsts, events_seen, bad_status, bad_end, broken;
static char bad_sample[512];

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static double cpu_seconds(int pids, char **pid) {
    double sum = 0;
    for (int i = 0; i < pids; i++) {
        char path[64], text[1024];
        snprintf(path, sizeof path, "/proc/%s/stat", pid[i]);
        FILE *file = fopen(path, "r");
        if (!file) continue;
        size_t got = fread(text, 1, sizeof text - 1, file);
        fclose(file);
        text[got] = 0;
        unsigned long user, system;
        char *after = strrchr(text, ')');
        if (after && sscanf(after + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) == 2)
            sum += (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
    }
    return sum;
}

static void watch(struct conn *c, uint32_t events, int operation) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    epoll_ctl(poller, operation, c->fd, &event);
}

static void push(struct conn *c) {
    while (c->sent < request_len) {
        ssize_t done = send(c->fd, request + c->sent, request_len - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (done < 0) {
            if (errno == EAGAIN) watch(c, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
            return;
        }
        c->sent += (size_t)done;
    }
}

static void begin(struct conn *c) {
    c->began = now_us();
    c->sent = c->head_used = c->tail_used = c->line_used = 0;
    c->in_body = c->status = c->chunked = c->chunk_size = 0;
    c->left = 0;
    c->first = 0;
    push(c);
}

static void connect_again(struct conn *c) {
    int on = 1;
    if (c->fd >= 0) close(c->fd);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to)) {
        perror("load: connect");
        exit(1);
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event);
    begin(c);
}

static void finish(struct conn *c) {
    int64_t now = now_us();
    int good_end = !c->chunked || memmem(c->tail, c->tail_used, "[DONE]", 6) != NULL;
    if (c->status < 200 || c->status > 299) {
        bad_status++;
        snprintf(bad_sample, sizeof bad_sample, "status %d", c->status);
    } else if (!good_end) {
        bad_end++;
    } else if (now >= window_start && now < window_end) {
        int64_t step = (now - c->began) / STEP_US;
        histogram[step < STEPS ? step : STEPS - 1]++;
        count++;
    }
    begin(c);
}

static void note_first(struct conn *c) {
    c->first = now_us();
    if (!in_window || c->began < window_start) return;
    int64_t step = (c->first - c->began) / STEP_US;
    first_histogram[step < STEPS ? step : STEPS - 1]++;
    firsts++;
}

/* Tells whether the fake provider's content is in these bytes; its beginning may be at the end of those before. */
static int has_content(const struct conn *c, const char *data, size_t size) {
    static const char content[] = " token";
    enum { LENGTH = sizeof content - 1 };
    char seam[2 * LENGTH];
    size_t before = c->tail_used < LENGTH ? c->tail_used : LENGTH, after = size < LENGTH ? size : LENGTH;
    memcpy(seam, c->tail + c->tail_used - before, before);
    memcpy(seam + before, data, after);
    return memmem(seam, before + after, content, LENGTH) != NULL || memmem(data, size, content, LENGTH) != NULL;
}

static void keep_tail(struct conn *c, const char *data, size_t size) {
    if (!c->first && c->chunked && has_content(c, data, size)) note_first(c);
    if (in_window)
        for (const char *at = data; (at = memmem(at, size - (size_t)(at - data), "data: ", 6)); at += 6) events_seen++;
    if (size >= TAIL_BYTES) {
        memcpy(c->tail, data + size - TAIL_BYTES, TAIL_BYTES);
        c->tail_used = TAIL_BYTES;
        return;
    }
    if (c->tail_used + size > TAIL_BYTES) {
        size_t cut = c->tail_used + size - TAIL_BYTES;
        memmove(c->tail, c->tail + cut, c->tail_used - cut);
        c->tail_used -= cut;
    }
    memcpy(c->tail + c->tail_used, data, size);
    c->tail_used += size;
}

/* Reads the head; returns how many of the bytes belonged to it, or -1 if it is not HTTP. */
static ssize_t read_head(struct conn *c, const char *data, size_t size) {
    size_t before = c->head_used;
    size_t fits = HEAD_BYTES - before < size ? HEAD_BYTES - before : size;
    memcpy(c->head + before, data, fits);
    c->head_used += fits;
    char *end = memmem(c->head, c->head_used, "\r\n\r\n", 4);
    if (!end) return c->head_used == HEAD_BYTES ? -1 : (ssize_t)size;
    *end = 0;
    if (sscanf(c->head, "HTTP/1.%*d %d", &c->status) != 1) return -1;
    c->left = -1;
    for (char *line = strstr(c->head, "\r\n"); line; line = strstr(line + 2, "\r\n")) {
        if (!strncasecmp(line + 2, "content-length:", 15)) c->left = atol(line + 17);
        if (!strncasecmp(line + 2, "transfer-encoding: chunked", 26)) c->chunked = 1, c->chunk_size = 1, c->left = 0;
    }
    if (c->left < 0) return -1;
    c->in_body = 1;
    return (ssize_t)((size_t)(end - c->head) + 4 - before);
}

/* Consumes the reply's bytes; returns 0 if they are not HTTP. */
static int feed(struct conn *c, const char *data, size_t size) {
    while (size > 0 || (c->in_body && !c->chunked && c->left == 0)) {
        if (!c->in_body) {
            ssize_t taken = read_head(c, data, size);
            if (taken < 0) return 0;
            data += taken;
            size -= (size_t)taken;
            continue;
        }
        if (c->left > 0) {
            size_t part = (size_t)c->left < size ? (size_t)c->left : size;
            keep_tail(c, data, part);
            c->left -= (long)part;
            data += part;
            size -= part;
            if (c->left == 0 && c->chunked) c->chunk_size = 2;
            continue;
        }
        if (!c->chunked) {
            finish(c);
            return 1;
        }
        char byte = *data++;
        size--;
        if (byte != '\n') {
            if (byte != '\r' && c->line_used < sizeof c->line - 1) c->line[c->line_used++] = byte;
            continue;
        }
        c->line[c->line_used] = 0;
        c->line_used = 0;
        if (c->chunk_size == 2) {
            c->chunk_size = 1;
        } else if (c->chunk_size == 1) {
            c->left = strtol(c->line, NULL, 16);
            if (c->left == 0) c->chunk_size = 3;
        } else {
            finish(c);
            return 1;
        }
    }
    return 1;
}

static long percentile(const unsigned *of, long all, double share) {
    long wanted = (long)((double)all * share), seen = 0;
    for (long step = 0; step < STEPS; step++) {
        seen += of[step];
        if (seen > wanted) return step * STEP_US;
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 6) return fputs("usage: load PORT CONNECTIONS WARM_SECONDS SECONDS REQUEST_FILE PID...\n", stderr), 2;
    signal(SIGPIPE, SIG_IGN);
    port = atoi(argv[1]);
    int connections = atoi(argv[2]), pids = argc - 6;
    FILE *file = fopen(argv[5], "r");
    if (!file) return perror("load: request"), 1;
    char *text = malloc(1 << 20);
    request_len = fread(text, 1, 1 << 20, file);
    fclose(file);
    request = text;
    histogram = calloc(STEPS, sizeof *histogram);
    first_histogram = calloc(STEPS, sizeof *first_histogram);
    poller = epoll_create1(0);
    struct conn *conns = calloc((size_t)connections, sizeof *conns);
    int64_t start = now_us();
    window_start = start + (int64_t)(atof(argv[3]) * 1e6);
    window_end = INT64_MAX;
    int open = 0;
    double cpu = 0, cpu_end = 0;
    int64_t opened = 0;
    struct epoll_event events[MAX_EVENTS];
    char *data = malloc(READ_BYTES);
    for (;;) {
        int64_t now = now_us();
        while (open < connections && now >= start + (window_start - start) / 2 / connections * open) {
            conns[open].fd = -1;
            connect_again(&conns[open++]);
        }
        if (!opened && now >= window_start) {
            cpu = cpu_seconds(pids, argv + 6);
            opened = window_start = now_us();
            window_end = window_start + (int64_t)(atof(argv[4]) * 1e6);
            in_window = 1;
        }
        if (now >= window_end) break;
        int got = epoll_wait(poller, events, MAX_EVENTS, 1);
        for (int i = 0; i < got; i++) {
            struct conn *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT) {
                watch(c, EPOLLIN, EPOLL_CTL_MOD);
                push(c);
            }
            if (!(events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) continue;
            ssize_t size = recv(c->fd, data, READ_BYTES, MSG_DONTWAIT);
            if (size < 0 && errno == EAGAIN) continue;
            if (size <= 0 || !feed(c, data, (size_t)size)) {
                broken++;
                connect_again(c);
            }
        }
    }
    cpu_end = cpu_seconds(pids, argv + 6);
    double seconds = (double)(now_us() - window_start) / 1e6;
    printf("{\"requests\": %ld, \"events\": %ld, \"seconds\": %.6f, \"cpu_seconds\": %.6f, \"p50_us\": %ld, \"p99_us\": %ld, "
           "\"first_p99_us\": %ld, \"bad_status\": %ld, \"bad_end\": %ld, \"broken\": %ld, \"sample\": \"%s\"}\n",
           count, events_seen, seconds, cpu_end - cpu, percentile(histogram, count, 0.5), percentile(histogram, count, 0.99),
           percentile(first_histogram, firsts, 0.99), bad_status, bad_end, broken,
           bad_sample);
    return 0;
}
