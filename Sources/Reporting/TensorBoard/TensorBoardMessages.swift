import LorikeetJSON

/// The messages of TensorBoard's event files that a run writes. The numbers are the fields' of event.proto, summary.proto, tensor.proto and of the
/// plugin hparams' api.proto and plugin_data.proto.
enum TensorBoardMessages {
    private static func event(_ time: Double, step: Int? = nil, _ build: (inout ProtobufMessage) -> Void) -> [UInt8] {
        var event = ProtobufMessage()
        event.add(1, double: time)
        if let step { event.add(2, integer: step) }
        build(&event)
        return event.bytes
    }

    /// The first record of every file.
    static func version(_ time: Double) -> [UInt8] { event(time) { $0.add(3, text: "brain.Event:2") } }

    /// A process goes on: readers drop what earlier files say of this step and later ones.
    static func restart(_ time: Double, step: Int) -> [UInt8] {
        event(time, step: step) { $0.add(7) { $0.add(1, integer: 1) } }
    }

    static func scalars(_ time: Double, step: Int, _ values: [(tag: String, value: Double)]) -> [UInt8] {
        event(time, step: step) {
            $0.add(5) { summary in
                for (tag, value) in values {
                    summary.add(1) {
                        $0.add(1, text: tag)
                        $0.add(2, float: Float(value))
                    }
                }
            }
        }
    }

    /// Markdown for the tab of texts.
    static func text(_ time: Double, _ tag: String, _ text: String) -> [UInt8] {
        event(time, step: 0) {
            $0.add(5) {
                $0.add(1) { value in
                    value.add(1, text: tag + "/text_summary")
                    // A tensor of one string (type 7).
                    value.add(8) {
                        $0.add(1, integer: 7)
                        $0.add(2) { $0.add(2) { $0.add(1, integer: 1) } }
                        $0.add(8, text: text)
                    }
                    value.add(9) {
                        $0.add(1) {
                            $0.add(1, text: "text")
                            $0.add(2, bytes: [])
                        }
                    }
                }
            }
        }
    }

    /// A value of a hyper-parameter; its numbers are those of hparams' DataType.
    enum Hyperparameter: Equatable {
        case text(String)
        case flag(Bool)
        case number(Double)

        /// As run.yaml writes it.
        init(yaml: String) {
            switch yaml {
            case "true": self = .flag(true)
            case "false": self = .flag(false)
            default: self = Double(yaml).map { .number($0) } ?? .text(yaml)
            }
        }

        fileprivate var type: Int {
            switch self {
            case .text: 1
            case .flag: 2
            case .number: 3
            }
        }

        /// A google.protobuf.Value.
        fileprivate func write(into message: inout ProtobufMessage) {
            switch self {
            case .number(let value): message.add(2, double: value)
            case .text(let text): message.add(3, text: text)
            case .flag(let flag): message.add(4, integer: flag ? 1 : 0)
            }
        }
    }

    /// What is known of hyper-parameters and metrics: the columns of the table.
    static func experiment(_ time: Double, _ parameters: [(name: String, value: Hyperparameter)], metrics: [String]) -> [UInt8] {
        plugin(time, tag: "_hparams_/experiment", field: 2) { experiment in
            experiment.add(3, double: time)
            for (name, value) in parameters {
                experiment.add(4) {
                    $0.add(1, text: name)
                    $0.add(4, integer: value.type)
                }
            }
            for metric in metrics { experiment.add(5) { $0.add(1) { $0.add(2, text: metric) } } }
        }
    }

    static func sessionStart(_ time: Double, _ parameters: [(name: String, value: Hyperparameter)]) -> [UInt8] {
        plugin(time, tag: "_hparams_/session_start_info", field: 3) { session in
            for (name, value) in parameters {
                session.add(1) {
                    $0.add(1, text: name)
                    $0.add(2) { value.write(into: &$0) }
                }
            }
            session.add(5, double: time)
        }
    }

    /// - Parameter succeeded: SUCCESS (1), else FAILURE (2).
    static func sessionEnd(_ time: Double, succeeded: Bool) -> [UInt8] {
        plugin(time, tag: "_hparams_/session_end_info", field: 4) {
            $0.add(1, integer: succeeded ? 1 : 2)
            $0.add(2, double: time)
        }
    }

    /// A summary of the plugin hparams: its message is the metadata's content, the value an empty float tensor's (type 1).
    private static func plugin(_ time: Double, tag: String, field: Int, _ build: (inout ProtobufMessage) -> Void) -> [UInt8] {
        event(time, step: 0) {
            $0.add(5) {
                $0.add(1) { value in
                    value.add(1, text: tag)
                    value.add(8) {
                        $0.add(1, integer: 1)
                        $0.add(2) { _ in }
                        $0.add(5, float: 0)
                    }
                    value.add(9) {
                        $0.add(1) {
                            $0.add(1, text: "hparams")
                            $0.add(2) {
                                $0.add(1, integer: 0)
                                $0.add(field, build)
                            }
                        }
                    }
                }
            }
        }
    }
}
