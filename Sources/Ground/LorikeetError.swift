/// What went wrong, where, and how to fix it: every failure a user can meet is one of these.
///
/// The exit class is the command-line contract's exit code; the CLI prints `description` and exits with it.
package struct LorikeetError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The exit codes of the command-line contract.
    package enum ExitClass: Int32, Sendable {
        /// A check or comparison failed.
        case checkFailed = 1
        /// Wrong usage or unusable input.
        case unusableInput = 2
        /// It would not fit; nothing was started.
        case doesNotFit = 3
        /// The machine failed (disk full, card lost); the last checkpoint is kept and the same command goes on.
        case machineFailed = 4
        /// Stopped early with everything saved; the same command goes on.
        case stoppedEarly = 75
    }

    /// Failures that the calling code answers in a way of its own: inside of the program, and (the last six) that of the public library.
    package enum Kind: Sendable {
        case other
        /// A JSON object has a key twice.
        case repeatedKey
        /// A chat template's rendering used up the work that it may do.
        case tooMuchWork
        /// A file or folder is not there, or the system does not let it be read.
        case unreadableFile
        /// A file's bytes do not follow its format.
        case damagedFile
        /// Another process, or another call in this one, has the lock.
        case alreadyRunning
        /// A card that was asked for is not there, cannot do what was asked, or has failed.
        case device
        /// A hub cannot be reached, or does not answer as hubs do.
        case network
        /// The processor lacks instructions that the engine is compiled for.
        case processor
    }

    package var exit: ExitClass
    package var kind = Kind.other
    /// One sentence without a full stop: what is wrong.
    package var what: String
    /// `file`, `file:line`, `file at byte N` or a key; nil where the sentence says it already.
    package var place: String?
    /// What to do about it.
    package var fix: String?
    /// Of what is too small, the bytes that would be enough, where that is known.
    package var enough: Int?

    /// What gives access (a password in an address, an access token) is left out of all three: they often quote what a user has written.
    package init(_ exit: ExitClass, _ what: String, at place: String? = nil, fix: String? = nil) {
        self.exit = exit
        self.what = what.withoutSecrets()
        self.place = place?.withoutSecrets()
        self.fix = fix?.withoutSecrets()
    }

    /// Bad usage or unusable input (exit 2).
    package static func input(_ what: String, at place: String? = nil, fix: String? = nil) -> LorikeetError {
        LorikeetError(.unusableInput, what, at: place, fix: fix)
    }

    /// The machine failed (exit 4).
    package static func machine(_ what: String, at place: String? = nil, fix: String? = nil) -> LorikeetError {
        LorikeetError(.machineFailed, what, at: place, fix: fix)
    }

    /// The same error with a kind.
    package func of(_ kind: Kind) -> LorikeetError {
        var error = self
        error.kind = kind
        return error
    }

    /// `place: what; fix`, on one line. Names and values in it may come from files: see `String.printable`. A damaged file can have names
    /// of megabytes: of a part that is too long its beginning and end are shown.
    package var description: String {
        (place.map { Self.shortened($0) + ": " } ?? "") + Self.shortened(what) + (fix.map { "; " + Self.shortened($0) } ?? "")
    }

    private static let longest = 2000

    private static func shortened(_ text: String) -> String {
        let scalars = text.unicodeScalars
        guard scalars.count > longest else { return text.printable(lines: false) }
        return (String(scalars.prefix(longest / 2)) + " … " + String(scalars.suffix(longest / 4))).printable(lines: false)
    }
}
