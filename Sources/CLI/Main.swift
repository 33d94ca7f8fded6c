@main
struct Lorikeet {
    static func main() {}
}
