import ArgumentParser

struct MergeVerb: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "merge", abstract: "")
    func run() throws {}
}
