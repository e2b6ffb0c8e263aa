// The translator: one block of guest code, lifted, compiled and put into the cache. Used under the engine's lock.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "codegen/x64/compiler.h"
#include "ir/builder.h"
#include "jit/block_map.h"
#include "jit/code_cache.h"
#include "jit/engine.h"
#include "jit/fetcher.h"
#include "jit/log.h"

namespace myna::jit {

struct Stats {
    uint64_t blocks = 0, guest_insns = 0, guest_bytes = 0, host_bytes = 0, ir_insns = 0;
    uint64_t translate_cycles = 0, links = 0, lookups = 0, evictions = 0, invalidated = 0;
};

class Translator {
  public:
    Translator(const guest::GuestArch& arch, const guest::CpuConfig& cpu, const EngineOptions& opt, GuestMemory& memory,
               CodeCache& cache, BlockMap& map, LogSink& log, PerfRecorder& perf);

    /// Writes the stubs at the cache's start.
    Result<void> start(const x64::Options& codegen);
    [[nodiscard]] const x64::Stubs& stubs() const noexcept { return stubs_; }

    /// Translates and publishes the block at `pc`; nullptr when the current region is full (evict, then try again).
    Block* translate(uint64_t pc, uint32_t mode);

    /// Compiles `f` as it is and enters it in the cache, unpublished; nullptr when the region is full.
    Block* compile(const ir::Function& f);
    /// What the block at `pc` would be made of: lifts it and gives the bytes that were looked at. Empty: nothing there.
    [[nodiscard]] const std::vector<ir::GuestRange>& ranges_of(uint64_t pc, uint32_t mode);

    // ---- translations on disk (translator_saved.cpp)
    [[nodiscard]] persist::Key key() const;
    [[nodiscard]] persist::SavedBlock save(const Block& b) const;
    /// Enters a saved block, unpublished. nullptr: the region is full. kInvalidArgument: guest code differs.
    Result<Block*> load(const persist::SavedBlock& s);

    Stats stats;

  private:
    Block* record(const ir::Function& f, uint64_t host);
    void log_block(const ir::Function& f, const Block& b);

    const guest::GuestArch& arch_;
    const guest::CpuConfig& cpu_;
    const EngineOptions& opt_;
    CodeCache& cache_;
    BlockMap& map_;
    LogSink& log_;
    PerfRecorder& perf_;
    GuestFetcher fetcher_;
    ir::Function function_;
    ir::Builder builder_;
    guest::LiftLimits limits_;
    std::unique_ptr<x64::Compiler> compiler_;
    x64::CompiledBlock compiled_;
    x64::Stubs stubs_;
    x64::Options codegen_;
    uint64_t stubs_at_ = 0;  // executable address of the cache's first byte
};

}  // namespace myna::jit
