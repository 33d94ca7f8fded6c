import Glibc
import LorikeetGround
import LorikeetJSON

/// Takes the body of a response that has the status 200 or 206.
protocol BodyTaker: AnyObject {
    func begin(_ head: HTTPHead) throws
    func take(_ bytes: UnsafeRawBufferPointer) throws
}

/// A response with a status other than success: refused, missing, or the server failed.
struct HubRefusal: Error {
    let head: HTTPHead
    /// What the body says about it, on one line; empty where it says nothing.
    let words: String
    let tokenWasSent: Bool
    /// The server of another host, to which the hub redirects for large files; nil where the hub itself answered.
    let storage: String?
}

/// How often and after how many seconds a failed request is made again.
package struct RetryPolicy: Sendable {
    package var attempts = 5
    package var firstDelay = 1.0
    /// Seconds; where a server asks for a longer wait (`Retry-After`), the request fails at once.
    package var longestDelay = 300.0

    package init(attempts: Int = 5, firstDelay: Double = 1) { (self.attempts, self.firstDelay) = (attempts, firstDelay) }
}

/// Requests to a hub. Redirects are followed here and not by libcurl, so that the token goes to the hub's own server only. Requests that fail
/// for a reason that may pass are repeated.
final class HubClient {
    let settings: HubSettings
    let environment: HubEnvironment
    private var opened: HTTPSession?
    private var hasAnswered = false
    /// The server that was asked last, and what for.
    private var asked: WebAddress?
    private static let mostRedirects = 10

    init(_ settings: HubSettings, _ environment: HubEnvironment) { (self.settings, self.environment) = (settings, environment) }

    private func session() throws -> HTTPSession {
        if let opened { return opened }
        let session = try HTTPSession(libraries: environment.libraries, folders: settings.libraryFolders, certificates: settings.certificates)
        (session.connectSeconds, session.stalledSeconds) = (environment.connectSeconds, environment.stalledSeconds)
        opened = session
        return session
    }

    /// The address of a path below the hub's endpoint.
    func address(_ path: String) throws -> WebAddress {
        guard let address = WebAddress(settings.base + path) else {
            throw LorikeetError.input("'\(settings.base + path)' is no web address", fix: "check the name, and the hub's address in HF_ENDPOINT")
        }
        return address
    }

    /// A document of the hub's interface.
    ///
    /// - Parameter shown: what it is about, for the report of a wait.
    func json(_ path: String, shown: String, policy: RetryPolicy) throws -> JSON {
        let taker = TextTaker()
        try retrying(shown, policy) {
            taker.bytes = []
            _ = try send(address(path), taker: taker)
        }
        return try document(taker.bytes)
    }

    /// The document that the last answer is.
    ///
    /// - Throws: `HTTPFailure.webPage` for the page of a proxy or of a network that asks for a sign-in, `HTTPFailure.failed` where it is no JSON either.
    func document(_ answer: [UInt8]) throws -> JSON {
        do {
            let document = try JSON.parse(answer, source: "")
            return settings.token?.removed(from: document) ?? document
        } catch let error as LorikeetError {
            let text = String(decoding: answer.prefix(512), as: UTF8.self).drop { $0.isWhitespace || $0 == "\u{FEFF}" }.lowercased()
            let isPage = ["<!doctype html", "<html", "<head", "<body", "<!--", "<?xml"].contains { text.hasPrefix($0) }
            // A query may hold a signature.
            guard isPage, let asked else { throw HTTPFailure.failed("it is no JSON: \(error.what)") }
            throw HTTPFailure.webPage(asked.origin + asked.target.prefix { $0 != "?" })
        }
    }

    /// The head of a file's response: that of the hub itself where it sends the file's own tag and redirects to another host.
    func head(_ path: String, shown: String, policy: RetryPolicy) throws -> HTTPHead {
        try retrying(shown, policy) {
            do {
                return try send(address(path), .head)
            } catch let refusal as HubRefusal where [405, 501].contains(refusal.head.status) {
                // A server without HEAD says the same before it sends the file.
                let taker = HeadTaker()
                do {
                    return try send(address(path), .headOfGet, taker: taker)
                } catch is HeadTaker.Enough { return taker.head }
            }
        }
    }

