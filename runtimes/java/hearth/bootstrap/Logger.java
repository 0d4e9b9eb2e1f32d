package hearth.bootstrap;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.amazonaws.services.lambda.runtime.LambdaLogger;
import com.amazonaws.services.lambda.runtime.logging.LogLevel;
import java.io.IOException;
import java.io.OutputStream;
import java.util.LinkedHashMap;
import java.util.Map;

/** The function's logger: LOG frames, in AWS's text or JSON format. */
public final class Logger implements LambdaLogger {
    public static final Logger INSTANCE = new Logger();

    private OutputStream control;
    private boolean json;
    private LogLevel least = LogLevel.UNDEFINED;
    private volatile String requestId = "";

    private Logger() {}

    void set(OutputStream control, boolean json, String least) {
        this.control = control;
        this.json = json;
        for (LogLevel one : LogLevel.values()) if (one.name().equalsIgnoreCase(least)) this.least = one;
    }

    void request(String id) {
        requestId = id;
    }

    @Override
    public void log(String message) {
        log(message, LogLevel.UNDEFINED);
    }

    @Override
    public void log(byte[] message) {
        log(message, LogLevel.UNDEFINED);
    }

    @Override
    public void log(byte[] message, LogLevel level) {
        log(new String(message, UTF_8), level);
    }

    @Override
    public void log(String message, LogLevel level) {
        if (level != LogLevel.UNDEFINED && level.compareTo(least) < 0) return;
        String text = String.valueOf(message);
        if (json) {
            Map<String, Object> line = line(level);
            line.put("message", text);
            send(level, Json.bytes(line));
        } else {
            text = text.endsWith("\n") ? text.substring(0, text.length() - 1) : text;
            send(level, (level == LogLevel.UNDEFINED ? text : "[" + level + "] " + text).getBytes(UTF_8));
        }
    }

    void log(Failure failure) {
        if (json) {
            Map<String, Object> line = line(LogLevel.ERROR);
            line.put("message", failure.message);
            line.put("errorType", failure.type);
            line.put("errorMessage", failure.message);
            line.put("stackTrace", failure.traceLines());
            send(LogLevel.ERROR, Json.bytes(line));
        } else {
            send(LogLevel.ERROR, failure.forLog().getBytes(UTF_8));
        }
    }

    private Map<String, Object> line(LogLevel level) {
        Map<String, Object> line = new LinkedHashMap<>();
        long now = System.currentTimeMillis();
        line.put("timestamp", java.time.Instant.ofEpochMilli(now - now % 1000).toString());
        line.put("level", level.name());
        line.put("AWSRequestId", requestId);
        return line;
    }

    private void send(LogLevel level, byte[] message) {
        byte[] frame = Wire.log(System.currentTimeMillis() * 1000, level.ordinal(), requestId, message);
        try {
            synchronized (this) {
                if (control != null) control.write(frame);
            }
        } catch (IOException e) {
            // Nobody is there to read: the instance is about to end.
        }
    }
}
