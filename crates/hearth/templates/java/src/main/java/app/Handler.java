package app;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import java.util.Map;

/** {{name}}: greets, called with an event or over HTTP. */
public class Handler implements RequestHandler<Map<String, Object>, Object> {
    // What stands here and in the constructor runs once for each instance, before its first call: load and connect here.
    private final String greeting = System.getenv().getOrDefault("GREETING", "Hello");

    @Override
    public Object handleRequest(Map<String, Object> event, Context context) {
        // What is printed is in the function's log.
        System.out.printf("request %s, %d ms left%n", context.getAwsRequestId(), context.getRemainingTimeInMillis());

        if (event.get("requestContext") instanceof Map<?, ?> request && request.containsKey("http")) {
            return overHttp(event);
        }
        return greet(event.get("name"));
    }

    /** Answers a request to the function's URL (AWS's payload format 2.0). A result without a statusCode is the body of a 200. */
    private Object overHttp(Map<String, Object> event) {
        Object query = event.get("queryStringParameters");
        return greet(query instanceof Map<?, ?> given ? given.get("name") : null);
    }

    private Map<String, String> greet(Object name) {
        return Map.of("message", greeting + ", " + (name == null ? "world" : name) + "!");
    }
}
