// Runs one Function as host code, and as the evaluator sees it, over the toy guest; and compares.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "codegen/x64/compiler.h"
#include "ir/function.h"
#include "ir/random_ir.h"
#include "ir/toy_guest.h"

namespace myna::testing {

/// A piece of executable memory with stubs, and a Compiler that writes behind them.
class HostRunner {
  public:
    explicit HostRunner(const x64::Options& opt, const guest::GuestArch& arch = toy_guest());
    ~HostRunner();

    /// Compiles; false when it does not fit or fails.
    bool compile(const ir::Function& f);
    /// The bytes for running `stub_distance` behind stubs at `stubs_at`.
    std::vector<uint8_t> bytes_at(const ir::Function& f, uint64_t stubs_at, uint64_t stub_distance);
    /// Runs what was compiled last. The result is the exit reason; pc is in the header.
    ir::ExitReason run(ToyState& s);
    /// Compiles `f` and checks its allocation (alloc_check.h): "" when all holds. It need not be run.
    std::string check_allocation(const ir::Function& f);
    /// The same with the log changed before it is looked at.
    std::string check_allocation(const ir::Function& f, const std::function<void(x64::AllocLog&)>& change);
    /// The host code as text.
    [[nodiscard]] std::string text() const;

    x64::CompiledBlock block;

  private:
    x64::Options opt_;
    const guest::GuestArch& arch_;
    uint8_t* code_ = nullptr;
    x64::Compiler compiler_;
    x64::Stubs stubs_;
    uint64_t at_ = 0;
    std::unique_ptr<guest::IndirectEntry[]> indirect_;
};

/// The host's features with some switched off: "avx", "avx2,bmi2" …
x64::HostFeatures host_without(const std::string& masked);

/// A host to test the back end for: with features masked, and with one of its own optimisations off.
struct HostCase {
    const char* name;
    const char* masked;  // as for host_without
    bool dead_sets, fuse, pin;
    [[nodiscard]] x64::Options options() const;
};

/// Runs `f` both ways from the same random state `rounds` times. "" when all agrees, else what differs, with the IR and
/// the host code.
std::string compare_runs(HostRunner& host, const ir::Function& f, std::mt19937_64& rng, unsigned rounds, bool fp = false);

}  // namespace myna::testing
