import LorikeetGround
import LorikeetJSON

/// `tensorboard/events.out.tfevents.*`: the run as TensorBoard reads it, with the tags of Hugging Face's Trainer.
///
/// Each process writes a file of its own. One that goes on says at which step, so readers drop what is done again; recipe, hyper-parameters and the
/// first sample are in the first file alone, and the session's end is in the file of the process after which nothing is left to do.
///
/// Where a file cannot be written the run goes on without it: readers stop at a record that is not whole, so nothing is written behind it.
package final class TensorBoardFile: EventSink {
    private var writer: (any FileWriter)?
    private var unwritten: [Event] = []
    /// Whether earlier processes wrote files here.
    private var goesOn = false
    /// Whether this file says already at which step it begins.
    private var saidWhere = false
    /// Whether the file could not be written.
    private var hasFailed = false

    package init() {}

    package func warning(of failure: LorikeetError) -> String? {
        "TensorBoard's file could not be written (\(failure.description)); nothing else depends on it, and events.jsonl has all of its numbers"
    }

    /// Opens a new file in `folder` and writes the events received so far.
    ///
    /// - Parameters:
    ///   - time: seconds since 1970; part of the file's name, by which TensorBoard orders files.
    ///   - settings: the recipe's keys and values, as run.yaml writes them: the hyper-parameters.
    ///   - recipe: the text of run.yaml.
    package func open(folder: String, time: Double, settings: [RunRecord.Setting], recipe: String, files: any Files) throws {
        try stoppingAtFailure { try begin(folder, time, settings, recipe, files) }
    }

    private func stoppingAtFailure(_ body: () throws -> Void) throws {
        do { try body() } catch {
            (hasFailed, writer, unwritten) = (true, nil, [])
            throw error
        }
    }

    private func begin(_ folder: String, _ time: Double, _ settings: [RunRecord.Setting], _ recipe: String, _ files: any Files) throws {
        try files.createDirectory(folder)
        let stem = "events.out.tfevents."
        let earlier = try files.list(folder).compactMap { name in name.hasPrefix(stem) ? Int(name.dropFirst(stem.count).prefix { $0 != "." }) : nil }
        goesOn = !earlier.isEmpty
        let number = max(Int(min(max(0, time), 9e9)), min(earlier.max() ?? 0, .max - 1) + 1)
        writer = try files.openAppending(folder + "/" + stem + "\(number).lorikeet")
        guard !goesOn else {
            try write([TensorBoardMessages.version(time)])
            return try writeWaiting()
        }
        let parameters = settings.map { (name: $0.key, value: TensorBoardMessages.Hyperparameter(yaml: $0.value)) }
        var records = [TensorBoardMessages.version(time)]
        records.append(TensorBoardMessages.experiment(time, parameters, metrics: ["eval/loss", "train/loss"]))
        records.append(TensorBoardMessages.sessionStart(time, parameters))
        records.append(TensorBoardMessages.text(time, "recipe", "```yaml\n\(recipe)\n```"))
        try write(records)
        try writeWaiting()
    }

    private func writeWaiting() throws {
        let waiting = unwritten
        unwritten = []
        for event in waiting { try add(event) }
    }

    package func receive(_ event: Event) throws {
        guard !hasFailed else { return }
        guard writer != nil else {
            unwritten.append(event)
            return
        }
        try stoppingAtFailure { try add(event) }
    }

    private func add(_ event: Event) throws {
        let (fields, time) = (JSON.object(event.fields), event.time)
        let step = fields["step"]?.int ?? 0
        switch event.kind {
        case .step where goesOn && !saidWhere:
            saidWhere = true
            try write([TensorBoardMessages.restart(time, step: step)])
        case .log:
            try write([TensorBoardMessages.scalars(time, step: step, Self.values(fields, Self.trainTags))])
        case .evaluation:
            try write([TensorBoardMessages.scalars(time, step: step, Self.values(fields, Self.evaluationTags))])
        case .data where !goesOn: if let sample = fields["first_sample"] { try write([TensorBoardMessages.text(time, "first_sample", Self.text(of: sample))]) }
        case .result:
            // `train` answers no records.
            if let answers = fields["answers"]?.array { try write([TensorBoardMessages.text(time, "answers", Self.table(of: answers))]) }
            try write([TensorBoardMessages.scalars(time, step: fields["summary"]?["steps"]?.int ?? 0, Self.values(fields["summary"] ?? .null, Self.testTags))])
        case .end:
            // After 4 and 75 the same command goes on.
            let exit = fields["exit"]?.int
            if exit != 4, exit != 75 { try write([TensorBoardMessages.sessionEnd(time, succeeded: exit == 0)]) }
        case .environment, .phase, .phaseEnd, .data, .step, .checkpoint, .progress, .warning, .note: break
        }
    }

    private func write(_ records: [[UInt8]]) throws {
        try records.flatMap(RecordFraming.framed).withUnsafeBytes { try writer?.write($0) }
    }

    private static let trainTags = [
        ("loss", "train/loss"), ("learning_rate", "train/learning_rate"), ("grad_norm", "train/grad_norm"), ("epoch", "train/epoch"),
        ("loss_scale", "train/loss_scale"), ("tokens_per_second", "train/tokens_per_second"), ("share_of_limit", "train/share_of_limit"),
        ("gpu_used_bytes", "system/gpu_used_bytes"), ("rss_bytes", "system/rss_bytes"), ("ram_used_bytes", "system/ram_used_bytes"),
        ("cpu_percent", "system/cpu_percent"),
    ]
    private static let evaluationTags = [("eval_loss", "eval/loss"), ("seconds", "eval/runtime")]
    private static let testTags = [
        ("train_loss", "train/train_loss"), ("seconds", "train/train_runtime"), ("validation_loss_after", "test/loss"),
        ("answers_right_before", "test/answers_right_before"), ("answers_right_after", "test/answers_right"),
    ]

    private static func values(_ fields: JSON, _ tags: [(String, String)]) -> [(tag: String, value: Double)] {
        tags.compactMap { key, tag in fields[key].flatMap { value in value.isNull ? nil : value.double.map { (tag, $0) } } }
    }

    /// The first sample as text: what is learnt in bold. Markdown that it contains is shown as it stands.
    private static func text(of sample: JSON) -> String {
        (sample["tokens"]?.array ?? []).map { token in
            let text = Markdown.text(token["text"]?.string ?? "")
            return token["trained"]?.bool == true && !text.isEmpty ? "**\(text)**" : text
        }.joined(separator: "|")
    }

    private static func table(of answers: [JSON]) -> String {
        let rows = answers.map { answer in "|" + ["question", "before", "after", "right"].map { Markdown.text(answer[$0]?.string ?? "") + "|" }.joined() }
        return (["|question|before|after|expected|", "|-|-|-|-|"] + rows).joined(separator: "\n")
    }
}
