package hearth.bootstrap;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.util.Arrays;
import java.util.Map;

/** Frames of docs/wire.md, written and read. Refuses, with ProtocolError, what crates/wire/vectors/invalid.json lists. */
final class Wire {
    static final int HELLO = 0x01;
    static final int INIT = 0x02;
    static final int READY = 0x03;
    static final int INIT_ERROR = 0x04;
    static final int LOG = 0x05;
    static final int INVOKE = 0x10;
    static final int DATA = 0x11;
    static final int END = 0x12;
    static final int RESPONSE = 0x13;
    static final int ERROR = 0x14;

    static final int MAX_BODY = 16 * 1024 * 1024;
    static final int MAX_LOG = 1024 * 1024;
    private static final int VERSION = 1;
    /** Flag bit: the payload is complete in this frame. */
    private static final int LAST = 1;
    private static final int HEAD = 5;

    private Wire() {}

    /** One frame that was read. */
    record Frame(int kind, byte[] body) {}

    /** One invocation; the payload may go on in DATA frames. */
    static final class Call {
        long deadlineMs;
        String requestId;
        String traceId;
        String functionArn;
        String clientContext;
        String cognitoIdentity;
        boolean last;
        byte[] payload;
    }

    // === writing ===

    static byte[] frame(int kind, byte[] body) {
        return buffer(kind, body.length).put(body).array();
    }

    static byte[] hello(String runtime) {
        byte[] name = runtime.getBytes(UTF_8);
        return buffer(HELLO, 4 + name.length).putShort((short) VERSION).putShort((short) name.length).put(name).array();
    }

    static byte[] log(long timeUs, int level, String requestId, byte[] message) {
        byte[] id = requestId.getBytes(UTF_8);
        int fixed = 8 + 1 + 2 + id.length;
        int length = Math.min(message.length, MAX_LOG - fixed);
        // Not within a character: its further bytes begin with the bits 10.
        while (length > 0 && length < message.length && (message[length] & 0xc0) == 0x80) length--;
        ByteBuffer out = buffer(LOG, fixed + length).putLong(timeUs).put((byte) level);
        return out.putShort((short) id.length).put(id).put(message, 0, length).array();
    }

    /** A frame that says whether more follows. */
    static byte[] response(boolean last, byte[] payload, int length) {
        return buffer(RESPONSE, 1 + length).put((byte) (last ? LAST : 0)).put(payload, 0, length).array();
    }

    /** A whole result: one frame, or where that would be too long RESPONSE, DATA… and END. */
    static void respond(OutputStream out, byte[] payload, int length) throws IOException {
        if (length < MAX_BODY) {
            out.write(response(true, payload, length));
            return;
        }
        out.write(response(false, payload, 0));
        for (int at = 0; at < length; at += MAX_BODY) {
            int size = Math.min(MAX_BODY, length - at);
            out.write(buffer(DATA, size).put(payload, at, size).array());
        }
        out.write(frame(END, new byte[0]));
    }

    private static ByteBuffer buffer(int kind, int length) {
        ByteBuffer out = ByteBuffer.allocate(HEAD + length).order(ByteOrder.LITTLE_ENDIAN);
        return out.putInt(length).put((byte) kind);
    }

    // === reading ===

    /** Cuts a stream into frames. */
    static final class Reader {
        private final InputStream in;
        private final int[] allowed;
        private final byte[] buffer = new byte[64 * 1024];
        private int at;
        private int end;

        Reader(InputStream in, int... allowed) {
            this.in = in;
            this.allowed = allowed;
        }