    /// A part of a file.
    ///
    /// - Throws: as `send`; `HTTPFailure.failed` where the server sends another part, or none alone.
    func piece(of path: String, _ range: Range<Int64>, shown: String, policy: RetryPolicy) throws -> [UInt8] {
        try retrying(shown, policy) {
            let taker = PieceTaker(range)
            do {
                _ = try send(address(path), headers: ["Range: bytes=\(range.lowerBound)-\(range.upperBound - 1)"], taker: taker)
            } catch is PieceTaker.Enough {}
            guard taker.isComplete else { throw HTTPFailure.broken("\(taker.bytes.count) of \(range.count) bytes came") }
            return taker.bytes
        }
    }

    /// What is asked for.
    enum Wanted {
        /// The file; with `.headOfGet`, up to the head of a large file's redirect.
        case file, headOfGet, head
    }

    /// One request with its redirects.
    ///
    /// - Returns: the head of the last response, whose status is 200 or 206, or of a redirect with a linked file's tag where only the head is asked for.
    /// - Throws: `HubRefusal` for other statuses, `HTTPFailure`, `LorikeetError`, and what `taker` throws.
    func send(_ address: WebAddress, _ wanted: Wanted = .file, headers: [String] = [], taker: (any BodyTaker)? = nil) throws -> HTTPHead {
        var address = address
        for _ in 0...Self.mostRedirects {
            // The token goes to the hub's own server only, wherever a redirect leads.
            let token = address.hasOrigin(of: settings.endpoint) ? settings.token : nil
            let reception = Reception(taker, settings.token, results: [200, 206], redirects: [301, 302, 303, 307, 308])
            let head = try perform(HTTPSession.Request(address: address, headers: headers, headOnly: wanted == .head), token, reception)
            guard reception.isRedirect, wanted == .file || head["x-linked-etag"] == nil else { return head }
            guard let location = head["location"], let next = address.following(location) else {
                throw HTTPFailure.failed("\(address.origin) redirects, but names no web address")
            }
            guard next.scheme == "https" || address.scheme == "http" else {
                throw HTTPFailure.failed("\(address.origin) redirects to \(next.origin), which is not encrypted")
            }
            address = next
        }
        throw HTTPFailure.failed("\(settings.endpoint.origin) redirects more than \(Self.mostRedirects) times")
    }

    /// One request with a body.
    ///
    /// A redirect is followed, body and all, on the same server alone (307 and 308).
    ///
    /// - Parameter authorized: whether the token goes along; it does to the hub's own server alone, whatever the address.
    /// - Returns: the head of the response, whose status is 200, 201, 202 or 204, and its body.
    /// - Throws: `HubRefusal` for other statuses, `HTTPFailure`, and what `body` throws.
    func submit(
        _ method: String, _ address: WebAddress, body: any HTTPBody, headers: [String], authorized: Bool
    ) throws -> (head: HTTPHead, body: [UInt8]) {
        var address = address
        for _ in 0...Self.mostRedirects {
            let token = authorized && address.hasOrigin(of: settings.endpoint) ? settings.token : nil
            let taker = TextTaker()
            let reception = Reception(taker, settings.token, results: [200, 201, 202, 204], redirects: [307, 308])
            body.rewind(to: 0)
            let head = try perform(HTTPSession.Request(address: address, headers: headers, upload: (method, body)), token, reception)
            guard reception.isRedirect else { return (head, taker.bytes) }
            guard let location = head["location"], let next = address.following(location), next.hasOrigin(of: address) else {
                throw HTTPFailure.failed("\(address.origin) redirects an upload to another server, which is not followed")
            }
            address = next
        }
        throw HTTPFailure.failed("\(address.origin) redirects more than \(Self.mostRedirects) times")
    }

