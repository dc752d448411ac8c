/* tcp_counters.c - a file of its own because linux/tcp.h, which knows the byte counts, does not live with
 * netinet/tcp.h, which libuv includes.  Caller: connection.c, on the loop. */
#include "server/tcp_counters.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

int tcp_counters_read(int fd, struct tcp_counters *out)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof info;
    int unsent = 0;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 || ioctl(fd, SIOCOUTQ, &unsent) < 0)
        return -1;
    out->received = info.tcpi_bytes_received;
    out->acked = info.tcpi_bytes_acked;
    out->unsent = unsent > 0 ? (uint64_t)unsent : 0;
    return 0;
}
