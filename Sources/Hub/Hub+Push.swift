import LorikeetGround

extension Hub {
    /// Uploads a folder as a model; the repository is made where there is none.
    ///
    /// - Parameters:
    ///   - name: `ORG/NAME`, perhaps with a branch.
    ///   - isPrivate: a new repository is private; one that is there has to be.
    ///   - summary: the commit's first line.
    /// - Throws: exit 2 where the token lacks the right, the hub refuses a file, or the repository is public and was to be private; 4 where hub or
    ///   connection fail; 75 when stopped. The same call goes on where it stopped.
    package func push(_ folder: PushFolder, to name: HubName, isPrivate: Bool, summary: String) throws -> PushResult {
        guard !settings.offline else {
            throw LorikeetError.input("HF_HUB_OFFLINE is set, which forbids uploads", at: name.id, fix: "unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE")
        }
        for warning in settings.warnings { environment.report(.warning(warning)) }
        guard settings.token != nil || settings.endpoint.isLocal else {
            throw LorikeetError.input(
                "an upload needs an access token", at: name.id,
                fix: "set HF_TOKEN to a token with the right to write, from \(settings.base)/settings/tokens")
        }
        let failures = PushFailures(name: name, settings: settings)
        do {
            return try Push(client: client, name: name, folder: folder, isPrivate: isPrivate, summary: summary).run()
        } catch let failure as Push.FileFailure {
            throw failures.error(failure.error, file: failure.file)
        } catch {
            throw failures.error(error)
        }
    }
}

/// What a failed upload means: one sentence with the way out.
struct PushFailures {
    let name: HubName
    let settings: HubSettings

    private var hub: String { settings.endpoint.origin }
    private static let again = "run the same command again: it goes on where it stopped"

    func error(_ failure: any Error, file: String? = nil) -> LorikeetError {
        let place = file.map { "\(name.id)/\($0)" } ?? name.id
        return switch failure {
        case let error as LorikeetError: error
        case let refusal as HubRefusal: self.refusal(refusal, place)
        case HTTPFailure.stopped: LorikeetError(.stoppedEarly, "the upload was stopped; the hub keeps what has arrived", fix: Self.again)
        case HTTPFailure.unreachable(let words):
            .machine("\(hub) cannot be reached (\(words))", at: place, fix: "check the connection, or name another hub in HF_ENDPOINT")
        case HTTPFailure.untrusted(let words):
            .machine(
                "the certificate of \(hub) is not trusted (\(words))", at: place,
                fix: "install ca-certificates, or name the authority's file in CURL_CA_BUNDLE")
        case HTTPFailure.broken(let words): .machine("the connection to \(hub) broke (\(words))", at: place, fix: Self.again)
        case HTTPFailure.silent(let seconds): .silent(hub, seconds, at: place)
        case HTTPFailure.webPage(let address): .webPage(address, at: place)
        case HTTPFailure.failed(let words): .machine("the hub's answer cannot be used (\(words))", at: place, fix: Self.again)
        default: .machine("the upload failed: \(failure)", at: place, fix: Self.again)
        }
    }

    private func refusal(_ refusal: HubRefusal, _ place: String) -> LorikeetError {
        let words = refusal.words.isEmpty ? "" : " (\(refusal.words))"
        let tokens = "\(settings.base)/settings/tokens"
        if let storage = refusal.storage {
            return .machine("\(storage), where the hub keeps large files, answers with status \(refusal.head.status)\(words)", at: place, fix: Self.again)
        }
        switch refusal.head.status {
        case 401:
            return refusal.tokenWasSent
                ? .input("the hub does not accept HF_TOKEN\(words)", at: place, fix: "make another token with the right to write at \(tokens)")
                : .input("the hub asks for an access token\(words)", at: place, fix: "set HF_TOKEN to a token with the right to write, from \(tokens)")
        case 402, 403:
            return .input(
                "HF_TOKEN gives no right to write there\(words)", at: place,
                fix: "use a token with the right to write to it, from \(tokens), or a name under your own account")
        case 404:
            return refusal.head["x-error-code"] == "RevisionNotFound"
                ? .input("it has no branch '\(name.revision ?? HubName.mainBranch)'\(words)", at: place, fix: "make the branch on the hub, or leave it out")
                : .input("the hub has no such repository, or HF_TOKEN does not show it\(words)", at: place, fix: "check the name and the token's rights")
        case 409, 412:
            return .machine("the repository is being changed by another upload\(words)", at: place, fix: Self.again)
        case 413: return .input("the hub refuses it as too large\(words)", at: place, fix: "ask the hub for a higher limit, or upload a smaller form")
        case 429:
            return .machine(
                "the hub refuses more requests for a while, because there have been too many\(words)", at: place, fix: "run the same command later: it goes on")
        case 400, 422: return .input("the hub refuses it\(words)", at: place, fix: "change what it names, and run the same command again")
        default: return .machine("the hub answers with status \(refusal.head.status)\(words)", at: place, fix: Self.again)
        }
    }
}
