// The record beside a new image that lets an interrupted conversion go on.
//
//   TARGET.myna-resume: {what is converted, with size and time of each source; bytes done}   removed at the end
//
// It says how many bytes from the start are safely in the target: the target is flushed before the record is renamed
// into place.
#pragma once

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>

#include "img/tool.h"

namespace myna::img {

class Resume {
  public:
    /// Reads the record of `target`, or begins one. A record of another conversion (other sources, changed sources, other
    /// options) is an error that says so.
    static Result<std::unique_ptr<Resume>> open(const std::string& target, const std::vector<std::string>& sources, const std::string& format, const nlohmann::json& options, bool compressed, uint64_t total);
    /// Bytes that an earlier run has done.
    [[nodiscard]] uint64_t done() const noexcept { return done_; }
    [[nodiscard]] bool target_was_zero() const { return record_.value("target-zero", false); }
    void set_target_zero(bool zero) { record_["target-zero"] = zero; }
    /// `finished` maps begins to ends of what is written; now and then what is without gap is made safe and recorded.
    Task<Result<void>> note(Node& target, std::map<uint64_t, uint64_t>& finished);
    /// The conversion is complete: no record is needed.
    void finish();

  private:
    Result<void> write();
    std::string path_;
    nlohmann::json record_;
    uint64_t done_ = 0;
    bool busy_ = false;
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace myna::img
