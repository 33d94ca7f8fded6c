/// An address in a device's memory.
package struct DeviceAddress: Hashable, Sendable {
    package let raw: UInt64
    package init(raw: UInt64) { self.raw = raw }
    package static func + (address: DeviceAddress, bytes: Int) -> DeviceAddress { DeviceAddress(raw: address.raw &+ UInt64(bitPattern: Int64(bytes))) }
}

/// The element type that kernels are built for (TYPE in the sources).
package enum DeviceElement: Int32, Sendable, CaseIterable {
    case f32 = 0, f16, bf16

    package var bytes: Int { self == .f32 ? 4 : 2 }
    /// The suffix of its kernels' entry points.
    package var suffix: String { ["f32", "f16", "bf16"][Int(rawValue)] }
}

/// A kernel's arguments: its one struct parameter, laid out as in C.
package struct KernelArguments: Sendable {
    package private(set) var bytes: [UInt8] = []

    package init() {}

    /// A pointer field; nil is a null pointer.
    package mutating func add(_ address: DeviceAddress?) { append(address?.raw ?? 0) }
    package mutating func add(_ value: Int) { append(Int64(value)) }
    package mutating func add(_ value: Int32) { append(value) }
    package mutating func add(_ value: UInt32) { append(value) }
    package mutating func add(_ value: Float) { append(value) }

    private mutating func append<Field>(_ field: Field) {
        let size = MemoryLayout<Field>.size
        bytes += Array(repeating: 0, count: (size - bytes.count % size) % size)
        withUnsafeBytes(of: field) { bytes += $0 }
    }
}

/// A unit of compilation: a source file for one element type, with its defines.
package struct KernelModule: Hashable, Sendable, CustomStringConvertible {
    package let source: String
    package let element: DeviceElement
    package let defines: [String]

    package init(_ source: String, _ element: DeviceElement, defines: [String] = []) {
        (self.source, self.element, self.defines) = (source, element, defines)
    }

    /// `attention/bf16/HEAD=64`.
    package var description: String { ([source, element.suffix] + defines).joined(separator: "/") }
}

/// One launch of a kernel.
package struct KernelLaunch: Sendable {
    /// The source that holds it, e.g. `rmsnorm` for `rmsnorm.cu`.
    package var source: String
    /// The entry point without its type, e.g. `rmsnorm_forward`.
    package var kernel: String
    package var element: DeviceElement
    package var grid: (x: Int, y: Int, z: Int)
    package var threads: Int
    /// Dynamic shared memory.
    package var sharedBytes = 0
    package var arguments: KernelArguments
    /// What the source is compiled with beside the type, e.g. `HEAD=64`: one module for each set.
    package var defines: [String] = []

    package var module: KernelModule { KernelModule(source, element, defines: defines) }

    package init(
        _ source: String, _ kernel: String, _ element: DeviceElement, grid: (x: Int, y: Int, z: Int), threads: Int, sharedBytes: Int = 0,
        arguments: KernelArguments, defines: [String] = []
    ) {
        self.defines = defines
        self.source = source
        self.kernel = kernel
        self.element = element
        self.grid = grid
        self.threads = threads
        self.sharedBytes = sharedBytes
        self.arguments = arguments
    }
}

/// C [m, n] = alpha * op(A) op(B) + beta * C, row-major; op(A) is [m, k], op(B) is [k, n]. Sums are float32.
package struct MatrixProduct: Hashable, Sendable {
    package var m, n, k: Int
    package var transposeA = false
    package var transposeB = false
    /// Type of A and B.
    package var inputs: DeviceElement
    /// Type of C.
    package var output: DeviceElement
    package var lda, ldb, ldc: Int
    package var alpha: Float = 1
    package var beta: Float = 0

    package init(
        m: Int, n: Int, k: Int, transposeA: Bool = false, transposeB: Bool = false, inputs: DeviceElement, output: DeviceElement, lda: Int,
        ldb: Int, ldc: Int, alpha: Float = 1, beta: Float = 0
    ) {
        (self.m, self.n, self.k) = (m, n, k)
        (self.transposeA, self.transposeB) = (transposeA, transposeB)
        (self.inputs, self.output) = (inputs, output)
        (self.lda, self.ldb, self.ldc) = (lda, ldb, ldc)
        (self.alpha, self.beta) = (alpha, beta)
    }
}

extension MatrixProduct: CustomStringConvertible {
    /// `512 x 1024 x 64, f16 to f32`.
    package var description: String { "\(m) x \(n) x \(k), \(inputs.suffix) to \(output.suffix)" }
}

/// A device's properties.
package struct AcceleratorProperties: Sendable {
    package var name: String
    /// Compute capability times ten that kernels are compiled for: 75, 80, 90.
    package var architecture: Int
    /// The card's own compute capability times ten; more than `architecture` where older code runs on it.
    package var capability: Int
    package var multiprocessors: Int
    package var totalBytes: Int
    package var driver: String
    /// Kernels have compute capability 9.0's own products (tiles.cuh).
    package var multipliesByWarpgroup = false
    /// Bytes that the driver takes beside all allocations once a run is under way (kernels' local memory, graphs, cuBLASLt's
    /// kernels); a measured value.
    package var bytesToRun = 0
    /// `bytesToRun` of a card under CUDA. On an H100 8 to 40 MiB in the first steps, most where kernels of heads of 128 spill; then up to 25 MiB more over
    /// thousands of steps, since cuBLASLt loads a kernel for each size of product that it meets for the first time.
    package static let bytesToRunCUDA = 72 << 20
    /// Compiled kernels came with the program, or some are in the cache: a run compiles few or none.
    package var hasCompiledKernels = true

    package init(name: String, architecture: Int, multiprocessors: Int, totalBytes: Int, driver: String) {
        self.name = name
        self.architecture = architecture
        capability = architecture
        self.multiprocessors = multiprocessors
        self.totalBytes = totalBytes
        self.driver = driver
    }
}

