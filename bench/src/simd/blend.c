// Alpha blending, sums in plain int.
#define sum_type int
#include "blend.h"
