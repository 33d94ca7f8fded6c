import Testing

@testable import LorikeetGround

struct SecretsTests {
    private static let token = "hf_" + "abcdefghijKLMNOPQRST0123456789abcd"

    @Test(arguments: [
        ("--token \(token)", "--token hf_…"), ("(\(token))", "(hf_…)"), ("api_org_\(token.dropFirst(3)), \(token)", "api_org_…, hf_…"),
        ("https://me:word@hub.example/a", "https://…@hub.example/a"), ("HTTP://word@hub", "HTTP://…@hub"),
        ("'https://a:b@c@hub.example/x' and 'http://d@e'", "'https://…@hub.example/x' and 'http://…@e'"),
        ("https://s3.example/a/b?X-Signature=12ab&x=/@ is refused", "https://s3.example/a/b?… is refused"),
        ("at https://hub.example/a?\(token)", "at https://hub.example/a?…"),
    ])
    func `passwords in addresses, queries and tokens are not shown`(text: String, shown: String) {
        #expect(text.withoutSecrets() == shown)
        #expect(shown.withoutSecrets() == shown)
    }

    @Test(arguments: [
        "hf_model.gguf", "hf_short", "half_abcdefghijklmnopqrstuvwxyz", "org/name@v1", "hf://gpt2@main", "hf://org/name@main/x?y",
        "https://hub.example/settings/tokens", "https://hub.example/?", "write to me@example.com", "/data//me@home/x", "é漢字 hf_é://", "", "hf_", "://", "org",
    ])
    func `other text stays as it is`(text: String) { #expect(text.withoutSecrets() == text) }

    @Test func `an error holds no secret in any of its parts`() {
        let error = LorikeetError.input("no '\(Self.token)'", at: "https://me:\(Self.token)@hub/x", fix: "use \(Self.token)")
        #expect(error.what == "no 'hf_…'" && error.place == "https://…@hub/x" && error.fix == "use hf_…")
        #expect(!error.description.contains("abcdef"))
    }
}
