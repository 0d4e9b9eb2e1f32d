package hearth.bootstrap;

import java.lang.reflect.Array;
import java.lang.reflect.Constructor;
import java.lang.reflect.GenericArrayType;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.lang.reflect.TypeVariable;
import java.lang.reflect.WildcardType;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.time.Instant;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collection;
import java.util.Collections;
import java.util.Date;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.TreeSet;

/** A JSON tree to a value of the type that a handler takes. Members that a type lacks are passed over, as on AWS. */
final class Binder {
    private Binder() {}

    static Object bind(Object tree, Type type) {
        Map<TypeVariable<?>, Type> arguments = type instanceof ParameterizedType given ? arguments(given) : Map.of();
        return bind(tree, type, arguments);
    }

    private static Map<TypeVariable<?>, Type> arguments(ParameterizedType type) {
        TypeVariable<?>[] names = ((Class<?>) type.getRawType()).getTypeParameters();
        Map<TypeVariable<?>, Type> arguments = new LinkedHashMap<>();
        for (int i = 0; i < names.length; i++) arguments.put(names[i], type.getActualTypeArguments()[i]);
        return arguments;
    }

    private static Object bind(Object tree, Type type, Map<TypeVariable<?>, Type> arguments) {
        if (type instanceof WildcardType wild) return bind(tree, wild.getUpperBounds()[0], arguments);
        if (type instanceof TypeVariable<?> variable) {
            Type said = arguments.get(variable);
            boolean known = said != null && said != variable;
            return bind(tree, known ? said : variable.getBounds()[0], known ? arguments : Map.of());
        }
        if (type instanceof GenericArrayType array) return items(tree, array.getGenericComponentType(), arguments);
        if (type instanceof ParameterizedType given) {
            Map<TypeVariable<?>, Type> inner = new LinkedHashMap<>(arguments);
            for (Map.Entry<TypeVariable<?>, Type> one : arguments(given).entrySet()) {
                inner.put(one.getKey(), arguments.getOrDefault(one.getValue(), one.getValue()));
            }
            return value(tree, (Class<?>) given.getRawType(), given.getActualTypeArguments(), inner);
        }
        return value(tree, (Class<?>) type, new Type[0], arguments);
    }

    private static Object value(Object tree, Class<?> type, Type[] of, Map<TypeVariable<?>, Type> arguments) {
        if (type == Optional.class) return Optional.ofNullable(bind(tree, of.length > 0 ? of[0] : Object.class, arguments));
        if (tree == null) {
            if (type.isPrimitive()) return Array.get(Array.newInstance(type, 1), 0);
            return null;
        }
        if (type == Object.class || type.isInstance(tree) && of.length == 0) return tree;
        if (type == String.class || type == CharSequence.class) return text(tree);
        if (type.isPrimitive() || Number.class.isAssignableFrom(type) || type == Boolean.class || type == Character.class) {
            return simple(tree, type);
        }
        if (type == byte[].class && tree instanceof String text) return Base64.getDecoder().decode(text);
        if (type == ByteBuffer.class && tree instanceof String text) return ByteBuffer.wrap(Base64.getDecoder().decode(text));
        if (type == char[].class && tree instanceof String text) return text.toCharArray();
        if (type.isArray()) return items(tree, type.getComponentType(), arguments);
        if (Collection.class.isAssignableFrom(type)) return collection(tree, type, of, arguments);
        if (Map.class.isAssignableFrom(type)) return map(tree, type, of, arguments);
        if (type.isEnum()) return constant(tree, type);
        if (type == Date.class && tree instanceof Number millis) return new Date(millis.longValue());
        if (type == Date.class) return Date.from(Instant.parse(text(tree)));
        if (type == Instant.class && tree instanceof Number millis) return Instant.ofEpochMilli(millis.longValue());
        if (tree instanceof Map<?, ?> members) return bean(members, type, arguments);
        return scalar(tree, type);
    }

    private static IllegalArgumentException unfit(Object tree, Class<?> type) {
        String found = tree instanceof Map ? "an object" : tree instanceof List ? "an array" : new String(Json.bytes(tree), java.nio.charset.StandardCharsets.UTF_8);
        if (found.length() > 80) found = found.substring(0, 80) + "…";
        return new IllegalArgumentException("expected a " + type.getTypeName() + ", found " + found);
    }

    private static String text(Object tree) {
        if (tree instanceof Map || tree instanceof List) throw unfit(tree, String.class);
        return tree.toString();
    }

