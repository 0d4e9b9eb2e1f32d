package com.amazonaws.services.lambda.runtime;

/** A handler of events that are Java objects. Part of AWS Lambda's public interface, declared anew: see README.md. */
public interface RequestHandler<I, O> {
    O handleRequest(I input, Context context);
}
