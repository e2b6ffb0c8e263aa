// Bytes sent through pipes and a socket pair, with poll between.
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../kernel.h"

int main(int argc, char** argv) {
    int p[2], s[2];
    if (pipe(p) || socketpair(AF_UNIX, SOCK_STREAM, 0, s)) return 1;
    char buffer[512];
    memset(buffer, 'x', sizeof buffer);
    uint64_t sum = 0;
    for (long i = rounds(argc, argv, 30000); i > 0; i--) {
        buffer[0] = (char)i;
        if (write(p[1], buffer, sizeof buffer) < 0) return 1;
        struct pollfd fd = {p[0], POLLIN, 0};
        sum += (uint64_t)poll(&fd, 1, 0);
        sum += (uint64_t)read(p[0], buffer, sizeof buffer) + (uint8_t)buffer[0];
        if (send(s[0], buffer, 64, 0) < 0) return 1;
        sum += (uint64_t)recv(s[1], buffer, sizeof buffer, 0);
    }
    return report(sum);
}
