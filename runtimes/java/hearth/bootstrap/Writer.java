package hearth.bootstrap;

import java.lang.reflect.Array;
import java.lang.reflect.InvocationTargetException;
import java.nio.ByteBuffer;
import java.time.temporal.TemporalAccessor;
import java.util.Base64;
import java.util.Calendar;
import java.util.Date;
import java.util.Iterator;
import java.util.Map;
import java.util.Optional;

/** Values to JSON, as AWS's Java runtime writes them: beans by their getters, dates as milliseconds. */
final class Writer {
    private final Json.Out out;

    Writer(Json.Out out) {
        this.out = out;
    }

    void write(Object value, int depth) {
        if (depth > Json.DEPTH) throw new IllegalArgumentException("nested deeper than " + Json.DEPTH + ", or within itself");
        if (value == null) {
            out.raw("null");
        } else if (value instanceof CharSequence text) {
            out.string(text);
        } else if (value instanceof Boolean) {
            out.raw(value.toString());
        } else if (value instanceof Number number) {
            number(number);
        } else if (value instanceof Map<?, ?> map) {
            map(map, depth);
        } else if (value instanceof Iterable<?> all && !(value instanceof java.nio.file.Path)) {
            items(all.iterator(), depth);
        } else if (value instanceof byte[] bytes) {
            out.string(Base64.getEncoder().encodeToString(bytes));
        } else if (value instanceof char[] text) {
            out.string(new String(text));
        } else if (value.getClass().isArray()) {
            array(value, depth);
        } else if (value instanceof Enum<?> one) {
            out.string(one.name());
        } else if (value instanceof Optional<?> maybe) {
            write(maybe.orElse(null), depth);
        } else if (value instanceof Date date) {
            out.raw(Long.toString(date.getTime()));
        } else if (value instanceof Calendar date) {
            out.raw(Long.toString(date.getTimeInMillis()));
        } else if (value instanceof ByteBuffer bytes) {
            byte[] copy = new byte[bytes.remaining()];
            bytes.duplicate().get(copy);
            out.string(Base64.getEncoder().encodeToString(copy));
        } else if (isText(value)) {
            out.string(value.toString());
        } else {
            bean(value, depth);
        }
    }

    /** What has one good text, and getters that only look like properties. */
    private static boolean isText(Object value) {
        String type = value.getClass().getName();
        return value instanceof TemporalAccessor || value instanceof Character || value instanceof Class
                || type.startsWith("java.util.UUID") || type.startsWith("java.net.") || type.startsWith("java.time.")
                || value instanceof java.nio.file.Path || value instanceof java.io.File
                || value instanceof java.util.Locale || value instanceof java.util.TimeZone
                || type.startsWith("org.joda.time.");
    }

    private void number(Number number) {
        double real = number instanceof Double || number instanceof Float ? number.doubleValue() : 0;
        // JSON has none of these; a text is what AWS makes of them.
        if (Double.isNaN(real) || Double.isInfinite(real)) out.string(number.toString());
        else out.raw(number.toString());
    }

    private void map(Map<?, ?> map, int depth) {
        char before = '{';
        for (Map.Entry<?, ?> entry : map.entrySet()) {
            out.put(before).string(String.valueOf(entry.getKey())).put(':');
            write(entry.getValue(), depth + 1);
            before = ',';
        }
        if (before == '{') out.put('{');
        out.put('}');
    }

    private void items(Iterator<?> items, int depth) {
        out.put('[');
        while (items.hasNext()) {
            write(items.next(), depth + 1);
            if (items.hasNext()) out.put(',');
        }
        out.put(']');
    }

    private void array(Object array, int depth) {
        out.put('[');
        for (int i = 0; i < Array.getLength(array); i++) {
            if (i > 0) out.put(',');
            write(Array.get(array, i), depth + 1);
        }
        out.put(']');
    }

    private void bean(Object bean, int depth) {
        char before = '{';
        for (Map.Entry<String, Bean.Get> property : Bean.of(bean.getClass()).getters.entrySet()) {
            Object value;
            try {
                value = property.getValue().get(bean);
            } catch (InvocationTargetException e) {
                throw new IllegalArgumentException(bean.getClass().getName() + "." + property.getKey(), e.getCause());
            } catch (ReflectiveOperationException e) {
                throw new IllegalArgumentException(bean.getClass().getName() + "." + property.getKey(), e);
            }
            out.put(before).string(property.getKey()).put(':');
            write(value, depth + 1);
            before = ',';
        }
        if (before == '{') out.put('{');
        out.put('}');
    }
}
