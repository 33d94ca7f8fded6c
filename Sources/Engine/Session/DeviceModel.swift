import LorikeetDevices

/// The rates that a device reaches in each kind of work. It predicts the seconds of a program's work.
package struct DeviceModel: Sendable {
    /// Floating-point operations a second in large matrix products of the activations' type (FLOP/s).
    package private(set) var productFlops: Double
    /// FLOP/s in attention's matrix products.
    package private(set) var attentionFlops: Double
    /// Bytes a second to and from the device's memory.
    package private(set) var bytesPerSecond: Double
    /// The same where a kernel reads long runs: the matrices of a product of few rows.
    private var readBytesPerSecond: Double
    /// Seconds that each kernel launch adds to its work: while a kernel starts and ends, part of the device is idle.
    package let launchSeconds: Double
    /// Seconds that a kernel without work takes beside `launchSeconds`; a kernel with much work hides them (see `seconds(_:)`).
    private var idleSeconds: Double
    /// Work of one kernel, in seconds, that hides half of `idleSeconds`.
    private let hidingSeconds: Double
    /// Bytes a second between the device's memory and the host's.
    private let hostBytesPerSecond: Double
    /// Bytes a second of keys and values that new tokens' heads read from a cache, beside the memory's time; nil counts that alone.
    private var cachedBytesPerSecond: Double?
    /// FLOP/s of products straight from codes, beside the time of reading those; nil counts them as other products.
    private var codesFlops: Double?
    /// How a card's library cuts products into tiles; nil on a processor.
    private var tiling: Tiling?

    /// The share of the rate of large products that attention's reach on a processor, softmax and masks included: their inner sizes are a head's. In steps of
    /// SmolLM2 with heads of 64, 0.5 to 0.6 in segments of 206 to 1,024 tokens; 0.2 in segments of 44, where it is 4 % of a step.
    private static let attentionShare = 0.6

    /// A processor with these rates; launches cost nothing there.
    ///
    /// - Parameter processorFlops: of a step's large products.
    package init(processorFlops: Double, bytesPerSecond: Double) {
        productFlops = processorFlops
        attentionFlops = Self.attentionShare * processorFlops
        self.bytesPerSecond = bytesPerSecond
        readBytesPerSecond = bytesPerSecond
        hostBytesPerSecond = bytesPerSecond
        (launchSeconds, idleSeconds, hidingSeconds) = (0, 0, 1)
        tiling = nil
    }

    /// A card of a compute capability (times ten): rates measured on an H100, and for others in proportion to their data sheets (dense
    /// tensor-core rate and memory bandwidth).
    fileprivate init(_ card: AcceleratorProperties, _ element: DeviceElement, capability: Int, idle: (seconds: Double, hidden: Double)) {
        // FLOP/s of one multiprocessor in 16-bit types, and bytes a second of the card, by compute capability.
        let (flops, bytes): (Double, Double) =
            switch capability {
            case ..<80: (0.65e12, 0.25e12)
            case 80: (2.2e12, 1.5e12)
            case ..<89: (1.1e12, 0.6e12)
            case 89: (1.3e12, 0.7e12)
            case ..<100: (5.6e12, 2.6e12)
            default: (6e12, 3e12)
            }
        let multiprocessors = max(1, card.multiprocessors)
        productFlops = flops * Double(multiprocessors) / (element == .f32 ? 16 : 1)
        // Code for an older card uses that card's instructions, but the library's products do not.
        attentionFlops = productFlops / (card.architecture < capability ? 6 : 3)
        (bytesPerSecond, readBytesPerSecond) = (bytes, bytes)
        // Three quarters of what 16 lanes of PCIe 3, 4 and 5 can carry.
        hostBytesPerSecond = capability < 80 ? 12e9 : capability < 90 ? 24e9 : 48e9
        // Fitted to steps of few tokens with adapters on q and v: the time beside their other work, divided by their launches.
        launchSeconds = 1.6e-6
        (idleSeconds, hidingSeconds) = (idle.seconds, idle.hidden)
        tiling = Tiling(
            multiprocessors: multiprocessors,
            tiles: capability >= 90 ? [.init(128, 256, 1), .init(128, 128, 0.9)] : [.init(128, 128, 1), .init(128, 64, 0.9)])
    }

    /// The rates by which a run's time on a card is predicted: the card's own, whatever code it runs, and the time of kernels that have little to do.
    /// That was fitted on an H100 to training steps of 256 to 4,096 tokens of SmolLM2, which have 700 launches, and to steps of larger models; in code for
    /// a T4 on that card it is larger. The rates of cards in the table are theirs.
    package static func predicting(_ card: AcceleratorProperties, _ element: DeviceElement) -> DeviceModel {
        let idle = (seconds: 3.8e-6, hidden: card.architecture < card.capability ? 20e-6 : 5.5e-6)
        var model = DeviceModel(card, element, capability: card.capability, idle: idle)
        guard let entry = CardEntry.of(card) else { return model }
        let flops = element == .f32 ? entry.singleFlops : entry.halfFlops
        model.attentionFlops *= flops / model.productFlops
        (model.productFlops, model.bytesPerSecond, model.readBytesPerSecond) = (flops, entry.bytesPerSecond, entry.readBytesPerSecond)
        // Attention by warpgroups: fitted to segments of 8,192 and 32,768 with heads of 64. The table by which choices are made does not know it.
        if entry.capability == 90, card.architecture == 90, element != .f32 { model.attentionFlops = flops / 1.9 }
        // The library's tiles on that card are of many sizes, and it takes those that leave the fewest multiprocessors idle.
        if entry.capability == 90 { model.tiling?.tiles = Tiling.manySizes }
        return model
    }

    /// The same for steps of decoding, whose kernels of a few rows follow one another in a graph. Fitted to what `lorikeet bench --decode` measures on an
    /// H200 (docs/benchmarks.md): a kernel takes 2.6 microseconds beside its work, in steps of one sequence of SmolLM2 and of the 1B shape; attention of 32
    /// sequences of 190 positions with 32 heads of 64 takes 10.8 microseconds; a product from NF4 of 16 rows takes three times as long for what its multiprocessors do as for
    /// the codes that it reads.
    package var decoding: DeviceModel {
        guard let tiling else { return self }
        var model = self
        model.idleSeconds = min(idleSeconds, 1e-6)
        model.bytesPerSecond = readBytesPerSecond
        model.cachedBytesPerSecond = 35e9 * Double(tiling.multiprocessors)
        model.codesFlops = min(productFlops, 0.8e12 * Double(tiling.multiprocessors))
        return model
    }

    /// Rows whose products take as long as unpacking the codes.
    private static let unpackingRows = 5

    /// Rows of the result in a card's usual tile. A product with fewer is bound by reading its operands.
    package static let tileRows = 128

    /// Seconds that a card is idle while the host sends a micro-batch and reads its result.
    package static let submissionSeconds = 0.25e-3

    /// Predicted seconds of one item of work.
    package func seconds(_ work: Work) -> Double {
        switch work {
        case .product(let m, let n, let k):
            // A product with a side shorter than a tile is bound by its operands' bytes, which its op states as another item.
            let fullness = min(m, n) < Self.tileRows ? 1 : tiling?.fullness(rows: m, columns: n) ?? 1
            return 2 * Double(m) * Double(n) * Double(k) / (productFlops * fullness)
        case .codesProduct(let m, let n, let k):
            guard let codesFlops else { return work.matrixFlops / productFlops }
            return 2 * Double(m + Self.unpackingRows) * Double(n) * Double(k) / codesFlops
        case .attention: return work.matrixFlops / attentionFlops
        case .bytes(let bytes): return bytes / bytesPerSecond
        case .cachedBytes(let bytes): return cachedBytesPerSecond.map { bytes / $0 } ?? 0
        case .launches(let count): return Double(count) * launchSeconds
        case .hostBytes(let bytes), .beginCopy(let bytes, _): return bytes / hostBytesPerSecond
        case .awaitCopy: return 0
        }
    }

    /// Predicted seconds of work that runs one item after the other, each kernel's work before its launch, and copies beside it.
    package func seconds(_ work: some Sequence<Work>) -> Double {
        var (total, sinceLaunch) = (0.0, 0.0)
        // By number, when a copy ends; and when the last one does.
        var (ends, copying): ([Int: Double], Double) = ([:], 0)
        for item in work {
            let own = seconds(item)
            switch item {
            case .beginCopy(_, let number):
                copying = max(total, copying) + own
                ends[number] = copying
                continue
            case .awaitCopy(let number):
                total = max(total, ends[number] ?? 0)
                continue
            default: break
            }
            total += own
            guard case .launches(let count) = item, count > 0 else {
                sinceLaunch += own
                continue
            }
            total += Double(count) * idleSeconds / (1 + sinceLaunch / Double(count) / hidingSeconds)
            sinceLaunch = 0
        }
        return total
    }
}

