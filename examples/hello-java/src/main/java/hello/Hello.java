package hello;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import java.util.Map;

/** Says hello, to an event or over HTTP. */
public class Hello implements RequestHandler<Map<String, Object>, Map<String, String>> {
    @Override
    public Map<String, String> handleRequest(Map<String, Object> event, Context context) {
        // Called through its URL, the function finds its arguments in the query string.
        Map<?, ?> query = event.get("queryStringParameters") instanceof Map<?, ?> given ? given : Map.of();
        Object name = event.containsKey("name") ? event.get("name") : query.get("name");
        if (name == null) {
            name = "world";
        }
        if (!(name instanceof String)) {
            throw new IllegalArgumentException("name must be a string, got " + name.getClass().getSimpleName());
        }
        // Over HTTP, a result without a statusCode is the body of a 200.
        return Map.of("message", "Hello, " + name + "!");
    }
}
