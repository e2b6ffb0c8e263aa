// Where to listen and connect: TCP (host and port), unix sockets, descriptors somebody gave us.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "net/stream.h"

namespace myna::net {

struct Address {
    enum class Kind : uint8_t { kInet, kUnix, kFd } kind = Kind::kInet;
    std::string host;   // empty: all of this host (listen)
    std::string port;   // number or service name
    std::string path;   // unix; a leading '@' is the abstract name space
    int fd = -1;
    bool ipv4 = true, ipv6 = true;

    /// "localhost:10809", "/run/x.sock": as messages name it.
    [[nodiscard]] std::string text() const;
};

/// Listening sockets (one for each address that `a` resolves to), non-blocking. A unix socket's stale file is replaced.
Result<std::vector<int>> listen_on(const Address& a, int backlog);
/// Resolving blocks; connecting does not. `timeout` zero: none.
Task<Result<std::unique_ptr<Stream>>> connect_to(io::Reactor& reactor, const Address& a, std::chrono::nanoseconds timeout = {});
/// The next connection at the listening socket; an error once it was shut down.
Task<Result<int>> accept_at(io::Reactor& reactor, int listener);
/// Gives the kernel's buffers of a local stream room for a few large messages, as far as the host allows.
void widen_buffers(int fd) noexcept;

}  // namespace myna::net
