import LorikeetGround
import LorikeetJSON

/// Collects added tokens and gives them their ids as the reference library does: not by the number in the file, but a token that the model
/// has keeps the model's id, and another one gets the next free id.
struct AddedTokenReading {
    /// The model's id of a text.
    let modelID: ([UInt8]) -> Int32?
    /// Tokens of the model.
    let modelCount: Int
    private(set) var tokens: [AddedToken] = []
    /// The first token that the file gives another id than it has, and how many there are.
    private var renumbered: (text: String, written: Int32, id: Int32)?
    private var renumberedCount = 0
    private var places: [[UInt8]: Int] = [:]
    private var greatest: Int32?

    init(modelCount: Int, modelID: @escaping ([UInt8]) -> Int32?) { (self.modelCount, self.modelID) = (modelCount, modelID) }

    /// Says that ids of the file do not count.
    var warning: String? {
        renumbered.map { first in
            "the added token “\(first.text)” has the id \(first.id), as in the tokenizers library, not \(first.written) as the file says"
                + (renumberedCount > 1 ? " (and \(renumberedCount - 1) more)" : "")
        }
    }

    /// Adds a token, whose own `id` does not count; one that is there already gets its flags.
    ///
    /// - Parameter isNumbered: the file gives the id.
    /// - Throws: exit 2 where that id is none that a tokenizer has.
    mutating func add(_ token: AddedToken, isNumbered: Bool = true, source: String) throws {
        guard (0..<Int32(BytePairModel.maximumTokens)).contains(token.id) else {
            throw LorikeetError.input("added token “\(token.text)” has the id \(token.id), outside the vocabulary", at: source)
        }
        guard !token.text.isEmpty else { return }
        let bytes = Array(token.text.utf8)
        var token = token
        if let place = places[bytes] {
            token.id = tokens[place].id
            token.isSpecial = token.isSpecial || tokens[place].isSpecial
            tokens[place] = token
            return
        }
        let next = greatest.map { Int($0) >= modelCount ? $0 + 1 : Int32(clamping: modelCount) } ?? Int32(clamping: modelCount)
        let id = modelID(bytes) ?? next
        if isNumbered, id != token.id {
            renumbered = renumbered ?? (token.text, token.id, id)
            renumberedCount += 1
        }
        token.id = id
        greatest = max(greatest ?? token.id, token.id)
        places[bytes] = tokens.count
        tokens.append(token)
    }

    /// Adds what transformers adds when it loads a `tokenizer_config.json`: the entries of `added_tokens_decoder`, whose flags beat those of
    /// tokenizer.json; then the named special tokens and the further ones that are not there.
    ///
    /// - Parameter specials: `special_tokens_map.json`, which names what the settings do not.
    mutating func add(settings: JSON?, specials: JSON?, source: String) throws {
        if settings?["split_special_tokens"]?.bool == true {
            throw LorikeetError.input(
                "“split_special_tokens” of tokenizer_config.json (special tokens of a text are ordinary text) is not supported", at: source,
                fix: "set it to false")
        }
        var known: [(id: Int32, token: JSON, text: String)] = []
        for (key, token) in settings?["added_tokens_decoder"]?.object?.entries ?? [] {
            guard let id = Int32(key), let text = token["content"]?.string else {
                throw LorikeetError.input("an entry of added_tokens_decoder (“\(key)”) has no id or “content”", at: source)
            }
            known.append((id, token, text))
        }
        for (id, token, text) in known.sorted(by: { $0.id < $1.id }) {
            try add(TokenizerFile.addedToken(token, id: id, text: text), source: source)
        }
        try add(named: settings, specials, source: source)
    }

    /// Adds the named special tokens and the further ones that are not there.
    ///
    /// - Throws: exit 2 for an end-of-sequence token that is not there: transformers would number it on, beyond the rows of the model.
    private mutating func add(named settings: JSON?, _ specials: JSON?, source: String) throws {
        let names = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"]
        var further = names.compactMap { name in
            [settings?[name], specials?[name]].compactMap { $0 }.first { !$0.isNull }.map { (name: name, token: $0) }
        }
        for key in ["extra_special_tokens", "additional_special_tokens"] {
            let list = settings?[key] ?? specials?[key]
            further += (list?.array ?? list?.object?.entries.map(\.value) ?? []).map { (key, $0) }
        }
        for (name, json) in further {
            guard let text = Tokenizer.tokenText(json), places[Array(text.utf8)] == nil else { continue }
            guard name != "eos_token" || text.isEmpty || modelID(Array(text.utf8)) != nil else {
                throw LorikeetError.input(
                    "'eos_token' is '\(text)', which the tokenizer does not have", at: source, fix: "use the model's own tokenizer_config.json")
            }
            var token = AddedToken(id: 0, text: text, isSpecial: true)
            if json.object != nil { token = TokenizerFile.addedToken(json, id: 0, text: text) }
            token.isSpecial = true
            try add(token, isNumbered: false, source: source)
        }
    }
}
