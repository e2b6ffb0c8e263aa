// An engine with one vCPU and a piece of guest memory, for the engine's tests.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "guest/riscv64/riscv64.h"
#include "jit/engine.h"
#include "rv.h"

namespace myna::jit {

using guest::riscv64::kArch;
using ir::ExitReason;

/// A region of guest memory, all of it code and data at once.
class TestMemory final : public GuestMemory {
  public:
    static constexpr size_t kBytes = 16 << 20;
    TestMemory() {
        void* p = mmap(reinterpret_cast<void*>(0x40000000), kBytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
        EXPECT_NE(p, MAP_FAILED);
        base = static_cast<uint8_t*>(p);
    }
    ~TestMemory() override { munmap(base, kBytes); }
    bool executable(uint64_t addr, uint64_t len) override { return addr >= pc(0) && addr + len <= pc(kBytes); }
    void code_on_page(uint64_t page_addr) override { pages.push_back(page_addr); }

    [[nodiscard]] uint64_t pc(uint64_t offset) const { return reinterpret_cast<uint64_t>(base) + offset; }
    void put(uint64_t offset, std::initializer_list<uint32_t> code) { std::memcpy(base + offset, code.begin(), code.size() * 4); }

    uint8_t* base;
    std::vector<uint64_t> pages;
};

class EngineTest : public testing::Test {
  protected:
    void start(EngineOptions opt = {}) {
        auto cpu = kArch.parse_cpu("max");
        ASSERT_TRUE(cpu);
        auto e = Engine::create(kArch, *cpu, opt, memory);
        ASSERT_TRUE(e) << e.error().message;
        engine = std::move(*e);
        vcpu = engine->create_vcpu();
    }
    uint64_t& x(rv::Reg r, Vcpu* v = nullptr) {
        const auto& slot = kArch.slots[find_slot(r)];
        return *reinterpret_cast<uint64_t*>(static_cast<uint8_t*>((v ? v : vcpu.get())->state()) + slot.offset);
    }
    static size_t find_slot(rv::Reg r) {
        for (size_t i = 0; i < kArch.slots.size(); ++i)
            if (kArch.slots[i].name == "x" + std::to_string(r)) return i;
        ADD_FAILURE() << "no slot for x" << r;
        return 0;
    }
    ExitReason run_from(uint64_t offset) {
        vcpu->header().pc = memory.pc(offset);
        return vcpu->run();
    }

    TestMemory memory;
    std::unique_ptr<Engine> engine;
    std::unique_ptr<Vcpu> vcpu;
};

}  // namespace myna::jit
