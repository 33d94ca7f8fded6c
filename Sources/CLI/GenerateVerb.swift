import ArgumentParser

struct GenerateVerb: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "generate", abstract: "")
    func run() throws {}
}
