// Sobel edge detection, sums in 16 bits.
#define sum_type int16_t
#include "sobel.h"
