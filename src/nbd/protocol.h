// The NBD protocol's numbers and messages (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md), and
// bytes in and out in its order (big endian).
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace myna::nbd {

// ---- handshake
inline constexpr uint64_t kInitMagic = 0x4e42444d41474943;    // "NBDMAGIC"
inline constexpr uint64_t kOptionMagic = 0x49484156454f5054;  // "IHAVEOPT"
inline constexpr uint64_t kOldStyleMagic = 0x00420281861253;
inline constexpr uint64_t kOptionReplyMagic = 0x3e889045565a9;
inline constexpr uint16_t kFixedNewstyle = 1, kNoZeroes = 2;

enum Option : uint32_t {
    kOptExportName = 1, kOptAbort = 2, kOptList = 3, kOptStartTls = 5, kOptInfo = 6, kOptGo = 7,
    kOptStructuredReply = 8, kOptListMetaContext = 9, kOptSetMetaContext = 10, kOptExtendedHeaders = 11,
};
enum OptionReply : uint32_t {
    kRepAck = 1, kRepServer = 2, kRepInfo = 3, kRepMetaContext = 4,
    kRepErrUnsup = 0x80000001, kRepErrPolicy, kRepErrInvalid, kRepErrPlatform, kRepErrTlsRequired, kRepErrUnknown,
    kRepErrShutdown, kRepErrBlockSizeRequired, kRepErrTooBig, kRepErrExtHeaderRequired,
};
enum Info : uint16_t { kInfoExport = 0, kInfoName = 1, kInfoDescription = 2, kInfoBlockSize = 3 };

// ---- transmission flags
enum ExportFlag : uint16_t {
    kHasFlags = 1 << 0, kReadOnly = 1 << 1, kSendFlush = 1 << 2, kSendFua = 1 << 3, kRotational = 1 << 4, kSendTrim = 1 << 5,
    kSendWriteZeroes = 1 << 6, kSendDf = 1 << 7, kCanMultiConn = 1 << 8, kSendResize = 1 << 9, kSendCache = 1 << 10,
    kSendFastZero = 1 << 11, kBlockStatusPayload = 1 << 12,
};

// ---- requests and replies
inline constexpr uint32_t kRequestMagic = 0x25609513, kExtendedRequestMagic = 0x21e41c71;
inline constexpr uint32_t kSimpleReplyMagic = 0x67446698, kStructuredReplyMagic = 0x668e33ef, kExtendedReplyMagic = 0x6e8a278c;
inline constexpr size_t kRequestBytes = 28, kExtendedRequestBytes = 32;
inline constexpr size_t kSimpleReplyBytes = 16, kStructuredReplyBytes = 20, kExtendedReplyBytes = 32;

enum Command : uint16_t { kCmdRead, kCmdWrite, kCmdDisconnect, kCmdFlush, kCmdTrim, kCmdCache, kCmdWriteZeroes, kCmdBlockStatus };
enum CommandFlag : uint16_t { kFlagFua = 1, kFlagNoHole = 2, kFlagDf = 4, kFlagReqOne = 8, kFlagFastZero = 16, kFlagPayloadLen = 32 };

inline constexpr uint16_t kReplyDone = 1;
enum ReplyType : uint16_t {
    kReplyNone = 0, kReplyOffsetData = 1, kReplyOffsetHole = 2, kReplyBlockStatus = 5, kReplyBlockStatusExt = 6,
    kReplyError = 0x8001, kReplyErrorOffset = 0x8002,
};
enum WireError : uint32_t { kEPerm = 1, kEIo = 5, kENoMem = 12, kEInval = 22, kENoSpc = 28, kEOverflow = 75, kENotSup = 95, kEShutdown = 108 };

inline constexpr uint32_t kStateHole = 1, kStateZero = 2;  // base:allocation
inline constexpr uint32_t kStateDirty = 1;                 // qemu:dirty-bitmap:NAME

// ---- limits of ours, which peers see
inline constexpr uint32_t kMaxPayload = 32u << 20;     // of one read or write; what others take, too
inline constexpr uint32_t kMaxString = 4096;           // export names, context names
inline constexpr uint32_t kMaxOptionBytes = 32u << 10; // an option's data; enough for hundreds of contexts

/// The nearest NBD error for the host's errno (positive).
uint32_t wire_error(int err) noexcept;
/// The host's errno for an NBD error.
int host_errno(uint32_t wire) noexcept;

/// Appends integers in network order.
class Writer {
  public:
    Writer& u16(uint16_t v) { return put(v); }
    Writer& u32(uint32_t v) { return put(v); }
    Writer& u64(uint64_t v) { return put(v); }
    Writer& bytes(std::string_view s) {
        out_.insert(out_.end(), s.begin(), s.end());
        return *this;
    }
    /// Length (32 bits) and bytes.
    Writer& string(std::string_view s) { return u32(static_cast<uint32_t>(s.size())).bytes(s); }
    Writer& zeroes(size_t n) {
        out_.resize(out_.size() + n);
        return *this;
    }
    [[nodiscard]] std::vector<uint8_t>& data() noexcept { return out_; }

  private:
    template <typename T>
    Writer& put(T v) {
        for (int i = static_cast<int>(sizeof v) - 1; i >= 0; --i) out_.push_back(static_cast<uint8_t>(v >> (8 * i)));
        return *this;
    }
    std::vector<uint8_t> out_;
};

/// Takes integers in network order; a read behind the end gives zero and marks the Reader bad.
class Reader {
  public:
    explicit Reader(std::span<const uint8_t> in) : in_(in) {}
    uint16_t u16() { return get<uint16_t>(); }
    uint32_t u32() { return get<uint32_t>(); }
    uint64_t u64() { return get<uint64_t>(); }
    std::string string(size_t n) {
        if (n > in_.size()) {
            bad_ = true;
            return {};
        }
        std::string s(reinterpret_cast<const char*>(in_.data()), n);
        in_ = in_.subspan(n);
        return s;
    }
    [[nodiscard]] size_t left() const noexcept { return in_.size(); }
    [[nodiscard]] bool bad() const noexcept { return bad_; }
    /// Everything was there, and nothing is left.
    [[nodiscard]] bool complete() const noexcept { return !bad_ && in_.empty(); }

  private:
    template <typename T>
    T get() {
        if (in_.size() < sizeof(T)) {
            bad_ = true;
            in_ = {};
            return 0;
        }
        T v = 0;
        for (size_t i = 0; i < sizeof v; ++i) v = static_cast<T>(v << 8 | in_[i]);
        in_ = in_.subspan(sizeof v);
        return v;
    }
    std::span<const uint8_t> in_;
    bool bad_ = false;
};

}  // namespace myna::nbd
