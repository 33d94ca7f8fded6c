import Foundation
import LorikeetGround
import Testing

@testable import LorikeetHub

struct SettingsTests {
    @Test func `the cache's folder is found as Python finds it`() throws {
        let home = ["HOME": "/home/me"]
        for (variables, folder) in [
            ([:], "/home/me/.cache/huggingface/hub"), (["XDG_CACHE_HOME": "/x"], "/x/huggingface/hub"), (["HF_HOME": "/h", "XDG_CACHE_HOME": "/x"], "/h/hub"),
            (["HUGGINGFACE_HUB_CACHE": "/c/", "HF_HOME": "/h"], "/c"), (["HF_HUB_CACHE": "/d", "HUGGINGFACE_HUB_CACHE": "/c"], "/d"),
            (["HF_HOME": "~/hf"], "/home/me/hf/hub"), (["HF_HOME": ""], "/home/me/.cache/huggingface/hub"),
        ] as [([String: String], String)] {
            #expect(try HubSettings(environment: home.merging(variables) { $1 }).cacheFolder == folder)
        }
        #expect(throws: LorikeetError.self) { try HubSettings(environment: [:]) }
    }

    @Test func `the endpoint is huggingface.co or what HF_ENDPOINT says`() throws {
        #expect(try HubSettings(environment: ["HOME": "/h"]).base == "https://huggingface.co")
        #expect(try HubSettings(environment: ["HOME": "/h", "HF_ENDPOINT": "http://127.0.0.1:8/hf/"]).base == "http://127.0.0.1:8/hf")
        for bad in ["hub", "ftp://hub", "https://me:secret@hub", "https://hub?x"] {
            let error = #expect(throws: LorikeetError.self) { try HubSettings(environment: ["HOME": "/h", "HF_ENDPOINT": bad]) }
            #expect(error?.exit == .unusableInput && error?.description.contains("secret") == false)
        }
    }

    @Test func `the token is sent over encrypted and local connections only, and never printed`() throws {
        func settings(_ endpoint: String, _ token: String = "hf_secret", _ name: String = "HF_TOKEN") throws -> HubSettings {
            try HubSettings(environment: ["HOME": "/h", "HF_ENDPOINT": endpoint, name: token])
        }
        for endpoint in ["https://hub.example", "http://localhost:80", "http://127.0.0.1:9"] { #expect(try settings(endpoint).token?.secret == "hf_secret") }
        #expect(try settings("https://hub.example", " hf_old\n", "HUGGING_FACE_HUB_TOKEN").token?.secret == "hf_old")
        let open = try settings("http://hub.example")
        #expect(open.token == nil && open.warnings.count == 1 && open.warnings[0].contains("HF_TOKEN is not sent to http://hub.example"))
        let shown = try settings("https://hub.example")
        var dumped = ""
        dump(shown, to: &dumped)
        #expect(!dumped.contains("hf_secret") && !"\(shown)".contains("hf_secret") && !String(reflecting: shown).contains("hf_secret"))
        let error = #expect(throws: LorikeetError.self) { try settings("https://hub.example", "hf_a\r\nX-Evil: 1") }
        #expect(error?.description.contains("Evil") == false)
    }

    @Test func `offline is what Python takes for it`() throws {
        for (value, offline) in [("1", true), ("true", true), ("YES", true), ("on", true), ("0", false), ("", false), ("no", false)] {
            #expect(try HubSettings(environment: ["HOME": "/h", "HF_HUB_OFFLINE": value]).offline == offline, "\(value)")
        }
    }

    @Test func `the hashes are those of the standards`() {
        // FIPS 180-4's examples, and lengths around a block's end against `sha256sum` and `sha1sum`.
        func hash(_ kind: ContentDigest.Kind, _ count: Int, piece: Int) -> String {
            var digest = ContentDigest(kind)
            let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 / 256) }
            for start in stride(from: 0, to: count, by: piece) { bytes[start..<min(count, start + piece)].withUnsafeBytes { digest.add($0) } }
            return digest.finish()
        }
        var (one, two) = (ContentDigest(.sha256), ContentDigest(.sha1))
        one.add("abc")
        two.add("abc")
        #expect(one.finish() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        #expect(two.finish() == "a9993e364706816aba3e25717850c26c9cd0d89d")
        for (count, sha256, sha1) in Self.sums {
            for piece in [1, 63, 64, 1000] where piece <= max(1, count) {
                #expect(hash(.sha256, count, piece: piece) == sha256 && hash(.sha1, count, piece: piece) == sha1, "\(count) bytes in pieces of \(piece)")
            }
        }
    }

    /// Written by Python's hashlib for bytes (7·i + i/256) mod 256.
    static let sums: [(Int, String, String)] = [
        (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d", "5ba93c9db0cff93f52b521d7420e43f6eda2784f"),
        (55, "576a1bf8d4478657e6dc4af9398544765c2a92cde28478b019235cfed315fc09", "aecd1643c9903b9bae8cb94f53c50f8a4e18605b"),
        (56, "9b20501dfd1d99161c257950f3444f3e49230c351c5c8e0943ef369f85f5205d", "f5d65c621c02cc8e785159feff8088e3072da1bc"),
        (63, "30b345906b493f06f69444b6521113511c242f30e29840462950035043682f1e", "4952f0fe097e4d6410ae9eab4855aa836caf3bff"),
        (64, "d8bc63b4fc1156e5e7d95a418b9bf54cd3174bedbc2db40f74895349b229b3c0", "1e17ae1fc093e5daca033553c97a5192ca164486"),
        (65, "1ee23b0fbcaecc1aff4a9e8f1645f35ab2c8e13609cd73b68df8b5e3f63ce073", "ac44f5dbe3e9b5d2733fc9537fcad715c3c20bc3"),
        (119, "7a6589821178918ca8d9edaba5abfc1e9b2669564f4469b66885379c1530b2c8", "b4a4e69060d0b1e7e8ebbf7041a4211c63438b57"),
        (120, "655250427d56b1b0eeb8497d21428704273458a01772d6881b65c0abac0f8a98", "b651390c2996406336a3f6647e4b590c18cdd6f8"),
        (128, "54c9eb041badfd7064645067b107661fed6113197ce2dd066ba69618abd3732f", "516846cd40bd1fe431119c3b0a0f362957992ee8"),
        (10007, "9369be820fe4c52fd91cf0e70ae1c682f1b82987e1d17ad38fa1b4b1919b72eb", "b10d76f170c8c7aafa53659bb69d85d3ef372b74"),
    ]
}
