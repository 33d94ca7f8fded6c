import LorikeetEngine
import LorikeetGround
import LorikeetHub
import LorikeetJSON
import LorikeetModelFiles
import LorikeetRecipe

/// Finds what a recipe or an option names: a file or folder of this machine, or, where there is none of that name, a model or data set on a hub.
/// A folder may be one above the model's or the data's own, as notebooks mount them (`/kaggle/input/NAME`).
package struct InputLocator {
    package var files: any Files
    /// The variables that say which hub and which cache (`HubSettings`).
    package var variables: [String: String]
    /// Progress of downloads, stops, pauses.
    package var client: HubEnvironment

    /// - Parameter variables: the process's environment; without one only the cache's folder is missing, and a hub's name is an error.
    package init(files: any Files = RealFiles(), variables: [String: String] = [:], client: HubEnvironment = HubEnvironment()) {
        (self.files, self.variables, self.client) = (files, variables, client)
    }

    /// Where something is, and what the user should know of it.
    package struct Located: Equatable {
        /// One, but for records in several files.
        package var paths: [String]
        /// Validation records found beside training records.
        package var validation: [String] = []
        package var notes: [String] = []
        package var warnings: [String] = []

        package init(paths: [String], validation: [String] = [], notes: [String] = []) {
            (self.paths, self.validation, self.notes) = (paths, validation, notes)
        }
        package init(path: String, notes: [String] = []) { self.init(paths: [path], notes: notes) }

        package var path: String { paths.first ?? "" }
    }

    /// A recipe whose paths are all of this machine.
    package struct LocatedRecipe {
        package var recipe: Recipe
        package var notes: [String] = []
        package var warnings: [String] = []
        /// What the recipe's files are opened with: the disk, and the headers of weights that were not fetched.
        package var files: any Files
        /// The weights that were not fetched; nil where all are here.
        package var download: Download?
    }

    /// Weights that are still on the hub.
    package struct Download: Sendable, Equatable {
        package let model: String
        package let files: Int
        package let bytes: Int64
        /// Where they will be kept.
        package let folder: String

        /// `9.4 MiB in 1 file into FOLDER`
        package var words: String { "\(Units.formatBytes(bytes)) in \(files) \(files == 1 ? "file" : "files") into \(folder)" }

        /// - Returns: bytes that are left for a run in `output` when the weights are there: they may take them from the same disk.
        /// - Throws: exit 3 where the disk has no room for them.
        package func freeBytes(for output: String, _ disk: any Files) throws -> Int64 {
            let (here, there) = (try disk.freeBytes(at: folder), try disk.freeBytes(at: output))
            guard bytes <= here else {
                throw LorikeetError(
                    .doesNotFit,
                    "the weights of \(model) are still to be fetched (\(Units.formatBytes(bytes))) and the disk has \(Units.formatBytes(here)) free",
                    at: folder, fix: "free some space, or name a folder on a larger disk in HF_HOME")
            }
            // Two disks seldom have the same number of free bytes.
            return abs(here - there) < 64 << 20 ? there - bytes : there
        }
    }

    /// Finds every input of a recipe. Where a run has begun in its output directory, a name stands for the commit that the run began with, also
    /// where the hub has a newer one.
    ///
    /// - Parameters:
    ///   - weights: false leaves a model's weights on the hub and reads their headers alone: enough to check and to plan.
    ///   - begunIn: the directory in which the run began; nil is the recipe's output.
    /// - Throws: exit 2 where an input is neither here nor on the hub, or several things fit; else as `Hub.pull`.
    package func locate(_ recipe: Recipe, weights: Bool = true, begunIn: String? = nil) throws -> LocatedRecipe {
        var result = LocatedRecipe(recipe: recipe, files: files)
        let kept = try OutputDirectory(path: begunIn ?? recipe.output, files: files).keptInputs()?.inputs.values.map(\.path) ?? []
        func note(_ located: Located) {
            result.notes += located.notes
            result.warnings += located.warnings
        }
        // What is small comes first: a slip in it costs no download.
        var beside: [String] = []
        let train = try recipe.data.flatMap { name in
            let located = try data(name, kept: kept)
            note(located)
            beside += located.validation
            return located.paths
        }
        let held = try recipe.validation.flatMap { name in
            let located = try data(name, kept: kept)
            note(located)
            // A whole data set is named for its validation records.
            return located.validation.isEmpty ? located.paths : located.validation
        }
        for (key, paths) in [("data", train), ("validation", held.isEmpty ? beside : held)] where !paths.isEmpty {
            result.recipe.set(key, .list(paths))
        }
        for (key, name) in [("model", recipe.model), ("init_adapter", recipe.initAdapter)] {
            guard let name else { continue }
            let located: Located
            if key == "model", !weights {
                (located, result.files, result.download) = try modelWithoutWeights(name, kept)
            } else {
                located = try key == "model" ? model(name, kept: kept) : adapter(name, kept: kept)
            }
            note(located)
            result.recipe.set(key, .text(located.path))
        }
        return result
    }

    /// A model's folder or GGUF file.
    package func model(_ text: String, kept: [String] = []) throws -> Located {
        if files.exists(text) { return try LocalFolders(files: files).model(text) }
        if let error = MissingPart.error(at: text, files: files) { throw error }
        guard isHubName(text) else { return Located(path: text) }
        return try onHub(text, .model, kept) { try $0.find($1) }
    }

    /// An adapter's folder.
    package func adapter(_ text: String, kept: [String] = []) throws -> Located {
        try files.exists(text) ? LocalFolders(files: files).adapter(text) : model(text, kept: kept)
    }

    /// As `model`, with weights that are not here left on the hub: their headers are in `files`.
    private func modelWithoutWeights(_ text: String, _ kept: [String]) throws -> (located: Located, files: any Files, download: Download?) {
        guard !files.exists(text), isHubName(text) else { return (try model(text), files, nil) }
        var id = ""
        var unfetched: [UnfetchedFile] = []
        let located = try onHub(text, .model, kept) { hub, name in
            let found = try hub.findWithoutWeights(name)
            (id, unfetched) = (name.id, found.unfetched)
            return found.snapshot
        }
        guard !unfetched.isEmpty else { return (located, files, nil) }
        let headers = try unfetched.map { try FileHeader.file(path: $0.path, count: $0.byteCount, read: $0.read) }
        let bytes = unfetched.reduce(Int64(0)) { $0.addingReportingOverflow(Int64($1.byteCount)).partialValue }
        let download = try Download(model: id, files: unfetched.count, bytes: bytes, folder: HubSettings(environment: variables).cacheFolder)
        return (located, HeaderFiles(files, headers: headers), download)
    }

    /// A file of records, or a folder that `Dataset` reads.
    package func data(_ text: String, kept: [String] = []) throws -> Located {
        if files.exists(text) { return try LocalFolders(files: files).data(text) }
        guard isHubName(text) else { return Located(path: text) }
        return try onHub(text, .dataset, kept) { try $0.find($1) }
    }

    private func isHubName(_ text: String) -> Bool { HubName.looksLikeOne(text) || text.hasPrefix("https://") || text.hasPrefix("http://") }

    private func onHub(_ text: String, _ kind: HubName.Kind, _ kept: [String], find: (Hub, HubName) throws -> HubSnapshot) throws -> Located {
        let isAddress = text.contains("://")
        let words = kind == .model ? "model" : "data set"
        do {
            let settings = try HubSettings(environment: variables)
            var name = try HubName(text, kind: kind, endpoint: settings.endpoint)
            guard name.kind == kind else {
                throw LorikeetError.input(
                    "'\(text)' names no \(words)", fix: kind == .model ? "name a model: hf://ORG/NAME" : "name a data set: hf://datasets/ORG/NAME")
            }
            if name.revision == nil { name.revision = Hub.commit(of: name, in: kept) }
            var warnings: [String] = []
            let found = try find(hub(settings) { warnings.append($0) }, name)
            var located = Located(paths: kind == .dataset ? found.train : [found.path], validation: found.validation)
            located.warnings = warnings
            let place = settings.offline ? "the cache" : settings.endpoint.origin
            located.notes.append(
                (isAddress ? "" : "'\(text)' is no file or folder here: ") + "the \(words) \(name.id) of \(place) is used, commit \(found.commit.prefix(12))"
                    + (found.validation.isEmpty ? "" : ", with its validation records"))
            return located
        } catch var error as LorikeetError where !isAddress && [.unusableInput, .machineFailed].contains(error.exit) {
            // Where the hub has it, what it holds is the matter.
            if !["it ", "its "].contains(where: error.what.hasPrefix) { error.what = "there is no file or folder of this name here, and " + error.what }
            throw error
        }
    }

    /// A hub whose warnings go to `warn`, and that is not asked for the weights of a model that could not be trained.
    private func hub(_ settings: HubSettings, warn: @escaping (String) -> Void) -> Hub {
        var environment = client
        environment.files = files
        let report = client.report
        environment.report = { event in
            if case .warning(let text) = event { warn(text) } else { report(event) }
        }
        var hub = Hub(settings, environment)
        let files = files
        hub.beforeWeights = { folder in
            let place = folder + "/config.json"
            guard files.exists(place) else { return }
            _ = try ModelConfiguration(json: JSON.parse(files.read(place), source: place), source: place)
        }
        return hub
    }
}
