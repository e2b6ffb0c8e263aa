// Alpha blending, sums in 16 bits.
#define sum_type uint16_t
#include "blend.h"
