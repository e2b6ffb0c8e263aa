// Frames of the remote serial protocol ("$data#checksum"), over a stream socket.
//
//   socket ─▶ bytes ─▶ Connection::receive ─▶ packet, ctrl-C, end       send ─▶ escaped, checksum, acknowledged
//
// Source: the gdb manual, appendix E "Remote Serial Protocol".
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace myna::gdb {

class Connection {
  public:
    /// Takes the socket over.
    explicit Connection(int fd) : fd_(fd) {}
    ~Connection();
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    enum class Event : uint8_t { kPacket, kInterrupt, kEnd, kNothing };
    /// The next event of what was read, reading once when `read_more`. A packet's data (unescaped) goes to `packet`.
    Event receive(std::string& packet, bool read_more);
    /// False when the other side is gone.
    bool send(std::string_view data);

    /// After QStartNoAckMode's answer.
    void stop_acknowledging() noexcept { acknowledge_ = false; }
    [[nodiscard]] bool acknowledges() const noexcept { return acknowledge_; }
    [[nodiscard]] int fd() const noexcept { return fd_; }
    /// The socket belongs to somebody else from now on.
    int release() noexcept;

  private:
    Event next(std::string& packet);
    bool write_all(std::string_view bytes) const;

    int fd_;
    bool acknowledge_ = true;
    std::string in_, last_;
};

/// Hexadecimal in both directions; `from_hex` stops at the first character that is none.
std::string to_hex(std::span<const uint8_t> bytes);
std::string to_hex(std::string_view text);
std::string hex_number(uint64_t v);
std::string from_hex(std::string_view text);

/// Reads a packet from left to right.
class Reader {
  public:
    explicit Reader(std::string_view text) : text_(text) {}
    [[nodiscard]] bool empty() const noexcept { return text_.empty(); }
    [[nodiscard]] char peek() const noexcept { return text_.empty() ? '\0' : text_[0]; }
    [[nodiscard]] std::string_view rest() const noexcept { return text_; }
    bool take(char c);
    bool take(std::string_view word);
    /// A hexadecimal number ("-1" too); nothing when there is none.
    std::optional<int64_t> number();
    /// Up to `end` (which is taken too) or the end of the packet.
    std::string_view until(char end);

  private:
    std::string_view text_;
};

}  // namespace myna::gdb
