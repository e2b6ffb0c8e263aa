#include "guest/common/llvm_mc.h"

#include <cctype>
#include <cstdlib>
#include <sstream>

#include "guest/common/process.h"

namespace myna::test {

std::string find_llvm_mc() {
    for (const char* name : {"llvm-mc-19", "llvm-mc"})
        if (have_program(name)) return name;
    return {};
}

namespace {

std::vector<std::string> command(const LlvmTarget& t, const char* mode) {
    std::vector<std::string> argv{find_llvm_mc(), mode, "--triple=" + t.triple, "--mattr=" + t.attrs};
    argv.insert(argv.end(), t.options.begin(), t.options.end());
    return argv;
}

std::vector<std::string> lines_of(const std::string& s) {
    std::vector<std::string> lines;
    std::istringstream in(s);
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
}

std::string single_blanks(const std::string& s) {
    std::string out;
    for (char c : s) {
        if (std::isspace(static_cast<unsigned char>(c))) {
            if (!out.empty() && out.back() != ' ') out += ' ';
        } else {
            out += c;
        }
    }
    while (!out.empty() && out.back() == ' ') out.pop_back();
    return out;
}

/// Line numbers (from 1) that "<stdin>:N:C: warning: …" or "error:" speak of.
std::vector<size_t> complained_lines(const std::string& err) {
    std::vector<size_t> out;
    for (const std::string& line : lines_of(err)) {
        if (line.rfind("<stdin>:", 0) != 0) continue;
        if (line.find(": warning:") == std::string::npos && line.find(": error:") == std::string::npos) continue;
        out.push_back(std::strtoul(line.c_str() + 8, nullptr, 10));
    }
    return out;
}

}  // namespace

std::vector<std::optional<std::string>> llvm_disassemble(const LlvmTarget& target, const std::vector<RawInsn>& insns) {
    std::string input;
    char byte[8];
    for (const RawInsn& i : insns) {
        input += "[";  // an atomic block: nothing of it is decoded again when it is invalid as a whole
        for (unsigned at = 0; at < i.width; at += 8) {
            std::snprintf(byte, sizeof byte, "0x%02x ", i.raw >> at & 0xff);
            input += byte;
        }
        input += "]\n";
    }
    const ProcessResult r = run_process(command(target, "--disassemble"), input);
    std::vector<bool> bad(insns.size() + 1);
    for (size_t n : complained_lines(r.err))
        if (n && n <= insns.size()) bad[n] = true;
    std::vector<std::optional<std::string>> out(insns.size());
    size_t n = 0;
    for (const std::string& line : lines_of(r.out)) {
        const std::string text = single_blanks(line);
        if (text.empty() || text[0] == '.' || text[0] == '#') continue;
        while (n < insns.size() && bad[n + 1]) ++n;
        if (n < insns.size()) out[n++] = text;
    }
    return out;
}

std::vector<std::vector<uint8_t>> llvm_assemble(const LlvmTarget& target, const std::vector<std::string>& lines, std::string* error) {
    std::string input;
    for (const std::string& l : lines) input += l + "\n";
    auto argv = command(target, "--assemble");
    argv.push_back("--show-encoding");
    const ProcessResult r = run_process(argv, input);
    if (error) *error = r.err;
    std::vector<bool> bad(lines.size() + 1);
    for (size_t n : complained_lines(r.err))
        if (n && n <= lines.size()) bad[n] = true;
    std::vector<std::vector<uint8_t>> out(lines.size());
    size_t n = 0;
    for (const std::string& line : lines_of(r.out)) {
        const size_t at = line.find("encoding: [");
        if (at == std::string::npos) continue;
        while (n < lines.size() && bad[n + 1]) ++n;
        if (n >= lines.size()) break;
        for (const char* p = line.c_str() + at + 11; *p && *p != ']';) {
            char* end = nullptr;
            out[n].push_back(static_cast<uint8_t>(std::strtoul(p, &end, 0)));
            if (end == p) {
                out[n].clear();
                break;
            }
            p = *end == ',' ? end + 1 : end;
        }
        ++n;
    }
    return out;
}

std::string normalized(const std::string& text) {
    const std::string s = single_blanks(text);
    std::string out;
    for (size_t i = 0; i < s.size();) {
        const bool starts = i == 0 || (!std::isalnum(static_cast<unsigned char>(s[i - 1])) && s[i - 1] != '_' && s[i - 1] != '.');
        const bool digit = std::isdigit(static_cast<unsigned char>(s[i])) != 0;
        const bool minus = s[i] == '-' && i + 1 < s.size() && std::isdigit(static_cast<unsigned char>(s[i + 1]));
        if (!starts || (!digit && !minus)) {
            out += s[i++];
            continue;
        }
        char* end = nullptr;
        const char* p = s.c_str() + i + (minus ? 1 : 0);
        uint64_t v = std::strtoull(p, &end, 0);
        if (*end == '.' || std::isalpha(static_cast<unsigned char>(*end))) {  // 1.5e-05, 1b
            out += s[i++];
            continue;
        }
        if (minus) v = 0 - v;
        out += std::to_string(v);
        i = static_cast<size_t>(end - s.c_str());
    }
    return out;
}

}  // namespace myna::test
