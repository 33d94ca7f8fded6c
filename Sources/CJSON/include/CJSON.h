// JSON text -> a flat tape of nodes, by RapidJSON. The Swift room JSON turns the tape into values.
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum lorikeet_json_kind {
    LORIKEET_JSON_NULL, LORIKEET_JSON_FALSE, LORIKEET_JSON_TRUE, LORIKEET_JSON_INTEGER, LORIKEET_JSON_DOUBLE,
    LORIKEET_JSON_STRING, LORIKEET_JSON_ARRAY, LORIKEET_JSON_OBJECT,
};

/// One value or one object key, in the order of the text; children follow their container.
typedef struct {
    uint32_t kind;
    /// Elements of an array, pairs of an object (key and value follow each other), bytes of a string.
    uint32_t count;
    union {
        int64_t integer;
        double number;
        /// First byte of a string among the tape's characters.
        uint64_t offset;
    } value;
} lorikeet_json_node;

typedef struct lorikeet_json lorikeet_json;

/// Parses `length` bytes. NULL only without memory; else ask for the error first. Nesting beyond `depth` is an error, and so are more than `values` values and keys.
lorikeet_json *lorikeet_json_parse(const char *text, size_t length, size_t depth, size_t values);
/// NULL when all is well, else what is wrong; `*at` is the byte.
const char *lorikeet_json_error(const lorikeet_json *tape, size_t *at);
const lorikeet_json_node *lorikeet_json_nodes(const lorikeet_json *tape, size_t *count);
const char *lorikeet_json_characters(const lorikeet_json *tape);
void lorikeet_json_free(lorikeet_json *tape);
/// The byte behind the first key that its object has had before; `length` where there is none. For a text that `lorikeet_json_parse` takes.
size_t lorikeet_json_second_key(const char *text, size_t length);

#ifdef __cplusplus
}
#endif
