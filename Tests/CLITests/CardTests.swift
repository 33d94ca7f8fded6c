import Foundation
import LorikeetJSON
import StubCard
import Testing

/// `--device` as a person meets it, on stub libraries in place of NVIDIA's.
struct CardTests {
    private func run(_ stub: StubCard, _ arguments: String...) throws -> Binary.Outcome { try run(stub, arguments) }

    private func run(_ stub: StubCard, _ arguments: [String], environment: [String: String] = [:]) throws -> Binary.Outcome {
        let stubs = ["LORIKEET_CUDA_LIBRARIES": stub.folder, "XDG_CACHE_HOME": stub.folder + "/home"]
        return try Binary.run(arguments, environment: stubs.merging(environment) { $1 })
    }

    /// A small recipe of the real model; nil where it is not there.
    private func recipe(_ verb: String, output: String) throws -> [String]? {
        guard let model = Binary.smollm2 else { return nil }
        return try [
            verb, "--model", model, "--data", Binary.file(Binary.records(15)), "--output", output, "--validation-share", "0.2", "--num-train-epochs", "1",
            "--per-device-train-batch-size", "4", "--gradient-accumulation-steps", "1", "--max-length", "64", "--save-steps", "1", "--test-samples", "2",
        ]
    }

    @Test(arguments: [
        (["capability 60", "name Tesla P100-PCIE-16GB"], "cuda:0", Int32(2), "\"GPU T4 x2\""), (["driver_version 11040"], "cuda:0", 4, "CUDA 11.4"),
        (["devices 0"], "cuda:0", 4, "--device cpu"), (["capability 80"], "cuda:3", 2, "there is no card 3"), ([], "gpu", 2, "auto, cpu or cuda:N"),
        (["free 20971520", "process 4194999 16000000000"], "auto", 3, "process 4194999 holds 14.9 GiB"),
    ])
    func `a run on a card that cannot be used: one sentence, its exit code, nothing written`(
        configuration: [String], device: String, status: Int32, word: String
    ) throws {
        let output = try Binary.scratch() + "/out"
        guard let command = try recipe("run", output: output) else { return }
        let outcome = try run(StubCard(configuration), command + ["--device", device])
        #expect(outcome.status == status && outcome.error.contains(word), "\(outcome.error)")
        #expect(outcome.error.hasPrefix("lorikeet: ") && outcome.error.split(separator: "\n").count == 1, "\(outcome.error)")
        #expect(!FileManager.default.fileExists(atPath: output))
    }

    @Test func `a notebook without a card is exit 3, one with a card takes it`() throws {
        let output = try Binary.scratch() + "/out"
        guard let command = try recipe("train", output: output) else { return }
        let notebook = ["KAGGLE_KERNEL_RUN_TYPE": "Batch"]
        let refused = try run(StubCard(["devices 0"]), command, environment: notebook)
        #expect(refused.status == 3 && refused.error.contains("--device cpu"), "\(refused.error)")
        let taken = try run(StubCard(["capability 80", "devices 2"]), command, environment: notebook)
        #expect(taken.status == 0 && taken.out.contains("Tesla T4") && taken.out.contains("1 more is idle"), "\(taken.error)")
    }

    @Test func `a plan on a card names its memory by part, and a cap too small the one that would do`() throws {
        guard let command = try recipe("plan", output: Binary.scratch() + "/out") else { return }
        let stub = try StubCard(["capability 80"])
        let outcome = try run(stub, command + ["--device", "cuda:0", "--json"])
        #expect(outcome.status == 0, "\(outcome.error)")
        let plan = try JSON.parse(outcome.out, source: "plan")
        #expect(plan["choices"]?["device"]?.string == "Tesla T4" && plan["choices"]?["compute_type"]?.string == "bf16")
        let parts = try #require(plan["gpu_training_memory"]?.object)
        #expect(parts.entries.map(\.key).contains("arena") && (plan["predicted_gpu_bytes"]?.int ?? 0) > 100_000_000)
        #expect(try run(stub, command + ["--device", "cuda:0"]).out.contains("GPU memory in training (Tesla T4, bf16)"))
        let small = try run(stub, command + ["--device", "cuda:0", "--gpu-memory", "90MiB"])
        let found = try #require(small.error.firstMatch(of: /--gpu-memory (\d+MiB) \(takes/), "\(small.error)")
        #expect(small.status == 3)
        let enough = try run(stub, command + ["--device", "cuda:0", "--gpu-memory", String(found.1)])
        #expect(enough.status == 0, "\(enough.error)")
    }

