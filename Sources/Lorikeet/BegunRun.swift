import LorikeetGround
import LorikeetJSON
import LorikeetPlanning
import LorikeetRecipe
import LorikeetReporting
import LorikeetTraining
import Synchronization

/// A run that has begun, as its recipe's next process would find it: in the recipe's output directory, or in the earlier output of `resume_from`.
package struct BegunRun: Sendable, Equatable {
    /// The directory that the run goes on from.
    package let path: String
    /// Steps that the newest whole checkpoint holds; nil where nothing is left to do.
    package let steps: Int?
    /// Bytes of the output directory that the run does not write again.
    package let keptBytes: Int64
    /// The number of the session that comes next, from 1.
    package let session: Int
    private let checkpoint: CheckpointStore.Whole?

    package var isFinished: Bool { steps == nil }

    /// Steps of a plan that need not be done any more: they are done, or dropped.
    func done(of plan: Plan) -> Int { plan.steps - (checkpoint?.left(of: plan.steps) ?? 0) }

    /// What a look at a recipe's directories found.
    package struct Search: Sendable, Equatable {
        /// nil where nothing has begun.
        package var run: BegunRun?
        package var notes: [String] = []
        package var warnings: [String] = []
    }

    /// Looks for the run; writes nothing. An output directory in which a run of this recipe would be refused gets a warning.
    ///
    /// - Parameter environment: its sinks are not told anything.
    /// - Throws: exit 2 where `resume_from` names something that the recipe cannot go on from, exit 4 where something cannot be read.
    package static func find(_ recipe: Recipe, goal: Pipeline.Goal, _ environment: PipelineEnvironment) throws -> Search {
        let heard = Texts()
        var environment = environment
        environment.sinks = [heard]
        let pipeline = Pipeline(recipe: recipe, notes: [], goal: goal, environment: environment)
        try pipeline.chooseBeginning()
        var search = Search()
        (search.notes, search.warnings) = heard.all
        let output = pipeline.output
        do {
            search.warnings += try output.check(for: pipeline.recipe)
        } catch let error as LorikeetError where error.exit == .unusableInput {
            search.warnings.append("a run would be refused: \(error.description)")
            return search
        }
        let checkpoint: CheckpointStore.Whole?
        switch try output.progress(pipeline.recipe, goal: goal) {
        case .nothing: return search
        case .trained: checkpoint = try output.newestCheckpoint(pipeline.recipe)
        case .finished: checkpoint = nil
        }
        let session = try output.sessions().number(of: environment.session.identity)
        search.run = BegunRun(
            path: output.path, steps: checkpoint?.step, keptBytes: try pipeline.target.keptBytes(), session: session, checkpoint: checkpoint)
        return search
    }

    /// What is left of the run's plan.
    package func rest(of plan: Plan) -> Plan.Rest {
        isFinished ? Plan.Rest(steps: 0, phases: [], diskBytes: 0) : plan.rest(done: done(of: plan), keptBytes: keptBytes)
    }

    /// A line under the plan's table.
    package func words(_ plan: Plan) -> String {
        guard let steps else { return "left: nothing; \(path) is finished" }
        let rest = rest(of: plan)
        let parts = rest.phases.filter { $0.seconds > 0 }.map { "\($0.name) \(Units.formatSeconds($0.seconds))" }.joined(separator: ", ")
        return "left: \(rest.steps) of \(plan.steps) steps, for \(path) is at step \(steps); about \(Units.formatSeconds(rest.seconds)) (\(parts)); "
            + "\(Units.formatBytes(rest.diskBytes)) more on the disk; memory as above"
    }

    /// The same in the plan's JSON.
    package func json(_ plan: Plan) -> JSON {
        var object = rest(of: plan).json.object ?? [:]
        object["from"] = .string(path)
        object["done_steps"] = JSON(steps ?? plan.steps)
        object["finished"] = .bool(isFinished)
        return .object(object)
    }
}

/// Keeps the texts of notes and warnings.
private final class Texts: EventSink, Sendable {
    private let kept = Mutex<(notes: [String], warnings: [String])>(([], []))
    var all: (notes: [String], warnings: [String]) { kept.withLock { $0 } }

    func receive(_ event: Event) {
        guard let text = event.fields["text"]?.string else { return }
        kept.withLock { kept in
            if event.kind == .note { kept.notes.append(text) } else if event.kind == .warning { kept.warnings.append(text) }
        }
    }
}
