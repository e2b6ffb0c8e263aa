// IoVec: a scattered buffer, cut and copied without touching the bytes' owners.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace myna::io {

class IoVec {
  public:
    IoVec() = default;
    IoVec(void* data, size_t bytes) { add(data, bytes); }
    IoVec(std::span<uint8_t> b) { add(b.data(), b.size()); }

    void add(void* data, size_t bytes) {
        if (bytes == 0) return;
        parts_.push_back({data, bytes});
        bytes_ += bytes;
    }
    [[nodiscard]] size_t size() const noexcept { return bytes_; }
    [[nodiscard]] std::span<const iovec> parts() const noexcept { return parts_; }

    /// The bytes [from, from + len) as a view of the same memory.
    [[nodiscard]] IoVec slice(size_t from, size_t len) const {
        IoVec out;
        for (const iovec& p : parts_) {
            if (from >= p.iov_len) {
                from -= p.iov_len;
                continue;
            }
            const size_t n = std::min(len, p.iov_len - from);
            out.add(static_cast<uint8_t*>(p.iov_base) + from, n);
            len -= n;
            from = 0;
            if (len == 0) break;
        }
        return out;
    }
    /// Copies all bytes to or from contiguous memory of at least size() bytes.
    void copy_to(void* to) const {
        auto* out = static_cast<uint8_t*>(to);
        for (const iovec& p : parts_) {
            std::memcpy(out, p.iov_base, p.iov_len);
            out += p.iov_len;
        }
    }
    void copy_from(const void* from) const {
        const auto* in = static_cast<const uint8_t*>(from);
        for (const iovec& p : parts_) {
            std::memcpy(p.iov_base, in, p.iov_len);
            in += p.iov_len;
        }
    }
    void fill(uint8_t value) const {
        for (const iovec& p : parts_) std::memset(p.iov_base, value, p.iov_len);
    }
    /// True when every byte is zero.
    [[nodiscard]] bool is_zero() const noexcept;

  private:
    std::vector<iovec> parts_;
    size_t bytes_ = 0;
};

/// True when all of `b` is zero; reads no further than the first byte that is not.
bool is_zero(std::span<const uint8_t> b) noexcept;

}  // namespace myna::io
