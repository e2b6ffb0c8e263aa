#include "net/address.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace myna::net {

namespace {

struct Closing {
    int fd;
    ~Closing() {
        if (fd >= 0) ::close(fd);
    }
    int take() noexcept { return std::exchange(fd, -1); }
};

Result<std::pair<sockaddr_un, socklen_t>> unix_name(const std::string& path) {
    sockaddr_un u{};
    u.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof u.sun_path)
        return fail(ErrorKind::kInvalidArgument, "UNIX socket path '" + path + "' is " + (path.empty() ? "empty" : "too long (at most 107 bytes)"));
    std::memcpy(u.sun_path, path.data(), path.size());
    socklen_t length = sizeof u;
    if (path[0] == '@') {
        u.sun_path[0] = 0;
        length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
    }
    return std::pair{u, length};
}

struct Resolved {
    addrinfo* list = nullptr;
    ~Resolved() {
        if (list != nullptr) freeaddrinfo(list);
    }
};

Result<void> resolve(const Address& a, bool passive, Resolved& out) {
    addrinfo want{};
    want.ai_socktype = SOCK_STREAM;
    want.ai_family = a.ipv4 == a.ipv6 ? AF_UNSPEC : a.ipv4 ? AF_INET : AF_INET6;
    want.ai_flags = passive ? AI_PASSIVE : AI_ADDRCONFIG;
    if (const int e = getaddrinfo(a.host.empty() ? nullptr : a.host.c_str(), a.port.c_str(), &want, &out.list); e != 0)
        return fail(ErrorKind::kNotFound, "address resolution failed for " + a.text() + ": " + gai_strerror(e));
    return {};
}

}  // namespace

std::string Address::text() const {
    switch (kind) {
        case Kind::kUnix: return path;
        case Kind::kFd: return "fd " + std::to_string(fd);
        case Kind::kInet: break;
    }
    return (host.find(':') != std::string::npos ? "[" + host + "]" : host) + ":" + port;
}

void widen_buffers(int fd) noexcept {
    int domain = 0;
    socklen_t n = sizeof domain;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) != 0) return;
    if (domain == AF_UNIX) {
        const int bytes = 2 << 20;
        if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) != 0) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    } else {
        const int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    }
}

Result<std::vector<int>> listen_on(const Address& a, int backlog) {
    if (a.kind == Address::Kind::kFd) {
        fcntl(a.fd, F_SETFL, fcntl(a.fd, F_GETFL) | O_NONBLOCK);
        return std::vector{a.fd};
    }
    if (a.kind == Address::Kind::kUnix) {
        const auto name = unix_name(a.path);
        if (!name) return std::unexpected(name.error());
        Closing s{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
        if (s.fd < 0) return fail_errno(errno, "Failed to create a unix socket");
        struct stat st {};
        if (a.path[0] != '@' && ::lstat(a.path.c_str(), &st) == 0 && S_ISSOCK(st.st_mode)) ::unlink(a.path.c_str());
        if (::bind(s.fd, reinterpret_cast<const sockaddr*>(&name->first), name->second) != 0)
            return fail_errno(errno, "Failed to bind socket to " + a.path);
        if (::listen(s.fd, backlog) != 0) return fail_errno(errno, "Failed to listen on socket");
        return std::vector{s.take()};
    }
    Resolved r;
    if (auto ok = resolve(a, true, r); !ok) return std::unexpected(ok.error());
    std::vector<int> out;
    int error = EADDRNOTAVAIL;
    for (const addrinfo* i = r.list; i != nullptr; i = i->ai_next) {
        Closing s{::socket(i->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
        if (s.fd < 0) continue;
        const int on = 1;
        setsockopt(s.fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (i->ai_family == AF_INET6) setsockopt(s.fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
        if (::bind(s.fd, i->ai_addr, i->ai_addrlen) != 0 || ::listen(s.fd, backlog) != 0) {
            error = errno;
            continue;
        }
        out.push_back(s.take());
    }
    if (out.empty()) return fail_errno(error, "Failed to find an available port");
    return out;
}

Task<Result<int>> accept_at(io::Reactor& reactor, int listener) {
    for (;;) {
        const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) co_return fd;
        if (errno == EINTR || errno == ECONNABORTED) continue;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            co_await reactor.sleep(std::chrono::milliseconds(100));
            continue;
        }
        if (errno != EAGAIN) co_return fail_errno(errno, "accept");
        // A unix listener that was shut down goes on saying EAGAIN.
        if (const auto events = co_await reactor.poll(listener, POLLIN); events < 0 || (events & (POLLHUP | POLLERR | POLLNVAL)) != 0)
            co_return fail(ErrorKind::kInterrupted, "the listening socket was shut down");
    }
}

namespace {
Task<Result<void>> finish_connecting(io::Reactor& reactor, int fd, const sockaddr* to, socklen_t length, const std::string& name,
                                     std::chrono::steady_clock::time_point deadline) {
    for (;;) {
        if (::connect(fd, to, length) == 0 || errno == EISCONN) co_return Result<void>{};
        if (errno != EINPROGRESS && errno != EALREADY && errno != EINTR && errno != EAGAIN) co_return fail_errno(errno, "Failed to connect to '" + name + "'");
        const bool full = errno == EAGAIN;  // a unix listener whose backlog is full
        if (std::chrono::steady_clock::now() > deadline) co_return fail_errno(ETIMEDOUT, "Failed to connect to '" + name + "'");
        pollfd p{fd, POLLOUT, 0};
        if (full || ::poll(&p, 1, 0) == 0) {
            co_await reactor.sleep(std::chrono::milliseconds(2));
            continue;
        }
        int error = 0;
        socklen_t n = sizeof error;
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n);
        if (error != 0) co_return fail_errno(error, "Failed to connect to '" + name + "'");
        co_return Result<void>{};
    }
}
}  // namespace

Task<Result<std::unique_ptr<Stream>>> connect_to(io::Reactor& reactor, const Address& a, std::chrono::nanoseconds timeout) {
    using Clock = std::chrono::steady_clock;
    const auto deadline = timeout.count() == 0 ? Clock::time_point::max() : Clock::now() + timeout;
    if (a.kind == Address::Kind::kFd) co_return std::make_unique<Stream>(reactor, a.fd);
    if (a.kind == Address::Kind::kUnix) {
        const auto name = unix_name(a.path);
        if (!name) co_return std::unexpected(name.error());
        Closing s{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
        if (s.fd < 0) co_return fail_errno(errno, "Failed to create a unix socket");
        if (auto r = co_await finish_connecting(reactor, s.fd, reinterpret_cast<const sockaddr*>(&name->first), name->second, a.path, deadline); !r)
            co_return std::unexpected(r.error());
        widen_buffers(s.fd);
        co_return std::make_unique<Stream>(reactor, s.take());
    }
    Resolved list;
    if (auto ok = resolve(a, false, list); !ok) co_return std::unexpected(ok.error());
    Error last{ErrorKind::kNotFound, "Failed to connect to '" + a.text() + "'", 0};
    for (const addrinfo* i = list.list; i != nullptr; i = i->ai_next) {
        Closing s{::socket(i->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
        if (s.fd < 0) continue;
        auto r = co_await finish_connecting(reactor, s.fd, i->ai_addr, i->ai_addrlen, a.text(), deadline);
        if (r) {
            widen_buffers(s.fd);
            co_return std::make_unique<Stream>(reactor, s.take());
        }
        last = r.error();
    }
    co_return std::unexpected(last);
}

}  // namespace myna::net
