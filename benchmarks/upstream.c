/* A fake OpenAI-type provider that costs a few microseconds a request, so that it is never the bottleneck.
 *
 * Usage: upstream GAP_US CHUNKS PORT...
 *
 * The first letter of the request's "model" selects the reply:
 *   u  one JSON reply of 400 bytes
 *   b  a stream of 50 chunks, sent at once
 *   p  a stream of CHUNKS chunks, one every GAP_US microseconds
 * A usage chunk follows if the body asks for it. Prints "ready" when it listens.
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

enum { CHUNKS = 50, MAX_FD = 65536, MAX_EVENTS = 256, REPLY_BYTES = 400 };

struct conn {
    char *in;
    size_t in_used, in_size;
    char *out; /* bytes that the socket has not accepted yet */
    size_t out_used, out_size;
    int paced_left; /* chunks still to send, 0 = no paced stream is open */
    int wants_usage;
    unsigned generation;
};

struct due {
    int64_t at;
    int fd;
    unsigned generation;
};

static struct conn *conns[MAX_FD];
static unsigned generations[MAX_FD];
static int poller;
static int64_t gap_us;
static int paced_chunks;
/* All gaps are equal, so the connection served last is due last: a ring serves as timer queue. */
static struct due ring[MAX_FD];
static unsigned ring_head, ring_tail;

static char unary[2048], stream_head[256], burst[32768], burst_usage[32768], first[512], chunk[512], tail[1024],
    tail_usage[1024];
static size_t unary_len, stream_head_len, burst_len, burst_usage_len, first_len, chunk_len, tail_len, tail_usage_len;

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* Append one SSE event in a frame of its own. */
static size_t frame(char *to, const char *json) {
    return (size_t)sprintf(to, "%zx\r\ndata: %s\n\n\r\n", strlen(json) + 8, json);
}

static void make_replies(void) {
    const char *usage = "{\"prompt_tokens\":19,\"completion_tokens\":50,\"total_tokens\":69}";
    char json[1024], padded[1024], text[512] = "";
    const char *shape = "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\",\"created\":1760000000,\"model\":\"bench\","
                        "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"%s\"},"
                        "\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":%s}";
    int bare = snprintf(json, sizeof json, shape, "", usage);
    memset(text, 'x', (size_t)(REPLY_BYTES - bare));
    snprintf(padded, sizeof padded, shape, text, usage);
    unary_len = (size_t)sprintf(unary, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s",
                                strlen(padded), padded);
    stream_head_len = (size_t)sprintf(stream_head, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
                                                   "transfer-encoding: chunked\r\n\r\n");
    const char *part = "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,"
                       "\"model\":\"bench\",\"choices\":[{\"index\":0,\"delta\":%s,\"logprobs\":null,\"finish_reason\":%s}]}";
    snprintf(json, sizeof json, part, "{\"role\":\"assistant\",\"content\":\"\"}", "null");
    first_len = frame(first, json);
    snprintf(json, sizeof json, part, "{\"content\":\" token\"}", "null");
    chunk_len = frame(chunk, json);
    snprintf(json, sizeof json, part, "{}", "\"stop\"");
    tail_len = frame(tail, json);
    memcpy(tail_usage, tail, tail_len);
    snprintf(json, sizeof json,
             "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\"model\":\"bench\","
             "\"choices\":[],\"usage\":%s}", usage);
    tail_usage_len = tail_len + frame(tail_usage + tail_len, json);
    const char *end = "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";
    /* "data: [DONE]\n\n" is 14 bytes, 0xe. */
    strcpy(tail + tail_len, end);
    tail_len += strlen(end);
    strcpy(tail_usage + tail_usage_len, end);
    tail_usage_len += strlen(end);

    char *to = burst;
    memcpy(to, stream_head, stream_head_len), to += stream_head_len;
    memcpy(to, first, first_len), to += first_len;
    for (int i = 0; i < CHUNKS; i++) memcpy(to, chunk, chunk_len), to += chunk_len;
    memcpy(burst_usage, burst, (size_t)(to - burst));
    burst_usage_len = (size_t)(to - burst) + tail_usage_len;
    memcpy(burst_usage + (to - burst), tail_usage, tail_usage_len);
    memcpy(to, tail, tail_len);
    burst_len = (size_t)(to - burst) + tail_len;
}

static void drop(int fd) {
    struct conn *c = conns[fd];
    conns[fd] = NULL;
    generations[fd]++;
    close(fd);
    if (c) {
        free(c->in);
        free(c->out);
        free(c);
    }
}

static void watch(int fd, uint32_t events, int operation) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    epoll_ctl(poller, operation, fd, &event);
}

