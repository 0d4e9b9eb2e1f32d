package hearth.bootstrap;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.CustomPojoSerializer;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import com.amazonaws.services.lambda.runtime.RequestStreamHandler;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.OutputStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.Type;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.Iterator;
import java.util.List;
import java.util.ServiceLoader;
import java.util.concurrent.CompletionStage;

/**
 * What is called for an event: `package.Class` with one of AWS's two interfaces, or `package.Class::method`.
 *
 * <p>A method may take any of (input), (input, Context), (Context), nothing, or for bytes (InputStream, OutputStream,
 * Context), each of these left out. Of several the longest is taken, one with a Context before one without, as on AWS.
 */
abstract class Handler {
    private static CustomPojoSerializer serializer;

    /** The result's bytes, from 0 to the length that it says. */
    abstract Json.Out call(byte[] event, Context context) throws Throwable;

    /** What the function's class did wrong, with AWS's words for it. */
    static final class Unloadable extends Exception {
        private static final long serialVersionUID = 1;
        final transient Failure failure;

        Unloadable(Failure failure) {
            this.failure = failure;
        }
    }

    static Handler load(String name, ClassLoader loader) throws Unloadable {
        int colons = name.lastIndexOf("::");
        String type = colons < 0 ? name : name.substring(0, colons);
        String method = colons < 0 ? null : name.substring(colons + 2);
        if (type.isEmpty() || method != null && method.isEmpty()) {
            throw bad("Invalid handler: `" + name + "'", "Runtime.InvalidHandler");
        }
        Class<?> found;
        try {
            found = Class.forName(type, true, loader);
        } catch (ClassNotFoundException e) {
            throw new Unloadable(Failure.of("Class not found: " + type, e));
        } catch (Throwable e) {
            throw new Unloadable(Failure.of("Error loading class " + type + (e.getMessage() == null ? "" : ": " + e.getMessage()), e));
        }
        Iterator<CustomPojoSerializer> own = ServiceLoader.load(CustomPojoSerializer.class, loader).iterator();
        serializer = own.hasNext() ? own.next() : null;
        if (method != null) return method(found, method);
        if (RequestStreamHandler.class.isAssignableFrom(found)) {
            RequestStreamHandler handler = (RequestStreamHandler) make(found);
            return new OfBytes() {
                @Override
                void handle(InputStream in, OutputStream out, Context context) throws Throwable {
                    handler.handleRequest(in, out, context);
                }
            };
        }
        if (RequestHandler.class.isAssignableFrom(found)) {
            Type[] types = Binder.parametersOf(found, RequestHandler.class);
            @SuppressWarnings("unchecked")
            RequestHandler<Object, Object> handler = (RequestHandler<Object, Object>) make(found);
            return new OfValues(types[0], types[1]) {
                @Override
                Object handle(Object input, Context context) {
                    return handler.handleRequest(input, context);
                }
            };
        }
        throw bad("Class does not implement an appropriate handler interface: " + type, "Runtime.InvalidHandler");
    }

    private static Unloadable bad(String message, String type) {
        return new Unloadable(Failure.of(message, type));
    }

    private static Object make(Class<?> type) throws Unloadable {
        try {
            return type.getConstructor().newInstance();
        } catch (NoSuchMethodException e) {
            boolean inner = type.getEnclosingClass() != null && !Modifier.isStatic(type.getModifiers());
            throw bad("Class " + type.getName() + (inner ? " cannot be instantiated because it is a non-static inner class"
                    : " has no public zero-argument constructor"), "java.lang.NoSuchMethodException");
        } catch (InvocationTargetException e) {
            throw new Unloadable(Failure.of(e.getCause()));
        } catch (Throwable e) {
            throw new Unloadable(Failure.of(e));
        }
    }

    private static Handler method(Class<?> type, String name) throws Unloadable {
        Method[] methods;
        try {
            methods = type.getMethods();
        } catch (NoClassDefFoundError e) {
            throw new Unloadable(Failure.of("Error loading method " + name + " on class " + type.getName(), e));
        }
        List<Method> named = new ArrayList<>();
        for (Method one : methods) if (one.getName().equals(name)) named.add(one);
        named.sort(new Comparator<>() {
            @Override
            public int compare(Method a, Method b) {
                int bridges = Boolean.compare(a.isBridge(), b.isBridge());
                return bridges != 0 ? bridges : rank(b) - rank(a);
            }
        });
        for (Method one : named) {
            Handler handler = of(type, one);
            if (handler != null) return handler;
        }
        throw bad("No public method named " + name + " with appropriate method signature found on class " + type.getName(),
                "java.lang.NoSuchMethodException");
    }

