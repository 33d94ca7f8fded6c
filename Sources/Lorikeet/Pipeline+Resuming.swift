import LorikeetEngine
import LorikeetGround
import LorikeetRecipe

/// Going on from an earlier output (`resume_from`).
///
/// Until the directory is claimed, the pipeline reads the earlier output where it stands: `output` is its directory. `takeOver` then copies what
/// is needed, and `output` is the recipe's own from there on.
extension Pipeline {
    /// Chooses what the run goes on from: the earlier output that `resume_from` names where it is further than the recipe's own.
    ///
    /// - Throws: exit 2 where the folder is missing, holds no output, or one of another recipe.
    func chooseBeginning() throws {
        guard let wanted = recipe.resumeFrom else { return }
        let own = try ownProgress()
        guard let found = try earlierOutput(wanted, own) else { return }
        if own >= found.progress {
            return try reporter.note(
                "\(target.path) is \(own.words) and is continued; \(found.directory.path), which is not further, is \(found.progress.words)")
        }
        if own > .nothing {
            // What is there already has to be of the very run that is taken over.
            _ = try target.check(for: found.recipe)
            if let mine = try target.keptInputs(), let theirs = try found.directory.keptInputs() { try theirs.requireSame(as: mine) }
        }
        try reporter.note("going on from \(found.directory.path), which is \(found.progress.words)")
        (earlier, recipe, output) = (found, found.recipe, found.directory)
        output.check = target.check
    }

    private func ownProgress() throws -> RunProgress {
        // A directory of another recipe is refused whatever stands elsewhere.
        _ = try target.check(for: recipe, accepting: environment.acceptsChanges)
        return try target.progress(recipe, goal: goal)
    }

    private func earlierOutput(_ wanted: String, _ own: RunProgress) throws -> EarlierOutput? {
        let isAuto = wanted == "auto"
        let folders = isAuto ? environment.inputFolders : [wanted]
        let files = environment.files
        if !isAuto, !files.isDirectory(wanted) {
            guard own > .nothing else {
                throw LorikeetError.input("no folder of that name", at: wanted, fix: "name an earlier output in --resume-from, or leave it out to begin anew")
            }
            try reporter.note("\(wanted) does not exist; \(target.path), which is \(own.words), is continued")
            return nil
        }
        let here = RealFiles.absolute(target.path)
        let search = EarlierOutputSearch(files: files, recipe: asked, goal: goal, inputs: currentInputs)
        var found = try search.find(in: folders.filter { RealFiles.absolute($0) != here })
        found.usable.removeAll { RealFiles.absolute($0.directory.path) == here }
        let places = folders.joined(separator: ", ")
        if found.isCut { try reporter.warning("\(places): too many files to look at all of them; name the earlier output's folder in --resume-from") }
        if let furthest = found.furthest {
            for other in found.others where isAuto { try reporter.note("not used: \(other.place ?? ""): \(other.what)") }
            return furthest
        }
        if !isAuto, let other = found.others.first {
            throw LorikeetError.input(other.what, at: other.place, fix: "name an output of this recipe in --resume-from, or leave it out to begin anew")
        }
        if !isAuto, found.empty.isEmpty, RealFiles.absolute(wanted) != here {
            throw LorikeetError.input(
                "the folder holds no output of a run", at: wanted, fix: "name the folder with run.yaml in --resume-from, or leave it out to begin anew")
        }
        for other in found.others { try reporter.note("not used: \(other.place ?? ""): \(other.what)") }
        for empty in found.empty { try reporter.note("not used: \(empty) has no complete checkpoint") }
        if own == .nothing { try reporter.note("no earlier output of this recipe in \(places): the run begins from the start") }
        return nil
    }

    /// The check sums of the inputs, for telling outputs of other data or models; nil where something is still on a hub, or cannot be read.
    func currentInputs() throws -> RunInputs? {
        let located = try environment.locator.locate(asked, weights: false)
        guard located.download == nil, let model = located.recipe.model else { return nil }
        let source = try ModelSource.open(model, files: environment.files)
        return try RunInputs(recipe: located.recipe, source: source, files: environment.files, check: requireGoing) { (0..<$0).forEach($1) }
    }

    /// Copies what the run goes on from into the recipe's own directory; does nothing without an earlier output.
    func takeOver() throws {
        guard let earlier else { return }
        self.earlier = nil
        output = target
        if let warning = try output.claim(for: recipe) { try reporter.warning(warning) }
        try output.adopt(earlier) { try reporter.warning($0) }
        try reporter.note("copied into \(output.path) and verified; \(earlier.directory.path) is not needed any more")
    }
}