/* Returns 0 if the connection is closed. */
static int put(int fd, const char *data, size_t size) {
    struct conn *c = conns[fd];
    if (c->out_used == 0) {
        ssize_t done = send(fd, data, size, MSG_NOSIGNAL);
        if (done < 0 && errno != EAGAIN) return drop(fd), 0;
        if (done < 0) done = 0;
        if ((size_t)done == size) return 1;
        data += done;
        size -= (size_t)done;
        watch(fd, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
    }
    if (c->out_used + size > c->out_size) {
        c->out_size = (c->out_used + size) * 2;
        c->out = realloc(c->out, c->out_size);
    }
    memcpy(c->out + c->out_used, data, size);
    c->out_used += size;
    return 1;
}

static void flush(int fd) {
    struct conn *c = conns[fd];
    ssize_t done = send(fd, c->out, c->out_used, MSG_NOSIGNAL);
    if (done < 0) {
        if (errno != EAGAIN) drop(fd);
        return;
    }
    memmove(c->out, c->out + done, c->out_used - (size_t)done);
    c->out_used -= (size_t)done;
    if (c->out_used == 0) watch(fd, EPOLLIN, EPOLL_CTL_MOD);
}

static void later(int fd) {
    ring[ring_tail % MAX_FD] = (struct due){now_us() + gap_us, fd, conns[fd]->generation};
    ring_tail++;
}

static int answer(int fd, const char *body, size_t size) {
    struct conn *c = conns[fd];
    const char *name = memmem(body, size, "\"model\"", 7);
    char kind = 'u';
    if (name) {
        const char *at = name + 7, *end = body + size;
        while (at < end && (*at == ' ' || *at == ':' || *at == '"')) at++;
        if (at < end) kind = *at;
    }
    if (kind == 'u') return put(fd, unary, unary_len);
    int usage = memmem(body, size, "include_usage", 13) != NULL;
    if (kind == 'b') return usage ? put(fd, burst_usage, burst_usage_len) : put(fd, burst, burst_len);
    c->wants_usage = usage;
    c->paced_left = paced_chunks;
    if (!put(fd, stream_head, stream_head_len) || !put(fd, first, first_len)) return 0;
    later(fd);
    return 1;
}

static void pace(void) {
    int64_t now = now_us();
    while (ring_head != ring_tail && ring[ring_head % MAX_FD].at <= now) {
        struct due due = ring[ring_head++ % MAX_FD];
        struct conn *c = conns[due.fd];
        if (!c || c->generation != due.generation || c->paced_left == 0) continue;
        if (!put(due.fd, chunk, chunk_len)) continue;
        if (--c->paced_left > 0)
            later(due.fd);
        else if (c->wants_usage)
            put(due.fd, tail_usage, tail_usage_len);
        else
            put(due.fd, tail, tail_len);
    }
}

/* Answers every complete request in the buffer; returns 0 if the connection is closed. */
static int serve(int fd) {
    for (;;) {
        struct conn *c = conns[fd];
        char *end = memmem(c->in, c->in_used, "\r\n\r\n", 4);
        if (!end) return 1;
        size_t head = (size_t)(end - c->in) + 4, length = 0;
        for (char *line = c->in; line < end;) {
            char *next = memmem(line, (size_t)(end - line) + 2, "\r\n", 2);
            if (!strncasecmp(line, "content-length:", 15)) length = strtoul(line + 15, NULL, 10);
            line = next + 2;
        }
        if (c->in_used < head + length) return 1;
        if (length == 0) {
            /* A health check or a list of models. */
            const char *none = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 27\r\n\r\n"
                               "{\"object\":\"list\",\"data\":[]}";
            if (!put(fd, none, strlen(none))) return 0;
        } else if (!answer(fd, c->in + head, length)) {
            return 0;
        }
        c->in_used -= head + length;
        memmove(c->in, c->in + head + length, c->in_used);
    }
}

static void take(int fd) {
    struct conn *c = conns[fd];
    for (;;) {
        if (c->in_size - c->in_used < 16384) {
            c->in_size = c->in_size ? c->in_size * 2 : 32768;
            c->in = realloc(c->in, c->in_size);
        }
        ssize_t got = recv(fd, c->in + c->in_used, c->in_size - c->in_used, 0);
        if (got == 0 || (got < 0 && errno != EAGAIN)) {
            drop(fd);
            return;
        }
        if (got < 0) return;
        c->in_used += (size_t)got;
        size_t room = c->in_size - c->in_used;
        if (!serve(fd)) return;
        if (room > 0) return; /* the socket returned less than fits: it is empty */
    }
}

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 4096)) {
        perror("upstream: listen");
        exit(1);
    }
    return fd;
}

int main(int argc, char **argv) {
    if (argc < 4) return fputs("usage: upstream GAP_US CHUNKS PORT...\n", stderr), 2;
    signal(SIGPIPE, SIG_IGN);
    gap_us = atol(argv[1]);
    paced_chunks = atoi(argv[2]);
    make_replies();
    poller = epoll_create1(0);
    int listeners = argc - 3, listener[16];
    for (int i = 0; i < listeners && i < 16; i++) {
        listener[i] = listen_on(atoi(argv[3 + i]));
        watch(listener[i], EPOLLIN, EPOLL_CTL_ADD);
    }
    puts("ready");
    fflush(stdout);
    struct epoll_event events[MAX_EVENTS];
    for (;;) {
        int timeout = -1;
        if (ring_head != ring_tail) {
            int64_t left = ring[ring_head % MAX_FD].at - now_us();
            timeout = left <= 0 ? 0 : (int)(left / 1000) + 1;
        }
        int count = epoll_wait(poller, events, MAX_EVENTS, timeout);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd, is_listener = 0;
            for (int k = 0; k < listeners; k++) is_listener |= fd == listener[k];
            if (is_listener) {
                int made, on = 1;
                while ((made = accept4(fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    if (made >= MAX_FD) {
                        close(made);
                        continue;
                    }
                    setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                    conns[made] = calloc(1, sizeof(struct conn));
                    conns[made]->generation = generations[made];
                    watch(made, EPOLLIN, EPOLL_CTL_ADD);
                }
                continue;
            }
            if (conns[fd] && (events[i].events & EPOLLOUT)) flush(fd);
            if (conns[fd] && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) take(fd);
        }
        pace();
    }
}
