// Changes of texts by their words, beside libFuzzer's changes of bytes: a number becomes an extreme one, a piece (a text in quotes, a line, what stands in
// brackets) is doubled, left out, repeated, or takes another's place.
#include <stdint.h>
#include <string.h>

__attribute__((weak)) size_t LLVMFuzzerMutate(uint8_t *bytes, size_t count, size_t most);

static uint64_t state;
static size_t below(size_t limit) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return limit == 0 ? 0 : state % limit;
}

static const char *numbers[] = {
    "0", "1", "-1", "2", "3", "7", "127", "128", "255", "256", "-128", "32767", "32768", "65535", "65536", "16777217", "2147483647", "2147483648",
    "-2147483648", "4294967295", "4294967296", "9007199254740993", "4611686018427387904", "9223372036854775807", "-9223372036854775808",
    "9223372036854775808", "18446744073709551615", "1e308", "1e39", "-1e39", "1e-320", "0.5", "-0.0", "1e400", "1000000", "100000000",
};
static const char *values[] = {"null", "true", "false", "[]", "{}", "\"\"", "[[]]", "\"\\u0000\"", "\"\\ud800\"", "NaN", "[null]", "\"\xf0\x9f\xa6\x9c\""};

typedef struct { size_t start, end; } piece;

static int digit(uint8_t byte) { return byte >= '0' && byte <= '9'; }

/// A number in the text at or behind a random place.
static int number(const uint8_t *text, size_t count, piece *found) {
    size_t from = below(count);
    for (size_t tried = 0; tried < count; tried++) {
        size_t at = (from + tried) % count;
        if (!digit(text[at])) continue;
        size_t start = at, end = at;
        while (start > 0 && (digit(text[start - 1]) || text[start - 1] == '-' || text[start - 1] == '.')) start--;
        while (end < count && (digit(text[end]) || text[end] == '.' || text[end] == 'e' || text[end] == 'E' || text[end] == '-' || text[end] == '+')) end++;
        *found = (piece){start, end};
        return 1;
    }
    return 0;
}

/// A text in quotes, what stands in brackets with them, a line, or a few bytes.
static piece some(const uint8_t *text, size_t count) {
    size_t at = below(count);
    switch (below(4)) {
    case 0:
        for (size_t i = at; i < count; i++) {
            if (text[i] != '"' && text[i] != '\'') continue;
            for (size_t j = i + 1; j < count; j++) {
                if (text[j] == text[i]) return (piece){i, j + 1};
            }
        }
        break;
    case 1:
        for (size_t i = at; i < count; i++) {
            uint8_t open = text[i], close = open == '{' ? '}' : open == '[' ? ']' : open == '(' ? ')' : 0;
            if (close == 0) continue;
            size_t depth = 0;
            for (size_t j = i; j < count; j++) {
                if (text[j] == open) depth++;
                if (text[j] == close && --depth == 0) return (piece){i, j + 1};
            }
        }
        break;
    case 2: {
        size_t start = at, end = at;
        while (start > 0 && text[start - 1] != '\n') start--;
        while (end < count && text[end] != '\n') end++;
        return (piece){start, end < count ? end + 1 : end};
    }
    default: break;
    }
    size_t length = 1 + below(16);
    return (piece){at, at + length < count ? at + length : count};
}

/// Puts `with` in the place of a piece; the text stays as it is where that would be too long.
static size_t replace(uint8_t *text, size_t count, size_t most, piece old, const uint8_t *with, size_t length) {
    if (count - (old.end - old.start) + length > most) return count;
    memmove(text + old.start + length, text + old.end, count - old.end);
    memcpy(text + old.start, with, length);
    return count - (old.end - old.start) + length;
}

/// A few bytes changed, put in or taken out; libFuzzer's own where it is linked.
static size_t bytewise(uint8_t *bytes, size_t count, size_t most) {
    if (LLVMFuzzerMutate) return LLVMFuzzerMutate(bytes, count, most);
    for (size_t changes = 1 + below(4); changes > 0; changes--) {
        size_t at = below(count);
        switch (count == 0 ? 4 : below(6)) {
        case 0: bytes[at] ^= (uint8_t)(1u << below(8)); break;
        case 1: bytes[at] = (uint8_t)below(256); break;
        case 2: bytes[at] = (uint8_t)(below(2) ? 0xff : 0x80); break;
        case 3: {
            size_t length = 1 + below(count - at < 8 ? count - at : 8);
            memmove(bytes + at, bytes + at + length, count - at - length);
            count -= length;
            break;
        }
        case 4:
            if (count >= most) break;
            memmove(bytes + at + 1, bytes + at, count - at);
            bytes[at] = (uint8_t)below(256);
            count++;
            break;
        default: {
            // A whole number, little-endian.
            static const uint64_t extreme[] = {0, 1, 255, 65535, 0x7fffffff, 0x80000000, 0xffffffff, 0x7fffffffffffffff, 0x8000000000000000, ~0ull, 1ull << 40};
            size_t length = (size_t)1 << below(4);
            if (count - at >= length) memcpy(bytes + at, &extreme[below(sizeof extreme / sizeof *extreme)], length);
        }
        }
    }
    return count;
}

size_t LLVMFuzzerCustomMutator(uint8_t *text, size_t count, size_t most, unsigned seed) {
    static uint8_t copy[1 << 16];
    state = 0x9E3779B97F4A7C15u * (seed + 1u) | 1u;
    for (int warm = 0; warm < 4; warm++) below(2);
    if (count < 4 || below(3) == 0) return bytewise(text, count, most);
    for (size_t changes = 1 + below(3); changes > 0 && count >= 4; changes--) {
        piece old = some(text, count);
        switch (below(6)) {
        case 0:
        case 1:
            if (number(text, count, &old)) {
                const char *with = numbers[below(sizeof numbers / sizeof *numbers)];
                count = replace(text, count, most, old, (const uint8_t *)with, strlen(with));
            }
            break;
        case 2: {
            const char *with = values[below(sizeof values / sizeof *values)];
            count = replace(text, count, most, old, (const uint8_t *)with, strlen(with));
            break;
        }
        case 3: count = replace(text, count, most, old, text, 0); break;
        case 4: {
            // Another piece in its place.
            piece other = some(text, count);
            size_t length = other.end - other.start;
            if (length > sizeof copy) break;
            memcpy(copy, text + other.start, length);
            count = replace(text, count, most, old, copy, length);
            break;
        }
        default: {
            // Once more, or many times.
            size_t length = old.end - old.start;
            size_t times = below(4) == 0 ? 1 + below(200) : 1;
            if (length > sizeof copy) break;
            memcpy(copy, text + old.start, length);
            for (; times > 0 && count + length <= most; times--) count = replace(text, count, most, (piece){old.end, old.end}, copy, length);
        }
        }
    }
    return count;
}
