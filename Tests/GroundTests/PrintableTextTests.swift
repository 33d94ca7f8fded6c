import Testing

@testable import LorikeetGround

struct PrintableTextTests {
    @Test(arguments: [
        ("plain, é, 漢字, العربية", "plain, é, 漢字, العربية"), ("tab\tand\nline", "tab\tand\nline"), ("\u{1B}[2Jgone", "\\u{1B}[2Jgone"),
        ("one\rtwo", "one\\u{D}two"), ("one\r\ntwo", "one\\u{D}\ntwo"), ("\u{0}\u{7}\u{8}\u{7F}", "\\u{0}\\u{7}\\u{8}\\u{7F}"), ("\u{9B}2J", "\\u{9B}2J"),
        ("\u{202E}txet", "\\u{202E}txet"), ("a\u{2066}b\u{2069}", "a\\u{2066}b\\u{2069}"), ("a\u{200B}b\u{FEFF}", "a\\u{200B}b\\u{FEFF}"),
        ("a\u{2028}b", "a\\u{2028}b"), ("\u{E0041}", "\\u{E0041}"), ("👩‍💻 ❤️ می‌خواهم", "👩‍💻 ❤️ می‌خواهم"),
    ])
    func `what a terminal obeys or does not show stands as an escape, and all else as it is`(text: String, shown: String) {
        #expect(text.printable() == shown)
        #expect(shown.printable() == shown)
    }

    @Test func `an error is one printable line`() {
        let error = LorikeetError.input("the tensor 'a\u{1B}[1A\nb' is unknown", at: "x\u{9B}y", fix: "look\r")
        #expect(error.description == "x\\u{9B}y: the tensor 'a\\u{1B}[1A\\nb' is unknown; look\\u{D}")
    }

    @Test func `an error with a name of megabytes shows its beginning and its end`() {
        let what = "the tensor 'first" + String(repeating: "x", count: 3_000_000) + "' has no type"
        let shown = LorikeetError.input(what, at: "a.gguf", fix: "fetch it again").description
        #expect(shown.hasPrefix("a.gguf: the tensor 'firstxxx") && shown.hasSuffix("x' has no type; fetch it again") && shown.count < 2000)
    }
}
