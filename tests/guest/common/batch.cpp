#include "guest/common/batch.h"

#include <sys/mman.h>

#include <cctype>
#include <cstring>
#include <map>
#include <stdexcept>

#include "base/bits.h"
#include "guest/common/oracle.h"
#include "guest/common/seed.h"
#include "guest/common/process.h"
#include "ir/builder.h"
#include "ir/eval.h"
#include "ir/verifier.h"

namespace myna::test {

using guest::Rng;

// ---- values

uint64_t interesting_int(Rng& rng) {
    const uint64_t noise = rng();
    const auto n = static_cast<unsigned>(rng() % 64);
    switch (rng() % 10) {
        case 0: return rng() % 8 - 4;                             // near zero
        case 1: return uint64_t{1} << n;                          // one bit
        case 2: return (uint64_t{1} << n) - 1;                    // low ones
        case 3: return ~uint64_t{0} << n;                         // high ones
        case 4: return (uint64_t{1} << (rng() & 1 ? 31 : 63)) + rng() % 4 - 2;
        case 5: return static_cast<uint64_t>(static_cast<int64_t>(static_cast<int32_t>(noise)));
        case 6: return noise & 0xffffffff;
        case 7: return (noise & 0xff) * 0x0101010101010101;
        case 8: return noise >> n;
        default: return noise;
    }
}

uint64_t interesting_fp(Rng& rng, unsigned width) {
    const unsigned frac = width == 64 ? 52 : width == 32 ? 23 : 10;
    const unsigned exp = width - 1 - frac;
    const uint64_t noise = rng();
    const uint64_t sign = (noise >> 63) << (width - 1);
    const uint64_t mant = (rng() & 3) ? rng() & low_mask(frac) : rng() & 3;
    const uint64_t bias = low_mask(exp - 1), max = low_mask(exp);
    const auto pack = [&](uint64_t e, uint64_t m) { return sign | e << frac | (m & low_mask(frac)); };
    switch (rng() % 14) {
        case 0: return sign;                                      // zero
        case 1: return pack(0, mant);                             // denormal
        case 2: return pack(1, rng() & 1);                        // smallest normal
        case 3: return pack(max - 1, ~(rng() & 1));               // largest
        case 4: return pack(max, 0);                              // infinity
        case 5: return pack(max, mant | uint64_t{1} << (frac - 1));  // quiet NaN
        case 6: return pack(max, (mant & low_mask(frac - 1)) | 1);   // signalling NaN
        case 7: return pack(bias, rng() & 3);                     // near one
        case 8: case 9: return pack(bias + rng() % (frac + 2), mant & ~low_mask(static_cast<unsigned>(rng() % frac)));  // integers, halves
        case 10: return pack(bias + (width == 16 ? 13 : rng() & 1 ? 30 : 62) + rng() % 4, mant) & ~uint64_t{0};  // at the ends of integer types
        case 11: return pack((bias + rng() % 8 - 4) & max, mant);
        default: return noise & low_mask(width);
    }
}

// ---- making the image

Batch::Batch(const GuestUnderTest& guest, const BatchOptions& opt) : guest_(guest), opt_(opt), rows_(opt.rows) {
    if (rows_.empty())
        for (const guest::DecodeRow& row : guest.table().rows)
            if (guest.table().enabled(row.id, guest.cpu())) rows_.push_back(&row);
    Rng rng(opt.seed);
    std::vector<uint8_t> entry, restore, save;
    guest.emit_entry(entry, kImage);
    guest.emit_restore(restore);
    guest.emit_save(save);
    // The subroutines lie behind a jump-free entry: streams follow the entry, subroutines and finish come last.
    const uint32_t half = guest.record_bytes(), both = 2 * half;
    records_.assign(size_t{both} * opt.streams, 0);
    streams_.resize(opt.streams);
    for (Stream& s : streams_) make_stream(rng, s);

    std::vector<uint8_t> call;
    guest.emit_call(call, kImage, kImage);
    uint64_t at = kImage + entry.size();
    for (Stream& s : streams_) {
        s.start = at + call.size();
        at = s.start;
        for (const StreamInsn& i : s.insns) at += i.bytes;
        at += call.size();
    }
    finish_ = at;
    std::vector<uint8_t> finish;
    guest.emit_finish(finish, records_.size());
    const uint64_t restore_at = align_up(finish_ + finish.size(), 16), save_at = align_up(restore_at + restore.size(), 16);

    code_ = entry;
    for (size_t n = 0; n < streams_.size(); ++n) {
        Stream& s = streams_[n];
        guest.emit_call(code_, kImage + code_.size(), restore_at);
        link(s);
        for (const StreamInsn& i : s.insns)
            for (unsigned b = 0; b < i.bytes; ++b) code_.push_back(static_cast<uint8_t>(i.raw >> (8 * b)));
        guest.emit_call(code_, kImage + code_.size(), save_at);
        guest.random_record(rng, &records_[n * both], s.start, kRecords + n * both);
    }
    code_.insert(code_.end(), finish.begin(), finish.end());
    code_.resize(restore_at - kImage);
    code_.insert(code_.end(), restore.begin(), restore.end());
    code_.resize(save_at - kImage);
    code_.insert(code_.end(), save.begin(), save.end());
    if (code_.size() > kRecords - kImage || records_.size() > kSandbox - kRecords) throw std::runtime_error("too many streams");

    sandbox_.resize(kSandboxBytes);
    for (size_t n = 0; n < sandbox_.size(); n += 8) {
        const uint64_t v = rng() & 1 ? interesting_int(rng) : interesting_fp(rng, 64);
        std::memcpy(&sandbox_[n], &v, 8);
    }
    whole_code_ = code_;
    map_memory();
}

void Batch::make_stream(Rng& rng, Stream& s) {
    const size_t want = 1 + rng() % opt_.max_insns;
    StreamContext ctx{rng, s.insns};
    for (unsigned tries = 0; s.insns.size() < want && tries < 1000; ++tries) {
        const guest::DecodeRow& row = *rows_[rng() % rows_.size()];
        const auto raw = guest::random_insn(guest_.table(), row, rng);
        if (!raw) continue;
        StreamInsn insn{*raw, static_cast<uint8_t>(row.width / 8), &row};
        if (!guest_.make_safe(insn, ctx)) continue;
        const auto m = guest::match(guest_.table(), insn.raw, row.width, 0, &guest_.cpu());
        if (!m || m->row != &row) continue;  // made safe, it became something else
        s.insns.push_back(insn);
    }
    for (size_t n = 0; n < s.insns.size(); ++n)
        if (guest_.is_branch(*s.insns[n].row)) s.insns[n].target = static_cast<int>(n + 1 + rng() % (s.insns.size() - n));
}

void Batch::link(Stream& s) {
    for (size_t n = 0; n < s.insns.size(); ++n) {
        if (s.insns[n].target < 0) continue;
        int64_t distance = 0;
        for (size_t k = n; k < static_cast<size_t>(s.insns[n].target); ++k) distance += s.insns[k].bytes;
        guest_.set_branch_target(s.insns[n], distance);
    }
}

void Batch::map_memory() {
    const auto map = [](uint64_t at, size_t bytes) {
        void* want = reinterpret_cast<void*>(at);
        void* got = mmap(want, align_up(bytes, 4096), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        if (got != want) throw std::runtime_error("cannot map the test image at its address");
    };
    map(kImage, code_.size());
    map(kRecords, records_.size());
    map(kSandbox, sandbox_.size());
    std::memcpy(reinterpret_cast<void*>(kImage), code_.data(), code_.size());
}

Batch::~Batch() {
    munmap(reinterpret_cast<void*>(kImage), align_up(code_.size(), 4096));
    munmap(reinterpret_cast<void*>(kRecords), align_up(records_.size(), 4096));
    munmap(reinterpret_cast<void*>(kSandbox), align_up(sandbox_.size(), 4096));
}

void Batch::reset() {
    std::memcpy(reinterpret_cast<void*>(kRecords), records_.data(), records_.size());
    std::memcpy(reinterpret_cast<void*>(kSandbox), sandbox_.data(), sandbox_.size());
}

BatchResult Batch::result() const {
    BatchResult r;
    const auto* rec = reinterpret_cast<const uint8_t*>(kRecords);
    const auto* box = reinterpret_cast<const uint8_t*>(kSandbox);
    r.records.assign(rec, rec + records_.size());
    r.sandbox.assign(box, box + sandbox_.size());
    return r;
}

size_t Batch::insn_count() const noexcept {
    size_t n = 0;
    for (const Stream& s : streams_) n += s.insns.size();
    return n;
}

// ---- running

namespace {

/// Reads code of the image where it lies.
class ImageFetcher final : public guest::CodeFetcher {
  public:
    explicit ImageFetcher(uint64_t end) : end_(end) {}
    unsigned fetch(uint64_t pc, void* out, unsigned want) override {
        if (pc < kImage || pc >= end_) return 0;
        const auto n = static_cast<unsigned>(std::min<uint64_t>(want, end_ - pc));
        std::memcpy(out, reinterpret_cast<const void*>(pc), n);
        return n;
    }

  private:
    uint64_t end_;
};

struct StateMemory {
    void* p;
    explicit StateMemory(size_t bytes) : p(aligned_alloc(4096, align_up(bytes, 4096))) { std::memset(p, 0, align_up(bytes, 4096)); }
    ~StateMemory() { free(p); }
    StateMemory(const StateMemory&) = delete;
    StateMemory& operator=(const StateMemory&) = delete;
};

}  // namespace

BatchResult Batch::run_evaluator() {
    reset();
    const guest::GuestArch& arch = guest_.arch();
    StateMemory mem(arch.state_size);
    arch.init_state(mem.p, guest_.cpu());
    auto& hdr = *static_cast<guest::VcpuHeader*>(mem.p);
    ImageFetcher fetcher(kImage + code_.size());
    ir::DirectMemory memory(0);
    ir::Evaluator eval(arch);
    std::map<std::pair<uint64_t, uint32_t>, ir::Function> blocks;  // the frame's, which all streams share
    ir::Function scratch;
    hdr.pc = entry();
    BatchResult r;
    for (;;) {
        const uint32_t mode = arch.mode_of(mem.p);
        const bool shared = hdr.pc >= finish_;
        ir::Function& f = shared ? blocks[{hdr.pc, mode}] : scratch;
        if (!shared || f.insts.empty()) {
            ir::Builder b(f, arch, {});
            b.begin(hdr.pc, mode);
            arch.lift_block(b, fetcher, guest_.cpu(), {});
            if (const std::string fault = ir::verify(f, arch); !fault.empty()) {
                r.error = "the verifier objects: " + fault;
                return r;
            }
        }
        const ir::EvalResult e = eval.run(f, mem.p, memory);
        if (e.reason == ir::ExitReason::kSyscall) break;
        if (e.reason != ir::ExitReason::kNone && e.reason != ir::ExitReason::kMode && e.reason != ir::ExitReason::kIcache &&
            e.reason != ir::ExitReason::kYield) {
            r.error = stopped_at(e.reason, hdr.pc);
            return r;
        }
    }
    return result();
}

namespace {
class ImageMemory final : public jit::GuestMemory {
  public:
    explicit ImageMemory(uint64_t end) : end_(align_up(end, 4096)) {}
    bool executable(uint64_t addr, uint64_t len) override { return addr >= kImage && addr + len <= end_; }
    void code_on_page(uint64_t) override {}

  private:
    uint64_t end_;
};
}  // namespace

BatchResult Batch::run_jit(const jit::EngineOptions& opt) {
    reset();
    BatchResult r;
    ImageMemory memory(kImage + code_.size());
    auto engine = jit::Engine::create(guest_.arch(), guest_.cpu(), opt, memory);
    if (!engine) {
        r.error = engine.error().message;
        return r;
    }
    const auto vcpu = (*engine)->create_vcpu();
    vcpu->header().pc = entry();
    for (;;) {
        const ir::ExitReason reason = vcpu->run();
        if (reason == ir::ExitReason::kSyscall) return result();
        if (reason == ir::ExitReason::kYield || reason == ir::ExitReason::kPoll) continue;
        r.error = stopped_at(reason, vcpu->header().pc);
        return r;
    }
}

std::string Batch::stopped_at(ir::ExitReason reason, uint64_t pc) const {
    std::string text = "stopped with exit reason " + std::to_string(static_cast<int>(reason)) + " at " + std::to_string(pc);
    for (size_t n = 0; n < streams_.size(); ++n)
        if (pc >= streams_[n].start && (n + 1 == streams_.size() || pc < streams_[n + 1].start)) text += "\n" + describe(n);
    return text;
}

std::string Batch::elf() const {
    struct Segment {
        uint64_t at;
        const std::vector<uint8_t>* bytes;
        uint32_t flags;
    };
    const Segment segments[] = {{kImage, &code_, 5}, {kRecords, &records_, 6}, {kSandbox, &sandbox_, 6}};
    std::string out(64 + 3 * 56, '\0');
    const auto put = [&](size_t at, uint64_t v, unsigned bytes) { std::memcpy(&out[at], &v, bytes); };
    std::memcpy(out.data(), "\177ELF\2\1\1", 7);
    put(16, 2, 2);  // ET_EXEC
    put(18, guest_.arch().elf_machine, 2);
    put(20, 1, 4);
    put(24, entry(), 8);
    put(32, 64, 8);
    put(48, guest_.elf_flags(), 4);
    put(52, 64, 2);
    put(54, 56, 2);
    put(56, 3, 2);
    for (size_t n = 0; n < 3; ++n) {
        const Segment& s = segments[n];
        out.resize(align_up(out.size(), 4096));
        const size_t ph = 64 + n * 56;
        put(ph, 1, 4);
        put(ph + 4, s.flags, 4);
        put(ph + 8, out.size(), 8);
        put(ph + 16, s.at, 8);
        put(ph + 24, s.at, 8);
        put(ph + 32, s.bytes->size(), 8);
        put(ph + 40, s.bytes->size(), 8);
        put(ph + 48, 4096, 8);
        out.append(s.bytes->begin(), s.bytes->end());
    }
    return out;
}

BatchResult Batch::run_qemu() {
    const TempFile program(elf(), true);
    auto argv = guest_.qemu_command();
    argv.push_back(program.path());
    const ProcessResult p = run_process(argv);
    BatchResult r;
    if (p.status != 0 || p.out.size() != records_.size() + sandbox_.size()) {
        r.error = argv[0] + " ended with " + std::to_string(p.status) + " after " + std::to_string(p.out.size()) + " bytes: " + p.err;
        return r;
    }
    const auto* bytes = reinterpret_cast<const uint8_t*>(p.out.data());
    r.records.assign(bytes, bytes + records_.size());
    r.sandbox.assign(bytes + records_.size(), bytes + p.out.size());
    return r;
}

BatchResult Batch::run_unicorn() {
    BatchResult r;
    r.records = records_;
    r.sandbox = sandbox_;
    r.error = run_in_unicorn(guest_, code_, finish_, r.records, r.sandbox);
    return r;
}

// ---- saying what differs

namespace {
/// `name` as a word of `text`.
bool mentions(const std::string& text, const std::string& name) {
    const auto word = [&](size_t at) { return at < text.size() && std::isalnum(static_cast<unsigned char>(text[at])); };
    for (size_t at = text.find(name); at != std::string::npos; at = text.find(name, at + 1))
        if (!(at && word(at - 1)) && !word(at + name.size())) return true;
    return false;
}
std::string hex(const uint8_t* p, unsigned bytes) {
    std::string s;
    char two[4];
    while (bytes-- > 0) {
        std::snprintf(two, sizeof two, "%02x", p[bytes]);
        s += two;
    }
    return s;
}
}  // namespace

std::string Batch::describe(size_t stream) const {
    const Stream& s = streams_[stream];
    std::string out = "seed " + std::to_string(opt_.seed) + ", stream " + std::to_string(stream) + ":\n";
    uint64_t pc = s.start;
    char line[64];
    for (const StreamInsn& i : s.insns) {
        uint8_t bytes[4];
        std::memcpy(bytes, &i.raw, 4);
        unsigned length;
        std::snprintf(line, sizeof line, "  %08llx  %0*x  ", static_cast<unsigned long long>(pc), i.bytes * 2, i.raw);
        out += line + guest_.arch().disassemble(pc, {bytes, i.bytes}, &length) + "\n";
        pc += i.bytes;
    }
    return out;
}

void Batch::truncate(size_t n) {
    code_ = whole_code_;
    if (n < streams_.size()) {
        std::vector<uint8_t> call;
        guest_.emit_call(call, kImage, kImage);
        const uint64_t at = streams_[n].start - call.size();
        call.clear();
        guest_.emit_call(call, at, finish_);
        std::copy(call.begin(), call.end(), code_.begin() + static_cast<ptrdiff_t>(at - kImage));
    }
    std::memcpy(reinterpret_cast<void*>(kImage), code_.data(), code_.size());
}

std::string Batch::register_differences(const BatchResult& ours, const BatchResult& oracle, size_t& stream) const {
    const uint32_t half = guest_.record_bytes(), both = 2 * half;
    for (stream = 0; stream < streams_.size(); ++stream) {
        const size_t in = stream * both, out = in + half;
        std::string differences;
        for (const RecordField& f : guest_.fields()) {
            if (!f.compared || !std::memcmp(&ours.records[out + f.offset], &oracle.records[out + f.offset], f.bytes)) continue;
            differences += "  " + f.name + ": ours " + hex(&ours.records[out + f.offset], f.bytes) + ", oracle " +
                           hex(&oracle.records[out + f.offset], f.bytes) + "\n";
        }
        if (differences.empty()) continue;
        std::string text = describe(stream) + differences + "  before:";
        for (const RecordField& f : guest_.fields())
            if (mentions(text, f.name)) text += " " + f.name + "=" + hex(&records_[in + f.offset], f.bytes);
        return text + "\n";
    }
    return {};
}

std::string Batch::memory_differences(const BatchResult& ours, const BatchResult& oracle) const {
    std::string text;
    for (size_t n = 0; n < sandbox_.size(); n += 8) {
        if (!std::memcmp(&ours.sandbox[n], &oracle.sandbox[n], 8)) continue;
        text += "  memory at base" + std::string(n < kSandboxBytes / 2 ? "-" : "+") +
                std::to_string(std::abs(static_cast<int64_t>(n) - static_cast<int64_t>(kSandboxBytes / 2))) + ": ours " +
                hex(&ours.sandbox[n], 8) + ", oracle " + hex(&oracle.sandbox[n], 8) + "\n";
    }
    return text;
}

std::string Batch::compare(const Run& ours, const Run& oracle) {
    const BatchResult a = ours(*this), b = oracle(*this);
    if (!a.error.empty()) return "ours: " + a.error;
    if (!b.error.empty()) return "oracle: " + b.error;
    size_t stream;
    std::string text = register_differences(a, b, stream);
    const std::string memory = memory_differences(a, b);
    if (memory.empty()) return text;
    // Registers may differ because memory did: look for the first stream behind which it does.
    size_t low = 0, high = stream;  // equal after `low` streams
    std::string found;
    while (low + 1 < high || (found.empty() && low < high)) {
        const size_t middle = low + (high - low + 1) / 2;
        truncate(middle);
        const BatchResult c = ours(*this), d = oracle(*this);
        std::string now = c.error.empty() && d.error.empty() ? memory_differences(c, d) : "";
        if (now.empty()) {
            low = middle;
        } else {
            high = middle;
            found = std::move(now);
            if (middle == low + 1) break;
        }
    }
    truncate(streams_.size());
    if (found.empty()) return text.empty() ? memory : text;
    const size_t n = high - 1;
    const uint8_t* in = &records_[n * 2 * guest_.record_bytes()];
    text = describe(n) + found + "  before:";
    for (const RecordField& f : guest_.fields())
        if (mentions(text, f.name)) text += " " + f.name + "=" + hex(in + f.offset, f.bytes);
    return text + "\n";
}

std::string Batch::compare_engines(const Run& oracle) {
    const BatchResult expected = oracle(*this);
    if (!expected.error.empty()) return "oracle: " + expected.error;
    const auto check = [&](const std::string& name, const Run& ours) -> std::string {
        const BatchResult got = ours(*this);
        if (got.error.empty() && got.records == expected.records && got.sandbox == expected.sandbox) return {};
        const std::string difference = compare(ours, oracle);
        return difference.empty() ? "" : name + ": " + difference;
    };
    std::string difference = check("evaluator", &Batch::run_evaluator);
    for (const HostMask& mask : host_masks()) {
        if (!difference.empty()) break;
        jit::EngineOptions options;
        options.cache_bytes = size_t{16} << 20;
        options.host_mask = mask.features;
        difference = check(std::string("translated, host ") + mask.name, [&](Batch& b) { return b.run_jit(options); });
    }
    return difference;
}

}  // namespace myna::test
