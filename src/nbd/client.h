// The NBD client: a handshake, then requests of which many may be under way.
//
//   request ─▶ header (and payload) ─▶ socket        a reader coroutine takes replies as they come and
//   caller waits by cookie  ◀── reply, chunks ◀──     puts data where the request wants it, without a copy
//
// Nothing a server says is believed before it was checked: lengths are bounded, chunks must lie within their request,
// an unknown cookie or chunk ends the connection.
#pragma once

#include <coroutine>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "io/iovec.h"
#include "io/sync.h"
#include "nbd/protocol.h"
#include "net/address.h"
#include "net/tls.h"

namespace myna::nbd {

using io::IoVec;
using io::Task;

struct ConnectOptions {
    net::Address address;
    std::string export_name;
    std::shared_ptr<net::TlsCredentials> tls;
    std::string tls_hostname;
    std::string context = "base:allocation";  // the one asked for; empty: none
    bool structured = true, extended = true;  // whether to ask for them
    std::chrono::nanoseconds timeout{};       // to connect in; zero: as long as the host tries
};

/// What the server says of an export.
struct ExportInfo {
    std::string name, description;
    uint64_t size = 0;
    uint16_t flags = 0;
    uint32_t min_block = 0, preferred_block = 0, max_block = 0;  // 0: not said
    std::vector<std::string> contexts;                           // list() only
    bool structured = false, extended = false;
};

struct StatusRun {
    uint64_t length;
    uint64_t flags;
};

class Client : public std::enable_shared_from_this<Client> {
  public:
    static Task<Result<std::shared_ptr<Client>>> connect(io::Reactor& reactor, ConnectOptions options);
    /// The same over a stream that is connected already.
    static Task<Result<std::shared_ptr<Client>>> start(std::unique_ptr<net::Stream> stream, ConnectOptions options);
    /// All exports of a server, with the metadata contexts of each.
    static Task<Result<std::vector<ExportInfo>>> list(io::Reactor& reactor, ConnectOptions options);

    [[nodiscard]] const ExportInfo& info() const noexcept { return info_; }
    /// Whether the server agreed to the metadata context.
    [[nodiscard]] bool has_context() const noexcept { return context_ok_; }
    /// The connection is gone; every request fails.
    [[nodiscard]] bool dead() const noexcept { return dead_; }
    /// Largest read or write.
    [[nodiscard]] uint64_t max_transfer() const noexcept;

    Task<Result<void>> read(uint64_t offset, IoVec into);
    Task<Result<void>> write(uint64_t offset, IoVec from, uint16_t flags = 0);
    /// Flush, trim, cache, write zeroes: commands without payload. `length` as the negotiated headers allow.
    Task<Result<void>> command(Command c, uint64_t offset, uint64_t length, uint16_t flags = 0);
    /// At least one run, from `offset` on, in all no longer than `length`.
    Task<Result<std::vector<StatusRun>>> block_status(uint64_t offset, uint64_t length, bool one);
    /// Says goodbye; requests under way fail.
    Task<void> disconnect();
    void shutdown() noexcept { stream_->shutdown(); }

  private:
    struct Pending {
        uint16_t command;
        uint64_t offset, length;
        const IoVec* into = nullptr;
        std::vector<StatusRun>* runs = nullptr;
        uint64_t covered = 0;
        std::optional<Error> error;
        bool done = false;
        std::coroutine_handle<> waiter;
    };
    explicit Client(std::unique_ptr<net::Stream> s) : stream_(std::move(s)) {}

    // ---- client.cpp
    Task<Result<void>> request(Pending& p, uint16_t flags, const IoVec* payload);
    static Task<void> receive(std::shared_ptr<Client> self);
    Task<Result<void>> receive_one();
    Task<Result<bool>> chunk(Pending& p, uint16_t type, uint64_t length);
    void finish(uint64_t cookie, Pending& p);

    // ---- client_handshake.cpp
    struct OptionAnswer {
        uint32_t type = 0;
        std::vector<uint8_t> data;
    };
    /// kOld: the server has told its export, no options can follow. kNew: it knows one option, the export's name.
    enum class Style : uint8_t { kOld, kNew, kFixedNew };
    Task<Result<Style>> greet();
    Task<Result<void>> send_option(uint32_t option, std::span<const uint8_t> data);
    Task<Result<OptionAnswer>> answer(uint32_t option);
    /// Sends an option without data: true when acknowledged, false when refused.
    Task<Result<bool>> agree(uint32_t option);
    Task<Result<void>> secure(const ConnectOptions& o);
    Task<Result<void>> headers(const ConnectOptions& o);
    Task<Result<std::vector<std::pair<uint32_t, std::string>>>> contexts(uint32_t option, const std::string& name, const std::string& query);
    /// INFO or GO; false: the server does not know the option.
    Task<Result<bool>> inform(uint32_t option, const std::string& name, ExportInfo& out);
    Task<Result<void>> choose(const std::string& name);
    Task<Result<void>> negotiate(const ConnectOptions& o);
    Task<Result<void>> handshake(ConnectOptions o);

    std::unique_ptr<net::Stream> stream_;
    ExportInfo info_;
    bool no_zeroes_ = false, structured_ = false, extended_ = false, context_ok_ = false, dead_ = false;
    uint32_t context_id_ = 0;
    uint64_t next_cookie_ = 1;
    std::map<uint64_t, Pending*> pending_;
};

}  // namespace myna::nbd
