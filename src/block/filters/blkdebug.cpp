// blkdebug: fails requests as rules say, to test what is above: a format that meets an I/O error at a certain moment.
//
//   inject-error: event (what the format is doing, or none: always), state, iotype, sector, errno, once, immediately
//   set-state:    event, state ─▶ new_state
//
//   breakpoints: the next request behind an event stops until it is told to go on (myna-io's break, wait_break, resume)
//
// A rule of an event begins to hold when the format reports it (Node::event); with `once` it is used up by one request.
// `align` and `max-transfer` make the node below look more demanding than it is.
#include <algorithm>
#include <cerrno>
#include <coroutine>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <list>
#include <nlohmann/json.hpp>

#include "base/bits.h"
#include "block/filters/filter.h"
#include "block/formats/common/open.h"

namespace myna::block {

namespace {

enum Request : unsigned { kRead = 1, kWrite = 2, kZeroes = 4, kDiscard = 8, kFlush = 16, kStatus = 32 };
constexpr std::pair<std::string_view, unsigned> kTypes[] = {{"read", kRead}, {"write", kWrite}, {"write-zeroes", kZeroes}, {"discard", kDiscard}, {"flush", kFlush}, {"block-status", kStatus}};
// What formats here report.
constexpr std::string_view kEvents[] = {"none", "l1_update", "l2_load", "l2_update", "refblock_load", "refblock_update", "reftable_update", "header_update", "cluster_alloc", "cluster_free",
                                        "cow_read", "refblock_alloc", "empty_image_prepare", "read_aio", "write_aio", "read_compressed", "write_compressed", "flush_to_os", "flush_to_disk"};

struct Inject {
    std::string event = "none";
    unsigned state = 0, types = kRead | kWrite | kZeroes | kDiscard | kFlush;
    int error = EIO;
    std::optional<uint64_t> offset;
    bool once = false, active = false, used = false;
};
struct SetState {
    std::string event;
    unsigned state = 0, fresh = 0;
};

class BlkdebugNode final : public filters::FilterNode {
  public:
    BlkdebugNode(io::Reactor& r, NodePtr below) : FilterNode(r, std::move(below)) {}
    [[nodiscard]] std::string_view driver() const noexcept override { return "blkdebug"; }

    Result<void> add(const std::string& kind, const nlohmann::json& rule) {
        const auto text = [&](const char* key) -> std::string {
            const auto it = rule.find(key);
            return it == rule.end() ? "" : it->is_string() ? it->get<std::string>() : it->dump();
        };
        const auto bad = [&](const std::string& what) { return fail(ErrorKind::kInvalidArgument, "blkdebug: " + kind + ": " + what); };
        const auto count = [&](const char* key) { return static_cast<unsigned>(std::strtoul(text(key).c_str(), nullptr, 10)); };
        const auto on = [&](const char* key) { return text(key) == "on" || text(key) == "true"; };
        const std::string event = text("event");
        if (event.empty()) return bad("Missing event name for rule");
        if (std::find(std::begin(kEvents), std::end(kEvents), event) == std::end(kEvents)) return bad("event '" + event + "' is not one that formats here report");
        if (kind == "set-state") {
            states_.push_back({event, count("state"), count("new_state")});
            return {};
        }
        Inject i;
        i.event = event;
        i.state = count("state");
        if (const auto v = text("errno"); !v.empty()) i.error = static_cast<int>(count("errno"));
        if (const auto v = text("sector"); !v.empty() && v != "-1") i.offset = std::strtoull(v.c_str(), nullptr, 10) * 512;
        if (const auto v = text("iotype"); !v.empty()) {
            const auto t = std::find_if(std::begin(kTypes), std::end(kTypes), [&](const auto& k) { return k.first == v; });
            if (t == std::end(kTypes)) return bad("Invalid iotype '" + v + "'");
            i.types = t->second;
        }
        i.once = on("once");
        i.active = event == "none";
        rules_.push_back(std::move(i));
        return {};
    }
    Result<void> shape(const nlohmann::json& o) {
        auto align = formats::number_option(o, "align"), most = formats::number_option(o, "max-transfer");
        if (!align) return std::unexpected(align.error());
        if (!most) return std::unexpected(most.error());
        if (*align) {
            if (!std::has_single_bit(**align) || **align > (1u << 25) || **align < limits_.request_alignment) return fail(ErrorKind::kInvalidArgument, "Cannot meet constraints with align " + std::to_string(**align));
            limits_.request_alignment = static_cast<uint32_t>(**align);
        }
        if (*most && **most != 0) {
            if (**most % limits_.request_alignment != 0) return fail(ErrorKind::kInvalidArgument, "Cannot meet constraints with max-transfer " + std::to_string(**most));
            limits_.max_transfer = **most;
        }
        // Sizes that need not be powers of two: what is larger comes in pieces; where they begin is nobody's business here.
        for (const auto& [key, to] : {std::pair{"opt-write-zero", static_cast<uint64_t*>(nullptr)}, {"max-write-zero", &max_zeroes_}, {"opt-discard", nullptr}, {"max-discard", &max_discard_}}) {
            auto v = formats::number_option(o, key);
            if (!v) return std::unexpected(v.error());
            if (!*v || **v == 0) continue;
            if (**v % limits_.request_alignment != 0) return fail(ErrorKind::kInvalidArgument, std::string("Cannot meet constraints with ") + key + " " + std::to_string(**v));
            if (to != nullptr) *to = **v;
        }
        return {};
    }

