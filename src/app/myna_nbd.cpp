// myna-nbd, also called qemu-nbd: serves disk images over the network.
#include "tools/nbd/main.h"

int main(int argc, char** argv) { return myna::tools::nbd::main_program(argc, argv); }
