#include "block/proto/nbd.h"

#include <algorithm>
#include <cstdlib>

#include "base/bits.h"
#include "block/graph/graph.h"

namespace myna::block {

using myna::nbd::Client;
using myna::nbd::ConnectOptions;
using Clock = std::chrono::steady_clock;

namespace {

constexpr uint64_t kLongCommand = 1u << 30;  // of write-zeroes and trim, which carry 32-bit lengths
constexpr auto kMostPatience = std::chrono::seconds(16);

std::unexpected<Error> wrong(std::string text) { return fail(ErrorKind::kInvalidArgument, std::move(text)); }

std::string percent_decoded(std::string_view s) {
    const auto hex = [](char c) { return c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1; };
    std::string out;
    for (size_t i = 0; i < s.size(); ++i) {
        if (s[i] == '%' && i + 2 < s.size() && hex(s[i + 1]) >= 0 && hex(s[i + 2]) >= 0) {
            out += static_cast<char>(hex(s[i + 1]) * 16 + hex(s[i + 2]));
            i += 2;
        } else {
            out += s[i];
        }
    }
    return out;
}

/// "host:port", "[v6]:port", "host".
void take_authority(std::string_view s, net::Address& a) {
    if (const size_t at = s.rfind('@'); at != std::string_view::npos) s.remove_prefix(at + 1);
    size_t colon = s.rfind(':');
    if (s.starts_with('[')) {
        const size_t end = s.find(']');
        a.host = s.substr(1, end == std::string_view::npos ? s.npos : end - 1);
        colon = end != std::string_view::npos && end + 1 < s.size() && s[end + 1] == ':' ? end + 1 : s.npos;
    } else {
        a.host = s.substr(0, colon);
    }
    a.port = colon == std::string_view::npos || colon + 1 == s.size() ? "10809" : std::string(s.substr(colon + 1));
}

class NbdNode final : public Node {
  public:
    NbdNode(io::Reactor& r, ConnectOptions o, std::chrono::seconds delay) : Node(r), options_(std::move(o)), delay_(delay), connecting_(r) {}
    ~NbdNode() override {
        if (client_) client_->shutdown();
    }
    [[nodiscard]] std::string_view driver() const noexcept override { return "nbd"; }
    [[nodiscard]] std::optional<uint64_t> allocated_bytes() const override { return std::nullopt; }

    Task<Result<void>> start(const OpenOptions& o, std::string name, std::chrono::seconds timeout) {
        filename_ = std::move(name);
        const auto deadline = Clock::now() + timeout;
        for (;;) {
            auto c = co_await Client::connect(reactor_, options_);
            if (c) {
                client_ = *c;
                break;
            }
            if (Clock::now() >= deadline) co_return std::unexpected(c.error());
            co_await reactor_.sleep(std::chrono::milliseconds(200));
        }
        if (options_.context != ConnectOptions().context && !client_->has_context()) {
            co_await client_->disconnect();
            co_return fail(ErrorKind::kNotFound, "requested x-dirty-bitmap " + options_.context + " not found", EINVAL);
        }
        const auto& info = client_->info();
        size_ = info.size;
        read_only_ = o.read_only;
        if (!read_only_ && info.flags & myna::nbd::kReadOnly)
            co_return fail(ErrorKind::kPermission, "request on write denied without write permission: the server exports '" + filename_ + "' read-only", EACCES);
        limits_.request_alignment = std::max(1u, info.min_block);
        if (size_ % limits_.request_alignment != 0) limits_.request_alignment = 1;  // a server that contradicts itself
        limits_.max_transfer = align_down(client_->max_transfer(), limits_.request_alignment);
        co_return Result<void>{};
    }

    Task<Result<void>> do_close() override {
        auto r = read_only_ || !client_ || client_->dead() ? Result<void>{} : co_await flush();
        if (client_) co_await client_->disconnect();
        closed_ = true;
        co_return r;
    }

