import LorikeetGround
import LorikeetJSON
import Testing

@testable import LorikeetTokenizers

private func rendered(_ source: String, _ variables: [String: JSON] = [:], now: Double? = nil) throws -> String {
    try ChatTemplate(source, name: "test", specialTokens: ["bos_token": "<s>"], now: now)
        .render(Conversation(messages: [], variables: variables), addGenerationPrompt: true)
}

private func failure(_ source: String, _ variables: [String: JSON] = [:]) -> LorikeetError? {
    do {
        _ = try rendered(source, variables)
        return nil
    } catch { return error as? LorikeetError }
}

@Suite struct ChatTemplateTests {
    @Test func `every template and snippet makes what Jinja makes, and fails where Jinja fails`() throws {
        let cases = try Fixture.json("templates.json").array ?? []
        #expect(cases.count > 250)
        for entry in cases {
            let name = entry["template"]?.string ?? entry["source"]?.string ?? ""
            let source = try entry["source"]?.string ?? Fixture.text("templates/\(name)")
            var variables = Dictionary(uniqueKeysWithValues: entry["variables"]?.object?.entries.map { ($0.key, $0.value) } ?? [])
            let prompt = variables.removeValue(forKey: "add_generation_prompt")?.bool ?? false
            let conversation = Conversation(
                messages: variables.removeValue(forKey: "messages")?.array ?? [], tools: variables.removeValue(forKey: "tools"),
                documents: variables.removeValue(forKey: "documents"), variables: variables)
            let result = Result {
                try ChatTemplate(source, name: name, specialTokens: [:], now: 1_709_210_096).render(conversation, addGenerationPrompt: prompt)
            }
            switch result {
            case .success(let text):
                let expected = try #require(entry["expected"]?.string, "\(name) should fail: \(entry["error"]?.string ?? "")")
                #expect(PythonText.equal(text, expected), "\(name)\n\(text.debugDescription)\n\(expected.debugDescription)")
            case .failure(let error): #expect(entry["error"] != nil, "\(name): \(error)")
            }
        }
    }