    void event(std::string_view name) override {
        std::erase_if(breaks_, [&](const Break& b) {
            if (b.event != name) return false;
            stopping_.push_back(b.tag);
            return true;
        });
        for (Inject& i : rules_)
            if (i.event == name && !i.used && (i.state == 0 || i.state == state_)) i.active = true;
        unsigned fresh = state_;
        for (const SetState& s : states_)
            if (s.event == name && (s.state == 0 || s.state == state_)) fresh = s.fresh;
        if (fresh != state_) {
            state_ = fresh;
            for (Inject& i : rules_)
                if (i.event != "none" && i.event != name && i.state != 0 && i.state != state_) i.active = false;
        }
        file_->event(name);
    }

    Result<void> breakpoint(Breakpoint action, std::string_view event, std::string_view tag) override {
        if (action == Breakpoint::kSet) {
            if (std::find(std::begin(kEvents), std::end(kEvents), event) == std::end(kEvents)) return fail(ErrorKind::kNotFound, "blkdebug: no event '" + std::string(event) + "'", ENOENT);
            breaks_.push_back({std::string(event), std::string(tag)});
            return {};
        }
        const auto of_tag = [&](const auto& b) { return b.tag == tag; };
        size_t found = action == Breakpoint::kRemove ? std::erase_if(breaks_, of_tag) : 0;
        for (auto s = stopped_.begin(); s != stopped_.end() && (found == 0 || action == Breakpoint::kRemove);) {
            if (!of_tag(*s)) {
                ++s;
                continue;
            }
            std::printf("blkdebug: Resuming request '%s'\n", s->tag.c_str());
            std::fflush(stdout);
            reactor_.post(s->request);
            s = stopped_.erase(s);
            ++found;
        }
        if (found == 0) return fail(ErrorKind::kNotFound, "blkdebug: no request '" + std::string(tag) + "' has stopped", ENOENT);
        return {};
    }
    [[nodiscard]] bool stopped(std::string_view tag) const override {
        return std::any_of(stopped_.begin(), stopped_.end(), [&](const Stopped& s) { return s.tag == tag; });
    }

  protected:
    Task<Result<void>> do_read(uint64_t offset, const IoVec& into) override {
        if (!stopping_.empty()) co_await stop();
        if (auto r = request(kRead, offset, into.size()); !r) co_return r;
        co_return co_await FilterNode::do_read(offset, into);
    }
    Task<Result<void>> do_write(uint64_t offset, const IoVec& from, WriteFlags flags) override {
        if (!stopping_.empty()) co_await stop();
        if (auto r = request(kWrite, offset, from.size()); !r) co_return r;
        co_return co_await FilterNode::do_write(offset, from, flags);
    }
    Task<Result<void>> do_write_zeroes(uint64_t offset, uint64_t length, WriteFlags flags) override {
        if (!stopping_.empty()) co_await stop();
        if (auto r = request(kZeroes, offset, length); !r) co_return r;
        for (uint64_t n = 0; length != 0; offset += n, length -= n) {
            n = std::min(length, max_zeroes_);
            if (auto r = co_await FilterNode::do_write_zeroes(offset, n, flags); !r) co_return r;
        }
        co_return Result<void>{};
    }
    Task<Result<void>> do_discard(uint64_t offset, uint64_t length) override {
        if (!stopping_.empty()) co_await stop();
        if (auto r = request(kDiscard, offset, length); !r) co_return r;
        for (uint64_t n = 0; length != 0; offset += n, length -= n) {
            n = std::min(length, max_discard_);
            if (auto r = co_await FilterNode::do_discard(offset, n); !r) co_return r;
        }
        co_return Result<void>{};
    }
    Task<Result<void>> do_flush() override {
        if (!stopping_.empty()) co_await stop();
        if (auto r = request(kFlush, 0, 0); !r) co_return r;
        co_return co_await FilterNode::do_flush();
    }
    Task<Result<Extent>> do_block_status(uint64_t offset, uint64_t length) override {
        if (auto r = request(kStatus, offset, length); !r) co_return std::unexpected(r.error());
        co_return co_await FilterNode::do_block_status(offset, length);
    }

