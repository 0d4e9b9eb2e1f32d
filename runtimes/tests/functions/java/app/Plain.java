package app;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestStreamHandler;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.util.Date;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** Handlers without an interface, one method each. */
public class Plain {
    private int calls;

    public enum Colour { RED, GREEN }

    public record Point(int x, double y, Optional<String> name) {}

    public static class Named<T> {
        private T value;
        private String URL;
        private boolean isBase64Encoded;
        public Colour colour;

        public T getValue() {
            return value;
        }

        public void setValue(T value) {
            this.value = value;
        }

        public String getURL() {
            return URL;
        }

        public void setURL(String url) {
            URL = url;
        }

        public boolean isBase64Encoded() {
            return isBase64Encoded;
        }

        public void setIsBase64Encoded(boolean is) {
            isBase64Encoded = is;
        }
    }

    public static class Records {
        private List<Named<List<Point>>> records;

        public List<Named<List<Point>>> getRecords() {
            return records;
        }

        public void setRecords(List<Named<List<Point>>> records) {
            this.records = records;
        }
    }

    public int sum(List<Integer> numbers) {
        return numbers.stream().mapToInt(Integer::intValue).sum();
    }

    public static String greet(String name, Context context) {
        return context.getFunctionName() + " greets " + name;
    }

    public int nothingGiven() {
        return ++calls;
    }

    public void nothing(Map<String, Object> event) {
        calls++;
    }

    public Records records(Records event) {
        return event;
    }

    public Point[] points(Point[] points) {
        return points;
    }

    public Map<Colour, Long> colours(EnumMap<Colour, Long> colours) {
        return colours;
    }

    public Date date(Date date) {
        return date;
    }

    public byte[] bytes(byte[] bytes) {
        return bytes;
    }

    public double half(int number) {
        return number / 2.0;
    }

    public void stream(InputStream in, OutputStream out, Context context) throws IOException {
        out.write('<');
        in.transferTo(out);
        out.write('>');
    }

    public static class Stream implements RequestStreamHandler {
        @Override
        public void handleRequest(InputStream in, OutputStream out, Context context) throws IOException {
            in.transferTo(out);
        }
    }

    public String overloaded(String event) {
        return "short";
    }

    public String overloaded(String event, Context context) {
        return "long";
    }

    public void causes(String event) {
        throw new IllegalStateException("outer", new IllegalArgumentException("inner"));
    }

    public void overflows(Object event) {
        overflows(event);
    }

    public void fills(Object event) {
        throw new OutOfMemoryError("Java heap space");
    }

    private String secret(String event) {
        return event;
    }
}
