#include "CJSON.h"

#include <rapidjson/error/en.h>
#include <rapidjson/memorystream.h>
#include <rapidjson/reader.h>

#include <new>
#include <string>
#include <unordered_set>
#include <vector>

struct lorikeet_json {
    std::vector<lorikeet_json_node> nodes;
    std::string characters;
    const char *error = nullptr;
    size_t error_at = 0;
};

namespace {

struct Handler {
    lorikeet_json &tape;
    size_t depth_limit;
    size_t value_limit;
    std::vector<size_t> open{};
    bool too_deep = false;
    bool too_long = false;

    bool add(uint32_t kind, uint32_t count = 0, int64_t integer = 0) {
        if (tape.nodes.size() >= value_limit) { too_long = true; return false; }
        lorikeet_json_node node{};
        node.kind = kind;
        node.count = count;
        node.value.integer = integer;
        tape.nodes.push_back(node);
        return true;
    }
    bool text(const char *s, rapidjson::SizeType n) {
        const uint64_t offset = tape.characters.size();
        tape.characters.append(s, n);
        return add(LORIKEET_JSON_STRING, n, static_cast<int64_t>(offset));
    }
    bool number(double d) {
        if (!add(LORIKEET_JSON_DOUBLE)) return false;
        tape.nodes.back().value.number = d;
        return true;
    }
    bool start(uint32_t kind) {
        if (open.size() >= depth_limit) { too_deep = true; return false; }
        open.push_back(tape.nodes.size());
        return add(kind);
    }
    bool end(rapidjson::SizeType count) {
        tape.nodes[open.back()].count = count;
        open.pop_back();
        return true;
    }

    bool Null() { return add(LORIKEET_JSON_NULL); }
    bool Bool(bool b) { return add(b ? LORIKEET_JSON_TRUE : LORIKEET_JSON_FALSE); }
    bool Int(int i) { return add(LORIKEET_JSON_INTEGER, 0, i); }
    bool Uint(unsigned i) { return add(LORIKEET_JSON_INTEGER, 0, i); }
    bool Int64(int64_t i) { return add(LORIKEET_JSON_INTEGER, 0, i); }
    bool Uint64(uint64_t i) { return i <= INT64_MAX ? add(LORIKEET_JSON_INTEGER, 0, static_cast<int64_t>(i)) : number(static_cast<double>(i)); }
    bool Double(double d) { return number(d); }
    bool RawNumber(const char *, rapidjson::SizeType, bool) { return false; }
    bool String(const char *s, rapidjson::SizeType n, bool) { return text(s, n); }
    bool StartObject() { return start(LORIKEET_JSON_OBJECT); }
    bool Key(const char *s, rapidjson::SizeType n, bool) { return text(s, n); }
    bool EndObject(rapidjson::SizeType n) { return end(n); }
    bool StartArray() { return start(LORIKEET_JSON_ARRAY); }
    bool EndArray(rapidjson::SizeType n) { return end(n); }
};

/// Ends the parse behind the first key that its object has had before.
struct SecondKeyFinder : rapidjson::BaseReaderHandler<rapidjson::UTF8<>, SecondKeyFinder> {
    std::vector<std::unordered_set<std::string>> open{};

    bool StartObject() {
        open.emplace_back();
        return true;
    }
    bool EndObject(rapidjson::SizeType) {
        open.pop_back();
        return true;
    }
    bool Key(const char *s, rapidjson::SizeType n, bool) { return open.back().emplace(s, n).second; }
};

}  // namespace

extern "C" lorikeet_json *lorikeet_json_parse(const char *text, size_t length, size_t depth, size_t values) {
    lorikeet_json *tape = new (std::nothrow) lorikeet_json;
    if (!tape) return nullptr;
    try {
        tape->nodes.reserve(length / 16 + 8);
        Handler handler{*tape, depth, values};
        rapidjson::MemoryStream stream(text, length);
        rapidjson::Reader reader;
        // Iterative: nesting costs heap, not stack.
        const auto result = reader.Parse<rapidjson::kParseIterativeFlag | rapidjson::kParseFullPrecisionFlag | rapidjson::kParseValidateEncodingFlag>(stream, handler);
        if (result.IsError()) {
            tape->error = handler.too_deep ? "it is nested too deeply" : handler.too_long ? "it has too many values" : rapidjson::GetParseError_En(result.Code());
            tape->error_at = result.Offset();
        } else if (stream.Tell() < length) {
            // To the parser a zero byte is the end of the text.
            tape->error = rapidjson::GetParseError_En(rapidjson::kParseErrorDocumentRootNotSingular);
            tape->error_at = stream.Tell();
        }
    } catch (const std::bad_alloc &) {
        delete tape;
        return nullptr;
    }
    return tape;
}

extern "C" const char *lorikeet_json_error(const lorikeet_json *tape, size_t *at) {
    *at = tape->error_at;
    return tape->error;
}

extern "C" const lorikeet_json_node *lorikeet_json_nodes(const lorikeet_json *tape, size_t *count) {
    *count = tape->nodes.size();
    return tape->nodes.data();
}

extern "C" const char *lorikeet_json_characters(const lorikeet_json *tape) { return tape->characters.data(); }

extern "C" void lorikeet_json_free(lorikeet_json *tape) { delete tape; }

extern "C" size_t lorikeet_json_second_key(const char *text, size_t length) {
    try {
        SecondKeyFinder finder;
        rapidjson::MemoryStream stream(text, length);
        rapidjson::Reader reader;
        const auto result = reader.Parse<rapidjson::kParseIterativeFlag>(stream, finder);
        return result.IsError() ? result.Offset() : length;
    } catch (const std::bad_alloc &) {
        return length;
    }
}
