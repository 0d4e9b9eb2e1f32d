package hearth.bootstrap;

import java.io.File;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;

/**
 * What Java has no way to do: change the working directory, and the environment that programs inherit. In a library beside the
 * jar (native.rs), for this machine's C library: in an image with another one it is not there.
 */
final class Native {
    /** Why it is not there; null where it is. */
    static final String MISSING = load();

    /** The C library keeps the addresses of these: as long as a variable is set, its text stays. */
    private static final Map<String, ByteBuffer> TEXTS = new HashMap<>();

    private Native() {}

    private static native int chdir(ByteBuffer path);

    private static native int putenv(ByteBuffer pair);

    private static native int unsetenv(ByteBuffer name);

    private static String load() {
        String library = System.getProperty("java.class.path").replaceFirst("[^/]*$", "hearth_java.so");
        try {
            System.load(new File(library).getAbsolutePath());
            return null;
        } catch (UnsatisfiedLinkError e) {
            return e.getMessage();
        }
    }

    static boolean enter(String folder) {
        return MISSING == null && chdir(text(folder)) == 0;
    }

    static void set(String name, String value) {
        if (MISSING != null) return;
        ByteBuffer pair = text(name + "=" + value);
        if (putenv(pair) == 0) TEXTS.put(name, pair);
    }

    static void unset(String name) {
        if (MISSING != null) return;
        unsetenv(text(name));
        TEXTS.remove(name);
    }

    private static ByteBuffer text(String text) {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        // Zeroed: the last byte ends it.
        return ByteBuffer.allocateDirect(bytes.length + 1).put(bytes);
    }
}
