import Foundation
import LorikeetGround
import LorikeetJSON
import Testing

@testable import LorikeetReporting

/// Event files, read back by a reader of its own.
struct TensorBoardTests {
    /// A field of a protocol buffer: varints and fixed numbers by their bits, the rest by its bytes.
    struct Field {
        var number: Int
        var bits: UInt64 = 0
        var bytes: [UInt8] = []
        var text: String { String(decoding: bytes, as: UTF8.self) }
        var double: Double { Double(bitPattern: bits) }
        var float: Float { Float(bitPattern: UInt32(truncatingIfNeeded: bits)) }
        func fields(_ number: Int) throws -> [Field] { try TensorBoardTests.fields(bytes).filter { $0.number == number } }
        func field(_ numbers: Int...) throws -> Field {
            try numbers.reduce(self) { field, number in
                guard let first = try field.fields(number).first else { throw CocoaError(.coderValueNotFound) }
                return first
            }
        }
    }

    static func fields(_ bytes: [UInt8]) throws -> [Field] {
        var (rest, found) = (bytes[...], [Field]())
        func byte() throws -> UInt8 {
            let first = rest.popFirst()
            return try #require(first)
        }
        func varint() throws -> UInt64 {
            var (value, shift) = (UInt64(0), UInt64(0))
            while true {
                let byte = try byte()
                value |= UInt64(byte & 0x7F) << shift
                if byte < 0x80 { return value }
                shift += 7
            }
        }
        func fixed(_ count: Int) throws -> UInt64 {
            try (0..<count).reduce(UInt64(0)) { $0 | UInt64(try byte()) << (8 * UInt64($1)) }
        }
        while !rest.isEmpty {
            let key = try varint()
            var field = Field(number: Int(key >> 3))
            switch key & 7 {
            case 0: field.bits = try varint()
            case 1: field.bits = try fixed(8)
            case 5: field.bits = try fixed(4)
            default:
                #expect(key & 7 == 2)
                let count = Int(try varint())
                field.bytes = Array(rest.prefix(count))
                #expect(field.bytes.count == count)
                rest = rest.dropFirst(count)
            }
            found.append(field)
        }
        return found
    }

    /// The events of a file; check sums are held to a bitwise computation.
    static func events(_ path: String) throws -> [Field] {
        var bytes = Array(try Data(contentsOf: URL(fileURLWithPath: path)))[...]
        func masked(_ data: some Sequence<UInt8>) -> UInt32 {
            var crc = UInt32.max
            for byte in data {
                for bit in 0..<8 {
                    let odd = (crc ^ UInt32(byte) >> UInt32(bit)) & 1 == 1
                    crc = crc >> 1 ^ (odd ? 0x82F6_3B78 : 0)
                }
            }
            crc = ~crc
            return (crc >> 15 | crc << 17) &+ 0xA282_EAD8
        }
        func number(_ count: Int) -> UInt64 {
            defer { bytes = bytes.dropFirst(count) }
            return bytes.prefix(count).reversed().reduce(0) { $0 << 8 | UInt64($1) }
        }
        var events: [Field] = []
        while !bytes.isEmpty {
            let head = bytes.prefix(8)
            let length = Int(number(8))
            #expect(number(4) == UInt64(masked(head)))
            let data = Array(bytes.prefix(length))
            bytes = bytes.dropFirst(length)
            #expect(number(4) == UInt64(masked(data)) && data.count == length)
            events.append(Field(number: 0, bytes: data))
        }
        return events
    }

    /// Scalars as (tag, step, value).
    static func scalars(_ events: [Field]) throws -> [String] {
        try events.flatMap { event -> [String] in
            let step = try event.fields(2).first?.bits ?? 0
            return try event.fields(5).flatMap { try $0.fields(1) }.compactMap { value in
                try value.fields(2).first.map { "\(try value.field(1).text) \(step) \($0.float)" }
            }
        }
    }

    @Test func `the check sum is that of the standard`() {
        // RFC 3720, appendix B.4.
        #expect(CRC32C.checksum([UInt8](repeating: 0, count: 32)) == 0x8A91_36AA)
        #expect(CRC32C.checksum([UInt8](repeating: 0xFF, count: 32)) == 0x62A8_AB43)
        #expect(CRC32C.checksum(Array(0..<32)) == 0x46DD_794E)
        #expect(CRC32C.checksum(Array("123456789".utf8)) == 0xE306_9283)
    }

    private func written(_ folder: String, settings: [RunRecord.Setting] = [], _ events: [Event]) throws {
        let file = TensorBoardFile()
        try file.receive(Event(kind: .environment, time: 1, fields: [:]))
        try file.open(folder: folder, time: 1000.5, settings: settings, recipe: "seed: 42\n", files: RealFiles())
        for event in events { try file.receive(event) }
    }

    private func folder() -> String { FileManager.default.temporaryDirectory.appending(path: "lorikeet-" + UUID().uuidString).path }
    private func files(_ folder: String) throws -> [String] { try RealFiles().list(folder).sorted().map { folder + "/" + $0 } }

