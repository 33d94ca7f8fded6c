import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetPlanning
import LorikeetRecipe

extension FineTuning {
    /// What a run will take: memory by part, disk by part, time by phase, and the choices that decide its bits. Its description is the table that
    /// `lorikeet plan` prints.
    public struct Plan: Sendable, Equatable, CustomStringConvertible {
        /// A named amount of bytes.
        public struct Part: Sendable, Equatable {
            /// What the bytes are for.
            public let name: String
            /// How many there are.
            public let bytes: Int64
            /// Whether they are a mapped file's pages, which the system takes back when it wants to.
            public let isMapped: Bool
        }

        /// A phase of the run.
        public struct Phase: Sendable, Equatable {
            /// `training`, `evaluation`, `merging` and others.
            public let name: String
            /// The seconds it is expected to take.
            public let seconds: Double
        }

        /// What is left of a run that has begun in the recipe's output directory.
        public struct Rest: Sendable, Equatable {
            /// The directory that the run goes on from.
            public let path: String
            /// Training steps that are done.
            public let doneSteps: Int
            /// Training steps that are left.
            public let leftSteps: Int
            /// The phases that are left, with their seconds.
            public let phases: [Phase]
            /// Bytes that the rest will still write.
            public let diskBytes: Int64
            /// Whether nothing is left to do.
            public let isFinished: Bool
        }

        package let planned: LorikeetPlanning.Plan
        private let begun: BegunRun?
        private let time: SessionTime?
        /// When run and session end, in words; nil where the recipe names no session.
        var end: String?

        private let download: InputLocator.Download?

        /// Why a run would be refused on this machine as it is now, with the ``ways`` to make it fit; nil where memory, disk and the session's time are
        /// enough.
        public var misfit: LorikeetFailure? { refusal.map { LorikeetFailure($0) } }
        package internal(set) var refusal: LorikeetError?
        var fittingWays: [Fitting.Way] = []

        /// Options with which the run fits.
        public struct Way: Sendable, Equatable {
            /// Names as on the command line without dashes, and their values.
            public let options: [String: String]
            /// What the plan with them says, such as `ends 8 h 51 min after the start`.
            public let effect: String
        }

        /// Where the run would be refused: the least changes of options with which it fits, each of which was planned; empty where none is known.
        public var ways: [Way] {
            fittingWays.map { Way(options: Dictionary($0.options.map { ($0.name, $0.value) }) { $1 }, effect: $0.effect) }
        }
        /// What the user should know of model, settings and directories, besides ``warnings``.
        public internal(set) var notes: [String] = []

        package init(_ planned: LorikeetPlanning.Plan, download: InputLocator.Download?, begun: BegunRun?, time: SessionTime?) {
            (self.planned, self.download, self.begun, self.time) = (planned, download, begun, time)
        }

        /// Bytes of weights that a run fetches from a hub first; 0 where all are here.
        public var downloadBytes: Int64 { download?.bytes ?? 0 }

        /// What training has in memory at once.
        public var trainingMemory: [Part] { planned.trainingMemory.map(Part.init) }
        /// What testing has in memory at once.
        public var testMemory: [Part] { planned.testMemory.map(Part.init) }
        /// What the card holds at once in training; empty on the processor.
        public var gpuTrainingMemory: [Part] { planned.gpuTraining.map(Part.init) }
        /// What the card holds at once in the part of testing that takes most; empty on the processor.
        public var gpuTestMemory: [Part] { planned.gpuTesting.map(Part.init) }
        /// What the output directory will have.
        public var disk: [Part] { planned.disk.map(Part.init) }
        /// The phases in their order.
        public var phases: [Phase] { planned.phases.map(Phase.init) }

        /// The most resident memory of the process, in bytes.
        public var memoryBytes: Int64 { planned.predictedRSSBytes }
        /// The most memory of the card, in bytes; 0 on the processor.
        public var gpuMemoryBytes: Int64 { planned.predictedGPUBytes }
        /// The size of the output directory, in bytes.
        public var diskBytes: Int64 { planned.predictedDiskBytes }
        /// The whole run's seconds.
        public var seconds: Double { planned.predictedSeconds }

        /// Optimiser steps.
        public var steps: Int { planned.steps }
        /// Tokens of all training steps.
        public var trainTokens: Int { planned.trainTokens }
        /// Those of them that are computed: on a processor without dropout, common beginnings once and nothing behind a sample's last trained token.
        public var computedTokens: Int { planned.computedTokens }
        /// Elements of the adapters.
        public var trainableParameters: Int { planned.trainableParameters }
        /// Sessions that the run needs in all; nil where the recipe names no session, or no number of them is enough.
        public var sessionsNeeded: Int? { planned.sessionsNeeded }
        /// What does not stop a run.
        public var warnings: [String] { planned.warnings }