    /// One request as it stands, with the headers that all have.
    ///
    /// - Returns: the response's head, whose status is a result or a redirect of `reception`.
    /// - Throws: `HubRefusal` for other statuses.
    private func perform(_ request: HTTPSession.Request, _ token: HubSettings.Token?, _ reception: Reception) throws -> HTTPHead {
        var request = request
        request.headers =
            ["User-Agent: lorikeet", "Accept-Encoding: identity"] + (token.map { ["Authorization: Bearer " + $0.secret] } ?? []) + request.headers
        if !hasAnswered { request.answerSeconds = environment.answerSeconds }
        asked = request.address
        try session().perform(request, receiver: reception, shouldStop: environment.shouldStop)
        hasAnswered = true
        guard reception.isResult || reception.isRedirect else {
            let isHub = request.address.hasOrigin(of: settings.endpoint)
            throw HubRefusal(
                head: reception.head, words: reception.words, tokenWasSent: token != nil,
                storage: isHub ? nil : request.address.origin)
        }
        return reception.head
    }

    /// Calls `body`, and repeats it after failures that may pass: a broken connection, a busy server.
    ///
    /// - Parameters:
    ///   - what: what is asked for, for the report of a wait.
    ///   - progressed: whether the last attempt brought something, so that attempts are counted anew.
    func retrying<Result>(_ what: String, _ policy: RetryPolicy, progressed: () -> Bool = { false }, _ body: () throws -> Result) throws -> Result {
        var attempt = 1
        while true {
            let (failure, wait, why): (any Error, Double?, String)
            do {
                return try body()
            } catch let refusal as HubRefusal where [408, 429, 500, 502, 503, 504].contains(refusal.head.status) {
                (failure, wait, why) = (refusal, refusal.head["retry-after"].flatMap(retryAfter), "the hub answers with status \(refusal.head.status)")
            } catch HTTPFailure.broken(let words) {
                (failure, wait, why) = (HTTPFailure.broken(words), nil, "the connection broke (\(words))")
            } catch HTTPFailure.unreachable(let words) {
                (failure, wait, why) = (HTTPFailure.unreachable(words), nil, words)
            }
            if progressed() { attempt = 1 }
            let delay = wait ?? policy.firstDelay * Double(1 << min(20, attempt - 1))
            // An unknown host name or a host that does not answer is tried only once more: it rarely changes within seconds.
            var attempts = policy.attempts
            if case HTTPFailure.unreachable = failure { attempts = min(attempts, 2) }
            guard attempt < attempts, delay <= policy.longestDelay else { throw failure }
            attempt += 1
            environment.report(.waiting(what: what, why: why, seconds: delay))
            try pause(delay)
        }
    }

    private func pause(_ seconds: Double) throws {
        var left = seconds
        while left > 0 {
            guard !environment.shouldStop() else { throw HTTPFailure.stopped }
            environment.sleep(min(left, 0.2))
            left -= 0.2
        }
    }

    /// Seconds of a `Retry-After` header: a number, or a date (RFC 9110, the form of today).
    private func retryAfter(_ text: String) -> Double? {
        if let seconds = Double(text) { return seconds.isFinite ? max(0, seconds) : nil }
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        guard let date = text.wholeMatch(of: /\w+, (\d\d) (\w{3}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT/), let month = months.firstIndex(of: String(date.2)) else {
            return nil
        }
        var time = tm()
        (time.tm_mday, time.tm_mon, time.tm_year) = (Int32(date.1) ?? 1, Int32(month), (Int32(date.3) ?? 1970) - 1900)
        (time.tm_hour, time.tm_min, time.tm_sec) = (Int32(date.4) ?? 0, Int32(date.5) ?? 0, Int32(date.6) ?? 0)
        return max(0, Double(timegm(&time)) - environment.clock.now)
    }
}

/// What one response brings: a result goes to the taker, an explanation is kept.
private final class Reception: HTTPReceiver {
    private(set) var head = HTTPHead()
    private let taker: (any BodyTaker)?
    /// Left out of the head and the explanation: a server that repeats the token is not repeated, whatever becomes of what it says.
    private let token: HubSettings.Token?
    /// The statuses of success, and of redirects that may be followed.
    private let (results, redirects): (Set<Int>, Set<Int>)
    private var explanation: [UInt8] = []
    private var ignored = 0
    private static let longestExplanation = 16 << 10
    private static let mostIgnored = 4 << 20

