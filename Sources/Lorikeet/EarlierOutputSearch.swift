import LorikeetGround
import LorikeetRecipe

/// Finds outputs of a recipe in folders that are attached to a notebook.
struct EarlierOutputSearch {
    let files: any Files
    /// The recipe as it was asked for: its date is that of the output which it goes on from.
    let recipe: Recipe
    let goal: Pipeline.Goal
    /// The inputs as they are now; nil where they cannot be read yet. Called at most once, and only where an output has the same keys.
    let inputs: () throws -> RunInputs?

    /// Outputs that were looked at.
    struct Found {
        var usable: [EarlierOutput] = []
        /// Outputs of the recipe that hold nothing to go on from.
        var empty: [String] = []
        /// Outputs of other recipes: what is different.
        var others: [LorikeetError] = []
        /// Not every folder could be looked at.
        var isCut = false

        /// The furthest, the first of equals.
        var furthest: EarlierOutput? { usable.reduce(nil) { best, next in best.map { next.progress > $0.progress } ?? true ? next : best } }
    }

    private static let mostEntries = 20_000
    private static let deepest = 6

    /// The outputs in folders. Links are not followed, and nothing is looked for inside an output.
    func find(in folders: [String]) throws -> Found {
        var found = Found()
        var left = folders.filter { files.isDirectory($0) }.map { (path: RealFiles.trimmed($0), depth: 0) }[...]
        var seen = 0
        var current: RunInputs??
        while let (folder, depth) = left.popFirst() {
            if files.isRegular(folder + "/run.yaml") {
                try examine(folder, &found) {
                    if current == nil { current = .some(try inputs()) }
                    return current ?? nil
                }
                continue
            }
            for name in (try? files.list(folder)) ?? [] where !name.hasPrefix(".") {
                seen += 1
                guard seen <= Self.mostEntries else {
                    found.isCut = true
                    return found
                }
                let inner = folder + "/" + name
                if depth < Self.deepest, files.isDirectory(inner), !files.isLink(inner) { left.append((inner, depth + 1)) }
            }
        }
        return found
    }

    private func examine(_ folder: String, _ found: inout Found, _ current: () throws -> RunInputs?) throws {
        var asRun = recipe
        asRun.set("output", .text(folder))
        asRun = asRun.dated(files: files, clock: SystemClock())
        let directory = OutputDirectory(path: folder, files: files, recipe: asRun)
        do {
            _ = try directory.check(for: asRun)
            let progress = try directory.progress(asRun, goal: goal)
            guard progress > .nothing else { return found.empty.append(folder) }
            if let kept = try directory.keptInputs(), let now = try current() { try now.requireSame(as: kept) }
            asRun.set("output", .text(recipe.output))
            found.usable.append(EarlierOutput(directory: directory, recipe: asRun, progress: progress))
        } catch let error as LorikeetError where error.exit == .unusableInput {
            found.others.append(error)
        }
    }
}