    @Test func `scalars, texts and hyper-parameters stand in the file`() throws {
        let folder = folder()
        try written(
            folder, settings: [.init(key: "seed", value: "42"), .init(key: "packing", value: "true"), .init(key: "optim", value: "adamw_torch")],
            [
                Event(
                    kind: .data, time: 2,
                    fields: ["first_sample": ["tokens": [["id": 1, "text": "a*<b>", "trained": false], ["id": 2, "text": "yes", "trained": true]]]]),
                Event(kind: .step, time: 2, fields: ["step": 1, "loss": 9]),
                Event(
                    kind: .log, time: 3,
                    fields: ["step": 2, "loss": 1.5, "learning_rate": 0.001, "grad_norm": .number(.nan), "epoch": 0.5, "gpu_used_bytes": 0]),
                Event(kind: .evaluation, time: 4, fields: ["step": 2, "eval_loss": 1.25, "rows": 3, "seconds": 0.5]),
                Event(
                    kind: .result, time: 5,
                    fields: ["answers": [["question": "q|1", "before": "b", "after": "a", "right": "r"]], "summary": ["steps": 2, "train_loss": 1.75]]),
                Event(kind: .end, time: 6, fields: ["exit": 0]),
            ])
        let path = try #require(files(folder).first)
        #expect(path.hasSuffix("/events.out.tfevents.1000.lorikeet"))
        let events = try Self.events(path)
        #expect(try events[0].field(3).text == "brain.Event:2" && events[0].field(1).double == 1000.5)
        // A value that is not finite is written as such; TensorBoard shows it as one.
        #expect(
            try Self.scalars(events) == [
                "train/loss 2 1.5", "train/learning_rate 2 0.001", "train/grad_norm 2 nan", "train/epoch 2 0.5", "system/gpu_used_bytes 2 0.0",
                "eval/loss 2 1.25", "eval/runtime 2 0.5", "train/train_loss 2 1.75",
            ])
        let values = try events.flatMap { try $0.fields(5) }.flatMap { try $0.fields(1) }
        func text(_ tag: String) throws -> String {
            let value = try #require(values.first { (try? $0.field(1).text) == tag + "/text_summary" })
            #expect(try value.field(9, 1, 1).text == "text" && value.field(8, 1).bits == 7)
            return try value.field(8, 8).text
        }
        #expect(try text("recipe") == "```yaml\nseed: 42\n\n```" && text("first_sample") == #"a\*&lt;b&gt;|**yes**"#)
        #expect(try text("answers") == "|question|before|after|expected|\n|-|-|-|-|\n|q&#124;1|b|a|r|")
        let plugins = values.filter { (try? $0.field(9, 1, 1).text) == "hparams" }
        #expect(try plugins.map { try $0.field(1).text } == ["experiment", "session_start_info", "session_end_info"].map { "_hparams_/" + $0 })
        let parameters = try plugins[1].field(9, 1, 2, 3).fields(1)
        #expect(try parameters.map { try $0.field(1).text } == ["seed", "packing", "optim"])
        #expect(try parameters[0].field(2, 2).double == 42 && parameters[1].field(2, 4).bits == 1 && parameters[2].field(2, 3).text == "adamw_torch")
        #expect(try plugins[0].field(9, 1, 2, 2).fields(4).map { try $0.field(4).bits } == [3, 2, 1])
        #expect(try plugins[2].field(9, 1, 2, 4, 1).bits == 1)
    }

    @Test func `a file with the largest number in its name ends no run`() throws {
        let folder = folder()
        try RealFiles().createDirectory(folder)
        try RealFiles().writeDurably("", to: folder + "/events.out.tfevents.\(Int.max).x")
        try written(folder, [Event(kind: .end, time: 4, fields: ["exit": 0])])
        #expect(try files(folder).count == 2)
    }

    @Test func `a process that goes on writes a file behind the earlier ones and says at which step it begins`() throws {
        let folder = folder()
        func log(_ step: Int) -> [Event] { [.step, .log].map { Event(kind: $0, time: 3, fields: ["step": JSON(step), "loss": 1]) } }
        try written(folder, log(1) + log(2) + log(3) + [Event(kind: .end, time: 4, fields: ["exit": 75])])
        try written(folder, log(3) + log(4) + [Event(kind: .end, time: 4, fields: ["exit": 0])])
        let paths = try files(folder)
        #expect(paths.map { $0.split(separator: "/").last } == ["events.out.tfevents.1000.lorikeet", "events.out.tfevents.1001.lorikeet"])
        func restarts(_ path: String) throws -> [UInt64] { try Self.events(path).filter { try !$0.fields(7).isEmpty }.map { try $0.field(2).bits } }
        #expect(try restarts(paths[0]) == [] && restarts(paths[1]) == [3])
        // Readers keep what they read first of a text or a hyper-parameter: it stands in the first file alone, the end in the last.
        func tags(_ path: String) throws -> [String] {
            try Self.events(path).flatMap { try $0.fields(5) }.flatMap { try $0.fields(1) }.map { try $0.field(1).text }.filter { $0 != "train/loss" }
        }
        #expect(try tags(paths[0]) == ["_hparams_/experiment", "_hparams_/session_start_info", "recipe/text_summary"])
        #expect(try tags(paths[1]) == ["_hparams_/session_end_info"])
        #expect(try Self.events(paths[1]).first { try !$0.fields(7).isEmpty }?.field(7, 1).bits == 1)
    }
}
