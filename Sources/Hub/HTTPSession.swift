import CHub
import LorikeetGround

/// The head of a response.
struct HTTPHead: Sendable {
    var status = 0
    /// Names in small letters; of equal ones the last.
    var fields: [String: String] = [:]

    subscript(_ name: String) -> String? { fields[name] }
}

/// Takes a response as it comes. An error that it throws ends the transfer.
protocol HTTPReceiver: AnyObject {
    /// The head is complete.
    func receive(head: HTTPHead) throws
    func receive(body bytes: UnsafeRawBufferPointer) throws
}

/// The body of a request, read as it is sent.
protocol HTTPBody: AnyObject {
    /// Bytes in all.
    var count: Int64 { get }
    /// Fills the memory with the next bytes.
    ///
    /// - Returns: how many; 0 at the end.
    func read(into memory: UnsafeMutableRawBufferPointer) throws -> Int
    /// Goes on at this byte.
    func rewind(to offset: Int64)
}

/// Why a request has no response.
enum HTTPFailure: Error, Equatable {
    /// Nothing answers, or the name is not found.
    case unreachable(String)
    case untrusted(String)
    /// The connection broke or fell silent.
    case broken(String)
    /// The first answer did not come within so many seconds.
    case silent(seconds: Int)
    /// A page for people came where a document for programs was asked for; from this address.
    case webPage(String)
    case failed(String)
    /// The caller asked to stop.
    case stopped
}

/// HTTP with libcurl: one request after the other, over connections that stay open. Redirects are the caller's.
final class HTTPSession {
    struct Request {
        var address: WebAddress
        /// `Name: value`
        var headers: [String] = []
        var headOnly = false
        /// What is sent, and by which method (PUT or POST); nil for GET and HEAD.
        var upload: (method: String, body: any HTTPBody)?
        /// Seconds within which the response's head has to be complete; nil waits as long as bytes go or come.
        var answerSeconds: Int?
    }

    /// Seconds within which a connection has to be made, and seconds without data after which a transfer counts as broken.
    var connectSeconds = 15
    var stalledSeconds = 60
    private let http: OpaquePointer
    private let certificates: String?

    /// The file names of libcurl's builds.
    static let libraries = ["libcurl.so.4", "libcurl-gnutls.so.4", "libcurl-nss.so.4"]

    /// - Parameter folders: searched when the system has no libcurl.
    /// - Throws: exit 4 with the command that installs libcurl.
    init(libraries: [String] = HTTPSession.libraries, folders: [String] = [], certificates: String? = nil) throws {
        let places = libraries + folders.flatMap { folder in libraries.map { folder + "/" + $0 } }
        guard let http = places.lazy.compactMap({ lorikeet_http_open($0) }).first else {
            throw LorikeetError.machine("libcurl is not installed, which a hub is reached with", fix: "install it: apt-get install -y libcurl4")
        }
        (self.http, self.certificates) = (http, certificates)
    }

    deinit { lorikeet_http_close(http) }