  protected:
    Task<Result<void>> do_read(uint64_t offset, const IoVec& into) override {
        co_return co_await attempt([&](Client& c) { return c.read(offset, into); });
    }
    Task<Result<void>> do_write(uint64_t offset, const IoVec& from, WriteFlags flags) override {
        const uint16_t fua = flags.fua && has(myna::nbd::kSendFua) ? myna::nbd::kFlagFua : 0;
        auto r = co_await attempt([&](Client& c) { return c.write(offset, from, fua); });
        if (r && flags.fua && fua == 0) r = co_await do_flush();
        co_return r;
    }
    Task<Result<void>> do_write_zeroes(uint64_t offset, uint64_t length, WriteFlags flags) override {
        if (!has(myna::nbd::kSendWriteZeroes) || (flags.no_fallback && !has(myna::nbd::kSendFastZero)) ||
            (offset | length) % limits_.request_alignment != 0)
            co_return co_await Node::do_write_zeroes(offset, length, flags);
        unsigned f = 0;
        if (flags.fua && has(myna::nbd::kSendFua)) f |= myna::nbd::kFlagFua;
        if (!flags.may_unmap) f |= myna::nbd::kFlagNoHole;
        if (flags.no_fallback) f |= myna::nbd::kFlagFastZero;
        auto r = co_await in_pieces(myna::nbd::kCmdWriteZeroes, offset, length, static_cast<uint16_t>(f));
        if (r && flags.fua && !has(myna::nbd::kSendFua)) r = co_await do_flush();
        co_return r;
    }
    Task<Result<void>> do_discard(uint64_t offset, uint64_t length) override {
        if (!has(myna::nbd::kSendTrim)) co_return Result<void>{};
        co_return co_await in_pieces(myna::nbd::kCmdTrim, offset, length, 0);
    }
    Task<Result<void>> do_flush() override {
        if (!has(myna::nbd::kSendFlush)) co_return Result<void>{};
        co_return co_await attempt([&](Client& c) { return c.command(myna::nbd::kCmdFlush, 0, 0); });
    }
    Task<Result<Extent>> do_block_status(uint64_t offset, uint64_t length) override {
        Extent e{.length = length, .data = true, .allocated = true, .offset = offset, .file = this};
        if (!client_ || !client_->has_context()) co_return e;
        const uint64_t from = align_down(offset, limits_.request_alignment);
        const uint64_t n = std::min(align_up(offset + length, limits_.request_alignment), size_) - from;
        std::vector<myna::nbd::StatusRun> runs;
        auto r = co_await attempt([&](Client& c) { return status(c, from, std::min<uint64_t>(n, kLongCommand), runs); });
        if (!r) co_return std::unexpected(r.error());
        const auto& run = runs.front();
        if (run.length <= offset - from) co_return e;  // a server that answers below its own block size
        e.length = std::min(length, run.length - (offset - from));
        e.data = !(run.flags & myna::nbd::kStateHole);
        e.zero = (run.flags & myna::nbd::kStateZero) != 0;
        co_return e;
    }
    Task<Result<void>> do_truncate(uint64_t size, std::string_view) override {
        if (size == size_) co_return Result<void>{};
        co_return fail(ErrorKind::kUnsupported, size > size_ ? "Cannot grow NBD nodes" : "Cannot resize NBD nodes");
    }

  private:
    static Task<Result<void>> status(Client& c, uint64_t from, uint64_t length, std::vector<myna::nbd::StatusRun>& out) {
        auto r = co_await c.block_status(from, length, true);
        if (!r) co_return std::unexpected(r.error());
        out = std::move(*r);
        co_return Result<void>{};
    }
    [[nodiscard]] bool has(uint16_t flag) const { return client_ && client_->info().flags & flag; }

