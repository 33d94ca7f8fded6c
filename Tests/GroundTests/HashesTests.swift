import Testing

@testable import LorikeetGround

struct HashesTests {
    @Test func `mixed numbers are those of SplitMix64, so that a resumed run sees the same order`() {
        // The generator's first outputs from state 0, as its authors' program prints them.
        #expect(mix64(0) == 0xE220_A839_7B1D_CDAF)
        #expect(mix64(0x9E37_79B9_7F4A_7C15) == 0x6E78_9E6A_A1B9_65F4)
    }

    @Test func `FNV-1a gives its authors' test vectors`() {
        #expect(FNV1a(of: []).value == 0xCBF2_9CE4_8422_2325)
        #expect(FNV1a(of: Array("a".utf8)).value == 0xAF63_DC4C_8601_EC8C)
        #expect(FNV1a(of: Array("foobar".utf8)).value == 0x8594_4171_F739_67E8)
    }

    @Test func `the nearest name has the fewest edits`() {
        let names = ["v_proj", "q_proj", "gate_proj", "o_proj"]
        #expect(nearestName(to: "gateproj", among: names) == "gate_proj")
        // One edit from three of them: the first in order.
        #expect(nearestName(to: "x_proj", among: names) == "o_proj")
        #expect(nearestName(to: "x", among: []) == nil)
        // Neighbours that are swapped are one edit.
        for (typed, meant) in [("mrege", "merge"), ("rnu", "run"), ("tran", "train"), ("trian", "train"), ("", nil), ("fly", nil), ("un", "run")] {
            #expect(nearestName(to: typed, among: ["run", "train", "merge", "test"]) == meant, "\(typed)")
        }
        // The beginning of one name alone will do, of several not.
        let verbs = ["train", "test", "generate", "generous"]
        for (typed, meant) in [("gen", nil), ("generat", "generate"), ("tra", "train"), ("te", nil), ("tesx", "test"), ("xyz", nil)] as [(String, String?)] {
            #expect(meantName(by: typed, among: verbs) == meant, "\(typed)")
        }
        // Another word altogether is no hint.
        for other in ["", "x", "all", "load_best_model_at_end", "kv_proj_all"] { #expect(nearestName(to: other, among: names) == nil, "\(other)") }
    }
}
