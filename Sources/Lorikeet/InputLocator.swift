import LorikeetEngine
import LorikeetGround
import LorikeetHub
import LorikeetJSON
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
    }

    /// Finds every input of a recipe.
    ///
    /// - Parameter kept: the paths of the first start's inputs, for a run that goes on: it keeps the commit it began with, also where the hub has a
    ///   newer one.
    /// - Throws: exit 2 where an input is neither here nor on the hub, or several things fit; else as `Hub.pull`.
    package func locate(_ recipe: Recipe, kept: [String] = []) throws -> LocatedRecipe {
        var result = LocatedRecipe(recipe: recipe)
        func note(_ located: Located) {
            result.notes += located.notes
            result.warnings += located.warnings
        }
        for (key, name) in [("model", recipe.model), ("init_adapter", recipe.initAdapter)] {
            guard let name else { continue }
            let located = try model(name, kept: kept)
            note(located)
            result.recipe.set(key, .text(located.path))
        }
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
        return result
    }

    /// A model's folder or GGUF file.
    package func model(_ text: String, kept: [String] = []) throws -> Located {
        if files.exists(text) { return try LocalFolders(files: files).model(text) }
        guard isHubName(text) else { return Located(path: text) }
        return try onHub(text, .model, kept)
    }

    /// A file of records, or a folder that `Dataset` reads.
    package func data(_ text: String, kept: [String] = []) throws -> Located {
        if files.exists(text) { return try LocalFolders(files: files).data(text) }
        guard isHubName(text) else { return Located(path: text) }
        return try onHub(text, .dataset, kept)
    }

    private func isHubName(_ text: String) -> Bool { HubName.looksLikeOne(text) || text.hasPrefix("https://") || text.hasPrefix("http://") }

    private func onHub(_ text: String, _ kind: HubName.Kind, _ kept: [String]) throws -> Located {
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
            let found = try hub(settings) { warnings.append($0) }.find(name)
            var located = Located(paths: kind == .dataset ? found.train : [found.path], validation: found.validation)
            located.warnings = warnings
            let place = settings.offline ? "the cache" : settings.endpoint.origin
            located.notes.append(
                (isAddress ? "" : "'\(text)' is no file or folder here: ") + "the \(words) \(name.id) of \(place) is used, commit \(found.commit.prefix(12))"
                    + (found.validation.isEmpty ? "" : ", with its validation records"))
            return located
        } catch var error as LorikeetError where !isAddress && [.unusableInput, .machineFailed].contains(error.exit) {
            error.what = "there is no file or folder of this name here, and " + error.what
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
