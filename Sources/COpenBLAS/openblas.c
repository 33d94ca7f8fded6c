#define _GNU_SOURCE
#include "COpenBLAS.h"

#include <stdlib.h>

// Of builds that hold kernels for several kinds of processors (DYNAMIC_ARCH). The library calls the first one as it is loaded.
void gotoblas_dynamic_init(void) __attribute__((weak));
void gotoblas_dynamic_quit(void) __attribute__((weak));

void lorikeet_openblas_use(const char *name) {
    if (!gotoblas_dynamic_init || !gotoblas_dynamic_quit) return;
    // The one way to name kernels that OpenBLAS has: this variable, when it chooses.
    if (setenv("OPENBLAS_CORETYPE", name, 1) != 0) return;
    gotoblas_dynamic_quit();
    gotoblas_dynamic_init();
    unsetenv("OPENBLAS_CORETYPE");
}