/// The model of a card, made from its properties alone, so that equal cards get equal models. Code that chooses how a program runs takes
/// this type, and so never depends on a measurement.
package struct TableModel: Sendable {
    package let model: DeviceModel

    package init(_ card: AcceleratorProperties, _ element: DeviceElement) {
        // Without the time of small kernels: sizes were chosen so before it was measured, and a choice decides a run's bits.
        model = DeviceModel(card, element, capability: card.architecture, idle: (0, 1))
    }
}

/// How a matrix library divides the result of a product into tiles, which multiprocessors compute in rounds.
private struct Tiling: Sendable {
    struct Tile: Sendable {
        let rows, columns: Int
        /// The share (0 to 1) of the peak rate that it reaches.
        let speed: Double

        init(_ rows: Int, _ columns: Int, _ speed: Double) { (self.rows, self.columns, self.speed) = (rows, columns, speed) }
    }

    let multiprocessors: Int
    /// The tiles that the library chooses from.
    var tiles: [Tile]

    /// Tiles that the profiles of steps on an H100 name; smaller ones read their operands more often for each product.
    static let manySizes: [Tile] = [
        Tile(128, 256, 1), Tile(256, 128, 1), Tile(128, 320, 1), Tile(320, 128, 1), Tile(192, 192, 0.98), Tile(128, 192, 0.97), Tile(192, 128, 0.97),
        Tile(128, 160, 0.94), Tile(160, 128, 0.94), Tile(128, 128, 0.9), Tile(64, 256, 0.9), Tile(256, 64, 0.9), Tile(96, 128, 0.85), Tile(128, 96, 0.85),
        Tile(64, 128, 0.75), Tile(128, 64, 0.75), Tile(64, 64, 0.6),
    ]

    /// The share (0 to 1) of the peak rate that a product with `rows` x `columns` results reaches: the last round of tiles leaves
    /// multiprocessors idle, and tiles at the edge are not full. 3,072 rows of the 1B shape run 7 % slower a token than 4,096 on an H100.
    func fullness(rows: Int, columns: Int) -> Double {
        tiles.map { tile in
            let (down, across) = ((rows + tile.rows - 1) / tile.rows, (columns + tile.columns - 1) / tile.columns)
            let rounds = (down * across + multiprocessors - 1) / multiprocessors
            return tile.speed * Double(rows * columns) / Double(rounds * multiprocessors * tile.rows * tile.columns)
        }.max() ?? 1
    }
}
