import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON

/// What a run will take, computed before it starts, and the choices that decide its bits.
package struct Plan: Sendable, Equatable {
    /// A named amount of bytes.
    package struct Part: Sendable, Equatable {
        package let name: String
        package let bytes: Int64
        /// A mapped file's: the system takes them back when it wants to.
        package let mapped: Bool

        package init(_ name: String, _ bytes: Int64, mapped: Bool = false) {
            self.name = name
            self.bytes = bytes
            self.mapped = mapped
        }
    }

    /// The card that a run is planned for.
    package struct Device: Sendable, Equatable {
        package let name: String
        /// Rates of this card were measured; else they are in proportion to its data sheet.
        package let isMeasured: Bool
        /// It is no card of this machine (`--as`).
        package let isElsewhere: Bool
    }

    /// Everything that changes the bits of a result and is not in the recipe: replayed on resume.
    package struct Choices: Sendable, Equatable {
        package var storage: BaseStorage
        package var threads: Int
        /// Rows a micro-batch may have.
        package var tokensPerBatch: Int
        /// Rows of the largest training micro-batch, and of the largest evaluation batch.
        package var sizes: SessionSizes
        package var passes: PassPolicy
        /// `cpu`, or the card's name.
        package var device = "cpu"
        /// Type of activations, and the compute capability kernels are built for (0 on the processor).
        package var element = DeviceElement.f32
        package var architecture = 0
        /// Stored linears stay expanded on the card.
        package var keepsExpanded = false
        /// The embedding lies in the host's memory (`DevicePlan.embeddingOnHost`).
        package var embeddingOnHost = false
        /// Products were measured, and which way was chosen for each (see `GEMMChoices`).
        package var tuned = false
        package var products: [String: Int] = [:]
        /// Rows an evaluation batch may have.
        package var evaluationTokensPerBatch: Int
        /// How the test runs.
        package var test = Test()

        package struct Test: Sendable, Equatable {
            /// Sequences that are answered at a time.
            package var slots = Planner.slots
            /// The trained form is tested with its linears expanded, as it was trained.
            package var keepsExpanded = false
            /// The merged model runs on the card; and there, in float32, the two models whose logits are compared.
            package var mergedOnCard = false
            package var comparedOnCard = false
        }

        package init(
            storage: BaseStorage, threads: Int, tokensPerBatch: Int, sizes: SessionSizes, passes: PassPolicy, evaluationTokensPerBatch: Int? = nil
        ) {
            self.storage = storage
            self.threads = threads
            self.tokensPerBatch = tokensPerBatch
            self.sizes = sizes
            self.passes = passes
            self.evaluationTokensPerBatch = evaluationTokensPerBatch ?? tokensPerBatch
        }

        /// The same arithmetic on the same kind of machine: what a plan must share with a kept one to be replaced by it.
        package func sameDevice(as other: Choices) -> Bool {
            device == other.device && element == other.element && architecture == other.architecture
        }
    }

    package var choices: Choices
    /// What training has in memory at once.
    package var trainingMemory: [Part]
    /// What testing has in memory at once.
    package var testMemory: [Part]
    /// What the card holds at once in training, and in the part of testing that takes most; empty on the processor.
    package var gpuTraining: [Part] = []
    package var gpuTesting: [Part] = []
    package var disk: [Part]
    package var phases: [Phase]
    /// By which factors, which `phases` hold, the run is slower than alone, since other processes work.
    package var slowdown = Slowdown()
    package var steps: Int
    /// Tokens of the samples of all optimiser steps.
    package var trainTokens: Int
    /// Those of them that are not computed: what samples of a step begin with is computed once, and nothing behind a sample's last trained token.
    package var savedTokens = 0
    /// The mean work of a row of training.
    package var trainingLoad = Workload()
    package var trainableParameters: Int
    package var warnings: [String]
    /// The work of a training step and the device's rate, with which a run's speed is compared; nil where nothing is trained.
    package var limit: Limit?
    /// nil on the processor.
    package var device: Device?
    /// Sessions that the run needs in all (`SessionTime`); nil where the recipe names no session, or no number of them is enough.
    package var sessionsNeeded: Int?
    /// What is done in each of them.
    package var sessions: [SessionTime.Part] = []
    /// Keys that `fit` changed, with their values before and now.
    package var fitted: [String] = []

    /// The most resident memory, over both phases.
    package var predictedRSSBytes: Int64 { max(Self.sum(trainingMemory), Self.sum(testMemory)) }
    /// Tokens that training computes.
    package var computedTokens: Int { trainTokens - savedTokens }
    package var predictedGPUBytes: Int64 { max(Self.sum(gpuTraining), Self.sum(gpuTesting)) }
    package var predictedDiskBytes: Int64 { Self.sum(disk) }
    package var predictedSeconds: Double { phases.reduce(0) { $0 + $1.seconds } }

    static func sum(_ parts: [Part]) -> Int64 { parts.reduce(0) { $0 + $1.bytes } }

    /// Bytes of memory that have to be available: what is no mapped file's, in the phase that takes most.
    package var neededMemory: Int64 { max(Self.sum(trainingMemory.filter { !$0.mapped }), Self.sum(testMemory.filter { !$0.mapped })) }

    /// Exit 3 when `available` bytes of memory do not suffice; nil where they do, or where they are not known.
    package func memoryError(available: Int64?) -> LorikeetError? {
        guard let available, neededMemory > available else { return nil }
        return LorikeetError(
            .doesNotFit, "the run needs \(Units.formatBytes(neededMemory)) of memory and \(Units.formatBytes(available)) are available",
            fix: "lower max_length or per_device_train_batch_size, or use base_storage nf4")
    }

    /// Exit 3 when `free` bytes of the disk of `output` do not suffice; nil where they do, or where they are not known.
    package func diskError(free: Int64?, output: String) -> LorikeetError? {
        guard let free, predictedDiskBytes > free else { return nil }
        return LorikeetError(
            .doesNotFit, "the run needs \(Units.formatBytes(predictedDiskBytes)) on the disk and \(Units.formatBytes(free)) are free", at: output,
            fix: "free some space, lower save_total_limit, or name another output directory")
    }

    package var json: JSON {
        func parts(_ list: [Part]) -> JSON { .object(JSONObject(list.map { ($0.name, .integer($0.bytes)) })) }
        var object: JSONObject = [
            "choices": choices.json,
            "predicted_rss_bytes": .integer(predictedRSSBytes), "predicted_gpu_bytes": .integer(predictedGPUBytes),
            "predicted_disk_bytes": .integer(predictedDiskBytes),
            "predicted_seconds": .number(predictedSeconds), "slowdown": .number(slowdown.allThreads), "training_memory": parts(trainingMemory),
            "test_memory": parts(testMemory),
            "gpu_training_memory": parts(gpuTraining), "gpu_test_memory": parts(gpuTesting),
            "disk": parts(disk), "phases": .object(JSONObject(phases.map { ($0.name, .number($0.seconds)) })), "steps": JSON(steps),
            "train_tokens": JSON(trainTokens), "computed_tokens": JSON(computedTokens), "trainable_parameters": JSON(trainableParameters),
            "warnings": JSON(warnings),
            "sessions_needed": sessionsNeeded.map { JSON($0) } ?? .null,
        ]
        let ranges = phases.filter { $0.range != nil }.map { ($0.name, JSON.array([.number($0.range?.lowerBound ?? 0), .number($0.range?.upperBound ?? 0)])) }
        object["phase_ranges"] = .object(JSONObject(ranges))
        object["measured_phases"] = JSON(phases.filter { $0.tableSeconds != nil }.map(\.name))
        if let device {
            object["planned_for"] = ["card": .string(device.name), "measured": .bool(device.isMeasured), "elsewhere": .bool(device.isElsewhere)]
        }
        if !sessions.isEmpty { object["sessions"] = .array(sessions.map(\.json)) }
        if !fitted.isEmpty { object["fitted"] = JSON(fitted) }
        if let limit { object["limit"] = limit.json }
        return .object(object)
    }

    /// The plan for people.
    ///
    /// - Parameter warnings: false where they are told by themselves.
    package func table(warnings told: Bool = true) -> String {
        let width = ([trainingMemory, testMemory, gpuTraining, gpuTesting, disk].joined().map(\.name.count) + [32]).reduce(0, max) + 2
        func rows(_ title: String, _ parts: [Part]) -> [String] {
            ["\(title): \(Units.formatBytes(Self.sum(parts)))"] + parts.map { "    \($0.name.padded(to: width))\(Units.formatBytes($0.bytes))" }
        }
        var lines = rows("memory in training", trainingMemory) + rows("memory in testing", testMemory)
        if !gpuTraining.isEmpty {
            lines += rows("GPU memory in training (\(choices.device), \(choices.element.suffix))", gpuTraining) + rows("GPU memory in testing", gpuTesting)
        }
        lines += rows("disk", disk)
        lines += timeLines(width: width)
        let shared = computedTokens < trainTokens ? " (\(computedTokens) computed: common beginnings once, nothing behind a sample's last trained token)" : ""
        lines.append(
            "\(steps) steps, \(trainTokens) tokens\(shared), \(trainableParameters) trained parameters, "
                + "micro-batches of at most \(choices.sizes.training) tokens")
        return (lines + (told ? warnings.map { "warning: \($0)" } : [])).joined(separator: "\n") + "\n"
    }

    /// Two plans side by side.
    package static func comparison(_ a: (name: String, plan: Plan), _ b: (name: String, plan: Plan)) -> String {
        let rows: [(String, (Plan) -> String)] = [
            ("steps", { "\($0.steps)" }), ("tokens", { "\($0.trainTokens)" }), ("computed tokens", { "\($0.computedTokens)" }),
            ("trained parameters", { "\($0.trainableParameters)" }),
            ("memory in training", { Units.formatBytes(sum($0.trainingMemory)) }), ("memory in testing", { Units.formatBytes(sum($0.testMemory)) }),
            ("GPU memory in training", { Units.formatBytes(sum($0.gpuTraining)) }), ("GPU memory in testing", { Units.formatBytes(sum($0.gpuTesting)) }),
            ("disk", { Units.formatBytes($0.predictedDiskBytes) }), ("time", { Units.formatSeconds($0.predictedSeconds) }),
        ]
        var lines = ["".padded(to: 24) + a.name.padded(to: 20) + b.name]
        let onCard = !a.plan.gpuTraining.isEmpty || !b.plan.gpuTraining.isEmpty
        lines += rows.filter { onCard || !$0.0.hasPrefix("GPU") }.map { $0.0.padded(to: 24) + $0.1(a.plan).padded(to: 20) + $0.1(b.plan) }
        return lines.joined(separator: "\n") + "\n"
    }
}
