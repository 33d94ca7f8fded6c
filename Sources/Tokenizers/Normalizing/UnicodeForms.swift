import CText

/// Unicode's normal forms NFC, NFD, NFKC, NFKD by the tables of Unicode 9, with which the reference library normalises: characters
/// that came later stay as they are.
final class UnicodeForms: Sendable {
    enum Form: Sendable, Equatable {
        case nfc, nfd, nfkc, nfkd
        var isComposed: Bool { self == .nfc || self == .nfkc }
        var isCompatible: Bool { self == .nfkc || self == .nfkd }
    }

    static let shared = UnicodeForms()

    private let combiningClasses: [UInt32: UInt8]
    /// Whole canonical and compatibility decompositions.
    private let canonical: [UInt32: [UInt32]]
    private let compatible: [UInt32: [UInt32]]
    /// Composed characters by first << 32 | second.
    private let compositions: [UInt64: UInt32]
    /// For each scalar of the basic plane a bit for each form: it may be changed by it, alone or after another scalar.
    private let mayChange: [UInt8]

    private init() {
        var length = 0
        let start = lorikeet_decompositions(&length)
        let text = String(decoding: UnsafeBufferPointer(start: start, count: length), as: UTF8.self)
        var classes: [UInt32: UInt8] = [:]
        var single: [UInt32: [UInt32]] = [:]
        var compat: [UInt32: [UInt32]] = [:]
        var pairs: [UInt64: UInt32] = [:]
        for entry in text.split(whereSeparator: { $0 == " " || $0 == "\n" }) {
            guard let separator = entry.firstIndex(where: { ".=-~".contains($0) }), let code = UInt32(entry[..<separator], radix: 16) else { continue }
            let values = entry[entry.index(after: separator)...].split(separator: "+").compactMap { UInt32($0, radix: 16) }
            switch entry[separator] {
            case ".": classes[code] = values.first.map { UInt8(truncatingIfNeeded: $0) }
            case "~": compat[code] = values
            default:
                single[code] = values
                if entry[separator] == "=", values.count == 2 { pairs[UInt64(values[0]) << 32 | UInt64(values[1])] = code }
            }
        }
        func whole(_ code: UInt32, _ isCompatible: Bool) -> [UInt32] {
            guard let parts = single[code] ?? (isCompatible ? compat[code] : nil) else { return [code] }
            return parts.flatMap { whole($0, isCompatible) }
        }
        canonical = Dictionary(uniqueKeysWithValues: single.keys.map { ($0, whole($0, false)) })
        compatible = Dictionary(uniqueKeysWithValues: (Array(single.keys) + compat.keys).map { ($0, whole($0, true)) })
        combiningClasses = classes
        compositions = pairs
        mayChange = Self.changes(classes: classes, canonical: canonical, compatible: compatible, compositions: pairs)
    }

    private static func bit(_ form: Form) -> UInt8 {
        switch form {
        case .nfc: 1
        case .nfd: 2
        case .nfkc: 4
        case .nfkd: 8
        }
    }

    private static func changes(
        classes: [UInt32: UInt8], canonical: [UInt32: [UInt32]], compatible: [UInt32: [UInt32]], compositions: [UInt64: UInt32]
    ) -> [UInt8] {
        var result = [UInt8](repeating: 0, count: 0x10000)
        func mark(_ code: UInt32, _ bits: UInt8) { if code < 0x10000 { result[Int(code)] |= bits } }
        let composed = Set(compositions.values)
        for code in classes.keys { mark(code, 15) }
        for code in canonical.keys { mark(code, composed.contains(code) ? 10 : 15) }
        for code in compatible.keys where canonical[code] == nil { mark(code, 12) }
        // A composed character whose decomposition changes under a compatibility form.
        for (code, parts) in compatible where canonical[code] != parts { mark(code, 12) }
        for pair in compositions.keys { mark(UInt32(truncatingIfNeeded: pair), 15) }
        for code: UInt32 in 0xAC00..<0xD7A4 { mark(code, 10) }
        for code: UInt32 in 0x1161..<0x11C3 { mark(code, 15) }
        return result
    }

    /// False where `text` is certainly in the form already.
    func mayChange(_ text: UnsafeBufferPointer<UInt8>, _ form: Form) -> Bool {
        let bit = Self.bit(form)
        var at = 0
        while at < text.count {
            if text[at] < 0x80 {
                at += 1
                continue
            }
            let (value, length) = UTF8Scalar.read(text, at)
            if value < 0x10000 ? mayChange[Int(value)] & bit != 0 : mayChangeBeyond(value) { return true }
            at += length
        }
        return false
    }

