// Translations on disk: made by one engine, written to a file, read and run by another; refused when anything differs.
#include "fixture.h"

#include <unistd.h>

#include <cstdio>
#include <random>

namespace myna::jit {
namespace {

using persist::SavedBlock;

class PersistTest : public EngineTest {
  protected:
    static constexpr uint64_t kLoop = 4, kTable = 8 << 20;
    void SetUp() override {
        // Sums a table: loads (fault points), a backward exit (poll), a helper (the counter), a system call.
        memory.put(0, {rv::addi(rv::a0, rv::zero, 0),
                       /* 4: */ rv::ld(rv::a3, 0, rv::a2), rv::add(rv::a0, rv::a0, rv::a3), rv::addi(rv::a2, rv::a2, 8),
                       rv::addi(rv::a1, rv::a1, -1), rv::bne(rv::a1, rv::zero, -16), 0xc0102573 | 4 << 7 /* rdtime a4 */, rv::ecall()});
        for (uint64_t n = 0; n < 100; ++n) std::memcpy(memory.base + kTable + 8 * n, &n, 8);
    }
    static EngineOptions keeping() {
        EngineOptions o;
        o.keep_relocations = true;
        return o;
    }
    uint64_t sum() {
        x(rv::a1) = 100, x(rv::a2) = memory.pc(kTable);
        EXPECT_EQ(run_from(0), ExitReason::kSyscall);
        return x(rv::a0);
    }
    std::vector<SavedBlock> translate_and_save() {
        std::vector<SavedBlock> blocks;
        EXPECT_EQ(sum(), 4950u);
        for (const uint64_t offset : {uint64_t{0}, kLoop, uint64_t{24}}) {
            auto b = engine->save_block(memory.pc(offset), vcpu->header().mode);
            if (b) blocks.push_back(*b);
        }
        return blocks;
    }
};

TEST_F(PersistTest, AnotherEngineRunsWhatWasWrittenToAFile) {
    start(keeping());
    const auto blocks = translate_and_save();
    ASSERT_GE(blocks.size(), 2u);
    const auto bytes = persist::serialise(engine->persist_key(), blocks);
    std::FILE* file = std::tmpfile();
    ASSERT_NE(file, nullptr);
    ASSERT_EQ(std::fwrite(bytes.data(), 1, bytes.size(), file), bytes.size());
    std::rewind(file);
    std::vector<uint8_t> read(bytes.size() + 1);
    read.resize(std::fread(read.data(), 1, read.size(), file));
    std::fclose(file);
    ASSERT_EQ(read, bytes);

    vcpu.reset();
    start(keeping());
    // Something else first, so that the blocks come to lie elsewhere.
    for (uint64_t at = 1024; at < 1024 + 40 * 16; at += 16) memory.put(at, {rv::sd(rv::a5, 0, rv::sp), rv::jal(rv::zero, 12)});
    memory.put(1024 + 40 * 16, {rv::ecall()});
    x(rv::sp) = memory.pc(4 << 20);
    ASSERT_EQ(run_from(1024), ExitReason::kSyscall);
    const auto parsed = persist::parse(read, engine->persist_key());
    ASSERT_TRUE(parsed) << parsed.error().message;
    ASSERT_EQ(parsed->blocks.size(), blocks.size());
    EXPECT_EQ(parsed->dropped, 0u);
    const std::string before = engine->stats();
    // In another order: what was linked is not, and finds its target anew.
    for (auto b = parsed->blocks.rbegin(); b != parsed->blocks.rend(); ++b) {
        const auto r = engine->load_block(*b);
        ASSERT_TRUE(r) << r.error().message;
    }
    EXPECT_EQ(sum(), 4950u);
    EXPECT_EQ(engine->stats().substr(0, engine->stats().find('\n')), before.substr(0, before.find('\n'))) << "something was translated";
    // A second run goes over the links; saving what is linked gives what was loaded.
    EXPECT_EQ(sum(), 4950u);
    for (const SavedBlock& b : parsed->blocks) {
        const auto again = engine->save_block(b.pc, b.mode);
        ASSERT_TRUE(again);
        EXPECT_NE(again->distance, b.distance);
        const auto& code = again->code;
        ASSERT_EQ(code.size(), b.code.size());
        EXPECT_EQ(again->stub_fields, b.stub_fields);
        // Equal but for the fields that lead to the stubs.
        std::vector<uint8_t> a = code, c = b.code;
        for (const uint32_t f : b.stub_fields) std::memset(&a[f], 0, 4), std::memset(&c[f], 0, 4);
        EXPECT_EQ(a, c);
    }
    // And it goes like any translation when its code is changed.
    memory.put(8, {rv::addi(rv::a0, rv::a0, 1)});
    engine->invalidate(memory.pc(8), 4);
    EXPECT_EQ(sum(), 100u);
}

TEST_F(PersistTest, ABlockForOtherGuestCodeIsRefused) {
    start(keeping());
    const auto blocks = translate_and_save();
    vcpu.reset();
    start(keeping());
    memory.put(8, {rv::addi(rv::a0, rv::a0, 1)});
    for (const SavedBlock& b : blocks) {
        if (b.pc > memory.pc(8)) continue;
        const auto r = engine->load_block(b);
        ASSERT_FALSE(r) << std::hex << b.pc;
        EXPECT_EQ(r.error().kind, ErrorKind::kInvalidArgument);
    }
    EXPECT_EQ(sum(), 100u);
}

TEST_F(PersistTest, AnyDifferenceInTheKeyIsRefused) {
    start(keeping());
    const auto blocks = translate_and_save();
    const persist::Key key = engine->persist_key();
    const auto bytes = persist::serialise(key, blocks);
    ASSERT_TRUE(persist::parse(bytes, key));
    for (uint64_t persist::Key::* part : {&persist::Key::build, &persist::Key::guest, &persist::Key::host, &persist::Key::options}) {
        persist::Key other = key;
        other.*part ^= 1;
        const auto r = persist::parse(bytes, other);
        ASSERT_FALSE(r);
        EXPECT_EQ(r.error().kind, ErrorKind::kUnsupported);
    }
    // What makes keys differ.
    const auto key_with = [&](EngineOptions o, const char* cpu) {
        auto e = Engine::create(kArch, *kArch.parse_cpu(cpu), o, memory);
        return (*e)->persist_key();
    };
    EXPECT_EQ(key_with(keeping(), "max"), key);
    EXPECT_NE(key_with(keeping(), "rv64").guest, key.guest);
    EngineOptions o = keeping();
    o.host_mask = {"bmi2"};
    EXPECT_NE(key_with(o, "max").host, key.host);
    o = keeping();
    o.jit_disable = {"fuse"};
    EXPECT_NE(key_with(o, "max").options, key.options);
    o = keeping();
    o.guest_base = 0x10000;
    EXPECT_NE(key_with(o, "max").options, key.options);
    EngineOptions plain;
    start(plain);
    EXPECT_EQ(engine->save_block(memory.pc(0), vcpu->header().mode).error().kind, ErrorKind::kUnsupported);
}

TEST_F(PersistTest, OffsetsThatLeadAnywhereAreDropped) {
    start(keeping());
    const auto blocks = translate_and_save();
    const persist::Key key = engine->persist_key();
    const auto with_exit = std::find_if(blocks.begin(), blocks.end(), [](const SavedBlock& b) { return !b.exits.empty() && !b.faults.empty(); });
    ASSERT_NE(with_exit, blocks.end());
    const auto expect_dropped = [&](const char* what, auto change) {
        SavedBlock b = *with_exit;
        change(b);
        const auto r = persist::parse(persist::serialise(key, std::vector{b}), key);
        ASSERT_TRUE(r);
        EXPECT_EQ(r->dropped, 1u) << what;
    };
    const auto size = static_cast<uint32_t>(with_exit->code.size());
    expect_dropped("a jump across the words that are patched", [](SavedBlock& b) { b.exits[0].disp_offset = 5; });
    expect_dropped("a jump behind the code", [&](SavedBlock& b) { b.exits[0].disp_offset = (size + 7) & ~7u; });
    expect_dropped("a jump far away", [](SavedBlock& b) { b.exits[0].disp_offset = 0xfffffff8; });
    expect_dropped("a stub behind the code", [&](SavedBlock& b) { b.exits[0].stub_offset = size - 4; });
    expect_dropped("a field behind the code", [&](SavedBlock& b) { b.stub_fields.push_back(size - 3); });
    expect_dropped("a fault of no instruction", [](SavedBlock& b) { b.faults[0].insn_index = static_cast<uint32_t>(b.guest_pcs.size()); });
    expect_dropped("faults out of order", [&](SavedBlock& b) { b.faults.insert(b.faults.begin(), {size, 0, b.faults[0].flags}); });
    expect_dropped("code that wraps", [](SavedBlock& b) { b.ranges.push_back({~uint64_t{0} - 3, 8, 0}); });
    expect_dropped("no code", [](SavedBlock& b) { b.code.clear(), b.exits.clear(), b.faults.clear(), b.stub_fields.clear(); });
}

TEST_F(PersistTest, DamagedFilesAreErrorsOrLoseBlocks) {
    start(keeping());
    const auto blocks = translate_and_save();
    const persist::Key key = engine->persist_key();
    const auto bytes = persist::serialise(key, blocks);
    EXPECT_FALSE(persist::parse({}, key));
    for (size_t n = 0; n < bytes.size(); ++n) {
        const auto r = persist::parse(std::span(bytes).first(n), key);
        if (r) { EXPECT_EQ(r->blocks.size() + r->dropped, blocks.size()); EXPECT_GT(r->dropped, 0u); }
    }
    std::mt19937_64 rng(5);
    for (size_t n = 0; n < bytes.size(); ++n) {
        auto damaged = bytes;
        damaged[n] ^= static_cast<uint8_t>(1u << rng() % 8);
        const auto r = persist::parse(damaged, key);
        if (r && n != 12) { EXPECT_GT(r->dropped, 0u) << "byte " << n; }
    }
}

}  // namespace
}  // namespace myna::jit
