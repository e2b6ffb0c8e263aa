// The x86-64 back end: one ir::Function to host code at a given place.
//
//   Function ─▶ backward sweep (uses, dead sets, fusing marks) ─▶ forward pass: select + allocate + emit
//            ─▶ cold part (slow paths, exit stubs, literals) ─▶ CompiledBlock tables
//
// Register convention inside translated code, at every block edge:
//   rbp          VcpuHeader + 128 (so that the header and the first registers have 8-bit displacements)
//   rsp          the enter stub's frame: kFrameBytes of spill slots above it
//   pinned       Layout::gpr / Layout::xmm hold guest registers by their pin rank
//   the rest     scratch, dead at edges; direction flag clear; MXCSR is the guest's
// Guest registers that are not pinned live in the state struct. EFLAGS are dead at edges.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "codegen/x64/alloc_log.h"
#include "guest/common/arch.h"
#include "ir/function.h"

namespace myna::x64 {

/// What the host CPU offers beyond SSE4.2 (which is required). Tests mask features to run the other paths.
struct HostFeatures {
    bool avx = false, avx2 = false, bmi1 = false, bmi2 = false, lzcnt = false, fma = false, f16c = false;
    bool movbe = false, aes = false, pclmul = false, sha = false, gfni = false, vaes = false;
    bool avx512 = false;  // F, BW, DQ, VL together
    /// What this host has; SSE4.2 missing is an error that names the CPU.
    static Result<HostFeatures> detect();
    /// Switches off a feature by name ("avx2"; "avx" takes avx2, fma, f16c with it). False: no such feature.
    bool mask(std::string_view name);
};

inline constexpr int kStateBias = 128;      // rbp = state + kStateBias
inline constexpr unsigned kFrameBytes = 1024;  // spill area at rsp inside translated code
inline constexpr uint8_t kNotPinned = 0xff;

/// Where guest registers live at block edges; follows from GuestArch::slots and nothing else.
struct Layout {
    std::array<uint8_t, 128> gpr;  // slot -> host GPR number, kNotPinned
    std::array<uint8_t, 128> xmm;  // slot -> host XMM number, kNotPinned
    std::array<uint8_t, 32> slot;  // host GPR number, or 16 + XMM number -> the slot pinned there; of registers in `pinned`
    uint32_t pinned = 0;           // a bit for each such register
    explicit Layout(const guest::GuestArch& arch, bool pin = true);  // pin: Options::pin
};

/// A direct exit. The jump's 32-bit displacement is within eight aligned bytes, so that patching is one atomic store.
struct ExitSite {
    uint32_t disp_offset;   // where the rel32 of the jmp/jcc is, from the block's start
    uint32_t stub_offset;   // the cold stub it points to while unlinked
    uint64_t target_pc;
};
/// What follows the `call link_stub` in an exit's cold stub; the run loop gets its address in trap_arg on kLink.
struct [[gnu::packed]] ExitStubData {
    uint64_t target;        // the guest PC as compiled; whoever installs the block may put its own record's address here
};
inline constexpr uint32_t kExitStubCall = 5;  // bytes of the call before it

/// How NZCV can be found at a fault (flags_form.h: inside translated code the slot holds another form than outside).
enum class FlagForm : uint8_t {
    kState,     // in the nzcv slot
    kSub,       // in EFLAGS after a subtraction (C is the inverse of CF)
    kAdd,       // in EFLAGS after an addition or a logical operation (C is CF)
};
/// A host instruction that may fault, or a state helper's return address.
struct FaultPoint {
    uint32_t host_offset;   // of the instruction's first byte, from the block's start
    uint32_t insn_index;    // index into guest_pcs
    FlagForm flags;
};

struct CompiledBlock {
    uint32_t code_bytes = 0;          // hot and cold together
    std::vector<ExitSite> exits;
    std::vector<FaultPoint> faults;   // ascending host_offset
    std::vector<uint64_t> guest_pcs;  // of the block's guest instructions, in order
    std::vector<uint32_t> stub_fields;  // offsets of rel32 fields that lead to stubs: all that ties the code to its place;
    bool keep_stub_fields = false;      // noted when this is set (translations that go to disk)
    void clear();
};

/// Addresses (executable view) of the stubs at the start of the code cache.
struct Stubs {
    /// ir::ExitReason enter(VcpuHeader*, const void* host_code): runs until translated code leaves.
    uint32_t (*enter)(guest::VcpuHeader*, const void*) = nullptr;
    uint64_t exit = 0;         // jmp here with eax = ExitReason: saves pinned registers, returns from enter
    uint64_t link = 0;         // call here from an exit stub
    uint64_t fault_exit = 0;   // the signal handler resumes here after recover(), with rbp = state + kStateBias: returns
                               // kFault from enter, saves nothing but MXCSR
    uint64_t poll = 0;         // call here, the guest PC follows in 8 bytes: leaves with kPoll
    uint64_t lookup = 0;       // jmp here with rax = guest PC: leaves with kLookup
    uint64_t call_state = 0;   // thunks for helpers (rax = function): save pinned, call, reload; call_state leaves
    uint64_t call_vector = 0;  // the block itself when the helper set exit_reason
    uint64_t call_pure = 0;
    uint64_t soft = 0;         // runtime helper from cold code, all registers kept; index and argument on the stack
    uint64_t mmu = 0;          // the same with the guest state in memory; leaves when the helper set exit_reason
    uint64_t end = 0;          // first byte behind the stubs
};

struct Options {
    HostFeatures host;
    uint64_t guest_base = 0;
    bool system_mode = false;      // memory through the inline softmmu TLB
    bool dead_sets = true;         // --jit-disable=dead-sets
    bool fuse = true;              // --jit-disable=fuse
    bool pin = true;               // --jit-disable=pin
};

class Compiler {
  public:
    Compiler(const guest::GuestArch& arch, const Options& opt);
    ~Compiler();

    /// Writes the stubs through `write` (their executable address is `exec`). Once, at the cache's start.
    Result<Stubs> emit_stubs(std::span<uint8_t> write, uint64_t exec);
    void use_stubs(const Stubs& s);

    /// Compiles `f` into `write`; it will run at `exec`. False: it does not fit (nothing is valid then).
    /// The bytes depend on nothing but `f`, `exec - stubs` and the options.
    bool compile(const ir::Function& f, std::span<uint8_t> write, uint64_t exec, CompiledBlock& out);
    /// From the next compile() on, the log holds the allocator's decisions of the block compiled last; nullptr: none are
    /// kept.
    void log_allocation(AllocLog* log);

  private:
    struct Impl;
    Impl* impl_;
};

/// The functions behind VcpuHeader::rt_helpers.
std::span<const void* const> runtime_helpers() noexcept;

/// Copies pinned registers and flags of an interrupted host context into the guest state (signal handler; does not
/// set pc). `ucontext`: the handler's third argument.
void recover(const guest::GuestArch& arch, const Layout& layout, const FaultPoint& at, const void* ucontext, void* state);

/// One host instruction at `code` as text and its length (debug logs); "" where no disassembler was built in.
std::string disassemble_host(std::span<const uint8_t> code, uint64_t address, unsigned* length);

}  // namespace myna::x64
