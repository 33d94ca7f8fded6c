import LorikeetGround
import LorikeetJSON
import LorikeetReporting

extension FineTuning {
    /// One event of a run: what `events.jsonl` has as a line (`progress` is not written there). docs/events.md lists the fields of each.
    public struct Event: Sendable, Equatable {
        /// `environment`, `phase`, `phase_end`, `data`, `step`, `log`, `evaluation`, `checkpoint`,
        /// `progress`, `warning`, `note`, `result` or `end`.
        public let name: String
        /// The event as one line of JSON.
        public let json: String
    }

    /// A run that is under way: the stream of its events, and its outcome.
    ///
    ///     let run = tuning.run()
    ///     for try await event in run where event.name == "log" { print(event.json) }
    ///     print(try await run.summary())
    ///
    /// **Stopping.** ``stop()``, the cancellation of a task that iterates or waits for ``summary()``, and letting go of the run (leaving the loop without
    /// keeping the value) do what SIGTERM does to the command `lorikeet`: training ends before its next step, a checkpoint is written, and the same recipe
    /// goes on from there, with the same bits at the end. Loop and ``summary()`` then wait until everything is saved and the output directory is free
    /// again, and throw ``LorikeetFailure/Kind-swift.enum/interrupted``, not a `CancellationError`. A step of the pipeline that cannot be interrupted
    /// (loading, merging) is done first, and a run that is past its training ends as usual.
    ///
    /// **Listening.** Every event is delivered once, to whichever task asks first. Events that nobody has asked for are kept: a slow listener does not
    /// slow the run.
    public struct Run: AsyncSequence, Sendable {
        let listening: Listening<Event, String>

        /// Asks the run to stop with everything saved, and returns at once.
        public func stop() { listening.channel.requestStop() }

        /// Waits for the end of the run, also where nobody listens to its events.
        ///
        /// - Returns: the content of `summary.json`.
        /// - Throws: where the run fails, a check fails or a proof fails, and where the run was stopped early with everything saved.
        public func summary() async throws(LorikeetFailure) -> String { try await listening.channel.outcome() }

        /// The events from here on.
        public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(listening: listening) }

        /// Hands out events as they happen.
        public struct AsyncIterator: AsyncIteratorProtocol {
            let listening: Listening<Event, String>

            /// The next event; nil at the end.
            ///
            /// - Throws: as ``FineTuning/Run/summary()``.
            public mutating func next() async throws(LorikeetFailure) -> Event? { try await listening.channel.next() }

            /// The next event; nil at the end.
            ///
            /// - Parameter actor: the caller's actor.
            /// - Throws: as ``FineTuning/Run/summary()``.
            public mutating func next(isolation actor: isolated (any Actor)?) async throws(LorikeetFailure) -> Event? { try await listening.channel.next() }
        }
    }

    /// Starts the whole pipeline, or goes on with it, on a thread of its own.
    ///
    /// - Parameter acceptingChanges: goes on although settings, data, model or template have changed since the run began, as `--accept-changes` does.
    /// - Returns: the run, whose events can be listened to. It stops where it is let go of.
    public func run(acceptingChanges: Bool = false) -> Run {
        let stop = StopFlag()
        let channel = Channel<Event, String>(stop: stop)
        OwnThread.start {
            channel.finish(
                LorikeetFailure.result {
                    var environment = PipelineEnvironment(
                        sinks: [ChannelSink(channel)], shouldStop: { stop.isSet }, locator: locator { stop.isSet })
                    environment.cacheFolder = cacheFolder
                    environment.acceptsChanges = acceptingChanges
                    return try Pipeline(recipe: recipe, notes: notes, goal: .testedModel, environment: environment).run().serialized(pretty: true)
                })
        }
        return Run(listening: Listening(channel))
    }
}

/// Hands events to a run's listeners.
private final class ChannelSink: EventSink {
    private let channel: Channel<FineTuning.Event, String>

    init(_ channel: Channel<FineTuning.Event, String>) { self.channel = channel }

    func receive(_ event: LorikeetReporting.Event) {
        channel.send(FineTuning.Event(name: event.kind.rawValue, json: event.json.serialized()))
    }
}
