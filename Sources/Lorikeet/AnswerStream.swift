/// An answer while it is computed: its pieces, and then the whole. ``Generator/stream(_:maxNewTokens:sampling:)`` makes it.
///
/// A cancelled task that iterates ends the answer: the stream throws ``LorikeetFailure/Kind-swift.enum/interrupted``. Leaving the loop ends it too. Every
/// event is delivered once, to whichever task asks first.
public struct AnswerStream: AsyncSequence, Sendable {
    /// What happens while an answer is computed.
    public enum Event: Sendable, Equatable {
        /// The next piece of the text: whole characters, which no later token changes.
        case text(String)
        /// The end: the whole answer, with why it ended.
        case answer(Answer)
    }

    let listening: Listening<Event, Void>

    /// The events from here on.
    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(listening: listening) }

    /// Hands out pieces as they come.
    public struct AsyncIterator: AsyncIteratorProtocol {
        let listening: Listening<Event, Void>

        /// The next event; nil after the answer.
        ///
        /// - Throws: as ``Generator/answer(_:maxNewTokens:sampling:)``.
        public mutating func next() async throws(LorikeetFailure) -> Event? { try await listening.channel.next() }

        /// The next event; nil after the answer.
        ///
        /// - Parameter actor: the caller's actor.
        /// - Throws: as ``Generator/answer(_:maxNewTokens:sampling:)``.
        public mutating func next(isolation actor: isolated (any Actor)?) async throws(LorikeetFailure) -> Event? { try await listening.channel.next() }
    }
}
