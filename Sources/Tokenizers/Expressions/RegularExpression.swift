import CText
import LorikeetGround
import Synchronization

/// A regular expression of a tokenizer, in the syntax that the reference library reads (Oniguruma's of Ruby), matched by PCRE2.
final class RegularExpression: Sendable {
    /// As the file writes it.
    let source: String
    /// The address of the compiled expression, which is only read after `init`.
    private let address: UInt
    private let idle = Mutex<[Matcher]>([])
    /// Whose compiled expression this one matches with; nil where it is its own.
    private let owner: RegularExpression?

    /// - Throws: exit 2 where the expression is malformed, or uses what the two engines understand differently.
    init(_ source: String, place: String) throws(LorikeetError) {
        self.source = source
        let pattern = try ExpressionTranslation.pattern(source, place: place)
        var message = [CChar](repeating: 0, count: 160)
        var offset = 0
        let text = Array(pattern.utf8)
        let code = text.withUnsafeBufferPointer { bytes in
            bytes.withMemoryRebound(to: CChar.self) { lorikeet_expression_compile($0.baseAddress, text.count, &message, message.count, &offset) }
        }
        guard let code else {
            let reason = String(decoding: message.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            throw ExpressionTranslation.refusal(source, reason, place)
        }
        address = UInt(bitPattern: code)
        owner = nil
    }

    /// The same compiled expression with matchers of its own: see `Tokenizer.forOneThread`.
    init(sharing other: RegularExpression) {
        (source, address) = (other.source, other.address)
        owner = other.owner ?? other
    }

    deinit {
        idle.withLock { $0.removeAll() }
        if owner == nil { lorikeet_expression_free(OpaquePointer(bitPattern: address)) }
    }

    /// What one search needs; kept for the next one.
    private final class Matcher: Sendable {
        let address: UInt

        init?(_ expression: UInt) {
            guard let made = lorikeet_matcher_create(OpaquePointer(bitPattern: expression)) else { return nil }
            address = UInt(bitPattern: made)
        }

        deinit { lorikeet_matcher_free(OpaquePointer(bitPattern: address)) }
    }

    /// Steps that any match may take, and the most that all matches of one text may take together.
    private static let freeSteps: UInt32 = 2_000
    private static func budget(_ length: Int) -> Int { 1_000_000 + 256 * length }

    /// Calls `body` with every match in `text` from the left: of valid UTF-8, as the reference library finds them (an empty match that
    /// touches the match before it does not count).
    ///
    /// - Throws: exit 2 where backtracking takes more steps than a multiple of the text's length.
    func forEachMatch(in text: UnsafeBufferPointer<UInt8>, _ body: (Range<Int>) -> Void) throws(LorikeetError) {
        guard let base = text.baseAddress, let matcher = idle.withLock({ $0.popLast() }) ?? Matcher(address) else { return }
        defer { idle.withLock { $0.append(matcher) } }
        let handle = OpaquePointer(bitPattern: matcher.address)
        var remaining = Self.budget(text.count)
        var at = 0
        var last = -1
        while at <= text.count {
            var limit = Self.freeSteps
            var (from, to) = (0, 0)
            var result = lorikeet_matcher_find(handle, base, text.count, at, limit, &from, &to)
            while result == LORIKEET_MATCH_LIMIT, remaining > 0 {
                remaining -= Int(limit)
                limit = UInt32(clamping: min(Int(limit) * 8, max(remaining, 1)))
                result = lorikeet_matcher_find(handle, base, text.count, at, limit, &from, &to)
            }
            if result == LORIKEET_MATCH_NONE { return }
            guard result == LORIKEET_MATCH_FOUND else {
                throw LorikeetError.input(
                    "the tokenizer's expression “\(source.prefix(80))” takes too many steps on this text (byte \(at) of \(text.count))",
                    fix: "leave the text out, or use a tokenizer whose expression does not backtrack so much")
            }
            if from == to, from == last {
                at = nextScalar(text, at)
                continue
            }
            body(from..<to)
            at = to
            last = to
        }
    }

    private func nextScalar(_ text: UnsafeBufferPointer<UInt8>, _ index: Int) -> Int {
        guard index < text.count else { return index + 1 }
        let first = text[index]
        return index + (first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4)
    }
}