/// Work recorded once, to be run again with one call. It holds its device.
package protocol RecordedWork: AnyObject {
    func run() throws
}

/// A device with its own memory that runs kernels and matrix products in order.
///
/// Calls are asynchronous; `download` and `synchronize` wait. Everything throws exit 4 when the device fails.
///
/// Threads: any call, the release of the last reference too, may come from any thread, but one at a time for each device: a device has no
/// lock, and its work runs in the order of its calls. Different devices may be called from different threads at the same time, and in
/// turns from one: each call makes its own device the thread's current one first and relies on nothing that was current before. What
/// `upload` and `record` are given runs on the calling thread, inside the call; it may call other devices (and in `record` this one).
///
/// Ownership: a device gives back everything that it took when its last reference goes: its stream, events, pinned memory, workspace,
/// modules, library handles and its share of the card's context. It waits for its work before that. Memory of `allocate` belongs to the
/// caller, who holds it in a `DeviceAllocation`, and so holds the device.
package protocol Accelerator: AnyObject {
    var properties: AcceleratorProperties { get }

    func allocate(bytes: Int) throws -> DeviceAddress
    /// Waits for the work that was asked for before.
    func free(_ address: DeviceAddress)
    /// Sends `count` bytes that `fill` writes: it is called for one part after the other with the part's place among the bytes and the
    /// memory to write, pinned where the device can. While one part travels, the next is filled.
    func upload(count: Int, to: DeviceAddress, fill: (_ first: Int, _ part: UnsafeMutableRawBufferPointer) throws -> Void) throws
    /// Waits for everything before it.
    func download(_ from: DeviceAddress, into: UnsafeMutableRawBufferPointer) throws
    /// Copies `count` bytes to the host, behind the work that was asked for before and without waiting for it.
    func fetch(_ from: DeviceAddress, count: Int) throws -> any FetchedBytes
    func copy(_ from: DeviceAddress, to: DeviceAddress, bytes: Int) throws
    /// Memory of the host that cannot be paged out; the device reads and writes it at the address that this returns. Exit 4 where the
    /// machine has none.
    func allocateOnHost(bytes: Int) throws -> DeviceAddress
    /// As `free`, for memory of `allocateOnHost`.
    func freeOnHost(_ address: DeviceAddress)
    /// Begins a copy between the device's memory and the host's behind the work that was asked for so far, and beside the work that is asked
    /// for from here on. Copies are done in the order in which they were begun.
    ///
    /// - Parameter number: by which `awaitCopy` names it; a number is used again only after that call.
    func beginCopy(_ from: DeviceAddress, to: DeviceAddress, bytes: Int, number: Int) throws
    /// What is asked for from here on begins after the copy has ended. The host does not wait.
    func awaitCopy(number: Int) throws
    func zero(_ address: DeviceAddress, bytes: Int) throws
    /// Compiles modules in parallel before they are needed; a module that was not prepared is compiled at its first launch.
    func prepare(_ modules: [KernelModule])
    func launch(_ launch: KernelLaunch) throws
    func multiply(_ product: MatrixProduct, a: DeviceAddress, b: DeviceAddress, c: DeviceAddress) throws
    /// The algorithm chosen for each matrix product; nil for a device that has one algorithm only.
    var gemmChoices: GEMMChoices? { get }
    func synchronize() throws
    /// Records the launches and products of `body` without running them; nil where the device cannot record.
    func record(_ body: () throws -> Void) throws -> (any RecordedWork)?
    /// Seconds between the starts of consecutive marks since the last call.
    func mark() throws
    func marks() throws -> [Double]
    /// Bytes of the device in use by anyone, from the driver.
    func usedBytes() throws -> Int
}

/// Bytes that `fetch` asked for, as they were when the work before it had ended.
package protocol FetchedBytes {
    /// Waits for them.
    ///
    /// - Parameter body: gets the bytes, which are there only while it runs. It is called once in the life of what was fetched.
    func read<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) throws -> Result
}

extension FetchedBytes {
    /// Waits for them and copies as many as fit.
    package func read(into memory: UnsafeMutableRawBufferPointer) throws {
        try read { memory.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0.prefix(memory.count))) }
    }
}

/// Bytes that are on the host already.
struct HostBytes: FetchedBytes {
    let bytes: [UInt8]
    func read<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) throws -> Result { try bytes.withUnsafeBytes(body) }
}

extension Accelerator {
    /// A device that has done its work when a call returns.
    package func fetch(_ from: DeviceAddress, count: Int) throws -> any FetchedBytes {
        var bytes = [UInt8](repeating: 0, count: count)
        try bytes.withUnsafeMutableBytes { try download(from, into: $0) }
        return HostBytes(bytes: bytes)
    }

    /// A device whose memory is the host's.
    package func allocateOnHost(bytes: Int) throws -> DeviceAddress { try allocate(bytes: bytes) }
    package func freeOnHost(_ address: DeviceAddress) { free(address) }
    package func beginCopy(_ from: DeviceAddress, to: DeviceAddress, bytes: Int, number: Int) throws { try copy(from, to: to, bytes: bytes) }
    package func awaitCopy(number: Int) throws {}

    /// A device that compiles nothing.
    package func prepare(_ modules: [KernelModule]) {}
    package var gemmChoices: GEMMChoices? { nil }

    /// `bytes` may be changed or freed after the call.
    package func upload(_ bytes: UnsafeRawBufferPointer, to address: DeviceAddress) throws {
        try upload(count: bytes.count, to: address) { first, part in
            part.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[first..<first + part.count]))
        }
    }
}