    @Test func `a card lost in training: exit 4, the checkpoints stay, and the same command goes on`() throws {
        let output = try Binary.scratch() + "/out"
        guard let command = try recipe("train", output: output) else { return }
        let healthy = try StubCard(["capability 80"])
        let whole = try run(healthy, command + ["--device", "cuda:0", "--output", output + "-whole"])
        #expect(whole.status == 0, "\(whole.error)")
        let launches = healthy.calls("cuLaunchKernel").count
        let lost = try run(StubCard(["capability 80", "fail cuLaunchKernel 719 \(launches * 3 / 4)"]), command + ["--device", "cuda:0"])
        #expect(lost.status == 4 && lost.error.contains("CUDA_ERROR_LAUNCH_FAILED") && lost.error.contains("the same command"), "\(lost.error)")
        #expect(FileManager.default.fileExists(atPath: output + "/checkpoints/step-000001/trainer_state.json"))
        let again = try run(healthy, command + ["--device", "cuda:0"])
        #expect(again.status == 0 && FileManager.default.fileExists(atPath: output + "/adapter/adapter_model.safetensors"), "\(again.error)")
    }

    @Test func `doctor says what the card is and what is on it`() throws {
        let stub = try StubCard(["free 5368709120", "process 4194999 10737418240"])
        let outcome = try run(stub, "doctor", "--device", "cuda:0")
        #expect(outcome.status == 0, "\(outcome.error)")
        for word in [
            "Tesla T4, CUDA 12.4", "compute capability 7.5", stub.folder + "/libnvrtc.so.12", stub.folder + "/libcublasLt.so.12", "550.54.15", "15.0 GiB",
            "process 4194999 10.0 GiB", "27.5 of 70.0", "585 of 1590", "93",
        ] { #expect(outcome.out.contains(word), "\(word): \(outcome.out)") }
        let json = try JSON.parse(try run(stub, "doctor", "--device", "cuda:0", "--json").out, source: "doctor")
        #expect(json["gpu_memory_used_bytes"]?.int == 10_737_418_240 && json["gpu_celsius"]?.int == 41)
        #expect(json["gpu_processes"]?.array?.first?["pid"]?.int == 4_194_999)
        // No archive stands beside the tests' program.
        #expect(json["compiled_kernels"] == .null && json["gpu_kernels"]?.string == "compiled at first use")
    }

    @Test func `kernels packed beside the program are used without NVRTC, and doctor says so`() throws {
        let stub = try StubCard()
        let home = stub.folder + "/installed"
        try FileManager.default.createDirectory(atPath: home + "/bin", withIntermediateDirectories: true)
        // As pip installs it: the program in bin, the archives in share.
        try FileManager.default.copyItem(atPath: Binary.path, toPath: home + "/bin/lorikeet")
        func installed(_ arguments: String...) throws -> Binary.Outcome {
            try Binary.run(
                arguments, environment: ["LORIKEET_CUDA_LIBRARIES": stub.folder, "XDG_CACHE_HOME": stub.folder + "/home"], path: home + "/bin/lorikeet")
        }
        let packed = try installed("kernels", "--output", home + "/share/lorikeet/kernels", "--architectures", "75,90")
        #expect(packed.status == 0 && packed.out.contains("kernels-90.zst: "), "\(packed.error)")
        let compiled = stub.calls("nvrtcCompileProgram").count
        #expect(try installed("kernels", "--output", home + "/share/lorikeet/kernels", "--architectures", "75").out.contains("up to date"))
        try FileManager.default.removeItem(atPath: stub.folder + "/libnvrtc.so.12")
        let json = try JSON.parse(installed("doctor", "--device", "cuda:0", "--json").out, source: "doctor")
        #expect(json["compiled_kernels"]?["architectures"]?.array?.compactMap(\.int) == [75, 90])
        #expect(json["compiled_kernels"]?["not_used"]?.array?.isEmpty == true && json["compiled_kernels"]?["compiler"]?.string == "NVRTC 12.6")
        #expect(json["gpu_kernels"]?.string?.hasSuffix("/share/lorikeet/kernels/kernels-75.zst") == true)
        #expect(json["gpu_libraries"]?.array?.compactMap(\.string) == [stub.folder + "/libcublasLt.so.12"])
        let answer = try installed("generate", "--model", TinyFolder().model, "--prompt", "count", "--max-new-tokens", "2", "--device", "cuda:0")
        #expect(answer.status == 0 && !stub.calls("cuLaunchKernel").isEmpty, "\(answer.error)")
        #expect(stub.calls("nvrtcCompileProgram").count == compiled)
        try Data("broken".utf8).write(to: URL(fileURLWithPath: home + "/share/lorikeet/kernels/kernels-90.zst"))
        let text = try installed("doctor").out
        #expect(text.contains("for compute capability 7.5 (") && text.contains("not used for 9.0: ") && text.contains("damaged"), "\(text)")
    }

    @Test func `auto takes the card that is there, and the CPU where the driver shows none`() throws {
        #expect(try run(try StubCard(), "doctor", "--device", "auto").out.contains("Tesla T4"))
        let none = try run(try StubCard(["devices 0"]), "doctor", "--device", "auto")
        #expect(none.status == 0 && none.out.contains("gpu_problem           the NVIDIA driver shows no card"), "\(none.error)\n\(none.out)")
        // A description names the card without being asked to, and says all else about a machine whose card cannot be used.
        #expect(try run(try StubCard(), "doctor").out.contains("Tesla T4"))
        let old = try run(try StubCard(["driver_version 11040"]), "doctor", "--device", "cuda:0")
        #expect(old.status == 4 && old.out.contains("ram_total_bytes") && old.out.contains("CUDA 11.4"), "\(old.error)\n\(old.out)")
    }

    @Test(arguments: [
        (["capability 60", "name Tesla P100-PCIE-16GB"], Int32(2), "accelerator \"GPU T4 x2\""), (["driver_version 11040"], 4, "CUDA 11.4"),
        (["devices 0"], 4, "--device cpu"), (["free 20971520", "process 4194999 16000000000"], 3, "process 4194999 holds 14.9 GiB"),
    ])
    func `a card that cannot be used: one sentence and its exit code`(configuration: [String], status: Int32, word: String) throws {
        let outcome = try run(try StubCard(configuration), "bench", "--shape", "smollm2-135m", "--device", "cuda:0")
        #expect(outcome.status == status && outcome.error.contains(word), "\(outcome.error)")
        #expect(outcome.error.hasPrefix("lorikeet: ") && outcome.error.split(separator: "\n").count == 1, "\(outcome.error)")
    }

    @Test func `doctor --leaks opens a card again and again and says what memory is in use`() throws {
        let outcome = try run(try StubCard(["capability 80"]), "doctor", "--leaks", "12", "--json")
        #expect(outcome.status == 0, "\(outcome.error)")
        let report = try JSON.parse(outcome.out, source: "leaks")
        #expect(report["pass"]?.bool == true && report["device_bytes_growth"]?.int == 0 && report["readings"]?.array?.count == 10)
        #expect(try run(try StubCard(), "doctor", "--leaks", "10").out.contains("round 10: "))
        let none = try run(try StubCard(["devices 0"]), "doctor", "--leaks", "10")
        #expect(none.status == 4 && none.error.contains("shows no card"))
        #expect(try run(try StubCard(), "doctor", "--leaks", "3").status == 2)
        #expect(try run(try StubCard(), "doctor", "--leaks", "10", "--kernels").status == 2)
    }

    @Test func `doctor --kernels fails on a card whose kernels do nothing, and says which`() throws {
        // The stub's kernels do nothing. The smallest types first: float32, of which a T4 has float16 besides.
        let stub = try StubCard()
        let outcome = try run(stub, "doctor", "--kernels", "--compute-type", "float16", "--json")
        #expect(outcome.status == 1 && outcome.error.contains("outside their tolerance, the first is rmsnorm f16"), "\(outcome.error)")
        let json = try JSON.parse(outcome.out, source: "doctor")
        let (passed, failed) = (json["passed"]?.int ?? 0, json["failed"]?.int ?? 0)
        #expect(failed > 300 && json["results"]?.array?.count == passed + failed)
        let kernels = Set((json["worst"]?.array ?? []).filter { $0["pass"]?.bool == false }.compactMap { $0["kernel"]?.string })
        for kernel in ["rmsnorm", "rope", "attention", "head", "linear", "expand_blocks", "quantise", "adamw", "product"] {
            #expect(kernels.contains(kernel), "\(kernel)")
        }
        #expect(stub.calls("nvrtcCompileProgram").allSatisfy { $0.contains("-DTYPE=1") || $0.contains("expand.cu") || $0.contains("embedding.cu") })
        // A machine without a card.
        let none = try run(try StubCard(["devices 0"]), "doctor", "--kernels")
        #expect(none.status != 0 && none.error.contains("card"), "\(none.error)")
    }

    @Test(arguments: [("cuLaunchKernel", 30, "CUDA_ERROR_LAUNCH_FAILED"), ("cuGraphLaunch", 2, "CUDA_ERROR_LAUNCH_FAILED"), ("cublasLtMatmul", 100, "719")])
    func `a card lost in a step: exit 4, the call and its code; the same run works on a card that stays`(call: String, at: Int, name: String) throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().path
        func bench(_ stub: StubCard) throws -> Binary.Outcome {
            try run(stub, "bench", "--model", root + "/Reference/llama", "--device", "cuda:0", "--seq", "64", "--rounds", "3")
        }
        let stub = try StubCard(["capability 80"])
        let whole = try bench(stub)
        #expect(whole.status == 0 && stub.calls(call).count > at, "\(whole.error)")
        let lost = try bench(try StubCard(["capability 80", "fail \(call) 719 \(at)"]))
        #expect(lost.status == 4, "\(lost.error)")
        for word in [call, name, "the same command"] { #expect(lost.error.contains(word), "\(lost.error)") }
        #expect(lost.error.split(separator: "\n").count == 1, "\(lost.error)")
    }
}
