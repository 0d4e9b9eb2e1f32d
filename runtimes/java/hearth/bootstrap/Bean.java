package hearth.bootstrap;

import java.lang.reflect.Constructor;
import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.RecordComponent;
import java.lang.reflect.Type;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;

/** The properties of a class, by its getters and setters, its public fields, or as a record. Looked at once. */
final class Bean {
    /** How a property is set, and what it takes. */
    record Setter(Type type, Put put) {}

    /** A setter's or a field's call. */
    interface Put {
        void put(Object on, Object value) throws ReflectiveOperationException;
    }

    /** A getter's or a field's call. */
    interface Get {
        Object get(Object of) throws ReflectiveOperationException;
    }

    private record OfMethod(Method method) implements Get, Put {
        @Override
        public Object get(Object of) throws ReflectiveOperationException {
            return method.invoke(of);
        }

        @Override
        public void put(Object on, Object value) throws ReflectiveOperationException {
            method.invoke(on, value);
        }
    }

    private record OfField(Field field) implements Get, Put {
        @Override
        public Object get(Object of) throws ReflectiveOperationException {
            return field.get(of);
        }

        @Override
        public void put(Object on, Object value) throws ReflectiveOperationException {
            field.set(on, value);
        }
    }

    private static final ClassValue<Bean> KNOWN = new ClassValue<>() {
        @Override
        protected Bean computeValue(Class<?> type) {
            return new Bean(type);
        }
    };

    final Map<String, Get> getters = new LinkedHashMap<>();
    final Map<String, Setter> setters = new LinkedHashMap<>();
    /** For members whose case is another: AWS's own events have `Records` for setRecords. */
    private final Map<String, Setter> anyCase = new TreeMap<>(String.CASE_INSENSITIVE_ORDER);
    final RecordComponent[] components;

    private Bean(Class<?> type) {
        components = type.getRecordComponents();
        if (components != null) {
            for (RecordComponent one : components) getters.put(one.getName(), new OfMethod(open(one.getAccessor())));
            return;
        }
        for (Field field : type.getFields()) {
            if (Modifier.isStatic(field.getModifiers())) continue;
            open(field);
            getters.put(field.getName(), new OfField(field));
            if (!Modifier.isFinal(field.getModifiers())) {
                setters.put(field.getName(), new Setter(field.getGenericType(), new OfField(field)));
            }
        }
        for (Method method : type.getMethods()) {
            if (Modifier.isStatic(method.getModifiers()) || method.isBridge() || method.getDeclaringClass() == Object.class) {
                continue;
            }
            String name = method.getName();
            int parameters = method.getParameterCount();
            Class<?> gives = method.getReturnType();
            if (parameters == 1 && name.length() > 3 && name.startsWith("set")) {
                String property = property(type, name.substring(3), name);
                setters.put(property, new Setter(method.getGenericParameterTypes()[0], new OfMethod(open(method))));
            } else if (parameters == 0 && gives != void.class && name.length() > 3 && name.startsWith("get")) {
                getters.put(property(type, name.substring(3), name), new OfMethod(open(method)));
            } else if (parameters == 0 && gives == boolean.class && name.length() > 2 && name.startsWith("is")) {
                getters.put(property(type, name.substring(2), name), new OfMethod(open(method)));
            }
        }
        anyCase.putAll(setters);
    }

    static Bean of(Class<?> type) {
        return KNOWN.get(type);
    }

    Setter setter(String member) {
        Setter exact = setters.get(member);
        return exact != null ? exact : anyCase.get(member);
    }

    /** A public method of a class that is not, as a nested handler's types often are not. */
    private static <T extends java.lang.reflect.AccessibleObject> T open(T member) {
        member.trySetAccessible();
        return member;
    }

    /** A constructor, also one that is not public. */
    static <T> Constructor<T> constructor(Class<T> type, Class<?>... parameters) throws NoSuchMethodException {
        return open(type.getDeclaredConstructor(parameters));
    }

    /** `URL` → `url`, `Name` → `name`, as AWS has them; but a field with the getter's own name is what was meant (`isBase64Encoded`). */
    private static String property(Class<?> type, String rest, String method) {
        for (Class<?> at = type; at != null && at != Object.class; at = at.getSuperclass()) {
            for (Field field : at.getDeclaredFields()) {
                if (field.getName().equals(method) && method.startsWith("is")) return method;
            }
        }
        int upper = 0;
        while (upper < rest.length() && Character.isUpperCase(rest.charAt(upper))) upper++;
        return rest.substring(0, upper).toLowerCase(Locale.ROOT) + rest.substring(upper);
    }
}
