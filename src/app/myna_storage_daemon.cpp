// myna-storage-daemon, also called qemu-storage-daemon: disks without a machine.
#include "tools/storage/main.h"

int main(int argc, char** argv) { return myna::tools::storage::main_program(argc, argv); }