    private static Object simple(Object tree, Class<?> type) {
        try {
            if (type == boolean.class || type == Boolean.class) {
                if (tree instanceof Boolean) return tree;
                if ("true".equals(tree) || "false".equals(tree)) return Boolean.valueOf((String) tree);
                throw unfit(tree, type);
            }
            if (type == char.class || type == Character.class) {
                if (tree instanceof String text && text.length() == 1) return text.charAt(0);
                throw unfit(tree, type);
            }
            if (!(tree instanceof Number) && !(tree instanceof String)) throw unfit(tree, type);
            BigDecimal number = new BigDecimal(tree.toString().trim());
            if (type == int.class || type == Integer.class) return number.toBigInteger().intValueExact();
            if (type == long.class || type == Long.class) return number.toBigInteger().longValueExact();
            if (type == short.class || type == Short.class) return number.toBigInteger().shortValueExact();
            if (type == byte.class || type == Byte.class) return number.toBigInteger().byteValueExact();
            if (type == double.class || type == Double.class) return number.doubleValue();
            if (type == float.class || type == Float.class) return number.floatValue();
            if (type == BigInteger.class) return number.toBigInteger();
            if (type == BigDecimal.class) return number;
            if (type == Number.class && tree instanceof Number) return tree;
        } catch (NumberFormatException | ArithmeticException e) {
            throw unfit(tree, type);
        }
        throw unfit(tree, type);
    }

    private static Object items(Object tree, Type of, Map<TypeVariable<?>, Type> arguments) {
        Class<?> component = raw(of, arguments);
        if (!(tree instanceof List<?> list)) throw unfit(tree, component.arrayType());
        Object array = Array.newInstance(component, list.size());
        for (int i = 0; i < list.size(); i++) Array.set(array, i, bind(list.get(i), of, arguments));
        return array;
    }

    private static Class<?> raw(Type type, Map<TypeVariable<?>, Type> arguments) {
        if (type instanceof Class<?> known) return known;
        if (type instanceof ParameterizedType given) return (Class<?>) given.getRawType();
        if (type instanceof GenericArrayType array) return raw(array.getGenericComponentType(), arguments).arrayType();
        if (type instanceof WildcardType wild) return raw(wild.getUpperBounds()[0], arguments);
        Type said = arguments.get(type);
        return said == null || said == type ? Object.class : raw(said, arguments);
    }

    @SuppressWarnings("unchecked")
    private static Object collection(Object tree, Class<?> type, Type[] of, Map<TypeVariable<?>, Type> arguments) {
        if (!(tree instanceof List<?> list)) throw unfit(tree, type);
        Collection<Object> into;
        if (!type.isInterface() && !Modifier.isAbstract(type.getModifiers())) into = (Collection<Object>) make(type);
        else if (type.isAssignableFrom(ArrayList.class)) into = new ArrayList<>(list.size());
        else if (type.isAssignableFrom(LinkedHashSet.class)) into = new LinkedHashSet<>();
        else if (type.isAssignableFrom(TreeSet.class)) into = new TreeSet<>();
        else if (type.isAssignableFrom(ArrayDeque.class)) into = new ArrayDeque<>();
        else throw unfit(tree, type);
        Type item = of.length == 1 ? of[0] : Object.class;
        for (Object one : list) into.add(bind(one, item, arguments));
        return into;
    }

    @SuppressWarnings({"unchecked", "rawtypes"})
    private static Object map(Object tree, Class<?> type, Type[] of, Map<TypeVariable<?>, Type> arguments) {
        if (!(tree instanceof Map<?, ?> members)) throw unfit(tree, type);
        Type key = of.length == 2 ? of[0] : String.class;
        Type value = of.length == 2 ? of[1] : Object.class;
        Map<Object, Object> into;
        if (type == EnumMap.class) into = (Map) new EnumMap(raw(key, arguments).asSubclass(Enum.class));
        else if (!type.isInterface() && !Modifier.isAbstract(type.getModifiers())) into = (Map<Object, Object>) make(type);
        else if (type.isAssignableFrom(LinkedHashMap.class)) into = new LinkedHashMap<>();
        else if (type.isAssignableFrom(TreeMap.class)) into = new TreeMap<>();
        else if (type.isAssignableFrom(java.util.concurrent.ConcurrentHashMap.class)) into = new java.util.concurrent.ConcurrentHashMap<>();
        else throw unfit(tree, type);
        for (Map.Entry<?, ?> one : members.entrySet()) {
            into.put(bind(one.getKey(), key, arguments), bind(one.getValue(), value, arguments));
        }
        return into;
    }

    private static Object constant(Object tree, Class<?> type) {
        for (Object one : type.getEnumConstants()) {
            if (((Enum<?>) one).name().equals(tree)) return one;
        }
        throw unfit(tree, type);
    }