        /** The next frame, or null where the stream ends between two. */
        Frame next() throws IOException {
            while (end - at < HEAD) {
                if (at > 0) System.arraycopy(buffer, at, buffer, 0, end - at);
                end -= at;
                at = 0;
                int count = read(buffer, end, buffer.length - end);
                if (count < 0 && end == 0) return null;
                if (count < 0) throw new ProtocolError("end of file inside a frame");
                end += count;
            }
            ByteBuffer head = ByteBuffer.wrap(buffer, at, HEAD).order(ByteOrder.LITTLE_ENDIAN);
            long length = Integer.toUnsignedLong(head.getInt());
            int kind = head.get() & 0xff;
            at += HEAD;
            check(kind, length);
            byte[] body = new byte[(int) length];
            int have = Math.min(body.length, end - at);
            System.arraycopy(buffer, at, body, 0, have);
            at += have;
            while (have < body.length) {
                // A larger piece would be a larger buffer of the C library's at each read.
                int count = read(body, have, Math.min(body.length - have, 128 * 1024));
                if (count < 0) throw new ProtocolError("end of file inside a frame");
                have += count;
            }
            return new Frame(kind, body);
        }

        private void check(int kind, long length) {
            boolean known = false;
            for (int one : allowed) known |= one == kind;
            if (!known) throw new ProtocolError("frame kind 0x" + Integer.toHexString(kind) + " is not for here");
            if (length > MAX_BODY) throw new ProtocolError("a frame of " + length + " bytes is too long");
        }

        /** -1 at the end, also where the host went away without reading all that was written. */
        private int read(byte[] into, int from, int length) throws IOException {
            for (;;) {
                try {
                    return in.read(into, from, length);
                } catch (IOException e) {
                    String why = String.valueOf(e.getMessage());
                    if (why.contains("Connection reset")) return -1;
                    if (!why.contains("temporarily unavailable")) throw e;
                    Wire.pause();
                }
            }
        }
    }

    /** Where a descriptor that should block does not, there is no better way to wait. */
    private static void pause() {
        try {
            Thread.sleep(1);
        } catch (InterruptedException e) {
            // What interrupts between calls has nothing to interrupt.
        }
    }

    static Call decodeInvoke(byte[] body) {
        ByteBuffer in = ByteBuffer.wrap(body).order(ByteOrder.LITTLE_ENDIAN);
        if (in.remaining() < 8) throw new ProtocolError("INVOKE ends before its deadline");
        Call call = new Call();
        call.deadlineMs = in.getLong();
        call.requestId = text(in, 2);
        call.traceId = text(in, 2);
        call.functionArn = text(in, 2);
        call.clientContext = text(in, 4);
        call.cognitoIdentity = text(in, 4);
        if (!in.hasRemaining()) throw new ProtocolError("INVOKE ends before its flags");
        int flags = in.get() & 0xff;
        if ((flags & ~LAST) != 0) throw new ProtocolError("INVOKE has unknown flags 0x" + Integer.toHexString(flags));
        call.last = flags == LAST;
        call.payload = Arrays.copyOfRange(body, in.position(), body.length);
        return call;
    }

    private static String text(ByteBuffer in, int width) {
        if (in.remaining() < width) throw new ProtocolError("a string has no length");
        long length = width == 2 ? Short.toUnsignedInt(in.getShort()) : Integer.toUnsignedLong(in.getInt());
        if (length > in.remaining()) throw new ProtocolError("a string reaches beyond the end of its frame");
        if (length == 0) return "";
        ByteBuffer part = in.slice().limit((int) length);
        in.position(in.position() + (int) length);
        try {
            return UTF_8.newDecoder().decode(part).toString();
        } catch (CharacterCodingException e) {
            throw new ProtocolError("a string is not UTF-8");
        }
    }

    /** INIT as a tree, with its members looked at. */
    static Map<?, ?> decodeInit(byte[] body) {
        Object init;
        try {
            init = Json.parse(body);
        } catch (Json.Malformed e) {
            throw new ProtocolError("INIT does not parse: " + e.getMessage());
        }
        boolean whole = init instanceof Map<?, ?> all && all.get("handler") instanceof String
                && all.get("env") instanceof Map && all.get("function") instanceof Map;
        if (!whole) throw new ProtocolError("INIT lacks its handler, env or function");
        return (Map<?, ?>) init;
    }
}
