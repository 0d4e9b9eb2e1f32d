package hearth.bootstrap;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * JSON (RFC 8259) from bytes to a tree and from values to bytes: Map, List, String, Integer, Long, BigInteger, Double,
 * Boolean, null. Own, so that no library of ours can clash with one of the function's.
 */
final class Json {
    /** Deeper would be the end of the stack in the middle of it. */
    static final int DEPTH = 1000;

    private Json() {}

    /** The text is no JSON. */
    static final class Malformed extends Exception {
        private static final long serialVersionUID = 1;

        Malformed(String message) {
            super(message);
        }
    }

    static Object parse(byte[] text) throws Malformed {
        return new Parser(text).whole();
    }

    // === reading ===

    private static final class Parser {
        private final byte[] text;
        private int at;
        private int depth;

        Parser(byte[] text) {
            this.text = text;
        }

        Object whole() throws Malformed {
            Object value = value();
            space();
            if (at < text.length) throw wrong("expected the end");
            return value;
        }

        private Malformed wrong(String what) {
            String found = at < text.length ? "found byte 0x" + Integer.toHexString(text[at] & 0xff) : "found the end";
            return new Malformed(what + ", " + found + " at byte " + at);
        }

        private void space() {
            while (at < text.length && (text[at] == ' ' || text[at] == '\n' || text[at] == '\r' || text[at] == '\t')) at++;
        }

        private int peek() {
            return at < text.length ? text[at] : -1;
        }

        private Object value() throws Malformed {
            space();
            switch (peek()) {
                case '{': return object();
                case '[': return array();
                case '"': return string();
                case 't': return word("true", Boolean.TRUE);
                case 'f': return word("false", Boolean.FALSE);
                case 'n': return word("null", null);
                default: return number();
            }
        }

        private Object word(String word, Object value) throws Malformed {
            for (int i = 0; i < word.length(); i++, at++) {
                if (peek() != word.charAt(i)) throw wrong("expected " + word);
            }
            return value;
        }

        private Map<String, Object> object() throws Malformed {
            enter();
            Map<String, Object> members = new LinkedHashMap<>();
            space();
            if (peek() == '}') return leave(members);
            for (;;) {
                space();
                if (peek() != '"') throw wrong("expected a member's name");
                String name = string();
                space();
                if (peek() != ':') throw wrong("expected ':'");
                at++;
                members.put(name, value());
                space();
                if (peek() == '}') return leave(members);
                if (peek() != ',') throw wrong("expected ',' or '}'");
                at++;
            }
        }

        private List<Object> array() throws Malformed {
            enter();
            List<Object> items = new ArrayList<>();
            space();
            if (peek() == ']') return leave(items);
            for (;;) {
                items.add(value());
                space();
                if (peek() == ']') return leave(items);
                if (peek() != ',') throw wrong("expected ',' or ']'");
                at++;
            }
        }

        private void enter() throws Malformed {
            at++;
            if (++depth > DEPTH) throw wrong("nested deeper than " + DEPTH);
        }

        private <T> T leave(T whole) {
            at++;
            depth--;
            return whole;
        }

        private String string() throws Malformed {
            int from = ++at;
            StringBuilder built = null;
            for (;;) {
                int byt = peek();
                if (at >= text.length) throw wrong("expected the end of a string");
                if (byt >= 0 && byt < ' ') throw wrong("expected a control character to be escaped");
                if (byt == '"') {
                    String rest = decode(from, at++);
                    return built == null ? rest : built.append(rest).toString();
                }
                if (byt != '\\') {
                    at++;
                    continue;
                }
                if (built == null) built = new StringBuilder();
                built.append(decode(from, at++));
                built.append(escaped());
                from = at;
            }
        }

        private char escaped() throws Malformed {
            int byt = peek();
            at++;
            switch (byt) {
                case '"': case '\\': case '/': return (char) byt;
                case 'b': return '\b';
                case 'f': return '\f';
                case 'n': return '\n';
                case 'r': return '\r';
                case 't': return '\t';
                case 'u': {
                    int code = 0;
                    for (int i = 0; i < 4; i++, at++) {
                        int digit = Character.digit(peek(), 16);
                        if (digit < 0) throw wrong("expected four hexadecimal digits");
                        code = code * 16 + digit;
                    }
                    return (char) code;
                }
                default:
                    at--;
                    throw wrong("expected an escape");
            }
        }

