#include "block/proto/ssh.h"

#include <fcntl.h>

#include "block/graph/graph.h"
#include "block/proto/ssh_session.h"

namespace myna::block {

namespace {

std::unexpected<Error> wrong(std::string text) { return fail(ErrorKind::kInvalidArgument, std::move(text)); }

class SshNode final : public Node {
  public:
    SshNode(io::Reactor& r, const SshLibrary& lib, SshPlace place) : Node(r), session_(std::make_unique<SshSession>(lib, std::move(place))), turn_(r) {}
    [[nodiscard]] std::string_view driver() const noexcept override { return "ssh"; }
    [[nodiscard]] std::optional<uint64_t> allocated_bytes() const override { return std::nullopt; }

    Task<Result<void>> start(std::string name, bool read_only, int flags) {
        filename_ = std::move(name);
        read_only_ = read_only;
        co_return co_await in_turn([this, flags](SshSession& s) -> Result<void> {
            if (auto r = s.open(flags); !r) return r;
            const auto size = s.size();
            if (!size) return std::unexpected(size.error());
            size_ = *size;
            return {};
        });
    }
    Task<Result<void>> do_close() override {
        Result<void> r;
        if (written_) r = co_await flush();
        co_await in_turn([this](SshSession&) -> Result<void> {
            session_.reset();
            return {};
        });
        co_return r;
    }

  protected:
    Task<Result<void>> do_read(uint64_t offset, const IoVec& into) override {
        std::vector<uint8_t> bytes(into.size());
        auto r = co_await in_turn([&](SshSession& s) { return s.read(offset, bytes); });
        if (r) into.copy_from(bytes.data());
        co_return r;
    }
    Task<Result<void>> do_write(uint64_t offset, const IoVec& from, WriteFlags flags) override {
        std::vector<uint8_t> bytes(from.size());
        from.copy_to(bytes.data());
        written_ = true;
        co_return co_await in_turn([&](SshSession& s) -> Result<void> {
            if (auto r = s.write(offset, bytes); !r || !flags.fua) return r;
            return s.flush();
        });
    }
    Task<Result<void>> do_flush() override {
        if (!written_) co_return Result<void>{};
        co_return co_await in_turn([](SshSession& s) { return s.flush(); });
    }
    Task<Result<void>> do_truncate(uint64_t size, std::string_view preallocation) override {
        if (preallocation != "off") co_return fail(ErrorKind::kUnsupported, "Unsupported preallocation mode '" + std::string(preallocation) + "'");
        written_ = true;
        auto r = co_await in_turn([&](SshSession& s) { return s.truncate(size); });
        if (r) size_ = size;
        co_return r;
    }

  private:
    /// Runs `f` on another thread; the session does one thing at a time.
    template <typename F>
    Task<Result<void>> in_turn(F f) {
        const auto alone = co_await turn_.lock();
        Result<void> r;
        if (session_ == nullptr) co_return fail(ErrorKind::kIo, filename_ + ": the connection is closed", EIO);
        co_await reactor_.offload([&] { r = f(*session_); });
        co_return r;
    }

