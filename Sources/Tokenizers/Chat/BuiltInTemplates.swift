import LorikeetGround

/// A chat template that base models, which come without one, can be trained with.
package struct BuiltInTemplate: Sendable, Equatable {
    package let name: String
    /// The Jinja text; marks answers with `{% generation %}`.
    package let source: String
    /// The text that ends a turn; nil where it is the tokenizer's end-of-sequence token.
    package let endOfTurn: String?
    /// Texts that the format writes and that ought to be one token each, the end of a turn included.
    package let tokens: [String]
}

extension ChatTemplate {
    /// The names that `named` knows, in the order in which they are shown.
    package static var builtInNames: [String] { BuiltInTemplate.all.map(\.name) }

    /// The built-in template of a name; nil where there is none.
    package static func named(_ name: String) -> BuiltInTemplate? { BuiltInTemplate.all.first { $0.name == name } }
}

extension BuiltInTemplate {
    /// The tokens of the format that `tokenizer` writes as several tokens or does not know: a model can still learn them, but it has to learn
    /// each from its pieces, and generation does not stop at them by itself.
    package func missingTokens(in tokenizer: Tokenizer) throws -> [String] {
        try tokens.filter { text in
            guard let id = tokenizer.id(of: text) else { return true }
            return try tokenizer.encode(text) != [id]
        }
    }

    static let all = [chatML, llama3, gemma, mistral, alpaca, phi3, phi4, zephyr]

    private static let chatML = BuiltInTemplate(
        name: "chatml",
        source: """
            {%- for message in messages %}
                {{- '<|im_start|>' + message.role + '\\n' }}
                {%- if message.role == 'assistant' %}
                    {%- generation %}{{- message.content + '<|im_end|>' }}{%- endgeneration %}
                {%- else %}
                    {{- message.content + '<|im_end|>' }}
                {%- endif %}
                {{- '\\n' }}
            {%- endfor %}
            {%- if add_generation_prompt %}
                {{- '<|im_start|>assistant\\n' }}
            {%- endif %}
            """,
        endOfTurn: "<|im_end|>", tokens: ["<|im_start|>", "<|im_end|>"])