    Task<Result<void>> in_pieces(myna::nbd::Command command, uint64_t offset, uint64_t length, uint16_t flags) {
        const uint64_t most = align_down(kLongCommand, limits_.request_alignment);
        for (uint64_t done = 0; done < length;) {
            const uint64_t n = std::min(most, length - done);
            if (auto r = co_await attempt([&](Client& c) { return c.command(command, offset + done, n, flags); }); !r) co_return r;
            done += n;
        }
        co_return Result<void>{};
    }

    /// Runs `f` on a live connection; again on a new one when it was lost and there is patience (reconnect-delay).
    template <typename F>
    Task<Result<void>> attempt(F f) {
        for (;;) {
            auto c = co_await live();
            if (!c) co_return std::unexpected(c.error());
            const std::shared_ptr<Client> client = *c;
            auto r = co_await f(*client);
            if (r || !client->dead() || delay_.count() == 0) co_return r;
        }
    }

    Task<Result<std::shared_ptr<Client>>> live() {
        if (client_ && !client_->dead()) co_return client_;
        const auto alone = co_await connecting_.lock();
        if (client_ && !client_->dead()) co_return client_;
        if (closed_) co_return fail(ErrorKind::kIo, filename_ + ": the connection is closed", EIO);
        if (!lost_) lost_ = Clock::now();
        const auto deadline = *lost_ + delay_;
        for (auto pause = std::chrono::nanoseconds(std::chrono::milliseconds(100));;) {
            auto c = co_await Client::connect(reactor_, options_);
            if (c) {
                if ((*c)->info().size != size_)
                    co_return fail(ErrorKind::kIo, filename_ + ": the export's size changed while the connection was lost", EIO);
                client_ = *c;
                lost_.reset();
                co_return client_;
            }
            const auto left = deadline - Clock::now();
            if (left <= left.zero()) co_return fail(ErrorKind::kIo, filename_ + ": the connection is lost: " + c.error().message, EIO);
            co_await reactor_.sleep(std::min<std::chrono::nanoseconds>(pause, left));
            pause = std::min<std::chrono::nanoseconds>(pause * 2, kMostPatience);
        }
    }

