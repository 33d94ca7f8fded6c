import Glibc
import KernelEmulator
import LorikeetDevices
import LorikeetGround

/// A card made of host memory: kernels run from their own sources on the CPU, gemmChoices in float32. Slow, and right on small sizes.
package final class EmulatedDevice: Accelerator {
    package let properties: AcceleratorProperties
    private let cpu = CPU(threads: 1)
    /// Kernels launched so far, by name: a test can see that the one it means ran.
    package private(set) var launched: [String: Int] = [:]
    /// Of what was launched, the modules that nobody had asked to prepare.
    package private(set) var unprepared: Set<KernelModule> = []
    private var prepared: Set<KernelModule> = []
    package private(set) var allocatedBytes = 0
    private var sizes: [DeviceAddress: Int] = [:]
    /// Bytes of `allocateOnHost`.
    package private(set) var hostBytes = 0
    /// When a copy of `beginCopy` happens: at once, or only when it is awaited. A real card may do either.
    package var copiesAtOnce = false
    private var copies: [Int: (from: DeviceAddress, to: DeviceAddress, bytes: Int)] = [:]
    /// Copies that were begun.
    package private(set) var begunCopies = 0

    package init(architecture: Int = 80) {
        properties = AcceleratorProperties(name: "emulated", architecture: architecture, multiprocessors: 1, totalBytes: 1 << 34, driver: "none")
    }

    private func pointer(_ address: DeviceAddress) throws -> UnsafeMutableRawPointer {
        guard let pointer = UnsafeMutableRawPointer(bitPattern: UInt(address.raw)) else { throw LorikeetError.machine("a null address") }
        return pointer
    }

    package func allocate(bytes: Int) throws -> DeviceAddress {
        var memory: UnsafeMutableRawPointer?
        guard posix_memalign(&memory, 256, max(256, bytes)) == 0, let memory else { throw LorikeetError.machine("no memory") }
        // Rubbish (NaN in every type): what nothing wrote must not look like zero.
        memset(memory, 0xff, max(256, bytes))
        let address = DeviceAddress(raw: UInt64(UInt(bitPattern: memory)))
        sizes[address] = bytes
        allocatedBytes += bytes
        return address
    }

    package func free(_ address: DeviceAddress) {
        allocatedBytes -= sizes.removeValue(forKey: address) ?? 0
        Glibc.free(UnsafeMutableRawPointer(bitPattern: UInt(address.raw)))
    }

    package func allocateOnHost(bytes: Int) throws -> DeviceAddress {
        let address = try allocate(bytes: bytes)
        allocatedBytes -= bytes
        hostBytes += bytes
        return address
    }

    package func freeOnHost(_ address: DeviceAddress) {
        let bytes = sizes[address] ?? 0
        hostBytes -= bytes
        allocatedBytes += bytes
        free(address)
    }

    package func beginCopy(_ from: DeviceAddress, to: DeviceAddress, bytes: Int, number: Int) throws {
        guard copies[number] == nil else { throw LorikeetError.machine("copy \(number) was begun before it was awaited") }
        begunCopies += 1
        if copiesAtOnce { try copy(from, to: to, bytes: bytes) }
        copies[number] = (from, to, bytes)
    }

    package func awaitCopy(number: Int) throws {
        guard let asked = copies.removeValue(forKey: number) else { throw LorikeetError.machine("copy \(number) is awaited and was not begun") }
        if !copiesAtOnce { try copy(asked.from, to: asked.to, bytes: asked.bytes) }
    }

    /// Parts of an odd number of bytes, so that what depends on their size is seen.
    package func upload(count: Int, to: DeviceAddress, fill: (Int, UnsafeMutableRawBufferPointer) throws -> Void) throws {
        let part = 99_991
        for first in stride(from: 0, to: count, by: part) {
            try fill(first, UnsafeMutableRawBufferPointer(start: try pointer(to) + first, count: min(part, count - first)))
        }
    }

    package func download(_ from: DeviceAddress, into: UnsafeMutableRawBufferPointer) throws {
        into.copyMemory(from: UnsafeRawBufferPointer(start: try pointer(from), count: into.count))
    }

    package func copy(_ from: DeviceAddress, to: DeviceAddress, bytes: Int) throws { try pointer(to).copyMemory(from: pointer(from), byteCount: bytes) }
    package func zero(_ address: DeviceAddress, bytes: Int) throws { memset(try pointer(address), 0, bytes) }

    package func prepare(_ modules: [KernelModule]) { prepared.formUnion(modules) }

    package func launch(_ launch: KernelLaunch) throws {
        if !prepared.contains(launch.module) { unprepared.insert(launch.module) }
        launched[launch.kernel + "_" + launch.element.suffix, default: 0] += 1
        let grid = [UInt32(launch.grid.x), UInt32(launch.grid.y), UInt32(launch.grid.z)]
        let status = launch.arguments.bytes.withUnsafeBytes {
            // Structs are padded to their alignment: the copy has room to spare.
            var padded = [UInt8]($0)
            padded += Array(repeating: 0, count: 16)
            return emulator_run(
                launch.kernel, launch.element.rawValue, grid, UInt32(launch.threads), launch.sharedBytes, padded, launch.arguments.bytes.count)
        }
        guard status == 0 else {
            let what =
                switch status {
                case 1: "no kernel \(launch.kernel) of \(launch.element)"
                case 2: "\(launch.kernel) takes other arguments than \(launch.arguments.bytes.count) bytes"
                default: "\(launch.kernel) wrote to shared memory and asked for none"
                }
            throw LorikeetError.machine(what)
        }
    }

    /// Products have one implementation here; where a run measures, a made-up algorithm is recorded for each.
    package let gemmChoices: GEMMChoices? = GEMMChoices()

    package func multiply(_ p: MatrixProduct, a: DeviceAddress, b: DeviceAddress, c: DeviceAddress) throws {
        if let gemmChoices, gemmChoices.measures, gemmChoices.algorithms["\(p)"] == nil { gemmChoices.keep(p.m % 3, for: "\(p)") }
        let (rowsA, columnsA) = p.transposeA ? (p.k, p.m) : (p.m, p.k)
        let (rowsB, columnsB) = p.transposeB ? (p.n, p.k) : (p.k, p.n)
        let left = floats(try pointer(a), rowsA, columnsA, p.lda, p.inputs)
        let right = floats(try pointer(b), rowsB, columnsB, p.ldb, p.inputs)
        // beta 0 ignores what is there, NaN too.
        var out = p.beta == 0 ? [Float](repeating: 0, count: p.m * p.n) : floats(try pointer(c), p.m, p.n, p.ldc, p.output)
        CPU.serialGemm(
            transposeA: p.transposeA, transposeB: p.transposeB, m: p.m, n: p.n, k: p.k, alpha: p.alpha, a: left, lda: columnsA, b: right,
            ldb: columnsB, beta: p.beta, c: &out, ldc: p.n)
        let to = try pointer(c)
        for row in 0..<p.m {
            for column in 0..<p.n { store(out[row * p.n + column], to, row * p.ldc + column, p.output) }
        }
    }

    private func floats(_ from: UnsafeMutableRawPointer, _ rows: Int, _ columns: Int, _ ld: Int, _ type: DeviceElement) -> [Float] {
        var values = [Float](repeating: 0, count: rows * columns)
        for row in 0..<rows {
            for column in 0..<columns {
                let index = row * ld + column
                values[row * columns + column] =
                    switch type {
                    case .f32: from.load(fromByteOffset: 4 * index, as: Float.self)
                    case .f16: Float(from.load(fromByteOffset: 2 * index, as: Float16.self))
                    case .bf16: Float(bitPattern: UInt32(from.load(fromByteOffset: 2 * index, as: UInt16.self)) << 16)
                    }
            }
        }
        return values
    }

    private func store(_ value: Float, _ to: UnsafeMutableRawPointer, _ index: Int, _ type: DeviceElement) {
        switch type {
        case .f32: to.storeBytes(of: value, toByteOffset: 4 * index, as: Float.self)
        case .f16: to.storeBytes(of: Float16(value), toByteOffset: 2 * index, as: Float16.self)
        case .bf16:
            let bits = value.bitPattern
            let rounded = value.isNaN ? (bits >> 16) | 64 : (bits &+ 0x7fff &+ ((bits >> 16) & 1)) >> 16
            to.storeBytes(of: UInt16(truncatingIfNeeded: rounded), toByteOffset: 2 * index, as: UInt16.self)
        }
    }

    package func synchronize() {}
    package func record(_ body: () throws -> Void) -> (any RecordedWork)? { nil }
    package func mark() {}
    package func marks() -> [Double] { [] }
    package func usedBytes() -> Int { allocatedBytes }
}
