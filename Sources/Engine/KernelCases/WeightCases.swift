import LorikeetGround
import LorikeetDevices

extension KernelCase {
    private static func sample(_ count: Int, _ element: DeviceElement) -> [Float] {
        let numbers = (0..<count).map { i -> Float in
            // A block of zeros, large and small ones.
            if i / 64 == 2 { return 0 }
            return uniform(UInt64(i)) * (i / 64 % 5 == 0 ? 3 : 0.05)
        }
        return element.decode(element.encode(numbers))
    }

    // MARK: stored weights to activations

    static let expansionCases: [KernelCase] =
        [(1, 1), (3, 5), (37, 70), (41, 101), (64, 200), (1001, 1031)].map { rows, columns in nf4Case(rows, columns) }
        + BlockFormat.allCases.flatMap { format in
            [(1, format.blockElements), (3, 512), (400, 2048)].map { rows, columns in blocksCase(format, rows, columns) }
        }

    private static func nf4Case(_ rows: Int, _ columns: Int) -> KernelCase {
        KernelCase(name: "expand_nf4", detail: "\(rows) x \(columns)", large: rows > 1000) { comparison in
            let numbers = sample(rows * columns, .f32)
            let store = try NF4Store.quantise(FloatStore(rows: rows, columns: columns, copying: numbers), name: "w", cpu: comparison.cpu)
            let weights = try DeviceWeights(device: comparison.device, bytes: rows * columns + 8192)
            return [try expanded(store, form: comparison.place(store, in: weights), weights, comparison)]
        }
    }

    private static func blocksCase(_ format: BlockFormat, _ rows: Int, _ columns: Int) -> KernelCase {
        KernelCase(name: "expand_blocks", detail: "\(format.rawValue), \(rows) x \(columns)", large: rows > 100) { comparison in
            let bytes = blocks(format, count: rows * columns)
            let memory = try StoredBytes(count: bytes.count) { $0.copyMemory(from: bytes, byteCount: bytes.count) }
            let store = try BlockStore(rows: rows, columns: columns, format: format, bytes: memory, name: "w")
            let weights = try DeviceWeights(device: comparison.device, bytes: bytes.count + 4096)
            let address = try weights.take(bytes.count)
            try comparison.upload(bytes, to: address)
            return [try expanded(store, form: .blocks(address, format), weights, comparison)]
        }
    }

    /// Random blocks whose scales are small enough for float16's range.
    static func blocks(_ format: BlockFormat, count: Int) -> [UInt8] {
        let scales: [Int] =
            switch format {
            case .q4_0, .q5_0, .q8_0: [0]
            case .q4_1, .q5_1, .q4_K, .q5_K: [0, 2]
            case .q2_K: [80, 82]
            case .q3_K: [108]
            case .q6_K: [208]
            }
        var bytes = (0..<count / format.blockElements * format.blockBytes).map { UInt8(truncatingIfNeeded: mix64(UInt64($0))) }
        for block in stride(from: 0, to: bytes.count, by: format.blockBytes) {
            for scale in scales { bytes[block + scale + 1] &= 0xbb }
        }
        return bytes
    }

    private static func expanded(_ store: any WeightStore, form: DeviceForm, _ weights: DeviceWeights, _ comparison: KernelComparison) throws -> Deviation {
        let count = store.rows * store.columns
        var wanted = [Float](repeating: 0, count: count)
        store.expand(rows: 0..<store.rows, into: &wanted)
        let got = try comparison.withMemory(count * comparison.element.bytes) { out in
            try weights.expand(DeviceMatrix(rows: store.rows, columns: store.columns, form: form), into: out, on: comparison.device, comparison.element)
            return try comparison.download(out, count * comparison.element.bytes)
        }
        return Deviation(name: "bytes that differ", measured: KernelComparison.unequal(got, comparison.element.encode(wanted)), tolerance: 0)
    }

    // MARK: loading

    static let loadingCases: [KernelCase] =
        [1, 3, 64, 2590, 16384 + 63, 4099 * 1024].map { (count: Int) in
            KernelCase(name: "quantise", detail: "\(count) weights", large: count > 100_000) { try quantised(count, $0) }
        }
        + [1, 7, 1000, 300_007].map { (count: Int) in
            KernelCase(name: "convert", detail: "\(count) weights", large: count > 100_000) { try converted(count, $0) }
        }
        + [1, 255, 5000, 3_000_001].map { (count: Int) in
            KernelCase(name: "largest_magnitude", detail: "\(count) numbers", large: count > 100_000) { try magnitude(count, $0) }
        }

    /// Of finite numbers, and of numbers of which one is NaN.
    private static func magnitude(_ count: Int, _ comparison: KernelComparison) throws -> [Deviation] {
        let probe = RangeProbe(
            ProgramBuilder(purpose: .evaluation, tokens: 1, adapters: .none, target: .device(comparison.element)).build(), trainedRows: 0)
        return try [false, true].map { broken in
            var numbers = sample(count, comparison.element)
            if broken { numbers[count / 2] = .nan }
            let wanted = broken ? .infinity : numbers.reduce(0) { max($0, abs($1)) }
            let got = try comparison.withMemory(count * comparison.element.bytes + 256) { x in
                try comparison.withMemory(RangeProbe.blocks * 4) { partial in
                    try comparison.upload(comparison.element.encode(numbers), to: x)
                    try probe.launch(x, count: count, into: partial, on: comparison.device, comparison.element)
                    return DeviceElement.f32.decode(try comparison.download(partial, RangeProbe.blocks * 4))
                }
            }
            // NaN in a block's place would hide from max.
            let same = got.allSatisfy { !$0.isNaN } && got.max() == wanted
            return Deviation(name: broken ? "infinite where one is NaN" : "largest", measured: same ? 0 : 1, tolerance: 0)
        }
    }

