import LorikeetGround
import LorikeetJSON

/// `events.jsonl`: one object a line, appended and flushed.
///
/// A run checks its input before it writes anything, so events are kept in memory until `open` is called.
package final class EventsFile: EventSink {
    private var writer: (any FileWriter)?
    private var unwritten: [Event] = []

    package init() {}

    /// Opens the file for appending and writes the events received so far. Where a killed run left an incomplete last line, a newline ends it
    /// first.
    package func open(path: String, files: any Files) throws {
        let endsInsideLine = files.exists(path) ? try files.read(path).last.map { $0 != UInt8(ascii: "\n") } ?? false : false
        writer = try files.openAppending(path)
        if endsInsideLine { try write("\n") }
        for event in unwritten { try receive(event) }
        unwritten = []
    }

    package func receive(_ event: Event) throws {
        // Only of interest while it happens.
        guard event.kind != .progress else { return }
        guard writer != nil else {
            unwritten.append(event)
            return
        }
        try write(event.json.serialized() + "\n")
    }

    private func write(_ text: String) throws {
        try Array(text.utf8).withUnsafeBytes { try writer?.write($0) }
    }
}
