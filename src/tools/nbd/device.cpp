// The host's kernel as a client: /dev/nbdX (linux/nbd.h).
#include <fcntl.h>
#include <linux/nbd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <thread>

#include "tools/nbd/tool.h"

namespace myna::tools::nbd {

int disconnect(const Settings& s) {
    const int fd = ::open(s.disconnect.c_str(), O_RDWR | O_CLOEXEC);
    if (fd < 0) return s.error("Cannot open " + s.disconnect + ": " + std::strerror(errno));
    const bool ok = ioctl(fd, NBD_CLEAR_QUE) == 0 && ioctl(fd, NBD_DISCONNECT) == 0 && ioctl(fd, NBD_CLEAR_SOCK) == 0;
    const int err = errno;
    ::close(fd);
    if (!ok) return s.error("Cannot disconnect " + s.disconnect + ": " + std::strerror(err));
    std::printf("%s disconnected\n", s.disconnect.c_str());
    return 0;
}

struct KernelClient::State {
    int device = -1, kernel_end = -1;
    std::thread thread;
};

Result<std::unique_ptr<KernelClient>> KernelClient::open(const std::string& device) {
    const int fd = ::open(device.c_str(), O_RDWR | O_CLOEXEC);
    if (fd < 0) return fail_errno(errno, "Failed to open " + device);
    auto k = std::make_unique<KernelClient>();
    k->state_ = std::make_unique<State>();
    k->state_->device = fd;
    return k;
}

Result<int> KernelClient::start(uint64_t size, uint16_t flags) {
    State& s = *state_;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return fail_errno(errno, "socketpair");
    s.kernel_end = pair[1];
    constexpr unsigned long kSector = 512;
    if (ioctl(s.device, NBD_SET_BLKSIZE, kSector) != 0 || ioctl(s.device, NBD_SET_SIZE_BLOCKS, size / kSector) != 0 ||
        ioctl(s.device, NBD_SET_FLAGS, static_cast<unsigned long>(flags)) != 0 || ioctl(s.device, NBD_SET_SOCK, static_cast<unsigned long>(s.kernel_end)) != 0) {
        const int err = errno;
        ::close(pair[0]);
        return fail_errno(err, "Failed to set up the NBD device");
    }
    s.thread = std::thread([fd = s.device] { ioctl(fd, NBD_DO_IT); });
    return pair[0];
}

KernelClient::~KernelClient() {
    if (!state_) return;
    ioctl(state_->device, NBD_DISCONNECT);
    ioctl(state_->device, NBD_CLEAR_SOCK);
    if (state_->kernel_end >= 0) ::shutdown(state_->kernel_end, SHUT_RDWR), ::close(state_->kernel_end);
    if (state_->thread.joinable()) state_->thread.join();
    ::close(state_->device);
}

}  // namespace myna::tools::nbd