    private static Object bean(Map<?, ?> members, Class<?> type, Map<TypeVariable<?>, Type> arguments) {
        Bean bean = Bean.of(type);
        if (bean.components != null) return record(members, type, bean, arguments);
        Object made = make(type);
        for (Map.Entry<?, ?> member : members.entrySet()) {
            String name = (String) member.getKey();
            Bean.Setter setter = bean.setter(name);
            if (setter == null) continue;
            Object value;
            try {
                value = bind(member.getValue(), setter.type(), arguments);
            } catch (IllegalArgumentException e) {
                throw new IllegalArgumentException(name + ": " + e.getMessage(), e.getCause());
            }
            try {
                setter.put().put(made, value);
            } catch (InvocationTargetException e) {
                throw new IllegalArgumentException(name + ": " + e.getCause(), e.getCause());
            } catch (ReflectiveOperationException e) {
                throw new IllegalArgumentException(name + ": " + e, e);
            }
        }
        return made;
    }

    private static Object record(Map<?, ?> members, Class<?> type, Bean bean, Map<TypeVariable<?>, Type> arguments) {
        Class<?>[] types = new Class<?>[bean.components.length];
        Object[] values = new Object[types.length];
        for (int i = 0; i < types.length; i++) {
            types[i] = bean.components[i].getType();
            values[i] = bind(members.get(bean.components[i].getName()), bean.components[i].getGenericType(), arguments);
        }
        try {
            return Bean.constructor(type, types).newInstance(values);
        } catch (InvocationTargetException e) {
            throw new IllegalArgumentException(type.getName() + ": " + e.getCause(), e.getCause());
        } catch (ReflectiveOperationException e) {
            throw new IllegalArgumentException(type.getName() + ": " + e, e);
        }
    }

    private static Object make(Class<?> type) {
        try {
            return Bean.constructor(type).newInstance();
        } catch (InvocationTargetException e) {
            throw new IllegalArgumentException(type.getName() + ": " + e.getCause(), e.getCause());
        } catch (ReflectiveOperationException e) {
            throw new IllegalArgumentException("cannot make a " + type.getName() + ": it has no constructor without parameters", e);
        }
    }

    /** A type that is made of one text or number: by `parse`, `valueOf`, `fromString`, or a constructor. */
    private static Object scalar(Object tree, Class<?> type) {
        if (tree instanceof List) throw unfit(tree, type);
        try {
            for (String name : new String[] {"parse", "valueOf", "fromString", "of"}) {
                for (Class<?> takes : List.of(String.class, CharSequence.class)) {
                    Method method = find(type, name, takes);
                    if (method != null) return method.invoke(null, tree.toString());
                }
            }
            for (Constructor<?> one : type.getConstructors()) {
                if (one.getParameterCount() == 1 && one.getParameterTypes()[0] == String.class) {
                    return one.newInstance(tree.toString());
                }
            }
        } catch (InvocationTargetException e) {
            throw new IllegalArgumentException(unfit(tree, type).getMessage(), e.getCause());
        } catch (ReflectiveOperationException e) {
            throw new IllegalArgumentException(unfit(tree, type).getMessage(), e);
        }
        throw unfit(tree, type);
    }

    private static Method find(Class<?> type, String name, Class<?> takes) {
        try {
            Method method = type.getMethod(name, takes);
            return Modifier.isStatic(method.getModifiers()) && type.isAssignableFrom(method.getReturnType()) ? method : null;
        } catch (NoSuchMethodException e) {
            return null;
        }
    }

    /** What a class says that an interface's or a superclass's type parameters are; null if it does not implement it. */
    static Type[] parametersOf(Class<?> type, Class<?> wanted) {
        return parametersOf(type, wanted, Collections.emptyMap());
    }

    private static Type[] parametersOf(Type type, Class<?> wanted, Map<TypeVariable<?>, Type> outer) {
        Map<TypeVariable<?>, Type> known = new LinkedHashMap<>();
        Class<?> raw;
        if (type instanceof ParameterizedType given) {
            raw = (Class<?>) given.getRawType();
            for (Map.Entry<TypeVariable<?>, Type> one : arguments(given).entrySet()) {
                known.put(one.getKey(), outer.getOrDefault(one.getValue(), one.getValue()));
            }
        } else {
            raw = (Class<?>) type;
        }
        if (!wanted.isAssignableFrom(raw)) return null;
        if (raw == wanted) {
            TypeVariable<?>[] names = raw.getTypeParameters();
            Type[] found = new Type[names.length];
            for (int i = 0; i < names.length; i++) found[i] = known.getOrDefault(names[i], Object.class);
            return found;
        }
        for (Type one : raw.getGenericInterfaces()) {
            Type[] found = parametersOf(one, wanted, known);
            if (found != null) return found;
        }
        Type above = raw.getGenericSuperclass();
        return above == null ? null : parametersOf(above, wanted, known);
    }
}
