package hearth.bootstrap;

import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.net.MalformedURLException;
import java.net.URL;
import java.net.URLClassLoader;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

/**
 * Entry of the Java runtime, and the life of an instance: HELLO, INIT, the handler is loaded, READY, then one invocation at
 * a time until the host closes the invoke stream.
 *
 * <p>What runs at every start has no lambdas and no streams: the virtual machine makes code for each at run time.
 *
 * <p>It refuses more than one invoke stream: code for AWS Lambda expects to run one invocation at a time.
 */
public final class Main {
    private static final int CONTROL = 3;
    private static final int INVOKE = 4;

    private final Surroundings surroundings;
    private final Wire.Reader controlIn;
    private final FileOutputStream controlOut;
    private final Wire.Reader invokeIn;
    private final OutputStream invokeOut;
    private CallContext.About about;

    private Main() throws ReflectiveOperationException {
        surroundings = new Surroundings();
        // One object for both ways: a stream that nobody holds any more would close the other's descriptor.
        java.io.FileDescriptor control = Surroundings.descriptor(CONTROL);
        java.io.FileDescriptor invoke = Surroundings.descriptor(INVOKE);
        controlIn = new Wire.Reader(new FileInputStream(control), Wire.INIT);
        controlOut = new FileOutputStream(control);
        invokeIn = new Wire.Reader(new FileInputStream(invoke), Wire.INVOKE, Wire.DATA, Wire.END);
        invokeOut = new FileOutputStream(invoke);
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments.length == 1 && arguments[0].equals("rehearse")) {
            Rehearsal.run();
            return;
        }
        String streams = System.getenv().getOrDefault("HEARTH_INVOKE_STREAMS", "1");
        if (!streams.equals("1")) {
            throw die("the Java runtime serves one invoke stream, but HEARTH_INVOKE_STREAMS is '" + streams + "'");
        }
        try {
            Main life = new Main();
            if (System.getenv("HEARTH_STEM") != null) {
                // The host has no function for us yet, and HELLO may take its time.
                life.surroundings.unset("HEARTH_STEM");
                if (Native.MISSING != null) throw die("a stem has to change its folder: " + Native.MISSING);
                Rehearsal.run();
                System.gc();
            }
            life.live();
        } catch (ProtocolError e) {
            die("protocol error: " + e.getMessage());
        } catch (IOException e) {
            // The host went away while something was on its way to it.
            if (!String.valueOf(e.getMessage()).contains("Broken pipe")) throw e;
            System.exit(0);
        }
    }

    private void live() throws IOException {
        Runtime.getRuntime().addShutdownHook(new Thread() {
            @Override
            public void run() {
                flush();
            }
        });
        controlOut.write(Wire.hello("java" + version()));
        Wire.Frame frame = controlIn.next();
        if (frame == null) {
            System.exit(0);
            return;
        }
        Handler handler = start(Wire.decodeInit(frame.body()));
        controlOut.write(Wire.frame(Wire.READY, new byte[0]));
        for (;;) {
            Wire.Call call = nextCall();
            if (call == null) break;
            serve(handler, call);
        }
        System.exit(0);
    }

    /** `17.0.15`; a first release calls itself `21`. */
    static String version() {
        return System.getProperty("java.version");
    }

    /** They would wait for a Runtime API, which only native functions get. */
    private static void refuseExtensions() throws Handler.Unloadable {
        String[] found = new java.io.File("/opt/extensions").list();
        if (found == null || found.length == 0) return;
        java.util.Arrays.sort(found);
        throw new Handler.Unloadable(Failure.of("there are extensions in /opt/extensions (" + String.join(", ", found)
                + "), which are for runtime provided.al2023: use that with aws-lambda-java-runtime-interface-client, or leave the layer out",
                "Extension.NotSupported"));
    }

    private Handler start(Map<?, ?> init) throws IOException {
        surroundings.set((Map<?, ?>) init.get("env"));
        about = CallContext.About.of((Map<?, ?>) init.get("function"));
        Logger.INSTANCE.set(controlOut, "JSON".equalsIgnoreCase(System.getenv("AWS_LAMBDA_LOG_FORMAT")), System.getenv("AWS_LAMBDA_LOG_LEVEL"));
        if (init.get("files") instanceof List<?> files) {
            try {
                Surroundings.write(files);
            } catch (IOException | RuntimeException e) {
                throw die("a file of INIT could not be written: " + e);
            }
        }
        String root = init.get("task_root") instanceof String text ? text : "/var/task";
        // A stem started where the function's folder was to be; what is there now was mounted over it.
        Native.enter(root);
        ClassLoader loader = loader(root);
        Thread.currentThread().setContextClassLoader(loader);
        try {
            refuseExtensions();
            return Handler.load((String) init.get("handler"), loader);
        } catch (Handler.Unloadable e) {
            Logger.INSTANCE.log(e.failure);
            flush();
            controlOut.write(Wire.frame(Wire.INIT_ERROR, e.failure.json()));
            System.exit(1);
            throw new IllegalStateException(e);
        }
    }

    /** The package's classes, then its jars by name, then layers' where AWS has them. AWS's interfaces are ours: they come first. */
    static ClassLoader loader(String root) throws MalformedURLException {
        List<URL> places = new ArrayList<>();
        places.add(new File(root + "/").toURI().toURL());
        for (String folder : new String[] {root + "/lib", "/opt/java/lib"}) {
            String[] names = new File(folder).list();
            if (names == null) continue;
            Arrays.sort(names);
            for (String name : names) {
                if (name.endsWith(".jar")) places.add(new File(folder, name).toURI().toURL());
            }
        }
        return new URLClassLoader(places.toArray(new URL[0]), Main.class.getClassLoader());
    }

    /** The next invocation with its whole payload; null when the host wants no more. */
    private Wire.Call nextCall() throws IOException {
        Wire.Frame frame = invokeIn.next();
        if (frame == null) return null;
        if (frame.kind() != Wire.INVOKE) throw new ProtocolError("payload without an INVOKE");
        Wire.Call call = Wire.decodeInvoke(frame.body());
        if (call.last) return call;
        java.io.ByteArrayOutputStream payload = new java.io.ByteArrayOutputStream();
        payload.write(call.payload);
        for (;;) {
            frame = invokeIn.next();
            if (frame == null) throw new ProtocolError("end of file inside an invocation");
            if (frame.kind() == Wire.END && frame.body().length == 0) break;
            if (frame.kind() != Wire.DATA) throw new ProtocolError("a payload that does not end as it should");
            payload.write(frame.body());
        }
        call.payload = payload.toByteArray();
        return call;
    }

    private void serve(Handler handler, Wire.Call call) throws IOException {
        Logger.INSTANCE.request(call.requestId);
        surroundings.trace(call.traceId);
        try {
            CallContext context = new CallContext(about, call);
            byte[] event = call.payload;
            // Twice in memory is enough.
            call.payload = null;
            Json.Out result = handler.call(event, context);
            flush();
            Wire.respond(invokeOut, result.bytes(), result.length());
        } catch (IOException e) {
            if (String.valueOf(e.getMessage()).contains("Broken pipe")) throw e;
            fail(e);
        } catch (Throwable e) {
            fail(e);
        }
        // What interrupted this call is not for the next one.
        Thread.interrupted();
    }

    private void fail(Throwable error) throws IOException {
        Failure failure = Failure.of(error);
        Logger.INSTANCE.log(failure);
        flush();
        // As on AWS: what the virtual machine could not do it may not do for the next call either.
        boolean last = error instanceof VirtualMachineError;
        if (last) controlOut.close();
        invokeOut.write(Wire.frame(Wire.ERROR, failure.json()));
        if (last) Runtime.getRuntime().halt(1);
    }

    private static void flush() {
        System.out.flush();
        System.err.flush();
    }

    private static Error die(String message) {
        System.err.println("hearth: " + message);
        flush();
        Runtime.getRuntime().halt(1);
        return new Error(message);
    }
}
