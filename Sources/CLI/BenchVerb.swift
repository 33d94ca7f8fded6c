import ArgumentParser

struct BenchVerb: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "bench", abstract: "")
    func run() throws {}
}
