// Stream: a connected byte stream for coroutines: a socket, or TLS over one (net/tls.h).
//
//   read(n bytes) ─▶ what is buffered ─▶ recvmsg ─▶ nothing there: co_await poll ─▶ again
//   write(parts)  ─▶ sendmsg          ─▶ full: co_await poll ─▶ again        (whole messages never mix)
//
// System calls are tried first and only then waited for: a busy peer costs one call a message. Small reads are served
// from a buffer, so that a run of short headers costs one call too; large ones go straight to their destination.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"
#include "io/iovec.h"
#include "io/reactor.h"
#include "io/sync.h"

namespace myna::net {

using io::IoVec;
using io::Task;

class Stream {
  public:
    /// Takes `fd`, a connected stream socket, and makes it non-blocking.
    Stream(io::Reactor& reactor, int fd);
    virtual ~Stream();
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;

    /// Fills all of `into`. An error when the peer ends before; ended() then says whether it did so at a boundary.
    Task<Result<void>> read(const IoVec& into);
    Task<Result<void>> read(void* into, size_t bytes);
    /// Reads at least one byte, at most `bytes`; 0 at the end of the stream.
    Task<Result<size_t>> read_some(void* into, size_t bytes);
    /// Writes all of `from`; calls from several coroutines follow each other.
    Task<Result<void>> write(const IoVec& from);
    Task<Result<void>> write(std::span<const uint8_t> from);
    /// Writes `head` and then `bytes` of the file `fd` from `offset` on. Gives false, with nothing written, where that
    /// cannot be done without copying (TLS); an error after a part was written breaks the stream.
    Task<Result<bool>> write_file(const IoVec& head, int fd, uint64_t offset, uint64_t bytes);
    /// Ends both directions; whoever waits gets an error.
    void shutdown() noexcept;

    /// The last read found the end before its first byte.
    [[nodiscard]] bool ended() const noexcept { return ended_; }
    [[nodiscard]] bool broken() const noexcept { return broken_; }
    [[nodiscard]] int fd() const noexcept { return fd_; }
    [[nodiscard]] io::Reactor& reactor() const noexcept { return reactor_; }
    /// Gives up the descriptor: the stream ends without closing it (TLS takes it over).
    int release() noexcept;
    /// Whether bytes were read that nobody asked for yet.
    [[nodiscard]] bool has_buffered() const noexcept { return head_ != tail_; }

  protected:
    /// One attempt: bytes, 0 at the end, or -errno; -EAGAIN when poll(wait_for()) must come first.
    virtual ssize_t receive_now(std::span<const iovec> into);
    virtual ssize_t send_now(std::span<const iovec> from);
    [[nodiscard]] virtual bool plain() const noexcept { return true; }

    io::Reactor& reactor_;
    int fd_;

  private:
    Task<Result<size_t>> receive(std::span<const iovec> into);
    Task<Result<void>> send_all(const IoVec& from);

    std::array<uint8_t, 8192> buffer_;
    size_t head_ = 0, tail_ = 0;
    bool ended_ = false, broken_ = false;
    io::Mutex writing_;
};

}  // namespace myna::net
