import Testing

@testable import LorikeetReporting

struct MarkdownTests {
    @Test func `running text has no meaning in Markdown or HTML`() {
        #expect(Markdown.text("<b>*x* [y](z) `w`") == #"&lt;b&gt;\*x\* \[y\]\(z\) \`w\`"#)
        #expect(Markdown.text("a|b ~~c~~ $d$ @e f:g & #h") == "a&#124;b &#126;&#126;c&#126;&#126; &#36;d&#36; &#64;e f&#58;g &amp; \\#h")
        #expect(Markdown.text("- x") == #"\- x"# && Markdown.text("12. x") == #"12\. x"# && Markdown.text("Qwen2.5-1B") == "Qwen2.5-1B")
        #expect(Markdown.text("a\nb\tc") == "a ⏎ b c" && Markdown.text("\u{1B}") == #"\\u\{1B\}"# && Markdown.text("") == "")
    }

    @Test func `code keeps its characters, and ends where it shall`() {
        #expect(Markdown.code("`") == "`` ` ``" && Markdown.code("a|b") == "`a\\|b`" && Markdown.code("") == "")
        #expect(Markdown.block("", "```") == "````\n```\n````" && Markdown.block("sh", "a") == "```sh\na\n```")
        #expect(Markdown.table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |")
    }
}
