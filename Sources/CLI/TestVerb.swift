import ArgumentParser

struct TestVerb: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "test", abstract: "")
    func run() throws {}
}
