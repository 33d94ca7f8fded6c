import LorikeetDevices
import LorikeetGround

/// Seconds of what a run does beside the model's programs: reading, loading, encoding and writing. The rates were measured on two cores of an AMD EPYC and
/// on the 16 cores beside an H100 (docs/benchmarks.md); `Measurements` corrects them for a machine that has run before.
struct HostTable {
    let threads: Int
    /// Bytes a second that are written so that they outlive a power failure.
    var writtenBytesPerSecond = Self.localDiskBytesPerSecond

    /// Threads that are worth as many processors, where all work on their own pieces: 16 do what 9 could.
    private var processors: Double { max(1, 1 + 0.55 * Double(min(threads, 32) - 1)) }
    /// The same for work in which threads seldom wait for memory or a common file.
    private var encoders: Double { max(1, 0.9 * Double(min(threads, 64))) }

    // MARK: before training

    /// Bytes of records that one thread reads, formats and tokenises in a second, and samples that are found in the cache folder in a second.
    private static let (tokenisedBytesPerSecond, keptSamplesPerSecond) = (13e6, 3e6)

    func formatting(_ reading: PlannedReading, samples: Int) -> Double {
        if reading.samplesAreKept { return 0.05 + Double(samples) / Self.keptSamplesPerSecond }
        return 0.1 + Double(reading.dataBytes) / (Self.tokenisedBytesPerSecond * processors)
    }

    /// Opening the model's files and its tokenizer.
    static let openingSeconds = 0.2
    /// Reports of the data, and the first sample as text.
    static let checkingSeconds = 0.02

    /// Samples that are packed into micro-batches in a second, by their lengths alone: for a card's micro-batches of several sizes, of which only the sums are
    /// asked for; for a processor's; and by their tokens, which are read and compared for what they begin with.
    private static let (summedPerSecond, packedPerSecond, comparedPerSecond) = (1e7, 4e6, 2.5e5)

    /// Making the plan: a constant, and packing the samples of all steps into micro-batches.
    ///
    /// - Parameters:
    ///   - visits: samples of all steps; a sample counts once an epoch.
    ///   - sharing: samples share what they begin with.
    ///   - onCard: the plan is for a card.
    ///   - replicas: their steps are packed three times (`SampleGroup.ofStep`).
    func planning(visits: Int, sharing: Bool, onCard: Bool, replicas: Bool = false) -> Double {
        0.15 + (replicas ? 3 : 1) * Double(visits) / (sharing ? Self.comparedPerSecond : onCard ? Self.summedPerSecond : Self.packedPerSecond)
    }

    /// Opening the card: context, libraries, pinned memory.
    func opening(_ card: PlannedCard?) -> Double { card == nil ? 0.02 : 0.35 }

    /// Bytes a second at which weights come to the card from the page cache: 2.5 GB of bfloat16 are on an H100, in NF4, after 0.17 s.
    func uploadedBytesPerSecond(_ card: PlannedCard) -> Double { 0.6 * card.hostBytesPerSecond }

    /// Elements that one thread quantises to NF4 in a second.
    private static let quantisedPerSecond = 150e6

    /// Loading the model that is trained. A card quantises at the speed of the copies.
    ///
    /// - Parameter converted: elements of linears that are quantised now.
    func loading(fileBytes: Int64, converted: Int, on card: PlannedCard?) -> Double {
        let quantising = Double(converted) / (Self.quantisedPerSecond * encoders)
        // A processor reads mapped weights when it first computes with them.
        guard let card else { return 0.02 + quantising + (converted > 0 ? Double(fileBytes) / 2.5e9 : 0) }
        return 0.05 + Double(fileBytes) / uploadedBytesPerSecond(card)
    }

    /// Loading a run's kernels; where they are neither in the archive nor in the cache, compiling about 25 modules of a second each on all threads first: with 16
    /// the first step of the 7B shape comes 2.6 s later, SmolLM2's 2.2 s, and 1.6 times that in another card's code.
    func kernels(_ card: PlannedCard) -> Double { 0.3 + compiling(card) }

    /// Compiling those that only answering, and those in float32 that only comparing needs: a fourth of training's time.
    func testKernels(_ card: PlannedCard) -> Double { compiling(card) / 4 }

    private func compiling(_ card: PlannedCard) -> Double {
        guard !card.hasKernels else { return 0 }
        return (card.properties.architecture == card.properties.capability ? 1 : 1.6) * (0.6 + 26 / encoders)
    }

    // MARK: writing

    /// Bytes a second that are read from the page cache or a fast disk, and written to a local disk whose rate was not measured (`DiskRate`).
    private static let (readBytesPerSecond, localDiskBytesPerSecond) = (2.5e9, 0.95e9)
    /// Elements of the merged model that one thread computes in a second.
    private static let mergedPerSecond = 0.6e9

    func checkpoint(bytes: Int) -> Double { 0.03 + Double(bytes) / writtenBytesPerSecond }

    /// One thread writes what the others have read and computed.
    ///
    /// - Parameters:
    ///   - read: bytes of the base.
    ///   - elements: of the merged model.
    ///   - written: its bytes.
    func merging(read: Int64, elements: Int, written: Int64) -> Double {
        let computing = Double(read) / Self.readBytesPerSecond + Double(elements) / (Self.mergedPerSecond * processors)
        return 0.45 + max(computing, Double(written) / writtenBytesPerSecond)
    }

    /// Encoding the merged model in other forms.
    func exporting(_ forms: [PlannedExport], elements: Int, elementBytes: Int) -> Double {
        forms.reduce(0) { sum, form in
            let read = Double(elements * elementBytes) / Self.readBytesPerSecond
            return sum + 0.6 + read + Double(elements) * form.secondsPerElement / encoders + Double(form.weights.bytes) / writtenBytesPerSecond
        }
    }

    /// Comparing texts and tokens of the written model with those that were trained with, and recording programs of the test.
    static let comparingSeconds = 0.8
    /// Writing the summary, the report and the model cards.
    static let reportSeconds = 0.1
}
