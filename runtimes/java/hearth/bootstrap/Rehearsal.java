package hearth.bootstrap;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.lang.invoke.StringConcatFactory;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;

/**
 * A life in memory, of which the virtual machine makes its archive of loaded classes: whatever an instance loads from its
 * start to its first answer should be loaded here.
 */
public final class Rehearsal {
    private Rehearsal() {}

    /** A function's event type. */
    public static final class Event {
        private String name;
        private List<Integer> numbers;

        public String getName() {
            return name;
        }

        public void setName(String name) {
            this.name = name;
        }

        public List<Integer> getNumbers() {
            return numbers;
        }

        public void setNumbers(List<Integer> numbers) {
            this.numbers = numbers;
        }
    }

    /** With an interface. */
    public static final class OfMaps implements RequestHandler<Map<String, Object>, Object> {
        @Override
        public Object handleRequest(Map<String, Object> input, Context context) {
            context.getLogger().log("rehearsal " + context.getRemainingTimeInMillis() + String.format("%s", "x"));
            return new LinkedHashMap<>(input);
        }
    }

    /** Without. */
    public static Event handle(Event event, Context context) {
        return event;
    }

    public static void fails(Event event) {
        throw new IllegalStateException("rehearsed");
    }

    static void run() throws Exception {
        Surroundings surroundings = new Surroundings();
        surroundings.set(Map.of("TZ", ":UTC", "HEARTH_REHEARSAL", "1"));
        surroundings.unset("HEARTH_REHEARSAL");
        ClassLoader loader = Main.loader(System.getProperty("java.io.tmpdir"));
        String init = "{\"handler\": \"x\", \"env\": {}, \"function\": {\"memory_mb\": 128, \"name\": \"\\u00e4\"}}";
        Map<?, ?> parsed = Wire.decodeInit(init.getBytes(java.nio.charset.StandardCharsets.UTF_8));
        CallContext.About about = CallContext.About.of((Map<?, ?>) parsed.get("function"));
        Logger.INSTANCE.set(new ByteArrayOutputStream(), false, null);
        try {
            Handler.load("absent.Class", loader);
        } catch (Handler.Unloadable e) {
            e.failure.json();
        }
        String name = Rehearsal.class.getName();
        for (String handler : new String[] {name + "$OfMaps", name + "::handle", name + "::fails"}) {
            Handler loaded = Handler.load(handler, loader);
            Wire.Call call = read();
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            try {
                Json.Out result = loaded.call(call.payload, new CallContext(about, call));
                Wire.respond(out, result.bytes(), result.length());
            } catch (Throwable e) {
                Failure failure = Failure.of(e);
                Logger.INSTANCE.log(failure);
                failure.json();
            }
        }
        Wire.hello(Main.version());
        load();
        languageFeatures();
        System.out.print("");
        System.out.flush();
    }

    /** A class out of a folder, as the function's will be. */
    private static void load() throws Exception {
        String name = Event.class.getName();
        Path folder = Files.createTempDirectory("rehearsal");
        Path file = folder.resolve(name.replace('.', '/') + ".class");
        try {
            Files.createDirectories(file.getParent());
            try (InputStream in = Main.class.getClassLoader().getResourceAsStream(name.replace('.', '/') + ".class")) {
                Files.copy(in, file);
            }
            try (URLClassLoader loader = new URLClassLoader(new URL[] {folder.toUri().toURL()}, ClassLoader.getPlatformClassLoader())) {
                Class.forName(name, true, loader);
            }
        } finally {
            for (Path at = file; at.startsWith(folder); at = at.getParent()) Files.deleteIfExists(at);
        }
    }

    /** What nearly every function's code has the virtual machine make at run time: joined strings, lambdas, streams. */
    private static void languageFeatures() {
        try {
            MethodType two = MethodType.methodType(String.class, String.class, int.class);
            StringConcatFactory.makeConcatWithConstants(MethodHandles.lookup(), "join", two, "\1, \1!").dynamicInvoker().invoke("a", 1);
            MethodType one = MethodType.methodType(String.class, Object.class);
            StringConcatFactory.makeConcatWithConstants(MethodHandles.lookup(), "join", one, "a\1b").dynamicInvoker().invoke((Object) "a");
        } catch (Throwable e) {
            throw new IllegalStateException(e);
        }
        Map<String, String> map = Map.of("a", "b");
        Function<String, String> value = map::get;
        List.of("a").stream().map(value).filter(text -> !text.isEmpty()).toList();
    }

    private static Wire.Call read() throws Exception {
        ByteArrayOutputStream body = new ByteArrayOutputStream();
        body.write(new byte[8]);
        for (int length : new int[] {2, 2, 2, 4, 4}) body.write(new byte[length]);
        body.write(1);
        body.write("{\"name\": \"gr\u00fc\u00dfe\", \"numbers\": [1, 2.0, -3e1]}".getBytes(java.nio.charset.StandardCharsets.UTF_8));
        byte[] frame = Wire.frame(Wire.INVOKE, body.toByteArray());
        return Wire.decodeInvoke(new Wire.Reader(new ByteArrayInputStream(frame), Wire.INVOKE).next().body());
    }
}
