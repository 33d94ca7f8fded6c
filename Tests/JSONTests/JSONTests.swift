import LorikeetGround
import Testing

@testable import LorikeetJSON

struct JSONTests {
    @Test(arguments: [
        #"{"a":[1,-2,3.5,1e300,true,false,null,"x"],"b":{}}"#, "[]", "\"\\u00e9\\n\\\"\\\\\"", "9223372036854775807", "-0.5", "0.1",
        "[[[]],{\"k\":[{}]}]",
    ])
    func `what is written reads back the same`(text: String) throws {
        let value = try JSON.parse(text, source: "t")
        #expect(try JSON.parse(value.serialized(), source: "t") == value)
        #expect(try JSON.parse(value.serialized(pretty: true), source: "t") == value)
    }

    @Test func `values and keys are counted, so that a text of commas does not fill the memory`() throws {
        func parse(_ text: String, _ most: Int) throws -> JSON {
            try Array(text.utf8).withUnsafeBytes { try JSON.parse($0, source: "t", mostValues: most) }
        }
        #expect(try parse(#"{"a":[0,0]}"#, 5).object?.keys == ["a"])
        let error = #expect(throws: LorikeetError.self) { try parse(#"{"a":[0,0]}"#, 4) }
        #expect(error?.description.contains("it has too many values") == true)
    }

    @Test func `numbers keep their kind and their last digit`() throws {
        let value = try JSON.parse("[1, 1.0, 18446744073709551615, 0.1, 2e-300]", source: "t").array
        #expect(value == [.integer(1), .number(1), .number(18_446_744_073_709_551_616), .number(0.1), .number(2e-300)])
        #expect(value?[1].int == 1 && value?[3].int == nil)
    }

    @Test func `keys keep their order`() throws {
        let object = try JSON.parse(#"{"b":1,"a":2,"c":3}"#, source: "t").object
        #expect(object?.keys == ["b", "a", "c"])
        // Of equal keys that a program gives the last stays.
        let made = JSONObject([("b", 1), ("a", 2), ("b", 3)])
        #expect(made.keys == ["b", "a"] && made["b"] == .integer(3))
    }

    @Test func `a key that stands twice in one object is refused with its line`() throws {
        let many = (0..<100).map { "\"k\($0)\": 0,\n" }.joined()
        let cases: [(text: String, key: String, line: Int)] = [
            (#"{"b":1,"a":2,"b":3}"#, "b", 7), ("{\"b\": 1,\n \"a\": [1, {\"x\": {\"y\": 1},\n\"x\": 2}]}", "x", 9),
            // The same key in another object, and as a value, is none.
            ("{\"a\": {\"a\": \"a\"},\n\"b\": {\"a\": 1},\n\"\\u0061\": 1}", "a", 9), ("{\n\(many)\"z\": 1,\n\"k7\": 1}", "k7", 109),
            ("{\"\": 1,\n\"\": 1}", "", 8),
        ]
        for (text, key, line) in cases {
            let error = #expect(throws: LorikeetError.self) {
                try Array(text.utf8).withUnsafeBytes { try JSON.parse($0, source: "file.json", firstLine: 7) }
            }
            #expect(error?.exit == .unusableInput && error?.place == "file.json:\(line)", "\(String(describing: error))")
            #expect(error?.what == "the key '\(key)' stands twice in the same object", "\(String(describing: error))")
        }
        #expect(try JSON.parse(#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}"#, source: "t").object?.keys == ["a", "b"])
    }

    @Test(arguments: ["", "{", "[1,]", "{\"a\" 1}", "nul", "\"abc", "[1] 2", "{\"a\":\"\u{1}\"}"])
    func `broken text is an error with its line`(text: String) {
        let error = #expect(throws: LorikeetError.self) { try JSON.parse("\n\n" + text, source: "file.json") }
        #expect(error?.exit == .unusableInput)
        #expect(error?.place?.hasPrefix("file.json:") == true && error?.place != "file.json:1", "\(error?.place ?? "")")
    }

    @Test func `a zero byte does not end the text: what stands behind it is not passed over`() {
        for text in ["{\"a\":1}\u{0}", "{\"a\":1}\u{0}{\"b\":2}", "[1]\n\u{0}\u{0}\u{0}", "7\u{0}8", "[1,\u{0}2]"] {
            let error = #expect(throws: LorikeetError.self, "\(text)") { try JSON.parse(text, source: "t") }
            #expect(error?.exit == .unusableInput)
        }
    }

    @Test func `bytes that are no UTF-8 are an error`() {
        #expect(throws: LorikeetError.self) { try JSON.parse([0x22, 0xFF, 0x22], source: "t") }
    }

    @Test func `a thousand nested lists are refused, not a crash`() {
        let text = String(repeating: "[", count: 100_000) + String(repeating: "]", count: 100_000)
        let error = #expect(throws: LorikeetError.self) { try JSON.parse(text, source: "t") }
        #expect(error?.what.contains("nested too deeply") == true)
    }

    @Test func `keys that differ in bytes alone are two keys`() throws {
        let many = (0..<20).map { "\"k\($0)\":0," }.joined()
        for text in ["{\"\u{E9}\":1,\"e\u{301}\":2}", "{\(many)\"\u{E9}\":1,\"e\u{301}\":2}"] {
            let object = try JSON.parse(text, source: "t").object
            #expect(object?["\u{E9}"] == .integer(1) && object?["e\u{301}"] == .integer(2))
        }
    }

    @Test func `an object of many keys keeps each`() throws {
        let text = "{" + (0..<5000).map { "\"k\($0)\":\($0)" }.joined(separator: ",") + "}"
        let object = try JSON.parse(text, source: "t").object
        #expect(object?.entries.count == 5000 && object?["k4999"] == .integer(4999))
    }

    @Test func `characters that a terminal obeys or does not show are escaped, and read back the same`() throws {
        let text = "\u{1B}[2J\u{7F}\u{9B}2J \u{202E}x\u{2028}\u{E0041} é 👩‍💻"
        let written = JSON.string(text).serialized()
        #expect(written == #""\u001b[2J\u007f\u009b2J \u202ex\u2028\udb40\udc41 é 👩‍💻""#)
        #expect(try JSON.parse(written, source: "t") == .string(text))
    }
}
