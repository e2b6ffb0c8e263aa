// Differential tests: a program of many short random instruction streams, run here and by oracles.
//
//   image at kImage, the same for all:   entry: base register = first record
//                                         for each stream:  call restore   (registers := record's input)
//                                                           the stream     (straight or forward branches)
//                                                           call save      (record's output := registers; next record)
//                                         finish: write(1, records and sandbox), exit(0)
//   records  input and output registers of each stream         sandbox  the only memory that streams touch
//
// What runs the image is free: the IR evaluator, the JIT, Unicorn inside this process, or a QEMU as another process. All
// leave records and sandbox behind, which must be equal. A guest gives a GuestUnderTest: its register record, the code of
// restore, save and finish, and which random instructions are safe in a stream.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "guest/common/arch.h"
#include "guest/common/decode_row.h"
#include "jit/engine.h"

namespace myna::test {

inline constexpr uint64_t kImage = 0x40000000;       // where the image is in guest memory, and in this process
inline constexpr uint64_t kRecords = 0x48000000;
inline constexpr uint64_t kSandbox = 0x50000000;
inline constexpr uint64_t kSandboxBytes = 0x4000;
inline constexpr uint64_t kSandboxBase = kSandbox + kSandboxBytes / 2;  // what base registers hold

/// A register as records keep it.
struct RecordField {
    std::string name;
    uint16_t offset;  // in the record
    uint8_t bytes;
    bool compared;    // false: the harness owns it (record pointer, link register)
};

/// One instruction of a stream.
struct StreamInsn {
    uint32_t raw;
    uint8_t bytes;
    const guest::DecodeRow* row;
    /// Index of the instruction a branch goes to (the stream's length: its end), -1: not a branch.
    int target = -1;
};

/// What a stream may contain and remembers while it is made.
struct StreamContext {
    guest::Rng& rng;
    std::vector<StreamInsn>& insns;
    unsigned reserved = 0;  // a load-exclusive came before: its size, as the guest counts
};

class GuestUnderTest {
  public:
    virtual ~GuestUnderTest() = default;
    [[nodiscard]] virtual const guest::GuestArch& arch() const = 0;
    [[nodiscard]] virtual const guest::DecodeTable& table() const = 0;
    [[nodiscard]] virtual const guest::CpuConfig& cpu() const = 0;

    /// Registers of one half (input or output) of a record, and its size.
    [[nodiscard]] virtual std::span<const RecordField> fields() const = 0;
    [[nodiscard]] virtual uint32_t record_bytes() const = 0;
    /// Fills the input half with interesting values. `stream`: address of its first instruction; `record`: the record's.
    virtual void random_record(guest::Rng& rng, uint8_t* input, uint64_t stream, uint64_t record) const = 0;
    /// Makes a random instruction of a row safe, or answers false: another one then.
    /// Base registers of memory operands must be such that hold kSandboxBase; nothing may write those, the record pointer
    /// or the link register. Branches: true, and `insn.target` is chosen by the harness.
    virtual bool make_safe(StreamInsn& insn, StreamContext& ctx) const = 0;
    /// The branch `insn` at `from` made to go to `to`.
    virtual void set_branch_target(StreamInsn& insn, int64_t distance) const = 0;
    [[nodiscard]] virtual bool is_branch(const guest::DecodeRow& row) const = 0;

    // ---- code of the frame
    /// At `pc`: record pointer := kRecords.
    virtual void emit_entry(std::vector<uint8_t>& code, uint64_t pc) const = 0;
    virtual void emit_restore(std::vector<uint8_t>& code) const = 0;
    virtual void emit_save(std::vector<uint8_t>& code) const = 0;
    /// A call from `pc` to `target` through the link register.
    virtual void emit_call(std::vector<uint8_t>& code, uint64_t pc, uint64_t target) const = 0;
    /// Writes [kRecords, +bytes) and the sandbox to file 1, then exits; begins with a system call instruction's setup.
    virtual void emit_finish(std::vector<uint8_t>& code, uint64_t record_area_bytes) const = 0;

