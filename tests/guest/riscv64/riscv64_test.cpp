#include "guest/riscv64/riscv64_test.h"

namespace myna::test {

LlvmTarget riscv64_llvm() {
    return {"riscv64",
            "+m,+a,+f,+d,+c,+zba,+zbb,+zbc,+zbs,+zbkb,+zbkc,+zbkx,+zknd,+zkne,+zknh,+zksed,+zksh,+zicond,+zfa,+zfh,"
            "+zfhmin,+experimental-zfbfmin,+zcb,+zcmop,+zimop,+zawrs,+zihintpause,+zicbom,+zicbop,+zicboz,+zicntr,+experimental-zacas,+zabha,+zfbfmin,+zacas",
            {"-M", "no-aliases"}};
}

bool known_difference(const std::string& ours, const std::string& llvm) {
    const auto begins = [](const std::string& s, const char* with) { return s.rfind(with, 0) == 0; };
    if (begins(ours, "csr") && begins(llvm, "csr")) return true;  // names of CSRs we do not list
    // Reserved fields of fences are to be ignored; llvm-mc does not know such encodings.
    if (begins(ours, "fence") && llvm.empty()) return true;
    if (ours == "pause" && llvm == "fence w, 0") return true;  // an alias in its eyes
    // Hints with their own names or numbers: a shift by 0, c.lui to x0.
    if (begins(llvm, "c.slli64") || begins(llvm, "c.srli64") || begins(llvm, "c.srai64")) return true;
    if (begins(ours, "c.lui zero") && begins(llvm, "c.lui zero")) return true;
    if (ours.empty() && begins(llvm, "aes64ks1i")) return true;  // round numbers above 10 are reserved
    // Reserved: all zeroes, and c.lui with 0.
    return ours.empty() && (llvm == "c.unimp" || (begins(llvm, "c.lui ") && llvm.ends_with(", 0")));
}

}  // namespace myna::test
