import LorikeetGround
import LorikeetJSON
import Testing

/// Options that have no effect beside others are refused by name; keys of a recipe get a note.
struct IdleOptionTests {
    /// A verb with its options, the option that is refused, and a word of why.
    static let refused: [(arguments: [String], option: String, why: String)] = [
        (["run", "--json", "--quiet"], "--quiet", "--json"), (["train", "--color", "never", "--json"], "--color", "--json"),
        (["generate", "--model", "x", "--prompt", "a", "--batch-size", "4"], "--batch-size", "--input"),
        (["generate", "--model", "x", "--prompt", "a", "--answer-field=b"], "--answer-field", "--input"),
        (["generate", "--model", "x", "--prompt", "a", "--seed", "1"], "--seed", "temperature 0"),
        (["generate", "--model", "x", "--prompt", "a", "--seed", "1", "--temperature", "0"], "--seed", "temperature 0"),
        (["generate", "--model", "x", "--prompt", "a", "--device", "cpu", "--compute-type", "bfloat16"], "--compute-type", "float32"),
        (["chat", "--model", "x", "--seed", "1"], "--seed", "temperature 0"),
        (["chat", "--model", "x", "--device=cpu", "--gpu-arch", "75"], "--gpu-arch", "processor"),
        (["bench", "--shape", "smollm2-135m", "--sequences", "2"], "--sequences", "without --decode"),
        (["bench", "--shape", "smollm2-135m", "--prompt", "9"], "--prompt", "without --decode"),
        (["bench", "--shape", "smollm2-135m", "--new=9"], "--new", "without --decode"),
        (["bench", "--shape", "smollm2-135m", "--decode", "--seq", "64"], "--seq", "--decode"),
        (["bench", "--shape", "smollm2-135m", "--decode", "--lora-r", "4"], "--lora-r", "--decode"),
        (["bench", "--shape", "smollm2-135m", "--decode", "--lora-dropout", "0.1"], "--lora-dropout", "--decode"),
        (["bench", "--shape", "smollm2-135m", "--decode", "--target-modules", "q_proj"], "--target-modules", "--decode"),
        (["bench", "--shape", "smollm2-135m", "--decode", "--fuse", "false"], "--fuse", "--decode"),
        (["bench", "--shape", "smollm2-135m", "--decode", "--gpu-memory", "1GiB", "--device", "cuda:0"], "--gpu-memory", "--decode"),
        (["bench", "--shape", "smollm2-135m", "--decode", "--lengths", "f"], "--lengths", "--decode"),
        (["bench", "--shape", "smollm2-135m", "--decode", "--tokens", "9"], "--tokens", "--decode"),
        (["bench", "--shape", "smollm2-135m", "--lengths", "f", "--tokens", "9"], "--tokens", "--lengths"),
        (["bench", "--shape", "smollm2-135m", "--lengths", "f", "--seq", "9"], "--seq", "--lengths"),
        (["bench", "--shape", "smollm2-135m", "--gpu-memory", "1GiB"], "--gpu-memory", "processor"),
        (["bench", "--shape", "smollm2-135m", "--tune"], "--tune", "processor"),
        (["bench", "--shape", "smollm2-135m", "--compute-type", "float16"], "--compute-type", "processor"),
        (["export", "--model", "x", "--output", "y", "--form", "q8_0", "--dtype", "bfloat16"], "--dtype", "bnb-4bit"),
        (["export", "--model", "x", "--output", "y", "--form", "bnb-4bit", "--name", "z"], "--name", "bnb-4bit"),
        (["export", "--model", "x", "--output", "y", "--form=lora-gguf", "--adapter", "a", "--into", "nf4"], "--into", "lora-gguf"),
        (["doctor", "--kernels", "--device", "cpu"], "--device", "check a card"), (["doctor", "--leaks", "10", "--device", "cpu"], "--device", "check a card"),
        (["doctor", "--gpu-arch", "75"], "--gpu-arch", "processor"),
    ]

