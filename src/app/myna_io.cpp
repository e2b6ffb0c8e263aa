// myna-io, also called qemu-io: reads and writes disk images by commands.
#include "tools/io/main.h"

int main(int argc, char** argv) { return myna::tools::io_tool::main_program(argc, argv); }
