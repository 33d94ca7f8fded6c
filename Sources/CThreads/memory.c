// Freed memory, given back to the system.
#include "CThreads.h"

#include <malloc.h>

void lorikeet_return_free_memory(void) { malloc_trim(0); }
