import LorikeetGround
import LorikeetJSON

/// The sessions that have worked on a run under the key `session`, as `sessions.json` holds them.
struct SessionRecord: Equatable {
    struct Entry: Equatable {
        /// An identity that no other session has; nil where every process is a session of its own.
        var identity: String?
        /// Seconds since 1970.
        var began: Double
    }

    private(set) var entries: [Entry] = []

    init() {}

    /// Entries that are damaged are left out.
    init(json: JSON?) {
        entries = (json?["sessions"]?.array ?? []).compactMap { entry in
            entry["began"]?.double.map { Entry(identity: entry["identity"]?.string, began: $0) }
        }
    }

    var json: JSON {
        ["sessions": .array(entries.map { ["identity": $0.identity.map { .string($0) } ?? .null, "began": .number($0.began)] })]
    }

    /// The number, from 1, of the session with that identity: its own where it is recorded, else the next.
    func number(of identity: String?) -> Int { (index(of: identity) ?? entries.count) + 1 }

    mutating func add(_ entry: Entry) { if index(of: entry.identity) == nil { entries.append(entry) } }

    private func index(of identity: String?) -> Int? { identity.flatMap { identity in entries.firstIndex { $0.identity == identity } } }
}

extension OutputDirectory {
    var sessionsJSON: String { path + "/sessions.json" }

    func sessions() throws -> SessionRecord { SessionRecord(json: try files.ownJSON(sessionsJSON)) }

    func save(_ sessions: SessionRecord) throws { if try self.sessions() != sessions { try write(sessions.json, to: sessionsJSON) } }
}
