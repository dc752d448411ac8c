/* listen.c - the listening socket.  Connections are accepted here and handed to libmicrohttpd, so that
 * one too many gets a 503 instead of silence, and a process without descriptors rests instead of spinning. */
#include "server/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/log.h"

enum {
    BACKLOG = 1024,
    ACCEPTS_PER_TURN = 64, /* so that a flood of connections does not keep streams waiting */
    SEND_BUFFER =
        256 << 10, /* of the kernel, a connection: a client that does not read may not cost megabytes */
    DESCRIPTORS_OF_OWN = 128 /* files, epoll, lingering sockets */
};

static int parse_address(const struct options *o, struct sockaddr_storage *address, socklen_t *len,
                         struct error *e)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;
    const char *host = strcmp(o->host, "localhost") == 0 ? "127.0.0.1" : o->host;
    memset(address, 0, sizeof *address);
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)o->port);
        *len = sizeof *v4;
        return 0;
    }
    if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)o->port);
        *len = sizeof *v6;
        return 0;
    }
    return error_param(e, ERROR_BAD_OPTION, "--host", "--host: '%.100s' is not a numeric address", o->host);
}

static unsigned bound_port(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        return 0;
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                               : ((struct sockaddr_in *)&address)->sin_port);
}

int listen_open(struct server *s, struct error *e)
{
    const struct options *o = s->options;
    struct sockaddr_storage address;
    socklen_t len = 0;
    int one = 1, room = SEND_BUFFER;
    TRY(parse_address(o, &address, &len, e));
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_set(e, ERROR_INTERNAL, "cannot make a socket: %s", strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room); /* accepted sockets inherit it */
    if (bind(fd, (struct sockaddr *)&address, len) < 0 || listen(fd, BACKLOG) < 0) {
        error_set(e, ERROR_INTERNAL, "cannot listen on %s port %llu: %s", o->host,
                  (unsigned long long)o->port, errno == EADDRINUSE ? "the port is in use" : strerror(errno));
        close(fd);
        return -1;
    }
    s->listen_fd = fd;
    s->port = bound_port(fd);
    return 0;
}

void listen_raise_limit(struct server *s)
{
    struct rlimit limit;
    rlim_t need = s->options->max_connections + DESCRIPTORS_OF_OWN;
    s->max_connections = s->options->max_connections;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= need)
        return;
    limit.rlim_cur = limit.rlim_max == RLIM_INFINITY || limit.rlim_max >= need ? need : limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur < need) {
        getrlimit(RLIMIT_NOFILE, &limit);
        s->max_connections = limit.rlim_cur > 2 * DESCRIPTORS_OF_OWN ? limit.rlim_cur - DESCRIPTORS_OF_OWN
                                                                     : limit.rlim_cur / 2;
        log_warning("only %zu connections: this process may open %llu files", s->max_connections,
                    (unsigned long long)limit.rlim_cur);
    }
}

static void refuse(struct server *s, int fd)
{
    struct error e = {0};
    error_set(&e, ERROR_STALLED, "all %zu connections of this server are in use", s->max_connections);
    s->metrics.connections_refused++;
    connection_refuse(fd, NULL, &e, 1);
    connection_linger(s, fd);
    close(fd);
}

static void accept_one(struct server *s, int fd, struct sockaddr_storage *address, socklen_t len)
{
    int one = 1;
    if (s->n_connections >= s->max_connections) {
        refuse(s, fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    s->metrics.connections_accepted++;
    if (MHD_add_connection(s->daemon, fd, (struct sockaddr *)address, len) != MHD_YES)
        log_warning("cannot take a connection: %s", strerror(errno)); /* it has closed the socket */
    loop_kick(s);
}

static void on_connections(uv_poll_t *handle, int status, int events)
{
    struct server *s = handle->data;
    (void)status, (void)events;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        struct sockaddr_storage address;
        socklen_t len = sizeof address;
        int fd = accept4(s->listen_fd, (struct sockaddr *)&address, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            accept_one(s, fd, &address, len);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            log_warning("cannot accept a connection: %s", strerror(errno));
            uv_poll_stop(&s->listener); /* the sweep starts it again */
            s->accept_paused = true;
        }
        if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

int listen_start(struct server *s, struct error *e)
{
    s->accept_paused = false;
    int status = uv_poll_start(&s->listener, UV_READABLE, on_connections);
    return status ? error_set(e, ERROR_INTERNAL, "cannot watch the socket: %s", uv_strerror(status)) : 0;
}

void listen_stop(struct server *s)
{
    uv_poll_stop(&s->listener);
    close(s->listen_fd);
    s->listen_fd = -1;
}