    @Test func `SmolLM2's own template writes its system message unless one is given`() throws {
        let template = try ChatTemplate(Fixture.text("templates/smollm2.jinja"), name: "smollm2", specialTokens: [:])
        let prompt = try template.render([ChatMessage(role: "user", content: "Hi")], addGenerationPrompt: true)
        #expect(
            prompt == """
                <|im_start|>system
                You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>
                <|im_start|>user
                Hi<|im_end|>
                <|im_start|>assistant\n
                """)
    }

    @Test func `a template's refusal is an error with its line and message`() throws {
        let error = failure("\n\n{{ raise_exception('roles must alternate') }}")
        #expect(error?.place == "test:3")
        #expect(error?.what.contains("roles must alternate") == true)
    }

    @Test(arguments: [
        ("a\n{% if x %}", "endif"), ("a\n{{ x ", "no end"), ("a\n{% frob %}", "frob"), ("a\n{{ 'x }}", "string"),
        ("a\n{{ (1 }}", "bracket"), ("a\n{{ x|nothing }}", "nothing"), ("a\n{{ x is nothing }}", "nothing"), ("a\n{{ }}", "value"),
        ("a\n{% break %}", "loop"), ("a\n{% include 'x' %}", "include"), ("a\n{{ x|urlize }}", "urlize"), ("a\n{{ [}] }}", "bracket"),
        ("a\n{{ x.y }}", "undefined"), ("a\n{{ 99999999999999999999 }}", "range"), ("a\n{{ 9223372036854775807 + 1 }}", "range"),
    ])
    func `what cannot be parsed or done is an error with its line`(source: String, word: String) {
        let error = failure(source)
        #expect(error?.place == "test:2", "\(source): \(error?.description ?? "no error")")
        #expect(error?.what.contains(word) == true, "\(error?.description ?? "no error")")
    }

    @Test func `templates that nest or recurse without end are stopped`() {
        let deep = 100_000
        for source in [
            "{{ " + String(repeating: "(", count: deep) + "1" + String(repeating: ")", count: deep) + " }}",
            "{{ " + String(repeating: "not ", count: deep) + "1 }}",
            "{{ 1" + String(repeating: " + 1", count: deep) + " }}", "{{ x" + String(repeating: ".y", count: deep) + " }}",
            "{{ 1" + String(repeating: "|string", count: deep) + " }}", String(repeating: "{% if 1 %}", count: deep),
            "{{ 1" + String(repeating: " if 1 else 1", count: deep) + " }}", "{{ " + String(repeating: "-", count: deep) + "1 }}",
            "{{ " + String(repeating: "[", count: deep) + String(repeating: "]", count: deep) + " }}", "{{ 1" + String(repeating: " ~ 1", count: deep) + " }}",
        ] { #expect(failure(source)?.what.contains("deeper") == true, "\(source.prefix(20))") }
        #expect(failure("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}")?.what.contains("deeper") == true)
    }

    @Test(arguments: [
        "{% set ns = namespace(x=[]) %}{% for i in range(100000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x={}) %}{% for i in range(100000) %}{% set ns.x = {'a': ns.x} %}{% endfor %}{{ ns.x | tojson }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(100000) %}{% set ns.x = ns.x | batch(1) %}{% set ns.x = [ns.x] %}{% endfor %}",
        "{% macro m(x, n) %}{{ m([x], n + 1) }}{% endmacro %}{{ m([], 0) }}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    ])
    func `values that hold one another without end are stopped`(source: String) {
        let what = failure(source)?.what ?? "no error"
        #expect(what.contains("deeper") || what.contains("steps"), "\(what)")
    }

    @Test func `templates that run or grow without end are stopped`() {
        let twice = String(repeating: "{% set x = x ~ x %}", count: 60)
        #expect(failure("{% set x = 'abcdefgh' %}" + twice)?.what.contains("MiB") == true)
        #expect(failure("{{ 'x' * 9999999999999 }}")?.what.contains("MiB") == true)
        #expect(failure("{{ range(999999999999) | length }}")?.what.contains("elements") == true)
        #expect(failure("{% for a in range(9000) %}{% for b in range(9000) %}{% endfor %}{% endfor %}")?.what.contains("steps") == true)
        let list = String(repeating: "{% set x = x + x %}", count: 60)
        #expect(failure("{% set x = [1, 2] %}" + list)?.what.contains("elements") == true)
    }

    @Test(arguments: ["", "a", "ab", "é漢", "👩‍👩‍👧\u{301}"], [-1, 0, 1, 2, 3, 7, 8, 1000])
    func `a text repeated is the text so many times`(text: String, count: Int) {
        #expect(Array(PythonText.repeated(text, count).utf8) == Array(String(repeating: text, count: max(0, count)).utf8))
    }

    /// Each would take gigabytes, minutes or a trap without a charge before the work.
    @Test(arguments: [
        "{{ '' * 9223372036854775807 }}x", "{{ ('a' * 1000000) * 9223372036854775807 }}", "{{ range(1000000) | unique | list | length }}",
        "{{ ('%s' * 1000000) % range(1000000) }}", "{{ {'a': range(100000) | list} | tojson(indent=1000000) }}",
        "{{ 'x' | center(0 - 9223372036854775807 - 1) }}", "{{ 'x' | center(9223372036854775807) }}", "{{ 'x'.zfill(9223372036854775807) }}",
        "{{ ('a' * 30000000) | title | length }}", "{{ ('a' * 30000000).title() | length }}", "{{ ('é' * 10000000) | urlencode | length }}",
        "{{ '%9223372036854775807d' % 1 }}", "{{ '{:999999999999}'.format(1) }}", "{{ [0] * 9223372036854775807 }}", "{{ [] * 9223372036854775807 }}",
        "{{ 'abc'[0 - 9223372036854775807 - 1:9223372036854775807:9223372036854775807] }}", "{{ 'abc'[::0 - 9223372036854775807 - 1] }}",
        "{{ range(0 - 9223372036854775807, 9223372036854775807) | length }}", "{{ (0 - 9223372036854775807 - 1) // -1 }}",
        "{{ -(0 - 9223372036854775807 - 1) }}",
        "{{ (0 - 9223372036854775807 - 1) | abs }}", "{{ (0 - 9223372036854775807 - 1) % -1 }}", "{{ 2 ** 9223372036854775807 }}",
        "{{ 1 ** 9223372036854775807 }}",
        "{{ 'x' | indent(9223372036854775807) }}", "{{ ('a\n' * 1000000) | indent('b' * 1000000) }}", "{{ [1, 2] | batch(9223372036854775807, 0) | list }}",
        "{{ [1] | slice(9223372036854775807) | list }}", "{{ 'x' | truncate(9223372036854775807, true, '', 9223372036854775807) }}",
        "{{ ('a' * 1000000).replace('', 'b' * 1000000) }}", "{{ ('ab' * 500000) | join('c' * 1000000) }}", "{{ (('a' * 30000000) ~ 'b') in ('a' * 60000000) }}",
        "{{ ('a' * 60000000).count(('a' * 30000000) ~ 'b') }}", "{% for i in range(100000) %}{{ ('a' * 100000)[i] }}{% endfor %}",
        "{% set x = range(1000000) | list %}{% for i in range(100000) %}{{ i in x }}{% endfor %}",
        "{% set x = ['a' * 1000000] * 1000 %}{{ x | sort | length }}{{ x == x }}{{ x | string | length }}",
        "{% set ns = namespace(x='') %}{% for i in range(1000000) %}{% set ns.x = ns.x + 'abcdefgh' %}{% endfor %}{{ ns.x | length }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(1000000) %}{% set ns.x = ns.x + [i] %}{% endfor %}{{ ns.x | length }}",
        "{% macro m(n) %}{{ m(n + 1) ~ m(n + 1) }}{% endmacro %}{{ m(0) }}", "{% for x in [1] recursive %}{{ loop([1, 1]) }}{% endfor %}",
        "{{ '&' * 10000000 | forceescape | forceescape | forceescape | forceescape }}", "{{ dict(range(100000) | batch(2)) | length }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(100000) %}{% set ns.x = [ns.x.count] %}{% endfor %}",
        "{% set ns = namespace(x=[0]) %}{% for i in range(100000) %}{% for y in [ns.x] %}{% set ns.x = loop %}{% endfor %}{% endfor %}",
    ])
    func `an operation is charged before it works`(source: String) throws {
        let run = TemplateRun(name: "t", now: nil, variables: [:])
        do { _ = try run.run(TemplateParser.statements(of: source, name: "t")) } catch { #expect(error is LorikeetError, "\(error)") }
        // What was written was paid for, within the limits.
        #expect(run.work <= TemplateRun.maximumWork && run.output.utf8.count <= min(run.work, TemplateRun.maximumBytes), "\(source)")
    }

    /// Each reads three million bytes a turn, whatever it makes of them.
    @Test(arguments: [
        "{'k': 1}[b]", "{'k': 1}.get(b)", "b in {'k': 1}", "dict([[b, 1]])", "{b: 1}", "'x'.find(b)", "'x'.strip(b)", "'x' | trim(b)", "b | int", "b | float",
        "b is filter", "'%.1s' % b", "{b: 1} | dictsort", "'x'.startswith(b)", "[ns] | unique(attribute='b') | list", "'x' is eq(b)",
        "'x'.split(b)", "'x' | replace(b, 'y')", "['x'] | select('eq', *many) | list",
    ])
    func `an operation pays for reading what it is given`(operation: String) {
        let source = """
            {% set b = 'a' * 3000000 %}{% set ns = namespace(b=b) %}{% set many = range(20000) | list %}
            {% for i in range(2000) %}{% set x = \(operation) %}{% endfor %}
            """
        let run = TemplateRun(name: "t", now: nil, variables: [:])
        let error = #expect(throws: LorikeetError.self) { try run.run(TemplateParser.statements(of: source, name: "t")) }
        #expect(error?.kind == .tooMuchWork, "\(String(describing: error))")
    }

    @Test func `a template's own words are shown without control characters, and not at any length`() {
        let what = failure("{{ raise_exception('a\\u001b[2Jb' ~ 'c' * 100000) }}")?.what ?? ""
        #expect(what.contains("a\\u{1B}[2Jbc"))
        #expect(what.utf8.count < 1000)
    }

    @Test func `today's date is written only when a time is given`() throws {
        let source = "{{ strftime_now('%d %b %Y, %A %-H:%M') if strftime_now is defined else 'fixed' }}"
        #expect(try rendered(source) == "fixed")
        #expect(try rendered(source, now: 1_709_210_096) == "29 Feb 2024, Thursday 12:34")
        #expect(try rendered(source, now: -1) == "31 Dec 1969, Wednesday 23:59")
        #expect(failure("{{ strftime_now('%Y') }}")?.what.contains("date") == true)
    }

    @Test func `strings are scalars as in Python, not Swift's characters`() throws {
        #expect(try rendered("{{ 'a\r\nb' | length }}{{ x | length }}", ["x": .string("e\u{301}\r\n")]) == "34")
        #expect(try rendered("{{ x == y }}", ["x": .string("e\u{301}"), "y": .string("\u{e9}")]) == "False")
        #expect(try rendered("{{ x.replace('\n', 'N') }}", ["x": .string("a\r\nb")]) == "a\rNb")
    }

    @Test func `a message's content is never read as a template`() throws {
        let template = try ChatTemplate("{{ messages[0].content }}", name: "t", specialTokens: [:])
        let text = try template.render([ChatMessage(role: "user", content: "{{ 1 + 1 }}{% if %}")], addGenerationPrompt: false)
        #expect(text == "{{ 1 + 1 }}{% if %}")
    }

    /// What Python 3.11's `splitlines` gives.
    @Test func `lines end where Python's do`() {
        let text = "a\u{85}b\u{1C}c\r\n\r\u{2029}dé—Â\u{2027}\n\n\u{1F}\u{1E}"
        #expect(PythonText.splitLines(text) == ["a", "b", "c", "", "", "dé—Â\u{2027}", "", "\u{1F}"])
        #expect(
            PythonText.splitLines(text, keepingEnds: true)
                == ["a\u{85}", "b\u{1C}", "c\r\n", "\r", "\u{2029}", "dé—Â\u{2027}\n", "\n", "\u{1F}\u{1E}"])
        #expect(PythonText.splitLines("").isEmpty && PythonText.splitLines("a\u{C2}") == ["a\u{C2}"])
    }
}
