import HubServer
import LorikeetGround
import Testing

@testable import LorikeetHub

/// Which files of a repository are needed.
struct ChoiceTests {
    private func model(_ paths: [String], part: String? = nil) throws -> ModelChoice {
        try ModelChoice(of: paths.map { ($0, 1 << 20) }, part: part, name: "org/m")
    }

    private func refusal(_ paths: [String], part: String? = nil) -> LorikeetError? {
        #expect(throws: LorikeetError.self) { try model(paths, part: part) }
    }

    @Test func `safetensors come before every other form of the same weights`() throws {
        let chosen = try model([
            "config.json", "model.safetensors", "model.fp16.safetensors", "pytorch_model.bin", "onnx/model.onnx", "original/model.safetensors", "x-Q4_0.gguf",
            "README.md",
            "vocab.json", "merges.txt", "requirements.txt", "training_args.json",
        ])
        #expect(chosen == .directory(beside: ["README.md", "config.json", "merges.txt", "vocab.json"], weights: .files(["model.safetensors"])))
        #expect(
            try model(["config.json", "model.safetensors", "model.safetensors.index.json", "model-00001-of-00001.safetensors"])
                == .directory(beside: ["config.json"], weights: .index("model.safetensors.index.json")))
        #expect(
            try model(["adapter_config.json", "adapter_model.safetensors", "tokenizer.json"])
                == .directory(beside: ["adapter_config.json", "tokenizer.json"], weights: .files(["adapter_model.safetensors"])))
    }

    @Test func `other forms are refused by what they are`() throws {
        for (paths, words) in [
            (["config.json", "pytorch_model.bin"], "pickled (pytorch_model.bin)"), (["consolidated.00.pth", "params.json"], "pickled (consolidated.00.pth)"),
            (["config.json", "flax_model.msgpack"], "Flax"), (["tf_model.h5"], "TensorFlow"), (["onnx/model.onnx"], "ONNX"), (["weights.npz"], "MLX"),
            (["unet/diffusion.safetensors"], "not a language model's"), (["README.md"], "no weights"), ([], "no weights"),
            (["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"], "no model.safetensors.index.json"),
        ] as [([String], String)] {
            let error = refusal(paths)
            #expect(error?.exit == .unusableInput && error?.what.contains(words) == true && error?.fix != nil, "\(paths): \(String(describing: error))")
        }
    }

    static let ggufs = [
        "README.md", "m-Q4_K_M.gguf", "m-Q4_K_S.gguf", "m-Q4_K.gguf", "m-UD-Q2_K_XL.gguf", "mmproj-m-F16.gguf", "m.imatrix.gguf",
        "BF16/m-BF16-00002-of-00002.gguf",
        "BF16/m-BF16-00001-of-00002.gguf", "m-Q8_0-00001-of-00003.gguf", "m-Q8_0-00003-of-00003.gguf",
    ]

    @Test func `one GGUF model is chosen by its quantisation or its file's name`() throws {
        for (part, paths) in [
            ("Q4_K_M", ["m-Q4_K_M.gguf"]), ("q4_k_m", ["m-Q4_K_M.gguf"]), ("Q4_K", ["m-Q4_K.gguf"]), ("m-Q4_K_S.gguf", ["m-Q4_K_S.gguf"]),
            ("m-Q4_K_S", ["m-Q4_K_S.gguf"]),
            ("Q2_K_XL", ["m-UD-Q2_K_XL.gguf"]), ("BF16", ["BF16/m-BF16-00001-of-00002.gguf", "BF16/m-BF16-00002-of-00002.gguf"]),
            ("m-BF16-00002-of-00002.gguf", ["BF16/m-BF16-00001-of-00002.gguf", "BF16/m-BF16-00002-of-00002.gguf"]),
        ] {
            #expect(try model(Self.ggufs, part: part) == .gguf(paths), "\(part)")
        }
        #expect(try model(["README.md", "only-Q4_0.gguf", "mmproj-x.gguf"]) == .gguf(["only-Q4_0.gguf"]))
    }

    @Test func `several GGUF models without a choice are refused with their list`() throws {
        let error = refusal(Self.ggufs)
        #expect(error?.what.contains("6 GGUF models and none is named") == true)
        for stem in ["m-Q4_K_M (1.0 MiB)", "m-Q4_K_S", "BF16/m-BF16 (2.0 MiB)"] { #expect(error?.fix?.contains(stem) == true, "\(String(describing: error))") }
        #expect(refusal(Self.ggufs, part: "Q9")?.what == "no GGUF file of it is called 'Q9'")
        #expect(refusal(["a/x-Q4_0.gguf", "b/x-Q4_0.gguf"], part: "Q4_0")?.what == "several GGUF files of it fit 'Q4_0'")
        #expect(refusal(Self.ggufs, part: "Q8_0")?.what.contains("only 2 of the 3 parts of m-Q8_0 are there") == true)
        #expect(refusal(["config.json", "model.safetensors"], part: "Q4_0")?.what.contains("no GGUF file in it") == true)
    }

    private func data(_ paths: [String], part: String? = nil) throws -> DataChoice {
        try DataChoice(of: paths, part: part, name: "org/d", conversion: "convert it", written: { "hf://datasets/org/d/\($0)" })
    }

    @Test func `files of training and validation are found by their usual names`() throws {
        for (paths, train, validation) in [
            (["train.jsonl", "validation.jsonl", "README.md"], "train.jsonl", "validation.jsonl"),
            (["data/train.csv", "data/dev.csv", "data/test.csv"], "data/train.csv", "data/dev.csv"),
            (["alpaca.json", "dataset_infos.json"], "alpaca.json", nil), (["all.jsonl", "test.jsonl"], "all.jsonl", nil),
            (["training-set.jsonl.gz", "val.jsonl.gz"], "training-set.jsonl.gz", "val.jsonl.gz"),
            (["train.jsonl", "train.csv", "train.parquet"], "train.jsonl", nil),
            (["train/part.json", "valid/part.json"], "train/part.json", "valid/part.json"),
            (["train.jsonl", "eval.jsonl"], "train.jsonl", "eval.jsonl"), (["x.TSV"], "x.TSV", nil),
            (["constrained.jsonl"], "constrained.jsonl", nil),
        ] as [([String], String, String?)] {
            let choice = try data(paths)
            #expect(choice.train == [train] && choice.validation == (validation.map { [$0] } ?? []), "\(paths): \(choice)")
        }
        #expect(try data(["a/train.jsonl", "b/train.jsonl"], part: "b").train == ["b/train.jsonl"])
        #expect(try data(["a/train.jsonl", "a/test.jsonl"], part: "a/test.jsonl").train == ["a/test.jsonl"])
        let pieces = ["data/train-00001-of-00002.jsonl", "data/train-00000-of-00002.jsonl", "data/test-00000-of-00001.jsonl", "data/val-00000-of-00001.jsonl"]
        let found = try data(pieces)
        #expect(found.train == [pieces[1], pieces[0]] && found.validation == [pieces[3]])
    }

    @Test func `data that cannot be read, or of which nothing says what is meant, is refused`() throws {
        func refusal(_ paths: [String], part: String? = nil) -> LorikeetError? { #expect(throws: LorikeetError.self) { try data(paths, part: part) } }
        let parquet = refusal(["data/train-00000-of-00001.parquet", "README.md"])
        #expect(parquet?.what.contains("Parquet (data/train-00000-of-00001.parquet)") == true && parquet?.fix == "convert them once: convert it")
        #expect(refusal(["x.parquet"], part: "x.parquet")?.fix == "convert them once: convert it")
        let several = refusal(["en/train.jsonl", "de/train.jsonl"])
        #expect(several?.fix == "name one: hf://datasets/org/d/de/train.jsonl, hf://datasets/org/d/en/train.jsonl")
        let held = refusal(["d_train.jsonl", "d_valid_1.jsonl", "d_valid_2.jsonl"])
        #expect(held?.what == "2 files of it could be the validation records")
        #expect(held?.fix?.contains("--validation one of: hf://datasets/org/d/d_valid_1.jsonl") == true)
        #expect(refusal(["test.jsonl", "dev.jsonl"])?.what == "it has no file of training records by its name")
        #expect(refusal(["README.md", "img.png"])?.what.contains("no JSONL, JSON or CSV records (it has README.md, img.png)") == true)
        #expect(refusal(["train.jsonl"], part: "tran.jsonl")?.fix == "did you mean hf://datasets/org/d/train.jsonl?")
        #expect(refusal(["train-00001-of-00003.jsonl"])?.what == "only 1 of the 3 pieces are there (train-00001-of-00003.jsonl)")
        #expect(refusal([])?.exit == .unusableInput)
    }
}
