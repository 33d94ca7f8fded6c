import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import Testing

@testable import LorikeetDelivery

/// The form `bnb-4bit`, written and read again. transformers' reading is compared by Tests/Reference/check_bnb_4bit.py.
struct BitsAndBytesExportTests {
    private let cpu = CPU(threads: 2)

    private func exported(_ name: String, type: ElementType = .bf16) throws -> (base: ModelSource, directory: String) {
        let base = try ModelSource.open(name)
        let directory = Temporary.folder()
        let sink = SafetensorsSink(directory: directory, files: RealFiles(), shardBytes: 20_000)
        try RealFiles().createDirectory(directory)
        let stream = TensorStream(base, linearsThrough: .stored, cpu: cpu)
        try sink.write(BitsAndBytesExport(base: base, type: type, cpu: cpu).tensors(stream.tensors())) { _ in }
        let configuration = try BitsAndBytesExport.configuration(base.configuration.written(type: type == .f16 ? "float16" : "bfloat16"), type: type)
        try RealFiles().writeDurably(configuration.serialized(pretty: true), to: directory + "/config.json")
        return (base, directory)
    }

    @Test(arguments: [ElementType.bf16, .f16]) func `codes and maxima that are read again are those that were made, bit for bit`(type: ElementType) throws {
        let (base, directory) = try exported(MergeTests.llama, type: type)
        let back = try ModelSource.open(directory)
        var linears = 0
        for declaration in base.configuration.family.weights() {
            guard case .linear = declaration.role else { continue }
            linears += 1
            let made = try #require(try loadStore(view: declaration.view(in: base), storage: .nf4, cpu: cpu) as? NF4Store)
            let read = try #require(try loadStore(view: declaration.view(in: back), storage: .stored, cpu: cpu) as? NF4Store)
            #expect(read.codes == made.codes && read.maxima == made.maxima && read.nestedMaxima == made.nestedMaxima && read.offset == made.offset)
        }
        #expect(linears > 6 && back.hasOwnCodes)
    }

    @Test func `only linears are quantised, and every tensor is aligned`() throws {
        let (base, directory) = try exported(MergeTests.llama)
        let (names, tensors) = try SafetensorsFile.openDirectory(directory)
        let state = ".quant_state.bitsandbytes__nf4"
        let quantised = names.filter { $0.hasSuffix(state) }.map { String($0.dropLast(state.count)) }
        #expect(Set(quantised) == Set(base.configuration.family.linears().map { $0.name + ".weight" }))
        #expect(tensors["model.embed_tokens.weight"]?.type == .bf16 && tensors["model.norm.weight"]?.type == .bf16)
        for name in names {
            let view = try #require(tensors[name])
            #expect(view.offset % view.type.blockBytes == 0, "\(name)")
        }
    }

    @Test func `a merger writes it whole`() throws {
        let base = try ModelSource.open(MergeTests.llama)
        let adapter = try AdapterFile.read(directory: MergeTests.llama + "/adapter_init", files: RealFiles())
        var settings = MergeSettings(type: .bf16)
        settings.isNF4 = true
        let directory = Temporary.folder() + "-whole"
        try Merger(base: base, adapter: adapter, settings: settings, files: RealFiles(), cpu: cpu).write(to: directory)
        let configuration = try JSON.parse(RealFiles().read(directory + "/config.json"), source: "config.json")
        #expect(configuration["quantization_config"]?["bnb_4bit_quant_type"]?.string == "nf4")
        #expect(configuration["quantization_config"]?["bnb_4bit_compute_dtype"]?.string == "bfloat16")
        #expect(try ModelSource.open(directory).hasOwnCodes)
    }
}
