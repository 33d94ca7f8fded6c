import LorikeetGround
import Testing

@testable import LorikeetHub

struct NameTests {
    struct Case: Sendable { let text: String, kind: HubName.Kind, id: String, revision: String?, part: String? }

    static let cases = [
        Case(text: "Qwen/Qwen3-0.6B", kind: .model, id: "Qwen/Qwen3-0.6B", revision: nil, part: nil),
        Case(text: "Qwen/Qwen3-0.6B@main", kind: .model, id: "Qwen/Qwen3-0.6B", revision: "main", part: nil),
        Case(text: "a/b@refs/pr/3", kind: .model, id: "a/b", revision: "refs/pr/3", part: nil),
        Case(text: "a/b-GGUF:Q4_K_M", kind: .model, id: "a/b-GGUF", revision: nil, part: "Q4_K_M"),
        Case(text: "a/b-GGUF@v1:sub/b-Q4_0.gguf", kind: .model, id: "a/b-GGUF", revision: "v1", part: "sub/b-Q4_0.gguf"),
        Case(text: "hf://a/b", kind: .model, id: "a/b", revision: nil, part: nil),
        Case(text: "hf://gpt2", kind: .model, id: "gpt2", revision: nil, part: nil),
        Case(text: "hf://gpt2@main", kind: .model, id: "gpt2", revision: "main", part: nil),
        Case(text: "hf://a/b@v1/x/y.gguf", kind: .model, id: "a/b", revision: "v1", part: "x/y.gguf"),
        Case(text: "hf://a/b:Q8_0", kind: .model, id: "a/b", revision: nil, part: "Q8_0"),
        Case(text: "hf://datasets/a/b", kind: .dataset, id: "a/b", revision: nil, part: nil),
        Case(text: "hf://datasets/a/b@refs/convert/parquet/x/train.csv", kind: .dataset, id: "a/b", revision: "refs/convert/parquet", part: "x/train.csv"),
        Case(text: "hf://datasets/a/b@refs%2Fpr%2F1/train.csv", kind: .dataset, id: "a/b", revision: "refs/pr/1", part: "train.csv"),
        Case(text: "https://huggingface.co/Qwen/Qwen3-0.6B", kind: .model, id: "Qwen/Qwen3-0.6B", revision: nil, part: nil),
        Case(text: "https://huggingface.co/a/b/tree/v1", kind: .model, id: "a/b", revision: "v1", part: nil),
        Case(text: "https://huggingface.co/datasets/a/b/blob/main/d/train.jsonl", kind: .dataset, id: "a/b", revision: "main", part: "d/train.jsonl"),
    ]

    @Test(arguments: cases) func `a name is read in each of its forms`(test: Case) throws {
        let name = try HubName(test.text, kind: .model)
        #expect((name.kind, name.id) == (test.kind, test.id) && name.revision == test.revision && name.part == test.part, "\(name)")
    }

    @Test(arguments: [
        "a/b/c", "a//b", "", "a/", "/b", "../b", "a/..", "a/b@", "a/b@../x", "a/b@x y", "a/b:", "a/b:../x", "a/b:/etc/passwd", "a/b:x\\y", "a/b--c", "a/-b",
        "a/b.git", "hf://", "hf://spaces/a/b", "https://example.com/a/b", "hf://a/b/../../c", "hf://a/b@main/..", "a/b:x\u{0}y", "a/b:..\u{2F}\u{308}x", "a/é",
        "hf://a/b/c.gguf:Q4", "https://user:word@huggingface.co/a/b",
    ])
    func `what is no name is refused in one sentence`(text: String) throws {
        let error = #expect(throws: LorikeetError.self) { try HubName(text, kind: .model) }
        #expect(error?.exit == .unusableInput && error?.fix != nil)
    }

    @Test(arguments: [
        "https://user:WORD@huggingface.co/a/b", "https://WORD@hf.co/a/b", "HTTPS://user:WORD@example.com/x", "https://huggingface.co/a/b?token=WORD",
    ])
    func `a password or token in an address is not shown`(text: String) {
        do { _ = try HubName(text, kind: .model) } catch { #expect(!"\(error)".contains("WORD"), "\(error)") }
    }

    @Test func `a path is not taken for a name`() {
        for path in ["./model", "../model", "/tmp/model", "model", "models/x.gguf", "data/train.jsonl", "out/m/x", "x.gguf", "d/t.CSV", "~/m"] {
            #expect(!HubName.looksLikeOne(path), "\(path)")
        }
        for name in ["Qwen/Qwen3-0.6B", "a/b@v1", "a/b:Q4_K_M", "a/b:x.gguf", "hf://gpt2", "hf://datasets/a/b/train.jsonl"] {
            #expect(HubName.looksLikeOne(name), "\(name)")
        }
    }

    @Test func `only a relative path of plain parts stays in the cache`() {
        for bad in [
            "", "/x", "..", "a/..", "a/../b", "./a", "a//b", "a/", "a\\b", "a\u{0}", "a\nb", "../\u{308}x", "a/..\u{2F}\u{301}",
            String(repeating: "x", count: 256),
        ] {
            #expect(!bad.isPathInFolder, "\(bad.debugDescription)")
        }
        for good in ["a", "a/b.json", ".gitattributes", "ü/…", "a b"] { #expect(good.isPathInFolder, "\(good)") }
        for bad in ["", "..", ".hidden", "a/b", "a b", "ä"] { #expect(!RepositoryListing.isTag(bad), "\(bad)") }
    }

    @Test func `addresses are read, compared and followed`() throws {
        let address = try #require(WebAddress("HTTPS://Hub.Example:443/api?x=1#y"))
        #expect(address.text == "https://hub.example/api?x=1" && address.port == 443)
        #expect(address.following("/b?c")?.text == "https://hub.example/b?c")
        #expect(address.following("c/d")?.text == "https://hub.example/c/d")
        #expect(address.following("//other/d")?.text == "https://other/d")
        #expect(address.following("http://hub.example/").map { !$0.hasOrigin(of: address) } == true)
        #expect(address.following("ftp://x/") == nil)
        for bad in [
            "", "huggingface.co", "ftp://a", "https://", "https://a b/", "https://u:p@a/", "https://a:99999/", "https://a:x/", "https://[::1", "http://a\n/",
        ] {
            #expect(WebAddress(bad) == nil, "\(bad)")
        }
        for local in ["http://localhost:1/", "http://127.0.0.1", "http://127.9.9.9:80", "http://[::1]:8080/"] {
            #expect(WebAddress(local)?.isLocal == true, "\(local)")
        }
        for far in ["http://localhost.example.com", "http://127.example.com", "http://127.0.0.1.example.com", "http://10.0.0.1", "http://127.0.0.256"] {
            #expect(WebAddress(far)?.isLocal == false, "\(far)")
        }
        #expect(WebAddress.escaped("a b/ü?#", slashes: true) == "a%20b/%C3%BC%3F%23" && WebAddress.escaped("refs/pr/1") == "refs%2Fpr%2F1")
    }
}