    // ---- oracles
    /// The QEMU to ask and its options, without the program.
    [[nodiscard]] virtual std::vector<std::string> qemu_command() const = 0;
    [[nodiscard]] virtual uint32_t elf_flags() const { return 0; }
    /// Unicorn's architecture and mode; false: not to be used.
    [[nodiscard]] virtual bool unicorn(int& arch, int& mode) const { return false; }
    /// After opening: switch on floating point and the like.
    virtual void prepare_unicorn(void* engine) const {}
};

struct BatchOptions {
    uint64_t seed = 1;
    unsigned streams = 256;
    unsigned max_insns = 8;                       // a stream has 1..max_insns
    std::vector<const guest::DecodeRow*> rows = {};  // empty: all that the CPU has
};

/// What a run left: the records and the sandbox.
struct BatchResult {
    std::vector<uint8_t> records;
    std::vector<uint8_t> sandbox;
    std::string error;  // not empty: it did not run to its end
};

class Batch {
  public:
    Batch(const GuestUnderTest& guest, const BatchOptions& opt);
    ~Batch();
    Batch(const Batch&) = delete;
    Batch& operator=(const Batch&) = delete;

    /// Runs the streams by lifting blocks and evaluating their IR.
    BatchResult run_evaluator();
    /// Runs the streams as translated code.
    BatchResult run_jit(const jit::EngineOptions& opt);
    BatchResult run_qemu();
    BatchResult run_unicorn();

    /// Where the guest program begins and finish() begins, for other engines; reset() before, result() after a run.
    [[nodiscard]] uint64_t entry() const noexcept { return kImage; }
    [[nodiscard]] uint64_t finish() const noexcept { return finish_; }
    void reset();
    BatchResult result() const;

    using Run = std::function<BatchResult(Batch&)>;
    /// Runs both. Empty when equal; else what differs in the first stream that differs, with its instructions. Memory is
    /// compared at the end; where it differs, shorter runs find the stream that made it so.
    [[nodiscard]] std::string compare(const Run& ours, const Run& oracle);

    /// The evaluator and translated code under every host mask (seed.h), each compared with the oracle's one run. A
    /// difference names the engine.
    [[nodiscard]] std::string compare_engines(const Run& oracle);

    [[nodiscard]] size_t insn_count() const noexcept;
    [[nodiscard]] std::string describe(size_t stream) const;

  private:
    struct Stream {
        uint64_t start = 0;
        std::vector<StreamInsn> insns;
    };
    void make_stream(guest::Rng& rng, Stream& s);
    void link(Stream& s);
    void map_memory();
    /// Makes the program finish before stream `n`.
    void truncate(size_t n);
    [[nodiscard]] std::string register_differences(const BatchResult& ours, const BatchResult& oracle, size_t& stream) const;
    [[nodiscard]] std::string memory_differences(const BatchResult& ours, const BatchResult& oracle) const;
    [[nodiscard]] std::string elf() const;
    [[nodiscard]] std::string stopped_at(ir::ExitReason reason, uint64_t pc) const;

    const GuestUnderTest& guest_;
    BatchOptions opt_;
    std::vector<const guest::DecodeRow*> rows_;
    std::vector<uint8_t> code_, whole_code_;
    std::vector<uint8_t> records_;   // as they are before a run
    std::vector<uint8_t> sandbox_;
    std::vector<Stream> streams_;
    uint64_t finish_ = 0;
};

/// 64-bit values that find bugs: extremes, single bits, narrow values sign and zero extended, noise.
uint64_t interesting_int(guest::Rng& rng);
/// Bit patterns of binary16/32/64 (`width`) that do the same: zeroes, denormals, extremes, infinities, NaNs, noise.
uint64_t interesting_fp(guest::Rng& rng, unsigned width);

}  // namespace myna::test
