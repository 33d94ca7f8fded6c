/// The program's version, as `lorikeet --version` prints it.
package let lorikeetVersion = "0.1.0"
