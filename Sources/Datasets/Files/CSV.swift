import LorikeetGround
import LorikeetJSON

/// The header of a CSV or TSV file (RFC 4180): the first line, which names the columns.
struct CSVHeader: Sendable, Equatable {
    let delimiter: UInt8
    let columns: [String]
    /// Bytes in front of the header: a line `sep=;` as Excel writes it.
    let skipped: Int

    /// How the delimiter is called.
    var delimiterName: String {
        switch delimiter {
        case 0x09: "a tab"
        case UInt8(ascii: ";"): "a semicolon"
        case UInt8(ascii: "|"): "a bar"
        default: "a comma"
        }
    }

    /// The delimiter is a tab in a `.tsv`, what a line `sep=` says, else the one of comma, semicolon, tab and bar that occurs most often in the
    /// first line outside quotes.
    ///
    /// - Throws: exit 2 where the first line names no columns, names one twice or not at all.
    init(_ bytes: [UInt8], tabs: Bool, at path: String) throws {
        var skipped = 0
        var said: UInt8?
        if bytes.starts(with: Array("sep=".utf8)), bytes.count > 5, bytes[5] == 0x0A || bytes[5] == 0x0D {
            said = bytes[4]
            skipped = bytes[5] == 0x0D && bytes.count > 6 && bytes[6] == 0x0A ? 7 : 6
        }
        self.skipped = skipped
        if !bytes.prefix(RowBlocks.blockBytes).contains(0x0A), bytes.contains(0x0D) { throw TextFault.returnsAlone(at: path) }
        var quoted = false
        var counts: [UInt8: Int] = [:]
        for byte in bytes[skipped...] {
            if byte == UInt8(ascii: "\"") { quoted.toggle() }
            if quoted { continue }
            if byte == 0x0A { break }
            counts[byte, default: 0] += 1
        }
        let candidates = [UInt8(ascii: ","), UInt8(ascii: ";"), 0x09, UInt8(ascii: "|")]
        let most = candidates.max { (counts[$0] ?? 0, -(candidates.firstIndex(of: $0) ?? 0)) < (counts[$1] ?? 0, -(candidates.firstIndex(of: $1) ?? 0)) }
        let delimiter = said ?? (tabs ? 0x09 : most ?? UInt8(ascii: ","))
        self.delimiter = delimiter
        var cutter = CSVCutter(delimiter: delimiter, skipped: skipped)
        var rows: [Row] = []
        do {
            let first = bytes.prefix(1 << 20)
            _ = try first.withUnsafeBytes { try cutter.cut($0, isLast: first.count == bytes.count, into: &rows, limit: 1) }
        } catch let error as CutError { throw LorikeetError.input(error.what, at: "\(path):\(error.line)", fix: error.fix) }
        guard let row = rows.first else { throw LorikeetError.input("the file has no header line", at: path, fix: "name the columns in the first line") }
        let columns = try bytes[row.offset..<row.offset + row.count].withUnsafeBytes {
            try CSVFields(delimiter: delimiter).read($0, at: "\(path):\(row.line)").map { field in
                var name = field[...]
                while name.first == " " { name.removeFirst() }
                while name.last == " " { name.removeLast() }
                return String(name)
            }
        }
        self.columns = columns
        var seen = Set<String>()
        for name in columns {
            guard !name.isEmpty || columns.count > 1 else {
                throw LorikeetError.input("the header line names no columns", at: "\(path):\(row.line)", fix: "name the columns in the first line")
            }
            guard name.isEmpty || seen.insert(name).inserted else {
                throw LorikeetError.input("the column '\(name)' stands in the header twice", at: "\(path):\(row.line)", fix: "rename one of them")
            }
        }
    }

    /// A row's fields as the keys and values of a record. Lists and objects in a column of messages or tools are read as JSON.
    ///
    /// - Throws: exit 2 where the row has another number of fields than the header.
    func record(_ bytes: UnsafeRawBufferPointer, at place: String) throws -> JSON {
        let fields = try CSVFields(delimiter: delimiter).read(bytes, at: place)
        guard fields.count == columns.count else {
            throw LorikeetError.input(
                "the row has \(fields.count) \(fields.count == 1 ? "field" : "fields") and the header \(columns.count) (the delimiter is \(delimiterName))",
                at: place,
                fix: "put fields that hold the delimiter, a quote or a line break in quotes")
        }
        if fields == columns {
            throw LorikeetError.input("the header line is repeated here, as where several files were joined", at: place, fix: "remove the line")
        }
        if bytes.contains(0) {
            throw LorikeetError.input("a zero byte stands in the row: the file is damaged or not UTF-8", at: place, fix: "fetch or write it again as UTF-8")
        }
        var entries: [(key: String, value: JSON)] = []
        // A column without a name is the row number that pandas writes.
        for (name, field) in zip(columns, fields) where !name.isEmpty { entries.append((name, .string(field))) }
        return .object(JSONObject(entries))
    }
}

