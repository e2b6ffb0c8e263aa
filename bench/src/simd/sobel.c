// Sobel edge detection, sums in plain int.
#define sum_type int
#include "sobel.h"
