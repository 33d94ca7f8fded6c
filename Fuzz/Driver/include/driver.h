#pragma once
#include <stddef.h>
#include <stdint.h>

/// libFuzzer's loop with the given command line; calls `target` with every input.
int lorikeet_fuzz(int count, char **arguments, int (*target)(const uint8_t *bytes, size_t count));
