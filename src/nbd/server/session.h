// Session: what the server knows of one client: its stream, what was negotiated, its requests under way.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/sync.h"
#include "nbd/protocol.h"
#include "nbd/server/server.h"

namespace myna::nbd {

/// Page-aligned buffers of one session, kept for the next request: large allocations and their page faults cost more
/// than the copy they are for.
class BufferPool {
  public:
    struct Free {
        void operator()(uint8_t* p) const noexcept { std::free(p); }
    };
    struct Buffer {
        std::unique_ptr<uint8_t, Free> data;
        size_t capacity = 0;
    };
    Buffer take(size_t bytes);
    void give(Buffer b);

  private:
    static constexpr size_t kKeepBytes = 16u << 20;
    std::vector<Buffer> free_;
    size_t kept_ = 0;
};

/// A metadata context that the client selected; `id` stands for it in replies.
struct Context {
    enum class Kind : uint8_t { kAllocation, kDepth, kBitmap } kind;
    uint32_t id = 0;
    size_t bitmap = 0;  // index of the export's bitmaps
    std::string name;
};

struct Request {
    uint16_t flags = 0, command = 0;
    uint64_t cookie = 0, offset = 0, length = 0;
};

struct Status {
    uint64_t length;
    uint32_t flags;
};

class Session {
  public:
    Session(Server& server, std::unique_ptr<net::Stream> stream);

    Task<void> run(ExportPtr device);
    void shutdown() noexcept { stream_->shutdown(); }
    [[nodiscard]] const ExportPtr& exported() const noexcept { return export_; }

    // The handshake watcher and the session share this.
    struct Watch {
        Session* session = nullptr;
    };
    std::shared_ptr<Watch> watch = std::make_shared<Watch>();

  private:
    using Bytes = std::span<const uint8_t>;

    // ---- handshake.cpp
    /// True: an export was chosen, requests follow. False: the client left in peace.
    Task<Result<bool>> handshake();
    Task<Result<void>> reply(uint32_t option, uint32_t type, Bytes data = {});
    Task<Result<void>> refuse(uint32_t option, uint32_t error, std::string_view why);
    Task<Result<void>> list();
    Task<Result<bool>> info_or_go(uint32_t option, Bytes data);
    Task<Result<void>> meta_context(uint32_t option, Bytes data);
    Task<Result<void>> starttls();
    void match_context(const Export& e, const std::string& query, bool listing, std::vector<Context>& out) const;
    [[nodiscard]] uint16_t transmission_flags(const Export& e) const;

    // ---- transmission.cpp
    Task<Result<void>> transmission();
    Task<Result<bool>> receive(Request& r);
    Task<void> perform(Request r, BufferPool::Buffer payload);
    Task<Result<void>> dispatch(const Request& r, BufferPool::Buffer& payload);
    [[nodiscard]] Result<void> check(const Request& r) const;
    Task<Result<void>> read(const Request& r);
    Task<Result<void>> read_part(const Request& r, uint64_t offset, uint64_t length, bool last);
    Task<Result<void>> cache(const Request& r);
    Task<Result<void>> block_status(const Request& r, const BufferPool::Buffer& payload);

    struct Head {
        std::array<uint8_t, 64> bytes;
        size_t size = 0;
    };
    /// The header of a reply (or of one chunk of it) with `payload` bytes behind it.
    void put_head(Head& h, const Request& r, uint16_t flags, uint16_t type, uint64_t payload) const;
    Task<Result<void>> send_done(const Request& r);
    Task<Result<void>> send_error(const Request& r, const Error& e);

    Server& server_;
    std::unique_ptr<net::Stream> stream_;
    ExportPtr export_;
    bool tls_done_ = false, no_zeroes_ = false, structured_ = false, extended_ = false;
    std::vector<Context> contexts_;
    std::string contexts_for_;
    BufferPool pool_;
    io::Semaphore in_flight_, bytes_in_flight_;
};

/// The state of [offset, offset + length) of an export in one context: runs that cover it, at most `most`, neighbours
/// with equal flags merged.
Task<Result<std::vector<Status>>> export_status(const Export& e, const Context& c, uint64_t offset, uint64_t length, size_t most);

}  // namespace myna::nbd
