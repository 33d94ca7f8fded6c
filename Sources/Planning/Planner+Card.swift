import LorikeetDatasets
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetModelFiles

/// The card a run is planned for.
package struct PlannedCard {
    package let properties: AcceleratorProperties
    package let element: DeviceElement
    /// Bytes in use before anything is loaded: this process's context and other processes' memory.
    package let usedBytes: Int
    /// Bytes of the card's memory that may be in use in all, `usedBytes` included.
    package let cap: Int

    /// Bytes a second between host and card.
    package var hostBytesPerSecond = 12e9
    /// No kernels have to be compiled.
    package var hasKernels = true
    /// It is no card of this machine.
    package var isElsewhere = false

    /// Bytes that are left free for the driver and for the kernels' own memory.
    package static let reserve = 256 << 20

    /// nil where there is no card.
    ///
    /// - Parameter gpuMemory: the recipe's `gpu_memory` in bytes; nil allows all but the reserve.
    /// - Throws: exit 4 when the card does not answer.
    package init?(_ compute: Compute, gpuMemory: Int64?) throws {
        guard let device = compute.device else { return nil }
        self.init(device.properties, compute.element, usedBytes: try device.usedBytes(), gpuMemory: gpuMemory)
        hasKernels = device.properties.hasCompiledKernels
    }

    /// A card of the table, which this machine need not have.
    package init(_ entry: CardEntry, _ properties: AcceleratorProperties, _ element: DeviceElement, gpuMemory: Int64?) {
        self.init(properties, element, usedBytes: entry.contextBytes, gpuMemory: gpuMemory)
        isElsewhere = true
    }

    private init(_ properties: AcceleratorProperties, _ element: DeviceElement, usedBytes: Int, gpuMemory: Int64?) {
        (self.properties, self.element, self.usedBytes) = (properties, element, usedBytes)
        let all = max(0, properties.totalBytes - Self.reserve)
        cap = min(all, gpuMemory.map { Int($0) } ?? all)
        if let entry = CardEntry.of(properties) { hostBytesPerSecond = entry.hostBytesPerSecond }
    }

    /// The same card with another cap.
    ///
    /// - Parameter gpuMemory: as for the initialisers.
    package func capped(gpuMemory: Int64?) -> PlannedCard {
        var card = PlannedCard(properties, element, usedBytes: usedBytes, gpuMemory: gpuMemory)
        (card.hasKernels, card.isElsewhere) = (hasKernels, isElsewhere)
        return card
    }

    var device: Plan.Device {
        Plan.Device(name: properties.name, isMeasured: CardEntry.of(properties)?.isMeasured ?? false, isElsewhere: isElsewhere)
    }
}

extension Planner {
    /// The chosen way of training and evaluating on the card.
    private struct OnCard {
        let training: DevicePlan
        /// Tokens that a training micro-batch may have.
        let tokensPerBatch: Int
        /// Tokens that an evaluation batch may have.
        let evaluationTokensPerBatch: Int
        /// Rows of the largest evaluation batch.
        let evaluationRows: Int
        /// By tokens, the number of training micro-batches.
        let counts: [Int: Int]

        var sizes: SessionSizes {
            SessionSizes(training: training.sizes.training, evaluation: evaluationRows, headChunk: training.sizes.headChunk)
        }
    }

    /// The largest head chunk (`SessionSizes.headChunk`) that is tried: a card is faster with large products.
    private static let headChunk = 4096
    /// Tokens of evaluation batches that are tried in this order: a card needs a few thousand to reach its full rate.
    private static let evaluationTokens = [8192, 4096, 2048, 1024]

