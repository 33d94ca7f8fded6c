import LorikeetDevices
import LorikeetGround

extension FineTuning {
    /// How a model is exported.
    public struct ExportOptions: Sendable, Equatable {
        /// GGUF forms (`f16`, `q8_0`, `q4_k_m` and others: docs/formats.md; `gguf` is `q8_0`), `lora-gguf` for the adapter alone, or `bnb-4bit` alone, a directory for
        /// transformers and vLLM.
        public var forms: [String]
        /// A PEFT folder, or its name on a hub, which is added to the model; nil exports the model as it is.
        public var adapter: String?
        /// What the adapter is added to: `stored` (the base as its file has it), `nf4`, `f16`, `bf16` or `f32`.
        public var into = "stored"
        /// With `bnb-4bit`: the type of the other tensors, and of computing: `float16`, `bfloat16` or `float32`.
        public var dtype = "float16"
        /// The model's name, with which the files' names begin; nil takes that of the model's file or folder.
        public var name: String?
        /// Threads of the processor, at most 1,024; 0 takes as many as this process may use.
        public var threads = 0

        /// Options with which these forms are written.
        ///
        /// - Parameters:
        ///   - forms: see ``forms``.
        ///   - adapter: see ``adapter``.
        public init(forms: [String], adapter: String? = nil) { (self.forms, self.adapter) = (forms, adapter) }
    }

    /// What an export has written.
    public struct Export: Sendable, Equatable {
        /// A file of an export, or its one directory.
        public struct File: Sendable, Equatable {
            /// The form as it was asked for.
            public let form: String
            /// Where it is.
            public let path: String
            /// Its size.
            public let bytes: Int64
        }

        /// In the order of the forms.
        public let files: [File]
        /// What the model's files hold that is not used, and what llama.cpp computes differently.
        public internal(set) var warnings: [String] = []
        /// Threads of the processor that computed.
        public let threads: Int
    }

    /// Writes a model, or a base with an adapter, as GGUF files for llama.cpp and Ollama, or as a 4-bit directory for transformers and vLLM: what
    /// `lorikeet export` does. Where the calling task is cancelled, exporting ends after the present tensor and leaves nothing on the disk.
    ///
    /// - Parameters:
    ///   - model: a Hugging Face directory, a `.gguf` file, or a hub's `ORG/NAME`.
    ///   - output: the directory to write, which must not exist yet.
    ///   - options: forms, adapter, names, threads.
    ///   - environment: for names on a hub instead of paths, as in ``init(file:options:environment:)``.
    /// - Returns: the files, and warnings.
    /// - Throws: for a form that is not known or cannot hold the model, where model or adapter cannot be read or do not belong together, where `output`
    ///   exists, where the disk is too small or fails, and where the calling task was cancelled (``LorikeetFailure/Kind-swift.enum/interrupted``).
    @discardableResult
    public static func export(
        model: String, output: String, options: ExportOptions, environment: [String: String] = [:]
    ) async throws(LorikeetFailure) -> Export {
        let exporter = try LorikeetFailure.result {
            try Machine.requireVectorInstructions()
            return try Exporter(options)
        }.get()
        return try await OwnThread.run { isCancelled in
            let check = CancellationCheck(isCancelled: isCancelled)
            let locator = locator(environment, isCancelled)
            try RealFiles().requireNew(output)
            let (base, adapter) = (try locator.model(model), try options.adapter.map { try locator.adapter($0) })
            try check()
            var exporter = exporter
            exporter.interruption = isCancelled
            var warnings = base.warnings + (adapter?.warnings ?? [])
            var export = try exporter.write(
                Exporter.Input(named: model, path: base.path), adapter: adapter.map { Exporter.Input(named: options.adapter ?? "", path: $0.path) }, to: output,
                warn: { warnings += $0 }, progress: { _, _ in })
            export.warnings = warnings
            return export
        }
    }
}
