import LorikeetModelFiles
import MemoryFiles

extension FuzzTarget {
    static let safetensors = FuzzTarget(name: "safetensors") { bytes in
        Header.read("x.safetensors", bytes)
        let file = try SafetensorsFile(path: "x.safetensors", files: MemoryFiles("x.safetensors", bytes))
        for name in file.names { _ = file.tensors[name]?.firstNonFinite() }
    }
}
