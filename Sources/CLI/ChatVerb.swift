import ArgumentParser

struct ChatVerb: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "chat", abstract: "")
    func run() throws {}
}
