#include "net/stream.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace myna::net {

namespace {
constexpr size_t kMostParts = 64;
}

Stream::Stream(io::Reactor& reactor, int fd) : reactor_(reactor), fd_(fd), writing_(reactor) {
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
}

Stream::~Stream() {
    if (fd_ >= 0) ::close(fd_);
}

int Stream::release() noexcept { return std::exchange(fd_, -1); }

void Stream::shutdown() noexcept {
    broken_ = true;
    if (fd_ >= 0) ::shutdown(fd_, SHUT_RDWR);
}

ssize_t Stream::receive_now(std::span<const iovec> into) {
    msghdr m{};
    m.msg_iov = const_cast<iovec*>(into.data());
    m.msg_iovlen = into.size();
    const ssize_t n = ::recvmsg(fd_, &m, 0);
    return n < 0 ? -errno : n;
}

ssize_t Stream::send_now(std::span<const iovec> from) {
    msghdr m{};
    m.msg_iov = const_cast<iovec*>(from.data());
    m.msg_iovlen = from.size();
    const ssize_t n = ::sendmsg(fd_, &m, MSG_NOSIGNAL);
    return n < 0 ? -errno : n;
}

Task<Result<size_t>> Stream::receive(std::span<const iovec> into) {
    for (;;) {
        const ssize_t n = receive_now(into);
        if (n >= 0) co_return static_cast<size_t>(n);
        if (n == -EINTR) continue;
        if (n != -EAGAIN) {
            broken_ = true;
            co_return fail_errno(static_cast<int>(-n), "Failed to read from the connection");
        }
        co_await reactor_.poll(fd_, POLLIN);
    }
}

Task<Result<size_t>> Stream::read_some(void* into, size_t bytes) {
    if (head_ == tail_) {
        const iovec part{buffer_.data(), buffer_.size()};
        const auto n = co_await receive({&part, 1});
        if (!n) co_return n;
        head_ = 0;
        tail_ = *n;
    }
    const size_t n = std::min(bytes, tail_ - head_);
    std::memcpy(into, buffer_.data() + head_, n);
    head_ += n;
    co_return n;
}

Task<Result<void>> Stream::read(void* into, size_t bytes) {
    if (bytes == 0) co_return Result<void>{};  // `into` may be null then
    if (tail_ - head_ >= bytes) {
        std::memcpy(into, buffer_.data() + head_, bytes);
        head_ += bytes;
        co_return Result<void>{};
    }
    co_return co_await read(IoVec(into, bytes));
}

Task<Result<void>> Stream::read(const IoVec& into) {
    ended_ = false;
    size_t done = std::min(tail_ - head_, into.size());
    if (done > 0) {
        into.slice(0, done).copy_from(buffer_.data() + head_);
        head_ += done;
    }
    while (done < into.size()) {
        const IoVec rest = done == 0 ? into : into.slice(done, into.size() - done);
        // The buffer takes what comes behind: the next headers.
        std::array<iovec, kMostParts + 1> parts;
        const size_t count = std::min(rest.parts().size(), kMostParts);
        std::copy_n(rest.parts().begin(), count, parts.begin());
        const bool last = count == rest.parts().size();
        if (last) parts[count] = {buffer_.data(), buffer_.size()};
        const auto n = co_await receive({parts.data(), count + (last ? 1 : 0)});
        if (!n) co_return std::unexpected(n.error());
        if (*n == 0) {
            ended_ = done == 0;
            broken_ = true;
            co_return fail(ErrorKind::kIo, "Unexpected end-of-file before all data were read", EPIPE);
        }
        const size_t left = into.size() - done;
        done += std::min(*n, left);
        if (*n > left) {
            head_ = 0;
            tail_ = *n - left;
        }
    }
    co_return Result<void>{};
}

Task<Result<void>> Stream::send_all(const IoVec& from) {
    for (size_t done = 0; done < from.size();) {
        if (broken_) co_return fail(ErrorKind::kIo, "The connection is closed", EPIPE);
        const IoVec rest = done == 0 ? from : from.slice(done, from.size() - done);
        const ssize_t n = send_now(rest.parts().first(std::min(rest.parts().size(), kMostParts)));
        if (n >= 0) {
            done += static_cast<size_t>(n);
        } else if (n == -EAGAIN) {
            co_await reactor_.poll(fd_, POLLOUT);
        } else if (n != -EINTR) {
            broken_ = true;
            co_return fail_errno(static_cast<int>(-n), "Failed to write to the connection");
        }
    }
    co_return Result<void>{};
}

Task<Result<void>> Stream::write(const IoVec& from) {
    const auto alone = co_await writing_.lock();
    co_return co_await send_all(from);
}

Task<Result<void>> Stream::write(std::span<const uint8_t> from) {
    co_return co_await write(IoVec(const_cast<uint8_t*>(from.data()), from.size()));
}

Task<Result<bool>> Stream::write_file(const IoVec& head, int fd, uint64_t offset, uint64_t bytes) {
    if (!plain()) co_return false;
    const auto alone = co_await writing_.lock();
    if (auto r = co_await send_all(head); !r) co_return std::unexpected(r.error());
    auto at = static_cast<off_t>(offset);
    while (bytes > 0) {
        if (broken_) co_return fail(ErrorKind::kIo, "The connection is closed", EPIPE);
        const ssize_t n = ::sendfile(fd_, fd, &at, bytes);
        if (n > 0) {
            bytes -= static_cast<uint64_t>(n);
        } else if (n < 0 && errno == EAGAIN) {
            co_await reactor_.poll(fd_, POLLOUT);
        } else if (n == 0 || errno != EINTR) {
            const int err = n == 0 ? EIO : errno;
            shutdown();  // the peer waits for bytes that will not come
            co_return fail_errno(err, "Failed to send file data");
        }
    }
    co_return true;
}

}  // namespace myna::net