    /// - Throws: exit 3 with the smallest sufficient cap, where nothing fits.
    func plan(on card: PlannedCard) throws -> Plan {
        let (load, steps) = (PlannedData.workload(data.train), StepLengths(data))
        var planner = try DevicePlanner(
            model.source.configuration, storage: model.storage, lora: model.lora, card: card.properties, element: card.element,
            workload: load, contextBytes: card.usedBytes
        ) { model.source.tensor($0)?.type }
        planner.fuse = model.fuse
        planner.optimiser = model.optimiser
        planner.hostCap = Int(machine.pinnableBytes)
        let chosen = try choose(planner, card, steps)
        var choices = Plan.Choices(
            storage: model.storage, threads: machine.threads, tokensPerBatch: chosen.tokensPerBatch, sizes: chosen.sizes, passes: chosen.training.passes,
            evaluationTokensPerBatch: chosen.evaluationTokensPerBatch)
        choices.device = card.properties.name
        choices.element = card.element
        choices.architecture = card.properties.architecture
        choices.keepsExpanded = chosen.training.keepsExpanded
        choices.embeddingOnHost = chosen.training.embeddingOnHost
        var warnings: [String] = []
        let (testing, testedWeights) = try planTest(chosen, card, &choices.test, &warnings)
        // Host memory and disk do not depend on the card's programs: the smallest program gives them.
        var small = ProgramRequest(
            storage: .stored, lora: model.lora, sizes: .init(training: 0, evaluation: 1), target: .cpu(threads: machine.threads))
        small.optimiser = model.optimiser
        let program = try model.plan(small)
        let phases = self.phases(try times(chosen, card, choices, planner), program, &warnings)
        let merged = Int64(program.parameters) * Int64(model.mergedElementBytes)
        let memory =
            processMemory() + [
                .init("the card's libraries, as they load kernels", Self.libraryBytes), .init("adapters, gradients, optimiser", Int64(program.adapterBytes)),
            ]
        let pinned = [Plan.Part("\(chosen.training.pinnedParts), pinned for the card", Int64(chosen.training.bytes.pinned))].filter { $0.bytes > 0 }
        // Weights go to the card through pinned memory and are merged piece by piece: their files' pages stay resident only where the processor computes with
        // them, and then what was pinned for the trained form has been given back.
        let onProcessor = model.mergedElementBytes > 0 ? try testedOnProcessor(chosen, choices.test, merged) : []
        var plan = Plan(
            choices: choices, trainingMemory: memory + pinned,
            testMemory: memory + [recordedLogits] + (Plan.sum(onProcessor) > Plan.sum(pinned) ? onProcessor : pinned),
            gpuTraining: parts(chosen.training.bytes, "weights (\(model.storage.rawValue))"), gpuTesting: parts(testing, testedWeights),
            disk: disk(program, merged), phases: phases, steps: data.steps,
            trainTokens: steps.allTokens, trainableParameters: program.trainableParameters, warnings: warnings)
        plan.device = card.device
        plan.trainingLoad = load
        return plan
    }

    /// Host memory that the driver and cuBLASLt take after a card was opened: they load each kernel when it is first used. Measured on an H100: 240 MB beside
    /// what a run counts otherwise, with SmolLM2 and with the 1B shape.
    private static let libraryBytes: Int64 = 240_000_000

    /// Host memory of what the test does on the processor, for want of room on the card: the merged model, or the comparison, one after the other.
    private func testedOnProcessor(_ chosen: OnCard, _ test: Plan.Choices.Test, _ merged: Int64) throws -> [Plan.Part] {
        var parts: [[Plan.Part]] = []
        if !test.mergedOnCard {
            let program = try model.plan(mergedOnProcessor(chosen))
            parts.append([
                .init("merged model, as it is read", merged, mapped: true),
                .init("arena and KV cache of the merged model", Int64(program.evaluationArenaBytes + program.cacheBytes)),
            ])
        }
        if !test.comparedOnCard {
            let compared = try comparison(merged: false)
            parts.append([.init("weights to compare", max(merged, Int64(compared.weightBytes)), mapped: true), arena(compared)])
        }
        return parts.max { Plan.sum($0) < Plan.sum($1) } ?? []
    }

    /// The bytes of a card by part, for people; parts of 0 bytes are left out.
    private func parts(_ bytes: DeviceBytes, _ weights: String) -> [Plan.Part] {
        [
            ("context, and what others hold", bytes.context), (weights, bytes.weights), ("weights, expanded", bytes.expanded),
            ("adapters, gradients, optimiser", bytes.adapters), ("arena", bytes.arena), ("KV cache", bytes.cache),
        ].filter { $0.1 > 0 }.map { Plan.Part($0.0, Int64($0.1)) }
    }

    // MARK: training