    private static int rank(Method method) {
        return method.getParameterCount() + (endsWithContext(method) ? 1 : 0);
    }

    private static boolean endsWithContext(Method method) {
        Class<?>[] types = method.getParameterTypes();
        return types.length > 0 && types[types.length - 1] == Context.class;
    }

    /** Null where the method's parameters are not those of a handler. */
    private static Handler of(Class<?> type, Method method) throws Unloadable {
        boolean context = endsWithContext(method);
        Class<?>[] types = method.getParameterTypes();
        int others = types.length - (context ? 1 : 0);
        boolean bytes = others > 0;
        boolean twice = false;
        for (int i = 0; i < others; i++) {
            bytes &= types[i] == InputStream.class || types[i] == OutputStream.class;
            twice |= types[i] == Context.class;
        }
        boolean fits = bytes ? others == 1 || others == 2 && types[0] == InputStream.class && types[1] == OutputStream.class : others <= 1;
        if (!fits || twice) return null;
        Object on = Modifier.isStatic(method.getModifiers()) ? null : make(type);
        method.trySetAccessible();
        if (bytes) {
            return new OfBytes() {
                @Override
                void handle(InputStream in, OutputStream out, Context about) throws Throwable {
                    Object[] given = new Object[types.length];
                    for (int i = 0; i < types.length; i++) {
                        given[i] = types[i] == InputStream.class ? in : types[i] == OutputStream.class ? out : about;
                    }
                    invoke(method, on, given);
                }
            };
        }
        Type input = others == 1 ? method.getGenericParameterTypes()[0] : null;
        return new OfValues(input, method.getGenericReturnType()) {
            @Override
            Object handle(Object event, Context about) throws Throwable {
                if (others == 0) return context ? invoke(method, on, about) : invoke(method, on);
                return context ? invoke(method, on, event, about) : invoke(method, on, event);
            }
        };
    }

    private static Object invoke(Method method, Object on, Object... given) throws Throwable {
        try {
            return method.invoke(on, given);
        } catch (InvocationTargetException e) {
            throw e.getCause() == null ? e : e.getCause();
        }
    }

    /** A handler of streams: neither the event nor the result needs to be JSON. */
    private abstract static class OfBytes extends Handler {
        abstract void handle(InputStream in, OutputStream out, Context context) throws Throwable;

        @Override
        Json.Out call(byte[] event, Context context) throws Throwable {
            ByteArrayOutputStream out = new ByteArrayOutputStream(1024);
            handle(new ByteArrayInputStream(event), out, context);
            return new Json.Out().raw(out.toByteArray());
        }
    }

    /** A handler of values. */
    private abstract static class OfValues extends Handler {
        private final Type takes;
        private final Type gives;

        OfValues(Type takes, Type gives) {
            this.takes = takes;
            this.gives = gives;
        }

        abstract Object handle(Object input, Context context) throws Throwable;

        @Override
        Json.Out call(byte[] event, Context context) throws Throwable {
            Object input;
            try {
                // What is no JSON is refused, whether or not the function looks at it.
                Object tree = serializer == null || takes == null ? Json.parse(event) : null;
                if (takes == null) input = null;
                else if (serializer != null) input = serializer.fromJson(new ByteArrayInputStream(event), takes);
                else input = Binder.bind(tree, takes);
            } catch (Json.Malformed | RuntimeException e) {
                throw new RuntimeException("An error occurred during JSON parsing: " + e.getMessage(), e);
            }
            Object result = handle(input, context);
            // AWS writes down the promise itself.
            if (result instanceof CompletionStage<?> later) result = joined(later);
            Json.Out out = new Json.Out();
            try {
                if (gives == void.class || gives == Void.class) {
                    out.raw("null");
                } else if (serializer != null) {
                    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
                    serializer.toJson(result, bytes, gives);
                    out.raw(bytes.toByteArray());
                } else {
                    new Writer(out).write(result, 0);
                }
            } catch (RuntimeException | StackOverflowError e) {
                throw new RuntimeException("An error occurred during JSON serialization of response", e);
            }
            return out;
        }

        private static Object joined(CompletionStage<?> later) throws Throwable {
            try {
                return later.toCompletableFuture().get();
            } catch (java.util.concurrent.ExecutionException e) {
                throw e.getCause() == null ? e : e.getCause();
            }
        }
    }
}
