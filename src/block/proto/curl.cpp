#include "block/proto/curl.h"

#include <algorithm>
#include <cstring>
#include <list>
#include <map>

#include "block/graph/graph.h"
#include "block/proto/curl_library.h"

namespace myna::block {

namespace {

constexpr uint64_t kReadahead = 256 << 10, kMostReadahead = 64 << 20;
constexpr size_t kSegments = 8;        // pieces read ahead that are kept
constexpr long kTimeout = 5, kMostTimeout = 10000;

std::unexpected<Error> wrong(std::string text) { return fail(ErrorKind::kInvalidArgument, std::move(text)); }

/// What is asked of the server with every request.
struct Access {
    std::string url, cookie, user, password, proxy_user, proxy_password;
    bool verify = true, force_range = false, http = true;
    long timeout = kTimeout;
};

/// Where a transfer's bytes go; more than fit end it.
struct Sink {
    uint8_t* to;
    size_t room, got = 0;
    static size_t write(char* data, size_t size, size_t count, void* user) {
        auto& s = *static_cast<Sink*>(user);
        const size_t n = size * count, fits = std::min(n, s.room - s.got);
        std::memcpy(s.to + s.got, data, fits);
        s.got += fits;
        return fits;
    }
};

/// One connection. Used by one thread at a time.
class Handle {
  public:
    Handle(const CurlLibrary& curl, const Access& access) : curl_(curl), easy_(curl.easy_init()) {
        set(CURLOPT_URL, access.url.c_str());
        set(CURLOPT_ERRORBUFFER, error_);
        set(CURLOPT_NOSIGNAL, 1L);
        set(CURLOPT_FAILONERROR, 1L);
        set(CURLOPT_FOLLOWLOCATION, 1L);
        set(CURLOPT_MAXREDIRS, 16L);
        // A picture of a disk must not lead to a file of this machine.
        const char* protocols = access.http ? "http,https" : "ftp,ftps";
        set(CURLOPT_PROTOCOLS_STR, protocols);
        set(CURLOPT_REDIR_PROTOCOLS_STR, protocols);
        set(CURLOPT_SSL_VERIFYPEER, access.verify ? 1L : 0L);
        set(CURLOPT_SSL_VERIFYHOST, access.verify ? 2L : 0L);
        // Patience with a server that says nothing; a transfer that goes on may take as long as it wants.
        set(CURLOPT_CONNECTTIMEOUT, access.timeout);
        set(CURLOPT_LOW_SPEED_LIMIT, 1L);
        set(CURLOPT_LOW_SPEED_TIME, access.timeout);
        const auto text = [&](CURLoption option, const std::string& value) {
            if (!value.empty()) set(option, value.c_str());
        };
        text(CURLOPT_COOKIE, access.cookie);
        text(CURLOPT_USERNAME, access.user);
        text(CURLOPT_PASSWORD, access.password);
        text(CURLOPT_PROXYUSERNAME, access.proxy_user);
        text(CURLOPT_PROXYPASSWORD, access.proxy_password);
    }
    ~Handle() { curl_.easy_cleanup(easy_); }
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;

    template <typename T>
    void set(CURLoption option, T value) {
        (void)curl_.easy_setopt(easy_, option, value);
    }
    template <typename T>
    T get(CURLINFO info) {
        T value{};
        (void)curl_.easy_getinfo(easy_, info, &value);
        return value;
    }
    CURLcode perform() {
        error_[0] = 0;
        return curl_.easy_perform(easy_);
    }
    std::string why(CURLcode code) const { return error_[0] != 0 ? error_ : curl_.easy_strerror(code); }

  private:
    const CurlLibrary& curl_;
    CURL* easy_;
    char error_[CURL_ERROR_SIZE] = {};
};

class CurlNode final : public Node {
  public:
    CurlNode(io::Reactor& r, std::string_view driver, const CurlLibrary& curl, Access access, uint64_t readahead)
        : Node(r), driver_(driver), curl_(curl), access_(std::move(access)), readahead_(readahead) {}
    [[nodiscard]] std::string_view driver() const noexcept override { return driver_; }
    [[nodiscard]] std::optional<uint64_t> allocated_bytes() const override { return std::nullopt; }