    @Test(arguments: refused) func `an option without effect is refused by name`(arguments: [String], option: String, why: String) throws {
        let outcome = try Binary.run(arguments)
        #expect(outcome.status == 2 && outcome.out.isEmpty, "\(arguments): \(outcome.error)")
        #expect(outcome.error.hasPrefix("lorikeet: \(option) has no effect ") && outcome.error.contains(why), "\(outcome.error)")
    }

    @Test func `the same options are taken where they have an effect`() throws {
        let tiny = try TinyFolder()
        for more in [["--seed", "1", "--temperature", "1"], ["--device", "cpu", "--compute-type", "float32"], ["--prompt", "--"]] {
            let own = more[0] == "--prompt" ? [] : ["--prompt", "a"]
            let outcome = try Binary.run(["generate", "--model", tiny.model, "--max-new-tokens", "2"] + own + more)
            #expect(!outcome.error.contains("has no effect"), "\(more): \(outcome.error)")
        }
        let form = ["--form", "f16,lora-gguf", "--adapter", tiny.adapter, "--into", "nf4", "--name", "z"]
        let export = try Binary.run(["export", "--model", tiny.model, "--output", tiny.path + "/out"] + form)
        #expect(export.status == 0, "\(export.error)")
        #expect(try Binary.run("generate", "--help").status == 0 && Binary.run("bench", "--help", "--sequences", "2").status == 0)
    }

    @Test func `a recipe's keys without effect get a note`() throws {
        let tiny = try TinyFolder()
        let file = try Binary.file((0..<8).map { #"{"prompt": "say \#($0):", "completion": "ab"}"# }.joined(separator: "\n"))
        let outcome = try Binary.run(
            "plan", "--model", tiny.model, "--data", file, "--output", tiny.path + "/out", "--device", "cpu", "--sessions", "3", "--gpu-memory", "1GiB",
            "--max-steps", "2", "--warmup-steps", "1")
        #expect(outcome.status == 0, "\(outcome.error)")
        #expect(outcome.error.contains("note: 'sessions' has no effect here: 'session' gives no length of a session"), "\(outcome.error)")
        #expect(outcome.error.contains("note: 'gpu_memory' has no effect here: the processor computes, in float32"))
        let train = try Binary.run(
            "train", "--model", tiny.model, "--data", file, "--output", tiny.path + "/out", "--device", "cpu", "--max-steps", "1", "--warmup-steps", "1",
            "--export", "f16")
        #expect(train.status == 0 && train.out.contains("--export has no effect on train"), "\(train.error)\(train.out)")
    }

    @Test func `plan says what is left of a run that has begun`() throws {
        let tiny = try TinyFolder()
        let file = try Binary.file((0..<8).map { #"{"prompt": "say \#($0):", "completion": "ab"}"# }.joined(separator: "\n"))
        let options = [
            "--model", tiny.model, "--data", file, "--output", tiny.path + "/out", "--device", "cpu", "--max-steps", "3", "--warmup-steps", "1",
            "--test-samples", "0",
        ]
        let fresh = try Binary.run(["plan", "--json"] + options)
        #expect(try JSON.parse(fresh.out, source: "plan")["left"] == nil, "\(fresh.error)")
        #expect(try Binary.run(["train"] + options).status == 0)
        // The adapter is there; merging and testing are left.
        let left = try #require(JSON.parse(Binary.run(["plan", "--json"] + options).out, source: "plan")["left"])
        #expect(left["done_steps"] == 3 && left["steps"] == 0 && left["finished"] == false && left["phases"]?["training"]?.double == 0)
        #expect(left["phases"]?["merging"]?.double ?? 0 > 0 && left["from"]?.string == tiny.path + "/out")
        #expect(try Binary.run(["run"] + options).status == 0)
        let done = try Binary.run(["plan"] + options)
        #expect(done.status == 0 && done.out.hasSuffix("left: nothing; \(tiny.path)/out is finished\n"), "\(done.error)\(done.out)")
    }
}