        /// `cpu`, or the card's name.
        public var device: String { planned.choices.device }
        /// The type of activations: `f32`, `f16` or `bf16`.
        public var computeType: String { planned.choices.element.suffix }
        /// How the frozen base is stored: `stored` is the file's own form; else `nf4`, `f16`, `bf16` or `f32`.
        public var baseStorage: String { planned.choices.storage.rawValue }
        /// Threads of the processor.
        public var threads: Int { planned.choices.threads }
        /// The most tokens of a micro-batch in training.
        public var microBatchTokens: Int { planned.choices.sizes.training }

        /// What is left of a run that has begun; nil where none has.
        public var rest: Rest? {
            guard let begun else { return nil }
            let rest = begun.rest(of: planned)
            return Rest(
                path: begun.path, doneSteps: begun.steps ?? planned.steps, leftSteps: rest.steps, phases: rest.phases.map(Phase.init),
                diskBytes: rest.diskBytes, isFinished: begun.isFinished)
        }

        /// The plan as `lorikeet plan --json` prints it, with every choice.
        public var json: String { jsonValue.serialized(pretty: true) }

        private var jsonValue: JSON {
            guard var object = planned.json.object else { return planned.json }
            if let download { object["download_bytes"] = .integer(download.bytes) }
            if let begun { object["left"] = begun.json(planned) }
            if let refusal {
                object["misfit"] = .string(refusal.what)
                object["ways"] = .array(
                    fittingWays.map { way in
                        let options = JSONObject(way.options.map { ($0.name, .string($0.value)) })
                        return ["options": .object(options), "effect": .string(way.effect)]
                    })
            }
            return .object(object)
        }

        /// The plan for people: a table, and a line each for what is left and for the sessions.
        public var description: String {
            var text = planned.table()
            if !planned.fitted.isEmpty { text += "made to fit: \(planned.fitted.joined(separator: ", "))\n" }
            if let begun { text += begun.words(planned) + "\n" }
            if let time, let total = time.total {
                text += (["sessions: \(time.words(total))"] + (total > 1 ? time.partLines() : [])).joined(separator: "\n") + "\n"
            }
            if let end { text += "by the clock: \(end)\n" }
            return text
        }
    }

    /// Predicts memory, disk and time. Reads data and the model's headers; no weights are loaded, and none are fetched from a hub.
    ///
    /// - Returns: the plan of the whole run, with ``Plan/misfit`` where it would be refused.
    /// - Throws: where recipe, model or data cannot be used, and where the calling task was cancelled
    ///   (``LorikeetFailure/Kind-swift.enum/interrupted``).
    public func plan() async throws(LorikeetFailure) -> Plan {
        try await OwnThread.run { isCancelled in
            let check = CancellationCheck(isCancelled: isCancelled)
            let compute = try DeviceRequest(recipe).open()
            let located = try locator(isCancelled).locate(recipe, weights: false)
            try check()
            var (planner, warning) = try Preparation.planner(
                located, card: PlannedCard(compute, gpuMemory: recipe.gpuMemoryBytes), cpu: compute.cpu, cacheFolder: cacheFolder, files: RealFiles(),
                check: check.callAsFunction)
            let environment = PipelineEnvironment(locator: locator(isCancelled))
            let search = try BegunRun.find(recipe, goal: .testedModel, environment)
            let asked = AskedPlan(recipe, begun: search.run, elapsed: 0, now: environment.clock.now)
            let limits = try asked.limits(isElsewhere: false, located.download, notebook: nil, files: RealFiles())
            var plan = try asked.plan(&planner, limits, located.download)
            plan.notes =
                [warning].compactMap { $0 } + notes + located.notes + located.warnings + DeviceRequest.idleWarnings(recipe, on: compute)
                + search.notes + search.warnings + plan.notes
            return plan
        }
    }
}

extension FineTuning.Plan.Part {
    fileprivate init(_ part: LorikeetPlanning.Plan.Part) { self.init(name: part.name, bytes: part.bytes, isMapped: part.mapped) }
}

extension FineTuning.Plan.Phase {
    fileprivate init(_ phase: LorikeetPlanning.Plan.Phase) { self.init(name: phase.name, seconds: phase.seconds) }
}