    /// Asks for the size, and whether pieces can be had.
    Task<Result<void>> start() {
        filename_ = access_.url;
        read_only_ = true;
        auto handle = take();
        bool ranges = access_.force_range || !access_.http;
        CURLcode code = CURLE_OK;
        curl_off_t size = -1;
        co_await reactor_.offload([&] {
            handle->set(CURLOPT_NOBODY, 1L);
            handle->set(CURLOPT_HEADERFUNCTION, &note_ranges);
            handle->set(CURLOPT_HEADERDATA, static_cast<void*>(&ranges));
            handle->set(CURLOPT_WRITEFUNCTION, &ignore);  // FTP says its headers as a body
            code = handle->perform();
            size = handle->get<curl_off_t>(CURLINFO_CONTENT_LENGTH_DOWNLOAD_T);
            handle->set<curl_write_callback>(CURLOPT_HEADERFUNCTION, nullptr);
            handle->set<void*>(CURLOPT_HEADERDATA, nullptr);
            handle->set(CURLOPT_NOBODY, 0L);
            handle->set(CURLOPT_HTTPGET, 1L);
        });
        const auto failed = [](std::string text) { return fail(ErrorKind::kIo, "CURL: Error opening file: " + std::move(text), EIO); };
        if (code != CURLE_OK) co_return failed(handle->why(code));
        if (size < 0) co_return failed("Server didn't report file size.");
        if (!ranges) co_return failed("Server does not support 'range' (byte ranges).");
        size_ = static_cast<uint64_t>(size);
        give(std::move(handle));
        co_return Result<void>{};
    }

    Task<Result<void>> do_close() override {
        idle_.clear();
        segments_.clear();
        co_return Result<void>{};
    }

  protected:
    Task<Result<void>> do_read(uint64_t offset, const IoVec& into) override {
        for (size_t done = 0; done < into.size();) {
            const uint64_t at = offset + done;
            const size_t left = into.size() - done;
            if (const Segment* s = find(at)) {
                const size_t n = std::min<size_t>(left, s->offset + s->bytes.size() - at);
                into.slice(done, n).copy_from(s->bytes.data() + (at - s->offset));
                done += n;
                continue;
            }
            Segment fresh{at, std::vector<uint8_t>(std::min(std::max<uint64_t>(left, readahead_), size_ - at))};
            if (auto r = co_await fetch(at, fresh.bytes); !r) co_return r;
            into.slice(done, left).copy_from(fresh.bytes.data());
            if (left < fresh.bytes.size()) {
                segments_.push_front(std::move(fresh));
                if (segments_.size() > kSegments) segments_.pop_back();
            }
            done += left;
        }
        co_return Result<void>{};
    }

  private:
    struct Segment {
        uint64_t offset;
        std::vector<uint8_t> bytes;
    };

    static size_t note_ranges(char* line, size_t size, size_t count, void* user) {
        std::string text(line, size * count);
        std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c); });
        if (text.starts_with("accept-ranges:") && text.find("bytes", 14) != text.npos) *static_cast<bool*>(user) = true;
        return size * count;
    }
    static size_t ignore(char*, size_t size, size_t count, void*) { return size * count; }

    std::unique_ptr<Handle> take() {
        if (idle_.empty()) return std::make_unique<Handle>(curl_, access_);
        auto h = std::move(idle_.back());
        idle_.pop_back();
        return h;
    }
    void give(std::unique_ptr<Handle> h) { idle_.push_back(std::move(h)); }

    /// The most recent first.
    const Segment* find(uint64_t at) {
        const auto it = std::find_if(segments_.begin(), segments_.end(), [&](const Segment& s) { return at >= s.offset && at < s.offset + s.bytes.size(); });
        if (it == segments_.end()) return nullptr;
        segments_.splice(segments_.begin(), segments_, it);
        return &segments_.front();
    }

    Task<Result<void>> fetch(uint64_t offset, std::span<uint8_t> into) {
        auto handle = take();
        Sink sink{into.data(), into.size()};
        CURLcode code = CURLE_OK;
        long status = 0;
        const std::string range = std::to_string(offset) + "-" + std::to_string(offset + into.size() - 1);
        co_await reactor_.offload([&] {
            handle->set(CURLOPT_RANGE, range.c_str());
            handle->set(CURLOPT_WRITEFUNCTION, &Sink::write);
            handle->set(CURLOPT_WRITEDATA, static_cast<void*>(&sink));
            code = handle->perform();
            status = handle->get<long>(CURLINFO_RESPONSE_CODE);
        });
        const auto failed = [&](const std::string& text) { return fail(ErrorKind::kIo, filename_ + ": bytes " + range + ": " + text, EIO); };
        if (access_.http && (code == CURLE_OK || code == CURLE_WRITE_ERROR) && status != 206)
            co_return failed("the server answers with status " + std::to_string(status) + " and not with the bytes asked for (206)");
        if (code != CURLE_OK) co_return failed(handle->why(code));
        if (sink.got != into.size()) co_return failed("the server sent " + std::to_string(sink.got) + " bytes; has the file become shorter?");
        give(std::move(handle));
        co_return Result<void>{};
    }

    std::string_view driver_;
    const CurlLibrary& curl_;
    Access access_;
    uint64_t readahead_;
    std::vector<std::unique_ptr<Handle>> idle_;  // connections nobody uses now
    std::list<Segment> segments_;
};

