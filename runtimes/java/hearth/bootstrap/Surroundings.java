package hearth.bootstrap;

import java.io.FileDescriptor;
import java.io.IOException;
import java.lang.reflect.Constructor;
import java.lang.reflect.Field;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.TimeZone;

/** What Java has no words for: descriptors that were inherited, and an environment that comes after the start. */
final class Surroundings {
    private static final String TRACE_ID = "_X_AMZN_TRACE_ID";
    private static final String TRACE_PROPERTY = "com.amazonaws.xray.traceHeader";

    private final Map<String, String> environment;
    private String traceId = "";

    /** The manifest of the jar opens these to it. */
    @SuppressWarnings("unchecked")
    Surroundings() throws ReflectiveOperationException {
        Field held = Class.forName("java.lang.ProcessEnvironment").getDeclaredField("theEnvironment");
        held.setAccessible(true);
        Constructor<?> view = Class.forName("java.lang.ProcessEnvironment$StringEnvironment").getDeclaredConstructor(Map.class);
        view.setAccessible(true);
        environment = (Map<String, String>) view.newInstance(held.get(null));
    }

    static FileDescriptor descriptor(int number) throws ReflectiveOperationException {
        Constructor<FileDescriptor> constructor = FileDescriptor.class.getDeclaredConstructor(int.class);
        constructor.setAccessible(true);
        return constructor.newInstance(number);
    }

    void set(Map<?, ?> variables) {
        for (Map.Entry<?, ?> one : variables.entrySet()) {
            String name = (String) one.getKey();
            String value = String.valueOf(one.getValue());
            if (!value.equals(environment.put(name, value))) Native.set(name, value);
        }
        String zone = environment.getOrDefault("TZ", "");
        if (zone.startsWith(":")) zone = zone.substring(1);
        // The C library's variable was read at the start.
        if (!zone.isEmpty() && !zone.equals(TimeZone.getDefault().getID())) TimeZone.setDefault(TimeZone.getTimeZone(zone));
    }

    void unset(String name) {
        environment.remove(name);
        Native.unset(name);
    }

    void trace(String id) {
        if (id.equals(traceId)) return;
        traceId = id;
        if (id.isEmpty()) {
            unset(TRACE_ID);
            System.clearProperty(TRACE_PROPERTY);
        } else {
            environment.put(TRACE_ID, id);
            Native.set(TRACE_ID, id);
            System.setProperty(TRACE_PROPERTY, id);
        }
    }

    /** The function's secrets: for itself alone. */
    static void write(List<?> files) throws IOException {
        for (Object one : files) {
            Map<?, ?> file = (Map<?, ?>) one;
            Path path = Path.of((String) file.get("path"));
            // Not the topmost: that is the host's to make.
            if (path.getNameCount() > 3) {
                Files.createDirectories(path.getParent(), PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------")));
            }
            Files.createFile(path, PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rw-------")));
            byte[] content = Base64.getDecoder().decode((String) file.get("content"));
            Files.write(path, content);
            java.util.Arrays.fill(content, (byte) 0);
            Files.setPosixFilePermissions(path, PosixFilePermissions.fromString("r--------"));
        }
    }
}
