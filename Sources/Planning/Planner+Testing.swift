import LorikeetDatasets
import LorikeetEngine

/// Host memory of a run's test.
extension Planner {
    /// What testing on the processor has in memory at once: the parts of the form of the model that takes most, for the forms are loaded one after
    /// the other, and each leaves before the next.
    ///
    /// - Parameters:
    ///   - program: of the base as it is trained.
    ///   - merged: bytes of the merged model; 0 where none is tested.
    func testMemory(_ program: ProgramPlan, merged: Int64) throws -> [Plan.Part] {
        let kept = processMemory() + [.init("adapters, gradients, optimiser", Int64(program.adapterBytes))]
        let evaluating = Plan.Part("arena", Int64(program.evaluationArenaBytes))
        let cache = Plan.Part("KV cache", Int64(program.cacheBytes))
        var forms = [kept + [.init("weights (\(model.storage.rawValue))", Int64(program.weightBytes)), evaluating, cache]]
        if merged > 0 {
            let comparing = try comparison(merged: true)
            let compared = try comparison(merged: false)
            forms.append(
                kept + [
                    .init("weights (\(model.comparedStorage.rawValue))", Int64(compared.weightBytes)),
                    .init("adapter, loaded again", Int64(compared.parameterBytes)), arena(compared), .init("KV cache", Int64(compared.cacheBytes)),
                    recordedLogits,
                ])
            // The logits of merged model and exports are compared after their losses, in an arena and a cache of their own.
            func form(_ weights: Plan.Part, answers: Bool) -> [Plan.Part] {
                let own = evaluating.bytes + (answers ? cache.bytes : 0)
                let other = arena(comparing).bytes + Int64(comparing.cacheBytes)
                return kept + [weights, .init("arena and KV cache", max(own, other)), recordedLogits]
            }
            forms.append(form(.init("merged weights", merged), answers: true))
            forms += model.exports.map { form($0.weights, answers: false) }
        }
        return forms.max { Plan.sum($0) < Plan.sum($1) } ?? kept
    }

    /// The logits of the trained form with which those of merged and exported forms are compared: float32 of some rows of some samples.
    var recordedLogits: Plan.Part {
        let rows = data.heldOut.prefix(Self.comparedSamples).reduce(0) { $0 + min(Self.comparedRows, $1.trained) }
        return .init("logits to compare", Int64(rows * model.source.configuration.vocabularySize * 4))
    }

    /// The most rows, and the most samples, that are computed at a time to compare samples of these lengths.
    package static func comparison(_ lengths: [Int], tokensPerBatch: Int) -> (rows: Int, samples: Int) {
        packedGroups(lengths: lengths, tokensPerBatch: tokensPerBatch).reduce((1, 1)) { most, group in
            (max(most.0, group.reduce(0) { $0 + lengths[$1] }), max(most.1, group.count))
        }
    }

    /// The program that computes logits which are compared, on the processor.
    func comparison(merged: Bool) throws -> ProgramPlan {
        let lengths = data.heldOut.prefix(Self.comparedSamples).map(\.tokens)
        let most = Self.comparison(lengths, tokensPerBatch: Self.comparedTokens)
        var request = ProgramRequest(
            storage: merged ? .stored : model.comparedStorage, lora: merged ? nil : model.lora,
            sizes: SessionSizes(training: 0, evaluation: most.rows, headChunk: 32), target: .cpu(threads: machine.threads))
        (request.slots, request.positions, request.optimiser) = (most.samples, max(1, lengths.max() ?? 1), model.optimiser)
        return try model.plan(request)
    }

    /// The arena of a comparison. Its program is planned with the logits of a row of each sample; it computes those of `comparedRows`, and copies them.
    func arena(_ comparison: ProgramPlan) -> Plan.Part {
        let samples = data.heldOut.prefix(Self.comparedSamples)
        let groups = packedGroups(lengths: samples.map(\.tokens), tokensPerBatch: Self.comparedTokens)
        let rows = groups.map { $0.reduce(0) { $0 + min(Self.comparedRows, samples[samples.startIndex + $1].trained) } }.max() ?? 0
        return .init("arena", Int64(comparison.evaluationArenaBytes + 2 * rows * 4 * model.source.configuration.vocabularySize))
    }
}