/// What the options tree says, key by key.
class Reader {
  public:
    Reader(const Graph& graph, const nlohmann::json& tree) : graph_(graph), tree_(tree) {}

    std::optional<std::string> text(const char* key) const {
        const auto it = tree_.find(key);
        if (it == tree_.end()) return std::nullopt;
        return it->is_string() ? it->get<std::string>() : it->dump();
    }
    Result<bool> flag(const char* key, bool otherwise) const {
        const auto v = text(key);
        if (!v) return otherwise;
        if (*v == "on" || *v == "true") return true;
        if (*v == "off" || *v == "false") return false;
        return wrong(std::string("Parameter '") + key + "' expects 'on' or 'off'");
    }
    Result<uint64_t> number(const char* key, uint64_t otherwise, uint64_t most) const {
        const auto v = text(key);
        if (!v) return otherwise;
        char* end = nullptr;
        const uint64_t n = std::strtoull(v->c_str(), &end, 10);
        if (v->empty() || *end != 0 || n > most) return wrong(std::string("Parameter '") + key + "' expects a number up to " + std::to_string(most));
        return n;
    }
    Result<std::string> secret(const char* key) const {
        const auto id = text(key);
        if (!id) return std::string();
        const std::string* s = graph_.secret(*id);
        if (s == nullptr) return wrong("No secret with id '" + *id + "'");
        return *s;
    }

  private:
    const Graph& graph_;
    const nlohmann::json& tree_;
};

Task<Result<NodePtr>> open_curl(Graph& graph, const OpenOptions& o, std::string_view scheme) {
    const Reader in(graph, o.options);
    Access access;
    access.http = scheme.starts_with("http");
    const auto url = in.text("url"), name = in.text("filename");
    access.url = url ? *url : name.value_or("");
    if (access.url.empty()) co_return wrong("curl block driver requires an 'url' parameter");
    if (!access.url.starts_with(std::string(scheme) + "://"))
        co_return wrong(std::string(scheme) + " curl driver cannot handle the URL '" + access.url + "' (does not start with '" + std::string(scheme) + "://')");
    if (!o.read_only) co_return fail(ErrorKind::kPermission, "curl driver does not support writes", EACCES);
    const auto verify = in.flag("sslverify", true), force = in.flag("force-range", false);
    const auto readahead = in.number("readahead", kReadahead, kMostReadahead), timeout = in.number("timeout", kTimeout, kMostTimeout);
    const auto cookie = in.secret("cookie-secret"), password = in.secret("password-secret"), proxy_password = in.secret("proxy-password-secret");
    for (const auto* r : {&verify, &force})
        if (!*r) co_return std::unexpected(r->error());
    for (const auto* r : {&readahead, &timeout})
        if (!*r) co_return std::unexpected(r->error());
    for (const auto* r : {&cookie, &password, &proxy_password})
        if (!*r) co_return std::unexpected(r->error());
    if (*readahead % 512 != 0) co_return wrong("HTTP_READAHEAD_SIZE " + std::to_string(*readahead) + " is not a multiple of 512");
    if (in.text("cookie") && in.text("cookie-secret")) co_return wrong("curl driver cannot handle both cookie and cookie secret");
    access.verify = *verify;
    access.force_range = *force;
    access.timeout = static_cast<long>(*timeout);
    access.cookie = in.text("cookie").value_or(*cookie);
    access.user = in.text("username").value_or("");
    access.password = *password;
    access.proxy_user = in.text("proxy-username").value_or("");
    access.proxy_password = *proxy_password;
    const auto curl = CurlLibrary::load();
    if (!curl) co_return std::unexpected(curl.error());
    auto node = std::make_shared<CurlNode>(graph.reactor(), scheme, **curl, std::move(access), *readahead);
    if (auto r = co_await node->start(); !r) co_return std::unexpected(r.error());
    co_return node;
}

Task<Result<NodePtr>> open_http(Graph& g, const OpenOptions& o) { return open_curl(g, o, "http"); }
Task<Result<NodePtr>> open_https(Graph& g, const OpenOptions& o) { return open_curl(g, o, "https"); }
Task<Result<NodePtr>> open_ftp(Graph& g, const OpenOptions& o) { return open_curl(g, o, "ftp"); }
Task<Result<NodePtr>> open_ftps(Graph& g, const OpenOptions& o) { return open_curl(g, o, "ftps"); }

constexpr Driver driver(std::string_view name, Task<Result<NodePtr>> (*open)(Graph&, const OpenOptions&)) {
    return {name, Driver::Kind::kProtocol, {}, nullptr, open, nullptr, nullptr, false, false};
}

}  // namespace

const Driver kHttpDriver = driver("http", open_http), kHttpsDriver = driver("https", open_https), kFtpDriver = driver("ftp", open_ftp),
             kFtpsDriver = driver("ftps", open_ftps);

}  // namespace myna::block
