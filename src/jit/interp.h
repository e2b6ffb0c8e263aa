// -accel interp: the engine whose vCPUs run the IR in the evaluator. Slow, always right; needs no host back end.
#pragma once

#include <memory>

#include "jit/engine.h"

namespace myna::jit {

Result<std::unique_ptr<Engine>> create_interp_engine(const guest::GuestArch& arch, const guest::CpuConfig& cpu,
                                                     const EngineOptions& opt, GuestMemory& memory);

}  // namespace myna::jit