    private static let llama3 = BuiltInTemplate(
        name: "llama-3",
        source: """
            {{- bos_token }}
            {%- for message in messages %}
                {{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' }}
                {%- if message.role == 'assistant' %}
                    {%- generation %}{{- message.content | trim + '<|eot_id|>' }}{%- endgeneration %}
                {%- else %}
                    {{- message.content | trim + '<|eot_id|>' }}
                {%- endif %}
            {%- endfor %}
            {%- if add_generation_prompt %}
                {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
            {%- endif %}
            """,
        endOfTurn: "<|eot_id|>", tokens: ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"])

    /// The start of the formats that have no system turn: its text is kept for the first user turn.
    private static let systemIntoUser = """
        {%- set turn = namespace(system='') %}
        {%- for message in messages %}
            {%- if message.role == 'system' %}
                {%- if not loop.first %}
                    {{- raise_exception('this format has a system message at the beginning only') }}
                {%- endif %}
                {%- set turn.system = message.content | trim + '\\n\\n' %}
        """

    private static let gemma = BuiltInTemplate(
        name: "gemma",
        source: "{{- bos_token }}\n" + systemIntoUser + "\n" + """
                {%- elif message.role == 'assistant' %}
                    {{- '<start_of_turn>model\\n' }}
                    {%- generation %}{{- message.content | trim + '<end_of_turn>' }}{%- endgeneration %}
                    {{- '\\n' }}
                {%- elif message.role == 'user' %}
                    {{- '<start_of_turn>user\\n' + turn.system + message.content | trim + '<end_of_turn>\\n' }}
                    {%- set turn.system = '' %}
                {%- else %}
                    {{- raise_exception('this format has no turn for the role ' + message.role) }}
                {%- endif %}
            {%- endfor %}
            {%- if add_generation_prompt %}
                {{- '<start_of_turn>model\\n' }}
            {%- endif %}
            """,
        endOfTurn: "<end_of_turn>", tokens: ["<start_of_turn>", "<end_of_turn>"])

    private static let mistral = BuiltInTemplate(
        name: "mistral",
        source: "{{- bos_token }}\n" + systemIntoUser + "\n" + """
                {%- elif message.role == 'assistant' %}
                    {%- generation %}{{- ' ' + message.content | trim + eos_token }}{%- endgeneration %}
                {%- elif message.role == 'user' %}
                    {{- '[INST] ' + turn.system + message.content + '[/INST]' }}
                    {%- set turn.system = '' %}
                {%- else %}
                    {{- raise_exception('this format has no turn for the role ' + message.role) }}
                {%- endif %}
            {%- endfor %}
            """,
        endOfTurn: nil, tokens: [])

    private static let alpaca = BuiltInTemplate(
        name: "alpaca",
        source: """
            {{- bos_token }}
            {%- if messages[0].role != 'system' %}
                {{- 'Below is an instruction that describes a task. Write a response that appropriately completes the request.\\n\\n' }}
            {%- endif %}
            {%- for message in messages %}
                {%- if message.role == 'system' %}
                    {{- message.content + '\\n\\n' }}
                {%- elif message.role == 'user' %}
                    {{- '### Instruction:\\n' + message.content + '\\n\\n' }}
                {%- elif message.role == 'assistant' %}
                    {{- '### Response:\\n' }}
                    {%- generation %}{{- message.content + eos_token }}{%- endgeneration %}
                    {{- '\\n\\n' }}
                {%- else %}
                    {{- raise_exception('this format has no turn for the role ' + message.role) }}
                {%- endif %}
            {%- endfor %}
            {%- if add_generation_prompt %}
                {{- '### Response:\\n' }}
            {%- endif %}
            """,
        endOfTurn: nil, tokens: [])

    private static let phi3 = BuiltInTemplate(
        name: "phi-3",
        source: """
            {%- for message in messages %}
                {{- '<|' + message.role + '|>\\n' }}
                {%- if message.role == 'assistant' %}
                    {%- generation %}{{- message.content + '<|end|>' }}{%- endgeneration %}
                {%- else %}
                    {{- message.content + '<|end|>' }}
                {%- endif %}
                {{- '\\n' }}
            {%- endfor %}
            {%- if add_generation_prompt %}
                {{- '<|assistant|>\\n' }}
            {%- else %}
                {{- eos_token }}
            {%- endif %}
            """,
        endOfTurn: "<|end|>", tokens: ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"])

    private static let phi4 = BuiltInTemplate(
        name: "phi-4",
        source: """
            {%- for message in messages %}
                {{- '<|im_start|>' + message.role + '<|im_sep|>' }}
                {%- if message.role == 'assistant' %}
                    {%- generation %}{{- message.content + '<|im_end|>' }}{%- endgeneration %}
                {%- else %}
                    {{- message.content + '<|im_end|>' }}
                {%- endif %}
            {%- endfor %}
            {%- if add_generation_prompt %}
                {{- '<|im_start|>assistant<|im_sep|>' }}
            {%- endif %}
            """,
        endOfTurn: "<|im_end|>", tokens: ["<|im_start|>", "<|im_sep|>", "<|im_end|>"])

    private static let zephyr = BuiltInTemplate(
        name: "zephyr",
        source: """
            {%- for message in messages %}
                {{- '<|' + message.role + '|>\\n' }}
                {%- if message.role == 'assistant' %}
                    {%- generation %}{{- message.content + eos_token }}{%- endgeneration %}
                {%- else %}
                    {{- message.content + eos_token }}
                {%- endif %}
                {{- '\\n' }}
            {%- endfor %}
            {%- if add_generation_prompt %}
                {{- '<|assistant|>\\n' }}
            {%- endif %}
            """,
        endOfTurn: nil, tokens: [])
}
