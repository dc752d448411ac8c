/* tcp_counters.h - the kernel's own counts of a TCP connection. */
#ifndef LOQUAT_SERVER_TCP_COUNTERS_H
#define LOQUAT_SERVER_TCP_COUNTERS_H

#include <stdint.h>

struct tcp_counters {
    uint64_t received, acked; /* bytes: from the peer, and of ours taken by the peer's kernel */
    uint64_t unsent;          /* bytes written to the socket that the peer has not acknowledged */
};

/* -1 when the descriptor is no TCP socket. */
int tcp_counters_read(int fd, struct tcp_counters *out);

#endif
