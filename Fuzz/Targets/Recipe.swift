import LorikeetRecipe
import MemoryFiles

extension FuzzTarget {
    static let recipe = FuzzTarget(name: "recipe") { bytes in
        let recipe = try Recipe.resolve(file: "run.yaml", options: [], home: "/home/me", files: MemoryFiles("run.yaml", bytes)).recipe
        _ = recipe.yaml()
    }
}