    private static func quantised(_ count: Int, _ comparison: KernelComparison) throws -> [Deviation] {
        let numbers = sample(count, comparison.element)
        let wanted = try NF4Store.quantise(FloatStore(rows: 1, columns: count, copying: numbers), name: "w", cpu: comparison.cpu)
        let layout = wanted.layout
        let weights = try DeviceWeights(device: comparison.device, bytes: layout.bytes + 1024)
        // Addresses do not keep it.
        defer { withExtendedLifetime(weights) {} }
        let (codes, codesOfMaxima, nested) = (
            try weights.take(layout.codeBytes), try weights.take(layout.blocks), try weights.take(layout.nestedBlocks * 4)
        )
        return try comparison.withMemory(count * comparison.element.bytes + 256) { x in
            try comparison.withMemory(layout.blocks * 4 + 8) { maxima in
                try comparison.upload(comparison.element.encode(numbers), to: x)
                try NF4Store.launchQuantise(x, comparison.element, count: count, codes: codes, maxima: maxima, on: comparison.device)
                let found = DeviceElement.f32.decode(try comparison.download(maxima, layout.blocks * 4))
                // Of numbers that a broken kernel made, too.
                let mean = (try? NF4Store.offset(of: found, name: "w")) ?? .nan
                let offset = maxima + layout.blocks * 4
                try [mean].withUnsafeBytes { try comparison.device.upload($0, to: offset) }
                try NF4Store.launchQuantiseMaxima(
                    maxima, comparison.element, count: layout.blocks, offset: offset, nestedValues: weights.nestedValues, codes: codesOfMaxima,
                    nestedMaxima: nested, on: comparison.device)
                return [
                    Deviation(
                        name: "codes that differ", measured: KernelComparison.unequal(try comparison.download(codes, layout.codeBytes), wanted.codes),
                        tolerance: 0),
                    Deviation(name: "offset", measured: mean == wanted.offset ? 0 : 1, tolerance: 0),
                    Deviation(
                        name: "codes of maxima that differ",
                        measured: KernelComparison.unequal(try comparison.download(codesOfMaxima, layout.blocks), wanted.maxima), tolerance: 0),
                    Deviation(
                        name: "nested maxima that differ",
                        measured: KernelComparison.unequal(
                            try comparison.download(nested, layout.nestedBlocks * 4), DeviceElement.f32.encode(wanted.nestedMaxima)), tolerance: 0),
                ]
            }
        }
    }

    /// To every type, and float32 to the activations' type and back as adapters and tests have it.
    private static func converted(_ count: Int, _ comparison: KernelComparison) throws -> [Deviation] {
        var numbers = sample(count, comparison.element)
        var results: [Deviation] = []
        for tooLarge in [false, true] {
            if tooLarge { numbers[count - 1] = 70_000 }
            // Where the type itself ends at 65,504 this is infinite already.
            numbers = comparison.element.decode(comparison.element.encode(numbers))
            for wanted in DeviceElement.allCases {
                try comparison.withMemory(count * 4 + 256) { x in
                    try comparison.withMemory(count * 4 + 256) { y in
                        try comparison.upload(comparison.element.encode(numbers), to: x)
                        let mark = y + count * 4
                        try comparison.device.zero(mark, bytes: 4)
                        try DeviceLoader.convert(x, comparison.element, count: count, to: y, wanted, overflow: mark, on: comparison.device)
                        let got = try comparison.download(y, count * wanted.bytes)
                        let marked = try comparison.download(mark, 4) != [0, 0, 0, 0]
                        results += [
                            Deviation(
                                name: "to \(wanted.suffix), bytes that differ", measured: KernelComparison.unequal(got, wanted.encode(numbers)), tolerance: 0),
                            Deviation(
                                name: "to \(wanted.suffix), \(tooLarge ? "" : "no ")overflow seen", measured: marked == (tooLarge && wanted == .f16) ? 0 : 1,
                                tolerance: 0),
                        ]
                    }
                }
            }
        }
        return results + (try narrowed(count, comparison))
    }

    private static func narrowed(_ count: Int, _ comparison: KernelComparison) throws -> [Deviation] {
        let numbers = sample(count, .f32)
        let narrow = comparison.element.encode(numbers)
        return try comparison.withMemory(count * 4) { wide in
            try comparison.withMemory(count * 4) { out in
                func launch(_ kernel: String, _ from: DeviceAddress, _ to: DeviceAddress) throws {
                    var arguments = KernelArguments()
                    for address in [from, to] { arguments.add(address) }
                    arguments.add(count)
                    let blocks = max(1, (count + 2047) / 2048)
                    try comparison.device.launch(
                        KernelLaunch("embedding", kernel, comparison.element, grid: (blocks, 1, 1), threads: 256, arguments: arguments))
                }
                try comparison.upload(DeviceElement.f32.encode(numbers), to: wide)
                try launch("to_element", wide, out)
                let got = try comparison.download(out, narrow.count)
                try comparison.upload([UInt8](repeating: 0xff, count: count * 4), to: wide)
                try launch("from_element", out, wide)
                let back = try comparison.download(wide, count * 4)
                let same = DeviceElement.f32.encode(comparison.element.decode(narrow))
                return [
                    Deviation(name: "to_element, bytes that differ", measured: KernelComparison.unequal(got, narrow), tolerance: 0),
                    Deviation(name: "from_element, bytes that differ", measured: KernelComparison.unequal(back, same), tolerance: 0),
                ]
            }
        }
    }
}
