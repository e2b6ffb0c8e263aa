#include "gdb/packet.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

namespace myna::gdb {

namespace {

constexpr char kDigits[] = "0123456789abcdef";

int digit(char c) noexcept {
    if (c >= '0' && c <= '9') return c - '0';
    c = static_cast<char>(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

}  // namespace

Connection::~Connection() {
    if (fd_ >= 0) close(fd_);
}

int Connection::release() noexcept {
    const int fd = fd_;
    fd_ = -1;
    return fd;
}

bool Connection::write_all(std::string_view bytes) const {
    while (!bytes.empty()) {
        const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        bytes.remove_prefix(static_cast<size_t>(n));
    }
    return true;
}

Connection::Event Connection::next(std::string& packet) {
    while (!in_.empty()) {
        if (in_[0] == '\x03') {
            in_.erase(0, 1);
            return Event::kInterrupt;
        }
        if (in_[0] == '-' && acknowledge_) {  // the last one was damaged
            if (!write_all(last_)) return Event::kEnd;
        }
        if (in_[0] != '$') {
            in_.erase(0, 1);
            continue;
        }
        const size_t end = in_.find('#');
        if (end == std::string::npos || in_.size() < end + 3) return Event::kNothing;
        const std::string raw = in_.substr(1, end - 1);
        const int high = digit(in_[end + 1]), low = digit(in_[end + 2]);
        in_.erase(0, end + 3);
        unsigned sum = 0;
        for (const char c : raw) sum += static_cast<unsigned char>(c);
        const bool good = high >= 0 && low >= 0 && (sum & 255) == static_cast<unsigned>(high * 16 + low);
        if (acknowledge_ && !write_all(good ? "+" : "-")) return Event::kEnd;
        if (!good && acknowledge_) continue;
        packet.clear();
        for (size_t i = 0; i < raw.size(); ++i) {
            if (raw[i] == '}' && i + 1 < raw.size()) packet += static_cast<char>(raw[++i] ^ 0x20);
            else packet += raw[i];
        }
        return Event::kPacket;
    }
    return Event::kNothing;
}

Connection::Event Connection::receive(std::string& packet, bool read_more) {
    if (const Event e = next(packet); e != Event::kNothing || !read_more) return e;
    char buffer[16384];
    const ssize_t n = recv(fd_, buffer, sizeof buffer, 0);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) return Event::kNothing;
    if (n <= 0) return Event::kEnd;
    in_.append(buffer, static_cast<size_t>(n));
    return next(packet);
}

bool Connection::send(std::string_view data) {
    last_ = "$";
    unsigned sum = 0;
    const auto put = [&](char c) {
        last_ += c;
        sum += static_cast<unsigned char>(c);
    };
    for (const char c : data) {
        if (c == '#' || c == '$' || c == '}' || c == '*') {
            put('}');
            put(static_cast<char>(c ^ 0x20));
        } else {
            put(c);
        }
    }
    last_ += '#';
    last_ += kDigits[sum >> 4 & 15];
    last_ += kDigits[sum & 15];
    return write_all(last_);
}

std::string to_hex(std::span<const uint8_t> bytes) {
    std::string s;
    s.reserve(bytes.size() * 2);
    for (const uint8_t b : bytes) {
        s += kDigits[b >> 4];
        s += kDigits[b & 15];
    }
    return s;
}
std::string to_hex(std::string_view text) { return to_hex(std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size())); }

std::string hex_number(uint64_t v) {
    std::string s;
    do s.insert(s.begin(), kDigits[v & 15]);
    while ((v >>= 4) != 0);
    return s;
}

std::string from_hex(std::string_view text) {
    std::string s;
    for (size_t i = 0; i + 1 < text.size(); i += 2) {
        const int high = digit(text[i]), low = digit(text[i + 1]);
        if (high < 0 || low < 0) break;
        s += static_cast<char>(high * 16 + low);
    }
    return s;
}

bool Reader::take(char c) {
    if (peek() != c || text_.empty()) return false;
    text_.remove_prefix(1);
    return true;
}
bool Reader::take(std::string_view word) {
    if (!text_.starts_with(word)) return false;
    text_.remove_prefix(word.size());
    return true;
}
std::optional<int64_t> Reader::number() {
    const std::string_view before = text_;
    const bool negative = take('-');
    if (digit(peek()) < 0) {
        text_ = before;
        return std::nullopt;
    }
    uint64_t v = 0;
    while (digit(peek()) >= 0) {
        v = v << 4 | static_cast<uint64_t>(digit(text_[0]));
        text_.remove_prefix(1);
    }
    return static_cast<int64_t>(negative ? 0 - v : v);
}
std::string_view Reader::until(char end) {
    const size_t n = text_.find(end);
    const std::string_view s = text_.substr(0, n);
    text_.remove_prefix(n == std::string_view::npos ? text_.size() : n + 1);
    return s;
}

}  // namespace myna::gdb