/// A row a record: line breaks inside quotes belong to a field.
struct CSVCutter: RowCutter {
    private let delimiter: UInt8
    private var line = 1
    private var skipped: Int
    /// The header is the first row and no record.
    private var skipsHeader: Bool

    init(header: CSVHeader) {
        self.init(delimiter: header.delimiter, skipped: header.skipped)
        skipsHeader = true
    }

    init(delimiter: UInt8, skipped: Int) {
        self.delimiter = delimiter
        self.skipped = skipped
        skipsHeader = false
    }

    mutating func cut(_ bytes: UnsafeRawBufferPointer, isLast: Bool, into rows: inout [Row]) throws -> Int {
        try cut(bytes, isLast: isLast, into: &rows, limit: .max)
    }

    /// - Parameter limit: stops after so many rows.
    mutating func cut(_ bytes: UnsafeRawBufferPointer, isLast: Bool, into rows: inout [Row], limit: Int) throws -> Int {
        var start = min(skipped, bytes.count)
        if skipped > 0, start > 0 { (skipped, line) = (0, 2) }
        while start < bytes.count, rows.count < limit {
            // `isQuotedField`: the field at hand began with a quote, so that a second quote in it belongs to its text.
            var (at, quoted, beginsField, isQuotedField, lines) = (start, false, true, false, 0)
            var end: Int?
            while at < bytes.count {
                let byte = bytes[at]
                if byte == 0x0A { lines += 1 }
                if quoted {
                    // A doubled quote closes and opens again.
                    if byte == UInt8(ascii: "\"") { quoted = false }
                } else if byte == 0x0A {
                    end = at
                    break
                } else if byte == UInt8(ascii: "\""), beginsField || isQuotedField && bytes[at - 1] == UInt8(ascii: "\"") {
                    (quoted, isQuotedField) = (true, true)
                } else if byte == delimiter {
                    isQuotedField = false
                }
                beginsField = !quoted && byte == delimiter
                at += 1
            }
            if end == nil {
                guard isLast else { return start }
                guard !quoted else {
                    throw CutError(
                        what: "a quote that opens in this record is never closed", line: line, fix: "close it; a quote inside quotes is written twice")
                }
            }
            let stop = end ?? bytes.count
            if bytes[start..<stop].contains(where: { !isBlank($0) || $0 == delimiter }) {
                if skipsHeader { skipsHeader = false } else { rows.append(Row(offset: start, count: stop - start, line: line)) }
            }
            line += lines
            start = min(stop + 1, bytes.count)
        }
        return start
    }
}

/// The fields of one CSV row.
struct CSVFields {
    let delimiter: UInt8

    /// - Throws: exit 2 for text behind a closing quote, or bytes that are not UTF-8.
    func read(_ bytes: UnsafeRawBufferPointer, at place: String) throws -> [String] {
        var row = bytes[...]
        if row.last == 0x0D { row = row.dropLast() }
        var fields: [String] = []
        var field: [UInt8] = []
        var at = row.startIndex
        func finish() throws {
            guard let text = String(validating: field, as: UTF8.self) else { throw TextFault.notUTF8(at: place) }
            fields.append(text)
            field.removeAll(keepingCapacity: true)
        }
        while true {
            if at < row.endIndex, row[at] == UInt8(ascii: "\"") {
                at += 1
                while at < row.endIndex {
                    if row[at] == UInt8(ascii: "\"") {
                        guard at + 1 < row.endIndex, row[at + 1] == UInt8(ascii: "\"") else { break }
                        at += 1
                    }
                    field.append(row[at])
                    at += 1
                }
                at += 1
                guard at >= row.endIndex || row[at] == delimiter else {
                    throw LorikeetError.input(
                        "text stands behind the closing quote of field \(fields.count + 1)", at: place, fix: "a quote inside quotes is written twice")
                }
            } else {
                while at < row.endIndex, row[at] != delimiter {
                    field.append(row[at])
                    at += 1
                }
            }
            try finish()
            guard at < row.endIndex else { return fields }
            at += 1
        }
    }
}
