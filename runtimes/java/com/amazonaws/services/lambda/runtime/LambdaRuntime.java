package com.amazonaws.services.lambda.runtime;

/** Where code without a context finds the logger. */
public final class LambdaRuntime {
    private static final LambdaLogger LOGGER = hearth.bootstrap.Logger.INSTANCE;

    private LambdaRuntime() {}

    public static LambdaLogger getLogger() {
        return LOGGER;
    }
}
