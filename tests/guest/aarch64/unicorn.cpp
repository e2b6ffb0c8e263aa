// Unicorn as the oracle: QEMU 5.0's translator with cpu max.
#include <unicorn/unicorn.h>

#include <cstring>
#include <random>
#include <string_view>
#include <vector>

#include "guest/aarch64/cpu_models.h"
#include "guest/common/decode_row.h"
#include "machine.h"

namespace myna::guest::aarch64::test {
namespace {

class UnicornMachine final : public Machine {
  public:
    static std::unique_ptr<Machine> open() {
        auto m = std::make_unique<UnicornMachine>();
        return m->uc_ != nullptr ? std::unique_ptr<Machine>(std::move(m)) : nullptr;
    }
    UnicornMachine() : data_(kDataSize), code_(kCodeSize) {
        if (uc_open(UC_ARCH_ARM64, UC_MODE_ARM, &uc_) != UC_ERR_OK) {
            uc_ = nullptr;
            return;
        }
        uc_ctl_set_cpu_model(uc_, UC_CPU_ARM64_MAX);
        uc_mem_map_ptr(uc_, kCode, kCodeSize, UC_PROT_ALL, code_.data());
        uc_mem_map_ptr(uc_, kData, kDataSize, UC_PROT_READ | UC_PROT_WRITE, data_.data());
        uint64_t fp_on = 3u << 20;
        uc_reg_write(uc_, UC_ARM64_REG_CPACR_EL1, &fp_on);
    }
    ~UnicornMachine() override {
        if (uc_ != nullptr) uc_close(uc_);
    }

    Stop run(std::span<const uint32_t> code, Registers& r) override {
        const uint64_t end = kCode + code.size_bytes();
        uc_mem_write(uc_, kCode, code.data(), code.size_bytes());
        uc_ctl_remove_cache(uc_, kCode, end + 4);
        transfer(r, [&](int* ids, void** values, int n) { uc_reg_write_batch(uc_, ids, values, n); });
        const uc_err error = uc_emu_start(uc_, r.pc, end, 0, 0);
        transfer(r, [&](int* ids, void** values, int n) { uc_reg_read_batch(uc_, ids, values, n); });
        r.nzcv &= 0xf0000000;
        if (error == UC_ERR_OK) return Stop::kEnd;
        return error == UC_ERR_INSN_INVALID || error == UC_ERR_EXCEPTION ? Stop::kUndefined : Stop::kOther;
    }
    std::span<uint8_t> data() override { return data_; }

  private:
    /// Collects pointers to all registers for a batch read or write.
    template <class Batch>
    static void transfer(Registers& r, Batch batch) {
        int ids[80];
        void* values[80];
        int n = 0;
        const auto add = [&](int id, void* value) {
            ids[n] = id;
            values[n++] = value;
        };
        for (int i = 0; i < 29; ++i) add(UC_ARM64_REG_X0 + i, &r.x[static_cast<size_t>(i)]);
        add(UC_ARM64_REG_X29, &r.x[29]);
        add(UC_ARM64_REG_X30, &r.x[30]);
        add(UC_ARM64_REG_SP, &r.sp);
        add(UC_ARM64_REG_PC, &r.pc);
        uint64_t nzcv = r.nzcv, fpcr = r.fpcr, fpsr = r.fpsr;
        add(UC_ARM64_REG_NZCV, &nzcv);
        add(UC_ARM64_REG_FPCR, &fpcr);
        add(UC_ARM64_REG_FPSR, &fpsr);
        for (int i = 0; i < 32; ++i) add(UC_ARM64_REG_V0 + i, &r.v[static_cast<size_t>(i)]);
        batch(ids, values, n);
        r.nzcv = static_cast<uint32_t>(nzcv);
        r.fpcr = static_cast<uint32_t>(fpcr);
        r.fpsr = static_cast<uint32_t>(fpsr);
    }

    uc_engine* uc_ = nullptr;
    std::vector<uint8_t> data_, code_;
};

}  // namespace

std::unique_ptr<Machine> make_unicorn() { return UnicornMachine::open(); }

std::pair<std::unique_ptr<Machine>, std::unique_ptr<Machine>> make_pair_for(const myna::test::HostMask& host) {
    jit::EngineOptions options;
    options.cache_bytes = size_t{16} << 20;
    options.host_mask = host.features;
    if (std::string_view(host.name) == "interp") options.accel = jit::Accel::kInterp;
    auto ours = make_myna(*parse_cpu("max"), options);
    auto oracle = make_unicorn();
    Rng rng(7);
    for (size_t i = 0; oracle != nullptr && i < kDataSize; ++i) ours->data()[i] = oracle->data()[i] = static_cast<uint8_t>(rng());
    return {std::move(ours), std::move(oracle)};
}

}  // namespace myna::guest::aarch64::test