    ConnectOptions options_;
    std::chrono::seconds delay_;
    io::Mutex connecting_;
    std::shared_ptr<Client> client_;
    std::optional<Clock::time_point> lost_;
    bool closed_ = false;
};

std::string text_of(const nlohmann::json& v) { return v.is_string() ? v.get<std::string>() : v.dump(); }

Task<Result<NodePtr>> open_nbd(Graph& graph, const OpenOptions& o) {
    ConnectOptions c;
    std::string name;
    const auto& tree = o.options;
    const auto get = [&](const nlohmann::json& from, const char* key) -> std::optional<std::string> {
        const auto it = from.find(key);
        if (it == from.end() || it->is_object()) return std::nullopt;
        return text_of(*it);
    };
    if (const auto url = get(tree, "filename")) {
        auto parsed = parse_nbd_name(*url);
        if (!parsed) co_return std::unexpected(parsed.error());
        c = std::move(*parsed);
        name = *url;
    } else {
        const auto server = tree.find("server");
        const nlohmann::json& at = server != tree.end() && server->is_object() ? *server : tree;
        const auto path = get(at, "path"), host = get(at, "host"), fd = get(at, "str");
        if (path && host) co_return wrong("path and host may not be used at the same time");
        if (!path && !host) co_return wrong(fd ? "NBD server addresses of type 'fd' are not supported" : "NBD server address missing");
        c.address.kind = path ? net::Address::Kind::kUnix : net::Address::Kind::kInet;
        c.address.path = path.value_or("");
        c.address.host = host.value_or("");
        c.address.port = get(at, "port").value_or("10809");
        c.export_name = get(tree, "export").value_or("");
        name = path ? (c.export_name.empty() ? "nbd+unix://" : "nbd+unix:///" + c.export_name) + "?socket=" + *path : "nbd://" + c.address.text() + (c.export_name.empty() ? "" : "/" + c.export_name);
    }
    if (const auto id = get(tree, "tls-creds")) {
        c.tls = graph.tls(*id);
        if (!c.tls) co_return wrong("No TLS credentials with id '" + *id + "'");
        if (c.tls->server()) co_return wrong("Expecting TLS credentials with a client endpoint");
    }
    if (const auto host = get(tree, "tls-hostname")) c.tls_hostname = *host;
    if (const auto bitmap = get(tree, "x-dirty-bitmap")) c.context = *bitmap;
    const auto seconds = [&](const char* key) {
        const auto v = get(tree, key);
        return std::chrono::seconds(v ? std::strtoul(v->c_str(), nullptr, 10) : 0);
    };
    auto node = std::make_shared<NbdNode>(graph.reactor(), std::move(c), seconds("reconnect-delay"));
    if (auto r = co_await node->start(o, name, seconds("open-timeout")); !r) co_return std::unexpected(r.error());
    co_return node;
}

/// There is nothing to create: the export must be there and large enough.
Task<Result<void>> create_nbd(Graph& graph, const CreateOptions& o) {
    auto node = co_await graph.open_protocol(o.filename, {});
    if (!node) co_return std::unexpected(node.error());
    Result<void> r;
    if ((*node)->size() < o.size) r = fail(ErrorKind::kUnsupported, "Cannot grow NBD nodes");
    if (auto closed = co_await (*node)->close(); r && !closed) r = closed;
    co_return r;
}

}  // namespace

Result<ConnectOptions> parse_nbd_name(const std::string& name) {
    ConnectOptions c;
    std::string_view rest = name;
    const auto take = [&](std::string_view prefix) {
        if (!rest.starts_with(prefix)) return false;
        rest.remove_prefix(prefix.size());
        return true;
    };
    const bool is_unix = take("nbd+unix://");
    if (is_unix || take("nbd+tcp://") || take("nbd://")) {
        std::string_view query;
        if (const size_t q = rest.find('?'); q != rest.npos) query = rest.substr(q + 1), rest = rest.substr(0, q);
        const size_t slash = rest.find('/');
        const std::string_view authority = rest.substr(0, slash);
        c.export_name = slash == rest.npos ? "" : percent_decoded(rest.substr(slash + 1));
        std::string socket;
        while (!query.empty()) {
            const size_t end = std::min(query.find('&'), query.size());
            const std::string_view item = query.substr(0, end);
            if (item.starts_with("socket=")) socket = percent_decoded(item.substr(7));
            else if (is_unix || !item.empty()) return wrong("Unknown parameter in NBD URL '" + name + "': " + std::string(item));
            query.remove_prefix(std::min(end + 1, query.size()));
        }
        if (is_unix) {
            if (!authority.empty() || socket.empty()) return wrong("NBD URL '" + name + "' needs no host, and ?socket=PATH");
            c.address.kind = net::Address::Kind::kUnix;
            c.address.path = socket;
        } else {
            if (authority.empty() || !socket.empty()) return wrong("NBD URL '" + name + "' needs a host");
            take_authority(authority, c.address);
        }
        return c;
    }
    if (!take("nbd:")) return wrong("'" + name + "' is no NBD name");
    if (const size_t e = rest.find(":exportname="); e != rest.npos) {
        c.export_name = rest.substr(e + 12);
        rest = rest.substr(0, e);
    }
    if (take("unix:")) {
        c.address.kind = net::Address::Kind::kUnix;
        c.address.path = rest;
    } else {
        take_authority(rest, c.address);
    }
    if (rest.empty()) return wrong("'" + name + "' names no NBD server");
    return c;
}

const Driver kNbdDriver{"nbd", Driver::Kind::kProtocol, {}, nullptr, open_nbd, create_nbd, nullptr, false, false};

}  // namespace myna::block