    /// The split of a step into micro-batches that takes the least time a token: one micro-batch where that fits without recomputed blocks, else
    /// the fastest of several splits. Then the largest evaluation batch that fits.
    private func choose(_ planner: DevicePlanner, _ card: PlannedCard, _ steps: StepLengths) throws -> OnCard {
        let longest = max(1, data.train.lazy.map(\.tokens).max() ?? 1)
        let longestHeldOut = max(1, data.heldOut.lazy.map(\.tokens).max() ?? 1)
        // Tokens of the largest optimiser step, all of which may be one micro-batch.
        let whole = data.packing ? max(longest, steps.largest) : longest
        var shapes: [Int: StepLengths.MicroBatches] = [:]
        // Of the last split that was tried, which has the smallest micro-batches.
        var least: (rows: Int, trained: Int) = (0, 0)
        func fastest(_ uses: [HostUse], _ limit: Double) -> (plan: DevicePlan, tokens: Int, shape: StepLengths.MicroBatches)? {
            var best: (plan: DevicePlan, tokens: Int, shape: StepLengths.MicroBatches)?
            var lastTokens = 0
            for parts in [1, 2, 3, 4, 6, 8, 12, 16] {
                let tokens = max(longest, (whole + parts - 1) / parts)
                guard tokens != lastTokens else { continue }
                lastTokens = tokens
                let shape = shapes[tokens] ?? steps.microBatches(tokensPerBatch: tokens)
                shapes[tokens] = shape
                least = (max(1, shape.rows), max(1, shape.trained))
                let chunk = min(Self.headChunk, Session.batchRows(least.trained, .device(card.element)))
                let plan = planner.plan(
                    tokens: least.rows, onHost: uses, evaluation: longestHeldOut, headChunk: chunk, cap: card.cap,
                    fasterThan: best?.plan.secondsPerToken ?? limit)
                guard let plan = plan.plan else { continue }
                best = (plan, tokens, shape)
                if plan.passes.blocks == 0, plan.keepsExpanded { break }
            }
            return best
        }
        guard let best = DevicePlanner.withHost(\.plan, fastest) else {
            let chunk = Session.batchRows(least.trained, .device(card.element))
            let training = planner.smallestBytes(tokens: least.rows, evaluation: longestHeldOut, headChunk: chunk)
            let sizes = SessionSizes(training: 0, evaluation: longestHeldOut, headChunk: min(256, chunk))
            let answering = try trainedForm(sizes, card, slots: 1, embeddingOnHost: true).total
            throw Self.tooSmall(card, needed: max(training, answering), "training on micro-batches of \(least.rows) tokens and answering held-out records")
        }
        let training = planner.withoutRecomputation(best.plan, cap: card.cap)
        var (limit, rows) = (longestHeldOut, longestHeldOut)
        for tokens in Self.evaluationTokens where tokens > longestHeldOut {
            // The largest batch that any choice of held-out records can make.
            let candidate = max(1, min(tokens, data.heldOut.reduce(0) { $0 + $1.tokens }))
            let arenaBytes = planner.evaluationArenaBytes(tokens: candidate, headChunk: training.sizes.headChunk)
            // It has to fit in training's arena, and in the cap beside the KV cache of one answer.
            let sizes = SessionSizes(training: 0, evaluation: candidate, headChunk: training.sizes.headChunk)
            guard arenaBytes <= training.bytes.arena,
                try trainedForm(sizes, card, slots: 1, embeddingOnHost: training.embeddingOnHost).total <= card.cap
            else { continue }
            (limit, rows) = (tokens, candidate)
            break
        }
        return OnCard(
            training: training, tokensPerBatch: best.tokens, evaluationTokensPerBatch: limit, evaluationRows: rows, counts: best.shape.counts)
    }

    private static func tooSmall(_ card: PlannedCard, needed: Int, _ what: String) -> LorikeetError {
        let (wanted, cap) = (Units.formatBytes(Int64(needed)), Units.formatBytes(Int64(card.cap)))
        let fits = needed <= card.properties.totalBytes - PlannedCard.reserve
        let enough = fits ? "gpu_memory of \(Units.enoughMebibytes(needed))" : "a card with \(wanted)"
        var error = LorikeetError(
            .doesNotFit, "\(what) takes \(wanted) of the card's memory and \(cap) may be used", at: "gpu_memory",
            fix: "\(enough) would do, or a smaller max_length or base_storage nf4")
        if fits { error.enough = needed }
        return error
    }

    // MARK: testing