    std::unique_ptr<SshSession> session_;
    io::Mutex turn_;
    bool written_ = false;
};

Result<void> set_check(SshPlace& p, const std::string& mode) {
    if (mode == "yes") return {};
    if (mode == "no") {
        p.check = SshPlace::Check::kNone;
        return {};
    }
    const size_t colon = mode.find(':');
    p.check = SshPlace::Check::kHash;
    p.hash_type = mode.substr(0, colon);
    p.hash = colon == std::string::npos ? "" : mode.substr(colon + 1);
    if (p.hash.empty() || (p.hash_type != "md5" && p.hash_type != "sha1" && p.hash_type != "sha256"))
        return wrong("unknown host_key_check setting (" + mode + "): yes, no, md5:HEX, sha1:HEX or sha256:HEX");
    return {};
}

Result<SshPlace> parse_name(const std::string& name) {
    SshPlace p;
    std::string_view rest = name;
    if (!rest.starts_with("ssh://")) return wrong("URI scheme must be 'ssh'");
    rest.remove_prefix(6);
    if (const size_t q = rest.find('?'); q != rest.npos) {
        const std::string query(rest.substr(q + 1));
        rest = rest.substr(0, q);
        if (!query.starts_with("host_key_check=")) return wrong("unknown parameter in ssh URL: " + query);
        if (auto r = set_check(p, query.substr(15)); !r) return std::unexpected(r.error());
    }
    const size_t slash = rest.find('/');
    std::string_view authority = rest.substr(0, slash);
    if (const size_t at = authority.rfind('@'); at != authority.npos) {
        p.user = authority.substr(0, at);
        authority.remove_prefix(at + 1);
    }
    size_t colon = authority.rfind(':');
    if (authority.starts_with('[')) {
        const size_t end = authority.find(']');
        if (end == authority.npos) return wrong("ssh URL '" + name + "' has no valid host");
        p.host = authority.substr(1, end - 1);
        colon = end + 1 < authority.size() && authority[end + 1] == ':' ? end + 1 : authority.npos;
    } else {
        p.host = authority.substr(0, colon);
    }
    if (colon != authority.npos) p.port = authority.substr(colon + 1);
    if (p.host.empty()) return wrong("missing hostname in URI");
    if (slash == rest.npos || rest.size() == slash + 1) return wrong("missing remote path in URI");
    p.path = rest.substr(slash);
    return p;
}

Result<SshPlace> place_of(const nlohmann::json& tree) {
    const auto get = [](const nlohmann::json& from, const char* key) -> std::string {
        const auto it = from.find(key);
        if (it == from.end() || it->is_object()) return {};
        return it->is_string() ? it->get<std::string>() : it->dump();
    };
    if (const std::string name = get(tree, "filename"); !name.empty()) return parse_name(name);
    SshPlace p;
    const auto server = tree.find("server");
    const nlohmann::json& at = server != tree.end() && server->is_object() ? *server : tree;
    p.host = get(at, "host");
    if (const std::string port = get(at, "port"); !port.empty()) p.port = port;
    p.path = get(tree, "path");
    p.user = get(tree, "user");
    if (p.host.empty()) return wrong("No hostname was specified");
    if (p.path.empty()) return wrong("No path was specified");
    if (const std::string check = get(tree, "host_key_check"); !check.empty()) {
        if (auto r = set_check(p, check); !r) return std::unexpected(r.error());
    }
    if (const auto it = tree.find("host-key-check"); it != tree.end() && it->is_object()) {
        const std::string mode = get(*it, "mode");
        if (mode != "known_hosts" && mode != "none" && mode != "hash") return wrong("Invalid parameter '" + mode + "' for host-key-check.mode");
        const std::string as_text = mode == "none" ? "no" : mode == "hash" ? get(*it, "type") + ":" + get(*it, "hash") : "yes";
        if (auto r = set_check(p, as_text); !r) return std::unexpected(r.error());
    }
    return p;
}

Result<void> check_port(const SshPlace& p) {
    char* end = nullptr;
    const unsigned long port = std::strtoul(p.port.c_str(), &end, 10);
    if (p.port.empty() || *end != 0 || port == 0 || port > 65535) return wrong("Use only numeric port value, not '" + p.port + "'");
    return {};
}

Task<Result<NodePtr>> open_place(Graph& graph, SshPlace p, std::string name, bool read_only, int flags) {
    if (auto r = check_port(p); !r) co_return std::unexpected(r.error());
    const auto lib = SshLibrary::load();
    if (!lib) co_return std::unexpected(lib.error());
    if (name.empty()) name = "ssh://" + (p.user.empty() ? "" : p.user + "@") + p.host + (p.port == "22" ? "" : ":" + p.port) + p.path;
    auto node = std::make_shared<SshNode>(graph.reactor(), **lib, std::move(p));
    if (auto r = co_await node->start(std::move(name), read_only, flags); !r) co_return std::unexpected(r.error());
    co_return node;
}

Task<Result<NodePtr>> open_ssh(Graph& graph, const OpenOptions& o) {
    auto place = place_of(o.options);
    if (!place) co_return std::unexpected(place.error());
    co_return co_await open_place(graph, std::move(*place), o.options.value("filename", std::string()), o.read_only, o.read_only ? O_RDONLY : O_RDWR);
}

Task<Result<void>> create_ssh(Graph& graph, const CreateOptions& o) {
    const auto location = o.options.find("location");  // an options tree in the place of a name
    const bool named = location == o.options.end();
    auto place = named ? parse_name(o.filename) : place_of(*location);
    if (!place) co_return std::unexpected(place.error());
    auto node = co_await open_place(graph, std::move(*place), named ? o.filename : "", false, O_RDWR | O_CREAT | O_TRUNC);
    if (!node) co_return std::unexpected(node.error());
    auto r = o.size == 0 ? Result<void>{} : co_await (*node)->truncate(o.size);
    if (auto closed = co_await (*node)->close(); r && !closed) r = closed;
    co_return r;
}

}  // namespace

const Driver kSshDriver{"ssh", Driver::Kind::kProtocol, {}, nullptr, open_ssh, create_ssh, nullptr, false, false};

}  // namespace myna::block
