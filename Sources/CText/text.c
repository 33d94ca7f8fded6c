#include "CText.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>

struct lorikeet_expression {
    pcre2_code *code;
};

struct lorikeet_matcher {
    const pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

lorikeet_expression *lorikeet_expression_compile(const char *pattern, size_t length, char *message, size_t message_size, size_t *offset) {
    int error = 0;
    PCRE2_SIZE at = 0;
    if (message_size > 0) message[0] = 0;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context) return NULL;
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern, length, options, &error, &at, context);
    pcre2_compile_context_free(context);
    if (!code) {
        *offset = at;
        if (message_size > 0) pcre2_get_error_message(error, (PCRE2_UCHAR *)message, message_size);
        return NULL;
    }
    // Without JIT (a system that forbids it) the interpreter matches the same.
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
    lorikeet_expression *result = malloc(sizeof *result);
    if (!result) {
        pcre2_code_free(code);
        return NULL;
    }
    result->code = code;
    return result;
}

void lorikeet_expression_free(lorikeet_expression *expression) {
    if (!expression) return;
    pcre2_code_free(expression->code);
    free(expression);
}

void lorikeet_matcher_free(lorikeet_matcher *matcher) {
    if (!matcher) return;
    pcre2_match_data_free(matcher->data);
    pcre2_match_context_free(matcher->context);
    pcre2_jit_stack_free(matcher->stack);
    free(matcher);
}

lorikeet_matcher *lorikeet_matcher_create(const lorikeet_expression *expression) {
    lorikeet_matcher *matcher = calloc(1, sizeof *matcher);
    if (!matcher) return NULL;
    matcher->code = expression->code;
    matcher->data = pcre2_match_data_create(1, NULL);
    matcher->context = pcre2_match_context_create(NULL);
    matcher->stack = pcre2_jit_stack_create(32 << 10, 8 << 20, NULL);
    if (!matcher->data || !matcher->context) {
        lorikeet_matcher_free(matcher);
        return NULL;
    }
    if (matcher->stack) pcre2_jit_stack_assign(matcher->context, NULL, matcher->stack);
    // Kibibytes of the interpreter's heap.
    pcre2_set_heap_limit(matcher->context, 64 << 10);
    return matcher;
}

enum lorikeet_match_result lorikeet_matcher_find(
    lorikeet_matcher *matcher, const uint8_t *text, size_t length, size_t start, uint32_t limit, size_t *from, size_t *to) {
    pcre2_set_match_limit(matcher->context, limit);
    int result = pcre2_match(matcher->code, text, length, start, PCRE2_NO_UTF_CHECK, matcher->data, matcher->context);
    if (result >= 0) {
        const PCRE2_SIZE *place = pcre2_get_ovector_pointer(matcher->data);
        *from = place[0];
        *to = place[1];
        return LORIKEET_MATCH_FOUND;
    }
    switch (result) {
    case PCRE2_ERROR_NOMATCH: return LORIKEET_MATCH_NONE;
    case PCRE2_ERROR_MATCHLIMIT:
    case PCRE2_ERROR_DEPTHLIMIT:
    case PCRE2_ERROR_HEAPLIMIT:
    case PCRE2_ERROR_JIT_STACKLIMIT: return LORIKEET_MATCH_LIMIT;
    default: return LORIKEET_MATCH_FAILED;
    }
}
