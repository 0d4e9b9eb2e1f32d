package app;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;

/** What all of them share: a word when they are loaded. */
public abstract class Base<I> implements RequestHandler<I, Object> {
    static final String SEEN_AT_LOAD = System.getenv("SEEN");

    static {
        System.out.println("module is being loaded");
    }

    static Object shown(Object value) {
        return value;
    }
}
