// Every kernel for the CPU, in one element type.
#define LORIKEET_EMULATED
#define TYPE 1
#define ARCH 80
#include "sources.h"
