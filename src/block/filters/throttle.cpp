#include "block/filters/throttle.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "block/filters/filter.h"
#include "block/formats/common/open.h"

namespace myna::block {

double ThrottleGroup::Bucket::wait() const {
    if (average <= 0) return 0;
    const double room = maximum > 0 ? maximum * seconds : average / 10;
    double t = std::max(0.0, level - room) / average;
    if (maximum > 0 && seconds > 1) t = std::max(t, std::max(0.0, burst - maximum / 10) / maximum);
    return t;
}

void ThrottleGroup::Bucket::leak(double t) {
    level = std::max(0.0, level - average * t);
    burst = std::max(0.0, burst - maximum * t);
}

void ThrottleGroup::Bucket::add(double units) {
    if (average <= 0) return;
    level += units;
    burst += units;
}

namespace {
// In the order of ThrottleGroup::Kind.
constexpr std::string_view kNames[] = {"bps-total", "bps-read", "bps-write", "iops-total", "iops-read", "iops-write"};
}  // namespace

nlohmann::json ThrottleGroup::limits() const {
    nlohmann::json out = {{"iops-size", op_bytes_}};
    for (size_t i = 0; i < kKinds; ++i) {
        const std::string name(kNames[i]);
        out[name] = static_cast<uint64_t>(buckets_[i].average);
        out[name + "-max"] = static_cast<uint64_t>(buckets_[i].maximum);
        out[name + "-max-length"] = static_cast<uint64_t>(buckets_[i].seconds);
    }
    return out;
}

Result<void> ThrottleGroup::set(const nlohmann::json& given) {
    nlohmann::json limits = given.value("limits", nlohmann::json::object());
    for (const auto& [key, value] : given.items()) {
        if (key == "id" || key == "qom-type" || key == "limits") continue;
        if (!key.starts_with("x-")) return fail(ErrorKind::kInvalidArgument, "Property 'throttle-group." + key + "' not found");
        limits[key.substr(2)] = value;
    }
    auto fresh = buckets_;
    for (const auto& [key, value] : limits.items()) {
        auto n = formats::number_option(limits, key.c_str());
        if (!n) return std::unexpected(n.error());
        if (key == "iops-size") {
            op_bytes_ = n->value_or(0);
            continue;
        }
        const auto kind = std::find_if(std::begin(kNames), std::end(kNames), [&](std::string_view name) { return key.starts_with(name); });
        const std::string rest = kind == std::end(kNames) ? "" : key.substr(kind->size());
        if (kind == std::end(kNames) || (!rest.empty() && rest != "-max" && rest != "-max-length")) return fail(ErrorKind::kInvalidArgument, "Property 'throttle-group.x-" + key + "' not found");
        Bucket& b = fresh[static_cast<size_t>(kind - std::begin(kNames))];
        (rest.empty() ? b.average : rest == "-max" ? b.maximum : b.seconds) = static_cast<double>(n->value_or(0));
    }
    for (size_t base : {size_t{kBytesTotal}, size_t{kOpsTotal}})
        if (fresh[base].average > 0 && (fresh[base + 1].average > 0 || fresh[base + 2].average > 0))
            return fail(ErrorKind::kInvalidArgument, "bps/iops/max total values and read/write values cannot be used at the same time");
    for (const Bucket& b : fresh) {
        if (b.seconds < 1) return fail(ErrorKind::kInvalidArgument, "the burst length cannot be 0");
        if (b.seconds > 1 && b.maximum <= 0) return fail(ErrorKind::kInvalidArgument, "burst length set without burst rate");
        if (b.maximum > 0 && b.average <= 0) return fail(ErrorKind::kInvalidArgument, "bps_max/iops_max require corresponding bps/iops values");
        if (b.maximum > 0 && b.maximum < b.average) return fail(ErrorKind::kInvalidArgument, "bps_max/iops_max cannot be lower than bps/iops");
    }
    buckets_ = fresh;
    return {};
}

double ThrottleGroup::delay(bool write, Clock::time_point now) {
    if (last_ == Clock::time_point{}) last_ = now;
    const double passed = std::chrono::duration<double>(now - last_).count();
    last_ = now;
    for (Bucket& b : buckets_) b.leak(passed);
    double t = 0;
    for (const size_t k : {size_t{kBytesTotal}, size_t{kOpsTotal}, write ? size_t{kBytesWrite} : size_t{kBytesRead}, write ? size_t{kOpsWrite} : size_t{kOpsRead}}) t = std::max(t, buckets_[k].wait());
    return t;
}

Task<void> ThrottleGroup::pass(bool write, uint64_t bytes) {
    const auto turn = co_await queue_[write ? 1 : 0].lock();
    double t;
    while ((t = delay(write, Clock::now())) > 0) co_await reactor_.sleep(std::chrono::nanoseconds(static_cast<int64_t>(t * 1e9) + 1));
    const double ops = op_bytes_ == 0 ? 1 : static_cast<double>((bytes + op_bytes_ - 1) / op_bytes_);
    buckets_[kBytesTotal].add(static_cast<double>(bytes));
    buckets_[write ? kBytesWrite : kBytesRead].add(static_cast<double>(bytes));
    buckets_[kOpsTotal].add(ops);
    buckets_[write ? kOpsWrite : kOpsRead].add(ops);
}

namespace {

class ThrottleNode final : public filters::FilterNode {
  public:
    ThrottleNode(io::Reactor& r, NodePtr below, std::shared_ptr<ThrottleGroup> group) : FilterNode(r, std::move(below)), group_(std::move(group)) {}
    [[nodiscard]] std::string_view driver() const noexcept override { return "throttle"; }