    /// Decides how the forms of the model are tested, one after the other on the card.
    ///
    /// Base and base + adapter run where training did. The merged model has a precision of its own, and merged and trained logits are
    /// compared in float32; where one of these two does not fit under the cap, the processor runs it, and a warning says so.
    ///
    /// - Returns: the bytes of the largest form, and what its weights are called.
    private func planTest(_ chosen: OnCard, _ card: PlannedCard, _ test: inout Plan.Choices.Test, _ warnings: inout [String]) throws
        -> (largest: DeviceBytes, weights: String)
    {
        var largest = (try trainedForm(chosen, card, &test), "weights (\(model.storage.rawValue))")
        guard model.mergedElementBytes > 0 else { return largest }
        var merged = try bytes(mergedForm(chosen, card, slots: test.slots), card.element, merged: true)
        merged.context = card.usedBytes
        test.mergedOnCard = merged.total <= card.cap
        if !test.mergedOnCard {
            warnings.append("the merged model takes \(Units.formatBytes(Int64(merged.total))) of the card's memory and is tested on the processor")
        } else if merged.total > largest.0.total {
            largest = (merged, "weights of the merged model")
        }
        let longest = max(1, data.heldOut.lazy.map(\.tokens).max() ?? 1)
        var compared: [DeviceBytes] = []
        for (storage, lora) in [(model.comparedStorage, Optional(model.lora)), (.stored, nil)] {
            let sizes = SessionSizes(training: 0, evaluation: longest, headChunk: 32)
            var request = ProgramRequest(storage: storage, lora: lora, sizes: sizes, target: .device(.f32))
            (request.slots, request.positions, request.optimiser) = (1, longest, model.optimiser)
            var bytes = try bytes(request, .f32, merged: lora == nil)
            bytes.context = card.usedBytes
            // The request counts the logits of one row; the comparison keeps those of `comparedRows`.
            bytes.arena += Planner.comparedRows * 4 * model.source.configuration.vocabularySize
            compared.append(bytes)
        }
        test.comparedOnCard = compared.allSatisfy { $0.total <= card.cap }
        if test.comparedOnCard {
            for bytes in compared where bytes.total > largest.0.total { largest = (bytes, "weights in float32") }
        } else {
            warnings.append("in float32 the model does not fit under the cap: merged and trained logits are compared on the processor")
        }
        return largest
    }

    /// Base and base + adapter: with linears kept dequantised, where training does so and that fits; else dequantised for every product; else
    /// also with fewer answers at a time.
    ///
    /// - Throws: exit 3 with the smallest sufficient cap, where one answer at a time does not fit.
    private func trainedForm(_ chosen: OnCard, _ card: PlannedCard, _ test: inout Plan.Choices.Test) throws -> DeviceBytes {
        var needed = 0
        for (slots, keeps) in [(Self.slots, true), (Self.slots, false), (8, false), (4, false), (2, false), (1, false)] {
            if keeps && !chosen.training.keepsExpanded { continue }
            let sizes = SessionSizes(training: 0, evaluation: chosen.evaluationRows, headChunk: chosen.sizes.headChunk)
            var bytes = try trainedForm(sizes, card, slots: slots, embeddingOnHost: chosen.training.embeddingOnHost)
            if keeps { bytes.expanded = chosen.training.bytes.expanded }
            (test.slots, test.keepsExpanded, needed) = (slots, keeps, bytes.total)
            if bytes.total <= card.cap { return bytes }
        }
        throw Self.tooSmall(card, needed: needed, "answering held-out records")
    }

    /// Bytes for evaluating and answering with linears dequantised for every product.
    private func trainedForm(_ sizes: SessionSizes, _ card: PlannedCard, slots: Int, embeddingOnHost: Bool) throws -> DeviceBytes {
        var request = trainedRequest(sizes, card, slots: slots)
        request.embeddingOnHost = embeddingOnHost
        var bytes = try bytes(request, card.element)
        bytes.context = card.usedBytes
        return bytes
    }

    private func trainedRequest(_ sizes: SessionSizes, _ card: PlannedCard, slots: Int) -> ProgramRequest {
        configured(ProgramRequest(storage: model.storage, lora: model.lora, sizes: sizes, target: .device(card.element)), slots: slots)
    }

