// myna-img, and by another name qemu-img: creates, converts, checks and changes disk images.
#include "img/tool.h"

int main(int argc, char** argv) { return myna::img::main_program(argc, argv); }
