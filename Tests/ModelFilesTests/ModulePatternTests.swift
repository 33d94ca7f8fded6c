import LorikeetGround
import Testing

@testable import LorikeetModelFiles

/// Expected values are those of Python's `re.fullmatch` and of PEFT's own functions.
struct ModulePatternTests {
    private static let name = "model.layers.0.self_attn.q_proj"

    @Test(
        arguments: [
            (#".*\.q_proj"#, true), ("q_proj", false), (#"model\.layers\.\d+\.self_attn\.(q|v)_proj"#, true), (#".*(?:q_proj|v_proj)"#, true),
            (#"^((?!visual).)*\.(q_proj|k_proj)$"#, true), (#"^((?!self_attn).)*\.(q_proj|k_proj)$"#, false), (#"model(?=\.).*"#, true),
            (#"model(?=x).*"#, false), (#".*\bq_proj\b"#, true), (#".*\Bq_proj"#, false), (#"[a-z]+(\.[^.]+)*"#, true), (#"[^m].*"#, false),
            (#"model\.layers\.[\d]{1,}\.(?:self_attn|mlp)\.(?:q_proj|k_proj)"#, true), (#"model\.layers\.[1-9]\..*"#, false), (#".{31}"#, true),
            (#".{30}"#, false), (#".{32,}"#, false), (#".{0,31}"#, true), (#"(?P<a>model).*"#, true), (#"\w+(?:\.\w+)+?"#, true), (#"\W.*"#, false),
            (#"model.layers.0.self_attn.q_proj"#, true), ("", false), ("()*model.*", true), (#"(a*)*model.*\Z"#, true), (#".*[\w.]q_proj$"#, true),
            (#"(?:.*?(?:language|text).*?(?:q_proj).*?)|(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn)\.(?:(?:q_proj)))"#, true), (#"{.*"#, false),
            (#"mode{1}l.*"#, true), (#"[]m]odel.*"#, true), (#"[a\-m]odel.*"#, true), (#"\x"#, nil), ("(", nil), (")", nil), ("[", nil), ("*a", nil),
            ("a**", nil), (#"\1"#, nil), ("(?i)model.*", nil), ("(?<=a)b", nil), ("a{3,2}", nil), ("[z-a]", nil), ("a++", nil), ("\\", nil),
        ] as [(String, Bool?)])
    func `an expression matches the whole name as Python's does, or is refused`(pattern: String, expected: Bool?) throws {
        guard let expected else {
            #expect(throws: LorikeetError.self) { try ModulePattern(pattern) }
            return
        }
        #expect(try ModulePattern(pattern).matches(Self.name) == expected)
    }

    @Test func `an expression that takes exponential time elsewhere does not here`() throws {
        let name = String(repeating: "a", count: 60) + "b"
        #expect(try !ModulePattern("(a+)+$").matches(name))
        #expect(try !ModulePattern("(a|a)*c").matches(name))
        #expect(try ModulePattern("(a?){60}a{60}b").matches(name))
    }

    @Test func `what would grow without limit is refused`() {
        for pattern in [
            "((a{100}){100}){100}", String(repeating: "(", count: 200) + String(repeating: ")", count: 200), "a{99999999999999999999}",
            String(repeating: "((((){1000}){1000}){1000}){1000}", count: 1), String(repeating: "a|", count: 30_000),
        ] {
            #expect(throws: LorikeetError.self) { try ModulePattern(pattern) }
        }
    }

    /// rank_pattern's keys: PEFT's `get_pattern_key`.
    @Test(
        arguments: [
            ("q_proj", true), ("proj", false), ("self_attn.q_proj", true), ("attn.q_proj", false), ("model.layers.0.self_attn.q_proj", true),
            ("^model.layers.0.self_attn.q_proj", true), ("^layers.0.self_attn.q_proj", false), (#"layers\.0\..*"#, true), ("q_proj$", true),
            ("k_proj|q_proj", true),
            ("layers.0", false), ("self.attn.q.proj", true), ("", false), ("a-very-long-name-that-is-longer-than-the-modules-own", false),
        ])
    func `a key of rank_pattern matches from a part of the name to its end`(key: String, expected: Bool) throws {
        #expect(try AdapterPattern(key: key, value: 1).matches(Self.name) == expected)
    }

    private func configuration(_ names: [String], _ targets: AdapterTargets) -> AdapterConfiguration {
        var configuration = AdapterConfiguration(r: 1, alpha: 1, dropout: 0, targetModules: names)
        configuration.targets = targets
        return configuration
    }

    /// PEFT's `check_target_module_exists`.
    @Test func `layers, patterns and exclusions choose modules as PEFT's do`() throws {
        let attention = Self.name
        var layers = AdapterTargets()
        layers.layers = [0, 2]
        for (name, names, expected) in [
            (attention, ["q_proj"], true), ("model.layers.1.self_attn.q_proj", ["q_proj"], false), ("model.layers.2.self_attn.q_proj", ["q_proj"], true),
            // A name in full is taken whatever its layer; a number right behind the first part is no layer's.
            ("model.layers.1.self_attn.q_proj", ["model.layers.1.self_attn.q_proj"], true), ("layers.0.q_proj", ["q_proj"], false),
            ("model.layers.0.experts.5.q_proj", ["q_proj"], true), ("model.q_proj", ["q_proj"], false), ("model.layers.0.v_proj", ["q_proj"], false),
        ] {
            #expect(try configuration(names, layers).wraps(name) == expected, "\(name)")
        }
        layers.layersPatterns = [try ModulePattern("layers")]
        for (name, expected) in [
            (attention, true), ("layers.0.q_proj", true), ("model.h.0.q_proj", false), ("model.h.1.layers.2.q_proj", true), ("model.xlayers.0.q_proj", false),
        ] {
            #expect(try configuration(["q_proj"], layers).wraps(name) == expected, "\(name)")
        }
        var excluded = AdapterTargets()
        excluded.excluded = .names(["layers.0.self_attn.q_proj"])
        #expect(try !configuration(["q_proj"], excluded).wraps(attention))
        #expect(try configuration(["q_proj"], excluded).wraps("model.layers.1.self_attn.q_proj"))
        excluded.excluded = .pattern(try ModulePattern(#".*\.0\..*"#))
        #expect(try !configuration(["q_proj"], excluded).wraps(attention))
        #expect(try configuration(["all-linear"], excluded).wraps("model.layers.1.mlp.up_proj"))
    }
}
