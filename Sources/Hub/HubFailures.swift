import LorikeetGround
import LorikeetJSON

/// What a failed request means to the person who asked: one sentence with the way out.
struct HubFailures {
    let name: HubName
    let settings: HubSettings
    /// Names that the one asked for may be a slip of.
    let near: () -> [String]
    /// Whether the hub has something of the other kind under the name.
    let isOtherKind: () -> Bool

    /// The page where a model's licence is accepted and its access asked for.
    private var page: String { settings.base + "/" + (name.kind == .dataset ? "datasets/" : "") + name.id }
    private var hub: String { settings.endpoint.origin }

    /// - Parameter file: the file that was asked for, if it was one.
    func error(_ failure: any Error, file: String? = nil) -> LorikeetError {
        let error = words(for: failure, file: file)
        return error.exit == .machineFailed && !(failure is LorikeetError) ? error.of(.network) : error
    }

    private func words(for failure: any Error, file: String?) -> LorikeetError {
        switch failure {
        case let error as LorikeetError: error
        case let refusal as HubRefusal: self.refusal(refusal, file: file)
        case HTTPFailure.stopped: LorikeetError(.stoppedEarly, "the download was stopped; what has come is kept", fix: "run the same command again")
        case HTTPFailure.unreachable(let words):
            .machine(
                "\(hub) cannot be reached (\(words))", at: name.id,
                fix: "check the connection, or name another hub in HF_ENDPOINT; what is in the cache is used without a hub")
        case HTTPFailure.untrusted(let words):
            .machine(
                "the certificate of \(hub) is not trusted (\(words))", at: name.id,
                fix: "install ca-certificates, or name the authority's file in CURL_CA_BUNDLE")
        case HTTPFailure.broken(let words):
            .machine("the connection to \(hub) broke (\(words)); what has come is kept", at: file ?? name.id, fix: "run the same command again")
        case HTTPFailure.silent(let seconds): .silent(hub, seconds, at: name.id, kept: "; what is in the cache is used without a hub")
        case HTTPFailure.webPage(let address): .webPage(address, at: file ?? name.id)
        case HTTPFailure.failed(let words): .machine("the hub's answer cannot be used (\(words))", at: file ?? name.id, fix: "run the same command again")
        default: .machine("the download failed: \(failure)", at: file ?? name.id, fix: "run the same command again")
        }
    }

    private func refusal(_ refusal: HubRefusal, file: String?) -> LorikeetError {
        let code = refusal.head["x-error-code"] ?? ""
        let words = refusal.words.isEmpty ? "" : " (\(refusal.words))"
        if let storage = refusal.storage {
            return .machine(
                "\(storage), to which the hub redirects, answers with status \(refusal.head.status)\(words); what has come is kept", at: file ?? name.id,
                fix: "run the same command again")
        }
        switch refusal.head.status {
        case 401, 403:
            if code == "RepoNotFound" { return missing(refusal) }
            if refusal.head.status == 401, refusal.tokenWasSent, code != "GatedRepo" {
                return .input(
                    "the hub does not accept HF_TOKEN\(words)", at: name.id,
                    fix: "make another token at \(settings.base)/settings/tokens, of an account that has accepted the licence at \(page)")
            }
            return .input("access to this \(name.kind.words) has to be granted\(words)", at: name.id, fix: access(refusal))
        case 404:
            switch code {
            case "RevisionNotFound": return .input("it has no revision '\(name.revision ?? HubName.mainBranch)'", at: name.id, fix: "look at \(page)")
            case "EntryNotFound": return .input("the hub lists the file but does not have it", at: file ?? name.id, fix: "run the same command again")
            default: return file == nil ? missing(refusal) : .machine("the hub has no such file", at: file, fix: "run the same command again")
            }
        case 429:
            let wait = refusal.head["retry-after"].map { " (Retry-After: \($0))" } ?? ""
            return .machine(
                "the hub refuses more requests for a while, because there have been too many\(wait)\(words)", at: name.id,
                fix: "run the same command later; what has come is kept" + (settings.token == nil ? "; with HF_TOKEN more are allowed" : ""))
        default:
            return .machine(
                "the hub answers with status \(refusal.head.status)\(words); what has come is kept", at: file ?? name.id, fix: "run the same command again")
        }
    }

    /// The hub does not tell a private model from one that is not there.
    private func missing(_ refusal: HubRefusal) -> LorikeetError {
        if isOtherKind() {
            return name.kind == .model
                ? .input("the hub \(hub) has no model of this name, but a data set", at: name.id, fix: "give it as --data, or to pull with --dataset")
                : .input("the hub \(hub) has no data set of this name, but a model", at: name.id, fix: "give it as --model, or to pull without --dataset")
        }
        let nearest = nearestName(to: name.id, among: near().filter { $0.utf8.count <= 96 })
        // Only similar names are suggested.
        let meant = nearest.flatMap { $0 != name.id && Self.isNear($0, name.id) ? $0 : nil }
        let other = meant.map { "did you mean \($0)?" }
        return .input(
            "the hub \(hub) has no \(name.kind.words) of this name", at: name.id,
            fix: [other, "if it is private or gated, " + access(refusal)].compactMap { $0 }.joined(separator: " or, "))
    }

    /// How the right to read is had.
    private func access(_ refusal: HubRefusal) -> String {
        "accept its licence at \(page)"
            + (refusal.tokenWasSent
                ? "; HF_TOKEN has to be a token of the account that did" : " and set HF_TOKEN to a token from \(settings.base)/settings/tokens")
    }

    /// Whether two names have at least two thirds of their pairs of letters in common.
    private static func isNear(_ a: String, _ b: String) -> Bool {
        func pairs(_ text: String) -> [String: Int] {
            let letters = Array(text.lowercased())
            return zip(letters, letters.dropFirst()).reduce(into: [:]) { $0[String([$1.0, $1.1]), default: 0] += 1 }
        }
        let (one, two) = (pairs(a), pairs(b))
        let shared = one.reduce(0) { $0 + min($1.value, two[$1.key] ?? 0) }
        return 3 * shared >= max(one.values.reduce(0, +), two.values.reduce(0, +)) * 2
    }
}

/// Failures of a connection that a download and an upload tell in the same words.
extension LorikeetError {
    static func silent(_ hub: String, _ seconds: Int, at place: String, kept: String = "") -> LorikeetError {
        machine(
            "\(hub) has not answered within \(seconds) s", at: place,
            fix: "check the connection and the hub's address in HF_ENDPOINT, or try again later\(kept)")
    }

    static func webPage(_ address: String, at place: String) -> LorikeetError {
        machine(
            "the hub's answer is a web page and not JSON, from \(address)", at: place,
            fix: "a proxy or a network's sign-in page answers in its place: open the address in a browser, or name another hub in HF_ENDPOINT")
    }
}
