// What stands in for libFuzzer in other builds: gives a fuzzer's function the inputs of a folder, and simple changes of
// them (bits, numbers at the edges, pieces cut out and doubled).
//
//   NAME [--changes N] [--seed S] FILE-OR-FOLDER…      N for each file; about 500 in all when not told
//
// Memory is limited to 2 GiB, each input to 10 s of processor time and two minutes; the input that ends the program is left
// in fuzz-failure-NAME.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" __attribute__((weak)) int LLVMFuzzerInitialize(int* argc, char*** argv);

namespace {

using Bytes = std::vector<uint8_t>;
constexpr rlim_t kMemory = rlim_t{2} << 30;
constexpr unsigned kSeconds = 10, kWallSeconds = 120;

// What the signal handler tells.
const Bytes* running = nullptr;
char running_name[512], failure_name[256];

void on_death(int sig) {
    if (running != nullptr) {
        const auto say = [](const char* text) { [[maybe_unused]] const auto n = write(2, text, std::strlen(text)); };
        say(running_name), say(sig == SIGALRM || sig == SIGPROF ? ": takes too long; the input is in " : ": ends the program; the input is in "), say(failure_name), say("\n");
        const int fd = open(failure_name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        [[maybe_unused]] const auto n = write(fd, running->data(), running->size());
    }
    signal(sig, SIG_DFL);
    raise(sig);
}

void give(const Bytes& input) {
    running = &input;
    const itimerval limit{{}, {kSeconds, 0}}, none{};
    setitimer(ITIMER_PROF, &limit, nullptr);
    alarm(kWallSeconds);
    LLVMFuzzerTestOneInput(input.data(), input.size());
    setitimer(ITIMER_PROF, &none, nullptr);
    alarm(0);
    running = nullptr;
}

/// `v` with one to six places changed. Most changes hit the first kilobyte: headers say the most.
void change(Bytes& v, std::mt19937_64& rng) {
    static constexpr uint64_t kEdges[] = {0, 1, 2, 0x7f, 0x80, 0xff, 0x200, 0x1000, 0x7fff, 0x8000, 0xffff, 0x10000, 0x100000, 0x7fffffff, 0x80000000,
                                          0xffffffff, uint64_t{1} << 40, uint64_t{1} << 62, INT64_MAX, uint64_t{1} << 63, UINT64_MAX};
    for (auto n = 1 + rng() % 6; n-- > 0 && !v.empty();) {
        const size_t at = rng() % (rng() % 4 != 0 ? std::min<size_t>(v.size(), 1024) : v.size());
        const size_t left = v.size() - at, length = std::min<size_t>(left, size_t{1} << rng() % 4);
        switch (rng() % 8) {
            case 0: v[at] = static_cast<uint8_t>(v[at] ^ 1u << rng() % 8); break;
            case 1: v[at] = static_cast<uint8_t>(rng()); break;
            case 2: v.resize(at); break;
            case 3: v.erase(v.begin() + static_cast<ptrdiff_t>(at), v.begin() + static_cast<ptrdiff_t>(at + length)); break;
            case 4: {
                const Bytes piece(v.begin() + static_cast<ptrdiff_t>(at), v.begin() + static_cast<ptrdiff_t>(at + length));
                v.insert(v.begin() + static_cast<ptrdiff_t>(at), piece.begin(), piece.end());
                break;
            }
            default: {
                uint64_t edge = kEdges[rng() % std::size(kEdges)] + rng() % 3 - 1;
                if (rng() % 2 != 0) edge = __builtin_bswap64(edge) >> (64 - 8 * length);
                std::memcpy(&v[at], &edge, length);
            }
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    unsigned long long changes = 0, seed = 1;
    if (LLVMFuzzerInitialize != nullptr) LLVMFuzzerInitialize(&argc, &argv);
    std::vector<std::filesystem::path> files;
    for (int i = 1; i < argc; ++i) {
        const std::string a = argv[i];
        if ((a == "--changes" || a == "--seed") && i + 1 < argc) {
            (a == "--seed" ? seed : changes) = std::strtoull(argv[++i], nullptr, 0);
        } else if (std::filesystem::is_directory(a)) {
            for (const auto& e : std::filesystem::directory_iterator(a)) files.push_back(e.path());
        } else if (std::filesystem::exists(a)) {
            files.emplace_back(a);
        } else if (a.starts_with("-")) {
            std::fprintf(stderr, "%s: unknown option %s (usage: [--changes N] [--seed S] FILE-OR-FOLDER…)\n", argv[0], a.c_str());
            return 2;
        }  // else: nothing was found yet, or a tool is missing
    }
    if (files.empty()) {
        std::fprintf(stderr, "%s: skipped: no inputs\n", argv[0]);
        return 77;
    }
    std::sort(files.begin(), files.end());
    if (changes == 0) changes = std::max<size_t>(5, 500 / files.size());
    const std::string name = std::filesystem::path(argv[0]).filename();
    std::snprintf(failure_name, sizeof failure_name, "fuzz-failure-%s", name.c_str());
#if !__has_feature(address_sanitizer)
    const rlimit memory{kMemory, kMemory};
    setrlimit(RLIMIT_AS, &memory);
    for (const int sig : {SIGSEGV, SIGBUS, SIGILL, SIGFPE}) signal(sig, on_death);
#endif
    for (const int sig : {SIGABRT, SIGALRM, SIGPROF}) signal(sig, on_death);
    unsigned long long inputs = 0;
    for (const auto& f : files) {
        std::ifstream in(f, std::ios::binary);
        const Bytes whole{std::istreambuf_iterator<char>(in), {}};
        std::snprintf(running_name, sizeof running_name, "%s", f.c_str());
        give(whole);
        std::mt19937_64 rng(seed);
        for (unsigned long long k = 0; k < changes; ++k) {
            std::snprintf(running_name, sizeof running_name, "%s (change %llu of seed %llu)", f.c_str(), k, seed);
            Bytes changed = whole;
            change(changed, rng);
            give(changed);
        }
        inputs += 1 + changes;
    }
    unlink(failure_name);
    std::printf("%s: %llu inputs from %zu files\n", name.c_str(), inputs, files.size());
}
