import LorikeetGround
import LorikeetJSON

/// The hub's address, the cache's folder and the access token, from Hugging Face's own environment variables.
package struct HubSettings: Sendable {
    /// The hub's address, without a slash at its end.
    package let endpoint: WebAddress
    /// The text before a path: the endpoint without a slash at its end.
    let base: String
    /// The folder with `models--ORG--NAME`.
    package let cacheFolder: String
    /// The access token; never printed, never sent anywhere but to the endpoint.
    let token: Token?
    /// Whether only the cache is used, and no request is made.
    package let offline: Bool
    /// A file of certificate authorities instead of the system's.
    let certificates: String?
    /// Folders in which libcurl is looked for where the system has none.
    let libraryFolders: [String]
    /// What the user should know: a token that is not sent.
    package let warnings: [String]

    /// Wraps the secret, so that printing or reflecting the settings does not show it.
    struct Token: Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
        let secret: String
        var description: String { "(a token)" }
        var debugDescription: String { description }
        var customMirror: Mirror { Mirror(self, children: []) }

        /// A server's text without the token, which it may repeat.
        func removed(from text: String) -> String { text.contains(secret) ? text.replacing(secret, with: "…") : text }

        /// A server's document without the token in any name or text. What a hub answers becomes messages, names of files, and addresses and headers of
        /// further requests, also to other servers. Words as short as no token is stay: they may be a part of a name.
        func removed(from document: JSON) -> JSON {
            guard secret.utf8.count >= 16 else { return document }
            return switch document {
            case .string(let text): .string(removed(from: text))
            case .array(let values): .array(values.map { removed(from: $0) })
            case .object(let object): .object(JSONObject(object.entries.map { (removed(from: $0.key), removed(from: $0.value)) }))
            default: document
            }
        }

        /// The same of a response's head.
        func removed(from head: HTTPHead) -> HTTPHead {
            guard secret.utf8.count >= 16 else { return head }
            return HTTPHead(status: head.status, fields: head.fields.mapValues { removed(from: $0) })
        }
    }

    /// The variables that count: the hub's address; the cache's folder, the first that is set; the token; offline; a file of certificate authorities.
    package static let variables = [
        "HF_ENDPOINT", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE",
        "TRANSFORMERS_OFFLINE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CONDA_PREFIX",
    ]

    /// - Parameter environment: the process's variables, of which those of `variables` count.
    /// - Throws: exit 2 for an endpoint that is not a web address, a token with characters that no header can hold, or no folder for the cache.
    package init(environment: [String: String]) throws {
        func variable(_ names: String...) -> String? { names.lazy.compactMap { environment[$0] }.first { !$0.isEmpty } }
        let standard = "https://huggingface.co"
        let named = RealFiles.trimmed(variable("HF_ENDPOINT") ?? standard)
        guard let endpoint = WebAddress(named), !endpoint.target.contains("?") else {
            throw LorikeetError.input(
                "HF_ENDPOINT is no address of a hub", fix: "write it like \(standard), without a password: HF_TOKEN is for that")
        }
        self.endpoint = endpoint
        base = endpoint.target == "/" ? endpoint.origin : endpoint.text
        cacheFolder = try Self.cacheFolder(environment)
        offline = variable("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE").map { ["1", "ON", "YES", "TRUE"].contains($0.uppercased()) } ?? false
        certificates = variable("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
        libraryFolders = variable("CONDA_PREFIX").map { [$0 + "/lib"] } ?? []
        var warnings: [String] = []
        token = try variable("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN").flatMap { text in
            let secret = text.trimmed
            guard !secret.isEmpty else { return nil }
            guard secret.unicodeScalars.allSatisfy({ (0x21...0x7E).contains($0.value) }) else {
                throw LorikeetError.input("HF_TOKEN has characters that no token has", fix: "copy it again from \(standard)/settings/tokens")
            }
            guard endpoint.scheme == "https" || endpoint.isLocal else {
                warnings.append("HF_TOKEN is not sent to \(endpoint.origin): the connection is not encrypted; give an https address in HF_ENDPOINT")
                return nil
            }
            return Token(secret: secret)
        }
        self.warnings = warnings
    }

    private static func cacheFolder(_ environment: [String: String]) throws -> String {
        let home = environment["HOME"].flatMap { $0.isEmpty ? nil : $0 }
        func folder(_ name: String, _ below: String) -> String? {
            guard var path = environment[name], !path.isEmpty else { return nil }
            if path == "~" || path.hasPrefix("~/"), let home { path = home + path.dropFirst() }
            return RealFiles.trimmed(path) + below
        }
        let places = [
            folder("HF_HUB_CACHE", ""), folder("HUGGINGFACE_HUB_CACHE", ""), folder("HF_HOME", "/hub"), folder("XDG_CACHE_HOME", "/huggingface/hub"),
            home.map { $0 + "/.cache/huggingface/hub" },
        ]
        guard let place = places.lazy.compactMap({ $0 }).first else {
            throw LorikeetError.input("there is no folder for the hub's cache: neither HF_HOME nor HOME is set", fix: "set HF_HOME to a folder")
        }
        return place
    }
}