  private:
    struct Break {
        std::string event, tag;
    };
    struct Stopped {
        std::string tag;
        std::coroutine_handle<> request;
    };
    /// Where a request waits that comes behind the event of a breakpoint.
    Task<void> stop() {
        struct Wait {
            BlkdebugNode& n;
            const std::string& tag;
            bool await_ready() const noexcept { return false; }
            void await_suspend(std::coroutine_handle<> h) { n.stopped_.push_front({tag, h}); }
            void await_resume() const noexcept {}
        };
        for (const std::string& tag : std::exchange(stopping_, {})) {
            std::printf("blkdebug: Suspended request '%s'\n", tag.c_str());
            std::fflush(stdout);
            co_await Wait{*this, tag};
        }
    }
    Result<void> request(unsigned type, uint64_t offset, uint64_t length) {
        for (Inject& i : rules_) {
            if (!i.active || !(i.types & type) || (i.state != 0 && i.state != state_)) continue;
            if (i.offset && (*i.offset < offset || *i.offset >= offset + length)) continue;
            if (i.once) {
                i.active = false;
                i.used = true;
            }
            if (i.error == 0) return {};
            return fail_errno(i.error, filename_ + ": blkdebug");
        }
        return {};
    }
    std::vector<Inject> rules_;
    std::vector<SetState> states_;
    unsigned state_ = 1;
    uint64_t max_zeroes_ = UINT64_MAX, max_discard_ = UINT64_MAX;
    std::vector<Break> breaks_;
    std::vector<std::string> stopping_;  // tags whose event was seen: the next request stops
    std::list<Stopped> stopped_;         // the last one first
};

/// [inject-error] and [set-state] sections with key = "value" lines.
Result<void> read_config(BlkdebugNode& n, const std::string& name) {
    std::ifstream in(name);
    if (!in) return fail_errno(errno, "Could not read blkdebug config file '" + name + "'");
    std::string line, section;
    nlohmann::json rule = nlohmann::json::object();
    const auto done = [&]() -> Result<void> {
        if (section.empty()) return {};
        if (section != "inject-error" && section != "set-state") return fail(ErrorKind::kInvalidArgument, name + ": unknown section [" + section + "]");
        return n.add(section, rule);
    };
    while (std::getline(in, line)) {
        const size_t from = line.find_first_not_of(" \t\r");
        if (from == std::string::npos || line[from] == '#') continue;
        line.erase(0, from);
        if (line[0] == '[') {
            if (auto r = done(); !r) return r;
            section = line.substr(1, line.find(']') - 1);
            rule = nlohmann::json::object();
            continue;
        }
        const size_t eq = line.find('=');
        if (eq == std::string::npos) return fail(ErrorKind::kInvalidArgument, name + ": not a setting: " + line);
        const auto trim = [](std::string s) {
            const size_t a = s.find_first_not_of(" \t\r\""), b = s.find_last_not_of(" \t\r\"");
            return a == std::string::npos ? std::string() : s.substr(a, b - a + 1);
        };
        rule[trim(line.substr(0, eq))] = trim(line.substr(eq + 1));
    }
    return done();
}

Task<Result<NodePtr>> open_blkdebug(Graph& graph, const OpenOptions& o) {
    OpenOptions with = o;
    std::string config;
    if (const auto name = o.options.find("filename"); name != o.options.end() && name->is_string()) {
        // blkdebug:CONFIG:IMAGE; the configuration may be missing
        std::string rest = name->get<std::string>();
        if (rest.starts_with("blkdebug:")) rest.erase(0, 9);
        const size_t colon = rest.find(':');
        if (colon == std::string::npos) co_return fail(ErrorKind::kInvalidArgument, "blkdebug requires a config file and an image: blkdebug:CONFIG:IMAGE");
        config = rest.substr(0, colon);
        nlohmann::json file = {{"driver", "file"}, {"filename", rest.substr(colon + 1)}};
        // A format named for the image ("driver=blkdebug,image.driver=qcow2") lies on that file.
        if (const auto image = with.options.find("image"); image != with.options.end() && image->is_object() && image->value("driver", "file") != "file") (*image)["file"] = std::move(file);
        else with.options["image"] = std::move(file);
        with.options.erase("filename");
    }
    if (auto r = filters::only(with.options, "blkdebug", {"image", "config", "align", "max-transfer", "opt-write-zero", "max-write-zero", "opt-discard", "max-discard", "inject-error", "set-state"}); !r) {
        co_return std::unexpected(r.error());
    }
    if (const auto c = o.options.find("config"); c != o.options.end() && c->is_string()) config = c->get<std::string>();
    auto below = co_await filters::open_child(graph, with, "image");
    if (!below) co_return below;
    auto node = std::make_shared<BlkdebugNode>(graph.reactor(), *below);
    if (!config.empty())
        if (auto r = read_config(*node, config); !r) co_return std::unexpected(r.error());
    for (const char* kind : {"inject-error", "set-state"})
        if (const auto rules = o.options.find(kind); rules != o.options.end() && rules->is_structured()) {
            const nlohmann::json one = nlohmann::json::array({*rules});  // "inject-error.event=…": a single rule
            for (const auto& rule : rules->is_object() && rules->contains("event") ? one : *rules)
                if (auto r = node->add(kind, rule); !r) co_return std::unexpected(r.error());
        }
    if (auto r = node->shape(o.options); !r) co_return std::unexpected(r.error());
    co_return node;
}

}  // namespace

const Driver kBlkdebugDriver{"blkdebug", Driver::Kind::kFilter, {}, nullptr, open_blkdebug, nullptr, nullptr, false, false};

}  // namespace myna::block
