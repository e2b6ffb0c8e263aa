// Host disassembly for debug logs, by Zydis where the build found it.
#include "codegen/x64/compiler.h"

#ifdef MYNA_HAVE_ZYDIS
#include <Zydis/Zydis.h>
#pragma weak ZydisFormatterInit
#pragma weak ZydisDecoderInit
#pragma weak ZydisDecoderDecodeFull
#pragma weak ZydisFormatterFormatInstruction
#endif

namespace myna::x64 {

std::string disassemble_host(std::span<const uint8_t> code, uint64_t address, unsigned* length) {
    *length = 0;
#ifdef MYNA_HAVE_ZYDIS
    if (&ZydisDecoderInit == nullptr) return {};
    ZydisDecoder decoder;
    ZydisDecodedInstruction insn;
    ZydisFormatter formatter;
    char text[128];
    ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, code.data(), code.size(), &insn, operands))) return {};
    ZydisFormatterFormatInstruction(&formatter, &insn, operands, insn.operand_count_visible, text, sizeof text, address, nullptr);
    *length = insn.length;
    return text;
#else
    (void)code, (void)address;
    return {};
#endif
}

}  // namespace myna::x64
