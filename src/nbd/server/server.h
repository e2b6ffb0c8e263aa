// The NBD server: exports of block nodes, and one session for each client.
//
//   socket ─▶ Session: handshake (handshake.cpp) ─▶ requests (transmission.cpp) ─▶ Node ─▶ replies
//                        options, TLS, INFO/GO            many under way at once
//
// A client that breaks the protocol loses its connection and nothing else; what it makes the server hold is bounded
// (kMaxInFlight requests, kMaxBytesInFlight bytes, kMaxOptionBytes of an option). All on the Reactor's thread.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "block/graph/node.h"
#include "net/stream.h"
#include "net/tls.h"

namespace myna::nbd {

using io::Task;

/// A dirty bitmap that clients may ask for as qemu:dirty-bitmap:NAME. Bit i: bytes [i * granularity, …) changed.
struct ExportedBitmap {
    std::string name;
    uint64_t granularity = 0;
    std::vector<uint64_t> words;
    [[nodiscard]] bool get(uint64_t i) const noexcept { return i / 64 < words.size() && (words[i / 64] >> (i % 64) & 1); }
};

/// What clients see under one name: [offset, offset + size) of a node.
struct Export {
    std::string name, description;
    block::NodePtr node;
    uint64_t offset = 0, size = 0;
    bool writable = false;
    bool multi_conn = false;        // several connections see each other's flushed writes: true of every node here
    bool allocation_depth = false;  // offer qemu:allocation-depth
    enum class DetectZeroes : uint8_t { kOff, kOn, kUnmap } detect_zeroes = DetectZeroes::kOff;  // writes of zero bytes
    std::vector<ExportedBitmap> bitmaps;
    /// The layer that clients are told of: `node`, or what lies under it where it is a Backend.
    [[nodiscard]] block::NodePtr image() const { return node->driver() == "backend" ? node->file() : node; }
};
using ExportPtr = std::shared_ptr<const Export>;

class Session;

class Server {
  public:
    static constexpr uint64_t kMaxInFlight = 64;               // requests of one client
    static constexpr uint64_t kMaxBytesInFlight = 64u << 20;   // and their payload
    static constexpr unsigned kHandshakeSeconds = 10;          // to finish the handshake in

    explicit Server(io::Reactor& r) : reactor_(r) {}
    ~Server();

    /// With credentials, clients must start TLS before anything else.
    std::shared_ptr<net::TlsCredentials> tls;
    /// Asked after the TLS handshake; a refusal ends the session.
    std::function<Result<void>(const net::TlsPeer&)> authorise;
    /// Clients at a time; 0: no limit. serve() beyond it closes at once.
    unsigned max_clients = 0;
    /// Called with a line about each client that misbehaves or leaves by error (-v).
    std::function<void(const std::string&)> log;

    void add(ExportPtr e);
    /// Later clients do not see it; with `hard`, sessions that use it end.
    bool remove(const std::string& name, bool hard);
    [[nodiscard]] ExportPtr find(const std::string& name) const;
    [[nodiscard]] const std::vector<ExportPtr>& exports() const noexcept { return exports_; }

    /// Serves the client at socket `fd` until it leaves or breaks the protocol. Closes `fd`. With `device` there is no
    /// handshake: the peer is the host's kernel, which was told of the export by other means. Gives whether the client
    /// got as far as using an export.
    Task<bool> serve(int fd, ExportPtr device = nullptr);
    /// The transmission flags of `e` for a peer without structured replies.
    static uint16_t flags_of(const Export& e) noexcept;
    [[nodiscard]] io::Reactor& reactor() const noexcept { return reactor_; }
    [[nodiscard]] size_t clients() const noexcept { return sessions_.size(); }
    /// Whether any session has got as far as an export.
    [[nodiscard]] bool in_use(const std::string& name) const;
    /// Ends all sessions; they leave when what they do now is done.
    void disconnect_all();

  private:
    io::Reactor& reactor_;
    std::vector<ExportPtr> exports_;
    std::list<Session*> sessions_;
};

}  // namespace myna::nbd
