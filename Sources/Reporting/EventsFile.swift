import LorikeetGround
import LorikeetJSON

/// `events.jsonl`: one object a line, appended and flushed.
///
/// A run checks its input before it writes anything, so events are kept until the file is opened.
package final class EventsFile: EventSink {
    private var writer: (any FileWriter)?
    private var waiting: [Event] = []

    package init() {}

    /// Opens for appending and writes what has waited; the torn last line of a killed run is ended first.
    package func open(path: String, files: any Files) throws {
        let torn = files.exists(path) ? try files.read(path).last.map { $0 != UInt8(ascii: "\n") } ?? false : false
        writer = try files.openAppending(path)
        if torn { try write("\n") }
        for event in waiting { try receive(event) }
        waiting = []
    }

    package func receive(_ event: Event) throws {
        guard writer != nil else {
            waiting.append(event)
            return
        }
        try write(event.json.serialized() + "\n")
    }

    private func write(_ text: String) throws {
        try Array(text.utf8).withUnsafeBytes { try writer?.write($0) }
    }
}