  protected:
    Task<Result<void>> do_read(uint64_t offset, const IoVec& into) override {
        co_await group_->pass(false, into.size());
        co_return co_await file_->read(offset, into);
    }
    Task<Result<void>> do_write(uint64_t offset, const IoVec& from, WriteFlags flags) override {
        co_await group_->pass(true, from.size());
        co_return co_await file_->write(offset, from, flags);
    }
    Task<Result<void>> do_write_zeroes(uint64_t offset, uint64_t length, WriteFlags flags) override {
        co_await group_->pass(true, length);
        co_return co_await file_->write_zeroes(offset, length, flags);
    }
    Task<Result<void>> do_discard(uint64_t offset, uint64_t length) override {
        co_await group_->pass(true, length);
        co_return co_await file_->discard(offset, length);
    }

  private:
    std::shared_ptr<ThrottleGroup> group_;
};

Task<Result<NodePtr>> open_throttle(Graph& graph, const OpenOptions& o) {
    if (auto r = filters::only(o.options, "throttle", {"throttle-group", "limits"}); !r) co_return std::unexpected(r.error());
    std::shared_ptr<ThrottleGroup> group;
    if (const auto id = o.options.find("throttle-group"); id != o.options.end() && id->is_string()) {
        group = graph.throttle_group(id->get<std::string>());
        if (!group) co_return fail(ErrorKind::kNotFound, "Throttle group '" + id->get<std::string>() + "' does not exist");
    } else if (const auto limits = o.options.find("limits"); limits != o.options.end()) {
        group = std::make_shared<ThrottleGroup>(graph.reactor());
        if (auto r = group->set({{"limits", *limits}}); !r) co_return std::unexpected(r.error());
    } else {
        co_return fail(ErrorKind::kInvalidArgument, "Parameter 'throttle-group' is missing");
    }
    auto below = co_await filters::open_child(graph, o, "file");
    if (!below) co_return below;
    co_return std::make_shared<ThrottleNode>(graph.reactor(), *below, std::move(group));
}

}  // namespace

const Driver kThrottleDriver{"throttle", Driver::Kind::kFilter, {}, nullptr, open_throttle, nullptr, nullptr, false, false};

}  // namespace myna::block
