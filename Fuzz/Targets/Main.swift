import FuzzDriver
import Glibc
import LorikeetGround

/// A reader of untrusted bytes. Any error of ours is fine; a trap, a hang or much memory is a finding.
struct FuzzTarget: Sendable {
    let name: String
    let run: @Sendable (UnsafeRawBufferPointer) throws -> Void

    static let all: [FuzzTarget] = [
        .safetensors, .gguf, .tokenizerJSON, .sentencePiece, .template, .records, .table, .packed, .recipe, .model, .adapter, .checkpoint, .hub, .report,
        .store, .state,
    ]
}

/// `Fuzz TARGET …`, with libFuzzer's options and corpus folders; see Scripts/fuzz.sh. `Fuzz --list` names the targets.
@main
enum Main {
    /// The target of this process.
    private static let chosen = FuzzTarget.all.first { $0.name == CommandLine.arguments.dropFirst().first }

    static func main() {
        guard CommandLine.arguments.dropFirst().first != "--list" else { return print(FuzzTarget.all.map(\.name).joined(separator: "\n")) }
        guard chosen != nil else {
            print("usage: Fuzz TARGET [libFuzzer's options] CORPUS…; the targets are \(FuzzTarget.all.map(\.name).joined(separator: ", "))")
            exit(2)
        }
        // Without the target's name.
        let arguments = CommandLine.unsafeArgv + 1
        exit(
            lorikeet_fuzz(CommandLine.argc - 1, arguments) { bytes, count in
                do { try Main.chosen?.run(UnsafeRawBufferPointer(start: bytes, count: count)) } catch { Main.judge(error) }
                return 0
            })
    }

    /// What a reader throws has to be the program's own error, which is a sentence of bounded length.
    private static func judge(_ error: any Error) {
        guard let error = error as? LorikeetError else {
            print("an error that is no sentence: \(error)")
            abort()
        }
        let text = error.description
        if text.utf8.count > 30_000 || text.unicodeScalars.contains(where: { $0 != "\t" && $0.isUnprintable }) {
            print("a sentence that cannot be shown: \(text)")
            abort()
        }
    }
}
