// Text for the room Tokenizers: regular expressions (PCRE2, 8 bit, JIT) and Unicode's decompositions.
#pragma once
#include <stddef.h>
#include <stdint.h>

/// A compiled expression; read-only after compiling, so any number of threads may match with it.
typedef struct lorikeet_expression lorikeet_expression;
/// What one thread needs to match.
typedef struct lorikeet_matcher lorikeet_matcher;

/// Compiles a pattern for UTF-8 with Unicode properties. NULL on an error, whose text goes to `message` (zero-terminated).
lorikeet_expression *lorikeet_expression_compile(const char *pattern, size_t length, char *message, size_t message_size, size_t *offset);
void lorikeet_expression_free(lorikeet_expression *expression);

/// NULL only without memory.
lorikeet_matcher *lorikeet_matcher_create(const lorikeet_expression *expression);
void lorikeet_matcher_free(lorikeet_matcher *matcher);

enum lorikeet_match_result { LORIKEET_MATCH_NONE = 0, LORIKEET_MATCH_FOUND = 1, LORIKEET_MATCH_LIMIT = 2, LORIKEET_MATCH_FAILED = 3 };

/// The first match at or after `start` in valid UTF-8. `limit` bounds the steps of backtracking.
enum lorikeet_match_result lorikeet_matcher_find(
    lorikeet_matcher *matcher, const uint8_t *text, size_t length, size_t start, uint32_t limit, size_t *from, size_t *to);

/// The table that Scripts/make_character_classes.py writes.
const unsigned char *lorikeet_character_classes(size_t *length);

/// The table that Scripts/make_decompositions.py writes.
const unsigned char *lorikeet_decompositions(size_t *length);

/// Prefetches the cache line of `address` for reading and writing.
static inline void lorikeet_prefetch(const void *address) { __builtin_prefetch(address, 1); }

/// Asks for large pages wherever the range holds whole ones; without effect where the system has none.
void lorikeet_advise_large_pages(void *start, size_t length);