    private func mayChangeBeyond(_ value: UInt32) -> Bool {
        combiningClasses[value] != nil || compatible[value] != nil || value >> 8 == 0x110 || value >> 8 == 0x111 || value >> 8 == 0x113 || value >> 8 == 0x114
            || value >> 8 == 0x115
    }

    /// A scalar of the normal form: `change` is 0 where it replaces the next old one, 1 where it is new, -n where n more are swallowed.
    private struct Item {
        var scalar: UInt32
        var change: Int
        var combiningClass: UInt8
    }

    func apply(_ form: Form, to stretch: inout Stretch) {
        guard stretch.bytes.withUnsafeBufferPointer({ mayChange($0, form) }) else { return }
        var items: [Item] = []
        items.reserveCapacity(stretch.bytes.count)
        stretch.bytes.withUnsafeBufferPointer { bytes in
            UTF8Scalar.forEach(bytes) { value, _ in decompose(value, form, &items) }
        }
        sort(&items)
        if form.isComposed { compose(&items) }
        stretch.apply(items.map { ScalarChange($0.scalar, $0.change) })
    }

    private func decompose(_ value: UInt32, _ form: Form, _ items: inout [Item]) {
        if value < 0xC0, !(form.isCompatible && value >= 0xA0) {
            items.append(Item(scalar: value, change: 0, combiningClass: 0))
            return
        }
        if (0xAC00..<0xD7A4).contains(value) {
            let index = value - 0xAC00
            let parts = [0x1100 + index / 588, 0x1161 + index % 588 / 28, 0x11A7 + index % 28]
            for (place, part) in parts.enumerated() where part != 0x11A7 {
                items.append(Item(scalar: part, change: place == 0 ? 0 : 1, combiningClass: 0))
            }
            return
        }
        guard let parts = form.isCompatible ? compatible[value] : canonical[value] else {
            items.append(Item(scalar: value, change: 0, combiningClass: combiningClasses[value] ?? 0))
            return
        }
        for (place, part) in parts.enumerated() {
            // A Hangul syllable in a decomposition comes apart as well.
            if (0xAC00..<0xD7A4).contains(part) {
                let first = items.count
                decompose(part, form, &items)
                if place > 0 { items[first].change = 1 }
            } else {
                items.append(Item(scalar: part, change: place == 0 ? 0 : 1, combiningClass: combiningClasses[part] ?? 0))
            }
        }
    }

    /// Canonical order: runs of marks by class, those of one class as they stood.
    private func sort(_ items: inout [Item]) {
        var start = 0
        while start < items.count {
            guard items[start].combiningClass != 0 else {
                start += 1
                continue
            }
            var end = start
            var isSorted = true
            while end < items.count, items[end].combiningClass != 0 {
                if end > start, items[end].combiningClass < items[end - 1].combiningClass { isSorted = false }
                end += 1
            }
            if !isSorted {
                let ordered = items[start..<end].enumerated().sorted {
                    ($0.element.combiningClass, $0.offset) < ($1.element.combiningClass, $1.offset)
                }
                items.replaceSubrange(start..<end, with: ordered.map(\.element))
            }
            start = end
        }
    }

    private func composed(_ first: UInt32, _ second: UInt32) -> UInt32? {
        if (0x1100..<0x1113).contains(first), (0x1161..<0x1176).contains(second) {
            return 0xAC00 + (first - 0x1100) * 588 + (second - 0x1161) * 28
        }
        if (0xAC00..<0xD7A4).contains(first), (first - 0xAC00) % 28 == 0, (0x11A8..<0x11C3).contains(second) { return first + (second - 0x11A7) }
        return compositions[UInt64(first) << 32 | UInt64(second)]
    }

    private func compose(_ items: inout [Item]) {
        var result: [Item] = []
        result.reserveCapacity(items.count)
        var starter: Int?
        var lastClass: UInt8?
        for item in items {
            guard let base = starter else {
                result.append(item)
                if item.combiningClass == 0 { starter = result.count - 1 }
                continue
            }
            let isBlocked = lastClass.map { $0 >= item.combiningClass } ?? false
            if !isBlocked, let made = composed(result[base].scalar, item.scalar) {
                result[base].scalar = made
                result[base].change += item.change - 1
                continue
            }
            result.append(item)
            if item.combiningClass == 0 {
                starter = result.count - 1
                lastClass = nil
            } else {
                lastClass = item.combiningClass
            }
        }
        items = result
    }
}
