import Foundation
import Testing

@testable import LorikeetGround

struct TextTests {
    @Test(arguments: [("", ""), (" \n\t ", ""), ("a", "a"), ("  a b\u{A0}\n", "a b"), ("\r\nx\u{2029}", "x")])
    func `white space at the ends is cut off, and inside it stays`(text: String, trimmed: String) {
        #expect(text.trimmed == trimmed && text[...].trimmed == trimmed)
    }

    @Test func `a cell is padded, and never touches the next`() {
        #expect("ab".padded(to: 4) == "ab  " && "abcd".padded(to: 4) == "abcd " && "".padded(to: 0) == " ")
    }

    static let words = ["plain-1.0/x:y=z,@%+_", "", "two words", "it's", #"a\b$(rm)`x`"#, "*", "~", "Füße", "a\nb", "\u{1B}[2J'\\", "\u{202E}x\u{E0041}"]

    @Test func `a word of a shell's command is the text again, without characters that a terminal obeys`() throws {
        #expect("plain-1.0/x:y=z,@%+_".shellWord == "plain-1.0/x:y=z,@%+_" && "".shellWord == "''")
        #expect("it's".shellWord == #"'it'\''s'"# && "a\n'".shellWord == #"$'a\n\''"# && "\u{1B}\u{E0041}".shellWord == #"$'\u001B\U000E0041'"#)
        #expect(Self.words.allSatisfy { !$0.shellWord.unicodeScalars.contains(where: \.isUnprintable) })
        let bash = Process()
        bash.executableURL = URL(fileURLWithPath: "/bin/bash")
        bash.arguments = ["-c", "printf '%s\\0' " + Self.words.map(\.shellWord).joined(separator: " ")]
        bash.environment = ["LC_ALL": "C.UTF-8"]
        let pipe = Pipe()
        bash.standardOutput = pipe
        try bash.run()
        let said = pipe.fileHandleForReading.readDataToEndOfFile()
        bash.waitUntilExit()
        #expect(String(decoding: said, as: UTF8.self) == Self.words.map { $0 + "\0" }.joined())
    }
}