    /// Performs a request and hands the response to `receiver`.
    ///
    /// - Throws: what `receiver` throws, or an `HTTPFailure`.
    func perform(_ request: Request, receiver: any HTTPReceiver, shouldStop: @escaping () -> Bool) throws {
        let exchange = Exchange(receiver, request.upload?.body, answerSeconds: request.answerSeconds, shouldStop)
        var message = [CChar](repeating: 0, count: 256)
        let result = withExtendedLifetime(exchange) {
            request.address.text.withCString { url in
                withCStrings(request.headers) { headers in
                    withOptionalCStrings(certificates, request.upload?.method) { certificates, method in
                        var native = lorikeet_http_request()
                        native.url = url
                        native.headers = headers.baseAddress
                        native.header_count = headers.count
                        native.head_only = request.headOnly ? 1 : 0
                        (native.method, native.body_bytes) = (method, request.upload?.body.count ?? 0)
                        (native.connect_seconds, native.stalled_seconds) = (connectSeconds, stalledSeconds)
                        native.certificates = certificates
                        native.context = Unmanaged.passUnretained(exchange).toOpaque()
                        native.on_header = { Exchange.of($0)?.add(header: UnsafeRawBufferPointer(start: $1, count: $2)) ?? 0 }
                        native.on_body = { Exchange.of($0)?.add(body: UnsafeRawBufferPointer(start: $1, count: $2)) ?? 0 }
                        native.on_read = { Exchange.of($0)?.read(into: UnsafeMutableRawBufferPointer(start: $1, count: $2)) ?? -1 }
                        native.on_rewind = { Exchange.of($0)?.rewind(to: $1) ?? 0 }
                        native.should_stop = { Exchange.of($0)?.isToEnd() == true ? 1 : 0 }
                        return lorikeet_http_perform(http, &native, &message)
                    }
                }
            }
        }
        if let error = exchange.error { throw error }
        let words = String(decoding: message.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        switch result {
        case LORIKEET_HTTP_DONE: if !exchange.headIsComplete { throw HTTPFailure.broken("the response has no head") }
        case LORIKEET_HTTP_STOPPED: throw exchange.isSilent ? HTTPFailure.silent(seconds: request.answerSeconds ?? 0) : .stopped
        case LORIKEET_HTTP_UNREACHABLE: throw HTTPFailure.unreachable(words)
        case LORIKEET_HTTP_UNTRUSTED: throw HTTPFailure.untrusted(words)
        case LORIKEET_HTTP_BROKEN: throw HTTPFailure.broken(words)
        default: throw HTTPFailure.failed(words)
        }
    }

    /// One request and its response under way.
    private final class Exchange {
        private let receiver: any HTTPReceiver
        private let upload: (any HTTPBody)?
        private let shouldStop: () -> Bool
        /// On the system's clock that never jumps.
        private let latestAnswer: Double
        /// Ended because no answer came in time.
        private(set) var isSilent = false
        private var head = HTTPHead()
        private(set) var headIsComplete = false
        private(set) var error: (any Error)?
        private var headBytes = 0
        private static let longestHead = 1 << 20

        init(_ receiver: any HTTPReceiver, _ upload: (any HTTPBody)?, answerSeconds: Int?, _ shouldStop: @escaping () -> Bool) {
            (self.receiver, self.upload, self.shouldStop) = (receiver, upload, shouldStop)
            latestAnswer = answerSeconds.map { SystemClock().uptime + Double($0) } ?? .infinity
        }

        /// Asked about once a second.
        func isToEnd() -> Bool {
            if shouldStop() { return true }
            isSilent = !headIsComplete && SystemClock().uptime > latestAnswer
            return isSilent
        }

        /// The exchange behind the pointer that `perform` gave to libcurl.
        static func of(_ context: UnsafeMutableRawPointer?) -> Exchange? {
            context.map { Unmanaged<Exchange>.fromOpaque($0).takeUnretainedValue() }
        }

        func add(header bytes: UnsafeRawBufferPointer) -> Int32 {
            attempt {
                headBytes += bytes.count
                guard headBytes <= Self.longestHead else { throw HTTPFailure.failed("the response's head is longer than 1 MiB") }
                let line = String(decoding: bytes, as: UTF8.self).trimmingLineEnd()
                if line.hasPrefix("HTTP/") {
                    head = HTTPHead(status: line.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0)
                    headIsComplete = false
                } else if line.isEmpty {
                    // 100 and 103 come before the head that counts.
                    guard head.status >= 200, !headIsComplete else { return }
                    headIsComplete = true
                    try receiver.receive(head: head)
                } else if !headIsComplete, let colon = line.firstIndex(of: ":") {
                    head.fields[line[..<colon].lowercased()] = String(line[line.index(after: colon)...].drop { $0 == " " || $0 == "\t" })
                }
            }
        }

        func add(body bytes: UnsafeRawBufferPointer) -> Int32 { attempt { try receiver.receive(body: bytes) } }

        func read(into memory: UnsafeMutableRawBufferPointer) -> Int64 {
            var count = 0
            let went = attempt { count = try upload?.read(into: memory) ?? 0 }
            return went == 1 ? Int64(count) : -1
        }

        func rewind(to offset: Int64) -> Int32 {
            upload?.rewind(to: offset)
            return upload == nil ? 0 : 1
        }

        private func attempt(_ body: () throws -> Void) -> Int32 {
            do {
                try body()
                return 1
            } catch {
                self.error = self.error ?? error
                return 0
            }
        }
    }
}

extension String {
    /// The text without white space at its end.
    fileprivate func trimmingLineEnd() -> String {
        var scalars = Substring(self).unicodeScalars
        while let last = scalars.last, "\r\n \t".unicodeScalars.contains(last) { scalars.removeLast() }
        return String(scalars)
    }
}

/// Calls `body` with C strings of `texts`, which live until it returns.
private func withCStrings<Result>(_ texts: [String], _ body: (UnsafeBufferPointer<UnsafePointer<CChar>?>) -> Result) -> Result {
    var bytes: [CChar] = []
    let starts = texts.map { text in
        defer { bytes += text.utf8.map { CChar(bitPattern: $0) } + [0] }
        return bytes.count
    }
    return bytes.withUnsafeBufferPointer { memory in
        starts.map { start in memory.baseAddress.map { $0 + start } }.withUnsafeBufferPointer(body)
    }
}

private func withOptionalCStrings<Result>(
    _ first: String?, _ second: String?, _ body: (UnsafePointer<CChar>?, UnsafePointer<CChar>?) -> Result
) -> Result {
    func with(_ text: String?, _ body: (UnsafePointer<CChar>?) -> Result) -> Result { text.map { $0.withCString { body($0) } } ?? body(nil) }
    return with(first) { first in with(second) { body(first, $0) } }
}
