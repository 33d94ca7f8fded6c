import Foundation
import Glibc
import Synchronization

/// A small HTTP/1.1 server on 127.0.0.1: a thread for each connection, a closure for each request. It can break connections and lie.
package final class HTTPServer: Sendable {
    package struct Request: Sendable {
        package let method: String
        /// Path and query as they came.
        package let target: String
        /// Names in small letters.
        package let headers: [String: String]
        /// Earlier requests of the same method and target.
        package let earlier: Int
        package var body: [UInt8] = []

        package var path: String { String(target.prefix { $0 != "?" }) }
    }

    package struct Response: Sendable {
        package var status = 200
        package var headers: [String: String] = [:]
        package var body: [UInt8] = []
        /// What `Content-Length` says; nil for the body's own length, -1 for none and a body that ends with the connection.
        package var saidLength: Int?
        /// The connection is closed after so many bytes of the body.
        package var breaksAfter: Int?
        /// Seconds to wait before anything is sent, or before the second half of the body.
        package var delay = 0.0
        package var delaysHalf = false

        package init(_ status: Int = 200, _ body: [UInt8] = [], headers: [String: String] = [:]) {
            (self.status, self.body, self.headers) = (status, body, headers)
        }
    }

    package let port: Int
    private let listener: Int32
    private let seen = Mutex<[Request]>([])
    private let answer: @Sendable (Request) -> Response
    /// Bytes of a request's body after which its connection is closed; nil reads the whole.
    private let cut: @Sendable (Request) -> Int?

    package init(cut: @escaping @Sendable (Request) -> Int? = { _ in nil }, _ answer: @escaping @Sendable (Request) -> Response) throws {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, size) == 0 && listen(descriptor, 64) == 0 && getsockname(descriptor, $0, &size) == 0
            }
        }
        guard descriptor >= 0, isBound else { throw POSIXError(.EADDRNOTAVAIL) }
        listener = descriptor
        port = Int(UInt16(bigEndian: address.sin_port))
        self.answer = answer
        self.cut = cut
        Thread.detachNewThread { [self] in
            while true {
                let connection = accept(listener, nil, nil)
                guard connection >= 0 else { return }
                Thread.detachNewThread { [self] in serve(connection) }
            }
        }
    }

    deinit { Glibc.close(listener) }

    package func stop() { shutdown(listener, Int32(SHUT_RDWR)) }

    /// All requests so far.
    package var requests: [Request] { seen.withLock { $0 } }

    private func serve(_ connection: Int32) {
        defer { Glibc.close(connection) }
        var waiting: [UInt8] = []
        while let head = readHead(connection, &waiting) {
            let lines = head.split(separator: "\r\n").map(String.init)
            let words = (lines.first ?? "").split(separator: " ").map(String.init)
            guard words.count == 3 else { return }
            var headers: [String: String] = [:]
            for line in lines.dropFirst() {
                guard let colon = line.firstIndex(of: ":") else { continue }
                headers[line[..<colon].lowercased()] = line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
            }
            var request = seen.withLock { seen in
                let request = Request(
                    method: words[0], target: words[1], headers: headers, earlier: seen.count { $0.method == words[0] && $0.target == words[1] })
                seen.append(request)
                return request
            }
            if let length = headers["content-length"].flatMap({ Int($0) }), length > 0 {
                if headers["expect"] == "100-continue" {
                    _ = "HTTP/1.1 100 Continue\r\n\r\n".withCString { Glibc.send(connection, $0, strlen($0), Int32(MSG_NOSIGNAL)) }
                }
                guard let body = readBody(connection, &waiting, length, cut: cut(request)) else { return }
                request.body = body
            }
            guard send(answer(request), to: connection, headOnly: words[0] == "HEAD") else { return }
        }
    }

    private func readHead(_ connection: Int32, _ waiting: inout [UInt8]) -> String? {
        var buffer = [UInt8](repeating: 0, count: 8192)
        while true {
            if let end = String(decoding: waiting, as: UTF8.self).range(of: "\r\n\r\n") {
                let text = String(decoding: waiting, as: UTF8.self)
                let head = String(text[..<end.lowerBound])
                waiting.removeFirst(head.utf8.count + 4)
                return head
            }
            let got = recv(connection, &buffer, buffer.count, 0)
            guard got > 0 else { return nil }
            waiting += buffer[..<got]
        }
    }

    /// nil where the connection ends before, or is to be cut.
    private func readBody(_ connection: Int32, _ waiting: inout [UInt8], _ length: Int, cut: Int?) -> [UInt8]? {
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while waiting.count < length {
            if let cut, waiting.count >= cut { return nil }
            let got = recv(connection, &buffer, buffer.count, 0)
            guard got > 0 else { return nil }
            waiting += buffer[..<got]
        }
        guard cut == nil else { return nil }
        defer { waiting.removeFirst(length) }
        return Array(waiting[..<length])
    }

    /// - Returns: whether the connection stays.
    private func send(_ response: Response, to connection: Int32, headOnly: Bool) -> Bool {
        if response.delay > 0, !response.delaysHalf { usleep(UInt32(response.delay * 1e6)) }
        var head = "HTTP/1.1 \(response.status) Answer\r\n"
        if response.saidLength != -1 { head += "Content-Length: \(response.saidLength ?? response.body.count)\r\n" }
        for (name, value) in response.headers { head += "\(name): \(value)\r\n" }
        var bytes = Array((head + "\r\n").utf8)
        if !headOnly { bytes += response.body.prefix(response.breaksAfter ?? .max) }
        var done = 0
        let half = response.delaysHalf ? bytes.count / 2 : bytes.count
        while done < bytes.count {
            if done == half { usleep(UInt32(response.delay * 1e6)) }
            let end = done < half ? half : bytes.count
            let put = bytes.withUnsafeBytes { Glibc.send(connection, $0.baseAddress?.advanced(by: done), end - done, Int32(MSG_NOSIGNAL)) }
            guard put > 0 else { return false }
            done += put
        }
        if headOnly { return true }
        return response.breaksAfter == nil && response.saidLength == nil
    }
}
