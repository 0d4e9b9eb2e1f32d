package com.amazonaws.services.lambda.runtime.logging;

/** How much a log line matters; their numbers are those of Hearth's wire. */
public enum LogLevel {
    UNDEFINED, TRACE, DEBUG, INFO, WARN, ERROR, FATAL;

    public static LogLevel fromString(String text) {
        try {
            return text == null ? UNDEFINED : valueOf(text.toUpperCase(java.util.Locale.ROOT));
        } catch (IllegalArgumentException e) {
            throw new IllegalArgumentException("Invalid log level: '" + text + "' expected one of [TRACE, DEBUG, INFO, WARN, ERROR, FATAL]");
        }
    }
}
