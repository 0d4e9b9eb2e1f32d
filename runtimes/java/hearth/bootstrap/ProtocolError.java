package hearth.bootstrap;

/** The host sent what `wire` does not allow. Nobody can answer that: the process ends. */
final class ProtocolError extends RuntimeException {
    private static final long serialVersionUID = 1;

    ProtocolError(String message) {
        super(message);
    }
}
