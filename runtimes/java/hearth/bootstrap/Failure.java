package hearth.bootstrap;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.ArrayList;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** A function's error as its caller and its log are told of it, in AWS's shape. */
final class Failure {
    private static final String OWN = Failure.class.getPackageName() + ".";
    private static final int CAUSES = 16;

    final String message;
    final String type;
    private final Throwable of;

    private Failure(String message, String type, Throwable of) {
        this.message = message;
        this.type = type;
        this.of = of;
    }

    static Failure of(Throwable error) {
        filter(error, Collections.newSetFromMap(new IdentityHashMap<>()));
        return new Failure(error.getLocalizedMessage(), error.getClass().getName(), error);
    }

    /** With words of the runtime's own for what happened. */
    static Failure of(String message, Throwable error) {
        filter(error, Collections.newSetFromMap(new IdentityHashMap<>()));
        return new Failure(message, error.getClass().getName(), error);
    }

    static Failure of(String message, String type) {
        return new Failure(message, type, null);
    }

    byte[] json() {
        return Json.bytes(of == null ? members(message, type, new StackTraceElement[0], null, 0)
                : members(message, type, of.getStackTrace(), of.getCause(), 0));
    }

    private static Map<String, Object> members(String message, String type, StackTraceElement[] trace, Throwable cause, int depth) {
        Map<String, Object> members = new LinkedHashMap<>();
        members.put("errorMessage", message);
        members.put("errorType", type);
        List<String> lines = new ArrayList<>();
        for (StackTraceElement one : trace) lines.add(one.toString());
        members.put("stackTrace", lines);
        if (cause != null && depth < CAUSES) {
            members.put("cause", members(cause.getLocalizedMessage(), cause.getClass().getName(), cause.getStackTrace(), cause.getCause(), depth + 1));
        }
        return members;
    }

    /** For the log: message, type, and the whole trace. */
    String forLog() {
        if (of == null) return message;
        StringWriter trace = new StringWriter();
        of.printStackTrace(new PrintWriter(trace));
        return (message == null ? type : message) + ": " + type + "\n" + trace.toString().stripTrailing();
    }

    List<String> traceLines() {
        List<String> lines = new ArrayList<>();
        if (of != null) for (StackTraceElement one : of.getStackTrace()) lines.add(one.toString());
        return lines;
    }

    /** Takes the bootstrap's own frames away, and those of the reflection between it and the function. */
    private static void filter(Throwable error, Set<Throwable> seen) {
        if (error == null || !seen.add(error)) return;
        StackTraceElement[] trace = error.getStackTrace();
        for (int i = 0; i < trace.length; i++) {
            if (!trace[i].getClassName().startsWith(OWN)) continue;
            int end = i;
            while (end > 0 && isReflection(trace[end - 1].getClassName())) end--;
            error.setStackTrace(java.util.Arrays.copyOf(trace, end));
            break;
        }
        filter(error.getCause(), seen);
        for (Throwable one : error.getSuppressed()) filter(one, seen);
    }

    private static boolean isReflection(String type) {
        return type.startsWith("jdk.internal.reflect.") || type.startsWith("java.lang.reflect.") || type.startsWith("java.lang.invoke.");
    }
}
