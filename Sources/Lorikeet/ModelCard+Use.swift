import LorikeetGround
import LorikeetHub
import LorikeetJSON
import LorikeetRecipe
import LorikeetReporting

/// How the folder is loaded, and the command that makes it again.
extension ModelCard {
    var use: String {
        switch part {
        case .adapter: "## Use\n\n" + useOfAdapter
        case .merged: "## Use\n\n" + useOfModel
        case .gguf: ggufCard.use
        case .bitsAndBytes: "## Use\n\n" + useOfDirectory
        }
    }

    private var useOfDirectory: String {
        let shell = """
            pip install transformers accelerate bitsandbytes
            vllm serve .    # or transformers, as below; a folder or its name on a hub
            """
        return Markdown.block("sh", shell) + "\n\n" + Markdown.block("python", Self.loading + question + "\n" + Self.answer)
    }

    private var hasTemplate: Bool { summary["base"]?["chat_template"]?.bool == true }

    private var question: String {
        hasTemplate
            ? """
            messages = [{"role": "user", "content": "..."}]
            inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
            """
            : """
            inputs = tokenizer("...", return_tensors="pt")
            """
    }

    private static let answer = answer(ends: [])

    /// - Parameter ends: ids of the tokens that end an answer; none leaves them to the folder's generation settings.
    private static func answer(ends: [Int]) -> String {
        """
        output = model.generate(**inputs, max_new_tokens=256\(ends.isEmpty ? "" : ", eos_token_id=\(ends)"))
        print(tokenizer.decode(output[0][inputs["input_ids"].shape[1]:], skip_special_tokens=True))
        """
    }

    private static let loading = """
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = "."  # this folder, or its name on a hub
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")

        """

    private var useOfModel: String {
        let shell = """
            lorikeet generate --model . --prompt "..."
            lorikeet export --model . --output gguf --form q8_0    # for llama.cpp
            """
        return Markdown.block("python", Self.loading + question + "\n" + Self.answer) + "\n\n" + Markdown.block("sh", shell)
    }

    private var useOfAdapter: String {
        let base = summary["base"]?["hub_name"]?.string ?? "path/to/the/base/model"
        let name = JSON.string(base).serialized()
        let ownsTemplate = files.exists(place + "/" + AdapterTemplate.file)
        let template = "tokenizer.chat_template = Path(folder, \"\(AdapterTemplate.file)\").read_text(encoding=\"utf-8\")\n"
        let python = """
            \(ownsTemplate ? "from pathlib import Path\n\n" : "")from peft import PeftModel
            from transformers import AutoModelForCausalLM, AutoTokenizer

            folder = "."  # this folder; of one on a hub: huggingface_hub.snapshot_download("ORG/NAME")
            tokenizer = AutoTokenizer.from_pretrained(\(name))
            \(ownsTemplate ? template : "")model = AutoModelForCausalLM.from_pretrained(\(name), dtype="auto")
            model = PeftModel.from_pretrained(model, folder)

            """
        let shell = "lorikeet generate --model \(base.shellWord) --adapter . --prompt \"...\""
        return Markdown.block("python", python + question + "\n" + Self.answer(ends: endTokens)) + "\n\n" + Markdown.block("sh", shell)
    }

    /// The ids at which an answer ends: the base's own generation settings may lack the end of the trained template's turns.
    private var endTokens: [Int] { summary["base"]?["end_tokens"]?.array?.compactMap(\.int) ?? [] }

    /// The command with every key that decides the result and is another than the preset's.
    var repetition: String {
        var words = ["lorikeet run", "--model \(shown(recipe.model ?? "", .model).shellWord)"]
        for (option, names) in [("--data", recipe.data), ("--validation", recipe.validation)] {
            words += names.map { "\(option) \(shown($0, .dataset).shellWord)" }
        }
        words.append("--preset \(recipe.preset)")
        for key in KeyTable.keys where [.identity, .delivery].contains(key.role) || key.name == "init_adapter" {
            guard let value = recipe.values[key.name], value != key.presets[recipe.preset] ?? key.standard, let text = Self.said(value) else { continue }
            let isPlace = key.type == .path || key.name == "chat_template"
            words.append("--\(key.option) \((isPlace ? BaseOrigin.lastPart(text) : text).shellWord)")
        }
        return "## To repeat it\n\nPaths are cut to their last part.\n\n" + Markdown.block("sh", words.joined(separator: " \\\n    "))
    }

    /// A name on a hub as it is, a path by its last part.
    private func shown(_ text: String, _ kind: HubName.Kind) -> String {
        BaseOrigin.hubName(text, kind: kind, files: files) == nil ? BaseOrigin.lastPart(text) : text
    }

    /// A value as an option says it; nil where it is not set.
    private static func said(_ value: KeyValue) -> String? {
        switch value {
        case .none: nil
        case .text(let text): text
        case .list(let names): names.joined(separator: ",")
        case .flag, .integer, .number: value.yaml
        }
    }
}