    private func mergedForm(_ chosen: OnCard, _ card: PlannedCard, slots: Int) -> ProgramRequest {
        let sizes = SessionSizes(training: 0, evaluation: chosen.evaluationRows, headChunk: chosen.sizes.headChunk)
        return configured(ProgramRequest(storage: .stored, lora: nil, sizes: sizes, target: .device(card.element)), slots: slots)
    }

    private func mergedOnProcessor(_ chosen: OnCard) -> ProgramRequest {
        let sizes = SessionSizes(training: 0, evaluation: min(Self.tokensPerBatch, chosen.evaluationRows), headChunk: HeadBlock.chunk)
        return configured(ProgramRequest(storage: .stored, lora: nil, sizes: sizes, target: .cpu(threads: machine.threads)))
    }

    private func configured(_ request: ProgramRequest, slots: Int) -> ProgramRequest {
        var request = configured(request)
        request.slots = min(request.slots, slots)
        return request
    }

    /// A tensor's type in the file, or float32 in the merged model, whose matrices are not quantised.
    private func type(_ tensor: String, merged: Bool) -> ElementType? { merged ? .f32 : model.source.tensor(tensor)?.type }

    private func bytes(_ request: ProgramRequest, _ element: DeviceElement, merged: Bool = false) throws -> DeviceBytes {
        try model.programs.deviceBytes(request, element: element) { type($0, merged: merged) }
    }

    // MARK: time

    /// Seconds in which the host packs an evaluated token and takes its log-probability: a batch is not prepared beside the one before, as in training.
    private static let secondsPerEvaluatedToken = 1.5e-7

    /// Rows of an evaluation of these samples, with those that pad its batches.
    static func evaluatedRows(_ samples: [SampleLength], tokensPerBatch: Int, _ element: DeviceElement) -> Int {
        var rows = 0
        samples.withUnsafeBufferPointer {
            packedSizes($0, tokensPerBatch: tokensPerBatch) { rows += Session.batchRows($0.tokens, .device(element)) }
        }
        return rows
    }

    /// - Throws: as `Session.plan`.
    private func times(_ chosen: OnCard, _ card: PlannedCard, _ choices: Plan.Choices, _ planner: DevicePlanner) throws -> Times {
        let (onCard, held) = (DeviceModel.predicting(card.properties, card.element), PlannedData.workload(data.heldOut))
        var times = Times()
        times.training = planner.predictedSeconds(chosen.training, counts: chosen.counts)
        times.perStep = planner.predictedUpdateSeconds
        times.evaluatedRows = Self.evaluatedRows(data.validation, tokensPerBatch: chosen.evaluationTokensPerBatch, card.element)
        let sizes = SessionSizes(training: 0, evaluation: chosen.evaluationRows, headChunk: chosen.sizes.headChunk)
        var request = trainedRequest(sizes, card, slots: choices.test.slots)
        if choices.test.keepsExpanded { request.storage = .stored }
        let trained = try model.programs.plan(request) {
            // Linears that are kept dequantised are planned as unquantised ones.
            choices.test.keepsExpanded ? .f32 : type($0, merged: false)
        }
        func form(_ program: ProgramPlan) -> FormSeconds {
            FormSeconds(program, held, onCard, evaluatingSeconds: Self.secondsPerEvaluatedToken, decodingSeconds: DeviceModel.submissionSeconds)
        }
        let trainedForm = form(trained)
        times.forms = [trainedForm, trainedForm]
        times.slots = choices.test.slots
        times.loading = host.loading(fileBytes: model.fileBytes, converted: converts ? trained.parameters : 0, on: card)
        times.starting = host.opening(card)
        if model.mergedElementBytes > 0 {
            let request = choices.test.mergedOnCard ? mergedForm(chosen, card, slots: choices.test.slots) : mergedOnProcessor(chosen)
            let merged = try model.programs.plan(request) { type($0, merged: true) }
            times.forms.append(
                choices.test.mergedOnCard ? form(merged) : FormSeconds(merged, held, machine.processor))
            times.formLoading = Double(merged.weightBytes) / host.uploadedBytesPerSecond(card)
            // Both in float32.
            times.comparing = HostTable.comparingSeconds + host.testKernels(card) + Double(8 * merged.parameters) / host.uploadedBytesPerSecond(card)
            times.comparedPerToken = choices.test.comparedOnCard ? trainedForm.perToken : FormSeconds(merged, held, machine.processor).perToken
        }
        return times
    }
}
