import com.amazonaws.services.lambda.runtime.Context;
import java.util.Map;

public class App {
    private static int calls;

    public Object handle(Map<String, Object> event, Context context) {
        calls++;
        if (event.containsKey("fail")) {
            throw new IllegalArgumentException("as asked");
        }
        System.out.println("mark " + event.get("n"));
        return Map.of("event", event, "id", context.getAwsRequestId(), "name", context.getFunctionName(),
                "arn", context.getInvokedFunctionArn(), "calls", calls, "left", context.getRemainingTimeInMillis());
    }
}
