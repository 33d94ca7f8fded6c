import LorikeetGround
import LorikeetJSON

/// `events.jsonl`: one object a line, appended and flushed.
package final class EventsFile: EventSink {
    private let writer: any FileWriter

    /// Opens for appending; the torn last line of a killed run is ended first, so that new lines stand alone.
    package init(path: String, files: any Files) throws {
        let torn = files.exists(path) ? try files.read(path).last.map { $0 != UInt8(ascii: "\n") } ?? false : false
        writer = try files.openAppending(path)
        if torn { try write("\n") }
    }

    package func receive(_ event: Event) throws { try write(event.json.serialized() + "\n") }

    private func write(_ text: String) throws {
        try Array(text.utf8).withUnsafeBytes { try writer.write($0) }
    }
}
