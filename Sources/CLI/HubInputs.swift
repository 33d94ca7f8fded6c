import Glibc
import Lorikeet
import LorikeetDevices
import LorikeetGround
import LorikeetHub
import LorikeetRecipe

extension StopSignal {
    /// Does the work of a verb whose output appears whole or not at all, and which asks `isCaught` between its pieces.
    ///
    /// - Throws: exit 75 where the work was ended.
    static func removingWhatWasWritten<Result>(_ body: () throws -> Result) throws -> Result {
        do { return try body() } catch is Interrupted {
            throw LorikeetError(.stoppedEarly, "stopped before its end; what was written is removed", fix: "run the same command again")
        }
    }
}

/// Models and data as the options of all verbs name them: paths, or names on a hub, whose download is shown.
enum HubInputs {
    /// The variables of this process that say which hub and which cache.
    static var variables: [String: String] {
        Dictionary(uniqueKeysWithValues: HubSettings.variables.compactMap { name in getenv(name).map { (name, String(cString: $0)) } })
    }

    static func client(_ progress: PullProgress = PullProgress(form: .text)) -> HubEnvironment {
        HubEnvironment(shouldStop: { StopSignal.isCaught }) { progress.receive($0) }
    }

    static func locator() -> InputLocator { InputLocator(variables: variables, client: client()) }

    /// The path of a model that an option names.
    ///
    /// - Parameter kept: paths in a hub's cache: a name without a revision stands for the commit of one of them, where it is in one.
    static func model(_ name: String, kept: [String] = []) throws -> String { shown(try locator().model(name, kept: kept)) }

    /// The same of an adapter.
    static func adapter(_ name: String, kept: [String] = []) throws -> String { shown(try locator().adapter(name, kept: kept)) }

    private static func shown(_ located: InputLocator.Located) -> String {
        Screen.note(located.notes)
        Screen.warn(located.warnings)
        return located.path
    }

    /// A recipe whose paths are all of this machine.
    static func locate(_ recipe: Recipe) throws -> Recipe { try locate(recipe, weights: true).recipe }

    /// The same for a verb that opens the model without reading its weights: those that are not here stay on the hub.
    static func locateWithoutWeights(_ recipe: Recipe) throws -> InputLocator.LocatedRecipe { try locate(recipe, weights: false) }

    private static func locate(_ recipe: Recipe, weights: Bool) throws -> InputLocator.LocatedRecipe {
        let located = try locator().locate(recipe, weights: weights)
        Screen.note(located.notes)
        if let download = located.download {
            Screen.note(["its weights are not fetched, only their headers are read; a run fetches \(download.words)"])
        }
        Screen.warn(located.warnings)
        return located
    }
}
