import LorikeetDevices

/// What a device reaches in each kind of work: it prices a program's work in seconds.
package struct DeviceModel: Sendable {
    /// Floating-point operations a second in large matrix products of the activations' type.
    package let productFlops: Double
    /// The same in attention's products.
    package let attentionFlops: Double
    package let bytesPerSecond: Double
    /// What one more kernel costs beside its work: each begins and ends with a device half empty.
    package let launchSeconds: Double
    /// How a card's library cuts products into tiles; nil on a processor.
    private let tiling: Tiling?

    /// A processor with these rates.
    package init(processorFlops: Double, bytesPerSecond: Double) {
        productFlops = processorFlops
        attentionFlops = processorFlops
        self.bytesPerSecond = bytesPerSecond
        launchSeconds = 0
        tiling = nil
    }

    /// Measured on an H100; other cards in proportion to their data sheets (dense tensor-core rate and memory bandwidth).
    fileprivate init(_ card: AcceleratorProperties, _ element: DeviceElement) {
        let (flops, bytes): (Double, Double) =
            switch card.architecture {
            case ..<80: (0.65e12, 0.25e12)
            case 80: (2.2e12, 1.5e12)
            case ..<89: (1.1e12, 0.6e12)
            case 89: (1.3e12, 0.7e12)
            case ..<100: (5.6e12, 2.6e12)
            default: (6e12, 3e12)
            }
        let multiprocessors = max(1, card.multiprocessors)
        productFlops = flops * Double(multiprocessors) / (element == .f32 ? 16 : 1)
        attentionFlops = productFlops / 3
        bytesPerSecond = bytes
        // Ops of a step with adapters on q and v, at what steps of few tokens take beside their work.
        launchSeconds = 1.6e-6
        tiling = Tiling(multiprocessors: multiprocessors, widths: card.architecture >= 90 ? [(256, 1), (128, 0.9)] : [(128, 1), (64, 0.9)])
    }

    package func seconds(_ work: Work) -> Double {
        switch work {
        case .product(let m, let n, let k):
            // With a side shorter than a tile a product takes the time of its operands' bytes, which its op states.
            let fullness = min(m, n) < Tiling.rows ? 1 : tiling?.fullness(rows: m, columns: n) ?? 1
            return 2 * Double(m) * Double(n) * Double(k) / (productFlops * fullness)
        case .attention: return work.matrixFlops / attentionFlops
        case .bytes(let bytes): return bytes / bytesPerSecond
        case .launches(let count): return Double(count) * launchSeconds
        }
    }

    package func seconds(_ work: some Sequence<Work>) -> Double { work.reduce(0) { $0 + seconds($1) } }
}

/// The model of a card from its properties alone, so that the same card always gets the same: what chooses how a program runs takes this
/// type, and so never depends on a measurement.
package struct TableModel: Sendable {
    package let model: DeviceModel

    package init(_ card: AcceleratorProperties, _ element: DeviceElement) { model = DeviceModel(card, element) }
}

/// How a matrix library shares the results of a product among multiprocessors.
private struct Tiling: Sendable {
    let multiprocessors: Int
    /// Columns of the tiles in which 128 rows are multiplied, and what share of the best speed each width reaches.
    let widths: [(columns: Int, speed: Double)]

    static let rows = 128

    /// What share of its time a card computes in a product of `rows` by `columns` results: its last round of tiles leaves
    /// multiprocessors idle, and a tile at the edge is not full. 3,072 rows of the 1B shape run 7 % slower a token than 4,096 on an H100.
    func fullness(rows: Int, columns: Int) -> Double {
        widths.map { tile in
            let (down, across) = ((rows + Self.rows - 1) / Self.rows, (columns + tile.columns - 1) / tile.columns)
            let rounds = (down * across + multiprocessors - 1) / multiprocessors
            return tile.speed * Double(rows * columns) / Double(rounds * multiprocessors * Self.rows * tile.columns)
        }.max() ?? 1
    }
}
