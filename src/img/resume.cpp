#include "img/resume.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>

namespace myna::img {

using nlohmann::json;

namespace {

constexpr auto kInterval = std::chrono::seconds(1);

json identity(const std::vector<std::string>& sources, const std::string& format, const json& options, bool compressed, uint64_t total) {
    json out{{"format", format}, {"options", options}, {"compressed", compressed}, {"total", total}, {"sources", json::array()}};
    for (const std::string& s : sources) {
        json row{{"name", s}};
        struct stat st {};
        if (stat(s.c_str(), &st) == 0) {
            row["bytes"] = st.st_size;
            row["changed"] = {st.st_mtim.tv_sec, st.st_mtim.tv_nsec};
        }
        out["sources"].push_back(std::move(row));
    }
    return out;
}

}  // namespace

Result<std::unique_ptr<Resume>> Resume::open(const std::string& target, const std::vector<std::string>& sources, const std::string& format, const json& options, bool compressed, uint64_t total) {
    auto r = std::make_unique<Resume>();
    r->path_ = target + ".myna-resume";
    r->record_["conversion"] = identity(sources, format, options, compressed, total);
    std::ifstream f(r->path_);
    if (!f) return r;
    const json old = json::parse(f, nullptr, false);
    if (!old.is_object() || !old.contains("conversion")) return fail(ErrorKind::kCorrupt, r->path_ + ": not a record of a conversion; remove it to begin anew");
    if (old["conversion"] != r->record_["conversion"])
        return fail(ErrorKind::kInvalidArgument, r->path_ + ": records another conversion, or a source changed since; remove it to begin anew");
    if (access(target.c_str(), F_OK) != 0) return r;  // the target is gone: from the start
    r->record_ = old;
    r->done_ = old.value("done", uint64_t{0});
    return r;
}

Result<void> Resume::write() {
    record_["done"] = done_;
    const std::string fresh = path_ + ".new", text = record_.dump(1) + "\n";
    const int fd = ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) return fail_errno(errno, fresh);
    const bool ok = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && fsync(fd) == 0;
    const int err = errno;
    ::close(fd);
    if (!ok) return fail_errno(err, fresh);
    if (rename(fresh.c_str(), path_.c_str()) != 0) return fail_errno(errno, path_);
    return {};
}

Task<Result<void>> Resume::note(Node& target, std::map<uint64_t, uint64_t>& finished) {
    // Join what has become one stretch from the start.
    for (auto it = finished.begin(); it != finished.end();) {
        const auto next = std::next(it);
        if (next == finished.end() || it->second < next->first) break;
        it->second = std::max(it->second, next->second);
        finished.erase(next);
    }
    const uint64_t safe = finished.empty() || finished.begin()->first != 0 ? 0 : finished.begin()->second;
    const auto now = std::chrono::steady_clock::now();
    if (busy_ || now - last_ < kInterval || safe == done_) co_return Result<void>{};
    busy_ = true;
    auto r = co_await target.flush();
    if (r) {
        done_ = safe;
        r = write();
    }
    last_ = std::chrono::steady_clock::now();
    busy_ = false;
    co_return r;
}

void Resume::finish() { unlink(path_.c_str()); }

}  // namespace myna::img
