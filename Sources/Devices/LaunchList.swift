/// A device that runs nothing and lists the kernels that it is asked to launch: those that have to be compiled before a program runs.
package final class LaunchList: Accelerator {
    package let properties: AcceleratorProperties
    /// In the order of their first launch.
    package private(set) var modules: [KernelModule] = []
    /// Names without the type's suffix.
    package private(set) var kernels: Set<String> = []
    private var known: Set<KernelModule> = []

    /// - Parameter properties: of the device that the program will run on; they decide which kernels are launched.
    package init(_ properties: AcceleratorProperties) { self.properties = properties }

    package func launch(_ launch: KernelLaunch) {
        kernels.insert(launch.kernel)
        if known.insert(launch.module).inserted { modules.append(launch.module) }
    }

    package func allocate(bytes: Int) -> DeviceAddress { DeviceAddress(raw: 256) }
    package func free(_ address: DeviceAddress) {}
    package func upload(count: Int, to: DeviceAddress, fill: (Int, UnsafeMutableRawBufferPointer) throws -> Void) {}
    package func download(_ from: DeviceAddress, into: UnsafeMutableRawBufferPointer) {}
    package func copy(_ from: DeviceAddress, to: DeviceAddress, bytes: Int) {}
    package func zero(_ address: DeviceAddress, bytes: Int) {}
    package func multiply(_ product: MatrixProduct, a: DeviceAddress, b: DeviceAddress, c: DeviceAddress) {}
    package func synchronize() {}
    package func record(_ body: () throws -> Void) -> (any RecordedWork)? { nil }
    package func mark() {}
    package func marks() -> [Double] { [] }
    package func usedBytes() -> Int { 0 }
}