        private String decode(int from, int to) throws Malformed {
            for (int i = from; i < to; i++) {
                if (text[i] >= 0) continue;
                try {
                    return UTF_8.newDecoder().decode(ByteBuffer.wrap(text, from, to - from)).toString();
                } catch (CharacterCodingException e) {
                    throw new Malformed("a string is not UTF-8, at byte " + from);
                }
            }
            return new String(text, from, to - from, UTF_8);
        }

        private Object number() throws Malformed {
            int from = at;
            if (peek() == '-') at++;
            if (peek() == '0') at++;
            else digits("a value");
            boolean whole = true;
            if (peek() == '.') {
                at++;
                whole = false;
                digits("a digit");
            }
            if (peek() == 'e' || peek() == 'E') {
                at++;
                whole = false;
                if (peek() == '+' || peek() == '-') at++;
                digits("a digit");
            }
            String digits = new String(text, from, at - from, UTF_8);
            if (!whole) {
                double number = Double.parseDouble(digits);
                return Double.isInfinite(number) ? new BigDecimal(digits) : (Object) number;
            }
            if (digits.length() > 18) {
                BigInteger number = new BigInteger(digits);
                return number.bitLength() < 64 ? (Object) number.longValue() : number;
            }
            long number = Long.parseLong(digits);
            return number == (int) number ? (Object) (int) number : number;
        }

        private void digits(String expected) throws Malformed {
            if (peek() < '0' || peek() > '9') throw wrong("expected " + expected);
            while (peek() >= '0' && peek() <= '9') at++;
        }
    }

    // === writing ===

    /** A growing text in UTF-8. */
    static final class Out {
        private byte[] bytes = new byte[256];
        private int length;

        byte[] bytes() {
            return bytes;
        }

        int length() {
            return length;
        }

        byte[] copy() {
            return Arrays.copyOf(bytes, length);
        }

        private void room(int more) {
            int needed = Math.addExact(length, more);
            if (needed > bytes.length) bytes = Arrays.copyOf(bytes, Math.max(needed, bytes.length + (bytes.length >> 1)));
        }

        Out put(char ascii) {
            room(1);
            bytes[length++] = (byte) ascii;
            return this;
        }

        Out raw(byte[] more) {
            room(more.length);
            System.arraycopy(more, 0, bytes, length, more.length);
            length += more.length;
            return this;
        }

        /** ASCII that needs no escape. */
        @SuppressWarnings("deprecation")
        Out raw(String ascii) {
            int size = ascii.length();
            room(size);
            ascii.getBytes(0, size, bytes, length);
            length += size;
            return this;
        }

        Out string(CharSequence text) {
            put('"');
            for (int i = 0; i < text.length(); i++) {
                char c = text.charAt(i);
                room(6);
                if (c == '"' || c == '\\') {
                    bytes[length++] = '\\';
                    bytes[length++] = (byte) c;
                } else if (c >= ' ' && c < 0x80) {
                    bytes[length++] = (byte) c;
                } else if (c < ' ') {
                    control(c);
                } else if (c < 0x800) {
                    bytes[length++] = (byte) (0xc0 | c >> 6);
                    bytes[length++] = (byte) (0x80 | c & 0x3f);
                } else if (!Character.isSurrogate(c)) {
                    bytes[length++] = (byte) (0xe0 | c >> 12);
                    bytes[length++] = (byte) (0x80 | c >> 6 & 0x3f);
                    bytes[length++] = (byte) (0x80 | c & 0x3f);
                } else if (Character.isHighSurrogate(c) && i + 1 < text.length()
                        && Character.isLowSurrogate(text.charAt(i + 1))) {
                    int code = Character.toCodePoint(c, text.charAt(++i));
                    bytes[length++] = (byte) (0xf0 | code >> 18);
                    bytes[length++] = (byte) (0x80 | code >> 12 & 0x3f);
                    bytes[length++] = (byte) (0x80 | code >> 6 & 0x3f);
                    bytes[length++] = (byte) (0x80 | code & 0x3f);
                } else {
                    // Half a pair has no UTF-8.
                    raw("\\u" + Integer.toHexString(c));
                }
            }
            return put('"');
        }

        private void control(char c) {
            int known = "\b\f\n\r\t".indexOf(c);
            if (known >= 0) put('\\').put("bfnrt".charAt(known));
            else raw(c < 16 ? "\\u000" : "\\u00").raw(Integer.toHexString(c));
        }
    }

    /** For trees and texts of our own. */
    static byte[] bytes(Object tree) {
        Out out = new Out();
        new Writer(out).write(tree, 0);
        return out.copy();
    }
}
