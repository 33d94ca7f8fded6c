import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles

/// A model folder with numbers dumped by the Hugging Face stack against this engine's.
///
/// The folder holds `config.json`, `model.safetensors`, `adapter_init/`, `expected.safetensors`, `expected.json` and, for the
/// storage alone, `nf4.safetensors`; Tests/Reference/make_reference.py writes such folders.
package struct ReferenceCheck {
    let directory: String
    let modelPath: String
    let files: any Files
    let compute: Compute

    /// - Parameter model: another form of the folder's model, such as a GGUF of it; nil: the folder's own files.
    package init(directory: String, model: String? = nil, files: any Files = RealFiles(), compute: Compute) {
        self.directory = directory
        modelPath = model ?? directory
        self.files = files
        self.compute = compute
    }

    /// Limits in float32: what another order of summation may change.
    package enum Tolerance {
        package static let logits = 2e-5
        package static let loss = 5e-6
        package static let gradient = 5e-5
        package static let adamW = 1e-6
        package static let lossAfterSteps = 1e-4

        /// In 16 bits the loss may be off by so much (relative), and one adapter's gradient point so far away (1 - cosine).
        package static func narrow(_ element: DeviceElement) -> (loss: Double, cosine: Double) {
            element == .bf16 ? (5e-3, 2e-3) : (5e-4, 1e-4)
        }
    }

    /// - Returns: the deviations; what the folder or this engine lacks is not tested, and named.
    /// - Throws: exit 2 for files that cannot be used, exit 4 when the device fails.
    package func run() throws -> CheckReport {
        var report = try nf4()
        let names = (forward: "logits, losses and gradients, float32 and NF4", steps: "AdamW and the loss after its steps")
        let model = try ModelFiles.open(modelPath, files: files)
        if let refusal = Families.refusal(of: model) {
            report.notTested += [.init(names.forward, refusal.description), .init(names.steps, refusal.description)]
            return report
        }
        let needed = ["expected.safetensors", "expected.json", "adapter_init/adapter_config.json", "adapter_init/adapter_model.safetensors"]
        if let missing = needed.first(where: { !files.exists(directory + "/" + $0) }) {
            let reason = "the folder has no \(missing)"
            report.notTested += [.init(names.forward, reason), .init(names.steps, reason)]
            return report
        }
        let source = try ModelSource(model)
        let expected = try SafetensorsFile(path: directory + "/expected.safetensors", files: files)
        let scalars = try JSON.parse(files.read(directory + "/expected.json"), source: directory + "/expected.json")
        report.results += try forward(source, expected, scalars, storage: .f32, prefix: "")
        report.results += try forward(source, expected, scalars, storage: .nf4, prefix: "nf4_")
        guard let count = scalars["steps"]?.int, count > 0 else {
            report.notTested.append(.init(names.steps, "expected.json has no 'steps' above 0"))
            return report
        }
        report.results += try steps(source, expected, scalars, count: count)
        return report
    }

    // MARK: forward and backward

    private func model(_ source: ModelSource, _ storage: BaseStorage) throws -> Model {
        let adapter = try AdapterFile.read(directory: directory + "/adapter_init", files: files)
        let model = try compute.model(source, storage: storage, lora: LoRASettings(adapter, weights: source.configuration.weights))
        try model.loadAdapter(adapter)
        return model
    }

    /// The reference's batch [B, T] as packed segments, and the (b, t) of each row.
    ///
    /// - Parameter vocabulary: rows of the model's tables, V.
    private func batch(_ expected: SafetensorsFile, vocabulary: Int) throws -> (batch: TokenBatch, places: [(Int, Int)]) {
        let ids = try integers("input_ids", expected)
        let (count, width) = (ids.shape[0], ids.shape[1])
        let labels = try integers("labels", expected, ids.shape).values
        let mask = try integers("attention_mask", expected, ids.shape).values
        // -100 marks what has no loss, as in transformers.
        for (name, values) in [("input_ids", ids.values), ("labels", labels.filter { $0 != -100 })] {
            if let wrong = values.first(where: { $0 < 0 || $0 >= Int64(vocabulary) }) {
                throw LorikeetError.input(
                    "'\(name)' has the token id \(wrong), which is outside the model's embedding table of \(vocabulary) rows", at: expected.path,
                    fix: "make the folder again from this model")
            }
        }
        var batch = TokenBatch()
        var places: [(Int, Int)] = []
        for b in 0..<count {
            let length = (0..<width).count { mask[b * width + $0] != 0 }
            let row = { (values: [Int64], t: Int) in Int32(truncatingIfNeeded: values[b * width + t]) }
            let targets = (0..<length).map { t in t + 1 < length ? max(-1, row(labels, t + 1)) : -1 }
            batch.append((0..<length).map { row(ids.values, $0) }, targets: targets)
            places += (0..<length).map { (b, $0) }
        }
        batch.setWeight(1 / Float(max(1, batch.trainedRows)))
        // transformers chooses LongRoPE's table by a batch's width.
        batch.longestSequence = width
        return (batch, places)
    }

    private func forward(
        _ source: ModelSource, _ expected: SafetensorsFile, _ scalars: JSON, storage: BaseStorage, prefix: String
    ) throws -> [Deviation] {
        let model = try model(source, storage)
        let vocabulary = model.family.vocabularySize
        let (batch, places) = try batch(expected, vocabulary: vocabulary)
        let session = try Session(model: model, maximumTokens: batch.rows)
        var results: [Deviation] = []
        let shape = try integers("input_ids", expected).shape
        let theirs = try floats(prefix + "logits", expected, shape + [vocabulary])
        let ours = try session.logits(batch, rows: Array(0..<batch.rows))
        var (worst, largest) = (0.0, 0.0)
        for (row, (b, t)) in places.enumerated() {
            for v in 0..<vocabulary {
                let value = Double(theirs[(b * shape[1] + t) * vocabulary + v])
                worst = maximumOrNaN(worst, abs(Double(ours[row * vocabulary + v]) - value))
                largest = maximumOrNaN(largest, abs(value))
            }
        }
        let exact = compute.element == .f32
        let narrow = Tolerance.narrow(compute.element)
        if exact { results.append(Deviation(name: prefix + "logits, of the largest", measured: worst / largest, tolerance: Tolerance.logits)) }
        let loss = try session.finiteGradients(of: batch)
        let reference = scalars[prefix + "loss"]?.double ?? .nan
        results.append(
            Deviation(name: prefix + "loss, relative", measured: Vectors.relative(loss, to: reference), tolerance: exact ? Tolerance.loss : narrow.loss))
        let gradients = model.adapters.floats(.gradients)
        for entry in model.adapters.tensors {
            let wanted = try floats(prefix + "grad." + entry.name, expected, [entry.elementCount])
            let got = Array(gradients[entry.offset..<entry.offset + entry.elementCount])
            let name = prefix + "grad." + short(entry.name)
            results.append(
                exact
                    ? Deviation(name: name, measured: Vectors.distance(got, wanted), tolerance: Tolerance.gradient)
                    : Deviation(name: name + ", 1 - cosine", measured: 1 - Vectors.cosine(got, wanted), tolerance: narrow.cosine))
        }
        return results
    }

    // MARK: optimiser

    private func steps(_ source: ModelSource, _ expected: SafetensorsFile, _ scalars: JSON, count: Int) throws -> [Deviation] {
        var results: [Deviation] = []
        func number(_ name: String) throws -> Double {
            guard let value = scalars[name]?.double else { throw LorikeetError.input("no number '\(name)'", at: directory + "/expected.json") }
            return value
        }
        let rate = try number("lr")
        let settings = AdamWSettings(epsilon: try number("eps"), weightDecay: try number("weight_decay"), maxGradNorm: nil)
        // AdamW alone, on the gradients and parameters that were dumped.
        let alone = try model(source, .f32)
        let optimiser = try Session(model: alone, maximumTokens: 32)
        for step in 0..<count {
            for entry in alone.adapters.tensors {
                let gradient = try floats("step\(step)_grad.\(entry.name)", expected, [entry.elementCount])
                for (i, value) in gradient.enumerated() { alone.adapters.floats(.gradients)[entry.offset + i] = value }
            }
            try optimiser.pushAdapters()
            _ = try optimiser.optimiserStep(learningRate: rate, optimiser: settings)
            try optimiser.pullAdapters()
            var worst = 0.0
            for entry in alone.adapters.tensors {
                let wanted = try floats("step\(step)_after.\(entry.name)", expected, [entry.elementCount])
                worst = maximumOrNaN(worst, Vectors.distance(Array(alone.adapters.floats(.values)[entry.offset..<entry.offset + entry.elementCount]), wanted))
                for (i, value) in wanted.enumerated() { alone.adapters.floats(.values)[entry.offset + i] = value }
            }
            results.append(Deviation(name: "AdamW on dumped gradients, step \(step)", measured: worst, tolerance: Tolerance.adamW))
        }
        // The whole loop.
        let model = try model(source, .f32)
        let (batch, _) = try batch(expected, vocabulary: model.family.vocabularySize)
        let session = try Session(model: model, maximumTokens: batch.rows)
        for _ in 0..<count {
            _ = try session.accumulate(batch, zeroFirst: true)
            _ = try session.optimiserStep(learningRate: rate, optimiser: settings)
        }
        let loss = try session.accumulate(batch, zeroFirst: true).lossSum
        let reference = scalars["loss_after"]?.double ?? .nan
        results.append(
            Deviation(
                name: "loss after \(count) steps, relative", measured: Vectors.relative(loss, to: reference),
                tolerance: compute.element == .f32 ? Tolerance.lossAfterSteps : Tolerance.narrow(compute.element).loss))
        return results
    }

    // MARK: storage

    private func nf4() throws -> CheckReport {
        let name = "NF4 storage"
        guard files.exists(directory + "/nf4.safetensors") else { return CheckReport(notTested: [.init(name, "the folder has no nf4.safetensors")]) }
        let file = try SafetensorsFile(path: directory + "/nf4.safetensors", files: files)
        var results: [Deviation] = []
        for name in file.names where name.hasSuffix(".codes") {
            let stem = String(name.dropLast(6))
            let shape = try view(stem + ".weight", file).shape
            guard shape.count == 2 else { throw LorikeetError.input("'\(stem).weight' is no matrix", at: file.path) }
            let store = try FloatStore(rows: shape[0], columns: shape[1], copying: try floats(stem + ".weight", file))
            let offset = try floats(stem + ".offset", file, [1])[0]
            var maxima: [Float] = []
            let own = try NF4Store.quantise(store, name: stem, cpu: compute.cpu) { maxima = $0 }
            let fed = try NF4Store.quantise(store, name: stem, offset: offset, cpu: compute.cpu)
            func different<T: Equatable>(_ a: [T], _ b: [T]) -> Double {
                a.count == b.count && !b.isEmpty ? Double(zip(a, b).count { $0 != $1 }) : .infinity
            }
            results += [
                Deviation(name: "nf4 \(short(stem)): codes that differ", measured: different(own.codes, try bytes(stem + ".codes", file)), tolerance: 0),
                Deviation(name: "nf4 \(short(stem)): block maxima", measured: different(maxima, try floats(stem + ".block_absmax", file)), tolerance: 0),
                Deviation(
                    name: "nf4 \(short(stem)): nested codes, fed the offset", measured: different(fed.maxima, try bytes(stem + ".absmax", file)), tolerance: 0),
                Deviation(
                    name: "nf4 \(short(stem)): nested maxima, fed the offset",
                    measured: different(fed.nestedMaxima, try floats(stem + ".nested_absmax", file)), tolerance: 0),
            ]
        }
        return CheckReport(results: results, notTested: results.isEmpty ? [.init(name, "nf4.safetensors has no '*.codes'")] : [])
    }

    // MARK: reading

    private func view(_ name: String, _ file: SafetensorsFile) throws -> TensorView {
        // The modules of a language model inside a model of several parts have other names in the reference.
        let inside = ["model.language_model.", "language_model.model."].map { name.replacing("base_model.model.model.", with: "base_model.model." + $0) }
        guard let view = ([name] + inside).lazy.compactMap({ file.tensors[$0] }).first else {
            throw LorikeetError.input("no tensor '\(name)'", at: file.path, fix: "make the folder again")
        }
        return view
    }

    /// - Parameter shape: what the tensor has to have; of one length, as many elements in any shape.
    private func floats(_ name: String, _ file: SafetensorsFile, _ shape: [Int]? = nil) throws -> [Float] {
        let view = try view(name, file)
        guard view.type == .f32 else { throw LorikeetError.input("'\(name)' is not float32", at: file.path) }
        if let shape, shape.count == 1 ? view.elementCount != shape[0] : view.shape != shape {
            throw LorikeetError.input("'\(name)' has the shape \(view.shape), not \(shape)", at: file.path, fix: "make the folder again from this model")
        }
        return (0..<view.elementCount).map { view.bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) }
    }

    /// - Parameter shape: what the tensor has to have; nil takes any [B, T].
    private func integers(_ name: String, _ file: SafetensorsFile, _ shape: [Int]? = nil) throws -> (shape: [Int], values: [Int64]) {
        let view = try view(name, file)
        guard view.type == .i64, view.shape.count == 2, shape == nil || view.shape == shape else {
            throw LorikeetError.input("'\(name)' is not int64 \(shape.map { "\($0)" } ?? "[B, T]")", at: file.path)
        }
        return (view.shape, (0..<view.elementCount).map { view.bytes.loadUnaligned(fromByteOffset: 8 * $0, as: Int64.self) })
    }

    private func bytes(_ name: String, _ file: SafetensorsFile) throws -> [UInt8] { Array(try view(name, file).bytes) }

    private func short(_ name: String) -> String { Vectors.short(name) }
}