    init(_ taker: (any BodyTaker)?, _ token: HubSettings.Token?, results: Set<Int>, redirects: Set<Int>) {
        (self.taker, self.token) = (taker, token)
        (self.results, self.redirects) = (results, redirects)
    }

    var isResult: Bool { results.contains(head.status) }
    var isRedirect: Bool { redirects.contains(head.status) }

    func receive(head: HTTPHead) throws {
        self.head = token?.removed(from: head) ?? head
        if isResult { try taker?.begin(self.head) }
    }

    func receive(body bytes: UnsafeRawBufferPointer) throws {
        if isResult { return try taker?.take(bytes) ?? () }
        explanation += bytes.prefix(Self.longestExplanation - explanation.count)
        ignored += bytes.count
        guard ignored <= Self.mostIgnored else { throw HTTPFailure.failed("the explanation of status \(head.status) does not end") }
    }

    /// The hub's explanation on one line, should it have one.
    var words: String {
        let json = try? JSON.parse(explanation, source: "")
        var text = head["x-error-message"] ?? json?["error"]?.string ?? json?["message"]?.string ?? ""
        if let token { text = token.removed(from: text) }
        return String(text.prefix(300).prefix { !$0.isNewline })
    }
}

/// Ends a response after its head.
private final class HeadTaker: BodyTaker {
    struct Enough: Error {}

    private(set) var head = HTTPHead()

    func begin(_ head: HTTPHead) throws {
        self.head = head
        throw Enough()
    }

    func take(_ bytes: UnsafeRawBufferPointer) {}
}

/// Keeps a part of a file in memory.
private final class PieceTaker: BodyTaker {
    struct Enough: Error {}

    private let range: Range<Int64>
    private(set) var bytes: [UInt8] = []
    /// Bytes that come before the part, from a server that sends whole files alone.
    private var toSkip: Int64 = 0
    private static let mostSkipped: Int64 = 64 << 20

    init(_ range: Range<Int64>) { self.range = range }

    var isComplete: Bool { Int64(bytes.count) == Int64(range.count) }

    func begin(_ head: HTTPHead) throws {
        bytes = []
        toSkip = 0
        if head.status == 206 {
            guard let sent = head["content-range"]?.wholeMatch(of: /bytes (\d{1,18})-\d{1,18}\/(\d{1,18}|\*)/), Int64(sent.1) == range.lowerBound else {
                throw HTTPFailure.failed("the server sends another part of the file than was asked for")
            }
        } else {
            toSkip = range.lowerBound
            guard toSkip <= Self.mostSkipped else { throw HTTPFailure.failed("the server sends no parts of files") }
        }
    }

    func take(_ more: UnsafeRawBufferPointer) throws {
        let skipped = Int(min(toSkip, Int64(more.count)))
        toSkip -= Int64(skipped)
        let missing = range.count - bytes.count
        bytes += more.dropFirst(skipped).prefix(missing)
        if more.count - skipped > missing { throw Enough() }
    }
}

/// Keeps a document in memory.
private final class TextTaker: BodyTaker {
    var bytes: [UInt8] = []
    /// A listing of 100,000 files has 30 MB.
    private static let most = 128 << 20

    func begin(_ head: HTTPHead) {}

    func take(_ more: UnsafeRawBufferPointer) throws {
        guard bytes.count + more.count <= Self.most else { throw HTTPFailure.failed("the hub's answer is longer than 128 MiB") }
        bytes += more
    }
}
