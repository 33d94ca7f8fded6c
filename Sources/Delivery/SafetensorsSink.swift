import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles

/// Writes tensors as Hugging Face does: `model.safetensors`, or shards with their index.
package final class SafetensorsSink: TensorSink {
    private let directory: String
    private let files: any Files
    private let shardBytes: Int
    private var shards: [[TensorDescription]] = []
    /// The shard that is written, and what of it is missing.
    private var number = 0
    private var writer: SafetensorsWriter?
    private var missing = 0

    /// - Parameter shardBytes: a shard grows no larger than this, but for a single tensor that is.
    package init(directory: String, files: any Files, shardBytes: Int) {
        self.directory = directory
        self.files = files
        self.shardBytes = shardBytes
    }

    package func begin(_ tensors: [TensorDescription]) throws {
        var bytes = 0
        shards = [[]]
        for tensor in tensors {
            let size = Self.bytes(tensor)
            if bytes + size > shardBytes && !shards[shards.count - 1].isEmpty {
                shards.append([])
                bytes = 0
            }
            shards[shards.count - 1].append(tensor)
            bytes += size
        }
        try openShard()
    }

    package func append(_ bytes: UnsafeRawBufferPointer) throws {
        if missing == 0, number + 1 < shards.count {
            try writer?.finish()
            number += 1
            try openShard()
        }
        try writer?.append(bytes)
        missing -= bytes.count
    }

    package func finish() throws {
        try writer?.finish()
        guard shards.count > 1 else { return }
        let map = shards.enumerated().flatMap { number, shard in shard.map { (key: $0.name, value: JSON.string(name(number))) } }
        let bytes = shards.joined().reduce(0) { $0 + Self.bytes($1) }
        let elements = shards.joined().reduce(0) { $0 + $1.shape.reduce(1, *) }
        let index: JSON = [
            "metadata": ["total_parameters": JSON(elements), "total_size": JSON(bytes)],
            "weight_map": .object(JSONObject(map.sorted { $0.key < $1.key })),
        ]
        try files.writeDurably(index.serialized(pretty: true) + "\n", to: directory + "/model.safetensors.index.json")
    }

    private func openShard() throws {
        let shard = shards[number]
        writer = try SafetensorsWriter(
            path: directory + "/" + name(number), files: files, tensors: shard.map { ($0.name, $0.type, $0.shape) }, metadata: ["format": "pt"])
        missing = shard.reduce(0) { $0 + Self.bytes($1) }
    }

    private func name(_ number: Int) -> String {
        shards.count == 1
            ? "model.safetensors" : "model-\((number + 1).zeroPadded(to: 5))-of-\(shards.count.zeroPadded(to: 5)).safetensors"
    }

    private static func bytes(_ tensor: TensorDescription) -> Int { tensor.type.byteCount(shape: tensor.shape) ?? 0 }
}
