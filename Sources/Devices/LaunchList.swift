/// A device that lists the kernels that it is asked to launch: those that have to be compiled before a program runs, or those that have run.
package final class LaunchList: Accelerator {
    package let properties: AcceleratorProperties
    /// What does the work; nil where nothing is done.
    private let device: (any Accelerator)?
    /// In the order of their first launch.
    package private(set) var modules: [KernelModule] = []
    /// Names without the type's suffix.
    package private(set) var kernels: Set<String> = []
    private var known: Set<KernelModule> = []

    /// A list of what would be launched: nothing runs, and what is read back are zeros or nothing.
    ///
    /// - Parameter properties: of the device that the program will run on; they decide which kernels are launched.
    package init(_ properties: AcceleratorProperties) { (self.properties, device) = (properties, nil) }

    /// A list of what `device` launches while work is asked for through the list.
    package init(running device: any Accelerator) { (properties, self.device) = (device.properties, device) }

    package func launch(_ launch: KernelLaunch) throws {
        kernels.insert(launch.kernel)
        if known.insert(launch.module).inserted { modules.append(launch.module) }
        try device?.launch(launch)
    }

    package func allocate(bytes: Int) throws -> DeviceAddress { try device?.allocate(bytes: bytes) ?? DeviceAddress(raw: 256) }
    package func free(_ address: DeviceAddress) { device?.free(address) }
    package func upload(count: Int, to: DeviceAddress, fill: (Int, UnsafeMutableRawBufferPointer) throws -> Void) throws {
        try device?.upload(count: count, to: to, fill: fill)
    }
    package func download(_ from: DeviceAddress, into: UnsafeMutableRawBufferPointer) throws { try device?.download(from, into: into) }
    package func fetch(_ from: DeviceAddress, count: Int) throws -> any FetchedBytes {
        try device?.fetch(from, count: count) ?? HostBytes(bytes: [UInt8](repeating: 0, count: count))
    }
    package func copy(_ from: DeviceAddress, to: DeviceAddress, bytes: Int) throws { try device?.copy(from, to: to, bytes: bytes) }
    package func allocateOnHost(bytes: Int) throws -> DeviceAddress { try device?.allocateOnHost(bytes: bytes) ?? DeviceAddress(raw: 256) }
    package func freeOnHost(_ address: DeviceAddress) { device?.freeOnHost(address) }
    package func beginCopy(_ from: DeviceAddress, to: DeviceAddress, bytes: Int, number: Int) throws {
        try device?.beginCopy(from, to: to, bytes: bytes, number: number)
    }
    package func awaitCopy(number: Int) throws { try device?.awaitCopy(number: number) }
    package func zero(_ address: DeviceAddress, bytes: Int) throws { try device?.zero(address, bytes: bytes) }
    package func prepare(_ modules: [KernelModule]) { device?.prepare(modules) }
    package func multiply(_ product: MatrixProduct, a: DeviceAddress, b: DeviceAddress, c: DeviceAddress) throws {
        try device?.multiply(product, a: a, b: b, c: c)
    }
    package var gemmChoices: GEMMChoices? { device?.gemmChoices }
    package func synchronize() throws { try device?.synchronize() }
    package func record(_ body: () throws -> Void) throws -> (any RecordedWork)? { try device?.record(body) }
    package func mark() throws { try device?.mark() }
    package func marks() throws -> [Double] { try device?.marks() ?? [] }
    package func usedBytes() throws -> Int { try device?.usedBytes() ?? 0 }
}
