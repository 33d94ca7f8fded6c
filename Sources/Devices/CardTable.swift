/// What is known of a card without having it: the properties that a plan needs, and the rates by which its time is predicted.
///
/// Sources: the vendor's data sheets (multiprocessors, memory, bandwidth, dense tensor-core rates, PCIe), lowered to what products and copies reach; of the
/// H100 measured (docs/benchmarks.md), of the H200 the rates of memory (its others are the H100's), of the T4 its memory as Kaggle shows it and its float16 rate under its 70 W.
package struct CardEntry: Sendable {
    /// As `--as` names it.
    package let name: String
    /// As the driver names it.
    package let title: String
    /// Compute capability times ten.
    package let capability: Int
    package let multiprocessors: Int
    package let totalBytes: Int
    /// FLOP/s in large matrix products of 16-bit elements, and of float32 without TF32.
    package let halfFlops: Double
    package let singleFlops: Double
    /// Bytes a second to and from the card's memory, in the mixture of kernels of a training step.
    package let bytesPerSecond: Double
    /// The same where a kernel reads long runs, as whole matrices.
    package let readBytesPerSecond: Double
    /// Bytes a second between the card's memory and the host's.
    package let hostBytesPerSecond: Double
    /// Bytes that the card holds once it is opened: the driver's, this process's context, the workspace of products.
    package let contextBytes: Int
    package let isMeasured: Bool

    /// In the order in which they are listed to people.
    package static let all = [
        CardEntry(
            name: "t4", title: "Tesla T4", capability: 75, multiprocessors: 40, totalBytes: gibibytes(14.56), halfFlops: 24e12, singleFlops: 4e12,
            bytesPerSecond: 0.25e12, readBytesPerSecond: 0.29e12, hostBytesPerSecond: 6e9, contextBytes: 300 << 20, isMeasured: false),
        CardEntry(
            name: "l4", title: "NVIDIA L4", capability: 89, multiprocessors: 58, totalBytes: gibibytes(22.03), halfFlops: 60e12, singleFlops: 12e12,
            bytesPerSecond: 0.25e12, readBytesPerSecond: 0.27e12, hostBytesPerSecond: 12e9, contextBytes: 400 << 20, isMeasured: false),
        CardEntry(
            name: "a100", title: "NVIDIA A100-SXM4-80GB", capability: 80, multiprocessors: 108, totalBytes: gibibytes(79.25), halfFlops: 237e12,
            singleFlops: 15e12, bytesPerSecond: 1.6e12, readBytesPerSecond: 1.8e12, hostBytesPerSecond: 12e9, contextBytes: 500 << 20, isMeasured: false),
        CardEntry(
            name: "h100", title: "NVIDIA H100 80GB HBM3", capability: 90, multiprocessors: 132, totalBytes: gibibytes(79.11), halfFlops: 739.2e12,
            singleFlops: 46.2e12, bytesPerSecond: 2.7e12, readBytesPerSecond: 3e12, hostBytesPerSecond: 20e9, contextBytes: 588_054_528, isMeasured: true),
        CardEntry(
            name: "h200", title: "NVIDIA H200", capability: 90, multiprocessors: 132, totalBytes: gibibytes(139.8), halfFlops: 739.2e12,
            singleFlops: 46.2e12, bytesPerSecond: 2.8e12, readBytesPerSecond: 4.2e12, hostBytesPerSecond: 20e9, contextBytes: 588_054_528, isMeasured: true),
        CardEntry(
            name: "rtx4090", title: "NVIDIA GeForce RTX 4090", capability: 89, multiprocessors: 128, totalBytes: gibibytes(23.53), halfFlops: 150e12,
            singleFlops: 50e12, bytesPerSecond: 0.85e12, readBytesPerSecond: 0.92e12, hostBytesPerSecond: 12e9, contextBytes: 500 << 20, isMeasured: false),
    ]

    private static func gibibytes(_ count: Double) -> Int { Int(count * Double(1 << 30)) }

    /// The entry of an opened card: of those of its capability with as many multiprocessors, that whose memory is nearest to its own. nil for others.
    package static func of(_ card: AcceleratorProperties) -> CardEntry? {
        all.filter { $0.capability == card.capability && $0.multiprocessors == card.multiprocessors }
            .min { abs($0.totalBytes - card.totalBytes) < abs($1.totalBytes - card.totalBytes) }
    }

    /// What the card would say of itself.
    ///
    /// - Parameter architecture: compute capability times ten that kernels are compiled for; nil is the card's own.
    package func properties(architecture: Int? = nil) -> AcceleratorProperties {
        var properties = AcceleratorProperties(
            name: title, architecture: architecture ?? capability, multiprocessors: multiprocessors, totalBytes: totalBytes, driver: "not opened")
        properties.capability = capability
        properties.multipliesByWarpgroup = properties.architecture == capability && capability == 90
        properties.bytesToRun = AcceleratorProperties.bytesToRunCUDA
        return properties
    }
}
