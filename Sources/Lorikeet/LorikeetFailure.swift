import LorikeetGround

/// What the library throws: what is wrong, where, how to fix it, and a kind to switch on.
///
/// Every public function throws this type and no other (they have typed throws, so that `catch` knows it):
///
///     do {
///         for try await event in tuning.run() { print(event.json) }
///     } catch {
///         switch error.kind {
///         case .interrupted: print("stopped with everything saved")
///         case .doesNotFit: print("choose a smaller model: \(error)")
///         default: print("\(error)")
///         }
///     }
///
/// A cancelled task gets ``Kind-swift.enum/interrupted``, and never a `CancellationError`.
public struct LorikeetFailure: Error, Sendable, Equatable, CustomStringConvertible {
    /// What kind of failure it is. Later versions may have more kinds, so a `switch` over it needs a `default`.
    public enum Kind: String, Sendable, CaseIterable {
        /// A check, a comparison or a proof failed. All results are written.
        case checkFailed
        /// An option, a key, a record or a model cannot be used as it is.
        case invalidInput
        /// A file or folder is not there, or the system does not let it be read.
        case unreadableFile
        /// A file of a model, an adapter or compressed data does not follow its format, or is cut short.
        case damagedFile
        /// Another process, or another run in this one, works in the same directory.
        case alreadyRunning
        /// Memory, disk or the session's time are too small. Nothing was started.
        case doesNotFit
        /// A card that was asked for is not there, cannot do what was asked, or has failed. After a failure the last checkpoint is kept.
        case deviceUnavailable
        /// A hub cannot be reached or its answer cannot be used. What has come is kept.
        case networkFailed
        /// The machine failed in another way, such as with a full disk. The last checkpoint is kept.
        case machineFailed
        /// Stopped before the end: by cancellation, by ``FineTuning/Run/stop()``, or because the session ends. A run has saved everything and goes on
        /// when the same recipe is run again.
        case interrupted
        /// The processor has no AVX2 and FMA, which the library's arithmetic needs.
        case unsupportedProcessor
    }

    /// What kind of failure it is.
    public let kind: Kind
    /// What is wrong: one sentence without a full stop.
    public let what: String
    /// Where: a file, `file:line`, a key or an option; nil where the sentence says it already.
    public let place: String?
    /// What to do about it; nil where nothing can be said.
    public let fix: String?
    /// The exit code that the command `lorikeet` has for it: 1, 2, 3, 4 or 75 (docs/messages.md).
    public let exitCode: Int32

    /// `place: what; fix`, on one line, made fit to be shown.
    public var description: String { error.description }

    /// The same as the rooms below have it.
    package let error: LorikeetError

    /// Any error of the rooms below. One that is not theirs is a failure of the machine.
    package init(_ error: any Error) {
        if let failure = error as? LorikeetFailure {
            self = failure
            return
        }
        let known = error is Interrupted ? CancellationCheck.cancelled : error as? LorikeetError
        let error = known ?? LorikeetError.machine("unexpected: \(error)", fix: "report this with lorikeet doctor's output")
        self.error = error
        kind = Kind(error)
        (what, place, fix, exitCode) = (error.what, error.place, error.fix, error.exit.rawValue)
    }

    /// What a body returns, or why it failed.
    package static func result<Value>(_ body: () throws -> sending Value) -> sending Result<Value, LorikeetFailure> {
        do { return .success(try body()) } catch { return .failure(LorikeetFailure(error)) }
    }
}

extension LorikeetFailure.Kind {
    fileprivate init(_ error: LorikeetError) {
        self =
            switch (error.exit, error.kind) {
            case (.stoppedEarly, _): .interrupted
            case (.doesNotFit, _): .doesNotFit
            case (_, .unreadableFile): .unreadableFile
            case (_, .damagedFile): .damagedFile
            case (_, .alreadyRunning): .alreadyRunning
            case (_, .device): .deviceUnavailable
            case (_, .network): .networkFailed
            case (_, .processor): .unsupportedProcessor
            case (.checkFailed, _): .checkFailed
            case (.unusableInput, _): .invalidInput
            case (.machineFailed, _): .machineFailed
            }
    }
}
