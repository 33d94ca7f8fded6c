import LorikeetDevices
import LorikeetGround
import LorikeetPlanning
import LorikeetRecipe

/// What a run has to fit into beside the card's memory: as the recipe names it, and as this machine has it.
package struct RunLimits {
    /// A limit that a plan exceeds, in the order in which they are looked at.
    package enum Kind: Int, Sendable, Comparable {
        case card, memory, disk
        /// Merging and testing, which have to be done within one session; and the whole run.
        case finishing, time

        package static func < (a: Kind, b: Kind) -> Bool { a.rawValue < b.rawValue }
    }

    /// Bytes of this machine's memory and disk that the run may take by what is free; nil where it is planned for another machine.
    private var machine: (memory: Int64, disk: Int64)?
    /// Bytes that the kept folder holds, but for those of the run's own that its plan counts.
    private var others: Int64 = 0
    /// The time that a recipe's run has; nil where the recipe names no session.
    private var time: (_ recipe: Recipe, _ plan: Plan) -> SessionTime?
    /// There is a checkpoint to go on from: what decides the training cannot change, and a lack of time is only a warning.
    let goesOn: Bool

    /// - Parameters:
    ///   - isElsewhere: the plan is for another machine: of memory and disk only what the recipe names counts.
    ///   - output: the recipe's output directory.
    ///   - notebook: the service whose kept folder `disk` is the limit of; nil takes the output directory.
    ///   - files: the disk, with the limits of the service.
    /// - Throws: exit 3 where the disk has no room for the weights that are still to be fetched, exit 4 where it is not known what is free.
    package init(
        _ recipe: Recipe, isElsewhere: Bool, download: InputLocator.Download?, output: OutputDirectory, notebook: NotebookService?, files: any Files,
        goesOn: Bool, time: @escaping (_ recipe: Recipe, _ plan: Plan) -> SessionTime?
    ) throws {
        (self.goesOn, self.time) = (goesOn, time)
        guard !isElsewhere else { return }
        let kept = try output.keptBytes()
        let free = try download?.freeBytes(for: recipe.output, files) ?? files.freeBytes(at: recipe.output)
        machine = (Machine.availableMemoryBytes() + Machine.residentBytes(), free + kept)
        guard recipe.diskBytes != nil else { return }
        let place = RealFiles.absolute(recipe.output)
        let folder = notebook?.quotas.first { place == $0.path || place.hasPrefix($0.path + "/") }?.path ?? place
        guard files.isDirectory(folder), let left = try FolderQuota(path: folder, bytes: .max).freeBytes(at: place, files: files) else { return }
        others = .max - left - kept
    }

    /// Bytes of memory and disk that a recipe's run may take; nil where nothing limits them.
    func memory(_ recipe: Recipe) -> Int64? { [recipe.ramBytes, machine?.memory].compactMap { $0 }.min() }
    func disk(_ recipe: Recipe) -> Int64? { [recipe.diskBytes.map { $0 - others }, machine?.disk].compactMap { $0 }.min() }

    /// The smallest `ram` and `disk` with which a plan fits; nil where the machine has less, or where the recipe names none.
    func enoughMemory(_ plan: Plan, _ recipe: Recipe) -> Int64? {
        guard recipe.ramBytes != nil, plan.neededMemory <= machine?.memory ?? .max else { return nil }
        return plan.neededMemory
    }
    func enoughDisk(_ plan: Plan, _ recipe: Recipe) -> Int64? {
        guard recipe.diskBytes != nil, plan.predictedDiskBytes <= machine?.disk ?? .max else { return nil }
        return plan.predictedDiskBytes + others
    }

    func time(_ plan: Plan, _ recipe: Recipe) -> SessionTime? { time(recipe, plan) }

    /// The same limits with a hundredth of the session taken off: what is chosen to fit is checked and begins a little later.
    func withTimeToChoose() -> RunLimits {
        var limits = self
        limits.time = { [time] recipe, plan in
            time(recipe, plan).map {
                var time = $0
                time.elapsed += time.session / 100
                return time
            }
        }
        return limits
    }

    /// The first limit that a plan exceeds, and the error that says so; nil where it fits.
    func misfit(_ plan: Plan, _ recipe: Recipe) -> (kind: Kind, error: LorikeetError)? {
        if let error = plan.memoryError(available: memory(recipe)) { return (.memory, error) }
        if let error = plan.diskError(free: disk(recipe), output: recipe.output) { return (.disk, error) }
        guard let time = time(recipe, plan) else { return nil }
        do { _ = try time.check(goesOn: goesOn) } catch { return (time.laterSeconds < time.finishing ? .finishing : .time, error) }
        return nil
    }

    /// - Returns: a warning where a run that goes on needs more time than there is.
    /// - Throws: exit 3 where the plan does not fit.
    func require(_ plan: Plan, _ recipe: Recipe) throws -> String? {
        if let misfit = misfit(plan, recipe) { throw misfit.error }
        return try time(recipe, plan)?.check(goesOn: goesOn)
    }
}
