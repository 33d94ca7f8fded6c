import Glibc
import Lorikeet
import LorikeetDevices
import LorikeetGround
import LorikeetHub
import LorikeetRecipe

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
    static func model(_ name: String) throws -> String {
        let located = try locator().model(name)
        Screen.note(located.notes)
        Screen.warn(located.warnings)
        return located.path
    }

    /// A recipe whose paths are all of this machine.
    static func locate(_ recipe: Recipe) throws -> Recipe {
        let located = try locator().locate(recipe)
        Screen.note(located.notes)
        Screen.warn(located.warnings)
        return located.recipe
    }
}
